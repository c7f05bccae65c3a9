//! Arguments of `onceflow audit`.

use clap::Args as ClapArgs;
use std::path::PathBuf;

/// `onceflow audit`.
#[derive(ClapArgs, Debug)]
pub struct Audit {
    /// The pipeline
    #[arg(value_name = "FILE", required_unless_present = "topic")]
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
    /// Compare a table that something else writes: its topic
    #[arg(long, value_name = "TOPIC", conflicts_with = "file", requires_all = ["brokers", "home", "table", "map"], env = "ONCEFLOW_AUDIT_TOPIC")]
    pub topic: Option<String>,
    /// The topic's brokers
    #[arg(long, value_name = "HOST:PORT", requires = "topic", env = "ONCEFLOW_AUDIT_BROKERS")]
    pub brokers: Option<String>,
    /// The database with the table
    #[arg(long, value_name = "URL", requires = "topic", env = "ONCEFLOW_HOME")]
    pub home: Option<String>,
    /// The table, with its schema where it needs one
    #[arg(long, value_name = "TABLE", requires = "topic", env = "ONCEFLOW_AUDIT_TABLE")]
    pub table: Option<String>,
    /// For each column the field of the record (JSON): 'id=id, amount=amount'; the first column is the key
    #[arg(long, value_name = "COLUMN=FIELD,…", requires = "topic", env = "ONCEFLOW_AUDIT_MAP")]
    pub map: Option<String>,
    /// The table holds the last row of each key, not every row
    #[arg(long, requires = "topic", env = "ONCEFLOW_AUDIT_UPSERT")]
    pub upsert: bool,
    /// Compare partitions up to these offsets only: '0=1200,1=990' (default: all that the log holds)
    #[arg(long, value_name = "N=OFFSET,…", requires = "topic", env = "ONCEFLOW_AUDIT_UNTIL_OFFSETS")]
    pub until_offsets: Option<String>,
    /// Properties of the Kafka client, such as security.protocol=SSL; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "topic", env = "ONCEFLOW_AUDIT_PROPERTY")]
    pub property: Vec<String>,
}
