//! The ledger's tables: made on first use, versioned, readable, trimmed; and what a registration compares with them.

use super::lab::*;
use onceflow_engine::Kind;
use onceflow_engine::changes::{TableSpec, WriteMode};
use onceflow_engine::codes;
use onceflow_engine::core::{
    ChainHash, Consumed, Counts, Digest, Epoch, Partition, Position, Seal, ShardId, Span, TableTotal,
};
use onceflow_engine::home::desk::{Cell, Statement};
use onceflow_engine::home::{Closing, DeadLetter, Done, Registration, Replay, Right};
use std::collections::BTreeMap;

fn append() -> Vec<TableSpec> {
    vec![ints("t", &["k", "v"], 0, WriteMode::Append)]
}

const TABLE: &str = "CREATE TABLE t (k INTEGER, v INTEGER)";

#[test]
fn the_ledger_is_made_on_first_use_with_its_version_and_stays_the_same() {
    let lab = Lab::empty();
    let mut home = lab.home(&append());
    let create = Registration { auto_create: true, ..registration(&append()) };
    assert!(!now(now(home.desk()).unwrap().exists()).unwrap());
    assert_eq!(lab.files(), Vec::<String>::new());
    let made = register(&mut *home, &create);
    assert!(made.new && made.notices.iter().any(|notice| notice.contains("created")), "{made:?}");
    let again = register(&mut *home, &create);
    assert_eq!((again.pipeline, again.new, again.notices.len()), (made.pipeline, false, 0));
    assert_eq!(lab.rows("SELECT version, program FROM onceflow_migration"), ["1|0.1.0", "2|0.1.0"]);
    assert_eq!(lab.row("SELECT name, wiring FROM onceflow_pipeline"), "p|source -> table");
    let names = lab.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'onceflow%' ORDER BY 1");
    let expected =
        ["commit", "dead_letter", "event", "migration", "outbox", "pipeline", "position", "refused_move", "shard"];
    assert_eq!(names[..9], expected.map(|name| format!("onceflow_{name}")));
    assert_eq!(lab.row("PRAGMA journal_mode"), "wal");
    assert!(now(now(home.desk()).unwrap().exists()).unwrap());
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_left_alone() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    lab.sql("INSERT INTO onceflow_migration VALUES (99, '9.9.0', '2030-01-01')");
    let before = lab.rows("SELECT * FROM onceflow_shard");
    let refused = now(lab.home(&append()).register(&registration(&append()))).expect_err("it is newer");
    assert_eq!((refused.code(), refused.kind()), (codes::OF0901, Kind::Config));
    let refused = now(owner.home.claim(&request(owner.pipeline, 2, 9, &owner.ledger.held()))).expect_err("newer");
    assert_eq!(refused.code(), codes::OF0901);
    let refused = now(now(owner.home.desk()).unwrap().rows("SELECT 1", &[])).expect_err("newer");
    assert_eq!(refused.code(), codes::OF0901);
    assert_eq!(lab.rows("SELECT * FROM onceflow_shard"), before);
}

