//! Stands in for the planner of another branch until it is merged.

use crate::model::{PlannedBranch, Script};
use onceflow::logic::{Logic, LogicFactory};
use onceflow::{Error, Result};
use std::sync::Arc;

struct Unplanned;

impl LogicFactory for Unplanned {
    fn build(&self) -> Result<Box<dyn Logic>> {
        Err(Error::internal("the planner is not merged"))
    }
}

/// Plans the INSERTs of one home.
pub fn plan_branch(script: &Script, inserts: &[usize], _targets: &[Arc<str>]) -> Result<PlannedBranch> {
    let sources = script.tables.iter().filter(|table| table.source.is_some()).map(|table| table.name.clone()).collect();
    Ok(PlannedBranch {
        sources,
        logic: Arc::new(Unplanned),
        operators: vec![Vec::new(); inserts.len()],
        warnings: Vec::new(),
    })
}
