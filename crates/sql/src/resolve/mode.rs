//! What a row does to its table: append, upsert, merge, insert-ignore, or a statement of the user's own.

use crate::model::Value;
use crate::options::{Reader, wrong_value};
use crate::suggest;
use arrow_schema::DataType;
use onceflow::Error;
use onceflow::changes::{ColumnSpec, MergeOp, WriteMode};
use onceflow::codes::{OF0217, OF0240, OF0241, OF0242};
use std::collections::{BTreeMap, BTreeSet};

const OPS: &[(&str, MergeOp)] = &[
    ("sum", MergeOp::Sum),
    ("min", MergeOp::Min),
    ("max", MergeOp::Max),
    ("last", MergeOp::Last),
    ("first", MergeOp::First),
    ("or", MergeOp::Or),
    ("and", MergeOp::And),
];

/// The write mode of a table with these columns and this key; `None` where errors were found.
pub(super) fn mode(reader: &mut Reader<'_>, columns: &[ColumnSpec], key: &[usize]) -> Option<WriteMode> {
    let merges = reader.prefixed("merge.");
    let statement = reader.value("write.statement");
    let expect = reader.value("write.expect-rows");
    let ignore = insert_ignore(reader)?;
    let said = [!merges.is_empty(), statement.is_some(), ignore.is_some()].into_iter().filter(|said| *said).count();
    if said > 1 {
        let place =
            statement.as_ref().or(ignore.as_ref()).or(merges.values().next()).map(|value| value.key_place.clone());
        let error = Error::config(OF0240, "'merge.<column>', 'write.mode' and 'write.statement' exclude each other");
        reader.findings.errors.push(error.at(&place.unwrap_or_else(|| reader.table.place.clone())));
        return None;
    }
    if let (Some(expect), None) = (&expect, &statement) {
        let error = Error::config(OF0240, "'write.expect-rows' needs 'write.statement'").at(&expect.key_place);
        reader.findings.errors.push(error);
        return None;
    }
    if let Some(statement) = statement {
        return self_written(reader, &statement, expect.as_ref(), columns, key);
    }
    if ignore.is_some() {
        return Some(WriteMode::InsertIgnore);
    }
    if !merges.is_empty() {
        return merge(reader, &merges, columns, key);
    }
    Some(if key.is_empty() { WriteMode::Append } else { WriteMode::Upsert })
}

/// `write.mode`; the outer `None` is an error.
#[allow(clippy::option_option)] // Absent, present and wrong are three things.
fn insert_ignore(reader: &mut Reader<'_>) -> Option<Option<Value>> {
    let Some(value) = reader.value("write.mode") else { return Some(None) };
    if value.text.trim() == "insert-ignore" {
        return Some(Some(value));
    }
    let error = wrong_value("write.mode", &value, "insert-ignore");
    let error = match value.text.trim() {
        "append" => error.help("remove it: a table without PRIMARY KEY is appended to"),
        "upsert" => error.help("remove it: a table with PRIMARY KEY is upserted"),
        "merge" => error.help("remove it and write 'merge.<column>' = 'sum' for each column that is not in the key"),
        "statement" => error.help("remove it: 'write.statement' alone says so"),
        _ => error,
    };
    reader.findings.errors.push(error);
    None
}

fn merge(
    reader: &mut Reader<'_>,
    merges: &BTreeMap<String, Value>,
    columns: &[ColumnSpec],
    key: &[usize],
) -> Option<WriteMode> {
    let errors = reader.findings.errors.len();
    if key.is_empty() {
        let place =
            merges.values().next().map(|value| value.key_place.clone()).unwrap_or_else(|| reader.table.place.clone());
        let error = Error::config(OF0241, "'merge.<column>' needs a PRIMARY KEY").at(&place);
        reader.findings.errors.push(error.help("add PRIMARY KEY (…) NOT ENFORCED with the columns that name a row"));
        return None;
    }
    for (name, value) in merges {
        let found = columns.iter().position(|column| column.name == *name);
        if let Some(error) = wrong_column(name, value, found, columns, key) {
            reader.findings.errors.push(error);
        }
    }
    let mut ops = Vec::with_capacity(columns.len());
    for column in columns {
        let op =
            merges.contains_key(&column.name).then(|| reader.word(&format!("merge.{}", column.name), OPS)).flatten();
        if let Some(error) = op.and_then(|op| wrong_type(op, column, &merges[&column.name])) {
            reader.findings.errors.push(error);
        }
        ops.push(op);
    }
    refuse_silent(reader, merges, columns, key);
    (reader.findings.errors.len() == errors).then_some(WriteMode::Merge(ops))
}

