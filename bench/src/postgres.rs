//! PostgreSQL as the benchmark sees it: databases that live for one measurement, and questions about them.

use crate::failure::{Doing, Failure, Result};
use crate::rows::Totals;
use bytes::Bytes;
use futures_util::SinkExt as _;
use std::path::{Path, PathBuf};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

/// One connection. All methods block.
pub struct Session {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Session {
    /// Connects.
    pub fn open(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            // Its end is seen by the client's next question.
            drop(tokio::spawn(connection));
            Ok::<_, tokio_postgres::Error>(client)
        });
        Ok(Self { runtime, client: client.doing("connect to PostgreSQL")? })
    }

    /// Executes statements.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.runtime.block_on(self.client.batch_execute(sql)).doing(sql)
    }

    /// The rows of a query.
    pub fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.runtime.block_on(self.client.query(sql, parameters)).doing(sql)
    }

    /// Prepares a query.
    pub fn prepare(&self, sql: &str) -> Result<Statement> {
        self.runtime.block_on(self.client.prepare(sql)).doing(sql)
    }

    /// The rows of a prepared query.
    pub fn query(&self, statement: &Statement, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        Ok(self.runtime.block_on(self.client.query(statement, parameters))?)
    }

    /// Executes a statement for each set of parameters, each sent when the answer to the one before is there.
    pub fn repeat(&self, sql: &str, sets: impl Iterator<Item = Vec<Box<dyn ToSql + Sync>>>) -> Result<()> {
        self.runtime
            .block_on(async {
                let statement = self.client.prepare(sql).await?;
                for set in sets {
                    let set: Vec<&(dyn ToSql + Sync)> = set.iter().map(|one| &**one).collect();
                    self.client.execute(&statement, &set).await?;
                }
                Ok::<_, tokio_postgres::Error>(())
            })
            .doing(sql)
    }

    /// One number.
    pub fn number(&self, sql: &str) -> Result<i64> {
        let rows = self.rows(sql, &[])?;
        let row = rows.first().ok_or_else(|| Failure::new(format!("{sql}: no row")))?;
        row.try_get(0).doing(sql)
    }

    /// One text.
    pub fn text(&self, sql: &str) -> Result<String> {
        let rows = self.rows(sql, &[])?;
        let row = rows.first().ok_or_else(|| Failure::new(format!("{sql}: no row")))?;
        row.try_get(0).doing(sql)
    }

    /// Sends one whole file in a COPY.
    pub fn copy_in(&self, sql: &str, file: Bytes) -> Result<u64> {
        self.runtime
            .block_on(async {
                let sink = self.client.copy_in(sql).await?;
                let mut sink = std::pin::pin!(sink);
                sink.send(file).await?;
                sink.as_mut().finish().await
            })
            .doing(sql)
    }
}

/// The server.
#[derive(Clone, Debug)]
pub struct Server {
    url: String,
    bin: PathBuf,
}

impl Server {
    /// The server behind a URL that ends with a database, and the folder of its programs.
    pub fn new(url: String, bin: PathBuf) -> Self {
        Self { url, bin }
    }

    /// A connection to its first database.
    pub fn session(&self) -> Result<Session> {
        Session::open(&self.url)
    }

    /// Its client program.
    pub fn psql(&self) -> PathBuf {
        self.bin.join("psql")
    }

    /// A new database with these tables, gone with the value. What earlier measurements have left to write is written
    /// before, so that this one does not pay for it.
    pub fn database(&self, tables: &str) -> Result<Database> {
        let session = self.session()?;
        let name = format!("bench_{}", session.number("SELECT coalesce(max(oid::bigint), 0) + 1 FROM pg_database")?);
        session.execute(&format!("CREATE DATABASE {name}"))?;
        let (server, _) = self.url.rsplit_once('/').ok_or_else(|| Failure::new("the URL names no database"))?;
        let database = Database { server: self.clone(), url: format!("{server}/{name}"), name };
        database.session()?.execute(tables)?;
        session.execute("CHECKPOINT")?;
        Ok(database)
    }
}

/// A database of one measurement.
pub struct Database {
    server: Server,
    /// Its URL.
    pub url: String,
    /// Its name.
    pub name: String,
}

impl Drop for Database {
    fn drop(&mut self) {
        let gone = self
            .server
            .session()
            .and_then(|session| session.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
        if let Err(failure) = gone {
            eprintln!("bench: the database {} stays: {failure}", self.name);
        }
    }
}

impl Database {
    /// A connection.
    pub fn session(&self) -> Result<Session> {
        Session::open(&self.url)
    }

    /// Puts rows of a binary COPY file into a table, which is then as if it had been there for long.
    pub fn prefill(&self, table: &str, file: &Path) -> Result<()> {
        self.copy_file(table, file)?;
        self.session()?.execute(&format!("VACUUM (ANALYZE) {table}"))?;
        self.server.session()?.execute("CHECKPOINT")
    }

    /// The command by which psql copies a file into a table.
    pub fn copy_command(&self, table: &str, file: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(self.server.psql());
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-c"]);
        command.arg(format!("\\copy {table} from '{}' with (format binary)", file.display()));
        command
    }

    fn copy_file(&self, table: &str, file: &Path) -> Result<()> {
        let output = self.copy_command(table, file).output().doing("run psql")?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("psql: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }

    /// Fails unless a table of transactions holds exactly what it must hold.
    pub fn check(&self, table: &str, expected: Totals) -> Result<()> {
        let sql =
            format!("SELECT count(*), coalesce(sum(id), 0)::bigint, coalesce(sum(amount), 0)::bigint FROM {table}");
        let rows = self.session()?.rows(&sql, &[])?;
        let row = rows.first().ok_or_else(|| Failure::new("no row"))?;
        let found = Totals { rows: row.try_get(0)?, ids: row.try_get(1)?, amounts: row.try_get(2)? };
        if found == expected {
            return Ok(());
        }
        Err(Failure::new(format!("WRONG: {table} holds {found:?}, and must hold {expected:?}")))
    }
}
