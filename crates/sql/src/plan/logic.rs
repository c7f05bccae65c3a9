//! The compiled branch as the engine sees it: records in, rows and failures out.
//!
//! Owns what is decoded, and the accounting: a record that fails anywhere takes no effect in any table, and every record is
//! used, filtered or failed.

use super::catalog::Catalog;
use super::group::Grouping;
use super::rel::HIDDEN;
use super::run::{Chunk, Failures, Given, Steps, batch, scan_columns};
use super::target::{Sink, SinkKind};
use crate::model::{ColumnKind, TableDecl};
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Schema, SchemaRef};
use onceflow::changes::{Failed, OnError, Part, RowSet};
use onceflow::decode::{Column, DecodeSpec, Decoder, Origin};
use onceflow::logic::{EpochClock, Logic, LogicFactory};
use onceflow::record::Batch;
use onceflow::{Error, Result, codes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A compiled branch.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) sources: Vec<Source>,
    pub(crate) steps: Steps,
    pub(crate) sinks: Vec<(Sink, OnError)>,
}

impl Program {
    /// The names of the sources, in the order of their indices.
    pub(crate) fn source_names(&self) -> Vec<Arc<str>> {
        self.sources.iter().map(|source| source.name.clone()).collect()
    }
}

/// A table that is read.
#[derive(Debug)]
pub(crate) struct Source {
    name: Arc<str>,
    /// The scan's step.
    step: usize,
    spec: DecodeSpec,
    columns: Vec<Given>,
    schema: SchemaRef,
    on_error: OnError,
}

impl Source {
    /// What is read of a table, given the columns of its scan that are needed.
    pub(crate) fn new(table: &TableDecl, step: usize, schema: &SchemaRef) -> Result<Self> {
        let Some(source) = &table.source else {
            return Err(Error::config(codes::OF0306, format!("'{}' cannot be read from", table.name)).at(&table.place));
        };
        let wanted = |name: &str| schema.index_of(name).is_ok();
        let mut recorded: Vec<_> = Catalog::recorded(table).filter(|(_, field)| wanted(field.name())).collect();
        // A record that gives NULL for a NOT NULL column fails where the column is used.
        for (index, field) in &mut recorded {
            field.set_nullable(table.columns[*index].declared.as_ref().is_none_or(|declared| declared.nullable));
        }
        if recorded.is_empty() {
            // Something has to be decoded to know which records there are.
            recorded.extend(Catalog::recorded(table).next());
        }
        let mut columns = Vec::with_capacity(recorded.len());
        for (index, field) in &recorded {
            let declared = &table.columns[*index];
            let origin = match (&declared.kind, source.key_fields.get(field.name())) {
                (ColumnKind::Metadata { .. }, _) => match source.metadata.get(field.name()) {
                    Some(metadata) => Origin::Metadata(*metadata),
                    None => return Err(Error::internal(format!("metadata column '{}' is not resolved", field.name()))),
                },
                (_, Some(key)) => Origin::Key(key.clone()),
                (_, None) => Origin::Value(field.name().clone()),
            };
            columns.push(Column { origin, place: Some(declared.place.clone()) });
        }
        let decoded = Arc::new(Schema::new(recorded.into_iter().map(|(_, field)| field).collect::<Vec<_>>()));
        let spec =
            DecodeSpec { schema: decoded.clone(), columns, value: source.value.clone(), key: source.key.clone() };
        Ok(Self {
            name: table.name.clone(),
            step,
            spec,
            columns: scan_columns(schema, &decoded),
            schema: schema.clone(),
            on_error: source.on_error,
        })
    }

    /// The scan's columns over decoded rows.
    fn chunk(&self, rows: &RecordBatch, ordinals: Vec<u32>, batches: &[Batch], clock: &EpochClock) -> Result<Chunk> {
        let column = |given: &Given| -> ArrayRef {
            match given {
                Given::Now => {
                    let now = TimestampMicrosecondArray::from_value(clock.now, rows.num_rows());
                    Arc::new(now.with_timezone(super::kinds::UTC))
                }
                Given::Position => Arc::new(positions(&ordinals, batches, clock.seed)),
                Given::Decoded(index) => rows.column(*index).clone(),
            }
        };
        let columns = self.columns.iter().map(column).collect();
        let batch = batch(self.schema.clone(), columns, rows.num_rows())
            .map_err(|error| Error::internal(format!("decoded rows have other types than asked for: {error}")))?;
        Ok(Chunk { batch, ordinals: UInt32Array::from(ordinals) })
    }
}

/// A number for each record of an epoch, the same however the epoch is cut into calls.
fn positions(ordinals: &[u32], batches: &[Batch], seed: u64) -> UInt64Array {
    let mut all = Vec::new();
    for batch in batches {
        let partition = mixed(seed, format!("{}/{}", batch.partition.topic, batch.partition.number).as_bytes());
        all.extend(batch.records.iter().map(|record| mixed(partition, &record.offset.get().to_le_bytes())));
    }
    ordinals.iter().map(|ordinal| all[*ordinal as usize]).collect()
}

/// FNV-1a, begun with a number of one's own.
fn mixed(begin: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(begin ^ 0xcbf2_9ce4_8422_2325, step)
}

/// Makes a decoder; tests put their own here.
pub(crate) type MakeDecoder = fn(&DecodeSpec) -> Result<Box<dyn Decoder>>;

/// Builds the logic of a branch, one for each lane.
pub(crate) struct Factory {
    program: Arc<Program>,
    decoder: MakeDecoder,
}

impl Factory {
    /// A factory with the engine's decoders.
    pub(crate) fn new(program: Program) -> Self {
        Self { program: Arc::new(program), decoder: onceflow::decode::decoder }
    }
}

