//! Cause 2: how many hours are left before records that were not read yet expire, at the rate at which they come now.

use super::check::{Ask, Check};
use crate::error::Result;
use crate::source::{FetchLimits, Source, TopicFacts};
use onceflow_core::{Partition, Position, PositionRow};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// Less than this leaves no night to notice that a pipeline stands still.
const HOURS_MIN: f64 = 24.0;
/// Newest records of a partition from which rate and size are taken.
const SAMPLE: u64 = 1_000;
/// Partitions that are sampled: those that are furthest behind.
const PARTITIONS_MAX: usize = 5;
/// How long one sample may take.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// What was measured of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// Records that were not read yet.
    unread: u64,
    /// Milliseconds since the oldest of them was made; 0 where there is none.
    age: i64,
    /// Records a millisecond, lately; 0 where it is not known.
    rate: f64,
    /// Bytes of a record, lately.
    bytes: f64,
}

/// Measures the partitions that are furthest behind, and judges the worst. `None` where a source keeps everything.
pub(super) fn check(
    ask: Ask,
    facts: &[TopicFacts],
    source: &mut dyn Source,
    rows: &[&PositionRow],
    ends: &BTreeMap<Partition, Position>,
) -> Option<Check> {
    if facts.is_empty() || rows.is_empty() {
        return None;
    }
    let behind = |row: &PositionRow| ends.get(&row.partition).map_or(0, |end| end.get().saturating_sub(row.next.get()));
    let mut chosen: Vec<&PositionRow> = rows.to_vec();
    chosen.sort_by_key(|row| std::cmp::Reverse((behind(row), row.next.get())));
    chosen.truncate(PARTITIONS_MAX);
    let mut worst: Option<(f64, String)> = None;
    for row in chosen {
        let Some(topic) = facts.iter().find(|facts| facts.topic == *row.partition.topic) else { continue };
        let end = ends.get(&row.partition).map_or(row.next.get(), |end| end.get());
        let measured = match measure(source, row, end) {
            Ok(measured) => measured,
            Err(error) => return Some(ask.unknown(&error)),
        };
        let left = hours(topic, &measured);
        if worst.as_ref().is_none_or(|(hours, _)| left < *hours) {
            worst = Some((left, said(&row.partition, topic, &measured)));
        }
    }
    let (hours, seen) = worst?;
    Some(judge(ask, hours, seen, facts))
}

fn judge(ask: Ask, hours: f64, seen: String, facts: &[TopicFacts]) -> Check {
    if hours.is_infinite() {
        return ask.ok(format!("{seen}: nothing expires"), "the log keeps every record");
    }
    let seen = format!("{seen}: {hours:.1} h are left");
    if hours >= HOURS_MIN {
        return ask.ok(seen, "a pipeline that stops now has that long before a record is deleted unread");
    }
    let (topic, servers) = (&facts[0].topic, &facts[0].servers);
    ask.warning(
        seen,
        "yes, if the pipeline stands still for that long: records are deleted unread, and it then stops and says so",
        format!(
            "kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} \
             --add-config retention.ms=604800000,retention.bytes=-1"
        ),
        "a week leaves time to notice and to mend",
    )
}

/// Hours until the oldest unread record, or the next one to come, is deleted, if nothing is read from now on.
#[allow(clippy::cast_precision_loss)]
fn hours(topic: &TopicFacts, measured: &Measured) -> f64 {
    let limit =
        |name: &str| topic.settings.get(name).and_then(|text| text.parse::<i64>().ok()).filter(|limit| *limit >= 0);
    let hour = 3_600_000.0;
    let by_time = limit("retention.ms").map_or(f64::INFINITY, |ms| (ms - measured.age) as f64 / hour);
    let by_size = match limit("retention.bytes") {
        Some(bytes) if measured.rate > 0.0 && measured.bytes > 0.0 => {
            let room = bytes as f64 / measured.bytes - measured.unread as f64;
            room / measured.rate / hour
        }
        _ => f64::INFINITY,
    };
    if !deletes(topic) { f64::INFINITY } else { by_time.min(by_size).max(0.0) }
}

fn deletes(topic: &TopicFacts) -> bool {
    topic.settings.get("cleanup.policy").is_none_or(|policy| policy.contains("delete"))
}

