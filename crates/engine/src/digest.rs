//! The digest of rows: what an epoch prepared for a table, in 128 bits and a count.
//!
//! Owns the hash of one row. It is chained over the columns in their order: each cell is multiplied into a 128-bit state by
//! an odd constant and the high half is folded back, so a step loses nothing: two rows that differ in one cell of fixed width
//! never collide. The digest of many rows is the sum of their hashes ([`onceflow_core::Digest`]), so it does not depend on
//! order, and slices of an array give what copies of them give.
//! The ledger keeps digests: a change here is a change of the ledger's version.

use crate::home::row_json::cell_json;
use arrow_array::cast::AsArray;
use arrow_array::downcast_primitive_array;
use arrow_array::types::{ArrowPrimitiveType, ByteArrayType, Decimal256Type};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, GenericByteArray, PrimitiveArray, RecordBatch};
use arrow_buffer::{ArrowNativeType, NullBuffer, ToByteSlice};
use arrow_schema::{DataType, TimeUnit};
use onceflow_core::Digest;

/// 2^128 divided by the golden ratio, made odd.
const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
/// The first 128 bits of the fraction of e, made odd.
const LAST: u128 = 0xb7e1_5162_8aed_2a6a_bf71_5880_9cf4_f3c7;
/// The first 128 bits of the fraction of π: a NULL is this and no value.
const NULL: u128 = 0x243f_6a88_85a3_08d3_1319_8a2e_0370_7344;

/// How many rows are hashed at a time, so that their states stay in the first cache.
const ROWS_AT_ONCE: usize = 1024;

/// The digest of all rows over all columns. A NULL differs from every value, a type from every other, and a column's place
/// counts; names do not.
pub fn digest_rows(rows: &RecordBatch) -> Digest {
    let mut sum = 0_u128;
    let mut from = 0;
    while from < rows.num_rows() {
        let length = ROWS_AT_ONCE.min(rows.num_rows() - from);
        let mut states = vec![NULL; length];
        for column in rows.columns() {
            add_column(&mut states, &column.slice(from, length));
        }
        sum = states.iter().fold(sum, |sum, state| sum.wrapping_add(finish(*state)));
        from += length;
    }
    Digest::new(sum, rows.num_rows() as u64)
}

#[inline(always)]
fn mix(state: u128, word: u128) -> u128 {
    let product = (state ^ word).wrapping_mul(STEP);
    product ^ (product >> 67)
}

#[inline(always)]
fn null(state: u128) -> u128 {
    let product = state.wrapping_add(NULL).wrapping_mul(LAST);
    product ^ (product >> 61)
}

#[inline(always)]
fn finish(state: u128) -> u128 {
    let once = (state ^ (state >> 64)).wrapping_mul(LAST);
    let twice = (once ^ (once >> 59)).wrapping_mul(STEP);
    twice ^ (twice >> 64)
}

/// A text of any length: its length, then 16 bytes at a time; the last 16 of a longer text may overlap what came before.
#[inline(always)]
fn mix_bytes(state: u128, tag: u128, bytes: &[u8]) -> u128 {
    let mut state = mix(state, tag ^ bytes.len() as u128);
    let Some(last) = bytes.last_chunk::<16>() else { return mix(state, short(bytes)) };
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<16>().filter(|(_, after)| !after.is_empty()) {
        state = mix(state, u128::from_le_bytes(*chunk));
        rest = after;
    }
    mix(state, u128::from_le_bytes(*last))
}

/// Up to 15 bytes as a number that differs for different bytes of the same length.
#[inline(always)]
fn short(bytes: &[u8]) -> u128 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return u128::from(u64::from_le_bytes(*first)) | (u128::from(u64::from_le_bytes(*last)) << 64);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u128::from(u32::from_le_bytes(*first)) | (u128::from(u32::from_le_bytes(*last)) << 64);
    }
    bytes.iter().fold(0, |word, byte| (word << 8) | u128::from(*byte))
}

