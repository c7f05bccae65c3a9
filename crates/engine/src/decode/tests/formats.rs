//! CSV, raw, metadata, and how value, key and metadata come together.

use super::*;
use crate::codes;
use crate::decode::{CsvHeader, CsvOptions, Metadata, RawOptions, TRUNCATED_HEADER};
use crate::record::FileFacts;
use arrow_schema::{Fields, TimeUnit};

fn csv_options(fields: &[&str]) -> CsvOptions {
    CsvOptions {
        field_delimiter: b',',
        quote: Some(b'"'),
        escape: None,
        allow_comments: false,
        null_literal: None,
        array_element_delimiter: ";".into(),
        header: CsvHeader::Record,
        fields: fields.iter().map(ToString::to_string).collect(),
    }
}

/// Options, a record, and `[c, a]` or a part of the reason.
type CsvCase = (CsvOptions, &'static str, Result<Option<[&'static str; 2]>, &'static str>);

/// Records of `a, b, c` of which `c` and `a` are used.
fn check_csv(options: CsvOptions, record: &str, expected: Result<Option<[&str; 2]>, &str>) {
    let fields = vec![nullable("c", DataType::Utf8), nullable("a", DataType::Int64)];
    let got = decode(&spec(fields, Format::Csv(options)), &[b"0,-,-", record.as_bytes(), b"9,-,-"]);
    let rows: Vec<_> = (0..got.rows.num_rows()).map(|at| row(&got, at)).collect();
    assert_eq!(rows.first(), Some(&vec!["-".to_owned(), "0".into()]), "before {record}");
    assert_eq!(rows.last(), Some(&vec!["-".to_owned(), "9".into()]), "after {record}");
    match expected {
        Ok(Some(values)) => assert_eq!(rows.get(1), Some(&values.map(String::from).to_vec()), "{record}: {got:?}"),
        Ok(None) => assert_eq!((rows.len(), got.failures.len()), (2, 0), "{record}"),
        Err(part) => {
            assert_eq!(rows.len(), 2, "{record}");
            assert!(got.failures[0].reason.contains(part), "{record}: {}", got.failures[0].reason);
        }
    }
}

#[test]
fn csv_records_are_split_as_rfc_4180_says() {
    let plain = || csv_options(&["a", "b", "c"]);
    let cases: Vec<CsvCase> = vec![
        (plain(), "1,b,x", Ok(Some(["x", "1"]))),
        (plain(), "1,b,x\r\n", Ok(Some(["x", "1"]))),
        (plain(), "1,b,\"x,\"\"y\"\"\nz\"", Ok(Some(["x,\"y\"\nz", "1"]))),
        (plain(), " 1 ,b, x ", Ok(Some([" x ", "1"]))),
        (plain(), "1,b,", Ok(Some(["", "1"]))),
        (plain(), ",b,x", Err("column `a`: expected BIGINT, found \"\"")),
        (plain(), "x,b,x", Err("column `a`: expected BIGINT, found \"x\"")),
        (plain(), "1.0,b,x", Err("expected BIGINT, found \"1.0\"")),
        (plain(), "1,b", Err("expected 3 fields as declared, found 2")),
        (plain(), "1,b,x,y", Err("found 4")),
        (plain(), "1,b,\"x", Err("a quote is opened and not closed")),
        (plain(), "1,b,x\n2,b,x", Err("more than one line")),
        (plain(), "", Ok(None)),
        (plain(), "# note", Err("found 1")),
        (CsvOptions { allow_comments: true, ..plain() }, "# note", Ok(None)),
        (CsvOptions { null_literal: Some("".into()), ..plain() }, ",b,", Ok(Some(["∅", "∅"]))),
        (CsvOptions { null_literal: Some("n/a".into()), ..plain() }, "n/a,b,n/a", Ok(Some(["∅", "∅"]))),
        (CsvOptions { escape: Some(b'\\'), ..plain() }, "1,b,\"x\\\"y\"", Ok(Some(["x\"y", "1"]))),
        (CsvOptions { escape: Some(b'\\'), ..plain() }, "1,b,x\\,y", Ok(Some(["x,y", "1"]))),
        (CsvOptions { escape: Some(b'\\'), ..plain() }, "1,b,\\\"x\\n\\\\", Ok(Some(["\"x\n\\", "1"]))),
        (CsvOptions { escape: Some(b'\\'), ..plain() }, "1,b,x\\", Err("behind an escape character")),
        (CsvOptions { escape: Some(b'"'), ..plain() }, "1,b,\"x\"\"y\"", Ok(Some(["x\"y", "1"]))),
        (plain(), "1,b,\"x\" ", Ok(Some(["x", "1"]))),
        (plain(), "1,\"b\"  ,x", Ok(Some(["x", "1"]))),
        (plain(), "1,b,\"x\"y", Err("text stands behind the closing quote")),
        (plain(), "1,b,\"x\"\n2,b,x", Err("more than one line")),
        (plain(), "1,b,x\"y\"", Ok(Some(["x\"y\"", "1"]))),
        (plain(), "1,b,\"\"", Ok(Some(["", "1"]))),
        (plain(), "1,\"b\"\"\",x", Ok(Some(["x", "1"]))),
        (CsvOptions { null_literal: Some("null".into()), ..plain() }, "1,b,\"null\"", Ok(Some(["∅", "1"]))),
    ];
    for (options, record, expected) in cases {
        check_csv(options, record, expected);
    }
    let fields = vec![nullable("c", DataType::Utf8)];
    let tabs = CsvOptions { field_delimiter: b'\t', quote: None, ..csv_options(&["a", "c"]) };
    let got = decode(&spec(fields.clone(), Format::Csv(tabs)), &[b"1\t\"x"]);
    assert_eq!(row(&got, 0), ["\"x"]);
    let header = CsvOptions { header: CsvHeader::Names, ..csv_options(&["a", "c"]) };
    let got = decode(&spec(fields.clone(), Format::Csv(header)), &[b"a,c", b"1,x"]);
    assert_eq!((got.ordinals.as_slice(), got.failures.len()), ([1].as_slice(), 0));
    let ignored = CsvOptions { header: CsvHeader::Ignored, ..csv_options(&["a", "c"]) };
    let got = decode(&spec(fields, Format::Csv(ignored)), &[b"whatever", b"1,x"]);
    assert_eq!((got.ordinals.as_slice(), got.failures.len()), ([1].as_slice(), 0));
}