#[test]
fn instances_that_register_at_once_are_one_pipeline_and_found_once() {
    let lab = Lab::new(TABLE);
    let path = lab.path();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut home = open(&path, &append());
                let registered = register(&mut *home, &registration(&append()));
                let rows: Vec<_> = (0..3).map(|partition| first(partition, 50 + number)).collect();
                now(home.found(registered.pipeline, &rows)).unwrap();
                registered
            })
        })
        .collect();
    let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(all.iter().all(|one| one.pipeline == all[0].pipeline));
    assert_eq!(all.iter().filter(|one| one.new).count(), 1);
    assert_eq!(lab.row("SELECT count(*), count(DISTINCT next_offset) FROM onceflow_position"), "3|1");
    assert_eq!(lab.row("SELECT count(*) FROM onceflow_event WHERE kind = 'found'"), "1");
    let positions = now(lab.home(&append()).positions(all[0].pipeline)).unwrap();
    assert_eq!(positions.iter().map(|row| row.partition.number).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn rows_without_a_ledger_a_dropped_table_and_other_wiring_stop_a_start_before_anything_is_written() {
    let lab = Lab::new("CREATE TABLE t (k INTEGER, v INTEGER); INSERT INTO t VALUES (1, 1)");
    let strict = Registration { adopt: false, ..registration(&append()) };
    let refused = |registration: &Registration| now(lab.home(&append()).register(registration)).expect_err("a stop");
    let error = refused(&strict);
    assert_eq!((error.code(), error.kind()), (codes::OF0903, Kind::Identity), "{}", told(&error));
    assert_eq!(lab.row("SELECT count(*) FROM sqlite_schema"), "1");
    let adopted = register(&mut *lab.home(&append()), &registration(&append()));
    assert!(adopted.notices[0].contains("adopted"), "{adopted:?}");
    register(&mut *lab.home(&append()), &strict);
    let error = refused(&Registration { wiring: "other -> table\nsource -> table".to_owned(), ..strict.clone() });
    assert!(error.code() == codes::OF0902 && told(&error).contains("+ other -> table"), "{}", told(&error));
    let error = refused(&Registration { wiring: "other -> table".to_owned(), ..strict.clone() });
    assert_eq!(error.code(), codes::OF0907);
    // VACUUM and ALTER leave the table what it is; DROP does not.
    lab.sql("ALTER TABLE t ADD COLUMN more TEXT; VACUUM");
    register(&mut *lab.home(&append()), &strict);
    lab.sql(&format!("DROP TABLE t; {TABLE}"));
    let error = refused(&strict);
    assert_eq!((error.code(), error.kind()), (codes::OF0904, Kind::Identity));
    register(&mut *lab.home(&append()), &registration(&append()));
    register(&mut *lab.home(&append()), &strict);
    let kinds = lab.rows("SELECT kind FROM onceflow_event ORDER BY id");
    assert_eq!(kinds, ["register", "adopt", "adopt"]);
}

#[test]
fn a_table_that_is_dropped_while_the_pipeline_runs_stops_it() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let work = owner.rows(pairs(&[1], &[1]));
    owner.commit(&work).unwrap();
    lab.sql(&format!("DROP TABLE t; {TABLE}"));
    let work = owner.rows(pairs(&[2], &[2]));
    let error = owner.commit(&work).expect_err("another table").to_string();
    assert!(error.contains("dropped while the pipeline ran"), "{error}");
    assert_eq!(lab.row("SELECT max(epoch), (SELECT count(*) FROM t) FROM onceflow_shard"), "1|0");
    // A column more is no reason to stop.
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    for round in 0..2 {
        let work = owner.rows(pairs(&[round], &[1]));
        owner.commit(&work).unwrap();
        lab.sql(&format!("ALTER TABLE t ADD COLUMN more{round} TEXT DEFAULT 'x'"));
    }
    assert_eq!(lab.rows("SELECT k, more1 FROM t"), ["0|x", "1|x"]);
}

#[test]
fn the_chain_can_be_computed_again_from_the_commit_rows() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    for count in [1_i64, 7, 30] {
        let keys: Vec<i64> = (0..count).collect();
        let work = owner.rows(pairs(&keys, &keys));
        owner.commit(&work).unwrap();
    }
    let mut chains: BTreeMap<ShardId, ChainHash> =
        (0..2).map(|number| (shard(number), ChainHash::founding(owner.pipeline, &shard(number)))).collect();
    for row in
        lab.rows("SELECT json_array(json(shards), json(prepared), json(tables)) FROM onceflow_commit ORDER BY id")
    {
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        let seal = Seal::of(&counts(&row[1]), &totals(&row[2]));
        for entry in row[0].as_array().unwrap() {
            let id = ShardId::new(entry["shard"].as_str().unwrap());
            let parts: Vec<_> = entry["partitions"].as_array().unwrap().iter().map(consumed).collect();
            let parts: Vec<_> = parts.iter().collect();
            let epoch = Epoch::new(entry["epoch"].as_u64().unwrap());
            let next = chains[&id].next(&id, epoch, &parts, &seal);
            assert_eq!(entry["previous"].as_str().unwrap(), chains[&id].to_string());
            assert_eq!(entry["chain"].as_str().unwrap(), next.to_string());
            chains.insert(id, next);
        }
    }
    assert!(owner.ledger.shards().all(|row| row.chain == chains[&row.shard]));
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

