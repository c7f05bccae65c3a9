//! `SET`: limits and choices of a pipeline.

use crate::model::{Script, Value};
use crate::options::{Findings, ON_ERROR, value, wrong_value};
use crate::suggest;
use onceflow::Error;
use onceflow::changes::OnError;
use onceflow::codes::{OF0250, OF0251, OF0263};
use onceflow::pipeline::Settings;

/// What `SET` says.
#[derive(Debug, Default)]
pub struct Chosen {
    /// `pipeline.name`, where set.
    pub name: Option<String>,
    /// `on-error`, where set.
    pub on_error: Option<OnError>,
    /// The rest.
    pub settings: Settings,
}

/// All settings of Onceflow.
pub const NAMES: &[&str] = &[
    "pipeline.name",
    "epoch.rows_max",
    "epoch.bytes_max",
    "epoch.interval_max",
    "lanes",
    "state.dir",
    "on-error",
    "dead-letters.max",
    "auto-create",
];

/// The most lanes.
const LANES_MAX: u64 = 1024;
/// The longest name of a pipeline, in characters.
const NAME_CHARACTERS_MAX: usize = 200;

/// Reads all settings of a text.
pub fn settings(script: &Script, findings: &mut Findings) -> Chosen {
    let mut chosen = Chosen::default();
    // Flink's name first, so that ours goes before it.
    if let Some(value) = script.settings.get(CHECKPOINTING) {
        checkpointing(value, script.settings.contains_key("epoch.interval_max"), &mut chosen, findings);
    }
    for (key, value) in script.settings.iter().filter(|(key, _)| *key != CHECKPOINTING) {
        setting(key, value, &mut chosen, findings);
    }
    chosen
}

const CHECKPOINTING: &str = "execution.checkpointing.interval";

fn checkpointing(value: &Value, ours: bool, chosen: &mut Chosen, findings: &mut Findings) {
    if let Some(interval) = read(CHECKPOINTING, value, DURATION, value::duration, findings) {
        chosen.settings.epoch_interval_max = Some(interval);
        let message = match ours {
            true => "'execution.checkpointing.interval' has no effect beside 'epoch.interval_max'",
            false => "'execution.checkpointing.interval' is understood as 'epoch.interval_max'",
        };
        findings.warnings.push(
            Error::config(OF0251, message)
                .at(&value.key_place)
                .note("an epoch closes by itself when the previous commit has finished; no interval has to be tuned")
                .help("remove it, or write 'epoch.interval_max'"),
        );
    }
}

const DURATION: &str = "a duration such as 500 ms, 5 s or 2 min";

fn setting(key: &str, value: &Value, chosen: &mut Chosen, findings: &mut Findings) {
    let settings = &mut chosen.settings;
    let positive = |text: &str| value::number(text).filter(|number| *number > 0);
    match key {
        "pipeline.name" => chosen.name = name(value, findings),
        "epoch.rows_max" => {
            let rows = read(key, value, "a whole number from 1 on", positive, findings);
            settings.epoch_rows_max = rows.map(saturating).or(settings.epoch_rows_max);
        }
        "epoch.bytes_max" => {
            let size = |text: &str| value::size(text).filter(|size| *size > 0);
            let bytes = read(key, value, "a size such as 32 mb", size, findings);
            settings.epoch_bytes_max = bytes.map_or(settings.epoch_bytes_max, saturating);
        }
        "epoch.interval_max" => {
            let interval = read(key, value, DURATION, value::duration, findings);
            settings.epoch_interval_max = interval.or(settings.epoch_interval_max);
        }
        "lanes" => {
            let lanes = |text: &str| positive(text).filter(|lanes| *lanes <= LANES_MAX);
            let lanes = read(key, value, "a whole number from 1 to 1024", lanes, findings);
            settings.lanes = lanes.map_or(settings.lanes, saturating);
        }
        "dead-letters.max" => {
            settings.dead_letters_max = read(key, value, "a whole number", value::number, findings);
        }
        "auto-create" => {
            settings.auto_create = read(key, value, "true or false", value::boolean, findings).unwrap_or(false);
        }
        "on-error" => {
            let word = |text: &str| ON_ERROR.iter().find(|(word, _)| *word == text.trim()).map(|(_, value)| *value);
            chosen.on_error = read(key, value, "one of dead-letter, stop, skip", word, findings);
        }
        "state.dir" => findings.warnings.push(
            Error::config(OF0251, "'state.dir' has no effect yet")
                .at(&value.key_place)
                .note("no operator keeps state outside of the database"),
        ),
        _ => other(key, value, findings),
    }
}

