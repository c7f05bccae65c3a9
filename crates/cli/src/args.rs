//! Arguments as typed. Every flag has an environment variable.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Kafka or files → your SQL → your database, each record exactly once.
#[derive(Parser, Debug)]
#[command(name = "onceflow", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "exit codes: 0 fine, also after a graceful stop · 1 findings · 2 usage or configuration · \
3 could not check · 4 fenced, do not restart blindly · 101 our fault")]
pub struct Args {
    /// What all commands share.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of all commands.
#[derive(ClapArgs, Debug, Clone)]
pub struct Common {
    /// How results are printed on stdout
    #[arg(long, value_enum, global = true, default_value = "table", env = "ONCEFLOW_FORMAT")]
    pub format: Format,
    /// Say only what is wrong
    #[arg(short, long, global = true, env = "ONCEFLOW_QUIET")]
    pub quiet: bool,
    /// Say more: -v what happens, -vv every step
    #[arg(short, long, action = clap::ArgAction::Count, global = true, env = "ONCEFLOW_VERBOSE")]
    pub verbose: u8,
    /// Colours: auto, always, never (NO_COLOR is obeyed)
    #[arg(long, value_enum, global = true, default_value = "auto", env = "ONCEFLOW_COLOR")]
    pub color: Color,
    /// How logs are written to stderr
    #[arg(long, value_enum, global = true, default_value = "text", env = "ONCEFLOW_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// A file of NAME=VALUE lines for ${NAME} in pipelines; the environment wins
    #[arg(short, long, global = true, value_name = "FILE", env = "ONCEFLOW_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// How results are printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// RFC 4180.
    Csv,
}

/// When to use colours.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How logs are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// See it in a minute: three programs, one log, the same kills; who has every record once?
    Demo(crate::cmd::demo::args::Demo),
    /// One of the demo's programs that go wrong
    #[command(hide = true)]
    DemoControl(crate::cmd::demo::args::Control),
    /// Run a pipeline
    Run(Run),
    /// Prove it: compare what is in the tables with what is in the source; writes nothing
    Audit(crate::cmd::audit::args::Audit),
    /// Check pipelines without touching any system
    Lint {
        /// The pipelines
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show what would run and what it guarantees, or explain an error code
    Explain {
        /// A pipeline, or a code such as OF0203
        #[arg(value_name = "FILE|CODE")]
        what: String,
        /// How the graph is drawn
        #[arg(long, value_enum, default_value = "text", env = "ONCEFLOW_GRAPH")]
        graph: Graph,
    },
    /// Show the first rows that a pipeline would write; touches nothing
    Preview {
        /// The pipeline
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Rows of each table
        #[arg(short = 'n', long, default_value_t = 10, env = "ONCEFLOW_PREVIEW_ROWS")]
        rows: usize,
        /// How long to wait for them
        #[arg(long, default_value = "10s", value_parser = duration, env = "ONCEFLOW_PREVIEW_WAIT")]
        wait: Duration,
        /// Show rows that stand in the target tables now, instead of what would be written
        #[arg(long, env = "ONCEFLOW_PREVIEW_WRITTEN")]
        written: bool,
    },
    /// Look at the ledger, take over from another consumer, or decide about positions
    #[command(subcommand)]
    Ledger(Ledger),
    /// Look at records that could not be used, and write them again
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Kill, stop and cut a pipeline on scratch copies of its targets, and compare
    Torture(crate::cmd::torture::args::Torture),
    /// Look for the six causes of lost and repeated records in a pipeline; changes nothing
    Doctor(crate::cmd::doctor::args::Doctor),
    /// Print a pipeline to start from
    New {
        /// Which one; without it, a list
        #[arg(value_name = "TEMPLATE")]
        template: Option<String>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// How a graph is drawn.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Graph {
    /// Plain text.
    Text,
    /// Mermaid.
    Mermaid,
}

/// `onceflow run`.
#[derive(ClapArgs, Debug)]
pub struct Run {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Read the ends at the start, and exit 0 when everything up to them is committed
    #[arg(long, env = "ONCEFLOW_UNTIL_CAUGHT_UP")]
    pub until_caught_up: bool,
    /// Accept target tables that have rows although this pipeline has no ledger yet
    #[arg(long, env = "ONCEFLOW_ADOPT")]
    pub adopt: bool,
    /// Accept that other sources feed other tables than before under this pipeline's name
    #[arg(long, env = "ONCEFLOW_ACCEPT_WIRING")]
    pub accept_wiring: bool,
    /// Wait until no other instance is present, then take over
    #[arg(long, env = "ONCEFLOW_STANDBY")]
    pub standby: bool,
    /// How long to try again while a system does not work, such as 90s or 10m (default: for ever)
    #[arg(long, value_name = "TIME", value_parser = duration, env = "ONCEFLOW_RETRY_FOR")]
    pub retry_for: Option<Duration>,
}

/// Which home a command looks at.
#[derive(ClapArgs, Debug, Clone)]
pub struct Where {
    /// The pipeline; or give --home and --pipeline
    #[arg(value_name = "FILE", required_unless_present = "home")]
    pub file: Option<PathBuf>,
    /// The database with the ledger, such as postgresql://… or sqlite:orders.db
    #[arg(long, value_name = "URL", requires = "pipeline", conflicts_with = "file", env = "ONCEFLOW_HOME")]
    pub home: Option<String>,
    /// The pipeline's name in that ledger
    #[arg(long, value_name = "NAME", env = "ONCEFLOW_PIPELINE")]
    pub pipeline: Option<String>,
}

/// `onceflow ledger`.
#[derive(Subcommand, Debug)]
pub enum Ledger {
    /// Where each partition stands
    Show {
        /// Which ledger
        #[command(flatten)]
        at: Where,
        /// Ask the source for its ends and show how far behind the ledger is (needs FILE)
        #[arg(long, env = "ONCEFLOW_LAG")]
        lag: bool,
    },
    /// The last commits
    History {
        /// Which ledger
        #[command(flatten)]
        at: Where,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, env = "ONCEFLOW_LIMIT")]
        limit: u32,
    },
    /// Claims, stops and every operator's decision
    Events {
        /// Which ledger
        #[command(flatten)]
        at: Where,
        /// How many
        #[arg(short = 'n', long, default_value_t = 50, env = "ONCEFLOW_LIMIT")]
        limit: u32,
    },
    /// Start where an existing consumer stands: from its group or from its own table of offsets
    Import(Import),
    /// Decide where partitions go on; the running instance is fenced
    Reset {
        /// The pipeline
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A partition, such as transactions/0; may be repeated; all without it
        #[arg(long, value_name = "TOPIC/N", env = "ONCEFLOW_PARTITION")]
        partition: Vec<String>,
        /// beginning, end, keep (accept the log as it is and keep the position), or an offset
        #[arg(long, value_name = "WHERE", env = "ONCEFLOW_TO")]
        to: String,
        /// Why; recorded
        #[arg(long, env = "ONCEFLOW_REASON")]
        reason: String,
    },
    /// Take a partition, or a whole pipeline, out of the ledger
    Forget {
        /// Which ledger
        #[command(flatten)]
        at: Where,
        /// A partition, such as transactions/0; may be repeated; without it the whole pipeline
        #[arg(long, value_name = "TOPIC/N", env = "ONCEFLOW_PARTITION")]
        partition: Vec<String>,
        /// Why; recorded
        #[arg(long, env = "ONCEFLOW_REASON")]
        reason: String,
    },
}

