//! Causes 2 and 4: the source against the ledger.

use super::check::{Ask, Check, ask};
use crate::error::Error;
use crate::source::{Difference, Mismatch, SourceFactory};
use onceflow_core::{Partition, PositionRow};

/// Partitions that are listed one by one.
const LISTED_MAX: usize = 5;

/// Where one partition stands.
#[derive(Clone, Debug)]
struct Stand {
    partition: String,
    begin: u64,
    end: u64,
    next: u64,
    group: Option<u64>,
}

/// Examines one source. Blocks.
pub(super) fn examine(factory: &dyn SourceFactory, positions: Option<&[PositionRow]>, checks: &mut Vec<Check>) {
    let about = factory.describe();
    checks.push(caveat(&about, factory.caveat()));
    let own = |row: &&PositionRow| &*row.partition.source == factory.name();
    let rows: Vec<PositionRow> = positions.unwrap_or_default().iter().filter(own).cloned().collect();
    let reach = ask(2, "source-reachable", about.clone(), "list the partitions");
    let mut source = match factory.open() {
        Ok(source) => source,
        Err(error) => return checks.push(reach.unknown(&error)),
    };
    let found = match source.discover() {
        Ok(found) => found,
        Err(error) => return checks.push(reach.unknown(&error)),
    };
    checks.push(reach.ok(format!("{} partitions", found.len()), "it answers"));
    let verify = ask(2, "source-identity", about.clone(), "identity, begin, end and last record against the ledger");
    match source.verify(&rows) {
        Ok(mismatches) => checks.push(identity(verify, rows.len(), &mismatches)),
        Err(error) => checks.push(verify.unknown(&error)),
    }
    let there: Vec<Partition> = found.into_iter().map(|found| found.partition).collect();
    let missing = rows.iter().map(|row| &row.partition).filter(|partition| !there.contains(partition));
    checks.push(vanished(&about, &missing.map(ToString::to_string).collect::<Vec<_>>()));
    let known: Vec<&PositionRow> = rows.iter().filter(|row| there.contains(&row.partition)).collect();
    topics_of(factory, &mut *source, &there, &known, checks);
    let partitions: Vec<Partition> = known.iter().map(|row| row.partition.clone()).collect();
    let group = factory.group();
    let place = ask(2, "positions", about.clone(), "begin and end of the log beside the ledger's positions");
    match stands(&mut *source, &known, &partitions, group.as_deref()) {
        Ok(stands) => {
            checks.push(retention(place, &stands));
            checks.push(groups(&about, group.as_deref(), &stands));
        }
        Err(error) => checks.push(place.unknown(&error)),
    }
}

/// What the system says of the topics, and how long unread records are safe there.
fn topics_of(
    factory: &dyn SourceFactory,
    source: &mut dyn crate::source::Source,
    there: &[Partition],
    known: &[&PositionRow],
    checks: &mut Vec<Check>,
) {
    let about = factory.describe();
    let mut names: Vec<String> = there.iter().map(|partition| partition.topic.to_string()).collect();
    names.dedup();
    // The ends are asked after the facts: what is produced meanwhile does not look like an open transaction.
    match factory.topics(&names).and_then(|facts| Ok((facts, source.ends(there)?))) {
        Ok((facts, ends)) => {
            checks.extend(facts.iter().flat_map(|facts| super::topics::judge(facts, &ends)));
            let ask = ask(2, "headroom", about, "the oldest unread record, and the newest ones, read without a group");
            checks.extend(super::headroom::check(ask, &facts, source, known, &ends));
        }
        Err(error) => checks.push(ask(2, "topics", about, "describe the topics and their settings").unknown(&error)),
    }
}

fn stands(
    source: &mut dyn crate::source::Source,
    known: &[&PositionRow],
    partitions: &[Partition],
    group: Option<&str>,
) -> Result<Vec<Stand>, Error> {
    let begins = source.beginnings(partitions)?;
    let ends = source.ends(partitions)?;
    let committed = group.map(|group| source.group_positions(group, partitions)).transpose()?.unwrap_or_default();
    let stand = |row: &&PositionRow| {
        let (begin, end) = (begins.get(&row.partition)?, ends.get(&row.partition)?);
        Some(Stand {
            partition: row.partition.to_string(),
            begin: begin.get(),
            end: end.get(),
            next: row.next.get(),
            group: committed.get(&row.partition).map(|position| position.get()),
        })
    };
    Ok(known.iter().filter_map(stand).collect())
}

