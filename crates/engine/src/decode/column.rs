//! Columns under construction: Arrow's layout in plain vectors that can be cut back to an earlier row.
//!
//! Owns layout, NULLs and roll-back. How values are read stands in [`super::append`] and in the formats.

use super::bad::{Bad, Parsed};
use super::json::Lookup;
use crate::codes;
use crate::error::{Error, Result};
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray, StringArray,
    StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef, Fields, TimeUnit};
use std::sync::Arc;

/// A column under construction.
pub(crate) struct Builder {
    /// Its name, for reasons.
    pub(crate) name: String,
    /// Its type.
    pub(crate) data_type: DataType,
    /// Whether NULL may stand in it.
    pub(crate) nullable: bool,
    /// Its rows so far.
    len: usize,
    nulls: NullBufferBuilder,
    /// Its values so far. Whoever pushes one calls [`Builder::pushed`].
    pub(crate) values: Values,
}

/// Values of a column, in Arrow's layout.
pub(crate) enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Date(Vec<i32>),
    Time32(Vec<i32>, TimeUnit),
    Time64(Vec<i64>, TimeUnit),
    /// The unit, and whether it is a point in time (TIMESTAMP_LTZ).
    Timestamp(Vec<i64>, TimeUnit, bool),
    Text(Varying),
    Bytes(Varying),
    List(Offsets, Box<Builder>),
    Map(Offsets, Box<Builder>, Box<Builder>),
    Row(Row),
}

/// The columns of a row's fields, and how JSON finds them by name.
pub(crate) struct Row {
    /// One column a field. In use, all of them have the same length between rows.
    pub(crate) children: Vec<Builder>,
    /// The fields by name.
    pub(crate) lookup: Lookup,
}

impl Row {
    /// A row of these columns.
    pub(crate) fn new(children: Vec<Builder>) -> Self {
        let lookup = Lookup::new(children.iter().map(|child| child.name.as_str()));
        Self { children, lookup }
    }
}

/// Where each value of a column of varying length ends.
pub(crate) struct Offsets(Vec<i32>);

impl Offsets {
    fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self(offsets)
    }

    /// Ends a value at `end`.
    #[inline]
    pub(crate) fn push(&mut self, end: usize) {
        self.0.push(i32::try_from(end).expect("the bytes of a decode call were checked to stay below 2 GiB"));
    }

    fn push_empty(&mut self) {
        self.0.push(self.0[self.0.len() - 1]);
    }

    /// Cuts back to so many values and returns where the last one ends.
    fn truncate(&mut self, rows: usize) -> usize {
        self.0.truncate(rows + 1);
        usize::try_from(self.0[rows]).expect("an offset is never negative")
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        let next = Self::new(self.0.len());
        OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(self, next).0))
    }
}

/// Text or bytes, one after the other.
pub(crate) struct Varying {
    offsets: Offsets,
    /// The bytes. Append to them, then call [`Varying::end`].
    pub(crate) data: Vec<u8>,
}

impl Varying {
    fn new() -> Self {
        Self { offsets: Offsets::new(0), data: Vec::new() }
    }

    /// Ends the value that was appended to `data`.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.offsets.push(self.data.len());
    }

    /// Appends a whole value.
    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end();
    }

    fn truncate(&mut self, rows: usize) {
        let end = self.offsets.truncate(rows);
        self.data.truncate(end);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let next = Vec::with_capacity(self.data.len());
        (self.offsets.finish(), Buffer::from_vec(std::mem::replace(&mut self.data, next)))
    }
}

