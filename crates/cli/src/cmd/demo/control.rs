//! Programs of the kind that people write, among them the article's: they read a batch, write its rows, and store a position.
//!
//! Nothing is left out of them, and nothing waits: each does what programs with its habit do, in the order in which they do it.

use super::args::{Control, Habit};
use super::log::{self, FILES, LINE, cannot};
use crate::cmd::Answer;
use onceflow::Error;
use rusqlite::{Connection, OptionalExtension as _};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Records of a batch.
pub const BATCH: u64 = 500;
/// Batches between two stored positions of a program that stores them rarely.
const CHECKPOINT: u64 = 5;

/// Where a program keeps its position.
fn position_file(folder: &Path, habit: Habit) -> PathBuf {
    folder.join(format!("{}.position", habit.name()))
}

/// Where a program keeps its rows.
pub fn database(folder: &Path, habit: Habit) -> PathBuf {
    folder.join(format!("{}.db", habit.name()))
}

/// How many records a program says that it has done. `database` is its own, where it could be opened.
pub fn done(folder: &Path, habit: Habit, database: Option<&Connection>) -> u64 {
    let text = match (habit, database) {
        (Habit::Together, Some(database)) => position_row(database).ok().flatten().unwrap_or_default(),
        _ => std::fs::read_to_string(position_file(folder, habit)).unwrap_or_default(),
    };
    text.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum()
}

fn position_row(database: &Connection) -> rusqlite::Result<Option<String>> {
    database.query_row("SELECT next FROM position", [], |row| row.get(0)).optional()
}

/// Runs a program to the end of the log.
pub fn run(control: &Control) -> Answer {
    let mut program = Program::start(control)?;
    loop {
        let mut more = false;
        for number in 0..FILES {
            more |= program.step(number)?;
        }
        if !more {
            program.store()?;
            return Ok(0);
        }
    }
}

type Row = (i64, i64, i64);

struct Program<'a> {
    folder: &'a Path,
    habit: Habit,
    path: PathBuf,
    database: Connection,
    positions: Vec<u64>,
    batches: u64,
}

impl<'a> Program<'a> {
    fn start(control: &'a Control) -> Result<Self, Error> {
        let (folder, habit) = (control.folder.as_path(), control.habit);
        let path = database(folder, habit);
        let database = Connection::open(&path).map_err(|error| cannot(&path, error))?;
        // Thousands of commits a second would mostly wait for the disk, and a kill of the process does not need it.
        let sync = if habit == Habit::Piecemeal { "NORMAL" } else { "FULL" };
        let key = if habit == Habit::Keyed { " UNIQUE" } else { "" };
        let sql = format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {sync};
             CREATE TABLE IF NOT EXISTS transfers (id INTEGER{key}, account INTEGER, amount INTEGER);
             CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY, next TEXT)"
        );
        database.execute_batch(&sql).map_err(|error| cannot(&path, error))?;
        let stored = match habit {
            Habit::Forgetful => String::new(),
            Habit::Together => position_row(&database).map_err(|error| cannot(&path, error))?.unwrap_or_default(),
            _ => std::fs::read_to_string(position_file(folder, habit)).unwrap_or_default(),
        };
        let mut positions: Vec<u64> = stored.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        positions.resize(usize::try_from(FILES).unwrap_or(4), 0);
        Ok(Self { folder, habit, path, database, positions, batches: 0 })
    }

    /// A batch of one file; `false` at its end.
    fn step(&mut self, number: u64) -> Result<bool, Error> {
        let index = usize::try_from(number).unwrap_or(0);
        let batch = read(&log::file(self.folder, number), self.positions[index])?;
        if batch.is_empty() {
            return Ok(false);
        }
        self.positions[index] += batch.len() as u64;
        self.batches += 1;
        match self.habit {
            Habit::Before => {
                self.store()?;
                self.write(&batch)?;
            }
            Habit::Checkpointed if !self.batches.is_multiple_of(CHECKPOINT) => self.write(&batch)?,
            _ => {
                self.write(&batch)?;
                self.store()?;
            }
        }
        Ok(true)
    }

    fn write(&self, batch: &[Row]) -> Result<(), Error> {
        let insert = || -> rusqlite::Result<()> {
            let whole = self.habit != Habit::Piecemeal;
            if whole {
                self.database.execute_batch("BEGIN IMMEDIATE")?;
            }
            let conflict = if self.habit == Habit::Keyed { " ON CONFLICT DO NOTHING" } else { "" };
            let mut statement =
                self.database.prepare(&format!("INSERT INTO transfers VALUES (?1, ?2, ?3){conflict}"))?;
            for row in batch {
                statement.execute(*row)?;
            }
            if self.habit == Habit::Together {
                let sql = "INSERT INTO position VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET next = excluded.next";
                self.database.execute(sql, [self.position()])?;
            }
            if whole {
                self.database.execute_batch("COMMIT")?;
            }
            Ok(())
        };
        insert().map_err(|error| cannot(&self.path, error))
    }

    fn position(&self) -> String {
        self.positions.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Stores the position atomically: another file, made durable, takes the place of the old one.
    fn store(&self) -> Result<(), Error> {
        if self.habit == Habit::Together {
            return Ok(());
        }
        let path = position_file(self.folder, self.habit);
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&new)?;
            file.write_all(self.position().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| cannot(&path, error))
    }
}

fn read(path: &Path, position: u64) -> Result<Vec<Row>, Error> {
    let fail = |error: std::io::Error| cannot(path, error);
    let mut file = std::fs::File::open(path).map_err(fail)?;
    file.seek(SeekFrom::Start(position * LINE)).map_err(fail)?;
    let mut text = String::new();
    file.take(BATCH * LINE).read_to_string(&mut text).map_err(fail)?;
    let row = |line: &str| -> Option<Row> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some((value["id"].as_i64()?, value["account"].as_i64()?, value["amount"].as_i64()?))
    };
    text.lines().map(|line| row(line).ok_or_else(|| cannot(path, format!("'{line}' is no transfer")))).collect()
}
