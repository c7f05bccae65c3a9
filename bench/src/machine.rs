//! The machine and the versions, so that a figure can be read later.

use crate::failure::Result;
use crate::place::Place;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Processor, cores, memory, kernel.
pub fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (processor, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let kib: u64 = field(&memory, "MemTotal").split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    json!({
        "processor": field(&processor, "model name"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory_mib": kib / 1024,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "architecture": std::env::consts::ARCH,
    })
}

/// Versions of everything that has a part in the figures.
pub fn versions(place: &Place) -> Result<Value> {
    let session = place.server.session()?;
    Ok(json!({
        "onceflow": said(&place.settings.binary, "--version"),
        "revision": place.settings.revision,
        "rustc": said(Path::new("rustc"), "--version"),
        "kafka": place.settings.kafka_version,
        "librdkafka": rdkafka::util::get_rdkafka_version().1,
        "postgresql": session.text("SELECT current_setting('server_version')")?,
        "postgresql_settings": {
            "fsync": session.text("SELECT current_setting('fsync')")?,
            "synchronous_commit": session.text("SELECT current_setting('synchronous_commit')")?,
            "shared_buffers": session.text("SELECT current_setting('shared_buffers')")?,
            "max_wal_size": session.text("SELECT current_setting('max_wal_size')")?,
        },
        "sqlite": rusqlite::version(),
    }))
}

/// This moment, as PostgreSQL writes it.
pub fn now(place: &Place) -> Result<String> {
    place.server.session()?.text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}

fn said(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
