//! What a run tells whoever watches: events for people and logs, never for decisions.

use crate::error::Error;
use onceflow_core::{Counts, Partition, Position, Span};
use std::sync::Arc;
use std::time::Duration;

/// Something that happened in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The home registered the pipeline.
    Registered {
        /// The home, without secrets.
        home: &'a str,
        /// Things to tell the user.
        notices: &'a [String],
    },
    /// Partitions were founded with their first positions.
    Founded {
        /// How many.
        partitions: usize,
    },
    /// This instance waits for another one to be gone.
    StandingBy,
    /// A lane owns its shards.
    Claimed {
        /// The lane.
        lane: usize,
        /// Where it goes on.
        positions: &'a [(Partition, Position)],
    },
    /// An epoch is durable.
    Committed {
        /// The lane.
        lane: usize,
        /// What was consumed.
        spans: &'a [(Partition, Span)],
        /// What became of the records.
        counts: &'a Counts,
        /// Rows written, over all tables.
        rows: u64,
        /// From begin to the answer of COMMIT.
        took: Duration,
    },
    /// A dead letter was written.
    DeadLetter {
        /// Its code.
        code: &'a str,
        /// Its reason.
        reason: &'a str,
        /// Topic, partition and offset, where it is one record.
        record: &'a str,
    },
    /// Something does not work now and is tried again.
    Trouble {
        /// What.
        error: &'a Error,
    },
    /// It works again.
    Over {
        /// How long it did not.
        after: Duration,
    },
    /// The ends at which `--until-caught-up` stops, or at which a bounded source ends.
    Bounded {
        /// Records at most, counted by offsets.
        offsets: u64,
    },
}

/// Watches a run. Called from any of its threads; must return soon.
pub trait Observer: Send + Sync {
    /// Takes note of an event.
    fn event(&self, event: &Event<'_>);
}

/// Watches nothing.
#[derive(Debug, Default)]
pub struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: &Event<'_>) {}
}

/// An observer, shared.
pub type Watcher = Arc<dyn Observer>;
