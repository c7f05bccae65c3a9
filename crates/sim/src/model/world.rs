//! The state of the model: small values only, so that millions of them can be compared.

use std::fmt;

/// How many shards, each with one partition.
pub const SHARDS: usize = 2;
/// How many workers.
pub const WORKERS: usize = 2;
/// Room for records of a partition.
pub const RECORDS: usize = 4;

/// A set of shards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shards(pub u8);

impl Shards {
    /// Both.
    pub const BOTH: Shards = Shards(0b11);
    /// The first.
    pub const FIRST: Shards = Shards(0b01);
    /// The second.
    pub const SECOND: Shards = Shards(0b10);
    /// None.
    pub const NONE: Shards = Shards(0);

    /// The members, in order.
    pub fn each(self) -> impl Iterator<Item = usize> {
        (0..SHARDS).filter(move |shard| self.has(*shard))
    }

    /// Whether a shard is a member.
    pub fn has(self, shard: usize) -> bool {
        self.0 & (1 << shard) != 0
    }

    /// With a shard.
    pub fn with(self, shard: usize) -> Shards {
        Shards(self.0 | (1 << shard))
    }

    /// Whether the two have a member in common.
    pub fn meets(self, other: Shards) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.each().map(|shard| shard.to_string()).collect();
        write!(f, "{{{}}}", names.join(","))
    }
}

/// A process. A worker that crashes comes back as another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Life(pub u8);

/// A shard's row with its position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Row {
    /// Generation.
    pub generation: u8,
    /// Nonce, as the number of the claim that drew it.
    pub nonce: u8,
    /// Epoch.
    pub epoch: u8,
    /// Chain hash, as its number in the model's table.
    pub chain: u16,
    /// The next record; absent only where the founding rule is off and nothing has been committed.
    pub next: Option<u8>,
}

/// A shard as the home holds it, with what the oracle knows of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shard {
    /// The row, once founded.
    pub row: Option<Row>,
    /// How often each record has been applied.
    pub applied: [u8; RECORDS],
    /// Oracle: the first record that this history promised.
    pub origin: Option<u8>,
    /// Oracle: who made the newest claim in this history.
    pub owner: Option<Life>,
}

/// What is durable.
pub type Home = [Shard; SHARDS];

/// How far the server is with a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// The statements are on their way.
    Sent,
    /// The move of these shards matched; their rows are locked.
    Moved(Shards),
    /// The move did not match and aborted the transaction.
    Aborted,
    /// Finished; the answer is on its way.
    Finished {
        /// Whether it took effect.
        committed: bool,
    },
    /// The server ended the session; the client has not noticed.
    Ended,
}

/// A transaction: what a worker sent, and how far the server is with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Session {
    /// Whose it is.
    pub life: Life,
    /// Which shards move.
    pub shards: Shards,
    /// What the mover expects of each.
    pub expected: [Option<Row>; SHARDS],
    /// What it moves each to.
    pub moved: [Option<Row>; SHARDS],
    /// Whether COMMIT is in the pipe.
    pub commit_sent: bool,
    /// How far the server is.
    pub phase: Phase,
    /// Oracle: somebody has been told since, by a claim of these shards, what their position is.
    pub overtaken: bool,
}

impl Session {
    /// Rows that the server has locked for it.
    pub fn locks(&self) -> Shards {
        match self.phase {
            Phase::Moved(shards) => shards,
            _ => Shards::NONE,
        }
    }

    /// Whether the server may still do something for it.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Sent | Phase::Moved(_) | Phase::Aborted)
    }
}

/// A worker: one process at a time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Worker {
    /// The process.
    pub life: Life,
    /// The ledger in its memory, after a claim.
    pub ledger: [Option<Row>; SHARDS],
    /// What it holds from its claims: generation and nonce.
    pub held: [Option<(u8, u8)>; SHARDS],
    /// Nonces that it has drawn; counted only where processes are clones.
    pub drawn: u8,
    /// Claims that took effect without an answer: what they wrote.
    pub attempt: [Option<(u8, u8)>; SHARDS],
    /// The ends of the log as it saw them when it found no ledger.
    pub resolved: Option<[u8; SHARDS]>,
    /// Its transaction.
    pub session: Option<Session>,
    /// It was told that another instance owns a shard, and has ended.
    pub fenced: bool,
    /// Oracle: shards that another process has claimed from this one.
    pub lost: Shards,
}

impl Worker {
    /// A process that has just started.
    pub fn started(life: Life) -> Self {
        Self {
            life,
            ledger: [None; SHARDS],
            held: [None; SHARDS],
            drawn: 0,
            attempt: [None; SHARDS],
            resolved: None,
            session: None,
            fenced: false,
            lost: Shards::NONE,
        }
    }

    /// Forgets what it knew of the ledger: it has to claim again.
    pub fn drop_ledger(&mut self) {
        self.ledger = [None; SHARDS];
        self.session = None;
    }
}

/// Everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// The ends of the partitions.
    pub log: [u8; SHARDS],
    /// What is durable.
    pub home: Home,
    /// An older state of the home, kept for a restore.
    pub backup: Option<Home>,
    /// Whether the restore has happened.
    pub restored: bool,
    /// The workers.
    pub workers: [Worker; WORKERS],
    /// Transactions whose client is gone, with COMMIT in the pipe. Sorted.
    pub orphans: Vec<Session>,
    /// Claims that reached the home; also the source of nonces.
    pub claims: u8,
    /// Processes started after the first two.
    pub crashes: u8,
    /// Connections lost.
    pub losses: u8,
}

impl World {
    /// Nothing founded, nobody started.
    pub fn initial(log_start: u8) -> Self {
        Self {
            log: [log_start; SHARDS],
            home: Home::default(),
            backup: None,
            restored: false,
            workers: [Worker::started(Life(0)), Worker::started(Life(1))],
            orphans: Vec::new(),
            claims: 0,
            crashes: 0,
            losses: 0,
        }
    }

    /// All transactions of which the server knows.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.workers.iter().filter_map(|worker| worker.session.as_ref()).chain(&self.orphans)
    }

    /// The same, to change them.
    pub fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.workers.iter_mut().filter_map(|worker| worker.session.as_mut()).chain(&mut self.orphans)
    }

    /// Rows locked by transactions.
    pub fn locked(&self) -> Shards {
        Shards(self.sessions().fold(0, |locks, session| locks | session.locks().0))
    }
}
