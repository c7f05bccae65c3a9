//! What the PostgreSQL tests share: a database each, a home, steps of a ledger, and a proxy that loses answers.

use onceflow_engine::changes::{TableSpec, Work};
use onceflow_engine::core::{
    Consumed, Counts, Digest, Epoch, Fingerprint, Held, Ledger, Nonce, Partition, PipelineId, Position, PositionRow,
    ShardId, SourceIdentity, Span, Step, TableTotal, Tail,
};
use onceflow_engine::home::postgres::{PostgresConfig, PostgresFactory};
use onceflow_engine::home::{Claim, ClaimRequest, Closing, CommitError, Done, Home, HomeFactory, Registration, Right};
use onceflow_engine::logic::EpochClock;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A database of a test's own.
pub struct Scratch {
    pub url: String,
    pub admin: tokio_postgres::Client,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Runs a test on a lane-like runtime in a database of its own, or says that it did not run.
pub fn run(name: &str, test: impl AsyncFnOnce(&Scratch)) {
    let Ok(url) = std::env::var("ONCEFLOW_TEST_POSTGRES") else {
        let required = std::env::var("ONCEFLOW_TEST_REQUIRE").is_ok_and(|value| value == "1");
        assert!(!required, "{name}: ONCEFLOW_TEST_POSTGRES is not set and ONCEFLOW_TEST_REQUIRE is 1");
        println!("not run: {name}: ONCEFLOW_TEST_POSTGRES is not set");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = format!("onceflow_test_{}_{number}", std::process::id());
        let server = connect(&url).await;
        server.batch_execute(&format!("CREATE DATABASE {database}")).await.expect("a database");
        let url = with_database(&url, &database);
        let scratch = Scratch { admin: connect(&url).await, url };
        test(&scratch).await;
        drop(scratch);
        server.batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await.expect("the end of the database");
    });
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a test server");
    drop(tokio::spawn(connection));
    client
}

fn with_database(url: &str, database: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let scheme = base.find("://").expect("a URL") + 3;
    let end = base[scheme..].find('/').map_or(base.len(), |at| scheme + at);
    format!("{}/{database}{query}", &base[..end])
}

impl Scratch {
    pub fn home(&self) -> Box<dyn Home> {
        open(&self.url, Vec::new())
    }

    /// One value of a query, as text.
    pub async fn text(&self, sql: &str) -> String {
        let rows = self.admin.simple_query(sql).await.expect(sql);
        rows.iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
                _ => None,
            })
            .unwrap_or_default()
    }

    pub async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.expect(sql);
    }

    /// Waits until the server has done all that sessions of homes sent it, and the sessions are gone.
    pub async fn quiet(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE application_name LIKE 'onceflow/%' AND datname = current_database()";
        while self.text(sql).await != "0" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// The same database through a proxy.
    pub fn through(&self, proxy: &Proxy) -> String {
        let scheme = self.url.find("://").expect("a URL") + 3;
        let end = self.url[scheme..].find('/').map_or(self.url.len(), |at| scheme + at);
        let user = self.url[scheme..end].split_once('@').map_or("", |(user, _)| user);
        // The proxy has to read what passes.
        format!("postgresql://{user}@127.0.0.1:{}{}?sslmode=disable", proxy.port, &self.url[end..])
    }

    pub fn address(&self) -> String {
        let scheme = self.url.find("://").expect("a URL") + 3;
        let authority = self.url[scheme..].split('/').next().expect("an authority");
        authority.rsplit('@').next().expect("a host").to_owned()
    }
}

pub fn open(url: &str, tables: Vec<TableSpec>) -> Box<dyn Home> {
    let config = PostgresConfig::parse(url, None, None).expect("the URL of a test");
    PostgresFactory::new(config).open(Arc::new(tables)).expect("opening does not connect")
}

pub fn registration(name: &str) -> Registration {
    Registration {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        fingerprint: "f1".to_owned(),
        wiring: "topic a -> table t".to_owned(),
        tables: Vec::new(),
        adopt: false,
        auto_create: false,
        accept_wiring: false,
    }
}

