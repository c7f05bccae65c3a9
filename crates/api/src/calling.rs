//! Calling the user's handler inside the transaction of an epoch.

use crate::batch::{Batch, Item, Record, Span};
use crate::error::{Error, Poison, Repr, Result};
use crate::logic::{Cargo, words};
use crate::tx::{Lane, Tx};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use onceflow_engine as engine;
use onceflow_engine::changes::{Aside, Work};
use onceflow_engine::codes;
use onceflow_engine::core::Partition;
use onceflow_engine::home::Answer;
use onceflow_engine::home::inside::Inside;
use onceflow_engine::user_code::{UserCode, UserCodeFactory};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// The database ends a transaction in which nothing was asked for so long.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A user's handler, whatever its shape.
pub(crate) trait Handling<T>: Send + Sync + 'static {
    fn call<'a>(&'a self, tx: &'a mut Tx<'_>, batch: Batch<T>) -> LocalBoxFuture<'a, Result<()>>;
}

pub(crate) struct EachBatch<F>(pub(crate) F);
pub(crate) struct EachRecord<F>(pub(crate) F);
pub(crate) struct Blocking<F>(pub(crate) F);

impl<T: 'static, F> Handling<T> for EachBatch<F>
where
    F: AsyncFn(&mut Tx<'_>, Batch<T>) -> Result<()> + Send + Sync + 'static,
{
    fn call<'a>(&'a self, tx: &'a mut Tx<'_>, batch: Batch<T>) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(async move { (self.0)(tx, batch).await })
    }
}

impl<T: 'static, F> Handling<T> for EachRecord<F>
where
    F: AsyncFn(&mut Tx<'_>, Record<T>) -> Result<()> + Send + Sync + 'static,
{
    fn call<'a>(&'a self, tx: &'a mut Tx<'_>, batch: Batch<T>) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for record in batch {
                tx.desk().at(&record);
                (self.0)(&mut *tx, record).await?;
            }
            Ok(())
        })
    }
}

impl<T: 'static, F> Handling<T> for Blocking<F>
where
    F: Fn(&mut Tx<'_>, Batch<T>) -> Result<()> + Send + Sync + 'static,
{
    fn call<'a>(&'a self, tx: &'a mut Tx<'_>, batch: Batch<T>) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(async move { (self.0)(tx, batch) })
    }
}

/// For tests of handlers: at a chosen statement the process ends, or the database is lost for a moment.
#[derive(Debug)]
pub(crate) struct Fuse {
    /// Statements up to and with the one that is not executed.
    left: AtomicI64,
    /// Whether the database is only lost, so that the next transaction works again.
    lost: bool,
    blown: AtomicBool,
    happened: AtomicBool,
}

impl Fuse {
    #[cfg(feature = "sqlite")]
    pub(crate) fn before(statement: u64, lost: bool) -> Self {
        let left = AtomicI64::new(i64::try_from(statement).unwrap_or(i64::MAX));
        Self { left, lost, blown: AtomicBool::new(false), happened: AtomicBool::new(false) }
    }

    /// Whether the moment has come.
    #[cfg(feature = "sqlite")]
    pub(crate) fn happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }

    pub(crate) fn statement(&self) -> Result {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.blown.store(true, Ordering::SeqCst);
            self.happened.store(true, Ordering::SeqCst);
        }
        self.check().map_err(Error::from)
    }

    /// After the moment nothing works: in this transaction, and in no other where the process has ended.
    fn check(&self) -> engine::Result<()> {
        if self.blown.load(Ordering::SeqCst) { Err(disturbed(self.lost)) } else { Ok(()) }
    }

    /// After a handler, whatever it made of its failures.
    fn after_handler(&self) -> engine::Result<()> {
        let checked = self.check();
        if self.lost {
            self.blown.store(false, Ordering::SeqCst);
        }
        checked
    }
}

