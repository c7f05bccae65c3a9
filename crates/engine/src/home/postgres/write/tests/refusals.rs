//! Rows that the database refuses: found, left out with their records, everything else in; and what is no row's fault.

use super::*;
use crate::changes::MergeOp;
use crate::error::Kind;
use std::collections::BTreeSet;

fn numbered(count: i64) -> RecordBatch {
    batch(vec![int_column(0..count), int_column((0..count).map(|row| row * 10))])
}

/// Writes 3,000 rows of which some are bad, in every mode, and looks that exactly those are missing.
async fn check_modes(lab: &Lab, bad: &[i64]) {
    let count = 3_000;
    let list = bad.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let statement =
        WriteMode::Statement { sql: "INSERT INTO b VALUES (:k, :v)".to_owned(), expect_rows: Some(1), place: place() };
    let modes =
        [WriteMode::Append, WriteMode::Upsert, WriteMode::Merge(vec![None, None]), WriteMode::InsertIgnore, statement];
    for mode in modes {
        lab.sql("DROP TABLE IF EXISTS b").await;
        lab.sql(&format!("CREATE TABLE b (k bigint PRIMARY KEY, v bigint, CONSTRAINT fine CHECK (k NOT IN ({list})))"))
            .await;
        let key = usize::from(mode.is_keyed());
        let spec = ints("b", &["k", "v"], key, mode.clone());
        let work = work(vec![set(0, numbered(count))]);
        let written = lab.write_once(&[spec], &work).await;
        let found: BTreeSet<i64> =
            offsets(&work, &written).iter().map(|offset| i64::try_from(*offset).unwrap() - 100).collect();
        assert_eq!(found, bad.iter().copied().collect(), "{mode:?}");
        let first = &written.refused[0];
        assert_eq!((first.sqlstate.as_str(), first.code), ("23514", codes::OF0750));
        assert!(first.reason.contains("fine"), "{}", first.reason);
        assert_eq!(first.row, format!("{{\"k\": {}, \"v\": {}}}", bad[0], bad[0] * 10));
        let left = u64::try_from(count).unwrap() - bad.len() as u64;
        assert_eq!(written.rows, [left], "{mode:?}");
        assert_eq!(
            lab.rows("SELECT count(*), count(DISTINCT k) FROM b").await,
            [format!("({left},{left})")],
            "{mode:?}"
        );
    }
}

/// Writes 1,000 rows into a table made by `create`, and looks which are refused.
async fn check_conditions(lab: &Lab, create: &str, refused: &[i64], sqlstate: &str) {
    lab.sql("DROP TABLE IF EXISTS b").await;
    lab.sql(create).await;
    let v = Int64Array::from_iter((0..1_000).map(|row| (row % 400 != 399).then_some(row * 10)));
    let work = work(vec![set(0, batch(vec![int_column(0..1_000), Arc::new(v)]))]);
    for mode in [WriteMode::Append, WriteMode::Upsert] {
        lab.sql("TRUNCATE b").await;
        let key = usize::from(mode.is_keyed());
        let mut writer = lab.writer(&[ints("b", &["k", "v"], key, mode.clone())]).await;
        // The second time the temporary table is there, and refusals are expected.
        for round in 0..2 {
            lab.sql("TRUNCATE b").await;
            let written = lab.write(&mut writer, &work).await;
            let found: Vec<i64> = offsets(&work, &written).iter().map(|at| i64::try_from(*at).unwrap() - 100).collect();
            assert_eq!(found, refused, "{create}: {mode:?}, round {round}");
            assert!(written.refused.iter().all(|one| one.sqlstate == sqlstate), "{create}: {:?}", written.refused);
            let left = 1_000 - refused.len();
            assert_eq!(lab.rows("SELECT count(*) FROM b").await, [format!("({left})")], "{create}");
        }
    }
}

