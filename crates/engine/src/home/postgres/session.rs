//! One session with the server: connecting, its settings, what the server says on its own, and who it says it is.
//!
//! Owns the connection's task and the promise that an open transaction never outlives its owner ([`Open`]).

use crate::codes;
use crate::error::{Error, Result};
use crate::home::postgres::commit::Statements;
use crate::home::postgres::config::PostgresConfig;
use crate::home::postgres::tls::Attempt;
use crate::home::postgres::write::Writer;
use crate::home::postgres::{classify, pooled, quote};
use futures_util::FutureExt as _;
use onceflow_core::{Generation, PipelineId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::DbError;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a statement waits for a lock before it gives up and the shards are claimed again.
const LOCK_TIMEOUT: &str = "30s";
/// After so long without a statement in an open transaction the server ends the session: a stopped owner lets go.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "30s";
/// The longest that any one statement may run. Generous: it ends what would otherwise hang for ever.
const STATEMENT_TIMEOUT: &str = "15min";
/// After so long without an answer from the client the server counts the connection as lost.
const SERVER_TCP_USER_TIMEOUT: &str = "30s";
/// How often the server looks whether the client is still there while a statement runs.
const CONNECTION_CHECK_INTERVAL: &str = "10s";
/// The oldest server that has what the ledger needs: `server_version_num`.
const SERVER_VERSION_MIN: i32 = 120_000;
/// The server truncates names to so many bytes.
const APPLICATION_NAME_BYTES_MAX: usize = 63;

/// The number of the next session.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A session on the writable primary.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) pid: i32,
    pub(super) role: String,
    /// Another one for every session of this process.
    pub(super) number: u64,
    /// How a transaction of this session begins.
    begin: String,
    heard: Arc<Heard>,
    /// Set where nothing may be assumed of the session any more; it is dropped before its next use.
    pub(super) broken: bool,
    /// Prepared at the first transaction.
    pub(super) statements: Option<Statements>,
    pub(super) writer: Option<Writer>,
    /// Commits since the session began, for trimming.
    pub(super) commits: u64,
}

/// What the server said without being asked.
#[derive(Default)]
struct Heard {
    /// A commit was made durable here, but its replication was not waited for.
    unreplicated: AtomicBool,
    /// Why the connection ended.
    last: Mutex<Option<String>>,
}

impl Heard {
    /// The routine's name is the same in every language, the message is not.
    fn notice(&self, notice: &DbError) {
        if notice.routine() == Some("SyncRepWaitForLSN") {
            self.unreplicated.store(true, Ordering::SeqCst);
        }
        tracing::debug!(severity = notice.severity(), "PostgreSQL: {}", notice.message());
    }

