//! The fake source: reads the broker's logs as a Kafka consumer does, and meets what a consumer meets.
//!
//! As Onceflow's Kafka source it compares the topic's identity and leader epochs while it reads, and identity, ends and the last
//! record when it verifies. In one thing it is stricter: it always knows the leader epoch before its position. librdkafka's simple
//! consumer cannot be told one to begin with, and tells none of markers; the Kafka source reads the last consumed record again where the
//! first record's epoch is another one. See [`Rules::epochs`](super::Rules::epochs).

use super::broker::Log;
use super::world::{Process, Shared, World, lock};
use onceflow::record::{Batch, Record, Records, TimestampType};
use onceflow::source::{Difference, Fetch, FetchLimits, Found, Mismatch, Source, SourceFactory};
use onceflow::{Error, Kind, Result, codes};
use onceflow_core::{Partition, Position, PositionRow, SourceIdentity, Span};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type Positions = BTreeMap<Partition, Position>;

pub(super) struct SimSources {
    pub(super) world: Shared,
    pub(super) process: Process,
    pub(super) name: Arc<str>,
}

impl fmt::Debug for SimSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated source {}", self.name)
    }
}

impl SourceFactory for SimSources {
    fn name(&self) -> &str {
        &self.name
    }

    fn connector(&self) -> &'static str {
        "simulated"
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn wiring(&self) -> String {
        self.describe()
    }

    fn caveat(&self) -> Option<String> {
        None
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        let (world, name) = (self.world.clone(), self.name.clone());
        Ok(Box::new(SimSource { world, process: self.process, name, cursors: BTreeMap::new() }))
    }

