//! Append, upsert, delete, merge, insert-ignore, statements: what is in the table afterwards.

use super::*;
use crate::changes::MergeOp;
use arrow_array::{Array, BooleanArray, Float64Array};

fn pairs(keys: &[i64], values: &[i64]) -> RecordBatch {
    batch(vec![int_column(keys.iter().copied()), int_column(values.iter().copied())])
}

#[test]
fn append_keeps_every_row_of_every_part() {
    lab("append", async |lab| {
        lab.sql("CREATE TABLE a (k bigint, v bigint)").await;
        let spec = ints("a", &["k", "v"], 0, WriteMode::Append);
        let part = |from: i64| {
            let rows = pairs(&[from, from], &[from, from + 1]);
            (vec![records(0, u64::try_from(from).unwrap(), 2)], vec![set(0, rows)])
        };
        let written = lab.write_once(&[spec], &work_of(vec![part(10), part(20), part(30)])).await;
        assert_eq!((written.rows, written.ignored, written.refused), (vec![6], vec![0], vec![]));
        let rows = lab.rows("SELECT * FROM a ORDER BY ctid").await;
        assert_eq!(rows, ["(10,10)", "(10,11)", "(20,20)", "(20,21)", "(30,30)", "(30,31)"]);
    });
}

/// Two partitions, interleaved, in two parts: of one key the last by (partition, offset) counts.
#[test]
fn of_one_key_the_last_by_partition_and_offset_counts() {
    lab("upsert_order", async |lab| {
        lab.sql("CREATE TABLE u (k bigint PRIMARY KEY, v bigint, other text DEFAULT 'kept'); INSERT INTO u VALUES (1, 0, 'mine')").await;
        let spec = ints("u", &["k", "v"], 1, WriteMode::Upsert);
        // Partition 1 comes first in arrival; partition 0's rows lie before it all the same.
        let first = (vec![records(1, 5, 3), records(0, 9, 1)], vec![set(0, pairs(&[1, 2, 1, 1], &[15, 16, 17, 9]))]);
        let second = (vec![records(0, 10, 2), records(1, 8, 1)], vec![set(0, pairs(&[1, 3, 3], &[10, 11, 18]))]);
        let written = lab.write_once(&[spec], &work_of(vec![first, second])).await;
        assert_eq!(written.rows, [7]);
        assert_eq!(lab.rows("SELECT * FROM u ORDER BY k").await, ["(1,17,mine)", "(2,16,kept)", "(3,18,kept)"]);
    });
}

#[test]
fn the_last_change_of_a_key_decides_between_row_and_delete() {
    lab("deletes", async |lab| {
        lab.sql("CREATE TABLE d (k bigint PRIMARY KEY, v bigint UNIQUE); INSERT INTO d VALUES (1, 1), (2, 2), (3, 3), (4, 4)").await;
        let spec = ints("d", &["k", "v"], 1, WriteMode::Upsert);
        let mut set = set(0, pairs(&[1, 2, 2, 5, 5, 3, 6], &[0, 0, 20, 50, 0, 0, 1]));
        set.deletes = Some(vec![true, true, false, false, true, true, false]);
        let written = lab.write_once(&[spec], &work(vec![set])).await;
        assert_eq!((written.rows, written.refused), (vec![7], vec![]));
        // Key 6 takes over the unique value of key 1, which is deleted first.
        assert_eq!(lab.rows("SELECT * FROM d ORDER BY k").await, ["(2,20)", "(4,4)", "(6,1)"]);
    });
}

#[test]
fn new_keys_go_in_by_copy_and_known_ones_are_updated() {
    lab("optimism", async |lab| {
        lab.sql("CREATE TABLE o (k bigint PRIMARY KEY, v bigint)").await;
        let spec = ints("o", &["k", "v"], 1, WriteMode::Upsert);
        let mut writer = lab.writer(&[spec]).await;
        for (count, from) in [(20_000, 0), (20_000, 10_000), (300, 0), (5_000, 25_000), (20_000, 5_000)] {
            let keys: Vec<i64> = (from..from + count).rev().collect();
            let values: Vec<i64> = keys.iter().map(|key| key * 1_000 + from).collect();
            let written = lab.write(&mut writer, &work(vec![set(0, pairs(&keys, &values))])).await;
            assert_eq!((written.rows, written.refused.len()), (vec![u64::try_from(count).unwrap()], 0));
            let ok =
                format!("SELECT count(*) FROM o WHERE k >= {from} AND k < {} AND v = k * 1000 + {from}", from + count);
            assert_eq!(lab.rows(&ok).await, [format!("({count})")]);
        }
        assert_eq!(lab.rows("SELECT count(*), min(k), max(k) FROM o").await, ["(30000,0,29999)"]);
    });
}

