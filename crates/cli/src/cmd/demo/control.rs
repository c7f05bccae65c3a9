//! Programs of the kind that people write, among them the article's: they read a batch, write its rows, and store a position.
//!
//! Nothing is left out of them, and nothing waits: each does what programs with its habit do, in the order in which they do it.

use super::args::{Control, Habit};
use super::broker;
use super::log::{self, FILES, LINE, cannot};
use super::place::{Place, Server, cannot_use};
use crate::cmd::Answer;
use onceflow::Error;
use onceflow::home::desk::{Cell, Statement};
use rusqlite::{Connection, OptionalExtension as _};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Records of a batch.
const BATCH: u64 = 500;
/// Records of a batch of a program that stores its position rarely: small, so that it comes to do so between two kills.
const CHECKPOINTED_BATCH: u64 = 50;
/// Batches between two stored positions of such a program: ten of each file.
const CHECKPOINT: u64 = 10 * FILES;

fn batch_size(habit: Habit) -> u64 {
    if habit == Habit::Checkpointed { CHECKPOINTED_BATCH } else { BATCH }
}

/// Where a program keeps its position.
fn position_file(folder: &Path, habit: Habit) -> PathBuf {
    folder.join(format!("{}.position", habit.name()))
}

/// Where a program keeps its rows.
pub fn database(folder: &Path, habit: Habit) -> PathBuf {
    folder.join(format!("{}.db", habit.name()))
}

/// The table of a program in a database that several share.
pub fn table(habit: Habit) -> String {
    habit.name().replace('-', "_")
}

/// The consumer group in which a program keeps its positions.
pub fn group(topic: &str, habit: Habit) -> String {
    format!("{topic}-{}", habit.name())
}

/// How many records a program says that it has done, by its file. `database` is its own, where it could be opened.
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

struct Program {
    habit: Habit,
    source: Source,
    sink: Sink,
    positions: Vec<u64>,
    batches: u64,
}

impl Program {
    fn start(control: &Control) -> Result<Self, Error> {
        let (place, habit) = (Place::of_child(&control.folder), control.habit);
        let sink = Sink::open(&place, habit)?;
        let source = Source::open(&place, habit)?;
        let mut positions = match habit {
            Habit::Forgetful => Vec::new(),
            Habit::Together => numbers(&sink.position()?),
            _ => source.stored()?,
        };
        positions.resize(usize::try_from(FILES).unwrap_or(4), 0);
        Ok(Self { habit, source, sink, positions, batches: 0 })
    }

