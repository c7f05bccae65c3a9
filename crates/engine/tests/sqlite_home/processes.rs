//! Several processes on one file. The second one is this very program, started again with a role.

use super::lab::*;
use onceflow_engine::Kind;
use onceflow_engine::changes::{TableSpec, WriteMode};
use onceflow_engine::codes;
use onceflow_engine::core::PipelineId;
use onceflow_engine::home::CommitError;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const ROLE: &str = "ONCEFLOW_TEST_ROLE";
const FILE: &str = "ONCEFLOW_TEST_FILE";
/// What a child says once it is where its role wants it.
const THERE: &str = "the other process is there";

fn append() -> Vec<TableSpec> {
    vec![ints("t", &["k", "v"], 0, WriteMode::Append)]
}

const TABLE: &str = "CREATE TABLE t (k INTEGER, v INTEGER)";

/// This program in a role, on a file.
fn other(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::the_other_process", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(FILE, path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    output
}

/// A child that stays until its input ends.
fn staying(command: &mut Command) -> Child {
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(THERE)), "the other process did not get there");
    child
}

#[test]
#[ignore = "other tests start it"]
fn the_other_process() {
    let path = std::env::var(FILE).unwrap();
    let path = Path::new(&path);
    let connection = || rusqlite::Connection::open(path).unwrap();
    match std::env::var(ROLE).unwrap().as_str() {
        "look" => {
            let count: i64 = connection().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
            println!("\nrows: {count}");
        }
        "hold" => {
            let connection = connection();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            wait();
        }
        "commit" => {
            let mut owner = taken(path, 99);
            let next = i64::try_from(owner.next(0)).unwrap();
            let work = owner.rows(pairs(&[next], &[99]));
            owner.commit(&work).unwrap();
        }
        "stay" => {
            let _owner = taken(path, 98);
            wait();
        }
        "write" => refused_as_read_only(path),
        "fill" => fills_the_disk(path),
        role => panic!("no role {role}"),
    }
}

fn wait() {
    println!("\n{THERE}");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// The pipeline of a file, claimed by this process.
fn taken(path: &Path, nonce: u128) -> Owner {
    let connection = rusqlite::Connection::open(path).unwrap();
    let pipeline: String =
        connection.query_row("SELECT pipeline FROM onceflow_pipeline", [], |row| row.get(0)).unwrap();
    drop(connection);
    let pipeline = PipelineId::parse(&pipeline).unwrap();
    let mut home = open(path, &append());
    let ledger = claim(&mut *home, pipeline, 2, nonce);
    Owner { home, ledger, pipeline, tables: append() }
}

#[test]
fn two_processes_on_one_file_fence_each_other() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let work = owner.rows(pairs(&[100], &[1]));
    owner.commit(&work).unwrap();
    done(&mut other("commit", &lab.path()));
    let held = owner.ledger.held();
    let work = owner.rows(pairs(&[101], &[2]));
    let answer = owner.commit(&work);
    assert!(matches!(&answer, Err(CommitError::Fenced(error)) if error.kind() == Kind::Fenced), "{answer:?}");
    let again = now(owner.home.claim(&request(owner.pipeline, 2, 3, &held))).unwrap();
    assert!(matches!(again, onceflow_engine::home::Claim::Fenced { .. }), "{again:?}");
    assert_eq!(lab.rows("SELECT * FROM t"), ["100|1", "101|99"]);
}

/// POSIX takes all of a process's locks on a file away when it closes any handle of it. Without its lock an owner's
/// write-ahead log would be deleted under it by whoever looks at the database next, and its commits with it.
#[test]
fn a_look_from_outside_takes_no_commit_away() {
    let lab = Lab::new(TABLE);
    // Through homes alone: a handle of this test's own would keep the log.
    let mut owner = lab.owner(&append());
    let mut lane = lab.home(&append());
    now(lane.positions(owner.pipeline)).unwrap();
    now(lane.register(&registration(&append()))).unwrap();
    assert!(locks_database(&lab.path()), "the process has lost its lock on the file");
    for round in 0..3 {
        let work = owner.rows(pairs(&[round], &[1]));
        owner.commit(&work).unwrap();
        let said = done(&mut other("look", &lab.path())).stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains(&format!("rows: {}", round + 1)), "{said}");
    }
}

/// Whether this process has SQLite's shared lock on a database file, where the operating system tells. SQLite from 3.51 on
/// notices a lost lock when it would delete the log; the older ones that people look with do not.
fn locks_database(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(locks) = std::fs::read_to_string("/proc/locks") else { return true };
    let file = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    let own = format!(" {} ", std::process::id());
    locks.lines().any(|line| line.contains("POSIX") && line.contains(&own) && line.contains(&file))
}

