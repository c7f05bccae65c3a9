//! Databases for tests, and what stands in them.

use crate::services::{Services, unique};
use crate::trades::{Trade, trade};
use std::ops::Range;
use tokio_postgres::{Client, NoTls, Row};

/// A database of one test.
pub struct Database {
    /// Its URL.
    pub url: String,
}

impl Database {
    /// Creates a database.
    pub fn create(services: &Services) -> Self {
        let name = unique("of");
        run(&services.postgres, async |client| {
            client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a superuser may create databases");
        });
        let (server, _) = services.postgres.rsplit_once('/').expect("the URL ends with a database");
        Self { url: format!("{server}/{name}") }
    }

    /// Executes statements.
    pub fn execute(&self, sql: &str) {
        run(&self.url, async |client| {
            client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        });
    }

    /// Rows of a query.
    pub fn query(&self, sql: &str) -> Vec<Row> {
        run(&self.url, async |client| client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")))
    }

    /// One number.
    pub fn number(&self, sql: &str) -> i64 {
        self.query(sql)[0].get(0)
    }

    /// One number, or `None` where the query fails, for tables that may not exist yet.
    pub fn try_number(&self, sql: &str) -> Option<i64> {
        run(&self.url, async |client| client.query_one(sql, &[]).await.ok().map(|row| row.get(0)))
    }
}

fn run<T>(url: &str, act: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
        let connection = tokio::spawn(connection);
        let answer = act(&client).await;
        drop(client);
        // The connection ends with its client.
        let _ = connection.await;
        answer
    })
}

/// The targets of the tests.
pub const TABLES: &str = "
CREATE TABLE payments (id BIGINT, account TEXT, amount BIGINT, ts BIGINT, merchant TEXT, note TEXT);
CREATE TABLE latest (account TEXT PRIMARY KEY, id BIGINT, amount BIGINT);
CREATE TABLE balances (account TEXT PRIMARY KEY, n BIGINT, total BIGINT);
CREATE TABLE accounts (id TEXT PRIMARY KEY, balance BIGINT NOT NULL);
INSERT INTO accounts SELECT 'a' || lpad(i::text, 2, '0'), 0 FROM generate_series(0, 99) i;
";

/// Compares the appended rows with what was produced, row by row.
pub fn check_append(database: &Database, ids: Range<i64>) {
    let rows = database.query("SELECT id, account, amount, ts, merchant, note FROM payments ORDER BY id");
    let found: Vec<Trade> = rows
        .iter()
        .map(|row| Trade {
            id: row.get(0),
            account: row.get(1),
            amount: row.get(2),
            ts: row.get(3),
            merchant: row.get(4),
            note: row.get(5),
        })
        .collect();
    let expected: Vec<Trade> = ids.map(trade).collect();
    if found != expected {
        let ids: Vec<i64> = found.iter().map(|trade| trade.id).collect();
        let repeated = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let missing = expected.iter().filter(|trade| ids.binary_search(&trade.id).is_err()).count();
        panic!("payments: {} rows, {} expected, {repeated} repeated, {missing} missing", found.len(), expected.len());
    }
}

/// Compares merged sums and the statement's balances with what was produced.
pub fn check_sums(database: &Database, table: &str, ids: Range<i64>) {
    let mut expected = std::collections::BTreeMap::<String, (i64, i64)>::new();
    for trade in ids.map(trade) {
        let entry = expected.entry(trade.account).or_default();
        entry.0 += 1;
        entry.1 += trade.amount;
    }
    let sql = match table {
        "balances" => "SELECT account, n, total FROM balances ORDER BY account",
        _ => "SELECT id, 0::bigint, balance FROM accounts WHERE balance <> 0 ORDER BY id",
    };
    let found: std::collections::BTreeMap<String, (i64, i64)> =
        database.query(sql).iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    if table == "accounts" {
        expected.values_mut().for_each(|entry| entry.0 = 0);
        expected.retain(|_, entry| entry.1 != 0);
    }
    assert_eq!(found, expected, "{table}");
}

/// Compares upserted rows: of each account the row of the last trade in each partition's order. With one partition that is
/// the last trade.
pub fn check_latest(database: &Database, ids: Range<i64>) {
    let mut expected = std::collections::BTreeMap::new();
    for trade in ids.map(trade) {
        expected.insert(trade.account, (trade.id, trade.amount));
    }
    let rows = database.query("SELECT account, id, amount FROM latest ORDER BY account");
    let found: std::collections::BTreeMap<String, (i64, i64)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    assert_eq!(found, expected, "latest");
}

/// What must hold of every ledger: positions at the ends, commits that add up, a chain without a gap.
pub fn check_ledger(database: &Database, records: i64) {
    let sql = "SELECT coalesce(sum(records), 0)::bigint FROM onceflow.\"commit\"";
    assert_eq!(database.number(sql), records, "records by the ledger");
    let sql = "SELECT count(*) FROM onceflow.\"commit\" WHERE records <> used + filtered + late + dead + skipped";
    assert_eq!(database.number(sql), 0, "commits that do not balance");
}
