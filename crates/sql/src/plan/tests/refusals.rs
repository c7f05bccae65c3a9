//! What is refused: by code, at its place, with what to write instead.

use super::{SOURCE, compiled, refusal, target};

/// Each query is refused with this code, at this text of the query.
fn all(sink: &str, cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (query, code, at) in cases {
        let text = format!(
            "{SOURCE}CREATE TABLE u (id BIGINT, x INT) WITH ('connector' = 'filesystem', 'path' = '/tmp/none/u', 'format' = 'json');\n{sink}INSERT INTO o {query};"
        );
        let errors = refusal(&text);
        let error = &errors[0];
        let place = error.place().expect("every refusal has its place");
        let line = text.lines().nth(place.line as usize - 1).expect("the line is in the text");
        let found: String = line.chars().skip(place.column as usize - 1).take(place.length as usize).collect();
        if error.code().as_str() != *code || !found.starts_with(at) || errors.len() != 1 {
            wrong.push(format!("{query}: {error:?}\n  at '{found}', not {code} at '{at}'"));
        }
        if error.helps().is_empty() && !matches!(*code, "OF0320" | "OF0306" | "OF0321" | "OF0302" | "OF0305") {
            wrong.push(format!("{query}: no help: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_needs_operator_state_is_refused_by_name() {
    all(
        &target("o", "a BIGINT", ""),
        &[
            ("SELECT t.id FROM t JOIN u ON t.id = u.id", "OF0310", "u"),
            ("SELECT t.id FROM t LEFT JOIN u ON t.id = u.id", "OF0310", "u"),
            ("SELECT t.id FROM t, u", "OF0310", "u"),
            ("SELECT DISTINCT id FROM t", "OF0313", "id"),
            ("SELECT id FROM t ORDER BY id", "OF0314", "id"),
            ("SELECT id FROM t LIMIT 3", "OF0314", "3"),
            ("SELECT SUM(id) OVER (PARTITION BY s) FROM t", "OF0312", "SUM"),
            ("SELECT ROW_NUMBER() OVER (ORDER BY id) FROM t", "OF0312", "ROW_NUMBER"),
            ("SELECT id FROM t UNION SELECT id FROM u", "OF0318", "SELECT"),
            ("SELECT id FROM t INTERSECT SELECT id FROM u", "OF0318", "SELECT"),
            ("SELECT id FROM t EXCEPT SELECT id FROM u", "OF0318", "SELECT"),
            ("SELECT id FROM t WHERE id IN (SELECT id FROM u)", "OF0319", "id"),
            ("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)", "OF0319", ""),
            ("SELECT (SELECT MAX(id) FROM u) FROM t", "OF0319", ""),
            ("SELECT COUNT(*) FROM t", "OF0315", "o"),
            ("SELECT COUNT(*) FROM t GROUP BY s", "OF0315", "o"),
            ("SELECT COUNT(*) FROM t GROUP BY s HAVING COUNT(*) > 1", "OF0316", "COUNT"),
            ("SELECT COUNT(DISTINCT s) FROM t", "OF0313", "COUNT"),
            ("SELECT AVG(id) FROM t GROUP BY s", "OF0317", "AVG"),
            ("SELECT LISTAGG(s) FROM t GROUP BY id", "OF0317", "LISTAGG"),
            ("SELECT COUNT(*) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' HOUR)", "OF0311", "TUMBLE"),
            ("SELECT id FROM t WHERE ts > CURRENT_WATERMARK(ts)", "OF0322", "CURRENT_WATERMARK"),
            ("WITH RECURSIVE r AS (SELECT id FROM t) SELECT id FROM r", "OF0320", "WITH"),
        ],
    );
}

#[test]
fn what_does_not_exist_is_named_and_the_nearest_suggested() {
    all(
        &target("o", "a BIGINT", ""),
        &[
            ("SELECT idd FROM t", "OF0302", "idd"),
            ("SELECT t.ID FROM t", "OF0302", ""),
            ("SELECT x.id FROM t", "OF0302", ""),
            ("SELECT CHARACTR_LENGTH(s) FROM t", "OF0304", "CHARACTR_LENGTH"),
            ("SELECT id FROM t AS a CROSS JOIN (VALUES (1)) AS b(id)", "OF0303", "id"),
            ("SELECT id + s FROM t", "OF0305", "id"),
            ("SELECT UPPER(id) FROM t", "OF0305", "UPPER"),
        ],
    );
    let text = format!("{SOURCE}{}INSERT INTO o SELECT idd FROM t;", target("o", "a BIGINT", ""));
    assert_eq!(refusal(&text)[0].helps(), ["did you mean 'id'?"]);
}

#[test]
fn the_result_has_to_fit_the_table() {
    all(
        &target("o", "a BIGINT, b STRING", ""),
        &[
            ("SELECT id FROM t", "OF0330", "o"),
            ("SELECT id, s, n FROM t", "OF0330", "o"),
            ("SELECT s, s FROM t", "OF0331", "s"),
            ("SELECT id, n FROM t", "OF0331", "n"),
            ("SELECT id, ts FROM t", "OF0331", "ts"),
        ],
    );
}

#[test]
fn groups_have_to_fit_the_merging_table() {
    let sink = target(
        "o",
        "s STRING, n BIGINT, total DECIMAL(12, 1), PRIMARY KEY (s) NOT ENFORCED",
        ", 'merge.n' = 'sum', 'merge.total' = 'max'",
    );
    all(
        &sink,
        &[
            ("SELECT s, COUNT(*), SUM(d) FROM t GROUP BY s", "OF0317", "SUM"),
            ("SELECT s, MAX(n), MAX(d) FROM t GROUP BY s", "OF0317", "MAX"),
            ("SELECT s, COUNT(*), MAX(d) FROM t GROUP BY s, n", "OF0323", "n"),
            ("SELECT MAX(s), COUNT(*), MAX(d) FROM t GROUP BY n", "OF0323", "MAX"),
            ("SELECT s, COUNT(*) + 1, MAX(d) FROM t GROUP BY s", "OF0325", "s"),
            ("SELECT * FROM (SELECT s, COUNT(*) AS c, MAX(d) AS m FROM t GROUP BY s) AS q WHERE c > 1", "OF0316", "c"),
            (
                "SELECT s, SUM(c), MAX(m) FROM (SELECT s, COUNT(*) AS c, MAX(d) AS m FROM t GROUP BY s) AS q GROUP BY s",
                "OF0325",
                "",
            ),
        ],
    );
    let rounded =
        target("o", "s STRING, total DECIMAL(12, 1), PRIMARY KEY (s) NOT ENFORCED", ", 'merge.total' = 'sum'");
    all(&rounded, &[("SELECT s, SUM(d) FROM t GROUP BY s", "OF0331", "SUM")]);
}

#[test]
fn rounding_is_said() {
    let text = format!("{SOURCE}{}INSERT INTO o SELECT d FROM t;", target("o", "a DECIMAL(12, 1)", ""));
    let warnings = compiled(&text).expect("it compiles").warnings;
    assert_eq!(warnings.iter().map(|warning| warning.code().to_string()).collect::<Vec<_>>(), ["OF0335"]);
}
