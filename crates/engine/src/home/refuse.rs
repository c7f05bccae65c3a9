//! Finds the records that a database refuses, and lets all others in, inside one transaction.
//!
//! Owns the search; a home owns savepoints and writing ([`Attempt`]). Records go in together or not at all: rows of one
//! record share a [`Unit`], whatever tables they are for. The search splits a range that is refused until one unit is left: at
//! the unit that the database names, else in the middle. Where many are refused it goes unit by unit, so that the cost
//! stays linear in the number of records.

use crate::changes::{Refusal, Unit, Written};
use crate::home::{Answer, CommitError};
use std::ops::Range;

/// Why a range was not written.
#[derive(Debug)]
pub enum Stopped {
    /// The database refused a row of the range. Which unit is to blame is only known where the range has one.
    Refused(Box<Refusal>),
    /// The same, and the database has said at which row: the refusal's unit is the one to try alone. A hint for the search, which
    /// believes only what it has tried.
    Named(Box<Refusal>),
    /// The transaction is lost.
    Lost(CommitError),
}

/// What a home offers to the search. Every method runs in the open transaction.
pub trait Attempt {
    /// Units that are refused whatever else is written, where the database can be asked about all of them at once: each with what it
    /// said of it when it was tried. By unit; may be incomplete, and empty. The transaction is as it was before the call.
    fn sift<'a>(&'a mut self, units: &'a [Unit]) -> Answer<'a, Result<Vec<Refusal>, CommitError>>;

    /// Writes all rows of these units (sorted, distinct), all tables, under a savepoint: on `Refused` the transaction is as
    /// it was before the call. With `checked`, deferred constraints are checked at the end of the range as well.
    fn range<'a>(&'a mut self, units: &'a [Unit], checked: bool) -> Answer<'a, Result<Written, Stopped>>;

    /// Writes units one at a time, each under a savepoint of its own, and says which were refused.
    fn singly<'a>(&'a mut self, units: &'a [Unit], checked: bool) -> Answer<'a, Result<Written, CommitError>>;

    /// Checks deferred constraints now, under a savepoint.
    fn check(&mut self) -> Answer<'_, Result<(), Stopped>>;

    /// Undoes everything that was written since the search began.
    fn restart(&mut self) -> Answer<'_, Result<(), CommitError>>;
}

/// How many units are written singly before the search looks again whether ranges would do.
const SINGLY_UNITS: usize = 512;
/// At least so many units are tried together.
const STRIDE_MIN: usize = 64;

/// Writes `units` (sorted, distinct) and leaves out those that the database refuses.
///
/// A record may depend on a later one: on a row that it refers to, or that a trigger or a statement looks for. So what was
/// refused for such a reason is tried once more behind the others, as long as that helps. What then is not refused is written
/// again from the start without the rest, since of one key the last record counts, and not the last attempt.
pub async fn write(attempt: &mut dyn Attempt, units: &[Unit], tables: usize) -> Result<Written, CommitError> {
    let sifted = attempt.sift(units).await?;
    let mut written = write_sifted(attempt, &without(units, &sifted), tables).await?;
    written.refused.extend(sifted);
    written.refused.sort_by_key(|refusal| refusal.unit);
    Ok(written)
}

/// Units that are not among the refusals, which are sorted.
fn without(units: &[Unit], refused: &[Refusal]) -> Vec<Unit> {
    let is_out = |unit: &Unit| refused.binary_search_by_key(unit, |refusal| refusal.unit).is_ok();
    units.iter().filter(|unit| !is_out(unit)).copied().collect()
}

async fn write_sifted(attempt: &mut dyn Attempt, units: &[Unit], tables: usize) -> Result<Written, CommitError> {
    let (written, checked) = all(attempt, units, tables).await?;
    let Some(refused) = retry(attempt, &written.refused, tables, checked).await? else { return Ok(written) };
    attempt.restart().await?;
    let (mut written, _) = all(attempt, &without(units, &refused), tables).await?;
    written.refused.extend(refused);
    written.refused.sort_by_key(|refusal| refusal.unit);
    Ok(written)
}

/// Writes units with deferred constraints checked at the end. Where one is violated, everything is written again with a check
/// after each range; the second answer says so.
async fn all(attempt: &mut dyn Attempt, units: &[Unit], tables: usize) -> Result<(Written, bool), CommitError> {
    let written = search(attempt, units, tables, false).await?;
    match attempt.check().await {
        Ok(()) => return Ok((written, false)),
        Err(Stopped::Lost(lost)) => return Err(lost),
        Err(Stopped::Refused(_) | Stopped::Named(_)) => attempt.restart().await?,
    }
    Ok((search(attempt, units, tables, true).await?, true))
}