/// `onceflow ledger import`.
#[derive(ClapArgs, Debug)]
pub struct Import {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A consumer group whose committed offsets to start from
    #[arg(
        long,
        value_name = "GROUP",
        required_unless_present = "from_table",
        conflicts_with = "from_table",
        env = "ONCEFLOW_FROM_GROUP"
    )]
    pub from_group: Option<String>,
    /// A table in the home that holds offsets
    #[arg(long, value_name = "TABLE", env = "ONCEFLOW_FROM_TABLE")]
    pub from_table: Option<String>,
    /// Its column with the topic
    #[arg(long, value_name = "COLUMN", default_value = "topic", env = "ONCEFLOW_TOPIC_COLUMN")]
    pub topic_column: String,
    /// Its column with the partition's number
    #[arg(long, value_name = "COLUMN", default_value = "partition", env = "ONCEFLOW_PARTITION_COLUMN")]
    pub partition_column: String,
    /// Its column with the offset
    #[arg(long, value_name = "COLUMN", default_value = "offset", env = "ONCEFLOW_OFFSET_COLUMN")]
    pub offset_column: String,
    /// What that column means: the next record to read, or the last one that was done
    #[arg(long, value_enum, default_value = "next", env = "ONCEFLOW_OFFSET_IS")]
    pub offset_is: OffsetIs,
    /// Why; recorded
    #[arg(long, default_value = "import", env = "ONCEFLOW_REASON")]
    pub reason: String,
}

/// What an imported offset means.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetIs {
    /// The next record to read.
    Next,
    /// The last record that was done.
    Last,
}

/// `onceflow dead-letters`.
#[derive(Subcommand, Debug)]
pub enum DeadLetters {
    /// One line for each
    List {
        /// Which ledger
        #[command(flatten)]
        at: Where,
        /// How many
        #[arg(short = 'n', long, default_value_t = 50, env = "ONCEFLOW_LIMIT")]
        limit: u32,
        /// Replayed ones as well
        #[arg(long, env = "ONCEFLOW_ALL")]
        all: bool,
    },
    /// One of them, whole
    Show {
        /// Its number; it may also stand behind FILE
        #[arg(value_name = "ID")]
        id: String,
        /// Which ledger
        #[command(flatten)]
        at: Where,
    },
    /// Write them again by the pipeline as it is now, and mark them, in one transaction
    Replay {
        /// The pipeline
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Which ones; all that were not replayed without it
        #[arg(long, value_name = "ID", value_delimiter = ',', env = "ONCEFLOW_ID")]
        id: Vec<i64>,
        /// Why; recorded
        #[arg(long, env = "ONCEFLOW_REASON")]
        reason: String,
    },
    /// Delete dead letters
    Purge {
        /// Which ledger
        #[command(flatten)]
        at: Where,
        /// Which ones; without it all that were replayed
        #[arg(long, value_name = "ID", value_delimiter = ',', env = "ONCEFLOW_ID")]
        id: Vec<i64>,
        /// Why; recorded
        #[arg(long, env = "ONCEFLOW_REASON")]
        reason: String,
    },
}

/// Reads `500ms`, `90s`, `10m`, `2h`, `1d`, or seconds without a unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("'{text}' is not a time such as 90s or 10m"))?;
    let milliseconds = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => return Err(format!("unknown unit '{other}' in '{text}' (ms, s, m, h, d)")),
    };
    let total = number.checked_mul(milliseconds).ok_or_else(|| format!("'{text}' is too long a time"))?;
    Ok(Duration::from_millis(total))
}
