//! Kafka's options: what they come to, and what is refused.

use super::{accept, check, target, warns};
use onceflow::changes::OnError;
use onceflow::decode::{Format, Metadata};

const BASE: &str = "'connector' = 'kafka', 'properties.bootstrap.servers' = 'localhost:9092'";
const EARLIEST: &str = ", 'topic' = 'x', 'scan.startup.mode' = 'earliest-offset'";

fn with(columns: &str, options: &str) -> String {
    format!(
        "CREATE TABLE s (a BIGINT, b STRING{columns}) WITH ({BASE}{options});\n{}INSERT INTO t SELECT a, b FROM s;",
        target()
    )
}

fn json(options: &str) -> String {
    with("", &format!("{options}, 'format' = 'json'"))
}

#[test]
fn start_and_end_are_said_in_flinks_words() {
    let spec = |options: &str| {
        let script = accept(&json(&format!(", 'topic' = 'x'{options}"))).script;
        format!("{:?}", script.tables[0].source.as_ref().expect("a source").factory)
    };
    let startup = |options: &str, says: &str| {
        let spec = spec(options);
        assert!(spec.contains(says), "{options}: {spec}");
    };
    startup(", 'scan.startup.mode' = 'earliest-offset'", "startup: Earliest");
    startup(", 'scan.startup.mode' = 'latest-offset'", "startup: Latest");
    startup(", 'properties.group.id' = 'g'", "GroupOffsets { reset: None }");
    startup(
        ", 'scan.startup.mode' = 'group-offsets', 'properties.group.id' = 'g', 'properties.auto.offset.reset' = 'earliest'",
        "reset: Some(Earliest)",
    );
    startup(
        ", 'scan.startup.mode' = 'timestamp', 'scan.startup.timestamp-millis' = '1700000000000'",
        "Timestamp(1700000000000)",
    );
    startup(
        ", 'scan.startup.mode' = 'specific-offsets', 'scan.startup.specific-offsets' = 'partition:0,offset:42;partition:1,offset:300'",
        "Specific({0: Position(42), 1: Position(300)})",
    );
    startup(", 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'", "bounded: Latest");
    startup(", 'scan.startup.mode' = 'earliest-offset'", "bounded: Unbounded");
    startup(
        ", 'scan.startup.mode' = 'earliest-offset', 'scan.topic-partition-discovery.interval' = '0'",
        "discovery_interval: None",
    );
    startup(
        ", 'scan.startup.mode' = 'earliest-offset', 'scan.topic-partition-discovery.interval' = '1 min'",
        "Some(60s)",
    );
}

#[test]
fn wrong_options_are_refused_at_their_place() {
    check(&json(", 'scan.startup.mode' = 'earliest-offset'"), "OF0224", "'topic'");
    check(&json(", 'topic' = 'x'"), "OF0224", "does not say where to begin");
    check(
        &json(", 'topic' = 'x', 'scan.startup.mode' = 'erliest-offset'"),
        "OF0225",
        "did you mean 'earliest-offset'?",
    );
    check(&json(", 'topic' = 'x', 'scan.startup.mode' = 'timestamp'"), "OF0224", "'scan.startup.timestamp-millis'");
    check(&json(", 'topic' = 'x', 'scan.startup.mode' = 'specific-offsets'"), "OF0224", "partition:0,offset:42");
    for wrong in ["0:42", "partition:0", "partition:0,offset:-1", "partition:0,offset:1;partition:0,offset:2", ""] {
        let options = format!(
            ", 'topic' = 'x', 'scan.startup.mode' = 'specific-offsets', 'scan.startup.specific-offsets' = '{wrong}'"
        );
        check(&json(&options), "OF0225", "partition:0,offset:42");
    }
    check(&json(", 'topic' = 'a,b', 'scan.startup.mode' = 'earliest-offset'"), "OF0225", "with semicolons");
    check(&json(", 'topic' = '', 'scan.startup.mode' = 'earliest-offset'"), "OF0225", "names of topics");
    check(&json(&format!("{EARLIEST}, 'topic-pattern' = 'x.*'")), "OF0226", "exclude each other");
    check(&json(&format!("{EARLIEST}, 'scan.startup.timestamp-millis' = '5'")), "OF0226", "does not fit");
    check(&json(&format!("{EARLIEST}, 'properties.auto.offset.reset' = 'earliest'")), "OF0407", "cannot be honoured");
    check(&json(", 'topic-pattern' = '(', 'scan.startup.mode' = 'earliest-offset'"), "OF0415", "regular expression");
    let no_servers = format!(
        "CREATE TABLE s (a BIGINT, b STRING) WITH ('connector' = 'kafka'{EARLIEST}, 'format' = 'json');\n{}INSERT INTO t SELECT a, b FROM s;",
        target()
    );
    check(&no_servers, "OF0224", "'properties.bootstrap.servers'");
}

#[test]
fn other_names_are_understood() {
    warns(
        &json(", 'topic' = 'x', 'scan.startup.mode' = 'earliest'"),
        "OF0228",
        "'earliest' is understood as 'earliest-offset'",
    );
    warns(
        &json(", 'topics' = 'x', 'scan.startup.mode' = 'earliest-offset'"),
        "OF0228",
        "'topics' is understood as 'topic'",
    );
    warns(&json(&format!("{EARLIEST}, 'group_id' = 'g'")), "OF0228", "'properties.group.id'");
    warns(&json(&format!("{EARLIEST}, 'sink.partitioner' = 'fixed'")), "OF0227", "is read, not written");
    warns(&json(&format!("{EARLIEST}, 'scan.watermark.idle-timeout' = '1 min'")), "OF0227", "event time");
}

