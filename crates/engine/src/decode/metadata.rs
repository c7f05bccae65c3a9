//! Columns of what a source knows of a record beside its key and value.

use super::append::Scalar;
use super::bad::{Bad, Parsed};
use super::column::{Builder, Values};
use super::{Metadata, TimestampFormat};
use crate::codes;
use crate::error::{Error, Place, Result};
use crate::record::{Batch, Record, TimestampType};
use arrow_array::ArrayRef;
use arrow_schema::DataType;
use std::collections::BTreeMap;

/// The metadata columns of a decoder.
pub(crate) struct Facts {
    columns: Vec<(Metadata, Builder)>,
}

impl Facts {
    /// Columns of metadata; `Err` of kind `Config` where a type cannot hold one.
    pub(crate) fn new(columns: Vec<(Metadata, Builder, Option<Place>)>) -> Result<Self> {
        let check = |(metadata, builder, place): (Metadata, Builder, Option<Place>)| {
            if fits(metadata, &builder.data_type) {
                return Ok((metadata, builder));
            }
            let message = format!(
                "metadata `{}` cannot be read as {} (column `{}`)",
                name(metadata),
                super::bad::sql_name(&builder.data_type),
                builder.name
            );
            let error = Error::config(codes::OF0652, message).help(format!("declare it as {}", types(metadata)));
            Err(if let Some(place) = &place { error.at(place) } else { error })
        };
        Ok(Self { columns: columns.into_iter().map(check).collect::<Result<_>>()? })
    }

    /// Appends the metadata of a record to all columns. After `Err` the caller truncates.
    #[inline]
    pub(crate) fn append(&mut self, record: &Record<'_>, batch: &Batch) -> Parsed<()> {
        for (index, (metadata, column)) in self.columns.iter_mut().enumerate() {
            fill(*metadata, column, record, batch).map_err(|bad| bad.inside(&column.name).column(index))?;
        }
        Ok(())
    }

    /// Cuts the columns back to so many rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|(_, column)| column.truncate(rows));
    }

    /// The columns, empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.columns.iter_mut().map(|(_, column)| column.finish()).collect()
    }
}

fn fill(metadata: Metadata, column: &mut Builder, record: &Record<'_>, batch: &Batch) -> Parsed<()> {
    if metadata == Metadata::Headers {
        return headers(column, record);
    }
    match scalar(metadata, record, batch) {
        Some(Scalar::Bytes(bytes)) if matches!(column.values, Values::Text(_)) => {
            let text = std::str::from_utf8(bytes).map_err(|error| Bad::not_utf8(bytes, error))?;
            column.append(Scalar::Text(text), TimestampFormat::Sql)
        }
        Some(scalar) => column.append(scalar, TimestampFormat::Sql),
        None => column.append_null(),
    }
}

/// The metadata of a record; `None` where the source has none.
fn scalar<'a>(metadata: Metadata, record: &Record<'a>, batch: &'a Batch) -> Option<Scalar<'a>> {
    let file = batch.file.as_deref();
    let size = |bytes: u64| i64::try_from(bytes).ok().map(Scalar::Integer);
    match metadata {
        Metadata::Topic => Some(Scalar::Text(&batch.partition.topic)),
        Metadata::Partition => Some(Scalar::Integer(i64::from(batch.partition.number))),
        Metadata::Offset => Some(Scalar::Integer(record.offset.signed())),
        Metadata::LeaderEpoch => batch.leader_epoch.map(|epoch| Scalar::Integer(i64::from(epoch))),
        Metadata::Timestamp => record.timestamp.map(Scalar::Millis),
        Metadata::TimestampType => Some(Scalar::Text(match record.timestamp_type {
            TimestampType::None => "NoTimestampType",
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        })),
        Metadata::Key => record.key.map(Scalar::Bytes),
        Metadata::FilePath => file.map(|file| Scalar::Text(&file.path)),
        Metadata::FileName => file.map(|file| Scalar::Text(&file.name)),
        Metadata::FileSize => file.and_then(|file| size(file.size)),
        Metadata::FileModified => file.map(|file| Scalar::Millis(file.modified)),
        Metadata::Line => Some(record.line).filter(|line| *line > 0).and_then(size),
        Metadata::Headers => None,
    }
}

fn headers(column: &mut Builder, record: &Record<'_>) -> Parsed<()> {
    let Values::Map(offsets, keys, values) = &mut column.values else {
        return Err(Bad::form(&column.data_type, "headers"));
    };
    let last: BTreeMap<&str, Option<&[u8]>> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    for (name, value) in last {
        keys.append(Scalar::Text(name), TimestampFormat::Sql)?;
        let filled = match value {
            None => values.append_null(),
            Some(bytes) if matches!(values.values, Values::Text(_)) => match std::str::from_utf8(bytes) {
                Ok(text) => values.append(Scalar::Text(text), TimestampFormat::Sql),
                Err(error) => Err(Bad::not_utf8(bytes, error)),
            },
            Some(bytes) => values.append(Scalar::Bytes(bytes), TimestampFormat::Sql),
        };
        filled.map_err(|bad| bad.inside(format!("[\"{name}\"]")))?;
    }
    offsets.push(keys.len());
    column.pushed();
    Ok(())
}

fn fits(metadata: Metadata, data_type: &DataType) -> bool {
    use DataType::{Binary, Decimal128, Float64, Int8, Int16, Int32, Int64, Map, Struct, Timestamp, Utf8};
    match metadata {
        Metadata::Topic | Metadata::TimestampType | Metadata::FilePath | Metadata::FileName => *data_type == Utf8,
        Metadata::Partition | Metadata::Offset | Metadata::LeaderEpoch | Metadata::FileSize | Metadata::Line => {
            matches!(data_type, Int8 | Int16 | Int32 | Int64 | Float64 | Decimal128(..) | Utf8)
        }
        Metadata::Timestamp | Metadata::FileModified => matches!(data_type, Timestamp(..) | Int64),
        Metadata::Key => matches!(data_type, Binary | Utf8),
        Metadata::Headers => match data_type {
            Map(entries, _) => match entries.data_type() {
                Struct(parts) => {
                    parts.len() == 2 && *parts[0].data_type() == Utf8 && matches!(parts[1].data_type(), Binary | Utf8)
                }
                _ => false,
            },
            _ => false,
        },
    }
}

fn name(metadata: Metadata) -> &'static str {
    match metadata {
        Metadata::Topic => "topic",
        Metadata::Partition => "partition",
        Metadata::Offset => "offset",
        Metadata::LeaderEpoch => "leader-epoch",
        Metadata::Timestamp => "timestamp",
        Metadata::TimestampType => "timestamp-type",
        Metadata::Headers => "headers",
        Metadata::Key => "key",
        Metadata::FilePath => "file.path",
        Metadata::FileName => "file.name",
        Metadata::FileSize => "file.size",
        Metadata::FileModified => "file.modification-time",
        Metadata::Line => "line",
    }
}

fn types(metadata: Metadata) -> &'static str {
    match metadata {
        Metadata::Topic | Metadata::TimestampType | Metadata::FilePath | Metadata::FileName => "STRING",
        Metadata::Partition | Metadata::LeaderEpoch => "INT, BIGINT or STRING",
        Metadata::Offset | Metadata::FileSize | Metadata::Line => "BIGINT, INT or STRING",
        Metadata::Timestamp | Metadata::FileModified => "TIMESTAMP_LTZ(3), TIMESTAMP(3) or BIGINT (milliseconds)",
        Metadata::Key => "BYTES or STRING",
        Metadata::Headers => "MAP<STRING, BYTES> or MAP<STRING, STRING>",
    }
}
