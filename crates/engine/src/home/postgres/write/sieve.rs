//! All rows that a table's own conditions refuse, found at once, and then refused by the server itself.
//!
//! A row that violates a CHECK or NOT NULL is refused whatever else is written, unless it is combined with what is there, or a trigger
//! changes it first; such tables have no sieve. Looking for refused rows one after the other costs round
//! trips for each. So the rows are copied once more, into a temporary table like the target, with the reverse of the conditions as
//! the COPY's own WHERE: what arrives there is under suspicion. A temporary function then tries to insert each suspect alone,
//! takes it back, and answers with the server's own words. Only what the server refuses for such a reason counts as refused; a
//! suspicion decides nothing. Where the role may create no such table or function, there is no sieve.

use super::attempt::Search;
use super::catalog::Relation;
use super::copy::{Picks, copy_numbered};
use super::failure::{Reason, words};
use super::names::{list, qualified, quoted};
use super::rows::Block;
use super::tables::Way;
use crate::changes::{Refusal, TableSpec, Unit, WriteMode};
use crate::codes;
use crate::home::CommitError;
use std::collections::BTreeMap;
use tokio_postgres::{Client, Error, Row};

/// In an epoch of so many rows a try in vain costs more than asking first.
const EXPECT_ROWS_MIN: usize = 1_000;

/// One about columns that are not written cannot be asked here. One with a function or operator of the user's may look at other
/// rows, and then a row that it refuses alone may be accepted behind another; what the server brings along does not.
const CONDITIONS: &str = "\
SELECT pg_catalog.pg_get_expr(c.conbin, c.conrelid) FROM pg_catalog.pg_constraint c \
WHERE c.conrelid = $1 AND c.contype = 'c' AND NOT EXISTS ( \
  SELECT FROM unnest(c.conkey) AS k(number) \
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number \
  WHERE a.attname IS NULL OR a.attname::text <> ALL ($2)) \
AND NOT EXISTS ( \
  SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = c.oid \
  AND d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass)) \
ORDER BY c.conname";

/// Whether something may change a row before its conditions are asked: a trigger FOR EACH ROW (1) BEFORE (2).
const CHANGED: &str = "\
SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND (tgtype & 3) = 3)";

/// A target table's conditions, as a temporary table with a filter, and a function that tries what is in it.
#[derive(Debug)]
pub(super) struct Sieve {
    relation: u32,
    columns: Vec<String>,
    not_null: Vec<String>,
    table: String,
    create: String,
    probe: Probe,
    filter: Filter,
    /// Whether rows were refused in the last large epoch, so that the next one begins here.
    expects: bool,
}

/// The reverse of the conditions.
#[derive(Clone, Debug)]
enum Filter {
    /// Nobody has asked for the conditions yet.
    Unknown,
    /// There are none, or they cannot be asked in this way.
    Absent,
    Known(String),
}

