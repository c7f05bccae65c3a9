//! `onceflow torture`: the user's own pipeline under fire, on scratch copies of its targets.
//!
//! The order of a run: what is read, scratch copies, two undisturbed runs for comparison, the faults one by one, the matrix.
//! Everything that was made is removed at the end, however it ends.

pub mod args;
mod child;
mod compare;
mod faults;
mod matrix;
mod plan;
mod proxy;
mod shop;
mod watch;

use super::Answer;
use crate::args::{Common, Format};
use crate::load::{self, Loaded};
use crate::scratch::Plan;
use crate::signals;
use crate::talk::{Talk, Tone, counted};
use args::Torture;
use child::{End, Starter};
use compare::{Order, Reference, Standing};
use faults::{Case, Chance, Ground, Only};
use matrix::{Matrix, Outcome};
use onceflow::changes::WriteMode;
use onceflow::pipeline::{Branch, Pipeline};
use onceflow::run::ambient::{Ambient as _, Machine};
use onceflow::run::stop::Stop;
use onceflow::{Error, codes};
use onceflow_core::Nonce;
use onceflow_sql::CompileOptions;
use plan::Reading;
use proxy::{Behind, Wire};
use serde_json::json;
use shop::{Copies, Shop};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watch::Watch;

/// Epochs that the records are divided into, so that there is something between two of them.
const EPOCHS: u64 = 20;
/// The least and the most that one process may take, and how much more than an undisturbed one.
const LIMIT_MIN: Duration = Duration::from_secs(90);
const LIMIT_MAX: Duration = Duration::from_secs(600);
const LIMIT_FACTOR: u32 = 20;
/// How long a successor may take while the owner is stopped. In SQLite a stopped owner may hold the only lock for writing; then
/// nobody can take over before it wakes up.
const PATIENCE_FILES: Duration = Duration::from_secs(2);
const PATIENCE_SERVER: Duration = Duration::from_secs(60);
/// How often a random moment is drawn for one fault.
const DRAWS: u32 = 5;
/// Between the two undisturbed runs, so that times of whole seconds differ.
const APART: Duration = Duration::from_millis(1_100);

/// Tortures a pipeline.
pub fn run(args: &Torture, common: &Common, talk: &Arc<Talk>) -> Answer {
    let loaded = load::pipeline(&args.file, common, &CompileOptions::default())?;
    let stop = Stop::new();
    signals::listen(&stop, talk);
    let seed = args.seed.unwrap_or_else(|| u64::try_from(Machine.random() & 0xffff_ffff).unwrap_or_default());
    let mut bench = Bench::open(args, common, talk, &loaded, seed, &stop)?;
    let reference = bench.reference()?;
    let matrix = bench.torture(&reference)?;
    let code = bench.report(&reference, &matrix, common);
    if args.keep {
        talk.say(&format!("kept: {}", bench.shop.kept().join(", ")));
    }
    for left in bench.shop.close() {
        talk.line(&format!("{}: could not be removed: {left}", talk.tone(Tone::Warning, "warning")));
    }
    Ok(code)
}

/// What `onceflow audit` says.
enum Audited {
    Clean,
    Found(String),
    /// It could not check.
    Unknown(String),
}

/// Everything that the faults share.
struct Bench<'a> {
    args: &'a Torture,
    talk: &'a Talk,
    pipeline: &'a Pipeline,
    seed: u64,
    stop: &'a Stop,
    reading: Reading,
    shop: Shop,
    starter: Starter,
    wire: Wire,
    usual: Duration,
    audited: bool,
    notices: Vec<String>,
    next: u32,
    /// Faults that were to come when somebody wished to stop.
    undone: usize,
}

