//! Queries and expressions: the SQL parser reads them, its errors become ours.

use super::cursor::Cursor;
use super::forms;
use crate::text::dialect::Grammar;
use crate::text::{Source, Tok};
use onceflow::codes::{Code, OF0201, OF0306, OF0310, OF0311, OF0321};
use onceflow::{Error, Place, Result};
use sqlparser::ast::{Expr, Query};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// How deep a query may nest.
const DEPTH_MAX: usize = 64;
/// How many operators one query may have: a chain of them is as deep as it is long.
const OPERATORS_MAX: usize = 2_000;

/// Reads a query from all that is left of a statement.
pub(super) fn query(cursor: &mut Cursor<'_>) -> Result<Box<Query>> {
    let toks = cursor.rest();
    let starts = cursor.sees(&["SELECT"]) || cursor.sees(&["WITH"]) || cursor.sees(&["VALUES"]);
    if !starts && !cursor.sees_token(&Token::LParen) {
        let error = cursor.expected("a query that begins with SELECT");
        let meant = cursor.peek().and_then(Tok::bare).and_then(|word| meant(word, &["SELECT", "WITH"]));
        return Err(match meant {
            Some(meant) => error.help(format!("did you mean {meant}?")),
            None => error,
        });
    }
    refuse_unsupported(toks)?;
    let query = read(cursor, toks, |parser| parser.parse_query())?;
    cursor.skip(toks.len());
    Ok(query)
}

/// Reads an expression from some tokens of a statement.
pub(super) fn expression(cursor: &Cursor<'_>, toks: &[Tok]) -> Result<Expr> {
    if toks.is_empty() {
        return Err(cursor.expected("an expression"));
    }
    read(cursor, toks, |parser| parser.parse_expr())
}

fn read<T>(
    cursor: &Cursor<'_>,
    toks: &[Tok],
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T> {
    if let Some(tok) = toks.iter().filter(|tok| is_operator(tok)).nth(OPERATORS_MAX) {
        return Err(Error::config(OF0201, format!("the query has more than {OPERATORS_MAX} operators")).at(&tok.place));
    }
    let toks = &forms::readable(cursor.source(), toks)?[..];
    let tokens = toks.iter().map(|tok| tok.token.clone()).collect();
    let mut parser = Parser::new(&Grammar).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
    let parsed = parse(&mut parser);
    // The index stands behind the token that was looked at last.
    let index = parser.index().min(toks.len());
    match parsed {
        Ok(parsed) if index == toks.len() => Ok(parsed),
        Ok(_) => Err(leftover(cursor.source(), toks, index)),
        Err(error) => Err(syntax(cursor, toks, index, &error)),
    }
}

fn is_operator(tok: &Tok) -> bool {
    match &tok.token.token {
        Token::Word(_) => {
            ["AND", "OR", "NOT", "UNION", "JOIN", "IS", "LIKE", "BETWEEN"].iter().any(|word| tok.is(word))
        }
        Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_) => false,
        _ => true,
    }
}

/// The statement could have ended before this token.
fn leftover(source: &Source, toks: &[Tok], index: usize) -> Error {
    let tok = &toks[index];
    let mut error = Error::config(OF0201, format!("{} cannot stand here", tok.shown(source)))
        .at(&tok.place)
        .label("the statement could have ended before this");
    if matches!(tok.token.token, Token::RParen) {
        error = error.help("remove it, or open a bracket for it");
    }
    // `FROM orders WHER id > 1` reads WHER as an alias and stumbles over what follows.
    let clause = |back: usize| index.checked_sub(back).and_then(|at| Some((at, meant(toks[at].bare()?, CLAUSES)?)));
    if let Some((at, word)) = clause(1).or_else(|| clause(0)) {
        error = Error::config(OF0201, format!("{} cannot stand here", toks[at].shown(source)))
            .at(&toks[at].place)
            .help(format!("did you mean {word}?"));
    }
    error
}

/// Words that continue a query.
const CLAUSES: &[&str] =
    &["FROM", "WHERE", "GROUP", "HAVING", "ORDER", "UNION", "LIMIT", "JOIN", "CROSS", "LEFT", "INNER", "ON", "AS"];

/// The word of these that was meant by one that is none of them.
fn meant<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let known = words.iter().any(|known| known.eq_ignore_ascii_case(word));
    crate::suggest::nearest(word, words.iter().copied()).filter(|_| !known)
}

fn syntax(cursor: &Cursor<'_>, toks: &[Tok], index: usize, error: &ParserError) -> Error {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return Error::config(OF0201, format!("the query nests deeper than {DEPTH_MAX} levels")).at(&toks[0].place);
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
    };
    let (message, place) = located(text);
    let at = match place {
        Some((line, column)) => toks.iter().position(|tok| (tok.place.line, tok.place.column) == (line, column)),
        None if message.ends_with("found: EOF") => None,
        None => Some(named(cursor.source(), toks, index, &message)),
    };
    let mut end = cursor.clone();
    end.skip(toks.len());
    let place = at.map_or_else(|| end.place(), |at| toks[at].place.clone());
    finish(cursor.source(), toks, at, &message, &place)
}

