//! The harness itself: a right handler passes it, and each of some wrong ones is found.

use onceflow::prelude::*;
use onceflow::testing::Harness;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[derive(serde::Serialize, serde::Deserialize)]
struct Payment {
    account: i64,
    cents: i64,
}

const SETUP: &str = "CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER);
    INSERT INTO accounts VALUES (0, 0), (1, 0), (2, 0); CREATE TABLE log (n INTEGER, cents INTEGER)";

fn payments() -> Memory {
    Memory::json((0..30_i64).map(|n| Payment { account: n % 3, cents: n })).spread(2)
}

#[tokio::test]
async fn a_handler_that_writes_only_in_its_transaction_passes_every_point() {
    let harness = Harness::new(payments(), |records, home| {
        Pipeline::new("p").read(records).parse(Json::<Payment>::new()).write_to(home).for_each_partition(
            async |tx, batch| {
                for payment in batch {
                    if payment.cents == 13 {
                        return Err(payment.dead_letter("thirteen"));
                    }
                    let add = "UPDATE accounts SET cents = cents + $1 WHERE id = $2";
                    tx.execute(add, params![payment.cents, payment.account]).await?;
                }
                Ok(())
            },
        )
    })
    .setup(SETUP);
    let findings = harness.check().await.expect("it runs");
    assert_eq!(findings.differences, []);
    assert!(findings.scenarios > 60, "only {} scenarios happened", findings.scenarios);
}

#[tokio::test]
async fn a_handler_that_counts_in_memory_is_found() {
    let harness = Harness::new(payments(), |records, home| {
        let next = Arc::new(AtomicI64::new(0));
        let flow = Pipeline::new("p").read(records).parse(Json::<Payment>::new()).write_to(home);
        flow.for_each(async move |tx, payment| {
            let n = next.fetch_add(1, Ordering::SeqCst);
            tx.execute("INSERT INTO log VALUES ($1, $2)", params![n, payment.cents]).await?;
            Ok(())
        })
    })
    .setup(SETUP);
    let findings = harness.check().await.expect("it runs");
    assert!(!findings.differences.is_empty());
    let (_, said) = &findings.differences[0];
    assert!(said.contains("log: missing") && said.contains("log: too many"), "{said}");
}

#[tokio::test]
#[should_panic(expected = "no crash point was passed")]
async fn a_pipeline_that_does_nothing_proves_nothing() {
    let harness = Harness::new(Memory::default(), |records, home| {
        Pipeline::new("p").read(records).parse(Raw).write_to(home).for_each(async |_tx, _record| Ok(()))
    });
    harness.assert_exactly_once().await;
}
