//! Doctor over PostgreSQL: a healthy database, and one with each fault put in by hand.

use crate::kafka::{create_topic_with, delete_topic, producer, send};
use crate::postgres::Database;
use crate::services::{services, unique};
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

pub(crate) struct Case {
    pub(crate) folder: TempDir,
    pub(crate) database: Database,
}

impl Case {
    /// A pipeline that has run: a file into a keyed table.
    pub(crate) fn run() -> Option<Self> {
        let database = Database::create(&services()?);
        let case = Self { folder: tempfile::tempdir().expect("a folder"), database };
        let url = &case.database.url;
        let sql = format!(
            "SET 'pipeline.name' = 'orders';
             CREATE TABLE t (id BIGINT, v STRING) WITH ('connector' = 'filesystem', 'path' = 'in.jsonl', 'format' = 'json');
             CREATE TABLE copy (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
             WITH ('connector' = 'postgres', 'url' = '{url}', 'table-name' = 'copy');
             INSERT INTO copy SELECT id, v FROM t;"
        );
        case.database.execute("CREATE TABLE copy (id BIGINT PRIMARY KEY, v TEXT)");
        let lines: String = (0..100).map(|id| format!("{{\"id\":{id},\"v\":\"v\"}}\n")).collect();
        for (name, content) in [("p.sql", &sql), ("in.jsonl", &lines)] {
            std::fs::write(case.folder.path().join(name), content).expect("the folder is ours");
        }
        let (code, said) = case.onceflow(&["run", "p.sql"]);
        assert_eq!(code, 0, "{said}");
        Some(case)
    }

    pub(crate) fn onceflow(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
        let output = command.args(arguments).current_dir(self.folder.path()).output().expect("it was built");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = if output.stdout.is_empty() { text(&output.stderr) } else { text(&output.stdout) };
        (output.status.code().unwrap_or(-1), said)
    }

    pub(crate) fn doctor(&self, more: &[&str]) -> (i32, Value) {
        let arguments: Vec<&str> = ["doctor", "p.sql", "--format", "json"].iter().chain(more).copied().collect();
        let (code, said) = self.onceflow(&arguments);
        (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}")))
    }
}

pub(crate) fn status<'a>(object: &'a Value, id: &str) -> &'a str {
    let checks = object["checks"].as_array().expect("there are checks");
    let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}: {object:#}"));
    check["status"].as_str().expect("a word")
}

#[test]
fn nothing_is_broken_in_a_healthy_database_and_the_probe_leaves_nothing() {
    let Some(case) = Case::run() else { return };
    let (code, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!(code, 0, "{object:#}");
    for id in [
        "probe-transaction",
        "probe-fence",
        "key-unique",
        "triggers",
        "target-logged",
        "pooler",
        "primary",
        "ledger-chain",
    ] {
        assert_eq!(status(&object, id), "ok", "{object:#}");
    }
    assert_eq!(case.database.number("SELECT count(*) FROM onceflow.migration"), 2);
    assert_eq!(case.database.number("SELECT count(*) FROM onceflow.shard"), 1);
}

#[test]
fn triggers_and_other_unique_keys_are_named() {
    let Some(case) = Case::run() else { return };
    let function = |name: &str, body: &str| {
        format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
             CREATE TRIGGER {name} BEFORE INSERT ON copy FOR EACH ROW EXECUTE FUNCTION {name}();"
        )
    };
    case.database.execute(&function("beside", "NEW.v := 'other';"));
    case.database.execute("CREATE UNIQUE INDEX by_both ON copy (v, id)");
    let (code, object) = case.doctor(&[]);
    assert_eq!((status(&object, "triggers"), code), ("warning", 0), "{object:#}");
    assert_eq!(status(&object, "other-unique-keys"), "warning");
    case.database.execute(&function("outside", "PERFORM dblink_exec('x', 'y');"));
    let (code, object) = case.doctor(&[]);
    assert_eq!((status(&object, "triggers"), code), ("broken", 1), "{object:#}");
}

