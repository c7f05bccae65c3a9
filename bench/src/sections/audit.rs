//! The audit: how fast it is, how much memory it takes, and how much it slows a pipeline that runs beside it.

use crate::failure::{Doing, Failure, Result};
use crate::figures::{Figures, Sample};
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_kafka, into_payments, set};
use crate::place::{Place, turn};
use crate::process::Running;
use crate::subject::{Home, Subject};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const AT_MOST: Duration = Duration::from_secs(1_800);

/// An append with and without audits beside it, and the audit of all that was appended.
pub fn audit(place: &Place, figures: &mut Figures) -> Result<()> {
    let topic = place.records.topic()?;
    let mut turns = [
        turn("alone", || {
            let database = place.server.database(PAYMENTS)?;
            let sql = from_kafka(&place.broker, topic, COLUMNS) + &into_payments(&database.url) + INSERT;
            let subject = Subject::new("alone", sql.clone(), place.records.rows.count, Home::Postgres(&database));
            let rate = subject.run(place)?.rate()?;
            let used = Running::start(command(place, &sql, "whole.sql")?, place.path("audit.log"))?
                .finish(AT_MOST, None)
                .doing("audit")?;
            let millions = place.records.rows.count as f64 / 1e6;
            Ok(Sample::of("append without an audit beside it", "rows/s", rate)
                .and("audit of all rows", "rows/s", place.records.rows.count as f64 / used.seconds)
                .and("audit of all rows, CPU", "s/M", used.cpu_seconds / millions)
                .and("audit of all rows, peak memory", "MiB", used.peak_mib))
        }),
        turn("beside audits", || {
            let database = place.server.database(PAYMENTS)?;
            let sql = from_kafka(&place.broker, topic, COLUMNS) + &into_payments(&database.url) + INSERT;
            let subject =
                Subject::new("beside audits", sql.clone(), place.records.rows.count, Home::Postgres(&database));
            let (over, audits) = (AtomicBool::new(false), AtomicU64::new(0));
            let beside = command(place, &sql, "beside.sql")?;
            let rate = std::thread::scope(|scope| {
                let auditing = scope.spawn(|| again_and_again(beside, &over, &audits));
                let outcome = subject.run(place);
                over.store(true, Ordering::SeqCst);
                auditing.join().map_err(|_| Failure::new("the auditing thread panicked"))??;
                outcome?.rate()
            })?;
            database.check("payments", place.records.rows.totals())?;
            Ok(Sample::of("append beside audits", "rows/s", rate).and(
                "audits meanwhile",
                "",
                audits.load(Ordering::SeqCst) as f64,
            ))
        }),
    ];
    place.by_turns("audit", figures, &mut turns)
}

/// Audits until it is over; each has to come out clean.
fn again_and_again(mut command: Command, over: &AtomicBool, audits: &AtomicU64) -> Result<()> {
    while !over.load(Ordering::SeqCst) {
        let output = command.output().doing("audit")?;
        match output.status.code() {
            Some(0) => drop(audits.fetch_add(1, Ordering::SeqCst)),
            // Before the first commit there is no ledger.
            Some(2 | 3) => std::thread::park_timeout(Duration::from_millis(20)),
            _ => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                return Err(Failure::new(format!("an audit beside its pipeline found something: {said}")));
            }
        }
    }
    Ok(())
}

fn command(place: &Place, sql: &str, name: &str) -> Result<Command> {
    let file: PathBuf = place.path(name);
    std::fs::write(&file, format!("{}{sql}", set("pipeline.name", "bench"))).doing(file.display())?;
    let binary: &Path = &place.settings.binary;
    let mut command = Command::new(binary);
    command.arg("audit").arg(&file).arg("--quiet").current_dir(place.folder());
    Ok(command)
}