impl<'a> Bench<'a> {
    fn open(
        args: &'a Torture,
        common: &Common,
        talk: &'a Talk,
        loaded: &'a Loaded,
        seed: u64,
        stop: &'a Stop,
    ) -> Result<Self, Error> {
        let pipeline = &loaded.pipeline;
        let reading = plan::reading(pipeline, args.rows, stop)?;
        let rows_max = usize::try_from(reading.records.div_ceil(EPOCHS)).unwrap_or(usize::MAX);
        let token = Nonce::new(Machine.random()).to_string();
        let parts = reading.parts.clone();
        let plan = Plan { pipeline: pipeline.name.clone(), token, rows_max, homes: Vec::new(), brokers: None, parts };
        let prefix = format!("onceflow_torture_{seed}_{}", std::process::id());
        let shop = Shop::open(pipeline, plan, prefix, args.keep)?;
        let program =
            std::env::current_exe().map_err(|error| Error::internal("own program unknown").caused_by(error))?;
        let file = args.file.clone();
        let starter = Starter { program, file, env_file: common.env_file.clone(), limit: LIMIT_MAX };
        let addresses: Vec<_> = (0..shop.homes()).map(|home| shop.scratch(home).addresses()).collect();
        let wire = Wire::open(&addresses, reads_kafka(pipeline))?;
        let mut bench = Self {
            args,
            talk,
            pipeline,
            seed,
            stop,
            reading,
            shop,
            starter,
            wire,
            usual: Duration::ZERO,
            audited: false,
            notices: Vec::new(),
            next: 0,
            undone: 0,
        };
        bench.say_what_is_used();
        Ok(bench)
    }

    fn say_what_is_used(&mut self) {
        let records = counted(self.reading.records, "record");
        let partitions = counted(self.reading.parts.len() as u64, "partition");
        self.talk.say(&format!("{}: {records} of {partitions}, seed {}", self.pipeline.name, self.seed));
        for what in std::mem::take(&mut self.shop.left_out) {
            self.notice(format!("not in the scratch copies: {what}"));
        }
        if !self.wire.behind().contains(&Behind::Database) {
            self.notice("no connection to the database is cut: SQLite has none".to_owned());
        }
    }

    fn notice(&mut self, notice: String) {
        self.talk.say(&format!("{}: {notice}", self.talk.tone(Tone::Warning, "note")));
        self.notices.push(notice);
    }

    /// Two undisturbed runs, and what to compare with.
    fn reference(&mut self) -> Result<Reference, Error> {
        let (one, first) = self.undisturbed("undisturbed-1", true)?;
        self.usual = first;
        self.starter.limit = (self.usual * LIMIT_FACTOR).clamp(LIMIT_MIN, LIMIT_MAX);
        self.stop.wait(APART);
        let (other, second) = self.undisturbed("undisturbed-2", false)?;
        self.usual = first.min(second);
        let specs = self.pipeline.branches.iter().flat_map(|branch| {
            let order = order(self.pipeline, branch, &self.reading);
            branch.tables.iter().map(move |table| (table, order))
        });
        let specs: Vec<_> = specs.collect();
        if specs
            .iter()
            .any(|(spec, order)| *order == Order::ByArrival && matches!(spec.mode, WriteMode::Statement { .. }))
        {
            let notice = "a statement works on several partitions: where the order of their records matters, it shows as changed";
            self.notice(notice.to_owned());
        }
        let Some(reference) = Reference::of(&specs, &one, &other) else {
            let message = "two undisturbed runs wrote different numbers of rows, so nothing can be compared";
            return Err(Error::unavailable(codes::OF0158, message)
                .help("take time and chance out of WHERE, JOIN and UNNEST, and try again"));
        };
        for what in reference.left_out.clone() {
            self.notice(format!("not compared: {what}"));
        }
        let rows = counted(reference.rows, "row");
        self.talk.say(&format!("undisturbed: {rows} in {:.1} s", self.usual.as_secs_f64()));
        Ok(reference)
    }

    /// What an undisturbed run wrote, and how long it took.
    fn undisturbed(&mut self, of: &str, audit: bool) -> Result<(Standing, Duration), Error> {
        let copies = self.shop.copies(of, None)?;
        let log = copies.folder.join("run.log");
        let began = Instant::now();
        let mut process = self.starter.run(&copies.plan, &log, None, None)?;
        let end = process.wait(self.starter.limit);
        let took = began.elapsed();
        if end != Some(End::Code(0)) {
            let end = end.map_or_else(|| "did not end in time".to_owned(), |end| format!("ended with {end}"));
            let message = format!("the pipeline {end} although nothing disturbed it");
            return Err(Error::unavailable(codes::OF0157, message).note(process.said()));
        }
        let standing = compare::standing(self.pipeline, &self.shop, &copies)?;
        if audit {
            self.try_audit(&copies)?;
        }
        self.shop.put_away(&copies)?;
        Ok((standing, took))
    }

