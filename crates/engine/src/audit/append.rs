//! Rows that are only inserted: two multisets are compared.
//!
//! First by buckets: 65,536 sums of hashes on each side, in bounded memory whatever the table's size. Only buckets that differ
//! are looked at row by row, as many at a time as fit.

use super::canon::cells;
use super::judge::{Cells, Court, Judge, Origin, hash_cells};
use super::report::What;
use crate::error::Result;
use onceflow_core::Digest;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

const BUCKETS: usize = 1 << 16;
/// So many rows are looked at one by one in a pass.
const ROWS_AT_ONCE: u64 = 1_000_000;
/// So many rows are tried as the changed form of a row that is missing.
const CANDIDATES_MAX: usize = 64;

/// The judge of a table that is appended to.
pub struct Append {
    stage: Stage,
    expected: Vec<Digest>,
    found: Vec<Digest>,
    /// Buckets that differ and were not looked at yet.
    differing: BTreeSet<usize>,
    at_once: u64,
    bytes: Vec<u8>,
}

enum Stage {
    Buckets,
    Rows(Box<Rows>),
}

#[derive(Default)]
struct Rows {
    buckets: BTreeSet<usize>,
    rows: BTreeMap<u128, Row>,
}

impl Rows {
    /// The row of a hash.
    fn of(&mut self, hash: u128, bytes: &[u8]) -> &mut Row {
        self.rows.entry(hash).or_insert_with(|| Row { bytes: bytes.into(), origins: Vec::new(), found: 0 })
    }
}

struct Row {
    bytes: Box<[u8]>,
    origins: Vec<Origin>,
    found: u64,
}

impl Default for Append {
    fn default() -> Self {
        Self::new(ROWS_AT_ONCE)
    }
}

impl Append {
    fn new(at_once: u64) -> Self {
        Self {
            stage: Stage::Buckets,
            expected: vec![Digest::EMPTY; BUCKETS],
            found: vec![Digest::EMPTY; BUCKETS],
            differing: BTreeSet::new(),
            at_once,
            bytes: Vec::new(),
        }
    }

    fn hash(&mut self, row: &Cells<'_>) -> (u128, usize) {
        let hash = hash_cells(&mut self.bytes, row);
        let bucket = usize::try_from(hash >> 112).unwrap_or(0);
        (hash, bucket)
    }

    /// Compares the buckets: those that are equal are done.
    fn compare(&mut self, court: &mut Court<'_>) {
        for (bucket, (expected, found)) in self.expected.iter().zip(&self.found).enumerate() {
            if expected == found {
                court.report.summary.once += expected.count();
            } else {
                self.differing.insert(bucket);
            }
        }
    }

    /// The next buckets to look into, together as many rows as fit.
    fn next(&mut self) -> Rows {
        let mut rows = Rows::default();
        let mut count = 0;
        while let Some(bucket) = self.differing.pop_first() {
            count += self.expected[bucket].count() + self.found[bucket].count();
            rows.buckets.insert(bucket);
            if count >= self.at_once {
                break;
            }
        }
        rows
    }
}

impl Judge for Append {
    fn expected(&mut self, row: &Cells<'_>, origin: Origin, _: &mut Court<'_>) -> Result<()> {
        let (hash, bucket) = self.hash(row);
        match &mut self.stage {
            Stage::Buckets => self.expected[bucket].add(hash),
            Stage::Rows(rows) if rows.buckets.contains(&bucket) => {
                rows.of(hash, &self.bytes).origins.push(origin);
            }
            Stage::Rows(_) => {}
        }
        Ok(())
    }

    fn found(&mut self, row: &Cells<'_>, _: &mut Court<'_>) -> Result<()> {
        let (hash, bucket) = self.hash(row);
        match &mut self.stage {
            Stage::Buckets => self.found[bucket].add(hash),
            Stage::Rows(rows) if rows.buckets.contains(&bucket) => {
                rows.of(hash, &self.bytes).found += 1;
            }
            Stage::Rows(_) => {}
        }
        Ok(())
    }

    fn end(&mut self, court: &mut Court<'_>) -> Result<bool> {
        match std::mem::replace(&mut self.stage, Stage::Buckets) {
            Stage::Buckets => self.compare(court),
            Stage::Rows(rows) => judge(*rows, court),
        }
        let next = self.next();
        let more = !next.buckets.is_empty();
        self.stage = Stage::Rows(Box::new(next));
        Ok(more)
    }

    fn wants_table(&self) -> bool {
        true
    }
}

/// A row that is missing, or that should not be there: its cells, where it comes from, how many times.
struct Odd {
    cells: Vec<Option<String>>,
    origins: Vec<Origin>,
    times: u64,
}

impl Odd {
    fn row(&self, court: &Court<'_>) -> String {
        let cells: Vec<Option<Cow<'_, str>>> = self.cells.iter().map(|cell| cell.as_deref().map(Cow::from)).collect();
        court.row(&cells)
    }
}

