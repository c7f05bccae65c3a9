//! `onceflow audit` on Kafka → PostgreSQL: clean while the pipeline runs and after it, and right about every fault put in by
//! hand.

use crate::crash::pipeline;
use crate::kafka::{create_topic, delete_records, delete_topic, produce, producer, send};
use crate::postgres::{Database, TABLES};
use crate::process::{Process, Start, eventually};
use crate::services::{Services, services, unique};
use rdkafka::producer::Producer as _;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

struct Case {
    services: Services,
    database: Database,
    topic: String,
    folder: tempfile::TempDir,
    sql: String,
}

impl Case {
    fn new(services: Services, mode: &str, records: i64) -> Self {
        let database = Database::create(&services);
        database.execute(TABLES);
        let topic = unique("audit");
        create_topic(&services, &topic, 3);
        produce(&services, &topic, 3, 0..records);
        let sql = pipeline(&services, &database, &topic, mode);
        Self { services, database, topic, folder: tempfile::tempdir().expect("a folder"), sql }
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let (sql, folder) = (self.sql.as_str(), self.folder.path());
        Process::start(&Start { sql, folder, arguments, environment: &[] })
    }

    /// Runs up to the ends; the table of the statement mode has its rows before.
    fn run(&self, mode: &str) {
        let adopt: &[&str] =
            if mode == "statement" { &["--until-caught-up", "--adopt"] } else { &["--until-caught-up"] };
        self.start(adopt).finish(LIMIT);
    }

    fn audit(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let file = self.folder.path().join("pipeline.sql");
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
        command.arg("audit").arg(file).args(["--format", "json"]).args(arguments).current_dir(self.folder.path());
        let output = command.output().expect("the binary was built with this test");
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        });
        (output.status.code(), value)
    }

    fn group_offsets(&self) -> i64 {
        self.database.number("SELECT coalesce(sum(next_offset), 0)::bigint FROM onceflow.position")
    }
}

