//! The user's own code inside a transaction: a savepoint, and no way to end the transaction.

use super::fault;
use super::transaction::Open;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::Answer;
use crate::home::inside::{Inside, Native, ended};
use rusqlite::Connection;
use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use std::future::ready;

const SAVEPOINT: &str = "onceflow_handler";

/// What an error of the driver means to the engine, for statements of the user's own code. `doing` completes the sentence "cannot …".
pub fn explain(error: rusqlite::Error, doing: &str) -> Error {
    let said = error.to_string();
    let message = format!("cannot {doing}: {said}");
    let explained = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::unavailable(codes::OF0803, message),
        Some(ErrorCode::ReadOnly) => Error::unavailable(codes::OF0804, message),
        Some(ErrorCode::DiskFull) => Error::unavailable(codes::OF0805, message),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::SchemaChanged) => {
            Error::unavailable(codes::OF0806, message)
        }
        Some(ErrorCode::DatabaseCorrupt) => Error::new(Kind::Identity, codes::OF0808, message),
        Some(ErrorCode::AuthorizationForStatementDenied) => Error::config(codes::OF1003, message)
            .note("the transaction and the ledger's tables are the engine's")
            .help("leave out BEGIN, COMMIT and ROLLBACK: Ok(()) commits and an error rolls back; SAVEPOINT and ROLLBACK TO work"),
        _ => Error::new(Kind::Data, codes::OF1010, message)
            .note("nothing of the transaction was committed; the next start reads the same records again"),
    };
    explained.caused_by(error)
}

/// What the user's code may not do: end the transaction, the engine's savepoint, or write into the ledger.
fn judge(context: AuthContext<'_>) -> Authorization {
    let ledger = |table: &str| table.starts_with("onceflow_");
    match context.action {
        AuthAction::Transaction { .. } => Authorization::Deny,
        AuthAction::Savepoint { savepoint_name, .. } if savepoint_name == SAVEPOINT => Authorization::Deny,
        // A message, which `tx.outbox` writes.
        AuthAction::Insert { table_name: "onceflow_outbox" } => Authorization::Allow,
        AuthAction::Insert { table_name }
        | AuthAction::Delete { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::DropTrigger { table_name, .. }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::DropView { view_name: table_name }
            if ledger(table_name) =>
        {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }
}

impl Open<'_> {
    fn connection(&mut self) -> Result<&mut Connection> {
        self.home.session.as_mut().map(|session| &mut session.connection).ok_or_else(ended)
    }

    fn inside_step(&mut self, sql: &str, doing: &str, within: bool) -> Result<()> {
        let place = self.home.place.clone();
        let failed = |error| fault::error(&place, doing, error);
        let connection = self.connection()?;
        connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(failed)?;
        if connection.is_autocommit() {
            return Err(ended());
        }
        connection.execute_batch(sql).map_err(failed)?;
        if within {
            connection.authorizer(Some(judge)).map_err(failed)?;
        }
        Ok(())
    }

    /// Lets the engine do again what the user's code may not.
    pub(super) fn lift(&mut self) {
        if let Some(session) = &mut self.home.session {
            // It can only fail where the connection is in use by another thread, and none has it.
            let _ = session.connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
        }
    }
}

impl Inside for Open<'_> {
    fn native(&self) -> Native<'_> {
        Native::Sqlite { connection: &self.home.session.as_ref().expect("a transaction has a session").connection }
    }

    fn enter(&mut self) -> Answer<'_, Result<()>> {
        let sql = format!("SAVEPOINT {SAVEPOINT}");
        Box::pin(ready(self.inside_step(&sql, "let your code into a transaction of", true)))
    }

    fn keep(&mut self) -> Answer<'_, Result<()>> {
        let sql = format!("RELEASE {SAVEPOINT}; SAVEPOINT {SAVEPOINT}");
        Box::pin(ready(self.inside_step(&sql, "keep what your code wrote in", true)))
    }

    fn back(&mut self) -> Answer<'_, Result<()>> {
        let sql = format!("ROLLBACK TO {SAVEPOINT}");
        Box::pin(ready(self.inside_step(&sql, "undo what your code wrote in", true)))
    }

    fn leave(&mut self) -> Answer<'_, Result<()>> {
        let sql = format!("RELEASE {SAVEPOINT}");
        Box::pin(ready(self.inside_step(&sql, "go on after your code in", false)))
    }
}
