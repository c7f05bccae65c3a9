//! The chain hash: each epoch's hash covers the one before it.
//!
//! SHA-256 (FIPS 180-4) over length-prefixed fields, so no two different inputs have the same bytes.

use crate::counts::{Counts, TableTotal};
use crate::identity::{PipelineId, ShardId};
use crate::ledger::Consumed;
use crate::number::Epoch;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The hash of all epochs of a shard up to one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// A chain hash from stored bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the 64 hexadecimal digits that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The hash of the founding epoch of a shard.
    pub fn founding(pipeline: PipelineId, shard: &ShardId) -> Self {
        let mut hash = Fields::new("onceflow founding 1");
        hash.bytes(&pipeline.get().to_be_bytes());
        hash.bytes(shard.as_str().as_bytes());
        hash.finish()
    }

    /// The hash of the epoch after this one: what was consumed of each partition of the shard, and the seal of the
    /// transaction that it was part of.
    pub fn next(&self, shard: &ShardId, epoch: Epoch, consumed: &[&Consumed], seal: &Seal) -> Self {
        let mut hash = Fields::new("onceflow epoch 1");
        hash.bytes(&self.0);
        hash.bytes(shard.as_str().as_bytes());
        hash.number(epoch.get());
        hash.number(consumed.len() as u64);
        for part in consumed {
            hash.bytes(part.partition.source.as_bytes());
            hash.bytes(part.partition.topic.as_bytes());
            hash.number(u64::from(part.partition.number));
            hash.number(part.span.from().get());
            hash.number(part.span.to().get());
            hash.number(part.digest.count());
            hash.bytes(&part.digest.sum().to_be_bytes());
        }
        hash.bytes(&seal.0);
        hash.finish()
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash of what a transaction had prepared before its first statement: counts, and rows and digest of each table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seal([u8; 32]);

impl Seal {
    /// The seal of a transaction.
    pub fn of(counts: &Counts, tables: &[TableTotal]) -> Self {
        let mut hash = Fields::new("onceflow seal 1");
        for count in [counts.records, counts.used, counts.filtered, counts.late, counts.dead, counts.skipped] {
            hash.number(count);
        }
        hash.number(tables.len() as u64);
        for table in tables {
            hash.bytes(table.table.as_bytes());
            hash.number(table.digest.count());
            hash.bytes(&table.digest.sum().to_be_bytes());
        }
        Self(hash.finish().0)
    }
}

struct Fields(Sha256);

impl Fields {
    fn new(domain: &str) -> Self {
        let mut fields = Self(Sha256::new());
        fields.bytes(domain.as_bytes());
        fields
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn finish(self) -> ChainHash {
        ChainHash(self.0.finalize().into())
    }
}
