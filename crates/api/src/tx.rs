//! The transaction as a handler sees it: statements in, no commit and no rollback.

use crate::error::{Error, Result};
use crate::value::{FromValue, Param, Unfit, Value};
use onceflow_engine::changes::quoted;
use onceflow_engine::codes;
use onceflow_engine::crash;
use onceflow_engine::home::inside::Native;
use std::sync::Arc;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// An open transaction in which the ledger has moved past the records of the handler. It is committed after the handler, by the
/// engine, together with that move.
///
/// Statements are written as in the database itself, with parameters `$1`, `$2` …; each text is prepared once a session. All methods
/// take `&self`, so that several can be in flight: PostgreSQL gets them one behind the other without waiting for answers.
///
/// It has no commit, and cannot be kept:
///
/// ```compile_fail,E0599
/// async fn commits(tx: &mut onceflow::Tx<'_>) {
///     tx.commit().await;
/// }
/// ```
/// ```compile_fail
/// # use onceflow::prelude::*;
/// let kept = std::sync::Mutex::new(Vec::new());
/// Pipeline::new("p").read(Memory::new()).parse(Raw).write_to(Sqlite::file("p.db")).for_each(async move |tx, _record| {
///     kept.lock().unwrap().push(tx);
///     Ok(())
/// });
/// ```
/// The same without the two mistakes compiles:
/// ```
/// # use onceflow::prelude::*;
/// let kept = std::sync::Mutex::new(Vec::new());
/// Pipeline::new("p").read(Memory::new()).parse(Raw).write_to(Sqlite::file("p.db")).for_each(async move |tx, record| {
///     tx.execute("SELECT 1", &[]).await?;
///     kept.lock().unwrap().push(record.id());
///     Ok(())
/// });
/// ```
///
/// Dropping a future of it before it is ready leaves its statement sent or not; the transaction has no commit before the handler has
/// returned, so nothing can be half done.
pub struct Tx<'a> {
    native: Native<'a>,
    lane: &'a Lane,
}

/// What a lane keeps from one transaction to the next.
#[derive(Default)]
pub(crate) struct Lane {
    #[cfg(feature = "postgres")]
    statements: std::cell::RefCell<(u64, std::collections::HashMap<String, tokio_postgres::Statement>)>,
    /// For tests of handlers: the number of the statement before which everything ends.
    pub(crate) fuse: Option<Arc<crate::calling::Fuse>>,
    outbox: crate::outbox::Desk,
}

impl Lane {
    pub(crate) fn new(fuse: Option<Arc<crate::calling::Fuse>>, outbox: crate::outbox::Desk) -> Self {
        Self { fuse, outbox, ..Self::default() }
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(native: Native<'a>, lane: &'a Lane) -> Self {
        Self { native, lane }
    }

    pub(crate) fn desk(&self) -> &'a crate::outbox::Desk {
        &self.lane.outbox
    }

    /// Whether the statement goes to SQLite.
    pub(crate) fn is_sqlite(&self) -> bool {
        #[cfg(feature = "sqlite")]
        return matches!(self.native, Native::Sqlite { .. });
        #[cfg(not(feature = "sqlite"))]
        false
    }

