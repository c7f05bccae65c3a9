//! Arguments of `onceflow torture`.

use crate::args::duration;
use clap::Args as ClapArgs;
use std::path::PathBuf;
use std::time::Duration;

/// `onceflow torture`.
#[derive(ClapArgs, Debug)]
pub struct Torture {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How many records of each source are used, from its beginning
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..),
        env = "ONCEFLOW_TORTURE_ROWS")]
    pub rows: u64,
    /// How many kills at random moments; a quarter as many hit a commit that just became visible
    #[arg(long, value_name = "N", default_value_t = 12, env = "ONCEFLOW_TORTURE_KILLS")]
    pub kills: u32,
    /// Repeats the random choices of an earlier run
    #[arg(long, value_name = "S", env = "ONCEFLOW_TORTURE_SEED")]
    pub seed: Option<u64>,
    /// Go on with fresh random choices for so long, such as 10m; one round without it
    #[arg(long = "for", value_name = "TIME", value_parser = duration, env = "ONCEFLOW_TORTURE_FOR")]
    pub lasting: Option<Duration>,
    /// Only these faults, as in the matrix: after_move,mid_rows/kill
    #[arg(long, value_name = "POINT[,POINT]/ACT", env = "ONCEFLOW_TORTURE_ONLY")]
    pub only: Option<String>,
    /// Which of the repetitions of one fault, counted from 0; all without it
    #[arg(long = "try", value_name = "N", requires = "only", env = "ONCEFLOW_TORTURE_TRY")]
    pub number: Option<u32>,
    /// Leave the scratch copies and logs where they are, and say where
    #[arg(long, env = "ONCEFLOW_TORTURE_KEEP")]
    pub keep: bool,
}
