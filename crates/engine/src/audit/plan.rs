//! What has to be read again: which offsets belong to which commit, and what of them the source still has.

use super::evidence::{Commit, Evidence};
use super::report::Stretch;
use crate::error::{Error, Result};
use crate::source::{Difference, Mismatch, Source};
use onceflow_core::{Digest, Partition, Position, PositionRow};
use std::collections::BTreeMap;

/// A bound of `--since` and `--until`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// An epoch of a shard.
    Epoch(u64),
    /// A time, in microseconds since 1970.
    Time(i64),
}

/// Offsets of one partition that one commit consumed.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The first offset.
    pub from: u64,
    /// The offset behind the last one.
    pub to: u64,
    /// The commit, as a number that grows with time: 0 for whatever is older than the oldest commit row.
    pub order: u32,
    /// Number and digest of the records, where a commit row says so.
    pub digest: Option<Digest>,
}

/// One partition's part of the plan.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// What was consumed, by offset.
    pub reaches: Vec<Reach>,
    /// What can be read of it: first offset and the one behind the last; `None` where nothing can.
    pub readable: Option<(u64, u64)>,
    /// Why not all of it can be read.
    pub why: Option<String>,
    /// Whether two reaches overlap: an operator let records be read again.
    pub overlaps: bool,
}

impl Lane {
    /// The reaches that touch a span, by index.
    pub fn touching(&self, from: u64, to: u64) -> std::ops::Range<usize> {
        if self.overlaps {
            return 0..self.reaches.len();
        }
        let first = self.reaches.partition_point(|reach| reach.to <= from);
        let behind = self.reaches.partition_point(|reach| reach.from < to);
        first..behind.max(first)
    }
}

/// What an audit reads.
#[derive(Debug, Default)]
pub struct Plan {
    /// One lane a partition of [`Evidence::partitions`].
    pub lanes: Vec<Lane>,
    /// Whether only some commits were asked for.
    pub ranged: bool,
    /// For each commit whether it is asked for.
    pub chosen: Vec<bool>,
    /// Whether commit rows from the beginning are gone, and where reading began is not known either.
    pub beginning_unknown: bool,
}

/// Which commits are asked for.
pub fn choose(evidence: &Evidence, since: Option<Bound>, until: Option<Bound>) -> Vec<bool> {
    let after = |commit: &Commit, bound: Bound| match bound {
        Bound::Epoch(epoch) => commit.moves.iter().any(|step| step.epoch.get() >= epoch),
        Bound::Time(time) => super::evidence::microseconds(&commit.at).is_none_or(|at| at >= time),
    };
    let before = |commit: &Commit, bound: Bound| match bound {
        Bound::Epoch(epoch) => commit.moves.iter().any(|step| step.epoch.get() <= epoch),
        Bound::Time(time) => super::evidence::microseconds(&commit.at).is_none_or(|at| at < time),
    };
    let chosen = |commit: &Commit| since.is_none_or(|b| after(commit, b)) && until.is_none_or(|b| before(commit, b));
    evidence.commits.iter().map(chosen).collect()
}

/// Plans what is read, without asking the source.
pub fn plan(evidence: &Evidence, since: Option<Bound>, until: Option<Bound>) -> Plan {
    let ranged = since.is_some() || until.is_some();
    let chosen = choose(evidence, since, until);
    let mut lanes = vec![Lane::default(); evidence.partitions.len()];
    for (index, commit) in evidence.commits.iter().enumerate().filter(|(index, _)| chosen[*index]) {
        let order = u32::try_from(index + 1).unwrap_or(u32::MAX);
        for part in commit.moves.iter().flat_map(|step| &step.parts) {
            let (from, to) = (part.span.from().get(), part.span.to().get());
            lanes[part.partition].reaches.push(Reach { from, to, order, digest: Some(part.digest) });
        }
    }
    let mut plan = Plan { lanes, ranged, chosen, beginning_unknown: false };
    if !ranged && super::chain::is_trimmed(evidence) {
        plan.beginning_unknown = !add_beginnings(evidence, &mut plan.lanes);
    }
    for (index, lane) in plan.lanes.iter_mut().enumerate() {
        lane.reaches.sort_by_key(|reach| (reach.from, reach.to));
        if !ranged && !super::chain::decided(evidence, &evidence.partitions[index]) {
            fill_gaps(evidence, index, lane);
        }
        lane.overlaps = lane.reaches.windows(2).any(|pair| pair[1].from < pair[0].to);
    }
    plan
}

