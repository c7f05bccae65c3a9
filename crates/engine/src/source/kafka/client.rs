//! One connection to a cluster: its health, its log, and questions that wait for an answer.
//!
//! Owns how librdkafka's errors read to a person and which of them are worth trying again. Does not own reading.

use super::ffi::{Asked, Event, Failure, Native};
use super::oauth;
use super::properties::Translation;
use crate::codes;
use crate::error::{Error, Result};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a question to the cluster may take.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long all brokers may be away before reading is given up, so that the engine counts the time against `--retry-for`.
const DOWN_MAX: Duration = Duration::from_secs(30);
const SLICE: Duration = Duration::from_millis(50);

/// What a reader needs for bounded memory, short waits and exact positions. The user's properties come after the first part
/// and before the second.
const TUNED: &[(&str, &str)] = &[
    ("client.id", "onceflow"),
    ("queued.min.messages", "50000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.max.bytes", "8388608"),
    ("fetch.message.max.bytes", "1048576"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("topic.metadata.propagation.max.ms", "10000"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("enable.metrics.push", "false"),
];
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("check.crcs", "true"),
    ("allow.auto.create.topics", "false"),
];

/// librdkafka's configuration.
pub(super) fn configuration(translation: &Translation) -> ClientConfig {
    let mut config = ClientConfig::new();
    TUNED.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    translation.settings.iter().for_each(|(key, value)| {
        config.set(key, value);
    });
    FIXED.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    config.set("isolation.level", if translation.read_uncommitted { "read_uncommitted" } else { "read_committed" });
    // The line about a changed topic id is a debug line about metadata; see `Health::read_log`.
    let debug = translation.settings.get("debug").map_or_else(String::new, |more| format!(",{more}"));
    config.set("debug", format!("metadata{debug}"));
    config.set_log_level(RDKafkaLogLevel::Debug);
    config
}

/// The error for a setting that librdkafka does not take. Never shows a value: it may be a password.
pub(super) fn refused_setting(error: KafkaError) -> Error {
    let why = match error {
        KafkaError::ClientConfig(_, why, key, _) if !key.is_empty() => {
            return Error::config(codes::OF0408, format!("'properties.{key}' is not valid: {why}"));
        }
        KafkaError::ClientConfig(_, why, ..) | KafkaError::ClientCreation(why) => why,
        _ => "unknown reason".to_owned(),
    };
    Error::config(codes::OF0408, format!("librdkafka refuses the properties: {why}"))
}

/// A client of one cluster.
pub(super) struct Client {
    native: Arc<Native>,
    servers: String,
    health: Health,
}

#[derive(Default)]
struct Health {
    /// Whether the cluster has ever answered: before that, a refused login is a mistake in the text.
    answered: bool,
    refused: Option<Failure>,
    last: Option<Failure>,
    down_since: Option<Instant>,
    all_down: bool,
    told: BTreeSet<i32>,
    /// Topic ids as librdkafka has adopted them while this client lives.
    topic_ids: BTreeMap<String, String>,
}

impl Client {
    /// A client with this configuration. Connects in the background.
    pub(super) fn open(config: &ClientConfig) -> Result<Self> {
        let native = Native::open(config).map_err(refused_setting)?;
        let servers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        Ok(Self { native, servers, health: Health::default() })
    }

    /// The native client.
    pub(super) fn native(&self) -> &Arc<Native> {
        &self.native
    }

    /// Takes in what the client has to say. Never blocks.
    pub(super) fn serve(&mut self) {
        while let Some(event) = self.native.poll_event() {
            match event {
                Event::Log { level, facility, text } => self.health.read_log(level, &facility, &text),
                Event::Error(failure) => self.health.read_error(failure),
                Event::TokenWanted => oauth::answer(&self.native),
                Event::Other => {}
            }
        }
    }

    /// The id that librdkafka has adopted for a topic, where it has told.
    pub(super) fn adopted(&self, topic: &str) -> Option<&str> {
        self.health.topic_ids.get(topic).map(String::as_str)
    }

    /// Says that records arrive.
    pub(super) fn works(&mut self) {
        if !self.health.told.is_empty() {
            tracing::info!(target: "onceflow::kafka", "reading from {} again", self.servers);
            self.health.told.clear();
        }
        self.health.answered = true;
        self.health.down_since = None;
        self.health.last = None;
        self.health.refused = None;
    }

    /// Whether the cluster has ever answered this client.
    pub(super) fn has_answered(&self) -> bool {
        self.health.answered
    }

    /// Fails where no broker has been reachable for long, so that waiting is somebody else's decision.
    pub(super) fn check_reachable(&mut self) -> Result<()> {
        let Some(since) = self.health.down_since else { return Ok(()) };
        if since.elapsed() < DOWN_MAX {
            return Ok(());
        }
        // An idle topic sends nothing after the brokers are back, so that they have to be asked.
        if self.native.topic_names(Duration::from_secs(2)).is_ok() {
            self.works();
            return Ok(());
        }
        self.health.down_since = Some(Instant::now());
        Err(self.failed("reading", None))
    }

    /// Waits for an answer. Fails as soon as it is clear that none will come.
    pub(super) fn wait<T>(&mut self, doing: &str, asked: Asked<T>) -> Result<T> {
        self.answer(doing, asked)?.map_err(|failure| self.failed(doing, Some(failure)))
    }

    /// Waits for an answer, which may be a refusal that the caller understands.
    pub(super) fn answer<T>(&mut self, doing: &str, mut asked: Asked<T>) -> Result<Result<T, Failure>> {
        let deadline = Instant::now() + ANSWER_WAIT_MAX;
        self.health.forget();
        loop {
            let answer = asked.poll(SLICE);
            self.serve();
            match answer {
                Some(Ok(answer)) => {
                    self.works();
                    return Ok(Ok(answer));
                }
                Some(Err(failure)) => return Ok(Err(failure)),
                None => {}
            }
            let hopeless = self.health.refused.is_some() || self.health.all_down;
            if hopeless || Instant::now() >= deadline {
                return Err(self.failed(doing, None));
            }
        }
    }

    /// The names of all topics.
    pub(super) fn topic_names(&mut self) -> Result<Vec<String>> {
        let deadline = Instant::now() + ANSWER_WAIT_MAX;
        self.health.forget();
        loop {
            let names = self.native.topic_names(Duration::from_secs(1));
            self.serve();
            if let Ok(names) = names {
                self.works();
                return Ok(names);
            }
            let hopeless = self.health.refused.is_some() || self.health.all_down;
            if hopeless || Instant::now() >= deadline {
                return Err(self.failed("listing topics", None));
            }
        }
    }

    /// The error of an operation that failed, with the best reason known.
    pub(super) fn failed(&self, doing: &str, failure: Option<Failure>) -> Error {
        let general = |code: RDKafkaErrorCode| {
            use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, TimedOutQueue};
            matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut | TimedOutQueue)
        };
        let own = failure.filter(|failure| !general(failure.code));
        let reason = own.or_else(|| self.health.refused.clone()).or_else(|| self.health.last.clone());
        match reason {
            Some(reason) => explain(doing, &self.servers, &reason, self.health.answered),
            None => Error::unavailable(codes::OF0401, format!("{doing}: {} does not answer", self.servers)),
        }
    }
}

