//! What the server knows of the target tables: columns, types, keys, rights, constraints.
//!
//! Owns the queries over `pg_catalog`. Nothing here judges; `check` does.

use super::types::PgType;
use crate::changes::TableSpec;
use crate::error::Result;
use crate::home::postgres::classify;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, Row};

/// A relation as found.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub oid: u32,
    pub schema: String,
    pub table: String,
    /// `r` table, `p` partitioned table, `v` view, `m` materialized view, `f` foreign table, …
    pub kind: char,
    /// `p`ermanent, `u`nlogged, `t`emporary.
    pub persistence: char,
    /// Whether policies apply to this role.
    pub row_security: bool,
    /// Whether rules rewrite INSERT, UPDATE or DELETE.
    pub rules: bool,
    /// Whether a partition lies on another server.
    pub foreign_partition: bool,
    /// Whether values are checked: by the table, by a partition, or by a column's domain.
    pub checks: bool,
    pub usage: bool,
    pub select: bool,
    pub insert: bool,
    pub update: bool,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
}

/// A column as found.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// The type as people write it, with its modifier and the domain's name.
    pub shown: String,
    pub pg_type: PgType,
    pub not_null: bool,
    /// Whether a row without a value for it can be inserted.
    pub has_default: bool,
    /// A sequence behind the default that this role may not use.
    pub closed_sequence: Option<String>,
    /// `a`lways, by `d`efault, or none.
    pub identity: Option<char>,
    pub generated: bool,
    pub insert: bool,
    pub update: bool,
    pub select: bool,
    /// A collation under which different texts may be equal.
    pub loose_collation: Option<String>,
}

/// A unique index as found.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub name: String,
    pub primary: bool,
    pub columns: Vec<String>,
    /// Whether it can decide conflicts: valid, immediate, over all rows, over plain columns.
    pub arbiter: bool,
    /// Why it cannot, in words.
    pub defect: Option<&'static str>,
}

const RELATION: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, row_security_active(c.oid), \
  EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type IN ('2', '3', '4')), \
  EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class l ON l.oid = p.relid \
          WHERE c.relkind = 'p' AND l.relkind = 'f'), \
  has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), \
  has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'), \
  EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND (k.conrelid = c.oid \
          OR c.relkind = 'p' AND k.conrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)))) \
  OR EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type d ON d.oid = a.atttypid \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND d.typtype = 'd') \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relname::text = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') \
  AND CASE WHEN $2::text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname::text = $2 END";

const COLUMNS: &str = "\
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef, \
  a.attidentity::text, a.attgenerated::text, \
  has_column_privilege(a.attrelid, a.attnum, 'INSERT'), has_column_privilege(a.attrelid, a.attnum, 'UPDATE'), \
  has_column_privilege(a.attrelid, a.attnum, 'SELECT'), \
  CASE WHEN NOT o.collisdeterministic THEN format('%I.%I', p.nspname, o.collname) END, \
  (SELECT format('%I.%I', sn.nspname, s.relname) FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
     JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace \
   WHERE d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'a' \
     AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') END LIMIT 1) \
FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation \
LEFT JOIN pg_catalog.pg_namespace p ON p.oid = o.collnamespace \
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const INDEXES: &str = "\
SELECT c.relname::text, i.indisprimary, i.indisvalid, i.indimmediate, i.indpred IS NULL, i.indexprs IS NULL, \
  ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n) \
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
        WHERE k.n <= i.indnkeyatts ORDER BY k.n) \
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
WHERE i.indrelid = $1 AND i.indisunique ORDER BY NOT i.indisprimary, c.relname";

const TYPES: &str = "\
SELECT t.oid, t.typtype::text, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault IS NOT NULL, \
  CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0 END, \
  coalesce((SELECT p.proname::text FROM pg_catalog.pg_proc p WHERE p.oid = t.typreceive), ''), format_type(t.oid, -1) \
FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1)";

