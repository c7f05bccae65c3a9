//! The ledger in a real PostgreSQL server: `ONCEFLOW_TEST_POSTGRES=postgresql://superuser@host:port/postgres`.
//!
//! Without the variable each test says `not run`; with `ONCEFLOW_TEST_REQUIRE=1` it fails instead.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

mod postgres_support;

use futures_util::FutureExt as _;
use onceflow_engine::changes::{ColumnSpec, OnError, TableSpec, WriteMode};
use onceflow_engine::codes;
use onceflow_engine::core::{
    ChainHash, Consumed, Counts, Digest, Epoch, Generation, Partition, Position, Seal, ShardId, Span, TableTotal,
};
use onceflow_engine::home::desk::{Cell, Statement};
use onceflow_engine::home::{Claim, CommitError, DeadLetter, Done, Replay, Right};
use onceflow_engine::{Kind, Place};
use postgres_support::*;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn epochs_follow_one_another_and_a_new_session_goes_on_where_the_old_one_was() {
    run("epochs", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 2).await;
        let mut ledger = claim(&mut *home, pipeline, 2, 1).await;
        for _ in 0..3 {
            epoch(&mut *home, &mut ledger, 10).await.unwrap();
        }
        assert_eq!(epochs(&ledger), [Epoch::new(3), Epoch::new(3)]);
        assert!(home.still_owned().await.unwrap());
        let mut next = scratch.home();
        let again = claim(&mut *next, pipeline, 2, 2).await;
        let (old, new): (Vec<_>, Vec<_>) = (ledger.positions().collect(), again.positions().collect());
        assert_eq!(old, new);
        assert_eq!(epochs(&again), epochs(&ledger));
        assert!(!home.still_owned().await.unwrap());
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.commit").await, "3");
        let named = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'onceflow/' ||
            (SELECT pipeline FROM onceflow.pipeline) || '/0/2'";
        assert_eq!(scratch.text(named).await, "1");
    });
}

#[test]
fn a_newer_claim_fences_the_older_owner_at_its_next_step() {
    run("fence", async |scratch| {
        let (mut old, mut new) = (scratch.home(), scratch.home());
        let pipeline = founded(&mut *old, 2).await;
        let mut ledger = claim(&mut *old, pipeline, 2, 1).await;
        epoch(&mut *old, &mut ledger, 1).await.unwrap();
        let mut newer = claim(&mut *new, pipeline, 2, 2).await;
        let held = ledger.held();
        let fenced = epoch(&mut *old, &mut ledger, 5).await;
        assert!(matches!(&fenced, Err(CommitError::Fenced(error)) if error.code() == codes::OF0002), "{fenced:?}");
        let again = old.claim(&request(pipeline, 2, 3, &held)).await.unwrap();
        assert!(matches!(again, Claim::Fenced { found, .. } if found == Generation::new(2)), "{again:?}");
        epoch(&mut *new, &mut newer, 1).await.unwrap();
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.commit").await, "2");
        assert_eq!(scratch.text("SELECT max(generation) FROM onceflow.shard").await, "2");
    });
}

#[test]
fn one_fenced_shard_leaves_all_shards_of_the_claim_as_they_were() {
    run("all or none", async |scratch| {
        let (mut old, mut new) = (scratch.home(), scratch.home());
        let pipeline = founded(&mut *old, 2).await;
        let ledger = claim(&mut *old, pipeline, 2, 1).await;
        claim(&mut *new, pipeline, 1, 2).await;
        let again = old.claim(&request(pipeline, 2, 3, &ledger.held())).await.unwrap();
        assert!(matches!(&again, Claim::Fenced { shard: fenced, .. } if *fenced == shard(0)), "{again:?}");
        let generations = "SELECT string_agg(generation::text, ',' ORDER BY shard) FROM onceflow.shard";
        assert_eq!(scratch.text(generations).await, "2,1");
    });
}

#[test]
fn the_move_of_a_zombie_aborts_in_the_server_though_commit_is_in_the_pipe() {
    run("zombie", async |scratch| {
        scratch.run("CREATE TABLE probe (n integer)").await;
        let proxy = Proxy::start(scratch.address());
        let (mut old, mut new) = (open(&scratch.through(&proxy), Vec::new()), scratch.home());
        let pipeline = founded(&mut *old, 1).await;
        let mut ledger = claim(&mut *old, pipeline, 1, 1).await;
        epoch(&mut *old, &mut ledger, 1).await.unwrap();
        claim(&mut *new, pipeline, 1, 2).await;
        proxy.plan(Plan::Inject);
        let fenced = epoch(&mut *old, &mut ledger, 1).await;
        assert!(fenced.is_err());
        assert!(proxy.fired.load(Ordering::SeqCst), "nothing was injected");
        drop((old, new));
        scratch.quiet().await;
        assert_eq!(scratch.text("SELECT count(*) FROM probe").await, "0");
    });
}