#[test]
fn conditions_that_can_be_asked_at_once_and_such_that_cannot_refuse_the_same_rows() {
    lab("conditions", async |lab| {
        let key = "k bigint PRIMARY KEY";
        let bad = [3, 500, 501];
        let not_bad = "k NOT IN (3, 500, 501)";
        for create in [
            format!("CREATE TABLE b ({key}, v bigint, CHECK ({not_bad}))"),
            format!("CREATE TABLE b ({key}, v bigint, CHECK (k <> 3), CHECK (k / 2 <> 250))"),
            // About a column that is not written, and about one that is.
            format!("CREATE TABLE b ({key}, v bigint, w int DEFAULT 7 CHECK (w = 7), CHECK ({not_bad}))"),
            format!("CREATE TABLE b ({key}, v bigint, w int DEFAULT 7, CHECK ({not_bad} OR w <> 7))"),
            format!(
                "CREATE TABLE b ({key}, v bigint, w bigint GENERATED ALWAYS AS (k) STORED CHECK (w NOT IN (3, 500, 501)))"
            ),
            // Names that the temporary table has to avoid or quote.
            format!("CREATE TABLE b ({key}, v bigint, row int, \"O'K\" int, CHECK ({not_bad}))"),
            // About the row as a whole.
            format!("CREATE TABLE b ({key}, v bigint, CHECK ((b.*)::text NOT LIKE '(3,%' AND k NOT IN (500, 501)))"),
        ] {
            check_conditions(&lab, &create, &bad, "23514").await;
        }
        check_conditions(&lab, &format!("CREATE TABLE b ({key}, v bigint NOT NULL)"), &[399, 799], "23502").await;
        // NULL satisfies a condition.
        check_conditions(&lab, &format!("CREATE TABLE b ({key}, v bigint CHECK (v <> 30))"), &[3], "23514").await;
        // A condition that fails for some rows, and only for rows of its own.
        let divides = format!("CREATE TABLE b ({key}, v bigint, CHECK (1000 / (k - 700) < 1000))");
        check_conditions_of(&lab, &divides, &[(700, "22012"), (701, "23514")]).await;
    });
}

async fn check_conditions_of(lab: &Lab, create: &str, refused: &[(i64, &str)]) {
    lab.sql("DROP TABLE IF EXISTS b").await;
    lab.sql(create).await;
    let work = work(vec![set(0, numbered(1_000))]);
    let written = lab.write_once(&[ints("b", &["k", "v"], 0, WriteMode::Append)], &work).await;
    let states = super::refused(&work, &written);
    let states: Vec<(i64, &str)> =
        states.iter().map(|(at, state, _)| (i64::try_from(*at).unwrap() - 100, state.as_str())).collect();
    assert_eq!(states, refused);
}

#[test]
fn refusals_are_expected_behind_refusals_and_what_is_expected_decides_nothing() {
    lab("expected", async |lab| {
        lab.sql("CREATE TABLE b (k bigint, v bigint CHECK (v <> 30 AND v < 100000))").await;
        let mut writer = lab.writer(&[ints("b", &["k", "v"], 0, WriteMode::Append)]).await;
        let bad = work(vec![set(0, numbered(2_000))]);
        let good = work(vec![set(0, batch(vec![int_column(0..2_000), int_column(0..2_000)]))]);
        let spoilt = work(vec![set(0, batch(vec![int_column(0..2_000), int_column((0..2_000).map(|row| row * 100))]))]);
        // What was made in a transaction that is rolled back is made again.
        lab.sql("BEGIN").await;
        assert_eq!(writer.write(&lab.client, &bad).await.unwrap().refused.len(), 1);
        lab.sql("ROLLBACK").await;
        let mut expected = Vec::new();
        for (work, refused) in [(&bad, 1), (&bad, 1), (&good, 1), (&good, 1), (&spoilt, 1_000), (&bad, 1), (&good, 1)] {
            expected.push(
                writer.tables.iter().any(|table| matches!(&table.way, tables::Way::Rows(rows) if rows.sieve.expects())),
            );
            assert_eq!(lab.write(&mut writer, work).await.refused.len(), refused);
        }
        assert!(expected.iter().all(|expects| *expects), "{expected:?}");
        let none = work(vec![set(0, batch(vec![int_column(0..2_000), int_column(100..2_100)]))]);
        for _ in 0..2 {
            assert_eq!(lab.write(&mut writer, &none).await.refused, []);
            assert!(
                !writer
                    .tables
                    .iter()
                    .any(|table| matches!(&table.way, tables::Way::Rows(rows) if rows.sieve.expects()))
            );
        }
    });
}

