//! The user's own statement: its parameters found, its kind checked, prepared in the server.
//!
//! Owns the reading of `:name` outside of quotes, comments and casts. The server says what the parameters' types are.

use super::catalog::Types;
use super::check::nearest;
use super::copy::Parameter;
use super::rows::Block;
use super::types::{self, Target};
use crate::changes::{TableSpec, WriteMode};
use crate::codes;
use crate::error::{Error, Place, Result};
use crate::home::postgres::{classify, said};
use tokio_postgres::Client;

/// A statement that the server has prepared.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub statement: tokio_postgres::Statement,
    /// For each parameter the column that it comes from and how it travels.
    pub parameters: Vec<(usize, Target)>,
}

impl Prepared {
    /// The parameters of one row.
    pub fn values(&self, block: &Block, row: usize) -> Vec<Parameter> {
        let value = |(at, target): &(usize, Target)| Parameter::of_target(&block.encoders[*at], row, target);
        self.parameters.iter().map(value).collect()
    }
}

/// What is wrong with a statement, as findings.
pub(super) async fn check(client: &Client, spec: &TableSpec) -> Result<Vec<Error>> {
    match prepare(client, spec).await? {
        Ok(_) => Ok(Vec::new()),
        Err(findings) => Ok(findings),
    }
}

/// Prepares the statement; the inner `Err` has what is wrong with it.
pub(super) async fn prepare(client: &Client, spec: &TableSpec) -> Result<Result<Prepared, Vec<Error>>> {
    let WriteMode::Statement { sql, place, .. } = &spec.mode else {
        return Err(Error::internal(format!("table '{}' has no statement", spec.name)));
    };
    if let Some(error) = wrong_kind(sql, place) {
        return Ok(Err(vec![error]));
    }
    let parsed = match parse(sql) {
        Ok(parsed) => parsed,
        Err(why) => return Ok(Err(vec![Error::config(codes::OF0740, why).at(place)])),
    };
    let unknown = unknown_parameters(&parsed.names, spec, place);
    if !unknown.is_empty() {
        return Ok(Err(unknown));
    }
    let statement = match client.prepare(&parsed.sql).await {
        Ok(statement) => statement,
        Err(error) => return refused(error, place),
    };
    let oids: Vec<u32> = statement.params().iter().map(tokio_postgres::types::Type::oid).collect();
    let types = Types::load(client, oids.iter().copied()).await?;
    let (mut parameters, mut findings) = (Vec::new(), Vec::new());
    for (name, oid) in parsed.names.iter().zip(oids) {
        match parameter(name, &types.resolve(oid, -1), spec, place) {
            Ok(found) => parameters.push(found),
            Err(error) => findings.push(error),
        }
    }
    Ok(if findings.is_empty() { Ok(Prepared { statement, parameters }) } else { Err(findings) })
}

fn refused<T>(error: tokio_postgres::Error, place: &Place) -> Result<Result<T, Vec<Error>>> {
    let Some(db) = error.as_db_error() else { return Err(classify(error, "prepare 'write.statement'")) };
    if !matches!(db.code().code().get(..2), Some("42" | "22" | "0A" | "3F" | "21")) {
        return Err(classify(error, "prepare 'write.statement'"));
    }
    let mut finding =
        Error::config(codes::OF0740, format!("PostgreSQL does not accept 'write.statement': {}", said(db))).at(place);
    if db.code().code() == "42P18" {
        finding = finding.help("give the parameter a type: :name::bigint");
    }
    if let Some(hint) = db.hint() {
        finding = finding.note(hint.to_owned());
    }
    Ok(Err(vec![finding]))
}

fn unknown_parameters(names: &[String], spec: &TableSpec, place: &Place) -> Vec<Error> {
    let columns = || spec.columns.iter().map(|column| column.name.as_str());
    let unknown = names.iter().filter(|name| !columns().any(|column| column == name.as_str()));
    unknown
        .map(|name| {
            let message =
                format!("'write.statement' has a parameter :{name}, and '{}' declares no such column", spec.name);
            let error = Error::config(codes::OF0742, message).at(place);
            match nearest(name, columns()) {
                Some(like) => error.help(format!("did you mean :{like}?")),
                None => error.help(format!(
                    "declare the column {name}, or use one of :{}",
                    columns().collect::<Vec<_>>().join(", :")
                )),
            }
        })
        .collect()
}

