//! The transaction: the move first, then rows, then dead letters and the commit row, then COMMIT.

use super::plan::TablePlan;
use super::{SqliteHome, begin_immediate, fault, ledger, now, plan, register, rows};
use crate::changes::{Work, Written};
use crate::codes;
use crate::crash;
use crate::error::{Error, Kind, Result};
use crate::home::inside::Inside;
use crate::home::{
    Answer, COMMIT_DAYS_KEPT, COMMITS_KEPT, Closing, CommitError, DeadLetter, Done, Replay, Right, Transaction,
};
use chrono::{DateTime, SecondsFormat};
use onceflow_core::{Advance, Counts, MoveMismatch, PipelineId, PositionRow, ShardMove, check_move};
use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, named_params, params};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Old commit rows are looked for every so many commit rows.
const TRIM_EVERY: i64 = 64;
/// How many rows one trimming removes at most.
const TRIM_ROWS_MAX: i64 = 256;

/// An open transaction, with the right that it has spent.
pub(super) struct Open<'a> {
    pub(super) home: &'a mut SqliteHome,
    /// Gone once the transaction is finished.
    right: Option<Right>,
    plans: Rc<Vec<TablePlan>>,
}

impl SqliteHome {
    pub(super) fn begin_now(&mut self, right: Right) -> Result<Box<dyn Transaction + '_>, CommitError> {
        crash::point("before_begin");
        let place = self.place.clone();
        let session = self.session().map_err(CommitError::Rejected)?;
        begin_immediate(&place, &session.connection, "begin a transaction in").map_err(CommitError::Rejected)?;
        let moved = match &right {
            Right::Advance(advance) => self.move_ledger(advance),
            Right::Replay(replay) => self.mark_replayed(replay),
        };
        let plans = moved.and_then(|()| {
            crash::point("after_move");
            self.plans(pipeline_of(&right)).map_err(CommitError::Rejected)
        });
        match plans {
            Ok(plans) => Ok(Box::new(Open { home: self, right: Some(right), plans })),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    /// Rolls back whatever is open; a session that cannot is closed.
    fn abandon(&mut self) {
        let clean = self.session.as_ref().is_none_or(|session| {
            session.connection.is_autocommit() || session.connection.execute_batch("ROLLBACK").is_ok()
        });
        if !clean {
            self.session = None;
        }
    }

    /// The first statement. The database itself refuses it, and every later COMMIT, where the ledger is not as expected.
    fn move_ledger(&mut self, advance: &Advance) -> Result<(), CommitError> {
        let place = self.place.clone();
        let connection = &self.session().map_err(CommitError::Rejected)?.connection;
        let sql = "INSERT INTO onceflow_move (pipeline, moves, positions) VALUES (?1, ?2, ?3)";
        let values =
            params![advance.pipeline().to_string(), moves(advance).to_string(), positions(advance).to_string()];
        let Err(error) = connection.execute(sql, values) else { return Ok(()) };
        if error.sqlite_error_code() != Some(ErrorCode::ConstraintViolation) {
            return Err(CommitError::Rejected(fault::error(&place, "move the ledger in", error)));
        }
        self.abandon();
        Err(self.why_not_moved(advance).unwrap_or_else(CommitError::Rejected))
    }

    /// Reads what stands in the ledger instead. For words only: the transaction is gone already.
    fn why_not_moved(&mut self, advance: &Advance) -> Result<CommitError> {
        let place = self.place.clone();
        let connection = &self.session()?.connection;
        for step in advance.moves() {
            let shard = &step.expected.shard;
            let Some(stored) = ledger::shard(&place, connection, advance.pipeline(), shard)? else {
                let message = format!("shard {shard} is no longer in the ledger");
                return Ok(CommitError::Rejected(Error::unavailable(codes::OF0910, message)));
            };
            if let Err(mismatch) = check_move(&stored, &step.expected) {
                return Ok(mismatched(step, mismatch));
            }
        }
        let message = "the positions in the ledger are not where this instance left them";
        Ok(CommitError::Rejected(moved_elsewhere(message)))
    }

    fn mark_replayed(&mut self, replay: &Replay) -> Result<(), CommitError> {
        let place = self.place.clone();
        let connection = &self.session().map_err(CommitError::Rejected)?.connection;
        let ids = json!(replay.dead_letters).to_string();
        let sql = "INSERT INTO onceflow_replay (pipeline, ids, reason) VALUES (?1, ?2, ?3)";
        let done = connection.execute(sql, params![replay.pipeline.to_string(), ids, replay.reason]);
        let done = done.and_then(|_| {
            let detail = json!({ "dead_letters": replay.dead_letters });
            ledger::event(connection, replay.pipeline, "replay", &detail, Some(&replay.reason))
        });
        done.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => {
                let message = format!(
                    "not all of the {} dead letters are there and still to be replayed",
                    replay.dead_letters.len()
                );
                let error = Error::new(Kind::Identity, codes::OF0909, message);
                CommitError::Rejected(error.note("no row was written").help("onceflow dead-letters list"))
            }
            _ => CommitError::Rejected(fault::error(&place, "replay dead letters in", error)),
        })
    }

    /// What is executed for each table. Made anew where the schema changed; then it is also seen whether the tables are
    /// still the same ones.
    fn plans(&mut self, pipeline: PipelineId) -> Result<Rc<Vec<TablePlan>>> {
        let place = self.place.clone();
        let tables = self.tables.clone();
        let session = self.session()?;
        let failed = |error| fault::error(&place, "read the schema of", error);
        let version = session.connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).map_err(failed)?;
        if let Some((made_for, plans)) = &session.plans
            && *made_for == version
        {
            return Ok(plans.clone());
        }
        if let Some(name) = register::unmarked(&session.connection, pipeline).map_err(failed)?.first() {
            let message = format!("table {name} was dropped while the pipeline ran");
            return Err(Error::new(Kind::Identity, codes::OF0904, message)
                .note("rows that the ledger counts may be gone; nothing was committed since")
                .help("start the pipeline again; it says what can be done"));
        }
        let plans = tables.iter().map(|table| plan::plan(&place, &mut session.connection, table));
        let plans = Rc::new(plans.collect::<Result<Vec<_>>>()?);
        session.plans = Some((version, plans.clone()));
        Ok(plans)
    }
}

