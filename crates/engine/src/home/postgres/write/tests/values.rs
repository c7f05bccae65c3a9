//! Every type, by every way in.

use super::*;
use arrow_array::builder::{Decimal128Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::*;
use arrow_schema::{Field, TimeUnit};

/// The ways in: COPY, unnest, temporary table, row by row.
const WAYS: &[&str] = &["append", "upsert", "staged", "singly"];

type Declared = (&'static str, DataType, &'static str);

/// Writes rows by each way into a table of its own, and compares what the server then shows.
async fn check(lab: &Lab, columns: &[(Declared, &str, ArrayRef)], expected: &[&str]) {
    let rows = columns[0].2.len();
    for way in WAYS {
        lab.sql("DROP TABLE IF EXISTS v").await;
        let types: Vec<String> = columns.iter().map(|((name, ..), pg, _)| format!("\"{name}\" {pg}")).collect();
        // A check that one more row breaks sends all rows down the way of single ones.
        let create = format!("CREATE TABLE v (k bigint PRIMARY KEY CHECK (k >= 0), {})", types.join(", "));
        lab.sql(&create).await;
        let mut declared: Vec<Declared> = vec![("k", DataType::Int64, "BIGINT")];
        declared.extend(columns.iter().map(|(declared, ..)| declared.clone()));
        let mode = if *way == "append" { WriteMode::Append } else { WriteMode::Upsert };
        let key = usize::from(*way != "append");
        let mut arrays = vec![int_column(0..rows as i64)];
        arrays.extend(columns.iter().map(|(.., array)| array.clone()));
        let spec = table("v", &declared, key, mode);
        let mut writer = lab.writer(std::slice::from_ref(&spec)).await;
        let Some(written) = write_by(lab, &mut writer, way, batch(arrays)).await else { continue };
        assert_eq!(written.refused, [], "{way}");
        assert_eq!(written.rows, [rows as u64], "{way}");
        let names: Vec<String> = columns.iter().map(|((name, ..), ..)| format!("\"{name}\"")).collect();
        let found = lab.rows(&format!("SELECT {} FROM v ORDER BY k", names.join(", "))).await;
        assert_eq!(found, expected, "{way}");
    }
}

async fn write_by(lab: &Lab, writer: &mut Writer, way: &str, rows: RecordBatch) -> Option<Written> {
    let tables::Way::Rows(statements) = &mut writer.tables[0].way else { panic!("rows") };
    match way {
        // Without its other statements, the writer has to take the temporary table.
        "staged" => statements.insert_unnest = None,
        "upsert" if statements.insert_unnest.is_none() => return None,
        _ => {}
    }
    let work = work(vec![set(0, rows)]);
    if way != "singly" {
        return Some(lab.write(writer, &work).await);
    }
    lab.sql("BEGIN").await;
    let load = Load::new(&work, &writer.specs, &writer.tables).unwrap();
    let mut search = Search::new(&lab.client, &writer.specs, &mut writer.tables, writer.deferred, &load);
    let units = search.units();
    let written = refuse::Attempt::singly(&mut search, &units, true).await.unwrap();
    lab.sql("COMMIT").await;
    Some(written)
}

fn column<A: Array + 'static>(name: &'static str, declared: &'static str, pg: &'static str, array: A) -> (Declared, &'static str, ArrayRef) {
    let array: ArrayRef = Arc::new(array);
    ((name, array.data_type().clone(), declared), pg, array)
}