/// A number for each type, far from small values.
fn tag(data_type: &DataType) -> u128 {
    let (kind, detail) = match data_type {
        DataType::Boolean => (1, 0),
        DataType::Int8 => (2, 0),
        DataType::Int16 => (3, 0),
        DataType::Int32 => (4, 0),
        DataType::Int64 => (5, 0),
        DataType::UInt8 => (6, 0),
        DataType::UInt16 => (7, 0),
        DataType::UInt32 => (8, 0),
        DataType::UInt64 => (9, 0),
        DataType::Float16 => (10, 0),
        DataType::Float32 => (11, 0),
        DataType::Float64 => (12, 0),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (13, 0),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => (14, 0),
        DataType::Date32 => (15, 0),
        DataType::Date64 => (16, 0),
        DataType::Time32(unit) | DataType::Time64(unit) => (17, unit_tag(*unit)),
        DataType::Timestamp(unit, zone) => (18 + u64::from(zone.is_some()), unit_tag(*unit)),
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => (20, scale.cast_unsigned().into()),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => (21, 0),
        DataType::Struct(_) => (22, 0),
        DataType::Map(..) => (23, 0),
        DataType::Duration(unit) => (24, unit_tag(*unit)),
        DataType::Interval(_) => (25, 0),
        _ => (26, 0),
    };
    u128::from(kind << 32 | detail).wrapping_mul(LAST) << 1
}

fn unit_tag(unit: TimeUnit) -> u64 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Mixes one column into the states, row by row.
fn add_column(states: &mut [u128], column: &ArrayRef) {
    let tag = tag(column.data_type());
    match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean();
            each(states, column.nulls(), tag, |state, row| mix(state, tag ^ u128::from(values.value(row))));
        }
        DataType::Utf8 => add_bytes(states, column.as_string::<i32>(), tag),
        DataType::LargeUtf8 => add_bytes(states, column.as_string::<i64>(), tag),
        DataType::Binary => add_bytes(states, column.as_binary::<i32>(), tag),
        DataType::LargeBinary => add_bytes(states, column.as_binary::<i64>(), tag),
        DataType::Utf8View => {
            let values = column.as_string_view();
            each(states, column.nulls(), tag, |state, row| mix_bytes(state, tag, values.value(row).as_bytes()));
        }
        DataType::BinaryView => {
            let values = column.as_binary_view();
            each(states, column.nulls(), tag, |state, row| mix_bytes(state, tag, values.value(row)));
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            each(states, column.nulls(), tag, |state, row| mix_bytes(state, tag, values.value(row)));
        }
        _ => add_other(states, column, tag),
    }
}

fn add_other(states: &mut [u128], column: &ArrayRef, tag: u128) {
    match column.data_type() {
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            add_lists(states, column.nulls(), list.values(), tag, |row| ends(&list.value_offsets()[row..]));
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            add_lists(states, column.nulls(), list.values(), tag, |row| ends(&list.value_offsets()[row..]));
        }
        DataType::FixedSizeList(..) => {
            let list = column.as_fixed_size_list();
            let width = list.value_length().as_usize();
            let ends = |row: usize| (list.value_offset(row).as_usize(), list.value_offset(row).as_usize() + width);
            add_lists(states, column.nulls(), list.values(), tag, ends);
        }
        DataType::Map(..) => {
            let map = column.as_map();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            add_lists(states, column.nulls(), &entries, tag, |row| ends(&map.value_offsets()[row..]));
        }
        DataType::Struct(_) => add_struct(states, column, tag),
        DataType::Dictionary(_, values) => {
            let plain = arrow_cast::cast(column, values).expect("a dictionary can always be unpacked into its values");
            add_column(states, &plain);
        }
        _ => add_primitive(states, column, tag),
    }
}

fn add_primitive(states: &mut [u128], column: &ArrayRef, tag: u128) {
    if let Some(wide) = column.as_primitive_opt::<Decimal256Type>() {
        let values = wide.values();
        return each(states, column.nulls(), tag, |state, row| mix_bytes(state, tag, &values[row].to_le_bytes()));
    }
    let column = column.as_ref();
    downcast_primitive_array!(
        column => add_numbers(states, column, tag),
        // Intervals with months and unions have no number; their text is as good.
        _ => each(states, column.nulls(), tag, |state, row| mix_bytes(state, tag, cell_json(column, row).as_bytes()))
    );
}

fn add_numbers<T: ArrowPrimitiveType>(states: &mut [u128], column: &PrimitiveArray<T>, tag: u128)
where
    T::Native: ArrowNativeTypeOp,
{
    let values = column.values();
    each(states, column.nulls(), tag, |state, row| mix(state, tag ^ word(values[row])));
}

/// The bits of a number of up to 16 bytes.
#[inline(always)]
fn word<N: ArrowNativeType>(number: N) -> u128 {
    let mut bytes = [0_u8; 16];
    let own = std::slice::from_ref(&number).to_byte_slice();
    let length = own.len().min(16);
    bytes[..length].copy_from_slice(&own[..length]);
    u128::from_le_bytes(bytes)
}

fn add_bytes<T: ByteArrayType>(states: &mut [u128], column: &GenericByteArray<T>, tag: u128) {
    let (offsets, data) = (column.value_offsets(), column.value_data());
    each(states, column.nulls(), tag, |state, row| {
        let (from, to) = ends(&offsets[row..]);
        mix_bytes(state, tag, &data[from..to])
    });
}

