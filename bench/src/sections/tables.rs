//! Kafka into tables of PostgreSQL, each beside its limit.

use crate::failure::{Doing, Failure, Result};
use crate::figures::{Figures, Sample};
use crate::limits;
use crate::pipeline::{
    BALANCES, COLUMNS, INSERT, INSERT_BALANCES, PAYMENTS, PAYMENTS_KEYED, from_kafka, into_balances, into_payments,
    into_payments_keyed,
};
use crate::place::{Place, turn};
use crate::postgres::Database;
use crate::process::Running;
use crate::rows::{ACCOUNTS, Rows, signed};
use crate::subject::{Home, Subject};
use std::process::Command;
use std::time::Duration;

/// Append, beside psql's COPY of the same rows, and the careful script where there is one.
pub fn append(place: &Place, figures: &mut Figures) -> Result<()> {
    let topic = place.records.topic()?;
    let mut turns = vec![
        turn("psql COPY", || limits::copy(place, &place.records, "limit: psql COPY, no key", false)),
        turn("append", || {
            let database = place.server.database(PAYMENTS)?;
            let sql = from_kafka(&place.broker, topic, COLUMNS) + &into_payments(&database.url) + INSERT;
            let subject = Subject::new("append", sql, place.records.rows.count, Home::Postgres(&database));
            let outcome = subject.run(place)?;
            database.check("payments", place.records.rows.totals())?;
            outcome.sample("append")
        }),
    ];
    if place.settings.peer_python.is_some() {
        turns.push(turn("careful script", || peer(place, topic)));
    } else {
        figures.absent.push("peer: careful script (give --peer to scripts/bench)".to_owned());
    }
    place.by_turns("append", figures, &mut turns)
}

/// The careful script: it prints `records seconds`, of all commits after each process's first.
fn peer(place: &Place, topic: &str) -> Result<Sample> {
    let python = place.settings.peer_python.as_deref().ok_or_else(|| Failure::new("no --peer-python"))?;
    let script = place.settings.peer_script.canonicalize().doing(place.settings.peer_script.display())?;
    let database = place.server.database(PAYMENTS)?;
    let mut command = Command::new(python);
    command.arg(script).args([&place.broker.servers, topic, &database.url]);
    command.arg(place.settings.partitions.to_string());
    let log = place.path("peer.log");
    let used =
        Running::start(command, log.clone())?.finish(Duration::from_secs(1_800), None).doing("careful script")?;
    database.check("payments", place.records.rows.totals())?;
    let said = std::fs::read_to_string(&log)?;
    let rate = said.lines().find_map(|line| line.strip_prefix("rate ")?.trim().parse::<f64>().ok());
    let rate = rate.ok_or_else(|| Failure::new(format!("the script printed no rate: {said}")))?;
    let millions = place.records.rows.count as f64 / 1e6;
    Ok(Sample::of("peer: careful script", "rows/s", rate).and(
        "peer: careful script, CPU of the processes",
        "s/M",
        used.cpu_seconds / millions,
    ))
}

/// Upsert of new keys, beside staging and ON CONFLICT, and beside COPY into a table with a key.
pub fn upsert_new(place: &Place, figures: &mut Figures) -> Result<()> {
    let topic = place.records.topic()?;
    let batches = limits::batches(&place.records.rows);
    let mut turns = [
        turn("psql COPY", || limits::copy(place, &place.records, "limit: psql COPY, key", true)),
        turn("staging", || {
            let database = place.server.database(PAYMENTS_KEYED)?;
            limits::staging(&database, &batches, &place.records.rows, "limit: staging, new keys")
        }),
        turn("upsert", || upsert(place, topic, "upsert, new keys", &place.server.database(PAYMENTS_KEYED)?)),
    ];
    place.by_turns("upsert-new", figures, &mut turns)
}

/// Upsert of keys that are there with other contents, beside staging and ON CONFLICT.
pub fn upsert_existing(place: &Place, figures: &mut Figures) -> Result<()> {
    let topic = place.records.topic()?;
    let batches = limits::batches(&place.records.rows);
    let filled = || -> Result<Database> {
        let database = place.server.database(PAYMENTS_KEYED)?;
        database.prefill("payments", place.records.copy_file_before()?)?;
        Ok(database)
    };
    let mut turns = [
        turn("staging", || limits::staging(&filled()?, &batches, &place.records.rows, "limit: staging, existing keys")),
        turn("upsert", || upsert(place, topic, "upsert, existing keys", &filled()?)),
    ];
    place.by_turns("upsert-existing", figures, &mut turns)
}

