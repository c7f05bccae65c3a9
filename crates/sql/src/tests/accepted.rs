//! What is accepted, and what it comes to.

use super::{INSERT, accept, source, source_with, target, target_with};
use crate::model::ColumnKind;
use crate::{CompileOptions, compile, compile_fully, parse};
use arrow_schema::{DataType, TimeUnit};
use onceflow::changes::{MergeOp, OnError, WriteMode};
use onceflow::decode::{CsvHeader, CsvOptions, Format, Metadata, RawOptions, TimestampFormat};

fn all(columns: &str, options: &str) -> String {
    format!("{}{}{INSERT}", source(), target_with(columns, options))
}

fn type_of(text: &str) -> (DataType, bool, String) {
    let script = parse("x.sql", &format!("CREATE TABLE x (a {text});"), &|_| None).expect(text);
    let declared = script.tables[0].columns[0].declared.clone().expect("a physical column has a type");
    (declared.data_type, declared.nullable, declared.text)
}

#[test]
fn types_become_arrows() {
    let check = |text: &str, expected: DataType, shown: &str| {
        assert_eq!(type_of(text), (expected, true, shown.to_owned()), "{text}");
    };
    check("boolean", DataType::Boolean, "BOOLEAN");
    check("TINYINT", DataType::Int8, "TINYINT");
    check("SMALLINT", DataType::Int16, "SMALLINT");
    check("INTEGER", DataType::Int32, "INT");
    check("BIGINT", DataType::Int64, "BIGINT");
    check("FLOAT", DataType::Float32, "FLOAT");
    check("DOUBLE PRECISION", DataType::Float64, "DOUBLE");
    check("DECIMAL", DataType::Decimal128(10, 0), "DECIMAL(10, 0)");
    check("NUMERIC(5)", DataType::Decimal128(5, 0), "DECIMAL(5, 0)");
    check("DEC(38, 18)", DataType::Decimal128(38, 18), "DECIMAL(38, 18)");
    check("CHAR(3)", DataType::Utf8, "CHAR(3)");
    check("CHARACTER VARYING (3)", DataType::Utf8, "VARCHAR(3)");
    check("VARCHAR(2147483647)", DataType::Utf8, "VARCHAR(2147483647)");
    check("STRING", DataType::Utf8, "STRING");
    check("BINARY(4)", DataType::Binary, "BINARY(4)");
    check("VARBINARY(4)", DataType::Binary, "VARBINARY(4)");
    check("BYTES", DataType::Binary, "BYTES");
    check("DATE", DataType::Date32, "DATE");
    check("TIME", DataType::Time32(TimeUnit::Millisecond), "TIME(0)");
    check("TIME(6) WITHOUT TIME ZONE", DataType::Time64(TimeUnit::Microsecond), "TIME(6)");
    check("TIMESTAMP", DataType::Timestamp(TimeUnit::Microsecond, None), "TIMESTAMP(6)");
    check("TIMESTAMP(3)", DataType::Timestamp(TimeUnit::Millisecond, None), "TIMESTAMP(3)");
    check("TIMESTAMP(9) WITHOUT TIME ZONE", DataType::Timestamp(TimeUnit::Nanosecond, None), "TIMESTAMP(9)");
    let utc = Some("UTC".into());
    check("TIMESTAMP_LTZ(3)", DataType::Timestamp(TimeUnit::Millisecond, utc.clone()), "TIMESTAMP_LTZ(3)");
    check("TIMESTAMP(3) WITH LOCAL TIME ZONE", DataType::Timestamp(TimeUnit::Millisecond, utc), "TIMESTAMP_LTZ(3)");
}

#[test]
fn types_nest_with_their_nullability() {
    let check = |text: &str, shown: &str| assert_eq!(type_of(text).2, shown, "{text}");
    check("ARRAY<INT>", "ARRAY<INT>");
    check("ARRAY<ARRAY<INT NOT NULL>>", "ARRAY<ARRAY<INT NOT NULL>>");
    check("ARRAY<ARRAY<ARRAY<INT>>>", "ARRAY<ARRAY<ARRAY<INT>>>");
    check("INT ARRAY", "ARRAY<INT>");
    check("INT NOT NULL ARRAY NOT NULL", "ARRAY<INT NOT NULL>");
    check(
        "MAP<STRING, ROW<a INT, `b c` DECIMAL(3, 1) NOT NULL>>",
        "MAP<STRING, ROW<a INT, `b c` DECIMAL(3, 1) NOT NULL>>",
    );
    check("ROW(a INT, b ROW<c STRING 'x'>)".replace(" 'x'", " COMMENT 'x'").as_str(), "ROW<a INT, b ROW<c STRING>>");
    let (DataType::List(item), nullable, _) = type_of("ARRAY<INT NOT NULL> NOT NULL") else { panic!("a list") };
    assert!(!item.is_nullable() && !nullable);
    assert!(type_of("INT NULL").1);
}

