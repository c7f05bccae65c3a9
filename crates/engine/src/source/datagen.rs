//! Generated data, as Flink's `datagen`, but replayable: row n is a function of the seed, n and the column, and of nothing else.
//!
//! A record's value is the JSON text of its row, so the format is `json`. The position is the row's number. `rows_per_second` says when rows come
//! and never which.

use super::{Difference, Fetch, FetchLimits, Found, Mismatch, Source, SourceFactory};
use crate::codes;
use crate::error::{Error, Result};
use crate::record::{Batch, Record, Records, TimestampType};
use onceflow_core::{Fingerprint, Partition, Position, PositionRow, SourceIdentity, Span};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

mod generate;

pub use generate::{Field, Kind, RandomOptions};

/// What to generate.
#[derive(Clone, Debug)]
pub struct DatagenSpec {
    /// The source's name in the pipeline's text.
    pub name: Arc<str>,
    /// `rows-per-second`; Flink's default is 10000.
    pub rows_per_second: u64,
    /// `number-of-rows`; `None` for no end. A sequence that ends earlier ends the source.
    pub number_of_rows: Option<u64>,
    /// `seed`: another one gives other rows.
    pub seed: u64,
    /// The columns in the order of the declaration.
    pub fields: Vec<Field>,
}

/// Makes sources of generated data.
#[derive(Debug)]
pub struct DatagenFactory {
    plan: Arc<Plan>,
}

/// A checked specification.
#[derive(Debug)]
struct Plan {
    spec: DatagenSpec,
    generator: generate::Generator,
    rows: Option<u64>,
    identity: SourceIdentity,
}

impl DatagenFactory {
    /// A factory; `Err` of kind `Config` where a field's options make no values of its type.
    pub fn new(spec: DatagenSpec) -> Result<Self> {
        if spec.rows_per_second == 0 {
            return Err(Error::config(codes::OF0521, "'rows-per-second' = '0' would never give a row"));
        }
        let generator = generate::Generator::new(spec.seed, &spec.fields)?;
        let rows = [spec.number_of_rows, generator.rows()].into_iter().flatten().min();
        let wiring = format!("{} {:?}", spec.seed, spec.fields);
        let fingerprint = Fingerprint::of_record(0, None, None, Some(wiring.as_bytes()));
        let identity = SourceIdentity::new("datagen", fingerprint.to_string());
        Ok(Self { plan: Arc::new(Plan { spec, generator, rows, identity }) })
    }
}

impl SourceFactory for DatagenFactory {
    fn name(&self) -> &str {
        &self.plan.spec.name
    }

    fn connector(&self) -> &'static str {
        "datagen"
    }

    fn describe(&self) -> String {
        let rows = self.plan.rows.map_or_else(|| "rows without end".to_owned(), |rows| format!("{rows} rows"));
        format!("{rows}, {} a second, seed {}", self.plan.spec.rows_per_second, self.plan.spec.seed)
    }

    fn wiring(&self) -> String {
        format!("datagen {}", self.plan.identity.topic_id)
    }

    fn caveat(&self) -> Option<String> {
        None
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(Datagen { plan: self.plan.clone(), cursor: None, pause: channel() }))
    }

    fn discovery_interval(&self) -> Option<Duration> {
        None
    }
}

struct Datagen {
    plan: Arc<Plan>,
    cursor: Option<Cursor>,
    /// Nothing is ever sent: a wait with a timeout.
    pause: (Sender<()>, Receiver<()>),
}

struct Cursor {
    partition: Partition,
    next: u64,
    until: Option<u64>,
    began: Instant,
    given: u64,
}

impl Datagen {
    fn partition(&self) -> Partition {
        Partition::new(self.plan.spec.name.clone(), "datagen", 0)
    }

    fn all_at(&self, partitions: &[Partition], row: u64) -> BTreeMap<Partition, Position> {
        partitions.iter().map(|partition| (partition.clone(), Position::new(row))).collect()
    }

    fn check(&self, row: &PositionRow) -> Option<Difference> {
        if row.identity != self.plan.identity {
            let (ledger, found) = (row.identity.clone(), self.plan.identity.clone());
            return Some(Difference::Identity { ledger, found });
        }
        let tail = row.tail?;
        let value = self.plan.generator.row(tail.offset.get());
        let found = Fingerprint::of_record(tail.offset.get(), None, None, Some(&value));
        (found != tail.fingerprint).then_some(Difference::Tail { offset: tail.offset })
    }
}

