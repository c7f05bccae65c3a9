//! Processes: lives of instances of the pipeline. Each runs the engine's own start and its own lanes, as one future.
//!
//! A process that is killed is dropped with everything in memory; one that is stopped is not polled until it is resumed, while
//! its messages travel on.

use super::bank::{Bank, tables};
use super::chance::Chance;
use super::home::SimHomes;
use super::source::SimSources;
use super::world::{Event, Process, Seat, Shared, Simulated, lock};
use onceflow::lane::Lane;
use onceflow::lane::bench::{Bench, Turns};
use onceflow::lane::feed::Drive;
use onceflow::pipeline::{Branch, Pipeline, Settings};
use onceflow::run::observe::{Event as Told, Observer};
use onceflow::run::stop::Stop;
use onceflow::run::{RunOptions, lanes};
use onceflow::source::SourceFactory;
use onceflow::{Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// A life of an instance.
pub(super) struct Life {
    pub(super) stopped: bool,
    pub(super) stop: Stop,
    woken: Arc<Woken>,
    future: Pin<Box<dyn Future<Output = Result<()>>>>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Life {
    /// Starts a process. `last` reads to the ends that the logs have now, and ends there.
    pub(super) fn start(world: &Shared, process: Process, chance: Chance, last: bool) -> Self {
        let stop = Stop::new();
        let options = RunOptions {
            until_caught_up: last,
            stop: stop.clone(),
            watcher: Arc::new(Watch { world: world.clone(), process }),
            ambient: Arc::new(Simulated { world: world.clone(), chance: Mutex::new(chance) }),
            drive: Drive::Bench(Arc::new(Table { world: world.clone(), process })),
            ..RunOptions::default()
        };
        let pipeline = pipeline(world, process);
        let future = Box::pin(async move {
            let started = lanes(&pipeline, &pipeline.branches[0], &options).await?;
            Lanes::of(started.unwrap_or_default(), &options.stop).await
        });
        Self { stopped: false, stop, woken: Arc::new(Woken(AtomicBool::new(true))), future }
    }

    /// Goes on, if something woke it; how it ended, if it did.
    pub(super) fn go_on(&mut self) -> Option<Result<()>> {
        if self.stopped || !self.woken.0.swap(false, Ordering::SeqCst) {
            return None;
        }
        let waker = Waker::from(self.woken.clone());
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        }
    }
}

fn pipeline(world: &Shared, process: Process) -> Pipeline {
    let held = lock(world);
    let faults = &held.faults;
    let settings = Settings {
        epoch_rows_max: Some(faults.epoch_rows),
        epoch_interval_max: faults.interval,
        lanes: faults.lanes,
        ..Settings::default()
    };
    let source = |name: &Arc<str>| {
        Arc::new(SimSources { world: world.clone(), process, name: name.clone() }) as Arc<dyn SourceFactory>
    };
    let branch = Branch {
        home: Arc::new(SimHomes { world: world.clone(), process }),
        sources: held.broker.sources.iter().map(source).collect(),
        tables: Arc::new(tables()),
        logic: Arc::new(Bank),
        user_code: None,
        wiring: String::new(),
        operators: Vec::new(),
    };
    Pipeline {
        name: "bank".to_owned(),
        fingerprint: String::new(),
        settings,
        branches: vec![branch],
        warnings: Vec::new(),
    }
}

type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

/// All lanes of a process, side by side. The first that fails stops the others.
struct Lanes {
    running: Vec<Running>,
    failed: Option<Error>,
    stop: Stop,
}

impl Lanes {
    fn of(lanes: Vec<Lane>, stop: &Stop) -> Self {
        let run = |mut lane: Lane| Box::pin(async move { lane.run().await }) as Running;
        Self { running: lanes.into_iter().map(run).collect(), failed: None, stop: stop.clone() }
    }
}

impl Future for Lanes {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { running, failed, stop } = &mut *self;
        running.retain_mut(|lane| match lane.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                failed.get_or_insert(error);
                stop.wish();
                false
            }
        });
        if !running.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(failed.take().map_or(Ok(()), Err))
    }
}

/// Where the turns of a process's lanes are put into the world's queue.
struct Table {
    world: Shared,
    process: Process,
}

impl Bench for Table {
    fn sit(&self, turns: &Arc<Mutex<Turns>>) {
        let sources = turns.lock().map_or(0, |turns| turns.sources());
        let mut world = lock(&self.world);
        for seat in (0..sources).map(Seat::Fetch).chain([Seat::Prepare]) {
            let delay = world.millis(0, 20);
            world.after(delay, Event::Turn(self.process, Arc::downgrade(turns), seat));
        }
    }
}

/// Writes what the engine tells into the trace, and has it checked.
struct Watch {
    world: Shared,
    process: Process,
}

impl Observer for Watch {
    fn event(&self, event: &Told<'_>) {
        let mut world = lock(&self.world);
        let process = self.process;
        match event {
            Told::Committed { spans, counts, .. } => {
                world.note(&format!("p{process} says that {} records are durable", counts.records));
                for (partition, span) in *spans {
                    world.told(partition, span.to(), "said to be durable");
                }
            }
            Told::Claimed { lane, .. } => world.note(&format!("p{process} goes on with lane {lane}")),
            Told::Trouble { error } => world.note(&format!("p{process} has trouble: {} {error}", error.code())),
            _ => {}
        }
    }
}