/// Tries refused units once more, as long as there are fewer each time. `None` where that does not help; else those that are
/// refused all the same, by unit.
async fn retry(
    attempt: &mut dyn Attempt,
    refused: &[Refusal],
    tables: usize,
    checked: bool,
) -> Result<Option<Vec<Refusal>>, CommitError> {
    let (mut curable, mut final_ones): (Vec<Refusal>, Vec<Refusal>) = refused.iter().cloned().partition(may_depend);
    let mut helped = false;
    while !curable.is_empty() {
        let again: Vec<Unit> = curable.iter().map(|refusal| refusal.unit).collect();
        let more = search(attempt, &again, tables, checked).await?;
        let progress = more.refused.len() < again.len();
        helped |= progress;
        curable = more.refused;
        if !progress {
            break;
        }
    }
    final_ones.append(&mut curable);
    final_ones.sort_by_key(|refusal| refusal.unit);
    Ok(helped.then_some(final_ones))
}

/// Whether other rows may have to do with a refusal: references, triggers, statements that found no row. What is wrong with a
/// value, or with a key that is there, stays wrong.
fn may_depend(refusal: &Refusal) -> bool {
    match refusal.sqlstate.as_str() {
        "23503" | "SQLITE_CONSTRAINT_FOREIGNKEY" | "SQLITE_CONSTRAINT_TRIGGER" => true,
        "SQLITE_MISMATCH" | "SQLITE_TOOBIG" | "SQLITE_RANGE" => false,
        state => !(state.starts_with("22") || state.starts_with("23") || state.starts_with("SQLITE_CONSTRAINT")),
    }
}

async fn search(
    attempt: &mut dyn Attempt,
    units: &[Unit],
    tables: usize,
    checked: bool,
) -> Result<Written, CommitError> {
    let mut written = Written::nothing(tables);
    let whole = 0..units.len();
    let mut open = vec![whole];
    let (mut passed, mut named) = (0, false);
    while let Some(mut range) = open.pop() {
        if range.is_empty() {
            continue;
        }
        if range.len() > 1 && crowded(written.refused.len(), passed) {
            let middle = range.end.min(range.start + SINGLY_UNITS);
            open.push(middle..range.end);
            add(&mut written, attempt.singly(&units[range.start..middle], checked).await?);
            passed += middle - range.start;
            continue;
        }
        if named {
            // Beyond the next refused unit everything would be sent in vain.
            let end = range.end.min(range.start + stride(written.refused.len(), passed));
            open.push(end..range.end);
            range.end = end;
        }
        match attempt.range(&units[range.clone()], checked).await {
            Ok(more) => {
                passed += range.len();
                add(&mut written, more);
            }
            Err(Stopped::Lost(lost)) => return Err(lost),
            Err(Stopped::Refused(refusal) | Stopped::Named(refusal)) if range.len() == 1 => {
                passed += 1;
                written.refused.push(Refusal { unit: units[range.start], ..*refusal });
            }
            Err(Stopped::Named(refusal)) => {
                named = true;
                open.extend(around(units, range, Some(refusal.unit)));
            }
            Err(Stopped::Refused(_)) => open.extend(around(units, range, None)),
        }
    }
    written.refused.sort_by_key(|refusal| refusal.unit);
    Ok(written)
}

/// The parts of a refused range, the first one last: split at the unit that is named and there, else in the middle.
fn around(units: &[Unit], range: Range<usize>, named: Option<Unit>) -> Vec<Range<usize>> {
    let found = named.and_then(|unit| units[range.clone()].binary_search(&unit).ok());
    match found.map(|at| range.start + at) {
        Some(at) => vec![at + 1..range.end, at..at + 1, range.start..at],
        None => {
            let middle = range.start + range.len() / 2;
            vec![middle..range.end, range.start..middle]
        }
    }
}

/// How many units are tried together where the database names rows: twice the distance at which they were refused so far.
fn stride(refused: usize, passed: usize) -> usize {
    (2 * passed / refused.max(1)).max(STRIDE_MIN)
}

/// Whether so many units were refused that halving costs more than going singly: one in 32, with at least 8 seen.
fn crowded(refused: usize, passed: usize) -> bool {
    refused >= 8 && refused * 32 >= passed
}

