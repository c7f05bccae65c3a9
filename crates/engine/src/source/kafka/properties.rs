//! `properties.*`: the Java client's names, as people have them in their Flink texts, into librdkafka's.
//!
//! Nothing is dropped silently: a property is given to librdkafka, or warned about with the reason, or refused with what to
//! write instead. Does not own where properties come from, nor the SQL options beside them.

use super::known;
use super::login;
use crate::codes;
use crate::error::Error;
use std::collections::BTreeMap;
use std::fmt;

/// The value of a property, and whether it may never be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// The value.
    pub value: String,
    /// Whether it came from a secret or is one by its name.
    pub secret: bool,
}

impl Property {
    /// A value that may be shown.
    pub fn plain(value: impl Into<String>) -> Self {
        Self { value: value.into(), secret: false }
    }

    /// A value that may never be shown.
    pub fn secret(value: impl Into<String>) -> Self {
        Self { value: value.into(), secret: true }
    }

    /// The value for a message about the property `key`.
    pub(super) fn shown(&self, key: &str) -> &str {
        let secret = ["password", "jaas", "secret", "key.pem", "keystore.key"].iter().any(|word| key.contains(word));
        if self.secret || secret { "***" } else { &self.value }
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secret { "***" } else { &self.value })
    }
}

/// A property that is accepted but has no effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PropertyWarning {
    /// Its name, without `properties.`.
    pub key: String,
    /// Why it has no effect.
    pub why: String,
}

/// A property that is refused. The key tells the caller which place in the text to point at.
#[derive(Debug)]
pub struct PropertyError {
    /// Its name, without `properties.`.
    pub key: String,
    /// The error, without a place.
    pub error: Error,
}

impl From<PropertyError> for Error {
    fn from(refused: PropertyError) -> Self {
        refused.error
    }
}

/// What properties come to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// librdkafka's settings. May hold passwords.
    pub(super) settings: BTreeMap<String, String>,
    /// The group under which progress is shown and, with `group-offsets`, from which it starts.
    pub group: Option<String>,
    /// Whether records of open and aborted transactions are read too.
    pub read_uncommitted: bool,
    /// Properties without effect.
    pub warnings: Vec<PropertyWarning>,
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translation").field("settings", &self.settings.keys()).field("group", &self.group).finish()
    }
}

impl Translation {
    /// librdkafka's settings, for a client that is not a source. May hold passwords.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Properties by name, without `properties.`.
pub type Properties = BTreeMap<String, Property>;

/// Translates all properties of a source. The names are without `properties.`.
///
/// `auto.offset.reset` is refused; a caller that understands it as part of a start-up mode takes it out before.
pub fn translate_properties(properties: &Properties) -> Result<Translation, PropertyError> {
    let mut translation = Translation::default();
    for (key, property) in properties {
        translate(&mut translation, key, property).map_err(|error| PropertyError { key: key.clone(), error })?;
    }
    login::translate_stores(&mut translation.settings, properties)?;
    login::translate_login(&mut translation.settings, properties)?;
    if !translation.settings.contains_key("bootstrap.servers") {
        let error = Error::config(codes::OF0408, "'properties.bootstrap.servers' is missing")
            .help("'properties.bootstrap.servers' = 'localhost:9092'");
        return Err(PropertyError { key: "bootstrap.servers".to_owned(), error });
    }
    Ok(translation)
}

fn translate(translation: &mut Translation, key: &str, property: &Property) -> Result<(), Error> {
    if login::owns(key) {
        return Ok(());
    }
    if let Some(special) = translate_special(translation, key, property)? {
        return special.map_or(Ok(()), |why| {
            translation.warnings.push(PropertyWarning { key: key.to_owned(), why });
            Ok(())
        });
    }
    if let Some((why, help)) = known::refused(key) {
        let error = Error::config(codes::OF0407, format!("'properties.{key}' cannot be honoured")).note(why);
        return Err(if help.is_empty() { error } else { error.help(help) });
    }
    if let Some(why) = known::without_meaning(key) {
        translation.warnings.push(PropertyWarning { key: key.to_owned(), why: why.to_owned() });
        return Ok(());
    }
    let Some(name) = known::librdkafka_name(key) else { return Err(unknown(key)) };
    translation.settings.insert(name.to_owned(), property.value.trim().to_owned());
    Ok(())
}

/// `None`: not special. `Some(None)`: done. `Some(Some(why))`: accepted with a warning.
fn translate_special(
    translation: &mut Translation,
    key: &str,
    property: &Property,
) -> Result<Option<Option<String>>, Error> {
    let value = property.value.trim();
    let done = match key {
        "bootstrap.servers" | "metadata.broker.list" if value.is_empty() => {
            return Err(wrong_value(key, property, "a list like 'host1:9092,host2:9092'"));
        }
        "group.id" => {
            translation.group = (!value.is_empty()).then(|| value.to_owned());
            None
        }
        "isolation.level" => {
            translation.read_uncommitted = match value {
                "read_committed" => false,
                "read_uncommitted" => true,
                _ => return Err(wrong_value(key, property, "'read_committed' or 'read_uncommitted'")),
            };
            None
        }
        "check.crcs" if value == "true" => None,
        "check.crcs" => Some("checksums are always verified: a corrupt batch would be skipped otherwise".to_owned()),
        "allow.auto.create.topics" if value == "false" => None,
        "allow.auto.create.topics" => Some("Onceflow never creates a topic".to_owned()),
        "send.buffer.bytes" | "receive.buffer.bytes" => {
            let name = format!("socket.{key}");
            // Java's -1 means the system's default, which is librdkafka's 0.
            translation.settings.insert(name, if value == "-1" { "0" } else { value }.to_owned());
            None
        }
        "client.dns.lookup" if value == "default" => Some("'default' is what Kafka 3 removed".to_owned()),
        _ => return Ok(None),
    };
    Ok(Some(done))
}

pub(super) fn wrong_value(key: &str, property: &Property, expected: &str) -> Error {
    let shown = property.shown(key);
    Error::config(codes::OF0408, format!("'properties.{key}' is '{shown}', expected {expected}"))
}

fn unknown(key: &str) -> Error {
    let error = Error::config(codes::OF0406, format!("'properties.{key}' is unknown"))
        .note("neither the Java client nor librdkafka has a property of this name");
    match known::nearest(key) {
        Some(near) => error.help(format!("did you mean 'properties.{near}'?")),
        None => error.help("https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md lists the names"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Properties {
        let servers = [("bootstrap.servers", "b:9092")];
        servers.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), Property::plain(*value))).collect()
    }

