//! Random values of the core's types.

use onceflow_core::{
    ChainHash, Consumed, Counts, Digest, Epoch, Fingerprint, Generation, Held, Nonce, Partition, PipelineId, Position,
    PositionRow, ShardId, ShardRow, SourceIdentity, Span, Step, Tail,
};
use proptest::prelude::*;

/// The pipeline of every test.
pub const PIPELINE: PipelineId = PipelineId::new(0x0F);

/// How many partitions the histories have; the last two share a shard.
pub const PARTITIONS: usize = 4;

pub fn partition(number: usize) -> Partition {
    Partition::new("orders", "orders.v1", u32::try_from(number).expect("a small number"))
}

pub fn shard_of(number: usize) -> ShardId {
    ShardId::new(["a", "b", "both", "both"][number])
}

pub fn positions(next: [u64; PARTITIONS]) -> Vec<PositionRow> {
    let row = |(number, next): (usize, u64)| PositionRow {
        shard: shard_of(number),
        partition: partition(number),
        identity: SourceIdentity::new("cluster", "topic"),
        next: Position::new(next),
        leader_epoch: None,
        tail: None,
        watermark: None,
    };
    next.into_iter().enumerate().map(row).collect()
}

/// A row with few different values, so that equal ones are frequent.
pub fn small_row() -> impl Strategy<Value = ShardRow> {
    (0_u64..4, 0_u128..3, 0_u64..3, 0_u8..2).prop_map(|(generation, nonce, epoch, chain)| ShardRow {
        shard: ShardId::new("a"),
        generation: Generation::new(generation),
        nonce: Nonce::new(nonce),
        epoch: Epoch::new(epoch),
        chain: ChainHash::new([chain; 32]),
    })
}

pub fn small_held() -> impl Strategy<Value = Option<Held>> {
    let held = (0_u64..4, 0_u128..3);
    proptest::option::of(
        held.prop_map(|(generation, nonce)| Held { generation: Generation::new(generation), nonce: Nonce::new(nonce) }),
    )
}

/// What one partition contributes to a step: offsets of records, each some way after the one before, and a gap at the end.
#[derive(Clone, Debug)]
pub struct Part {
    pub partition: usize,
    pub gaps: Vec<u8>,
    pub trailing: u8,
    pub leader_epoch: Option<i32>,
}

/// At most one part for each partition, and at least one that moves.
pub fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = (proptest::collection::vec(0_u8..5, 0..5), 0_u8..4, proptest::option::of(0..9_i32));
    let all = proptest::collection::vec(proptest::option::of(part), PARTITIONS);
    let parts = all.prop_map(|all| {
        let of = |(partition, part): (usize, Option<_>)| {
            let (gaps, trailing, leader_epoch) = part?;
            Some(Part { partition, gaps, trailing, leader_epoch })
        };
        all.into_iter().enumerate().filter_map(of).collect::<Vec<Part>>()
    });
    parts.prop_filter("a step has to move", |parts| parts.iter().any(|part| !part.gaps.is_empty() || part.trailing > 0))
}

/// The offsets of a part's records, from a position on, and the position after the part.
pub fn offsets(part: &Part, from: u64) -> (Vec<u64>, u64) {
    let mut next = from;
    let offset = |gap: &u8| {
        let at = next + u64::from(*gap);
        next = at + 1;
        at
    };
    let offsets: Vec<u64> = part.gaps.iter().map(offset).collect();
    (offsets, next + u64::from(part.trailing))
}

/// The step that consumes the parts from the given positions. Some records are filtered, some dead: the counts balance.
pub fn step(parts: &[Part], from: &[u64; PARTITIONS]) -> Step {
    let consumed = |part: &Part| {
        let (offsets, to) = offsets(part, from[part.partition]);
        let print = |offset: u64| Fingerprint::of_record(offset, None, None, Some(b"value"));
        let mut digest = Digest::EMPTY;
        offsets.iter().for_each(|offset| digest.add(print(*offset).get()));
        let tail = offsets.last().map(|last| Tail { offset: Position::new(*last), fingerprint: print(*last) });
        let span = Span::new(Position::new(from[part.partition]), Position::new(to)).expect("a part goes forward");
        Consumed { partition: partition(part.partition), span, digest, leader_epoch: part.leader_epoch, tail }
    };
    let consumed: Vec<Consumed> = parts.iter().map(consumed).collect();
    let records: u64 = consumed.iter().map(|part| part.digest.count()).sum();
    let (filtered, dead) = (records / 3, records / 5);
    let counts = Counts { records, filtered, dead, used: records - filtered - dead, ..Counts::default() };
    Step { consumed, counts, tables: Vec::new() }
}
