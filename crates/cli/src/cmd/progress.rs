//! What `onceflow run` says while it runs: one line of progress on a terminal, a plain line every few seconds otherwise.

use crate::args::{Common, LogFormat};
use crate::render;
use crate::talk::{Talk, Tone, counted, grouped};
use onceflow::run::observe::{Event, Observer};
use onceflow_core::Counts;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// On a terminal the line is redrawn so often.
const REDRAW: Duration = Duration::from_millis(250);
/// Elsewhere a line is written so often, while something is committed.
const LINE: Duration = Duration::from_secs(5);
/// Dead letters are shown one by one up to so many.
const DEAD_SHOWN: u64 = 5;

/// Says what happens in a run.
pub struct Progress {
    talk: Arc<Talk>,
    pipeline: String,
    texts: BTreeMap<String, String>,
    json: bool,
    state: Mutex<State>,
}

struct State {
    started: Instant,
    shown: Instant,
    shown_records: u64,
    counts: Counts,
    rows: u64,
    commits: u64,
    claims: u64,
    dead_shown: u64,
    took: Duration,
}

impl Progress {
    /// Progress of a pipeline. `texts` are what errors point into.
    pub fn new(talk: Arc<Talk>, pipeline: &str, texts: BTreeMap<String, String>, common: &Common) -> Self {
        let now = Instant::now();
        let state = State {
            started: now,
            shown: now,
            shown_records: 0,
            counts: Counts::default(),
            rows: 0,
            commits: 0,
            claims: 0,
            dead_shown: 0,
            took: Duration::ZERO,
        };
        let json = common.log_format == LogFormat::Json;
        Self { talk, pipeline: pipeline.to_owned(), texts, json, state: Mutex::new(state) }
    }

    /// The last line, when the run has ended.
    pub fn summary(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &state.counts;
        let mut parts = vec![counted(counts.records, "record"), format!("{} written", counted(state.rows, "row"))];
        for (count, name) in
            [(counts.filtered, "filtered"), (counts.dead, "dead"), (counts.skipped, "skipped"), (counts.late, "late")]
        {
            if count > 0 {
                parts.push(format!("{} {name}", grouped(count)));
            }
        }
        parts.push(counted(state.commits, "commit"));
        let seconds = state.started.elapsed().as_secs_f64();
        self.say(&format!("{}: {} in {seconds:.1} s", self.pipeline, parts.join(", ")));
    }

    fn say(&self, line: &str) {
        if !self.json {
            self.talk.say(line);
        }
    }

    fn committed(&self, counts: &Counts, rows: u64, took: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counts.merge(counts);
        state.rows += rows;
        state.commits += 1;
        state.took = took;
        let pause = if self.talk.is_terminal() { REDRAW } else { LINE };
        let since = state.shown.elapsed();
        if since < pause {
            return;
        }
        let rate = (state.counts.records - state.shown_records) as f64 / since.as_secs_f64();
        let dead = if state.counts.dead > 0 { format!(", {} dead", grouped(state.counts.dead)) } else { String::new() };
        let line = format!(
            "{}: {}, {:.0}/s{dead}, last commit {} in {} ms",
            self.pipeline,
            counted(state.counts.records, "record"),
            rate,
            counted(counts.records, "record"),
            took.as_millis()
        );
        state.shown = Instant::now();
        state.shown_records = state.counts.records;
        drop(state);
        if self.talk.is_terminal() { self.talk.progress(&line) } else { self.say(&line) }
    }

    fn dead_letter(&self, code: &str, reason: &str, record: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.dead_shown += 1;
        let shown = state.dead_shown;
        drop(state);
        let word = self.talk.tone(Tone::Warning, "dead letter");
        match shown.cmp(&(DEAD_SHOWN + 1)) {
            std::cmp::Ordering::Less => self.say(&format!("{word} [{code}] {record}: {reason}")),
            std::cmp::Ordering::Equal => {
                self.say(&format!("{word}: more of them; see `onceflow dead-letters list`"));
            }
            std::cmp::Ordering::Greater => {}
        }
    }

    fn claimed(&self, lane: usize, positions: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.claims += 1;
        let first = state.claims == 1;
        drop(state);
        if first {
            let partitions = counted(positions as u64, "partition");
            self.say(&format!("{}: lane {lane} owns {partitions} and goes on where the ledger says", self.pipeline));
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        log(&self.pipeline, event);
        match event {
            Event::Registered { home, notices } => {
                self.say(&format!("{}: ledger in {home}", self.pipeline));
                notices.iter().for_each(|notice| self.say(&format!("note: {notice}")));
            }
            Event::Founded { partitions } => {
                let partitions = counted(*partitions as u64, "new partition");
                self.say(&format!("{}: {partitions}, first positions stored as epoch 0", self.pipeline));
            }
            Event::StandingBy => {
                self.say(&format!("{}: standing by until the present instance is gone", self.pipeline));
            }
            Event::Claimed { lane, positions } => self.claimed(*lane, positions.len()),
            Event::Committed { counts, rows, took, .. } => self.committed(counts, *rows, *took),
            Event::DeadLetter { code, reason, record } => self.dead_letter(code, reason, record),
            Event::Trouble { error } if !self.json => {
                render::warning(error, &self.texts, &self.talk);
                self.say(&format!("{}: trying again; nothing is lost meanwhile", self.pipeline));
            }
            Event::Trouble { .. } | Event::Bounded { .. } => {}
            Event::Over { after } => {
                self.say(&format!("{}: working again after {:.1} s", self.pipeline, after.as_secs_f64()));
            }
        }
    }
}

/// The same as log events, with their fields.
fn log(pipeline: &str, event: &Event<'_>) {
    match event {
        Event::Registered { home, .. } => tracing::info!(pipeline, home, "registered"),
        Event::Founded { partitions } => tracing::info!(pipeline, partitions, "founded"),
        Event::StandingBy => tracing::info!(pipeline, "standing by"),
        Event::Claimed { lane, positions } => {
            tracing::info!(pipeline, lane, partitions = positions.len(), "claimed");
            for (partition, position) in *positions {
                let (topic, number) = (&*partition.topic, partition.number);
                tracing::debug!(pipeline, lane, topic, partition = number, %position, "goes on");
            }
        }
        Event::Committed { lane, spans, counts, rows, took } => {
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let dead = counts.dead;
            tracing::info!(pipeline, lane, records = counts.records, rows, dead, milliseconds, "committed");
            for (partition, span) in *spans {
                let (topic, number) = (&*partition.topic, partition.number);
                tracing::debug!(pipeline, lane, topic, partition = number, %span, "committed span");
            }
        }
        Event::DeadLetter { code, reason, record } => tracing::warn!(pipeline, code, record, "dead letter: {reason}"),
        Event::Trouble { error } => tracing::warn!(pipeline, code = %error.code(), "trouble: {error}"),
        Event::Over { after } => tracing::info!(pipeline, seconds = after.as_secs(), "over"),
        Event::Bounded { offsets } => tracing::debug!(pipeline, offsets, "bounded"),
    }
}
