//! Rows with a key: upsert (the last one stands), insert-ignore (the first one stands).
//!
//! Commits are ordered; inside of one commit the order between partitions is not kept anywhere, so each partition's last (first)
//! row may be the one that stands. Keys are looked at in rounds, as many at a time as fit.

use super::append::differences;
use super::judge::{Cells, Court, Judge, KEYS_AT_ONCE, Origin, Rounds, hash_cells};
use super::report::What;
use crate::error::Result;
use std::borrow::Cow;
use std::collections::HashMap;

/// Which of several rows with one key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stands {
    /// The last one.
    Last,
    /// The first one.
    First,
}

/// The judge of a table with a key.
pub struct Keyed {
    stands: Stands,
    rounds: Rounds,
    keys: HashMap<u128, Entry, foldhash::fast::RandomState>,
    /// Findings whose rows are still to be told: the record, and what is wrong.
    open: HashMap<(u32, u64), Vec<Open>>,
    telling: bool,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Entry {
    rows: Rows,
    seen: bool,
}

/// What may stand for a key.
#[derive(Default)]
enum Rows {
    #[default]
    None,
    One(Candidate),
    Many(Vec<Candidate>),
}

#[derive(Clone, Copy)]
struct Candidate {
    hash: u128,
    origin: Origin,
}

/// A finding that waits for the row of its record.
struct Open {
    key: u128,
    what: What,
    found: Option<Vec<Option<String>>>,
}

impl Keyed {
    /// A judge for a table that has about so many keys.
    pub fn new(stands: Stands, keys: u64) -> Self {
        Self::in_rounds(stands, Rounds::over(keys, KEYS_AT_ONCE))
    }

    fn in_rounds(stands: Stands, rounds: Rounds) -> Self {
        let (keys, open) = (HashMap::default(), HashMap::new());
        Self { stands, rounds, keys, open, telling: false, bytes: Vec::new() }
    }

    /// Tells a finding whose record's row has come by again.
    fn tell(&mut self, row: &Cells<'_>, origin: Origin, court: &mut Court<'_>) {
        let Some(mut open) = self.open.remove(&(origin.partition, origin.offset)) else { return };
        let key = court.key(&mut self.bytes, row);
        let own = open.iter().position(|open| open.key == key).map(|index| open.swap_remove(index));
        if !open.is_empty() {
            self.open.insert((origin.partition, origin.offset), open);
        }
        let Some(own) = own else { return };
        match own.found {
            None => {
                let row = court.row(row);
                court.find(own.what, Some(origin), Some(row), 1, "no row has its key".to_owned());
            }
            Some(found) => {
                let expected: Vec<Option<String>> = row.iter().map(|cell| cell.as_deref().map(str::to_owned)).collect();
                let said = differences(&expected, &found, court);
                let found: Vec<Option<Cow<'_, str>>> =
                    found.iter().map(|cell| cell.as_deref().map(Cow::from)).collect();
                let row = court.row(&found);
                court.find(own.what, Some(origin), Some(row), 1, said);
            }
        }
    }

    fn open(&mut self, key: u128, what: What, origin: Origin, found: Option<&Cells<'_>>, court: &mut Court<'_>) {
        // Beyond the limit a finding is counted, and its row is not told.
        if !court.report.has_room(what) || self.open.len() > court.report.findings_max() {
            return court.find(what, Some(origin), None, 1, "as the ones before".to_owned());
        }
        let found = found.map(|row| row.iter().map(|cell| cell.as_deref().map(str::to_owned)).collect());
        self.open.entry((origin.partition, origin.offset)).or_default().push(Open { key, what, found });
    }

    /// Ends a round: whatever key was not seen in the table is missing.
    fn missing(&mut self, court: &mut Court<'_>) {
        let keys = std::mem::take(&mut self.keys);
        let mut missing: Vec<(Origin, u128)> = keys
            .into_iter()
            .filter(|(_, entry)| !entry.seen)
            .filter_map(|(key, entry)| Some((entry.rows.first()?.origin, key)))
            .collect();
        missing.sort_by_key(|(origin, key)| (origin.partition, origin.offset, *key));
        for (origin, key) in missing {
            if court.is_missing(origin) {
                self.open(key, What::Missing, origin, None, court);
            }
        }
    }
}

impl Rows {
    fn as_slice(&self) -> &[Candidate] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn first(&self) -> Option<&Candidate> {
        self.as_slice().first()
    }

