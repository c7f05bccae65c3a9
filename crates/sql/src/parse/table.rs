//! `CREATE TABLE`.

use super::create::fresh;
use super::insert::{names, table_name};
use super::{Cursor, like, pair, query};
use crate::model::{ColumnDecl, ColumnKind, Script, TableDecl, Value};
use crate::types;
use onceflow::codes::{OF0204, OF0208, OF0212, OF0213, OF0215, OF0217};
use onceflow::{Error, Place, Result};
use sqlparser::tokenizer::Token;
use std::collections::BTreeMap;

/// What stands between the brackets of a `CREATE TABLE`, and its options.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub columns: Vec<ColumnDecl>,
    pub key: Option<(Vec<(String, Place)>, Place)>,
    pub watermark: Option<(String, sqlparser::ast::Expr, Place)>,
    pub options: BTreeMap<String, Value>,
    errors: Vec<Error>,
}

/// Reads what follows `CREATE TABLE [IF NOT EXISTS]`.
pub(super) fn table(cursor: &mut Cursor<'_>, script: &mut Script, exists: bool) -> Result<(), Vec<Error>> {
    let one = |error| vec![error];
    let (name, place) = table_name(cursor).map_err(one)?;
    let mut body = Body::default();
    if cursor.sees_token(&Token::LParen) {
        columns(cursor, &mut body).map_err(one)?;
    }
    clauses(cursor, &mut body).map_err(one)?;
    if cursor.take(&["LIKE"]) {
        body = like::like(cursor, script, body).map_err(one)?;
    }
    refuse_query(cursor, &name).map_err(one)?;
    if !fresh(script, &name, &place, exists).map_err(one)? {
        return Ok(());
    }
    check_names(&mut body);
    if let Some((column, _, place)) = &body.watermark {
        script.warnings.push(no_event_time(column, place));
    }
    if !body.errors.is_empty() {
        return Err(body.errors);
    }
    script.tables.push(TableDecl {
        name: name.into(),
        place,
        columns: body.columns,
        primary_key: body.key.map(|(key, _)| key).unwrap_or_default(),
        watermark: body.watermark,
        options: body.options,
        source: None,
        target: None,
    });
    Ok(())
}

fn no_event_time(column: &str, place: &Place) -> Error {
    Error::config(OF0215, format!("the watermark for {column} has no effect yet"))
        .at(place)
        .note("no operator uses event time yet; what would need it is refused by name")
}

/// `(column, …, constraint, …, watermark)`.
fn columns(cursor: &mut Cursor<'_>, body: &mut Body) -> Result<()> {
    cursor.expect_token(&Token::LParen)?;
    if cursor.take_token(&Token::RParen) {
        return Ok(());
    }
    loop {
        item(cursor, body)?;
        if !cursor.take_token(&Token::Comma) {
            let closed = cursor.take_token(&Token::RParen);
            return if closed { Ok(()) } else { Err(cursor.expected("`,` or `)`")) };
        }
    }
}

fn item(cursor: &mut Cursor<'_>, body: &mut Body) -> Result<()> {
    let place = cursor.place();
    if cursor.take(&["WATERMARK", "FOR"]) {
        return watermark(cursor, body, &place);
    }
    if cursor.take(&["CONSTRAINT"]) {
        cursor.name("a constraint name")?;
        if !cursor.sees(&["PRIMARY"]) && !cursor.sees(&["UNIQUE"]) {
            return Err(cursor.expected("PRIMARY KEY"));
        }
    }
    let place = cursor.place();
    if cursor.take(&["PRIMARY", "KEY"]) {
        let key = names(cursor, "a column of the key")?;
        not_enforced(cursor)?;
        return set_key(body, key, place);
    }
    const REFUSED: &[&str] = &["UNIQUE", "FOREIGN", "CHECK", "PERIOD"];
    let bracket_or_key = cursor.ahead(1).is_some_and(|tok| tok.token.token == Token::LParen || tok.is("KEY"));
    if let Some(word) = REFUSED.iter().find(|word| cursor.sees(&[word])).filter(|_| bracket_or_key) {
        return Err(Error::config(OF0204, format!("{word} constraints are not supported"))
            .at(&place)
            .help("declare them in the database; what it refuses becomes a dead letter"));
    }
    column(cursor, body)
}

fn set_key(body: &mut Body, key: Vec<(String, Place)>, place: Place) -> Result<()> {
    if let Some((_, first)) = &body.key {
        return Err(Error::config(OF0212, "the table has two primary keys")
            .at(&place)
            .note(format!("the first one is in line {}", first.line))
            .help("a key of several columns is written PRIMARY KEY (a, b) NOT ENFORCED"));
    }
    body.key = Some((key, place));
    Ok(())
}

fn not_enforced(cursor: &mut Cursor<'_>) -> Result<()> {
    let place = cursor.place();
    if cursor.take(&["NOT", "ENFORCED"]) {
        return Ok(());
    }
    let message = match cursor.take(&["ENFORCED"]) {
        true => "a primary key cannot be ENFORCED here",
        false => "a primary key needs NOT ENFORCED",
    };
    Err(Error::config(OF0212, message)
        .at(&place)
        .label("NOT ENFORCED belongs here")
        .note("as in Flink: the engine writes by the key, the database's own key enforces it")
        .help("write PRIMARY KEY (…) NOT ENFORCED"))
}

