//! Target tables as they really are, and what stands between them and their declarations.
//!
//! SQLite stores a value by its column's affinity, so a column fits where what is stored comes back as it was.

use super::value::Form;
use crate::changes::{ColumnSpec, TableSpec, WriteMode};
use crate::codes;
use crate::error::Error;
use arrow_schema::DataType;
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::BTreeSet;

/// How SQLite treats values of a column (its documentation, *Datatypes In SQLite*, §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Affinity {
    /// Text that looks like a number becomes one; a number stays.
    Integer,
    /// As `Integer`, and numbers become floating-point.
    Real,
    /// As `Integer`; digits beyond the fifteenth may be lost.
    Numeric,
    /// Numbers become text.
    Text,
    /// Everything stays as it is.
    None,
}

impl Affinity {
    /// The affinity of a declared type.
    pub(super) fn of(declared: &str, strict: bool) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if strict && declared == "ANY" || declared.is_empty() {
            Self::None
        } else if has("INT") {
            Self::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if has("BLOB") {
            Self::None
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}

/// A column of a real table.
#[derive(Clone, Debug)]
pub(super) struct RealColumn {
    name: String,
    declared: String,
    not_null: bool,
    default: bool,
    key: u32,
    generated: bool,
    pub(super) affinity: Affinity,
}

/// A unique index or primary key.
#[derive(Clone, Debug)]
struct RealKey {
    columns: BTreeSet<String>,
    binary: bool,
}

/// A real table.
#[derive(Clone, Debug)]
pub(super) struct RealTable {
    kind: String,
    strict: bool,
    rowid: bool,
    pub(super) columns: Vec<RealColumn>,
    keys: Vec<RealKey>,
}

impl RealTable {
    /// Reads a table's form; `None` where there is no such table.
    pub(super) fn read(connection: &Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
        let found = connection
            .query_row(sql, [name], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, bool>(2)?))
            })
            .optional()?;
        let Some((kind, without_rowid, strict)) = found else { return Ok(None) };
        let columns = read_columns(connection, name, strict)?;
        let keys = read_keys(connection, name, &columns)?;
        Ok(Some(Self { kind, strict, rowid: !without_rowid, columns, keys }))
    }

    /// A column by its name; SQLite compares names without regard to ASCII case.
    pub(super) fn column(&self, name: &str) -> Option<&RealColumn> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether the key over these columns compares text byte by byte, as Onceflow does when it compacts.
    pub(super) fn compares_bytes(&self, key: &BTreeSet<String>) -> bool {
        self.keys.iter().filter(|real| real.columns == *key).all(|real| real.binary)
    }

    /// Whether SQLite fills the column by itself: the alias of the row number.
    fn is_row_number(&self, column: &RealColumn) -> bool {
        let keys = self.columns.iter().filter(|column| column.key > 0).count();
        self.rowid && column.key > 0 && keys == 1 && column.declared.eq_ignore_ascii_case("INTEGER")
    }
}

fn read_columns(connection: &Connection, name: &str, strict: bool) -> rusqlite::Result<Vec<RealColumn>> {
    let sql = "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1, 'main')";
    let mut statement = connection.prepare(sql)?;
    let columns = statement.query_map([name], |row| {
        let declared: String = row.get(1)?;
        Ok(RealColumn {
            name: row.get(0)?,
            affinity: Affinity::of(&declared, strict),
            declared,
            not_null: row.get(2)?,
            default: row.get(3)?,
            key: row.get(4)?,
            generated: row.get::<_, i64>(5)? >= 2,
        })
    })?;
    columns.collect()
}

