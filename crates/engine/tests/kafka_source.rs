//! The Kafka source against a real broker: `ONCEFLOW_TEST_KAFKA=host:port cargo test --test kafka_source`.
#![cfg(feature = "kafka")]

use onceflow_engine::core::{Fingerprint, Partition, Position, PositionRow, ShardId, SourceIdentity, Tail};
use onceflow_engine::record::TimestampType;
use onceflow_engine::source::kafka::{Bounded, KafkaFactory, KafkaSpec, Property, Reset, Startup, Topics};
use onceflow_engine::source::{Difference, Fetch, FetchLimits, Found, Source, SourceFactory};
use onceflow_engine::{Error, Kind};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(20);

/// The brokers to test with, or nothing where none are given and that is allowed.
fn brokers(test: &str) -> Option<String> {
    match std::env::var("ONCEFLOW_TEST_KAFKA") {
        Ok(brokers) if !brokers.is_empty() => Some(brokers),
        _ => {
            assert!(std::env::var("ONCEFLOW_TEST_REQUIRE").as_deref() != Ok("1"), "ONCEFLOW_TEST_KAFKA is not set");
            println!("not run: {test}: ONCEFLOW_TEST_KAFKA is not set");
            None
        }
    }
}

macro_rules! broker {
    ($test:literal) => {
        match brokers($test) {
            Some(brokers) => Broker::new(brokers, $test),
            None => return,
        }
    };
}

struct Broker {
    brokers: String,
    topic: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Broker {
    fn new(brokers: String, test: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("an admin client");
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        Self { topic: format!("{test}-{nanos}"), brokers, admin, runtime }
    }

    fn create(&self, partitions: i32, config: &[(&str, &str)]) {
        let began = Instant::now();
        loop {
            let mut topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
            topic.config = config.to_vec();
            let made = self.runtime.block_on(self.admin.create_topics([&topic], &AdminOptions::new()));
            let made = made.expect("it answers");
            if made[0].is_ok() {
                return self.await_topic(partitions, began);
            }
            assert!(began.elapsed() < WAIT, "{made:?}");
        }
    }

    /// The controller answers before the broker knows of the topic.
    fn await_topic(&self, partitions: i32, began: Instant) {
        let client = self.admin.inner();
        let known =
            || client.fetch_metadata(Some(&self.topic), WAIT).expect("it answers").topics()[0].partitions().len();
        while known() != usize::try_from(partitions).expect("positive") {
            assert!(began.elapsed() < WAIT, "the broker does not know of {}", self.topic);
        }
    }

    fn delete(&self) {
        let done = self.runtime.block_on(self.admin.delete_topics(&[&self.topic], &AdminOptions::new()));
        assert!(done.expect("it answers")[0].is_ok());
    }

    fn grow(&self, partitions: usize) {
        let more = NewPartitions::new(&self.topic, partitions);
        let done = self.runtime.block_on(self.admin.create_partitions([&more], &AdminOptions::new()));
        assert!(done.expect("it answers")[0].is_ok());
    }

    fn delete_before(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).expect("an offset");
        self.runtime.block_on(self.admin.delete_records(&list, &AdminOptions::new())).expect("it answers");
    }

    fn producer(&self, transactional_id: Option<&str>) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("linger.ms", "1").set("message.max.bytes", "20000000");
        config.set("queue.buffering.max.messages", "1000000");
        // A batch that is sent again, as to a topic that was just made, keeps its place.
        config.set("enable.idempotence", "true");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        let producer: BaseProducer = config.create().expect("a producer");
        if transactional_id.is_some() {
            producer.init_transactions(WAIT).expect("transactions");
        }
        producer
    }

    fn produce(&self, partition: i32, values: &[&str]) {
        let producer = self.producer(None);
        send(&producer, &self.topic, partition, values);
        producer.flush(WAIT).expect("sent");
    }

    fn spec(&self) -> KafkaSpec {
        KafkaSpec {
            name: "src".into(),
            topics: Topics::List(vec![self.topic.clone()]),
            properties: [("bootstrap.servers".to_owned(), Property::plain(&self.brokers))].into(),
            startup: Startup::Earliest,
            bounded: Bounded::Unbounded,
            discovery_interval: None,
        }
    }

    fn source(&self) -> Box<dyn Source> {
        open(self.spec())
    }

    fn partition(&self, number: u32) -> Partition {
        Partition::new("src", self.topic.as_str(), number)
    }
}

