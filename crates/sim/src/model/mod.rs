//! The exhaustive model: two workers, two shards, one home, and everything that can happen between them.
//!
//! A breadth-first search goes through every reachable state within [`Bounds`]: workers that are slow (any worker may rest for
//! ever between two steps), crash, lose a connection with COMMIT in the pipe, come back; claims whose answer is lost; a
//! home that is restored to an older state behind everybody's back. Every decision is made by `onceflow_core`:
//! `decide_claim`, `check_move`, `Ledger::propose`, `Ledger::accept`. The model only carries values between them.
//!
//! [`Rules`] switches single rules of the protocol off. With all of them on, no state may break a promise ([`Broken`]); with
//! any one off, the search must find a broken promise, otherwise the rule, or the model, is idle.
//!
//! Reading order: [`world`] (the state), [`action`] (what can happen), `worker`, `server`, `promise`, [`search`].

pub mod action;
pub mod promise;
pub mod search;
mod server;
mod translate;
mod worker;
pub mod world;

pub use action::Action;
pub use promise::Broken;
pub use search::{Explored, explore};
pub use translate::Model;
pub use world::{SHARDS, Shards, WORKERS, World};

/// The rules of the protocol that can be switched off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// A move compares the generation.
    pub generation: bool,
    /// A move compares the nonce.
    pub nonce: bool,
    /// A move compares the epoch and the chain hash.
    pub contents: bool,
    /// A move that does not match aborts its transaction in the server. Off: it changes no row, and the transaction lives on.
    pub abort: bool,
    /// Recovery claims. Off: it reads the row and goes on with what it holds.
    pub claim: bool,
    /// A claim says what it held, and gives way to a higher generation.
    pub fence: bool,
    /// A claim counts as held what an earlier one of the same process wrote without getting an answer.
    pub own_attempt: bool,
    /// Initial positions are resolved once and stored before anything is read. Off: each start resolves them.
    pub founding: bool,
}

impl Rules {
    /// The protocol as it is.
    pub const ALL: Rules = Rules {
        generation: true,
        nonce: true,
        contents: true,
        abort: true,
        claim: true,
        fence: true,
        own_attempt: true,
        founding: true,
    };
}

/// How far the search goes. Every number bounds one kind of event over a whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Records of each partition at the start; they lie before `latest` and are nobody's business.
    pub log_start: u8,
    /// Records of each partition at most.
    pub log_max: [u8; SHARDS],
    /// Claims that reach the home.
    pub claims_max: u8,
    /// Processes that crash or, once fenced, are started again.
    pub crashes_max: u8,
    /// Connections that are lost while a transaction is open.
    pub losses_max: u8,
    /// Whether the home may be restored once.
    pub restore: bool,
    /// Whether all processes draw the same random numbers in the same order, as clones of one machine may.
    pub cloned: bool,
    /// Which sets of shards a claim may name.
    pub claimed: &'static [Shards],
}
