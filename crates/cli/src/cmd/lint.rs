//! `onceflow lint`: reads pipelines as `run` would, touches no system.

use super::Answer;
use crate::args::{Common, Format};
use crate::load;
use crate::render::{self, Failures};
use crate::talk::{Talk, counted};
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
    if common.format != Format::Table {
        println!("{:#}", serde_json::Value::Array(found));
    }
    talk.say(&format!(
        "{}: {}, {}",
        counted(files.len() as u64, "file"),
        counted(errors, "error"),
        counted(warnings, "warning")
    ));
    Ok(i32::from(errors > 0))
}

fn finding(level: &str, error: &onceflow::Error) -> serde_json::Value {
    let mut value = render::as_json(error);
    value["level"] = level.into();
    value
}
