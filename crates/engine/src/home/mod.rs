//! A database that makes changes and the ledger durable together.
//!
//! Owns the shape that all homes share. A home value is one session with the database; a lane has one of its own. Whoever
//! gets an error from a home drops what it was doing and claims again: there is no second way in.

use crate::changes::{TableSpec, Work, Written};
use crate::error::{Error, Result};
use onceflow_core::{Advance, Committed, Counts, Generation, Held, Ledger, Nonce, PipelineId, PositionRow, ShardId};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub mod attempts;
pub mod desk;
pub mod ephemeral;
pub mod inside;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod refuse;
pub mod row_json;
pub mod scratch;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod witness;

/// Commit rows are kept while they are among so many newest of the ledger …
pub const COMMITS_KEPT: u32 = 100_000;
/// … and younger than so many days.
pub const COMMIT_DAYS_KEPT: u32 = 30;

/// A future that stays on its lane's thread.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a pipeline tells its home when it starts.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The pipeline's name.
    pub name: String,
    /// The version of Onceflow.
    pub version: String,
    /// Hash of the whole logic; a change is recorded as an event.
    pub fingerprint: String,
    /// Which sources feed which tables, one line an edge; a change is refused unless `accept_wiring`.
    pub wiring: String,
    /// The target tables.
    pub tables: Vec<TableSpec>,
    /// Whether rows in a target table without a ledger are accepted.
    pub adopt: bool,
    /// Whether missing target tables are created from their declarations.
    pub auto_create: bool,
    /// Whether changed wiring is accepted.
    pub accept_wiring: bool,
}

/// What the home answers to a registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The pipeline's identity in this home.
    pub pipeline: PipelineId,
    /// Whether it was registered just now.
    pub new: bool,
    /// Things to tell the user: tables that were created, rows that were adopted, changed logic.
    pub notices: Vec<String>,
}

/// A claim of shards.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The shards to own, all or none.
    pub shards: Vec<ShardId>,
    /// What this process holds of them from an earlier claim.
    pub held: BTreeMap<ShardId, Held>,
    /// 128 fresh random bits.
    pub nonce: Nonce,
    /// Names the lane, for `application_name` and events.
    pub lane: String,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The shards are owned; here is where to go on.
    Owned(Ledger),
    /// Another instance claimed one of them since.
    Fenced {
        /// The shard.
        shard: ShardId,
        /// The other's generation.
        found: Generation,
    },
}

/// How a commit can fail. Each says what is known of the transaction.
#[derive(Debug)]
pub enum CommitError {
    /// Certainly not applied, and the database says why. [`crate::Kind::Unavailable`]: claim and try again.
    Rejected(Error),
    /// Certainly not applied, and the shards are another's.
    Fenced(Error),
    /// The connection died after COMMIT was sent: only a claim can tell.
    Unknown(Error),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(error) => write!(f, "rejected: {error}"),
            Self::Fenced(error) => write!(f, "fenced: {error}"),
            Self::Unknown(error) => write!(f, "outcome unknown: {error}"),
        }
    }
}

/// The right to write dead letters' records again: named dead letters, each not yet replayed. Spent by a commit.
#[derive(Debug)]
pub struct Replay {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The dead letters; the transaction aborts unless every one of them is there and not yet replayed.
    pub dead_letters: Vec<i64>,
    /// Why, as the operator said.
    pub reason: String,
}

/// What entitles a transaction to write rows. There is no third way.
#[derive(Debug)]
pub enum Right {
    /// The ledger's own advance.
    Advance(Advance),
    /// An operator's replay of dead letters.
    Replay(Replay),
}

/// A record for the dead-letter table.
#[derive(Clone, Debug, Default)]
pub struct DeadLetter {
    /// The source's name in the pipeline's text.
    pub source: String,
    /// Topic or file; empty for a grouped row.
    pub topic: String,
    /// The partition's number.
    pub partition: Option<u32>,
    /// The record's offset.
    pub offset: Option<u64>,
    /// The record's timestamp, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// The headers as a JSON array of `[name, text or null]`, bytes that are no UTF-8 as `{"base16": …}`.
    pub headers: Option<String>,
    /// The code of the reason.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// SQLSTATE or SQLite's result code, where the database refused it.
    pub sqlstate: Option<String>,
    /// `file:line:column` of what refused it, where known.
    pub place: Option<String>,
    /// The target table that refused it, where one did.
    pub table: Option<String>,
    /// The row that was refused, as a JSON object.
    pub row: Option<String>,
    /// The epoch's spans, for a grouped row.
    pub spans: Option<String>,
}

