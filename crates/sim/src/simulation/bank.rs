//! The pipeline that is simulated: a bank. Each record moves an amount from one account to another; some records are left out,
//! cannot be read, or are refused by the database.
//!
//! Owns what a record means, the logic as the engine calls it, and the tables.

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use onceflow::changes::{ColumnSpec, Failed, MergeOp, OnError, Part, RowSet, TableSpec, WriteMode};
use onceflow::logic::{EpochClock, Logic, LogicFactory};
use onceflow::record::Batch;
use onceflow::{Error, Place, Result, codes};
use std::sync::Arc;

/// The table with a row for every transfer.
pub(super) const ENTRY: usize = 0;
/// The table with a row for every account.
pub(super) const BALANCE: usize = 1;
/// The database refuses a transfer of so much.
pub(super) const REFUSED: i64 = 666;

/// What a record is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    Transfer {
        from: i64,
        to: i64,
        amount: i64,
    },
    /// The logic leaves it out.
    Filtered,
    /// It cannot be read, and becomes a dead letter.
    Dead,
    /// It cannot be read, and is dropped.
    Skipped,
}

/// Reads a value: `from to amount`.
pub(super) fn meaning(value: Option<&[u8]>) -> Meaning {
    let Some(value) = value else { return Meaning::Filtered };
    let text = String::from_utf8_lossy(value);
    let numbers: Vec<i64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [from, to, amount] => Meaning::Transfer { from: *from, to: *to, amount: *amount },
        _ if text == "skip" => Meaning::Skipped,
        _ => Meaning::Dead,
    }
}

/// A row of the entry table, without the source's index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Entry {
    pub(super) source: i64,
    pub(super) partition: i64,
    pub(super) offset: i64,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) amount: i64,
}

/// The bank's logic.
#[derive(Debug)]
pub(super) struct Bank;

impl LogicFactory for Bank {
    fn build(&self) -> Result<Box<dyn Logic>> {
        Ok(Box::new(Bank))
    }
}

impl Logic for Bank {
    fn prepare(&mut self, source: usize, batches: Vec<Batch>, _: &EpochClock) -> Result<Part> {
        let source = i64::try_from(source).expect("there are few sources");
        let (mut entries, mut failed) = (Vec::new(), Vec::new());
        let mut ordinal = 0_u32;
        for batch in &batches {
            for record in batch.records.iter() {
                match meaning(record.value) {
                    Meaning::Transfer { from, to, amount } => {
                        let (partition, offset) = (i64::from(batch.partition.number), record.offset.signed());
                        entries.push((ordinal, Entry { source, partition, offset, from, to, amount }));
                    }
                    Meaning::Filtered => {}
                    Meaning::Dead => failed.push(failure(ordinal, OnError::DeadLetter)),
                    Meaning::Skipped => failed.push(failure(ordinal, OnError::Skip)),
                }
                ordinal += 1;
            }
        }
        let used = entries.len() as u64;
        Ok(Part::new(batches, sets(&entries)?, failed, used))
    }
}

fn failure(ordinal: u32, on_error: OnError) -> Failed {
    Failed { ordinal, code: codes::OF0004, reason: "not three numbers".to_owned(), place: None, on_error }
}

/// One row a transfer in the entry table, two in the balance table.
fn sets(entries: &[(u32, Entry)]) -> Result<Vec<RowSet>> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let column = |value: fn(&Entry) -> i64| entries.iter().map(|(_, entry)| value(entry)).collect::<Vec<_>>();
    let entry = [
        column(|entry| entry.source),
        column(|entry| entry.partition),
        column(|entry| entry.offset),
        column(|entry| entry.from),
        column(|entry| entry.to),
        column(|entry| entry.amount),
    ];
    let sides = entries.iter().flat_map(|(_, entry)| [(entry.from, -entry.amount), (entry.to, entry.amount)]);
    let (accounts, deltas) = sides.unzip();
    let ordinals: Vec<u32> = entries.iter().map(|(ordinal, _)| *ordinal).collect();
    let twice = ordinals.iter().flat_map(|ordinal| [*ordinal, *ordinal]).collect();
    let set = |table, rows, ordinals| RowSet { table, rows, ordinals: Some(ordinals), deletes: None };
    Ok(vec![
        set(ENTRY, batch(&ENTRY_COLUMNS, entry.to_vec())?, ordinals),
        set(BALANCE, batch(&BALANCE_COLUMNS, vec![accounts, deltas])?, twice),
    ])
}

const ENTRY_COLUMNS: [&str; 6] = ["source", "partition", "position", "from", "to", "amount"];
const BALANCE_COLUMNS: [&str; 2] = ["account", "balance"];

fn batch(names: &[&str], columns: Vec<Vec<i64>>) -> Result<RecordBatch> {
    let fields: Vec<_> = names.iter().map(|name| Field::new(*name, DataType::Int64, false)).collect();
    let arrays = columns.into_iter().map(|values| Arc::new(Int64Array::from(values)) as ArrayRef).collect();
    let made = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
    made.map_err(|error| Error::internal("rows of the bank do not fit").caused_by(error))
}

/// A column of rows that [`Bank`] made.
pub(super) fn numbers(rows: &RecordBatch, column: usize) -> Vec<i64> {
    let array = rows.column(column).as_any().downcast_ref::<Int64Array>();
    array.expect("the bank has only whole numbers").values().to_vec()
}

fn place() -> Place {
    Place { file: Arc::from("bank.sql"), line: 1, column: 1, length: 1 }
}

fn table(name: &str, columns: &[&str], key: Vec<usize>, mode: WriteMode) -> TableSpec {
    let column = |name: &&str| ColumnSpec {
        name: (*name).to_owned(),
        data_type: DataType::Int64,
        nullable: false,
        declared: "BIGINT".to_owned(),
        place: place(),
    };
    TableSpec {
        name: Arc::from(name),
        schema: None,
        table: name.to_owned(),
        columns: columns.iter().map(column).collect(),
        key,
        mode,
        on_error: OnError::DeadLetter,
        place: place(),
    }
}

/// The tables of the bank.
pub(super) fn tables() -> Vec<TableSpec> {
    vec![
        table("entry", &ENTRY_COLUMNS, Vec::new(), WriteMode::Append),
        table("balance", &BALANCE_COLUMNS, vec![0], WriteMode::Merge(vec![None, Some(MergeOp::Sum)])),
    ]
}
