//! The second tier: the real binary against a real broker and a real database.
//!
//! Needs `ONCEFLOW_TEST_KAFKA` and `ONCEFLOW_TEST_POSTGRES`, which `./scripts/test` provides. Without them every test says
//! that it did not run, and fails where `ONCEFLOW_TEST_REQUIRE` is set, so that nothing is skipped silently.

mod audit;
mod beside;
mod chaos;
mod crash;
mod demo;
mod doctor;
mod kafka;
mod load;
mod page;
mod postgres;
mod process;
mod services;
mod sources;
mod stranger;
mod torture;
mod trades;
