//! The Kafka source: partitions read from the positions that the ledger names, and from nowhere else.
//!
//! Owns the connection, the translation of properties, discovery, first positions, verification, reading, and the display of
//! progress to a consumer group. Never joins a group, never stores a position that it reads back, never creates a topic.
//! Modules: `properties` and its tables, then `client` over `ffi`, then one module for each question.

mod catalog;
mod client;
mod ffi;
mod known;
mod login;
mod oauth;
mod offsets;
mod properties;
mod reader;
mod report;
mod topics;
mod verify;

pub use properties::{Properties, Property, PropertyError, PropertyWarning, Translation, translate_properties};

use self::client::{Client, configuration, refused_setting};
use self::reader::{Range, Reader, Trouble};
use self::report::Reporter;
use self::verify::Unproven;
use super::{Fetch, FetchLimits, Found, Mismatch, Source, SourceFactory, TopicFacts};
use crate::codes;
use crate::error::{Error, Kind, Result};
use onceflow_core::{Partition, Position, PositionRow};
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use regex::Regex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often new partitions and recreated topics are looked for, unless the text says otherwise.
pub const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);

/// Which topics are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Topics {
    /// These.
    List(Vec<String>),
    /// All whose whole name matches the regular expression, except internal ones.
    Pattern(String),
}

/// Where the group's offsets are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// Begin at the beginning.
    Earliest,
    /// Begin at the end.
    Latest,
}

/// Where a new pipeline begins. Has no effect once the ledger has a position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Startup {
    /// Where the logs begin.
    Earliest,
    /// Where the logs end at the first start.
    Latest,
    /// Where the group has committed; `reset` where it has not, and an error without `reset`.
    GroupOffsets {
        /// What to do without a committed offset.
        reset: Option<Reset>,
    },
    /// At the first records not older than this, in milliseconds since 1970.
    Timestamp(i64),
    /// At these offsets, by partition. Partitions without one begin where the group has committed, or at the beginning.
    Specific(BTreeMap<u32, Position>),
}

/// Where reading ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bounded {
    /// Never.
    Unbounded,
    /// Where the logs end at the start.
    Latest,
    /// Before the first records not older than this, in milliseconds since 1970.
    Timestamp(i64),
    /// Before these offsets, by partition; every partition needs one.
    Specific(BTreeMap<u32, Position>),
    /// Where the group has committed.
    GroupOffsets,
}

/// A Kafka source as the text declares it.
#[derive(Clone, Debug)]
pub struct KafkaSpec {
    /// The source's name in the pipeline's text.
    pub name: Arc<str>,
    /// Which topics.
    pub topics: Topics,
    /// `properties.*` without the prefix, in the Java client's or librdkafka's names.
    pub properties: Properties,
    /// Where to begin.
    pub startup: Startup,
    /// Where to end.
    pub bounded: Bounded,
    /// How often to look for new partitions and recreated topics; `None` for never. See [`DISCOVERY_INTERVAL`].
    pub discovery_interval: Option<Duration>,
}

/// Opens Kafka sources.
pub struct KafkaFactory {
    shared: Arc<Shared>,
    warnings: Vec<PropertyWarning>,
}

/// What all sources of one declaration share.
struct Shared {
    spec: KafkaSpec,
    config: ClientConfig,
    pattern: Option<Regex>,
    group: Option<String>,
    read_uncommitted: bool,
}

impl KafkaFactory {
    /// Checks a declaration. Talks to no broker.
    pub fn new(spec: KafkaSpec) -> Result<Self> {
        let translation = translate_properties(&spec.properties)?;
        let pattern = match &spec.topics {
            Topics::Pattern(pattern) => Some(compile(pattern)?),
            Topics::List(topics) if topics.is_empty() => {
                return Err(Error::config(codes::OF0404, "'topic' names no topic").help("'topic' = 'orders'"));
            }
            Topics::List(_) => None,
        };
        let config = configuration(&translation);
        config.create_native_config().map_err(refused_setting)?;
        let group = translation.group;
        if group.is_none() && needs_group(&spec) {
            return Err(Error::config(codes::OF0409, "'group-offsets' needs 'properties.group.id'")
                .help("'properties.group.id' = 'my-group'"));
        }
        let read_uncommitted = translation.read_uncommitted;
        let shared = Arc::new(Shared { spec, config, pattern, group, read_uncommitted });
        Ok(Self { shared, warnings: translation.warnings })
    }

    /// Properties that are accepted but have no effect.
    pub fn warnings(&self) -> &[PropertyWarning] {
        &self.warnings
    }
}

