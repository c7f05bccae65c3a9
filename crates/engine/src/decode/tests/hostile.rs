//! Random and hostile input: no panic, and no neighbour harmed.

use super::*;
use arrow_schema::{Fields, TimeUnit};
use proptest::prelude::*;
use serde_json::Value;

/// A column of every kind.
fn fields() -> Vec<Field> {
    let item = |data_type| Arc::new(nullable("item", data_type));
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), nullable("value", DataType::Float64)]);
    let row = Fields::from(vec![nullable("p", DataType::Int32), nullable("q", DataType::List(item(DataType::Utf8)))]);
    vec![
        Field::new("id", DataType::Int64, false),
        nullable("name", DataType::Utf8),
        nullable("flag", DataType::Boolean),
        nullable("price", DataType::Decimal128(12, 2)),
        nullable("weight", DataType::Float64),
        nullable("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        nullable("tags", DataType::List(item(DataType::Int32))),
        nullable("map", DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)),
        nullable("row", DataType::Struct(row)),
        nullable("raw", DataType::Binary),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    /// A record that fits the columns, with a field that is not used in the middle.
    fn good()(id in any::<i64>(), name in any::<String>(), flag in any::<bool>(), cents in -99_999_999_999_i64..99_999_999_999,
              weight in any::<f64>().prop_filter("finite", |weight| weight.is_finite()), tags in prop::collection::vec(any::<i32>(), 0..4),
              keys in prop::collection::btree_map(any::<String>(), -1e9..1e9_f64, 0..3), other in any_json(), pretty in any::<bool>())
              -> (Vec<u8>, Vec<String>) {
        let sign = if cents < 0 { "-" } else { "" };
        let price = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
        let document = serde_json::json!({
            "id": id, "name": name, "other": other, "flag": flag, "price": price, "weight": weight, "tags": tags, "map": keys,
        });
        let bytes = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) };
        let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
        let row = vec![id.to_string(), name, flag.to_string(), price, format!("[{}]", tags.join(", "))];
        (bytes.expect("a document can be written"), row)
    }
}

/// What a mutation does to a document.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(usize),
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Double(usize, usize),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        match *self {
            Self::Cut(at) => bytes.truncate(at % length),
            Self::Flip(at, to) => {
                if let Some(byte) = bytes.get_mut(at % length) {
                    *byte = to;
                }
            }
            Self::Insert(at, byte) => bytes.insert(at % length, byte),
            Self::Remove(at) if !bytes.is_empty() => drop(bytes.remove(at % length)),
            Self::Remove(_) => {}
            Self::Double(from, to) => {
                let (from, to) = (from % length, to % length);
                let part = bytes.get(from.min(to)..from.max(to)).unwrap_or_default().to_vec();
                bytes.splice(from..from, part);
            }
        }
    }
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let byte = prop_oneof![prop::sample::select(b"{}[]\",:\\u0-9etn.\x00\xff\xc3 ".to_vec()), any::<u8>()];
    prop_oneof![
        any::<usize>().prop_map(Mutation::Cut),
        (any::<usize>(), byte.clone()).prop_map(|(at, to)| Mutation::Flip(at, to)),
        (any::<usize>(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        any::<usize>().prop_map(Mutation::Remove),
        (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Mutation::Double(from, to)),
    ]
}

fn used(row: &[String]) -> Vec<String> {
    [0, 1, 2, 3, 6].map(|at| row[at].clone()).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_records_come_out_as_they_went_in(records in prop::collection::vec(good(), 1..6)) {
        let values: Vec<_> = records.iter().map(|(bytes, _)| bytes.as_slice()).collect();
        let got = decode(&json(fields()), &values);
        prop_assert_eq!(&got.failures, &[]);
        for (at, (_, expected)) in records.iter().enumerate() {
            prop_assert_eq!(&used(&row(&got, at)), expected);
        }
    }

    /// serde_json is the judge of what is a valid document; only lone surrogates, huge numbers and depth may differ.
    #[test]
    fn mutated_records_never_panic_and_never_harm_their_neighbours(
        (mut bytes, _) in good(), (before, first) in good(), (after, last) in good(),
        mutations in prop::collection::vec(any_mutation(), 1..4),
    ) {
        mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
        let got = decode(&json(fields()), &[&before, &bytes, &after]);
        prop_assert_eq!(used(&row(&got, 0)), first);
        prop_assert_eq!(used(&row(&got, got.rows.num_rows() - 1)), last);
        let rows = got.ordinals.iter().filter(|ordinal| **ordinal == 1).count();
        let failed = got.failures.iter().filter(|failure| failure.ordinal == 1).count();
        prop_assert!(failed == 0 || rows == 0, "a record gave both rows and a failure");
        let valid = serde_json::from_slice::<Value>(&bytes);
        if valid.is_err() && !valid.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
            let with_mark = bytes.starts_with(b"\xef\xbb\xbf");
            prop_assert!(failed == 1 || with_mark, "invalid and accepted: {}", String::from_utf8_lossy(&bytes));
        }
        // Without columns only the document itself can be to blame, so a valid one has to be taken.
        if matches!(valid, Ok(Value::Object(_))) {
            let bare = decode(&json(vec![]), &[&bytes]);
            prop_assert_eq!(&bare.failures, &[], "valid and refused: {}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn csv_written_by_a_writer_comes_back_and_mutations_harm_no_neighbour(
        id in any::<i64>(), text in any::<String>(), mutations in prop::collection::vec(any_mutation(), 1..4),
    ) {
        let options = crate::decode::CsvOptions {
            field_delimiter: b',', quote: Some(b'"'), escape: None, allow_comments: false, null_literal: None,
            array_element_delimiter: ";".into(), header: crate::decode::CsvHeader::Record, fields: vec!["id".into(), "text".into()],
        };
        let spec = spec(vec![nullable("id", DataType::Int64), nullable("text", DataType::Utf8)], Format::Csv(options));
        let good = format!("{id},\"{}\"", text.replace('"', "\"\""));
        let mut bytes = good.clone().into_bytes();
        mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
        let got = decode(&spec, &[good.as_bytes(), &bytes, good.as_bytes()]);
        let expected = vec![id.to_string(), text];
        prop_assert_eq!(row(&got, 0), expected.clone());
        prop_assert_eq!(row(&got, got.rows.num_rows() - 1), expected);
        prop_assert!(got.rows.num_rows() + got.failures.len() <= 3);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let good: &[u8] = b"{\"id\":1}";
        let got = decode(&json(fields()), &[good, &bytes, good]);
        prop_assert!(got.ordinals.contains(&0) && got.ordinals.contains(&2));
    }
}
