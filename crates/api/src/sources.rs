//! Where records come from.

use onceflow_engine::Result;
use onceflow_engine::source::SourceFactory;
use onceflow_engine::source::files::{FilesFactory, FilesSpec, Framing, LINE_BYTES_MAX};
use std::sync::Arc;
use std::time::Duration;

mod memory;

pub use memory::Memory;

/// A source, or why it is none; made of [`Kafka`], [`Files`] or [`Memory`].
pub struct Source(pub(crate) Result<Arc<dyn SourceFactory>>);

impl From<Arc<dyn SourceFactory>> for Source {
    fn from(factory: Arc<dyn SourceFactory>) -> Self {
        Self(Ok(factory))
    }
}

/// Files of lines: a file, a folder or a pattern. Compressed ones (`.gz`, `.zst`) are read as they are.
#[derive(Clone, Debug)]
pub struct Files {
    name: String,
    path: String,
    framing: Framing,
    follow: Option<Duration>,
}

impl Files {
    /// One JSON document a line: `Files::jsonl("orders/*.jsonl")`.
    pub fn jsonl(path: impl Into<String>) -> Self {
        Self::lines(path)
    }

    /// One record a line.
    pub fn lines(path: impl Into<String>) -> Self {
        Self { name: "files".to_owned(), path: path.into(), framing: Framing::Lines, follow: None }
    }

    /// The source's name in the ledger, `files` where nothing is said. Positions belong to it: a pipeline that goes on has to keep it.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Follows the files and looks for new ones so often, instead of ending when all is read.
    pub fn follow(self, every: Duration) -> Self {
        Self { follow: Some(every), ..self }
    }
}

impl From<Files> for Source {
    fn from(files: Files) -> Self {
        Self(Ok(Arc::new(FilesFactory::new(FilesSpec {
            name: files.name.into(),
            path: files.path,
            framing: files.framing,
            monitor_interval: files.follow,
            line_bytes_max: LINE_BYTES_MAX,
            needs_lines: false,
        }))))
    }
}

#[cfg(feature = "kafka")]
pub use kafka::Kafka;

#[cfg(feature = "kafka")]
mod kafka {
    use super::{Arc, Duration, Source};
    use onceflow_engine::core::Position;
    use onceflow_engine::source::kafka::{
        Bounded, DISCOVERY_INTERVAL, KafkaFactory, KafkaSpec, Property, Reset, Startup, Topics,
    };
    use std::collections::BTreeMap;

    /// A Kafka topic, several, or a pattern of them. The ledger decides where to read: committed offsets of a group are written for others to
    /// see and never read back.
    #[derive(Clone, Debug)]
    pub struct Kafka(KafkaSpec);

    impl Kafka {
        /// One topic, from its beginning where nothing else is said and the ledger has no position yet.
        pub fn topic(topic: impl Into<String>) -> Self {
            let topic = topic.into();
            Self::of(topic.clone(), Topics::List(vec![topic]))
        }

        /// Several topics.
        pub fn topics<I: IntoIterator<Item: Into<String>>>(topics: I) -> Self {
            Self::of("kafka".to_owned(), Topics::List(topics.into_iter().map(Into::into).collect()))
        }

        /// All topics whose whole name matches the regular expression, also those that appear later.
        pub fn pattern(pattern: impl Into<String>) -> Self {
            Self::of("kafka".to_owned(), Topics::Pattern(pattern.into()))
        }

        /// The topic, where it is exactly one.
        pub(crate) fn only_topic(&self) -> Option<&str> {
            match &self.0.topics {
                Topics::List(topics) if topics.len() == 1 => topics.first().map(String::as_str),
                _ => None,
            }
        }

        pub(crate) fn properties(&self) -> &BTreeMap<String, Property> {
            &self.0.properties
        }

        fn of(name: String, topics: Topics) -> Self {
            Self(KafkaSpec {
                name: name.into(),
                topics,
                properties: BTreeMap::new(),
                startup: Startup::Earliest,
                bounded: Bounded::Unbounded,
                discovery_interval: Some(DISCOVERY_INTERVAL),
            })
        }

        /// The source's name in the ledger: the topic's where it is one topic, else `kafka`. Positions belong to it: a pipeline that goes on
        /// has to keep it.
        pub fn named(mut self, name: impl Into<String>) -> Self {
            self.0.name = name.into().into();
            self
        }

        /// `bootstrap.servers`.
        pub fn brokers(self, brokers: impl Into<String>) -> Self {
            self.set("bootstrap.servers", brokers)
        }

        /// A property by the Java client's or librdkafka's name. One that would break the promise is refused at the start.
        pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
            self.0.properties.insert(key.into(), Property::plain(value));
            self
        }

        /// A property whose value is never shown.
        pub fn set_secret(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
            self.0.properties.insert(key.into(), Property::secret(value));
            self
        }

        /// A new pipeline begins where the logs end at its first start.
        pub fn from_latest(mut self) -> Self {
            self.0.startup = Startup::Latest;
            self
        }

        /// A new pipeline begins where this group has committed, and at the beginning where it has not. Also reports to the group.
        pub fn from_group(mut self, group: impl Into<String>) -> Self {
            self.0.startup = Startup::GroupOffsets { reset: Some(Reset::Earliest) };
            self.set("group.id", group)
        }

        /// A new pipeline begins at the first records not older than this, in milliseconds since 1970.
        pub fn from_timestamp(mut self, millis: i64) -> Self {
            self.0.startup = Startup::Timestamp(millis);
            self
        }

        /// A new pipeline begins at these offsets, by partition.
        pub fn from_offsets<I: IntoIterator<Item = (u32, u64)>>(mut self, offsets: I) -> Self {
            let positions = offsets.into_iter().map(|(partition, offset)| (partition, Position::new(offset)));
            self.0.startup = Startup::Specific(positions.collect());
            self
        }

        /// How often new partitions are looked for; every 30 s where nothing is said.
        pub fn discover_every(mut self, every: Duration) -> Self {
            self.0.discovery_interval = (!every.is_zero()).then_some(every);
            self
        }
    }

    impl From<Kafka> for Source {
        fn from(kafka: Kafka) -> Self {
            if !kafka.0.properties.contains_key("bootstrap.servers") {
                let message = format!("the source {} does not say where the brokers are", kafka.0.name);
                let error = onceflow_engine::Error::config(onceflow_engine::codes::OF0224, message);
                return Self(Err(error.help(".brokers(\"localhost:9092\")")));
            }
            Self(KafkaFactory::new(kafka.0).map(|factory| Arc::new(factory) as _))
        }
    }
}
