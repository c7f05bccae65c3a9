//! `onceflow audit` on files → SQLite: a healthy pipeline is clean, and every fault that is put in by hand is found and named.

use crate::sandbox::{Ran, Sandbox};
use serde_json::Value;

const PIPELINE: &str = "
SET 'pipeline.name' = 'audited';
SET 'auto-create' = 'true';
SET 'epoch.rows_max' = '100';
CREATE TABLE src (id BIGINT NOT NULL, account STRING NOT NULL, amount DECIMAL(12, 2) NOT NULL, note STRING)
WITH ('connector' = 'filesystem', 'path' = 'in/*.jsonl', 'format' = 'json');
CREATE TABLE log (id BIGINT NOT NULL, account STRING NOT NULL, amount DECIMAL(12, 2) NOT NULL, note STRING, at TIMESTAMP_LTZ(3))
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'log');
CREATE TABLE balance (account STRING NOT NULL, n BIGINT NOT NULL, total DECIMAL(18, 2) NOT NULL,
  PRIMARY KEY (account) NOT ENFORCED)
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'balance', 'merge.n' = 'sum', 'merge.total' = 'sum');
CREATE TABLE latest (account STRING NOT NULL, id BIGINT NOT NULL, PRIMARY KEY (account) NOT ENFORCED)
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'latest');
CREATE TABLE seen (account STRING NOT NULL, id BIGINT NOT NULL, PRIMARY KEY (account) NOT ENFORCED)
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'seen', 'write.mode' = 'insert-ignore');
INSERT INTO log SELECT id, account, amount, note, CURRENT_TIMESTAMP FROM src WHERE MOD(id, 10) <> 3;
INSERT INTO balance SELECT account, COUNT(*), SUM(amount) FROM src GROUP BY account;
INSERT INTO latest SELECT account, id FROM src;
INSERT INTO seen SELECT account, id FROM src;
";

fn lines(ids: std::ops::Range<i64>) -> String {
    let line = |id: i64| {
        let note = if id % 3 == 0 { "null".to_owned() } else { format!("\"ä {id}\"") };
        format!(
            "{{\"id\":{id},\"account\":\"a{}\",\"amount\":\"{}.{:02}\",\"note\":{note}}}\n",
            id % 7,
            id % 90,
            id % 100
        )
    };
    ids.map(line).collect()
}

