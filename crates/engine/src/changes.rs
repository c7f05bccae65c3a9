//! What an epoch wants to change: rows for tables, dead letters, and where each row came from.
//!
//! Owns the description of target tables ([`TableSpec`]) and of an epoch's work ([`Work`]).

use crate::codes::Code;
use crate::error::Place;
use crate::logic::EpochClock;
use crate::record::{Batch, Record, Records};
use arrow_array::RecordBatch;
use arrow_schema::DataType;
use onceflow_core::{Counts, Partition};
use std::sync::Arc;

/// What happens to a record that cannot be decoded, converted or accepted by the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// It is written to the dead-letter table in the same transaction.
    #[default]
    DeadLetter,
    /// The pipeline stops; nothing of the epoch is committed.
    Stop,
    /// It is dropped and counted.
    Skip,
}

/// How a merged column combines what comes with what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeOp {
    /// Addition in the column's type; an overflow is refused.
    Sum,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
    /// What comes.
    Last,
    /// What is there.
    First,
    /// Logical or; bitwise for integers.
    Or,
    /// Logical and; bitwise for integers.
    And,
}

/// What a row does to its table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteMode {
    /// It is inserted.
    Append,
    /// It is inserted, or replaces the declared columns of the row with its key.
    Upsert,
    /// It is inserted, or combined with the row with its key: one entry a column, `None` for key columns.
    Merge(Vec<Option<MergeOp>>),
    /// It is inserted where nothing conflicts.
    InsertIgnore,
    /// The user's statement is executed with its columns as parameters.
    Statement {
        /// The statement with `:name` parameters.
        sql: String,
        /// How many rows each execution has to touch; another number refuses the row.
        expect_rows: Option<u64>,
        /// Where the statement stands.
        place: Place,
    },
}

impl WriteMode {
    /// Whether a conflict with a row that is there is part of the mode.
    pub fn is_keyed(&self) -> bool {
        matches!(self, Self::Upsert | Self::Merge(_) | Self::InsertIgnore)
    }

    /// Whether rows that conflict are left out.
    pub fn ignores(&self) -> bool {
        matches!(self, Self::InsertIgnore)
    }
}

/// A column of a target table as declared.
#[derive(Clone, Debug)]
pub struct ColumnSpec {
    /// Its name, exact.
    pub name: String,
    /// The type of its values in [`RowSet::rows`].
    pub data_type: DataType,
    /// Whether NULL may come.
    pub nullable: bool,
    /// The type as declared, such as `DECIMAL(12, 2)`.
    pub declared: String,
    /// Where it is declared.
    pub place: Place,
}

/// A target table as declared.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its name in the pipeline's text.
    pub name: Arc<str>,
    /// The schema in the database, where one is given.
    pub schema: Option<String>,
    /// The table in the database, exact.
    pub table: String,
    /// Its declared columns, as in [`RowSet::rows`].
    pub columns: Vec<ColumnSpec>,
    /// Indices of the key's columns, in the key's order; empty without a key.
    pub key: Vec<usize>,
    /// What a row does.
    pub mode: WriteMode,
    /// What happens to a refused row.
    pub on_error: OnError,
    /// Where it is declared.
    pub place: Place,
}

impl TableSpec {
    /// The table as people write it: `schema.table`.
    pub fn target(&self) -> String {
        self.schema.as_ref().map_or_else(|| self.table.clone(), |schema| format!("{schema}.{}", self.table))
    }

    /// The table as SQL names it, exact: `"schema"."table"`.
    pub fn quoted(&self) -> String {
        let schema = self.schema.as_ref().map(|schema| format!("{}.", quoted(schema))).unwrap_or_default();
        format!("{schema}{}", quoted(&self.table))
    }
}

