//! Formats with their options, and which columns come from the key.

use super::{Findings, Reader, wrong_value};
use crate::model::{ColumnDecl, ColumnKind, TableDecl, Value};
use crate::suggest;
use arrow_schema::DataType;
use onceflow::Error;
use onceflow::codes::{OF0217, OF0226, OF0229, OF0230, OF0231};
use onceflow::decode::{CsvHeader, CsvOptions, Format, JsonOptions, RawOptions, TimestampFormat};
use std::collections::BTreeMap;

const NAMES: &[&str] = &["json", "csv", "raw"];

/// The formats of a source.
#[derive(Debug)]
pub struct Formats {
    /// The value's.
    pub value: Format,
    /// The key's, where fields come from it.
    pub key: Option<Format>,
    /// Columns that come from the key: column name → field name in the key.
    pub key_fields: BTreeMap<String, String>,
    /// Whether `ignore-parse-errors` is set.
    pub skip: bool,
}

/// The names of the physical columns, in order.
pub fn physical(table: &TableDecl) -> Vec<&ColumnDecl> {
    table.columns.iter().filter(|column| matches!(column.kind, ColumnKind::Physical)).collect()
}

/// Reads the formats; `None` where an error was found. `keys` says whether the connector has keys.
pub fn formats(reader: &mut Reader<'_>, keys: bool) -> Option<Formats> {
    let key_fields = if keys { key_fields(reader)? } else { BTreeMap::new() };
    let mut skip = false;
    let key = match reader.value("key.format").filter(|_| keys) {
        Some(value) => {
            let fields = key_columns(reader.table, &key_fields);
            Some(format(reader, &value, &["key."], &fields, &mut skip)?)
        }
        None => None,
    };
    let value = value_format(reader)?;
    let prefixes: &[&str] = if keys { &["value.", ""] } else { &[""] };
    let fields = value_columns(reader, &key_fields)?;
    let value = format(reader, &value, prefixes, &fields, &mut skip)?;
    Some(Formats { value, key, key_fields, skip })
}

fn value_format(reader: &mut Reader<'_>) -> Option<Value> {
    match (reader.value("format"), reader.value("value.format")) {
        (Some(_), Some(value)) => {
            reader.contradiction(
                "'format' and 'value.format' are the same option",
                &value.key_place,
                "remove one of them",
            );
            None
        }
        (Some(value), None) | (None, Some(value)) => Some(value),
        (None, None) => {
            reader.missing("format", "json");
            None
        }
    }
}

/// A column that a format has to give: name and type.
type Wanted = (String, DataType);

fn key_columns(table: &TableDecl, key_fields: &BTreeMap<String, String>) -> Vec<Wanted> {
    let named = |column: &&ColumnDecl| key_fields.get(&column.name).map(|field| wanted(column, field));
    physical(table).iter().filter_map(named).collect()
}

fn wanted(column: &ColumnDecl, name: &str) -> Wanted {
    let data_type = column.declared.as_ref().map_or(DataType::Null, |declared| declared.data_type.clone());
    (name.to_owned(), data_type)
}

fn value_columns(reader: &mut Reader<'_>, key_fields: &BTreeMap<String, String>) -> Option<Vec<Wanted>> {
    let except = reader.word("value.fields-include", &[("ALL", false), ("EXCEPT_KEY", true)]).unwrap_or(false);
    let prefixed = key_fields.iter().any(|(column, field)| column != field);
    if prefixed && !except {
        let place = reader.table.options.get("key.fields-prefix").map_or(&reader.table.place, |value| &value.key_place);
        let place = place.clone();
        let message = "'key.fields-prefix' needs 'value.fields-include' = 'EXCEPT_KEY'";
        reader.contradiction(
            message,
            &place,
            "add 'value.fields-include' = 'EXCEPT_KEY': the value has no prefixed names",
        );
        return None;
    }
    let table = reader.table;
    let in_value = |column: &&&ColumnDecl| !(except && key_fields.contains_key(&column.name));
    Some(physical(table).iter().filter(in_value).map(|column| wanted(column, &column.name)).collect())
}