#[allow(clippy::cast_precision_loss)]
fn said(partition: &Partition, topic: &TopicFacts, measured: &Measured) -> String {
    let setting = |name: &str| topic.settings.get(name).map_or("?", String::as_str);
    let rate = match measured.rate {
        rate if rate > 0.0 => format!("{:.1} records/s of {:.0} bytes", rate * 1_000.0, measured.bytes),
        _ => "no rate is known".to_owned(),
    };
    format!(
        "{partition}: {} unread, the oldest {:.1} h old, {rate}; retention.ms = {}, retention.bytes = {}",
        measured.unread,
        measured.age as f64 / 3_600_000.0,
        setting("retention.ms"),
        setting("retention.bytes")
    )
}

/// Reads the oldest unread record, and the newest ones.
#[allow(clippy::cast_precision_loss)]
fn measure(source: &mut dyn Source, row: &PositionRow, end: u64) -> Result<Measured> {
    let mut measured = Measured { unread: end.saturating_sub(row.next.get()), ..Measured::default() };
    if measured.unread > 0 {
        let first = sample(source, row, row.next.get(), end, 1)?;
        measured.age = first.first().map_or(0, |(at, _)| (now() - at).max(0));
    }
    let begin = row_begin(source, row)?;
    let newest = sample(source, row, end.saturating_sub(SAMPLE).max(begin), end, SAMPLE)?;
    if let (Some((first, _)), Some((last, _)), 2..) = (newest.first(), newest.last(), newest.len()) {
        // Idle time since the newest record is part of the present rate.
        let span = (now().max(*last) - first).max(1) as f64;
        measured.rate = newest.len() as f64 / span;
        measured.bytes = newest.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / newest.len() as f64;
    }
    Ok(measured)
}

fn row_begin(source: &mut dyn Source, row: &PositionRow) -> Result<u64> {
    let begins = source.beginnings(std::slice::from_ref(&row.partition))?;
    Ok(begins.get(&row.partition).map_or(0, |begin| begin.get()))
}

/// Time and size of at most so many records from an offset on.
fn sample(source: &mut dyn Source, row: &PositionRow, from: u64, end: u64, count: u64) -> Result<Vec<(i64, usize)>> {
    let mut start = row.clone();
    (start.next, start.tail, start.leader_epoch) = (Position::new(from), None, None);
    source.seek(&[start], &[(row.partition.clone(), Position::new(end))].into())?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let limits = FetchLimits { records_max: count, bytes_max: 4 << 20, wait_max: Duration::from_millis(500) };
    let (mut got, until) = (Vec::new(), Instant::now() + WAIT_MAX);
    while got.len() < count && Instant::now() < until {
        let fetch = source.next(&limits)?;
        for record in fetch.batches.iter().flat_map(|batch| batch.records.iter()) {
            let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            got.extend(record.timestamp.map(|at| (at, size)));
        }
        if fetch.finished {
            break;
        }
    }
    got.truncate(count);
    Ok(got)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::check::{Status, ask};
    use super::*;

    fn topic(settings: &[(&str, &str)]) -> TopicFacts {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TopicFacts { topic: "t".to_owned(), servers: "b:9092".to_owned(), settings, ..TopicFacts::default() }
    }

    #[test]
    fn hours_are_those_of_the_nearer_limit() {
        let hour = 3_600_000;
        // One record of 1,000 bytes a second.
        let measured = Measured { unread: 3_600, age: hour, rate: 0.001, bytes: 1_000.0 };
        for (time, bytes, expected) in [
            ("-1", "-1", f64::INFINITY),
            ("36000000", "-1", 9.0),
            // 10 hours of records, one of which is unread already.
            ("-1", "36000000", 9.0),
            ("7200000", "36000000", 1.0),
            ("1000", "-1", 0.0),
        ] {
            let topic = topic(&[("cleanup.policy", "delete"), ("retention.ms", time), ("retention.bytes", bytes)]);
            let got = hours(&topic, &measured);
            assert!(got == expected || (got - expected).abs() < 1e-9, "{time} {bytes}: {got}");
        }
        let compacted = topic(&[("cleanup.policy", "compact"), ("retention.ms", "1000")]);
        assert!(hours(&compacted, &measured).is_infinite());
    }

    #[test]
    fn less_than_a_day_is_a_warning() {
        let facts = [topic(&[])];
        let status = |hours| judge(ask(2, "test", "t", "look"), hours, String::new(), &facts).status;
        assert_eq!((status(1.0), status(25.0), status(f64::INFINITY)), (Status::Warning, Status::Ok, Status::Ok));
    }
}