    /// Executes a statement; how many rows it touched. A batch of them is faster by [`Tx::execute_all`].
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        self.before(sql)?;
        self.executed(sql, params).await
    }

    /// A statement of our own.
    pub(crate) async fn execute_ours(&self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        self.pass()?;
        self.executed(sql, params).await
    }

    async fn executed(&self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        match &self.native {
            #[cfg(feature = "postgres")]
            Native::Postgres { client, session } => {
                let statement = postgres::prepare(client, *session, &self.lane.statements, sql).await?;
                postgres::execute(client, &statement, params).await
            }
            #[cfg(feature = "sqlite")]
            Native::Sqlite { connection } => sqlite::execute(connection, sql, params),
        }
    }

    /// Executes a statement once for each row of parameters, in order; how many rows were touched in all. With PostgreSQL hundreds of
    /// them are on their way at a time. Rows are made with [`row!`](crate::row).
    pub async fn execute_all<'p, R>(&self, sql: &str, rows: R) -> Result<u64>
    where
        R: IntoIterator<Item = Vec<Param<'p>>>,
    {
        self.before(sql)?;
        match &self.native {
            #[cfg(feature = "postgres")]
            Native::Postgres { client, session } => {
                let statement = postgres::prepare(client, *session, &self.lane.statements, sql).await?;
                postgres::execute_all(client, &statement, rows.into_iter(), || self.pass()).await
            }
            #[cfg(feature = "sqlite")]
            Native::Sqlite { connection } => {
                let mut touched = 0;
                for row in rows {
                    self.pass()?;
                    touched += sqlite::execute(connection, sql, &row)?;
                }
                Ok(touched)
            }
        }
    }

    /// The rows of a query, all of them.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        self.before(sql)?;
        match &self.native {
            #[cfg(feature = "postgres")]
            Native::Postgres { client, session } => {
                let statement = postgres::prepare(client, *session, &self.lane.statements, sql).await?;
                postgres::query(client, &statement, params).await
            }
            #[cfg(feature = "sqlite")]
            Native::Sqlite { connection } => sqlite::query(connection, sql, params),
        }
    }

    /// The one row of a query; an error where there is none or more than one.
    pub async fn query_one(&self, sql: &str, params: &[Param<'_>]) -> Result<Row> {
        let found = self.query_opt(sql, params).await?;
        found.ok_or_else(|| Error::stop(format!("no row, and one was expected, of: {sql}")))
    }

    /// The row of a query, where there is one; an error where there are more.
    pub async fn query_opt(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>> {
        let mut rows = self.query(sql, params).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            count => Err(Error::stop(format!("{count} rows, and at most one was expected, of: {sql}"))),
        }
    }

    /// Inserts rows as fast as the database can: by `COPY … FROM STDIN` in PostgreSQL, by a prepared INSERT in SQLite. How many rows.
    /// `table` is exact, `schema.table` where it has a dot; no conflict is handled.
    pub async fn copy_in<'p, R>(&self, table: &str, columns: &[&str], rows: R) -> Result<u64>
    where
        R: IntoIterator<Item = Vec<Param<'p>>>,
    {
        self.pass()?;
        let table = quoted_table(table);
        let names = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        match &self.native {
            #[cfg(feature = "postgres")]
            Native::Postgres { client, .. } => {
                let sql = format!("COPY {table} ({names}) FROM STDIN");
                postgres::copy_in(client, &sql, columns.len(), rows.into_iter()).await
            }
            #[cfg(feature = "sqlite")]
            Native::Sqlite { connection } => {
                let marks = (1..=columns.len()).map(|mark| format!("?{mark}")).collect::<Vec<_>>().join(", ");
                let sql = format!("INSERT INTO {table} ({names}) VALUES ({marks})");
                let mut inserted = 0;
                for row in rows {
                    inserted += sqlite::execute(connection, &sql, &row)?;
                }
                Ok(inserted)
            }
        }
    }

    /// The driver's own client, for everything that has no method here: `COPY … TO`, types of its own, `LISTEN`. An error where the home is
    /// no PostgreSQL. A transaction that is ended through it is noticed after the handler, and nothing of it is committed twice; what is
    /// written **after** that is outside every transaction.
    #[cfg(feature = "postgres")]
    pub fn postgres(&self) -> Result<&'a tokio_postgres::Client> {
        match &self.native {
            Native::Postgres { client, .. } => Ok(client),
            #[cfg(feature = "sqlite")]
            Native::Sqlite { .. } => Err(no_handle("postgres()", "SQLite", "sqlite()")),
        }
    }

    /// The driver's own connection. An error where the home is no SQLite. BEGIN, COMMIT and ROLLBACK are refused on it.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(&self) -> Result<&'a rusqlite::Connection> {
        match &self.native {
            Native::Sqlite { connection } => Ok(connection),
            #[cfg(feature = "postgres")]
            Native::Postgres { .. } => Err(no_handle("sqlite()", "PostgreSQL", "postgres()")),
        }
    }

    /// Before every statement: nobody ends the engine's transaction.
    fn before(&self, sql: &str) -> Result {
        if let Some(word) = ends_transaction(sql) {
            let error = onceflow_engine::Error::config(codes::OF1003, format!("{word} in a handler: {}", sql.trim()));
            return Err(error
                .note("the transaction is the engine's; it commits after the handler, together with the positions")
                .help("return Ok(()) to commit, Err(..) to roll back; SAVEPOINT and ROLLBACK TO work")
                .into());
        }
        self.pass()
    }

    /// Passes the crash point amid a handler's writes.
    fn pass(&self) -> Result {
        crash::point("mid_rows");
        match &self.lane.fuse {
            Some(fuse) => fuse.statement(),
            None => Ok(()),
        }
    }
}

