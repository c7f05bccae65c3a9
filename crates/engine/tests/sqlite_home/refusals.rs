//! Rows that the database refuses: found, left out with their records, everything else in; and what is no row's fault.

use super::lab::*;
use arrow_array::RecordBatch;
use onceflow_engine::Kind;
use onceflow_engine::changes::{OnError, RowSet, WriteMode};
use onceflow_engine::codes;
use onceflow_engine::home::CommitError;
use std::collections::BTreeSet;

fn numbered(count: i64) -> RecordBatch {
    let (keys, values): (Vec<i64>, Vec<i64>) = (0..count).map(|row| (row, row * 10)).unzip();
    pairs(&keys, &values)
}

/// Writes rows of which some are bad, in every mode, and looks that exactly those are dead letters.
fn check_modes(count: i64, bad: &[i64]) {
    let list = bad.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let insert = statement("INSERT INTO b VALUES (:k, :v)", Some(1));
    let merge = WriteMode::Merge(vec![None, None]);
    for mode in [WriteMode::Append, WriteMode::Upsert, merge, WriteMode::InsertIgnore, insert] {
        // A bad row is found in a table: a list that long would make the check itself slow.
        let lab = Lab::new(&format!(
            "CREATE TABLE b (k INTEGER PRIMARY KEY, v INTEGER); CREATE TABLE bad (k INTEGER PRIMARY KEY);
             INSERT INTO bad SELECT value FROM json_each('[{list}]');
             CREATE TRIGGER fine BEFORE INSERT ON b WHEN NEW.k IN (SELECT k FROM bad) BEGIN
               SELECT RAISE(ABORT, 'not fine'); END"
        ));
        let spec = ints("b", &["k", "v"], usize::from(mode.is_keyed()), mode.clone());
        let work = work(vec![set(0, numbered(count))]);
        let written = lab.write(&[spec], &work);
        let found: BTreeSet<i64> =
            offsets(&work, &written).iter().map(|offset| i64::try_from(offset - FIRST).unwrap()).collect();
        assert_eq!(found, bad.iter().copied().collect(), "{mode:?}");
        let left = u64::try_from(count).unwrap() - bad.len() as u64;
        assert_eq!(written.rows, [left], "{mode:?}");
        assert_eq!(lab.row("SELECT count(*), count(DISTINCT k) FROM b"), format!("{left}|{left}"), "{mode:?}");
        let dead = bad.len();
        let letters = "SELECT count(*), min(sqlstate), min(reason), target_table, min(code) FROM onceflow_dead_letter";
        assert_eq!(lab.row(letters), format!("{dead}|SQLITE_CONSTRAINT_TRIGGER|not fine|b|OF0820"));
        let first = "SELECT \"row\", CAST(value AS TEXT) FROM onceflow_dead_letter ORDER BY id LIMIT 1";
        let at = FIRST + u64::try_from(bad[0]).unwrap();
        assert_eq!(lab.row(first), format!("{{\"k\": {}, \"v\": {}}}|value {at}", bad[0], bad[0] * 10));
        assert_eq!(lab.row("SELECT records, used, dead FROM onceflow_commit"), format!("{count}|{left}|{dead}"));
    }
}

#[test]
fn one_bad_row_is_found_among_many() {
    check_modes(3_000, &[1_717]);
}

#[test]
fn a_few_bad_rows_are_found_among_many() {
    check_modes(3_000, &[0, 1, 1_500, 2_999]);
}

#[test]
fn many_bad_rows_are_found_row_by_row() {
    let bad: Vec<i64> = (500..1_700).collect();
    check_modes(3_000, &bad);
}

#[test]
fn a_dead_letter_has_its_record_and_the_databases_own_words() {
    let lab = Lab::new("CREATE TABLE t (k INTEGER, v INTEGER CONSTRAINT positive CHECK (v > 0))");
    lab.write(&[ints("t", &["k", "v"], 0, WriteMode::Append)], &work(vec![set(0, pairs(&[7, 8], &[0, 1]))]));
    let letter =
        "SELECT source, topic, \"partition\", \"offset\", \"timestamp\", CAST(key AS TEXT), CAST(value AS TEXT), code,
        reason, sqlstate, place, target_table, \"row\" FROM onceflow_dead_letter";
    let expected = "source|topic|0|100|2023-11-14T22:13:20.000Z|key|value 100|OF0820|CHECK constraint failed: positive|\
        SQLITE_CONSTRAINT_CHECK|test.sql:1:1|t|{\"k\": 7, \"v\": 0}";
    assert_eq!(lab.row(letter), expected);
    assert_eq!(lab.rows("SELECT k FROM t"), ["8"]);
}

#[test]
fn rows_of_one_record_go_in_together_or_not_at_all() {
    let lab = Lab::new(
        "CREATE TABLE one (k INTEGER, v INTEGER); CREATE TABLE two (k INTEGER PRIMARY KEY CHECK (k <> 2), v INTEGER)",
    );
    let one = ints("one", &["k", "v"], 0, WriteMode::Append);
    let two = ints("two", &["k", "v"], 1, WriteMode::Upsert);
    let work = work(vec![set(0, numbered(5)), set(1, numbered(5))]);
    let written = lab.write(&[one, two], &work);
    assert_eq!(offsets(&work, &written), [102]);
    assert_eq!((written.rows.clone(), written.refused[0].table), (vec![4, 4], 1));
    for table in ["one", "two"] {
        assert_eq!(lab.rows(&format!("SELECT k FROM {table} ORDER BY k")), ["0", "1", "3", "4"]);
    }
}

