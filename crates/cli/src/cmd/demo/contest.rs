//! One contestant: its process, started, killed by the schedule, started again, until it has read the log to its end.

use super::args::Habit;
use super::control::{self, database};
use super::log::{LINE, cannot};
use onceflow::Error;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a contestant's progress is looked at.
const LOOK: Duration = Duration::from_micros(200);
/// A contestant that gets no further for so long is given up.
const STUCK: Duration = Duration::from_secs(60);

/// Who takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// A program of the kind that people write.
    Control(Habit),
    /// Onceflow.
    Onceflow,
}

impl Who {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control(habit) => habit.name(),
            Self::Onceflow => "onceflow",
        }
    }

    /// Its database.
    pub fn database(self, folder: &Path) -> PathBuf {
        match self {
            Self::Control(habit) => database(folder, habit),
            Self::Onceflow => folder.join("onceflow.db"),
        }
    }

    fn start(self, folder: &Path) -> Result<Child, Error> {
        let program = std::env::current_exe().map_err(|error| cannot(folder, error))?;
        let mut command = Command::new(&program);
        match self {
            Self::Control(habit) => command.args(["demo-control", habit.word()]).arg(folder),
            Self::Onceflow => command.args(["run", "transfers.sql", "--until-caught-up", "--quiet"]),
        };
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{}.log", self.name())));
        let log = log.map_err(|error| cannot(folder, error))?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().map_err(|error| cannot(&program, error))
    }
}

/// What a kill hit.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Milliseconds since the start.
    pub at: u128,
    /// Rows in the table when the process was dead.
    pub rows: u64,
    /// Records that its position says were done.
    pub position: u64,
}

impl Hit {
    /// Rows too many, or too few.
    pub fn drift(&self) -> i64 {
        i64::try_from(self.rows).unwrap_or(i64::MAX) - i64::try_from(self.position).unwrap_or(i64::MAX)
    }
}

/// What became of a contestant.
#[derive(Clone, Debug)]
pub struct Course {
    /// Who it was.
    pub who: Who,
    /// The kills.
    pub hits: Vec<Hit>,
    /// How it stood at the end.
    pub end: Hit,
}

/// Lets a contestant run to its end. It is killed as soon as its rows or its position go beyond the next of the `targets`.
pub fn run(who: Who, folder: &Path, targets: &[u64], shown: &AtomicU64) -> Result<Course, Error> {
    let started = Instant::now();
    let mut hits = Vec::new();
    let mut targets = targets.iter().copied().peekable();
    let mut child = who.start(folder)?;
    let mut sight = Sight::new(who, folder);
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let seen = sight.progress();
        shown.store(seen, Ordering::Relaxed);
        if seen != last {
            (last, moved) = (seen, Instant::now());
        }
        if targets.next_if(|target| seen >= *target).is_some() {
            // Kill and wait: both answer at once where the process has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            hits.push(sight.at_rest(started));
            // Several targets may lie in what one batch did.
            while targets.next_if(|target| seen >= *target).is_some() {}
            child = who.start(folder)?;
            continue;
        }
        if let Some(status) = child.try_wait().map_err(|error| cannot(folder, error))? {
            if !status.success() {
                return Err(cannot(folder, format!("{} ended with {status}; see {}.log", who.name(), who.name())));
            }
            return Ok(Course { who, hits, end: sight.at_rest(started) });
        }
        if moved.elapsed() > STUCK {
            let _ = child.kill();
            let _ = child.wait();
            return Err(cannot(folder, format!("{} gets no further; see {}.log", who.name(), who.name())));
        }
        look_again_in(LOOK);
    }
}

/// Another process's files tell nobody when they change, so they are looked at again and again.
#[allow(clippy::disallowed_methods)]
pub fn look_again_in(pause: Duration) {
    std::thread::sleep(pause);
}

/// Looks at a contestant's rows and position from outside.
struct Sight<'a> {
    who: Who,
    folder: &'a Path,
    database: Option<Connection>,
}

impl<'a> Sight<'a> {
    fn new(who: Who, folder: &'a Path) -> Self {
        Self { who, folder, database: None }
    }

    fn number(&mut self, sql: &str) -> Option<u64> {
        if self.database.is_none() {
            let path = self.who.database(self.folder);
            self.database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok();
        }
        let number = self.database.as_ref()?.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        match number {
            Ok(number) => number.and_then(|number| u64::try_from(number).ok()),
            Err(_) => {
                self.database = None;
                None
            }
        }
    }

    /// The further of rows and position.
    fn progress(&mut self) -> u64 {
        let rows = self.number("SELECT max(rowid) FROM transfers").unwrap_or(0);
        match self.who {
            Who::Control(habit) => rows.max(control::done(self.folder, habit, self.database.as_ref())),
            Who::Onceflow => rows,
        }
    }

    fn at_rest(&mut self, started: Instant) -> Hit {
        self.database = None;
        let rows = self.number("SELECT count(*) FROM transfers").unwrap_or(0);
        let position = match self.who {
            Who::Control(habit) => control::done(self.folder, habit, self.database.as_ref()),
            Who::Onceflow => {
                let sql = format!("SELECT sum(next_offset) / {LINE} FROM onceflow_position");
                self.number(&sql).unwrap_or(0)
            }
        };
        self.database = None;
        Hit { at: started.elapsed().as_millis(), rows, position }
    }
}
