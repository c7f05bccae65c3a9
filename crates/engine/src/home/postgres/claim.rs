//! Founding and claiming: the only way in.
//!
//! A claim is a write under row locks, so it waits for a transaction in flight and never reads a stale answer. What a row
//! means is decided by `onceflow_core::decide_claim`; the statement does the same arithmetic in the server, and both are compared.

use crate::codes;
use crate::crash;
use crate::error::{Error, Kind, Result};
use crate::home::attempts::Attempts;
use crate::home::postgres::config::PostgresConfig;
use crate::home::postgres::pooled;
use crate::home::postgres::rows::{self, POSITION_COLUMNS, PositionColumns, signed, uuid};
use crate::home::postgres::session::{self, Open, Session};
use crate::home::{Claim, ClaimRequest};
use onceflow_core::{ClaimDecision, Generation, Held, Ledger, Nonce, PipelineId, PositionRow, ShardId, ShardRow};
use onceflow_core::{Epoch, decide_claim};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_postgres::types::ToSql;

/// How long a claim waits for the owner's transaction before it ends the owner's session.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a claim waits in all before it fails and is tried again.
const CLAIM_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '20s'";
/// How many events of claims a pipeline keeps.
const CLAIM_EVENTS_MAX: i64 = 1_000;
/// How many shards an event names.
const EVENT_SHARDS_MAX: usize = 20;

/// What a home remembers of claims between sessions.
#[derive(Default)]
pub(super) struct Claims {
    attempts: Attempts,
    /// The last claim that succeeded.
    owned: Option<(PipelineId, BTreeMap<ShardId, Held>)>,
}

/// Names the session after what it is about to claim.
pub(super) async fn sign(session: &Session, request: &ClaimRequest) -> Result<()> {
    let highest = request.held.values().map(|held| held.generation).max().unwrap_or(Generation::NONE);
    session.sign(request.pipeline, &request.lane, highest).await
}

/// Claims shards for a lane, on a session that is named.
pub(super) async fn claim(
    session: &mut Session,
    config: &PostgresConfig,
    claims: &mut Claims,
    request: &ClaimRequest,
) -> Result<Claim> {
    crash::point("before_claim");
    let (pid, pipeline) = (session.pid, request.pipeline);
    let answer = {
        let mut attempt = std::pin::pin!(attempt(session, claims, request));
        loop {
            tokio::select! {
                biased;
                answer = &mut attempt => break answer,
                () = tokio::time::sleep(PATIENCE) => end_blockers(config, pipeline, pid).await?,
            }
        }
    }?;
    if let Claim::Owned(ledger) = &answer {
        crash::point("after_claim");
        claims.attempts.answered(ledger);
        claims.owned = Some((ledger.pipeline(), ledger.held()));
        let highest = ledger.shards().map(|row| row.generation).max().unwrap_or(Generation::NONE);
        session.sign(pipeline, &request.lane, highest).await?;
        announce(session, pipeline).await?;
    }
    Ok(answer)
}

async fn attempt(session: &mut Session, claims: &mut Claims, request: &ClaimRequest) -> Result<Claim> {
    let open = session.open_transaction();
    let rows = take(&open, request).await?;
    let decided = match decide(claims, request, &rows)? {
        Ok(decided) => decided,
        Err(fenced) => {
            open.rollback().await;
            return Ok(fenced);
        }
    };
    let positions = positions_of(&open, request).await?;
    record(&open, request, &decided).await?;
    claims.attempts.sent(&decided);
    let ledger = Ledger::claimed(request.pipeline, decided, positions)?;
    let committed = open.session.client.batch_execute("COMMIT").await;
    match committed {
        Ok(()) => open.finish(),
        Err(error) => {
            let error = open.session.explain(error, "commit the claim");
            open.abandon();
            return Err(error);
        }
    }
    Ok(Claim::Owned(ledger))
}