    /// A batch of one partition; `false` at its end.
    fn step(&mut self, number: u64) -> Result<bool, Error> {
        let index = usize::try_from(number).unwrap_or(0);
        let batch = self.source.read(number, self.positions[index])?;
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

    fn write(&mut self, batch: &[Row]) -> Result<(), Error> {
        let position = texts(&self.positions);
        self.sink.write(batch, self.habit, &position)
    }

    fn store(&self) -> Result<(), Error> {
        match self.habit {
            Habit::Together => Ok(()),
            _ => self.source.store(&self.positions),
        }
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn texts(positions: &[u64]) -> String {
    positions.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// Where a program reads, and keeps its positions.
enum Source {
    Files { folder: PathBuf, habit: Habit },
    Kafka(Box<broker::Reader>),
}

impl Source {
    fn open(place: &Place, habit: Habit) -> Result<Self, Error> {
        Ok(match &place.topic {
            None => Self::Files { folder: place.folder.clone(), habit },
            Some(topic) => Self::Kafka(Box::new(broker::Reader::open(topic, &group(&topic.name, habit), FILES)?)),
        })
    }

    fn stored(&self) -> Result<Vec<u64>, Error> {
        match self {
            Self::Files { folder, habit } => {
                Ok(numbers(&std::fs::read_to_string(position_file(folder, *habit)).unwrap_or_default()))
            }
            Self::Kafka(reader) => reader.positions(),
        }
    }

    fn store(&self, positions: &[u64]) -> Result<(), Error> {
        match self {
            Self::Files { folder, habit } => store_in_file(&position_file(folder, *habit), &texts(positions)),
            Self::Kafka(reader) => reader.store(positions),
        }
    }

    fn read(&mut self, number: u64, position: u64) -> Result<Vec<Row>, Error> {
        match self {
            Self::Files { folder, habit } => read_file(&log::file(folder, number), position, batch_size(*habit)),
            Self::Kafka(reader) => {
                let values = reader.read(number, position, BATCH)?;
                let row =
                    |value: &Vec<u8>| row(value).ok_or_else(|| cannot_use("the topic", "a record is no transfer"));
                values.iter().map(row).collect()
            }
        }
    }
}

/// Stores positions atomically: another file, made durable, takes the place of the old one.
fn store_in_file(path: &Path, text: &str) -> Result<(), Error> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|error| cannot(path, error))
}

fn read_file(path: &Path, position: u64, records: u64) -> Result<Vec<Row>, Error> {
    let fail = |error: std::io::Error| cannot(path, error);
    let mut file = std::fs::File::open(path).map_err(fail)?;
    file.seek(SeekFrom::Start(position * LINE)).map_err(fail)?;
    let mut text = String::new();
    file.take(records * LINE).read_to_string(&mut text).map_err(fail)?;
    let each = |line: &str| row(line.as_bytes()).ok_or_else(|| cannot(path, format!("'{line}' is no transfer")));
    text.lines().map(each).collect()
}

fn row(value: &[u8]) -> Option<Row> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    Some((value["id"].as_i64()?, value["account"].as_i64()?, value["amount"].as_i64()?))
}

/// Where a program writes.
enum Sink {
    Sqlite(Connection, PathBuf),
    Postgres(Box<Server>, String),
}

impl Sink {
    fn open(place: &Place, habit: Habit) -> Result<Self, Error> {
        if let Some(url) = &place.database {
            let (mut server, table) = (Server::open(url)?, table(habit));
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {table} (n BIGSERIAL PRIMARY KEY, id BIGINT, account BIGINT, amount BIGINT)"
            );
            server.rows(&sql, &[])?;
            return Ok(Self::Postgres(Box::new(server), table));
        }
        let path = database(&place.folder, habit);
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
        Ok(Self::Sqlite(database, path))
    }

    /// The position that stands beside the rows.
    fn position(&self) -> Result<String, Error> {
        match self {
            Self::Sqlite(database, path) => {
                position_row(database).map(Option::unwrap_or_default).map_err(|error| cannot(path, error))
            }
            Self::Postgres(..) => Ok(String::new()),
        }
    }

    fn write(&mut self, batch: &[Row], habit: Habit, position: &str) -> Result<(), Error> {
        match self {
            Self::Sqlite(database, path) => {
                insert(database, batch, habit, position).map_err(|error| cannot(path, error))
            }
            Self::Postgres(server, table) => {
                let array = |pick: &dyn Fn(&Row) -> i64| {
                    let numbers: Vec<String> = batch.iter().map(|row| pick(row).to_string()).collect();
                    Cell::Text(format!("{{{}}}", numbers.join(",")))
                };
                let sql = format!(
                    "INSERT INTO {table} (id, account, amount) SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[], \
                     $3::text::bigint[])"
                );
                let parameters = vec![array(&|row| row.0), array(&|row| row.1), array(&|row| row.2)];
                server.execute(&[Statement { sql, parameters, expect_rows: Some(batch.len() as u64) }])
            }
        }
    }
}

fn insert(database: &Connection, batch: &[Row], habit: Habit, position: &str) -> rusqlite::Result<()> {
    let whole = habit != Habit::Piecemeal;
    if whole {
        database.execute_batch("BEGIN IMMEDIATE")?;
    }
    let conflict = if habit == Habit::Keyed { " ON CONFLICT DO NOTHING" } else { "" };
    let mut statement = database.prepare(&format!("INSERT INTO transfers VALUES (?1, ?2, ?3){conflict}"))?;
    for row in batch {
        statement.execute(*row)?;
    }
    if habit == Habit::Together {
        let sql = "INSERT INTO position VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET next = excluded.next";
        database.execute(sql, [position])?;
    }
    if whole {
        database.execute_batch("COMMIT")?;
    }
    Ok(())
}
