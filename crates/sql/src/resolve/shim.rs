//! Stands in for connectors of other branches until they are merged. Refuses to open.

use onceflow::changes::TableSpec;
use onceflow::home::{Guarantee, Home, HomeFactory};
use onceflow::{Error, Result};
use std::sync::Arc;

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
