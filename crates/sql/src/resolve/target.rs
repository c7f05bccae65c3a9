//! Tables that are written.

use super::url::{Database, database, with_parameter};
use super::{Use, connector, mode};
use crate::model::{ColumnKind, ResolvedTarget, TableDecl};
use crate::options::{Findings, Reader, known};
use onceflow::Error;
use onceflow::changes::{ColumnSpec, OnError, TableSpec, WriteMode};
use onceflow::codes::{OF0216, OF0217, OF0218, OF0219, OF0221, OF0226, OF0227, OF0232};
use onceflow::home::HomeFactory;
use onceflow::secret::Secret;
use std::sync::Arc;

/// Resolves a table that is written; `None` where errors were found. `default` is what `SET 'on-error'` says; `home`
/// stands in for the declared home, for `preview`.
pub fn target(
    table: &TableDecl,
    default: Option<OnError>,
    home: Option<&Arc<dyn HomeFactory>>,
    findings: &mut Findings,
) -> Option<ResolvedTarget> {
    let errors = findings.errors.len();
    let name = connector(table, Use::Written, findings)?;
    let columns = columns(table, findings);
    let key = key(table, &columns);
    let mut reader = Reader::new(table, findings);
    let database = matches!(name, "jdbc" | "postgres" | "sqlite");
    if database {
        reader.rename(known::DATABASE_ALIASES);
    }
    let declared = match name {
        "print" => Some(super::connect::print().0),
        "blackhole" => Some(super::connect::blackhole().0),
        _ => open_database(&mut reader, name),
    };
    let mode = if database {
        mode::mode(&mut reader, &columns, &key)
    } else {
        Some(if key.is_empty() { WriteMode::Append } else { WriteMode::Upsert })
    };
    let (schema, name_in_database) =
        table_name(&mut reader, database, matches!(mode, Some(WriteMode::Statement { .. })));
    let on_error = reader.on_error().or(default).unwrap_or_default();
    let options = match name {
        "print" => known::PRINT,
        "blackhole" => known::BLACKHOLE,
        _ => known::DATABASE,
    };
    reader.finish(name, options);
    let schema = schema.or_else(|| declared.as_ref().and_then(|declared| declared.default_schema()));
    let home = home.cloned().or(declared);
    if findings.errors.len() > errors {
        return None;
    }
    let spec = TableSpec {
        name: Arc::clone(&table.name),
        schema,
        table: name_in_database?,
        columns,
        key,
        mode: mode?,
        on_error,
        place: table.place.clone(),
    };
    Some(ResolvedTarget { home: home?, spec })
}

/// The columns that are written: physical ones. Computed columns are left out, metadata is refused.
fn columns(table: &TableDecl, findings: &mut Findings) -> Vec<ColumnSpec> {
    let mut columns = Vec::new();
    for column in &table.columns {
        match (&column.kind, &column.declared) {
            (ColumnKind::Physical, Some(declared)) => columns.push(ColumnSpec {
                name: column.name.clone(),
                data_type: declared.data_type.clone(),
                nullable: declared.nullable,
                declared: declared.text.clone(),
                place: column.place.clone(),
            }),
            (ColumnKind::Metadata { is_virtual: false, key }, _) => {
                let error =
                    Error::config(OF0216, format!("the target {} cannot take the metadata '{key}'", table.name));
                findings.errors.push(
                    error
                        .at(&column.place)
                        .help("declare it as an ordinary column, or as METADATA … VIRTUAL to leave it out"),
                );
            }
            _ => {}
        }
    }
    if columns.is_empty() {
        let error = Error::config(OF0218, format!("the target {} has no physical column", table.name)).at(&table.place);
        findings.errors.push(error.help("declare the columns that are written"));
    }
    columns
}

fn key(table: &TableDecl, columns: &[ColumnSpec]) -> Vec<usize> {
    let index = |name: &str| columns.iter().position(|column| column.name == name);
    table.primary_key.iter().filter_map(|(name, _)| index(name)).collect()
}

fn open_database(reader: &mut Reader<'_>, connector: &str) -> Option<Arc<dyn HomeFactory>> {
    let url = reader.required("url", example(connector))?;
    let text = match ["sslmode", "sslrootcert"].iter().find(|name| reader.has(name)) {
        Some(_) => with_tls(reader, url.text.trim()),
        None => url.text.trim().to_owned(),
    };
    let username = reader.value("username");
    let password = reader.value("password");
    let kind = database(&text, connector);
    if matches!(kind, Database::Sqlite(_)) {
        refuse_login(reader);
    }
    let login =
        Login { username: username.map(|value| value.text), password: password.map(|value| Secret::new(value.text)) };
    match open(kind, connector, &login) {
        Ok((home, warnings)) => {
            for warning in warnings {
                reader.findings.warnings.push(Error::config(OF0227, warning).at(&url.place));
            }
            Some(home)
        }
        Err(error) => {
            reader.findings.errors.push(error.at(&url.place));
            None
        }
    }
}

/// TLS by libpq's names, as parameters of the URL.
fn with_tls(reader: &mut Reader<'_>, url: &str) -> String {
    let mut text = url.to_owned();
    for name in ["sslmode", "sslrootcert"] {
        if let Some(value) = reader.value(name) {
            text = with_parameter(&text, name, value.text.trim());
        }
    }
    text
}

