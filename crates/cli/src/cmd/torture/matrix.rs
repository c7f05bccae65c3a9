//! The matrix: points × outcomes, for people and for programs.

use super::compare::Difference;
use super::faults::{Came, Case};
use crate::table::Table;
use onceflow::home::desk::Cell;
use serde_json::{Value, json};

/// What a case came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Everything is as after an undisturbed run.
    Same {
        /// The one that was replaced found that out, and changed nothing.
        fenced: bool,
    },
    /// The fault did not happen, so that nothing was shown.
    NotHit,
    /// Rows or positions differ.
    Different(Difference),
    /// The audit found something although the tables are the same, or could not be done.
    Audit(String),
    /// A process did not end as it has to.
    Failed(String),
}

impl Outcome {
    /// The outcome of a fault and of the comparison after it.
    pub fn of(came: Came, difference: Difference, audit: Option<String>) -> Self {
        match (came, audit) {
            (Came::Failed(said), _) => Self::Failed(said),
            _ if !difference.is_none() => Self::Different(difference),
            (_, Some(said)) => Self::Audit(said),
            (Came::NotHit, None) => Self::NotHit,
            (Came::Happened { fenced }, None) => Self::Same { fenced },
        }
    }

    /// Whether it is what was promised. A fault that did not happen shows nothing, and breaks nothing.
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Same { .. } | Self::NotHit)
    }

    /// What is wrong, in a few words.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Same { fenced: false } => "same",
            Self::Same { fenced: true } => "fenced",
            Self::NotHit => "not hit",
            Self::Different(difference) => match difference {
                Difference { missing: 1.., .. } => "missing",
                Difference { repeated: 1.., .. } => "repeated",
                Difference { changed: 1.., .. } => "changed",
                _ => "ledger",
            },
            Self::Audit(_) => "audit",
            Self::Failed(_) => "failed",
        }
    }

    /// The details, line by line.
    pub fn said(&self) -> Vec<String> {
        match self {
            Self::Same { .. } | Self::NotHit => Vec::new(),
            Self::Different(difference) => {
                let Difference { missing, repeated, changed, ledger, .. } = difference;
                let head = format!("{missing} missing, {repeated} repeated, {changed} changed, {ledger} in the ledger");
                std::iter::once(head).chain(difference.said.iter().cloned()).collect()
            }
            Self::Audit(said) | Self::Failed(said) => said.lines().map(str::to_owned).collect(),
        }
    }
}

/// The outcomes that have a column, in order.
const COLUMNS: &[&str] = &["same", "fenced", "missing", "repeated", "changed", "ledger", "audit", "failed", "not hit"];

/// All cases and what they came to.
#[derive(Default)]
pub struct Matrix {
    done: Vec<(Case, Outcome)>,
}

impl Matrix {
    /// Takes note of a case.
    pub fn push(&mut self, case: Case, outcome: Outcome) {
        self.done.push((case, outcome));
    }

    /// How many cases.
    pub fn len(&self) -> usize {
        self.done.len()
    }

    /// How many faults happened.
    pub fn hit(&self) -> usize {
        self.done.iter().filter(|(_, outcome)| *outcome != Outcome::NotHit).count()
    }

    /// Cases that did not come to what was promised.
    pub fn wrong(&self) -> impl Iterator<Item = &(Case, Outcome)> {
        self.done.iter().filter(|(_, outcome)| !outcome.is_fine())
    }

    /// Faults that never happened, by name.
    pub fn not_hit(&self) -> Vec<String> {
        let cells = self.cells();
        let never = cells.into_iter().filter(|(_, counts)| counts.iter().sum::<i64>() == counts[COLUMNS.len() - 1]);
        never.map(|((point, act), _)| format!("{point}/{act}")).collect()
    }

    /// Rows in order of first appearance, with a count for each column.
    fn cells(&self) -> Vec<((&'static str, &'static str), Vec<i64>)> {
        let mut cells: Vec<((&'static str, &'static str), Vec<i64>)> = Vec::new();
        for (case, outcome) in &self.done {
            let name = (case.point, case.act.name());
            let at = cells.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                cells.push((name, vec![0; COLUMNS.len()]));
                cells.len() - 1
            });
            let column = COLUMNS.iter().position(|column| *column == outcome.what());
            cells[at].1[column.expect("every outcome has a column")] += 1;
        }
        cells
    }

    /// The matrix as a table. Zeros are left empty, so that what is there stands out.
    pub fn table(&self) -> Table {
        let mut columns = vec!["point", "fault"];
        columns.extend(COLUMNS);
        let rows = self.cells().into_iter().map(|((point, act), counts)| {
            let shown = |count: i64| if count == 0 { String::new() } else { count.to_string() };
            let counts = counts.into_iter().map(|count| Cell::Text(shown(count)));
            [point, act].map(|name| Cell::Text(name.to_owned())).into_iter().chain(counts).collect()
        });
        Table::of(&columns, rows.collect())
    }

    /// The matrix as JSON.
    pub fn to_json(&self) -> Value {
        let cells = self.cells().into_iter().map(|((point, act), counts)| {
            let mut cell = json!({"point": point, "fault": act});
            for (column, count) in COLUMNS.iter().zip(counts) {
                cell[column.replace(' ', "_")] = json!(count);
            }
            cell
        });
        Value::Array(cells.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Act;
    use super::*;

    fn matrix(outcomes: &[Outcome]) -> Matrix {
        let mut matrix = Matrix::default();
        for (number, outcome) in (0..).zip(outcomes) {
            matrix.push(Case { point: "after_move", act: Act::Kill, number }, outcome.clone());
        }
        matrix
    }

    #[test]
    fn a_difference_outweighs_that_nothing_happened_and_an_audit() {
        let lost = Difference { missing: 1, ..Difference::default() };
        let outcome = Outcome::of(Came::NotHit, lost, Some("the audit".to_owned()));
        assert_eq!((outcome.what(), outcome.is_fine()), ("missing", false));
        let outcome = Outcome::of(Came::NotHit, Difference::default(), Some("the audit".to_owned()));
        assert_eq!((outcome.what(), outcome.is_fine()), ("audit", false));
    }

    #[test]
    fn every_outcome_is_counted_in_its_column() {
        let different = |missing, repeated, changed, ledger| {
            Outcome::Different(Difference { missing, repeated, changed, ledger, said: Vec::new() })
        };
        let outcomes = [
            Outcome::Same { fenced: false },
            Outcome::Same { fenced: true },
            different(1, 1, 1, 1),
            different(0, 1, 1, 1),
            different(0, 0, 1, 1),
            different(0, 0, 0, 1),
            Outcome::Audit(String::new()),
            Outcome::Failed(String::new()),
            Outcome::NotHit,
        ];
        let matrix = matrix(&outcomes);
        assert_eq!(matrix.cells(), [(("after_move", "kill"), vec![1; COLUMNS.len()])]);
        assert_eq!(matrix.wrong().count(), 6);
        assert!(matrix.not_hit().is_empty());
    }

    #[test]
    fn what_never_happened_is_named() {
        assert_eq!(matrix(&[Outcome::NotHit, Outcome::NotHit]).not_hit(), ["after_move/kill"]);
        assert!(matrix(&[Outcome::NotHit, Outcome::Same { fenced: false }]).not_hit().is_empty());
    }
}
