//! Arrow values in PostgreSQL's binary form, cell by cell, without allocation.
//!
//! Owns the bytes. Every value has been looked at before (`vet`), so nothing here can fail or lose anything.
//! The forms are those of the server's `*send` and `*recv` functions (src/backend/utils/adt).

use super::types::Wire;
use crate::home::row_json::cell_json;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};

/// Microseconds and days between 1970-01-01, where Arrow's calendar begins, and 2000-01-01, where PostgreSQL's does.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;
pub(super) const EPOCH_DAYS: i32 = 10_957;

/// One column, ready to be written.
#[derive(Debug)]
pub(super) struct Encoder {
    pub cells: Cells,
    pub nulls: Option<NullBuffer>,
}

/// Whole numbers of any width.
#[derive(Debug)]
pub(super) enum Ints {
    I8(ScalarBuffer<i8>),
    I16(ScalarBuffer<i16>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
}

impl Ints {
    #[inline(always)]
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Self::I8(values) => i64::from(values[row]),
            Self::I16(values) => i64::from(values[row]),
            Self::I32(values) => i64::from(values[row]),
            Self::I64(values) => values[row],
        }
    }

    /// Bytes of one number.
    pub fn width(&self) -> usize {
        match self {
            Self::I8(_) => 1,
            Self::I16(_) => 2,
            Self::I32(_) => 4,
            Self::I64(_) => 8,
        }
    }
}

/// The values of a column with the form that they take.
#[derive(Debug)]
pub(super) enum Cells {
    Bool(BooleanBuffer),
    Int2(Ints),
    Int4(Ints),
    Int8(Ints),
    IntNumeric(Ints),
    IntFloat4(Ints),
    IntFloat8(Ints),
    Float4(ScalarBuffer<f32>),
    Float8(ScalarBuffer<f64>),
    Float4As8(ScalarBuffer<f32>),
    Numeric {
        values: ScalarBuffer<i128>,
        scale: i8,
    },
    DecimalInt {
        values: ScalarBuffer<i128>,
        scale: i8,
        width: usize,
    },
    Text(StringArray),
    Jsonb(StringArray),
    Uuid(StringArray),
    Bytes(BinaryArray),
    Date(ScalarBuffer<i32>),
    /// Times and timestamps: `value * multiply / divide - epoch` microseconds.
    Micros {
        ints: Ints,
        multiply: i64,
        divide: i64,
        epoch: i64,
    },
    Rendered {
        array: ArrayRef,
        jsonb: bool,
    },
    List {
        offsets: OffsetBuffer<i32>,
        element: Box<Encoder>,
        oid: u32,
    },
}

impl Encoder {
    /// An encoder for a column of a type and a form that go together, as `types::target` said.
    ///
    /// # Panics
    /// Where they do not.
    pub fn new(array: &ArrayRef, wire: &Wire) -> Self {
        Self { cells: cells(array, wire), nulls: array.logical_nulls() }
    }