    /// What the properties come to: settings, then warned keys with `!`, or the refused key with its code.
    fn check(pairs: &[(&str, &str)], expected: &[&str]) {
        let got = match translate_properties(&of(pairs)) {
            Ok(done) => {
                let settings = done.settings.iter().filter(|(key, _)| *key != "bootstrap.servers");
                let settings = settings.map(|(key, value)| format!("{key}={value}"));
                let rest = done.group.iter().map(|group| format!("group {group}"));
                let rest = rest.chain(done.read_uncommitted.then(|| "uncommitted".to_owned()));
                settings.chain(rest).chain(done.warnings.iter().map(|warning| format!("! {}", warning.key))).collect()
            }
            Err(refused) => vec![format!("{} {}", refused.error.code(), refused.key)],
        };
        assert_eq!(got, expected, "{pairs:?}");
    }

    #[test]
    fn names_that_both_clients_have_are_given_on() {
        check(&[("client.id", "a"), ("fetch.min.bytes", "10")], &["client.id=a", "fetch.min.bytes=10"]);
        check(&[("socket.keepalive.enable", "true")], &["socket.keepalive.enable=true"]);
    }

    #[test]
    fn names_of_the_java_client_are_translated() {
        check(&[("fetch.max.wait.ms", "70")], &["fetch.wait.max.ms=70"]);
        check(&[("max.partition.fetch.bytes", "9")], &["fetch.message.max.bytes=9"]);
        check(&[("request.timeout.ms", "5000")], &["socket.timeout.ms=5000"]);
        check(&[("receive.buffer.bytes", "-1")], &["socket.receive.buffer.bytes=0"]);
        check(&[("isolation.level", "read_uncommitted")], &["uncommitted"]);
        check(&[("group.id", "g")], &["group g"]);
    }

    #[test]
    fn names_without_meaning_are_warned_about() {
        for key in ["max.poll.records", "enable.auto.commit", "key.deserializer", "session.timeout.ms", "check.crcs"] {
            check(&[(key, "1")], &[&format!("! {key}")]);
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_with_its_key() {
        check(&[("auto.offset.reset", "latest")], &["OF0407 auto.offset.reset"]);
        check(&[("enable.auto.offset.store", "true")], &["OF0407 enable.auto.offset.store"]);
        check(&[("plugin.library.paths", "x")], &["OF0407 plugin.library.paths"]);
        check(&[("isolation.level", "serializable")], &["OF0408 isolation.level"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_one() {
        let refused = translate_properties(&of(&[("fetch.max.byte", "1")])).expect_err("it is unknown");
        assert_eq!(refused.error.code(), codes::OF0406);
        assert_eq!(refused.error.helps(), ["did you mean 'properties.fetch.max.bytes'?"]);
        check(&[("acks", "all")], &["OF0406 acks"]);
    }

    #[test]
    fn brokers_are_needed() {
        let refused = translate_properties(&Properties::new()).expect_err("no broker is named");
        assert_eq!(refused.key, "bootstrap.servers");
    }

    #[test]
    fn a_secret_shows_in_no_message() {
        let mut properties = of(&[]);
        properties.insert("isolation.level".to_owned(), Property::secret("hunter2"));
        let refused = translate_properties(&properties).expect_err("it is no level");
        assert!(!format!("{refused:?} {properties:?}").contains("hunter2"));
        let translation = translate_properties(&of(&[("sasl.username", "u"), ("sasl.password", "hunter2")]));
        assert!(!format!("{translation:?}").contains("hunter2"));
    }
}
