//! JSON: each type with what it takes and what it refuses, then the rules around whole records.

use super::*;
use crate::codes;
use crate::decode::TimestampFormat;
use crate::decode::json::JSON_DEPTH_MAX;
use arrow_schema::{Fields, TimeUnit};

/// One value for one column between two good records, which must come out unharmed.
fn check(data_type: &DataType, options: &JsonOptions, value: &str, expected: Result<&str, &str>) {
    let spec = spec(vec![nullable("x", data_type.clone())], Format::Json(options.clone()));
    let document = format!(r#"{{"a":[1,{{"x":2}}],"x":{value},"z":"é"}}"#);
    let got = decode(&spec, &[br#"{"x":null}"#, document.as_bytes(), b"{}"]);
    let what = format!("{value} as {data_type}");
    match expected {
        Ok(text) => {
            assert_eq!(got.failures, [], "{what}");
            assert_eq!(got.ordinals, [0, 1, 2], "{what}");
            assert_eq!(row(&got, 1), [text], "{what}");
        }
        Err(part) => {
            assert_eq!(got.ordinals, [0, 2], "{what} gave {:?}", got.rows);
            assert_eq!(got.failures.len(), 1, "{what}");
            let reason = &got.failures[0].reason;
            assert_eq!(got.failures[0].ordinal, 1);
            assert!(reason.contains(part), "{what}: `{reason}` does not contain `{part}`");
        }
    }
    assert_eq!(row(&got, 0), ["∅"], "the neighbour before {what}");
    assert_eq!(row(&got, got.ordinals.len() - 1), ["∅"], "the neighbour after {what}");
}

fn check_all(data_type: DataType, cases: &[(&str, Result<&str, &str>)]) {
    for (value, expected) in cases {
        check(&data_type, &JsonOptions::default(), value, *expected);
    }
}

#[test]
fn integers_take_numbers_and_text_and_refuse_what_they_cannot_hold() {
    check_all(
        DataType::Int64,
        &[
            ("1", Ok("1")),
            ("-0", Ok("0")),
            ("0", Ok("0")),
            ("9223372036854775807", Ok("9223372036854775807")),
            ("-9223372036854775808", Ok("-9223372036854775808")),
            ("9223372036854775808", Err("column `x`: 9223372036854775808 is out of range for BIGINT")),
            ("123456789012345678", Ok("123456789012345678")),
            ("1234567890123456789", Ok("1234567890123456789")),
            ("\"12\"", Ok("12")),
            ("\" 12\\t\"", Ok("12")),
            ("\"\\u0031\\u0032\"", Ok("12")),
            ("\"+12\"", Ok("12")),
            ("\"\"", Err("column `x`: expected BIGINT, found \"\"")),
            ("\"1.0\"", Err("expected BIGINT, found \"1.0\"")),
            ("1.0", Ok("1")),
            ("1e3", Ok("1000")),
            ("1.5", Err("expected BIGINT, found 1.5")),
            ("1e400", Err("out of range")),
            ("true", Err("expected BIGINT, found true")),
            ("[1]", Err("expected BIGINT, found [1]")),
            ("{}", Err("expected BIGINT, found {}")),
            ("null", Ok("∅")),
            ("01", Err("invalid JSON at byte 22: expected no digit after a leading zero")),
            ("+1", Err("invalid JSON")),
            ("1.", Err("expected a digit")),
            (".5", Err("invalid JSON")),
            ("-", Err("expected a digit, found `,`")),
            ("1e", Err("expected a digit")),
            ("0x10", Err("invalid JSON")),
            ("NaN", Err("invalid JSON")),
            ("nul", Err("expected a value")),
        ],
    );
    check_all(
        DataType::Int32,
        &[
            ("2147483647", Ok("2147483647")),
            ("2147483648", Err("2147483648 is out of range for INT")),
            ("-2147483648", Ok("-2147483648")),
        ],
    );
    check_all(
        DataType::Int16,
        &[("32767", Ok("32767")), ("32768", Err("out of range for SMALLINT")), ("\"-1\"", Ok("-1"))],
    );
    check_all(
        DataType::Int8,
        &[("-128", Ok("-128")), ("128", Err("out of range for TINYINT")), ("1.25", Err("TINYINT"))],
    );
}

#[test]
fn floats_take_what_is_finite() {
    check_all(
        DataType::Float64,
        &[
            ("1", Ok("1.0")),
            ("-0.0", Ok("-0.0")),
            ("0.1", Ok("0.1")),
            ("1e308", Ok("1e308")),
            ("1e400", Err("1e400 is out of range for DOUBLE")),
            ("1e-400", Ok("0.0")),
            ("\" 2.5 \"", Ok("2.5")),
            ("\"NaN\"", Ok("NaN")),
            ("\"-Infinity\"", Ok("-inf")),
            ("\"inf\"", Err("expected DOUBLE")),
            ("Infinity", Err("invalid JSON")),
            ("\"\"", Err("expected DOUBLE")),
            ("false", Err("expected DOUBLE")),
        ],
    );
    check_all(
        DataType::Float32,
        &[("0.1", Ok("0.1")), ("1e39", Err("out of range for FLOAT")), ("16777217", Ok("16777216.0"))],
    );
}

#[test]
fn decimals_round_half_up_and_fail_where_flink_stores_null() {
    check_all(
        DataType::Decimal128(5, 2),
        &[
            ("1.005", Ok("1.01")),
            ("\"1.005\"", Ok("1.01")),
            ("-1.005", Ok("-1.01")),
            ("999.99", Ok("999.99")),
            ("999.995", Err("999.995 is out of range for DECIMAL(5, 2)")),
            ("1000", Err("out of range")),
            ("1e2", Ok("100.00")),
            ("\"1,5\"", Err("expected DECIMAL(5, 2), found \"1,5\"")),
            ("true", Err("expected DECIMAL(5, 2), found true")),
        ],
    );
}

#[test]
fn booleans_read_text_as_java_does() {
    check_all(
        DataType::Boolean,
        &[
            ("true", Ok("true")),
            ("false", Ok("false")),
            ("\"TRUE \"", Ok("true")),
            ("\"yes\"", Ok("false")),
            ("1", Ok("false")),
            ("{}", Err("expected BOOLEAN, found {}")),
            ("truth", Err("invalid JSON")),
        ],
    );
}

#[test]
fn strings_take_everything_and_keep_numbers_as_written() {
    check_all(
        DataType::Utf8,
        &[
            ("\"a\"", Ok("a")),
            ("\"\"", Ok("")),
            (
                "\"long enough for eight bytes at a time: \\\"quoted\\\"\"",
                Ok("long enough for eight bytes at a time: \"quoted\""),
            ),
            (r#""\b\f\n\r\t\/\\""#, Ok("\u{8}\u{c}\n\r\t/\\")),
            (r#""é日本😀""#, Ok("é日本😀")),
            (r#""\u00e9\ud83d\uDE00""#, Ok("é😀")),
            (r#""\u0000""#, Ok("\0")),
            (r#""\ud83d""#, Err("both halves of a surrogate pair")),
            (r#""\ud83dx""#, Err("both halves of a surrogate pair")),
            (r#""\ud83d\u0041""#, Err("both halves of a surrogate pair")),
            (r#""\ude00""#, Err("both halves of a surrogate pair")),
            (r#""\u12""#, Err("four hexadecimal digits")),
            (r#""\x""#, Err("after a backslash")),
            ("\"a\nb\"", Err("control characters may not stand in a string")),
            ("1.50", Ok("1.50")),
            ("1E5", Ok("1E5")),
            ("true", Ok("true")),
            ("{ \"b\" : [ 1 , \" x \\\" y \" ] }", Ok("{\"b\":[1,\" x \\\" y \"]}")),
            ("[ ]", Ok("[]")),
            ("null", Ok("∅")),
        ],
    );
}

#[test]
fn bytes_are_base64() {
    check_all(
        DataType::Binary,
        &[
            ("\"TWFu\"", Ok("4d616e")),
            ("\"\"", Ok("")),
            ("\"TQ\"", Err("expected BYTES")),
            ("12", Err("expected BYTES, found 12")),
        ],
    );
}

#[test]
fn dates_and_times_are_iso() {
    check_all(
        DataType::Date32,
        &[
            ("\"2020-02-29\"", Ok("2020-02-29")),
            ("\"2021-02-29\"", Err("expected DATE")),
            ("18000", Err("expected DATE, found 18000")),
        ],
    );
    check_all(
        DataType::Time32(TimeUnit::Millisecond),
        &[
            ("\"12:13:14.567\"", Ok("12:13:14.567")),
            ("\"12:13:14\"", Ok("12:13:14")),
            ("\"25:00:00\"", Err("expected TIME(3)")),
        ],
    );
    check_all(DataType::Time64(TimeUnit::Microsecond), &[("\"12:13:14.000567\"", Ok("12:13:14.000567"))]);
}

#[test]
fn timestamps_follow_the_declared_format() {
    let sql = JsonOptions::default();
    let iso = JsonOptions { timestamp_format: TimestampFormat::Iso8601, ..JsonOptions::default() };
    let plain = DataType::Timestamp(TimeUnit::Millisecond, None);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let cases: &[(&DataType, &JsonOptions, &str, Result<&str, &str>)] = &[
        (&plain, &sql, "\"2020-12-30 12:13:14.123456\"", Ok("2020-12-30T12:13:14.123")),
        (&plain, &sql, "\"2020-12-30T12:13:14\"", Err("'json.timestamp-format.standard' = 'ISO-8601'")),
        (&plain, &iso, "\"2020-12-30T12:13:14.5\"", Ok("2020-12-30T12:13:14.500")),
        (&plain, &iso, "\"2020-12-30 12:13:14\"", Err("'json.timestamp-format.standard' = 'SQL'")),
        (&plain, &sql, "\"2020-12-30 12:13:14Z\"", Err("declare the column as TIMESTAMP_LTZ")),
        (&zoned, &sql, "\"2020-12-30 12:13:14.123456Z\"", Ok("2020-12-30T12:13:14.123456Z")),
        (&zoned, &iso, "\"2020-12-30T12:13:14Z\"", Ok("2020-12-30T12:13:14Z")),
        (&zoned, &iso, "\"2020-12-30T14:13:14+02:00\"", Ok("2020-12-30T12:13:14Z")),
        (&zoned, &sql, "\"2020-12-30 12:13:14\"", Err("a trailing Z")),
        (&plain, &sql, "1609330394000", Err("expected TIMESTAMP(3), found 1609330394000")),
        (&nanos, &sql, "\"2300-01-01 00:00:00\"", Err("out of range for TIMESTAMP(9)")),
    ];
    for (data_type, options, value, expected) in cases {
        check(data_type, options, value, *expected);
    }
}

#[test]
fn arrays_maps_and_rows_nest() {
    let list = DataType::List(Arc::new(nullable("item", DataType::Int32)));
    check_all(
        list,
        &[
            ("[]", Ok("[]")),
            ("[ 1 , null,3]", Ok("[1, ∅, 3]")),
            ("[1,\"x\"]", Err("column `x[1]`: expected INT, found \"x\"")),
            ("[1,]", Err("expected a value, found `]`")),
            ("[1 2]", Err("expected `,` or `]`")),
            ("{}", Err("expected ARRAY<INT>, found {}")),
            ("\"[]\"", Err("expected ARRAY<INT>")),
        ],
    );
    let row = DataType::Struct(Fields::from(vec![
        nullable("a", DataType::Int64),
        Field::new("b", DataType::Utf8, false),
        nullable("c", DataType::List(Arc::new(nullable("item", DataType::Boolean)))),
    ]));
    check_all(
        row,
        &[
            (r#"{"c":[true],"b":"q","a":1}"#, Ok("{a: 1, b: q, c: [true]}")),
            (r#"{"b":"q","b":"r"}"#, Ok("{a: ∅, b: r, c: ∅}")),
            (r#"{"a":1}"#, Err("column `x.b`: the field is missing and the column is NOT NULL")),
            (r#"{"b":null}"#, Err("column `x.b`: NULL in a NOT NULL column")),
            (r#"{"b":"q","c":[true,3,{}]}"#, Err("column `x.c[2]`: expected BOOLEAN, found {}")),
            ("[]", Err("expected ROW<a BIGINT, b STRING, c ARRAY<BOOLEAN>>, found []")),
        ],
    );
    check_all(
        map(DataType::Int32),
        &[
            ("{}", Ok("{}")),
            (r#"{"a":1,"b":null}"#, Ok("{a: 1, b: ∅}")),
            (r#"{"a":1,"b":2,"\u0061":3}"#, Ok("{a: 3, b: 2}")),
            (r#"{"a":"x","a":4}"#, Ok("{a: 4}")),
            (r#"{"a":1.5}"#, Err("column `x[\"a\"]`: expected INT, found 1.5")),
            ("[]", Err("expected MAP<STRING, INT>, found []")),
        ],
    );
}

fn map(value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), nullable("value", value)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// A document, and its rows or a part of the reason.
type DocumentCase = (&'static [u8], Result<&'static [[&'static str; 2]], &'static str>);

/// One document into `id BIGINT NOT NULL, name STRING`: rows, or the reason why there is none.
fn check_document(document: &[u8], expected: Result<&[[&str; 2]], &str>) {
    let fields = vec![Field::new("id", DataType::Int64, false), nullable("name", DataType::Utf8)];
    let got = decode(&json(fields), &[document]);
    let what = String::from_utf8_lossy(document).into_owned();
    match expected {
        Ok(rows) => {
            assert_eq!(got.failures, [], "{what}");
            let found: Vec<_> = (0..got.rows.num_rows()).map(|at| row(&got, at)).collect();
            assert_eq!(found, rows, "{what}");
            assert_eq!(got.ordinals, vec![0; rows.len()], "{what}");
        }
        Err(part) => {
            assert_eq!(got.rows.num_rows(), 0, "{what}");
            let reason = &got.failures.first().unwrap_or_else(|| panic!("{what} did not fail")).reason;
            assert!(reason.contains(part), "{what}: `{reason}` does not contain `{part}`");
        }
    }
}

#[test]
fn documents_give_rows_or_one_failure() {
    let cases: &[DocumentCase] = &[
        (br#"{"id":1,"name":"a"}"#, Ok(&[["1", "a"]])),
        (b" \t\r\n{ \"name\" : \"a\" , \"id\" : 1 } \n", Ok(&[["1", "a"]])),
        (b"\xef\xbb\xbf{\"id\":1}", Ok(&[["1", "∅"]])),
        (br#"{"id":1,"ID":2,"nam":3,"names":4,"":5}"#, Ok(&[["1", "∅"]])),
        (br#"{"id":1,"id":2}"#, Ok(&[["2", "∅"]])),
        (br#"{"id":"bad","id":2}"#, Ok(&[["2", "∅"]])),
        (br#"{"id":null,"id":2}"#, Ok(&[["2", "∅"]])),
        (br#"{"id":2,"id":"bad"}"#, Err("column `id`: expected BIGINT, found \"bad\"")),
        (br#"{"id":"bad","name":{},"id":2}"#, Ok(&[["2", "{}"]])),
        (br#"{"\u0069d":1,"na\u006de":"a"}"#, Ok(&[["1", "a"]])),
        (br#"[{"id":1},{"id":2,"name":"b"}]"#, Ok(&[["1", "∅"], ["2", "b"]])),
        (b"[]", Ok(&[])),
        (b"null", Ok(&[])),
        (br#"[{"id":1},{"id":"x"}]"#, Err("expected BIGINT")),
        (br#"[{"id":1},null]"#, Err("expected a JSON object at byte 10, found null")),
        (br#"[{"id":1}]x"#, Err("expected the end after the value")),
        (b"", Err("the value is empty")),
        (b"  ", Err("the value is empty")),
        (b"{}", Err("column `id`: the field is missing and the column is NOT NULL")),
        (br#"{"id":null}"#, Err("column `id`: NULL in a NOT NULL column")),
        (b"1", Err("expected a JSON object at byte 0, found 1")),
        (b"\"text\"", Err("found \"text\"")),
        (br#"{"id":1}{"id":2}"#, Err("invalid JSON at byte 8: expected the end after the value, found `{`")),
        (br#"{"id":1}"#, Ok(&[["1", "∅"]])),
        (br#"{"id":1"#, Err("expected `,` or `}`, found the end")),
        (br#"{"id":1,}"#, Err("expected a field's name in double quotes, found `}`")),
        (br#"{"id" 1}"#, Err("expected `:` after a field's name, found `1`")),
        (br#"{'id':1}"#, Err("expected a field's name in double quotes")),
        (br#"{id:1}"#, Err("expected a field's name")),
        (br#"{"id":1,"other":[1,2}"#, Err("expected `,` or `]`, found `}`")),
        (br#"{"id":1,"other":{"a":01}}"#, Err("leading zero")),
        (br#"{"id":1,"other":"\ud800"}"#, Err("surrogate")),
        (br#"{"id":1,"other":tru}"#, Err("expected a value")),
        (br#"{"id":1,"other":NaN}"#, Err("expected a value, found `N`")),
        (b"{\"id\":1,\"other\":\"\xff\"}", Err("invalid UTF-8 at byte 17: 0xff")),
        (b"{\"id\":1,\"other\":\"\xc3", Err("invalid UTF-8")),
        (b"{\"id\":1}\0", Err("found byte 0x00")),
        (b"\0", Err("invalid JSON")),
    ];
    for (document, expected) in cases {
        check_document(document, *expected);
    }
}

#[test]
fn the_answer_does_not_depend_on_which_fields_are_used() {
    let got = decode(&json(vec![]), &[b"{\"a\":1}", b"{\"a\":}", b"[{},{}]", b"{\"a\":\"x\"}"]);
    assert_eq!(got.ordinals, [0, 2, 2, 3]);
    assert_eq!(got.rows.num_rows(), 4);
    assert_eq!(got.failures.iter().map(|failure| failure.ordinal).collect::<Vec<_>>(), [1]);
}

#[test]
fn missing_fields_fail_where_the_option_says_so() {
    let options = JsonOptions { fail_on_missing_field: true, ..JsonOptions::default() };
    let spec = spec(vec![nullable("x", DataType::Int64)], Format::Json(options));
    let got = decode(&spec, &[b"{}", b"{\"x\":null}"]);
    assert_eq!(got.ordinals, [1]);
    assert_eq!(got.failures[0].code, codes::OF0606);
}

#[test]
fn nesting_is_bounded_and_no_stack_overflows() {
    let nest = |depth: usize| format!("{{\"id\":1,\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    check_document(nest(JSON_DEPTH_MAX - 1).as_bytes(), Ok(&[["1", "∅"]]));
    check_document(nest(JSON_DEPTH_MAX).as_bytes(), Err("nests more than 1000 levels deep"));
    check_document(nest(1_000_000).as_bytes(), Err("nests more than 1000 levels deep"));
    check_document("{\"a\":".repeat(1_000_000).as_bytes(), Err("nests more than"));
    check_document("[".repeat(1_000_000).as_bytes(), Err("nests more than"));
}

#[test]
fn a_long_value_is_shortened_in_the_reason() {
    let document = format!("{{\"id\":\"{}\"}}", "é".repeat(10_000));
    let fields = vec![nullable("id", DataType::Int64)];
    let got = decode(&json(fields), &[document.as_bytes()]);
    assert!(got.failures[0].reason.chars().count() < 120, "{}", got.failures[0].reason);
}

#[test]
fn changing_field_orders_and_sets_are_found_in_every_record() {
    let fields = vec![nullable("a", DataType::Int64), nullable("bb", DataType::Int64), nullable("c", DataType::Utf8)];
    let got = decode(
        &json(fields),
        &[
            br#"{"a":1,"bb":2,"c":"x"}"#,
            br#"{"c":"y","bb":3,"a":4}"#,
            br#"{"q":0,"a":5,"bb":6,"c":"z"}"#,
            br#"{"a":7}"#,
            br#"{"ab":1,"b":2,"c":"w","bb":8}"#,
        ],
    );
    let rows: Vec<_> = (0..5).map(|at| row(&got, at)).collect();
    assert_eq!(
        rows,
        [["1", "2", "x"], ["4", "3", "y"], ["5", "6", "z"], ["7", "∅", "∅"], ["∅", "8", "w"]]
            .map(|row| row.map(String::from))
    );
}
