//! Is the log still the one that the ledger counts in? Cluster and topic by id, the log's ends against the position, and the
//! last consumed record by its fingerprint.
//!
//! A truncation that was followed by enough new records shows only in the fingerprint: librdkafka has no public call that asks for the end
//! of a leader epoch. While reading, librdkafka compares leader epochs by itself and reports a truncation.

use super::KafkaSource;
use super::catalog::Catalog;
use super::ffi::Failure;
use super::reader::{Range, Reader};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::source::{Difference, Mismatch, Source};
use onceflow_core::{Fingerprint, Partition, Position, PositionRow, SourceIdentity};
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
        let mut expected = BTreeMap::new();
        let mut ranges = Vec::new();
        let partitions: Vec<_> = rows.iter().map(|row| row.partition.clone()).collect();
        let starts = self.beginnings(&partitions)?;
        for row in rows {
            if let Some(tail) = row.tail.filter(|tail| tail.offset >= starts[&row.partition]) {
                expected.insert(row.partition.clone(), tail);
                let until = Some(tail.offset.after());
                ranges.push(Range { partition: row.partition.clone(), from: tail.offset, until });
            }
        }
        let read = self.read_tails(&ranges)?;
        let differs = |(partition, found): (Partition, Fingerprint)| {
            let tail = expected[&partition];
            (found != tail.fingerprint).then_some((partition, Difference::Tail { offset: tail.offset }))
        };
        Ok(read.into_iter().filter_map(differs).collect())
    }

    /// The fingerprints of the records that stand exactly at the beginnings of the ranges.
    fn read_tails(&mut self, ranges: &[Range]) -> Result<BTreeMap<Partition, Fingerprint>> {
        let mut read = BTreeMap::new();
        if ranges.is_empty() {
            return Ok(read);
        }
        let deadline = Instant::now() + TAILS_WAIT_MAX;
        let client = self.client()?;
        let failed = |failure: Failure| Error::unavailable(codes::OF0416, failure.text);
        let mut reader = Reader::start(client.native(), ranges).map_err(failed)?;
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
    fn what_the_ledger_does_not_know_is_not_compared() {
        let of = |cluster: &str, topic: &str| SourceIdentity::new(cluster, topic);
        assert!(same(&of("c", "t"), &of("c", "t")));
        assert!(same(&of("", ""), &of("c", "t")));
        assert!(!same(&of("c", "t"), &of("c", "u")));
        assert!(!same(&of("c", "t"), &of("d", "t")));
        assert!(!same(&of("c", "t"), &of("c", "")));
    }
}
