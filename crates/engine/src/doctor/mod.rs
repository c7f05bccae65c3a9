//! The six causes of lost and repeated records, each looked for in one pipeline.
//!
//! Facts are gathered read only, in one snapshot of each home; judging them is pure ([`check`] and the functions beside each
//! query). The one thing that is written is a probe, in the ledger's own tables, and it is rolled back (`probe`).

use crate::audit::{Report, chain, evidence};
use crate::error::{Error, Kind};
use crate::home::Guarantee;
use crate::home::desk::Cell;
use crate::home::witness::Witness;
use crate::pipeline::{Branch, Pipeline};
use crate::run::on_this_thread;
use onceflow_core::{PipelineId, PositionRow};
use std::time::Duration;

pub mod check;
pub mod foreign;
mod headroom;
mod ledger;
mod machine;
mod postgres;
mod probe;
mod source;
mod sqlite;
mod targets;
mod topics;

pub use check::{Check, Status, Sure};

/// What an examination takes for long.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Transactions of others that are open for longer are named.
    pub transaction_max: Duration,
}

/// Examines a pipeline. Blocks. Checks come in the order of the causes.
pub fn examine(pipeline: &Pipeline, options: &Options) -> Vec<Check> {
    let mut checks = ledger::homes(pipeline);
    for branch in &pipeline.branches {
        let mut facts = BranchFacts { checks: Vec::new(), positions: None, pipeline: None };
        if let Err(error) = on_this_thread(home(pipeline, branch, options, &mut facts)) {
            facts.checks.push(check::ask(3, "home-reachable", branch.home.describe(), "connect").unknown(&error));
        }
        checks.append(&mut facts.checks);
        for factory in &branch.sources {
            source::examine(&**factory, facts.positions.as_deref(), &mut checks);
        }
    }
    checks.extend(machine::files());
    checks.sort_by_key(|check| check.cause);
    checks
}

/// What was found of one branch.
struct BranchFacts {
    checks: Vec<Check>,
    /// The ledger's positions, where there is one.
    positions: Option<Vec<PositionRow>>,
    /// The pipeline's identity in it.
    pipeline: Option<PipelineId>,
}

async fn home(pipeline: &Pipeline, branch: &Branch, options: &Options, facts: &mut BranchFacts) {
    let home = &*branch.home;
    if home.guarantee() == Guarantee::AtLeastOnce {
        return;
    }
    let about = home.describe();
    let mut witness = match home.witness().await {
        Ok(witness) => witness,
        Err(error) => {
            let known = postgres::refused(&about, &error);
            return facts.checks.push(known.unwrap_or_else(|| unreachable(&about, &error)));
        }
    };
    let exists = witness.exists().await;
    match home.system() {
        "PostgreSQL" => postgres::examine(&mut *witness, branch, options, &mut facts.checks).await,
        "SQLite" => sqlite::examine(&mut *witness, branch, matches!(exists, Ok(true)), &mut facts.checks).await,
        _ => {}
    }
    let known = match exists {
        Ok(true) => ledger_of(&mut *witness, &pipeline.name, &about, facts).await,
        Ok(false) => {
            facts.checks.push(ledger::absent(&about));
            false
        }
        Err(error) => {
            facts.checks.push(check::ask(6, "ledger", about.clone(), "onceflow ledger show FILE").unknown(&error));
            false
        }
    };
    drop(witness);
    if known && home.system() == "SQLite" {
        let locked = probe::write(home).await;
        facts.checks.push(sqlite::locked(&about, locked.as_ref()));
        if locked.is_some() {
            // The probes would wait for the same lock in vain.
            return;
        }
    }
    if known {
        probe::examine(home, &mut facts.checks).await;
    }
    if let Some(pipeline) = facts.pipeline {
        probe::fence(home, pipeline, &mut facts.checks).await;
    }
    if home.system() == "PostgreSQL" {
        postgres::pooler(home, &mut facts.checks).await;
    }
}

/// Reads and judges the ledger; whether it knows the pipeline.
async fn ledger_of(witness: &mut dyn Witness, name: &str, about: &str, facts: &mut BranchFacts) -> bool {
    let ask = check::ask(6, "ledger-chain", about.to_owned(), "onceflow audit FILE --level 1");
    match evidence::read(witness, name).await {
        Ok(Some(evidence)) => {
            let mut report = Report::new(about.to_owned(), 3);
            chain::check(&evidence, &mut report);
            let said: Vec<String> = report.findings.iter().map(|finding| finding.said.clone()).collect();
            facts.checks.push(ledger::chain(ask, evidence.commits.len(), &said));
            facts.positions = Some(evidence.positions);
            facts.pipeline = Some(evidence.pipeline);
            true
        }
        Ok(None) => {
            facts.checks.push(ledger::absent(about));
            false
        }
        Err(error) if error.kind() == Kind::Identity => {
            facts.checks.push(ledger::chain(ask, 0, &[error.message().to_owned()]));
            true
        }
        Err(error) => {
            facts.checks.push(ask.unknown(&error));
            false
        }
    }
}

fn unreachable(about: &str, error: &Error) -> Check {
    let ask = check::ask(3, "home-reachable", about.to_owned(), "open the home and take a snapshot");
    let fix = error.helps().first().cloned().unwrap_or_else(|| "onceflow run FILE".to_owned());
    match error.kind() {
        Kind::Config if !error.message().contains("is not there") => {
            ask.broken(error.message(), "yes: nothing can be committed here", fix, error.notes().join("; "))
        }
        _ => ask.unknown(error),
    }
}

/// A row's cell as text; NULL is empty.
fn text(row: &[Cell], index: usize) -> String {
    match row.get(index) {
        Some(Cell::Text(text)) => text.clone(),
        Some(Cell::Int(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A row's cell as a number; 0 for anything else.
fn int(row: &[Cell], index: usize) -> i64 {
    match row.get(index) {
        Some(Cell::Int(number)) => *number,
        Some(Cell::Text(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// The first cell of a query.
async fn one(witness: &mut dyn Witness, sql: &str) -> Result<Vec<Cell>, Error> {
    Ok(witness.rows(sql, &[]).await?.into_iter().next().unwrap_or_default())
}
