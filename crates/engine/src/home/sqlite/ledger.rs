//! The ledger's tables in SQLite: their form, their versions, and their rows as values of the protocol.
//!
//! Every table is plain enough for `sqlite3`: identities are UUIDs and hexadecimal text, moments are RFC 3339 in UTC, lists
//! are JSON. SQLite's own clock stamps rows; nothing is decided on it.

use super::fault;
use super::location::Location;
use crate::codes;
use crate::error::{Error, Kind, Result};
use onceflow_core::{
    ChainHash, Epoch, Fingerprint, Generation, Nonce, Partition, PipelineId, Position, PositionRow, ShardId, ShardRow,
    SourceIdentity, Tail,
};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

/// The version of the ledger that this program makes and knows.
pub(super) const LEDGER_VERSION: i64 = 2;

/// The present moment in SQL.
pub(super) const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

/// One entry a version: what makes the ledger of that version out of the one before.
///
/// The move is an INSERT into the view `onceflow_move`: its trigger updates all shards at once and compares the owner, the
/// epoch and the chain of each. Where one differs it leaves a row whose deferred foreign key points nowhere, and fails
/// without taking that back. So the statement is an error, and the transaction can no longer be committed by anyone, even by a
/// client that looks at neither errors nor counts.
const MIGRATIONS: &[&str] = &["
CREATE TABLE onceflow_pipeline (
  pipeline TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL,
  created_by TEXT NOT NULL, updated_at TEXT NOT NULL, fingerprint TEXT NOT NULL, wiring TEXT NOT NULL
);
CREATE TABLE onceflow_target (
  -- marker: a trigger on the table that never does anything. It goes when the table is dropped, and that is its use.
  pipeline TEXT NOT NULL REFERENCES onceflow_pipeline ON DELETE CASCADE, name TEXT NOT NULL, target TEXT NOT NULL,
  marker TEXT NOT NULL, registered_at TEXT NOT NULL,
  PRIMARY KEY (pipeline, name)
);
CREATE TABLE onceflow_shard (
  pipeline TEXT NOT NULL REFERENCES onceflow_pipeline ON DELETE CASCADE, shard TEXT NOT NULL,
  generation INTEGER NOT NULL CHECK (generation >= 0), nonce TEXT NOT NULL, epoch INTEGER NOT NULL CHECK (epoch >= 0),
  chain TEXT NOT NULL, state TEXT, updated_at TEXT NOT NULL,
  PRIMARY KEY (pipeline, shard)
);
CREATE TABLE onceflow_position (
  pipeline TEXT NOT NULL, shard TEXT NOT NULL, source TEXT NOT NULL, topic TEXT NOT NULL, \"partition\" INTEGER NOT NULL,
  cluster_id TEXT NOT NULL, topic_id TEXT NOT NULL, next_offset INTEGER NOT NULL, leader_epoch INTEGER,
  tail_offset INTEGER, tail_fingerprint TEXT, watermark INTEGER, updated_at TEXT NOT NULL,
  PRIMARY KEY (pipeline, source, topic, \"partition\"),
  FOREIGN KEY (pipeline, shard) REFERENCES onceflow_shard ON DELETE CASCADE,
  CHECK (next_offset >= 0), CHECK ((tail_offset IS NULL) = (tail_fingerprint IS NULL))
);
CREATE TABLE onceflow_commit (
  pipeline TEXT NOT NULL, id INTEGER PRIMARY KEY, committed_at TEXT NOT NULL, generation INTEGER NOT NULL, lane TEXT NOT NULL,
  shards TEXT NOT NULL, records INTEGER NOT NULL, used INTEGER NOT NULL, filtered INTEGER NOT NULL, late INTEGER NOT NULL,
  dead INTEGER NOT NULL, skipped INTEGER NOT NULL, prepared TEXT NOT NULL, tables TEXT NOT NULL, now TEXT NOT NULL,
  seed TEXT NOT NULL
);
CREATE INDEX onceflow_commit_by_pipeline ON onceflow_commit (pipeline, id);
CREATE TABLE onceflow_dead_letter (
  id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, source TEXT NOT NULL, topic TEXT NOT NULL, \"partition\" INTEGER,
  \"offset\" INTEGER, \"timestamp\" TEXT, key BLOB, value BLOB, headers TEXT, code TEXT NOT NULL, reason TEXT NOT NULL,
  sqlstate TEXT, place TEXT, target_table TEXT, \"row\" TEXT, spans TEXT, created_at TEXT NOT NULL, replayed_at TEXT,
  replay_reason TEXT
);
CREATE INDEX onceflow_dead_letter_by_pipeline ON onceflow_dead_letter (pipeline, id);
CREATE TABLE onceflow_event (
  id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL,
  at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), kind TEXT NOT NULL, detail TEXT,
  reason TEXT
);
CREATE INDEX onceflow_event_by_pipeline ON onceflow_event (pipeline, kind, id);
CREATE TABLE onceflow_refused_move (
  -- Empty in every committed state. A row here cannot be committed: see the trigger onceflow_move_all_or_none.
  id INTEGER PRIMARY KEY, impossible INTEGER NOT NULL REFERENCES onceflow_refused_move (id) DEFERRABLE INITIALLY DEFERRED
);
CREATE VIEW onceflow_move (pipeline, moves, positions) AS SELECT NULL, NULL, NULL WHERE 0;
CREATE TRIGGER onceflow_move_all_or_none INSTEAD OF INSERT ON onceflow_move BEGIN
  UPDATE onceflow_shard
     SET epoch = m.value ->> 'to_epoch', chain = m.value ->> 'to_chain',
         updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    FROM json_each(NEW.moves) AS m
   WHERE onceflow_shard.pipeline = NEW.pipeline AND onceflow_shard.shard = m.value ->> 'shard'
     AND onceflow_shard.generation = m.value ->> 'generation' AND onceflow_shard.nonce = m.value ->> 'nonce'
     AND onceflow_shard.epoch = m.value ->> 'epoch' AND onceflow_shard.chain = m.value ->> 'chain';
  INSERT INTO onceflow_refused_move (id, impossible)
    SELECT 1, 0 WHERE changes() <> json_array_length(NEW.moves);
  UPDATE onceflow_position
     SET next_offset = p.value ->> 'to', leader_epoch = p.value ->> 'leader_epoch', tail_offset = p.value ->> 'tail_offset',
         tail_fingerprint = p.value ->> 'tail_fingerprint', watermark = p.value ->> 'watermark',
         updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    FROM json_each(NEW.positions) AS p
   WHERE onceflow_position.pipeline = NEW.pipeline AND onceflow_position.source = p.value ->> 'source'
     AND onceflow_position.topic = p.value ->> 'topic' AND onceflow_position.\"partition\" = p.value ->> 'partition'
     AND onceflow_position.shard = p.value ->> 'shard' AND onceflow_position.next_offset = p.value ->> 'from';
  INSERT INTO onceflow_refused_move (id, impossible)
    SELECT 2, 0 WHERE changes() <> json_array_length(NEW.positions);
  SELECT RAISE(FAIL, 'onceflow: the ledger is not as expected') FROM onceflow_refused_move LIMIT 1;
END;
CREATE VIEW onceflow_replay (pipeline, ids, reason) AS SELECT NULL, NULL, NULL WHERE 0;
CREATE TRIGGER onceflow_replay_all_or_none INSTEAD OF INSERT ON onceflow_replay BEGIN
  UPDATE onceflow_dead_letter
     SET replayed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), replay_reason = NEW.reason
   WHERE pipeline = NEW.pipeline AND replayed_at IS NULL AND id IN (SELECT value FROM json_each(NEW.ids));
  INSERT INTO onceflow_refused_move (id, impossible)
    SELECT 1, 0 WHERE changes() <> (SELECT count(DISTINCT value) FROM json_each(NEW.ids));
  SELECT RAISE(FAIL, 'onceflow: not all dead letters are there and still to be replayed') FROM onceflow_refused_move LIMIT 1;
