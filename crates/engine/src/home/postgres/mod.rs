//! PostgreSQL as a home.
//!
//! Owns the connection, the ledger in the schema `onceflow`, claim, move and commit. Rows of target tables are `write`'s.
//! Everything that comes back from the server as an error passes through [`classify`].

mod write;

use crate::codes;
use crate::error::{Error, Kind};
use tokio_postgres::error::{DbError, SqlState};

/// Turns the driver's error into the engine's: what an operator, or the engine, would do about it.
///
/// `doing` completes the sentence "cannot …": `connect to postgresql://…`, `claim shards`.
pub(super) fn classify(error: tokio_postgres::Error, doing: &str) -> Error {
    match error.as_db_error() {
        Some(db) => classify_db(db, doing).caused_by(error),
        None => classify_transport(&error, doing).caused_by(error),
    }
}

/// Whether the server said this, rather than the connection failing.
pub(super) fn is_answer(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some()
}

fn classify_db(db: &DbError, doing: &str) -> Error {
    let said = said(db);
    match kind_of(db.code()) {
        Verdict::ReadOnly => Error::unavailable(codes::OF0708, format!("cannot {doing}: {said}"))
            .note("Onceflow writes on the primary only")
            .help("name all hosts in the URL: postgresql://user@host1:5432,host2:5432/database"),
        Verdict::Unavailable => Error::unavailable(codes::OF0702, format!("cannot {doing}: {said}")),
        Verdict::Login => Error::config(codes::OF0703, format!("cannot {doing}: {said}"))
            .help("check user, password, database and sslmode of the URL with psql"),
        Verdict::Privilege => {
            Error::config(codes::OF0704, format!("cannot {doing}: {said}")).help(grant(db.message()))
        }
        Verdict::Changed => Error::config(codes::OF0712, format!("cannot {doing}: {said}")),
        Verdict::Data => Error::new(Kind::Data, codes::OF0711, format!("cannot {doing}: {said}")),
    }
}

/// The server's own words with their SQLSTATE, in one line.
pub(super) fn said(db: &DbError) -> String {
    let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    format!("{}{detail} [SQLSTATE {}]", db.message(), db.code().code())
}

enum Verdict {
    Unavailable,
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
        "0A000" | "26000" => Verdict::Unavailable,
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
    "CREATE SCHEMA onceflow AUTHORIZATION <role>; GRANT SELECT, INSERT, UPDATE, DELETE ON <target> TO <role>;".to_owned()
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
