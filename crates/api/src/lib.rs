//! Exactly-once streaming as a library: records from Kafka or files, your own Rust code, and one transaction of your database
//! that holds both what the code wrote and how far it has read.
//!
//! ```no_run
//! use onceflow::prelude::*;
//!
//! #[derive(serde::Deserialize)]
//! struct Transfer { account: i64, amount_cents: i64 }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> onceflow::Result<()> {
//!     Pipeline::new("ledger")
//!         .read(Files::jsonl("transfers/*.jsonl"))
//!         .parse(Json::<Transfer>::new())
//!         .filter(|transfer| transfer.amount_cents != 0)
//!         .write_to(Sqlite::file("ledger.db"))
//!         .for_each_partition(async |tx, batch| {
//!             for t in batch {
//!                 tx.execute("UPDATE accounts SET balance = balance + $1 WHERE id = $2", params![t.amount_cents, t.account]).await?;
//!             }
//!             Ok(())
//!         })
//!         .run()
//!         .await
//! }
//! ```
//!
//! # What is promised
//! A handler gets a [`Tx`]: a transaction that the engine opened, in which the ledger has already moved past the records that the
//! handler is given. `Ok` commits rows and positions together; an error, a panic, a kill or a lost connection leaves neither.
//! Records are read again from the ledger's positions, and from nowhere else. What a handler does **outside** its transaction (a
//! call of another system) can happen again: give that system [`Record::id`] as its idempotency key.
//!
//! # Where code runs
//! Decoders and the closures of [`Flow`] run ahead of the transaction, on a thread of their own. A handler runs on the thread of its
//! lane, which has a runtime of its own: its futures need not be `Send`, and blocking inside it holds up its lane and nobody else.

//! The engine below it needs an `Advance` of the ledger for every commit, which nobody else can make:
//!
//! ```compile_fail,E0451
//! # use onceflow::engine::core::{Advance, Step};
//! fn commits_without(step: Step) -> Advance {
//!     Advance { step, moves: Vec::new(), positions: Vec::new(), pipeline: todo!() }
//! }
//! ```

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("a pipeline needs a database: leave at least one of the features `postgres` and `sqlite` in");

mod batch;
mod calling;
mod decode;
mod error;
mod flow;
mod handle;
mod homes;
mod into;
mod logic;
mod outbox;
mod pipeline;
mod sources;
#[cfg(feature = "sqlite")]
pub mod testing;
mod tx;
mod value;

pub use batch::{Batch, Record};
pub use decode::{Decoder, Json, Raw, RawRecord, Text};
pub use error::{Error, Result};
pub use flow::{Flow, Reading, Writing};
pub use handle::{Handle, Metrics, Report};
#[cfg(feature = "postgres")]
pub use homes::Postgres;
#[cfg(feature = "sqlite")]
pub use homes::Sqlite;
pub use homes::{Database, Home};
pub use into::{Merge, Table};
pub use onceflow_engine as engine;
pub use onceflow_engine::changes::OnError;
#[cfg(feature = "http")]
pub use outbox::Http;
pub use outbox::{Channel, Message, Outgoing};
pub use pipeline::{Pipeline, Ready};
#[cfg(feature = "kafka")]
pub use sources::Kafka;
pub use sources::{Files, Memory, Source};
pub use tx::{Row, Tx};
pub use value::{FromValue, Param, ToParam, Value};

/// What a program with a pipeline usually needs.
pub mod prelude {
    pub use crate::Channel;
    #[cfg(feature = "http")]
    pub use crate::Http;
    #[cfg(feature = "kafka")]
    pub use crate::Kafka;
    #[cfg(feature = "postgres")]
    pub use crate::Postgres;
    #[cfg(feature = "sqlite")]
    pub use crate::Sqlite;
    pub use crate::{Batch, Database, Files, Flow, Json, Memory, Merge, OnError, Pipeline, Raw, Record, Text, Tx};
    pub use crate::{params, row};
}
