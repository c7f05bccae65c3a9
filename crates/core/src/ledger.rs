//! The ledger as a state machine: claim, propose, move, accept.
//!
//! Owns the rules of ownership and of progress. Does not own storage: rows come in as values and go out as values.

use crate::chain::{ChainHash, Seal};
use crate::counts::{Counts, TableTotal};
use crate::digest::{Digest, Fingerprint};
use crate::identity::{Partition, PipelineId, ShardId, SourceIdentity};
use crate::number::{Epoch, Generation, Nonce, Position, Span};
use crate::outcome::{MoveMismatch, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// A shard as a home stores it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardRow {
    /// The shard.
    pub shard: ShardId,
    /// How often it has been claimed.
    pub generation: Generation,
    /// The random number of the last claim.
    pub nonce: Nonce,
    /// The last committed epoch.
    pub epoch: Epoch,
    /// The hash of all epochs up to that one.
    pub chain: ChainHash,
}

impl ShardRow {
    /// The row of a shard that has just been founded.
    pub fn founding(pipeline: PipelineId, shard: ShardId) -> Self {
        let chain = ChainHash::founding(pipeline, &shard);
        Self { shard, generation: Generation::NONE, nonce: Nonce::NONE, epoch: Epoch::FOUNDING, chain }
    }
}

/// The last record that was consumed of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// Its own offset. Not always the position minus one: gaps may follow it.
    pub offset: Position,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// A position as a home stores it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PositionRow {
    /// The shard that owns the partition.
    pub shard: ShardId,
    /// The partition.
    pub partition: Partition,
    /// Which log the position counts in.
    pub identity: SourceIdentity,
    /// The next record to read.
    pub next: Position,
    /// The leader epoch of the last record, where the source has one.
    pub leader_epoch: Option<i32>,
    /// The last record that was consumed, where one was.
    pub tail: Option<Tail>,
    /// The watermark in milliseconds since 1970, where event time is used.
    pub watermark: Option<i64>,
}

/// The claim that a process still remembers when it claims again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The generation that it installed.
    pub generation: Generation,
    /// The nonce that it drew.
    pub nonce: Nonce,
}

/// What a claim does to a shard's row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimDecision {
    /// The claimer becomes the owner; this is the row to store.
    Take(ShardRow),
    /// Another owner claimed since the claimer last did: no tug of war.
    Fenced {
        /// The generation of the other owner.
        found: Generation,
    },
}

/// Decides a claim from the row as the home holds it **under the row's write lock**.
///
/// `held` is the claimer's own earlier claim of this shard in this process, if any. A row of a lower generation than `held`
/// is a restored home: the claim goes on, above both, since generations never go down in memory (invariant 3).
pub fn decide_claim(row: &ShardRow, held: Option<Held>, nonce: Nonce) -> ClaimDecision {
    if let Some(held) = held {
        let other_nonce = row.generation == held.generation && row.nonce != held.nonce;
        if row.generation > held.generation || other_nonce {
            return ClaimDecision::Fenced { found: row.generation };
        }
    }
    let highest = held.map_or(row.generation, |held| held.generation.max(row.generation));
    ClaimDecision::Take(ShardRow { generation: highest.next(), nonce, ..row.clone() })
}

/// What the mover believes a shard's row to be.
pub type Seen = ShardRow;

/// Compares the stored row with what the mover expects. A home must abort the whole transaction on `Err`, in the server.
pub fn check_move(stored: &ShardRow, expected: &Seen) -> Result<(), MoveMismatch> {
    if stored.generation != expected.generation {
        return Err(MoveMismatch::Generation { found: stored.generation });
    }
    if stored.nonce != expected.nonce {
        return Err(MoveMismatch::Nonce);
    }
    if stored.epoch != expected.epoch {
        return Err(MoveMismatch::Epoch { found: stored.epoch });
    }
    if stored.chain != expected.chain {
        return Err(MoveMismatch::Chain);
    }
    Ok(())
}

/// What a step consumed of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consumed {
    /// The partition.
    pub partition: Partition,
    /// Which positions; may be without any record.
    pub span: Span,
    /// Number and digest of the records.
    pub digest: Digest,
    /// The leader epoch of the last record, where known.
    pub leader_epoch: Option<i32>,
    /// The last record, where there was one.
    pub tail: Option<Tail>,
}

/// A step that a lane wants to make durable.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// What was consumed, at most one entry a partition.
    pub consumed: Vec<Consumed>,
    /// What became of the records.
    pub counts: Counts,
    /// What was prepared for each table.
    pub tables: Vec<TableTotal>,
}

/// How one shard moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardMove {
    /// The row that must stand in the home.
    pub expected: Seen,
    /// The epoch to store.
    pub epoch: Epoch,
    /// The chain hash to store.
    pub chain: ChainHash,
}

/// The right to move shards by one epoch: made by [`Ledger::propose`], spent by a commit. Not `Clone`; dropping it gives
/// nothing back, the owner claims again.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "an advance that is not committed means that the owner has to claim again"]
pub struct Advance {
    pipeline: PipelineId,
    moves: Vec<ShardMove>,
    positions: Vec<PositionRow>,
    step: Step,
}

impl Advance {
    /// The pipeline.
    pub fn pipeline(&self) -> PipelineId {
        self.pipeline
    }

    /// The shards that move, in order of their names. A home locks them in this order.
    pub fn moves(&self) -> &[ShardMove] {
        &self.moves
    }

    /// The positions to store, in order.
    pub fn positions(&self) -> &[PositionRow] {
        &self.positions
    }

    /// The step itself: spans, digests, counts as prepared.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Says that the home has confirmed the commit. Only a home may call it, and only after the database answered COMMIT.
    pub fn committed(self) -> Committed {
        Committed(self)
    }
}