    fn ended(&self, error: &tokio_postgres::Error) {
        let text = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

impl Session {
    /// Connects, sets the session up and makes sure that it is a home: the writable primary, new enough, in UTF8.
    pub(super) async fn open(config: &PostgresConfig) -> Result<Self> {
        let heard = Arc::new(Heard::default());
        let client = connect(config, &heard).await?;
        set_up(&client, config).await?;
        let doing = format!("look at {}", config.describe());
        let row = client.query_typed_one(LOOK, &[]).await.map_err(|error| classify(error, &doing))?;
        check_server(&row, config)?;
        let version: i32 = row.get("version");
        set_where_supported(&client, version).await;
        Ok(Self {
            client,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            begin: begin(row.get("pid")),
            pid: row.get("pid"),
            role: row.get("role"),
            heard,
            broken: false,
            statements: None,
            writer: None,
            commits: 0,
        })
    }

    /// Whether the session can be used again.
    pub(super) fn is_usable(&self) -> bool {
        !self.broken && !self.client.is_closed()
    }

    /// An error with what the server last said before the connection ended.
    pub(super) fn explain(&self, error: tokio_postgres::Error, doing: &str) -> Error {
        let silent = error.as_db_error().is_none();
        let error = classify(error, doing);
        match &*self.heard.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(last) if silent && !error.message().contains(last) => {
                error.note(format!("the connection ended with: {last}"))
            }
            _ => error,
        }
    }

    /// Forgets earlier warnings about replication, before a COMMIT.
    pub(super) fn expect_replication(&self) {
        self.heard.unreplicated.store(false, Ordering::SeqCst);
    }

    /// Whether the server gave up waiting for a standby since [`Self::expect_replication`].
    pub(super) fn is_unreplicated(&self) -> bool {
        self.heard.unreplicated.load(Ordering::SeqCst)
    }

    /// Says in `pg_stat_activity` who this is.
    pub(super) async fn sign(&self, pipeline: PipelineId, lane: &str, generation: Generation) -> Result<()> {
        let name = application_name(pipeline, lane, generation);
        let sql = "SELECT set_config('application_name', $1, false)";
        let answer = self.client.query(sql, &[&name]).await;
        answer.map(drop).map_err(|error| self.explain(error, "name the session"))
    }

    /// How a transaction begins, in one message: it raises where it is in another server session than this one.
    pub(super) fn begin(&self) -> &str {
        &self.begin
    }

    /// [`Self::begin`] and [`HURRY`] in one message.
    pub(super) fn begin_hurried(&self) -> String {
        format!("{}; {HURRY}", self.begin)
    }

    /// Refuses a pooler that gives this idle session to whoever comes: they would share settings and prepared statements.
    pub(super) async fn check_alone(&self, config: &PostgresConfig) -> Result<()> {
        let other = match connect_plainly(config).await {
            Ok(other) => {
                other.query_typed_one("SELECT pg_backend_pid() AS pid", &[]).await.map(|row| row.get::<_, i32>("pid"))
            }
            // A limit on connections: there is one session less to share.
            Err(error) => {
                tracing::debug!("no second connection to compare with: {error}");
                return Ok(());
            }
        };
        match other {
            Ok(pid) if pid == self.pid => Err(pooled(format!("two connections are one server session ({pid})"))),
            _ => Ok(()),
        }
    }

    /// Opens a transaction that is rolled back unless it is finished. Nothing is sent yet.
    pub(super) fn open_transaction(&mut self) -> Open<'_> {
        Open { session: self, finished: false }
    }
}

/// An open transaction's hold on its session. Dropping it rolls back.
pub(super) struct Open<'a> {
    pub(super) session: &'a mut Session,
    finished: bool,
}

/// What the server's error contains where a transaction began in another server session: a pooler gives each transaction any.
pub(super) const SESSION_SIGN: &str = "onceflow/session";

/// The marker is gone with the transaction that set it, so a statement can prove in the server that it runs inside. The query
/// raises in any other server session than the one with this process id, by a cast of a text that only exists there.
fn begin(pid: i32) -> String {
    format!(
        "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL onceflow.transaction = 'open'; \
         SELECT CASE WHEN pg_backend_pid() = {pid} THEN 1 ELSE ('{SESSION_SIGN}: ' || pg_backend_pid())::integer END"
    )
}

/// For the short transactions of a start. Everybody else who starts waits for what they lock, and a process that is stopped in
/// the middle of one would hold it for as long as an owner may pause. They have no reason to pause at all: 5 s.
const HURRY: &str = "SELECT set_config('idle_in_transaction_session_timeout',
        CASE WHEN setting::bigint BETWEEN 1 AND 5000 THEN setting ELSE '5000' END, true)
    FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'";

impl Open<'_> {
    /// The transaction has ended in the server, one way or the other.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }

    /// Nothing may be assumed of the session any more: it is dropped, and with it whatever was open.
    pub(super) fn abandon(mut self) {
        self.session.broken = true;
        self.finished = true;
    }

    /// Rolls back and waits for the answer.
    pub(super) async fn rollback(self) {
        if self.session.client.batch_execute("ROLLBACK").await.is_err() {
            self.session.broken = true;
        }
        self.finish();
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The first poll hands the message to the connection, in order before whatever comes next; the answer is not needed.
            let sent = self.session.client.batch_execute("ROLLBACK").now_or_never();
            self.session.broken |= matches!(sent, Some(Err(_)));
        }
    }
}

