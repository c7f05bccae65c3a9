//! `'connector' = 'filesystem'`: which files are read.

use crate::options::{Reader, wrong_value};
use onceflow::source::SourceFactory;
use std::sync::Arc;

/// The source, or errors. A relative path begins at the working directory.
pub(super) fn factory(reader: &mut Reader<'_>) -> Option<Arc<dyn SourceFactory>> {
    let errors = reader.findings.errors.len();
    let path = reader.required("path", "orders/*.jsonl");
    let interval = reader.duration("source.monitor-interval");
    let path = path?;
    let text = path.text.trim().strip_prefix("file://").unwrap_or(path.text.trim()).to_owned();
    if text.is_empty() || text.contains("://") {
        let error = wrong_value("path", &path, "a file, a folder or a pattern of the local file system");
        reader.findings.errors.push(error);
    }
    if let (Some(interval), Some(value)) = (interval, reader.value("source.monitor-interval")) {
        if interval.is_zero() {
            let error = wrong_value("source.monitor-interval", &value, "a duration above zero");
            reader.findings.errors.push(error.help("remove it where the source is to end"));
        }
    }
    if reader.findings.errors.len() > errors {
        return None;
    }
    super::connect::files(reader, text, interval)
}
