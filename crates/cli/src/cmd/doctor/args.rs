//! Arguments of `onceflow doctor`.

use crate::cmd::foreign::Foreign;
use clap::Args as ClapArgs;
use std::path::PathBuf;
use std::time::Duration;

/// `onceflow doctor`.
#[derive(ClapArgs, Debug)]
pub struct Doctor {
    /// The pipeline
    #[arg(value_name = "FILE", required_unless_present = "foreign")]
    pub file: Option<PathBuf>,
    /// Examine a pipeline that Onceflow does not run: its table against its topic or files
    #[arg(long = "foreign", requires = "table", conflicts_with = "file", env = "ONCEFLOW_FOREIGN")]
    pub foreign: bool,
    /// Its consumer group, with --foreign
    #[arg(long, value_name = "GROUP", requires_all = ["foreign", "topic"], env = "ONCEFLOW_GROUP")]
    pub group: Option<String>,
    /// What is compared, with --foreign
    #[command(flatten)]
    pub stranger: Foreign,
    /// Count warnings as findings: exit 1 on them too
    #[arg(long, env = "ONCEFLOW_STRICT")]
    pub strict: bool,
    /// Name transactions of others that are open for longer
    #[arg(long, default_value = "60s", value_parser = crate::args::duration, env = "ONCEFLOW_TRANSACTION_MAX")]
    pub transaction_max: Duration,
}
