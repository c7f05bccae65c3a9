//! One contestant: its process, started, killed by the schedule, started again, until it has read the log to its end.

use super::args::Habit;
use super::broker::Watcher;
use super::control::{self, database};
use super::log::{FILES, LINE, cannot};
use super::place::{Place, Server, cannot_place};
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

    /// Its table, in a database that several share.
    pub fn table(self) -> String {
        match self {
            Self::Control(habit) => control::table(habit),
            Self::Onceflow => "onceflow".to_owned(),
        }
    }

    fn start(self, place: &Place) -> Result<Child, Error> {
        let folder = place.folder.as_path();
        let program = std::env::current_exe().map_err(|error| cannot(folder, error))?;
        let mut command = Command::new(&program);
        match self {
            Self::Control(habit) => command.args(["demo-control", habit.word()]).arg(folder),
            Self::Onceflow => command.args(["run", "transfers.sql", "--until-caught-up", "--quiet"]),
        };
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{}.log", self.name())));
        let log = log.map_err(|error| cannot(folder, error))?;
        command.envs(place.environment()).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
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
pub fn run(who: Who, place: &Place, targets: &[u64], shown: &AtomicU64) -> Result<Course, Error> {
    let fail = |error: String| cannot_place(place, error);
    let started = Instant::now();
    let mut hits = Vec::new();
    let mut targets = targets.iter().copied().peekable();
    let mut child = who.start(place)?;
    let mut sight = Sight::open(who, place)?;
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
            child = who.start(place)?;
            continue;
        }
        if let Some(status) = child.try_wait().map_err(|error| fail(error.to_string()))? {
            if !status.success() {
                return Err(fail(format!("{} ended with {status}; see {}.log", who.name(), who.name())));
            }
            return Ok(Course { who, hits, end: sight.at_rest(started) });
        }
        if moved.elapsed() > STUCK {
            let _ = child.kill();
            let _ = child.wait();
            return Err(fail(format!("{} gets no further; see {}.log", who.name(), who.name())));
        }
        look_again_in(LOOK);
    }
}

/// Another process's files tell nobody when they change, so they are looked at again and again.
#[allow(clippy::disallowed_methods)]
pub fn look_again_in(pause: Duration) {
    std::thread::sleep(pause);
}

/// A contestant's table, read from outside.
pub enum Eye {
    /// In a file; opened anew where it could not be read.
    File(PathBuf, Option<Connection>),
    /// On a server.
    Server(Box<Server>, String),
}

impl Eye {
    /// The eye on a contestant.
    pub fn open(who: Who, place: &Place) -> Result<Self, Error> {
        Ok(match &place.database {
            None => Self::File(who.database(&place.folder), None),
            Some(url) => Self::Server(Box::new(Server::open(url)?), who.table()),
        })
    }

    /// The numbers of a query's first row, in which `{table}` stands for the table; `None` where there is none yet.
    pub fn numbers(&mut self, sql: &str) -> Option<Vec<i64>> {
        self.rows(sql).and_then(|rows| rows.into_iter().next())
    }

    /// All rows of a query for numbers.
    pub fn rows(&mut self, sql: &str) -> Option<Vec<Vec<i64>>> {
        match self {
            Self::File(path, database) => {
                if database.is_none() {
                    *database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok();
                }
                let found = rows_of(database.as_ref()?, &sql.replace("{table}", "transfers"));
                if found.is_err() {
                    *database = None;
                }
                found.ok()
            }
            Self::Server(server, table) => server.numbers(&sql.replace("{table}", table)),
        }
    }

    /// The further of a table's rows, by the numbers that the database gave them: no row is looked at.
    fn newest(&mut self) -> u64 {
        let sql = match self {
            Self::File(..) => "SELECT max(rowid) FROM {table}",
            Self::Server(..) => "SELECT max(n) FROM {table}",
        };
        self.numbers(sql).and_then(|row| u64::try_from(*row.first()?).ok()).unwrap_or(0)
    }

    fn count(&mut self, sql: &str) -> u64 {
        self.numbers(sql).and_then(|row| u64::try_from(*row.first()?).ok()).unwrap_or(0)
    }

    /// Forgets the file, so that whatever recovers it is nobody else's reader.
    fn close(&mut self) {
        if let Self::File(_, database) = self {
            *database = None;
        }
    }
}

fn rows_of(database: &Connection, sql: &str) -> rusqlite::Result<Vec<Vec<i64>>> {
    let mut statement = database.prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..columns).map(|at| row.get::<_, Option<i64>>(at).map(Option::unwrap_or_default)).collect()
    })?;
    rows.collect()
}

/// Looks at a contestant's rows and position from outside.
struct Sight<'a> {
    who: Who,
    place: &'a Place,
    eye: Eye,
    group: Option<Watcher>,
}

impl<'a> Sight<'a> {
    fn open(who: Who, place: &'a Place) -> Result<Self, Error> {
        let group = match (&place.topic, who) {
            (Some(topic), Who::Control(habit)) => Some(Watcher::open(topic, &control::group(&topic.name, habit))?),
            _ => None,
        };
        Ok(Self { who, place, eye: Eye::open(who, place)?, group })
    }

    /// The further of rows and position.
    fn progress(&mut self) -> u64 {
        let rows = self.eye.newest();
        match self.who {
            Who::Control(habit) => rows.max(self.done(habit)),
            Who::Onceflow => rows,
        }
    }

    fn done(&self, habit: Habit) -> u64 {
        match (&self.group, &self.eye) {
            (Some(group), _) => group.positions(FILES).map(|positions| positions.iter().sum()).unwrap_or(0),
            (None, Eye::File(_, database)) => control::done(&self.place.folder, habit, database.as_ref()),
            (None, Eye::Server(..)) => control::done(&self.place.folder, habit, None),
        }
    }

    fn at_rest(&mut self, started: Instant) -> Hit {
        self.eye.close();
        let rows = self.eye.count("SELECT count(*) FROM {table}");
        let position = match self.who {
            Who::Control(habit) => self.done(habit),
            Who::Onceflow => {
                let ledger = if self.place.database.is_some() { "onceflow.position" } else { "onceflow_position" };
                let bytes = if self.place.topic.is_some() { 1 } else { LINE };
                self.eye.count(
                    &format!("SELECT (sum(next_offset) / {bytes})::bigint FROM {ledger}")
                        .replace("::bigint", if self.place.database.is_some() { "::bigint" } else { "" }),
                )
            }
        };
        self.eye.close();
        Hit { at: started.elapsed().as_millis(), rows, position }
    }
}