fn key_fields(reader: &mut Reader<'_>) -> Option<BTreeMap<String, String>> {
    let table = reader.table;
    let prefix = reader.value("key.fields-prefix").map(|value| value.text).unwrap_or_default();
    let (fields, format) = (reader.value("key.fields"), reader.has("key.format"));
    let Some(value) = fields else {
        if let Some(format) = table.options.get("key.format") {
            let error = Error::config(OF0231, "'key.format' needs 'key.fields'").at(&format.key_place);
            reader.findings.errors.push(error.help("add 'key.fields' = 'a;b' with the columns that come from the key"));
            return None;
        }
        return Some(BTreeMap::new());
    };
    if !format {
        let error = Error::config(OF0231, "'key.fields' needs 'key.format'").at(&value.key_place);
        reader.findings.errors.push(error.help("add 'key.format' = 'raw' where the key is plain text, or 'json'"));
        return None;
    }
    let mut found = BTreeMap::new();
    let names: Vec<&str> = physical(table).iter().map(|column| column.name.as_str()).collect();
    for name in value.text.split(';').map(str::trim).filter(|name| !name.is_empty()) {
        match key_field(name, &prefix, &names, &value) {
            Ok(field) => {
                if found.insert(name.to_owned(), field).is_some() {
                    let error = Error::config(OF0231, format!("'key.fields' names {name} twice"));
                    reader.findings.errors.push(error.at(&value.place));
                }
            }
            Err(error) => reader.findings.errors.push(error),
        }
    }
    if found.is_empty() {
        reader.findings.errors.push(wrong_value("key.fields", &value, "names of columns: a;b"));
        return None;
    }
    Some(found)
}

fn key_field(name: &str, prefix: &str, names: &[&str], value: &Value) -> Result<String, Error> {
    if !names.contains(&name) {
        return Err(Error::config(OF0217, format!("'key.fields' names {name}, which is no physical column"))
            .at(&value.place)
            .help(suggest::help(name, "physical columns", names.iter().copied())));
    }
    match name.strip_prefix(prefix) {
        Some(field) if !field.is_empty() => Ok(field.to_owned()),
        _ => Err(Error::config(OF0231, format!("the key's column {name} does not begin with '{prefix}'"))
            .at(&value.place)
            .note("'key.fields-prefix' stands before the names of all key columns")),
    }
}

/// A format with its options, each under the first of the prefixes that has it.
fn format(
    reader: &mut Reader<'_>,
    value: &Value,
    prefixes: &[&str],
    fields: &[Wanted],
    skip: &mut bool,
) -> Option<Format> {
    let name = value.text.trim().to_ascii_lowercase();
    match name.as_str() {
        "json" => json(&mut Prefixed { reader, prefixes, name: "json" }, skip),
        "csv" => csv(&mut Prefixed { reader, prefixes, name: "csv" }, fields, skip),
        "raw" => raw(&mut Prefixed { reader, prefixes, name: "raw" }, value, fields),
        _ => {
            reader.findings.errors.push(unknown(&name, value));
            None
        }
    }
}

fn unknown(name: &str, value: &Value) -> Error {
    if super::known::OTHER_FORMATS.contains(&name) {
        return Error::config(OF0229, format!("the format '{name}' is not available yet"))
            .at(&value.place)
            .help(format!("formats: {}", NAMES.join(", ")));
    }
    Error::config(OF0229, format!("there is no format '{name}'")).at(&value.place).help(suggest::help(
        name,
        "formats",
        NAMES.iter().copied(),
    ))
}

/// Options of a format under one of some prefixes.
struct Prefixed<'r, 'a> {
    reader: &'r mut Reader<'a>,
    prefixes: &'r [&'r str],
    name: &'static str,
}

impl Prefixed<'_, '_> {
    /// The option's whole name: with the first prefix under which it stands.
    fn key(&self, option: &str) -> String {
        let full = |prefix: &&str| format!("{prefix}{}.{option}", self.name);
        let found = self.prefixes.iter().map(full).find(|key| self.reader.has(key));
        found.unwrap_or_else(|| format!("{}{}.{option}", self.prefixes.last().unwrap_or(&""), self.name))
    }

    fn boolean(&mut self, option: &str) -> bool {
        let key = self.key(option);
        self.reader.boolean(&key, false)
    }

    fn value(&mut self, option: &str) -> Option<Value> {
        let key = self.key(option);
        self.reader.value(&key)
    }

    fn character(&mut self, option: &str) -> Option<u8> {
        let key = self.key(option);
        self.reader.parsed(&key, "one ASCII character", super::value::character)
    }

    fn findings(&mut self) -> &mut Findings {
        self.reader.findings
    }
}

fn json(options: &mut Prefixed<'_, '_>, skip: &mut bool) -> Option<Format> {
    let fail_on_missing_field = options.boolean("fail-on-missing-field");
    let ignore = options.boolean("ignore-parse-errors");
    *skip |= ignore;
    let key = options.key("timestamp-format.standard");
    let words = [("SQL", TimestampFormat::Sql), ("ISO-8601", TimestampFormat::Iso8601)];
    let timestamp_format = options.reader.word(&key, &words).unwrap_or_default();
    if fail_on_missing_field && ignore {
        let place = options.value("fail-on-missing-field").map(|value| value.place);
        let place = place.unwrap_or_else(|| options.reader.table.place.clone());
        let message = "'fail-on-missing-field' and 'ignore-parse-errors' cannot both be true";
        options.reader.contradiction(message, &place, "set one of them to false, as Flink asks");
        return None;
    }
    Some(Format::Json(JsonOptions { fail_on_missing_field, timestamp_format }))
}

