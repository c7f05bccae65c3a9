//! Onceflow, the library: each record takes effect in your database exactly once.
//!
//! Modules stand in the order of the data path: a [`source`] gives [`record`]s, a [`decode`]r makes Arrow rows, a [`logic`]
//! makes [`changes`], a [`home`] makes them durable together with the ledger, and a [`pipeline`] drives it all in lanes.
//! The protocol itself is [`onceflow_core`], re-exported as [`core`].

pub use onceflow_core as core;

pub mod audit;
pub mod chance;
pub mod changes;
pub mod codes;
pub mod crash;
pub mod decode;
pub mod digest;
pub mod doctor;
pub mod error;
pub mod grouping;
pub mod home;
pub mod lane;
pub mod logic;
mod mounts;
pub mod pipeline;
pub mod record;
pub mod run;
pub mod secret;
pub mod source;
#[cfg(feature = "bench-switches")]
pub mod switches;
#[cfg(not(feature = "bench-switches"))]
mod switches;
pub mod user_code;

pub use error::{Error, Kind, Place, Result};
