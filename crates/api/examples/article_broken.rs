//! The article's mistakes, and what becomes of them here.
//!
//! ```text
//! cargo run --release --example article_broken
//! ```
//!
//! 1. Rows and positions committed apart. A handler cannot: `Tx` has no `commit`, and a COMMIT by SQL is refused, in the methods of
//!    `Tx` and on the driver's own connection.
//! 2. State beside the transaction: a counter in memory survives no crash. That compiles; the harness of `onceflow::testing` finds it in
//!    a second.

use onceflow::prelude::*;
use onceflow::testing::Harness;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[derive(serde::Serialize, serde::Deserialize)]
struct Payment {
    cents: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> onceflow::Result<()> {
    println!("1. A handler that commits by itself:\n");
    let path = std::env::temp_dir().join(format!("onceflow-broken-{}.db", std::process::id()));
    rusqlite::Connection::open(&path)?.execute_batch("CREATE TABLE payments (n INTEGER, cents INTEGER)")?;
    let commits =
        Pipeline::new("broken").read(payments()).parse(Json::<Payment>::new()).write_to(Sqlite::file(&path)).for_each(
            async |tx, payment| {
                tx.execute("INSERT INTO payments VALUES (0, $1)", params![payment.cents]).await?;
                tx.sqlite()?.execute_batch("COMMIT")?;
                Ok(())
            },
        );
    match commits.run().await {
        Err(error) => println!("{error:?}\n"),
        Ok(()) => return Err(onceflow::Error::stop("the COMMIT was not refused")),
    }

    println!("2. A handler that counts in memory:\n");
    let counts = Harness::new(payments(), |records, home| {
        let next = Arc::new(AtomicI64::new(1));
        Pipeline::new("broken").read(records).parse(Json::<Payment>::new()).write_to(home).for_each(
            async move |tx, payment| {
                let n = next.fetch_add(1, Ordering::SeqCst);
                tx.execute("INSERT INTO payments VALUES ($1, $2)", params![n, payment.cents]).await?;
                Ok(())
            },
        )
    })
    .setup("CREATE TABLE payments (n INTEGER, cents INTEGER)");
    let findings = counts.check().await?;
    let Some((when, what)) = findings.differences.first() else {
        return Err(onceflow::Error::stop("the harness found nothing"));
    };
    println!(
        "{} of {} scenarios end with other rows; the first, {when}:\n{what}",
        findings.differences.len(),
        findings.scenarios
    );
    Ok(())
}

fn payments() -> Memory {
    Memory::json((1..=20).map(|cents| Payment { cents }))
}
