//! What is measured, and how much of it: the arguments, and the services that the environment names.

use crate::failure::{Failure, Result};
use clap::Parser;
use std::path::PathBuf;

/// Measures Onceflow against the limits of this machine. `scripts/bench` builds, starts the services and calls this.
#[derive(Parser, Debug)]
#[command(name = "onceflow-bench", version, max_term_width = 100)]
#[command(
    after_help = "exit codes: 0 measured · 1 something failed, rows were missing, or a figure is absent · 2 usage"
)]
pub struct Settings {
    /// Records in the topic that most sections read (default: 2000000; with --quick 300000)
    #[arg(long)]
    pub rows: Option<u64>,
    /// Partitions of that topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub partitions: u32,
    /// Bytes of a record
    #[arg(long, default_value_t = 130, value_parser = clap::value_parser!(u32).range(110..=1_000_000))]
    pub payload: u32,
    /// How often everything is measured (default: 3; with --quick 1)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: Option<u32>,
    /// Under two minutes: fewer rows, one run, shorter sections, and only some of them
    #[arg(long)]
    pub quick: bool,
    /// Only these sections, by name; `--list` prints the names
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub only: Vec<String>,
    /// Print the names of the sections and what they measure, and end
    #[arg(long)]
    pub list: bool,
    /// Check the arguments and end
    #[arg(long, hide = true)]
    pub check: bool,
    /// Another seed gives other records
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where everything that was measured is written to
    #[arg(long, value_name = "FILE", default_value = "bench.json")]
    pub json: PathBuf,
    /// The program that is measured
    #[arg(long, value_name = "FILE", default_value = "target/release/onceflow")]
    pub binary: PathBuf,
    /// The program of the bench-only build that can leave guarantees out
    #[arg(long, value_name = "FILE", default_value = "target/release/onceflow-bench-switches")]
    pub switches_binary: PathBuf,
    /// A Python with confluent_kafka and psycopg, for the script that is measured beside append
    #[arg(long, value_name = "FILE")]
    pub peer_python: Option<PathBuf>,
    /// The script itself
    #[arg(long, value_name = "FILE", default_value = "scripts/bench-peer.py")]
    pub peer_script: PathBuf,
    /// The folder for pipelines, files and SQLite's databases
    #[arg(long, value_name = "DIR", default_value = ".scratch")]
    pub scratch: PathBuf,
    /// What is written down as Kafka's version
    #[arg(long, default_value = "unknown")]
    pub kafka_version: String,
    /// What is written down as the commit that was built
    #[arg(long, default_value = "unknown")]
    pub revision: String,
}

impl Settings {
    /// Records of the topic that most sections read.
    pub fn rows(&self) -> u64 {
        self.rows.unwrap_or(if self.quick { 300_000 } else { 2_000_000 })
    }

    /// How often everything is measured.
    pub fn runs(&self) -> u32 {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// One number for a full run, another one for a quick one.
    pub fn either<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// The servers that `scripts/services` started.
#[derive(Debug)]
pub struct Services {
    /// `host:port` of the broker.
    pub kafka: String,
    /// The URL of a database of the server, as a superuser.
    pub postgres: String,
    /// The folder with `psql`.
    pub postgres_bin: PathBuf,
}

impl Services {
    /// Reads the environment.
    pub fn from_environment() -> Result<Self> {
        let read = |name: &str| {
            std::env::var(name).map_err(|_| {
                Failure::new(format!(
                    "{name} is not set: run ./scripts/bench, or start servers with scripts/services and source their env"
                ))
            })
        };
        Ok(Self {
            kafka: read("ONCEFLOW_TEST_KAFKA")?,
            postgres: read("ONCEFLOW_TEST_POSTGRES")?,
            postgres_bin: read("ONCEFLOW_TEST_POSTGRES_BIN")?.into(),
        })
    }
}
