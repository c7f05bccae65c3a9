//! Forms of Flink that the SQL parser does not read, as forms that it reads: `MAP[…]` and types in CAST.
//!
//! Works on tokens, so that every place stays a place in the text.

use super::Cursor;
use crate::text::{Source, Tok};
use crate::types;
use onceflow::codes::OF0201;
use onceflow::{Error, Result};
use sqlparser::tokenizer::Token;
use std::ops::Range;

/// The function that `MAP[key, value, …]` becomes. No name in a text begins with `$`.
pub(crate) const MAP_OF: &str = "$map";

/// What a bracket belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Map,
    Cast,
    Other,
}

/// The tokens of a query or an expression in forms that the SQL parser reads.
pub(super) fn readable(source: &Source, toks: &[Tok]) -> Result<Vec<Tok>> {
    let mut out: Vec<Tok> = Vec::with_capacity(toks.len());
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(tok) = toks.get(at) {
        let mut tok = tok.clone();
        at += 1;
        match tok.token.token {
            Token::LBracket if makes_map(toks, at - 1)? => {
                open.push(Open::Map);
                if let Some(word) = out.last_mut() {
                    word.token.token = Token::make_word(MAP_OF, None);
                }
                tok.token.token = Token::LParen;
            }
            Token::LBracket => open.push(Open::Other),
            Token::LParen if casts(toks, at - 1) => open.push(Open::Cast),
            Token::LParen => open.push(Open::Other),
            Token::RBracket if open.pop() == Some(Open::Map) => tok.token.token = Token::RParen,
            Token::RParen => _ = open.pop(),
            _ => {}
        }
        let types = tok.is("AS") && open.last() == Some(&Open::Cast);
        out.push(tok);
        if types {
            let end = cast_type(source, toks, at)?;
            out.extend(as_one(source, toks, at..end));
            at = end;
        }
    }
    Ok(out)
}

/// Whether the bracket at `at` belongs to `MAP[key, value, …]`; `map['key']` is an entry of a column of that name.
fn makes_map(toks: &[Tok], at: usize) -> Result<bool> {
    let before = |back: usize| at.checked_sub(back).map(|at| &toks[at]);
    let named = before(1).is_some_and(|tok| tok.is("MAP"));
    if !named || before(2).is_some_and(|tok| tok.token.token == Token::Period) {
        return Ok(false);
    }
    if toks.get(at + 1).is_some_and(|tok| tok.token.token == Token::RBracket) {
        return Err(Error::config(OF0201, "MAP[] has no entries")
            .at(&toks[at - 1].place)
            .help("write MAP['key', value], or CAST(NULL AS MAP<STRING, INT>)"));
    }
    let mut depth = 0;
    for tok in &toks[at + 1..] {
        match tok.token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return Ok(false),
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma if depth == 0 => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

fn casts(toks: &[Tok], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| toks[before].is("CAST") || toks[before].is("TRY_CAST"))
}

/// Reads the type that begins at `at` as declarations do, and returns where it ends.
fn cast_type(source: &Source, toks: &[Tok], at: usize) -> Result<usize> {
    // What other systems call these is understood in expressions, since nothing is declared by it.
    const LENIENT: &[&str] = &["TEXT", "BOOL", "REAL"];
    let Some(first) = toks.get(at).filter(|tok| tok.bare().is_some()) else { return Ok(at) };
    if LENIENT.iter().any(|word| first.is(word)) {
        return Ok(at);
    }
    let end = source.end();
    let mut cursor = Cursor::new(&toks[at..], source, &end);
    types::declared(&mut cursor)?;
    Ok(toks.len() - cursor.rest().len())
}

/// A type that the SQL parser does not read as one token: a name that holds the type's text.
fn as_one(source: &Source, toks: &[Tok], range: Range<usize>) -> Vec<Tok> {
    let all = &toks[range];
    let words = ["ROW", "MAP", "ARRAY", "WITH", "WITHOUT", "NULL"];
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Vec::new() };
    if !all.iter().any(|tok| words.iter().any(|word| tok.is(word))) {
        return all.to_vec();
    }
    let mut one = first.clone();
    one.range = first.range.start..last.range.end;
    one.token.span.end = last.token.span.end;
    one.token.token = Token::make_word(&source.text[one.range.clone()], Some('`'));
    vec![one]
}
