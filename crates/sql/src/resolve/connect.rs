//! The joint between declarations and the engine's connectors: one function each.

use super::datagen::Rows;
use super::target::Login;
use super::shim::{DeclaredHome, DeclaredSource};
use crate::options::Reader;
use onceflow::Error;
use onceflow::home::HomeFactory;
use onceflow::source::SourceFactory;
use std::sync::Arc;
use std::time::Duration;

type Source = Option<Arc<dyn SourceFactory>>;
type Home = Option<Arc<dyn HomeFactory>>;

/// Says that this build has no such connector.
#[allow(dead_code)] // Used by builds without some features.
pub(super) fn lacking(reader: &mut Reader<'_>, connector: &str) {
    let error = Error::config(onceflow::codes::OF0270, format!("this build of onceflow has no '{connector}'"));
    let place = reader.table.options.get("connector").map_or(&reader.table.place, |value| &value.place);
    reader.findings.errors.push(error.at(place).help(format!("cargo build --release --features {connector}")));
}

pub(super) fn files(reader: &mut Reader<'_>, path: String, interval: Option<Duration>) -> Source {
    let wiring = format!("path={path}");
    Some(Arc::new(DeclaredSource::new(&reader.table.name, "filesystem", path, wiring, interval)))
}

pub(super) fn datagen(reader: &mut Reader<'_>, rows: Rows) -> Source {
    let wiring = format!("{rows:?}");
    Some(Arc::new(DeclaredSource::new(&reader.table.name, "datagen", "generated rows".to_owned(), wiring, None)))
}

pub(super) fn postgres(url: &str, _login: &Login) -> Result<(Arc<dyn HomeFactory>, Vec<String>), Error> {
    Ok((Arc::new(DeclaredHome::new("PostgreSQL", super::url::masked(url))), Vec::new()))
}

pub(super) fn sqlite(url: &str) -> Result<(Arc<dyn HomeFactory>, Vec<String>), Error> {
    Ok((Arc::new(DeclaredHome::new("SQLite", url.to_owned())), Vec::new()))
}

pub(super) fn print(reader: &mut Reader<'_>, _prefix: Option<String>) -> Home {
    Some(Arc::new(DeclaredHome::new("print", format!("print {}", reader.table.name))))
}

pub(super) fn blackhole(_reader: &mut Reader<'_>) -> Home {
    Some(Arc::new(DeclaredHome::new("blackhole", "blackhole".to_owned())))
}
