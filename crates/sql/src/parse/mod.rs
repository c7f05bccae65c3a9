//! Statements: from tokens to a [`Script`].
//!
//! Owns the grammar above queries and expressions, which the SQL parser reads. A statement with an error does not hide the
//! errors of the next one.

mod create;
mod cursor;
mod forms;
mod insert;
mod like;
mod query;
mod split;
mod table;

use crate::model::{Script, Value};
use crate::text::{Source, Tok, tokenize, variables::Variables};
use onceflow::codes::{OF0201, OF0204};
use onceflow::{Error, Place, Result};
use sqlparser::tokenizer::Token;

pub(crate) use cursor::Cursor;
pub(crate) use forms::MAP_OF;

/// Reads a text. Errors stand in the order of the text.
pub fn parse(file: &str, text: &str, variables: Variables<'_>) -> Result<Script, Vec<Error>> {
    let source = Source::new(file, text);
    let toks = tokenize(&source, variables)?;
    crate::roomy(|| statements(&source, &toks))
}

fn statements(source: &Source, toks: &[Tok]) -> Result<Script, Vec<Error>> {
    let end = source.end();
    let (chunks, mut errors) = split::statements(toks);
    let mut script = Script { file: source.file.clone(), text: source.text.clone(), ..Script::default() };
    let mut set = StatementSet::None;
    for chunk in &chunks {
        let place = toks.get(chunk.end).map_or_else(|| end.clone(), |tok| tok.place.clone());
        let mut cursor = Cursor::new(&toks[chunk.clone()], source, &place);
        if let Err(more) = statement(&mut cursor, &mut script, &mut set) {
            errors.extend(more);
        }
    }
    if let StatementSet::Open(place) = set {
        let error =
            Error::config(OF0201, "the statement set is not closed").at(&place).help("write END; after its INSERTs");
        errors.push(error);
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.place().map(|place| (place.line, place.column)));
        return Err(errors);
    }
    script.logic = logic(toks);
    Ok(script)
}

/// Whether INSERTs are being collected.
#[derive(Debug)]
enum StatementSet {
    None,
    Open(Place),
}

/// Reads one statement; the cursor ends behind it.
fn statement(cursor: &mut Cursor<'_>, script: &mut Script, set: &mut StatementSet) -> Result<(), Vec<Error>> {
    let start = cursor.place();
    if cursor.take(&["BEGIN", "STATEMENT", "SET"]) {
        open(set, &start)?;
        return finish(cursor);
    }
    if cursor.take(&["EXECUTE", "STATEMENT", "SET"]) {
        if !cursor.take(&["BEGIN"]) {
            return Err(vec![cursor.expected("BEGIN")]);
        }
        open(set, &start)?;
        return statement(cursor, script, set);
    }
    if cursor.take(&["END"]) {
        if matches!(std::mem::replace(set, StatementSet::None), StatementSet::None) {
            return Err(vec![Error::config(OF0201, "END without a statement set before it").at(&start)]);
        }
        return finish(cursor);
    }
    if cursor.sees(&["EXECUTE", "INSERT"]) {
        cursor.skip(1);
    }
    if matches!(set, StatementSet::Open(_)) && !cursor.sees(&["INSERT"]) {
        return Err(vec![cursor.expected("INSERT or END").note("a statement set holds INSERT statements only")]);
    }
    if cursor.take(&["INSERT"]) {
        insert::insert(cursor, script)?;
    } else if cursor.take(&["CREATE"]) {
        create::create(cursor, script)?;
    } else if cursor.take(&["SET"]) {
        setting(cursor, script)?;
    } else {
        return Err(vec![refused(cursor)]);
    }
    finish(cursor)
}

fn open(set: &mut StatementSet, place: &Place) -> Result<(), Vec<Error>> {
    if let StatementSet::Open(first) = set {
        let error = Error::config(OF0201, "a statement set begins inside of another one").at(place);
        return Err(vec![error.note(format!("the other one begins in line {}", first.line))]);
    }
    *set = StatementSet::Open(place.clone());
    Ok(())
}

/// Nothing may be left of a statement.
fn finish(cursor: &Cursor<'_>) -> Result<(), Vec<Error>> {
    if cursor.done() { Ok(()) } else { Err(vec![cursor.expected("`;`")]) }
}

