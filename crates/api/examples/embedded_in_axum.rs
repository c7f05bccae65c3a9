//! A pipeline inside a web service: it runs beside the requests, `/health` says whether it advances, and the end of the service is the end of
//! the pipeline, in good order.
//!
//! ```text
//! mkdir -p transactions && echo '{"account":1,"cents":250}' > transactions/a.jsonl
//! cargo run --release --example embedded_in_axum -- 'transactions/*.jsonl' bank.db 127.0.0.1:8080
//! curl localhost:8080/accounts/1; curl localhost:8080/health
//! ```

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use onceflow::Handle;
use onceflow::prelude::*;
use rusqlite::OptionalExtension as _;
use std::sync::Arc;
use std::time::Duration;

#[derive(serde::Deserialize)]
struct Transaction {
    account: i64,
    cents: i64,
}

struct Bank {
    pipeline: Handle,
    database: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> onceflow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [files, database, address] = arguments.as_slice() else {
        return Err(onceflow::Error::stop("usage: embedded_in_axum FILES DATABASE ADDRESS"));
    };
    rusqlite::Connection::open(database)?
        .execute_batch("CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL)")?;
    let pipeline = Pipeline::new("bank")
        .read(Files::jsonl(files).follow(Duration::from_millis(200)))
        .parse(Json::<Transaction>::new())
        .write_to(Sqlite::file(database))
        .for_each(async |tx, t| {
            let add = "INSERT INTO accounts VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET cents = cents + $2";
            tx.execute(add, params![t.account, t.cents]).await?;
            Ok(())
        })
        .start()?;
    let bank = Arc::new(Bank { pipeline, database: database.clone() });
    let app = axum::Router::new()
        .route("/health", get(health))
        .route("/accounts/{id}", get(account))
        .with_state(bank.clone());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let stopped = async {
        // Where the signal cannot be heard, the service goes on until it is killed, which harms nothing.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    if let Ok(bank) = Arc::try_unwrap(bank) {
        println!("{:?}", bank.pipeline.shutdown().await?);
    }
    Ok(())
}

/// 503 while something does not work or the pipeline has ended.
async fn health(State(bank): State<Arc<Bank>>) -> (StatusCode, String) {
    let metrics = bank.pipeline.metrics();
    let lag = bank.pipeline.lag().await;
    let bad = metrics.trouble.is_some() || bank.pipeline.has_ended() || lag.is_err();
    let status = if bad { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, format!("{metrics:?}, behind: {lag:?}\n"))
}

async fn account(State(bank): State<Arc<Bank>>, Path(id): Path<i64>) -> (StatusCode, String) {
    let asked = rusqlite::Connection::open(&bank.database).and_then(|database| {
        database.query_row("SELECT cents FROM accounts WHERE id = ?1", [id], |row| row.get::<_, i64>(0)).optional()
    });
    match asked {
        Ok(Some(cents)) => (StatusCode::OK, format!("{cents}\n")),
        Ok(None) => (StatusCode::NOT_FOUND, "no such account\n".to_owned()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
