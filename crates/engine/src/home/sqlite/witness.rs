//! One snapshot of a SQLite file: a read transaction, which writers do not wait for.

use super::desk::query_named;
use super::location::Location;
use super::{fault, ledger, now};
use crate::changes::{TableSpec, quoted};
use crate::error::Result;
use crate::home::Answer;
use crate::home::desk::Cell;
use crate::home::witness::{EachRow, Witness};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::fmt::Write as _;
use std::sync::Arc;

/// A read transaction that is open as long as the witness lives.
pub(super) struct SqliteWitness {
    place: Arc<Location>,
    connection: Connection,
}

impl SqliteWitness {
    /// Opens the file and takes the snapshot.
    pub(super) fn new(place: Arc<Location>) -> Result<Self> {
        let connection = place.connect(false)?;
        // The first read takes the snapshot; BEGIN alone does not.
        let begin = "PRAGMA query_only = ON; BEGIN; SELECT count(*) FROM sqlite_schema;";
        connection.execute_batch(begin).map_err(|error| fault::error(&place, "look into", error))?;
        Ok(Self { place, connection })
    }

    fn failed(&self, doing: &str, error: rusqlite::Error) -> crate::Error {
        fault::error(&self.place, doing, error)
    }

    fn exists_now(&self) -> Result<bool> {
        ledger::exists(&self.connection).map_err(|error| self.failed("look into", error))
    }

    fn rows_now(&self, sql: &str, parameters: &[Cell]) -> Result<Vec<Vec<Cell>>> {
        ledger::version(&self.place, &self.connection)?;
        query_named(&self.connection, sql, parameters).map_err(|error| self.failed("ask", error))
    }

    fn count_now(&self, table: &TableSpec) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM main.{}", quoted(&table.table));
        let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0)).map_err(|e| self.failed("count", e))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn scan_now(&self, table: &TableSpec, each: EachRow<'_>) -> Result<()> {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let sql = format!("SELECT {} FROM main.{}", columns.join(", "), quoted(&table.table));
        let doing = "read the rows of";
        let mut statement = self.connection.prepare(&sql).map_err(|error| self.failed(doing, error))?;
        let mut rows = statement.raw_query();
        let mut texts = vec![String::new(); columns.len()];
        while let Some(row) = rows.next().map_err(|error| self.failed(doing, error))? {
            let mut nulls = vec![false; columns.len()];
            for (index, text) in texts.iter_mut().enumerate() {
                let value = row.get_ref(index).map_err(|error| self.failed(doing, error))?;
                nulls[index] = !print(value, text);
            }
            let cells: Vec<Option<&str>> =
                texts.iter().zip(&nulls).map(|(text, null)| (!null).then_some(text.as_str())).collect();
            each(&cells)?;
        }
        Ok(())
    }
}

/// A value as text; `false` for NULL.
fn print(value: ValueRef<'_>, out: &mut String) -> bool {
    out.clear();
    // Writing into a text cannot fail.
    let _ = match value {
        ValueRef::Null => return false,
        ValueRef::Integer(value) => write!(out, "{value}"),
        ValueRef::Real(value) => write!(out, "{value}"),
        ValueRef::Text(text) => {
            out.push_str(&String::from_utf8_lossy(text));
            Ok(())
        }
        ValueRef::Blob(bytes) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
    };
    true
}

impl Witness for SqliteWitness {
    fn exists(&mut self) -> Answer<'_, Result<bool>> {
        now(self.exists_now())
    }

    fn rows<'a>(&'a mut self, sql: &'a str, parameters: &'a [Cell]) -> Answer<'a, Result<Vec<Vec<Cell>>>> {
        now(self.rows_now(sql, parameters))
    }

    fn count<'a>(&'a mut self, table: &'a TableSpec) -> Answer<'a, Result<u64>> {
        now(self.count_now(table))
    }

    fn scan<'a>(&'a mut self, table: &'a TableSpec, each: EachRow<'a>) -> Answer<'a, Result<()>> {
        now(self.scan_now(table, each))
    }

    fn changes_texts<'a>(&'a mut self, table: &'a TableSpec) -> Answer<'a, Result<Vec<bool>>> {
        // Columns that would change a text are refused at the start (OF0821 and its neighbours).
        now(Ok(vec![false; table.columns.len()]))
    }

    fn stored<'a>(
        &'a mut self,
        _: &'a TableSpec,
        _: usize,
        texts: Vec<Option<String>>,
    ) -> Answer<'a, Result<Vec<Option<String>>>> {
        now(Ok(texts))
    }
}
