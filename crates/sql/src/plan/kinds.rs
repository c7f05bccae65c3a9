//! Types: the parser's into Arrow's, Arrow's into the words of SQL, and which convert into which by themselves.

use super::trouble::{Planned, refuse};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion_expr::planner::TypePlanner;
use onceflow::codes;
use sqlparser::ast::{ArrayElemTypeDef, DataType as Sql, ExactNumberInfo, ObjectName, TimezoneInfo};
use std::sync::Arc;

/// The time zone of `TIMESTAMP_LTZ`.
pub(crate) const UTC: &str = "UTC";

/// Reads types in expressions, such as `CAST(x AS DECIMAL(12, 2))`, as declarations read them.
#[derive(Debug)]
pub(crate) struct FlinkTypes;

impl TypePlanner for FlinkTypes {
    fn plan_type_field(&self, sql: &Sql) -> Planned<Option<FieldRef>> {
        Ok(Some(Arc::new(Field::new("", arrow_type(sql)?, true))))
    }
}

/// The Arrow type of a type in an expression.
pub(crate) fn arrow_type(sql: &Sql) -> Planned<DataType> {
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::TinyInt(_) => DataType::Int8,
        Sql::SmallInt(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) => DataType::Int32,
        Sql::BigInt(_) => DataType::Int64,
        Sql::Float(_) | Sql::Real => DataType::Float32,
        Sql::Double(_) | Sql::DoublePrecision => DataType::Float64,
        Sql::Decimal(info) | Sql::Numeric(info) | Sql::Dec(info) => decimal(info)?,
        Sql::Char(_) | Sql::Character(_) | Sql::Varchar(_) | Sql::CharVarying(_) | Sql::CharacterVarying(_) => {
            DataType::Utf8
        }
        Sql::String(_) | Sql::Text => DataType::Utf8,
        Sql::Binary(_) | Sql::Varbinary(_) | Sql::Bytes(_) => DataType::Binary,
        Sql::Date => DataType::Date32,
        Sql::Time(precision, _) => time(precision.unwrap_or(0)),
        Sql::Timestamp(precision, zone) => timestamp(precision.unwrap_or(6), has_zone(zone)),
        Sql::TimestampNtz(precision) => timestamp(precision.unwrap_or(6), false),
        Sql::Array(element) => list(element)?,
        Sql::Map(key, value) => map_type(arrow_type(key)?, arrow_type(value)?),
        Sql::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return unknown(&other.to_string()),
    })
}

fn unknown<T>(name: &str) -> Planned<T> {
    refuse(codes::OF0306, format!("the type {name} is not supported in an expression"))
}

fn has_zone(zone: &TimezoneInfo) -> bool {
    matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz)
}

/// TIMESTAMP_LTZ, or a name that holds the text of a type (see `parse::forms`).
fn custom(name: &ObjectName, modifiers: &[String]) -> Planned<DataType> {
    let name = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.as_str()).unwrap_or_default();
    if !name.eq_ignore_ascii_case("TIMESTAMP_LTZ") {
        return match crate::types::read(name) {
            Some(data_type) => Ok(data_type),
            None => unknown(name),
        };
    }
    let precision = modifiers.first().and_then(|text| text.trim().parse().ok()).unwrap_or(6);
    Ok(timestamp(precision, true))
}

fn decimal(info: &ExactNumberInfo) -> Planned<DataType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p), Ok(s)) if (1..=DECIMAL128_MAX_PRECISION).contains(&p) && (0..=scale_of(p)).contains(&s) => {
            Ok(DataType::Decimal128(p, s))
        }
        _ => {
            refuse(codes::OF0305, format!("DECIMAL({precision}, {scale}) is not a type: 1 to 38 digits, scale within"))
        }
    }
}

/// A precision as a scale.
pub(crate) fn scale_of(precision: u8) -> i8 {
    i8::try_from(precision).unwrap_or(i8::MAX)
}

fn time(precision: u64) -> DataType {
    if precision <= 3 { DataType::Time32(TimeUnit::Millisecond) } else { DataType::Time64(TimeUnit::Microsecond) }
}