fn pipeline_of(right: &Right) -> PipelineId {
    match right {
        Right::Advance(advance) => advance.pipeline(),
        Right::Replay(replay) => replay.pipeline,
    }
}

fn moves(advance: &Advance) -> Value {
    let step = |step: &ShardMove| {
        json!({
            "shard": step.expected.shard.as_str(), "generation": step.expected.generation.get(),
            "nonce": step.expected.nonce.to_string(), "epoch": step.expected.epoch.get(),
            "chain": step.expected.chain.to_string(), "to_epoch": step.epoch.get(), "to_chain": step.chain.to_string(),
        })
    };
    Value::Array(advance.moves().iter().map(step).collect())
}

fn positions(advance: &Advance) -> Value {
    let from: BTreeMap<_, _> = advance.step().consumed.iter().map(|part| (&part.partition, part.span.from())).collect();
    let position = |row: &PositionRow| {
        json!({
            "shard": row.shard.as_str(), "source": &*row.partition.source, "topic": &*row.partition.topic,
            "partition": row.partition.number, "from": from.get(&row.partition).map(|from| from.get()),
            "to": row.next.get(), "leader_epoch": row.leader_epoch,
            "tail_offset": row.tail.map(|tail| tail.offset.get()),
            "tail_fingerprint": row.tail.map(|tail| tail.fingerprint.to_string()), "watermark": row.watermark,
        })
    };
    Value::Array(advance.positions().iter().map(position).collect())
}

