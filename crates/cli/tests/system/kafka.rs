//! Topics and producers for tests.

use crate::services::Services;
use crate::trades::{json, trade};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::ops::Range;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);

fn config(services: &Services) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &services.kafka);
    config
}

fn admin<T>(services: &Services, act: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T) -> T {
    let client: AdminClient<DefaultClientContext> = config(services).create().expect("an admin client");
    let options = AdminOptions::new().operation_timeout(Some(WAIT));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(act(&client, &options))
}

/// Creates a topic.
pub fn create_topic(services: &Services, topic: &str, partitions: i32) {
    create_topic_with(services, topic, partitions, &[]);
}

/// Creates a topic with settings.
pub fn create_topic_with(services: &Services, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    admin(services, async |client, options| {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let results = client.create_topics([&new], options).await.expect("the broker answers");
        results.into_iter().for_each(|result| drop(result.expect("the topic is new")));
    });
}

/// Deletes a topic and waits until it is gone.
pub fn delete_topic(services: &Services, topic: &str) {
    admin(services, async |client, options| {
        for result in client.delete_topics(&[topic], options).await.expect("the broker answers") {
            result.expect("the topic is there");
        }
    });
    std::thread::park_timeout(Duration::from_secs(1));
}

/// Grows a topic.
pub fn add_partitions(services: &Services, topic: &str, total: usize) {
    admin(services, async |client, options| {
        let new = NewPartitions::new(topic, total);
        for result in client.create_partitions([&new], options).await.expect("the broker answers") {
            result.expect("there are fewer partitions now");
        }
    });
}

/// A producer.
pub fn producer(services: &Services, settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = config(services);
    config.set("linger.ms", "5").set("queue.buffering.max.messages", "1000000");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().expect("a producer")
}

/// Sends one record, waiting for room.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &[u8]) {
    loop {
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).payload(value);
        if producer.send(record).is_ok() {
            return;
        }
        producer.poll(Duration::from_millis(10));
    }
}

/// Produces trades, spread over the partitions by number.
pub fn produce(services: &Services, topic: &str, partitions: i32, ids: Range<i64>) {
    let producer = producer(services, &[]);
    for id in ids {
        let partition = i32::try_from(id.rem_euclid(i64::from(partitions))).expect("fewer than 2^31 partitions");
        send(&producer, topic, partition, json(&trade(id)).as_bytes());
    }
    producer.flush(WAIT).expect("the broker takes everything");
}

/// Deletes the records of a partition before an offset.
pub fn delete_records(services: &Services, topic: &str, partition: i32, before: i64) {
    admin(services, async |client, options| {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(before)).expect("an offset");
        client.delete_records(&list, options).await.expect("the broker deletes");
    });
}
