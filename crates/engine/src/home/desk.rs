//! The ledger as people's commands see it: a few plain queries that read the same in every home.

use crate::error::Result;
use crate::home::Answer;

/// A value in a ledger's row.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    /// NULL.
    Null,
    /// A whole number.
    Int(i64),
    /// Text. Timestamps come as RFC 3339 in UTC, JSON as text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Queries over the ledger. Table names are written as `{shard}`, `{commit}` …, and become the home's own
/// (`onceflow.shard`, `onceflow_shard`); parameters as `$1`, `$2` … by their numbers.
pub trait Desk {
    /// Whether the ledger exists here.
    fn exists(&mut self) -> Answer<'_, Result<bool>>;

    /// Rows of a query, column by column in order.
    fn rows<'a>(&'a mut self, sql: &'a str, parameters: &'a [Cell]) -> Answer<'a, Result<Vec<Vec<Cell>>>>;

    /// Executes statements in one transaction, all or none. Each must touch as many rows as it says, where it says so;
    /// otherwise everything is rolled back and the index of the statement is in the error.
    fn execute<'a>(&'a mut self, statements: &'a [Statement]) -> Answer<'a, Result<Vec<u64>>>;
}

/// A statement of a command, with its parameters.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The SQL, written as for [`Desk::rows`].
    pub sql: String,
    /// Its parameters.
    pub parameters: Vec<Cell>,
    /// How many rows it has to touch, where that is known.
    pub expect_rows: Option<u64>,
}