#[inline(always)]
fn ends<O: ArrowNativeType>(offsets: &[O]) -> (usize, usize) {
    (offsets[0].as_usize(), offsets[1].as_usize())
}

#[inline(always)]
fn each(states: &mut [u128], nulls: Option<&NullBuffer>, tag: u128, value: impl Fn(u128, usize) -> u128) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => states.iter_mut().enumerate().for_each(|(row, state)| *state = value(*state, row)),
        Some(nulls) => states.iter_mut().enumerate().for_each(|(row, state)| {
            *state = if nulls.is_valid(row) { value(*state, row) } else { null(*state ^ tag) };
        }),
    }
}

/// A list is its length and its elements in order; each element is hashed on its own, as a row of one column.
fn add_lists(
    states: &mut [u128],
    nulls: Option<&NullBuffer>,
    values: &ArrayRef,
    tag: u128,
    ends: impl Fn(usize) -> (usize, usize),
) {
    if states.is_empty() {
        return;
    }
    let (first, last) = (ends(0).0, ends(states.len() - 1).1);
    let mut elements = vec![NULL; last - first];
    add_column(&mut elements, &values.slice(first, last - first));
    each(states, nulls, tag, |state, row| {
        let (from, to) = ends(row);
        let length = mix(state, tag ^ (to - from) as u128);
        elements[from - first..to - first].iter().fold(length, |state, element| mix(state, *element))
    });
}

