//! The user's own code inside a transaction: a savepoint, and a COMMIT that fails.
//!
//! While the code runs there is a row whose foreign key is checked at the COMMIT and holds nowhere. Whoever commits then gets an error from
//! the server, and the transaction is rolled back as a whole. The row goes when the code has returned.

use super::commit::PgTransaction;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::Answer;
use crate::home::inside::{Inside, Native, ended};

/// Nobody vacuums temporary tables but their session: what a commit leaves in them goes with the commit.
const ENTER: &str =
    "CREATE TEMPORARY TABLE IF NOT EXISTS onceflow_returned (id integer PRIMARY KEY) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE IF NOT EXISTS onceflow_inside
        (id integer REFERENCES pg_temp.onceflow_returned DEFERRABLE INITIALLY DEFERRED) ON COMMIT DELETE ROWS;
    INSERT INTO pg_temp.onceflow_inside VALUES (1); SAVEPOINT onceflow_handler";
const KEEP: &str = "RELEASE SAVEPOINT onceflow_handler; SAVEPOINT onceflow_handler";
const BACK: &str = "ROLLBACK TO SAVEPOINT onceflow_handler";
const LEAVE: &str = "RELEASE SAVEPOINT onceflow_handler; DELETE FROM pg_temp.onceflow_inside";

impl PgTransaction<'_> {
    async fn inside_step(&mut self, sql: &str, doing: &str) -> Result<()> {
        let session = &self.open.session;
        session.client.batch_execute(sql).await.map_err(|error| match error.code().map(|code| code.code()) {
            // No transaction, or another one: it has no such savepoint.
            Some("25P01" | "3B001") => ended().caused_by(error),
            Some("25P02") => went_on().caused_by(error),
            _ => session.explain(error, doing),
        })
    }
}

fn went_on() -> Error {
    Error::new(Kind::Data, codes::OF1009, "a statement of your code failed, and the code returned Ok all the same")
        .note("PostgreSQL aborts a transaction at its first failure; nothing of it was committed")
        .help("return the error with `?`, or put a SAVEPOINT before such a statement and ROLLBACK TO it after")
}

impl Inside for PgTransaction<'_> {
    fn native(&self) -> Native<'_> {
        Native::Postgres { client: &self.open.session.client, session: self.open.session.number }
    }

    fn enter(&mut self) -> Answer<'_, Result<()>> {
        Box::pin(self.inside_step(ENTER, "let your code into the transaction"))
    }

    fn keep(&mut self) -> Answer<'_, Result<()>> {
        Box::pin(self.inside_step(KEEP, "keep what your code wrote"))
    }

    fn back(&mut self) -> Answer<'_, Result<()>> {
        Box::pin(self.inside_step(BACK, "undo what your code wrote"))
    }

    fn leave(&mut self) -> Answer<'_, Result<()>> {
        Box::pin(self.inside_step(LEAVE, "go on after your code"))
    }
}
