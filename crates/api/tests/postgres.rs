//! Handlers over a real PostgreSQL: `ONCEFLOW_TEST_POSTGRES=postgresql://postgres@127.0.0.1:5432/postgres`, as a superuser.

use onceflow::prelude::*;
use onceflow::{Error, Ready, Report, Value};
use postgres_support::{Database, block_on};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

mod postgres_support;

#[derive(serde::Serialize, serde::Deserialize)]
struct Payment {
    id: i64,
    cents: i64,
}

struct Case(Database);

impl Deref for Case {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

impl Case {
    fn new(test: &str) -> Option<Self> {
        let database = Database::new(&format!("api_{test}"))?;
        database.execute("CREATE TABLE payments (id BIGINT, cents INTEGER)");
        Some(Self(database))
    }

    fn flow(&self, count: i64) -> onceflow::Writing<Payment> {
        let payments = Memory::json((0..count).map(|id| Payment { id, cents: id * 10 }));
        Pipeline::new("payments").read(payments).parse(Json::<Payment>::new()).write_to(Postgres::url(self.url()))
    }
}

fn run(ready: Ready) -> onceflow::Result<Report> {
    block_on(async { ready.start()?.ended().await })
}

fn code(error: &Error) -> &'static str {
    error.engine().unwrap_or_else(|| panic!("{error:?}")).code().as_str()
}

async fn insert(tx: &Tx<'_>, payment: &Payment) -> onceflow::Result<()> {
    tx.execute("INSERT INTO payments VALUES ($1, $2)", params![payment.id, payment.cents]).await?;
    Ok(())
}

#[test]
fn rows_positions_and_dead_letters_commit_together() {
    let Some(case) = Case::new("together") else { return };
    for (count, committed) in [(5_000, 5_000), (5_000, 0), (6_000, 1_000)] {
        let ready = case.flow(count).for_each_partition(async |tx, batch| {
            if let Some(payment) = batch.iter().find(|payment| payment.id % 1000 == 77) {
                return Err(payment.dead_letter("not this one"));
            }
            tx.execute_all("INSERT INTO payments VALUES ($1, $2)", batch.iter().map(|p| row![p.id, p.cents])).await?;
            Ok(())
        });
        assert_eq!(run(ready).expect("it runs").committed, committed);
    }
    assert_eq!(case.number("SELECT count(*) FROM payments"), 5_994);
    assert_eq!(case.number("SELECT count(DISTINCT id) FROM payments"), 5_994);
    assert_eq!(case.number("SELECT count(*) FROM onceflow.dead_letter WHERE code = 'OF1005'"), 6);
}

#[test]
fn a_transaction_that_the_code_ends_leaves_nothing() {
    let Some(case) = Case::new("ends") else { return };
    for (sql, codes) in [
        // The server refuses a COMMIT while the code runs; the code says so, or looks away.
        ("COMMIT", ["OF0711", "OF1003"]),
        ("COMMIT AND CHAIN", ["OF0711", "OF1003"]),
        ("ROLLBACK", ["OF1003", "OF1003"]),
        ("ROLLBACK; BEGIN", ["OF1003", "OF1003"]),
    ] {
        for (looks_away, expected) in [false, true].into_iter().zip(codes) {
            let ready = case.flow(10).for_each_partition(async move |tx, batch| {
                for payment in batch {
                    insert(tx, &payment).await?;
                }
                let answer = tx.postgres()?.batch_execute(sql).await;
                if looks_away { Ok(()) } else { Ok(answer?) }
            });
            let error = run(ready).expect_err("it is noticed");
            assert_eq!(code(&error), expected, "{sql}, looks away {looks_away}: {error}");
            assert_eq!(case.number("SELECT count(*) FROM payments"), 0, "{sql}");
            assert_eq!(case.number("SELECT count(*) FROM onceflow.commit"), 0, "{sql}");
            assert_eq!(case.number("SELECT coalesce(sum(next_offset), 0)::bigint FROM onceflow.position"), 0, "{sql}");
        }
    }
    let ready = case.flow(10).for_each_partition(async |tx, _batch| tx.execute("commit", &[]).await.map(drop));
    assert_eq!(code(&run(ready).expect_err("it is refused")), "OF1003");
}

#[test]
fn many_transactions_leave_nothing_in_temporary_tables() {
    let Some(case) = Case::new("bloat") else { return };
    let payments = Memory::json((0..400_i64).map(|id| Payment { id, cents: id }));
    let flow = Pipeline::new("payments").epoch_rows_max(1).read(payments).parse(Json::<Payment>::new());
    let ready = flow.write_to(Postgres::url(case.url())).for_each(async |tx, payment| {
        insert(tx, &payment).await?;
        let size = tx.query_one("SELECT pg_relation_size('pg_temp.onceflow_inside')", &[]).await?.at::<i64>(0)?;
        assert!(size <= 8192, "{size} bytes at payment {}", payment.id);
        Ok(())
    });
    assert_eq!(run(ready).expect("it runs").committed, 400);
}

