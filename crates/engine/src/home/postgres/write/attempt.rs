//! One write of an epoch's rows in an open transaction, and what `home::refuse` needs to search for rows that are refused.
//!
//! Owns savepoints. Everything is tried at once first; only where that is refused are units told apart at all. After
//! `Refused` the transaction is as it was before the attempt.

use super::catalog::DEFERRED;
use super::copy::{self, Parameter, Picks};
use super::failure::{Failure, Reason};
use super::keyed::{Keyed, Tally};
use super::rows::{Block, Load};
use super::send::{Sent, send};
use super::tables::{Table, Way};
use crate::changes::{Refusal, TableSpec, Unit, Written};
use crate::codes;
use crate::crash;
use crate::home::refuse::{Attempt, Stopped};
use crate::home::{Answer, CommitError};
use crate::switches;
use std::collections::VecDeque;
use tokio_postgres::{Client, Statement};

/// Executions of a user's statement that are on their way at the same time.
const IN_FLIGHT_MAX: usize = 256;

/// A search in progress.
pub(super) struct Search<'a> {
    pub client: &'a Client,
    pub specs: &'a [TableSpec],
    pub tables: &'a mut [Table],
    pub deferred: bool,
    pub load: &'a Load<'a>,
    /// All rows of all tables by unit, once they are needed.
    index: Vec<Entry>,
    /// What came of the attempt to write everything, until the search asks for just that.
    whole: Option<Result<Written, Reason>>,
    /// Checks what is deferred, and defers it again; known once it is needed.
    check: Option<String>,
}

/// A row with its unit; in the order in which rows are looked up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    unit: Unit,
    table: u32,
    row: u32,
}

/// Which rows of each table.
enum Selection {
    Everything,
    Rows(Vec<Vec<u32>>),
}

impl<'a> Search<'a> {
    pub fn new(
        client: &'a Client,
        specs: &'a [TableSpec],
        tables: &'a mut [Table],
        deferred: bool,
        load: &'a Load<'a>,
    ) -> Self {
        Self { client, specs, tables, deferred, load, index: Vec::new(), whole: None, check: None }
    }

    /// Writes everything under the outer savepoint. `None` where a row is refused: then the search begins, and does not repeat
    /// this attempt.
    pub async fn everything(&mut self) -> Result<Option<Written>, CommitError> {
        let savepoint = match switches::without(switches::Part::DeadLetters) {
            true => None,
            false => Some(send(self.client.batch_execute("SAVEPOINT onceflow_rows")).await),
        };
        let result = self.write(&Selection::Everything).await;
        if let Some(savepoint) = savepoint {
            savepoint.answer().await.map_err(super::failure::lost)?;
        }
        match result {
            // Nothing is written behind this check, so that it may leave all constraints immediate.
            Ok(written) => match self.check_by("SET CONSTRAINTS ALL IMMEDIATE").await {
                Ok(()) => return Ok(Some(written)),
                Err(Failure::Refused(_)) => self.whole = Some(Ok(written)),
                Err(Failure::Lost(lost)) => return Err(lost),
            },
            Err(Failure::Refused(reason)) => {
                self.undo("ROLLBACK TO onceflow_rows").await?;
                self.whole = Some(Err(reason));
            }
            Err(Failure::Lost(lost)) => return Err(lost),
        }
        Ok(None)
    }

    /// Whether everything was tried, and refused for a reason that concerns a row alone.
    pub(super) fn is_refused_alone(&self) -> bool {
        matches!(&self.whole, Some(Err(reason)) if reason.alone)
    }

    /// Begins a search that does not try everything at once, because some rows are known not to fit, or expected not to.
    pub async fn begin(&mut self) -> Result<(), CommitError> {
        self.undo("SAVEPOINT onceflow_rows").await
    }

