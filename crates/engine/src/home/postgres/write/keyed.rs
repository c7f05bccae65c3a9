//! Rows of keyed tables: compacted by key, sorted by key, and written by the way that suits their number.
//!
//! Owns the compaction. Rows of one key take effect as if they had come one after the other: of an upsert the last counts, by
//! (partition, offset); what is merged is combined first. Sorting by key lets two lanes wait for each other instead of
//! deadlocking, and lets the index be filled in order.

use super::copy::{self, Parameter, Picks, UNNEST_ROWS_MAX};
use super::failure::{Failure, Reason};
use super::merge::{self, Uncombined};
use super::rows::{Block, Load};
use super::send::send;
use super::tables::{Stage, Statements};
use super::types::{Target, Wire};
use super::vet::unfit;
use crate::changes::{MergeOp, TableSpec, Unit, WriteMode};
use crate::codes;
use crate::crash;
use crate::error::Error;
use crate::grouping::{self, group as by_hash};
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use std::ops::Range;
use std::sync::Arc;
use tokio_postgres::Client;

/// From so many rows on COPY is worth its two more round trips.
const COPY_ROWS_MIN: usize = 256;

/// One keyed write: a table, its rows, and which of them.
pub(super) struct Keyed<'a> {
    pub client: &'a Client,
    pub spec: &'a TableSpec,
    pub table: usize,
    pub targets: &'a [Target],
    pub statements: &'a mut Statements,
    pub load: &'a Load<'a>,
}

/// Rows written and rows ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub rows: u64,
    pub ignored: u64,
}

