//! One decoder out of the formats of value and key and of the metadata: they give rows together or not at all.

use super::bad::{Bad, Parsed};
use super::column::{Builder, Values, check_bytes, impossible};
use super::csv::Csv;
use super::json::Json;
use super::metadata::Facts;
use super::raw::Raw;
use super::{Column, DecodeSpec, Decoded, Decoder, Failure, Format, Metadata, Origin, TRUNCATED_HEADER, unsupported};
use crate::codes;
use crate::error::{Error, Place, Result};
use crate::record::{Batch, Record};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, SchemaRef};

/// A format with its columns.
enum Parser {
    Json(Json),
    Csv(Box<Csv>),
    Raw(Raw),
}

impl Parser {
    fn new(format: &Format, columns: Vec<Builder>) -> Result<Self> {
        Ok(match format {
            Format::Json(options) => {
                columns.iter().try_for_each(check_json)?;
                Self::Json(Json::new(columns, options.clone()))
            }
            Format::Csv(options) => Self::Csv(Box::new(Csv::new(columns, options.clone())?)),
            Format::Raw(options) => Self::Raw(Raw::new(columns, options)?),
        })
    }

    #[inline]
    fn decode(&mut self, bytes: &[u8], line: u64) -> Parsed<usize> {
        match self {
            Self::Json(json) => json.decode(bytes),
            Self::Csv(csv) => csv.decode(bytes, line),
            Self::Raw(raw) => raw.decode(bytes),
        }
    }

    fn append_nulls(&mut self) -> Parsed<()> {
        match self {
            Self::Json(json) => json.append_nulls(),
            Self::Csv(csv) => csv.append_nulls(),
            Self::Raw(raw) => raw.append_nulls(),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::Json(json) => json.truncate(rows),
            Self::Csv(csv) => csv.truncate(rows),
            Self::Raw(raw) => raw.truncate(rows),
        }
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Json(json) => json.finish(),
            Self::Csv(csv) => csv.finish(),
            Self::Raw(raw) => raw.finish(),
        }
    }
}

/// JSON has only text as names of fields.
fn check_json(column: &Builder) -> Result<()> {
    fn fits(column: &Builder) -> bool {
        match &column.values {
            Values::Map(_, keys, values) => keys.data_type == DataType::Utf8 && fits(values),
            Values::List(_, item) => fits(item),
            Values::Row(row) => row.children.iter().all(fits),
            _ => true,
        }
    }
    if fits(column) { Ok(()) } else { Err(unsupported("json", column)) }
}

/// Which part of a record a column comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Value,
    Key,
    Metadata,
}

/// Columns of one part on their way into a parser: the name there, and the index in the schema.
#[derive(Default)]
struct Wanted {
    builders: Vec<Builder>,
    schema_indices: Vec<usize>,
}

impl Wanted {
    /// The index of the column among those of its part. A field that two columns ask for is decoded once.
    fn add(&mut self, builder: Builder, schema_index: usize) -> usize {
        let same = |other: &Builder| {
            other.name == builder.name && other.data_type == builder.data_type && other.nullable == builder.nullable
        };
        if let Some(known) = self.builders.iter().position(same) {
            return known;
        }
        self.builders.push(builder);
        self.schema_indices.push(schema_index);
        self.builders.len() - 1
    }
}

/// See the module.
pub(crate) struct Combined {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// For each column of the schema its part and its index there.
    slots: Vec<(Part, usize)>,
    value: Parser,
    value_indices: Vec<usize>,
    key: Option<Parser>,
    key_indices: Vec<usize>,
    facts: Facts,
    fact_indices: Vec<usize>,
    rows: usize,
}

impl Combined {
    pub(crate) fn new(spec: &DecodeSpec) -> Result<Self> {
        if spec.schema.fields().len() != spec.columns.len() {
            return Err(Error::internal("a decoder needs an origin for each column of its schema"));
        }
        let (mut value, mut key) = (Wanted::default(), Wanted::default());
        let mut facts: Vec<(Metadata, Builder, Option<Place>)> = Vec::new();
        let mut fact_indices = Vec::new();
        let mut slots = Vec::with_capacity(spec.columns.len());
        for (index, (field, column)) in spec.schema.fields().iter().zip(&spec.columns).enumerate() {
            let build = |name: &str| {
                Builder::new(name, field.data_type(), field.is_nullable())
                    .ok_or_else(|| untyped(name, field.data_type(), column))
            };
            slots.push(match &column.origin {
                Origin::Value(name) => (Part::Value, value.add(build(name)?, index)),
                Origin::Key(name) => (Part::Key, key.add(build(name)?, index)),
                Origin::Metadata(metadata) => {
                    facts.push((*metadata, build(field.name())?, column.place.clone()));
                    fact_indices.push(index);
                    (Part::Metadata, facts.len() - 1)
                }
            });
        }
        if spec.key.is_none() && !key.builders.is_empty() {
            return Err(Error::internal("columns come from the key and the key has no format"));
        }
        let placed = |error: Error, index: &[usize]| match index.first().and_then(|at| spec.columns[*at].place.as_ref())
        {
            Some(place) => error.at(place),
            None => error,
        };
        let key_format = spec.key.as_ref();
        Ok(Self {
            schema: spec.schema.clone(),
            columns: spec.columns.clone(),
            slots,
            value: Parser::new(&spec.value, value.builders).map_err(|error| placed(error, &value.schema_indices))?,
            value_indices: value.schema_indices,
            key: key_format
                .map(|format| Parser::new(format, key.builders).map_err(|error| placed(error, &key.schema_indices)))
                .transpose()?,
            key_indices: key.schema_indices,
            facts: Facts::new(facts)?,
            fact_indices,
            rows: 0,
        })
    }

