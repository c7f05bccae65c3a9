//! Records in memory, for tests and examples: they stay as they are, so they can be read again from any position.

use super::Source;
use onceflow_engine as engine;
use onceflow_engine::codes;
use onceflow_engine::core::{Fingerprint, Partition, Position, PositionRow, SourceIdentity, Span};
use onceflow_engine::record::{Batch, Record, Records, TimestampType};
use onceflow_engine::source::{Difference, Fetch, FetchLimits, Found, Mismatch, SourceFactory};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Records in memory, in one or more partitions. The source ends when they are read.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    partitions: Vec<Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Memory {
    /// No record yet, in one partition.
    pub fn new() -> Self {
        Self { partitions: vec![Vec::new()] }
    }

    /// One record a line; empty lines are none.
    pub fn lines(text: &str) -> Self {
        text.lines()
            .filter(|line| !line.is_empty())
            .fold(Self::new(), |memory, line| memory.record(0, None, Some(line.as_bytes())))
    }

    /// One record for each value, as JSON.
    ///
    /// # Panics
    /// Where a value cannot be written as JSON: a map with keys that are no text.
    pub fn json<I: IntoIterator<Item: serde::Serialize>>(values: I) -> Self {
        values.into_iter().fold(Self::new(), |memory, value| {
            let text = serde_json::to_vec(&value).expect("a value for a test can be written as JSON");
            memory.record(0, None, Some(&text))
        })
    }

    /// Adds a record to a partition. A value of `None` is a tombstone.
    pub fn record(mut self, partition: usize, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        if self.partitions.len() <= partition {
            self.partitions.resize(partition + 1, Vec::new());
        }
        self.partitions[partition].push(Entry { key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec) });
        self
    }

    /// The same records dealt out over so many partitions, one after the other.
    ///
    /// # Panics
    /// With no partition.
    pub fn spread(self, partitions: usize) -> Self {
        assert!(partitions > 0, "records need a partition");
        let mut spread = vec![Vec::new(); partitions];
        for (index, entry) in self.partitions.into_iter().flatten().enumerate() {
            spread[index % partitions].push(entry);
        }
        Self { partitions: spread }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Memory> for Source {
    fn from(memory: Memory) -> Self {
        Self(Ok(Arc::new(Factory(Arc::new(memory)))))
    }
}

#[derive(Debug)]
struct Factory(Arc<Memory>);

const NAME: &str = "memory";

impl SourceFactory for Factory {
    fn name(&self) -> &str {
        NAME
    }

    fn connector(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        format!("{} records in memory", self.0.len())
    }

    fn wiring(&self) -> String {
        NAME.to_owned()
    }

    fn caveat(&self) -> Option<String> {
        None
    }

    fn open(&self) -> engine::Result<Box<dyn engine::source::Source>> {
        Ok(Box::new(Reader { memory: self.0.clone(), cursors: BTreeMap::new() }))
    }

    fn discovery_interval(&self) -> Option<Duration> {
        None
    }
}

struct Reader {
    memory: Arc<Memory>,
    /// Where each partition is, and where it ends.
    cursors: BTreeMap<Partition, (u64, u64)>,
}

impl Reader {
    fn partition(number: usize) -> Partition {
        Partition::new(NAME, NAME, u32::try_from(number).expect("fewer than 2^32 partitions"))
    }

    fn entries(&self, partition: &Partition) -> &[Entry] {
        self.memory.partitions.get(partition.number as usize).map_or(&[], Vec::as_slice)
    }

    fn check(&self, row: &PositionRow) -> Option<Difference> {
        let tail = row.tail?;
        let offset = tail.offset.get();
        let entry = self.entries(&row.partition).get(usize::try_from(offset).ok()?)?;
        let found = Fingerprint::of_record(offset, None, entry.key.as_deref(), entry.value.as_deref());
        (found != tail.fingerprint).then_some(Difference::Tail { offset: tail.offset })
    }
}

/// Where all of them stand.
fn all(partitions: &[Partition], position: impl Fn(&Partition) -> u64) -> BTreeMap<Partition, Position> {
    partitions.iter().map(|partition| (partition.clone(), Position::new(position(partition)))).collect()
}

impl engine::source::Source for Reader {
    fn discover(&mut self) -> engine::Result<Vec<Found>> {
        let found = |number| Found { partition: Self::partition(number), identity: SourceIdentity::new(NAME, NAME) };
        Ok((0..self.memory.partitions.len()).map(found).collect())
    }

    fn initial(&mut self, partitions: &[Partition]) -> engine::Result<BTreeMap<Partition, Position>> {
        self.beginnings(partitions)
    }

    fn beginnings(&mut self, partitions: &[Partition]) -> engine::Result<BTreeMap<Partition, Position>> {
        Ok(all(partitions, |_| 0))
    }

    fn ends(&mut self, partitions: &[Partition]) -> engine::Result<BTreeMap<Partition, Position>> {
        Ok(all(partitions, |partition| self.entries(partition).len() as u64))
    }

    fn bound(&mut self, partitions: &[Partition]) -> engine::Result<Option<BTreeMap<Partition, Position>>> {
        self.ends(partitions).map(Some)
    }

    fn verify(&mut self, rows: &[PositionRow]) -> engine::Result<Vec<Mismatch>> {
        let mismatch =
            |row: &PositionRow| self.check(row).map(|what| Mismatch { partition: row.partition.clone(), what });
        Ok(rows.iter().filter_map(mismatch).collect())
    }

    fn seek(&mut self, from: &[PositionRow], until: &BTreeMap<Partition, Position>) -> engine::Result<()> {
        let cursor = |row: &PositionRow| {
            let length = self.entries(&row.partition).len() as u64;
            let end = until.get(&row.partition).map_or(length, |end| end.get().min(length));
            (row.partition.clone(), (row.next.get(), end))
        };
        self.cursors = from.iter().map(cursor).collect();
        Ok(())
    }

    fn next(&mut self, limits: &FetchLimits) -> engine::Result<Fetch> {
        let mut fetch = Fetch::default();
        let mut left = limits.records_max.max(1);
        let memory = self.memory.clone();
        for (partition, (next, end)) in &mut self.cursors {
            let entries = memory.partitions.get(partition.number as usize).map_or(&[][..], Vec::as_slice);
            let count = (*end - (*next).min(*end)).min(left as u64);
            if count == 0 {
                continue;
            }
            fetch.batches.push(batch(partition, entries, *next, count));
            *next += count;
            left -= usize::try_from(count).expect("it was one");
        }
        fetch.finished = self.cursors.values().all(|(next, end)| next >= end);
        Ok(fetch)
    }

    fn group_positions(&mut self, group: &str, _: &[Partition]) -> engine::Result<BTreeMap<Partition, Position>> {
        Err(engine::Error::config(codes::OF0111, format!("records in memory have no group '{group}'")))
    }

    fn report(&mut self, _: &[(Partition, Position)]) {}
}

fn batch(partition: &Partition, entries: &[Entry], from: u64, count: u64) -> Batch {
    let mut records = Records::default();
    for offset in from..from + count {
        let entry = &entries[usize::try_from(offset).expect("it is an index")];
        records.push(Record {
            offset: Position::new(offset),
            timestamp: None,
            timestamp_type: TimestampType::None,
            key: entry.key.as_deref(),
            value: entry.value.as_deref(),
            headers: &[],
            line: 0,
        });
    }
    let span = Span::new(Position::new(from), Position::new(from + count)).expect("records are counted upwards");
    Batch { partition: partition.clone(), span, records, leader_epoch: None, file: None }
}
