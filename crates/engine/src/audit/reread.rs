//! The source read again, and everything computed again that the ledger and the tables can be compared with.

use super::canon::Form;
use super::evidence::Evidence;
use super::judge::Origin;
use super::plan::{Plan, seek};
use super::report::{Level, RecordName, Report, Stretch, What};
use crate::changes::{Part, RowSet, TableSpec};
use crate::codes;
use crate::digest::digest_rows;
use crate::error::{Error, Result};
use crate::home::witness::Witness;
use crate::logic::{EpochClock, Logic};
use crate::pipeline::Branch;
use crate::record::{Batch, Records};
use crate::source::FetchLimits;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use onceflow_core::{Counts, Digest, Position, Span};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many records, and about so many bytes of them, are read at a time.
const RECORDS_AT_ONCE: usize = 16_384;
const BYTES_AT_ONCE: usize = 16 << 20;
/// How long to wait for records that should be there, in all.
const WAIT: Duration = Duration::from_secs(1);
const WAITS_MAX: u32 = 30;

/// What one commit comes to when it is computed again.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// Records of each of its parts, in their order.
    pub parts: BTreeMap<(usize, u64), Digest>,
    /// What becomes of the records.
    pub counts: Counts,
    /// Rows of each table, where they can be told one by one.
    pub tables: BTreeMap<usize, Digest>,
    /// Tables of which rows are made of many records.
    pub grouped: bool,
}

/// What a pass hands on: a table's rows with their records.
pub trait Listener {
    /// Rows of one table made of records of one partition and one commit.
    fn rows(&mut self, rows: &Made<'_>) -> Result<()>;
    /// So many records were read.
    fn read(&mut self, records: u64);
}

/// Rows that records make.
pub struct Made<'a> {
    /// The table's index in the branch.
    pub table: usize,
    /// The rows; texts in the form in which the database keeps them.
    pub columns: Vec<ArrayRef>,
    /// How many.
    pub len: usize,
    /// For each row its record; `None` where many records made it.
    origins: Vec<Option<Origin>>,
    /// Where the rows begin that many records made.
    around: Origin,
    forms: &'a [Form],
}

impl Made<'_> {
    /// Where a row comes from, and whether that is exact.
    pub fn origin(&self, row: usize) -> Option<Origin> {
        match self.origins.get(row) {
            Some(origin) => *origin,
            None => Some(self.around),
        }
    }

    /// A row's cells in their common form.
    pub fn cells<'b>(&'b self, row: usize, out: &mut Vec<Option<Cow<'b, str>>>) {
        out.clear();
        out.extend(self.columns.iter().zip(self.forms).map(|(column, form)| form.of_record(column, row)));
    }
}

/// Reads everything that the plan wants, once.
pub struct Reader<'a> {
    /// The branch.
    pub branch: &'a Branch,
    /// What the ledger says.
    pub evidence: &'a Evidence,
    /// What is to be read.
    pub plan: &'a Plan,
    /// For each table the forms of its columns.
    pub forms: &'a [Vec<Form>],
    /// For each table the columns whose texts the database changes.
    pub changing: &'a [Vec<bool>],
    /// Whether rows are wanted.
    pub rows: bool,
}

