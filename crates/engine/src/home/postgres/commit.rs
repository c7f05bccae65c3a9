//! Moving the ledger and committing: the only way to write rows.
//!
//! The move is the first statement of its transaction and aborts it **in the server** where the ledger is not as expected, so
//! that a COMMIT that is already in the pipe cannot commit rows of a zombie. COMMIT is sent once and never again.

use crate::changes::{Work, Written};
use crate::codes;
use crate::crash;
use crate::error::{Error, Kind, Result};
use crate::home::inside::Inside;
use crate::home::postgres::rows::{self, PositionColumns, signed, uuid};
use crate::home::postgres::session::{Open, Session};
use crate::home::postgres::write::Writer;
use crate::home::postgres::{closing, is_answer};
use crate::home::{Answer, Closing, CommitError, Done, Replay, Right, Transaction};
use crate::switches;
use futures_util::future::join;
use onceflow_core::{Advance, MoveMismatch, Partition, PipelineId, Position, ShardRow, check_move};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, Statement};

/// The statements of a commit, prepared once a session.
pub(super) struct Statements {
    advance: Statement,
    replay: Statement,
    pub(super) dead_letters: Statement,
    pub(super) close: Statement,
}

/// What the server's error contains where the ledger was not as expected.
const MOVE_SIGN: &str = "onceflow/move";
const REPLAY_SIGN: &str = "onceflow/replay";

/// Compares and moves all shards and positions, or raises. The raise is a cast of a text that only exists where counts differ;
/// the comparison with `onceflow.transaction` makes the statement raise as well where its BEGIN had failed.
const ADVANCE: &str = "WITH expected AS (
        SELECT * FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::text[])
            AS e(shard, generation, nonce, epoch, chain, next_epoch, next_chain)),
    locked AS (
        SELECT s.shard FROM onceflow.shard s
        WHERE s.pipeline = $1::text::uuid AND s.shard = ANY($2::text[])
        ORDER BY s.shard COLLATE \"C\" FOR NO KEY UPDATE),
    moved AS (
        UPDATE onceflow.shard s SET epoch = e.next_epoch, chain = e.next_chain, updated_at = clock_timestamp()
        FROM expected e JOIN locked l ON l.shard = e.shard
        WHERE s.pipeline = $1::text::uuid AND s.shard = e.shard AND s.generation = e.generation
            AND s.nonce = e.nonce AND s.epoch = e.epoch AND s.chain = e.chain
        RETURNING s.shard),
    stepped AS (
        UPDATE onceflow.position p SET next_offset = x.next_offset, leader_epoch = x.leader_epoch,
            tail_offset = x.tail_offset, tail_fingerprint = x.tail_fingerprint, watermark = x.watermark,
            updated_at = clock_timestamp()
        FROM unnest($9::text[], $10::text[], $11::text[], $12::integer[], $13::bigint[], $14::bigint[],
            $15::integer[], $16::bigint[], $17::text[], $18::bigint[])
            AS x(shard, source, topic, partition, previous, next_offset, leader_epoch, tail_offset, tail_fingerprint,
                watermark)
        WHERE p.pipeline = $1::text::uuid AND p.source = x.source AND p.topic = x.topic AND p.partition = x.partition
            AND p.shard = x.shard AND p.next_offset = x.previous
        RETURNING p.shard),
    counted AS (SELECT (SELECT count(*) FROM moved) AS shards, (SELECT count(*) FROM stepped) AS positions)
    SELECT CASE
        WHEN shards = cardinality($2::text[]) AND positions = cardinality($9::text[])
            AND current_setting('onceflow.transaction', true) = 'open' THEN 1
        ELSE ('onceflow/move: ' || shards || ' of ' || cardinality($2::text[]) || ' shards, ' || positions || ' of '
            || cardinality($9::text[]) || ' positions')::integer
    END FROM counted";

/// Marks dead letters as replayed, all or none.
const REPLAY: &str = "WITH done AS (
        UPDATE onceflow.dead_letter SET replayed_at = clock_timestamp(), replay_reason = $3
        WHERE pipeline = $1::text::uuid AND id = ANY($2::bigint[]) AND replayed_at IS NULL
        RETURNING id),
    event AS (
        INSERT INTO onceflow.event (pipeline, kind, detail, reason)
        SELECT $1::text::uuid, 'replay', jsonb_build_object('dead_letters', $2::bigint[])::text, $3),
    counted AS (SELECT count(*) AS letters FROM done)
    SELECT CASE
        WHEN letters = cardinality($2::bigint[]) AND current_setting('onceflow.transaction', true) = 'open' THEN 1
        ELSE ('onceflow/replay: ' || letters || ' of ' || cardinality($2::bigint[]))::integer
    END FROM counted";

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            advance: client.prepare(ADVANCE).await?,
            replay: client.prepare(REPLAY).await?,
            dead_letters: client.prepare(closing::DEAD_LETTERS).await?,
            close: client.prepare(closing::CLOSE).await?,
        })
    }
}