fn wrong_column(
    name: &str,
    value: &Value,
    found: Option<usize>,
    columns: &[ColumnSpec],
    key: &[usize],
) -> Option<Error> {
    match found {
        None => {
            let names =
                columns.iter().enumerate().filter(|(at, _)| !key.contains(at)).map(|(_, column)| column.name.as_str());
            Some(
                Error::config(OF0217, format!("'merge.{name}' names no column of the table"))
                    .at(&value.key_place)
                    .help(suggest::help(name, "columns that are not in the key", names)),
            )
        }
        Some(at) if key.contains(&at) => Some(
            Error::config(OF0241, format!("{name} is in the primary key and cannot be merged"))
                .at(&value.key_place)
                .help(format!("remove 'merge.{name}'")),
        ),
        Some(_) => None,
    }
}

/// Every column that is not in the key needs an operation: nothing is overwritten by default beside additions.
fn refuse_silent(reader: &mut Reader<'_>, merges: &BTreeMap<String, Value>, columns: &[ColumnSpec], key: &[usize]) {
    let silent = |(at, column): &(usize, &ColumnSpec)| !key.contains(at) && !merges.contains_key(&column.name);
    let names: Vec<&str> = columns.iter().enumerate().filter(silent).map(|(_, column)| column.name.as_str()).collect();
    if names.is_empty() {
        return;
    }
    let options: Vec<String> = names.iter().map(|name| format!("'merge.{name}' = 'last'")).collect();
    let place = columns.iter().find(|column| column.name == names[0]).map(|column| column.place.clone());
    reader.findings.errors.push(
        Error::config(OF0241, format!("no 'merge.<column>' says what happens to {}", names.join(", ")))
            .at(&place.unwrap_or_else(|| reader.table.place.clone()))
            .help(format!("add {} (or sum, min, max, first, or, and)", options.join(", "))),
    );
}

fn wrong_type(op: MergeOp, column: &ColumnSpec, value: &Value) -> Option<Error> {
    use DataType::{Boolean, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, List, Map, Struct};
    let whole = matches!(column.data_type, Int8 | Int16 | Int32 | Int64);
    let fits = match op {
        MergeOp::Sum => whole || matches!(column.data_type, Float32 | Float64 | Decimal128(..)),
        MergeOp::Min | MergeOp::Max => !matches!(column.data_type, List(_) | Map(..) | Struct(_)),
        MergeOp::Or | MergeOp::And => whole || column.data_type == Boolean,
        MergeOp::Last | MergeOp::First => true,
    };
    let takes = match op {
        MergeOp::Sum => "numbers",
        MergeOp::Min | MergeOp::Max => "values that have an order",
        _ => "booleans and whole numbers",
    };
    (!fits).then(|| {
        let message = format!("'{}' takes {takes}, and {} is {}", value.text.trim(), column.name, column.declared);
        Error::config(OF0241, message).at(&value.place)
    })
}

