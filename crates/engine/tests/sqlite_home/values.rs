//! Values on their way in and as they stand in the file afterwards.

use super::lab::*;
use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int32Array, StringArray, StructArray, Time32MillisecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    UInt64Array,
};
use arrow_schema::{DataType, Field, TimeUnit};
use onceflow_engine::changes::{TableSpec, WriteMode};
use onceflow_engine::codes;
use onceflow_engine::home::Registration;
use std::sync::Arc;

/// Writes one column into a table that Onceflow creates, and reads it back.
fn stored(data_type: DataType, declared: &str, array: ArrayRef) -> Vec<String> {
    let lab = Lab::empty();
    let columns = [("id", DataType::Int64, "BIGINT"), ("v", data_type, declared)];
    let spec = table("t", &columns, 0, WriteMode::Append);
    create(&lab, &spec);
    let count = i64::try_from(array.len()).unwrap();
    let written = lab.write(&[spec], &work(vec![set(0, batch(vec![int_column(0..count), array]))]));
    assert_eq!(written.refused, []);
    lab.rows("SELECT v FROM t ORDER BY id")
}

fn create(lab: &Lab, spec: &TableSpec) {
    let tables = [spec.clone()];
    let create = Registration { auto_create: true, ..registration(&tables) };
    register(&mut *lab.home(&tables), &create);
}

#[test]
fn every_type_has_a_form_that_gives_its_value_back() {
    let utf8 = |texts: &[Option<&str>]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let micros = TimestampMicrosecondArray::from(vec![1_500_000, -1]);
    let zoned = TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC");
    let cases: [(DataType, &str, ArrayRef, &[&str]); 13] = [
        (
            DataType::Boolean,
            "BOOLEAN",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            &["1", "NULL", "0"],
        ),
        (DataType::Int8, "TINYINT", Arc::new(Int8Array::from(vec![-128, 127])), &["-128", "127"]),
        (DataType::Int32, "INT", Arc::new(Int32Array::from(vec![i32::MIN])), &["-2147483648"]),
        (DataType::Int64, "BIGINT", int_column([i64::MIN, i64::MAX]), &["-9223372036854775808", "9223372036854775807"]),
        (DataType::Float32, "FLOAT", Arc::new(Float32Array::from(vec![0.5, -1.25])), &["0.5", "-1.25"]),
        (
            DataType::Float64,
            "DOUBLE",
            Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NEG_INFINITY, 1e-300, f64::MAX])),
            &["inf", "-inf", "1e-300", "1.7976931348623157e308"],
        ),
        (
            DataType::Utf8,
            "STRING",
            utf8(&[Some("007"), Some(""), None, Some("naïve 日本 🙂")]),
            &["007", "", "NULL", "naïve 日本 🙂"],
        ),
        (
            DataType::Binary,
            "BYTES",
            Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255, 1][..]), Some(b""), None])),
            &["x00ff01", "x", "NULL"],
        ),
        (
            DataType::Date32,
            "DATE",
            Arc::new(Date32Array::from(vec![0, 20_454, -1])),
            &["1970-01-01", "2026-01-01", "1969-12-31"],
        ),
        (
            DataType::Time32(TimeUnit::Millisecond),
            "TIME(3)",
            Arc::new(Time32MillisecondArray::from(vec![0, 86_399_999])),
            &["00:00:00.000", "23:59:59.999"],
        ),
        (
            DataType::Timestamp(TimeUnit::Millisecond, None),
            "TIMESTAMP(3)",
            Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, Some(1_767_225_600_000)])),
            &["1970-01-01 00:00:00.001", "NULL", "2026-01-01 00:00:00.000"],
        ),
        (
            DataType::Timestamp(TimeUnit::Microsecond, None),
            "TIMESTAMP(6)",
            Arc::new(micros),
            &["1970-01-01 00:00:01.500000", "1969-12-31 23:59:59.999999"],
        ),
        (
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "TIMESTAMP_LTZ(6)",
            Arc::new(zoned),
            &["1970-01-01 00:00:00.000000Z"],
        ),
    ];
    for (data_type, declared, array, expected) in cases {
        assert_eq!(stored(data_type, declared, array), expected, "{declared}");
    }
}

