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
    /// Break one of the six causes on purpose, have doctor name it, mend it, and run again
    #[arg(long, value_name = "1…6", conflicts_with_all = ["kafka", "postgres"], value_parser = clap::value_parser!(u8).range(1..=6), env = "ONCEFLOW_DEMO_CAUSE")]
    pub cause: Option<u8>,
    /// Your own Kafka: the log goes into a topic that the demo creates, and removes at the end
    #[arg(long, value_name = "HOST:PORT", env = "ONCEFLOW_DEMO_KAFKA")]
    pub kafka: Option<String>,
    /// Your own PostgreSQL: the tables go into a database that the demo creates, and removes at the end
    #[arg(long, value_name = "URL", env = "ONCEFLOW_DEMO_POSTGRES", hide_env_values = true)]
    pub postgres: Option<String>,
    /// Leave the topic and the database that were made
    #[arg(long, env = "ONCEFLOW_DEMO_KEEP")]
    pub keep: bool,
    /// Where log, databases and report go: a new or empty folder (default: one in the folder for temporary files)
    #[arg(long, value_name = "DIR", env = "ONCEFLOW_DEMO_OUT")]
    pub out: Option<PathBuf>,
}

/// A program of the kind that people write. Started by the demo.
#[derive(ClapArgs, Debug)]
pub struct Control {
    /// What it does
    #[arg(value_enum)]
    pub habit: Habit,
    /// The folder of the demo
    pub folder: PathBuf,
}

/// When a program stores its position, and how it writes its rows.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Habit {
    /// It stores its position behind the rows: what was written is written again.
    After,
    /// Before the rows: what was not written is left out.
    Before,
    /// Behind the rows, which have a key and are left out where they are there already.
    Keyed,
    /// Nowhere: it begins at the start of the log each time.
    Forgetful,
    /// Behind the rows of a batch, each of which is a transaction of its own.
    Piecemeal,
    /// Behind every fortieth batch.
    Checkpointed,
    /// In the rows' own transaction, and reads it there at the start.
    Together,
}

impl Habit {
    /// What the program is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::After => "commit-after-write",
            Self::Before => "commit-before-write",
            Self::Keyed => "keyed-rows",
            Self::Forgetful => "from-the-start",
            Self::Piecemeal => "row-by-row",
            Self::Checkpointed => "checkpointed",
            Self::Together => "position-in-transaction",
        }
    }

    /// The word by which it is started.
    pub fn word(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::Before => "before",
            Self::Keyed => "keyed",
            Self::Forgetful => "forgetful",
            Self::Piecemeal => "piecemeal",
            Self::Checkpointed => "checkpointed",
            Self::Together => "together",
        }
    }
}
