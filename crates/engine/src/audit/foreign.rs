//! A table that something else writes, against the topic that it is made from: no ledger, so the bounds are the log's own.
//!
//! Each record is expected as one row: as often as it was sent (append), or the last one of each key (upsert).

use super::append::Append;
use super::canon::Form;
use super::evidence::{Commit, Evidence};
use super::judge::{Excuses, Judge};
use super::keyed::{Keyed, Stands};
use super::plan::{Lane, Plan, Reach};
use super::report::{Level, Report};
use super::{Audit, Options, Progress, Seat, forms};
use crate::codes;
use crate::error::{Error, Result};
use crate::home::desk::Cell;
use crate::home::witness::Witness;
use crate::logic::EpochClock;
use crate::pipeline::{Branch, Pipeline};
use onceflow_core::{Counts, PipelineId, PositionRow};
use std::collections::BTreeMap;

/// What is compared.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Whether a row replaces the one with its key, instead of standing beside it. The key is the table's declared one.
    pub upsert: bool,
    /// Up to which offset each partition is compared; the log's end where none is given.
    pub until: BTreeMap<u32, u64>,
}

/// Compares the one table of a branch with its source.
pub async fn audit(
    pipeline: &Pipeline,
    branch: &Branch,
    foreign: &Foreign,
    options: &Options,
    progress: &dyn Fn(Progress),
) -> Result<Report> {
    let mut report = Report::new(branch.home.describe(), options.limit);
    report.apart = options.each.as_ref().map(|_| Default::default());
    let mut witness = branch.home.witness().await?;
    let table = &branch.tables[0];
    let forms = columns(&mut *witness, branch).await?;
    let (evidence, plan) = bounds(branch, foreign)?;
    for (partition, lane) in evidence.partitions.iter().zip(&plan.lanes) {
        let said = match lane.readable {
            Some((from, to)) => format!("{partition}: offsets {from}..{to}"),
            None => format!("{partition}: no records"),
        };
        report.check(Level::Source, None, Some(true), said);
        report.summary.inputs += lane.readable.map_or(0, |(from, to)| to - from);
    }
    let judge: Box<dyn Judge> = match foreign.upsert {
        true => Box::new(Keyed::new(Stands::Last, witness.count(table).await?)),
        false => Box::new(Append::default()),
    };
    let changing = vec![witness.changes_texts(table).await?];
    let mut seats = vec![Seat { table: 0, judge, excuses: Excuses::default(), open: true }];
    let mut audit = Audit { pipeline, branch, evidence, plan, report, options, progress, witness, key: None };
    let mut again = vec![super::Again::default()];
    let mut pass = 1;
    loop {
        let first = pass == 1;
        audit.pass(pass, &forms, &changing, &mut seats, first.then_some(&mut again)).await?;
        if first {
            let counts = again[0].counts;
            audit.report.summary.inputs = counts.records;
            audit.report.summary.dead_letters = counts.dead;
            if counts.dead > 0 {
                let said = format!("{} records do not have these fields: no row is expected of them", counts.dead);
                audit.report.check(Level::Source, None, None, said);
            }
        }
        if !audit.tables(pass, &forms, &mut seats).await? {
            break;
        }
        pass += 1;
    }
    audit.report.read = audit.plan.stretches(&audit.evidence);
    audit.verdicts(&seats, &[]);
    audit.list(pass + 1, &forms, &changing, &seats).await?;
    audit.report.finish();
    Ok(audit.report)
}

