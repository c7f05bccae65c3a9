//! What people read.

use crate::sandbox::Sandbox;

const GOOD: &str = "SET 'auto-create' = 'true';
CREATE TABLE orders (id BIGINT, total DECIMAL(12, 2)) WITH (
  'connector' = 'filesystem', 'path' = 'orders.jsonl', 'format' = 'json'
);
CREATE TABLE big (id BIGINT, total DECIMAL(12, 2), PRIMARY KEY (id) NOT ENFORCED) WITH (
  'connector' = 'sqlite', 'url' = 'sqlite:orders.db', 'table-name' = 'big'
);
INSERT INTO big SELECT id, total FROM orders WHERE total > 100;
";

const ORDERS: &str = "{\"id\":1,\"total\":99.99}
{\"id\":2,\"total\":100.01}
{\"id\":3,\"total\":\"many\"}
{\"id\":4,\"total\":250}
";

fn sandbox() -> Sandbox {
    Sandbox::new(&[("good.sql", GOOD), ("orders.jsonl", ORDERS)])
}

/// Runs commands one after the other and compares all they print.
fn check(name: &str, sandbox: &Sandbox, commands: &[&[&str]]) {
    let mut text = String::new();
    for arguments in commands {
        let ran = sandbox.run(arguments);
        text += &format!("$ onceflow {}\n{}\n", arguments.join(" "), ran.snapshot(sandbox));
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn help_is_written_text() {
    let help: [&[&str]; 3] = [&["--help"], &["run", "--help"], &["ledger", "--help"]];
    check("help", &sandbox(), &help);
}

#[test]
fn a_run_and_what_can_be_seen_of_it() {
    let commands: [&[&str]; 10] = [
        &["lint", "good.sql"],
        &["explain", "good.sql"],
        &["explain", "good.sql", "--graph", "mermaid"],
        &["preview", "good.sql"],
        &["run", "good.sql"],
        &["preview", "--written", "good.sql"],
        &["ledger", "show", "good.sql"],
        &["ledger", "history", "good.sql"],
        &["dead-letters", "list", "good.sql"],
        &["dead-letters", "show", "1", "good.sql"],
    ];
    check("run", &sandbox(), &commands);
}

#[test]
fn results_for_programs() {
    let commands: [&[&str]; 10] = [
        &["run", "good.sql", "-q"],
        &["new", "--format", "json"],
        &["lint", "bad.sql", "--format", "csv", "-q"],
        &["preview", "good.sql", "--format", "json", "-q"],
        &["explain", "of0105", "--format", "json"],
        &["explain", "good.sql", "--format", "csv"],
        &["ledger", "show", "good.sql", "--format", "json"],
        &["ledger", "show", "--home", "sqlite:orders.db", "--pipeline", "good", "--format", "csv"],
        &["dead-letters", "list", "good.sql", "--format", "json", "-q"],
        &["explain", "good.sql", "--format", "json"],
    ];
    let sandbox = sandbox();
    sandbox.write("bad.sql", &GOOD.replace("total > 100", "totl > 100"));
    check("formats", &sandbox, &commands);
}

#[test]
fn operators_decide_and_it_is_recorded() {
    let commands: [&[&str]; 9] = [
        &["run", "good.sql", "-q"],
        &["dead-letters", "show", "good.sql", "1"],
        &["dead-letters", "purge", "good.sql", "--id", "999", "--reason", "no such"],
        &["dead-letters", "replay", "good.sql", "--reason", "try again"],
        &["ledger", "reset", "good.sql", "--to", "beginning", "--reason", "read again"],
        &["run", "good.sql"],
        &["dead-letters", "purge", "good.sql", "--id", "1", "--reason", "looked at"],
        &["ledger", "forget", "good.sql", "--reason", "done"],
        &["ledger", "show", "good.sql"],
    ];
    check("decisions", &sandbox(), &commands);
}

#[test]
fn errors_say_what_where_why_and_what_mends_them() {
    let wrong = [
        ("connector.sql", GOOD.replace("'sqlite',", "'sqlit',")),
        ("option.sql", GOOD.replace("'path'", "'paht'")),
        ("column.sql", GOOD.replace("id, total FROM", "id, totl FROM")),
        ("syntax.sql", GOOD.replace("INSERT INTO big SELECT", "INSERT INTO big SELEC")),
        ("variable.sql", GOOD.replace("orders.jsonl", "${NOWHERE}")),
        (
            "window.sql",
            GOOD.replace("SELECT id, total FROM orders WHERE total > 100", "SELECT id, SUM(total) OVER () FROM orders"),
        ),
        ("type.sql", GOOD.replace("SELECT id, total", "SELECT 'x', total")),
        ("path.sql", GOOD.replace("orders.jsonl", "nowhere/*.jsonl")),
    ];
    let sandbox = sandbox();
    wrong.iter().for_each(|(name, text)| sandbox.write(name, text));
    let lints: Vec<[&str; 2]> = wrong[..7].iter().map(|(name, _)| ["lint", name]).collect();
    let mut commands: Vec<&[&str]> = lints.iter().map(|lint| &lint[..]).collect();
    commands.extend([
        &["run", "path.sql"][..],
        &["run", "missing.sql"],
        &["explain", "OF0203"],
        &["explain", "OF9999"],
        &["new", "file"],
        &["ledger", "show", "good.sql"],
        &["ledger", "show", "--home", "mysql://x/y", "--pipeline", "p"],
    ]);
    check("errors", &sandbox, &commands);
}

#[test]
fn a_flag_can_be_an_environment_variable() {
    let sandbox = sandbox();
    assert_eq!(sandbox.run(&["run", "good.sql", "-q"]).code, 0);
    let ran = sandbox.run_with(&["ledger", "show", "good.sql"], &[("ONCEFLOW_FORMAT", "json")]);
    assert!(ran.stdout.starts_with('['), "{}", ran.stdout);
}

#[test]
fn colours_only_where_they_are_wanted() {
    let sandbox = sandbox();
    let plain = sandbox.run(&["run", "missing.sql"]);
    assert!(!plain.stderr.contains('\x1b'), "{}", plain.stderr);
    let colored = sandbox.run(&["run", "missing.sql", "--color", "always"]);
    assert!(colored.stderr.contains("\x1b["), "{}", colored.stderr);
}

#[test]
fn errors_md_is_made_from_the_codes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let mut wanted = String::from(
        "# Errors\n\nMade from the codes in `crates/engine/src/codes` by the test `errors_md_is_made_from_the_codes`; \
         run it with `ONCEFLOW_WRITE_DOCS=1` to write it anew. `onceflow explain OF0203` prints one of them.\n",
    );
    for entry in onceflow::codes::all() {
        wanted += &format!("\n## {}: {}\n\n{}\n", entry.code, entry.title, entry.text);
    }
    if std::env::var_os("ONCEFLOW_WRITE_DOCS").is_some() {
        std::fs::write(path, &wanted).expect("the repository can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == wanted, "docs/errors.md is not what the codes say: run this test with ONCEFLOW_WRITE_DOCS=1");
}
