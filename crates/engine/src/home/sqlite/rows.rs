//! Rows of an epoch on their way into their tables, with the search for those that SQLite refuses.
//!
//! Tables are written one after the other in the branch's order, rows of a table in the order of their units. Keyed rows are
//! compacted to one a key and written in the key's order.

use super::fault;
use super::location::Location;
use super::plan::{TablePlan, Way};
use super::value::{Column, Unfit};
use crate::changes::{Lineage, OnError, Refusal, RowSet, TableSpec, Unit, Work, Written};
use crate::codes::{self, Code};
use crate::error::{Error, Kind};
use crate::home::refuse::{self, Attempt, Stopped};
use crate::home::row_json::row_json;
use crate::home::{Answer, CommitError};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Statement, ffi};
use std::future::ready;

/// A set of rows, ready to be read one by one.
struct Source<'w> {
    set: &'w RowSet,
    columns: Vec<Column>,
}

/// Where a row is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    unit: Unit,
    source: u32,
    row: u32,
}

/// A table's statements.
struct TableWriter<'c> {
    spec: &'c TableSpec,
    plan: &'c TablePlan,
    write: Statement<'c>,
    delete: Option<Statement<'c>>,
    read: Option<Statement<'c>>,
}

/// Everything of one `write`.
pub(super) struct Writer<'c, 'w> {
    place: &'c Location,
    connection: &'c Connection,
    tables: Vec<TableWriter<'c>>,
    sources: Vec<Source<'w>>,
    entries: Vec<Vec<Entry>>,
    total: usize,
    passed: usize,
    said_middle: bool,
}

type Attempted<T> = Result<T, Stopped>;

/// What became of one row.
enum Wrote {
    Rows(u64),
    Ignored,
}

/// Writes a work into its tables, without the rows that are refused.
pub(super) async fn write(
    place: &Location,
    connection: &Connection,
    specs: &[TableSpec],
    plans: &[TablePlan],
    work: &Work,
) -> Result<Written, CommitError> {
    let mut writer = Writer::new(place, connection, specs, plans, work)?;
    let units = writer.units();
    // Until the transaction ends: what a row refers to may come later in the epoch, or in a later table of the branch.
    writer.execute("PRAGMA defer_foreign_keys = ON; SAVEPOINT onceflow_search")?;
    let written = refuse::write(&mut writer, &units, specs.len()).await?;
    writer.execute("RELEASE onceflow_search")?;
    refuse_stops(&written, specs, work)?;
    Ok(written)
}

/// Stops where a table says so and a row of it was refused.
fn refuse_stops(written: &Written, specs: &[TableSpec], work: &Work) -> Result<(), CommitError> {
    let Some(refusal) = written.refused.iter().find(|refusal| specs[refusal.table].on_error == OnError::Stop) else {
        return Ok(());
    };
    let name = named(&work.lineage(), work, refusal.unit);
    let table = &specs[refusal.table];
    let message = format!("stopped at {name}: table '{}' refused its row: {}", table.target(), refusal.reason);
    let error = Error::new(Kind::Data, codes::OF0004, message)
        .at(&table.place)
        .note(format!("the row: {}", refusal.row))
        .note(format!(
            "{} is the reason's code; `on-error` is `stop`, nothing of the epoch was committed",
            refusal.code
        ))
        .help("mend the cause and start again, or set 'on-error' = 'dead-letter' to put such records aside");
    Err(CommitError::Rejected(error))
}

fn named(lineage: &Lineage, work: &Work, unit: Unit) -> String {
    match lineage.find(unit) {
        Some((part, ordinal)) => {
            let (partition, record) = work.parts[part].record(ordinal);
            format!("{}/{} offset {}", partition.topic, partition.number, record.offset)
        }
        None => "a grouped row".to_owned(),
    }
}

