//! Which records are used: the first of each source, up to fixed positions that are found once. Only reads.

use crate::scratch::Part;
use crate::talk::grouped;
use onceflow::pipeline::Pipeline;
use onceflow::run::stop::Stop;
use onceflow::source::{FetchLimits, Found, SourceFactory};
use onceflow::{Error, codes};
use onceflow_core::{Partition, Position, PositionRow};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a source may take to hand out its first records.
const READ_MAX: Duration = Duration::from_secs(120);
/// Records that are read at once.
const CHUNK_RECORDS: u64 = 1_000;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 8 << 20;

/// What is read.
pub struct Reading {
    /// For each partition of each source.
    pub parts: Vec<Part>,
    /// Records over all sources.
    pub records: u64,
}

/// The first records of all sources of a pipeline.
pub fn reading(pipeline: &Pipeline, rows: u64, stop: &Stop) -> Result<Reading, Error> {
    let mut seen = BTreeSet::new();
    let mut reading = Reading { parts: Vec::new(), records: 0 };
    for source in pipeline.branches.iter().flat_map(|branch| &branch.sources) {
        if seen.insert(source.name().to_owned()) {
            let (parts, records) = first(&**source, rows, stop)?;
            reading.parts.extend(parts);
            reading.records += records;
        }
    }
    if reading.records == 0 {
        return Err(Error::config(codes::OF0155, "the pipeline's sources have no records yet")
            .help("produce some, or name a source that has them"));
    }
    Ok(reading)
}

fn first(factory: &dyn SourceFactory, rows: u64, stop: &Stop) -> Result<(Vec<Part>, u64), Error> {
    let mut source = factory.open()?;
    let found = source.discover()?;
    let partitions: Vec<Partition> = found.iter().map(|found| found.partition.clone()).collect();
    let from = source.beginnings(&partitions)?;
    let ends = match source.bound(&partitions)? {
        Some(bound) => bound,
        None => source.ends(&partitions)?,
    };
    source.seek(&starts(found, &from), &ends)?;
    let mut reached = from.clone();
    let mut records = 0;
    let until = Instant::now() + READ_MAX;
    while records < rows && !done(&reached, &ends) {
        if stop.wished() || Instant::now() > until {
            let message = format!("{} gave {} of {} records in time", factory.name(), grouped(records), grouped(rows));
            return Err(Error::unavailable(codes::OF0155, message).help("use fewer with --rows"));
        }
        let chunk = usize::try_from((rows - records).min(CHUNK_RECORDS)).unwrap_or(1);
        let limits = FetchLimits { records_max: chunk, bytes_max: CHUNK_BYTES, wait_max: Duration::from_millis(500) };
        let fetch = source.next(&limits)?;
        for batch in &fetch.batches {
            records += batch.records.len() as u64;
            reached.insert(batch.partition.clone(), batch.span.to());
        }
        if fetch.finished {
            break;
        }
    }
    let part = |partition: &Partition| Part {
        source: partition.source.to_string(),
        topic: partition.topic.to_string(),
        number: partition.number,
        from: from.get(partition).map_or(0, |position| position.get()),
        until: reached.get(partition).map_or(0, |position| position.get()),
    };
    Ok((partitions.iter().map(part).collect(), records))
}

fn starts(found: Vec<Found>, from: &BTreeMap<Partition, Position>) -> Vec<PositionRow> {
    let start = |found: Found| PositionRow {
        shard: found.partition.own_shard(),
        next: from.get(&found.partition).copied().unwrap_or(Position::ZERO),
        partition: found.partition,
        identity: found.identity,
        leader_epoch: None,
        tail: None,
        watermark: None,
    };
    found.into_iter().map(start).collect()
}

fn done(reached: &BTreeMap<Partition, Position>, ends: &BTreeMap<Partition, Position>) -> bool {
    ends.iter().all(|(partition, end)| reached.get(partition).is_some_and(|position| position >= end))
}
