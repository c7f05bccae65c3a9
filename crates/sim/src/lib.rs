//! What the protocol is tried against. Unpublished.
//!
//! Owns the exhaustive model of claim and commit ([`model`]), which calls the core's own code. Seeded simulations of the
//! engine stand beside it. Does not own any rule: a rule lives in `onceflow-core` or it does not exist.

pub mod faults;
pub mod model;
