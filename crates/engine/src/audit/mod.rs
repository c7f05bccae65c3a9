//! Proof: what stands in the tables against what stands in the source.
//!
//! Everything is of one snapshot of the home and bounded by the ledger's positions in it, so an audit may run beside its
//! pipeline. Level 1 checks the ledger against itself ([`chain`]), level 2 the source against the ledger ([`reread`]), level 3
//! the tables row by row against what the records make ([`append`], [`keyed`], [`merge`]). Nothing is written anywhere, no
//! consumer group is joined.

use crate::changes::{TableSpec, WriteMode};
use crate::codes;
use crate::error::{Error, Result};
use crate::home::witness::Witness;
use crate::pipeline::{Branch, Pipeline};
use append::Append;
use canon::Form;
use evidence::Evidence;
use judge::{Court, Excuses, Judge};
use keyed::{Keyed, Stands};
use merge::Merge;
use plan::{Bound, Plan};
use reread::{Again, Listener, Made, Reader};
use std::borrow::Cow;
use twice::Twice;

pub mod append;
pub mod canon;
pub mod chain;
pub mod evidence;
pub mod foreign;
pub mod judge;
pub mod keyed;
mod list;
pub mod marks;
pub mod merge;
pub mod plan;
pub mod report;
pub mod reread;
#[cfg(test)]
mod testing;
mod twice;

pub use list::Listing;
pub use marks::{Mark, Marks};
pub use report::{Checked, Finding, Level, RecordName, Report, Stretch, Summary, What};

/// What is audited, and how deep.
#[derive(Clone, Debug)]
pub struct Options {
    /// How deep.
    pub level: Level,
    /// Findings of each kind that are kept; all are counted.
    pub limit: usize,
    /// From which epoch or time on.
    pub since: Option<Bound>,
    /// Up to which epoch, or before which time.
    pub until: Option<Bound>,
    /// A column in which values should not repeat between records.
    pub key: Option<String>,
    /// Who is told of each record whose row is as it should be, at level 3; the source is read once more for it.
    pub each: Option<Listing>,
}

/// How far an audit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The pass, from 1.
    pub pass: u32,
    /// Records read in this pass.
    pub records: u64,
    /// Records that this pass will read.
    pub of: u64,
    /// Rows of tables looked at in this pass.
    pub rows: u64,
}

/// Audits one branch of a pipeline.
pub async fn audit(
    pipeline: &Pipeline,
    branch: &Branch,
    options: &Options,
    progress: &dyn Fn(Progress),
) -> Result<Report> {
    let mut report = Report::new(branch.home.describe(), options.limit);
    report.apart = options.each.as_ref().map(|_| Default::default());
    let key = options.key.as_deref().map(|name| key_column(branch, name)).transpose()?.flatten();
    let mut witness = branch.home.witness().await?;
    let Some(evidence) = evidence::read(&mut *witness, &pipeline.name).await? else {
        return Err(unknown(&pipeline.name, &branch.home.describe(), evidence::names(&mut *witness).await?));
    };
    let plan = plan::plan(&evidence, options.since, options.until);
    chain::check(&evidence, &mut report);
    summary(&evidence, &plan, &mut report);
    mark_letters(&evidence, &mut report);
    if options.level == Level::Ledger {
        if !report.has_findings() {
            rows_by_count(&mut *witness, branch, &evidence, &plan, &mut report).await?;
        }
        report.finish();
        return Ok(report);
    }
    let mut audit = Audit { pipeline, branch, evidence, plan, report, options, progress, witness, key };
    audit.deeper().await?;
    audit.report.finish();
    Ok(audit.report)
}

fn unknown(name: &str, home: &str, known: Vec<String>) -> Error {
    let note = match known.as_slice() {
        [] => "the ledger knows no pipeline".to_owned(),
        names => format!("it knows: {}", names.join(", ")),
    };
    Error::config(codes::OF0107, format!("the ledger in {home} has no pipeline '{name}'"))
        .note(note)
        .help("run the pipeline first; to compare a table that something else wrote, see `onceflow audit --help`")
}

