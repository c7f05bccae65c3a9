//! What real topics do: poison, aborted transactions, new partitions, recreation, deletion.

use crate::kafka::{add_partitions, create_topic, delete_records, delete_topic, produce, producer, send};
use crate::load::Load;
use crate::postgres::{check_append, check_ledger};
use crate::process::eventually;
use crate::services::services;
use crate::trades::{json, trade};
use rdkafka::producer::Producer as _;
use std::process::Command;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(90);

#[test]
fn poison_records_become_dead_letters_and_their_neighbours_go_in() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    let producer = producer(&services, &[]);
    let poison: [&[u8]; 6] =
        [b"", b"not json", b"{\"id\": \"x1\"}", b"{\"id\": 1e40}", b"{\"id\":1,\"note\":\"\xff\xfe\"}", b"[[[[["];
    for id in 0..3_000 {
        if id % 500 == 250 {
            poison.iter().for_each(|value| send(&producer, &load.topic, 0, value));
        }
        send(&producer, &load.topic, i32::try_from(id % 4).expect("below 4"), json(&trade(id)).as_bytes());
    }
    producer.flush(WAIT).expect("the broker takes everything");
    load.start(&["--until-caught-up"]).finish(WAIT);
    check_append(&load.database, 0..3_000);
    check_ledger(&load.database, 3_036);
    assert_eq!(load.database.number("SELECT count(*) FROM onceflow.dead_letter"), 36);
    let sql =
        "SELECT count(*) FROM onceflow.dead_letter WHERE code = '' OR reason = '' OR topic <> ''  AND value IS NULL";
    assert_eq!(load.database.number(sql), 0, "dead letters say why, and keep the record");
}

#[test]
fn aborted_transactions_are_never_seen_and_markers_do_not_hold_the_end_back() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    let name = crate::services::unique("tx");
    let producer = producer(&services, &[("transactional.id", &name)]);
    producer.init_transactions(WAIT).expect("transactions");
    let mut id = 0;
    for round in 0..20 {
        producer.begin_transaction().expect("a transaction");
        let abort = round % 3 == 1;
        for at in 0..100 {
            let value = if abort { json(&trade(1_000_000 + at)) } else { json(&trade(id)) };
            id += i64::from(!abort);
            send(&producer, &load.topic, i32::try_from(at % 4).expect("below 4"), value.as_bytes());
        }
        producer.flush(WAIT).expect("the broker takes everything");
        let ended = if abort { producer.abort_transaction(WAIT) } else { producer.commit_transaction(WAIT) };
        ended.expect("the broker ends the transaction");
    }
    load.finish(id);
    load.finish(id);
}

#[test]
fn partitions_that_are_added_while_it_runs_start_at_their_beginning() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..1_000);
    let mut process = load.start(&[]);
    eventually("the first rows", WAIT, || load.rows() == 1_000);
    add_partitions(&services, &load.topic, 7);
    produce(&services, &load.topic, 7, 1_000..3_000);
    eventually("rows of new partitions", WAIT, || load.rows() == 3_000);
    process.signal("TERM");
    process.finish(WAIT);
    load.check(3_000);
}

#[test]
fn a_recreated_topic_stops_the_pipeline_until_an_operator_decides() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..1_000);
    load.start(&["--until-caught-up"]).finish(WAIT);
    delete_topic(&services, &load.topic);
    create_topic(&services, &load.topic, 4);
    produce(&services, &load.topic, 4, 1_000..4_000);
    let mut process = load.start(&["--until-caught-up"]);
    assert_eq!(process.wait(WAIT).and_then(|status| status.code()), Some(1), "{}", process.log());
    let said = process.log();
    assert!(said.contains("OF0011") && said.matches("ledger reset").count() >= 3, "{said}");
    load.check(1_000);
    reset(&load, "beginning");
    load.start(&["--until-caught-up"]).finish(WAIT);
    check_append(&load.database, 0..4_000);
    let sql = "SELECT count(*) FROM onceflow.event WHERE kind = 'reset' AND reason = 'the test says so'";
    assert_eq!(load.database.number(sql), 4);
}

#[test]
fn records_deleted_before_they_were_read_stop_the_pipeline() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..400);
    load.start(&["--until-caught-up"]).finish(WAIT);
    produce(&services, &load.topic, 4, 400..800);
    delete_records(&services, &load.topic, 2, 150);
    let mut process = load.start(&["--until-caught-up"]);
    assert_eq!(process.wait(WAIT).and_then(|status| status.code()), Some(1), "{}", process.log());
    assert!(process.log().contains("OF0013"), "{}", process.log());
    load.check(400);
    reset(&load, "beginning");
    load.start(&["--until-caught-up"]).finish(WAIT);
    assert_eq!(load.rows(), 800 - 50 + 300, "three partitions again from their beginning, one from 150");
}

fn reset(load: &Load, to: &str) {
    let file = load.folder.path().join("pipeline.sql");
    let output = Command::new(env!("CARGO_BIN_EXE_onceflow"))
        .args(["ledger", "reset"])
        .arg(&file)
        .args(["--to", to, "--reason", "the test says so"])
        .output()
        .expect("the binary was built with this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
