//! Combines rows of one key before they are merged into the table.
//!
//! Owns the arithmetic, which agrees with the server's: a NULL counts as nothing (but `last` and
//! `first` take it as it is), texts are compared by their bytes, NaN is
//! the largest number and equal to itself. A sum that does not fit is not combined at all: the rows then go to the server one
//! by one, and it refuses the one that overflows.

use crate::changes::MergeOp;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow_ord::ord::make_comparator;
use arrow_schema::{ArrowError, DataType, SortOptions};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// Why rows cannot be combined.
#[derive(Debug)]
pub(super) enum Uncombined {
    /// A sum does not fit its type.
    Overflow(usize),
    /// The columns are not what they should be.
    Broken(ArrowError),
}

impl From<ArrowError> for Uncombined {
    fn from(error: ArrowError) -> Self {
        Self::Broken(error)
    }
}

/// One row a group. `order` holds row numbers, a group's rows from the first to the last; columns without an operation
/// are equal in a group.
pub(super) fn combine(
    batch: &RecordBatch,
    order: &[u32],
    groups: &[Range<usize>],
    ops: &[Option<MergeOp>],
) -> Result<RecordBatch, Uncombined> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (at, column) in batch.columns().iter().enumerate() {
        let groups = Groups { order, groups };
        let combined = match ops.get(at).copied().flatten() {
            Some(op) => groups.column(column, op).map_err(|error| match error {
                Uncombined::Overflow(_) => Uncombined::Overflow(at),
                other => other,
            })?,
            None => groups.pick(column, |rows| rows.first().copied())?,
        };
        columns.push(combined);
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

struct Groups<'a> {
    order: &'a [u32],
    groups: &'a [Range<usize>],
}

impl Groups<'_> {
    fn column(&self, column: &ArrayRef, op: MergeOp) -> Result<ArrayRef, Uncombined> {
        match op {
            MergeOp::Last => self.pick(column, |rows| rows.last().copied()),
            MergeOp::First => self.pick(column, |rows| rows.first().copied()),
            MergeOp::Min => self.extreme(column, Ordering::Less),
            MergeOp::Max => self.extreme(column, Ordering::Greater),
            MergeOp::Sum => self.sum(column),
            MergeOp::Or => self.bits(column, |a, b| a || b, |a, b| a | b),
            MergeOp::And => self.bits(column, |a, b| a && b, |a, b| a & b),
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.groups.iter().map(|group| &self.order[group.clone()])
    }

    fn pick(&self, column: &ArrayRef, choose: impl Fn(&[u32]) -> Option<u32>) -> Result<ArrayRef, Uncombined> {
        let picked: UInt32Array = self.rows().map(choose).collect();
        Ok(arrow_select::take::take(column, &picked, None)?)
    }

    fn extreme(&self, column: &ArrayRef, better: Ordering) -> Result<ArrayRef, Uncombined> {
        let plain = comparable(column);
        let compare = make_comparator(&plain, &plain, SortOptions::default())?;
        let choose = |rows: &[u32]| {
            let there = rows.iter().copied().filter(|row| !column.is_null(*row as usize));
            there.reduce(|best, row| if compare(row as usize, best as usize) == better { row } else { best })
        };
        self.pick(column, choose)
    }

    fn sum(&self, column: &ArrayRef) -> Result<ArrayRef, Uncombined> {
        match column.data_type() {
            DataType::Int8 => self.fold::<Int8Type>(column, i8::checked_add),
            DataType::Int16 => self.fold::<Int16Type>(column, i16::checked_add),
            DataType::Int32 => self.fold::<Int32Type>(column, i32::checked_add),
            DataType::Int64 => self.fold::<Int64Type>(column, i64::checked_add),
            DataType::Decimal128(..) => self.fold::<Decimal128Type>(column, i128::checked_add),
            DataType::Float32 => self.fold::<Float32Type>(column, |a, b| finite(a + b, a, b, f32::is_finite)),
            _ => self.fold::<Float64Type>(column, |a, b| finite(a + b, a, b, f64::is_finite)),
        }
    }

    fn bits(
        &self,
        column: &ArrayRef,
        truth: impl Fn(bool, bool) -> bool,
        bits: impl Fn(i64, i64) -> i64,
    ) -> Result<ArrayRef, Uncombined> {
        macro_rules! whole {
            ($kind:ty, $native:ty) => {
                self.fold::<$kind>(column, |a, b| <$native>::try_from(bits(a.into(), b.into())).ok())
            };
        }
        match column.data_type() {
            DataType::Boolean => Ok(self.fold_bool(column.as_boolean(), truth)),
            DataType::Int8 => whole!(Int8Type, i8),
            DataType::Int16 => whole!(Int16Type, i16),
            DataType::Int32 => whole!(Int32Type, i32),
            _ => self.fold::<Int64Type>(column, |a, b| Some(bits(a, b))),
        }
    }

    fn fold<T: ArrowPrimitiveType>(
        &self,
        column: &ArrayRef,
        add: impl Fn(T::Native, T::Native) -> Option<T::Native>,
    ) -> Result<ArrayRef, Uncombined> {
        let Some(values) = column.as_primitive_opt::<T>() else {
            return Err(Uncombined::Broken(ArrowError::SchemaError(format!(
                "{} cannot be combined",
                column.data_type()
            ))));
        };
        let one = |rows: &[u32]| {
            let mut total = None;
            for row in rows.iter().map(|row| *row as usize).filter(|row| values.is_valid(*row)) {
                let value = values.value(row);
                total = Some(match total {
                    None => value,
                    Some(total) => add(total, value).ok_or(Uncombined::Overflow(0))?,
                });
            }
            Ok(total)
        };
        let folded: Vec<Option<T::Native>> = self.rows().map(one).collect::<Result<_, Uncombined>>()?;
        let folded: PrimitiveArray<T> = folded.into_iter().collect();
        Ok(Arc::new(folded.with_data_type(column.data_type().clone())))
    }

    fn fold_bool(&self, values: &BooleanArray, truth: impl Fn(bool, bool) -> bool) -> ArrayRef {
        let one = |rows: &[u32]| {
            let there = rows.iter().map(|row| *row as usize).filter(|row| values.is_valid(*row));
            there.map(|row| values.value(row)).reduce(&truth)
        };
        Arc::new(self.rows().map(one).collect::<BooleanArray>())
    }
}