#[test]
fn the_same_injection_commits_for_an_owner_so_the_test_above_can_fail() {
    run("control", async |scratch| {
        scratch.run("CREATE TABLE probe (n integer)").await;
        let proxy = Proxy::start(scratch.address());
        let mut old = open(&scratch.through(&proxy), Vec::new());
        let pipeline = founded(&mut *old, 1).await;
        let mut ledger = claim(&mut *old, pipeline, 1, 1).await;
        epoch(&mut *old, &mut ledger, 1).await.unwrap();
        proxy.plan(Plan::Inject);
        let _ = epoch(&mut *old, &mut ledger, 1).await;
        assert!(proxy.fired.load(Ordering::SeqCst), "nothing was injected");
        drop(old);
        scratch.quiet().await;
        assert_eq!(scratch.text("SELECT count(*) FROM probe").await, "1");
    });
}

#[test]
fn a_paused_owner_that_holds_the_row_is_ended_by_its_successor() {
    run("paused", async |scratch| {
        let (mut old, mut new) = (scratch.home(), scratch.home());
        let pipeline = founded(&mut *old, 1).await;
        let mut ledger = claim(&mut *old, pipeline, 1, 1).await;
        let held = ledger.held();
        let (step, started) = (step(&ledger, 3), Instant::now());
        let closing = closing(&step);
        let advance = ledger.propose(step).unwrap();
        let transaction = old.begin(Right::Advance(advance)).await.unwrap();
        let taken = claim(&mut *new, pipeline, 1, 2).await;
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        assert_eq!(epochs(&taken), [Epoch::FOUNDING]);
        let late = transaction.commit(&closing).await;
        assert!(!matches!(late, Ok(_) | Err(CommitError::Fenced(_))), "{late:?}");
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.commit").await, "0");
        let again = old.claim(&request(pipeline, 1, 3, &held)).await.unwrap();
        assert!(matches!(again, Claim::Fenced { .. }), "{again:?}");
    });
}

#[test]
fn a_claim_waits_for_the_commit_in_flight_and_sees_it() {
    run("in flight", async |scratch| {
        let (mut old, mut new) = (scratch.home(), scratch.home());
        let pipeline = founded(&mut *old, 2).await;
        let mut ledger = claim(&mut *old, pipeline, 2, 1).await;
        let step = step(&ledger, 3);
        let closing = closing(&step);
        let advance = ledger.propose(step).unwrap();
        let transaction = old.begin(Right::Advance(advance)).await.unwrap();
        let commit = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            transaction.commit(&closing).await
        };
        let (taken, committed) = futures_util::future::join(claim(&mut *new, pipeline, 2, 2), commit).await;
        assert!(matches!(committed, Ok(Done::Advanced(_))), "{committed:?}");
        assert_eq!(epochs(&taken), [Epoch::new(1), Epoch::new(1)]);
        assert!(taken.positions().all(|row| row.next == Position::new(4) && row.tail.is_some()));
    });
}

#[test]
fn a_move_that_waited_for_a_claim_in_flight_is_fenced() {
    run("claim in flight", async |scratch| {
        let mut old = scratch.home();
        let pipeline = founded(&mut *old, 1).await;
        let mut ledger = claim(&mut *old, pipeline, 1, 1).await;
        scratch.run("BEGIN; UPDATE onceflow.shard SET generation = 2, nonce = repeat('b', 32)").await;
        let finish = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            scratch.run("COMMIT").await;
        };
        let (answer, ()) = futures_util::future::join(epoch(&mut *old, &mut ledger, 1), finish).await;
        assert!(matches!(answer, Err(CommitError::Fenced(_))), "{answer:?}");
        assert_eq!(scratch.text("SELECT max(next_offset) FROM onceflow.position").await, "0");
    });
}

