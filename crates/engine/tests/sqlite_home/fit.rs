//! Declarations compared with the real tables: every difference has a message of its own and says what mends it.

use super::lab::*;
use arrow_schema::{DataType, TimeUnit};
use onceflow_engine::changes::{MergeOp, TableSpec, WriteMode};
use onceflow_engine::codes::{self, Code};
use onceflow_engine::home::Registration;
use onceflow_engine::{Kind, Place};

/// The one finding of a table that does not fit, with everything it says.
fn finding(sql: &str, spec: TableSpec) -> (Code, Place, String) {
    let lab = Lab::new(sql);
    let before = lab.rows("SELECT sql FROM sqlite_schema");
    let error = lab.refused(&[spec]);
    assert_eq!(error.kind(), Kind::Config, "{}", told(&error));
    assert_eq!(lab.rows("SELECT sql FROM sqlite_schema"), before, "something was created");
    (error.code(), error.place().expect("a place").clone(), told(&error))
}

/// Runs the help that is a statement, after which the declaration fits.
fn mends(sql: &str, spec: &TableSpec) {
    let lab = Lab::new(sql);
    let error = lab.refused(std::slice::from_ref(spec));
    let mend = error.helps().iter().find(|help| help.ends_with(';') && !help.starts_with("or ")).expect("a statement");
    lab.sql(mend);
    register(&mut *lab.home(std::slice::from_ref(spec)), &registration(std::slice::from_ref(spec)));
}

#[test]
fn a_missing_table_is_shown_as_the_statement_that_creates_it() {
    let columns = [
        ("id", DataType::Int64, "BIGINT"),
        ("name", DataType::Utf8, "STRING"),
        ("total", DataType::Decimal128(12, 2), "DECIMAL(12, 2)"),
        ("exact", DataType::Decimal128(30, 2), "DECIMAL(30, 2)"),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, None), "TIMESTAMP(3)"),
    ];
    for key in 0..3 {
        let mode = if key == 0 { WriteMode::Append } else { WriteMode::Upsert };
        let spec = table("or ders", &columns, key, mode);
        let (code, place_of, text) = finding("CREATE TABLE other (x)", spec.clone());
        assert_eq!((code, place_of), (codes::OF0811, place(1)));
        assert!(text.contains("'or ders' is not in the database") && text.contains("auto-create"), "{text}");
        mends("CREATE TABLE other (x)", &spec);
    }
}

#[test]
fn a_missing_table_is_created_only_where_the_text_says_so() {
    let lab = Lab::empty();
    let spec = ints("t", &["k", "v"], 1, WriteMode::Upsert);
    let error = lab.refused(std::slice::from_ref(&spec));
    assert_eq!(error.code(), codes::OF0811);
    assert_eq!(lab.files(), Vec::<String>::new(), "not even the file is made");
    let tables = [spec];
    let create = Registration { auto_create: true, adopt: false, ..registration(&tables) };
    register(&mut *lab.home(&tables), &create);
    register(&mut *lab.home(&tables), &create);
    lab.write(&tables, &work(vec![set(0, pairs(&[1, 1], &[1, 2]))]));
    assert_eq!(lab.rows("SELECT * FROM t"), ["1|2"]);
}

#[test]
fn a_missing_column_names_those_that_are_there() {
    let spec = ints("t", &["k", "v"], 0, WriteMode::Append);
    let (code, at, text) = finding("CREATE TABLE t (k INTEGER, w INTEGER)", spec.clone());
    assert_eq!((code, at), (codes::OF0813, place(2)));
    assert!(text.contains("no column 'v'") && text.contains("it has: k, w"), "{text}");
    mends("CREATE TABLE t (k INTEGER, w INTEGER)", &spec);
}

#[test]
fn a_type_that_would_change_values_says_which_would_not() {
    for (declared, data_type, real, words) in [
        ("STRING", DataType::Utf8, "INTEGER", "'007' would be stored as 7"),
        ("STRING", DataType::Utf8, "STRING", "SQLite guesses"),
        ("BIGINT", DataType::Int64, "TEXT", "store the number as text"),
        ("BIGINT", DataType::Int64, "REAL", "loses digits"),
        ("DOUBLE", DataType::Float64, "INTEGER", "whole numbers"),
        ("DECIMAL(20, 2)", DataType::Decimal128(20, 2), "DECIMAL(20, 2)", "more than 15 digits"),
        ("BYTES", DataType::Binary, "TEXT", "not declared for bytes"),
        ("DATE", DataType::Date32, "INTEGER", "the value is text"),
    ] {
        let spec = table("t", &[("v", data_type, declared)], 0, WriteMode::Append);
        let (code, at, text) = finding(&format!("CREATE TABLE t (v {real})"), spec);
        assert_eq!((code, at), (codes::OF0814, place(2)));
        let named = format!("is {declared} here and {real} in the database");
        assert!(text.contains(&named) && text.contains(words) && text.contains("help: declare \"v\""), "{text}");
    }
}

