//! One file on its way into records: opened at a position, read in chunks, cut into records.
//!
//! Holds at most one chunk and one record of at most `line_bytes_max`. Of a longer record only its beginning is kept.

use super::framing::{Framing, Scan};
use super::identity::FileId;
use super::stream::{Stream, io_error};
use crate::codes;
use crate::decode::TRUNCATED_HEADER;
use crate::error::{Error, Kind, Result};
use crate::record::{FileFacts, Record, Records, TimestampType};
use onceflow_core::Position;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// So much of a record that is too long is kept.
pub(super) const TRUNCATED_BYTES: usize = 64 << 10;

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) framing: Framing,
    pub(super) line_bytes_max: usize,
    pub(super) needs_lines: bool,
    /// Whether more may be appended, so that a last line without its end is not yet a record.
    pub(super) following: bool,
}

/// How much one call may still take.
pub(super) struct Budget {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// An open file and the place in it.
pub(super) struct Cursor {
    reading: Reading,
    path: PathBuf,
    text: String,
    id: FileId,
    stream: Stream,
    buffer: Vec<u8>,
    /// Where the current record begins in `buffer`.
    start: usize,
    /// How many bytes after `start` were scanned for its end.
    scanned: usize,
    scan: Scan,
    /// Bytes of the current record that were dropped because it is too long, and its kept beginning.
    dropped: u64,
    kept: Vec<u8>,
    /// The position of the current record.
    next: u64,
    /// Its line, where it is known.
    line: Option<u64>,
    /// Whether the last read found the end.
    at_end: bool,
}

impl Cursor {
    /// Opens a file at a position; `Ok(Err(end))` where it ends before.
    pub(super) fn open(path: PathBuf, id: FileId, at: u64, reading: Reading) -> Result<Result<Self, u64>> {
        let text = path.display().to_string();
        let mut stream = Stream::open(&path, reading.following)?;
        if stream.is_plain() {
            let size = stream.file().metadata().map_err(|error| io_error("read", &text, error))?.len();
            if size < at {
                return Ok(Err(size));
            }
        }
        let (lines, reached) = stream.skip_to(at, reading.needs_lines)?;
        if reached < at {
            return Ok(Err(reached));
        }
        let line = (at == 0 || reading.needs_lines).then_some(lines + 1);
        Ok(Ok(Self {
            reading,
            path,
            text,
            id,
            stream,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            scan: Scan::default(),
            dropped: 0,
            kept: Vec::new(),
            next: at,
            line,
            at_end: false,
        }))
    }

    /// The position of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The path that was opened.
    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// What is known of the file now.
    pub(super) fn facts(&self) -> Result<Arc<FileFacts>> {
        let metadata = self.stream.file().metadata().map_err(|error| io_error("read", &self.text, error))?;
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let modified = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
        Ok(Arc::new(FileFacts { path: self.text.clone(), name, size: metadata.len(), modified }))
    }

    /// Whether everything there is has been read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.at_end && self.start == self.buffer.len() && self.dropped == 0
    }

    /// Reads records that begin before `until` as far as the budget goes. Blank lines move the position and are no records.
    pub(super) fn read(&mut self, records: &mut Records, until: u64, budget: &mut Budget) -> Result<()> {
        while self.next < until && budget.records > 0 && budget.bytes > 0 {
            let Some(end) = self.record_end()? else { return Ok(()) };
            self.take(end, records, budget);
        }
        Ok(())
    }

    /// Looks whether anything follows, so that [`Self::is_exhausted`] says the truth.
    pub(super) fn look_ahead(&mut self) -> Result<()> {
        if self.start == self.buffer.len() && self.dropped == 0 {
            self.fill()?;
        }
        Ok(())
    }

    /// Where in the buffer the current record ends (at its line break, or at the end of the file); `None` to wait.
    fn record_end(&mut self) -> Result<Option<usize>> {
        loop {
            let at_file_start = self.next == 0 && self.dropped == 0;
            if let Some(end) = self.scan.end(self.reading.framing, &self.buffer[self.start..], at_file_start) {
                return Ok(Some(self.start + end));
            }
            self.scanned = self.buffer.len() - self.start;
            let first_line = self.scan.end_of_first_line().filter(|_| self.dropped == 0);
            if let Some(end) = first_line.filter(|_| self.scanned > self.reading.line_bytes_max) {
                return Ok(Some(self.start + end));
            }
            self.shorten();
            if !self.fill()? {
                let pending = self.start < self.buffer.len() || self.dropped > 0;
                let complete = !self.reading.following || !self.stream.is_plain();
                let end = first_line.map_or(self.buffer.len(), |end| self.start + end);
                return Ok((pending && complete).then_some(end));
            }
        }
    }

