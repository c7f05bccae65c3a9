//! Logs on stderr, as text or JSON.

use crate::args::{Common, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging. `ONCEFLOW_LOG` takes a filter such as `info,onceflow=debug`, and wins over `-q` and `-v`.
pub fn start(common: &Common) {
    let level = match (common.quiet, common.verbose, common.log_format) {
        (true, ..) => "error",
        (_, 0, LogFormat::Text) => "error",
        (_, 0, LogFormat::Json) | (_, 1, _) => "info",
        (_, 2, _) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("ONCEFLOW_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match common.log_format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
