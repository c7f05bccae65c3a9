//! Reading partitions from exact positions: one queue for all, records straight into arenas.
//!
//! Owns what is read and from where: nothing before the expected position, nothing at or beyond the bound, and every
//! position only forward. A new reader has a new queue, so nothing of an older one can get in. Does not own what an error
//! means.

use super::ffi::{Failure, Message, Native, Queue, Topic};
use crate::record::{Batch, Record, Records, TimestampType};
use onceflow_core::{Partition, Position, Span};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How many messages are taken from librdkafka in one call.
const CHUNK_MESSAGES_MAX: usize = 1024;
/// How many are taken while nothing is known of their size.
const FIRST_CHUNK_MESSAGES: usize = 2;

/// Where to read a partition.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) partition: Partition,
    pub(super) from: Position,
    pub(super) until: Option<Position>,
}

/// What librdkafka says about a partition that cannot be read on.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) partition: Option<Partition>,
    /// The position up to which everything was handed out.
    pub(super) next: Position,
    pub(super) failure: Failure,
}

/// Partitions that are being read.
pub(super) struct Reader {
    topics: BTreeMap<Arc<str>, Topic>,
    slots: Slots,
    queue: Queue,
}

impl Drop for Reader {
    fn drop(&mut self) {
        for slot in self.slots.all.iter().filter(|slot| !slot.ended) {
            if let Some(topic) = self.topics.get(&slot.partition.topic) {
                topic.stop(slot.partition.number);
            }
        }
    }
}

impl Reader {
    /// Begins to read. Talks to no broker by itself.
    pub(super) fn start(native: &Arc<Native>, ranges: &[Range]) -> Result<Self, Failure> {
        let queue = Queue::new(native, CHUNK_MESSAGES_MAX);
        let slots = Slots::new(ranges.iter().map(Slot::new).collect());
        let mut reader = Self { topics: BTreeMap::new(), slots, queue };
        for index in 0..reader.slots.all.len() {
            if !reader.slots.all[index].ended {
                reader.begin(native, index)?;
            }
        }
        Ok(reader)
    }

    fn begin(&mut self, native: &Arc<Native>, index: usize) -> Result<(), Failure> {
        let slot = &self.slots.all[index];
        let name = &slot.partition.topic;
        if !self.topics.contains_key(name) {
            self.topics.insert(name.clone(), Topic::new(native, name)?);
        }
        self.topics[name].start(slot.partition.number, slot.next.signed(), &self.queue)
    }

    /// The topics that are being read.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    /// Waits for something and takes what is there, at most so much. Returns whether anything came.
    pub(super) fn gather(&mut self, wait: Duration, records_max: usize, bytes_max: usize) -> bool {
        let mut wait = wait;
        let mut came = false;
        while let Some(room) = self.slots.room(records_max, bytes_max) {
            let slots = &mut self.slots;
            let taken = self.queue.consume(wait, room, |message| slots.take(message));
            came |= taken > 0;
            self.stop_ended();
            if taken < room {
                break;
            }
            wait = Duration::ZERO;
        }
        came
    }

    fn stop_ended(&mut self) {
        for index in std::mem::take(&mut self.slots.ending) {
            let partition = &self.slots.all[index].partition;
            self.topics[&partition.topic].stop(partition.number);
        }
    }

    /// What was gathered, in order of partitions.
    pub(super) fn batches(&mut self) -> Vec<Batch> {
        self.slots.batches()
    }

    /// The leader epoch of the first record that was gathered of each partition; `None` where the broker tells none.
    pub(super) fn opened(&self) -> Vec<(Partition, Option<i32>)> {
        let slots = self.slots.touched.iter().map(|index| &self.slots.all[*index]);
        slots.filter(|slot| !slot.records.is_empty()).map(|slot| (slot.partition.clone(), slot.first_epoch)).collect()
    }

    /// Whether something was gathered.
    pub(super) fn has_gathered(&self) -> bool {
        !self.slots.touched.is_empty()
    }

    /// What went wrong first.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.slots.trouble.as_ref()
    }

    /// Whether every partition has reached its bound.
    pub(super) fn finished(&self) -> bool {
        self.slots.all.iter().all(|slot| slot.ended)
    }

    /// The partitions that have not reached their bounds.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &Partition> {
        self.slots.all.iter().filter(|slot| !slot.ended).map(|slot| &slot.partition)
    }
}

/// One partition that is being read.
struct Slot {
    partition: Partition,
    /// Where the next batch begins.
    from: Position,
    /// The next offset to take.
    next: Position,
    until: Option<Position>,
    ended: bool,
    touched: bool,
    records: Records,
    leader_epoch: Option<i32>,
    /// The leader epoch of the first record in `records`.
    first_epoch: Option<i32>,
    /// The size of the last batch: what to make room for.
    expected: (usize, usize),
}

impl Slot {
    fn new(range: &Range) -> Self {
        Self {
            partition: range.partition.clone(),
            from: range.from,
            next: range.from,
            until: range.until,
            ended: range.until.is_some_and(|until| range.from >= until),
            touched: false,
            records: Records::default(),
            leader_epoch: None,
            first_epoch: None,
            expected: (0, 0),
        }
    }

    fn take_batch(&mut self) -> Batch {
        let span = Span::new(self.from, self.next).expect("a position only moves forward");
        self.from = self.next;
        self.touched = false;
        self.first_epoch = None;
        self.expected = (self.records.len(), self.records.bytes());
        Batch {
            partition: self.partition.clone(),
            span,
            records: std::mem::take(&mut self.records),
            leader_epoch: self.leader_epoch,
            file: None,
        }
    }
}