    /// Whether a value is NULL.
    #[inline(always)]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Writes the length and the bytes of a value; −1 for NULL.
    #[inline]
    pub fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(&(-1_i32).to_be_bytes());
        }
        match &self.cells {
            Cells::Int8(ints) => put_fixed::<8, 12>(out, ints.get(row).to_be_bytes()),
            Cells::Text(values) => put_bytes(out, values.value(row).as_bytes()),
            Cells::Int4(ints) => put_fixed::<4, 8>(out, narrow4(ints.get(row)).to_be_bytes()),
            Cells::Int2(ints) => put_fixed::<2, 6>(out, narrow2(ints.get(row)).to_be_bytes()),
            Cells::Bool(values) => put_fixed::<1, 5>(out, [u8::from(values.value(row))]),
            Cells::Float8(values) => put_fixed::<8, 12>(out, values[row].to_be_bytes()),
            Cells::Float4(values) => put_fixed::<4, 8>(out, values[row].to_be_bytes()),
            Cells::Float4As8(values) => put_fixed::<8, 12>(out, f64::from(values[row]).to_be_bytes()),
            Cells::Micros { ints, multiply, divide, epoch } => {
                let micros = ints.get(row) * multiply / divide - epoch;
                put_fixed::<8, 12>(out, micros.to_be_bytes());
            }
            Cells::Date(days) => put_fixed::<4, 8>(out, (days[row] - EPOCH_DAYS).to_be_bytes()),
            Cells::Bytes(values) => put_bytes(out, values.value(row)),
            Cells::Numeric { values, scale } => put_numeric(out, values[row], *scale),
            Cells::IntNumeric(ints) => put_numeric(out, i128::from(ints.get(row)), 0),
            _ => self.put_rare(row, out),
        }
    }

    fn put_rare(&self, row: usize, out: &mut Vec<u8>) {
        match &self.cells {
            Cells::IntFloat4(ints) => put_fixed::<4, 8>(out, f32::from(narrow2(ints.get(row))).to_be_bytes()),
            Cells::IntFloat8(ints) => put_fixed::<8, 12>(out, f64::from(narrow4(ints.get(row))).to_be_bytes()),
            Cells::DecimalInt { values, scale, width } => put_whole(out, unscaled(values[row], *scale), *width),
            Cells::Jsonb(values) => put_jsonb(out, values.value(row)),
            Cells::Uuid(values) => {
                let uuid = uuid::Uuid::try_parse(values.value(row)).expect("the text was read as a UUID before");
                put_fixed::<16, 20>(out, *uuid.as_bytes());
            }
            Cells::Rendered { array, jsonb: true } => put_jsonb(out, &cell_json(array.as_ref(), row)),
            Cells::Rendered { array, jsonb: false } => put_bytes(out, cell_json(array.as_ref(), row).as_bytes()),
            Cells::List { offsets, element, oid } => {
                let (from, to) = (index(offsets[row]), index(offsets[row + 1]));
                put_array(out, element, from, to, *oid);
            }
            _ => unreachable!("put writes all others"),
        }
    }
}

fn cells(array: &ArrayRef, wire: &Wire) -> Cells {
    match (array.data_type(), wire) {
        (DataType::Decimal128(_, scale), wire) => decimals(array, *scale, wire),
        (_, Wire::Bool) => Cells::Bool(array.as_boolean().values().clone()),
        (_, Wire::Int2) => Cells::Int2(ints(array)),
        (_, Wire::Int4) => Cells::Int4(ints(array)),
        (_, Wire::Int8) => Cells::Int8(ints(array)),
        (_, Wire::Numeric { .. }) => Cells::IntNumeric(ints(array)),
        (DataType::Float32, Wire::Float4) => Cells::Float4(array.as_primitive::<Float32Type>().values().clone()),
        (DataType::Float32, Wire::Float8) => Cells::Float4As8(array.as_primitive::<Float32Type>().values().clone()),
        (DataType::Float64, Wire::Float8) => Cells::Float8(array.as_primitive::<Float64Type>().values().clone()),
        (_, Wire::Float4) => Cells::IntFloat4(ints(array)),
        (_, Wire::Float8) => Cells::IntFloat8(ints(array)),
        (_, Wire::Text { .. }) => Cells::Text(array.as_string::<i32>().clone()),
        (_, Wire::Jsonb) => Cells::Jsonb(array.as_string::<i32>().clone()),
        (_, Wire::Uuid) => Cells::Uuid(array.as_string::<i32>().clone()),
        (_, Wire::Bytea) => Cells::Bytes(array.as_binary::<i32>().clone()),
        (_, Wire::Date) => Cells::Date(array.as_primitive::<Date32Type>().values().clone()),
        (_, Wire::Time { .. }) => micros(array, 0),
        (_, Wire::Timestamp { .. }) => micros(array, EPOCH_MICROS),
        (_, Wire::Rendered { jsonb }) => Cells::Rendered { array: array.clone(), jsonb: *jsonb },
        (_, Wire::Array { element, oid }) => {
            let list = array.as_list::<i32>();
            let element = Box::new(Encoder::new(list.values(), element));
            Cells::List { offsets: list.offsets().clone(), element, oid: *oid }
        }
    }
}

fn decimals(array: &ArrayRef, scale: i8, wire: &Wire) -> Cells {
    let values = array.as_primitive::<Decimal128Type>().values().clone();
    let width = match wire {
        Wire::Int2 => 2,
        Wire::Int4 => 4,
        Wire::Int8 => 8,
        _ => return Cells::Numeric { values, scale },
    };
    Cells::DecimalInt { values, scale, width }
}

fn ints(array: &ArrayRef) -> Ints {
    match array.data_type() {
        DataType::Int8 => Ints::I8(array.as_primitive::<Int8Type>().values().clone()),
        DataType::Int16 => Ints::I16(array.as_primitive::<Int16Type>().values().clone()),
        DataType::Int32 => Ints::I32(array.as_primitive::<Int32Type>().values().clone()),
        _ => Ints::I64(array.as_primitive::<Int64Type>().values().clone()),
    }
}