fn open(spec: KafkaSpec) -> Box<dyn Source> {
    KafkaFactory::new(spec).expect("the declaration is valid").open().expect("opening talks to nobody")
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, values: &[&str]) {
    for value in values {
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(*value);
        producer.send(record).map_err(|(error, _)| error).expect("queued");
    }
    producer.poll(Duration::ZERO);
}

fn row(found: &Found, next: u64) -> PositionRow {
    PositionRow {
        shard: ShardId::new("s"),
        partition: found.partition.clone(),
        identity: found.identity.clone(),
        next: Position::new(next),
        leader_epoch: None,
        tail: None,
        watermark: None,
    }
}

const LIMITS: FetchLimits = FetchLimits { records_max: 1000, bytes_max: 1 << 20, wait_max: Duration::from_millis(200) };

/// What was read of each partition: values with offsets, and the position after.
#[derive(Default)]
struct Seen {
    values: BTreeMap<u32, Vec<(u64, String)>>,
    next: BTreeMap<u32, u64>,
    finished: bool,
}

impl Seen {
    /// Takes in a fetch and checks what has to hold for every one: spans join, and records lie inside of them in order.
    fn add(&mut self, fetch: Fetch) {
        self.finished |= fetch.finished;
        for batch in fetch.batches {
            let number = batch.partition.number;
            if let Some(next) = self.next.insert(number, batch.span.to().get()) {
                assert_eq!(batch.span.from().get(), next, "spans join");
            }
            let mut at = batch.span.from();
            for record in batch.records.iter() {
                assert!(record.offset >= at && record.offset < batch.span.to(), "records lie in the span, in order");
                at = record.offset.after();
                let text = record.value.map_or("-".to_owned(), |value| String::from_utf8_lossy(value).into_owned());
                self.values.entry(number).or_default().push((record.offset.get(), text));
            }
        }
    }

    fn texts(&self, partition: u32) -> Vec<&str> {
        self.values.get(&partition).into_iter().flatten().map(|(_, text)| text.as_str()).collect()
    }
}

fn read_until(source: &mut dyn Source, enough: impl Fn(&Seen) -> bool) -> Seen {
    let mut seen = Seen::default();
    let began = Instant::now();
    while !enough(&seen) {
        assert!(began.elapsed() < WAIT, "read {:?}, at {:?}", seen.values.keys(), seen.next);
        seen.add(source.next(&LIMITS).expect("reading goes on"));
    }
    seen
}

/// Reads until an error comes, and no record before it.
fn read_to_error(source: &mut dyn Source) -> Error {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(60), "no error came");
        match source.next(&LIMITS) {
            Ok(fetch) => assert!(fetch.batches.iter().all(|batch| batch.records.is_empty()), "{:?}", fetch.batches),
            Err(error) => return error,
        }
    }
}

fn at(at: &BTreeMap<Partition, Position>, partition: &Partition) -> u64 {
    at[partition].get()
}

fn check_error(error: &Error, kind: Kind, code: &str) {
    assert_eq!((error.kind(), error.code().as_str()), (kind, code), "{error:?}");
}

