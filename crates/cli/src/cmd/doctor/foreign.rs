//! `onceflow doctor --foreign`: a pipeline that Onceflow does not run, by what it left behind.

use super::args::Doctor;
use super::show;
use crate::args::{Common, Format};
use crate::cmd::Answer;
use crate::cmd::audit::Bar;
use crate::talk::Talk;
use onceflow::audit::Progress;
use onceflow::doctor::foreign::{examine, only, sentence};

/// Examines it.
pub fn run(doctor: &Doctor, common: &Common, talk: &Talk) -> Answer {
    let pipeline = doctor.stranger.pipeline()?;
    let (branch, bounds) = (only(&pipeline)?, doctor.stranger.bounds()?);
    let bar = Bar::new(talk, &pipeline.name);
    let progress = |at: Progress| bar.show(at);
    let examined = examine(&pipeline, branch, &bounds, doctor.group.as_deref(), &progress)?;
    let sentence = sentence(doctor.stranger.table_name(), &examined);
    let tally = show::Tally::of(&examined.checks);
    match common.format {
        Format::Table => show::text(&examined.checks, &sentence, common, talk),
        Format::Json => {
            let summary: serde_json::Map<String, serde_json::Value> = examined
                .report
                .summary
                .named()
                .iter()
                .map(|(name, count)| ((*name).to_owned(), (*count).into()))
                .collect();
            show::json(&pipeline.name, &examined.checks, tally, &sentence, Some(summary.into()));
        }
        Format::Csv => show::csv(&examined.checks),
    }
    Ok(match super::code(tally, doctor.strict) {
        0 if examined.report.has_findings() => 1,
        0 if !examined.report.unchecked.is_empty() => 3,
        code => code,
    })
}
