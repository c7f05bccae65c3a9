//! Replaying dead letters: their records go through the pipeline as it is now, and are marked in the same transaction.
//!
//! A record that fails again keeps its dead letter as it was. The ledger's positions do not move.

use crate::changes::{Part, Work};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::desk::Cell;
use crate::home::{Closing, CommitError, Done, Home, Replay, Right};
use crate::logic::{EpochClock, Logic};
use crate::pipeline::Branch;
use crate::record::{Batch, Record, Records, TimestampType};
use crate::run::ambient::{Ambient, Machine};
use onceflow_core::{Partition, PipelineId, Position, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Dead letters of one transaction.
const REPLAY_RECORDS_MAX: usize = 10_000;

/// What became of a replay.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Dead letters that were replayed.
    pub replayed: u64,
    /// Rows that they became.
    pub rows: u64,
    /// Dead letters that stay, with the reason.
    pub left: Vec<(i64, String)>,
}

struct Letter {
    id: i64,
    source: String,
    topic: String,
    partition: u32,
    offset: u64,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Replays the named dead letters of a pipeline, or all that were not replayed yet, each at most once.
pub async fn replay(
    home: &mut dyn Home,
    branch: &Branch,
    pipeline: PipelineId,
    ids: &[i64],
    reason: &str,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut logic = branch.logic.build()?;
    let mut letters = read(home, pipeline, ids, &mut outcome).await?;
    refuse_unknown(ids, &letters, &outcome)?;
    while !letters.is_empty() {
        let rest = letters.split_off(letters.len().min(REPLAY_RECORDS_MAX));
        some(home, branch, pipeline, &mut *logic, letters, reason, &mut outcome).await?;
        letters = rest;
    }
    outcome.left.sort_unstable();
    Ok(outcome)
}

fn refuse_unknown(ids: &[i64], letters: &[Letter], outcome: &Outcome) -> Result<()> {
    let known: BTreeSet<i64> =
        letters.iter().map(|letter| letter.id).chain(outcome.left.iter().map(|(id, _)| *id)).collect();
    match ids.iter().find(|id| !known.contains(id)) {
        None => Ok(()),
        Some(id) => {
            Err(Error::config(codes::OF0112, format!("there is no dead letter {id} that was not replayed yet"))
                .help("onceflow dead-letters list shows them"))
        }
    }
}

/// Replays some letters: those that fail are left out, and the others are tried again without them, until all go in.
async fn some(
    home: &mut dyn Home,
    branch: &Branch,
    pipeline: PipelineId,
    logic: &mut dyn Logic,
    mut letters: Vec<Letter>,
    reason: &str,
    outcome: &mut Outcome,
) -> Result<()> {
    // Every round leaves at least one letter out, or is the last.
    while !letters.is_empty() {
        let work = prepare(branch, logic, &letters)?;
        let mut bad = undecodable(&work, &letters);
        if bad.is_empty() {
            match write(home, branch, pipeline, &work, &letters, reason).await? {
                Ok((replayed, rows)) => {
                    outcome.replayed += replayed;
                    outcome.rows += rows;
                    return Ok(());
                }
                Err(refused) => bad = refused,
            }
        }
        letters.retain(|letter| !bad.contains_key(&letter.id));
        outcome.left.extend(bad);
    }
    Ok(())
}

fn prepare(branch: &Branch, logic: &mut dyn Logic, letters: &[Letter]) -> Result<Work> {
    let bits = Machine.random().to_le_bytes();
    let seed = u64::from_le_bytes(bits[..8].try_into().expect("8 of 16 bytes"));
    let clock = EpochClock { now: Machine.now(), seed };
    let mut parts = Vec::new();
    for (index, source) in branch.sources.iter().enumerate() {
        let own = letters.iter().filter(|letter| letter.source == source.name());
        let batches: Vec<Batch> = own.map(batch).collect();
        if !batches.is_empty() {
            parts.push(logic.prepare(index, batches, &clock)?);
        }
    }
    Ok(Work { parts, clock })
}

/// One batch a letter: letters of one partition need not be in order of their offsets.
fn batch(letter: &Letter) -> Batch {
    let mut records = Records::with_capacity(1, 0);
    let offset = Position::new(letter.offset);
    records.push(Record {
        offset,
        timestamp: letter.timestamp,
        timestamp_type: letter.timestamp.map_or(TimestampType::None, |_| TimestampType::CreateTime),
        key: letter.key.as_deref(),
        value: letter.value.as_deref(),
        headers: &letter.headers,
        line: 0,
    });
    let partition = Partition::new(letter.source.as_str(), letter.topic.as_str(), letter.partition);
    let span = Span::new(offset, offset.after()).expect("a position lies before the one after it");
    Batch { partition, span, records, leader_epoch: None, file: None }
}

fn undecodable(work: &Work, letters: &[Letter]) -> BTreeMap<i64, String> {
    let failed = work.parts.iter().flat_map(|part| part.failed.iter().map(move |failed| (part, failed)));
    failed.filter_map(|(part, failed)| Some((find(part, failed.ordinal, letters)?, failed.reason.clone()))).collect()
}

fn find(part: &Part, ordinal: u32, letters: &[Letter]) -> Option<i64> {
    let (partition, record) = part.record(ordinal);
    let same = |letter: &&Letter| {
        *letter.source == *partition.source
            && *letter.topic == *partition.topic
            && letter.partition == partition.number
            && letter.offset == record.offset.get()
    };
    letters.iter().find(same).map(|letter| letter.id)
}

/// Writes and marks in one transaction; the inner `Err` names those that the database refused, and nothing was committed.
async fn write(
    home: &mut dyn Home,
    branch: &Branch,
    pipeline: PipelineId,
    work: &Work,
    letters: &[Letter],
    reason: &str,
) -> Result<Result<(u64, u64), BTreeMap<i64, String>>> {
    let dead_letters = letters.iter().map(|letter| letter.id).collect();
    let right = Right::Replay(Replay { pipeline, dead_letters, reason: reason.to_owned() });
    let mut transaction = home.begin(right).await.map_err(explain)?;
    let written = transaction.write(work).await.map_err(explain)?;
    if !written.refused.is_empty() {
        let lineage = work.lineage();
        let mut refused = BTreeMap::new();
        for refusal in &written.refused {
            let found = lineage.find(refusal.unit);
            let id = found.and_then(|(part, ordinal)| find(&work.parts[part], ordinal, letters));
            let id = id.ok_or_else(|| {
                Error::new(Kind::Data, codes::OF0113, format!("a grouped row was refused: {}", refusal.reason))
                    .note("which of the records is to blame is not known; replay them one at a time with --id")
            })?;
            refused.insert(id, refusal.reason.clone());
        }
        return Ok(Err(refused));
    }
    let rows = written.rows.iter().sum();
    let tables = branch.tables.iter().zip(&written.rows).zip(&written.ignored);
    let closing = Closing {
        tables: tables.map(|((table, rows), ignored)| (table.name.clone(), *rows, *ignored, 0)).collect(),
        now: work.clock.now,
        seed: work.clock.seed,
        ..Closing::default()
    };
    match transaction.commit(&closing).await.map_err(explain)? {
        Done::Replayed(replayed) => Ok(Ok((replayed, rows))),
        Done::Advanced(_) => Err(Error::internal("a home answered a replay with an advance")),
    }
}

fn explain(error: CommitError) -> Error {
    match error {
        CommitError::Rejected(error) | CommitError::Fenced(error) => error,
        CommitError::Unknown(error) => {
            Error::unavailable(error.code(), format!("the answer to COMMIT was lost: {}", error.message()))
                .help("see with `onceflow dead-letters list` whether the replay took effect; it cannot happen twice")
        }
    }
}

async fn read(home: &mut dyn Home, pipeline: PipelineId, ids: &[i64], outcome: &mut Outcome) -> Result<Vec<Letter>> {
    let mut desk = home.desk().await?;
    let sql = "SELECT id, source, topic, partition, \"offset\", \"timestamp\", key, value, CAST(headers AS TEXT) \
               FROM {dead_letter} WHERE pipeline = $1 AND replayed_at IS NULL ORDER BY id";
    let rows = desk.rows(sql, &[Cell::Text(pipeline.to_string())]).await?;
    let mut letters = Vec::new();
    for row in rows {
        let Some(Cell::Int(id)) = row.first().cloned() else {
            return Err(Error::internal("a dead letter has no number"));
        };
        if !ids.is_empty() && !ids.contains(&id) {
            continue;
        }
        match letter(id, row) {
            Some(letter) => letters.push(letter),
            None => {
                outcome.left.push((id, "it is a row that many records made; there is no record to replay".to_owned()))
            }
        }
    }
    Ok(letters)
}

fn letter(id: i64, row: Vec<Cell>) -> Option<Letter> {
    let mut cells = row.into_iter().skip(1);
    let mut next = || cells.next().unwrap_or(Cell::Null);
    let text = |cell: Cell| match cell {
        Cell::Text(text) => Some(text),
        _ => None,
    };
    let bytes = |cell: Cell| match cell {
        Cell::Bytes(bytes) => Some(bytes),
        Cell::Text(text) => Some(text.into_bytes()),
        _ => None,
    };
    let number = |cell: Cell| match cell {
        Cell::Int(number) => Some(number),
        _ => None,
    };
    Some(Letter {
        id,
        source: text(next())?,
        topic: text(next())?,
        partition: u32::try_from(number(next())?).ok()?,
        offset: u64::try_from(number(next())?).ok()?,
        timestamp: text(next()).and_then(|text| milliseconds(&text)),
        key: bytes(next()),
        value: bytes(next()),
        headers: text(next()).map(|text| headers(&text)).unwrap_or_default(),
    })
}

/// Reads a timestamp as a home prints it: RFC 3339, or PostgreSQL's text.
fn milliseconds(text: &str) -> Option<i64> {
    let rfc = chrono::DateTime::parse_from_rfc3339(text);
    let postgres = || chrono::DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z");
    rfc.or_else(|_| postgres()).ok().map(|time| time.timestamp_millis())
}

/// Reads headers as [`crate::home::DeadLetter::headers`] are written.
fn headers(text: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let Ok(serde_json::Value::Array(pairs)) = serde_json::from_str(text) else { return Vec::new() };
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        serde_json::Value::Object(object) => object.get("base16").and_then(|hex| base16(hex.as_str()?)),
        _ => None,
    };
    pairs.iter().filter_map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), value(pair.get(1)?)))).collect()
}

fn base16(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len() / 2).map(|at| text.get(2 * at..2 * at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
