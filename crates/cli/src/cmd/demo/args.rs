//! Arguments of `onceflow demo`.

use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;

/// `onceflow demo`.
#[derive(ClapArgs, Debug)]
pub struct Demo {
    /// Transfers in the log
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(4_000..=9_000_000), env = "ONCEFLOW_DEMO_ROWS")]
    pub rows: u64,
    /// SIGKILLs, the same for all three programs
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=200), env = "ONCEFLOW_DEMO_KILLS")]
    pub kills: u32,
    /// What the log and the moments of the kills are drawn from
    #[arg(long, default_value_t = 1, env = "ONCEFLOW_DEMO_SEED")]
    pub seed: u64,
    /// Where log, databases and report go: a new or empty folder (default: one in the folder for temporary files)
    #[arg(long, value_name = "DIR", env = "ONCEFLOW_DEMO_OUT")]
    pub out: Option<PathBuf>,
}

/// One of the two programs that go wrong. Started by the demo.
#[derive(ClapArgs, Debug)]
pub struct Control {
    /// When it stores its position
    #[arg(value_enum)]
    pub order: Order,
    /// The folder of the demo
    pub folder: PathBuf,
}

/// When a program stores its position.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Behind the rows: what was written is written again.
    After,
    /// Before the rows: what was not written is left out.
    Before,
}
