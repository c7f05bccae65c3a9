//! What is accepted and said once.

use super::{INSERT, accept, source, source_with, target, target_with, warns};

#[test]
fn options_without_meaning_are_said_once() {
    let writes = |options: &str| format!("{}{}{INSERT}", source(), target_with("a BIGINT, b STRING", options));
    warns(&writes(", 'sink.parallelism' = '4'"), "OF0227", "SET 'lanes'");
    warns(&writes(", 'sink.max-retries' = '3'"), "OF0227", "never sent twice");
    warns(&writes(", 'sink.buffer-flush.interval' = '1s'"), "OF0227", "epoch.interval_max");
    warns(&writes(", 'driver' = 'org.sqlite.JDBC'"), "OF0227", "built in");
    warns(&writes(", 'lookup.cache' = 'NONE'"), "OF0227", "not looked up");
    warns(&writes(", 'scan.fetch-size' = '10'"), "OF0227", "not read");
    warns(&writes(", 'connection.max-retry-timeout' = '10s'"), "OF0227", "--retry-for");
    let reads = |options: &str| format!("{}{}{INSERT}", source_with("", options), target());
    warns(&reads(", 'scan.parallelism' = '2'"), "OF0227", "lanes");
    warns(&reads(", 'json.encode.decimal-as-plain-number' = 'true'"), "OF0227", "nothing is written as JSON");
    warns(&reads(", 'sink.rolling-policy.file-size' = '1MB'"), "OF0227", "not written");
}

#[test]
fn names_of_other_systems_are_understood_and_said() {
    let text = format!(
        "{}CREATE TABLE t (a BIGINT, b STRING) WITH ('connector' = 'jdbc', 'jdbc.url' = 'jdbc:sqlite:x.db', 'table.name' = 'big');\n{INSERT}",
        source()
    );
    warns(&text, "OF0228", "'jdbc.url' is understood as 'url'");
    warns(&text, "OF0228", "'table.name' is understood as 'table-name'");
    assert_eq!(accept(&text).pipeline.branches[0].tables[0].table, "big");
}

#[test]
fn settings_of_flink_are_said_once() {
    let set = |key: &str, value: &str| format!("SET '{key}' = '{value}';\n{}{}{INSERT}", source(), target());
    warns(&set("parallelism.default", "4"), "OF0251", "lanes");
    warns(&set("table.exec.mini-batch.enabled", "true"), "OF0251", "planner");
    warns(&set("table.exec.sink.not-null-enforcer", "DROP"), "OF0251", "DROP is 'skip'");
    warns(&set("table.local-time-zone", "UTC"), "OF0251", "UTC in any case");
    warns(&set("table.sql-dialect", "default"), "OF0251", "as Flink's SQL");
    warns(&set("restart-strategy", "fixed-delay"), "OF0251", "--retry-for");
    warns(&set("execution.runtime-mode", "streaming"), "OF0251", "epochs");
    warns(&set("state.backend", "rocksdb"), "OF0251", "same transaction");
    warns(&set("state.dir", "/tmp/x"), "OF0251", "no effect yet");
    warns(&set("pipeline.object-reuse", "true"), "OF0251", "no effect here");
    let interval = set("execution.checkpointing.interval", "10 s");
    warns(&interval, "OF0251", "understood as 'epoch.interval_max'");
    let settings = accept(&interval).pipeline.settings;
    assert_eq!(settings.epoch_interval_max, Some(std::time::Duration::from_secs(10)));
    let both = format!("SET 'epoch.interval_max' = '1 s';\n{interval}");
    warns(&both, "OF0251", "no effect beside");
    assert_eq!(accept(&both).pipeline.settings.epoch_interval_max, Some(std::time::Duration::from_secs(1)));
}

#[test]
fn a_watermark_is_accepted_and_said() {
    let text = format!(
        "{}{}{INSERT}",
        source_with(", ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND", ""),
        target()
    );
    warns(&text, "OF0215", "the watermark for ts has no effect yet");
}

#[test]
fn the_ordinary_case_warns_of_nothing() {
    assert!(accept(&format!("{}{}{INSERT}", source(), target())).pipeline.warnings.is_empty());
}