#[test]
fn a_row_that_something_changes_or_that_depends_on_others_is_refused_only_where_it_is_refused_among_them() {
    lab("suspicion", async |lab| {
        // Some rows look bad and are mended by a trigger; others look good and are spoilt by it.
        let create = "CREATE TABLE b (k bigint PRIMARY KEY, v bigint, CHECK (v <> 30 AND v <> 7000 AND v <> 8000));
            CREATE FUNCTION mend() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.k = 3 THEN NEW.v := 31; END IF; IF NEW.k = 5 THEN NEW.v := 30; END IF; RETURN NEW; END $$;
            CREATE TRIGGER mend BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION mend()";
        lab.sql(create).await;
        let work = work(vec![set(0, numbered(1_000))]);
        let written = lab.write_once(&[ints("b", &["k", "v"], 0, WriteMode::Append)], &work).await;
        assert_eq!(offsets(&work, &written), [105, 800, 900]);
        assert_eq!(lab.rows("SELECT v FROM b WHERE k = 3").await, ["(31)"]);
        assert_eq!(lab.rows("SELECT count(*) FROM b").await, ["(997)"]);

        // A condition that asks for other rows: 700 needs 699, which goes in before it, and 900 needs one that never comes.
        lab.sql("DROP TABLE b; DROP FUNCTION mend").await;
        let create = "CREATE TABLE b (k bigint PRIMARY KEY, v bigint);
            CREATE FUNCTION fits(k bigint) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
            RETURN k NOT IN (700, 900) OR EXISTS (SELECT FROM b WHERE b.k = fits.k - 1 AND fits.k = 700); END $$;
            ALTER TABLE b ADD CHECK (fits(k)), ADD CHECK (k <> 3)";
        lab.sql(create).await;
        let written = lab.write_once(&[ints("b", &["k", "v"], 1, WriteMode::Upsert)], &work).await;
        assert_eq!(offsets(&work, &written), [103, 1_000]);
    });
}

#[test]
fn a_row_that_is_combined_with_what_is_there_is_refused_only_where_the_sum_is() {
    lab("sums", async |lab| {
        lab.sql("CREATE TABLE b (k bigint PRIMARY KEY, v bigint CHECK (v >= 0))").await;
        // Of each key +10 and then -5, but of key 7 twice -5.
        let keys = int_column((0..1_000).map(|row| row / 2));
        let values = int_column((0..1_000).map(|row| if row % 2 == 0 && row != 14 { 10 } else { -5 }));
        let work = work(vec![set(0, batch(vec![keys, values]))]);
        let merge = WriteMode::Merge(vec![None, Some(MergeOp::Sum)]);
        let written = lab.write_once(&[ints("b", &["k", "v"], 1, merge)], &work).await;
        assert_eq!(offsets(&work, &written), [114, 115]);
        assert_eq!(lab.rows("SELECT count(*), sum(v) FROM b").await, ["(499,2495)"]);
    });
}