#[test]
fn another_key_is_mended_by_an_index_over_exactly_its_columns() {
    let spec = ints("t", &["k", "v"], 1, WriteMode::Upsert);
    for (sql, note) in [
        ("CREATE TABLE t (k INTEGER, v INTEGER)", "it has no key at all"),
        ("CREATE TABLE t (k INTEGER, v INTEGER, PRIMARY KEY (k, v))", "its keys: (\"k\", \"v\")"),
        ("CREATE TABLE t (k INTEGER, v INTEGER UNIQUE)", "its keys: (\"v\")"),
        ("CREATE TABLE t (k INTEGER, v INTEGER); CREATE UNIQUE INDEX i ON t (k) WHERE v > 0", "no key at all"),
    ] {
        let (code, at, text) = finding(sql, spec.clone());
        assert_eq!((code, at), (codes::OF0815, place(2)));
        assert!(text.contains("no unique index over exactly (\"k\")") && text.contains(note), "{text}");
        mends(sql, &spec);
    }
}

#[test]
fn a_column_that_needs_a_value_and_a_generated_one_are_named() {
    let spec = ints("t", &["k", "v"], 0, WriteMode::Append);
    let sql = "CREATE TABLE t (k INTEGER, v INTEGER, must TEXT NOT NULL, may TEXT NOT NULL DEFAULT '')";
    let (code, at, text) = finding(sql, spec.clone());
    assert_eq!((code, at), (codes::OF0816, place(1)));
    assert!(text.contains("'must' of 't' is NOT NULL without a default") && text.contains("declare it: must TEXT"));
    assert!(!text.contains("may"), "{text}");
    let (code, at, text) = finding("CREATE TABLE t (k INTEGER, v INTEGER AS (k + 1))", spec);
    assert_eq!((code, at), (codes::OF0817, place(2)));
    assert!(text.contains("'v' of 't' is generated") && text.contains("take 'v' out"), "{text}");
}

#[test]
fn all_findings_of_all_tables_come_at_once() {
    let lab = Lab::new("CREATE TABLE t (k TEXT, must INTEGER NOT NULL)");
    let tables = [ints("t", &["k", "v"], 1, WriteMode::Upsert), ints("none", &["k"], 0, WriteMode::Append)];
    let text = told(&lab.refused(&tables));
    for code in ["OF0811", "OF0813", "OF0814", "OF0815", "OF0816"] {
        assert!(text.contains(code), "{code} in {text}");
    }
}

#[test]
fn what_is_no_plain_table_is_refused() {
    let spec = |name: &str| ints(name, &["k"], 0, WriteMode::Append);
    let mut foreign = spec("t");
    foreign.schema = Some("other".to_owned());
    for (sql, spec, words) in [
        ("CREATE VIEW t AS SELECT 1 AS k", spec("t"), "is a view"),
        ("CREATE TABLE t (k INTEGER)", foreign, "only 'main'"),
        ("CREATE TABLE t (k INTEGER)", spec("sqlite_schema"), "belong to SQLite"),
        ("CREATE TABLE t (k INTEGER)", spec("Onceflow_Shard"), "to the ledger"),
    ] {
        let (code, _, text) = finding(sql, spec);
        assert_eq!(code, codes::OF0812, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let mut main = spec("t");
    main.schema = Some("main".to_owned());
    Lab::new("CREATE TABLE t (k INTEGER)").write(&[main], &work(vec![set(0, batch(vec![int_column([1])]))]));
}

#[test]
fn merges_without_a_meaning_are_refused_at_their_column() {
    let columns = [("k", DataType::Int64, "BIGINT"), ("s", DataType::Utf8, "STRING")];
    for op in [MergeOp::Sum, MergeOp::Or, MergeOp::And] {
        let spec = table("t", &columns, 1, WriteMode::Merge(vec![None, Some(op)]));
        let (code, at, text) = finding("CREATE TABLE t (k INTEGER PRIMARY KEY, s TEXT)", spec);
        assert_eq!((code, at), (codes::OF0822, place(2)));
        assert!(text.contains("'merge.s' = 'last'"), "{text}");
    }
}

#[test]
fn a_users_statement_may_write_rows_and_nothing_else() {
    let sql = "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER); CREATE TABLE onceflow_mine (x)";
    for (text, words) in [
        ("UPDATE t SET v = :w WHERE k = :k", "did you mean"),
        ("UPDATE t SET v = ? WHERE k = :k", "is not written as `:name`"),
        ("UPDATE nowhere SET v = :v", "no such table"),
        ("SELECT :k", "changes nothing"),
        ("UPDATE t SET v = :v; DELETE FROM t", "more than one statement"),
        ("INSERT INTO t VALUES (:k, :v) RETURNING k", "RETURNING"),
        ("COMMIT", "transaction"),
        ("SAVEPOINT x", "transaction"),
        ("PRAGMA synchronous = OFF", "PRAGMA synchronous"),
        ("ATTACH ':memory:' AS other", "attaches"),
        ("DELETE FROM onceflow_mine", "writes to 'onceflow_mine'"),
        ("DROP TABLE t", "schema"),
        ("", "empty"),
    ] {
        let (code, at, all) = finding(sql, ints("s", &["k", "v"], 0, statement(text, None)));
        assert_eq!((code, at), (codes::OF0819, place(3)), "{all}");
        assert!(all.contains(words), "{text}: {all}");
    }
}
