//! Where messages go, and what a channel may answer.

use crate::error::{Error, Repr, Result};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// A message of the outbox, as a channel delivers it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Message(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) id: i64,
    pub(super) channel: String,
    pub(super) key: String,
    pub(super) idempotency_key: String,
    pub(super) body: String,
    pub(super) compensation: Option<String>,
    /// Attempts with this one.
    pub(super) attempts: u32,
}

impl Message {
    /// The JSON text.
    pub fn body(&self) -> &str {
        &self.0.body
    }

    /// The message as the type that was written.
    pub fn json<M: serde::de::DeserializeOwned>(&self) -> Result<M> {
        Ok(serde_json::from_str(&self.0.body)?)
    }

    /// The same at every attempt, and of no other message of the channel: whoever receives it can tell a repetition by it.
    pub fn idempotency_key(&self) -> &str {
        &self.0.idempotency_key
    }

    /// Messages of one key are delivered in order.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.attempts
    }

    /// The error that says that this message will never be taken: it is not tried again, its compensation is executed, and without
    /// one it becomes a dead letter. `return Err(message.refuse("unknown customer"))`.
    pub fn refuse(&self, reason: impl fmt::Display) -> Error {
        Error::refused(reason.to_string())
    }
}

/// Why an attempt did not deliver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Undelivered {
    /// It may work later, and not before the given time from now where the other side said one.
    Later(String, Option<Duration>),
    /// It never will.
    Never(String),
}

/// Delivers one message.
pub(super) trait Deliver: Send + Sync {
    fn deliver<'a>(&'a self, message: &'a Message) -> LocalBoxFuture<'a, Result<(), Undelivered>>;
}

/// Where messages of the outbox go: made of [`Http`](crate::Http), [`Kafka`](crate::Kafka), or by [`Channel::of`].
#[derive(Clone)]
pub struct Channel {
    pub(super) deliver: Arc<dyn Deliver>,
    pub(super) attempts: u32,
    pub(super) timeout: Duration,
    pub(super) back_off: Duration,
    /// A mistake in the channel itself, told when the pipeline starts.
    pub(super) mistake: Option<String>,
}

/// Attempts where nothing else is said: with doubled pauses about ten minutes.
const ATTEMPTS: u32 = 16;
const TIMEOUT: Duration = Duration::from_secs(10);
const BACK_OFF: Duration = Duration::from_millis(100);
/// A pause is never longer.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(60);

impl Channel {
    pub(super) fn new(deliver: impl Deliver + 'static) -> Self {
        Self { deliver: Arc::new(deliver), attempts: ATTEMPTS, timeout: TIMEOUT, back_off: BACK_OFF, mistake: None }
    }

    /// A channel that is your own code: `Channel::of(async |message| send(message.json()?).await)`. `Ok` is delivered; an error is tried
    /// again after a pause; [`Message::refuse`] is never tried again. It runs on a thread of its own, after the commit. A panic
    /// counts as an error.
    pub fn of<F>(deliver: F) -> Self
    where
        F: AsyncFn(Message) -> Result<()> + Send + Sync + 'static,
    {
        Self::new(Code(deliver))
    }

    /// After so many attempts a message is given up: its compensation is executed, and without one it becomes a dead letter. 16 where
    /// nothing is said.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// An attempt that takes longer has failed, and may have arrived all the same; 10 s where nothing is said.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The pause after the first failure; each further one is twice as long, up to a minute. 100 ms where nothing is said.
    pub fn back_off(self, back_off: Duration) -> Self {
        Self { back_off, ..self }
    }

    pub(crate) fn mistake(&self) -> Option<&str> {
        self.mistake.as_deref()
    }

    /// The pause after so many attempts.
    pub(super) fn pause(&self, attempts: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.back_off.saturating_mul(factor).min(BACK_OFF_MAX)
    }

    /// One attempt, within the time that it may take.
    pub(super) async fn attempt(&self, message: &Message) -> Result<(), Undelivered> {
        let attempt = AssertUnwindSafe(self.deliver.deliver(message)).catch_unwind();
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => Err(Undelivered::Later(format!("panicked: {}", crate::logic::words(&*panic)), None)),
            Err(_) => Err(Undelivered::Later(format!("no answer within {:?}", self.timeout), None)),
        }
    }
}

struct Code<F>(F);

impl<F> Deliver for Code<F>
where
    F: AsyncFn(Message) -> Result<()> + Send + Sync + 'static,
{
    fn deliver<'a>(&'a self, message: &'a Message) -> LocalBoxFuture<'a, Result<(), Undelivered>> {
        Box::pin(async move {
            (self.0)(message.clone()).await.map_err(|error| match error.into_repr() {
                Repr::Refused(reason) => Undelivered::Never(reason),
                repr => Undelivered::Later(Error::from_repr(repr).to_string(), None),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let channel = Channel::of(async |_message| Ok(()));
        let pauses = [1, 2, 3, 10, 11, 40, u32::MAX].map(|attempts| channel.pause(attempts).as_millis());
        assert_eq!(pauses, [100, 200, 400, 51_200, 60_000, 60_000, 60_000]);
    }
}