/// The server refuses an infinity that comes out of finite numbers.
fn finite<N: Copy>(sum: N, a: N, b: N, is_finite: impl Fn(N) -> bool) -> Option<N> {
    (is_finite(sum) || !is_finite(a) || !is_finite(b)).then_some(sum)
}

/// Numbers so that equal ones for the server are equal by their bits and NaN is the largest.
pub(super) fn comparable(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let same = |value: f32| if value.is_nan() { f32::NAN.abs() } else { value + 0.0 };
            let plain: Float32Array = column.as_primitive::<Float32Type>().unary(same);
            Arc::new(plain)
        }
        DataType::Float64 => {
            let same = |value: f64| if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
            let plain: Float64Array = column.as_primitive::<Float64Type>().unary(same);
            Arc::new(plain)
        }
        _ => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};

    fn check(column: ArrayRef, op: MergeOp, expected: ArrayRef) {
        let batch = RecordBatch::try_from_iter_with_nullable([("v", column, true)]).unwrap();
        // Two groups: rows 2, 0, 1 in this order, and row 3.
        let combined = combine(&batch, &[2, 0, 1, 3], &[0..3, 3..4], &[Some(op)]).unwrap();
        assert_eq!(combined.column(0), &expected, "{op:?}");
    }

    fn ints(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn a_null_counts_as_nothing_but_to_last_and_first() {
        let values = || ints(&[Some(6), None, Some(3), None]);
        check(values(), MergeOp::Sum, ints(&[Some(9), None]));
        check(values(), MergeOp::Min, ints(&[Some(3), None]));
        check(values(), MergeOp::Max, ints(&[Some(6), None]));
        check(values(), MergeOp::First, ints(&[Some(3), None]));
        check(values(), MergeOp::Last, ints(&[None, None]));
        check(values(), MergeOp::Or, ints(&[Some(7), None]));
        check(values(), MergeOp::And, ints(&[Some(2), None]));
        let truths = |values: &[Option<bool>]| Arc::new(BooleanArray::from(values.to_vec())) as ArrayRef;
        check(truths(&[Some(true), None, Some(false), None]), MergeOp::Or, truths(&[Some(true), None]));
        check(truths(&[Some(true), None, Some(false), None]), MergeOp::And, truths(&[Some(false), None]));
    }

    #[test]
    fn texts_compare_by_bytes_and_nan_is_the_largest() {
        let texts = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        check(texts(&["a", "B", "ä", "x"]), MergeOp::Min, texts(&["B", "x"]));
        check(texts(&["a", "B", "ä", "x"]), MergeOp::Max, texts(&["ä", "x"]));
        let floats = |values: &[f64]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        check(floats(&[1.0, -f64::NAN, f64::INFINITY, 1.0]), MergeOp::Min, floats(&[1.0, 1.0]));
        let batch = RecordBatch::try_from_iter([("v", floats(&[1.0, -f64::NAN, f64::INFINITY]))]).unwrap();
        let max = combine(&batch, &[0, 1, 2], &[0..3], &[Some(MergeOp::Max)]).unwrap();
        assert!(max.column(0).as_primitive::<Float64Type>().value(0).is_nan());
    }

    #[test]
    fn a_sum_that_does_not_fit_is_not_combined() {
        let batch = RecordBatch::try_from_iter([("v", ints(&[Some(i64::MAX), Some(1)]))]).unwrap();
        let overflow = combine(&batch, &[0, 1], &[0..2], &[Some(MergeOp::Sum)]);
        assert!(matches!(overflow, Err(Uncombined::Overflow(0))));
        let batch =
            RecordBatch::try_from_iter([("v", Arc::new(Float64Array::from(vec![f64::MAX, f64::MAX])) as ArrayRef)]);
        let overflow = combine(&batch.unwrap(), &[0, 1], &[0..2], &[Some(MergeOp::Sum)]);
        assert!(matches!(overflow, Err(Uncombined::Overflow(0))));
    }
}
