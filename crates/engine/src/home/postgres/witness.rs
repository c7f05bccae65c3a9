//! One snapshot of a PostgreSQL database: a read-only transaction with `REPEATABLE READ`.
//!
//! A snapshot takes no lock that a writer waits for. While it is open, vacuum keeps row versions that became dead after it.

use super::config::PostgresConfig;
use super::desk::PgDesk;
use super::session::{Session, connect_plainly};
use super::{classify, quote};
use crate::changes::TableSpec;
use crate::error::{Error, Result};
use crate::home::Answer;
use crate::home::desk::{Cell, Desk};
use crate::home::witness::{EachRow, Witness};
use arrow_schema::DataType;
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::Client;

/// How values are printed, and no limit on how long the snapshot lives: an audit reads the source meanwhile.
const SETTINGS: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_encoding = 'UTF8';
    SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET application_name = 'onceflow audit'";
const SNAPSHOT: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";

/// The columns of a table: name, type, whether it is an array, whether it keeps every text as it came.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), t.typcategory = 'A',
        b.typtype = 'e' OR b.typname IN ('text', 'varchar', 'name')
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

/// A column as found.
#[derive(Clone)]
struct Column {
    shown: String,
    array: bool,
    keeps_texts: bool,
}

/// An open snapshot, and a second connection on which a cast may fail.
pub(super) struct PgWitness {
    config: Arc<PostgresConfig>,
    session: Session,
    caster: Option<Client>,
    tables: BTreeMap<String, BTreeMap<String, Column>>,
}

impl PgWitness {
    /// Connects and takes the snapshot.
    pub(super) async fn open(config: Arc<PostgresConfig>) -> Result<Self> {
        let session = Session::open(&config).await?;
        for sql in [SETTINGS, SNAPSHOT] {
            let answer = session.client.batch_execute(sql).await;
            answer.map_err(|error| session.explain(error, "take a snapshot"))?;
        }
        Ok(Self { config, session, caster: None, tables: BTreeMap::new() })
    }

    fn failed(&self, error: tokio_postgres::Error, table: &TableSpec) -> Error {
        self.session.explain(error, &format!("read table {}", table.target()))
    }

    async fn columns(&mut self, table: &TableSpec) -> Result<&BTreeMap<String, Column>> {
        let name = table.quoted();
        if !self.tables.contains_key(&name) {
            let rows = self.session.client.query(COLUMNS, &[&name]).await.map_err(|error| self.failed(error, table))?;
            let column = |row: &tokio_postgres::Row| {
                (row.get(0), Column { shown: row.get(1), array: row.get(2), keeps_texts: row.get(3) })
            };
            self.tables.insert(name.clone(), rows.iter().map(column).collect());
        }
        Ok(&self.tables[&name])
    }

    async fn scan_all(&mut self, table: &TableSpec, each: EachRow<'_>) -> Result<()> {
        let known = self.columns(table).await?;
        let columns = table.columns.iter().map(|column| {
            let name = quote(&column.name);
            let array = known.get(&column.name).is_some_and(|known| known.array);
            match &column.data_type {
                DataType::Binary | DataType::FixedSizeBinary(_) => format!("encode({name}, 'hex')"),
                _ if array => format!("to_json({name})::text"),
                _ => format!("{name}::text"),
            }
        });
        let columns: Vec<String> = columns.collect();
        let sql = format!("COPY (SELECT {} FROM {}) TO STDOUT", columns.join(", "), table.quoted());
        let stream = self.session.client.copy_out(&sql).await.map_err(|error| self.failed(error, table))?;
        let mut stream = std::pin::pin!(stream);
        let mut lines = Lines::new(columns.len());
        while let Some(bytes) = stream.next().await {
            let bytes =
                bytes.map_err(|error| self.session.explain(error, &format!("read table {}", table.target())))?;
            lines.add(&bytes, each)?;
        }
        Ok(())
    }

    async fn texts_changed(&mut self, table: &TableSpec) -> Result<Vec<bool>> {
        let known = self.columns(table).await?;
        let changed = table.columns.iter().map(|column| {
            let keeps = known.get(&column.name).is_none_or(|known| known.keeps_texts);
            matches!(column.data_type, DataType::Utf8) && !keeps
        });
        Ok(changed.collect())
    }

