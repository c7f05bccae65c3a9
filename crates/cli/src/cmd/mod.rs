//! The commands, one module each. Every command returns its exit code, or failures to print.

use crate::args::{Args, Command};
use crate::render::Failures;
use crate::talk::Talk;
use std::sync::Arc;

mod at;
pub mod audit;
mod completions;
mod dead_letters;
pub mod demo;
pub mod doctor;
mod explain;
pub mod foreign;
mod import;
mod ledger;
mod lint;
mod new;
mod preview;
mod progress;
mod reset;
mod run;
pub mod torture;

/// The answer of a command.
pub type Answer = Result<i32, Failures>;

/// Runs the command that was typed.
pub fn run(args: &Args, talk: &Arc<Talk>) -> Answer {
    let common = &args.common;
    let answer = match &args.command {
        Command::Torture(torture) => torture::run(torture, common, talk),
        Command::Demo(demo) => demo::run(demo, common, talk),
        Command::DemoControl(control) => demo::control::run(control),
        Command::Run(run) => run::run(run, common, talk),
        Command::Audit(audit) => audit::run(audit, common, talk),
        Command::Lint { files } => lint::run(files, common, talk),
        Command::Explain { what, graph } => explain::run(what, *graph, common),
        Command::Preview { file, rows, written: true, .. } => preview::written(file, *rows, common, talk),
        Command::Preview { file, rows, wait, .. } => preview::run(file, *rows, *wait, common, talk),
        Command::Ledger(command) => ledger::run(command, common, talk),
        Command::DeadLetters(command) => dead_letters::run(command, common, talk),
        Command::Doctor(command) => doctor::run(command, common, talk),
        Command::New { template } => new::run(template.as_deref(), common),
        Command::Completions { shell } => completions::run(*shell),
    };
    answer.map_err(|failures| failures.in_format(common.format))
}
