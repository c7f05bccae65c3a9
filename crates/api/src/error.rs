//! What a handler may say beside `Ok`, and how a pipeline fails.

use crate::batch::Record;
use onceflow_engine as engine;
use onceflow_engine::error::with_causes;
use std::fmt;

/// The result of whatever can fail here.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why a handler or a pipeline failed.
///
/// Like `anyhow::Error` it is made by `?` from any `std::error::Error`, and is none itself. What the engine does depends on how it
/// was made:
///
/// | made by | what happens |
/// |---|---|
/// | `?` from anything | the transaction is rolled back and the pipeline stops; the next start reads the same records again |
/// | `?` from a method of [`Tx`](crate::Tx) | the same, except where the database cannot work now (lost connection, deadlock, time-out): it is tried again |
/// | [`Error::retry`] | the transaction is rolled back, and the records come again after a pause, a bounded number of times |
/// | [`Error::poison`], [`Record::dead_letter`] | that record becomes a dead letter in the same transaction, the others are handled again without it |
pub struct Error(Box<Repr>);

pub(crate) enum Repr {
    /// The engine's own, with its code.
    Engine(engine::Error),
    /// Anything else: the pipeline stops.
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// The same records again, later.
    Retry(Box<dyn std::error::Error + Send + Sync>),
    /// One record aside.
    Poison(Poison),
    /// A channel will never take a message.
    Refused(String),
}

/// A record that is to be put aside.
#[derive(Debug)]
pub(crate) struct Poison {
    /// The part of the epoch's work and the record in it.
    pub(crate) at: (usize, u32),
    /// What is said of it in the dead-letter table.
    pub(crate) reason: String,
}

impl Error {
    /// Stops the pipeline with these words.
    pub fn stop(message: impl fmt::Display) -> Self {
        Self(Box::new(Repr::Other(message.to_string().into())))
    }

    /// Rolls the transaction back and has the same records handled again in a new one after a pause; after
    /// [`Pipeline::retries`](crate::Pipeline::retries) failures in a row the pipeline stops.
    pub fn retry(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Box::new(Repr::Retry(cause.into())))
    }

    /// Makes the record a dead letter, in the same transaction in which the others take effect. What the handler wrote for the
    /// batch so far is undone, and it is called again without the record.
    pub fn poison<T>(record: &Record<T>, reason: impl fmt::Display) -> Self {
        Self(Box::new(Repr::Poison(Poison { at: record.at(), reason: reason.to_string() })))
    }

    /// The engine's error behind it, with its code, notes and helps, where there is one.
    pub fn engine(&self) -> Option<&engine::Error> {
        match &*self.0 {
            Repr::Engine(error) => Some(error),
            _ => None,
        }
    }

    /// The exit code that the command line would end with: see [`engine::Kind::exit_code`]. 1 for a handler's own error.
    pub fn exit_code(&self) -> i32 {
        self.engine().map_or(1, |error| error.kind().exit_code())
    }

    pub(crate) fn refused(reason: String) -> Self {
        Self(Box::new(Repr::Refused(reason)))
    }

    pub(crate) fn from_repr(repr: Repr) -> Self {
        Self(Box::new(repr))
    }

    pub(crate) fn into_repr(self) -> Repr {
        *self.0
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        Self(Box::new(match boxed.downcast::<engine::Error>() {
            Ok(engine) => Repr::Engine(*engine),
            Err(other) => Repr::Other(other),
        }))
    }
}

impl From<Error> for Box<dyn std::error::Error + Send + Sync> {
    fn from(error: Error) -> Self {
        match error.into_repr() {
            Repr::Engine(error) => Box::new(error),
            Repr::Other(error) | Repr::Retry(error) => error,
            Repr::Poison(Poison { reason, .. }) | Repr::Refused(reason) => reason.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Repr::Engine(error) => error.fmt(f),
            Repr::Other(error) => f.write_str(&with_causes(&**error)),
            Repr::Retry(error) => write!(f, "to be tried again: {}", with_causes(&**error)),
            Repr::Poison(poison) => write!(f, "a record to be put aside: {}", poison.reason),
            Repr::Refused(reason) => write!(f, "refused for good: {reason}"),
        }
    }
}

/// As `main` prints it where it returns one: the message, then the engine's notes and helps.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Repr::Engine(error) => error.fmt(f),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_comes_by_the_question_mark_and_the_engines_keeps_its_code() {
        fn number(text: &str) -> Result<i64> {
            Ok(text.parse::<i64>()?)
        }
        assert_eq!(number("x").unwrap_err().to_string(), "invalid digit found in string");
        let engine: Error = engine::Error::unavailable(engine::codes::OF0701, "no answer").into();
        assert_eq!(engine.engine().unwrap().code(), engine::codes::OF0701);
        assert_eq!((engine.exit_code(), Error::stop("enough").exit_code()), (3, 1));
    }
}
