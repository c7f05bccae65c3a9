//! One scalar into one column: the conversions that JSON, CSV and metadata share.

use super::TimestampFormat;
use super::bad::{Bad, Parsed};
use super::column::{Builder, Values};
use super::convert::{self, Wrong};
use super::time::{self, Moment};
use arrow_schema::{DataType, TimeUnit};

/// A scalar as it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    /// Text.
    Text(&'a str),
    /// A number as it is written; its grammar was checked.
    Number(&'a str),
    /// A truth value.
    Boolean(bool),
    /// An integer that a source knows.
    Integer(i64),
    /// Milliseconds since 1970 that a source knows.
    Millis(i64),
    /// Bytes that a source knows.
    Bytes(&'a [u8]),
}

impl Scalar<'_> {
    /// The scalar as a reason shows it.
    fn display(self) -> String {
        match self {
            Self::Text(text) => format!("\"{text}\""),
            Self::Number(number) => number.to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) | Self::Millis(value) => value.to_string(),
            Self::Bytes(bytes) => format!("{} bytes that are no text", bytes.len()),
        }
    }

    /// Jackson's `asText`: what Flink converts wherever the node is not of the fitting kind already.
    fn with_text<T>(self, convert: impl FnOnce(&str) -> Result<T, Wrong>) -> Result<T, Wrong> {
        match self {
            Self::Text(text) | Self::Number(text) => convert(text),
            Self::Boolean(value) => convert(if value { "true" } else { "false" }),
            Self::Integer(value) | Self::Millis(value) => convert(&value.to_string()),
            Self::Bytes(bytes) => convert(std::str::from_utf8(bytes).map_err(|_| Wrong::Form)?),
        }
    }

    fn integer(self) -> Result<i64, Wrong> {
        match self {
            Self::Integer(value) | Self::Millis(value) => Ok(value),
            Self::Number(number) => convert::integral(number),
            other => other.with_text(|text| convert::integer(convert::trim(text))),
        }
    }

    fn boolean(self) -> Result<bool, Wrong> {
        match self {
            Self::Boolean(value) => Ok(value),
            // Java's Boolean.parseBoolean, as Flink does: whatever is not `true` is false.
            other => other.with_text(|text| Ok(convert::trim(text).eq_ignore_ascii_case("true"))),
        }
    }

    fn time_of_day(self) -> Result<Moment, Wrong> {
        self.text_only(time::time)
    }

    fn timestamp(self, format: TimestampFormat, zoned: bool) -> Result<Moment, Wrong> {
        match self {
            Self::Millis(millis) => Ok(Moment::from_millis(millis)),
            other => other.text_only(|text| time::timestamp(text, format, zoned)),
        }
    }

    fn text_only<T>(self, convert: impl FnOnce(&str) -> Result<T, Wrong>) -> Result<T, Wrong> {
        if let Self::Text(text) = self { convert(text) } else { Err(Wrong::Form) }
    }
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Result<T, Wrong> {
    T::try_from(value).map_err(|_| Wrong::Range)
}

fn in_unit_32(moment: Moment, unit: TimeUnit) -> Result<i32, Wrong> {
    moment.in_unit(unit).and_then(narrow)
}

impl Builder {
    /// Appends a scalar, converted to the column's type.
    pub(crate) fn append(&mut self, scalar: Scalar<'_>, format: TimestampFormat) -> Parsed<()> {
        match self.values.push(scalar, format) {
            Ok(()) => {
                self.pushed();
                Ok(())
            }
            Err(Wrong::Form) => Err(self.explain(scalar)),
            Err(Wrong::Range) => Err(Bad::range(&self.data_type, &scalar.display())),
        }
    }

    #[cold]
    fn explain(&self, scalar: Scalar<'_>) -> Box<Bad> {
        Bad::form(&self.data_type, &scalar.display()).with_hint(hint(&self.data_type, scalar))
    }
}

/// What to write where a timestamp is in the other format.
fn hint(data_type: &DataType, scalar: Scalar<'_>) -> Option<&'static str> {
    let (DataType::Timestamp(_, zone), Scalar::Text(text)) = (data_type, scalar) else { return None };
    let reads = |format, zoned| time::timestamp(text, format, zoned).is_ok();
    let zoned = zone.is_some();
    if reads(TimestampFormat::Iso8601, zoned) {
        Some("it is written in ISO-8601: 'json.timestamp-format.standard' = 'ISO-8601'")
    } else if reads(TimestampFormat::Sql, zoned) {
        Some("it is written in SQL style: 'json.timestamp-format.standard' = 'SQL'")
    } else if zoned && (reads(TimestampFormat::Sql, false) || reads(TimestampFormat::Iso8601, false)) {
        Some("a TIMESTAMP_LTZ needs its zone, such as a trailing Z")
    } else if !zoned && (reads(TimestampFormat::Sql, true) || reads(TimestampFormat::Iso8601, true)) {
        Some("it has a zone: declare the column as TIMESTAMP_LTZ")
    } else {
        None
    }
}

impl Values {
    /// Pushes a scalar; nothing is left behind where it fails, except in text and bytes, which are cut back by `truncate`.
    fn push(&mut self, scalar: Scalar<'_>, format: TimestampFormat) -> Result<(), Wrong> {
        match self {
            Self::Boolean(values) => values.append(scalar.boolean()?),
            Self::Int8(values) => values.push(scalar.integer().and_then(narrow)?),
            Self::Int16(values) => values.push(scalar.integer().and_then(narrow)?),
            Self::Int32(values) => values.push(scalar.integer().and_then(narrow)?),
            Self::Int64(values) => values.push(scalar.integer()?),
            Self::Float32(values) => values.push(scalar.with_text(|text| convert::float(convert::trim(text)))?),
            Self::Float64(values) => values.push(scalar.with_text(|text| convert::double(convert::trim(text)))?),
            Self::Decimal(values, precision, scale) => {
                values.push(scalar.with_text(|text| convert::decimal(convert::trim(text), *precision, *scale))?);
            }
            Self::Date(values) => values.push(scalar.text_only(time::date)?),
            Self::Time32(values, unit) => values.push(scalar.time_of_day().and_then(|at| in_unit_32(at, *unit))?),
            Self::Time64(values, unit) => values.push(scalar.time_of_day().and_then(|at| at.in_unit(*unit))?),
            Self::Timestamp(values, unit, zoned) => {
                values.push(scalar.timestamp(format, *zoned).and_then(|at| at.in_unit(*unit))?);
            }
            Self::Text(values) => scalar.with_text(|text| {
                values.push(text.as_bytes());
                Ok(())
            })?,
            Self::Bytes(values) => match scalar {
                Scalar::Bytes(bytes) => values.push(bytes),
                other => {
                    other.text_only(|text| convert::base64(text.as_bytes(), &mut values.data))?;
                    values.end();
                }
            },
            Self::List(..) | Self::Map(..) | Self::Row(..) => return Err(Wrong::Form),
        }
        Ok(())
    }
}
