//! Messages to the world outside: each order is stored, and a shop is told of it by HTTP after the commit. The shop is a real HTTP server
//! that fails at times; it knows a repetition by its `Idempotency-Key`. An order that it refuses for good is cancelled in the database.
//!
//! ```text
//! cargo run --release --example outbox_webhook
//! cargo run --release --example outbox_webhook -- BROKERS TOPIC postgresql://app@localhost/shop http://localhost:8080/orders
//! ```

use axum::http::{HeaderMap, StatusCode};
use onceflow::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(serde::Serialize, serde::Deserialize, Clone)]
struct Order {
    id: i64,
    pieces: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> onceflow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [brokers, topic, database, url] = arguments.as_slice() {
        let ready = pipeline(Kafka::topic(topic).brokers(brokers), Database::url(database), url);
        let ready = if std::env::var_os("UNTIL_CAUGHT_UP").is_some() { ready.until_caught_up() } else { ready };
        return ready.run().await;
    }
    let path = std::env::temp_dir().join(format!("onceflow-webhook-{}.db", std::process::id()));
    let database = rusqlite::Connection::open(&path)?;
    database
        .execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, pieces INTEGER NOT NULL, state TEXT NOT NULL)")?;
    let shop = Shop::open().await?;
    let orders = (0..200).map(|id| Order { id, pieces: if id % 50 == 7 { -1 } else { id % 9 } });
    let mut handle = pipeline(Memory::json(orders), Sqlite::file(&path), &shop.url).start()?;
    let report = handle.ended().await?;
    println!(
        "{} orders, {} messages delivered, {} refused for good",
        report.committed, report.delivered, report.refused
    );
    let seen = shop.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("the shop was called {} times and has taken {} orders, each once", seen.calls, seen.keys.len());
    let cancelled = "SELECT group_concat(id, ', ') FROM orders WHERE state = 'cancelled'";
    println!("cancelled in the database: {}", database.query_row(cancelled, [], |row| row.get::<_, String>(0))?);
    Ok(())
}

fn pipeline(source: impl Into<onceflow::Source>, home: impl onceflow::Home, shop: &str) -> onceflow::Ready {
    Pipeline::new("orders")
        .read(source)
        .parse(Json::<Order>::new())
        .write_to(home)
        .for_each(async |tx, order| {
            tx.execute(
                "INSERT INTO orders (id, pieces, state) VALUES ($1, $2, 'ordered')",
                params![order.id, order.pieces],
            )
            .await?;
            // In the same transaction: no message without its order, no order without its message.
            tx.outbox("shop", &*order)
                .key(order.id)
                .or_compensate("UPDATE orders SET state = 'cancelled' WHERE id = $1", params![order.id])
                .await
        })
        .channel("shop", Http::post(shop).timeout(Duration::from_secs(5)).back_off(Duration::from_millis(20)))
}

/// The receiver.
struct Shop {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    calls: u64,
    keys: BTreeSet<String>,
}

impl Shop {
    async fn open() -> std::io::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let answer = async move |headers: HeaderMap, axum::Json(order): axum::Json<Order>| {
            let mut seen = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seen.calls += 1;
            // Every fifth call fails after it was heard: the answer is lost, and the message comes again.
            let lost = seen.calls % 5 == 0;
            if order.pieces < 0 {
                return (StatusCode::UNPROCESSABLE_ENTITY, "an order has no negative number of pieces");
            }
            let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
            seen.keys.insert(key.to_owned());
            if lost { (StatusCode::SERVICE_UNAVAILABLE, "not now") } else { (StatusCode::OK, "thank you") }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/orders", listener.local_addr()?);
        let app = axum::Router::new().route("/orders", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, seen })
    }
}