/// `table`, or `schema.table` where there is a dot, as SQL writes it, exact.
pub(crate) fn quoted_table(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

#[cfg(all(feature = "postgres", feature = "sqlite"))]
fn no_handle(method: &str, home: &str, other: &str) -> Error {
    onceflow_engine::Error::config(codes::OF1006, format!("tx.{method}, and the home is {home}"))
        .help(format!("tx.{other}, or the methods of Tx, which work in every home"))
        .into()
}

/// The word with which a statement would end or begin a transaction.
fn ends_transaction(sql: &str) -> Option<&'static str> {
    let rest = after_comments(sql);
    let end = rest.find(|ch: char| !ch.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (word, rest) = rest.split_at(end);
    let words = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"];
    let found = words.into_iter().find(|name| name.eq_ignore_ascii_case(word))?;
    let more: Vec<String> = rest.split_whitespace().take(2).map(str::to_ascii_uppercase).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    match (found, more.as_slice()) {
        ("ROLLBACK", ["TO", ..] | ["WORK" | "TRANSACTION", "TO"]) => None,
        ("PREPARE", [first, ..]) if !first.starts_with("TRANSACTION") => None,
        _ => Some(found),
    }
}

/// A statement without the comments and white space before it.
fn after_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        if let Some(line) = rest.strip_prefix("--") {
            rest = line.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        } else if let Some(block) = rest.strip_prefix("/*") {
            rest = after_block(block).trim_start();
        } else {
            return rest.trim_start_matches(';').trim_start();
        }
    }
}

/// Blocks nest in PostgreSQL; where they do not, an inner `/*` is rare enough to be refused for the wrong reason.
fn after_block(text: &str) -> &str {
    let (mut depth, mut at) = (1, 0);
    while depth > 0 && at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
    }
    text.get(at..).unwrap_or_default()
}

/// A row of a query.
#[derive(Clone, Debug)]
pub struct Row {
    names: Arc<Vec<String>>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(names: Arc<Vec<String>>, values: Vec<Value>) -> Self {
        Self { names, values }
    }

    /// The value of a column by its name; an error where there is none or it is of another type.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T> {
        let Some(index) = self.names.iter().position(|name| name == column) else {
            return Err(Error::stop(format!("no column '{column}'; there are {}", self.names.join(", "))));
        };
        self.read(index, column)
    }

    /// The value of a column by its index from 0.
    pub fn at<T: FromValue>(&self, index: usize) -> Result<T> {
        match self.names.get(index) {
            Some(name) => self.read(index, name),
            None => Err(Error::stop(format!("no column {index}; there are {}", self.names.len()))),
        }
    }

    fn read<T: FromValue>(&self, index: usize, column: &str) -> Result<T> {
        let value = self.values[index].clone();
        T::from_value(value).map_err(|unfit: Unfit| Error::stop(format!("column '{column}': {unfit}")))
    }

    /// The names of the columns, in order.
    pub fn columns(&self) -> &[String] {
        &self.names
    }

    /// All values, in the order of the columns.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_would_end_the_transaction_is_seen() {
        for (sql, word) in [
            ("COMMIT", Some("COMMIT")),
            ("  -- done\n/* a /* b */ c */ commit;", Some("COMMIT")),
            ("; end transaction", Some("END")),
            ("ROLLBACK", Some("ROLLBACK")),
            ("rollback work", Some("ROLLBACK")),
            ("ROLLBACK TO a", None),
            ("rollback transaction to savepoint a", None),
            ("BEGIN", Some("BEGIN")),
            ("start transaction", Some("START")),
            ("PREPARE TRANSACTION 'x'", Some("PREPARE")),
            ("PREPARE s AS SELECT 1", None),
            ("SAVEPOINT a", None),
            ("UPDATE t SET v = 'COMMIT'", None),
            ("WITH begin AS (SELECT 1) SELECT * FROM begin", None),
            ("/* open", None),
            ("", None),
        ] {
            assert_eq!(ends_transaction(sql), word, "{sql}");
        }
    }
}