fn upsert(place: &Place, topic: &str, name: &str, database: &Database) -> Result<Sample> {
    let sql = from_kafka(&place.broker, topic, COLUMNS) + &into_payments_keyed(&database.url) + INSERT;
    let mut subject = Subject::new(name, sql, place.records.rows.count, Home::Postgres(database));
    // The table may have rows that no ledger knows of.
    subject.arguments = &["--adopt"];
    let outcome = subject.run(place)?;
    database.check("payments", place.records.rows.totals())?;
    outcome.sample(name)
}

/// The table that statements update, with a row for each account.
fn accounts() -> String {
    format!(
        "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL); \
         INSERT INTO accounts SELECT 'a' || lpad(i::text, 7, '0'), 0 FROM generate_series(0, {}) i; \
         VACUUM (ANALYZE) accounts",
        ACCOUNTS - 1
    )
}

/// A database with that table.
pub fn accounts_database(place: &Place) -> Result<Database> {
    let database = place.server.database("")?;
    for statement in accounts().split("; ") {
        database.session()?.execute(statement)?;
    }
    Ok(database)
}

/// `write.statement`, beside one prepared UPDATE after the other.
pub fn statement(place: &Place, figures: &mut Figures) -> Result<()> {
    let (topic, rows) = (place.tenth.topic()?, place.tenth.rows);
    let mut turns = [
        turn("UPDATE", || {
            let database = accounts_database(place)?;
            let sample = limits::updates(&database, &rows, "limit: prepared UPDATE")?;
            check_balance(&database, "SELECT sum(balance)::bigint FROM accounts", &rows)?;
            Ok(sample)
        }),
        turn("statement", || {
            let database = accounts_database(place)?;
            let sql = from_kafka(&place.broker, topic, COLUMNS)
                + &format!(
                    "CREATE TABLE accounts (account STRING, delta BIGINT) WITH ('connector' = 'jdbc', 'url' = '{}',
  'write.statement' = 'UPDATE accounts SET balance = balance + :delta WHERE id = :account', 'write.expect-rows' = '1');
INSERT INTO accounts SELECT account, amount FROM transactions;\n",
                    database.url
                );
            let outcome = Subject::new("statement", sql, rows.count, Home::Postgres(&database)).run(place)?;
            check_balance(&database, "SELECT sum(balance)::bigint FROM accounts", &rows)?;
            outcome.sample("statement")
        }),
    ];
    place.by_turns("statement", figures, &mut turns)
}

/// Append and merge in one transaction.
pub fn two(place: &Place, figures: &mut Figures) -> Result<()> {
    let (topic, rows) = (place.records.topic()?, place.records.rows);
    let two = || {
        let database = place.server.database(&format!("{PAYMENTS}; {BALANCES}"))?;
        let sql = from_kafka(&place.broker, topic, COLUMNS)
            + &into_payments(&database.url)
            + &into_balances(&database.url)
            + INSERT
            + INSERT_BALANCES;
        let outcome = Subject::new("two tables", sql, rows.count, Home::Postgres(&database)).run(place)?;
        database.check("payments", rows.totals())?;
        check_merged(&database, &rows)?;
        outcome.sample("two tables")
    };
    place.by_turns("two-tables", figures, &mut [turn("two tables", two)])
}

/// Fails unless all records were merged once.
pub fn check_merged(database: &Database, rows: &Rows) -> Result<()> {
    let counted = database.session()?.number("SELECT coalesce(sum(n), 0)::bigint FROM balances")?;
    if counted != signed(rows.count) {
        return Err(Failure::new(format!("WRONG: balances count {counted} records, and must count {}", rows.count)));
    }
    check_balance(database, "SELECT coalesce(sum(total), 0)::bigint FROM balances", rows)
}

/// Compares a sum with what was sent.
pub fn check_balance(database: &Database, sql: &str, rows: &Rows) -> Result<()> {
    let (found, expected) = (database.session()?.number(sql)?, rows.totals().amounts);
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(format!("WRONG: {sql} gives {found}, and must give {expected}")))
}
