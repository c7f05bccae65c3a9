//! Values that go into statements and come out of queries, the same in every database.

use std::borrow::Cow;
use std::fmt;

/// A parameter of a statement. What it becomes in the database is decided by the type that the statement needs there: a number
/// fits every numeric column that can hold it exactly, a text every type whose notation it is (`timestamptz`, `numeric`, `uuid`,
/// `jsonb`, an enum).
#[derive(Clone, PartialEq, Debug)]
pub enum Param<'a> {
    /// NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text, or the notation of anything else.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

/// What can be a parameter; see [`params!`](crate::params).
pub trait ToParam {
    /// The parameter, borrowed where that is possible.
    fn to_param(&self) -> Param<'_>;
}

/// Parameters of a statement: `params![t.amount_cents, t.account]`. They are borrowed; nothing is moved out of a record.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::ToParam::to_param(&$value)),*] as &[$crate::Param<'_>]
    };
}

/// A row of owned parameters, for [`Tx::execute_all`](crate::Tx::execute_all) and [`Tx::copy_in`](crate::Tx::copy_in):
/// `batch.iter().map(|t| row![t.id, t.account])`.
#[macro_export]
macro_rules! row {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::ToParam::to_param(&$value).into_owned()),*]
    };
}

impl Param<'_> {
    /// The parameter with its own text or bytes.
    pub fn into_owned(self) -> Param<'static> {
        match self {
            Self::Null => Param::Null,
            Self::Bool(value) => Param::Bool(value),
            Self::Int(value) => Param::Int(value),
            Self::Float(value) => Param::Float(value),
            Self::Text(value) => Param::Text(value.into_owned().into()),
            Self::Bytes(value) => Param::Bytes(value.into_owned().into()),
        }
    }
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl ToParam for $type {
            fn to_param(&self) -> Param<'_> {
                i64::try_from(*self).map_or_else(|_| Param::Text(self.to_string().into()), Param::Int)
            }
        }
        impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, Unfit> {
                match value {
                    Value::Int(number) => Self::try_from(number).map_err(|_| Unfit::new(&Value::Int(number), stringify!($type))),
                    Value::Text(text) => text.parse().map_err(|_| Unfit::new(&Value::Text(text.clone()), stringify!($type))),
                    other => Err(Unfit::new(&other, stringify!($type))),
                }
            }
        }
    )*};
}
whole!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);

impl ToParam for bool {
    fn to_param(&self) -> Param<'_> {
        Param::Bool(*self)
    }
}

impl ToParam for f64 {
    fn to_param(&self) -> Param<'_> {
        Param::Float(*self)
    }
}

impl ToParam for f32 {
    /// By its shortest notation: 0.1 stays 0.1.
    fn to_param(&self) -> Param<'_> {
        Param::Float(self.to_string().parse().unwrap_or_else(|_| f64::from(*self)))
    }
}

impl ToParam for str {
    fn to_param(&self) -> Param<'_> {
        Param::Text(self.into())
    }
}

impl ToParam for String {
    fn to_param(&self) -> Param<'_> {
        Param::Text(self.as_str().into())
    }
}

impl ToParam for [u8] {
    fn to_param(&self) -> Param<'_> {
        Param::Bytes(self.into())
    }
}

impl ToParam for Vec<u8> {
    fn to_param(&self) -> Param<'_> {
        Param::Bytes(self.as_slice().into())
    }
}

impl ToParam for serde_json::Value {
    /// Its JSON text.
    fn to_param(&self) -> Param<'_> {
        Param::Text(self.to_string().into())
    }
}

impl ToParam for chrono::DateTime<chrono::Utc> {
    /// RFC 3339 in UTC with microseconds.
    fn to_param(&self) -> Param<'_> {
        Param::Text(self.to_rfc3339_opts(chrono::SecondsFormat::Micros, true).into())
    }
}

impl ToParam for chrono::NaiveDate {
    fn to_param(&self) -> Param<'_> {
        Param::Text(self.to_string().into())
    }
}

