//! The statements that write rows, as text.
//!
//! Columns of a source are called `c0`, `c1`, … whatever the table calls them. `t` is the table, `EXCLUDED` what comes.

use super::catalog::Relation;
use super::check::find;
use super::key;
use super::names::{list, qualified, quoted};
use super::types::Target;
use crate::changes::{MergeOp, TableSpec, WriteMode};

/// What all statements of one table are made from.
pub(super) struct Text<'a> {
    pub spec: &'a TableSpec,
    pub relation: &'a Relation,
    pub targets: &'a [Target],
    /// The session's temporary table for this target.
    pub stage: String,
}

impl Text<'_> {
    fn table(&self) -> String {
        qualified(&self.relation.schema, &self.relation.table)
    }

    fn columns(&self) -> String {
        list(self.spec.columns.iter().map(|column| column.name.as_str()))
    }

    /// COPY straight into the table.
    pub fn copy(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.table(), self.columns())
    }

    /// One row with a parameter a column.
    pub fn insert_row(&self) -> String {
        let value = |(at, target): (usize, &Target)| format!("${}::{}", at + 1, target.carrier);
        let values: Vec<String> = self.targets.iter().enumerate().map(value).collect();
        if self.merges_checked() {
            return self.merge_from(&format!("(VALUES ({})) AS s({})", values.join(", "), names(values.len())));
        }
        let values: Vec<String> =
            self.targets.iter().zip(&values).map(|(target, value)| target.expression(value)).collect();
        format!("{} VALUES ({}){}", self.insert(), values.join(", "), self.conflict())
    }

    /// Rows with an array a column.
    pub fn insert_unnest(&self) -> String {
        let all: Vec<usize> = (0..self.targets.len()).collect();
        self.insert_from(&format!("{} AS s({})", self.unnest(&all), names(all.len())))
    }

    /// Rows out of the temporary table.
    pub fn insert_stage(&self) -> String {
        self.insert_from(&format!("{} AS s", self.stage))
    }

    fn insert_from(&self, from: &str) -> String {
        if self.merges_checked() {
            return self.merge_from(from);
        }
        let all: Vec<usize> = (0..self.targets.len()).collect();
        format!("{} SELECT {} FROM {from}{}", self.insert(), self.values("s", &all), self.conflict())
    }

    /// Whether what comes may be refused where what it makes of the row that is there would not be. `ON CONFLICT` checks a row as if
    /// it were new before it looks for a conflict, so that −5 never reaches a balance that must not be negative.
    fn merges_checked(&self) -> bool {
        matches!(self.spec.mode, WriteMode::Merge(_))
            && self.relation.checks
            && !self.sets(|_, _| String::new()).is_empty()
    }

    /// Merges into the rows that are there, and inserts the others. The rows are locked in the order in which they come, which is that
    /// of their keys; a row that another session inserts meanwhile is a conflict.
    fn merge_from(&self, from: &str) -> String {
        let all: Vec<usize> = (0..self.targets.len()).collect();
        let value = |at: &usize| format!("{} AS c{at}", self.targets[*at].expression(&format!("s.c{at}")));
        let values: Vec<String> = all.iter().map(value).collect();
        let key = |at: &usize| format!("t.{} = s.c{at}", quoted(&self.spec.columns[*at].name));
        let same = self.spec.key.iter().map(key).collect::<Vec<_>>().join(" AND ");
        let order = self.spec.key.iter().map(|at| format!("s.c{at}")).collect::<Vec<_>>().join(", ");
        let done = self.spec.key.iter().map(|at| format!("m.c{at} = s.c{at}")).collect::<Vec<_>>().join(" AND ");
        format!(
            "WITH s AS MATERIALIZED (SELECT {} FROM {from}), \
             l AS MATERIALIZED (SELECT s.* FROM s JOIN {table} AS t ON {same} ORDER BY {order} FOR NO KEY UPDATE OF t), \
             m AS (UPDATE {table} AS t SET {} FROM l AS s WHERE {same} RETURNING s.*) \
             {} SELECT {} FROM s WHERE NOT EXISTS (SELECT FROM m WHERE {done}){}",
            values.join(", "),
            self.merges(|at| format!("s.c{at}")).join(", "),
            self.insert(),
            all.iter().map(|at| format!("s.c{at}")).collect::<Vec<_>>().join(", "),
            self.conflict(),
            table = self.table(),
        )
    }

    /// The temporary table, anew.
    pub fn create_stage(&self) -> String {
        let columns: Vec<String> =
            self.targets.iter().enumerate().map(|(at, target)| format!("c{at} {}", target.carrier)).collect();
        let name = self.stage.strip_prefix("pg_temp.").unwrap_or(&self.stage);
        // What a transaction has put there is gone at its end, without a trace in the catalog, which TRUNCATE would leave.
        format!(
            "DROP TABLE IF EXISTS {}; CREATE TEMPORARY TABLE {name} ({}) ON COMMIT DELETE ROWS",
            self.stage,
            columns.join(", ")
        )
    }

    /// COPY into the temporary table.
    pub fn copy_stage(&self) -> String {
        let columns: Vec<String> = (0..self.targets.len()).map(|at| format!("c{at}")).collect();
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.stage, columns.join(", "))
    }

    /// The row with a key, a parameter a column of the key.
    pub fn delete_row(&self) -> String {
        let same = |(number, at): (usize, &usize)| {
            let target = &self.targets[*at];
            let value = target.expression(&format!("${}::{}", number + 1, target.carrier));
            format!("t.{} = {value}", quoted(&self.spec.columns[*at].name))
        };
        let key: Vec<String> = self.spec.key.iter().enumerate().map(same).collect();
        format!("DELETE FROM {} AS t WHERE {}", self.table(), key.join(" AND "))
    }

    /// Rows with keys, an array a column of the key.
    pub fn delete_unnest(&self) -> String {
        let same = |(number, at): (usize, &usize)| {
            let value = self.targets[*at].expression(&format!("u.c{number}"));
            format!("t.{} = {value}", quoted(&self.spec.columns[*at].name))
        };
        let key: Vec<String> = self.spec.key.iter().enumerate().map(same).collect();
        let (from, columns) = (self.unnest(&self.spec.key), names(self.spec.key.len()));
        format!("DELETE FROM {} AS t USING {from} AS u({columns}) WHERE {}", self.table(), key.join(" AND "))
    }

    /// For each key the number (from 1) of the first key that the server holds equal.
    pub fn first_equal(&self) -> String {
        let part = |(number, at): (usize, &usize)| {
            let name = &self.spec.columns[*at].name;
            let collation = find(self.relation, name).and_then(|column| column.loose_collation.as_ref());
            let collate = collation.map(|collation| format!(" COLLATE {collation}")).unwrap_or_default();
            format!("{}{collate}", self.targets[*at].expression(&format!("u.c{number}")))
        };
        let key: Vec<String> = self.spec.key.iter().enumerate().map(part).collect();
        let (from, columns) = (self.unnest(&self.spec.key), names(self.spec.key.len()));
        format!(
            "SELECT min(u.n) OVER (PARTITION BY {}) FROM {from} WITH ORDINALITY AS u({columns}, n) ORDER BY u.n",
            key.join(", ")
        )
    }

    fn insert(&self) -> String {
        format!("INSERT INTO {} AS t ({})", self.table(), self.columns())
    }

    fn values(&self, source: &str, columns: &[usize]) -> String {
        let value = |(number, at): (usize, &usize)| self.targets[*at].expression(&format!("{source}.c{number}"));
        columns.iter().enumerate().map(value).collect::<Vec<_>>().join(", ")
    }

    fn unnest(&self, columns: &[usize]) -> String {
        let array = |(number, at): (usize, &usize)| format!("${}::{}[]", number + 1, self.targets[*at].carrier);
        format!("unnest({})", columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", "))
    }

    fn conflict(&self) -> String {
        let sets = match &self.spec.mode {
            WriteMode::Append | WriteMode::Statement { .. } => return String::new(),
            WriteMode::InsertIgnore => return " ON CONFLICT DO NOTHING".to_owned(),
            WriteMode::Upsert => self.sets(|_, name| format!("{name} = EXCLUDED.{name}")),
            WriteMode::Merge(_) => self.merges(|at| format!("EXCLUDED.{}", quoted(&self.spec.columns[at].name))),
        };
        let key = list(self.spec.key.iter().map(|at| self.spec.columns[*at].name.as_str()));
        match sets.is_empty() {
            true => format!(" ON CONFLICT ({key}) DO NOTHING"),
            false => format!(" ON CONFLICT ({key}) DO UPDATE SET {}", sets.join(", ")),
        }
    }

    fn sets(&self, set: impl Fn(usize, &str) -> String) -> Vec<String> {
        let others = (0..self.spec.columns.len()).filter(|at| !self.spec.key.contains(at));
        others.map(|at| set(at, &quoted(&self.spec.columns[at].name))).collect()
    }

    /// The merged columns, where `comes` is what comes for a column.
    fn merges(&self, comes: impl Fn(usize) -> String) -> Vec<String> {
        let WriteMode::Merge(ops) = &self.spec.mode else { return Vec::new() };
        self.sets(|at, name| {
            let op = ops.get(at).copied().flatten().unwrap_or(MergeOp::Last);
            format!("{name} = {}", self.merged(op, at, &format!("t.{name}"), &comes(at)))
        })
    }

    /// What is there with what comes. A NULL on either side counts as nothing, as in SQL's aggregates; `last` and `first` take
    /// what comes and what is there, be it NULL.
    fn merged(&self, op: MergeOp, at: usize, old: &str, new: &str) -> String {
        let pg_type = find(self.relation, &self.spec.columns[at].name).map(|column| &column.pg_type);
        let is_bool = pg_type.is_some_and(|pg_type| pg_type.receive == "boolrecv");
        // The smaller of two texts is the one with the smaller bytes, whatever the column's collation.
        let collate = if pg_type.is_some_and(key::is_text) { " COLLATE \"C\"" } else { "" };
        let both = |operator: &str| format!("COALESCE({old} {operator} {new}, {old}, {new})");
        match op {
            MergeOp::Sum => both("+"),
            MergeOp::Or => both(if is_bool { "OR" } else { "|" }),
            MergeOp::And => both(if is_bool { "AND" } else { "&" }),
            MergeOp::Min => format!("LEAST({old}{collate}, {new}{collate})"),
            MergeOp::Max => format!("GREATEST({old}{collate}, {new}{collate})"),
            MergeOp::Last => new.to_owned(),
            MergeOp::First => old.to_owned(),
        }
    }
}

fn names(count: usize) -> String {
    (0..count).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ")
}
