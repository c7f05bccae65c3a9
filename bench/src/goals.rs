//! What each figure is compared with, and what it has to reach: the table of the project's goals, as data.

use crate::figures::{Figure, Figures, median};

/// What a figure has to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// At least so much of the limit.
    OfLimitAtLeast(f64),
    /// At most so much of the limit.
    OfLimitAtMost(f64),
    /// At most so much, in the figure's own unit.
    AtMost(f64),
}

/// A figure, what stands beside it, and what it has to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Comparison {
    figure: &'static str,
    limit: Option<&'static str>,
    goal: Option<Goal>,
}

/// A figure as it compares.
#[derive(Clone, PartialEq, Debug)]
pub struct Compared {
    /// The name of the limit.
    pub limit: Option<&'static str>,
    /// Run by run.
    pub ratios: Vec<f64>,
    /// What has to be reached.
    pub goal: Option<Goal>,
    /// Whether it is; `None` without a goal or without the limit.
    pub met: Option<bool>,
}

const fn against(figure: &'static str, limit: &'static str, goal: Option<Goal>) -> Comparison {
    Comparison { figure, limit: Some(limit), goal }
}

const fn at_most(figure: &'static str, most: f64) -> Comparison {
    Comparison { figure, limit: None, goal: Some(Goal::AtMost(most)) }
}

const fn at_least(share: f64) -> Option<Goal> {
    Some(Goal::OfLimitAtLeast(share))
}

/// All comparisons. A figure may stand here more than once.
pub const COMPARISONS: &[Comparison] = &[
    against("append", "limit: psql COPY, no key", at_least(0.45)),
    against("append", "peer: careful script", at_least(1.6)),
    at_most("append, CPU of the process", 2.5),
    at_most("append, peak memory", 200.0),
    against("upsert, new keys", "limit: staging, new keys", at_least(1.5)),
    against("upsert, new keys", "limit: psql COPY, key", None),
    against("upsert, existing keys", "limit: staging, existing keys", at_least(0.9)),
    against("merge", "consume and decode, two columns", at_least(0.9)),
    against("append_into", "append by SQL", at_least(0.9)),
    at_most("one call of a closure", 1.0),
    // Within 1.2 times its duration.
    against("UPDATEs in a closure", "limit: UPDATEs in a loop by hand", at_least(0.833)),
    against("consume", "limit: bare librdkafka", None),
    against("consume and decode", "limit: bare librdkafka", at_least(0.7)),
    against("consume and decode", "limit: decode from memory", None),
    against("statement", "limit: prepared UPDATE", None),
    against("files to SQLite, append", "limit: SQLite prepared INSERT", at_least(0.7)),
    against("files to SQLite, upsert", "limit: SQLite prepared upsert", None),
    against("files to PostgreSQL", "limit: psql COPY beside files", None),
    at_most("latency at 1000/s, p50", 30.0),
    at_most("latency at 1000/s, p99", 150.0),
    at_most("kill to first commit", 1.0),
    at_most("start to first commit", 0.5),
    at_most("memory, idle after a start", 60.0),
    at_most("memory, idle after a backlog", 60.0),
    at_most("memory, peak with a backlog", 200.0),
    at_most("cost of the ledger and digests", 5.0),
    against("append beside audits", "append without an audit beside it", at_least(0.8)),
    against("1 % dead letters, wall", "0 dead letters, wall", Some(Goal::OfLimitAtMost(2.0))),
    against("1 % refused, wall", "0 dead letters, wall", Some(Goal::OfLimitAtMost(2.0))),
    against("50 % dead letters, wall", "0 dead letters, wall", None),
    against("partitions: 256, wall", "partitions: 1, wall", None),
    against("columns: 100, wall", "columns: 1, wall", None),
    against("epochs: 100000 rows, wall", "epochs: 100 rows, wall", None),
];

/// How a figure compares, once for each comparison that it stands in; once without anything where it stands in none.
pub fn compare(figure: &Figure, figures: &Figures) -> Vec<Compared> {
    let own = COMPARISONS.iter().filter(|comparison| comparison.figure == figure.name);
    let compared: Vec<Compared> = own.filter_map(|comparison| one(figure, *comparison, figures)).collect();
    if compared.is_empty() {
        return vec![Compared { limit: None, ratios: vec![], goal: None, met: None }];
    }
    compared
}

/// `None` where the limit was not measured.
fn one(figure: &Figure, comparison: Comparison, figures: &Figures) -> Option<Compared> {
    let ratios = match comparison.limit {
        None => vec![],
        Some(limit) => figure.ratios(figures.named(limit)?),
    };
    let ratio = median(&ratios);
    let met = comparison.goal.map(|goal| match goal {
        Goal::OfLimitAtLeast(share) => ratio >= share,
        Goal::OfLimitAtMost(share) => ratio <= share,
        Goal::AtMost(most) => figure.median() <= most,
    });
    Some(Compared { limit: comparison.limit, ratios, goal: comparison.goal, met })
}

impl std::fmt::Display for Goal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OfLimitAtLeast(share) => write!(out, "≥ {share} ×"),
            Self::OfLimitAtMost(share) => write!(out, "≤ {share} ×"),
            Self::AtMost(most) => write!(out, "≤ {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Sample;

    #[test]
    fn a_goal_is_met_by_the_median_of_neighbours() {
        let mut figures = Figures::default();
        for (limit, subject) in [(100.0, 50.0), (10.0, 1.0), (100.0, 60.0)] {
            figures.add("append", Sample::of("limit: psql COPY, no key", "rows/s", limit));
            figures.add("append", Sample::of("append", "rows/s", subject));
        }
        let compared = compare(figures.named("append").expect("it was added"), &figures);
        assert_eq!(compared.len(), 1, "the peer was not measured");
        assert_eq!(compared[0].met, Some(true));
        assert_eq!(compared[0].ratios, [0.5, 0.1, 0.6]);
    }
}