fn csv(options: &mut Prefixed<'_, '_>, fields: &[Wanted], skip: &mut bool) -> Option<Format> {
    *skip |= options.boolean("ignore-parse-errors");
    let disabled = options.boolean("disable-quote-character");
    let quote = options.character("quote-character");
    if disabled && quote.is_some() {
        let place = options.value("quote-character").map(|value| value.place);
        let place = place.unwrap_or_else(|| options.reader.table.place.clone());
        let message = "'csv.quote-character' and 'csv.disable-quote-character' contradict each other";
        options.reader.contradiction(message, &place, "remove one of them");
        return None;
    }
    let header = header(options);
    let format = CsvOptions {
        field_delimiter: options.character("field-delimiter").unwrap_or(b','),
        quote: if disabled { None } else { Some(quote.unwrap_or(b'"')) },
        escape: options.character("escape-character"),
        allow_comments: options.boolean("allow-comments"),
        null_literal: options.value("null-literal").map(|value| value.text),
        array_element_delimiter: options
            .value("array-element-delimiter")
            .map_or_else(|| ";".to_owned(), |value| value.text),
        header: header.unwrap_or_default(),
        fields: fields.iter().map(|(name, _)| name.clone()).collect(),
    };
    let delimiter = Some(format.field_delimiter);
    let breaks = |byte: Option<u8>| byte.is_some_and(|byte| matches!(byte, b'\r' | b'\n'));
    if format.array_element_delimiter.is_empty()
        || delimiter == format.quote
        || delimiter == format.escape
        || [delimiter, format.quote, format.escape].into_iter().any(breaks)
    {
        let place = options.reader.table.place.clone();
        let error = Error::config(OF0226, "the characters of 'csv' contradict each other").at(&place);
        let note = "delimiters are not empty; quote and escape are other characters; none is a line break";
        options.findings().errors.push(error.note(note));
        return None;
    }
    header.map(|_| Format::Csv(format))
}

/// What the first line of a file is. Messages of Kafka have none.
fn header(options: &mut Prefixed<'_, '_>) -> Option<CsvHeader> {
    let (names, ignored) = (options.boolean("header"), options.boolean("ignore-first-line"));
    let option = if names { "header" } else { "ignore-first-line" };
    let of_files = options.prefixes.len() == 1 && options.prefixes[0].is_empty();
    let wrong = match (names, ignored) {
        (false, false) => return Some(CsvHeader::Record),
        (true, true) => Some(("'csv.header' and 'csv.ignore-first-line' contradict each other", "remove one of them")),
        _ if !of_files => Some(("a message has no first line", "remove it; a header is the first line of a file")),
        _ => None,
    };
    let Some((message, help)) = wrong else {
        return Some(if names { CsvHeader::Names } else { CsvHeader::Ignored });
    };
    let key = options.key(option);
    let table = options.reader.table;
    let place = table.options.get(&key).map_or(&table.place, |value| &value.key_place).clone();
    options.reader.contradiction(message, &place, help);
    None
}

fn raw(options: &mut Prefixed<'_, '_>, value: &Value, fields: &[Wanted]) -> Option<Format> {
    let charset = options.key("charset");
    options.reader.word(&charset, &[("UTF-8", ()), ("UTF8", ())]);
    let endianness = options.key("endianness");
    let big_endian =
        options.reader.word(&endianness, &[("big-endian", true), ("little-endian", false)]).unwrap_or(true);
    let [(name, data_type)] = fields else {
        let error = Error::config(OF0230, format!("'raw' gives one column, and the declaration has {}", fields.len()));
        let error = error.at(&value.place).help("declare one physical column, such as line STRING");
        options.findings().errors.push(error);
        return None;
    };
    if !raw_can_give(data_type) {
        let error = Error::config(OF0230, format!("'raw' cannot give the type of {name}")).at(&value.place);
        let error = error.note("it gives STRING, BYTES, BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT and DOUBLE");
        options.findings().errors.push(error);
        return None;
    }
    Some(Format::Raw(RawOptions { big_endian }))
}

fn raw_can_give(data_type: &DataType) -> bool {
    use DataType::{Binary, Boolean, Float32, Float64, Int8, Int16, Int32, Int64, Utf8};
    matches!(data_type, Utf8 | Binary | Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64)
}
