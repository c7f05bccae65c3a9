//! Registration: what the ledger knows of the pipeline, compared with what the pipeline says, before anything is read.
//!
//! Looks first and writes last: where a finding stops the start, nothing has been created, not even the file.

use super::location::Location;
use super::target::{self, RealTable, quoted};
use super::{SqliteHome, fault, ledger, plan};
use crate::changes::{TableSpec, WriteMode};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::{Registered, Registration};
use onceflow_core::PipelineId;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the ledger knows of a pipeline.
struct Known {
    pipeline: PipelineId,
    fingerprint: String,
    wiring: String,
    /// Name in the text to the table in the database and its marker.
    targets: BTreeMap<String, (String, String)>,
}

/// What a registration found, and what it will do.
#[derive(Default)]
struct Report {
    version: i64,
    known: Option<Known>,
    findings: Vec<Error>,
    notices: Vec<String>,
    events: Vec<(&'static str, Value)>,
    create: Vec<String>,
}

impl SqliteHome {
    pub(super) fn register_now(&mut self, registration: &Registration) -> Result<Registered> {
        let place = self.place.clone();
        place.check()?;
        // Before a file is made or changed, everything is looked at without a trace.
        if place.exists() {
            let session = self.session()?;
            inspect(&place, &mut session.connection, registration)?.stop()?;
        } else {
            let mut empty = Connection::open_in_memory().map_err(|error| fault::error(&place, "imagine", error))?;
            inspect(&place, &mut empty, registration)?.stop()?;
            self.session = Some(self.open(true)?);
        }
        let session = self.session()?;
        place.use_wal(&session.connection)?;
        super::begin_immediate(&place, &session.connection, "register the pipeline in")?;
        let registered = inspect(&place, &mut session.connection, registration).and_then(|report| {
            let report = report.stop()?;
            let done = apply(&session.connection, registration, report);
            done.map_err(|error| fault::error(&place, "register the pipeline in", error))
        });
        match registered {
            Ok(registered) => {
                crate::crash::point("mid_register");
                let committed = session.connection.execute_batch("COMMIT");
                committed.map_err(|error| fault::error(&place, "register the pipeline in", error))?;
                Ok(registered)
            }
            Err(error) => {
                // A failed ROLLBACK leaves a session that nobody can use.
                self.session = None;
                Err(error)
            }
        }
    }
}

impl Report {
    /// All findings as one error: the first, with the others as notes and all that mends them.
    fn stop(self) -> Result<Self> {
        if self.findings.is_empty() {
            return Ok(self);
        }
        let mut findings = self.findings.into_iter();
        let first = findings.next().ok_or_else(|| Error::internal("a list that is not empty has no first entry"))?;
        Err(findings.fold(first, |error, other| {
            let place = other.place().map(|place| format!(" at {place}")).unwrap_or_default();
            let error = error.note(format!("also{place}: {} ({})", other.message(), other.code()));
            let error = other.notes().iter().fold(error, |error, note| error.note(note));
            other.helps().iter().fold(error, |error, help| error.help(help))
        }))
    }