fn refuse_login(reader: &mut Reader<'_>) {
    for name in ["username", "password", "sslmode", "sslrootcert"] {
        if let Some(value) = reader.value(name) {
            reader.contradiction(&format!("'{name}' has no meaning for SQLite"), &value.key_place, "remove it");
        }
    }
}

/// Who connects, beside what the URL says.
#[derive(Debug, Default)]
pub(super) struct Login {
    pub username: Option<String>,
    pub password: Option<Secret>,
}

fn example(connector: &str) -> &'static str {
    match connector {
        "sqlite" => "sqlite:path/to/file.db",
        "postgres" => "postgresql://user@localhost:5432/database",
        _ => "jdbc:postgresql://localhost:5432/database",
    }
}

/// The home, and what is to be said of its URL.
pub(super) type Opened = (Arc<dyn HomeFactory>, Vec<String>);

fn open(kind: Database, connector: &str, login: &Login) -> Result<Opened, Error> {
    match (kind, connector) {
        (Database::Postgres(text), "jdbc" | "postgres") => super::connect::postgres(&text, login),
        (Database::Sqlite(path), "jdbc" | "sqlite") => super::connect::sqlite(&path),
        (Database::Other(scheme), _) => {
            let error = Error::config(OF0221, format!("writing to '{scheme}' is not available yet"));
            Err(error.help("databases: PostgreSQL (jdbc:postgresql://…) and SQLite (jdbc:sqlite:…)"))
        }
        (Database::Unknown, _) => {
            let error = Error::config(OF0232, "the URL names no database that Onceflow knows");
            Err(error.help(format!("write it as {}", example(connector))))
        }
        (_, connector) => {
            let error = Error::config(OF0226, format!("the URL is not one of '{connector}'"));
            Err(error.help(format!("write it as {}, or 'connector' = 'jdbc'", example(connector))))
        }
    }
}

/// The home that a URL on the command line names.
pub fn home_from_url(url: &str) -> Result<Arc<dyn HomeFactory>, Error> {
    open(database(url, "jdbc"), "jdbc", &Login::default()).map(|(home, _)| home)
}

/// Schema and table. Databases need a name unless a statement says where rows go; others take the declared one.
fn table_name(reader: &mut Reader<'_>, database: bool, statement: bool) -> (Option<String>, Option<String>) {
    let own = Some(reader.table.name.to_string());
    if !database {
        return (None, own);
    }
    let Some(value) = reader.value("table-name") else {
        if statement {
            return (None, own);
        }
        let name = reader.table.name.to_string();
        reader.missing("table-name", &name);
        return (None, None);
    };
    match split_name(value.text.trim()).as_deref() {
        Some([table]) => (None, Some(table.clone())),
        Some([schema, table]) => (Some(schema.clone()), Some(table.clone())),
        Some(parts) if parts.len() > 2 => {
            let error = Error::config(OF0219, "'table-name' has more than a schema and a table").at(&value.place);
            let help =
                "the database is said by 'url'; a part that contains a dot is quoted: \"my.schema\".\"my.table\"";
            reader.findings.errors.push(error.help(help));
            (None, None)
        }
        _ => {
            let error = Error::config(OF0219, "'table-name' is not a table or schema.table").at(&value.place);
            reader.findings.errors.push(error.help("write 'table-name' = 'schema.table', odd parts in double quotes"));
            (None, None)
        }
    }
}

/// Splits `schema.table`; parts in double quotes may hold dots, and a quote inside is written twice.
fn split_name(text: &str) -> Option<Vec<String>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if part.is_empty() || part.contains('\0') {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

fn quoted_part(text: &str) -> Option<(String, &str)> {
    let (mut part, mut rest) = (String::new(), text);
    loop {
        let end = rest.find('"')?;
        part.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Some((part, rest)),
        }
    }
}

/// Whether the columns that an INSERT names can be written, each with its place.
pub fn check_columns(table: &TableDecl, columns: &[(String, onceflow::Place)], findings: &mut Findings) {
    for (name, place) in columns {
        match table.columns.iter().find(|column| column.name == *name).map(|column| &column.kind) {
            Some(ColumnKind::Physical) => {}
            Some(_) => {
                let error = Error::config(OF0218, format!("the column {name} of {} cannot be written", table.name));
                findings.errors.push(error.at(place).note("computed and metadata columns are not written"));
            }
            None => {
                let physical = crate::options::format::physical(table);
                let names = physical.iter().map(|column| column.name.as_str());
                let error = Error::config(OF0217, format!("the target {} has no column {name}", table.name)).at(place);
                findings.errors.push(error.help(crate::suggest::help(name, "columns", names)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_name;

    #[test]
    fn table_names_are_split_at_dots_outside_of_quotes() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let parts = split_name(text);
            let parts = parts.as_ref().map(|parts| parts.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(parts.as_deref(), expected, "{text}");
        };
        check("payments", Some(&["payments"]));
        check("Bank.Payments", Some(&["Bank", "Payments"]));
        check("\"a.b\".\"c\"\"d\"", Some(&["a.b", "c\"d"]));
        check("a.b.c", Some(&["a", "b", "c"]));
        for wrong in ["", ".", "a.", ".a", "\"a", "\"a\"b", "\"\""] {
            check(wrong, None);
        }
    }
}