/// The error with which a test disturbs a run: the database is lost for a moment, or the process ends.
pub(crate) fn disturbed(lost: bool) -> engine::Error {
    match lost {
        true => engine::Error::unavailable(codes::OF0806, "the test loses the database here"),
        false => engine::Error::internal("the test ends the process here"),
    }
}

/// What a handler is run with.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// How often in a row a handler may ask for another try.
    pub(crate) retries: u32,
    pub(crate) fuse: Option<Arc<Fuse>>,
    /// For messages: the pipeline's name and its channels.
    pub(crate) pipeline: Arc<str>,
    pub(crate) channels: Arc<Vec<String>>,
}

pub(crate) struct Factory<T> {
    handling: Arc<dyn Handling<T>>,
}

impl<T: 'static> Factory<T> {
    pub(crate) fn new(handling: impl Handling<T>) -> Self {
        Self { handling: Arc::new(handling) }
    }

    pub(crate) fn with(self, terms: Terms) -> Arc<dyn UserCodeFactory> {
        Arc::new(Built { handling: self.handling, terms })
    }
}

struct Built<T> {
    handling: Arc<dyn Handling<T>>,
    terms: Terms,
}

impl<T: 'static> UserCodeFactory for Built<T> {
    fn build(&self) -> Box<dyn UserCode> {
        Box::new(Running {
            handling: self.handling.clone(),
            retries: self.terms.retries,
            failures: 0,
            lane: Lane::new(
                self.terms.fuse.clone(),
                crate::outbox::Desk::new(self.terms.pipeline.clone(), self.terms.channels.clone()),
            ),
            values: PhantomData,
        })
    }
}

/// The handler of one lane.
struct Running<T> {
    handling: Arc<dyn Handling<T>>,
    retries: u32,
    /// How often in a row the handler asked for another try.
    failures: u32,
    lane: Lane,
    values: PhantomData<fn() -> T>,
}

impl<T: 'static> UserCode for Running<T> {
    fn handle<'a>(
        &'a mut self,
        inside: &'a mut dyn Inside,
        work: &'a mut Work,
    ) -> Answer<'a, engine::Result<Vec<Aside>>> {
        Box::pin(async move {
            let handled = self.all(inside, work).await?;
            self.failures = 0;
            Ok(handled)
        })
    }
}

