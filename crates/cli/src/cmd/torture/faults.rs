//! Which faults there are, and how each is brought about.
//!
//! A case is one fault in one run on fresh scratch copies. All that is random about it comes from the seed, its name and its
//! number, so that one case alone can be repeated.

use super::child::{End, Process, Starter};
use super::proxy::{Behind, Cut, Wire};
use super::shop::Copies;
use onceflow::{Error, codes};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Points that a run passes once for each epoch.
const REPEATED: &[&str] = &[
    "after_fetch",
    "after_prepare",
    "before_begin",
    "after_move",
    "mid_rows",
    "after_rows",
    "before_commit",
    "commit_sent",
    "after_commit",
    "after_accept",
    "after_report",
];
/// A later passage of a point is at most this one.
const LATER_MAX: u64 = 8;
/// A fetch that is cut is at most this one: the first brings all that is read of a small topic, and the second follows at once.
const FETCH_MAX: u64 = 2;

/// What is done to a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Act {
    /// It is killed when it first comes by.
    Kill,
    /// It is killed when it comes by again.
    KillLater,
    /// It is stopped, another one takes over, and it wakes up.
    Stop,
    /// Its connection is treated so.
    Cut(Cut),
}

impl Act {
    /// The act as in the matrix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillLater => "kill-later",
            Self::Stop => "stop",
            Self::Cut(cut) => cut.name(),
        }
    }
}

/// One fault in one run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Where.
    pub point: &'static str,
    /// What.
    pub act: Act,
    /// Which repetition of it.
    pub number: u32,
}

/// The point of kills at random moments.
pub const RANDOM: &str = "random";
/// The point of kills right behind a commit that became visible.
pub const VISIBLE: &str = "visible-commit";
/// The point of faults on the way to the database.
pub const DATABASE: &str = "database";
/// The point of faults on the way to Kafka's brokers.
pub const KAFKA: &str = "kafka";

/// The cases of one round. `round` counts from 0; later rounds have other numbers, and so other random choices.
pub fn cases(kills: u32, behind: &[Behind], round: u32) -> Vec<Case> {
    let mut cases = Vec::new();
    for point in onceflow::crash::POINTS.iter().copied() {
        // The first passage is always the same, so that repeating it shows nothing new.
        if round == 0 {
            cases.push(Case { point, act: Act::Kill, number: 0 });
        }
        if REPEATED.contains(&point) {
            cases.push(Case { point, act: Act::KillLater, number: round });
        }
        cases.push(Case { point, act: Act::Stop, number: round });
    }
    let mut repeat = |point, act, times: u32| {
        cases.extend((0..times).map(|number| Case { point, act, number: round * times + number }));
    };
    let some = kills.div_ceil(4);
    repeat(VISIBLE, Act::Kill, some);
    repeat(RANDOM, Act::Kill, kills);
    repeat(RANDOM, Act::Stop, some.div_ceil(2));
    for behind in behind {
        for cut in Cut::ALL {
            repeat(point_of(*behind), Act::Cut(*cut), some.max(1));
        }
    }
    cases
}

fn point_of(behind: Behind) -> &'static str {
    match behind {
        Behind::Database => DATABASE,
        Behind::Kafka => KAFKA,
    }
}

/// What `--only` chooses.
pub struct Only {
    points: Vec<String>,
    act: Option<String>,
}

impl Only {
    /// Reads `POINT[,POINT]/ACT`; the act may be left out.
    pub fn parse(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self { points: Vec::new(), act: None } };
        let (points, act) = text.split_once('/').map_or((text, None), |(points, act)| (points, Some(act)));
        let points = points.split(',').map(str::trim).filter(|point| !point.is_empty()).map(str::to_owned);
        Self { points: points.collect(), act: act.map(|act| act.trim().to_owned()) }
    }

    fn takes(&self, case: &Case) -> bool {
        (self.points.is_empty() || self.points.iter().any(|point| point == case.point))
            && self.act.as_ref().is_none_or(|act| act == case.act.name())
    }

    /// The chosen cases; with `number` that one repetition of each.
    pub fn choose(&self, mut cases: Vec<Case>, number: Option<u32>) -> Vec<Case> {
        cases.retain(|case| self.takes(case));
        if let Some(number) = number {
            cases.iter_mut().for_each(|case| case.number = number);
            cases.dedup();
        }
        cases
    }

    /// Refuses what no case of the first round is.
    pub fn check(&self, cases: &[Case]) -> Result<(), Error> {
        let known = |point: &String| cases.iter().any(|case| case.point == point);
        let unknown = self.points.iter().find(|point| !known(point));
        if unknown.is_none() && cases.iter().any(|case| self.takes(case)) {
            return Ok(());
        }
        let mut points: Vec<&str> = cases.iter().map(|case| case.point).collect();
        points.dedup();
        let mut acts: Vec<&str> = cases.iter().map(|case| case.act.name()).collect();
        acts.sort_unstable();
        acts.dedup();
        let what =
            unknown.map_or_else(|| "--only chooses no fault".to_owned(), |it| format!("there is no point '{it}'"));
        Err(Error::config(codes::OF0156, what)
            .note(format!("points: {}", points.join(", ")))
            .note(format!("acts: {}", acts.join(", ")))
            .help("write --only POINT[,POINT]/ACT, such as --only after_move/kill"))
    }
}

