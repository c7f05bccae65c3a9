//! Targets that are no homes: `print`, `blackhole`, and collecting rows for `preview`.
//!
//! They keep their ledger in memory, for as long as the process lives, so a restart reads from the start-up mode again: at
//! least once, and [`HomeFactory::guarantee`] says so.

use crate::changes::{TableSpec, Work, Written};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::desk::Desk;
use crate::home::{
    Answer, Claim, ClaimRequest, Closing, CommitError, Done, Guarantee, Home, HomeFactory, Registered, Registration,
    Right, Transaction,
};
use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use onceflow_core::{
    Advance, ClaimDecision, Ledger, PipelineId, PositionRow, ShardId, ShardRow, check_move, decide_claim,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Prints each row on stdout, as Flink's `print` does: `+I[1, a, null]`.
#[derive(Debug, Default)]
pub struct PrintFactory(Arc<Mutex<Memory>>);

/// Counts rows and forgets them.
#[derive(Debug, Default)]
pub struct BlackholeFactory(Arc<Mutex<Memory>>);

/// Collects the first rows of each table.
#[derive(Clone, Debug)]
pub struct CollectFactory {
    memory: Arc<Mutex<Memory>>,
    rows_max: usize,
    rows: Arc<Mutex<Vec<Vec<RecordBatch>>>>,
}

/// The ledger of a process.
#[derive(Debug, Default)]
struct Memory {
    shards: BTreeMap<ShardId, ShardRow>,
    positions: Vec<PositionRow>,
}

#[derive(Clone, Debug)]
enum Output {
    Print,
    Blackhole,
    Collect(CollectFactory),
}

impl CollectFactory {
    /// Collects so many rows of each table.
    pub fn new(rows_max: usize) -> Self {
        Self { memory: Arc::default(), rows_max, rows: Arc::default() }
    }

    /// What was collected so far, by table.
    pub fn rows(&self) -> Vec<Vec<RecordBatch>> {
        lock(&self.rows).clone()
    }

    /// Whether every one of so many tables has its rows.
    pub fn is_full(&self, tables: usize) -> bool {
        let rows = lock(&self.rows);
        let full =
            |batches: &Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>() >= self.rows_max;
        rows.len() >= tables && rows.iter().all(full)
    }

    fn collect(&self, tables: usize, work: &Work) {
        let mut rows = lock(&self.rows);
        let length = rows.len().max(tables);
        rows.resize(length, Vec::new());
        for set in work.parts.iter().flat_map(|part| &part.sets) {
            let collected = &mut rows[set.table];
            let present: usize = collected.iter().map(RecordBatch::num_rows).sum();
            let missing = self.rows_max.saturating_sub(present).min(set.rows.num_rows());
            if missing > 0 {
                collected.push(set.rows.slice(0, missing));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! factory {
    ($factory:ty, $system:literal, $memory:ident => $open:expr, $output:ident => $make:expr) => {
        impl HomeFactory for $factory {
            fn system(&self) -> &'static str {
                $system
            }

            fn describe(&self) -> String {
                $system.to_owned()
            }

            fn default_schema(&self) -> Option<String> {
                None
            }

            fn guarantee(&self) -> Guarantee {
                Guarantee::AtLeastOnce
            }

            fn open(&self, tables: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>> {
                let $memory = self;
                let memory = $open;
                let $output = self;
                Ok(Box::new(Ephemeral { memory, output: $make, tables }))
            }
        }
    };
}

factory!(PrintFactory, "print", own => own.0.clone(), _own => Output::Print);
factory!(BlackholeFactory, "blackhole", own => own.0.clone(), _own => Output::Blackhole);
factory!(CollectFactory, "preview", own => own.memory.clone(), own => Output::Collect(own.clone()));

struct Ephemeral {
    memory: Arc<Mutex<Memory>>,
    output: Output,
    tables: Arc<Vec<TableSpec>>,
}

const PIPELINE: PipelineId = PipelineId::new(1);

impl Home for Ephemeral {
    fn register<'a>(&'a mut self, _: &'a Registration) -> Answer<'a, Result<Registered>> {
        let notices = match self.output {
            Output::Print => vec!["'print' keeps no position: at least once, a restart prints rows again".to_owned()],
            _ => Vec::new(),
        };
        Box::pin(async { Ok(Registered { pipeline: PIPELINE, new: true, notices }) })
    }

    fn positions(&mut self, _: PipelineId) -> Answer<'_, Result<Vec<PositionRow>>> {
        let positions = lock(&self.memory).positions.clone();
        Box::pin(async { Ok(positions) })
    }

    fn found<'a>(&'a mut self, pipeline: PipelineId, rows: &'a [PositionRow]) -> Answer<'a, Result<()>> {
        let mut memory = lock(&self.memory);
        for row in rows {
            let shard = row.shard.clone();
            memory.shards.entry(shard.clone()).or_insert_with(|| ShardRow::founding(pipeline, shard));
            memory.positions.push(row.clone());
        }
        memory.positions.sort_by(|a, b| a.partition.cmp(&b.partition));
        Box::pin(async { Ok(()) })
    }

    fn claim<'a>(&'a mut self, request: &'a ClaimRequest) -> Answer<'a, Result<Claim>> {
        let claim = lock(&self.memory).claim(request);
        Box::pin(async { claim })
    }

    fn begin(&mut self, right: Right) -> Answer<'_, Result<Box<dyn Transaction + '_>, CommitError>> {
        Box::pin(async {
            match right {
                Right::Advance(advance) => {
                    Ok(Box::new(Open { home: self, advance, text: String::new() }) as Box<dyn Transaction + '_>)
                }
                Right::Replay(_) => Err(CommitError::Rejected(no_ledger())),
            }
        })
    }

    fn still_owned(&mut self) -> Answer<'_, Result<bool>> {
        Box::pin(async { Ok(true) })
    }

    fn absent(&mut self, _: PipelineId) -> Answer<'_, Result<bool>> {
        Box::pin(async { Ok(true) })
    }

    fn desk(&mut self) -> Answer<'_, Result<Box<dyn Desk + '_>>> {
        Box::pin(async { Err(no_ledger()) })
    }
}

fn no_ledger() -> Error {
    Error::new(Kind::Config, codes::OF0018, "'print' and 'blackhole' keep no ledger")
        .note("they are for looking and measuring; only a database keeps positions and dead letters")
}

impl Memory {
    fn claim(&mut self, request: &ClaimRequest) -> Result<Claim> {
        let mut claimed = Vec::new();
        for shard in &request.shards {
            let row =
                self.shards.get(shard).ok_or_else(|| Error::internal(format!("shard {shard} was never founded")))?;
            match decide_claim(row, request.held.get(shard).copied(), request.nonce) {
                ClaimDecision::Take(row) => claimed.push(row),
                ClaimDecision::Fenced { found } => return Ok(Claim::Fenced { shard: shard.clone(), found }),
            }
        }
        self.shards.extend(claimed.iter().map(|row| (row.shard.clone(), row.clone())));
        let own = |row: &&PositionRow| request.shards.contains(&row.shard);
        let positions: Vec<_> = self.positions.iter().filter(own).cloned().collect();
        Ok(Claim::Owned(Ledger::claimed(request.pipeline, claimed, positions)?))
    }

    fn apply(&mut self, advance: &Advance) -> std::result::Result<(), CommitError> {
        for step in advance.moves() {
            let stored = self.shards.get(&step.expected.shard);
            if stored.is_none_or(|row| check_move(row, &step.expected).is_err()) {
                return Err(CommitError::Rejected(Error::internal("the ledger in memory moved by itself")));
            }
        }
        for step in advance.moves() {
            let row = ShardRow { epoch: step.epoch, chain: step.chain, ..step.expected.clone() };
            self.shards.insert(row.shard.clone(), row);
        }
        for row in advance.positions() {
            if let Some(own) = self.positions.iter_mut().find(|own| own.partition == row.partition) {
                *own = row.clone();
            }
        }
        Ok(())
    }
}

struct Open<'h> {
    home: &'h mut Ephemeral,
    advance: Advance,
    text: String,
}

impl Transaction for Open<'_> {
    fn write<'a>(&'a mut self, work: &'a Work) -> Answer<'a, Result<Written, CommitError>> {
        Box::pin(async move {
            let tables = self.home.tables.len();
            let mut written = Written::nothing(tables);
            for set in work.parts.iter().flat_map(|part| &part.sets) {
                written.rows[set.table] += set.rows.num_rows() as u64;
                if matches!(self.home.output, Output::Print) {
                    print(&mut self.text, &self.home.tables, set.table, &set.rows).map_err(CommitError::Rejected)?;
                }
            }
            if let Output::Collect(collect) = &self.home.output {
                collect.collect(tables, work);
            }
            Ok(written)
        })
    }

    fn commit<'a>(self: Box<Self>, _: &'a Closing) -> Answer<'a, Result<Done, CommitError>>
    where
        Self: 'a,
    {
        Box::pin(async move {
            let Self { home, advance, text } = *self;
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
                let error = Error::new(Kind::Data, codes::OF0019, "stdout is closed").caused_by(error);
                CommitError::Rejected(error)
            })?;
            lock(&home.memory).apply(&advance)?;
            Ok(Done::Advanced(advance.committed()))
        })
    }
}

/// One line a row. Where several tables print, each line begins with its table's name.
fn print(text: &mut String, tables: &[TableSpec], table: usize, rows: &RecordBatch) -> Result<()> {
    let options = FormatOptions::new().with_null("null");
    let failed = |error| Error::internal("a row cannot be printed").caused_by(error);
    let columns = rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    for row in 0..rows.num_rows() {
        if tables.len() > 1 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}> ", tables[table].name);
        }
        let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
        let _ = writeln!(text, "+I[{}]", cells.join(", "));
    }
    Ok(())
}
