//! A lane: a thread that owns shards and one session with the home, and commits their epochs one after the other.
//!
//! `Lane::attempt` is the data path, top to bottom. It has no branch that handles recovery: an attempt leaves at the first
//! failure, and the next attempt claims again. There is no second way in.

use crate::changes::{TableSpec, Work, Written};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::{Claim, ClaimRequest, CommitError, Done, Home, Right, Transaction};
use crate::lane::epoch::{Epoch, Handover, Next};
use crate::lane::feed::{Drive, Feed, Loan, Start};
use crate::pipeline::Settings;
use crate::run::ambient::{Ambient, at_most};
use crate::run::memory;
use crate::run::observe::{Event, Watcher};
use crate::run::retry::Patience;
use crate::run::stop::Stop;
use crate::user_code::UserCode;
use onceflow_core::{Held, Ledger, Nonce, Partition, PipelineId, Position, PositionRow, ShardId, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub mod bench;
pub mod closing;
pub mod epoch;
pub mod feed;

/// An idle lane looks so often whether its shards are still its own.
const OWNED_CHECK: Duration = Duration::from_secs(2);
/// A lane that is asked to stop lets a transaction in flight go on for so long before it rolls it back.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often an idle lane looks for the wish to stop and for new shards.
const IDLE_WAIT: Duration = Duration::from_millis(200);

/// The shards of a lane; control adds to them while the lane runs.
pub type Shards = Arc<Mutex<BTreeSet<ShardId>>>;

/// What a lane works with.
pub struct Lane {
    /// The index of the lane in its branch.
    pub index: usize,
    /// The pipeline's identity in the home.
    pub pipeline: PipelineId,
    /// The shards to own.
    pub shards: Shards,
    /// Where to end.
    pub until: BTreeMap<Partition, Position>,
    /// The session with the home.
    pub home: Box<dyn Home>,
    /// Sources and logic.
    pub loan: Option<Loan>,
    /// Code that writes what the logic carries to it.
    pub user_code: Option<Box<dyn UserCode>>,
    /// The names of the sources, by index.
    pub names: Vec<Arc<str>>,
    /// The target tables.
    pub tables: Arc<Vec<TableSpec>>,
    /// Limits and choices.
    pub settings: Settings,
    /// The wish to stop.
    pub stop: Stop,
    /// Who watches.
    pub watcher: Watcher,
    /// Time and chance.
    pub ambient: Arc<dyn Ambient>,
    /// Who fetches and prepares.
    pub drive: Drive,
    /// For how long to try again.
    pub retry_for: Option<Duration>,
    /// What a successful claim of this process holds.
    pub held: BTreeMap<ShardId, Held>,
    /// The positions as this process last knew them; what a claim answers is checked against the source where it differs.
    pub known: BTreeMap<Partition, Position>,
}

/// How a lane's attempt ended without an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// All sources are at their ends, and it is committed.
    Finished,
    /// Somebody wished to stop.
    Stopped,
    /// The lane was given further shards, or its ledger is not as it left it: a claim, under lock, says what that means.
    ClaimAgain,
}

impl Lane {
    /// Runs until the sources end, somebody wishes to stop, or something fails that trying again does not mend.
    pub async fn run(&mut self) -> Result<()> {
        let mut patience = Patience::new(self.retry_for, self.watcher.clone(), self.ambient.clone());
        loop {
            if self.stop.wished() {
                return Ok(());
            }
            match self.attempt(&mut patience).await {
                Ok(Ended::Finished | Ended::Stopped) => return Ok(()),
                Ok(Ended::ClaimAgain) => {}
                Err(error) => {
                    let delay = patience.failed(error)?;
                    // Woken early or not, the loop looks at the wish to stop.
                    let _ = at_most(&*self.ambient, delay, self.stop.wished_for()).await;
                }
            }
        }
    }

    /// One attempt: claim, seek, and then epoch after epoch.
    async fn attempt(&mut self, patience: &mut Patience) -> Result<Ended> {
        let shards = self.shards_now();
        let mut ledger = self.claim(&shards).await?;
        let feed = self.seek(&ledger)?;
        let ended = self.commits(&mut ledger, &feed, &shards, patience).await;
        let returned = feed.stop();
        self.known = positions(&ledger);
        match (ended, returned) {
            (Ok(ended), Ok(loan)) => {
                self.loan = Some(loan);
                Ok(ended)
            }
            (Err(error), returned) => {
                self.loan = returned.ok();
                self.forget_where_unsure(&error);
                Err(self.with_choices(error, &ledger))
            }
            (Ok(_), Err(error)) => Err(error),
        }
    }

