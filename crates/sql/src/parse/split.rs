//! Where statements begin and end.

use crate::text::Tok;
use onceflow::Error;
use onceflow::codes::OF0203;
use sqlparser::tokenizer::Token;
use std::ops::Range;

/// The token ranges of the statements, and an error for each missing semicolon.
pub(super) fn statements(toks: &[Tok]) -> (Vec<Range<usize>>, Vec<Error>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let mut start = 0;
    for at in 0..toks.len() {
        if toks[at].token.token == Token::SemiColon {
            push(&mut found, start..at);
            start = at + 1;
        } else if at > start && begins(toks, at) && !leads(toks, start, at) {
            errors.push(missing(&toks[at - 1], &toks[at]));
            push(&mut found, start..at);
            start = at;
        }
    }
    push(&mut found, start..toks.len());
    (found, errors)
}

fn push(found: &mut Vec<Range<usize>>, range: Range<usize>) {
    if !range.is_empty() {
        found.push(range);
    }
}

/// Whether here stands what can only be the beginning of a statement.
fn begins(toks: &[Tok], at: usize) -> bool {
    let is =
        |count: usize, words: &[&str]| toks.get(at + count).is_some_and(|tok| words.iter().any(|word| tok.is(word)));
    let quoted = toks.get(at + 1).is_some_and(|tok| matches!(tok.token.token, Token::SingleQuotedString(_)));
    let assigned = toks.get(at + 2).is_some_and(|tok| tok.token.token == Token::Eq);
    (is(0, &["CREATE"]) && is(1, &["TABLE", "VIEW", "TEMPORARY"]))
        || (is(0, &["INSERT"]) && is(1, &["INTO"]))
        || (is(0, &["EXECUTE", "BEGIN"]) && is(1, &["STATEMENT"]) && is(2, &["SET"]))
        || (is(0, &["SET"]) && quoted && assigned)
}

/// Whether what stands before belongs to the same statement: `EXECUTE INSERT`, `EXECUTE STATEMENT SET BEGIN INSERT`,
/// `EXPLAIN INSERT`.
fn leads(toks: &[Tok], start: usize, at: usize) -> bool {
    toks[start..at]
        .iter()
        .all(|tok| ["EXECUTE", "STATEMENT", "SET", "BEGIN", "EXPLAIN"].iter().any(|word| tok.is(word)))
}

fn missing(before: &Tok, next: &Tok) -> Error {
    let mut place = before.place.clone();
    // The place behind the last token; a token that spans lines is underlined as it is.
    if before.range.len() == place.length as usize {
        place.column += place.length;
        place.length = 1;
    }
    let word = next.bare().unwrap_or_default().to_uppercase();
    Error::config(OF0203, format!("a semicolon is missing before {word} in line {}", next.place.line))
        .at(&place)
        .label("; is missing here")
}
