//! The oracle: what must be true whatever happens. It knows more than any worker, and shares no code with the protocol.

use super::world::{RECORDS, Shard, World};
use std::fmt;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A record lies below the position and has not been applied.
    Lost {
        /// The shard.
        shard: usize,
        /// The record.
        record: u8,
    },
    /// A record has been applied more than once.
    Repeated {
        /// The shard.
        shard: usize,
        /// The record.
        record: u8,
    },
    /// A record has been applied that is not below the position, or was never promised.
    Beyond {
        /// The shard.
        shard: usize,
        /// The record.
        record: u8,
    },
    /// A shard was moved by a process other than the one that claimed it last.
    NotTheOwner {
        /// The shard.
        shard: usize,
    },
    /// A transaction took effect after somebody had been told the position without it.
    AnswerOvertaken {
        /// The shard.
        shard: usize,
    },
    /// A process took back a shard that another had claimed from it: two instances would do so for ever.
    TugOfWar {
        /// The shard.
        shard: usize,
    },
    /// A process was sent away although nobody had claimed after it.
    FencedByItself {
        /// The shard.
        shard: usize,
    },
    /// A position or an epoch went wrong in the home.
    WentBack {
        /// The shard.
        shard: usize,
    },
    /// The core refused something that the model holds to be right.
    Refused(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { shard, record } => write!(f, "record {record} of shard {shard} is lost"),
            Self::Repeated { shard, record } => write!(f, "record {record} of shard {shard} was applied twice"),
            Self::Beyond { shard, record } => {
                write!(f, "record {record} of shard {shard} was applied beyond the position")
            }
            Self::NotTheOwner { shard } => write!(f, "shard {shard} was moved by a process that does not own it"),
            Self::AnswerOvertaken { shard } => {
                write!(f, "a transaction on shard {shard} took effect after a position had been given out without it")
            }
            Self::TugOfWar { shard } => write!(f, "shard {shard} was taken back from the process that had claimed it"),
            Self::FencedByItself { shard } => {
                write!(f, "a process gave up shard {shard}, which nobody else had claimed")
            }
            Self::WentBack { shard } => write!(f, "shard {shard} did not move by exactly one step forward"),
            Self::Refused(why) => write!(f, "the core refused: {why}"),
        }
    }
}

/// Every record from the first promised one up to the position has been applied exactly once, and no other.
pub fn check(world: &World) -> Result<(), Broken> {
    world.home.iter().enumerate().try_for_each(|(number, shard)| check_shard(number, shard))
}

fn check_shard(number: usize, shard: &Shard) -> Result<(), Broken> {
    let next = shard.row.and_then(|row| row.next);
    for (record, applied) in (0_u8..).zip(shard.applied).take(RECORDS) {
        let due = next.is_some_and(|next| record < next) && shard.origin.is_some_and(|origin| record >= origin);
        match applied {
            0 if due => return Err(Broken::Lost { shard: number, record }),
            0 => {}
            1 if due => {}
            1 => return Err(Broken::Beyond { shard: number, record }),
            _ => return Err(Broken::Repeated { shard: number, record }),
        }
    }
    Ok(())
}
