//! `onceflow doctor`: the six causes of lost and repeated records, looked for in this pipeline.

use super::Answer;
use crate::args::{Common, Format};
use crate::load;
use crate::talk::Talk;
use onceflow::doctor::{Options, Status, examine};
use onceflow_sql::CompileOptions;

pub mod args;
mod foreign;
mod show;

/// Runs the command.
pub fn run(doctor: &args::Doctor, common: &Common, talk: &Talk) -> Answer {
    let Some(file) = doctor.file.as_ref().filter(|_| !doctor.foreign) else {
        return foreign::run(doctor, common, talk);
    };
    let loaded = load::pipeline(file, common, &CompileOptions::default())?;
    let options = Options { transaction_max: doctor.transaction_max };
    let mut checks = examine(&loaded.pipeline, &options);
    let file = shell_word(&loaded.file);
    for check in &mut checks {
        let commands = check.fix.iter_mut().chain([&mut check.how]).filter(|text| text.starts_with("onceflow "));
        commands.for_each(|command| *command = command.replace("FILE", &file));
    }
    let tally = show::Tally::of(&checks);
    let sentence = show::sentence(&loaded.pipeline.name, &checks, tally);
    match common.format {
        Format::Table => show::text(&checks, &sentence, common, talk),
        Format::Json => show::json(&loaded.pipeline.name, &checks, tally, &sentence, None),
        Format::Csv => show::csv(&checks),
    }
    Ok(code(tally, doctor.strict))
}

fn code(tally: show::Tally, strict: bool) -> i32 {
    match tally {
        _ if tally.count(Status::Broken) > 0 || (strict && tally.count(Status::Warning) > 0) => 1,
        _ if tally.count(Status::Unknown) > 0 => 3,
        _ => 0,
    }
}

/// A path as a shell takes it.
fn shell_word(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}
