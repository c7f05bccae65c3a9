//! The second tier, part two: the broker and the database themselves are restarted, crashed and restored, so these tests
//! run one at a time and apart from the others.
#![allow(dead_code)]

#[path = "../system/kafka.rs"]
mod kafka;
#[path = "../system/load.rs"]
mod load;
#[path = "../system/postgres.rs"]
mod postgres;
#[path = "../system/process.rs"]
mod process;
#[path = "../system/services.rs"]
mod services;
#[path = "../system/trades.rs"]
mod trades;

use kafka::produce;
use load::Load;
use process::eventually;
use services::services;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(120);

/// These tests take turns: each of them takes the servers away from everybody.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `scripts/services` on the folder of this run.
fn control(arguments: &[&str]) {
    let get = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by ./scripts/test"));
    let status = Command::new(get("ONCEFLOW_TEST_SERVICES_SCRIPT"))
        .arg(arguments[0])
        .arg(get("ONCEFLOW_TEST_SERVICES"))
        .args(&arguments[1..])
        .status()
        .expect("the script is executable");
    assert!(status.success(), "services {arguments:?}: {status}");
}

#[test]
fn a_database_that_crashes_under_load_costs_nothing() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..60_000);
    let mut process = load.start(&["--until-caught-up"]);
    for _ in 0..3 {
        let before = load.rows();
        eventually("rows", WAIT, || load.rows() > before || load.rows() == 60_000);
        control(&["restart-postgres", "immediate"]);
    }
    process.finish(WAIT);
    load.check(60_000);
    let said = process.log();
    assert!(said.contains("warning[OF07"), "trouble is said once:\n{said}");
    assert!(said.contains("working again"), "and that it is over:\n{said}");
}

#[test]
fn a_database_that_is_away_at_the_start_is_waited_for() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..1_000);
    control(&["stop-postgres", "fast"]);
    let mut process = load.start(&["--until-caught-up"]);
    std::thread::park_timeout(Duration::from_secs(2));
    let early = process.wait(Duration::ZERO);
    control(&["start-postgres"]);
    assert!(early.is_none(), "it gave up: {early:?}\n{}", process.log());
    process.finish(WAIT);
    load.check(1_000);
}

#[test]
fn patience_ends_where_the_user_says() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..1_000);
    control(&["stop-postgres", "fast"]);
    let mut process = load.start(&["--until-caught-up", "--retry-for", "2s"]);
    let ended = process.wait(WAIT);
    control(&["start-postgres"]);
    assert_eq!(ended.and_then(|status| status.code()), Some(3), "{}", process.log());
    assert!(process.log().contains("OF0003"), "{}", process.log());
    load.finish(1_000);
}

#[test]
fn backends_terminated_again_and_again_cost_nothing() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..100_000);
    let mut process = load.start(&["--until-caught-up"]);
    let mut commits_hit = 0;
    for _ in 0..300 {
        if process.wait(Duration::ZERO).is_some() {
            break;
        }
        let during = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid), query FROM pg_stat_activity \
                      WHERE datname = current_database() AND application_name LIKE 'onceflow/%' \
                      AND query ILIKE 'COMMIT%' AND state = 'active') t";
        commits_hit += load.database.number(during);
        std::thread::park_timeout(Duration::from_millis(3));
        if commits_hit >= 10 {
            break;
        }
    }
    let any = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name LIKE 'onceflow/%') t";
    let terminated = load.database.number(any);
    println!("terminated {commits_hit} in COMMIT, {terminated} at any step");
    process.finish(WAIT);
    load.check(100_000);
}

#[test]
fn a_broker_that_is_killed_under_load_costs_nothing() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..30_000);
    let mut process = load.start(&[]);
    eventually("rows", WAIT, || load.rows() > 0);
    control(&["restart-kafka", "kill"]);
    produce(&services, &load.topic, 4, 30_000..40_000);
    eventually("all rows", WAIT, || load.rows() == 40_000);
    process.signal("TERM");
    process.finish(WAIT);
    load.check(40_000);
}

#[test]
fn a_database_restored_from_a_backup_goes_on_where_its_own_ledger_says() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..5_000);
    load.finish(5_000);
    let name = services::unique("backup");
    control(&["backup", &name]);
    produce(&services, &load.topic, 4, 5_000..20_000);
    let mut process = load.start(&[]);
    eventually("all rows", WAIT, || load.rows() == 20_000);
    control(&["restore", &name]);
    let mut ended = None;
    eventually("all rows again, or its end", WAIT, || {
        ended = process.wait(Duration::ZERO);
        ended.is_some() || load.database.try_number("SELECT count(*) FROM payments") == Some(20_000)
    });
    assert!(ended.is_none(), "it ended with {ended:?}:\n{}", process.log());
    process.signal("TERM");
    process.finish(WAIT);
    load.check(20_000);
}

#[test]
fn a_full_disk_is_waited_out() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    // A trigger raises what a full disk raises, until the test takes it away.
    load.database.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON payments EXECUTE FUNCTION full_disk();",
    );
    produce(&services, &load.topic, 4, 0..1_000);
    let mut process = load.start(&["--until-caught-up"]);
    eventually("it says so", WAIT, || process.log().contains("could not extend file"));
    std::thread::park_timeout(Duration::from_secs(1));
    assert!(process.wait(Duration::ZERO).is_none(), "it gave up:\n{}", process.log());
    load.database.execute("DROP TRIGGER full_disk ON payments");
    process.finish(WAIT);
    load.check(1_000);
}

/// What doctor says of a pipeline, check by check.
fn examine(load: &Load) -> Vec<serde_json::Value> {
    let file = load.folder.path().join("doctor.sql");
    std::fs::write(&file, &load.sql).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
    let output = command.arg("doctor").arg(&file).args(["--format", "json"]).output().expect("it was built");
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said()));
    object["checks"].as_array().cloned().expect("there are checks")
}

#[test]
fn doctor_names_a_server_that_does_not_sync_and_its_fix_mends_it() {
    let Some(services) = services() else { return };
    let _turn = alone();
    let load = Load::new(&services);
    produce(&services, &load.topic, 4, 0..1_000);
    load.start(&["--until-caught-up"]).finish(WAIT);
    let doctor = |id: &str| {
        let checks = examine(&load);
        let check =
            checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}: {checks:#?}"));
        let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("fix"))
    };
    for (setting, id) in [("fsync", "fsync"), ("full_page_writes", "full-page-writes")] {
        assert_eq!(doctor(id).0, "ok", "{id}");
        load.database.execute(&format!("ALTER SYSTEM SET {setting} = off"));
        load.database.execute("SELECT pg_reload_conf()");
        eventually("it is read", WAIT, || {
            load.database.query(&format!("SHOW {setting}"))[0].get::<_, String>(0) == "off"
        });
        let (status, fix) = doctor(id);
        assert_eq!(status, "broken", "{id}");
        fix.split(';').map(str::trim).filter(|sql| !sql.is_empty()).for_each(|sql| load.database.execute(sql));
        eventually("it is mended", WAIT, || {
            load.database.query(&format!("SHOW {setting}"))[0].get::<_, String>(0) == "on"
        });
        assert_eq!(doctor(id).0, "ok", "{id}");
        load.database.execute(&format!("ALTER SYSTEM RESET {setting}"));
    }
    load.database.execute("SELECT pg_reload_conf()");
}
