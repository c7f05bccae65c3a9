//! What judges rows: as the records make them, and as they stand in the table.
//!
//! A judge sees all records' rows, then all rows of the table, as often as it says that it wants another pass.

use super::canon::{Form, hash, put};
use super::evidence::Evidence;
use super::report::{Finding, RecordName, Report, What};
use crate::changes::TableSpec;
use crate::error::Result;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Where a row comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The partition, as an index into [`Evidence::partitions`].
    pub partition: u32,
    /// The record's offset.
    pub offset: u64,
    /// The commit, as a number that grows with time.
    pub order: u32,
    /// Which of the rows of its record that go to the table.
    pub slot: u32,
    /// Whether its values or its place among other rows are not certain: its record was a dead letter first and written later, or
    /// its commit row, with the clock of volatile functions, is gone.
    pub replayed: bool,
}

impl Origin {
    /// The record's name.
    pub fn name(&self, evidence: &Evidence) -> RecordName {
        RecordName { partition: evidence.partitions[self.partition as usize].clone(), offset: self.offset }
    }
}

/// A row's cells in their common form.
pub type Cells<'a> = [Option<Cow<'a, str>>];

/// The hash of some of a row's cells. `bytes` is room that is used again.
pub fn hash_cells<'a>(bytes: &mut Vec<u8>, cells: impl IntoIterator<Item = &'a Option<Cow<'a, str>>>) -> u128 {
    bytes.clear();
    cells.into_iter().for_each(|cell| put(bytes, cell.as_deref()));
    hash(bytes)
}

/// So many keys are looked at in a round.
pub const KEYS_AT_ONCE: u64 = 2_000_000;

/// Rounds over keys, each over as many as fit in memory: a key belongs to one round, by its hash.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    round: u64,
    rounds: u64,
}

impl Rounds {
    /// Rounds for about so many keys, so many of them at once.
    pub fn over(keys: u64, at_once: u64) -> Self {
        Self { round: 0, rounds: keys.div_ceil(at_once).max(1) }
    }

    /// Whether a key belongs to this round.
    pub fn has(&self, key: u128) -> bool {
        (key >> 64) % u128::from(self.rounds) == u128::from(self.round)
    }

    /// Ends this round. `true` where another one follows.
    pub fn go_on(&mut self) -> bool {
        self.round += 1;
        self.round < self.rounds
    }
}

/// What is known that makes a difference legal.
#[derive(Debug, Default)]
pub struct Excuses {
    /// The table had rows before the pipeline's first start, and they were adopted.
    pub adopted: bool,
    /// Rows that records made which cannot be read any more: so many at most.
    pub gone_rows: u64,
    /// Only some of the commits are looked at: what else stands in the table is not judged.
    pub ranged: bool,
    /// For each commit how many of its records were refused by the database and are kept nowhere.
    pub refused: BTreeMap<u32, u64>,
    /// Grouped rows that were refused.
    pub grouped_refused: u64,
}

/// What a judge adds to.
pub struct Court<'a> {
    /// What the ledger says.
    pub evidence: &'a Evidence,
    /// What was found.
    pub report: &'a mut Report,
    /// The table.
    pub table: &'a TableSpec,
    /// The forms of its columns.
    pub forms: &'a [Form],
    /// What is legal.
    pub excuses: &'a mut Excuses,
}

impl Court<'_> {
    /// A row as a JSON object.
    pub fn row(&self, cells: &Cells<'_>) -> String {
        let fields = self.table.columns.iter().zip(self.forms).zip(cells).map(|((column, form), cell)| {
            let value = cell.as_ref().map_or_else(|| "null".to_owned(), |text| form.json(text));
            format!("{}: {value}", serde_json::Value::from(column.name.as_str()))
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
    }

    /// Adds a finding about a row.
    pub fn find(&mut self, what: What, origin: Option<Origin>, row: Option<String>, times: u64, said: String) {
        let table = Some(self.table.target());
        let record = origin.map(|origin| origin.name(self.evidence));
        self.report.find(Finding { what, table, record, row, times, said });
    }

    /// Counts a row that is not there by why it is not; `true` where it is missing and nothing excuses it.
    pub fn is_missing(&mut self, origin: Origin) -> bool {
        if origin.replayed {
            self.report.summary.unverifiable += 1;
        } else if self.excuse_refused(origin.order) {
            self.report.summary.skipped += 1;
        } else {
            self.report.summary.missing += 1;
            return true;
        }
        if let Some(apart) = &mut self.report.apart {
            apart.insert((self.table.target(), origin.name(self.evidence)));
        }
        false
    }

    /// The hash of a row's key.
    pub fn key(&self, bytes: &mut Vec<u8>, row: &Cells<'_>) -> u128 {
        hash_cells(bytes, self.table.key.iter().map(|index| &row[*index]))
    }

    /// A row that is not there, or has other values, because the database refused its record, and the record is kept nowhere
    /// (`on-error` is `skip`, or its dead letter was purged).
    pub fn excuse_refused(&mut self, order: u32) -> bool {
        match self.excuses.refused.get_mut(&order) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// As [`Self::excuse_refused`], where it is not known which commit a difference comes from.
    pub fn excuse_refused_any(&mut self) -> bool {
        let any = self.excuses.refused.iter().find(|(_, left)| **left > 0).map(|(order, _)| *order);
        any.is_some_and(|order| self.excuse_refused(order))
    }
}

/// Judges the rows of one table.
pub trait Judge {
    /// Looks at a row that a record makes. All of them come before the first row of the table.
    fn expected(&mut self, cells: &Cells<'_>, origin: Origin, court: &mut Court<'_>) -> Result<()>;

    /// Looks at a row that stands in the table.
    fn found(&mut self, cells: &Cells<'_>, court: &mut Court<'_>) -> Result<()>;

    /// Ends a pass. `true` where another one is wanted.
    fn end(&mut self, court: &mut Court<'_>) -> Result<bool>;

    /// Whether the next pass has to see the table as well.
    fn wants_table(&self) -> bool;
}