#[test]
fn numbers_go_in_exactly() {
    lab("numbers", async |lab| {
        let decimals = |values: [Option<i128>; 3], precision, scale| {
            Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, scale).unwrap()
        };
        let big = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
        let columns = [
            column("b", "BOOLEAN", "boolean", BooleanArray::from(vec![Some(true), None, Some(false)])),
            column("i8", "TINYINT", "smallint", Int8Array::from(vec![Some(-128), None, Some(127)])),
            column("i16", "SMALLINT", "integer", Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)])),
            column("i32", "INT", "bigint", Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
            column("i64", "BIGINT", "bigint", Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            column("narrow", "BIGINT", "smallint", Int64Array::from(vec![Some(-32768), None, Some(32767)])),
            column("num", "BIGINT", "numeric", Int64Array::from(vec![Some(i64::MIN), None, Some(120_000)])),
            column("f4", "FLOAT", "real", Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)])),
            column("f48", "FLOAT", "double precision", Float32Array::from(vec![Some(0.1), None, Some(f32::INFINITY)])),
            column("f8", "DOUBLE", "double precision", Float64Array::from(vec![Some(f64::NEG_INFINITY), None, Some(1e300)])),
            column("i2f", "SMALLINT", "real", Int16Array::from(vec![Some(-7), None, Some(32767)])),
            column("i4f", "INT", "float8", Int32Array::from(vec![Some(i32::MIN), None, Some(1)])),
            column("d", "DECIMAL(12, 2)", "numeric(12, 2)", decimals([Some(-123_456_789_012), None, Some(5)], 12, 2)),
            column("dbig", "DECIMAL(38, 0)", "numeric", decimals([Some(big), None, Some(-big)], 38, 0)),
            column("dsmall", "DECIMAL(38, 38)", "numeric", decimals([Some(big), None, Some(1)], 38, 38)),
            column("dcut", "DECIMAL(38, 6)", "numeric(20, 1)", decimals([Some(1_500_000), None, Some(0)], 38, 6)),
            column("dint", "DECIMAL(10, 2)", "integer", decimals([Some(-12_300), None, Some(0)], 10, 2)),
        ];
        check(&lab, &columns, &[
            "(t,-128,-32768,-2147483648,-9223372036854775808,-32768,-9223372036854775808,1.5,0.10000000149011612,-Infinity,-7,-2147483648,\
             -1234567890.12,99999999999999999999999999999999999999,0.99999999999999999999999999999999999999,1.5,-123)",
            "(,,,,,,,,,,,,,,,,)",
            "(f,127,32767,2147483647,9223372036854775807,32767,120000,NaN,Infinity,1e+300,32767,1,0.05,\
             -99999999999999999999999999999999999999,0.00000000000000000000000000000000000001,0.0,0)",
        ])
        .await;
    });
}

#[test]
fn texts_bytes_and_json_go_in_exactly() {
    lab("texts", async |lab| {
        lab.sql("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; CREATE TYPE mood AS ENUM ('sad', 'happy ☃')").await;
        lab.sql("CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> 'no'); CREATE DOMAIN shorter AS short").await;
        let text = |values: [Option<&str>; 2]| StringArray::from(values.to_vec());
        let uuid = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
        let columns = [
            column("t", "STRING", "text", text([Some("a\"b\\c,\n☃"), None])),
            column("empty", "STRING", "text", text([Some(""), Some("NULL")])),
            column("v", "STRING", "varchar(3)", text([Some("äöü"), None])),
            column("c", "STRING", "char(4)", text([Some("ab"), None])),
            column("ci", "STRING", "public.citext", text([Some("MiXed"), None])),
            column("n", "STRING", "name", text([Some("nm"), None])),
            column("e", "STRING", "mood", text([Some("happy ☃"), None])),
            column("d", "STRING", "shorter", text([Some("yes"), None])),
            column("j", "STRING", "json", text([Some("{\"a\":  1}"), None])),
            column("jb", "STRING", "jsonb", text([Some("{\"b\": 1, \"a\":  [null]}"), None])),
            column("u", "STRING", "uuid", text([Some(uuid), None])),
            column("by", "BYTES", "bytea", BinaryArray::from(vec![Some(b"\x00\xff".as_slice()), None])),
        ];
        check(&lab, &columns, &[
            "(\"a\"\"b\\\\c,\n☃\",\"\",äöü,\"ab  \",MiXed,nm,\"happy ☃\",yes,\"{\"\"a\"\":  1}\",\"{\"\"a\"\": [null], \"\"b\"\": 1}\",\
             a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,\"\\\\x00ff\")",
            "(,NULL,,,,,,,,,,)",
        ])
        .await;
    });
}