impl Reader<'_> {
    /// Reads. `again` collects what each commit comes to, where it is wanted.
    pub async fn read(
        &self,
        witness: &mut dyn Witness,
        mut again: Option<&mut Vec<Again>>,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let mut logic = self.branch.logic.build()?;
        for (index, factory) in self.branch.sources.iter().enumerate() {
            let mut source = factory.open()?;
            if !seek(self.evidence, self.plan, factory.name(), &mut *source)? {
                continue;
            }
            let mut waits = 0;
            loop {
                let limits = FetchLimits { records_max: RECORDS_AT_ONCE, bytes_max: BYTES_AT_ONCE, wait_max: WAIT };
                let fetch = source.next(&limits)?;
                waits = if fetch.batches.is_empty() { waits + 1 } else { 0 };
                for batch in &fetch.batches {
                    self.batch(index, batch, &mut *logic, witness, again.as_deref_mut(), listener).await?;
                }
                if fetch.finished {
                    break;
                }
                if waits > WAITS_MAX {
                    return Err(silent(factory.name()));
                }
            }
        }
        Ok(())
    }

    async fn batch(
        &self,
        source: usize,
        batch: &Batch,
        logic: &mut dyn Logic,
        witness: &mut dyn Witness,
        mut again: Option<&mut Vec<Again>>,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let Ok(partition) = self.evidence.partitions.binary_search(&batch.partition) else { return Ok(()) };
        let (from, to) = (batch.span.from().get(), batch.span.to().get());
        let lane = &self.plan.lanes[partition];
        for reach in &lane.reaches[lane.touching(from, to)] {
            let (from, to) = (from.max(reach.from), to.min(reach.to));
            if from >= to {
                continue;
            }
            let piece = cut(batch, from, to);
            let records = piece.records.len() as u64;
            let commit = (reach.order as usize).checked_sub(1);
            let clock = commit.map_or(EpochClock { now: 0, seed: 0 }, |index| self.evidence.commits[index].clock);
            let noted = again.as_deref_mut().zip(commit).filter(|_| reach.digest.is_some());
            let noted = noted.map(|(again, commit)| (&mut again[commit], piece.digest()));
            // Where the commit row is gone, so is its clock: rows that depend on it cannot be told.
            let other =
                if reach.digest.is_none() { Some(logic.prepare(source, vec![piece.clone()], &OTHER)?) } else { None };
            let part = logic.prepare(source, vec![piece], &clock)?;
            let around = Origin {
                partition: u32::try_from(partition).unwrap_or(u32::MAX),
                offset: from,
                order: reach.order,
                slot: 0,
                replayed: other.is_some_and(|other| digests(&other) != digests(&part)),
            };
            if let Some((again, digest)) = noted {
                note(again, (partition, reach.from), digest, &part);
            }
            listener.read(records);
            if self.rows {
                self.made(&part, around, witness, listener).await?;
            }
        }
        Ok(())
    }

    async fn made(
        &self,
        part: &Part,
        around: Origin,
        witness: &mut dyn Witness,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let mut slots: BTreeMap<(usize, u32), u32> = BTreeMap::new();
        for set in &part.sets {
            let table = &self.branch.tables[set.table];
            let columns = stored(witness, table, &self.changing[set.table], set).await?;
            let origins = match &set.ordinals {
                None => Vec::new(),
                Some(ordinals) => {
                    ordinals.iter().map(|o| self.origin(part, *o, set.table, around, &mut slots)).collect()
                }
            };
            let forms = self.forms[set.table].as_slice();
            let len = set.rows.num_rows();
            listener.rows(&Made { table: set.table, columns, len, origins, around, forms })?;
        }
        Ok(())
    }

    /// A row's record; `None` where the database refused the record, so that none of its rows is in any table.
    fn origin(
        &self,
        part: &Part,
        ordinal: u32,
        table: usize,
        around: Origin,
        slots: &mut BTreeMap<(usize, u32), u32>,
    ) -> Option<Origin> {
        let (_, record) = part.record(ordinal);
        let offset = record.offset.get();
        let letter = self.evidence.letters.get(&(around.partition as usize, offset));
        if letter.is_some_and(|letter| letter.refused && !letter.replayed) {
            return None;
        }
        let slot = slots.entry((table, ordinal)).or_default();
        let replayed = around.replayed || letter.is_some_and(|letter| letter.replayed);
        let origin = Origin { offset, slot: *slot, replayed, ..around };
        *slot += 1;
        Some(origin)
    }
}

/// A clock that no commit has had: rows that differ under it depend on the clock.
const OTHER: EpochClock = EpochClock { now: 1_234_567_890_123_456, seed: 1 };

/// The rows of a part, set by set.
fn digests(part: &Part) -> Vec<Digest> {
    part.sets.iter().map(|set| digest_rows(&set.rows)).collect()
}

/// The columns of a set, with texts as the database keeps them.
async fn stored(
    witness: &mut dyn Witness,
    table: &TableSpec,
    changing: &[bool],
    set: &RowSet,
) -> Result<Vec<ArrayRef>> {
    let mut columns = set.rows.columns().to_vec();
    for (index, column) in columns.iter_mut().enumerate().filter(|(index, _)| changing[*index]) {
        if *column.data_type() != DataType::Utf8 {
            continue;
        }
        let texts = column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
        let texts = witness.stored(table, index, texts).await?;
        *column = std::sync::Arc::new(arrow_array::StringArray::from(texts));
    }
    Ok(columns)
}

fn silent(name: &str) -> Error {
    let message = format!("'{name}' gives no more records, though the ledger says that there are some");
    Error::unavailable(codes::OF0017, message).help("see whether all brokers and files are there, then repeat")
}

/// The records of a batch between two offsets.
fn cut(batch: &Batch, from: u64, to: u64) -> Batch {
    let span = Span::new(Position::new(from), Position::new(to)).unwrap_or(batch.span);
    if span == batch.span {
        return batch.clone();
    }
    let mut records = Records::default();
    let inside = |offset: u64| offset >= from && offset < to;
    batch.records.iter().filter(|record| inside(record.offset.get())).for_each(|record| records.push(record));
    Batch { records, span, ..batch.clone() }
}