END;
", "
CREATE TABLE onceflow_outbox (
  -- due_at: milliseconds since 1970, and 0 before the first failure.
  id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, channel TEXT NOT NULL, key TEXT NOT NULL,
  idempotency_key TEXT NOT NULL, message TEXT NOT NULL, compensation TEXT, source TEXT NOT NULL, topic TEXT NOT NULL,
  \"partition\" INTEGER NOT NULL, \"offset\" INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'compensated', 'refused')),
  leased_by TEXT, attempts INTEGER NOT NULL DEFAULT 0, due_at INTEGER NOT NULL DEFAULT 0, reason TEXT,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), ended_at TEXT
);
CREATE INDEX onceflow_outbox_pending ON onceflow_outbox (pipeline, id) WHERE state = 'pending';
CREATE INDEX onceflow_outbox_waiting ON onceflow_outbox (pipeline, channel, key, id)
  WHERE state = 'pending' AND (leased_by IS NOT NULL OR due_at > 0);
"];

/// Whether the database has a ledger.
pub(super) fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = 'onceflow_migration'";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

/// The ledger's version; 0 without a ledger. Refuses one that is newer than this program.
pub(super) fn version(place: &Location, connection: &Connection) -> Result<i64> {
    let read = || -> rusqlite::Result<i64> {
        if !exists(connection)? {
            return Ok(0);
        }
        connection.query_row("SELECT coalesce(max(version), 0) FROM onceflow_migration", [], |row| row.get(0))
    };
    let found = read().map_err(|error| fault::error(place, "read the ledger of", error))?;
    if found <= LEDGER_VERSION {
        return Ok(found);
    }
    let path = place.path().display();
    let message = format!("the ledger in {path} has version {found}, this program knows version {LEDGER_VERSION}");
    Err(Error::config(codes::OF0901, message)
        .note("a newer version of Onceflow has made or migrated it; nothing was changed")
        .help("sqlite3 FILE 'SELECT * FROM onceflow_migration' says which; run that version or a newer one"))
}

