//! The examples as a user runs them, with a real broker and a real PostgreSQL, killed at every crash point and amid deliveries:
//! `ONCEFLOW_TEST_KAFKA=127.0.0.1:9092`, `ONCEFLOW_TEST_POSTGRES=postgresql://postgres@127.0.0.1:5432/postgres`, as a superuser.

#![cfg(all(feature = "kafka", feature = "postgres", feature = "http"))]

use onceflow::engine::crash;
use postgres_support::{Database, block_on, given};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

mod postgres_support;

const WAIT: Duration = Duration::from_secs(20);
const SIGKILL: i32 = 9;

/// A topic and a database of one test.
struct Place {
    brokers: String,
    topic: String,
    database: Database,
}

impl Deref for Place {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        let brokers = given("ONCEFLOW_TEST_KAFKA")?;
        let database = Database::new(&format!("example_{test}"))?;
        let place = Self { brokers, topic: format!("example_{test}_{}", std::process::id()), database };
        block_on(async {
            let client: AdminClient<DefaultClientContext> = place.config().create().expect("a client");
            let new = NewTopic::new(&place.topic, 3, TopicReplication::Fixed(1));
            let options = AdminOptions::new().operation_timeout(Some(WAIT));
            let created = client.create_topics([&new], &options).await.expect("the broker answers");
            created.into_iter().for_each(|created| drop(created.expect("the topic is new")));
        });
        Some(place)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    fn produce(&self, values: impl Iterator<Item = String>) {
        let producer: BaseProducer = self.config().create().expect("a producer");
        for (number, value) in values.enumerate() {
            let partition = i32::try_from(number % 3).expect("it is small");
            let record: BaseRecord<'_, [u8], [u8]> =
                BaseRecord::to(&self.topic).partition(partition).payload(value.as_bytes());
            producer.send(record).map_err(|(error, _)| error).expect("there is room");
        }
        producer.flush(WAIT).expect("the broker takes everything");
    }
}

/// Beside the folder of the tests' own programs.
fn example(name: &str) -> Command {
    let own = std::env::current_exe().expect("a test knows its program");
    let profile = own.ancestors().nth(2).expect("tests are built into target/PROFILE/deps");
    let program: PathBuf = profile.join("examples").join(name);
    assert!(program.exists(), "{} is not built: cargo build --release --workspace --all-targets", program.display());
    let mut command = Command::new(program);
    command.env("UNTIL_CAUGHT_UP", "1").stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> ExitStatus {
    command.status().expect("the example starts")
}

#[test]
fn the_articles_program_counts_each_transaction_once_whatever_the_moment_of_its_death() {
    let Some(place) = Place::new("article") else { return };
    place.execute("CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)");
    place.execute("INSERT INTO accounts SELECT n, 0 FROM generate_series(0, 9) n");
    let produce = |range: std::ops::Range<i64>| {
        place.produce(range.map(|n| format!("{{\"account\": {}, \"amount_cents\": {n}}}", n % 10)));
    };
    let article = |crash: Option<&str>| {
        let mut command = example("article");
        command.args([&place.brokers, &place.topic, &place.url()]);
        command.env("ONCEFLOW_CRASH", crash.unwrap_or_default());
        if crash.is_none() {
            command.env_remove("ONCEFLOW_CRASH");
        }
        run(command)
    };
    let (mut produced, mut killed) = (0, 0);
    for point in crash::POINTS {
        produce(produced..produced + 600);
        produced += 600;
        killed += usize::from(article(Some(&format!("{point}@1:kill"))).signal() == Some(SIGKILL));
        assert!(article(None).success(), "after a kill at {point}");
        let expected: i64 = (0..produced).sum();
        assert_eq!(place.number("SELECT sum(balance)::bigint FROM accounts"), expected, "after a kill at {point}");
    }
    assert!(killed >= crash::POINTS.len() - 3, "only {killed} crash points were passed");
    assert_eq!(place.number("SELECT sum(next_offset)::bigint FROM onceflow.position"), produced);
}

/// Whoever receives messages: knows their keys, fails at times, and lets the sender die before it hears an answer.
#[derive(Default)]
struct Receiver {
    calls: u32,
    refused: BTreeSet<String>,
    applied: BTreeMap<String, String>,
    repeated: u32,
    kills: u32,
}

fn receive(child: &Arc<AtomicU32>) -> (String, Arc<Mutex<Receiver>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/orders", listener.local_addr().expect("it is bound"));
    let receiver = Arc::new(Mutex::new(Receiver::default()));
    let (shared, child) = (receiver.clone(), child.clone());
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (shared, child) = (shared.clone(), child.clone());
            std::thread::spawn(move || answer(stream, &shared, &child));
        }
    });
    (url, receiver)
}

