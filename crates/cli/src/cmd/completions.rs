//! `onceflow completions`.

use super::Answer;
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Prints completions for a shell on stdout.
pub fn run(shell: Shell) -> Answer {
    let mut command = crate::args::Args::command();
    clap_complete::generate(shell, &mut command, "onceflow", &mut std::io::stdout());
    Ok(0)
}
