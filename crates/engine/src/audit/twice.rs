//! Two smaller judges: keys that the producer sent twice, and tables of which only a part is inserted.

use super::judge::{Cells, Court, Judge, KEYS_AT_ONCE, Origin, Rounds, hash_cells};
use super::report::What;
use crate::error::Result;
use std::collections::HashMap;

/// Finds values of a column that come in more than one record (`--key`).
pub struct Twice {
    column: usize,
    rounds: Rounds,
    first: HashMap<u128, (u32, u64), foldhash::fast::RandomState>,
    bytes: Vec<u8>,
}

impl Twice {
    /// Looks at a column of about so many records.
    pub fn new(column: usize, records: u64) -> Self {
        Self { column, rounds: Rounds::over(records, 2 * KEYS_AT_ONCE), first: HashMap::default(), bytes: Vec::new() }
    }
}

impl Judge for Twice {
    fn expected(&mut self, row: &Cells<'_>, origin: Origin, court: &mut Court<'_>) -> Result<()> {
        let key = hash_cells(&mut self.bytes, [&row[self.column]]);
        if !self.rounds.has(key) || row[self.column].is_none() {
            return Ok(());
        }
        let own = (origin.partition, origin.offset);
        let (partition, offset) = *self.first.entry(key).or_insert(own);
        if (partition, offset) != own {
            let name = &court.table.columns[self.column].name;
            let place = &court.evidence.partitions[partition as usize];
            let value = row[self.column].as_deref().unwrap_or("NULL");
            let said = format!("{name} {value} was sent before, at {place} offset {offset}");
            let row = court.row(row);
            court.find(What::SentTwice, Some(origin), Some(row), 1, said);
        }
        Ok(())
    }

    fn found(&mut self, _: &Cells<'_>, _: &mut Court<'_>) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut Court<'_>) -> Result<bool> {
        self.first.clear();
        Ok(self.rounds.go_on())
    }

    fn wants_table(&self) -> bool {
        false
    }
}

/// Judges a table into which rows go that conflict with nothing, and that declares no key: every row of it has to come from a
/// record, as often as records make it at most. Which rows were ignored by right cannot be told.
#[derive(Default)]
pub struct Subset {
    rows: HashMap<u128, (u64, u64), foldhash::fast::RandomState>,
    bytes: Vec<u8>,
}

impl Judge for Subset {
    fn expected(&mut self, row: &Cells<'_>, _: Origin, _: &mut Court<'_>) -> Result<()> {
        self.rows.entry(hash_cells(&mut self.bytes, row)).or_default().0 += 1;
        Ok(())
    }

    fn found(&mut self, row: &Cells<'_>, court: &mut Court<'_>) -> Result<()> {
        let known = self.rows.entry(hash_cells(&mut self.bytes, row)).or_default();
        known.1 += 1;
        let (expected, found) = *known;
        if found <= expected {
            court.report.summary.once += 1;
        } else if court.excuses.ranged {
        } else if court.excuses.adopted {
            court.report.adopted += 1;
        } else if court.excuses.gone_rows > 0 {
            court.excuses.gone_rows -= 1;
        } else {
            let (what, said) = match expected {
                0 => (What::Unexpected, "no record makes this row"),
                _ => (What::Repeated, "the row stands more often than records make it"),
            };
            match what {
                What::Repeated => court.report.summary.repeated += 1,
                _ => court.report.summary.unexpected += 1,
            }
            let row = court.row(row);
            court.find(what, None, Some(row), 1, said.to_owned());
        }
        Ok(())
    }

    fn end(&mut self, court: &mut Court<'_>) -> Result<bool> {
        let table = court.table.target();
        let ignored: u64 = court
            .evidence
            .commits
            .iter()
            .filter_map(|commit| commit.output(&court.table.name))
            .map(|o| o.ignored)
            .sum();
        let less: u64 = self.rows.values().map(|(expected, found)| expected.saturating_sub(*found)).sum();
        let unexplained = less.saturating_sub(ignored);
        if unexplained > 0 && !court.excuses.ranged {
            court.report.summary.missing += unexplained;
            let said = format!(
                "{unexplained} rows are gone: {less} are not there, and the ledger says that {ignored} were ignored"
            );
            court.report.find_fact(What::Missing, Some(&table), None, said);
        }
        Ok(false)
    }

    fn wants_table(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, origin};
    use super::*;

    #[test]
    fn what_was_sent_twice_is_named_with_both_places() {
        let mut case = Case::new(&["id", "amount"]);
        let mut judge = Twice::new(0, 3);
        case.run(
            &mut judge,
            &[(vec!["a", "1"], origin(0)), (vec!["b", "1"], origin(1)), (vec!["a", "2"], origin(2))],
            &[],
        );
        assert_eq!(case.report.found[&What::SentTwice], 1);
        assert_eq!(case.report.findings[0].said, "id a was sent before, at topic/0 offset 0");
        assert_eq!(case.report.findings[0].record.as_ref().unwrap().offset, 2);
    }

    #[test]
    fn without_a_key_rows_have_to_come_from_records() {
        let mut case = Case::new(&["id", "amount"]);
        case.run(
            &mut Subset::default(),
            &[(vec!["a", "1"], origin(0)), (vec!["b", "1"], origin(1))],
            &[vec!["a", "1"], vec!["a", "1"], vec!["x", "9"]],
        );
        let s = case.report.summary;
        assert_eq!((s.once, s.repeated, s.unexpected, s.missing), (1, 1, 1, 1));
    }
}
