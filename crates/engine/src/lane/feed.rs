//! Fetching and preparing ahead of the commit: one fetch thread a source, one prepare thread, all bounded.
//!
//! Owns the threads of one attempt. They end when the attempt does, and give back their sources and logic. Where a simulation
//! drives the lane, the same turns are taken on its bench instead ([`Drive`]).

use crate::error::{Error, Result};
use crate::lane::bench::{Bench, Turns};
use crate::lane::epoch::{Handover, Next, Prepared};
use crate::logic::{EpochClock, Logic};
use crate::pipeline::Settings;
use crate::record::Batch;
use crate::source::{FetchLimits, Source};
use onceflow_core::{Partition, Position, PositionRow};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Fetches that wait between the fetch threads and the prepare thread.
const QUEUE_FETCHES: usize = 2;
/// Records of one fetch.
const FETCH_RECORDS_MAX: usize = 10_000;
/// Records of one fetch where only groups are left of them: the more of them, the fewer groups a record.
const FETCH_GROUPED_MAX: usize = 40_000;
/// Bytes of one fetch, about.
const FETCH_BYTES_MAX: usize = 4 << 20;
/// How long one fetch waits for a first record.
const FETCH_WAIT_MAX: Duration = Duration::from_millis(100);
/// How long a full queue is waited for before the wish to stop is looked at again.
const QUEUE_WAIT: Duration = Duration::from_millis(5);

/// What a lane lends to the threads of an attempt.
pub struct Loan {
    /// The sources, by index.
    pub sources: Vec<Box<dyn Source>>,
    /// The logic.
    pub logic: Box<dyn Logic>,
}

/// Who takes the turns of fetching and preparing.
#[derive(Clone, Default)]
pub enum Drive {
    /// Threads of the attempt.
    #[default]
    Threads,
    /// Whoever sits at the bench, in the order of its choice and on one thread.
    Bench(Arc<dyn Bench>),
}

/// The running threads of one attempt.
pub struct Feed {
    handover: Arc<Handover>,
    durable: Vec<Mailbox>,
    names: Vec<Arc<str>>,
    hands: Hands,
}

/// What fetches and prepares.
enum Hands {
    Threads {
        fetchers: Vec<JoinHandle<Box<dyn Source>>>,
        preparer: JoinHandle<Box<dyn Logic>>,
    },
    Bench(Arc<Mutex<Turns>>),
    /// They were taken back.
    Rested,
}

type Mailbox = Arc<Mutex<Vec<(Partition, Position)>>>;
pub(super) type Parcel = (usize, Vec<Batch>);

/// What the threads of an attempt start from.
pub struct Start<'a> {
    /// Positions to read from.
    pub rows: Vec<PositionRow>,
    /// Where to end.
    pub until: &'a BTreeMap<Partition, Position>,
    /// The names of the sources, by index.
    pub names: Vec<Arc<str>>,
    /// Where epochs are handed over.
    pub handover: Arc<Handover>,
    /// How much one fetch may bring: never more than an epoch may have.
    pub limits: FetchLimits,
}

/// The limits of a fetch under the limits of an epoch.
pub fn limits(settings: &Settings) -> FetchLimits {
    let records_max = if settings.only_groups { FETCH_GROUPED_MAX } else { FETCH_RECORDS_MAX };
    FetchLimits {
        records_max: records_max.min(settings.rows_max()).max(1),
        bytes_max: FETCH_BYTES_MAX.min(settings.epoch_bytes_max).max(1),
        wait_max: FETCH_WAIT_MAX,
    }
}

impl Feed {
    /// Seeks every source and starts the threads, or leaves the turns on the bench.
    pub fn start(loan: Loan, start: Start<'_>, drive: &Drive) -> Self {
        let (sender, receiver) = sync_channel(QUEUE_FETCHES);
        let handover = start.handover.clone();
        let mut durable = Vec::new();
        let mut fetchers = Vec::new();
        for (index, source) in loan.sources.into_iter().enumerate() {
            let of_source = |partition: &Partition| partition.source == start.names[index];
            let rows = start.rows.iter().filter(|row| of_source(&row.partition)).cloned().collect();
            let until = start.until.iter().filter(|(partition, _)| of_source(partition));
            let until = until.map(|(partition, end)| (partition.clone(), *end)).collect();
            let mailbox = Mailbox::default();
            durable.push(mailbox.clone());
            let (sender, handover) = (sender.clone(), handover.clone());
            fetchers.push(Fetcher {
                index,
                source,
                rows,
                until,
                sender,
                handover,
                durable: mailbox,
                limits: start.limits,
            });
        }
        let preparer = Preparer { logic: loan.logic, receiver, handover: handover.clone() };
        let hands = match drive {
            Drive::Threads => Hands::Threads {
                preparer: spawn("prepare", move || preparer.run()),
                fetchers: fetchers.into_iter().map(|fetcher| spawn("fetch", move || fetcher.run())).collect(),
            },
            Drive::Bench(bench) => {
                let turns = Arc::new(Mutex::new(Turns::new(fetchers, preparer)));
                bench.sit(&turns);
                Hands::Bench(turns)
            }
        };
        Self { handover, durable, names: start.names, hands }
    }

    /// The next epoch, waiting for it at most so long. Cancel safe.
    pub async fn next(&self, at_most: Duration) -> Result<Next> {
        self.handover.next(at_most).await
    }

