//! The epoch that is being filled while the previous one commits.
//!
//! Owns the hand-over between the prepare thread and the lane: bounded by records and bytes, closed by whoever commits. It
//! does not own what is inside.

use crate::changes::{Part, Work};
use crate::digest::digest_rows;
use crate::error::{Error, Result};
use crate::logic::EpochClock;
use crate::pipeline::Settings;
use crate::record::Batch;
use crate::run::ambient::{Ambient, at_most};
use crate::switches;
use onceflow_core::{Consumed, Digest, Partition, Step, TableTotal};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A position that moves without a record waits so long for company.
const GAP_ONLY_MAX: Duration = Duration::from_millis(500);
/// An epoch of groups is filled for at most so long while there is a backlog: the database works for each group of an epoch,
/// however many records it was made of.
const FILL_MAX: Duration = Duration::from_millis(500);
/// There is a backlog while parts of so many records …
const BACKLOG_RECORDS_MIN: usize = 5_000;
/// … follow each other this quickly.
const BACKLOG_PAUSE_MAX: Duration = Duration::from_millis(50);

/// A closed epoch: its work, and the step that the ledger is asked for.
#[derive(Debug)]
pub struct Epoch {
    /// Rows, dead letters and records.
    pub work: Work,
    /// Spans, digests, counts.
    pub step: Step,
}

/// What the lane gets when it asks for an epoch.
#[derive(Debug)]
pub enum Next {
    /// An epoch to commit.
    Epoch(Box<Epoch>),
    /// Nothing came in time.
    Idle,
    /// All sources are at their ends and everything was handed over.
    Finished,
}

/// The hand-over between the prepare thread and the lane.
pub struct Handover {
    state: Mutex<State>,
    room: Condvar,
    ready: Notify,
    rows_max: usize,
    bytes_max: usize,
    interval: Option<Duration>,
    only_groups: bool,
    tables: Vec<Arc<str>>,
    ambient: Arc<dyn Ambient>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// A part waits for room: holding the open epoch any longer would gain nothing.
    crowded: bool,
    finished: bool,
    closed: bool,
    failed: Option<Error>,
}

struct Open {
    work: Work,
    consumed: BTreeMap<Partition, Consumed>,
    tables: Vec<Digest>,
    bytes: usize,
    records: usize,
    opened: Instant,
    /// When the last part came, and of how many records.
    last: (Instant, usize),
}

/// A part with everything computed that the commit path would otherwise have to compute.
pub struct Prepared {
    part: Part,
    consumed: Vec<Consumed>,
    tables: Vec<(usize, Digest)>,
}

impl Prepared {
    /// Digests a part. Runs on the prepare thread.
    pub fn new(part: Part) -> Self {
        let moving = |batch: &&Batch| !batch.span.is_empty();
        let consumed = part.batches.iter().filter(moving).map(consumed).collect();
        let tables = part.sets.iter().map(|set| (set.table, digest(&set.rows))).collect();
        Self { part, consumed, tables }
    }
}

fn digest(rows: &arrow_array::RecordBatch) -> Digest {
    match switches::without(switches::Part::Digests) {
        true => Digest::new(0, rows.num_rows() as u64),
        false => digest_rows(rows),
    }
}

fn consumed(batch: &Batch) -> Consumed {
    if switches::without(switches::Part::Digests) {
        let digest = Digest::new(0, batch.records.len() as u64);
        let (partition, leader_epoch) = (batch.partition.clone(), batch.leader_epoch);
        return Consumed { partition, span: batch.span, digest, leader_epoch, tail: None };
    }
    let mut digest = Digest::EMPTY;
    let mut tail = None;
    batch.records.fingerprints(|offset, fingerprint| {
        digest.add(fingerprint.get());
        tail = Some(onceflow_core::Tail { offset, fingerprint });
    });
    Consumed { partition: batch.partition.clone(), span: batch.span, digest, leader_epoch: batch.leader_epoch, tail }
}