#[test]
fn what_flink_has_no_type_for_is_cast_from_text() {
    lab("casts", async |lab| {
        let text = |value: &str| StringArray::from(vec![Some(value), None]);
        let columns = [
            column("i", "STRING", "inet", text("10.0.0.1/8")),
            column("m", "STRING", "macaddr", text("08:00:2b:01:02:03")),
            column("iv", "STRING", "interval", text("1 day 2 hours")),
            column("r", "STRING", "int4range", text("[1,3]")),
            column("x", "STRING", "xml", text("<a/>")),
            column("b", "STRING", "bit(3)", text("101")),
            column("p", "STRING", "point", text("(1,2)")),
            column("o", "STRING", "\"char\"", text("z")),
        ];
        let expected = ["(10.0.0.1/8,08:00:2b:01:02:03,\"1 day 02:00:00\",\"[1,4)\",<a/>,101,\"(1,2)\",z)", "(,,,,,,,)"];
        check(&lab, &columns, &expected).await;
    });
}

#[test]
fn dates_and_times_go_in_exactly() {
    lab("times", async |lab| {
        lab.sql("SET timezone = 'America/New_York'").await;
        let columns = [
            column("d", "DATE", "date", Date32Array::from(vec![Some(0), None, Some(-719_529)])),
            column("t3", "TIME(3)", "time(3)", Time32MillisecondArray::from(vec![Some(1), None, Some(86_399_999)])),
            column("t6", "TIME(6)", "time", Time64MicrosecondArray::from(vec![Some(1), None, Some(86_400_000_000)])),
            column("ts3", "TIMESTAMP(3)", "timestamp(3)", TimestampMillisecondArray::from(vec![Some(1), None, Some(-1)])),
            column("ts6", "TIMESTAMP(6)", "timestamp", TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1)])),
            column("ts9", "TIMESTAMP(9)", "timestamp", TimestampNanosecondArray::from(vec![Some(1_000), None, Some(-1_000)])),
            column("tss", "TIMESTAMP(0)", "timestamp", TimestampSecondArray::from(vec![Some(1), None, Some(-1)])),
            column(
                "tz",
                "TIMESTAMP_LTZ(3)",
                "timestamptz",
                TimestampMillisecondArray::from(vec![Some(0), None, Some(1_750_000_000_123)]).with_timezone("UTC"),
            ),
            column("cut", "TIMESTAMP(6)", "timestamp(0)", TimestampMicrosecondArray::from(vec![Some(5_000_000), None, Some(0)])),
        ];
        check(&lab, &columns, &[
            "(1970-01-01,00:00:00.001,00:00:00.000001,\"1970-01-01 00:00:00.001\",\"1970-01-01 00:00:00.000001\",\
             \"1970-01-01 00:00:00.000001\",\"1970-01-01 00:00:01\",\"1969-12-31 19:00:00-05\",\"1970-01-01 00:00:05\")",
            "(,,,,,,,,)",
            "(\"0002-12-31 BC\",23:59:59.999,24:00:00,\"1969-12-31 23:59:59.999\",\"1969-12-31 23:59:59.999999\",\
             \"1969-12-31 23:59:59.999999\",\"1969-12-31 23:59:59\",\"2025-06-15 11:06:40.123-04\",\"1970-01-01 00:00:00\")",
        ])
        .await;
    });
}

