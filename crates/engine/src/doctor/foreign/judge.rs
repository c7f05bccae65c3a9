//! What the places of differences look like.

use super::super::check::{Ask, Check, Sure, ask};
use super::Known;
use super::runs::{Run, batch, names};
use crate::audit::What;

/// Differences of one kind that lie alike.
struct Pattern {
    cause: u8,
    id: &'static str,
    sure: Sure,
    seen: String,
    fix: String,
    why: &'static str,
}

/// All answers.
pub(super) fn all(known: &Known<'_>) -> Vec<Check> {
    let mut checks = vec![safe(known)];
    checks.extend(repeated(known));
    checks.extend(missing(known));
    checks.extend(changed(known));
    checks.extend(unexpected(known));
    checks.extend(transactions(known));
    checks.extend(group(known));
    checks
}

fn asked(known: &Known<'_>, cause: u8, id: &'static str) -> Ask {
    ask(cause, id, known.table.clone(), "the table compared with the log, record by record")
}

fn found(known: &Known<'_>, pattern: Pattern) -> Check {
    let Pattern { cause, id, sure, seen, fix, why } = pattern;
    let can = format!("yes, it did: {}", sure.as_str());
    Check { sure: Some(sure), ..asked(known, cause, id).broken(seen, can, fix, why) }
}

/// Whether a second write of a record makes a second row.
fn safe(known: &Known<'_>) -> Check {
    let ask = ask(1, "repeat-safe", known.table.clone(), "the table's unique indexes");
    let keyed = known.uniques.iter().find(|unique| unique.whole);
    if let Some(unique) = keyed {
        let seen = format!("{} on ({}) is unique", unique.name, unique.columns.join(", "));
        return ask.ok(seen, "a record that is written again meets its own row");
    }
    let fix = format!("{} {}", without_doubles(known), unique_index(known));
    let (seen, why) =
        ("no unique key", "a record that is written again then meets its own row: ON CONFLICT DO NOTHING");
    match known.report.summary.repeated {
        0 => ask.warning(seen, "yes: a record that is written again becomes a second row", fix, why),
        count => ask.broken(format!("{seen}, and {count} rows too many"), "yes, it did", fix, why),
    }
}

fn unique_index(known: &Known<'_>) -> String {
    let name = if known.system == "SQLite" { " onceflow_key" } else { "" };
    format!("CREATE UNIQUE INDEX{name} ON {} ({});", known.table, known.key)
}

fn without_doubles(known: &Known<'_>) -> String {
    let (table, key) = (&known.table, &known.key);
    match known.system {
        "SQLite" => format!("DELETE FROM {table} WHERE rowid NOT IN (SELECT min(rowid) FROM {table} GROUP BY {key});"),
        _ => format!("DELETE FROM {table} a USING {table} b WHERE a.{key} = b.{key} AND a.ctid > b.ctid;"),
    }
}

const TOGETHER: &str = "store the positions in a table of the same database, in the transaction of the rows, and read them there at the \
                        start; or let `onceflow run` do it";
const WHY_TOGETHER: &str = "rows and position then commit together or not at all, so there is no moment between them";

fn repeated(known: &Known<'_>) -> Vec<Check> {
    let runs = known.logs.runs(&known.report.findings, What::Repeated);
    if runs.is_empty() {
        let ask = asked(known, 2, "rows-repeated");
        return match known.report.summary.repeated {
            0 => vec![
                ask.ok("no record's row is there more than once", "nothing was written twice, or it met its own row"),
            ],
            count => {
                let seen = format!("{count} rows too many, of records that cannot be told apart");
                vec![ask.broken(seen, "yes, it did", without_doubles(known), "it keeps one row of each key")]
            }
        };
    }
    let (mut from_start, mut rest) = super::runs::from_the_start(&runs);
    // Where most lies elsewhere, the first records were written again for the reason of the others.
    if records(&from_start) < 4 * records(&rest) {
        rest = runs.iter().collect();
        from_start.clear();
    }
    let (single, stretches): (Vec<&Run>, Vec<&Run>) =
        rest.into_iter().partition(|run| run.records == 1 && !run.follows);
    let mut checks = Vec::new();
    if !from_start.is_empty() {
        checks.push(found(known, from_the_start(known, &from_start)));
    }
    if !stretches.is_empty() {
        checks.push(found(known, again(known, &stretches)));
    }
    if !single.is_empty() {
        checks.push(found(known, one_by_one(known, &single)));
    }
    checks
}

