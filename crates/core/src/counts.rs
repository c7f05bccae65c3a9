//! What a commit contained, in numbers.

use crate::digest::Digest;
use std::sync::Arc;

/// How many records a commit read and what became of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Records read from the source.
    pub records: u64,
    /// Records that contributed to at least one row, or to one aggregate.
    pub used: u64,
    /// Records that the logic left out on purpose.
    pub filtered: u64,
    /// Records that came after their window had closed.
    pub late: u64,
    /// Records that could not be used and stand in the dead-letter table.
    pub dead: u64,
    /// Records that could not be used and were dropped because the pipeline says `skip`.
    pub skipped: u64,
}

impl Counts {
    /// Invariant 4: every record that was read is accounted for exactly once.
    pub fn balanced(&self) -> bool {
        self.used + self.filtered + self.late + self.dead + self.skipped == self.records
    }

    /// Adds the counts of another part of the same commit.
    pub fn merge(&mut self, other: &Counts) {
        self.records += other.records;
        self.used += other.used;
        self.filtered += other.filtered;
        self.late += other.late;
        self.dead += other.dead;
        self.skipped += other.skipped;
    }
}

/// What a commit prepared for one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableTotal {
    /// The table as declared.
    pub table: Arc<str>,
    /// Rows prepared, before any that the database refuses.
    pub digest: Digest,
}
