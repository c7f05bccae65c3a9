//! `onceflow torture` on files → SQLite, with nothing installed: a healthy pipeline, and results that somebody else spoils.

use crate::sandbox::{Ran, Sandbox};
use rusqlite::Connection;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PIPELINE: &str = "
SET 'auto-create' = 'true';
CREATE TABLE t (id BIGINT, v STRING) WITH ('connector' = 'filesystem', 'path' = 'in/*.jsonl', 'format' = 'json');
CREATE TABLE copy (id BIGINT, v STRING, at TIMESTAMP(3))
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'copy');
CREATE TABLE sums (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED)
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'sums', 'merge.n' = 'sum');
INSERT INTO copy SELECT id, v, CURRENT_TIMESTAMP FROM t;
INSERT INTO sums SELECT v, COUNT(*) FROM t GROUP BY v;
";

const STATEMENT: &str = "
CREATE TABLE t (id BIGINT, v STRING) WITH ('connector' = 'filesystem', 'path' = 'in/*.jsonl', 'format' = 'json');
CREATE TABLE accounts (v STRING, delta BIGINT) WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db',
  'write.statement' = 'UPDATE accounts SET balance = balance + :delta WHERE id = :v', 'write.expect-rows' = '1');
INSERT INTO accounts SELECT v, id FROM t;
";

fn lines(ids: std::ops::Range<i64>) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"v\":\"v{}\"}}\n", id % 7)).collect()
}

fn sandbox(pipeline: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[("p.sql", pipeline), ("in/a.jsonl", &lines(0..1_500))]);
    std::fs::create_dir(sandbox.path().join("tmp")).expect("the folder is ours");
    sandbox
}

fn torture(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let temporary = sandbox.path().join("tmp");
    let all = [&["torture", "p.sql", "--seed", "7"], arguments].concat();
    sandbox.run_with(&all, &[("TMPDIR", temporary.to_str().expect("a plain path"))])
}

/// What is in the folder for scratch copies.
fn left(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path().join("tmp")).expect("the folder is ours");
    entries.map(|entry| entry.expect("the folder is ours").path()).collect()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
}

/// A cell of the matrix.
fn count(found: &Value, point: &str, fault: &str, column: &str) -> i64 {
    let cells = found["matrix"].as_array().expect("a matrix");
    let cell = cells.iter().find(|cell| cell["point"] == point && cell["fault"] == fault);
    cell.unwrap_or_else(|| panic!("no {point}/{fault}: {found:#}"))[column].as_i64().expect("a number")
}

