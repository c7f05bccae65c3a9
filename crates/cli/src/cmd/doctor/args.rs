//! Arguments of `onceflow doctor`.

use clap::Args as ClapArgs;
use std::path::PathBuf;
use std::time::Duration;

/// `onceflow doctor`.
#[derive(ClapArgs, Debug)]
pub struct Doctor {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Count warnings as findings: exit 1 on them too
    #[arg(long, env = "ONCEFLOW_STRICT")]
    pub strict: bool,
    /// Name transactions of others that are open for longer
    #[arg(long, default_value = "60s", value_parser = crate::args::duration, env = "ONCEFLOW_TRANSACTION_MAX")]
    pub transaction_max: Duration,
}
