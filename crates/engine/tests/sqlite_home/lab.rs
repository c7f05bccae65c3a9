//! What the tests of the SQLite home share: a file each, an owner of its ledger, and works to commit.

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use futures_util::FutureExt as _;
use onceflow_engine::changes::{ColumnSpec, OnError, Part, RowSet, TableSpec, Work, WriteMode, Written};
use onceflow_engine::core::{
    Consumed, Counts, Digest, Held, Ledger, Nonce, Partition, PipelineId, Position, PositionRow, ShardId,
    SourceIdentity, Span, Step, TableTotal,
};
use onceflow_engine::digest::digest_rows;
use onceflow_engine::home::sqlite::SqliteFactory;
use onceflow_engine::home::{
    Claim, ClaimRequest, CommitError, Done, Home, HomeFactory, Registered, Registration, Right,
};
use onceflow_engine::lane::closing;
use onceflow_engine::logic::EpochClock;
use onceflow_engine::record::{Batch, Record, Records, TimestampType};
use onceflow_engine::{Error, Place};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the first record of every partition is.
pub const FIRST: u64 = 100;

/// What the home answers. It works in the calling thread, so the answer is there at once.
pub fn now<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("the SQLite home answers at once")
}

/// A folder with a database file of a test's own.
pub struct Lab {
    pub folder: tempfile::TempDir,
}

impl Lab {
    /// A folder without a file.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A file with these tables.
    pub fn new(sql: &str) -> Self {
        let lab = Self::empty();
        lab.sql(sql);
        lab
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home.db")
    }

