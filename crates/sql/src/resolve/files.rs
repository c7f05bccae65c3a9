//! `'connector' = 'filesystem'`: which files are read.

use crate::options::{Reader, value, wrong_value};
use onceflow::decode::{Format, Metadata};
use onceflow::source::SourceFactory;
use onceflow::source::files::{FilesFactory, FilesSpec, Framing, LINE_BYTES_MAX};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The source, or errors. A relative path begins at the working directory.
pub(super) fn factory(
    reader: &mut Reader<'_>,
    format: Option<&Format>,
    metadata: &BTreeMap<String, Metadata>,
) -> Option<Arc<dyn SourceFactory>> {
    let errors = reader.findings.errors.len();
    let path = reader.required("path", "orders/*.jsonl");
    let interval = reader.duration("source.monitor-interval");
    let path = path?;
    let text = path.text.trim().strip_prefix("file://").unwrap_or(path.text.trim()).to_owned();
    if text.is_empty() || text.contains("://") {
        let error = wrong_value("path", &path, "a file, a folder or a pattern of the local file system");
        reader.findings.errors.push(error);
    }
    let idle = interval.filter(|interval| interval.is_zero()).and_then(|_| reader.value("source.monitor-interval"));
    if let Some(value) = idle {
        let error = wrong_value("source.monitor-interval", &value, "a duration above zero");
        reader.findings.errors.push(error.help("remove it where the source is to end"));
    }
    let size = |text: &str| value::size(text).and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
    let line_bytes_max = reader.parsed("source.line-bytes-max", "a size such as 16 mb", size).unwrap_or(LINE_BYTES_MAX);
    if reader.findings.errors.len() > errors {
        return None;
    }
    Some(Arc::new(FilesFactory::new(FilesSpec {
        name: Arc::clone(&reader.table.name),
        path: text,
        framing: framing(format?),
        monitor_interval: interval,
        line_bytes_max,
        needs_lines: metadata.values().any(|metadata| *metadata == Metadata::Line),
    })))
}

/// CSV may have line breaks between quotes; everything else is one line a record.
fn framing(format: &Format) -> Framing {
    match format {
        Format::Csv(options) => match options.quote {
            Some(quote) => Framing::Csv {
                delimiter: options.field_delimiter,
                quote,
                escape: options.escape,
                comments: options.allow_comments,
            },
            None => Framing::Lines,
        },
        _ => Framing::Lines,
    }
}
