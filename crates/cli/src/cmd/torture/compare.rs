//! Compares what stands in scratch tables with what an undisturbed run wrote: rows as a multiset, and the ledger.
//!
//! Owns what is compared and what a difference is called. Reads scratch copies only.

use super::shop::{Copies, Shop};
use arrow_schema::DataType;
use onceflow::Error;
use onceflow::changes::{MergeOp, TableSpec, WriteMode, quoted};
use onceflow::home::desk::{Cell, Desk};
use onceflow::home::scratch::words;
use onceflow::pipeline::Pipeline;
use onceflow::run::on_this_thread;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Rows that are shown of each kind of difference.
const EXAMPLES_SHOWN: usize = 3;

/// All rows of a table, as text cells.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The table, for people.
    pub table: String,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// Which of the pipeline's target tables it is; none for dead letters.
    pub spec: Option<usize>,
}

/// What stands in all scratch tables and their ledgers after a run.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The tables; the dead letters of each home are one more.
    pub tables: Vec<Rows>,
    /// Positions and counts, one line each.
    pub ledger: Vec<String>,
}

/// What is compared, and with what.
#[derive(Debug)]
pub struct Reference {
    tables: Vec<Table>,
    ledger: Vec<String>,
    /// What is not compared, for people.
    pub left_out: Vec<String>,
    /// Rows of all tables.
    pub rows: u64,
}

#[derive(Debug)]
struct Table {
    name: String,
    /// Which columns are compared.
    kept: Vec<usize>,
    keyed: bool,
    rows: BTreeMap<u128, (u64, String)>,
}

/// How tables differ from the reference.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// Rows that are not there.
    pub missing: u64,
    /// Rows that are there more often.
    pub repeated: u64,
    /// Rows with other values.
    pub changed: u64,
    /// Lines of the ledger that differ.
    pub ledger: u64,
    /// Examples, for people.
    pub said: Vec<String>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads everything that is compared.
pub fn standing(pipeline: &Pipeline, shop: &Shop, copies: &Copies) -> Result<Standing, Error> {
    let mut standing = Standing::default();
    let mut number = 0;
    for (index, branch) in pipeline.branches.iter().enumerate() {
        let factory = shop.home(copies, index)?;
        let postgres = factory.system() == "PostgreSQL";
        on_this_thread(async {
            let mut home = factory.open(branch.tables.clone())?;
            let mut desk = home.desk().await?;
            for spec in branch.tables.iter() {
                let tables = table(&mut *desk, spec, postgres).await?.into_iter();
                standing.tables.extend(tables.map(|rows| Rows { spec: Some(number), ..rows }));
                number += 1;
            }
            standing.tables.push(dead_letters(&mut *desk).await?);
            standing.ledger.extend(ledger(&mut *desk).await?);
            Ok::<_, Error>(())
        })??;
    }
    Ok(standing)
}

async fn table(desk: &mut dyn Desk, spec: &TableSpec, postgres: bool) -> Result<Vec<Rows>, Error> {
    let own = spec.quoted();
    let WriteMode::Statement { sql, .. } = &spec.mode else {
        let columns = spec.columns.iter().map(|column| column.name.clone()).collect();
        let mut rows = all(desk, &own, columns, postgres).await?;
        rows.table = spec.target();
        round_sums(spec, &mut rows.rows);
        return Ok(vec![rows]);
    };
    let plain = |name: &str| name.replace('"', "").to_lowercase();
    let names: BTreeMap<String, String> =
        words(sql).into_iter().chain([own]).map(|name| (plain(&name), name)).collect();
    let mut tables: Vec<Rows> = Vec::new();
    for name in names.into_values() {
        let columns = own_columns(desk, &name, postgres).await?;
        if !columns.is_empty() {
            tables.push(all(desk, &name, columns, postgres).await?);
        }
    }
    Ok(tables)
}

/// All rows of a table, named as SQL writes it.
async fn all(desk: &mut dyn Desk, table: &str, columns: Vec<String>, postgres: bool) -> Result<Rows, Error> {
    let cell = |name: &String| match postgres {
        true => format!("CAST({} AS TEXT)", quoted(name)),
        false => quoted(name),
    };
    let cells: Vec<_> = columns.iter().map(cell).collect();
    let rows = desk.rows(&format!("SELECT {} FROM {table}", cells.join(", ")), &[]).await?;
    Ok(Rows { table: table.replace('"', ""), columns, rows, spec: None })
}

