//! Stands in for connectors of other branches until they are merged. Refuses to open.

use onceflow::changes::TableSpec;
use onceflow::home::{Guarantee, Home, HomeFactory};
use onceflow::source::{Source, SourceFactory};
use onceflow::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct DeclaredSource {
    name: Arc<str>,
    connector: &'static str,
    describe: String,
    wiring: String,
    interval: Option<Duration>,
}

impl DeclaredSource {
    pub fn new(
        name: &Arc<str>,
        connector: &'static str,
        describe: String,
        wiring: String,
        interval: Option<Duration>,
    ) -> Self {
        Self { name: Arc::clone(name), connector, describe, wiring, interval }
    }
}

impl SourceFactory for DeclaredSource {
    fn name(&self) -> &str {
        &self.name
    }
    fn connector(&self) -> &'static str {
        self.connector
    }
    fn describe(&self) -> String {
        self.describe.clone()
    }
    fn wiring(&self) -> String {
        self.wiring.clone()
    }
    fn caveat(&self) -> Option<String> {
        None
    }
    fn open(&self) -> Result<Box<dyn Source>> {
        Err(Error::internal("the connector is not merged"))
    }
    fn discovery_interval(&self) -> Option<Duration> {
        self.interval
    }
}

#[derive(Debug)]
pub(super) struct DeclaredHome {
    system: &'static str,
    describe: String,
}

impl DeclaredHome {
    pub fn new(system: &'static str, describe: String) -> Self {
        Self { system, describe }
    }
}

impl HomeFactory for DeclaredHome {
    fn system(&self) -> &'static str {
        self.system
    }
    fn describe(&self) -> String {
        self.describe.clone()
    }
    fn guarantee(&self) -> Guarantee {
        Guarantee::Atomic
    }
    fn open(&self, _tables: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>> {
        Err(Error::internal("the connector is not merged"))
    }
}