/// `ON CONFLICT` alone would check −5 as a balance of its own.
#[test]
fn what_is_taken_from_a_balance_is_checked_as_the_balance_that_is_left() {
    lab("taken", async |lab| {
        lab.sql("CREATE DOMAIN amount AS bigint CHECK (VALUE >= 0)").await;
        let parts = "CREATE TABLE b (k bigint PRIMARY KEY, v bigint) PARTITION BY RANGE (k);
            CREATE TABLE b1 PARTITION OF b FOR VALUES FROM (0) TO (100);
            CREATE TABLE b2 (k bigint NOT NULL, v bigint CHECK (v >= 0)); ALTER TABLE b ATTACH PARTITION b2 DEFAULT;
            ALTER TABLE b1 ADD CHECK (v >= 0)";
        for create in [
            "CREATE TABLE b (k bigint PRIMARY KEY, v bigint CHECK (v >= 0))",
            "CREATE TABLE b (k bigint PRIMARY KEY, v amount)",
            parts,
        ] {
            // Few rows go by arrays, many by the temporary table, and one by one where some are refused.
            for count in [1, 20, 3_000] {
                lab.sql(&format!("DROP TABLE IF EXISTS b; {create}")).await;
                lab.sql(&format!("INSERT INTO b SELECT k, 7 FROM generate_series(1, {count}) AS k")).await;
                let merge = WriteMode::Merge(vec![None, Some(MergeOp::Sum)]);
                let mut writer = lab.writer(&[ints("b", &["k", "v"], 1, merge)]).await;
                // Key 0 is not there, and 5 cannot be taken from nothing.
                let work = work(vec![set(0, batch(vec![int_column(0..=count), int_column((0..=count).map(|_| -5))]))]);
                let written = lab.write(&mut writer, &work).await;
                assert_eq!(offsets(&work, &written), [100], "{create}, {count} rows");
                assert_eq!(written.refused[0].sqlstate, "23514");
                assert_eq!(lab.rows("SELECT count(*), min(v), max(v) FROM b").await, [format!("({count},2,2)")]);
                let written = lab.write(&mut writer, &work).await;
                assert_eq!(written.refused.len(), usize::try_from(count).unwrap() + 1, "{create}");
                assert_eq!(lab.rows("SELECT count(*), min(v), max(v) FROM b").await, [format!("({count},2,2)")]);
            }
        }
    });
}

