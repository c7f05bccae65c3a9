//! What may stand between the program and the primary: a pooler, or a standby in its place. Both are real ones.

use crate::doctor::{Case, status};
use std::process::Command;

/// A server that `scripts/services` put beside the database; it goes with this value.
struct Beside {
    kind: &'static str,
    name: String,
    port: String,
}

impl Beside {
    fn start(kind: &'static str, more: &[&str]) -> Self {
        let name = crate::services::unique(kind);
        let arguments = [&["start", kind, &name], more].concat();
        let said = control(&arguments);
        let port = said.trim().to_owned();
        assert!(port.parse::<u16>().is_ok(), "{said:?}");
        Self { kind, name, port }
    }

    /// The pipeline's file again, with this server in the place of the database.
    fn takes_the_place(&self, case: &Case) {
        let path = case.folder.path().join("p.sql");
        let sql = std::fs::read_to_string(&path).expect("the test wrote it");
        std::fs::write(&path, sql.replace(&case.database.url, &self.url(case))).expect("the folder is ours");
    }

    fn url(&self, case: &Case) -> String {
        let (server, name) = case.database.url.rsplit_once('/').expect("the URL ends with the database");
        let (host, _) = server.rsplit_once(':').expect("it has a port");
        format!("{host}:{}/{name}", self.port)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        control(&["stop", self.kind, &self.name]);
    }
}

fn control(arguments: &[&str]) -> String {
    let get = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by ./scripts/test"));
    let output = Command::new(get("ONCEFLOW_TEST_SERVICES_SCRIPT"))
        .arg(format!("{}-{}", arguments[0], arguments[1]))
        .arg(get("ONCEFLOW_TEST_SERVICES"))
        .args(&arguments[2..])
        .output()
        .expect("the script is executable");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a port")
}

/// Two transactions at once, so that the pool has two server sessions.
fn fill(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..2 {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("it answers");
            tokio::spawn(connection);
            client.batch_execute("BEGIN; SELECT 1").await.expect("it is a transaction");
            clients.push(client);
        }
        for client in clients {
            client.batch_execute("COMMIT").await.expect("it is open");
        }
    });
}

fn more_records(case: &Case) {
    let lines: String = (0..150).map(|id| format!("{{\"id\":{id},\"v\":\"v\"}}\n")).collect();
    std::fs::write(case.folder.path().join("in.jsonl"), lines).expect("the folder is ours");
}

#[test]
fn a_pooler_in_another_mode_than_session_is_refused_and_named() {
    for mode in ["transaction", "transaction-in-turn", "statement", "statement-in-turn"] {
        let Some(case) = Case::run() else { return };
        let pooler = Beside::start("pooler", &[mode]);
        if mode.starts_with("transaction") {
            fill(&pooler.url(&case));
        }
        pooler.takes_the_place(&case);
        more_records(&case);
        let (code, said) = case.onceflow(&["run", "p.sql"]);
        let named = said.contains("OF0710") && said.contains("pool_mode = session");
        assert!(code == 2 && named, "{mode}: {code}: {said}");
        assert_eq!(case.database.number("SELECT count(*) FROM copy"), 100, "{mode}");
        let (code, object) = case.doctor(&[]);
        assert_eq!((status(&object, "pooler"), code), ("broken", 1), "{mode}: {object:#}");
    }
}

#[test]
fn a_pooler_in_session_mode_works_and_is_a_warning() {
    let Some(case) = Case::run() else { return };
    let pooler = Beside::start("pooler", &["session"]);
    pooler.takes_the_place(&case);
    more_records(&case);
    let (code, said) = case.onceflow(&["run", "p.sql"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(case.database.number("SELECT count(*) FROM copy"), 150);
    let (code, object) = case.doctor(&[]);
    assert_eq!((status(&object, "pooler"), code), ("warning", 0), "{object:#}");
}

#[test]
fn a_standby_in_the_place_of_the_primary_is_refused_and_named() {
    let Some(case) = Case::run() else { return };
    let standby = Beside::start("standby", &[]);
    standby.takes_the_place(&case);
    more_records(&case);
    let (code, said) = case.onceflow(&["run", "p.sql", "--retry-for", "1s"]);
    assert!(code != 0 && said.contains("OF0708") && said.contains("standby"), "{code}: {said}");
    assert_eq!(case.database.number("SELECT count(*) FROM copy"), 100);
    let (code, object) = case.doctor(&[]);
    assert_eq!((status(&object, "primary"), code), ("broken", 1), "{object:#}");
}

#[test]
fn a_clock_that_is_ten_minutes_ahead_is_named() {
    let Some(case) = Case::run() else { return };
    let faketime = std::env::var("ONCEFLOW_TEST_FAKETIME").expect("it is set by ./scripts/test");
    let environment = [("LD_PRELOAD", faketime.as_str()), ("FAKETIME", "+600s"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
    command.args(["doctor", "p.sql", "--format", "json"]).current_dir(case.folder.path()).envs(environment);
    let output = command.output().expect("it was built");
    let object = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(status(&object, "clock"), "warning", "{object:#}");
    let (_, object) = case.doctor(&[]);
    assert_eq!(status(&object, "clock"), "ok", "{object:#}");
}
