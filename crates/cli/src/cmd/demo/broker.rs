//! A topic of the demo's own, and how its programs read it: by offsets, with positions in a consumer group.

use super::place::{Topic, cannot_use};
use onceflow::Error;

#[cfg(not(feature = "kafka"))]
pub use none::{Reader, Watcher, create, delete, fill};
#[cfg(feature = "kafka")]
pub use real::{Reader, Watcher, create, delete, fill};

#[cfg(feature = "kafka")]
mod real {
    use super::{Error, Topic, cannot_use};
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
    use rdkafka::error::KafkaError;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    use rdkafka::types::RDKafkaErrorCode;
    use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
    use std::time::{Duration, Instant};

    const WAIT: Duration = Duration::from_secs(20);

    fn config(topic: &Topic) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &topic.brokers);
        config
    }

    fn fail(topic: &Topic) -> impl Fn(KafkaError) -> Error {
        let at = format!("the brokers at {}", topic.brokers);
        move |error| cannot_use(&at, error)
    }

    fn number(number: u64) -> i32 {
        i32::try_from(number).unwrap_or(i32::MAX)
    }

    fn administer<T>(
        topic: &Topic,
        act: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> Result<T, KafkaError>,
    ) -> Result<T, Error> {
        let client = config(topic).create().map_err(fail(topic))?;
        onceflow::run::on_this_thread(act(&client))?.map_err(fail(topic))
    }

    /// Creates it. A topic that is there is refused.
    pub fn create(topic: &Topic, partitions: u64) -> Result<(), Error> {
        administer(topic, async |client| {
            let new = NewTopic::new(&topic.name, number(partitions), TopicReplication::Fixed(-1));
            let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
            let created = client.create_topics([&new], &options).await?;
            created.into_iter().try_for_each(|one| one.map(|_| ()).map_err(|(_, code)| KafkaError::AdminOp(code)))
        })
    }

    /// Deletes it.
    pub fn delete(topic: &Topic) -> Result<(), Error> {
        administer(topic, async |client| {
            let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
            let deleted = client.delete_topics(&[&topic.name], &options).await?;
            deleted.into_iter().try_for_each(|one| one.map(|_| ()).map_err(|(_, code)| KafkaError::AdminOp(code)))
        })
    }

    /// Writes each partition's records in their order.
    pub fn fill(
        topic: &Topic,
        records: impl Fn(u64, &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut config = config(topic);
        config.set("enable.idempotence", "true").set("linger.ms", "5").set("queue.buffering.max.messages", "1000000");
        let producer: BaseProducer = config.create().map_err(fail(topic))?;
        for partition in 0..super::super::log::FILES {
            records(partition, &mut |value| {
                let mut record: BaseRecord<'_, [u8], [u8]> =
                    BaseRecord::to(&topic.name).partition(number(partition)).payload(value);
                loop {
                    match producer.send(record) {
                        Ok(()) => return Ok(()),
                        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                            record = back;
                            producer.poll(Duration::from_millis(20));
                        }
                        Err((error, _)) => return Err(fail(topic)(error)),
                    }
                }
            })?;
        }
        producer.flush(Duration::from_secs(60)).map_err(fail(topic))
    }

    /// A broker that has not chosen a group's coordinator yet says so, and is asked again.
    fn patiently<T>(mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
        let until = Instant::now() + WAIT;
        loop {
            match ask() {
                Err(_) if Instant::now() < until => super::super::contest::look_again_in(Duration::from_millis(100)),
                answer => return answer,
            }
        }
    }

    /// The group's positions, one for each partition; 0 where it has none.
    fn stored(consumer: &BaseConsumer, topic: &Topic, partitions: u64) -> Result<Vec<u64>, Error> {
        let mut asked = TopicPartitionList::new();
        for partition in 0..partitions {
            asked.add_partition(&topic.name, number(partition));
        }
        let answer = patiently(|| consumer.committed_offsets(asked.clone(), WAIT)).map_err(fail(topic))?;
        let mut positions = vec![0; usize::try_from(partitions).unwrap_or(0)];
        for element in answer.elements() {
            let at = usize::try_from(element.partition()).ok().and_then(|at| positions.get_mut(at));
            if let (Some(at), Offset::Offset(offset)) = (at, element.offset()) {
                *at = u64::try_from(offset).unwrap_or(0);
            }
        }
        Ok(positions)
    }

    /// Reads a topic by offsets, as a member of no group, and keeps positions in one.
    pub struct Reader {
        topic: Topic,
        group: BaseConsumer,
        parts: Vec<Part>,
    }

    struct Part {
        consumer: BaseConsumer,
        /// The offset that is read next, once it is assigned.
        at: Option<u64>,
        end: u64,
    }

    impl Reader {
        /// A reader whose positions are those of a group.
        pub fn open(topic: &Topic, group: &str, partitions: u64) -> Result<Self, Error> {
            let consumer = || -> Result<BaseConsumer, Error> {
                let mut config = config(topic);
                config.set("group.id", group).set("enable.auto.commit", "false").set("fetch.wait.max.ms", "20");
                config.create().map_err(fail(topic))
            };
            let part = |partition| {
                let consumer = consumer()?;
                let (_, end) = consumer.fetch_watermarks(&topic.name, number(partition), WAIT).map_err(fail(topic))?;
                Ok(Part { consumer, at: None, end: u64::try_from(end).unwrap_or(0) })
            };
            let parts = (0..partitions).map(part).collect::<Result<_, Error>>()?;
            Ok(Self { topic: topic.clone(), group: consumer()?, parts })
        }

        /// The positions that the group has.
        pub fn positions(&self) -> Result<Vec<u64>, Error> {
            stored(&self.group, &self.topic, self.parts.len() as u64)
        }

        /// Stores positions in the group, and waits for the answer.
        pub fn store(&self, positions: &[u64]) -> Result<(), Error> {
            let mut all = TopicPartitionList::new();
            for (partition, position) in (0_u64..).zip(positions) {
                let offset = Offset::Offset(i64::try_from(*position).unwrap_or(i64::MAX));
                all.add_partition_offset(&self.topic.name, number(partition), offset).map_err(fail(&self.topic))?;
            }
            patiently(|| self.group.commit(&all, CommitMode::Sync)).map_err(fail(&self.topic))
        }

        /// The next records of a partition from an offset on, at most so many; none at its end.
        pub fn read(&mut self, partition: u64, from: u64, count: u64) -> Result<Vec<Vec<u8>>, Error> {
            let topic = self.topic.clone();
            let index = usize::try_from(partition).unwrap_or(0);
            let Part { consumer, at, end } = &mut self.parts[index];
            if *at != Some(from) {
                let mut start = TopicPartitionList::new();
                let offset = Offset::Offset(i64::try_from(from).unwrap_or(0));
                start.add_partition_offset(&topic.name, number(partition), offset).map_err(fail(&topic))?;
                consumer.assign(&start).map_err(fail(&topic))?;
            }
            let (mut got, until) = (Vec::new(), Instant::now() + WAIT);
            while (got.len() as u64) < count && from + (got.len() as u64) < *end {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(message) => got.push(message.map_err(fail(&topic))?.payload().unwrap_or_default().to_vec()),
                    None if Instant::now() > until => return Err(cannot_use("the topic", "no record came for 20 s")),
                    None => {}
                }
            }
            *at = Some(from + got.len() as u64);
            Ok(got)
        }
    }

    /// Looks at the positions of a group, and does nothing else.
    pub struct Watcher {
        topic: Topic,
        consumer: BaseConsumer,
    }

    impl Watcher {
        /// Of a group.
        pub fn open(topic: &Topic, group: &str) -> Result<Self, Error> {
            let consumer = config(topic).set("group.id", group).create().map_err(fail(topic))?;
            Ok(Self { topic: topic.clone(), consumer })
        }

        /// Its positions, one for each partition.
        pub fn positions(&self, partitions: u64) -> Result<Vec<u64>, Error> {
            stored(&self.consumer, &self.topic, partitions)
        }
    }
}

