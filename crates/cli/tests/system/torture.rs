//! `onceflow torture` on Kafka → PostgreSQL: real faults, real scratch databases, and the real tables as they were.

use crate::crash::pipeline;
use crate::kafka::{create_topic, produce};
use crate::postgres::{Database, TABLES};
use crate::services::{Services, services, unique};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs torture with a seed that no other run has, so that its scratch databases can be looked for.
fn torture(folder: &Path, sql: &str, seed: u32, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    std::fs::write(folder.join("p.sql"), sql).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
    command.args(["torture", "p.sql", "--format", "json", "--seed", &seed.to_string()]).args(arguments);
    command.current_dir(folder).env("TMPDIR", folder).envs(environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().expect("the binary was built with this test");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
}

fn seed() -> u32 {
    let unique = unique("seed");
    unique.bytes().fold(17_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

fn scratch_databases(database: &Database, seed: u32) -> i64 {
    database.number(&format!("SELECT count(*) FROM pg_database WHERE datname LIKE 'onceflow\\_torture\\_{seed}\\_%'"))
}

/// What torture may not touch: rows of the targets, and the ledger.
fn untouched(database: &Database, mode: &str) {
    let rows = "SELECT (SELECT count(*) FROM payments) + (SELECT count(*) FROM latest) + (SELECT count(*) FROM balances) \
                + (SELECT count(*) FROM accounts WHERE balance <> 0)";
    assert_eq!(database.number(rows), 0, "{mode}: a real table was touched");
    assert_eq!(database.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'onceflow'"), 0, "{mode}: a ledger");
}

fn check(services: &Services, mode: &str, partitions: i32, arguments: &[&str]) -> Value {
    let database = Database::create(services);
    database.execute(TABLES);
    let topic = unique("torture");
    create_topic(services, &topic, partitions);
    produce(services, &topic, partitions, 0..2_500);
    let folder = tempfile::tempdir().expect("a folder");
    let seed = seed();
    let sql = pipeline(services, &database, &topic, mode);
    let ran = torture(folder.path(), &sql, seed, &[&["--rows", "2000"], arguments].concat(), &[]);
    assert_eq!(ran.code, Some(0), "{mode}: {}{}", ran.stdout, ran.stderr);
    let found = json(&ran);
    assert_eq!((&found["verdict"], &found["records"]), (&"same".into(), &2_000.into()), "{mode}");
    untouched(&database, mode);
    assert_eq!(scratch_databases(&database, seed), 0, "{mode}: scratch databases are left");
    found
}

#[test]
fn a_whole_round_leaves_the_same_rows_and_the_real_tables_alone() {
    let Some(services) = services() else { return };
    let found = check(&services, "append", 2, &["--kills", "4"]);
    let cells = found["matrix"].as_array().expect("a matrix");
    for cell in cells {
        assert!(cell["point"] == "random" || cell["point"] == "kafka" || cell["not_hit"] == 0, "{cell}");
    }
    fetches_were_cut(cells);
    for point in ["database", "kafka"] {
        assert_eq!(cells.iter().filter(|cell| cell["point"] == point).count(), 5, "{point}: {cells:?}");
    }
}

/// A run may be over before its second fetch: of the five cells, one at most was not hit.
fn fetches_were_cut(cells: &[Value]) {
    let cells: Vec<_> = cells.iter().filter(|cell| cell["point"] == "kafka").collect();
    let each = |cell: &Value| cell["same"] == 1 || cell["not_hit"] == 1;
    assert!(cells.len() == 5 && cells.iter().all(|cell| each(cell)), "{cells:?}");
    assert!(cells.iter().filter(|cell| cell["same"] == 1).count() >= 4, "{cells:?}");
}

/// The same brokers with a password and with TLS: their addresses, and the options that reach them.
fn secured() -> Vec<(String, String)> {
    let variable = |name: &str| std::env::var(format!("ONCEFLOW_TEST_KAFKA_{name}")).ok();
    let mut secured = Vec::new();
    if let [Some(servers), Some(user), Some(password)] = ["SASL", "USER", "PASSWORD"].map(variable) {
        let login = format!(
            "'properties.security.protocol' = 'SASL_PLAINTEXT', 'properties.sasl.mechanism' = 'PLAIN', \
             'properties.sasl.username' = '{user}', 'properties.sasl.password' = '{password}'"
        );
        secured.push((servers, login));
    }
    if let [Some(servers), Some(ca)] = ["TLS", "CA"].map(variable) {
        let trust = format!(
            "'properties.security.protocol' = 'SSL', 'properties.ssl.truststore.type' = 'PEM', \
             'properties.ssl.truststore.location' = '{ca}'"
        );
        secured.push((servers, trust));
    }
    secured
}

#[test]
fn brokers_that_speak_tls_and_ask_for_a_password_are_cut_off_as_well() {
    let Some(services) = services() else { return };
    let secured = secured();
    assert!(!secured.is_empty() || std::env::var_os("ONCEFLOW_TEST_REQUIRE").is_none(), "no secured listener");
    let database = Database::create(&services);
    database.execute(TABLES);
    let topic = unique("torture");
    create_topic(&services, &topic, 2);
    produce(&services, &topic, 2, 0..2_500);
    for (servers, properties) in secured {
        let sql = pipeline(&services, &database, &topic, "append");
        let plain = format!("'properties.bootstrap.servers' = '{}'", services.kafka);
        assert!(sql.contains(&plain), "{sql}");
        let sql = sql.replace(&plain, &format!("'properties.bootstrap.servers' = '{servers}',\n{properties}"));
        let folder = tempfile::tempdir().expect("a folder");
        let ran = torture(folder.path(), &sql, seed(), &["--rows", "2000", "--kills", "4", "--only", "kafka"], &[]);
        assert_eq!(ran.code, Some(0), "{servers}: {}{}", ran.stdout, ran.stderr);
        let found = json(&ran);
        let cells = found["matrix"].as_array().expect("a matrix");
        fetches_were_cut(cells);
    }
}

#[test]
fn every_mode_survives_a_kill_around_its_commit_and_a_lost_answer() {
    let Some(services) = services() else { return };
    for (mode, partitions) in [("upsert", 1), ("upsert", 2), ("merge", 2), ("statement", 2)] {
        let only = "mid_rows,commit_sent,after_commit,visible-commit,database";
        let found = check(&services, mode, partitions, &["--kills", "1", "--only", only]);
        let by_arrival =
            found["notes"].to_string().contains(": id, amount: which of several partitions") || mode != "upsert";
        let cells = found["matrix"].as_array().expect("a matrix").iter();
        let cuts: Vec<_> = cells.filter(|cell| cell["point"] == "database").collect();
        assert_eq!(cuts.len(), 5);
        assert_eq!(by_arrival, partitions == 2, "{mode}: {}", found["notes"]);
        assert!(cuts.iter().all(|cell| cell["same"] == 1), "{mode}: {cuts:?}");
    }
}

/// Everything that a definition can have, and what cannot be copied.
const RICH: &str = "
CREATE SCHEMA sales;
CREATE TYPE sales.mood AS ENUM ('food', 'travel', 'größe', 'o''hara');
CREATE DOMAIN sales.cents AS BIGINT CHECK (VALUE > -100000);
CREATE TABLE sales.\"Trades\" (
    row BIGINT GENERATED ALWAYS AS IDENTITY,
    seen TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    serial SERIAL,
    id BIGINT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    amount sales.cents CHECK (amount < 100000),
    merchant sales.mood,
    twice BIGINT GENERATED ALWAYS AS (amount * 2) STORED
);
CREATE INDEX ON sales.\"Trades\" (account) WHERE amount > 0;
CREATE FUNCTION sales.noticed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noticed AFTER INSERT ON sales.\"Trades\" FOR EACH ROW EXECUTE FUNCTION sales.noticed();
";

#[test]
fn a_rich_table_is_copied_and_what_is_not_copied_is_named() {
    let Some(services) = services() else { return };
    let database = Database::create(&services);
    database.execute(TABLES);
    database.execute(RICH);
    let topic = unique("torture");
    create_topic(&services, &topic, 1);
    produce(&services, &topic, 1, 0..500);
    let sql = format!(
        "CREATE TABLE transactions (id BIGINT, account STRING, amount BIGINT, merchant STRING)
WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}',
      'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE trades (id BIGINT, account STRING, amount BIGINT, merchant STRING)
WITH ('connector' = 'jdbc', 'url' = '{}', 'table-name' = 'sales.Trades');
INSERT INTO trades SELECT id, account, amount, merchant FROM transactions;",
        services.kafka, database.url
    );
    let folder = tempfile::tempdir().expect("a folder");
    let ran = torture(folder.path(), &sql, seed(), &["--only", "after_rows,commit_sent/kill"], &[]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let found = json(&ran);
    assert_eq!((&found["rows"], &found["faults"]), (&500.into(), &2.into()));
    let notes = found["notes"].to_string();
    for part in ["the trigger noticed of sales", "the foreign key "] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert_eq!(database.number("SELECT count(*) FROM sales.\"Trades\""), 0);
}

#[test]
fn a_role_that_may_not_create_databases_is_told_what_it_lacks() {
    let Some(services) = services() else { return };
    let database = Database::create(&services);
    database.execute(TABLES);
    let role = unique("role");
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT ALL ON payments TO {role}"));
    let topic = unique("torture");
    create_topic(&services, &topic, 1);
    produce(&services, &topic, 1, 0..10);
    let (_, place) = database.url.rsplit_once('@').unwrap_or(("", database.url.trim_start_matches("postgresql://")));
    let sql = pipeline(&services, &database, &topic, "append");
    let sql = sql.replace(&database.url, &format!("postgresql://{role}:secret@{place}"));
    let folder = tempfile::tempdir().expect("a folder");
    let ran = torture(folder.path(), &sql, seed(), &[], &[]);
    assert_eq!(ran.code, Some(2), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("OF0153"), "{}", ran.stderr);
    assert!(ran.stderr.contains("CREATEDB;") && ran.stderr.contains(&role), "{}", ran.stderr);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn the_examples_are_tortured() {
    let Some(services) = services() else { return };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let database = Database::create(&services);
    database.execute(TABLES);
    database.execute("CREATE TABLE fees (id BIGINT, account TEXT, fee BIGINT)");
    let topic = unique("torture");
    create_topic(&services, &topic, 1);
    produce(&services, &topic, 1, 0..1_500);
    for name in ["append.sql", "article.sql", "balance.sql"] {
        let text = std::fs::read_to_string(examples.join(name)).expect("an example");
        let topic = format!("'topic' = '{topic}'");
        let text = text.replace("'topic' = 'transactions'", &topic);
        assert!(text.contains(&topic), "{name}");
        let folder = tempfile::tempdir().expect("a folder");
        let environment = [("KAFKA", services.kafka.as_str()), ("DATABASE", database.url.as_str())];
        let only = "after_move,after_rows,commit_sent,after_commit,database";
        let ran = torture(folder.path(), &text, seed(), &["--kills", "1", "--only", only], &environment);
        assert_eq!(ran.code, Some(0), "{name}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(json(&ran)["verdict"], "same", "{name}");
        untouched(&database, name);
    }
}