impl Handover {
    /// A hand-over for the named tables of a branch.
    pub fn new(settings: &Settings, tables: Vec<Arc<str>>, ambient: Arc<dyn Ambient>) -> Self {
        Self {
            state: Mutex::default(),
            room: Condvar::new(),
            ready: Notify::new(),
            rows_max: settings.rows_max(),
            bytes_max: settings.epoch_bytes_max,
            interval: settings.epoch_interval_max,
            only_groups: settings.only_groups,
            tables,
            ambient,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock for the next part: the open epoch's, or a fresh one.
    pub fn clock(&self) -> EpochClock {
        if let Some(open) = &self.lock().open {
            return open.work.clock;
        }
        let bits = self.ambient.random().to_le_bytes();
        let seed = u64::from_le_bytes(bits[..8].try_into().expect("8 of 16 bytes"));
        EpochClock { now: self.ambient.now(), seed }
    }

    /// A part with its digests. Records that nobody will ask for are let go.
    pub fn prepared(&self, part: Part) -> Prepared {
        let mut prepared = Prepared::new(part);
        if self.only_groups {
            prepared.part.keep_failed();
        }
        prepared
    }

    /// Adds a part; waits while the open epoch has no room. `false` once the lane has closed the hand-over.
    pub fn add(&self, prepared: Prepared, clock: EpochClock) -> Result<bool> {
        let guard = self.room.wait_while(self.lock(), |state| !self.makes_room(state, &prepared));
        let mut state = guard.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Ok(false);
        }
        let tables = self.tables.len();
        let now = self.ambient.instant();
        state.open.get_or_insert_with(|| Open::new(clock, tables, now)).add(prepared, now)?;
        drop(state);
        self.ready.notify_one();
        Ok(true)
    }

    /// Whether [`Handover::add`] would take the part without waiting. Where not, the open epoch is held no longer.
    pub fn has_room(&self, prepared: &Prepared) -> bool {
        self.makes_room(&mut self.lock(), prepared)
    }

    fn makes_room(&self, state: &mut State, prepared: &Prepared) -> bool {
        if self.is_full(state, prepared) {
            state.crowded = true;
            self.ready.notify_one();
            return false;
        }
        true
    }

    fn is_full(&self, state: &State, prepared: &Prepared) -> bool {
        let (records, bytes) = (prepared.part.len() as usize, prepared.part.bytes());
        let full = |open: &Open| {
            open.records > 0 && (open.records + records > self.rows_max || open.bytes + bytes > self.bytes_max)
        };
        !state.closed && state.open.as_ref().is_some_and(full)
    }

    /// Says that nothing more will come.
    pub fn finish(&self) {
        self.lock().finished = true;
        self.ready.notify_one();
    }

    /// Says that fetching or preparing failed; the lane gets the error instead of an epoch.
    pub fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.ready.notify_one();
    }