    /// Decodes one record into all parts and returns how many rows it gave.
    #[inline]
    fn record(&mut self, value: &[u8], record: &Record<'_>, batch: &Batch) -> Result<usize, (Part, Box<Bad>)> {
        if !record.headers.is_empty() && batch.file.is_some() {
            refuse_truncated(record).map_err(|bad| (Part::Metadata, bad))?;
        }
        let rows = self.value.decode(value, record.line).map_err(|bad| (Part::Value, bad))?;
        if let Some(parser) = &mut self.key {
            for _ in 0..rows {
                key(parser, record).map_err(|bad| (Part::Key, bad))?;
            }
        }
        for _ in 0..rows {
            self.facts.append(record, batch).map_err(|bad| (Part::Metadata, bad))?;
        }
        self.rows += rows;
        Ok(rows)
    }

    /// Takes back whatever a record left behind.
    #[cold]
    fn take_back(&mut self, ordinal: u32, part: Part, bad: Bad) -> Failure {
        self.value.truncate(self.rows);
        self.key.iter_mut().for_each(|parser| parser.truncate(self.rows));
        self.facts.truncate(self.rows);
        let (indices, prefix) = match part {
            Part::Value => (&self.value_indices, ""),
            Part::Key => (&self.key_indices, "key"),
            Part::Metadata => (&self.fact_indices, ""),
        };
        let index = bad.column_index().and_then(|column| indices.get(column));
        let place = index.and_then(|index| self.columns[*index].place.clone());
        bad.failure(ordinal, prefix, place)
    }

    /// The error of a source that holds something else than what is declared.
    #[cold]
    fn stopped(&self, bad: &Bad, batch: &Batch) -> Error {
        let error = bad.stop().unwrap_or_else(|| Error::internal("a record's fault stops no pipeline"));
        let error = error.note(format!("in {}", batch.partition.topic));
        match self.columns.iter().find_map(|column| column.place.as_ref()) {
            Some(place) => error.at(place),
            None => error,
        }
        .help("declare the columns as the header names them, or leave the header out with 'csv.ignore-first-line' = 'true'")
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let value = self.value.finish()?;
        let key = self.key.as_mut().map_or_else(|| Ok(Vec::new()), Parser::finish)?;
        let facts = self.facts.finish()?;
        let pick = |(part, index): &(Part, usize)| match part {
            Part::Value => value[*index].clone(),
            Part::Key => key[*index].clone(),
            Part::Metadata => facts[*index].clone(),
        };
        let arrays = self.slots.iter().map(pick).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(impossible)
    }
}

impl Decoder for Combined {
    fn decode(&mut self, batches: &[Batch]) -> Result<Decoded> {
        check_bytes(batches.iter().map(|batch| batch.records.bytes()).sum())?;
        // Nothing is left from a call that ended with an error.
        self.rows = 0;
        self.value.truncate(0);
        self.key.iter_mut().for_each(|parser| parser.truncate(0));
        self.facts.truncate(0);
        let mut ordinals = Vec::with_capacity(batches.iter().map(|batch| batch.records.len()).sum());
        let mut failures = Vec::new();
        let mut ordinal = 0_u32;
        for batch in batches {
            for record in batch.records.iter() {
                if let Some(value) = record.value {
                    match self.record(value, &record, batch) {
                        Ok(rows) => ordinals.extend(std::iter::repeat_n(ordinal, rows)),
                        Err((_, bad)) if bad.stop().is_some() => return Err(self.stopped(&bad, batch)),
                        Err((part, bad)) => failures.push(self.take_back(ordinal, part, *bad)),
                    }
                }
                ordinal = ordinal.checked_add(1).ok_or_else(|| Error::internal("2^32 records in one call"))?;
            }
        }
        Ok(Decoded { rows: self.finish()?, ordinals, failures })
    }
}

fn key(parser: &mut Parser, record: &Record<'_>) -> Parsed<()> {
    let Some(key) = record.key else { return parser.append_nulls() };
    match parser.decode(key, 0)? {
        1 => Ok(()),
        0 => parser.append_nulls(),
        _ => Err(Bad::new(codes::OF0611, "a key has to be one JSON object, not several")),
    }
}

/// A file's line that was too long to be held carries its length in a header.
#[cold]
fn refuse_truncated(record: &Record<'_>) -> Parsed<()> {
    let limit =
        record.headers.iter().find(|(name, _)| name == TRUNCATED_HEADER).and_then(|(_, value)| value.as_deref());
    let Some(limit) = limit else { return Ok(()) };
    let limit = String::from_utf8_lossy(limit);
    Err(Bad::new(
        codes::OF0612,
        format!("the line is longer than 'source.line-bytes-max' = '{limit}'; its beginning is kept, the rest is not"),
    ))
}

/// A type that no declaration can have.
fn untyped(name: &str, data_type: &DataType, column: &Column) -> Error {
    let error =
        Error::config(codes::OF0651, format!("column `{name}` has the type {data_type}, which no format can give"));
    if let Some(place) = &column.place { error.at(place) } else { error }
}