/// The primary key and every unique index over whole columns and all rows.
fn read_keys(connection: &Connection, name: &str, columns: &[RealColumn]) -> rusqlite::Result<Vec<RealKey>> {
    let sql = "SELECT name FROM pragma_index_list(?1, 'main') WHERE \"unique\" AND NOT partial";
    let mut statement = connection.prepare(sql)?;
    let indices: Vec<String> = statement.query_map([name], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut keys = Vec::new();
    for index in indices {
        let sql = "SELECT name, coll FROM pragma_index_xinfo(?1, 'main') WHERE key";
        let mut statement = connection.prepare(sql)?;
        let parts =
            statement.query_map([&index], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?)))?;
        let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        let binary = parts.iter().all(|(_, collation)| collation.eq_ignore_ascii_case("BINARY"));
        let names: Option<BTreeSet<String>> =
            parts.into_iter().map(|(name, _)| name.map(|name| name.to_ascii_lowercase())).collect();
        keys.extend(names.map(|columns| RealKey { columns, binary }));
    }
    let primary: BTreeSet<String> =
        columns.iter().filter(|column| column.key > 0).map(|column| column.name.to_ascii_lowercase()).collect();
    if !primary.is_empty() && !keys.iter().any(|key| key.columns == primary) {
        // The alias of the row number has no index of its own.
        keys.push(RealKey { columns: primary, binary: true });
    }
    Ok(keys)
}

pub(super) use crate::changes::quoted;

/// Names as SQL text, separated by commas.
pub(super) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// The names of the declared key's columns in lower case.
pub(super) fn key_names(table: &TableSpec) -> BTreeSet<String> {
    table.key.iter().map(|index| table.columns[*index].name.to_ascii_lowercase()).collect()
}

