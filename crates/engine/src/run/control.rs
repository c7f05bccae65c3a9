//! The control of one branch: register, stand by, found, start lanes, look for new partitions, end.

use crate::codes;
use crate::error::{Error, Result};
use crate::home::{Home, Registration};
use crate::lane::feed::Loan;
use crate::lane::{Lane, Shards};
use crate::pipeline::{Branch, Pipeline};
use crate::run::ambient::at_most;
use crate::run::observe::Event;
use crate::run::retry::Patience;
use crate::run::{RunOptions, first_error, identity, on_this_thread};
use crate::source::{Found, Source};
use onceflow_core::{Partition, PipelineId, Position, PositionRow, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How often control looks whether lanes have ended and somebody wishes to stop.
const TICK: Duration = Duration::from_millis(100);

/// How long to wait between two looks for another instance.
const STANDBY_WAIT: Duration = Duration::from_millis(500);

/// The control of one branch.
pub struct Control<'a> {
    pipeline: &'a Pipeline,
    branch: &'a Branch,
    options: &'a RunOptions,
    names: Vec<Arc<str>>,
}

/// What a start has found out.
struct Started {
    pipeline: PipelineId,
    partitions: BTreeSet<Partition>,
    until: BTreeMap<Partition, Position>,
    sources: Vec<Box<dyn Source>>,
    home: Box<dyn Home>,
}

struct Running {
    lanes: Vec<Shards>,
    ended: Receiver<Result<()>>,
    threads: usize,
}

impl<'a> Control<'a> {
    /// The control of a branch of a pipeline.
    pub fn new(pipeline: &'a Pipeline, branch: &'a Branch, options: &'a RunOptions) -> Self {
        let names = branch.sources.iter().map(|source| Arc::from(source.name())).collect();
        Self { pipeline, branch, options, names }
    }

    /// Runs the branch to its end.
    pub async fn run(&self) -> Result<()> {
        let Some(started) = self.start_patiently().await? else { return Ok(()) };
        if started.partitions.is_empty() && self.is_bounded(&started) {
            return Ok(());
        }
        let running = self.start_lanes(&started)?;
        self.watch(started, running).await
    }

    /// Starts, and tries again while a system does not work; `None` where somebody wished to stop meanwhile.
    async fn start_patiently(&self) -> Result<Option<Started>> {
        let mut patience =
            Patience::new(self.options.retry_for, self.options.watcher.clone(), self.options.ambient.clone());
        while !self.options.stop.wished() {
            match self.start().await {
                Ok(started) => {
                    patience.succeeded();
                    return Ok(started);
                }
                Err(error) => {
                    let delay = patience.failed(error)?;
                    // Woken early or not, the loop looks at the wish to stop.
                    let _ = at_most(&*self.options.ambient, delay, self.options.stop.wished_for()).await;
                }
            }
        }
        Ok(None)
    }

    async fn start(&self) -> Result<Option<Started>> {
        let mut sources = self.open_sources()?;
        let found = discover(&mut sources)?;
        let mut home = self.branch.home.open(self.branch.tables.clone())?;
        let registered = home.register(&self.registration()).await?;
        let at = self.branch.home.describe();
        self.options.watcher.event(&Event::Registered { home: &at, notices: &registered.notices });
        if self.options.standby && !self.stand_by(&mut *home, registered.pipeline).await? {
            return Ok(None);
        }
        let partitions = self.found(&mut *home, registered.pipeline, &mut sources, found, true).await?;
        let until = self.until(&mut sources, &partitions)?;
        Ok(Some(Started { pipeline: registered.pipeline, partitions, until, sources, home }))
    }

    fn registration(&self) -> Registration {
        Registration {
            name: self.pipeline.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: self.pipeline.fingerprint.clone(),
            wiring: self.branch.wiring.clone(),
            tables: self.branch.tables.to_vec(),
            adopt: self.options.adopt,
            auto_create: self.pipeline.settings.auto_create,
            accept_wiring: self.options.accept_wiring,
        }
    }

    /// Waits for the other instance to be gone; `false` where somebody wished to stop first.
    async fn stand_by(&self, home: &mut dyn Home, pipeline: PipelineId) -> Result<bool> {
        let mut said = false;
        while !self.options.stop.wished() {
            if home.absent(pipeline).await? {
                return Ok(true);
            }
            if !std::mem::replace(&mut said, true) {
                self.options.watcher.event(&Event::StandingBy);
            }
            // Elapsed or woken, the loop looks at the wish to stop.
            let _ = at_most(&*self.options.ambient, STANDBY_WAIT, self.options.stop.wished_for()).await;
        }
        Ok(false)
    }

    fn open_sources(&self) -> Result<Vec<Box<dyn Source>>> {
        self.branch.sources.iter().map(|source| source.open()).collect()
    }

