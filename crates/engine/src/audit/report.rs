//! What an audit found.
//!
//! Records are counted by `inputs`, `dead_letters`, `skipped`, `filtered` and `unverifiable`; rows by `once`, `missing`,
//! `repeated`, `changed` and `unexpected`. Where every record makes one row, the two add up.

use super::marks::{Mark, Marks};
use onceflow_core::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// How deep an audit looks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// The ledger alone: its chain, its counts, its positions.
    Ledger,
    /// The source read again: counts and digests of every span compared with the ledger.
    Source,
    /// The output computed again and compared with the tables row by row.
    Rows,
}

impl Level {
    /// 1, 2 or 3.
    pub fn number(self) -> u8 {
        match self {
            Self::Ledger => 1,
            Self::Source => 2,
            Self::Rows => 3,
        }
    }
}

/// What is wrong with a row, a record or the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    /// A row that a record makes is not in the table.
    Missing,
    /// A row stands in the table more often than records make it.
    Repeated,
    /// A row stands in the table with other values.
    Changed,
    /// A row stands in the table that no record makes.
    Unexpected,
    /// The ledger contradicts itself.
    Ledger,
    /// The source reads differently from what the ledger remembers.
    Source,
    /// The producer sent two records with one key (`--key`).
    SentTwice,
}

impl What {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Changed => "changed",
            Self::Unexpected => "unexpected",
            Self::Ledger => "ledger",
            Self::Source => "source",
            Self::SentTwice => "sent twice",
        }
    }

    /// rclone's sign of `--combined`: `-` only in the source, `+` only in the table, `*` different, `!` could not be compared.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Missing => "-",
            Self::Unexpected | Self::Repeated => "+",
            Self::Changed => "*",
            Self::Ledger | Self::Source | Self::SentTwice => "!",
        }
    }
}

/// A record by its place in the source.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RecordName {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: u64,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// What is wrong.
    pub what: What,
    /// The table, where one is concerned.
    pub table: Option<String>,
    /// The record, where it is known.
    pub record: Option<RecordName>,
    /// The row as a JSON object: as it should be where it is missing or repeated, as it stands where it is unexpected or changed.
    pub row: Option<String>,
    /// How many times: copies that are missing, or too many.
    pub times: u64,
    /// In words.
    pub said: String,
}

/// The numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Records that the ledger says were read.
    pub inputs: u64,
    /// Rows that stand exactly as the records make them.
    pub once: u64,
    /// Rows that are not in the table.
    pub missing: u64,
    /// Copies too many.
    pub repeated: u64,
    /// Rows with other values.
    pub changed: u64,
    /// Rows that no record makes.
    pub unexpected: u64,
    /// Records that stand as dead letters and were not replayed.
    pub dead_letters: u64,
    /// Records that the pipeline was told to drop.
    pub skipped: u64,
    /// Records that the logic leaves out.
    pub filtered: u64,
    /// Records that the source does not hold any more, and rows that cannot be judged for another reason: a replayed dead
    /// letter, or a merge into a row that was there before.
    pub unverifiable: u64,
}

impl Summary {
    /// Adds another branch's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.inputs += other.inputs;
        self.once += other.once;
        self.missing += other.missing;
        self.repeated += other.repeated;
        self.changed += other.changed;
        self.unexpected += other.unexpected;
        self.dead_letters += other.dead_letters;
        self.skipped += other.skipped;
        self.filtered += other.filtered;
        self.unverifiable += other.unverifiable;
    }

    /// The numbers with their names, in the order in which they are shown.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("inputs", self.inputs),
            ("once", self.once),
            ("missing", self.missing),
            ("repeated", self.repeated),
            ("changed", self.changed),
            ("unexpected", self.unexpected),
            ("dead_letters", self.dead_letters),
            ("skipped", self.skipped),
            ("filtered", self.filtered),
            ("unverifiable", self.unverifiable),
        ]
    }
}

/// One thing that was checked, and how it came out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// How deep.
    pub level: u8,
    /// The table, where it is about one.
    pub table: Option<String>,
    /// Whether it is as it should be; `None` where it could not be checked.
    pub good: Option<bool>,
    /// In words, with numbers.
    pub said: String,
}

/// A stretch of offsets for the barcode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The partition.
    pub partition: Partition,
    /// The first offset.
    pub from: u64,
    /// The offset behind the last one.
    pub to: u64,
}

