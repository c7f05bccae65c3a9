//! Columns that grow row by row. A value either fits its column exactly or is refused; what is read of a record is kept all at once.

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};
use onceflow_engine as engine;
use onceflow_engine::changes::ColumnSpec;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A value that fits its column.
#[derive(Clone, PartialEq, Debug)]
enum Slot {
    Null,
    Bool(bool),
    Int(i64),
    Wide(i128),
    Float(f64),
    /// In [`Columns::bytes`].
    Bytes(Range<usize>),
}

/// The columns of a table, for the rows of one call.
pub(super) struct Columns {
    schema: Arc<Schema>,
    index: HashMap<String, usize>,
    builders: Vec<Builder>,
    /// Rows of the record that is being read, one slot a column.
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    rows: usize,
}

enum Builder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Columns {
    pub(super) fn new(columns: &[ColumnSpec]) -> Self {
        let field = |column: &ColumnSpec| Field::new(&column.name, column.data_type.clone(), true);
        Self {
            schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
            index: columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect(),
            builders: columns.iter().map(|column| Builder::of(&column.data_type)).collect(),
            slots: Vec::new(),
            bytes: Vec::new(),
            rows: 0,
        }
    }

    /// The column of a field: the expected one, or by its name.
    pub(super) fn find(&self, name: &str, expected: usize) -> Option<usize> {
        match self.schema.fields().get(expected) {
            Some(field) if field.name() == name => Some(expected),
            _ => self.index.get(name).copied(),
        }
    }