/// Locks in order of the names, then writes what was found under the lock.
const TAKE: &str = "WITH wanted AS (
        SELECT * FROM unnest($2::text[], $3::bigint[]) AS w(shard, held)),
    locked AS (
        SELECT s.shard, s.generation, s.nonce FROM onceflow.shard s
        WHERE s.pipeline = $1::text::uuid AND s.shard = ANY($2::text[])
        ORDER BY s.shard COLLATE \"C\" FOR NO KEY UPDATE)
    UPDATE onceflow.shard s
    SET generation = greatest(l.generation, coalesce(w.held, 0)) + 1, nonce = $4, updated_at = clock_timestamp()
    FROM locked l JOIN wanted w ON w.shard = l.shard
    WHERE s.pipeline = $1::text::uuid AND s.shard = l.shard
    RETURNING s.shard, s.generation, s.nonce, s.epoch, s.chain, l.generation AS found, l.nonce AS found_nonce";

async fn take(open: &Open<'_>, request: &ClaimRequest) -> Result<Vec<tokio_postgres::Row>> {
    let shards: Vec<&str> = request.shards.iter().map(ShardId::as_str).collect();
    let held = |shard| request.held.get(shard).map(|held| signed(held.generation.get()));
    let held: Vec<Option<i64>> = request.shards.iter().map(held).collect();
    let (client, nonce) = (&open.session.client, request.nonce.to_string());
    let fail = |error| open.session.explain(error, "claim the pipeline's shards");
    client.batch_execute(open.session.begin()).await.map_err(fail)?;
    client.batch_execute(CLAIM_LOCK_TIMEOUT).await.map_err(fail)?;
    check_pooler(open).await?;
    client.query(TAKE, &[&uuid(request.pipeline), &shards, &held, &nonce]).await.map_err(fail)
}

/// A pooler that hands out another server session for each transaction, or one session to several connections, loses settings and
/// prepared statements.
async fn check_pooler(open: &Open<'_>) -> Result<()> {
    let sql =
        "SELECT pg_backend_pid(), current_setting('DateStyle') LIKE 'ISO%' AND current_setting('TimeZone') = 'UTC'";
    let row = open.session.client.query_typed_one(sql, &[]).await;
    let row = row.map_err(|error| open.session.explain(error, "look at the session"))?;
    let (pid, kept): (i32, bool) = (row.get(0), row.get(1));
    if pid != open.session.pid || !kept {
        return Err(pooled("the server session is another one than at the connection"));
    }
    Ok(())
}

/// What the protocol says about each row; `Err` is the claim that was fenced.
fn decide(
    claims: &Claims,
    request: &ClaimRequest,
    rows: &[tokio_postgres::Row],
) -> Result<Result<Vec<ShardRow>, Claim>> {
    let mut decided = Vec::new();
    for row in rows {
        let found = rows::shard(row, "found", "found_nonce")?;
        let stored = rows::shard(row, "generation", "nonce")?;
        match decide_claim(&found, claims.attempts.held(request, &found), request.nonce) {
            ClaimDecision::Fenced { found: other } => {
                return Ok(Err(Claim::Fenced { shard: found.shard, found: other }));
            }
            ClaimDecision::Take(row) if row == stored => decided.push(row),
            ClaimDecision::Take(row) => {
                return Err(Error::internal(format!(
                    "the claim of shard {} stored generation {} and should have stored {}",
                    row.shard, stored.generation, row.generation
                )));
            }
        }
    }
    decided.sort_by(|a, b| a.shard.cmp(&b.shard));
    let wanted: BTreeSet<&ShardId> = request.shards.iter().collect();
    let taken: BTreeSet<&ShardId> = decided.iter().map(|row| &row.shard).collect();
    match wanted.difference(&taken).next() {
        Some(missing) => Err(not_there(request.pipeline, missing)),
        None => Ok(Ok(decided)),
    }
}

fn not_there(pipeline: PipelineId, shard: &ShardId) -> Error {
    Error::new(Kind::Identity, codes::OF0906, format!("the ledger of pipeline {pipeline} has no shard '{shard}'"))
        .note("it was removed while the pipeline ran, or the database was restored to a time before")
        .help("start the pipeline again: it founds what is missing, or says what does not fit")
}

async fn positions_of(open: &Open<'_>, request: &ClaimRequest) -> Result<Vec<PositionRow>> {
    let shards: Vec<&str> = request.shards.iter().map(ShardId::as_str).collect();
    let sql = format!(
        "SELECT {POSITION_COLUMNS} FROM onceflow.position WHERE pipeline = $1::text::uuid AND shard = ANY($2)
         ORDER BY source, topic, partition"
    );
    let found = open.session.client.query(&sql, &[&uuid(request.pipeline), &shards]).await;
    let found = found.map_err(|error| open.session.explain(error, "read the positions"))?;
    found.iter().map(rows::position).collect()
}

const RECORD: &str = "WITH old AS (
        DELETE FROM onceflow.event WHERE pipeline = $1::text::uuid AND kind = 'claim' AND id <= (
            SELECT id FROM onceflow.event WHERE pipeline = $1::text::uuid AND kind = 'claim'
            ORDER BY id DESC OFFSET $3 LIMIT 1))
    INSERT INTO onceflow.event (pipeline, kind, detail) VALUES ($1::text::uuid, 'claim', $2)";