#[test]
fn partitions_are_discovered_with_the_identity_of_their_log() {
    let broker = broker!("discover");
    let mut source = broker.source();
    let error = source.discover().expect_err("the topic is missing");
    check_error(&error, Kind::Config, "OF0404");
    assert!(error.helps()[0].contains("--create --topic"), "{error:?}");
    broker.create(3, &[]);
    let found = source.discover().expect("it answers");
    assert_eq!(found.iter().map(|one| one.partition.number).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(!found[0].identity.cluster_id.is_empty() && found[0].identity.topic_id.len() == 22, "{found:?}");
    broker.grow(5);
    let began = Instant::now();
    while source.discover().expect("it answers").len() != 5 {
        assert!(began.elapsed() < WAIT);
    }
    let mut spec = broker.spec();
    spec.topics = Topics::Pattern(format!("{}|__consumer.*", broker.topic));
    let topics = open(spec).discover().expect("it answers");
    assert!(topics.len() == 5 && topics.iter().all(|one| *one.partition.topic == *broker.topic), "{topics:?}");
    let mut spec = broker.spec();
    spec.topics = Topics::Pattern("no-such-topic-.*".to_owned());
    check_error(&open(spec).discover().expect_err("nothing matches"), Kind::Config, "OF0418");
}

#[test]
fn records_come_whole_with_keys_headers_times_and_tombstones() {
    let broker = broker!("whole");
    broker.create(1, &[("max.message.bytes", "20000000")]);
    let producer = broker.producer(None);
    let big = vec![b'x'; 1_000_000];
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "a", value: None::<&str> });
    let first = BaseRecord::to(&broker.topic).partition(0).key("k").payload("v").timestamp(1234).headers(headers);
    producer.send(first).map_err(|(error, _)| error).expect("queued");
    let tombstone = BaseRecord::<str, str>::to(&broker.topic).partition(0).key("k");
    producer.send(tombstone).map_err(|(error, _)| error).expect("queued");
    let empty = BaseRecord::<str, str>::to(&broker.topic).partition(0).key("").payload("");
    producer.send(empty).map_err(|(error, _)| error).expect("queued");
    for _ in 0..12 {
        let large = BaseRecord::<(), [u8]>::to(&broker.topic).partition(0).payload(&big);
        producer.send(large).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(WAIT).expect("sent");
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    source.seek(&[row(&found[0], 0)], &BTreeMap::new()).expect("it seeks");
    let mut records = Vec::new();
    let began = Instant::now();
    while records.len() < 15 {
        assert!(began.elapsed() < WAIT, "only {}", records.len());
        for batch in source.next(&LIMITS).expect("reading goes on").batches {
            assert!(batch.leader_epoch.is_some() && batch.tail().is_some());
            assert!(batch.records.bytes() < 4_000_000, "about the limit: {}", batch.records.bytes());
            for one in batch.records.iter() {
                records.push((
                    one.key.map(<[u8]>::to_vec),
                    one.value.map(<[u8]>::to_vec),
                    one.headers.to_vec(),
                    (one.timestamp, one.timestamp_type),
                ));
            }
        }
    }
    let headers = vec![("a".to_owned(), Some(b"1".to_vec())), ("a".to_owned(), None)];
    let time = (Some(1234), TimestampType::CreateTime);
    assert_eq!(records[0], (Some(b"k".to_vec()), Some(b"v".to_vec()), headers, time));
    assert_eq!((&records[1].0, &records[1].1), (&Some(b"k".to_vec()), &None));
    assert_eq!((&records[2].0, &records[2].1), (&Some(vec![]), &Some(vec![])));
    assert!(records[3..].iter().all(|one| one.0.is_none() && one.1.as_deref() == Some(&big[..])));
}

#[test]
fn aborted_records_are_not_read_and_positions_move_over_the_gaps() {
    let broker = broker!("transactions");
    broker.create(2, &[]);
    let producer = broker.producer(Some(&broker.topic));
    for (values, commit) in [(["a", "b"], true), (["x", "y"], false), (["c", "d"], true), (["z", "z"], false)] {
        producer.begin_transaction().expect("begun");
        send(&producer, &broker.topic, 0, &values);
        producer.flush(WAIT).expect("sent");
        if commit { producer.commit_transaction(WAIT) } else { producer.abort_transaction(WAIT) }.expect("ended");
    }
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    let partitions = [broker.partition(0), broker.partition(1)];
    let ends = source.ends(&partitions).expect("it answers");
    assert_eq!((at(&ends, &partitions[0]), at(&ends, &partitions[1])), (12, 0));
    let rows = [row(&found[0], 0), row(&found[1], 0)];
    source.seek(&rows, &BTreeMap::new()).expect("it seeks");
    let seen = read_until(source.as_mut(), |seen| seen.next.get(&0) == Some(&12));
    assert_eq!(seen.values[&0].iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 6, 7]);
    assert_eq!(seen.texts(0), ["a", "b", "c", "d"]);
    assert!(!seen.finished && !seen.values.contains_key(&1));

    // Bounds inside of the gaps end exactly there.
    for (until, values) in [(12, 4), (11, 4), (9, 4), (8, 4), (7, 3), (5, 2), (3, 2), (1, 1), (0, 0)] {
        let bound = [(partitions[0].clone(), Position::new(until)), (partitions[1].clone(), Position::ZERO)].into();
        source.seek(&rows, &bound).expect("it seeks");
        let seen = read_until(source.as_mut(), |seen| seen.finished);
        assert_eq!(seen.texts(0).len(), values, "until {until}");
        assert_eq!(seen.next.get(&0).copied().unwrap_or(0), until);
    }

    // An open transaction is beyond the end; once it is committed, reading goes on.
    producer.begin_transaction().expect("begun");
    send(&producer, &broker.topic, 1, &["open"]);
    producer.flush(WAIT).expect("sent");
    broker.produce(1, &["behind"]);
    assert_eq!(at(&source.ends(&partitions).expect("it answers"), &partitions[1]), 0);
    source.seek(&[row(&found[1], 0)], &BTreeMap::new()).expect("it seeks");
    for _ in 0..5 {
        assert!(source.next(&LIMITS).expect("it waits").batches.is_empty());
    }
    producer.commit_transaction(WAIT).expect("ended");
    let seen = read_until(source.as_mut(), |seen| seen.next.get(&1) == Some(&3));
    assert_eq!(seen.texts(1), ["open", "behind"]);

    let mut spec = broker.spec();
    spec.properties.insert("isolation.level".to_owned(), Property::plain("read_uncommitted"));
    let mut source = open(spec);
    source.seek(&rows, &BTreeMap::new()).expect("it seeks");
    let seen = read_until(source.as_mut(), |seen| seen.next.get(&0) == Some(&12));
    assert_eq!(seen.texts(0), ["a", "b", "x", "y", "c", "d", "z", "z"]);
}