    /// All units, sorted and distinct.
    pub fn units(&mut self) -> Vec<Unit> {
        let mut index = Vec::new();
        for (table, units) in self.load.units().iter().enumerate() {
            let table = u32::try_from(table).expect("a branch has few tables");
            let entry = |(row, unit): (usize, &Unit)| {
                let row = u32::try_from(row).expect("an epoch has fewer than 2^32 rows");
                Entry { unit: *unit, table, row }
            };
            index.extend(units.iter().enumerate().map(entry));
        }
        // Merge sort is quick on the sorted runs that partitions are.
        index.sort();
        let mut units: Vec<Unit> = index.iter().map(|entry| entry.unit).collect();
        units.dedup();
        self.index = index;
        units
    }

    async fn undo(&self, sql: &str) -> Result<(), CommitError> {
        self.client.batch_execute(sql).await.map_err(super::failure::lost)
    }

    fn entries(&self, units: &[Unit]) -> Vec<Entry> {
        let (Some(first), Some(last)) = (units.first(), units.last()) else { return Vec::new() };
        let from = self.index.partition_point(|entry| entry.unit < *first);
        let to = self.index.partition_point(|entry| entry.unit <= *last);
        let mut wanted = units.iter().peekable();
        let mut found = Vec::new();
        for entry in &self.index[from..to] {
            while wanted.next_if(|unit| **unit < entry.unit).is_some() {}
            if wanted.peek().is_some_and(|unit| **unit == entry.unit) {
                found.push(*entry);
            }
        }
        found
    }

    fn select(&self, units: &[Unit]) -> Selection {
        let mut rows = vec![Vec::new(); self.specs.len()];
        for entry in self.entries(units) {
            rows[entry.table as usize].push(entry.row);
        }
        rows.iter_mut().for_each(|rows| rows.sort_unstable());
        Selection::Rows(rows)
    }

    fn nothing(&self) -> Written {
        Written::nothing(self.specs.len())
    }

    /// Writes rows, table after table in the order in which they first appear.
    async fn write(&mut self, selection: &Selection) -> Result<Written, Failure> {
        let mut written = self.nothing();
        for table in self.load.order.clone() {
            let picks = match selection {
                Selection::Everything => Picks::All,
                Selection::Rows(rows) if rows[table].is_empty() => continue,
                Selection::Rows(rows) => Picks::Some(&rows[table]),
            };
            let tally = self.write_table(table, picks).await?;
            written.rows[table] += tally.rows;
            written.ignored[table] += tally.ignored;
            crash::point("mid_rows");
        }
        Ok(written)
    }

    async fn write_table(&mut self, table: usize, picks: Picks<'_>) -> Result<Tally, Failure> {
        let blocks = &self.load.tables[table].blocks;
        let Table { targets, way } = &mut self.tables[table];
        let statements = match way {
            Way::Statement { prepared, expect_rows } => {
                let executions = Executions { client: self.client, prepared, expect_rows: *expect_rows, table };
                return executions.run(self.load, picks).await;
            }
            Way::Rows(statements) => statements,
        };
        if !self.specs[table].mode.is_keyed()
            && let Some(statement) = statements.copy.clone()
        {
            let copied = copy::copy(self.client, &statement, blocks, picks).await;
            let sent = |at: usize| match picks {
                Picks::All => Some(at),
                Picks::Some(picks) => picks.get(at).map(|row| *row as usize),
            };
            let rows = copied.map_err(|error| Failure::in_copy(error, table, sent))?;
            return Ok(Tally { rows, ignored: 0 });
        }
        let (client, load, spec) = (self.client, self.load, &self.specs[table]);
        Keyed { client, spec, table, targets, statements, load }.write(picks).await
    }

    /// Checks what is deferred, and defers it again.
    async fn check_now(&mut self) -> Result<(), Failure> {
        let sql = self.checking().await?;
        self.check_by(&sql).await
    }

    async fn check_by(&self, sql: &str) -> Result<(), Failure> {
        if !self.deferred {
            return Ok(());
        }
        let sql = format!("SAVEPOINT onceflow_check; {sql}; RELEASE onceflow_check");
        let Err(error) = self.client.batch_execute(&sql).await else { return Ok(()) };
        let failure = Failure::of(error, self.load.order.first().copied().unwrap_or(0));
        if let Failure::Refused(_) = failure {
            let undo = "ROLLBACK TO onceflow_check; RELEASE onceflow_check";
            self.client.batch_execute(undo).await.map_err(Failure::lost)?;
        }
        Err(failure)
    }

