//! A pipeline: sources, logic and tables, resolved and ready to run.

use crate::changes::{TableSpec, WriteMode};
use crate::home::HomeFactory;
use crate::logic::LogicFactory;
use crate::source::SourceFactory;
use crate::user_code::UserCodeFactory;
use std::sync::Arc;
use std::time::Duration;

/// Limits and choices of a pipeline, from `SET`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `epoch.rows_max`: an epoch closes at so many records. Where nothing was set, what is written decides ([`Self::for_branch`]).
    pub epoch_rows_max: Option<usize>,
    /// `epoch.bytes_max`: an epoch closes at so many bytes of keys and values.
    pub epoch_bytes_max: usize,
    /// `epoch.interval_max`: where set, an epoch is held open so long for more records.
    pub epoch_interval_max: Option<Duration>,
    /// `lanes`: so many threads with a database session each.
    pub lanes: usize,
    /// `dead-letters.max`: stop when the pipeline has more.
    pub dead_letters_max: Option<u64>,
    /// `auto-create`: create missing target tables.
    pub auto_create: bool,
    /// Whether rows are made of many records each, so that no record has to be held ([`Self::for_branch`]).
    pub only_groups: bool,
}

/// Records of an epoch where nothing else is said.
const ROWS_MAX: usize = 100_000;

/// Records of an epoch where a statement is executed for each of them and nothing else was set. A transaction that updates
/// the same few rows over and over leaves a version of the row each time, and the next update has to pass all of them; only a
/// commit lets the database clear them away.
const STATEMENT_ROWS_MAX: usize = 2_000;

/// Records of an epoch of which only groups are left, where nothing else was set. The database's work grows with the groups and
/// not with the records, and no record is held in memory.
const GROUPS_ROWS_MAX: usize = 1_000_000;

impl Settings {
    /// The settings for a branch with these tables, and whether it makes nothing but groups.
    pub fn for_branch(&self, tables: &[TableSpec], only_groups: bool) -> Self {
        let statement = tables.iter().any(|table| matches!(table.mode, WriteMode::Statement { .. }));
        let usual = match (only_groups, statement) {
            (true, _) => GROUPS_ROWS_MAX,
            (false, true) => STATEMENT_ROWS_MAX,
            (false, false) => ROWS_MAX,
        };
        Self { epoch_rows_max: Some(self.epoch_rows_max.unwrap_or(usual)), only_groups, ..self.clone() }
    }

    /// An epoch closes at so many records.
    pub fn rows_max(&self) -> usize {
        self.epoch_rows_max.unwrap_or(ROWS_MAX)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epoch_rows_max: None,
            epoch_bytes_max: 32 << 20,
            epoch_interval_max: None,
            lanes: 1,
            dead_letters_max: None,
            auto_create: false,
            only_groups: false,
        }
    }
}

/// The part of a pipeline that writes to one home.
pub struct Branch {
    /// The home.
    pub home: Arc<dyn HomeFactory>,
    /// The sources that it reads for itself.
    pub sources: Vec<Arc<dyn SourceFactory>>,
    /// The tables that it writes.
    pub tables: Arc<Vec<TableSpec>>,
    /// The logic between.
    pub logic: Arc<dyn LogicFactory>,
    /// Code that writes what the logic carries to it, after the rows of the tables.
    pub user_code: Option<Arc<dyn UserCodeFactory>>,
    /// Which sources feed which tables, one line an edge.
    pub wiring: String,
    /// For each INSERT the operators that run, one line an operator, source first.
    pub operators: Vec<Vec<String>>,
}

/// A pipeline, resolved.
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Hash of the whole logic.
    pub fingerprint: String,
    /// Limits and choices.
    pub settings: Settings,
    /// One branch a home.
    pub branches: Vec<Branch>,
    /// Warnings that the text gave, to be said once.
    pub warnings: Vec<crate::Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_kept_even_where_it_is_the_usual_value() {
        for (set, groups, rows) in [
            (None, false, ROWS_MAX),
            (None, true, GROUPS_ROWS_MAX),
            (Some(ROWS_MAX), true, ROWS_MAX),
            (Some(7), true, 7),
        ] {
            let settings = Settings { epoch_rows_max: set, ..Settings::default() };
            assert_eq!(settings.for_branch(&[], groups).rows_max(), rows, "{set:?}");
        }
    }
}