/// Without a place the last token that the message names is to blame, or else the one that was read last.
fn named(source: &Source, toks: &[Tok], index: usize, message: &str) -> usize {
    let name = message.rsplit_once("found: ").map_or("", |(_, name)| name);
    let read = &toks[..index.clamp(1, toks.len())];
    read.iter().rposition(|tok| &source.text[tok.range.clone()] == name).unwrap_or(read.len() - 1)
}

/// The parser's message in our words.
fn finish(source: &Source, toks: &[Tok], at: Option<usize>, message: &str, place: &Place) -> Error {
    let expected = message.strip_prefix("Expected").map(|text| text.trim_start_matches([':', ' ']));
    let expected = expected.and_then(|text| text.split(", found: ").next());
    let found = at.map_or_else(|| "the end of the statement".to_owned(), |at| toks[at].shown(source));
    let error = match expected {
        Some(expected) => {
            Error::config(OF0201, format!("expected {expected}, found {found}")).label(format!("expected {expected}"))
        }
        None => Error::config(OF0201, format!("the query cannot be read at {found}")).note(message.to_owned()),
    };
    let before = |back: usize| at.unwrap_or(toks.len()).checked_sub(back).map(|at| &toks[at]);
    let comma = |back| before(back).is_some_and(|tok| tok.token.token == Token::Comma);
    // `SELECT a, FROM t` is read as a column FROM with the alias t.
    let from = before(1).is_some_and(|tok| tok.is("FROM")) && comma(2);
    let place = before(1).filter(|_| from).map_or(place, |tok| &tok.place);
    let error = error.at(place);
    match (comma(1), from) {
        (true, _) => error.help("remove the comma in front of it"),
        (_, true) => error.help("remove the comma in front of FROM"),
        _ => error,
    }
}

/// Splits ` at Line: 1, Column: 2` off a message.
fn located(text: &str) -> (String, Option<(u32, u32)>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text.to_owned(), None) };
    let place = place.split_once(", Column: ").and_then(|(line, column)| {
        Some((line.trim().parse().ok()?, column.trim().parse().ok()?)).filter(|(line, _)| *line > 0)
    });
    (message.to_owned(), place)
}

/// What Flink's queries have that the SQL parser does not read, by name.
fn refuse_unsupported(toks: &[Tok]) -> Result<()> {
    for (at, tok) in toks.iter().enumerate() {
        if let Some((code, what, words, help)) = unsupported(toks, at) {
            let place = toks[at..at + words].iter().fold(tok.place.clone(), |place, tok| joined(place, &tok.place));
            let words: Vec<String> =
                toks[at..at + words].iter().filter_map(|tok| tok.bare().map(str::to_uppercase)).collect();
            return Err(Error::config(code, format!("{what} {} is not available yet", words.join(" ")))
                .at(&place)
                .label("needs event time or operator state")
                .help(help));
        }
    }
    Ok(())
}

/// The code, what it is, how many tokens name it, and what to write instead.
fn unsupported(toks: &[Tok], at: usize) -> Option<(Code, &'static str, usize, &'static str)> {
    const WINDOWS: &[&str] = &["TUMBLE", "HOP", "CUMULATE", "SESSION"];
    const JOIN: &str = "write both streams to tables of one database, and join them there with a view";
    const GROUP: &str = "group by the window's start and merge: `GROUP BY FLOOR(ts TO HOUR)` into a table with \
                         'merge.<column>' = 'sum'";
    let tok = &toks[at];
    let next = |count: usize, keyword: &str| toks.get(at + count).is_some_and(|tok| tok.is(keyword));
    let opens = |at: usize| toks.get(at).is_some_and(|tok| tok.token.token == Token::LParen);
    let table = at.checked_sub(2).is_some_and(|before| toks[before].is("TABLE") && opens(at - 1));
    // TABLE(TUMBLE(TABLE t, …)), and with names: TABLE(TUMBLE(DATA => TABLE t, …)).
    if WINDOWS.iter().any(|window| tok.is(window)) && opens(at + 1) && (table || next(2, "TABLE")) {
        Some((OF0311, "the window", 1, GROUP))
    } else if tok.is("FOR") && next(1, "SYSTEM_TIME") {
        Some((OF0310, "the temporal join", 2, JOIN))
    } else if tok.is("LATERAL") && next(1, "TABLE") {
        Some((
            OF0306,
            "the table function",
            2,
            "write UNNEST over an array: `… FROM t CROSS JOIN UNNEST(t.items) AS i(item)`",
        ))
    } else if tok.is("MATCH_RECOGNIZE") && opens(at + 1) {
        Some((OF0321, "the pattern", 1, "write the rows to a table, and look for the pattern there"))
    } else {
        None
    }
}

/// A place up to the end of another one in its line.
fn joined(place: Place, other: &Place) -> Place {
    let length = if place.line == other.line { other.column + other.length - place.column } else { place.length };
    Place { length, ..place }
}