fn caveat(about: &str, caveat: Option<String>) -> Check {
    let ask = ask(2, "source-isolation", about, "onceflow explain FILE");
    match caveat {
        None => ask.ok("only committed records are read", "what a producer aborted never arrives"),
        Some(caveat) => ask.broken(
            caveat,
            "yes: whenever a producer aborts a transaction",
            "remove 'properties.isolation.level' = 'read_uncommitted' from the source",
            "read_committed is what Onceflow uses where nothing is said; aborted records are then left out by the client",
        ),
    }
}

fn identity(ask: Ask, rows: usize, mismatches: &[Mismatch]) -> Check {
    if mismatches.is_empty() {
        let why = "the ledger alone says where to read, and the log is the one that it remembers";
        return ask.ok(format!("{rows} partitions are as the ledger remembers them"), why);
    }
    let said: Vec<String> = mismatches.iter().take(LISTED_MAX).map(difference).collect();
    let more = mismatches.len().saturating_sub(LISTED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let first = &mismatches[0].partition;
    ask.broken(
        format!("{}{more}", said.join("; ")),
        "yes, if one went on reading: records would be left out or read again; `onceflow run` refuses to start",
        format!("onceflow ledger reset FILE --partition '{}/{}' --to beginning --reason '…'", first.topic, first.number),
        "an operator says from where on this other log counts, and the decision stands in the ledger; to keep the rows exact, \
         bring the old log back instead",
    )
}

fn difference(mismatch: &Mismatch) -> String {
    let name = &mismatch.partition;
    match &mismatch.what {
        Difference::Identity { .. } => format!("{name}: it is another log than the ledger remembers (recreated)"),
        Difference::Gone => format!("{name}: it does not exist any more"),
        Difference::Expired { ledger, start } => {
            format!(
                "{name}: the log begins at {start}, the position is {ledger}: records expired before they were read"
            )
        }
        Difference::Truncated { ledger, end } => {
            format!("{name}: the log ends at {end}, the position is {ledger}: it was truncated")
        }
        Difference::Tail { offset } => format!("{name}: the last consumed record (at {offset}) reads differently now"),
    }
}

fn vanished(about: &str, missing: &[String]) -> Check {
    let ask = ask(2, "partitions-there", about, "the partitions that exist beside those of the ledger");
    if missing.is_empty() {
        return ask.ok("every partition of the ledger is there", "nothing that was begun is out of reach");
    }
    ask.warning(
        format!("the ledger has positions in what is not there any more: {}", missing.join(", ")),
        "nothing is read twice; but records that were not read before it vanished are lost, and an audit cannot read them again",
        format!("onceflow ledger forget FILE --partition '{}' --reason '…'", missing[0]),
        "where all of it was read and it was meant to go, the ledger need not remember it; else bring it back",
    )
}

fn retention(ask: Ask, stands: &[Stand]) -> Check {
    let shown = |stand: &Stand| {
        let lag = stand.end.saturating_sub(stand.next);
        let Stand { partition, begin, end, next, .. } = stand;
        format!("{partition}: log {begin}..{end}, ledger {next}, {lag} behind")
    };
    let mut seen: Vec<String> = stands.iter().take(LISTED_MAX).map(shown).collect();
    if stands.len() > LISTED_MAX {
        seen.push(format!("and {} partitions more", stands.len() - LISTED_MAX));
    }
    if seen.is_empty() {
        seen.push("no partition has a position yet".to_owned());
    }
    // The log's beginning has moved, and what is not read is nearer to it than a tenth of the log.
    let near = |stand: &&Stand| {
        let kept = stand.end.saturating_sub(stand.begin);
        stand.begin > 0 && stand.next < stand.end && stand.next.saturating_sub(stand.begin) < kept.div_ceil(10)
    };
    match stands.iter().find(near) {
        None => ask.ok(seen.join("; "), "what is not read yet is far from what the source deletes, or all is read"),
        Some(stand) => ask.warning(
            seen.join("; "),
            format!("soon: {} is close to the beginning of its log, which moves by retention", stand.partition),
            "kafka-configs.sh --alter --entity-type topics --entity-name TOPIC --add-config retention.ms=-1",
            "nothing expires while the pipeline catches up; take it back afterwards",
        ),
    }
}

fn groups(about: &str, group: Option<&str>, stands: &[Stand]) -> Check {
    let ask = ask(4, "group-positions", about, "the group's committed offsets beside the ledger's positions");
    let why = "positions are committed in the transaction of the rows; what a group has is never read back";
    let Some(group) = group else {
        return ask.ok("no consumer group: the ledger is the only place where positions are", why);
    };
    let shown = |stand: &Stand| {
        let group = stand.group.map_or_else(|| "none".to_owned(), |group| group.to_string());
        format!("{}: group {group}, ledger {}, log {}..{}", stand.partition, stand.next, stand.begin, stand.end)
    };
    let mut seen: Vec<String> = stands.iter().take(LISTED_MAX).map(shown).collect();
    seen.insert(0, format!("group '{group}'"));
    let ahead = |stand: &&Stand| stand.group.is_some_and(|group| group > stand.next);
    match stands.iter().find(ahead) {
        None => ask.ok(seen.join("; "), why),
        Some(stand) => ask.warning(
            seen.join("; "),
            format!("not for this pipeline, but the group is ahead of the ledger in {}: another consumer commits in it", stand.partition),
            "kafka-consumer-groups.sh --describe --group GROUP; then give this pipeline a 'properties.group.id' of its own",
            "with a group of its own the offsets that others see are this pipeline's",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use onceflow_core::Position;

    fn stand(begin: u64, end: u64, next: u64, group: Option<u64>) -> Stand {
        Stand { partition: "t/0".to_owned(), begin, end, next, group }
    }

    fn asked() -> Ask {
        ask(2, "test", "t", "look")
    }

    #[test]
    fn every_difference_is_broken_and_none_is_fine() {
        let partition = Partition::new("s", "t", 0);
        let (a, b) = (Position::new(5), Position::new(9));
        for what in [
            Difference::Gone,
            Difference::Expired { ledger: a, start: b },
            Difference::Truncated { ledger: b, end: a },
            Difference::Tail { offset: a },
        ] {
            let mismatch = Mismatch { partition: partition.clone(), what };
            assert_eq!(identity(asked(), 1, &[mismatch]).status, Status::Broken);
        }
        assert_eq!(identity(asked(), 1, &[]).status, Status::Ok);
    }

    #[test]
    fn a_position_near_the_moving_beginning_is_a_warning() {
        assert_eq!(retention(asked(), &[stand(100, 1_100, 120, None)]).status, Status::Warning);
        assert_eq!(retention(asked(), &[stand(100, 1_100, 900, None)]).status, Status::Ok);
        assert_eq!(retention(asked(), &[stand(100, 100, 100, None)]).status, Status::Ok, "all is read");
        assert_eq!(retention(asked(), &[stand(0, 1_100, 1, None)]).status, Status::Ok, "nothing was deleted yet");
    }

    #[test]
    fn a_group_ahead_of_the_ledger_is_somebody_else() {
        assert_eq!(groups("t", Some("g"), &[stand(0, 10, 5, Some(9))]).status, Status::Warning);
        assert_eq!(groups("t", Some("g"), &[stand(0, 10, 5, Some(5))]).status, Status::Ok);
        assert_eq!(groups("t", None, &[stand(0, 10, 5, None)]).status, Status::Ok);
    }

    #[test]
    fn what_vanished_is_a_warning() {
        assert_eq!(vanished("t", &["t/0".to_owned()]).status, Status::Warning);
        assert_eq!(vanished("t", &[]).status, Status::Ok);
    }

    #[test]
    fn aborted_records_are_a_fault() {
        assert_eq!(caveat("t", Some("read_uncommitted".to_owned())).status, Status::Broken);
        assert_eq!(caveat("t", None).status, Status::Ok);
    }
}
