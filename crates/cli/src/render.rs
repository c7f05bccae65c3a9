//! Errors as a good compiler prints them: code, message, place with the text underlined, notes, help.

use crate::args::Format;
use crate::talk::{Talk, Tone};
use onceflow::{Error, Kind, Place};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Several errors with the texts that they point into.
#[derive(Debug, Default)]
pub struct Failures {
    /// The errors.
    pub errors: Vec<Error>,
    /// File name → text.
    pub texts: BTreeMap<String, String>,
    /// Whether to print JSON instead.
    pub json: bool,
}

impl Failures {
    /// The exit code: the first error's.
    pub fn exit_code(&self) -> i32 {
        self.errors.first().map_or(101, |error| error.kind().exit_code())
    }

    /// Adds a text that errors may point into.
    pub fn with_text(mut self, file: &str, text: &str) -> Self {
        self.texts.insert(file.to_owned(), text.to_owned());
        self
    }

    /// Prints JSON where that is the format.
    pub fn in_format(mut self, format: Format) -> Self {
        self.json = format == Format::Json;
        self
    }
}

impl From<Error> for Failures {
    fn from(error: Error) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }
}

impl From<Vec<Error>> for Failures {
    fn from(errors: Vec<Error>) -> Self {
        Self { errors, ..Self::default() }
    }
}

/// Prints failures on stderr.
pub fn failures(failures: &Failures, talk: &Talk) {
    for error in &failures.errors {
        if failures.json {
            talk.line(&as_json(error).to_string());
        } else {
            talk.line(&spaced(whole(error, "error", &failures.texts, talk)));
        }
    }
}

/// Prints a warning on stderr.
pub fn warning(error: &Error, texts: &BTreeMap<String, String>, talk: &Talk) {
    talk.say(&spaced(whole(error, "warning", texts, talk)));
}

/// With an empty line behind what has several lines, so that one finding ends where the next one begins.
fn spaced(text: String) -> String {
    if text.contains("\n") { text + "\n" } else { text }
}

/// An error as a JSON object.
pub fn as_json(error: &Error) -> serde_json::Value {
    let place = error.place().map(|place| {
        serde_json::json!({"file": &*place.file, "line": place.line, "column": place.column, "length": place.length})
    });
    serde_json::json!({
        "code": error.code().as_str(),
        "kind": kind(error.kind()),
        "message": error.to_string(),
        "place": place,
        "notes": error.notes(),
        "helps": error.helps(),
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Config => "config",
        Kind::Data => "data",
        Kind::Identity => "identity",
        Kind::Unavailable => "unavailable",
        Kind::Fenced => "fenced",
        Kind::Internal => "internal",
    }
}

/// An error, whole.
pub fn whole(error: &Error, word: &str, texts: &BTreeMap<String, String>, talk: &Talk) -> String {
    let tone = if word == "error" { Tone::Error } else { Tone::Warning };
    let head = talk.tone(tone, &format!("{word}[{}]", error.code()));
    let mut out = format!("{head}: {}", talk.tone(Tone::Strong, &error.to_string()));
    if let Some(place) = error.place() {
        snippet(&mut out, place, error.label_text(), texts, talk);
    }
    let bar = talk.tone(Tone::Accent, "=");
    for note in error.notes() {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n  {bar} note: {}", indent(note));
    }
    for help in error.helps() {
        let _ = write!(out, "\n  {bar} help: {}", indent(help));
    }
    out
}

fn indent(text: &str) -> String {
    text.replace('\n', "\n          ")
}

fn snippet(out: &mut String, place: &Place, label: Option<&str>, texts: &BTreeMap<String, String>, talk: &Talk) {
    let arrow = talk.tone(Tone::Accent, "-->");
    let _ = write!(out, "\n  {arrow} {place}");
    let line = texts.get(&*place.file).and_then(|text| text.lines().nth(place.line.saturating_sub(1) as usize));
    let Some(line) = line else { return };
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    let bar = talk.tone(Tone::Accent, "|");
    let before: usize = line.chars().take(place.column.saturating_sub(1) as usize).map(width).sum();
    let marked = line.chars().skip(place.column.saturating_sub(1) as usize).take(place.length.max(1) as usize);
    let length: usize = marked.map(width).sum::<usize>().max(1);
    let carets = talk.tone(Tone::Error, &format!("{} {}", "^".repeat(length), label.unwrap_or("")));
    let shown = line.replace('\t', "    ");
    let _ = write!(out, "\n {margin} {bar}\n {number} {bar} {shown}\n {margin} {bar} {}{carets}", " ".repeat(before));
    let trimmed = out.trim_end().len();
    out.truncate(trimmed);
}

/// Columns of a character on a terminal: tabs are shown as four spaces, wide characters take two.
pub fn width(character: char) -> usize {
    match character {
        '\t' => 4,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}' => 2,
        _ => 1,
    }
}