#[test]
fn a_process_killed_at_any_step_leaves_all_of_an_epoch_or_nothing() {
    for (point, rows) in [
        ("after_claim", "0|0"),
        ("before_begin", "0|0"),
        ("after_move", "0|0"),
        ("mid_rows", "0|0"),
        ("after_rows", "0|0"),
        ("before_commit", "0|0"),
        ("commit_sent", "0|0"),
        ("after_commit", "1|1"),
    ] {
        let lab = Lab::new(TABLE);
        drop(lab.owner(&append()));
        let output = other("commit", &lab.path()).env("ONCEFLOW_CRASH", format!("{point}:kill")).output().unwrap();
        assert!(!output.status.success(), "{point} was not passed");
        let state = "SELECT count(*), (SELECT max(epoch) FROM onceflow_shard) FROM t";
        assert_eq!(lab.row(state), rows, "{point}");
        done(&mut other("commit", &lab.path()));
        let positions =
            "SELECT count(*) = max(next_offset) - 100 AND count(*) = (SELECT max(epoch) FROM onceflow_shard)
            FROM t, onceflow_position WHERE \"partition\" = 0";
        assert_eq!(lab.row(positions), "1", "{point}");
        let left = lab.files();
        assert!(!left.iter().any(|name| name.ends_with(".lock")), "{point}: {left:?}");
    }
}

#[test]
fn a_file_that_another_process_locks_is_unavailable_and_the_process_is_named() {
    let lab = Lab::new(TABLE);
    let mut owner = lab.owner(&append());
    let mut child = staying(&mut other("hold", &lab.path()));
    let work = owner.rows(pairs(&[1], &[1]));
    match owner.commit(&work) {
        Err(CommitError::Rejected(error)) => {
            assert_eq!((error.code(), error.kind()), (codes::OF0803, Kind::Unavailable), "{error}");
            let named = format!("process {} holds the write lock", child.id());
            assert!(!cfg!(target_os = "linux") || told(&error).contains(&named), "{}", told(&error));
        }
        other => panic!("{other:?}"),
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    owner.claim(2);
    owner.commit(&work).unwrap();
    assert_eq!(lab.rows("SELECT k FROM t"), ["1"]);
}

#[test]
fn a_stand_by_sees_another_process_until_it_is_killed() {
    let lab = Lab::new(TABLE);
    let pipeline = lab.owner(&append()).pipeline;
    let mut standby = lab.home(&append());
    assert!(now(standby.absent(pipeline)).unwrap());
    let mut child = staying(&mut other("stay", &lab.path()));
    assert!(!now(standby.absent(pipeline)).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(now(standby.absent(pipeline)).unwrap());
}

/// A user whom the file's mode concerns: root writes wherever it likes.
const NOBODY: u32 = 65_534;

#[test]
fn a_file_that_may_not_be_written_is_refused_with_what_to_do() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let lab = Lab::new(TABLE);
    drop(lab.owner(&append()));
    let before = std::fs::read(lab.path()).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&lab.path(), 0o444);
    mode(lab.folder.path(), 0o777);
    let mut command = other("write", &lab.path());
    if std::fs::metadata(lab.path()).unwrap().uid() == 0 {
        command.uid(NOBODY);
    }
    done(&mut command);
    assert_eq!(std::fs::read(lab.path()).unwrap(), before);
    assert!(!lab.files().iter().any(|name| name.ends_with(".lock")), "{:?}", lab.files());
}

fn refused_as_read_only(path: &Path) {
    let error = now(open(path, &append()).register(&registration(&append()))).expect_err("it may not be written");
    assert_eq!((error.code(), error.kind()), (codes::OF0802, Kind::Config), "{error}");
    assert!(told(&error).contains("help: chmod u+rw"), "{}", told(&error));
}

/// A disk of one mebibyte, in a mount namespace of the other process.
#[test]
fn a_full_disk_stops_epochs_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("home.db");
    let other = other("fill", &path);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
    command.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(folder.path());
    command.arg(other.get_program()).args(other.get_args()).env(ROLE, "fill").env(FILE, &path);
    let possible = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        let required = std::env::var("ONCEFLOW_TEST_REQUIRE").is_ok_and(|value| value == "1");
        assert!(!required, "no mount namespace can be made here, and ONCEFLOW_TEST_REQUIRE is 1");
        println!("not run: no mount namespace can be made here");
        return;
    }
    done(&mut command);
}

fn fills_the_disk(path: &Path) {
    let filler = path.with_file_name("filler");
    std::fs::write(&filler, vec![1; 300_000]).unwrap();
    rusqlite::Connection::open(path).unwrap().execute_batch(TABLE).unwrap();
    let mut home = open(path, &append());
    let pipeline = founded(&mut *home, &append(), 2);
    let ledger = claim(&mut *home, pipeline, 2, 1);
    let mut owner = Owner { home, ledger, pipeline, tables: append() };
    let keys: Vec<i64> = (0..500).collect();
    let full = loop {
        let work = owner.rows(pairs(&keys, &keys));
        if let Err(error) = owner.commit(&work) {
            break error;
        }
    };
    let (CommitError::Rejected(error) | CommitError::Unknown(error)) = &full else { panic!("{full}") };
    assert_eq!((error.code(), error.kind()), (codes::OF0805, Kind::Unavailable), "{error}");
    // As the operator makes room, a claim says where the ledger is, and the rows are exactly those before.
    std::fs::remove_file(filler).unwrap();
    owner.claim(2);
    let work = owner.rows(pairs(&keys, &keys));
    owner.commit(&work).unwrap();
    let connection = rusqlite::Connection::open(path).unwrap();
    let rows: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(u64::try_from(rows).unwrap(), owner.next(0) - FIRST);
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}