/// Where `--key` points: the table and its column.
fn key_column(branch: &Branch, name: &str) -> Result<Option<(usize, usize)>> {
    for (table, spec) in branch.tables.iter().enumerate() {
        if let Some(column) = spec.columns.iter().position(|column| column.name == name) {
            return Ok(Some((table, column)));
        }
    }
    let columns: Vec<&str> =
        branch.tables.iter().flat_map(|spec| &spec.columns).map(|column| column.name.as_str()).collect();
    Err(Error::config(codes::OF0123, format!("no target table has a column '{name}'"))
        .note(format!("there are: {}", columns.join(", "))))
}

/// What the ledger alone says of the records.
fn summary(evidence: &Evidence, plan: &Plan, report: &mut Report) {
    for (commit, _) in evidence.commits.iter().zip(&plan.chosen).filter(|(_, chosen)| **chosen) {
        if commit.is_replay() {
            continue;
        }
        report.summary.inputs += commit.counts.records;
        report.summary.filtered += commit.counts.filtered + commit.counts.late;
        report.summary.skipped += commit.counts.skipped;
        report.summary.dead_letters += commit.counts.dead;
    }
    let replayed = evidence.letter_counts.1;
    report.summary.dead_letters = report.summary.dead_letters.saturating_sub(replayed);
}

/// Where dead letters stand in the logs, for the picture.
fn mark_letters(evidence: &Evidence, report: &mut Report) {
    for ((partition, offset), _) in evidence.letters.iter().filter(|(_, letter)| !letter.replayed) {
        report.marks.add(&evidence.partitions[*partition], *offset, Mark::Dead);
    }
}

/// Rows that the commits say were written against rows that are there, where nothing but the pipeline writes: append, and
/// insert-ignore. For levels that do not look at rows.
async fn rows_by_count(
    witness: &mut dyn Witness,
    branch: &Branch,
    evidence: &Evidence,
    plan: &Plan,
    report: &mut Report,
) -> Result<()> {
    for table in branch.tables.iter().filter(|table| matches!(table.mode, WriteMode::Append | WriteMode::InsertIgnore))
    {
        if plan.ranged || chain::is_trimmed(evidence) || is_adopted(evidence, table) {
            continue;
        }
        let outputs = evidence.commits.iter().filter_map(|commit| commit.output(&table.name));
        let written: u64 = outputs.map(|output| output.written).sum();
        let there = witness.count(table).await?;
        let name = table.target();
        report.check(
            Level::Ledger,
            Some(&name),
            Some(written == there),
            format!("{written} rows written, {there} there"),
        );
        if there < written {
            report.summary.missing += written - there;
            let said = format!("{} rows are gone: {written} were written, {there} are there", written - there);
            report.find_fact(What::Missing, Some(&name), None, said);
        } else if there > written {
            report.summary.unexpected += there - written;
            let said = format!("{} rows too many: {written} were written, {there} are there", there - written);
            report.find_fact(What::Unexpected, Some(&name), None, said);
        }
    }
    Ok(())
}

/// Whether a table had rows before the pipeline's first start.
fn is_adopted(evidence: &Evidence, table: &TableSpec) -> bool {
    let target = table.target();
    let about = |detail: &str| {
        let detail: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
        detail["table"].as_str().is_none_or(|name| name == target || name == table.table)
    };
    evidence.events.iter().any(|event| event.kind == "adopt" && about(&event.detail))
}

struct Audit<'a> {
    pipeline: &'a Pipeline,
    branch: &'a Branch,
    evidence: Evidence,
    plan: Plan,
    report: Report,
    options: &'a Options,
    progress: &'a dyn Fn(Progress),
    witness: Box<dyn Witness>,
    key: Option<(usize, usize)>,
}

/// A judge with its table and what is legal there.
struct Seat {
    table: usize,
    judge: Box<dyn Judge>,
    excuses: Excuses,
    open: bool,
}

