//! A check and its answer.

use crate::error::Error;

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    /// It cannot happen here.
    Ok,
    /// Exactly once holds, and something is about to be in the way.
    Warning,
    /// It could not be found out.
    Unknown,
    /// Exactly once does not hold, or the pipeline cannot go on.
    Broken,
}

impl Status {
    /// As programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
        }
    }
}

/// How sure it is that a cause has struck, where only its traces are seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sure {
    /// The traces fit, and fit others as well.
    Possible,
    /// They fit this cause better than any other.
    Likely,
    /// Nothing else leaves such traces.
    Certain,
}

impl Sure {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// The six causes in words, from 1.
pub const CAUSES: [&str; 6] = [
    "the sink is not idempotent",
    "the source is read again, or lost what was not read",
    "no transaction in the sink",
    "failure while positions are committed",
    "external systems",
    "checkpointing",
];

/// What was asked, and the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// The cause, from 1 to 6.
    pub cause: u8,
    /// The check's name.
    pub id: &'static str,
    /// The answer.
    pub status: Status,
    /// The home, table or source that it is about.
    pub about: String,
    /// What was seen.
    pub seen: String,
    /// The query or call.
    pub how: String,
    /// Whether the cause can strike here.
    pub can_happen: String,
    /// A command or SQL to paste, where there is something to mend.
    pub fix: Option<String>,
    /// Why the fix works, or why it cannot happen.
    pub why: String,
    /// How sure it is that the cause has struck; only where its traces were looked at.
    pub sure: Option<Sure>,
}

/// A check that has no answer yet.
#[derive(Clone, Debug)]
pub struct Ask(Check);

/// Asks.
pub fn ask(cause: u8, id: &'static str, about: impl Into<String>, how: impl Into<String>) -> Ask {
    Ask(Check {
        cause,
        id,
        status: Status::Unknown,
        about: about.into(),
        seen: String::new(),
        how: how.into(),
        can_happen: String::new(),
        fix: None,
        why: String::new(),
        sure: None,
    })
}

impl Ask {
    /// It is as it should be.
    pub fn ok(self, seen: impl Into<String>, why: impl Into<String>) -> Check {
        Check { status: Status::Ok, seen: seen.into(), can_happen: "no".to_owned(), why: why.into(), ..self.0 }
    }

    /// Something to look at.
    pub fn warning(
        self,
        seen: impl Into<String>,
        can_happen: impl Into<String>,
        fix: impl Into<String>,
        why: impl Into<String>,
    ) -> Check {
        let (fix, can_happen) = (Some(fix.into()), can_happen.into());
        Check { status: Status::Warning, seen: seen.into(), can_happen, fix, why: why.into(), ..self.0 }
    }

    /// Something to mend.
    pub fn broken(
        self,
        seen: impl Into<String>,
        can_happen: impl Into<String>,
        fix: impl Into<String>,
        why: impl Into<String>,
    ) -> Check {
        Check { status: Status::Broken, ..self.warning(seen, can_happen, fix, why) }
    }

    /// It could not be found out.
    pub fn unknown(self, error: &Error) -> Check {
        let seen = format!("could not check: {} ({})", error.message(), error.code());
        let why = error.notes().join("; ");
        let fix = error.helps().first().cloned();
        Check { seen, fix, why, can_happen: "unknown".to_owned(), ..self.0 }
    }
}