fn watermark(cursor: &mut Cursor<'_>, body: &mut Body, place: &Place) -> Result<()> {
    let (mut name, _) = cursor.name("a column")?;
    while cursor.take_token(&Token::Period) {
        name = format!("{name}.{}", cursor.name("a field")?.0);
    }
    cursor.expect(&["AS"])?;
    let toks = cursor.clone().until_item_end(&[]);
    let expr = query::expression(cursor, toks)?;
    cursor.skip(toks.len());
    if body.watermark.is_some() {
        return Err(Error::config(OF0208, "the table has two watermarks").at(place));
    }
    body.watermark = Some((name, expr, place.clone()));
    Ok(())
}

fn column(cursor: &mut Cursor<'_>, body: &mut Body) -> Result<()> {
    let (name, place) = cursor.name("a column name")?;
    let (declared, kind) = if cursor.take(&["AS"]) {
        let toks = cursor.clone().until_item_end(&["COMMENT"]);
        let expr = query::expression(cursor, toks)?;
        cursor.skip(toks.len());
        (None, ColumnKind::Computed(expr))
    } else {
        let declared = types::declared(cursor)?;
        (Some(declared), metadata(cursor, &name)?)
    };
    let place_of_key = cursor.place();
    if cursor.take(&["CONSTRAINT"]) {
        cursor.name("a constraint name")?;
    }
    if cursor.take(&["PRIMARY", "KEY"]) {
        not_enforced(cursor)?;
        set_key(body, vec![(name.clone(), place.clone())], place_of_key)?;
    }
    comment(cursor)?;
    if let Some(tok) =
        cursor.peek().filter(|tok| ["DEFAULT", "UNIQUE", "CHECK", "REFERENCES"].iter().any(|word| tok.is(word)))
    {
        let word = tok.bare().unwrap_or_default().to_uppercase();
        return Err(Error::config(OF0204, format!("{word} of a column is not supported"))
            .at(&tok.place)
            .help("declare it in the database's own table"));
    }
    body.columns.push(ColumnDecl { name, place, declared, kind });
    Ok(())
}

fn metadata(cursor: &mut Cursor<'_>, name: &str) -> Result<ColumnKind> {
    if !cursor.take(&["METADATA"]) {
        return Ok(ColumnKind::Physical);
    }
    let key = match cursor.take(&["FROM"]) {
        true => cursor.string("a metadata key in single quotes")?.0,
        false => name.to_owned(),
    };
    Ok(ColumnKind::Metadata { key, is_virtual: cursor.take(&["VIRTUAL"]) })
}

fn comment(cursor: &mut Cursor<'_>) -> Result<()> {
    if cursor.take(&["COMMENT"]) {
        cursor.string("a comment in single quotes")?;
    }
    Ok(())
}

/// `COMMENT '…' WITH (…)`, in this order, and what is refused between.
fn clauses(cursor: &mut Cursor<'_>, body: &mut Body) -> Result<()> {
    comment(cursor)?;
    if cursor.sees(&["PARTITIONED"]) || cursor.sees(&["DISTRIBUTED"]) {
        let word = cursor.peek().and_then(crate::text::Tok::bare).unwrap_or_default().to_uppercase();
        return Err(Error::config(OF0213, format!("{word} BY is not supported"))
            .at(&cursor.place())
            .help("remove it; a partitioned table of PostgreSQL is written like any other"));
    }
    if !cursor.take(&["WITH"]) {
        return Ok(());
    }
    cursor.expect_token(&Token::LParen)?;
    if cursor.take_token(&Token::RParen) {
        return Ok(());
    }
    loop {
        let (key, value) = pair(cursor, "an option in single quotes: 'key' = 'value'")?;
        if let Some(first) = body.options.get(&key) {
            let line = first.key_place.line;
            let error = Error::config(OF0208, format!("the option '{key}' stands twice")).at(&value.key_place);
            body.errors.push(error.note(format!("it stands first in line {line}")));
        } else {
            body.options.insert(key, value);
        }
        if !cursor.take_token(&Token::Comma) {
            let closed = cursor.take_token(&Token::RParen);
            return if closed { Ok(()) } else { Err(cursor.expected("`,` or `)`")) };
        }
    }
}

fn refuse_query(cursor: &Cursor<'_>, name: &str) -> Result<()> {
    if !cursor.sees(&["AS"]) {
        return Ok(());
    }
    Err(Error::config(OF0213, "CREATE TABLE … AS SELECT is not supported")
        .at(&cursor.place())
        .help(format!("declare the columns, then write INSERT INTO {name} SELECT …")))
}

/// Columns are declared once; the key names physical columns, which become NOT NULL.
fn check_names(body: &mut Body) {
    for (at, column) in body.columns.iter().enumerate() {
        if let Some(first) = body.columns[..at].iter().find(|first| first.name == column.name) {
            let error =
                Error::config(OF0208, format!("the column {} is declared twice", column.name)).at(&column.place);
            body.errors.push(error.note(format!("it is declared first in line {}", first.place.line)));
        }
    }
    let Some((key, _)) = &body.key else { return };
    for (name, place) in key {
        match body.columns.iter_mut().find(|column| column.name == *name) {
            Some(ColumnDecl { kind: ColumnKind::Physical, declared: Some(declared), .. }) => declared.nullable = false,
            Some(_) => body.errors.push(
                Error::config(OF0212, format!("the key's column {name} is not a physical column"))
                    .at(place)
                    .note("computed and metadata columns cannot be in a primary key"),
            ),
            None => {
                let names = body.columns.iter().map(|column| column.name.as_str());
                let help = crate::suggest::help(name, "columns", names);
                let error =
                    Error::config(OF0217, format!("the primary key names {name}, which is no column")).at(place);
                body.errors.push(error.help(help));
            }
        }
    }
}
