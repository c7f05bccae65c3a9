//! What the ledger writes and how large it is, at one record a commit.

use crate::failure::{Failure, Result};
use crate::figures::{Figures, Sample};
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_kafka, into_payments, set};
use crate::place::{Place, turn};
use crate::postgres::{Database, Session};
use crate::process::{Running, pause};
use crate::rows::{Rows, signed};
use crate::subject::command;
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;

/// How often the sizes are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Rows that are inserted one a transaction without any ledger.
const PLAIN: u64 = 2_000;
const MIB: f64 = 1_048_576.0;

/// Many commits of one record each.
pub fn ledger(place: &Place, figures: &mut Figures) -> Result<()> {
    let mut turns = [turn("rows alone", || plain(place)), turn("tiny commits", || tiny(place))];
    place.by_turns("ledger", figures, &mut turns)
}

fn wal_since(session: &Session, from: &str) -> Result<f64> {
    let sql = format!("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{from}')::bigint");
    Ok(session.number(&sql)? as f64)
}

fn wal_now(session: &Session) -> Result<String> {
    session.text("SELECT pg_current_wal_insert_lsn()::text")
}

/// The same rows, a transaction each, without a ledger: what is not the ledger's.
fn plain(place: &Place) -> Result<Sample> {
    let rows = Rows::payments(place.settings.seed, PLAIN, 130);
    let database = place.server.database(PAYMENTS)?;
    let session = database.session()?;
    let set = |n: u64| -> Vec<Box<dyn ToSql + Sync>> {
        let payment = rows.payment(n);
        let (id, amount, ts) = (signed(payment.id), payment.amount, payment.ts);
        vec![
            Box::new(id),
            Box::new(payment.account),
            Box::new(amount),
            Box::new(ts),
            Box::new(payment.merchant),
            Box::new(payment.note),
        ]
    };
    let (from, began) = (wal_now(&session)?, Instant::now());
    session.repeat("INSERT INTO payments VALUES ($1, $2, $3, $4, $5, $6)", (0..rows.count).map(set))?;
    let seconds = began.elapsed().as_secs_f64();
    database.check("payments", rows.totals())?;
    Ok(Sample::of("ledger: WAL of a commit without it", "bytes", wal_since(&session, &from)? / PLAIN as f64).and(
        "ledger: time of a commit without it",
        "ms",
        seconds * 1e3 / PLAIN as f64,
    ))
}

/// How large the ledger is.
#[derive(Clone, Copy)]
struct Size {
    commits: i64,
    all: i64,
    /// Without the rows about commits, of which the newest 100,000 are kept.
    without_commits: i64,
}

fn size(session: &Session) -> Result<Size> {
    let sql = "SELECT (SELECT coalesce(max(id), 0) FROM onceflow.commit), \
        sum(pg_total_relation_size(oid))::bigint, \
        coalesce(sum(pg_total_relation_size(oid)) FILTER (WHERE relname <> 'commit'), 0)::bigint \
        FROM pg_class WHERE relnamespace = 'onceflow'::regnamespace AND relkind = 'r'";
    let rows = session.rows(sql, &[])?;
    let row = rows.first().ok_or_else(|| Failure::new("no row"))?;
    Ok(Size { commits: row.try_get(0)?, all: row.try_get(1)?, without_commits: row.try_get(2)? })
}

fn tiny(place: &Place) -> Result<Sample> {
    let rows = Rows::payments(place.settings.seed, place.settings.either(100_000, 5_000), 130);
    let records = place.records("tiny", rows, place.settings.partitions);
    let topic = records.topic()?;
    let database = place.server.database(PAYMENTS)?;
    let sql =
        set("epoch.rows_max", 1) + &from_kafka(&place.broker, topic, COLUMNS) + &into_payments(&database.url) + INSERT;
    let session = database.session()?;
    let (mut command, log) = command(place, None, &sql)?;
    command.arg("--until-caught-up");
    let from = wal_now(&session)?;
    let running = Running::start(command, log)?;
    let (sizes, seconds) = watch(running, &session, rows.count)?;
    let wal = wal_since(&session, &from)?;
    database.check("payments", rows.totals())?;
    sample(&database, &sizes, wal, seconds)
}

/// The sizes while it runs, at least two, and how long all of it took.
fn watch(mut running: Running, session: &Session, count: u64) -> Result<(Vec<Size>, f64)> {
    let (mut sizes, began) = (vec![], Instant::now());
    while !running.has_ended()? {
        pause(LOOK);
        if session.number("SELECT count(*) FROM pg_class WHERE oid = to_regclass('onceflow.commit')")? > 0 {
            sizes.push(size(session)?);
        }
    }
    let seconds = running.finish(Duration::from_secs(1), None)?.seconds.min(began.elapsed().as_secs_f64());
    sizes.push(size(session)?);
    if sizes.last().is_some_and(|size| size.commits < signed(count)) {
        return Err(Failure::new("several records were committed together although an epoch may hold one"));
    }
    Ok((sizes, seconds))
}

fn sample(database: &Database, sizes: &[Size], wal: f64, seconds: f64) -> Result<Sample> {
    let last = sizes.last().copied().ok_or_else(|| Failure::new("the ledger was never seen"))?;
    let commits = last.commits as f64;
    let tenth = sizes.iter().find(|size| size.commits * 10 >= last.commits).copied().unwrap_or(last);
    let dead = database
        .session()?
        .number("SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE schemaname = 'onceflow'")?;
    Ok(Sample::of("ledger: WAL of a commit with it", "bytes", wal / commits)
        .and("ledger: time of a commit with it", "ms", seconds * 1e3 / commits)
        .and("ledger: commits", "", commits)
        .and("ledger: size of a commit's row", "bytes", (last.all - last.without_commits) as f64 / commits)
        .and("ledger: size after a tenth, without commits' rows", "MiB", tenth.without_commits as f64 / MIB)
        .and("ledger: size at the end, without commits' rows", "MiB", last.without_commits as f64 / MIB)
        .and("ledger: size after a tenth", "MiB", tenth.all as f64 / MIB)
        .and("ledger: size at the end", "MiB", last.all as f64 / MIB)
        .and("ledger: dead rows at the end", "", dead as f64))
}
