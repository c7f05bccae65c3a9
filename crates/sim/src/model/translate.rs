//! Between the model's small values and the core's own types. Every decision of the protocol is made by the core, here.

use super::world::{Row, SHARDS, Shards};
use super::{Bounds, Rules};
use onceflow_core::{
    ChainHash, ClaimDecision, Consumed, Counts, Digest, Epoch, Fingerprint, Generation, Held, Ledger, Nonce, Partition,
    PipelineId, Position, PositionRow, ShardId, ShardRow, SourceIdentity, Span, Step, Violation, check_move,
    decide_claim,
};
use std::collections::HashMap;

const PIPELINE: PipelineId = PipelineId::new(7);

/// The model: rules, bounds, and the names of chain hashes.
#[derive(Debug)]
pub struct Model {
    /// Which rules hold.
    pub rules: Rules,
    /// How far to go.
    pub bounds: Bounds,
    chains: Vec<ChainHash>,
    numbers: HashMap<ChainHash, u16>,
    proposed: HashMap<Proposal, Rows>,
}

/// The rows of a worker's ledger, by shard.
type Rows = [Option<Row>; SHARDS];
/// Rows, the shards that move, and up to where.
type Proposal = (Rows, Shards, [u8; SHARDS]);

/// What the home decides on a claim of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decided {
    /// The row to store.
    Take(Row),
    /// Give way.
    Fenced,
}

impl Model {
    /// A model.
    pub fn new(rules: Rules, bounds: Bounds) -> Self {
        Self { rules, bounds, chains: Vec::new(), numbers: HashMap::new(), proposed: HashMap::new() }
    }

    fn number_of(&mut self, chain: ChainHash) -> u16 {
        let fresh = u16::try_from(self.chains.len()).expect("the bounds keep histories few");
        *self.numbers.entry(chain).or_insert_with(|| {
            self.chains.push(chain);
            fresh
        })
    }

    fn core_row(&self, shard: usize, row: &Row) -> ShardRow {
        ShardRow {
            shard: shard_id(shard),
            generation: Generation::new(u64::from(row.generation)),
            nonce: Nonce::new(u128::from(row.nonce)),
            epoch: Epoch::new(u64::from(row.epoch)),
            chain: self.chains[usize::from(row.chain)],
        }
    }

    fn row(&mut self, core: &ShardRow, next: Option<u8>) -> Row {
        Row {
            generation: small(core.generation.get()),
            nonce: u8::try_from(core.nonce.get()).expect("nonces are counted from one"),
            epoch: small(core.epoch.get()),
            chain: self.number_of(core.chain),
            next,
        }
    }

    /// The row of a shard founded at a position.
    pub fn founding_row(&mut self, shard: usize, next: Option<u8>) -> Row {
        let core = ShardRow::founding(PIPELINE, shard_id(shard));
        self.row(&core, next)
    }

    /// The core's decision on a claim.
    pub fn decide(&mut self, shard: usize, row: &Row, held: Option<(u8, u8)>, nonce: u8) -> Decided {
        let held = held.map(|(generation, nonce)| Held {
            generation: Generation::new(u64::from(generation)),
            nonce: Nonce::new(u128::from(nonce)),
        });
        match decide_claim(&self.core_row(shard, row), held, Nonce::new(u128::from(nonce))) {
            ClaimDecision::Take(core) => Decided::Take(self.row(&core, row.next)),
            ClaimDecision::Fenced { .. } => Decided::Fenced,
        }
    }

    /// The core's comparison of a move, with what the rules leave of it: a column that is not compared is made equal.
    pub fn matches(&self, shard: usize, stored: &Row, expected: &Row) -> bool {
        let stored = self.core_row(shard, stored);
        let mut seen = self.core_row(shard, expected);
        if !self.rules.generation {
            seen.generation = stored.generation;
        }
        if !self.rules.nonce {
            seen.nonce = stored.nonce;
        }
        if !self.rules.contents {
            seen.epoch = stored.epoch;
            seen.chain = stored.chain;
        }
        check_move(&stored, &seen).is_ok()
    }

    /// What the rows of a worker's ledger become when it consumes up to the ends of the log: the core proposes, and, as
    /// after a confirmed commit, accepts. The core is pure, so each question is asked once.
    pub fn moved(&mut self, ledger: &Rows, shards: Shards, ends: [u8; SHARDS]) -> Result<Rows, Violation> {
        let proposal = (*ledger, shards, ends);
        if let Some(known) = self.proposed.get(&proposal) {
            return Ok(*known);
        }
        let moved = self.propose(ledger, shards, ends)?;
        self.proposed.insert(proposal, moved);
        Ok(moved)
    }

    fn propose(&mut self, ledger: &Rows, shards: Shards, ends: [u8; SHARDS]) -> Result<Rows, Violation> {
        let mut core = self.core_ledger(ledger)?;
        let advance = core.propose(step(ledger, shards, ends))?;
        core.accept(advance.committed())?;
        let rows: Vec<ShardRow> = core.shards().cloned().collect();
        let positions: Vec<PositionRow> = core.positions().cloned().collect();
        let mut moved = *ledger;
        for (row, position) in rows.iter().zip(&positions) {
            let shard = usize::from(row.shard != shard_id(0));
            moved[shard] = Some(self.row(row, Some(small(position.next.get()))));
        }
        Ok(moved)
    }

    fn core_ledger(&self, ledger: &Rows) -> Result<Ledger, Violation> {
        let held = || (0..SHARDS).filter_map(|shard| ledger[shard].as_ref().map(|row| (shard, row)));
        let rows: Vec<ShardRow> = held().map(|(shard, row)| self.core_row(shard, row)).collect();
        let positions: Vec<PositionRow> = held().map(|(shard, row)| position_row(shard, known_next(row))).collect();
        Ledger::claimed(PIPELINE, rows, positions)
    }
}

fn known_next(row: &Row) -> u8 {
    row.next.expect("a worker resolves a position that the home does not hold")
}

fn small(number: u64) -> u8 {
    u8::try_from(number).expect("the bounds keep numbers small")
}

fn shard_id(shard: usize) -> ShardId {
    ShardId::new(["shard 0", "shard 1"][shard])
}

fn partition(shard: usize) -> Partition {
    Partition::new("source", "topic", u32::from(shard == 1))
}

fn position_row(shard: usize, next: u8) -> PositionRow {
    PositionRow {
        shard: shard_id(shard),
        partition: partition(shard),
        identity: SourceIdentity::new("cluster", "topic"),
        next: Position::new(u64::from(next)),
        leader_epoch: None,
        tail: None,
        watermark: None,
    }
}

fn step(ledger: &Rows, shards: Shards, ends: [u8; SHARDS]) -> Step {
    let consumed = |shard: usize| {
        let from = ledger[shard].as_ref().map_or(0, known_next);
        let mut digest = Digest::EMPTY;
        (from..ends[shard])
            .for_each(|record| digest.add(Fingerprint::of_record(u64::from(record), None, None, None).get()));
        let span = Span::new(Position::new(u64::from(from)), Position::new(u64::from(ends[shard])));
        let span = span.expect("a worker only begins where there is something to read");
        Consumed { partition: partition(shard), span, digest, leader_epoch: None, tail: None }
    };
    let consumed: Vec<Consumed> = shards.each().map(consumed).collect();
    let records = consumed.iter().map(|part| part.digest.count()).sum();
    Step { consumed, counts: Counts { records, used: records, ..Counts::default() }, tables: Vec::new() }
}
