//! From a file name to a pipeline: text, environment file, variables.

use crate::args::Common;
use crate::render::Failures;
use crate::scratch;
use onceflow::codes;
use onceflow::{Error, pipeline::Pipeline};
use onceflow_sql::CompileOptions;
use std::collections::BTreeMap;
use std::path::Path;

/// A pipeline with its text.
pub struct Loaded {
    /// The file as the user named it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// The pipeline.
    pub pipeline: Pipeline,
}

impl Loaded {
    /// The text, for errors that point into it.
    pub fn texts(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(self.file.clone(), self.text.clone())])
    }

    /// An error that may point into this text.
    pub fn failed(&self, error: Error) -> Failures {
        Failures::from(error).with_text(&self.file, &self.text)
    }
}

/// Reads and compiles a pipeline.
pub fn pipeline(path: &Path, common: &Common, options: &CompileOptions) -> Result<Loaded, Failures> {
    let file = path.display().to_string();
    let text = read(path)?;
    let variables = variables(common)?;
    let lookup = |name: &str| std::env::var(name).ok().or_else(|| variables.get(name).cloned());
    match onceflow_sql::compile(&file, &text, &lookup, options) {
        Ok(mut pipeline) => {
            // `preview` and the like write nowhere; everything else has to go where the plan says.
            if options.replace_homes.is_none() {
                scratch::turn(&mut pipeline)?;
            }
            Ok(Loaded { file, text, pipeline })
        }
        Err(errors) => Err(Failures::from(errors).with_text(&file, &text).in_format(common.format)),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let file = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        Error::config(codes::OF0101, format!("the pipeline {file} cannot be read: {error}"))
            .help("give the path of a .sql file, or print one to start from: onceflow new files > pipeline.sql")
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::config(codes::OF0102, format!("{file} is not UTF-8: byte {at} is the first that is wrong"))
            .help(format!("convert it, e.g.: iconv -f LATIN1 -t UTF-8 {file}"))
    })
}

/// Reads the environment file: NAME=VALUE lines, `#` comments, optional quotes and `export`.
fn variables(common: &Common) -> Result<BTreeMap<String, String>, Error> {
    let Some(path) = &common.env_file else { return Ok(BTreeMap::new()) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::config(codes::OF0103, format!("the environment file {} cannot be read: {error}", path.display()))
    })?;
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            let place = format!("{}:{}", path.display(), number + 1);
            let message = format!("{place} is not a NAME=VALUE line");
            return Err(Error::config(codes::OF0104, message).help("write one NAME=VALUE a line; # begins a comment"));
        };
        variables.insert(name.trim().to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(variables)
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}
