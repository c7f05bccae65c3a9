//! The seeded simulation: the real engine in a simulated world.
//!
//! What runs is the engine's own start, `Lane`, hand-over, fetching, preparing, retrying and stopping, and the core's ledger.
//! What is simulated is around it: a broker, a database, the wires to both, the clock, chance, and processes that are killed
//! or stopped. A seed decides everything; the same seed gives the same trace. Fetching and preparing are taken turn by turn
//! ([`onceflow::lane::bench`]), so that no thread decides about the order.
//!
//! [`Rules`] switches single rules off. With all of them on no seed may break a promise; without any one, some seed must.
//!
//! Reading order: [`setup`] (what differs between seeds), `world`, `broker` and `source`, `server`, `statement` and `home`,
//! `process`, `oracle`, and the course of a simulation in this file.

mod act;
mod bank;
mod broker;
mod chance;
mod home;
mod oracle;
mod process;
mod server;
pub mod setup;
mod source;
mod statement;
mod trace;
mod world;

use chance::Chance;
use onceflow::lane::bench::{Turn, Turns};
use onceflow::{Error, Kind, Result, codes};
use process::Life;
use setup::{Faults, Seen, TROUBLED};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use world::{Act, Event, Process, Seat, Shared, World, lock};

/// The rules that can be switched off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// A move compares the generation.
    pub generation: bool,
    /// A move compares the nonce.
    pub nonce: bool,
    /// A move compares the epoch and the chain hash.
    pub contents: bool,
    /// A move that does not match aborts its transaction in the server. Off: it changes no row, and the transaction lives on.
    pub abort: bool,
    /// A claim is a write. Off: it is a plain read.
    pub claim: bool,
    /// A claim says what it held, and gives way to a higher generation.
    pub fence: bool,
    /// A claim counts as held what an earlier one of the same process wrote without the engine hearing of it.
    pub own_attempt: bool,
    /// An idle lane that reads another owner in its ledger claims. Off: the plain read is the answer, and it ends as fenced.
    pub idle: bool,
    /// A founding leaves alone what another instance founded first.
    pub founding: bool,
    /// COMMIT is sent once. Off: after a lost answer rows and COMMIT are sent again.
    pub once: bool,
    /// A lost answer to COMMIT is an unknown outcome. Off: it counts as committed.
    pub unknown: bool,
    /// A refused record takes effect in no table. Off: only the refused row is left out.
    pub whole: bool,
    /// Sources are compared with the ledger, and notice that a log became another one.
    pub verify: bool,
    /// A source knows the leader epoch before its position: from the ledger when it begins to read, and of markers too. Off: as
    /// Onceflow's Kafka source, it knows only that of records, and only of those that it has read since it began.
    pub epochs: bool,
}

impl Rules {
    /// The protocol as it is.
    pub const ALL: Rules = Rules {
        generation: true,
        nonce: true,
        contents: true,
        abort: true,
        claim: true,
        fence: true,
        own_attempt: true,
        idle: true,
        founding: true,
        once: true,
        unknown: true,
        whole: true,
        verify: true,
        epochs: true,
    };
}

/// What a simulation came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first promise that was broken.
    pub broken: Option<String>,
    /// A hash over everything that happened.
    pub hash: u64,
    /// Everything that happened, line by line.
    pub lines: Vec<String>,
    /// What was gone through.
    pub seen: Seen,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broken = self.broken.as_deref().unwrap_or("no promise was broken");
        let count = self.lines.len();
        writeln!(f, "seed {}: {broken}; {count} lines, trace {:016x}", self.seed, self.hash)?;
        let mut last = self.lines.iter().skip(count.saturating_sub(LINES_SHOWN));
        last.try_for_each(|line| writeln!(f, "  {line}"))?;
        write!(f, "all of it: ONCEFLOW_SIM_SEED={}", self.seed)
    }
}

/// So many lines of its trace a report shows.
const LINES_SHOWN: usize = 60;
/// Simulated time within which the last process has to be through.
const QUIET_MAX: Duration = Duration::from_secs(600);
/// So many lives the last process gets: each zombie that comes back may take its shards once.
const LAST_LIVES_MAX: u32 = 20;
/// Processes that live at once.
const LIVES_MAX: usize = 4;
/// How long zombies may do what they like after the end.
const AFTERWARDS: Duration = Duration::from_secs(90);