#[test]
fn variables_are_values_and_never_sql() {
    let with = |value: &str| {
        let text = format!("CREATE TABLE x (a INT) WITH ('k' = '{value}');");
        let script = parse("x.sql", &text, &super::variables).expect(value);
        let value = script.tables[0].options["k"].clone();
        (value.text, value.secret)
    };
    assert_eq!(with("a ${TOPIC} b"), ("a orders b".into(), true));
    assert_eq!(with("${NOPE:-default}"), ("default".into(), true));
    assert_eq!(with("${EMPTY:-default}"), ("default".into(), true));
    assert_eq!(with("${EMPTY}"), (String::new(), true));
    assert_eq!(with("${NOPE:-}"), (String::new(), true));
    assert_eq!(with("${NOPE:-${TOPIC}-${ALSO:-x}}"), ("orders-x".into(), true));
    assert_eq!(with("${TOPIC:?needed}"), ("orders".into(), true));
    assert_eq!(with("$${TOPIC}"), ("${TOPIC}".into(), true));
    assert_eq!(with("${QUOTE}"), ("'; DROP TABLE x; --".into(), true));
    assert_eq!(with("it''s ${NOPE:-it''s}"), ("it's it's".into(), true));
    assert_eq!(with("it''s $5 {x}"), ("it's $5 {x}".into(), false));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "p4ss\n").expect("a file");
    assert_eq!(with(&format!("${{file:{}}}", path.display())), ("p4ss".into(), true));
    let query = format!("{}{}INSERT INTO t SELECT a, '${{QUOTE}}' FROM s;", source(), target());
    assert!(accept(&query).script.inserts[0].query.to_string().contains("'''; DROP TABLE x; --'"));
}

#[test]
fn every_clause_of_create_table_is_read() {
    let text = "CREATE TEMPORARY TABLE IF NOT EXISTS `my table` (\n\
        id BIGINT NOT NULL COMMENT 'it''s', \"Name\" STRING, ts TIMESTAMP(3),\n\
        `offset` BIGINT METADATA VIRTUAL, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',\n\
        twice AS id * 2 COMMENT 'computed', f AS COALESCE(\"Name\", 'a,b)'),\n\
        WATERMARK FOR ts AS ts - INTERVAL '5' SECOND,\n\
        CONSTRAINT pk PRIMARY KEY (id, \"Name\") NOT ENFORCED\n\
        ) COMMENT 'all' WITH ('connector' = 'print');\n\
        CREATE TABLE IF NOT EXISTS `my table` (other INT);";
    let script = parse("x.sql", text, &|_| None).expect("every clause");
    let [table] = script.tables.as_slice() else { panic!("one table") };
    assert_eq!(&*table.name, "my table");
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "Name", "ts", "offset", "at", "twice", "f"]);
    assert!(!table.columns[1].declared.as_ref().expect("a type").nullable, "a key column is not null");
    assert!(matches!(&table.columns[3].kind, ColumnKind::Metadata { key, is_virtual: true } if key == "offset"));
    assert!(matches!(&table.columns[4].kind, ColumnKind::Metadata { key, is_virtual: false } if key == "timestamp"));
    assert!(matches!(&table.columns[5].kind, ColumnKind::Computed(expr) if expr.to_string() == "id * 2"));
    assert_eq!(table.primary_key.len(), 2);
    assert_eq!(
        table.watermark.as_ref().map(|(name, expr, _)| (name.as_str(), expr.to_string())),
        Some(("ts", "ts - INTERVAL '5' SECOND".into()))
    );
}

