//! `GROUP BY` within one call, for tables that merge: what one epoch adds to what is there.
//!
//! The accumulators are our own: DataFusion's sums wrap around, and a total that does not fit must name the records to blame.
//! Sums of integers and decimals are exact in 128 bits; only the total has to fit the table's column.

use super::functions::arith::digits;
use super::kinds::sql_type;
use super::lower::Merging;
use super::run::{Chunk, Failures, batch};
use super::trouble::Planned;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, UInt32Array, UInt64Array,
};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use datafusion_common::ScalarValue;
use onceflow::changes::{Failed, OnError};
use onceflow::grouping::{Groups, Keys};
use onceflow::{Place, codes};
use std::borrow::Cow;

/// An aggregate over columns of its input.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    pub(crate) kind: Merging,
    /// The column to aggregate; `None` for `COUNT(*)`.
    pub(crate) arg: Option<usize>,
    /// The column that says which rows count.
    pub(crate) filter: Option<usize>,
    /// The type of the table's column.
    pub(crate) to: DataType,
    /// As people read it.
    pub(crate) text: String,
    pub(crate) place: Option<Place>,
}

/// Where a column of the table comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A column of the input by which rows are grouped.
    Key(usize),
    /// A total, by its index.
    Total(usize),
    /// The same for all.
    Constant(ScalarValue),
}

/// A grouping on its way to a table.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    /// Columns of the input that make the group.
    pub(crate) keys: Vec<usize>,
    pub(crate) totals: Vec<Total>,
    /// For each column of the table.
    pub(crate) columns: Vec<Source>,
    /// The table's columns.
    pub(crate) schema: SchemaRef,
    pub(crate) on_error: OnError,
}

impl Grouping {
    /// Groups rows. Records whose values do not fit a total become failures; then the caller has to leave them out everywhere
    /// and group again. `None` without rows.
    pub(crate) fn run(&self, chunks: &[Chunk], failures: &mut Failures) -> Planned<Option<RecordBatch>> {
        let alive = chunks.iter().map(|chunk| chunk.without(failures)).collect::<Planned<Vec<_>>>()?;
        let Some(first) = alive.iter().find(|chunk| chunk.batch.num_rows() > 0) else { return Ok(None) };
        let rows = match alive.as_slice() {
            [only] => Cow::Borrowed(&only.batch),
            _ => Cow::Owned(concat_batches(&first.batch.schema(), alive.iter().map(|chunk| &chunk.batch))?),
        };
        let groups = self.groups(&rows)?;
        let mut totals = Vec::with_capacity(self.totals.len());
        for total in &self.totals {
            totals.push(self.total(total, &rows, &alive, &groups, failures)?);
        }
        let count = groups.first.len();
        let first = UInt32Array::from(groups.first);
        let column = |source: &Source| match source {
            Source::Key(column) => Ok(take(rows.column(*column), &first, None)?),
            Source::Total(index) => Ok(totals[*index].clone()),
            Source::Constant(value) => value.to_array_of_size(count),
        };
        let columns = self.columns.iter().map(column).collect::<Planned<Vec<_>>>()?;
        Ok(Some(batch(self.schema.clone(), columns, count)?))
    }

    fn groups(&self, rows: &RecordBatch) -> Planned<Groups> {
        if self.keys.is_empty() {
            return Ok(Groups { of_row: vec![0; rows.num_rows()], first: vec![0] });
        }
        let columns: Vec<_> = self.keys.iter().map(|key| rows.column(*key).clone()).collect();
        Ok(Keys::new(&columns)?.groups())
    }