/// Brings the ledger to this program's version, inside the open transaction.
pub(super) fn migrate(connection: &Connection, from: i64, program: &str) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS onceflow_migration (version INTEGER PRIMARY KEY, program TEXT NOT NULL, applied_at TEXT NOT NULL)",
    )?;
    let done = usize::try_from(from).unwrap_or(0);
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        connection.execute_batch(migration)?;
        let sql = format!("INSERT INTO onceflow_migration VALUES (?1, ?2, {NOW})");
        connection.execute(&sql, params![signed(index as u64 + 1), program])?;
    }
    Ok(())
}

/// An unsigned number as SQLite stores it.
///
/// # Panics
/// Beyond `i64::MAX`, which no count, epoch or generation reaches.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("no count, epoch or generation reaches 2^63")
}

/// Writes an event.
pub(super) fn event(
    connection: &Connection,
    pipeline: PipelineId,
    kind: &str,
    detail: &serde_json::Value,
    reason: Option<&str>,
) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO onceflow_event (pipeline, at, kind, detail, reason) VALUES (?1, {NOW}, ?2, ?3, ?4)");
    connection.execute(&sql, params![pipeline.to_string(), kind, detail.to_string(), reason]).map(|_| ())
}

/// A shard's row; `None` where there is none.
pub(super) fn shard(
    place: &Location,
    connection: &Connection,
    pipeline: PipelineId,
    shard: &ShardId,
) -> Result<Option<ShardRow>> {
    let sql = "SELECT generation, nonce, epoch, chain FROM onceflow_shard WHERE pipeline = ?1 AND shard = ?2";
    let found = connection
        .query_row(sql, params![pipeline.to_string(), shard.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
        })
        .optional()
        .map_err(|error| fault::error(place, "read the shards in", error))?;
    let Some((generation, nonce, epoch, chain)) = found else { return Ok(None) };
    let damaged = |column: &str, value: &str| damaged("onceflow_shard", shard.as_str(), column, value);
    let number = |column: &str, value: i64| u64::try_from(value).map_err(|_| damaged(column, &value.to_string()));
    Ok(Some(ShardRow {
        shard: shard.clone(),
        generation: Generation::new(number("generation", generation)?),
        nonce: Nonce::parse(&nonce).ok_or_else(|| damaged("nonce", &nonce))?,
        epoch: Epoch::new(number("epoch", epoch)?),
        chain: ChainHash::parse(&chain).ok_or_else(|| damaged("chain", &chain))?,
    }))
}

fn damaged(table: &str, row: &str, column: &str, value: &str) -> Error {
    let message = format!("{table} has '{value}' as {column} of '{row}', which Onceflow cannot have written");
    Error::new(Kind::Identity, codes::OF0908, message)
        .help("mend the row with a plain UPDATE, or restore a backup of the file")
}

/// Stores a shard's row over the one that is there.
pub(super) fn store_shard(connection: &Connection, pipeline: PipelineId, row: &ShardRow) -> rusqlite::Result<usize> {
    let sql = format!(
        "UPDATE onceflow_shard SET generation = :generation, nonce = :nonce, epoch = :epoch, chain = :chain, updated_at = {NOW} \
         WHERE pipeline = :pipeline AND shard = :shard"
    );
    let values = named_params! {
        ":generation": signed(row.generation.get()),
        ":nonce": row.nonce.to_string(),
        ":epoch": signed(row.epoch.get()),
        ":chain": row.chain.to_string(),
        ":pipeline": pipeline.to_string(),
        ":shard": row.shard.as_str(),
    };
    connection.execute(&sql, values)
}