/// Offsets between two commit rows, or between the last one and the position, that no commit row has and no operator left out:
/// a row was taken out of the ledger. The records took effect all the same, so their rows are expected.
fn fill_gaps(evidence: &Evidence, index: usize, lane: &mut Lane) {
    let position = evidence.positions.iter().find(|row| row.partition == evidence.partitions[index]);
    let end = position.map_or(0, |row| row.next.get());
    let starts = lane.reaches.iter().skip(1).map(|reach| reach.from).chain([end]);
    let gaps = lane.reaches.iter().zip(starts).filter(|(before, start)| before.to < *start);
    let gaps: Vec<Reach> =
        gaps.map(|(before, start)| Reach { from: before.to, to: start, order: before.order, digest: None }).collect();
    if !gaps.is_empty() {
        lane.reaches.extend(gaps);
        lane.reaches.sort_by_key(|reach| (reach.from, reach.to));
    }
}

/// Adds what was read before the oldest commit row, from where each partition was founded. `false` where that is not known.
fn add_beginnings(evidence: &Evidence, lanes: &mut [Lane]) -> bool {
    let founded = founded(evidence);
    let mut known = true;
    for (index, lane) in lanes.iter_mut().enumerate() {
        let Some(first) = lane.reaches.first().map(|reach| reach.from) else { continue };
        match founded.get(&evidence.partitions[index]) {
            Some(from) if *from < first => {
                lane.reaches.push(Reach { from: *from, to: first, order: 0, digest: None });
            }
            Some(_) => {}
            None => known = false,
        }
    }
    known
}

/// Where each partition began, by the events of founding.
fn founded(evidence: &Evidence) -> BTreeMap<Partition, u64> {
    let mut founded = BTreeMap::new();
    for event in evidence.events.iter().filter(|event| event.kind == "found") {
        let detail: serde_json::Value = serde_json::from_str(&event.detail).unwrap_or_default();
        for part in detail["partitions"].as_array().into_iter().flatten() {
            let number = part["partition"].as_u64().and_then(|number| u32::try_from(number).ok());
            if let (Some(source), Some(topic), Some(number), Some(next)) =
                (part["source"].as_str(), part["topic"].as_str(), number, part["next"].as_u64())
            {
                founded.insert(Partition::new(source, topic, number), next);
            }
        }
    }
    founded
}

/// What a source says about what the plan wants of it.
pub struct Asked {
    /// What reads differently from what the ledger remembers, in words.
    pub mismatches: Vec<(Partition, String)>,
}

/// Asks a source what it still has. Fills in what can be read of each of its partitions.
pub fn ask(evidence: &Evidence, plan: &mut Plan, name: &str, source: &mut dyn Source) -> Result<Asked> {
    let own: Vec<PositionRow> =
        evidence.positions.iter().filter(|row| *row.partition.source == *name).cloned().collect();
    let found: Vec<Partition> = source.discover()?.into_iter().map(|found| found.partition).collect();
    let there: Vec<Partition> =
        own.iter().map(|row| row.partition.clone()).filter(|partition| found.contains(partition)).collect();
    let beginnings = source.beginnings(&there)?;
    let ends = source.ends(&there)?;
    let mut asked = Asked { mismatches: Vec::new() };
    let mut other_log = Vec::new();
    for mismatch in source.verify(&own)? {
        if let Some(said) = differs(&mismatch) {
            asked.mismatches.push((mismatch.partition.clone(), said));
        }
        if matches!(mismatch.what, Difference::Identity { .. }) {
            other_log.push(mismatch.partition);
        }
    }
    for (index, partition) in evidence.partitions.iter().enumerate().filter(|(_, p)| *p.source == *name) {
        let lane = &mut plan.lanes[index];
        let row = own.iter().find(|row| row.partition == *partition);
        let (Some(_), Some(begin), Some(end)) = (row, beginnings.get(partition), ends.get(partition)) else {
            lane.why = Some(if row.is_none() { "the ledger has no position of it" } else { "it is gone" }.to_owned());
            continue;
        };
        if other_log.contains(partition) {
            lane.why = Some("another log stands in its place".to_owned());
            continue;
        }
        lane.why = (*begin > first(lane)).then(|| format!("the log begins at {begin}"));
        lane.readable = (begin < end).then_some((begin.get(), end.get()));
        drop_other_logs(evidence, partition, lane);
    }
    Ok(asked)
}

fn first(lane: &Lane) -> Position {
    Position::new(lane.reaches.first().map_or(u64::MAX, |reach| reach.from))
}

/// What a mismatch means for an audit. Expired records are no finding; they are unverifiable.
fn differs(mismatch: &Mismatch) -> Option<String> {
    let partition = &mismatch.partition;
    match &mismatch.what {
        Difference::Identity { ledger, found } => Some(format!(
            "{partition} is another log now: the ledger knows {}/{}, there is {}/{}",
            ledger.cluster_id, ledger.topic_id, found.cluster_id, found.topic_id
        )),
        Difference::Truncated { ledger, end } => {
            Some(format!("{partition} ends at {end}, before the position {ledger} in the ledger: it was truncated"))
        }
        Difference::Tail { offset } => {
            Some(format!("{partition}: the last record that was consumed, at {offset}, reads differently now"))
        }
        Difference::Gone | Difference::Expired { .. } => None,
    }
}

