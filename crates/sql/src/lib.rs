//! SQL text → sources, logic and sinks. The only crate that knows the SQL engine.
//!
//! Modules stand in the order of the path: [`text`] cuts a text into tokens, [`parse`] reads statements into a [`model`],
//! [`resolve`] makes sources and targets of declarations and their [`options`], [`plan`] makes logic of queries, and
//! [`compile`](mod@compile) puts it together.

pub mod compile;
pub mod model;
pub mod options;
pub mod parse;
pub mod plan;
pub mod relations;
pub mod resolve;
pub mod suggest;
pub mod text;
pub mod types;

pub use compile::{CompileOptions, Compiled, compile, compile_fully};
pub use parse::parse;
pub use resolve::home_from_url;

#[cfg(test)]
mod tests;
