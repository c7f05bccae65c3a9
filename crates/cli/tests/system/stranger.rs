//! `onceflow doctor --foreign` and `audit --topic` on what programs leave behind that Onceflow does not run: real consumers with
//! the habits that lose and repeat records, and one without.

use crate::kafka::{create_topic, delete_topic, producer, send};
use crate::postgres::Database;
use crate::services::{Services, services, unique};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::Producer as _;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);
/// Records of a partition, and of a batch.
const RECORDS: i64 = 1_000;
const BATCH: usize = 50;

/// What a consumer does between reading a batch and reading the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Rows in one transaction, then the position.
    After,
    /// The position, then the rows in one transaction.
    Before,
    /// Each row in a transaction of its own, then the position.
    Piecemeal,
}

/// A broker that has not chosen a group's coordinator yet says so, and is asked again.
fn patiently<T>(mut ask: impl FnMut() -> rdkafka::error::KafkaResult<T>) -> T {
    for _ in 0..100 {
        if let Ok(answer) = ask() {
            return answer;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    ask().expect("the broker answers")
}

struct Case {
    services: Services,
    database: Database,
    topic: String,
}

impl Case {
    fn new() -> Option<Self> {
        let services = services()?;
        let database = Database::create(&services);
        database.execute("CREATE TABLE payments (id BIGINT, amount BIGINT)");
        let topic = unique("stranger");
        create_topic(&services, &topic, 2);
        let producer = producer(&services, &[]);
        for id in 0..2 * RECORDS {
            let partition = i32::from(id >= RECORDS);
            send(&producer, &topic, partition, format!("{{\"id\":{id},\"amount\":{}}}", id % 91).as_bytes());
        }
        producer.flush(WAIT).expect("the broker takes everything");
        Some(Self { services, database, topic })
    }

    /// Consumes a partition from its group's position on. With `dies` it ends without a word in the middle of so many-th batch:
    /// where it is between the two things that its habit does.
    fn consume(&self, group: &str, partition: i32, habit: Habit, dies: Option<usize>) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.services.kafka).set("group.id", group);
        config.set("enable.auto.commit", "false").set("enable.partition.eof", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut at = TopicPartitionList::new();
        at.add_partition(&self.topic, partition);
        let stored = patiently(|| consumer.committed_offsets(at.clone(), WAIT));
        let stored = stored.elements()[0].offset();
        let mut next = if let Offset::Offset(offset) = stored { offset } else { 0 };
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.topic, partition, Offset::Offset(next)).expect("an offset");
        consumer.assign(&from).expect("it is assigned");
        let mut batches = 0;
        while next < RECORDS {
            let mut batch = Vec::new();
            while batch.len() < BATCH && next + (batch.len() as i64) < RECORDS {
                let message = consumer.poll(WAIT).expect("there are records").expect("they can be read");
                batch.push(serde_json::from_slice::<Value>(message.payload().expect("a value")).expect("it is JSON"));
            }
            next += batch.len() as i64;
            batches += 1;
            let dying = dies == Some(batches);
            if habit == Habit::Before {
                self.store(&consumer, partition, next);
            }
            if dying && habit == Habit::Before {
                return;
            }
            // A program that commits row by row dies within a batch, each time somewhere else.
            let written = if dying && habit == Habit::Piecemeal { 7 + batches } else { batch.len() };
            self.write(&batch[..written], habit);
            if dying {
                return;
            }
            if habit != Habit::Before {
                self.store(&consumer, partition, next);
            }
        }
    }

    fn store(&self, consumer: &BaseConsumer, partition: i32, next: i64) {
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&self.topic, partition, Offset::Offset(next)).expect("an offset");
        patiently(|| consumer.commit(&at, CommitMode::Sync));
    }

    fn write(&self, batch: &[Value], habit: Habit) {
        let inserts =
            batch.iter().map(|row| format!("INSERT INTO payments VALUES ({}, {});", row["id"], row["amount"]));
        match habit {
            Habit::Piecemeal => {
                self.database.execute(&inserts.map(|insert| format!("BEGIN; {insert} COMMIT;")).collect::<String>());
            }
            Habit::After | Habit::Before => {
                self.database.execute(&format!("BEGIN; {} COMMIT;", inserts.collect::<String>()));
            }
        }
    }

    fn onceflow(&self, command: &[&str], more: &[&str]) -> (Option<i32>, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_onceflow"))
            .args(command)
            .args(["--format", "json", "--table", "payments", "--map", "id, amount", "--topic", &self.topic])
            .args(["--brokers", &self.services.kafka, "--home", &self.database.url])
            .args(more)
            .output()
            .expect("the binary was built with this test");
        let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said())))
    }

    fn doctor(&self, group: &str) -> (Option<i32>, Value) {
        self.onceflow(&["doctor", "--foreign"], &["--group", group])
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            delete_topic(&self.services, &self.topic);
        }
    }
}