    /// Founds partitions that the ledger does not know: at their first positions where their whole source is new, at their
    /// beginnings where it is not or where the pipeline is already running. Returns all that exist.
    async fn found(
        &self,
        home: &mut dyn Home,
        pipeline: PipelineId,
        sources: &mut [Box<dyn Source>],
        found: Vec<Vec<Found>>,
        first: bool,
    ) -> Result<BTreeSet<Partition>> {
        let known = home.positions(pipeline).await?;
        let mut rows = Vec::new();
        for ((source, name), found) in sources.iter_mut().zip(&self.names).zip(found) {
            compare(&mut **source, &known, &found)?;
            let new = unknown(&known, found);
            let partitions: Vec<_> = new.iter().map(|found| found.partition.clone()).collect();
            let whole = first && !known.iter().any(|row| row.partition.source == *name);
            let positions = if whole { source.initial(&partitions)? } else { source.beginnings(&partitions)? };
            for found in new {
                rows.push(founding(found, &positions)?);
            }
        }
        if !rows.is_empty() {
            home.found(pipeline, &rows).await?;
            self.options.watcher.event(&Event::Founded { partitions: rows.len() });
        }
        let known = known.iter().filter(|row| self.names.contains(&row.partition.source));
        let all = known.chain(&rows).map(|row| row.partition.clone());
        Ok(all.collect())
    }

    /// Where to end: by the sources' own bounds, and at the present ends with `--until-caught-up`.
    fn until(
        &self,
        sources: &mut [Box<dyn Source>],
        partitions: &BTreeSet<Partition>,
    ) -> Result<BTreeMap<Partition, Position>> {
        let mut until = BTreeMap::new();
        for (source, name) in sources.iter_mut().zip(&self.names) {
            let own: Vec<_> = partitions.iter().filter(|partition| partition.source == *name).cloned().collect();
            let bound = source.bound(&own)?;
            let ends = match bound {
                Some(bound) => bound,
                None if self.options.until_caught_up => source.ends(&own)?,
                None => continue,
            };
            until.extend(ends);
        }
        let offsets = until.values().map(|end| end.get()).sum();
        if !until.is_empty() {
            self.options.watcher.event(&Event::Bounded { offsets });
        }
        Ok(until)
    }

    /// Whether every source ends by itself, so that no partition will appear.
    fn is_bounded(&self, started: &Started) -> bool {
        self.options.until_caught_up
            || !started.until.is_empty()
            || self.branch.sources.iter().all(|source| source.discovery_interval().is_none())
    }

    /// Starts, and makes the lanes for somebody else to run.
    pub async fn lanes(&self) -> Result<Option<Vec<Lane>>> {
        let Some(started) = self.start_patiently().await? else { return Ok(None) };
        let lanes = self.hand_out(&started).into_iter().enumerate();
        lanes.map(|(index, shards)| self.lane(index, shards, &started)?()).collect::<Result<_>>().map(Some)
    }

    /// Every shard to one lane.
    fn hand_out(&self, started: &Started) -> Vec<Shards> {
        let count = self.pipeline.settings.lanes.clamp(1, started.partitions.len().max(1));
        let lanes: Vec<Shards> = (0..count).map(|_| Shards::default()).collect();
        for (index, partition) in started.partitions.iter().enumerate() {
            give(&lanes[index % count], partition.own_shard());
        }
        lanes
    }

    fn start_lanes(&self, started: &Started) -> Result<Running> {
        let lanes = self.hand_out(started);
        let (sender, ended) = channel();
        for (index, shards) in lanes.iter().enumerate() {
            self.start_lane(index, shards.clone(), started, sender.clone())?;
        }
        let threads = lanes.len();
        Ok(Running { lanes, ended, threads })
    }

    /// What makes a lane on the thread that will run it: its session with the home stays there.
    fn lane(
        &self,
        index: usize,
        shards: Shards,
        started: &Started,
    ) -> Result<impl FnOnce() -> Result<Lane> + Send + use<>> {
        let factory = self.branch.home.clone();
        let tables = self.branch.tables.clone();
        let loan = Loan { sources: self.open_sources()?, logic: self.branch.logic.build()? };
        let (pipeline, until) = (started.pipeline, started.until.clone());
        let user_code = self.branch.user_code.clone();
        let names = self.names.clone();
        let settings = self.pipeline.settings.for_branch(&tables, self.branch.logic.only_groups());
        let options = self.options.clone();
        Ok(move || {
            let home = factory.open(tables.clone())?;
            Ok(Lane {
                index,
                pipeline,
                shards,
                until,
                home,
                loan: Some(loan),
                user_code: user_code.map(|code| code.build()),
                names,
                tables,
                settings,
                stop: options.stop,
                watcher: options.watcher,
                ambient: options.ambient,
                drive: options.drive,
                retry_for: options.retry_for,
                held: BTreeMap::new(),
                known: BTreeMap::new(),
            })
        })
    }