impl Health {
    /// Forgets why earlier attempts were hopeless: a login may work now.
    fn forget(&mut self) {
        self.all_down = false;
        self.refused = None;
    }

    fn read_error(&mut self, failure: Failure) {
        let first = self.told.insert(failure.code as i32);
        if first && failure.code != RDKafkaErrorCode::AllBrokersDown {
            tracing::warn!(target: "onceflow::kafka", "{}; waiting", failure.text);
        }
        match failure.code {
            RDKafkaErrorCode::AllBrokersDown => {
                self.all_down = true;
                self.down_since.get_or_insert_with(Instant::now);
                return;
            }
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism => self.refused = Some(failure.clone()),
            RDKafkaErrorCode::SSL if !self.answered => self.refused = Some(failure.clone()),
            _ => {}
        }
        self.last = Some(failure);
    }

    /// Gives the line to Onceflow's log. librdkafka adopts the id of a topic that was created again and goes on with the
    /// old offset; all it does about it is to write this line, before the first fetch with the new id.
    fn read_log(&mut self, level: i32, facility: &str, text: &str) {
        if let Some((topic, id)) = changed_topic(text) {
            self.topic_ids.insert(topic.to_owned(), id.to_owned());
        }
        // A broker that closes a fresh connection is told of in the log only, with a guess at the reason.
        if facility == "FAIL" && self.last.is_none() {
            let text = text.rsplit_once("]: ").map_or(text, |(_, text)| text).to_owned();
            self.last = Some(Failure { code: RDKafkaErrorCode::BrokerTransportFailure, text });
        }
        match level {
            0..=4 => tracing::debug!(target: "librdkafka", "{facility}: {text}"),
            _ => tracing::trace!(target: "librdkafka", "{facility}: {text}"),
        }
    }
}