#[test]
fn the_temporary_table_is_empty_each_time() {
    lab("stage", async |lab| {
        lab.sql("CREATE TABLE s (k bigint PRIMARY KEY, v bigint)").await;
        let spec = ints("s", &["k", "v"], 1, WriteMode::Upsert);
        let mut writer = lab.writer(&[spec]).await;
        for statements in &mut writer.tables {
            let tables::Way::Rows(statements) = &mut statements.way else { panic!("rows") };
            statements.insert_unnest = None;
        }
        lab.sql("BEGIN").await;
        for from in [0, 3] {
            let rows = pairs(&[from, from + 1], &[7, 8]);
            writer.write(&lab.client, &work(vec![set(0, rows)])).await.unwrap();
        }
        lab.sql("DELETE FROM s; COMMIT; BEGIN").await;
        writer.write(&lab.client, &work(vec![set(0, pairs(&[9], &[9]))])).await.unwrap();
        lab.sql("ROLLBACK; BEGIN").await;
        writer.write(&lab.client, &work(vec![set(0, pairs(&[10], &[10]))])).await.unwrap();
        lab.sql("COMMIT").await;
        assert_eq!(lab.rows("SELECT * FROM s").await, ["(10,10)"]);
    });
}

#[test]
fn a_table_that_is_all_key_keeps_what_is_there() {
    lab("all_key", async |lab| {
        lab.sql("CREATE TABLE k (a bigint, b bigint, PRIMARY KEY (b, a)); INSERT INTO k VALUES (1, 1)").await;
        let spec = ints("k", &["a", "b"], 2, WriteMode::Upsert);
        let written = lab.write_once(&[spec], &work(vec![set(0, pairs(&[1, 1, 2, 1], &[1, 2, 1, 2]))])).await;
        assert_eq!(written.rows, [4]);
        assert_eq!(lab.rows("SELECT * FROM k ORDER BY 1").await, ["(1,1)", "(1,2)", "(2,1)"]);
    });
}

#[test]
fn ignored_rows_are_counted() {
    lab("ignore", async |lab| {
        lab.sql("CREATE TABLE i (k bigint PRIMARY KEY, v bigint UNIQUE); INSERT INTO i VALUES (1, 1)").await;
        let spec = ints("i", &["k", "v"], 1, WriteMode::InsertIgnore);
        let written = lab.write_once(&[spec], &work(vec![set(0, pairs(&[1, 2, 2, 3, 4], &[9, 2, 3, 1, 4]))])).await;
        assert_eq!((written.rows, written.ignored), (vec![2], vec![3]));
        assert_eq!(lab.rows("SELECT * FROM i ORDER BY k").await, ["(1,1)", "(2,2)", "(4,4)"]);
        let keyless = ints("i", &["k", "v"], 0, WriteMode::InsertIgnore);
        let written = lab.write_once(&[keyless], &work(vec![set(0, pairs(&[4, 5], &[5, 5]))])).await;
        assert_eq!((written.rows, written.ignored), (vec![1], vec![1]));
    });
}

const OPS: [MergeOp; 7] =
    [MergeOp::Sum, MergeOp::Min, MergeOp::Max, MergeOp::Last, MergeOp::First, MergeOp::Or, MergeOp::And];

