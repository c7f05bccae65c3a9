//! PostgreSQL as a home.
//!
//! Owns the connection, the ledger in the schema `onceflow`, claim, move and commit. Rows of target tables are `write`'s.
//! Everything that comes back from the server as an error passes through `classify`.

use crate::changes::{TableSpec, quoted as quote};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::witness::Witness;
use crate::home::{
    Answer, Claim, ClaimRequest, CommitError, Guarantee, Home, HomeFactory, Registered, Registration, Right,
    Transaction,
};
use onceflow_core::{PipelineId, PositionRow};
use std::sync::Arc;
use tokio_postgres::error::{DbError, SqlState};

mod claim;
mod closing;
mod commit;
mod config;
mod desk;
mod inside;
mod register;
mod rows;
mod schema;
mod scratch;
mod session;
mod tls;
mod witness;
mod write;

pub use config::PostgresConfig;

/// Makes homes in one PostgreSQL database.
#[derive(Debug)]
pub struct PostgresFactory {
    config: Arc<PostgresConfig>,
}

impl PostgresFactory {
    /// A factory for the database of a URL.
    pub fn new(config: PostgresConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl HomeFactory for PostgresFactory {
    fn system(&self) -> &'static str {
        "PostgreSQL"
    }

    fn describe(&self) -> String {
        self.config.describe()
    }

    fn default_schema(&self) -> Option<String> {
        match self.config.schemas() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    fn scratch(&self) -> Option<Box<dyn crate::home::scratch::Scratch>> {
        Some(Box::new(scratch::PostgresScratch::new(self.config.clone())))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Atomic
    }

    fn open(&self, tables: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>> {
        let (config, claims) = (self.config.clone(), claim::Claims::default());
        Ok(Box::new(PostgresHome { config, tables, session: None, claims, lane: String::new() }))
    }

    fn witness(&self) -> Answer<'_, Result<Box<dyn Witness>>> {
        Box::pin(async move {
            let witness: Box<dyn Witness> = Box::new(witness::PgWitness::open(self.config.clone()).await?);
            Ok(witness)
        })
    }
}

/// A session with the database, connected at first use and again after it was lost.
struct PostgresHome {
    config: Arc<PostgresConfig>,
    tables: Arc<Vec<TableSpec>>,
    session: Option<session::Session>,
    claims: claim::Claims,
    /// The lane of the last claim.
    lane: String,
}

impl PostgresHome {
    /// The session; a new one where there is none that can be used.
    async fn session(&mut self) -> Result<&mut session::Session> {
        if !self.session.as_ref().is_some_and(session::Session::is_usable) {
            // The old one is gone before the new one comes, and with it whatever it had open.
            self.session = None;
            self.session = Some(session::Session::open(&self.config).await?);
        }
        Ok(self.session.as_mut().expect("it was just made sure"))
    }

    /// The session, with its statements prepared.
    async fn prepared(&mut self) -> Result<&mut session::Session> {
        let tables = self.tables.clone();
        let session = self.session().await?;
        if session.statements.is_none() {
            let statements = commit::Statements::prepare(&session.client).await;
            session.statements =
                Some(statements.map_err(|error| session.explain(error, "prepare the ledger's statements"))?);
        }
        if session.writer.is_none() {
            session.writer = Some(write::Writer::prepare(&session.client, tables).await?);
        }
        Ok(session)
    }

    async fn claim_shards(&mut self, request: &ClaimRequest) -> Result<Claim> {
        self.lane.clone_from(&request.lane);
        // The first statement shows a connection that died unnoticed; nothing has been asked yet, so a new one is as good.
        if let Err(error) = claim::sign(self.session().await?, request).await {
            if self.session.as_ref().is_some_and(session::Session::is_usable) {
                return Err(error);
            }
            claim::sign(self.session().await?, request).await?;
        }
        let session = self.session.as_mut().expect("it was just made sure");
        claim::claim(session, &self.config, &mut self.claims, request).await
    }

    async fn begin_transaction(&mut self, right: Right) -> Result<Box<dyn Transaction + '_>, CommitError> {
        self.prepared().await.map_err(CommitError::Rejected)?;
        let session = self.session.as_mut().expect("it was just made sure");
        Ok(Box::new(commit::begin(session, &self.lane, right).await?))
    }
}

impl Home for PostgresHome {
    fn register<'a>(&'a mut self, registration: &'a Registration) -> Answer<'a, Result<Registered>> {
        Box::pin(async move {
            let config = self.config.clone();
            let session = self.session().await?;
            session.check_alone(&config).await?;
            register::register(session, registration).await
        })
    }