#[test]
fn arrays_and_nested_values_go_in_exactly() {
    lab("nested", async |lab| {
        lab.sql("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0)").await;
        let columns = [
            column("i", "ARRAY<BIGINT>", "bigint[]", int_lists()),
            column("narrow", "ARRAY<BIGINT>", "int[]", int_lists()),
            column("dom", "ARRAY<BIGINT>", "positive[]", int_lists()),
            column("j", "ARRAY<BIGINT>", "jsonb", int_lists()),
            column("t", "ARRAY<STRING>", "text[]", text_lists("ok")),
            column("v", "ARRAY<STRING>", "varchar(2)[]", text_lists("ok")),
            column("e", "ARRAY<STRING>", "mood[]", text_lists("ok")),
            column("ip", "ARRAY<STRING>", "inet[]", text_lists("::1")),
            column("num", "ARRAY<DECIMAL(9, 2)>", "numeric(9, 2)[]", decimal_lists()),
            column("m", "MAP<STRING, BIGINT>", "jsonb", maps()),
            column("s", "ROW<a BIGINT, b STRING>", "json", structs()),
        ];
        check(&lab, &columns, &[
            "(\"{1,NULL,3}\",\"{1,NULL,3}\",\"{1,NULL,3}\",\"[1, null, 3]\",\"{ok,NULL}\",\"{ok,NULL}\",\"{ok,NULL}\",\"{::1,NULL}\",\
             \"{1.25,NULL}\",\"{\"\"k\"\": 1}\",\"{\"\"a\"\": 1, \"\"b\"\": \"\"x\"\"}\")",
            "(,,,,,,,,,,)",
            "({},{},{},[],{},{},{},{},{},{},\"{\"\"a\"\": null, \"\"b\"\": null}\")",
        ])
        .await;
    });
}

fn int_lists() -> ListArray {
    let mut builder = ListBuilder::new(arrow_array::builder::Int64Builder::new());
    builder.append_value([Some(1), None, Some(3)]);
    builder.append_null();
    builder.append_value([]);
    builder.finish()
}

fn text_lists(text: &str) -> ListArray {
    let mut builder = ListBuilder::new(StringBuilder::new());
    builder.append_value([Some(text), None]);
    builder.append_null();
    builder.append_value([] as [Option<&str>; 0]);
    builder.finish()
}

fn decimal_lists() -> ListArray {
    let values = Decimal128Builder::new().with_precision_and_scale(9, 2).unwrap();
    let field = Field::new("item", DataType::Decimal128(9, 2), true);
    let mut builder = ListBuilder::new(values).with_field(field);
    builder.append_value([Some(125), None]);
    builder.append_null();
    builder.append_value([]);
    builder.finish()
}

fn maps() -> MapArray {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), arrow_array::builder::Int64Builder::new());
    builder.keys().append_value("k");
    builder.values().append_value(1);
    builder.append(true).unwrap();
    builder.append(false).unwrap();
    builder.append(true).unwrap();
    builder.finish()
}

fn structs() -> StructArray {
    let fields = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
    let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
    let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, None]));
    let nulls = arrow_buffer::NullBuffer::from(vec![true, false, true]);
    StructArray::new(fields.into(), vec![a, b], Some(nulls))
}

