//! Tests of the decoders, as tables over the one public function.

mod formats;
mod hostile;
mod json;

use super::{Column, DecodeSpec, Decoded, Format, JsonOptions, Origin, decoder};
use crate::record::{Batch, Record, Records, TimestampType};
use arrow_array::Array;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Schema};
use onceflow_core::{Partition, Position, Span};
use std::sync::Arc;

/// Records with these values at the offsets 0, 1, …
pub(super) fn batch(values: &[Option<&[u8]>]) -> Batch {
    let mut records = Records::with_capacity(values.len(), 0);
    for (offset, value) in (0_u64..).zip(values) {
        records.push(record(offset, *value));
    }
    wrap(records)
}

pub(super) fn record(offset: u64, value: Option<&[u8]>) -> Record<'_> {
    Record {
        offset: Position::new(offset),
        timestamp: Some(1_600_000_000_123),
        timestamp_type: TimestampType::CreateTime,
        key: None,
        value,
        headers: &[],
        line: offset + 1,
    }
}

pub(super) fn wrap(records: Records) -> Batch {
    let to = Position::new(records.len() as u64);
    Batch {
        partition: Partition::new("source", "topic", 3),
        span: Span::new(Position::ZERO, to).expect("in order"),
        records,
        leader_epoch: Some(7),
        file: None,
    }
}

/// A specification of value columns.
pub(super) fn spec(fields: Vec<Field>, value: Format) -> DecodeSpec {
    let columns =
        fields.iter().map(|field| Column { origin: Origin::Value(field.name().clone()), place: None }).collect();
    DecodeSpec { schema: Arc::new(Schema::new(fields)), columns, value, key: None }
}

pub(super) fn json(fields: Vec<Field>) -> DecodeSpec {
    spec(fields, Format::Json(JsonOptions::default()))
}

pub(super) fn decode(spec: &DecodeSpec, values: &[&[u8]]) -> Decoded {
    let values: Vec<_> = values.iter().copied().map(Some).collect();
    decode_batch(spec, batch(&values))
}

pub(super) fn decode_batch(spec: &DecodeSpec, batch: Batch) -> Decoded {
    decoder(spec).expect("the specification is fine").decode(&[batch]).expect("no record is an error")
}

/// A value of an array as text; NULL is `∅`.
pub(super) fn show(array: &dyn Array, row: usize) -> String {
    let options = FormatOptions::default().with_null("∅");
    ArrayFormatter::try_new(array, &options).expect("every type can be shown").value(row).to_string()
}

/// The row of a decoded call as texts.
pub(super) fn row(decoded: &Decoded, row: usize) -> Vec<String> {
    decoded.rows.columns().iter().map(|column| show(column, row)).collect()
}

pub(super) fn nullable(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}
