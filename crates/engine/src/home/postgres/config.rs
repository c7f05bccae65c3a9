//! Where the database is and how to log in: PostgreSQL's and JDBC's URLs, read strictly.
//!
//! Owns the URL and its parameters. Does not own certificates ([`super::tls`]) or the connection ([`super::session`]).

use crate::codes;
use crate::error::{Error, Result};
use crate::home::postgres::tls::{TlsMode, TlsOptions};
use crate::home::scratch::Address;
use crate::secret::Secret;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::config::TargetSessionAttrs;

/// How long one host may take to answer a connection, unless the URL says `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The port of a host that names none.
const PORT: u16 = 5432;
/// After so long without an answer to sent data the connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Keepalives: first after, then every, and so many before the connection counts as lost.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 4;

/// A database and how to reach it.
#[derive(Clone)]
pub struct PostgresConfig {
    hosts: Vec<(HostName, u16)>,
    user: String,
    password: Option<Secret>,
    database: String,
    pub(super) tls: TlsOptions,
    pub(super) options: Option<String>,
    connect_timeout: Duration,
    schemas: Vec<String>,
    warnings: Vec<String>,
    /// For each host the socket through which it is reached; empty where it is reached directly.
    via: Vec<SocketAddr>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum HostName {
    Tcp(String),
    Unix(PathBuf),
}

impl PostgresConfig {
    /// Reads a URL (`postgresql://…`, `postgres://…`, `jdbc:postgresql:…`). `username` and `password` are the table's options;
    /// they go before the URL's. No message ever contains a password.
    pub fn parse(url: &str, username: Option<&str>, password: Option<&Secret>) -> Result<Self> {
        let mut draft = Draft::default();
        draft.url(url)?;
        if let Some(user) = username {
            draft.user = Some(user.to_owned());
        }
        if let Some(secret) = password {
            draft.password = Some(secret.clone());
        }
        draft.finish()
    }

    /// The first schema of `currentSchema`, in which tables without a schema are looked up.
    pub fn current_schema(&self) -> Option<&str> {
        self.schemas.first().map(String::as_str)
    }

    /// All schemas of `currentSchema`, in order.
    pub(super) fn schemas(&self) -> &[String] {
        &self.schemas
    }

    /// Parameters of the URL that have no meaning here, each with the reason.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Which database, without secrets: `postgresql://user@host:5432/database`.
    pub fn describe(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        format!("postgresql://{}@{}/{}", self.user, hosts.join(","), self.database)
    }

    /// The database.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// Another database on the same server, reached through these sockets where there are any.
    pub(super) fn elsewhere(&self, database: &str, via: &[SocketAddr]) -> Self {
        Self { database: database.to_owned(), via: via.to_vec(), ..self.clone() }
    }

    /// Where the hosts listen.
    pub(super) fn addresses(&self) -> Vec<Address> {
        let address = |(host, port): &(HostName, u16)| match host {
            HostName::Tcp(name) => Address::Tcp(name.clone(), *port),
            HostName::Unix(path) => Address::Unix(path.join(format!(".s.PGSQL.{port}"))),
        };
        self.hosts.iter().map(address).collect()
    }

    /// The role that logs in.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The most that connecting may take, over all hosts.
    pub(super) fn connect_max(&self) -> Duration {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.connect_timeout.saturating_mul(hosts.saturating_mul(2)) + CONNECT_TIMEOUT
    }

    /// Whether every host is a Unix socket, where TLS has no meaning.
    pub(super) fn is_local(&self) -> bool {
        self.hosts.iter().all(|(host, _)| matches!(host, HostName::Unix(_)))
    }