/// From now on every Kafka client of this process reaches its brokers through a proxy, to which it says `CONNECT address:port` and a
/// line feed first. The first call decides. For `torture`, which cuts connections.
pub fn connect_through(proxy: std::net::SocketAddr) {
    ffi::connect_through(proxy);
}

fn needs_group(spec: &KafkaSpec) -> bool {
    matches!(spec.startup, Startup::GroupOffsets { .. }) || spec.bounded == Bounded::GroupOffsets
}

/// Flink matches the whole name, as Java's `Pattern.matches`.
fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|error| {
        Error::config(codes::OF0415, format!("'topic-pattern' is '{pattern}', which is no regular expression"))
            .note("look-around and back references of Java's are not supported")
            .caused_by(error)
    })
}

impl fmt::Debug for KafkaFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaFactory").field("spec", &self.shared.spec).finish_non_exhaustive()
    }
}

impl SourceFactory for KafkaFactory {
    fn name(&self) -> &str {
        &self.shared.spec.name
    }

    fn connector(&self) -> &'static str {
        "kafka"
    }

    fn describe(&self) -> String {
        let servers = self.shared.servers();
        let isolation = if self.shared.read_uncommitted { ", read uncommitted" } else { "" };
        match &self.shared.spec.topics {
            Topics::List(topics) => format!("topic {} at {servers}{isolation}", topics.join(", ")),
            Topics::Pattern(pattern) => format!("topics like {pattern} at {servers}{isolation}"),
        }
    }

    fn wiring(&self) -> String {
        let topics = match &self.shared.spec.topics {
            Topics::List(topics) => {
                let mut sorted = topics.clone();
                sorted.sort_unstable();
                sorted.dedup();
                format!("topics={}", sorted.join(";"))
            }
            Topics::Pattern(pattern) => format!("pattern={pattern}"),
        };
        format!("kafka {topics} read_uncommitted={}", self.shared.read_uncommitted)
    }

    fn caveat(&self) -> Option<String> {
        let why = "isolation is read_uncommitted: records of aborted transactions are read as well";
        self.shared.read_uncommitted.then(|| why.to_owned())
    }

    fn group(&self) -> Option<String> {
        self.shared.group.clone()
    }

    fn topics(&self, topics: &[String]) -> Result<Vec<TopicFacts>> {
        topics::facts(&self.shared, topics)
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(KafkaSource::new(self.shared.clone())))
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.shared.spec.discovery_interval
    }
}

impl Shared {
    fn servers(&self) -> &str {
        self.config.get("bootstrap.servers").unwrap_or_default()
    }
}

/// A Kafka source. Fields are dropped in this order: reading ends before its client does.
struct KafkaSource {
    reading: Option<Reading>,
    reporter: Reporter,
    client: Option<Client>,
    shared: Arc<Shared>,
    /// Whether topics were found before: a missing one is then an outage rather than a mistake in the text.
    discovered: bool,
}

/// What is being read since the last seek.
struct Reading {
    reader: Reader,
    /// The topic ids that the ledger knows.
    identities: BTreeMap<Arc<str>, Arc<str>>,
    unproven: Unproven,
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.reading = None;
        if let Some(client) = &self.client {
            self.reporter.close(client.native());
        }
    }
}

impl KafkaSource {
    fn new(shared: Arc<Shared>) -> Self {
        let reporter = Reporter::new(shared.group.clone());
        Self { reading: None, reporter, client: None, shared, discovered: false }
    }

    fn client(&mut self) -> Result<&mut Client> {
        if self.client.is_none() {
            self.client = Some(Client::open(&self.shared.config)?);
        }
        Ok(self.client.as_mut().expect("opened just now"))
    }

    /// The error for what librdkafka reported about a partition.
    fn judge(&mut self, trouble: &Trouble) -> Error {
        let Some(partition) = trouble.partition.clone() else {
            return given_up(trouble, "kafka");
        };
        let text = &trouble.failure.text;
        match trouble.failure.code {
            RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::LogTruncation => self.judge_position(&partition, trouble),
            RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::Underflow
            | RDKafkaErrorCode::UnsupportedCompressionType => {
                let message = format!("{partition} cannot be read at {}: {text}", trouble.next);
                Error::new(Kind::Data, codes::OF0413, message)
                    .note("librdkafka would skip the batch; nothing after it was used")
            }
            _ if catalog::is_missing(&trouble.failure) => {
                Error::unavailable(codes::OF0404, format!("{partition} does not exist any more"))
            }
            RDKafkaErrorCode::MessageSizeTooLarge => {
                let message = format!("the record at {} of {partition} is too large to fetch", trouble.next);
                Error::config(codes::OF0414, message).help("'properties.receive.message.max.bytes' = '1000000000'")
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                let answered = self.client.as_ref().is_some_and(Client::has_answered) && self.discovered;
                let doing = format!("reading {partition}");
                client::explain(&doing, self.shared.servers(), &trouble.failure, answered)
            }
            _ => given_up(trouble, &partition.to_string()),
        }
    }

