//! Digests: fingerprints of single records and order-independent digests of many.
//!
//! A record's hash is XXH3-128 (Collet, xxHash specification 0.8). A [`Digest`] is the sum of the hashes modulo 2^128 with the
//! number of records, so the digest of a multiset does not depend on its order and digests of parts add up.
//! It detects loss, repetition and change; it is no defence against somebody who chooses records to collide.

use crate::number::hexadecimal;
use std::fmt;
use xxhash_rust::xxh3::Xxh3Default;

/// The hash of one record: offset, timestamp, key, value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// A fingerprint from stored bits.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The fingerprint of a record. An absent key or value differs from an empty one. `timestamp` is in milliseconds since
    /// 1970-01-01T00:00:00Z, `None` where the source has none.
    pub fn of_record(offset: u64, timestamp: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let mut head = [0_u8; 34];
        head[..8].copy_from_slice(&offset.to_le_bytes());
        head[8] = u8::from(timestamp.is_some());
        head[9..17].copy_from_slice(&timestamp.unwrap_or(0).to_le_bytes());
        let lengths = [key, value].map(|part| part.map_or(u64::MAX, |bytes| bytes.len() as u64));
        head[17..25].copy_from_slice(&lengths[0].to_le_bytes());
        head[25..33].copy_from_slice(&lengths[1].to_le_bytes());
        let mut hash = Xxh3Default::new();
        hash.update(&head);
        hash.update(key.unwrap_or_default());
        hash.update(value.unwrap_or_default());
        Self(hash.digest128())
    }

    /// Reads the 32 hexadecimal digits that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        hexadecimal(text).map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// An order-independent digest of records or rows, with their number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Digest {
    sum: u128,
    count: u64,
}

impl Digest {
    /// The digest of nothing.
    pub const EMPTY: Digest = Digest { sum: 0, count: 0 };

    /// A digest from stored parts.
    pub const fn new(sum: u128, count: u64) -> Self {
        Self { sum, count }
    }

    /// Adds one hash.
    pub fn add(&mut self, hash: u128) {
        self.sum = self.sum.wrapping_add(hash);
        self.count += 1;
    }

    /// Adds another digest.
    pub fn merge(&mut self, other: Digest) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.count += other.count;
    }

    /// The sum of the hashes modulo 2^128.
    pub const fn sum(self) -> u128 {
        self.sum
    }

    /// How many hashes were added.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// Reads the 32 hexadecimal digits that [`fmt::Display`] writes.
    pub fn parse(text: &str, count: u64) -> Option<Self> {
        Fingerprint::parse(text).map(|sum| Self { sum: sum.get(), count })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}
