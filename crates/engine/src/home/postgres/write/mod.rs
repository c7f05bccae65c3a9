//! Placeholder for the write path, which another branch owns and whose merge replaces this file. It refuses to work, so
//! that it cannot be mistaken for it.

use crate::changes::{TableSpec, Work, Written};
use crate::error::{Error, Result};
use crate::home::CommitError;
use std::sync::Arc;

pub(super) struct TableIdentity {
    pub(super) name: Arc<str>,
    pub(super) oid: u32,
    pub(super) target: String,
}

#[derive(Default)]
pub(super) struct TableFindings {
    pub(super) identities: Vec<TableIdentity>,
    pub(super) to_create: Vec<String>,
    pub(super) has_rows: Vec<bool>,
    pub(super) notices: Vec<String>,
}

pub(super) async fn check_tables(
    client: &tokio_postgres::Client,
    tables: &[TableSpec],
    auto_create: bool,
) -> Result<TableFindings> {
    let mut findings = TableFindings::default();
    for table in tables {
        let schema = table.schema.as_ref().map(|schema| format!("{}.", super::quote(schema))).unwrap_or_default();
        let name = format!("{schema}{}", super::quote(&table.table));
        let sql = "SELECT to_regclass($1)::oid::bigint";
        let row = client.query_one(sql, &[&name]).await.map_err(|error| super::classify(error, "look for a table"))?;
        let Some(oid) = row.get::<_, Option<i64>>(0) else {
            if !auto_create {
                return Err(Error::config(crate::codes::OF0712, format!("there is no table {name}")));
            }
            findings.to_create.push(format!("CREATE TABLE {name} (id bigint)"));
            findings.has_rows.push(false);
            continue;
        };
        let some = client.query_one(&format!("SELECT EXISTS (SELECT FROM {name})"), &[]).await;
        findings.has_rows.push(some.map_err(|error| super::classify(error, "look into a table"))?.get(0));
        let oid = u32::try_from(oid).expect("an oid has 32 bits");
        findings.identities.push(TableIdentity { name: table.name.clone(), oid, target: table.target() });
    }
    Ok(findings)
}

pub(super) struct Writer;

impl Writer {
    pub(super) async fn prepare(_client: &tokio_postgres::Client, _tables: Arc<Vec<TableSpec>>) -> Result<Writer> {
        Ok(Writer)
    }

    pub(super) async fn write(
        &mut self,
        _client: &tokio_postgres::Client,
        work: &Work,
    ) -> Result<Written, CommitError> {
        if work.parts.is_empty() {
            return Ok(Written::default());
        }
        Err(CommitError::Rejected(Error::internal("the write path is not merged yet")))
    }
}