#[test]
fn like_copies_a_declaration() {
    let base = "CREATE TABLE a (x INT PRIMARY KEY NOT ENFORCED, y AS x, m INT METADATA FROM 'k') WITH ('connector' = 'print', 'k' = '1');\n";
    let check = |text: &str, columns: &[&str], key: usize, options: usize| {
        let script = parse("x.sql", &format!("{base}CREATE TABLE b {text};"), &|_| None)
            .unwrap_or_else(|errors| panic!("{errors:?}"));
        let table = &script.tables[1];
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!((names.as_slice(), table.primary_key.len(), table.options.len()), (columns, key, options), "{text}");
    };
    check("LIKE a", &["x", "y", "m"], 1, 2);
    check("(z INT) LIKE a", &["x", "y", "m", "z"], 1, 2);
    check("(z INT) WITH ('k' = '2', 'l' = '3') LIKE a", &["x", "y", "m", "z"], 1, 3);
    check("(z INT, PRIMARY KEY (z) NOT ENFORCED) LIKE a (EXCLUDING CONSTRAINTS)", &["x", "y", "m", "z"], 1, 2);
    check("LIKE a (EXCLUDING ALL)", &["x"], 0, 0);
    check("LIKE a (EXCLUDING ALL INCLUDING GENERATED)", &["x", "y"], 0, 0);
    check("(y AS 5) LIKE a (OVERWRITING GENERATED EXCLUDING METADATA)", &["x", "y"], 1, 2);
}

#[test]
fn statement_sets_are_the_same_as_several_inserts() {
    let plain = format!("{}{}{INSERT}{INSERT}", source(), target());
    let check =
        |text: &str| assert_eq!(accept(&format!("{}{}{text}", source(), target())).script.inserts.len(), 2, "{text}");
    check(&format!("{INSERT}{INSERT}"));
    check(&format!("BEGIN STATEMENT SET;\n{INSERT}{INSERT}END;"));
    check(&format!("EXECUTE STATEMENT SET\nBEGIN\n{INSERT}{INSERT}END;"));
    check(&format!("execute statement set begin {INSERT}{INSERT} end"));
    check(&format!("EXECUTE {INSERT}{INSERT}"));
    assert_eq!(accept(&plain).pipeline.branches.len(), 1);
}

#[test]
fn formats_have_flinks_defaults() {
    let format = |columns: &str, options: &str| {
        let text = format!(
            "CREATE TABLE s ({columns}) WITH ('connector' = 'filesystem', 'path' = 'x'{options});\n{}INSERT INTO t SELECT 1, 'x' FROM s;",
            target()
        );
        let script = accept(&text).script;
        script.tables.into_iter().next().and_then(|table| table.source).expect("a source")
    };
    let json = format("a INT", ", 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'");
    assert!(
        matches!(json.value, Format::Json(options) if options.timestamp_format == TimestampFormat::Iso8601 && !options.fail_on_missing_field)
    );
    let csv = format("a INT, line BIGINT METADATA, b STRING, c AS a", ", 'format' = 'csv'");
    let expected = CsvOptions {
        field_delimiter: b',',
        quote: Some(b'"'),
        escape: None,
        allow_comments: false,
        null_literal: None,
        array_element_delimiter: ";".into(),
        header: CsvHeader::Record,
        fields: vec!["a".into(), "b".into()],
    };
    assert_eq!(csv.value, Format::Csv(expected));
    assert_eq!(csv.metadata.get("line"), Some(&Metadata::Line));
    let raw = format("a BIGINT", ", 'format' = 'raw', 'raw.endianness' = 'little-endian'");
    assert_eq!(raw.value, Format::Raw(RawOptions { big_endian: false }));
    let skip = format("a INT", ", 'format' = 'json', 'json.ignore-parse-errors' = 'true'");
    assert_eq!(skip.on_error, OnError::Skip);
    let tab = format("a INT", ", 'format' = 'csv', 'csv.field-delimiter' = '\\t', 'csv.null-literal' = 'n/a'");
    assert!(
        matches!(tab.value, Format::Csv(options) if options.field_delimiter == b'\t' && options.null_literal.as_deref() == Some("n/a"))
    );
    let header = |option: &str| match format("a INT", &format!(", 'format' = 'csv', 'csv.{option}' = 'true'")).value {
        Format::Csv(options) => options.header,
        other => panic!("{other:?}"),
    };
    assert_eq!(header("header"), CsvHeader::Names);
    assert_eq!(header("ignore-first-line"), CsvHeader::Ignored);
}