fn self_written(
    reader: &mut Reader<'_>,
    statement: &Value,
    expect: Option<&Value>,
    columns: &[ColumnSpec],
    key: &[usize],
) -> Option<WriteMode> {
    let errors = reader.findings.errors.len();
    if !key.is_empty() {
        let error = Error::config(OF0240, "a table with 'write.statement' has no PRIMARY KEY").at(&statement.key_place);
        reader
            .findings
            .errors
            .push(error.note("the statement itself says which rows it touches").help("remove the PRIMARY KEY"));
    }
    let expect_rows = expect.and_then(|_| reader.number("write.expect-rows"));
    let used = parameters(&statement.text);
    if statement.text.trim().is_empty() {
        reader.findings.errors.push(wrong_value("write.statement", statement, "an SQL statement"));
        return None;
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    for unknown in used.iter().filter(|name| !names.contains(&name.as_str())) {
        let error =
            Error::config(OF0242, format!("the parameter :{unknown} is no column of the table")).at(&statement.place);
        reader.findings.errors.push(error.help(suggest::help(unknown, "columns", names.iter().copied())));
    }
    for column in columns.iter().filter(|column| !used.contains(&column.name)) {
        let error =
            Error::config(OF0242, format!("the statement does not use the column {}", column.name)).at(&column.place);
        let used: Vec<String> = used.iter().map(|name| format!(":{name}")).collect();
        let note =
            if used.is_empty() { "it has no parameters".to_owned() } else { format!("it uses {}", used.join(", ")) };
        reader
            .findings
            .errors
            .push(error.note(note).help(format!("write :{} into the statement, or remove the column", column.name)));
    }
    let mode = WriteMode::Statement { sql: statement.text.clone(), expect_rows, place: statement.place.clone() };
    (reader.findings.errors.len() == errors).then_some(mode)
}

/// The `:name`s of a statement, outside of its strings, quoted names, comments and casts.
fn parameters(sql: &str) -> BTreeSet<String> {
    let (mut found, mut at) = (BTreeSet::new(), 0);
    while at < sql.len() {
        let rest = &sql[at..];
        let length = if let Some(length) = quoted(rest) {
            length
        } else if let Some(casts) = rest.strip_prefix("::") {
            rest.len() - casts.len()
        } else if let Some(name) = rest.strip_prefix(':').map(name_at).filter(|name| !name.is_empty()) {
            found.insert(name.to_owned());
            name.len() + 1
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += length;
    }
    found
}

fn name_at(text: &str) -> &str {
    let end = text.find(|ch: char| !(ch.is_alphanumeric() || ch == '_')).unwrap_or(text.len());
    if text.starts_with(|ch: char| ch.is_numeric()) { "" } else { &text[..end] }
}

/// The length of a string, quoted name, comment or dollar-quoted text at the beginning.
fn quoted(text: &str) -> Option<usize> {
    let until = |open: usize, close: &str| text[open..].find(close).map_or(text.len(), |end| open + end + close.len());
    if text.starts_with("--") {
        return Some(until(2, "\n"));
    }
    if text.starts_with("/*") {
        return Some(until(2, "*/"));
    }
    if text.starts_with('\'') {
        return Some(until(1, "'"));
    }
    if text.starts_with('"') {
        return Some(until(1, "\""));
    }
    let tag = text.strip_prefix('$').and_then(|rest| rest.split_once('$')).map(|(tag, _)| tag)?;
    let is_tag =
        tag.chars().all(|ch| ch.is_alphanumeric() || ch == '_') && !tag.starts_with(|ch: char| ch.is_numeric());
    is_tag.then(|| until(tag.len() + 2, &format!("${tag}$")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_outside_of_strings_comments_and_casts() {
        let check = |sql: &str, expected: &[&str]| {
            assert_eq!(parameters(sql).iter().map(String::as_str).collect::<Vec<_>>(), expected, "{sql}");
        };
        check("UPDATE a SET b = b + :delta WHERE id = :account", &["account", "delta"]);
        check("SELECT ':no', \":no\", :yes::text -- :no\n, /* :no */ $$ :no $$ $t$ :no $t$", &["yes"]);
        check("SELECT 'it''s :no' || :Ja || :größe", &["Ja", "größe"]);
        check("SELECT a[1:2], b::int", &[]);
        check("SELECT ':unclosed", &[]);
        check("", &[]);
    }
}