#[test]
fn without_the_right_to_temporary_tables_bad_rows_are_found_all_the_same() {
    alone("no_temp", async |lab| {
        lab.sql("CREATE TABLE b (k bigint PRIMARY KEY, v bigint, CHECK (k NOT IN (3, 500)))").await;
        let role = format!("role_{}", lab.schema);
        lab.sql(&format!("CREATE ROLE {role}; GRANT USAGE ON SCHEMA {} TO {role}", lab.schema)).await;
        lab.sql(&format!("GRANT SELECT, INSERT ON b TO {role}")).await;
        lab.sql(&format!("REVOKE TEMPORARY ON DATABASE \"{}_db\" FROM PUBLIC", lab.schema)).await;
        lab.sql(&format!("SET ROLE {role}")).await;
        let work = work(vec![set(0, numbered(1_000))]);
        let written = lab.write_once(&[ints("b", &["k", "v"], 0, WriteMode::Append)], &work).await;
        assert_eq!(offsets(&work, &written), [103, 600]);
        lab.sql(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await;
    });
}

#[test]
fn one_bad_row_is_found_among_many() {
    lab("one_bad", async |lab| check_modes(&lab, &[1_717]).await);
}

#[test]
fn a_few_bad_rows_are_found_among_many() {
    lab("few_bad", async |lab| check_modes(&lab, &[0, 1, 1_500, 2_999]).await);
}

#[test]
fn many_bad_rows_are_found_row_by_row() {
    let bad: Vec<i64> = (500..1_700).collect();
    lab("many_bad", async |lab| check_modes(&lab, &bad).await);
}

#[test]
fn rows_of_one_record_go_in_together_or_not_at_all() {
    lab("units", async |lab| {
        lab.sql(
            "CREATE TABLE one (k bigint, v bigint); CREATE TABLE two (k bigint PRIMARY KEY CHECK (k <> 2), v bigint)",
        )
        .await;
        let one = ints("one", &["k", "v"], 0, WriteMode::Append);
        let two = ints("two", &["k", "v"], 1, WriteMode::Upsert);
        let work = work(vec![set(0, numbered(5)), set(1, numbered(5))]);
        let written = lab.write_once(&[one, two], &work).await;
        assert_eq!(offsets(&work, &written), [102]);
        assert_eq!((written.rows.clone(), written.refused[0].table), (vec![4, 4], 1));
        for table in ["one", "two"] {
            assert_eq!(lab.rows(&format!("SELECT k FROM {table} ORDER BY k")).await, ["(0)", "(1)", "(3)", "(4)"]);
        }
    });
}

#[test]
fn a_foreign_key_refuses_and_a_deferred_one_waits_for_later_rows() {
    alone("foreign", async |lab| {
        for deferred in ["", "DEFERRABLE INITIALLY DEFERRED"] {
            lab.sql("DROP TABLE IF EXISTS child, parent; CREATE TABLE parent (id bigint PRIMARY KEY)").await;
            let create =
                format!("CREATE TABLE child (id bigint, parent bigint CONSTRAINT known REFERENCES parent {deferred})");
            lab.sql(&create).await;
            let child = ints("child", &["id", "parent"], 0, WriteMode::Append);
            let parent = ints("parent", &["id"], 0, WriteMode::Append);
            // The children come first; three have no parent at all, in a later or any table.
            let children = batch(vec![
                int_column(0..40),
                int_column((0..40).map(|row| if row % 15 == 7 { 999 } else { row % 5 })),
            ]);
            let parents = batch(vec![int_column(0..5)]);
            let specs = [child, parent];
            let order = if deferred.is_empty() { [1, 0] } else { [0, 1] };
            let sets: Vec<RowSet> = order
                .map(|table| {
                    let mut set = set(table, if table == 0 { children.clone() } else { parents.clone() });
                    // Parents are records of their own, behind the children.
                    let from = if table == 0 { 0 } else { 40 };
                    set.ordinals =
                        Some((0..u32::try_from(set.rows.num_rows()).unwrap()).map(|row| row + from).collect());
                    set
                })
                .into_iter()
                .collect();
            let work = work_of(vec![(vec![records(0, 100, 45)], sets)]);
            let written = lab.write_once(&specs, &work).await;
            assert_eq!(offsets(&work, &written), [107, 122, 137], "{deferred}");
            assert!(written.refused.iter().all(|refusal| refusal.sqlstate == "23503"), "{deferred}");
            assert_eq!(lab.rows("SELECT count(*) FROM child").await, ["(37)"]);
            assert_eq!(lab.rows("SELECT count(*) FROM parent").await, ["(5)"]);
            assert!(written.refused[0].row.contains("999"));
        }
    });
}

/// A record that is refused until a later one is there does not come after a later record of its own key.
#[test]
fn a_second_try_does_not_change_which_record_is_last() {
    lab("second_try", async |lab| {
        lab.sql("CREATE TABLE parent (id bigint PRIMARY KEY); CREATE TABLE child (id bigint PRIMARY KEY, parent bigint REFERENCES parent)").await;
        let specs =
            [ints("parent", &["id"], 0, WriteMode::Append), ints("child", &["id", "parent"], 1, WriteMode::Upsert)];
        // Record 0: key 1 refers to parent 7, which is record 2; record 1: key 1 without a parent; record 3 is bad for good.
        let parents: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let mut parent = set(0, batch(vec![int_column([7])]));
        parent.ordinals = Some(vec![2]);
        let mut child = set(1, batch(vec![int_column([1, 1]), parents]));
        child.ordinals = Some(vec![0, 1]);
        let mut bad = set(1, batch(vec![int_column([2]), int_column([8])]));
        bad.ordinals = Some(vec![3]);
        let work = work_of(vec![(vec![records(0, 100, 4)], vec![parent, child, bad])]);
        let written = lab.write_once(&specs, &work).await;
        assert_eq!(offsets(&work, &written), [103]);
        assert_eq!(written.rows, [1, 2]);
        assert_eq!(lab.rows("SELECT * FROM child").await, ["(1,)"]);
        assert_eq!(lab.rows("SELECT * FROM parent").await, ["(7)"]);
    });
}

#[test]
fn what_a_trigger_raises_is_the_rows_fault() {
    lab("triggers", async |lab| {
        lab.sql("CREATE TABLE t (k bigint, v bigint); CREATE TABLE audit (k bigint)").await;
        lab.sql(
            "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF NEW.k = 1 THEN RAISE 'one is too few'; END IF; \
               IF NEW.k = 2 THEN RAISE 'own' USING ERRCODE = 'AB123', DETAIL = 'two'; END IF; \
               INSERT INTO audit VALUES (NEW.k); NEW.v := NEW.v + 1; RETURN NEW; END $$; \
             CREATE TRIGGER guard BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION guard()",
        )
        .await;
        let spec = ints("t", &["k", "v"], 0, WriteMode::Append);
        let work = work(vec![set(0, numbered(4))]);
        let written = lab.write_once(&[spec], &work).await;
        let found = refused(&work, &written);
        assert_eq!(found[0], (101, "P0001".to_owned(), "one is too few".to_owned()));
        assert_eq!(found[1], (102, "AB123".to_owned(), "own (two)".to_owned()));
        assert_eq!(lab.rows("SELECT * FROM t ORDER BY k").await, ["(0,1)", "(3,31)"]);
        assert_eq!(lab.rows("SELECT * FROM audit ORDER BY k").await, ["(0)", "(3)"]);
    });
}

#[test]
fn a_row_without_a_partition_is_refused() {
    lab("partitioned", async |lab| {
        lab.sql("CREATE TABLE p (k bigint PRIMARY KEY, v bigint) PARTITION BY RANGE (k)").await;
        lab.sql("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (2); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (2) TO (4)").await;
        for mode in [WriteMode::Append, WriteMode::Upsert] {
            lab.sql("TRUNCATE p").await;
            let spec = ints("p", &["k", "v"], usize::from(mode.is_keyed()), mode);
            let work = work(vec![set(0, numbered(5))]);
            let written = lab.write_once(&[spec], &work).await;
            assert_eq!(offsets(&work, &written), [104]);
            assert_eq!(lab.rows("SELECT tableoid::regclass, k FROM p ORDER BY k").await.len(), 4);
        }
    });
}

#[test]
fn a_policy_refuses_single_rows() {
    lab("policy", async |lab| {
        let role = format!("pgw_policy_{}", std::process::id());
        lab.sql(&format!(
            "CREATE ROLE {role}; CREATE TABLE r (k bigint, v bigint); ALTER TABLE r ENABLE ROW LEVEL SECURITY"
        ))
        .await;
        lab.sql(&format!(
            "CREATE POLICY small ON r USING (true) WITH CHECK (k < 3); GRANT SELECT, INSERT ON r TO {role}"
        ))
        .await;
        lab.sql(&format!("GRANT USAGE, CREATE ON SCHEMA {} TO {role}; SET ROLE {role}", lab.schema)).await;
        let spec = ints("r", &["k", "v"], 0, WriteMode::Append);
        let found = check_tables(&lab.client, std::slice::from_ref(&spec), false).await.unwrap();
        assert!(found.notices[0].contains("row-level security"), "{:?}", found.notices);
        let parts = |from: u64| (vec![records(0, from, 5)], vec![set(0, numbered(5))]);
        let work = work_of(vec![parts(0), parts(10)]);
        let written = lab.write_once(&[spec], &work).await;
        assert_eq!(offsets(&work, &written), [3, 4, 13, 14]);
        assert_eq!(written.refused[0].sqlstate, "42501");
        lab.sql(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await;
        assert_eq!(lab.rows("SELECT count(*) FROM r").await, ["(6)"]);
    });
}

#[test]
fn a_null_in_the_key_is_refused() {
    lab("null_key", async |lab| {
        lab.sql("CREATE TABLE n (k bigint UNIQUE, v bigint)").await;
        let spec = ints("n", &["k", "v"], 1, WriteMode::Upsert);
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]));
        let work = work(vec![set(0, batch(vec![keys, int_column(0..3)]))]);
        let written = lab.write_once(&[spec], &work).await;
        assert_eq!(refused(&work, &written), [(101, String::new(), "column 'k' of the key is NULL".to_owned())]);
        assert_eq!(written.rows, [2]);
    });
}