/// A higher generation, or the same one by somebody else, is another owner; anything else a claim will settle.
fn mismatched(step: &ShardMove, mismatch: MoveMismatch) -> CommitError {
    let (shard, expected) = (&step.expected.shard, &step.expected);
    match mismatch {
        MoveMismatch::Generation { found } if found > expected.generation => {
            let message = format!(
                "shard {shard} was claimed by another instance: generation {found}, ours is {}",
                expected.generation
            );
            CommitError::Fenced(Error::new(Kind::Fenced, codes::OF0002, message).note("nothing was committed"))
        }
        MoveMismatch::Nonce => {
            let message =
                format!("shard {shard} is at our generation {} with another owner's nonce", expected.generation);
            CommitError::Fenced(Error::new(Kind::Fenced, codes::OF0002, message).note("nothing was committed"))
        }
        MoveMismatch::Generation { found } => CommitError::Rejected(moved_elsewhere(&format!(
            "shard {shard} is at generation {found}, before ours ({}): the database was restored",
            expected.generation
        ))),
        MoveMismatch::Epoch { found } => CommitError::Rejected(moved_elsewhere(&format!(
            "shard {shard} is at epoch {found}, not {}",
            expected.epoch
        ))),
        MoveMismatch::Chain => CommitError::Rejected(moved_elsewhere(&format!(
            "shard {shard} has another history at epoch {}",
            expected.epoch
        ))),
    }
}

fn moved_elsewhere(message: &str) -> Error {
    Error::unavailable(codes::OF0910, message)
        .note("nothing was committed; a claim goes on from what stands in the ledger")
}

impl Transaction for Open<'_> {
    fn write<'a>(&'a mut self, work: &'a Work) -> Answer<'a, Result<Written, CommitError>> {
        Box::pin(async move {
            let place = self.home.place.clone();
            let specs = self.home.tables.clone();
            let Some(session) = &self.home.session else { return Err(lost()) };
            if session.connection.is_autocommit() {
                return Err(lost());
            }
            let written = rows::write(&place, &session.connection, &specs, &self.plans, work).await?;
            crash::point("after_rows");
            Ok(written)
        })
    }

    fn inside(&mut self) -> Option<&mut dyn Inside> {
        Some(self)
    }

    fn commit<'a>(mut self: Box<Self>, closing: &'a Closing) -> Answer<'a, Result<Done, CommitError>>
    where
        Self: 'a,
    {
        now(self.commit_now(closing))
    }
}

fn lost() -> CommitError {
    CommitError::Rejected(Error::unavailable(
        codes::OF0806,
        "the transaction is no longer open; nothing of it was committed",
    ))
}

impl Open<'_> {
    fn commit_now(&mut self, closing: &Closing) -> Result<Done, CommitError> {
        let place = self.home.place.clone();
        let lane = self.home.lane.clone();
        let Some(right) = self.right.take() else { return Err(lost()) };
        let Some(session) = &self.home.session else { return Err(lost()) };
        let connection = &session.connection;
        if connection.is_autocommit() {
            return Err(lost());
        }
        crash::point("before_dead_letters");
        let closed = write_dead_letters(connection, pipeline_of(&right), &closing.dead_letters)
            .and_then(|()| write_commit(connection, &right, &lane, closing));
        closed.map_err(|error| CommitError::Rejected(fault::error(&place, "close a transaction in", error)))?;
        crash::point("before_commit");
        if !crash::planned("commit_sent") {
            crash::point("commit_sent");
        }
        session.committing.store(true, Ordering::Relaxed);
        let committed = connection.execute_batch("COMMIT");
        session.committing.store(false, Ordering::Relaxed);
        if let Err(error) = committed {
            return Err(self.not_committed(error));
        }
        crash::point("after_commit");
        trim(connection, pipeline_of(&right));
        Ok(match right {
            Right::Advance(advance) => Done::Advanced(advance.committed()),
            Right::Replay(replay) => Done::Replayed(replay.dead_letters.len() as u64),
        })
    }

    /// What is known after a COMMIT that failed. Where SQLite refused before it wrote, the transaction is still open; after an
    /// error while writing nobody knows what a recovery of the log will find, and only a claim can tell.
    fn not_committed(&mut self, error: rusqlite::Error) -> CommitError {
        let place = self.home.place.clone();
        let code = error.sqlite_error_code();
        let explained = fault::error(&place, "commit to", error);
        match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CommitError::Rejected(explained),
            Some(ErrorCode::ConstraintViolation) => {
                let message = format!("the transaction cannot be committed: {}", explained.message());
                let error = Error::new(Kind::Data, codes::OF0827, message);
                CommitError::Rejected(error.note("a deferred foreign key is violated; nothing was committed"))
            }
            _ => {
                self.home.session = None;
                CommitError::Unknown(explained)
            }
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.lift();
        self.home.abandon();
    }
}