/// A statement may change any column of any table that it names; this is empty where the name is no table. What a default
/// fills in by itself may differ from run to run.
async fn own_columns(desk: &mut dyn Desk, table: &str, postgres: bool) -> Result<Vec<String>, Error> {
    let sql = match postgres {
        true => {
            "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE c.oid = to_regclass($1) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'onceflow') AND a.attidentity = '' \
             AND (d.adbin IS NULL OR pg_get_expr(d.adbin, d.adrelid) NOT LIKE '%(%') ORDER BY a.attnum"
        }
        false => {
            "SELECT name FROM pragma_table_xinfo($1) WHERE hidden = 0 \
             AND (dflt_value IS NULL OR dflt_value NOT LIKE '%CURRENT%' AND dflt_value NOT LIKE '%(%') ORDER BY cid"
        }
    };
    let name = if postgres { table.to_owned() } else { table.replace('"', "") };
    // A word of a statement need not be a name at all.
    let rows = desk.rows(sql, &[Cell::Text(name)]).await.unwrap_or_default();
    let names = rows.into_iter().filter_map(|row| match row.into_iter().next() {
        Some(Cell::Text(name)) => Some(name),
        _ => None,
    });
    Ok(names.collect())
}

/// Sums of floating-point numbers depend on the order of addition in their last digits, and so on where epochs end.
fn round_sums(spec: &TableSpec, rows: &mut [Vec<Cell>]) {
    let WriteMode::Merge(ops) = &spec.mode else { return };
    for (index, column) in spec.columns.iter().enumerate() {
        let floating = matches!(column.data_type, DataType::Float32 | DataType::Float64);
        if !floating || ops.get(index) != Some(&Some(MergeOp::Sum)) {
            continue;
        }
        for row in rows.iter_mut() {
            if let Cell::Text(text) = &row[index]
                && let Ok(number) = text.parse::<f64>()
            {
                row[index] = Cell::Text(format!("{number:.5e}"));
            }
        }
    }
}

async fn dead_letters(desk: &mut dyn Desk) -> Result<Rows, Error> {
    let columns = ["source", "topic", "partition", "offset", "code"];
    let sql = "SELECT source, topic, partition, \"offset\", code FROM {dead_letter}";
    let rows = desk.rows(sql, &[]).await?;
    let columns = columns.iter().map(ToString::to_string).collect();
    Ok(Rows { table: "the dead letters".to_owned(), columns, rows, spec: None })
}

async fn ledger(desk: &mut dyn Desk) -> Result<Vec<String>, Error> {
    let positions = "SELECT source, topic, partition, next_offset FROM {position} ORDER BY source, topic, partition";
    let mut lines = Vec::new();
    for row in desk.rows(positions, &[]).await? {
        lines.push(format!("position {}", shown(&row)));
    }
    let counts = "SELECT CAST(coalesce(sum(records), 0) AS BIGINT), CAST(coalesce(sum(used), 0) AS BIGINT), \
                  CAST(coalesce(sum(filtered), 0) AS BIGINT), CAST(coalesce(sum(dead), 0) AS BIGINT), \
                  CAST(coalesce(sum(skipped), 0) AS BIGINT) FROM {commit}";
    for row in desk.rows(counts, &[]).await? {
        lines.push(format!("records, used, filtered, dead, skipped: {}", shown(&row)));
    }
    Ok(lines)
}

fn shown(row: &[Cell]) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Int(number) => number.to_string(),
        Cell::Text(text) => text.clone(),
        Cell::Bytes(bytes) => format!("{} bytes", bytes.len()),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(", ")
}

fn hash(row: &[&Cell]) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        for cell in row {
            match cell {
                Cell::Null => 0_u8.hash(&mut hasher),
                Cell::Int(number) => (1_u8, number).hash(&mut hasher),
                Cell::Text(text) => (2_u8, text).hash(&mut hasher),
                Cell::Bytes(bytes) => (3_u8, bytes).hash(&mut hasher),
            }
        }
        u128::from(hasher.finish())
    };
    (half(1) << 64) | half(2)
}

fn multiset(rows: &Rows, kept: &[usize]) -> BTreeMap<u128, (u64, String)> {
    let mut set: BTreeMap<u128, (u64, String)> = BTreeMap::new();
    for row in &rows.rows {
        let cells: Vec<&Cell> = kept.iter().map(|index| &row[*index]).collect();
        let entry = set.entry(hash(&cells)).or_default();
        entry.0 += 1;
        if entry.1.is_empty() {
            entry.1 = shown(&cells.into_iter().cloned().collect::<Vec<_>>());
        }
    }
    set
}

/// What decides with which rows an upserted key ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// One order of all records.
    Fixed,
    /// Partitions are read side by side: the last write of a key that several of them have is decided by arrival.
    ByArrival,
}

