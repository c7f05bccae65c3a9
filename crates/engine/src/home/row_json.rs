//! Arrow values as text: one cell as JSON, one row as a JSON object, dates and times as people write them.
//!
//! Owns the form only. Numbers keep all their digits; bytes are hexadecimal digits; what JSON has no number for (NaN and the
//! infinities) is a string.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DecimalType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate};
use std::fmt::Write as _;

/// One row as a JSON object of column to value, in the columns' order.
pub fn row_json(batch: &RecordBatch, row: usize) -> String {
    let mut out = String::from("{");
    for (index, field) in batch.schema_ref().fields().iter().enumerate() {
        separate(&mut out, index);
        push_text(&mut out, field.name());
        out.push_str(": ");
        push_json(&mut out, batch.column(index).as_ref(), row);
    }
    out.push('}');
    out
}

/// One value as JSON text.
pub fn cell_json(array: &dyn Array, row: usize) -> String {
    let mut out = String::new();
    push_json(&mut out, array, row);
    out
}

fn push_json(out: &mut String, array: &dyn Array, row: usize) {
    if array.is_null(row) {
        out.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::List(_) => push_list(out, array.as_list::<i32>().value(row).as_ref()),
        DataType::LargeList(_) => push_list(out, array.as_list::<i64>().value(row).as_ref()),
        DataType::FixedSizeList(..) => push_list(out, array.as_fixed_size_list().value(row).as_ref()),
        DataType::Struct(fields) => {
            out.push('{');
            for (index, field) in fields.iter().enumerate() {
                separate(out, index);
                push_text(out, field.name());
                out.push_str(": ");
                push_json(out, array.as_struct().column(index).as_ref(), row);
            }
            out.push('}');
        }
        DataType::Map(..) => push_map(out, &array.as_map().value(row)),
        _ => push_scalar(out, array, row),
    }
}

fn push_list(out: &mut String, values: &dyn Array) {
    out.push('[');
    for index in 0..values.len() {
        separate(out, index);
        push_json(out, values, index);
    }
    out.push(']');
}

fn push_map(out: &mut String, entries: &arrow_array::StructArray) {
    out.push('{');
    for index in 0..entries.len() {
        separate(out, index);
        let key = plain_text(entries.column(0).as_ref(), index);
        push_text(out, &key.unwrap_or_else(|| cell_json(entries.column(0).as_ref(), index)));
        out.push_str(": ");
        push_json(out, entries.column(1).as_ref(), index);
    }
    out.push('}');
}

fn push_scalar(out: &mut String, array: &dyn Array, row: usize) {
    let number = match array.data_type() {
        DataType::Boolean => true,
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).is_finite(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).is_finite(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => true,
        other => other.is_integer(),
    };
    match plain_text(array, row) {
        Some(text) if number => out.push_str(&text),
        Some(text) => push_text(out, &text),
        None => push_text(out, "(a value without a text form)"),
    }
}

