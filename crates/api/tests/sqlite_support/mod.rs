//! What the tests over SQLite share: a database in a folder of its own, and a pipeline that runs to its end.

use onceflow::{Ready, Report};
use rusqlite::Connection;
use std::path::PathBuf;
use tempfile::TempDir;

/// A database of one test; it goes with this value.
pub struct Lab {
    pub folder: TempDir,
}

impl Lab {
    pub fn new(setup: &str) -> Self {
        let lab = Self { folder: tempfile::tempdir().expect("a folder") };
        lab.open().execute_batch(setup).expect("it is empty");
        lab
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("t.db")
    }

    pub fn open(&self) -> Connection {
        Connection::open(self.file()).expect("the folder is ours")
    }

    /// The one value of a query; nothing for NULL.
    pub fn text(&self, sql: &str) -> String {
        let text = |row: &rusqlite::Row<'_>| row.get::<_, Option<String>>(0);
        self.open().query_row(sql, [], text).unwrap_or_else(|error| panic!("{sql}: {error}")).unwrap_or_default()
    }
}

pub fn run(ready: Ready) -> onceflow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { ready.start()?.ended().await })
}
