//! Fetching and preparing turn by turn and without threads: a simulation decides who takes the next turn.
//!
//! Owns the order of turns, and where a thread would wait. What is done in a turn is the code that the threads run, in
//! [`crate::lane::feed`].

use crate::error::{Error, Result};
use crate::lane::epoch::Prepared;
use crate::lane::feed::{Fetcher, Loan, Parcel, Preparer};
use crate::logic::EpochClock;
use crate::source::Source;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, Mutex};

/// Who decides about turns.
pub trait Bench: Send + Sync {
    /// Is given the turns of an attempt that begins. They are over with the attempt, whoever still refers to them.
    fn sit(&self, turns: &Arc<Mutex<Turns>>);
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Something was done.
    Done,
    /// A thread would wait here: the queue is full or empty, or the open epoch has no room.
    Waits,
    /// There are no further turns.
    Ended,
}

/// The turns of one attempt.
pub struct Turns {
    fetchers: Vec<Fetching>,
    preparer: Option<Preparer>,
    /// What was computed and had no room in the open epoch.
    prepared: Option<(Prepared, EpochClock)>,
    /// Whether the preparer is at its end.
    rests: bool,
}

/// Where a fetcher is.
enum Fetching {
    Seeks(Fetcher),
    Reads(Fetcher),
    /// The queue was full. Says whether the source is at its end.
    Sends(Fetcher, Parcel, bool),
    Ended(Box<dyn Source>),
    /// The source was taken back.
    Gone,
}

impl Turns {
    pub(super) fn new(fetchers: Vec<Fetcher>, preparer: Preparer) -> Self {
        let fetchers = fetchers.into_iter().map(Fetching::Seeks).collect();
        Self { fetchers, preparer: Some(preparer), prepared: None, rests: false }
    }

    /// How many sources are fetched from.
    pub fn sources(&self) -> usize {
        self.fetchers.len()
    }

    /// The next turn of a source's fetcher.
    pub fn fetch(&mut self, source: usize) -> Turn {
        let Some(handover) = self.preparer.as_ref().map(|preparer| preparer.handover.clone()) else {
            return Turn::Ended;
        };
        let before = std::mem::replace(&mut self.fetchers[source], Fetching::Gone);
        let (after, turn) = match before {
            Fetching::Ended(_) | Fetching::Gone => (before, Turn::Ended),
            _ if handover.is_closed() => (before.end(), Turn::Ended),
            _ => before.turn(|error| handover.fail(error)),
        };
        self.fetchers[source] = after;
        turn
    }

    /// The next turn of the preparer.
    pub fn prepare(&mut self) -> Turn {
        let Some(preparer) = self.preparer.as_mut().filter(|_| !self.rests) else { return Turn::Ended };
        let taken = match self.prepared.take() {
            Some(prepared) => Ok(prepared),
            None => match preparer.receiver.try_recv() {
                Ok(parcel) => preparer.prepare(parcel),
                Err(TryRecvError::Empty) => return Turn::Waits,
                Err(TryRecvError::Disconnected) => {
                    preparer.handover.finish();
                    self.rests = true;
                    return Turn::Ended;
                }
            },
        };
        let added = match taken {
            Ok(prepared) if !preparer.handover.has_room(&prepared.0) => {
                self.prepared = Some(prepared);
                return Turn::Waits;
            }
            Ok((prepared, clock)) => preparer.handover.add(prepared, clock),
            Err(error) => Err(error),
        };
        match added {
            Ok(true) => return Turn::Done,
            Ok(false) => {}
            Err(error) => preparer.handover.fail(error),
        }
        self.rests = true;
        Turn::Ended
    }

    /// Ends all turns and gives back what they worked with.
    pub(super) fn rest(&mut self) -> Result<Loan> {
        let taken = || Error::internal("turns were ended twice");
        let sources = self.fetchers.drain(..).map(|fetching| match fetching.end() {
            Fetching::Ended(source) => Ok(source),
            _ => Err(taken()),
        });
        let sources = sources.collect::<Result<_>>()?;
        Ok(Loan { sources, logic: self.preparer.take().ok_or_else(taken)?.logic })
    }
}

impl Fetching {
    fn turn(self, fail: impl FnOnce(Error)) -> (Self, Turn) {
        match self {
            Self::Seeks(mut fetcher) => match fetcher.seek() {
                Ok(()) => (Self::Reads(fetcher), Turn::Done),
                Err(error) => {
                    fail(error);
                    (Self::Ended(fetcher.end()), Turn::Ended)
                }
            },
            Self::Reads(mut fetcher) => match fetcher.next() {
                Ok((Some(parcel), finished)) => Self::send(fetcher, parcel, finished),
                Ok((None, true)) => (Self::Ended(fetcher.end()), Turn::Ended),
                Ok((None, false)) => (Self::Reads(fetcher), Turn::Done),
                Err(error) => {
                    fail(error);
                    (Self::Ended(fetcher.end()), Turn::Ended)
                }
            },
            Self::Sends(fetcher, parcel, finished) => Self::send(fetcher, parcel, finished),
            Self::Ended(_) | Self::Gone => (self, Turn::Ended),
        }
    }

    fn send(fetcher: Fetcher, parcel: Parcel, finished: bool) -> (Self, Turn) {
        match fetcher.try_send(parcel) {
            Some(back) => (Self::Sends(fetcher, back, finished), Turn::Waits),
            None if finished => (Self::Ended(fetcher.end()), Turn::Ended),
            None => (Self::Reads(fetcher), Turn::Done),
        }
    }

    fn end(self) -> Self {
        match self {
            Self::Seeks(fetcher) | Self::Reads(fetcher) | Self::Sends(fetcher, ..) => Self::Ended(fetcher.end()),
            ended => ended,
        }
    }
}