fn records(runs: &[&Run]) -> u64 {
    runs.iter().map(|run| run.records).sum()
}

fn from_the_start(known: &Known<'_>, runs: &[&Run]) -> Pattern {
    Pattern {
        cause: 2,
        id: "read-from-the-start",
        sure: if runs.len() > 1 || runs[0].records >= 100 { Sure::Likely } else { Sure::Possible },
        seen: format!(
            "{} records' rows are there again, from the log's first record on: {}",
            records(runs),
            names(runs)
        ),
        fix: without_doubles(known),
        why: "it keeps one row of each record; and a stored position that is never reset or lost (auto.offset.reset = none) keeps the \
              log from being read from its start again",
    }
}

/// Stretches in the middle of a log that were written again: after a restart, whose position was older than its rows.
fn again(known: &Known<'_>, runs: &[&Run]) -> Pattern {
    let (count, places) = (records(runs), names(runs));
    let spread = spread(runs);
    if known.rows_per_transaction.is_some_and(|rows| rows < 1.5) {
        return Pattern {
            cause: 3,
            id: "half-batches-repeated",
            sure: Sure::Likely,
            seen: format!(
                "{count} records' rows are there again in stretches ({places}), and nearly every row has a transaction of its own{spread}"
            ),
            fix: TOGETHER.to_owned(),
            why: WHY_TOGETHER,
        };
    }
    match batch(runs) {
        Some(size) if runs.iter().any(|run| run.records > 2 * size) => Pattern {
            cause: 6,
            id: "several-batches-repeated",
            sure: Sure::Likely,
            seen: format!(
                "{count} records' rows are there again in stretches of several batches of {size} ({places}): positions are stored less often \
                 than rows, as by a checkpoint or enable.auto.commit{spread}"
            ),
            fix: TOGETHER.to_owned(),
            why: WHY_TOGETHER,
        },
        Some(size) => Pattern {
            cause: 4,
            id: "batches-repeated",
            sure: Sure::Certain,
            seen: format!(
                "{count} records' rows are there again in stretches of whole batches of {size} ({places}): their rows were committed and \
                 their position was not, before a restart{spread}"
            ),
            fix: TOGETHER.to_owned(),
            why: WHY_TOGETHER,
        },
        None if runs.len() > 1 => Pattern {
            cause: 3,
            id: "half-batches-repeated",
            sure: Sure::Likely,
            seen: format!(
                "{count} records' rows are there again in stretches of different length ({places}): parts of batches were there before a \
                 restart, so a batch is no transaction{spread}"
            ),
            fix: TOGETHER.to_owned(),
            why: WHY_TOGETHER,
        },
        None => Pattern {
            cause: 4,
            id: "batches-repeated",
            sure: Sure::Likely,
            seen: format!(
                "{count} records' rows are there again in one stretch ({places}): rows were committed and their position was not"
            ),
            fix: TOGETHER.to_owned(),
            why: WHY_TOGETHER,
        },
    }
}