#[test]
fn a_header_that_names_other_columns_stops_before_a_value_gets_into_the_wrong_one() {
    let check = |header: &str, expected: Option<&str>| {
        let options = CsvOptions { header: CsvHeader::Names, ..csv_options(&["a", "c d"]) };
        let spec = spec(vec![nullable("c d", DataType::Utf8)], Format::Csv(options));
        let got = decoder(&spec).expect("fine").decode(&[batch(&[Some(header.as_bytes()), Some(b"1,x")])]);
        match (got, expected) {
            (Ok(got), None) => assert_eq!(row(&got, 0), ["x"], "{header}"),
            (Err(error), Some(part)) => {
                assert_eq!(error.code(), codes::OF0613);
                assert!(error.message().contains(part), "{header}: {error:?}");
            }
            (got, expected) => panic!("{header}: {got:?}, not {expected:?}"),
        }
    };
    check("a,c d", None);
    check(" a , \"c d\" \r\n", Some("column 2 of the header is `\"c d\"`, declared is `c d`"));
    check("a , c d\r", None);
    check("\"a\",\"c d\"", None);
    check("c d,a", Some("column 1 of the header is `c d`, declared is `a`; the header is `c d, a`"));
    check("a,c d,e", Some("the header has 3 columns, declared are 2"));
    check("A,c d", Some("column 1 of the header is `A`"));
    check("1,x", Some("column 1 of the header is `1`"));
    check("a,\"c d", Some("a quote is opened and not closed"));
}

#[test]
fn csv_types_are_read_as_flink_reads_them() {
    let fields = vec![
        nullable("t", DataType::Timestamp(TimeUnit::Millisecond, None)),
        nullable("d", DataType::Decimal128(6, 2)),
        nullable("l", DataType::List(Arc::new(nullable("item", DataType::Int32)))),
        nullable(
            "r",
            DataType::Struct(Fields::from(vec![nullable("p", DataType::Int32), nullable("q", DataType::Utf8)])),
        ),
        nullable("b", DataType::Boolean),
    ];
    let options = csv_options(&["t", "d", "l", "r", "b"]);
    let spec = spec(fields, Format::Csv(options));
    let got = decode(
        &spec,
        &[
            b"2020-12-30 12:13:14.5,1.005,1;2,3;x,true",
            b"2020-12-30 12:13:14,1,,3;x,no",
            b"2020-12-30 12:13:14,1,1;x,3;x,no",
            b"2020-12-30 12:13:14,1,1,3,no",
        ],
    );
    assert_eq!(row(&got, 0), ["2020-12-30T12:13:14.500", "1.01", "[1, 2]", "{p: 3, q: x}", "true"]);
    assert_eq!(row(&got, 1), ["2020-12-30T12:13:14", "1.00", "[]", "{p: 3, q: x}", "false"]);
    assert!(got.failures[0].reason.contains("column `l[1]`: expected INT, found \"x\""), "{:?}", got.failures);
    assert!(got.failures[1].reason.contains("column `r`: expected 2 parts"), "{:?}", got.failures);
}