/// Finds a declared table by its schema, or along the search path.
pub(super) async fn relation(client: &Client, spec: &TableSpec) -> Result<Option<Relation>> {
    let failed = |error| classify(error, &format!("look up table {}", spec.target()));
    let Some(row) = client.query_opt(RELATION, &[&spec.table, &spec.schema]).await.map_err(failed)? else {
        return Ok(None);
    };
    let oid: u32 = row.get(0);
    let columns = client.query(COLUMNS, &[&oid]).await.map_err(failed)?;
    let indexes = client.query(INDEXES, &[&oid]).await.map_err(failed)?;
    let types = Types::load(client, columns.iter().map(|column| column.get(2))).await?;
    Ok(Some(Relation {
        oid,
        schema: row.get(1),
        table: row.get(2),
        kind: letter(&row, 3).unwrap_or(' '),
        persistence: letter(&row, 4).unwrap_or(' '),
        row_security: row.get(5),
        rules: row.get(6),
        foreign_partition: row.get(7),
        usage: row.get(8),
        select: row.get(9),
        insert: row.get(10),
        update: row.get(11),
        checks: row.get(12),
        columns: columns.iter().map(|column| read_column(column, &types)).collect(),
        indexes: indexes.iter().map(read_index).collect(),
    }))
}

/// Schemas outside of the search path that have a table of this name.
pub(super) async fn elsewhere(client: &Client, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relname::text = $1 AND c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1";
    let rows = client.query(sql, &[&table]).await.map_err(|error| classify(error, "look for tables"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Names of the tables that a name may have been meant for.
pub(super) async fn tables_of(client: &Client, schema: Option<&str>) -> Result<Vec<String>> {
    let sql = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
                 AND CASE WHEN $1::text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname::text = $1 END \
               ORDER BY 1 LIMIT 1000";
    let rows = client.query(sql, &[&schema]).await.map_err(|error| classify(error, "look for tables"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether the table has a row, as far as this role can see.
pub(super) async fn has_rows(client: &Client, relation: &Relation) -> Result<bool> {
    let name = super::names::qualified(&relation.schema, &relation.table);
    let sql = if relation.select {
        format!("SELECT EXISTS (SELECT FROM {name})")
    } else {
        // Without the right to look inside, its size has to do.
        let parts = "SELECT relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) UNION SELECT $1::oid";
        format!("SELECT coalesce(sum(pg_catalog.pg_relation_size(relid)), 0) > 0 FROM ({parts}) AS p(relid)")
    };
    let failed = |error| classify(error, &format!("look into table {name}"));
    let row = if relation.select {
        client.query_one(&sql, &[]).await.map_err(failed)?
    } else {
        client.query_one(&sql, &[&relation.oid]).await.map_err(failed)?
    };
    Ok(row.get(0))
}

/// Whether this role may have temporary tables here.
pub(super) async fn may_stage(client: &Client) -> Result<bool> {
    let sql = "SELECT has_database_privilege(current_database(), 'TEMPORARY')";
    let row = client.query_one(sql, &[]).await.map_err(|error| classify(error, "look up privileges"))?;
    Ok(row.get(0))
}

/// Whether the database has constraints that are checked at the end of a transaction unless told otherwise. All tables are
/// looked at: triggers and the user's statements may write into any of them.
pub(super) async fn has_deferred(client: &Client) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE condeferred)";
    let row = client.query_one(sql, &[]).await.map_err(|error| classify(error, "look up constraints"))?;
    Ok(row.get(0))
}

/// Those constraints as names for `SET CONSTRAINTS`. A name that is shared with a constraint which cannot be deferred is left
/// out: it could not be named.
pub(super) const DEFERRED: &str = "\
SELECT format('%I.%I', n.nspname, c.conname) \
FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
WHERE c.contype IN ('f', 'u', 'p', 'x', 't') \
GROUP BY 1 HAVING bool_or(c.condeferred) AND bool_and(c.condeferrable) ORDER BY 1";

fn letter(row: &Row, index: usize) -> Option<char> {
    row.get::<_, String>(index).chars().next()
}

fn read_column(row: &Row, types: &Types) -> Column {
    let (oid, modifier): (u32, i32) = (row.get(2), row.get(3));
    let domain = types.domain(oid);
    let identity = letter(row, 6);
    Column {
        name: row.get(0),
        shown: row.get(1),
        pg_type: types.resolve(oid, modifier),
        not_null: row.get::<_, bool>(4) || domain.not_null,
        has_default: row.get::<_, bool>(5) || domain.has_default || identity.is_some(),
        closed_sequence: row.get(12),
        identity,
        generated: letter(row, 7).is_some(),
        insert: row.get(8),
        update: row.get(9),
        select: row.get(10),
        loose_collation: row.get(11),
    }
}

fn read_index(row: &Row) -> Index {
    let (valid, immediate, total, plain): (bool, bool, bool, bool) = (row.get(2), row.get(3), row.get(4), row.get(5));
    let defect = match () {
        () if !valid => Some("is not valid (its creation failed; drop it and create it again)"),
        () if !immediate => Some("is DEFERRABLE, which PostgreSQL does not accept for ON CONFLICT"),
        () if !total => Some("covers only the rows of its WHERE clause"),
        () if !plain => Some("is over an expression"),
        () => None,
    };
    Index { name: row.get(0), primary: row.get(1), columns: row.get(6), arbiter: defect.is_none(), defect }
}

/// Types of the server by oid, with all that they rest on.
pub(super) struct Types(BTreeMap<u32, TypeRow>);

struct TypeRow {
    kind: char,
    base: u32,
    base_modifier: i32,
    not_null: bool,
    has_default: bool,
    element: u32,
    receive: String,
    sql: String,
}

struct Domain {
    not_null: bool,
    has_default: bool,
}

impl Types {
    /// Loads types, the bases of domains and the elements of arrays.
    pub async fn load(client: &Client, oids: impl Iterator<Item = u32>) -> Result<Self> {
        let mut known = BTreeMap::new();
        let mut wanted: BTreeSet<u32> = oids.collect();
        while !wanted.is_empty() {
            let oids: Vec<u32> = wanted.iter().copied().collect();
            let rows = client.query(TYPES, &[&oids]).await.map_err(|error| classify(error, "look up types"))?;
            for row in rows {
                known.insert(row.get(0), read_type(&row));
            }
            let rests: BTreeSet<u32> = known.values().flat_map(|found: &TypeRow| [found.base, found.element]).collect();
            wanted = rests.into_iter().filter(|oid| *oid != 0 && !known.contains_key(oid)).collect();
            wanted.retain(|oid| !oids.contains(oid));
        }
        Ok(Self(known))
    }

    /// A type, domains unwrapped.
    pub fn resolve(&self, oid: u32, modifier: i32) -> PgType {
        let Some(found) = self.0.get(&oid) else {
            // Dropped between two queries; no declared type goes into it, so it is refused by name.
            return PgType { oid, sql: oid.to_string(), receive: String::new(), kind: 'p', modifier, element: None };
        };
        if found.kind == 'd' {
            let modifier = if modifier < 0 { found.base_modifier } else { modifier };
            return self.resolve(found.base, modifier);
        }
        let element = (found.element != 0).then(|| (found.element, Box::new(self.resolve(found.element, modifier))));
        let (sql, receive) = (found.sql.clone(), found.receive.clone());
        PgType { oid, sql, receive, kind: found.kind, modifier, element }
    }

    fn domain(&self, oid: u32) -> Domain {
        let mut facts = Domain { not_null: false, has_default: false };
        let mut next = self.0.get(&oid);
        while let Some(found) = next.filter(|found| found.kind == 'd') {
            facts.not_null |= found.not_null;
            facts.has_default |= found.has_default;
            next = self.0.get(&found.base);
        }
        facts
    }
}

fn read_type(row: &Row) -> TypeRow {
    TypeRow {
        kind: letter(row, 1).unwrap_or('p'),
        base: row.get(2),
        base_modifier: row.get(3),
        not_null: row.get(4),
        has_default: row.get(5),
        element: row.get(6),
        receive: row.get(7),
        sql: row.get(8),
    }
}
