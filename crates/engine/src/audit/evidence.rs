//! What the ledger says, read in one snapshot.
//!
//! Owns the reading and nothing of the judgement. Numbers that the ledger cannot have are an error with the place (OF0121).

use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::desk::Cell;
use crate::home::witness::Witness;
use crate::logic::EpochClock;
use onceflow_core::{
    ChainHash, Counts, Digest, Epoch, Partition, PipelineId, Position, PositionRow, ShardId, SourceIdentity, Span,
    TableTotal,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Commit rows are read in portions of so many.
const PORTION: usize = 5_000;

/// A shard as the ledger has it.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its name.
    pub shard: ShardId,
    /// The last epoch.
    pub epoch: Epoch,
    /// The hash of all epochs.
    pub chain: ChainHash,
}

/// What one commit consumed of one partition.
#[derive(Clone, Debug)]
pub struct Part {
    /// The partition, as an index into [`Evidence::partitions`].
    pub partition: usize,
    /// Its span.
    pub span: Span,
    /// Number and digest of its records.
    pub digest: Digest,
}

/// How one commit moved one shard.
#[derive(Clone, Debug)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that it reached.
    pub epoch: Epoch,
    /// The hash before.
    pub previous: ChainHash,
    /// The hash after.
    pub chain: ChainHash,
    /// What was consumed, in order.
    pub parts: Vec<Part>,
}

/// What one commit did to one table.
#[derive(Clone, Debug)]
pub struct Output {
    /// The table as declared.
    pub table: String,
    /// What was prepared; `None` where nothing was (a replay).
    pub prepared: Option<Digest>,
    /// Rows written.
    pub written: u64,
    /// Rows that were there.
    pub ignored: u64,
    /// Rows refused.
    pub refused: u64,
}

/// A commit row.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its number.
    pub id: i64,
    /// When, in RFC 3339.
    pub at: String,
    /// The shards that moved; none in a replay.
    pub moves: Vec<Move>,
    /// What became of the records at last.
    pub counts: Counts,
    /// What was to become of them before anything was refused.
    pub prepared: Counts,
    /// The tables, in the order of the seal.
    pub outputs: Vec<Output>,
    /// What volatile functions saw.
    pub clock: EpochClock,
}

impl Commit {
    /// The tables as the seal covers them.
    pub fn totals(&self) -> Vec<TableTotal> {
        let prepared = self.outputs.iter().filter_map(|output| {
            output.prepared.map(|digest| TableTotal { table: output.table.as_str().into(), digest })
        });
        prepared.collect()
    }

    /// What was done to a table.
    pub fn output(&self, table: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.table == table)
    }

    /// Whether the commit wrote dead letters again.
    pub fn is_replay(&self) -> bool {
        self.moves.is_empty()
    }
}

/// A dead letter, as far as an audit needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Whether its record was written later.
    pub replayed: bool,
    /// Whether a database refused it; otherwise the logic does so again.
    pub refused: bool,
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, in RFC 3339.
    pub at: String,
    /// What kind.
    pub kind: String,
    /// The details.
    pub detail: String,
    /// Why.
    pub reason: Option<String>,
}

/// Everything that an audit takes from the ledger.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The logic that ran last.
    pub fingerprint: String,
    /// The shards.
    pub shards: Vec<Shard>,
    /// The positions.
    pub positions: Vec<PositionRow>,
    /// All partitions that positions or commits name, in order.
    pub partitions: Vec<Partition>,
    /// The commits, oldest first.
    pub commits: Vec<Commit>,
    /// Dead letters of single records, by partition and offset.
    pub letters: BTreeMap<(usize, u64), Letter>,
    /// Dead letters of rows that many records made, by table, not replayed.
    pub grouped_letters: BTreeMap<String, u64>,
    /// How many dead letters there are, and how many of them were replayed.
    pub letter_counts: (u64, u64),
    /// Operators' decisions and founding.
    pub events: Vec<Event>,
}

