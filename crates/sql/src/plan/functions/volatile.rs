//! Functions that depend on the epoch: the clock and chance. They are functions of hidden columns, so that a record gives the
//! same answer however its epoch is cut into batches, and however often it is computed.

use super::{Own, Takes, as_double, as_int, as_text};
use crate::plan::trouble::{Planned, refuse};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int32Array, StringArray};
use arrow_schema::{DataType, TimeUnit};
use onceflow::chance::{STEP, mixed};
use onceflow::codes;
use std::sync::Arc;

use Takes::{Any, Integer};

/// Functions that the text calls, and that the planner replaces by what they mean.
pub(crate) const VOLATILE: &[&str] = &[
    "current_timestamp",
    "now",
    "current_row_timestamp",
    "localtimestamp",
    "current_date",
    "current_time",
    "localtime",
    "rand",
    "rand_integer",
    "uuid",
];

/// The hidden column that says which record, in which epoch.
pub(crate) const POSITION: &str = "$position";

/// All of them: the names in the text, which are replaced before anything runs, and what they are replaced by.
pub(super) const ALL: &[Own] = &[
    named("current_timestamp", as_instant),
    named("now", as_instant),
    named("current_row_timestamp", as_instant),
    named("localtimestamp", as_local),
    named("current_date", as_date),
    named("current_time", as_time),
    named("localtime", as_time),
    Own { name: "rand", takes: &[Integer], least: 1, variadic: false, returns: as_double, run: unplaced },
    Own { name: "rand_integer", takes: &[Integer, Integer], least: 2, variadic: false, returns: as_int, run: unplaced },
    Own { name: "uuid", takes: &[Integer], least: 1, variadic: false, returns: as_text, run: unplaced },
    Own { name: "$rand", takes: &[Any, Integer], least: 2, variadic: false, returns: as_double, run: rand },
    Own {
        name: "$rand_integer",
        takes: &[Any, Integer, Integer],
        least: 3,
        variadic: false,
        returns: as_int,
        run: rand_integer,
    },
    Own { name: "$uuid", takes: &[Any, Integer], least: 2, variadic: false, returns: as_text, run: uuid },
];

const fn named(name: &'static str, returns: fn(&[DataType]) -> Planned<DataType>) -> Own {
    Own { name, takes: &[], least: 0, variadic: false, returns, run: unplaced }
}

fn as_instant(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))
}

fn as_local(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Timestamp(TimeUnit::Millisecond, None))
}

fn as_date(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Date32)
}

fn as_time(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Time32(TimeUnit::Millisecond))
}

fn unplaced(_: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    refuse(codes::OF0306, "a function of the epoch stands where there is no record")
}

/// Well mixed bits of a position and a call site (splitmix64).
fn bits(position: u64, site: u64) -> u64 {
    mixed(position.wrapping_add(site.wrapping_mul(STEP)).wrapping_add(STEP))
}

fn drawn<T>(args: &[ArrayRef], make: impl Fn(u64, u64, usize) -> T) -> Vec<T> {
    let (positions, sites) = (args[0].as_primitive::<UInt64Type>(), args[1].as_primitive::<Int64Type>());
    let site = |row| sites.value(row).unsigned_abs();
    (0..positions.len()).map(|row| make(positions.value(row), site(row), row)).collect()
}

/// From 0, and below 1.
fn rand(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let unit = |position, site, _| {
        let high = u32::try_from(bits(position, site) >> 32).unwrap_or(0);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    };
    Ok(Arc::new(Float64Array::from(drawn(args, unit))))
}

/// From 0, and below the bound.
fn rand_integer(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let bounds = args[2].as_primitive::<Int64Type>();
    let below = |position, site, row| {
        let bound = (!bounds.is_null(row)).then(|| bounds.value(row)).and_then(|bound| u64::try_from(bound).ok())?;
        i32::try_from(bits(position, site).checked_rem(bound)?).ok()
    };
    Ok(Arc::new(Int32Array::from(drawn(args, below))))
}

fn uuid(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let text = |position, site, _| Some(uuid_text(bits(position, site), bits(position ^ u64::MAX, site)));
    Ok(Arc::new(StringArray::from(drawn(args, text))))
}

/// A UUID of version 4 from 128 bits.
fn uuid_text(high: u64, low: u64) -> String {
    let both = (u128::from(high) << 64) | u128::from(low);
    uuid::Builder::from_random_bytes(both.to_be_bytes()).into_uuid().hyphenated().to_string()
}
