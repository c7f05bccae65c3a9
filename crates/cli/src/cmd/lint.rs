//! `onceflow lint`: reads pipelines as `run` would, touches no system.

use super::Answer;
use crate::args::{Common, Format};
use crate::load;
use crate::render::{self, Failures};
use crate::table::Table;
use crate::talk::{Talk, counted};
use onceflow::home::desk::Cell;
use onceflow_sql::CompileOptions;
use std::path::PathBuf;

/// Checks every file; exit code 1 where one has an error.
pub fn run(files: &[PathBuf], common: &Common, talk: &Talk) -> Answer {
    let mut found = Vec::new();
    let (mut errors, mut warnings) = (0, 0);
    for file in files {
        match load::pipeline(file, common, &CompileOptions::default()) {
            Ok(loaded) => {
                warnings += loaded.pipeline.warnings.len() as u64;
                for warning in &loaded.pipeline.warnings {
                    found.push(finding("warning", warning));
                    if common.format == Format::Table {
                        render::warning(warning, &loaded.texts(), talk);
                    }
                }
            }
            Err(failures) => {
                errors += failures.errors.len() as u64;
                found.extend(failures.errors.iter().map(|error| finding("error", error)));
                if common.format == Format::Table {
                    render::failures(&Failures { json: false, ..failures }, talk);
                }
            }
        }
    }
    match common.format {
        Format::Table => {}
        Format::Json => println!("{:#}", serde_json::Value::Array(found)),
        Format::Csv => Table::of(&COLUMNS, found.iter().map(row).collect()).print(Format::Csv),
    }
    talk.say(&format!(
        "{}: {}, {}",
        counted(files.len() as u64, "file"),
        counted(errors, "error"),
        counted(warnings, "warning")
    ));
    Ok(i32::from(errors > 0))
}

const COLUMNS: [&str; 6] = ["level", "code", "file", "line", "column", "message"];

/// A finding as a row.
fn row(finding: &serde_json::Value) -> Vec<Cell> {
    let place = &finding["place"];
    [&finding["level"], &finding["code"], &place["file"], &place["line"], &place["column"], &finding["message"]]
        .into_iter()
        .map(|value| match (value.as_str(), value.as_i64()) {
            (Some(text), _) => Cell::Text(text.to_owned()),
            (None, Some(number)) => Cell::Int(number),
            (None, None) => Cell::Null,
        })
        .collect()
}

fn finding(level: &str, error: &onceflow::Error) -> serde_json::Value {
    let mut value = render::as_json(error);
    value["level"] = level.into();
    value
}