#[test]
fn on_error_of_a_table_goes_before_the_setting() {
    let text = format!(
        "SET 'on-error' = 'stop';\n{}{}{INSERT}",
        source(),
        target_with("a BIGINT, b STRING", ", 'on-error' = 'skip'")
    );
    let compiled = accept(&text);
    assert_eq!(compiled.script.tables[0].source.as_ref().map(|source| source.on_error), Some(OnError::Stop));
    assert_eq!(compiled.pipeline.branches[0].tables[0].on_error, OnError::Skip);
}

#[test]
fn declarations_say_what_a_row_does() {
    let mode = |columns: &str, options: &str| {
        let pipeline = accept(&all(columns, options)).pipeline;
        let spec = &pipeline.branches[0].tables[0];
        (spec.mode.clone(), spec.key.clone())
    };
    const KEYED: &str = "a BIGINT, b STRING, PRIMARY KEY (a) NOT ENFORCED";
    assert_eq!(mode("a BIGINT, b STRING", ""), (WriteMode::Append, vec![]));
    assert_eq!(mode(KEYED, ""), (WriteMode::Upsert, vec![0]));
    assert_eq!(mode("a BIGINT, b STRING, PRIMARY KEY (b, a) NOT ENFORCED", ""), (WriteMode::Upsert, vec![1, 0]));
    assert_eq!(mode(KEYED, ", 'merge.b' = 'last'"), (WriteMode::Merge(vec![None, Some(MergeOp::Last)]), vec![0]));
    assert_eq!(mode(KEYED, ", 'write.mode' = 'insert-ignore'"), (WriteMode::InsertIgnore, vec![0]));
    assert_eq!(mode("a BIGINT, b STRING", ", 'write.mode' = 'insert-ignore'"), (WriteMode::InsertIgnore, vec![]));
    let statement = "UPDATE x SET b = :b WHERE a = :a";
    let (mode, _) =
        mode("a BIGINT, b STRING", &format!(", 'write.statement' = '{statement}', 'write.expect-rows' = '1'"));
    assert!(matches!(mode, WriteMode::Statement { sql, expect_rows: Some(1), .. } if sql == statement));
}

#[test]
fn settings_reach_the_pipeline() {
    let text = format!(
        "SET 'pipeline.name' = 'payments'; SET 'epoch.rows_max' = '1_000'; SET 'epoch.bytes_max' = '1 mb'; SET 'lanes' = '4';\n\
         SET 'epoch.interval_max' = '500 ms'; SET 'dead-letters.max' = '7'; SET 'auto-create' = 'true';\n{}{}{INSERT}",
        source(),
        target()
    );
    let pipeline = accept(&text).pipeline;
    let settings = &pipeline.settings;
    assert_eq!(pipeline.name, "payments");
    assert_eq!((settings.epoch_rows_max, settings.epoch_bytes_max, settings.lanes), (Some(1_000), 1 << 20, 4));
    assert_eq!((settings.dead_letters_max, settings.auto_create), (Some(7), true));
    assert_eq!(settings.epoch_interval_max, Some(std::time::Duration::from_millis(500)));
    assert_eq!(accept(&format!("{}{}{INSERT}", source(), target())).pipeline.name, "test");
}

#[test]
fn inserts_into_one_home_are_one_branch() {
    let second = "CREATE TABLE u (a BIGINT) WITH ('connector' = 'sqlite', 'url' = 'sqlite:y.db', 'table-name' = 'u');\n\
        CREATE TABLE v (a BIGINT) WITH ('connector' = 'jdbc', 'url' = 'jdbc:sqlite:x.db', 'table-name' = 'v');\n";
    let text = format!(
        "{}{}{second}INSERT INTO t SELECT a, b FROM s; INSERT INTO u SELECT a FROM s; INSERT INTO v SELECT a FROM s;{INSERT}",
        source(),
        target()
    );
    let pipeline = accept(&text).pipeline;
    let names =
        |branch: usize| pipeline.branches[branch].tables.iter().map(|table| table.name.to_string()).collect::<Vec<_>>();
    assert_eq!(pipeline.branches.len(), 2);
    assert_eq!((names(0), names(1)), (vec!["t".to_owned(), "v".to_owned()], vec!["u".to_owned()]));
    assert_eq!(pipeline.branches[0].wiring.lines().count(), 2);
    assert!(pipeline.branches[0].wiring.contains("-> t append"), "{}", pipeline.branches[0].wiring);
}