#[test]
fn a_move_outside_of_its_transaction_moves_nothing() {
    run("no transaction", async |scratch| {
        let proxy = Proxy::start(scratch.address());
        let mut home = open(&scratch.through(&proxy), Vec::new());
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        epoch(&mut *home, &mut ledger, 1).await.unwrap();
        proxy.plan(Plan::SpoilBegin);
        let answer = epoch(&mut *home, &mut ledger, 1).await;
        assert!(matches!(answer, Err(CommitError::Rejected(_))), "{answer:?}");
        assert!(proxy.fired.load(Ordering::SeqCst));
        drop(home);
        scratch.quiet().await;
        assert_eq!(scratch.text("SELECT epoch FROM onceflow.shard").await, "1");
        assert_eq!(scratch.text("SELECT next_offset FROM onceflow.position").await, "2");
    });
}

#[test]
fn a_deferred_constraint_that_fails_in_commit_is_a_rejection() {
    run("deferred", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        scratch
            .run(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
                CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON onceflow.commit DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION refuse()",
            )
            .await;
        let held = ledger.held();
        let answer = epoch(&mut *home, &mut ledger, 1).await;
        assert!(matches!(&answer, Err(CommitError::Rejected(e)) if e.message().contains("not today")), "{answer:?}");
        scratch.run("DROP TRIGGER refuse ON onceflow.commit").await;
        let mut again = claim_again(&mut *home, pipeline, 1, 2, &held).await;
        assert_eq!(epochs(&again), [Epoch::FOUNDING]);
        epoch(&mut *home, &mut again, 1).await.unwrap();
    });
}

#[test]
fn a_lost_answer_to_commit_is_unknown_and_the_claim_says_that_it_was_applied() {
    lost_commit("lost answer", Plan::LoseAnswer, Epoch::new(2));
}

#[test]
fn a_commit_lost_on_the_way_is_unknown_and_the_claim_says_that_it_was_not_applied() {
    lost_commit("lost commit", Plan::LoseCommit, Epoch::new(1));
}

fn lost_commit(name: &str, plan: Plan, then: Epoch) {
    run(name, async |scratch| {
        let proxy = Proxy::start(scratch.address());
        let mut home = open(&scratch.through(&proxy), Vec::new());
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        epoch(&mut *home, &mut ledger, 1).await.unwrap();
        proxy.plan(plan);
        let held = ledger.held();
        let answer = epoch(&mut *home, &mut ledger, 1).await;
        assert!(matches!(&answer, Err(CommitError::Unknown(e)) if e.kind() == Kind::Unavailable), "{answer:?}");
        assert!(proxy.fired.load(Ordering::SeqCst));
        let mut again = claim_again(&mut *home, pipeline, 1, 2, &held).await;
        assert_eq!(epochs(&again), [then]);
        epoch(&mut *home, &mut again, 1).await.unwrap();
    });
}

#[test]
fn a_claim_whose_answer_was_lost_does_not_fence_its_own_process() {
    run("lost claim", async |scratch| {
        let proxy = Proxy::start(scratch.address());
        let mut home = open(&scratch.through(&proxy), Vec::new());
        let pipeline = founded(&mut *home, 1).await;
        let held = claim(&mut *home, pipeline, 1, 1).await.held();
        proxy.plan(Plan::LoseAnswer);
        let lost = home.claim(&request(pipeline, 1, 2, &held)).await;
        assert!(matches!(&lost, Err(error) if error.kind() == Kind::Unavailable), "{lost:?}");
        assert!(proxy.fired.load(Ordering::SeqCst), "{lost:?}");
        assert_eq!(scratch.text("SELECT generation FROM onceflow.shard").await, "2", "{lost:?}");
        let again = claim_again(&mut *home, pipeline, 1, 3, &held).await;
        assert_eq!(again.shards().next().unwrap().generation, Generation::new(3));
    });
}

#[test]
fn a_restored_home_is_claimed_above_what_the_process_held() {
    run("restored", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        for nonce in 1..=5 {
            claim(&mut *home, pipeline, 1, nonce).await;
        }
        let held = claim(&mut *home, pipeline, 1, 6).await.held();
        scratch.run("UPDATE onceflow.shard SET generation = 2, nonce = repeat('a', 32)").await;
        let again = claim_again(&mut *home, pipeline, 1, 7, &held).await;
        assert_eq!(again.shards().next().unwrap().generation, Generation::new(7));
    });
}

#[test]
fn another_history_is_no_fence_but_a_reason_to_claim_again() {
    run("history", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        scratch.run("UPDATE onceflow.position SET next_offset = 40").await;
        let held = ledger.held();
        let answer = epoch(&mut *home, &mut ledger, 1).await;
        let Err(CommitError::Rejected(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.code(), error.kind()), (codes::OF0910, Kind::Unavailable));
        let mut again = claim_again(&mut *home, pipeline, 1, 2, &held).await;
        assert_eq!(again.positions().next().unwrap().next, Position::new(40));
        epoch(&mut *home, &mut again, 1).await.unwrap();
    });
}

