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
