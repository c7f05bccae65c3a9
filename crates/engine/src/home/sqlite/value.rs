//! Values on their way into SQLite: which form a type has there, and cells as parameters.
//!
//! Decimals keep every digit: with up to 15 digits they are numbers where the column is numeric (a floating-point number
//! gives 15 digits back exactly), else canonical text. NaN is refused, since SQLite would store NULL.

use super::target::Affinity;
use crate::codes;
use crate::codes::Code;
use crate::home::row_json::{cell_json, plain_text, time_like};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use rusqlite::types::{Null, ToSqlOutput, Value, ValueRef};

/// The most digits that a floating-point number gives back exactly.
const REAL_DIGITS: u8 = 15;
/// The most digits that every 64-bit integer has room for.
const INTEGER_DIGITS: u8 = 18;

/// The form of a type in SQLite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// 0 or 1.
    Boolean,
    /// An integer; with how many bits.
    Integer(u8),
    /// A floating-point number.
    Real,
    /// A decimal of so many digits, so many of them behind the point.
    Decimal(u8, i8),
    /// Text.
    Text,
    /// Bytes.
    Blob,
    /// Text that never looks like a number: dates, times, timestamps with so many digits of a second, JSON.
    Shaped(usize),
}

impl Form {
    /// The form of a type; `None` where SQLite has none. `declared` gives the digits of seconds: `TIMESTAMP(3)`.
    pub(super) fn of(data_type: &DataType, declared: &str) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::UInt8 => Self::Integer(8),
            DataType::Int16 | DataType::UInt16 => Self::Integer(16),
            DataType::Int32 | DataType::UInt32 => Self::Integer(32),
            DataType::Int64 | DataType::UInt64 => Self::Integer(64),
            DataType::Float32 | DataType::Float64 => Self::Real,
            DataType::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Blob
            }
            DataType::Date32 | DataType::Date64 => Self::Shaped(0),
            DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => {
                Self::Shaped(second_digits(declared, *unit))
            }
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Self::Shaped(0),
            DataType::Struct(_) | DataType::Map(..) => Self::Shaped(0),
            _ => return None,
        })
    }

    /// The type that `CREATE TABLE` gives a column of this form.
    pub(super) fn create_type(self) -> String {
        match self {
            Self::Boolean | Self::Integer(_) => "INTEGER".to_owned(),
            Self::Real => "REAL".to_owned(),
            Self::Decimal(precision, scale) if precision <= REAL_DIGITS => format!("DECIMAL({precision}, {scale})"),
            Self::Decimal(..) | Self::Text | Self::Shaped(_) => "TEXT".to_owned(),
            Self::Blob => "BLOB".to_owned(),
        }
    }

    /// Why a column of this affinity would not give values back as they were; `None` where it does.
    pub(super) fn misfit(self, affinity: Affinity, strict: bool) -> Option<String> {
        use Affinity::{Integer, None as Any, Numeric, Real, Text};
        let says = |text: &str| Some(text.to_owned());
        match (self, affinity) {
            (Self::Blob, Any) | (Self::Boolean | Self::Integer(_), Integer | Numeric) => None,
            (Self::Blob, Numeric) if !strict => None,
            (_, Any) => None,
            (Self::Boolean | Self::Integer(8 | 16 | 32), Real) => None,
            (Self::Integer(_), Real) => says("a floating-point column loses digits of large integers"),
            (Self::Real, Real | Numeric) => None,
            (Self::Real, Integer) => says("the column is declared for whole numbers"),
            (Self::Decimal(_, scale), Text) if scale >= 0 => None,
            (Self::Decimal(precision, 0), Integer | Numeric) if precision <= INTEGER_DIGITS => None,
            (Self::Decimal(precision, _), Numeric | Real) if precision <= REAL_DIGITS => None,
            (Self::Decimal(..), Integer) => says("the column is declared for whole numbers of at most 18 digits"),
            (Self::Decimal(..), _) => {
                says("SQLite turns numbers with more than 15 digits into floating-point ones and loses the rest")
            }
            (Self::Text | Self::Shaped(_), Text) | (Self::Shaped(_), Numeric) => None,
            (Self::Text, _) => {
                says("SQLite guesses from the words of the type that the column is numeric: '007' would be stored as 7")
            }
            (Self::Shaped(_), _) => says("the column is declared for numbers, and the value is text"),
            (Self::Blob, _) => says("the column is not declared for bytes"),
            (Self::Boolean | Self::Integer(_) | Self::Real, Text) => says("SQLite would store the number as text"),
        }
    }
}