/// A build without Kafka says so at once; nothing of this is ever made.
#[cfg(not(feature = "kafka"))]
mod none {
    use super::{Error, Topic, cannot_use};
    use std::convert::Infallible;

    fn left_out<T>() -> Result<T, Error> {
        Err(cannot_use("--kafka", "this build has no Kafka"))
    }

    pub fn create(_: &Topic, _: u64) -> Result<(), Error> {
        left_out()
    }

    pub fn delete(_: &Topic) -> Result<(), Error> {
        left_out()
    }

    type Each<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

    pub fn fill(_: &Topic, _: impl Fn(u64, &mut Each<'_>) -> Result<(), Error>) -> Result<(), Error> {
        left_out()
    }

    pub struct Reader(Infallible);

    impl Reader {
        pub fn open(_: &Topic, _: &str, _: u64) -> Result<Self, Error> {
            left_out()
        }

        pub fn positions(&self) -> Result<Vec<u64>, Error> {
            match self.0 {}
        }

        pub fn store(&self, _: &[u64]) -> Result<(), Error> {
            match self.0 {}
        }

        pub fn read(&mut self, _: u64, _: u64, _: u64) -> Result<Vec<Vec<u8>>, Error> {
            match self.0 {}
        }
    }

    pub struct Watcher(Infallible);

    impl Watcher {
        pub fn open(_: &Topic, _: &str) -> Result<Self, Error> {
            left_out()
        }

        pub fn positions(&self, _: u64) -> Result<Vec<u64>, Error> {
            match self.0 {}
        }
    }
}