/// Reads the ledger of a pipeline; `None` where there is no ledger, or none of this name.
pub async fn read(witness: &mut dyn Witness, name: &str) -> Result<Option<Evidence>> {
    if !witness.exists().await? {
        return Ok(None);
    }
    let rows = witness
        .rows("SELECT pipeline, fingerprint FROM {pipeline} WHERE name = $1", &[Cell::Text(name.to_owned())])
        .await?;
    let Some([Cell::Text(id), Cell::Text(fingerprint)]) = rows.first().map(Vec::as_slice) else { return Ok(None) };
    let Some(pipeline) = PipelineId::parse(id) else { return Err(damaged("pipeline", name, "pipeline", id)) };
    let shards = shards(witness, pipeline).await?;
    let positions = positions(witness, pipeline).await?;
    let raw = commits(witness, pipeline).await?;
    let mut partitions: BTreeSet<Partition> = positions.iter().map(|row| row.partition.clone()).collect();
    partitions.extend(raw.iter().flat_map(|commit| &commit.parts).map(|(_, partition, ..)| partition.clone()));
    let partitions: Vec<Partition> = partitions.into_iter().collect();
    let commits = raw.into_iter().map(|raw| raw.finish(&partitions)).collect();
    let mut evidence = Evidence {
        pipeline,
        fingerprint: fingerprint.clone(),
        shards,
        positions,
        partitions,
        commits,
        letters: BTreeMap::new(),
        grouped_letters: BTreeMap::new(),
        letter_counts: (0, 0),
        events: events(witness, pipeline).await?,
    };
    letters(witness, &mut evidence).await?;
    Ok(Some(evidence))
}

/// The names that the ledger knows.
pub async fn names(witness: &mut dyn Witness) -> Result<Vec<String>> {
    if !witness.exists().await? {
        return Ok(Vec::new());
    }
    let rows = witness.rows("SELECT name FROM {pipeline} ORDER BY name", &[]).await?;
    Ok(rows.into_iter().filter_map(|row| text(row.first())).collect())
}

fn damaged(table: &str, row: &str, column: &str, value: &str) -> Error {
    let message =
        format!("the ledger's table {table} has '{value}' as {column} of {row}, which Onceflow did not write");
    Error::new(Kind::Identity, codes::OF0121, message)
        .note("somebody edited the ledger, or it was damaged")
        .help("compare with a backup, or look at the rows around it: onceflow ledger history FILE")
}