/// The digits of seconds of a declared type such as `TIMESTAMP(3)`, else those of the unit.
fn second_digits(declared: &str, unit: TimeUnit) -> usize {
    let all = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let inside = declared.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.and_then(|(digits, _)| digits.trim().parse().ok()).unwrap_or(all).min(all)
}

/// Why a value cannot be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unfit {
    /// The code.
    pub(super) code: Code,
    /// The reason, without the column's name.
    pub(super) reason: String,
}

fn unfit(reason: impl Into<String>) -> Unfit {
    Unfit { code: codes::OF0821, reason: reason.into() }
}

/// How decimals are given to a column.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum DecimalAs {
    /// As canonical text, which a numeric column turns into a number by itself.
    Text,
    /// As a number: the value divided by this power of ten.
    Number(f64),
}

impl DecimalAs {
    /// The fastest exact way into a column.
    pub(super) fn into(form: Form, affinity: Affinity) -> Self {
        match (form, affinity) {
            (Form::Decimal(precision, scale @ 0..=15), Affinity::Numeric | Affinity::Real)
                if precision <= REAL_DIGITS =>
            {
                Self::Number(10_f64.powi(i32::from(scale)))
            }
            _ => Self::Text,
        }
    }
}

/// A column of a batch, ready to give its values one by one.
pub(super) struct Column {
    array: ArrayRef,
    reader: Reader,
}

#[derive(Clone, Copy)]
enum Reader {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    Decimal(DecimalAs),
    Utf8,
    LargeUtf8,
    Utf8View,
    Binary,
    LargeBinary,
    BinaryView,
    FixedBinary,
    Time(usize),
    Json,
}

impl Column {
    /// A column. `declared` as in [`Form::of`].
    pub(super) fn new(array: &ArrayRef, declared: &str, decimal: DecimalAs) -> Option<Self> {
        let reader = match (array.data_type(), Form::of(array.data_type(), declared)?) {
            (DataType::Boolean, _) => Reader::Boolean,
            (DataType::Int8, _) => Reader::Int8,
            (DataType::Int16, _) => Reader::Int16,
            (DataType::Int32, _) => Reader::Int32,
            (DataType::Int64, _) => Reader::Int64,
            (DataType::UInt8, _) => Reader::UInt8,
            (DataType::UInt16, _) => Reader::UInt16,
            (DataType::UInt32, _) => Reader::UInt32,
            (DataType::UInt64, _) => Reader::UInt64,
            (DataType::Float32, _) => Reader::Float32,
            (DataType::Float64, _) => Reader::Float64,
            (DataType::Decimal128(..), _) => Reader::Decimal(decimal),
            (DataType::Utf8, _) => Reader::Utf8,
            (DataType::LargeUtf8, _) => Reader::LargeUtf8,
            (DataType::Utf8View, _) => Reader::Utf8View,
            (DataType::Binary, _) => Reader::Binary,
            (DataType::LargeBinary, _) => Reader::LargeBinary,
            (DataType::BinaryView, _) => Reader::BinaryView,
            (DataType::FixedSizeBinary(_), _) => Reader::FixedBinary,
            (other, Form::Shaped(_)) if other.is_nested() => Reader::Json,
            (_, Form::Shaped(digits)) => Reader::Time(digits),
            _ => return None,
        };
        Some(Self { array: array.clone(), reader })
    }

