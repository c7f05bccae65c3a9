//! Tables that are read.

use super::{Use, connector, datagen, files, kafka};
use crate::model::{ColumnKind, DeclaredType, ResolvedSource, TableDecl};
use crate::options::format::{Formats, formats, physical};
use crate::options::{Findings, Reader, known};
use crate::suggest;
use arrow_schema::DataType;
use onceflow::Error;
use onceflow::changes::OnError;
use onceflow::codes::{OF0216, OF0217, OF0226};
use onceflow::decode::{Format, JsonOptions, Metadata};
use onceflow::source::SourceFactory;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resolves a table that is read; `None` where errors were found. `default` is what `SET 'on-error'` says.
pub fn source(table: &TableDecl, default: Option<OnError>, findings: &mut Findings) -> Option<ResolvedSource> {
    let errors = findings.errors.len();
    let name = connector(table, Use::Read, findings)?;
    let metadata = metadata(table, name, findings);
    if physical(table).is_empty() && metadata.is_empty() {
        let error = Error::config(OF0217, format!("the table {} has no columns to read", table.name));
        findings.errors.push(error.at(&table.place).help("declare at least one column"));
    }
    let mut reader = Reader::new(table, findings);
    let resolved = match name {
        "kafka" => read_kafka(&mut reader),
        "filesystem" => read_files(&mut reader, &metadata),
        _ => read_datagen(&mut reader),
    };
    let own = reader.on_error();
    let known: Vec<known::Known> = known_options(name);
    reader.finish(name, &known);
    let (factory, formats) = resolved?;
    let on_error = own.or(formats.skip.then_some(OnError::Skip)).or(default).unwrap_or_default();
    refuse_contradiction(table, own, formats.skip, findings);
    let Formats { value, key, key_fields, .. } = formats;
    (findings.errors.len() == errors).then_some(ResolvedSource { factory, value, key, key_fields, metadata, on_error })
}

fn known_options(connector: &str) -> Vec<known::Known> {
    let own = match connector {
        "kafka" => known::KAFKA,
        "filesystem" => known::FILES,
        _ => return known::DATAGEN.to_vec(),
    };
    own.iter().chain(known::FORMATS).copied().collect()
}

type Read = Option<(Arc<dyn SourceFactory>, Formats)>;

fn read_kafka(reader: &mut Reader<'_>) -> Read {
    reader.rename(known::KAFKA_ALIASES);
    let formats = formats(reader, true);
    let factory = kafka::factory(reader);
    Some((factory?, formats?))
}

fn read_files(reader: &mut Reader<'_>, metadata: &BTreeMap<String, Metadata>) -> Read {
    reader.rename(known::FILES_ALIASES);
    let formats = formats(reader, false);
    let factory = files::factory(reader, formats.as_ref().map(|formats| &formats.value), metadata);
    Some((factory?, formats?))
}

fn read_datagen(reader: &mut Reader<'_>) -> Read {
    let value = Format::Json(JsonOptions::default());
    let formats = Formats { value, key: None, key_fields: BTreeMap::new(), skip: false };
    Some((datagen::factory(reader)?, formats))
}

/// `json.ignore-parse-errors` means `skip`, so another `on-error` beside it is a contradiction.
fn refuse_contradiction(table: &TableDecl, own: Option<OnError>, skip: bool, findings: &mut Findings) {
    if let (Some(value), true) = (table.options.get("on-error"), skip && own.is_some_and(|own| own != OnError::Skip)) {
        let message = format!("'ignore-parse-errors' means 'on-error' = 'skip', and the table says '{}'", value.text);
        findings.errors.push(Error::config(OF0226, message).at(&value.place).help("remove one of them"));
    }
}

/// A metadata key: its name, what it is, the type that Flink gives it.
type Key = (&'static str, Metadata, &'static str);

const KAFKA: &[Key] = &[
    ("topic", Metadata::Topic, "STRING"),
    ("partition", Metadata::Partition, "INT"),
    ("offset", Metadata::Offset, "BIGINT"),
    ("leader-epoch", Metadata::LeaderEpoch, "INT"),
    ("timestamp", Metadata::Timestamp, "TIMESTAMP_LTZ(3)"),
    ("timestamp-type", Metadata::TimestampType, "STRING"),
    ("headers", Metadata::Headers, "MAP<STRING, BYTES>"),
    ("key", Metadata::Key, "BYTES"),
];
const FILES: &[Key] = &[
    ("file.path", Metadata::FilePath, "STRING"),
    ("file.name", Metadata::FileName, "STRING"),
    ("file.size", Metadata::FileSize, "BIGINT"),
    ("file.modification-time", Metadata::FileModified, "TIMESTAMP_LTZ(3)"),
    ("offset", Metadata::Offset, "BIGINT"),
    ("line", Metadata::Line, "BIGINT"),
];
const DATAGEN: &[Key] = &[("offset", Metadata::Offset, "BIGINT")];

fn metadata(table: &TableDecl, connector: &str, findings: &mut Findings) -> BTreeMap<String, Metadata> {
    let keys = match connector {
        "kafka" => KAFKA,
        "filesystem" => FILES,
        _ => DATAGEN,
    };
    let mut found = BTreeMap::new();
    for column in &table.columns {
        let (ColumnKind::Metadata { key, .. }, Some(declared)) = (&column.kind, &column.declared) else { continue };
        let Some((_, metadata, flink)) = keys.iter().find(|(name, ..)| name == key) else {
            let names = keys.iter().map(|(name, ..)| *name);
            let error = Error::config(OF0216, format!("'{connector}' has no metadata '{key}'")).at(&column.place);
            findings.errors.push(error.help(suggest::help(key, "metadata", names)));
            continue;
        };
        if !can_hold(*metadata, &declared.data_type) {
            findings.errors.push(wrong_type(column, declared, key, flink));
        }
        found.insert(column.name.clone(), *metadata);
    }
    found
}

fn wrong_type(column: &crate::model::ColumnDecl, declared: &DeclaredType, key: &str, flink: &str) -> Error {
    Error::config(OF0216, format!("the metadata '{key}' cannot be {}", declared.text))
        .at(&column.place)
        .help(format!("declare {} {flink} METADATA …", crate::types::quoted(&column.name)))
}

/// Whether a type can hold a metadata value; where Flink would cast, so does the decoder.
fn can_hold(metadata: Metadata, data_type: &DataType) -> bool {
    use DataType::{Binary, Decimal128, Float64, Int32, Int64, Timestamp, Utf8};
    match metadata {
        Metadata::Topic | Metadata::TimestampType | Metadata::FilePath | Metadata::FileName => *data_type == Utf8,
        Metadata::Partition | Metadata::LeaderEpoch | Metadata::Offset | Metadata::FileSize | Metadata::Line => {
            matches!(data_type, Int32 | Int64 | Float64 | Decimal128(..) | Utf8)
        }
        Metadata::Timestamp | Metadata::FileModified => matches!(data_type, Timestamp(..) | Int64),
        Metadata::Key => matches!(data_type, Binary | Utf8),
        Metadata::Headers => match data_type {
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(parts) => {
                    *parts[0].data_type() == Utf8 && matches!(parts[1].data_type(), Binary | Utf8)
                }
                _ => false,
            },
            _ => false,
        },
    }
}
