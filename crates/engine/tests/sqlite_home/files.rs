//! The file itself: missing, foreign, damaged, replaced, restored, full.

use super::lab::*;
use onceflow_engine::Kind;
use onceflow_engine::changes::{TableSpec, WriteMode};
use onceflow_engine::codes;
use onceflow_engine::core::{Epoch, Generation};
use onceflow_engine::home::{CommitError, Registration};
use std::path::PathBuf;

fn append() -> Vec<TableSpec> {
    vec![ints("t", &["k", "v"], 0, WriteMode::Append)]
}

const TABLE: &str = "CREATE TABLE t (k INTEGER, v INTEGER)";

#[test]
fn a_missing_folder_is_named_with_the_command_that_makes_it() {
    let lab = Lab::empty();
    let path = lab.folder.path().join("no").join("such").join("home.db");
    let error = now(open(&path, &append()).register(&registration(&append()))).expect_err("no folder");
    assert_eq!((error.code(), error.kind()), (codes::OF0802, Kind::Config));
    assert!(told(&error).contains("help: mkdir -p"), "{}", told(&error));
    assert_eq!(lab.files(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let lab = Lab::empty();
    let text = "id,name\n1,x\n".repeat(500);
    std::fs::write(lab.path(), &text).unwrap();
    let error = lab.refused(&append());
    assert_eq!((error.code(), error.kind()), (codes::OF0807, Kind::Config), "{error}");
    assert_eq!(std::fs::read_to_string(lab.path()).unwrap(), text);
    assert_eq!(lab.files(), ["home.db"]);
}

#[test]
fn an_empty_file_is_an_empty_database() {
    let lab = Lab::empty();
    std::fs::write(lab.path(), "").unwrap();
    let create = Registration { auto_create: true, ..registration(&append()) };
    register(&mut *lab.home(&append()), &create);
    assert_eq!(lab.row("SELECT count(*) FROM t"), "0");
}

/// The table's page is overwritten with bytes that are no page.
#[test]
fn a_damaged_file_stops_with_what_to_do_and_commits_nothing() {
    let lab = Lab::new(TABLE);
    drop(lab.owner(&append()));
    let page = lab.row("SELECT (SELECT rootpage FROM sqlite_schema WHERE name = 't'), page_size FROM pragma_page_size");
    lab.sql("PRAGMA journal_mode = DELETE");
    let (root, size) = page.split_once('|').unwrap();
    let (root, size): (usize, usize) = (root.parse().unwrap(), size.parse().unwrap());
    let mut bytes = std::fs::read(lab.path()).unwrap();
    bytes[(root - 1) * size..root * size].fill(0x5a);
    std::fs::write(lab.path(), bytes).unwrap();
    let mut home = lab.home(&append());
    let pipeline = lab.row("SELECT pipeline FROM onceflow_pipeline");
    let pipeline = onceflow_engine::core::PipelineId::parse(&pipeline).unwrap();
    let ledger = claim(&mut *home, pipeline, 2, 7);
    let mut owner = Owner { home, ledger, pipeline, tables: append() };
    let work = owner.rows(pairs(&[1], &[1]));
    match owner.commit(&work) {
        Err(CommitError::Rejected(error)) => {
            assert_eq!((error.code(), error.kind()), (codes::OF0808, Kind::Identity), "{error}");
            assert!(told(&error).contains("integrity_check"), "{}", told(&error));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.row("SELECT max(epoch), max(generation) FROM onceflow_shard"), "0|2");
}

/// A copy of the database, as a backup tool makes it. It is no longer in write-ahead mode.
fn backup(lab: &Lab) -> PathBuf {
    let copy = lab.folder.path().join("backup.db");
    lab.sql(&format!("VACUUM INTO '{}'", copy.display()));
    copy
}

fn restore(lab: &Lab, copy: &PathBuf) {
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", lab.path().display()));
    }
    std::fs::rename(copy, lab.path()).unwrap();
}

fn replaced(error: &CommitError) {
    match error {
        CommitError::Rejected(error) => {
            assert_eq!((error.code(), error.kind()), (codes::OF0810, Kind::Unavailable), "{error}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_file_that_is_restored_under_a_running_owner_is_claimed_where_its_ledger_stands() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let work = owner.rows(pairs(&[1], &[1]));
    owner.commit(&work).unwrap();
    let copy = backup(&lab);
    owner.claim(2);
    let work = owner.rows(pairs(&[2], &[2]));
    owner.commit(&work).unwrap();
    restore(&lab, &copy);
    let held = owner.ledger.held();
    let work = owner.rows(pairs(&[3], &[3]));
    replaced(&owner.commit(&work).expect_err("another file"));
    assert_eq!(lab.rows("SELECT k FROM t"), ["1"]);
    owner.ledger = claim_again(&mut *owner.home, owner.pipeline, 2, 3, &held);
    // Generations never go down in memory, whatever the restored file says.
    assert!(owner.ledger.shards().all(|row| row.generation == Generation::new(3)));
    assert_eq!(owner.ledger.shards().next().unwrap().epoch, Epoch::new(1));
    assert_eq!(owner.next(0), FIRST + 1);
    let work = owner.rows(pairs(&[4], &[4]));
    owner.commit(&work).unwrap();
    assert_eq!(lab.rows("SELECT k FROM t"), ["1", "4"]);
    assert_eq!(lab.row("PRAGMA journal_mode"), "wal");
}

#[test]
fn a_copy_of_the_file_is_a_home_of_its_own_and_its_claim_uses_write_ahead_logging() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let work = owner.rows(pairs(&[1], &[1]));
    owner.commit(&work).unwrap();
    let copy = backup(&lab);
    let mut home = open(&copy, &append());
    let ledger = claim(&mut *home, owner.pipeline, 2, 5);
    let mut second = Owner { home, ledger, pipeline: owner.pipeline, tables: append() };
    for owner in [&mut owner, &mut second] {
        let work = owner.rows(pairs(&[2], &[2]));
        owner.commit(&work).unwrap();
    }
    let connection = rusqlite::Connection::open(&copy).unwrap();
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_file_that_is_removed_is_not_replaced_by_an_empty_one() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let held = owner.ledger.held();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", lab.path().display()));
    }
    let work = owner.rows(pairs(&[1], &[1]));
    replaced(&owner.commit(&work).expect_err("no file"));
    let error = now(owner.home.claim(&request(owner.pipeline, 2, 2, &held))).expect_err("no file");
    assert_eq!((error.code(), error.kind()), (codes::OF0810, Kind::Unavailable));
    assert!(!lab.files().contains(&"home.db".to_owned()), "{:?}", lab.files());
}

/// A table that has used up its row numbers answers as a full disk does.
#[test]
fn a_full_database_is_unavailable_and_nothing_of_the_epoch_is_lost() {
    let lab = Lab::new("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, k INTEGER, v INTEGER)");
    let mut owner = lab.owner(&append());
    let work = owner.rows(pairs(&[1], &[1]));
    owner.commit(&work).unwrap();
    lab.sql("UPDATE sqlite_sequence SET seq = 9223372036854775807");
    let work = owner.rows(pairs(&[2, 3], &[2, 3]));
    match owner.commit(&work) {
        Err(CommitError::Rejected(error)) => {
            assert_eq!((error.code(), error.kind()), (codes::OF0805, Kind::Unavailable), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.row("SELECT count(*), (SELECT max(epoch) FROM onceflow_shard) FROM t"), "1|1");
    lab.sql("UPDATE sqlite_sequence SET seq = 10");
    owner.claim(2);
    owner.commit(&work).unwrap();
    assert_eq!(lab.rows("SELECT k FROM t ORDER BY id"), ["1", "2", "3"]);
}
