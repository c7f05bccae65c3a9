//! Causes 5 and 6: what is no home, more than one home, and the ledger as the only state.

use super::check::{Ask, Check, ask};
use crate::home::Guarantee;
use crate::pipeline::Pipeline;

/// Cause 5: targets outside the transaction.
pub(super) fn homes(pipeline: &Pipeline) -> Vec<Check> {
    let homes: Vec<(String, Guarantee)> =
        pipeline.branches.iter().map(|branch| (branch.home.describe(), branch.home.guarantee())).collect();
    let mut checks: Vec<Check> = homes.iter().map(|(home, guarantee)| target(home, *guarantee)).collect();
    checks.push(number(&homes.iter().map(|(home, _)| home.as_str()).collect::<Vec<_>>()));
    checks
}

fn target(home: &str, guarantee: Guarantee) -> Check {
    let ask = ask(5, "target-is-home", home, "onceflow explain FILE");
    match guarantee {
        Guarantee::Atomic => ask.ok(
            "rows and ledger commit in one transaction of this database",
            "nothing outside the database has to agree with it",
        ),
        Guarantee::AtLeastOnce => ask.broken(
            "the target keeps no ledger: at least once, a restart writes rows again",
            "yes: at every restart",
            "CREATE TABLE … WITH ('connector' = 'postgres', …) or ('connector' = 'sqlite', …)",
            "a database that holds rows and positions commits both or none",
        ),
    }
}

fn number(homes: &[&str]) -> Check {
    let ask = ask(5, "one-home", homes.join(", "), "onceflow explain FILE");
    if homes.len() <= 1 {
        return ask.ok("one home", "one transaction covers all that is written");
    }
    ask.warning(
        format!("{} homes, each with a ledger and positions of its own", homes.len()),
        "only between homes: each is exactly once in itself, and one may be ahead of the other",
        "write to one home, and copy inside the database with a view or a trigger there",
        "only what commits in one transaction can be read together",
    )
}

/// There is no ledger of this pipeline.
pub(super) fn absent(home: &str) -> Check {
    let error = crate::Error::config(crate::codes::OF0130, format!("{home} has no ledger of this pipeline"))
        .note("without a ledger there are no positions that could be compared")
        .help("onceflow run FILE");
    ask(6, "ledger", home, "onceflow ledger show FILE").unknown(&error)
}

/// Cause 6: the ledger against itself.
pub(super) fn chain(ask: Ask, commits: usize, found: &[String]) -> Check {
    if found.is_empty() {
        return ask.ok(
            format!("chain, counts and positions of {commits} commits fit together"),
            "the only state is in the database, in the transaction of the rows; there is no checkpoint that could be older",
        );
    }
    ask.broken(
        found.join("; "),
        "yes: somebody changed the ledger, so positions and rows may not belong together",
        "onceflow audit FILE --level 3",
        "the audit compares the rows themselves with the source and names what is missing or repeated; then restore the \
         database from a backup, or decide with `onceflow ledger reset`",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_target_without_a_ledger_is_at_least_once() {
        assert_eq!(target("print", Guarantee::AtLeastOnce).status, Status::Broken);
        assert_eq!(target("sqlite:/a.db", Guarantee::Atomic).status, Status::Ok);
    }

    #[test]
    fn two_homes_are_not_one_transaction() {
        assert_eq!(number(&["a", "b"]).status, Status::Warning);
        assert_eq!(number(&["a"]).status, Status::Ok);
    }

    #[test]
    fn a_ledger_that_contradicts_itself_is_broken() {
        let ask = || ask(6, "ledger-chain", "a", "audit");
        assert_eq!(chain(ask(), 3, &["commit 2: no".to_owned()]).status, Status::Broken);
        assert_eq!(chain(ask(), 3, &[]).status, Status::Ok);
    }
}
