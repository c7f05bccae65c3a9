//! Being killed, starting, and how much memory it takes to run and to rest.

use crate::failure::{Doing, Failure, Result};
use crate::figures::{Figures, Sample};
use crate::load::Load;
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_kafka, into_payments};
use crate::place::{Place, turn};
use crate::postgres::{Database, Session};
use crate::process::{Running, pause};
use crate::rows::{Rows, signed};
use crate::sections::latency::until_claimed;
use crate::subject::{Home, Outcome, Subject, command};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process rests before its memory is read.
const REST: Duration = Duration::from_secs(5);
/// Records a second while it is killed.
const LOAD: u64 = 20_000;

fn text(place: &Place, topic: &str, database: &Database) -> String {
    from_kafka(&place.broker, topic, COLUMNS) + &into_payments(&database.url) + INSERT
}

fn start(place: &Place, topic: &str, database: &Database) -> Result<Running> {
    let (command, log) = command(place, None, &text(place, topic, database))?;
    Running::start(command, log)
}

/// Asks every two milliseconds until a query gives a number above 0; fails where the process ends or it takes too long.
fn until_positive(session: &Session, running: &mut Running, sql: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while session.number(sql)? == 0 {
        if running.has_ended()? || Instant::now() > until {
            return Err(Failure::new(format!("{sql} stays 0:\n{}", running.log())));
        }
        pause(Duration::from_millis(2));
    }
    Ok(())
}

/// SIGKILL under load, a new process at once, and the first commit of that one.
pub fn kill(place: &Place, figures: &mut Figures) -> Result<()> {
    place.by_turns("kill", figures, &mut [turn("SIGKILL under load", || killed(place))])
}

fn killed(place: &Place) -> Result<Sample> {
    let rows = Rows::payments(place.settings.seed, LOAD * 60, 130);
    let topic = place.empty_topic("kill", place.settings.partitions)?;
    let database = place.server.database(PAYMENTS)?;
    let session = database.session()?;
    let mut first = start(place, &topic.name, &database)?;
    until_claimed(&mut first, &session)?;
    let load = Load::start(&place.broker, &topic.name, place.settings.partitions, rows, LOAD as f64)?;
    until_positive(&session, &mut first, "SELECT count(*) FROM onceflow.commit WHERE records > 0")?;
    pause(Duration::from_secs(2));
    let generation = session.number("SELECT max(generation) FROM onceflow.shard")?;
    let began = Instant::now();
    first.kill()?;
    let mut second = start(place, &topic.name, &database)?;
    let newer = format!("SELECT count(*) FROM onceflow.commit WHERE generation > {generation} AND records > 0");
    until_positive(&session, &mut second, &newer)?;
    let seconds = began.elapsed().as_secs_f64();
    let sent = load.finish()?;
    let all = format!("SELECT (sum(records) >= {sent})::int::bigint FROM onceflow.commit");
    until_positive(&session, &mut second, &all)?;
    second.terminate(PATIENCE)?;
    database.check("payments", rows.first(sent).totals())?;
    Ok(Sample::of("kill to first commit", "s", seconds))
}

/// From the start of the process to the first commit of one record that waits: more than to the first fetch.
pub fn starting(place: &Place, figures: &mut Figures) -> Result<()> {
    place.by_turns("start", figures, &mut [turn("starts", || started(place))])
}

fn started(place: &Place) -> Result<Sample> {
    let rows = Rows::payments(place.settings.seed, 2, 130);
    let topic = place.empty_topic("start", 1)?;
    let database = place.server.database(PAYMENTS)?;
    let mut value = Vec::new();
    let mut seconds = [0.0; 2];
    for (n, seconds) in (0_u64..).zip(&mut seconds) {
        let producer = place.broker.producer(&[])?;
        value.clear();
        rows.json(n, &mut value);
        producer.send(&topic.name, 0, &value)?;
        producer.finish()?;
        let outcome = caught_up(place, &topic.name, &database)?;
        let (at, _) = outcome.commits.last().copied().ok_or_else(|| Failure::new("there is no commit"))?;
        *seconds = at - outcome.used.began_at;
    }
    let nothing = caught_up(place, &topic.name, &database)?.used;
    database.check("payments", rows.totals())?;
    Ok(Sample::of("first start to first commit, with a new ledger", "s", seconds[0])
        .and("start to first commit", "s", seconds[1])
        .and("start, nothing to do, and end", "s", nothing.seconds)
        .and("start, nothing to do, and end: CPU", "s", nothing.cpu_seconds))
}

fn caught_up(place: &Place, topic: &str, database: &Database) -> Result<Outcome> {
    Subject::new("start", text(place, topic, database), 1, Home::Postgres(database)).run(place).doing("start")
}

/// Memory at rest after a start, at full speed, and at rest after a backlog.
pub fn memory(place: &Place, figures: &mut Figures) -> Result<()> {
    let mut turns = [turn("without work", || idle(place)), turn("with a backlog", || after_backlog(place))];
    place.by_turns("memory", figures, &mut turns)
}

fn idle(place: &Place) -> Result<Sample> {
    let topic = place.empty_topic("idle", place.settings.partitions)?;
    let database = place.server.database(PAYMENTS)?;
    let mut running = start(place, &topic.name, &database)?;
    until_claimed(&mut running, &database.session()?)?;
    pause(REST);
    let idle = running.memory_mib("VmRSS");
    running.terminate(PATIENCE)?;
    Ok(Sample::of("memory, idle after a start", "MiB", idle))
}

fn after_backlog(place: &Place) -> Result<Sample> {
    let (topic, rows) = (place.records.topic()?, place.records.rows);
    let database = place.server.database(PAYMENTS)?;
    let mut running = start(place, topic, &database)?;
    let session = database.session()?;
    until_claimed(&mut running, &session)?;
    let all = format!("SELECT (sum(records) >= {})::int::bigint FROM onceflow.commit", signed(rows.count));
    until_positive(&session, &mut running, "SELECT count(*) FROM onceflow.commit WHERE records > 0")?;
    until_positive(&session, &mut running, &all)?;
    let peak = running.memory_mib("VmHWM");
    pause(REST);
    let idle = running.memory_mib("VmRSS");
    running.terminate(PATIENCE)?;
    database.check("payments", rows.totals())?;
    Ok(Sample::of("memory, peak with a backlog", "MiB", peak).and("memory, idle after a backlog", "MiB", idle))
}