/// Whether one partition is concerned or several.
fn spread(runs: &[&Run]) -> String {
    let mut partitions: Vec<_> = runs.iter().map(|run| &run.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    match (partitions.as_slice(), runs.len()) {
        ([one], 2..) => format!("; all of them in {one}: one worker, or one that took it over"),
        (many, _) if many.len() > 1 => format!("; in {} partitions", many.len()),
        _ => String::new(),
    }
}

fn one_by_one(known: &Known<'_>, runs: &[&Run]) -> Pattern {
    Pattern {
        cause: 1,
        id: "single-rows-repeated",
        sure: Sure::Possible,
        seen: format!(
            "{} single rows are there more than once: {}; a statement that was tried again after its answer was lost, or two workers \
             with the same record",
            runs.len(),
            names(runs)
        ),
        fix: format!("{} {}", without_doubles(known), unique_index(known)),
        why: "with a unique key a statement can be tried again: ON CONFLICT DO NOTHING",
    }
}

fn missing(known: &Known<'_>) -> Vec<Check> {
    let runs = known.logs.runs(&known.report.findings, What::Missing);
    if runs.is_empty() {
        let ask = asked(known, 4, "rows-missing");
        return match known.report.summary.missing {
            0 => vec![ask.ok("no record's row is missing", "no position was stored before its rows")],
            count => {
                let seen = format!("{count} rows are missing, of records that cannot be told apart");
                vec![ask.broken(seen, "yes, it did", LIST, WHY_LIST)]
            }
        };
    }
    let mut checks = Vec::new();
    let (tail, rest): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|run| run.end);
    let (head, rest): (Vec<&Run>, Vec<&Run>) = rest.into_iter().partition(|run| run.first && run.records > 1);
    let (single, stretches): (Vec<&Run>, Vec<&Run>) = rest.into_iter().partition(|run| run.records == 1);
    checks.extend(tail.iter().map(|run| at_the_end(known, run)));
    if !head.is_empty() {
        checks.push(found(known, Pattern {
            cause: 2,
            id: "began-later",
            sure: Sure::Likely,
            seen: format!("the rows of {} records are missing from the log's first one on: {}", records(&head), names(&head)),
            fix: LIST.to_owned(),
            why: "it began behind them, as with auto.offset.reset = latest, or they came into the log before it; what is listed can be \
                  written once more by their keys",
        }));
    }
    if !stretches.is_empty() {
        checks.push(found(known, lost(&stretches)));
    }
    if !single.is_empty() {
        checks.push(found(known, Pattern {
            cause: 3,
            id: "single-rows-missing",
            sure: Sure::Possible,
            seen: format!(
                "{} single rows are missing: {}; rows that failed and were passed over, or that a trigger or ON CONFLICT DO NOTHING left out",
                single.len(),
                names(&single)
            ),
            fix: LIST.to_owned(),
            why: WHY_LIST,
        }));
    }
    checks
}

const LIST: &str = "onceflow audit with the same --topic, --home, --table and --map, and --format csv";
const WHY_LIST: &str = "it lists every record whose row is missing, with its values, so that the rows can be written once more by their keys";

fn lost(runs: &[&Run]) -> Pattern {
    let size = batch(runs).map(|size| format!(" of whole batches of {size}")).unwrap_or_default();
    Pattern {
        cause: 4,
        id: "batches-missing",
        sure: if runs.len() > 1 { Sure::Certain } else { Sure::Likely },
        seen: format!(
            "the rows of {} records are missing in stretches{size} ({}): their position was stored, their rows were not, before a restart{}",
            records(runs),
            names(runs),
            spread(runs)
        ),
        fix: TOGETHER.to_owned(),
        why: WHY_TOGETHER,
    }
}

/// The last records of a partition: not yet written, or lost.
fn at_the_end(known: &Known<'_>, run: &Run) -> Check {
    let ask = asked(known, 4, "end-missing");
    let position = known.group.as_ref().and_then(|group| group.get(&run.partition)).map(|position| position.get());
    let place = super::runs::name(run);
    match position {
        Some(position) if position > run.from => {
            let seen = format!("{place}: no rows, and the group's position is {position} already");
            Check { sure: Some(Sure::Certain), ..ask.broken(seen, "yes, it did: certain", LIST, WHY_LIST) }
        }
        Some(position) => {
            let why = "they have not been processed yet; nothing is lost";
            ask.ok(format!("{place}: no rows yet, and the group's position is {position}"), why)
        }
        None => ask.warning(
            format!("{place}: no rows; they are the last of the partition"),
            "unknown: they may not have been processed yet",
            "onceflow doctor --foreign … --group GROUP",
            "a group's position behind them says that they were passed over",
        ),
    }
}

