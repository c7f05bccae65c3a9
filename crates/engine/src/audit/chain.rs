//! Level 1: the ledger against itself. Its chain, its counts, its positions.
//!
//! The chain hash of an epoch covers the one before it, the spans, counts and digests. So a commit row that was edited, taken
//! out or put in is found, unless every later row and the shard's own were made anew as well.

use super::evidence::{Commit, Evidence, Move};
use super::report::{Level, RecordName, Report, What};
use crate::home::{COMMIT_DAYS_KEPT, COMMITS_KEPT};
use onceflow_core::{ChainHash, Consumed, Counts, Seal, ShardId};
use std::collections::BTreeMap;

/// Checks everything that needs no source.
pub fn check(evidence: &Evidence, report: &mut Report) {
    let before = total(report);
    counts(evidence, report);
    let epochs = chains(evidence, report);
    spans(evidence, report);
    letters(evidence, report);
    beginning(evidence, report);
    let good = total(report) == before;
    let commits = evidence.commits.len();
    let said = match good {
        true => format!("chain, counts and positions of {commits} commits with {epochs} epochs fit together"),
        false => format!("chain, counts or positions of {commits} commits contradict each other"),
    };
    report.check(Level::Ledger, None, Some(good), said);
}

fn total(report: &Report) -> u64 {
    report.found.values().sum()
}

fn wrong(report: &mut Report, commit: &Commit, said: &str) {
    report.find_fact(What::Ledger, None, None, format!("commit {} ({}): {said}", commit.id, commit.at));
}

fn counts(evidence: &Evidence, report: &mut Report) {
    for commit in &evidence.commits {
        for (name, counts) in [("the counts", &commit.counts), ("the prepared counts", &commit.prepared)] {
            if !counts.balanced() {
                wrong(report, commit, &format!("{name} do not add up: {}", shown(counts)));
            }
        }
        if commit.is_replay() {
            continue;
        }
        let digested: u64 = commit.moves.iter().flat_map(|step| &step.parts).map(|part| part.digest.count()).sum();
        for (name, records) in [("", commit.counts.records), ("prepared ", commit.prepared.records)] {
            if records != digested {
                wrong(report, commit, &format!("{records} {name}records, and its spans have {digested}"));
            }
        }
        if commit.counts.filtered != commit.prepared.filtered || commit.counts.late != commit.prepared.late {
            wrong(report, commit, "what was filtered is not what was prepared");
        }
        if commit.counts.used > commit.prepared.used {
            wrong(report, commit, "more records were used than were prepared");
        }
    }
}

fn shown(counts: &Counts) -> String {
    let Counts { records, used, filtered, late, dead, skipped } = counts;
    format!("{records} records, {used} used, {filtered} filtered, {late} late, {dead} dead, {skipped} skipped")
}

/// Follows each shard from its oldest commit row to its row in the ledger. Says how many epochs were followed.
fn chains(evidence: &Evidence, report: &mut Report) -> u64 {
    let mut by_shard: BTreeMap<&ShardId, Vec<(&Commit, &Move)>> = BTreeMap::new();
    for commit in &evidence.commits {
        commit.moves.iter().for_each(|step| by_shard.entry(&step.shard).or_default().push((commit, step)));
    }
    let mut epochs = 0;
    for shard in &evidence.shards {
        let steps = by_shard.remove(&shard.shard).unwrap_or_default();
        epochs += steps.len() as u64;
        let founding = ChainHash::founding(evidence.pipeline, &shard.shard);
        let mut at = follow(evidence, &shard.shard, &steps, founding, report);
        if steps.is_empty() && shard.epoch.get() == 0 {
            at = Some((0, founding));
        }
        match at {
            Some((epoch, _)) if epoch != shard.epoch.get() => {
                let said = format!(
                    "shard {} stands at epoch {}, and its last commit row is of epoch {epoch}",
                    shard.shard, shard.epoch
                );
                report.find_fact(What::Ledger, None, None, said);
            }
            Some((epoch, chain)) if chain != shard.chain => {
                let said =
                    format!("shard {}: its chain hash is not that of its last commit (epoch {epoch})", shard.shard);
                report.find_fact(What::Ledger, None, None, said);
            }
            None if shard.epoch.get() > 0 => {
                let said = format!("shard {} stands at epoch {}, and has no commit row", shard.shard, shard.epoch);
                report.find_fact(What::Ledger, None, None, said);
            }
            _ => {}
        }
    }
    // What was forgotten by an operator leaves commit rows behind, and an event.
    let forgotten = evidence.events.iter().any(|event| event.kind == "forget");
    for (shard, steps) in by_shard.iter().filter(|_| !forgotten) {
        let said = format!("shard {shard} has {} commit rows, and no row of its own", steps.len());
        report.find_fact(What::Ledger, None, None, said);
    }
    epochs
}