impl Audit<'_> {
    async fn deeper(&mut self) -> Result<()> {
        if !self.ask_sources()? {
            return Ok(());
        }
        let same_logic = self.same_logic();
        let forms: Vec<Vec<Form>> = self.branch.tables.iter().map(forms).collect();
        let mut changing = Vec::new();
        for table in self.branch.tables.iter() {
            let statement = matches!(table.mode, WriteMode::Statement { .. });
            changing.push(if statement {
                vec![false; table.columns.len()]
            } else {
                self.witness.changes_texts(table).await?
            });
        }
        let mut seats = self.seats().await?;
        let mut again = vec![Again::default(); self.evidence.commits.len()];
        let mut pass = 1;
        loop {
            let first = pass == 1;
            self.pass(pass, &forms, &changing, &mut seats, first.then_some(&mut again)).await?;
            if first {
                let Self { evidence, plan, branch, report, .. } = self;
                let whole = reread::compare(evidence, plan, branch, &again, same_logic, report);
                seats.iter_mut().for_each(|seat| excuse(evidence, plan, &branch.tables[seat.table], &whole, seat));
            }
            if !self.tables(pass, &forms, &mut seats).await? {
                break;
            }
            pass += 1;
        }
        self.report.read = self.plan.stretches(&self.evidence);
        self.verdicts(&seats, &again);
        self.list(pass + 1, &forms, &changing, &seats).await
    }

    /// Reads the sources once more, and lists every record about whose rows nothing was found.
    async fn list(&mut self, pass: u32, forms: &[Vec<Form>], changing: &[Vec<bool>], judged: &[Seat]) -> Result<()> {
        let Some(listing) = &self.options.each else { return Ok(()) };
        let mut tables: Vec<usize> = judged.iter().map(|seat| seat.table).collect();
        tables.dedup();
        let seat = |table: usize| {
            let judge = Box::new(list::Lister(listing.clone()));
            Seat { table, judge, excuses: Excuses::default(), open: true }
        };
        let mut seats: Vec<Seat> = tables.into_iter().map(seat).collect();
        self.pass(pass, forms, changing, &mut seats, None).await
    }

    /// What the sources still have, and whether they are the ones that the ledger knows.
    /// `false` where there is nothing left to read.
    fn ask_sources(&mut self) -> Result<bool> {
        for factory in &self.branch.sources {
            let mut source = factory.open()?;
            let asked = match plan::ask(&self.evidence, &mut self.plan, factory.name(), &mut *source) {
                Err(error) if error.code() == codes::OF0501 => {
                    let said = format!("'{}' holds nothing any more: {}", factory.name(), error.message());
                    self.report.uncheckable(Level::Source, None, said);
                    return Ok(false);
                }
                asked => asked?,
            };
            for (partition, said) in asked.mismatches {
                let record = self.evidence.positions.iter().find(|row| row.partition == partition);
                let record = record.map(|row| RecordName { partition: partition.clone(), offset: row.next.get() });
                self.report.find_fact(What::Source, None, record, said);
            }
        }
        if self.plan.beginning_unknown {
            let said = "the oldest commit rows are gone, and where reading began is not in the ledger: what was read before \
                        cannot be checked";
            self.report.uncheckable(Level::Source, None, said);
        }
        Ok(true)
    }

    /// Whether the file's logic is the one that made all rows.
    fn same_logic(&mut self) -> bool {
        let same = self.evidence.fingerprint == self.pipeline.fingerprint;
        let changed = self.evidence.events.iter().any(|event| event.kind == "logic");
        if !same || changed {
            let said = match same {
                false => {
                    "the file's logic is not the one that ran last: rows are compared with what the file makes of the records"
                }
                true => {
                    "the logic was changed since the first start: rows are compared with what the file makes of the records"
                }
            };
            self.report.check(Level::Rows, None, None, said);
        }
        same && !changed
    }

    /// Judges for the tables that can be judged row by row.
    async fn seats(&mut self) -> Result<Vec<Seat>> {
        let mut seats = Vec::new();
        if self.options.level < Level::Rows {
            return Ok(seats);
        }
        for (table, spec) in self.branch.tables.iter().enumerate() {
            if matches!(spec.mode, WriteMode::Statement { .. }) {
                let said = "the rows are written by a statement of your own: what it does cannot be computed again; its \
                            records and their values were audited to level 2";
                self.report.check(Level::Source, Some(&spec.target()), Some(true), said);
                continue;
            }
            let keys = if spec.key.is_empty() { 0 } else { self.witness.count(spec).await? };
            let judge: Box<dyn Judge> = match &spec.mode {
                WriteMode::Upsert => Box::new(Keyed::new(Stands::Last, keys)),
                WriteMode::InsertIgnore if !spec.key.is_empty() => Box::new(Keyed::new(Stands::First, keys)),
                WriteMode::InsertIgnore => Box::new(twice::Subset::default()),
                WriteMode::Merge(_) => Box::new(Merge::new(spec, keys)),
                WriteMode::Append | WriteMode::Statement { .. } => Box::new(Append::default()),
            };
            seats.push(Seat { table, judge, excuses: Excuses::default(), open: true });
        }
        if let Some((table, column)) = self.key {
            let judge = Box::new(Twice::new(column, self.report.summary.inputs));
            seats.push(Seat { table, judge, excuses: Excuses::default(), open: true });
        }
        Ok(seats)
    }

    /// Reads the sources once, for all judges that want it.
    async fn pass(
        &mut self,
        pass: u32,
        forms: &[Vec<Form>],
        changing: &[Vec<bool>],
        seats: &mut [Seat],
        again: Option<&mut Vec<Again>>,
    ) -> Result<()> {
        let Self { evidence, plan, branch, report, progress, witness, .. } = self;
        let rows = seats.iter().any(|seat| seat.open);
        let of = report.summary.inputs;
        let reader = Reader { branch, evidence, plan, forms, changing, rows };
        let mut bench =
            Bench { evidence, branch, forms, seats, report, progress, at: Progress { pass, records: 0, of, rows: 0 } };
        reader.read(&mut **witness, again, &mut bench).await
    }

    /// Reads the tables once. `true` where a judge wants another pass.
    async fn tables(&mut self, pass: u32, forms: &[Vec<Form>], seats: &mut [Seat]) -> Result<bool> {
        let mut more = false;
        let mut at = Progress { pass, records: self.report.summary.inputs, of: self.report.summary.inputs, rows: 0 };
        for seat in seats.iter_mut().filter(|seat| seat.open) {
            let table = &self.branch.tables[seat.table];
            let forms = &forms[seat.table];
            let Self { evidence, report, progress, witness, .. } = self;
            let Seat { judge, excuses, .. } = seat;
            let wants = judge.wants_table();
            let mut court = Court { evidence, report, table, forms, excuses };
            if wants {
                let mut each = |texts: &[Option<&str>]| {
                    at.rows += 1;
                    if at.rows.is_multiple_of(16_384) {
                        progress(at);
                    }
                    let cells: Vec<Option<Cow<'_, str>>> =
                        texts.iter().zip(forms).map(|(text, form)| text.map(|text| form.of_text(text))).collect();
                    judge.found(&cells, &mut court)
                };
                witness.scan(table, &mut each).await?;
            }
            seat.open = judge.end(&mut court)?;
            more |= seat.open;
        }
        Ok(more)
    }

    /// One line a table.
    fn verdicts(&mut self, seats: &[Seat], again: &[Again]) {
        let twice = self.report.found.get(&What::SentTwice).copied().unwrap_or(0);
        for seat in seats {
            let table = &self.branch.tables[seat.table];
            let name = table.target();
            let wrong = self.report.findings.iter().filter(|finding| finding.table.as_deref() == Some(&name)).count();
            let mode = match &table.mode {
                WriteMode::Append => "append, as a multiset",
                WriteMode::Upsert => "upsert, the last row of each key",
                WriteMode::Merge(_) => "merge, combined again",
                WriteMode::InsertIgnore => "insert-ignore, the first row of each key",
                WriteMode::Statement { .. } => "statement",
            };
            if self.key.is_some_and(|(own, _)| own == seat.table) && twice > 0 {
                let said = format!("the producer sent {twice} records whose key had come before");
                self.report.check(Level::Rows, Some(&name), Some(false), said);
            }
            let said = format!("every row compared with what the records make ({mode})");
            self.report.check(Level::Rows, Some(&name), Some(wrong == 0), said);
        }
        if seats.is_empty() && self.options.level == Level::Rows || self.options.level == Level::Source {
            let used: u64 = again.iter().map(|commit| commit.counts.used).sum();
            self.report.summary.once = used;
        }
    }
}

