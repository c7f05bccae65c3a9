//! Onceflow as it is measured: the release binary, run by a user, until it has caught up.
//!
//! Owns how a rate is taken. From the first commit to the last: the records of all commits but the first, over the time
//! between the first and the last `committed_at` of the ledger, so that neither start-up nor the first wait counts.

use crate::failure::{Doing, Failure, Result};
use crate::figures::Sample;
use crate::place::Place;
use crate::postgres::Database;
use crate::process::{Backends, Running, Used};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const AT_MOST: Duration = Duration::from_secs(1_800);
/// What the sessions of a pipeline are called in `pg_stat_activity`.
pub const APPLICATION: &str = "onceflow/";

/// A pipeline to be run.
pub struct Subject<'a> {
    /// What its figures are called.
    pub name: &'a str,
    /// Its text.
    pub sql: String,
    /// How many records it reads.
    pub records: u64,
    /// Where its ledger is.
    pub home: Home<'a>,
    /// Arguments after `run FILE --until-caught-up`.
    pub arguments: &'a [&'a str],
    /// Another program than the usual one.
    pub binary: Option<&'a Path>,
    /// Its environment.
    pub environment: &'a [(&'a str, &'a str)],
}

/// Where a ledger is.
#[derive(Clone, Copy)]
pub enum Home<'a> {
    /// In a database of PostgreSQL.
    Postgres(&'a Database),
    /// In a file of SQLite.
    Sqlite(&'a Path),
}

/// A commit: when, as seconds since 1970, and how many records.
pub type Commit = (f64, i64);

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the process has used.
    pub used: Used,
    /// How many records it has read.
    pub records: u64,
    /// Its commits, in order; none where the ledger was left out.
    pub commits: Vec<Commit>,
}

impl<'a> Subject<'a> {
    /// A pipeline with default settings.
    pub fn new(name: &'a str, sql: String, records: u64, home: Home<'a>) -> Self {
        Self { name, sql, records, home, arguments: &[], binary: None, environment: &[] }
    }

    /// Runs it until it has caught up.
    pub fn run(&self, place: &Place) -> Result<Outcome> {
        let (command, log) = self.command(place)?;
        let mut backends = match self.home {
            Home::Postgres(database) => Some(Backends::watch(&place.server, &database.name, APPLICATION)?),
            Home::Sqlite(_) => None,
        };
        let used = Running::start(command, log)?.finish(AT_MOST, backends.as_mut()).doing(self.name)?;
        Ok(Outcome { used, records: self.records, commits: self.home.commits()? })
    }

    fn command(&self, place: &Place) -> Result<(Command, PathBuf)> {
        let (mut command, log) = command(place, self.binary, &self.sql)?;
        command.arg("--until-caught-up").args(self.arguments).envs(self.environment.iter().copied());
        Ok((command, log))
    }
}

/// The command that runs a pipeline, and where it may say what it says. The pipeline is called `bench`.
pub fn command(place: &Place, binary: Option<&Path>, sql: &str) -> Result<(Command, PathBuf)> {
    let file = place.path("pipeline.sql");
    std::fs::write(&file, format!("{}{sql}", crate::pipeline::set("pipeline.name", "bench"))).doing(file.display())?;
    let mut command = Command::new(binary.unwrap_or(&place.settings.binary));
    command.arg("run").arg(&file).current_dir(place.folder());
    Ok((command, place.path("log")))
}

impl Home<'_> {
    /// All commits with records, in order.
    pub fn commits(self) -> Result<Vec<Commit>> {
        match self {
            Self::Postgres(database) => {
                let session = database.session()?;
                if session.number("SELECT count(*) FROM pg_class WHERE oid = to_regclass('onceflow.commit')")? == 0 {
                    return Ok(vec![]);
                }
                let sql = "SELECT extract(epoch FROM committed_at)::float8, records FROM onceflow.commit \
                    WHERE records > 0 ORDER BY id";
                session.rows(sql, &[])?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
            }
            Self::Sqlite(path) => {
                let database = rusqlite::Connection::open(path)?;
                let sql = "SELECT unixepoch(committed_at, 'subsec'), records FROM onceflow_commit \
                    WHERE records > 0 ORDER BY id";
                let mut statement = database.prepare(sql)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.map(|row| Ok(row?)).collect()
            }
        }
    }
}

/// Records a second from the first commit to the last; `None` where there are fewer than two.
pub fn steady(commits: &[Commit]) -> Option<f64> {
    let ((first, _), (last, _)) = (commits.first()?, commits.last()?);
    let records: i64 = commits.iter().skip(1).map(|(_, records)| records).sum();
    (last > first && records > 0).then(|| records as f64 / (last - first))
}

impl Outcome {
    /// Records a second from the first commit to the last.
    pub fn rate(&self) -> Result<f64> {
        let few = || Failure::new(format!("{} commits are too few for a rate: take more --rows", self.commits.len()));
        steady(&self.commits).ok_or_else(few)
    }

    /// Records a second from the start of the process to its end.
    pub fn rate_from_start(&self) -> f64 {
        self.records as f64 / self.used.seconds
    }

    /// Records in millions.
    fn millions(&self) -> f64 {
        self.records as f64 / 1e6
    }

    /// Every figure of an end-to-end measurement.
    pub fn sample(&self, name: &str) -> Result<Sample> {
        let used = self.used;
        let sample = Sample::of(name, "rows/s", self.rate()?)
            .and(format!("{name}, from process start"), "rows/s", self.rate_from_start())
            .and(format!("{name}, CPU of the process"), "s/M", used.cpu_seconds / self.millions())
            .and(format!("{name}, peak memory"), "MiB", used.peak_mib)
            .and(format!("{name}, epochs"), "", self.commits.len() as f64);
        let backend = used.backend_seconds / self.millions();
        Ok(if backend > 0.0 { sample.and(format!("{name}, CPU of the backend"), "s/M", backend) } else { sample })
    }

    /// What one record costs: time from the first commit to the last, and processor time of the whole process.
    pub fn cost(&self, name: &str) -> Result<Sample> {
        Ok(Sample::of(format!("{name}, wall"), "µs/record", 1e6 / self.rate()?).and(
            format!("{name}, CPU"),
            "µs/record",
            self.used.cpu_seconds / self.millions(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commit_does_not_count() {
        assert_eq!(steady(&[(10.0, 5_000), (11.0, 100), (12.0, 300)]), Some(200.0));
        assert_eq!(steady(&[(10.0, 5_000)]), None);
        assert_eq!(steady(&[]), None);
    }
}
