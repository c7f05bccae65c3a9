//! Which Arrow type may become which PostgreSQL type, and in what form it travels.
//!
//! Owns the decision ([`target`]) and the types of tables that Onceflow creates ([`created`]). A value travels in the server's
//! binary form where that is exact, and as text that the server casts (`inet`, `interval`, ranges, …) where it is not. What
//! would lose something by its very types (DOUBLE into `real`, TIMESTAMP into `timestamptz`) is no pair at all; what may or may
//! not fit by its value (BIGINT into `integer`) is a pair, and each value is looked at before it is sent.

use arrow_schema::{DataType, TimeUnit};

/// A type of the server as far as writing needs it, domains unwrapped.
#[derive(Clone, Debug)]
pub(super) struct PgType {
    /// The type itself.
    pub oid: u32,
    /// Its name in SQL, without a modifier: `numeric`, `"char"`, `app.mood`.
    pub sql: String,
    /// The function that reads its binary form; what it reads is what the type is.
    pub receive: String,
    /// `b`ase, `e`num, `c`omposite, `r`ange, `m`ultirange, `p`seudo.
    pub kind: char,
    /// The modifier of the column: lengths, precisions; −1 for none.
    pub modifier: i32,
    /// An array's elements: the type that stands in the array's header, and what it is underneath.
    pub element: Option<(u32, Box<PgType>)>,
}

/// The form in which values travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// `scale`: digits after the point that the column keeps.
    Numeric {
        scale: Option<i16>,
    },
    /// Bytes of a text as they are. `chars_max`: characters that the column keeps.
    Text {
        chars_max: Option<u32>,
    },
    /// A JSON text for `jsonb`.
    Jsonb,
    /// A nested value, written as JSON.
    Rendered {
        jsonb: bool,
    },
    Uuid,
    Bytea,
    Date,
    /// `digits`: digits of a second that the column keeps.
    Time {
        digits: u32,
    },
    Timestamp {
        digits: u32,
    },
    Array {
        element: Box<Wire>,
        oid: u32,
    },
}

/// How the values of one declared column reach their column in the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    /// The form on the wire.
    pub wire: Wire,
    /// The SQL type of that form.
    pub carrier: String,
    /// The oid of that type.
    pub oid: u32,
    /// The SQL type that the server casts it to, where it has to.
    pub cast: Option<String>,
    /// Whether equal values may differ in their bytes (`citext`, `character`, what is cast).
    pub loose: bool,
}

impl Target {
    /// A value that travelled, as an expression of the column's type.
    pub fn expression(&self, value: &str) -> String {
        match &self.cast {
            None => value.to_owned(),
            Some(cast) => format!("CAST({value} AS {cast})"),
        }
    }

    /// Whether the values are arrays, which `unnest` would take apart.
    pub fn is_array(&self) -> bool {
        matches!(self.wire, Wire::Array { .. })
    }
}

/// How values of an Arrow type get into a column of a type; `None` where they do not.
pub(super) fn target(from: &DataType, to: &PgType) -> Option<Target> {
    if let (DataType::List(item), Some((oid, element))) = (from, &to.element) {
        return array(item.data_type(), *oid, element, to);
    }
    if let Some(wire) = exact(from, to) {
        let loose = matches!(to.receive.as_str(), "citextrecv" | "bpcharrecv" | "jsonb_recv");
        return Some(Target { wire, carrier: to.sql.clone(), oid: to.oid, cast: None, loose });
    }
    let cast = matches!(from, DataType::Utf8) && is_castable(to);
    let wire = Wire::Text { chars_max: None };
    cast.then(|| Target { wire, carrier: "text".to_owned(), oid: TEXT_OID, cast: Some(to.sql.clone()), loose: true })
}

/// The oids of `text` and `text[]`, in which travels what the server casts.
const TEXT_OID: u32 = 25;
const TEXT_ARRAY_OID: u32 = 1009;

fn array(from: &DataType, oid: u32, element: &PgType, to: &PgType) -> Option<Target> {
    if element.element.is_some() || matches!(from, DataType::List(_)) {
        return None;
    }
    let inner = target(from, element)?;
    let is_cast = inner.cast.is_some();
    let wire = Wire::Array { element: Box::new(inner.wire), oid: if is_cast { TEXT_OID } else { oid } };
    let carrier = if is_cast { "text[]".to_owned() } else { to.sql.clone() };
    let cast = is_cast.then(|| to.sql.clone());
    Some(Target { wire, carrier, oid: if is_cast { TEXT_ARRAY_OID } else { to.oid }, cast, loose: inner.loose })
}

