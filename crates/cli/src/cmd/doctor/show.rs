//! What doctor prints.

use crate::args::{Common, Format};
use crate::table::Table;
use crate::talk::{Talk, Tone, counted};
use onceflow::doctor::check::CAUSES;
use onceflow::doctor::{Check, Status};
use onceflow::home::desk::Cell;
use std::fmt::Write as _;
use std::io::Write as _;

/// How many checks came out how.
#[derive(Clone, Copy, Default)]
pub struct Tally([u64; 4]);

impl Tally {
    /// Counts.
    pub fn of(checks: &[Check]) -> Self {
        let mut tally = Self::default();
        checks.iter().for_each(|check| tally.0[index(check.status)] += 1);
        tally
    }

    /// Checks of one status.
    pub fn count(self, status: Status) -> u64 {
        self.0[index(status)]
    }
}

fn index(status: Status) -> usize {
    match status {
        Status::Ok => 0,
        Status::Warning => 1,
        Status::Broken => 2,
        Status::Unknown => 3,
    }
}

/// One sentence that says what is true of the pipeline.
pub fn sentence(name: &str, checks: &[Check], tally: Tally) -> String {
    let first = |status: Status| checks.iter().find(|check| check.status == status);
    let also = |status: Status, rest: &str| match tally.count(status) {
        0 => String::new(),
        number => format!("; {} {rest}", counted(number, "check")),
    };
    if let Some(check) = first(Status::Broken) {
        let number = tally.count(Status::Broken);
        let unknown = also(Status::Unknown, "could not be made");
        return format!(
            "{name}: exactly once is broken or cannot go on: {} found, the first is cause {} ({}, {}){unknown}.",
            counted(number, "fault"),
            check.cause,
            check.id,
            check.about
        );
    }
    if let Some(check) = first(Status::Unknown) {
        let number = tally.count(Status::Unknown);
        return format!(
            "{name}: no fault was found, but {} could not be made, so nothing is promised: {} ({}).",
            counted(number, "check"),
            check.id,
            check.about
        );
    }
    let warnings = also(Status::Warning, "with a warning that does not break it");
    format!("{name}: each record takes effect exactly once here, by all {} checks{warnings}.", checks.len())
}

/// For people.
pub fn text(checks: &[Check], sentence: &str, common: &Common, talk: &Talk) {
    let mut out = String::new();
    let mut last = 0;
    for check in checks {
        if common.quiet && check.status == Status::Ok {
            continue;
        }
        if check.cause != last {
            last = check.cause;
            let title = format!("{last}. {}", CAUSES[usize::from(last).saturating_sub(1).min(5)]);
            let _ = writeln!(out, "{}{}", if out.is_empty() { "" } else { "\n" }, talk.tone(Tone::Strong, &title));
        }
        one(&mut out, check, talk);
    }
    let _ = writeln!(out, "{}{sentence}", if out.is_empty() { "" } else { "\n" });
    let _ = std::io::stdout().lock().write_all(out.as_bytes());
}

fn one(out: &mut String, check: &Check, talk: &Talk) {
    let word = check.status.as_str();
    let word = match check.status {
        Status::Ok => format!("{word:8}"),
        Status::Broken => talk.tone(Tone::Error, &format!("{word:8}")),
        Status::Warning | Status::Unknown => talk.tone(Tone::Warning, &format!("{word:8}")),
    };
    // Writing into a text cannot fail.
    let _ = writeln!(out, "  {word} {} · {}", check.id, check.about);
    let mut line = |name: &str, said: &str| {
        if !said.is_empty() {
            let _ = writeln!(out, "           {name:11} {}", said.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    };
    line("seen", &check.seen);
    line("how", &check.how);
    line("can happen", &check.can_happen);
    line("fix", check.fix.as_deref().unwrap_or_default());
    line("why", &check.why);
}

/// For programs: one object.
pub fn json(name: &str, checks: &[Check], tally: Tally, sentence: &str, rows: Option<serde_json::Value>) {
    let check = |check: &Check| {
        let mut object = serde_json::json!({
            "cause": check.cause, "id": check.id, "status": check.status.as_str(), "about": check.about,
            "seen": check.seen, "how": check.how, "can_happen": check.can_happen, "fix": check.fix, "why": check.why,
        });
        if let Some(sure) = check.sure {
            object["sure"] = sure.as_str().into();
        }
        object
    };
    let mut object = serde_json::json!({
        "pipeline": name,
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
        "verdict": sentence,
        "summary": {
            "ok": tally.count(Status::Ok), "warnings": tally.count(Status::Warning),
            "broken": tally.count(Status::Broken), "unknown": tally.count(Status::Unknown),
        },
    });
    if let Some(rows) = rows {
        object["rows"] = rows;
    }
    let _ = std::io::stdout().lock().write_all(format!("{object:#}\n").as_bytes());
}

/// For programs: a line a check.
pub fn csv(checks: &[Check]) {
    let word = |text: &str| Cell::Text(text.to_owned());
    let row = |check: &Check| {
        let fix = check.fix.as_deref().map_or(Cell::Null, word);
        let (cause, status) = (Cell::Int(check.cause.into()), word(check.status.as_str()));
        let (about, seen, how) = (word(&check.about), word(&check.seen), word(&check.how));
        vec![cause, word(check.id), status, about, seen, how, word(&check.can_happen), fix, word(&check.why)]
    };
    let columns = ["cause", "id", "status", "about", "seen", "how", "can_happen", "fix", "why"];
    Table::of(&columns, checks.iter().map(row).collect()).print(Format::Csv);
}