/// Where an operator accepted another log in a partition's place, offsets of earlier commits count in a log that is gone.
fn drop_other_logs(evidence: &Evidence, partition: &Partition, lane: &mut Lane) {
    let name = format!("{partition} from ");
    let other = evidence.events.iter().filter(|event| event.kind == "reset" && event.detail.starts_with(&name));
    let changed = other.filter(|event| {
        let topic = event.detail.rsplit_once("topic ").map(|(_, change)| change);
        topic.and_then(|change| change.split_once(" → ")).is_some_and(|(from, to)| from != to)
    });
    let Some(at) = changed.filter_map(|event| super::evidence::microseconds(&event.at)).max() else { return };
    let old = |reach: &Reach| {
        let commit = (reach.order as usize).checked_sub(1).and_then(|index| evidence.commits.get(index));
        commit.is_none_or(|commit| super::evidence::microseconds(&commit.at).is_some_and(|time| time < at))
    };
    if lane.reaches.iter().any(old) {
        lane.why = Some("an operator accepted another log in its place since".to_owned());
        // Their offsets count in the log that is gone: they are put where nothing is read.
        lane.reaches.iter_mut().filter(|reach| old(reach)).for_each(|reach| {
            let length = reach.to - reach.from;
            reach.from = u64::MAX - length;
            reach.to = u64::MAX;
        });
        lane.reaches.sort_by_key(|reach| (reach.from, reach.to));
        lane.overlaps = true;
    }
}

impl Plan {
    /// What is read of a partition: from where, and up to where.
    pub fn range(&self, index: usize) -> Option<(u64, u64)> {
        let lane = &self.lanes[index];
        let (begin, end) = lane.readable?;
        let within = lane.reaches.iter().filter(|reach| reach.from < end && reach.to > begin);
        let (mut from, mut to) = (u64::MAX, 0);
        for reach in within {
            from = from.min(reach.from.max(begin));
            to = to.max(reach.to.min(end));
        }
        (from < to).then_some((from, to))
    }

    /// What is read, for the barcode.
    pub fn stretches(&self, evidence: &Evidence) -> Vec<Stretch> {
        let ranges = (0..self.lanes.len()).filter_map(|index| Some((index, self.range(index)?)));
        let stretch = |(index, (from, to)): (usize, (u64, u64))| Stretch {
            partition: evidence.partitions[index].clone(),
            from,
            to,
        };
        ranges.map(stretch).collect()
    }
}

/// Opens a source and lets it read what the plan wants. `None` where that is nothing.
pub fn seek(evidence: &Evidence, plan: &Plan, name: &str, source: &mut dyn Source) -> Result<bool> {
    let mut rows = Vec::new();
    let mut until = BTreeMap::new();
    for row in evidence.positions.iter().filter(|row| *row.partition.source == *name) {
        let index = evidence.partitions.binary_search(&row.partition);
        let index = index.map_err(|_| Error::internal("a position's partition was not collected"))?;
        let Some((from, to)) = plan.range(index) else { continue };
        until.insert(row.partition.clone(), Position::new(to));
        rows.push(PositionRow { next: Position::new(from), tail: None, leader_epoch: None, ..row.clone() });
    }
    if rows.is_empty() {
        return Ok(false);
    }
    source.seek(&rows, &until)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(reaches: &[(u64, u64)]) -> Lane {
        let reaches: Vec<_> =
            reaches.iter().map(|(from, to)| Reach { from: *from, to: *to, order: 1, digest: None }).collect();
        let overlaps = reaches.windows(2).any(|pair| pair[1].from < pair[0].to);
        Lane { reaches, readable: Some((5, 100)), why: None, overlaps }
    }

    #[test]
    fn a_span_touches_the_commits_that_consumed_it() {
        let lane = lane(&[(0, 10), (10, 20), (30, 40)]);
        for (from, to, expected) in [(0, 5, 0..1), (5, 15, 0..2), (10, 20, 1..2), (20, 30, 2..2), (35, 90, 2..3)] {
            assert_eq!(lane.touching(from, to), expected, "{from}..{to}");
        }
    }

    #[test]
    fn what_is_read_lies_in_the_commits_and_in_the_log() {
        let plan =
            Plan { lanes: vec![lane(&[(0, 10), (10, 20)]), lane(&[(0, 4)]), lane(&[(90, 200)])], ..Plan::default() };
        assert_eq!([plan.range(0), plan.range(1), plan.range(2)], [Some((5, 20)), None, Some((90, 100))]);
    }
}
