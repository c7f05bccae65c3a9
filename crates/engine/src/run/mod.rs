//! Running a pipeline: registration, founding, lanes, discovery, and how it all ends.
//!
//! Owns the order of a start and the threads of a run. It does not own the data path, which is [`crate::lane`].

use crate::error::{Error, Kind, Result};
use crate::lane::Lane;
use crate::lane::feed::Drive;
use crate::pipeline::{Branch, Pipeline};
use crate::run::ambient::{Ambient, Machine};
use crate::run::observe::{Nobody, Watcher};
use crate::run::stop::Stop;
use std::sync::Arc;
use std::time::Duration;

pub mod ambient;
mod control;
pub mod identity;
pub(crate) mod memory;
pub mod observe;
pub mod replay;
pub mod retry;
pub mod stop;

/// How a pipeline is run.
#[derive(Clone)]
pub struct RunOptions {
    /// Read the ends at the start, and end when everything up to them is committed.
    pub until_caught_up: bool,
    /// Accept target tables that have rows although the pipeline has no ledger yet.
    pub adopt: bool,
    /// Accept that other sources feed other tables than before under this name.
    pub accept_wiring: bool,
    /// Wait until no other instance is present.
    pub standby: bool,
    /// How long to try again while a system does not work; `None` for ever.
    pub retry_for: Option<Duration>,
    /// The wish to stop.
    pub stop: Stop,
    /// Who watches.
    pub watcher: Watcher,
    /// Time and chance.
    pub ambient: Arc<dyn Ambient>,
    /// Who fetches and prepares.
    pub drive: Drive,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            until_caught_up: false,
            adopt: false,
            accept_wiring: false,
            standby: false,
            retry_for: None,
            stop: Stop::new(),
            watcher: Arc::new(Nobody),
            ambient: Arc::new(Machine),
            drive: Drive::default(),
        }
    }
}

/// Runs a pipeline until its sources end, somebody wishes to stop, or something fails that trying again does not mend.
/// Blocks. Branches run side by side; the first that fails stops the others, and its error is the answer.
pub fn run(pipeline: &Pipeline, options: &RunOptions) -> Result<()> {
    std::thread::scope(|scope| {
        let start = |branch| scope.spawn(move || run_branch(pipeline, branch, options));
        let branches: Vec<_> = pipeline.branches.iter().map(start).collect();
        let ended = branches
            .into_iter()
            .map(|branch| branch.join().unwrap_or_else(|_| Err(Error::internal("a branch of the pipeline panicked"))));
        first_error(ended.collect())
    })
}

/// Starts a branch as [`run`] does, and leaves its lanes to the caller: a simulation runs them on one thread. `None` where
/// somebody wished to stop meanwhile.
pub async fn lanes(pipeline: &Pipeline, branch: &Branch, options: &RunOptions) -> Result<Option<Vec<Lane>>> {
    control::Control::new(pipeline, branch, options).lanes().await
}

fn run_branch(pipeline: &Pipeline, branch: &Branch, options: &RunOptions) -> Result<()> {
    let ended = on_this_thread(control::Control::new(pipeline, branch, options).run())?;
    if ended.is_err() {
        options.stop.wish();
    }
    ended
}

/// Runs a future on this thread with a runtime of its own, so that nothing in it has to be `Send`.
pub fn on_this_thread<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal("no runtime could be started").caused_by(error))?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, future))
}

/// Of several ends the error that says most: ours before fencing, fencing before the rest, else the first.
fn first_error(ended: Vec<Result<()>>) -> Result<()> {
    let mut errors: Vec<Error> = ended.into_iter().filter_map(Result::err).collect();
    let rank = |error: &Error| match error.kind() {
        Kind::Internal => 0,
        Kind::Fenced => 1,
        _ => 2,
    };
    errors.sort_by_key(rank);
    errors.into_iter().next().map_or(Ok(()), Err)
}
