//! The article's program (Spark Streaming: createDirectStream, map, foreachRDD, foreachPartition, update database), in which its mistake
//! cannot be made: positions and rows commit in one transaction, and only the engine commits.
//!
//! ```text
//! docker run … kafka, psql -c 'CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)'
//! cargo run --release --example article -- localhost:9092 transactions postgresql://app@localhost/ledger
//! ```
//!
//! Kill it whenever you like and start it again: each transaction of the topic takes effect once.

use onceflow::prelude::*;

#[derive(serde::Deserialize)]
struct Transaction {
    account: i64,
    amount_cents: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> onceflow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, database] = arguments.as_slice() else {
        return Err(onceflow::Error::stop("usage: article BROKERS TOPIC DATABASE-URL"));
    };
    let ready = Pipeline::new("ledger")
        .read(Kafka::topic(topic).brokers(brokers))
        .parse(Json::<Transaction>::new())
        .filter(|t| t.amount_cents != 0)
        .write_to(Postgres::url(database))
        .for_each_partition(async |tx, batch| {
            let rows = batch.iter().map(|t| row![t.amount_cents, t.account]);
            tx.execute_all("UPDATE accounts SET balance = balance + $1 WHERE id = $2", rows).await?;
            Ok(())
        });
    // For the test of this example: end when everything is there.
    let ready = if std::env::var_os("UNTIL_CAUGHT_UP").is_some() { ready.until_caught_up() } else { ready };
    ready.run().await
}
