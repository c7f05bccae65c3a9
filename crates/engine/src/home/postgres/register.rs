//! Registration: what the ledger knows of the pipeline, compared with what the pipeline says, before anything is read.
//!
//! Looks first and writes last, in one transaction: where a finding stops the start, nothing has been created.

use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::postgres::rows::uuid;
use crate::home::postgres::schema;
use crate::home::postgres::session::{Open, Session};
use crate::home::postgres::write::{self, TableFindings, TableIdentity};
use crate::home::{Registered, Registration};
use onceflow_core::PipelineId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_postgres::Client;

/// How often a registration is repeated where another instance created the same things at the same time.
const ATTEMPTS: u32 = 3;

/// Registers the pipeline, or says in one error everything that stands against it.
pub(super) async fn register(session: &mut Session, registration: &Registration) -> Result<Registered> {
    let mut attempt = 1;
    loop {
        match once(session, registration).await {
            Err(Failed::Collision(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(Failed::Collision(error) | Failed::Error(error)) => return Err(error),
            Ok(registered) => return Ok(registered),
        }
    }
}

enum Failed {
    /// Another instance created the same thing first: look again.
    Collision(Error),
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

async fn once(session: &mut Session, registration: &Registration) -> Result<Registered, Failed> {
    // Outside of the transaction, since a statement that the server refuses would abort it.
    let tables = write::check_tables(&session.client, &registration.tables, registration.auto_create).await;
    let here = Database::look(session).await?;
    let open = session.open_transaction();
    match in_transaction(&open, registration, tables, &here).await {
        Ok(registered) => {
            open.finish();
            Ok(registered)
        }
        Err(failed) => {
            open.rollback().await;
            Err(failed)
        }
    }
}

async fn in_transaction(
    open: &Open<'_>,
    registration: &Registration,
    tables: Result<TableFindings>,
    here: &Database,
) -> Result<Registered, Failed> {
    let client = &open.session.client;
    let fail = |error| failed(open, error, "register the pipeline");
    client.batch_execute(&open.session.begin_hurried()).await.map_err(fail)?;
    client.batch_execute(schema::LOCK).await.map_err(fail)?;
    let state = schema::look(client).await?;
    let known = if state.exists() { Known::read(client, &registration.name).await.map_err(fail)? } else { None };
    let mut report = Report::default();
    let tables = match tables {
        Ok(tables) => Some(tables),
        Err(error) => {
            report.findings.push(error);
            None
        }
    };
    compare(&mut report, registration, known.as_ref(), tables.as_ref(), here);
    let (Some(tables), None) = (tables, report.stops()) else {
        return Err(Failed::Error(report.stops_or_internal()));
    };
    schema::migrate(client, state, &registration.version).await.map_err(collision)?;
    let identities = create(open, registration, &tables, &mut report).await?;
    let pipeline = known.as_ref().map_or_else(new_id, |known| known.pipeline);
    store(client, registration, pipeline, here, &identities).await.map_err(fail)?;
    for (kind, detail) in &report.events {
        let sql = "INSERT INTO onceflow.event (pipeline, kind, detail) VALUES ($1::text::uuid, $2, $3)";
        client.execute(sql, &[&uuid(pipeline), kind, &detail.to_string()]).await.map_err(fail)?;
    }
    crate::crash::point("mid_register");
    client.batch_execute("COMMIT").await.map_err(fail)?;
    Ok(Registered { pipeline, new: known.is_none(), notices: report.notices })
}

/// A random identity; uniqueness is its only purpose, nothing is replayed from it.
fn new_id() -> PipelineId {
    PipelineId::new(uuid::Uuid::new_v4().as_u128())
}

fn failed(open: &Open<'_>, error: tokio_postgres::Error, doing: &str) -> Failed {
    let collides = error.code().is_some_and(|code| matches!(code.code(), "42P06" | "42P07" | "42710" | "23505"));
    let error = open.session.explain(error, doing);
    if collides { Failed::Collision(error) } else { Failed::Error(error) }
}

/// Creation fails with one of these SQLSTATEs where another instance was faster.
fn collision(error: Error) -> Failed {
    let collides = ["42P06", "42P07", "42710", "23505"].iter().any(|code| error.message().contains(code));
    if collides { Failed::Collision(error) } else { Failed::Error(error) }
}

/// Creates missing tables and gives back what every table is.
async fn create(
    open: &Open<'_>,
    registration: &Registration,
    tables: &TableFindings,
    report: &mut Report,
) -> Result<BTreeMap<Arc<str>, (String, u32)>, Failed> {
    report.notices.extend(tables.notices.iter().cloned());
    if tables.to_create.is_empty() {
        return Ok(by_name(&tables.identities));
    }
    for sql in &tables.to_create {
        let created = open.session.client.batch_execute(sql).await;
        created.map_err(|error| failed(open, error, "create a target table"))?;
        let first_line = sql.lines().next().unwrap_or_default();
        report.notices.push(format!("created: {}", first_line.trim_end_matches([' ', '('])));
        report.events.push(("create", json!({ "sql": sql })));
    }
    let now = write::check_tables(&open.session.client, &registration.tables, false).await?;
    Ok(by_name(&now.identities))
}

fn by_name(identities: &[TableIdentity]) -> BTreeMap<Arc<str>, (String, u32)> {
    identities.iter().map(|table| (table.name.clone(), (table.target.clone(), table.oid))).collect()
}

/// Which database this is.
struct Database {
    name: String,
    system_identifier: Option<String>,
    timeline: Option<String>,
}

impl Database {
    async fn look(session: &Session) -> Result<Self> {
        let name = session.client.query_one("SELECT current_database()::text", &[]).await;
        let name = name.map_err(|error| session.explain(error, "look at the database"))?.get(0);
        let system = "SELECT system_identifier::text FROM pg_control_system()";
        let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
        Ok(Self {
            name,
            system_identifier: where_allowed(session, system).await?,
            timeline: where_allowed(session, timeline).await?,
        })
    }
}

/// A text that some servers keep to themselves; then it is not compared.
async fn where_allowed(session: &Session, sql: &str) -> Result<Option<String>> {
    match session.client.query_one(sql, &[]).await {
        Ok(row) => Ok(row.get(0)),
        Err(error) if error.as_db_error().is_some() && !session.client.is_closed() => Ok(None),
        Err(error) => Err(session.explain(error, "look at the server")),
    }
}

/// What the ledger knows of a pipeline.
struct Known {
    pipeline: PipelineId,
    fingerprint: String,
    wiring: String,
    system_identifier: Option<String>,
    timeline: Option<String>,
    database: String,
    /// Name in the text to oid.
    targets: BTreeMap<String, i64>,
}

impl Known {
    async fn read(client: &Client, name: &str) -> Result<Option<Self>, tokio_postgres::Error> {
        let sql = "SELECT pipeline::text, fingerprint, wiring, system_identifier, timeline, database
            FROM onceflow.pipeline WHERE name = $1 FOR NO KEY UPDATE";
        let Some(row) = client.query_opt(sql, &[&name]).await? else { return Ok(None) };
        let id: String = row.get(0);
        let sql = "SELECT name, table_oid FROM onceflow.target WHERE pipeline = $1::text::uuid";
        let targets = client.query(sql, &[&id]).await?;
        Ok(Some(Self {
            pipeline: PipelineId::parse(&id).expect("the server writes uuids as everybody does"),
            fingerprint: row.get(1),
            wiring: row.get(2),
            system_identifier: row.get(3),
            timeline: row.get(4),
            database: row.get(5),
            targets: targets.iter().map(|row| (row.get(0), row.get(1))).collect(),
        }))
    }
}

/// What a registration found, and what it will record.
#[derive(Default)]
struct Report {
    findings: Vec<Error>,
    notices: Vec<String>,
    events: Vec<(&'static str, Value)>,
}

impl Report {
    /// `Some` where a finding stops the start.
    fn stops(&self) -> Option<()> {
        (!self.findings.is_empty()).then_some(())
    }

    /// All findings as one error: the first, with the others as notes and all that mends them.
    fn stops_or_internal(self) -> Error {
        let mut findings = self.findings.into_iter();
        let first = findings.next().unwrap_or_else(|| Error::internal("tables were not compared"));
        findings.fold(first, |error, other| {
            let error = error.note(format!("also: {} ({})", other.message(), other.code()));
            let error = other.notes().iter().fold(error, |error, note| error.note(note));
            other.helps().iter().fold(error, |error, help| error.help(help))
        })
    }

    fn decided(&mut self, kind: &'static str, notice: String, detail: Value) {
        self.notices.push(notice);
        self.events.push((kind, detail));
    }
}

fn compare(
    report: &mut Report,
    registration: &Registration,
    known: Option<&Known>,
    tables: Option<&TableFindings>,
    here: &Database,
) {
    match known {
        None => report.events.push(("register", json!({ "version": registration.version }))),
        Some(known) => {
            compare_wiring(report, registration, known);
            compare_database(report, registration, known, here);
            if known.fingerprint != registration.fingerprint {
                let detail = json!({ "from": known.fingerprint, "to": registration.fingerprint });
                report.decided("logic", "the pipeline's logic has changed since its last start".to_owned(), detail);
            }
        }
    }
    if let Some(tables) = tables {
        compare_tables(report, registration, known, tables);
    }
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
    let error = if before.is_disjoint(&after) && !before.is_empty() {
        Error::new(Kind::Identity, codes::OF0907, format!("the name '{name}' is taken by another pipeline"))
    } else {
        Error::new(
            Kind::Identity,
            codes::OF0902,
            format!("pipeline '{name}' is wired differently than its ledger says"),
        )
    };
    let error = error.note(format!("the ledger's wiring (-) and the text's (+):\n{}", diff.join("\n")));
    let error = error.help(format!("give this pipeline a name of its own: SET 'pipeline.name' = '{name}-2';"));
    report.findings.push(error.help("or run once with --accept-wiring to go on with the positions that both have"));
}

fn compare_database(report: &mut Report, registration: &Registration, known: &Known, here: &Database) {
    let systems = (known.system_identifier.as_ref(), here.system_identifier.as_ref());
    if let (Some(before), Some(now)) = systems
        && before != now
    {
        let detail = json!({ "from": before, "to": now });
        if registration.adopt {
            report.decided("adopt", format!("the ledger goes on in another database system ({now})"), detail);
        } else {
            let message = format!("the ledger was made in database system {before}, this one is {now}");
            let error = Error::new(Kind::Identity, codes::OF0905, message)
                .note("this is a copy, a restored dump or an upgraded server; the original may still be written to")
                .help("connect to the original")
                .help("or run once with --adopt if this database takes the original's place")
                .help("or start over under another name: SET 'pipeline.name' = '…'");
            report.findings.push(error);
        }
    } else if let (Some(before), Some(now)) = (&known.timeline, &here.timeline)
        && before != now
    {
        let notice = format!("the database has failed over or was restored: timeline {before} is now {now}");
        report.decided("timeline", notice, json!({ "from": before, "to": now }));
    }
    if known.database != here.name {
        let notice = format!("the database was '{}' and is now '{}'", known.database, here.name);
        report.decided("database", notice, json!({ "from": known.database, "to": here.name }));
    }
}

fn compare_tables(report: &mut Report, registration: &Registration, known: Option<&Known>, tables: &TableFindings) {
    let identities = by_name(&tables.identities);
    for (index, table) in registration.tables.iter().enumerate() {
        let before = known.and_then(|known| known.targets.get(&*table.name));
        let now = identities.get(&table.name).map(|(_, oid)| i64::from(*oid));
        let target = table.target();
        let has_rows = tables.has_rows.get(index).copied().unwrap_or(false);
        match before {
            None if has_rows && registration.adopt => {
                let notice = format!("the rows that table {target} already had were adopted");
                report.decided("adopt", notice, json!({ "table": target, "rows": true }));
            }
            None if has_rows => report.findings.push(unknown_rows(&target).at(&table.place)),
            Some(before) if now != Some(*before) => {
                let detail = json!({ "table": target, "from": before, "to": now });
                if registration.adopt {
                    report.decided(
                        "adopt",
                        format!("table {target} is another one than before and was adopted"),
                        detail,
                    );
                } else {
                    report.findings.push(other_table(&target).at(&table.place));
                }
            }
            _ => {}
        }
    }
}

fn unknown_rows(target: &str) -> Error {
    Error::new(
        Kind::Identity,
        codes::OF0903,
        format!("table {target} has rows, and the ledger does not know from where"),
    )
    .note("a first start would write the source's records beside rows that may come from the same records")
    .help(format!("write into an empty table: TRUNCATE {target};"))
    .help("or take over the positions of what wrote the rows: onceflow ledger import …")
    .help("or run once with --adopt if the rows have nothing to do with the source")
}

fn other_table(target: &str) -> Error {
    Error::new(Kind::Identity, codes::OF0904, format!("table {target} is not the one that the ledger wrote into"))
        .note("it was dropped and created again, or restored by itself: rows that the ledger counts may be gone")
        .help("restore the table from a backup together with the schema onceflow")
        .help("or start over: onceflow ledger reset …")
        .help("or run once with --adopt to go on with the table as it is")
}

const STORE: &str = "INSERT INTO onceflow.pipeline AS p
        (pipeline, name, created_by, fingerprint, wiring, system_identifier, timeline, database)
    VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (pipeline) DO UPDATE SET updated_at = now(), fingerprint = excluded.fingerprint,
        wiring = excluded.wiring, system_identifier = coalesce(excluded.system_identifier, p.system_identifier),
        timeline = coalesce(excluded.timeline, p.timeline), database = excluded.database";

const STORE_TARGETS: &str = "INSERT INTO onceflow.target AS t (pipeline, name, target, table_oid)
    SELECT $1::text::uuid, x.name, x.target, x.oid FROM unnest($2::text[], $3::text[], $4::bigint[]) AS x(name, target, oid)
    ON CONFLICT (pipeline, name) DO UPDATE SET target = excluded.target, table_oid = excluded.table_oid,
        registered_at = CASE WHEN t.table_oid = excluded.table_oid THEN t.registered_at ELSE now() END";

async fn store(
    client: &Client,
    registration: &Registration,
    pipeline: PipelineId,
    here: &Database,
    identities: &BTreeMap<Arc<str>, (String, u32)>,
) -> Result<(), tokio_postgres::Error> {
    let id = uuid(pipeline);
    let r = registration;
    let (system, timeline) = (&here.system_identifier, &here.timeline);
    client.execute(STORE, &[&id, &r.name, &r.version, &r.fingerprint, &r.wiring, system, timeline, &here.name]).await?;
    let names: Vec<&str> = identities.keys().map(|name| &**name).collect();
    let targets: Vec<&str> = identities.values().map(|(target, _)| target.as_str()).collect();
    let oids: Vec<i64> = identities.values().map(|(_, oid)| i64::from(*oid)).collect();
    let gone = "DELETE FROM onceflow.target WHERE pipeline = $1::text::uuid AND name <> ALL($2)";
    client.execute(gone, &[&id, &names]).await?;
    client.execute(STORE_TARGETS, &[&id, &names, &targets, &oids]).await.map(drop)
}