#[test]
fn an_unlogged_target_and_a_lost_key_are_broken() {
    let Some(case) = Case::run() else { return };
    case.database.execute("ALTER TABLE copy SET UNLOGGED; ALTER TABLE copy DROP CONSTRAINT copy_pkey");
    let (code, object) = case.doctor(&[]);
    assert_eq!(code, 1, "{object:#}");
    assert_eq!(status(&object, "target-logged"), "broken");
    assert_eq!(status(&object, "key-unique"), "broken");
}

#[test]
fn asynchronous_commits_are_a_warning_and_a_finding_where_one_is_strict() {
    let Some(case) = Case::run() else { return };
    let (_, name) = case.database.url.rsplit_once('/').expect("the URL ends with the database");
    case.database.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let (code, object) = case.doctor(&["--strict"]);
    assert_eq!(status(&object, "synchronous-commit"), "warning", "{object:#}");
    assert_eq!(code, 1);
}

#[test]
fn a_transaction_that_somebody_left_open_is_named() {
    let Some(case) = Case::run() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(async {
        let connect = tokio_postgres::connect(&case.database.url, tokio_postgres::NoTls);
        let (client, connection) = connect.await.expect("the database answers");
        tokio::spawn(connection);
        client.batch_execute("BEGIN; SELECT 1").await.expect("it is a transaction");
        client
    });
    let (_, object) = case.doctor(&["--transaction-max", "0s"]);
    assert_eq!(status(&object, "long-transactions"), "warning", "{object:#}");
    drop(client);
}

/// A topic with these settings, read to its end by a pipeline that has no table of its own yet.
fn from_kafka(topic: &str, settings: &[(&str, &str)]) -> Option<Case> {
    let services = services()?;
    create_topic_with(&services, topic, 1, settings);
    let plain = producer(&services, &[]);
    (0..50).for_each(|id| send(&plain, topic, 0, format!("{{\"id\":{id},\"v\":\"v\"}}").as_bytes()));
    rdkafka::producer::Producer::flush(&plain, WAIT).expect("the broker takes everything");
    let case = Case { folder: tempfile::tempdir().expect("a folder"), database: Database::create(&services) };
    case.database.execute("CREATE TABLE copy (id BIGINT PRIMARY KEY, v TEXT)");
    let sql = format!(
        "SET 'pipeline.name' = 'orders';
         CREATE TABLE t (id BIGINT, v STRING) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json',
           'properties.bootstrap.servers' = '{}', 'properties.group.id' = '{topic}', 'scan.startup.mode' = 'earliest-offset');
         CREATE TABLE copy (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'postgres', 'url' = '{}', 'table-name' = 'copy');
         INSERT INTO copy SELECT id, v FROM t;",
        services.kafka, case.database.url
    );
    std::fs::write(case.folder.path().join("p.sql"), sql).expect("the folder is ours");
    let (code, said) = case.onceflow(&["run", "p.sql", "--until-caught-up"]);
    assert_eq!(code, 0, "{said}");
    Some(case)
}