    /// A value as SQLite takes it. Text and bytes are borrowed.
    pub(super) fn value(&self, row: usize) -> Result<ToSqlOutput<'_>, Unfit> {
        let array = &self.array;
        if array.is_null(row) {
            return Ok(Null.into());
        }
        macro_rules! int {
            ($kind:ty) => {
                ToSqlOutput::Owned(Value::Integer(i64::from(array.as_primitive::<$kind>().value(row))))
            };
        }
        let text = |text| ToSqlOutput::Borrowed(ValueRef::Text(text));
        let bytes = |bytes| ToSqlOutput::Borrowed(ValueRef::Blob(bytes));
        Ok(match self.reader {
            Reader::Boolean => ToSqlOutput::Owned(Value::Integer(i64::from(array.as_boolean().value(row)))),
            Reader::Int8 => int!(Int8Type),
            Reader::Int16 => int!(Int16Type),
            Reader::Int32 => int!(Int32Type),
            Reader::Int64 => int!(Int64Type),
            Reader::UInt8 => int!(UInt8Type),
            Reader::UInt16 => int!(UInt16Type),
            Reader::UInt32 => int!(UInt32Type),
            Reader::UInt64 => unsigned(array.as_primitive::<UInt64Type>().value(row))?,
            Reader::Float32 => real(f64::from(array.as_primitive::<Float32Type>().value(row)))?,
            Reader::Float64 => real(array.as_primitive::<Float64Type>().value(row))?,
            Reader::Decimal(way) => self.decimal(row, way)?,
            Reader::Utf8 => text(array.as_string::<i32>().value(row).as_bytes()),
            Reader::LargeUtf8 => text(array.as_string::<i64>().value(row).as_bytes()),
            Reader::Utf8View => text(array.as_string_view().value(row).as_bytes()),
            Reader::Binary => bytes(array.as_binary::<i32>().value(row)),
            Reader::LargeBinary => bytes(array.as_binary::<i64>().value(row)),
            Reader::BinaryView => bytes(array.as_binary_view().value(row)),
            Reader::FixedBinary => bytes(array.as_fixed_size_binary().value(row)),
            Reader::Time(digits) => owned_text(time_like(array.as_ref(), row, digits))?,
            Reader::Json => ToSqlOutput::Owned(Value::Text(cell_json(array.as_ref(), row))),
        })
    }

    fn decimal(&self, row: usize, way: DecimalAs) -> Result<ToSqlOutput<'_>, Unfit> {
        let value = self.array.as_primitive::<Decimal128Type>().value(row);
        match (way, i64::try_from(value)) {
            // At most 15 digits: both operands are exact, and a quotient is rounded correctly, so it is the nearest number.
            (DecimalAs::Number(power), Ok(value)) if value.abs() < 1_000_000_000_000_000 => {
                #[allow(clippy::cast_precision_loss)]
                let exact = value as f64;
                Ok(ToSqlOutput::Owned(Value::Real(exact / power)))
            }
            _ => owned_text(plain_text(self.array.as_ref(), row)),
        }
    }
}

fn owned_text(text: Option<String>) -> Result<ToSqlOutput<'static>, Unfit> {
    text.map(|text| ToSqlOutput::Owned(Value::Text(text)))
        .ok_or_else(|| unfit("the date or time is beyond the calendar"))
}

fn unsigned(value: u64) -> Result<ToSqlOutput<'static>, Unfit> {
    let signed =
        i64::try_from(value).map_err(|_| unfit(format!("{value} does not fit into SQLite's 64-bit integers")))?;
    Ok(ToSqlOutput::Owned(Value::Integer(signed)))
}

fn real(value: f64) -> Result<ToSqlOutput<'static>, Unfit> {
    if value.is_nan() {
        return Err(unfit("the value is NaN, which SQLite would store as NULL"));
    }
    Ok(ToSqlOutput::Owned(Value::Real(value)))
}
