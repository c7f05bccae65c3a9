//! Messages as records of a topic.

use super::channel::{Channel, Deliver, Message, Undelivered};
use crate::sources::Kafka;
use futures_util::future::LocalBoxFuture;
use onceflow_engine::source::kafka::translate_properties;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// Each message becomes a record of the topic: its key the message's, its value the JSON, its idempotency key in the header
/// `idempotency-key`. The producer is idempotent and waits for all replicas. A message whose acknowledgement was lost with the process
/// comes again: readers that must not see it twice compare the header.
impl From<Kafka> for Channel {
    fn from(kafka: Kafka) -> Self {
        let prepared = prepare(&kafka);
        let (topic, config, mistake) = match prepared {
            Ok((topic, config)) => (topic, config, None),
            Err(mistake) => (String::new(), ClientConfig::new(), Some(mistake)),
        };
        Self { mistake, ..Channel::new(Producing { topic, config, producer: Mutex::default() }) }
    }
}

fn prepare(kafka: &Kafka) -> Result<(String, ClientConfig), String> {
    let Some(topic) = kafka.only_topic() else {
        return Err("a channel writes to one topic: Kafka::topic(..)".to_owned());
    };
    let translation = translate_properties(kafka.properties()).map_err(|refused| refused.error.to_string())?;
    let mut config = ClientConfig::new();
    for (key, value) in translation.settings() {
        config.set(key, value);
    }
    if config.get("sasl.mechanisms").is_some_and(|mechanism| mechanism.eq_ignore_ascii_case("OAUTHBEARER")) {
        return Err("OAUTHBEARER is not available for a channel".to_owned());
    }
    config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "5");
    // What is given up here is given up there, before the attempt's own time is over.
    config.set("message.timeout.ms", "9000");
    config.create_native_config().map_err(|error| format!("librdkafka refuses the properties: {error}"))?;
    Ok((topic.to_owned(), config))
}

struct Producing {
    topic: String,
    config: ClientConfig,
    producer: Mutex<Option<ThreadedProducer<Told>>>,
}

/// Tells each message's sender what became of it.
struct Told;

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        // Nobody listens where the attempt took too long.
        let _ = sender.send(result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}

impl Producing {
    fn send(&self, message: &Message) -> Result<oneshot::Receiver<Result<(), KafkaError>>, Undelivered> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = match &mut *producer {
            Some(producer) => producer,
            none => {
                let made = self.config.create_with_context(Told);
                none.insert(made.map_err(|error| Undelivered::Later(error.to_string(), None))?)
            }
        };
        let (sender, told) = oneshot::channel();
        let header = Header { key: "idempotency-key", value: Some(message.idempotency_key()) };
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(sender))
            .key(message.key())
            .payload(message.body())
            .headers(OwnedHeaders::new().insert(header));
        producer.send(record).map_err(|(error, _)| explain(&error))?;
        Ok(told)
    }
}

impl Deliver for Producing {
    fn deliver<'a>(&'a self, message: &'a Message) -> LocalBoxFuture<'a, Result<(), Undelivered>> {
        Box::pin(async move {
            match self.send(message)?.await {
                Ok(told) => told.map_err(|error| explain(&error)),
                Err(_) => Err(Undelivered::Later("the producer ended".to_owned(), None)),
            }
        })
    }
}

/// Which failures never end by themselves.
fn explain(error: &KafkaError) -> Undelivered {
    let never = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessage | RDKafkaErrorCode::InvalidRecord
        )
    );
    match never {
        true => Undelivered::Never(error.to_string()),
        false => Undelivered::Later(error.to_string(), None),
    }
}
