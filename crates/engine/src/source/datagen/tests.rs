//! Rows are the same however they are asked for, fit their types, and end where they should.

use super::*;
use crate::Kind as ErrorKind;
use crate::decode::{Column, DecodeSpec, Format, JsonOptions, Origin, decoder};
use arrow_schema::{DataType, Field as ArrowField, Fields, Schema, TimeUnit};
use onceflow_core::{ShardId, Tail};

fn field(name: &str, data_type: DataType) -> Field {
    Field { name: name.into(), data_type, kind: Kind::Random(RandomOptions::default()) }
}

fn every_type() -> Vec<Field> {
    let item = |data_type| Arc::new(ArrowField::new("item", data_type, true));
    let entries = Fields::from(vec![
        ArrowField::new("key", DataType::Utf8, false),
        ArrowField::new("value", DataType::Int32, true),
    ]);
    let row = Fields::from(vec![ArrowField::new("a \"quoted\"", DataType::Boolean, true)]);
    let types = [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(38, 10),
        DataType::Decimal128(5, 0),
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::List(item(DataType::Int16)),
        DataType::Map(Arc::new(ArrowField::new("entries", DataType::Struct(entries), false)), false),
        DataType::Struct(row),
    ];
    types.into_iter().enumerate().map(|(at, data_type)| field(&format!("f{at}"), data_type)).collect()
}

fn spec(fields: Vec<Field>, rows: Option<u64>) -> DatagenSpec {
    DatagenSpec { name: "gen".into(), rows_per_second: u64::MAX, number_of_rows: rows, seed: 7, fields }
}

fn row_at(source: &mut dyn Source, next: u64, tail: Option<Tail>) -> PositionRow {
    let found = source.discover().expect("it is there").remove(0);
    PositionRow {
        shard: ShardId::new("s"),
        partition: found.partition,
        identity: found.identity,
        next: Position::new(next),
        leader_epoch: None,
        tail,
        watermark: None,
    }
}

/// Reads to the end from a row, so many records a call.
fn read(spec: &DatagenSpec, from: u64, step: usize) -> Vec<Batch> {
    let mut source = DatagenFactory::new(spec.clone()).expect("the specification is fine").open().expect("it opens");
    let row = row_at(source.as_mut(), from, None);
    source.seek(&[row], &BTreeMap::new()).expect("it seeks");
    let limits = FetchLimits { records_max: step, bytes_max: 1 << 20, wait_max: Duration::from_secs(5) };
    let mut batches = Vec::new();
    loop {
        let fetch = source.next(&limits).expect("it goes on");
        batches.extend(fetch.batches);
        if fetch.finished {
            return batches;
        }
    }
}

fn values(batches: &[Batch]) -> Vec<(u64, Vec<u8>)> {
    let records = batches.iter().flat_map(|batch| batch.records.iter());
    records.map(|record| (record.offset.get(), record.value.expect("a row").to_vec())).collect()
}

#[test]
fn a_row_is_the_same_however_it_is_reached() {
    let spec = spec(every_type(), Some(100));
    let all = values(&read(&spec, 0, 1000));
    assert_eq!(all.len(), 100);
    assert_eq!(values(&read(&spec, 0, 7)), all);
    assert_eq!(values(&read(&spec, 42, 3)), all[42..]);
    let slow = DatagenSpec { rows_per_second: 2000, ..spec.clone() };
    assert_eq!(values(&read(&slow, 0, 1000)), all);
    let other = DatagenSpec { seed: 8, ..spec };
    assert_ne!(values(&read(&other, 0, 1000)), all);
}

#[test]
fn every_row_can_be_decoded_into_the_types_it_was_made_for() {
    let fields = every_type();
    let arrow: Vec<_> =
        fields.iter().map(|field| ArrowField::new(&field.name, field.data_type.clone(), false)).collect();
    let columns =
        arrow.iter().map(|field| Column { origin: Origin::Value(field.name().clone()), place: None }).collect();
    let value = Format::Json(JsonOptions::default());
    let decode = DecodeSpec { schema: Arc::new(Schema::new(arrow)), columns, value, key: None };
    let batches = read(&spec(fields, Some(2000)), 0, 500);
    let decoded = decoder(&decode).expect("all types are known").decode(&batches).expect("nothing else is wrong");
    assert_eq!(decoded.failures, []);
    assert_eq!(decoded.rows.num_rows(), 2000);
}

