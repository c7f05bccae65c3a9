//! Unpublished: faults through our own traits, and the exhaustive model of the protocol.

pub mod faults;