fn forms(table: &TableSpec) -> Vec<Form> {
    table.columns.iter().map(|column| Form::of(&column.data_type)).collect()
}

/// What is legal in a table, by what the ledger says and what could be read.
fn excuse(evidence: &Evidence, plan: &Plan, table: &TableSpec, whole: &[bool], seat: &mut Seat) {
    let excuses = &mut seat.excuses;
    excuses.adopted = is_adopted(evidence, table);
    excuses.ranged = plan.ranged;
    excuses.grouped_refused = evidence.grouped_letters.get(&table.target()).copied().unwrap_or(0);
    for (index, commit) in evidence.commits.iter().enumerate().filter(|(index, _)| plan.chosen[*index]) {
        if !whole[index] {
            excuses.gone_rows += commit.output(&table.name).map_or(0, |output| output.written);
        }
        let skipped = commit.counts.skipped.saturating_sub(commit.prepared.skipped);
        let dead = commit.counts.dead.saturating_sub(commit.prepared.dead);
        let kept = if dead > 0 { letters_of(evidence, commit) } else { 0 };
        let nowhere = skipped + dead.saturating_sub(kept);
        if nowhere > 0 && !commit.is_replay() {
            excuses.refused.insert(u32::try_from(index + 1).unwrap_or(u32::MAX), nowhere);
        }
    }
    if plan.beginning_unknown {
        excuses.gone_rows = u64::MAX / 2;
    }
}

