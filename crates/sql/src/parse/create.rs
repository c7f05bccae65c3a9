//! `CREATE …`: tables, views, and what is refused by name.

use super::insert::{names, table_name};
use super::{Cursor, query, table};
use crate::model::{Script, ViewDecl};
use onceflow::codes::{OF0204, OF0208, OF0264};
use onceflow::{Error, Place, Result};
use sqlparser::tokenizer::Token;

/// Reads what follows `CREATE`.
pub(super) fn create(cursor: &mut Cursor<'_>, script: &mut Script) -> Result<(), Vec<Error>> {
    let one = |error| vec![error];
    if cursor.sees(&["OR", "REPLACE"]) {
        return Err(one(unsupported("CREATE OR REPLACE", cursor).help("write CREATE: a text declares each name once")));
    }
    let temporary = cursor.take(&["TEMPORARY"]);
    if temporary {
        cursor.take(&["SYSTEM"]);
    }
    if cursor.take(&["TABLE"]) {
        let exists = if_not_exists(cursor).map_err(one)?;
        return table::table(cursor, script, exists);
    }
    if cursor.take(&["VIEW"]) {
        return view(cursor, script).map_err(one);
    }
    if cursor.sees(&["FUNCTION"]) {
        return Err(one(function(cursor)));
    }
    const KNOWN: &[&str] =
        &["CATALOG", "DATABASE", "SCHEMA", "INDEX", "MATERIALIZED", "MODEL", "SINK", "SOURCE", "CONNECTION", "TYPE"];
    match cursor.peek().filter(|tok| KNOWN.iter().any(|word| tok.is(word))) {
        Some(tok) => {
            let what = tok.bare().unwrap_or_default().to_uppercase();
            let error = unsupported(&format!("CREATE {what}"), cursor);
            Err(one(match what.as_str() {
                "SOURCE" | "SINK" => {
                    error.help("write CREATE TABLE … WITH ('connector' = …) and INSERT INTO … SELECT …")
                }
                "CATALOG" | "DATABASE" | "SCHEMA" => error
                    .note("Onceflow has no catalogs and databases: a text declares its own tables")
                    .help("declare each table with CREATE TABLE … WITH ('connector' = …)"),
                "MATERIALIZED" => error.help("write CREATE VIEW, or CREATE TABLE and INSERT INTO"),
                _ => error,
            }))
        }
        None => Err(one(cursor.expected("TABLE or VIEW"))),
    }
}

fn unsupported(what: &str, cursor: &Cursor<'_>) -> Error {
    Error::config(OF0204, format!("{what} is not supported")).at(&cursor.place())
}

fn if_not_exists(cursor: &mut Cursor<'_>) -> Result<bool> {
    if !cursor.take(&["IF"]) {
        return Ok(false);
    }
    cursor.expect(&["NOT", "EXISTS"])?;
    Ok(true)
}

fn view(cursor: &mut Cursor<'_>, script: &mut Script) -> Result<()> {
    let exists = if_not_exists(cursor)?;
    let (name, place) = table_name(cursor)?;
    let columns = if cursor.sees_token(&Token::LParen) { names(cursor, "a column name")? } else { Vec::new() };
    if cursor.take(&["COMMENT"]) {
        cursor.string("a comment in single quotes")?;
    }
    cursor.expect(&["AS"])?;
    let query = query::query(cursor)?;
    if !fresh(script, &name, &place, exists)? {
        return Ok(());
    }
    let columns = columns.into_iter().map(|(name, _)| name).collect();
    script.views.push(ViewDecl { name, place, columns, query });
    Ok(())
}

/// Whether the name is free; an error where it is taken and `IF NOT EXISTS` was not said.
pub(super) fn fresh(script: &Script, name: &str, place: &Place, exists: bool) -> Result<bool> {
    let table = script.tables.iter().find(|table| *table.name == *name).map(|table| &table.place);
    let taken = table.or_else(|| script.views.iter().find(|view| view.name == name).map(|view| &view.place));
    match taken {
        None => Ok(true),
        Some(_) if exists => Ok(false),
        Some(first) => Err(Error::config(OF0208, format!("the name {name} is declared twice"))
            .at(place)
            .note(format!("it is declared first in line {}", first.line))),
    }
}

fn function(cursor: &mut Cursor<'_>) -> Error {
    cursor.skip(1);
    let _ = if_not_exists(cursor);
    match cursor.name("a function name") {
        Ok((name, place)) => Error::config(OF0264, format!("no function {name} is registered in this program"))
            .at(&place)
            .note("functions are Rust functions that the program registers; Java and Python functions do not run here")
            .help("use the built-in functions: docs/functions.md lists them"),
        Err(error) => error,
    }
}