    fn total(
        &self,
        total: &Total,
        rows: &RecordBatch,
        chunks: &[Chunk],
        groups: &Groups,
        failures: &mut Failures,
    ) -> Planned<ArrayRef> {
        let counts = Counted::of(total, rows);
        let values = total.arg.map(|arg| rows.column(arg));
        match (total.kind, values) {
            (Merging::Count, _) => {
                let mut sums = vec![Some(0_i128); groups.first.len()];
                let ones = counts.rows(groups).map(|(_, group)| group);
                ones.for_each(|group| sums[group] = sums[group].map(|sum| sum + 1));
                written(&sums, 0, &total.to)
            }
            (Merging::Sum, Some(values)) if values.data_type() == &DataType::Float64 => {
                float_sums(values, &counts, groups, &total.to)
            }
            (Merging::Sum, Some(values)) => {
                let exact = Exact::of(values)?;
                let sums = exact.sums(&counts, groups);
                let limit = limit(&total.to, exact.scale);
                let over: Vec<_> = (0..sums.len()).filter(|group| !fits(sums[*group], limit)).collect();
                if !over.is_empty() {
                    let blamed = exact.blamed(&counts, groups, &over, limit);
                    let ordinals = chunks.iter().flat_map(|chunk| chunk.ordinals.values().iter().copied());
                    let ordinals: Vec<u32> = ordinals.collect();
                    blamed.into_iter().for_each(|row| failures.add(self.overflow(total, ordinals[row])));
                    return Ok(arrow_array::new_null_array(&total.to, sums.len()));
                }
                written(&sums.into_iter().map(Sum::value).collect::<Vec<_>>(), exact.scale, &total.to)
            }
            (Merging::Or | Merging::And, Some(values)) => {
                Ok(std::sync::Arc::new(flags(values.as_boolean(), &counts, groups, total.kind == Merging::Or)))
            }
            (kind, Some(values)) => picked(kind, values, &counts, groups),
            (_, None) => Ok(arrow_array::new_null_array(&total.to, groups.first.len())),
        }
    }

    fn overflow(&self, total: &Total, ordinal: u32) -> Failed {
        Failed {
            ordinal,
            code: codes::OF0366,
            reason: format!("{}: the total does not fit {} with this record", total.text, sql_type(&total.to)),
            place: total.place.clone(),
            on_error: self.on_error,
        }
    }
}

/// Which rows count for a total: those that the filter keeps and whose value is not NULL.
struct Counted<'a> {
    filter: Option<&'a BooleanArray>,
    values: Option<&'a ArrayRef>,
}

impl<'a> Counted<'a> {
    fn of(total: &Total, rows: &'a RecordBatch) -> Self {
        Self {
            filter: total.filter.map(|filter| rows.column(filter).as_boolean()),
            values: total.arg.map(|arg| rows.column(arg)),
        }
    }

    fn counts(&self, row: usize) -> bool {
        self.filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
            && self.values.is_none_or(|values| values.is_valid(row))
    }

    /// Rows that count, with their groups, in order.
    fn rows<'b>(&'b self, groups: &'b Groups) -> impl Iterator<Item = (usize, usize)> + 'b {
        let numbered = groups.of_row.iter().map(|group| *group as usize).enumerate();
        numbered.filter(|(row, _)| self.counts(*row))
    }
}

/// A sum in 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sum {
    Empty,
    Of(i128),
    /// More than 128 bits.
    Beyond,
}

impl Sum {
    fn plus(self, value: i128) -> Self {
        match self {
            Self::Empty => Self::Of(value),
            Self::Of(sum) => sum.checked_add(value).map_or(Self::Beyond, Self::Of),
            Self::Beyond => Self::Beyond,
        }
    }

    fn value(self) -> Option<i128> {
        match self {
            Self::Of(sum) => Some(sum),
            Self::Empty | Self::Beyond => None,
        }
    }
}

/// Integers or decimals as 128-bit numbers with a scale.
struct Exact {
    values: Vec<i128>,
    scale: u32,
}

impl Exact {
    fn of(values: &ArrayRef) -> Planned<Self> {
        if let Some(integers) = values.as_primitive_opt::<Int64Type>() {
            let values = integers.values().iter().map(|value| i128::from(*value)).collect();
            return Ok(Self { values, scale: 0 });
        }
        let (precision, scale) = digits(values.data_type()).unwrap_or((38, 0));
        let decimals = arrow_cast::cast(values, &DataType::Decimal128(precision, scale))?;
        let values = decimals.as_primitive::<Decimal128Type>().values().to_vec();
        Ok(Self { values, scale: u32::try_from(scale).unwrap_or(0) })
    }

    fn sums(&self, counts: &Counted<'_>, groups: &Groups) -> Vec<Sum> {
        let mut sums = vec![Sum::Empty; groups.first.len()];
        counts.rows(groups).for_each(|(row, group)| sums[group] = sums[group].plus(self.values[row]));
        sums
    }

    /// The rows from which on a group's sum does not fit, added up in order without them.
    fn blamed(&self, counts: &Counted<'_>, groups: &Groups, over: &[usize], limit: Option<(i128, i128)>) -> Vec<usize> {
        let mut sums = vec![Sum::Empty; groups.first.len()];
        let mut blamed = Vec::new();
        for (row, group) in counts.rows(groups).filter(|(_, group)| over.contains(group)) {
            let sum = sums[group].plus(self.values[row]);
            if fits(sum, limit) { sums[group] = sum } else { blamed.push(row) }
        }
        blamed
    }
}