fn timestamp(precision: u64, zone: bool) -> DataType {
    let unit = match precision {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    };
    DataType::Timestamp(unit, zone.then(|| UTC.into()))
}

fn list(element: &ArrayElemTypeDef) -> Planned<DataType> {
    match element {
        ArrayElemTypeDef::AngleBracket(inner)
        | ArrayElemTypeDef::SquareBracket(inner, _)
        | ArrayElemTypeDef::Parenthesis(inner) => Ok(DataType::new_list(arrow_type(inner)?, true)),
        ArrayElemTypeDef::None => unknown("ARRAY without its element"),
    }
}

/// A MAP of these.
pub(crate) fn map_type(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// A type as SQL writes it.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "NULL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".into(),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(unit, zone) => {
            format!("TIMESTAMP{}({})", if zone.is_some() { "_LTZ" } else { "" }, digits_of(*unit))
        }
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::List(field) | DataType::LargeList(field) => format!("ARRAY<{}>", sql_type(field.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("MAP<{}, {}>", sql_type(fields[0].data_type()), sql_type(fields[1].data_type()))
            }
            _ => "MAP".into(),
        },
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_type(field.data_type()))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn digits_of(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Bytes of an integer type; `None` for other types.
pub(crate) fn integer_width(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 => Some(1),
        DataType::Int16 => Some(2),
        DataType::Int32 => Some(4),
        DataType::Int64 => Some(8),
        _ => None,
    }
}

/// Whether values are text.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether values are numbers.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    integer_width(data_type).is_some()
        || matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Decimal128(..))
}

/// How a value gets from one type into another without being told to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    /// It is of that type.
    Same,
    /// It is converted; nothing is lost, or the record fails.
    Convert,
    /// It is converted and rounded to fewer digits after the point.
    Round,
    /// It has to be cast in the text.
    No,
}

/// Flink's implicit conversions.
pub(crate) fn fit(from: &DataType, to: &DataType) -> Fit {
    use DataType::{Date32, Decimal128, Float32, Float64, List, Map, Null, Struct, Timestamp};
    if from == to {
        return Fit::Same;
    }
    match (from, to) {
        (Null, _) => Fit::Convert,
        (Decimal128(_, s1), Decimal128(_, s2)) if s1 > s2 => Fit::Round,
        (Decimal128(..), Decimal128(..)) => Fit::Convert,
        (Float32 | Float64, Decimal128(..)) => Fit::Round,
        (Float32, Float64) | (Decimal128(..), Float32 | Float64) => Fit::Convert,
        (from, Decimal128(..) | Float32 | Float64) if integer_width(from).is_some() => Fit::Convert,
        (Timestamp(..), Timestamp(..)) | (Timestamp(_, None), Date32) => Fit::Convert,
        (DataType::Time32(_) | DataType::Time64(_), DataType::Time32(_) | DataType::Time64(_)) => Fit::Convert,
        (List(a), List(b)) => nested(&[(a, b)]),
        (Map(a, _), Map(b, _)) => nested(&[(a, b)]),
        (Struct(a), Struct(b)) if a.len() == b.len() => nested(&a.iter().zip(b.iter()).collect::<Vec<_>>()),
        (from, to) if is_text(from) && is_text(to) => Fit::Convert,
        (from, to) => match (integer_width(from), integer_width(to)) {
            (Some(narrow), Some(wide)) if narrow < wide => Fit::Convert,
            _ => Fit::No,
        },
    }
}

fn nested(pairs: &[(&FieldRef, &FieldRef)]) -> Fit {
    let fits = pairs.iter().map(|(from, to)| fit(from.data_type(), to.data_type()));
    if fits.into_iter().any(|fit| fit == Fit::No) { Fit::No } else { Fit::Convert }
}

/// The type that holds both, as in Flink: numbers with numbers, text with text.
pub(crate) fn united(left: &DataType, right: &DataType) -> Option<DataType> {
    match is_text(left) == is_text(right) || left.is_null() || right.is_null() {
        true => datafusion_expr::binary::type_union_coercion(left, right),
        false => None,
    }
}