fn add_struct(states: &mut [u128], column: &ArrayRef, tag: u128) {
    let fields = column.as_struct();
    let mut elements = vec![NULL; states.len()];
    for field in fields.columns() {
        add_column(&mut elements, field);
    }
    each(states, column.nulls(), tag, |state, row| mix(mix(state, tag), elements[row]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::*;
    use std::sync::Arc;

    fn rows(columns: Vec<ArrayRef>) -> RecordBatch {
        let columns = columns.into_iter().enumerate().map(|(at, column)| (format!("c{at}"), column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn numbers(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn lists() -> ArrayRef {
        let mut builder = ListBuilder::new(Int64Builder::new());
        builder.append_value([Some(1), None, Some(3)]);
        builder.append_null();
        builder.append_value([]);
        builder.append_value([Some(1), Some(3)]);
        Arc::new(builder.finish())
    }

    fn maps() -> ArrayRef {
        let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        for row in 0..4 {
            for entry in 0..row {
                builder.keys().append_value(format!("k{entry}"));
                builder.values().append_option((entry != 1).then_some(row));
            }
            builder.append(row != 2).unwrap();
        }
        Arc::new(builder.finish())
    }

    fn structs() -> ArrayRef {
        let fields = vec![
            (
                Arc::new(arrow_schema::Field::new("a", DataType::Int64, true)),
                numbers(&[Some(1), None, Some(3), Some(4)]),
            ),
            (Arc::new(arrow_schema::Field::new("b", DataType::Utf8, true)), texts(&[None, Some("x"), Some("y"), None])),
        ];
        Arc::new(StructArray::from(fields))
    }

    fn sample() -> RecordBatch {
        rows(vec![
            numbers(&[Some(1), None, Some(-3), Some(i64::MAX)]),
            texts(&[Some(""), None, Some("a text that is longer than sixteen bytes"), Some("äöü")]),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])),
            Arc::new(
                Decimal128Array::from(vec![Some(12), None, Some(-1), Some(0)]).with_precision_and_scale(12, 2).unwrap(),
            ),
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(f64::INFINITY)])),
            lists(),
            maps(),
            structs(),
        ])
    }

    #[test]
    fn the_digest_does_not_depend_on_order_or_on_slicing() {
        let all = sample();
        let mut parts = Digest::EMPTY;
        for row in [2, 0, 3, 1] {
            parts.merge(digest_rows(&all.slice(row, 1)));
        }
        assert_eq!(digest_rows(&all), parts);
        assert_eq!(parts.count(), 4);
    }

    #[test]
    fn many_rows_give_the_same_digest_in_any_pieces() {
        let values: Vec<Option<i64>> = (0..5000).map(|n| (n % 7 != 0).then_some(n)).collect();
        let names: Vec<String> = (0..5000).map(|n| "x".repeat(n % 41)).collect();
        let names: ArrayRef = Arc::new(StringArray::from(names));
        let all = rows(vec![numbers(&values), names]);
        let mut parts = Digest::EMPTY;
        let mut from = 0;
        while from < 5000 {
            let length = (from % 613 + 1).min(5000 - from);
            parts.merge(digest_rows(&all.slice(from, length)));
            from += length;
        }
        assert_eq!(digest_rows(&all), parts);
    }

    #[test]
    fn every_small_change_changes_the_digest() {
        let one = |column: ArrayRef| digest_rows(&rows(vec![column])).sum();
        let mut sums = vec![
            one(numbers(&[None])),
            one(numbers(&[Some(0)])),
            one(numbers(&[Some(1)])),
            one(Arc::new(Int32Array::from(vec![0]))),
            one(Arc::new(Int32Array::from(vec![1]))),
            one(texts(&[Some("")])),
            one(texts(&[Some("\0")])),
            one(texts(&[Some("12345678")])),
            one(texts(&[Some("12345678\0")])),
            one(texts(&[Some("1234567812345678")])),
            one(texts(&[Some("12345678123456781")])),
            one(texts(&[Some("22345678123456781")])),
            one(texts(&[Some("12345678123456782")])),
            one(texts(&[Some("x2345678123456781234567812345678")])),
            one(texts(&[Some("12345678123456781234567812345678")])),
            one(Arc::new(BinaryArray::from(vec![b"12345678".as_slice()]))),
            one(Arc::new(BooleanArray::from(vec![false]))),
            one(Arc::new(BooleanArray::from(vec![true]))),
            one(Arc::new(Float64Array::from(vec![0.0]))),
            one(Arc::new(TimestampMillisecondArray::from(vec![1]))),
            one(Arc::new(TimestampMicrosecondArray::from(vec![1]))),
            one(Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC"))),
        ];
        sums.extend((0..4).map(|row| digest_rows(&rows(vec![lists().slice(row, 1)])).sum()));
        sums.extend((0..4).map(|row| digest_rows(&rows(vec![maps().slice(row, 1)])).sum()));
        sums.extend((0..4).map(|row| digest_rows(&rows(vec![structs().slice(row, 1)])).sum()));
        let count = sums.len();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), count, "two different rows have one digest");
    }

    #[test]
    fn values_that_trade_places_change_the_digest() {
        let straight = rows(vec![numbers(&[Some(1), Some(2)]), numbers(&[Some(10), Some(20)])]);
        let crossed = rows(vec![numbers(&[Some(1), Some(2)]), numbers(&[Some(20), Some(10)])]);
        let swapped = rows(vec![numbers(&[Some(10), Some(20)]), numbers(&[Some(1), Some(2)])]);
        assert_ne!(digest_rows(&straight), digest_rows(&crossed));
        assert_ne!(digest_rows(&straight), digest_rows(&swapped));
    }

    #[test]
    fn the_form_of_a_text_column_does_not_matter() {
        let plain = texts(&[Some("a"), None, Some("a text that is longer than sixteen bytes")]);
        let expected = digest_rows(&rows(vec![plain.clone()]));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for form in [DataType::LargeUtf8, DataType::Utf8View, dictionary] {
            let other = arrow_cast::cast(&plain, &form).unwrap();
            assert_eq!(digest_rows(&rows(vec![other])), expected, "{form}");
        }
    }

    #[test]
    fn bits_of_the_hash_are_spread() {
        // Each of the 128 bits should be set in about half of the hashes of consecutive numbers.
        let mut set = [0_u32; 128];
        for number in 0..2000 {
            let sum = digest_rows(&rows(vec![numbers(&[Some(number)])])).sum();
            (0..128).for_each(|bit| set[bit] += u32::from((sum >> bit) & 1 == 1));
        }
        assert!(set.iter().all(|count| (850..1150).contains(count)), "{set:?}");
    }

    /// `cargo test --release -- --ignored --nocapture the_cost_of_a_digest`
    #[test]
    #[ignore = "a measurement"]
    fn the_cost_of_a_digest() {
        let count = 1_000_000;
        let ids: Vec<Option<i64>> = (0..count).map(Some).collect();
        let names: Vec<String> = (0..count).map(|n| format!("account-{:08}", n % 9973)).collect();
        let notes: Vec<String> = (0..count).map(|n| format!("note {n} of some length here")).collect();
        let names: ArrayRef = Arc::new(StringArray::from(names));
        let notes: ArrayRef = Arc::new(StringArray::from(notes));
        let all = rows(vec![numbers(&ids), names.clone(), numbers(&ids), numbers(&ids), names, notes]);
        let start = std::time::Instant::now();
        let digest = digest_rows(&all);
        println!("{digest}: {:.1} ns a row", start.elapsed().as_secs_f64() * 1e9 / 1e6);
    }
}