fn count(value: &Value, name: &str) -> u64 {
    value["summary"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {value:#}"))
}

fn kinds(value: &Value) -> Vec<String> {
    let findings = value["findings"].as_array().expect("a list");
    findings.iter().map(|finding| finding["kind"].as_str().expect("a word").to_owned()).collect()
}

#[test]
fn every_mode_is_clean_where_nothing_is_wrong() {
    let Some(services) = services() else { return };
    for (mode, once) in [("append", 3_000), ("upsert", 100), ("merge", 100), ("statement", 3_000)] {
        let case = Case::new(services.clone(), mode, 3_000);
        case.run(mode);
        let before = case.group_offsets();
        let (code, value) = case.audit(&[]);
        assert_eq!((code, kinds(&value)), (Some(0), Vec::new()), "{mode}: {value:#}");
        assert_eq!((count(&value, "inputs"), count(&value, "once")), (3_000, once), "{mode}: {value:#}");
        assert_eq!(case.group_offsets(), before, "{mode}");
        delete_topic(&case.services, &case.topic);
    }
}

#[test]
fn faults_that_are_put_into_the_tables_are_named() {
    let Some(services) = services() else { return };
    for (mode, sql, kind, said) in [
        ("append", "DELETE FROM payments WHERE id = 1234", "missing", "not in the table"),
        ("append", "INSERT INTO payments SELECT * FROM payments WHERE id = 77", "repeated", "stands 2 times"),
        ("append", "UPDATE payments SET amount = amount + 1 WHERE id = 5", "changed", "amount is"),
        ("append", "INSERT INTO payments (id) VALUES (-1)", "unexpected", "no record makes this row"),
        ("upsert", "UPDATE latest SET amount = -1 WHERE account = 'a07'", "changed", "amount is -1"),
        ("merge", "UPDATE balances SET total = total - 1 WHERE account = 'a07'", "changed", "total is"),
        ("merge", "DELETE FROM balances WHERE account = 'a07'", "missing", "no row has its key"),
        (
            "statement",
            "UPDATE onceflow.commit SET used = used - 1, filtered = filtered + 1 WHERE id = 2",
            "ledger",
            "commit 2",
        ),
        ("append", "DELETE FROM onceflow.commit WHERE id = 2", "ledger", "epoch"),
    ] {
        let case = Case::new(services.clone(), mode, 2_000);
        case.run(mode);
        case.database.execute(sql);
        let (code, value) = case.audit(&[]);
        assert_eq!(code, Some(1), "{sql}: {value:#}");
        assert!(kinds(&value).iter().all(|found| found == kind), "{sql}: {value:#}");
        let text = value["findings"].to_string();
        assert!(text.contains(said), "{sql}: {text}");
        delete_topic(&case.services, &case.topic);
    }
}

#[test]
fn an_audit_beside_a_running_pipeline_is_clean() {
    let Some(services) = services() else { return };
    let case = Case::new(services, "append", 1_000);
    let mut running = case.start(&[]);
    for round in 1..6_i64 {
        produce(&case.services, &case.topic, 3, round * 1_000..(round + 1) * 1_000);
        eventually("rows are committed", LIMIT, || case.database.number("SELECT count(*) FROM payments") > round * 900);
        let (code, value) = case.audit(&[]);
        assert_eq!((code, kinds(&value)), (Some(0), Vec::new()), "{value:#}");
        assert_eq!(count(&value, "inputs"), count(&value, "once"), "{value:#}");
    }
    running.kill();
    let (code, value) = case.audit(&[]);
    assert_eq!(code, Some(0), "{value:#}");
    delete_topic(&case.services, &case.topic);
}

#[test]
fn transaction_markers_and_aborted_records_are_not_missing() {
    let Some(services) = services() else { return };
    let case = Case::new(services, "append", 100);
    let id = unique("tx");
    let producer = producer(&case.services, &[("transactional.id", &id)]);
    producer.init_transactions(LIMIT).expect("the broker answers");
    for (first, keep) in [(10_000, true), (20_000, false), (30_000, true)] {
        producer.begin_transaction().expect("it is initialised");
        (first..first + 10).for_each(|id| {
            send(&producer, &case.topic, 0, crate::trades::json(&crate::trades::trade(id)).as_bytes());
        });
        producer.flush(LIMIT).expect("the broker answers");
        let ended = if keep { producer.commit_transaction(LIMIT) } else { producer.abort_transaction(LIMIT) };
        ended.expect("the broker answers");
    }
    case.run("append");
    let (code, value) = case.audit(&[]);
    assert_eq!((code, count(&value, "once"), count(&value, "inputs")), (Some(0), 120, 120), "{value:#}");
    delete_topic(&case.services, &case.topic);
}

#[test]
fn records_that_are_gone_are_unverifiable_and_a_recreated_topic_is_a_finding() {
    let Some(services) = services() else { return };
    let case = Case::new(services, "append", 900);
    case.run("append");
    delete_records(&case.services, &case.topic, 0, 100);
    let (code, value) = case.audit(&[]);
    assert_eq!((code, kinds(&value)), (Some(0), Vec::new()), "{value:#}");
    assert_eq!(count(&value, "unverifiable"), 100, "{value:#}");
    case.database.execute("DELETE FROM payments WHERE id = 899");
    let (code, value) = case.audit(&[]);
    assert_eq!((code, count(&value, "missing")), (Some(1), 1), "{value:#}");
    delete_topic(&case.services, &case.topic);
    create_topic(&case.services, &case.topic, 3);
    produce(&case.services, &case.topic, 3, 0..900);
    let (code, value) = case.audit(&[]);
    assert_eq!(code, Some(1), "{value:#}");
    assert!(kinds(&value).iter().all(|kind| kind == "source"), "{value:#}");
    delete_topic(&case.services, &case.topic);
}

#[test]
fn texts_that_the_database_stores_in_another_form_are_equal() {
    let Some(services) = services() else { return };
    let mut case = Case::new(services, "append", 0);
    case.database.execute(
        "CREATE TABLE forms (id BIGINT, doc JSONB, addr INET, code CHAR(6), u UUID, price NUMERIC(12, 4), f DOUBLE PRECISION, \
         at TIMESTAMPTZ, tags TEXT[])",
    );
    let columns = "id BIGINT, doc STRING, addr STRING, code STRING, u STRING, price DECIMAL(10, 2), f DOUBLE, \
                   at TIMESTAMP_LTZ(3), tags ARRAY<STRING>";
    case.sql = format!(
        "SET 'pipeline.name' = 'forms';
CREATE TABLE src ({columns}) WITH ('connector' = 'kafka', 'topic' = '{}', 'properties.bootstrap.servers' = '{}',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE forms ({columns}) WITH ('connector' = 'jdbc', 'url' = '{}', 'table-name' = 'forms');
INSERT INTO forms SELECT * FROM src;",
        case.topic, case.services.kafka, case.database.url
    );
    let producer = producer(&case.services, &[]);
    for id in 0..50 {
        let text = format!(
            r#"{{"id":{id},"doc":"{{\"b\": 1,  \"a\":[1.50]}}","addr":"10.0.0.{id}/32","code":"x{id}","u":"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11","price":"{id}.50","f":0.1,"at":"2026-01-02 03:04:05.120Z","tags":["a","ü, \"x\""]}}"#
        );
        send(&producer, &case.topic, 0, text.as_bytes());
    }
    producer.flush(LIMIT).expect("the broker answers");
    case.run("append");
    assert_eq!(case.database.number("SELECT count(*) FROM forms"), 50);
    let (code, value) = case.audit(&[]);
    assert_eq!((code, count(&value, "once")), (Some(0), 50), "{value:#}");
    case.database.execute("UPDATE forms SET doc = '{\"a\": 2}' WHERE id = 3");
    let (code, value) = case.audit(&[]);
    assert_eq!((code, count(&value, "changed")), (Some(1), 1), "{value:#}");
    delete_topic(&case.services, &case.topic);
}

#[test]
fn a_table_that_something_else_writes_is_compared_with_its_topic() {
    let Some(services) = services() else { return };
    let case = Case::new(services, "append", 2_000);
    // Whatever wrote these rows, it was not this pipeline: the ledger goes, the rows stay.
    case.run("append");
    case.database.execute("DROP SCHEMA onceflow CASCADE; ALTER TABLE payments ALTER amount TYPE numeric(12, 2)");
    let foreign = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
        command.args(["audit", "--format", "json", "--table", "payments", "--map", "id=id, account, amount=amount"]);
        command
            .args(["--topic", &case.topic, "--brokers", &case.services.kafka, "--home", &case.database.url])
            .args(more);
        let output = command.output().expect("the binary was built with this test");
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), value)
    };
    let (code, value) = foreign(&[]);
    assert_eq!((code, count(&value, "inputs"), count(&value, "once")), (Some(0), 2_000, 2_000), "{value:#}");
    case.database.execute(
        "DELETE FROM payments WHERE id IN (500, 501); INSERT INTO payments SELECT * FROM payments WHERE id = 7;
         UPDATE payments SET amount = 123456789 WHERE id = 9",
    );
    let (code, value) = foreign(&[]);
    let counts = ["once", "missing", "repeated", "changed", "unexpected"].map(|name| count(&value, name));
    assert_eq!((code, counts), (Some(1), [1_997, 2, 1, 1, 0]), "{value:#}");
    let (code, value) = foreign(&["--upsert"]);
    let counts = ["once", "missing", "repeated", "changed", "unexpected"].map(|name| count(&value, name));
    assert_eq!((code, counts), (Some(1), [1_997, 2, 1, 1, 0]), "{value:#}");
    let (code, value) = foreign(&["--until-offsets", "0=0,1=0,2=0"]);
    assert_eq!((code, count(&value, "inputs")), (Some(1), 0), "{value:#}");
    delete_topic(&case.services, &case.topic);
}