/// Runs one simulation.
pub fn simulate(seed: u64, rules: Rules) -> Report {
    let mut chance = Chance::new(seed);
    let faults = Faults::draw(&mut chance);
    let plan = setup::plan(&mut chance);
    let broker = setup::broker(&mut chance);
    let nonces = chance.fork();
    let world = World::new(chance, rules, faults, broker);
    let world = Arc::new(Mutex::new(world));
    for (time, act) in plan {
        lock(&world).at(time, Event::Act(act));
    }
    let lives = BTreeMap::new();
    let mut simulation =
        Simulation { world, lives, nonces, born: 0, last: None, last_lives: 0, over: None, quiet: false };
    simulation.run();
    simulation.report(seed)
}

struct Simulation {
    world: Shared,
    lives: BTreeMap<Process, Life>,
    nonces: Chance,
    born: Process,
    /// The process that has to read to the end, once the world is quiet.
    last: Option<Process>,
    last_lives: u32,
    /// When everything is over.
    over: Option<Duration>,
    quiet: bool,
}

impl Simulation {
    fn run(&mut self) {
        loop {
            let mut world = lock(&self.world);
            if world.broken.is_some() || self.over.is_some_and(|over| world.now >= over) {
                break;
            }
            if world.now > TROUBLED + QUIET_MAX {
                world.broke("the last process was not through in time".to_owned());
                break;
            }
            let Some(event) = world.pop() else { break };
            drop(world);
            self.happen(event);
            self.go_on();
        }
        let mut world = lock(&self.world);
        if world.broken.is_none() {
            world.audit("afterwards");
        }
    }

    fn report(mut self, seed: u64) -> Report {
        self.lives.clear();
        let world = lock(&self.world);
        Report {
            seed,
            broken: world.broken.clone(),
            hash: world.trace.hash(),
            lines: world.trace.lines().to_vec(),
            seen: world.seen,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(wait) => lock(&self.world).wake(wait),
            Event::Wire(wire) => lock(&self.world).wire(wire),
            Event::Turn(process, turns, seat) => self.turn(process, turns, seat),
            Event::Act(act) => self.act(act),
        }
    }

    /// Lets every process go on that something woke, in order.
    fn go_on(&mut self) {
        let processes: Vec<Process> = self.lives.keys().copied().collect();
        for process in processes {
            let ended = self.lives.get_mut(&process).and_then(Life::go_on);
            if let Some(ended) = ended {
                drop(self.lives.remove(&process));
                self.ended(process, ended);
            }
        }
    }

    fn turn(&mut self, process: Process, turns: Weak<Mutex<Turns>>, seat: Seat) {
        let Some(life) = self.lives.get(&process) else { return };
        let Some(strong) = turns.upgrade() else { return };
        let delay = if life.stopped {
            Duration::from_millis(250)
        } else {
            let mut taking = strong.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = match seat {
                Seat::Fetch(source) => taking.fetch(source),
                Seat::Prepare => taking.prepare(),
            };
            drop(taking);
            match turn {
                Turn::Ended => return,
                Turn::Done | Turn::Waits if seat == Seat::Prepare => lock(&self.world).millis(1, 25),
                Turn::Done | Turn::Waits => lock(&self.world).millis(5, 150),
            }
        };
        lock(&self.world).after(delay, Event::Turn(process, turns, seat));
    }

    fn start(&mut self, last: bool) -> Process {
        self.born += 1;
        let process = self.born;
        lock(&self.world).note(&format!("p{process} starts"));
        let cloned = lock(&self.world).faults.cloned;
        let chance = if cloned { self.nonces.clone() } else { self.nonces.fork() };
        self.lives.insert(process, Life::start(&self.world, process, chance, last));
        process
    }

    fn ended(&mut self, process: Process, ended: Result<()>) {
        let how = ended.as_ref().map_or_else(|error| format!("{} {error}", error.code()), |()| "well".to_owned());
        lock(&self.world).note(&format!("p{process} ends: {how}"));
        if let Err(error) = &ended {
            self.judge(process, error);
        }
        if self.last == Some(process) {
            self.last_ended(ended);
        } else if !self.quiet {
            self.start_later();
        }
    }