fn consumed(entry: &serde_json::Value) -> Consumed {
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

/// 300 rows that are 40 days old, then 128 commits of today: the old ones go, but for the one that a shard stands on.
#[test]
fn old_commit_rows_are_trimmed_but_never_one_that_a_shard_stands_on() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let second = work_of(vec![(vec![records(1, FIRST, 1)], Vec::new())]);
    owner.commit(&second).unwrap();
    lab.sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO onceflow_commit SELECT pipeline, NULL, committed_at, generation, lane, '[]', records, used, filtered,
           late, dead, skipped, prepared, tables, now, seed FROM onceflow_commit, n;
         UPDATE onceflow_commit SET committed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-40 days')",
    );
    for _ in 0..128 {
        owner.commit(&nothing(owner.next(0), 1)).unwrap();
    }
    let old = "SELECT count(*), max(json_array_length(shards)) FROM onceflow_commit WHERE committed_at < '2026-01-01'
        OR committed_at < strftime('%Y-%m-%d', 'now', '-1 day')";
    assert_eq!(lab.row(old), "1|1");
    assert_eq!(lab.row("SELECT count(*) FROM onceflow_commit"), "129");
}

#[test]
fn dead_letters_are_replayed_once_and_together_or_not_at_all() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let letter = |offset| DeadLetter { offset: Some(offset), code: "OF0001".to_owned(), ..DeadLetter::default() };
    let advance = owner.ledger.propose(step(&nothing(FIRST, 2), &append())).unwrap();
    let counts = Counts { records: 2, used: 2, ..Counts::default() };
    let closing = Closing { counts, dead_letters: vec![letter(1), letter(2)], ..Closing::default() };
    let transaction = now(owner.home.begin(Right::Advance(advance))).unwrap();
    now(transaction.commit(&closing)).unwrap();
    let right =
        |dead_letters| Right::Replay(Replay { pipeline: owner.pipeline, dead_letters, reason: "why".to_owned() });
    let replay = |home: &mut dyn onceflow_engine::home::Home, ids: Vec<i64>| {
        let work = work(vec![set(0, pairs(&[1], &[1]))]);
        commit(home, right(ids), &work, &append())
    };
    for wrong in [vec![1, 3], vec![7]] {
        let error = replay(&mut *owner.home, wrong).expect_err("not all are there");
        assert!(error.to_string().contains("still to be replayed"), "{error}");
    }
    let (_, done) = replay(&mut *owner.home, vec![1, 2, 2]).unwrap();
    assert!(matches!(done, Done::Replayed(_)), "{done:?}");
    replay(&mut *owner.home, vec![2]).expect_err("it was replayed");
    assert_eq!(lab.row("SELECT count(*) FROM t"), "1");
    assert_eq!(lab.row("SELECT count(replayed_at), max(replay_reason) FROM onceflow_dead_letter"), "2|why");
    assert_eq!(lab.rows("SELECT reason FROM onceflow_event WHERE kind = 'replay'"), ["why"]);
}

#[test]
fn the_desk_reads_and_changes_the_ledger_all_or_none() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let mut desk = now(owner.home.desk()).unwrap();
    let sql = "SELECT p.\"partition\", '{}', p.tail_offset FROM {position} p WHERE p.topic = $1 AND p.next_offset < $2";
    let rows = now(desk.rows(sql, &[Cell::Text("topic".to_owned()), Cell::Int(101)])).unwrap();
    assert_eq!(rows[1], [Cell::Int(1), Cell::Text("{}".to_owned()), Cell::Null]);
    let statement = |sql: &str, expect| Statement {
        sql: sql.to_owned(),
        parameters: vec![Cell::Bytes(vec![0, 255])],
        expect_rows: Some(expect),
    };
    let change = "INSERT INTO {event} (pipeline, kind, detail) VALUES ('p', 'x', $1)";
    let nobody = "DELETE FROM {shard} WHERE nonce = $1";
    let error = now(desk.execute(&[statement(change, 1), statement(nobody, 1)])).expect_err("no such row");
    assert!(error.code() == codes::OF0911 && error.message().contains("statement 2"), "{error}");
    assert_eq!(now(desk.execute(&[statement(change, 1), statement(nobody, 0)])).unwrap(), [1, 0]);
    assert_eq!(lab.rows("SELECT detail FROM onceflow_event WHERE kind = 'x'"), ["x00ff"]);
}
