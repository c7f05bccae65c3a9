//! `onceflow audit`: what is in the tables against what is in the source. Writes nothing, joins no group.

use super::Answer;
use crate::args::{Common, Format};
use crate::load;
use crate::talk::{Talk, grouped};
use args::Audit;
use onceflow::audit::plan::Bound;
use onceflow::audit::{Level, Listing, Options, Progress, Report};
use onceflow::run::on_this_thread;
use onceflow::{Error, codes};
use onceflow_sql::CompileOptions;
use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub mod args;
mod foreign;
mod page;
mod show;

/// Findings of each kind that people see without `--limit`.
const SHOWN: usize = 20;
/// The line of progress is redrawn so often, and elsewhere written so often.
const REDRAW: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(10);

/// Audits every home of a pipeline.
pub fn run(audit: &Audit, common: &Common, talk: &Talk) -> Answer {
    let options = options(audit, common)?;
    let Some(file) = &audit.file else { return foreign::run(audit, &options, common, talk) };
    let paper = Paper::open(audit)?;
    let loaded = load::pipeline(file, common, &CompileOptions::default())?;
    let mut reports = Vec::new();
    for branch in &loaded.pipeline.branches {
        let bar = Bar::new(talk, &loaded.pipeline.name);
        let progress = |at: Progress| bar.show(at);
        let audited = on_this_thread(onceflow::audit::audit(&loaded.pipeline, branch, &options, &progress))?;
        reports.push(audited.map_err(|error| loaded.failed(error))?);
    }
    show::print(&loaded.pipeline.name, &reports, &options, audit.combined, common, talk);
    paper.write(&format!("onceflow audit {}", file.display()), &loaded.pipeline.name, &reports, &options)?;
    Ok(exit_code(&reports))
}

/// The file of `--html`, where there is one.
struct Paper<'a> {
    file: Option<(&'a Path, std::fs::File)>,
}

impl<'a> Paper<'a> {
    /// Creates the file before anything is read, so that a long audit is not in vain.
    fn open(audit: &'a Audit) -> Result<Self, Error> {
        let Some(path) = &audit.html else { return Ok(Self { file: None }) };
        let file = std::fs::File::create(path).map_err(|error| no_paper(path, &error))?;
        Ok(Self { file: Some((path, file)) })
    }

    fn write(self, command: &str, name: &str, reports: &[Report], options: &Options) -> Result<(), Error> {
        let Some((path, mut file)) = self.file else { return Ok(()) };
        let page = page::page(command, name, reports, options);
        file.write_all(page.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| no_paper(path, &error))
    }
}

fn no_paper(path: &Path, error: &std::io::Error) -> Error {
    Error::config(codes::OF0126, format!("{} cannot be written: {error}", path.display()))
        .help("name a file in a folder that exists and that you may write to")
}

/// 1 where anything is wrong, 3 where nothing could be checked that was asked for.
fn exit_code(reports: &[Report]) -> i32 {
    if reports.iter().any(Report::has_findings) {
        return 1;
    }
    let unchecked = |report: &Report| {
        let inputs = report.summary.inputs;
        !report.unchecked.is_empty() || (inputs > 0 && report.gone_records >= inputs)
    };
    if reports.iter().any(unchecked) { 3 } else { 0 }
}

fn options(audit: &Audit, common: &Common) -> Result<Options, Error> {
    let level = match audit.level {
        1 => Level::Ledger,
        2 => Level::Source,
        _ => Level::Rows,
    };
    let all = common.format != Format::Table || audit.combined;
    Ok(Options {
        level,
        limit: audit.limit.unwrap_or(if all { usize::MAX / 2 } else { SHOWN }),
        since: audit.since.as_deref().map(bound).transpose()?,
        until: audit.until.as_deref().map(bound).transpose()?,
        key: audit.key.clone(),
        each: audit.combined.then(|| Listing(Arc::new(show::right))),
    })
}

/// Reads an epoch, a time, or a day.
fn bound(text: &str) -> Result<Bound, Error> {
    if let Ok(epoch) = text.parse() {
        return Ok(Bound::Epoch(epoch));
    }
    let day = format!("{text}T00:00:00Z");
    let time = onceflow::audit::evidence::microseconds(text).or_else(|| onceflow::audit::evidence::microseconds(&day));
    time.map(Bound::Time).ok_or_else(|| {
        Error::config(codes::OF0122, format!("'{text}' is neither an epoch nor a time"))
            .help("write an epoch (1200), a time (2026-01-31T12:00:00Z) or a day (2026-01-31)")
    })
}

/// The line of progress: rate and time left.
pub struct Bar<'a> {
    talk: &'a Talk,
    name: &'a str,
    started: Instant,
    shown: Cell<Instant>,
}

impl<'a> Bar<'a> {
    /// A line for the audit of a pipeline.
    pub fn new(talk: &'a Talk, name: &'a str) -> Self {
        let now = Instant::now();
        Self { talk, name, started: now, shown: Cell::new(now) }
    }

    /// Shows how far it is, not too often.
    pub fn show(&self, at: Progress) {
        let pause = if self.talk.is_terminal() { REDRAW } else { LINE };
        if self.shown.get().elapsed() < pause {
            return;
        }
        self.shown.set(Instant::now());
        let line = self.line(at);
        if self.talk.is_terminal() { self.talk.progress(&line) } else { self.talk.say(&line) }
    }

    #[allow(clippy::cast_precision_loss)]
    fn line(&self, at: Progress) -> String {
        let pass = if at.pass > 1 { format!(" (pass {})", at.pass) } else { String::new() };
        if at.rows > 0 {
            return format!("{}: {} rows of the tables compared{pass}", self.name, grouped(at.rows));
        }
        let all = at.of.max(1) as f64;
        let part = at.records as f64 / all;
        let rate = at.records as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let left = (at.of.saturating_sub(at.records)) as f64 / rate.max(1.0);
        format!(
            "{}: {} of {} records read again ({:.0} %), {rate:.0}/s, {left:.0} s left{pass}",
            self.name,
            grouped(at.records),
            grouped(at.of),
            100.0 * part.min(1.0)
        )
    }
}