#[test]
fn every_fault_on_files_and_sqlite_leaves_the_same_rows() {
    let sandbox = sandbox(PIPELINE);
    let ran = torture(&sandbox, &["--rows", "1000", "--kills", "4", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let found = json(&ran);
    assert_eq!((&found["verdict"], &found["seed"], &found["records"]), (&"same".into(), &7.into(), &1_000.into()));
    for point in onceflow::crash::POINTS {
        assert_eq!(count(&found, point, "kill", "same"), 1, "{point}");
        let stopped = count(&found, point, "stop", "same") + count(&found, point, "stop", "fenced");
        assert_eq!(stopped, 1, "{point}");
    }
    for point in ["after_claim", "after_seek", "after_fetch"] {
        assert_eq!(count(&found, point, "stop", "fenced"), 1, "{point}: whoever wakes up behind a successor is fenced");
    }
    assert_eq!(found["failures"], Value::Array(Vec::new()));
    assert!(found["notes"].to_string().contains("not compared: copy.at"), "{found:#}");
    assert!(!sandbox.path().join("out.db").exists(), "the real target was touched");
    assert_eq!(left(&sandbox), Vec::<PathBuf>::new());
}

#[test]
fn a_statement_is_tortured_on_a_copy_of_the_rows_that_it_changes() {
    let sandbox = sandbox(STATEMENT);
    let real = Connection::open(sandbox.path().join("out.db")).expect("a database");
    let accounts: String = (0..7).map(|id| format!("INSERT INTO accounts VALUES ('v{id}', 1000);")).collect();
    real.execute_batch(&format!("CREATE TABLE accounts (id TEXT PRIMARY KEY, balance INTEGER); {accounts}"))
        .expect("a table");
    drop(real);
    let before = std::fs::read(sandbox.path().join("out.db")).expect("it is there");
    let only = ["--rows", "400", "--only", "after_commit,commit_sent,mid_rows/kill", "--format", "json"];
    let ran = torture(&sandbox, &only);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let found = json(&ran);
    assert_eq!((&found["faults"], &found["rows"]), (&3.into(), &7.into()));
    assert_eq!(count(&found, "mid_rows", "kill", "same"), 1);
    assert_eq!(
        std::fs::read(sandbox.path().join("out.db")).expect("it is there"),
        before,
        "the real table was touched"
    );
}

/// Spoils the scratch copy of the first fault once it has rows.
fn spoil(folder: &Path, sql: &str, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let runs = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for copy in runs.map(|run| run.path().join("c1-0.db")).filter(|copy| copy.exists()) {
            let Ok(scratch) = Connection::open(&copy) else { continue };
            scratch.busy_timeout(Duration::from_secs(5)).expect("it is a number");
            if scratch.execute(sql, []).is_ok_and(|rows| rows > 0) {
                return;
            }
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn what_somebody_else_spoils_is_reported_with_the_command_that_repeats_it() {
    for (sql, outcome) in [
        ("DELETE FROM copy WHERE id = (SELECT min(id) FROM copy)", "missing"),
        ("INSERT INTO copy SELECT * FROM copy LIMIT 1", "repeated"),
        ("UPDATE sums SET n = n + 1 WHERE v = 'v3'", "changed"),
    ] {
        let sandbox = sandbox(PIPELINE);
        let over = AtomicBool::new(false);
        let ran = std::thread::scope(|scope| {
            let folder = sandbox.path().join("tmp");
            let spoiling = scope.spawn({
                let over = &over;
                move || spoil(&folder, sql, over)
            });
            let ran = torture(&sandbox, &["--only", "after_commit/kill", "--format", "json"]);
            over.store(true, Ordering::SeqCst);
            spoiling.join().expect("it does not panic");
            ran
        });
        assert_eq!(ran.code, 1, "{outcome}: {}{}", ran.stdout, ran.stderr);
        let found = json(&ran);
        assert_eq!(found["verdict"], "different");
        assert_eq!(count(&found, "after_commit", "kill", outcome), 1, "{found:#}");
        let failure = &found["failures"][0];
        assert_eq!(failure["outcome"], outcome);
        let again = "onceflow torture p.sql --rows 20000 --seed 7 --only after_commit/kill --try 0";
        assert_eq!(failure["again"], again);
        assert!(ran.stderr.contains(again), "{}", ran.stderr);
        assert_eq!(left(&sandbox), Vec::<PathBuf>::new());
    }
}

#[test]
fn what_never_happens_is_said_and_proves_nothing() {
    let sandbox = sandbox(PIPELINE);
    // One record is one epoch, so that no point of an epoch is passed again.
    let ran = torture(&sandbox, &["--rows", "1", "--only", "after_commit/kill-later"]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("NOT HIT, so nothing was shown there: after_commit/kill-later"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_tortured_is_refused_before_anything_is_made() {
    let nowhere = PIPELINE.replace("in/*.jsonl", "none/*.jsonl");
    let print =
        "CREATE TABLE t (id BIGINT) WITH ('connector' = 'filesystem', 'path' = 'in/*.jsonl', 'format' = 'json');
CREATE TABLE p (id BIGINT) WITH ('connector' = 'print');
INSERT INTO p SELECT id FROM t;";
    for (pipeline, arguments, code, exit) in [
        (PIPELINE, &["--only", "nowhere/kill"][..], "OF0156", 2),
        (print, &[], "OF0152", 2),
        (&nowhere, &[], "OF0155", 2),
    ] {
        let sandbox = sandbox(pipeline);
        sandbox.write("none/empty.jsonl", "");
        let ran = torture(&sandbox, arguments);
        assert!(ran.stderr.contains(code), "{code}: {}", ran.stderr);
        assert_eq!(ran.code, exit, "{code}: {}", ran.stderr);
        assert_eq!(left(&sandbox), Vec::<PathBuf>::new(), "{code}");
        assert!(!sandbox.path().join("out.db").exists(), "{code}");
    }
}

/// A plan as torture writes it, for one home.
fn plan(sandbox: &Sandbox, scratch: &Path, token: &str) -> String {
    let real = sandbox.path().canonicalize().expect("it is there").join("out.db");
    let real = format!("sqlite:{}", real.display());
    let part = serde_json::json!({"source": "t", "topic": "in/a.jsonl", "number": 0, "from": 0, "until": 36});
    let home = serde_json::json!({"real": real, "name": scratch, "via": []});
    let plan = serde_json::json!({
        "pipeline": "p", "token": token, "rows_max": 5, "homes": [home], "parts": [part]
    });
    plan.to_string()
}

#[test]
fn a_scratch_run_refuses_every_place_that_is_not_its_scratch() {
    let sandbox = sandbox(PIPELINE);
    let folder = sandbox.path().canonicalize().expect("it is there");
    let (real, other, hard) = (folder.join("out.db"), folder.join("other.db"), folder.join("hard.db"));
    for path in [&real, &other] {
        let made = Connection::open(path).expect("a database");
        made.execute_batch("CREATE TABLE torture_scratch (token TEXT); INSERT INTO torture_scratch VALUES ('right');")
            .expect("a table");
    }
    std::fs::hard_link(&real, &hard).expect("the folder is ours");
    let missing = folder.join("missing.db");
    for (place, token, code) in [
        (&real, "right", "OF0151"),
        (&hard, "right", "OF0151"),
        (&other, "wrong", "OF0151"),
        (&missing, "right", "OF0151"),
    ] {
        sandbox.write("plan.json", &plan(&sandbox, place, token));
        let ran = sandbox.run_with(&["run", "p.sql"], &[("ONCEFLOW_SCRATCH", "plan.json")]);
        assert_eq!(ran.code, 2, "{}: {}", place.display(), ran.stderr);
        assert!(ran.stderr.contains(code), "{}: {}", place.display(), ran.stderr);
    }
    sandbox.write("plan.json", "{}");
    let ran = sandbox.run_with(&["run", "p.sql"], &[("ONCEFLOW_SCRATCH", "plan.json")]);
    assert_eq!((ran.code, ran.stderr.contains("OF0150")), (2, true), "{}", ran.stderr);
    // The right place with the right token works, and takes what the plan says.
    sandbox.write("plan.json", &plan(&sandbox, &other, "right"));
    let ran = sandbox.run_with(&["run", "p.sql"], &[("ONCEFLOW_SCRATCH", "plan.json")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows = sandbox.query("other.db", "SELECT count(*) FROM copy");
    assert_eq!(rows, ["Integer(2)"], "the plan ends after two lines");
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'copy'";
    assert_eq!(sandbox.query("out.db", tables), ["Integer(0)"], "the real database was touched");
}

#[test]
fn the_example_that_needs_nothing_is_tortured() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let read = |name: &str| std::fs::read_to_string(examples.join(name)).expect("an example");
    let orders = ["2026-01-01", "2026-01-02", "2026-01-03"].map(|day| format!("orders/{day}.jsonl"));
    let sandbox = sandbox(&read("files.sql"));
    orders.iter().for_each(|name| sandbox.write(name, &read(name)));
    let ran = torture(&sandbox, &["--kills", "2", "--only", "after_rows,commit_sent,after_commit/kill"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

/// The processes that a process has started.
fn children(parent: u32) -> usize {
    let tasks = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    tasks.split_whitespace().count()
}

#[test]
fn an_interrupted_run_removes_what_it_made_and_says_that_it_did_not_finish() {
    let sandbox = sandbox(PIPELINE);
    let temporary = sandbox.path().join("tmp");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_onceflow"));
    command.args(["torture", "p.sql", "--for", "10m"]).current_dir(sandbox.path()).env("TMPDIR", &temporary);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let running = command.spawn().expect("the binary was built with this test");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let faults = || left(&sandbox).iter().any(|folder| folder.join("c3").exists());
    while !faults() {
        assert!(std::time::Instant::now() < until, "no fault was brought about");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let id = running.id();
    assert!(children(id) <= 2, "only the fault's own processes run");
    let kill = std::process::Command::new("kill").args(["-INT", &id.to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    let output = running.wait_with_output().expect("it is our child");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("were left out") && said.contains("could not check"), "{said}");
    assert_eq!(left(&sandbox), Vec::<PathBuf>::new());
}

#[test]
fn what_is_kept_is_named_and_is_there() {
    let sandbox = sandbox(PIPELINE);
    let ran = torture(&sandbox, &["--rows", "100", "--only", "after_commit/kill", "--keep"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let kept = left(&sandbox);
    assert_eq!(kept.len(), 1);
    assert!(ran.stderr.contains(&format!("kept: {}", kept[0].display())), "{}", ran.stderr);
    let copy = kept[0].join("c1-0.db").display().to_string();
    assert_eq!(sandbox.query(&copy, "SELECT count(*) FROM copy"), ["Integer(100)"]);
    assert!(kept[0].join("c1/plan.json").exists());
}
