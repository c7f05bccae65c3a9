//! A pipeline that runs: looking at it, waiting for it, stopping it.

use crate::error::{Error, Result};
use crate::into::{self, Target};
use crate::outbox::relay::{Phase, Relay};
use crate::pipeline::{Chosen, Ready};
use onceflow_engine as engine;
use onceflow_engine::changes::TableSpec;
use onceflow_engine::core::{Partition, Position};
use onceflow_engine::run::RunOptions;
use onceflow_engine::run::observe::{Event, Observer};
use onceflow_engine::run::stop::Stop;
use onceflow_engine::source::SourceFactory;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// A database that cannot be reached when the target is looked up is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// Counts of a run, since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Transactions committed.
    pub commits: u64,
    /// Records that they moved over.
    pub records: u64,
    /// Of these, the ones of which a handler got something.
    pub used: u64,
    /// Of these, the ones of which nothing was left by decoder, filters and maps.
    pub filtered: u64,
    /// Of these, the ones that became dead letters.
    pub dead: u64,
    /// How often something did not work and was tried again.
    pub troubles: u64,
    /// What does not work just now, in words.
    pub trouble: Option<String>,
    /// Messages of the outbox that were delivered.
    pub delivered: u64,
    /// Messages that were refused for good: compensated, or dead letters.
    pub refused: u64,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that were committed.
    pub committed: u64,
    /// Records that became dead letters.
    pub dead: u64,
    /// Messages of the outbox that were delivered.
    pub delivered: u64,
    /// Messages that were refused for good: compensated, or dead letters.
    pub refused: u64,
    /// Whether another instance took the pipeline over. This one committed nothing since.
    pub fenced: bool,
}

/// A running pipeline. Dropping it stops the pipeline in good order, without waiting for the end.
pub struct Handle {
    seen: Arc<Seen>,
    stop: Stop,
    /// Whether the user wished the end; the engine wishes it too where a lane has failed.
    asked: Arc<AtomicBool>,
    sources: Vec<Arc<dyn SourceFactory>>,
    ended: Option<oneshot::Receiver<engine::Result<()>>>,
}

/// What was seen of a run.
#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    moved: Notify,
    relay: Option<Relay>,
}

#[derive(Default)]
struct State {
    metrics: Metrics,
    positions: BTreeMap<Partition, Position>,
    over: bool,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Seen {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.lock();
        match event {
            Event::Claimed { positions, .. } => state.positions.extend(positions.iter().cloned()),
            Event::Committed { spans, counts, .. } => {
                state.positions.extend(spans.iter().map(|(partition, span)| (partition.clone(), span.to())));
                let metrics = &mut state.metrics;
                metrics.commits += 1;
                metrics.records += counts.records;
                metrics.used += counts.used;
                metrics.filtered += counts.filtered;
                metrics.dead += counts.dead;
            }
            Event::Trouble { error } => {
                state.metrics.troubles += 1;
                state.metrics.trouble = Some(format!("{}: {error}", error.code()));
            }
            Event::Over { .. } => state.metrics.trouble = None,
            Event::Registered { home, notices } => {
                notices.iter().for_each(|notice| tracing::info!(home, "{notice}"));
            }
            _ => {}
        }
        drop(state);
        if let (Some(relay), Event::Claimed { .. } | Event::Committed { .. }) = (&self.relay, event) {
            relay.moved();
        }
        self.moved.notify_waiters();
    }
}

impl Handle {
    pub(crate) fn start(ready: Ready) -> Result<Self> {
        let chosen = ready.choose()?;
        let relay = match chosen.channels.is_empty() {
            true => None,
            false => Some(Relay::start(chosen.name(), chosen.home.clone(), chosen.channels.clone())?),
        };
        let (seen, stop) = (Arc::new(Seen { relay, ..Seen::default() }), Stop::new());
        let options = RunOptions {
            until_caught_up: chosen.until_caught_up,
            adopt: chosen.adopt(),
            standby: chosen.standby,
            retry_for: chosen.retry_for,
            stop: stop.clone(),
            watcher: seen.clone(),
            ..RunOptions::default()
        };
        let (sender, ended) = oneshot::channel();
        let (watched, sources) = (seen.clone(), chosen.sources());
        let asked = Arc::new(AtomicBool::new(false));
        let stopping = asked.clone();
        let run = move || {
            let result = run(chosen, &options);
            watched.lock().over = true;
            watched.moved.notify_waiters();
            if let Some(relay) = &watched.relay {
                relay.end(if result.is_ok() && !stopping.load(Ordering::SeqCst) {
                    Phase::Draining
                } else {
                    Phase::Stopping
                });
                relay.join();
            }
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        };
        let thread = std::thread::Builder::new().name("onceflow".to_owned());
        thread.spawn(run).map_err(|error| engine::Error::internal("no thread for a pipeline").caused_by(error))?;
        Ok(Self { seen, stop, asked, sources, ended: Some(ended) })
    }

