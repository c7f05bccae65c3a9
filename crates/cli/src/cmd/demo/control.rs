//! The two programs that go wrong: the article's, with the position stored behind the rows, and the same with it before.
//!
//! Both do what programs of this kind do: read a batch, write its rows in one transaction of the database, and store the
//! position in a file, atomically and durably. Nothing is left out, and nothing waits: the gap between the two is all there is.

use super::args::{Control, Order};
use super::log::{self, FILES, LINE, cannot};
use crate::cmd::Answer;
use onceflow::Error;
use rusqlite::Connection;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Records of a batch.
pub const BATCH: u64 = 500;

/// Where a control keeps its position.
pub fn position_file(folder: &Path, order: Order) -> PathBuf {
    folder.join(format!("{}.position", name(order)))
}

/// Where a control keeps its rows.
pub fn database(folder: &Path, order: Order) -> PathBuf {
    folder.join(format!("{}.db", name(order)))
}

/// What a control is called.
pub fn name(order: Order) -> &'static str {
    match order {
        Order::After => "commit-after-write",
        Order::Before => "commit-before-write",
    }
}

/// How many records a control says that it has done.
pub fn done(folder: &Path, order: Order) -> u64 {
    let text = std::fs::read_to_string(position_file(folder, order)).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum()
}

/// Runs a control to the end of the log.
pub fn run(control: &Control) -> Answer {
    let path = database(&control.folder, control.order);
    let database = Connection::open(&path).map_err(|error| cannot(&path, error))?;
    let sql = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
               CREATE TABLE IF NOT EXISTS transfers (id INTEGER, account INTEGER, amount INTEGER)";
    database.execute_batch(sql).map_err(|error| cannot(&path, error))?;
    let text = std::fs::read_to_string(position_file(&control.folder, control.order)).unwrap_or_default();
    let mut positions: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    positions.resize(usize::try_from(FILES).unwrap_or(4), 0);
    loop {
        let mut more = false;
        for number in 0..FILES {
            let index = usize::try_from(number).unwrap_or(0);
            let batch = read(&log::file(&control.folder, number), positions[index])?;
            if batch.is_empty() {
                continue;
            }
            more = true;
            positions[index] += batch.len() as u64;
            match control.order {
                Order::After => {
                    write(&database, &path, &batch)?;
                    store(&control.folder, control.order, &positions)?;
                }
                Order::Before => {
                    store(&control.folder, control.order, &positions)?;
                    write(&database, &path, &batch)?;
                }
            }
        }
        if !more {
            return Ok(0);
        }
    }
}

type Row = (i64, i64, i64);

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

fn write(database: &Connection, path: &Path, batch: &[Row]) -> Result<(), Error> {
    let insert = || -> rusqlite::Result<()> {
        database.execute_batch("BEGIN IMMEDIATE")?;
        let mut statement = database.prepare("INSERT INTO transfers VALUES (?1, ?2, ?3)")?;
        for row in batch {
            statement.execute(*row)?;
        }
        database.execute_batch("COMMIT")
    };
    insert().map_err(|error| cannot(path, error))
}

/// Stores the position atomically: another file, made durable, takes the place of the old one.
fn store(folder: &Path, order: Order, positions: &[u64]) -> Result<(), Error> {
    let path = position_file(folder, order);
    let new = path.with_extension("new");
    let text: Vec<String> = positions.iter().map(u64::to_string).collect();
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.join(" ").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    };
    write().map_err(|error| cannot(&path, error))
}
