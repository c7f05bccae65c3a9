//! Showing progress to others: the offsets of a consumer group, as lag dashboards read them. Never read back.
//!
//! One request at a time, the newest positions win, failures are told once.

use super::ffi::{Asked, At, Failure, Native, Offsets, store_group};
use onceflow_core::{Partition, Position};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const INTERVAL_MIN: Duration = Duration::from_millis(500);
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);
const METADATA: &str = "onceflow";

/// Tells a group how far the ledger has got.
pub(super) struct Reporter {
    group: Option<String>,
    waiting: BTreeMap<(Arc<str>, u32), Position>,
    asked: Option<Asked<Result<Offsets, Failure>>>,
    sent: Option<Instant>,
    told: bool,
}

impl Reporter {
    /// A reporter for a group; without one it does nothing.
    pub(super) fn new(group: Option<String>) -> Self {
        Self { group, waiting: BTreeMap::new(), asked: None, sent: None, told: false }
    }

    /// Notes positions.
    pub(super) fn note(&mut self, durable: &[(Partition, Position)]) {
        if self.group.is_some() {
            let entries = durable.iter().map(|(partition, at)| ((partition.topic.clone(), partition.number), *at));
            self.waiting.extend(entries);
        }
    }

    /// Sends what waits, if it is time. Never blocks.
    pub(super) fn turn(&mut self, native: &Arc<Native>) {
        self.take_answer(Duration::ZERO);
        let early = self.sent.is_some_and(|sent| sent.elapsed() < INTERVAL_MIN);
        if self.asked.is_none() && !early {
            self.send(native);
        }
    }

    /// Sends the last positions and waits a little for the answers.
    pub(super) fn close(&mut self, native: &Arc<Native>) {
        self.take_answer(CLOSE_WAIT_MAX);
        if self.asked.is_none() {
            self.send(native);
            self.take_answer(CLOSE_WAIT_MAX);
        }
    }

    fn send(&mut self, native: &Arc<Native>) {
        let Some(group) = self.group.as_deref().filter(|_| !self.waiting.is_empty()) else { return };
        let entries = std::mem::take(&mut self.waiting).into_iter();
        let entries: Vec<_> = entries
            .map(|((topic, partition), at)| At { topic: topic.to_string(), partition, offset: at.signed() })
            .collect();
        self.asked = Some(store_group(native, group, &entries, METADATA, REQUEST_WAIT_MAX));
        self.sent = Some(Instant::now());
    }

    fn take_answer(&mut self, wait: Duration) {
        let Some(answer) = self.asked.as_mut().and_then(|asked| asked.poll(wait)) else { return };
        self.asked = None;
        let failed = match answer {
            Err(failure) | Ok(Err(failure)) => Some(failure),
            Ok(Ok(offsets)) => offsets.into_iter().find_map(|(_, result)| result.err()),
        };
        match failed {
            Some(failure) => self.tell(&failure),
            None => self.told = false,
        }
    }

    fn tell(&mut self, failure: &Failure) {
        let group = self.group.as_deref().unwrap_or_default();
        if self.told {
            tracing::debug!(target: "onceflow::kafka", "offsets of group '{group}' were not stored: {}", failure.text);
        } else {
            tracing::warn!(
                target: "onceflow::kafka",
                "offsets of group '{group}' were not stored, which only lag displays notice: {}", failure.text
            );
        }
        self.told = true;
    }
}