#[test]
fn views_and_with_are_followed_to_their_tables() {
    let text = format!(
        "{}{}CREATE VIEW v (x, y) AS SELECT a, b FROM s;\n\
         INSERT INTO t (b, a) WITH s2 AS (SELECT x, y FROM v) SELECT y, x FROM s2;",
        source(),
        target()
    );
    let compiled = accept(&text);
    assert_eq!(compiled.pipeline.branches[0].sources.len(), 1);
    assert_eq!(compiled.script.views[0].columns, ["x", "y"]);
    assert_eq!(compiled.script.inserts[0].columns.len(), 2);
}

#[test]
fn the_fingerprint_is_of_the_logic_and_of_no_secret() {
    let print = |text: &str| accept(text).pipeline.fingerprint;
    let base = format!("{}{}{INSERT}", source(), target());
    assert_eq!(
        print(&base),
        print(&format!("-- why\nSET 'lanes' = '3';\n{}", base.replace("SELECT a, b", "SELECT\n  a,\tb")))
    );
    assert_ne!(print(&base), print(&base.replace("SELECT a, b", "SELECT a, 'x'")));
    assert_ne!(print(&base), print(&format!("SET 'on-error' = 'skip';\n{base}")));
    let logic = |password: &str| {
        let text = format!(
            "CREATE TABLE t (a INT) WITH ('password' = '{password}', 'url' = 'postgresql://u:{password}@h/d', 'properties.ssl.truststore.password' = '{password}');"
        );
        parse("x.sql", &text, &|_| None).expect("a declaration").logic
    };
    assert_eq!(logic("one"), logic("two"));
    assert!(!logic("s3cret").contains("s3cret"));
}

#[test]
fn no_error_shows_a_password() {
    let texts = [
        "'url' = 'jdbc:nonsense://u:s3cret@h/d', 'table-name' = 't'",
        "'url' = 'postgresql://u:s3cret@h/d', 'table-name' = 'a.b.c'",
        "'url' = 'postgresql://h/d?password=s3cret&nonsense=1', 'table-name' = 't'",
        "'url' = 'postgresql://u:${PASSWORD}@h:x/d', 'table-name' = 't'",
        "'url' = 'postgresql://h/d', 'password' = '${PASSWORD}', 'passwrd' = 's3cret', 'table-name' = ''",
        "'url' = 'sqlite:x.db', 'password' = 's3cret', 'table-name' = 't'",
        "'url' = '${PASSWORD}', 'table-name' = 't'",
    ];
    for options in texts {
        let text = format!(
            "{}CREATE TABLE t (a BIGINT, b STRING) WITH ('connector' = 'jdbc', {options});\n{INSERT}",
            source()
        );
        match compile_fully("test.sql", &text, &super::variables, &CompileOptions::default()) {
            Ok(compiled) => assert!(!format!("{:?}", compiled.pipeline.warnings).contains("s3cret")),
            Err(errors) => assert!(!format!("{errors:?}").contains("s3cret"), "{errors:?}"),
        }
    }
}

#[test]
fn the_examples_compile() {
    // Without a user in the URL PostgreSQL takes the one of the process, which a test cannot rely on.
    let none = |name: &str| (name == "DATABASE").then(|| "jdbc:postgresql://localhost/postgres?user=app".to_owned());
    let options = CompileOptions::default();
    for (file, text) in [
        ("append.sql", include_str!("../../../../examples/append.sql")),
        ("article.sql", include_str!("../../../../examples/article.sql")),
        ("balance.sql", include_str!("../../../../examples/balance.sql")),
        ("files.sql", include_str!("../../../../examples/files.sql")),
    ] {
        let kafka = cfg!(feature = "kafka") || !text.contains("'kafka'");
        if kafka {
            let pipeline = compile(file, text, &none, &options).unwrap_or_else(|errors| panic!("{file}: {errors:#?}"));
            assert_eq!(pipeline.branches.len(), 1, "{file}");
            assert!(pipeline.warnings.is_empty(), "{file}: {:?}", pipeline.warnings);
        } else {
            parse(file, text, &none).unwrap_or_else(|errors| panic!("{file}: {errors:#?}"));
        }
    }
}

#[test]
fn many_odd_columns_of_a_source_are_read() {
    let columns = ", `group` STRING, 名前 STRING, m MAP<STRING, BYTES>, at TIMESTAMP_LTZ(3) METADATA FROM 'file.modification-time'";
    let text = format!("{}{}INSERT INTO t SELECT a, 名前 FROM s;", source_with(columns, ""), target());
    assert_eq!(accept(&text).script.tables[0].columns.len(), 6);
}
