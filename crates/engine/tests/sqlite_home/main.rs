//! SQLite as a home, through [`onceflow_engine::home::Home`] alone: nothing has to be installed.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod claims;
mod files;
mod fit;
mod lab;
mod ledger;
mod modes;
mod presence;
mod processes;
mod refusals;
mod values;
