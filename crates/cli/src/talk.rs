//! Talking to people on stderr: lines, colours, one line of progress on a terminal.

use crate::args::{Color, Common};
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

/// stderr, as people see it.
pub struct Talk {
    quiet: bool,
    color: bool,
    terminal: bool,
    progress: Mutex<bool>,
}

/// A colour by meaning.
#[derive(Clone, Copy)]
pub enum Tone {
    /// Something is wrong.
    Error,
    /// Something to look at.
    Warning,
    /// What is quoted or pointed at.
    Accent,
    /// Titles.
    Strong,
}

impl Talk {
    /// How to talk, by flags, environment and terminal.
    pub fn new(common: &Common) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Self { quiet: common.quiet, color, terminal, progress: Mutex::new(false) }
    }

    /// Whether stderr is a terminal, so that progress may be redrawn.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Says a line, unless told to be quiet.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    /// Says a line in any case.
    pub fn line(&self, line: &str) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if std::mem::take(&mut *progress) { "\r\x1b[2K" } else { "" };
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{clear}{line}");
    }

    /// Redraws the line of progress on a terminal.
    pub fn progress(&self, line: &str) {
        if self.quiet || !self.terminal {
            return;
        }
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        *progress = true;
        let mut stderr = std::io::stderr();
        // As above.
        let _ = write!(stderr, "\r\x1b[2K{line}").and_then(|()| stderr.flush());
    }

    /// Text in a tone, where colours are wanted.
    pub fn tone(&self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Error => "1;31",
            Tone::Warning => "1;33",
            Tone::Accent => "1;34",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A number with thin groups: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun: `1 record`, `2 records`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}
