//! Files → SQLite, end to end.

use crate::sandbox::Sandbox;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PIPELINE: &str = "
SET 'auto-create' = 'true';
SET 'epoch.rows_max' = '100';
CREATE TABLE t (id BIGINT, v STRING) WITH ('connector' = 'filesystem', 'path' = 'in/*.jsonl', 'format' = 'json'FOLLOW);
CREATE TABLE copy (id BIGINT, v STRING) WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'copy');
CREATE TABLE sums (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED)
WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'sums', 'merge.n' = 'sum');
INSERT INTO copy SELECT id, v FROM t;
INSERT INTO sums SELECT v, COUNT(*) FROM t GROUP BY v;
";

fn lines(ids: std::ops::Range<i64>) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"v\":\"v{}\"}}\n", id % 7)).collect()
}

fn check(sandbox: &Sandbox, records: i64) {
    let found = sandbox.query("out.db", "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM copy");
    assert_eq!(found, [format!("Integer({records}) Integer({records}) Integer(0) Integer({})", records - 1)]);
    assert_eq!(sandbox.query("out.db", "SELECT sum(n) FROM sums"), [format!("Integer({records})")]);
    let sql = "SELECT sum(records) FROM onceflow_commit";
    assert_eq!(sandbox.query("out.db", sql), [format!("Integer({records})")]);
}