impl<'c, 'w> Writer<'c, 'w> {
    fn new(
        place: &'c Location,
        connection: &'c Connection,
        specs: &'c [TableSpec],
        plans: &'c [TablePlan],
        work: &'w Work,
    ) -> Result<Self, CommitError> {
        let mut tables = Vec::new();
        for (spec, plan) in specs.iter().zip(plans) {
            let table = TableWriter::new(connection, spec, plan);
            tables
                .push(table.map_err(|error| CommitError::Rejected(fault::error(place, "prepare a write in", error)))?);
        }
        let mut sources = Vec::new();
        let mut entries = vec![Vec::new(); specs.len()];
        let lineage = work.lineage();
        let mut grouped = 0;
        for (part, set) in
            work.parts.iter().enumerate().flat_map(|(index, part)| part.sets.iter().map(move |set| (index, set)))
        {
            let source = u32::try_from(sources.len()).expect("an epoch has fewer than 2^32 sets of rows");
            let units = lineage.units(part, set, &mut grouped);
            let rows = units.into_iter().zip(0_u32..).map(|(unit, row)| Entry { unit, source, row });
            entries[set.table].extend(rows);
            sources.push(Source::new(set, &specs[set.table], &plans[set.table])?);
        }
        // Stable: rows of one record keep the order in which the logic gave them.
        entries.iter_mut().for_each(|rows| rows.sort_by_key(|entry| entry.unit));
        let total = entries.iter().map(Vec::len).sum();
        Ok(Self { place, connection, tables, sources, entries, total, passed: 0, said_middle: false })
    }

    /// All units that have rows, in order, once each.
    fn units(&self) -> Vec<Unit> {
        let mut units: Vec<Unit> = self.entries.iter().flatten().map(|entry| entry.unit).collect();
        units.sort_unstable();
        units.dedup();
        units
    }

    fn execute(&self, sql: &str) -> Result<(), CommitError> {
        self.connection
            .execute_batch(sql)
            .map_err(|error| CommitError::Rejected(fault::error(self.place, "write to", error)))
    }

    /// Runs a step under a savepoint, and takes everything back where it is refused.
    fn saved<T>(&mut self, step: impl FnOnce(&mut Self) -> Attempted<T>) -> Attempted<T> {
        self.execute("SAVEPOINT onceflow_range").map_err(Stopped::Lost)?;
        let result = step(self);
        if matches!(result, Err(Stopped::Refused(_))) {
            if self.connection.is_autocommit() {
                return Err(Stopped::Lost(CommitError::Rejected(self.rolled_back())));
            }
            self.execute("ROLLBACK TO onceflow_range").map_err(Stopped::Lost)?;
        }
        if !matches!(result, Err(Stopped::Lost(_))) {
            self.execute("RELEASE onceflow_range").map_err(Stopped::Lost)?;
        }
        result
    }

    fn rolled_back(&self) -> Error {
        let message =
            format!("a trigger or constraint in {} rolled back the whole transaction", self.place.path().display());
        Error::config(codes::OF0826, message)
            .note("nothing was committed")
            .help("use RAISE(ABORT, …) and ON CONFLICT ABORT, so that one row can be refused by itself")
    }

    fn range_now(&mut self, units: &[Unit], checked: bool) -> Attempted<Written> {
        self.saved(|writer| {
            let written = writer.all_tables(units)?;
            if checked && unresolved(writer.connection) {
                return Err(Stopped::Refused(Box::new(writer.deferred(units[0]))));
            }
            Ok(written)
        })
    }

    fn all_tables(&mut self, units: &[Unit]) -> Attempted<Written> {
        let tables = self.tables.len();
        let mut written = Written::nothing(tables);
        for table in 0..tables {
            let rows = self.select(table, units);
            if rows.is_empty() {
                continue;
            }
            match self.tables[table].plan.way {
                Way::Upsert | Way::Merge => written.rows[table] = self.keyed(table, &rows)?,
                _ => {
                    for entry in rows {
                        match self.one(table, entry)? {
                            Wrote::Rows(count) => written.rows[table] += count,
                            Wrote::Ignored => written.ignored[table] += 1,
                        }
                    }
                }
            }
        }
        Ok(written)
    }

    /// The rows of a table that belong to some units, in order.
    fn select(&self, table: usize, units: &[Unit]) -> Vec<Entry> {
        let entries = &self.entries[table];
        let (Some(first), Some(last)) = (units.first(), units.last()) else { return Vec::new() };
        let start = entries.partition_point(|entry| entry.unit < *first);
        let end = entries.partition_point(|entry| entry.unit <= *last);
        let mut wanted = units.iter().copied().peekable();
        let is_wanted = |entry: &&Entry| {
            while wanted.next_if(|unit| *unit < entry.unit).is_some() {}
            wanted.peek() == Some(&entry.unit)
        };
        entries[start..end].iter().filter(is_wanted).copied().collect()
    }

