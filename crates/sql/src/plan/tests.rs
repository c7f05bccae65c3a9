//! Queries over records: what comes out, what fails, what is refused. Each case runs straight, cut into random batches, and with
//! a record in the middle that cannot be decoded.

mod expressions;
mod queries;
mod refusals;

use crate::{CompileOptions, compile_fully};
use arrow_cast::display::array_value_to_string;
use onceflow::Error;
use onceflow::changes::{MergeOp, Part, TableSpec, WriteMode};
use onceflow::core::{Partition, Position, Span};
use onceflow::logic::{EpochClock, Logic};
use onceflow::pipeline::Pipeline;
use onceflow::record::{Batch, Record, Records, TimestampType};
use std::collections::BTreeMap;

const SOURCE: &str = "CREATE TABLE t (
  id BIGINT, n INT, b BIGINT, s STRING, d DECIMAL(12, 2), big DECIMAL(38, 18), f DOUBLE, flag BOOLEAN, ts TIMESTAMP(3),
  `day` DATE, arr ARRAY<INT>, m MAP<STRING, INT>, r ROW<x INT, y STRING>, items ARRAY<ROW<sku STRING, qty INT>>,
  small SMALLINT, at_utc TIMESTAMP_LTZ(3)
) WITH ('connector' = 'filesystem', 'path' = '/tmp/none/*.jsonl', 'format' = 'json');
";

const CLOCK: EpochClock = EpochClock { now: 1_700_000_000_123_456, seed: 42 };

/// A target with some columns, further options and a key.
fn target(name: &str, columns: &str, options: &str) -> String {
    format!(
        "CREATE TABLE {name} ({columns}) WITH ('connector' = 'sqlite', 'url' = 'sqlite:/tmp/none.db', 'table-name' = '{name}'{options});\n"
    )
}

fn compiled(text: &str) -> Result<Pipeline, Vec<Error>> {
    compile_fully("test.sql", text, &|_| None, &CompileOptions::default()).map(|compiled| compiled.pipeline)
}

fn records(values: &[&str], first: u64) -> Batch {
    let mut records = Records::with_capacity(values.len(), 1000);
    for (index, value) in values.iter().enumerate() {
        records.push(Record {
            offset: Position::new(first + index as u64),
            timestamp: Some(1_600_000_000_000),
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
            line: first + index as u64 + 1,
        });
    }
    let span =
        Span::new(Position::new(first), Position::new(first + values.len() as u64)).expect("a span goes forward");
    Batch { partition: Partition::new("t", "file", 0), span, records, leader_epoch: None, file: None }
}

/// What came out: rows by table with the offset of their record, groups by table, failures by offset.
#[derive(Default, Debug, PartialEq)]
struct Outcome {
    rows: Vec<String>,
    groups: BTreeMap<(String, Vec<String>), Vec<String>>,
    failed: Vec<(u64, String, String)>,
    used: u64,
}

impl Outcome {
    fn add(&mut self, part: &Part, tables: &[TableSpec]) {
        assert!(part.counts.balanced(), "{:?}", part.counts);
        self.used += part.counts.used;
        for failed in &part.failed {
            let offset = part.record(failed.ordinal).1.offset.get();
            self.failed.push((offset, failed.code.to_string(), failed.reason.clone()));
        }
        for set in &part.sets {
            let spec = &tables[set.table];
            assert_eq!(set.rows.num_columns(), spec.columns.len());
            for (column, declared) in set.rows.columns().iter().zip(&spec.columns) {
                assert_eq!(column.data_type(), &declared.data_type, "{}.{}", spec.name, declared.name);
            }
            for row in 0..set.rows.num_rows() {
                let cells = cells(&set.rows, row);
                match &set.ordinals {
                    Some(ordinals) => {
                        let offset = part.record(ordinals[row]).1.offset.get();
                        self.rows.push(format!("{offset} {}: {}", spec.name, cells.join(", ")));
                    }
                    None => self.merge(spec, cells),
                }
            }
        }
        self.rows.sort();
        self.failed.sort();
    }