    /// Whether a process had a reason to end as it did.
    fn judge(&mut self, process: Process, error: &Error) {
        let mut world = lock(&self.world);
        match error.kind() {
            Kind::Fenced if world.memory.is_outdone(process) => {}
            Kind::Fenced => world.broke(format!("p{process} gave up what nobody claimed after it: {error}")),
            Kind::Identity => {
                world.seen.identity_stops += 1;
                let restored = world.seen.restores > 0;
                let reason = if error.code() == codes::OF0906 { restored } else { world.broker.changes > 0 };
                if !reason {
                    world.broke(format!("p{process} stopped for a log that is the same: {error}"));
                }
            }
            _ => world.broke(format!("p{process} failed: {error:?}")),
        }
    }

    fn last_ended(&mut self, ended: Result<()>) {
        let mut world = lock(&self.world);
        let over = world.now + AFTERWARDS;
        match ended {
            Ok(()) => {
                world.audit("at the end");
                world.check_complete();
                self.over = Some(over);
            }
            Err(error) if error.kind() == Kind::Identity && !world.unfit().is_empty() => {
                world.audit("at the stop");
                self.over = Some(over);
            }
            Err(error) if error.kind() == Kind::Identity && error.code() != codes::OF0906 && self.last_lives > 2 => {
                world.broke(format!("the last process stops for a log that fits: {error}"));
            }
            Err(_) if self.last_lives >= LAST_LIVES_MAX => {
                world.broke(format!("{LAST_LIVES_MAX} lives were not enough for the last process"));
            }
            Err(_) => world.after(Duration::from_millis(200), Event::Act(Act::Start)),
        }
    }

    fn start_later(&self) {
        let mut world = lock(&self.world);
        let delay = world.millis(20, 3_000);
        world.after(delay, Event::Act(Act::Start));
    }

    /// A process that lives, drawn.
    fn any(&self) -> Option<Process> {
        let lives: Vec<Process> = self.lives.keys().copied().collect();
        (!lives.is_empty()).then(|| lock(&self.world).chance.pick(&lives))
    }

    /// Starts the last process, which is to finish the work, where it does not live.
    fn start_last(&mut self) {
        if self.over.is_none() && self.last.is_none_or(|last| !self.lives.contains_key(&last)) {
            self.last_lives += 1;
            self.last = Some(self.start(true));
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Start if self.quiet => self.start_last(),
            Act::Start if self.lives.len() < LIVES_MAX => drop(self.start(false)),
            Act::Start => {}
            Act::Kill if !self.quiet => self.kill(),
            Act::Stop(millis) if !self.quiet => self.stop(millis),
            Act::Resume(process) => {
                if let Some(life) = self.lives.get_mut(&process) {
                    lock(&self.world).note(&format!("p{process} is resumed"));
                    life.stopped = false;
                }
            }
            Act::Wish if !self.quiet => {
                if let Some(process) = self.any() {
                    let mut world = lock(&self.world);
                    world.note(&format!("p{process} is asked to stop"));
                    world.seen.wishes += 1;
                    drop(world);
                    self.lives[&process].stop.wish();
                }
            }
            Act::Quiet => self.be_quiet(),
            act if !self.quiet => lock(&self.world).act(act),
            _ => {}
        }
    }

    fn kill(&mut self) {
        let Some(process) = self.any() else { return };
        lock(&self.world).note(&format!("p{process} is killed"));
        lock(&self.world).seen.kills += 1;
        drop(self.lives.remove(&process));
        self.start_later();
    }

    fn stop(&mut self, millis: u64) {
        let Some(process) = self.any() else { return };
        let Some(life) = self.lives.get_mut(&process).filter(|life| !life.stopped) else { return };
        life.stopped = true;
        let mut world = lock(&self.world);
        let open = world.server.connections.values().any(|one| one.process == process && one.open.is_some());
        world.seen.zombies += u64::from(open);
        let open = if open { ", a transaction lies open" } else { "" };
        world.note(&format!("p{process} is stopped for {millis} ms{open}"));
        world.after(Duration::from_millis(millis), Event::Act(Act::Resume(process)));
    }

    /// From now on nothing fails any more. Who is stopped comes back when it comes back; all others are killed.
    fn be_quiet(&mut self) {
        self.quiet = true;
        let running: Vec<Process> =
            self.lives.iter().filter(|(_, life)| !life.stopped).map(|(process, _)| *process).collect();
        for process in running {
            drop(self.lives.remove(&process));
        }
        let mut world = lock(&self.world);
        world.note("the world is quiet");
        world.faults.quiet();
        world.broker.fails_until = Duration::ZERO;
        world.server.down_until = Duration::ZERO;
        world.after(Duration::from_millis(100), Event::Act(Act::Start));
    }
}
