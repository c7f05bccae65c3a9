//! Arrays, maps and rows: `MAP[…]`, and conversions between nested types.

use crate::parse::MAP_OF;
use crate::plan::kinds::{map_type, sql_type};
use crate::plan::trouble::{Planned, refuse};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_ord::ord::make_comparator;
use arrow_schema::{DataType, Field, FieldRef, Fields, SortOptions};
use arrow_select::interleave::interleave;
use datafusion_common::ScalarValue;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use onceflow::codes;
use std::sync::Arc;

/// `MAP[key, value, …]`: of a repeated key the last value counts, as in Flink.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MapOf {
    signature: Signature,
}

/// The function of `MAP[…]`.
pub(super) fn map_of() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(MapOf { signature: Signature::user_defined(Volatility::Immutable) }))
}

impl ScalarUDFImpl for MapOf {
    fn name(&self) -> &str {
        MAP_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Planned<DataType> {
        let types = self.coerce_types(types)?;
        Ok(map_type(types[0].clone(), types[1].clone()))
    }

    fn coerce_types(&self, types: &[DataType]) -> Planned<Vec<DataType>> {
        if types.is_empty() || !types.len().is_multiple_of(2) {
            return refuse(codes::OF0305, format!("MAP takes pairs of a key and a value, not {} values", types.len()));
        }
        let key = common(types.iter().step_by(2), "keys")?;
        let value = common(types.iter().skip(1).step_by(2), "values")?;
        if key.is_null() {
            return refuse(codes::OF0305, "the key of MAP is NULL");
        }
        Ok((0..types.len()).map(|index| if index % 2 == 0 { key.clone() } else { value.clone() }).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Planned<Vec<_>>>()?;
        let maps = maps(&arrays, rows, args.return_field.data_type())?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&maps, 0)?)),
            false => Ok(ColumnarValue::Array(maps)),
        }
    }
}

/// The type that all of these have in common.
fn common<'a>(types: impl Iterator<Item = &'a DataType>, what: &str) -> Planned<DataType> {
    let mut found = DataType::Null;
    for data_type in types {
        let united = super::super::kinds::united(&found, data_type);
        let Some(united) = united else {
            let message = format!("{what} of MAP are {} and {}", sql_type(&found), sql_type(data_type));
            return refuse(codes::OF0305, format!("{message}: cast them to one type"));
        };
        found = united;
    }
    Ok(found)
}

/// Keys and values by turns into maps.
fn maps(args: &[ArrayRef], rows: usize, data_type: &DataType) -> Planned<ArrayRef> {
    let DataType::Map(entries, _) = data_type else { return refuse(codes::OF0305, "MAP gives no map") };
    let DataType::Struct(fields) = entries.data_type() else { return refuse(codes::OF0305, "MAP has no entries") };
    let part = |offset: usize| args.iter().skip(offset).step_by(2).map(|array| &**array).collect::<Vec<_>>();
    let (keys, values) = (part(0), part(1));
    if keys.iter().any(|keys| keys.null_count() > 0) {
        return refuse(codes::OF0363, "a key of MAP is NULL");
    }
    let pairs = keys.len();
    let row_major: Vec<_> = (0..rows).flat_map(|row| (0..pairs).map(move |pair| (pair, row))).collect();
    let all = interleave(&keys, &row_major)?;
    let compare = make_comparator(&all, &all, SortOptions::default())?;
    let (mut of_keys, mut of_values, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(rows));
    for row in 0..rows {
        let begin = of_keys.len();
        for pair in 0..pairs {
            let same = |other: &usize| compare(row * pairs + other, row * pairs + pair).is_eq();
            if !(0..pair).any(|other| same(&other)) {
                let last = (pair..pairs).rfind(same).unwrap_or(pair);
                of_keys.push((pair, row));
                of_values.push((last, row));
            }
        }
        lengths.push(of_keys.len() - begin);
    }
    let columns = vec![interleave(&keys, &of_keys)?, interleave(&values, &of_values)?];
    let inner = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(entries.clone(), OffsetBuffer::from_lengths(lengths), inner, None, false)?))
}

/// A conversion into a nested type: fields of a ROW by their place, as in Flink, and not by their names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nested {
    to: DataType,
    signature: Signature,
}

/// The conversion into a nested type.
pub(crate) fn nested_cast(to: DataType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Nested { to, signature: Signature::user_defined(Volatility::Immutable) }))
}

/// Whether values consist of others.
pub(crate) fn is_nested(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::Map(..) | DataType::Struct(_))
}

impl ScalarUDFImpl for Nested {
    fn name(&self) -> &str {
        "$cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Planned<DataType> {
        Ok(self.to.clone())
    }

    fn coerce_types(&self, types: &[DataType]) -> Planned<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        match &args.args[0] {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(converted(array, &self.to)?)),
            ColumnarValue::Scalar(value) => {
                let array = converted(&value.to_array()?, &self.to)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

/// Whether values of one type can become a nested one.
pub(crate) fn converts(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Null, _) => true,
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| converts(a.data_type(), b.data_type()))
        }
        (DataType::List(a), DataType::List(b)) | (DataType::Map(a, _), DataType::Map(b, _)) => {
            converts(a.data_type(), b.data_type())
        }
        (from, to) => !is_nested(from) && !is_nested(to) && arrow_cast::can_cast_types(from, to),
    }
}

fn converted(array: &ArrayRef, to: &DataType) -> Planned<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    Ok(match (array.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(fields)) => Arc::new(row(array.as_struct(), fields)?),
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = not_null(converted(list.values(), item.data_type())?, item)?;
            Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return refuse(codes::OF0305, "a MAP has no entries");
            };
            let inner = row(map.entries(), fields)?;
            let offsets = map.offsets().clone();
            Arc::new(MapArray::try_new(entries.clone(), offsets, inner, map.nulls().cloned(), *sorted)?)
        }
        (_, to) => cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?,
    })
}

fn row(array: &StructArray, fields: &Fields) -> Planned<StructArray> {
    let child = |(column, field): (&ArrayRef, &FieldRef)| not_null(converted(column, field.data_type())?, field);
    let columns = array.columns().iter().zip(fields).map(child).collect::<Planned<Vec<_>>>()?;
    Ok(StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())?)
}

fn not_null(array: ArrayRef, field: &Field) -> Planned<ArrayRef> {
    if !field.is_nullable() && array.null_count() > 0 {
        return refuse(codes::OF0360, format!("NULL in '{}', which is NOT NULL", field.name()));
    }
    Ok(array)
}
