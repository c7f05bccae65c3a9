//! Compares declared tables with the real ones, before the first record.
//!
//! Owns the judgement: every finding names what is wrong and the statement that mends it, and all findings come in one error.

use super::catalog::{self, Column, Relation};
use super::names::{impossible, list, qualified, quoted};
use super::types::{self, Target};
use super::{key, statement};
use crate::changes::{ColumnSpec, TableSpec, WriteMode};
use crate::codes;
use crate::error::{Error, Result};
use crate::home::postgres::classify;
use arrow_schema::{DataType, TimeUnit};
use std::sync::Arc;
use tokio_postgres::Client;

/// What the server has for the declared tables.
#[derive(Clone, Debug, Default)]
pub(in crate::home::postgres) struct TableFindings {
    /// The tables that are there, statements aside.
    pub identities: Vec<TableIdentity>,
    /// The statements that create those that are missing, where that is wanted.
    pub to_create: Vec<String>,
    /// For each declared table whether it has rows; `false` for missing ones and for statements.
    pub has_rows: Vec<bool>,
    /// Things to tell the user.
    pub notices: Vec<String>,
}

/// A table that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::home::postgres) struct TableIdentity {
    /// Its name in the pipeline's text.
    pub name: Arc<str>,
    /// Its oid.
    pub oid: u32,
    /// Schema and table as found.
    pub target: String,
}

/// Compares all tables; every finding is in the one error.
pub(in crate::home::postgres) async fn check_tables(
    client: &Client,
    tables: &[TableSpec],
    auto_create: bool,
) -> Result<TableFindings> {
    let mut seen = TableFindings::default();
    let mut findings = Vec::new();
    let role = role(client).await?;
    for spec in tables {
        let judge = Judge { client, spec, role: &role, auto_create };
        let rows = judge.table(&mut seen, &mut findings).await?;
        seen.has_rows.push(rows);
    }
    match together(findings) {
        Some(error) => Err(error),
        None => Ok(seen),
    }
}

/// This session's role and database, for GRANTs.
pub(super) struct Role {
    pub name: String,
    pub database: String,
}

async fn role(client: &Client) -> Result<Role> {
    let row = client
        .query_one("SELECT current_user::text, current_database()::text", &[])
        .await
        .map_err(|error| classify(error, "look up the role"))?;
    Ok(Role { name: quoted(row.get(0)), database: quoted(row.get(1)) })
}

/// One error of many findings: the first one's, with the others as notes and their helps behind.
pub(super) fn together(findings: Vec<Error>) -> Option<Error> {
    let mut findings = findings.into_iter();
    let mut first = findings.next()?;
    for other in findings {
        let place = other.place().map(|place| format!("{place}: ")).unwrap_or_default();
        first = first.note(format!("{place}{} [{}]", other.message(), other.code()));
        for note in other.notes() {
            first = first.note(note.clone());
        }
        for help in other.helps() {
            first = first.help(help.clone());
        }
    }
    Some(first)
}

struct Judge<'a> {
    client: &'a Client,
    spec: &'a TableSpec,
    role: &'a Role,
    auto_create: bool,
}

