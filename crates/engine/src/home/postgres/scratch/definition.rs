//! Copies the definitions of tables from one database into another, by the catalogs.

use crate::changes::{TableSpec, WriteMode};
use crate::codes;
use crate::error::{Error, Result};
use crate::home::postgres::quote;
use crate::home::postgres::session::Session;
use crate::home::scratch::words;
use futures_util::{SinkExt as _, StreamExt as _, pin_mut};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Row;

/// Columns with their types, defaults and kinds.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text,
        CASE WHEN a.attcollation <> t.typcollation THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Enumerations and domains of the columns, also as elements of arrays.
const TYPES: &str = "SELECT quote_ident(n.nspname), quote_ident(n.nspname) || '.' || quote_ident(t.typname),
        t.typtype::text, format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull,
        (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e
            WHERE e.enumtypid = t.oid),
        (SELECT string_agg(pg_get_constraintdef(c.oid), ' ') FROM pg_constraint c
            WHERE c.contypid = t.oid AND c.contype = 'c')
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_type'::regclass AND x.objid = t.oid
        AND x.deptype = 'e')
    AND t.oid IN (SELECT CASE WHEN y.typelem <> 0 AND y.typcategory = 'A' THEN y.typelem ELSE y.oid END
        FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped)";

/// Extensions whose types the columns have.
const EXTENSIONS: &str = "SELECT DISTINCT quote_ident(e.extname), quote_ident(n.nspname)
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
    JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.deptype = 'e'
        AND d.objid = CASE WHEN y.typelem <> 0 AND y.typcategory = 'A' THEN y.typelem ELSE y.oid END
    JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";

/// Sequences that defaults draw from.
const SEQUENCES: &str =
    "SELECT DISTINCT quote_ident(n.nspname), quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_attrdef d JOIN pg_depend x ON x.classid = 'pg_attrdef'::regclass AND x.objid = d.oid
    JOIN pg_class c ON c.oid = x.refobjid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.adrelid = $1";

/// Constraints but foreign keys and those of NOT NULL, keys first; then indexes that no constraint made.
const RULES: &str = "SELECT 1, contype::text, 'ALTER TABLE ' || $1::oid::regclass || ' ADD CONSTRAINT '
        || quote_ident(conname) || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE conrelid = $1 AND contype IN ('p', 'u', 'c', 'x')
    UNION ALL SELECT 2, '', pg_get_indexdef(i.indexrelid) FROM pg_index i
    WHERE i.indrelid = $1 AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
    ORDER BY 1, 2 DESC, 3";

/// What is not copied, for people.
const LEFT_OUT: &str = "SELECT 'the trigger ' || tgname || ' of ' || $1::oid::regclass FROM pg_trigger
        WHERE tgrelid = $1 AND NOT tgisinternal
    UNION ALL SELECT 'the foreign key ' || conname || ' of ' || $1::oid::regclass FROM pg_constraint
        WHERE conrelid = $1 AND contype = 'f'
    UNION ALL SELECT 'row-level security of ' || $1::oid::regclass FROM pg_class WHERE oid = $1 AND relrowsecurity
    UNION ALL SELECT 'the rule ' || rulename || ' of ' || $1::oid::regclass FROM pg_rewrite
        WHERE ev_class = $1 AND rulename <> '_RETURN'
    UNION ALL SELECT 'the partitions of ' || $1::oid::regclass || ': it is one table there' FROM pg_class
        WHERE oid = $1 AND relkind = 'p' ORDER BY 1";

/// Copies tables; those that a statement names with their rows. Returns what was left out.
pub(super) async fn copy(real: &Session, scratch: &Session, tables: &[TableSpec]) -> Result<Vec<String>> {
    let mut found: BTreeMap<u32, bool> = BTreeMap::new();
    for spec in tables {
        let with_rows = matches!(spec.mode, WriteMode::Statement { .. });
        for name in names(spec) {
            if let Some(oid) = find(real, &name).await? {
                *found.entry(oid).or_default() |= with_rows;
            }
        }
        if let Some(schema) = &spec.schema {
            execute(scratch, &format!("CREATE SCHEMA IF NOT EXISTS {}", quote(schema))).await?;
        }
    }
    let mut left_out = Vec::new();
    for (oid, with_rows) in &found {
        define(real, scratch, *oid).await?;
        if *with_rows {
            copy_rows(real, scratch, *oid).await?;
        }
        for rule in query(real, RULES, *oid).await? {
            execute(scratch, rule.get(2)).await?;
        }
        left_out.extend(query(real, LEFT_OUT, *oid).await?.iter().map(|row| row.get::<_, String>(0)));
    }
    Ok(left_out)
}

/// The table's own name, and for a statement every word that might be one.
fn names(spec: &TableSpec) -> BTreeSet<String> {
    let own = spec
        .schema
        .as_ref()
        .map_or_else(|| quote(&spec.table), |schema| format!("{}.{}", quote(schema), quote(&spec.table)));
    let mut names = BTreeSet::from([own]);
    if let WriteMode::Statement { sql, .. } = &spec.mode {
        names.extend(words(sql));
    }
    names
}

/// A table of the user's by its name as SQL writes it.
async fn find(real: &Session, name: &str) -> Result<Option<u32>> {
    let sql = "SELECT c.oid, c.relkind::text, c.oid::regclass::text FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass($1) AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'onceflow')
        AND c.relkind IN ('r', 'p', 'v', 'f', 'm')";
    // A word of a statement need not be a name at all.
    let Ok(row) = real.client.query_opt(sql, &[&name]).await else { return Ok(None) };
    let Some(row) = row else { return Ok(None) };
    let (oid, kind, shown): (u32, String, String) = (row.get(0), row.get(1), row.get(2));
    if kind == "r" || kind == "p" {
        return Ok(Some(oid));
    }
    let kind = if kind == "f" { "a foreign table" } else { "a view" };
    Err(cannot_copy(&format!("{shown} is {kind}; what stands behind it would be the real thing")))
}

