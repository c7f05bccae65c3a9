//! `INSERT INTO target [(columns)] query`.

use super::{Cursor, query};
use crate::model::{InsertDecl, Script};
use onceflow::codes::{OF0204, OF0208, OF0261, OF0262};
use onceflow::{Error, Place, Result};
use sqlparser::ast::SetExpr;
use sqlparser::tokenizer::Token;

/// Reads what follows `INSERT`.
pub(super) fn insert(cursor: &mut Cursor<'_>, script: &mut Script) -> Result<(), Vec<Error>> {
    read(cursor, script).map_err(|error| vec![error])
}

fn read(cursor: &mut Cursor<'_>, script: &mut Script) -> Result<()> {
    if cursor.sees(&["OVERWRITE"]) {
        return Err(Error::config(OF0204, "INSERT OVERWRITE is not supported")
            .at(&cursor.place())
            .note("Onceflow never deletes or replaces a table's rows beyond the keys that come"));
    }
    cursor.expect(&["INTO"])?;
    let (target, place) = table_name(cursor)?;
    if cursor.sees(&["PARTITION"]) {
        return Err(Error::config(OF0204, "INSERT INTO … PARTITION is not supported").at(&cursor.place()));
    }
    let columns = if begins_query(cursor) { Vec::new() } else { columns(cursor)? };
    let body = cursor.place();
    let query = query::query(cursor)?;
    if matches!(*query.body, SetExpr::Values(_)) {
        return Err(Error::config(OF0262, format!("INSERT INTO {target} VALUES has no source"))
            .at(&body)
            .note("rows that stand in the text have no position in a source, so nothing could tell whether they were written")
            .help("insert them with psql or sqlite3, or put them in a file and read it with 'connector' = 'filesystem'"));
    }
    script.inserts.push(InsertDecl { target, place, columns, query });
    Ok(())
}

/// Whether a query comes next, and no column list.
fn begins_query(cursor: &Cursor<'_>) -> bool {
    !cursor.sees_token(&Token::LParen)
        || cursor.ahead(1).is_some_and(|tok| {
            tok.token.token == Token::LParen || ["SELECT", "WITH", "VALUES"].iter().any(|word| tok.is(word))
        })
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<(String, Place)>> {
    let columns = names(cursor, "a column of the target")?;
    if columns.is_empty() {
        return Err(Error::config(OF0261, "the column list is empty").at(&cursor.place()));
    }
    Ok(columns)
}

/// Reads `(a, b)`, each name once.
pub(super) fn names(cursor: &mut Cursor<'_>, what: &str) -> Result<Vec<(String, Place)>> {
    cursor.expect_token(&Token::LParen)?;
    let mut names: Vec<(String, Place)> = Vec::new();
    loop {
        let (name, place) = cursor.name(what)?;
        if names.iter().any(|(other, _)| *other == name) {
            return Err(Error::config(OF0208, format!("the column {name} is listed twice")).at(&place));
        }
        names.push((name, place));
        if !cursor.take_token(&Token::Comma) {
            cursor.expect_token(&Token::RParen)?;
            return Ok(names);
        }
    }
}

/// Reads a table's name; one with a catalog or a database is refused.
pub(super) fn table_name(cursor: &mut Cursor<'_>) -> Result<(String, Place)> {
    let (name, place) = cursor.name("a table name")?;
    if cursor.sees_token(&Token::Period) {
        return Err(Error::config(OF0204, "a table name has no catalog or database here")
            .at(&place)
            .note("the names of a text are its own; where the rows go is said by 'table-name' = 'schema.table'")
            .help("write the last part of the name alone"));
    }
    Ok((name, place))
}