impl Judge<'_> {
    async fn table(&self, seen: &mut TableFindings, findings: &mut Vec<Error>) -> Result<bool> {
        if let WriteMode::Statement { .. } = self.spec.mode {
            findings.extend(statement::check(self.client, self.spec).await?);
            return Ok(false);
        }
        let names = impossible_names(self.spec);
        if !names.is_empty() {
            findings.extend(names);
            return Ok(false);
        }
        let Some(relation) = catalog::relation(self.client, self.spec).await? else {
            match self.missing(findings).await? {
                Some(create) => seen.to_create.push(create),
                None => findings.push(self.no_table().await?),
            }
            return Ok(false);
        };
        let before = findings.len();
        findings.extend(self.relation(&relation).await?);
        if findings.len() > before {
            return Ok(false);
        }
        seen.notices.extend(notices(self.spec, &relation));
        let target = format!("{}.{}", relation.schema, relation.table);
        seen.identities.push(TableIdentity { name: self.spec.name.clone(), oid: relation.oid, target });
        catalog::has_rows(self.client, &relation).await
    }

    /// The statement that creates the table, where that is wanted and can be done.
    async fn missing(&self, findings: &mut Vec<Error>) -> Result<Option<String>> {
        if !self.auto_create {
            return Ok(None);
        }
        let row = self
            .client
            .query_one(
                "SELECT $1::text IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname::text = $1)",
                &[&self.spec.schema],
            )
            .await
            .map_err(|error| classify(error, "look up schemas"))?;
        if !row.get::<_, bool>(0) {
            let schema = self.spec.schema.clone().unwrap_or_default();
            let message = format!("schema '{schema}' of table '{}' does not exist", self.spec.target());
            let error = Error::config(codes::OF0730, message).at(&self.spec.place);
            findings.push(error.help(format!("CREATE SCHEMA {};", quoted(&schema))));
        }
        Ok(Some(create_table(self.spec)))
    }

    async fn no_table(&self) -> Result<Error> {
        let spec = self.spec;
        let mut error =
            Error::config(codes::OF0730, format!("table '{}' does not exist", spec.target())).at(&spec.place);
        if spec.schema.is_none() {
            for schema in catalog::elsewhere(self.client, &spec.table).await? {
                error = error.note(format!("there is a table '{schema}.{}' outside of the search path", spec.table));
            }
        }
        let tables = catalog::tables_of(self.client, spec.schema.as_deref()).await?;
        if let Some(like) = nearest(&spec.table, tables.iter().map(String::as_str)) {
            error = error.note(format!("did you mean '{like}'?"));
        }
        Ok(error.help(create_table(spec)).help("or SET 'auto-create' = 'true'; and Onceflow creates it"))
    }

    async fn relation(&self, relation: &Relation) -> Result<Vec<Error>> {
        if let Some(error) = self.no_target(relation) {
            return Ok(vec![error]);
        }
        let mut findings: Vec<Error> =
            self.spec.columns.iter().filter_map(|spec| self.column(spec, relation)).collect();
        findings.extend(self.undeclared(relation));
        findings.extend(key::check(self.spec, relation));
        findings.extend(self.privileges(relation));
        if findings.is_empty() && needs_staging(self.spec, relation) && !catalog::may_stage(self.client).await? {
            findings.push(self.no_staging());
        }
        Ok(findings)
    }

    /// What is no table, or none that takes part in this database's transactions.
    fn no_target(&self, relation: &Relation) -> Option<Error> {
        let why = match relation.kind {
            'r' | 'p' if relation.rules => {
                "has rules that rewrite INSERT, UPDATE or DELETE, which COPY does not follow and ON CONFLICT does not accept"
            }
            'r' | 'p' if relation.foreign_partition => {
                "has a partition on another server, which commits in a transaction of its own"
            }
            'r' | 'p' => return None,
            'v' | 'm' => "is a view; rows are written into tables",
            'f' => "is a foreign table: the other server commits in a transaction of its own",
            _ => "is no table",
        };
        let message = format!("'{}' {why}", self.spec.target());
        let error = Error::config(codes::OF0736, message).at(&self.spec.place);
        Some(match relation.rules {
            true => error.help("replace the rules by triggers, or write with 'write.statement'"),
            false => error.help("name a table of this database in 'table-name', or write with 'write.statement'"),
        })
    }

    fn column(&self, spec: &ColumnSpec, relation: &Relation) -> Option<Error> {
        let name = qualified(&relation.schema, &relation.table);
        let Some(column) = find(relation, &spec.name) else {
            let message = format!("table '{}' has no column '{}'", self.spec.target(), spec.name);
            let error = Error::config(codes::OF0731, message).at(&spec.place);
            let like = nearest(&spec.name, relation.columns.iter().map(|column| column.name.as_str()));
            let error = match like {
                Some(like) => error.note(format!("did you mean '{like}'?")),
                None => error,
            };
            let created = types::created(&spec.data_type, &spec.declared);
            return Some(error.help(format!("ALTER TABLE {name} ADD COLUMN {} {created};", quoted(&spec.name))));
        };
        if column.generated || column.identity == Some('a') {
            return Some(self.computed(spec, column, &name));
        }
        match types::target(&spec.data_type, &column.pg_type) {
            None => Some(self.incompatible(spec, column, &name)),
            Some(_) => None,
        }
    }

    fn computed(&self, spec: &ColumnSpec, column: &Column, name: &str) -> Error {
        let what = if column.generated { "a generated column" } else { "GENERATED ALWAYS AS IDENTITY" };
        let message = format!("column '{}' of '{}' is {what} and cannot be written", spec.name, self.spec.target());
        let error = Error::config(codes::OF0735, message).at(&spec.place).help("leave it out of the declaration");
        match column.generated {
            true => error,
            false => {
                error.help(format!("ALTER TABLE {name} ALTER COLUMN {} SET GENERATED BY DEFAULT;", quoted(&spec.name)))
            }
        }
    }

    fn incompatible(&self, spec: &ColumnSpec, column: &Column, name: &str) -> Error {
        let message = format!(
            "column '{}' is declared {} and is {} in '{}'",
            spec.name,
            spec.declared,
            column.shown,
            self.spec.target()
        );
        let mut error = Error::config(codes::OF0732, message).at(&spec.place);
        if let Some(why) = why_incompatible(&spec.data_type, &column.pg_type.receive) {
            error = error.note(why);
        }
        if let Some(declared) = types::declared_as(&column.pg_type).filter(|declared| *declared != spec.declared) {
            error = error.help(format!("declare it as {} {declared}", quoted_backtick(&spec.name)));
        }
        let created = types::created(&spec.data_type, &spec.declared);
        error.help(format!("ALTER TABLE {name} ALTER COLUMN {} TYPE {created};", quoted(&spec.name)))
    }

    /// Columns that must have a value and get none.
    fn undeclared(&self, relation: &Relation) -> Vec<Error> {
        let name = qualified(&relation.schema, &relation.table);
        let declared = |column: &&Column| self.spec.columns.iter().any(|spec| spec.name == column.name);
        let others = relation.columns.iter().filter(|column| !declared(column) && !column.generated);
        others.filter_map(|column| self.without_value(column, &name)).collect()
    }

    fn without_value(&self, column: &Column, name: &str) -> Option<Error> {
        let own = quoted(&column.name);
        if let Some(sequence) = &column.closed_sequence {
            let message = format!(
                "the default of column '{}' of '{}' needs a sequence that this role may not use",
                column.name,
                self.spec.target()
            );
            let error = Error::config(codes::OF0737, message).at(&self.spec.place);
            return Some(error.help(format!("GRANT USAGE ON SEQUENCE {sequence} TO {};", self.role.name)));
        }
        if !column.not_null || column.has_default {
            return None;
        }
        let message = format!(
            "column '{}' of '{}' is NOT NULL without a default and is not declared",
            column.name,
            self.spec.target()
        );
        let error = Error::config(codes::OF0734, message).at(&self.spec.place);
        let error = match types::declared_as(&column.pg_type) {
            Some(declared) => error.help(format!("declare it: {} {declared}", quoted_backtick(&column.name))),
            None => error,
        };
        let default = format!("ALTER TABLE {name} ALTER COLUMN {own} SET DEFAULT …;");
        Some(error.help(default).help(format!("ALTER TABLE {name} ALTER COLUMN {own} DROP NOT NULL;")))
    }

    fn privileges(&self, relation: &Relation) -> Vec<Error> {
        let name = qualified(&relation.schema, &relation.table);
        if !relation.usage {
            let message = format!("role {} may not use schema '{}'", self.role.name, relation.schema);
            let grant = format!("GRANT USAGE ON SCHEMA {} TO {};", quoted(&relation.schema), self.role.name);
            return vec![Error::config(codes::OF0737, message).at(&self.spec.place).help(grant)];
        }
        let missing = missing_rights(self.spec, relation);
        if missing.is_empty() {
            return Vec::new();
        }
        let rights = missing.join(", ");
        let message = format!("role {} lacks {rights} on table '{}'", self.role.name, self.spec.target());
        let grant = format!("GRANT {rights} ON {name} TO {};", self.role.name);
        vec![Error::config(codes::OF0737, message).at(&self.spec.place).help(grant)]
    }

    fn no_staging(&self) -> Error {
        let message = format!(
            "table '{}' has array columns and a key, which takes a temporary table, and role {} may not create one",
            self.spec.target(),
            self.role.name
        );
        let grant = format!("GRANT TEMPORARY ON DATABASE {} TO {};", self.role.database, self.role.name);
        Error::config(codes::OF0737, message).at(&self.spec.place).help(grant)
    }
}

