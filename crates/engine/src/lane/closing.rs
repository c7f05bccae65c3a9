//! What a commit says of itself: final counts and dead letters, out of the work and what the home wrote of it.

use crate::changes::{Aside, Failed, Lineage, OnError, Part, Refusal, TableSpec, Work, Written};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::desk::Cell;
use crate::home::{Closing, DeadLetter, Home};
use crate::pipeline::Settings;
use crate::record::Record;
use onceflow_core::{Counts, Partition, PipelineId};
use std::cell::LazyCell;
use std::collections::BTreeSet;

/// Counts dead letters against `dead-letters.max`.
pub struct Tally {
    max: Option<u64>,
    present: u64,
}

impl Tally {
    /// Reads how many dead letters the pipeline has, where a maximum is set.
    pub async fn start(home: &mut dyn Home, settings: &Settings, pipeline: PipelineId) -> Result<Self> {
        let Some(max) = settings.dead_letters_max else { return Ok(Self { max: None, present: 0 }) };
        let mut desk = home.desk().await?;
        let sql = "SELECT count(*) FROM {dead_letter} WHERE pipeline = $1 AND replayed_at IS NULL";
        let rows = desk.rows(sql, &[Cell::Text(pipeline.to_string())]).await?;
        let Some(Cell::Int(present)) = rows.first().and_then(|row| row.first()) else {
            return Err(Error::internal("the home did not count its dead letters"));
        };
        Ok(Self { max: Some(max), present: u64::try_from(*present).unwrap_or(0) })
    }

    /// Refuses a commit that would bring the pipeline over its maximum.
    pub fn check(&mut self, closing: &Closing) -> Result<()> {
        self.present += closing.dead_letters.len() as u64;
        match self.max {
            Some(max) if self.present > max => Err(too_many(self.present, max, closing)),
            _ => Ok(()),
        }
    }
}

fn too_many(present: u64, max: u64, closing: &Closing) -> Error {
    let error = Error::new(
        Kind::Data,
        codes::OF0005,
        format!("the pipeline would have {present} dead letters, and 'dead-letters.max' is {max}"),
    );
    let last = closing.dead_letters.last();
    let error = error.note("the transaction was not committed");
    let error = match last {
        Some(letter) => error.note(format!("the last one: {} {}: {}", record_name(letter), letter.code, letter.reason)),
        None => error,
    };
    error.help("look at them with `onceflow dead-letters list`, mend the cause, then raise 'dead-letters.max' or purge")
}

/// Stops the pipeline where a record cannot be decoded or computed and its source says `stop`.
pub fn refuse_stops(work: &Work) -> Result<()> {
    for part in &work.parts {
        if let Some(failed) = part.failed.iter().find(|failed| failed.on_error == OnError::Stop) {
            return Err(stopped(part, failed));
        }
    }
    Ok(())
}

fn stopped(part: &Part, failed: &Failed) -> Error {
    let (partition, record) = part.record(failed.ordinal);
    let name = format!("{}/{} offset {}", partition.topic, partition.number, record.offset);
    let error = Error::new(Kind::Data, codes::OF0004, format!("stopped at {name}: {}", failed.reason))
        .note(format!(
            "{} {}",
            failed.code, "is the reason's code; `on-error` is `stop`, nothing of the epoch was committed"
        ))
        .help("mend the cause and start again, or set 'on-error' = 'dead-letter' to put such records aside");
    match &failed.place {
        Some(place) => error.at(place),
        None => error,
    }
}

