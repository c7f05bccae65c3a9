//! Whole queries over a few records.

use super::{SOURCE, check, compiled, run, target};

const ORDERS: &[&str] = &[
    r#"{"id": 1, "n": 10, "s": "a", "d": 1.25, "flag": true, "arr": [1, 2], "items": [{"sku": "x", "qty": 1}], "m": {"p": 1}}"#,
    r#"{"id": 2, "n": 20, "s": "b", "d": 2.50, "flag": false, "arr": [], "items": [], "m": {}}"#,
    r#"{"id": 3, "n": 30, "s": "a", "d": 3.75, "flag": true, "arr": [3], "items": [{"sku": "y", "qty": 2}, {"sku": "z", "qty": 3}]}"#,
    r#"{"id": 4, "n": null, "s": "c", "d": null, "flag": null, "arr": null}"#,
];

fn sql(targets: &[String], queries: &str) -> String {
    format!("{SOURCE}{}{queries}", targets.concat())
}

fn one(columns: &str, queries: &str) -> String {
    sql(&[target("o", columns, "")], queries)
}

fn merging(columns: &str, options: &str, queries: &str) -> String {
    sql(&[target("o", columns, options)], queries)
}

#[test]
fn rows_are_projected_and_filtered() {
    check(
        &one("a BIGINT, b STRING", "INSERT INTO o SELECT id, s FROM t WHERE n >= 20 OR n IS NULL;"),
        ORDERS,
        &["1 o: 2, b", "2 o: 3, a", "3 o: 4, c"],
    );
    check(&one("a BIGINT, b STRING", "INSERT INTO o (b, a) SELECT s, id FROM t WHERE id = 1;"), ORDERS, &["0 o: 1, a"]);
    check(
        &one("a BIGINT, b STRING", "INSERT INTO o (a) SELECT id FROM t WHERE id < 3;"),
        ORDERS,
        &["0 o: 1, NULL", "1 o: 2, NULL"],
    );
    check(&one("a INT, b INT", "INSERT INTO o SELECT 1, 1 FROM t WHERE flag;"), ORDERS, &["0 o: 1, 1", "2 o: 1, 1"]);
    check(&one("a BIGINT, b BIGINT", "INSERT INTO o SELECT id, id FROM t WHERE id = 2;"), ORDERS, &["1 o: 2, 2"]);
    check(&one("a BIGINT, b STRING", "INSERT INTO o SELECT x.id, x.s FROM t AS x WHERE false;"), ORDERS, &[]);
}

