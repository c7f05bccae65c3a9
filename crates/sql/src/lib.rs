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

/// The stack for parsing and planning, in bytes. Both walk queries recursively, up to the depth that [`parse`](mod@parse) allows,
/// with frames of several kilobytes. Pages that are not touched cost nothing.
const STACK_BYTES: usize = 64 << 20;

/// Runs something on a thread with room for deep queries.
fn roomy<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("onceflow-plan".to_owned()).stack_size(STACK_BYTES);
        let handle = thread.spawn_scoped(scope, work).expect("a process that starts can start a thread");
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
