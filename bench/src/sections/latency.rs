//! From produce to visible in the table, while records come at a fixed rate.
//!
//! A record's time begins right before it is given to the producer, and ends when a query on another connection has returned
//! it. The queries follow each other by a millisecond, so that a latency is up to that and one query too long. The table has
//! an index on `id`, for the queries only.

use crate::failure::{Failure, Result};
use crate::figures::{Figures, Sample, median, quantile};
use crate::load::Load;
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_kafka, into_payments};
use crate::place::{Place, turn};
use crate::postgres::Session;
use crate::process::{Running, pause};
use crate::rows::Rows;
use crate::subject::{Home, command};
use std::time::{Duration, Instant};

/// Records of the first second are sent and not counted.
const WARM: Duration = Duration::from_secs(1);
/// How long the last records may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// 1,000 and 20,000 records a second.
///
/// A broker that has just been started, or has only seen large batches, takes seconds for small ones until its virtual machine
/// has compiled their way: the first run is thrown away.
pub fn latency(place: &Place, figures: &mut Figures) -> Result<()> {
    eprintln!("bench: latency: warming the broker");
    at_rate(place, 1_000, place.settings.either(30, 12))?;
    let seconds = place.settings.either(20, 5);
    let mut turns =
        [turn("at 1000/s", || at_rate(place, 1_000, seconds)), turn("at 20000/s", || at_rate(place, 20_000, seconds))];
    place.by_turns("latency", figures, &mut turns)
}

fn at_rate(place: &Place, per_second: u64, seconds: u64) -> Result<Sample> {
    let seconds = WARM.as_secs() + seconds;
    let rows = Rows::payments(place.settings.seed, per_second * seconds, 130);
    let topic = place.empty_topic("latency", place.settings.partitions)?;
    let database = place.server.database(&format!("{PAYMENTS}; CREATE INDEX ON payments (id)"))?;
    let sql = from_kafka(&place.broker, &topic.name, COLUMNS) + &into_payments(&database.url) + INSERT;
    let (command, log) = command(place, None, &sql)?;
    let mut running = Running::start(command, log)?;
    until_claimed(&mut running, &database.session()?)?;
    let load = Load::start(&place.broker, &topic.name, place.settings.partitions, rows, per_second as f64)?;
    let times = watch(&database.session()?, &load, &mut running, rows.count)?;
    load.complete()?;
    running.terminate(PATIENCE)?;
    database.check("payments", rows.totals())?;
    let sizes: Vec<f64> = Home::Postgres(&database).commits()?.iter().map(|(_, records)| *records as f64).collect();
    let counted: Vec<f64> =
        times.iter().skip(usize::try_from(per_second * WARM.as_secs())?).map(|micros| *micros as f64 / 1e3).collect();
    let name = |what: &str| format!("latency at {per_second}/s, {what}");
    Ok(Sample::of(name("p50"), "ms", median(&counted))
        .and(name("p99"), "ms", quantile(&counted, 0.99))
        .and(name("max"), "ms", quantile(&counted, 1.0))
        .and(name("epoch p50"), "records", median(&sizes))
        .and(name("epoch max"), "records", quantile(&sizes, 1.0)))
}

/// Waits until the pipeline has claimed its partitions, and then for another half a second.
pub fn until_claimed(running: &mut Running, session: &Session) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let sql = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('onceflow.shard')";
    while session.number(sql)? == 0 || session.number("SELECT count(*) FROM onceflow.shard WHERE generation > 0")? == 0
    {
        if running.has_ended()? || Instant::now() > until {
            return Err(Failure::new(format!("the pipeline claimed nothing:\n{}", running.log())));
        }
        pause(Duration::from_millis(5));
    }
    pause(Duration::from_millis(500));
    Ok(())
}

/// The latency of each record in microseconds, by number.
fn watch(session: &Session, load: &Load, running: &mut Running, count: u64) -> Result<Vec<u64>> {
    let mut times = vec![None; usize::try_from(count)?];
    // All records below are seen; those above in any order.
    let (mut below, mut moved) = (0, Instant::now());
    let statement = session.prepare("SELECT id FROM payments WHERE id >= $1")?;
    while below < times.len() {
        let rows = session.query(&statement, &[&i64::try_from(below)?])?;
        for row in &rows {
            let id = u64::try_from(row.try_get::<_, i64>(0)?)?;
            if let Some(time @ None) = times.get_mut(usize::try_from(id)?) {
                *time = load.age(id);
                moved = Instant::now();
            }
        }
        below += times[below..].iter().take_while(|time| time.is_some()).count();
        if moved.elapsed() > PATIENCE || (rows.is_empty() && running.has_ended()?) {
            return Err(Failure::new(format!("records stay away from {below} on:\n{}", running.log())));
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(times.into_iter().flatten().collect())
}
