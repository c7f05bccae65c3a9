//! What is executed for each table: made from the declaration and the real table, and good until the schema changes.

use super::fault;
use super::location::Location;
use super::merge::Merged;
use super::target::{self, Affinity, RealTable, key_names, quoted, quoted_list};
use super::value::{DecimalAs, Form};
use crate::changes::{MergeOp, TableSpec, WriteMode};
use crate::codes;
use crate::error::{Error, Place, Result};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use std::sync::{Arc, Mutex, PoisonError};

/// How rows are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// One INSERT a row.
    Insert,
    /// One INSERT a row that may be left out.
    InsertIgnore,
    /// The last row of each key is inserted or replaces what is there.
    Upsert,
    /// What is there is read, combined, and written.
    Merge,
    /// The user's statement, once a row.
    Statement(Option<u64>),
}

/// What is executed for one table.
#[derive(Clone, Debug)]
pub(super) struct TablePlan {
    /// How.
    pub(super) way: Way,
    /// The statement that writes a row. Parameters are the columns in [`TablePlan::parameters`].
    pub(super) write: String,
    /// For each parameter of `write`, the index of its column.
    pub(super) parameters: Vec<usize>,
    /// Deletes the row of a key; the parameters are the key's columns.
    pub(super) delete: Option<String>,
    /// Reads all declared columns of the row of a key.
    pub(super) read: Option<String>,
    /// How decimals go into each column.
    pub(super) decimals: Vec<DecimalAs>,
    /// How each column is merged.
    pub(super) merged: Vec<Merged>,
    /// Whether rows of equal keys may be compacted and sorted: SQLite compares the key as Onceflow does.
    pub(super) compact: bool,
}

/// Makes the plan of a table. The statement of `write.statement` is checked; a compared table has to be there.
pub(super) fn plan(place: &Location, connection: &mut Connection, table: &TableSpec) -> Result<TablePlan> {
    if let WriteMode::Statement { sql, expect_rows, place: at } = &table.mode {
        let parameters = check_statement(connection, table, sql, at)?;
        let way = Way::Statement(*expect_rows);
        return Ok(TablePlan {
            way,
            write: sql.clone(),
            parameters,
            delete: None,
            read: None,
            decimals: vec![DecimalAs::Text; table.columns.len()],
            merged: Vec::new(),
            compact: false,
        });
    }
    let real =
        RealTable::read(connection, &table.table).map_err(|error| fault::error(place, "read the schema of", error))?;
    let real = real.ok_or_else(|| missing(place, table))?;
    if let Some(finding) = target::compare(table, &real).into_iter().next() {
        return Err(finding);
    }
    Ok(table_plan(table, &real))
}

/// The finding that a table is missing.
pub(super) fn missing(place: &Location, table: &TableSpec) -> Error {
    let message = format!("table '{}' is not in the database {}", table.table, place.path().display());
    Error::config(codes::OF0811, message)
        .at(&table.place)
        .help(target::create_table(table))
        .help("or let Onceflow create it: SET 'auto-create' = 'true';")
}

fn table_plan(table: &TableSpec, real: &RealTable) -> TablePlan {
    let decimal = |column: &crate::changes::ColumnSpec| {
        let affinity = real.column(&column.name).map_or(Affinity::None, |real| real.affinity);
        Form::of(&column.data_type, &column.declared).map_or(DecimalAs::Text, |form| DecimalAs::into(form, affinity))
    };
    let decimals: Vec<DecimalAs> = table.columns.iter().map(decimal).collect();
    let way = match &table.mode {
        WriteMode::Upsert => Way::Upsert,
        WriteMode::Merge(_) => Way::Merge,
        WriteMode::InsertIgnore => Way::InsertIgnore,
        WriteMode::Append | WriteMode::Statement { .. } => Way::Insert,
    };
    let floats = table.key.iter().any(|index| table.columns[*index].data_type.is_floating());
    TablePlan {
        write: insert(table, &way),
        parameters: (0..table.columns.len()).collect(),
        delete: (!table.key.is_empty())
            .then(|| format!("DELETE FROM {} WHERE {}", quoted(&table.table), by_key(table))),
        read: (way == Way::Merge).then(|| read(table)),
        merged: merged(table, &decimals),
        compact: !floats && real.compares_bytes(&key_names(table)),
        decimals,
        way,
    }
}

fn names(table: &TableSpec) -> impl Iterator<Item = &str> {
    table.columns.iter().map(|column| column.name.as_str())
}

fn key_list(table: &TableSpec) -> String {
    quoted_list(table.key.iter().map(|index| table.columns[*index].name.as_str()))
}

fn by_key(table: &TableSpec) -> String {
    let parts: Vec<String> =
        table.key.iter().map(|index| format!("{} = ?", quoted(&table.columns[*index].name))).collect();
    parts.join(" AND ")
}

fn read(table: &TableSpec) -> String {
    format!("SELECT {} FROM {} WHERE {}", quoted_list(names(table)), quoted(&table.table), by_key(table))
}