const WAIT: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
fn topics_that_keep_everything_are_told_from_those_that_do_not() {
    let (sound, faulty) = (unique("sound"), unique("faulty"));
    let Some(case) = from_kafka(&sound, &[("retention.ms", "-1")]) else { return };
    let (code, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!(code, 0, "{object:#}");
    for id in
        ["compaction", "retention", "unclean-elections", "open-transactions", "source-identity", "group-positions"]
    {
        assert_eq!(status(&object, id), "ok", "{object:#}");
    }
    let settings =
        [("cleanup.policy", "compact"), ("retention.ms", "60000"), ("unclean.leader.election.enable", "true")];
    let Some(case) = from_kafka(&faulty, &settings) else { return };
    let (code, object) = case.doctor(&["--strict"]);
    assert_eq!(code, 1, "{object:#}");
    for id in ["compaction", "retention", "unclean-elections"] {
        assert_eq!(status(&object, id), "warning", "{object:#}");
    }
}

#[test]
fn an_open_transaction_of_a_producer_and_a_recreated_topic_are_named() {
    use rdkafka::producer::Producer as _;
    let topic = unique("open");
    let Some(case) = from_kafka(&topic, &[]) else { return };
    let services = services().expect("they were there a moment ago");
    let open = producer(&services, &[("transactional.id", &topic)]);
    open.init_transactions(WAIT).expect("transactions");
    open.begin_transaction().expect("a transaction");
    send(&open, &topic, 0, b"{\"id\":99}");
    open.flush(WAIT).expect("the broker takes it");
    let (_, object) = case.doctor(&[]);
    assert_eq!(status(&object, "open-transactions"), "warning", "{object:#}");
    open.abort_transaction(WAIT).expect("it is open");
    drop(open);
    delete_topic(&services, &topic);
    create_topic_with(&services, &topic, 1, &[]);
    let (code, object) = case.doctor(&[]);
    assert_eq!((code, status(&object, "source-identity")), (1, "broken"), "{object:#}");
}

/// Executes what doctor gave to paste, statement by statement as psql would.
fn paste(case: &Case, object: &Value, id: &str) {
    let checks = object["checks"].as_array().expect("there are checks");
    let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}: {object:#}"));
    let fix = check["fix"].as_str().expect("a fix");
    for statement in fix.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        case.database.execute(statement);
    }
}

/// A session that stays open.
struct Session {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Session {
    fn open(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (client, connection) =
            runtime.block_on(tokio_postgres::connect(url, tokio_postgres::NoTls)).expect("the database answers");
        runtime.spawn(connection);
        Self { runtime, client }
    }

    fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).expect("the statement is right");
    }
}

