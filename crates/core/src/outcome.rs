//! What can be said after a step, as values: expected outcomes are enums, and a broken invariant is a [`Violation`].

use crate::identity::{Partition, ShardId};
use crate::number::{Epoch, Generation, Position};
use std::fmt;

/// Why the ledger did not move: the stored row is not what the mover expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveMismatch {
    /// Another owner has claimed the shard since.
    Generation {
        /// The generation in the home.
        found: Generation,
    },
    /// The generation is the same, the owner is not: a restored home or a cloned machine.
    Nonce,
    /// The epoch in the home is another one.
    Epoch {
        /// The epoch in the home.
        found: Epoch,
    },
    /// The same epoch with other contents: the home has another history.
    Chain,
}

/// A broken invariant of the protocol. Never expected; the process stops rather than guess.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A step begins elsewhere than the ledger says (invariant 5).
    SpanNotAtPosition {
        /// The partition.
        partition: Partition,
        /// Where the ledger is.
        ledger: Position,
        /// Where the step begins.
        step: Position,
    },
    /// A step names a partition that the ledger does not hold.
    UnknownPartition(Partition),
    /// A step names a partition twice.
    RepeatedPartition(Partition),
    /// Records read are not the sum of what became of them (invariant 4).
    CountsNotBalanced {
        /// Records read.
        records: u64,
        /// Records accounted for.
        accounted: u64,
    },
    /// The counts of the partitions do not add up to the counts of the step.
    RecordsDiffer {
        /// Records by the counts.
        counted: u64,
        /// Records by the spans' digests.
        digested: u64,
    },
    /// A second advance was asked for while one is out.
    AdvanceOutstanding,
    /// An advance came back that this ledger did not make.
    ForeignAdvance,
    /// A step without any movement.
    NothingToMove,
    /// The home gave a claim that does not fit what was asked for.
    ClaimIncomplete(ShardId),
    /// A generation went down in memory (invariant 3).
    GenerationWentBack(ShardId),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpanNotAtPosition { partition, ledger, step } => {
                write!(f, "step of {partition} begins at {step}, the ledger is at {ledger}")
            }
            Self::UnknownPartition(partition) => write!(f, "the ledger does not hold {partition}"),
            Self::RepeatedPartition(partition) => write!(f, "a step names {partition} twice"),
            Self::CountsNotBalanced { records, accounted } => {
                write!(f, "{records} records were read and {accounted} are accounted for")
            }
            Self::RecordsDiffer { counted, digested } => {
                write!(f, "{counted} records were counted and {digested} were digested")
            }
            Self::AdvanceOutstanding => f.write_str("an advance is already out"),
            Self::ForeignAdvance => f.write_str("the advance was not made by this ledger"),
            Self::NothingToMove => f.write_str("a step moves no partition"),
            Self::ClaimIncomplete(shard) => write!(f, "the claim does not hold shard {shard}"),
            Self::GenerationWentBack(shard) => write!(f, "the generation of shard {shard} went down"),
        }
    }
}

impl std::error::Error for Violation {}