/// Reads `… Topic NAME changed id from OLD to NEW`.
fn changed_topic(text: &str) -> Option<(&str, &str)> {
    let (before, after) = text.split_once(" changed id from ")?;
    let topic = before.rsplit_once("Topic ").map_or(before, |(_, topic)| topic);
    after.split_once(" to ").map(|(_, id)| (topic, id.trim()))
}

/// The error behind a code, for an operation on the whole cluster or on one topic.
pub(super) fn explain(doing: &str, servers: &str, reason: &Failure, answered: bool) -> Error {
    use RDKafkaErrorCode as Code;
    let text = &reason.text;
    match reason.code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            let message = format!("{doing}: {servers} refused the login: {text}");
            once_configured(answered, codes::OF0402, message).help(
                "look at 'properties.sasl.mechanism', 'properties.sasl.jaas.config' and 'properties.security.protocol'",
            )
        }
        Code::SSL => once_configured(answered, codes::OF0403, format!("{doing}: TLS to {servers} failed: {text}"))
            .help("look at 'properties.ssl.truststore.*' and at the listener's 'properties.security.protocol'"),
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            once_configured(answered, codes::OF0405, format!("{doing}: {servers} denies access: {text}")).help(format!(
                "kafka-acls --bootstrap-server {servers} --add --allow-principal User:<user> --operation Read \
                 --operation Describe --topic <topic>"
            ))
        }
        _ => {
            let error = Error::unavailable(codes::OF0401, format!("{doing}: {servers} does not answer: {text}"));
            if text.contains("Disconnected") && !answered {
                return error.note("a listener that expects TLS or a login closes the connection like this");
            }
            error
        }
    }
}

/// A mistake in the text before anything ever worked; an outage afterwards.
fn once_configured(answered: bool, code: codes::Code, message: String) -> Error {
    if answered { Error::unavailable(code, message) } else { Error::config(code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_topic_id_is_read_from_the_log() {
        let line = "[thrd:main]: Topic my.topic-1 changed id from AAAAAAAAAAAAAAAAAAAAAA to x_-Yw";
        assert_eq!(changed_topic(line), Some(("my.topic-1", "x_-Yw")));
        assert_eq!(changed_topic("Topic t [0] Leader 1 Epoch 0"), None);
    }

    #[test]
    fn a_refused_login_is_a_mistake_at_first_and_an_outage_later() {
        let refused = Failure { code: RDKafkaErrorCode::Authentication, text: "no".to_owned() };
        assert_eq!(explain("x", "b", &refused, false).kind(), crate::Kind::Config);
        assert_eq!(explain("x", "b", &refused, true).kind(), crate::Kind::Unavailable);
    }

    #[test]
    fn the_users_properties_cannot_undo_what_exactness_needs() {
        let mut translation = Translation::default();
        translation.settings.insert("auto.offset.reset".to_owned(), "latest".to_owned());
        translation.settings.insert("queued.min.messages".to_owned(), "7".to_owned());
        let config = configuration(&translation);
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.get("queued.min.messages"), Some("7"));
        config.create_native_config().expect("librdkafka takes every setting");
    }
}
