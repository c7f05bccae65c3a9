//! The bytes themselves as one column: text, bytes, or a number of fixed length.

use super::RawOptions;
use super::append::Scalar;
use super::bad::{Bad, Parsed, sql_name};
use super::column::{Builder, Values};
use super::{TimestampFormat, unsupported};
use crate::codes;
use crate::error::{Error, Result};
use arrow_array::ArrayRef;

/// Decodes whole values (or keys).
pub(crate) struct Raw {
    /// None where the query does not use it.
    column: Option<Builder>,
    big_endian: bool,
}

impl Raw {
    /// A decoder for at most one column of a simple type.
    pub(crate) fn new(mut columns: Vec<Builder>, options: &RawOptions) -> Result<Self> {
        let column = columns.pop();
        if !columns.is_empty() {
            return Err(Error::config(codes::OF0651, "format `raw` fills one column and several are declared"));
        }
        if let Some(column) = &column
            && width(&column.values).is_none()
            && !matches!(column.values, Values::Text(_) | Values::Bytes(_))
        {
            return Err(unsupported("raw", column));
        }
        Ok(Self { column, big_endian: options.big_endian })
    }

    /// Decodes one value.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Parsed<usize> {
        if let Some(column) = &mut self.column {
            append(column, bytes, self.big_endian).map_err(|bad| bad.inside(&column.name).column(0))?;
        }
        Ok(1)
    }

    /// Cuts the column back to so many rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.column.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// The column; the decoder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.column.iter_mut().map(Builder::finish).collect()
    }

    /// Appends NULL, for a record that has no key.
    pub(crate) fn append_nulls(&mut self) -> Parsed<()> {
        let column = self.column.as_mut();
        column.map_or(Ok(()), |column| column.append_null().map_err(|bad| bad.inside(&column.name).column(0)))
    }
}

/// How many bytes a value of fixed length has.
fn width(values: &Values) -> Option<usize> {
    match values {
        Values::Boolean(_) | Values::Int8(_) => Some(1),
        Values::Int16(_) => Some(2),
        Values::Int32(_) | Values::Float32(_) => Some(4),
        Values::Int64(_) | Values::Float64(_) => Some(8),
        _ => None,
    }
}

fn append(column: &mut Builder, bytes: &[u8], big_endian: bool) -> Parsed<()> {
    let Some(width) = width(&column.values) else {
        if matches!(column.values, Values::Text(_)) {
            let text = std::str::from_utf8(bytes).map_err(|error| Bad::not_utf8(bytes, error))?;
            return column.append(Scalar::Text(text), TimestampFormat::Sql);
        }
        return column.append(Scalar::Bytes(bytes), TimestampFormat::Sql);
    };
    if bytes.len() != width {
        let reason = format!("expected {width} bytes for {}, found {}", sql_name(&column.data_type), bytes.len());
        return Err(Bad::new(codes::OF0610, reason));
    }
    // The number's bytes, least significant first.
    let mut little = [0_u8; 8];
    little[..width].copy_from_slice(bytes);
    if big_endian {
        little[..width].reverse();
    }
    let bits = u64::from_le_bytes(little);
    let low = || u32::from_le_bytes([little[0], little[1], little[2], little[3]]);
    match &mut column.values {
        Values::Boolean(values) => values.append(bits != 0),
        Values::Int8(values) => values.push(i8::from_le_bytes([little[0]])),
        Values::Int16(values) => values.push(i16::from_le_bytes([little[0], little[1]])),
        Values::Int32(values) => values.push(low().cast_signed()),
        Values::Int64(values) => values.push(bits.cast_signed()),
        Values::Float32(values) => values.push(f32::from_bits(low())),
        Values::Float64(values) => values.push(f64::from_bits(bits)),
        _ => return Err(Bad::form(&column.data_type, "bytes")),
    }
    column.pushed();
    Ok(())
}