impl<T: 'static> Running<T> {
    async fn all(&mut self, inside: &mut dyn Inside, work: &mut Work) -> engine::Result<Vec<Aside>> {
        let spans = spans::<T>(work)?;
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        inside.enter().await?;
        let mut aside = Vec::new();
        for span in spans {
            self.span(inside, &Batch::new(Arc::new(span)), &mut aside).await?;
        }
        inside.leave().await?;
        Ok(aside)
    }

    /// Has one partition's records handled: again and again without those that the handler puts aside.
    async fn span(&mut self, inside: &mut dyn Inside, whole: &Batch<T>, aside: &mut Vec<Aside>) -> engine::Result<()> {
        let mut batch = whole.clone();
        let before = aside.len();
        while !batch.is_empty() {
            match self.call(inside, &batch).await? {
                None => return inside.keep().await,
                Some(poison) => {
                    inside.back().await?;
                    aside.push(self.put_aside(&batch, poison)?);
                    batch = whole.without(|at| aside[before..].iter().any(|one| (one.part, one.ordinal) == at));
                }
            }
        }
        Ok(())
    }

    /// One call of the handler; a record that it wants aside, or an error that ends the transaction.
    async fn call(&mut self, inside: &mut dyn Inside, batch: &Batch<T>) -> engine::Result<Option<Poison>> {
        let began = Instant::now();
        let called = {
            let mut tx = Tx::new(inside.native(), &self.lane);
            tx.desk().begin(batch);
            AssertUnwindSafe(self.handling.call(&mut tx, batch.clone())).catch_unwind().await
        };
        if let Some(fuse) = &self.lane.fuse {
            fuse.after_handler()?;
        }
        match called {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) => self.said(error, batch, began.elapsed()),
            Err(panic) => Err(self.panicked(batch, &words(&*panic))),
        }
    }

    fn said(&mut self, error: Error, batch: &Batch<T>, took: Duration) -> engine::Result<Option<Poison>> {
        let error = match error.into_repr() {
            Repr::Poison(poison) => return Ok(Some(poison)),
            Repr::Retry(cause) => return Err(self.again(&cause.to_string(), batch)),
            Repr::Engine(error) => error,
            Repr::Refused(reason) => engine::user_code::explain(reason.into(), &format!("handle {}", name(batch))),
            Repr::Other(other) => engine::user_code::explain(other, &format!("handle {}", name(batch))),
        };
        match error.kind() {
            engine::Kind::Unavailable if took >= IDLE_MAX => {
                let seconds = took.as_secs();
                let why = format!("{} after {seconds} s in the handler", error.message());
                Err(self.again(&why, batch).note(format!(
                    "the database ends a transaction in which nothing is asked for {} s, so that a stopped process cannot hold its locks",
                    IDLE_MAX.as_secs()
                )))
            }
            _ => Err(error),
        }
    }

    /// Another try of the same records, a bounded number of times.
    fn again(&mut self, cause: &str, batch: &Batch<T>) -> engine::Error {
        self.failures += 1;
        let name = name(batch);
        if self.failures > self.retries {
            let message = format!("your code asked {} times in a row to try {name} again: {cause}", self.failures);
            return engine::Error::new(engine::Kind::Data, codes::OF1004, message)
                .note("nothing of it was committed; the next start reads the same records again")
                .help("raise .retries(n), or put the record aside with record.dead_letter(..)");
        }
        engine::Error::unavailable(codes::OF1004, format!("your code asks to try {name} again: {cause}"))
    }

    fn panicked(&self, batch: &Batch<T>, said: &str) -> engine::Error {
        engine::Error::new(engine::Kind::Data, codes::OF1002, format!("your code panicked in {}: {said}", name(batch)))
            .note("nothing of it was committed; the next start reads the same records again")
    }

    fn put_aside(&self, batch: &Batch<T>, poison: Poison) -> engine::Result<Aside> {
        let Poison { at: (part, ordinal), reason } = poison;
        if !batch.iter().any(|record| record.at() == (part, ordinal)) {
            let message = format!("your code put a record aside that is not in {}: {reason}", name(batch));
            return Err(engine::Error::new(engine::Kind::Data, codes::OF1005, message)
                .help("put aside records of the batch that the handler was called with, each once"));
        }
        Ok(Aside { part, ordinal, reason })
    }
}

fn name<T>(batch: &Batch<T>) -> String {
    let offsets = batch.offsets();
    format!("{}/{} offsets {}..{}", batch.topic(), batch.partition(), offsets.start, offsets.end)
}

/// The values of an epoch, partition by partition, each in the order of its offsets.
fn spans<T: 'static>(work: &mut Work) -> engine::Result<Vec<Span<T>>> {
    let mut found: BTreeMap<Partition, Span<T>> = BTreeMap::new();
    for (number, part) in work.parts.iter_mut().enumerate() {
        let Some(cargo) = part.cargo.take() else { continue };
        let cargo = cargo.downcast::<Cargo<T>>().map_err(|_| engine::Error::internal("values of another type"))?;
        let mut items = cargo.into_iter().peekable();
        let mut end = 0_u32;
        for batch in &part.batches {
            end += u32::try_from(batch.records.len()).expect("a fetch is bounded far below 2^32 records");
            let (from, to) = (batch.span.from().get(), batch.span.to().get());
            let span = found.entry(batch.partition.clone()).or_insert_with(|| Span {
                partition: batch.partition.clone(),
                range: from..to,
                items: Vec::new(),
            });
            span.range.end = to;
            while let Some(item) = items.next_if(|item| item.at.1 < end) {
                span.items.push(Item { at: (number, item.at.1), ..item });
            }
        }
    }
    Ok(found.into_values().filter(|span| !span.items.is_empty()).collect())
}
