//! Values in one form, whether they come from a record or from a table: what is equal in the database is equal here.
//!
//! Owns the form, which is text: numbers without superfluous zeros, times without superfluous digits, bytes in hexadecimal,
//! nested values as JSON with sorted names. A row is its cells with their lengths, so no two different rows read the same.

use crate::home::row_json::{cell_json, plain_text};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use onceflow_core::Fingerprint;
use std::borrow::Cow;

/// How values of a declared type are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// True or false.
    Boolean,
    /// Whole numbers and decimals.
    Number,
    /// Floating-point numbers of 32 bits.
    Float32,
    /// Floating-point numbers of 64 bits.
    Float64,
    /// Texts, character by character.
    Text,
    /// Bytes.
    Bytes,
    /// Dates, times, timestamps.
    Time,
    /// Lists, rows, maps.
    Nested,
}

impl Form {
    /// The form of a type.
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Number,
            other if other.is_integer() => Self::Number,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Bytes
            }
            DataType::Date32 | DataType::Date64 => Self::Time,
            DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => Self::Time,
            other if other.is_nested() => Self::Nested,
            _ => Self::Text,
        }
    }

    /// A value of a record, in this form; `None` for NULL.
    pub fn of_record(self, array: &ArrayRef, row: usize) -> Option<Cow<'_, str>> {
        if array.is_null(row) {
            return None;
        }
        Some(match (self, array.data_type()) {
            (Self::Text, DataType::Utf8) => Cow::Borrowed(array.as_string::<i32>().value(row)),
            (Self::Number, DataType::Int64) => Cow::Owned(array.as_primitive::<Int64Type>().value(row).to_string()),
            (Self::Nested, _) => Cow::Owned(nested(&cell_json(array.as_ref(), row))),
            _ => match plain_text(array.as_ref(), row) {
                Some(text) => Cow::Owned(self.of_text(&text).into_owned()),
                None => Cow::Owned(cell_json(array.as_ref(), row)),
            },
        })
    }

    /// A value as a home prints it, in this form. What cannot be read as a value of the form stays as it is: it differs from
    /// every value of the form.
    pub fn of_text(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Text => Cow::Borrowed(text),
            Self::Boolean => Cow::Borrowed(match text {
                "t" | "true" | "1" => "true",
                "f" | "false" | "0" => "false",
                other => other,
            }),
            Self::Number => number(text),
            Self::Float64 => text.parse::<f64>().map_or(Cow::Borrowed(text), |value| Cow::Owned(float(value))),
            Self::Float32 => text.parse::<f64>().map_or(Cow::Borrowed(text), |value| Cow::Owned(single(value))),
            Self::Bytes => Cow::Owned(text.strip_prefix("\\x").unwrap_or(text).to_ascii_lowercase()),
            Self::Time => time(text),
            Self::Nested => Cow::Owned(nested(text)),
        }
    }

    /// A value in this form as JSON.
    pub fn json(self, text: &str) -> String {
        let bare = match self {
            Self::Boolean => matches!(text, "true" | "false"),
            Self::Number | Self::Float32 | Self::Float64 => {
                text.parse::<f64>().is_ok_and(f64::is_finite) && serde_json::from_str::<serde_json::Value>(text).is_ok()
            }
            Self::Nested => serde_json::from_str::<serde_json::Value>(text).is_ok(),
            _ => false,
        };
        if bare { text.to_owned() } else { serde_json::Value::from(text).to_string() }
    }
}

/// A number without sign of plus, leading zeros, and zeros at its end behind the point. Databases may print floating-point
/// columns with an exponent.
fn number(text: &str) -> Cow<'_, str> {
    if text.contains(['e', 'E']) {
        return match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Cow::Owned(number(&value.to_string()).into_owned()),
            _ => Cow::Borrowed(text),
        };
    }
    let (minus, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Cow::Borrowed(text);
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && fraction.is_empty();
    let sign = if minus && !zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    let length = sign.len() + whole.len() + point.len() + fraction.len();
    if length == text.len() { Cow::Borrowed(text) } else { Cow::Owned(format!("{sign}{whole}{point}{fraction}")) }
}

/// The shortest text that gives the number back; the two zeros are one, as they are for databases.
fn float(value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    format!("{value:?}")
}

#[allow(clippy::cast_possible_truncation)]
fn single(value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value as f32 };
    format!("{value:?}")
}

/// A time without its zone (which is UTC) and without zeros at the end of its fraction.
fn time(text: &str) -> Cow<'_, str> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00")).unwrap_or(text);
    match text.split_once('.') {
        Some((_, fraction)) if fraction.ends_with('0') => Cow::Owned(trimmed(text).to_owned()),
        _ => Cow::Borrowed(text),
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches('0').trim_end_matches('.')
}

/// JSON with sorted names and numbers in one form.
fn nested(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |value| sorted(&value))
}

