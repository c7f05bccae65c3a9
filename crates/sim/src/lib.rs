//! What the protocol is tried against. Unpublished.
//!
//! Owns the exhaustive model of claim and commit ([`model`]), which calls the core's own code, the seeded simulation of the
//! engine ([`simulation`]), and faults at every step of every trait call ([`faults`]). Does not own any rule: a rule lives in
//! `onceflow-core` or it does not exist.

pub mod faults;
pub mod model;
pub mod simulation;