/// What a commit says of itself.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// Final counts, after refusals; balanced.
    pub counts: Counts,
    /// For each table: its name, rows written, rows ignored, rows refused.
    pub tables: Vec<(Arc<str>, u64, u64, u64)>,
    /// Dead letters to write.
    pub dead_letters: Vec<DeadLetter>,
    /// What `CURRENT_TIMESTAMP` was in this epoch: microseconds since 1970.
    pub now: i64,
    /// The seed of `RAND()` and `UUID()` in this epoch.
    pub seed: u64,
}

/// What a commit made durable.
#[derive(Debug)]
pub enum Done {
    /// The ledger has moved; give this to [`Ledger::accept`].
    Advanced(Committed),
    /// So many dead letters were replayed.
    Replayed(u64),
}

/// One session with a database that holds rows and ledger.
pub trait Home {
    /// Checks the database (writable primary, privileges, version of the ledger), creates or migrates the ledger, registers
    /// the pipeline and compares every declared table with the real one. All findings come in one error.
    /// Nothing is created when a finding stops the start.
    fn register<'a>(&'a mut self, registration: &'a Registration) -> Answer<'a, Result<Registered>>;

    /// All positions of a pipeline, in order. For planning only; nothing is decided on what it says.
    fn positions(&mut self, pipeline: PipelineId) -> Answer<'_, Result<Vec<PositionRow>>>;

    /// Stores the founding epoch of shards that do not exist yet, with their initial positions, in one transaction.
    /// Rows that another instance founded first are left as they are.
    fn found<'a>(&'a mut self, pipeline: PipelineId, rows: &'a [PositionRow]) -> Answer<'a, Result<()>>;

    /// Becomes the owner of shards: a write on the writable primary, which waits for transactions in flight. Connects anew
    /// where the session was lost, and ends the sessions of older generations that stand in the way.
    fn claim<'a>(&'a mut self, request: &'a ClaimRequest) -> Answer<'a, Result<Claim>>;

    /// Begins a transaction and spends the right in it: its first statement moves the ledger and aborts by itself, in the
    /// server, where the ledger is not as expected.
    fn begin(&mut self, right: Right) -> Answer<'_, Result<Box<dyn Transaction + '_>, CommitError>>;

    /// Whether the shards of the last claim are still owned. A hint for an idle owner; safety never depends on it.
    fn still_owned(&mut self) -> Answer<'_, Result<bool>>;

    /// Waits until no instance of the pipeline is present, at most about a second; `true` once none is.
    fn absent(&mut self, pipeline: PipelineId) -> Answer<'_, Result<bool>>;

    /// A desk for people's commands: queries over the ledger.
    fn desk(&mut self) -> Answer<'_, Result<Box<dyn desk::Desk + '_>>>;
}

/// An open transaction. Dropping it rolls back.
pub trait Transaction {
    /// Writes the work into its tables. Refused records are left out as their tables say; with `stop` the answer is
    /// `Rejected` with an error of kind `Data`.
    fn write<'a>(&'a mut self, work: &'a Work) -> Answer<'a, Result<Written, CommitError>>;

    /// Lets the user's own code in, before the commit. `None` where the home keeps no rows.
    fn inside(&mut self) -> Option<&mut dyn inside::Inside> {
        None
    }

    /// Writes dead letters and the commit row, and commits. Never sends COMMIT twice.
    fn commit<'a>(self: Box<Self>, closing: &'a Closing) -> Answer<'a, Result<Done, CommitError>>
    where
        Self: 'a;
}

/// Makes homes: one for each lane and one for control.
pub trait HomeFactory: Send + Sync + fmt::Debug {
    /// The system, for people: `PostgreSQL`, `SQLite`, `print`.
    fn system(&self) -> &'static str;

    /// Which database, without secrets. Two factories with equal texts are one home.
    fn describe(&self) -> String;

    /// The schema in which a table without one is looked up, where the address names exactly one.
    fn default_schema(&self) -> Option<String>;

    /// How scratch copies of it are made; `None` where there can be none.
    fn scratch(&self) -> Option<Box<dyn scratch::Scratch>> {
        None
    }

    /// What a commit guarantees, for `explain`.
    fn guarantee(&self) -> Guarantee;

    /// Opens a home. Cheap; connects at the first call. `tables` are the branch's targets.
    fn open(&self, tables: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>>;

    /// Takes a snapshot for an audit. Homes that keep nothing have none.
    fn witness(&self) -> Answer<'_, Result<Box<dyn witness::Witness>>> {
        let message = format!("{} keeps no ledger, so there is nothing to audit", self.describe());
        let error = Error::config(crate::codes::OF0120, message);
        Box::pin(std::future::ready(Err(error.help("audit a pipeline that writes into PostgreSQL or SQLite"))))
    }
}

/// The class of an edge, as printed by `explain`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guarantee {
    /// The table is in the home: rows and ledger commit together.
    Atomic,
    /// The target is no home and keeps no position.
    AtLeastOnce,
}
