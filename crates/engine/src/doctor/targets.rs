//! Cause 1: what a target table does to rows, judged from facts that every database has.

use super::check::{Ask, Check, ask};
use crate::changes::{TableSpec, WriteMode};

/// A unique index on a target.
#[derive(Clone, Debug)]
pub(super) struct Unique {
    /// Its name.
    pub(super) name: String,
    /// Its columns.
    pub(super) columns: Vec<String>,
    /// Whether it covers every row, at once: not partial, not over an expression, valid, not deferred.
    pub(super) whole: bool,
}

/// A trigger on a target.
#[derive(Clone, Debug)]
pub(super) struct Trigger {
    /// Its name.
    pub(super) name: String,
    /// Why it can do something that a rollback does not undo, or that drops rows without an error.
    pub(super) outside: Option<&'static str>,
    /// The statement that takes it away.
    pub(super) drop: String,
}

fn mode(table: &TableSpec) -> &'static str {
    match table.mode {
        WriteMode::Append => "append",
        WriteMode::Upsert => "upsert",
        WriteMode::Merge(_) => "merge",
        WriteMode::InsertIgnore => "insert-ignore",
        WriteMode::Statement { .. } => "statement",
    }
}

fn key(table: &TableSpec) -> Vec<String> {
    table.key.iter().map(|index| table.columns[*index].name.clone()).collect()
}

fn same(a: &[String], b: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        names.sort_unstable();
        names
    };
    sorted(a) == sorted(b)
}

/// Whether the declared key is unique in the database, and what else is.
pub(super) fn uniques(table: &TableSpec, found: &[Unique], how: &str) -> Vec<Check> {
    let key = key(table);
    let mut checks = Vec::new();
    if !key.is_empty() && table.mode.is_keyed() {
        checks.push(key_unique(ask(1, "key-unique", table.target(), how), table, &key, found));
    }
    checks.push(others(ask(1, "other-unique-keys", table.target(), how), table, &key, found));
    checks
}

fn key_unique(ask: Ask, table: &TableSpec, key: &[String], found: &[Unique]) -> Check {
    let columns = key.join(", ");
    if let Some(unique) = found.iter().find(|unique| unique.whole && same(&unique.columns, key)) {
        let why = "a row that comes again meets the row that is there, it never stands beside it";
        return ask.ok(format!("{} on ({columns}) is unique", unique.name), why);
    }
    ask.broken(
        format!("no unique index covers exactly ({columns})"),
        format!("yes: {} does not find the row that is there", mode(table)),
        format!("CREATE UNIQUE INDEX ON {} ({columns});", table.target()),
        "with a unique key the database itself decides which row is meant",
    )
}

fn others(ask: Ask, table: &TableSpec, key: &[String], found: &[Unique]) -> Check {
    let other: Vec<&Unique> = found.iter().filter(|unique| key.is_empty() || !same(&unique.columns, key)).collect();
    if other.is_empty() {
        return ask.ok("no other unique key", "no row can be refused for anything but the declared key");
    }
    let names: Vec<String> =
        other.iter().map(|unique| format!("{} ({})", unique.name, unique.columns.join(", "))).collect();
    let seen = format!("also unique: {}", names.join("; "));
    match table.mode {
        WriteMode::InsertIgnore if key.is_empty() => {
            ask.ok(seen, "without a declared key insert-ignore goes by whatever is unique in the table")
        }
        WriteMode::InsertIgnore => ask.warning(
            seen,
            "yes: a row with a new key is left out without an error where it meets another row there",
            "SELECT … the rows that share these columns; then drop the index, or leave 'write.mode' out (upsert)",
            "then only the declared key decides what is left out",
        ),
        WriteMode::Append if key.is_empty() => {
            ask.ok(seen, "a row that meets another becomes a dead letter in the same transaction; it is not lost")
        }
        _ => ask.warning(
            seen,
            "no record is lost, but a row with a new key that meets another there becomes a dead letter",
            "onceflow dead-letters list FILE",
            "what was refused stands there with its reason and can be replayed once the rows are mended",
        ),
    }
}

/// What triggers on a target may do.
pub(super) fn triggers(table: &TableSpec, found: &[Trigger], how: &str) -> Check {
    let ask = ask(1, "triggers", table.target(), how);
    if found.is_empty() {
        return ask.ok("no trigger", "what the pipeline writes is what stands in the table");
    }
    let names: Vec<&str> = found.iter().map(|trigger| trigger.name.as_str()).collect();
    let names = names.join(", ");
    let drop: Vec<&str> = found.iter().map(|trigger| trigger.drop.as_str()).collect();
    match found.iter().find_map(|trigger| Some((&trigger.name, trigger.outside?))) {
        Some((name, why)) => ask.broken(
            format!("triggers: {names}; {name} {why}"),
            "yes: what it does is not undone when the epoch is rolled back and written again, or rows vanish in it",
            drop.join(" "),
            "without it, all effects of a row are in the transaction of the ledger",
        ),
        None => ask.warning(
            format!("triggers: {names}"),
            "its work in this database commits with the row, so once; but it may change the row, and an audit then finds it changed",
            drop.join(" "),
            "then what stands in the table is what the pipeline wrote; keep the trigger if it only writes elsewhere in this database",
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Status;
    use super::*;
    use crate::changes::{ColumnSpec, OnError};
    use crate::error::Place;

    fn table(mode: WriteMode, keyed: bool) -> TableSpec {
        let place = Place { file: "p.sql".into(), line: 1, column: 1, length: 1 };
        let column = ColumnSpec {
            name: "id".to_owned(),
            data_type: arrow_schema::DataType::Int64,
            nullable: false,
            declared: "BIGINT".to_owned(),
            place: place.clone(),
        };
        TableSpec {
            name: "t".into(),
            schema: None,
            table: "t".to_owned(),
            columns: vec![column],
            key: if keyed { vec![0] } else { Vec::new() },
            mode,
            on_error: OnError::default(),
            place,
        }
    }

    fn unique(column: &str, whole: bool) -> Unique {
        Unique { name: format!("u_{column}"), columns: vec![column.to_owned()], whole }
    }

    #[test]
    fn a_key_that_is_not_unique_is_broken() {
        let spec = table(WriteMode::Upsert, true);
        assert_eq!(uniques(&spec, &[], "q")[0].status, Status::Broken);
        assert_eq!(uniques(&spec, &[unique("id", false)], "q")[0].status, Status::Broken, "a partial index");
        assert_eq!(uniques(&spec, &[unique("ID", true)], "q")[0].status, Status::Ok);
    }

    #[test]
    fn another_unique_key_is_a_warning_where_it_can_refuse_a_row() {
        for mode in [WriteMode::Upsert, WriteMode::InsertIgnore] {
            let spec = table(mode, true);
            let found = [unique("id", true), unique("email", true)];
            assert_eq!(uniques(&spec, &found, "q")[1].status, Status::Warning);
            assert_eq!(uniques(&spec, &found[..1], "q")[1].status, Status::Ok);
        }
    }

    #[test]
    fn a_trigger_that_reaches_outside_is_broken() {
        let spec = table(WriteMode::Append, false);
        let trigger = |outside| Trigger { name: "tr".to_owned(), outside, drop: "DROP TRIGGER tr;".to_owned() };
        assert_eq!(triggers(&spec, &[trigger(Some("calls dblink"))], "q").status, Status::Broken);
        assert_eq!(triggers(&spec, &[trigger(None)], "q").status, Status::Warning);
        assert_eq!(triggers(&spec, &[], "q").status, Status::Ok);
    }
}
