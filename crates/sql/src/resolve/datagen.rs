//! `'connector' = 'datagen'`: which rows are made.

use crate::model::Value;
use crate::options::format::physical;
use crate::options::Reader;
use crate::suggest;
use onceflow::Error;
use onceflow::codes::OF0217;
use onceflow::source::SourceFactory;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the text says of the rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub per_second: Option<u64>,
    pub number: Option<u64>,
    pub seed: u64,
    /// Options by column, by what follows `fields.<column>.`.
    pub fields: BTreeMap<String, BTreeMap<String, Value>>,
}

const FIELD_OPTIONS: &[&str] =
    &["kind", "start", "end", "min", "max", "length", "max-past", "null-rate", "var-len"];

/// The source, or errors.
pub(super) fn factory(reader: &mut Reader<'_>) -> Option<Arc<dyn SourceFactory>> {
    let errors = reader.findings.errors.len();
    let rows = Rows {
        per_second: positive(reader, "rows-per-second"),
        number: reader.number("number-of-rows"),
        seed: reader.number("seed").unwrap_or(0),
        fields: fields(reader),
    };
    if reader.findings.errors.len() > errors {
        return None;
    }
    super::connect::datagen(reader, rows)
}

fn positive(reader: &mut Reader<'_>, key: &str) -> Option<u64> {
    let read = |text: &str| crate::options::value::number(text).filter(|number| *number > 0);
    reader.parsed(key, "a whole number from 1 on", read)
}

fn fields(reader: &mut Reader<'_>) -> BTreeMap<String, BTreeMap<String, Value>> {
    let names: Vec<String> = physical(reader.table).iter().map(|column| column.name.clone()).collect();
    let mut fields: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for (key, value) in reader.prefixed("fields.") {
        let Some((column, option)) = key.rsplit_once('.') else {
            reader.findings.errors.push(wrong_key(&key, &value));
            continue;
        };
        if !FIELD_OPTIONS.contains(&option) {
            reader.findings.errors.push(wrong_key(&key, &value).help(suggest::help(
                option,
                "options of a field",
                FIELD_OPTIONS.iter().copied(),
            )));
        }
        // Options of a collection's elements are named `column.element.option`.
        let top = column.split('.').next().unwrap_or(column);
        if !names.iter().any(|name| name == column || name == top) {
            let error = Error::config(OF0217, format!("'fields.{key}' names {column}, which is no physical column"));
            let help = suggest::help(column, "physical columns", names.iter().map(String::as_str));
            reader.findings.errors.push(error.at(&value.key_place).help(help));
        }
        fields.entry(column.to_owned()).or_default().insert(option.to_owned(), value);
    }
    fields
}

fn wrong_key(key: &str, value: &Value) -> Error {
    Error::config(onceflow::codes::OF0223, format!("'datagen' has no option 'fields.{key}'")).at(&value.key_place)
}
