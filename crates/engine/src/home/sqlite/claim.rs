//! Founding and claiming: the only way in.

use super::presence::Presence;
use super::{Owned, SqliteHome, begin_immediate, fault, ledger};
use crate::codes;
use crate::crash;
use crate::error::{Error, Kind, Result};
use crate::home::attempts::Attempts;
use crate::home::{Claim, ClaimRequest};
use onceflow_core::{ClaimDecision, Epoch, Ledger, PipelineId, PositionRow, ShardId, ShardRow, decide_claim};
use rusqlite::{Connection, params};
use serde_json::json;
use std::collections::BTreeSet;

/// How many events of claims a pipeline keeps.
const CLAIM_EVENTS_MAX: i64 = 1_000;
/// How many shards an event names.
const EVENT_SHARDS_MAX: usize = 64;

impl SqliteHome {
    pub(super) fn found_now(&mut self, pipeline: PipelineId, rows: &[PositionRow]) -> Result<()> {
        crash::point("before_found");
        self.immediately("found shards in", |place, connection| {
            let failed = |error| fault::error(place, "found shards in", error);
            if !is_registered(connection, pipeline).map_err(failed)? {
                return Err(unknown(&format!("pipeline {pipeline}")));
            }
            let shards: BTreeSet<&ShardId> = rows.iter().map(|row| &row.shard).collect();
            for shard in shards {
                let row = ShardRow::founding(pipeline, shard.clone());
                ledger::found_shard(connection, pipeline, &row).map_err(failed)?;
            }
            let mut new = Vec::new();
            for row in rows {
                if ledger::found_position(connection, pipeline, row).map_err(failed)? > 0 {
                    new.push(json!({
                        "shard": row.shard.as_str(), "source": &*row.partition.source, "topic": &*row.partition.topic,
                        "partition": row.partition.number, "next": row.next.get(),
                    }));
                }
            }
            if new.is_empty() {
                return Ok(());
            }
            let detail = json!({ "epoch": Epoch::FOUNDING.get(), "partitions": new });
            ledger::event(connection, pipeline, "found", &detail, None).map_err(failed)
        })?;
        crash::point("after_found");
        Ok(())
    }

    /// Becomes the owner, in one transaction that has the write lock from its beginning, so that what it reads is what it
    /// writes over.
    pub(super) fn claim_now(&mut self, request: &ClaimRequest) -> Result<Claim> {
        crash::point("before_claim");
        self.owned = None;
        let place = self.place.clone();
        self.fresh_session()?;
        if self.presence.as_ref().is_none_or(|presence| presence.pipeline() != request.pipeline) {
            self.presence = Some(Presence::enter(&place, request.pipeline)?);
        }
        self.session()?;
        let connection = &self.session.as_ref().expect("it was just made sure").connection;
        ledger::version(&place, connection)?;
        // A file that was restored from a copy comes without it.
        place.use_wal(connection)?;
        begin_immediate(&place, connection, "claim shards in")?;
        let taken = take(&place, connection, request, &self.attempts);
        let rows = match taken {
            Ok(Ok(rows)) => rows,
            Ok(Err(fenced)) => {
                self.roll_back();
                return Ok(fenced);
            }
            Err(error) => {
                self.roll_back();
                return Err(error);
            }
        };
        // Where COMMIT or what follows fails, only the next claim can tell whether it took effect.
        self.attempts.sent(&rows);
        if let Err(error) = connection.execute_batch("COMMIT") {
            self.session = None;
            return Err(fault::error(&place, "claim shards in", error));
        }
        let positions = ledger::positions(&place, connection, request.pipeline)?;
        let own: BTreeSet<&ShardId> = rows.iter().map(|row| &row.shard).collect();
        let positions = positions.into_iter().filter(|row| own.contains(&row.shard));
        let ledger = Ledger::claimed(request.pipeline, rows.iter().cloned(), positions)?;
        self.attempts.answered(&ledger);
        self.owned = Some(Owned { pipeline: request.pipeline, shards: ledger.held() });
        self.lane.clone_from(&request.lane);
        crash::point("after_claim");
        Ok(Claim::Owned(ledger))
    }

    fn roll_back(&mut self) {
        let rolled_back =
            self.session.as_ref().is_none_or(|session| session.connection.execute_batch("ROLLBACK").is_ok());
        if !rolled_back {
            self.session = None;
        }
    }

    pub(super) fn still_owned_now(&mut self) -> Result<bool> {
        let place = self.place.clone();
        let Some(owned) = self.owned.take() else { return Ok(false) };
        let answer = self.session().and_then(|session| {
            for (shard, held) in &owned.shards {
                let row = ledger::shard(&place, &session.connection, owned.pipeline, shard)?;
                if row.is_none_or(|row| row.generation != held.generation || row.nonce != held.nonce) {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        self.owned = Some(owned);
        answer
    }
}

/// Decides the claim of every shard under the write lock, and stores what it decides.
fn take(
    place: &super::Location,
    connection: &Connection,
    request: &ClaimRequest,
    attempts: &Attempts,
) -> Result<Result<Vec<ShardRow>, Claim>> {
    let failed = |error| fault::error(place, "claim shards in", error);
    let shards: BTreeSet<&ShardId> = request.shards.iter().collect();
    let mut rows = Vec::new();
    for shard in shards {
        let row = ledger::shard(place, connection, request.pipeline, shard)?;
        let row = row.ok_or_else(|| unknown(&format!("shard {shard} of pipeline {}", request.pipeline)))?;
        match decide_claim(&row, attempts.held(request, &row), request.nonce) {
            ClaimDecision::Take(row) => rows.push(row),
            ClaimDecision::Fenced { found } => return Ok(Err(Claim::Fenced { shard: shard.clone(), found })),
        }
    }
    for row in &rows {
        ledger::store_shard(connection, request.pipeline, row).map_err(failed)?;
    }
    record(connection, request, &rows).map_err(failed)?;
    Ok(Ok(rows))
}

/// Writes the event of a claim, and removes the oldest ones beyond [`CLAIM_EVENTS_MAX`].
fn record(connection: &Connection, request: &ClaimRequest, rows: &[ShardRow]) -> rusqlite::Result<()> {
    let trim = "DELETE FROM onceflow_event WHERE pipeline = ?1 AND kind = 'claim' AND id <= (SELECT id FROM onceflow_event \
                WHERE pipeline = ?1 AND kind = 'claim' ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    connection.execute(trim, params![request.pipeline.to_string(), CLAIM_EVENTS_MAX])?;
    let named: Vec<_> = rows.iter().take(EVENT_SHARDS_MAX).map(|row| row.shard.as_str()).collect();
    let generation = rows.iter().map(|row| row.generation.get()).max().unwrap_or(0);
    let detail = json!({ "lane": request.lane, "generation": generation, "shards": rows.len(), "named": named });
    ledger::event(connection, request.pipeline, "claim", &detail, None)
}

fn is_registered(connection: &Connection, pipeline: PipelineId) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM onceflow_pipeline WHERE pipeline = ?1";
    connection.query_row(sql, [pipeline.to_string()], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

fn unknown(what: &str) -> Error {
    Error::new(Kind::Identity, codes::OF0906, format!("the ledger does not hold {what}"))
        .note("it was removed meanwhile, or the database was restored to a time before it")
        .help("start the pipeline again; it says what it finds")
}
