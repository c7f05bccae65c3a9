//! Cause 3: a transaction that is torn down half-way, in the ledger's own tables, and what is left of it.

use super::check::{Ask, Check, ask};
use super::int;
use crate::codes;
use crate::error::Error;
use crate::home::HomeFactory;
use crate::home::desk::Statement;

/// No migration has such a number; it names the probe.
const MARK: i64 = -613_130;

/// Writes a row, fails at the second statement, and looks whether the row is there. Nothing stays.
pub(super) async fn examine(home: &dyn HomeFactory, checks: &mut Vec<Check>) {
    let insert = format!(
        "INSERT INTO {{migration}} (version, program, applied_at) VALUES ({MARK}, 'doctor', CURRENT_TIMESTAMP)"
    );
    let how = format!("BEGIN; {insert}; a statement that fails; ROLLBACK; SELECT count(*) … WHERE version = {MARK}");
    let ask = ask(3, "probe-transaction", home.describe(), how);
    let check = match attempt(home, &insert).await {
        Ok((torn, left)) => judge(ask, torn, left),
        Err(error) => ask.unknown(&error),
    };
    checks.push(check);
}

async fn attempt(home: &dyn HomeFactory, insert: &str) -> Result<(bool, i64), Error> {
    let mut opened = home.open(std::sync::Arc::default())?;
    let mut desk = opened.desk().await?;
    let statements = [
        Statement { sql: insert.to_owned(), parameters: Vec::new(), expect_rows: Some(1) },
        // Finds no row, and one is expected: here the transaction is torn down.
        Statement {
            sql: "UPDATE {migration} SET program = program WHERE version = -1".to_owned(),
            parameters: Vec::new(),
            expect_rows: Some(1),
        },
    ];
    let torn = match desk.execute(&statements).await {
        Ok(_) => false,
        Err(error) if error.code() == codes::OF0911 => true,
        Err(error) => return Err(error),
    };
    let sql = format!("SELECT count(*) FROM {{migration}} WHERE version = {MARK}");
    let rows = desk.rows(&sql, &[]).await?;
    Ok((torn, rows.first().map_or(0, |row| int(row, 0))))
}

fn judge(ask: Ask, torn: bool, left: i64) -> Check {
    match (torn, left) {
        (true, 0) => {
            ask.ok("a transaction torn down half-way left nothing", "rows and positions come together or not at all")
        }
        (_, left) => ask.broken(
            format!("a transaction torn down half-way left {left} rows"),
            "yes: rows may be there without their position",
            format!("DELETE FROM onceflow.migration WHERE version = {MARK}"),
            "it removes what the probe left; use a database that rolls back (no pooler in statement mode between)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn what_is_left_of_a_torn_transaction_is_a_fault() {
        let ask = || ask(3, "probe-transaction", "a", "b");
        assert_eq!(judge(ask(), true, 1).status, Status::Broken);
        assert_eq!(judge(ask(), false, 0).status, Status::Broken);
        assert_eq!(judge(ask(), true, 0).status, Status::Ok);
    }
}
