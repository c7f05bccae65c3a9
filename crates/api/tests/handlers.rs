//! Handlers over SQLite: what they may say, what becomes of records, and what they cannot do. Needs nothing installed.

use onceflow::engine::Kind;
use onceflow::prelude::*;
use onceflow::{Error, Handle, Report};
use sqlite_support::{Lab, run};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

mod sqlite_support;

#[derive(serde::Serialize, serde::Deserialize, Clone, Debug)]
struct Payment {
    id: i64,
    account: i64,
    cents: i64,
}

struct Case(Lab);

impl Deref for Case {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Case {
    fn new() -> Self {
        Self(Lab::new("CREATE TABLE payments (id INTEGER, cents INTEGER)"))
    }

    fn home(&self) -> Sqlite {
        Sqlite::file(self.file())
    }

    fn number(&self, sql: &str) -> i64 {
        self.open().query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn flow(&self, count: i64) -> onceflow::Writing<Payment> {
        Pipeline::new("payments").read(payments(count)).parse(Json::<Payment>::new()).write_to(self.home())
    }
}

fn payments(count: i64) -> Memory {
    Memory::json((0..count).map(|id| Payment { id, account: id % 3, cents: id * 10 }))
}

async fn insert(tx: &Tx<'_>, payment: &Payment) -> onceflow::Result<()> {
    tx.execute("INSERT INTO payments VALUES ($1, $2)", params![payment.id, payment.cents]).await?;
    Ok(())
}

fn code(error: &Error) -> &'static str {
    error.engine().unwrap_or_else(|| panic!("{error:?}")).code().as_str()
}

#[test]
fn rows_and_positions_commit_together_and_a_second_run_adds_nothing() {
    let case = Case::new();
    for (count, committed) in [(50, 50), (50, 0), (70, 20)] {
        let ready = case.flow(count).for_each(async |tx, payment| insert(tx, &payment).await);
        let report = run(ready).expect("it runs");
        assert_eq!(report, Report { committed, ..Report::default() });
    }
    assert_eq!(case.number("SELECT count(*) FROM payments"), 70);
    assert_eq!(case.number("SELECT count(DISTINCT id) FROM payments"), 70);
}

#[test]
fn a_batch_is_one_partition_in_order_with_what_is_known_of_its_records() {
    let case = Case::new();
    let records = Memory::new()
        .record(0, Some(b"k"), Some(b"a"))
        .record(0, None, None)
        .record(0, None, Some(b"b"))
        .record(1, None, Some(b"c"));
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = seen.clone();
    let ready = Pipeline::new("p").read(records).parse(Text).write_to(case.home()).for_each_partition(
        async move |_tx, batch: Batch<String>| {
            let first = batch.get(0).expect("it has a record");
            assert_eq!((batch.len(), batch.iter().len()), (batch.iter().count(), batch.len()));
            let all: Vec<_> = batch.iter().map(|record| format!("{} {}", record.id(), *record)).collect();
            let key = first.key().map(|key| String::from_utf8_lossy(key).into_owned());
            noted.lock().unwrap().push((batch.partition(), batch.offsets(), key, all));
            Ok(())
        },
    );
    let report = run(ready).expect("it runs");
    assert_eq!(report.committed, 4);
    let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let expected = [
        (0, 0..3, Some("k".to_owned()), all(&["memory/0/0 a", "memory/0/2 b"])),
        (1, 0..1, None, all(&["memory/1/0 c"])),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn steps_before_the_handler_filter_map_and_refuse() {
    let case = Case::new();
    let looked = Arc::new(AtomicU32::new(0));
    let counter = looked.clone();
    let ready = Pipeline::new("p")
        .read(Memory::lines("1\n2\nx\n4\n5\n7"))
        .parse_with(|record| String::from_utf8(record.value().unwrap_or_default().to_vec()))
        .try_map(|text| text.parse::<i64>())
        .filter(|number| *number != 4)
        .inspect(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .flat_map(|number| (0..number).map(move |n| number * 10 + n))
        .try_map(|number| if number == 73 { Err("73 is refused") } else { Ok(number) })
        .map(|number| (number, number * 2))
        .write_to(case.home())
        .for_each(async |tx, pair| {
            tx.execute("INSERT INTO payments VALUES ($2, $1)", params![pair.1, pair.0]).await?;
            Ok(())
        });
    let report = run(ready).expect("it runs");
    assert_eq!((report.committed, report.dead, looked.load(Ordering::SeqCst)), (6, 2, 4));
    // Of the record 7, of which one value was refused, nothing took effect.
    assert_eq!(
        case.text("SELECT group_concat(id || '=' || cents) FROM payments"),
        "10=20,20=40,21=42,50=100,51=102,52=104,53=106,54=108"
    );
    let reasons = "SELECT group_concat(\"offset\" || ' ' || code || ' ' || reason, '; ') FROM onceflow_dead_letter";
    assert_eq!(case.text(reasons), "2 OF1007 invalid digit found in string; 5 OF1007 73 is refused");
}

#[test]
fn a_record_that_the_handler_puts_aside_is_a_dead_letter_and_the_others_take_effect_once() {
    for every_record in [false, true] {
        let case = Case::new();
        let refuse = |payment: &Record<Payment>| payment.id % 7 == 5;
        let ready = if every_record {
            case.flow(40).for_each(async move |tx, payment| {
                insert(tx, &payment).await?;
                if refuse(&payment) { Err(payment.dead_letter("not this one")) } else { Ok(()) }
            })
        } else {
            case.flow(40).for_each_partition(async move |tx, batch| {
                for payment in batch {
                    insert(tx, &payment).await?;
                    if refuse(&payment) {
                        return Err(Error::poison(&payment, "not this one"));
                    }
                }
                Ok(())
            })
        };
        let report = run(ready).expect("it runs");
        assert_eq!((report.committed, report.dead), (40, 5));
        assert_eq!(case.number("SELECT count(*) FROM payments"), 35);
        assert_eq!(case.number("SELECT count(*) FROM payments WHERE id % 7 = 5"), 0);
        assert_eq!(
            case.number("SELECT sum(\"offset\") FROM onceflow_dead_letter WHERE code = 'OF1005'"),
            5 + 12 + 19 + 26 + 33
        );
        assert_eq!(
            case.text("SELECT CAST(value AS TEXT) FROM onceflow_dead_letter LIMIT 1"),
            r#"{"id":5,"account":2,"cents":50}"#
        );
    }
}

#[test]
fn an_error_of_any_kind_stops_and_nothing_is_committed() {
    let case = Case::new();
    let ready = case.flow(40).for_each(async |tx, payment| {
        insert(tx, &payment).await?;
        if payment.id == 30 {
            "no number".parse::<i64>()?;
        }
        Ok(())
    });
    let error = run(ready).expect_err("it stops");
    assert_eq!((code(&error), error.exit_code()), ("OF1001", 1));
    assert!(
        error.to_string().contains("memory/0 offsets 0..40") && error.to_string().contains("invalid digit"),
        "{error}"
    );
    assert_eq!(case.number("SELECT count(*) FROM payments"), 0);
    // The next start reads the same records again.
    run(case.flow(40).for_each(async |tx, payment| insert(tx, &payment).await)).expect("it runs");
    assert_eq!(case.number("SELECT count(*) FROM payments"), 40);
}

#[test]
fn a_retry_handles_the_same_records_again_and_is_bounded() {
    let case = Case::new();
    let tries = Arc::new(AtomicU32::new(0));
    let counter = tries.clone();
    let ready = case.flow(10).for_each_partition(async move |tx, batch| {
        for payment in &batch {
            insert(tx, &payment).await?;
        }
        if counter.fetch_add(1, Ordering::SeqCst) < 3 { Err(Error::retry("not yet")) } else { Ok(()) }
    });
    run(ready).expect("the fourth try succeeds");
    assert_eq!((tries.load(Ordering::SeqCst), case.number("SELECT count(*) FROM payments")), (4, 10));

    let case = Case::new();
    let ready = Pipeline::new("p").retries(2).read(payments(10)).parse(Json::<Payment>::new()).write_to(case.home());
    let error = run(ready.for_each(async |_tx, _payment| Err(Error::retry("never")))).expect_err("it gives up");
    assert_eq!(code(&error), "OF1004");
    assert!(error.to_string().contains("3 times in a row") && error.to_string().contains("never"), "{error}");
    assert_eq!(error.engine().map(|error| error.kind()), Some(Kind::Data));
}

#[test]
fn a_panic_is_an_error_of_the_pipeline_and_names_the_record() {
    let case = Case::new();
    let ready = case.flow(10).for_each(async |tx, payment| {
        insert(tx, &payment).await?;
        assert!(payment.id != 7, "seven");
        Ok(())
    });
    let error = run(ready).expect_err("it stops");
    assert!(code(&error) == "OF1002" && error.to_string().contains("seven"), "{error}");
    let mapped = Pipeline::new("p").read(payments(10)).parse(Json::<Payment>::new()).map(|payment| {
        assert!(payment.id != 7, "seven");
        payment
    });
    let error = run(mapped.write_to(case.home()).for_each(async |_tx, _payment| Ok(()))).expect_err("it stops");
    assert!(code(&error) == "OF1002" && error.to_string().contains("memory/0 offset 7: seven"), "{error}");
    assert_eq!(case.number("SELECT count(*) FROM payments"), 0);
}

#[test]
fn nobody_but_the_engine_ends_the_transaction() {
    for sql in [
        "COMMIT",
        "  /* now */ end",
        "ROLLBACK",
        "BEGIN",
        "DELETE FROM onceflow_position",
        "RELEASE onceflow_handler",
        "DROP VIEW onceflow_move",
    ] {
        for native in [false, true] {
            let case = Case::new();
            let ready = case.flow(10).for_each_partition(async move |tx, batch| {
                for payment in batch {
                    insert(tx, &payment).await?;
                }
                match native {
                    // What it answers is thrown away: the code goes on as if all were well.
                    true => tx.sqlite()?.execute_batch(sql)?,
                    false => drop(tx.execute(sql, &[]).await?),
                }
                Ok(())
            });
            let error = run(ready).expect_err("it is refused");
            assert_eq!(code(&error), "OF1003", "{sql}, native {native}: {error}");
            assert_eq!(case.number("SELECT count(*) FROM payments"), 0, "{sql}");
            assert_eq!(case.number("SELECT count(*) FROM onceflow_commit"), 0, "{sql}");
        }
    }
}

#[test]
fn a_statement_that_ends_the_transaction_by_itself_is_noticed() {
    let case = Case::new();
    case.open().execute_batch("CREATE UNIQUE INDEX one ON payments (id)").expect("it is empty");
    let ready = case.flow(10).for_each_partition(async |tx, batch| {
        for payment in batch {
            insert(tx, &payment).await?;
        }
        // Ends the whole transaction in SQLite; the code looks away.
        let _ = tx.execute("INSERT OR ROLLBACK INTO payments VALUES (3, 0)", &[]).await;
        Ok(())
    });
    let error = run(ready).expect_err("it is noticed");
    assert_eq!(code(&error), "OF1003", "{error}");
    assert_eq!(case.number("SELECT count(*) FROM payments"), 0);
}

#[test]
fn savepoints_of_the_code_work() {
    let case = Case::new();
    let ready = case.flow(10).for_each(async |tx, payment| {
        tx.execute("SAVEPOINT mine", &[]).await?;
        insert(tx, &payment).await?;
        if payment.id % 2 == 1 {
            tx.execute("ROLLBACK TO mine", &[]).await?;
        }
        tx.execute("RELEASE mine", &[]).await?;
        Ok(())
    });
    run(ready).expect("it runs");
    assert_eq!(case.text("SELECT group_concat(id) FROM payments"), "0,2,4,6,8");
}

#[test]
fn queries_see_what_the_transaction_wrote() {
    let case = Case::new();
    let ready = case.flow(3).for_each_partition(async |tx, batch| {
        let rows = batch.iter().map(|payment| row![payment.id, payment.cents]);
        assert_eq!(tx.copy_in("payments", &["id", "cents"], rows).await?, 3);
        let rows = tx.query("SELECT id, cents FROM payments ORDER BY id DESC", &[]).await?;
        assert_eq!((rows.len(), rows[0].get::<i64>("cents")?, rows[2].at::<Option<i64>>(0)?), (3, 20, Some(0)));
        assert_eq!(rows[0].columns(), ["id", "cents"]);
        assert!(tx.query_opt("SELECT 1 FROM payments WHERE id = $1", params![99]).await?.is_none());
        let many = tx.query_one("SELECT id FROM payments", &[]).await.expect_err("there are three");
        assert!(many.to_string().contains("3 rows"), "{many}");
        assert!(rows[0].get::<String>("cents").is_err() && rows[0].get::<i64>("nothing").is_err());
        let missing =
            tx.execute("UPDATE payments SET cents = $2 WHERE id = $1", params![1]).await.expect_err("one is missing");
        assert!(missing.to_string().contains("parameter 2 is missing"), "{missing}");
        let touched = tx.execute_all("UPDATE payments SET cents = 0 WHERE id < $1", vec![row![1], row![2]]).await?;
        assert_eq!(touched, 3);
        Ok(())
    });
    run(ready).expect("it runs");
}

#[test]
fn a_blocking_handler_and_state_that_it_captures() {
    let case = Case::new();
    let factor = 3;
    let ready = case.flow(5).for_each_partition_blocking(move |tx, batch| {
        let mut insert = tx.sqlite()?.prepare_cached("INSERT INTO payments VALUES (?1, ?2)")?;
        for payment in batch {
            insert.execute((payment.id, payment.cents * factor))?;
        }
        Ok(())
    });
    run(ready).expect("it runs");
    assert_eq!(case.number("SELECT sum(cents) FROM payments"), 300);
}

#[test]
fn a_blocking_closure_is_for_sqlite() {
    let flow =
        Pipeline::new("p").read(payments(1)).parse(Raw).write_to(Postgres::url("postgresql://nobody@127.0.0.1:1/x"));
    let error = flow.for_each_partition_blocking(|_tx, _batch| Ok(())).start().err().expect("the driver is async");
    assert_eq!(code(&error), "OF1006");
}

#[test]
fn what_is_wrong_in_itself_is_said_before_anything_runs() {
    let case = Case::new();
    let ready = Pipeline::new("no good/name").read(payments(1)).parse(Raw).write_to(case.home());
    let error = ready.for_each(async |_tx, _record| Ok(())).start().err().expect("the name is refused");
    assert_eq!(code(&error), "OF1008");
    let ready = Pipeline::new("p").read(Kafka::topic("t")).parse(Raw).write_to(case.home());
    let error = ready.for_each(async |_tx, _record| Ok(())).start().err().expect("brokers are missing");
    assert_eq!(code(&error), "OF0224");
    let ready = Pipeline::new("p").read(payments(1)).parse(Raw).write_to(Postgres::url("mysql://x"));
    assert!(ready.for_each(async |_tx, _record| Ok(())).start().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pipelines_run_in_one_process_and_inside_somebody_elses_runtime() {
    let cases = [Case::new(), Case::new()];
    let start = |case: &Case| -> Handle {
        let path = case.folder.path().join("in.jsonl");
        std::fs::write(&path, "{\"id\":1,\"account\":1,\"cents\":5}\n").expect("the folder is ours");
        let files = Files::jsonl(path.display().to_string()).follow(std::time::Duration::from_millis(20));
        let flow = Pipeline::new("p").read(files).parse(Json::<Payment>::new()).write_to(case.home());
        flow.for_each(async |tx, payment| insert(tx, &payment).await).start().expect("it starts")
    };
    let handles = cases.iter().map(start).collect::<Vec<_>>();
    for (handle, case) in handles.into_iter().zip(&cases) {
        handle.caught_up().await.expect("it catches up");
        assert_eq!((case.number("SELECT count(*) FROM payments"), handle.lag().await.expect("it is known")), (1, 0));
        let metrics = handle.metrics();
        assert_eq!((metrics.records, metrics.used, metrics.commits, metrics.trouble), (1, 1, 1, None));
        assert_eq!(handle.positions().into_values().collect::<Vec<_>>(), [31]);
        let report = handle.shutdown().await.expect("it stops in good order");
        assert_eq!(report, Report { committed: 1, ..Report::default() });
    }
}

#[tokio::test]
async fn the_newer_instance_takes_the_pipeline_over_and_the_older_one_says_so() {
    let case = Case::new();
    let path = case.folder.path().join("in.jsonl");
    std::fs::write(&path, "{\"id\":1,\"account\":1,\"cents\":5}\n").expect("the folder is ours");
    let start = || {
        let files = Files::jsonl(path.display().to_string()).follow(std::time::Duration::from_millis(20));
        let flow = Pipeline::new("p").read(files).parse(Json::<Payment>::new()).write_to(case.home());
        flow.for_each(async |tx, payment| insert(tx, &payment).await).start().expect("it starts")
    };
    let mut older = start();
    older.caught_up().await.expect("it catches up");
    let newer = start();
    let error = older.ended().await.expect_err("it is fenced");
    assert_eq!((code(&error), error.exit_code()), ("OF0002", 4));
    newer.shutdown().await.expect("it stops in good order");
    assert_eq!(case.number("SELECT count(*) FROM payments"), 1);
}