fn cannot_copy(why: &str) -> Error {
    Error::config(codes::OF0154, format!("a target cannot be copied into a scratch database: {why}"))
        .note("nothing was written to the real database")
}

/// The names of the schema and of the table, quoted.
async fn place(real: &Session, oid: u32) -> Result<(String, String)> {
    let sql = "SELECT quote_ident(n.nspname), quote_ident(n.nspname) || '.' || quote_ident(c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
    let rows = query(real, sql, oid).await?;
    let row = rows.first().ok_or_else(|| Error::internal("a table that was just found is gone"))?;
    Ok((row.get(0), row.get(1)))
}

async fn define(real: &Session, scratch: &Session, oid: u32) -> Result<()> {
    let (schema, table) = place(real, oid).await?;
    execute(scratch, &format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
    for row in query(real, EXTENSIONS, oid).await? {
        let (name, schema): (String, String) = (row.get(0), row.get(1));
        execute(scratch, &format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        execute(scratch, &format!("CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {schema}")).await?;
    }
    for row in query(real, TYPES, oid).await? {
        define_type(scratch, &row).await?;
    }
    for row in query(real, SEQUENCES, oid).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        execute(scratch, &format!("CREATE SCHEMA IF NOT EXISTS {schema}; CREATE SEQUENCE IF NOT EXISTS {name}"))
            .await?;
    }
    let columns: Vec<String> = query(real, COLUMNS, oid).await?.iter().map(column).collect();
    execute(scratch, &format!("CREATE TABLE {table} ({})", columns.join(", "))).await
}

async fn define_type(scratch: &Session, row: &Row) -> Result<()> {
    let (schema, name, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
    let sql = "SELECT to_regtype($1) IS NOT NULL";
    let known = scratch.client.query_one(sql, &[&name]).await;
    if known.map_err(|error| scratch.explain(error, "look for a type"))?.get(0) {
        return Ok(());
    }
    execute(scratch, &format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
    if kind == "e" {
        let labels: Option<String> = row.get(5);
        return execute(scratch, &format!("CREATE TYPE {name} AS ENUM ({})", labels.unwrap_or_default())).await;
    }
    let (base, checks): (Option<String>, Option<String>) = (row.get(3), row.get(6));
    let not_null = if row.get(4) { " NOT NULL" } else { "" };
    let (base, checks) = (base.unwrap_or_default(), checks.unwrap_or_default());
    execute(scratch, &format!("CREATE DOMAIN {name} AS {base}{not_null} {checks}")).await
}

fn column(row: &Row) -> String {
    let (name, data_type, not_null): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
    let (default, identity, generated): (Option<String>, String, String) = (row.get(3), row.get(4), row.get(5));
    let collation: Option<String> = row.get(6);
    let collation = collation.map(|collation| format!(" COLLATE {collation}")).unwrap_or_default();
    let value = match (identity.as_str(), generated.as_str(), default) {
        ("a", ..) => " GENERATED ALWAYS AS IDENTITY".to_owned(),
        ("d", ..) => " GENERATED BY DEFAULT AS IDENTITY".to_owned(),
        (_, "s", Some(expression)) => format!(" GENERATED ALWAYS AS ({expression}) STORED"),
        (_, "v", Some(expression)) => format!(" GENERATED ALWAYS AS ({expression}) VIRTUAL"),
        (_, _, Some(expression)) => format!(" DEFAULT {expression}"),
        (_, _, None) => String::new(),
    };
    let not_null = if not_null { " NOT NULL" } else { "" };
    format!("{} {data_type}{collation}{value}{not_null}", quote(&name))
}

/// Rows as they are now, but for what the server generates itself.
async fn copy_rows(real: &Session, scratch: &Session, oid: u32) -> Result<()> {
    let (_, table) = place(real, oid).await?;
    let columns = query(real, COLUMNS, oid).await?;
    let own = columns.iter().filter(|row| row.get::<_, String>(5).is_empty());
    let names: Vec<String> = own.map(|row| quote(row.get(0))).collect();
    let names = names.join(", ");
    let from = |error| real.explain(error, "read rows for the scratch database");
    let to = |error| scratch.explain(error, "write rows into the scratch database");
    let rows = real.client.copy_out(&format!("COPY (SELECT {names} FROM {table}) TO STDOUT")).await.map_err(from)?;
    let sink = scratch.client.copy_in(&format!("COPY {table} ({names}) FROM STDIN")).await.map_err(to)?;
    pin_mut!(rows, sink);
    while let Some(bytes) = rows.next().await {
        sink.send(bytes.map_err(from)?).await.map_err(to)?;
    }
    sink.finish().await.map(drop).map_err(to)
}

async fn query(session: &Session, sql: &str, oid: u32) -> Result<Vec<Row>> {
    let rows = session.client.query(sql, &[&oid]).await;
    rows.map_err(|error| session.explain(error, "read the definition of a target table"))
}

async fn execute(scratch: &Session, sql: &str) -> Result<()> {
    let done = scratch.client.batch_execute(sql).await;
    done.map_err(|error| {
        cannot_copy(scratch.explain(error, "define it").message()).note(format!("the definition: {sql}"))
    })
}
