//! `onceflow demo`: the two controls go wrong, Onceflow does not, and a demo in which nothing breaks says so.

use crate::sandbox::Sandbox;
use serde_json::Value;

#[test]
fn the_controls_go_wrong_and_onceflow_does_not() {
    let sandbox = Sandbox::new(&[]);
    let arguments = ["demo", "--rows", "30000", "--kills", "8", "--out", "d", "--format", "json"];
    let ran = sandbox.run(&arguments);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let value: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    let of = |index: usize, name: &str| value["contestants"][index][name].as_u64().expect("a number");
    assert!(of(0, "repeated") > 0 && of(0, "missing") == 0, "{value:#}");
    assert!(of(1, "missing") > 0 && of(1, "repeated") == 0, "{value:#}");
    assert_eq!((of(2, "rows"), of(2, "missing"), of(2, "repeated")), (30_000, 0, 0));
    assert_eq!((&value["contestants"][2]["sum"], &value["audit_verdict"]), (&value["sum"], &"clean".into()));
    assert!(value["contestants"][2]["kills"].as_array().is_some_and(|kills| !kills.is_empty()));
    let sql = "SELECT count(*), count(DISTINCT id) FROM transfers";
    assert_eq!(sandbox.query("d/onceflow.db", sql), ["Integer(30000) Integer(30000)"]);
    let page = std::fs::read_to_string(sandbox.path().join("d/report.html")).expect("it was written");
    assert!(page.contains("<svg") && !page.contains("http://") && !page.contains("https://"));
    let again = sandbox.run(&arguments);
    assert!(again.code == 2 && again.stderr.contains("OF0140"), "{}", again.stderr);
}

#[test]
fn a_demo_in_which_nothing_breaks_proves_nothing() {
    let sandbox = Sandbox::new(&[]);
    let ran = sandbox.run(&["demo", "--rows", "4000", "--kills", "0", "--out", "d"]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("proves nothing"), "{}", ran.stdout);
}

#[test]
fn each_cause_is_broken_named_by_doctor_and_mended() {
    for cause in ["1", "2", "3", "4", "5", "6"] {
        let sandbox = Sandbox::new(&[]);
        let arguments = ["demo", "--cause", cause, "--rows", "30000", "--kills", "8", "--out", "d", "--format", "json"];
        let ran = sandbox.run(&arguments);
        assert_eq!(ran.code, 0, "{cause}: {}{}", ran.stdout, ran.stderr);
        let value: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
        let programs = value["programs"].as_array().expect("programs");
        assert_eq!(programs[0]["right"], false, "{value:#}");
        assert!(programs[1..].iter().all(|it| it["right"] == true), "{value:#}");
        let findings = value["findings"].as_array().expect("findings");
        assert!(
            !findings.is_empty() && findings.iter().all(|it| it["cause"].as_u64() == cause.parse().ok()),
            "{value:#}"
        );
        assert!(findings.iter().all(|it| it["fix"].as_str().is_some_and(|fix| !fix.is_empty())), "{value:#}");
        // Anybody may ask again: what is told is what doctor says.
        if cause != "5" {
            let name = programs[0]["name"].as_str().expect("a name");
            let home = format!("sqlite:d/{name}.db");
            let again = [
                "doctor",
                "--foreign",
                "--files",
                "d/log/*.jsonl",
                "--home",
                &home,
                "--table",
                "transfers",
                "--map",
                "id,account,amount",
            ];
            let again = sandbox.run(&again);
            assert_eq!(again.code, 1, "{}", again.stderr);
            assert!(again.stdout.contains(findings[0]["id"].as_str().expect("a name")), "{}", again.stdout);
        }
    }
}

#[test]
fn a_cause_without_a_kill_proves_nothing() {
    let sandbox = Sandbox::new(&[]);
    let ran = sandbox.run(&["demo", "--cause", "4", "--rows", "4000", "--kills", "0", "--out", "d"]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("proves nothing"), "{}", ran.stdout);
}