    fn decided(&mut self, kind: &'static str, notice: String, detail: Value) {
        self.notices.push(notice);
        self.events.push((kind, detail));
    }
}

/// Looks at everything that a start depends on. Changes nothing.
fn inspect(place: &Location, connection: &mut Connection, registration: &Registration) -> Result<Report> {
    let failed = |error| fault::error(place, "look into", error);
    let version = ledger::version(place, connection)?;
    let known = if version > 0 { Known::read(connection, &registration.name).map_err(failed)? } else { None };
    let mut report = Report { version, ..Report::default() };
    match &known {
        None => report.events.push(("register", json!({ "version": registration.version }))),
        Some(known) => {
            compare_wiring(&mut report, registration, known);
            if known.fingerprint != registration.fingerprint {
                let detail = json!({ "from": known.fingerprint, "to": registration.fingerprint });
                report.decided("logic", "the pipeline's logic has changed since its last start".to_owned(), detail);
            }
        }
    }
    let mut creating = Vec::new();
    for table in &registration.tables {
        if !target::is_compared(table) {
            continue;
        }
        let before = known.as_ref().and_then(|known| known.targets.get(&*table.name));
        let is_there = compare_table(place, connection, registration, table, before, &mut report)?;
        if !is_there {
            creating.push(table);
        }
    }
    check_statements(connection, registration, &creating, &mut report);
    report.known = known;
    Ok(report)
}

/// Checks users' statements. One may be about a table that this start is going to create, so those are created for the check
/// and taken back.
fn check_statements(
    connection: &mut Connection,
    registration: &Registration,
    creating: &[&TableSpec],
    report: &mut Report,
) {
    let is_open = !connection.is_autocommit();
    if !registration.tables.iter().any(|table| !target::is_compared(table)) {
        return;
    }
    let created = (registration.auto_create && !creating.is_empty()).then(|| {
        let sql: String = creating.iter().map(|table| target::create_table(table)).collect();
        connection.execute_batch(&format!("SAVEPOINT onceflow_look; {sql}"))
    });
    for table in &registration.tables {
        if let WriteMode::Statement { sql, place, .. } = &table.mode {
            report.findings.extend(plan::check_statement(connection, table, sql, place).err());
        }
    }
    if created.is_some() {
        let undone = connection.execute_batch("ROLLBACK TO onceflow_look; RELEASE onceflow_look");
        if undone.is_err() && !is_open {
            // The savepoint was the transaction, and its failure has ended it.
            tracing::debug!("a look at statements ended its own transaction");
        }
    }
}

/// Compares one declared table with the real one; answers whether it is there.
fn compare_table(
    place: &Location,
    connection: &Connection,
    registration: &Registration,
    table: &TableSpec,
    before: Option<&(String, String)>,
    report: &mut Report,
) -> Result<bool> {
    let failed = |error| fault::error(place, "look into", error);
    let wrong = target::check_declaration(table);
    let merge = plan::check_merge(table);
    if !wrong.is_empty() || !merge.is_empty() {
        report.findings.extend(wrong.into_iter().chain(merge));
        return Ok(true);
    }
    let real = RealTable::read(connection, &table.table).map_err(failed)?;
    let marked = before.map(|(_, marker)| has_marker(connection, &table.table, marker)).transpose().map_err(failed)?;
    let name = table.target();
    if marked == Some(false) {
        if registration.adopt {
            let notice = format!("table {name} is another one than before and was adopted");
            report.decided("adopt", notice, json!({ "table": name }));
        } else {
            report.findings.push(other_table(table, real.is_some()));
            return Ok(real.is_some());
        }
    }
    let Some(real) = real else {
        if registration.auto_create {
            report.create.push(target::create_table(table));
        } else {
            report.findings.push(plan::missing(place, table));
        }
        return Ok(false);
    };
    let differences = target::compare(table, &real);
    if !differences.is_empty() {
        report.findings.extend(differences);
        return Ok(true);
    }
    if before.is_none() && has_rows(connection, table).map_err(failed)? {
        if registration.adopt {
            let notice = format!("the rows that table {name} already had were adopted");
            report.decided("adopt", notice, json!({ "table": name, "rows": true }));
        } else {
            report.findings.push(unknown_rows(table));
        }
    }
    Ok(true)
}

fn has_rows(connection: &Connection, table: &TableSpec) -> rusqlite::Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&table.table));
    connection.query_row(&sql, [], |row| row.get(0))
}

