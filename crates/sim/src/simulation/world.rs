//! The simulated world: a clock that only events move, chance, the broker, the database, and the queue of what comes next.
//!
//! Everything happens on one thread. The lock around the world is there because homes and sources must be `Send`; it is never
//! held while the engine's own code runs.

use super::Rules;
use super::broker::Broker;
use super::chance::Chance;
use super::oracle::Memory;
use super::server::{Server, Wire};
use super::setup::{Faults, Seen};
use super::trace::Trace;
use onceflow::home::Answer;
use onceflow::lane::bench::Turns;
use onceflow::run::ambient::Ambient;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A process: one life of one instance of the pipeline.
pub(super) type Process = u32;
/// The world, shared by all that lives in it.
pub(super) type Shared = Arc<Mutex<World>>;

/// 2026-01-01T00:00:00Z in microseconds: when every simulation begins.
const BEGINNING: i64 = 1_767_225_600_000_000;

pub(super) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is going to happen.
pub(super) enum Event {
    /// A wait is over.
    Wake(u64),
    /// Something arrives at one end of a connection, or the server's own time is over.
    Wire(Wire),
    /// A turn of fetching or preparing.
    Turn(Process, Weak<Mutex<Turns>>, Seat),
    /// Something that the plan of the simulation holds.
    Act(Act),
}

/// Whose turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seat {
    Fetch(usize),
    Prepare,
}

/// What the plan lets happen to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Start,
    Kill,
    /// Stops a process, to be resumed after so many milliseconds.
    Stop(u64),
    Resume(Process),
    Wish,
    Records,
    Retention,
    BrokerFails(u64),
    ServerRestarts,
    Snapshot,
    Restore,
    Truncate,
    Recreate,
    NewPartition,
    Quiet,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) chance: Chance,
    pub(super) trace: Trace,
    pub(super) broker: Broker,
    pub(super) server: Server,
    pub(super) rules: Rules,
    pub(super) faults: Faults,
    pub(super) seen: Seen,
    /// What the oracle knows of processes.
    pub(super) memory: Memory,
    /// The first promise that was broken.
    pub(super) broken: Option<String>,
    /// Only differences to it are used, so that it does not matter when it was.
    began: Instant,
    queue: BTreeMap<(Duration, u64), Event>,
    waits: BTreeMap<u64, Waker>,
    numbers: u64,
}

impl World {
    pub(super) fn new(chance: Chance, rules: Rules, faults: Faults, broker: Broker) -> Self {
        Self {
            now: Duration::ZERO,
            chance,
            trace: Trace::new(),
            broker,
            server: Server::default(),
            rules,
            faults,
            seen: Seen::default(),
            memory: Memory::default(),
            broken: None,
            began: Instant::now(),
            queue: BTreeMap::new(),
            waits: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// A number that was not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn note(&mut self, text: &str) {
        self.trace.note(self.now, text);
    }

    /// Takes note of a broken promise; the first one counts.
    pub(super) fn broke(&mut self, how: String) {
        self.note(&format!("BROKEN {how}"));
        self.broken.get_or_insert(how);
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn at(&mut self, time: Duration, event: Event) {
        let number = self.number();
        self.queue.insert((time.max(self.now), number), event);
    }

    /// The next event; the clock moves to it.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let ((time, _), event) = self.queue.pop_first()?;
        self.now = time;
        Some(event)
    }

    pub(super) fn wake(&mut self, wait: u64) {
        if let Some(waker) = self.waits.remove(&wait) {
            waker.wake();
        }
    }

    /// How long a message is on its way: mostly short, now and then long.
    pub(super) fn latency(&mut self) -> Duration {
        let slow = self.faults.slow;
        let micros = if self.chance.one_in(slow) {
            self.chance.between(10_000, 2_500_000)
        } else {
            self.chance.between(100, 8_000)
        };
        Duration::from_micros(micros)
    }

    /// So many milliseconds, drawn.
    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.chance.between(from, to))
    }
}

/// Time and chance of one process.
pub(super) struct Simulated {
    pub(super) world: Shared,
    pub(super) chance: Mutex<Chance>,
}

impl Ambient for Simulated {
    fn now(&self) -> i64 {
        let micros = lock(&self.world).now.as_micros();
        BEGINNING + i64::try_from(micros).expect("a simulation lasts minutes")
    }

    fn random(&self) -> u128 {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        (u128::from(chance.next()) << 64) | u128::from(chance.next())
    }

    fn instant(&self) -> Instant {
        let world = lock(&self.world);
        world.began + world.now
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(Wait::new(&self.world, time))
    }
}

/// A wait on the simulated clock.
pub(super) struct Wait {
    world: Shared,
    until: Duration,
    number: Option<u64>,
}

impl Wait {
    pub(super) fn new(world: &Shared, time: Duration) -> Self {
        let until = lock(world).now + time;
        Self { world: world.clone(), until, number: None }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = self.world.clone();
        let mut world = lock(&shared);
        if world.now >= self.until {
            return Poll::Ready(());
        }
        let number = match self.number {
            Some(number) => number,
            None => {
                let number = world.number();
                world.at(self.until, Event::Wake(number));
                self.number = Some(number);
                number
            }
        };
        world.waits.insert(number, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = lock(&self.world).waits.remove(&number);
            drop(waker);
        }
    }
}