impl Builder {
    /// A column of a type; `None` where the type is none that Onceflow declares.
    pub(crate) fn new(name: &str, data_type: &DataType, nullable: bool) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            data_type: data_type.clone(),
            nullable,
            len: 0,
            nulls: NullBufferBuilder::new(0),
            values: Values::new(data_type)?,
        })
    }

    fn of_field(field: &FieldRef) -> Option<Self> {
        Self::new(field.name(), field.data_type(), field.is_nullable())
    }

    /// Its rows so far.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Records that one value was pushed to `values`.
    #[inline]
    pub(crate) fn pushed(&mut self) {
        self.nulls.append_non_null();
        self.len += 1;
    }

    /// Appends NULL; `Err` where the column is NOT NULL.
    pub(crate) fn append_null(&mut self) -> Parsed<()> {
        if !self.nullable {
            return Err(Bad::null());
        }
        self.push_null();
        Ok(())
    }

    /// Appends NULL below a NULL, where it does not matter whether the column is NOT NULL.
    fn push_null(&mut self) {
        self.values.push_default();
        self.nulls.append_null();
        self.len += 1;
    }

    /// Cuts the column back to so many rows, whatever was begun after them.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.len = rows.min(self.len);
        self.nulls.truncate(self.len);
        self.values.truncate(self.len);
    }

    /// The array of all rows; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = std::mem::replace(&mut self.nulls, NullBufferBuilder::new(self.len)).finish();
        let rows = std::mem::take(&mut self.len);
        self.values.finish(&self.data_type, rows, nulls)
    }
}

impl Values {
    fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Self::Int8(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => Self::Decimal(Vec::new(), *precision, *scale),
            DataType::Date32 => Self::Date(Vec::new()),
            DataType::Time32(unit) => Self::Time32(Vec::new(), *unit),
            DataType::Time64(unit) => Self::Time64(Vec::new(), *unit),
            DataType::Timestamp(unit, zone) => Self::Timestamp(Vec::new(), *unit, zone.is_some()),
            DataType::Utf8 => Self::Text(Varying::new()),
            DataType::Binary => Self::Bytes(Varying::new()),
            DataType::List(item) => Self::List(Offsets::new(0), Box::new(Builder::of_field(item)?)),
            DataType::Map(entries, _) => {
                let DataType::Struct(parts) = entries.data_type() else { return None };
                let [key, value] = &parts[..] else { return None };
                let (key, value) = (Builder::of_field(key)?, Builder::of_field(value)?);
                Self::Map(Offsets::new(0), Box::new(key), Box::new(value))
            }
            DataType::Struct(fields) => {
                Self::Row(Row::new(fields.iter().map(Builder::of_field).collect::<Option<_>>()?))
            }
            _ => return None,
        })
    }

    fn push_default(&mut self) {
        match self {
            Self::Boolean(values) => values.append(false),
            Self::Int8(values) => values.push(0),
            Self::Int16(values) => values.push(0),
            Self::Int32(values) | Self::Date(values) | Self::Time32(values, _) => values.push(0),
            Self::Int64(values) | Self::Time64(values, _) | Self::Timestamp(values, _, _) => values.push(0),
            Self::Float32(values) => values.push(0.0),
            Self::Float64(values) => values.push(0.0),
            Self::Decimal(values, _, _) => values.push(0),
            Self::Text(values) | Self::Bytes(values) => values.end(),
            Self::List(offsets, _) | Self::Map(offsets, _, _) => offsets.push_empty(),
            Self::Row(row) => row.children.iter_mut().for_each(Builder::push_null),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::Boolean(values) => values.truncate(rows),
            Self::Int8(values) => values.truncate(rows),
            Self::Int16(values) => values.truncate(rows),
            Self::Int32(values) | Self::Date(values) | Self::Time32(values, _) => values.truncate(rows),
            Self::Int64(values) | Self::Time64(values, _) | Self::Timestamp(values, _, _) => values.truncate(rows),
            Self::Float32(values) => values.truncate(rows),
            Self::Float64(values) => values.truncate(rows),
            Self::Decimal(values, _, _) => values.truncate(rows),
            Self::Text(values) | Self::Bytes(values) => values.truncate(rows),
            Self::List(offsets, item) => item.truncate(offsets.truncate(rows)),
            Self::Map(offsets, keys, values) => {
                let end = offsets.truncate(rows);
                keys.truncate(end);
                values.truncate(end);
            }
            Self::Row(row) => row.children.iter_mut().for_each(|child| child.truncate(rows)),
        }
    }

    fn finish(&mut self, data_type: &DataType, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        Ok(match self {
            Self::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Self::Int8(values) => primitive::<Int8Type>(values, data_type, nulls),
            Self::Int16(values) => primitive::<Int16Type>(values, data_type, nulls),
            Self::Int32(values) => primitive::<Int32Type>(values, data_type, nulls),
            Self::Int64(values) => primitive::<Int64Type>(values, data_type, nulls),
            Self::Float32(values) => primitive::<Float32Type>(values, data_type, nulls),
            Self::Float64(values) => primitive::<Float64Type>(values, data_type, nulls),
            Self::Decimal(values, _, _) => primitive::<Decimal128Type>(values, data_type, nulls),
            Self::Date(values) => primitive::<Date32Type>(values, data_type, nulls),
            Self::Time32(values, TimeUnit::Second) => primitive::<Time32SecondType>(values, data_type, nulls),
            Self::Time32(values, _) => primitive::<Time32MillisecondType>(values, data_type, nulls),
            Self::Time64(values, TimeUnit::Nanosecond) => primitive::<Time64NanosecondType>(values, data_type, nulls),
            Self::Time64(values, _) => primitive::<Time64MicrosecondType>(values, data_type, nulls),
            Self::Timestamp(values, unit, _) => match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(values, data_type, nulls),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(values, data_type, nulls),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(values, data_type, nulls),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(values, data_type, nulls),
            },
            Self::Text(values) => {
                let (offsets, data) = values.finish();
                Arc::new(StringArray::try_new(offsets, data, nulls).map_err(impossible)?)
            }
            Self::Bytes(values) => {
                let (offsets, data) = values.finish();
                Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(impossible)?)
            }
            Self::List(offsets, item) => finish_list(offsets, item, data_type, nulls)?,
            Self::Map(offsets, keys, values) => finish_map(offsets, keys, values, data_type, nulls)?,
            Self::Row(row) => finish_row(&mut row.children, data_type, rows, nulls)?,
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    data_type: &DataType,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let next = Vec::with_capacity(values.len());
    let values = ScalarBuffer::from(std::mem::replace(values, next));
    Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type.clone()))
}