impl Cursor {
    /// How many rows the rate allows beyond those given, and when the next one is due.
    fn allowed(&self, per_second: u64) -> (u64, Duration) {
        let elapsed = self.began.elapsed();
        let due = elapsed.as_nanos().saturating_mul(u128::from(per_second)) / 1_000_000_000;
        let allowed = u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.given);
        let next_nanos = u128::from(self.given + 1).saturating_mul(1_000_000_000).div_ceil(u128::from(per_second));
        let next = Duration::from_nanos(u64::try_from(next_nanos).unwrap_or(u64::MAX));
        (allowed, next.saturating_sub(elapsed))
    }

    fn left(&self) -> u64 {
        self.until.map_or(u64::MAX, |until| until.saturating_sub(self.next))
    }

    fn take(&mut self, plan: &Plan, count: u64, bytes_max: usize) -> Batch {
        let from = self.next;
        let mut records = Records::default();
        let mut value = Vec::new();
        while self.next - from < count && records.bytes() < bytes_max.max(1) {
            value.clear();
            plan.generator.append_row(self.next, &mut value);
            records.push(Record {
                offset: Position::new(self.next),
                timestamp: None,
                timestamp_type: TimestampType::None,
                key: None,
                value: Some(&value),
                headers: &[],
                line: 0,
            });
            self.next += 1;
        }
        self.given += self.next - from;
        let span = Span::new(Position::new(from), Position::new(self.next)).expect("rows are counted upwards");
        Batch { partition: self.partition.clone(), span, records, leader_epoch: None, file: None }
    }
}

impl Source for Datagen {
    fn discover(&mut self) -> Result<Vec<Found>> {
        Ok(vec![Found { partition: self.partition(), identity: self.plan.identity.clone() }])
    }

    fn initial(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        Ok(self.all_at(partitions, 0))
    }

    fn beginnings(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        Ok(self.all_at(partitions, 0))
    }

    /// Rows exist once somebody asks for them: without a number of rows the end is where the cursor is.
    fn ends(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        let end = self.plan.rows.or_else(|| self.cursor.as_ref().map(|cursor| cursor.next)).unwrap_or(0);
        Ok(self.all_at(partitions, end))
    }

    fn bound(&mut self, partitions: &[Partition]) -> Result<Option<BTreeMap<Partition, Position>>> {
        Ok(self.plan.rows.map(|rows| self.all_at(partitions, rows)))
    }

    fn verify(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>> {
        let mismatch =
            |row: &PositionRow| self.check(row).map(|what| Mismatch { partition: row.partition.clone(), what });
        Ok(rows.iter().filter_map(mismatch).collect())
    }

    fn seek(&mut self, from: &[PositionRow], until: &BTreeMap<Partition, Position>) -> Result<()> {
        self.cursor = from.first().map(|row| {
            let given = until.get(&row.partition).map(|position| position.get());
            Cursor {
                partition: row.partition.clone(),
                next: row.next.get(),
                until: [given, self.plan.rows].into_iter().flatten().min(),
                began: Instant::now(),
                given: 0,
            }
        });
        Ok(())
    }

    fn next(&mut self, limits: &FetchLimits) -> Result<Fetch> {
        let deadline = Instant::now() + limits.wait_max;
        let Some(cursor) = &mut self.cursor else { return Ok(Fetch::default()) };
        loop {
            let (allowed, due) = cursor.allowed(self.plan.spec.rows_per_second);
            let count = allowed.min(cursor.left()).min(limits.records_max.max(1) as u64);
            if count > 0 {
                let batch = cursor.take(&self.plan, count, limits.bytes_max);
                return Ok(Fetch { batches: vec![batch], finished: cursor.left() == 0 });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if cursor.left() == 0 || left.is_zero() {
                return Ok(Fetch { batches: Vec::new(), finished: cursor.left() == 0 });
            }
            // A timeout is what is wanted here.
            let _ = self.pause.1.recv_timeout(due.min(left));
        }
    }

    fn group_positions(&mut self, group: &str, _: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        Err(crate::source::no_groups(group))
    }

    fn report(&mut self, _durable: &[(Partition, Position)]) {}
}

#[cfg(test)]
mod tests;