fn add(written: &mut Written, more: Written) {
    for (total, count) in written.rows.iter_mut().zip(more.rows) {
        *total += count;
    }
    for (total, count) in written.ignored.iter_mut().zip(more.ignored) {
        *total += count;
    }
    written.refused.extend(more.refused);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Lineage;
    use crate::codes;
    use std::collections::BTreeSet;

    /// A table that refuses some numbers, and counts what it is asked to write.
    struct Table {
        bad: BTreeSet<usize>,
        units: Vec<Unit>,
        /// How a refused row is named: not at all, as it is, or as another one.
        names: fn(usize) -> Option<usize>,
        tried: usize,
        there: Vec<Unit>,
        /// Which of the bad ones the table finds at once.
        sifts: fn(usize) -> bool,
    }

    impl Table {
        fn new(count: usize, bad: &[usize], names: fn(usize) -> Option<usize>) -> Self {
            let units = Lineage::units_for_tests(count);
            Self { bad: bad.iter().copied().collect(), units, names, tried: 0, there: Vec::new(), sifts: |_| false }
        }

        fn number(&self, unit: Unit) -> usize {
            self.units.binary_search(&unit).expect("one of ours")
        }

        fn refusal(&self, unit: Unit) -> Box<Refusal> {
            let (sqlstate, reason, row) = ("23514".to_owned(), "bad".to_owned(), String::new());
            Box::new(Refusal { unit, table: 0, code: codes::OF0750, sqlstate, reason, row })
        }

        fn write(&mut self, units: &[Unit]) -> Result<Written, Stopped> {
            self.tried += units.len();
            let Some(bad) = units.iter().map(|unit| self.number(*unit)).find(|number| self.bad.contains(number)) else {
                self.there.extend(units);
                return Ok(Written { rows: vec![units.len() as u64], ..Written::nothing(1) });
            };
            Err(match (self.names)(bad) {
                Some(named) => Stopped::Named(self.refusal(self.units[named])),
                None => Stopped::Refused(self.refusal(units[0])),
            })
        }
    }

    impl Attempt for Table {
        fn sift<'a>(&'a mut self, units: &'a [Unit]) -> Answer<'a, Result<Vec<Refusal>, CommitError>> {
            let found = self.bad.iter().filter(|bad| (self.sifts)(**bad)).map(|bad| self.units[*bad]);
            let found = found.filter(|unit| units.contains(unit)).map(|unit| *self.refusal(unit)).collect();
            Box::pin(std::future::ready(Ok(found)))
        }

        fn range<'a>(&'a mut self, units: &'a [Unit], _: bool) -> Answer<'a, Result<Written, Stopped>> {
            Box::pin(std::future::ready(self.write(units)))
        }

        fn singly<'a>(&'a mut self, units: &'a [Unit], _: bool) -> Answer<'a, Result<Written, CommitError>> {
            let mut written = Written::nothing(1);
            for unit in units {
                match self.write(&[*unit]) {
                    Ok(more) => add(&mut written, more),
                    Err(_) => written.refused.push(*self.refusal(*unit)),
                }
            }
            Box::pin(std::future::ready(Ok(written)))
        }

        fn check(&mut self) -> Answer<'_, Result<(), Stopped>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn restart(&mut self) -> Answer<'_, Result<(), CommitError>> {
            self.there.clear();
            Box::pin(std::future::ready(Ok(())))
        }
    }

    /// Writes all units, checks what is there and what is refused, and says how many rows were tried for each unit.
    fn check(count: usize, bad: &[usize], names: fn(usize) -> Option<usize>) -> usize {
        check_table(Table::new(count, bad, names), bad)
    }

    fn check_table(mut table: Table, bad: &[usize]) -> usize {
        let count = table.units.len();
        let units = table.units.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let written = runtime.block_on(write(&mut table, &units, 1)).expect("nothing is lost");
        let refused: Vec<_> = written.refused.iter().map(|refusal| table.number(refusal.unit)).collect();
        assert_eq!(refused, bad);
        let mut good = units.clone();
        good.retain(|unit| !table.bad.contains(&table.number(*unit)));
        assert_eq!(table.there, good, "each once, in order");
        assert_eq!(written.rows, [good.len() as u64]);
        table.tried.div_ceil(count)
    }

    #[test]
    fn what_is_found_at_once_is_not_tried_again_and_the_rest_is_found_as_ever() {
        let bad: Vec<_> = (0..10_000).step_by(100).collect();
        let table = |sifts| Table { sifts, ..Table::new(10_000, &bad, Some) };
        assert_eq!(check_table(table(|_| true), &bad), 1);
        assert!(check_table(table(|bad| bad % 200 == 0), &bad) > 1, "half of them were not found");
        assert!(check_table(table(|_| false), &bad) > 1);
    }

    #[test]
    fn whatever_the_database_names_the_refused_ones_are_found() {
        let all: Vec<_> = (0..100).collect();
        let hundredth: Vec<_> = (0..10_000).step_by(100).collect();
        let half: Vec<_> = (0..10_000).step_by(2).collect();
        for names in [|_| None, Some, |bad: usize| bad.checked_sub(1), |_| Some(0)] as [fn(usize) -> Option<usize>; 4] {
            for (count, bad) in [
                (1, &[][..]),
                (1, &[0]),
                (2, &[1]),
                (1_000, &[0, 999]),
                (1_000, &[500, 501, 502]),
                (100, &all),
                (10_000, &half),
            ] {
                check(count, bad, names);
            }
        }
        assert!(check(10_000, &hundredth, |_| None) > 6, "halving tries a row again and again");
        assert!(check(10_000, &hundredth, Some) <= 4, "where rows are named, each is tried a few times");
        assert!(check(10_000, &half, Some) <= 3, "and hardly more than once where most are refused");
    }
}
