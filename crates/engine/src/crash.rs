//! Crash points: named steps at which a test lets the process die or stop.
//!
//! `ONCEFLOW_CRASH=after_move@3:kill` kills the process (SIGKILL) when it passes `after_move` the third time; `stop` stops it
//! (SIGSTOP) and `abort` aborts it. Several are separated by commas. `ONCEFLOW_CRASH_LOG=FILE` appends a line for each crash
//! point that is passed the first time, so that a test can prove that it was reached. Unset, a point costs one load.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Every crash point between start and report, in the order of the data path.
pub const POINTS: &[&str] = &[
    "mid_register",
    "before_found",
    "after_found",
    "before_claim",
    "after_claim",
    "after_seek",
    "after_fetch",
    "after_prepare",
    "before_begin",
    "after_move",
    "mid_rows",
    "after_rows",
    "before_dead_letters",
    "before_commit",
    "commit_sent",
    "after_commit",
    "after_accept",
    "after_report",
];

struct Plan {
    armed: Vec<(String, u64, Action)>,
    log: Option<String>,
    passed: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Copy)]
enum Action {
    Kill,
    Stop,
    Abort,
}

static ACTIVE: LazyLock<AtomicBool> = LazyLock::new(|| {
    AtomicBool::new(std::env::var_os("ONCEFLOW_CRASH").is_some() || std::env::var_os("ONCEFLOW_CRASH_LOG").is_some())
});
static PLAN: LazyLock<Mutex<Plan>> = LazyLock::new(|| Mutex::new(Plan::from_env()));

/// Passes a crash point. `name` is one of [`POINTS`].
#[inline]
pub fn point(name: &'static str) {
    if ACTIVE.load(Ordering::Relaxed) {
        pass(name);
    }
}

/// Whether a crash at this point is planned, for points that need preparation.
pub fn planned(name: &str) -> bool {
    ACTIVE.load(Ordering::Relaxed)
        && PLAN.lock().unwrap_or_else(PoisonError::into_inner).armed.iter().any(|(point, ..)| point == name)
}

/// Checks the environment variable, so that a misspelt point is an error and not a test that proves nothing.
pub fn check() -> Result<(), String> {
    let Ok(text) = std::env::var("ONCEFLOW_CRASH") else { return Ok(()) };
    parse(&text).map(|_| ())
}

#[cold]
fn pass(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not a listed crash point");
    let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = plan.passed.entry(name).or_insert(0);
    *count += 1;
    let count = *count;
    if count == 1 {
        plan.write_log(name);
    }
    let action = plan.armed.iter().find(|(point, at, _)| point == name && *at == count).map(|found| found.2);
    drop(plan);
    if let Some(action) = action {
        action.run();
    }
}

impl Plan {
    fn from_env() -> Self {
        let armed = std::env::var("ONCEFLOW_CRASH").ok().and_then(|text| parse(&text).ok()).unwrap_or_default();
        Self { armed, log: std::env::var("ONCEFLOW_CRASH_LOG").ok(), passed: BTreeMap::new() }
    }

    fn write_log(&self, name: &str) {
        let Some(path) = &self.log else { return };
        if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
            // A log that cannot be written makes the test fail for want of the line; there is nobody to tell here.
            let _ = writeln!(file, "{name}");
        }
    }
}

fn parse(text: &str) -> Result<Vec<(String, u64, Action)>, String> {
    text.split(',').filter(|part| !part.trim().is_empty()).map(|part| parse_one(part.trim())).collect()
}

fn parse_one(text: &str) -> Result<(String, u64, Action), String> {
    let (place, action) = text.split_once(':').unwrap_or((text, "kill"));
    let (name, count) = place.split_once('@').unwrap_or((place, "1"));
    let action = match action {
        "kill" => Action::Kill,
        "stop" => Action::Stop,
        "abort" => Action::Abort,
        other => return Err(format!("ONCEFLOW_CRASH: unknown action '{other}' (kill, stop, abort)")),
    };
    if !POINTS.contains(&name) {
        return Err(format!("ONCEFLOW_CRASH: unknown crash point '{name}' (one of {})", POINTS.join(", ")));
    }
    let count = count.parse().map_err(|_| format!("ONCEFLOW_CRASH: '{count}' is not a number"))?;
    Ok((name.to_owned(), count, action))
}

impl Action {
    #[allow(unsafe_code)]
    fn run(self) {
        let signal = match self {
            Action::Kill => libc::SIGKILL,
            Action::Stop => libc::SIGSTOP,
            Action::Abort => std::process::abort(),
        };
        // SAFETY: raises a signal in this very process; no memory is involved.
        unsafe { libc::kill(libc::getpid(), signal) };
    }
}
