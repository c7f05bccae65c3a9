//! The protocol of Onceflow: how every record takes effect once.
//!
//! This crate is pure. It has no I/O, clock, randomness or runtime, and its manifest proves it. It owns the words of the
//! protocol (position, span, epoch, generation, nonce), the ledger as a state machine, the chain hash, and the right to
//! move the ledger by one epoch ([`Advance`]). It does not own how a home stores the ledger: a home calls
//! [`decide_claim`] and [`check_move`], or does in one statement of its own exactly what they do.
//!
//! Reading order: [`number`], [`identity`], [`digest`], [`chain`], [`counts`], [`ledger`], [`outcome`].

pub mod chain;
pub mod counts;
pub mod digest;
pub mod identity;
pub mod ledger;
pub mod number;
pub mod outcome;

pub use chain::{ChainHash, Seal};
pub use counts::{Counts, TableTotal};
pub use digest::{Digest, Fingerprint, Fingerprints};
pub use identity::{Partition, PipelineId, ShardId, SourceIdentity};
pub use ledger::{
    Advance, ClaimDecision, Committed, Consumed, Held, Ledger, PositionRow, Seen, ShardMove, ShardRow, Step, Tail,
    check_move, decide_claim,
};
pub use number::{Epoch, Generation, Nonce, Position, Span};
pub use outcome::{MoveMismatch, Violation};