/// Follows a shard's steps; the answer is the last epoch with its hash. Steps before the oldest row may have been trimmed.
fn follow(
    evidence: &Evidence,
    shard: &ShardId,
    steps: &[(&Commit, &Move)],
    founding: ChainHash,
    report: &mut Report,
) -> Option<(u64, ChainHash)> {
    let mut at: Option<(u64, ChainHash)> = None;
    for (commit, step) in steps {
        let epoch = step.epoch.get();
        match at {
            None if epoch == 1 && step.previous != founding => {
                wrong(report, commit, &format!("shard {shard}: its first epoch does not begin at the founding hash"));
            }
            // A shard that was forgotten and found again begins anew.
            Some(_) if epoch == 1 && step.previous == founding => {}
            Some((last, _)) if epoch != last + 1 => {
                wrong(report, commit, &format!("shard {shard}: epoch {epoch} follows epoch {last}"));
            }
            Some((_, chain)) if step.previous != chain => {
                wrong(report, commit, &format!("shard {shard}: epoch {epoch} does not follow from the one before it"));
            }
            _ => {}
        }
        if step.chain != computed(evidence, commit, step) {
            let said = format!("shard {shard}: the hash of epoch {epoch} does not cover what its row says");
            wrong(report, commit, &said);
        }
        at = Some((epoch, step.chain));
    }
    at
}

/// The hash of a step out of what its commit row says.
fn computed(evidence: &Evidence, commit: &Commit, step: &Move) -> ChainHash {
    let consumed: Vec<Consumed> = step
        .parts
        .iter()
        .map(|part| Consumed {
            partition: evidence.partitions[part.partition].clone(),
            span: part.span,
            digest: part.digest,
            leader_epoch: None,
            tail: None,
        })
        .collect();
    let seal = Seal::of(&commit.prepared, &commit.totals());
    step.previous.next(&step.shard, step.epoch, &consumed.iter().collect::<Vec<_>>(), &seal)
}

/// Each span begins where the one before it ended, and the position is where the last one ends. An operator's reset, import
/// or a forgotten partition moves positions by decision, and leaves an event.
fn spans(evidence: &Evidence, report: &mut Report) {
    let mut ends: BTreeMap<usize, (u64, i64)> = BTreeMap::new();
    for commit in &evidence.commits {
        for part in commit.moves.iter().flat_map(|step| &step.parts) {
            let partition = &evidence.partitions[part.partition];
            let (from, to) = (part.span.from().get(), part.span.to().get());
            if let Some((end, _)) = ends.insert(part.partition, (to, commit.id))
                && end != from
                && !decided(evidence, partition)
            {
                let kind = if from > end { "leaves out" } else { "reads again" };
                let said =
                    format!("{partition}: the span {from}..{to} {kind} offsets, the one before it ended at {end}");
                wrong(report, commit, &said);
            }
        }
    }
    for row in &evidence.positions {
        let Ok(index) = evidence.partitions.binary_search(&row.partition) else { continue };
        let Some((end, id)) = ends.get(&index) else { continue };
        if *end != row.next.get() && !decided(evidence, &row.partition) {
            let record = RecordName { partition: row.partition.clone(), offset: row.next.get() };
            let said =
                format!("{}: the position is {}, and the last commit ({id}) ended at {end}", row.partition, row.next);
            report.find_fact(What::Ledger, None, Some(record), said);
        }
    }
}

/// Whether an operator decided about the positions of a partition.
pub fn decided(evidence: &Evidence, partition: &onceflow_core::Partition) -> bool {
    let kinds = ["reset", "forget", "import"];
    let name = partition.to_string();
    let about = |event: &&super::evidence::Event| {
        kinds.contains(&event.kind.as_str()) && (event.kind == "import" || event.detail.contains(&name))
    };
    evidence.events.iter().any(|event| about(&event))
}

/// Dead letters that the commits count are there, unless they were purged or their commits were trimmed.
fn letters(evidence: &Evidence, report: &mut Report) {
    let grouped: u64 = evidence.grouped_letters.values().sum();
    if grouped > 0 || evidence.events.iter().any(|event| event.kind == "purge") || is_trimmed(evidence) {
        return;
    }
    let counted: u64 = evidence.commits.iter().map(|commit| commit.counts.dead).sum();
    let (there, _) = evidence.letter_counts;
    // A record that two tables refuse has two letters and counts once.
    if there < counted {
        let said = format!("the commits count {counted} dead letters, and {there} are there; none was purged");
        report.find_fact(What::Ledger, None, None, said);
    }
}

/// Rows from the beginning are gone although none can have been old enough.
fn beginning(evidence: &Evidence, report: &mut Report) {
    let microseconds = super::evidence::microseconds;
    let founded =
        evidence.events.iter().filter(|event| event.kind == "found").filter_map(|e| microseconds(&e.at)).min();
    let last = evidence.commits.iter().filter_map(|commit| microseconds(&commit.at)).max();
    let (Some(founded), Some(last)) = (founded, last) else { return };
    let young = last - founded < i64::from(COMMIT_DAYS_KEPT) * 86_400_000_000
        && (evidence.commits.len() as u64) < u64::from(COMMITS_KEPT) / 2;
    if young && is_trimmed(evidence) && !evidence.events.iter().any(|event| event.kind == "forget") {
        let said = format!(
            "the oldest commit rows are gone: they are kept for {COMMIT_DAYS_KEPT} days and {COMMITS_KEPT} commits, and there were fewer"
        );
        report.find_fact(What::Ledger, None, None, said);
    }
}

/// Whether commit rows from the beginning are gone: they are kept for 30 days and 100,000 commits.
pub fn is_trimmed(evidence: &Evidence) -> bool {
    let mut first: BTreeMap<&ShardId, u64> = BTreeMap::new();
    for step in evidence.commits.iter().flat_map(|commit| &commit.moves) {
        first.entry(&step.shard).or_insert(step.epoch.get());
    }
    first.values().any(|epoch| *epoch > 1)
}
