//! How fast one core decodes: prints records per second for records of 130 bytes with six columns, all used and two used.

use arrow_schema::{DataType, Field, Schema};
use onceflow_engine::core::{Partition, Position, Span};
use onceflow_engine::decode::{Column, DecodeSpec, Format, JsonOptions, Origin, decoder};
use onceflow_engine::record::{Batch, Record, Records, TimestampType};
use std::sync::Arc;
use std::time::Instant;

const RECORDS: u64 = 100_000;
const ROUNDS: u32 = 40;

fn batch(text: impl Fn(u64) -> String) -> Batch {
    let mut records = Records::default();
    for number in 0..RECORDS {
        let value = text(number);
        records.push(Record {
            offset: Position::new(number),
            timestamp: Some(0),
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
            line: 0,
        });
    }
    let span = Span::new(Position::ZERO, Position::new(RECORDS)).expect("in order");
    Batch { partition: Partition::new("s", "t", 0), span, records, leader_epoch: None, file: None }
}

fn measure(what: &str, fields: Vec<Field>, batch: &Batch) -> onceflow_engine::Result<()> {
    let columns =
        fields.iter().map(|field| Column { origin: Origin::Value(field.name().clone()), place: None }).collect();
    let value = Format::Json(JsonOptions::default());
    let mut decoder = decoder(&DecodeSpec { schema: Arc::new(Schema::new(fields)), columns, value, key: None })?;
    let batches = std::slice::from_ref(batch);
    let bytes = batch.records.bytes() / batch.records.len();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let decoded = decoder.decode(batches)?;
        assert_eq!(decoded.rows.num_rows(), batch.records.len());
        best = best.min(start.elapsed().as_secs_f64());
    }
    let rate = batch.records.len() as f64 / best;
    println!(
        "{what}: {bytes} bytes a record, {:.2} million records/s, {:.0} MB/s",
        rate / 1e6,
        rate * bytes as f64 / 1e6
    );
    Ok(())
}

fn main() -> onceflow_engine::Result<()> {
    let plain = batch(|n| {
        format!(
            "{{\"id\":{n},\"account\":\"acc-{:05}\",\"amount\":{},\"ts\":{},\"merchant\":\"merchant-{}\",\"note\":\"payment number {n} of the day\"}}",
            n * 7919 % 10_000,
            n * 31 % 100_000,
            1_700_000_000_000 + n,
            n % 97
        )
    });
    let spaced = batch(|n| {
        format!("{{ \"id\": {n}, \"account\": \"caf\\u00e9-{n}\", \"amount\": \"{n}\", \"total\": {n}.25 }}")
    });
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    let all = vec![
        column("id", DataType::Int64),
        column("account", DataType::Utf8),
        column("amount", DataType::Int64),
        column("ts", DataType::Int64),
        column("merchant", DataType::Utf8),
        column("note", DataType::Utf8),
    ];
    let two = vec![all[1].clone(), all[2].clone()];
    measure("six columns", all, &plain)?;
    measure("two of six columns", two, &plain)?;
    measure("none of six columns", vec![], &plain)?;
    let hard = vec![
        column("id", DataType::Int64),
        column("account", DataType::Utf8),
        column("amount", DataType::Int64),
        column("total", DataType::Decimal128(12, 2)),
    ];
    measure("escapes, numbers in text, decimals", hard, &spaced)
}