/// Serves one connection, request by request.
fn answer(mut stream: std::net::TcpStream, shared: &Mutex<Receiver>, child: &AtomicU32) {
    let mut pending = Vec::new();
    loop {
        let Some(request) = request(&mut stream, &mut pending) else { return };
        let status = shared.lock().unwrap_or_else(PoisonError::into_inner).take(&request, child);
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// Head and body of the next request.
fn request(stream: &mut std::net::TcpStream, pending: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        let text = String::from_utf8_lossy(pending).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
            if body.len() >= length {
                pending.drain(..head.len() + 4 + length);
                return Some((head, body[..length].to_owned()));
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(count @ 1..) => pending.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

impl Receiver {
    fn take(&mut self, (head, body): &(String, String), child: &AtomicU32) -> &'static str {
        self.calls += 1;
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("idempotency-key: "))
            .expect("every message has a key")
            .to_owned();
        if body.contains("\"pieces\":-1") {
            self.refused.insert(key);
            return "422 Unprocessable Entity";
        }
        if self.calls % 7 == 3 {
            return "503 Service Unavailable";
        }
        if self.applied.insert(key, body.clone()).is_some() {
            self.repeated += 1;
        }
        if self.calls % 61 == 60 {
            // Heard and applied, and the sender dies before it knows.
            let pid = child.swap(0, Ordering::SeqCst);
            if pid != 0 {
                self.kills += 1;
                let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
                assert!(killed.is_ok_and(|status| status.success()), "the child can be killed");
            }
        }
        "200 OK"
    }
}

#[test]
fn the_webhooks_receiver_applies_each_message_once_though_the_sender_is_killed_again_and_again() {
    let Some(place) = Place::new("webhook") else { return };
    place.execute("CREATE TABLE orders (id BIGINT PRIMARY KEY, pieces BIGINT NOT NULL, state TEXT NOT NULL)");
    let count = 400;
    place
        .produce((0..count).map(|id| format!("{{\"id\":{id},\"pieces\":{}}}", if id % 50 == 7 { -1 } else { id % 9 })));
    let child = Arc::new(AtomicU32::new(0));
    let (url, receiver) = receive(&child);
    let mut ended = false;
    for _ in 0..40 {
        let mut command = example("outbox_webhook");
        command.args([&place.brokers, &place.topic, &place.url(), &url]);
        let mut running = command.spawn().expect("the example starts");
        child.store(running.id(), Ordering::SeqCst);
        let status = running.wait().expect("it is our child");
        child.store(0, Ordering::SeqCst);
        ended = status.success();
        assert!(ended || status.signal() == Some(SIGKILL), "{status}");
        if ended {
            break;
        }
    }
    assert!(ended, "forty starts were not enough");
    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        receiver.kills >= 4 && receiver.repeated >= 1,
        "{} kills, {} repetitions",
        receiver.kills,
        receiver.repeated
    );
    let ids: BTreeSet<&String> = receiver.applied.values().collect();
    assert_eq!((receiver.applied.len(), ids.len(), receiver.refused.len()), (392, 392, 8));
    assert_eq!(place.number("SELECT count(*) FROM orders"), count);
    assert_eq!(place.number("SELECT count(*) FROM orders WHERE state = 'cancelled'"), 8);
    assert_eq!(place.number("SELECT count(*) FROM orders WHERE state = 'cancelled' AND pieces <> -1"), 0);
    assert_eq!(place.number("SELECT count(*) FROM onceflow.outbox WHERE state = 'delivered'"), 392);
    assert_eq!(place.number("SELECT count(*) FROM onceflow.outbox WHERE state = 'compensated'"), 8);
}

#[test]
fn a_topic_is_a_channel_and_a_structure_a_row() {
    use onceflow::prelude::*;
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Order {
        id: i64,
        price: String,
        at: String,
        tags: Vec<String>,
        token: String,
    }
    let Some(place) = Place::new("into") else { return };
    place.execute(
        "CREATE DOMAIN cents AS numeric(12, 2) CHECK (value < 500);
         CREATE TABLE orders (n BIGINT GENERATED ALWAYS AS IDENTITY, id INTEGER PRIMARY KEY, price cents, at TIMESTAMPTZ NOT NULL, tags JSONB,
             token UUID NOT NULL)",
    );
    let order = |id: i64| Order {
        id,
        price: format!("{}.50", id % 600),
        at: chrono::DateTime::from_timestamp_micros(id * 1_000_001).expect("a moment").to_rfc3339(),
        tags: vec![format!("t{}", id % 2)],
        token: format!("a0eebc99-9c0b-4ef8-bb6d-{:012}", id),
    };
    let orders = |count: i64| Memory::json((0..count).map(order));
    let home = || Postgres::url(place.url());
    for (count, committed) in [(1_200, 1_200), (1_500, 300)] {
        let flow = Pipeline::new("rows").read(orders(count)).parse(Json::<Order>::new()).write_to(home());
        let report =
            block_on(async { flow.append_into("orders").start().expect("it starts").ended().await }).expect("it runs");
        assert_eq!(report.committed, committed);
    }
    // 500.50 to 599.50 are refused by the domain, twice.
    assert_eq!(place.number("SELECT count(*) FROM orders"), 1_300);
    assert_eq!(place.number("SELECT count(*) FROM onceflow.dead_letter"), 200);
    assert_eq!(place.number("SELECT count(*) FROM orders WHERE tags = jsonb_build_array('t' || id % 2) AND extract(epoch FROM at) * 1000000 = id * 1000001::bigint"), 1_300);

    let told = Pipeline::new("told").read(orders(300)).parse(Json::<Order>::new()).write_to(home());
    let told = told.for_each(async |tx, order| tx.outbox("audit", &order.id).of(&order).key(order.id % 7).await);
    let told = told.channel("audit", Kafka::topic(&place.topic).brokers(&place.brokers));
    let report = block_on(async { told.start().expect("it starts").ended().await }).expect("it runs");
    assert_eq!((report.delivered, report.refused), (300, 0));
    let read = consumed(&place, 300);
    assert_eq!(read.len(), 300, "each idempotency key once");
    let values: BTreeSet<&String> = read.values().collect();
    assert_eq!(values.len(), 300);
}

/// The records of the topic: their idempotency keys and values.
fn consumed(place: &Place, count: usize) -> BTreeMap<String, String> {
    let mut config = place.config();
    config.set("group.id", &place.topic).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[&place.topic]).expect("the topic is there");
    let mut read = BTreeMap::new();
    for _ in 0..600 {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let header = message.headers().expect("it has headers").get(0);
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        assert_eq!(header.key, "idempotency-key");
        read.insert(text(header.value), text(message.payload()));
        if read.len() == count {
            break;
        }
    }
    read
}
