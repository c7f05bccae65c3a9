//! Where records come from. The ledger decides where to read; a source never decides for itself.
//!
//! Owns the shape that all sources share. A source lives on one thread at a time: the fetch thread of a lane, or the control
//! thread of a pipeline for discovery and checks.

use crate::error::Result;
use crate::record::Batch;
use onceflow_core::{Partition, Position, PositionRow, SourceIdentity};
use std::collections::BTreeMap;
use std::time::Duration;

pub mod datagen;
pub mod files;
#[cfg(feature = "kafka")]
pub mod kafka;

/// A partition that exists, and which log it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The partition.
    pub partition: Partition,
    /// Its log's identity.
    pub identity: SourceIdentity,
}

/// How much one call of [`Source::next`] may return.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// At most so many records; at least 1.
    pub records_max: usize,
    /// About so many bytes of keys and values; one record may be larger.
    pub bytes_max: usize,
    /// How long to wait for a first record.
    pub wait_max: Duration,
}

/// What one call of [`Source::next`] read.
#[derive(Default, Debug)]
pub struct Fetch {
    /// Batches, each of one partition; each begins where the previous one of its partition ended.
    pub batches: Vec<Batch>,
    /// Whether every partition has reached its end, so that no further call returns anything.
    pub finished: bool,
}

/// Something about a source that is not as the ledger remembers it. The pipeline stops; an operator decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The partition.
    pub partition: Partition,
    /// What differs.
    pub what: Difference,
}

/// How a log differs from what the ledger remembers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// The cluster, the topic's id, or the file is another one.
    Identity {
        /// What the ledger remembers.
        ledger: SourceIdentity,
        /// What stands there now.
        found: SourceIdentity,
    },
    /// The partition does not exist any more.
    Gone,
    /// The log begins after the position: records expired or were deleted before they were read.
    Expired {
        /// The position in the ledger.
        ledger: Position,
        /// Where the log begins.
        start: Position,
    },
    /// The log ends before the position: it was truncated.
    Truncated {
        /// The position in the ledger.
        ledger: Position,
        /// Where the log ends.
        end: Position,
    },
    /// The last record that was consumed reads differently now.
    Tail {
        /// Its offset.
        offset: Position,
    },
}

/// Where records come from. All methods block; none is called from an asynchronous task.
pub trait Source: Send {
    /// Lists the partitions that exist now, in order. `Err` of kind `Unavailable` is tried again.
    fn discover(&mut self) -> Result<Vec<Found>>;

    /// Resolves the first positions of partitions as the start-up mode says. Called once in a partition's life.
    fn initial(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>>;

    /// Where each partition's log begins now. A partition that appears later starts here.
    fn beginnings(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>>;

    /// Where each partition ends now: the position after the last record that a committed reader may see.
    fn ends(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>>;

    /// Where the source ends by its own declaration (bounded modes, files that are not followed, a number of generated
    /// rows); `None` where it goes on for ever. Resolved at the time of the call.
    fn bound(&mut self, partitions: &[Partition]) -> Result<Option<BTreeMap<Partition, Position>>>;

    /// Compares logs with the ledger: identity, log start, truncation, and the last record by its fingerprint.
    /// An empty list means that everything fits. `Err` means that it could not be checked.
    fn verify(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>>;

    /// Reads from these positions on, and from nowhere else; forgets whatever was buffered. `until` bounds partitions: no
    /// record at or after it is returned, and a partition without an entry is unbounded.
    fn seek(&mut self, from: &[PositionRow], until: &BTreeMap<Partition, Position>) -> Result<()>;

    /// Reads on. Returns after `limits.wait_max` at the latest, possibly with nothing. A position may move without a record.
    /// `Err` of kind `Unavailable` means: seek again.
    fn next(&mut self, limits: &FetchLimits) -> Result<Fetch>;

    /// The committed offsets of another consumer's group, for `ledger import`; partitions without one are left out.
    /// `Err` of kind `Config` where the source has no groups.
    fn group_positions(&mut self, group: &str, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>>;

    /// Tells others how far the ledger has got; never read back. Must not block for long; failures are only logged.
    fn report(&mut self, durable: &[(Partition, Position)]);
}

/// What the brokers say of a topic.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TopicFacts {
    /// Its name.
    pub topic: String,
    /// Where the brokers are.
    pub servers: String,
    /// Its settings, as in force.
    pub settings: BTreeMap<String, String>,
    /// For each partition the replicas, and how many of them are in sync.
    pub partitions: Vec<(usize, usize)>,
    /// For each partition the end of its log, open transactions included.
    pub high: BTreeMap<u32, u64>,
}

/// Makes sources: one for each lane and one for control.
pub trait SourceFactory: Send + Sync + std::fmt::Debug {
    /// The source's name in the pipeline's text.
    fn name(&self) -> &str;

    /// The connector's name, as in `'connector' = 'kafka'`.
    fn connector(&self) -> &'static str;

    /// One line for people: what is read from where, without secrets.
    fn describe(&self) -> String;

    /// What the wiring fingerprint covers: the parts that say which records are read.
    fn wiring(&self) -> String;

    /// Why reading from this source is not exactly once, where it is not: `reads records of aborted transactions`.
    fn caveat(&self) -> Option<String>;

    /// The consumer group that others see the progress in, where there is one.
    fn group(&self) -> Option<String> {
        None
    }

    /// What the system says of topics; sources without settings of their own have nothing to say. Blocks.
    fn topics(&self, _: &[String]) -> Result<Vec<TopicFacts>> {
        Ok(Vec::new())
    }

    /// Opens the source. Cheap; connects at the first call that needs it.
    fn open(&self) -> Result<Box<dyn Source>>;

    /// How often to look for new partitions; `None` for never.
    fn discovery_interval(&self) -> Option<Duration>;
}

/// The answer of sources that have no consumer groups to [`Source::group_positions`].
pub(crate) fn no_groups(group: &str) -> crate::Error {
    let message = format!("the source has no consumer groups, so there is no group '{group}'");
    crate::Error::config(crate::codes::OF0111, message)
        .help("import from a table with --from-table, or start without an import")
}
