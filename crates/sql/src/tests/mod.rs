//! Texts and what is said of them.

mod accepted;
mod broken;
mod documented;
#[cfg(all(feature = "kafka", feature = "postgres"))]
mod flink;
#[cfg(feature = "kafka")]
mod kafka;
mod refused;
mod warned;

use crate::{CompileOptions, Compiled, compile_fully};
use onceflow::{Error, Result};

/// Variables of all tests.
fn variables(name: &str) -> Option<String> {
    match name {
        "TOPIC" => Some("orders".to_owned()),
        "EMPTY" => Some(String::new()),
        "PASSWORD" => Some("s3cret".to_owned()),
        "QUOTE" => Some("'; DROP TABLE x; --".to_owned()),
        _ => None,
    }
}

fn compiled(text: &str) -> Result<Compiled, Vec<Error>> {
    compile_fully("test.sql", text, &variables, &CompileOptions::default())
}

/// A source `s (a BIGINT, b STRING)` of files, with more columns and options.
fn source_with(columns: &str, options: &str) -> String {
    format!(
        "CREATE TABLE s (a BIGINT, b STRING{columns}) \
         WITH ('connector' = 'filesystem', 'path' = 'x.jsonl', 'format' = 'json'{options});\n"
    )
}

fn source() -> String {
    source_with("", "")
}

/// A target `t` of SQLite.
fn target_with(columns: &str, options: &str) -> String {
    format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'sqlite', 'url' = 'sqlite:x.db', 'table-name' = 't'{options});\n"
    )
}

fn target() -> String {
    target_with("a BIGINT, b STRING", "")
}

const INSERT: &str = "INSERT INTO t SELECT a, b FROM s;\n";

/// What a person reads of an error, in one text.
fn shown(error: &Error) -> String {
    let label = error.label_text().unwrap_or_default();
    format!("{error:?}\n  label: {label}")
}

/// The text is refused with this code, and the errors say this.
#[track_caller]
fn check(text: &str, code: &str, says: &str) {
    let errors = match compiled(text) {
        Ok(_) => panic!("was accepted: {text}"),
        Err(errors) => errors,
    };
    let all: Vec<String> = errors.iter().map(shown).collect();
    let found = errors.iter().zip(&all).any(|(error, shown)| error.code().as_str() == code && shown.contains(says));
    assert!(found, "expected {code} with '{says}' for\n{text}\nfound\n{}", all.join("\n"));
    for error in &errors {
        let place = error.place().unwrap_or_else(|| panic!("no place: {}", shown(error)));
        let lines = u32::try_from(text.lines().count()).expect("tests are short");
        assert!(place.line >= 1 && place.line <= lines.max(1), "the place lies outside of the text: {}", shown(error));
        assert!(!error.message().ends_with('.'), "a message has no full stop: {}", error.message());
        assert!(error.message().chars().next().is_some_and(|first| !first.is_uppercase() || upper(error.message())));
    }
}

/// Messages may begin with words of the language.
fn upper(message: &str) -> bool {
    message.split_whitespace().next().is_some_and(|word| word.chars().all(|ch| !ch.is_lowercase()))
}

/// The underlined text of the first error is this.
#[track_caller]
fn check_place(text: &str, line: u32, underlined: &str) {
    let errors = compiled(text).map(|_| ()).expect_err("the text is refused");
    let place = errors[0].place().expect("the error has a place");
    let found: String = text
        .lines()
        .nth(place.line as usize - 1)
        .expect("the place lies in the text")
        .chars()
        .skip(place.column as usize - 1)
        .take(place.length as usize)
        .collect();
    assert_eq!((place.line, found.as_str()), (line, underlined), "{}", shown(&errors[0]));
}

/// The text is accepted, with exactly so many warnings, of which one has this code and says this.
#[track_caller]
fn warns(text: &str, code: &str, says: &str) {
    let compiled = accept(text);
    let all: Vec<String> = compiled.pipeline.warnings.iter().map(shown).collect();
    let warnings = compiled.pipeline.warnings.iter().zip(&all);
    let hits = warnings.filter(|(warning, shown)| warning.code().as_str() == code && shown.contains(says)).count();
    assert_eq!(hits, 1, "expected one {code} with '{says}' for\n{text}\nfound\n{}", all.join("\n"));
}

/// The text is accepted.
#[track_caller]
fn accept(text: &str) -> Compiled {
    compiled(text).unwrap_or_else(|errors| {
        panic!("{text}\n{}", errors.iter().map(shown).collect::<Vec<_>>().join("\n"));
    })
}
