//! Append, upsert, delete, merge, insert-ignore, statements: what is in the table afterwards.

use super::lab::*;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch};
use arrow_schema::DataType;
use onceflow_engine::changes::{MergeOp, WriteMode};
use onceflow_engine::codes;
use std::sync::Arc;

#[test]
fn append_keeps_every_row_of_every_part_in_the_order_of_its_record() {
    let lab = Lab::new("CREATE TABLE a (k INTEGER, v INTEGER)");
    let spec = ints("a", &["k", "v"], 0, WriteMode::Append);
    let part = |from: u64| {
        let from_signed = i64::try_from(from).unwrap();
        let rows = pairs(&[from_signed, from_signed], &[from_signed, from_signed + 1]);
        (vec![records(0, from, 2)], vec![set(0, rows)])
    };
    let written = lab.write(&[spec], &work_of(vec![part(100), part(102), part(104)]));
    assert_eq!((written.rows, written.ignored, written.refused), (vec![6], vec![0], vec![]));
    let rows = lab.rows("SELECT v FROM a ORDER BY rowid");
    assert_eq!(rows, ["100", "101", "102", "103", "104", "105"]);
}

/// Two partitions, interleaved, in two parts: of one key the last by (partition, offset) counts.
#[test]
fn of_one_key_the_last_by_partition_and_offset_counts() {
    let lab = Lab::new(
        "CREATE TABLE u (k INTEGER PRIMARY KEY, v INTEGER, other TEXT DEFAULT 'kept');
         INSERT INTO u VALUES (1, 0, 'mine')",
    );
    let spec = ints("u", &["k", "v"], 1, WriteMode::Upsert);
    // Partition 1 comes first in arrival; partition 0's rows lie before it all the same.
    let first = (vec![records(1, 100, 3), records(0, 100, 1)], vec![set(0, pairs(&[1, 2, 1, 1], &[15, 16, 17, 9]))]);
    let second = (vec![records(0, 101, 2), records(1, 103, 1)], vec![set(0, pairs(&[1, 3, 3], &[10, 11, 18]))]);
    let written = lab.write(&[spec], &work_of(vec![first, second]));
    assert_eq!(written.refused, []);
    assert_eq!(lab.rows("SELECT * FROM u ORDER BY k"), ["1|17|mine", "2|16|kept", "3|18|kept"]);
}

#[test]
fn the_last_change_of_a_key_decides_between_row_and_delete() {
    let lab = Lab::new(
        "CREATE TABLE d (k INTEGER PRIMARY KEY, v INTEGER UNIQUE);
         INSERT INTO d VALUES (1, 1), (2, 2), (3, 3), (4, 4)",
    );
    let spec = ints("d", &["k", "v"], 1, WriteMode::Upsert);
    let mut changes = set(0, pairs(&[1, 2, 2, 5, 5, 3, 6], &[0, 0, 20, 50, 0, 0, 1]));
    changes.deletes = Some(vec![true, true, false, false, true, true, false]);
    let written = lab.write(&[spec], &work(vec![changes]));
    assert_eq!(written.refused, []);
    // Key 6 takes over the unique value of key 1, which is deleted first.
    assert_eq!(lab.rows("SELECT * FROM d ORDER BY k"), ["2|20", "4|4", "6|1"]);
}

#[test]
fn a_delete_of_a_composite_text_key_takes_that_row_alone() {
    let lab = Lab::new(
        "CREATE TABLE d (a TEXT, b TEXT, v INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
         INSERT INTO d VALUES ('x', 'yz', 1), ('xy', 'z', 2), ('x', 'Yz', 3)",
    );
    let columns = [("a", DataType::Utf8, "STRING"), ("b", DataType::Utf8, "STRING"), ("v", DataType::Int64, "BIGINT")];
    let spec = table("d", &columns, 2, WriteMode::Upsert);
    let rows = batch(vec![text_column(&["x", "xy", "x"]), text_column(&["yz", "z", "Yz"]), int_column([0, 20, 30])]);
    let mut changes = set(0, rows);
    changes.deletes = Some(vec![true, false, false]);
    lab.write(&[spec], &work(vec![changes]));
    assert_eq!(lab.rows("SELECT v FROM d ORDER BY v"), ["20", "30"]);
}

#[test]
fn a_key_that_sqlite_compares_without_case_is_one_key_here_too() {
    let lab = Lab::new("CREATE TABLE c (k TEXT COLLATE NOCASE PRIMARY KEY, v INTEGER); INSERT INTO c VALUES ('A', 0)");
    let columns = [("k", DataType::Utf8, "STRING"), ("v", DataType::Int64, "BIGINT")];
    let spec = table("c", &columns, 1, WriteMode::Upsert);
    let rows = batch(vec![text_column(&["b", "a", "B", "A"]), int_column([1, 2, 3, 4])]);
    lab.write(&[spec], &work(vec![set(0, rows)]));
    assert_eq!(lab.rows("SELECT lower(k), v FROM c ORDER BY 1"), ["a|4", "b|3"]);
}

