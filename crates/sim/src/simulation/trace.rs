//! What happened, line by line, with a hash over all of it.

use std::time::Duration;

/// The trace of one simulation.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    lines: Vec<String>,
}

impl Trace {
    pub(super) fn new() -> Self {
        // The offset basis of FNV-1a with 64 bits.
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: Vec::new() }
    }

    pub(super) fn note(&mut self, now: Duration, text: &str) {
        let line = format!("{:>10.4} {text}", now.as_secs_f64());
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.lines.push(line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }
}