/// An open transaction in which the ledger has moved.
pub(super) struct PgTransaction<'a> {
    pub(super) open: Open<'a>,
    right: Right,
    lane: &'a str,
}

/// Begins a transaction and spends the right in it.
pub(super) async fn begin<'a>(
    session: &'a mut Session,
    lane: &'a str,
    right: Right,
) -> Result<PgTransaction<'a>, CommitError> {
    crash::point("before_begin");
    let open = session.open_transaction();
    let moved = match &right {
        Right::Advance(advance) => advance_ledger(&open, advance).await,
        Right::Replay(replay) => mark_replayed(&open, replay).await,
    };
    if let Err(error) = moved {
        return Err(refused(open, &right, error).await);
    }
    crash::point("after_move");
    Ok(PgTransaction { open, right, lane })
}

fn statements<'a>(open: &'a Open<'_>) -> &'a Statements {
    open.session.statements.as_ref().expect("a session is prepared before its first transaction")
}

/// BEGIN and move travel together. Where BEGIN fails alone, the move raises, since its marker is missing.
async fn pipelined(
    open: &Open<'_>,
    statement: &Statement,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<(), tokio_postgres::Error> {
    let client = &open.session.client;
    let (begun, moved) = join(client.batch_execute(open.session.begin()), client.query(statement, parameters)).await;
    begun?;
    moved.map(drop)
}

async fn advance_ledger(open: &Open<'_>, advance: &Advance) -> Result<(), tokio_postgres::Error> {
    if switches::without(switches::Part::Ledger) {
        return open.session.client.batch_execute(open.session.begin()).await;
    }
    let moves = advance.moves();
    let shard: Vec<&str> = moves.iter().map(|step| step.expected.shard.as_str()).collect();
    let generation: Vec<i64> = moves.iter().map(|step| signed(step.expected.generation.get())).collect();
    let nonce: Vec<String> = moves.iter().map(|step| step.expected.nonce.to_string()).collect();
    let epoch: Vec<i64> = moves.iter().map(|step| signed(step.expected.epoch.get())).collect();
    let chain: Vec<String> = moves.iter().map(|step| step.expected.chain.to_string()).collect();
    let next_epoch: Vec<i64> = moves.iter().map(|step| signed(step.epoch.get())).collect();
    let next_chain: Vec<String> = moves.iter().map(|step| step.chain.to_string()).collect();
    let before = before(advance);
    let previous: Vec<i64> = advance.positions().iter().map(|row| before[&row.partition].signed()).collect();
    let c = PositionColumns::new(advance.positions());
    pipelined(
        open,
        &statements(open).advance,
        &[
            &uuid(advance.pipeline()),
            &shard,
            &generation,
            &nonce,
            &epoch,
            &chain,
            &next_epoch,
            &next_chain,
            &c.shard,
            &c.source,
            &c.topic,
            &c.partition,
            &previous,
            &c.next,
            &c.leader_epoch,
            &c.tail_offset,
            &c.tail_fingerprint,
            &c.watermark,
        ],
    )
    .await
}

/// Where each partition stood before the step.
fn before(advance: &Advance) -> BTreeMap<&Partition, Position> {
    advance.step().consumed.iter().map(|part| (&part.partition, part.span.from())).collect()
}

async fn mark_replayed(open: &Open<'_>, replay: &Replay) -> Result<(), tokio_postgres::Error> {
    let ids: Vec<i64> = distinct(replay).into_iter().collect();
    pipelined(open, &statements(open).replay, &[&uuid(replay.pipeline), &ids, &replay.reason]).await
}

fn distinct(replay: &Replay) -> BTreeSet<i64> {
    replay.dead_letters.iter().copied().collect()
}

/// Why the move was refused. The transaction is rolled back first; nothing of it was applied.
async fn refused(open: Open<'_>, right: &Right, error: tokio_postgres::Error) -> CommitError {
    let message = error.as_db_error().map_or("", |db| db.message());
    let (moved, replayed) = (message.contains(MOVE_SIGN), message.contains(REPLAY_SIGN));
    if !moved && !replayed {
        return lost(open, error, "move the ledger");
    }
    if let Err(error) = open.session.client.batch_execute("ROLLBACK").await {
        return lost(open, error, "roll back");
    }
    let answer = match right {
        Right::Replay(replay) => CommitError::Rejected(not_replayable(replay)),
        Right::Advance(advance) => mismatch(&open, advance, message).await,
    };
    open.finish();
    answer
}

/// A transaction that failed before COMMIT: certainly not applied. The session is kept only where the failure says nothing
/// about it; anything else (a table that changed under a prepared statement, a lost connection) starts a new one.
fn lost(open: Open<'_>, error: tokio_postgres::Error, doing: &str) -> CommitError {
    let error = open.session.explain(error, doing);
    // Where the session is kept, dropping `open` rolls back.
    if !keeps_session(&error) {
        open.abandon();
    }
    CommitError::Rejected(error)
}

/// Serialization failure, deadlock, lock timeout: the session itself is as good as before.
fn keeps_session(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<tokio_postgres::Error>());
    cause.and_then(tokio_postgres::Error::code).is_some_and(|code| matches!(code.code(), "40001" | "40P01" | "55P03"))
}

