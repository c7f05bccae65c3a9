//! Looks over a text before it is cut into tokens: what is opened must be closed, and variables stand in strings only.

use super::Source;
use onceflow::Error;
use onceflow::codes::{OF0202, OF0206};
use std::ops::Range;

/// A part of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Code,
    Line,
    Block,
    Quoted(char),
}

struct Open {
    part: Part,
    start: usize,
}

/// Checks a text. Errors stand in the order of the text.
pub(super) fn check(source: &Source) -> Result<(), Vec<Error>> {
    let text: &str = &source.text;
    let mut errors = Vec::new();
    let mut suspect: Option<Range<usize>> = None;
    let mut at = 0;
    let mut open = Open { part: Part::Code, start: 0 };
    while at < text.len() {
        let rest = &text[at..];
        let (next, length) = step(open.part, rest);
        if matches!(open.part, Part::Code | Part::Quoted('`' | '"')) && next == open.part && rest.starts_with("${") {
            errors.push(misplaced(source, at));
        }
        if next != open.part {
            if open.part == Part::Quoted('\'') && text[open.start..at].contains('\n') {
                suspect.get_or_insert(open.start..at);
            }
            open = Open { part: next, start: at };
        }
        at += length;
    }
    if !matches!(open.part, Part::Code | Part::Line) {
        errors.push(unclosed(source, &open, suspect));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What part the next bytes belong to or open or close, and how many they are.
fn step(part: Part, rest: &str) -> (Part, usize) {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    match part {
        Part::Code => opening(rest, first),
        Part::Line if rest.starts_with('\n') => (Part::Code, 1),
        Part::Block if rest.starts_with("*/") => (Part::Code, 2),
        Part::Quoted(quote) if rest.starts_with(quote) && rest[1..].starts_with(quote) => (part, 2),
        Part::Quoted(quote) if rest.starts_with(quote) => (Part::Code, 1),
        _ => (part, first),
    }
}

fn opening(rest: &str, first: usize) -> (Part, usize) {
    if rest.starts_with("--") {
        return (Part::Line, 2);
    }
    if rest.starts_with("/*") {
        return (Part::Block, 2);
    }
    match rest.chars().next() {
        Some(quote @ ('\'' | '"' | '`')) => (Part::Quoted(quote), 1),
        _ => (Part::Code, first),
    }
}

fn misplaced(source: &Source, at: usize) -> Error {
    let text = &source.text[at..];
    let end = text.find(['}', '\n']).map_or(text.len(), |end| end + usize::from(text[end..].starts_with('}')));
    Error::config(OF0206, "a variable stands outside of a string")
        .at(&source.place(at..at + end))
        .label("only strings in single quotes take variables")
        .note("a variable's value is never read as SQL, so it cannot stand for a name, a number or a keyword")
        .help(format!("write '{}' and, where a number is meant, CAST('{0}' AS BIGINT)", text[..end].trim_end()))
}

fn unclosed(source: &Source, open: &Open, suspect: Option<Range<usize>>) -> Error {
    let (what, close) = match open.part {
        Part::Block => ("comment", "*/".to_owned()),
        Part::Quoted('\'') => ("string", "'".to_owned()),
        Part::Quoted(quote) => ("quoted name", quote.to_string()),
        Part::Code | Part::Line => unreachable!("code and line comments end with the text"),
    };
    let length = if what == "comment" { 2 } else { 1 };
    let error = Error::config(OF0202, format!("a {what} is not closed"))
        .at(&source.place(open.start..open.start + length))
        .label("opened here")
        .help(format!("write {close} where the {what} ends"));
    match suspect {
        Some(range) if what == "string" => {
            let place = source.place(range);
            error.note(format!(
                "a string that begins in line {}, column {} runs over the line's end; the missing quote may be there",
                place.line, place.column
            ))
        }
        _ => error,
    }
}