/// A name as SQL writes it, exact: in double quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Rows for one table out of one [`Part`].
#[derive(Clone, Debug)]
pub struct RowSet {
    /// The index of the table in the branch.
    pub table: usize,
    /// The rows, with the columns of the table's [`TableSpec`] in order.
    pub rows: RecordBatch,
    /// For each row the record that it came from, as an index over the part's batches; `None` for rows that many records made.
    pub ordinals: Option<Vec<u32>>,
    /// For each row whether it deletes the row with its key; `None` where no row does.
    pub deletes: Option<Vec<bool>>,
}

/// A record that cannot be used, as the logic found it.
#[derive(Clone, PartialEq, Debug)]
pub struct Failed {
    /// The record, as an index over the part's batches.
    pub ordinal: u32,
    /// The code of the reason.
    pub code: Code,
    /// The reason in words.
    pub reason: String,
    /// Where in the text, where a column or an expression is to blame.
    pub place: Option<Place>,
    /// What is to happen to it.
    pub on_error: OnError,
}

/// What a logic made of some records of one source.
#[derive(Debug)]
pub struct Part {
    /// The records, kept for dead letters and digests.
    pub batches: Vec<Batch>,
    /// Rows for tables, in the order in which they are to be written.
    pub sets: Vec<RowSet>,
    /// Records that cannot be used, by ordinal, each once.
    pub failed: Vec<Failed>,
    /// What became of the records; balanced.
    pub counts: Counts,
    /// Values for a [`UserCode`](crate::user_code::UserCode), which knows their type.
    pub cargo: Option<Box<dyn std::any::Any + Send>>,
    /// First ordinal of each batch, and the number of all records at the end.
    starts: Vec<u32>,
}

impl Part {
    /// A part. `used` says how many of the records contributed to rows or aggregates.
    pub fn new(batches: Vec<Batch>, sets: Vec<RowSet>, failed: Vec<Failed>, used: u64) -> Self {
        let starts = starts(&batches);
        let records = u64::from(starts[starts.len() - 1]);
        let skipped = failed.iter().filter(|failed| failed.on_error == OnError::Skip).count() as u64;
        let dead = failed.len() as u64 - skipped;
        let filtered = records.saturating_sub(used + dead + skipped);
        let counts = Counts { records, used, filtered, late: 0, dead, skipped };
        Self { batches, sets, failed, counts, cargo: None, starts }
    }

    /// Lets go of all records but the failed ones, which are renumbered. For parts whose rows are made of many records: no
    /// row refers to one.
    pub fn keep_failed(&mut self) {
        debug_assert!(self.sets.iter().all(|set| set.ordinals.is_none()), "rows refer to records");
        let mut failed = self.failed.iter_mut().enumerate().peekable();
        for (batch, start) in self.batches.iter_mut().zip(&self.starts) {
            let mut kept = Records::default();
            let end = start + u32::try_from(batch.records.len()).expect("fewer than all records");
            while let Some((number, failed)) = failed.next_if(|(_, failed)| failed.ordinal < end) {
                kept.push(batch.records.get((failed.ordinal - start) as usize));
                failed.ordinal = u32::try_from(number).expect("fewer than all records");
            }
            batch.records = kept;
        }
        self.starts = starts(&self.batches);
    }

    /// The batch and the index in it of a record.
    pub fn locate(&self, ordinal: u32) -> (&Batch, usize) {
        let batch = self.starts.partition_point(|start| *start <= ordinal) - 1;
        // Empty batches share their start with the next one; partition_point gives the last, which has the record.
        (&self.batches[batch], (ordinal - self.starts[batch]) as usize)
    }

    /// A record by its ordinal, with its partition.
    pub fn record(&self, ordinal: u32) -> (&Partition, Record<'_>) {
        let (batch, index) = self.locate(ordinal);
        (&batch.partition, batch.records.get(index))
    }

    /// How many records; those that were let go count too.
    pub fn len(&self) -> u32 {
        u32::try_from(self.counts.records).expect("a fetch is bounded far below 2^32 records")
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.records.bytes()).sum()
    }
}