impl Keyed<'_> {
    /// Writes rows. Those that took effect are counted, also where a later one of the same key took their place.
    pub async fn write(mut self, picks: Picks<'_>) -> Result<Tally, Failure> {
        let Some(block) = self.load.tables[self.table].blocks.first() else { return Ok(Tally::default()) };
        let mut order: Vec<u32> = match picks {
            Picks::Some(picks) => picks.to_vec(),
            Picks::All => {
                (0..block.len()).map(|row| u32::try_from(row).expect("an epoch has fewer than 2^32 rows")).collect()
            }
        };
        let all = order.len() as u64;
        if self.spec.key.is_empty() || self.spec.mode == WriteMode::Append {
            let rows = self.insert(block, &order).await?;
            return Ok(Tally { rows, ignored: all - rows });
        }
        let keys = self.keys(block, &order).await?;
        let groups = group(&mut order, &keys, || &self.load.units()[self.table]);
        if self.spec.mode == WriteMode::InsertIgnore {
            let rows = self.insert(block, &order).await?;
            return Ok(Tally { rows, ignored: all - rows });
        }
        if let WriteMode::Merge(ops) = &self.spec.mode {
            self.merge(block, &order, &groups, &ops.clone()).await?;
        } else {
            self.upsert(block, &order, &groups).await?;
        }
        Ok(Tally { rows: all, ignored: 0 })
    }

    async fn upsert(&mut self, block: &Block, order: &[u32], groups: &[Range<usize>]) -> Result<(), Failure> {
        let rows = &self.load.tables[self.table];
        let last = groups.iter().map(|group| order[group.end - 1]);
        let (deletes, upserts): (Vec<u32>, Vec<u32>) = last.partition(|row| rows.is_delete(*row as usize));
        self.delete(block, &deletes).await?;
        self.insert(block, &upserts).await?;
        Ok(())
    }

    async fn merge(
        &mut self,
        block: &Block,
        order: &[u32],
        groups: &[Range<usize>],
        ops: &[Option<MergeOp>],
    ) -> Result<(), Failure> {
        if groups.len() == order.len() {
            self.insert(block, order).await?;
            return Ok(());
        }
        let key = &self.spec.key;
        let op = |at: usize| (!key.contains(&at)).then(|| ops.get(at).copied().flatten().unwrap_or(MergeOp::Last));
        let ops: Vec<Option<MergeOp>> = (0..self.targets.len()).map(op).collect();
        let combined = merge::combine(&block.batch, order, groups, &ops).map_err(|error| self.uncombined(error))?;
        let combined = Block::new(combined, self.targets, 0);
        for (at, target) in self.targets.iter().enumerate() {
            if ops[at].is_some() && !unfit(&combined.encoders[at], &target.wire, combined.len()).is_empty() {
                return Err(self.uncombined(Uncombined::Overflow(at)));
            }
        }
        let all: Vec<u32> = (0..groups.len()).map(|row| u32::try_from(row).expect("fewer groups than rows")).collect();
        self.insert(&combined, &all).await?;
        Ok(())
    }

    /// Combined rows that do not fit are tried in smaller numbers, until the server is asked row by row.
    fn uncombined(&self, error: Uncombined) -> Failure {
        match error {
            Uncombined::Overflow(column) => Failure::Refused(Reason {
                table: self.table,
                code: codes::OF0752,
                sqlstate: String::new(),
                why: format!(
                    "column '{}': the sum of the rows with this key does not fit",
                    self.spec.columns[column].name
                ),
                row: None,
                alone: false,
            }),
            Uncombined::Broken(error) => {
                let message = format!("rows of '{}' cannot be combined", self.spec.name);
                Failure::internal(Error::internal(message).caused_by(error))
            }
        }
    }

    async fn keys(&self, block: &Block, order: &[u32]) -> Result<Keys, Failure> {
        let broken = |error| Failure::internal(Error::internal("keys cannot be compared").caused_by(error));
        let columns: Vec<ArrayRef> =
            self.spec.key.iter().map(|at| comparable(block.batch.column(*at), &self.targets[*at])).collect();
        let mut keys = Keys { bytes: grouping::Keys::new(&columns).map_err(broken)?, equal_to: Vec::new() };
        if self.statements.first_equal.is_some() {
            self.ask_equal(block, order, &mut keys).await?;
        }
        Ok(keys)
    }

    /// Lets the server say which keys are equal, since it alone knows its collations and its types' ways of writing.
    async fn ask_equal(&self, block: &Block, order: &[u32], keys: &mut Keys) -> Result<(), Failure> {
        let Some(statement) = &self.statements.first_equal else { return Ok(()) };
        let failed = |error| Failure::of(error, self.table);
        let mut firsts: Vec<u32> = order.to_vec();
        firsts.sort_unstable_by(|a, b| keys.written(*a).cmp(keys.written(*b)));
        firsts.dedup_by(|a, b| keys.written(*a) == keys.written(*b));
        let arrays = copy::arrays_of_all(block, &firsts, &self.spec.key, self.targets);
        let answers = self.client.query_raw(statement, arrays.iter()).await.map_err(failed)?;
        let answers: Vec<tokio_postgres::Row> =
            futures_util::TryStreamExt::try_collect(answers).await.map_err(failed)?;
        let mut first_of = std::collections::BTreeMap::new();
        for (own, answer) in firsts.iter().zip(answers) {
            let first = usize::try_from(answer.get::<_, i64>(0) - 1).expect("the server counts from 1");
            first_of.insert(keys.written(*own), firsts[first]);
        }
        let all = 0..u32::try_from(keys.bytes.len()).expect("fewer than 2^32 rows");
        let mut equal_to: Vec<u32> = all.collect();
        for row in order {
            if let Some(first) = first_of.get(keys.written(*row)) {
                equal_to[*row as usize] = *first;
            }
        }
        keys.equal_to = equal_to;
        Ok(())
    }

    async fn delete(&self, block: &Block, rows: &[u32]) -> Result<(), Failure> {
        let failed = |error| Failure::of(error, self.table);
        let mut rest = rows;
        while let (Some(statement), false) = (&self.statements.delete_unnest, rest.is_empty()) {
            let (arrays, count) = copy::arrays(block, rest, &self.spec.key, self.targets);
            self.client.execute_raw(statement, arrays.iter()).await.map_err(failed)?;
            rest = &rest[count..];
            crash::point("mid_rows");
        }
        for row in rest {
            let Some(statement) = &self.statements.delete_row else { break };
            let key = |at: &usize| Parameter::of(&block.encoders[*at], *row as usize);
            let parameters: Vec<Parameter> = self.spec.key.iter().map(key).collect();
            self.client.execute_raw(statement, parameters.iter()).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Inserts rows of a block; the statement says what happens on a conflict. Answers how many rows it touched.
    pub async fn insert(&mut self, block: &Block, rows: &[u32]) -> Result<u64, Failure> {
        if rows.is_empty() {
            return Ok(0);
        }
        if self.hopes(rows.len())
            && let Some(touched) = self.copy_new(block, rows).await?
        {
            return Ok(touched);
        }
        if let Some(stage) = self.statements.stage.clone()
            && (rows.len() > UNNEST_ROWS_MAX || self.statements.insert_unnest.is_none())
        {
            return self.insert_staged(block, rows, stage).await;
        }
        self.insert_unnest(block, rows).await
    }

    /// Whether a COPY into the table itself is worth a try.
    fn hopes(&mut self, rows: usize) -> bool {
        let keyed = matches!(self.spec.mode, WriteMode::Upsert | WriteMode::Merge(_) | WriteMode::InsertIgnore);
        keyed && rows >= COPY_ROWS_MIN && self.statements.copy.is_some() && self.statements.optimism.try_now()
    }

    /// COPY in the hope that no key is there; `None` where one is, and nothing has changed.
    async fn copy_new(&mut self, block: &Block, rows: &[u32]) -> Result<Option<u64>, Failure> {
        let Some(statement) = self.statements.copy.clone() else { return Ok(None) };
        let savepoint = send(self.client.batch_execute("SAVEPOINT onceflow_copy")).await;
        let copied = copy::copy(self.client, &statement, std::slice::from_ref(block), Picks::Some(rows)).await;
        savepoint.answer().await.map_err(Failure::lost)?;
        match copied.map_err(|error| Failure::of(error, self.table)) {
            Ok(touched) => {
                self.client.batch_execute("RELEASE onceflow_copy").await.map_err(Failure::lost)?;
                self.statements.optimism.succeeded();
                Ok(Some(touched))
            }
            Err(Failure::Refused(_)) => {
                self.client
                    .batch_execute("ROLLBACK TO onceflow_copy; RELEASE onceflow_copy")
                    .await
                    .map_err(Failure::lost)?;
                self.statements.optimism.failed();
                Ok(None)
            }
            Err(lost) => Err(lost),
        }
    }

    async fn insert_staged(&mut self, block: &Block, rows: &[u32], stage: Stage) -> Result<u64, Failure> {
        let failed = |error| Failure::of(error, self.table);
        // An earlier write of this transaction may have left rows there; an earlier transaction cannot.
        let left = self.client.query_one(&stage.left, &[]).await.map_err(Failure::lost)?;
        if left.get(0) {
            self.client.batch_execute(&stage.clear).await.map_err(Failure::lost)?;
        }
        copy::copy(self.client, &stage.copy, std::slice::from_ref(block), Picks::Some(rows)).await.map_err(failed)?;
        crash::point("mid_rows");
        self.client.execute(&stage.insert, &[]).await.map_err(failed)
    }

    async fn insert_unnest(&self, block: &Block, rows: &[u32]) -> Result<u64, Failure> {
        let failed = |error| Failure::of(error, self.table);
        let columns: Vec<usize> = (0..self.targets.len()).collect();
        let (mut rest, mut touched) = (rows, 0);
        while let (Some(statement), false) = (&self.statements.insert_unnest, rest.is_empty()) {
            let (arrays, count) = copy::arrays(block, rest, &columns, self.targets);
            touched += self.client.execute_raw(statement, arrays.iter()).await.map_err(failed)?;
            rest = &rest[count..];
            crash::point("mid_rows");
        }
        for row in rest {
            let parameters: Vec<Parameter> =
                block.encoders.iter().map(|encoder| Parameter::of(encoder, *row as usize)).collect();
            touched += self.client.execute_raw(&self.statements.insert_row, parameters.iter()).await.map_err(failed)?;
        }
        Ok(touched)
    }
}

/// Keys of a table's rows, comparable.
struct Keys {
    bytes: grouping::Keys,
    /// For each row one with an equal key, the same for all of them; empty where the bytes say it.
    equal_to: Vec<u32>,
}

impl Keys {
    /// A row's key; equal ones have equal bytes.
    fn of(&self, row: u32) -> &[u8] {
        self.written(self.equal_to.get(row as usize).copied().unwrap_or(row))
    }

    /// A row's key as it came.
    fn written(&self, row: u32) -> &[u8] {
        self.bytes.of(row as usize)
    }
}

/// Sorts rows by key, those of one key by where they came from, and says where each key's rows lie.
fn group<'u>(order: &mut [u32], keys: &Keys, units: impl FnOnce() -> &'u Vec<Unit>) -> Vec<Range<usize>> {
    if order.windows(2).all(|pair| keys.of(pair[0]) < keys.of(pair[1])) {
        return (0..order.len()).map(|at| at..at + 1).collect();
    }
    let found = by_hash(order.iter().map(|row| keys.of(*row)));
    let ranges = lie(order, keys, &found);
    if ranges.len() == order.len() {
        return ranges;
    }
    let units = units();
    let source = |row: &u32| (units[*row as usize], *row);
    for range in ranges.iter().filter(|range| range.len() > 1) {
        let rows = &mut order[range.clone()];
        if !rows.is_sorted_by_key(source) {
            rows.sort_unstable_by_key(source);
        }
    }
    ranges
}

