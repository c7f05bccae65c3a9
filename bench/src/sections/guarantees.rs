//! What each guarantee costs: the same pipeline by a bench-only build that leaves one of them out.
//!
//! Such a program is no Onceflow: it loses or repeats records when it is killed. It is built beside the real one, and never
//! under its name. Rates are from the start of the process to its end, because without a ledger no commit says when it was.

use crate::failure::Result;
use crate::figures::{Figures, Sample};
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_kafka, into_payments, set};
use crate::place::{Place, Turn, turn};
use crate::subject::{Home, Subject};
use std::cell::Cell;

/// The environment that names what is left out.
const WITHOUT: &str = "ONCEFLOW_BENCH_WITHOUT";
/// Rows in a commit.
const ROWS_MAX: u32 = 10_000;

/// Everything on, then each guarantee off, by turns.
pub fn guarantees(place: &Place, figures: &mut Figures) -> Result<()> {
    let binary = &place.settings.switches_binary;
    let Ok(binary) = binary.canonicalize() else {
        let why = format!("guarantees: there is no bench-only build ({})", binary.display());
        eprintln!("bench: NOT MEASURED: {why}");
        figures.absent.push(why);
        return Ok(());
    };
    let topic = place.records.topic()?;
    let with = Cell::new(f64::NAN);
    let cpu = Cell::new(f64::NAN);
    let measure = |name: &str, without: &str| -> Result<(Sample, f64, f64)> {
        let database = place.server.database(PAYMENTS)?;
        let sql = set("epoch.rows_max", ROWS_MAX)
            + &from_kafka(&place.broker, topic, COLUMNS)
            + &into_payments(&database.url)
            + INSERT;
        let mut subject = Subject::new(name, sql, place.records.rows.count, Home::Postgres(&database));
        let environment = [(WITHOUT, without)];
        subject.binary = Some(&binary);
        subject.environment = if without.is_empty() { &[] } else { &environment };
        let outcome = subject.run(place)?;
        database.check("payments", place.records.rows.totals())?;
        let millions = place.records.rows.count as f64 / 1e6;
        let seconds = outcome.used.seconds;
        let sample = Sample::of(name, "rows/s", outcome.rate_from_start())
            .and(format!("{name}, CPU of the process"), "s/M", outcome.used.cpu_seconds / millions)
            .and(format!("{name}, CPU of the backend"), "s/M", outcome.used.backend_seconds / millions);
        Ok((sample, seconds, outcome.used.cpu_seconds + outcome.used.backend_seconds))
    };
    // The share of the whole time that goes when a guarantee goes.
    let cost = |seconds: f64| (with.get() - seconds) / with.get() * 100.0;
    let mut turns: Vec<Turn<'_>> = vec![
        turn("with everything", || {
            let (sample, seconds, used) = measure("with everything", "")?;
            with.set(seconds);
            cpu.set(used);
            Ok(sample)
        }),
        // Neighbours in time: other work on the machine is the same for both.
        turn("without the ledger and digests", || {
            let (sample, seconds, used) = measure("without the ledger and digests", "ledger,digests")?;
            let share = (cpu.get() - used) / cpu.get() * 100.0;
            Ok(sample.and("cost of the ledger and digests", "%", cost(seconds)).and(
                "cost of the ledger and digests, CPU of process and backend",
                "%",
                share,
            ))
        }),
        turn("without the ledger", || {
            let (sample, seconds, _) = measure("without the ledger", "ledger")?;
            Ok(sample.and("cost of the ledger", "%", cost(seconds)))
        }),
        turn("without digests", || {
            let (sample, seconds, _) = measure("without digests", "digests")?;
            Ok(sample.and("cost of digests", "%", cost(seconds)))
        }),
        turn("without dead letters", || {
            let (sample, seconds, _) = measure("without dead letters", "dead-letters")?;
            Ok(sample.and("cost of dead letters' bookkeeping", "%", cost(seconds)))
        }),
    ];
    place.by_turns("guarantees", figures, &mut turns)
}