impl Reference {
    /// A reference of two undisturbed runs: what differs between them is left out. `None` where whole rows differ in number.
    pub fn of(tables: &[(&TableSpec, Order)], one: &Standing, other: &Standing) -> Option<Self> {
        let mut left_out = Vec::new();
        let mut compared = Vec::new();
        if one.tables.len() != other.tables.len() {
            return None;
        }
        for (one, other) in one.tables.iter().zip(&other.tables) {
            let spec = one.spec.and_then(|spec| tables.get(spec));
            if one.rows.len() != other.rows.len() {
                return None;
            }
            let kept = kept(spec.copied(), one, other, &mut left_out);
            let keyed = spec.is_some_and(|(spec, _)| spec.mode.is_keyed());
            let rows = multiset(one, &kept);
            compared.push(Table { name: one.table.clone(), kept, keyed, rows });
        }
        let rows = one.tables.iter().map(|table| table.rows.len() as u64).sum();
        Some(Self { tables: compared, ledger: one.ledger.clone(), left_out, rows })
    }

    /// Compares.
    pub fn compare(&self, found: &Standing) -> Difference {
        let mut difference = Difference::default();
        for (table, rows) in self.tables.iter().zip(&found.tables) {
            compare(table, &multiset(rows, &table.kept), &mut difference);
        }
        let (ours, theirs): (BTreeSet<&String>, BTreeSet<&String>) =
            (self.ledger.iter().collect(), found.ledger.iter().collect());
        for line in theirs.symmetric_difference(&ours) {
            difference.ledger += 1;
            let side = if theirs.contains(line) { "has" } else { "lacks" };
            difference.said.push(format!("the ledger {side}: {line}"));
        }
        difference
    }
}

fn kept(spec: Option<(&TableSpec, Order)>, one: &Rows, other: &Rows, left_out: &mut Vec<String>) -> Vec<usize> {
    let mut kept = Vec::new();
    let mut by_arrival = Vec::new();
    for (index, name) in one.columns.iter().enumerate() {
        if spec.is_some_and(|(spec, order)| order == Order::ByArrival && is_decided_by_order(spec, name)) {
            by_arrival.push(name.as_str());
        } else if multiset(one, &[index]) == multiset(other, &[index]) {
            kept.push(index);
        } else {
            left_out.push(format!("{}.{name}: two undisturbed runs gave different values", one.table));
        }
    }
    if !by_arrival.is_empty() {
        let names = by_arrival.join(", ");
        left_out.push(format!("{}: {names}: which of several partitions comes last is decided by arrival", one.table));
    }
    kept
}

/// Whether the value of a column depends on the order in which records of several partitions come.
fn is_decided_by_order(spec: &TableSpec, column: &str) -> bool {
    let Some(index) = spec.columns.iter().position(|declared| declared.name == column) else { return false };
    match &spec.mode {
        WriteMode::Upsert | WriteMode::InsertIgnore => !spec.key.contains(&index),
        WriteMode::Merge(ops) => matches!(ops.get(index), Some(Some(MergeOp::Last | MergeOp::First))),
        WriteMode::Append | WriteMode::Statement { .. } => false,
    }
}