/// What is wrong with a declaration whatever the table is like.
pub(super) fn check_declaration(table: &TableSpec) -> Vec<Error> {
    let mut findings = Vec::new();
    let name = &table.table;
    if let Some(schema) = table.schema.as_ref().filter(|schema| !schema.eq_ignore_ascii_case("main")) {
        let message =
            format!("table '{schema}.{name}' is in schema '{schema}', and SQLite commits only 'main' atomically");
        findings.push(Error::config(codes::OF0812, message).at(&table.place).help(format!("'table-name' = '{name}'")));
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("sqlite_") || lower.starts_with("onceflow_") {
        let message = format!("'{name}' cannot be a target: names with this prefix belong to SQLite and to the ledger");
        findings.push(Error::config(codes::OF0812, message).at(&table.place));
    }
    for column in &table.columns {
        if Form::of(&column.data_type, &column.declared).is_none() {
            let message =
                format!("column '{}' of '{name}' has type {}, which SQLite cannot hold", column.name, column.declared);
            findings
                .push(Error::config(codes::OF0818, message).at(&column.place).help("CAST(… AS STRING) in the query"));
        }
    }
    findings
}

/// Compares a declaration with the real table. Every difference is a finding of its own.
pub(super) fn compare(table: &TableSpec, real: &RealTable) -> Vec<Error> {
    if real.kind != "table" {
        let message = format!("'{}' is a {}, not a table", table.table, real.kind);
        return vec![Error::config(codes::OF0812, message).at(&table.place)];
    }
    let mut findings: Vec<Error> =
        table.columns.iter().filter_map(|column| compare_column(table, column, real)).collect();
    findings.extend(compare_key(table, real));
    findings.extend(needs_value(table, real));
    findings
}

fn compare_column(table: &TableSpec, column: &ColumnSpec, real: &RealTable) -> Option<Error> {
    let name = &column.name;
    let Some(found) = real.column(name) else {
        let message = format!("table '{}' has no column '{name}'", table.table);
        let known: Vec<&str> = real.columns.iter().map(|column| column.name.as_str()).collect();
        let column_type = create_type(column, false);
        return Some(
            Error::config(codes::OF0813, message)
                .at(&column.place)
                .note(format!("it has: {}", known.join(", ")))
                .help(format!("ALTER TABLE {} ADD COLUMN {} {column_type};", quoted(&table.table), quoted(name))),
        );
    };
    if found.generated {
        let message = format!("column '{name}' of '{}' is generated by SQLite and takes no value", table.table);
        return Some(
            Error::config(codes::OF0817, message)
                .at(&column.place)
                .help(format!("take '{name}' out of the declaration")),
        );
    }
    let why = Form::of(&column.data_type, &column.declared)?.misfit(found.affinity, real.strict)?;
    let declared = if found.declared.is_empty() { "no type" } else { &found.declared };
    let message =
        format!("column '{name}' of '{}' is {} here and {declared} in the database", table.table, column.declared);
    let better = create_type(column, false);
    Some(
        Error::config(codes::OF0814, message)
            .at(&column.place)
            .note(why)
            .note(format!("a column of type {better} holds {} exactly", column.declared))
            .help(format!("declare {} {better} in a new table and copy, or CAST in the query", quoted(name))),
    )
}

fn compare_key(table: &TableSpec, real: &RealTable) -> Option<Error> {
    let key = key_names(table);
    if key.is_empty() || real.keys.iter().any(|found| found.columns == key) {
        return None;
    }
    let shown = quoted_list(table.key.iter().map(|index| table.columns[*index].name.as_str()));
    let target = quoted(&table.table);
    let index = quoted(&format!("{}_key", table.table));
    let message = format!("table '{}' has no unique index over exactly ({shown})", table.table);
    let have: Vec<String> =
        real.keys.iter().map(|key| format!("({})", quoted_list(key.columns.iter().map(String::as_str)))).collect();
    let note =
        if have.is_empty() { "it has no key at all".to_owned() } else { format!("its keys: {}", have.join(", ")) };
    let place = table.key.first().map_or(&table.place, |index| &table.columns[*index].place);
    Some(
        Error::config(codes::OF0815, message)
            .at(place)
            .note(note)
            .help(format!("CREATE UNIQUE INDEX {index} ON {target} ({shown});")),
    )
}

fn needs_value(table: &TableSpec, real: &RealTable) -> Vec<Error> {
    let missing = real.columns.iter().filter(|column| {
        let declared = table.columns.iter().any(|declared| declared.name.eq_ignore_ascii_case(&column.name));
        column.not_null && !column.default && !column.generated && !declared && !real.is_row_number(column)
    });
    let finding = |column: &RealColumn| {
        let name = &column.name;
        let message = format!("column '{name}' of '{}' is NOT NULL without a default and is not declared", table.table);
        Error::config(codes::OF0816, message)
            .at(&table.place)
            .help(format!("declare it: {name} {}, and select a value for it", column.declared))
    };
    missing.map(finding).collect()
}

/// The CREATE TABLE of a declaration, with a semicolon.
pub(super) fn create_table(table: &TableSpec) -> String {
    let row_number = matches!(table.key[..], [only] if is_integer(&table.columns[only].data_type));
    let mut parts: Vec<String> = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        let is_key = table.key.contains(&index);
        let kind = create_type(column, row_number && is_key);
        let not_null = if is_key || !column.nullable { " NOT NULL" } else { "" };
        parts.push(format!("  {} {kind}{not_null}", quoted(&column.name)));
    }
    if !row_number && !table.key.is_empty() {
        let key = quoted_list(table.key.iter().map(|index| table.columns[*index].name.as_str()));
        parts.push(format!("  PRIMARY KEY ({key})"));
    }
    format!("CREATE TABLE {} (\n{}\n);", quoted(&table.table), parts.join(",\n"))
}

fn create_type(column: &ColumnSpec, row_number: bool) -> String {
    if row_number {
        return "INTEGER PRIMARY KEY".to_owned();
    }
    Form::of(&column.data_type, &column.declared).map_or_else(|| "BLOB".to_owned(), |form| form.create_type())
}

fn is_integer(data_type: &DataType) -> bool {
    data_type.is_integer()
}

/// Whether a table needs to be compared at all: a statement's columns are its parameters.
pub(super) fn is_compared(table: &TableSpec) -> bool {
    !matches!(table.mode, WriteMode::Statement { .. })
}
