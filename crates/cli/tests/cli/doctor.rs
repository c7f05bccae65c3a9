//! Doctor over files and SQLite: a healthy pipeline, and one with each fault put in by hand.

use crate::sandbox::{Ran, Sandbox};
use serde_json::Value;

const PIPELINE: &str = "
SET 'auto-create' = 'true';
SET 'pipeline.name' = 'orders';
CREATE TABLE t (id BIGINT, v STRING) WITH ('connector' = 'filesystem', 'path' = 'in/*.jsonl', 'format' = 'json');
CREATE TABLE copy (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'copy');
INSERT INTO copy SELECT id, v FROM t;
";

fn lines(ids: std::ops::Range<i64>) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"v\":\"v{}\"}}\n", id % 7)).collect()
}

/// A sandbox in which the pipeline has run.
fn run() -> Sandbox {
    let sandbox = Sandbox::new(&[("p.sql", PIPELINE), ("in/a.jsonl", &lines(0..250))]);
    let ran = sandbox.run(&["run", "p.sql"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    sandbox
}

fn change(sandbox: &Sandbox, sql: &str) {
    let database = rusqlite::Connection::open(sandbox.path().join("out.db")).expect("it is a database");
    database.execute_batch(sql).expect("the statement is right");
}

fn doctor(sandbox: &Sandbox, more: &[&str]) -> (Ran, Value) {
    let arguments: Vec<&str> = ["doctor", "p.sql", "--format", "json"].iter().chain(more).copied().collect();
    let ran = sandbox.run(&arguments);
    let object = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr));
    (ran, object)
}

/// The status of a check, and what was seen.
fn check<'a>(object: &'a Value, id: &str) -> (&'a str, &'a str) {
    let checks = object["checks"].as_array().expect("there are checks");
    let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}: {object:#}"));
    (check["status"].as_str().expect("a word"), check["seen"].as_str().expect("a text"))
}

