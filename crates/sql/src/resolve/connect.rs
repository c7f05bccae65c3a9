//! The joint between declarations and the engine's connectors: one function each.

use super::shim::DeclaredHome;
use super::target::{Login, Opened};
use crate::options::Reader;
use onceflow::Error;
use onceflow::home::HomeFactory;
use std::sync::Arc;

type Home = Option<Arc<dyn HomeFactory>>;

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

pub(super) fn sqlite(url: &str) -> Result<Opened, Error> {
    Ok((Arc::new(DeclaredHome::new("SQLite", url.to_owned())), Vec::new()))
}

pub(super) fn print(reader: &mut Reader<'_>, _prefix: Option<String>) -> Home {
    Some(Arc::new(DeclaredHome::new("print", format!("print {}", reader.table.name))))
}

pub(super) fn blackhole(_reader: &mut Reader<'_>) -> Home {
    Some(Arc::new(DeclaredHome::new("blackhole", "blackhole".to_owned())))
}
