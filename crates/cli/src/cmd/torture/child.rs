//! The processes under torture: started, killed, stopped, resumed, and always ended by their ids.

use onceflow::{Error, codes};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The last lines of a log that are shown.
const LINES_SHOWN: usize = 12;

/// How processes of this run are started.
#[derive(Clone, Debug)]
pub struct Starter {
    /// The program: this one.
    pub program: PathBuf,
    /// The pipeline.
    pub file: PathBuf,
    /// The environment file.
    pub env_file: Option<PathBuf>,
    /// The longest that one process may take.
    pub limit: Duration,
}

/// A process.
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// With this exit code.
    Code(i32),
    /// By SIGKILL.
    Killed,
    /// By another signal.
    Signal(i32),
}

impl Starter {
    /// Starts `onceflow run` on scratch copies. `crash` is what `ONCEFLOW_CRASH` says; `passed` is the log of crash points.
    pub fn run(&self, plan: &Path, log: &Path, crash: Option<&str>, passed: Option<&Path>) -> Result<Process, Error> {
        let mut command = self.command(plan);
        let retry = format!("{}ms", self.limit.as_millis());
        command.arg("run").arg(&self.file).args(["--until-caught-up", "--adopt", "--retry-for", &retry]);
        if let Some(crash) = crash {
            command.env("ONCEFLOW_CRASH", crash);
        }
        if let Some(passed) = passed {
            command.env("ONCEFLOW_CRASH_LOG", passed);
        }
        start(command.stdout(Stdio::null()), log)
    }

    /// A command of this program that sees scratch copies only.
    fn command(&self, plan: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // What was said to torture through the environment is not meant for what it starts.
        for name in ["CRASH", "CRASH_LOG", "FORMAT", "QUIET", "STANDBY", "RETRY_FOR", "LOG_FORMAT", "COLOR", "LIMIT"] {
            command.env_remove(format!("ONCEFLOW_{name}"));
        }
        command.env(crate::scratch::VARIABLE, plan).args(["--color", "never"]);
        if let Some(env_file) = &self.env_file {
            command.arg("--env-file").arg(env_file);
        }
        // Ctrl-C at the terminal is for torture alone, which ends its processes itself.
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Runs another command of this program to its end: its exit code and stdout.
    pub fn ask(&self, plan: &Path, log: &Path, arguments: &[&str]) -> Result<(End, String), Error> {
        let out = log.with_extension("out");
        let stdout = std::fs::File::create(&out).map_err(|error| unwritable(&out, &error))?;
        let mut command = self.command(plan);
        let words = arguments.iter().map(|word| if *word == "FILE" { self.file.as_os_str() } else { word.as_ref() });
        command.args(words).stdout(stdout);
        let end = start(&mut command, log)?.finish(self.limit).unwrap_or(End::Killed);
        Ok((end, std::fs::read_to_string(&out).unwrap_or_default()))
    }
}

fn start(command: &mut Command, log: &Path) -> Result<Process, Error> {
    let stderr = std::fs::OpenOptions::new().create(true).append(true).open(log);
    command.stderr(stderr.map_err(|error| unwritable(log, &error))?);
    let child = command.spawn().map_err(|error| Error::internal("no process could be started").caused_by(error))?;
    Ok(Process { child, log: log.to_owned() })
}

/// A file of this run that cannot be written.
pub fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::unavailable(codes::OF0159, format!("{} cannot be written: {error}", path.display()))
        .help("set TMPDIR to a folder on a local disk with room")
}

impl Process {
    /// How it ended, where it did.
    pub fn ended(&mut self) -> Option<End> {
        self.child.try_wait().ok().flatten().map(end)
    }

    /// Waits for its end, at most so long; `None` where it goes on.
    pub fn wait(&mut self, at_most: Duration) -> Option<End> {
        self.watch(at_most, |_| false)
    }

    /// Waits for its end, and kills it where it takes longer; then it is `None`.
    pub fn finish(mut self, at_most: Duration) -> Option<End> {
        let end = self.wait(at_most);
        self.kill();
        end
    }

    /// Waits until something holds or it ends; `None` where the time is over or it holds.
    pub fn watch(&mut self, at_most: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> Option<End> {
        let until = Instant::now() + at_most;
        loop {
            if let Some(end) = self.ended() {
                return Some(end);
            }
            if holds(self) || Instant::now() >= until {
                return None;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Kills it and waits until it is dead.
    pub fn kill(&mut self) {
        // It may be dead already; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.signal(libc::SIGCONT);
    }

    #[allow(unsafe_code)]
    fn signal(&mut self, signal: i32) {
        if self.ended().is_some() {
            return;
        }
        let Ok(id) = libc::pid_t::try_from(self.child.id()) else { return };
        // SAFETY: a signal to a process that we started and have not waited for, so that its id is nobody else's.
        unsafe { libc::kill(id, signal) };
    }

    /// Whether it is stopped. The answer does not take its end away from [`Self::ended`].
    #[allow(unsafe_code)]
    pub fn is_stopped(&mut self) -> bool {
        if self.ended().is_some() {
            return false;
        }
        // SAFETY: all zeros are a value of this plain structure, which the call fills.
        let mut about: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: asks about a child of ours; `about` lives through the call.
        let answer = unsafe { libc::waitid(libc::P_PID, self.child.id(), &raw mut about, flags) };
        answer == 0 && about.si_signo == libc::SIGCHLD
    }

    /// The end of what it said.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(libc::SIGKILL)) => End::Killed,
        (None, signal) => End::Signal(signal.unwrap_or_default()),
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Killed => f.write_str("SIGKILL"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