    /// The data path: next, propose, begin, write, commit, accept, report.
    async fn commits(
        &mut self,
        ledger: &mut Ledger,
        feed: &Feed,
        shards: &BTreeSet<ShardId>,
        patience: &mut Patience,
    ) -> Result<Ended> {
        let mut dead = closing::Tally::start(&mut *self.home, &self.settings, self.pipeline).await?;
        loop {
            let epoch = match self.next(feed, shards, patience).await? {
                Ok(epoch) => epoch,
                Err(ended) => return Ok(ended),
            };
            closing::refuse_stops(&epoch.work)?;
            let Epoch { mut work, step } = epoch;
            let started = self.ambient.instant();
            let advance = ledger.propose(step)?;
            let spans = spans(advance.step());
            let written = {
                let moved = drain(&self.stop, &*self.ambient, self.home.begin(Right::Advance(advance)));
                let Some(transaction) = moved.await else { return Ok(Ended::Stopped) };
                let mut transaction = transaction.map_err(explain)?;
                let writing = write(&mut *transaction, self.user_code.as_deref_mut(), &mut work);
                let Some(written) = drain(&self.stop, &*self.ambient, writing).await else {
                    return Ok(Ended::Stopped);
                };
                let written = written?;
                let closing = closing::close(&work, &written, &self.tables)?;
                dead.check(&closing)?;
                let Done::Advanced(committed) = transaction.commit(&closing).await.map_err(explain)? else {
                    return Err(Error::internal("a home answered an advance with a replay"));
                };
                ledger.accept(committed)?;
                crate::crash::point("after_accept");
                closing
            };
            patience.succeeded();
            self.tell(&spans, &written, self.ambient.instant() - started);
            feed.report(&ends(&spans));
        }
    }

    /// The next epoch; the inner `Err` says why there is none.
    async fn next(
        &mut self,
        feed: &Feed,
        shards: &BTreeSet<ShardId>,
        patience: &mut Patience,
    ) -> Result<Result<Epoch, Ended>> {
        let mut checked = self.ambient.instant();
        let mut trimmed = false;
        loop {
            if self.stop.wished() {
                return Ok(Err(Ended::Stopped));
            }
            if self.shards_now() != *shards {
                return Ok(Err(Ended::ClaimAgain));
            }
            match feed.next(IDLE_WAIT).await? {
                Next::Epoch(epoch) => return Ok(Ok(*epoch)),
                Next::Finished => return Ok(Err(Ended::Finished)),
                Next::Idle => patience.idle(),
            }
            if self.ambient.instant() - checked >= OWNED_CHECK {
                if !self.home.still_owned().await? {
                    return Ok(Err(Ended::ClaimAgain));
                }
                if !std::mem::replace(&mut trimmed, true) {
                    memory::give_back();
                }
                checked = self.ambient.instant();
            }
        }
    }

    async fn claim(&mut self, shards: &BTreeSet<ShardId>) -> Result<Ledger> {
        let request = ClaimRequest {
            pipeline: self.pipeline,
            shards: shards.iter().cloned().collect(),
            held: self.held.clone(),
            nonce: Nonce::new(self.ambient.random()),
            lane: self.index.to_string(),
        };
        let ledger = match self.home.claim(&request).await? {
            Claim::Owned(ledger) => ledger,
            Claim::Fenced { shard, found } => {
                return Err(fenced(&format!("shard {shard} is at generation {found}")));
            }
        };
        self.held = ledger.held();
        let claimed: Vec<_> = positions(&ledger).into_iter().collect();
        self.watcher.event(&Event::Claimed { lane: self.index, positions: &claimed });
        Ok(ledger)
    }

    /// Checks the sources where the ledger says something else than this process remembers, and starts to read.
    fn seek(&mut self, ledger: &Ledger) -> Result<Feed> {
        let mut loan = self.loan.take().ok_or_else(|| Error::internal("the sources of a lane were lost"))?;
        let rows: Vec<PositionRow> = ledger.positions().cloned().collect();
        if positions(ledger) != self.known
            && let Err(error) = verify(&mut loan, &self.names, &rows)
        {
            self.loan = Some(loan);
            return Err(error);
        }
        let tables = self.tables.iter().map(|table| table.name.clone()).collect();
        let handover = Arc::new(Handover::new(&self.settings, tables, self.ambient.clone()));
        let names = self.names.clone();
        let limits = feed::limits(&self.settings);
        let start = Start { rows, until: &self.until, names, handover, limits };
        Ok(Feed::start(loan, start, &self.drive))
    }

