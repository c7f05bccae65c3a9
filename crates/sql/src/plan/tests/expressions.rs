//! One expression over one record.

use super::{SOURCE, check, compiled, run, target};

const RECORD: &str = r#"{"id": 7, "n": 10, "b": 9223372036854775807, "s": "Hello, World", "d": 12.50, "big": 1.5, "f": 2.5,
 "flag": true, "ts": "2024-02-29 13:14:15.678", "day": "2024-02-29", "arr": [3, 1, 2], "m": {"k": 5}, "r": {"x": 1, "y": "why"},
 "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}], "small": 3, "at_utc": "2024-02-29 13:14:15.678Z"}"#;

/// Each expression gives this value in a column of this type, or fails with this code.
fn all(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (expr, sql_type, expected) in cases {
        let text = format!("{SOURCE}{}INSERT INTO o SELECT {expr} FROM t;", target("o", &format!("x {sql_type}"), ""));
        let found = match compiled(&text) {
            Err(errors) => errors[0].code().to_string() + " " + errors[0].message(),
            Ok(pipeline) => {
                let outcome = run(&pipeline, &[RECORD], &[]);
                match (outcome.rows.first(), outcome.failed.first()) {
                    (Some(row), _) => row["0 o: ".len()..].to_owned(),
                    (None, Some((_, code, reason))) => format!("{code} {reason}"),
                    (None, None) => "nothing".to_owned(),
                }
            }
        };
        let fits = if expected.starts_with("OF0") { found.starts_with(expected) } else { found == *expected };
        if !fits {
            wrong.push(format!("{expr}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn arithmetic_is_exact_and_has_flinks_types() {
    all(&[
        ("n + 1", "INT", "11"),
        ("n / 3", "INT", "3"),
        ("n % 3", "INT", "1"),
        ("MOD(n, 4)", "INT", "2"),
        ("-n", "INT", "-10"),
        ("-7 / 2", "INT", "-3"),
        ("n + 3000000000", "BIGINT", "3000000010"),
        ("n + 3000000000", "INT", "OF0331"),
        ("b + 1", "BIGINT", "OF0361"),
        ("b * 2", "BIGINT", "OF0361"),
        ("-b - 2", "BIGINT", "OF0361"),
        ("9223372036854775807 + 1", "BIGINT", "OF0361"),
        ("n * 300000000", "INT", "OF0361"),
        ("n / (n - 10)", "INT", "OF0362"),
        ("n % 0", "INT", "OF0362"),
        ("d * 0.1", "DECIMAL(14, 3)", "1.250"),
        ("d + 1", "DECIMAL(14, 2)", "13.50"),
        ("d - 0.005", "DECIMAL(14, 3)", "12.495"),
        ("d / 3", "DECIMAL(38, 13)", "4.1666666666667"),
        ("-d / 3", "DECIMAL(38, 13)", "-4.1666666666667"),
        ("d % 5", "DECIMAL(12, 2)", "2.50"),
        ("d / 0", "DECIMAL(12, 2)", "OF0362"),
        ("-d", "DECIMAL(12, 2)", "-12.50"),
        ("big * big", "DECIMAL(38, 6)", "2.250000"),
        ("big * 99999999999999999999 * 99999999999999999999", "DECIMAL(38, 6)", "OF0361"),
        ("f / 0", "DOUBLE", "inf"),
        ("f * 2 + d", "DOUBLE", "17.5"),
        ("small + small", "SMALLINT", "6"),
        ("ABS(-n)", "INT", "10"),
        ("CEIL(f)", "DOUBLE", "3.0"),
        ("FLOOR(f)", "DOUBLE", "2.0"),
        ("ROUND(f)", "DOUBLE", "3.0"),
        ("POWER(2, 10)", "DOUBLE", "1024.0"),
        ("SQRT(16)", "DOUBLE", "4.0"),
        ("SIGN(-2.5)", "DOUBLE", "-1.0"),
        ("n + NULL", "INT", "NULL"),
        ("s + 1", "INT", "OF0305"),
    ]);
}

#[test]
fn conditions() {
    all(&[
        ("n > 5 AND s LIKE 'Hello%'", "BOOLEAN", "true"),
        ("s LIKE '%\\%'", "BOOLEAN", "false"),
        ("'50%' LIKE '50!%' ESCAPE '!'", "BOOLEAN", "true"),
        ("s SIMILAR TO '(Hello|Bye)%'", "BOOLEAN", "true"),
        ("s SIMILAR TO 'Hello'", "BOOLEAN", "false"),
        ("s NOT SIMILAR TO 'Hello'", "BOOLEAN", "true"),
        ("n BETWEEN 1 AND 10", "BOOLEAN", "true"),
        ("n IN (1, 2, 10)", "BOOLEAN", "true"),
        ("n NOT IN (1, 2, 10)", "BOOLEAN", "false"),
        ("n = '10'", "BOOLEAN", "true"),
        ("n > '9'", "BOOLEAN", "true"),
        ("NULL IS DISTINCT FROM n", "BOOLEAN", "true"),
        ("n IS NOT DISTINCT FROM 10", "BOOLEAN", "true"),
        ("flag IS TRUE", "BOOLEAN", "true"),
        ("CASE WHEN n = 0 THEN 1 / n ELSE n END", "INT", "10"),
        ("CASE n WHEN 10 THEN 'ten' END", "STRING", "ten"),
        ("IF(n > 5, 'more', 'less')", "STRING", "more"),
        ("IFNULL(NULLIF(n, 10), -1)", "INT", "-1"),
        ("NVL(CAST(NULL AS INT), 3)", "INT", "3"),
        ("COALESCE(NULL, s)", "STRING", "Hello, World"),
        ("GREATEST(n, 3, 12)", "INT", "12"),
        ("GREATEST(n, CAST(NULL AS INT))", "INT", "NULL"),
        ("LEAST(n, 3)", "INT", "3"),
        ("d > 12.4", "BOOLEAN", "true"),
        ("`day` = '2024-02-29'", "BOOLEAN", "true"),
        ("ts > TIMESTAMP '2024-02-29 00:00:00'", "BOOLEAN", "true"),
    ]);
}

#[test]
fn text() {
    all(&[
        ("UPPER(s)", "STRING", "HELLO, WORLD"),
        ("lower(s)", "STRING", "hello, world"),
        ("CHARACTER_LENGTH(s)", "INT", "12"),
        ("CHAR_LENGTH('ä')", "INT", "1"),
        ("TRIM('  a ')", "STRING", "a"),
        ("TRIM(LEADING 'x' FROM 'xxa')", "STRING", "a"),
        ("SUBSTRING(s, 1, 5)", "STRING", "Hello"),
        ("SUBSTRING(s FROM 8)", "STRING", "World"),
        ("SUBSTR(s, -5, 2)", "STRING", "Wo"),
        ("POSITION('World' IN s)", "INT", "8"),
        ("LOCATE('o', s)", "INT", "5"),
        ("LOCATE('o', s, 6)", "INT", "9"),
        ("INSTR(s, 'zz')", "INT", "0"),
        ("LPAD('7', 3, '0')", "STRING", "007"),
        ("RPAD('abc', 2, '0')", "STRING", "ab"),
        ("LEFT(s, 2) || RIGHT(s, 1)", "STRING", "Hed"),
        ("s || NULL", "STRING", "NULL"),
        ("CONCAT(s, CAST(NULL AS STRING))", "STRING", "NULL"),
        ("CONCAT('a', 'b', 'c')", "STRING", "abc"),
        ("CONCAT_WS('-', 'a', CAST(NULL AS STRING), 'c')", "STRING", "a-c"),
        ("REPLACE(s, 'l', 'L')", "STRING", "HeLLo, WorLd"),
        ("REPEAT('ab', 2)", "STRING", "abab"),
        ("REVERSE('abc')", "STRING", "cba"),
        ("INITCAP('hello world')", "STRING", "Hello World"),
        ("SPLIT_INDEX('a,b,c', ',', 1)", "STRING", "b"),
        ("SPLIT_INDEX('a,b,c', ',', 5)", "STRING", "NULL"),
        ("REGEXP(s, 'W.r')", "BOOLEAN", "true"),
        ("REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 2)", "STRING", "bar"),
        ("REGEXP_REPLACE('foobar', 'oo|ar', '')", "STRING", "fb"),
        ("REGEXP_REPLACE('ab', '(a)(b)', '$2$1')", "STRING", "ba"),
        ("REGEXP('a', '(')", "BOOLEAN", "OF0340"),
        ("MD5('abc')", "STRING", "900150983cd24fb0d6963f7d28e17f72"),
        ("SHA256('abc')", "STRING", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("SHA2('abc', 256)", "STRING", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("ASCII('a')", "INT", "97"),
        ("CHR(97)", "STRING", "a"),
        ("UPPER(n)", "STRING", "OF0305"),
        ("OVERLAY('abcdef' PLACING 'xx' FROM 3 FOR 2)", "STRING", "abxxef"),
    ]);
}

#[test]
fn conversions() {
    all(&[
        ("CAST(' 12 ' AS INT)", "INT", "12"),
        ("CAST(s AS INT)", "INT", "OF0360"),
        ("TRY_CAST(s AS INT)", "INT", "NULL"),
        ("CAST(n AS STRING)", "STRING", "10"),
        ("CAST(flag AS STRING)", "STRING", "TRUE"),
        ("CAST(ts AS STRING)", "STRING", "2024-02-29 13:14:15.678"),
        ("CAST(d AS STRING)", "STRING", "12.50"),
        ("CAST(s AS VARCHAR(5))", "STRING", "Hello"),
        ("CAST('a' AS CHAR(3)) || '|'", "STRING", "a  |"),
        ("CAST(d AS INT)", "INT", "12"),
        ("CAST(12.345 AS DECIMAL(5, 2))", "DECIMAL(5, 2)", "12.35"),
        ("CAST(12345.6 AS DECIMAL(5, 2))", "DECIMAL(5, 2)", "OF036"),
        ("CAST(b AS INT)", "INT", "OF0360"),
        ("CAST('2024-01-31' AS DATE)", "DATE", "2024-01-31"),
        ("CAST('2024-01-31 01:02:03' AS TIMESTAMP(3))", "TIMESTAMP(3)", "2024-01-31T01:02:03"),
        ("CAST(n AS TIMESTAMP(3))", "TIMESTAMP(3)", "OF0343"),
        ("CAST(ts AS BIGINT)", "BIGINT", "OF0343"),
        ("CAST(n AS BIGINT)", "BIGINT", "10"),
        ("n", "BIGINT", "10"),
        ("n", "DECIMAL(12, 2)", "10.00"),
        ("n", "DOUBLE", "10.0"),
        ("n", "STRING", "OF0331"),
        ("s", "INT", "OF0331"),
        ("b", "INT", "OF0331"),
        ("b", "DECIMAL(5, 0)", "OF036"),
        ("d", "DECIMAL(20, 4)", "12.5000"),
        ("f", "FLOAT", "OF0331"),
        ("ts", "TIMESTAMP(6)", "2024-02-29T13:14:15.678"),
        ("ts", "DATE", "2024-02-29"),
        ("`day`", "TIMESTAMP(3)", "OF0331"),
        ("NULL", "INT", "NULL"),
    ]);
}

#[test]
fn dates_and_times() {
    all(&[
        ("DATE_FORMAT(ts, 'yyyy-MM-dd HH:mm')", "STRING", "2024-02-29 13:14"),
        ("DATE_FORMAT(ts, 'dd.MM.yy ''at'' hh:mm a, EEE MMM')", "STRING", "29.02.24 at 01:14 PM, Thu Feb"),
        ("DATE_FORMAT(ts, 'zzz')", "STRING", "OF0340"),
        ("EXTRACT(YEAR FROM ts)", "BIGINT", "2024"),
        ("EXTRACT(DOW FROM ts)", "BIGINT", "5"),
        ("EXTRACT(MILLISECOND FROM ts)", "BIGINT", "678"),
        ("HOUR(ts)", "BIGINT", "13"),
        ("QUARTER(`day`)", "BIGINT", "1"),
        ("TO_TIMESTAMP('2024-01-02 03:04:05')", "TIMESTAMP(3)", "2024-01-02T03:04:05"),
        ("TO_TIMESTAMP('02/01/2024 3:04', 'dd/MM/yyyy H:mm')", "TIMESTAMP(3)", "2024-01-02T03:04:00"),
        ("TO_TIMESTAMP('nonsense')", "TIMESTAMP(3)", "NULL"),
        ("TO_TIMESTAMP_LTZ(1700000000, 0)", "TIMESTAMP_LTZ(3)", "2023-11-14T22:13:20Z"),
        ("TO_TIMESTAMP_LTZ(1700000000123, 3)", "TIMESTAMP_LTZ(3)", "2023-11-14T22:13:20.123Z"),
        ("TO_DATE('2024-02-30')", "DATE", "NULL"),
        ("UNIX_TIMESTAMP('1970-01-02 00:00:00')", "BIGINT", "86400"),
        ("UNIX_TIMESTAMP()", "BIGINT", "1700000000"),
        ("FROM_UNIXTIME(86400)", "STRING", "1970-01-02 00:00:00"),
        ("TIMESTAMPADD(MONTH, 1, ts)", "TIMESTAMP(3)", "2024-03-29T13:14:15.678"),
        ("TIMESTAMPDIFF(DAY, TIMESTAMP '2024-01-01 00:00:00', ts)", "INT", "59"),
        ("TIMESTAMPDIFF(MONTH, TIMESTAMP '2024-01-30 00:00:00', ts)", "INT", "0"),
        ("ts + INTERVAL '1' DAY", "TIMESTAMP(3)", "2024-03-01T13:14:15.678"),
        ("ts - INTERVAL '2' HOUR", "TIMESTAMP(3)", "2024-02-29T11:14:15.678"),
        ("FLOOR(ts TO HOUR)", "TIMESTAMP(3)", "2024-02-29T13:00:00"),
        ("CEIL(ts TO DAY)", "TIMESTAMP(3)", "2024-03-01T00:00:00"),
        ("CURRENT_TIMESTAMP", "TIMESTAMP_LTZ(3)", "2023-11-14T22:13:20.123Z"),
        ("NOW()", "TIMESTAMP_LTZ(3)", "2023-11-14T22:13:20.123Z"),
        ("LOCALTIMESTAMP", "TIMESTAMP(3)", "2023-11-14T22:13:20.123"),
        ("CURRENT_DATE", "DATE", "2023-11-14"),
        ("PROCTIME()", "TIMESTAMP(3)", "OF0322"),
    ]);
}

#[test]
fn json_and_nested_values() {
    all(&[
        ("JSON_VALUE('{\"a\": {\"b\": [1, \"x\"]}}', '$.a.b[1]')", "STRING", "x"),
        ("JSON_VALUE('{\"a\": 5}', '$.a' RETURNING INT)", "INT", "5"),
        ("JSON_VALUE('{\"a\": \"x\"}', '$.a' RETURNING INT)", "INT", "NULL"),
        ("JSON_VALUE('broken', '$.a')", "STRING", "NULL"),
        ("JSON_EXISTS('{\"a\": null}', '$.a')", "BOOLEAN", "true"),
        ("JSON_VALUE(s, 'a.b')", "STRING", "OF0341"),
        ("arr[1]", "INT", "3"),
        ("arr[9]", "INT", "NULL"),
        ("CARDINALITY(arr)", "INT", "3"),
        ("m['k']", "INT", "5"),
        ("m['none']", "INT", "NULL"),
        ("r.x + 1", "INT", "2"),
        ("t.r.y", "STRING", "why"),
        ("items[2].sku", "STRING", "b"),
        ("ARRAY[1, 2][2]", "INT", "2"),
        ("ARRAY_CONTAINS(arr, 2)", "BOOLEAN", "true"),
    ]);
}

#[test]
fn arrays_maps_and_rows_are_made_in_expressions() {
    all(&[
        ("MAP['k', n, 'l', 2]", "MAP<STRING, INT>", "{k: 10, l: 2}"),
        ("MAP['k', n]", "MAP<STRING, BIGINT>", "{k: 10}"),
        ("MAP['k', 1, 'k', 2]", "MAP<STRING, INT>", "{k: 2}"),
        ("MAP['k', 1]['k'] + n", "INT", "11"),
        ("MAP[s, ARRAY[n, NULL]]", "MAP<STRING, ARRAY<INT>>", "{Hello, World: [10, ]}"),
        ("MAP['k', MAP['z', id]]", "MAP<STRING, MAP<STRING, BIGINT>>", "{k: {z: 7}}"),
        ("MAP[1, 'x', n, s]", "MAP<INT, STRING>", "{1: x, 10: Hello, World}"),
        ("CARDINALITY(MAP['a', 1, 'b', 2])", "INT", "2"),
        ("MAP[NULLIF(n, 10), 1]", "MAP<INT, INT>", "OF0363"),
        ("MAP['k', 1, 'z']", "MAP<STRING, INT>", "OF0305"),
        ("MAP['k', 1, 2, 3]", "MAP<STRING, INT>", "OF0305"),
        ("MAP[]", "MAP<STRING, INT>", "OF0201"),
        ("ARRAY[s, 'z']", "ARRAY<STRING>", "[Hello, World, z]"),
        ("ARRAY[n, 20]", "ARRAY<BIGINT>", "[10, 20]"),
        ("ARRAY[]", "ARRAY<STRING>", "[]"),
        ("ROW(s, n)", "ROW<x STRING, y INT>", "{x: Hello, World, y: 10}"),
        ("(s, n)", "ROW<x STRING, y BIGINT>", "{x: Hello, World, y: 10}"),
        ("r", "ROW<y INT, x STRING>", "{y: 1, x: why}"),
        ("ROW(s, n)", "ROW<x STRING>", "OF0331"),
        ("ARRAY[ROW(s, n)]", "ARRAY<ROW<a STRING, b INT>>", "[{a: Hello, World, b: 10}]"),
        ("CAST(ROW(n, s) AS ROW<x BIGINT, y STRING>)", "ROW<x BIGINT, y STRING>", "{x: 10, y: Hello, World}"),
        ("CAST(ROW(n, s) AS ROW<x BIGINT, y STRING>).x", "BIGINT", "10"),
        ("CAST(ARRAY['1', '2'] AS ARRAY<INT>)", "ARRAY<INT>", "[1, 2]"),
        ("CAST(ARRAY[s] AS ARRAY<INT>)", "ARRAY<INT>", "OF0360"),
        ("CAST(NULL AS MAP<STRING, INT>)", "MAP<STRING, INT>", "NULL"),
        ("CAST(n AS ROW<x INT>)", "ROW<x INT>", "OF0305"),
        ("CAST(n AS BIGNT)", "INT", "OF0210"),
        (
            "CAST('2024-01-31 01:02:03' AS TIMESTAMP(3) WITH LOCAL TIME ZONE)",
            "TIMESTAMP_LTZ(3)",
            "2024-01-31T01:02:03Z",
        ),
    ]);
}

#[test]
fn chance_is_the_same_however_an_epoch_is_cut() {
    let sink = target("o", "a DOUBLE, b DOUBLE, c STRING, d INT", "");
    let text = format!("{SOURCE}{sink}INSERT INTO o SELECT RAND(), RAND(), UUID(), RAND_INTEGER(10) FROM t;");
    let pipeline = compiled(&text).expect("it compiles");
    let straight = run(&pipeline, &[RECORD; 9], &[]);
    assert_eq!(run(&pipeline, &[RECORD; 9], &super::sizes(3)), straight);
    let mut rows: Vec<_> = straight.rows.iter().map(|row| row.split(": ").nth(1)).collect();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 9, "records draw apart: {rows:?}");
    let cells: Vec<_> = rows[0].expect("a row").split(", ").collect();
    assert_ne!(cells[0], cells[1], "calls draw apart");
    assert_eq!(cells[2].len(), 36);
    assert_eq!(pipeline.warnings.iter().filter(|warning| warning.code().as_str() == "OF0336").count(), 1);
}

#[test]
fn an_expression_that_fails_takes_only_its_record_down() {
    let sink = target("o", "id BIGINT, x INT", "");
    let text = format!("{SOURCE}{sink}INSERT INTO o SELECT id, 100 / n FROM t WHERE CAST(s AS INT) > 0;");
    let values = [
        r#"{"id": 0, "n": 1, "s": "1"}"#,
        r#"{"id": 1, "n": 0, "s": "1"}"#,
        r#"{"id": 2, "n": 2, "s": "x"}"#,
        r#"{"id": 3, "n": 0, "s": "-1"}"#,
        r#"{"id": 4, "n": 4, "s": "4"}"#,
        r#"{"id": 5, "n": null, "s": "5"}"#,
    ];
    check(&text, &values, &["0 o: 0, 100", "4 o: 4, 25", "5 o: 5, NULL", "1 OF0362", "2 OF0360"]);
}
