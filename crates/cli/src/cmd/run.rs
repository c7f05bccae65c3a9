//! `onceflow run`.

use super::Answer;
use super::progress::Progress;
use crate::args::{Common, Run};
use crate::load;
use crate::render;
use crate::signals;
use crate::talk::Talk;
use onceflow::run::RunOptions;
use onceflow::run::stop::Stop;
use onceflow_sql::CompileOptions;
use std::sync::Arc;

/// Runs a pipeline until its sources end or a signal comes.
pub fn run(run: &Run, common: &Common, talk: &Arc<Talk>) -> Answer {
    let loaded = load::pipeline(&run.file, common, &CompileOptions::default())?;
    for warning in &loaded.pipeline.warnings {
        render::warning(warning, &loaded.texts(), talk);
    }
    let stop = Stop::new();
    signals::listen(&stop, talk);
    let progress = Arc::new(Progress::new(talk.clone(), &loaded.pipeline.name, loaded.texts(), common));
    let options = RunOptions {
        until_caught_up: run.until_caught_up,
        adopt: run.adopt,
        accept_wiring: run.accept_wiring,
        standby: run.standby,
        retry_for: run.retry_for,
        stop,
        watcher: progress.clone(),
        ..RunOptions::default()
    };
    let ended = onceflow::run::run(&loaded.pipeline, &options);
    progress.summary();
    ended.map(|()| 0).map_err(|error| loaded.failed(error))
}