pub fn partition(number: u32) -> Partition {
    Partition::new("events", "topic", number)
}

pub fn shard(number: u32) -> ShardId {
    partition(number).own_shard()
}

pub fn first(number: u32, next: u64) -> PositionRow {
    PositionRow {
        shard: shard(number),
        partition: partition(number),
        identity: SourceIdentity::new("cluster", "topic-id"),
        next: Position::new(next),
        leader_epoch: None,
        tail: None,
        watermark: None,
    }
}

/// Registers a pipeline and founds shards 0..n at position 0.
pub async fn founded(home: &mut dyn Home, shards: u32) -> PipelineId {
    let registered = home.register(&registration("p")).await.expect("a fresh database");
    let rows: Vec<_> = (0..shards).map(|number| first(number, 0)).collect();
    home.found(registered.pipeline, &rows).await.expect("a first founding");
    registered.pipeline
}

pub fn request(pipeline: PipelineId, shards: u32, nonce: u128, held: &BTreeMap<ShardId, Held>) -> ClaimRequest {
    let shards = (0..shards).map(shard).collect();
    ClaimRequest { pipeline, shards, held: held.clone(), nonce: Nonce::new(nonce), lane: "0".to_owned() }
}

/// A claim that has to succeed.
pub async fn claim(home: &mut dyn Home, pipeline: PipelineId, shards: u32, nonce: u128) -> Ledger {
    claim_again(home, pipeline, shards, nonce, &BTreeMap::new()).await
}

pub async fn claim_again(
    home: &mut dyn Home,
    pipeline: PipelineId,
    shards: u32,
    nonce: u128,
    held: &BTreeMap<ShardId, Held>,
) -> Ledger {
    match home.claim(&request(pipeline, shards, nonce, held)).await.expect("a claim") {
        Claim::Owned(ledger) => ledger,
        Claim::Fenced { shard, found } => panic!("{shard} is fenced by generation {found}"),
    }
}

/// A step of `records` records in each partition of the ledger; all but one are used.
pub fn step(ledger: &Ledger, records: u64) -> Step {
    let consumed: Vec<_> = ledger.positions().map(|row| consumed(row, records)).collect();
    let total = consumed.iter().map(|part| part.digest.count()).sum();
    let counts = Counts { records: total, used: total - 1, filtered: 1, ..Counts::default() };
    let tables = vec![TableTotal { table: "t".into(), digest: Digest::new(77, 3) }];
    Step { consumed, counts, tables }
}

fn consumed(row: &PositionRow, records: u64) -> Consumed {
    let to = Position::new(row.next.get() + records + 1);
    let mut digest = Digest::EMPTY;
    let mut tail = None;
    for offset in row.next.get()..row.next.get() + records {
        let fingerprint = Fingerprint::of_record(offset, Some(1), None, Some(b"v"));
        digest.add(fingerprint.get());
        tail = Some(Tail { offset: Position::new(offset), fingerprint });
    }
    let span = Span::new(row.next, to).expect("it goes forward");
    Consumed { partition: row.partition.clone(), span, digest, leader_epoch: Some(4), tail }
}

pub fn nothing() -> Work {
    Work { parts: Vec::new(), clock: EpochClock { now: 1, seed: 2 } }
}

pub fn closing(ledger_step: &Step) -> Closing {
    Closing { counts: ledger_step.counts, now: 1_700_000_000_000_000, seed: u64::MAX, ..Closing::default() }
}

/// One epoch from proposal to acceptance.
pub async fn epoch(home: &mut dyn Home, ledger: &mut Ledger, records: u64) -> Result<(), CommitError> {
    let step = step(ledger, records);
    let closing = closing(&step);
    let advance = ledger.propose(step).expect("the step fits the ledger");
    let mut transaction = home.begin(Right::Advance(advance)).await?;
    transaction.write(&nothing()).await?;
    match transaction.commit(&closing).await? {
        Done::Advanced(committed) => ledger.accept(committed).expect("it is this ledger's"),
        Done::Replayed(_) => panic!("an advance was answered as a replay"),
    }
    Ok(())
}

