//! What the brokers say of topics, for the doctor: settings, replicas, and where the log really ends.
//!
//! Asks with an admin client of its own, which changes nothing.

use super::Shared;
use crate::codes;
use crate::error::{Error, Result};
use crate::source::TopicFacts;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use std::time::Duration;

/// How long to wait for one answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Facts of these topics.
pub(super) fn facts(shared: &Shared, topics: &[String]) -> Result<Vec<TopicFacts>> {
    let mut config = shared.config.clone();
    config.set("isolation.level", "read_uncommitted");
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(|error| failed("connect", &error))?;
    let one = |topic: &String| one(&admin, topic, shared.servers());
    topics.iter().map(one).collect()
}

fn failed(doing: &str, error: &KafkaError) -> Error {
    Error::unavailable(codes::OF0132, format!("the brokers did not answer a question about topics ({doing}): {error}"))
        .note("it needs the right to describe topics and their configuration")
        .help("kafka-acls.sh --add --allow-principal User:NAME --operation Describe --operation DescribeConfigs --topic TOPIC")
}

fn one(admin: &AdminClient<DefaultClientContext>, topic: &str, servers: &str) -> Result<TopicFacts> {
    let mut facts = TopicFacts { topic: topic.to_owned(), servers: servers.to_owned(), ..TopicFacts::default() };
    let client = admin.inner();
    let metadata = client.fetch_metadata(Some(topic), ANSWER_WAIT_MAX).map_err(|error| failed("metadata", &error))?;
    let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
    for partition in partitions {
        facts.partitions.push((partition.replicas().len(), partition.isr().len()));
        let id = partition.id();
        let marks = client.fetch_watermarks(topic, id, ANSWER_WAIT_MAX);
        let (_, high) = marks.map_err(|error| failed("watermarks", &error))?;
        if let (Ok(number), Ok(high)) = (u32::try_from(id), u64::try_from(high)) {
            facts.high.insert(number, high);
        }
    }
    let resources = [ResourceSpecifier::Topic(topic)];
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WAIT_MAX));
    let described = crate::run::on_this_thread(admin.describe_configs(&resources, &options))?;
    let described = described.map_err(|error| failed("configuration", &error))?;
    for resource in described {
        let resource = resource.map_err(|code| failed("configuration", &KafkaError::AdminOp(code)))?;
        let entries = resource.entries.into_iter();
        facts.settings.extend(entries.filter_map(|entry| Some((entry.name, entry.value?))));
    }
    Ok(facts)
}
