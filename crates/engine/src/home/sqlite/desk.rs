//! The ledger for people's commands.

use super::{SqliteHome, begin_immediate, fault, ledger};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::Answer;
use crate::home::desk::{Cell, Desk, Statement};
use rusqlite::Connection;
use rusqlite::types::{Value, ValueRef};

/// A desk in a SQLite file.
pub(super) struct SqliteDesk<'a> {
    home: &'a mut SqliteHome,
}

impl<'a> SqliteDesk<'a> {
    pub(super) fn new(home: &'a mut SqliteHome) -> Self {
        Self { home }
    }

    fn exists_now(&mut self) -> Result<bool> {
        if !self.home.place.exists() {
            return Ok(false);
        }
        let place = self.home.place.clone();
        let session = self.home.session()?;
        ledger::exists(&session.connection).map_err(|error| fault::error(&place, "look into", error))
    }

    fn rows_now(&mut self, sql: &str, parameters: &[Cell]) -> Result<Vec<Vec<Cell>>> {
        let place = self.home.place.clone();
        let connection = &self.home.session()?.connection;
        ledger::version(&place, connection)?;
        query_named(connection, sql, parameters).map_err(|error| fault::error(&place, "ask", error))
    }

    fn execute_now(&mut self, statements: &[Statement]) -> Result<Vec<u64>> {
        let place = self.home.place.clone();
        let connection = &self.home.session()?.connection;
        ledger::version(&place, connection)?;
        begin_immediate(&place, connection, "change")?;
        let done = all(connection, statements, |error| fault::error(&place, "change", error)).and_then(|counts| {
            connection.execute_batch("COMMIT").map_err(|error| fault::error(&place, "change", error)).map(|()| counts)
        });
        if done.is_err() && !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            self.home.session = None;
        }
        done
    }
}

fn all(
    connection: &Connection,
    statements: &[Statement],
    failed: impl Fn(rusqlite::Error) -> Error,
) -> Result<Vec<u64>> {
    let mut counts = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        let count = execute(connection, statement).map_err(&failed)?;
        if statement.expect_rows.is_some_and(|expected| expected != count) {
            let expected = statement.expect_rows.unwrap_or(0);
            let message =
                format!("statement {} of a change of the ledger touched {count} rows, not {expected}", index + 1);
            return Err(Error::new(Kind::Identity, codes::OF0911, message)
                .note("everything was rolled back: somebody changed the ledger meanwhile")
                .help("look again and repeat the command"));
        }
        counts.push(count);
    }
    Ok(counts)
}

fn execute(connection: &Connection, statement: &Statement) -> rusqlite::Result<u64> {
    let mut prepared = connection.prepare(&named(&statement.sql))?;
    bind(&mut prepared, &statement.parameters)?;
    prepared.raw_execute().map(|count| count as u64)
}

/// Rows of a query that is written with names in braces.
pub(super) fn query_named(connection: &Connection, sql: &str, parameters: &[Cell]) -> rusqlite::Result<Vec<Vec<Cell>>> {
    query(connection, &named(sql), parameters)
}

fn query(connection: &Connection, sql: &str, parameters: &[Cell]) -> rusqlite::Result<Vec<Vec<Cell>>> {
    let mut prepared = connection.prepare(sql)?;
    bind(&mut prepared, parameters)?;
    let columns = prepared.column_count();
    let mut rows = prepared.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|index| row.get_ref(index).map(cell));
        all.push(cells.collect::<rusqlite::Result<Vec<Cell>>>()?);
    }
    Ok(all)
}

/// Binds by the number in the name: SQLite itself numbers `$1`, `$2` in order of first appearance.
fn bind(statement: &mut rusqlite::Statement<'_>, parameters: &[Cell]) -> rusqlite::Result<()> {
    for index in 0..statement.parameter_count() {
        let named = statement.parameter_name(index + 1).and_then(|name| name[1..].parse::<usize>().ok());
        let Some(parameter) = parameters.get(named.map_or(index, |number| number.wrapping_sub(1))) else { continue };
        let value = match parameter {
            Cell::Null => Value::Null,
            Cell::Int(value) => Value::Integer(*value),
            Cell::Text(text) => Value::Text(text.clone()),
            Cell::Bytes(bytes) => Value::Blob(bytes.clone()),
        };
        statement.raw_bind_parameter(index + 1, value)?;
    }
    Ok(())
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) => Cell::Text(value.to_string()),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    }
}

/// `{shard}` becomes `onceflow_shard`. Braces around anything else stay: they may be JSON.
fn named(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some((name, after)) if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_') => {
                out.push_str("onceflow_");
                out.push_str(name);
                rest = after;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

impl Desk for SqliteDesk<'_> {
    fn exists(&mut self) -> Answer<'_, Result<bool>> {
        super::now(self.exists_now())
    }

    fn rows<'a>(&'a mut self, sql: &'a str, parameters: &'a [Cell]) -> Answer<'a, Result<Vec<Vec<Cell>>>> {
        super::now(self.rows_now(sql, parameters))
    }

    fn execute<'a>(&'a mut self, statements: &'a [Statement]) -> Answer<'a, Result<Vec<u64>>> {
        super::now(self.execute_now(statements))
    }
}