#[test]
fn decimals_keep_every_digit() {
    let of = |precision, scale, values: Vec<i128>| {
        let array = Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap();
        let declared = format!("DECIMAL({precision}, {scale})");
        stored(DataType::Decimal128(precision, scale), &declared, Arc::new(array))
    };
    let nines = 10_i128.pow(38) - 1;
    assert_eq!(
        of(38, 10, vec![nines, -nines, 1])[..2].join(" "),
        format!("{0} -{0}", "9".repeat(28) + "." + &"9".repeat(10))
    );
    assert_eq!(of(38, 10, vec![1]), ["0.0000000001"]);
    // Up to 15 digits are numbers that sum() and ORDER BY understand.
    assert_eq!(of(15, 2, vec![999_999_999_999_999, -1, 10]), ["9999999999999.99", "-0.01", "0.1"]);
    assert_eq!(of(12, 2, vec![100, 0]), ["1", "0"]);
    let lab = Lab::empty();
    let spec = table("t", &[("d", DataType::Decimal128(15, 5), "DECIMAL(15, 5)")], 0, WriteMode::Append);
    create(&lab, &spec);
    let values: Vec<i128> = (0..20_000).map(|n: i128| n * n * 1_234_567 % 1_000_000_000_000_000).collect();
    let array = Decimal128Array::from(values.clone()).with_precision_and_scale(15, 5).unwrap();
    lab.write(&[spec], &work(vec![set(0, batch(vec![Arc::new(array)]))]));
    let back = lab.rows("SELECT printf('%.5f', d) FROM t ORDER BY rowid");
    for (value, text) in values.iter().zip(back) {
        assert_eq!(text.replace('.', "").parse::<i128>().unwrap(), *value, "{text}");
    }
}

#[test]
fn lists_maps_and_rows_are_json_that_sqlite_can_read() {
    let mut list = ListBuilder::new(Int64Builder::new());
    list.append_value([Some(1), None]);
    list.append_null();
    let list: ArrayRef = Arc::new(list.finish());
    assert_eq!(stored(list.data_type().clone(), "ARRAY<BIGINT>", list), ["[1, null]", "NULL"]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("a \"quoted\" é");
    map.values().append_value(2);
    map.append(true).unwrap();
    let map: ArrayRef = Arc::new(map.finish());
    assert_eq!(stored(map.data_type().clone(), "MAP<STRING, BIGINT>", map), ["{\"a \\\"quoted\\\" é\": 2}"]);
    let field = Arc::new(Field::new("x", DataType::Float64, true));
    let inner: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::NAN]));
    let row: ArrayRef = Arc::new(StructArray::from(vec![(field, inner)]));
    assert_eq!(stored(row.data_type().clone(), "ROW<x DOUBLE>", row), ["{\"x\": 0.5}", "{\"x\": \"NaN\"}"]);
    let lab = Lab::empty();
    assert_eq!(lab.row("SELECT '{\"x\": \"NaN\"}' ->> 'x'"), "NaN");
}

#[test]
fn what_sqlite_would_change_is_a_dead_letter_and_no_changed_value() {
    let lab = Lab::new("CREATE TABLE t (x REAL, u INTEGER, at TEXT)");
    let far = DataType::Timestamp(TimeUnit::Millisecond, None);
    let columns = [("x", DataType::Float64, "DOUBLE"), ("u", DataType::UInt64, "BIGINT"), ("at", far, "TIMESTAMP(3)")];
    let spec = table("t", &columns, 0, WriteMode::Append);
    let rows = rows_of(
        &spec,
        vec![
            Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(1.0), Some(1.0), None])),
            Arc::new(UInt64Array::from(vec![Some(1), Some(u64::MAX), Some(1), None])),
            Arc::new(TimestampMillisecondArray::from(vec![Some(1), Some(1), Some(i64::MAX), None])),
        ],
    );
    let work = work(vec![set(0, rows)]);
    let written = lab.write(&[spec], &work);
    assert_eq!(offsets(&work, &written), [100, 101, 102]);
    for (refusal, words) in written.refused.iter().zip(["'x': the value is NaN", "18446744073709551615", "calendar"]) {
        assert!(refusal.code == codes::OF0821 && refusal.reason.contains(words), "{refusal:?}");
    }
    assert!(written.refused[0].row.starts_with("{\"x\": \"NaN\""), "{}", written.refused[0].row);
    assert_eq!(lab.rows("SELECT * FROM t"), ["NULL|NULL|NULL"]);
    assert_eq!(lab.row("SELECT count(*), max(code) FROM onceflow_dead_letter"), "3|OF0821");
}

#[test]
fn names_in_quotes_with_other_letters_and_keywords_are_taken_exactly() {
    let name = "Größe \"x\"; DROP TABLE t;-- 表";
    let quoted = name.replace('"', "\"\"");
    let lab = Lab::new(&format!(
        "CREATE TABLE \"{quoted}\" (\"select\" INTEGER PRIMARY KEY, \"Ä b\" TEXT, \"q\"\"q\" INTEGER DEFAULT 5)"
    ));
    for mode in [WriteMode::Append, WriteMode::Upsert, WriteMode::Merge(vec![None, None]), WriteMode::InsertIgnore] {
        lab.sql(&format!("DELETE FROM \"{quoted}\""));
        let columns = [("select", DataType::Int64, "BIGINT"), ("Ä b", DataType::Utf8, "STRING")];
        let spec = table(name, &columns, usize::from(mode.is_keyed()), mode);
        let mut owner = lab.owner(&[spec]);
        let work = owner.rows(batch(vec![int_column([1]), text_column(&["ß"])]));
        assert_eq!(owner.commit(&work).unwrap().refused, []);
        assert_eq!(lab.rows(&format!("SELECT * FROM \"{quoted}\"")), ["1|ß|5"]);
    }
}

