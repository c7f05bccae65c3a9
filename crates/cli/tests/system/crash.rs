//! Every crash point × append, upsert, merge and statement: killed there, and stopped there while a successor takes over.

use crate::kafka::{create_topic, produce};
use crate::postgres::{Database, TABLES, check_append, check_latest, check_ledger, check_sums};
use crate::process::{Process, Start, eventually};
use crate::services::{Services, services, unique};
use std::collections::BTreeSet;
use std::time::Duration;

const RECORDS: i64 = 3_000;
const WAIT: Duration = Duration::from_secs(60);

/// One pipeline into all four kinds of tables; one partition, so that the last write of each key is known.
pub fn pipeline(services: &Services, database: &Database, topic: &str, mode: &str) -> String {
    let url = &database.url;
    let (columns, options, insert) = match mode {
        "append" => (
            "id BIGINT, account STRING, amount BIGINT, ts BIGINT, merchant STRING, note STRING",
            "'table-name' = 'payments'",
            "SELECT id, account, amount, ts, merchant, note FROM transactions",
        ),
        "upsert" => (
            "account STRING, id BIGINT, amount BIGINT, PRIMARY KEY (account) NOT ENFORCED",
            "'table-name' = 'latest'",
            "SELECT account, id, amount FROM transactions",
        ),
        "merge" => (
            "account STRING, n BIGINT, total BIGINT, PRIMARY KEY (account) NOT ENFORCED",
            "'table-name' = 'balances', 'merge.n' = 'sum', 'merge.total' = 'sum'",
            "SELECT account, COUNT(*), SUM(amount) FROM transactions GROUP BY account",
        ),
        _ => (
            "account STRING, delta BIGINT",
            "'table-name' = 'accounts', 'write.expect-rows' = '1',
             'write.statement' = 'UPDATE accounts SET balance = balance + :delta WHERE id = :account'",
            "SELECT account, amount FROM transactions",
        ),
    };
    format!(
        "SET 'pipeline.name' = 'crash';
SET 'epoch.rows_max' = '500';
CREATE TABLE transactions (id BIGINT, account STRING, amount BIGINT, ts BIGINT, merchant STRING, note STRING)
WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}',
      'properties.group.id' = '{topic}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE target ({columns}) WITH ('connector' = 'jdbc', 'url' = '{url}', {options});
INSERT INTO target {insert};
",
        services.kafka
    )
}

/// Compares the target of a mode with what was produced.
pub fn check(database: &Database, mode: &str, records: i64) {
    match mode {
        "append" => check_append(database, 0..records),
        "upsert" => check_latest(database, 0..records),
        "merge" => check_sums(database, "balances", 0..records),
        _ => check_sums(database, "accounts", 0..records),
    }
    check_ledger(database, records);
}

struct Case {
    services: Services,
    database: Database,
    folder: tempfile::TempDir,
    sql: String,
    mode: &'static str,
}

impl Case {
    fn new(services: &Services, mode: &'static str) -> Self {
        let database = Database::create(services);
        database.execute(TABLES);
        let topic = unique("crash");
        create_topic(services, &topic, 1);
        produce(services, &topic, 1, 0..RECORDS);
        let sql = pipeline(services, &database, &topic, mode);
        Self { services: services.clone(), database, folder: tempfile::tempdir().expect("a folder"), sql, mode }
    }

    fn run(&self, crash: &str) -> Process {
        let log = self.folder.path().join("points");
        let log = log.to_str().expect("temporary folders have plain names");
        let adopt =
            if self.mode == "statement" { vec!["--until-caught-up", "--adopt"] } else { vec!["--until-caught-up"] };
        Process::start(&Start {
            sql: &self.sql,
            folder: self.folder.path(),
            arguments: &adopt,
            environment: &[("ONCEFLOW_CRASH", crash), ("ONCEFLOW_CRASH_LOG", log)],
        })
    }

    fn points(&self) -> BTreeSet<String> {
        let log = std::fs::read_to_string(self.folder.path().join("points")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

const MODES: [&str; 4] = ["append", "upsert", "merge", "statement"];

/// Kills at the first and at the third passing of a point, then lets a successor finish.
fn killed(services: &Services, mode: &'static str, points: &mut BTreeSet<String>) {
    for point in onceflow::crash::POINTS {
        let case = Case::new(services, mode);
        for count in [1, 3] {
            let mut process = case.run(&format!("{point}@{count}:kill"));
            let status =
                process.wait(WAIT).unwrap_or_else(|| panic!("{mode} {point}@{count} hangs:\n{}", process.log()));
            let said = process.log();
            assert!(!said.contains("error["), "{mode} {point}@{count}: {status}\n{said}");
        }
        case.run("").finish(WAIT);
        check(&case.database, mode, RECORDS);
        points.extend(case.points());
        println!("killed at {point}, {mode}: exactly once ({})", case.services.kafka);
    }
}

/// Stops at a point, lets a successor take over and finish, resumes the stopped one, and sees that it changes nothing.
fn stopped(services: &Services, mode: &'static str) {
    for point in onceflow::crash::POINTS {
        let case = Case::new(services, mode);
        let mut zombie = case.run(&format!("{point}@1:stop"));
        eventually(&format!("{mode} {point} stops"), WAIT, || {
            zombie.is_stopped() || zombie.wait(Duration::ZERO).is_some()
        });
        case.run("").finish(WAIT);
        check(&case.database, mode, RECORDS);
        zombie.signal_if_alive("CONT");
        let status = zombie.wait(WAIT).unwrap_or_else(|| panic!("{mode} {point}: the zombie hangs:\n{}", zombie.log()));
        let code = status.code();
        assert!(matches!(code, Some(0 | 4)), "{mode} {point}: the zombie ended with {status}:\n{}", zombie.log());
        check(&case.database, mode, RECORDS);
        println!("stopped at {point}, {mode}: exactly once, the zombie ended with {code:?}");
    }
}

fn every_point(mode: &'static str) {
    let Some(services) = services() else { return };
    let mut points = BTreeSet::new();
    killed(&services, mode, &mut points);
    let missed: Vec<_> = onceflow::crash::POINTS.iter().filter(|point| !points.contains(**point)).collect();
    assert!(missed.is_empty(), "crash points that no run of {mode} has passed: {missed:?}");
    stopped(&services, mode);
    assert!(MODES.contains(&mode));
}

#[test]
fn append_survives_every_crash_point() {
    every_point("append");
}

#[test]
fn upsert_survives_every_crash_point() {
    every_point("upsert");
}

#[test]
fn merge_survives_every_crash_point() {
    every_point("merge");
}

#[test]
fn statement_survives_every_crash_point() {
    every_point("statement");
}
