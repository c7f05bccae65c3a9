//! All rows that a table's own conditions refuse, found at once, and then refused by the server itself.
//!
//! A row that violates a CHECK or NOT NULL is refused whatever else is written, unless it is combined with what is there, or a trigger
//! changes it first; such tables have no sieve. Looking for refused rows one after the other costs round
//! trips for each. So the rows are copied once more, into a temporary table like the target, with the reverse of the conditions as
//! the COPY's own WHERE: what arrives there is under suspicion. Each suspect is then tried alone and taken back, many of
//! them on their way together. Only what the server refuses for such a reason counts as refused; a suspicion decides nothing.

use super::attempt::Search;
use super::catalog::Relation;
use super::copy::{Parameter, Picks, copy_numbered};
use super::failure::Failure;
use super::names::{list, qualified, quoted};
use super::send::{Sent, send};
use super::tables::Way;
use crate::changes::{Refusal, TableSpec, Unit, WriteMode};
use crate::home::CommitError;
use std::collections::{BTreeSet, VecDeque};
use tokio_postgres::{Client, Error, Statement};

/// Suspects that are on their way at the same time.
const IN_FLIGHT_MAX: usize = 128;

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

/// A target table's conditions, as a temporary table with a filter.
#[derive(Debug)]
pub(super) struct Sieve {
    relation: u32,
    columns: Vec<String>,
    not_null: Vec<String>,
    name: String,
    create: String,
    filter: Filter,
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
        let table = format!("onceflow_sieve_{number}");
        let create = format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT 0::int4 AS {}, {} FROM {} WITH NO DATA",
            quoted(&table),
            quoted(&number_column(&columns)),
            list(columns.iter().map(String::as_str)),
            qualified(&relation.schema, &relation.table),
        );
        let name = format!("pg_temp.{}", quoted(&table));
        let filter = match spec.mode {
            WriteMode::Merge(_) | WriteMode::Statement { .. } => Filter::Absent,
            WriteMode::Append | WriteMode::Upsert | WriteMode::InsertIgnore => Filter::Unknown,
        };
        Self { relation: relation.oid, columns, not_null, name, create, filter }
    }

    /// Whether a refusal by this table's conditions depends on nothing but the row.
    fn decides(&self) -> bool {
        matches!(self.filter, Filter::Known(_))
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
        format!("COPY {} ({number}, {columns}) FROM STDIN (FORMAT binary) WHERE {filter}", self.name)
    }

    fn suspects(&self) -> String {
        format!("SELECT {} FROM {}", quoted(&number_column(&self.columns)), self.name)
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
    /// The units that the tables' own conditions refuse, by unit. The transaction is as it was before.
    pub(super) async fn sifted(&mut self, units: &[Unit]) -> Result<Vec<Refusal>, CommitError> {
        if !self.is_refused_alone() {
            return Ok(Vec::new());
        }
        let mut suspects = BTreeSet::new();
        for table in self.load.order.clone() {
            let rows = self.suspects_of(table).await?;
            suspects.extend(rows.into_iter().filter_map(|row| self.load.units()[table].get(row).copied()));
        }
        suspects.retain(|unit| units.binary_search(unit).is_ok());
        let suspects: Vec<Unit> = suspects.into_iter().collect();
        self.refused_of(&suspects).await
    }

    /// Rows of a table that its conditions seem to refuse. Where the question fails, there are none.
    async fn suspects_of(&mut self, table: usize) -> Result<Vec<usize>, CommitError> {
        let client = self.client;
        let Way::Rows(statements) = &mut self.tables[table].way else { return Ok(Vec::new()) };
        // What cannot be copied into the target cannot be copied into its like.
        if statements.copy.is_none() {
            return Ok(Vec::new());
        }
        let sieve = &mut statements.sieve;
        let Some(filter) = sieve.filter(client).await.map_err(super::failure::lost)? else { return Ok(Vec::new()) };
        let create =
            format!("SAVEPOINT onceflow_sieve; {}; RELEASE onceflow_sieve; SAVEPOINT onceflow_sieve", sieve.create);
        let (copy, suspects) = (sieve.copy(&filter), sieve.suspects());
        let asked = ask(client, &create, &copy, &suspects, &self.load.tables[table].blocks).await;
        if let Err(error) = &asked {
            if error.as_db_error().is_none() {
                return asked.map_err(super::failure::lost);
            }
            sieve.filter = Filter::Absent;
        }
        self.undo("ROLLBACK TO onceflow_sieve; RELEASE onceflow_sieve").await?;
        Ok(asked.unwrap_or_default())
    }

    /// Tries units one at a time and takes each back, whatever became of it. Those that are refused for a reason that
    /// concerns nothing but their own row, with what the server says of them.
    async fn refused_of(&mut self, suspects: &[Unit]) -> Result<Vec<Refusal>, CommitError> {
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        self.undo("SAVEPOINT onceflow_unit").await?;
        let mut refused = Vec::new();
        let mut flying = VecDeque::with_capacity(IN_FLIGHT_MAX);
        for unit in suspects {
            if flying.len() == IN_FLIGHT_MAX
                && let Some((unit, trial)) = flying.pop_front()
            {
                refused.extend(self.judged(unit, trial).await?);
            }
            flying.push_back((*unit, self.try_and_undo(*unit).await));
        }
        while let Some((unit, trial)) = flying.pop_front() {
            refused.extend(self.judged(unit, trial).await?);
        }
        self.undo("RELEASE onceflow_unit").await?;
        Ok(refused)
    }

    fn decides(&self, table: usize) -> bool {
        matches!(&self.tables[table].way, Way::Rows(statements) if statements.sieve.decides())
    }

    async fn judged(
        &self,
        unit: Unit,
        trial: Trial<impl Future<Output = Result<u64, Error>>, impl Future<Output = Result<(), Error>>>,
    ) -> Result<Option<Refusal>, CommitError> {
        let mut first = None;
        for (table, row) in trial.rows {
            // What follows the first failure fails because of it.
            if let Err(error) = row.answer().await {
                first.get_or_insert((table, error));
            }
        }
        trial.undo.answer().await.map_err(super::failure::lost)?;
        match first.map(|(table, error)| Failure::of(error, table)) {
            Some(Failure::Refused(reason)) if reason.alone && self.decides(reason.table) => {
                Ok(Some(self.refusal(&[unit], reason)))
            }
            Some(Failure::Lost(lost)) => Err(lost),
            Some(Failure::Refused(_)) | None => Ok(None),
        }
    }
}

