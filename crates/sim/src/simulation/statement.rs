//! The fake database: what its tables hold, and what each statement does to them.
//!
//! Claim and move are decided by `onceflow_core`, as in every home; [`Rules`](super::Rules) switches single rules off. What is
//! promised is checked by [`super::oracle`], not here.

use super::bank::{Entry, REFUSED};
use super::server::{Server, Session};
use super::world::{Process, World};
use onceflow::home::attempts::Attempts;
use onceflow_core::{
    ClaimDecision, Counts, Generation, Held, MoveMismatch, Nonce, Partition, PipelineId, Position, PositionRow,
    ShardId, ShardRow, check_move, decide_claim, ledger::ShardMove, ledger::Step,
};
use std::collections::{BTreeMap, BTreeSet};

/// The pipeline's identity in the home.
pub(super) const PIPELINE: PipelineId = PipelineId::new(7);

/// Who moves a shard: a process, by one of its claims.
pub(super) type Owner = (Process, u64);

/// A statement, as it is sent.
pub(super) enum Ask {
    Register,
    Positions,
    Found(Vec<PositionRow>),
    /// BEGIN and the claim's first statement.
    Claim(Box<ClaimAsk>),
    /// BEGIN and the move.
    Move(Box<MoveAsk>),
    /// Rows, each with the number of its record.
    Write(Vec<(usize, Row)>),
    /// Dead letters, commit row and COMMIT; of a claim only COMMIT.
    Commit(Option<Box<CloseAsk>>),
    /// Names the session after what it has claimed.
    Announce,
    Owned(BTreeMap<ShardId, Held>),
    Rollback,
}

pub(super) struct ClaimAsk {
    pub(super) owner: Owner,
    pub(super) shards: Vec<ShardId>,
    pub(super) nonce: Nonce,
    /// What the engine says that it holds.
    pub(super) held: BTreeMap<ShardId, Held>,
    /// Claims of this home that may stand here.
    pub(super) attempts: Attempts,
}

#[derive(Clone)]
pub(super) struct MoveAsk {
    pub(super) owner: Owner,
    pub(super) moves: Vec<ShardMove>,
    pub(super) positions: Vec<PositionRow>,
    pub(super) step: Step,
}

#[derive(Clone)]
pub(super) struct CloseAsk {
    pub(super) counts: Counts,
    pub(super) letters: Vec<(Partition, u64)>,
}

#[derive(Clone, Copy)]
pub(super) enum Row {
    Entry(Entry),
    Balance(i64, i64),
}

/// An answer.
#[derive(Debug)]
pub(super) enum Said {
    Done,
    Positions(Vec<PositionRow>),
    Claimed(Vec<ShardRow>, Vec<PositionRow>),
    Fenced(ShardId, Generation),
    Missing(ShardId),
    /// The move raised; whether another owner is the reason.
    Mismatch(bool),
    /// The move changed no row. Only where a rule is switched off.
    Unmoved,
    /// The records that were refused.
    Written(BTreeSet<usize>),
    Owned(bool),
    Failed(&'static str),
    /// The transaction had failed before.
    Aborted,
}

/// A transaction that is open.
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) failed: bool,
    pub(super) claimed: Option<(Owner, Vec<ShardRow>)>,
    pub(super) moved: Option<MoveAsk>,
    pub(super) entries: Vec<Entry>,
    pub(super) balances: Vec<(i64, i64)>,
    pub(super) close: Option<CloseAsk>,
}

impl Open {
    pub(super) fn new(number: u64) -> Self {
        let (entries, balances) = (Vec::new(), Vec::new());
        Self { number, failed: false, claimed: None, moved: None, entries, balances, close: None }
    }
}

/// All tables, and what the oracle knows of this history. A snapshot is a copy.
#[derive(Clone, Default)]
pub(super) struct Database {
    pub(super) shards: BTreeMap<ShardId, ShardRow>,
    pub(super) positions: BTreeMap<Partition, PositionRow>,
    pub(super) entries: BTreeMap<Entry, u64>,
    pub(super) balances: BTreeMap<i64, i64>,
    pub(super) letters: BTreeMap<(Partition, u64), u64>,
    /// Where each partition was founded.
    pub(super) founded: BTreeMap<Partition, Position>,
    /// Which history of each log was applied.
    pub(super) applied: BTreeMap<Partition, usize>,
    /// Who claimed each shard last.
    pub(super) owners: BTreeMap<ShardId, Owner>,
    /// Who claimed each shard in this history, by which claims.
    pub(super) claimers: BTreeMap<ShardId, BTreeSet<Owner>>,
}

impl World {
    fn database(&mut self) -> &mut Database {
        &mut self.server.database
    }

    fn open(&mut self, session: Session) -> Option<&mut Open> {
        self.server.connections.get_mut(&session)?.open.as_mut()
    }

