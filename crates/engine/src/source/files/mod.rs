//! Files as a source: a path, a folder or a pattern; each file is a topic with the single partition 0.
//!
//! A position is a byte of the decompressed content, the one where the next record begins. Owns which files there are, what makes each the same
//! file as before, and reading them in order with bounded memory. It does not own what a record means.
//!
//! - **Without** `monitor_interval` a file's topic is its path, each file is read to the end that it has at the start, one after the other in
//!   order of the paths. A file that was replaced by another one is another file under a known name: an operator decides.
//! - **With** it, files are followed as `tail -F` does. A renamed file is the same log, and the file that takes its old name is a new one, so the
//!   topic is the source's path with the file's inode and birth (`logs/*.log#1f4a-17c2…`): it stays as long as the file exists under any name that the
//!   pattern matches. Use a pattern that covers the rotated names. A truncated or rewritten file stops the pipeline.
//! - A file that was deleted is passed over, with a notice, where it had been read to its end (the batch's `leader_epoch` is 1 at an end of file and 0 before,
//!   which the ledger keeps); otherwise it is [`Difference::Gone`].
//! - Compressed files are complete when they appear: their last line needs no line break, also while a folder is followed.
//! - Blank lines are no records.

mod cursor;
mod framing;
mod identity;
mod listing;
mod stream;

use super::{Difference, Fetch, FetchLimits, Found, Mismatch, Source, SourceFactory};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::record::{Batch, Records};
use cursor::{Budget, Cursor, Reading, changed};
use identity::FileId;
use listing::{Listed, list};
use onceflow_core::{Partition, Position, PositionRow, Span};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stream::{Compression, Stream, io_error};

pub use framing::Framing;

/// The default of `source.line-bytes-max`.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// The most files that are kept open while they are idle.
const OPEN_FILES_MAX: usize = 64;

/// How often followed files are looked at for more, at the slowest.
const POLL_MAX: Duration = Duration::from_millis(100);

/// What to read.
#[derive(Clone, Debug)]
pub struct FilesSpec {
    /// The source's name in the pipeline's text.
    pub name: Arc<str>,
    /// A file, a folder or a pattern.
    pub path: String,
    /// How bytes are cut into records.
    pub framing: Framing,
    /// `source.monitor-interval`: follow the files and look for new ones so often; `None` to end when all is read.
    pub monitor_interval: Option<Duration>,
    /// `source.line-bytes-max`: a longer record is a dead letter; [`LINE_BYTES_MAX`] by default.
    pub line_bytes_max: usize,
    /// Whether line numbers are used, so that a restart has to count them from the beginning of a file.
    pub needs_lines: bool,
}

/// Makes sources of files.
#[derive(Debug)]
pub struct FilesFactory {
    spec: Arc<FilesSpec>,
    known: Arc<Mutex<Known>>,
}

/// What all sources of a factory have learnt about files.
#[derive(Default, Debug)]
struct Known {
    /// The identity of a file at its first sight, by topic.
    ids: BTreeMap<Arc<str>, FileId>,
    /// A position of a file at which a record begins, by topic.
    positions: BTreeMap<Arc<str>, u64>,
    /// Decompressed lengths by topic, with the compressed size that they belong to.
    lengths: BTreeMap<Arc<str>, (u64, u64)>,
}

impl FilesFactory {
    /// A factory.
    pub fn new(spec: FilesSpec) -> Self {
        Self { spec: Arc::new(spec), known: Arc::default() }
    }
}

impl SourceFactory for FilesFactory {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn connector(&self) -> &'static str {
        "filesystem"
    }

    fn describe(&self) -> String {
        let follow = if self.spec.monitor_interval.is_some() { ", followed" } else { "" };
        format!("files {}{follow}", self.spec.path)
    }

    fn wiring(&self) -> String {
        let follow = if self.spec.monitor_interval.is_some() { "follow" } else { "once" };
        format!("filesystem {} {follow} {:?}", self.spec.path, self.spec.framing)
    }

    fn caveat(&self) -> Option<String> {
        None
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(Files {
            spec: self.spec.clone(),
            known: self.known.clone(),
            listing: BTreeMap::new(),
            slots: Vec::new(),
            turn: 0,
            pause: channel(),
        }))
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.spec.monitor_interval
    }
}

