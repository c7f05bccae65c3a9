//! Reading and decoding alone, and merge, whose limit they are.

use crate::failure::{Failure, Result};
use crate::figures::{Figures, Sample};
use crate::native;
use crate::pipeline::{BALANCES, COLUMNS, INSERT_BALANCES, from_kafka, into_balances, set};
use crate::place::{Place, turn};
use crate::rows::Rows;
use crate::sections::tables::check_merged;
use crate::subject::{Home, Subject};
use arrow_schema::{DataType, Field, Schema};
use onceflow::core::{Partition, Position, PositionRow, ShardId, Span};
use onceflow::decode::{Column, DecodeSpec, Decoder, Format, JsonOptions, Origin, decoder};
use onceflow::record::{Batch, Record, Records, TimestampType};
use onceflow::source::kafka::{Bounded, KafkaFactory, KafkaSpec, Property, Startup, Topics};
use onceflow::source::{FetchLimits, Found, Source, SourceFactory};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

const ALL: &[(&str, DataType)] = &[
    ("id", DataType::Int64),
    ("account", DataType::Utf8),
    ("amount", DataType::Int64),
    ("ts", DataType::Int64),
    ("merchant", DataType::Utf8),
    ("note", DataType::Utf8),
];
const TWO: &[(&str, DataType)] = &[("account", DataType::Utf8), ("amount", DataType::Int64)];
/// How much one fetch may hold.
const LIMITS: FetchLimits =
    FetchLimits { records_max: 20_000, bytes_max: 4 << 20, wait_max: Duration::from_millis(200) };
/// How many fetches may wait for the decoder.
const WAITING_MAX: usize = 4;
/// Records that are decoded from memory, over and over.
const DECODED: u64 = 100_000;

/// Bare librdkafka, Onceflow's source alone, source and decoder, decoder alone.
pub fn consume(place: &Place, figures: &mut Figures) -> Result<()> {
    let (topic, rows) = (place.records.topic()?, place.records.rows);
    let memory = in_memory(&rows.first(DECODED))?;
    let mut turns = [
        turn("bare librdkafka", || bare(place, topic)),
        turn("consume", || read_alone(place, topic, "consume")),
        turn("consume and decode", || read_and_decode(place, topic, "consume and decode", ALL)),
        turn("decode from memory", || decode(&memory, "limit: decode from memory", ALL)),
        turn("decode two columns from memory", || decode(&memory, "decode from memory, two columns", TWO)),
    ];
    place.by_turns("consume", figures, &mut turns)
}

/// So many records make several epochs of a merge.
const MERGED_MIN: u64 = 2_000_000;

/// Merge, beside consuming and decoding the two columns that it needs.
pub fn merge(place: &Place, figures: &mut Figures) -> Result<()> {
    let (topic, rows) = (place.records.topic()?, place.records.rows);
    // A quick run has too few records for two epochs of the size that they choose, and one commit makes no rate.
    let epochs = if rows.count < MERGED_MIN { set("epoch.rows_max", rows.count / 4) } else { String::new() };
    let mut turns = [
        turn("consume and decode", || read_and_decode(place, topic, "consume and decode, two columns", TWO)),
        turn("merge", || {
            let database = place.server.database(BALANCES)?;
            let sql = epochs.clone()
                + &from_kafka(&place.broker, topic, COLUMNS)
                + &into_balances(&database.url)
                + INSERT_BALANCES;
            let outcome = Subject::new("merge", sql, rows.count, Home::Postgres(&database)).run(place)?;
            check_merged(&database, &rows)?;
            outcome.sample("merge")
        }),
    ];
    place.by_turns("merge", figures, &mut turns)
}

fn bare(place: &Place, topic: &str) -> Result<Sample> {
    let mut config = rdkafka::ClientConfig::new();
    // Nothing else: librdkafka's own settings fetch further ahead than Onceflow's.
    config.set("bootstrap.servers", &place.broker.servers).set("group.id", "unused");
    let rate = native::bare_rate(&config, topic, place.records.partitions, place.records.rows.count)?;
    Ok(Sample::of("limit: bare librdkafka", "records/s", rate))
}

