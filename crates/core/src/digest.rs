//! Digests: fingerprints of single records and order-independent digests of many.
//!
//! A record's hash is XXH3-128 (Collet, xxHash specification 0.8). A [`Digest`] is the sum of the hashes modulo 2^128 with the
//! number of records, so the digest of a multiset does not depend on its order and digests of parts add up.
//! It detects loss, repetition and change; it is no defence against somebody who chooses records to collide.

use crate::number::hexadecimal;
use std::fmt;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// Bytes before a record's key: offset, timestamp, lengths, and one that is 0.
const HEAD: usize = 34;
/// Larger records are hashed where they are.
const PIECE_MAX: usize = 4_096;

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
        let head = head(offset, timestamp, key.map(<[u8]>::len), value.map(<[u8]>::len));
        Self(hash(&[&head, key.unwrap_or_default(), value.unwrap_or_default()]))
    }

    /// Reads the 32 hexadecimal digits that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        hexadecimal(text).map(Self)
    }
}

/// What stands before a record's key.
fn head(offset: u64, timestamp: Option<i64>, key: Option<usize>, value: Option<usize>) -> [u8; HEAD] {
    let mut head = [0_u8; HEAD];
    head[..8].copy_from_slice(&offset.to_le_bytes());
    head[8] = u8::from(timestamp.is_some());
    head[9..17].copy_from_slice(&timestamp.unwrap_or(0).to_le_bytes());
    let lengths = [key, value].map(|part| part.map_or(u64::MAX, |length| length as u64));
    head[17..25].copy_from_slice(&lengths[0].to_le_bytes());
    head[25..33].copy_from_slice(&lengths[1].to_le_bytes());
    head
}

fn hash(pieces: &[&[u8]]) -> u128 {
    let mut hash = Xxh3Default::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    hash.digest128()
}

/// Fingerprints of many records, with room that is used again: what is laid out in one piece is hashed in less than half of the time.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints {
    piece: Vec<u8>,
}

impl Fingerprints {
    /// The fingerprint of a record as [`Fingerprint::of_record`] gives it, where key and value stand one behind the other in
    /// `content`: `key` and `value` are their lengths, `None` where one is absent.
    pub fn of(
        &mut self,
        offset: u64,
        timestamp: Option<i64>,
        key: Option<usize>,
        value: Option<usize>,
        content: &[u8],
    ) -> Fingerprint {
        let head = head(offset, timestamp, key, value);
        if content.len() > PIECE_MAX {
            return Fingerprint(hash(&[&head, content]));
        }
        self.piece.clear();
        self.piece.extend_from_slice(&head);
        self.piece.extend_from_slice(content);
        Fingerprint(xxh3_128(&self.piece))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_one_fingerprint_however_it_is_laid_out() {
        let bytes: Vec<u8> = (0..9_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1] ^ 0x5a).collect();
        let mut fingerprints = Fingerprints::default();
        for end in (0..700).chain([4_095, 4_096, 4_097, 9_000]) {
            let content = &bytes[..end];
            let (key, value) = content.split_at(end / 3);
            for (key, value) in [(Some(key), Some(value)), (None, Some(content)), (Some(content), None)] {
                let lengths = (key.map(<[u8]>::len), value.map(<[u8]>::len));
                let one = fingerprints.of(7, Some(5), lengths.0, lengths.1, content);
                assert_eq!(one, Fingerprint::of_record(7, Some(5), key, value), "{end}");
            }
        }
        assert_eq!(fingerprints.of(7, None, None, None, &[]), Fingerprint::of_record(7, None, None, None));
    }
}