#[test]
fn epoch_zero_is_founded_once_by_whoever_comes_first() {
    run("founding", async |scratch| {
        let (mut one, mut two) = (scratch.home(), scratch.home());
        let pipeline = founded(&mut *one, 2).await;
        let other: Vec<_> = (0..4).map(|number| first(number, 99)).collect();
        let reversed: Vec<_> = other.iter().rev().cloned().collect();
        let both = futures_util::future::join(one.found(pipeline, &other), two.found(pipeline, &reversed)).await;
        both.0.and(both.1).unwrap();
        let next: Vec<_> = one.positions(pipeline).await.unwrap().iter().map(|row| row.next.get()).collect();
        assert_eq!(next, [0, 0, 99, 99]);
        let ledger = claim(&mut *one, pipeline, 4, 1).await;
        assert_eq!(epochs(&ledger), [Epoch::FOUNDING; 4]);
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.event WHERE kind = 'found'").await, "2");
    });
}

#[test]
fn two_instances_that_register_at_once_are_one_pipeline() {
    run("registering", async |scratch| {
        let registration = registration("p");
        let mut homes: Vec<_> = (0..4).map(|_| scratch.home()).collect();
        let all = homes.iter_mut().map(|home| home.register(&registration));
        let all: Vec<_> = futures_util::future::join_all(all).await.into_iter().map(|one| one.unwrap()).collect();
        assert!(all.iter().all(|one| one.pipeline == all[0].pipeline));
        assert_eq!(all.iter().filter(|one| one.new).count(), 1);
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.pipeline").await, "1");
    });
}

#[test]
fn a_read_only_database_is_refused_until_it_can_be_written() {
    run("read-only", async |scratch| {
        let database = scratch.text("SELECT current_database()").await;
        scratch.run(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
        let mut home = scratch.home();
        let refused = home.register(&registration("p")).await.expect_err("it is read-only");
        assert_eq!((refused.code(), refused.kind()), (codes::OF0708, Kind::Unavailable));
        scratch.run(&format!("ALTER DATABASE {database} RESET default_transaction_read_only")).await;
        home.register(&registration("p")).await.unwrap();
    });
}

#[test]
fn a_dropped_transaction_is_rolled_back_before_the_session_is_used_again() {
    run("dropped", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        let advance = ledger.propose(step(&ledger, 5)).unwrap();
        drop(home.begin(Right::Advance(advance)).await.unwrap());
        let started = Instant::now();
        let mut again = claim_again(&mut *home, pipeline, 1, 2, &ledger.held()).await;
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(epochs(&again), [Epoch::FOUNDING]);
        // A future that is dropped half-way leaves nothing behind either.
        let advance = again.propose(step(&again, 5)).unwrap();
        let half = home.begin(Right::Advance(advance)).now_or_never().is_none();
        assert!(half, "no server answers within one poll");
        let mut again = claim_again(&mut *home, pipeline, 1, 3, &again.held()).await;
        epoch(&mut *home, &mut again, 1).await.unwrap();
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.commit").await, "1");
    });
}

#[test]
fn the_chain_can_be_computed_again_from_the_commit_rows() {
    run("chain", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 2).await;
        let mut ledger = claim(&mut *home, pipeline, 2, 1).await;
        for records in [1, 7, 30] {
            epoch(&mut *home, &mut ledger, records).await.unwrap();
        }
        let mut chains: BTreeMap<ShardId, ChainHash> =
            (0..2).map(|number| (shard(number), ChainHash::founding(pipeline, &shard(number)))).collect();
        let rows = "SELECT shards::text, prepared::text, tables::text FROM onceflow.commit ORDER BY id";
        for row in scratch.admin.query(rows, &[]).await.unwrap() {
            let json = |index: usize| serde_json::from_str::<serde_json::Value>(row.get(index)).unwrap();
            let seal = Seal::of(&counts(&json(1)), &totals(&json(2)));
            for entry in json(0).as_array().unwrap() {
                let id = ShardId::new(entry["shard"].as_str().unwrap());
                let parts: Vec<_> = entry["partitions"].as_array().unwrap().iter().map(part).collect();
                let parts: Vec<_> = parts.iter().collect();
                let epoch = Epoch::new(entry["epoch"].as_u64().unwrap());
                let previous = chains[&id];
                assert_eq!(entry["previous"].as_str().unwrap(), previous.to_string());
                let next = previous.next(&id, epoch, &parts, &seal);
                assert_eq!(entry["chain"].as_str().unwrap(), next.to_string());
                chains.insert(id, next);
            }
        }
        for row in ledger.shards() {
            assert_eq!(row.chain, chains[&row.shard]);
        }
    });
}