fn not_replayable(replay: &Replay) -> Error {
    let count = replay.dead_letters.len();
    Error::new(Kind::Data, codes::OF0909, format!("not all of {count} dead letters are there and to be replayed"))
        .note("the transaction was aborted in the server; no row was written")
        .help("list them again: onceflow dead-letters list")
}

/// Reads why the ledger is not as expected. The answer only chooses the words: the transaction is already aborted.
async fn mismatch(open: &Open<'_>, advance: &Advance, said: &str) -> CommitError {
    let again = |how: String| {
        CommitError::Rejected(
            Error::unavailable(codes::OF0910, format!("the ledger is not where this instance left it: {how}"))
                .note("the transaction was aborted in the server; the shards are claimed again"),
        )
    };
    let stored = match stored(open, advance).await {
        Ok(stored) => stored,
        Err(error) => return again(format!("{said} ({error})")),
    };
    for step in advance.moves() {
        let Some(row) = stored.get(step.expected.shard.as_str()) else {
            return again(format!("shard {} is gone", step.expected.shard));
        };
        match check_move(row, &step.expected) {
            Err(MoveMismatch::Generation { found }) if found > step.expected.generation => {
                return CommitError::Fenced(fenced(&format!("shard {} is at generation {found}", row.shard)));
            }
            Err(MoveMismatch::Nonce) => {
                return CommitError::Fenced(fenced(&format!("shard {} has another owner", row.shard)));
            }
            Err(other) => return again(format!("shard {}: {other:?}", row.shard)),
            Ok(()) => {}
        }
    }
    again(said.to_owned())
}

fn fenced(how: &str) -> Error {
    Error::new(Kind::Fenced, codes::OF0002, format!("another instance owns this pipeline now: {how}"))
        .note("the newest claim wins; the transaction was aborted in the server")
        .help("run a second instance with --standby if it is meant to wait")
}

async fn stored(open: &Open<'_>, advance: &Advance) -> Result<BTreeMap<String, ShardRow>> {
    let shards: Vec<&str> = advance.moves().iter().map(|step| step.expected.shard.as_str()).collect();
    let sql = "SELECT shard, generation, nonce, epoch, chain FROM onceflow.shard
        WHERE pipeline = $1::text::uuid AND shard = ANY($2)";
    let found = open.session.client.query(sql, &[&uuid(advance.pipeline()), &shards]).await;
    let found = found.map_err(|error| open.session.explain(error, "read the shards"))?;
    let rows = found.iter().map(|row| rows::shard(row, "generation", "nonce"));
    rows.map(|row| row.map(|row| (row.shard.as_str().to_owned(), row))).collect()
}

impl PgTransaction<'_> {
    fn pipeline(&self) -> PipelineId {
        match &self.right {
            Right::Advance(advance) => advance.pipeline(),
            Right::Replay(replay) => replay.pipeline,
        }
    }

    async fn write_work(&mut self, work: &Work) -> Result<Written, CommitError> {
        let Session { client, writer, .. } = &mut *self.open.session;
        let writer: &mut Writer = writer.as_mut().expect("a session is prepared before its first transaction");
        let written = writer.write(client, work).await;
        if let Err(CommitError::Rejected(error)) = &written
            && error.kind() != Kind::Data
            && !keeps_session(error)
        {
            self.open.session.broken = true;
        }
        written
    }

    async fn finish(self: Box<Self>, closing: &Closing) -> Result<Done, CommitError> {
        let pipeline = self.pipeline();
        let Self { open, right, lane } = *self;
        crash::point("before_dead_letters");
        if let Err(error) = closing::write_dead_letters(&open, statements(&open), pipeline, &closing.dead_letters).await
        {
            return Err(lost(open, error, "write dead letters"));
        }
        crash::point("before_commit");
        send(open, &right, lane, closing).await?;
        crash::point("after_commit");
        Ok(match right {
            Right::Advance(advance) => Done::Advanced(advance.committed()),
            Right::Replay(replay) => Done::Replayed(distinct(&replay).len() as u64),
        })
    }
}