struct Files {
    spec: Arc<FilesSpec>,
    known: Arc<Mutex<Known>>,
    /// Files by topic, as last listed.
    listing: BTreeMap<Arc<str>, Listed>,
    slots: Vec<Slot>,
    /// The slot to begin with.
    turn: usize,
    /// Nothing is ever sent: a wait with a timeout.
    pause: (Sender<()>, Receiver<()>),
}

/// A partition that is read.
struct Slot {
    partition: Partition,
    id: FileId,
    next: u64,
    until: Option<u64>,
    cursor: Option<Cursor>,
    /// The size of the file when it was closed with nothing left to read.
    idle_size: Option<u64>,
    /// Whether nothing more will come.
    ended: bool,
}

impl Slot {
    fn is_done(&self) -> bool {
        self.ended || self.until.is_some_and(|until| self.next >= until)
    }
}

impl Files {
    fn following(&self) -> bool {
        self.spec.monitor_interval.is_some()
    }

    fn reading(&self) -> Reading {
        Reading {
            framing: self.spec.framing,
            line_bytes_max: self.spec.line_bytes_max.max(1),
            needs_lines: self.spec.needs_lines,
            following: self.following(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic(&self, listed: &Listed) -> Arc<str> {
        if self.following() {
            return format!("{}#{:x}-{:x}", self.spec.path, listed.inode, listed.born).into();
        }
        listed.text.as_str().into()
    }

    /// Lists the files anew. Two names of one followed file are one topic, under the first name.
    fn refresh(&mut self) -> Result<()> {
        let mut listing = BTreeMap::new();
        for listed in list(&self.spec.path)? {
            listing.entry(self.topic(&listed)).or_insert(listed);
        }
        self.listing = listing;
        Ok(())
    }

    /// Where a topic's file is now.
    fn find(&mut self, topic: &str) -> Result<Option<Listed>> {
        if let Some(listed) = self.listing.get(topic)
            && let Ok(metadata) = std::fs::metadata(&listed.path)
            && (!self.following() || std::os::unix::fs::MetadataExt::ino(&metadata) == listed.inode)
        {
            return Ok(Some(listed.clone()));
        }
        self.refresh()?;
        Ok(self.listing.get(topic).cloned())
    }

    /// The identity of a file: the one at first sight where it is still that file.
    fn identify(&self, topic: &Arc<str>, listed: &Listed) -> Result<Option<FileId>> {
        let Some(file) = open_existing(listed)? else { return Ok(None) };
        let known = self.known().ids.get(topic).copied();
        if let Some(known) = known
            && known.matches(&file, &listed.text)?
        {
            return Ok(Some(known));
        }
        FileId::of(&file, &listed.text).map(Some)
    }

    /// Refuses a new file that is a copy of a followed one, as `copytruncate` makes it.
    fn refuse_copies(&self, new: &[(Arc<str>, Listed)]) -> Result<()> {
        let known = self.known().ids.clone();
        for (topic, listed) in new.iter().filter(|(topic, _)| !known.contains_key(topic)) {
            let Some(file) = open_existing(listed)? else { continue };
            for (other, id) in &known {
                let Some(original) = self.listing.get(other) else { continue };
                let Some(original_file) = open_existing(original)? else { continue };
                let intact = id.head_matches(&original_file, &original.text)?;
                let copy = if intact {
                    let now = FileId::of(&original_file, &original.text)?;
                    now.is_full() && now.is_copied_in(&file, &listed.text)?
                } else {
                    id.is_copied_in(&file, &listed.text)?
                };
                if copy {
                    let message =
                        format!("the file {} begins exactly like {}, which is followed", listed.text, original.text);
                    return Err(Error::new(Kind::Identity, codes::OF0506, message)
                        .note(format!("its records would be read a second time as {topic}"))
                        .help("move the copy out of the pattern; rotate logs by renaming, not by `copytruncate`"));
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, partition: &Partition) -> Result<Position> {
        // A file that is gone was read to its end (see `verify`), or there is nothing to wait for.
        let Some(listed) = self.find(&partition.topic)? else { return Ok(Position::ZERO) };
        let stream = Stream::open(&listed.path, self.following())?;
        if stream.is_plain() {
            let end = if self.following() { self.last_record_end(partition, &listed)? } else { stream.length()? };
            return Ok(Position::new(end));
        }
        let size = size_of(stream.file(), &listed.text)?;
        if let Some((known, length)) = self.known().lengths.get(&partition.topic)
            && *known == size
        {
            return Ok(Position::new(*length));
        }
        let length = stream.length()?;
        self.known().lengths.insert(partition.topic.clone(), (size, length));
        Ok(Position::new(length))
    }

    /// Where the last complete record of a followed file ends.
    fn last_record_end(&self, partition: &Partition, listed: &Listed) -> Result<u64> {
        let from = self.known().positions.get(&partition.topic).copied().unwrap_or(0);
        let reading = Reading { needs_lines: false, ..self.reading() };
        let Some(file) = open_existing(listed)? else { return Ok(from) };
        let id = FileId::of(&file, &listed.text)?;
        let limit = size_of(&file, &listed.text)?;
        let Ok(mut cursor) = Cursor::open(listed.path.clone(), id, from, reading)? else { return Ok(from) };
        loop {
            let before = cursor.next();
            let mut records = Records::default();
            let mut budget = Budget { records: 10_000, bytes: 8 << 20 };
            cursor.read(&mut records, limit, &mut budget)?;
            if cursor.next() == before || cursor.next() >= limit {
                return Ok(cursor.next());
            }
        }
    }

    fn check(&mut self, row: &PositionRow) -> Result<Option<Difference>> {
        let Some(listed) = self.find(&row.partition.topic)? else { return Ok(gone(row)) };
        let Some(file) = open_existing(&listed)? else { return Ok(gone(row)) };
        let id = FileId::from_source(&row.identity);
        let same = match &id {
            Some(id) => id.matches(&file, &listed.text)?,
            None => false,
        };
        let Some(id) = id.filter(|_| same) else {
            let found = FileId::of(&file, &listed.text)?.to_source();
            return Ok(Some(Difference::Identity { ledger: row.identity.clone(), found }));
        };
        self.known().ids.insert(row.partition.topic.clone(), id);
        if Compression::of(&listed.path) == Compression::None {
            let size = size_of(&file, &listed.text)?;
            if size < row.next.get() {
                return Ok(Some(Difference::Truncated { ledger: row.next, end: Position::new(size) }));
            }
        }
        self.check_tail(row, listed, id)
    }

    /// Reads the last consumed record again.
    fn check_tail(&self, row: &PositionRow, listed: Listed, id: FileId) -> Result<Option<Difference>> {
        let Some(tail) = row.tail else { return Ok(None) };
        let reading = Reading { needs_lines: false, ..self.reading() };
        let mut cursor = match Cursor::open(listed.path, id, tail.offset.get(), reading)? {
            Ok(cursor) => cursor,
            Err(end) => return Ok(Some(Difference::Truncated { ledger: row.next, end: Position::new(end) })),
        };
        let mut records = Records::default();
        cursor.read(&mut records, u64::MAX, &mut Budget { records: 1, bytes: usize::MAX })?;
        let same = !records.is_empty()
            && records.get(0).offset == tail.offset
            && records.get(0).fingerprint() == tail.fingerprint;
        Ok((!same).then_some(Difference::Tail { offset: tail.offset }))
    }

    /// One round over the files.
    fn pass(&mut self, limits: &FetchLimits) -> Result<Fetch> {
        let mut budget = Budget { records: limits.records_max.max(1), bytes: limits.bytes_max.max(1) };
        let mut batches = Vec::new();
        let count = self.slots.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if self.slots[index].is_done() {
                continue;
            }
            batches.extend(self.read_slot(index, &mut budget)?);
            if budget.records == 0 || budget.bytes == 0 {
                self.turn = self.turn_after(index);
                break;
            }
        }
        let done = self.slots.iter().all(Slot::is_done);
        let bounded = !self.following() || (count > 0 && self.slots.iter().all(|slot| slot.until.is_some()));
        Ok(Fetch { batches, finished: done && bounded })
    }

    /// Followed files take turns; others, and compressed ones (which are expensive to open again), are read to their end.
    fn turn_after(&self, index: usize) -> usize {
        let cursor = self.slots[index].cursor.as_ref();
        let plain = cursor.is_none_or(|cursor| Compression::of(cursor.path()) == Compression::None);
        if self.following() && plain { index + 1 } else { index }
    }

    fn read_slot(&mut self, index: usize, budget: &mut Budget) -> Result<Option<Batch>> {
        if self.slots[index].cursor.is_none() && !self.open_slot(index)? {
            return Ok(None);
        }
        let following = self.following();
        let open = self.slots.iter().filter(|slot| slot.cursor.is_some()).count();
        let slot = &mut self.slots[index];
        let Some(cursor) = &mut slot.cursor else { return Ok(None) };
        let from = slot.next;
        let until = slot.until.unwrap_or(u64::MAX);
        let mut records = Records::default();
        cursor.read(&mut records, until, budget)?;
        slot.next = cursor.next();
        if slot.next < until && budget.records > 0 && budget.bytes > 0 && !following {
            if slot.until.is_some() {
                return Err(changed(
                    &cursor.path().display().to_string(),
                    &format!("ends at byte {} and had {until}", slot.next),
                ));
            }
            slot.ended = true;
        }
        if slot.next == from {
            Self::rest(slot, open)?;
            return Ok(None);
        }
        cursor.look_ahead()?;
        let at_end = cursor.is_exhausted();
        let file = Some(cursor.facts()?);
        let span = Span::new(Position::new(from), Position::new(slot.next)).expect("a cursor only moves forward");
        let partition = slot.partition.clone();
        if slot.is_done() {
            slot.cursor = None;
        } else {
            Self::rest(slot, open)?;
        }
        Ok(Some(Batch { partition, span, records, leader_epoch: Some(i32::from(at_end)), file }))
    }

    /// Closes an idle file where many are open, and a file that is done.
    fn rest(slot: &mut Slot, open: usize) -> Result<()> {
        let Some(cursor) = &slot.cursor else { return Ok(()) };
        if cursor.is_exhausted() && (open > OPEN_FILES_MAX || Compression::of(cursor.path()) != Compression::None) {
            slot.idle_size = Some(cursor.facts()?.size);
            slot.cursor = None;
        } else if open > 2 * OPEN_FILES_MAX {
            slot.cursor = None;
        }
        Ok(())
    }

    /// Opens a slot's file at its position; false where there is nothing to read.
    fn open_slot(&mut self, index: usize) -> Result<bool> {
        let topic = self.slots[index].partition.topic.clone();
        let Some(listed) = self.find(&topic)? else {
            return self.slot_without_file(index);
        };
        if let (Some(idle), Ok(metadata)) = (self.slots[index].idle_size, std::fs::metadata(&listed.path))
            && metadata.len() == idle
        {
            return Ok(false);
        }
        let reading = self.reading();
        let slot = &mut self.slots[index];
        let Some(file) = open_existing(&listed)? else { return Ok(false) };
        if !slot.id.matches(&file, &listed.text)? {
            return Err(changed(&listed.text, "is another file than the one in the ledger"));
        }
        match Cursor::open(listed.path, slot.id, slot.next, reading)? {
            Ok(cursor) => slot.cursor = Some(cursor),
            Err(end) => {
                let what = format!("was truncated: it ends at byte {end} and {} were read", slot.next);
                return Err(changed(&listed.text, &what));
            }
        }
        slot.idle_size = None;
        Ok(true)
    }

    /// A file that is not there: nothing more comes where it was read to its end.
    fn slot_without_file(&mut self, index: usize) -> Result<bool> {
        let following = self.following();
        let slot = &mut self.slots[index];
        let nothing_due = slot.until.map_or(following, |until| slot.next >= until);
        if !nothing_due && slot.idle_size.is_none() {
            let message = format!("the file {} is gone, read up to byte {}", slot.partition.topic, slot.next);
            return Err(Error::new(Kind::Identity, codes::OF0508, message).help("bring the file back and start again"));
        }
        slot.ended = true;
        Ok(false)
    }
}

/// The difference of a file that does not exist: none where it was read to its end.
fn gone(row: &PositionRow) -> Option<Difference> {
    if row.leader_epoch == Some(1) {
        tracing::warn!(file = %row.partition.topic, position = row.next.get(), "the file is gone; it had been read to its end");
        return None;
    }
    Some(Difference::Gone)
}

fn size_of(file: &File, path: &str) -> Result<u64> {
    Ok(file.metadata().map_err(|error| io_error("read", path, error))?.len())
}

/// Opens a listed file; `None` where it has vanished since.
fn open_existing(listed: &Listed) -> Result<Option<File>> {
    match File::open(&listed.path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("open", &listed.text, error)),
    }
}

impl Source for Files {
    fn discover(&mut self) -> Result<Vec<Found>> {
        self.refresh()?;
        if self.listing.is_empty() && !self.following() {
            return Err(Error::config(codes::OF0501, format!("there is no file at '{}'", self.spec.path))
                .note("without 'source.monitor-interval' a source does not wait for files to appear")
                .help("check the path, or add 'source.monitor-interval' = '1s' to wait for files"));
        }
        let listing: Vec<_> = self.listing.iter().map(|(topic, listed)| (topic.clone(), listed.clone())).collect();
        if self.following() {
            self.refuse_copies(&listing)?;
        }
        let mut found = Vec::with_capacity(listing.len());
        for (topic, listed) in listing {
            let Some(id) = self.identify(&topic, &listed)? else { continue };
            self.known().ids.entry(topic.clone()).or_insert(id);
            let partition = Partition::new(self.spec.name.clone(), topic, 0);
            found.push(Found { partition, identity: id.to_source() });
        }
        found.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(found)
    }

    fn initial(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        self.beginnings(partitions)
    }

    fn beginnings(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        Ok(partitions.iter().map(|partition| (partition.clone(), Position::ZERO)).collect())
    }

    fn ends(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        partitions.iter().map(|partition| Ok((partition.clone(), self.end(partition)?))).collect()
    }

    fn bound(&mut self, partitions: &[Partition]) -> Result<Option<BTreeMap<Partition, Position>>> {
        if self.following() { Ok(None) } else { self.ends(partitions).map(Some) }
    }

    fn verify(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>> {
        self.refresh()?;
        let mut mismatches = Vec::new();
        for row in rows {
            let what = self.check(row)?;
            mismatches.extend(what.map(|what| Mismatch { partition: row.partition.clone(), what }));
        }
        Ok(mismatches)
    }

    fn seek(&mut self, from: &[PositionRow], until: &BTreeMap<Partition, Position>) -> Result<()> {
        self.slots.clear();
        self.turn = 0;
        for row in from {
            let Some(id) = FileId::from_source(&row.identity) else {
                let message = format!("the ledger's identity of {} is none of a file", row.partition.topic);
                return Err(Error::new(Kind::Identity, codes::OF0505, message));
            };
            let mut known = self.known();
            known.ids.insert(row.partition.topic.clone(), id);
            known.positions.insert(row.partition.topic.clone(), row.next.get());
            drop(known);
            self.slots.push(Slot {
                partition: row.partition.clone(),
                id,
                next: row.next.get(),
                until: until.get(&row.partition).map(|position| position.get()),
                cursor: None,
                idle_size: None,
                ended: false,
            });
        }
        // Paths in order; of followed files their names tell nothing, and neither does their order.
        self.slots.sort_by(|a, b| a.partition.cmp(&b.partition));
        self.refresh()
    }

    fn next(&mut self, limits: &FetchLimits) -> Result<Fetch> {
        let deadline = Instant::now() + limits.wait_max;
        let poll = self.spec.monitor_interval.unwrap_or(POLL_MAX).clamp(Duration::from_millis(1), POLL_MAX);
        loop {
            let fetch = self.pass(limits)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if fetch.finished || !fetch.batches.is_empty() || left.is_zero() {
                return Ok(fetch);
            }
            // A timeout is what is wanted here.
            let _ = self.pause.1.recv_timeout(poll.min(left));
        }
    }

    fn group_positions(&mut self, group: &str, _: &[Partition]) -> Result<BTreeMap<Partition, Position>> {
        Err(crate::source::no_groups(group))
    }

    fn report(&mut self, _durable: &[(Partition, Position)]) {}
}