    pub fn sql(&self, sql: &str) {
        self.connection().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub fn connection(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Rows of a query, columns separated by `|`, as they are stored.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns).map(|index| row.get_ref(index).map(shown)).collect::<Result<Vec<_>, _>>()
        });
        rows.unwrap().map(|row| row.unwrap().join("|")).collect()
    }

    /// The only row of a query.
    pub fn row(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.into_iter().next().unwrap()
    }

    pub fn home(&self, tables: &[TableSpec]) -> Box<dyn Home> {
        open(&self.path(), tables)
    }

    /// A registered pipeline with two partitions, and their owner.
    pub fn owner(&self, tables: &[TableSpec]) -> Owner {
        let mut home = self.home(tables);
        let pipeline = founded(&mut *home, tables, 2);
        let ledger = claim(&mut *home, pipeline, 2, 1);
        Owner { home, ledger, pipeline, tables: tables.to_vec() }
    }

    /// Writes and commits one work with a new owner.
    pub fn write(&self, tables: &[TableSpec], work: &Work) -> Written {
        self.owner(tables).commit(work).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a registration of these tables is refused with.
    pub fn refused(&self, tables: &[TableSpec]) -> Error {
        now(self.home(tables).register(&registration(tables))).expect_err("the declaration does not fit")
    }

    /// Names of the files in the folder.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => format!("{value:?}"),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => bytes.iter().fold("x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

pub fn open(path: &Path, tables: &[TableSpec]) -> Box<dyn Home> {
    let factory = SqliteFactory::new(&format!("sqlite:{}", path.display())).unwrap();
    factory.open(Arc::new(tables.to_vec())).unwrap()
}

pub fn registration(tables: &[TableSpec]) -> Registration {
    Registration {
        name: "p".to_owned(),
        version: "0.1.0".to_owned(),
        fingerprint: "f1".to_owned(),
        wiring: "source -> table".to_owned(),
        tables: tables.to_vec(),
        adopt: true,
        auto_create: false,
        accept_wiring: false,
    }
}

pub fn register(home: &mut dyn Home, registration: &Registration) -> Registered {
    now(home.register(registration)).unwrap_or_else(|error| panic!("{error:?}"))
}

pub fn partition(number: u32) -> Partition {
    Partition::new("source", "topic", number)
}

pub fn shard(number: u32) -> ShardId {
    partition(number).own_shard()
}

pub fn first(number: u32, next: u64) -> PositionRow {
    PositionRow {
        shard: shard(number),
        partition: partition(number),
        identity: SourceIdentity::new("cluster", "topic-id"),
        next: Position::new(next),
        leader_epoch: None,
        tail: None,
        watermark: None,
    }
}

/// Registers a pipeline and founds its partitions.
pub fn founded(home: &mut dyn Home, tables: &[TableSpec], partitions: u32) -> PipelineId {
    let pipeline = register(home, &registration(tables)).pipeline;
    let rows: Vec<_> = (0..partitions).map(|number| first(number, FIRST)).collect();
    now(home.found(pipeline, &rows)).unwrap();
    pipeline
}

pub fn request(pipeline: PipelineId, shards: u32, nonce: u128, held: &BTreeMap<ShardId, Held>) -> ClaimRequest {
    let shards = (0..shards).map(shard).collect();
    ClaimRequest { pipeline, shards, held: held.clone(), nonce: Nonce::new(nonce), lane: "0".to_owned() }
}

/// A claim by somebody who held nothing; has to succeed.
pub fn claim(home: &mut dyn Home, pipeline: PipelineId, shards: u32, nonce: u128) -> Ledger {
    claim_again(home, pipeline, shards, nonce, &BTreeMap::new())
}

pub fn claim_again(
    home: &mut dyn Home,
    pipeline: PipelineId,
    shards: u32,
    nonce: u128,
    held: &BTreeMap<ShardId, Held>,
) -> Ledger {
    match now(home.claim(&request(pipeline, shards, nonce, held))).unwrap_or_else(|error| panic!("{error:?}")) {
        Claim::Owned(ledger) => ledger,
        Claim::Fenced { shard, found } => panic!("{shard} is fenced by generation {found}"),
    }
}

/// A home with the ledger that it owns.
pub struct Owner {
    pub home: Box<dyn Home>,
    pub ledger: Ledger,
    pub pipeline: PipelineId,
    pub tables: Vec<TableSpec>,
}

impl Owner {
    /// One epoch as a lane makes it: propose, begin, write, close, commit, accept.
    pub fn commit(&mut self, work: &Work) -> Result<Written, CommitError> {
        let advance = self.ledger.propose(step(work, &self.tables)).expect("the work fits the ledger");
        let (written, committed) = commit(&mut *self.home, Right::Advance(advance), work, &self.tables)?;
        match committed {
            Done::Advanced(committed) => self.ledger.accept(committed).expect("it is this ledger's"),
            Done::Replayed(_) => panic!("an advance was answered as a replay"),
        }
        Ok(written)
    }

    /// Claims again, as after every failure.
    pub fn claim(&mut self, nonce: u128) {
        self.ledger = claim_again(&mut *self.home, self.pipeline, 2, nonce, &self.ledger.held());
    }

    pub fn next(&self, number: u32) -> u64 {
        let mine = self.ledger.positions().find(|row| row.partition == partition(number));
        mine.expect("a partition of the owner").next.get()
    }

    /// A work of partition 0 with one set that goes on where the ledger says.
    pub fn rows(&self, rows: RecordBatch) -> Work {
        let count = rows.num_rows();
        work_of(vec![(vec![records(0, self.next(0), count)], vec![set(0, rows)])])
    }
}

/// Spends a right on a work.
pub fn commit(
    home: &mut dyn Home,
    right: Right,
    work: &Work,
    tables: &[TableSpec],
) -> Result<(Written, Done), CommitError> {
    let mut transaction = now(home.begin(right))?;
    let written = now(transaction.write(work))?;
    let closing = closing::close(work, &written, tables).unwrap();
    let done = now(transaction.commit(&closing))?;
    Ok((written, done))
}

/// The step of a work.
pub fn step(work: &Work, tables: &[TableSpec]) -> Step {
    let mut counts = Counts::default();
    let mut consumed: BTreeMap<Partition, Consumed> = BTreeMap::new();
    let mut totals: Vec<_> = tables.iter().map(|table| (table.name.clone(), Digest::EMPTY)).collect();
    for part in &work.parts {
        counts.merge(&part.counts);
        part.batches.iter().for_each(|batch| consume(&mut consumed, batch));
        for set in &part.sets {
            totals[set.table].1.merge(digest_rows(&set.rows));
        }
    }
    let tables = totals.into_iter().map(|(table, digest)| TableTotal { table, digest }).collect();
    Step { consumed: consumed.into_values().collect(), counts, tables }
}

fn consume(consumed: &mut BTreeMap<Partition, Consumed>, batch: &Batch) {
    let (partition, digest, tail) = (batch.partition.clone(), batch.digest(), batch.tail());
    let fresh = Consumed { partition: partition.clone(), span: batch.span, digest, leader_epoch: None, tail };
    let Some(open) = consumed.get_mut(&partition) else {
        consumed.insert(partition, fresh);
        return;
    };
    open.span = Span::new(open.span.from(), batch.span.to()).unwrap();
    open.digest.merge(digest);
    open.tail = tail.or(open.tail);
}

/// A place in a text of its own line, so that messages can be told apart.
pub fn place(line: u32) -> Place {
    Place { file: "test.sql".into(), line, column: 1, length: 1 }
}

/// A declared table: columns as (name, type, declared), the key's first columns.
pub fn table(name: &str, columns: &[(&str, DataType, &str)], key: usize, mode: WriteMode) -> TableSpec {
    let column = |(name, data_type, declared): &(&str, DataType, &str)| ColumnSpec {
        name: (*name).to_owned(),
        data_type: data_type.clone(),
        nullable: true,
        declared: (*declared).to_owned(),
        place: place(2),
    };
    TableSpec {
        name: name.into(),
        schema: None,
        table: name.to_owned(),
        columns: columns.iter().map(column).collect(),
        key: (0..key).collect(),
        mode,
        on_error: OnError::DeadLetter,
        place: place(1),
    }
}

/// A declared table of BIGINT columns.
pub fn ints(name: &str, columns: &[&str], key: usize, mode: WriteMode) -> TableSpec {
    let columns: Vec<_> = columns.iter().map(|column| (*column, DataType::Int64, "BIGINT")).collect();
    table(name, &columns, key, mode)
}

pub fn statement(sql: &str, expect_rows: Option<u64>) -> WriteMode {
    WriteMode::Statement { sql: sql.to_owned(), expect_rows, place: place(3) }
}

pub fn int_column(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub fn text_column(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let named = columns.into_iter().enumerate().map(|(at, column)| (format!("x{at}"), column, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

/// Rows of a table, with its columns' names.
pub fn rows_of(spec: &TableSpec, columns: Vec<ArrayRef>) -> RecordBatch {
    let named = spec.columns.iter().zip(columns).map(|(column, array)| (column.name.clone(), array, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

pub fn pairs(keys: &[i64], values: &[i64]) -> RecordBatch {
    let named = [("k", int_column(keys.iter().copied())), ("v", int_column(values.iter().copied()))];
    RecordBatch::try_from_iter_with_nullable(named.map(|(name, array)| (name, array, true))).unwrap()
}

/// So many records of a partition, beginning at an offset.
pub fn records(number: u32, from: u64, count: usize) -> Batch {
    let mut records = Records::with_capacity(count, 0);
    for at in from..from + count as u64 {
        records.push(Record {
            offset: Position::new(at),
            timestamp: Some(1_700_000_000_000),
            timestamp_type: TimestampType::None,
            key: Some(b"key"),
            value: Some(format!("value {at}").as_bytes()),
            headers: &[],
            line: 0,
        });
    }
    let span = Span::new(Position::new(from), Position::new(from + count as u64)).unwrap();
    Batch { partition: partition(number), span, records, leader_epoch: None, file: None }
}

/// One set whose rows come from the part's records one by one.
pub fn set(table: usize, rows: RecordBatch) -> RowSet {
    let count = u32::try_from(rows.num_rows()).unwrap();
    RowSet { table, rows, ordinals: Some((0..count).collect()), deletes: None }
}

pub fn work_of(parts: Vec<(Vec<Batch>, Vec<RowSet>)>) -> Work {
    let part = |(batches, sets): (Vec<Batch>, Vec<RowSet>)| {
        let used = batches.iter().map(|batch| batch.records.len() as u64).sum();
        Part::new(batches, sets, Vec::new(), used)
    };
    Work { parts: parts.into_iter().map(part).collect(), clock: EpochClock { now: 1_700_000_000_000_000, seed: 2 } }
}

/// The first work of partition 0 with these sets.
pub fn work(sets: Vec<RowSet>) -> Work {
    let count = sets.iter().map(|set| set.rows.num_rows()).max().unwrap_or(0);
    work_of(vec![(vec![records(0, FIRST, count)], sets)])
}

/// A work that only moves partition 0.
pub fn nothing(from: u64, count: usize) -> Work {
    work_of(vec![(vec![records(0, from, count)], Vec::new())])
}

/// Offsets of refused records.
pub fn offsets(work: &Work, written: &Written) -> Vec<u64> {
    let lineage = work.lineage();
    let one = |refusal: &onceflow_engine::changes::Refusal| {
        let (part, ordinal) = lineage.find(refusal.unit).expect("a record");
        work.parts[part].record(ordinal).1.offset.get()
    };
    written.refused.iter().map(one).collect()
}

/// Everything an error says.
pub fn told(error: &Error) -> String {
    let notes = error.notes().iter().map(|note| format!("\nnote: {note}"));
    let helps = error.helps().iter().map(|help| format!("\nhelp: {help}"));
    format!("{} {}{}{}", error.code(), error.message(), notes.collect::<String>(), helps.collect::<String>())
}