#[test]
fn a_table_that_is_all_key_keeps_what_is_there() {
    let lab = Lab::new("CREATE TABLE k (a INTEGER, b INTEGER, PRIMARY KEY (b, a)); INSERT INTO k VALUES (1, 1)");
    let spec = ints("k", &["a", "b"], 2, WriteMode::Upsert);
    let written = lab.write(&[spec], &work(vec![set(0, pairs(&[1, 1, 2, 1], &[1, 2, 1, 2]))]));
    assert_eq!(written.refused, []);
    assert_eq!(lab.rows("SELECT * FROM k ORDER BY 1, 2"), ["1|1", "1|2", "2|1"]);
}

#[test]
fn ignored_rows_are_counted() {
    let lab = Lab::new("CREATE TABLE i (k INTEGER PRIMARY KEY, v INTEGER UNIQUE); INSERT INTO i VALUES (1, 1)");
    let mut owner = lab.owner(&[ints("i", &["k", "v"], 1, WriteMode::InsertIgnore)]);
    let work = owner.rows(pairs(&[1, 2, 2, 3, 4], &[9, 2, 3, 1, 4]));
    let written = owner.commit(&work).unwrap();
    assert_eq!((written.rows, written.ignored), (vec![2], vec![3]));
    assert_eq!(lab.rows("SELECT * FROM i ORDER BY k"), ["1|1", "2|2", "4|4"]);
    let counts = "SELECT tables ->> '$[0].written', tables ->> '$[0].ignored', tables ->> '$[0].prepared', used
        FROM onceflow_commit";
    assert_eq!(lab.row(counts), "2|3|5|5");
}

const OPS: [MergeOp; 7] =
    [MergeOp::Sum, MergeOp::Min, MergeOp::Max, MergeOp::Last, MergeOp::First, MergeOp::Or, MergeOp::And];