/// The column of a name.
pub(super) fn find<'a>(relation: &'a Relation, name: &str) -> Option<&'a Column> {
    relation.columns.iter().find(|column| column.name == name)
}

/// How the declared columns reach the real ones; the first finding where the table is not as it was.
pub(super) fn targets(spec: &TableSpec, relation: &Relation) -> Result<Vec<Target>> {
    let changed = |name: &str| {
        let message = format!("column '{name}' of '{}' is not as it was at the start", spec.target());
        Error::config(codes::OF0712, message)
            .help("start the pipeline again: it compares every declaration with its table")
    };
    let of = |column: &ColumnSpec| {
        let found = find(relation, &column.name).ok_or_else(|| changed(&column.name))?;
        let mut target = types::target(&column.data_type, &found.pg_type).ok_or_else(|| changed(&column.name))?;
        target.loose |= found.loose_collation.is_some();
        Ok(target)
    };
    spec.columns.iter().map(of).collect()
}

/// Whether writing takes a temporary table whatever the number of rows: `unnest` takes arrays apart.
pub(super) fn needs_staging(spec: &TableSpec, relation: &Relation) -> bool {
    let arrays = targets(spec, relation).is_ok_and(|targets| targets.iter().any(Target::is_array));
    arrays && (!matches!(spec.mode, WriteMode::Append) || relation.row_security)
}

