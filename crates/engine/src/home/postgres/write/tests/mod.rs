//! Against a real server: `ONCEFLOW_TEST_POSTGRES=postgresql://postgres@127.0.0.1:5432/postgres`, as a superuser.
//!
//! Each test has a schema of its own and leaves nothing behind. Names of deferred constraints are looked up all over the
//! database, so the few tests that have some run in a database of their own (`alone`).

mod fit;
mod modes;
mod refusals;
mod speed;
mod values;

use super::*;
use crate::changes::{ColumnSpec, Part, RowSet, WriteMode};
use crate::error::Place;
use crate::logic::EpochClock;
use crate::record::{Batch, Record, Records, TimestampType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use onceflow_core::{Partition, Position, Span};
use tokio_postgres::NoTls;

/// A connection with an own schema in front of the search path.
pub(super) struct Lab {
    pub client: Client,
    pub schema: String,
    url: String,
}

/// Runs a test against the server, where there is one.
pub(super) fn lab<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Lab) -> F) {
    let Ok(url) = std::env::var("ONCEFLOW_TEST_POSTGRES") else {
        assert!(std::env::var_os("ONCEFLOW_TEST_REQUIRE").is_none(), "ONCEFLOW_TEST_POSTGRES is not set");
        println!("not run: ONCEFLOW_TEST_POSTGRES is not set");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let schema = format!("pgw_{name}_{}", std::process::id());
        let client = connect(&url).await;
        let create = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; SET search_path = {schema}, public");
        client.batch_execute(&create).await.unwrap();
        test(Lab { client, schema: schema.clone(), url: url.clone() }).await;
        connect(&url).await.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
    });
}

/// Runs a test in a database of its own.
pub(super) fn alone<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Lab) -> F) {
    lab(name, async |lab| {
        let database = format!("{}_db", lab.schema);
        lab.sql(&format!("DROP DATABASE IF EXISTS {database}")).await;
        lab.sql(&format!("CREATE DATABASE {database}")).await;
        let (server, _) = lab.url.rsplit_once('/').expect("a URL with a database");
        let url = format!("{server}/{database}");
        let client = connect(&url).await;
        client.batch_execute(&format!("CREATE SCHEMA {0}; SET search_path = {0}, public", lab.schema)).await.unwrap();
        test(Lab { client, schema: lab.schema.clone(), url }).await;
        lab.sql(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
    });
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move {
        // Ends with the client; a test that ends the session sees it in its own answers.
        let _ = connection.await;
    });
    client.batch_execute("SET client_min_messages = warning").await.unwrap();
    client
}

impl Lab {
    pub async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    }

    /// A second session in the same schema.
    pub async fn other(&self) -> Lab {
        let client = connect(&self.url).await;
        client.batch_execute(&format!("SET search_path = {}, public", self.schema)).await.unwrap();
        Lab { client, schema: self.schema.clone(), url: self.url.clone() }
    }

    /// Rows of a query as texts.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        let sql = format!("SELECT q::text FROM ({query}) q");
        let rows = self.client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub async fn writer(&self, tables: &[TableSpec]) -> Writer {
        let found = check_tables(&self.client, tables, false).await.unwrap_or_else(|error| panic!("{error:?}"));
        assert!(found.to_create.is_empty());
        Writer::prepare(&self.client, Arc::new(tables.to_vec())).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Writes and commits.
    pub async fn write(&self, writer: &mut Writer, work: &Work) -> Written {
        self.sql("BEGIN").await;
        let written = writer.write(&self.client, work).await.unwrap_or_else(|error| panic!("{error:?}"));
        self.sql("COMMIT").await;
        written
    }

    /// Writes one work with a new writer.
    pub async fn write_once(&self, tables: &[TableSpec], work: &Work) -> Written {
        let mut writer = self.writer(tables).await;
        self.write(&mut writer, work).await
    }
}

pub(super) fn place() -> Place {
    Place { file: "test.sql".into(), line: 1, column: 1, length: 1 }
}

/// A declared table: columns as (name, type, declared), the key's first columns.
pub(super) fn table(name: &str, columns: &[(&str, DataType, &str)], key: usize, mode: WriteMode) -> TableSpec {
    let column = |(name, data_type, declared): &(&str, DataType, &str)| ColumnSpec {
        name: (*name).to_owned(),
        data_type: data_type.clone(),
        nullable: true,
        declared: (*declared).to_owned(),
        place: place(),
    };
    TableSpec {
        name: name.into(),
        schema: None,
        table: name.to_owned(),
        columns: columns.iter().map(column).collect(),
        key: (0..key).collect(),
        mode,
        on_error: OnError::DeadLetter,
        place: place(),
    }
}

/// A declared table of BIGINT columns.
pub(super) fn ints(name: &str, columns: &[&str], key: usize, mode: WriteMode) -> TableSpec {
    let columns: Vec<_> = columns.iter().map(|column| (*column, DataType::Int64, "BIGINT")).collect();
    table(name, &columns, key, mode)
}

pub(super) fn int_column(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(super) fn text_column(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub(super) fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let named = columns.into_iter().enumerate().map(|(at, column)| (format!("x{at}"), column, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

/// So many records of a partition, beginning at an offset.
pub(super) fn records(partition: u32, from: u64, count: usize) -> Batch {
    let mut records = Records::with_capacity(count, 0);
    for number in 0..count as u64 {
        records.push(Record {
            offset: Position::new(from + number),
            timestamp: None,
            timestamp_type: TimestampType::None,
            key: None,
            value: Some(b"v"),
            headers: &[],
            line: 0,
        });
    }
    let to = Position::new(from + count as u64);
    Batch {
        partition: Partition::new("source", "topic", partition),
        span: Span::new(Position::new(from), to).unwrap(),
        records,
        leader_epoch: None,
        file: None,
    }
}

/// One set whose rows come from the records one by one.
pub(super) fn set(table: usize, rows: RecordBatch) -> RowSet {
    let count = u32::try_from(rows.num_rows()).unwrap();
    RowSet { table, rows, ordinals: Some((0..count).collect()), deletes: None }
}

pub(super) fn work_of(parts: Vec<(Vec<Batch>, Vec<RowSet>)>) -> Work {
    let part = |(batches, sets): (Vec<Batch>, Vec<RowSet>)| {
        let used = batches.iter().map(|batch| batch.records.len() as u64).sum();
        Part::new(batches, sets, Vec::new(), used)
    };
    Work { parts: parts.into_iter().map(part).collect(), clock: EpochClock { now: 0, seed: 0 } }
}

/// A work of one partition with these sets.
pub(super) fn work(sets: Vec<RowSet>) -> Work {
    let count = sets.iter().map(|set| set.rows.num_rows()).max().unwrap_or(0);
    work_of(vec![(vec![records(0, 100, count)], sets)])
}

/// Offsets of refused records with what was said.
pub(super) fn refused(work: &Work, written: &Written) -> Vec<(u64, String, String)> {
    let lineage = work.lineage();
    let one = |refusal: &Refusal| {
        let (part, ordinal) = lineage.find(refusal.unit).expect("a record");
        let offset = work.parts[part].record(ordinal).1.offset.get();
        (offset, refusal.sqlstate.clone(), refusal.reason.clone())
    };
    written.refused.iter().map(one).collect()
}

pub(super) fn offsets(work: &Work, written: &Written) -> Vec<u64> {
    refused(work, written).into_iter().map(|refused| refused.0).collect()
}