fn start(sandbox: &Sandbox, crash: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
    command.args(["run", "p.sql", "--until-caught-up"]).current_dir(sandbox.path()).env("ONCEFLOW_CRASH", crash);
    command.env("ONCEFLOW_CRASH_LOG", sandbox.path().join("points"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the binary was built with this test")
}

#[test]
fn a_second_run_writes_nothing_and_new_lines_are_picked_up() {
    let sandbox = Sandbox::new(&[("p.sql", &PIPELINE.replace("FOLLOW", "")), ("in/a.jsonl", &lines(0..250))]);
    for _ in 0..2 {
        let ran = sandbox.run(&["run", "p.sql"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        check(&sandbox, 250);
    }
    sandbox.write("in/a.jsonl", &lines(0..300));
    sandbox.write("in/b.jsonl", &lines(300..310));
    let ran = sandbox.run(&["run", "p.sql"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    check(&sandbox, 310);
}

#[test]
fn every_crash_point_leaves_every_record_once() {
    let mut passed = std::collections::BTreeSet::new();
    for point in onceflow::crash::POINTS {
        for count in [1, 2] {
            let sandbox = Sandbox::new(&[("p.sql", &PIPELINE.replace("FOLLOW", "")), ("in/a.jsonl", &lines(0..1_000))]);
            let mut child = start(&sandbox, &format!("{point}@{count}:kill"));
            child.wait().expect("it is our child");
            let ran = sandbox.run(&["run", "p.sql"]);
            assert_eq!(ran.code, 0, "{point}@{count}: {}", ran.stderr);
            check(&sandbox, 1_000);
            let log = std::fs::read_to_string(sandbox.path().join("points")).unwrap_or_default();
            passed.extend(log.lines().map(str::to_owned));
        }
    }
    let missed: Vec<_> = onceflow::crash::POINTS.iter().filter(|point| !passed.contains(**point)).collect();
    assert!(missed.is_empty(), "crash points that no run has passed: {missed:?}");
}

#[test]
fn two_processes_on_one_file_fence_each_other() {
    let follow = PIPELINE.replace("FOLLOW", ", 'source.monitor-interval' = '100 ms'");
    let sandbox = Sandbox::new(&[("p.sql", &follow), ("in/a.jsonl", &lines(0..500))]);
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
        command.args(["run", "p.sql"]).current_dir(sandbox.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).spawn().expect("the binary was built with this test")
    };
    let rows = || sandbox.query("out.db", "SELECT count(*) FROM copy")[0].clone();
    let mut first = run();
    let until = Instant::now() + Duration::from_secs(30);
    while !sandbox.path().join("out.db").exists() || !ready(&sandbox) || rows() != "Integer(500)" {
        assert!(Instant::now() < until, "the first one does not write");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let mut second = run();
    sandbox.write("in/b.jsonl", &lines(500..800));
    let code = first.wait().expect("it is our child").code();
    assert_eq!(code, Some(4), "the older one is fenced");
    let until = Instant::now() + Duration::from_secs(30);
    while rows() != "Integer(800)" {
        assert!(Instant::now() < until, "the second one does not go on");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    second.kill().expect("it runs");
    second.wait().expect("it is our child");
    check(&sandbox, 800);
}

fn ready(sandbox: &Sandbox) -> bool {
    let sql = "SELECT count(*) FROM sqlite_master WHERE name IN ('copy', 'onceflow_commit')";
    sandbox.query("out.db", sql) == ["Integer(2)"]
}

const CSV: &str = "
SET 'auto-create' = 'true';
CREATE TABLE t (id BIGINT NOT NULL, v STRING, n DECIMAL(8, 2)) WITH ('connector' = 'filesystem', 'path' = 'in/*.csv',
  'format' = 'csv', 'csv.header' = 'true', 'csv.null-literal' = '', 'csv.allow-comments' = 'true');
CREATE TABLE copy (id BIGINT, v STRING, n DECIMAL(8, 2)) WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'copy');
INSERT INTO copy SELECT id, v, n FROM t;
";

#[test]
fn malformed_csv_becomes_dead_letters_and_its_neighbours_go_in() {
    let rows =
        "id,v,n\n1,a,1.5\n2,few\n# 3,\"comment\n4,too,1,many\n5,\"open,1\n6,\"b\nc\",2\n7,\"x\"y,3\n,no id,4\n9,,\n";
    let sandbox = Sandbox::new(&[("p.sql", CSV), ("in/a.csv", rows), ("in/b.csv", "id,v,n\n10,\"last open,1\n11,z,2")]);
    for _ in 0..2 {
        let ran = sandbox.run(&["run", "p.sql", "-q"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let found = sandbox.query("out.db", "SELECT id, length(v), n IS NULL FROM copy ORDER BY id");
        let rows = [(1, "Integer(1)", 0), (6, "Integer(3)", 0), (9, "Null", 1), (11, "Integer(1)", 0)];
        assert_eq!(found, rows.map(|(id, length, null)| format!("Integer({id}) {length} Integer({null})")));
        // `query` shows texts as bytes.
        let codes =
            "SELECT (topic = 'in/a.csv') + 2 * (topic = 'in/b.csv'), substr(code, 3) + 0 FROM onceflow_dead_letter
            ORDER BY topic, \"offset\"";
        let codes = sandbox.query("out.db", codes);
        let wanted = [(1, 608), (1, 608), (1, 609), (1, 609), (1, 605), (2, 609)];
        let wanted = wanted.map(|(file, code)| format!("Integer({file}) Integer({code})"));
        assert_eq!(codes, wanted);
    }
}

#[test]
fn a_csv_header_of_other_columns_stops_before_anything_is_written() {
    let sandbox = Sandbox::new(&[("p.sql", CSV), ("in/a.csv", "v,id,n\na,1,2\n")]);
    let ran = sandbox.run(&["run", "p.sql"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("OF0613") && ran.stderr.contains("in in/a.csv"), "{}", ran.stderr);
    assert_eq!(sandbox.query("out.db", "SELECT count(*) FROM copy"), ["Integer(0)"]);
    sandbox.write("p.sql", &CSV.replace("csv.header", "csv.ignore-first-line"));
    assert_eq!(sandbox.run(&["run", "p.sql", "-q"]).code, 0);
    assert_eq!(sandbox.query("out.db", "SELECT count(*) FROM onceflow_dead_letter"), ["Integer(1)"]);
}