    /// Passes the crash point in the middle of the rows, once.
    fn middle(&mut self, rows: usize) {
        self.passed += rows;
        if !self.said_middle && 2 * self.passed >= self.total {
            self.said_middle = true;
            crate::crash::point("mid_rows");
        }
    }

    /// One row that stands for itself.
    fn one(&mut self, table: usize, entry: Entry) -> Attempted<Wrote> {
        let source = &self.sources[entry.source as usize];
        let row = entry.row as usize;
        let writer = &mut self.tables[table];
        if source.set.deletes.as_ref().is_some_and(|deletes| deletes[row]) {
            let message = format!("a row for '{}' retracts another, which only an upsert can do", writer.spec.target());
            return Err(Stopped::Lost(CommitError::Rejected(Error::internal(message))));
        }
        for (parameter, column) in writer.plan.parameters.iter().enumerate() {
            if let Err(problem) = bind(&mut writer.write, parameter + 1, source.columns[*column].value(row)) {
                return Err(self.failed(table, entry, *column, problem));
            }
        }
        let changed = writer.write.raw_execute();
        self.middle(1);
        match changed {
            Ok(changed) => self.judge(table, entry, changed as u64),
            Err(error) => Err(self.failed_by(table, entry, error)),
        }
    }

    /// Whether the number of rows that a statement touched is what it has to be.
    fn judge(&self, table: usize, entry: Entry, changed: u64) -> Attempted<Wrote> {
        match (&self.tables[table].plan.way, changed) {
            (Way::Statement(Some(expected)), _) if changed != *expected => {
                let reason = format!("the statement touched {changed} rows, 'write.expect-rows' is {expected}");
                Err(self.refused(table, entry, codes::OF0824, String::new(), reason))
            }
            (Way::Statement(_), _) => Ok(Wrote::Rows(1)),
            (Way::InsertIgnore, 0) => Ok(Wrote::Ignored),
            (_, 0) => {
                let reason = "SQLite reported success and wrote nothing: a constraint with ON CONFLICT IGNORE, or a trigger \
                              with RAISE(IGNORE), left the row out";
                Err(self.refused(table, entry, codes::OF0825, String::new(), reason.to_owned()))
            }
            (_, changed) => Ok(Wrote::Rows(changed)),
        }
    }

    /// Rows with keys: the last of each key, or all of it combined.
    fn keyed(&mut self, table: usize, rows: &[Entry]) -> Attempted<u64> {
        if !self.tables[table].plan.compact {
            return rows.iter().map(|entry| self.keyed_group(table, std::slice::from_ref(entry))).sum();
        }
        let mut keyed = Vec::with_capacity(rows.len());
        for entry in rows {
            keyed.push((self.key(table, *entry)?, *entry));
        }
        // Stable: within a key the order of the units stays.
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let mut total = 0;
        let mut group = Vec::new();
        for (index, (key, entry)) in keyed.iter().enumerate() {
            group.push(*entry);
            if keyed.get(index + 1).is_none_or(|(next, _)| next != key) {
                total += self.keyed_group(table, &group)?;
                group.clear();
            }
        }
        Ok(total)
    }

    /// The key of a row as bytes that sort as SQLite sorts the key. NULL is refused.
    fn key(&self, table: usize, entry: Entry) -> Attempted<Vec<u8>> {
        let source = &self.sources[entry.source as usize];
        let mut key = Vec::with_capacity(16);
        for column in &self.tables[table].spec.key {
            match source.columns[*column].value(entry.row as usize) {
                Ok(value) if push_key(&mut key, &value) => {}
                Ok(_) => return Err(self.null_key(table, entry, *column)),
                Err(unfit) => return Err(self.failed(table, entry, *column, Problem::Unfit(unfit))),
            }
        }
        Ok(key)
    }

    fn null_key(&self, table: usize, entry: Entry, column: usize) -> Stopped {
        let name = &self.tables[table].spec.columns[column].name;
        let reason = format!("column '{name}' of the key is NULL");
        self.refused(table, entry, codes::OF0823, String::new(), reason)
    }