/// An advance that the home has made durable.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a committed advance has to be accepted by its ledger"]
pub struct Committed(Advance);

impl Committed {
    /// What was committed.
    pub fn advance(&self) -> &Advance {
        &self.0
    }
}

/// The ledger as its owner knows it after a claim.
#[derive(Debug)]
pub struct Ledger {
    pipeline: PipelineId,
    shards: BTreeMap<ShardId, ShardRow>,
    positions: BTreeMap<Partition, PositionRow>,
    outstanding: bool,
}

impl Ledger {
    /// The ledger that a claim returned. Every position must belong to one of the shards.
    pub fn claimed(
        pipeline: PipelineId,
        shards: impl IntoIterator<Item = ShardRow>,
        positions: impl IntoIterator<Item = PositionRow>,
    ) -> Result<Self, Violation> {
        let shards: BTreeMap<_, _> = shards.into_iter().map(|row| (row.shard.clone(), row)).collect();
        let mut by_partition = BTreeMap::new();
        for row in positions {
            if !shards.contains_key(&row.shard) {
                return Err(Violation::ClaimIncomplete(row.shard));
            }
            by_partition.insert(row.partition.clone(), row);
        }
        Ok(Self { pipeline, shards, positions: by_partition, outstanding: false })
    }

    /// The pipeline.
    pub fn pipeline(&self) -> PipelineId {
        self.pipeline
    }

    /// The shards that are owned, in order.
    pub fn shards(&self) -> impl Iterator<Item = &ShardRow> {
        self.shards.values()
    }

    /// The positions to read from, in order.
    pub fn positions(&self) -> impl Iterator<Item = &PositionRow> {
        self.positions.values()
    }

    /// What this owner holds, for its next claim.
    pub fn held(&self) -> BTreeMap<ShardId, Held> {
        let held = |row: &ShardRow| Held { generation: row.generation, nonce: row.nonce };
        self.shards.iter().map(|(shard, row)| (shard.clone(), held(row))).collect()
    }

    /// Makes the right to move by one step. Checks invariants 4 and 5. After `Err` the ledger is unchanged.
    pub fn propose(&mut self, step: Step) -> Result<Advance, Violation> {
        self.check(&step)?;
        let seal = Seal::of(&step.counts, &step.tables);
        let mut by_shard: BTreeMap<&ShardId, Vec<&Consumed>> = BTreeMap::new();
        let mut positions = BTreeMap::new();
        for part in &step.consumed {
            let row = &self.positions[&part.partition];
            by_shard.entry(&row.shard).or_default().push(part);
            positions.insert(&part.partition, moved(row, part));
        }
        let moves = by_shard.into_iter().map(|(shard, mut parts)| {
            parts.sort_by(|a, b| a.partition.cmp(&b.partition));
            let expected = self.shards[shard].clone();
            let epoch = expected.epoch.next();
            let chain = expected.chain.next(shard, epoch, &parts, &seal);
            ShardMove { expected, epoch, chain }
        });
        let moves = moves.collect();
        let positions = positions.into_values().collect();
        self.outstanding = true;
        Ok(Advance { pipeline: self.pipeline, moves, positions, step })
    }

    /// Takes over what the home has made durable.
    pub fn accept(&mut self, committed: Committed) -> Result<(), Violation> {
        let Committed(advance) = committed;
        let own = self.outstanding
            && advance.pipeline == self.pipeline
            && advance.moves.iter().all(|step| self.shards.get(&step.expected.shard) == Some(&step.expected));
        if !own {
            return Err(Violation::ForeignAdvance);
        }
        for step in advance.moves {
            let row = ShardRow { epoch: step.epoch, chain: step.chain, ..step.expected };
            self.shards.insert(row.shard.clone(), row);
        }
        for row in advance.positions {
            self.positions.insert(row.partition.clone(), row);
        }
        self.outstanding = false;
        Ok(())
    }

    fn check(&self, step: &Step) -> Result<(), Violation> {
        if self.outstanding {
            return Err(Violation::AdvanceOutstanding);
        }
        if step.consumed.iter().all(|part| part.span.is_empty()) {
            return Err(Violation::NothingToMove);
        }
        let mut seen = BTreeSet::new();
        for part in &step.consumed {
            self.check_part(part)?;
            if !seen.insert(&part.partition) {
                return Err(Violation::RepeatedPartition(part.partition.clone()));
            }
        }
        check_counts(step)
    }

    fn check_part(&self, part: &Consumed) -> Result<(), Violation> {
        let Some(row) = self.positions.get(&part.partition) else {
            return Err(Violation::UnknownPartition(part.partition.clone()));
        };
        if row.next != part.span.from() {
            return Err(Violation::SpanNotAtPosition {
                partition: part.partition.clone(),
                ledger: row.next,
                step: part.span.from(),
            });
        }
        Ok(())
    }
}

fn check_counts(step: &Step) -> Result<(), Violation> {
    let counts = &step.counts;
    if !counts.balanced() {
        let accounted = counts.used + counts.filtered + counts.late + counts.dead + counts.skipped;
        return Err(Violation::CountsNotBalanced { records: counts.records, accounted });
    }
    let digested = step.consumed.iter().map(|part| part.digest.count()).sum();
    if counts.records != digested {
        return Err(Violation::RecordsDiffer { counted: counts.records, digested });
    }
    Ok(())
}

fn moved(row: &PositionRow, part: &Consumed) -> PositionRow {
    PositionRow {
        next: part.span.to(),
        leader_epoch: part.leader_epoch.or(row.leader_epoch),
        tail: part.tail.or(row.tail),
        ..row.clone()
    }
}