fn exact(from: &DataType, to: &PgType) -> Option<Wire> {
    use DataType::{Binary, Boolean, Date32, FixedSizeBinary, List, Map, Struct, Utf8};
    let wire = match (from, to.receive.as_str()) {
        (Boolean, "boolrecv") => Wire::Bool,
        (Utf8, "textrecv" | "varcharrecv" | "bpcharrecv" | "citextrecv" | "namerecv" | "enum_recv" | "json_recv") => {
            Wire::Text { chars_max: chars_max(to) }
        }
        (Utf8, "jsonb_recv") => Wire::Jsonb,
        (Utf8, "uuid_recv") => Wire::Uuid,
        (Binary | FixedSizeBinary(_), "bytearecv") => Wire::Bytea,
        (List(_) | Map(..) | Struct(_), "jsonb_recv") => Wire::Rendered { jsonb: true },
        (List(_) | Map(..) | Struct(_), "json_recv") => Wire::Rendered { jsonb: false },
        (Date32, "date_recv") => Wire::Date,
        (DataType::Time32(_) | DataType::Time64(_), "time_recv") => Wire::Time { digits: digits(to) },
        (DataType::Timestamp(_, None), "timestamp_recv") | (DataType::Timestamp(_, Some(_)), "timestamptz_recv") => {
            Wire::Timestamp { digits: digits(to) }
        }
        _ => return number(from, to),
    };
    Some(wire)
}

fn number(from: &DataType, to: &PgType) -> Option<Wire> {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64};
    let wire = match (from, to.receive.as_str()) {
        (Int8 | Int16 | Int32 | Int64 | Decimal128(..), "int2recv") => Wire::Int2,
        (Int8 | Int16 | Int32 | Int64 | Decimal128(..), "int4recv") => Wire::Int4,
        (Int8 | Int16 | Int32 | Int64 | Decimal128(..), "int8recv") => Wire::Int8,
        (Int8 | Int16 | Int32 | Int64 | Decimal128(..), "numeric_recv") => Wire::Numeric { scale: scale(to) },
        (Int8 | Int16 | Float32, "float4recv") => Wire::Float4,
        (Int8 | Int16 | Int32 | Float32 | Float64, "float8recv") => Wire::Float8,
        _ => return None,
    };
    Some(wire)
}

/// Whether a text may be cast to a type: to those that Flink SQL has no type for. A text for a number or a date is more
/// likely a slip than a wish.
fn is_castable(to: &PgType) -> bool {
    let has_own = matches!(
        to.receive.as_str(),
        "boolrecv"
            | "int2recv"
            | "int4recv"
            | "int8recv"
            | "float4recv"
            | "float8recv"
            | "numeric_recv"
            | "bytearecv"
            | "date_recv"
            | "time_recv"
            | "timestamp_recv"
            | "timestamptz_recv"
            | "oidrecv"
    );
    !has_own && to.element.is_none() && matches!(to.kind, 'b' | 'e' | 'r' | 'm')
}

/// What the server adds to a length in a modifier.
const MODIFIER_OFFSET: i32 = 4;

fn chars_max(to: &PgType) -> Option<u32> {
    let limited = matches!(to.receive.as_str(), "varcharrecv" | "bpcharrecv") && to.modifier >= MODIFIER_OFFSET;
    limited.then(|| (to.modifier - MODIFIER_OFFSET).unsigned_abs())
}

/// The scale stands in the lower eleven bits, signed.
fn scale(to: &PgType) -> Option<i16> {
    let bits = i16::try_from((to.modifier - MODIFIER_OFFSET) & 0x7ff).expect("eleven bits fit sixteen");
    (to.modifier >= MODIFIER_OFFSET).then_some((bits ^ 1024) - 1024)
}

fn digits(to: &PgType) -> u32 {
    u32::try_from(to.modifier).map_or(6, |digits| digits.min(6))
}

/// The type of a column in a table that Onceflow creates.
pub(super) fn created(data_type: &DataType, declared: &str) -> String {
    let plain = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal128(precision, scale) => return format!("numeric({precision}, {scale})"),
        DataType::Utf8 => return created_text(declared),
        DataType::Binary | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 => "date",
        DataType::Time32(TimeUnit::Millisecond) => "time(3)",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(TimeUnit::Millisecond, None) => "timestamp(3)",
        DataType::Timestamp(TimeUnit::Millisecond, Some(_)) => "timestamptz(3)",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::List(item) if !item.data_type().is_nested() => {
            return format!("{}[]", created(item.data_type(), ""));
        }
        _ => "jsonb",
    };
    plain.to_owned()
}

fn created_text(declared: &str) -> String {
    let upper = declared.trim().to_ascii_uppercase();
    let length = upper.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(length, _)| length.trim());
    match length {
        Some(length) if upper.starts_with("VARCHAR") => format!("varchar({length})"),
        Some(length) if upper.starts_with("CHAR") => format!("char({length})"),
        _ => "text".to_owned(),
    }
}