    /// All rows of one key, in order.
    fn keyed_group(&mut self, table: usize, group: &[Entry]) -> Attempted<u64> {
        let last = group[group.len() - 1];
        if !self.tables[table].plan.compact {
            self.key(table, last)?;
        }
        let written = match self.tables[table].plan.way {
            Way::Merge => self.merge_group(table, group),
            _ if self.deletes(last) => self.delete(table, last),
            _ => self.upsert(table, last),
        };
        self.middle(group.len());
        written
    }

    fn deletes(&self, entry: Entry) -> bool {
        let deletes = &self.sources[entry.source as usize].set.deletes;
        deletes.as_ref().is_some_and(|deletes| deletes[entry.row as usize])
    }

    fn upsert(&mut self, table: usize, entry: Entry) -> Attempted<u64> {
        let source = &self.sources[entry.source as usize];
        let writer = &mut self.tables[table];
        for (column, cells) in source.columns.iter().enumerate() {
            if let Err(problem) = bind(&mut writer.write, column + 1, cells.value(entry.row as usize)) {
                return Err(self.failed(table, entry, column, problem));
            }
        }
        match writer.write.raw_execute() {
            Ok(changed) => self.counted(table, entry, changed as u64),
            Err(error) => Err(self.failed_by(table, entry, error)),
        }
    }

    fn counted(&self, table: usize, entry: Entry, changed: u64) -> Attempted<u64> {
        match self.judge(table, entry, changed)? {
            Wrote::Rows(rows) => Ok(rows),
            Wrote::Ignored => Ok(0),
        }
    }

    fn delete(&mut self, table: usize, entry: Entry) -> Attempted<u64> {
        let source = &self.sources[entry.source as usize];
        let writer = &mut self.tables[table];
        let statement = writer.delete.as_mut().expect("a keyed table has a statement that deletes");
        for (index, column) in writer.spec.key.iter().enumerate() {
            if let Err(problem) = bind(statement, index + 1, source.columns[*column].value(entry.row as usize)) {
                return Err(self.failed(table, entry, *column, problem));
            }
        }
        // A row that is not there is deleted already.
        statement.raw_execute().map(|changed| changed as u64).map_err(|error| self.failed_by(table, entry, error))
    }

    fn merge_group(&mut self, table: usize, group: &[Entry]) -> Attempted<u64> {
        let there = self.read(table, group[0])?;
        let was_there = there.is_some();
        let mut state = there;
        for entry in group {
            state = if self.deletes(*entry) { None } else { Some(self.combine(table, *entry, state)?) };
        }
        let last = group[group.len() - 1];
        match state {
            None if was_there => self.delete(table, last),
            None => Ok(0),
            Some(values) => self.write_values(table, last, values),
        }
    }

    /// The row that is there, as stored.
    fn read(&mut self, table: usize, entry: Entry) -> Attempted<Option<Vec<Value>>> {
        let source = &self.sources[entry.source as usize];
        let writer = &mut self.tables[table];
        let statement = writer.read.as_mut().expect("a merged table has a statement that reads");
        for (index, column) in writer.spec.key.iter().enumerate() {
            if let Err(problem) = bind(statement, index + 1, source.columns[*column].value(entry.row as usize)) {
                return Err(self.failed(table, entry, *column, problem));
            }
        }
        let columns = writer.spec.columns.len();
        let mut rows = statement.raw_query();
        let found =
            rows.next().and_then(|row| row.map(|row| (0..columns).map(|index| row.get(index)).collect()).transpose());
        drop(rows);
        found.map_err(|error| self.failed_by(table, entry, error))
    }

    fn combine(&self, table: usize, entry: Entry, there: Option<Vec<Value>>) -> Attempted<Vec<Value>> {
        let source = &self.sources[entry.source as usize];
        let mut there = there.map(Vec::into_iter);
        let mut values = Vec::with_capacity(source.columns.len());
        for (index, column) in source.columns.iter().enumerate() {
            let fail = |unfit| self.failed(table, entry, index, Problem::Unfit(unfit));
            let comes = owned(column.value(entry.row as usize).map_err(fail)?);
            values.push(match there.as_mut().and_then(Iterator::next) {
                Some(old) => self.tables[table].plan.merged[index].combine(old, comes).map_err(fail)?,
                None => comes,
            });
        }
        Ok(values)
    }