impl Sieve {
    /// Talks to nobody.
    pub fn new(spec: &TableSpec, relation: &Relation, number: usize) -> Self {
        let columns: Vec<String> = spec.columns.iter().map(|column| column.name.clone()).collect();
        let is_written = |name: &String| columns.contains(name);
        let not_null = relation.columns.iter().filter(|column| column.not_null && is_written(&column.name));
        let not_null: Vec<String> = not_null.map(|column| quoted(&column.name)).collect();
        let target = qualified(&relation.schema, &relation.table);
        let table = format!("pg_temp.{}", quoted(&format!("onceflow_sieve_{number}")));
        let create = format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT 0::int4 AS {}, {} FROM {target} WITH NO DATA",
            table.trim_start_matches("pg_temp."),
            quoted(&number_column(&columns)),
            list(columns.iter().map(String::as_str)),
        );
        let probe = Probe::new(&format!("pg_temp.onceflow_probe_{number}"), &table, &target, &columns);
        let filter = match spec.mode {
            WriteMode::Merge(_) | WriteMode::Statement { .. } => Filter::Absent,
            WriteMode::Append | WriteMode::Upsert | WriteMode::InsertIgnore => Filter::Unknown,
        };
        Self { relation: relation.oid, columns, not_null, table, create, probe, filter, expects: false }
    }

    /// Whether rows were refused in the last large epoch.
    pub fn expects(&self) -> bool {
        self.expects
    }

    async fn filter(&mut self, client: &Client) -> Result<Option<String>, Error> {
        if let Filter::Unknown = self.filter {
            let parts = self.conditions(client).await?;
            self.filter = match parts.is_empty() {
                true => Filter::Absent,
                false => Filter::Known(parts.join(" OR ")),
            };
        }
        Ok(match &self.filter {
            Filter::Known(filter) => Some(filter.clone()),
            Filter::Unknown | Filter::Absent => None,
        })
    }

    /// What is true of a row that is refused.
    async fn conditions(&self, client: &Client) -> Result<Vec<String>, Error> {
        if client.query_one(CHANGED, &[&self.relation]).await?.get(0) {
            return Ok(Vec::new());
        }
        let rows = client.query(CONDITIONS, &[&self.relation, &self.columns]).await?;
        let violated = rows.iter().map(|row| format!("({}) IS FALSE", row.get::<_, String>(0)));
        let missing = self.not_null.iter().map(|name| format!("{name} IS NULL"));
        Ok(violated.chain(missing).collect())
    }

    fn copy(&self, filter: &str) -> String {
        let number = quoted(&number_column(&self.columns));
        let columns = list(self.columns.iter().map(String::as_str));
        format!("COPY {} ({number}, {columns}) FROM STDIN (FORMAT binary) WHERE {filter}", self.table)
    }

    /// Creates the table and the function where this session has none: an earlier transaction that made them was rolled back, or
    /// there was none.
    async fn make(&self, client: &Client) -> Result<(), Error> {
        if client.query_one("SELECT to_regprocedure($1) IS NOT NULL", &[&self.probe.name]).await?.get(0) {
            return Ok(());
        }
        client.batch_execute(&format!("{}; {}", self.create, self.probe.create)).await
    }

    /// What the server says of each row that it refuses alone, by its number.
    async fn ask(&self, client: &Client, filter: &str, blocks: &[Block]) -> Result<Vec<Row>, Error> {
        let copy = client.prepare(&self.copy(filter)).await?;
        if copy_numbered(client, &copy, blocks, Picks::All).await? == 0 {
            return Ok(Vec::new());
        }
        client.query(&self.probe.call, &[]).await
    }
}

/// A function that inserts each suspect alone and takes it back.
#[derive(Debug)]
struct Probe {
    name: String,
    create: String,
    call: String,
}

impl Probe {
    fn new(name: &str, sieve: &str, target: &str, columns: &[String]) -> Self {
        let number = quoted(&number_column(columns));
        let values = columns.iter().map(|column| format!("suspect.{}", quoted(column))).collect::<Vec<_>>().join(", ");
        let columns = list(columns.iter().map(String::as_str));
        let create = format!(
            "CREATE FUNCTION {name}() RETURNS TABLE \
               (at_row int4, state text, message text, detail text, constraint_is text, column_is text) \
             LANGUAGE plpgsql AS $onceflow$
             DECLARE suspect record;
             BEGIN
               FOR suspect IN SELECT * FROM {sieve} LOOP
                 BEGIN
                   INSERT INTO {target} ({columns}) VALUES ({values});
                   RAISE EXCEPTION 'fits';
                 EXCEPTION WHEN OTHERS THEN
                   GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                     detail = PG_EXCEPTION_DETAIL, constraint_is = CONSTRAINT_NAME, column_is = COLUMN_NAME;
                   at_row := suspect.{number};
                   IF state = '23514' AND constraint_is <> '' OR state = '23502' AND column_is <> '' THEN
                     RETURN NEXT;
                   END IF;
                 END;
               END LOOP;
             END $onceflow$"
        );
        Self { name: format!("{name}()"), create, call: format!("SELECT * FROM {name}() ORDER BY at_row") }
    }
}