#[test]
fn generated_and_default_columns_and_the_row_number_fill_themselves() {
    let lab = Lab::new(
        "CREATE TABLE g (id INTEGER PRIMARY KEY, k INTEGER NOT NULL, twice INTEGER AS (k * 2) STORED,
           thrice INTEGER AS (k * 3) VIRTUAL, made TEXT NOT NULL DEFAULT 'now', note TEXT, CHECK (twice < 100))",
    );
    let spec = ints("g", &["k"], 0, WriteMode::Append);
    let work = work(vec![set(0, batch(vec![int_column([1, 60, 2])]))]);
    let written = lab.write(&[spec], &work);
    assert_eq!(offsets(&work, &written), [101]);
    assert_eq!(lab.rows("SELECT * FROM g"), ["1|1|2|3|now|NULL", "2|2|4|6|now|NULL"]);
}

#[test]
fn strict_tables_and_tables_without_row_numbers_take_every_mode() {
    let strict = "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER, w TEXT, x REAL, y BLOB, z ANY) STRICT";
    let clustered = "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER, w TEXT, x REAL, y BLOB, z) WITHOUT ROWID";
    let columns = [
        ("k", DataType::Int64, "BIGINT"),
        ("v", DataType::Boolean, "BOOLEAN"),
        ("w", DataType::Utf8, "STRING"),
        ("x", DataType::Float64, "DOUBLE"),
        ("y", DataType::Binary, "BYTES"),
        ("z", DataType::Utf8, "STRING"),
    ];
    let rows = batch(vec![
        int_column([2, 1]),
        Arc::new(BooleanArray::from(vec![true, false])),
        text_column(&["a", "b"]),
        Arc::new(Float64Array::from(vec![1.0, 2.5])),
        Arc::new(BinaryArray::from(vec![&b"\x01"[..], b"\x02"])),
        text_column(&["08", "9"]),
    ]);
    let merge = WriteMode::Merge(vec![None; 6]);
    for create in [strict, clustered] {
        for mode in [WriteMode::Append, WriteMode::Upsert, merge.clone(), WriteMode::InsertIgnore] {
            let lab = Lab::new(create);
            let spec = table("t", &columns, usize::from(mode.is_keyed()), mode);
            assert_eq!(lab.write(&[spec], &work(vec![set(0, rows.clone())])).refused, []);
            assert_eq!(lab.rows("SELECT * FROM t ORDER BY k"), ["1|0|b|2.5|x02|9", "2|1|a|1.0|x01|08"]);
        }
    }
}

#[test]
fn triggers_run_with_the_rows_and_their_refusals_are_the_rows() {
    let lab = Lab::new(
        "CREATE TABLE t (k INTEGER, v INTEGER); CREATE TABLE audit (what TEXT);
         CREATE TRIGGER noted AFTER INSERT ON t BEGIN INSERT INTO audit VALUES ('t' || NEW.k); END;
         CREATE TRIGGER never BEFORE INSERT ON t WHEN NEW.v < 0 BEGIN SELECT RAISE(ABORT, 'no debts'); END;
         CREATE TRIGGER quiet BEFORE INSERT ON t WHEN NEW.v = 0 BEGIN SELECT RAISE(IGNORE); END;",
    );
    let mut owner = lab.owner(&[ints("t", &["k", "v"], 0, WriteMode::Append)]);
    let work = owner.rows(pairs(&[1, 2, 3, 4], &[1, -1, 0, 4]));
    let written = owner.commit(&work).unwrap();
    assert_eq!(offsets(&work, &written), [101, 102]);
    let said = &written.refused[0];
    assert_eq!((said.sqlstate.as_str(), said.code), ("SQLITE_CONSTRAINT_TRIGGER", codes::OF0820));
    assert!(said.reason.contains("no debts"), "{said:?}");
    assert_eq!(written.refused[1].code, codes::OF0825);
    assert_eq!(lab.rows("SELECT what FROM audit"), ["t1", "t4"]);
    // One that ends the whole transaction cannot be one row's refusal.
    lab.sql("CREATE TRIGGER ends BEFORE INSERT ON t WHEN NEW.k = 9 BEGIN SELECT RAISE(ROLLBACK, 'all of it'); END");
    let work = owner.rows(pairs(&[8, 9], &[8, 9]));
    let error = owner.commit(&work).expect_err("it was rolled back").to_string();
    assert!(error.contains("rolled back the whole transaction"), "{error}");
    assert_eq!(lab.row("SELECT count(*), (SELECT max(epoch) FROM onceflow_shard) FROM t"), "2|1");
}