    /// The statements of a check that defers again. The names are looked up in this very transaction, which holds locks on the
    /// tables that it has written: they cannot go away behind it.
    async fn checking(&mut self) -> Result<String, Failure> {
        if let (None, true) = (&self.check, self.deferred) {
            let rows = self.client.query(DEFERRED, &[]).await.map_err(Failure::lost)?;
            let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let again = match names.is_empty() {
                true => String::new(),
                false => format!("; SET CONSTRAINTS {} DEFERRED", names.join(", ")),
            };
            self.check = Some(format!("SET CONSTRAINTS ALL IMMEDIATE{again}"));
        }
        Ok(self.check.clone().unwrap_or_default())
    }

    pub(super) fn refusal(&self, units: &[Unit], reason: Reason) -> Refusal {
        let unit = units[0];
        // Of many units none is to blame yet, and nobody looks at the row.
        let row = if units.len() == 1 { self.row_of(unit, reason.table) } else { None };
        let (table, row) = row.unwrap_or((reason.table, String::new()));
        Refusal { unit, table, code: reason.code, sqlstate: reason.sqlstate, reason: reason.why, row }
    }

    fn stopped(&self, units: &[Unit], reason: Reason) -> Stopped {
        let named = reason.row.and_then(|row| self.load.units()[reason.table].get(row).copied());
        let refusal = self.refusal(units, reason);
        match named {
            Some(unit) => Stopped::Named(Box::new(Refusal { unit, ..refusal })),
            None => Stopped::Refused(Box::new(refusal)),
        }
    }

    /// A unit's row for a table; where it has none there (a deferred constraint names no table of ours), its first.
    fn row_of(&self, unit: Unit, table: usize) -> Option<(usize, String)> {
        let entries = self.entries(&[unit]);
        let entry = entries.iter().find(|entry| entry.table as usize == table).or(entries.first())?;
        let table = entry.table as usize;
        Some((table, self.load.tables[table].json(entry.row as usize)))
    }

    async fn try_range(&mut self, units: &[Unit], checked: bool) -> Result<Written, Stopped> {
        if let Some(whole) = self.whole.take() {
            // The first range is everything, which has been tried.
            return whole.map_err(|reason| self.stopped(units, reason));
        }
        let selection = self.select(units);
        let savepoint = send(self.client.batch_execute("SAVEPOINT onceflow_range")).await;
        let mut result = self.write(&selection).await;
        savepoint.answer().await.map_err(|error| Stopped::Lost(super::failure::lost(error)))?;
        if let (Ok(_), true) = (&result, checked) {
            result = match self.check_now().await {
                Ok(()) => result,
                Err(failure) => Err(failure),
            };
        }
        match result {
            Ok(written) => {
                self.undo("RELEASE onceflow_range").await.map_err(Stopped::Lost)?;
                Ok(written)
            }
            Err(Failure::Refused(reason)) => {
                self.undo("ROLLBACK TO onceflow_range; RELEASE onceflow_range").await.map_err(Stopped::Lost)?;
                Err(self.stopped(units, reason))
            }
            Err(Failure::Lost(lost)) => Err(Stopped::Lost(lost)),
        }
    }

    /// Writes one unit in one round trip: savepoint, its rows and the check are sent together. Where a row is refused, what
    /// follows fails by itself, and one more round trip undoes it.
    async fn one_unit(
        &mut self,
        unit: Unit,
        begin: &str,
        checked: bool,
        written: &mut Written,
    ) -> Result<(), CommitError> {
        let entries = self.in_write_order(unit);
        let result = self.send_unit(&entries, begin, checked).await;
        match result {
            Ok(touched) => {
                for (entry, touched) in entries.iter().zip(touched) {
                    let ignored = touched == 0 && self.specs[entry.table as usize].mode.ignores();
                    let counts = if ignored { &mut written.ignored } else { &mut written.rows };
                    counts[entry.table as usize] += 1;
                }
                Ok(())
            }
            Err(Failure::Refused(reason)) => {
                self.undo("ROLLBACK TO onceflow_unit").await?;
                written.refused.push(self.refusal(&[unit], reason));
                Ok(())
            }
            Err(Failure::Lost(lost)) => Err(lost),
        }
    }