    async fn cast(
        &mut self,
        table: &TableSpec,
        column: usize,
        texts: Vec<Option<String>>,
    ) -> Result<Vec<Option<String>>> {
        let name = &table.columns[column].name;
        let Some(shown) = self.columns(table).await?.get(name).map(|known| known.shown.clone()) else {
            return Ok(texts);
        };
        let config = self.config.clone();
        if self.caster.as_ref().is_none_or(Client::is_closed) {
            let client = connect_plainly(&config).await?;
            let set = client.batch_execute(SETTINGS).await;
            set.map_err(|error| classify(error, "connect for casts"))?;
            self.caster = Some(client);
        }
        let client = self.caster.as_ref().expect("it was just made sure");
        let sql =
            format!("SELECT (u.v::{shown})::text FROM unnest($1::text[]) WITH ORDINALITY AS u(v, n) ORDER BY u.n");
        if let Ok(rows) = client.query(&sql, &[&texts]).await {
            return Ok(rows.iter().map(|row| row.get(0)).collect());
        }
        // One of them is refused: it cannot stand in the table, so it keeps its own form.
        let mut stored = Vec::with_capacity(texts.len());
        for text in texts {
            let one = client.query_one(&sql, &[&vec![text.clone()]]).await;
            stored.push(one.map_or(text, |row| row.get(0)));
        }
        Ok(stored)
    }
}

/// Lines of COPY's text format, taken apart.
struct Lines {
    columns: usize,
    begun: Vec<u8>,
}

impl Lines {
    fn new(columns: usize) -> Self {
        Self { columns, begun: Vec::new() }
    }

    /// Adds bytes; every line that is complete is handed on.
    fn add(&mut self, bytes: &[u8], each: EachRow<'_>) -> Result<()> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if self.begun.is_empty() {
                row(line, self.columns, each)?;
            } else {
                self.begun.extend_from_slice(line);
                row(&std::mem::take(&mut self.begun), self.columns, each)?;
            }
            rest = after;
        }
        self.begun.extend_from_slice(rest);
        Ok(())
    }
}

fn row(line: &[u8], columns: usize, each: EachRow<'_>) -> Result<()> {
    let line = std::str::from_utf8(line).map_err(|error| Error::internal("a row is not UTF-8").caused_by(error))?;
    let cells: Vec<Option<std::borrow::Cow<'_, str>>> = line.split('\t').map(cell).collect();
    if cells.len() != columns {
        return Err(Error::internal(format!("a row has {} columns instead of {columns}", cells.len())));
    }
    let cells: Vec<Option<&str>> = cells.iter().map(Option::as_deref).collect();
    each(&cells)
}

/// A value without COPY's escapes; `\N` is NULL.
fn cell(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    if text == "\\N" {
        return None;
    }
    if !text.contains('\\') {
        return Some(text.into());
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    Some(out.into())
}

impl Witness for PgWitness {
    fn exists(&mut self) -> Answer<'_, Result<bool>> {
        Box::pin(async move { PgDesk::new(&mut self.session).exists().await })
    }

    fn rows<'a>(&'a mut self, sql: &'a str, parameters: &'a [Cell]) -> Answer<'a, Result<Vec<Vec<Cell>>>> {
        Box::pin(async move { PgDesk::new(&mut self.session).rows(sql, parameters).await })
    }

    fn count<'a>(&'a mut self, table: &'a TableSpec) -> Answer<'a, Result<u64>> {
        Box::pin(async move {
            let sql = format!("SELECT count(*) FROM {}", table.quoted());
            let row = self.session.client.query_one(&sql, &[]).await.map_err(|error| self.failed(error, table))?;
            Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
        })
    }

    fn scan<'a>(&'a mut self, table: &'a TableSpec, each: EachRow<'a>) -> Answer<'a, Result<()>> {
        Box::pin(self.scan_all(table, each))
    }

    fn changes_texts<'a>(&'a mut self, table: &'a TableSpec) -> Answer<'a, Result<Vec<bool>>> {
        Box::pin(self.texts_changed(table))
    }

    fn stored<'a>(
        &'a mut self,
        table: &'a TableSpec,
        column: usize,
        texts: Vec<Option<String>>,
    ) -> Answer<'a, Result<Vec<Option<String>>>> {
        Box::pin(self.cast(table, column, texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_wherever_they_are_cut() {
        let text = b"1\t\\N\ta\\tb\\\\\n2\t\\\\N\t\n";
        for cut in 0..text.len() {
            let mut rows = Vec::new();
            let mut lines = Lines::new(3);
            for part in [&text[..cut], &text[cut..]] {
                let mut each = |cells: &[Option<&str>]| {
                    rows.push(cells.iter().map(|cell| cell.map(str::to_owned)).collect::<Vec<_>>());
                    Ok(())
                };
                lines.add(part, &mut each).unwrap();
            }
            let some = |text: &str| Some(text.to_owned());
            assert_eq!(rows, [vec![some("1"), None, some("a\tb\\")], vec![some("2"), some("\\N"), some("")]], "{cut}");
        }
    }
}