    /// Adds a row of a record: it takes the place of what it certainly writes over, or stands beside it.
    fn add(&mut self, comes: Candidate, stands: Stands) {
        let rank = |candidate: &Candidate| candidate.origin.order;
        let settled = self.as_slice().iter().filter(|there| !there.origin.replayed).map(rank).max();
        let Some(settled) = settled.filter(|_| !comes.origin.replayed) else { return self.push(comes) };
        let wins = match stands {
            Stands::Last => rank(&comes) > settled,
            Stands::First => rank(&comes) < settled,
        };
        if wins {
            let replayed: Vec<Candidate> =
                self.as_slice().iter().filter(|there| there.origin.replayed).copied().collect();
            *self = Self::One(comes);
            replayed.into_iter().for_each(|candidate| self.push(candidate));
        } else if rank(&comes) == settled {
            self.beside(comes, stands);
        }
    }

    /// A row of the same commit: in place of its own partition's, and beside those of others.
    fn beside(&mut self, comes: Candidate, stands: Stands) {
        let same = |there: &Candidate| {
            (there.origin.partition, there.origin.slot) == (comes.origin.partition, comes.origin.slot)
        };
        let own = match self {
            Self::None => None,
            Self::One(one) => Some(one).filter(|there| same(there)),
            Self::Many(many) => many.iter_mut().find(|there| same(there)),
        };
        match own {
            Some(own) if stands == Stands::Last => *own = comes,
            Some(_) => {}
            None => self.push(comes),
        }
    }

    fn push(&mut self, comes: Candidate) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(comes),
            Self::One(one) => Self::Many(vec![one, comes]),
            Self::Many(mut many) => {
                many.push(comes);
                Self::Many(many)
            }
        };
    }
}

impl Judge for Keyed {
    fn expected(&mut self, row: &Cells<'_>, origin: Origin, court: &mut Court<'_>) -> Result<()> {
        if self.telling {
            self.tell(row, origin, court);
            return Ok(());
        }
        let key = court.key(&mut self.bytes, row);
        if self.rounds.has(key) {
            let hash = hash_cells(&mut self.bytes, row);
            let stands = self.stands;
            self.keys.entry(key).or_default().rows.add(Candidate { hash, origin }, stands);
        }
        Ok(())
    }

    fn found(&mut self, row: &Cells<'_>, court: &mut Court<'_>) -> Result<()> {
        let key = court.key(&mut self.bytes, row);
        if !self.rounds.has(key) {
            return Ok(());
        }
        let hash = hash_cells(&mut self.bytes, row);
        let Some(entry) = self.keys.get_mut(&key) else {
            stranger(row, court);
            return Ok(());
        };
        let first = entry.rows.first().copied();
        let again = std::mem::replace(&mut entry.seen, true);
        let stands = entry.rows.as_slice().iter().any(|candidate| candidate.hash == hash);
        let uncertain = entry.rows.as_slice().iter().any(|candidate| candidate.origin.replayed);
        let origin = first.map(|candidate| candidate.origin);
        match origin {
            _ if again => {
                court.report.summary.repeated += 1;
                let row = court.row(row);
                court.find(What::Repeated, origin, Some(row), 1, "another row has the same key".to_owned());
            }
            _ if stands => court.report.summary.once += 1,
            Some(_) if uncertain || is_excused(self.stands, court) => court.report.summary.unverifiable += 1,
            Some(origin) if court.excuse_refused(origin.order) => court.report.summary.skipped += 1,
            Some(origin) => {
                court.report.summary.changed += 1;
                self.open(key, What::Changed, origin, Some(row), court);
            }
            None => {}
        }
        Ok(())
    }

    fn end(&mut self, court: &mut Court<'_>) -> Result<bool> {
        if self.telling {
            for (_, open) in std::mem::take(&mut self.open) {
                for open in open {
                    court.find(open.what, None, None, 1, "its record was not read again".to_owned());
                }
            }
            return Ok(false);
        }
        self.missing(court);
        if self.rounds.go_on() {
            return Ok(true);
        }
        self.telling = true;
        Ok(!self.open.is_empty())
    }

    fn wants_table(&self) -> bool {
        !self.telling
    }
}