/// How many of the records that the database refused in a commit have their dead letters still.
fn letters_of(evidence: &Evidence, commit: &evidence::Commit) -> u64 {
    let parts = commit.moves.iter().flat_map(|step| &step.parts);
    let count = |part: &evidence::Part| {
        let range = (part.partition, part.span.from().get())..(part.partition, part.span.to().get());
        evidence.letters.range(range).filter(|(_, letter)| letter.refused).count() as u64
    };
    parts.map(count).sum()
}

/// The judges, as the reader sees them.
struct Bench<'a> {
    evidence: &'a Evidence,
    branch: &'a Branch,
    forms: &'a [Vec<Form>],
    seats: &'a mut [Seat],
    report: &'a mut Report,
    progress: &'a dyn Fn(Progress),
    at: Progress,
}

impl Listener for Bench<'_> {
    fn rows(&mut self, rows: &Made<'_>) -> Result<()> {
        let table = &self.branch.tables[rows.table];
        for seat in self.seats.iter_mut().filter(|seat| seat.open && seat.table == rows.table) {
            let forms = &self.forms[rows.table];
            let Seat { judge, excuses, .. } = seat;
            let mut court = Court { evidence: self.evidence, report: self.report, table, forms, excuses };
            let mut cells = Vec::with_capacity(forms.len());
            for row in 0..rows.len {
                let Some(origin) = rows.origin(row) else { continue };
                rows.cells(row, &mut cells);
                judge.expected(&cells, origin, &mut court)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, records: u64) {
        self.at.records += records;
        (self.progress)(self.at);
    }
}
