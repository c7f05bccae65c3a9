//! A pipeline that Onceflow does not run: its table against its topic, and which of the six causes the differences look like.
//!
//! What is there is compared by [`crate::audit::foreign`]; this module looks where the differences lie. That a pattern fits a
//! cause is no proof, so every answer says how sure it is.

mod judge;
mod runs;

use super::check::{Check, Sure, ask};
use super::targets::Unique;
use super::{int, one, postgres, sqlite};
use crate::audit::foreign::Foreign;
use crate::audit::{self, Level, Progress, Report};
use crate::error::{Error, Result};
use crate::home::witness::Witness;
use crate::pipeline::{Branch, Pipeline};
use crate::run::on_this_thread;
use onceflow_core::{Partition, Position};
use runs::Logs;
use std::collections::BTreeMap;

/// Differences that are looked at; more of them follow the same pattern.
const FINDINGS_MAX: usize = 200_000;
/// Rows of which it is asked which transaction wrote them.
const SAMPLE_ROWS: u32 = 200_000;

/// What was found.
pub struct Examined {
    /// The comparison of table and topic.
    pub report: Report,
    /// The answers, in the order of the causes.
    pub checks: Vec<Check>,
}

/// What is known beside the rows.
struct Known<'a> {
    table: String,
    key: String,
    system: &'static str,
    report: &'a Report,
    logs: &'a Logs,
    /// The group's positions, where a group was named.
    group: Option<BTreeMap<Partition, Position>>,
    /// Rows for each transaction that wrote some, where the database remembers.
    rows_per_transaction: Option<f64>,
    uniques: Vec<Unique>,
}

/// Examines what something else writes. Blocks; changes nothing.
pub fn examine(
    pipeline: &Pipeline,
    branch: &Branch,
    foreign: &Foreign,
    group: Option<&str>,
    progress: &dyn Fn(Progress),
) -> Result<Examined> {
    let options =
        audit::Options { level: Level::Rows, limit: FINDINGS_MAX, since: None, until: None, key: None, each: None };
    // Before the table is read: what is in it then was done before, or while the positions were looked at.
    let group = group.map(|group| positions(branch, group)).transpose();
    let report = on_this_thread(audit::foreign::audit(pipeline, branch, foreign, &options, progress))??;
    let offsets_count = branch.sources.iter().all(|source| source.connector() == "kafka");
    let logs = Logs::of(&report, offsets_count);
    let spec = &branch.tables[0];
    let (group, unknown) = match group {
        Ok(group) => (group, None),
        Err(error) => {
            let how = "the group's committed offsets";
            (None, Some(ask(4, "group-positions", spec.target(), how).unknown(&error)))
        }
    };
    let (uniques, rows_per_transaction) = on_this_thread(facts(branch))??;
    let known = Known {
        table: spec.quoted(),
        key: crate::changes::quoted(&spec.columns[0].name),
        system: branch.home.system(),
        report: &report,
        logs: &logs,
        group,
        rows_per_transaction,
        uniques,
    };
    let mut checks = judge::all(&known);
    checks.extend(unknown);
    checks.sort_by_key(|check| check.cause);
    Ok(Examined { report, checks })
}

fn positions(branch: &Branch, group: &str) -> Result<BTreeMap<Partition, Position>> {
    let mut all = BTreeMap::new();
    for factory in &branch.sources {
        let mut source = factory.open()?;
        let partitions: Vec<_> = source.discover()?.into_iter().map(|found| found.partition).collect();
        all.extend(source.group_positions(group, &partitions)?);
    }
    Ok(all)
}

async fn facts(branch: &Branch) -> Result<(Vec<Unique>, Option<f64>)> {
    let spec = &branch.tables[0];
    let mut witness = branch.home.witness().await?;
    match branch.home.system() {
        "SQLite" => Ok((sqlite::unique_keys(&mut *witness, spec).await?, None)),
        _ => {
            let uniques = postgres::unique_keys(&mut *witness, spec).await?;
            Ok((uniques, rows_per_transaction(&mut *witness, &spec.quoted()).await))
        }
    }
}

/// How many rows a transaction has written; a sample. `None` where there are too few rows, or they are frozen.
#[allow(clippy::cast_precision_loss)]
async fn rows_per_transaction(witness: &mut dyn Witness, table: &str) -> Option<f64> {
    let sql = format!(
        "SELECT count(*), count(DISTINCT xmin::text) FROM (SELECT xmin FROM {table} LIMIT {SAMPLE_ROWS}) sample"
    );
    let row = one(witness, &sql).await.ok()?;
    let (rows, transactions) = (int(&row, 0), int(&row, 1));
    (rows >= 100 && transactions > 1).then(|| rows as f64 / transactions as f64)
}

/// The sentence that counts.
pub fn sentence(table: &str, examined: &Examined) -> String {
    let report = &examined.report;
    let numbers = &report.summary;
    let inputs = numbers.inputs;
    if !report.has_findings() {
        let open = examined.checks.iter().find(|check| check.status > super::Status::Ok);
        let open = open.map(|check| format!("; cause {} can still strike: {}", check.cause, check.seen));
        return format!(
            "{table}: nothing is wrong, each of {inputs} records stands as it should{}.",
            open.unwrap_or_default()
        );
    }
    let broken: Vec<&Check> =
        examined.checks.iter().filter(|check| check.status == super::Status::Broken && check.sure.is_some()).collect();
    let counts = format!(
        "{} rows missing, {} repeated, {} changed, {} unexpected of {inputs} records",
        numbers.missing, numbers.repeated, numbers.changed, numbers.unexpected
    );
    let best = broken.iter().max_by_key(|check| check.sure);
    match best {
        Some(check) => format!(
            "{table}: {counts}; this looks like cause {} ({}, {}).",
            check.cause,
            super::check::CAUSES[usize::from(check.cause) - 1],
            check.sure.map_or("possible", Sure::as_str)
        ),
        None if numbers.missing > 0 && numbers.repeated + numbers.changed + numbers.unexpected == 0 => {
            format!("{table}: {counts}; what is missing may not have been written yet.")
        }
        None => format!("{table}: {counts}."),
    }
}

/// An error where a pipeline has not the one table and the one source that are compared.
pub fn only(pipeline: &Pipeline) -> Result<&Branch> {
    match pipeline.branches.as_slice() {
        [branch] if branch.tables.len() == 1 && branch.sources.len() == 1 => Ok(branch),
        _ => Err(Error::internal("one table is compared with one source")),
    }
}