    /// Combines a group's part with what is there, as the table would.
    fn merge(&mut self, spec: &TableSpec, cells: Vec<String>) {
        let WriteMode::Merge(ops) = &spec.mode else { panic!("groups go to merging tables") };
        let key = spec.key.iter().map(|index| cells[*index].clone()).collect();
        let entry = (spec.name.to_string(), key);
        let Some(known) = self.groups.get_mut(&entry) else {
            self.groups.insert(entry, cells);
            return;
        };
        for ((known, new), op) in known.iter_mut().zip(cells).zip(ops) {
            if let Some(op) = op {
                *known = combined(*op, known, &new);
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|((table, _), cells)| format!("{table}: {}", cells.join(", ")));
        let failed = self.failed.iter().map(|(offset, code, _)| format!("{offset} {code}"));
        self.rows.iter().cloned().chain(groups).chain(failed).collect()
    }
}

fn combined(op: MergeOp, known: &str, new: &str) -> String {
    if new == "NULL" {
        return known.to_owned();
    }
    if known == "NULL" || op == MergeOp::Last {
        return new.to_owned();
    }
    let number = |text: &str| text.parse::<f64>().ok();
    match (op, number(known), number(new)) {
        (MergeOp::Sum, Some(a), Some(b)) if known.contains('.') => format!("{:.2}", a + b),
        (MergeOp::Sum, Some(a), Some(b)) => format!("{}", a + b),
        (MergeOp::Min, Some(a), Some(b)) => if a <= b { known } else { new }.to_owned(),
        (MergeOp::Max, Some(a), Some(b)) => if a >= b { known } else { new }.to_owned(),
        (MergeOp::Min, ..) => known.min(new).to_owned(),
        (MergeOp::Max, ..) => known.max(new).to_owned(),
        (MergeOp::Or, ..) => (known == "true" || new == "true").to_string(),
        (MergeOp::And, ..) => (known == "true" && new == "true").to_string(),
        _ => known.to_owned(),
    }
}

fn cells(rows: &arrow_array::RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &arrow_array::ArrayRef| match column.is_null(row) {
        true => "NULL".to_owned(),
        false => array_value_to_string(column, row).expect("every value can be shown"),
    };
    rows.columns().iter().map(cell).collect()
}

/// Runs a pipeline over records that come in calls of these sizes.
fn run(pipeline: &Pipeline, values: &[&str], sizes: &[usize]) -> Outcome {
    let branch = &pipeline.branches[0];
    let mut logic = branch.logic.build().expect("the logic can be built");
    let mut outcome = Outcome::default();
    let mut start = 0;
    let mut sizes = sizes.iter().copied();
    while start < values.len() {
        let size = sizes.next().unwrap_or(usize::MAX).clamp(1, values.len() - start);
        let part = call(&mut *logic, vec![records(&values[start..start + size], start as u64)]);
        outcome.add(&part, &branch.tables);
        start += size;
    }
    outcome
}

fn call(logic: &mut dyn Logic, batches: Vec<Batch>) -> Part {
    logic.prepare(0, batches, &CLOCK).expect("no record stops the pipeline")
}

/// Sizes of calls that follow from a seed.
fn sizes(seed: u64) -> Vec<usize> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % 4).expect("it is below four") + 1
    };
    (0..64).map(|_| next()).collect()
}

/// The one check: rows, groups and failures of a text over records, however they are cut, and beside a poisoned record.
fn check(text: &str, values: &[&str], expected: &[&str]) {
    let pipeline = match compiled(text) {
        Ok(pipeline) => pipeline,
        Err(errors) => panic!("{text}\n{errors:?}"),
    };
    let straight = run(&pipeline, values, &[]);
    let mut wanted: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
    let mut lines = straight.lines();
    wanted.sort();
    lines.sort();
    assert_eq!(lines, wanted, "\n{text}\n{:?}", straight.failed);
    for seed in 1..5 {
        assert_eq!(run(&pipeline, values, &sizes(seed)), straight, "{text} in batches of {:?}", sizes(seed));
    }
    check_poisoned(&pipeline, values, &straight);
}

/// A record that cannot be decoded changes nothing for its neighbours.
fn check_poisoned(pipeline: &Pipeline, values: &[&str], straight: &Outcome) {
    let middle = values.len() / 2;
    let mut poisoned = values.to_vec();
    poisoned.insert(middle, "{\"id\": nonsense");
    let with = run(pipeline, &poisoned, &[]);
    let shifted = |offset: u64| if offset >= middle as u64 { offset + 1 } else { offset };
    let mut failed: Vec<_> = straight.failed.iter().map(|(offset, code, _)| (shifted(*offset), code.clone())).collect();
    failed.push((middle as u64, "poison".into()));
    failed.sort();
    let mut found: Vec<_> = with.failed.iter().map(|(offset, code, _)| (*offset, code.clone())).collect();
    found.iter_mut().filter(|(offset, _)| *offset == middle as u64).for_each(|(_, code)| *code = "poison".into());
    assert_eq!(found, failed);
    assert_eq!(with.used, straight.used);
    assert_eq!(with.groups, straight.groups);
    assert_eq!(with.rows.len(), straight.rows.len());
}

/// The errors of a text: their codes, and whether each has a place.
fn refusal(text: &str) -> Vec<Error> {
    match compiled(text) {
        Ok(_) => panic!("it was accepted:\n{text}"),
        Err(errors) => errors,
    }
}