fn changed(known: &Known<'_>) -> Option<Check> {
    let count = known.report.summary.changed;
    let runs = known.logs.runs(&known.report.findings, What::Changed);
    let runs: Vec<&Run> = runs.iter().collect();
    (count > 0).then(|| {
        found(known, Pattern {
            cause: 2,
            id: "rows-changed",
            sure: Sure::Possible,
            seen: format!(
                "{count} rows have other values than their records ({}): an older record came after a newer one, as when a log is read again, or \
                 something else changed them",
                names(&runs)
            ),
            fix: LIST.to_owned(),
            why: "it lists each with both values; a write that compares the record's offset with the stored one cannot go back",
        })
    })
}

fn unexpected(known: &Known<'_>) -> Option<Check> {
    let count = known.report.summary.unexpected;
    (count > 0).then(|| {
        found(known, Pattern {
            cause: 5,
            id: "rows-unexpected",
            sure: Sure::Possible,
            seen: format!("{count} rows are there that no record of the log makes: something else writes, or their records have expired"),
            fix: LIST.to_owned(),
            why: "it lists them; a role of its own for the pipeline keeps others from writing",
        })
    })
}

/// Whether rows are written many at a time.
fn transactions(known: &Known<'_>) -> Option<Check> {
    let rows = known.rows_per_transaction?;
    let how = format!("SELECT count(*), count(DISTINCT xmin::text) FROM {}", known.table);
    let ask = ask(3, "rows-per-transaction", known.table.clone(), how);
    Some(match rows < 1.5 {
        true => ask.warning(
            format!("{rows:.1} rows for each transaction"),
            "yes: where a batch is no transaction, a crash leaves half of it",
            TOGETHER,
            WHY_TOGETHER,
        ),
        false => ask.ok(format!("{rows:.0} rows for each transaction"), "a batch is there as a whole, or not at all"),
    })
}

