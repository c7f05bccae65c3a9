//! Time and chance, as a parameter. The only place that asks the machine for either.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where wall-clock time and random bits come from. Neither decides safety: time is shown and waited for, nonces need only
/// be fresh.
pub trait Ambient: Send + Sync {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> i64;

    /// 128 fresh random bits.
    fn random(&self) -> u128;
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
}