    /// Ends the hand-over from the lane's side; what is open is dropped.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.open = None;
        drop(state);
        self.room.notify_all();
    }

    /// Whether the lane has closed the hand-over.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The next epoch, waiting for it at most so long. Cancel safe.
    pub async fn next(&self, limit: Duration) -> Result<Next> {
        let until = self.ambient.instant() + limit;
        loop {
            let notified = self.ready.notified();
            let wait = match self.take()? {
                Taken::Now(next) => return Ok(next),
                Taken::In(wait) => wait.min(until.saturating_duration_since(self.ambient.instant())),
                Taken::Nothing => until.saturating_duration_since(self.ambient.instant()),
            };
            if wait.is_zero() && self.ambient.instant() >= until {
                return Ok(Next::Idle);
            }
            // Elapsed or notified: either way the state is looked at again.
            let _ = at_most(&*self.ambient, wait, notified).await;
        }
    }

    fn take(&self) -> Result<Taken> {
        let mut state = self.lock();
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let Some(open) = &state.open else {
            return Ok(if state.finished { Taken::Now(Next::Finished) } else { Taken::Nothing });
        };
        let wait = if state.finished || state.crowded { Duration::ZERO } else { self.hold(open) };
        if !wait.is_zero() {
            return Ok(Taken::In(wait));
        }
        let open = state.open.take().expect("it was there a line ago under the same lock");
        state.crowded = false;
        drop(state);
        self.room.notify_all();
        Ok(Taken::Now(Next::Epoch(Box::new(open.close(&self.tables)))))
    }

    /// How much longer the open epoch is held.
    fn hold(&self, open: &Open) -> Duration {
        if open.records >= self.rows_max || open.bytes >= self.bytes_max {
            return Duration::ZERO;
        }
        let now = self.ambient.instant();
        match self.interval {
            _ if open.records == 0 => GAP_ONLY_MAX.saturating_sub(now - open.opened),
            Some(interval) => interval.saturating_sub(now - open.opened),
            None if self.only_groups => open.fills(now),
            None => Duration::ZERO,
        }
    }
}

enum Taken {
    Now(Next),
    In(Duration),
    Nothing,
}

impl Open {
    fn new(clock: EpochClock, tables: usize, opened: Instant) -> Self {
        Self {
            work: Work { parts: Vec::new(), clock },
            consumed: BTreeMap::new(),
            tables: vec![Digest::EMPTY; tables],
            bytes: 0,
            records: 0,
            opened,
            last: (opened, 0),
        }
    }

    fn add(&mut self, prepared: Prepared, now: Instant) -> Result<()> {
        self.last = (now, prepared.part.len() as usize);
        for next in prepared.consumed {
            match self.consumed.get_mut(&next.partition) {
                None => {
                    self.consumed.insert(next.partition.clone(), next);
                }
                Some(consumed) => join(consumed, next)?,
            }
        }
        for (table, digest) in prepared.tables {
            self.tables[table].merge(digest);
        }
        self.records += prepared.part.len() as usize;
        self.bytes += prepared.part.bytes();
        self.work.parts.push(prepared.part);
        Ok(())
    }

    /// How much longer it is held for the backlog that is coming in.
    fn fills(&self, now: Instant) -> Duration {
        let (came, records) = self.last;
        if records < BACKLOG_RECORDS_MIN {
            return Duration::ZERO;
        }
        let (whole, pause) = (FILL_MAX.saturating_sub(now - self.opened), BACKLOG_PAUSE_MAX.saturating_sub(now - came));
        whole.min(pause)
    }

    fn close(self, names: &[Arc<str>]) -> Epoch {
        let mut counts = onceflow_core::Counts::default();
        self.work.parts.iter().for_each(|part| counts.merge(&part.counts));
        let tables = names.iter().zip(self.tables);
        let tables = tables.map(|(table, digest)| TableTotal { table: table.clone(), digest }).collect();
        let step = Step { consumed: self.consumed.into_values().collect(), counts, tables };
        Epoch { work: self.work, step }
    }
}