#[test]
fn a_condition_guards_what_would_fail_behind_it() {
    let values = [r#"{"id": 0, "n": 0}"#, r#"{"id": 1, "n": 5}"#, r#"{"id": 2, "n": 50}"#];
    let guarded = |condition: &str| one("a BIGINT", &format!("INSERT INTO o SELECT id FROM t WHERE {condition};"));
    check(&guarded("100 / n > 10 AND n <> 0"), &values, &["1 o: 1"]);
    check(&guarded("n = 0 OR 100 / n > 10"), &values, &["0 o: 0", "1 o: 1"]);
    check(&guarded("CASE WHEN n = 0 THEN FALSE ELSE 100 / n > 10 END"), &values, &["1 o: 1"]);
    check(
        &one(
            "a BIGINT",
            "CREATE VIEW v AS SELECT id, n, 100 / n AS q FROM t; INSERT INTO o SELECT q FROM v WHERE n <> 0 AND id < 5;",
        ),
        &values,
        &["1 o: 20", "2 o: 2"],
    );
}

#[test]
fn computed_and_metadata_columns_are_columns() {
    let source = "CREATE TABLE c (
        n INT, twice AS n * 2, `offset` BIGINT METADATA VIRTUAL, line_no BIGINT METADATA FROM 'line', where_from AS CONCAT('l', CAST(line_no AS STRING))
      ) WITH ('connector' = 'filesystem', 'path' = '/tmp/none/*.jsonl', 'format' = 'json');\n";
    let sink = target("o", "a INT, b INT, c BIGINT, d STRING", "");
    let text = format!("{source}{sink}INSERT INTO o SELECT n, twice, `offset`, where_from FROM c;");
    check_rows(&text, &[r#"{"n": 3}"#, r#"{"n": 4}"#], &["0 o: 3, 6, 0, l1", "1 o: 4, 8, 1, l2"]);
    let text = format!("{source}{sink}INSERT INTO o SELECT x.n, x.twice + 1, 0, 'x' FROM c AS x WHERE x.twice > 6;");
    check_rows(&text, &[r#"{"n": 3}"#, r#"{"n": 4}"#], &["1 o: 4, 9, 0, x"]);
}

/// Rows alone: offsets would move beside a poisoned record.
fn check_rows(text: &str, values: &[&str], expected: &[&str]) {
    let pipeline = compiled(text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    assert_eq!(run(&pipeline, values, &[]).lines(), expected);
    assert_eq!(run(&pipeline, values, &[1]).lines(), expected);
}

#[test]
fn many_failures_are_all_found() {
    let text = one("a BIGINT, b INT", "INSERT INTO o SELECT id, 60 / n FROM t;");
    let pipeline = compiled(&text).expect("it compiles");
    let values: Vec<String> = (0..10_000).map(|id| format!(r#"{{"id": {id}, "n": {}}}"#, id % 2)).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let outcome = run(&pipeline, &values, &[]);
    assert_eq!((outcome.rows.len(), outcome.failed.len()), (5_000, 5_000));
}

#[test]
fn views_and_with_are_expanded() {
    let views = "CREATE VIEW v AS SELECT id, n * 2 AS twice FROM t WHERE n IS NOT NULL;
        CREATE VIEW w (k, x) AS SELECT id, twice + 1 FROM v;";
    check(
        &one("a BIGINT, b INT", &format!("{views} INSERT INTO o SELECT k, x FROM w WHERE k > 1;")),
        ORDERS,
        &["1 o: 2, 41", "2 o: 3, 61"],
    );
    check(
        &one(
            "a BIGINT, b INT",
            "INSERT INTO o WITH c AS (SELECT id, n FROM t WHERE flag) SELECT q.id, q.n FROM (SELECT * FROM c) AS q WHERE q.n > 10;",
        ),
        ORDERS,
        &["2 o: 3, 30"],
    );
}

#[test]
fn several_inserts_share_one_transaction_and_their_failures() {
    let text = sql(
        &[target("o", "a BIGINT", ""), target("p", "a BIGINT, b INT", "")],
        "INSERT INTO o SELECT id FROM t; INSERT INTO p SELECT id, 60 / (n - 20) FROM t WHERE n IS NOT NULL;",
    );
    check(&text, ORDERS, &["0 o: 1", "0 p: 1, -6", "2 o: 3", "2 p: 3, 6", "3 o: 4", "1 OF0362"]);
}

#[test]
fn unions_keep_all_rows() {
    check(
        &one(
            "a BIGINT, b STRING",
            "INSERT INTO o SELECT id, s FROM t WHERE n = 10 UNION ALL SELECT id + 100, 'x' FROM t WHERE n = 10;",
        ),
        ORDERS,
        &["0 o: 1, a", "0 o: 101, x"],
    );
    check(
        &one(
            "a BIGINT",
            "INSERT INTO o SELECT q.v FROM (SELECT id AS v FROM t UNION ALL SELECT n FROM t WHERE n = 20) AS q WHERE q.v > 3;",
        ),
        ORDERS,
        &["3 o: 4", "1 o: 20"],
    );
}

#[test]
fn arrays_are_unnested() {
    check(
        &one("a BIGINT, b INT", "INSERT INTO o SELECT id, x FROM t CROSS JOIN UNNEST(arr) AS u(x);"),
        ORDERS,
        &["0 o: 1, 1", "0 o: 1, 2", "2 o: 3, 3"],
    );
    check(
        &one("a BIGINT, b INT", "INSERT INTO o SELECT t.id, u.x FROM t, UNNEST(t.arr) AS u(x) WHERE u.x > 1;"),
        ORDERS,
        &["0 o: 1, 2", "2 o: 3, 3"],
    );
    check(
        &one(
            "a BIGINT, b STRING, c INT",
            "INSERT INTO o SELECT id, sku, qty * 2 FROM t CROSS JOIN UNNEST(items) AS i(sku, qty);",
        ),
        ORDERS,
        &["0 o: 1, x, 2", "2 o: 3, y, 4", "2 o: 3, z, 6"],
    );
    check(
        &one("a BIGINT, b INT", "INSERT INTO o SELECT id, x FROM t LEFT JOIN UNNEST(arr) AS u(x) ON TRUE;"),
        ORDERS,
        &["0 o: 1, 1", "0 o: 1, 2", "1 o: 2, NULL", "2 o: 3, 3", "3 o: 4, NULL"],
    );
    check(
        &one(
            "a BIGINT, b INT, c INT",
            "INSERT INTO o SELECT id, x, pos FROM t CROSS JOIN UNNEST(arr) WITH ORDINALITY AS u(x, pos);",
        ),
        ORDERS,
        &["0 o: 1, 1, 1", "0 o: 1, 2, 2", "2 o: 3, 3, 1"],
    );
    check(
        &one("a BIGINT, b STRING, c INT", "INSERT INTO o SELECT id, k, v FROM t CROSS JOIN UNNEST(m) AS u(k, v);"),
        ORDERS,
        &["0 o: 1, p, 1"],
    );
}

#[test]
fn constants_need_no_state() {
    check(
        &one("a BIGINT", "INSERT INTO o SELECT id FROM t WHERE n IN (SELECT x FROM (VALUES (10), (30)) AS c(x));"),
        ORDERS,
        &["0 o: 1", "2 o: 3"],
    );
    check(&one("a BIGINT, b INT", "INSERT INTO o SELECT id, (SELECT 5) FROM t WHERE id = 1;"), ORDERS, &["0 o: 1, 5"]);
    check(
        &one(
            "a BIGINT, b STRING",
            "INSERT INTO o SELECT id, c.word FROM t JOIN (VALUES (10, 'ten'), (20, 'twenty')) AS c(k, word) ON t.n = c.k;",
        ),
        ORDERS,
        &["0 o: 1, ten", "1 o: 2, twenty"],
    );
}

#[test]
fn groups_are_merged_into_their_table() {
    check(
        &merging(
            "s STRING, n BIGINT, total INT, PRIMARY KEY (s) NOT ENFORCED",
            ", 'merge.n' = 'sum', 'merge.total' = 'sum'",
            "INSERT INTO o SELECT s, COUNT(*), SUM(n) FROM t GROUP BY s;",
        ),
        ORDERS,
        &["o: a, 2, 40", "o: b, 1, 20", "o: c, 1, NULL"],
    );
    check(
        &merging(
            "s STRING, total DECIMAL(20, 2), lo INT, hi INT, any_flag BOOLEAN, all_flag BOOLEAN, PRIMARY KEY (s) NOT ENFORCED",
            ", 'merge.total' = 'sum', 'merge.lo' = 'min', 'merge.hi' = 'max', 'merge.any_flag' = 'or', 'merge.all_flag' = 'and'",
            "INSERT INTO o SELECT s, SUM(d), MIN(n), MAX(n), BOOL_OR(flag), BOOL_AND(flag) FROM t WHERE s <> 'c' GROUP BY s;",
        ),
        ORDERS,
        &["o: a, 5.00, 10, 30, true, true", "o: b, 2.50, 20, 20, false, false"],
    );
    check(
        &merging(
            "k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED",
            ", 'merge.n' = 'sum'",
            "INSERT INTO o SELECT k, SUM(q) FROM (SELECT UPPER(sku) AS k, qty AS q FROM t CROSS JOIN UNNEST(items) AS i(sku, qty)) AS x GROUP BY k;",
        ),
        ORDERS,
        &["o: X, 1", "o: Y, 2", "o: Z, 3"],
    );
    check(
        &merging(
            "k STRING, n BIGINT, m BIGINT, PRIMARY KEY (k) NOT ENFORCED",
            ", 'merge.n' = 'sum', 'merge.m' = 'sum'",
            "INSERT INTO o SELECT 'all', COUNT(n), COUNT(*) FILTER (WHERE flag) FROM t;",
        ),
        ORDERS,
        &["o: all, 3, 2"],
    );
    check(
        &merging(
            "s STRING, a BIGINT, b BIGINT, PRIMARY KEY (s) NOT ENFORCED",
            ", 'merge.a' = 'first', 'merge.b' = 'last'",
            "INSERT INTO o SELECT s, FIRST_VALUE(id), LAST_VALUE(id) FROM t GROUP BY s;",
        ),
        ORDERS,
        &["o: a, 1, 3", "o: b, 2, 2", "o: c, 4, 4"],
    );
}

#[test]
fn a_total_that_does_not_fit_blames_the_record_that_overflows_it() {
    let text = merging(
        "s STRING, total SMALLINT, PRIMARY KEY (s) NOT ENFORCED",
        ", 'merge.total' = 'sum'",
        "INSERT INTO o SELECT s, SUM(small) FROM t GROUP BY s;",
    );
    let pipeline = compiled(&text).expect("it compiles");
    let values = [
        r#"{"s": "a", "small": 30000}"#,
        r#"{"s": "a", "small": 30000}"#,
        r#"{"s": "b", "small": 1}"#,
        r#"{"s": "a", "small": 2}"#,
    ];
    let outcome = run(&pipeline, &values, &[]);
    assert_eq!(outcome.lines(), ["o: a, 30002", "o: b, 1", "1 OF0366"]);
    let values = [r#"{"s": "a", "small": 30000}"#, r#"{"s": "a", "small": 30000}"#, r#"{"s": "a", "small": -30000}"#];
    let outcome = run(&pipeline, &values, &[]);
    assert_eq!(outcome.lines(), ["o: a, 30000"], "only the total has to fit");
}

#[test]
fn null_does_not_enter_a_key_or_a_column_that_refuses_it() {
    check(
        &one("a BIGINT, b INT NOT NULL", "INSERT INTO o SELECT id, n FROM t;"),
        ORDERS,
        &["0 o: 1, 10", "1 o: 2, 20", "2 o: 3, 30", "3 OF0364"],
    );
    check(
        &merging(
            "k INT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED",
            ", 'merge.n' = 'sum'",
            "INSERT INTO o SELECT n, COUNT(*) FROM t WHERE id > 2 GROUP BY n;",
        ),
        ORDERS,
        &["o: 30, 1", "3 OF0364"],
    );
}

#[test]
fn only_what_is_used_is_decoded_and_equal_parts_run_once() {
    let text = sql(
        &[target("o", "a BIGINT", ""), target("p", "a BIGINT, b INT", "")],
        "CREATE VIEW v AS SELECT id, n + 1 AS m FROM t WHERE flag;
         INSERT INTO o SELECT id FROM v; INSERT INTO p SELECT id, m FROM v WHERE m > 11;",
    );
    let pipeline = compiled(&text).expect("it compiles");
    assert_eq!(
        pipeline.branches[0].operators,
        [
            vec!["scan t: id, n, flag (3 of 16 columns)", "filter flag", "project id AS a", "write o: append"],
            vec![
                "scan t: id, n, flag (3 of 16 columns)",
                "filter flag",
                "project id, n + 1 AS m",
                "filter m > 11",
                "project id AS a, m AS b",
                "write p: append",
            ],
        ]
    );
}

#[test]
fn a_record_without_a_column_that_is_not_null_fails_where_the_column_is_used() {
    let source = "CREATE TABLE s (id BIGINT NOT NULL, v STRING NOT NULL, w INT, x AS id + 1) \
                  WITH ('connector' = 'filesystem', 'path' = '/tmp/none', 'format' = 'json');\n";
    let values = [r#"{"id": 1, "v": "a"}"#, r#"{"v": "b", "w": 2}"#, r#"{"id": 3, "v": null, "w": 3}"#, r#"{"id": 4}"#];
    let text = |columns: &str, query: &str| {
        format!("{source}{}INSERT INTO o SELECT {query} FROM s;", target("o", columns, ""))
    };
    check(&text("a BIGINT, b STRING", "id, v"), &values, &["0 o: 1, a", "1 OF0605", "2 OF0605", "3 OF0605"]);
    check(&text("a BIGINT", "id"), &values, &["0 o: 1", "1 OF0605", "2 o: 3", "3 o: 4"]);
    check(&text("a BIGINT", "x"), &values, &["0 o: 2", "1 OF0605", "2 o: 4", "3 o: 5"]);
    check(&text("a INT", "w"), &values, &["0 o: NULL", "1 o: 2", "2 o: 3", "3 o: NULL"]);
    check(&text("a INT", "1"), &values, &["0 o: 1", "1 o: 1", "2 o: 1", "3 o: 1"]);
}