#[test]
fn raw_values_have_the_length_of_their_type() {
    let check = |data_type: DataType, big_endian: bool, bytes: &[u8], expected: Result<&str, &str>| {
        let got = decode(&spec(vec![nullable("x", data_type)], Format::Raw(RawOptions { big_endian })), &[bytes]);
        match expected {
            Ok(text) => assert_eq!(row(&got, 0), [text]),
            Err(part) => assert!(got.failures[0].reason.contains(part), "{:?}", got.failures),
        }
    };
    check(DataType::Int32, true, &[0, 0, 1, 2], Ok("258"));
    check(DataType::Int32, false, &[2, 1, 0, 0], Ok("258"));
    check(DataType::Int64, true, &[255; 8], Ok("-1"));
    check(DataType::Int16, true, &[1, 0], Ok("256"));
    check(DataType::Int8, true, &[128], Ok("-128"));
    check(DataType::Float64, true, &1.5_f64.to_be_bytes(), Ok("1.5"));
    check(DataType::Float32, false, &1.5_f32.to_le_bytes(), Ok("1.5"));
    check(DataType::Boolean, true, &[1], Ok("true"));
    check(DataType::Int32, true, &[1, 2, 3], Err("expected 4 bytes for INT, found 3"));
    check(DataType::Int32, true, &[], Err("found 0"));
    check(DataType::Utf8, true, b"{anything", Ok("{anything"));
    check(DataType::Utf8, true, b"\xff", Err("invalid UTF-8 at byte 0"));
    check(DataType::Binary, true, b"\xff\x00", Ok("ff00"));
}

#[test]
fn formats_refuse_types_that_they_cannot_give() {
    let entries = Fields::from(vec![Field::new("key", DataType::Int32, false), nullable("value", DataType::Int32)]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false);
    let cases = [
        (map.clone(), Format::Json(JsonOptions::default()), "format `json` cannot give MAP<INT, INT> (column `x`)"),
        (map, Format::Csv(csv_options(&["x"])), "format `csv` cannot give MAP<INT, INT>"),
        (DataType::Date32, Format::Raw(RawOptions { big_endian: true }), "format `raw` cannot give DATE"),
        (DataType::Duration(TimeUnit::Second), Format::Json(JsonOptions::default()), "which no format can give"),
    ];
    for (data_type, format, message) in cases {
        let error = decoder(&spec(vec![nullable("x", data_type)], format)).err().expect("it is refused");
        assert_eq!((error.kind(), error.code()), (crate::Kind::Config, codes::OF0651));
        assert!(error.message().contains(message), "{error:?}");
    }
}

fn metadata(columns: &[(&str, DataType, bool, Metadata)]) -> DecodeSpec {
    let fields: Vec<_> =
        columns.iter().map(|(name, data_type, null, _)| Field::new(*name, data_type.clone(), *null)).collect();
    let origins =
        columns.iter().map(|(_, _, _, what)| Column { origin: Origin::Metadata(*what), place: None }).collect();
    let value = Format::Json(JsonOptions::default());
    DecodeSpec { schema: Arc::new(Schema::new(fields)), columns: origins, value, key: None }
}

fn headers_type(value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), nullable("value", value)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

