//! The joint between declarations and the engine's homes.

use super::target::{Login, Opened};
use onceflow::Error;
use onceflow::home::ephemeral::{BlackholeFactory, PrintFactory};
use std::sync::Arc;

/// Says that this build has no such connector.
#[allow(dead_code)] // Used by builds without some features.
pub(super) fn lacking(connector: &str) -> Error {
    Error::config(onceflow::codes::OF0270, format!("this build of onceflow has no '{connector}'"))
        .help(format!("cargo build --release --features {connector}"))
}

#[cfg(feature = "postgres")]
pub(super) fn postgres(url: &str, login: &Login) -> Result<Opened, Error> {
    use onceflow::home::postgres::{PostgresConfig, PostgresFactory};
    let config = PostgresConfig::parse(url, login.username.as_deref(), login.password.as_ref())?;
    let warnings = config.warnings().to_vec();
    Ok((Arc::new(PostgresFactory::new(config)), warnings))
}

#[cfg(not(feature = "postgres"))]
pub(super) fn postgres(_url: &str, _login: &Login) -> Result<Opened, Error> {
    Err(lacking("postgres"))
}

#[cfg(feature = "sqlite")]
pub(super) fn sqlite(url: &str) -> Result<Opened, Error> {
    Ok((Arc::new(onceflow::home::sqlite::SqliteFactory::new(url)?), Vec::new()))
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn sqlite(_url: &str) -> Result<Opened, Error> {
    Err(lacking("sqlite"))
}

pub(super) fn print() -> Opened {
    (Arc::new(PrintFactory::default()), Vec::new())
}

pub(super) fn blackhole() -> Opened {
    (Arc::new(BlackholeFactory::default()), Vec::new())
}
