//! The way from a source to a handler: decode, filter, map.

use crate::batch::{Batch, Record};
use crate::calling::{Blocking, EachBatch, EachRecord, Factory, Handling};
use crate::decode::{Decoder, RawRecord, Refused, With};
use crate::error::Result;
use crate::homes::Home;
use crate::into::{self, Merge, Mode, Table, Target};
use crate::logic::Step;
use crate::pipeline::{Choices, Ready, Writes};
use crate::sources::Source;
use crate::tx::Tx;
use onceflow_engine as engine;
use onceflow_engine::changes::OnError;
use onceflow_engine::logic::LogicFactory;
use serde::Serialize;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

/// A pipeline that has a source.
pub struct Reading {
    pub(crate) choices: Choices,
    pub(crate) source: Source,
}

impl Reading {
    /// Decodes each record. One that cannot be decoded becomes a dead letter in the transaction of its neighbours, unless
    /// [`Flow::on_error`] says otherwise.
    pub fn parse<D: Decoder>(self, decoder: D) -> Flow<D::Item> {
        let steps = move |record: &RawRecord<'_>, sink: &mut dyn FnMut(D::Item)| {
            if let Some(value) = decoder.decode(record)? {
                sink(value);
            }
            Ok(())
        };
        Flow { choices: self.choices, source: self.source, steps: Arc::new(steps), on_error: OnError::default() }
    }

    /// Decodes each record with a function: `.parse_with(|record| MyType::decode(record.value().unwrap_or_default()))`.
    pub fn parse_with<T, E, F>(self, decode: F) -> Flow<T>
    where
        F: Fn(&RawRecord<'_>) -> Result<T, E> + Send + Sync + 'static,
        T: Send + 'static,
        E: Into<Refused> + 'static,
    {
        self.parse(With(decode, PhantomData))
    }
}

/// All steps from a record to values.
pub(crate) type Steps<T> = Arc<Step<T>>;

/// Values on their way to a handler. The closures of its methods are pure functions that run ahead of the transaction, on another thread; one
/// that panics stops the pipeline with the record's name.
pub struct Flow<T> {
    choices: Choices,
    source: Source,
    steps: Steps<T>,
    on_error: OnError,
}

