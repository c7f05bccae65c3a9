//! A topic that fills up while a test runs, into two tables of one transaction.

use crate::kafka::create_topic;
use crate::postgres::{Database, TABLES, check_append, check_ledger, check_sums};
use crate::process::{Process, Start};
use crate::services::{Services, unique};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(90);
/// Partitions of the topic.
pub const PARTITIONS: i32 = 4;

/// A topic that fills up while the test runs, into two tables of one transaction.
pub struct Load {
    /// The target.
    pub database: Database,
    /// The topic.
    pub topic: String,
    /// The pipeline.
    pub sql: String,
    /// Its folder.
    pub folder: tempfile::TempDir,
}

impl Load {
    /// A topic, a database and a pipeline.
    pub fn new(services: &Services) -> Self {
        let database = Database::create(services);
        database.execute(TABLES);
        let topic = unique("load");
        create_topic(services, &topic, PARTITIONS);
        let sql = format!(
            "SET 'pipeline.name' = 'load';
SET 'epoch.rows_max' = '2000';
CREATE TABLE transactions (id BIGINT, account STRING, amount BIGINT, ts BIGINT, merchant STRING, note STRING)
WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}',
      'scan.startup.mode' = 'earliest-offset', 'scan.topic-partition-discovery.interval' = '1 s', 'format' = 'json');
CREATE TABLE payments (id BIGINT, account STRING, amount BIGINT, ts BIGINT, merchant STRING, note STRING)
WITH ('connector' = 'jdbc', 'url' = '{url}', 'table-name' = 'payments');
CREATE TABLE balances (account STRING, n BIGINT, total BIGINT, PRIMARY KEY (account) NOT ENFORCED)
WITH ('connector' = 'jdbc', 'url' = '{url}', 'table-name' = 'balances', 'merge.n' = 'sum', 'merge.total' = 'sum');
INSERT INTO payments SELECT id, account, amount, ts, merchant, note FROM transactions;
INSERT INTO balances SELECT account, COUNT(*), SUM(amount) FROM transactions GROUP BY account;
",
            services.kafka,
            url = database.url
        );
        let folder = tempfile::tempdir().expect("a folder");
        Self { database, topic, sql, folder }
    }

    /// Starts a run.
    pub fn start(&self, arguments: &[&str]) -> Process {
        self.start_with(arguments, &[])
    }

    /// Starts a run with an environment.
    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        Process::start(&Start { sql: &self.sql, folder: self.folder.path(), arguments, environment })
    }

    /// Catches up and compares everything.
    pub fn finish(&self, records: i64) {
        self.start(&["--until-caught-up"]).finish(WAIT);
        self.check(records);
    }

    /// Compares everything.
    pub fn check(&self, records: i64) {
        check_append(&self.database, 0..records);
        check_sums(&self.database, "balances", 0..records);
        check_ledger(&self.database, records);
    }

    /// Rows that are visible now.
    pub fn rows(&self) -> i64 {
        self.database.number("SELECT count(*) FROM payments")
    }

    /// The number of the last commit.
    pub fn commits(&self) -> i64 {
        let sql = "SELECT coalesce(max(id), 0)::bigint FROM onceflow.\"commit\"";
        self.database.try_number(sql).unwrap_or(0)
    }
}