    /// The driver's own form, without TLS.
    pub(super) fn driver(&self) -> tokio_postgres::Config {
        let mut driver = tokio_postgres::Config::new();
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            match (host, self.via.get(index)) {
                // The name stays, for the server's certificate.
                (HostName::Tcp(name), Some(via)) => driver.host(name).hostaddr(via.ip()).port(via.port()),
                (HostName::Unix(_), Some(via)) => driver.host("localhost").hostaddr(via.ip()).port(via.port()),
                (HostName::Tcp(name), None) => driver.host(name).port(*port),
                (HostName::Unix(path), None) => driver.host_path(path).port(*port),
            };
        }
        driver.user(&self.user).dbname(&self.database).connect_timeout(self.connect_timeout);
        if let Some(password) = &self.password {
            driver.password(password.reveal());
        }
        if let Some(options) = &self.options {
            driver.options(options);
        }
        if self.hosts.len() > 1 {
            driver.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        driver.keepalives(true).keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL);
        driver.keepalives_retries(KEEPALIVE_RETRIES).tcp_user_timeout(TCP_USER_TIMEOUT);
        driver
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name) if name.contains(':') => write!(f, "[{name}]"),
            Self::Tcp(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What has been read of a URL so far.
#[derive(Default)]
struct Draft {
    hosts: Vec<(HostName, Option<u16>)>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<Secret>,
    database: Option<String>,
    tls: TlsOptions,
    options: Option<String>,
    connect_timeout: Option<Duration>,
    schemas: Vec<String>,
    warnings: Vec<String>,
}

impl Draft {
    fn url(&mut self, url: &str) -> Result<()> {
        let rest = without_scheme(url)?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        match address.strip_prefix("//") {
            Some(address) => self.address(address)?,
            None => self.database = some(decode(address.trim_start_matches('/'), "database")?),
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, "parameter")?;
            let value = decode(value, &name)?;
            self.parameter(&name, value)?;
        }
        Ok(())
    }

    /// `user:password@host:port,host:port/database`
    fn address(&mut self, address: &str) -> Result<()> {
        let (authority, database) = address.split_once('/').unwrap_or((address, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').map_or((login, None), |(user, secret)| (user, Some(secret)));
            self.user = some(decode(user, "user")?);
            self.password = password.map(|secret| decode(secret, "password").map(Secret::new)).transpose()?;
        }
        for host in hosts.split(',').filter(|host| !host.is_empty()) {
            self.hosts.push(host_and_port(host)?);
        }
        if database.contains('@') {
            // Half of a password would be taken for the database, and shown.
            return Err(Error::config(codes::OF0706, "the PostgreSQL URL has an '@' behind its first '/'")
                .help("write '/' and '@' in a password as '%2F' and '%40'"));
        }
        self.database = some(decode(database, "database")?);
        Ok(())
    }

    fn parameter(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "user" => self.user = Some(value),
            "password" => self.password = Some(Secret::new(value)),
            "dbname" => self.database = Some(value),
            "host" => self.hosts = value.split(',').map(|host| (host_name(host), None)).collect(),
            "port" => self.port = Some(port(&value)?),
            "options" => self.options = some(value),
            "connect_timeout" | "connectTimeout" | "loginTimeout" => self.connect_timeout = seconds(name, &value)?,
            "currentSchema" => {
                self.schemas = value.split(',').map(|schema| schema.trim().trim_matches('"').to_owned()).collect();
            }
            "sslmode" => self.tls.mode = Some(tls_mode(&value)?),
            "ssl" => self.tls.mode = self.tls.mode.or(jdbc_ssl(&value)),
            "sslrootcert" => self.tls.root = some(value),
            "sslcert" => self.tls.certificate = some(value).map(PathBuf::from),
            "sslkey" => self.tls.key = some(value).map(PathBuf::from),
            "target_session_attrs" | "targetServerType" => return self.target(name, &value),
            _ => return self.without_meaning(name),
        }
        Ok(())
    }

    fn target(&mut self, name: &str, value: &str) -> Result<()> {
        match value {
            "read-write" | "primary" | "master" => Ok(()),
            "any" => {
                self.warnings.push(format!("'{name}=any' is read as read-write: Onceflow writes on the primary only"));
                Ok(())
            }
            other => Err(Error::config(codes::OF0706, format!("'{name}={other}' is not possible for a home"))
                .note("claims and commits are writes, so they need the primary")
                .help(format!("leave '{name}' out, or write '{name}=read-write'"))),
        }
    }

    fn without_meaning(&mut self, name: &str) -> Result<()> {
        match IGNORED.iter().find(|(known, _)| *known == name) {
            Some((_, why)) => {
                self.warnings.push(format!("'{name}' in the PostgreSQL URL has no meaning here: {why}"));
                Ok(())
            }
            None => Err(unknown(name)),
        }
    }

    fn finish(self) -> Result<PostgresConfig> {
        let user = self.user.or_else(own_user).ok_or_else(|| {
            Error::config(codes::OF0706, "the PostgreSQL URL names no user")
                .help("write postgresql://user@host/database, or set the option 'username'")
        })?;
        let database = self.database.unwrap_or_else(|| user.clone());
        let default = self.port.unwrap_or(PORT);
        let mut hosts: Vec<_> = self.hosts.into_iter().map(|(host, port)| (host, port.unwrap_or(default))).collect();
        if hosts.is_empty() {
            hosts.push((HostName::Tcp("localhost".to_owned()), default));
        }
        refuse_nul(&[("user", &user), ("database", &database)])?;
        self.tls.check()?;
        Ok(PostgresConfig {
            hosts,
            user,
            password: self.password,
            database,
            tls: self.tls,
            options: self.options,
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            schemas: self.schemas,
            warnings: self.warnings,
            via: Vec::new(),
        })
    }
}

fn without_scheme(url: &str) -> Result<&str> {
    let rest = url.strip_prefix("jdbc:").unwrap_or(url);
    let scheme = ["postgresql:", "postgres:"].iter().find_map(|scheme| rest.strip_prefix(scheme));
    scheme.ok_or_else(|| {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        Error::config(codes::OF0706, format!("'{scheme}://…' is no PostgreSQL URL"))
            .help("write postgresql://user:password@host:5432/database or jdbc:postgresql://host:5432/database")
    })
}

fn host_and_port(text: &str) -> Result<(HostName, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or_else(|| {
            Error::config(codes::OF0706, "an address in the PostgreSQL URL has no closing bracket")
                .help("write [::1]:5432")
        })?;
        return Ok((HostName::Tcp(address.to_owned()), after.strip_prefix(':').map(port).transpose()?));
    }
    let (host, number) = text.rsplit_once(':').map_or((text, None), |(host, number)| (host, Some(number)));
    Ok((host_name(&decode(host, "host")?), number.filter(|number| !number.is_empty()).map(port).transpose()?))
}

