//! Is the log still the one that the ledger counts in? Cluster and topic by id, the log's ends against the position, and the
//! last consumed record by its fingerprint.
//!
//! A truncation that was followed by enough new records shows only in the fingerprint: librdkafka has no public call that asks for the end
//! of a leader epoch. While reading, librdkafka compares leader epochs by itself and reports a truncation, but it learns the epoch
//! with the first record after a seek and cannot be told it. So that record's epoch is compared here with the ledger's, see [`Unproven`].

use super::KafkaSource;
use super::catalog::Catalog;
use super::client::Client;
use super::ffi::Failure;
use super::reader::{Range, Reader};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::source::{Difference, Mismatch, Source};
use onceflow_core::{Fingerprint, Partition, Position, PositionRow, SourceIdentity, Tail};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long re-reading the last records may take.
const TAILS_WAIT_MAX: Duration = Duration::from_secs(15);
/// A new leader may know less than all replicas for a moment; so often a log that seems too short is asked again.
const SHORT_TRIES: usize = 4;
const SHORT_PAUSE: Duration = Duration::from_millis(500);

impl KafkaSource {
    /// Compares logs with the ledger. The first difference of a partition is the one that is told.
    pub(super) fn compare(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: Vec<_> = rows.iter().map(|row| row.partition.topic.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        let catalog = self.describe_topics(&names)?;
        let mut differing: BTreeMap<Partition, Difference> = BTreeMap::new();
        for row in rows {
            differing.extend(other_log(&catalog, row).map(|what| (row.partition.clone(), what)));
        }
        let same: Vec<_> = rows.iter().filter(|row| !differing.contains_key(&row.partition)).cloned().collect();
        differing.extend(self.compare_ends(&same)?);
        let reaching: Vec<_> = same.into_iter().filter(|row| !differing.contains_key(&row.partition)).collect();
        differing.extend(self.compare_tails(&reaching)?);
        Ok(differing.into_iter().map(|(partition, what)| Mismatch { partition, what }).collect())
    }

    fn compare_ends(&mut self, rows: &[PositionRow]) -> Result<BTreeMap<Partition, Difference>> {
        let partitions: Vec<_> = rows.iter().map(|row| row.partition.clone()).collect();
        let starts = self.beginnings(&partitions)?;
        let mut differing = BTreeMap::new();
        for row in rows {
            let start = starts[&row.partition];
            if start > row.next {
                differing.insert(row.partition.clone(), Difference::Expired { ledger: row.next, start });
            }
        }
        for (partition, end) in self.short_logs(rows)? {
            let ledger = rows.iter().find(|row| row.partition == partition).map_or(end, |row| row.next);
            differing.entry(partition).or_insert(Difference::Truncated { ledger, end });
        }
        Ok(differing)
    }

    /// Logs that end before the position, and still do after a while.
    fn short_logs(&mut self, rows: &[PositionRow]) -> Result<BTreeMap<Partition, Position>> {
        let mut suspects: Vec<_> = rows.iter().map(|row| (row.partition.clone(), row.next)).collect();
        let mut ends = BTreeMap::new();
        for round in 0..SHORT_TRIES {
            if suspects.is_empty() {
                break;
            }
            if round > 0 {
                std::thread::park_timeout(SHORT_PAUSE);
            }
            let partitions: Vec<_> = suspects.iter().map(|(partition, _)| partition.clone()).collect();
            ends = self.high_watermarks(&partitions)?;
            suspects.retain(|(partition, next)| ends.get(partition).is_none_or(|end| end < next));
        }
        let short = |(partition, _): (Partition, Position)| ends.get(&partition).map(|end| (partition.clone(), *end));
        Ok(suspects.into_iter().filter_map(short).collect())
    }

    /// Reads the last consumed records again, all partitions at once. A record that is no more there, by retention or
    /// compaction, cannot be compared and is no difference.
    fn compare_tails(&mut self, rows: &[PositionRow]) -> Result<BTreeMap<Partition, Difference>> {
        let expected = self.tails_within(rows)?;
        let read = read_tails(self.client()?, &expected)?;
        Ok(differing_tails(&expected, read))
    }

    /// The last consumed records that the logs still reach back to.
    fn tails_within(&mut self, rows: &[PositionRow]) -> Result<BTreeMap<Partition, Tail>> {
        let partitions: Vec<_> = rows.iter().map(|row| row.partition.clone()).collect();
        let starts = self.beginnings(&partitions)?;
        let within = |row: &PositionRow| {
            let tail = row.tail.filter(|tail| tail.offset >= starts[&row.partition])?;
            Some((row.partition.clone(), tail))
        };
        Ok(rows.iter().filter_map(within).collect())
    }

    /// Refuses batches that begin a partition in another leader epoch than the ledger's, unless the last consumed record is still there.
    ///
    /// Reads it with a client of its own: one client reads a partition at one place only.
    pub(super) fn prove(&mut self, opened: &[(Partition, Option<i32>)]) -> Result<()> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let doubtful = reading.unproven.take_doubtful(opened);
        if doubtful.is_empty() {
            return Ok(());
        }
        let expected = self.tails_within(&doubtful)?;
        let read = read_tails(&mut Client::open(&self.shared.config)?, &expected)?;
        let differing = differing_tails(&expected, read);
        let Some(row) = doubtful.iter().find(|row| differing.contains_key(&row.partition)) else { return Ok(()) };
        let tail = row.tail.map_or(row.next, |tail| tail.offset);
        Err(truncated(&row.partition, row.next, None)
            .note(format!("at {tail}, the last record that was read, stands another one now, under a new leader")))
    }
}

