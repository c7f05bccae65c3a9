//! Claim, move and commit: who may write, and what is known after each answer.

use super::lab::*;
use onceflow_engine::Kind;
use onceflow_engine::changes::WriteMode;
use onceflow_engine::codes;
use onceflow_engine::core::{Epoch, Generation, Position};
use onceflow_engine::home::{Claim, CommitError, Right};

fn one_table() -> (Lab, Vec<onceflow_engine::changes::TableSpec>) {
    (Lab::new("CREATE TABLE t (k INTEGER, v INTEGER)"), vec![ints("t", &["k", "v"], 0, WriteMode::Append)])
}

fn fenced(answer: &Result<onceflow_engine::changes::Written, CommitError>) -> bool {
    matches!(answer, Err(CommitError::Fenced(error)) if error.code() == codes::OF0002)
}

/// The ledger is told to be elsewhere: certainly not applied, and a claim goes on.
fn elsewhere(answer: &Result<onceflow_engine::changes::Written, CommitError>, words: &str) {
    match answer {
        Err(CommitError::Rejected(error)) => {
            assert_eq!((error.code(), error.kind()), (codes::OF0910, Kind::Unavailable), "{error}");
            assert!(error.message().contains(words), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn epochs_follow_one_another_and_a_new_session_goes_on_where_the_old_one_was() {
    let (lab, tables) = one_table();
    let mut owner = lab.owner(&tables);
    for round in 0..3 {
        let work = owner.rows(pairs(&[round, round + 10], &[1, 2]));
        owner.commit(&work).unwrap();
    }
    assert!(now(owner.home.still_owned()).unwrap());
    let mut next = lab.home(&tables);
    let again = claim(&mut *next, owner.pipeline, 2, 2);
    let (old, new): (Vec<_>, Vec<_>) = (owner.ledger.positions().collect(), again.positions().collect());
    assert_eq!(old, new);
    let epochs: Vec<_> = again.shards().map(|row| row.epoch).collect();
    assert_eq!(epochs, [Epoch::new(3), Epoch::FOUNDING]);
    assert_eq!(owner.next(0), FIRST + 6);
    assert!(!now(owner.home.still_owned()).unwrap());
    assert_eq!(lab.row("SELECT count(*), count(DISTINCT k) FROM t"), "6|6");
    assert_eq!(lab.row("SELECT count(*), sum(records), sum(used) FROM onceflow_commit"), "3|6|6");
}

#[test]
fn a_newer_claim_fences_the_older_owner_at_its_next_step() {
    let (lab, tables) = one_table();
    let mut old = lab.owner(&tables);
    let held = old.ledger.held();
    let mut new = lab.home(&tables);
    claim(&mut *new, old.pipeline, 2, 2);
    let work = old.rows(pairs(&[1], &[1]));
    let answer = old.commit(&work);
    assert!(fenced(&answer), "{answer:?}");
    let again = now(old.home.claim(&request(old.pipeline, 2, 3, &held))).unwrap();
    assert!(matches!(again, Claim::Fenced { found, .. } if found == Generation::new(2)), "{again:?}");
    assert_eq!(lab.row("SELECT count(*) FROM t"), "0");
    assert_eq!(lab.row("SELECT min(generation), max(generation), max(epoch) FROM onceflow_shard"), "2|2|0");
}

#[test]
fn an_equal_generation_with_another_nonce_is_another_owner() {
    let (lab, tables) = one_table();
    let mut owner = lab.owner(&tables);
    lab.sql("UPDATE onceflow_shard SET nonce = 'ffffffffffffffffffffffffffffffff'");
    let work = owner.rows(pairs(&[1], &[1]));
    let answer = owner.commit(&work);
    assert!(fenced(&answer), "{answer:?}");
    assert_eq!(lab.row("SELECT count(*), (SELECT max(epoch) FROM onceflow_shard) FROM t"), "0|0");
}

#[test]
fn a_move_of_another_epoch_chain_or_position_is_refused_and_a_claim_goes_on() {
    for (change, words) in [
        ("UPDATE onceflow_shard SET epoch = 7", "is at epoch 7"),
        ("UPDATE onceflow_shard SET chain = substr(chain, 2) || substr(chain, 1, 1)", "another history"),
        ("UPDATE onceflow_position SET next_offset = 101", "the positions in the ledger"),
        ("UPDATE onceflow_position SET shard = (SELECT max(shard) FROM onceflow_shard)", "the positions in the ledger"),
        ("UPDATE onceflow_shard SET generation = 0", "was restored"),
        ("DELETE FROM onceflow_shard", "no longer in the ledger"),
    ] {
        let (lab, tables) = one_table();
        let mut owner = lab.owner(&tables);
        lab.sql(&format!("PRAGMA foreign_keys = ON; {change}"));
        let work = owner.rows(pairs(&[1], &[1]));
        elsewhere(&owner.commit(&work), words);
        assert_eq!(lab.row("SELECT count(*) FROM t"), "0", "{change}");
        assert_eq!(lab.row("SELECT count(*) FROM onceflow_commit"), "0", "{change}");
    }
}

#[test]
fn a_move_that_the_database_refused_cannot_be_committed_by_anyone() {
    let (lab, tables) = one_table();
    let mut owner = lab.owner(&tables);
    let work = owner.rows(pairs(&[1], &[1]));
    owner.commit(&work).unwrap();
    // A client that looks at neither errors nor counts: the move of a zombie, a row, COMMIT.
    let zombie = lab.connection();
    let moves = lab.row(
        "SELECT json_array(json_object('shard', shard, 'generation', generation - 1, 'nonce', nonce, 'epoch', epoch, \
         'chain', chain, 'to_epoch', epoch + 1, 'to_chain', chain)) FROM onceflow_shard WHERE epoch = 1",
    );
    zombie.execute_batch("PRAGMA foreign_keys = ON; BEGIN IMMEDIATE").unwrap();
    let insert = "INSERT INTO onceflow_move SELECT pipeline, ?1, '[]' FROM onceflow_pipeline";
    let error = zombie.execute(insert, [&moves]).expect_err("another generation");
    assert!(error.to_string().contains("not as expected"), "{error}");
    zombie.execute_batch("INSERT INTO t VALUES (666, 666)").unwrap();
    let error = zombie.execute_batch("COMMIT").expect_err("a refused move cannot be committed");
    assert!(error.to_string().contains("FOREIGN KEY"), "{error}");
    drop(zombie);
    assert_eq!(lab.rows("SELECT k FROM t"), ["1"]);
}

#[test]
fn the_same_client_with_the_owners_generation_can_commit_so_the_test_above_can_fail() {
    let (lab, tables) = one_table();
    let owner = lab.owner(&tables);
    drop(owner);
    let client = lab.connection();
    let moves = lab.row(
        "SELECT json_array(json_object('shard', shard, 'generation', generation, 'nonce', nonce, 'epoch', epoch, \
         'chain', chain, 'to_epoch', epoch + 1, 'to_chain', chain)) FROM onceflow_shard LIMIT 1",
    );
    client.execute_batch("PRAGMA foreign_keys = ON; BEGIN IMMEDIATE").unwrap();
    let insert = "INSERT INTO onceflow_move SELECT pipeline, ?1, '[]' FROM onceflow_pipeline";
    client.execute(insert, [&moves]).unwrap();
    client.execute_batch("INSERT INTO t VALUES (1, 1); COMMIT").unwrap();
    assert_eq!(lab.row("SELECT max(epoch), (SELECT count(*) FROM t) FROM onceflow_shard"), "1|1");
}

#[test]
fn one_fenced_shard_leaves_all_shards_of_the_claim_as_they_were() {
    let (lab, tables) = one_table();
    let mut old = lab.owner(&tables);
    let mut new = lab.home(&tables);
    claim(&mut *new, old.pipeline, 1, 2);
    let again = now(old.home.claim(&request(old.pipeline, 2, 3, &old.ledger.held()))).unwrap();
    assert!(matches!(&again, Claim::Fenced { shard: fenced, .. } if *fenced == shard(0)), "{again:?}");
    assert_eq!(lab.rows("SELECT generation FROM onceflow_shard ORDER BY shard"), ["2", "1"]);
    // Partition 1 alone is still the older owner's.
    let work = work_of(vec![(vec![records(1, FIRST, 1)], vec![set(0, pairs(&[5], &[5]))])]);
    old.commit(&work).unwrap();
    assert_eq!(lab.rows("SELECT k FROM t"), ["5"]);
}

#[test]
fn all_partitions_of_a_step_move_or_none_does() {
    let (lab, tables) = one_table();
    let mut old = lab.owner(&tables);
    let mut new = lab.home(&tables);
    claim(&mut *new, old.pipeline, 1, 2);
    let batches = vec![records(0, FIRST, 1), records(1, FIRST, 1)];
    let answer = old.commit(&work_of(vec![(batches, vec![set(0, pairs(&[1, 2], &[1, 2]))])]));
    assert!(fenced(&answer), "{answer:?}");
    assert_eq!(lab.rows("SELECT next_offset FROM onceflow_position"), ["100", "100"]);
    assert_eq!(lab.row("SELECT count(*), (SELECT max(epoch) FROM onceflow_shard) FROM t"), "0|0");
}

#[test]
fn a_claim_waits_for_the_transaction_in_flight_and_sees_what_it_committed() {
    let (lab, tables) = one_table();
    let mut owner = lab.owner(&tables);
    let work = owner.rows(pairs(&[1], &[1]));
    let advance = owner.ledger.propose(step(&work, &tables)).unwrap();
    let mut transaction = now(owner.home.begin(Right::Advance(advance))).unwrap();
    let written = now(transaction.write(&work)).unwrap();
    let (path, pipeline, specs) = (lab.path(), owner.pipeline, tables.clone());
    let claimer = std::thread::spawn(move || {
        let ledger = claim(&mut *open(&path, &specs), pipeline, 2, 2);
        ledger.positions().map(|row| row.next).collect::<Vec<_>>()
    });
    std::thread::park_timeout(std::time::Duration::from_millis(400));
    assert!(!claimer.is_finished(), "the claim did not wait");
    let closing = onceflow_engine::lane::closing::close(&work, &written, &tables).unwrap();
    now(transaction.commit(&closing)).unwrap();
    assert_eq!(claimer.join().unwrap(), [Position::new(FIRST + 1), Position::new(FIRST)]);
}

#[test]
fn a_dropped_transaction_leaves_nothing_and_the_session_goes_on() {
    let (lab, tables) = one_table();
    let mut owner = lab.owner(&tables);
    for nonce in 2..4 {
        let work = owner.rows(pairs(&[1], &[1]));
        let advance = owner.ledger.propose(step(&work, &tables)).unwrap();
        let mut transaction = now(owner.home.begin(Right::Advance(advance))).unwrap();
        now(transaction.write(&work)).unwrap();
        drop(transaction);
        assert_eq!(lab.row("SELECT count(*), (SELECT max(epoch) FROM onceflow_shard) FROM t"), "0|0");
        owner.claim(nonce);
    }
    let work = owner.rows(pairs(&[2], &[2]));
    owner.commit(&work).unwrap();
    assert_eq!(lab.rows("SELECT k FROM t"), ["2"]);
}

#[test]
fn a_claim_of_a_shard_or_a_pipeline_that_is_not_there_says_so() {
    let (lab, tables) = one_table();
    let mut owner = lab.owner(&tables);
    let error = now(owner.home.claim(&request(owner.pipeline, 3, 2, &owner.ledger.held()))).expect_err("no shard 2");
    assert_eq!((error.code(), error.kind()), (codes::OF0906, Kind::Identity));
    assert!(error.message().contains(shard(2).as_str()), "{error}");
    assert_eq!(lab.row("SELECT max(generation) FROM onceflow_shard"), "1");
    lab.sql("PRAGMA foreign_keys = ON; DELETE FROM onceflow_pipeline");
    let error = now(owner.home.found(owner.pipeline, &[first(0, 0)])).expect_err("no pipeline");
    assert_eq!(error.code(), codes::OF0906);
    assert_eq!(lab.row("SELECT count(*) FROM onceflow_shard"), "0");
}