fn counts(json: &serde_json::Value) -> Counts {
    let at = |name: &str| json[name].as_u64().unwrap();
    let (late, dead, skipped) = (at("late"), at("dead"), at("skipped"));
    Counts { records: at("records"), used: at("used"), filtered: at("filtered"), late, dead, skipped }
}

fn totals(json: &serde_json::Value) -> Vec<TableTotal> {
    let total = |entry: &serde_json::Value| TableTotal {
        table: entry["table"].as_str().unwrap().into(),
        digest: digest(entry, "prepared"),
    };
    json.as_array().unwrap().iter().map(total).collect()
}

fn digest(entry: &serde_json::Value, count: &str) -> Digest {
    Digest::parse(entry["digest"].as_str().unwrap(), entry[count].as_u64().unwrap()).unwrap()
}

fn part(entry: &serde_json::Value) -> Consumed {
    let at = |name: &str| Position::new(entry[name].as_u64().unwrap());
    let text = |name: &str| entry[name].as_str().unwrap();
    let number = u32::try_from(entry["partition"].as_u64().unwrap()).unwrap();
    Consumed {
        partition: Partition::new(text("source"), text("topic"), number),
        span: Span::new(at("from"), at("to")).unwrap(),
        digest: digest(entry, "records"),
        leader_epoch: None,
        tail: None,
    }
}

fn letter(reason: &str) -> DeadLetter {
    DeadLetter {
        source: "events".to_owned(),
        topic: "topic".to_owned(),
        partition: Some(3),
        offset: Some(12),
        timestamp: Some(i64::MAX),
        key: Some(vec![0, 255]),
        value: None,
        headers: Some("[[\"h\", \"a\\u0000b\"]]".to_owned()),
        code: "OF0601".to_owned(),
        reason: reason.to_owned(),
        row: Some("{\"n\": 1e400000}".to_owned()),
        ..DeadLetter::default()
    }
}

#[test]
fn dead_letters_go_in_whatever_they_hold_and_are_replayed_once() {
    run("dead letters", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        let step = step(&ledger, 4);
        let mut closing = closing(&step);
        closing.dead_letters = vec![letter("a NUL \0 here"), letter("other"), DeadLetter::default()];
        let advance = ledger.propose(step).unwrap();
        let transaction = home.begin(Right::Advance(advance)).await.unwrap();
        assert!(matches!(transaction.commit(&closing).await.unwrap(), Done::Advanced(_)));
        let reasons = "SELECT string_agg(reason, '|' ORDER BY id) FROM onceflow.dead_letter";
        assert_eq!(scratch.text(reasons).await, "a NUL \u{fffd} here|other|");
        let replay = |dead_letters: Vec<i64>| Replay { pipeline, dead_letters, reason: "mended".to_owned() };
        let transaction = home.begin(Right::Replay(replay(vec![1, 2, 2]))).await.unwrap();
        drop(transaction);
        for (letters, works) in [(vec![1, 77], false), (vec![2, 1, 2], true), (vec![1], false)] {
            let begun = home.begin(Right::Replay(replay(letters))).await;
            assert_eq!(begun.is_ok(), works);
            match begun {
                Ok(transaction) => {
                    let done = transaction.commit(&onceflow_engine::home::Closing::default()).await.unwrap();
                    assert!(matches!(done, Done::Replayed(2)), "{done:?}");
                }
                Err(CommitError::Rejected(error)) => assert_eq!(error.code(), codes::OF0909),
                Err(other) => panic!("{other}"),
            }
        }
        let left = "SELECT count(*) FROM onceflow.dead_letter WHERE replayed_at IS NULL";
        assert_eq!(scratch.text(left).await, "1");
        assert_eq!(scratch.text("SELECT reason FROM onceflow.event WHERE kind = 'replay'").await, "mended");
    });
}