    /// Drops what was scanned of a record that is too long, but for its beginning.
    fn shorten(&mut self) {
        if self.dropped == 0 && self.scanned <= self.reading.line_bytes_max {
            return;
        }
        if self.dropped == 0 {
            let keep = self.scanned.min(TRUNCATED_BYTES).min(self.reading.line_bytes_max);
            self.kept = self.buffer[self.start..self.start + keep].to_vec();
        }
        self.dropped += self.scanned as u64;
        self.start = self.buffer.len();
        self.scanned = 0;
        self.scan.drop_scanned();
    }

    /// Reads a chunk; false at the end of what there is.
    fn fill(&mut self) -> Result<bool> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let was_at_end = self.at_end;
        let read = self.stream.read_more(&mut self.buffer)?;
        self.at_end = read == 0;
        if self.at_end {
            self.check_length()?;
        } else if was_at_end {
            self.check_head()?;
        }
        Ok(read > 0)
    }

    /// A file that is shorter than what was read of it was truncated.
    fn check_length(&self) -> Result<()> {
        let known = self.next + self.dropped + (self.buffer.len() - self.start) as u64;
        let size = self.stream.file().metadata().map_err(|error| io_error("read", &self.text, error))?.len();
        if !self.stream.is_plain() || size >= known {
            return Ok(());
        }
        Err(changed(&self.text, &format!("was truncated: it has {size} bytes and {known} were read")))
    }

    /// A file that was idle and has more now may have been rewritten in between.
    fn check_head(&self) -> Result<()> {
        if self.id.head_matches(self.stream.file(), &self.text)? {
            return Ok(());
        }
        Err(changed(&self.text, "does not begin as it did: it was rewritten"))
    }

    /// Takes the record that ends at `end` in the buffer.
    fn take(&mut self, end: usize, records: &mut Records, budget: &mut Budget) {
        let terminated = end < self.buffer.len();
        let length = self.dropped + (end - self.start) as u64 + u64::from(terminated);
        let body = &self.buffer[self.start..end];
        let lines = match self.reading.framing {
            Framing::Lines => 1,
            // Lines of what was dropped are not known.
            Framing::Csv { .. } => memchr::memchr_iter(b'\n', body).count() as u64 + 1,
        };
        let too_long = self.dropped > 0 || body.len() > self.reading.line_bytes_max;
        let value = match (too_long, self.dropped > 0) {
            (false, _) => body.strip_suffix(b"\r").unwrap_or(body),
            (true, false) => &body[..TRUNCATED_BYTES.min(self.reading.line_bytes_max)],
            (true, true) => &self.kept,
        };
        let mark = if self.next == 0 && value.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let value = &value[mark..];
        if !value.is_empty() {
            let headers = too_long.then(|| (TRUNCATED_HEADER.to_owned(), Some(self.limit().into_bytes())));
            records.push(Record {
                offset: Position::new(self.next + mark as u64),
                timestamp: None,
                timestamp_type: TimestampType::None,
                key: None,
                value: Some(value),
                headers: headers.as_slice(),
                line: self.line.unwrap_or(0),
            });
            budget.records -= 1;
            budget.bytes = budget.bytes.saturating_sub(value.len());
        }
        let unknown_lines = self.dropped > 0 && self.reading.framing != Framing::Lines;
        self.line = self.line.filter(|_| !unknown_lines).map(|line| line + lines);
        self.start = end + usize::from(terminated);
        self.next += length;
        self.scanned = 0;
        self.scan = Scan::default();
        self.dropped = 0;
        self.kept = Vec::new();
    }

    fn limit(&self) -> String {
        self.reading.line_bytes_max.to_string()
    }
}

/// A file is not what it was a moment ago.
pub(super) fn changed(path: &str, what: &str) -> Error {
    Error::new(Kind::Identity, codes::OF0505, format!("the file {path} {what}"))
        .help("rotate logs by renaming (logrotate's `create`), not by `copytruncate`")
}