/// All partitions of a reader, without anything native: messages in, batches out.
struct Slots {
    all: Vec<Slot>,
    by_name: BTreeMap<(Arc<str>, u32), usize>,
    by_origin: HashMap<(usize, i32), usize>,
    last: Option<((usize, i32), usize)>,
    touched: Vec<usize>,
    ending: Vec<usize>,
    trouble: Option<Trouble>,
    gathered: (usize, usize),
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Slots {
    fn new(mut all: Vec<Slot>) -> Self {
        all.sort_by(|a, b| a.partition.cmp(&b.partition));
        let name = |slot: &Slot| (slot.partition.topic.clone(), slot.partition.number);
        Self {
            by_name: all.iter().enumerate().map(|(index, slot)| (name(slot), index)).collect(),
            all,
            by_origin: HashMap::new(),
            last: None,
            touched: Vec::new(),
            ending: Vec::new(),
            trouble: None,
            gathered: (0, 0),
            headers: Vec::new(),
        }
    }

    /// How many messages may be taken next; `None` where it is enough.
    fn room(&self, records_max: usize, bytes_max: usize) -> Option<usize> {
        let (records, bytes) = self.gathered;
        if self.trouble.is_some() || records >= records_max.max(1) || (bytes >= bytes_max && records > 0) {
            return None;
        }
        // Sizes are known only afterwards, so that chunks double: what comes is at most about twice what was seen.
        let of_bytes = (bytes_max.saturating_sub(bytes) / (bytes / records.max(1)).max(1)).saturating_add(1);
        let doubled = records.max(FIRST_CHUNK_MESSAGES);
        Some(of_bytes.min(doubled).min(records_max.max(1) - records).clamp(1, CHUNK_MESSAGES_MAX))
    }

    #[inline]
    fn take(&mut self, message: &Message<'_>) {
        if self.trouble.is_some() {
            return;
        }
        let Some(index) = self.find(message) else {
            // Nothing but an error can be about no partition of ours.
            if !message.is_record() && message.code() != RDKafkaErrorCode::PartitionEOF {
                self.fail(None, message);
            }
            return;
        };
        if self.all[index].ended {
            return;
        }
        if message.is_record() {
            self.take_record(index, message);
        } else if message.code() == RDKafkaErrorCode::PartitionEOF {
            Position::from_signed(message.offset()).into_iter().for_each(|end| self.move_to(index, end));
        } else {
            self.fail(Some(index), message);
        }
    }

    #[inline]
    fn find(&mut self, message: &Message<'_>) -> Option<usize> {
        let origin = message.origin();
        match self.last {
            Some((last, index)) if last == origin => Some(index),
            _ => self.look_up(origin, message),
        }
    }

    fn look_up(&mut self, origin: (usize, i32), message: &Message<'_>) -> Option<usize> {
        let index = match self.by_origin.get(&origin) {
            Some(index) => *index,
            None => {
                let name = (Arc::from(message.topic()?), message.partition()?);
                let index = *self.by_name.get(&name)?;
                self.by_origin.insert(origin, index);
                index
            }
        };
        self.last = Some((origin, index));
        Some(index)
    }

    fn fail(&mut self, index: Option<usize>, message: &Message<'_>) {
        let slot = index.map(|index| &self.all[index]);
        self.trouble = Some(Trouble {
            partition: slot.map(|slot| slot.partition.clone()),
            next: slot.map_or(Position::ZERO, |slot| slot.next),
            failure: Failure { code: message.code(), text: message.error_text() },
        });
    }

    #[inline]
    fn take_record(&mut self, index: usize, message: &Message<'_>) {
        let Some(offset) = Position::from_signed(message.offset()) else { return };
        let slot = &mut self.all[index];
        // A record that was already handed out is never handed out again, whoever sends it.
        if offset < slot.next {
            return;
        }
        if slot.until.is_some_and(|until| offset >= until) {
            return self.move_to(index, offset);
        }
        self.headers.clear();
        message.headers(&mut self.headers);
        let record = record(message, offset, &self.headers);
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        if slot.records.is_empty() {
            slot.records = Records::with_capacity(slot.expected.0, slot.expected.1);
            slot.first_epoch = message.leader_epoch();
        }
        slot.records.push(record);
        slot.leader_epoch = message.leader_epoch().or(slot.leader_epoch);
        self.gathered.0 += 1;
        self.gathered.1 += bytes;
        self.move_to(index, offset.after());
    }

    /// Moves a position forward, at most to its bound. Never backwards.
    #[inline]
    fn move_to(&mut self, index: usize, to: Position) {
        let slot = &mut self.all[index];
        let to = slot.until.map_or(to, |until| until.min(to));
        if to > slot.next {
            slot.next = to;
            if !slot.touched {
                slot.touched = true;
                self.touched.push(index);
            }
        }
        if slot.until.is_some_and(|until| slot.next >= until) {
            slot.ended = true;
            self.ending.push(index);
        }
    }

    fn batches(&mut self) -> Vec<Batch> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        self.gathered = (0, 0);
        touched.into_iter().map(|index| self.all[index].take_batch()).collect()
    }
}

#[inline]
fn record<'a>(message: &'a Message<'_>, offset: Position, headers: &'a [(String, Option<Vec<u8>>)]) -> Record<'a> {
    let (timestamp, timestamp_type) = match message.timestamp() {
        None => (None, TimestampType::None),
        Some((time, true)) => (Some(time), TimestampType::LogAppendTime),
        Some((time, false)) => (Some(time), TimestampType::CreateTime),
    };
    Record { offset, timestamp, timestamp_type, key: message.key(), value: message.value(), headers, line: 0 }
}
