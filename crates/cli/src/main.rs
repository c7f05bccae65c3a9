//! The command line of Onceflow: arguments as typed → as resolved → run.
//!
//! stdout is data, stderr is talk, exit codes are a contract: 0 fine, also after a graceful stop · 1 findings · 2 usage or
//! configuration · 3 could not check · 4 fenced, do not restart blindly · 101 our fault.

mod args;
mod cmd;
mod load;
mod logs;
mod page;
mod render;
mod scratch;
mod signals;
mod table;
mod talk;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let talk = std::sync::Arc::new(talk::Talk::new(&args.common));
    if let Err(message) = onceflow::crash::check() {
        talk.line(&format!("error: {message}"));
        return ExitCode::from(2);
    }
    #[cfg(feature = "bench-switches")]
    if let Err(code) = say_what_is_left_out(&talk) {
        return code;
    }
    logs::start(&args.common);
    let code = match cmd::run(&args, &talk) {
        Ok(code) => code,
        Err(failures) => {
            render::failures(&failures, &talk);
            failures.exit_code()
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(101))
}

/// A bench-only build says what it is before it does anything.
#[cfg(feature = "bench-switches")]
fn say_what_is_left_out(talk: &talk::Talk) -> Result<(), ExitCode> {
    match onceflow::switches::left_out() {
        Ok(None) => talk.line("warning: this is a bench-only build; it can be told to leave guarantees out"),
        Ok(Some(part)) => talk.line(&format!("warning: BENCH ONLY: without {part}, nothing is exactly once")),
        Err(message) => {
            talk.line(&format!("error: {message}"));
            return Err(ExitCode::from(2));
        }
    }
    Ok(())
}
