//! Business logic as the engine sees it: computation only, ahead of the transaction.

use crate::changes::Part;
use crate::error::Result;
use crate::record::Batch;

/// The values that are taken once per epoch and recorded in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochClock {
    /// `CURRENT_TIMESTAMP`: microseconds since 1970-01-01T00:00:00Z.
    pub now: i64,
    /// The seed of `RAND()` and `UUID()`.
    pub seed: u64,
}

/// Turns records into rows for tables. Runs on the prepare thread of a lane while the previous epoch commits.
///
/// One call sees batches of any partitions of **one** source. An implementation keeps no memory of earlier calls that
/// could change its answer.
pub trait Logic: Send {
    /// Computes the changes of some records. `source` is the index of the source in the branch.
    /// `Err` stops the pipeline; a record that cannot be used is no `Err` but a failure inside the [`Part`].
    fn prepare(&mut self, source: usize, batches: Vec<Batch>, clock: &EpochClock) -> Result<Part>;
}

/// Makes logic: one for each lane.
pub trait LogicFactory: Send + Sync {
    /// Builds the logic.
    fn build(&self) -> Result<Box<dyn Logic>>;

    /// Whether every row that it makes is made of many records, so that nobody asks a row for its record.
    fn only_groups(&self) -> bool {
        false
    }
}