    /// The broker says that the position does not exist. Asks once more before it is believed.
    fn judge_position(&mut self, partition: &Partition, trouble: &Trouble) -> Error {
        if trouble.failure.text.contains("truncation") || trouble.failure.text.contains("No epoch found") {
            return verify::truncated(partition, trouble.next, None).note(trouble.failure.text.clone());
        }
        let one = std::slice::from_ref(partition);
        let log = self.beginnings(one).and_then(|start| Ok((start, self.high_watermarks(one)?)));
        match log {
            Ok((start, end)) => match (start.get(partition), end.get(partition)) {
                (Some(start), _) if *start > trouble.next => verify::expired(partition, trouble.next, *start),
                (_, Some(end)) if *end < trouble.next => verify::truncated(partition, trouble.next, Some(*end)),
                _ => given_up(trouble, &partition.to_string()),
            },
            Err(error) => error,
        }
    }

    /// Refuses everything as soon as librdkafka has adopted another id of a topic that is being read.
    ///
    /// The line that tells it is in the client's queue before the first record of the new topic is in ours; so what was taken from ours
    /// first and looked for in the client's afterwards cannot slip through.
    fn check_identities(&mut self) -> Result<()> {
        let (Some(reading), Some(client)) = (&self.reading, &mut self.client) else { return Ok(()) };
        client.serve();
        for topic in reading.reader.topics() {
            let expected = reading.identities.get(topic).filter(|id| !id.is_empty());
            if let (Some(expected), Some(adopted)) = (expected, client.adopted(topic))
                && **expected != *adopted
            {
                let message = format!("topic '{topic}' was deleted and created again");
                return Err(Error::new(Kind::Identity, codes::OF0412, message)
                    .note(format!("its id was {expected} and is {adopted}; the positions count in the old one"))
                    .note("no record of the new topic was used"));
            }
        }
        Ok(())
    }

    fn gather(&mut self, limits: &FetchLimits) -> Result<()> {
        let deadline = Instant::now() + limits.wait_max;
        loop {
            let (Some(reading), Some(client)) = (&mut self.reading, &mut self.client) else {
                return Err(not_sought());
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let came = reading.reader.gather(left.min(SERVE_INTERVAL), limits.records_max, limits.bytes_max);
            if came && reading.reader.trouble().is_none() {
                client.works();
            }
            let enough =
                reading.reader.has_gathered() || reading.reader.finished() || reading.reader.trouble().is_some();
            self.check_identities()?;
            if enough || left.is_zero() {
                return Ok(());
            }
        }
    }
}

/// How long reading may go on without looking at what else the client has to say.
const SERVE_INTERVAL: Duration = Duration::from_millis(100);

fn given_up(trouble: &Trouble, what: &str) -> Error {
    Error::unavailable(codes::OF0416, format!("reading {what} was given up: {}", trouble.failure.text))
}

fn not_sought() -> Error {
    Error::unavailable(codes::OF0416, "the source has no position; it has to seek first")
}

impl Source for KafkaSource {
    fn discover(&mut self) -> Result<Vec<Found>> {
        self.find_partitions()
    }

    fn initial(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        self.first_positions(partitions)
    }

    fn beginnings(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        self.positions_at(partitions, ffi::EARLIEST)
    }

    fn ends(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        self.positions_at(partitions, ffi::LATEST)
    }

    fn bound(&mut self, partitions: &[Partition]) -> Result<Option<BTreeMap<Partition, Position>>> {
        self.last_positions(partitions)
    }