fn join(consumed: &mut Consumed, next: Consumed) -> Result<()> {
    let Some(span) = consumed.span.join(next.span) else {
        let (end, begin) = (consumed.span.to(), next.span.from());
        let gap = format!("{} was read up to {end} and then from {begin} on", next.partition);
        return Err(Error::internal(gap));
    };
    consumed.span = span;
    consumed.digest.merge(next.digest);
    consumed.leader_epoch = next.leader_epoch.or(consumed.leader_epoch);
    consumed.tail = next.tail.or(consumed.tail);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Answer;
    use crate::record::Records;
    use onceflow_core::{Position, Span};

    /// A clock that moves only where somebody waits.
    struct Clock {
        began: Instant,
        passed: Arc<Mutex<Duration>>,
    }

    impl Clock {
        fn new() -> Arc<Self> {
            Arc::new(Self { began: Instant::now(), passed: Arc::default() })
        }

        fn pass(&self, millis: u64) {
            *self.passed.lock().unwrap() += Duration::from_millis(millis);
        }

        fn passed(&self) -> u128 {
            self.passed.lock().unwrap().as_millis()
        }
    }

    impl Ambient for Clock {
        fn now(&self) -> i64 {
            0
        }

        fn random(&self) -> u128 {
            0
        }

        fn instant(&self) -> Instant {
            self.began + *self.passed.lock().unwrap()
        }

        fn sleep(&self, time: Duration) -> Answer<'static, ()> {
            let passed = self.passed.clone();
            Box::pin(async move { *passed.lock().unwrap() += time })
        }
    }

    /// A part of so many records of which only groups are left, from a position on.
    fn part(from: u64, records: u64) -> Prepared {
        let span = Span::new(Position::new(from), Position::new(from + records)).unwrap();
        let partition = Partition { source: "s".into(), topic: "t".into(), number: 0 };
        let batch = Batch { partition, span, records: Records::default(), leader_epoch: None, file: None };
        let mut part = Part::new(vec![batch], Vec::new(), Vec::new(), 0);
        part.counts.records = records;
        Prepared::new(part)
    }

    fn handover(only_groups: bool, clock: &Arc<Clock>) -> Handover {
        let settings = Settings { epoch_rows_max: Some(100_000), only_groups, ..Settings::default() };
        Handover::new(&settings, Vec::new(), clock.clone())
    }

    /// Adds parts of so many records, each after so many milliseconds, and says after how many more the epoch is closed.
    fn closes_after(only_groups: bool, parts: &[(u64, u64)]) -> u128 {
        let clock = Clock::new();
        let handover = handover(only_groups, &clock);
        let mut from = 0;
        for (wait, records) in parts {
            clock.pass(*wait);
            let added = part(from, *records);
            if !handover.has_room(&added) {
                break;
            }
            assert!(handover.add(added, handover.clock()).unwrap());
            from += records;
        }
        let before = clock.passed();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let next = runtime.block_on(handover.next(Duration::from_secs(60))).unwrap();
        assert!(matches!(next, Next::Epoch(_)), "{next:?}");
        clock.passed() - before
    }

    #[test]
    fn an_epoch_closes_at_once_unless_groups_of_a_backlog_are_coming_in() {
        for (only_groups, parts, expected) in [
            (false, &[(0, 10_000)][..], 0),
            (true, &[(0, 10)], 0),
            (true, &[(0, 4_999)], 0),
            // A backlog: until nothing has come for a while,
            (true, &[(0, 40_000)], 50),
            (true, &[(0, 10_000), (20, 10_000)], 50),
            // until it has been open for long,
            (true, &[(0, 10_000), (490, 10_000)], 10),
            (true, &[(0, 10_000), (600, 10_000)], 0),
            // until the last part is a small one, until it is full, and until something does not fit.
            (true, &[(0, 40_000), (1, 100)], 0),
            (true, &[(0, 60_000), (1, 40_000)], 0),
            (true, &[(0, 60_000), (1, 60_000)], 0),
        ] {
            assert_eq!(closes_after(only_groups, parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn an_interval_ends_early_where_a_part_waits_for_room() {
        let clock = Clock::new();
        let settings = Settings {
            epoch_rows_max: Some(100),
            epoch_interval_max: Some(Duration::from_secs(9)),
            ..Settings::default()
        };
        let handover = Handover::new(&settings, Vec::new(), clock.clone());
        assert!(handover.add(part(0, 60), handover.clock()).unwrap());
        assert!(matches!(handover.take().unwrap(), Taken::In(_)));
        assert!(!handover.has_room(&part(60, 60)));
        assert!(matches!(handover.take().unwrap(), Taken::Now(Next::Epoch(_))));
        assert!(handover.has_room(&part(60, 60)));
    }
}
