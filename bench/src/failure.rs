//! Why a measurement could not be made, in words.
//!
//! Owns the one error of the benchmark. It is for a person to read; nobody decides anything by it.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// Why something did not work, from the outside in.
#[derive(Debug)]
pub struct Failure(String);

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure in these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            words = format!("{words}: {inner}");
            source = inner.source();
        }
        Self(words)
    }
}

/// Says what was tried.
pub trait Doing<T> {
    /// Puts what was tried in front of why it failed.
    fn doing(self, what: impl Display) -> Result<T>;
}

impl<T, E: Into<Failure>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {}", error.into())))
    }
}
