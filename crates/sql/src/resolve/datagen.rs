//! `'connector' = 'datagen'`: which rows are made.

use crate::model::{ColumnDecl, Value};
use crate::options::format::physical;
use crate::options::{Reader, value, wrong_value};
use crate::suggest;
use onceflow::codes::{OF0217, OF0223, OF0224, OF0226};
use onceflow::source::SourceFactory;
use onceflow::source::datagen::{DatagenFactory, DatagenSpec, Field, Kind, RandomOptions};
use onceflow::{Error, Place};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Flink's `rows-per-second`.
const ROWS_PER_SECOND: u64 = 10_000;

/// The options of one column, by what follows `fields.<column>.`.
type FieldOptions = BTreeMap<String, Value>;

const SEQUENCE: &[&str] = &["kind", "start", "end"];
const RANDOM: &[&str] = &["kind", "min", "max", "length", "max-past", "null-rate", "var-len"];

/// The source, or errors.
pub(super) fn factory(reader: &mut Reader<'_>) -> Option<Arc<dyn SourceFactory>> {
    let errors = reader.findings.errors.len();
    let positive = |text: &str| value::number(text).filter(|number| *number > 0);
    let rows_per_second = reader.parsed("rows-per-second", "a whole number from 1 on", positive);
    let number_of_rows = reader.number("number-of-rows");
    let seed = reader.number("seed").unwrap_or(0);
    let options = field_options(reader);
    let none = FieldOptions::new();
    let table = reader.table;
    let fields: Vec<Field> = physical(table)
        .into_iter()
        .filter_map(|column| field(reader, column, options.get(&column.name).unwrap_or(&none)))
        .collect();
    if reader.findings.errors.len() > errors {
        return None;
    }
    let rows_per_second = rows_per_second.unwrap_or(ROWS_PER_SECOND);
    let spec = DatagenSpec { name: Arc::clone(&table.name), rows_per_second, number_of_rows, seed, fields };
    match DatagenFactory::new(spec) {
        Ok(factory) => Some(Arc::new(factory)),
        Err(error) => {
            let place = blamed(reader, &error, &options);
            reader.findings.errors.push(error.at(&place));
            None
        }
    }
}

/// The column that the engine's error names, or the table.
fn blamed(reader: &Reader<'_>, error: &Error, options: &BTreeMap<String, FieldOptions>) -> Place {
    let message = error.message();
    for (column, options) in options {
        let option = options.iter().find(|(option, _)| message.contains(&format!("'fields.{column}.{option}'")));
        if let Some((_, value)) = option {
            return value.place.clone();
        }
    }
    let column = physical(reader.table).into_iter().find(|column| message.contains(&format!("`{}`", column.name)));
    column.map_or_else(|| reader.table.place.clone(), |column| column.place.clone())
}

fn field_options(reader: &mut Reader<'_>) -> BTreeMap<String, FieldOptions> {
    let names: Vec<&str> = physical(reader.table).iter().map(|column| column.name.as_str()).collect();
    let mut fields: BTreeMap<String, FieldOptions> = BTreeMap::new();
    for (key, value) in reader.prefixed("fields.") {
        let (column, option) = key.rsplit_once('.').unwrap_or((&key, ""));
        if !SEQUENCE.contains(&option) && !RANDOM.contains(&option) {
            let all = SEQUENCE.iter().chain(RANDOM.iter().skip(1)).copied();
            let error = Error::config(OF0223, format!("'datagen' has no option 'fields.{key}'")).at(&value.key_place);
            reader.findings.errors.push(error.help(suggest::help(option, "options of a field", all)));
        } else if !names.contains(&column) {
            let error = Error::config(OF0217, format!("'fields.{key}' names {column}, which is no physical column"));
            let help = suggest::help(column, "physical columns", names.iter().copied());
            reader.findings.errors.push(error.at(&value.key_place).help(help));
        } else {
            fields.entry(column.to_owned()).or_default().insert(option.to_owned(), value);
        }
    }
    fields
}

fn field(reader: &mut Reader<'_>, column: &ColumnDecl, options: &FieldOptions) -> Option<Field> {
    let name = column.name.clone();
    let data_type = column.declared.as_ref()?.data_type.clone();
    let kind = format!("fields.{name}.kind");
    let sequence = reader.word(&kind, &[("sequence", true), ("random", false)]).unwrap_or(false);
    let (fits, other) = if sequence { (SEQUENCE, "random") } else { (RANDOM, "sequence") };
    for (option, value) in options.iter().filter(|(option, _)| !fits.contains(&option.as_str())) {
        let error = Error::config(OF0226, format!("'fields.{name}.{option}' belongs to '{kind}' = '{other}'"));
        reader.findings.errors.push(error.at(&value.key_place));
    }
    let kind = if sequence { sequence_of(reader, column)? } else { Kind::Random(random(reader, &name, options)) };
    Some(Field { name, data_type, kind })
}

fn sequence_of(reader: &mut Reader<'_>, column: &ColumnDecl) -> Option<Kind> {
    let mut bound = |option: &str| {
        let key = format!("fields.{}.{option}", column.name);
        if !reader.has(&key) {
            let error = Error::config(OF0224, format!("a sequence needs '{key}'")).at(&column.place);
            reader.findings.errors.push(error.help(format!("add '{key}' = '1' to WITH (…)")));
        }
        reader.parsed(&key, "a whole number", value::signed)
    };
    let (start, end) = (bound("start"), bound("end"));
    Some(Kind::Sequence { start: start?, end: end? })
}

fn random(reader: &mut Reader<'_>, name: &str, options: &FieldOptions) -> RandomOptions {
    let text = |option: &str| options.get(option).map(|value| value.text.trim().to_owned());
    let key = |option: &str| format!("fields.{name}.{option}");
    let length = reader.number(&key("length")).and_then(|length| usize::try_from(length).ok());
    let past = reader.duration(&key("max-past"));
    RandomOptions {
        min: text("min"),
        max: text("max"),
        length,
        var_len: reader.boolean(&key("var-len"), false),
        null_rate: null_rate(reader, options.get("null-rate"), &key("null-rate")),
        max_past_millis: past.map(|past| u64::try_from(past.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn null_rate(reader: &mut Reader<'_>, value: Option<&Value>, key: &str) -> f64 {
    let Some(value) = value else { return 0.0 };
    match value.text.trim().parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => rate,
        _ => {
            reader.findings.errors.push(wrong_value(key, value, "a number from 0 to 1"));
            0.0
        }
    }
}