fn note(again: &mut Again, place: (usize, u64), digest: Digest, part: &Part) {
    again.parts.entry(place).or_default().merge(digest);
    again.counts.merge(&part.counts);
    for set in &part.sets {
        again.grouped |= set.ordinals.is_none();
        again.tables.entry(set.table).or_default().merge(digest_rows(&set.rows));
    }
}

/// Compares what was computed again with the commit rows: level 2. `same_logic` says whether the file's logic is the one that
/// ran. Returns, for each commit, whether it could be read wholly.
pub fn compare(
    evidence: &Evidence,
    plan: &Plan,
    branch: &Branch,
    again: &[Again],
    same_logic: bool,
    report: &mut Report,
) -> Vec<bool> {
    let before: u64 = report.found.values().sum();
    let mut whole = vec![true; evidence.commits.len()];
    let mut read = 0;
    for (partition, lane) in plan.lanes.iter().enumerate() {
        let mut gone: Option<Gone> = None;
        for reach in &lane.reaches {
            let Some((commit, expected)) = (reach.order as usize).checked_sub(1).zip(reach.digest) else { continue };
            let found = again[commit].parts.get(&(partition, reach.from)).copied().unwrap_or_default();
            read += found.count();
            if found == expected {
                continue;
            }
            whole[commit] = false;
            if found.count() < expected.count() {
                let less = expected.count() - found.count();
                gone = Some(Gone::add(gone, less, reach.from, reach.to));
                continue;
            }
            let name = &evidence.partitions[partition];
            let said = format!(
                "{name} {}..{}: the records read differently from what commit {} consumed ({} then, {} now)",
                reach.from,
                reach.to,
                evidence.commits[commit].id,
                expected.count(),
                found.count()
            );
            let record = RecordName { partition: name.clone(), offset: reach.from };
            report.find_fact(What::Source, None, Some(record), said);
        }
        if let Some(gone) = gone {
            gone.tell(evidence, partition, lane.why.as_deref(), report);
        }
    }
    if same_logic {
        outputs(evidence, plan, branch, again, &whole, report);
    }
    let after: u64 = report.found.values().sum();
    let said = format!("{read} records were read again; number and digest of every span were compared with the ledger");
    report.check(Level::Source, None, Some(after == before), said);
    whole
}

/// Records that the source does not hold any more.
struct Gone {
    records: u64,
    from: u64,
    to: u64,
}

impl Gone {
    fn add(gone: Option<Self>, records: u64, from: u64, to: u64) -> Self {
        match gone {
            None => Self { records, from, to },
            Some(gone) => Self { records: gone.records + records, from: gone.from.min(from), to: gone.to.max(to) },
        }
    }

    fn tell(&self, evidence: &Evidence, partition: usize, why: Option<&str>, report: &mut Report) {
        let name = &evidence.partitions[partition];
        let Self { records, from, to } = self;
        report.summary.unverifiable += records;
        report.gone_records += records;
        let why = why.unwrap_or("records between others are gone: compacted or deleted");
        let other_log = *to == u64::MAX;
        let place = if other_log { "of an earlier log".to_owned() } else { format!("offsets {from}..{to}") };
        report.check(Level::Source, None, None, format!("{name}: unverifiable: {records} records, {place}: {why}"));
        if !other_log {
            report.gone.push(Stretch { partition: name.clone(), from: *from, to: *to });
        }
    }
}

/// Counts and digests of what was prepared, where every record of a commit could be read.
fn outputs(evidence: &Evidence, plan: &Plan, branch: &Branch, again: &[Again], whole: &[bool], report: &mut Report) {
    for (index, commit) in evidence.commits.iter().enumerate() {
        if commit.is_replay() || !whole[index] || !plan.chosen[index] {
            continue;
        }
        let computed = &again[index];
        if computed.counts != commit.prepared {
            let said = format!(
                "commit {} ({}): its records give other counts now: {:?} instead of {:?}",
                commit.id, commit.at, computed.counts, commit.prepared
            );
            report.find_fact(What::Ledger, None, None, said);
            continue;
        }
        if computed.grouped {
            continue;
        }
        for (table, spec) in branch.tables.iter().enumerate() {
            let now = computed.tables.get(&table).copied().unwrap_or_default();
            let then = commit.output(&spec.name).and_then(|output| output.prepared).unwrap_or_default();
            if now != then {
                let said = format!(
                    "commit {} ({}): the rows that it prepared are not those that its records give: {} rows then, {} now",
                    commit.id,
                    commit.at,
                    then.count(),
                    now.count()
                );
                report.find_fact(What::Ledger, Some(&spec.target()), None, said);
            }
        }
    }
}
