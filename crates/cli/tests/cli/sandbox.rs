//! A folder of one test, and the binary run in it.

use std::path::Path;
use std::process::{Command, Output};

/// A folder with files in it.
pub struct Sandbox(tempfile::TempDir);

/// What a command printed, and how it ended.
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// stdout.
    pub stdout: String,
    /// stderr.
    pub stderr: String,
}

impl Sandbox {
    /// A folder with the given files.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let sandbox = Self(tempfile::tempdir().expect("a folder"));
        files.iter().for_each(|(name, content)| sandbox.write(name, content));
        sandbox
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("the folder is ours");
        std::fs::write(path, content).expect("the folder is ours");
    }

    /// Runs `onceflow` in the folder.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// Runs `onceflow` in the folder with an environment.
    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
        command.args(arguments).current_dir(self.path()).env("COLUMNS", "100");
        command.envs(environment.iter().copied());
        let Output { status, stdout, stderr } = command.output().expect("the binary was built with this test");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
        Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Lines of a query over the SQLite file of the test.
    pub fn query(&self, database: &str, sql: &str) -> Vec<String> {
        let database = rusqlite::Connection::open(self.path().join(database)).expect("it is a database");
        let mut statement = database.prepare(sql).expect("the query is right");
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells = (0..columns).map(|column| Ok(format!("{:?}", row.get_ref(column)?)));
            cells.collect::<rusqlite::Result<Vec<_>>>().map(|cells| cells.join(" "))
        });
        rows.and_then(Iterator::collect).expect("the query is right")
    }
}

impl Ran {
    /// Everything in one text, for a snapshot.
    pub fn snapshot(&self, sandbox: &Sandbox) -> String {
        let text = format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr);
        steady(&text.replace(&sandbox.path().display().to_string(), "DIR"))
    }
}

/// Puts what differs from run to run out of the way: times, seconds, rates, uuids, long numbers in hexadecimal, inodes.
fn steady(text: &str) -> String {
    let rules = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"in \d+\.\d s", "in N s"),
        (r"in \d+ ms", "in N ms"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        (r"\b[0-9a-f]{32,64}\b", "HASH"),
        (r"inode:\d+:\d+", "inode:N:N"),
        (r"[ \t]+\n", "\n"),
    ];
    rules.iter().fold(text.to_owned(), |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("it is a pattern").replace_all(&text, *with).into_owned()
    })
}
