//! Cause 3: a transaction that is torn down half-way, in the ledger's own tables, and what is left of it.

use super::check::{Ask, Check, ask};
use super::int;
use crate::codes;
use crate::error::Error;
use crate::home::HomeFactory;
use crate::home::desk::{Cell, Statement};
use onceflow_core::PipelineId;

/// No migration has such a number; it names the probe.
const MARK: i64 = -613_130;

/// An empty transaction: what is in the way of writing at all.
pub(super) async fn write(home: &dyn HomeFactory) -> Option<Error> {
    let tried = async {
        let mut opened = home.open(std::sync::Arc::default())?;
        let mut desk = opened.desk().await?;
        desk.execute(&[]).await
    };
    tried.await.err()
}

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

/// What a claim and a move compare, in SQL that both databases know.
const OWNED: &str = "WHERE pipeline = $1 AND shard = 'doctor-probe' AND generation = 1 AND nonce = 'first'";

/// Two owners of one shard, in a transaction that is rolled back: after the second has claimed, the first moves nothing.
pub(super) async fn fence(home: &dyn HomeFactory, pipeline: PipelineId, checks: &mut Vec<Check>) {
    let how = format!(
        "BEGIN; INSERT INTO {{shard}} …; UPDATE … SET generation = 2 {OWNED}; UPDATE … SET epoch = 1 {OWNED}; ROLLBACK"
    );
    let ask = ask(4, "probe-fence", home.describe(), how);
    let check = match claimed_twice(home, pipeline).await {
        Ok(said) => fenced(ask, &said),
        Err(error) => ask.unknown(&error),
    };
    checks.push(check);
}

/// The words with which the transaction was torn down.
async fn claimed_twice(home: &dyn HomeFactory, pipeline: PipelineId) -> Result<String, Error> {
    let mut opened = home.open(std::sync::Arc::default())?;
    let mut desk = opened.desk().await?;
    let statement = |sql: String, expected| Statement {
        sql,
        parameters: vec![Cell::Text(pipeline.to_string())],
        expect_rows: Some(expected),
    };
    let insert = "INSERT INTO {shard} (pipeline, shard, generation, nonce, epoch, chain, updated_at) \
        VALUES ($1, 'doctor-probe', 1, 'first', 0, 'none', CURRENT_TIMESTAMP)";
    let statements = [
        statement(insert.to_owned(), 1),
        statement(format!("UPDATE {{shard}} SET generation = 2, nonce = 'second' {OWNED}"), 1),
        // One row is expected and none may be found: the transaction is torn down here.
        statement(format!("UPDATE {{shard}} SET epoch = 1 {OWNED} AND epoch = 0"), 1),
        // Where one was found, it is torn down here, with another number in the words.
        statement(format!("UPDATE {{shard}} SET epoch = 1 {OWNED} AND epoch < 0"), UNFENCED),
    ];
    match desk.execute(&statements).await {
        Err(error) if error.code() == codes::OF0911 => Ok(error.message().to_owned()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::internal("a transaction that has to fail was committed")),
    }
}

/// A number of rows that is in the words of an error only where the first owner still moved the shard.
const UNFENCED: u64 = 613_130;

fn fenced(ask: Ask, said: &str) -> Check {
    if !said.contains(&UNFENCED.to_string()) {
        let why = "a move compares generation and nonce in the server, in the transaction of the rows";
        return ask.ok("after a second claim the first owner moved nothing", why);
    }
    ask.broken(
        "after a second claim the first owner still moved the shard",
        "yes: two instances could write the same records",
        "stop all instances but one; look for rules and triggers on the ledger's table shard",
        "one instance alone repeats nothing",
    )
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

    #[test]
    fn an_owner_that_is_not_fenced_is_a_fault() {
        let ask = || ask(4, "probe-fence", "a", "b");
        assert_eq!(fenced(ask(), "statement 3 touched 0 rows instead of 613130").status, Status::Broken);
        assert_eq!(fenced(ask(), "statement 2 touched 0 rows instead of 1").status, Status::Ok);
    }
}