fn micros(array: &ArrayRef, epoch: i64) -> Cells {
    let (ints, multiply, divide) = match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            (Ints::I32(array.as_primitive::<Time32SecondType>().values().clone()), 1_000_000, 1)
        }
        DataType::Time32(_) => (Ints::I32(array.as_primitive::<Time32MillisecondType>().values().clone()), 1_000, 1),
        DataType::Time64(TimeUnit::Microsecond) => {
            (Ints::I64(array.as_primitive::<Time64MicrosecondType>().values().clone()), 1, 1)
        }
        DataType::Time64(_) => (Ints::I64(array.as_primitive::<Time64NanosecondType>().values().clone()), 1, 1_000),
        DataType::Timestamp(TimeUnit::Second, _) => {
            (Ints::I64(array.as_primitive::<TimestampSecondType>().values().clone()), 1_000_000, 1)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            (Ints::I64(array.as_primitive::<TimestampMillisecondType>().values().clone()), 1_000, 1)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            (Ints::I64(array.as_primitive::<TimestampMicrosecondType>().values().clone()), 1, 1)
        }
        _ => (Ints::I64(array.as_primitive::<TimestampNanosecondType>().values().clone()), 1, 1_000),
    };
    Cells::Micros { ints, multiply, divide, epoch }
}

fn narrow2(value: i64) -> i16 {
    i16::try_from(value).expect("the value was compared with the column's range before")
}

fn narrow4(value: i64) -> i32 {
    i32::try_from(value).expect("the value was compared with the column's range before")
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets of an array are not negative")
}

/// A decimal without a fraction as a whole number.
fn unscaled(value: i128, scale: i8) -> i64 {
    let power = 10_i128.pow(scale.unsigned_abs().into());
    let whole = if scale >= 0 { value / power } else { value * power };
    i64::try_from(whole).expect("the value was compared with the column's range before")
}

/// `SIZE` bytes of a value with their length before them, in one go; `BOTH` is `SIZE` + 4.
#[inline(always)]
fn put_fixed<const SIZE: usize, const BOTH: usize>(out: &mut Vec<u8>, value: [u8; SIZE]) {
    let mut cell = [0_u8; BOTH];
    cell[..4].copy_from_slice(&length(SIZE));
    cell[4..].copy_from_slice(&value);
    out.extend_from_slice(&cell);
}

#[inline(always)]
pub(super) fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("one value is below 2 GiB, as is the arena that it came in").to_be_bytes()
}

#[inline(always)]
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(bytes);
}

fn put_jsonb(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&length(text.len() + 1));
    // The only version of the form that there is.
    out.push(1);
    out.extend_from_slice(text.as_bytes());
}

fn put_whole(out: &mut Vec<u8>, value: i64, width: usize) {
    match width {
        2 => put_fixed::<2, 6>(out, narrow2(value).to_be_bytes()),
        4 => put_fixed::<4, 8>(out, narrow4(value).to_be_bytes()),
        _ => put_fixed::<8, 12>(out, value.to_be_bytes()),
    }
}

/// `numeric`: digits to the base of 10,000, the weight of the first one, the sign, and the digits to show after the point.
fn put_numeric(out: &mut Vec<u8>, value: i128, scale: i8) {
    // 39 decimal digits, aligned to the point, take at most 11 digits of base 10,000; a negative scale adds up to 32.
    let mut digits = [0_u16; 48];
    let mut count = 0;
    let mut rest = value.unsigned_abs();
    let shown = scale.max(0).unsigned_abs();
    // The lowest digit may be cut by the point: it is filled up with zeros on its right.
    let below = usize::from(shown.div_ceil(4));
    let fill = below * 4 - usize::from(shown) + usize::from(scale.min(0).unsigned_abs()) % 4;
    let whole_zeros = usize::from(scale.min(0).unsigned_abs()) / 4;
    let mut base = [10_000, 1_000, 100, 10][fill % 4];
    let mut shift = 10_000 / base;
    // Division of 128 bits is slow and seldom needed.
    while rest > u128::from(u64::MAX) {
        digits[count] = digit(u64::try_from(rest % u128::from(base)).expect("below 10,000") * shift);
        rest /= u128::from(base);
        (base, shift, count) = (10_000, 1, count + 1);
    }
    let mut rest = u64::try_from(rest).expect("the loop above ends there");
    while rest > 0 {
        digits[count] = digit((rest % base) * shift);
        rest /= base;
        (base, shift, count) = (10_000, 1, count + 1);
    }
    let lowest = whole_zeros as i64 - below as i64;
    put_digits(out, &digits[..count], lowest, value < 0, shown);
}

