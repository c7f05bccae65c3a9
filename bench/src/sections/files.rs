//! Files into SQLite and into PostgreSQL.

use crate::failure::{Doing, Failure, Result};
use crate::figures::{Figures, Sample};
use crate::limits;
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_files, into_payments};
use crate::place::{Place, turn};
use crate::rows::{Rows, Totals};
use crate::subject::{Home, Subject};
use std::path::Path;

/// Append and upsert, each beside its loop of prepared statements.
pub fn sqlite(place: &Place, figures: &mut Figures) -> Result<()> {
    let rows = place.records.rows;
    place.records.json_files()?;
    let mut turns = [
        turn("INSERT", || limits::sqlite(place, &rows, "limit: SQLite prepared INSERT", false)),
        turn("append", || into_sqlite(place, "files to SQLite, append", false)),
        turn("upsert", || limits::sqlite(place, &rows, "limit: SQLite prepared upsert", true)),
        turn("upsert", || into_sqlite(place, "files to SQLite, upsert", true)),
    ];
    place.by_turns("sqlite", figures, &mut turns)
}

fn into_sqlite(place: &Place, name: &str, is_keyed: bool) -> Result<Sample> {
    let path = place.path("files.db");
    rusqlite::Connection::open(&path)?.execute_batch(&limits::sqlite_table(is_keyed)).doing(path.display())?;
    let key = if is_keyed { ", PRIMARY KEY (id) NOT ENFORCED" } else { "" };
    let sql = from_files(place.records.json_files()?)
        + &format!(
            "CREATE TABLE payments ({COLUMNS}{key}) WITH ('connector' = 'sqlite', 'url' = 'sqlite:{}', \
             'table-name' = 'payments');\n{INSERT}",
            path.display()
        );
    let outcome = Subject::new(name, sql, place.records.rows.count, Home::Sqlite(&path)).run(place)?;
    check(&path, &place.records.rows)?;
    forget(&path);
    outcome.sample(name)
}

/// Fails unless the table holds exactly what it must hold.
pub fn check(path: &Path, rows: &Rows) -> Result<()> {
    let database = rusqlite::Connection::open(path)?;
    let sql = "SELECT count(*), coalesce(sum(id), 0), coalesce(sum(amount), 0) FROM payments";
    let found = database
        .query_row(sql, [], |row| Ok(Totals { rows: row.get(0)?, ids: row.get(1)?, amounts: row.get(2)? }))
        .doing(path.display())?;
    if found == rows.totals() {
        return Ok(());
    }
    Err(Failure::new(format!("WRONG: payments holds {found:?}, and must hold {:?}", rows.totals())))
}

/// Deletes a database, so that disks do not fill up.
pub fn forget(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // What is not there need not be deleted.
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

/// Append, beside psql's COPY of the same rows.
pub fn postgres(place: &Place, figures: &mut Figures) -> Result<()> {
    let folder = place.records.json_files()?;
    let mut turns = [
        turn("psql COPY", || limits::copy(place, &place.records, "limit: psql COPY beside files", false)),
        turn("files", || {
            let database = place.server.database(PAYMENTS)?;
            let sql = from_files(folder) + &into_payments(&database.url) + INSERT;
            let name = "files to PostgreSQL";
            let outcome = Subject::new(name, sql, place.records.rows.count, Home::Postgres(&database)).run(place)?;
            database.check("payments", place.records.rows.totals())?;
            outcome.sample(name)
        }),
    ];
    place.by_turns("files-postgres", figures, &mut turns)
}