/// The group's positions beside the table.
fn group(known: &Known<'_>) -> Vec<Check> {
    let Some(group) = &known.group else { return Vec::new() };
    let missing = known.logs.runs(&known.report.findings, What::Missing);
    let mut checks = Vec::new();
    for (partition, (_, end)) in known.logs.each() {
        let ask = ask(4, "group-positions", partition.to_string(), "the group's committed offsets, beside the table");
        let tail = missing.iter().find(|run| run.end && run.partition == *partition);
        let written = tail.map_or(end, |run| run.from);
        let check = match group.get(partition).map(|position| position.get()) {
            None => ask.warning(
                "the group has no position here",
                "yes: at the next start auto.offset.reset decides: all again, or all left out",
                "auto.offset.reset = none",
                "then it stops instead of guessing",
            ),
            Some(position) if position < written => ask.warning(
                format!("the group is at {position}, the table has the records up to {written}"),
                format!("yes: a start now writes {} records again; or it is just at work", written - position),
                TOGETHER,
                WHY_TOGETHER,
            ),
            Some(position) if position > written => Check {
                sure: Some(Sure::Certain),
                ..ask.broken(
                    format!("the group is at {position}, the table has the records up to {written} only"),
                    "yes, it did: they are passed over for good",
                    LIST,
                    WHY_LIST,
                )
            },
            Some(position) => ask.ok(format!("group and table are both at {position}"), "nothing is between them now"),
        };
        checks.push(check);
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::super::Status;
    use super::super::runs::Logs;
    use super::super::runs::tests::{partition, report};
    use super::*;
    use crate::audit::Report;
    use onceflow_core::Position;
    use std::ops::Range;

    fn with(report: &Report, group: Option<u64>, rows_per_transaction: Option<f64>) -> Vec<(u8, &'static str, Status)> {
        let logs = Logs::of(report, true);
        let known = Known {
            table: "\"t\"".to_owned(),
            key: "\"id\"".to_owned(),
            system: "PostgreSQL",
            report,
            logs: &logs,
            group: group.map(|position| [(partition(), Position::new(position))].into()),
            rows_per_transaction,
            uniques: Vec::new(),
        };
        all(&known).iter().map(|check| (check.cause, check.id, check.status)).collect()
    }

    fn causes(found: &[(What, Range<u64>)], rows_per_transaction: Option<f64>) -> Vec<(u8, &'static str)> {
        let found = with(&report(10_000, found), None, rows_per_transaction);
        let broken = found.into_iter().filter(|(_, _, status)| *status == Status::Broken);
        broken.map(|(cause, id, _)| (cause, id)).collect()
    }

    #[test]
    fn each_pattern_is_told_from_the_others() {
        use What::{Changed, Missing, Repeated, Unexpected};
        for (found, rows, expected) in [
            (vec![], None, vec![]),
            (vec![(Repeated, 500..1_000), (Repeated, 3_000..3_500)], Some(500.0), vec![(4, "batches-repeated")]),
            (vec![(Repeated, 500..1_000), (Repeated, 3_000..4_500)], None, vec![(6, "several-batches-repeated")]),
            (vec![(Repeated, 500..737), (Repeated, 3_000..3_411)], None, vec![(3, "half-batches-repeated")]),
            (vec![(Repeated, 500..737)], Some(1.0), vec![(3, "half-batches-repeated")]),
            (vec![(Repeated, 500..737)], Some(400.0), vec![(4, "batches-repeated")]),
            (vec![(Repeated, 0..7_000)], None, vec![(2, "read-from-the-start")]),
            (vec![(Repeated, 77..78), (Repeated, 900..901)], None, vec![(1, "single-rows-repeated")]),
            (vec![(Missing, 500..1_000), (Missing, 3_000..3_500)], None, vec![(4, "batches-missing")]),
            (vec![(Missing, 0..3_000)], None, vec![(2, "began-later")]),
            (vec![(Missing, 77..78)], None, vec![(3, "single-rows-missing")]),
            (vec![(Missing, 9_000..10_000)], None, vec![]),
            (
                vec![(Repeated, 500..1_000), (Missing, 77..78)],
                None,
                vec![(4, "batches-repeated"), (3, "single-rows-missing")],
            ),
        ] {
            assert_eq!(causes(&found, rows), expected, "{found:?}");
        }
        for (what, id) in [(Changed, "rows-changed"), (Unexpected, "rows-unexpected")] {
            let mut report = report(10_000, &[(what, 5..7)]);
            (report.summary.changed, report.summary.unexpected) = if what == Changed { (2, 0) } else { (0, 2) };
            assert!(with(&report, None, None).iter().any(|check| check.1 == id && check.2 == Status::Broken));
        }
    }

    #[test]
    fn what_is_missing_at_the_end_is_lost_only_where_the_group_has_passed_it() {
        for (position, tail, beside) in [
            (9_000, Status::Ok, Status::Ok),
            (8_000, Status::Ok, Status::Warning),
            (9_500, Status::Broken, Status::Broken),
        ] {
            let found = with(&report(10_000, &[(What::Missing, 9_000..10_000)]), Some(position), None);
            let status = |id: &str| found.iter().find(|check| check.1 == id).map(|check| check.2);
            assert_eq!(status("end-missing"), Some(tail), "{position}");
            assert_eq!(status("group-positions"), Some(beside), "{position}");
        }
    }

    #[test]
    fn nothing_wrong_is_nothing_broken() {
        let found = with(&report(10_000, &[]), Some(10_000), Some(500.0));
        assert!(found.iter().all(|check| check.2 < Status::Unknown), "{found:?}");
    }
}