#[test]
fn sequences_count_and_end_the_source() {
    let sequence = |start, end| Kind::Sequence { start, end };
    let fields = vec![
        Field { kind: sequence(5, 7), ..field("n", DataType::Int64) },
        Field { kind: sequence(-1, 100), ..field("t", DataType::Utf8) },
    ];
    let rows: Vec<_> =
        values(&read(&spec(fields, Some(50)), 0, 2)).into_iter().map(|(_, value)| String::from_utf8(value)).collect();
    let expected = [r#"{"n":5,"t":"-1"}"#, r#"{"n":6,"t":"0"}"#, r#"{"n":7,"t":"1"}"#].map(|text| Ok(text.to_owned()));
    assert_eq!(rows, expected);
}

#[test]
fn limits_and_null_rates_hold() {
    let options =
        RandomOptions { min: Some("3".into()), max: Some("5".into()), null_rate: 0.5, ..RandomOptions::default() };
    let fields = vec![Field { kind: Kind::Random(options), ..field("n", DataType::Int32) }];
    let rows = values(&read(&spec(fields, Some(1000)), 0, 1000));
    let count = |text: &str| rows.iter().filter(|(_, value)| value == text.as_bytes()).count();
    let nulls = count(r#"{"n":null}"#);
    assert!((400..600).contains(&nulls), "{nulls}");
    assert_eq!(nulls + count(r#"{"n":3}"#) + count(r#"{"n":4}"#) + count(r#"{"n":5}"#), 1000);
}

#[test]
fn options_that_make_no_values_are_refused_by_name() {
    let check = |kind: Kind, data_type: DataType, message: &str| {
        let fields = vec![Field { kind, ..field("n", data_type) }];
        let error = DatagenFactory::new(spec(fields, None)).expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(message), "{error:?}");
    };
    let random = |min: &str, max: &str| {
        Kind::Random(RandomOptions { min: Some(min.into()), max: Some(max.into()), ..RandomOptions::default() })
    };
    check(random("300", "400"), DataType::Int8, "'fields.n.min' = '300' is not a number from -128 to 127");
    check(random("x", "1"), DataType::Int32, "'fields.n.min' = 'x' is not a number");
    check(random("5", "1"), DataType::Int32, "'fields.n.min' = '5' is not below 'max' = '1'");
    check(Kind::Sequence { start: 2, end: 1 }, DataType::Int32, "'fields.n.end' = '1' is not at least 'start'");
    check(Kind::Sequence { start: 1, end: 2 }, DataType::Boolean, "cannot make a sequence of BOOLEAN");
    let rate = RandomOptions { null_rate: 1.5, ..RandomOptions::default() };
    check(Kind::Random(rate), DataType::Int32, "'fields.n.null-rate' = '1.5' is not a number from 0 to 1");
}

#[test]
fn another_seed_or_field_is_another_log() {
    let spec_7 = spec(every_type(), Some(10));
    let tail = read(&spec_7, 0, 10).last().and_then(Batch::tail);
    let mut source = DatagenFactory::new(spec_7.clone()).expect("fine").open().expect("it opens");
    let row = row_at(source.as_mut(), 10, tail);
    assert_eq!(source.verify(std::slice::from_ref(&row)).expect("checked"), []);
    let spec_8 = DatagenSpec { seed: 8, ..spec_7 };
    let mut other = DatagenFactory::new(spec_8).expect("fine").open().expect("it opens");
    let mismatches = other.verify(&[row]).expect("checked");
    assert!(matches!(mismatches[0].what, Difference::Identity { .. }));
}

#[test]
fn the_rate_bounds_how_fast_rows_come() {
    let slow = DatagenSpec { rows_per_second: 100, ..spec(vec![field("n", DataType::Int8)], Some(20)) };
    let began = Instant::now();
    assert_eq!(values(&read(&slow, 0, 1000)).len(), 20);
    assert!(began.elapsed() >= Duration::from_millis(195), "{:?}", began.elapsed());
}