    /// Executes a statement, or gives it back where it has to wait for a lock.
    pub(super) fn execute(&mut self, session: Session, ask: Ask) -> Result<Said, Ask> {
        let failed = self.open(session).is_some_and(|open| open.failed);
        if failed && !matches!(ask, Ask::Commit(_) | Ask::Rollback) {
            return Ok(Said::Aborted);
        }
        match ask {
            Ask::Register | Ask::Announce => Ok(Said::Done),
            Ask::Positions => Ok(Said::Positions(self.server.database.positions.values().cloned().collect())),
            Ask::Found(rows) => Ok(self.found(&rows)),
            Ask::Claim(claim) => self.claim(session, claim),
            Ask::Move(wanted) => self.move_ledger(session, wanted),
            Ask::Write(rows) => Ok(self.write(session, &rows)),
            Ask::Commit(close) => Ok(self.commit(session, close)),
            Ask::Owned(held) => Ok(Said::Owned(self.is_owned(session, &held))),
            Ask::Rollback => {
                if let Some(connection) = self.server.connections.get_mut(&session) {
                    connection.open = None;
                }
                self.unlock(session);
                Ok(Said::Done)
            }
        }
    }

    fn found(&mut self, rows: &[PositionRow]) -> Said {
        let overwrites = !self.rules.founding;
        for row in rows {
            let shard = ShardRow::founding(PIPELINE, row.shard.clone());
            let database = self.database();
            let known = database.positions.contains_key(&row.partition);
            if known && !overwrites {
                continue;
            }
            database.shards.entry(row.shard.clone()).or_insert(shard);
            database.positions.insert(row.partition.clone(), row.clone());
            self.note(&format!("founded {} at {}", row.shard, row.next));
            self.check_founding(row, known);
        }
        Said::Done
    }

    fn claim(&mut self, session: Session, claim: Box<ClaimAsk>) -> Result<Said, Ask> {
        if !self.rules.claim {
            return Ok(self.read_instead_of_claim(&claim));
        }
        self.begin(session);
        if !self.locks(session, &claim.shards) {
            return Err(Ask::Claim(claim));
        }
        let mut rows = Vec::new();
        for shard in &claim.shards {
            let Some(row) = self.server.database.shards.get(shard).cloned() else {
                return Ok(Said::Missing(shard.clone()));
            };
            let attempt = claim.attempts.own(&row).filter(|_| self.rules.own_attempt);
            let held = claim.held.get(shard).copied().filter(|_| self.rules.fence);
            if attempt.is_some() && held != attempt {
                self.seen.own_claims += 1;
            }
            let held = attempt.or(held);
            self.seen.restored_claims += u64::from(held.is_some_and(|held| held.generation > row.generation));
            match decide_claim(&row, held, claim.nonce) {
                ClaimDecision::Take(row) => rows.push(row),
                ClaimDecision::Fenced { found } => {
                    self.check_fenced(session, shard, claim.owner);
                    return Ok(Said::Fenced(shard.clone(), found));
                }
            }
        }
        let positions = self.positions_of(&claim.shards);
        self.open(session).expect("it was just begun").claimed = Some((claim.owner, rows.clone()));
        Ok(Said::Claimed(rows, positions))
    }

    /// What recovery would be without a write: it reads what stands there and takes it for its own.
    fn read_instead_of_claim(&mut self, claim: &ClaimAsk) -> Said {
        let rows = claim.shards.iter().filter_map(|shard| self.server.database.shards.get(shard).cloned());
        let rows: Vec<_> = rows.collect();
        for row in &rows {
            self.database().owners.insert(row.shard.clone(), claim.owner);
        }
        Said::Claimed(rows, self.positions_of(&claim.shards))
    }

    fn positions_of(&self, shards: &[ShardId]) -> Vec<PositionRow> {
        let own = |row: &&PositionRow| shards.contains(&row.shard);
        self.server.database.positions.values().filter(own).cloned().collect()
    }

    fn move_ledger(&mut self, session: Session, wanted: Box<MoveAsk>) -> Result<Said, Ask> {
        self.begin(session);
        let shards: Vec<_> = wanted.moves.iter().map(|step| step.expected.shard.clone()).collect();
        if !self.locks(session, &shards) {
            return Err(Ask::Move(wanted));
        }
        if self.fails(session) {
            return Ok(Said::Failed("serialization failure"));
        }
        if let Some(fenced) = self.mismatch(&wanted) {
            self.seen.refused_moves += 1;
            self.note(&format!("the server refuses a move of p{}", wanted.owner.0));
            if fenced || !self.rules.abort {
                self.note_outdone(wanted.owner.0, &shards);
            }
            if !self.rules.abort {
                return Ok(Said::Unmoved);
            }
            self.abort(session);
            return Ok(Said::Mismatch(fenced));
        }
        self.open(session).expect("it was just begun").moved = Some(*wanted);
        Ok(Said::Done)
    }

