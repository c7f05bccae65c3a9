//! Time and chance, as a parameter. The only place that asks the machine for either on the way of a record.

use crate::home::Answer;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where wall-clock time and random bits come from. Neither decides safety: time is shown and waited for, nonces need only
/// be fresh.
pub trait Ambient: Send + Sync {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> i64;

    /// 128 fresh random bits.
    fn random(&self) -> u128;

    /// This moment on a clock that never goes back. Only differences between its moments mean anything.
    fn instant(&self) -> Instant;

    /// Waits for so long on that clock. Cancel safe.
    fn sleep(&self, time: Duration) -> Answer<'static, ()>;
}

/// Waits for a future at most so long; `None` where it took longer, and the future is dropped.
pub async fn at_most<T>(ambient: &dyn Ambient, time: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        answer = future => Some(answer),
        () = ambient.sleep(time) => None,
    }
}

/// The machine's own clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Ambient for Machine {
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