/// One unit on its way: its rows, and what takes them back.
struct Trial<R: Future, U: Future> {
    rows: Vec<(usize, Sent<R>)>,
    undo: Sent<U>,
}

impl<'a> Search<'a> {
    async fn try_and_undo(
        &mut self,
        unit: Unit,
    ) -> Trial<impl Future<Output = Result<u64, Error>> + use<'a>, impl Future<Output = Result<(), Error>> + use<'a>>
    {
        let client = self.client;
        let mut rows = Vec::new();
        for entry in self.in_write_order(unit) {
            let (table, statement, parameters) = self.row_statement(entry);
            rows.push((table, send(execute(client, statement, parameters)).await));
        }
        Trial { rows, undo: send(client.batch_execute("ROLLBACK TO onceflow_unit")).await }
    }
}

async fn execute(client: &Client, statement: Statement, parameters: Vec<Parameter>) -> Result<u64, Error> {
    client.execute_raw(&statement, parameters.iter()).await
}

async fn ask(
    client: &Client,
    create: &str,
    copy: &str,
    suspects: &str,
    blocks: &[super::rows::Block],
) -> Result<Vec<usize>, Error> {
    client.batch_execute(create).await?;
    let copy = client.prepare(copy).await?;
    if copy_numbered(client, &copy, blocks, Picks::All).await? == 0 {
        return Ok(Vec::new());
    }
    let rows = client.query(suspects, &[]).await?;
    Ok(rows.iter().filter_map(|row| usize::try_from(row.get::<_, i32>(0)).ok()).collect())
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