/// Whether another value may stand by right: a range does not see what came later; a row that was there first stays.
fn is_excused(stands: Stands, court: &Court<'_>) -> bool {
    court.excuses.ranged || (stands == Stands::First && (court.excuses.adopted || court.excuses.gone_rows > 0))
}

/// A row whose key no record has.
fn stranger(row: &Cells<'_>, court: &mut Court<'_>) {
    if court.excuses.ranged {
        return;
    }
    if court.excuses.adopted {
        court.report.adopted += 1;
    } else if court.excuses.gone_rows > 0 {
        // Its record is counted as unverifiable already.
        court.excuses.gone_rows -= 1;
    } else {
        court.report.summary.unexpected += 1;
        let row = court.row(row);
        court.find(What::Unexpected, None, Some(row), 1, "no record has this key".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, origin};
    use super::*;

    fn check(stands: Stands, records: &[(&str, &str, Origin)], rows: &[(&str, &str)], counts: [u64; 5]) -> Case {
        let mut last = None;
        for rounds in [1, 3] {
            let mut case = Case::new(&["id", "amount"]);
            let mut judge = Keyed::in_rounds(stands, Rounds::over(rounds, 1));
            let records: Vec<_> = records.iter().map(|(id, amount, origin)| (vec![*id, *amount], *origin)).collect();
            let rows: Vec<_> = rows.iter().map(|(id, amount)| vec![*id, *amount]).collect();
            case.run(&mut judge, &records, &rows);
            let s = case.report.summary;
            assert_eq!([s.once, s.missing, s.repeated, s.changed, s.unexpected], counts, "{records:?} {rows:?}");
            let findings: u64 = case.report.found.values().sum();
            assert_eq!(findings, counts[1..].iter().sum::<u64>(), "{:?}", case.report.findings);
            last = Some(case);
        }
        last.expect("there are rounds")
    }

    fn at(offset: usize, partition: u32, order: u32) -> Origin {
        Origin { partition, order, ..origin(offset) }
    }

    #[test]
    fn the_last_row_of_a_key_stands() {
        let records = [("a", "1", at(0, 0, 1)), ("b", "2", at(1, 0, 1)), ("a", "3", at(2, 0, 2))];
        check(Stands::Last, &records, &[("a", "3"), ("b", "2")], [2, 0, 0, 0, 0]);
        let case = check(Stands::Last, &records, &[("a", "1"), ("b", "2")], [1, 0, 0, 1, 0]);
        let finding = &case.report.findings[0];
        assert_eq!(
            (finding.said.as_str(), finding.record.as_ref().unwrap().offset),
            ("amount is 1 and should be 3", 2)
        );
        let case = check(Stands::Last, &records, &[("a", "3")], [1, 1, 0, 0, 0]);
        assert_eq!(case.report.findings[0].row.as_deref(), Some(r#"{"id": "b", "amount": "2"}"#));
        check(Stands::Last, &records, &[("a", "3"), ("b", "2"), ("c", "9")], [2, 0, 0, 0, 1]);
        check(Stands::Last, &records, &[("a", "3"), ("b", "2"), ("b", "2")], [2, 0, 1, 0, 0]);
    }

    #[test]
    fn the_first_row_of_a_key_stands() {
        let records = [("a", "1", at(0, 0, 1)), ("a", "2", at(1, 0, 1)), ("a", "3", at(2, 0, 2))];
        check(Stands::First, &records, &[("a", "1")], [1, 0, 0, 0, 0]);
        check(Stands::First, &records, &[("a", "3")], [0, 0, 0, 1, 0]);
    }

    #[test]
    fn between_partitions_of_one_commit_either_may_stand() {
        let records = [("a", "1", at(0, 0, 5)), ("a", "2", at(0, 1, 5)), ("a", "0", at(9, 1, 4))];
        check(Stands::Last, &records, &[("a", "1")], [1, 0, 0, 0, 0]);
        check(Stands::Last, &records, &[("a", "2")], [1, 0, 0, 0, 0]);
        check(Stands::Last, &records, &[("a", "0")], [0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_row_that_was_replayed_may_stand_too() {
        let late = Origin { replayed: true, ..at(0, 0, 1) };
        let records = [("a", "1", late), ("a", "2", at(1, 0, 2))];
        check(Stands::Last, &records, &[("a", "1")], [1, 0, 0, 0, 0]);
        check(Stands::Last, &records, &[("a", "2")], [1, 0, 0, 0, 0]);
    }
}
