//! The inside of an open transaction, for the user's own code.

use super::Answer;
use crate::error::Result;

/// The driver's own handle of an open transaction. Whoever has it writes into the transaction; nobody ends it.
pub enum Native<'a> {
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres {
        /// The session's client.
        client: &'a tokio_postgres::Client,
        /// Another number for every session of this process: what was prepared in one is not there in the next.
        session: u64,
    },
    /// SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite {
        /// The session's connection.
        connection: &'a rusqlite::Connection,
    },
    /// There is no home in this build.
    #[cfg(not(any(feature = "postgres", feature = "sqlite")))]
    Nothing(std::marker::PhantomData<&'a ()>),
}

/// A transaction that lets code in: between [`Inside::enter`] and [`Inside::leave`] a COMMIT by that code fails, and it is noticed
/// where the transaction was ended.
pub trait Inside {
    /// The driver's handle.
    fn native(&self) -> Native<'_>;

    /// Before the first call of code.
    fn enter(&mut self) -> Answer<'_, Result<()>>;

    /// After a call that succeeded: [`Inside::back`] comes back to here from now on. `Err` where the code ended the transaction.
    fn keep(&mut self) -> Answer<'_, Result<()>>;

    /// Undoes what was written since the last [`Inside::enter`] or [`Inside::keep`].
    fn back(&mut self) -> Answer<'_, Result<()>>;

    /// After the last call: the transaction is as any other. `Err` where the code ended it.
    fn leave(&mut self) -> Answer<'_, Result<()>>;
}

/// The error of code that ended the transaction.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn ended() -> crate::Error {
    crate::Error::new(crate::Kind::Data, crate::codes::OF1003, "your code ended the engine's transaction")
        .note("nothing of the transaction was committed; what was written after its end was outside every transaction")
        .help("leave out BEGIN, COMMIT and ROLLBACK: Ok(()) commits and an error rolls back; SAVEPOINT and ROLLBACK TO work")
}