#[test]
fn a_prepared_transaction_that_nobody_ends_is_named_and_the_fix_ends_it() {
    let Some(case) = Case::run() else { return };
    let gid = unique("gid");
    Session::open(&case.database.url).execute(&format!(
        "CREATE TABLE other (id BIGINT); BEGIN; INSERT INTO other VALUES (1); PREPARE TRANSACTION '{gid}'"
    ));
    let (_, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!(status(&object, "prepared-transactions"), "warning", "{object:#}");
    paste(&case, &object, "prepared-transactions");
    let (code, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!((code, status(&object, "prepared-transactions")), (0, "ok"), "{object:#}");
}

#[test]
fn a_session_that_waits_for_a_lock_is_named() {
    let Some(case) = Case::run() else { return };
    let holder = Session::open(&case.database.url);
    holder.execute("BEGIN; LOCK TABLE copy");
    let blocked =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    std::thread::scope(|scope| {
        scope.spawn(|| case.database.number("SELECT count(*) FROM copy"));
        let waits = (0..400).any(|_| {
            std::thread::park_timeout(std::time::Duration::from_millis(25));
            case.database.number(blocked) > 0
        });
        let (_, object) = case.doctor(&["--transaction-max", "1h"]);
        holder.execute("ROLLBACK");
        assert!(waits);
        assert_eq!(status(&object, "blocked-sessions"), "warning", "{object:#}");
    });
    let (_, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!(status(&object, "blocked-sessions"), "ok", "{object:#}");
}

#[test]
fn dead_rows_of_the_ledger_are_named_and_vacuum_takes_them_away() {
    let Some(case) = Case::run() else { return };
    case.database.execute(
        "ALTER TABLE onceflow.migration SET (autovacuum_enabled = false);
         INSERT INTO onceflow.migration SELECT n, 'test', now() FROM generate_series(1000000, 1059999) n;
         DELETE FROM onceflow.migration WHERE version >= 1000000",
    );
    let mut seen = String::new();
    for _ in 0..100 {
        // Statistics come when the session ends, some moments later.
        let (_, object) = case.doctor(&["--transaction-max", "1h"]);
        seen = status(&object, "ledger-bloat").to_owned();
        if seen == "warning" {
            paste(&case, &object, "ledger-bloat");
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    assert_eq!(seen, "warning");
    let (_, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!(status(&object, "ledger-bloat"), "ok", "{object:#}");
}

#[test]
fn settings_of_the_database_are_told_and_those_that_onceflow_sets_itself_do_no_harm() {
    let Some(case) = Case::run() else { return };
    let (_, name) = case.database.url.rsplit_once('/').expect("the URL ends with the database");
    for setting in
        ["statement_timeout = '1ms'", "lock_timeout = '1ms'", "default_transaction_isolation = 'serializable'"]
    {
        case.database.execute(&format!("ALTER DATABASE {name} SET {setting}"));
    }
    let (code, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!(code, 0, "{object:#}");
    for (id, value) in [("statement-timeout", "= 1"), ("lock-timeout", "= 1"), ("isolation", "serializable")] {
        let checks = object["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id}: {object:#}"));
        assert!(
            check["status"] == "ok" && check["seen"].as_str().is_some_and(|seen| seen.contains(value)),
            "{check:#}"
        );
    }
    // That they do no harm is true: the pipeline goes on under them.
    let lines: String = (100..200).map(|id| format!("{{\"id\":{id},\"v\":\"v\"}}\n")).collect();
    let file = case.folder.path().join("in.jsonl");
    let before = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, before + &lines).expect("the folder is ours");
    let (code, said) = case.onceflow(&["run", "p.sql"]);
    assert_eq!(code, 0, "{said}");
    let session = Session::open(&case.database.url);
    session.execute("SET statement_timeout = 0; SET lock_timeout = 0");
    let rows = session.runtime.block_on(session.client.query_one("SELECT count(*) FROM copy", &[])).expect("a number");
    assert_eq!(rows.get::<_, i64>(0), 200);
}

#[test]
fn the_hours_until_a_record_expires_are_told_at_the_present_rate() {
    use rdkafka::producer::Producer as _;
    let topic = unique("headroom");
    // Two hours, whatever the rate.
    let Some(case) = from_kafka(&topic, &[("retention.ms", "7200000"), ("retention.bytes", "-1")]) else { return };
    let services = services().expect("they were there a moment ago");
    let seen = |object: &Value| {
        let checks = object["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["id"] == "headroom").unwrap_or_else(|| panic!("{object:#}"));
        (check["status"].as_str().unwrap_or_default().to_owned(), check["seen"].as_str().unwrap_or_default().to_owned())
    };
    let (_, object) = case.doctor(&["--transaction-max", "1h"]);
    let (state, said) = seen(&object);
    assert!(state == "warning" && said.contains("2.0 h are left") && said.contains("0 unread"), "{said}");
    // A record that was not read and is an hour old leaves one.
    let plain = producer(&services, &[]);
    let hour_ago = chrono::Utc::now().timestamp_millis() - 3_600_000;
    let record: rdkafka::producer::BaseRecord<'_, [u8], [u8]> =
        rdkafka::producer::BaseRecord::to(&topic).partition(0).payload(b"{\"id\":77}".as_slice()).timestamp(hour_ago);
    plain.send(record).map_err(|(error, _)| error).expect("there is room");
    plain.flush(WAIT).expect("the broker takes it");
    let (_, object) = case.doctor(&["--transaction-max", "1h"]);
    let (state, said) = seen(&object);
    assert!(state == "warning" && said.contains("1.0 h are left") && said.contains("1 unread"), "{said}");
    let week = unique("week");
    let Some(case) = from_kafka(&week, &[("retention.ms", "604800000")]) else { return };
    let (_, object) = case.doctor(&["--transaction-max", "1h"]);
    assert_eq!(seen(&object).0, "ok", "{object:#}");
    delete_topic(&services, &topic);
    delete_topic(&services, &week);
}
