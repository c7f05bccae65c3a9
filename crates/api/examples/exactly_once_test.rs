//! How a handler of your own is tested: through every crash point, against a run that nothing disturbed. In a crate of yours the function is a
//! `#[tokio::test]`.
//!
//! ```text
//! cargo run --release --example exactly_once_test
//! ```

use onceflow::prelude::*;
use onceflow::testing::Harness;

#[derive(serde::Serialize, serde::Deserialize)]
struct Payment {
    account: i64,
    cents: i64,
}

/// The handler under test is an ordinary function.
async fn book(tx: &mut Tx<'_>, batch: Batch<Payment>) -> onceflow::Result<()> {
    for payment in batch {
        if payment.cents < 0 {
            return Err(payment.dead_letter("a payment is not negative"));
        }
        tx.execute("UPDATE accounts SET cents = cents + $1 WHERE id = $2", params![payment.cents, payment.account])
            .await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let payments = (0..60_i64).map(|n| Payment { account: n % 4, cents: if n == 33 { -1 } else { n } });
    let harness = Harness::new(Memory::json(payments).spread(2), |records, home| {
        Pipeline::new("payments").read(records).parse(Json::<Payment>::new()).write_to(home).for_each_partition(book)
    })
    .setup("CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER); INSERT INTO accounts VALUES (0,0), (1,0), (2,0), (3,0)");
    harness.assert_exactly_once().await;
    println!("exactly once at every crash point");
}
