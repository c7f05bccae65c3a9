//! Arguments of `onceflow audit`.

use crate::cmd::foreign::Foreign;
use clap::Args as ClapArgs;
use std::path::PathBuf;

/// `onceflow audit`.
#[derive(ClapArgs, Debug)]
pub struct Audit {
    /// The pipeline
    #[arg(value_name = "FILE", required_unless_present_any = ["topic", "files"])]
    pub file: Option<PathBuf>,
    /// How deep: 1 the ledger alone, 2 the source read again, 3 every row compared
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3), env = "ONCEFLOW_AUDIT_LEVEL")]
    pub level: u8,
    /// How many findings of each kind are shown (default: 20 for people, all with --format json or csv)
    #[arg(long, value_name = "N", env = "ONCEFLOW_AUDIT_LIMIT")]
    pub limit: Option<usize>,
    /// From this epoch or time on, such as 1200 or 2026-01-31T12:00:00Z; rows of other commits are not judged
    #[arg(long, value_name = "WHEN", env = "ONCEFLOW_AUDIT_SINCE")]
    pub since: Option<String>,
    /// Up to this epoch, or before this time
    #[arg(long, value_name = "WHEN", env = "ONCEFLOW_AUDIT_UNTIL")]
    pub until: Option<String>,
    /// A column of a target table: find records that the producer sent twice
    #[arg(long, value_name = "COLUMN", env = "ONCEFLOW_AUDIT_KEY")]
    pub key: Option<String>,
    /// Print lines as rclone does: = as it should be, - missing, + too much, * changed, ! could not be compared
    #[arg(long, env = "ONCEFLOW_AUDIT_COMBINED")]
    pub combined: bool,
    /// Write a report for people into this file: one HTML page with everything in it, to attach to a ticket
    #[arg(long, value_name = "FILE", env = "ONCEFLOW_AUDIT_HTML")]
    pub html: Option<PathBuf>,
    /// A table that something else writes
    #[command(flatten)]
    pub foreign: Foreign,
}
