//! The Rust API: rows from structures beside the same rows by SQL, the call of a closure, and statements in one beside a loop by hand.

use crate::failure::{Failure, Result};
use crate::figures::{Figures, Sample};
use crate::limits::BATCH_ROWS;
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_kafka, into_payments};
use crate::place::{Place, turn};
use crate::postgres::Database;
use crate::rows::Rows;
use crate::sections::tables::{accounts_database, check_balance};
use crate::subject::{Home, Subject, steady};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use onceflow_api::prelude::*;
use onceflow_api::{Ready, Report};
use std::time::Instant;

const UPDATE: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
/// Statements that the loop by hand has on their way, as `Tx::execute_all` has.
const IN_FLIGHT: usize = 256;
/// Records of the measurement without systems.
const CALLS: i64 = 1_000_000;

#[derive(serde::Serialize, serde::Deserialize)]
struct Payment {
    id: i64,
    account: String,
    amount: i64,
    ts: i64,
    merchant: String,
    note: String,
}

/// All of it.
pub fn rust(place: &Place, figures: &mut Figures) -> Result<()> {
    let (topic, tenth) = (place.records.topic()?, place.tenth.topic()?);
    let mut turns = [
        turn("append by SQL", || {
            let database = place.server.database(PAYMENTS)?;
            let sql = from_kafka(&place.broker, topic, COLUMNS) + &into_payments(&database.url) + INSERT;
            let outcome =
                Subject::new("by SQL", sql, place.records.rows.count, Home::Postgres(&database)).run(place)?;
            Ok(Sample::of("append by SQL", "rows/s", outcome.rate()?))
        }),
        turn("append_into", || {
            let database = place.server.database(PAYMENTS)?;
            let read = Pipeline::new("bench").read(kafka(place, topic)).parse(Json::<Payment>::new());
            let ready = read.write_to(Postgres::url(&database.url)).append_into("payments");
            finished(ready, place.records.rows.count)?;
            database.check("payments", place.records.rows.totals())?;
            Ok(Sample::of("append_into", "rows/s", rate(&database)?))
        }),
        turn("closures", || closures(place)),
        turn("loop by hand", || {
            let database = accounts_database(place)?;
            let rate = by_hand(&database, &place.tenth.rows)?;
            check_balance(&database, "SELECT sum(balance)::bigint FROM accounts", &place.tenth.rows)?;
            Ok(Sample::of("limit: UPDATEs in a loop by hand", "rows/s", rate))
        }),
        turn("UPDATEs in a closure", || {
            let database = accounts_database(place)?;
            let pipeline = Pipeline::new("bench").epoch_rows_max(usize::try_from(BATCH_ROWS)?);
            let flow =
                pipeline.read(kafka(place, tenth)).parse(Json::<Payment>::new()).write_to(Postgres::url(&database.url));
            let ready = flow.for_each_partition(async |tx, batch| {
                tx.execute_all(UPDATE, batch.iter().map(|payment| row![payment.amount, payment.account])).await?;
                Ok(())
            });
            finished(ready, place.tenth.rows.count)?;
            check_balance(&database, "SELECT sum(balance)::bigint FROM accounts", &place.tenth.rows)?;
            Ok(Sample::of("UPDATEs in a closure", "rows/s", rate(&database)?))
        }),
    ];
    place.by_turns("rust", figures, &mut turns)
}

fn kafka(place: &Place, topic: &str) -> Kafka {
    Kafka::topic(topic).brokers(&place.broker.servers)
}

fn failed(error: onceflow_api::Error) -> Failure {
    Failure::new(format!("{error:?}"))
}

/// Runs a pipeline until it has caught up.
fn finished(ready: Ready, records: u64) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async { ready.until_caught_up().start()?.ended().await }).map_err(failed)?;
    match report.committed == records {
        true => Ok(report),
        false => Err(Failure::new(format!("WRONG: {} of {records} records were committed", report.committed))),
    }
}

/// Records a second from the first commit to the last.
fn rate(database: &Database) -> Result<f64> {
    let commits = Home::Postgres(database).commits()?;
    steady(&commits)
        .ok_or_else(|| Failure::new(format!("{} commits are too few for a rate: take more --rows", commits.len())))
}

/// What one call of a closure costs: a call for each record, beside a call for each batch, from memory into an empty transaction.
fn closures(place: &Place) -> Result<Sample> {
    let records = Memory::json(0..CALLS);
    let seconds = |each: bool| -> Result<f64> {
        let flow = Pipeline::new("bench").epoch_rows_max(100_000).read(records.clone()).parse(Json::<i64>::new());
        let flow = flow.write_to(Sqlite::file(place.path("closures.db")));
        let ready = match each {
            true => flow.for_each(async |_tx, _number| Ok(())),
            false => flow.for_each_partition(async |_tx, _batch| Ok(())),
        };
        let began = Instant::now();
        finished(ready, u64::try_from(CALLS)?)?;
        Ok(began.elapsed().as_secs_f64())
    };
    let (batches, records) = (seconds(false)?, seconds(true)?);
    let micros = |seconds: f64| seconds * 1e6 / CALLS as f64;
    Ok(Sample::of("one call of a closure", "µs", micros((records - batches).max(0.0))).and(
        "a record through an empty closure, from memory",
        "µs",
        micros(records),
    ))
}

/// The same statements by a careful hand: prepared once, many in flight, a transaction for as many rows.
fn by_hand(database: &Database, rows: &Rows) -> Result<f64> {
    let payments: Vec<_> = (0..rows.count).map(|n| rows.payment(n)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await?;
        drop(tokio::spawn(connection));
        let statement = client.prepare(UPDATE).await?;
        let began = Instant::now();
        for batch in payments.chunks(usize::try_from(BATCH_ROWS)?) {
            client.batch_execute("BEGIN").await?;
            let mut flying = FuturesUnordered::new();
            for payment in batch {
                if flying.len() >= IN_FLIGHT
                    && let Some(done) = flying.next().await
                {
                    let _: u64 = done?;
                }
                let (client, statement) = (&client, &statement);
                flying.push(async move { client.execute(statement, &[&payment.amount, &payment.account]).await });
            }
            while let Some(done) = flying.next().await {
                done?;
            }
            client.batch_execute("COMMIT").await?;
        }
        Ok(rows.count as f64 / began.elapsed().as_secs_f64())
    })
}