#[test]
fn stop_rejects_the_transaction_and_names_the_record() {
    lab("stop", async |lab| {
        lab.sql("CREATE TABLE s (k smallint CHECK (k <> 3), v bigint)").await;
        for (rows, why) in [(numbered(5), "violates check constraint"), (numbered(40_000), "32768 is out of range")] {
            let mut spec = ints("s", &["k", "v"], 0, WriteMode::Append);
            spec.on_error = OnError::Stop;
            let mut writer = lab.writer(&[spec]).await;
            lab.sql("BEGIN").await;
            let rejected = writer.write(&lab.client, &work(vec![set(0, rows)])).await;
            lab.sql("ROLLBACK").await;
            let Err(CommitError::Rejected(error)) = rejected else { panic!("{rejected:?}") };
            assert_eq!((error.kind(), error.code()), (Kind::Data, codes::OF0004));
            assert!(error.message().starts_with("stopped at topic/0 offset "), "{error}");
            assert!(error.message().contains(why), "{error}");
        }
    });
}

#[test]
fn what_is_no_rows_fault_loses_the_transaction() {
    lab("lost", async |lab| {
        lab.sql("CREATE TABLE l (k bigint PRIMARY KEY, v bigint)").await;
        let spec = ints("l", &["k", "v"], 1, WriteMode::Upsert);
        let rejected = async |lab: &Lab, writer: &mut Writer, rows: i64| {
            lab.sql("BEGIN").await;
            match writer.write(&lab.client, &work(vec![set(0, numbered(rows))])).await {
                Err(CommitError::Rejected(error)) => error,
                other => panic!("{other:?}"),
            }
        };
        // A lock that is not granted.
        let mut writer = lab.writer(std::slice::from_ref(&spec)).await;
        let other = lab.other().await;
        other.sql("BEGIN; LOCK TABLE l").await;
        lab.sql("SET lock_timeout = 100").await;
        let error = rejected(&lab, &mut writer, 3).await;
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        lab.sql("ROLLBACK").await;
        other.sql("ROLLBACK").await;
        // A table that changed since the start.
        other.sql("ALTER TABLE l DROP COLUMN v").await;
        let error = rejected(&lab, &mut writer, 3).await;
        assert_eq!(error.kind(), Kind::Config, "{error}");
        lab.sql("ROLLBACK").await;
        other.sql("ALTER TABLE l ADD COLUMN v bigint").await;
        // A session that is ended.
        let mut writer = lab.writer(&[spec]).await;
        let pid = &lab.rows("SELECT pg_backend_pid()").await[0];
        other.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
        let error = rejected_closed(&lab, &mut writer).await;
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert_eq!(other.rows("SELECT count(*) FROM l").await, ["(0)"]);
    });
}

async fn rejected_closed(lab: &Lab, writer: &mut Writer) -> Error {
    match writer.write(&lab.client, &work(vec![set(0, numbered(20_000))])).await {
        Err(CommitError::Rejected(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_serialization_failure_in_a_trigger_is_tried_again() {
    lab("serialization", async |lab| {
        lab.sql("CREATE TABLE z (k bigint, v bigint)").await;
        lab.sql(
            "CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'again' USING ERRCODE = '40001'; END $$; \
             CREATE TRIGGER clash BEFORE INSERT ON z FOR EACH ROW EXECUTE FUNCTION clash()",
        )
        .await;
        let mut writer = lab.writer(&[ints("z", &["k", "v"], 0, WriteMode::Append)]).await;
        lab.sql("BEGIN").await;
        let rejected = writer.write(&lab.client, &work(vec![set(0, numbered(2))])).await;
        let Err(CommitError::Rejected(error)) = rejected else { panic!("{rejected:?}") };
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    });
}