    fn in_write_order(&self, unit: Unit) -> Vec<Entry> {
        let mut entries = self.entries(&[unit]);
        let place = |entry: &Entry| self.load.order.iter().position(|table| *table == entry.table as usize);
        entries.sort_by_key(|entry| (place(entry), entry.row));
        entries
    }

    async fn send_unit(&mut self, entries: &[Entry], begin: &str, checked: bool) -> Result<Vec<u64>, Failure> {
        let checking = if checked { self.checking().await? } else { String::new() };
        let savepoint = send(self.client.batch_execute(begin)).await;
        let rows: Vec<(usize, Statement, Vec<Parameter>)> =
            entries.iter().map(|entry| self.row_statement(*entry)).collect();
        let mut sent = Vec::with_capacity(rows.len());
        for (_, statement, parameters) in &rows {
            sent.push(send(self.client.execute_raw(statement, parameters.iter())).await);
        }
        let check = match checking.is_empty() {
            false => Some(send(self.client.batch_execute(&checking)).await),
            true => None,
        };
        savepoint.answer().await.map_err(Failure::lost)?;
        let mut touched = Vec::with_capacity(rows.len());
        for (sent, (table, ..)) in sent.into_iter().zip(&rows) {
            touched.push(sent.answer().await.map_err(|error| Failure::of(error, *table))?);
        }
        for (touched, (table, ..)) in touched.iter().zip(&rows) {
            self.expected(*table, *touched)?;
        }
        if let Some(check) = check {
            let table = rows.first().map_or(0, |(table, ..)| *table);
            check.answer().await.map_err(|error| Failure::of(error, table))?;
        }
        Ok(touched)
    }

    fn expected(&self, table: usize, touched: u64) -> Result<(), Failure> {
        match &self.tables[table].way {
            Way::Statement { expect_rows: Some(expected), .. } if *expected != touched => {
                Err(Failure::Refused(unexpected(table, *expected, touched)))
            }
            _ => Ok(()),
        }
    }

    fn row_statement(&self, entry: Entry) -> (usize, Statement, Vec<Parameter>) {
        let table = entry.table as usize;
        let rows = &self.load.tables[table];
        let (block, row) = rows.find(entry.row as usize);
        let (statement, parameters) = match &self.tables[table].way {
            Way::Statement { prepared, .. } => (&prepared.statement, prepared.values(block, row)),
            Way::Rows(statements) => {
                match statements.delete_row.as_ref().filter(|_| rows.is_delete(entry.row as usize)) {
                    Some(delete) => {
                        let key = self.specs[table].key.iter();
                        (delete, key.map(|at| Parameter::of(&block.encoders[*at], row)).collect())
                    }
                    None => (
                        &statements.insert_row,
                        block.encoders.iter().map(|encoder| Parameter::of(encoder, row)).collect(),
                    ),
                }
            }
        };
        (table, statement.clone(), parameters)
    }
}

fn unexpected(table: usize, expected: u64, touched: u64) -> Reason {
    let why = format!("the statement touched {touched} rows, and 'write.expect-rows' is {expected}");
    Reason { table, code: codes::OF0751, sqlstate: String::new(), why, row: None, alone: false }
}