/// `onceflow/<pipeline>/<lane>/<generation>`; the lane is cut where it does not fit.
fn application_name(pipeline: PipelineId, lane: &str, generation: Generation) -> String {
    let (prefix, suffix) = (application_prefix(pipeline), format!("/{generation}"));
    let room = APPLICATION_NAME_BYTES_MAX.saturating_sub(prefix.len() + suffix.len());
    let lane: String = lane.chars().filter(char::is_ascii_graphic).take(room).collect();
    format!("{prefix}{lane}{suffix}")
}

/// What the names of all sessions of a pipeline begin with.
pub(super) fn application_prefix(pipeline: PipelineId) -> String {
    format!("onceflow/{pipeline}/")
}

/// A connection without settings or checks, for ending another session.
pub(super) async fn connect_plainly(config: &PostgresConfig) -> Result<Client> {
    connect(config, &Arc::new(Heard::default())).await
}

async fn connect(config: &PostgresConfig, heard: &Arc<Heard>) -> Result<Client> {
    let attempts = config.tls.attempts(config.is_local());
    let doing = format!("connect to {}", config.describe());
    let mut first = None;
    for attempt in attempts {
        let tried = tokio::time::timeout(config.connect_max(), connect_as(config, *attempt, heard)).await;
        let error = match tried {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(Failed::Own(error))) => return Err(error),
            Ok(Err(Failed::Driver(error))) => error,
            Err(_) => {
                return Err(Error::unavailable(codes::OF0701, format!("cannot {doing}: no answer in time")));
            }
        };
        let other_way = is_about_tls(&error);
        first.get_or_insert(error);
        if !other_way {
            break;
        }
    }
    let error = first.expect("every mode has an attempt");
    if error.to_string().starts_with("error connecting to server") && is_read_only(&error) {
        return Err(Error::unavailable(codes::OF0708, format!("cannot {doing}: no host is a writable primary"))
            .caused_by(error));
    }
    Err(classify(error, &doing))
}

enum Failed {
    Own(Error),
    Driver(tokio_postgres::Error),
}

/// Whether another way of using TLS might work: the handshake failed, or `pg_hba.conf` has no line for this way.
fn is_about_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error performing TLS handshake") || error.code().is_some_and(|c| c.code() == "28000")
}

/// What the driver says where several hosts were asked for a writable one.
fn is_read_only(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<std::io::Error>())
        .is_some_and(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}

async fn connect_as(config: &PostgresConfig, attempt: Attempt, heard: &Arc<Heard>) -> Result<Client, Failed> {
    let mut driver = config.driver();
    match attempt {
        Attempt::Plain => {
            driver.ssl_mode(SslMode::Disable);
            start(&driver, NoTls, heard).await
        }
        Attempt::Offered | Attempt::Encrypted => {
            let offered = attempt == Attempt::Offered;
            driver.ssl_mode(if offered { SslMode::Prefer } else { SslMode::Require });
            let tls = MakeRustlsConnect::new(config.tls.client().map_err(Failed::Own)?);
            start(&driver, tls, heard).await
        }
    }
}

async fn start<T>(driver: &tokio_postgres::Config, tls: T, heard: &Arc<Heard>) -> Result<Client, Failed>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = driver.connect(tls).await.map_err(Failed::Driver)?;
    // Ends by itself once the client is dropped: what was sent is flushed, then the session is ended in good order.
    drop(tokio::spawn(listen(connection, heard.clone())));
    Ok(client)
}

async fn listen<S>(mut connection: Connection<Socket, S>, heard: Arc<Heard>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => heard.notice(&notice),
            Ok(_) => {}
            Err(error) => return heard.ended(&error),
        }
    }
}

