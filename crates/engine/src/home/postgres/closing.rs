//! What a commit says of itself: dead letters, the commit row, and the trimming of old ones.
//!
//! The commit row holds everything that the chain hash covers, so that anybody can compute it again.

use crate::home::postgres::commit::Statements;
use crate::home::postgres::rows::{partition_number, signed, uuid};
use crate::home::postgres::session::{Open, Session};
use crate::home::{COMMIT_DAYS_KEPT, COMMITS_KEPT, Closing, DeadLetter, Right};
use onceflow_core::{Advance, Counts, PipelineId};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_postgres::types::ToSql;

/// How many dead letters, and about how many of their bytes, go in one statement.
const LETTERS_MAX: usize = 1_000;
const LETTER_BYTES_MAX: usize = 16 << 20;
/// Old commit rows are looked for every so many commits of a session.
pub(super) const TRIM_EVERY: u64 = 64;
/// How many rows one trimming removes at most.
const TRIM_ROWS_MAX: i64 = 256;

pub(super) const DEAD_LETTERS: &str = "INSERT INTO onceflow.dead_letter (pipeline, source, topic, partition, \"offset\",
        \"timestamp\", key, value, headers, code, reason, sqlstate, place, target_table, \"row\", spans)
    SELECT $1::text::uuid, x.source, x.topic, x.partition, x.at, x.time, x.key, x.value, x.headers::json, x.code, x.reason,
        x.sqlstate, x.place, x.target, x.line::json, x.spans::json
    FROM unnest($2::text[], $3::text[], $4::integer[], $5::bigint[], $6::timestamptz[], $7::bytea[], $8::bytea[],
        $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[])
        AS x(source, topic, partition, at, time, key, value, headers, code, reason, sqlstate, place, target, line, spans)";

/// The pipeline's id is read through the transaction's own marker, so that the row cannot be written outside of it.
pub(super) const CLOSE: &str =
    "INSERT INTO onceflow.commit (pipeline, generation, lane, shards, records, used, filtered,
        late, dead, skipped, prepared, tables, now, seed)
    VALUES (CASE WHEN current_setting('onceflow.transaction', true) = 'open' THEN $1::text::uuid
            ELSE ('onceflow/closed' || current_setting('onceflow.transaction', true))::uuid END,
        $2, $3, $4::text::jsonb, $5, $6, $7, $8, $9, $10, $11::text::jsonb, $12::text::jsonb, $13, $14)";

/// Writes dead letters, in portions.
pub(super) async fn write_dead_letters(
    open: &Open<'_>,
    statements: &Statements,
    pipeline: PipelineId,
    letters: &[DeadLetter],
) -> Result<(), tokio_postgres::Error> {
    let mut rest = letters;
    while !rest.is_empty() {
        let (portion, later) = rest.split_at(portion(rest));
        rest = later;
        let l = Letters::new(portion);
        let parameters: [&(dyn ToSql + Sync); 16] = [
            &uuid(pipeline),
            &l.source,
            &l.topic,
            &l.partition,
            &l.offset,
            &l.timestamp,
            &l.key,
            &l.value,
            &l.headers,
            &l.code,
            &l.reason,
            &l.sqlstate,
            &l.place,
            &l.table,
            &l.row,
            &l.spans,
        ];
        open.session.client.execute(&statements.dead_letters, &parameters).await?;
    }
    Ok(())
}

/// How many letters go in the next statement: at least one.
fn portion(letters: &[DeadLetter]) -> usize {
    let mut bytes = 0;
    let fits = letters.iter().take(LETTERS_MAX).take_while(|letter| {
        bytes += size(letter);
        bytes <= LETTER_BYTES_MAX
    });
    fits.count().max(1)
}

fn size(letter: &DeadLetter) -> usize {
    let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    let text = |part: &Option<String>| part.as_ref().map_or(0, String::len);
    bytes(&letter.key) + bytes(&letter.value) + text(&letter.headers) + text(&letter.row) + text(&letter.spans)
}

/// Dead letters column by column.
#[derive(Default)]
struct Letters<'a> {
    source: Vec<String>,
    topic: Vec<String>,
    partition: Vec<Option<i32>>,
    offset: Vec<Option<i64>>,
    timestamp: Vec<Option<SystemTime>>,
    key: Vec<Option<&'a [u8]>>,
    value: Vec<Option<&'a [u8]>>,
    headers: Vec<Option<String>>,
    code: Vec<String>,
    reason: Vec<String>,
    sqlstate: Vec<Option<String>>,
    place: Vec<Option<String>>,
    table: Vec<Option<String>>,
    row: Vec<Option<String>>,
    spans: Vec<Option<String>>,
}

impl<'a> Letters<'a> {
    fn new(letters: &'a [DeadLetter]) -> Self {
        let mut l = Self::default();
        for letter in letters {
            l.source.push(text(&letter.source));
            l.topic.push(text(&letter.topic));
            l.partition.push(letter.partition.map(partition_number));
            l.offset.push(letter.offset.map(signed));
            l.timestamp.push(letter.timestamp.map(milliseconds));
            l.key.push(letter.key.as_deref());
            l.value.push(letter.value.as_deref());
            l.headers.push(letter.headers.as_deref().map(text));
            l.code.push(text(&letter.code));
            l.reason.push(text(&letter.reason));
            l.sqlstate.push(letter.sqlstate.as_deref().map(text));
            l.place.push(letter.place.as_deref().map(text));
            l.table.push(letter.table.as_deref().map(text));
            l.row.push(letter.row.as_deref().map(text));
            l.spans.push(letter.spans.as_deref().map(text));
        }
        l
    }
}