/// The same rows, all at once or in many commits, give the same, and what plain code computes.
#[test]
fn merging_does_not_depend_on_how_rows_come_together() {
    let columns = ["k", "sum", "min", "max", "last", "first", "bor", "band"];
    let mut ops: Vec<Option<MergeOp>> = vec![None];
    ops.extend(OPS.map(Some));
    let spec = ints("m", &columns, 1, WriteMode::Merge(ops));
    let value = |row: usize, column: usize| -> Option<i64> {
        let seed = (row * 7 + column * 13) % 11;
        (seed != 0).then_some(i64::try_from(seed).unwrap() - 4)
    };
    let keys: Vec<i64> = (0..60).map(|row| row * 17 % 7).collect();
    let mut all = vec![int_column(keys.iter().copied())];
    all.extend(
        (1..8).map(|column| Arc::new((0..60).map(|row| value(row, column)).collect::<Int64Array>()) as ArrayRef),
    );
    let all = batch(all);
    let create: Vec<String> = columns.iter().map(|column| format!("\"{column}\" INTEGER")).collect();
    let mut seen = Vec::new();
    for size in [60, 7, 1] {
        let lab = Lab::new(&format!("CREATE TABLE m ({}, PRIMARY KEY (k))", create.join(", ")));
        let mut owner = lab.owner(std::slice::from_ref(&spec));
        for from in (0..60).step_by(size) {
            let work = owner.rows(all.slice(from, size.min(60 - from)));
            assert_eq!(owner.commit(&work).unwrap().refused, []);
        }
        seen.push(lab.rows("SELECT * FROM m ORDER BY k"));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let of_key = |key: i64, column: usize| {
        let rows = (0..60).filter(|row| keys[*row] == key);
        rows.map(|row| value(row, column)).collect::<Vec<_>>()
    };
    for key in 0..7 {
        let some = |column| of_key(key, column).into_iter().flatten();
        let shown = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let expected = [
            key.to_string(),
            some(1).sum::<i64>().to_string(),
            shown(some(2).min()),
            shown(some(3).max()),
            shown(*of_key(key, 4).last().unwrap()),
            shown(of_key(key, 5)[0]),
            shown(some(6).reduce(|a, b| a | b)),
            shown(some(7).reduce(|a, b| a & b)),
        ];
        assert_eq!(seen[0][usize::try_from(key).unwrap()], expected.join("|"));
    }
}

#[test]
fn a_sum_beyond_its_type_is_refused_and_the_others_go_in() {
    let lab = Lab::new(
        "CREATE TABLE m (k INTEGER PRIMARY KEY, n INTEGER, d DECIMAL(4, 2), x REAL, b INTEGER);
         INSERT INTO m VALUES (1, 9223372036854775800, 99.98, 0.5, 0)",
    );
    let columns = [
        ("k", DataType::Int64, "BIGINT"),
        ("n", DataType::Int64, "BIGINT"),
        ("d", DataType::Decimal128(4, 2), "DECIMAL(4, 2)"),
        ("x", DataType::Float64, "DOUBLE"),
        ("b", DataType::Boolean, "BOOLEAN"),
    ];
    let sum = Some(MergeOp::Sum);
    let spec = table("m", &columns, 1, WriteMode::Merge(vec![None, sum, sum, sum, Some(MergeOp::Or)]));
    let decimals = arrow_array::Decimal128Array::from(vec![1, 0, 2, 1]).with_precision_and_scale(4, 2).unwrap();
    let rows = batch(vec![
        int_column([1, 1, 1, 2]),
        int_column([7, 1, 0, i64::MAX]),
        Arc::new(decimals),
        Arc::new(Float64Array::from(vec![0.25, 0.0, 0.0, 1.0])),
        Arc::new(BooleanArray::from(vec![true, false, false, false])),
    ]);
    let work = work(vec![set(0, rows)]);
    let written = lab.write(&[spec], &work);
    assert_eq!(offsets(&work, &written), [101, 102]);
    assert!(written.refused.iter().all(|refusal| refusal.code == codes::OF0822), "{:?}", written.refused);
    assert!(written.refused[0].reason.contains("'n'") && written.refused[1].reason.contains("DECIMAL(4, 2)"));
    let rows = lab.rows("SELECT k, n, printf('%.2f', d), x, b FROM m ORDER BY k");
    assert_eq!(rows, [format!("1|{}|99.99|0.75|1", i64::MAX), format!("2|{}|0.01|1.0|0", i64::MAX)]);
}

#[test]
fn a_users_statement_runs_once_a_row_in_order_and_finds_as_many_rows_as_it_must() {
    let lab = Lab::new(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER, log TEXT DEFAULT '');
         INSERT INTO accounts (id, balance) VALUES (1, 10), (2, 20)",
    );
    let sql = "UPDATE accounts SET balance = balance + :v, log = log || :v || ',' WHERE id = :k";
    for (expect, refused) in [(Some(1), vec![102]), (None, vec![])] {
        let mut owner = lab.owner(&[ints("s", &["k", "v"], 0, statement(sql, expect))]);
        let from = owner.next(0);
        let work = owner.rows(pairs(&[1, 2, 3, 1], &[5, 7, 9, -1]));
        let written = owner.commit(&work).unwrap();
        let found: Vec<u64> = offsets(&work, &written).iter().map(|offset| offset - from + FIRST).collect();
        assert_eq!(found, refused);
        assert!(written.refused.iter().all(|refusal| refusal.code == codes::OF0824));
        assert_eq!(written.rows, [4 - refused.len() as u64]);
    }
    assert_eq!(lab.rows("SELECT * FROM accounts"), ["1|18|5,-1,5,-1,", "2|34|7,7,"]);
}

#[test]
fn several_tables_are_one_transaction_in_the_order_of_the_branch() {
    let lab = Lab::new(
        "CREATE TABLE log (k INTEGER, v INTEGER);
         CREATE TABLE last (k INTEGER PRIMARY KEY, v INTEGER);
         CREATE TABLE total (k INTEGER PRIMARY KEY, v INTEGER);",
    );
    let tables = [
        ints("log", &["k", "v"], 0, WriteMode::Append),
        ints("last", &["k", "v"], 1, WriteMode::Upsert),
        ints("total", &["k", "v"], 1, WriteMode::Merge(vec![None, Some(MergeOp::Sum)])),
        ints("seen", &["k", "v"], 0, statement("UPDATE last SET v = -v WHERE k = :k AND v = :v", None)),
    ];
    let rows: RecordBatch = pairs(&[1, 2, 1], &[10, 20, 30]);
    let mut grouped = set(2, pairs(&[1, 2], &[40, 20]));
    grouped.ordinals = None;
    let sets = vec![set(0, rows.clone()), set(1, rows.clone()), grouped, set(3, rows)];
    let written = lab.write(&tables, &work(sets));
    assert_eq!((written.rows[0], written.rows[2], written.rows[3]), (3, 2, 3));
    assert_eq!(lab.row("SELECT count(*), sum(v) FROM log"), "3|60");
    // The statement runs after the rows of its epoch are in.
    assert_eq!(lab.rows("SELECT * FROM last"), ["1|-30", "2|-20"]);
    assert_eq!(lab.rows("SELECT * FROM total"), ["1|40", "2|20"]);
    assert_eq!(lab.row("SELECT json_array_length(tables) FROM onceflow_commit"), "4");
}