async fn record(open: &Open<'_>, request: &ClaimRequest, rows: &[ShardRow]) -> Result<()> {
    let named: Vec<_> = rows.iter().take(EVENT_SHARDS_MAX).map(|row| row.shard.as_str()).collect();
    let generation = rows.iter().map(|row| row.generation.get()).max().unwrap_or(0);
    let detail = serde_json::json!({
        "lane": request.lane, "generation": generation, "shards": rows.len(), "named": named,
        "role": open.session.role,
    });
    let detail = detail.to_string();
    let done = open.session.client.execute(RECORD, &[&uuid(request.pipeline), &detail, &CLAIM_EVENTS_MAX]).await;
    done.map(drop).map_err(|error| open.session.explain(error, "record the claim"))
}

/// Ends sessions of the pipeline that stand in the way of a claim: a stopped owner would hold its lock until a timeout.
/// Sessions that wait for a lock themselves are left alone.
const END: &str = "SELECT pg_terminate_backend(a.pid) FROM unnest(pg_blocking_pids($1)) AS b(pid)
    JOIN pg_stat_activity a ON a.pid = b.pid
    WHERE starts_with(a.application_name, $2) AND a.wait_event_type IS DISTINCT FROM 'Lock'";

async fn end_blockers(config: &PostgresConfig, pipeline: PipelineId, pid: i32) -> Result<()> {
    // Where the server takes no further connection, the claim itself ends by its lock timeout and is tried again.
    let Ok(client) = session::connect_plainly(config).await else { return Ok(()) };
    match client.query(END, &[&pid, &session::application_prefix(pipeline)]).await {
        Ok(ended) if ended.is_empty() => {
            tracing::info!("a claim waits for a session that is not this pipeline's");
            Ok(())
        }
        Ok(ended) => {
            tracing::warn!(sessions = ended.len(), "ended the session of an older owner that held the ledger");
            Ok(())
        }
        Err(error) if error.code().is_some_and(|code| code.code() == "42501") => Err(not_ours(config, error)),
        Err(error) => {
            tracing::debug!("an older owner's session could not be looked for: {error}");
            Ok(())
        }
    }
}

fn not_ours(config: &PostgresConfig, error: tokio_postgres::Error) -> Error {
    Error::config(codes::OF0714, "an older owner holds the ledger, and its session belongs to another role")
        .help(format!("GRANT pg_signal_backend TO {};", super::quote(config.user())))
        .caused_by(error)
}

/// Announces that an instance is present, for `--standby`. A lock of the session: it goes with it.
async fn announce(session: &Session, pipeline: PipelineId) -> Result<()> {
    let sql = "SELECT pg_try_advisory_lock_shared($1)";
    let answer = session.client.query(sql, &[&presence(pipeline)]).await;
    answer.map(drop).map_err(|error| session.explain(error, "announce the instance"))
}

/// The key of the advisory lock that every instance of a pipeline shares.
fn presence(pipeline: PipelineId) -> i64 {
    let bytes = pipeline.get().to_be_bytes();
    let half = |at: usize| i64::from_be_bytes(std::array::from_fn(|index| bytes[at + index]));
    half(0) ^ half(8)
}

/// How often, and after how long, the absence of others is looked for in one call.
const ABSENT_LOOKS: u32 = 5;
const ABSENT_WAIT: Duration = Duration::from_millis(200);

