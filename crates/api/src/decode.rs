//! From a record's bytes to a Rust value.

use onceflow_engine::core::Partition;
use onceflow_engine::decode::TRUNCATED_HEADER;
use onceflow_engine::record;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// Why a record cannot be decoded: the words for its dead letter.
pub type Refused = Box<dyn std::error::Error + Send + Sync>;

/// A record before it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    record: record::Record<'a>,
    partition: &'a Partition,
}

impl<'a> RawRecord<'a> {
    pub(crate) fn new(record: record::Record<'a>, partition: &'a Partition) -> Self {
        Self { record, partition }
    }

    /// The key's bytes, where there is a key.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.record.key
    }

    /// The value's bytes; `None` for a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.record.value
    }

    /// The headers, in order.
    pub fn headers(&self) -> &'a [(String, Option<Vec<u8>>)] {
        self.record.headers
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, where the source has timestamps.
    pub fn timestamp(&self) -> Option<i64> {
        self.record.timestamp
    }

    /// The topic, or the file.
    pub fn topic(&self) -> &'a str {
        &self.partition.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> u32 {
        self.partition.number
    }

    /// The record's offset.
    pub fn offset(&self) -> u64 {
        self.record.offset.get()
    }

    /// The limit that a line of a file was longer than, where it was cut.
    pub(crate) fn cut_at(&self) -> Option<String> {
        let found = self.record.headers.iter().find(|(name, _)| name == TRUNCATED_HEADER)?;
        Some(String::from_utf8_lossy(found.1.as_deref().unwrap_or_default()).into_owned())
    }

    pub(crate) fn inner(&self) -> &record::Record<'a> {
        &self.record
    }
}

/// Makes a value of a record. A pure function: the same record always gives the same answer, on whatever thread.
pub trait Decoder: Send + Sync + 'static {
    /// What it makes.
    type Item: Send + 'static;

    /// The value; `None` where there is nothing to see (a tombstone), which is counted as filtered; an error where the record is to
    /// become a dead letter, with the error's words as the reason.
    fn decode(&self, record: &RawRecord<'_>) -> Result<Option<Self::Item>, Refused>;
}

/// The value as JSON, by serde. Tombstones are left out.
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// A decoder of JSON.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: DeserializeOwned + Send + 'static> Decoder for Json<T> {
    type Item = T;

    fn decode(&self, record: &RawRecord<'_>) -> Result<Option<T>, Refused> {
        match record.value() {
            Some(value) => Ok(Some(serde_json::from_slice(value)?)),
            None => Ok(None),
        }
    }
}

/// The value's bytes as they are. Tombstones are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Decoder for Raw {
    type Item = Vec<u8>;

    fn decode(&self, record: &RawRecord<'_>) -> Result<Option<Vec<u8>>, Refused> {
        Ok(record.value().map(<[u8]>::to_vec))
    }
}

/// The value as text in UTF-8. Tombstones are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Decoder for Text {
    type Item = String;

    fn decode(&self, record: &RawRecord<'_>) -> Result<Option<String>, Refused> {
        Ok(record.value().map(std::str::from_utf8).transpose()?.map(str::to_owned))
    }
}

/// A closure as a decoder; see [`Reading::parse_with`](crate::Reading::parse_with).
pub(crate) struct With<F, T, E>(pub(crate) F, pub(crate) PhantomData<fn() -> (T, E)>);

impl<F, T, E> Decoder for With<F, T, E>
where
    F: Fn(&RawRecord<'_>) -> Result<T, E> + Send + Sync + 'static,
    T: Send + 'static,
    E: Into<Refused> + 'static,
{
    type Item = T;

    fn decode(&self, record: &RawRecord<'_>) -> Result<Option<T>, Refused> {
        self.0(record).map(Some).map_err(Into::into)
    }
}