/// Random choices that a seed repeats: splitmix64.
pub struct Chance(u64);

impl Chance {
    /// The choices of one case.
    pub fn of(seed: u64, case: &Case) -> Self {
        let name = format!("{}/{}#{}", case.point, case.act.name(), case.number);
        // FNV-1a; any fixed mixing would do.
        let mixed = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(seed ^ mixed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        onceflow::chance::next(&mut self.0) % end.max(1)
    }
}

/// What a fault needs.
pub struct Ground<'a> {
    /// How processes are started.
    pub starter: &'a Starter,
    /// The scratch copies.
    pub copies: &'a Copies,
    /// How long an undisturbed run takes.
    pub usual: Duration,
    /// How long a successor may take while the owner is stopped, before the owner wakes up.
    pub patience: Duration,
    /// Counts the commits that are visible now.
    pub commits: &'a mut dyn FnMut() -> u64,
    /// The proxies, for cases that have some.
    pub wire: Option<&'a Wire>,
}

/// What came of a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Came {
    /// It happened, and everything caught up afterwards.
    Happened {
        /// The one that was stopped and woke up found that it had been replaced.
        fenced: bool,
    },
    /// It did not happen.
    NotHit,
    /// A process did not end as it has to.
    Failed(String),
}

impl Ground<'_> {
    fn log(&self, name: &str) -> PathBuf {
        self.copies.folder.join(format!("{name}.log"))
    }

    fn start(&self, name: &str, crash: Option<&str>) -> Result<Process, Error> {
        self.starter.run(&self.copies.plan, &self.log(name), crash, None)
    }

    /// Runs to the end without a fault.
    pub fn catch_up(&self, name: &str) -> Result<Option<String>, Error> {
        let mut process = self.start(name, None)?;
        Ok(judged("the run after the fault", &mut process, self.starter.limit))
    }

    /// Brings a fault about, and lets the pipeline catch up.
    pub fn run(&mut self, case: &Case, chance: &mut Chance) -> Result<Came, Error> {
        let came = match (case.point, case.act) {
            (VISIBLE, _) => self.kill_behind_a_commit(chance)?,
            (RANDOM, Act::Stop) => self.stop_at_random(chance)?,
            (RANDOM, _) => self.kill_at_random(chance)?,
            (KAFKA, Act::Cut(cut)) => self.cut(Behind::Kafka, cut, 1 + chance.below(FETCH_MAX))?,
            (_, Act::Cut(cut)) => self.cut(Behind::Database, cut, 1 + chance.below(LATER_MAX))?,
            (point, Act::Stop) => {
                let process = self.start("first", Some(&format!("{point}@1:stop")))?;
                self.replace(process)?
            }
            (point, act) => {
                let passage = if act == Act::KillLater { 2 + chance.below(LATER_MAX - 1) } else { 1 };
                self.kill_at(point, passage)?
            }
        };
        if let Came::Failed(_) = came {
            return Ok(came);
        }
        Ok(self.catch_up("after")?.map_or(came, Came::Failed))
    }

    fn kill_at(&self, point: &str, passage: u64) -> Result<Came, Error> {
        let mut process = self.start("first", Some(&format!("{point}@{passage}:kill")))?;
        Ok(match process.wait(self.starter.limit) {
            Some(End::Killed) => Came::Happened { fenced: false },
            Some(End::Code(0)) => Came::NotHit,
            other => Came::Failed(said("the run that was to be killed", other.as_ref(), &process)),
        })
    }

    fn kill_at_random(&self, chance: &mut Chance) -> Result<Came, Error> {
        let after = self.moment(chance);
        let mut process = self.start("first", None)?;
        match process.wait(after) {
            None => {
                process.kill();
                Ok(Came::Happened { fenced: false })
            }
            Some(End::Code(0)) => Ok(Came::NotHit),
            other => Ok(Came::Failed(said("the run that was to be killed", other.as_ref(), &process))),
        }
    }

    /// A moment of an undisturbed run.
    fn moment(&self, chance: &mut Chance) -> Duration {
        let micros = u64::try_from(self.usual.as_micros()).unwrap_or(u64::MAX);
        // Its last quarter may be over sooner than usual.
        Duration::from_micros(chance.below(micros / 4 * 3))
    }

    fn kill_behind_a_commit(&mut self, chance: &mut Chance) -> Result<Came, Error> {
        let at = 1 + chance.below(LATER_MAX);
        let mut process = self.start("first", None)?;
        let (limit, commits) = (self.starter.limit, &mut *self.commits);
        let end = process.watch(limit, |_| commits() >= at);
        match end {
            None if commits() >= at => {
                process.kill();
                Ok(Came::Happened { fenced: false })
            }
            Some(End::Code(0)) => Ok(Came::NotHit),
            other => Ok(Came::Failed(said("the run that was to be killed", other.as_ref(), &process))),
        }
    }

    fn stop_at_random(&self, chance: &mut Chance) -> Result<Came, Error> {
        let after = self.moment(chance);
        let mut process = self.start("first", None)?;
        if process.wait(after).is_none() {
            process.stop();
        }
        self.replace(process)
    }

    /// Waits until a process is stopped, lets another one take over, and wakes it up: it may not change anything any more.
    fn replace(&self, mut first: Process) -> Result<Came, Error> {
        match first.watch(self.starter.limit, Process::is_stopped) {
            None if first.is_stopped() => {}
            Some(End::Code(0)) => return Ok(Came::NotHit),
            other => return Ok(Came::Failed(said("the run that was to be stopped", other.as_ref(), &first))),
        }
        let mut second = self.start("second", None)?;
        let took_over = second.wait(self.patience);
        first.resume();
        let until = Instant::now() + self.starter.limit;
        let mut fenced = false;
        for (who, process, may_be_fenced) in [
            ("the run that was stopped and woke up", &mut first, true),
            ("the run that took over", &mut second, took_over.is_none()),
        ] {
            match process.wait(until.saturating_duration_since(Instant::now())) {
                Some(End::Code(4)) if may_be_fenced => fenced = true,
                Some(End::Code(0)) => {}
                other => return Ok(Came::Failed(said(who, other.as_ref(), process))),
            }
        }
        Ok(Came::Happened { fenced })
    }

    fn cut(&self, behind: Behind, cut: Cut, at: u64) -> Result<Came, Error> {
        let Some(wire) = self.wire else { return Ok(Came::NotHit) };
        wire.arm(behind, cut, at);
        let mut process = self.start("first", None)?;
        let failed = judged("the run whose connection was cut", &mut process, self.starter.limit);
        Ok(match failed {
            Some(said) => Came::Failed(said),
            None if wire.fired() => Came::Happened { fenced: false },
            None => Came::NotHit,
        })
    }
}