    fn positions(&mut self, pipeline: PipelineId) -> Answer<'_, Result<Vec<PositionRow>>> {
        Box::pin(async move { claim::positions(self.session().await?, pipeline).await })
    }

    fn found<'a>(&'a mut self, pipeline: PipelineId, rows: &'a [PositionRow]) -> Answer<'a, Result<()>> {
        Box::pin(async move { claim::found(self.session().await?, pipeline, rows).await })
    }

    fn claim<'a>(&'a mut self, request: &'a ClaimRequest) -> Answer<'a, Result<Claim>> {
        Box::pin(self.claim_shards(request))
    }

    fn begin(&mut self, right: Right) -> Answer<'_, Result<Box<dyn Transaction + '_>, CommitError>> {
        Box::pin(self.begin_transaction(right))
    }

    fn still_owned(&mut self) -> Answer<'_, Result<bool>> {
        Box::pin(async move {
            self.session().await?;
            let session = self.session.as_ref().expect("it was just made sure");
            claim::still_owned(session, &self.claims).await
        })
    }

    fn absent(&mut self, pipeline: PipelineId) -> Answer<'_, Result<bool>> {
        Box::pin(async move { claim::absent(self.session().await?, pipeline).await })
    }

    fn desk(&mut self) -> Answer<'_, Result<Box<dyn crate::home::desk::Desk + '_>>> {
        Box::pin(async move {
            let desk: Box<dyn crate::home::desk::Desk + '_> = Box::new(self::desk::PgDesk::new(self.session().await?));
            Ok(desk)
        })
    }
}

/// Turns the driver's error into the engine's: what an operator, or the engine, would do about it.
///
/// `doing` completes the sentence "cannot …": `connect to postgresql://…`, `claim shards`.
pub(super) fn classify(error: tokio_postgres::Error, doing: &str) -> Error {
    match error.as_db_error() {
        Some(db) => classify_db(db, doing).caused_by(error),
        None => classify_transport(&error, doing).caused_by(error),
    }
}

/// What an error of the driver means to the engine, for statements of the user's own code. `doing` completes the sentence "cannot …".
pub fn explain(error: tokio_postgres::Error, doing: &str) -> Error {
    classify(error, doing)
}

/// Whether the server said this, rather than the connection failing.
pub(super) fn is_answer(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some()
}

fn classify_db(db: &DbError, doing: &str) -> Error {
    let said = said(db);
    if db.message().contains(session::SESSION_SIGN) {
        return pooled(format!("cannot {doing}: the transaction is in another server session than the connection"));
    }
    if db.message().contains("statement pooling mode") {
        return pooled(format!("cannot {doing}: {said}"));
    }
    match kind_of(db.code()) {
        Verdict::ReadOnly => Error::unavailable(codes::OF0708, format!("cannot {doing}: {said}"))
            .note("Onceflow writes on the primary only")
            .help("name all hosts in the URL: postgresql://user@host1:5432,host2:5432/database"),
        Verdict::Unavailable => Error::unavailable(codes::OF0702, format!("cannot {doing}: {said}")),
        Verdict::Pooled => pooled(format!("cannot {doing}: {said}")),
        Verdict::Login => Error::config(codes::OF0703, format!("cannot {doing}: {said}"))
            .help("check user, password, database and sslmode of the URL with psql"),
        Verdict::Privilege => Error::config(codes::OF0704, format!("cannot {doing}: {said}")).help(grant(db.message())),
        Verdict::Changed => Error::config(codes::OF0712, format!("cannot {doing}: {said}")),
        Verdict::Data => Error::new(Kind::Data, codes::OF0711, format!("cannot {doing}: {said}")),
    }
}

/// The server's own words with their SQLSTATE, in one line.
pub(super) fn said(db: &DbError) -> String {
    let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    format!("{}{detail} [SQLSTATE {}]", db.message(), db.code().code())
}

/// The session is not one server session from its beginning to its end.
pub(super) fn pooled(message: impl Into<String>) -> Error {
    Error::config(codes::OF0710, message)
        .note("a pooler in transaction or statement mode stands between")
        .help("connect to the server itself, or to a pool with pool_mode = session")
}

enum Verdict {
    Unavailable,
    Pooled,
    ReadOnly,
    Login,
    Privilege,
    Changed,
    Data,
}