pub fn epochs(ledger: &Ledger) -> Vec<Epoch> {
    ledger.shards().map(|row| row.epoch).collect()
}

/// What the proxy does with the next COMMIT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Nothing = 0,
    /// Gives it to the server and loses the answer.
    LoseAnswer = 1,
    /// Loses it on the way.
    LoseCommit = 2,
    /// After the next BEGIN with its move, sends a row and COMMIT without waiting for an answer.
    Inject = 3,
    /// Makes the next BEGIN fail, and lets the move behind it through.
    SpoilBegin = 4,
}

/// A proxy between a home and the server.
pub struct Proxy {
    pub port: u16,
    plan: Arc<AtomicU8>,
    /// Whether a plan was carried out.
    pub fired: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

impl Proxy {
    pub fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = Self { port, plan: Arc::default(), fired: Arc::default(), sockets: Arc::default() };
        let (plan, fired, sockets) = (proxy.plan.clone(), proxy.fired.clone(), proxy.sockets.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(upstream)) = (client, TcpStream::connect(&server)) else { return };
                let both = [client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket")];
                sockets.lock().expect("no test panics here").extend(both);
                serve(client, upstream, plan.clone(), fired.clone());
            }
        });
        proxy
    }

    pub fn plan(&self, plan: Plan) {
        self.fired.store(false, Ordering::SeqCst);
        self.plan.store(plan as u8, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for socket in self.sockets.lock().expect("no test panics here").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn serve(client: TcpStream, server: TcpStream, plan: Arc<AtomicU8>, fired: Arc<AtomicBool>) {
    let muted = Arc::new(AtomicBool::new(false));
    let (mut from_client, mut to_server) =
        (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    let mute = muted.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(count @ 1..) = from_client.read(&mut buffer) {
            let now = plan.load(Ordering::SeqCst);
            if now == Plan::SpoilBegin as u8
                && let Some(at) = buffer[..count].windows(17).position(|window| window == b"BEGIN TRANSACTION")
            {
                buffer[at..at + 5].copy_from_slice(b"BEGON");
                fire(&plan, &fired);
            }
            let chunk = &buffer[..count];
            let commits = chunk.windows(COMMIT.len()).any(|window| window == COMMIT);
            let begins = chunk.windows(17).any(|window| window == b"BEGIN TRANSACTION") && chunk.len() > 200;
            if now == Plan::LoseCommit as u8 && commits {
                fire(&plan, &fired);
                break;
            }
            if now == Plan::LoseAnswer as u8 && commits {
                mute.store(true, Ordering::SeqCst);
                fire(&plan, &fired);
            }
            if to_server.write_all(chunk).is_err() {
                break;
            }
            if now == Plan::Inject as u8 && begins {
                fire(&plan, &fired);
                let _ = to_server.write_all(&query("INSERT INTO public.probe VALUES (1)"));
                let _ = to_server.write_all(COMMIT);
            }
        }
        let _ = from_client.shutdown(Shutdown::Both);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let (mut from_server, mut to_client) = (server, client);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            let chunk = &buffer[..count];
            if muted.load(Ordering::SeqCst) {
                // Answers to earlier statements may come first. Once COMMIT is answered the server has decided; nobody hears it.
                if chunk.windows(COMMITTED.len()).any(|window| window == COMMITTED) {
                    break;
                }
            } else if to_client.write_all(chunk).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
}

fn fire(plan: &AtomicU8, fired: &AtomicBool) {
    plan.store(Plan::Nothing as u8, Ordering::SeqCst);
    fired.store(true, Ordering::SeqCst);
}

fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 5).expect("a short statement");
    [b"Q", length.to_be_bytes().as_slice(), sql.as_bytes(), b"\0"].concat()
}