fn check<'a>(object: &'a Value, id: &str) -> &'a Value {
    let checks = object["checks"].as_array().expect("there are checks");
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}: {object:#}"))
}

/// The cause, the status and how sure a check is.
fn found(object: &Value, id: &str) -> (u64, String, String) {
    let check = check(object, id);
    let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
    (check["cause"].as_u64().expect("a number"), text("status"), text("sure"))
}

#[test]
fn a_consumer_without_a_fault_is_told_what_could_still_happen_and_nothing_else() {
    let Some(case) = Case::new() else { return };
    let group = unique("group");
    (0..2).for_each(|partition| case.consume(&group, partition, Habit::After, None));
    let (code, object) = case.doctor(&group);
    assert_eq!(code, Some(0), "{object:#}");
    assert!(object["verdict"].as_str().is_some_and(|said| said.contains("nothing is wrong")), "{object:#}");
    for id in ["rows-repeated", "rows-missing", "group-positions", "rows-per-transaction"] {
        assert_eq!(check(&object, id)["status"], "ok", "{object:#}");
    }
    assert_eq!(check(&object, "repeat-safe")["status"], "warning");
    // What doctor gave to paste mends it.
    case.database.execute(check(&object, "repeat-safe")["fix"].as_str().expect("a fix"));
    let (code, object) = case.doctor(&group);
    assert_eq!((code, &check(&object, "repeat-safe")["status"]), (Some(0), &"ok".into()), "{object:#}");
}

#[test]
fn batches_that_were_written_again_are_cause_4_and_the_fix_takes_them_away() {
    let Some(case) = Case::new() else { return };
    let group = unique("group");
    case.consume(&group, 0, Habit::After, Some(4));
    case.consume(&group, 0, Habit::After, Some(9));
    case.consume(&group, 0, Habit::After, None);
    case.consume(&group, 1, Habit::After, None);
    let (code, object) = case.doctor(&group);
    assert_eq!(code, Some(1), "{object:#}");
    assert_eq!(object["rows"]["repeated"], 100, "{object:#}");
    assert_eq!(found(&object, "batches-repeated"), (4, "broken".into(), "certain".into()), "{object:#}");
    let seen = check(&object, "batches-repeated")["seen"].as_str().expect("a text");
    assert!(seen.contains("batches of 50") && seen.contains("offsets 150 to 199"), "{seen}");
    assert!(object["verdict"].as_str().is_some_and(|said| said.contains("cause 4")), "{object:#}");
    assert_eq!(check(&object, "repeat-safe")["status"], "broken");
    case.database.execute(check(&object, "repeat-safe")["fix"].as_str().expect("a fix"));
    let (code, object) = case.doctor(&group);
    assert_eq!((code, &object["rows"]["once"]), (Some(0), &2_000.into()), "{object:#}");
}

#[test]
fn batches_whose_position_was_stored_first_are_cause_4() {
    let Some(case) = Case::new() else { return };
    let group = unique("group");
    case.consume(&group, 1, Habit::Before, Some(3));
    case.consume(&group, 1, Habit::Before, Some(5));
    case.consume(&group, 1, Habit::Before, None);
    case.consume(&group, 0, Habit::Before, None);
    let (code, object) = case.doctor(&group);
    assert_eq!((code, &object["rows"]["missing"]), (Some(1), &100.into()), "{object:#}");
    assert_eq!(found(&object, "batches-missing"), (4, "broken".into(), "certain".into()), "{object:#}");
}

#[test]
fn half_batches_of_a_program_without_transactions_are_cause_3() {
    let Some(case) = Case::new() else { return };
    let group = unique("group");
    case.consume(&group, 0, Habit::Piecemeal, Some(4));
    case.consume(&group, 0, Habit::Piecemeal, Some(9));
    case.consume(&group, 0, Habit::Piecemeal, None);
    case.consume(&group, 1, Habit::Piecemeal, None);
    let (code, object) = case.doctor(&group);
    assert_eq!((code, &object["rows"]["repeated"]), (Some(1), &27.into()), "{object:#}");
    assert_eq!(found(&object, "half-batches-repeated"), (3, "broken".into(), "likely".into()), "{object:#}");
    assert_eq!(check(&object, "rows-per-transaction")["status"], "warning", "{object:#}");
}