    /// What was committed and what went wrong so far.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.seen.lock().metrics.clone();
        if let Some(relay) = &self.seen.relay {
            let counts = relay.counts();
            metrics.delivered = counts.delivered.load(Ordering::SeqCst);
            metrics.refused = counts.refused.load(Ordering::SeqCst);
            metrics.trouble = metrics.trouble.or_else(|| counts.trouble());
        }
        metrics
    }

    /// Up to where each partition is committed: `(topic, partition)` to the next offset. Empty before the first claim.
    pub fn positions(&self) -> BTreeMap<(String, u32), u64> {
        let state = self.seen.lock();
        let position = |(partition, position): (&Partition, &Position)| {
            ((partition.topic.to_string(), partition.number), position.get())
        };
        state.positions.iter().map(position).collect()
    }

    /// How many offsets lie between what is committed and what the source has now, over all partitions. Asks the source.
    pub async fn lag(&self) -> Result<u64> {
        let ends = self.ends().await?;
        let state = self.seen.lock();
        let behind = |(partition, end): (&Partition, &Position)| {
            end.get().saturating_sub(state.positions.get(partition).map_or(0, |position| position.get()))
        };
        Ok(ends.iter().map(behind).sum())
    }

    /// Waits until everything is committed that the source had when this was called. An error where the pipeline ends before that;
    /// the reason is in [`Handle::ended`].
    pub async fn caught_up(&self) -> Result<()> {
        let ends = self.ends().await?;
        loop {
            let moved = self.seen.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            {
                let state = self.seen.lock();
                let there = |(partition, end): (&Partition, &Position)| {
                    end.get() == 0 || state.positions.get(partition).is_some_and(|position| position >= end)
                };
                if ends.iter().all(there) {
                    return Ok(());
                }
                if state.over {
                    return Err(Error::stop("the pipeline ended before it had caught up"));
                }
            }
            moved.await;
        }
    }

    /// Where the source's partitions end now.
    async fn ends(&self) -> Result<BTreeMap<Partition, Position>> {
        let sources = self.sources.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let mut ends = BTreeMap::new();
            for source in sources {
                let mut source = source.open()?;
                let partitions: Vec<_> = source.discover()?.into_iter().map(|found| found.partition).collect();
                ends.extend(source.ends(&partitions)?);
            }
            Ok::<_, engine::Error>(ends)
        });
        Ok(asked.await??)
    }

    /// Whether the pipeline has ended, for whatever reason; [`Handle::ended`] tells it.
    pub fn has_ended(&self) -> bool {
        self.seen.lock().over
    }

    /// Wishes the pipeline to stop: a transaction in flight is committed or rolled back within ten seconds.
    pub fn wish(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.stop.wish();
        if let (Some(relay), true) = (&self.seen.relay, self.seen.lock().over) {
            relay.end(Phase::Stopping);
        }
    }

    /// Waits for the end of the pipeline. Cancel safe.
    pub async fn ended(&mut self) -> Result<Report> {
        let Some(ended) = &mut self.ended else { return Err(Error::stop("the pipeline's end was told already")) };
        let result = ended.await;
        self.ended = None;
        let result = result.unwrap_or_else(|_| Err(engine::Error::internal("the pipeline's thread panicked")));
        let metrics = self.metrics();
        let fenced = matches!(&result, Err(error) if error.kind() == engine::Kind::Fenced);
        match result {
            Err(error) if !fenced || !self.asked.load(Ordering::SeqCst) => Err(error.into()),
            _ => Ok(Report {
                committed: metrics.records,
                dead: metrics.dead,
                delivered: metrics.delivered,
                refused: metrics.refused,
                fenced,
            }),
        }
    }

    /// Stops the pipeline and waits for its end.
    pub async fn shutdown(mut self) -> Result<Report> {
        self.wish();
        self.ended().await
    }
}

/// Looks up what has to be known of the target, and runs the pipeline.
fn run(chosen: Chosen, options: &RunOptions) -> engine::Result<()> {
    let table = match chosen.target() {
        Some(target) => match engine::run::on_this_thread(looked_up(target, &chosen, options))?? {
            Some(table) => Some(table),
            None => return Ok(()),
        },
        None => None,
    };
    engine::run::run(&chosen.build(table), options)
}

/// The target table; `None` where the pipeline was stopped meanwhile. A database that cannot be reached is tried again.
async fn looked_up(target: &Target, chosen: &Chosen, options: &RunOptions) -> engine::Result<Option<TableSpec>> {
    let began = Instant::now();
    let mut in_trouble = false;
    while !options.stop.wished() {
        match into::resolve(target, &chosen.home).await {
            Err(error)
                if error.kind() == engine::Kind::Unavailable
                    && chosen.retry_for.is_none_or(|most| began.elapsed() < most) =>
            {
                options.watcher.event(&Event::Trouble { error: &error });
                in_trouble = true;
                tokio::time::sleep(AGAIN).await;
            }
            resolved => {
                if in_trouble {
                    options.watcher.event(&Event::Over { after: began.elapsed() });
                }
                return resolved.map(Some);
            }
        }
    }
    Ok(None)
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.wish();
    }
}

/// SIGINT and SIGTERM, one after the other.
pub(crate) struct Signals(Option<[(i32, tokio::signal::unix::Signal); 2]>);

impl Signals {
    /// Listens from now on. Where that is not possible, the signals end the process as they always do.
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        let [interrupt, terminate] = kinds.map(|kind| signal(kind).ok().map(|signal| (kind.as_raw_value(), signal)));
        Self(interrupt.zip(terminate).map(|(interrupt, terminate)| [interrupt, terminate]))
    }

    /// The number of the next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> i32 {
        let Some([(interrupt, interrupts), (terminate, terminates)]) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupts.recv() => *interrupt,
            _ = terminates.recv() => *terminate,
        }
    }
}
