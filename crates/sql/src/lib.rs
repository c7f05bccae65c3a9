//! SQL text → sources, logic and sinks. The only crate that knows the SQL engine.

pub mod model;
pub mod plan;
