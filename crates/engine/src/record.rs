//! Records as they come from a source, before anyone looks inside: many in one arena, one partition's span at a time.

use onceflow_core::{Digest, Fingerprint, Fingerprints, Partition, Position, Span, Tail};
use std::sync::Arc;

/// Records of one partition, in order of their offsets, in one arena.
#[derive(Clone, Default, Debug)]
pub struct Records {
    data: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<Vec<(String, Option<Vec<u8>>)>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    timestamp: i64,
    start: usize,
    key: u32,
    value: u32,
    headers: u32,
    line: u64,
    timestamp_type: TimestampType,
}

const ABSENT: u32 = u32::MAX;

/// The most bytes that a key or a value can have in [`Records`]: 4 GiB − 2.
pub const PART_BYTES_MAX: usize = u32::MAX as usize - 1;

/// Who set a record's timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// The source has no timestamps.
    #[default]
    None,
    /// The producer.
    CreateTime,
    /// The broker, when it appended the record.
    LogAppendTime,
}

/// One record, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset: a Kafka offset, the byte at which a file's record begins, the number of a generated row.
    pub offset: Position,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp: Option<i64>,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key, where there is one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order; a header may have no value.
    pub headers: &'a [(String, Option<Vec<u8>>)],
    /// The number of the line in the file, from 1; 0 where it has no meaning.
    pub line: u64,
}

impl Record<'_> {
    /// The record's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_record(self.offset.get(), self.timestamp, self.key, self.value)
    }
}

impl Records {
    /// An empty arena with room for `records` of together `bytes`.
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), entries: Vec::with_capacity(records), headers: Vec::new() }
    }

    /// Adds a record. Its bytes are copied.
    ///
    /// # Panics
    /// Where key or value is longer than [`PART_BYTES_MAX`]; sources have far lower limits of their own.
    pub fn push(&mut self, record: Record<'_>) {
        let start = self.data.len();
        let part = |bytes: Option<&[u8]>| {
            bytes.map_or(ABSENT, |bytes| u32::try_from(bytes.len()).expect("sources refuse records of 4 GiB"))
        };
        let (key, value) = (part(record.key), part(record.value));
        assert!(record.key.is_none() || key != ABSENT, "sources refuse records of 4 GiB");
        assert!(record.value.is_none() || value != ABSENT, "sources refuse records of 4 GiB");
        self.data.extend_from_slice(record.key.unwrap_or_default());
        self.data.extend_from_slice(record.value.unwrap_or_default());
        let headers = self.push_headers(record.headers);
        self.entries.push(Entry {
            offset: record.offset.get(),
            timestamp: record.timestamp.unwrap_or(i64::MIN),
            start,
            key,
            value,
            headers,
            line: record.line,
            timestamp_type: record.timestamp_type,
        });
    }

    fn push_headers(&mut self, headers: &[(String, Option<Vec<u8>>)]) -> u32 {
        if headers.is_empty() {
            return ABSENT;
        }
        self.headers.push(headers.to_vec());
        u32::try_from(self.headers.len() - 1).expect("an arena holds fewer than 2^32 records")
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The record at an index.
    ///
    /// # Panics
    /// Where the index is out of range.
    pub fn get(&self, index: usize) -> Record<'_> {
        let entry = &self.entries[index];
        let length = |part: u32| if part == ABSENT { 0 } else { part as usize };
        let key_end = entry.start + length(entry.key);
        let value_end = key_end + length(entry.value);
        Record {
            offset: Position::new(entry.offset),
            timestamp: (entry.timestamp != i64::MIN).then_some(entry.timestamp),
            timestamp_type: entry.timestamp_type,
            key: (entry.key != ABSENT).then(|| &self.data[entry.start..key_end]),
            value: (entry.value != ABSENT).then(|| &self.data[key_end..value_end]),
            headers: if entry.headers == ABSENT { &[] } else { &self.headers[entry.headers as usize] },
            line: entry.line,
        }
    }

    /// The value at an index, without the rest.
    pub fn value(&self, index: usize) -> Option<&[u8]> {
        self.get(index).value
    }

    /// Each record's offset and fingerprint, in order.
    pub fn fingerprints(&self, mut each: impl FnMut(Position, Fingerprint)) {
        let mut fingerprints = Fingerprints::default();
        for entry in &self.entries {
            let length = |part: u32| (part != ABSENT).then_some(part as usize);
            let (key, value) = (length(entry.key), length(entry.value));
            let end = entry.start + key.unwrap_or(0) + value.unwrap_or(0);
            let timestamp = (entry.timestamp != i64::MIN).then_some(entry.timestamp);
            let content = &self.data[entry.start..end];
            each(Position::new(entry.offset), fingerprints.of(entry.offset, timestamp, key, value, content));
        }
    }

    /// All records, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// One partition's span with its records. The span may reach beyond the last record, and may hold none at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The partition.
    pub partition: Partition,
    /// Which positions were read.
    pub span: Span,
    /// The records in them.
    pub records: Records,
    /// The leader epoch of the last record, where the source has one.
    pub leader_epoch: Option<i32>,
    /// What is known of the file, where the source is one.
    pub file: Option<Arc<FileFacts>>,
}

/// What is known of a file that records come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// The path as found.
    pub path: String,
    /// The last part of the path.
    pub name: String,
    /// Bytes, as last seen.
    pub size: u64,
    /// Last modification, in milliseconds since 1970.
    pub modified: i64,
}

impl Batch {
    /// The digest of the records.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::EMPTY;
        self.records.fingerprints(|_, fingerprint| digest.add(fingerprint.get()));
        digest
    }

    /// The last record's offset and fingerprint, where there is a record.
    pub fn tail(&self) -> Option<Tail> {
        let last = self.records.len().checked_sub(1)?;
        let record = self.records.get(last);
        Some(Tail { offset: record.offset, fingerprint: record.fingerprint() })
    }
}
