//! A child process as it is measured: how long it took, what it used, how large it became. It always ends by its id.

use crate::failure::{Doing, Failure, Result};
use crate::native::{self, Exit};
use crate::postgres::{Server, Session};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often it is asked whether the child has ended.
const LOOK: Duration = Duration::from_millis(2);
/// How often memory and backends are looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// A running child.
pub struct Running {
    child: Child,
    log: PathBuf,
    began: Instant,
    began_at: f64,
    exit: Option<Exit>,
    peak_kib: u64,
}

/// What a child has used until it ended by itself with exit code 0.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// When it was started, in seconds since 1970.
    pub began_at: f64,
    /// From the start of the process to its end.
    pub seconds: f64,
    /// Processor time, user and system.
    pub cpu_seconds: f64,
    /// The most resident memory (`VmHWM`), read every 50 ms.
    pub peak_mib: f64,
    /// Processor time of the database's backends that the child had; 0 where none was watched.
    pub backend_seconds: f64,
}

impl Running {
    /// Starts a command; what it says goes to `log`.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&log).doing(log.display())?;
        let out = file.try_clone()?;
        command.stdin(Stdio::null()).stdout(out).stderr(file);
        let began = Instant::now();
        let began_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let child = command.spawn().doing(format!("start {}", Path::new(command.get_program()).display()))?;
        Ok(Self { child, log, began, began_at, exit: None, peak_kib: 0 })
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended; never waits.
    pub fn has_ended(&mut self) -> Result<bool> {
        if self.exit.is_none() {
            self.exit = native::ended(self.child.id())?;
        }
        Ok(self.exit.is_some())
    }

    /// A figure of `/proc/PID/status` in MiB, such as `VmRSS`; 0 where there is none.
    pub fn memory_mib(&self, name: &str) -> f64 {
        self.memory_kib(name) as f64 / 1024.0
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Waits for its end, at most so long; fails with what it said where that is not exit code 0.
    pub fn finish(mut self, at_most: Duration, mut backends: Option<&mut Backends>) -> Result<Used> {
        let mut sampled = Instant::now();
        while !self.has_ended()? {
            if self.began.elapsed() > at_most {
                return Err(Failure::new(format!("not finished after {} s:\n{}", at_most.as_secs(), self.log())));
            }
            if sampled.elapsed() >= SAMPLE {
                sampled = Instant::now();
                self.peak_kib = self.peak_kib.max(self.memory_kib("VmHWM"));
                if let Some(backends) = backends.as_mut() {
                    backends.sample()?;
                }
            }
            std::thread::park_timeout(LOOK);
        }
        let seconds = self.began.elapsed().as_secs_f64();
        match self.exit {
            Some(Exit { code: Some(0), cpu_seconds }) => Ok(Used {
                began_at: self.began_at,
                seconds,
                cpu_seconds,
                peak_mib: self.peak_kib as f64 / 1024.0,
                backend_seconds: backends.map_or(0.0, |backends| backends.seconds()),
            }),
            exit => Err(Failure::new(format!("ended with {exit:?}:\n{}", self.log()))),
        }
    }

    /// Ends it by SIGTERM, and waits for its end.
    pub fn terminate(mut self, at_most: Duration) -> Result<()> {
        native::signal(self.child.id(), libc::SIGTERM);
        self.wait_for_end(at_most)
    }

    /// Ends it by SIGKILL, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        native::signal(self.child.id(), libc::SIGKILL);
        self.wait_for_end(Duration::from_secs(30))
    }

    fn wait_for_end(&mut self, at_most: Duration) -> Result<()> {
        let until = Instant::now() + at_most;
        while !self.has_ended()? {
            if Instant::now() > until {
                return Err(Failure::new(format!("did not end within {} s:\n{}", at_most.as_secs(), self.log())));
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(false) = self.has_ended() {
            native::signal(self.child.id(), libc::SIGKILL);
            // Nothing more can be done about a process that SIGKILL does not end.
            let _ = self.wait_for_end(Duration::from_secs(30));
        }
    }
}

/// The processor time of the backends that a program has in one database, from samples of `/proc/PID/stat`. What a backend
/// does after its last sample is missed: at most 50 ms.
pub struct Backends {
    session: Session,
    sql: String,
    ticks: BTreeMap<i32, u64>,
}

impl Backends {
    /// Watches sessions of a database whose application name begins so.
    pub fn watch(server: &Server, database: &str, application: &str) -> Result<Self> {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND starts_with(application_name, '{application}')"
        );
        Ok(Self { session: server.session()?, sql, ticks: BTreeMap::new() })
    }

    /// Looks once.
    pub fn sample(&mut self) -> Result<()> {
        for row in self.session.rows(&self.sql, &[])? {
            let pid: i32 = row.try_get(0)?;
            if let Some(ticks) = ticks_of(pid) {
                self.ticks.insert(pid, ticks);
            }
        }
        Ok(())
    }

    /// Seconds of all backends that were seen.
    pub fn seconds(&self) -> f64 {
        self.ticks.values().sum::<u64>() as f64 / native::ticks_per_second()
    }
}

/// User and system time of a process; `None` where it is gone.
fn ticks_of(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Waits for so long.
pub fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
