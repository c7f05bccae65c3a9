//! Two rows for each record, a constraint that refuses some, and dead letters: money moves between accounts, and no account goes below zero.
//!
//! ```text
//! cargo run --release --example transfers
//! ```
//!
//! Needs nothing: the transfers are made here, the database is a file in the folder for temporary files.

use onceflow::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct Transfer {
    from: i64,
    to: i64,
    cents: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> onceflow::Result<()> {
    let path = std::env::temp_dir().join(format!("onceflow-transfers-{}.db", std::process::id()));
    let database = rusqlite::Connection::open(&path)?;
    database.execute_batch(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0));
         INSERT INTO accounts VALUES (0, 1000), (1, 1000), (2, 1000)",
    )?;
    // Every tenth one asks for more than there is.
    let transfers =
        (0..100_i64).map(|n| Transfer { from: n % 3, to: (n + 1) % 3, cents: if n % 10 == 9 { 100_000 } else { n } });
    let mut handle = Pipeline::new("transfers")
        .read(Memory::json(transfers))
        .parse(Json::<Transfer>::new())
        .write_to(Sqlite::file(&path))
        .for_each(async |tx, transfer| {
            let covered = "SELECT cents >= $1 AS covered FROM accounts WHERE id = $2";
            if !tx.query_one(covered, params![transfer.cents, transfer.from]).await?.get::<bool>("covered")? {
                return Err(transfer.dead_letter(format!("account {} has not that much", transfer.from)));
            }
            let add = "UPDATE accounts SET cents = cents + $1 WHERE id = $2";
            tx.execute(add, params![-transfer.cents, transfer.from]).await?;
            tx.execute(add, params![transfer.cents, transfer.to]).await?;
            Ok(())
        })
        .start()?;
    let report = handle.ended().await?;
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0));
    println!("{} transfers, {} of them dead letters", report.committed, report.dead);
    println!("all accounts together: {} cents", count("SELECT sum(cents) FROM accounts")?);
    println!("dead letters in {}: {}", path.display(), count("SELECT count(*) FROM onceflow_dead_letter")?);
    Ok(())
}