/// Partitions of which no record was read since the seek: their rows in the ledger.
///
/// A leader writes each offset once. So a record of the ledger's leader epoch behind the position proves that what
/// is before it is what was read; one of another epoch does not. Moving over markers proves nothing and uses nothing.
pub(super) struct Unproven(BTreeMap<Partition, PositionRow>);

impl Unproven {
    /// Positions from which reading begins. One without a last record has nothing that could be compared.
    pub(super) fn new(rows: &[PositionRow]) -> Self {
        let with_tail = rows.iter().filter(|row| row.tail.is_some());
        Self(with_tail.map(|row| (row.partition.clone(), row.clone())).collect())
    }

    /// Whether everything is proven, which it soon is.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows to be compared, given the leader epochs of the first records (`None` where the broker tells none).
    fn take_doubtful(&mut self, opened: &[(Partition, Option<i32>)]) -> Vec<PositionRow> {
        let mut doubtful = Vec::new();
        for (partition, epoch) in opened {
            let Some(row) = self.0.remove(partition) else { continue };
            if epoch.is_none() || *epoch != row.leader_epoch {
                doubtful.push(row);
            }
        }
        doubtful
    }
}

/// The fingerprints of the records that stand exactly at these offsets.
fn read_tails(client: &mut Client, expected: &BTreeMap<Partition, Tail>) -> Result<BTreeMap<Partition, Fingerprint>> {
    let mut read = BTreeMap::new();
    if expected.is_empty() {
        return Ok(read);
    }
    let range = |(partition, tail): (&Partition, &Tail)| Range {
        partition: partition.clone(),
        from: tail.offset,
        until: Some(tail.offset.after()),
    };
    let ranges: Vec<_> = expected.iter().map(range).collect();
    let deadline = Instant::now() + TAILS_WAIT_MAX;
    let failed = |failure: Failure| Error::unavailable(codes::OF0416, failure.text);
    let mut reader = Reader::start(client.native(), &ranges).map_err(failed)?;
    while !reader.finished() {
        reader.gather(Duration::from_millis(100), usize::MAX, usize::MAX);
        for batch in reader.batches() {
            let first = batch.records.iter().next().map(|record| record.fingerprint());
            read.extend(first.map(|fingerprint| (batch.partition, fingerprint)));
        }
        client.serve();
        if let Some(trouble) = reader.trouble() {
            let what = format!("re-reading the last consumed record: {}", trouble.failure.text);
            return Err(Error::unavailable(codes::OF0416, what));
        }
        if Instant::now() >= deadline {
            let first = reader.unfinished().next().map(ToString::to_string).unwrap_or_default();
            let what = format!("re-reading the last consumed record of {first}");
            return Err(client.failed(&what, None));
        }
    }
    Ok(read)
}