/// The same rows, all at once or one write each, give the same.
#[test]
fn merging_does_not_depend_on_how_rows_come_together() {
    lab("merge", async |lab| {
        let columns = ["k", "sum", "min", "max", "last", "first", "bor", "band"];
        let mut ops: Vec<Option<MergeOp>> = vec![None];
        ops.extend(OPS.map(Some));
        let spec = ints("m", &columns, 1, WriteMode::Merge(ops));
        let value = |row: usize, column: usize| -> Option<i64> {
            let seed = (row * 7 + column * 13) % 11;
            (seed != 0).then_some(i64::try_from(seed).unwrap() - 4)
        };
        let keys: Vec<i64> = (0..60).map(|row| row * 17 % 7).collect();
        let mut all = vec![int_column(keys)];
        all.extend(
            (1..8).map(|column| Arc::new((0..60).map(|row| value(row, column)).collect::<Int64Array>()) as ArrayRef),
        );
        let all = batch(all);
        let mut seen = Vec::new();
        // A table with a condition is written with other statements.
        for (step, more) in
            [(60, ""), (7, ""), (1, ""), (60, ", CHECK (k >= 0)"), (7, ", CHECK (k >= 0)"), (1, ", CHECK (k >= 0)")]
        {
            let columns: Vec<String> = columns.iter().map(|column| format!("\"{column}\" bigint")).collect();
            let create = format!("CREATE TABLE m ({}, PRIMARY KEY (k){more})", columns.join(", "));
            lab.sql(&format!("DROP TABLE IF EXISTS m; {create}")).await;
            let mut writer = lab.writer(std::slice::from_ref(&spec)).await;
            for from in (0..60).step_by(step) {
                let rows = all.slice(from, step.min(60 - from));
                let written = lab.write(&mut writer, &work(vec![set(0, rows)])).await;
                assert_eq!(written.refused, []);
            }
            seen.push(lab.rows("SELECT * FROM m ORDER BY k").await);
        }
        assert_eq!(seen[0].len(), 7);
        assert!(seen.iter().all(|rows| *rows == seen[0]), "{seen:?}");
    });
}

#[test]
fn other_types_merge_like_the_server_does() {
    lab("merge_types", async |lab| {
        let types = [DataType::Utf8, DataType::Float64, DataType::Boolean];
        let sql = "CREATE TABLE m (k bigint PRIMARY KEY, t text, f double precision, b boolean); INSERT INTO m VALUES (1, 'b', 1, false)";
        let texts = ["a", "B", "ä"];
        let floats = [f64::NAN, -1.0, 2.0];
        let check = async |op: MergeOp, expected: &str| {
            lab.sql("DROP TABLE IF EXISTS m").await;
            lab.sql(sql).await;
            let truth = if matches!(op, MergeOp::Min | MergeOp::Max) { op } else { MergeOp::Or };
            let columns = [
                ("k", DataType::Int64, "BIGINT"),
                ("t", types[0].clone(), "STRING"),
                ("f", types[1].clone(), "DOUBLE"),
                ("b", types[2].clone(), "BOOLEAN"),
            ];
            let spec = table("m", &columns, 1, WriteMode::Merge(vec![None, Some(op), Some(op), Some(truth)]));
            let rows = batch(vec![
                int_column([1, 1, 1]),
                text_column(&texts),
                Arc::new(Float64Array::from(floats.to_vec())),
                Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            ]);
            lab.write_once(&[spec], &work(vec![set(0, rows)])).await;
            assert_eq!(lab.rows("SELECT * FROM m").await, [expected], "{op:?}");
        };
        check(MergeOp::Min, "(1,B,-1,f)").await;
        check(MergeOp::Max, "(1,ä,NaN,t)").await;
        check(MergeOp::Last, "(1,ä,2,t)").await;
        check(MergeOp::First, "(1,b,1,t)").await;
    });
}

