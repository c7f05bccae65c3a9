//! Onceflow, the library: each record takes effect in your database exactly once.
//!
//! Modules stand in the order of the data path: a [`source`] gives [`record`]s, a [`decode`]r makes Arrow rows, a [`logic`]
//! makes [`changes`], a [`home`] makes them durable together with the ledger, and a [`pipeline`] drives it all in lanes.
//! The protocol itself is [`onceflow_core`], re-exported as [`core`].

pub use onceflow_core as core;

pub mod error;
pub mod codes;
pub mod crash;
pub mod secret;
pub mod record;
pub mod source;
pub mod decode;
pub mod logic;
pub mod changes;
pub mod home;
pub mod lane;
pub mod pipeline;

pub use error::{Error, Kind, Place, Result};