impl<T: Send + 'static> Flow<T> {
    fn with<U>(self, step: impl Fn(T, &mut dyn FnMut(U)) -> Result<(), Refused> + Send + Sync + 'static) -> Flow<U> {
        let before = self.steps;
        let steps = move |record: &RawRecord<'_>, sink: &mut dyn FnMut(U)| {
            let mut refused = Ok(());
            before(record, &mut |value| {
                if refused.is_ok() {
                    refused = step(value, sink);
                }
            })?;
            refused
        };
        Flow { choices: self.choices, source: self.source, steps: Arc::new(steps), on_error: self.on_error }
    }

    /// Keeps the values for which the answer is true. A record of which nothing is left is counted as filtered.
    pub fn filter(self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Flow<T> {
        self.with(move |value, sink| {
            if keep(&value) {
                sink(value);
            }
            Ok(())
        })
    }

    /// Makes another value of each.
    pub fn map<U: Send + 'static>(self, make: impl Fn(T) -> U + Send + Sync + 'static) -> Flow<U> {
        self.with(move |value, sink: &mut dyn FnMut(U)| {
            sink(make(value));
            Ok(())
        })
    }

    /// Makes another value of each, or refuses its record, which becomes a dead letter with the error's words as its reason.
    pub fn try_map<U, E>(self, make: impl Fn(T) -> Result<U, E> + Send + Sync + 'static) -> Flow<U>
    where
        U: Send + 'static,
        E: Into<Refused>,
    {
        self.with(move |value, sink: &mut dyn FnMut(U)| {
            sink(make(value).map_err(Into::into)?);
            Ok(())
        })
    }

    /// Makes any number of values of each. They take effect together or not at all: they belong to one record.
    pub fn flat_map<U, I>(self, make: impl Fn(T) -> I + Send + Sync + 'static) -> Flow<U>
    where
        U: Send + 'static,
        I: IntoIterator<Item = U>,
    {
        self.with(move |value, sink: &mut dyn FnMut(U)| {
            make(value).into_iter().for_each(sink);
            Ok(())
        })
    }

    /// Looks at each value. For logs and counters of your own: a record that is read again after a crash is seen again.
    pub fn inspect(self, look: impl Fn(&T) + Send + Sync + 'static) -> Flow<T> {
        self.with(move |value, sink| {
            look(&value);
            sink(value);
            Ok(())
        })
    }

    /// What happens to a record that cannot be decoded: [`OnError::DeadLetter`] where nothing is said.
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// The database that holds rows and ledger.
    pub fn write_to(self, home: impl Home) -> Writing<T> {
        Writing { flow: self, home: home.open() }
    }
}

/// A flow that has a home; what is left is the handler.
pub struct Writing<T> {
    flow: Flow<T>,
    home: onceflow_engine::Result<Arc<dyn onceflow_engine::home::HomeFactory>>,
}

impl<T: Send + 'static> Writing<T> {
    fn ready(self, handler: impl Handling<T>) -> Ready {
        let flow = self.flow;
        let factory = Factory::new(handler);
        let logic = Arc::new(crate::logic::Factory::new(flow.steps, flow.on_error));
        let handler = Box::new(move |terms| factory.with(terms));
        Ready::new(flow.choices, flow.source, self.home, Writes::Code { logic, handler })
    }

    /// Calls the handler with the records of one partition at a time, in the order of their offsets: once a partition and transaction.
    ///
    /// The closure is shared by all lanes, so what it captures is `Send + Sync`; its future stays on one thread and need be neither.
    pub fn for_each_partition<F>(self, handler: F) -> Ready
    where
        F: AsyncFn(&mut Tx<'_>, Batch<T>) -> Result<()> + Send + Sync + 'static,
    {
        self.ready(EachBatch(handler))
    }

    /// Calls the handler with one record at a time.
    pub fn for_each<F>(self, handler: F) -> Ready
    where
        F: AsyncFn(&mut Tx<'_>, Record<T>) -> Result<()> + Send + Sync + 'static,
    {
        self.ready(EachRecord(handler))
    }

    /// Inserts each value as a row. Anything that serde can write as a structure with named fields is one; fields are columns by their names.
    ///
    /// The table's types are the database's: whole numbers, texts, truth values as they are; decimals, dates and moments also as texts
    /// (`"12.30"`, RFC 3339), as `chrono` and `rust_decimal` write them; lists and structures as JSON. A value that does not fit its column
    /// exactly makes its record a dead letter, as does a row that the database refuses; a field that is no column stops the pipeline.
    /// Rows go by COPY where the database has it, and their digests stand in the ledger, as those of a SQL pipeline do.
    #[track_caller]
    pub fn append_into(self, table: impl Into<Table>) -> Ready
    where
        T: Serialize,
    {
        self.rows(table.into(), Mode::Append, Location::caller())
    }

    /// Inserts each value as a row, or replaces the written columns of the row that has its primary key. Of several values with one key
    /// in a transaction the last counts. See [`Writing::append_into`].
    #[track_caller]
    pub fn upsert_into(self, table: impl Into<Table>) -> Ready
    where
        T: Serialize,
    {
        self.rows(table.into(), Mode::Upsert, Location::caller())
    }

    /// Inserts each value as a row, or combines it with the row that has its primary key, column by column:
    /// `.merge_into("balances", [("balance", Merge::Sum), ("changed_at", Merge::Last)])`. Every written column outside of the key needs a
    /// way. See [`Writing::append_into`].
    #[track_caller]
    pub fn merge_into<N: Into<String>>(
        self,
        table: impl Into<Table>,
        columns: impl IntoIterator<Item = (N, Merge)>,
    ) -> Ready
    where
        T: Serialize,
    {
        let merges = columns.into_iter().map(|(name, merge)| (name.into(), merge)).collect();
        self.rows(table.into(), Mode::Merge(merges), Location::caller())
    }

    fn rows(self, table: Table, mode: Mode, at: &Location<'_>) -> Ready
    where
        T: Serialize,
    {
        let flow = self.flow;
        let (steps, on_error) = (flow.steps, flow.on_error);
        let target = Target::new(table, mode, on_error, at);
        let logic = move |table| Arc::new(into::Factory { steps, on_error, table }) as Arc<dyn LogicFactory>;
        Ready::new(flow.choices, flow.source, self.home, Writes::Rows { target, logic: Box::new(logic) })
    }

    /// As [`Writing::for_each_partition`], for closures that are not async: they work on SQLite's own connection ([`Tx::sqlite`]). With
    /// PostgreSQL, whose driver is async, the start is refused (OF1006).
    pub fn for_each_partition_blocking<F>(self, handler: F) -> Ready
    where
        F: Fn(&mut Tx<'_>, Batch<T>) -> Result<()> + Send + Sync + 'static,
    {
        let home = self.home.and_then(|home| match home.system() {
            "SQLite" => Ok(home),
            other => Err(engine::Error::config(
                engine::codes::OF1006,
                format!("a closure that is not async cannot work in {other}, whose driver is async"),
            )
            .help(".for_each_partition(async |tx, batch| …)")),
        });
        Self { home, ..self }.ready(Blocking(handler))
    }
}
