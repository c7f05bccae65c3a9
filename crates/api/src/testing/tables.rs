//! What stands in a test's database, and how it differs from what should stand there.

use crate::error::Result;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Rows of each table that a difference shows at most.
const SHOWN_MAX: usize = 10;

/// All rows of all tables, each with how often it is there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tables(BTreeMap<String, BTreeMap<String, usize>>);

impl Tables {
    /// Reads the user's tables, and the dead letters without their times.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let connection = Connection::open(file)?;
        let mut names = connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND name NOT LIKE 'onceflow\\_%' ESCAPE '\\' ORDER BY name",
        )?;
        let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let mut tables = Self::default();
        for name in names {
            let sql = format!("SELECT * FROM {}", onceflow_engine::changes::quoted(&name));
            tables.0.insert(name, rows(&connection, &sql)?);
        }
        let dead = "SELECT topic, \"partition\", \"offset\", code, reason FROM onceflow_dead_letter";
        // There is no ledger before the first run.
        tables.0.insert("dead letters".to_owned(), rows(&connection, dead).unwrap_or_default());
        let outbox = "SELECT channel, key, message, compensation FROM onceflow_outbox";
        tables.0.insert("outbox".to_owned(), rows(&connection, outbox).unwrap_or_default());
        Ok(tables)
    }

    /// What is missing and what is too many here, in words.
    pub(super) fn difference(&self, expected: &Self) -> Option<String> {
        let mut said = String::new();
        let empty = BTreeMap::new();
        for name in self.0.keys().chain(expected.0.keys().filter(|name| !self.0.contains_key(*name))) {
            let (found, wanted) = (self.0.get(name).unwrap_or(&empty), expected.0.get(name).unwrap_or(&empty));
            let missing = beyond(wanted, found);
            let extra = beyond(found, wanted);
            tell(&mut said, name, "missing", &missing);
            tell(&mut said, name, "too many", &extra);
        }
        (!said.is_empty()).then_some(said)
    }
}

/// What is in the first and not, or not so often, in the second.
fn beyond(first: &BTreeMap<String, usize>, second: &BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let more = |(row, count): (&String, &usize)| {
        let there = second.get(row).copied().unwrap_or(0);
        (*count > there).then(|| (row.clone(), count - there))
    };
    first.iter().filter_map(more).collect()
}

fn tell(said: &mut String, table: &str, what: &str, rows: &[(String, usize)]) {
    for (row, times) in rows.iter().take(SHOWN_MAX) {
        let times = if *times == 1 { String::new() } else { format!(" ({times} times)") };
        // Writing into a text cannot fail.
        let _ = writeln!(said, "  {table}: {what}{times}: {row}");
    }
    if rows.len() > SHOWN_MAX {
        let _ = writeln!(said, "  {table}: {what}: {} more rows", rows.len() - SHOWN_MAX);
    }
}

fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<String, usize>> {
    let mut statement = connection.prepare(sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut text = String::new();
        for (index, name) in names.iter().enumerate() {
            let value = match row.get_ref(index)? {
                ValueRef::Null => "NULL".to_owned(),
                ValueRef::Integer(value) => value.to_string(),
                ValueRef::Real(value) => value.to_string(),
                ValueRef::Text(value) => format!("'{}'", String::from_utf8_lossy(value)),
                ValueRef::Blob(value) => format!("{} bytes {value:02x?}", value.len()),
            };
            let _ = write!(text, "{}{name} = {value}", if index == 0 { "" } else { ", " });
        }
        *found.entry(text).or_insert(0) += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(rows: &[(&str, usize)]) -> Tables {
        let rows = rows.iter().map(|(row, count)| ((*row).to_owned(), *count)).collect();
        Tables(BTreeMap::from([("t".to_owned(), rows)]))
    }

    #[test]
    fn a_difference_names_the_rows() {
        let expected = tables(&[("a", 1), ("b", 2)]);
        assert_eq!(expected.difference(&expected), None);
        let said = tables(&[("b", 3), ("c", 1)]).difference(&expected).unwrap();
        assert_eq!(said, "  t: missing: a\n  t: too many: b\n  t: too many: c\n");
    }
}
