//! The declared key against the table's unique indexes, and merges against the types of their columns.

use super::catalog::{Index, Relation};
use super::check::find;
use super::names::{list, qualified};
use super::types::PgType;
use crate::changes::{MergeOp, TableSpec, WriteMode};
use crate::codes;
use crate::error::Error;
use std::collections::BTreeSet;

/// What is wrong with the key, and with what is merged.
pub(super) fn check(spec: &TableSpec, relation: &Relation) -> Vec<Error> {
    let mut findings = Vec::new();
    if let WriteMode::Merge(ops) = &spec.mode {
        findings.extend(ops.iter().enumerate().filter_map(|(at, op)| merge(spec, relation, at, (*op)?)));
    }
    let needs_key = matches!(spec.mode, WriteMode::Upsert | WriteMode::Merge(_));
    if !needs_key && spec.key.is_empty() {
        return findings;
    }
    let all_there = spec.columns.iter().all(|column| find(relation, &column.name).is_some());
    if all_there && !matches!(spec.mode, WriteMode::Append | WriteMode::Statement { .. }) {
        findings.extend(no_arbiter(spec, relation));
    }
    findings
}

fn names(spec: &TableSpec) -> BTreeSet<&str> {
    spec.key.iter().map(|at| spec.columns[*at].name.as_str()).collect()
}

fn covers(index: &Index, key: &BTreeSet<&str>) -> bool {
    index.columns.iter().map(String::as_str).collect::<BTreeSet<_>>() == *key
}

fn no_arbiter(spec: &TableSpec, relation: &Relation) -> Option<Error> {
    let key = names(spec);
    if relation.indexes.iter().any(|index| index.arbiter && covers(index, &key)) {
        return None;
    }
    let shown = key_text(spec);
    let table = qualified(&relation.schema, &relation.table);
    let columns = list(spec.key.iter().map(|at| spec.columns[*at].name.as_str()));
    let create = format!("CREATE UNIQUE INDEX ON {table} ({columns});");
    let near = relation.indexes.iter().find(|index| covers(index, &key));
    if let Some((index, defect)) = near.and_then(|index| Some((index, index.defect?))) {
        let message = format!("the unique index '{}' on ({shown}) of '{}' {defect}", index.name, spec.target());
        return Some(Error::config(codes::OF0733, message).at(&spec.place).help(create));
    }
    let primary = relation.indexes.iter().find(|index| index.primary);
    Some(match primary {
        None => {
            let message = format!("table '{}' has no unique key on ({shown})", spec.target());
            let add = format!("ALTER TABLE {table} ADD PRIMARY KEY ({columns});");
            Error::config(codes::OF0733, message).at(&spec.place).help(add).help(create)
        }
        Some(index) => {
            let real = index.columns.join(", ");
            let message = format!("the declared key is ({shown}), the primary key of '{}' is ({real})", spec.target());
            let error = Error::config(codes::OF0733, message).at(&spec.place);
            error.help(format!("declare PRIMARY KEY ({real}) NOT ENFORCED")).help(create)
        }
    })
}

fn key_text(spec: &TableSpec) -> String {
    spec.key.iter().map(|at| spec.columns[*at].name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Another unique index, on which a conflict is no update but a refusal.
pub(super) fn notices(spec: &TableSpec, relation: &Relation) -> Vec<String> {
    if !matches!(spec.mode, WriteMode::Upsert | WriteMode::Merge(_)) {
        return Vec::new();
    }
    let key = names(spec);
    let others = relation.indexes.iter().filter(|index| !covers(index, &key));
    let notice = |index: &Index| {
        format!(
            "table '{}' has another unique index '{}': a row that conflicts there, and not on ({}), is refused",
            spec.target(),
            index.name,
            key_text(spec)
        )
    };
    others.map(notice).collect()
}

fn merge(spec: &TableSpec, relation: &Relation, at: usize, op: MergeOp) -> Option<Error> {
    let column = &spec.columns[at];
    let found = find(relation, &column.name)?;
    if spec.key.contains(&at) || fits(op, &found.pg_type) {
        return None;
    }
    let name = format!("{op:?}").to_lowercase();
    let message = format!(
        "'merge.{}' = '{name}' does not go with {}, the column's type in '{}'",
        column.name,
        found.shown,
        spec.target()
    );
    let can: Vec<String> =
        [MergeOp::Sum, MergeOp::Min, MergeOp::Max, MergeOp::Last, MergeOp::First, MergeOp::Or, MergeOp::And]
            .into_iter()
            .filter(|op| fits(*op, &found.pg_type))
            .map(|op| format!("'{op:?}'").to_lowercase())
            .collect();
    Some(Error::config(codes::OF0739, message).at(&column.place).help(format!("use one of {}", can.join(", "))))
}

fn fits(op: MergeOp, to: &PgType) -> bool {
    let receive = to.receive.as_str();
    let whole = matches!(receive, "int2recv" | "int4recv" | "int8recv");
    let number = whole || matches!(receive, "float4recv" | "float8recv" | "numeric_recv");
    let ordered = number
        || is_text(to)
        || matches!(
            receive,
            "boolrecv" | "bytearecv" | "date_recv" | "time_recv" | "timestamp_recv" | "timestamptz_recv"
        );
    match op {
        MergeOp::Sum => number,
        MergeOp::Min | MergeOp::Max => ordered,
        MergeOp::Or | MergeOp::And => whole || receive == "boolrecv",
        MergeOp::Last | MergeOp::First => true,
    }
}

/// Texts that are compared by their bytes when the smaller or larger one is kept.
pub(super) fn is_text(to: &PgType) -> bool {
    matches!(to.receive.as_str(), "textrecv" | "varcharrecv")
}