#[test]
fn a_value_that_does_not_fit_is_refused_alone() {
    lab("unfit", async |lab| {
        lab.sql("CREATE TABLE u (a smallint, t varchar(3), n numeric(5, 1), d date, ts timestamp(3), u uuid, l int[])").await;
        let decimal = DataType::Decimal128(20, 3);
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        let spec = table(
            "u",
            &[
                ("a", DataType::Int64, "BIGINT"),
                ("t", DataType::Utf8, "STRING"),
                ("n", decimal, "DECIMAL(20, 3)"),
                ("d", DataType::Date32, "DATE"),
                ("ts", micros, "TIMESTAMP(6)"),
                ("u", DataType::Utf8, "STRING"),
                ("l", list, "ARRAY<BIGINT>"),
            ],
            0,
            WriteMode::Append,
        );
        let rows = 9;
        let mut lists = ListBuilder::new(arrow_array::builder::Int64Builder::new());
        (0..rows).for_each(|row| lists.append_value([Some(if row == 7 { 1 << 33 } else { 1 })]));
        let at = |bad: usize, value: i64, fine: i64| (0..rows).map(move |row| if row == bad { value } else { fine });
        let texts: Vec<&str> = (0..rows).map(|row| ["ok", "four", "a\0b"][if row == 2 { 1 } else if row == 3 { 2 } else { 0 }]).collect();
        let uuids: Vec<&str> = (0..rows).map(|row| if row == 6 { "x" } else { "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" }).collect();
        let decimals = Decimal128Array::from_iter_values(at(4, 1_234, 1_200).map(i128::from));
        let columns: Vec<ArrayRef> = vec![
            int_column(at(1, 40_000, 1)),
            text_column(&texts),
            Arc::new(decimals.with_precision_and_scale(20, 3).unwrap()),
            Arc::new(Date32Array::from_iter_values(at(5, i32::MAX.into(), 0).map(|day| i32::try_from(day).unwrap()))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(at(8, 1, 0))),
            text_column(&uuids),
            Arc::new(lists.finish()),
        ];
        let work = work(vec![set(0, batch(columns))]);
        let written = lab.write_once(&[spec], &work).await;
        let whys: Vec<String> = refused(&work, &written).into_iter().map(|(offset, _, why)| format!("{offset} {why}")).collect();
        assert_eq!(whys, [
            "101 column 'a': 40000 is out of range for smallint",
            "102 column 't': a text of 4 characters is too long for the 3 that the column keeps",
            "103 column 't': the text holds a NUL character, which PostgreSQL cannot store",
            "104 column 'n': 1.234 has more than the 1 digits after the point that the column keeps",
            "105 column 'd': the date 2147483647 days after 1970-01-01 is beyond PostgreSQL's calendar",
            "106 column 'u': 'x' is no UUID",
            "107 column 'l': element 1: 8589934592 is out of range for integer",
            "108 column 'ts': the value has digits of a second beyond the 3 that the column keeps (1 / 1000000 s)",
        ]);
        assert_eq!(written.rows, [1]);
        assert_eq!(lab.rows("SELECT count(*) FROM u").await, ["(1)"]);
    });
}

#[test]
fn a_value_that_only_the_server_can_judge_is_refused_alone() {
    lab("judged", async |lab| {
        lab.sql("CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN even AS bigint CHECK (VALUE % 2 = 0)").await;
        lab.sql("CREATE TABLE j (m mood, b jsonb, e even, n numeric(3, 1), i inet, a text NOT NULL)").await;
        let text = |name| (name, DataType::Utf8, "STRING");
        let spec = table(
            "j",
            &[text("m"), text("b"), ("e", DataType::Int64, "BIGINT"), ("n", DataType::Int64, "BIGINT"), text("i"), text("a")],
            0,
            WriteMode::Append,
        );
        let pick = |bad: usize, value: &'static str, fine: &'static str| -> ArrayRef {
            text_column(&(0..7).map(|row| if row == bad { value } else { fine }).collect::<Vec<_>>())
        };
        let not_null: ArrayRef = Arc::new(StringArray::from((0..7).map(|row| (row != 6).then_some("x")).collect::<Vec<_>>()));
        let columns = vec![
            pick(1, "glad", "sad"),
            pick(2, "{", "{}"),
            int_column((0..7).map(|row| if row == 3 { 3 } else { 2 })),
            int_column((0..7).map(|row| if row == 4 { 100 } else { 99 })),
            pick(5, "nowhere", "::1"),
            not_null,
        ];
        let work = work(vec![set(0, batch(columns))]);
        let written = lab.write_once(&[spec], &work).await;
        let codes: Vec<(u64, String)> = refused(&work, &written).into_iter().map(|(offset, state, _)| (offset, state)).collect();
        let expected =
            [(101, "22P02"), (102, "22P02"), (103, "23514"), (104, "22003"), (105, "22P02"), (106, "23502")];
        assert_eq!(codes, expected.map(|(offset, state)| (offset, state.to_owned())));
        assert_eq!(lab.rows("SELECT * FROM j").await, ["(sad,{},2,99.0,::1,x)"]);
        assert!(written.refused[2].row.contains("\"e\": 3"), "{}", written.refused[2].row);
    });
}