/// Moves the rows of each group together, the groups in the order of their keys.
fn lie(order: &mut [u32], keys: &Keys, found: &grouping::Groups) -> Vec<Range<usize>> {
    // Most keys differ in their first bytes, which are compared as a number.
    let prefix = |key: &[u8]| {
        let mut first = [0; 8];
        first.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        u64::from_be_bytes(first)
    };
    let key = |group: u32| keys.of(order[found.first[group as usize] as usize]);
    let groups = u32::try_from(found.first.len()).expect("fewer groups than rows");
    let mut sorted: Vec<(u64, u32)> = (0..groups).map(|group| (prefix(key(group)), group)).collect();
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))));
    let mut sizes = vec![0; found.first.len()];
    found.of_row.iter().for_each(|group| sizes[*group as usize] += 1);
    let (mut ranges, mut next, mut from) = (Vec::with_capacity(sorted.len()), vec![0; sizes.len()], 0);
    for (_, group) in sorted {
        let size = sizes[group as usize];
        next[group as usize] = from;
        ranges.push(from..from + size);
        from += size;
    }
    let before = order.to_vec();
    for (row, group) in before.into_iter().zip(&found.of_row) {
        order[next[*group as usize]] = row;
        next[*group as usize] += 1;
    }
    ranges
}

/// A key's column in a form in which equal values have equal bytes.
fn comparable(column: &ArrayRef, target: &Target) -> ArrayRef {
    if target.wire != Wire::Uuid {
        return merge::comparable(column);
    }
    let same = |text: Option<&str>| {
        text.map(|text| uuid::Uuid::try_parse(text).map_or_else(|_| text.to_owned(), |uuid| uuid.to_string()))
    };
    Arc::new(column.as_string::<i32>().iter().map(same).collect::<StringArray>())
}