/// Closes a work: every refused record becomes a dead letter or is skipped, as its table says.
pub fn close(work: &Work, written: &Written, tables: &[TableSpec]) -> Result<Closing> {
    let mut counts = Counts::default();
    let mut dead_letters = Vec::new();
    for part in &work.parts {
        counts.merge(&part.counts);
        let dead = part.failed.iter().filter(|failed| failed.on_error == OnError::DeadLetter);
        dead_letters.extend(dead.map(|failed| undecodable(part, failed)));
    }
    // Most epochs need none: it is made for the first row that was refused.
    let lineage = LazyCell::new(|| work.lineage());
    let mut seen = BTreeSet::new();
    for refusal in &written.refused {
        let skip = tables[refusal.table].on_error == OnError::Skip;
        if !refusal.unit.is_grouped() && seen.insert(refusal.unit) {
            counts.used -= 1;
            *(if skip { &mut counts.skipped } else { &mut counts.dead }) += 1;
        }
        if !skip {
            dead_letters.push(refused(work, &lineage, refusal, tables)?);
        }
    }
    for aside in &written.aside {
        counts.used -= 1;
        counts.dead += 1;
        dead_letters.push(put_aside(work, aside));
    }
    if !counts.balanced() {
        return Err(Error::internal(format!("counts do not balance at the end of an epoch: {counts:?}")));
    }
    let totals = tables.iter().enumerate().map(|(index, table)| {
        let refused = written.refused.iter().filter(|refusal| refusal.table == index).count() as u64;
        let at = |counts: &[u64]| counts.get(index).copied().unwrap_or(0);
        (table.name.clone(), at(&written.rows), at(&written.ignored), refused)
    });
    let tables = totals.collect();
    Ok(Closing { counts, tables, dead_letters, now: work.clock.now, seed: work.clock.seed })
}

fn undecodable(part: &Part, failed: &Failed) -> DeadLetter {
    let (partition, record) = part.record(failed.ordinal);
    DeadLetter {
        code: failed.code.to_string(),
        reason: failed.reason.clone(),
        place: failed.place.as_ref().map(ToString::to_string),
        ..letter(partition, &record)
    }
}

fn put_aside(work: &Work, aside: &Aside) -> DeadLetter {
    let (partition, record) = work.parts[aside.part].record(aside.ordinal);
    DeadLetter { code: codes::OF1005.to_string(), reason: aside.reason.clone(), ..letter(partition, &record) }
}

fn refused(work: &Work, lineage: &Lineage, refusal: &Refusal, tables: &[TableSpec]) -> Result<DeadLetter> {
    let table = &tables[refusal.table];
    let base = match lineage.find(refusal.unit) {
        Some((part, ordinal)) => {
            let (partition, record) = work.parts[part].record(ordinal);
            letter(partition, &record)
        }
        None if refusal.unit.is_grouped() => {
            let spans = Some(spans(work));
            DeadLetter { spans, ..DeadLetter::default() }
        }
        None => return Err(Error::internal("a home refused a row that is not in the epoch")),
    };
    Ok(DeadLetter {
        code: refusal.code.to_string(),
        reason: refusal.reason.clone(),
        sqlstate: (!refusal.sqlstate.is_empty()).then(|| refusal.sqlstate.clone()),
        place: Some(table.place.to_string()),
        table: Some(table.target()),
        row: Some(refusal.row.clone()),
        ..base
    })
}

fn letter(partition: &Partition, record: &Record<'_>) -> DeadLetter {
    DeadLetter {
        source: partition.source.to_string(),
        topic: partition.topic.to_string(),
        partition: Some(partition.number),
        offset: Some(record.offset.get()),
        timestamp: record.timestamp,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: (!record.headers.is_empty()).then(|| headers(record.headers)),
        ..DeadLetter::default()
    }
}

fn headers(headers: &[(String, Option<Vec<u8>>)]) -> String {
    let value = |bytes: &Option<Vec<u8>>| match bytes {
        None => serde_json::Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => serde_json::json!({ "base16": base16(bytes) }),
        },
    };
    let pairs = headers.iter().map(|(name, bytes)| serde_json::json!([name, value(bytes)]));
    serde_json::Value::Array(pairs.collect()).to_string()
}

fn base16(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans(work: &Work) -> String {
    let batches = work.parts.iter().flat_map(|part| &part.batches);
    let spans = batches.map(|batch| {
        serde_json::json!({
            "source": &*batch.partition.source,
            "topic": &*batch.partition.topic,
            "partition": batch.partition.number,
            "from": batch.span.from().get(),
            "to": batch.span.to().get(),
        })
    });
    serde_json::Value::Array(spans.collect()).to_string()
}

/// A dead letter's record for people: `topic/partition offset n`.
pub fn record_name(letter: &DeadLetter) -> String {
    match (letter.partition, letter.offset) {
        (Some(partition), Some(offset)) => format!("{}/{partition} offset {offset}", letter.topic),
        _ => "a grouped row".to_owned(),
    }
}
