//! Records as a handler sees them.

use onceflow_engine::core::Partition;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// One record: derefs to what it was decoded and mapped to. Cheap to clone.
pub struct Record<T> {
    span: Arc<Span<T>>,
    index: usize,
}

/// Records of one partition, in the order of their offsets; what one call of a handler is given. Cheap to clone.
pub struct Batch<T> {
    span: Arc<Span<T>>,
    /// Indices into the span without those that were put aside; `None` for all.
    left: Option<Arc<Vec<usize>>>,
}

/// Everything of one partition in one epoch.
pub(crate) struct Span<T> {
    pub(crate) partition: Partition,
    pub(crate) range: Range<u64>,
    pub(crate) items: Vec<Item<T>>,
}

/// A value and what is known of the record that it was made of.
pub(crate) struct Item<T> {
    pub(crate) value: T,
    /// The part of the epoch's work and the record in it.
    pub(crate) at: (usize, u32),
    pub(crate) offset: u64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) beside: Option<Box<Beside>>,
}

/// What few records have and fewer handlers ask for.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl<T> Record<T> {
    fn item(&self) -> &Item<T> {
        &self.span.items[self.index]
    }

    /// The key's bytes, where there is a key.
    pub fn key(&self) -> Option<&[u8]> {
        self.item().beside.as_ref().and_then(|beside| beside.key.as_deref())
    }

    /// The headers, in order; a header may have no value.
    pub fn headers(&self) -> &[(String, Option<Vec<u8>>)] {
        self.item().beside.as_ref().map_or(&[], |beside| &beside.headers)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, where the source has timestamps.
    pub fn timestamp(&self) -> Option<i64> {
        self.item().timestamp
    }

    /// The source's name in the ledger.
    pub fn source(&self) -> &str {
        &self.span.partition.source
    }

    /// The topic, or the file.
    pub fn topic(&self) -> &str {
        &self.span.partition.topic
    }

    /// The partition's number; 0 for a file.
    pub fn partition(&self) -> u32 {
        self.span.partition.number
    }

    /// The record's offset; for a file the byte at which it begins.
    pub fn offset(&self) -> u64 {
        self.item().offset
    }

    /// `topic/partition/offset`: the same for this record whenever and however often it is read, and for no other record of its
    /// source. The idempotency key for systems outside the transaction.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.topic(), self.partition(), self.offset())
    }

    /// The error that makes this record a dead letter; for `return Err(record.dead_letter("no such account"))`.
    pub fn dead_letter(&self, reason: impl std::fmt::Display) -> crate::Error {
        crate::Error::poison(self, reason)
    }

    pub(crate) fn at(&self) -> (usize, u32) {
        self.item().at
    }
}

impl<T> Deref for Record<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item().value
    }
}

impl<T> Clone for Record<T> {
    fn clone(&self) -> Self {
        Self { span: self.span.clone(), index: self.index }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Record<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("id", &self.id()).field("value", &**self).finish()
    }
}

impl<T> Batch<T> {
    pub(crate) fn new(span: Arc<Span<T>>) -> Self {
        Self { span, left: None }
    }

    /// The batch without records of the epoch's work that were put aside.
    pub(crate) fn without(&self, aside: impl Fn((usize, u32)) -> bool) -> Self {
        let left = (0..self.span.items.len()).filter(|index| !aside(self.span.items[*index].at)).collect();
        Self { span: self.span.clone(), left: Some(Arc::new(left)) }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.left.as_ref().map_or(self.span.items.len(), |left| left.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The source's name in the ledger.
    pub fn source(&self) -> &str {
        &self.span.partition.source
    }

    /// The topic, or the file.
    pub fn topic(&self) -> &str {
        &self.span.partition.topic
    }

    /// The partition's number; 0 for a file.
    pub fn partition(&self) -> u32 {
        self.span.partition.number
    }

    /// The offsets that this transaction moves the ledger over: from the first one up to, and not including, the last. Records
    /// that were filtered or could not be decoded lie inside, too.
    pub fn offsets(&self) -> Range<u64> {
        self.span.range.clone()
    }

    /// The record at an index.
    pub fn get(&self, index: usize) -> Option<Record<T>> {
        let index = match &self.left {
            Some(left) => *left.get(index)?,
            None => index,
        };
        (index < self.span.items.len()).then(|| Record { span: self.span.clone(), index })
    }

    /// The records, in order.
    pub fn iter(&self) -> Records<T> {
        Records { batch: self.clone(), next: 0 }
    }
}

impl<T> Clone for Batch<T> {
    fn clone(&self) -> Self {
        Self { span: self.span.clone(), left: self.left.clone() }
    }
}

impl<T> std::fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({}/{} {:?}, {} records)", self.topic(), self.partition(), self.offsets(), self.len())
    }
}

/// The records of a batch, one after the other.
pub struct Records<T> {
    batch: Batch<T>,
    next: usize,
}

impl<T> Iterator for Records<T> {
    type Item = Record<T>;

    fn next(&mut self) -> Option<Record<T>> {
        let record = self.batch.get(self.next)?;
        self.next += 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.len() - self.next;
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Records<T> {}

impl<T> IntoIterator for Batch<T> {
    type Item = Record<T>;
    type IntoIter = Records<T>;

    fn into_iter(self) -> Records<T> {
        Records { batch: self, next: 0 }
    }
}

impl<T> IntoIterator for &Batch<T> {
    type Item = Record<T>;
    type IntoIter = Records<T>;

    fn into_iter(self) -> Records<T> {
        self.iter()
    }
}