fn insert(table: &TableSpec, way: &Way) -> String {
    let marks = vec!["?"; table.columns.len()].join(", ");
    let insert = format!("INSERT INTO {} ({}) VALUES ({marks})", quoted(&table.table), quoted_list(names(table)));
    match way {
        Way::InsertIgnore => format!("{insert} ON CONFLICT DO NOTHING"),
        Way::Upsert | Way::Merge => {
            let others = (0..table.columns.len()).filter(|index| !table.key.contains(index));
            let mut set: Vec<String> = others.map(|index| quoted(&table.columns[index].name)).collect();
            if set.is_empty() {
                // Nothing but the key: writing it over itself counts as a row, as in every other upsert.
                set.extend(table.key.first().map(|index| quoted(&table.columns[*index].name)));
            }
            let set: Vec<String> = set.into_iter().map(|name| format!("{name} = excluded.{name}")).collect();
            format!("{insert} ON CONFLICT ({}) DO UPDATE SET {}", key_list(table), set.join(", "))
        }
        Way::Insert | Way::Statement(_) => insert,
    }
}

fn merged(table: &TableSpec, decimals: &[DecimalAs]) -> Vec<Merged> {
    let WriteMode::Merge(ops) = &table.mode else { return Vec::new() };
    let column = |index: usize, op: &Option<MergeOp>| {
        let spec = &table.columns[index];
        let form = Form::of(&spec.data_type, &spec.declared).unwrap_or(Form::Blob);
        Merged { op: *op, data_type: spec.data_type.clone(), form, decimal: decimals[index] }
    };
    ops.iter().enumerate().map(|(index, op)| column(index, op)).collect()
}

/// Refuses merges that have no meaning for their column's type.
pub(super) fn check_merge(table: &TableSpec) -> Vec<Error> {
    let WriteMode::Merge(ops) = &table.mode else { return Vec::new() };
    let wrong = ops.iter().enumerate().filter_map(|(index, op)| {
        let column = &table.columns[index];
        let (op, form) = ((*op)?, Form::of(&column.data_type, &column.declared)?);
        (!Merged::is_possible(op, form)).then_some((column, op))
    });
    let finding = |(column, op): (&crate::changes::ColumnSpec, MergeOp)| {
        let op = format!("{op:?}").to_lowercase();
        let message =
            format!("column '{}' of '{}' is {}, which has no '{op}'", column.name, table.table, column.declared);
        Error::config(codes::OF0822, message).at(&column.place).help(format!("'merge.{}' = 'last'", column.name))
    };
    wrong.map(finding).collect()
}

/// Checks a user's statement by preparing it under SQLite's authorizer; answers the column of each parameter.
pub(super) fn check_statement(
    connection: &mut Connection,
    table: &TableSpec,
    sql: &str,
    at: &Place,
) -> Result<Vec<usize>> {
    let refused = |why: String| {
        Error::config(codes::OF0819, format!("'write.statement' of '{}' cannot be used: {why}", table.name)).at(at)
    };
    let denied: Arc<Mutex<Option<String>>> = Arc::default();
    let notes = denied.clone();
    let judge = move |context: AuthContext<'_>| match forbidden(&context) {
        None => Authorization::Allow,
        Some(what) => {
            notes.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
            Authorization::Deny
        }
    };
    connection.authorizer(Some(judge)).map_err(|error| refused(error.to_string()))?;
    let answer = prepared(connection, table, sql);
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(|error| refused(error.to_string()))?;
    let what = denied.lock().unwrap_or_else(PoisonError::into_inner).take();
    match what {
        Some(what) => Err(refused(format!("it {what}"))),
        None => answer.map_err(refused),
    }
}

fn prepared(connection: &Connection, table: &TableSpec, sql: &str) -> Result<Vec<usize>, String> {
    let statement = connection.prepare(sql).map_err(|error| match error {
        rusqlite::Error::MultipleStatement => "it is more than one statement".to_owned(),
        rusqlite::Error::Empty => "it is empty".to_owned(),
        other => other.to_string(),
    })?;
    if statement.is_explain() != 0 || statement.readonly() {
        return Err("it changes nothing".to_owned());
    }
    if statement.column_count() > 0 {
        return Err("it returns rows; take RETURNING out".to_owned());
    }
    (1..=statement.parameter_count()).map(|index| parameter(table, statement.parameter_name(index), index)).collect()
}

fn parameter(table: &TableSpec, name: Option<&str>, index: usize) -> Result<usize, String> {
    let declared: Vec<&str> = names(table).collect();
    let Some(name) = name.and_then(|name| name.strip_prefix(':')) else {
        return Err(format!("parameter {index} is not written as `:name`, with the name of a declared column"));
    };
    declared.iter().position(|column| *column == name).ok_or_else(|| {
        let near = declared.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
        let near = near.map_or(String::new(), |near| format!("; did you mean `:{near}`?"));
        format!("parameter `:{name}` is not a declared column (they are: {}){near}", declared.join(", "))
    })
}

/// What a statement may not do, in words that follow "it".
fn forbidden(context: &AuthContext<'_>) -> Option<String> {
    let ledger = |table: &str| {
        let lower = table.to_ascii_lowercase();
        if ["sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"].contains(&lower.as_str()) {
            return Some("changes the schema".to_owned());
        }
        (lower.starts_with("onceflow_") || lower.starts_with("sqlite_")).then(|| format!("writes to '{table}'"))
    };
    match &context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => None,
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            Some("loads an extension".to_owned())
        }
        AuthAction::Function { .. } => None,
        AuthAction::Insert { table_name }
        | AuthAction::Delete { table_name }
        | AuthAction::Update { table_name, .. } => ledger(table_name),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            Some("begins or ends a transaction; rows and ledger commit together, by Onceflow".to_owned())
        }
        AuthAction::Pragma { pragma_name, .. } => Some(format!("sets PRAGMA {pragma_name}")),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some("attaches or detaches a database".to_owned()),
        _ => Some("changes the schema".to_owned()),
    }
}
