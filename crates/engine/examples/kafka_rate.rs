//! How fast the Kafka source reads alone: `kafka_rate HOST:PORT TOPIC`. Fills the topic (4 partitions, 2 million records of 130
//! bytes) if it is missing, then reads it three times.

use onceflow_engine::core::{PositionRow, ShardId};
use onceflow_engine::source::kafka::{Bounded, KafkaFactory, KafkaSpec, Property, Startup, Topics};
use onceflow_engine::source::{FetchLimits, SourceFactory};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant};

const RECORDS: usize = 2_000_000;
const PARTITIONS: i32 = 4;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: kafka_rate HOST:PORT TOPIC";
    let (servers, topic) = (arguments.next().expect(usage), arguments.next().expect(usage));
    if create(&servers, &topic) {
        fill(&servers, &topic);
    }
    (0..3).for_each(|_| read(&servers, &topic));
}

fn create(servers: &str, topic: &str) -> bool {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create().expect("a client");
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let made = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).expect("the broker answers");
    made[0].is_ok()
}

fn fill(servers: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .expect("a producer");
    let began = Instant::now();
    for number in 0..RECORDS {
        let value = format!("{{\"id\":{number:09},\"account\":{:06},\"text\":\"{:x<80}\"}}", number % 100_000, "");
        let partition = i32::try_from(number % 4).expect("small");
        let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60)).expect("sent");
    println!("filled in {:?}", began.elapsed());
}

fn read(servers: &str, topic: &str) {
    let spec = KafkaSpec {
        name: "src".into(),
        topics: Topics::List(vec![topic.to_owned()]),
        properties: [("bootstrap.servers".to_owned(), Property::plain(servers))].into(),
        startup: Startup::Earliest,
        bounded: Bounded::Latest,
        discovery_interval: None,
    };
    let mut source = KafkaFactory::new(spec).and_then(|factory| factory.open()).expect("it is valid");
    let found = source.discover().expect("the broker answers");
    let partitions: Vec<_> = found.iter().map(|one| one.partition.clone()).collect();
    let ends = source.ends(&partitions).expect("the broker answers");
    let from = source.initial(&partitions).expect("the broker answers");
    let row = |one: onceflow_engine::source::Found| PositionRow {
        shard: ShardId::new("s"),
        next: from[&one.partition],
        partition: one.partition,
        identity: one.identity,
        leader_epoch: None,
        tail: None,
        watermark: None,
    };
    let rows: Vec<_> = found.into_iter().map(row).collect();
    let limits = FetchLimits { records_max: 20_000, bytes_max: 4 << 20, wait_max: Duration::from_millis(200) };
    let began = Instant::now();
    source.seek(&rows, &ends).expect("it seeks");
    let (mut records, mut bytes, mut calls, mut finished) = (0, 0, 0, false);
    while !finished {
        let fetch = source.next(&limits).expect("reading goes on");
        finished = fetch.finished;
        calls += 1;
        for batch in &fetch.batches {
            records += batch.records.len();
            bytes += batch.records.bytes();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(records).expect("few")) / seconds;
    println!("{records} records, {bytes} bytes, {calls} calls in {seconds:.3} s: {rate:.0} records/s; {}", memory());
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")).collect::<Vec<_>>().join(" ")
}