    fn discovery_interval(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

struct SimSource {
    world: Shared,
    process: Process,
    name: Arc<str>,
    cursors: BTreeMap<Partition, Cursor>,
}

/// Where reading is.
struct Cursor {
    next: u64,
    until: Option<u64>,
    /// The topic that the ledger knows.
    identity: SourceIdentity,
    /// The leader epoch before the position, where it is known.
    leader_epoch: Option<i32>,
    /// The rule of the same name.
    epochs: bool,
}

/// A call that the broker answers, or does not.
fn answers(world: &mut World, doing: &str) -> Result<()> {
    let fails = world.faults.source;
    if world.now < world.broker.fails_until || world.chance.one_in(fails) {
        return Err(Error::unavailable(codes::OF0401, format!("the broker did not answer: {doing}")));
    }
    Ok(())
}

impl SimSource {
    fn ask(&self, doing: &str, partitions: &[Partition], answer: fn(&Log) -> u64) -> Result<Positions> {
        let mut world = lock(&self.world);
        answers(&mut world, doing)?;
        let position = |partition: &Partition| Position::new(answer(world.broker.log(partition)));
        Ok(partitions.iter().map(|partition| (partition.clone(), position(partition))).collect())
    }
}

impl Source for SimSource {
    fn discover(&mut self) -> Result<Vec<Found>> {
        let mut world = lock(&self.world);
        answers(&mut world, "discover")?;
        let found = |partition: &Partition| Found {
            partition: partition.clone(),
            identity: world.broker.log(partition).identity.clone(),
        };
        Ok(world.broker.of_source(&self.name).map(found).collect())
    }

    fn initial(&mut self, partitions: &[Partition]) -> Result<Positions> {
        let latest = lock(&self.world).faults.from_the_end;
        self.ask("initial", partitions, if latest { Log::end } else { |log| log.start })
    }

    fn beginnings(&mut self, partitions: &[Partition]) -> Result<Positions> {
        self.ask("beginnings", partitions, |log| log.start)
    }

    fn ends(&mut self, partitions: &[Partition]) -> Result<Positions> {
        self.ask("ends", partitions, Log::end)
    }

    fn bound(&mut self, _: &[Partition]) -> Result<Option<Positions>> {
        Ok(None)
    }

    fn verify(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>> {
        let mut world = lock(&self.world);
        answers(&mut world, "verify")?;
        if !world.rules.verify {
            return Ok(Vec::new());
        }
        let compared = rows.iter().filter_map(|row| {
            let what = difference(world.broker.log(&row.partition), row)?;
            Some(Mismatch { partition: row.partition.clone(), what })
        });
        let mismatches: Vec<_> = compared.collect();
        for mismatch in &mismatches {
            let (process, partition, what) = (self.process, mismatch.partition.own_shard(), &mismatch.what);
            world.note(&format!("p{process} finds that {partition} differs: {what:?}"));
        }
        Ok(mismatches)
    }

    fn seek(&mut self, from: &[PositionRow], until: &Positions) -> Result<()> {
        let mut world = lock(&self.world);
        answers(&mut world, "seek")?;
        let cursor = |row: &PositionRow| Cursor {
            next: row.next.get(),
            until: until.get(&row.partition).map(|end| end.get()),
            identity: row.identity.clone(),
            leader_epoch: row.leader_epoch.filter(|_| world.rules.epochs),
            epochs: world.rules.epochs,
        };
        self.cursors = from.iter().map(|row| (row.partition.clone(), cursor(row))).collect();
        Ok(())
    }

    fn next(&mut self, limits: &FetchLimits) -> Result<Fetch> {
        let mut world = lock(&self.world);
        answers(&mut world, "fetch")?;
        let mut room = limits.records_max.min(world.faults.fetch_records);
        let mut batches = Vec::new();
        for (partition, cursor) in &mut self.cursors {
            if world.rules.verify {
                cursor.compare(partition, &world)?;
            }
            let most = usize::try_from(world.chance.between(0, 8)).expect("a small number").min(room);
            let overrun = world.chance.one_in(2);
            let batch = cursor.read(partition, world.broker.log(partition), most, overrun);
            room -= batch.records.len();
            if !batch.span.is_empty() {
                batches.push(batch);
            }
        }
        for batch in &batches {
            let (shard, records) = (batch.partition.own_shard(), batch.records.len());
            world.note(&format!("p{} reads {shard} {} with {records} records", self.process, batch.span));
        }
        let finished = self.cursors.values().all(|cursor| cursor.until.is_some_and(|until| cursor.next >= until));
        Ok(Fetch { batches, finished })
    }

    fn group_positions(&mut self, _: &str, _: &[Partition]) -> Result<Positions> {
        Err(Error::config(codes::OF0111, "a simulated source has no groups"))
    }

    fn report(&mut self, durable: &[(Partition, Position)]) {
        let mut world = lock(&self.world);
        for (partition, position) in durable {
            world.told(partition, *position, "reported to the source");
        }
    }
}

impl Cursor {
    /// What a consumer finds out by the topic's id, by leader epochs and by the beginning of the log.
    fn compare(&self, partition: &Partition, world: &World) -> Result<()> {
        let log = world.broker.log(partition);
        let different = |code, text: String| Err(Error::new(Kind::Identity, code, text));
        if log.identity != self.identity {
            return different(codes::OF0412, format!("the topic of {partition} was created again"));
        }
        if let Some(end) = self.leader_epoch.map(|epoch| log.epoch_end(epoch)).filter(|end| *end < self.next) {
            return different(codes::OF0411, format!("{partition} was truncated at {end}, before {}", self.next));
        }
        if log.start > self.next {
            return different(codes::OF0410, format!("{partition} begins at {}, after {}", log.start, self.next));
        }
        Ok(())
    }

    /// Reads at most so many records. The span may go on over the holes behind the last one.
    fn read(&mut self, partition: &Partition, log: &Log, most: usize, overrun: bool) -> Batch {
        let end = self.until.map_or(log.end(), |until| until.min(log.end()));
        let mut records = Records::with_capacity(most, most * 16);
        let (from, mut to) = (self.next, self.next);
        let mut leader_epoch = None;
        for (offset, stored) in log.records(from, end).take(most) {
            records.push(Record {
                offset: Position::new(offset),
                timestamp: Some(stored.timestamp),
                timestamp_type: TimestampType::CreateTime,
                key: stored.key.as_deref(),
                value: stored.value.as_deref(),
                headers: &[],
                line: 0,
            });
            leader_epoch = Some(stored.leader_epoch);
            to = offset + 1;
        }
        // Where only holes are left, the position moves over them without a record.
        if overrun || records.is_empty() {
            while to < end && log.get(to).is_none() {
                to += 1;
            }
        }
        self.next = to.max(from);
        if self.epochs && self.next > from {
            leader_epoch = log.epoch_before(self.next);
        }
        self.leader_epoch = leader_epoch.or(self.leader_epoch);
        let span = Span::new(Position::new(from), Position::new(self.next)).expect("reading goes forward");
        Batch { partition: partition.clone(), span, records, leader_epoch, file: None }
    }
}

/// How a log differs from what the ledger remembers, if it does.
fn difference(log: &Log, row: &PositionRow) -> Option<Difference> {
    if log.identity != row.identity {
        return Some(Difference::Identity { ledger: row.identity.clone(), found: log.identity.clone() });
    }
    if log.start > row.next.get() {
        return Some(Difference::Expired { ledger: row.next, start: Position::new(log.start) });
    }
    if log.end() < row.next.get() {
        return Some(Difference::Truncated { ledger: row.next, end: Position::new(log.end()) });
    }
    let tail = row.tail.filter(|tail| tail.offset.get() >= log.start)?;
    let found = log.get(tail.offset.get())?.fingerprint(tail.offset.get());
    (found != tail.fingerprint).then_some(Difference::Tail { offset: tail.offset })
}