    /// Finds out whether the audit can be asked about this pipeline.
    fn try_audit(&mut self, copies: &Copies) -> Result<(), Error> {
        match self.audit(copies)? {
            Audited::Clean => self.audited = true,
            Audited::Found(said) | Audited::Unknown(said) => {
                let said = said.lines().next().unwrap_or_default().to_owned();
                self.notice(format!("NOT AUDITED: the audit is not clean even without a fault: {said}"));
            }
        }
        Ok(())
    }

    /// What the audit found behind a fault; where it could not check, that is said once.
    fn audit_after(&mut self, copies: &Copies) -> Result<Option<String>, Error> {
        match self.audit(copies)? {
            Audited::Clean => Ok(None),
            Audited::Found(said) => Ok(Some(said)),
            Audited::Unknown(said) => {
                self.audited = false;
                self.notice(format!("NOT AUDITED from here on: {said}"));
                Ok(None)
            }
        }
    }

    /// What the audit says of scratch copies.
    fn audit(&self, copies: &Copies) -> Result<Audited, Error> {
        let log = copies.folder.join("audit.log");
        let (end, out) = self.starter.ask(&copies.plan, &log, &["audit", "FILE", "--format", "json"])?;
        if end == End::Code(0) {
            return Ok(Audited::Clean);
        }
        let found: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
        let summary = match &found["summary"] {
            serde_json::Value::Null => std::fs::read_to_string(&log).unwrap_or_default(),
            summary => format!("{} {summary}", found["verdict"]),
        };
        let said = format!("the audit ended with {end}: {summary}");
        Ok(if end == End::Code(1) { Audited::Found(said) } else { Audited::Unknown(said) })
    }

    /// All faults, round by round.
    fn torture(&mut self, reference: &Reference) -> Result<Matrix, Error> {
        let began = Instant::now();
        let mut matrix = Matrix::default();
        let only = Only::parse(self.args.only.as_deref());
        only.check(&round_of(self, 0))?;
        for number in 0.. {
            let cases = only.choose(round_of(self, number), self.args.number);
            let mut left = cases.len();
            for case in cases {
                let late = number > 0 && self.args.lasting.is_some_and(|lasting| began.elapsed() >= lasting);
                if late {
                    return Ok(matrix);
                }
                if self.stop.wished() {
                    self.undone = left;
                    return Ok(matrix);
                }
                let (point, act) = (case.point, case.act.name());
                self.talk.progress(&format!("{} done, {left} to go: {point}/{act}", matrix.len()));
                let outcome = self.one(&case, reference)?;
                // What Ctrl-C disturbed is no finding.
                if outcome.is_fine() || !self.stop.wished() {
                    self.say_if_wrong(&case, &outcome);
                    matrix.push(case, outcome);
                }
                left -= 1;
            }
            let again = self.args.lasting.is_some_and(|lasting| began.elapsed() < lasting);
            if !again || self.args.number.is_some() {
                break;
            }
        }
        Ok(matrix)
    }

    /// One fault. A random moment that came after the end is drawn again, from a shorter time.
    fn one(&mut self, case: &Case, reference: &Reference) -> Result<Outcome, Error> {
        let mut chance = Chance::of(self.seed, case);
        let mut usual = self.usual;
        for _ in 1..DRAWS {
            match self.once(case, &mut chance, usual, reference)? {
                Outcome::NotHit if case.point == faults::RANDOM => usual /= 2,
                outcome => return Ok(outcome),
            }
        }
        self.once(case, &mut chance, usual, reference)
    }

    /// One fault on fresh scratch copies.
    fn once(
        &mut self,
        case: &Case,
        chance: &mut Chance,
        usual: Duration,
        reference: &Reference,
    ) -> Result<Outcome, Error> {
        self.next += 1;
        let through = matches!(case.act, faults::Act::Cut(_)).then_some(&self.wire);
        let copies = self.shop.copies(&format!("c{}", self.next), through)?;
        let watch = match case.point {
            faults::VISIBLE => Some(Watch::start(self.shop.home(&copies, 0)?)?),
            _ => None,
        };
        let mut ground = Ground {
            starter: &self.starter,
            copies: &copies,
            usual,
            patience: if self.shop.any_in_files() { PATIENCE_FILES } else { PATIENCE_SERVER },
            commits: &mut || watch.as_ref().map_or(0, Watch::commits),
            wire: through,
        };
        let came = ground.run(case, chance)?;
        drop(watch);
        let outcome = match came {
            faults::Came::Failed(said) => Outcome::Failed(said),
            came => {
                let difference = reference.compare(&compare::standing(self.pipeline, &self.shop, &copies)?);
                let audit = if self.audited { self.audit_after(&copies)? } else { None };
                Outcome::of(came, difference, audit)
            }
        };
        self.shop.put_away(&copies)?;
        Ok(outcome)
    }

