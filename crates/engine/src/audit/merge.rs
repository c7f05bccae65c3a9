//! Rows that are merged into what is there: the records' rows are combined again, key by key.
//!
//! Owns the arithmetic, which is done apart from that of the homes: whole numbers and decimals exactly, NULL as nothing.
//! Floating-point sums depend on the order of addition, so they may differ in the last digits. What is kept by `last` and
//! `first` depends on an order that is only known inside a partition; see [`super::keyed`].

use super::canon::Form;
use super::judge::{Cells, Court, Judge, KEYS_AT_ONCE, Origin, Rounds};
use super::report::What;
use crate::changes::{MergeOp, TableSpec, WriteMode};
use crate::error::Result;
use std::collections::HashMap;

/// By how much floating-point sums may differ, as a part of the sum of absolute values.
const FLOAT_TOLERANCE: f64 = 1e-9;

/// The judge of a table that is merged into.
pub struct Merge {
    ops: Vec<Option<MergeOp>>,
    rounds: Rounds,
    keys: HashMap<u128, Entry, foldhash::fast::RandomState>,
    bytes: Vec<u8>,
}

struct Entry {
    cells: Vec<Held>,
    last: Origin,
    seen: bool,
}

/// What a column of a key has come to.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    /// A value, or NULL.
    Cell(Option<String>),
    /// An exact sum: digits, and how many of them stand behind the point.
    Sum(Option<(i128, u32)>),
    /// A floating-point sum, and the sum of absolute values.
    Float(Option<(f64, f64)>),
    /// Values of which any may stand, with the commit that they come from.
    Either(u32, Vec<(u32, u32, Option<String>)>),
    /// Beyond what can be computed.
    Unknown,
}

impl Merge {
    /// A judge for a table that has about so many keys.
    pub fn new(table: &TableSpec, keys: u64) -> Self {
        let ops = match &table.mode {
            WriteMode::Merge(ops) => ops.clone(),
            _ => Vec::new(),
        };
        Self { ops, rounds: Rounds::over(keys, KEYS_AT_ONCE), keys: HashMap::default(), bytes: Vec::new() }
    }
}

impl Judge for Merge {
    fn expected(&mut self, row: &Cells<'_>, origin: Origin, court: &mut Court<'_>) -> Result<()> {
        let key = court.key(&mut self.bytes, row);
        if !self.rounds.has(key) {
            return Ok(());
        }
        let ops = &self.ops;
        let cells = || row.iter().zip(ops).zip(court.forms).map(|((_, op), form)| Held::empty(*op, *form)).collect();
        let entry = self.keys.entry(key).or_insert_with(|| Entry { cells: cells(), last: origin, seen: false });
        entry.last = origin;
        for ((held, cell), (op, form)) in entry.cells.iter_mut().zip(row).zip(ops.iter().zip(court.forms)) {
            held.add(*op, *form, cell.as_deref(), origin);
        }
        Ok(())
    }

    fn found(&mut self, row: &Cells<'_>, court: &mut Court<'_>) -> Result<()> {
        let key = court.key(&mut self.bytes, row);
        if !self.rounds.has(key) || court.excuses.ranged {
            return Ok(());
        }
        let Some(entry) = self.keys.get_mut(&key) else {
            stranger(row, court);
            return Ok(());
        };
        let origin = Some(entry.last);
        if std::mem::replace(&mut entry.seen, true) {
            court.report.summary.repeated += 1;
            let row = court.row(row);
            court.find(What::Repeated, origin, Some(row), 1, "another row has the same key".to_owned());
            return Ok(());
        }
        let different = entry.cells.iter().zip(row).enumerate().filter(|(_, (held, cell))| !held.is(cell.as_deref()));
        let said = different.map(|(index, (held, cell))| {
            let name = &court.table.columns[index].name;
            format!("{name} is {} and the records give {}", cell.as_deref().unwrap_or("NULL"), held.shown())
        });
        let said: Vec<String> = said.collect();
        if said.is_empty() {
            court.report.summary.once += 1;
        } else if court.excuses.gone_rows > 0 {
            // What its records have come to is unknown; they are counted as unverifiable already.
        } else if court.excuses.adopted {
            court.report.summary.unverifiable += 1;
        } else if court.excuses.grouped_refused > 0 {
            court.excuses.grouped_refused -= 1;
            court.report.summary.unverifiable += 1;
        } else if court.excuse_refused_any() {
            court.report.summary.unverifiable += 1;
        } else {
            court.report.summary.changed += 1;
            let row = court.row(row);
            court.find(What::Changed, origin, Some(row), 1, said.join(", "));
        }
        Ok(())
    }