#[test]
fn a_foreign_key_refuses_and_a_deferred_one_waits_for_later_rows() {
    for deferred in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        let lab = Lab::new(&format!(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (id INTEGER, parent INTEGER REFERENCES parent {deferred})"
        ));
        let child = ints("child", &["id", "parent"], 0, WriteMode::Append);
        let parent = ints("parent", &["id"], 0, WriteMode::Append);
        // Parents are records behind their children; three children have no parent at all, in this or any table.
        let orphan = |row: i64| if row % 15 == 7 { 999 } else { row % 5 };
        let children = batch(vec![int_column(0..40), int_column((0..40).map(orphan))]);
        let parents = RowSet { ordinals: Some((40..45).collect()), ..set(1, batch(vec![int_column(0..5)])) };
        let work = work_of(vec![(vec![records(0, FIRST, 45)], vec![set(0, children), parents])]);
        let written = lab.write(&[child, parent], &work);
        assert_eq!(offsets(&work, &written), [107, 122, 137], "{deferred}");
        assert!(written.refused.iter().all(|refusal| refusal.sqlstate == "SQLITE_CONSTRAINT_FOREIGNKEY"));
        assert!(written.refused[0].row.contains("999"), "{deferred}");
        assert_eq!(lab.row("SELECT count(*), (SELECT count(*) FROM parent) FROM child"), "37|5", "{deferred}");
    }
}

/// A record that is refused until a later one is there does not come after a later record of its own key.
#[test]
fn a_retried_record_does_not_overtake_a_later_one_of_its_key() {
    let lab = Lab::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent)",
    );
    let child = ints("child", &["id", "parent"], 1, WriteMode::Upsert);
    let parent = ints("parent", &["id"], 0, WriteMode::Append);
    let children = RowSet { ordinals: Some(vec![0, 1]), ..set(0, pairs(&[7, 7], &[2, 1])) };
    let parents = RowSet { ordinals: Some(vec![2]), ..set(1, batch(vec![int_column([2])])) };
    let work = work_of(vec![(vec![records(0, FIRST, 3)], vec![children, parents])]);
    assert_eq!(lab.write(&[child, parent], &work).refused, []);
    assert_eq!(lab.rows("SELECT * FROM child"), ["7|1"]);
}

#[test]
fn not_null_unique_null_keys_and_types_are_refused_by_row() {
    let lab = Lab::new("CREATE TABLE t (k INTEGER NOT NULL, v INTEGER UNIQUE) STRICT");
    let spec = ints("t", &["k", "v"], 0, WriteMode::Append);
    let keys = arrow_array::Int64Array::from(vec![Some(1), None, Some(3)]);
    let rows = batch(vec![std::sync::Arc::new(keys), int_column([1, 2, 1])]);
    let written = lab.write(&[spec], &work(vec![set(0, rows)]));
    let states: Vec<_> = written.refused.iter().map(|refusal| refusal.sqlstate.as_str()).collect();
    assert_eq!(states, ["SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_UNIQUE"]);
    // SQLite itself would take NULL in a key, once a row.
    for mode in [WriteMode::Upsert, WriteMode::Merge(vec![None, None])] {
        let lab = Lab::new("CREATE TABLE t (k INTEGER UNIQUE, v INTEGER)");
        let keys = arrow_array::Int64Array::from(vec![None, Some(1), None]);
        let rows = batch(vec![std::sync::Arc::new(keys), int_column([1, 2, 3])]);
        let work = work(vec![set(0, rows)]);
        let written = lab.write(&[ints("t", &["k", "v"], 1, mode)], &work);
        assert_eq!(offsets(&work, &written), [100, 102]);
        assert_eq!(written.refused[0].code, codes::OF0823);
        assert_eq!(lab.rows("SELECT * FROM t"), ["1|2"]);
    }
}

#[test]
fn stop_commits_nothing_and_skip_counts_what_it_left_out() {
    let create = "CREATE TABLE t (k INTEGER, v INTEGER CHECK (v > 0))";
    let mut spec = ints("t", &["k", "v"], 0, WriteMode::Append);
    spec.on_error = OnError::Stop;
    let lab = Lab::new(create);
    let mut owner = lab.owner(&[spec.clone()]);
    let work = owner.rows(pairs(&[1, 2, 3], &[1, 0, 3]));
    match owner.commit(&work) {
        Err(CommitError::Rejected(error)) => {
            assert_eq!((error.code(), error.kind()), (codes::OF0004, Kind::Data));
            let text = told(&error);
            assert!(text.contains("topic/0 offset 101") && text.contains("{\"k\": 2, \"v\": 0}"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let state =
        "SELECT count(*), (SELECT max(epoch) FROM onceflow_shard), (SELECT count(*) FROM onceflow_dead_letter) FROM t";
    assert_eq!(lab.row(state), "0|0|0");
    spec.on_error = OnError::Skip;
    let lab = Lab::new(create);
    lab.write(&[spec], &work);
    assert_eq!(lab.row(state), "2|1|0");
    assert_eq!(lab.row("SELECT used, dead, skipped FROM onceflow_commit"), "2|0|1");
}