fn judge(rows: Rows, court: &mut Court<'_>) {
    let (mut missing, mut unexpected) = (Vec::new(), Vec::new());
    for row in rows.rows.into_values() {
        let expected = row.origins.len() as u64;
        court.report.summary.once += expected.min(row.found);
        if expected > row.found {
            let origins = row.origins[usize::try_from(row.found).unwrap_or(0)..].to_vec();
            missing.push(Odd { cells: cells(&row.bytes), times: expected - row.found, origins });
        } else if row.found > expected {
            let odd = Odd { cells: cells(&row.bytes), times: row.found - expected, origins: row.origins };
            if expected > 0 { repeated(&odd, court) } else { unexpected.push(odd) }
        }
    }
    missing.sort_by_key(|odd| odd.origins.first().map(|origin| (origin.partition, origin.offset)));
    let (missing, unexpected) = changed(missing, unexpected, court);
    missing.iter().for_each(|odd| gone(odd, court));
    strangers(&unexpected, court);
}

fn repeated(odd: &Odd, court: &mut Court<'_>) {
    if court.excuses.ranged {
        return;
    }
    court.report.summary.repeated += odd.times;
    let copies = odd.times + odd.origins.len() as u64;
    let row = odd.row(court);
    let said = format!("the row stands {copies} times, {} made it", records(odd.origins.len()));
    court.find(What::Repeated, odd.origins.first().copied(), Some(row), odd.times, said);
}

fn records(count: usize) -> String {
    if count == 1 { "one record".to_owned() } else { format!("{count} records") }
}

fn gone(odd: &Odd, court: &mut Court<'_>) {
    let row = odd.row(court);
    for origin in &odd.origins {
        if court.is_missing(*origin) {
            court.find(What::Missing, Some(*origin), Some(row.clone()), 1, "the row is not in the table".to_owned());
        }
    }
}

/// Rows that no record makes: they were there before, or come from records that are gone, or are strangers.
fn strangers(unexpected: &[Odd], court: &mut Court<'_>) {
    let count: u64 = unexpected.iter().map(|odd| odd.times).sum();
    if count == 0 || court.excuses.ranged {
        return;
    }
    if court.excuses.adopted {
        court.report.adopted += count;
        return;
    }
    let excused = count.min(court.excuses.gone_rows);
    // Their records are counted as unverifiable already.
    court.excuses.gone_rows -= excused;
    let mut left = excused;
    for odd in unexpected {
        let excused = odd.times.min(left);
        left -= excused;
        let times = odd.times - excused;
        if times > 0 {
            court.report.summary.unexpected += times;
            let row = odd.row(court);
            court.find(What::Unexpected, None, Some(row), times, "no record makes this row".to_owned());
        }
    }
}

/// Pairs rows that are missing with rows that agree with them in at least half of the columns.
fn changed(missing: Vec<Odd>, unexpected: Vec<Odd>, court: &mut Court<'_>) -> (Vec<Odd>, Vec<Odd>) {
    if court.excuses.ranged || court.excuses.adopted || court.excuses.gone_rows > 0 {
        return (missing, unexpected);
    }
    let mut by_cell: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
    for (index, odd) in unexpected.iter().enumerate() {
        for (column, cell) in odd.cells.iter().enumerate() {
            if let Some(text) = cell {
                by_cell.entry((column, text)).or_default().push(index);
            }
        }
    }
    let mut taken = BTreeSet::new();
    let mut left = Vec::new();
    for odd in missing {
        match best(&odd, &unexpected, &by_cell, &taken).filter(|_| odd.times == 1) {
            Some(index) if unexpected[index].times == 1 => {
                taken.insert(index);
                one_changed(&odd, &unexpected[index], court);
            }
            _ => left.push(odd),
        }
    }
    drop(by_cell);
    let rest = unexpected.into_iter().enumerate().filter(|(index, _)| !taken.contains(index));
    let rest = rest.map(|(_, odd)| odd).collect();
    (left, rest)
}

/// The row that agrees with this one in most columns, and in at least half of them.
fn best(
    odd: &Odd,
    others: &[Odd],
    by_cell: &BTreeMap<(usize, &str), Vec<usize>>,
    taken: &BTreeSet<usize>,
) -> Option<usize> {
    let rare = odd.cells.iter().enumerate().filter_map(|(column, cell)| by_cell.get(&(column, cell.as_deref()?)));
    let candidates = rare.min_by_key(|candidates| candidates.len())?;
    let equal = |index: usize| odd.cells.iter().zip(&others[index].cells).filter(|(a, b)| a == b).count();
    let free = candidates.iter().copied().filter(|index| !taken.contains(index)).take(CANDIDATES_MAX);
    let best = free.max_by_key(|index| (equal(*index), std::cmp::Reverse(*index)))?;
    (2 * equal(best) >= odd.cells.len() && odd.cells.len() > 1).then_some(best)
}