/// Whether no instance is present; looks for about a second.
pub(super) async fn absent(session: &mut Session, pipeline: PipelineId) -> Result<bool> {
    let key = presence(pipeline);
    // Taken and given back in one transaction, so that nothing is left where this future is dropped.
    let sql = "SELECT pg_try_advisory_xact_lock($1)";
    for look in 0..ABSENT_LOOKS {
        if look > 0 {
            tokio::time::sleep(ABSENT_WAIT).await;
        }
        let row = session.client.query_one(sql, &[&key]).await;
        if row.map_err(|error| session.explain(error, "look for other instances"))?.get(0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the last claim still stands. A plain read: a hint, nothing more.
pub(super) async fn still_owned(session: &Session, claims: &Claims) -> Result<bool> {
    let Some((pipeline, held)) = &claims.owned else { return Ok(true) };
    let shards: Vec<&str> = held.keys().map(ShardId::as_str).collect();
    let generations: Vec<i64> = held.values().map(|held| signed(held.generation.get())).collect();
    let nonces: Vec<String> = held.values().map(|held| held.nonce.to_string()).collect();
    let sql = "SELECT count(*) FROM onceflow.shard s
        JOIN unnest($2::text[], $3::bigint[], $4::text[]) AS h(shard, generation, nonce) ON h.shard = s.shard
        WHERE s.pipeline = $1::text::uuid AND s.generation = h.generation AND s.nonce = h.nonce";
    let row = session.client.query_one(sql, &[&uuid(*pipeline), &shards, &generations, &nonces]).await;
    let row = row.map_err(|error| session.explain(error, "look whether the shards are still owned"))?;
    Ok(usize::try_from(row.get::<_, i64>(0)).ok() == Some(held.len()))
}

/// All positions of a pipeline.
pub(super) async fn positions(session: &Session, pipeline: PipelineId) -> Result<Vec<PositionRow>> {
    let sql = format!(
        "SELECT {POSITION_COLUMNS} FROM onceflow.position WHERE pipeline = $1::text::uuid
         ORDER BY source, topic, partition"
    );
    let found = session.client.query(&sql, &[&uuid(pipeline)]).await;
    let found = found.map_err(|error| session.explain(error, "read the positions"))?;
    found.iter().map(rows::position).collect()
}

const FOUND_SHARDS: &str = "INSERT INTO onceflow.shard (pipeline, shard, generation, nonce, epoch, chain)
    SELECT $1::text::uuid, x.shard, $4, $5, $6, x.chain FROM unnest($2::text[], $3::text[]) AS x(shard, chain)
    ORDER BY x.shard COLLATE \"C\" ON CONFLICT (pipeline, shard) DO NOTHING RETURNING shard";

const FOUND_POSITIONS: &str = "INSERT INTO onceflow.position (pipeline, shard, source, topic, partition, cluster_id,
        topic_id, next_offset, leader_epoch, tail_offset, tail_fingerprint, watermark)
    SELECT $1::text::uuid, x.* FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[],
        $8::bigint[], $9::integer[], $10::bigint[], $11::text[], $12::bigint[])
        AS x(shard, source, topic, partition, cluster_id, topic_id, next_offset, leader_epoch, tail_offset,
            tail_fingerprint, watermark)
    ORDER BY x.source COLLATE \"C\", x.topic COLLATE \"C\", x.partition
    ON CONFLICT (pipeline, source, topic, partition) DO NOTHING";

const FOUND_EVENT: &str = "INSERT INTO onceflow.event (pipeline, kind, detail) VALUES ($1::text::uuid, 'found', $2)";

/// Stores epoch 0 of shards that are not there yet, with their positions.
pub(super) async fn found(session: &mut Session, pipeline: PipelineId, rows: &[PositionRow]) -> Result<()> {
    crash::point("before_found");
    let shards: BTreeSet<&ShardId> = rows.iter().map(|row| &row.shard).collect();
    let founding = shards.into_iter().map(|shard| ShardRow::founding(pipeline, shard.clone())).collect::<Vec<_>>();
    let open = session.open_transaction();
    let answer = found_in(&open, pipeline, rows, &founding).await;
    match answer {
        Ok(()) => open.finish(),
        Err(error) => {
            let error = open.session.explain(error, "store the first positions");
            open.rollback().await;
            return Err(error);
        }
    }
    crash::point("after_found");
    Ok(())
}

async fn found_in(
    open: &Open<'_>,
    pipeline: PipelineId,
    rows: &[PositionRow],
    founding: &[ShardRow],
) -> Result<(), tokio_postgres::Error> {
    let client = &open.session.client;
    let id = uuid(pipeline);
    let names: Vec<&str> = founding.iter().map(|row| row.shard.as_str()).collect();
    let chains: Vec<String> = founding.iter().map(|row| row.chain.to_string()).collect();
    let (generation, epoch) = (signed(Generation::NONE.get()), signed(Epoch::FOUNDING.get()));
    let nonce = Nonce::NONE.to_string();
    client.batch_execute(&open.session.begin_hurried()).await?;
    let new = client.query(FOUND_SHARDS, &[&id, &names, &chains, &generation, &nonce, &epoch]).await?;
    let c = PositionColumns::new(rows);
    let parameters: [&(dyn ToSql + Sync); 12] = [
        &id,
        &c.shard,
        &c.source,
        &c.topic,
        &c.partition,
        &c.cluster_id,
        &c.topic_id,
        &c.next,
        &c.leader_epoch,
        &c.tail_offset,
        &c.tail_fingerprint,
        &c.watermark,
    ];
    let stored = client.execute(FOUND_POSITIONS, &parameters).await?;
    if stored > 0 || !new.is_empty() {
        let new: BTreeSet<String> = new.iter().map(|row| row.get("shard")).collect();
        client.execute(FOUND_EVENT, &[&id, &founded(rows, &new).to_string()]).await?;
    }
    client.batch_execute("COMMIT").await
}

/// The event of a founding: every new shard with where its partitions begin.
fn founded(rows: &[PositionRow], new: &BTreeSet<String>) -> serde_json::Value {
    let new = rows.iter().filter(|row| new.contains(row.shard.as_str()));
    let parts = new.map(|row| {
        serde_json::json!({
            "shard": row.shard.as_str(), "source": &*row.partition.source, "topic": &*row.partition.topic,
            "partition": row.partition.number, "next": row.next.get(),
        })
    });
    serde_json::json!({ "epoch": Epoch::FOUNDING.get(), "partitions": parts.collect::<Vec<_>>() })
}