/// How the table's columns are compared, by the types that they have in the database.
async fn columns(witness: &mut dyn Witness, branch: &Branch) -> Result<Vec<Vec<Form>>> {
    let table = &branch.tables[0];
    let text = |text: &str| Cell::Text(text.to_owned());
    let rows = match branch.home.system() {
        "SQLite" => witness.rows("SELECT name, type FROM pragma_table_info($1)", &[text(&table.table)]).await?,
        _ => {
            let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns \
                       WHERE table_name = $1 AND table_schema = ANY (CASE WHEN $2 = '' THEN current_schemas(false)::text[] \
                       ELSE ARRAY[$3] END)";
            let schema = table.schema.clone().unwrap_or_default();
            witness.rows(sql, &[text(&table.table), text(&schema), text(&schema)]).await?
        }
    };
    let mut found = BTreeMap::new();
    for row in &rows {
        if let [Cell::Text(name), Cell::Text(data_type)] = row.as_slice() {
            found.insert(name.clone(), data_type.to_ascii_lowercase());
        }
    }
    let mut forms = forms(table);
    for (form, column) in forms.iter_mut().zip(&table.columns) {
        let data_type = found.get(&column.name).ok_or_else(|| {
            let there = found.keys().cloned().collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { "there is no such table".to_owned() } else { format!("it has: {there}") };
            Error::config(codes::OF0125, format!("table {} has no column '{}'", table.target(), column.name))
                .note(there)
        })?;
        *form = form_of(data_type);
    }
    Ok(vec![forms])
}

fn form_of(data_type: &str) -> Form {
    let has = |words: &[&str]| words.iter().any(|word| data_type.contains(word));
    if has(&["bool"]) {
        Form::Boolean
    } else if has(&["timestamp", "date", "time"]) {
        Form::Time
    } else if has(&["int", "num", "dec", "real", "double", "float"]) && !has(&["interval", "point"]) {
        Form::Number
    } else if has(&["json", "array"]) {
        Form::Nested
    } else {
        Form::Text
    }
}

/// Everything that the log holds now, up to the offsets that were given, as one commit.
fn bounds(branch: &Branch, foreign: &Foreign) -> Result<(Evidence, Plan)> {
    let mut positions = Vec::new();
    let mut lanes = BTreeMap::new();
    for factory in &branch.sources {
        let mut source = factory.open()?;
        let found = source.discover()?;
        let partitions: Vec<_> = found.iter().map(|found| found.partition.clone()).collect();
        let begin = source.beginnings(&partitions)?;
        let ends = match source.bound(&partitions)? {
            Some(bound) => bound,
            None => source.ends(&partitions)?,
        };
        for found in found {
            let (Some(from), Some(to)) = (begin.get(&found.partition), ends.get(&found.partition)) else { continue };
            let to = foreign.until.get(&found.partition.number).map_or(to.get(), |until| to.get().min(*until));
            let reach = Reach { from: from.get(), to, order: 1, digest: Some(onceflow_core::Digest::EMPTY) };
            let readable = (from.get() < to).then_some((from.get(), to));
            let reaches = readable.map(|_| reach).into_iter().collect();
            lanes.insert(found.partition.clone(), Lane { reaches, readable, why: None, overlaps: false });
            positions.push(PositionRow {
                shard: found.partition.own_shard(),
                partition: found.partition,
                identity: found.identity,
                next: *from,
                leader_epoch: None,
                tail: None,
                watermark: None,
            });
        }
    }
    positions.sort_by(|a, b| a.partition.cmp(&b.partition));
    let commit = Commit {
        id: 0,
        at: String::new(),
        moves: Vec::new(),
        counts: Counts::default(),
        prepared: Counts::default(),
        outputs: Vec::new(),
        clock: EpochClock { now: 0, seed: 0 },
    };
    let evidence = Evidence {
        pipeline: PipelineId::new(0),
        fingerprint: String::new(),
        shards: Vec::new(),
        positions,
        partitions: lanes.keys().cloned().collect(),
        commits: vec![commit],
        letters: BTreeMap::new(),
        grouped_letters: BTreeMap::new(),
        letter_counts: (0, 0),
        events: Vec::new(),
    };
    let plan = Plan { lanes: lanes.into_values().collect(), chosen: vec![true], ..Plan::default() };
    Ok((evidence, plan))
}