fn sorted(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|a, b| a.0.cmp(b.0));
            let fields = fields.iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), sorted(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(sorted).collect::<Vec<_>>().join(",")),
        Value::Number(value) => number(&value.to_string()).into_owned(),
        Value::String(text) if is_time(text) => Value::from(time(&text.replacen('T', " ", 1)).as_ref()).to_string(),
        other => other.to_string(),
    }
}

/// Whether a text in a nested value is a timestamp in ISO form, which databases write with a `T`.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 19 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[10] == b'T' && bytes[13] == b':'
}

/// Adds a cell to a row's bytes.
pub fn put(out: &mut Vec<u8>, cell: Option<&str>) {
    match cell {
        None => out.extend_from_slice(&u32::MAX.to_le_bytes()),
        Some(text) => {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX - 1);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// The cells of a row's bytes.
pub fn cells(mut bytes: &[u8]) -> Vec<Option<String>> {
    let mut cells = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        if length == u32::MAX {
            cells.push(None);
            bytes = rest;
            continue;
        }
        let (text, after) = rest.split_at_checked(length as usize).unwrap_or((rest, &[]));
        cells.push(Some(String::from_utf8_lossy(text).into_owned()));
        bytes = after;
    }
    cells
}

/// The hash of a row's bytes: XXH3-128.
pub fn hash(bytes: &[u8]) -> u128 {
    Fingerprint::of_record(0, None, None, Some(bytes)).get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::*;
    use std::sync::Arc;

    #[test]
    fn what_a_database_prints_becomes_what_a_record_gives() {
        for (form, printed, canonical) in [
            (Form::Number, "12.50", "12.5"),
            (Form::Number, "12.00", "12"),
            (Form::Number, "100", "100"),
            (Form::Number, "-0.00", "0"),
            (Form::Number, "+007", "7"),
            (Form::Number, "1e+15", "1000000000000000"),
            (Form::Number, "abc", "abc"),
            (Form::Number, "", ""),
            (Form::Boolean, "t", "true"),
            (Form::Boolean, "0", "false"),
            (Form::Float64, "0.1", "0.1"),
            (Form::Float64, "-0", "0.0"),
            (Form::Float64, "1e300", "1e300"),
            (Form::Float32, "0.10000000149011612", "0.1"),
            (Form::Time, "2026-01-02 03:04:05.120000+00", "2026-01-02 03:04:05.12"),
            (Form::Time, "2026-01-02 03:04:05.000", "2026-01-02 03:04:05"),
            (Form::Time, "2026-01-20", "2026-01-20"),
            (Form::Time, "10:00:00", "10:00:00"),
            (Form::Bytes, "\\xAB00", "ab00"),
            (Form::Text, " 007 ", " 007 "),
            (Form::Nested, r#"{"b": 1.50, "a": [1, null]}"#, r#"{"a":[1,null],"b":1.5}"#),
            (Form::Nested, r#"["2026-01-02T03:04:05.10"]"#, r#"["2026-01-02 03:04:05.1"]"#),
        ] {
            assert_eq!(form.of_text(printed), canonical, "{form:?} {printed}");
        }
    }

    #[test]
    fn values_of_records_are_in_the_same_form() {
        let decimals = Decimal128Array::from(vec![1250, -5]).with_precision_and_scale(12, 2).unwrap();
        for (array, row, expected) in [
            (Arc::new(Int32Array::from(vec![7])) as ArrayRef, 0, "7"),
            (Arc::new(decimals.clone()), 0, "12.5"),
            (Arc::new(decimals), 1, "-0.05"),
            (Arc::new(BooleanArray::from(vec![true])), 0, "true"),
            (Arc::new(Float64Array::from(vec![-0.0])), 0, "0.0"),
            (Arc::new(TimestampMillisecondArray::from(vec![1_500]).with_timezone("UTC")), 0, "1970-01-01 00:00:01.5"),
            (Arc::new(BinaryArray::from(vec![b"\xab\x00".as_slice()])), 0, "ab00"),
        ] {
            assert_eq!(Form::of(array.data_type()).of_record(&array, row).as_deref(), Some(expected));
        }
        let none = Arc::new(Int64Array::from(vec![None])) as ArrayRef;
        assert_eq!(Form::Number.of_record(&none, 0), None);
    }

    #[test]
    fn no_two_different_rows_read_the_same() {
        let row = |cells: &[Option<&str>]| {
            let mut out = Vec::new();
            cells.iter().for_each(|cell| put(&mut out, *cell));
            out
        };
        let rows = [
            row(&[Some("a"), Some("b")]),
            row(&[Some("ab"), Some("")]),
            row(&[Some(""), Some("ab")]),
            row(&[None, Some("ab")]),
            row(&[Some("a"), None]),
        ];
        for (at, one) in rows.iter().enumerate() {
            assert!(rows[at + 1..].iter().all(|other| other != one && hash(other) != hash(one)));
        }
        assert_eq!(cells(&rows[3]), [None, Some("ab".to_owned())]);
    }
}