    fn end(&mut self, court: &mut Court<'_>) -> Result<bool> {
        let keys = std::mem::take(&mut self.keys);
        let mut missing: Vec<Entry> = keys.into_values().filter(|entry| !entry.seen && !court.excuses.ranged).collect();
        missing.sort_by_key(|entry| (entry.last.partition, entry.last.offset));
        for entry in missing {
            if court.excuses.grouped_refused > 0 {
                court.excuses.grouped_refused -= 1;
                court.report.summary.unverifiable += 1;
                continue;
            }
            court.report.summary.missing += 1;
            let cells: Vec<_> = entry.cells.iter().map(|held| held.value().map(std::borrow::Cow::from)).collect();
            let row = court.row(&cells);
            court.find(What::Missing, Some(entry.last), Some(row), 1, "no row has its key".to_owned());
        }
        Ok(self.rounds.go_on())
    }

    fn wants_table(&self) -> bool {
        true
    }
}

/// A row whose key no record has.
fn stranger(row: &Cells<'_>, court: &mut Court<'_>) {
    if court.excuses.adopted {
        court.report.adopted += 1;
    } else if court.excuses.gone_rows == 0 {
        court.report.summary.unexpected += 1;
        let row = court.row(row);
        court.find(What::Unexpected, None, Some(row), 1, "no record has this key".to_owned());
    }
}

impl Held {
    fn empty(op: Option<MergeOp>, form: Form) -> Self {
        match (op, form) {
            (Some(MergeOp::Sum), Form::Number) => Self::Sum(None),
            (Some(MergeOp::Sum), _) => Self::Float(None),
            (Some(MergeOp::Last | MergeOp::First), _) => Self::Either(0, Vec::new()),
            _ => Self::Cell(None),
        }
    }

    fn add(&mut self, op: Option<MergeOp>, form: Form, cell: Option<&str>, origin: Origin) {
        let Some(op) = op else {
            // A column of the key.
            *self = Self::Cell(cell.map(str::to_owned));
            return;
        };
        if let Self::Either(order, values) = self {
            return either(order, values, op, cell, origin);
        }
        let Some(text) = cell else { return };
        let next = match self {
            Self::Sum(sum) => exact(text).and_then(|value| add(*sum, value)).map(|sum| Self::Sum(Some(sum))),
            Self::Float(sum) => text.parse::<f64>().ok().map(|value| {
                let (total, absolute) = sum.unwrap_or((0.0, 0.0));
                Self::Float(Some((total + value, absolute + value.abs())))
            }),
            Self::Cell(there) => combined(op, form, there.as_deref(), text).map(|value| Self::Cell(Some(value))),
            Self::Either(..) | Self::Unknown => None,
        };
        *self = next.unwrap_or(Self::Unknown);
    }

    /// Whether this is what stands in the table.
    fn is(&self, cell: Option<&str>) -> bool {
        match self {
            Self::Cell(value) => value.as_deref() == cell,
            Self::Sum(None) | Self::Float(None) => cell.is_none(),
            Self::Sum(Some(sum)) => cell.and_then(exact).is_some_and(|there| same(*sum, there)),
            Self::Float(Some((sum, absolute))) => {
                let there = cell.and_then(|text| text.parse::<f64>().ok());
                there.is_some_and(|there| {
                    there.total_cmp(sum).is_eq() || (there - sum).abs() <= absolute * FLOAT_TOLERANCE
                })
            }
            Self::Either(_, values) => values.iter().any(|(_, _, value)| value.as_deref() == cell),
            Self::Unknown => true,
        }
    }