    /// The names, for words.
    pub(super) fn names(&self) -> String {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn name(&self, column: usize) -> &str {
        self.schema.field(column).name()
    }

    /// A row begins; what is not set in it is NULL.
    pub(super) fn begin(&mut self) {
        self.slots.resize(self.slots.len() + self.builders.len(), Slot::Null);
    }

    fn set(&mut self, column: usize, slot: Slot) {
        let row = self.slots.len() - self.builders.len();
        self.slots[row + column] = slot;
    }

    pub(super) fn put_null(&mut self, column: usize) {
        self.set(column, Slot::Null);
    }

    pub(super) fn put_bool(&mut self, column: usize, value: bool) -> Result<(), String> {
        match self.schema.field(column).data_type() {
            DataType::Boolean => self.set(column, Slot::Bool(value)),
            DataType::Int16 | DataType::Int32 | DataType::Int64 => self.set(column, Slot::Int(i64::from(value))),
            _ => return Err(self.misfit(column, &format!("the truth value {value}"))),
        }
        Ok(())
    }

    pub(super) fn put_int(&mut self, column: usize, value: i128) -> Result<(), String> {
        let fits =
            |low: i128, high: i128| (low..=high).contains(&value).then(|| Slot::Int(i64::try_from(value).unwrap_or(0)));
        // Whole numbers up to 2^53, or 2^24, are exact as floating-point ones.
        let float = |bits: u32| (value.unsigned_abs() <= 1 << bits).then_some(Slot::Float(value as f64));
        let slot = match self.schema.field(column).data_type() {
            DataType::Int16 => fits(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => fits(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => fits(i64::MIN.into(), i64::MAX.into()),
            DataType::Float32 => float(24),
            DataType::Float64 => float(53),
            DataType::Decimal128(precision, scale) => rescaled(value, 0, *precision, *scale).map(Slot::Wide),
            _ => None,
        };
        let slot = slot.ok_or_else(|| self.misfit(column, &format!("the number {value}")))?;
        self.set(column, slot);
        Ok(())
    }

    /// `exact32`: the value came as a 32-bit number.
    pub(super) fn put_float(&mut self, column: usize, value: f64, exact32: bool) -> Result<(), String> {
        let slot = match self.schema.field(column).data_type() {
            DataType::Float64 => Some(Slot::Float(value)),
            DataType::Float32 if exact32 || f64::from(value as f32) == value || value.is_nan() => {
                Some(Slot::Float(value))
            }
            DataType::Decimal128(precision, scale) => decimal(&value.to_string(), *precision, *scale).map(Slot::Wide),
            _ => None,
        };
        let slot = slot.ok_or_else(|| self.misfit(column, &format!("the number {value}")))?;
        self.set(column, slot);
        Ok(())
    }

    pub(super) fn put_text(&mut self, column: usize, text: &str) -> Result<(), String> {
        let slot = match self.schema.field(column).data_type() {
            DataType::Utf8 => Some(self.stored(text.as_bytes())),
            DataType::Decimal128(precision, scale) => decimal(text, *precision, *scale).map(Slot::Wide),
            DataType::Date32 => date(text).map(Slot::Int),
            DataType::Time64(_) => time(text).map(Slot::Int),
            DataType::Timestamp(_, zone) => timestamp(text, zone.is_some()).map(Slot::Int),
            _ => None,
        };
        let slot = slot.ok_or_else(|| self.misfit(column, &format!("the text '{}'", shortened(text))))?;
        self.set(column, slot);
        Ok(())
    }

    pub(super) fn put_bytes(&mut self, column: usize, bytes: &[u8]) -> Result<(), String> {
        if self.schema.field(column).data_type() != &DataType::Binary {
            return Err(self.misfit(column, &format!("{} bytes", bytes.len())));
        }
        let slot = self.stored(bytes);
        self.set(column, slot);
        Ok(())
    }

    /// A list, a map or a structure: JSON in a column of texts, bytes in one of bytes.
    pub(super) fn put_nested(&mut self, column: usize, value: &serde_json::Value) -> Result<(), String> {
        if let (DataType::Binary, serde_json::Value::Array(items)) = (self.schema.field(column).data_type(), value) {
            let byte = |item: &serde_json::Value| item.as_u64().and_then(|number| u8::try_from(number).ok());
            if let Some(bytes) = items.iter().map(byte).collect::<Option<Vec<u8>>>() {
                return self.put_bytes(column, &bytes);
            }
        }
        self.put_text(column, &value.to_string())
    }

    fn stored(&mut self, bytes: &[u8]) -> Slot {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Slot::Bytes(from..self.bytes.len())
    }

    fn misfit(&self, column: usize, value: &str) -> String {
        let field = self.schema.field(column);
        format!("{value} does not fit column '{}' ({})", field.name(), field.data_type())
    }

    /// Lets go of the rows of the record that is being read.
    pub(super) fn forget(&mut self) {
        self.slots.clear();
        self.bytes.clear();
    }

    /// Keeps the rows of the record that was read.
    pub(super) fn keep(&mut self) {
        for row in self.slots.chunks_exact(self.builders.len().max(1)) {
            for (builder, slot) in self.builders.iter_mut().zip(row) {
                builder.push(slot, &self.bytes);
            }
            self.rows += 1;
        }
        self.forget();
    }

    /// All rows that were kept.
    pub(super) fn finish(self) -> engine::Result<RecordBatch> {
        let arrays = self
            .builders
            .into_iter()
            .zip(self.schema.fields())
            .map(|(builder, field)| builder.finish(field.data_type()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays.collect(), &options)
            .map_err(|error| engine::Error::internal("rows of unequal columns").caused_by(error))
    }
}

impl Builder {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Decimal128(..) => Self::Decimal(Decimal128Builder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Time64(_) => Self::Time(Time64MicrosecondBuilder::new()),
            DataType::Timestamp(..) => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    fn push(&mut self, slot: &Slot, bytes: &[u8]) {
        let int = if let Slot::Int(value) = slot { Some(*value) } else { None };
        // `put_int` and the like have compared the ranges.
        let narrow = || int.map(|value| i32::try_from(value).expect("the range was compared"));
        let float = if let Slot::Float(value) = slot { Some(*value) } else { None };
        let range = if let Slot::Bytes(range) = slot { Some(&bytes[range.clone()]) } else { None };
        match self {
            Self::Bool(builder) => {
                builder.append_option(if let Slot::Bool(value) = slot { Some(*value) } else { None })
            }
            Self::Int16(builder) => {
                builder.append_option(int.map(|value| i16::try_from(value).expect("the range was compared")))
            }
            Self::Int32(builder) => builder.append_option(narrow()),
            Self::Int64(builder) => builder.append_option(int),
            Self::Float32(builder) => builder.append_option(float.map(|value| value as f32)),
            Self::Float64(builder) => builder.append_option(float),
            Self::Decimal(builder) => {
                builder.append_option(if let Slot::Wide(value) = slot { Some(*value) } else { None })
            }
            Self::Text(builder) => {
                builder.append_option(range.map(|range| std::str::from_utf8(range).expect("it was a text")))
            }
            Self::Bytes(builder) => builder.append_option(range),
            Self::Date(builder) => builder.append_option(narrow()),
            Self::Time(builder) => builder.append_option(int),
            Self::Timestamp(builder) => builder.append_option(int),
        }
    }

    fn finish(self, data_type: &DataType) -> ArrayRef {
        match self {
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Int16(mut builder) => Arc::new(builder.finish()),
            Self::Int32(mut builder) => Arc::new(builder.finish()),
            Self::Int64(mut builder) => Arc::new(builder.finish()),
            Self::Float32(mut builder) => Arc::new(builder.finish()),
            Self::Float64(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder) => Arc::new(builder.finish().with_data_type(data_type.clone())),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Bytes(mut builder) => Arc::new(builder.finish()),
            Self::Date(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish().with_data_type(data_type.clone())),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `value` / 10^`from` as so many units of 10^-`scale`; `None` where that is not exact or has too many digits.
fn rescaled(value: i128, from: i32, precision: u8, scale: i8) -> Option<i128> {
    let by = i32::from(scale) - from;
    let power = 10_i128.checked_pow(by.unsigned_abs())?;
    let scaled = if by >= 0 { value.checked_mul(power)? } else { (value % power == 0).then(|| value / power)? };
    (scaled.unsigned_abs() < 10_u128.checked_pow(u32::from(precision))?).then_some(scaled)
}

/// `-12.340`, `1.5e3`.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if (unsigned.is_empty() && fraction.is_empty())
        || !unsigned.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    rescaled(mantissa, i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?, precision, scale)
}

/// Days since 1970-01-01.
fn date(text: &str) -> Option<i64> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("it is a date");
    Some(date.signed_duration_since(epoch).num_days())
}

/// Microseconds since midnight.
fn time(text: &str) -> Option<i64> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    let nanos = time.nanosecond();
    (nanos % 1_000 == 0 && nanos < 1_000_000_000)
        .then(|| i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(nanos / 1_000))
}

/// Microseconds since 1970. A column with a zone needs a text with one; a column without takes none, or UTC.
fn timestamp(text: &str, zoned: bool) -> Option<i64> {
    let moment = match DateTime::parse_from_rfc3339(text) {
        Ok(moment) if zoned || moment.offset().local_minus_utc() == 0 => moment.to_utc(),
        Ok(_) => return None,
        Err(_) if zoned => return None,
        Err(_) => {
            let plain = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
            plain.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")).ok()?.and_utc()
        }
    };
    (moment.nanosecond() % 1_000 == 0).then(|| moment.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let cases = [
            ("12.34", Some(1234)),
            ("-0.5", Some(-50)),
            ("12.340000", Some(1234)),
            ("1.5e1", Some(1500)),
            ("25e-1", Some(250)),
            ("12.345", None),
            ("100000", None),
            ("", None),
            (".", None),
            ("1e99", None),
            ("x", None),
            ("--1", None),
            ("NaN", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text, 6, 2), expected, "{text}");
        }
    }

    #[test]
    fn moments_are_exact_or_refused() {
        assert_eq!(timestamp("1970-01-01T00:00:01.000001Z", true), Some(1_000_001));
        assert_eq!(timestamp("1970-01-01T01:00:00+01:00", true), Some(0));
        assert_eq!(timestamp("1970-01-01T01:00:00+01:00", false), None);
        assert_eq!(timestamp("1970-01-01 00:00:00.5", false), Some(500_000));
        assert_eq!(timestamp("1970-01-01T00:00:00", true), None);
        assert_eq!(timestamp("1970-01-01T00:00:00.0000001Z", true), None);
        assert_eq!((date("1970-01-02"), date("2026-02-30")), (Some(1), None));
        assert_eq!((time("00:00:01.5"), time("25:00:00")), (Some(1_500_000), None));
    }
}