#[test]
fn a_statement_that_failed_cannot_be_overlooked() {
    let Some(case) = Case::new("failed") else { return };
    let ready = case.flow(10).for_each(async |tx, payment| {
        insert(tx, &payment).await?;
        if payment.id == 5 {
            // A mistake of the code: the transaction is aborted from here on.
            let _ = tx.execute("INSERT INTO payments VALUES ($1, $2)", params!["no number", 1]).await;
            return Ok(());
        }
        Ok(())
    });
    let error = run(ready).expect_err("it is noticed");
    assert!(["OF0711", "OF1009"].contains(&code(&error)), "{error}");
    assert_eq!(case.number("SELECT count(*) FROM payments"), 0);
    let ready = case.flow(10).for_each_partition(async |tx, batch| {
        for payment in batch {
            tx.execute("SAVEPOINT one", &[]).await?;
            let written = match payment.id {
                5 => tx.execute("INSERT INTO payments VALUES (1 / $1, 0)", params![0]).await,
                _ => tx.execute("INSERT INTO payments VALUES ($1, $2)", params![payment.id, payment.cents]).await,
            };
            let end = if written.is_ok() { "RELEASE SAVEPOINT one" } else { "ROLLBACK TO SAVEPOINT one" };
            tx.execute(end, &[]).await?;
        }
        Ok(())
    });
    run(ready).expect("savepoints are how a statement may fail");
    assert_eq!(case.number("SELECT count(*) FROM payments"), 9);
}

#[test]
fn a_lost_connection_and_a_deadlock_are_tried_again() {
    let Some(case) = Case::new("again") else { return };
    let tries = Arc::new(AtomicU32::new(0));
    let counter = tries.clone();
    let ready = case.flow(10).for_each_partition(async move |tx, batch| {
        for payment in batch {
            insert(tx, &payment).await?;
        }
        match counter.fetch_add(1, Ordering::SeqCst) {
            0 => drop(tx.execute("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await?),
            1 => drop(tx.postgres()?.query("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await?),
            2 => {
                let raise = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$";
                tx.postgres()?.batch_execute(raise).await?;
            }
            _ => {}
        }
        Ok(())
    });
    run(ready).expect("the fourth try succeeds");
    assert_eq!(tries.load(Ordering::SeqCst), 4);
    assert_eq!(case.number("SELECT count(*) FROM payments"), 10);
}

#[test]
fn values_go_in_and_come_out_as_they_are() {
    let Some(case) = Case::new("values") else { return };
    case.execute(
        "CREATE TYPE mood AS ENUM ('good', 'bad');
         CREATE TABLE v (i2 SMALLINT, i4 INTEGER, i8 BIGINT, n NUMERIC(30, 5), f4 REAL, f8 DOUBLE PRECISION, t TEXT, c CHAR(3),
             b BOOLEAN, y BYTEA, u UUID, tz TIMESTAMPTZ, ts TIMESTAMP, d DATE, j JSON, jb JSONB, m mood, nothing INTEGER)",
    );
    let ready = case.flow(1).for_each(async |tx, _payment| {
        let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let sql =
            "INSERT INTO v VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
        let values = row![
            -7_i16,
            70_000_i32,
            i64::MIN,
            "12345678901234567890.12345",
            0.1_f32,
            0.1_f64,
            "a\tb",
            "abc",
            true,
            vec![0_u8, 255],
            uuid,
            "2026-01-02T03:04:05.678901Z",
            "2026-01-02T03:04:05.678901",
            "1969-12-31",
            "{\"a\": 1}",
            "{\"a\": 1}",
            "good",
            None::<i32>
        ];
        tx.execute(sql, &values).await?;
        let columns =
            ["i2", "i4", "i8", "n", "f4", "f8", "t", "c", "b", "y", "u", "tz", "ts", "d", "j", "jb", "m", "nothing"];
        tx.copy_in("v", &columns, [values.clone()]).await?;
        let rows = tx.query("SELECT * FROM v", &[]).await?;
        let text = |text: &str| Value::Text(text.to_owned());
        let expected = [
            Value::Int(-7),
            Value::Int(70_000),
            Value::Int(i64::MIN),
            text("12345678901234567890.12345"),
            Value::Float(0.1),
            Value::Float(0.1),
            text("a\tb"),
            text("abc"),
            Value::Bool(true),
            Value::Bytes(vec![0, 255]),
            text(uuid),
            text("2026-01-02T03:04:05.678901Z"),
            text("2026-01-02T03:04:05.678901"),
            text("1969-12-31"),
            text("{\"a\": 1}"),
            text("{\"a\": 1}"),
            text("good"),
            Value::Null,
        ];
        for row in rows {
            assert_eq!(row.into_values(), expected);
        }
        let unread = tx.query("SELECT ARRAY[1, 2]", &[]).await.expect_err("an array is no value here");
        assert!(unread.to_string().contains("column::text"), "{unread}");
        Ok(())
    });
    run(ready).expect("it runs");
    assert_eq!(case.number("SELECT count(*) FROM v"), 2);
}

#[test]
fn a_number_that_does_not_fit_is_the_servers_to_refuse() {
    let Some(case) = Case::new("fit") else { return };
    let ready = case.flow(1).for_each(async |tx, _payment| {
        tx.execute("INSERT INTO payments VALUES (1, $1)", params![i64::MAX]).await?;
        Ok(())
    });
    let error = run(ready).expect_err("it is out of range");
    assert!(code(&error) == "OF0711" && error.to_string().contains("9223372036854775807"), "{error}");
    let ready = case.flow(1).for_each(async |tx, _payment| {
        tx.execute("INSERT INTO payments VALUES ($1, $2)", params![1]).await?;
        Ok(())
    });
    let error = run(ready).expect_err("a parameter is missing");
    assert!(error.to_string().contains("1 parameters for a statement that has 2"), "{error}");
    let ready = case.flow(1).for_each(async |tx, _payment| tx.sqlite().map(|_connection| ()));
    assert_eq!(code(&run(ready).expect_err("it is no SQLite")), "OF1006");
}
