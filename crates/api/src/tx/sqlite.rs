//! Statements in SQLite.

use super::{Error, Result, Row};
use crate::value::{Param, Value};
use onceflow_engine::home::sqlite::explain;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql};
use std::sync::Arc;

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Param::Null => ValueRef::Null,
            Param::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Param::Int(value) => ValueRef::Integer(*value),
            Param::Float(value) => ValueRef::Real(*value),
            Param::Text(value) => ValueRef::Text(value.as_bytes()),
            Param::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

pub(super) fn execute(connection: &Connection, sql: &str, params: &[Param<'_>]) -> Result<u64> {
    let mut statement = bound(connection, sql, params)?;
    let touched = match statement.column_count() {
        0 => statement.raw_execute().map_err(|error| failed(error, sql))?,
        // A RETURNING that nobody asks for.
        _ => {
            let mut rows = statement.raw_query();
            let mut count = 0;
            while rows.next().map_err(|error| failed(error, sql))?.is_some() {
                count += 1;
            }
            count
        }
    };
    Ok(touched as u64)
}

pub(super) fn query(connection: &Connection, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
    let mut statement = bound(connection, sql, params)?;
    let names: Arc<Vec<String>> = Arc::new(statement.column_names().map(str::to_owned).collect());
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(|error| failed(error, sql))? {
        let value = |index| row.get_ref(index).map(value).map_err(|error| failed(error, sql));
        found.push(Row::new(names.clone(), (0..names.len()).map(value).collect::<Result<_>>()?));
    }
    Ok(found)
}

/// A statement with its parameters bound by their numbers: `$2`, `?2` or the second `?`.
fn bound<'a>(connection: &'a Connection, sql: &str, params: &[Param<'_>]) -> Result<CachedStatement<'a>> {
    let mut statement = connection.prepare_cached(sql).map_err(|error| failed(error, sql))?;
    for place in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(place) {
            Some(name) => name[1..].parse::<usize>().map_err(|_| named(name, sql))?,
            None => place,
        };
        let Some(param) = number.checked_sub(1).and_then(|index| params.get(index)) else {
            return Err(Error::stop(format!("parameter {number} is missing: {} were given to: {sql}", params.len())));
        };
        statement.raw_bind_parameter(place, param).map_err(|error| failed(error, sql))?;
    }
    Ok(statement)
}

fn named(name: &str, sql: &str) -> Error {
    Error::stop(format!("parameter {name} has a name; write $1, $2 … in: {sql}"))
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Float(value),
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Value::Bytes(value.to_vec()),
    }
}

fn failed(error: rusqlite::Error, sql: &str) -> Error {
    explain(error, &format!("execute {}", sql.trim())).into()
}
