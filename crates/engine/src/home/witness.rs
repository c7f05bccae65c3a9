//! A home as a witness sees it: one snapshot, read only.
//!
//! Everything that a witness answers is of one moment, so ledger and rows belong together however much the pipeline commits
//! meanwhile. A witness writes nothing and takes no lock that a pipeline would wait for.

use crate::changes::TableSpec;
use crate::error::Result;
use crate::home::Answer;
use crate::home::desk::Cell;

/// What a row's cells are handed to: the declared columns in order, as text; `None` is NULL.
pub type EachRow<'a> = &'a mut dyn FnMut(&[Option<&str>]) -> Result<()>;

/// One snapshot of a home.
pub trait Witness {
    /// Whether the ledger exists here.
    fn exists(&mut self) -> Answer<'_, Result<bool>>;

    /// Rows of a query over the ledger, written as for [`crate::home::desk::Desk::rows`].
    fn rows<'a>(&'a mut self, sql: &'a str, parameters: &'a [Cell]) -> Answer<'a, Result<Vec<Vec<Cell>>>>;

    /// How many rows a table has.
    fn count<'a>(&'a mut self, table: &'a TableSpec) -> Answer<'a, Result<u64>>;

    /// Every row of a table, in any order. Numbers in decimal, booleans as `true` and `false` or 1 and 0, bytes in
    /// hexadecimal, times in ISO form and UTC, nested values as JSON.
    fn scan<'a>(&'a mut self, table: &'a TableSpec, each: EachRow<'a>) -> Answer<'a, Result<()>>;

    /// For each declared column whether the database changes the form of texts that it stores (JSON, network addresses, padded
    /// texts), so that they have to go through [`Self::stored`] before they are compared.
    fn changes_texts<'a>(&'a mut self, table: &'a TableSpec) -> Answer<'a, Result<Vec<bool>>>;

    /// Texts as the column would give them back. A text that the column refuses stays as it is.
    fn stored<'a>(
        &'a mut self,
        table: &'a TableSpec,
        column: usize,
        texts: Vec<Option<String>>,
    ) -> Answer<'a, Result<Vec<Option<String>>>>;
}