/// Onceflow's source of a topic, from its beginning to its present end.
fn source(place: &Place, topic: &str) -> Result<Box<dyn Source>> {
    let spec = KafkaSpec {
        name: "src".into(),
        topics: Topics::List(vec![topic.to_owned()]),
        properties: [("bootstrap.servers".to_owned(), Property::plain(&place.broker.servers))].into(),
        startup: Startup::Earliest,
        bounded: Bounded::Latest,
        discovery_interval: None,
    };
    let mut source = KafkaFactory::new(spec)?.open()?;
    let found = source.discover()?;
    let partitions: Vec<Partition> = found.iter().map(|one| one.partition.clone()).collect();
    let (ends, from) = (source.ends(&partitions)?, source.initial(&partitions)?);
    let row = |one: Found| PositionRow {
        shard: ShardId::new("s"),
        next: from[&one.partition],
        partition: one.partition,
        identity: one.identity,
        leader_epoch: None,
        tail: None,
        watermark: None,
    };
    let rows: Vec<PositionRow> = found.into_iter().map(row).collect();
    source.seek(&rows, &ends)?;
    Ok(source)
}

/// When the first records were there, and how many they were.
type First = (Instant, u64);

/// Reads everything and gives each fetch away.
fn read(place: &Place, topic: &str, mut each: impl FnMut(Vec<Batch>) -> Result<()>) -> Result<First> {
    let mut source = source(place, topic)?;
    let (mut records, mut finished, mut first) = (0, false, None);
    while !finished {
        let fetch = source.next(&LIMITS)?;
        finished = fetch.finished;
        records += fetch.batches.iter().map(|batch| batch.records.len() as u64).sum::<u64>();
        if records > 0 && first.is_none() {
            first = Some((Instant::now(), records));
        }
        each(fetch.batches)?;
    }
    if records != place.records.rows.count {
        return Err(Failure::new(format!("WRONG: {records} of {} records were read", place.records.rows.count)));
    }
    first.ok_or_else(|| Failure::new("there are no records"))
}

/// Records a second from the first records on until now, without the first.
fn rate_since((began, first): First, records: u64) -> f64 {
    (records - first) as f64 / began.elapsed().as_secs_f64()
}

fn read_alone(place: &Place, topic: &str, name: &str) -> Result<Sample> {
    let first = read(place, topic, |_| Ok(()))?;
    Ok(Sample::of(name, "records/s", rate_since(first, place.records.rows.count)))
}

/// One thread reads and another one decodes, as in a run.
fn read_and_decode(place: &Place, topic: &str, name: &str, columns: &[(&str, DataType)]) -> Result<Sample> {
    let mut decoder = made(columns)?;
    let (sender, receiver) = sync_channel::<Vec<Batch>>(WAITING_MAX);
    std::thread::scope(|scope| {
        // Owned here, so that it is gone and the decoder ends, also where reading fails.
        let sender = sender;
        let decoding = scope.spawn(move || -> Result<u64> {
            let mut rows = 0;
            for batches in receiver {
                rows += decoder.decode(&batches)?.rows.num_rows() as u64;
            }
            Ok(rows)
        });
        let first =
            read(place, topic, |batches| sender.send(batches).map_err(|_| Failure::new("the decoder has ended")))?;
        drop(sender);
        let rows = decoding.join().map_err(|_| Failure::new("the decoder panicked"))??;
        if rows != place.records.rows.count {
            return Err(Failure::new(format!("WRONG: {rows} of {} records were decoded", place.records.rows.count)));
        }
        Ok(Sample::of(name, "records/s", rate_since(first, rows)))
    })
}

fn made(columns: &[(&str, DataType)]) -> Result<Box<dyn Decoder>> {
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
    let columns = columns.iter().map(|(name, _)| Column { origin: Origin::Value((*name).to_owned()), place: None });
    let (schema, columns) = (Arc::new(Schema::new(fields)), columns.collect());
    Ok(decoder(&DecodeSpec { schema, columns, value: Format::Json(JsonOptions::default()), key: None })?)
}

fn in_memory(rows: &Rows) -> Result<Batch> {
    let (mut records, mut value) = (Records::default(), Vec::new());
    for number in 0..rows.count {
        value.clear();
        rows.json(number, &mut value);
        records.push(Record {
            offset: Position::new(number),
            timestamp: Some(0),
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(&value),
            headers: &[],
            line: 0,
        });
    }
    let span = Span::new(Position::ZERO, Position::new(rows.count)).ok_or_else(|| Failure::new("no records"))?;
    Ok(Batch { partition: Partition::new("s", "t", 0), span, records, leader_epoch: None, file: None })
}

/// One thread decodes from memory for about a second.
fn decode(batch: &Batch, name: &str, columns: &[(&str, DataType)]) -> Result<Sample> {
    let mut decoder = made(columns)?;
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        rows += decoder.decode(std::slice::from_ref(batch))?.rows.num_rows();
    }
    Ok(Sample::of(name, "records/s", rows as f64 / began.elapsed().as_secs_f64()))
}
