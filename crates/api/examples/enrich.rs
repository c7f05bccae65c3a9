//! A query in the transaction: each order gets the price that stands in the database when it is committed, and orders of unknown articles
//! become dead letters.
//!
//! ```text
//! cargo run --release --example enrich
//! ```

use onceflow::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    article: String,
    pieces: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> onceflow::Result<()> {
    let path = std::env::temp_dir().join(format!("onceflow-enrich-{}.db", std::process::id()));
    let database = rusqlite::Connection::open(&path)?;
    database.execute_batch(
        "CREATE TABLE prices (article TEXT PRIMARY KEY, cents INTEGER NOT NULL);
         CREATE TABLE orders (id TEXT PRIMARY KEY, article TEXT NOT NULL, cents INTEGER NOT NULL);
         INSERT INTO prices VALUES ('pen', 150), ('book', 2490)",
    )?;
    let order = |article: &str, pieces| Order { article: article.to_owned(), pieces };
    let orders = [order("pen", 10), order("book", 1), order("lamp", 2), order("pen", 1)];
    Pipeline::new("orders")
        .read(Memory::json(orders))
        .parse(Json::<Order>::new())
        .write_to(Sqlite::file(&path))
        .for_each(async |tx, order| {
            let price = tx.query_opt("SELECT cents FROM prices WHERE article = $1", params![order.article]).await?;
            let Some(price) = price else {
                return Err(order.dead_letter(format!("there is no article '{}'", order.article)));
            };
            let cents = price.get::<i64>("cents")? * order.pieces;
            let insert = "INSERT INTO orders (id, article, cents) VALUES ($1, $2, $3)";
            tx.execute(insert, params![order.id(), order.article, cents]).await?;
            Ok(())
        })
        .run()
        .await?;
    let mut rows = database.prepare("SELECT id || ': ' || article || ', ' || cents || ' cents' FROM orders")?;
    for row in rows.query_map([], |row| row.get::<_, String>(0))? {
        println!("{}", row?);
    }
    let dead: i64 = database.query_row("SELECT count(*) FROM onceflow_dead_letter", [], |row| row.get(0))?;
    println!("{dead} order is a dead letter");
    Ok(())
}