#[test]
fn a_lost_connection_is_replaced_at_the_next_claim() {
    run("reconnect", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name LIKE 'onceflow/%' AND datname = current_database()";
        assert_eq!(scratch.text(end).await, "1");
        scratch.quiet().await;
        let held = ledger.held();
        let lost = epoch(&mut *home, &mut ledger, 1).await;
        assert!(!matches!(lost, Err(CommitError::Fenced(_))), "{lost:?}");
        let mut again = claim_again(&mut *home, pipeline, 1, 2, &held).await;
        epoch(&mut *home, &mut again, 1).await.unwrap();
    });
}

#[test]
fn an_instance_is_present_as_long_as_its_session_is() {
    run("presence", async |scratch| {
        let (mut owner, mut standby) = (scratch.home(), scratch.home());
        let pipeline = founded(&mut *owner, 1).await;
        assert!(standby.absent(pipeline).await.unwrap());
        claim(&mut *owner, pipeline, 1, 1).await;
        assert!(!standby.absent(pipeline).await.unwrap());
        drop(owner);
        let mut gone = false;
        for _ in 0..5 {
            gone = gone || standby.absent(pipeline).await.unwrap();
        }
        assert!(gone);
    });
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_left_alone() {
    run("newer", async |scratch| {
        let mut home = scratch.home();
        founded(&mut *home, 1).await;
        scratch.run("INSERT INTO onceflow.migration (version, program) VALUES (99, '9.9.0')").await;
        let refused = home.register(&registration("q")).await.expect_err("it is newer");
        assert_eq!(refused.code(), codes::OF0901);
        assert!(refused.helps().join(" ").contains("9.9.0"), "{refused:?}");
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.pipeline").await, "1");
    });
}

fn table(name: &str) -> TableSpec {
    let place = Place { file: "p.sql".into(), line: 1, column: 1, length: 1 };
    let column = ColumnSpec {
        name: "id".to_owned(),
        data_type: arrow_schema::DataType::Int64,
        nullable: true,
        declared: "BIGINT".to_owned(),
        place: place.clone(),
    };
    TableSpec {
        name: name.into(),
        schema: None,
        table: name.to_owned(),
        columns: vec![column],
        key: Vec::new(),
        mode: WriteMode::Append,
        on_error: OnError::DeadLetter,
        place,
    }
}

#[test]
fn a_changed_pipeline_is_refused_with_what_changed_until_an_operator_says_so() {
    run("changed", async |scratch| {
        let mut home = scratch.home();
        let mut asked = registration("p");
        asked.wiring = "a -> t\nb -> t".to_owned();
        home.register(&asked).await.unwrap();
        asked.wiring = "a -> t\nc -> t".to_owned();
        let refused = home.register(&asked).await.expect_err("the wiring changed");
        assert_eq!((refused.code(), refused.kind()), (codes::OF0902, Kind::Identity));
        assert!(refused.notes().join("\n").contains("- b -> t\n+ c -> t"), "{refused:?}");
        asked.wiring = "x -> y".to_owned();
        assert_eq!(home.register(&asked).await.expect_err("another pipeline").code(), codes::OF0907);
        asked.wiring = "a -> t\nc -> t".to_owned();
        asked.accept_wiring = true;
        asked.fingerprint = "f2".to_owned();
        let accepted = home.register(&asked).await.unwrap();
        assert_eq!(accepted.notices.len(), 2, "{:?}", accepted.notices);
        asked.accept_wiring = false;
        assert!(home.register(&asked).await.unwrap().notices.is_empty());
        let kinds = "SELECT string_agg(kind, ',' ORDER BY id) FROM onceflow.event";
        assert_eq!(scratch.text(kinds).await, "register,wiring,logic");
    });
}

#[test]
fn a_target_that_is_not_what_the_ledger_knows_stops_the_start_and_creates_nothing() {
    run("targets", async |scratch| {
        scratch.run("CREATE TABLE t (id bigint); INSERT INTO t VALUES (1)").await;
        let mut home = open(&scratch.url, vec![table("t")]);
        let mut asked = registration("p");
        asked.tables = vec![table("t")];
        let refused = home.register(&asked).await.expect_err("it has rows");
        assert_eq!((refused.code(), refused.kind()), (codes::OF0903, Kind::Identity));
        assert_eq!(scratch.text("SELECT to_regnamespace('onceflow') IS NULL").await, "t");
        asked.adopt = true;
        assert_eq!(home.register(&asked).await.unwrap().notices.len(), 1);
        asked.adopt = false;
        home.register(&asked).await.unwrap();
        scratch.run("DROP TABLE t; CREATE TABLE t (id bigint)").await;
        assert_eq!(home.register(&asked).await.expect_err("it is another one").code(), codes::OF0904);
        asked.adopt = true;
        home.register(&asked).await.unwrap();
        scratch.run("UPDATE onceflow.pipeline SET system_identifier = '1'").await;
        asked.adopt = false;
        assert_eq!(home.register(&asked).await.expect_err("another system").code(), codes::OF0905);
    });
}

#[test]
fn a_missing_table_is_created_with_the_ledger_or_not_at_all() {
    run("auto-create", async |scratch| {
        let mut home = open(&scratch.url, vec![table("made")]);
        let mut asked = registration("p");
        asked.tables = vec![table("made")];
        home.register(&asked).await.expect_err("there is no table");
        assert_eq!(scratch.text("SELECT to_regnamespace('onceflow') IS NULL").await, "t");
        asked.auto_create = true;
        let made = home.register(&asked).await.unwrap();
        assert!(made.notices.iter().any(|notice| notice.contains("created")), "{:?}", made.notices);
        assert_eq!(scratch.text("SELECT table_oid = 'made'::regclass::oid FROM onceflow.target").await, "t");
    });
}

#[test]
fn a_role_that_owns_only_its_schema_is_enough() {
    run("privileges", async |scratch| {
        let role = format!("onceflow_app_{}", std::process::id());
        scratch.run(&format!("CREATE ROLE {role} LOGIN")).await;
        let url = scratch.url.replacen("://", &format!("://{role}@"), 1);
        let host = url.rfind('@').expect("a host");
        let url = format!("postgresql://{role}{}", &url[host..]);
        let mut home = open(&url, Vec::new());
        let refused = home.register(&registration("p")).await.expect_err("it may not create a schema");
        assert_eq!((refused.code(), refused.kind()), (codes::OF0704, Kind::Config));
        assert!(refused.helps().join(" ").contains("CREATE SCHEMA onceflow AUTHORIZATION"), "{refused:?}");
        scratch.run(&format!("CREATE SCHEMA onceflow AUTHORIZATION {role}")).await;
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        epoch(&mut *home, &mut ledger, 2).await.unwrap();
        let mut other = open(&url, Vec::new());
        let advance = ledger.propose(step(&ledger, 1)).unwrap();
        let open = home.begin(Right::Advance(advance)).await.unwrap();
        claim(&mut *other, pipeline, 1, 2).await;
        drop(open);
        drop((home, other));
        scratch.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    });
}

#[test]
fn the_desk_reads_and_changes_the_ledger_all_or_none() {
    run("desk", async |scratch| {
        let mut home = scratch.home();
        assert!(!home.desk().await.unwrap().exists().await.unwrap());
        let pipeline = founded(&mut *home, 2).await;
        let mut desk = home.desk().await.unwrap();
        assert!(desk.exists().await.unwrap());
        let id = Cell::Text(pipeline.to_string());
        let sql = "SELECT shard, epoch, state, updated_at, pipeline, (SELECT sum(epoch) FROM {shard}), true
            FROM {shard} WHERE pipeline = $1 AND epoch = $2 ORDER BY shard";
        let rows = desk.rows(sql, &[id.clone(), Cell::Int(0)]).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][..3], [Cell::Text("events/topic/0".to_owned()), Cell::Int(0), Cell::Null]);
        let Cell::Text(at) = &rows[0][3] else { panic!("{:?}", rows[0]) };
        assert!(at.ends_with('Z') && at.len() == 27, "{at}");
        assert_eq!(rows[0][4..], [id.clone(), Cell::Int(0), Cell::Int(1)]);
        let change = |expect_rows| Statement {
            sql: "UPDATE {position} SET next_offset = $1 WHERE pipeline = $2".to_owned(),
            parameters: vec![Cell::Int(5), id.clone()],
            expect_rows,
        };
        let event = Statement {
            sql: "INSERT INTO {event} (pipeline, kind, detail, reason) VALUES ($1, 'reset', $2, NULL)".to_owned(),
            parameters: vec![id.clone(), Cell::Text("not json, {a}".to_owned())],
            expect_rows: Some(1),
        };
        let refused = desk.execute(&[change(None), change(Some(1))]).await.expect_err("there are two rows");
        assert_eq!(refused.code(), codes::OF0911);
        assert_eq!(scratch.text("SELECT max(next_offset) FROM onceflow.position").await, "0");
        assert_eq!(desk.execute(&[change(Some(2)), event]).await.unwrap(), [2, 1]);
        let detail = desk.rows("SELECT detail FROM {event} WHERE kind = $1", &[Cell::Text("reset".to_owned())]).await;
        assert_eq!(detail.unwrap(), [[Cell::Text("not json, {a}".to_owned())]]);
    });
}