#[test]
fn seeking_again_forgets_what_was_buffered() {
    let broker = broker!("seek");
    broker.create(4, &[]);
    let values: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = values.iter().map(String::as_str).collect();
    (0..4).for_each(|partition| broker.produce(partition, &texts));
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    for from in [0, 4990, 10, 2500, 0] {
        let rows: Vec<_> = found.iter().map(|one| row(one, from)).collect();
        source.seek(&rows, &BTreeMap::new()).expect("it seeks");
        let mut seen = Seen::default();
        let began = Instant::now();
        // Leaves in the middle, with much of it still buffered.
        while seen.values.values().map(Vec::len).sum::<usize>() < 40 {
            assert!(began.elapsed() < WAIT);
            seen.add(source.next(&FetchLimits { records_max: 7, ..LIMITS }).expect("reading goes on"));
        }
        for records in seen.values.values() {
            let offsets: Vec<_> = records.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (from..from + offsets.len() as u64).collect::<Vec<_>>());
            assert!(records.iter().all(|(offset, text)| *text == offset.to_string()));
        }
    }
    // Only some partitions, and all of it.
    source.seek(&[row(&found[2], 4999)], &BTreeMap::new()).expect("it seeks");
    let seen = read_until(source.as_mut(), |seen| seen.next.get(&2) == Some(&5000));
    assert_eq!((seen.texts(2), seen.values.len()), (vec!["4999"], 1));
    let fetch = source.next(&FetchLimits { wait_max: Duration::from_millis(50), ..LIMITS }).expect("it waits");
    assert!(fetch.batches.is_empty() && !fetch.finished);
    broker.produce(2, &["late"]);
    let seen = read_until(source.as_mut(), |seen| seen.next.get(&2) == Some(&5001));
    assert_eq!(seen.texts(2), ["late"]);
}

#[test]
fn first_positions_are_as_the_text_says() {
    let broker = broker!("startup");
    broker.create(2, &[("retention.ms", "-1")]);
    produce_at_times(&broker, &[100, 200, 300]);
    broker.delete_before(0, 1);
    let partitions = [broker.partition(0), broker.partition(1)];
    let initial = |startup: Startup, group: Option<&str>| {
        let mut spec = broker.spec();
        spec.startup = startup;
        let group = group.map(|group| ("group.id".to_owned(), Property::plain(group)));
        spec.properties.extend(group);
        let positions = open(spec).initial(&partitions);
        positions.map(|positions| (at(&positions, &partitions[0]), at(&positions, &partitions[1])))
    };
    assert_eq!(initial(Startup::Earliest, None).expect("it answers"), (1, 0));
    assert_eq!(initial(Startup::Latest, None).expect("it answers"), (3, 0));
    assert_eq!(initial(Startup::Timestamp(250), None).expect("it answers"), (2, 0));
    assert_eq!(initial(Startup::Timestamp(900), None).expect("it answers"), (3, 0));
    let specific = |offset| Startup::Specific([(0, Position::new(offset))].into());
    assert_eq!(initial(specific(2), None).expect("it answers"), (2, 0));
    for offset in [0, 4] {
        check_error(&initial(specific(offset), None).expect_err("outside"), Kind::Config, "OF0409");
    }
    let group = format!("{}-group", broker.topic);
    let none = initial(Startup::GroupOffsets { reset: None }, Some(&group)).expect_err("nothing was committed");
    check_error(&none, Kind::Config, "OF0409");
    let reset = |reset| Startup::GroupOffsets { reset: Some(reset) };
    assert_eq!(initial(reset(Reset::Latest), Some(&group)).expect("it answers"), (3, 0));

    // What is reported to the group is what others see.
    let mut spec = broker.spec();
    spec.properties.insert("group.id".to_owned(), Property::plain(&group));
    let mut source = open(spec);
    source.discover().expect("it answers");
    source.report(&[(partitions[0].clone(), Position::new(1))]);
    source.report(&[(partitions[0].clone(), Position::new(2))]);
    drop(source);
    assert_eq!(initial(reset(Reset::Earliest), Some(&group)).expect("it answers"), (2, 0));
}

