//! The engine's logic that carries a flow's values to the handler.

use crate::batch::{Beside, Item};
use crate::decode::RawRecord;
use crate::flow::Steps;
use onceflow_engine::changes::{Failed, OnError, Part};
use onceflow_engine::codes::{self, Code};
use onceflow_engine::logic::{EpochClock, Logic, LogicFactory};
use onceflow_engine::record::Batch;
use onceflow_engine::{Error, Kind, Result};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The values of a part, in the order of its records. The part's number is set when the epoch is handled.
pub(crate) type Cargo<T> = Vec<Item<T>>;

pub(crate) struct Factory<T> {
    steps: Steps<T>,
    on_error: OnError,
}

impl<T> Factory<T> {
    pub(crate) fn new(steps: Steps<T>, on_error: OnError) -> Self {
        Self { steps, on_error }
    }
}

impl<T: Send + 'static> LogicFactory for Factory<T> {
    fn build(&self) -> Result<Box<dyn Logic>> {
        Ok(Box::new(Typed { steps: self.steps.clone(), on_error: self.on_error }))
    }
}

struct Typed<T> {
    steps: Steps<T>,
    on_error: OnError,
}

impl<T: Send + 'static> Logic for Typed<T> {
    fn prepare(&mut self, _: usize, batches: Vec<Batch>, _: &EpochClock) -> Result<Part> {
        let mut cargo = Cargo::new();
        let prepared = each(&batches, self.on_error, &*self.steps, |items: &mut Vec<Item<T>>| {
            cargo.append(items);
            Ok(())
        })?;
        let mut part = Part::new(batches, Vec::new(), prepared.failed, prepared.used);
        part.cargo = Some(Box::new(cargo) as Box<dyn Any + Send>);
        Ok(part)
    }
}

/// Why a record cannot be used.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) reason: String,
    /// Whether it is the program's fault: the pipeline stops.
    pub(crate) stop: bool,
}

/// What became of the records of one call.
pub(crate) struct Prepared {
    pub(crate) failed: Vec<Failed>,
    pub(crate) used: u64,
}

/// What makes values of a record, or refuses it.
pub(crate) type Step<T> = dyn Fn(&RawRecord<'_>, &mut dyn FnMut(T)) -> Result<(), crate::decode::Refused> + Send + Sync;

/// Takes each record through the steps, and has the values kept that are left of it. A record whose values are not kept is a dead letter, or
/// what `on_error` says. A panic of the steps becomes an error that names the record.
pub(crate) fn each<T>(
    batches: &[Batch],
    on_error: OnError,
    steps: &Step<T>,
    mut keep: impl FnMut(&mut Vec<Item<T>>) -> Result<(), Problem>,
) -> Result<Prepared> {
    let at = Cell::new((0, 0));
    let all = || {
        let (mut prepared, mut items) = (Prepared { failed: Vec::new(), used: 0 }, Vec::new());
        let mut ordinal = 0_u32;
        for (number, batch) in batches.iter().enumerate() {
            for (index, record) in batch.records.iter().enumerate() {
                at.set((number, index));
                let raw = RawRecord::new(record, &batch.partition);
                items.clear();
                match one(&raw, ordinal, steps, &mut items, &mut keep) {
                    Ok(used) => prepared.used += u64::from(used),
                    Err(Problem { code, reason, stop: true }) => {
                        return Err(Error::config(code, format!("{} offset {}: {reason}", raw.topic(), raw.offset()))
                            .note("nothing of the epoch was committed; the next start reads the record again"));
                    }
                    Err(Problem { code, reason, stop: false }) => {
                        prepared.failed.push(Failed { ordinal, code, reason, place: None, on_error });
                    }
                }
                ordinal += 1;
            }
        }
        Ok(prepared)
    };
    catch_unwind(AssertUnwindSafe(all)).unwrap_or_else(|panic| {
        let (batch, index) = at.get();
        Err(panicked(&batches[batch], index, &*panic))
    })
}

/// One record; whether anything was left of it.
fn one<T>(
    raw: &RawRecord<'_>,
    ordinal: u32,
    steps: &Step<T>,
    items: &mut Vec<Item<T>>,
    keep: &mut impl FnMut(&mut Vec<Item<T>>) -> Result<(), Problem>,
) -> Result<bool, Problem> {
    if let Some(limit) = raw.cut_at() {
        return Err(Problem {
            code: codes::OF0612,
            reason: format!("the line is longer than {limit} bytes"),
            stop: false,
        });
    }
    let done = steps(raw, &mut |value| items.push(item(raw, ordinal, value)));
    done.map_err(|error| Problem { code: codes::OF1007, reason: reason(&*error), stop: false })?;
    let used = !items.is_empty();
    if used {
        keep(items)?;
    }
    Ok(used)
}

fn item<T>(raw: &RawRecord<'_>, ordinal: u32, value: T) -> Item<T> {
    let record = raw.inner();
    let beside = (record.key.is_some() || !record.headers.is_empty())
        .then(|| Box::new(Beside { key: record.key.map(<[u8]>::to_vec), headers: record.headers.to_vec() }));
    Item { value, at: (0, ordinal), offset: record.offset.get(), timestamp: record.timestamp, beside }
}

/// An error with its causes in one line.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        said = format!("{said}: {next}");
        cause = next.source();
    }
    said
}

fn panicked(batch: &Batch, index: usize, panic: &(dyn Any + Send)) -> Error {
    let (partition, record) = (&batch.partition, batch.records.get(index));
    let name = format!("{}/{} offset {}", partition.topic, partition.number, record.offset);
    Error::new(Kind::Data, codes::OF1002, format!("your code panicked at {name}: {}", words(panic)))
        .note("nothing of the epoch was committed; the next start reads the record again")
        .help("return an error from the decoder or from try_map, and the record becomes a dead letter")
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