/// Stores the founding row of a shard where there is none; says how many rows it made.
pub(super) fn found_shard(connection: &Connection, pipeline: PipelineId, row: &ShardRow) -> rusqlite::Result<usize> {
    let sql = format!(
        "INSERT INTO onceflow_shard (pipeline, shard, generation, nonce, epoch, chain, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, {NOW}) ON CONFLICT (pipeline, shard) DO NOTHING"
    );
    let (nonce, chain) = (row.nonce.to_string(), row.chain.to_string());
    let numbers = (signed(row.generation.get()), signed(row.epoch.get()));
    connection.execute(&sql, params![pipeline.to_string(), row.shard.as_str(), numbers.0, nonce, numbers.1, chain])
}

/// Stores a position where its partition has none; says how many rows it made.
pub(super) fn found_position(
    connection: &Connection,
    pipeline: PipelineId,
    row: &PositionRow,
) -> rusqlite::Result<usize> {
    let sql = format!(
        "INSERT INTO onceflow_position (pipeline, shard, source, topic, \"partition\", cluster_id, topic_id, next_offset, \
         leader_epoch, tail_offset, tail_fingerprint, watermark, updated_at) \
         VALUES (:pipeline, :shard, :source, :topic, :partition, :cluster_id, :topic_id, :next_offset, :leader_epoch, \
         :tail_offset, :tail_fingerprint, :watermark, {NOW}) ON CONFLICT (pipeline, source, topic, \"partition\") DO NOTHING"
    );
    let values = named_params! {
        ":pipeline": pipeline.to_string(),
        ":shard": row.shard.as_str(),
        ":source": &*row.partition.source,
        ":topic": &*row.partition.topic,
        ":partition": row.partition.number,
        ":cluster_id": &*row.identity.cluster_id,
        ":topic_id": &*row.identity.topic_id,
        ":next_offset": row.next.signed(),
        ":leader_epoch": row.leader_epoch,
        ":tail_offset": row.tail.map(|tail| tail.offset.signed()),
        ":tail_fingerprint": row.tail.map(|tail| tail.fingerprint.to_string()),
        ":watermark": row.watermark,
    };
    connection.execute(&sql, values)
}

/// A position as stored, before its text is read.
struct RawPosition {
    row: (String, String, String, u32, String, String),
    next: i64,
    leader_epoch: Option<i32>,
    tail: (Option<i64>, Option<String>),
    watermark: Option<i64>,
}

/// All positions of a pipeline, in order of their partitions.
pub(super) fn positions(place: &Location, connection: &Connection, pipeline: PipelineId) -> Result<Vec<PositionRow>> {
    let sql = "SELECT shard, source, topic, \"partition\", cluster_id, topic_id, next_offset, leader_epoch, tail_offset, \
               tail_fingerprint, watermark FROM onceflow_position WHERE pipeline = ?1";
    let read = || -> rusqlite::Result<Vec<RawPosition>> {
        let mut statement = connection.prepare(sql)?;
        statement.query_map([pipeline.to_string()], raw_position)?.collect()
    };
    let raw = read().map_err(|error| fault::error(place, "read the positions in", error))?;
    let mut rows = raw.into_iter().map(position).collect::<Result<Vec<_>>>()?;
    rows.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(rows)
}

fn raw_position(row: &Row<'_>) -> rusqlite::Result<RawPosition> {
    Ok(RawPosition {
        row: (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?),
        next: row.get(6)?,
        leader_epoch: row.get(7)?,
        tail: (row.get(8)?, row.get(9)?),
        watermark: row.get(10)?,
    })
}

fn position(raw: RawPosition) -> Result<PositionRow> {
    let (shard, source, topic, number, cluster_id, topic_id) = raw.row;
    let partition = Partition::new(source, topic, number);
    let named = partition.to_string();
    let offset = |column: &str, value: i64| {
        Position::from_signed(value).ok_or_else(|| damaged("onceflow_position", &named, column, &value.to_string()))
    };
    let tail = match raw.tail {
        (Some(at), Some(text)) => {
            let fingerprint = Fingerprint::parse(&text)
                .ok_or_else(|| damaged("onceflow_position", &named, "tail_fingerprint", &text))?;
            Some(Tail { offset: offset("tail_offset", at)?, fingerprint })
        }
        _ => None,
    };
    let next = offset("next_offset", raw.next)?;
    Ok(PositionRow {
        shard: ShardId::new(shard),
        partition,
        identity: SourceIdentity::new(cluster_id, topic_id),
        next,
        leader_epoch: raw.leader_epoch,
        tail,
        watermark: raw.watermark,
    })
}