impl LogicFactory for Factory {
    fn build(&self) -> Result<Box<dyn Logic>> {
        let decoders =
            self.program.sources.iter().map(|source| (self.decoder)(&source.spec)).collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Compiled { program: self.program.clone(), decoders }))
    }

    fn only_groups(&self) -> bool {
        self.program.sinks.iter().all(|(sink, _)| matches!(sink.kind, SinkKind::Groups(_)))
    }
}

/// The logic of a lane.
struct Compiled {
    program: Arc<Program>,
    decoders: Vec<Box<dyn Decoder>>,
}

impl Logic for Compiled {
    fn prepare(&mut self, source: usize, batches: Vec<Batch>, clock: &EpochClock) -> Result<Part> {
        let program = self.program.clone();
        let Some(read) = program.sources.get(source) else {
            return Err(Error::internal(format!("the branch has no source {source}")));
        };
        let decoded = self.decoders[source].decode(&batches)?;
        let mut failures = Failures::default();
        for failure in decoded.failures {
            let (ordinal, on_error) = (failure.ordinal, read.on_error);
            failures.add(Failed {
                ordinal,
                code: failure.code,
                reason: failure.reason,
                place: failure.place,
                on_error,
            });
        }
        let chunk = read.chunk(&decoded.rows, decoded.ordinals, &batches, clock)?;
        let given = BTreeMap::from([(read.step, vec![chunk])]);
        let frames = program.steps.run(given, &mut failures)?;
        let written = program.write(&frames, &mut failures)?;
        let records = batches.iter().map(|batch| batch.records.len()).sum();
        let used = program.used(&frames, &failures, records);
        Ok(Part::new(batches, written, failures.found.into_values().collect(), used))
    }
}

/// The rows of each step, where it ran.
type Frames = [Option<Vec<Chunk>>];

impl Program {
    /// Rows for the tables, without those of failed records.
    fn write(&self, frames: &Frames, failures: &mut Failures) -> Result<Vec<RowSet>> {
        for (sink, on_error) in &self.sinks {
            frames[sink.node.0].iter().flatten().for_each(|chunk| check_required(sink, *on_error, chunk, failures));
        }
        let groups = self.grouped(frames, failures)?;
        let mut sets = Vec::new();
        for ((sink, _), rows) in self.sinks.iter().zip(groups) {
            match &sink.kind {
                SinkKind::Groups(_) => {
                    sets.extend(rows.map(|rows| RowSet { table: sink.table, rows, ordinals: None, deletes: None }));
                }
                SinkKind::Rows(schema) => {
                    for chunk in frames[sink.node.0].iter().flatten() {
                        sets.extend(row_set(sink.table, schema, chunk, failures)?);
                    }
                }
            }
        }
        Ok(sets)
    }

    /// Groups for each sink that groups; again without the records whose values do not fit, until all fit.
    fn grouped(&self, frames: &Frames, failures: &mut Failures) -> Result<Vec<Option<RecordBatch>>> {
        loop {
            let before = failures.found.len();
            let mut groups = Vec::with_capacity(self.sinks.len());
            for (sink, _) in &self.sinks {
                groups.push(match (&sink.kind, &frames[sink.node.0]) {
                    (SinkKind::Groups(grouping), Some(chunks)) => group(grouping, chunks, failures)?,
                    _ => None,
                });
            }
            if failures.found.len() == before {
                return Ok(groups);
            }
        }
    }

    /// How many records came to a table or a group.
    fn used(&self, frames: &Frames, failures: &Failures, records: usize) -> u64 {
        let mut used = vec![false; records];
        for (sink, _) in &self.sinks {
            for chunk in frames[sink.node.0].iter().flatten() {
                chunk.ordinals.values().iter().for_each(|ordinal| used[*ordinal as usize] = true);
            }
        }
        failures.found.keys().for_each(|ordinal| used[*ordinal as usize] = false);
        used.into_iter().filter(|used| *used).count() as u64
    }
}

fn group(grouping: &Grouping, chunks: &[Chunk], failures: &mut Failures) -> Result<Option<RecordBatch>> {
    grouping
        .run(chunks, failures)
        .map_err(|error| Error::internal(format!("grouping failed: {}", error.strip_backtrace())))
}

/// Records that give NULL where none may be fail.
fn check_required(sink: &Sink, on_error: OnError, chunk: &Chunk, failures: &mut Failures) {
    for (column, name, place) in &sink.required {
        let values = chunk.batch.column(*column);
        if values.null_count() == 0 && values.data_type() != &DataType::Null {
            continue;
        }
        for row in (0..values.len()).filter(|row| values.is_null(*row) || values.data_type() == &DataType::Null) {
            failures.add(Failed {
                ordinal: chunk.ordinals.value(row),
                code: codes::OF0364,
                reason: format!("column '{name}' must not be NULL"),
                place: Some(place.clone()),
                on_error,
            });
        }
    }
}

fn row_set(table: usize, schema: &SchemaRef, chunk: &Chunk, failures: &Failures) -> Result<Option<RowSet>> {
    let internal = |error| Error::internal(format!("rows do not have the table's types: {error}"));
    let chunk = chunk.without(failures).map_err(internal)?;
    if chunk.batch.num_rows() == 0 {
        return Ok(None);
    }
    let rows = batch(schema.clone(), chunk.batch.columns().to_vec(), chunk.batch.num_rows()).map_err(internal)?;
    Ok(Some(RowSet { table, rows, ordinals: Some(chunk.ordinals.values().to_vec()), deletes: None }))
}

/// Scans have two columns that no record has.
const _: () = assert!(HIDDEN == 2, "the clock and the position");