/// What to declare for a column that is there, where Flink SQL has a type for it.
pub(super) fn declared_as(to: &PgType) -> Option<String> {
    if let Some((_, element)) = &to.element {
        return declared_as(element).map(|element| format!("ARRAY<{element}>"));
    }
    let plain = match to.receive.as_str() {
        "boolrecv" => "BOOLEAN",
        "int2recv" => "SMALLINT",
        "int4recv" => "INT",
        "int8recv" => "BIGINT",
        "float4recv" => "FLOAT",
        "float8recv" => "DOUBLE",
        "numeric_recv" => return Some(declared_numeric(to)),
        "bytearecv" => "BYTES",
        "date_recv" => "DATE",
        "time_recv" => return Some(format!("TIME({})", digits(to))),
        "timestamp_recv" => return Some(format!("TIMESTAMP({})", digits(to))),
        "timestamptz_recv" => return Some(format!("TIMESTAMP_LTZ({})", digits(to))),
        _ if to.kind == 'c' => return None,
        _ => "STRING",
    };
    Some(plain.to_owned())
}

fn declared_numeric(to: &PgType) -> String {
    let Some(scale) = scale(to) else { return "DECIMAL(38, 18)".to_owned() };
    let precision = ((to.modifier - MODIFIER_OFFSET) >> 16) & 0xffff;
    format!("DECIMAL({}, {})", precision.min(38), scale.clamp(0, 38))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::Field;
    use std::sync::Arc;

    fn pg(receive: &str, modifier: i32) -> PgType {
        PgType { oid: 1, sql: receive.to_owned(), receive: receive.to_owned(), kind: 'b', modifier, element: None }
    }

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", item, true)))
    }

    #[test]
    fn values_travel_in_binary_where_that_is_exact() {
        let wire = |from: DataType, to: &str, modifier| target(&from, &pg(to, modifier)).map(|target| target.wire);
        assert_eq!(wire(DataType::Int64, "int4recv", -1), Some(Wire::Int4));
        assert_eq!(wire(DataType::Int64, "float8recv", -1), None);
        assert_eq!(wire(DataType::Float64, "float4recv", -1), None);
        assert_eq!(
            wire(DataType::Decimal128(38, 18), "numeric_recv", ((12 << 16) | 2) + 4),
            Some(Wire::Numeric { scale: Some(2) })
        );
        assert_eq!(
            wire(DataType::Int32, "numeric_recv", ((3 << 16) | 0x7fe) + 4),
            Some(Wire::Numeric { scale: Some(-2) })
        );
        assert_eq!(wire(DataType::Utf8, "varcharrecv", 24), Some(Wire::Text { chars_max: Some(20) }));
        assert_eq!(wire(DataType::Utf8, "int8recv", -1), None);
        assert_eq!(wire(DataType::Utf8, "timestamp_recv", -1), None);
        let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        assert_eq!(wire(micros(None), "timestamptz_recv", -1), None);
        assert_eq!(wire(micros(Some("UTC")), "timestamptz_recv", 3), Some(Wire::Timestamp { digits: 3 }));
    }

    #[test]
    fn a_text_is_cast_to_what_flink_has_no_type_for() {
        let found = target(&DataType::Utf8, &pg("inet_recv", -1)).unwrap();
        assert_eq!((found.carrier.as_str(), found.cast.as_deref()), ("text", Some("inet_recv")));
        let mut array = pg("array_recv", -1);
        array.element = Some((7, Box::new(pg("inet_recv", -1))));
        let found = target(&list(DataType::Utf8), &array).unwrap();
        assert_eq!((found.carrier.as_str(), found.cast.as_deref()), ("text[]", Some("array_recv")));
        assert!(target(&list(list(DataType::Utf8)), &array).is_none());
    }

    #[test]
    fn created_columns_hold_what_was_declared() {
        let check = |data_type: DataType, declared: &str, expected: &str| {
            assert_eq!(created(&data_type, declared), expected);
        };
        check(DataType::Utf8, "VARCHAR(20)", "varchar(20)");
        check(DataType::Utf8, "CHAR(3)", "char(3)");
        check(DataType::Utf8, "STRING", "text");
        check(DataType::Decimal128(12, 2), "DECIMAL(12, 2)", "numeric(12, 2)");
        check(list(DataType::Int32), "ARRAY<INT>", "integer[]");
        check(list(list(DataType::Int32)), "ARRAY<ARRAY<INT>>", "jsonb");
        check(DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), "TIMESTAMP_LTZ(3)", "timestamptz(3)");
    }
}
