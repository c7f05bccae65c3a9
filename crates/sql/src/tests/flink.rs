//! Texts as people write them for Flink, with what is expected of each: accepted, or refused by name at the right place.

use super::compiled;
use onceflow::Error;

/// Each file ends with what is expected of it.
macro_rules! texts {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), include_str!(concat!("flink/", stringify!($name), ".sql")))),*] };
}

const TEXTS: &[(&str, &str)] = texts![
    aggregate_into_upsert,
    catalogs,
    comments_and_unicode,
    constructors,
    deduplication,
    filesystem_and_kafka_sinks,
    functions,
    group_by_floor,
    group_windows,
    hints,
    interval_join,
    java_functions,
    json_options,
    kafka_to_jdbc,
    key_format,
    like_excluding,
    metadata_columns,
    not_null_enforcer,
    over_window,
    processing_time,
    qualified_names,
    slips,
    sql_client_session,
    statement_set,
    temporal_join,
    unnest,
    upsert_kafka_sink,
    views_and_computed_columns,
    window_tvf,
    window_tvf_named_arguments,
    with_and_union_all,
];

const EXPECTED: &str = "-- What is expected of it: each finding with its place and the underlined text.\n";

/// `-- error OF0311 7:5 TUMBLE`
fn line(kind: &str, error: &Error, text: &str) -> String {
    let place = error.place().expect("every finding has a place");
    let shown = text.lines().nth(place.line as usize - 1).unwrap_or_default().chars();
    let shown: String = shown.skip(place.column as usize - 1).take(place.length as usize).collect();
    format!("-- {kind} {} {}:{} {shown}", error.code(), place.line, place.column)
}

#[test]
fn texts_of_others_are_accepted_or_refused_by_name_at_the_right_place() {
    let mut wrong = Vec::new();
    for (name, text) in TEXTS {
        let (_, expected) = text.split_once(EXPECTED).expect("each text says what is expected of it");
        let found: Vec<String> = match compiled(text) {
            Ok(compiled) => {
                let warnings = compiled.pipeline.warnings.iter().map(|warning| line("warning", warning, text));
                ["-- accepted".to_owned()].into_iter().chain(warnings).collect()
            }
            Err(errors) => errors.iter().map(|error| line("error", error, text)).collect(),
        };
        if found != expected.lines().collect::<Vec<_>>() {
            wrong.push(format!("{name}:\n{}", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "found in\n{}", wrong.join("\n\n"));
}
