//! Values as rows of a table, by the engine's own way of writing: COPY where that is possible, keys, merges, refused rows as dead letters,
//! digests in the ledger.

use crate::batch::Item;
use crate::flow::Steps;
use crate::logic;
use onceflow_engine as engine;
use onceflow_engine::changes::{ColumnSpec, MergeOp, OnError, Part, RowSet, TableSpec, WriteMode};
use onceflow_engine::error::Place;
use onceflow_engine::logic::{EpochClock, Logic, LogicFactory};
use onceflow_engine::record::Batch;
use serde::Serialize;
use std::panic::Location;
use std::sync::Arc;

mod columns;
mod row;
mod table;

use columns::Columns;
pub(crate) use table::resolve;

/// How a column of [`Writing::merge_into`](crate::Writing::merge_into) combines what comes with what is there. NULL takes no part, except in
/// `Last` and `First`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// Addition; beyond the range of the column's type the record is a dead letter.
    Sum,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
    /// What comes.
    Last,
    /// What is there.
    First,
}

impl Merge {
    fn op(self) -> MergeOp {
        match self {
            Self::Sum => MergeOp::Sum,
            Self::Min => MergeOp::Min,
            Self::Max => MergeOp::Max,
            Self::Last => MergeOp::Last,
            Self::First => MergeOp::First,
        }
    }
}

/// A table that values are written to: a name, `schema.name`, or with the columns that values have.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    columns: Option<Vec<String>>,
}

impl Table {
    /// The table of this name, exact; `schema.table` where it has a dot.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), columns: None }
    }

    /// Exactly these columns are written. Where nothing is said, it is all that have no default in the database.
    pub fn columns<I: IntoIterator<Item: Into<String>>>(self, columns: I) -> Self {
        Self { columns: Some(columns.into_iter().map(Into::into).collect()), ..self }
    }
}

impl From<&str> for Table {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl From<String> for Table {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}

/// What a row does, as chosen in code.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    Append,
    Upsert,
    Merge(Vec<(String, Merge)>),
}

/// A table as chosen in code; its types and keys stand in the database.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) table: Table,
    pub(crate) mode: Mode,
    pub(crate) on_error: OnError,
    /// Where in the user's code.
    pub(crate) place: Place,
}

impl Target {
    pub(crate) fn new(table: Table, mode: Mode, on_error: OnError, at: &Location<'_>) -> Self {
        let place = Place { file: at.file().into(), line: at.line(), column: at.column(), length: 1 };
        Self { table, mode, on_error, place }
    }

    /// The table as the engine knows it, of the columns that the database has.
    fn spec(&self, columns: Vec<ColumnSpec>, key: Vec<usize>) -> engine::Result<TableSpec> {
        let (schema, table) = match self.table.name.split_once('.') {
            Some((schema, table)) => (Some(schema.to_owned()), table.to_owned()),
            None => (None, self.table.name.clone()),
        };
        let mode = match &self.mode {
            Mode::Append => WriteMode::Append,
            Mode::Upsert => WriteMode::Upsert,
            Mode::Merge(merges) => self.merges(&columns, &key, merges)?,
        };
        let key = if mode == WriteMode::Append { Vec::new() } else { key };
        let (name, on_error, place) = (self.table.name.as_str().into(), self.on_error, self.place.clone());
        Ok(TableSpec { name, schema, table, columns, key, mode, on_error, place })
    }

    fn merges(&self, columns: &[ColumnSpec], key: &[usize], merges: &[(String, Merge)]) -> engine::Result<WriteMode> {
        let wrong = |message: String| engine::Error::config(engine::codes::OF1013, message).at(&self.place);
        if let Some((name, _)) = merges.iter().find(|(name, _)| !columns.iter().any(|column| column.name == *name)) {
            let message = format!("merge_into('{}') names a column '{name}' that is not written", self.table.name);
            return Err(wrong(message).note(format!("written are: {}", names(columns))));
        }
        let op = |(index, column): (usize, &ColumnSpec)| {
            let chosen = merges.iter().find(|(name, _)| *name == column.name).map(|(_, merge)| merge.op());
            match (chosen, key.contains(&index)) {
                (None, true) => Ok(None),
                (Some(op), false) => Ok(Some(op)),
                (Some(_), true) => {
                    Err(wrong(format!("'{}' is of the key of '{}' and cannot be merged", column.name, self.table.name)))
                }
                (None, false) => Err(wrong(format!(
                    "merge_into('{}') does not say how '{}' is merged",
                    self.table.name, column.name
                ))
                .help(format!("(\"{}\", Merge::Last) replaces it", column.name))),
            }
        };
        columns.iter().enumerate().map(op).collect::<engine::Result<_>>().map(WriteMode::Merge)
    }
}

fn names(columns: &[ColumnSpec]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Makes the logic that turns a flow's values into rows of one table.
pub(crate) struct Factory<T> {
    pub(crate) steps: Steps<T>,
    pub(crate) on_error: OnError,
    pub(crate) table: Arc<TableSpec>,
}

impl<T: Serialize + Send + 'static> LogicFactory for Factory<T> {
    fn build(&self) -> engine::Result<Box<dyn Logic>> {
        Ok(Box::new(Rows { steps: self.steps.clone(), on_error: self.on_error, table: self.table.clone() }))
    }
}

struct Rows<T> {
    steps: Steps<T>,
    on_error: OnError,
    table: Arc<TableSpec>,
}

impl<T: Serialize + Send + 'static> Logic for Rows<T> {
    fn prepare(&mut self, _: usize, batches: Vec<Batch>, _: &EpochClock) -> engine::Result<Part> {
        let mut columns = Columns::new(&self.table.columns);
        let mut ordinals = Vec::new();
        let prepared = logic::each(&batches, self.on_error, &*self.steps, |items: &mut Vec<Item<T>>| {
            if let Err(problem) = items.iter().try_for_each(|item| row::read(&item.value, &mut columns)) {
                columns.forget();
                return Err(problem);
            }
            columns.keep();
            ordinals.extend(items.iter().map(|item| item.at.1));
            Ok(())
        })?;
        let rows = columns.finish()?;
        let set = RowSet { table: 0, rows, ordinals: Some(ordinals), deletes: None };
        Ok(Part::new(batches, vec![set], prepared.failed, prepared.used))
    }
}