/// Whole classes first, then single codes; whatever is not listed is about the data.
fn kind_of(state: &SqlState) -> Verdict {
    let code = state.code();
    match code {
        "25006" => Verdict::ReadOnly,
        "42501" => Verdict::Privilege,
        "3D000" => Verdict::Login,
        // A plan that was prepared before a table changed; a new session prepares it anew.
        "0A000" => Verdict::Unavailable,
        // The driver's statements are its session's own: one that is gone, or there already, is in another session.
        "26000" | "42P05" => Verdict::Pooled,
        "40001" | "40P01" | "55P03" | "55006" | "57014" | "25P03" | "25P04" | "58000" | "58030" => Verdict::Unavailable,
        "42P01" | "42703" | "42883" | "42804" | "42846" | "3F000" | "42704" => Verdict::Changed,
        _ => match code.get(..2) {
            Some("08" | "53" | "57") => Verdict::Unavailable,
            Some("28") => Verdict::Login,
            _ => Verdict::Data,
        },
    }
}

/// The GRANT that the server's message asks for. The message names the object; in a language other than English the
/// general form is shown.
fn grant(message: &str) -> String {
    let Some(rest) = message.strip_prefix("permission denied for ") else { return general_grant() };
    let Some((kind, name)) = rest.rsplit_once(' ') else { return general_grant() };
    match kind {
        "schema" => format!("GRANT USAGE ON SCHEMA {name} TO <role>;"),
        "sequence" => format!("GRANT USAGE ON SEQUENCE {name} TO <role>;"),
        "table" | "relation" | "view" => {
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO <role>;")
        }
        "database" => "CREATE SCHEMA onceflow AUTHORIZATION <role>;".to_owned(),
        "function" => format!("GRANT EXECUTE ON FUNCTION {name} TO <role>;"),
        "type" | "domain" => format!("GRANT USAGE ON TYPE {name} TO <role>;"),
        _ => general_grant(),
    }
}

fn general_grant() -> String {
    "CREATE SCHEMA onceflow AUTHORIZATION <role>; GRANT SELECT, INSERT, UPDATE, DELETE ON <target> TO <role>;"
        .to_owned()
}

/// The driver has no public kinds; its texts are part of what is tested below.
fn classify_transport(error: &tokio_postgres::Error, doing: &str) -> Error {
    let text = error.to_string();
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let message = format!("cannot {doing}: {text}{cause}");
    if text.starts_with("error performing TLS handshake") && !is_io(error) {
        return Error::config(codes::OF0705, message).help("see sslmode and sslrootcert in docs/sql.md");
    }
    if text.starts_with("authentication error") || text.starts_with("invalid configuration") {
        return Error::config(codes::OF0703, message).help("check user and password of the URL with psql");
    }
    if text.starts_with("error serializing parameter") || text.starts_with("error deserializing column") {
        return Error::new(Kind::Data, codes::OF0711, message);
    }
    Error::unavailable(codes::OF0701, message)
}

/// Whether a transport error is one of the network, and not of a certificate (which comes wrapped as an I/O error too).
fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        if let Some(io) = found.downcast_ref::<std::io::Error>() {
            return !io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        }
        cause = found.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_privilege_is_answered_with_its_grant() {
        for (said, grants) in [
            ("permission denied for table accounts", "GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO <role>;"),
            ("permission denied for schema sales", "GRANT USAGE ON SCHEMA sales TO <role>;"),
            ("permission denied for database app", "CREATE SCHEMA onceflow AUTHORIZATION <role>;"),
            ("keine Berechtigung für Tabelle accounts", general_grant().as_str()),
        ] {
            assert_eq!(grant(said), grants);
        }
    }

    #[test]
    fn each_state_is_what_an_operator_would_do_about_it() {
        let verdict = |code: &str| match kind_of(&SqlState::from_code(code)) {
            Verdict::Unavailable => "again",
            Verdict::Pooled => "pooler",
            Verdict::ReadOnly => "read-only",
            Verdict::Login => "login",
            Verdict::Privilege => "privilege",
            Verdict::Changed => "changed",
            Verdict::Data => "data",
        };
        for (codes, expected) in [
            (&["08006", "57P01", "57P03", "53100", "53300", "40001", "40P01", "55P03", "57014", "25P03"][..], "again"),
            (&["26000", "42P05"], "pooler"),
            (&["25006"], "read-only"),
            (&["28P01", "28000", "3D000"], "login"),
            (&["42501"], "privilege"),
            (&["42P01", "42703"], "changed"),
            (&["23505", "22003", "22P02", "P0001", "XX000"], "data"),
        ] {
            for code in codes {
                assert_eq!(verdict(code), expected, "{code}");
            }
        }
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