fn finish_list(
    offsets: &mut Offsets,
    item: &mut Builder,
    data_type: &DataType,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::List(field) = data_type else { return Err(Error::internal("a list column is no list")) };
    let array = ListArray::try_new(field.clone(), offsets.finish(), item.finish()?, nulls);
    Ok(Arc::new(array.map_err(impossible)?))
}

fn finish_map(
    offsets: &mut Offsets,
    keys: &mut Builder,
    values: &mut Builder,
    data_type: &DataType,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Map(field, sorted) = data_type else { return Err(Error::internal("a map column is no map")) };
    let DataType::Struct(parts) = field.data_type() else { return Err(Error::internal("a map's entries are no rows")) };
    let entries =
        StructArray::try_new(parts.clone(), vec![keys.finish()?, values.finish()?], None).map_err(impossible)?;
    let array = MapArray::try_new(field.clone(), offsets.finish(), entries, nulls, *sorted);
    Ok(Arc::new(array.map_err(impossible)?))
}

fn finish_row(
    children: &mut [Builder],
    data_type: &DataType,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else { return Err(Error::internal("a row column is no row")) };
    let arrays: Vec<_> = children.iter_mut().map(Builder::finish).collect::<Result<_>>()?;
    let array = StructArray::try_new_with_length(Fields::clone(fields), arrays, nulls, rows);
    Ok(Arc::new(array.map_err(impossible)?))
}

/// Arrow's own checks run over what the builders made; a refusal is our fault.
pub(crate) fn impossible(error: ArrowError) -> Error {
    Error::internal("the decoder made columns that Arrow refuses").caused_by(error)
}

/// The most bytes that a column of one call may have, since Arrow's offsets are signed 32-bit numbers.
pub(crate) const COLUMN_BYTES_MAX: usize = i32::MAX as usize;

/// Refuses a call that could overflow the offsets of a column.
pub(crate) fn check_bytes(bytes: usize) -> Result<()> {
    if bytes <= COLUMN_BYTES_MAX {
        return Ok(());
    }
    Err(Error::config(codes::OF0653, format!("one batch has {bytes} bytes and a column can hold {COLUMN_BYTES_MAX}"))
        .help("SET 'epoch.bytes_max' = '32mb';"))
}