fn text(cell: Option<&Cell>) -> Option<String> {
    match cell {
        Some(Cell::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn int(cell: Option<&Cell>) -> Option<i64> {
    match cell {
        Some(Cell::Int(number)) => Some(*number),
        Some(Cell::Text(text)) => text.parse().ok(),
        _ => None,
    }
}

async fn shards(witness: &mut dyn Witness, pipeline: PipelineId) -> Result<Vec<Shard>> {
    let sql = "SELECT shard, epoch, chain FROM {shard} WHERE pipeline = $1 ORDER BY shard";
    let rows = witness.rows(sql, &[Cell::Text(pipeline.to_string())]).await?;
    let mut shards = Vec::new();
    for row in rows {
        let name = text(row.first()).unwrap_or_default();
        let (epoch, chain) = (int(row.get(1)), text(row.get(2)).unwrap_or_default());
        let epoch = epoch.and_then(|epoch| u64::try_from(epoch).ok());
        let epoch = epoch.ok_or_else(|| damaged("shard", &name, "epoch", &format!("{:?}", row.get(1))))?;
        let parsed = ChainHash::parse(&chain).ok_or_else(|| damaged("shard", &name, "chain", &chain))?;
        shards.push(Shard { shard: ShardId::new(name), epoch: Epoch::new(epoch), chain: parsed });
    }
    Ok(shards)
}

async fn positions(witness: &mut dyn Witness, pipeline: PipelineId) -> Result<Vec<PositionRow>> {
    let sql = "SELECT shard, source, topic, \"partition\", cluster_id, topic_id, next_offset, leader_epoch, tail_offset, \
               tail_fingerprint FROM {position} WHERE pipeline = $1";
    let rows = witness.rows(sql, &[Cell::Text(pipeline.to_string())]).await?;
    let mut positions = rows.iter().map(|row| position(row)).collect::<Result<Vec<_>>>()?;
    positions.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(positions)
}

fn position(row: &[Cell]) -> Result<PositionRow> {
    let word = |index: usize| text(row.get(index)).unwrap_or_default();
    let (source, topic) = (word(1), word(2));
    let bad = |column: &str, index: usize| damaged("position", &topic, column, &format!("{:?}", row.get(index)));
    let number = int(row.get(3)).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| bad("partition", 3))?;
    let next = int(row.get(6)).and_then(Position::from_signed).ok_or_else(|| bad("next_offset", 6))?;
    let tail = match (int(row.get(8)).and_then(Position::from_signed), text(row.get(9))) {
        (Some(offset), Some(fingerprint)) => {
            let parsed = onceflow_core::Fingerprint::parse(&fingerprint);
            let fingerprint = parsed.ok_or_else(|| damaged("position", &topic, "tail_fingerprint", &fingerprint))?;
            Some(onceflow_core::Tail { offset, fingerprint })
        }
        _ => None,
    };
    Ok(PositionRow {
        shard: ShardId::new(word(0)),
        partition: Partition::new(source, topic.clone(), number),
        identity: SourceIdentity::new(word(4), word(5)),
        next,
        leader_epoch: int(row.get(7)).and_then(|epoch| i32::try_from(epoch).ok()),
        tail,
        watermark: None,
    })
}

/// A commit row before partitions have numbers.
struct Raw {
    commit: Commit,
    /// Move, partition, span, digest.
    parts: Vec<(usize, Partition, Span, Digest)>,
}

impl Raw {
    fn finish(self, partitions: &[Partition]) -> Commit {
        let mut commit = self.commit;
        for (step, partition, span, digest) in self.parts {
            let partition = partitions.binary_search(&partition).expect("all partitions of commits were collected");
            commit.moves[step].parts.push(Part { partition, span, digest });
        }
        commit
    }
}

async fn commits(witness: &mut dyn Witness, pipeline: PipelineId) -> Result<Vec<Raw>> {
    let sql = format!(
        "SELECT id, committed_at, CAST(shards AS TEXT), records, used, filtered, late, dead, skipped, \
         CAST(prepared AS TEXT), CAST(tables AS TEXT), now, seed FROM {{commit}} \
         WHERE pipeline = $1 AND id > $2 ORDER BY id LIMIT {PORTION}"
    );
    let mut all = Vec::new();
    let mut last = i64::MIN;
    loop {
        let rows = witness.rows(&sql, &[Cell::Text(pipeline.to_string()), Cell::Int(last)]).await?;
        for row in &rows {
            all.push(commit(row)?);
        }
        match (rows.len() == PORTION, rows.last().and_then(|row| int(row.first()))) {
            (true, Some(id)) => last = id,
            _ => return Ok(all),
        }
    }
}

fn commit(row: &[Cell]) -> Result<Raw> {
    let id = int(row.first()).ok_or_else(|| damaged("commit", "a row", "id", &format!("{:?}", row.first())))?;
    let bad = |column: &str, value: String| damaged("commit", &format!("row {id}"), column, &value);
    let json = |index: usize, column: &str| -> Result<Value> {
        let written = text(row.get(index)).unwrap_or_default();
        serde_json::from_str(&written).map_err(|_| bad(column, written))
    };
    let count = |index: usize| int(row.get(index)).and_then(|n| u64::try_from(n).ok());
    let counts = |column: &str, at: [Option<u64>; 6]| -> Result<Counts> {
        let [Some(records), Some(used), Some(filtered), Some(late), Some(dead), Some(skipped)] = at else {
            return Err(bad(column, format!("{at:?}")));
        };
        Ok(Counts { records, used, filtered, late, dead, skipped })
    };
    let prepared = json(9, "prepared")?;
    let of = |name: &str| prepared[name].as_u64();
    let names = ["records", "used", "filtered", "late", "dead", "skipped"];
    let (shards, tables) = (json(2, "shards")?, json(10, "tables")?);
    let (moves, parts) = moves(&shards).ok_or_else(|| bad("shards", shards.to_string()))?;
    let outputs = outputs(&tables).ok_or_else(|| bad("tables", tables.to_string()))?;
    let now = text(row.get(11)).unwrap_or_default();
    let seed = text(row.get(12)).unwrap_or_default();
    let clock = EpochClock {
        now: microseconds(&now).ok_or_else(|| bad("now", now.clone()))?,
        seed: seed.parse().map_err(|_| bad("seed", seed.clone()))?,
    };
    let commit = Commit {
        id,
        at: text(row.get(1)).unwrap_or_default(),
        moves,
        counts: counts("records", [count(3), count(4), count(5), count(6), count(7), count(8)])?,
        prepared: counts("prepared", names.map(of))?,
        outputs,
        clock,
    };
    Ok(Raw { commit, parts })
}

type Moves = (Vec<Move>, Vec<(usize, Partition, Span, Digest)>);

fn moves(shards: &Value) -> Option<Moves> {
    let (mut moves, mut parts) = (Vec::new(), Vec::new());
    for shard in shards.as_array()? {
        let hash = |name: &str| ChainHash::parse(shard[name].as_str()?);
        for part in shard["partitions"].as_array()? {
            let number = u32::try_from(part["partition"].as_u64()?).ok()?;
            let partition = Partition::new(part["source"].as_str()?, part["topic"].as_str()?, number);
            let span = Span::new(Position::new(part["from"].as_u64()?), Position::new(part["to"].as_u64()?))?;
            let digest = Digest::parse(part["digest"].as_str()?, part["records"].as_u64()?)?;
            parts.push((moves.len(), partition, span, digest));
        }
        moves.push(Move {
            shard: ShardId::new(shard["shard"].as_str()?),
            epoch: Epoch::new(shard["epoch"].as_u64()?),
            previous: hash("previous")?,
            chain: hash("chain")?,
            parts: Vec::new(),
        });
    }
    Some((moves, parts))
}

fn outputs(tables: &Value) -> Option<Vec<Output>> {
    let output = |table: &Value| {
        let prepared = match table.get("digest") {
            Some(digest) => Some(Digest::parse(digest.as_str()?, table["prepared"].as_u64()?)?),
            None => None,
        };
        Some(Output {
            table: table["table"].as_str()?.to_owned(),
            prepared,
            written: table["written"].as_u64()?,
            ignored: table["ignored"].as_u64()?,
            refused: table["refused"].as_u64()?,
        })
    };
    tables.as_array()?.iter().map(output).collect()
}

/// Microseconds since 1970 of a time as a home prints it.
pub fn microseconds(text: &str) -> Option<i64> {
    let rfc = chrono::DateTime::parse_from_rfc3339(text).ok();
    rfc.map(|time| time.timestamp_micros())
}

async fn events(witness: &mut dyn Witness, pipeline: PipelineId) -> Result<Vec<Event>> {
    let sql = "SELECT at, kind, detail, reason FROM {event} WHERE pipeline = $1 AND kind <> 'claim' ORDER BY id";
    let rows = witness.rows(sql, &[Cell::Text(pipeline.to_string())]).await?;
    let event = |row: Vec<Cell>| Event {
        at: text(row.first()).unwrap_or_default(),
        kind: text(row.get(1)).unwrap_or_default(),
        detail: text(row.get(2)).unwrap_or_default(),
        reason: text(row.get(3)),
    };
    Ok(rows.into_iter().map(event).collect())
}

async fn letters(witness: &mut dyn Witness, evidence: &mut Evidence) -> Result<()> {
    let sql = format!(
        "SELECT id, source, topic, \"partition\", \"offset\", target_table, \
         CASE WHEN replayed_at IS NULL THEN 0 ELSE 1 END FROM {{dead_letter}} WHERE pipeline = $1 AND id > $2 \
         ORDER BY id LIMIT {PORTION}"
    );
    let mut last = i64::MIN;
    loop {
        let rows = witness.rows(&sql, &[Cell::Text(evidence.pipeline.to_string()), Cell::Int(last)]).await?;
        rows.iter().for_each(|row| letter(row, evidence));
        match (rows.len() == PORTION, rows.last().and_then(|row| int(row.first()))) {
            (true, Some(id)) => last = id,
            _ => return Ok(()),
        }
    }
}

fn letter(row: &[Cell], evidence: &mut Evidence) {
    let replayed = int(row.get(6)) == Some(1);
    evidence.letter_counts.0 += 1;
    evidence.letter_counts.1 += u64::from(replayed);
    let table = text(row.get(5));
    let place = (int(row.get(3)), int(row.get(4)));
    let (Some(number), Some(offset)) = place else {
        if let (Some(table), false) = (table, replayed) {
            *evidence.grouped_letters.entry(table).or_default() += 1;
        }
        return;
    };
    let (Ok(number), Ok(offset)) = (u32::try_from(number), u64::try_from(offset)) else { return };
    let partition = Partition::new(text(row.get(1)).unwrap_or_default(), text(row.get(2)).unwrap_or_default(), number);
    if let Ok(partition) = evidence.partitions.binary_search(&partition) {
        let letter = Letter { replayed, refused: table.is_some() };
        // A record that was read twice after a reset may have two letters; one that stands is what counts.
        let known = evidence.letters.entry((partition, offset)).or_insert(letter);
        known.replayed &= letter.replayed;
        known.refused |= letter.refused;
    }
}
