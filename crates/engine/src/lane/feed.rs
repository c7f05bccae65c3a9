//! Fetching and preparing ahead of the commit: one fetch thread a source, one prepare thread, all bounded.
//!
//! Owns the threads of one attempt. They end when the attempt does, and give back their sources and logic.

use crate::error::{Error, Result};
use crate::lane::epoch::{Handover, Next, Prepared};
use crate::logic::Logic;
use crate::pipeline::Settings;
use crate::record::Batch;
use crate::run::ambient::Ambient;
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

/// The running threads of one attempt.
pub struct Feed {
    handover: Arc<Handover>,
    durable: Vec<Mailbox>,
    names: Vec<Arc<str>>,
    fetchers: Vec<JoinHandle<Box<dyn Source>>>,
    preparer: Option<JoinHandle<Box<dyn Logic>>>,
}

type Mailbox = Arc<Mutex<Vec<(Partition, Position)>>>;
type Parcel = (usize, Vec<Batch>);

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
    /// Time and chance.
    pub ambient: Arc<dyn Ambient>,
    /// How much one fetch may bring: never more than an epoch may have.
    pub limits: FetchLimits,
}

/// The limits of a fetch under the limits of an epoch.
pub fn limits(settings: &Settings) -> FetchLimits {
    FetchLimits {
        records_max: FETCH_RECORDS_MAX.min(settings.epoch_rows_max).max(1),
        bytes_max: FETCH_BYTES_MAX.min(settings.epoch_bytes_max).max(1),
        wait_max: FETCH_WAIT_MAX,
    }
}

impl Feed {
    /// Seeks every source and starts the threads.
    pub fn start(loan: Loan, start: Start<'_>) -> Self {
        let (sender, receiver) = sync_channel(QUEUE_FETCHES);
        let mut feed = Self {
            handover: start.handover,
            durable: Vec::new(),
            names: start.names,
            fetchers: Vec::new(),
            preparer: None,
        };
        let ambient = start.ambient;
        let handover = feed.handover.clone();
        feed.preparer = Some(spawn("prepare", move || prepare(loan.logic, &receiver, &handover, ambient.as_ref())));
        for (index, source) in loan.sources.into_iter().enumerate() {
            let of_source = |partition: &Partition| partition.source == feed.names[index];
            let rows: Vec<_> = start.rows.iter().filter(|row| of_source(&row.partition)).cloned().collect();
            let until = start.until.iter().filter(|(partition, _)| of_source(partition));
            let until = until.map(|(partition, end)| (partition.clone(), *end)).collect();
            let mailbox = Mailbox::default();
            feed.durable.push(mailbox.clone());
            let fetcher = Fetcher {
                index,
                source,
                sender: sender.clone(),
                handover: feed.handover.clone(),
                durable: mailbox,
                limits: start.limits,
            };
            feed.fetchers.push(spawn("fetch", move || fetcher.run(&rows, &until)));
        }
        feed
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
        let mut sources = Vec::new();
        for (fetcher, mailbox) in self.fetchers.drain(..).zip(&self.durable) {
            let mut source = fetcher.join().map_err(|_| Error::internal("a fetch thread panicked"))?;
            let late = std::mem::take(&mut *mailbox.lock().unwrap_or_else(PoisonError::into_inner));
            if !late.is_empty() {
                source.report(&late);
                crate::crash::point("after_report");
            }
            sources.push(source);
        }
        let preparer = self.preparer.take().expect("taken only here");
        let logic = preparer.join().map_err(|_| Error::internal("the prepare thread panicked"))?;
        Ok(Loan { sources, logic })
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

struct Fetcher {
    index: usize,
    source: Box<dyn Source>,
    sender: SyncSender<Parcel>,
    handover: Arc<Handover>,
    durable: Mailbox,
    limits: FetchLimits,
}

impl Fetcher {
    fn run(mut self, rows: &[PositionRow], until: &BTreeMap<Partition, Position>) -> Box<dyn Source> {
        if let Err(error) = self.fetch(rows, until) {
            self.handover.fail(error);
        }
        self.report();
        self.source
    }

    /// Fetches until the lane closes the hand-over or the source is at its end; an end is told by dropping the sender.
    fn fetch(&mut self, rows: &[PositionRow], until: &BTreeMap<Partition, Position>) -> Result<()> {
        self.source.seek(rows, until)?;
        crate::crash::point("after_seek");
        while !self.handover.is_closed() {
            self.report();
            let mut fetch = self.source.next(&self.limits)?;
            fetch.batches.retain(|batch| !batch.span.is_empty());
            if !fetch.batches.is_empty() {
                crate::crash::point("after_fetch");
                self.send((self.index, fetch.batches));
            }
            if fetch.finished {
                return Ok(());
            }
        }
        Ok(())
    }

    fn send(&self, parcel: Parcel) {
        let mut parcel = parcel;
        loop {
            match self.sender.try_send(parcel) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => parcel = back,
            }
            if self.handover.is_closed() {
                return;
            }
            std::thread::park_timeout(QUEUE_WAIT);
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

fn prepare(
    mut logic: Box<dyn Logic>,
    receiver: &Receiver<Parcel>,
    handover: &Handover,
    ambient: &dyn Ambient,
) -> Box<dyn Logic> {
    while let Ok((source, batches)) = receiver.recv() {
        let clock = handover.clock(ambient);
        let added = logic.prepare(source, batches, &clock).and_then(|part| {
            crate::crash::point("after_prepare");
            handover.add(Prepared::new(part), clock)
        });
        match added {
            Ok(true) => {}
            Ok(false) => return logic,
            Err(error) => {
                handover.fail(error);
                return logic;
            }
        }
    }
    handover.finish();
    logic
}