fn differing_tails(
    expected: &BTreeMap<Partition, Tail>,
    read: BTreeMap<Partition, Fingerprint>,
) -> BTreeMap<Partition, Difference> {
    let differs = |(partition, found): (Partition, Fingerprint)| {
        let tail = expected[&partition];
        (found != tail.fingerprint).then_some((partition, Difference::Tail { offset: tail.offset }))
    };
    read.into_iter().filter_map(differs).collect()
}

/// Another cluster, another topic of the same name, or no such partition. What the ledger does not know is not compared.
fn other_log(catalog: &Catalog, row: &PositionRow) -> Option<Difference> {
    let Some(topic) = catalog.topics.get(&*row.partition.topic) else { return Some(Difference::Gone) };
    let found = catalog.identity(topic);
    if !same(&row.identity, &found) {
        return Some(Difference::Identity { ledger: row.identity.clone(), found });
    }
    (!topic.partitions.contains(&row.partition.number)).then_some(Difference::Gone)
}

fn same(ledger: &SourceIdentity, found: &SourceIdentity) -> bool {
    let fits = |ledger: &str, found: &str| ledger.is_empty() || ledger == found;
    fits(&ledger.cluster_id, &found.cluster_id) && fits(&ledger.topic_id, &found.topic_id)
}

/// The error for records that were deleted before they were read.
pub(super) fn expired(partition: &Partition, position: Position, start: Position) -> Error {
    let message = format!("{partition} begins at {start}, after the position {position} in the ledger");
    Error::new(Kind::Identity, codes::OF0410, message)
        .note(format!("up to {} records were deleted before they were read", start.get() - position.get()))
}

/// The error for a log that ends before the position.
pub(super) fn truncated(partition: &Partition, position: Position, end: Option<Position>) -> Error {
    let message = match end {
        Some(end) => format!("{partition} ends at {end}, before the position {position} in the ledger"),
        None => format!("{partition} was truncated before the position {position} in the ledger"),
    };
    Error::new(Kind::Identity, codes::OF0411, message)
        .note("records that were read and committed are no more in the log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_same_leader_proves_the_position_and_any_other_one_is_doubted_once() {
        let row = |number, leader_epoch, tail: Option<u64>| PositionRow {
            shard: onceflow_core::ShardId::new("s"),
            partition: Partition::new("s", "t", number),
            identity: SourceIdentity::new("", ""),
            next: Position::new(5),
            leader_epoch,
            tail: tail.map(|offset| Tail { offset: Position::new(offset), fingerprint: Fingerprint::new(1) }),
            watermark: None,
        };
        let rows = [row(0, Some(3), Some(4)), row(1, Some(3), Some(4)), row(2, Some(3), None), row(3, None, Some(4))];
        let mut unproven = Unproven::new(&rows);
        let opened: Vec<_> = rows.iter().zip([Some(3), Some(4), Some(4), None]).collect();
        let opened: Vec<_> = opened.into_iter().map(|(row, epoch)| (row.partition.clone(), epoch)).collect();
        let doubted = |rows: Vec<PositionRow>| rows.iter().map(|row| row.partition.number).collect::<Vec<_>>();
        assert_eq!(doubted(unproven.take_doubtful(&opened[..1])), [0; 0]);
        assert_eq!(doubted(unproven.take_doubtful(&opened)), [1, 3]);
        assert!(unproven.is_empty());
        assert!(unproven.take_doubtful(&opened).is_empty());
    }

    #[test]
    fn what_the_ledger_does_not_know_is_not_compared() {
        let of = |cluster: &str, topic: &str| SourceIdentity::new(cluster, topic);
        assert!(same(&of("c", "t"), &of("c", "t")));
        assert!(same(&of("", ""), &of("c", "t")));
        assert!(!same(&of("c", "t"), &of("c", "u")));
        assert!(!same(&of("c", "t"), &of("d", "t")));
        assert!(!same(&of("c", "t"), &of("c", "")));
    }
}