#[test]
fn a_log_that_was_read_from_its_start_again_is_cause_2() {
    let Some(case) = Case::new() else { return };
    let group = unique("group");
    (0..2).for_each(|partition| case.consume(&group, partition, Habit::After, None));
    let reset = unique("reset");
    case.consume(&reset, 0, Habit::After, Some(12));
    let (code, object) = case.doctor(&group);
    assert_eq!((code, &object["rows"]["repeated"]), (Some(1), &600.into()), "{object:#}");
    assert_eq!(found(&object, "read-from-the-start"), (2, "broken".into(), "likely".into()), "{object:#}");
}

#[test]
fn what_is_not_written_yet_is_told_from_what_was_passed_over() {
    let Some(case) = Case::new() else { return };
    let group = unique("group");
    case.consume(&group, 0, Habit::After, None);
    case.consume(&group, 1, Habit::After, Some(10));
    let (_, object) = case.doctor(&group);
    // The tenth batch was written, and its position was not stored: a start now would repeat it.
    assert_eq!(check(&object, "end-missing")["status"], "ok", "{object:#}");
    let positions = object["checks"].as_array().expect("checks").iter().filter(|it| it["id"] == "group-positions");
    let states: Vec<_> = positions.map(|it| it["status"].as_str().expect("a word")).collect();
    assert_eq!(states, ["ok", "warning"], "{object:#}");
    // Somebody moves the group to the end: the rest is passed over.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &case.services.kafka)
        .set("group.id", &group)
        .create()
        .expect("a consumer");
    case.store(&consumer, 1, RECORDS);
    let (code, object) = case.doctor(&group);
    assert_eq!(code, Some(1), "{object:#}");
    assert_eq!(found(&object, "end-missing"), (4, "broken".into(), "certain".into()), "{object:#}");
}

#[test]
fn an_audit_of_somebody_elses_table_is_bounded_by_time_and_lists_every_record() {
    let Some(case) = Case::new() else { return };
    let group = unique("group");
    (0..2).for_each(|partition| case.consume(&group, partition, Habit::After, None));
    let middle = chrono::Utc::now() + chrono::TimeDelta::milliseconds(50);
    std::thread::park_timeout(Duration::from_millis(100));
    let producer = producer(&case.services, &[]);
    send(&producer, &case.topic, 0, b"{\"id\":5000,\"amount\":1}");
    producer.flush(WAIT).expect("the broker takes it");
    let (code, object) = case.onceflow(&["audit"], &[]);
    assert_eq!((code, &object["summary"]["missing"]), (Some(1), &1.into()), "{object:#}");
    let until = middle.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let (code, object) = case.onceflow(&["audit"], &["--until-time", &until]);
    assert_eq!((code, &object["summary"]["once"]), (Some(0), &2_000.into()), "{object:#}");
}

#[test]
fn other_formats_are_compared_as_well() {
    let Some(services) = services() else { return };
    let database = Database::create(&services);
    database.execute("CREATE TABLE payments (id BIGINT, amount NUMERIC(12, 2)); CREATE TABLE words (word TEXT)");
    let topic = unique("csv");
    create_topic(&services, &topic, 1);
    let producer = producer(&services, &[]);
    for id in 0..100 {
        send(&producer, &topic, 0, format!("x{id},{id},\"{id}.50\"").as_bytes());
        database.execute(&format!(
            "INSERT INTO payments VALUES ({id}, {id}.5); INSERT INTO words VALUES ('x{id},{id},\"{id}.50\"')"
        ));
    }
    producer.flush(WAIT).expect("the broker takes everything");
    let audit = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_onceflow"))
            .args([
                "audit",
                "--format",
                "json",
                "--topic",
                &topic,
                "--brokers",
                &services.kafka,
                "--home",
                &database.url,
            ])
            .args(more)
            .output()
            .expect("the binary was built with this test");
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said()));
        (output.status.code(), value["summary"]["once"].as_u64(), value["summary"]["missing"].as_u64())
    };
    let csv =
        ["--table", "payments", "--map", "id=n, amount=price", "--input-format", "csv", "--fields", "name,n,price"];
    let raw = ["--table", "words", "--map", "word=value", "--input-format", "raw"];
    assert_eq!(audit(&csv), (Some(0), Some(100), Some(0)));
    assert_eq!(audit(&raw), (Some(0), Some(100), Some(0)));
    database.execute("DELETE FROM payments WHERE id = 7; DELETE FROM words WHERE word LIKE 'x8,%'");
    assert_eq!(audit(&csv), (Some(1), Some(99), Some(1)));
    assert_eq!(audit(&raw), (Some(1), Some(99), Some(1)));
    delete_topic(&services, &topic);
}