    fn write_values(&mut self, table: usize, entry: Entry, values: Vec<Value>) -> Attempted<u64> {
        let writer = &mut self.tables[table];
        for (index, value) in values.into_iter().enumerate() {
            if let Err(error) = writer.write.raw_bind_parameter(index + 1, value) {
                return Err(self.failed_by(table, entry, error));
            }
        }
        match writer.write.raw_execute() {
            Ok(changed) => self.counted(table, entry, changed as u64),
            Err(error) => Err(self.failed_by(table, entry, error)),
        }
    }

    fn failed(&self, table: usize, entry: Entry, column: usize, problem: Problem) -> Stopped {
        match problem {
            Problem::Unfit(unfit) => {
                let reason = format!("column '{}': {}", self.tables[table].spec.columns[column].name, unfit.reason);
                self.refused(table, entry, unfit.code, String::new(), reason)
            }
            Problem::Sqlite(error) => self.failed_by(table, entry, error),
        }
    }

    /// A row that SQLite refused, or the transaction that is lost with it.
    fn failed_by(&self, table: usize, entry: Entry, error: rusqlite::Error) -> Stopped {
        match fault::refusal(&error) {
            Some(said) => self.refused(table, entry, codes::OF0820, said.code, said.message),
            None => Stopped::Lost(CommitError::Rejected(fault::error(self.place, "write to", error))),
        }
    }

    fn refused(&self, table: usize, entry: Entry, code: Code, sqlstate: String, reason: String) -> Stopped {
        let row = row_json(&self.sources[entry.source as usize].set.rows, entry.row as usize);
        Stopped::Refused(Box::new(Refusal { unit: entry.unit, table, code, sqlstate, reason, row }))
    }

    /// The refusal of a unit that leaves a deferred foreign key violated.
    fn deferred(&self, unit: Unit) -> Refusal {
        let rows = self.entries.iter().enumerate().flat_map(|(table, rows)| rows.iter().map(move |row| (table, row)));
        let first = rows.filter(|(_, entry)| entry.unit == unit).max_by_key(|(table, _)| *table);
        let (table, entry) = first.expect("every unit has a row");
        Refusal {
            unit,
            table,
            code: codes::OF0827,
            sqlstate: fault::code_name(ffi::SQLITE_CONSTRAINT_FOREIGNKEY),
            reason: "FOREIGN KEY constraint failed: at the end of the epoch a row would refer to one that is not there"
                .to_owned(),
            row: row_json(&self.sources[entry.source as usize].set.rows, entry.row as usize),
        }
    }

    fn singly_now(&mut self, units: &[Unit], checked: bool) -> Result<Written, CommitError> {
        let tables = self.tables.len();
        let mut written = Written::nothing(tables);
        for unit in units {
            match self.range_now(std::slice::from_ref(unit), checked) {
                Ok(more) => {
                    written.rows.iter_mut().zip(more.rows).for_each(|(total, rows)| *total += rows);
                    written.ignored.iter_mut().zip(more.ignored).for_each(|(total, rows)| *total += rows);
                }
                Err(Stopped::Refused(refusal) | Stopped::Named(refusal)) => {
                    written.refused.push(Refusal { unit: *unit, ..*refusal })
                }
                Err(Stopped::Lost(lost)) => return Err(lost),
            }
        }
        Ok(written)
    }
}

impl Attempt for Writer<'_, '_> {
    /// Trying a row costs no round trip here, so that nothing is to be gained.
    fn sift<'a>(&'a mut self, _: &'a [Unit]) -> Answer<'a, Result<Vec<Refusal>, CommitError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn range<'a>(&'a mut self, units: &'a [Unit], checked: bool) -> Answer<'a, Result<Written, Stopped>> {
        Box::pin(ready(self.range_now(units, checked)))
    }

    fn singly<'a>(&'a mut self, units: &'a [Unit], checked: bool) -> Answer<'a, Result<Written, CommitError>> {
        Box::pin(ready(self.singly_now(units, checked)))
    }