#[test]
fn keys_give_columns() {
    let source = |columns: &str, options: &str| {
        accept(&with(columns, &format!("{EARLIEST}{options}"))).script.tables.remove(0).source.expect("a source")
    };
    let raw = source(
        "",
        ", 'key.format' = 'raw', 'key.fields' = 'b', 'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY'",
    );
    assert!(matches!(raw.key, Some(Format::Raw(_))));
    assert_eq!(raw.key_fields.get("b").map(String::as_str), Some("b"));
    let prefixed = source(
        ", k_a STRING, k_b INT",
        ", 'key.format' = 'csv', 'key.fields' = 'k_a;k_b', 'key.fields-prefix' = 'k_', 'value.format' = 'csv', \
         'value.fields-include' = 'EXCEPT_KEY', 'key.csv.field-delimiter' = '|', 'value.csv.field-delimiter' = ';'",
    );
    assert_eq!(prefixed.key_fields.get("k_a").map(String::as_str), Some("a"));
    let Some(Format::Csv(key)) = prefixed.key else { panic!("a CSV key") };
    let Format::Csv(value) = prefixed.value else { panic!("a CSV value") };
    assert_eq!((key.fields, key.field_delimiter), (vec!["a".to_owned(), "b".to_owned()], b'|'));
    assert_eq!((value.fields, value.field_delimiter), (vec!["a".to_owned(), "b".to_owned()], b';'));
    let json = ", 'value.format' = 'json'";
    check(&with("", &format!("{EARLIEST}{json}, 'key.format' = 'raw'")), "OF0231", "needs 'key.fields'");
    check(&with("", &format!("{EARLIEST}{json}, 'key.fields' = 'b'")), "OF0231", "needs 'key.format'");
    check(
        &with("", &format!("{EARLIEST}{json}, 'key.format' = 'raw', 'key.fields' = 'c'")),
        "OF0217",
        "no physical column",
    );
    check(
        &with("", &format!("{EARLIEST}{json}, 'key.format' = 'raw', 'key.fields' = 'a;b'")),
        "OF0230",
        "gives one column",
    );
    check(
        &with("", &format!("{EARLIEST}{json}, 'key.format' = 'json', 'key.fields' = 'a', 'key.fields-prefix' = 'k_'")),
        "OF0231",
        "begin with 'k_'",
    );
    check(&with("", &format!("{EARLIEST}{json}, 'format' = 'json'")), "OF0226", "the same option");
    check(
        &with(
            ", k_a STRING",
            &format!("{EARLIEST}{json}, 'key.format' = 'raw', 'key.fields' = 'k_a', 'key.fields-prefix' = 'k_'"),
        ),
        "OF0226",
        "EXCEPT_KEY",
    );
}

#[test]
fn metadata_has_flinks_names_and_types() {
    let columns = ", topic STRING METADATA, `partition` INT NOT NULL METADATA VIRTUAL, o BIGINT METADATA FROM 'offset', \
        l INT METADATA FROM 'leader-epoch', ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', tt STRING METADATA FROM 'timestamp-type', \
        headers MAP<STRING NOT NULL, BYTES> METADATA, k BYTES METADATA FROM 'key'";
    let script = accept(&with(columns, &format!("{EARLIEST}, 'format' = 'json', 'on-error' = 'stop'"))).script;
    let source = script.tables[0].source.as_ref().expect("a source");
    assert_eq!(source.metadata.len(), 8);
    assert_eq!(source.metadata.get("tt"), Some(&Metadata::TimestampType));
    assert_eq!(source.on_error, OnError::Stop);
    check(
        &with(", m STRING METADATA FROM 'ofset'", &format!("{EARLIEST}, 'format' = 'json'")),
        "OF0216",
        "did you mean offset?",
    );
    check(
        &with(", headers STRING METADATA", &format!("{EARLIEST}, 'format' = 'json'")),
        "OF0216",
        "MAP<STRING, BYTES>",
    );
}

#[test]
fn no_password_is_shown() {
    let text = json(&format!(
        "{EARLIEST}, 'properties.security.protocol' = 'SASL_SSL', 'properties.sasl.mechanism' = 'PLAIN', 'properties.sasl.jaas.config' = \
         'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"s3cret\";'"
    ));
    let compiled = accept(&text);
    assert!(!format!("{:?}", compiled.script.tables[0].source).contains("s3cret"));
    assert!(!compiled.script.logic.contains("s3cret"));
    assert!(!compiled.pipeline.branches[0].wiring.contains("s3cret"));
}

#[test]
fn a_message_has_no_first_line() {
    for option in ["csv.header", "csv.ignore-first-line"] {
        let text = with("", &format!("{EARLIEST}, 'format' = 'csv', '{option}' = 'true'"));
        check(&text, "OF0226", "a message has no first line");
    }
    let key = ", 'key.format' = 'csv', 'key.fields' = 'a', 'key.csv.header' = 'true', 'format' = 'json'";
    check(&with("", &format!("{EARLIEST}{key}")), "OF0226", "a message has no first line");
}