/// First ordinal of each batch, and the number of all records at the end.
fn starts(batches: &[Batch]) -> Vec<u32> {
    let mut starts = vec![0_u32];
    for batch in batches {
        let last = starts[starts.len() - 1];
        let length = u32::try_from(batch.records.len()).expect("a fetch is bounded far below 2^32 records");
        starts.push(last + length);
    }
    starts
}

/// Where a row came from, ordered by (partition, offset) as the protocol says; rows that many records made come last.
/// Rows of one record share their unit: they go in together or not at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Unit(u64);

const SEQUENCE_BITS: u32 = 40;

impl Unit {
    /// Whether the unit is a row that many records made.
    pub fn is_grouped(self) -> bool {
        self.0 >> SEQUENCE_BITS == GROUPED
    }
}

const GROUPED: u64 = (1 << (64 - SEQUENCE_BITS)) - 2;

/// The work of one epoch.
#[derive(Debug)]
pub struct Work {
    /// Parts, in the order of arrival.
    pub parts: Vec<Part>,
    /// What the epoch's volatile functions saw.
    pub clock: EpochClock,
}

impl Work {
    /// The partitions of the work, in order, once each.
    fn ranks(&self) -> Vec<&Partition> {
        let mut partitions: Vec<_> =
            self.parts.iter().flat_map(|part| part.batches.iter().map(|batch| &batch.partition)).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    /// An index over the work that gives rows their units.
    pub fn lineage(&self) -> Lineage {
        let ranks = self.ranks();
        let mut next = vec![0_u64; ranks.len()];
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut first = Vec::with_capacity(part.batches.len());
            for batch in &part.batches {
                let rank = ranks.binary_search(&&batch.partition).expect("every partition has a rank");
                first.push(((rank as u64) << SEQUENCE_BITS) | next[rank]);
                next[rank] += batch.records.len() as u64;
            }
            parts.push((part.starts.clone(), first));
        }
        Lineage { parts }
    }
}

/// Gives rows their units, and units their records.
#[derive(Debug)]
pub struct Lineage {
    parts: Vec<(Vec<u32>, Vec<u64>)>,
}

impl Lineage {
    /// So many units, in order.
    #[cfg(test)]
    pub(crate) fn units_for_tests(count: usize) -> Vec<Unit> {
        (0..count as u64).map(Unit).collect()
    }

    /// The unit of a record.
    pub fn unit(&self, part: usize, ordinal: u32) -> Unit {
        let (starts, first) = &self.parts[part];
        let batch = starts.partition_point(|start| *start <= ordinal) - 1;
        Unit(first[batch] + u64::from(ordinal - starts[batch]))
    }

    /// The units of a set's rows. `grouped` counts the rows that many records made, over the whole work; start it at 0 and
    /// visit the sets in one fixed order.
    pub fn units(&self, part: usize, set: &RowSet, grouped: &mut u64) -> Vec<Unit> {
        match &set.ordinals {
            Some(ordinals) => ordinals.iter().map(|ordinal| self.unit(part, *ordinal)).collect(),
            None => (0..set.rows.num_rows())
                .map(|_| {
                    *grouped += 1;
                    Unit((GROUPED << SEQUENCE_BITS) | (*grouped - 1))
                })
                .collect(),
        }
    }

    /// The part and the ordinal of a unit; `None` for rows that many records made.
    pub fn find(&self, unit: Unit) -> Option<(usize, u32)> {
        if unit.is_grouped() {
            return None;
        }
        for (part, (starts, first)) in self.parts.iter().enumerate() {
            for (batch, base) in first.iter().enumerate() {
                let length = u64::from(starts[batch + 1] - starts[batch]);
                if unit.0 >= *base && unit.0 < base + length {
                    let within = u32::try_from(unit.0 - base).expect("a batch has fewer than 2^32 records");
                    return Some((part, starts[batch] + within));
                }
            }
        }
        None
    }
}