/// A name that no column of the table has.
fn number_column(columns: &[String]) -> String {
    let mut name = "row".to_owned();
    while columns.contains(&name) {
        name.push('_');
    }
    name
}

impl Search<'_> {
    /// Whether a table refused rows in its last epoch, so that trying everything at once would be in vain.
    pub(super) fn expects_refusals(&self) -> bool {
        self.tables.iter().any(|table| matches!(&table.way, Way::Rows(statements) if statements.sieve.expects()))
    }

    /// The units that the tables' own conditions refuse, by unit. The transaction is as it was before.
    pub(super) async fn sifted(&mut self, units: &[Unit]) -> Result<Vec<Refusal>, CommitError> {
        let is_refused = self.is_refused_alone();
        let mut refused = BTreeMap::new();
        for table in self.load.order.clone() {
            let Way::Rows(statements) = &self.tables[table].way else { continue };
            // What cannot be copied into the target cannot be copied into its like.
            if statements.copy.is_none() || !(is_refused || statements.sieve.expects) {
                continue;
            }
            for (row, reason) in self.refused_of(table).await? {
                if let Some(unit) = self.load.units()[table].get(row).filter(|unit| units.binary_search(unit).is_ok()) {
                    refused.entry(*unit).or_insert(reason);
                }
            }
        }
        Ok(refused.into_iter().map(|(unit, reason)| self.refusal(&[unit], reason)).collect())
    }

    /// Rows of a table that its conditions refuse. Where the question fails, there are none.
    async fn refused_of(&mut self, table: usize) -> Result<Vec<(usize, Reason)>, CommitError> {
        let client = self.client;
        let Way::Rows(statements) = &mut self.tables[table].way else { return Ok(Vec::new()) };
        let sieve = &mut statements.sieve;
        let lost = super::failure::lost;
        let Some(filter) = sieve.filter(client).await.map_err(lost)? else { return Ok(Vec::new()) };
        let blocks = &self.load.tables[table].blocks;
        // What is made stays; what is written does not.
        client.batch_execute("SAVEPOINT onceflow_sieve").await.map_err(lost)?;
        let mut asked = sieve.make(client).await.map(|()| Vec::new());
        if asked.is_ok() {
            client.batch_execute("RELEASE onceflow_sieve; SAVEPOINT onceflow_sieve").await.map_err(lost)?;
            asked = sieve.ask(client, &filter, blocks).await;
        }
        if let Err(error) = &asked {
            if error.as_db_error().is_none() {
                return asked.map(|_| Vec::new()).map_err(lost);
            }
            sieve.filter = Filter::Absent;
        }
        let answers = asked.unwrap_or_default();
        sieve.expects = !answers.is_empty() && blocks.iter().map(Block::len).sum::<usize>() >= EXPECT_ROWS_MIN;
        client.batch_execute("ROLLBACK TO onceflow_sieve; RELEASE onceflow_sieve").await.map_err(lost)?;
        Ok(answers.iter().filter_map(|row| said(row, table)).collect())
    }
}

/// A row of the answer: which row is refused, and why.
fn said(answer: &Row, table: usize) -> Option<(usize, Reason)> {
    let text = |at: usize| answer.get::<_, Option<&str>>(at).filter(|text| !text.is_empty());
    let why = words(text(2).unwrap_or_default(), text(3), text(4));
    let sqlstate = text(1).unwrap_or_default().to_owned();
    let row = usize::try_from(answer.get::<_, i32>(0)).ok()?;
    Some((row, Reason { table, code: codes::OF0750, sqlstate, why, row: Some(row), alone: true }))
}

#[cfg(test)]
mod tests {
    use super::number_column;

    #[test]
    fn the_number_has_a_name_of_its_own() {
        let named = |names: &[&str]| number_column(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["id"]), "row");
        assert_eq!(named(&["row_", "row", "id"]), "row__");
    }
}