fn has_marker(connection: &Connection, table: &str, marker: &str) -> rusqlite::Result<bool> {
    let sql =
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1 AND tbl_name = ?2 COLLATE NOCASE";
    connection.query_row(sql, [marker, table], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

fn compare_wiring(report: &mut Report, registration: &Registration, known: &Known) {
    if known.wiring == registration.wiring {
        return;
    }
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (known.wiring.lines().collect(), registration.wiring.lines().collect());
    let gone = known.wiring.lines().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = registration.wiring.lines().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    let diff: Vec<String> = gone.chain(new).collect();
    if registration.accept_wiring {
        let notice = format!("changed wiring was accepted:\n{}", diff.join("\n"));
        return report.decided("wiring", notice, json!({ "diff": diff }));
    }
    let name = &registration.name;
    let (code, message) = if before.is_disjoint(&after) && !before.is_empty() {
        (codes::OF0907, format!("the name '{name}' is taken by another pipeline"))
    } else {
        (codes::OF0902, format!("pipeline '{name}' is wired differently than its ledger says"))
    };
    let error = Error::new(Kind::Identity, code, message)
        .note(format!("the ledger's wiring (-) and the text's (+):\n{}", diff.join("\n")))
        .help(format!("give this pipeline a name of its own: SET 'pipeline.name' = '{name}-2';"))
        .help("or run once with --accept-wiring to go on with the positions that both have");
    report.findings.push(error);
}

fn unknown_rows(table: &TableSpec) -> Error {
    let name = table.target();
    let message = format!("table {name} has rows, and the ledger does not know from where");
    Error::new(Kind::Identity, codes::OF0903, message)
        .at(&table.place)
        .note("a first start would write the source's records beside rows that may come from the same records")
        .help(format!("write into an empty table: DELETE FROM {};", quoted(&table.table)))
        .help("or take over the positions of what wrote the rows: onceflow ledger import …")
        .help("or run once with --adopt if the rows have nothing to do with the source")
}

fn other_table(table: &TableSpec, is_there: bool) -> Error {
    let name = table.target();
    let how =
        if is_there { "is not the one that the ledger wrote into" } else { "is gone, and the ledger wrote into it" };
    Error::new(Kind::Identity, codes::OF0904, format!("table {name} {how}"))
        .at(&table.place)
        .note("it was dropped, or dropped and created again: rows that the ledger counts may be gone")
        .note("Onceflow knows its tables by a trigger that never fires; DROP TABLE takes it away with the table")
        .help("restore the whole file from a backup; rows and ledger are in it together")
        .help("or start over: onceflow ledger reset …")
        .help("or run once with --adopt to go on with the table as it is")
}

/// Makes the ledger, the tables and the pipeline's rows, in the open transaction.
fn apply(connection: &Connection, registration: &Registration, report: Report) -> rusqlite::Result<Registered> {
    ledger::migrate(connection, report.version, &registration.version)?;
    let mut notices = report.notices;
    let mut events = report.events;
    for sql in &report.create {
        connection.execute_batch(sql)?;
        let first = sql.lines().next().unwrap_or_default();
        notices.push(format!("created: {}", first.trim_end_matches([' ', '('])));
        events.push(("create", json!({ "sql": sql })));
    }
    let new = report.known.is_none();
    let known = report.known.as_ref().map(|known| known.pipeline);
    // A random identity; uniqueness is its only purpose, nothing is replayed from it.
    let pipeline = known.unwrap_or_else(|| PipelineId::new(uuid::Uuid::new_v4().as_u128()));
    let sql = format!(
        "INSERT INTO onceflow_pipeline (pipeline, name, created_at, created_by, updated_at, fingerprint, wiring) \
         VALUES (?1, ?2, {now}, ?3, {now}, ?4, ?5) ON CONFLICT (pipeline) DO UPDATE SET updated_at = excluded.updated_at, \
         fingerprint = excluded.fingerprint, wiring = excluded.wiring",
        now = ledger::NOW
    );
    let id = pipeline.to_string();
    connection.execute(
        &sql,
        params![id, registration.name, registration.version, registration.fingerprint, registration.wiring],
    )?;
    for table in registration.tables.iter().filter(|table| target::is_compared(table)) {
        mark(connection, pipeline, table)?;
    }
    for (kind, detail) in &events {
        ledger::event(connection, pipeline, kind, detail, None)?;
    }
    Ok(Registered { pipeline, new, notices })
}

/// The name of the trigger by which a pipeline knows its table.
fn marker(pipeline: PipelineId, table: &TableSpec) -> String {
    format!("onceflow_marks_{}_for_{}", table.table, &pipeline.to_string()[..8])
}

/// Marks a table where it is not, and remembers it. A trigger is the one thing in SQLite that follows a table through ALTER,
/// VACUUM and a dump, and goes with it when it is dropped. This one never fires, and inserts and updates do not meet it.
fn mark(connection: &Connection, pipeline: PipelineId, table: &TableSpec) -> rusqlite::Result<()> {
    let marker = marker(pipeline, table);
    connection.execute_batch(&format!(
        "CREATE TRIGGER IF NOT EXISTS {} AFTER DELETE ON {} WHEN 0 BEGIN SELECT 'by this Onceflow knows the table'; END",
        quoted(&marker),
        quoted(&table.table)
    ))?;
    let sql = format!(
        "INSERT INTO onceflow_target (pipeline, name, target, marker, registered_at) VALUES (?1, ?2, ?3, ?4, {}) \
         ON CONFLICT (pipeline, name) DO UPDATE SET target = excluded.target, marker = excluded.marker",
        ledger::NOW
    );
    connection.execute(&sql, params![pipeline.to_string(), &*table.name, table.target(), marker]).map(|_| ())
}

impl Known {
    fn read(connection: &Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT pipeline, fingerprint, wiring FROM onceflow_pipeline WHERE name = ?1";
        let found = connection
            .query_row(sql, [name], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })
            .optional()?;
        let Some((id, fingerprint, wiring)) = found else { return Ok(None) };
        let mut statement =
            connection.prepare("SELECT name, target, marker FROM onceflow_target WHERE pipeline = ?1")?;
        let targets = statement.query_map([&id], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        let targets = targets.collect::<rusqlite::Result<_>>()?;
        let pipeline = PipelineId::parse(&id).ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(Some(Self { pipeline, fingerprint, wiring, targets }))
    }
}

/// The tables that are known to a pipeline and have lost their marker, by name.
pub(super) fn unmarked(connection: &Connection, pipeline: PipelineId) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT t.target FROM onceflow_target t WHERE t.pipeline = ?1 AND NOT EXISTS (SELECT 1 FROM main.sqlite_schema s \
               WHERE s.type = 'trigger' AND s.name = t.marker)";
    let mut statement = connection.prepare(sql)?;
    statement.query_map([pipeline.to_string()], |row| row.get(0))?.collect()
}