/// A value that is neither NULL nor nested, as plain text; `None` where its type or value has none.
pub fn plain_text(array: &dyn Array, row: usize) -> Option<String> {
    macro_rules! shown {
        ($kind:ty) => {
            Some(array.as_primitive::<$kind>().value(row).to_string())
        };
    }
    match array.data_type() {
        DataType::Boolean => Some(array.as_boolean().value(row).to_string()),
        DataType::Int8 => shown!(Int8Type),
        DataType::Int16 => shown!(Int16Type),
        DataType::Int32 => shown!(Int32Type),
        DataType::Int64 => shown!(Int64Type),
        DataType::UInt8 => shown!(UInt8Type),
        DataType::UInt16 => shown!(UInt16Type),
        DataType::UInt32 => shown!(UInt32Type),
        DataType::UInt64 => shown!(UInt64Type),
        DataType::Float32 => Some(format!("{:?}", array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Some(format!("{:?}", array.as_primitive::<Float64Type>().value(row))),
        DataType::Utf8 => Some(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Some(array.as_string_view().value(row).to_owned()),
        DataType::Binary => Some(base16(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Some(base16(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => Some(base16(array.as_binary_view().value(row))),
        DataType::FixedSizeBinary(_) => Some(base16(array.as_fixed_size_binary().value(row))),
        DataType::Decimal128(precision, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            Some(Decimal128Type::format_decimal(value, *precision, *scale))
        }
        DataType::Decimal256(precision, scale) => {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            Some(Decimal256Type::format_decimal(value, *precision, *scale))
        }
        _ => time_like(array, row, 0),
    }
}

/// A date, time or timestamp as text, with at least `digits` digits of a second and as many more as the value needs.
/// `None` where it is none, or beyond the calendar.
pub fn time_like(array: &dyn Array, row: usize, digits: usize) -> Option<String> {
    match array.data_type() {
        DataType::Date32 => date_text(i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Date64 => date_text(array.as_primitive::<Date64Type>().value(row).div_euclid(86_400_000)),
        DataType::Time32(TimeUnit::Second) => {
            time_text(i64::from(array.as_primitive::<Time32SecondType>().value(row)), 1, digits)
        }
        DataType::Time32(_) => {
            time_text(i64::from(array.as_primitive::<Time32MillisecondType>().value(row)), 1_000, digits)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            time_text(array.as_primitive::<Time64MicrosecondType>().value(row), 1_000_000, digits)
        }
        DataType::Time64(_) => {
            time_text(array.as_primitive::<Time64NanosecondType>().value(row), 1_000_000_000, digits)
        }
        DataType::Timestamp(unit, zone) => {
            let (value, per_second) = timestamp(array, row, *unit);
            timestamp_text(value, per_second, digits, zone.is_some())
        }
        _ => None,
    }
}

fn timestamp(array: &dyn Array, row: usize, unit: TimeUnit) -> (i64, i64) {
    fn value<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array, row: usize) -> i64 {
        array.as_primitive::<T>().value(row)
    }
    match unit {
        TimeUnit::Second => (value::<TimestampSecondType>(array, row), 1),
        TimeUnit::Millisecond => (value::<TimestampMillisecondType>(array, row), 1_000),
        TimeUnit::Microsecond => (value::<TimestampMicrosecondType>(array, row), 1_000_000),
        TimeUnit::Nanosecond => (value::<TimestampNanosecondType>(array, row), 1_000_000_000),
    }
}

/// `YYYY-MM-DD` of days since 1970-01-01.
fn date_text(days: i64) -> Option<String> {
    let from_ce = i32::try_from(days.checked_add(719_163)?).ok()?;
    NaiveDate::from_num_days_from_ce_opt(from_ce).map(|date| date.to_string())
}

/// `HH:MM:SS[.fff]` of a number of parts since midnight.
fn time_text(value: i64, per_second: i64, digits: usize) -> Option<String> {
    let seconds = value.div_euclid(per_second);
    if !(0..86_400).contains(&seconds) {
        return None;
    }
    let mut out = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    push_fraction(&mut out, value.rem_euclid(per_second), per_second, digits);
    Some(out)
}

/// `YYYY-MM-DD HH:MM:SS[.fff][Z]` of a number of parts since 1970-01-01 00:00:00.
fn timestamp_text(value: i64, per_second: i64, digits: usize, zoned: bool) -> Option<String> {
    let seconds = DateTime::from_timestamp(value.div_euclid(per_second), 0)?;
    let mut out = date_text(seconds.timestamp().div_euclid(86_400))?;
    out.push(' ');
    let of_day = seconds.timestamp().rem_euclid(86_400) * per_second + value.rem_euclid(per_second);
    out.push_str(&time_text(of_day, per_second, digits)?);
    if zoned {
        out.push('Z');
    }
    Some(out)
}

fn push_fraction(out: &mut String, fraction: i64, per_second: i64, digits: usize) {
    let nanos = fraction * (1_000_000_000 / per_second);
    let all = format!("{nanos:09}");
    let needed = all.trim_end_matches('0').len().max(digits.min(9));
    if needed > 0 {
        let _ = write!(out, ".{}", &all[..needed]);
    }
}

fn push_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push_str(", ");
    }
}

fn base16(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
