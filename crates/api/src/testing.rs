//! Tests of your own pipeline: through every crash point, and compared with a run that nothing disturbed. Needs nothing installed.
//!
//! ```
//! use onceflow::prelude::*;
//! use onceflow::testing::Harness;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Transfer { account: i64, amount: i64 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let transfers = (0..40).map(|n| Transfer { account: n % 3, amount: n });
//! Harness::new(Memory::json(transfers), |records, home| {
//!     Pipeline::new("ledger").read(records).parse(Json::<Transfer>::new()).write_to(home).for_each(async |tx, t| {
//!         tx.execute("UPDATE accounts SET balance = balance + $1 WHERE id = $2", params![t.amount, t.account]).await?;
//!         Ok(())
//!     })
//! })
//! .setup("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER); INSERT INTO accounts VALUES (0, 0), (1, 0), (2, 0)")
//! .assert_exactly_once()
//! .await;
//! # }
//! ```

use crate::Ready;
use crate::error::{Error, Result};
use crate::homes::{Home, Sqlite};
use crate::sources::Memory;
use onceflow_engine::home::HomeFactory;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod crashing;
mod tables;

use crashing::Plan;
pub use crashing::{How, Point};
use tables::Tables;

/// A run of a scenario is given up after so long: a pipeline that never ends is a finding, too.
const RUN_MAX: Duration = Duration::from_secs(60);
/// Of each crash point so many passes are tried at most.
const PASSES_MAX: u64 = 40;
/// The records are split over about so many transactions.
const EPOCHS: usize = 5;

/// The home that a pipeline under test writes to: a SQLite file of its own for each run.
pub struct TestHome(onceflow_engine::Result<Arc<dyn HomeFactory>>);

impl Home for TestHome {
    fn open(self) -> onceflow_engine::Result<Arc<dyn HomeFactory>> {
        self.0
    }
}

/// Runs a pipeline over and over, ends it at every crash point, starts it again, and compares its tables with those of a run that
/// nothing disturbed.
pub struct Harness<F> {
    records: Memory,
    setup: String,
    build: F,
}

/// One way to disturb a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Where.
    pub point: Point,
    /// The how-manieth time it is passed, from 1.
    pub pass: u64,
    /// Whether the process ends there or the database is lost for a moment.
    pub how: How,
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {:?}, pass {}", self.how, self.point, self.pass)
    }
}

/// What a harness found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How many scenarios really happened.
    pub scenarios: usize,
    /// What was different, scenario by scenario.
    pub differences: Vec<(String, String)>,
}

impl<F> Harness<F>
where
    F: Fn(Memory, TestHome) -> Ready,
{
    /// A harness for the pipeline that the closure builds of these records and a home.
    pub fn new(records: Memory, build: F) -> Self {
        Self { records, setup: String::new(), build }
    }

    /// Statements that make the tables, executed in SQLite before each run.
    pub fn setup(self, sql: impl Into<String>) -> Self {
        Self { setup: sql.into(), ..self }
    }

    /// Goes through all crash points.
    ///
    /// # Panics
    /// Where a run ends with other rows or dead letters than the undisturbed one, with the rows that are missing or too many; and where
    /// no scenario could happen, since that would prove nothing.
    pub async fn assert_exactly_once(&self) {
        match self.check().await {
            Ok(findings) if findings.differences.is_empty() && findings.scenarios > 0 => {}
            Ok(findings) if findings.scenarios == 0 => panic!("no crash point was passed: there was nothing to commit"),
            Ok(findings) => {
                let each: Vec<_> = findings.differences.iter().map(|(when, what)| format!("{when}:\n{what}")).collect();
                panic!("not exactly once, in {} of {} scenarios:\n{}", each.len(), findings.scenarios, each.join("\n"));
            }
            Err(error) => panic!("the pipeline could not be tested: {error:?}"),
        }
    }

    /// Goes through all crash points; an error where a run fails by itself.
    pub async fn check(&self) -> Result<Findings> {
        let undisturbed = Lab::new(&self.setup)?;
        self.run(&undisturbed, None).await?;
        let expected = undisturbed.tables()?;
        let mut findings = Findings::default();
        for how in [How::ProcessEnds, How::DatabaseLost] {
            for point in Point::ALL {
                self.point(point, how, &expected, &mut findings).await?;
            }
        }
        Ok(findings)
    }

    /// One crash point, at every pass of it.
    async fn point(&self, point: Point, how: How, expected: &Tables, findings: &mut Findings) -> Result<()> {
        for pass in 1..=PASSES_MAX {
            let scenario = Scenario { point, pass, how };
            let lab = Lab::new(&self.setup)?;
            if !self.scenario(&lab, scenario).await? {
                return Ok(());
            }
            findings.scenarios += 1;
            if let Some(difference) = lab.tables()?.difference(expected) {
                findings.differences.push((scenario.to_string(), difference));
            }
        }
        Ok(())
    }

    /// Whether the scenario happened. A process that ended is started again.
    async fn scenario(&self, lab: &Lab, scenario: Scenario) -> Result<bool> {
        let plan = Arc::new(Plan::new(scenario));
        let ended = self.run(lab, Some(plan.clone())).await;
        match (plan.happened(), ended) {
            (false, ended) => ended.map(|()| false),
            (true, Ok(())) => Ok(true),
            (true, Err(_)) => self.run(lab, None).await.map(|()| true),
        }
    }

    async fn run(&self, lab: &Lab, plan: Option<Arc<Plan>>) -> Result<()> {
        let home = Sqlite::file(lab.file()).open();
        let fuse = plan.as_ref().and_then(|plan| plan.fuse());
        let home = match plan {
            Some(plan) => home.map(|home| crashing::factory(home, plan)),
            None => home,
        };
        let mut ready = (self.build)(self.records.clone(), TestHome(home)).until_caught_up();
        ready.split(self.records.len().div_ceil(EPOCHS).max(1));
        ready.fuse = fuse;
        // What is sent is compared as it stands in the outbox; nothing leaves the test.
        ready.channels.values_mut().for_each(|channel| *channel = crate::Channel::of(async |_message| Ok(())));
        let mut handle = ready.start()?;
        match tokio::time::timeout(RUN_MAX, handle.ended()).await {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => Err(Error::stop(format!("the pipeline did not end within {} s", RUN_MAX.as_secs()))),
        }
    }
}

/// A folder with the database of one run; it goes with this value.
struct Lab {
    folder: PathBuf,
}

impl Lab {
    fn new(setup: &str) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("onceflow-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let lab = Self { folder: std::env::temp_dir().join(name) };
        std::fs::create_dir_all(&lab.folder)?;
        rusqlite::Connection::open(lab.file())?.execute_batch(setup)?;
        Ok(lab)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("test.db")
    }

    fn tables(&self) -> Result<Tables> {
        Tables::read(Path::new(&self.file()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What cannot be removed lies in the folder for temporary files, which the system clears.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