/// PostgreSQL's text holds no NUL; a dead letter must never be refused for what it reports.
fn text(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

/// What both `timestamptz` and 64 bits of microseconds can hold, in milliseconds since 1970: 4714 BC to 294247.
const TIMESTAMP_MIN: i64 = -210_866_803_200_000;
const TIMESTAMP_MAX: i64 = 9_223_372_036_854_000;

/// A point in time; one that `timestamptz` cannot hold becomes the nearest that it can.
fn milliseconds(since_1970: i64) -> SystemTime {
    microseconds(since_1970.clamp(TIMESTAMP_MIN, TIMESTAMP_MAX) * 1_000)
}

fn microseconds(since_1970: i64) -> SystemTime {
    let distance = Duration::from_micros(since_1970.unsigned_abs());
    if since_1970 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// The commit row.
pub(super) struct Row {
    pipeline: String,
    generation: i64,
    lane: String,
    shards: String,
    counts: [i64; 6],
    prepared: String,
    tables: String,
    now: SystemTime,
    seed: String,
}

impl Row {
    pub(super) fn new(right: &Right, lane: &str, closing: &Closing) -> Self {
        let counts = &closing.counts;
        let (pipeline, generation, shards, prepared) = match right {
            Right::Advance(advance) => {
                let generation = advance.moves().iter().map(|step| step.expected.generation.get()).max().unwrap_or(0);
                (advance.pipeline(), generation, shards(advance), counts_of(&advance.step().counts))
            }
            Right::Replay(replay) => (replay.pipeline, 0, json!([]), counts_of(counts)),
        };
        Self {
            pipeline: uuid(pipeline),
            generation: signed(generation),
            lane: lane.to_owned(),
            shards: shards.to_string(),
            counts: six(counts).map(signed),
            prepared: prepared.to_string(),
            tables: tables(right, closing).to_string(),
            now: microseconds(closing.now.max(TIMESTAMP_MIN * 1_000)),
            seed: closing.seed.to_string(),
        }
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 14] {
        let [records, used, filtered, late, dead, skipped] = &self.counts;
        [
            &self.pipeline,
            &self.generation,
            &self.lane,
            &self.shards,
            records,
            used,
            filtered,
            late,
            dead,
            skipped,
            &self.prepared,
            &self.tables,
            &self.now,
            &self.seed,
        ]
    }
}

fn six(counts: &Counts) -> [u64; 6] {
    [counts.records, counts.used, counts.filtered, counts.late, counts.dead, counts.skipped]
}

fn counts_of(counts: &Counts) -> Value {
    let [records, used, filtered, late, dead, skipped] = six(counts);
    json!({"records": records, "used": used, "filtered": filtered, "late": late, "dead": dead, "skipped": skipped})
}

/// Each shard's step with the partitions that it consumed, in the order in which the chain hash covers them.
fn shards(advance: &Advance) -> Value {
    let owner: std::collections::BTreeMap<_, _> =
        advance.positions().iter().map(|row| (&row.partition, &row.shard)).collect();
    let mut consumed: Vec<_> = advance.step().consumed.iter().collect();
    consumed.sort_by(|a, b| a.partition.cmp(&b.partition));
    let shard = |step: &onceflow_core::ShardMove| {
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

/// Removes commit rows that are old enough, never one that a shard stands on.
const TRIM: &str = "DELETE FROM onceflow.commit WHERE id IN (
    SELECT c.id FROM onceflow.commit c
    WHERE c.pipeline = $1::text::uuid
        AND (c.committed_at < now() - make_interval(days => $2) OR c.id < (SELECT max(id) - $3 FROM onceflow.commit))
        AND NOT EXISTS (
            SELECT FROM jsonb_to_recordset(c.shards) AS x(shard text, epoch bigint)
            JOIN onceflow.shard s ON s.pipeline = c.pipeline AND s.shard = x.shard AND s.epoch = x.epoch)
    ORDER BY c.id LIMIT $4 FOR UPDATE OF c SKIP LOCKED)";

/// Trims after a commit, in a transaction of its own: whatever goes wrong here must not undo the commit.
pub(super) async fn trim(session: &Session, right: &Right) {
    let Right::Advance(advance) = right else { return };
    let id = uuid(advance.pipeline());
    let (days, commits) = (COMMIT_DAYS_KEPT.cast_signed(), i64::from(COMMITS_KEPT));
    let trimmed = session.client.execute(TRIM, &[&id, &days, &commits, &TRIM_ROWS_MAX]).await;
    if let Err(error) = trimmed {
        tracing::warn!("old commit rows could not be removed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_database_becomes_its_last_one() {
        for (given, stored) in [
            (0, 0),
            (1_700_000_000_123, 1_700_000_000_123),
            (-1, -1),
            (i64::MAX, TIMESTAMP_MAX),
            (i64::MIN, TIMESTAMP_MIN),
        ] {
            let time = milliseconds(given);
            let back = match time.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::from(u64::try_from(after.as_millis()).expect("in range")),
                Err(before) => -i128::from(u64::try_from(before.duration().as_millis()).expect("in range")),
            };
            assert_eq!(back, i128::from(stored), "{given}");
        }
    }

    #[test]
    fn a_portion_is_bounded_and_never_empty() {
        let letter = |bytes: usize| DeadLetter { value: Some(vec![0; bytes]), ..DeadLetter::default() };
        assert_eq!(portion(&vec![letter(1); 2_500]), LETTERS_MAX);
        assert_eq!(portion(&[letter(LETTER_BYTES_MAX + 1), letter(1)]), 1);
        assert_eq!(portion(&[letter(LETTER_BYTES_MAX / 2), letter(LETTER_BYTES_MAX / 2), letter(1)]), 2);
    }
}