/// A statement that is not ours.
fn refused(cursor: &Cursor<'_>) -> Error {
    const OURS: &[&str] = &["CREATE", "INSERT", "SET", "EXECUTE", "BEGIN", "END"];
    const KNOWN: &[&str] = &[
        "ADD", "ALTER", "ANALYZE", "BEGIN", "CALL", "COMMIT", "COMPILE", "COPY", "DELETE", "DESC", "DESCRIBE", "DROP",
        "EXECUTE", "EXPLAIN", "GRANT", "LOAD", "MERGE", "QUIT", "REMOVE", "RESET", "ROLLBACK", "SELECT", "SHOW",
        "STOP", "TRUNCATE", "UNLOAD", "UPDATE", "UPSERT", "USE", "VALUES", "WITH",
    ];
    let Some(tok) = cursor.peek() else { return cursor.expected("a statement") };
    let word = tok.bare().unwrap_or_default().to_uppercase();
    if !KNOWN.contains(&word.as_str()) {
        let error = cursor.expected("a statement");
        return match crate::suggest::nearest(&word, OURS.iter().copied()).filter(|_| !word.is_empty()) {
            Some(meant) => error.help(format!("did you mean {meant}?")),
            None => error.note("statements: CREATE TABLE, CREATE VIEW, INSERT INTO, SET, EXECUTE STATEMENT SET"),
        };
    }
    // What a statement is about is part of its name; what it is called is not.
    const OBJECTS: &[&str] = &[
        "CATALOG",
        "CATALOGS",
        "COLUMNS",
        "CURRENT",
        "DATABASE",
        "DATABASES",
        "FUNCTION",
        "FUNCTIONS",
        "JAR",
        "JARS",
        "JOB",
        "JOBS",
        "MODULE",
        "MODULES",
        "PARTITION",
        "PARTITIONS",
        "PLAN",
        "TABLE",
        "TABLES",
        "TEMPORARY",
        "VIEW",
        "VIEWS",
    ];
    let second = cursor.ahead(1).and_then(Tok::bare).map(str::to_uppercase);
    let name = match second.filter(|second| OBJECTS.contains(&second.as_str())) {
        Some(second) => format!("{word} {second}"),
        None => word.clone(),
    };
    let error = Error::config(OF0204, format!("the statement {name} is not supported")).at(&tok.place);
    match word.as_str() {
        "SELECT" | "VALUES" | "WITH" => error.help("write INSERT INTO target SELECT …; to look at rows, run: onceflow preview"),
        "USE" => error.note("Onceflow has no catalogs and databases: a text declares its own tables").help("remove it"),
        "EXPLAIN" => error.help("run: onceflow explain FILE"),
        "UPDATE" | "DELETE" | "MERGE" => error.help(
            "declare a table with 'write.statement' = 'UPDATE … WHERE id = :id' and INSERT INTO it: once per row, in the transaction",
        ),
        "BEGIN" => error.help("write BEGIN STATEMENT SET; all INSERTs of a text are one transaction per epoch anyway"),
        "DROP" | "ALTER" => error.help("remove it: a text declares its tables anew each time it runs, and nothing in a database is dropped or altered"),
        "RESET" => error.help("remove it: a setting that is not set has its default"),
        "ADD" | "REMOVE" | "LOAD" | "UNLOAD" => error.help("remove it: connectors, formats and drivers are built in"),
        "DESCRIBE" | "DESC" | "SHOW" => error.help("remove it; to see what would run: onceflow explain FILE"),
        _ => error,
    }
}

/// `SET 'key' = 'value'`.
fn setting(cursor: &mut Cursor<'_>, script: &mut Script) -> Result<(), Vec<Error>> {
    if let Some(error) = unquoted_setting(cursor) {
        return Err(vec![error]);
    }
    let (key, value) = pair(cursor, "a setting in single quotes: SET 'key' = 'value'").map_err(|error| vec![error])?;
    script.settings.insert(key, value);
    Ok(())
}

/// `SET key = value;` of older clients: an error with the quotes put in.
fn unquoted_setting(cursor: &Cursor<'_>) -> Option<Error> {
    let rest = cursor.rest();
    let equals = rest.iter().position(|tok| tok.token.token == Token::Eq)?;
    rest.first().and_then(Tok::bare)?;
    let text = |toks: &[Tok]| {
        let (first, last) = (toks.first()?, toks.last()?);
        Some(cursor.source().text[first.range.start..last.range.end].trim_matches('\'').to_owned())
    };
    let (key, value) = (text(&rest[..equals])?, text(&rest[equals + 1..])?);
    let plain = |text: &String| !text.contains(['\n', '\'', '"']) && text.chars().count() <= 100;
    let error = cursor.expected("a setting in single quotes: SET 'key' = 'value'");
    Some(if plain(&key) && plain(&value) && !is_secret(&key) {
        error.help(format!("write SET '{key}' = '{value}';"))
    } else {
        error
    })
}

/// `'key' = 'value'`.
fn pair(cursor: &mut Cursor<'_>, what: &str) -> Result<(String, Value)> {
    let (key, key_tok) = cursor.string(what)?;
    cursor.expect_token(&Token::Eq)?;
    let (text, tok) = cursor.string("a value in single quotes").map_err(|error| match cursor.peek() {
        Some(tok) => error.help(format!("write '{}'", tok.shown(cursor.source()).trim_matches('`'))),
        None => error,
    })?;
    let secret = tok.variable || is_secret(&key);
    Ok((key, Value { text, place: tok.place.clone(), key_place: key_tok.place.clone(), secret }))
}

/// Whether values of this key must never be shown.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "password",
        "secret",
        "sasl.jaas.config",
        "token",
        "credential",
        "api-key",
        "apikey",
        "ssl.key.pem",
        "ssl.keystore.key",
    ]
    .iter()
    .any(|part| key.contains(part))
}

/// The statements without white space, comments and secrets; `SET` is left out but for what changes results.
fn logic(toks: &[Tok]) -> String {
    let (chunks, _) = split::statements(toks);
    let mut logic = String::new();
    for chunk in chunks {
        let statement = &toks[chunk];
        let changes = |tok: &Tok| tok.token.token == Token::SingleQuotedString("on-error".to_owned());
        if statement[0].is("SET") && !statement.get(1).is_some_and(changes) {
            continue;
        }
        for (at, tok) in statement.iter().enumerate() {
            logic.push_str(&normal(statement, at, tok));
            logic.push(' ');
        }
        logic.push_str(";\n");
    }
    logic
}

fn normal(statement: &[Tok], at: usize, tok: &Tok) -> String {
    let Token::SingleQuotedString(text) = &tok.token.token else { return tok.token.token.to_string() };
    let key = match (at.checked_sub(2).map(|at| &statement[at].token.token), at.checked_sub(1)) {
        (Some(Token::SingleQuotedString(key)), Some(before)) if statement[before].token.token == Token::Eq => Some(key),
        _ => None,
    };
    match key {
        Some(key) if is_secret(key) => "'***'".to_owned(),
        Some(_) => format!("'{}'", crate::resolve::url::masked(text)),
        None => tok.token.token.to_string(),
    }
}