fn impossible_names(spec: &TableSpec) -> Vec<Error> {
    let mut findings = Vec::new();
    let mut look = |name: &str, place| {
        if let Some(why) = impossible(name) {
            let message = format!("'{}' cannot be a name: {why}", name.replace('\0', "\\0"));
            findings.push(Error::config(codes::OF0738, message).at(place));
        }
    };
    spec.schema.iter().for_each(|schema| look(schema, &spec.place));
    look(&spec.table, &spec.place);
    spec.columns.iter().for_each(|column| look(&column.name, &column.place));
    findings
}

fn missing_rights(spec: &TableSpec, relation: &Relation) -> Vec<&'static str> {
    let columns =
        || spec.columns.iter().enumerate().filter_map(|(at, column)| Some((at, find(relation, &column.name)?)));
    let keyed = matches!(spec.mode, WriteMode::Upsert | WriteMode::Merge(_));
    let merged = matches!(spec.mode, WriteMode::Merge(_));
    let mut missing = Vec::new();
    if keyed && !columns().all(|(at, column)| column.select || !(merged || spec.key.contains(&at))) {
        missing.push("SELECT");
    }
    if !relation.insert && !columns().all(|(_, column)| column.insert) {
        missing.push("INSERT");
    }
    if keyed && !relation.update && !columns().all(|(at, column)| column.update || spec.key.contains(&at)) {
        missing.push("UPDATE");
    }
    missing
}

/// A reason that is not plain from the two names.
fn why_incompatible(declared: &DataType, receive: &str) -> Option<&'static str> {
    let why = match (declared, receive) {
        (
            DataType::Timestamp(TimeUnit::Nanosecond | TimeUnit::Microsecond | TimeUnit::Millisecond, None),
            "timestamptz_recv",
        ) => "a TIMESTAMP is no instant without a time zone, and Onceflow does not guess one",
        (DataType::Timestamp(_, Some(_)), "timestamp_recv") => {
            "a TIMESTAMP_LTZ is an instant; without its zone it would be read as local time by others"
        }
        (DataType::Float64, "float4recv") => "a DOUBLE loses digits in real",
        (DataType::Float32 | DataType::Float64, "numeric_recv") => {
            "a binary fraction has no exact decimal of this size"
        }
        (DataType::Int64 | DataType::Int32 | DataType::Decimal128(..), "float4recv" | "float8recv") => {
            "large numbers would lose digits"
        }
        (DataType::List(_), "array_recv") => "the elements do not fit, or are arrays themselves",
        _ => return None,
    };
    Some(why)
}

fn notices(spec: &TableSpec, relation: &Relation) -> Vec<String> {
    let target = spec.target();
    let mut notices = Vec::new();
    if relation.row_security {
        notices.push(format!(
            "row-level security applies to this role on '{target}': rows go in by INSERT instead of COPY, and a row that a \
             policy refuses is handled as 'on-error' says"
        ));
    }
    if relation.persistence == 'u' {
        notices.push(format!(
            "table '{target}' is UNLOGGED: PostgreSQL empties it after a crash, while the ledger keeps its positions; \
             ALTER TABLE {} SET LOGGED; makes it durable",
            qualified(&relation.schema, &relation.table)
        ));
    }
    notices.extend(key::notices(spec, relation));
    notices
}

/// CREATE TABLE for a declaration.
pub(super) fn create_table(spec: &TableSpec) -> String {
    let name = spec.schema.as_ref().map_or_else(|| quoted(&spec.table), |schema| qualified(schema, &spec.table));
    let mut lines: Vec<String> = Vec::new();
    for (at, column) in spec.columns.iter().enumerate() {
        let not_null = if column.nullable && !spec.key.contains(&at) { "" } else { " NOT NULL" };
        let created = types::created(&column.data_type, &column.declared);
        lines.push(format!("  {} {created}{not_null}", quoted(&column.name)));
    }
    if !spec.key.is_empty() {
        let key = spec.key.iter().map(|at| spec.columns[*at].name.as_str());
        lines.push(format!("  PRIMARY KEY ({})", list(key)));
    }
    format!("CREATE TABLE {name} (\n{}\n);", lines.join(",\n"))
}

fn quoted_backtick(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The most similar of some names, where one is similar at all.
pub(super) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let scored = among.map(|other| (strsim::damerau_levenshtein(&lower, &other.to_lowercase()), other));
    scored.filter(|(distance, _)| *distance <= (name.chars().count() / 3).max(1)).min().map(|(_, other)| other)
}
