//! The fake broker: logs with holes, that grow, forget their beginnings, and sometimes become other logs.
//!
//! Every history that a log ever had is kept, because a reader may still hold records of an older one. Only the oracle looks at them.

use super::chance::Chance;
use onceflow_core::{Fingerprint, Partition, SourceIdentity};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Accounts of the bank.
const ACCOUNTS: u64 = 5;
/// The topic of every source.
const TOPIC: &str = "transfers";

/// A record in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) leader_epoch: i32,
}

impl Stored {
    pub(super) fn fingerprint(&self, offset: u64) -> Fingerprint {
        Fingerprint::of_record(offset, Some(self.timestamp), self.key.as_deref(), self.value.as_deref())
    }
}

/// One history of one partition. The index of a slot is its offset; a hole is a transaction's marker or was compacted away.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) identity: SourceIdentity,
    pub(super) start: u64,
    pub(super) slots: Vec<Option<Arc<Stored>>>,
    /// Every leader epoch with its first offset, in order.
    pub(super) epochs: Vec<(i32, u64)>,
}

impl Log {
    fn new(identity: SourceIdentity, leader_epoch: i32) -> Self {
        Self { identity, start: 0, slots: Vec::new(), epochs: vec![(leader_epoch, 0)] }
    }

    /// Where a leader epoch ends, as a broker answers it.
    pub(super) fn epoch_end(&self, leader_epoch: i32) -> u64 {
        self.epochs.iter().find(|(epoch, _)| *epoch > leader_epoch).map_or(self.end(), |(_, start)| *start)
    }

    /// The leader epoch in which the slot before an offset was written.
    pub(super) fn epoch_before(&self, offset: u64) -> Option<i32> {
        self.epochs.iter().rev().find(|(_, start)| *start < offset).map(|(epoch, _)| *epoch)
    }

    pub(super) fn end(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Stored> {
        self.slots.get(usize::try_from(offset).ok()?)?.as_deref()
    }

    /// The records in `from..to`, with their offsets.
    pub(super) fn records(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Stored)> {
        (from..to.min(self.end())).filter_map(|offset| Some((offset, self.get(offset)?)))
    }
}

/// All partitions of all sources.
#[derive(Debug)]
pub(super) struct Broker {
    /// The histories of each partition, the present one last.
    logs: BTreeMap<Partition, Vec<Log>>,
    pub(super) sources: Vec<Arc<str>>,
    pub(super) fails_until: Duration,
    /// How often a log became another one, or lost records that perhaps nobody had read.
    pub(super) changes: u64,
    clock: i64,
    topics: u64,
}

impl Broker {
    pub(super) fn new(sources: usize, partitions: u32, chance: &mut Chance) -> Self {
        let names = ["left", "right"];
        let sources: Vec<Arc<str>> = names.iter().take(sources).map(|name| Arc::from(*name)).collect();
        let mut broker =
            Self { logs: BTreeMap::new(), sources, fails_until: Duration::ZERO, changes: 0, clock: 0, topics: 0 };
        for source in broker.sources.clone() {
            for number in 0..partitions {
                let partition = Partition::new(source.clone(), TOPIC, number);
                let identity = SourceIdentity::new("cluster", format!("{source}-1"));
                broker.logs.insert(partition.clone(), vec![Log::new(identity, 1)]);
                let count = chance.below(20);
                broker.append(&partition, count, chance);
                // Some logs have lost their beginning before anybody came.
                let end = broker.log(&partition).end();
                broker.log_mut(&partition).start = chance.below(end + 1) * chance.below(2);
            }
        }
        broker
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.logs.keys()
    }

    pub(super) fn of_source<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Partition> {
        self.logs.keys().filter(move |partition| *partition.source == *source)
    }

    pub(super) fn histories(&self, partition: &Partition) -> &[Log] {
        &self.logs[partition]
    }

    pub(super) fn log(&self, partition: &Partition) -> &Log {
        self.logs[partition].last().expect("a partition has a history")
    }

    /// The number of the present history.
    pub(super) fn history(&self, partition: &Partition) -> usize {
        self.logs[partition].len() - 1
    }

    pub(super) fn log_mut(&mut self, partition: &Partition) -> &mut Log {
        self.logs.get_mut(partition).and_then(|logs| logs.last_mut()).expect("a partition has a history")
    }

    /// Adds records, with holes between them and perhaps after them.
    pub(super) fn append(&mut self, partition: &Partition, count: u64, chance: &mut Chance) {
        for _ in 0..count {
            self.clock += 1;
            let timestamp = self.clock;
            let log = self.log_mut(partition);
            let key = (!chance.one_in(4)).then(|| chance.below(ACCOUNTS).to_string().into_bytes());
            let leader_epoch = log.epochs.last().expect("a log has a leader epoch").0;
            log.slots.push(Some(Arc::new(Stored { timestamp, key, value: value(chance), leader_epoch })));
            let holes = if chance.one_in(5) { chance.between(1, 3) } else { 0 };
            log.slots.extend((0..holes).map(|_| None));
        }
    }

    /// Cuts the end off, and lets other records come in its place: an unclean election of a leader.
    pub(super) fn truncate(&mut self, partition: &Partition, chance: &mut Chance) {
        let mut log = self.log(partition).clone();
        let keep = log.end() - chance.below(log.end().min(12) + 1);
        log.slots.truncate(usize::try_from(keep).expect("a log of a simulation is short"));
        log.start = log.start.min(keep);
        let leader_epoch = log.epochs.last().expect("a log has a leader epoch").0 + 1;
        log.epochs.retain(|(_, start)| *start < keep);
        log.epochs.push((leader_epoch, keep));
        self.push(partition, log);
        let count = chance.below(12);
        self.append(partition, count, chance);
    }

    /// Deletes the topic and creates it again.
    pub(super) fn recreate(&mut self, source: &str, chance: &mut Chance) {
        self.topics += 1;
        let identity = SourceIdentity::new("cluster", format!("{source}-again-{}", self.topics));
        let own: Vec<_> = self.of_source(source).cloned().collect();
        for partition in own {
            self.push(&partition, Log::new(identity.clone(), 0));
            let count = chance.below(30);
            self.append(&partition, count, chance);
        }
    }

    fn push(&mut self, partition: &Partition, log: Log) {
        self.changes += 1;
        self.logs.get_mut(partition).expect("the partition exists").push(log);
    }

    pub(super) fn add_partition(&mut self, source: &Arc<str>, chance: &mut Chance) -> Partition {
        let number = u32::try_from(self.of_source(source).count()).expect("there are few partitions");
        let partition = Partition::new(source.clone(), TOPIC, number);
        let identity = self.log(&Partition::new(source.clone(), TOPIC, 0)).identity.clone();
        self.logs.insert(partition.clone(), vec![Log::new(identity, 1)]);
        let count = chance.below(10);
        self.append(&partition, count, chance);
        partition
    }
}

fn value(chance: &mut Chance) -> Option<Vec<u8>> {
    let text = match chance.below(20) {
        0 => return None,
        1 => "no transfer".to_owned(),
        2 => "skip".to_owned(),
        3 => format!("{} {} {}", chance.below(ACCOUNTS), chance.below(ACCOUNTS), super::bank::REFUSED),
        _ => format!("{} {} {}", chance.below(ACCOUNTS), chance.below(ACCOUNTS), chance.between(1, 100)),
    };
    Some(text.into_bytes())
}