fn saturating(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn read<T>(
    key: &str,
    value: &Value,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    findings: &mut Findings,
) -> Option<T> {
    let parsed = parse(&value.text);
    if parsed.is_none() {
        findings.errors.push(wrong_value(key, value, expected));
    }
    parsed
}

fn name(value: &Value, findings: &mut Findings) -> Option<String> {
    match check_name(&value.text) {
        Ok(()) => Some(value.text.clone()),
        Err(error) => {
            findings.errors.push(error.at(&value.place));
            None
        }
    }
}

/// Whether a text can be a pipeline's name.
pub fn check_name(name: &str) -> Result<(), Error> {
    let wrong = if name.trim().is_empty() {
        "is empty"
    } else if name.trim() != name {
        "begins or ends with white space"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else if name.chars().count() > NAME_CHARACTERS_MAX {
        "is longer than 200 characters"
    } else {
        return Ok(());
    };
    Err(Error::config(OF0263, format!("the pipeline's name {wrong}")).help("write SET 'pipeline.name' = 'payments'"))
}

/// Settings of Flink by their beginnings, with what stands in their place.
const FLINK: &[(&str, &str)] = &[
    ("parallelism.default", "SET 'lanes' says how many threads write"),
    ("table.local-time-zone", "the time zone is UTC in any case"),
    ("table.sql-dialect", "the text is read as Flink's SQL in any case"),
    (
        "table.exec.sink.not-null-enforcer",
        "a record that gives NULL for a NOT NULL column takes no effect; 'on-error' says what becomes of it: \
         ERROR is 'stop', DROP is 'skip'",
    ),
    (
        "table.exec.sink.type-length-enforcer",
        "lengths of CHAR and VARCHAR are the database's to enforce; nothing is cut",
    ),
    ("table.exec.sink.upsert-materialize", "the rows of one key are written in the order of their positions"),
    ("table.exec.state.ttl", "no operator keeps state outside of the database"),
    ("table.exec.source.idle-timeout", "nothing uses event time yet"),
    ("table.dml-sync", "onceflow run waits until the sources end, or for ever"),
    ("table.", "there is no such choice in Onceflow's planner"),
    ("sql-client.", "onceflow's own flags say how results are shown"),
    ("execution.", "epochs, the ledger and bounded sources stand in its place"),
    ("state.", "positions are in the target database, in the same transaction as the rows"),
    ("restart-strategy", "an unavailable system is tried again for as long as --retry-for says"),
    ("pipeline.", "there are no operators on a network to tune"),
    ("taskmanager.", "there is one process and no cluster"),
    ("jobmanager.", "there is one process and no cluster"),
    ("jobstore.", "there is one process and no cluster"),
    ("rest.", "there is no REST interface"),
    ("web.", "there is no web interface"),
    ("high-availability", "run a second instance with --standby"),
    ("metrics.", "metrics are not chosen in the text"),
    ("python.", "Python functions do not run here"),
    ("cluster.", "there is one process and no cluster"),
    ("client.", "there is one process and no cluster"),
    ("yarn.", "there is one process and no cluster"),
    ("kubernetes.", "there is one process and no cluster"),
    ("heartbeat.", "there is one process and no cluster"),
    ("akka.", "there is one process and no cluster"),
    ("pekko.", "there is one process and no cluster"),
    ("security.", "logins are options of the tables"),
    ("job.", "there is one process and no cluster"),
    ("jobmanager", "there is one process and no cluster"),
    ("env.", "there is no Java machine"),
    ("classloader.", "there is no Java machine"),
    ("fs.", "files are read from the local file system"),
    ("s3.", "files are read from the local file system"),
];

/// A setting that is not ours: Flink's, or a slip.
fn other(key: &str, value: &Value, findings: &mut Findings) {
    if key == "table.local-time-zone" && !is_utc(&value.text) {
        let error = only(key, "UTC", value);
        findings.errors.push(error.note("it changes what TIMESTAMP_LTZ shows, and Onceflow shows it in UTC"));
        return;
    }
    if key == "table.sql-dialect" && !["default", "flink"].contains(&value.text.trim().to_ascii_lowercase().as_str()) {
        let error = only(key, "default", value);
        findings
            .errors
            .push(error.note("the text is read as Flink's SQL, and in another dialect it would mean something else"));
        return;
    }
    let meant = suggest::nearest(key, NAMES.iter().copied());
    let flink = FLINK.iter().find(|(beginning, _)| key.starts_with(beginning));
    match (meant, flink) {
        (None, Some((_, why))) => findings.warnings.push(
            Error::config(OF0251, format!("the setting '{key}' has no effect here")).at(&value.key_place).note(*why),
        ),
        _ => findings.errors.push(
            Error::config(OF0250, format!("there is no setting '{key}'")).at(&value.key_place).help(suggest::help(
                key,
                "settings",
                NAMES.iter().copied(),
            )),
        ),
    }
}

/// A setting of Flink that has one value here. A value that may hold a secret is not shown.
fn only(key: &str, one: &str, value: &Value) -> Error {
    let shown = if value.secret { String::new() } else { format!(", not '{}'", value.text) };
    Error::config(OF0250, format!("'{key}' can only be {one}{shown}")).at(&value.place)
}

fn is_utc(zone: &str) -> bool {
    ["utc", "etc/utc", "z", "gmt", "+00:00", "utc+00:00", "default"]
        .contains(&zone.trim().to_ascii_lowercase().as_str())
}