#[test]
fn a_sum_that_overflows_refuses_the_row_that_is_to_blame() {
    lab("overflow", async |lab| {
        lab.sql("CREATE TABLE m (k bigint PRIMARY KEY, small smallint, big bigint)").await;
        lab.sql("INSERT INTO m VALUES (1, 32000, 0), (2, 0, 9223372036854775000)").await;
        let sum = Some(MergeOp::Sum);
        let spec = ints("m", &["k", "small", "big"], 1, WriteMode::Merge(vec![None, sum, sum]));
        // Rows of one epoch are combined first: key 2 overflows on the way, and not in sum.
        let rows = batch(vec![
            int_column([1, 1, 2, 2, 2, 3, 3]),
            int_column([500, 500, 1, 1, 1, 30_000, 30_000]),
            int_column([0, 0, 800, 800, -800, 1, 1]),
        ]);
        let work = work(vec![set(0, rows)]);
        let written = lab.write_once(&[spec], &work).await;
        let found = refused(&work, &written);
        let offsets: Vec<u64> = found.iter().map(|refused| refused.0).collect();
        assert_eq!(offsets, [101, 106], "{found:?}");
        assert!(found.iter().all(|refused| refused.1 == "22003"), "{found:?}");
        assert_eq!(written.rows, [5]);
        let rows = lab.rows("SELECT * FROM m ORDER BY k").await;
        assert_eq!(rows, ["(1,32500,0)", "(2,3,9223372036854775800)", "(3,30000,1)"]);
    });
}

#[test]
fn keys_are_equal_when_the_server_says_so() {
    lab("loose", async |lab| {
        lab.sql("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public").await;
        lab.sql("CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false)").await;
        let kinds = [
            ("public.citext", ["Key", "kEY", "other"]),
            ("char(5)", ["ab", "ab ", "b"]),
            ("text COLLATE lax", ["Straße", "straße", "x"]),
            (
                "uuid",
                [
                    "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
                    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                    "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                ],
            ),
            ("inet", ["10.0.0.1/32", "10.0.0.1", "10.0.0.2"]),
            ("jsonb", ["{\"a\":1}", "{\"a\": 1}", "{}"]),
        ];
        for (kind, [one, same, other]) in kinds {
            for way in ["upsert", "merge"] {
                lab.sql(&format!("DROP TABLE IF EXISTS l; CREATE TABLE l (k {kind} PRIMARY KEY, v bigint)")).await;
                let mode =
                    if way == "merge" { WriteMode::Merge(vec![None, Some(MergeOp::Sum)]) } else { WriteMode::Upsert };
                let spec = table("l", &[("k", DataType::Utf8, "STRING"), ("v", DataType::Int64, "BIGINT")], 1, mode);
                let rows = batch(vec![text_column(&[other, same, one, same, one]), int_column([1, 2, 4, 8, 16])]);
                let written = lab.write_once(&[spec], &work(vec![set(0, rows)])).await;
                assert_eq!((written.rows, written.refused), (vec![5], vec![]), "{kind} {way}");
                let found = lab.rows("SELECT v FROM l ORDER BY v").await;
                let expected = if way == "merge" { ["(1)", "(30)"] } else { ["(1)", "(16)"] };
                assert_eq!(found, expected, "{kind} {way}");
            }
        }
    });
}

#[test]
fn equal_floats_are_one_key() {
    lab("float_keys", async |lab| {
        lab.sql("CREATE TABLE f (k double precision PRIMARY KEY, v bigint)").await;
        let spec =
            table("f", &[("k", DataType::Float64, "DOUBLE"), ("v", DataType::Int64, "BIGINT")], 1, WriteMode::Upsert);
        let keys = Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0]);
        let written = lab.write_once(&[spec], &work(vec![set(0, batch(vec![Arc::new(keys), int_column(1..6)]))])).await;
        assert_eq!(written.refused, []);
        assert_eq!(lab.rows("SELECT v FROM f ORDER BY k").await, ["(2)", "(5)", "(4)"]);
    });
}

