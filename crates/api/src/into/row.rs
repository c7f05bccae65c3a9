//! A value of any `Serialize` type as a row: its fields by their names.

use super::columns::Columns;
use crate::logic::Problem;
use onceflow_engine::codes;
use serde::ser::{Error as _, Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};
use std::fmt;

/// Reads a value as the next row.
pub(super) fn read<T: Serialize + ?Sized>(value: &T, columns: &mut Columns) -> Result<(), Problem> {
    columns.begin();
    value.serialize(Row { columns }).map_err(|refused| match refused {
        Refused::Wrong(reason) => Problem { code: codes::OF1013, reason, stop: true },
        refused => Problem { code: codes::OF1014, reason: refused.to_string(), stop: false },
    })
}

/// Why a value is no row.
#[derive(Debug)]
enum Refused {
    Because(String),
    /// The type itself is no row of the table: a mistake of the program, and no record's.
    Wrong(String),
    /// The field is a list, a map or a structure.
    Nested,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Because(reason) | Self::Wrong(reason) => f.write_str(reason),
            Self::Nested => f.write_str("a nested value"),
        }
    }
}

impl std::error::Error for Refused {}

impl serde::ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Because(message.to_string())
    }
}

struct Row<'c> {
    columns: &'c mut Columns,
}

struct Fields<'c> {
    columns: &'c mut Columns,
    /// Where the next field probably belongs.
    expected: usize,
    /// The key of a map's entry.
    key: Option<String>,
    /// A map has other fields for every record, a structure the same.
    is_map: bool,
}

impl Fields<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refused> {
        let Some(column) = self.columns.find(name, self.expected) else {
            let reason = format!("the value has a field '{name}', and written are: {}", self.columns.names());
            return Err(if self.is_map { Refused::Because(reason) } else { Refused::Wrong(reason) });
        };
        self.expected = column + 1;
        match value.serialize(Cell { columns: &mut *self.columns, column }) {
            Err(Refused::Nested) => {
                let nested = serde_json::to_value(value).map_err(Refused::custom)?;
                self.columns.put_nested(column, &nested).map_err(Refused::Because)
            }
            done => done,
        }
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl SerializeMap for Fields<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        match serde_json::to_value(key).map_err(Refused::custom)? {
            serde_json::Value::String(key) => self.key = Some(key),
            other => return Err(Refused::Because(format!("the key {other} is no text"))),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let key = self.key.take().unwrap_or_default();
        self.field(&key, value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

/// What is no row.
macro_rules! refused {
    ($answer:expr; $($method:ident($($type:ty),*);)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<(), Refused> {
            Err($answer)
        }
    )*};
}

/// What both serializers below do alike: wrappers are looked through, and what is made of several values gets the answer.
macro_rules! wrappers_and_compounds {
    ($answer:expr) => {
        type SerializeSeq = Impossible<(), Refused>;
        type SerializeTuple = Impossible<(), Refused>;
        type SerializeTupleStruct = Impossible<(), Refused>;
        type SerializeTupleVariant = Impossible<(), Refused>;
        type SerializeStructVariant = Impossible<(), Refused>;

        fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
            value.serialize(self)
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
            value.serialize(self)
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<(), Refused> {
            Err($answer)
        }

        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Refused> {
            Err($answer)
        }

        fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Refused> {
            Err($answer)
        }

        fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Refused> {
            Err($answer)
        }

        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, Refused> {
            Err($answer)
        }

        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, Refused> {
            Err($answer)
        }
    };
}

fn no_row() -> Refused {
    Refused::Wrong("a row needs a structure with named fields".to_owned())
}

impl<'c> Serializer for Row<'c> {
    type Ok = ();
    type Error = Refused;
    type SerializeMap = Fields<'c>;
    type SerializeStruct = Fields<'c>;

    wrappers_and_compounds!(no_row());

    refused! { no_row();
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64); serialize_u8(u8);
        serialize_u16(u16); serialize_u32(u32); serialize_u64(u64); serialize_f32(f32); serialize_f64(f64); serialize_char(char);
        serialize_str(&str); serialize_bytes(&[u8]); serialize_none(); serialize_unit(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'c>, Refused> {
        Ok(Fields { columns: self.columns, expected: 0, key: None, is_map: true })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'c>, Refused> {
        Ok(Fields { columns: self.columns, expected: 0, key: None, is_map: false })
    }
}

/// One field's value into its column.
struct Cell<'c> {
    columns: &'c mut Columns,
    column: usize,
}

macro_rules! ints {
    ($($method:ident $type:ty;)*) => {$(
        fn $method(self, value: $type) -> Result<(), Refused> {
            self.columns.put_int(self.column, i128::from(value)).map_err(Refused::Because)
        }
    )*};
}

impl Serializer for Cell<'_> {
    type Ok = ();
    type Error = Refused;
    type SerializeMap = Impossible<(), Refused>;
    type SerializeStruct = Impossible<(), Refused>;

    wrappers_and_compounds!(Refused::Nested);

    ints! {
        serialize_i8 i8; serialize_i16 i16; serialize_i32 i32; serialize_i64 i64; serialize_i128 i128;
        serialize_u8 u8; serialize_u16 u16; serialize_u32 u32; serialize_u64 u64;
    }

    fn serialize_u128(self, value: u128) -> Result<(), Refused> {
        match i128::try_from(value) {
            Ok(value) => self.serialize_i128(value),
            Err(_) => Err(Refused::Because(format!(
                "the number {value} does not fit column '{}'",
                self.columns.name(self.column)
            ))),
        }
    }

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.columns.put_bool(self.column, value).map_err(Refused::Because)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        // By its shortest notation: 0.1 stays 0.1 in a column of more digits.
        let wide = value.to_string().parse().unwrap_or_else(|_| f64::from(value));
        self.columns.put_float(self.column, wide, true).map_err(Refused::Because)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        self.columns.put_float(self.column, value, false).map_err(Refused::Because)
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        self.columns.put_text(self.column, value).map_err(Refused::Because)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.columns.put_bytes(self.column, value).map_err(Refused::Because)
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.columns.put_null(self.column);
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.serialize_str(variant)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        Err(Refused::Nested)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        Err(Refused::Nested)
    }
}
