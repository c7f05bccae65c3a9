//! The wish to stop, shared by all threads of a run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A wish to stop that anybody may state, once, and everybody sees.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    wished: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
    notify: Notify,
}

impl Stop {
    /// Nobody wishes to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wishes to stop: transactions in flight finish or roll back, and everything ends.
    pub fn wish(&self) {
        self.0.wished.store(true, Ordering::SeqCst);
        drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
        self.0.notify.notify_waiters();
    }

    /// Whether somebody wished.
    pub fn wished(&self) -> bool {
        self.0.wished.load(Ordering::SeqCst)
    }

    /// Blocks until somebody wishes, at most for a time; whether somebody did.
    pub fn wait(&self, at_most: Duration) -> bool {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.0.changed.wait_timeout_while(guard, at_most, |()| !self.wished());
        drop(result);
        self.wished()
    }

    /// Waits until somebody wishes. Cancel safe.
    pub async fn wished_for(&self) {
        loop {
            let notified = self.0.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.wished() {
                return;
            }
            notified.await;
        }
    }
}