fn fits(sum: Sum, limit: Option<(i128, i128)>) -> bool {
    match (sum, limit) {
        (Sum::Beyond, _) => false,
        (Sum::Of(sum), Some((least, most))) => sum >= least && sum <= most,
        _ => true,
    }
}

/// The least and the largest sum at a scale that a type holds; `None` for types without bounds.
fn limit(to: &DataType, scale: u32) -> Option<(i128, i128)> {
    let bits = |least: i64, most: i64| Some((i128::from(least), i128::from(most)));
    match to {
        DataType::Int8 => bits(i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => bits(i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => bits(i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => bits(i64::MIN, i64::MAX),
        DataType::Decimal128(precision, to_scale) => {
            // The column has at least as many digits after the point, so that fewer are left before it.
            let to_scale = u32::try_from(*to_scale).unwrap_or(0);
            let digits = (u32::from(*precision) + scale).saturating_sub(to_scale);
            let most = 10_i128.checked_pow(digits)? - 1;
            Some((-most, most))
        }
        _ => None,
    }
}

/// Sums as the table's column.
fn written(sums: &[Option<i128>], scale: u32, to: &DataType) -> Planned<ArrayRef> {
    if let DataType::Decimal128(precision, to_scale) = to {
        let up = 10_i128.pow(u32::try_from(*to_scale).unwrap_or(0).saturating_sub(scale));
        let raised: Decimal128Array = sums.iter().map(|sum| sum.and_then(|sum| sum.checked_mul(up))).collect();
        return Ok(std::sync::Arc::new(raised.with_precision_and_scale(*precision, *to_scale)?));
    }
    let from = if scale == 0 {
        let narrow: Int64Array = sums.iter().map(|sum| sum.and_then(|sum| i64::try_from(sum).ok())).collect();
        std::sync::Arc::new(narrow) as ArrayRef
    } else {
        let scale = i8::try_from(scale).unwrap_or(i8::MAX);
        std::sync::Arc::new(Decimal128Array::from(sums.to_vec()).with_precision_and_scale(38, scale)?) as ArrayRef
    };
    Ok(arrow_cast::cast(&from, to)?)
}

fn float_sums(values: &ArrayRef, counts: &Counted<'_>, groups: &Groups, to: &DataType) -> Planned<ArrayRef> {
    let values = values.as_primitive::<Float64Type>();
    let mut sums = vec![None; groups.first.len()];
    counts.rows(groups).for_each(|(row, group)| sums[group] = Some(sums[group].unwrap_or(0.0) + values.value(row)));
    let sums: ArrayRef = std::sync::Arc::new(Float64Array::from(sums));
    Ok(arrow_cast::cast(&sums, to)?)
}

fn flags(values: &BooleanArray, counts: &Counted<'_>, groups: &Groups, any: bool) -> BooleanArray {
    let mut flags: Vec<Option<bool>> = vec![None; groups.first.len()];
    for (row, group) in counts.rows(groups) {
        let (flag, value) = (flags[group], values.value(row));
        flags[group] = Some(match flag {
            None => value,
            Some(flag) if any => flag || value,
            Some(flag) => flag && value,
        });
    }
    flags.into()
}

/// MIN, MAX, FIRST_VALUE and LAST_VALUE: one of the group's values, never NULL where there is another.
fn picked(kind: Merging, values: &ArrayRef, counts: &Counted<'_>, groups: &Groups) -> Planned<ArrayRef> {
    let sortable = RowConverter::new(vec![SortField::new(values.data_type().clone())])?
        .convert_columns(std::slice::from_ref(values))?;
    let mut best: Vec<Option<usize>> = vec![None; groups.first.len()];
    for (row, group) in counts.rows(groups) {
        let better = match (best[group], kind) {
            (None, _) | (Some(_), Merging::Last) => true,
            (Some(known), Merging::Min) => sortable.row(row) < sortable.row(known),
            (Some(known), Merging::Max) => sortable.row(row) > sortable.row(known),
            _ => false,
        };
        if better {
            best[group] = Some(row);
        }
    }
    let indices: UInt64Array = best.into_iter().map(|row| row.map(|row| row as u64)).collect();
    Ok(take(values, &indices, None)?)
}

/// The type in which a sum's argument is read; `None` where it cannot be summed.
pub(crate) fn summed_as(from: &DataType) -> Option<DataType> {
    match from {
        DataType::Float32 | DataType::Float64 => Some(DataType::Float64),
        DataType::Decimal128(..) => Some(from.clone()),
        other => super::kinds::integer_width(other).map(|_| DataType::Int64),
    }
}
