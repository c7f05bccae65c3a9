//! Why one record cannot be decoded, while it is being found out: a code, a reason, and the path of the column.

use super::Failure;
use crate::codes::{self, Code};
use crate::error::{Error, Place};
use arrow_schema::{DataType, TimeUnit};

/// The most characters of an offending value that a reason repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// Why a record cannot be decoded. Boxed, so that the good path carries one word.
pub(crate) struct Bad {
    code: Code,
    reason: String,
    /// Names from the innermost to the outermost.
    path: Vec<String>,
    /// The index of the column among those of its format.
    column: Option<usize>,
    /// Whether it is no single record that is to blame, but what the source holds.
    stops: bool,
}

/// The result of decoding a part of a record.
pub(crate) type Parsed<T> = Result<T, Box<Bad>>;

impl Bad {
    #[cold]
    pub(crate) fn new(code: Code, reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { code, reason: reason.into(), path: Vec::new(), column: None, stops: false })
    }

    /// A value that is not of the column's type. `found` is as it stands in the record.
    #[cold]
    pub(crate) fn form(data_type: &DataType, found: &str) -> Box<Self> {
        Self::new(codes::OF0603, format!("expected {}, found {}", sql_name(data_type), shown(found)))
    }

    /// A number that the column's type cannot hold.
    #[cold]
    pub(crate) fn range(data_type: &DataType, found: &str) -> Box<Self> {
        Self::new(codes::OF0604, format!("{} is out of range for {}", shown(found), sql_name(data_type)))
    }

    /// NULL in a NOT NULL column.
    #[cold]
    pub(crate) fn null() -> Box<Self> {
        Self::new(codes::OF0605, "NULL in a NOT NULL column")
    }

    /// A record that is not valid UTF-8.
    #[cold]
    pub(crate) fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> Box<Self> {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        Self::new(codes::OF0602, format!("invalid UTF-8 at byte {at}: 0x{byte:02x}"))
    }

    /// Adds what to do about it.
    #[cold]
    pub(crate) fn with_hint(mut self: Box<Self>, hint: Option<&str>) -> Box<Self> {
        if let Some(hint) = hint {
            self.reason.push_str("; ");
            self.reason.push_str(hint);
        }
        self
    }

    /// Adds the name of the column or the field around; call from the inside outwards.
    #[cold]
    pub(crate) fn inside(mut self: Box<Self>, name: impl Into<String>) -> Box<Self> {
        if !self.is_fatal() {
            self.path.push(name.into());
        }
        self
    }

    /// Whether the whole document is to blame and not one column, so that there is nothing to go on with.
    pub(crate) fn is_fatal(&self) -> bool {
        self.code == codes::OF0601 || self.code == codes::OF0607
    }

    /// Makes it a reason to stop: whatever follows in the source would be read wrongly too.
    #[cold]
    pub(crate) fn of_the_source(mut self: Box<Self>, code: Code) -> Box<Self> {
        self.code = code;
        self.stops = true;
        self
    }

    /// The error to stop with, where it is one.
    pub(crate) fn stop(&self) -> Option<Error> {
        self.stops.then(|| Error::config(self.code, self.reason.clone()))
    }

    /// Says which column of the format is to blame; the outermost call decides.
    #[cold]
    pub(crate) fn column(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.column = Some(index);
        self
    }

    /// The index of the column among those of its format, where one is to blame.
    pub(crate) fn column_index(&self) -> Option<usize> {
        self.column
    }

    /// The failure of a record. `part` is empty, or `key` where the key is to blame.
    pub(crate) fn failure(self, ordinal: u32, part: &str, place: Option<Place>) -> Failure {
        let mut reason = if part.is_empty() { String::new() } else { format!("{part}: ") };
        if !self.path.is_empty() {
            reason.push_str("column `");
            for (at, name) in self.path.iter().rev().enumerate() {
                if at > 0 && !name.starts_with('[') {
                    reason.push('.');
                }
                reason.push_str(name);
            }
            reason.push_str("`: ");
        }
        reason.push_str(&self.reason);
        Failure { ordinal, code: self.code, reason, place }
    }
}

/// A value as a reason repeats it: shortened, control characters escaped, so that it stays one line.
pub(crate) fn shown(found: &str) -> String {
    let mut text: String = found.chars().take(SHOWN_CHARS_MAX).flat_map(visible).collect();
    if found.chars().nth(SHOWN_CHARS_MAX).is_some() {
        text.push('…');
        if found.starts_with('"') {
            text.push('"');
        }
    }
    text
}

fn visible(c: char) -> Box<dyn Iterator<Item = char>> {
    if c.is_control() { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) }
}

/// The name of a type as people declare it.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 => "STRING".into(),
        DataType::Binary => "BYTES".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("TIME({})", digits(unit)),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", digits(unit)),
        DataType::List(item) => format!("ARRAY<{}>", sql_name(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => {
                format!("MAP<{}, {}>", sql_name(parts[0].data_type()), sql_name(parts[1].data_type()))
            }
            _ => "MAP".into(),
        },
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}