impl Attempt for Search<'_> {
    fn sift<'a>(&'a mut self, units: &'a [Unit]) -> Answer<'a, Result<Vec<Refusal>, CommitError>> {
        Box::pin(async move {
            let refused = self.sifted(units).await?;
            if !refused.is_empty() {
                // It was about all units, and these are out now.
                self.whole = None;
            }
            Ok(refused)
        })
    }

    fn range<'a>(&'a mut self, units: &'a [Unit], checked: bool) -> Answer<'a, Result<Written, Stopped>> {
        Box::pin(self.try_range(units, checked))
    }

    fn singly<'a>(&'a mut self, units: &'a [Unit], checked: bool) -> Answer<'a, Result<Written, CommitError>> {
        Box::pin(async move {
            let mut written = self.nothing();
            let mut begin = "SAVEPOINT onceflow_unit";
            for unit in units {
                self.one_unit(*unit, begin, checked, &mut written).await?;
                // The savepoint of one unit ends where the next one's begins, which saves a round trip.
                begin = "RELEASE onceflow_unit; SAVEPOINT onceflow_unit";
            }
            self.undo("RELEASE onceflow_unit").await?;
            Ok(written)
        })
    }

    fn check(&mut self) -> Answer<'_, Result<(), Stopped>> {
        Box::pin(async move {
            self.check_now().await.map_err(|failure| match failure {
                // Which record is to blame is not known; the search goes on to find it.
                Failure::Refused(reason) => Stopped::Refused(Box::new(Refusal {
                    unit: self.index[0].unit,
                    table: reason.table,
                    code: reason.code,
                    sqlstate: reason.sqlstate,
                    reason: reason.why,
                    row: String::new(),
                })),
                Failure::Lost(lost) => Stopped::Lost(lost),
            })
        })
    }

    fn restart(&mut self) -> Answer<'_, Result<(), CommitError>> {
        Box::pin(self.undo("ROLLBACK TO onceflow_rows"))
    }
}

/// Executions of the user's statement, once a row, in the order of their records.
struct Executions<'a> {
    client: &'a Client,
    prepared: &'a super::statement::Prepared,
    expect_rows: Option<u64>,
    table: usize,
}

impl Executions<'_> {
    async fn run(&self, load: &Load<'_>, picks: Picks<'_>) -> Result<Tally, Failure> {
        let order = in_record_order(load, self.table, picks);
        let rows = &load.tables[self.table];
        let mut flying: VecDeque<Sent<_>> = VecDeque::with_capacity(IN_FLIGHT_MAX);
        for (number, row) in order.iter().enumerate() {
            let (block, row) = rows.find(*row as usize);
            flying.push_back(send(self.execute(block, row)).await);
            if flying.len() == IN_FLIGHT_MAX {
                self.land(flying.pop_front()).await?;
            }
            if number % IN_FLIGHT_MAX == IN_FLIGHT_MAX - 1 {
                crash::point("mid_rows");
            }
        }
        while !flying.is_empty() {
            self.land(flying.pop_front()).await?;
        }
        Ok(Tally { rows: order.len() as u64, ignored: 0 })
    }

    async fn execute(&self, block: &Block, row: usize) -> Result<u64, tokio_postgres::Error> {
        let parameters = self.prepared.values(block, row);
        self.client.execute_raw(&self.prepared.statement, parameters.iter()).await
    }

    async fn land<F>(&self, sent: Option<Sent<F>>) -> Result<(), Failure>
    where
        F: Future<Output = Result<u64, tokio_postgres::Error>>,
    {
        let Some(sent) = sent else { return Ok(()) };
        let touched = sent.answer().await.map_err(|error| Failure::of(error, self.table))?;
        match self.expect_rows {
            Some(expected) if expected != touched => Err(Failure::Refused(unexpected(self.table, expected, touched))),
            _ => Ok(()),
        }
    }
}

fn in_record_order(load: &Load<'_>, table: usize, picks: Picks<'_>) -> Vec<u32> {
    let mut order: Vec<u32> = match picks {
        Picks::Some(picks) => picks.to_vec(),
        Picks::All => (0..load.tables[table].count)
            .map(|row| u32::try_from(row).expect("an epoch has fewer than 2^32 rows"))
            .collect(),
    };
    let units = &load.units()[table];
    order.sort_by_key(|row| (units[*row as usize], *row));
    order
}
