//! Scratch copies of a SQLite file: another file with the target tables' definitions.

use super::location::Location;
use super::{SqliteFactory, fault, now};
use crate::changes::{TableSpec, WriteMode, quoted};
use crate::codes;
use crate::error::{Error, Result};
use crate::home::scratch::{Address, Scratch, not_a_scratch, words};
use crate::home::{Answer, HomeFactory};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Holds the token. Only a scratch has it.
const MARK: &str = "torture_scratch";

/// What belongs to a database beside its file.
const SUFFIXES: &[&str] = &["", "-wal", "-shm", "-journal"];

/// Makes scratch copies of one SQLite file. Names are paths.
pub(super) struct SqliteScratch {
    real: Arc<Location>,
}

impl SqliteScratch {
    pub(super) fn new(real: Arc<Location>) -> Self {
        Self { real }
    }

    fn prepare_now(&self, name: &str, tables: &[TableSpec], token: &str) -> Result<Vec<String>> {
        let place = self.place(name)?;
        if place.exists() {
            return Err(not_a_scratch(name, "the file was there before"));
        }
        let failed = |error| fault::error(&place, "prepare", error);
        let scratch = place.connect(true)?;
        let mark = format!("CREATE TABLE {MARK} (token TEXT NOT NULL); INSERT INTO {MARK} VALUES ('{token}');");
        scratch.execute_batch(&mark).map_err(failed)?;
        let mut left_out = Vec::new();
        if self.real.exists() {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let failed = |error| fault::error(&self.real, "read the definitions of", error);
            let real = Connection::open_with_flags(self.real.path(), flags).map_err(failed)?;
            real.busy_timeout(super::location::BUSY_WAIT).map_err(failed)?;
            for (name, with_rows) in names(tables) {
                let there = copy_table(&real, &scratch, &name, &mut left_out).map_err(failed)?;
                if there && with_rows {
                    copy_rows(&real, &scratch, &name).map_err(failed)?;
                }
            }
        }
        scratch.close().map_err(|(_, error)| failed(error))?;
        Ok(left_out)
    }

    /// The place of a scratch; the real one is refused.
    fn place(&self, name: &str) -> Result<Location> {
        let place = Location::parse(&format!("sqlite:{name}"))?;
        let same_file = place.file_id().is_some() && place.file_id() == self.real.file_id();
        if place == *self.real || same_file {
            return Err(not_a_scratch(name, "it is the pipeline's real database"));
        }
        Ok(place)
    }

    fn check_now(&self, name: &str, token: &str) -> Result<()> {
        let place = self.place(name)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let found = Connection::open_with_flags(place.path(), flags).and_then(|connection| {
            connection.busy_timeout(super::location::BUSY_WAIT)?;
            connection.query_row(&format!("SELECT token FROM {MARK}"), [], |row| row.get::<_, String>(0))
        });
        match found {
            Ok(found) if found == token => Ok(()),
            Ok(_) => Err(not_a_scratch(name, "it carries another run's token")),
            Err(error) => Err(not_a_scratch(name, &format!("its token cannot be read: {error}"))),
        }
    }
}

/// The tables' own names, and every word of a statement that might be one; then whether the rows are needed too. SQLite does
/// not tell upper from lower case in names.
fn names(tables: &[TableSpec]) -> BTreeMap<String, bool> {
    let mut names = BTreeMap::new();
    for table in tables {
        let own = names.entry(table.table.to_lowercase()).or_default();
        if let WriteMode::Statement { sql, .. } = &table.mode {
            *own = true;
            names.extend(words(sql).into_iter().map(|word| (word.trim_matches('"').to_lowercase(), true)));
        }
    }
    names
}

/// The table and its indexes, as they were written; `false` where there is no such table.
fn copy_table(
    real: &Connection,
    scratch: &Connection,
    name: &str,
    left_out: &mut Vec<String>,
) -> rusqlite::Result<bool> {
    let sql = "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE AND type <> 'view' AND sql IS NOT NULL \
               ORDER BY type <> 'table', rowid";
    let mut statement = real.prepare(sql)?;
    let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut there = false;
    for row in rows {
        let (kind, name, sql): (String, String, String) = row?;
        there |= kind == "table";
        if kind == "trigger" {
            left_out.push(format!("the trigger {name}"));
        } else {
            scratch.execute_batch(&sql)?;
        }
    }
    Ok(there)
}

/// The rows, as they are now.
fn copy_rows(real: &Connection, scratch: &Connection, name: &str) -> rusqlite::Result<()> {
    let table = quoted(name);
    let mut statement = real.prepare(&format!("SELECT * FROM {table}"))?;
    let names: Vec<String> =
        statement.column_names().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    let places: Vec<String> = (1..=names.len()).map(|number| format!("?{number}")).collect();
    let insert = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
    scratch.execute_batch("BEGIN")?;
    let mut insert = scratch.prepare(&insert)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for index in 0..names.len() {
            insert.raw_bind_parameter(index + 1, rusqlite::types::Value::try_from(row.get_ref(index)?)?)?;
        }
        insert.raw_execute()?;
    }
    scratch.execute_batch("COMMIT")
}

fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unwritable(name: &str, error: std::io::Error) -> Error {
    Error::unavailable(codes::OF0159, format!("the scratch file {name} cannot be made or removed: {error}"))
}

impl Scratch for SqliteScratch {
    fn prepare<'a>(
        &'a self,
        name: &'a str,
        tables: &'a [TableSpec],
        token: &'a str,
    ) -> Answer<'a, Result<Vec<String>>> {
        now(self.prepare_now(name, tables, token))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Result<()>> {
        let copied = self.place(to).and_then(|place| {
            if place.exists() {
                return Err(not_a_scratch(to, "the file was there before"));
            }
            std::fs::copy(self.place(from)?.path(), place.path()).map_err(|error| unwritable(to, error))
        });
        now(copied.map(drop))
    }

    fn remove<'a>(&'a self, name: &'a str) -> Answer<'a, Result<()>> {
        let removed = self.place(name).and_then(|place| {
            for suffix in SUFFIXES {
                match std::fs::remove_file(with_suffix(place.path(), suffix)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(name, error)),
                    _ => {}
                }
            }
            Ok(())
        });
        now(removed)
    }

    fn check<'a>(&'a self, name: &'a str, token: &'a str) -> Answer<'a, Result<()>> {
        now(self.check_now(name, token))
    }

    fn home(&self, name: &str, _: &[SocketAddr]) -> Result<Arc<dyn HomeFactory>> {
        Ok(Arc::new(SqliteFactory { place: Arc::new(self.place(name)?) }))
    }

    fn addresses(&self) -> Vec<Address> {
        Vec::new()
    }
}
