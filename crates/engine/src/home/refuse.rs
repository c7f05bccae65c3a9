//! Finds the records that a database refuses, and lets all others in, inside one transaction.
//!
//! Owns the search; a home owns savepoints and writing ([`Attempt`]). Records go in together or not at all: rows of one
//! record share a [`Unit`], whatever tables they are for. The search halves a range that is refused until one unit is left;
//! where many are refused it goes unit by unit, so that the cost stays linear in the number of records.

use crate::changes::{Refusal, Unit, Written};
use crate::home::{Answer, CommitError};

/// Why a range was not written.
#[derive(Debug)]
pub enum Stopped {
    /// The database refused a row of the range. Which unit is to blame is only known where the range has one.
    Refused(Box<Refusal>),
    /// The transaction is lost.
    Lost(CommitError),
}

/// What a home offers to the search. Every method runs in the open transaction.
pub trait Attempt {
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

/// Writes `units` (sorted, distinct) and leaves out those that the database refuses.
///
/// A record may depend on a later one: on a row that it refers to, or that a trigger or a statement looks for. So what was
/// refused for such a reason is tried once more behind the others, as long as that helps. What then is not refused is written
/// again from the start without the rest, since of one key the last record counts, and not the last attempt.
pub async fn write(attempt: &mut dyn Attempt, units: &[Unit], tables: usize) -> Result<Written, CommitError> {
    let (written, checked) = all(attempt, units, tables).await?;
    let Some(refused) = retry(attempt, &written.refused, tables, checked).await? else { return Ok(written) };
    attempt.restart().await?;
    let out = |unit: &&Unit| refused.binary_search_by_key(*unit, |refusal| refusal.unit).is_err();
    let rest: Vec<Unit> = units.iter().filter(out).copied().collect();
    let (mut written, _) = all(attempt, &rest, tables).await?;
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
        Err(Stopped::Refused(_)) => attempt.restart().await?,
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
    let mut written = Written { rows: vec![0; tables], ignored: vec![0; tables], refused: Vec::new() };
    let whole = 0..units.len();
    let mut open = vec![whole];
    let mut passed = 0;
    while let Some(range) = open.pop() {
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
        match attempt.range(&units[range.clone()], checked).await {
            Ok(more) => {
                passed += range.len();
                add(&mut written, more);
            }
            Err(Stopped::Lost(lost)) => return Err(lost),
            Err(Stopped::Refused(refusal)) if range.len() == 1 => {
                passed += 1;
                written.refused.push(Refusal { unit: units[range.start], ..*refusal });
            }
            Err(Stopped::Refused(_)) => {
                let middle = range.start + range.len() / 2;
                open.push(middle..range.end);
                open.push(range.start..middle);
            }
        }
    }
    written.refused.sort_by_key(|refusal| refusal.unit);
    Ok(written)
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