fn host_name(host: &str) -> HostName {
    if host.starts_with('/') { HostName::Unix(PathBuf::from(host)) } else { HostName::Tcp(host.to_owned()) }
}

fn port(text: &str) -> Result<u16> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        Error::config(codes::OF0706, "the port in the PostgreSQL URL is no number from 1 to 65535")
            .note("a password with '/', ':' or '@' has to be percent-encoded in a URL")
            .help("write host:5432, or leave the port out")
    })
}

fn seconds(name: &str, value: &str) -> Result<Option<Duration>> {
    let seconds: u64 = value
        .parse()
        .map_err(|_| Error::config(codes::OF0706, format!("'{name}={value}' is no whole number of seconds")))?;
    // Zero means "wait for ever" to libpq; Onceflow never does, so it keeps its own limit.
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

fn tls_mode(value: &str) -> Result<TlsMode> {
    TlsMode::parse(value).ok_or_else(|| {
        let error = Error::config(codes::OF0706, format!("'sslmode={value}' is not known"));
        let error = match closest(value, TlsMode::NAMES) {
            Some(name) => error.help(format!("did you mean 'sslmode={name}'?")),
            None => error,
        };
        error.note(format!("one of {}", TlsMode::NAMES.join(", ")))
    })
}

/// JDBC's `ssl=true` verifies fully, as its driver does.
fn jdbc_ssl(value: &str) -> Option<TlsMode> {
    matches!(value, "" | "true").then_some(TlsMode::VerifyFull)
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Percent-decodes one part of a URL. The part's text is never shown, since it may be a password.
fn decode(text: &str, part: &str) -> Result<String> {
    let broken = || {
        Error::config(codes::OF0706, format!("the {part} in the PostgreSQL URL is not properly percent-encoded"))
            .help("write '%25' for a per cent sign")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(broken)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| broken())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

fn refuse_nul(parts: &[(&str, &str)]) -> Result<()> {
    match parts.iter().find(|(_, text)| text.contains('\0')) {
        Some((name, _)) => {
            Err(Error::config(codes::OF0706, format!("the {name} in the PostgreSQL URL contains a NUL byte")))
        }
        None => Ok(()),
    }
}

fn unknown(name: &str) -> Error {
    let all: Vec<&str> = KNOWN.iter().copied().chain(IGNORED.iter().map(|(name, _)| *name)).collect();
    let error = Error::config(codes::OF0707, format!("'{name}' is not a parameter of a PostgreSQL URL"));
    let error = match closest(name, &all) {
        Some(name) => error.help(format!("did you mean '{name}'?")),
        None => error,
    };
    error.note(format!("known are {}", KNOWN.join(", ")))
}

fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let scored = known.iter().map(|known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), *known));
    scored.filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3).min().map(|(_, known)| known)
}