/// A pipeline that has run: 500 records in two files and one that is no JSON.
fn ran() -> Sandbox {
    let sandbox = Sandbox::new(&[
        ("p.sql", PIPELINE),
        ("in/a.jsonl", &(lines(0..300) + "no json\n")),
        ("in/b.jsonl", &lines(300..500)),
    ]);
    let ran = sandbox.run(&["run", "p.sql"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    sandbox
}

fn change(sandbox: &Sandbox, sql: &str) {
    let database = rusqlite::Connection::open(sandbox.path().join("out.db")).expect("it is a database");
    database.execute_batch(sql).expect("the change is right");
}

fn audit(sandbox: &Sandbox, more: &[&str]) -> (Ran, Value) {
    let arguments: Vec<&str> = ["audit", "p.sql", "--format", "json"].iter().chain(more).copied().collect();
    let ran = sandbox.run(&arguments);
    let value = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
    (ran, value)
}

fn numbers(value: &Value) -> [u64; 6] {
    ["once", "missing", "repeated", "changed", "unexpected", "unverifiable"]
        .map(|name| value["summary"][name].as_u64().expect("it is a number"))
}

/// 450 rows in `log`, 7 in each of the others.
const ONCE: u64 = 450 + 3 * 7;

#[test]
fn a_healthy_pipeline_is_clean_at_every_level() {
    let sandbox = ran();
    for level in ["1", "2", "3"] {
        let (ran, value) = audit(&sandbox, &["--level", level]);
        assert_eq!((ran.code, &value["verdict"]), (0, &Value::from("clean")), "{level}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(value["findings"], Value::Array(Vec::new()), "{level}");
        assert_eq!((&value["summary"]["inputs"], &value["summary"]["dead_letters"]), (&501.into(), &1.into()));
    }
    let (_, value) = audit(&sandbox, &[]);
    assert_eq!(numbers(&value), [ONCE, 0, 0, 0, 0, 0]);
    let people = sandbox.run(&["audit", "p.sql"]);
    assert!(people.stdout.contains("clean: 501 records, each took effect once"), "{}", people.stdout);
    let combined = sandbox.run(&["audit", "p.sql", "--combined"]);
    assert_eq!(lines_of(&combined.stdout, "= log "), 450);
    assert_eq!((lines_of(&combined.stdout, "= latest "), lines_of(&combined.stdout, "= seen ")), (500, 500));
    // A group's row is made of many records: one line for each group of each commit.
    assert!((7..500).contains(&lines_of(&combined.stdout, "= balance ")), "{}", combined.stdout);
    assert!(combined.stdout.lines().all(|line| line.starts_with("= ")), "{}", combined.stdout);
}

fn lines_of(text: &str, beginning: &str) -> usize {
    text.lines().filter(|line| line.starts_with(beginning)).count()
}

#[test]
fn what_is_done_to_the_tables_by_hand_is_found_and_named() {
    let sandbox = ran();
    let clean = std::fs::read(sandbox.path().join("out.db")).expect("it was written");
    for (sql, kind, table, counts, said) in [
        ("DELETE FROM log WHERE id = 77", "missing", "log", [ONCE - 1, 1, 0, 0, 0, 0], "not in the table"),
        ("INSERT INTO log SELECT * FROM log WHERE id = 42", "repeated", "log", [ONCE, 0, 1, 0, 0, 0], "stands 2 times"),
        ("UPDATE log SET amount = 1.5 WHERE id = 99", "changed", "log", [ONCE - 1, 0, 0, 1, 0, 0], "amount is 1.5"),
        ("UPDATE log SET note = NULL WHERE id = 100", "changed", "log", [ONCE - 1, 0, 0, 1, 0, 0], "note is NULL"),
        ("INSERT INTO log VALUES (999, 'x', 1, NULL, NULL)", "unexpected", "log", [ONCE, 0, 0, 0, 1, 0], "no record"),
        (
            "UPDATE balance SET total = total + 1 WHERE account = 'a3'",
            "changed",
            "balance",
            [ONCE - 1, 0, 0, 1, 0, 0],
            "total is",
        ),
        (
            "DELETE FROM balance WHERE account = 'a3'",
            "missing",
            "balance",
            [ONCE - 1, 1, 0, 0, 0, 0],
            "no row has its key",
        ),
        (
            "INSERT INTO balance VALUES ('z', 1, 1)",
            "unexpected",
            "balance",
            [ONCE, 0, 0, 0, 1, 0],
            "no record has this key",
        ),
        (
            "UPDATE latest SET id = 1 WHERE account = 'a2'",
            "changed",
            "latest",
            [ONCE - 1, 0, 0, 1, 0, 0],
            "should be 499",
        ),
        (
            "DELETE FROM latest WHERE account = 'a2'",
            "missing",
            "latest",
            [ONCE - 1, 1, 0, 0, 0, 0],
            "no row has its key",
        ),
        ("UPDATE seen SET id = 499 WHERE account = 'a2'", "changed", "seen", [ONCE - 1, 0, 0, 1, 0, 0], "should be 2"),
    ] {
        std::fs::write(sandbox.path().join("out.db"), &clean).expect("the file is ours");
        change(&sandbox, sql);
        let (ran, value) = audit(&sandbox, &[]);
        assert_eq!((ran.code, numbers(&value)), (1, counts), "{sql}: {}", ran.stdout);
        let findings = value["findings"].as_array().expect("a list");
        assert_eq!(findings.len(), 1, "{sql}: {}", ran.stdout);
        assert_eq!((&findings[0]["kind"], &findings[0]["table"]), (&kind.into(), &table.into()), "{sql}");
        assert!(findings[0]["said"].as_str().is_some_and(|text| text.contains(said)), "{sql}: {}", findings[0]);
    }
}

#[test]
fn a_missing_row_is_named_by_its_record() {
    let sandbox = ran();
    change(&sandbox, "DELETE FROM log WHERE id = 301");
    let (_, value) = audit(&sandbox, &[]);
    let finding = &value["findings"][0];
    assert_eq!((&finding["topic"], &finding["partition"]), (&"in/b.jsonl".into(), &0.into()));
    assert_eq!(finding["offset"].as_u64(), Some(lines(300..301).len() as u64));
    assert_eq!(finding["row"]["id"], 301);
    let text = sandbox.run(&["audit", "p.sql"]).stdout;
    assert!(text.contains("missing log in/b.jsonl/0 offset"), "{text}");
    let csv = sandbox.run(&["audit", "p.sql", "--format", "csv"]).stdout;
    assert!(csv.starts_with("kind,table,topic,partition,offset,times,row,said\r\nmissing,log,in/b.jsonl,0,"), "{csv}");
    let combined = sandbox.run(&["audit", "p.sql", "--combined"]).stdout;
    assert!(combined.lines().any(|line| line.starts_with("- log in/b.jsonl/0 ")), "{combined}");
}

#[test]
fn whoever_edits_the_ledger_is_found() {
    let sandbox = ran();
    let clean = std::fs::read(sandbox.path().join("out.db")).expect("it was written");
    for sql in [
        "UPDATE onceflow_commit SET used = used - 1, filtered = filtered + 1 WHERE id = 2",
        "UPDATE onceflow_commit SET prepared = replace(prepared, '\"filtered\":', '\"filtered\":1') WHERE id = 2",
        "DELETE FROM onceflow_commit WHERE id = 2",
        "DELETE FROM onceflow_commit WHERE id = 1",
        "DELETE FROM onceflow_commit WHERE id = (SELECT max(id) FROM onceflow_commit)",
        "UPDATE onceflow_position SET next_offset = next_offset - 50 WHERE topic = 'in/a.jsonl'",
        "UPDATE onceflow_shard SET epoch = epoch + 1",
        "UPDATE onceflow_shard SET chain = '0000000000000000000000000000000000000000000000000000000000000000'",
        "DELETE FROM onceflow_dead_letter",
    ] {
        std::fs::write(sandbox.path().join("out.db"), &clean).expect("the file is ours");
        change(&sandbox, sql);
        let (ran, value) = audit(&sandbox, &["--level", "1"]);
        assert_eq!((ran.code, &value["verdict"]), (1, &"findings".into()), "{sql}: {}{}", ran.stdout, ran.stderr);
        let findings = value["findings"].as_array().expect("a list");
        assert!(findings.iter().all(|finding| finding["kind"] == "ledger"), "{sql}: {}", ran.stdout);
        // The rows themselves are as they should be, and nothing else is said of them.
        let (_, value) = audit(&sandbox, &[]);
        assert_eq!(numbers(&value)[1..5], [0; 4], "{sql}: {value:#}");
    }
}

#[test]
fn a_ledger_that_cannot_be_read_is_an_error_with_its_place() {
    let sandbox = ran();
    change(&sandbox, "UPDATE onceflow_commit SET shards = '[{}]' WHERE id = 2");
    let ran = sandbox.run(&["audit", "p.sql"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("OF0121") && ran.stderr.contains("row 2"), "{}", ran.stderr);
}

#[test]
fn a_source_that_changed_or_is_gone_is_told_apart() {
    let sandbox = ran();
    let text = std::fs::read_to_string(sandbox.path().join("in/a.jsonl")).expect("it was written");
    sandbox.write("in/a.jsonl", &text.replacen("\"id\":9,", "\"id\":8,", 1));
    let (ran, value) = audit(&sandbox, &["--level", "2"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(value["findings"][0]["kind"], "source", "{}", ran.stdout);
    std::fs::remove_file(sandbox.path().join("in/a.jsonl")).expect("it was there");
    let (ran, value) = audit(&sandbox, &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(numbers(&value)[1..5], [0; 4], "{}", ran.stdout);
    assert!(value["summary"]["unverifiable"].as_u64().is_some_and(|count| count >= 301), "{}", ran.stdout);
    std::fs::remove_file(sandbox.path().join("in/b.jsonl")).expect("it was there");
    let (ran, _) = audit(&sandbox, &[]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn rows_that_were_there_before_are_counted_as_such() {
    let sandbox = Sandbox::new(&[("p.sql", PIPELINE), ("in/a.jsonl", &lines(0..100))]);
    change(
        &sandbox,
        "CREATE TABLE log (id INTEGER, account TEXT, amount NUMERIC, note TEXT, at TEXT);
        INSERT INTO log VALUES (1000000, 'old', 1, NULL, NULL)",
    );
    let ran = sandbox.run(&["run", "p.sql", "--adopt"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (ran, value) = audit(&sandbox, &[]);
    assert_eq!((ran.code, &value["adopted"]), (0, &1.into()), "{}", ran.stdout);
    change(&sandbox, "DELETE FROM log WHERE id = 5");
    let (ran, value) = audit(&sandbox, &[]);
    assert_eq!((ran.code, &value["summary"]["missing"]), (1, &1.into()), "{}", ran.stdout);
}

#[test]
fn records_that_the_producer_sent_twice_are_found_by_key() {
    let sandbox = Sandbox::new(&[("p.sql", PIPELINE), ("in/a.jsonl", &(lines(0..20) + &lines(7..8)))]);
    assert_eq!(sandbox.run(&["run", "p.sql"]).code, 0);
    assert_eq!(audit(&sandbox, &[]).0.code, 0);
    let (ran, value) = audit(&sandbox, &["--key", "id"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let twice: Vec<_> = value["findings"].as_array().expect("a list").iter().map(|f| f["kind"].clone()).collect();
    assert!(twice.iter().all(|kind| kind == "sent twice") && !twice.is_empty(), "{}", ran.stdout);
    let ran = sandbox.run(&["audit", "p.sql", "--key", "nothing"]);
    assert!(ran.code == 2 && ran.stderr.contains("OF0123"), "{}", ran.stderr);
}

#[test]
fn a_range_judges_its_own_commits() {
    let sandbox = ran();
    change(&sandbox, "DELETE FROM log WHERE id = 0");
    let (ran, value) = audit(&sandbox, &["--until", "1"]);
    assert_eq!((ran.code, &value["summary"]["missing"]), (1, &1.into()), "{}{}", ran.stdout, ran.stderr);
    let (ran, value) = audit(&sandbox, &["--since", "2"]);
    assert_eq!((ran.code, &value["summary"]["missing"]), (0, &0.into()), "{}", ran.stdout);
    let ran = sandbox.run(&["audit", "p.sql", "--since", "yesterday"]);
    assert!(ran.code == 2 && ran.stderr.contains("OF0122"), "{}", ran.stderr);
}

#[test]
fn an_audit_writes_nothing_and_says_where_there_is_nothing_to_audit() {
    let sandbox = Sandbox::new(&[("p.sql", PIPELINE), ("in/a.jsonl", &lines(0..20))]);
    let ran = sandbox.run(&["audit", "p.sql"]);
    assert!(ran.code == 3 && !sandbox.path().join("out.db").exists(), "{}", ran.stderr);
    let print = PIPELINE.split("CREATE TABLE log").next().expect("it begins").to_owned()
        + "CREATE TABLE out (id BIGINT) WITH ('connector' = 'print'); INSERT INTO out SELECT id FROM src;";
    sandbox.write("print.sql", &print);
    let ran = sandbox.run(&["audit", "print.sql"]);
    assert!(ran.code == 2 && ran.stderr.contains("OF0120"), "{}", ran.stderr);
}

#[test]
fn every_record_has_its_line_and_those_with_a_finding_another_one() {
    let sandbox = ran();
    change(&sandbox, "DELETE FROM log WHERE id IN (77, 78); INSERT INTO log VALUES (999, 'x', 1, NULL, NULL)");
    let ran = sandbox.run(&["audit", "p.sql", "--combined"]);
    let count = |sign: &str| lines_of(&ran.stdout, sign);
    assert_eq!((ran.code, count("= log "), count("- log "), count("+ log ")), (1, 448, 2, 1), "{}", ran.stderr);
    assert_eq!((count("= latest "), count("= seen "), count("- "), count("+ ")), (500, 500, 2, 1));
}

#[test]
fn a_report_is_one_page_with_everything_and_a_place_that_cannot_be_written_is_told_first() {
    let sandbox = ran();
    change(&sandbox, "DELETE FROM log WHERE id = 77");
    let ran = sandbox.run(&["audit", "p.sql", "--html", "report.html"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let page = std::fs::read_to_string(sandbox.path().join("report.html")).expect("it was written");
    for word in ["1 finding", "missing in log", "in/a.jsonl", "class=\"bad\"", "class=\"much\"", "onceflow audit p.sql"]
    {
        assert!(page.contains(word), "{word}: {page}");
    }
    let ran = sandbox.run(&["audit", "p.sql", "--html", "nowhere/report.html"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("OF0126"), "{}", ran.stderr);
    let ran = sandbox.run(&["audit", "p.sql", "--level", "1", "--html", "ledger.html"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_table_that_something_else_writes_is_compared_with_files() {
    let sandbox = Sandbox::new(&[("in/a.csv", "1,x,10\n2,y,20\n3,z,30\n")]);
    change(&sandbox, "CREATE TABLE t (id INTEGER, amount INTEGER); INSERT INTO t VALUES (1, 10), (2, 20), (2, 20)");
    let map = ["--home", "sqlite:out.db", "--table", "t", "--map", "id=n, amount=a", "--format", "json"];
    let csv = ["--files", "in/*.csv", "--input-format", "csv", "--fields", "n,name,a"];
    let ran = sandbox.run(&[&["audit"], csv.as_slice(), map.as_slice()].concat());
    let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    assert_eq!((ran.code, numbers(&value)), (1, [2, 1, 1, 0, 0, 0]), "{value:#}");
    let ran = sandbox.run(&[&["audit", "--files", "in/*.csv", "--input-format", "csv"], map.as_slice()].concat());
    assert!(ran.code == 2 && ran.stderr.contains("--fields"), "{}", ran.stderr);
}
