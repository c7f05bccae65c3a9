//! Which partitions exist, and which logs they are.

use super::client::{ANSWER_WAIT_MAX, explain};
use super::ffi::{Described, Failure, ask_topics};
use super::{KafkaSource, Topics};
use crate::codes;
use crate::error::{Error, Result};
use crate::source::Found;
use onceflow_core::{Partition, SourceIdentity};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MISSING_TRIES: usize = 4;
const MISSING_PAUSE: Duration = Duration::from_millis(250);
const CLUSTER_ID_WAIT_MAX: Duration = Duration::from_secs(2);

/// Topics of one cluster as they are now; a topic that does not exist has no entry.
pub(super) struct Catalog {
    pub(super) cluster_id: Arc<str>,
    pub(super) topics: BTreeMap<String, Described>,
}

impl Catalog {
    /// The identity of a topic's log.
    pub(super) fn identity(&self, topic: &Described) -> SourceIdentity {
        SourceIdentity::new(self.cluster_id.clone(), topic.id.as_str())
    }
}

impl KafkaSource {
    /// The partitions that exist now, in order.
    pub(super) fn find_partitions(&mut self) -> Result<Vec<Found>> {
        let names = self.wanted_topics()?;
        let catalog = self.describe_patiently(&names)?;
        // Of a pattern's topics one may have been deleted since they were listed.
        let missing = names.iter().find(|name| self.shared.pattern.is_none() && !catalog.topics.contains_key(*name));
        if let Some(missing) = missing {
            return Err(self.missing(missing));
        }
        let internal_too = self.shared.pattern.is_none();
        let mut found = Vec::new();
        for topic in catalog.topics.values().filter(|topic| internal_too || !topic.internal) {
            let name: Arc<str> = topic.name.as_str().into();
            found.extend(topic.partitions.iter().map(|number| Found {
                partition: Partition::new(self.shared.spec.name.clone(), name.clone(), *number),
                identity: catalog.identity(topic),
            }));
        }
        found.sort_by(|a, b| a.partition.cmp(&b.partition));
        if found.is_empty() {
            self.complain_about_none()?;
        }
        self.discovered = true;
        Ok(found)
    }

    fn wanted_topics(&mut self) -> Result<Vec<String>> {
        let shared = self.shared.clone();
        let mut names = match &shared.spec.topics {
            Topics::List(names) => names.clone(),
            Topics::Pattern(_) => self.client()?.topic_names()?,
        };
        if let Some(pattern) = &shared.pattern {
            names.retain(|name| pattern.is_match(name));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// A broker may not know yet of a topic that was created a moment ago, so that a missing one is asked for again.
    fn describe_patiently(&mut self, names: &[String]) -> Result<Catalog> {
        let mut catalog = self.describe_topics(names)?;
        for _ in 0..MISSING_TRIES {
            if catalog.topics.len() == names.len() {
                break;
            }
            std::thread::park_timeout(MISSING_PAUSE);
            catalog = self.describe_topics(names)?;
        }
        Ok(catalog)
    }

    /// What the cluster says about topics. A denied topic is an error; a missing one is left out.
    pub(super) fn describe_topics(&mut self, names: &[String]) -> Result<Catalog> {
        let servers = self.shared.servers().to_owned();
        let client = self.client()?;
        let answered = client.has_answered();
        let described = match names {
            [] => Vec::new(),
            _ => {
                let asked = ask_topics(client.native(), names, ANSWER_WAIT_MAX);
                client.wait("describing topics", asked)?
            }
        };
        let mut topics = BTreeMap::new();
        for topic in described {
            match &topic.error {
                None => drop(topics.insert(topic.name.clone(), topic)),
                Some(failure) if is_missing(failure) => {}
                Some(failure) => return Err(explain(&format!("topic '{}'", topic.name), &servers, failure, answered)),
            }
        }
        let cluster_id = client.native().cluster_id(CLUSTER_ID_WAIT_MAX).unwrap_or_default();
        Ok(Catalog { cluster_id: cluster_id.into(), topics })
    }

    fn missing(&self, topic: &str) -> Error {
        let message = format!("topic '{topic}' does not exist");
        if self.discovered {
            return Error::unavailable(codes::OF0404, message).note("it was there before: somebody deleted it");
        }
        let servers = self.shared.servers();
        Error::config(codes::OF0404, message)
            .help(format!("kafka-topics --bootstrap-server {servers} --create --topic {topic} --partitions 4"))
    }

    fn complain_about_none(&self) -> Result<()> {
        let Topics::Pattern(pattern) = &self.shared.spec.topics else { return Ok(()) };
        if self.shared.spec.discovery_interval.is_none() {
            return Err(Error::config(codes::OF0418, format!("no topic matches '{pattern}'"))
                .help("'scan.topic-partition-discovery.interval' = '30 s' would wait for one"));
        }
        tracing::warn!(target: "onceflow::kafka", "no topic matches '{pattern}' yet");
        Ok(())
    }
}

pub(super) fn is_missing(failure: &Failure) -> bool {
    use RDKafkaErrorCode::{InvalidTopic, UnknownPartition, UnknownTopic, UnknownTopicId, UnknownTopicOrPartition};
    matches!(failure.code, UnknownTopicOrPartition | UnknownTopic | UnknownPartition | UnknownTopicId | InvalidTopic)
}