/// Settings that hold for the session. One that the URL's `options` set stays as the user wants it.
async fn set_up(client: &Client, config: &PostgresConfig) -> Result<()> {
    let options = config.options.as_deref().unwrap_or_default();
    let own = [
        ("lock_timeout", LOCK_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
        ("statement_timeout", STATEMENT_TIMEOUT),
    ];
    let fixed = [
        ("default_transaction_isolation", "read committed"),
        ("client_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("DateStyle", "ISO"),
        ("IntervalStyle", "postgres"),
        ("standard_conforming_strings", "on"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        ("row_security", "on"),
    ];
    let own = own.into_iter().filter(|(name, _)| !options.contains(name));
    let mut sql: String = own.chain(fixed).map(|(name, value)| format!("SET {name} = '{value}';")).collect();
    if !config.schemas().is_empty() {
        let schemas: Vec<_> = config.schemas().iter().map(|schema| quote(schema)).collect();
        sql.push_str(&format!("SET search_path = {};", schemas.join(", ")));
    }
    client.batch_execute(&sql).await.map_err(|error| classify(error, "set the session up"))
}

/// Settings that not every server or operating system has.
async fn set_where_supported(client: &Client, version: i32) {
    let mut wanted = vec![("tcp_user_timeout", SERVER_TCP_USER_TIMEOUT)];
    if version >= 140_000 {
        wanted.push(("client_connection_check_interval", CONNECTION_CHECK_INTERVAL));
    }
    for (name, value) in wanted {
        if let Err(error) = client.batch_execute(&format!("SET {name} = '{value}'")).await {
            tracing::debug!("PostgreSQL does not support {name}: {error}");
        }
    }
}

const LOOK: &str =
    "SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
    current_setting('server_version_num')::integer AS version, current_setting('server_version') AS version_text,
    current_setting('server_encoding') AS encoding, pg_backend_pid() AS pid, current_user::text AS role";

fn check_server(row: &tokio_postgres::Row, config: &PostgresConfig) -> Result<()> {
    let at = config.describe();
    let (standby, read_only): (bool, bool) = (row.get("standby"), row.get("read_only"));
    if standby || read_only {
        let what = if standby { "is a standby in recovery" } else { "is read-only" };
        return Err(Error::unavailable(codes::OF0708, format!("{at} {what}"))
            .note("a claim is a write on the primary; a replica would give a stale answer")
            .help("name all hosts in the URL, and the primary is found: postgresql://user@host1,host2/database"));
    }
    let (version, text): (i32, String) = (row.get("version"), row.get("version_text"));
    if version < SERVER_VERSION_MIN {
        return Err(Error::config(codes::OF0709, format!("{at} is PostgreSQL {text}; at least 12 is needed")));
    }
    let encoding: String = row.get("encoding");
    if encoding != "UTF8" {
        return Err(Error::config(codes::OF0709, format!("the database at {at} is in {encoding}; UTF8 is needed"))
            .note("a record with a character that the encoding lacks could not be stored")
            .help("CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As behind a pooler that gives each transaction another server session.
    #[test]
    fn a_transaction_in_another_server_session_raises() {
        let Ok(url) = std::env::var("ONCEFLOW_TEST_POSTGRES") else {
            assert!(std::env::var_os("ONCEFLOW_TEST_REQUIRE").is_none(), "ONCEFLOW_TEST_POSTGRES is not set");
            println!("not run: ONCEFLOW_TEST_POSTGRES is not set");
            return;
        };
        let begun = async {
            let config = PostgresConfig::parse(&url, None, None).unwrap();
            let mut session = Session::open(&config).await.unwrap();
            session.client.batch_execute(&session.begin_hurried()).await.unwrap();
            session.client.batch_execute("ROLLBACK").await.unwrap();
            session.begin = begin(session.pid + 1);
            session.client.batch_execute(session.begin()).await
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = classify(runtime.block_on(begun).unwrap_err(), "begin");
        assert_eq!(error.code(), codes::OF0710, "{error}");
    }

    #[test]
    fn application_names_fit_and_end_with_the_generation() {
        let pipeline = PipelineId::new(7);
        for (lane, generation, ends) in [
            ("0", 12, "/0/12"),
            ("a-very-long-name-of-a-lane", 12, "/a-very-long-na/12"),
            ("lane", u64::MAX, "/18446744073709551615"),
            ("lä ne", 1, "/lne/1"),
        ] {
            let name = application_name(pipeline, lane, Generation::new(generation));
            assert!(name.len() <= APPLICATION_NAME_BYTES_MAX || generation == u64::MAX, "{name}");
            assert!(name.starts_with(&application_prefix(pipeline)) && name.ends_with(ends), "{name}");
        }
    }
}
