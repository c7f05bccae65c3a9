//! Rows of the ledger as values: between columns and the protocol's types. What cannot be read is named, never guessed.

use crate::codes;
use crate::error::{Error, Kind, Result};
use onceflow_core::{
    ChainHash, Epoch, Fingerprint, Generation, Nonce, Partition, PipelineId, Position, PositionRow, ShardId, ShardRow,
    SourceIdentity, Tail,
};
use tokio_postgres::Row;

/// The columns that [`position`] reads.
pub(super) const POSITION_COLUMNS: &str = "shard, source, topic, partition, cluster_id, topic_id, next_offset, \
     leader_epoch, tail_offset, tail_fingerprint, watermark";

/// A shard out of columns shard, generation, nonce, epoch, chain; `generation` and `nonce` name the columns to take.
pub(super) fn shard(row: &Row, generation: &str, nonce: &str) -> Result<ShardRow> {
    let name: String = row.get("shard");
    let broken = |column: &str| unreadable("shard", &name, column);
    let text = |column: &str| row.get::<_, String>(column);
    Ok(ShardRow {
        generation: number(row.get(generation)).map(Generation::new).ok_or_else(|| broken("generation"))?,
        nonce: Nonce::parse(&text(nonce)).ok_or_else(|| broken("nonce"))?,
        epoch: number(row.get("epoch")).map(Epoch::new).ok_or_else(|| broken("epoch"))?,
        chain: ChainHash::parse(&text("chain")).ok_or_else(|| broken("chain"))?,
        shard: ShardId::new(name),
    })
}

/// A position out of [`POSITION_COLUMNS`].
pub(super) fn position(row: &Row) -> Result<PositionRow> {
    let topic: String = row.get("topic");
    let broken = |column: &str| unreadable("position", &topic, column);
    let at = |column: &str| row.get::<_, Option<i64>>(column).map(Position::from_signed);
    let fingerprint: Option<String> = row.get("tail_fingerprint");
    let tail = match (at("tail_offset"), fingerprint) {
        (Some(offset), Some(text)) => Some(Tail {
            offset: offset.ok_or_else(|| broken("tail_offset"))?,
            fingerprint: Fingerprint::parse(&text).ok_or_else(|| broken("tail_fingerprint"))?,
        }),
        _ => None,
    };
    let number = u32::try_from(row.get::<_, i32>("partition")).map_err(|_| broken("partition"))?;
    Ok(PositionRow {
        shard: ShardId::new(row.get::<_, String>("shard")),
        partition: Partition::new(row.get::<_, String>("source"), topic.as_str(), number),
        identity: SourceIdentity::new(row.get::<_, String>("cluster_id"), row.get::<_, String>("topic_id")),
        next: at("next_offset").flatten().ok_or_else(|| broken("next_offset"))?,
        leader_epoch: row.get("leader_epoch"),
        tail,
        watermark: row.get("watermark"),
    })
}

fn number(stored: i64) -> Option<u64> {
    u64::try_from(stored).ok()
}

fn unreadable(table: &str, name: &str, column: &str) -> Error {
    Error::new(Kind::Identity, codes::OF0908, format!("onceflow.{table}: the {column} of '{name}' cannot be read"))
        .note("the row is not as Onceflow writes it: it was edited or restored in part")
        .help(format!("look at it: SELECT * FROM onceflow.{table};"))
}

/// A number as the database stores it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("generations, epochs and counts stay below 2^63")
}

/// A partition's number as the database stores it.
pub(super) fn partition_number(number: u32) -> i32 {
    i32::try_from(number).expect("sources number partitions below 2^31")
}

/// A pipeline's identity as a parameter `$n::text::uuid`.
pub(super) fn uuid(pipeline: PipelineId) -> String {
    pipeline.to_string()
}

/// Positions column by column, as parameters of `unnest`.
#[derive(Default)]
pub(super) struct PositionColumns<'a> {
    pub(super) shard: Vec<&'a str>,
    pub(super) source: Vec<&'a str>,
    pub(super) topic: Vec<&'a str>,
    pub(super) partition: Vec<i32>,
    pub(super) cluster_id: Vec<&'a str>,
    pub(super) topic_id: Vec<&'a str>,
    pub(super) next: Vec<i64>,
    pub(super) leader_epoch: Vec<Option<i32>>,
    pub(super) tail_offset: Vec<Option<i64>>,
    pub(super) tail_fingerprint: Vec<Option<String>>,
    pub(super) watermark: Vec<Option<i64>>,
}

impl<'a> PositionColumns<'a> {
    pub(super) fn new(rows: impl IntoIterator<Item = &'a PositionRow>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.shard.push(row.shard.as_str());
            columns.source.push(&row.partition.source);
            columns.topic.push(&row.partition.topic);
            columns.partition.push(partition_number(row.partition.number));
            columns.cluster_id.push(&row.identity.cluster_id);
            columns.topic_id.push(&row.identity.topic_id);
            columns.next.push(row.next.signed());
            columns.leader_epoch.push(row.leader_epoch);
            columns.tail_offset.push(row.tail.map(|tail| tail.offset.signed()));
            columns.tail_fingerprint.push(row.tail.map(|tail| tail.fingerprint.to_string()));
            columns.watermark.push(row.watermark);
        }
        columns
    }
}