fn parameter(name: &str, to: &types::PgType, spec: &TableSpec, place: &Place) -> Result<(usize, Target)> {
    let at =
        spec.columns.iter().position(|column| column.name == *name).expect("unknown parameters were refused before");
    let column = &spec.columns[at];
    match types::target(&column.data_type, to).filter(|target| !(target.is_array() && target.cast.is_some())) {
        Some(target) => Ok((at, target)),
        None => {
            let message = format!(
                "parameter :{name} of 'write.statement' is {} for PostgreSQL, and the column is declared {}",
                to.sql, column.declared
            );
            let cast = types::created(&column.data_type, &column.declared);
            let error = Error::config(codes::OF0743, message).at(place).help(format!("write :{name}::{cast}"));
            Err(match types::declared_as(to) {
                Some(declared) => error.help(format!("or declare it as {declared}")),
                None => error,
            })
        }
    }
}

/// Statements that change rows; everything else would define objects or end the transaction.
const KINDS: &[&str] = &["INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "SELECT", "CALL"];

fn wrong_kind(sql: &str, place: &Place) -> Option<Error> {
    let word = first_word(sql);
    if KINDS.contains(&word.as_str()) {
        return None;
    }
    let message = match word.as_str() {
        "" => "'write.statement' is empty".to_owned(),
        _ => format!("'write.statement' cannot be {word}"),
    };
    let error = Error::config(codes::OF0741, message).at(place);
    Some(error.help(format!("it can be {}", KINDS.join(", "))))
}

fn first_word(sql: &str) -> String {
    let mut at = 0;
    while at < sql.len() {
        match token(sql, at) {
            Token::Comment(end) => at = end,
            Token::Other(character) if character.is_whitespace() || character == '(' => at += character.len_utf8(),
            _ => break,
        }
    }
    sql[at..].chars().take_while(|character| character.is_ascii_alphabetic()).collect::<String>().to_ascii_uppercase()
}

/// A statement with the server's parameters.
#[derive(PartialEq, Eq, Debug)]
struct Parsed {
    /// With `$1`, `$2`, …
    sql: String,
    /// The columns of the parameters, in their order, each once.
    names: Vec<String>,
}

/// One piece of a statement, with where it ends.
enum Token {
    Quoted(usize),
    Comment(usize),
    Parameter(String, usize),
    Positional,
    Other(char),
}

fn parse(sql: &str) -> Result<Parsed, String> {
    let mut parsed = Parsed { sql: String::with_capacity(sql.len()), names: Vec::new() };
    let mut at = 0;
    while at < sql.len() {
        let end = match token(sql, at) {
            Token::Positional => {
                return Err("'write.statement' has a parameter by number; parameters are written as :column".to_owned());
            }
            Token::Parameter(name, end) => {
                let number = parsed.names.iter().position(|known| *known == name).unwrap_or_else(|| {
                    parsed.names.push(name);
                    parsed.names.len() - 1
                });
                parsed.sql.push_str(&format!("${}", number + 1));
                at = end;
                continue;
            }
            Token::Quoted(end) | Token::Comment(end) => end,
            Token::Other(character) => at + character.len_utf8(),
        };
        parsed.sql.push_str(&sql[at..end]);
        at = end;
    }
    Ok(parsed)
}

fn token(sql: &str, at: usize) -> Token {
    let rest = &sql[at..];
    let first = rest.chars().next().expect("a token begins inside of the text");
    let before = sql[..at].chars().next_back();
    let in_name = before.is_some_and(is_name);
    match first {
        '\'' => Token::Quoted(at + text_end(rest, escapes(sql, at))),
        '"' => Token::Quoted(at + quoted_end(rest, '"')),
        '-' if rest.starts_with("--") => Token::Comment(at + rest.find('\n').map_or(rest.len(), |end| end + 1)),
        '/' if rest.starts_with("/*") => Token::Comment(at + comment_end(rest)),
        '$' if !in_name => dollar(rest, at),
        ':' if rest.starts_with("::") || rest.starts_with(":=") => Token::Quoted(at + 2),
        ':' if !before.is_some_and(|before| is_name(before) || matches!(before, ']' | ')' | '"')) => {
            parameter_at(rest, at)
        }
        other => Token::Other(other),
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn parameter_at(rest: &str, at: usize) -> Token {
    let body = &rest[1..];
    if body.starts_with('"') {
        let end = quoted_end(body, '"');
        let name = body[1..end].strip_suffix('"').unwrap_or(&body[1..end]).replace("\"\"", "\"");
        return Token::Parameter(name, at + 1 + end);
    }
    let name: String = body.chars().take_while(|character| is_name(*character)).collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => {
            let end = at + 1 + name.len();
            Token::Parameter(name, end)
        }
        _ => Token::Other(':'),
    }
}

/// Whether a text constant has backslash escapes: `E'…'`.
fn escapes(sql: &str, at: usize) -> bool {
    let mut before = sql[..at].chars().rev();
    matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(is_name)
}

fn text_end(rest: &str, escapes: bool) -> usize {
    if !escapes {
        return quoted_end(rest, '\'');
    }
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '\'' if characters.peek().is_some_and(|(_, next)| *next == '\'') => drop(characters.next()),
            '\'' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn quoted_end(rest: &str, quote: char) -> usize {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character != quote {
            continue;
        }
        if characters.peek().is_some_and(|(_, next)| *next == quote) {
            characters.next();
        } else {
            return index + 1;
        }
    }
    rest.len()
}

/// Comments nest, as in the server.
fn comment_end(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `$tag$ … $tag$`, or a parameter by number.
fn dollar(rest: &str, at: usize) -> Token {
    let body = &rest[1..];
    if body.starts_with(|character: char| character.is_ascii_digit()) {
        return Token::Positional;
    }
    let name = body.chars().take_while(|character| is_name(*character)).map(char::len_utf8).sum::<usize>();
    if !body[name..].starts_with('$') {
        return Token::Other('$');
    }
    let tag = &rest[..name + 2];
    let end = rest[tag.len()..].find(tag).map_or(rest.len(), |found| found + 2 * tag.len());
    Token::Quoted(at + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_outside_of_quotes_comments_and_casts() {
        let check = |sql: &str, expected: &str, names: &[&str]| {
            let parsed = parse(sql).unwrap();
            assert_eq!(
                (parsed.sql.as_str(), parsed.names.as_slice()),
                (expected, names.map_owned().as_slice()),
                "{sql}"
            );
        };
        check("UPDATE a SET b = b + :d WHERE id = :i", "UPDATE a SET b = b + $1 WHERE id = $2", &["d", "i"]);
        check("SELECT :a::int, :b, :a", "SELECT $1::int, $2, $1", &["a", "b"]);
        check("SELECT ':a', \":a\", E'\\':a', 'it''s :a', :b", "SELECT ':a', \":a\", E'\\':a', 'it''s :a', $1", &["b"]);
        check("SELECT 1 -- :a\n, /* :a /* :b */ :c */ :d", "SELECT 1 -- :a\n, /* :a /* :b */ :c */ $1", &["d"]);
        check("SELECT $$ :a $$, $x$ $$ :b $x$, :c", "SELECT $$ :a $$, $x$ $$ :b $x$, $1", &["c"]);
        check("SELECT a[1:2], a[lo:hi], f(x := :y)", "SELECT a[1:2], a[lo:hi], f(x := $1)", &["y"]);
        check("SELECT :\"Mixed \"\"Case\"", "SELECT $1", &["Mixed \"Case"]);
        check("SELECT :größe,:b_2", "SELECT $1,$2", &["größe", "b_2"]);
        check("SELECT 'open :a", "SELECT 'open :a", &[]);
        assert!(parse("SELECT $1").is_err());
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for [&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|name| (*name).to_owned()).collect()
        }
    }

    #[test]
    fn only_statements_that_change_rows_are_taken() {
        let place = Place { file: "p.sql".into(), line: 1, column: 1, length: 1 };
        for sql in ["update a set b = 1", " -- x\n /* y */ (WITH a AS (SELECT 1) SELECT 2)", "insert into a values (1)"]
        {
            assert!(wrong_kind(sql, &place).is_none(), "{sql}");
        }
        for sql in ["COMMIT", "", "-- x", "DROP TABLE a", "rollback", "SET x = 1", "TRUNCATE a", "COPY a FROM STDIN"] {
            assert!(wrong_kind(sql, &place).is_some(), "{sql}");
        }
    }
}
