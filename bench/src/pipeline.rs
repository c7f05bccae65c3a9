//! The pipelines' texts, as a user would write them.

use crate::broker::Broker;
use std::path::Path;

/// The columns of a transaction.
pub const COLUMNS: &str = "id BIGINT, account STRING, amount BIGINT, ts BIGINT, merchant STRING, note STRING";
/// The table for them in PostgreSQL, without a key.
pub const PAYMENTS: &str =
    "CREATE TABLE payments (id bigint, account text, amount bigint, ts bigint, merchant text, note text)";
/// The same with a key.
pub const PAYMENTS_KEYED: &str =
    "CREATE TABLE payments (id bigint PRIMARY KEY, account text, amount bigint, ts bigint, merchant text, note text)";
/// What is written from them.
pub const INSERT: &str = "INSERT INTO payments SELECT id, account, amount, ts, merchant, note FROM transactions;\n";

/// A table that is merged into.
pub const BALANCES: &str = "CREATE TABLE balances (account text PRIMARY KEY, n bigint, total bigint)";
/// What is merged into it.
pub const INSERT_BALANCES: &str =
    "INSERT INTO balances SELECT account, COUNT(*), SUM(amount) FROM transactions GROUP BY account;\n";

/// A setting.
pub fn set(key: &str, value: impl std::fmt::Display) -> String {
    format!("SET '{key}' = '{value}';\n")
}

/// Reads a topic from its beginning.
pub fn from_kafka(broker: &Broker, topic: &str, columns: &str) -> String {
    format!(
        "CREATE TABLE transactions ({columns}) WITH ('connector' = 'kafka', 'topic' = '{topic}',
  'properties.bootstrap.servers' = '{}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');\n",
        broker.servers
    )
}

/// Reads JSON files of a folder.
pub fn from_files(folder: &Path) -> String {
    format!(
        "CREATE TABLE transactions ({COLUMNS}) WITH ('connector' = 'filesystem', 'path' = '{}/*.jsonl', 'format' = 'json');\n",
        folder.display()
    )
}

/// Writes a table; `options` begins with a comma where it is not empty.
pub fn into_table(table: &str, columns: &str, url: &str, options: &str) -> String {
    format!(
        "CREATE TABLE {table} ({columns}) WITH ('connector' = 'jdbc', 'url' = '{url}', 'table-name' = '{table}'{options});\n"
    )
}

/// Writes the table of transactions without a key.
pub fn into_payments(url: &str) -> String {
    into_table("payments", COLUMNS, url, "")
}

/// Writes the table of transactions by key.
pub fn into_payments_keyed(url: &str) -> String {
    into_table("payments", &format!("{COLUMNS}, PRIMARY KEY (id) NOT ENFORCED"), url, "")
}

/// Merges into the table of balances.
pub fn into_balances(url: &str) -> String {
    let columns = "account STRING, n BIGINT, total BIGINT, PRIMARY KEY (account) NOT ENFORCED";
    into_table("balances", columns, url, ", 'merge.n' = 'sum', 'merge.total' = 'sum'")
}