    fn start_lane(&self, index: usize, shards: Shards, started: &Started, ended: Sender<Result<()>>) -> Result<()> {
        let make = self.lane(index, shards, started)?;
        let run = move || -> Result<()> {
            let mut lane = make()?;
            on_this_thread(async move { lane.run().await })?
        };
        let guarded = move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            let result = result.unwrap_or_else(|_| Err(Error::internal("a lane panicked")));
            // Control may have ended already; then nobody waits for this answer.
            let _ = ended.send(result);
        };
        let thread = std::thread::Builder::new().name(format!("onceflow-lane-{index}"));
        thread.spawn(guarded).map_err(|error| Error::internal("no thread for a lane").caused_by(error))?;
        Ok(())
    }

    /// Waits for the lanes, and gives them new partitions meanwhile. The first lane that fails stops the others.
    async fn watch(&self, mut started: Started, running: Running) -> Result<()> {
        let interval = self.branch.sources.iter().filter_map(|source| source.discovery_interval()).min();
        let interval = interval.filter(|_| started.until.is_empty());
        let mut looked = Instant::now();
        let mut results = Vec::new();
        while results.len() < running.threads {
            match running.ended.recv_timeout(TICK) {
                Ok(result) => {
                    if result.is_err() {
                        self.options.stop.wish();
                    }
                    results.push(result);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    results.push(Err(Error::internal("a lane ended without a word")));
                    break;
                }
            }
            if interval.is_some_and(|interval| looked.elapsed() >= interval) && !self.options.stop.wished() {
                if let Err(error) = self.look(&mut started, &running).await {
                    results.push(Err(error));
                    self.options.stop.wish();
                }
                looked = Instant::now();
            }
        }
        first_error(results)
    }

    /// Looks for new partitions once. Trouble that may pass is left to the lanes, which meet it as well.
    async fn look(&self, started: &mut Started, running: &Running) -> Result<()> {
        let looked = match discover(&mut started.sources) {
            Ok(found) => self.found(&mut *started.home, started.pipeline, &mut started.sources, found, false).await,
            Err(error) => Err(error),
        };
        let all = match looked {
            Err(error) if error.kind() == crate::Kind::Unavailable => {
                tracing::debug!(code = %error.code(), "looking for partitions: {error}");
                started.home = self.branch.home.open(self.branch.tables.clone())?;
                return Ok(());
            }
            other => other?,
        };
        for partition in all.difference(&started.partitions) {
            let smallest = running.lanes.iter().min_by_key(|lane| size(lane)).expect("there is at least one lane");
            give(smallest, partition.own_shard());
        }
        started.partitions = all;
        Ok(())
    }
}

/// What every source has now, by source.
fn discover(sources: &mut [Box<dyn Source>]) -> Result<Vec<Vec<Found>>> {
    sources.iter_mut().map(|source| source.discover()).collect()
}

fn give(lane: &Shards, shard: ShardId) {
    lane.lock().unwrap_or_else(PoisonError::into_inner).insert(shard);
}

fn size(lane: &Shards) -> usize {
    lane.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Compares what exists with what the ledger remembers of it. Where an identity reads differently, the source itself says
/// whether it still is the same log: a file's identity covers more of it as it grows.
fn compare(source: &mut dyn Source, known: &[PositionRow], found: &[Found]) -> Result<()> {
    let found: BTreeMap<_, _> = found.iter().map(|found| (&found.partition, &found.identity)).collect();
    let differs = |row: &&PositionRow| found.get(&row.partition).is_some_and(|identity| row.identity != **identity);
    let different: Vec<_> = known.iter().filter(differs).cloned().collect();
    if different.is_empty() {
        return Ok(());
    }
    let mismatches = source.verify(&different)?;
    if mismatches.is_empty() { Ok(()) } else { Err(identity::mismatch(&mismatches)) }
}

fn unknown(known: &[PositionRow], found: Vec<Found>) -> Vec<Found> {
    let known: BTreeSet<_> = known.iter().map(|row| &row.partition).collect();
    found.into_iter().filter(|found| !known.contains(&found.partition)).collect()
}

fn founding(found: Found, positions: &BTreeMap<Partition, Position>) -> Result<PositionRow> {
    let Some(next) = positions.get(&found.partition).copied() else {
        let message = format!("the source did not say where {} begins", found.partition);
        return Err(Error::unavailable(codes::OF0017, message));
    };
    Ok(PositionRow {
        shard: found.partition.own_shard(),
        partition: found.partition,
        identity: found.identity,
        next,
        leader_epoch: None,
        tail: None,
        watermark: None,
    })
}