#[test]
fn metadata_comes_in_the_declared_types() {
    let spec = metadata(&[
        ("topic", DataType::Utf8, false, Metadata::Topic),
        ("partition", DataType::Int32, false, Metadata::Partition),
        ("offset", DataType::Int64, false, Metadata::Offset),
        ("epoch", DataType::Int32, true, Metadata::LeaderEpoch),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false, Metadata::Timestamp),
        ("kind", DataType::Utf8, false, Metadata::TimestampType),
        ("headers", headers_type(DataType::Binary), false, Metadata::Headers),
        ("key", DataType::Utf8, true, Metadata::Key),
        ("path", DataType::Utf8, true, Metadata::FilePath),
        ("line", DataType::Int64, true, Metadata::Line),
    ]);
    let mut records = Records::default();
    let headers = [("h".to_owned(), Some(vec![1])), ("n".into(), None), ("h".into(), Some(vec![2]))];
    records.push(Record { key: Some(b"k"), headers: &headers, ..record(0, Some(b"[{},{}]")) });
    records.push(Record { key: Some(b"\xff"), ..record(1, Some(b"{}")) });
    records.push(record(2, None));
    records.push(record(3, Some(b"{}")));
    let got = decode_batch(&spec, wrap(records));
    assert_eq!(got.ordinals, [0, 0, 3]);
    let expected = ["topic", "3", "0", "7", "2020-09-13T12:26:40.123Z", "CreateTime", "{h: 02, n: ∅}", "k", "∅", "1"];
    assert_eq!(row(&got, 0), expected);
    assert_eq!(row(&got, 1), expected);
    assert_eq!(row(&got, 2)[6..], ["{}", "∅", "∅", "4"]);
    assert_eq!(got.failures[0].reason, "column `key`: invalid UTF-8 at byte 0: 0xff");
}

#[test]
fn metadata_that_does_not_fit_is_a_failure_or_a_config_error() {
    let mut batch = batch(&[Some(b"{}")]);
    batch.leader_epoch = None;
    let got = decode_batch(&metadata(&[("e", DataType::Int32, false, Metadata::LeaderEpoch)]), batch);
    assert_eq!(got.failures[0].code, codes::OF0605);
    let error = decoder(&metadata(&[("t", DataType::Int32, false, Metadata::Topic)])).err().expect("it is refused");
    assert_eq!(error.code(), codes::OF0652);
    assert_eq!(error.helps(), ["declare it as STRING"]);
}

#[test]
fn key_and_value_are_decoded_together_or_not_at_all() {
    let fields =
        vec![Field::new("id", DataType::Int64, false), nullable("v", DataType::Utf8), nullable("o", DataType::Int64)];
    let columns = vec![
        Column { origin: Origin::Key("id".into()), place: None },
        Column { origin: Origin::Value("v".into()), place: None },
        Column { origin: Origin::Metadata(Metadata::Offset), place: None },
    ];
    let format = || Format::Json(JsonOptions::default());
    let spec = DecodeSpec { schema: Arc::new(Schema::new(fields)), columns, value: format(), key: Some(format()) };
    let mut records = Records::default();
    records.push(Record { key: Some(b"{\"id\":1}"), ..record(0, Some(b"{\"v\":\"a\"}")) });
    records.push(Record { key: Some(b"{\"id\":\"x\"}"), ..record(1, Some(b"{\"v\":\"b\"}")) });
    records.push(Record { key: None, ..record(2, Some(b"{\"v\":\"c\"}")) });
    records.push(Record { key: Some(b"{\"id\":4}"), ..record(3, Some(b"{\"v\":}")) });
    records.push(Record { key: Some(b"{\"id\":5}"), ..record(4, Some(b"[{\"v\":\"d\"},{\"v\":\"e\"}]")) });
    let got = decode_batch(&spec, wrap(records));
    let rows: Vec<_> = (0..got.rows.num_rows()).map(|at| row(&got, at)).collect();
    assert_eq!(rows, [["1", "a", "0"], ["5", "d", "4"], ["5", "e", "4"]].map(|row| row.map(String::from)));
    let reasons: Vec<_> = got.failures.iter().map(|failure| (failure.ordinal, failure.reason.as_str())).collect();
    assert_eq!(reasons[0], (1, "key: column `id`: expected BIGINT, found \"x\""));
    assert_eq!(reasons[1], (2, "key: column `id`: NULL in a NOT NULL column"));
    assert_eq!(reasons[2].0, 3);
}

#[test]
fn a_line_that_was_too_long_is_a_failure_by_name() {
    let mut records = Records::default();
    let headers = [(TRUNCATED_HEADER.to_owned(), Some(b"1024".to_vec()))];
    records.push(Record { headers: &headers, ..record(0, Some(b"{}")) });
    records.push(record(1, Some(b"{}")));
    let mut batch = wrap(records);
    let facts = FileFacts { path: "a/b".into(), name: "b".into(), size: 1, modified: 0 };
    batch.file = Some(Arc::new(facts));
    let got = decode_batch(&json(vec![]), batch);
    assert_eq!(got.ordinals, [1]);
    assert_eq!(got.failures[0].code, codes::OF0612);
}