impl<T: ToParam> ToParam for Option<T> {
    fn to_param(&self) -> Param<'_> {
        self.as_ref().map_or(Param::Null, ToParam::to_param)
    }
}

impl<T: ToParam + ?Sized> ToParam for &T {
    fn to_param(&self) -> Param<'_> {
        (**self).to_param()
    }
}

impl<T: ToParam + ?Sized + ToOwned> ToParam for Cow<'_, T> {
    fn to_param(&self) -> Param<'_> {
        (**self).to_param()
    }
}

impl ToParam for Param<'_> {
    fn to_param(&self) -> Param<'_> {
        self.clone()
    }
}

/// A value of a row. Timestamps and dates come as RFC 3339 in UTC, numerics, UUIDs, JSON and enums as their notation.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// NULL.
    Null,
    /// A truth value; SQLite has none and gives 0 or 1.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a floating-point number",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// As SQL's literals without quotes; bytes as `\x…`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::Bytes(value) => {
                f.write_str("\\x")?;
                value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A value that is not of the type that was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Unfit(String);

impl Unfit {
    fn new(value: &Value, wanted: &str) -> Self {
        Self(format!("{} ({value}) is no {wanted}", value.kind()))
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

/// What a value of a row can be read as.
pub trait FromValue: Sized {
    /// Reads a value; an error where it would not be exact.
    fn from_value(value: Value) -> Result<Self, Unfit>;
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        Ok(value)
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        match value {
            Value::Bool(value) => Ok(value),
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            other => Err(Unfit::new(&other, "bool")),
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        match value {
            Value::Float(value) => Ok(value),
            // Whole numbers up to 2^53 are exact.
            Value::Int(value) if value.unsigned_abs() <= 1 << 53 => Ok(value as f64),
            other => Err(Unfit::new(&other, "f64")),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        match value {
            Value::Text(value) => Ok(value),
            other => Err(Unfit::new(&other, "text")),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        match value {
            Value::Bytes(value) => Ok(value),
            other => Err(Unfit::new(&other, "bytes")),
        }
    }
}

impl FromValue for serde_json::Value {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        match &value {
            Value::Text(text) => serde_json::from_str(text).map_err(|_| Unfit::new(&value, "JSON")),
            other => Err(Unfit::new(other, "JSON")),
        }
    }
}

impl FromValue for chrono::DateTime<chrono::Utc> {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        match &value {
            Value::Text(text) => chrono::DateTime::parse_from_rfc3339(text)
                .map(|moment| moment.to_utc())
                .map_err(|_| Unfit::new(&value, "moment in RFC 3339")),
            other => Err(Unfit::new(other, "moment in RFC 3339")),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, Unfit> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_borrow_and_keep_their_value() {
        let (account, amount) = ("a".to_owned(), 7_u16);
        assert_eq!(params![account, amount, None::<i64>], [Param::Text("a".into()), Param::Int(7), Param::Null]);
        assert_eq!(0.1_f32.to_param(), Param::Float(0.1));
        assert_eq!(u64::MAX.to_param(), Param::Text("18446744073709551615".into()));
        assert_eq!(account, "a");
    }

    #[test]
    fn a_value_is_read_exactly_or_not_at_all() {
        assert_eq!(i64::from_value(Value::Int(5)), Ok(5));
        assert_eq!(Option::<i64>::from_value(Value::Null), Ok(None));
        assert_eq!(i128::from_value(Value::Text("12345678901234567890".into())), Ok(12_345_678_901_234_567_890));
        for (value, said) in [
            (Value::Int(300), "a whole number (300) is no u8"),
            (Value::Text("1.5".into()), "text (1.5) is no u8"),
            (Value::Null, "NULL (NULL) is no u8"),
        ] {
            assert_eq!(u8::from_value(value).unwrap_err().to_string(), said);
        }
        assert!(f64::from_value(Value::Int((1 << 53) + 1)).is_err());
    }
}
