//! Trying again: back-off, patience, and saying so once.

use crate::codes;
use crate::error::{Error, Kind};
use crate::run::ambient::Ambient;
use crate::run::observe::{Event, Watcher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first wait after a failure that was repeated.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// Success for so long, without a commit, also ends a trouble.
const QUIET: Duration = Duration::from_secs(5);

/// Patience with systems that do not work now.
pub struct Patience {
    retry_for: Option<Duration>,
    watcher: Watcher,
    ambient: Arc<dyn Ambient>,
    since: Option<Instant>,
    failures: u32,
    well_since: Option<Instant>,
}

impl Patience {
    /// Patience for a time, or for ever with `None`.
    pub fn new(retry_for: Option<Duration>, watcher: Watcher, ambient: Arc<dyn Ambient>) -> Self {
        Self { retry_for, watcher, ambient, since: None, failures: 0, well_since: None }
    }

    /// Takes a failure: how long to wait before the next attempt, or the error with which to end.
    pub fn failed(&mut self, error: Error) -> Result<Duration, Error> {
        if error.kind() != Kind::Unavailable {
            return Err(error);
        }
        self.well_since = None;
        let now = self.ambient.instant();
        let trouble = now - *self.since.get_or_insert(now);
        if self.failures == 0 {
            self.watcher.event(&Event::Trouble { error: &error });
        }
        tracing::warn!(code = %error.code(), failures = self.failures + 1, "trying again: {error}");
        if self.retry_for.is_some_and(|limit| trouble >= limit) {
            return Err(over(trouble, error));
        }
        let exponent = self.failures.saturating_sub(1).min(10);
        let delay = if self.failures == 0 { Duration::ZERO } else { DELAY_MIN * 2_u32.pow(exponent) };
        self.failures += 1;
        Ok(delay.min(DELAY_MAX))
    }

    /// Takes note of a commit: whatever was wrong is over.
    pub fn succeeded(&mut self) {
        if let Some(since) = self.since.take() {
            let after = self.ambient.instant() - since;
            self.watcher.event(&Event::Over { after });
            tracing::info!(seconds = after.as_secs(), "working again");
        }
        self.failures = 0;
        self.well_since = None;
    }

    /// Takes note that nothing is wrong although nothing was committed.
    pub fn idle(&mut self) {
        let now = self.ambient.instant();
        if self.since.is_some() && now - *self.well_since.get_or_insert(now) >= QUIET {
            self.succeeded();
        }
    }
}

fn over(after: Duration, error: Error) -> Error {
    Error::unavailable(codes::OF0003, format!("gave up after {} s: {}", after.as_secs(), error.message()))
        .note("nothing is lost: started again, the pipeline goes on at the position in the ledger")
        .help("raise --retry-for, or leave it out to try for ever")
        .caused_by(error)
}