    /// Reading, if any, ends: the records are read again after the next seek.
    fn verify(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>> {
        self.reading = None;
        self.compare(rows)
    }

    fn seek(&mut self, from: &[PositionRow], until: &BTreeMap<Partition, Position>) -> Result<()> {
        self.reading = None;
        let range = |row: &PositionRow| Range {
            partition: row.partition.clone(),
            from: row.next,
            until: until.get(&row.partition).copied(),
        };
        let ranges: Vec<_> = from.iter().map(range).collect();
        let identity = |row: &PositionRow| (row.partition.topic.clone(), row.identity.topic_id.clone());
        let identities = from.iter().map(identity).collect();
        let client = self.client()?;
        client.serve();
        let reader = Reader::start(client.native(), &ranges)
            .map_err(|failure| Error::unavailable(codes::OF0416, failure.text))?;
        self.reading = Some(Reading { reader, identities, unproven: Unproven::new(from) });
        Ok(())
    }

    fn next(&mut self, limits: &FetchLimits) -> Result<Fetch> {
        if let Some(client) = &mut self.client {
            client.serve();
            self.reporter.turn(client.native());
        }
        if let Err(error) = self.gather(limits) {
            self.reading = None;
            return Err(error);
        }
        let reading = self.reading.as_mut().ok_or_else(not_sought)?;
        let opened = if reading.unproven.is_empty() { Vec::new() } else { reading.reader.opened() };
        let batches = reading.reader.batches();
        if let Err(error) = self.prove(&opened) {
            self.reading = None;
            return Err(error);
        }
        if batches.is_empty() {
            // What was read before the trouble has been handed out by now.
            if let Some(trouble) = self.reading.as_ref().and_then(|reading| reading.reader.trouble()).cloned() {
                self.reading = None;
                return Err(self.judge(&trouble));
            }
            self.client()?.check_reachable()?;
        }
        let finished = self.reading.as_ref().is_some_and(|reading| reading.reader.finished());
        Ok(Fetch { batches, finished })
    }

    fn group_positions(&mut self, group: &str, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        self.committed_by(group, partitions)
    }

    fn report(&mut self, durable: &[(Partition, Position)]) {
        self.reporter.note(durable);
        if let Some(client) = &self.client {
            self.reporter.turn(client.native());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(topics: Topics) -> KafkaSpec {
        let servers = ("bootstrap.servers".to_owned(), Property::plain("127.0.0.1:1"));
        KafkaSpec {
            name: "s".into(),
            topics,
            properties: [servers].into(),
            startup: Startup::Earliest,
            bounded: Bounded::Unbounded,
            discovery_interval: Some(DISCOVERY_INTERVAL),
        }
    }

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let pattern = compile("a|b.*").expect("it is a pattern");
        let matching: Vec<_> = ["a", "aa", "b1", "xb"].into_iter().filter(|name| pattern.is_match(name)).collect();
        assert_eq!(matching, ["a", "b1"]);
        assert_eq!(compile("(?=x)").expect_err("it looks around").code(), codes::OF0415);
    }

    #[test]
    fn wiring_covers_what_is_read_and_not_from_where() {
        let list = Topics::List(vec!["b".to_owned(), "a".to_owned()]);
        let factory = KafkaFactory::new(spec(list)).expect("it is valid");
        assert_eq!(factory.wiring(), "kafka topics=a;b read_uncommitted=false");
        assert_eq!(factory.describe(), "topic b, a at 127.0.0.1:1");
    }

    #[test]
    fn group_offsets_without_a_group_are_refused() {
        let mut spec = spec(Topics::Pattern("x".to_owned()));
        spec.startup = Startup::GroupOffsets { reset: None };
        assert_eq!(KafkaFactory::new(spec).expect_err("no group").code(), codes::OF0409);
    }

    #[test]
    fn a_wrong_value_names_its_property() {
        let mut spec = spec(Topics::List(vec!["t".to_owned()]));
        spec.properties.insert("fetch.min.bytes".to_owned(), Property::plain("many"));
        let error = KafkaFactory::new(spec).expect_err("no number");
        assert_eq!(error.code(), codes::OF0408);
        assert!(error.message().contains("fetch.min.bytes"), "{error:?}");
    }

    #[test]
    fn reading_before_seeking_is_an_error() {
        let factory = KafkaFactory::new(spec(Topics::List(vec!["t".to_owned()]))).expect("it is valid");
        let mut source = factory.open().expect("opening talks to nobody");
        let limits = FetchLimits { records_max: 1, bytes_max: 1, wait_max: Duration::ZERO };
        assert_eq!(source.next(&limits).expect_err("no position").kind(), Kind::Unavailable);
    }

    #[test]
    fn an_unreachable_cluster_is_unavailable_and_closing_does_not_hang() {
        let began = Instant::now();
        let factory = KafkaFactory::new(spec(Topics::List(vec!["t".to_owned()]))).expect("it is valid");
        let mut source = factory.open().expect("opening talks to nobody");
        let error = source.discover().expect_err("nobody listens on port 1");
        assert_eq!((error.kind(), error.code()), (Kind::Unavailable, codes::OF0401));
        drop(source);
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
}
