//! `onceflow demo` on the reader's own systems: a topic and a database of its own, gone again at the end.

use crate::postgres::Database;
use crate::services::{services, unique};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

fn topics(servers: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).create().expect("a consumer");
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(30)).expect("the broker answers");
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// A seed that no other run has, so that what is left behind can be looked for.
fn seed() -> u64 {
    unique("seed").bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into())) % 1_000_000_000
}

#[test]
fn the_controls_go_wrong_on_real_systems_and_nothing_is_left_behind() {
    let Some(services) = services() else { return };
    let database = Database::create(&services);
    let both = [Some(("--kafka", services.kafka.as_str())), Some(("--postgres", database.url.as_str()))];
    for (kafka, postgres) in [(both[0], both[1]), (both[0], None), (None, both[1])] {
        let folder = tempfile::tempdir().expect("a folder");
        let seed = seed().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_onceflow"))
            .args(["demo", "--rows", "30000", "--kills", "12", "--format", "json", "--out", "d", "--seed", &seed])
            .args(kafka.into_iter().chain(postgres).flat_map(|(flag, value)| [flag, value]))
            .current_dir(folder.path())
            .output()
            .expect("the binary was built with this test");
        let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said()));
        let of = |index: usize, name: &str| value["contestants"][index][name].as_u64().expect("a number");
        assert_eq!((of(2, "rows"), of(2, "missing"), of(2, "repeated")), (30_000, 0, 0), "{value:#}");
        assert_eq!(value["audit_verdict"], "clean", "{value:#}");
        // Where the schedule missed the one moment that breaks a control, the demo says that it proved nothing.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", said());
        assert!(of(0, "missing") == 0 && of(1, "repeated") == 0, "{value:#}");
        let mark = format!("onceflow_demo_{seed}_");
        let left = format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{}%'", mark.replace('_', "\\_"));
        assert_eq!(database.number(&left), 0, "a database is left");
        assert!(!topics(&services.kafka).iter().any(|name| name.starts_with(&mark)), "a topic is left");
        let text = std::fs::read_to_string(folder.path().join("d/transfers.sql")).expect("it was written");
        assert_eq!(text.contains("'kafka'"), kafka.is_some());
        assert_eq!(text.contains("ONCEFLOW_DEMO_DATABASE"), postgres.is_some());
    }
}

#[test]
fn systems_that_cannot_be_used_are_named() {
    let Some(services) = services() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = "postgresql://postgres@127.0.0.1:1/postgres";
    for (flag, value) in [("--postgres", nobody), ("--postgres", "sqlite:x.db")] {
        let output = Command::new(env!("CARGO_BIN_EXE_onceflow"))
            .args(["demo", "--rows", "4000", "--out", "d", flag, value, "--kafka", &services.kafka])
            .current_dir(folder.path())
            .output()
            .expect("the binary was built with this test");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("OF0141"), "{said}");
        std::fs::remove_dir_all(folder.path().join("d")).expect("it was made");
    }
}