    /// Where reading met another log than the ledger's, says it as a start would: with the commands to choose from.
    fn with_choices(&mut self, error: Error, ledger: &Ledger) -> Error {
        let rows: Vec<PositionRow> = ledger.positions().cloned().collect();
        match &mut self.loan {
            Some(loan) if error.kind() == Kind::Identity => match verify(loan, &self.names, &rows) {
                Err(found) if found.kind() == Kind::Identity => found.note(error.message().to_owned()),
                _ => error,
            },
            _ => error,
        }
    }

    /// After trouble that may have come from a source, the next claim checks the sources again.
    fn forget_where_unsure(&mut self, error: &Error) {
        if error.code().as_str().starts_with("OF04") || error.code().as_str().starts_with("OF05") {
            self.known.clear();
        }
    }

    fn shards_now(&self) -> BTreeSet<ShardId> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, spans: &[(Partition, Span)], closing: &crate::home::Closing, took: Duration) {
        for letter in &closing.dead_letters {
            let record = closing::record_name(letter);
            let (code, reason) = (letter.code.as_str(), letter.reason.as_str());
            self.watcher.event(&Event::DeadLetter { code, reason, record: &record });
        }
        let rows = closing.tables.iter().map(|(_, written, ..)| written).sum();
        let counts = &closing.counts;
        self.watcher.event(&Event::Committed { lane: self.index, spans, counts, rows, took });
    }
}

/// Writes the rows of the tables, and then whatever the handler writes.
async fn write(
    transaction: &mut dyn Transaction,
    user_code: Option<&mut (dyn UserCode + 'static)>,
    work: &mut Work,
) -> Result<Written> {
    let mut written = transaction.write(work).await.map_err(explain)?;
    if let Some(user_code) = user_code {
        let Some(inside) = transaction.inside() else {
            return Err(Error::config(codes::OF1006, "a handler needs a home that keeps rows and ledger")
                .help("write into PostgreSQL or SQLite"));
        };
        written.aside = user_code.handle(inside, work).await?;
    }
    Ok(written)
}

/// Lets a step of a transaction go on for [`DRAIN_MAX`] after the wish to stop; `None` where it took longer. The transaction
/// is then dropped, which rolls it back.
async fn drain<T>(stop: &Stop, ambient: &dyn Ambient, step: impl Future<Output = T>) -> Option<T> {
    let too_late = async {
        stop.wished_for().await;
        ambient.sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        biased;
        answer = step => Some(answer),
        () = too_late => None,
    }
}

fn explain(error: CommitError) -> Error {
    match error {
        CommitError::Rejected(error) => error,
        CommitError::Fenced(error) if error.kind() == Kind::Fenced => error,
        CommitError::Fenced(error) => fenced(error.message()),
        CommitError::Unknown(error) => {
            Error::unavailable(error.code(), format!("the answer to COMMIT was lost: {}", error.message()))
                .note("the ledger is asked by a claim whether the commit took effect; COMMIT is never sent twice")
                .caused_by(error)
        }
    }
}

fn fenced(how: &str) -> Error {
    Error::new(Kind::Fenced, codes::OF0002, format!("another instance owns this pipeline now: {how}"))
        .note("the newest claim wins; this instance has committed nothing since and ends")
        .help("run a second instance with --standby if it is meant to wait")
}

/// Compares every source with the ledger.
fn verify(loan: &mut Loan, names: &[Arc<str>], rows: &[PositionRow]) -> Result<()> {
    for (source, name) in loan.sources.iter_mut().zip(names) {
        let own: Vec<_> = rows.iter().filter(|row| row.partition.source == *name).cloned().collect();
        let mismatches = source.verify(&own)?;
        if !mismatches.is_empty() {
            return Err(crate::run::identity::mismatch(&mismatches));
        }
    }
    Ok(())
}

fn positions(ledger: &Ledger) -> BTreeMap<Partition, Position> {
    ledger.positions().map(|row| (row.partition.clone(), row.next)).collect()
}

fn spans(step: &onceflow_core::Step) -> Vec<(Partition, Span)> {
    step.consumed.iter().map(|part| (part.partition.clone(), part.span)).collect()
}

fn ends(spans: &[(Partition, Span)]) -> Vec<(Partition, Position)> {
    spans.iter().map(|(partition, span)| (partition.clone(), span.to())).collect()
}

/// The records of a work, for messages.
pub fn records(work: &Work) -> u64 {
    work.parts.iter().map(|part| u64::from(part.len())).sum()
}