/// What an audit of one branch found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// The home.
    pub home: String,
    /// The numbers.
    pub summary: Summary,
    /// Rows that stood in the tables before the pipeline's first start and were adopted.
    pub adopted: u64,
    /// What was checked, in order.
    pub checks: Vec<Checked>,
    /// What is wrong: first what is missing, then what is repeated, then the rest; up to the limit.
    pub findings: Vec<Finding>,
    /// How many findings there are of each kind, also beyond the limit.
    pub found: BTreeMap<What, u64>,
    /// What could not be checked although it was asked for, in words.
    pub unchecked: Vec<String>,
    /// What was read.
    pub read: Vec<Stretch>,
    /// What the source does not hold any more.
    pub gone: Vec<Stretch>,
    /// Where in the logs something is wrong, also beyond the limit.
    pub marks: Marks,
    /// How many records the source does not hold any more.
    pub gone_records: u64,
    limit: usize,
    /// Records whose row in a table is not as it should be, where each record is listed afterwards.
    pub(super) apart: Option<BTreeSet<(String, RecordName)>>,
}

/// Findings of one kind are kept up to so many whatever the limit, so that a kind is never crowded out by another.
const KEPT_OF_EACH_MIN: usize = 3;

impl Report {
    /// An empty report that keeps so many findings of each kind.
    pub fn new(home: String, limit: usize) -> Self {
        Self { home, limit: limit.max(KEPT_OF_EACH_MIN), ..Self::default() }
    }

    /// Whether anything is wrong.
    pub fn has_findings(&self) -> bool {
        self.found.values().any(|count| *count > 0)
    }

    /// Adds a finding. All are counted, the first ones of each kind are kept.
    pub fn find(&mut self, finding: Finding) {
        let count = self.found.entry(finding.what).or_default();
        *count += 1;
        if let (Some(apart), Some(table), Some(record)) = (&mut self.apart, &finding.table, &finding.record) {
            apart.insert((table.clone(), record.clone()));
        }
        if let Some(record) = &finding.record {
            self.marks.add(&record.partition, record.offset, Mark::of(finding.what));
        }
        if *count <= self.limit as u64 {
            self.findings.push(finding);
        }
    }

    /// Whether another finding of this kind would be kept.
    pub fn has_room(&self, what: What) -> bool {
        self.found.get(&what).copied().unwrap_or(0) < self.limit as u64
    }

    /// How many findings of a kind are kept.
    pub fn findings_max(&self) -> usize {
        self.limit
    }

    /// A finding about ledger or source.
    pub fn find_fact(&mut self, what: What, table: Option<&str>, record: Option<RecordName>, said: String) {
        let table = table.map(str::to_owned);
        self.find(Finding { what, table, record, row: None, times: 1, said });
    }

    /// Adds a check.
    pub fn check(&mut self, level: Level, table: Option<&str>, good: Option<bool>, said: impl Into<String>) {
        let (level, table, said) = (level.number(), table.map(str::to_owned), said.into());
        self.checks.push(Checked { level, table, good, said });
    }

    /// Something could not be checked.
    pub fn uncheckable(&mut self, level: Level, table: Option<&str>, said: impl Into<String>) {
        let said = said.into();
        self.unchecked.push(said.clone());
        self.check(level, table, None, said);
    }

    /// Puts the findings in their order.
    pub fn finish(&mut self) {
        self.findings.sort_by(|a, b| {
            let order = |finding: &Finding| (finding.what, finding.table.clone(), finding.record.clone());
            order(a).cmp(&order(b)).then_with(|| a.row.cmp(&b.row))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_counted_and_the_first_of_each_kind_are_kept() {
        let mut report = Report::new("sqlite:x".to_owned(), 5);
        for number in 0..20 {
            report.find_fact(What::Unexpected, Some("t"), None, number.to_string());
        }
        report.find_fact(What::Missing, Some("t"), None, "one".to_owned());
        report.finish();
        assert_eq!(report.findings.len(), 6);
        assert_eq!(report.findings[0].what, What::Missing);
        assert_eq!((report.found[&What::Unexpected], report.found[&What::Missing]), (20, 1));
        assert!(report.has_findings() && !report.has_room(What::Unexpected) && report.has_room(What::Missing));
    }
}