    fn value(&self) -> Option<String> {
        match self {
            Self::Cell(value) => value.clone(),
            Self::Sum(sum) => sum.map(decimal),
            Self::Float(sum) => sum.map(|(sum, _)| format!("{sum:?}")),
            Self::Either(_, values) => values.last().and_then(|(_, _, value)| value.clone()),
            Self::Unknown => None,
        }
    }

    fn shown(&self) -> String {
        self.value().unwrap_or_else(|| "NULL".to_owned())
    }
}

/// The values that may stand under `last` and `first`: of the last (first) commit, one a partition.
fn either(
    order: &mut u32,
    values: &mut Vec<(u32, u32, Option<String>)>,
    op: MergeOp,
    cell: Option<&str>,
    origin: Origin,
) {
    let value = || (origin.partition, origin.slot, cell.map(str::to_owned));
    let own = values.iter().position(|(partition, slot, _)| (*partition, *slot) == (origin.partition, origin.slot));
    let wins = if op == MergeOp::Last { origin.order > *order } else { origin.order < *order };
    if values.is_empty() || (wins && !origin.replayed) {
        *values = vec![value()];
        *order = origin.order;
    } else if origin.replayed || (origin.order == *order && own.is_none()) {
        values.push(value());
    } else if let (MergeOp::Last, true, Some(own)) = (op, origin.order == *order, own) {
        values[own] = value();
    }
}

fn combined(op: MergeOp, form: Form, there: Option<&str>, comes: &str) -> Option<String> {
    let Some(there) = there else { return Some(comes.to_owned()) };
    match op {
        MergeOp::Min | MergeOp::Max => {
            let order = compare(form, comes, there)?;
            let wins = if op == MergeOp::Min { order.is_lt() } else { order.is_gt() };
            Some(if wins { comes } else { there }.to_owned())
        }
        MergeOp::Or | MergeOp::And if form == Form::Boolean => {
            let (a, b) = (there == "true", comes == "true");
            Some(if op == MergeOp::Or { a || b } else { a && b }.to_string())
        }
        MergeOp::Or | MergeOp::And => {
            let (a, b): (i64, i64) = (there.parse().ok()?, comes.parse().ok()?);
            Some(if op == MergeOp::Or { a | b } else { a & b }.to_string())
        }
        MergeOp::Sum | MergeOp::Last | MergeOp::First => None,
    }
}

/// The order of the homes: numbers by value, NaN last; texts and times by their bytes.
fn compare(form: Form, a: &str, b: &str) -> Option<std::cmp::Ordering> {
    match form {
        Form::Number => {
            let (a, b) = aligned(exact(a)?, exact(b)?)?;
            Some(a.cmp(&b))
        }
        Form::Float32 | Form::Float64 => Some(a.parse::<f64>().ok()?.total_cmp(&b.parse::<f64>().ok()?)),
        _ => Some(a.as_bytes().cmp(b.as_bytes())),
    }
}

/// A decimal as digits and how many of them stand behind the point.
fn exact(text: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((digits, u32::try_from(fraction.len()).ok()?))
}

fn aligned(a: (i128, u32), b: (i128, u32)) -> Option<(i128, i128)> {
    let scale = a.1.max(b.1);
    let raise = |(digits, own): (i128, u32)| digits.checked_mul(10_i128.checked_pow(scale - own)?);
    Some((raise(a)?, raise(b)?))
}

fn add(sum: Option<(i128, u32)>, comes: (i128, u32)) -> Option<(i128, u32)> {
    let sum = sum.unwrap_or((0, 0));
    let (a, b) = aligned(sum, comes)?;
    Some((a.checked_add(b)?, sum.1.max(comes.1)))
}

