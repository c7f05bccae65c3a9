//! `onceflow audit --topic …`: a table that something else writes against its log.

use super::{Bar, Paper, exit_code, show};
use crate::args::Common;
use crate::cmd::Answer;
use crate::cmd::audit::args::Audit;
use crate::talk::Talk;
use onceflow::audit::{Options, Progress};
use onceflow::doctor::foreign::only;
use onceflow::run::on_this_thread;

/// Compares the table with the log.
pub fn run(audit: &Audit, options: &Options, common: &Common, talk: &Talk) -> Answer {
    let pipeline = audit.foreign.pipeline()?;
    let (branch, bounds) = (only(&pipeline)?, audit.foreign.bounds()?);
    let paper = Paper::open(audit)?;
    let bar = Bar::new(talk, &pipeline.name);
    let progress = |at: Progress| bar.show(at);
    let report = on_this_thread(onceflow::audit::foreign::audit(&pipeline, branch, &bounds, options, &progress))??;
    let reports = [report];
    show::print(&pipeline.name, &reports, options, audit.combined, common, talk);
    paper.write(&format!("onceflow audit {}", audit.foreign.shown()), &pipeline.name, &reports, options)?;
    Ok(exit_code(&reports))
}