fn one_changed(odd: &Odd, other: &Odd, court: &mut Court<'_>) {
    if odd.origins.first().is_some_and(|origin| origin.replayed) {
        // What its commit's clock said is not known any more.
        court.report.summary.unverifiable += 1;
        return;
    }
    court.report.summary.changed += 1;
    let row = other.row(court);
    let said = differences(&odd.cells, &other.cells, court);
    court.find(What::Changed, odd.origins.first().copied(), Some(row), 1, said);
}

/// `balance is 5 and should be 7`, for each column that differs.
pub fn differences(expected: &[Option<String>], found: &[Option<String>], court: &Court<'_>) -> String {
    let shown = |cell: &Option<String>| cell.as_ref().map_or_else(|| "NULL".to_owned(), |text| shortened(text));
    let columns = court.table.columns.iter().zip(expected).zip(found).filter(|((_, a), b)| a != b);
    let said = columns.map(|((column, a), b)| format!("{} is {} and should be {}", column.name, shown(b), shown(a)));
    said.collect::<Vec<_>>().join(", ")
}

fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.chars().count() > CHARACTERS_MAX {
        true => text.chars().take(CHARACTERS_MAX).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, origin};
    use super::*;

    /// Records and rows of (id, amount); what is counted as once, missing, repeated, changed, unexpected.
    fn check(records: &[(&str, &str)], rows: &[(&str, &str)], counts: [u64; 5]) {
        for at_once in [ROWS_AT_ONCE, 1] {
            let mut case = Case::new(&["id", "amount"]);
            let mut judge = Append::new(at_once);
            case.run(
                &mut judge,
                &records
                    .iter()
                    .enumerate()
                    .map(|(n, (id, amount))| (vec![*id, *amount], origin(n)))
                    .collect::<Vec<_>>(),
                &rows.iter().map(|(id, amount)| vec![*id, *amount]).collect::<Vec<_>>(),
            );
            let s = case.report.summary;
            let found = [s.once, s.missing, s.repeated, s.changed, s.unexpected];
            // Where few rows are looked at at once, a row and its changed form may come in different passes.
            let expected = if at_once == 1 && counts[3] > 0 {
                [counts[0], counts[1] + counts[3], counts[2], 0, counts[4] + counts[3]]
            } else {
                counts
            };
            assert_eq!(found, expected, "{records:?} {rows:?} {at_once}");
        }
    }

    #[test]
    fn multisets_are_compared_row_by_row() {
        let three = [("1", "10"), ("2", "20"), ("3", "30")];
        check(&three, &three, [3, 0, 0, 0, 0]);
        check(&three, &three[1..], [2, 1, 0, 0, 0]);
        check(&three, &[three[0], three[0], three[0], three[1], three[2]], [3, 0, 2, 0, 0]);
        check(&three, &[three[0], three[1], three[2], ("9", "90")], [3, 0, 0, 0, 1]);
        check(&three, &[three[0], three[1], ("3", "31")], [2, 0, 0, 1, 0]);
        check(&[three[0], three[0]], &[three[0]], [1, 1, 0, 0, 0]);
        check(&[three[0], three[0]], &[three[0], three[0]], [2, 0, 0, 0, 0]);
        check(&[], &[], [0; 5]);
        check(&three, &[], [0, 3, 0, 0, 0]);
    }

    #[test]
    fn what_was_there_before_is_counted_as_such() {
        let mut case = Case::new(&["id", "amount"]);
        case.excuses.adopted = true;
        let mut judge = Append::default();
        case.run(&mut judge, &[(vec!["1", "10"], origin(0))], &[vec!["1", "10"], vec!["8", "80"], vec!["9", "90"]]);
        assert_eq!((case.report.summary.once, case.report.adopted, case.report.summary.unexpected), (1, 2, 0));
    }

    #[test]
    fn rows_of_records_that_are_gone_are_expected_and_no_more() {
        let mut case = Case::new(&["id", "amount"]);
        case.excuses.gone_rows = 1;
        let mut judge = Append::default();
        case.run(&mut judge, &[(vec!["1", "10"], origin(0))], &[vec!["1", "10"], vec!["8", "80"], vec!["9", "90"]]);
        let s = case.report.summary;
        assert_eq!((s.once, s.unexpected), (1, 1));
    }

    #[test]
    fn a_record_that_the_database_refused_and_nobody_kept_is_skipped() {
        let mut case = Case::new(&["id", "amount"]);
        case.excuses.refused.insert(1, 1);
        let mut judge = Append::default();
        case.run(&mut judge, &[(vec!["1", "10"], origin(0)), (vec!["2", "20"], origin(1))], &[]);
        assert_eq!((case.report.summary.skipped, case.report.summary.missing), (1, 1));
    }
}