#[test]
fn nothing_is_found_on_a_healthy_pipeline_and_nothing_is_changed() {
    let sandbox = run();
    let dump = || {
        let mut all = sandbox.query("out.db", "SELECT * FROM onceflow_migration");
        for table in
            ["onceflow_shard", "onceflow_position", "onceflow_commit", "onceflow_event", "copy", "sqlite_schema"]
        {
            all.extend(sandbox.query("out.db", &format!("SELECT * FROM {table}")));
        }
        all
    };
    let before = dump();
    let (ran, object) = doctor(&sandbox, &[]);
    assert_eq!(ran.code, 0, "{object:#}");
    assert_eq!(object["summary"]["broken"], 0);
    assert_eq!(object["summary"]["unknown"], 0);
    for id in [
        "probe-transaction",
        "probe-fence",
        "triggers",
        "key-unique",
        "source-identity",
        "ledger-chain",
        "journal-mode",
    ] {
        assert_eq!(check(&object, id).0, "ok", "{id}");
    }
    assert_eq!(dump(), before);
    let causes: std::collections::BTreeSet<u64> =
        object["checks"].as_array().expect("checks").iter().filter_map(|check| check["cause"].as_u64()).collect();
    assert_eq!(causes.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn the_last_line_says_what_is_true() {
    let sandbox = run();
    let ran = sandbox.run(&["doctor", "p.sql"]);
    let last = ran.stdout.lines().last().expect("it says something");
    assert!(last.starts_with("orders: each record takes effect exactly once here"), "{}", ran.stdout);
}

#[test]
fn a_trigger_that_drops_rows_is_broken_and_one_that_writes_beside_is_a_warning() {
    let sandbox = run();
    change(
        &sandbox,
        "CREATE TABLE log (id); CREATE TRIGGER beside AFTER INSERT ON copy BEGIN INSERT INTO log VALUES (1); END",
    );
    let (ran, object) = doctor(&sandbox, &[]);
    assert_eq!(check(&object, "triggers").0, "warning");
    assert_eq!(ran.code, 0, "{object:#}");
    assert_eq!(doctor(&sandbox, &["--strict"]).0.code, 1);
    change(&sandbox, "CREATE TRIGGER drops BEFORE INSERT ON copy BEGIN SELECT RAISE(IGNORE); END");
    let (ran, object) = doctor(&sandbox, &[]);
    let (status, seen) = check(&object, "triggers");
    assert_eq!((ran.code, status), (1, "broken"));
    assert!(seen.contains("drops"), "{seen}");
}

#[test]
fn another_unique_key_is_named() {
    let sandbox = run();
    change(&sandbox, "DELETE FROM copy WHERE id >= 7; CREATE UNIQUE INDEX by_v ON copy (v)");
    let (_, object) = doctor(&sandbox, &[]);
    let (status, seen) = check(&object, "other-unique-keys");
    assert_eq!(status, "warning");
    assert!(seen.contains("by_v (v)"), "{seen}");
}

#[test]
fn a_source_file_that_shrank_is_broken() {
    let sandbox = run();
    sandbox.write("in/a.jsonl", &lines(0..10));
    let (ran, object) = doctor(&sandbox, &[]);
    assert_eq!(ran.code, 1, "{object:#}");
    assert_eq!(check(&object, "source-identity").0, "broken");
}

#[test]
fn a_source_file_that_vanished_is_a_warning() {
    let sandbox = run();
    std::fs::remove_file(sandbox.path().join("in/a.jsonl")).expect("it is ours");
    sandbox.write("in/b.jsonl", &lines(0..10));
    let (ran, object) = doctor(&sandbox, &["--strict"]);
    assert_eq!(ran.code, 1, "{object:#}");
    let (status, seen) = check(&object, "partitions-there");
    assert_eq!(status, "warning");
    assert!(seen.contains("in/a.jsonl"), "{seen}");
}

#[test]
fn a_ledger_row_that_was_edited_is_broken() {
    let sandbox = run();
    change(&sandbox, "UPDATE onceflow_commit SET records = records + 1, used = used + 1");
    let (ran, object) = doctor(&sandbox, &[]);
    assert_eq!(ran.code, 1, "{object:#}");
    assert_eq!(check(&object, "ledger-chain").0, "broken");
}

#[test]
fn before_the_first_run_it_says_that_it_could_not_check() {
    let sandbox = Sandbox::new(&[("p.sql", PIPELINE), ("in/a.jsonl", &lines(0..5))]);
    let (ran, object) = doctor(&sandbox, &[]);
    assert_eq!(ran.code, 3, "{object:#}");
    assert!(!sandbox.path().join("out.db").exists(), "it made the database");
}

#[test]
fn a_target_that_keeps_no_ledger_is_at_least_once() {
    let text = PIPELINE
        .replace("'connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'copy'", "'connector' = 'print'");
    let sandbox = Sandbox::new(&[("p.sql", &text), ("in/a.jsonl", &lines(0..5))]);
    let (ran, object) = doctor(&sandbox, &[]);
    assert_eq!(ran.code, 1, "{object:#}");
    assert_eq!(check(&object, "target-is-home").0, "broken");
}

#[test]
fn a_lock_that_another_process_holds_is_named_and_goes_with_it() {
    let sandbox = run();
    let other = rusqlite::Connection::open(sandbox.path().join("out.db")).expect("it is a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let (ran, object) = doctor(&sandbox, &["--strict"]);
    let (status, seen) = check(&object, "write-lock");
    assert_eq!((ran.code, status), (1, "warning"), "{object:#}");
    assert!(seen.contains(&std::process::id().to_string()), "{seen}");
    other.execute_batch("ROLLBACK").expect("it is open");
    let (ran, object) = doctor(&sandbox, &[]);
    assert_eq!((ran.code, check(&object, "write-lock").0), (0, "ok"), "{object:#}");
}

#[test]
fn a_database_in_memory_of_the_machine_is_a_warning() {
    let shared = std::path::Path::new("/dev/shm");
    let Ok(folder) = tempfile::tempdir_in(shared) else {
        println!("not run: /dev/shm cannot be written");
        return;
    };
    let sandbox = run();
    let moved = folder.path().join("out.db");
    let text = PIPELINE.replace("sqlite:out.db", &format!("sqlite:{}", moved.display()));
    sandbox.write("p.sql", &text);
    assert_eq!(sandbox.run(&["run", "p.sql"]).code, 0);
    let (_, object) = doctor(&sandbox, &[]);
    let (status, seen) = check(&object, "disk-durable");
    assert_eq!(status, "warning", "{object:#}");
    assert!(seen.contains("tmpfs"), "{seen}");
}

#[test]
fn few_descriptors_are_named() {
    let sandbox = run();
    let program = env!("CARGO_BIN_EXE_onceflow");
    let limited = |files: &str| {
        let script = format!("ulimit -n {files}; exec '{program}' doctor p.sql --format json");
        let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(sandbox.path()).output();
        let object: Value = serde_json::from_slice(&output.expect("there is a shell").stdout).expect("it is JSON");
        check(&object, "file-descriptors").0.to_owned()
    };
    assert_eq!((limited("256"), limited("2048")), ("warning".to_owned(), "ok".to_owned()));
}