    fn say_if_wrong(&self, case: &Case, outcome: &Outcome) {
        if outcome.is_fine() {
            return;
        }
        let head = format!("{}/{} #{}: {}", case.point, case.act.name(), case.number, outcome.what());
        self.talk.line(&self.talk.tone(Tone::Error, &head));
        outcome.said().iter().for_each(|line| self.talk.line(&format!("  {line}")));
        self.talk.line(&format!("  again: {}", self.again(case)));
    }

    /// The command that repeats a case.
    fn again(&self, case: &Case) -> String {
        format!(
            "onceflow torture {} --rows {} --seed {} --only {}/{} --try {}",
            self.args.file.display(),
            self.args.rows,
            self.seed,
            case.point,
            case.act.name(),
            case.number
        )
    }

    /// Prints what came out, and answers with the exit code.
    fn report(&self, reference: &Reference, matrix: &Matrix, common: &Common) -> i32 {
        let wrong = matrix.wrong().count();
        let shown = matrix.hit() > 0;
        let (verdict, code) = match (wrong, self.undone == 0 && shown) {
            (1.., _) => ("different", 1),
            (0, true) => ("same", 0),
            (0, false) => ("could not check", 3),
        };
        if common.format == Format::Json {
            self.print_json(reference, matrix, verdict);
        } else {
            matrix.table().print(common.format);
        }
        let not_hit = matrix.not_hit();
        if !not_hit.is_empty() {
            let word = self.talk.tone(Tone::Warning, "NOT HIT");
            self.talk.line(&format!("{word}, so nothing was shown there: {}", not_hit.join(", ")));
        }
        if self.undone > 0 {
            self.talk.line(&format!("stopped: {} were left out", counted(self.undone as u64, "fault")));
        }
        let audited = if self.audited { "compared and audited" } else { "compared, not audited" };
        let faults = counted(matrix.len() as u64, "fault");
        self.talk.say(&format!("{verdict}: {faults}, {wrong} with a difference; {audited}; seed {}", self.seed));
        code
    }

    fn print_json(&self, reference: &Reference, matrix: &Matrix, verdict: &str) {
        let failure = |(case, outcome): &(Case, Outcome)| {
            json!({
                "point": case.point, "fault": case.act.name(), "try": case.number, "outcome": outcome.what(),
                "said": outcome.said(), "again": self.again(case),
            })
        };
        let found = json!({
            "pipeline": self.pipeline.name,
            "verdict": verdict,
            "seed": self.seed,
            "records": self.reading.records,
            "rows": reference.rows,
            "faults": matrix.len(),
            "left_undone": self.undone,
            "audited": self.audited,
            "notes": self.notices,
            "not_hit": matrix.not_hit(),
            "matrix": matrix.to_json(),
            "failures": matrix.wrong().map(failure).collect::<Vec<_>>(),
        });
        // A closed stdout ends the printing without a word, as users of `head` expect.
        let _ = writeln!(std::io::stdout().lock(), "{found:#}");
    }
}

fn reads_kafka(pipeline: &Pipeline) -> bool {
    pipeline.branches.iter().flat_map(|branch| &branch.sources).any(|source| source.connector() == "kafka")
}

fn round_of(bench: &Bench<'_>, number: u32) -> Vec<Case> {
    faults::cases(bench.args.kills, &bench.wire.behind(), number)
}

/// Whether the order of all records of a branch is the same in each run.
fn order(pipeline: &Pipeline, branch: &Branch, reading: &Reading) -> Order {
    let used = |name: &str| reading.parts.iter().filter(|part| part.source == name && part.until > part.from).count();
    let parts: usize = branch.sources.iter().map(|source| used(source.name())).sum();
    let side_by_side = branch.sources.iter().any(|source| source.connector() == "kafka");
    let several = branch.sources.len() > 1 || side_by_side || pipeline.settings.lanes > 1;
    if several && parts > 1 { Order::ByArrival } else { Order::Fixed }
}