#[inline(always)]
fn digit(number: u64) -> u16 {
    u16::try_from(number).expect("a digit is below 10,000")
}

/// `digits` from the lowest on; `lowest` is the weight of the first of them.
fn put_digits(out: &mut Vec<u8>, digits: &[u16], lowest: i64, negative: bool, shown: u8) {
    let used = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
    let skip = digits[..used].iter().position(|digit| *digit != 0).unwrap_or(0);
    let weight = if used == 0 { 0 } else { lowest + used as i64 - 1 };
    let short = |number: i64| i16::try_from(number).expect("a decimal has fewer than 60 digits").to_be_bytes();
    out.extend_from_slice(&length(8 + 2 * (used - skip)));
    out.extend_from_slice(&short((used - skip) as i64));
    out.extend_from_slice(&short(weight));
    out.extend_from_slice(&(if negative { 0x4000_u16 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&u16::from(shown).to_be_bytes());
    digits[skip..used].iter().rev().for_each(|digit| out.extend_from_slice(&digit.to_be_bytes()));
}

/// An array of one dimension, counted from 1.
pub(super) fn put_array(out: &mut Vec<u8>, element: &Encoder, from: usize, to: usize, oid: u32) {
    put_array_of(out, to - from, oid, |out| (from..to).for_each(|row| element.put(row, out)));
}

/// An array of `count` elements, which `elements` writes.
pub(super) fn put_array_of(out: &mut Vec<u8>, count: usize, oid: u32, elements: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let dimensions = i32::from(count > 0);
    out.extend_from_slice(&dimensions.to_be_bytes());
    // Whether there are NULLs; the server looks for itself and only wants the flag to be 0 or 1.
    out.extend_from_slice(&1_i32.to_be_bytes());
    out.extend_from_slice(&oid.to_be_bytes());
    if count > 0 {
        out.extend_from_slice(&length(count));
        out.extend_from_slice(&1_i32.to_be_bytes());
        elements(out);
    }
    let bytes = length(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres_protocol::types as pg;

    fn numeric(value: i128, scale: i8) -> String {
        let mut out = Vec::new();
        put_numeric(&mut out, value, scale);
        let words: Vec<i64> =
            out[4..].chunks(2).map(|word| i64::from(u16::from_be_bytes([word[0], word[1]]))).collect();
        assert_eq!(usize::try_from(words[0]).unwrap(), words.len() - 4);
        let weight = i64::from(i16::try_from(words[1] - if words[1] > 32767 { 65536 } else { 0 }).unwrap());
        let digits: Vec<String> = words[4..].iter().map(ToString::to_string).collect();
        let sign = if words[2] == 0x4000 { "-" } else { "" };
        format!("{sign}{}e{weight}s{}", digits.join("."), words[3])
    }

    #[test]
    fn decimals_become_digits_of_ten_thousand() {
        let check = |value, scale, expected: &str| assert_eq!(numeric(value, scale), expected, "{value} scale {scale}");
        check(0, 2, "e0s2");
        check(1, 0, "1e0s0");
        check(-12345, 2, "-123.4500e0s2");
        check(5, 2, "500e-1s2");
        check(10_000, 0, "1e1s0");
        check(123_456_789, 4, "1.2345.6789e1s4");
        check(1, 18, "100e-5s18");
        check(120_000, 5, "1.2000e0s5");
        check(7, -2, "700e0s0");
        check(7, -5, "70e1s0");
        check(i128::MAX, 0, "170.1411.8346.469.2317.3168.7303.7158.8410.5727e9s0");
        check(i128::MIN, 38, "-1.7014.1183.4604.6923.1731.6873.371.5884.1057.2800e0s38");
    }

    #[test]
    fn an_empty_array_has_no_dimension() {
        let mut out = Vec::new();
        put_array_of(&mut out, 0, 20, |_| ());
        let array = pg::array_from_sql(&out[4..]).unwrap();
        assert_eq!((array.element_type(), array.has_nulls()), (20, true));
    }
}
