//! Options of tables: which there are, how their values are read, and what is said of those that are wrong.
//!
//! Owns the rule that nothing is ignored silently: every option is read by somebody, or warned about, or an error.

pub mod format;
pub mod known;
pub mod value;

use crate::model::{TableDecl, Value};
use crate::suggest;
use known::Known;
use onceflow::changes::OnError;
use onceflow::codes::{OF0223, OF0224, OF0225, OF0226, OF0227, OF0228};
use onceflow::{Error, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What was found wrong, and what is to be said.
#[derive(Debug, Default)]
pub struct Findings {
    /// What stops the compilation.
    pub errors: Vec<Error>,
    /// What is said once.
    pub warnings: Vec<Error>,
}

/// Reads the options of one table.
pub struct Reader<'a> {
    /// The table.
    pub table: &'a TableDecl,
    options: BTreeMap<String, Value>,
    taken: BTreeSet<String>,
    /// What was found.
    pub findings: &'a mut Findings,
}

impl<'a> Reader<'a> {
    /// A reader of a table's options.
    pub fn new(table: &'a TableDecl, findings: &'a mut Findings) -> Self {
        Self { table, options: table.options.clone(), taken: BTreeSet::new(), findings }
    }

    /// Gives options of other systems their names here, with a warning.
    pub fn rename(&mut self, aliases: &[(&str, &str)]) {
        for (alias, name) in aliases {
            let Some(value) = self.options.remove(*alias) else { continue };
            if let Some(other) = self.options.get(*name) {
                let error = Error::config(OF0226, format!("'{alias}' and '{name}' are the same option"));
                self.findings
                    .errors
                    .push(error.at(&value.key_place).note(format!("'{name}' is in line {}", other.place.line)));
                continue;
            }
            let warning = Error::config(OF0228, format!("'{alias}' is understood as '{name}'"));
            self.findings.warnings.push(warning.at(&value.key_place).help(format!("write '{name}'")));
            self.options.insert((*name).to_owned(), value);
        }
    }

    /// The value of an option.
    pub fn value(&mut self, key: &str) -> Option<Value> {
        let value = self.options.get(key).cloned();
        if value.is_some() {
            self.taken.insert(key.to_owned());
        }
        value
    }

    /// Whether an option is there; does not count as reading it.
    pub fn has(&self, key: &str) -> bool {
        self.options.contains_key(key)
    }

    /// The value of an option that has to be there; `example` is shown where it is not.
    pub fn required(&mut self, key: &str, example: &str) -> Option<Value> {
        let value = self.value(key);
        if value.is_none() {
            self.missing(key, example);
        }
        value
    }

    /// Says that an option is missing.
    pub fn missing(&mut self, key: &str, example: &str) {
        self.findings.errors.push(
            Error::config(OF0224, format!("the table {} needs the option '{key}'", self.table.name))
                .at(&self.table.place)
                .help(format!("add '{key}' = '{example}' to WITH (…)")),
        );
    }

    /// The options with a prefix, by what follows it.
    pub fn prefixed(&mut self, prefix: &str) -> BTreeMap<String, Value> {
        let found: Vec<_> = self.options.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
        let found: BTreeMap<_, _> =
            found.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), value.clone())).collect();
        self.taken.extend(found.keys().map(|key| format!("{prefix}{key}")));
        found
    }

    /// An option's value as `read` reads it. `expected` says what it takes.
    pub fn parsed<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let parsed = read(&value.text);
        if parsed.is_none() {
            self.findings.errors.push(wrong_value(key, &value, expected));
        }
        parsed
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.parsed(key, "true or false", value::boolean).unwrap_or(default)
    }

    /// A number that is not negative.
    pub fn number(&mut self, key: &str) -> Option<u64> {
        self.parsed(key, "a whole number that is not negative", value::number)
    }

    /// A duration.
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        self.parsed(key, "a duration such as 500 ms, 5 s or 2 min", value::duration)
    }

    /// One of some words, in any case.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(value.text.trim()));
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let mut error = wrong_value(key, &value, &format!("one of {}", names.join(", ")));
            if let Some(meant) = suggest::nearest(&value.text, names).filter(|_| !value.secret) {
                error = error.help(format!("did you mean '{meant}'?"));
            }
            self.findings.errors.push(error);
        }
        found.map(|(_, value)| *value)
    }

    /// `on-error`.
    pub fn on_error(&mut self) -> Option<OnError> {
        self.word("on-error", ON_ERROR)
    }

    /// Says that two options contradict each other.
    pub fn contradiction(&mut self, message: &str, place: &Place, help: &str) {
        self.findings.errors.push(Error::config(OF0226, message).at(place).help(help));
    }

    /// Whatever nobody has read is warned about or an error.
    pub fn finish(self, connector: &str, known: &[Known]) {
        for (key, value) in self.options.iter().filter(|(key, _)| !self.taken.contains(*key)) {
            if key == "connector" || key == "property-version" {
                continue;
            }
            if let Some(why) = known::no_meaning(connector, key) {
                let warning = Error::config(OF0227, format!("the option '{key}' has no effect here"));
                self.findings.warnings.push(warning.at(&value.key_place).note(why));
                continue;
            }
            self.findings.errors.push(unread(connector, key, value, known));
        }
    }
}

/// The words of `on-error`.
pub const ON_ERROR: &[(&str, OnError)] =
    &[("dead-letter", OnError::DeadLetter), ("stop", OnError::Stop), ("skip", OnError::Skip)];

fn unread(connector: &str, key: &str, value: &Value, known: &[Known]) -> Error {
    if known.iter().any(|option| option.matches(key)) {
        // An option of this connector that the others made meaningless.
        let error = Error::config(OF0226, format!("the option '{key}' does not fit the other options of the table"));
        let meaning = known.iter().find(|option| option.matches(key)).map(|option| option.meaning);
        return error.at(&value.key_place).note(format!("'{key}': {}", meaning.unwrap_or_default()));
    }
    let names = known.iter().map(|option| option.name);
    let error = Error::config(OF0223, format!("'{connector}' has no option '{key}'")).at(&value.key_place);
    match elsewhere(key) {
        Some(help) => error.help(help),
        None => error.help(suggest::help(key, &format!("options of '{connector}'"), names)),
    }
}

/// Help for names that other systems have and whose meaning is said otherwise here.
fn elsewhere(key: &str) -> Option<&'static str> {
    Some(match key {
        "primary_key" | "primary-key" | "pk.fields" => "write PRIMARY KEY (…) NOT ENFORCED among the columns",
        "schema" | "database.schema.name" | "schema.name" | "schema-name" => "write 'table-name' = 'schema.table'",
        "sink.semantic" | "sink.delivery-guarantee" => "remove it: targets of a database are exactly once",
        "host" | "hostname" | "port" | "database" | "database-name" | "dbname" => {
            "write 'url' = 'postgresql://host:port/database'"
        }
        _ => return None,
    })
}

/// An error that says what an option takes. A value that may hold a secret is not shown.
pub fn wrong_value(key: &str, value: &Value, expected: &str) -> Error {
    let shown = if value.secret { String::new() } else { format!(", not '{}'", value.text) };
    Error::config(OF0225, format!("'{key}' takes {expected}{shown}"))
        .at(&value.place)
        .label(format!("takes {expected}"))
}