fn compare(table: &Table, found: &BTreeMap<u128, (u64, String)>, difference: &mut Difference) {
    let (mut missing, mut repeated, mut other) = (0, 0, 0);
    let mut examples: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (row, (count, text)) in &table.rows {
        let now = found.get(row).map_or(0, |found| found.0);
        if now < *count {
            missing += count - now;
            examples.entry("lacks").or_default().push(text);
        } else if now > *count {
            repeated += now - count;
            examples.entry("has more than once").or_default().push(text);
        }
    }
    for (row, (count, text)) in found {
        if !table.rows.contains_key(row) {
            other += count;
            examples.entry("has, and should not").or_default().push(text);
        }
    }
    // A row that stands there with other values is both not there and too much.
    let changed = if table.keyed { missing.min(other) } else { 0 };
    difference.missing += missing - changed;
    difference.repeated += repeated;
    difference.changed += other;
    for (what, rows) in examples {
        for text in rows.iter().take(EXAMPLES_SHOWN) {
            difference.said.push(format!("{} {what}: {text}", table.name));
        }
        if rows.len() > EXAMPLES_SHOWN {
            difference.said.push(format!("{} {what}: {} rows in all", table.name, rows.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(rows: &[(i64, &str)]) -> Standing {
        let cells = |row: &(i64, &str)| vec![Cell::Int(row.0), Cell::Text(row.1.to_owned())];
        let columns = vec!["id".to_owned(), "v".to_owned()];
        let table = Rows { table: "t".to_owned(), columns, rows: rows.iter().map(cells).collect(), spec: None };
        Standing { tables: vec![table], ledger: vec![format!("position {}", rows.len())] }
    }

    fn difference(reference: &[(i64, &str)], found: &[(i64, &str)]) -> Difference {
        let reference = standing(reference);
        let mut found = standing(found);
        found.ledger.clone_from(&reference.ledger);
        Reference::of(&[], &reference, &reference).expect("they are the same").compare(&found)
    }

    #[test]
    fn the_order_of_rows_is_no_difference() {
        assert!(difference(&[(1, "a"), (2, "b")], &[(2, "b"), (1, "a")]).is_none());
    }

    #[test]
    fn a_row_too_few_a_row_too_many_and_a_changed_row_are_three_things() {
        let reference = [(1, "a"), (2, "b"), (2, "b")];
        for (found, missing, repeated, changed) in [
            (&[(1, "a"), (2, "b")][..], 1, 0, 0),
            (&[(1, "a"), (1, "a"), (2, "b"), (2, "b")], 0, 1, 0),
            (&[(2, "b"), (2, "b"), (2, "b")], 1, 1, 0),
            (&[(1, "a"), (2, "b"), (2, "c")], 1, 0, 1),
            (&[], 3, 0, 0),
        ] {
            let found = difference(&reference, found);
            assert_eq!((found.missing, found.repeated, found.changed), (missing, repeated, changed), "{found:?}");
            assert!(!found.said.is_empty());
        }
    }

    #[test]
    fn null_and_empty_text_differ() {
        let mut found = standing(&[(1, "")]);
        let reference = Reference::of(&[], &found, &found).expect("they are the same");
        found.tables[0].rows[0][1] = Cell::Null;
        assert_eq!(reference.compare(&found).missing, 1);
    }

    #[test]
    fn a_position_that_differs_is_found_although_the_rows_are_right() {
        let reference = standing(&[(1, "a")]);
        let mut found = reference.clone();
        found.ledger = vec!["position 7".to_owned()];
        let difference = Reference::of(&[], &reference, &reference).expect("they are the same").compare(&found);
        assert_eq!((difference.ledger, difference.missing), (2, 0));
    }

    #[test]
    fn a_column_that_differs_between_undisturbed_runs_is_left_out_and_named() {
        let reference = Reference::of(&[], &standing(&[(1, "now")]), &standing(&[(1, "then")])).expect("as many rows");
        assert_eq!(reference.left_out.len(), 1);
        assert!(reference.left_out[0].starts_with("t.v: "), "{:?}", reference.left_out);
        assert!(reference.compare(&standing(&[(1, "later")])).is_none());
        assert_eq!(reference.compare(&standing(&[(2, "later")])).missing, 1);
    }

    fn spec(mode: WriteMode) -> TableSpec {
        let place = onceflow::Place { file: "p.sql".into(), line: 1, column: 1, length: 1 };
        let column = |name: &str| onceflow::changes::ColumnSpec {
            name: name.to_owned(),
            data_type: DataType::Int64,
            nullable: true,
            declared: "BIGINT".to_owned(),
            place: place.clone(),
        };
        TableSpec {
            name: "t".into(),
            schema: None,
            table: "t".to_owned(),
            columns: vec![column("id"), column("v")],
            key: vec![0],
            mode,
            on_error: onceflow::changes::OnError::Stop,
            place: place.clone(),
        }
    }

    #[test]
    fn what_arrival_decides_is_left_out_where_several_partitions_are_read() {
        let merge = |op| WriteMode::Merge(vec![None, Some(op)]);
        for (mode, order, compared) in [
            (WriteMode::Upsert, Order::ByArrival, false),
            (WriteMode::Upsert, Order::Fixed, true),
            (WriteMode::InsertIgnore, Order::ByArrival, false),
            (merge(MergeOp::Last), Order::ByArrival, false),
            (merge(MergeOp::Sum), Order::ByArrival, true),
            (WriteMode::Append, Order::ByArrival, true),
        ] {
            let spec = spec(mode.clone());
            let mut one = standing(&[(1, "a")]);
            one.tables[0].spec = Some(0);
            let reference = Reference::of(&[(&spec, order)], &one, &one).expect("they are the same");
            let changed = reference.compare(&standing(&[(1, "b")]));
            assert_eq!(!changed.is_none(), compared, "{mode:?} {order:?}");
            assert_eq!(reference.left_out.is_empty(), compared, "{:?}", reference.left_out);
            assert!(!reference.compare(&standing(&[(2, "a")])).is_none(), "{mode:?}: a key is always compared");
        }
    }

    #[test]
    fn runs_with_different_numbers_of_rows_are_no_reference() {
        assert!(Reference::of(&[], &standing(&[(1, "a")]), &standing(&[])).is_none());
    }
}