fn produce_at_times(broker: &Broker, times: &[i64]) {
    let producer = broker.producer(None);
    for time in times {
        let record = BaseRecord::<(), str>::to(&broker.topic).partition(0).payload("x").timestamp(*time);
        producer.send(record).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(WAIT).expect("sent");
}

#[test]
fn last_positions_are_as_the_text_says() {
    let broker = broker!("bounds");
    broker.create(2, &[("retention.ms", "-1")]);
    produce_at_times(&broker, &[100, 200, 300]);
    let partitions = [broker.partition(0), broker.partition(1)];
    let group = Property::plain(format!("{}-group", broker.topic));
    let bound = |bounded: Bounded| {
        let mut spec = broker.spec();
        spec.bounded = bounded;
        spec.properties.insert("group.id".to_owned(), group.clone());
        let ends = open(spec).bound(&partitions);
        ends.map(|ends| ends.map(|ends| (at(&ends, &partitions[0]), at(&ends, &partitions[1]))))
    };
    assert_eq!(bound(Bounded::Unbounded).expect("it answers"), None);
    assert_eq!(bound(Bounded::Latest).expect("it answers"), Some((3, 0)));
    assert_eq!(bound(Bounded::Timestamp(300)).expect("it answers"), Some((2, 0)));
    let both = [(0, Position::new(2)), (1, Position::new(0))].into();
    assert_eq!(bound(Bounded::Specific(both)).expect("it answers"), Some((2, 0)));
    let one = [(0, Position::new(2))].into();
    check_error(&bound(Bounded::Specific(one)).expect_err("partition 1 has no end"), Kind::Config, "OF0417");
    check_error(&bound(Bounded::GroupOffsets).expect_err("nothing was committed"), Kind::Config, "OF0417");
}

#[test]
fn a_log_is_compared_with_what_the_ledger_remembers() {
    let broker = broker!("verify");
    broker.create(3, &[]);
    broker.produce(0, &["a", "b", "c"]);
    broker.produce(1, &["a"]);
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    let rows: Vec<_> = found.iter().map(|one| row(one, 0)).collect();
    source.seek(&rows, &BTreeMap::new()).expect("it seeks");
    let mut tails: BTreeMap<u32, Tail> = BTreeMap::new();
    let began = Instant::now();
    while tails.get(&0).is_none_or(|tail| tail.offset.get() < 2) || tails.len() < 2 {
        assert!(began.elapsed() < WAIT);
        let batches = source.next(&LIMITS).expect("reading goes on").batches;
        tails.extend(batches.iter().filter_map(|batch| batch.tail().map(|tail| (batch.partition.number, tail))));
    }
    let with = |number: usize, next: u64, tail: Option<Tail>| PositionRow { tail, ..row(&found[number], next) };
    let good = [with(0, 3, tails.get(&0).copied()), with(1, 1, tails.get(&1).copied()), with(2, 0, None)];
    assert_eq!(source.verify(&good).expect("it answers"), []);
    let differences = |source: &mut dyn Source, row: &PositionRow| {
        let found = source.verify(std::slice::from_ref(row)).expect("it answers");
        found.into_iter().map(|mismatch| mismatch.what).collect::<Vec<_>>()
    };
    let source = source.as_mut();

    let other = Tail { offset: Position::new(2), fingerprint: Fingerprint::new(7) };
    assert_eq!(differences(source, &with(0, 3, Some(other))), [Difference::Tail { offset: Position::new(2) }]);
    let end = Position::new(3);
    assert_eq!(differences(source, &with(0, 9, None)), [Difference::Truncated { ledger: Position::new(9), end }]);
    let stranger = PositionRow { partition: broker.partition(7), ..good[0].clone() };
    assert_eq!(differences(source, &stranger), [Difference::Gone]);
    let ledger = SourceIdentity::new("another-cluster", found[0].identity.topic_id.clone());
    let elsewhere = PositionRow { identity: ledger.clone(), ..good[0].clone() };
    let here = found[0].identity.clone();
    assert_eq!(differences(source, &elsewhere), [Difference::Identity { ledger, found: here }]);

    // The tail has expired, the position has not: nothing to compare, nothing lost.
    broker.delete_before(0, 3);
    assert_eq!(differences(source, &good[0]), []);
    let (ledger, start) = (Position::new(1), Position::new(3));
    assert_eq!(differences(source, &with(0, 1, None)), [Difference::Expired { ledger, start }]);
    source.seek(&[with(0, 1, None)], &BTreeMap::new()).expect("it seeks");
    check_error(&read_to_error(source), Kind::Identity, "OF0410");
    source.seek(&[with(0, 9, None)], &BTreeMap::new()).expect("it seeks");
    check_error(&read_to_error(source), Kind::Identity, "OF0411");
    check_error(&source.next(&LIMITS).expect_err("it has to seek"), Kind::Unavailable, "OF0416");
}

#[test]
fn a_topic_that_is_created_again_is_noticed_before_its_first_record() {
    let broker = broker!("recreated");
    broker.create(1, &[]);
    broker.produce(0, &["old"; 10]);
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    let next = row(&found[0], 10);
    source.seek(&[row(&found[0], 0)], &BTreeMap::new()).expect("it seeks");
    let mut seen = read_until(source.as_mut(), |seen| seen.next.get(&0) == Some(&10));
    broker.delete();
    broker.create(1, &[]);
    // More records than before, so that the old position exists in the new log.
    broker.produce(0, &["new"; 50]);
    let began = Instant::now();
    let error = loop {
        assert!(began.elapsed() < Duration::from_secs(60), "it was not noticed; read {:?}", seen.texts(0).len());
        match source.next(&LIMITS) {
            Ok(fetch) => seen.add(fetch),
            Err(error) if error.kind() == Kind::Unavailable => {
                // The topic was away for a moment: the engine seeks again.
                println!("after {:?}: {error}", began.elapsed());
                source.seek(std::slice::from_ref(&next), &BTreeMap::new()).expect("it seeks");
            }
            Err(error) => break error,
        }
    };
    println!("noticed after {:?}: {error:?}", began.elapsed());
    check_error(&error, Kind::Identity, "OF0412");
    assert!(seen.texts(0).iter().all(|text| *text == "old"), "no record of the new topic gets out");
    let mismatches = source.verify(std::slice::from_ref(&next)).expect("it answers");
    assert!(matches!(mismatches[0].what, Difference::Identity { .. }), "{mismatches:?}");

    // A source that starts with the old identity does not read the new log either.
    let mut source = broker.source();
    source.seek(&[next], &BTreeMap::new()).expect("it seeks");
    check_error(&read_to_error(source.as_mut()), Kind::Identity, "OF0412");
}

#[test]
fn compaction_leaves_gaps_that_positions_move_over() {
    let broker = broker!("compacted");
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
        ("segment.bytes", "1048576"),
    ];
    broker.create(1, &config);
    let producer = broker.producer(None);
    for round in 0..40 {
        let text = round.to_string();
        let record = BaseRecord::to(&broker.topic).partition(0).key("k").payload(text.as_str());
        producer.send(record).map_err(|(error, _)| error).expect("queued");
        producer.flush(WAIT).expect("sent");
        if round % 10 == 9 {
            std::thread::park_timeout(Duration::from_millis(300));
        }
    }
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    let began = Instant::now();
    loop {
        source.seek(&[row(&found[0], 0)], &BTreeMap::new()).expect("it seeks");
        let seen = read_until(source.as_mut(), |seen| seen.next.get(&0) == Some(&40));
        assert_eq!(seen.texts(0).last(), Some(&"39"));
        if seen.values[&0][0].0 > 3 {
            println!("{} of 40 records are left, the first at {}", seen.texts(0).len(), seen.values[&0][0].0);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the broker does not compact");
        std::thread::park_timeout(Duration::from_millis(500));
    }
    // The last consumed record was compacted away: it cannot be compared, and that is no difference.
    let tail = Some(Tail { offset: Position::new(3), fingerprint: Fingerprint::new(1) });
    let consumed = PositionRow { tail, ..row(&found[0], 4) };
    assert_eq!(source.verify(&[consumed]).expect("it answers"), []);
}

#[test]
fn a_log_that_lost_its_last_records_between_the_check_and_the_first_record_is_refused() {
    let broker = broker!("unproven");
    broker.create(1, &[]);
    broker.produce(0, &["a", "b", "c"]);
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    let bound = [(broker.partition(0), Position::new(2))].into();
    source.seek(&[row(&found[0], 0)], &bound).expect("it seeks");
    let began = Instant::now();
    let (tail, leader_epoch) = loop {
        assert!(began.elapsed() < WAIT);
        if let Some(batch) = source.next(&LIMITS).expect("reading goes on").batches.first() {
            break (batch.tail(), batch.leader_epoch);
        }
    };
    assert!(tail.is_some_and(|tail| tail.offset.get() == 1) && leader_epoch.is_some());
    let other_tail = Some(Tail { offset: Position::new(1), fingerprint: Fingerprint::new(7) });
    let other_leader = leader_epoch.map(|epoch| epoch - 1);
    let mut read_on = |tail, leader_epoch| {
        source.seek(&[PositionRow { tail, leader_epoch, ..row(&found[0], 2) }], &BTreeMap::new()).expect("it seeks");
        read_first(source.as_mut())
    };
    // The same leader wrote the next record; another one did, after the record that the ledger knows.
    assert_eq!(read_on(tail, leader_epoch).expect("it is the same log"), 2);
    assert_eq!(read_on(tail, other_leader).expect("it is the same log"), 2);
    assert_eq!(read_on(tail, None).expect("it is the same log"), 2);
    // Another one did, and the record that the ledger knows is not there.
    let error = read_on(other_tail, other_leader).expect_err("records were replaced");
    check_error(&error, Kind::Identity, "OF0411");
    assert!(error.notes().iter().any(|note| note.contains("at 1,")), "{error:?}");
    // What the ledger does not know cannot be compared.
    assert_eq!(read_on(None, other_leader).expect("nothing to compare"), 2);
}

/// Reads until the first record, or an error.
fn read_first(source: &mut dyn Source) -> Result<u64, Error> {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < WAIT, "nothing came");
        for batch in source.next(&LIMITS)?.batches {
            if let Some(record) = batch.records.iter().next() {
                return Ok(record.offset.get());
            }
        }
    }
}