/// A row that the database refused, with the database's own words.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    /// The record (or the grouped row) that is to blame.
    pub unit: Unit,
    /// The index of the table that refused it.
    pub table: usize,
    /// The code of the reason.
    pub code: Code,
    /// The SQLSTATE or the name of SQLite's result code; empty where Onceflow refused it (`write.expect-rows`).
    pub sqlstate: String,
    /// The database's message, with its detail.
    pub reason: String,
    /// The row as a JSON object of column to value.
    pub row: String,
}

/// A record that a handler put aside: it took no effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aside {
    /// The index of the part in the work.
    pub part: usize,
    /// The record, as an index over the part's batches.
    pub ordinal: u32,
    /// Why, in the handler's words.
    pub reason: String,
}

/// What a transaction has written.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Written {
    /// For each table of the branch: rows inserted, updated, merged, deleted, or statements executed.
    pub rows: Vec<u64>,
    /// For each table of the branch: rows that `insert-ignore` left out because they were there.
    pub ignored: Vec<u64>,
    /// Rows that were refused, by unit; their records took no effect in any table.
    pub refused: Vec<Refusal>,
    /// Records that a handler put aside, each once.
    pub aside: Vec<Aside>,
}

impl Written {
    /// Nothing yet, of so many tables.
    pub fn nothing(tables: usize) -> Self {
        Self { rows: vec![0; tables], ignored: vec![0; tables], ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;
    use onceflow_core::{Position, Span};

    fn batch(number: u32, records: u64) -> Batch {
        let mut kept = Records::default();
        for offset in 0..records {
            let value = format!("{number}/{offset}");
            let position = Position::new(offset);
            let timestamp_type = crate::record::TimestampType::None;
            kept.push(Record {
                offset: position,
                timestamp: None,
                timestamp_type,
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
                line: 0,
            });
        }
        let partition = Partition { source: "s".into(), topic: "t".into(), number };
        let span = Span::new(Position::new(0), Position::new(records)).expect("in order");
        Batch { partition, span, records: kept, leader_epoch: None, file: None }
    }

    fn failed(ordinal: u32) -> Failed {
        let reason = ordinal.to_string();
        Failed { ordinal, code: codes::OF0603, reason, place: None, on_error: OnError::DeadLetter }
    }

    #[test]
    fn what_is_let_go_is_counted_and_failed_records_stay_what_they_were() {
        for (ordinals, expected) in [
            (vec![], vec![]),
            (vec![0, 2, 3, 6], vec!["0/0", "0/2", "2/0", "2/3"]),
            (vec![6], vec!["2/3"]),
            (vec![1, 4], vec!["0/1", "2/1"]),
        ] {
            let batches = vec![batch(0, 3), batch(1, 0), batch(2, 4)];
            let mut part = Part::new(batches, Vec::new(), ordinals.iter().copied().map(failed).collect(), 3);
            let counts = part.counts;
            part.keep_failed();
            let found: Vec<_> = part.failed.iter().map(|failed| part.record(failed.ordinal)).collect();
            let texts = found.iter().map(|(_, record)| std::str::from_utf8(record.value.unwrap()).unwrap());
            assert_eq!(texts.collect::<Vec<_>>(), expected);
            for ((partition, record), failed) in found.iter().zip(&part.failed) {
                let text = format!("{}/{}", partition.number, record.offset);
                assert_eq!(record.value, Some(text.as_bytes()), "{failed:?}");
            }
            assert_eq!((part.counts, part.len()), (counts, 7));
            assert_eq!(part.batches.iter().map(|batch| batch.span.to().get()).collect::<Vec<_>>(), [3, 0, 4]);
            assert_eq!(part.batches.iter().map(|batch| batch.records.len()).sum::<usize>(), expected.len());
        }
    }
}
