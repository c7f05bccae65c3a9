//! The same with nothing installed: lines of JSON into a SQLite file.
//!
//! ```text
//! echo '{"account":1,"amount_cents":250}' > transactions.jsonl
//! sqlite3 ledger.db 'CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)'
//! cargo run --release --example files_to_sqlite -- 'transactions*.jsonl' ledger.db
//! sqlite3 ledger.db 'SELECT * FROM accounts'
//! ```
//!
//! A second run adds nothing: the positions stand in the same file as the rows.

use onceflow::prelude::*;

#[derive(serde::Deserialize)]
struct Transaction {
    account: i64,
    amount_cents: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> onceflow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [files, database] = arguments.as_slice() else {
        return Err(onceflow::Error::stop("usage: files_to_sqlite FILES DATABASE"));
    };
    Pipeline::new("ledger")
        .read(Files::jsonl(files))
        .parse(Json::<Transaction>::new())
        .write_to(Sqlite::file(database))
        .for_each(async |tx, t| {
            let add = "INSERT INTO accounts (id, balance) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET balance = balance + $2";
            tx.execute(add, params![t.account, t.amount_cents]).await?;
            Ok(())
        })
        .run()
        .await
}
