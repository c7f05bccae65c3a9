//! From bytes to Arrow rows: only the columns that are used, each record on its own.
//!
//! Owns the description of what to decode and the shape of the answer. A record that cannot be decoded is a [`Failure`]; its
//! neighbours are unharmed.

use crate::codes::{self, Code};
use crate::error::{Error, Place, Result};
use crate::record::Batch;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

mod append;
mod bad;
mod column;
mod combine;
mod convert;
pub mod csv;
mod fields;
pub mod json;
pub mod metadata;
pub mod raw;
#[cfg(test)]
mod tests;
mod time;

/// The header by which a source of files says that a line was longer than `source.line-bytes-max`, with that limit as its value.
/// The record's value is the beginning of the line, and decoding it gives a failure.
pub const TRUNCATED_HEADER: &str = "onceflow.line-bytes-max";

/// Where a decoded column's values come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A field of the value, by name.
    Value(String),
    /// A field of the key, by its name in the key.
    Key(String),
    /// Something the source knows of the record.
    Metadata(Metadata),
}

/// What a source knows of a record beside key and value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metadata {
    /// The topic.
    Topic,
    /// The partition's number.
    Partition,
    /// The record's offset.
    Offset,
    /// The leader epoch.
    LeaderEpoch,
    /// The timestamp.
    Timestamp,
    /// `NoTimestampType`, `CreateTime` or `LogAppendTime`, as in Flink.
    TimestampType,
    /// The headers, as a map of text to bytes; of a repeated header the last.
    Headers,
    /// The key's bytes.
    Key,
    /// The file's path.
    FilePath,
    /// The file's name.
    FileName,
    /// The file's size in bytes.
    FileSize,
    /// The file's last modification.
    FileModified,
    /// The number of the line in the file, from 1.
    Line,
}

/// One column to decode.
#[derive(Clone, Debug)]
pub struct Column {
    /// Where its values come from.
    pub origin: Origin,
    /// Where it is declared, for dead letters.
    pub place: Option<Place>,
}

/// How timestamps are written in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampFormat {
    /// `2020-12-30 12:13:14.123`, local timestamps with a trailing `Z`.
    #[default]
    Sql,
    /// `2020-12-30T12:13:14.123`, local timestamps with a trailing `Z`.
    Iso8601,
}

/// Options of `json`, as in Flink.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JsonOptions {
    /// `json.fail-on-missing-field`.
    pub fail_on_missing_field: bool,
    /// `json.timestamp-format.standard`.
    pub timestamp_format: TimestampFormat,
}

/// What the first line of a file is in CSV.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CsvHeader {
    /// A record like any other.
    #[default]
    Record,
    /// `csv.ignore-first-line`: no record, whatever it says.
    Ignored,
    /// `csv.header`: the names of the columns in their order, or the pipeline stops.
    Names,
}

/// Options of `csv`, as in Flink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CsvOptions {
    /// `csv.field-delimiter`.
    pub field_delimiter: u8,
    /// `csv.quote-character`; `None` where `csv.disable-quote-character` is set.
    pub quote: Option<u8>,
    /// `csv.escape-character`.
    pub escape: Option<u8>,
    /// `csv.allow-comments`: lines that begin with `#` are no records.
    pub allow_comments: bool,
    /// `csv.null-literal`.
    pub null_literal: Option<String>,
    /// `csv.array-element-delimiter`.
    pub array_element_delimiter: String,
    /// What the first line of a file is.
    pub header: CsvHeader,
    /// All physical columns of the declaration in order, since CSV fields have no names.
    pub fields: Vec<String>,
}

/// Options of `raw`, as in Flink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawOptions {
    /// `raw.endianness` is `big-endian`.
    pub big_endian: bool,
}

/// A format with its options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// JSON: one object a record.
    Json(JsonOptions),
    /// CSV (RFC 4180 with Flink's options): one line a record; quoted fields may hold line breaks.
    Csv(CsvOptions),
    /// The bytes themselves as one column.
    Raw(RawOptions),
}

/// What to decode.
#[derive(Clone, Debug)]
pub struct DecodeSpec {
    /// The rows to make, column for column as in `columns`.
    pub schema: SchemaRef,
    /// Where each column comes from.
    pub columns: Vec<Column>,
    /// The format of the value.
    pub value: Format,
    /// The format of the key, where it is decoded.
    pub key: Option<Format>,
}

/// A record that cannot be decoded.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// Which record: its index over all batches of the call.
    pub ordinal: u32,
    /// The code of the reason.
    pub code: Code,
    /// The reason in words, naming column and value.
    pub reason: String,
    /// The column's declaration, where one column is to blame.
    pub place: Option<Place>,
}

/// What became of the records of one call.
#[derive(Debug)]
pub struct Decoded {
    /// The rows.
    pub rows: RecordBatch,
    /// For each row the record that it came from: its index over all batches of the call. Never decreases.
    pub ordinals: Vec<u32>,
    /// Records that cannot be decoded, by ordinal.
    pub failures: Vec<Failure>,
}

/// Decodes records. Records with neither row nor failure (tombstones, comments) were left out on purpose.
pub trait Decoder: Send {
    /// Decodes all records of all batches. `Err` only for what is no record's fault.
    fn decode(&mut self, batches: &[Batch]) -> Result<Decoded>;
}

/// Makes the decoder for a specification. `Err` of kind `Config` where a format cannot give a column's type.
pub fn decoder(spec: &DecodeSpec) -> Result<Box<dyn Decoder>> {
    Ok(Box::new(combine::Combined::new(spec)?))
}

/// A type that a format has no reading for.
fn unsupported(format: &str, column: &column::Builder) -> Error {
    let data_type = bad::sql_name(&column.data_type);
    Error::config(codes::OF0651, format!("format `{format}` cannot give {data_type} (column `{}`)", column.name))
        .help("declare the column as STRING and take it apart in the query")
}

pub(crate) use bad::sql_name;

/// A decimal literal as the decoders read it; `None` where it is none of that precision.
pub(crate) fn decimal_of(text: &str, precision: u8, scale: i8) -> Option<i128> {
    convert::decimal(text, precision, scale).ok()
}