#[test]
fn old_commit_rows_go_but_never_the_one_that_a_shard_stands_on() {
    run("trimming", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        for _ in 0..63 {
            epoch(&mut *home, &mut ledger, 1).await.unwrap();
        }
        scratch.run("UPDATE onceflow.commit SET committed_at = now() - interval '40 days'").await;
        epoch(&mut *home, &mut ledger, 1).await.unwrap();
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.commit").await, "1");
        scratch.run("UPDATE onceflow.commit SET committed_at = now() - interval '40 days'").await;
        for _ in 0..64 {
            epoch(&mut *home, &mut ledger, 1).await.unwrap();
        }
        assert_eq!(scratch.text("SELECT count(*) FROM onceflow.commit").await, "64");
    });
}

/// Needs a server with TLS, reachable as `localhost`, and its root in `ONCEFLOW_TEST_POSTGRES_ROOT`.
#[test]
fn each_sslmode_verifies_what_its_name_says() {
    let Ok(root) = std::env::var("ONCEFLOW_TEST_POSTGRES_ROOT") else {
        return println!("not run: each sslmode: ONCEFLOW_TEST_POSTGRES_ROOT is not set");
    };
    run("sslmode", async |scratch| {
        let url = |host: &str, options: &str| {
            let at = scratch.address();
            format!("{}?{options}", scratch.url.replace(&at, &at.replace(at.split(':').next().expect("a host"), host)))
        };
        let server = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE ssl AND datname = current_database() AND pid <> pg_backend_pid()";
        for (host, options, encrypted) in [
            ("127.0.0.1", "sslmode=disable".to_owned(), Ok("0")),
            ("127.0.0.1", "sslmode=prefer".to_owned(), Ok("1")),
            ("127.0.0.1", "sslmode=require".to_owned(), Ok("1")),
            ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={root}"), Ok("1")),
            ("localhost", format!("sslmode=verify-full&sslrootcert={root}"), Ok("1")),
            ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={root}"), Err(codes::OF0705)),
            ("localhost", "sslmode=verify-full&sslrootcert=system".to_owned(), Err(codes::OF0705)),
            ("localhost", "sslmode=verify-ca&sslrootcert=/nowhere".to_owned(), Err(codes::OF0705)),
        ] {
            let mut home = open(&url(host, &options), Vec::new());
            match (home.register(&registration("p")).await, encrypted) {
                (Ok(_), Ok(sessions)) => assert_eq!(scratch.text(server).await, sessions, "{host} {options}"),
                (Err(error), Err(code)) => assert_eq!((error.code(), error.kind()), (code, Kind::Config), "{error:?}"),
                (got, _) => panic!("{host} {options}: {got:?}"),
            }
            drop(home);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn whenever_its_session_is_ended_an_owner_is_no_stranger_to_itself() {
    run("ended", async |scratch| {
        let mut home = scratch.home();
        let pipeline = founded(&mut *home, 1).await;
        let mut ledger = claim(&mut *home, pipeline, 1, 1).await;
        // Another thread ends the session over and over, at whatever step it is.
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (url, ended) = (scratch.url.clone(), done.clone());
        let ender = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = connect(&url).await;
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE application_name LIKE 'onceflow/%' AND datname = current_database()";
                let mut hits = 0;
                while !ended.load(Ordering::Relaxed) {
                    hits += admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
                    tokio::time::sleep(std::time::Duration::from_millis(hits.unsigned_abs() % 20)).await;
                }
                hits
            })
        });
        let (mut answered, mut failed) = (0, 0);
        for nonce in 2..400 {
            match home.claim(&request(pipeline, 1, nonce, &ledger.held())).await {
                Ok(Claim::Owned(owned)) => {
                    answered += 1;
                    ledger = owned;
                }
                Ok(Claim::Fenced { shard, found }) => panic!("{shard} at {found}: fenced by itself"),
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        let hits = ender.join().unwrap();
        println!("{answered} claims answered, {failed} failed, {hits} sessions ended");
        assert!(failed > 0 && hits > 0, "nothing was tried");
        // The last session may have been ended after its last claim.
        let held = ledger.held();
        let mut last = home.claim(&request(pipeline, 1, 1_000, &held)).await;
        if last.is_err() {
            last = home.claim(&request(pipeline, 1, 1_001, &held)).await;
        }
        assert!(matches!(last, Ok(Claim::Owned(_))), "{last:?}");
    });
}