const KNOWN: &[&str] = &[
    "user",
    "password",
    "dbname",
    "host",
    "port",
    "sslmode",
    "ssl",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "options",
    "connect_timeout",
    "connectTimeout",
    "loginTimeout",
    "currentSchema",
    "target_session_attrs",
    "targetServerType",
];

const NAMED: &str = "the session is named after pipeline, lane and generation";
const COPIED: &str = "rows are written by COPY and arrays";
const TIMED: &str = "Onceflow sets its own timeouts";

/// Parameters that other clients know, with the reason why they do nothing here.
const IGNORED: &[(&str, &str)] = &[
    ("application_name", NAMED),
    ("ApplicationName", NAMED),
    ("fallback_application_name", NAMED),
    ("reWriteBatchedInserts", COPIED),
    ("binaryTransfer", COPIED),
    ("prepareThreshold", "statements are prepared once a session"),
    ("preparedStatementCacheQueries", "statements are prepared once a session"),
    ("defaultRowFetchSize", "nothing is read in portions"),
    ("stringtype", "values are sent in the columns' own types"),
    ("socketTimeout", TIMED),
    ("tcpKeepAlive", TIMED),
    ("keepalives", TIMED),
    ("keepalives_idle", TIMED),
    ("keepalives_interval", TIMED),
    ("keepalives_count", TIMED),
    ("tcp_user_timeout", TIMED),
    ("client_encoding", "the session is in UTF8"),
    ("loadBalanceHosts", "there is one primary"),
    ("load_balance_hosts", "there is one primary"),
    ("gssencmode", "GSSAPI is not built in"),
    ("channel_binding", "it is used wherever the server offers it"),
    ("autosave", "savepoints are set where they are needed"),
];

/// The user of this process, as libpq and JDBC take it where the URL names none: by the environment, else by the system's list.
fn own_user() -> Option<String> {
    let named = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    named("PGUSER").or_else(|| named("USER")).or_else(|| named("LOGNAME")).or_else(listed_user)
}