/// The commit row and COMMIT travel together. PostgreSQL answers COMMIT of an aborted transaction with success (and the tag
/// ROLLBACK, which the driver drops), so the commit counts only where the commit row before it succeeded too: between
/// the two nothing can abort the transaction but COMMIT itself.
async fn send(open: Open<'_>, right: &Right, lane: &str, closing: &Closing) -> Result<(), CommitError> {
    open.session.expect_replication();
    let row = closing::Row::new(right, lane, closing);
    let parameters = row.parameters();
    let client = &open.session.client;
    let record = async {
        match switches::without(switches::Part::Ledger) {
            true => Ok(0),
            false => client.execute(&statements(&open).close, &parameters).await,
        }
    };
    let (recorded, committed) = crash_once_sent(join(record, client.batch_execute("COMMIT"))).await;
    match outcome(recorded, committed) {
        Ok(()) if open.session.is_unreplicated() => Err(unknown(open, None)),
        Ok(()) => {
            open.session.commits += 1;
            let session = &*open.session;
            if session.commits.is_multiple_of(closing::TRIM_EVERY) {
                closing::trim(session, right).await;
            }
            open.finish();
            Ok(())
        }
        Err(Failed::Certainly(error)) => Err(lost(open, error, "commit")),
        Err(Failed::Perhaps(error)) => Err(unknown(open, Some(error))),
    }
}

/// Polls a future that was made to send something; where a crash is planned at `commit_sent`, waits until the bytes are out.
async fn crash_once_sent<T>(sending: impl Future<Output = T>) -> T {
    if !crash::planned("commit_sent") {
        return sending.await;
    }
    let mut sending = std::pin::pin!(sending);
    let early = tokio::select! {
        biased;
        answer = &mut sending => Some(answer),
        () = tokio::time::sleep(std::time::Duration::from_millis(2)) => None,
    };
    crash::point("commit_sent");
    match early {
        Some(answer) => answer,
        None => sending.await,
    }
}

#[derive(Debug)]
enum Failed {
    /// The server said that it did not commit.
    Certainly(tokio_postgres::Error),
    /// Nobody said anything, or the server said it at a time when the commit may have been durable already.
    Perhaps(tokio_postgres::Error),
}

fn outcome(
    recorded: Result<u64, tokio_postgres::Error>,
    committed: Result<(), tokio_postgres::Error>,
) -> Result<(), Failed> {
    match (recorded, committed) {
        (Ok(_), Ok(())) => Ok(()),
        // The commit row was refused by the server, so whatever COMMIT answers, it rolled back.
        (Err(error), _) if is_answer(&error) => Err(Failed::Certainly(error)),
        (Err(error), _) => Err(Failed::Perhaps(error)),
        (Ok(_), Err(error)) if is_refusal(&error) => Err(Failed::Certainly(error)),
        (Ok(_), Err(error)) => Err(Failed::Perhaps(error)),
    }
}

/// Whether an answer to COMMIT is certainly a "no". A cancelled statement or an ended session may have been hit after the
/// commit had become durable.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        let code = db.code().code();
        db.parsed_severity() == Some(tokio_postgres::error::Severity::Error) && !code.starts_with("57")
    })
}

fn unknown(open: Open<'_>, error: Option<tokio_postgres::Error>) -> CommitError {
    let message = match error {
        Some(error) => open.session.explain(error, "learn whether COMMIT was applied").to_string(),
        None => {
            "the server gave up waiting for a standby: the commit is durable here and perhaps nowhere else".to_owned()
        }
    };
    open.abandon();
    let error = Error::unavailable(codes::OF0713, message);
    CommitError::Unknown(error.note("COMMIT is never sent twice: the next claim finds out"))
}

impl Transaction for PgTransaction<'_> {
    fn write<'a>(&'a mut self, work: &'a Work) -> Answer<'a, Result<Written, CommitError>> {
        Box::pin(self.write_work(work))
    }

    fn inside(&mut self) -> Option<&mut dyn Inside> {
        Some(self)
    }

    fn commit<'a>(self: Box<Self>, closing: &'a Closing) -> Answer<'a, Result<Done, CommitError>>
    where
        Self: 'a,
    {
        Box::pin(self.finish(closing))
    }
}
