//! What a session has prepared for each target table.

use super::catalog::{self, Relation};
use super::copy::can_unnest;
use super::sieve::Sieve;
use super::sql::Text;
use super::statement;
use super::types::Target;
use super::{check, names};
use crate::changes::{TableSpec, WriteMode};
use crate::codes;
use crate::error::{Error, Result};
use crate::home::postgres::classify;
use tokio_postgres::{Client, Statement};

/// A target table, prepared.
#[derive(Debug)]
pub(super) struct Table {
    pub targets: Vec<Target>,
    pub way: Way,
}

impl Table {
    /// Whether all rows of a write have to lie in one batch: those that are compacted, or picked into arrays.
    pub fn wants_one_block(&self, spec: &TableSpec) -> bool {
        match &self.way {
            Way::Statement { .. } => false,
            Way::Rows(statements) => spec.mode != WriteMode::Append || statements.copy.is_none(),
        }
    }
}

/// How rows get in.
#[derive(Debug)]
pub(super) enum Way {
    /// Rows into a table.
    Rows(Box<Statements>),
    /// The user's statement.
    Statement { prepared: statement::Prepared, expect_rows: Option<u64> },
}

/// Prepared statements of a table; those that cannot serve it are absent.
#[derive(Debug)]
pub(super) struct Statements {
    /// COPY straight into the table: not under row-level security, and only where nothing has to be cast.
    pub copy: Option<Statement>,
    pub insert_row: Statement,
    pub insert_unnest: Option<Statement>,
    pub stage: Option<Stage>,
    pub delete_row: Option<Statement>,
    pub delete_unnest: Option<Statement>,
    /// Which keys the server holds equal, where their bytes do not say.
    pub first_equal: Option<Statement>,
    pub optimism: Optimism,
    pub sieve: Sieve,
}

/// The session's temporary table for a target.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// Whether it has rows.
    pub left: Statement,
    /// Empties it.
    pub clear: String,
    /// COPY into it.
    pub copy: Statement,
    /// From it into the target.
    pub insert: Statement,
}

/// Whether to try COPY for rows of a keyed table, in the hope that all keys are new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Optimism {
    wait: u32,
    pause: u32,
}

/// Writes without another try after a hope that failed: at first, and at most.
const PAUSE_FIRST: u32 = 4;
const PAUSE_MAX: u32 = 1_024;

impl Optimism {
    /// Whether to try this time.
    pub fn try_now(&mut self) -> bool {
        if self.wait > 0 {
            self.wait -= 1;
            return false;
        }
        true
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
        self.wait = self.pause;
    }
}

/// Prepares a table in this session.
pub(super) async fn prepare(client: &Client, spec: &TableSpec, number: usize, may_stage: bool) -> Result<Table> {
    if let WriteMode::Statement { expect_rows, .. } = &spec.mode {
        let prepared = statement::prepare(client, spec).await?.map_err(|findings| {
            check::together(findings).unwrap_or_else(|| Error::internal("a refused statement had no finding"))
        })?;
        let targets = statement_targets(spec, &prepared);
        return Ok(Table { targets, way: Way::Statement { prepared, expect_rows: *expect_rows } });
    }
    let Some(relation) = catalog::relation(client, spec).await? else {
        let message = format!("table '{}' is missing; it was there at the start", spec.target());
        return Err(Error::config(codes::OF0712, message).at(&spec.place));
    };
    let targets = check::targets(spec, &relation)?;
    let stage = format!("pg_temp.{}", names::quoted(&format!("onceflow_stage_{number}")));
    let text = Text { spec, relation: &relation, targets: &targets, stage };
    let statements = Maker { client, text: &text, may_stage, number }.statements().await?;
    Ok(Table { targets, way: Way::Rows(Box::new(statements)) })
}

/// A column that no parameter uses still has a form, so that its values can be shown.
fn statement_targets(spec: &TableSpec, prepared: &statement::Prepared) -> Vec<Target> {
    let of = |at: usize| {
        let used = prepared.parameters.iter().find(|(column, _)| *column == at);
        used.map_or_else(|| shown(&spec.columns[at].data_type), |(_, target)| target.clone())
    };
    (0..spec.columns.len()).map(of).collect()
}

/// A form that never looks at the values.
fn shown(_: &arrow_schema::DataType) -> Target {
    let wire = super::types::Wire::Rendered { jsonb: false };
    Target { wire, carrier: "json".to_owned(), oid: 0, cast: None, loose: false }
}

struct Maker<'a> {
    client: &'a Client,
    text: &'a Text<'a>,
    may_stage: bool,
    number: usize,
}

impl Maker<'_> {
    async fn statements(&self) -> Result<Statements> {
        let (text, spec, relation) = (self.text, self.text.spec, self.text.relation);
        let keyed = matches!(spec.mode, WriteMode::Upsert | WriteMode::Merge(_));
        let key_unnests = spec.key.iter().all(|at| can_unnest(&text.targets[*at]));
        let all_unnest = text.targets.iter().all(can_unnest);
        let loose = keyed && spec.key.iter().any(|at| text.targets[*at].loose) && key_unnests;
        let deletes = spec.mode == WriteMode::Upsert;
        let straight = may_copy(relation, text.targets);
        let needs_stage = self.may_stage && (!straight || spec.mode != WriteMode::Append);
        Ok(Statements {
            copy: self.when(straight, || text.copy()).await?,
            insert_row: self.make(&text.insert_row()).await?,
            insert_unnest: self.when(all_unnest, || text.insert_unnest()).await?,
            stage: if needs_stage { Some(self.stage().await?) } else { None },
            delete_row: self.when(deletes, || text.delete_row()).await?,
            delete_unnest: self.when(deletes && key_unnests, || text.delete_unnest()).await?,
            first_equal: self.when(loose, || text.first_equal()).await?,
            optimism: Optimism::default(),
            sieve: Sieve::new(spec, relation, self.number),
        })
    }

    async fn make(&self, sql: &str) -> Result<Statement> {
        let failed = |error| classify(error, &format!("prepare writing into {}", self.text.spec.target()));
        self.client.prepare(sql).await.map_err(failed)
    }

    async fn when(&self, wanted: bool, sql: impl Fn() -> String) -> Result<Option<Statement>> {
        Ok(if wanted { Some(self.make(&sql()).await?) } else { None })
    }

    async fn stage(&self) -> Result<Stage> {
        let failed = |error| classify(error, &format!("create a temporary table for {}", self.text.spec.target()));
        self.client.batch_execute(&self.text.create_stage()).await.map_err(failed)?;
        Ok(Stage {
            left: self.make(&format!("SELECT EXISTS (SELECT FROM {})", self.text.stage)).await?,
            clear: format!("TRUNCATE {}", self.text.stage),
            copy: self.make(&self.text.copy_stage()).await?,
            insert: self.make(&self.text.insert_stage()).await?,
        })
    }
}

/// COPY does not know row-level security, and cannot cast.
fn may_copy(relation: &Relation, targets: &[Target]) -> bool {
    !relation.row_security && targets.iter().all(|target| target.cast.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hope_comes_back_more_slowly_each_time() {
        let mut optimism = Optimism::default();
        let mut tries = Vec::new();
        for number in 0..60 {
            if optimism.try_now() {
                tries.push(number);
                optimism.failed();
            }
        }
        assert_eq!(tries, [0, 5, 14, 31]);
        optimism.succeeded();
        assert!(optimism.try_now());
    }
}