    fn check(&mut self) -> Answer<'_, Result<(), Stopped>> {
        let answer = match self.units().last() {
            Some(unit) if unresolved(self.connection) => Err(Stopped::Refused(Box::new(self.deferred(*unit)))),
            _ => Ok(()),
        };
        Box::pin(ready(answer))
    }

    fn restart(&mut self) -> Answer<'_, Result<(), CommitError>> {
        Box::pin(ready(self.execute("ROLLBACK TO onceflow_search")))
    }
}

impl<'c> TableWriter<'c> {
    fn new(connection: &'c Connection, spec: &'c TableSpec, plan: &'c TablePlan) -> rusqlite::Result<Self> {
        let prepare = |sql: &Option<String>| sql.as_ref().map(|sql| connection.prepare(sql)).transpose();
        let write = connection.prepare(&plan.write)?;
        Ok(Self { spec, plan, write, delete: prepare(&plan.delete)?, read: prepare(&plan.read)? })
    }
}

impl<'w> Source<'w> {
    fn new(set: &'w RowSet, spec: &TableSpec, plan: &TablePlan) -> Result<Self, CommitError> {
        let arrays = set.rows.columns().iter().enumerate();
        let columns = arrays.map(|(index, array)| {
            let column = spec.columns.get(index)?;
            Column::new(array, &column.declared, plan.decimals[index])
        });
        match columns.collect::<Option<Vec<_>>>() {
            Some(columns) if columns.len() == spec.columns.len() => Ok(Self { set, columns }),
            _ => {
                let message = format!("rows for '{}' do not have its columns: {:?}", spec.target(), set.rows.schema());
                Err(CommitError::Rejected(Error::internal(message)))
            }
        }
    }
}

/// Why a value was not bound.
enum Problem {
    Unfit(Unfit),
    Sqlite(rusqlite::Error),
}

fn bind(statement: &mut Statement<'_>, index: usize, value: Result<ToSqlOutput<'_>, Unfit>) -> Result<(), Problem> {
    let value = value.map_err(Problem::Unfit)?;
    statement.raw_bind_parameter(index, value).map_err(Problem::Sqlite)
}

fn owned(value: ToSqlOutput<'_>) -> Value {
    match value {
        ToSqlOutput::Borrowed(ValueRef::Text(text)) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ToSqlOutput::Borrowed(ValueRef::Blob(bytes)) => Value::Blob(bytes.to_vec()),
        ToSqlOutput::Owned(value) => value,
        _ => Value::Null,
    }
}

/// Adds a value to a key; `false` where it is NULL. Text and bytes end with two zeros, zeros inside are followed by 0xff.
fn push_key(key: &mut Vec<u8>, value: &ToSqlOutput<'_>) -> bool {
    let mut push_bytes = |tag: u8, bytes: &[u8]| {
        key.push(tag);
        for byte in bytes {
            key.push(*byte);
            if *byte == 0 {
                key.push(0xff);
            }
        }
        key.extend([0, 0]);
        true
    };
    let value = match value {
        ToSqlOutput::Borrowed(value) => *value,
        ToSqlOutput::Owned(value) => value.into(),
        _ => ValueRef::Null,
    };
    match value {
        ValueRef::Null => false,
        ValueRef::Text(text) => push_bytes(3, text),
        ValueRef::Blob(bytes) => push_bytes(4, bytes),
        ValueRef::Integer(value) => {
            key.push(1);
            key.extend((value ^ i64::MIN).to_be_bytes());
            true
        }
        ValueRef::Real(value) => {
            // Floating-point keys are compacted only where they stand for decimals, which are never NaN or −0.
            let bits = value.to_bits();
            let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            key.push(2);
            key.extend(ordered.to_be_bytes());
            true
        }
    }
}

/// Whether a foreign key is violated that SQLite would find at COMMIT. It keeps count of them, and the count is not to be had
/// in SQL; looking for them (`PRAGMA foreign_key_check`) would read whole tables at every epoch.
#[allow(unsafe_code)]
fn unresolved(connection: &Connection) -> bool {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle is open for as long as the connection is borrowed, on this thread; SQLite writes the two integers.
    let answer = unsafe {
        ffi::sqlite3_db_status(connection.handle(), ffi::SQLITE_DBSTATUS_DEFERRED_FKS, &mut current, &mut highest, 0)
    };
    answer != ffi::SQLITE_OK || current != 0
}