    /// Why the ledger does not move, if it does not: whether another owner is the reason.
    fn mismatch(&self, wanted: &MoveAsk) -> Option<bool> {
        for step in &wanted.moves {
            let Some(stored) = self.server.database.shards.get(&step.expected.shard) else { return Some(false) };
            let mut expected = step.expected.clone();
            if !self.rules.generation {
                expected.generation = stored.generation;
            }
            if !self.rules.nonce {
                expected.nonce = stored.nonce;
            }
            if !self.rules.contents {
                (expected.epoch, expected.chain) = (stored.epoch, stored.chain);
            }
            match check_move(stored, &expected) {
                Ok(()) => {}
                Err(MoveMismatch::Generation { found }) => return Some(found > step.expected.generation),
                Err(MoveMismatch::Nonce) => return Some(true),
                Err(_) => return Some(false),
            }
        }
        None
    }

    fn write(&mut self, session: Session, rows: &[(usize, Row)]) -> Said {
        if self.fails(session) {
            return Said::Failed("deadlock");
        }
        // Without a rule the engine's rows may come without a transaction of their own.
        self.begin(session);
        let bad = |(unit, row): &(usize, Row)| match row {
            Row::Entry(entry) if entry.amount == REFUSED => Some(*unit),
            _ => None,
        };
        let refused: BTreeSet<usize> = rows.iter().filter_map(bad).collect();
        let whole = self.rules.whole;
        let open = self.open(session).expect("it was just begun");
        for (unit, row) in rows {
            match row {
                Row::Entry(entry) if !refused.contains(unit) => open.entries.push(*entry),
                Row::Balance(account, delta) if !refused.contains(unit) || !whole => {
                    open.balances.push((*account, *delta));
                }
                _ => {}
            }
        }
        self.seen.refused_rows += refused.len() as u64;
        Said::Written(refused)
    }

    /// Whether a statement fails now, which aborts its transaction.
    fn fails(&mut self, session: Session) -> bool {
        let times = self.faults.statement;
        let fails = self.chance.one_in(times);
        if fails {
            self.seen.failed_statements += 1;
            self.abort(session);
        }
        fails
    }

    fn commit(&mut self, session: Session, close: Option<Box<CloseAsk>>) -> Said {
        let open = self.server.connections.get_mut(&session).and_then(|connection| connection.open.take());
        let Some(mut open) = open.filter(|open| !open.failed) else {
            self.unlock(session);
            return Said::Aborted;
        };
        open.close = close.map(|close| *close);
        if open.close.is_some() && self.is_abandoned(session) {
            self.seen.late_commits += 1;
        }
        self.check_commit(session, &open);
        self.apply(open);
        self.unlock(session);
        Said::Done
    }

    fn apply(&mut self, open: Open) {
        let Server { database, durable, .. } = &mut self.server;
        if let Some((owner, rows)) = open.claimed {
            for row in rows {
                database.owners.insert(row.shard.clone(), owner);
                database.claimers.entry(row.shard.clone()).or_default().insert(owner);
                database.shards.insert(row.shard.clone(), row);
            }
        }
        if let Some(moved) = open.moved {
            for step in moved.moves {
                let row = ShardRow { epoch: step.epoch, chain: step.chain, ..step.expected };
                // The generation and the nonce stay as they are stored, as in an UPDATE that does not set them.
                let stored = database.shards.get(&row.shard);
                let (generation, nonce) = stored.map_or((row.generation, row.nonce), |row| (row.generation, row.nonce));
                database.shards.insert(row.shard.clone(), ShardRow { generation, nonce, ..row });
            }
            for row in moved.positions {
                let ever = durable.entry(row.partition.clone()).or_default();
                *ever = row.next.max(*ever);
                database.positions.insert(row.partition.clone(), row);
            }
        }
        for entry in open.entries {
            *database.entries.entry(entry).or_default() += 1;
        }
        for (account, delta) in open.balances {
            *database.balances.entry(account).or_default() += delta;
        }
        for letter in open.close.into_iter().flat_map(|close| close.letters) {
            *database.letters.entry(letter).or_default() += 1;
        }
    }

    /// A plain read: it waits for nothing, and sees nothing of a transaction in flight.
    fn is_owned(&mut self, session: Session, held: &BTreeMap<ShardId, Held>) -> bool {
        let stands = |(shard, held): (&ShardId, &Held)| {
            let row = self.server.database.shards.get(shard);
            row.is_some_and(|row| row.generation == held.generation && row.nonce == held.nonce)
        };
        let owned = held.iter().all(stands);
        if !owned {
            self.note_unowned(session, held);
        }
        owned
    }
}