fn write_dead_letters(connection: &Connection, pipeline: PipelineId, letters: &[DeadLetter]) -> rusqlite::Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare(&format!(
        "INSERT INTO onceflow_dead_letter (pipeline, source, topic, \"partition\", \"offset\", \"timestamp\", key, value, headers, \
         code, reason, sqlstate, place, target_table, \"row\", spans, created_at) VALUES (:pipeline, :source, :topic, :partition, \
         :offset, :timestamp, :key, :value, :headers, :code, :reason, :sqlstate, :place, :target_table, :row, :spans, {})",
        ledger::NOW
    ))?;
    for letter in letters {
        statement.execute(named_params! {
            ":pipeline": pipeline.to_string(),
            ":source": letter.source,
            ":topic": letter.topic,
            ":partition": letter.partition,
            ":offset": letter.offset.map(ledger::signed),
            ":timestamp": letter.timestamp.map(milliseconds),
            ":key": letter.key,
            ":value": letter.value,
            ":headers": letter.headers,
            ":code": letter.code,
            ":reason": letter.reason,
            ":sqlstate": letter.sqlstate,
            ":place": letter.place,
            ":target_table": letter.table,
            ":row": letter.row,
            ":spans": letter.spans,
        })?;
    }
    Ok(())
}

/// A moment for people; one beyond the calendar as its plain number.
fn milliseconds(since_1970: i64) -> String {
    DateTime::from_timestamp_millis(since_1970)
        .map_or_else(|| since_1970.to_string(), |moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn microseconds(since_1970: i64) -> String {
    DateTime::from_timestamp_micros(since_1970)
        .map_or_else(|| since_1970.to_string(), |moment| moment.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// Writes the commit row. It holds everything that the chain hash covers, so that anybody can compute it again.
fn write_commit(connection: &Connection, right: &Right, lane: &str, closing: &Closing) -> rusqlite::Result<()> {
    let counts = &closing.counts;
    let (generation, shards, prepared) = match right {
        Right::Advance(advance) => {
            let generation = advance.moves().iter().map(|step| step.expected.generation.get()).max().unwrap_or(0);
            (generation, shards(advance), &advance.step().counts)
        }
        Right::Replay(_) => (0, json!([]), counts),
    };
    let sql = format!(
        "INSERT INTO onceflow_commit (pipeline, committed_at, generation, lane, shards, records, used, filtered, late, dead, \
         skipped, prepared, tables, now, seed) VALUES (:pipeline, {}, :generation, :lane, :shards, :records, :used, :filtered, \
         :late, :dead, :skipped, :prepared, :tables, :now, :seed)",
        ledger::NOW
    );
    let values = named_params! {
        ":pipeline": pipeline_of(right).to_string(),
        ":generation": ledger::signed(generation),
        ":lane": lane,
        ":shards": shards.to_string(),
        ":records": ledger::signed(counts.records),
        ":used": ledger::signed(counts.used),
        ":filtered": ledger::signed(counts.filtered),
        ":late": ledger::signed(counts.late),
        ":dead": ledger::signed(counts.dead),
        ":skipped": ledger::signed(counts.skipped),
        ":prepared": counts_json(prepared).to_string(),
        ":tables": tables(right, closing).to_string(),
        ":now": microseconds(closing.now),
        ":seed": closing.seed.to_string(),
    };
    connection.execute(&sql, values).map(|_| ())
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "records": counts.records, "used": counts.used, "filtered": counts.filtered, "late": counts.late,
        "dead": counts.dead, "skipped": counts.skipped,
    })
}

/// Each shard's step with the partitions that it consumed, in the order in which the chain hash covers them.
fn shards(advance: &Advance) -> Value {
    let owner: BTreeMap<_, _> = advance.positions().iter().map(|row| (&row.partition, &row.shard)).collect();
    let mut consumed: Vec<_> = advance.step().consumed.iter().collect();
    consumed.sort_by(|a, b| a.partition.cmp(&b.partition));
    let shard = |step: &ShardMove| {
        let own = consumed.iter().filter(|part| owner.get(&part.partition) == Some(&&step.expected.shard));
        let partitions = own.map(|part| {
            json!({
                "source": &*part.partition.source, "topic": &*part.partition.topic, "partition": part.partition.number,
                "from": part.span.from().get(), "to": part.span.to().get(),
                "records": part.digest.count(), "digest": part.digest.to_string(),
            })
        });
        json!({
            "shard": step.expected.shard.as_str(), "generation": step.expected.generation.get(),
            "epoch": step.epoch.get(), "previous": step.expected.chain.to_string(), "chain": step.chain.to_string(),
            "partitions": partitions.collect::<Vec<_>>(),
        })
    };
    Value::Array(advance.moves().iter().map(shard).collect())
}

/// What was prepared for each table (in the order of the seal) and what became of it.
fn tables(right: &Right, closing: &Closing) -> Value {
    let done = |name: &str| closing.tables.iter().find(|(table, ..)| &**table == name);
    let totals = match right {
        Right::Advance(advance) => advance.step().tables.as_slice(),
        Right::Replay(_) => &[],
    };
    let mut rows: Vec<Value> = Vec::new();
    for total in totals {
        let (written, ignored, refused) = done(&total.table).map_or((0, 0, 0), |(_, w, i, r)| (*w, *i, *r));
        rows.push(json!({
            "table": &*total.table, "prepared": total.digest.count(), "digest": total.digest.to_string(),
            "written": written, "ignored": ignored, "refused": refused,
        }));
    }
    let others = closing.tables.iter().filter(|(name, ..)| !totals.iter().any(|total| total.table == *name));
    let others = others.filter(|(_, w, i, r)| w + i + r > 0);
    rows.extend(others.map(|(name, written, ignored, refused)| {
        json!({"table": &**name, "written": written, "ignored": ignored, "refused": refused})
    }));
    Value::Array(rows)
}

/// Removes commit rows that are old enough, never one that a shard stands on. After a commit, in a transaction of its own:
/// whatever goes wrong here must not undo the commit.
fn trim(connection: &Connection, pipeline: PipelineId) {
    if connection.last_insert_rowid() % TRIM_EVERY != 0 {
        return;
    }
    let sql = "DELETE FROM onceflow_commit WHERE id IN (SELECT c.id FROM onceflow_commit c WHERE c.pipeline = ?1 \
               AND (c.committed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ?2 || ' days') \
               OR c.id < (SELECT max(id) FROM onceflow_commit) - ?3) \
               AND NOT EXISTS (SELECT 1 FROM json_each(c.shards) AS x JOIN onceflow_shard s ON s.pipeline = c.pipeline \
               AND s.shard = x.value ->> 'shard' AND s.epoch = x.value ->> 'epoch') ORDER BY c.id LIMIT ?4)";
    let values = params![pipeline.to_string(), COMMIT_DAYS_KEPT, COMMITS_KEPT, TRIM_ROWS_MAX];
    if let Err(error) = connection.execute(sql, values) {
        tracing::warn!("old commit rows could not be removed: {error}");
    }
}
