//! The real binary as a process: started, killed, stopped, resumed, and always ended by its id.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running `onceflow`.
pub struct Process {
    child: Child,
    log: std::path::PathBuf,
}

/// How to start one.
pub struct Start<'a> {
    /// The pipeline's text.
    pub sql: &'a str,
    /// The folder for the pipeline and logs.
    pub folder: &'a std::path::Path,
    /// Arguments after `run FILE`.
    pub arguments: &'a [&'a str],
    /// Environment.
    pub environment: &'a [(&'a str, &'a str)],
}

impl Process {
    /// Starts `onceflow run`.
    pub fn start(start: &Start<'_>) -> Self {
        let file = start.folder.join("pipeline.sql");
        std::fs::write(&file, start.sql).expect("the folder is ours");
        let log = start.folder.join(format!("{}.log", crate::services::unique("run")));
        let stderr = std::fs::File::create(&log).expect("the folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
        command.arg("run").arg(&file).args(start.arguments).current_dir(start.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        for (key, value) in start.environment {
            command.env(key, value);
        }
        Self { child: command.spawn().expect("the binary was built with this test"), log }
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Sends a signal where it has not ended yet.
    pub fn signal_if_alive(&mut self, name: &str) {
        if self.child.try_wait().expect("it is our child").is_none() {
            self.signal(name);
        }
    }

    /// Kills it and waits until it is dead.
    pub fn kill(&mut self) {
        // It may be dead already; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end, at most so long.
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits for its end with exit code 0; shows what it said otherwise.
    pub fn finish(&mut self, at_most: Duration) {
        match self.wait(at_most) {
            Some(status) if status.success() => {}
            ended => {
                self.kill();
                panic!("ended with {ended:?}:\n{}", self.log());
            }
        }
    }

    /// Whether it is stopped by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something holds, at most so long.
pub fn eventually(what: &str, at_most: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + at_most;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {} s", at_most.as_secs());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