#[test]
fn statements_are_executed_in_the_order_of_the_records() {
    lab("statement", async |lab| {
        lab.sql("CREATE TABLE acc (id text PRIMARY KEY, balance numeric(10, 2), log text DEFAULT '')").await;
        lab.sql("INSERT INTO acc VALUES ('a', 0), ('b', 0)").await;
        let sql = "UPDATE acc SET balance = balance + :delta, log = log || ',' || :delta::bigint::text -- :x\n WHERE id = :account";
        let mode = WriteMode::Statement { sql: sql.to_owned(), expect_rows: Some(1), place: place() };
        let spec =
            table("acc", &[("account", DataType::Utf8, "STRING"), ("delta", DataType::Int64, "BIGINT")], 0, mode);
        let accounts = ["a", "b", "nobody", "a", "b"];
        let first =
            (vec![records(1, 0, 3)], vec![set(0, batch(vec![text_column(&accounts[..3]), int_column([1, 2, 3])]))]);
        let second =
            (vec![records(0, 7, 2)], vec![set(0, batch(vec![text_column(&accounts[3..]), int_column([4, 5])]))]);
        let work = work_of(vec![first, second]);
        let written = lab.write_once(&[spec], &work).await;
        assert_eq!(written.rows, [4]);
        let found = refused(&work, &written);
        assert_eq!(
            found,
            [(2, String::new(), "the statement touched 0 rows, and 'write.expect-rows' is 1".to_owned())]
        );
        assert_eq!(written.refused[0].code, codes::OF0751);
        assert_eq!(lab.rows("SELECT * FROM acc ORDER BY id").await, ["(a,5.00,\",4,1\")", "(b,7.00,\",5,2\")"]);
    });
}

#[test]
fn a_statement_may_be_a_query_or_cast_its_parameters() {
    lab("statement_kinds", async |lab| {
        lab.sql("CREATE TABLE ips (ip inet, n numeric); CREATE TYPE mood AS ENUM ('ok')").await;
        lab.sql("CREATE FUNCTION put(i inet, m mood) RETURNS void LANGUAGE sql AS 'INSERT INTO ips VALUES (i, 1)'")
            .await;
        let text = |name| (name, DataType::Utf8, "STRING");
        let statement = |sql: &str| WriteMode::Statement { sql: sql.to_owned(), expect_rows: None, place: place() };
        let insert = table(
            "one",
            &[text("ip"), ("f", DataType::Float64, "DOUBLE")],
            0,
            statement("INSERT INTO ips VALUES (:ip, :f::float8)"),
        );
        let call = table("two", &[text("ip"), text("mood")], 0, statement("SELECT put(:ip, :mood)"));
        let work = work(vec![
            set(0, batch(vec![text_column(&["::1", "bad"]), Arc::new(Float64Array::from(vec![Some(0.5), None]))])),
            set(1, batch(vec![text_column(&["::2", "::3"]), text_column(&["ok", "ok"])])),
        ]);
        let written = lab.write_once(&[insert, call], &work).await;
        // The second record is refused by the first statement, so its second one has no effect either.
        assert_eq!(offsets(&work, &written), [101]);
        assert_eq!(written.rows, [1, 1]);
        assert_eq!(lab.rows("SELECT * FROM ips ORDER BY 1").await, ["(::1,0.5)", "(::2,1)"]);
    });
}

#[test]
fn grouped_rows_are_units_of_their_own() {
    lab("grouped", async |lab| {
        lab.sql("CREATE TABLE g (k bigint PRIMARY KEY, n bigint CHECK (n < 100))").await;
        let spec = ints("g", &["k", "n"], 1, WriteMode::Merge(vec![None, Some(MergeOp::Sum)]));
        let mut set = set(0, pairs(&[1, 2, 3], &[5, 500, 7]));
        set.ordinals = None;
        let work = work_of(vec![(vec![records(0, 0, 900)], vec![set])]);
        let written = lab.write_once(&[spec], &work).await;
        assert_eq!(written.rows, [2]);
        assert!(written.refused[0].unit.is_grouped());
        assert_eq!(written.refused[0].row, "{\"k\": 2, \"n\": 500}");
        assert_eq!(lab.rows("SELECT * FROM g ORDER BY k").await, ["(1,5)", "(3,7)"]);
    });
}

#[test]
fn rows_lie_in_slices_of_larger_arrays() {
    lab("slices", async |lab| {
        lab.sql("CREATE TABLE s (k bigint, t text)").await;
        let spec =
            table("s", &[("k", DataType::Int64, "BIGINT"), ("t", DataType::Utf8, "STRING")], 0, WriteMode::Append);
        let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
        let texts = text_column(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let all = batch(vec![int_column(0..100), texts]);
        lab.write_once(&[spec], &work(vec![set(0, all.slice(37, 2))])).await;
        assert_eq!(all.column(0).len(), 100);
        assert_eq!(lab.rows("SELECT * FROM s ORDER BY k").await, ["(37,n37)", "(38,n38)"]);
    });
}
