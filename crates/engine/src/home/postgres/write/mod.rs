//! Rows into PostgreSQL's tables: compared with the catalog at start, encoded from Arrow, written inside the transaction.
//!
//! Owns everything about target tables. Does not own the transaction: the ledger has moved before [`Writer::write`] and
//! COMMIT comes after it. Reading order: `catalog` and `check` (what is there, and whether it fits), `types`, `encode`, `vet`
//! (values), `sql`, `tables` (statements), `rows`, `copy`, `keyed`, `merge` (the ways in), `attempt`, `sieve`, `failure` (refusals).
//!
//! NULL in merges counts as nothing, as in SQL's aggregates; only `last` and `first` take it like any other value.

mod attempt;
mod catalog;
mod check;
mod copy;
mod encode;
mod failure;
mod key;
mod keyed;
mod merge;
mod names;
mod rows;
mod send;
mod sieve;
mod sql;
mod statement;
mod tables;
#[cfg(test)]
mod tests;
mod types;
mod vet;

#[allow(unused_imports)]
pub(super) use check::{TableFindings, TableIdentity, check_tables};

use crate::changes::{Lineage, OnError, Refusal, TableSpec, Unit, Work, Written};
use crate::codes;
use crate::crash;
use crate::error::{Error, Kind, Result};
use crate::home::CommitError;
use crate::home::refuse;
use attempt::Search;
use rows::{Bad, Load};
use std::collections::BTreeMap;
use std::sync::Arc;
use tables::Table;
use tokio_postgres::Client;

/// Writes the rows of epochs in one session.
#[derive(Debug)]
pub(super) struct Writer {
    specs: Arc<Vec<TableSpec>>,
    tables: Vec<Table>,
    /// Whether anything is checked at the end of transactions only.
    deferred: bool,
}

impl Writer {
    /// Prepares all statements in a session, outside of any transaction. The tables have passed [`check_tables`].
    pub(super) async fn prepare(client: &Client, tables: Arc<Vec<TableSpec>>) -> Result<Self> {
        let may_stage = catalog::may_stage(client).await?;
        let mut prepared = Vec::with_capacity(tables.len());
        for (number, spec) in tables.iter().enumerate() {
            prepared.push(tables::prepare(client, spec, number, may_stage).await?);
        }
        let deferred = catalog::has_deferred(client).await?;
        Ok(Self { specs: tables, tables: prepared, deferred })
    }

    /// Writes the work into its tables, inside the open transaction. Rows counted as written took effect, also where a later
    /// row of the same key took their place; rows prepared = written + ignored + those of refused records.
    ///
    /// After `Ok` the transaction goes on, under a savepoint that COMMIT ends. After `Err` it can only be rolled back.
    pub(super) async fn write(&mut self, client: &Client, work: &Work) -> Result<Written, CommitError> {
        let load = Load::new(work, &self.specs, &self.tables).map_err(CommitError::Rejected)?;
        let bad = load.bad(&self.specs, &self.tables);
        let mut known = refusals_of(&bad, &load);
        self.stop_at(&known, &load)?;
        let mut search = Search::new(client, &self.specs, &mut self.tables, self.deferred, &load);
        let done = match known.is_empty() && !search.expects_refusals() {
            true => search.everything().await?,
            false => search.begin().await.map(|()| None)?,
        };
        let mut written = match done {
            Some(written) => written,
            None => {
                let units: Vec<Unit> = search.units().into_iter().filter(|unit| !known.contains_key(unit)).collect();
                refuse::write(&mut search, &units, self.specs.len()).await?
            }
        };
        for refusal in &written.refused {
            known.insert(refusal.unit, refusal.clone());
        }
        self.stop_at(&known, &load)?;
        written.refused = known.into_values().collect();
        crash::point("after_rows");
        Ok(written)
    }

    /// Rejects the transaction where a table says that a refused row stops the pipeline.
    fn stop_at(&self, refused: &BTreeMap<Unit, Refusal>, load: &Load<'_>) -> Result<(), CommitError> {
        let first = refused.values().find(|refusal| self.specs[refusal.table].on_error == OnError::Stop);
        match first {
            Some(refusal) => {
                Err(CommitError::Rejected(stopped(refusal, &self.specs[refusal.table], load.work, load.lineage())))
            }
            None => Ok(()),
        }
    }
}

/// One refusal for each record of which a row does not fit.
fn refusals_of(bad: &[Bad], load: &Load<'_>) -> BTreeMap<Unit, Refusal> {
    let mut refusals = BTreeMap::new();
    for bad in bad {
        let unit = load.units()[bad.table][bad.row];
        refusals.entry(unit).or_insert_with(|| Refusal {
            unit,
            table: bad.table,
            code: bad.code,
            sqlstate: String::new(),
            reason: bad.why.clone(),
            row: load.tables[bad.table].json(bad.row),
        });
    }
    refusals
}

fn stopped(refusal: &Refusal, spec: &TableSpec, work: &Work, lineage: &Lineage) -> Error {
    let source = match lineage.find(refusal.unit) {
        Some((part, ordinal)) => {
            let (partition, record) = work.parts[part].record(ordinal);
            format!("{}/{} offset {}", partition.topic, partition.number, record.offset)
        }
        None => format!("a grouped row for '{}'", spec.target()),
    };
    let state = if refusal.sqlstate.is_empty() { String::new() } else { format!(" [SQLSTATE {}]", refusal.sqlstate) };
    let message = format!("stopped at {source}: '{}' refuses its row: {}{state}", spec.target(), refusal.reason);
    Error::new(Kind::Data, codes::OF0004, message)
        .at(&spec.place)
        .note(format!("the row: {}", refusal.row))
        .note(format!(
            "{} is the reason's code; `on-error` is `stop`, nothing of the epoch was committed",
            refusal.code
        ))
        .help("mend the cause and start again, or set 'on-error' = 'dead-letter' to put such records aside")
}