#[test]
fn many_partitions_share_one_queue() {
    let broker = broker!("many");
    broker.create(256, &[]);
    let producer = broker.producer(None);
    for partition in 0..256 {
        send(&producer, &broker.topic, partition, &["x"; 20]);
    }
    producer.flush(WAIT).expect("sent");
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    let partitions: Vec<_> = found.iter().map(|one| one.partition.clone()).collect();
    let ends = source.ends(&partitions).expect("it answers");
    assert!(ends.len() == 256 && ends.values().all(|end| end.get() == 20));
    let rows: Vec<_> = found.iter().map(|one| row(one, 0)).collect();
    source.seek(&rows, &ends).expect("it seeks");
    let mut tails = BTreeMap::new();
    let mut seen = Seen::default();
    let began = Instant::now();
    while !seen.finished {
        assert!(began.elapsed() < WAIT, "at {:?}", seen.next);
        let fetch = source.next(&LIMITS).expect("reading goes on");
        tails.extend(fetch.batches.iter().map(|batch| (batch.partition.clone(), batch.tail())));
        seen.add(fetch);
    }
    assert!(seen.next.len() == 256 && seen.next.values().all(|next| *next == 20));
    let ended = |one: &Found| PositionRow { tail: tails[&one.partition], ..row(one, 20) };
    let ended: Vec<_> = found.iter().map(ended).collect();
    let began = Instant::now();
    assert_eq!(source.verify(&ended).expect("it answers"), []);
    println!("verifying 256 partitions: {:?}", began.elapsed());
    let began = Instant::now();
    source.seek(&rows, &BTreeMap::new()).expect("it seeks");
    let first = began.elapsed();
    source.seek(&ended, &BTreeMap::new()).expect("it seeks");
    println!("seeking 256 partitions: {first:?}, again {:?}", began.elapsed() - first);
    let began = Instant::now();
    drop(source);
    println!("closing: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn nothing_comes_promptly_and_something_comes_at_once() {
    let broker = broker!("prompt");
    broker.create(1, &[]);
    let mut source = broker.source();
    let found = source.discover().expect("it answers");
    source.seek(&[row(&found[0], 0)], &BTreeMap::new()).expect("it seeks");
    for wait in [0, 20, 300] {
        let began = Instant::now();
        let limits = FetchLimits { wait_max: Duration::from_millis(wait), ..LIMITS };
        assert!(source.next(&limits).expect("it waits").batches.is_empty());
        let took = began.elapsed().as_millis();
        assert!(took >= u128::from(wait) && took < u128::from(wait) + 250, "{took} ms for {wait} ms");
    }
    let producer = broker.producer(None);
    let later = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            std::thread::park_timeout(Duration::from_millis(200));
            send(&producer, &broker.topic, 0, &["now"]);
            producer.flush(WAIT).expect("sent");
            Instant::now()
        });
        let fetch = source.next(&FetchLimits { wait_max: WAIT, ..LIMITS }).expect("reading goes on");
        let received = Instant::now();
        assert_eq!(fetch.batches[0].records.len(), 1);
        received.saturating_duration_since(sender.join().expect("it was sent"))
    });
    println!("received {later:?} after the broker's answer");
    assert!(later < Duration::from_millis(400));
}