/// `None` where a process ends well; what it said otherwise.
fn judged(who: &str, process: &mut Process, limit: Duration) -> Option<String> {
    match process.wait(limit) {
        Some(End::Code(0)) => None,
        other => Some(said(who, other.as_ref(), process)),
    }
}

fn said(who: &str, end: Option<&End>, process: &Process) -> String {
    let end = end.map_or_else(|| "did not end in time".to_owned(), |end| format!("ended with {end}"));
    format!("{who} {end}:\n{}", process.said())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crash_point_is_killed_and_stopped_in_the_first_round() {
        let cases = cases(0, &[], 0);
        for point in onceflow::crash::POINTS {
            for act in [Act::Kill, Act::Stop] {
                assert!(cases.iter().any(|case| case.point == *point && case.act == act), "{point} {act:?}");
            }
        }
        assert!(REPEATED.iter().all(|point| onceflow::crash::POINTS.contains(point)));
    }

    #[test]
    fn only_chooses_by_point_act_and_number() {
        let all = cases(8, &[Behind::Database, Behind::Kafka], 0);
        for (text, number, chosen) in [
            (None, None, all.len()),
            (Some("after_move/kill"), None, 1),
            (Some("after_move, mid_rows/kill"), None, 2),
            (Some("after_move"), None, 3),
            (Some("random/kill"), None, 8),
            (Some("random/kill"), Some(30), 1),
            (Some("kafka"), None, 2 * Cut::ALL.len()),
            (Some("database, kafka/cut-mid-answer"), None, 4),
        ] {
            let only = Only::parse(text);
            only.check(&all).expect("there are such cases");
            assert_eq!(only.choose(all.clone(), number).len(), chosen, "{text:?} {number:?}");
        }
        for text in ["nowhere/kill", "after_move/explode", "after_move,nowhere/kill"] {
            assert_eq!(Only::parse(Some(text)).check(&all).expect_err(text).code(), codes::OF0156);
        }
    }

    #[test]
    fn chance_is_repeated_by_seed_name_and_number() {
        let case = |number| Case { point: RANDOM, act: Act::Kill, number };
        let drawn = |seed, number| {
            let mut chance = Chance::of(seed, &case(number));
            [chance.below(1 << 40), chance.below(1 << 40)]
        };
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert_ne!(drawn(1, 2), drawn(2, 2));
        assert_ne!(drawn(1, 2), drawn(1, 3));
        assert!((0..100).all(|number| Chance::of(7, &case(number)).below(3) < 3));
    }
}