fn same(a: (i128, u32), b: (i128, u32)) -> bool {
    aligned(a, b).is_some_and(|(a, b)| a == b)
}

fn decimal((digits, scale): (i128, u32)) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let width = usize::try_from(scale).unwrap_or(0) + 1;
    let text = format!("{:0width$}", digits.unsigned_abs());
    let (whole, fraction) = text.split_at(text.len() + 1 - width);
    Form::Number
        .of_text(&if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, origin};
    use super::*;
    use arrow_schema::DataType;

    fn check(
        op: MergeOp,
        data_type: DataType,
        records: &[(&str, &str)],
        rows: &[(&str, &str)],
        counts: [u64; 4],
    ) -> Case {
        let mut case = Case::new(&["id", "value"]);
        case.table.columns[1].data_type = data_type;
        case.table.mode = WriteMode::Merge(vec![None, Some(op)]);
        let mut judge = Merge::new(&case.table, 1);
        let records: Vec<_> = records.iter().enumerate().map(|(n, (id, v))| (vec![*id, *v], origin(n))).collect();
        let rows: Vec<_> = rows.iter().map(|(id, value)| vec![*id, *value]).collect();
        case.run(&mut judge, &records, &rows);
        let s = case.report.summary;
        assert_eq!([s.once, s.missing, s.changed, s.unexpected], counts, "{op:?} {records:?} {rows:?}");
        case
    }

    #[test]
    fn what_is_merged_is_combined_again() {
        let decimal = || DataType::Decimal128(12, 2);
        let sums = [("a", "1.5"), ("b", "2"), ("a", "-0.25"), ("a", "∅")];
        check(MergeOp::Sum, decimal(), &sums, &[("a", "1.25"), ("b", "2")], [2, 0, 0, 0]);
        let case = check(MergeOp::Sum, decimal(), &sums, &[("a", "1.24"), ("b", "2")], [1, 0, 1, 0]);
        assert_eq!(case.report.findings[0].said, "value is 1.24 and the records give 1.25");
        check(MergeOp::Sum, decimal(), &sums, &[("a", "1.25")], [1, 1, 0, 0]);
        check(MergeOp::Sum, decimal(), &sums, &[("a", "1.25"), ("b", "2"), ("c", "0")], [2, 0, 0, 1]);
        check(MergeOp::Sum, DataType::Int64, &[("a", "∅")], &[("a", "∅")], [1, 0, 0, 0]);
        check(MergeOp::Sum, DataType::Float64, &[("a", "0.1"), ("a", "0.2")], &[("a", "0.3")], [1, 0, 0, 0]);
        check(MergeOp::Min, DataType::Int64, &[("a", "10"), ("a", "9")], &[("a", "9")], [1, 0, 0, 0]);
        check(MergeOp::Max, DataType::Utf8, &[("a", "b"), ("a", "ab")], &[("a", "b")], [1, 0, 0, 0]);
        check(MergeOp::Last, DataType::Int64, &[("a", "1"), ("a", "2")], &[("a", "2")], [1, 0, 0, 0]);
        check(MergeOp::First, DataType::Int64, &[("a", "1"), ("a", "2")], &[("a", "2")], [0, 0, 1, 0]);
        check(MergeOp::Or, DataType::Int64, &[("a", "1"), ("a", "4")], &[("a", "5")], [1, 0, 0, 0]);
        check(MergeOp::And, DataType::Boolean, &[("a", "true"), ("a", "false")], &[("a", "false")], [1, 0, 0, 0]);
    }

    #[test]
    fn sums_have_the_digits_of_their_parts() {
        for (parts, expected) in [
            (&["0.1", "0.2"][..], "0.3"),
            (&["5", "-5"], "0"),
            (&["-0.05", "0.01"], "-0.04"),
            (&["99.99", "0.01"], "100"),
        ] {
            let sum = parts.iter().fold(None, |sum, part| add(sum, exact(part).unwrap()));
            assert_eq!(decimal(sum.unwrap()), expected);
        }
    }
}
