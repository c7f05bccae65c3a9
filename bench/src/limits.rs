//! The limits: the same rows by the shortest way there is, without any guarantee.

use crate::failure::{Doing, Result};
use crate::figures::Sample;
use crate::pipeline::{PAYMENTS, PAYMENTS_KEYED};
use crate::place::{Place, Records};
use crate::postgres::Database;
use crate::process::{Backends, Running};
use crate::rows::{Payment, Rows, signed};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;

/// Rows in a transaction where a limit commits as it goes.
pub const BATCH_ROWS: u64 = 10_000;

/// psql copies a binary file into a table without or with a key. Timed from the start of psql to its end.
pub fn copy(place: &Place, records: &Records, name: &str, is_keyed: bool) -> Result<Sample> {
    let file = records.copy_file()?;
    let database = place.server.database(if is_keyed { PAYMENTS_KEYED } else { PAYMENTS })?;
    let mut backends = Backends::watch(&place.server, &database.name, "psql")?;
    let command = database.copy_command("payments", file);
    let used =
        Running::start(command, place.path("psql.log"))?.finish(Duration::from_secs(1_800), Some(&mut backends))?;
    database.check("payments", records.rows.totals())?;
    let millions = records.rows.count as f64 / 1e6;
    Ok(Sample::of(name, "rows/s", records.rows.count as f64 / used.seconds).and(
        format!("{name}, CPU of the backend"),
        "s/M",
        used.backend_seconds / millions,
    ))
}

/// The rows in binary batches, each sorted by key.
pub fn batches(rows: &Rows) -> Vec<Bytes> {
    rows.copy_batches(BATCH_ROWS).into_iter().map(Bytes::from).collect()
}

const STAGED: &str = "INSERT INTO payments SELECT * FROM staging ON CONFLICT (id) DO UPDATE SET account = excluded.account, \
    amount = excluded.amount, ts = excluded.ts, merchant = excluded.merchant, note = excluded.note; COMMIT";

/// COPY into a temporary table and INSERT … ON CONFLICT from there, one transaction for each batch.
pub fn staging(database: &Database, batches: &[Bytes], rows: &Rows, name: &str) -> Result<Sample> {
    let session = database.session()?;
    session.execute("CREATE TEMP TABLE staging (LIKE payments)")?;
    let began = Instant::now();
    for batch in batches {
        session.execute("BEGIN; TRUNCATE staging")?;
        session.copy_in("COPY staging FROM STDIN (FORMAT binary)", batch.clone())?;
        session.execute(STAGED)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    database.check("payments", rows.totals())?;
    Ok(Sample::of(name, "rows/s", rows.count as f64 / seconds))
}

/// One prepared UPDATE for each row, each sent when the answer to the one before is there, in one transaction.
pub fn updates(database: &Database, rows: &Rows, name: &str) -> Result<Sample> {
    let sets: Vec<Payment> = (0..rows.count).map(|n| rows.payment(n)).collect();
    let session = database.session()?;
    let began = Instant::now();
    session.execute("BEGIN")?;
    let set =
        |payment: Payment| -> Vec<Box<dyn ToSql + Sync>> { vec![Box::new(payment.amount), Box::new(payment.account)] };
    session.repeat("UPDATE accounts SET balance = balance + $1 WHERE id = $2", sets.into_iter().map(set))?;
    session.execute("COMMIT")?;
    Ok(Sample::of(name, "rows/s", rows.count as f64 / began.elapsed().as_secs_f64()))
}

/// One prepared INSERT for each row from memory, in one transaction of a database as Onceflow keeps it.
pub fn sqlite(place: &Place, rows: &Rows, name: &str, is_keyed: bool) -> Result<Sample> {
    let payments: Vec<Payment> = (0..rows.count).map(|n| rows.payment(n)).collect();
    let path = place.path("limit.db");
    let database = rusqlite::Connection::open(&path).doing(path.display())?;
    database
        .execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {}", sqlite_table(is_keyed)))?;
    let conflict = if is_keyed {
        " ON CONFLICT (id) DO UPDATE SET account = excluded.account, amount = excluded.amount, ts = excluded.ts, \
          merchant = excluded.merchant, note = excluded.note"
    } else {
        ""
    };
    let began = Instant::now();
    database.execute_batch("BEGIN IMMEDIATE")?;
    let mut statement = database.prepare(&format!("INSERT INTO payments VALUES (?1, ?2, ?3, ?4, ?5, ?6){conflict}"))?;
    for payment in &payments {
        let Payment { id, account, amount, ts, merchant, note } = payment;
        statement.execute((signed(*id), account, amount, ts, merchant, note))?;
    }
    database.execute_batch("COMMIT")?;
    let seconds = began.elapsed().as_secs_f64();
    drop(statement);
    crate::sections::files::check(&path, rows)?;
    crate::sections::files::forget(&path);
    Ok(Sample::of(name, "rows/s", rows.count as f64 / seconds))
}

/// The table of transactions in SQLite.
pub fn sqlite_table(is_keyed: bool) -> String {
    let key = if is_keyed { " PRIMARY KEY" } else { "" };
    format!(
        "CREATE TABLE payments (id INTEGER{key}, account TEXT, amount INTEGER, ts INTEGER, merchant TEXT, note TEXT)"
    )
}