fn listed_user() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    users.find(|user| user.get(2) == Some(&uid.as_str())).map(|user| user[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> String {
        match PostgresConfig::parse(url, None, None) {
            Ok(config) => {
                let password = config.password.as_ref().map_or("", |secret| secret.reveal());
                let tls = config.tls.mode.map_or("default", TlsMode::name);
                format!("{} [{password}] {tls} {}", config.describe(), config.schemas.join("+"))
            }
            Err(error) => format!("{} {}", error.code(), error.helps().join(" ")),
        }
    }

    #[test]
    fn urls_are_read_as_libpq_and_jdbc_write_them() {
        for (url, read) in [
            ("postgresql://app:s3cret@db/ledger", "postgresql://app@db:5432/ledger [s3cret] default "),
            ("postgres://app@a:1,b:2/x?sslmode=verify-full", "postgresql://app@a:1,b:2/x [] verify-full "),
            ("postgresql://app:a%40b%2F%25@[::1]:5433/x", "postgresql://app@[::1]:5433/x [a@b/%] default "),
            ("postgresql://app:a@b@db/x", "postgresql://app@db:5432/x [a@b] default "),
            ("postgresql:///x?host=/run/pg&user=app&port=99", "postgresql://app@/run/pg:99/x [] default "),
            ("postgresql://app@%2Frun%2Fpg/x", "postgresql://app@/run/pg:5432/x [] default "),
            (
                "jdbc:postgresql://db:5433/x?user=app&password=p%26q&currentSchema=sales,public&sslmode=require",
                "postgresql://app@db:5433/x [p&q] require sales+public",
            ),
            ("jdbc:postgresql://db/x?user=app&ssl=true", "postgresql://app@db:5432/x [] verify-full "),
            ("jdbc:postgresql:x?user=app", "postgresql://app@localhost:5432/x [] default "),
            ("postgresql://app@db", "postgresql://app@db:5432/app [] default "),
        ] {
            assert_eq!(check(url), read, "{url}");
        }
    }

    #[test]
    fn what_is_misspelt_is_refused_with_what_was_meant() {
        for (url, refused) in [
            ("postgresql://a@b/c?sslmod=require", "OF0707 did you mean 'sslmode'?"),
            ("postgresql://a@b/c?sslmode=verify_full", "OF0706 did you mean 'sslmode=verify-full'?"),
            ("postgresql://a@b/c?quux=1", "OF0707 "),
            (
                "postgresql://a@b/c?target_session_attrs=standby",
                "OF0706 leave 'target_session_attrs' out, or write 'target_session_attrs=read-write'",
            ),
            ("postgresql://a:%zz@b/c", "OF0706 write '%25' for a per cent sign"),
            ("postgresql://a@b:99999/c", "OF0706 write host:5432, or leave the port out"),
        ] {
            assert_eq!(check(url), refused, "{url}");
        }
        assert!(check("mysql://a@b/c").starts_with("OF0706"));
    }

    #[test]
    fn no_text_shows_a_password() {
        let secret = Secret::new("hunter2");
        let config = PostgresConfig::parse("postgresql://a:hunter2@b/c?password=hunter2", Some("u"), Some(&secret));
        let config = config.expect("it is a good URL");
        assert_eq!(config.describe(), "postgresql://u@b:5432/c");
        assert!(!format!("{config:?}").contains("hunter2"));
        for url in [
            "postgresql://a:hunter2%@b/c",
            "postgresql://a:hunter2/b",
            "pg://a:hunter2@b/c",
            "a:hunter2@b",
            "postgresql://a:1/hunter2@b/c",
            "postgresql://[a:hunter2@b/c",
        ] {
            let text = match PostgresConfig::parse(url, None, None) {
                Ok(config) => format!("{config:?}"),
                Err(error) => format!("{error:?}"),
            };
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn jdbc_parameters_without_meaning_are_accepted_with_a_reason() {
        let url = "jdbc:postgresql://b/c?user=a&reWriteBatchedInserts=true&ApplicationName=x";
        let config = PostgresConfig::parse(url, None, None).expect("both are known");
        assert_eq!(config.warnings().len(), 2, "{:?}", config.warnings());
    }
}
