//! Topics: created, filled as fast as the broker takes it, deleted.

use crate::failure::{Doing, Failure, Result};
use crate::rows::Rows;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);
/// Room for records of 1 MB with what surrounds them.
const MESSAGE_BYTES_MAX: &str = "2000000";

/// The broker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its `host:port`.
    pub servers: String,
}

impl Broker {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn administer<T>(
        &self,
        act: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<T>,
    ) -> Result<T> {
        let client: AdminClient<DefaultClientContext> = self.config().create()?;
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(act(&client, &options))
    }

    /// Creates a topic. It must not exist.
    pub fn create(&self, topic: &str, partitions: u32) -> Result<()> {
        let partitions = i32::try_from(partitions)?;
        self.administer(async |client, options| {
            let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
                .set("max.message.bytes", MESSAGE_BYTES_MAX)
                .set("retention.ms", "-1");
            let made = client.create_topics([&new], options).await?;
            made.into_iter().try_for_each(|one| {
                one.map(drop).map_err(|(name, code)| Failure::new(format!("the topic {name} was not created: {code}")))
            })
        })
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) -> Result<()> {
        self.administer(async |client, options| {
            let gone = client.delete_topics(&[topic], options).await?;
            gone.into_iter().try_for_each(|one| {
                one.map(drop).map_err(|(name, code)| Failure::new(format!("the topic {name} was not deleted: {code}")))
            })
        })
    }

    /// A producer with these settings besides the usual ones.
    pub fn producer(&self, settings: &[(&str, &str)]) -> Result<Producer> {
        let mut config = self.config();
        config.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", "262144");
        config.set("message.max.bytes", MESSAGE_BYTES_MAX);
        for (key, value) in settings {
            config.set(*key, *value);
        }
        Ok(Producer(config.create().doing("make a producer")?))
    }

    /// Creates a topic and puts all rows in, row n into partition n modulo the partitions, in batches of up to 1 MB.
    pub fn fill(&self, topic: &str, partitions: u32, rows: &Rows) -> Result<()> {
        self.create(topic, partitions)?;
        let producer =
            self.producer(&[("linger.ms", "100"), ("batch.size", "1000000"), ("batch.num.messages", "100000")])?;
        let mut value = Vec::new();
        for n in 0..rows.count {
            value.clear();
            rows.json(n, &mut value);
            producer.send(topic, partition_of(n, partitions), &value)?;
            if n % 10_000 == 0 {
                producer.poll();
            }
        }
        producer.finish()
    }
}

/// Where row n goes.
pub fn partition_of(n: u64, partitions: u32) -> i32 {
    i32::try_from(n % u64::from(partitions)).unwrap_or(0)
}

/// A producer.
pub struct Producer(BaseProducer);

impl Producer {
    /// Sends one record, waiting for room.
    pub fn send(&self, topic: &str, partition: i32, value: &[u8]) -> Result<()> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).payload(value);
        while let Err((error, back)) = self.0.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error).doing("produce");
            }
            self.0.poll(Duration::from_millis(10));
            record = back;
        }
        Ok(())
    }

    /// Takes what the broker has answered; does not wait.
    pub fn poll(&self) {
        self.0.poll(Duration::ZERO);
    }

    /// Waits until the broker has everything.
    pub fn finish(self) -> Result<()> {
        self.0.flush(WAIT).doing("wait until the broker has everything")
    }
}