    /// Tells the sources how far the ledger has got.
    pub fn report(&self, durable: &[(Partition, Position)]) {
        for (name, mailbox) in self.names.iter().zip(&self.durable) {
            let own = durable.iter().filter(|(partition, _)| partition.source == *name).cloned();
            mailbox.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
        }
    }

    /// Ends the threads and takes back what was lent.
    pub fn stop(mut self) -> Result<Loan> {
        self.handover.close();
        let mut loan = std::mem::replace(&mut self.hands, Hands::Rested).rest()?;
        for (source, mailbox) in loan.sources.iter_mut().zip(&self.durable) {
            let late = std::mem::take(&mut *mailbox.lock().unwrap_or_else(PoisonError::into_inner));
            if !late.is_empty() {
                source.report(&late);
                crate::crash::point("after_report");
            }
        }
        Ok(loan)
    }
}

impl Hands {
    /// Waits for their end and takes back what they worked with.
    fn rest(self) -> Result<Loan> {
        match self {
            Self::Threads { fetchers, preparer } => {
                let panicked = |_| Error::internal("a fetch thread panicked");
                let sources = fetchers.into_iter().map(|fetcher| fetcher.join().map_err(panicked));
                let sources = sources.collect::<Result<_>>()?;
                let logic = preparer.join().map_err(|_| Error::internal("the prepare thread panicked"))?;
                Ok(Loan { sources, logic })
            }
            Self::Bench(turns) => turns.lock().unwrap_or_else(PoisonError::into_inner).rest(),
            Self::Rested => Err(Error::internal("a feed was stopped twice")),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.handover.close();
    }
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let thread = std::thread::Builder::new().name(format!("onceflow-{name}"));
    thread.spawn(run).expect("the system gives a thread to a process that has few")
}

/// One source's way into the queue.
pub(super) struct Fetcher {
    index: usize,
    source: Box<dyn Source>,
    rows: Vec<PositionRow>,
    until: BTreeMap<Partition, Position>,
    sender: SyncSender<Parcel>,
    handover: Arc<Handover>,
    durable: Mailbox,
    limits: FetchLimits,
}

impl Fetcher {
    fn run(mut self) -> Box<dyn Source> {
        if let Err(error) = self.fetch() {
            self.handover.fail(error);
        }
        self.end()
    }

    /// Reports what is still to be reported. The end is told to the preparer by dropping the sender.
    pub(super) fn end(mut self) -> Box<dyn Source> {
        self.report();
        self.source
    }

    /// Fetches until the lane closes the hand-over or the source is at its end.
    fn fetch(&mut self) -> Result<()> {
        self.seek()?;
        while !self.handover.is_closed() {
            let (parcel, finished) = self.next()?;
            if let Some(parcel) = parcel {
                self.send(parcel);
            }
            if finished {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The first turn: reads from the ledger's positions on.
    pub(super) fn seek(&mut self) -> Result<()> {
        self.source.seek(&self.rows, &self.until)?;
        crate::crash::point("after_seek");
        Ok(())
    }

    /// Every further turn: what the source gave, and whether it is at its end.
    pub(super) fn next(&mut self) -> Result<(Option<Parcel>, bool)> {
        self.report();
        let mut fetch = self.source.next(&self.limits)?;
        fetch.batches.retain(|batch| !batch.span.is_empty());
        if fetch.batches.is_empty() {
            return Ok((None, fetch.finished));
        }
        crate::crash::point("after_fetch");
        Ok((Some((self.index, fetch.batches)), fetch.finished))
    }

    fn send(&self, parcel: Parcel) {
        let mut parcel = parcel;
        while let Some(back) = self.try_send(parcel) {
            parcel = back;
            if self.handover.is_closed() {
                return;
            }
            std::thread::park_timeout(QUEUE_WAIT);
        }
    }

    /// Puts a parcel into the queue, or gives it back where the queue is full.
    pub(super) fn try_send(&self, parcel: Parcel) -> Option<Parcel> {
        match self.sender.try_send(parcel) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
            Err(TrySendError::Full(back)) => Some(back),
        }
    }

    fn report(&mut self) {
        let durable = std::mem::take(&mut *self.durable.lock().unwrap_or_else(PoisonError::into_inner));
        if !durable.is_empty() {
            self.source.report(&durable);
            crate::crash::point("after_report");
        }
    }
}

/// The way from the queue into the hand-over.
pub(super) struct Preparer {
    pub(super) logic: Box<dyn Logic>,
    pub(super) receiver: Receiver<Parcel>,
    pub(super) handover: Arc<Handover>,
}

impl Preparer {
    fn run(mut self) -> Box<dyn Logic> {
        while let Ok(parcel) = self.receiver.recv() {
            let added = self.prepare(parcel).and_then(|(prepared, clock)| self.handover.add(prepared, clock));
            match added {
                Ok(true) => {}
                Ok(false) => return self.logic,
                Err(error) => {
                    self.handover.fail(error);
                    return self.logic;
                }
            }
        }
        self.handover.finish();
        self.logic
    }

    /// Computes what a parcel changes.
    pub(super) fn prepare(&mut self, (source, batches): Parcel) -> Result<(Prepared, EpochClock)> {
        let clock = self.handover.clock();
        let part = self.logic.prepare(source, batches, &clock)?;
        crate::crash::point("after_prepare");
        Ok((self.handover.prepared(part), clock))
    }
}