/// A variable that the script which starts the servers sets together with the brokers.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What discovering a topic that does not exist ends with: `OF0404` where the login worked.
fn list(servers: &str, pairs: &[(&str, &str)]) -> (Kind, &'static str) {
    let property = |(key, value): &(&str, &str)| ((*key).to_owned(), Property::plain(*value));
    let servers = ("bootstrap.servers".to_owned(), Property::plain(servers));
    let spec = KafkaSpec {
        name: "src".into(),
        topics: Topics::List(vec!["no-such-topic".to_owned()]),
        properties: pairs.iter().map(property).chain([servers]).collect(),
        startup: Startup::Earliest,
        bounded: Bounded::Unbounded,
        discovery_interval: None,
    };
    let error = open(spec).discover().expect_err("the topic is missing");
    println!("{error:?}");
    (error.kind(), error.code().as_str())
}

const LOGGED_IN: (Kind, &str) = (Kind::Config, "OF0404");

#[test]
fn logins_by_password_work_or_fail_with_their_reason() {
    if brokers("logins").is_none() {
        return;
    }
    let names = ["ONCEFLOW_TEST_KAFKA_SASL", "ONCEFLOW_TEST_KAFKA_USER", "ONCEFLOW_TEST_KAFKA_PASSWORD"];
    let [Some(servers), Some(user), Some(password)] = names.map(variable) else {
        println!("not run: logins by password: {names:?} are not all set");
        return;
    };
    let login = |mechanism: &str, module: &str, password: &str| {
        let jaas = format!("org.{module} required username=\"{user}\" password=\"{password}\";");
        let protocol = ("security.protocol", "SASL_PLAINTEXT");
        list(&servers, &[protocol, ("sasl.mechanism", mechanism), ("sasl.jaas.config", &jaas)])
    };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert_eq!(login(mechanism, "ScramLoginModule", &password), LOGGED_IN);
        assert_eq!(login(mechanism, "ScramLoginModule", "wrong"), (Kind::Config, "OF0402"));
    }
    assert_eq!(login("PLAIN", "PlainLoginModule", &password), LOGGED_IN);
    assert_eq!(login("PLAIN", "PlainLoginModule", "wrong"), (Kind::Config, "OF0402"));
    // Without a login the broker closes the connection: it may as well be on its way down.
    assert_eq!(list(&servers, &[]), (Kind::Unavailable, "OF0401"));
    assert_eq!(list(&servers, &[("security.protocol", "SSL")]), (Kind::Unavailable, "OF0401"));
}

#[test]
fn tls_works_or_fails_with_its_reason() {
    if brokers("tls").is_none() {
        return;
    }
    let [Some(servers), Some(ca)] = ["ONCEFLOW_TEST_KAFKA_TLS", "ONCEFLOW_TEST_KAFKA_CA"].map(variable) else {
        println!("not run: TLS: ONCEFLOW_TEST_KAFKA_TLS and _CA are not both set");
        return;
    };
    let ssl = ("security.protocol", "SSL");
    let trust = [ssl, ("ssl.truststore.type", "PEM"), ("ssl.truststore.location", ca.as_str())];
    assert_eq!(list(&servers, &trust), LOGGED_IN);
    assert_eq!(list(&servers, &[ssl]), (Kind::Config, "OF0403"));
    assert_eq!(list(&servers, &[]), (Kind::Unavailable, "OF0401"));
}
