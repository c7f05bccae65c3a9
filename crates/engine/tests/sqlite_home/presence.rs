//! Who is there: what a stand-by sees, and that the lock files beside the database go with their owners.

use super::lab::*;
use onceflow_engine::changes::{TableSpec, WriteMode};
use std::sync::atomic::{AtomicBool, Ordering};

fn append() -> Vec<TableSpec> {
    vec![ints("t", &["k", "v"], 0, WriteMode::Append)]
}

const TABLE: &str = "CREATE TABLE t (k INTEGER, v INTEGER)";

fn lock_files(lab: &Lab) -> usize {
    lab.files().iter().filter(|name| name.ends_with(".lock")).count()
}

#[test]
fn an_instance_is_present_as_long_as_its_home_is() {
    let lab = Lab::new(TABLE);
    let owner = lab.owner(&append());
    let mut standby = lab.home(&append());
    assert!(!now(standby.absent(owner.pipeline)).unwrap());
    let pipeline = owner.pipeline;
    drop(owner);
    assert!(now(standby.absent(pipeline)).unwrap());
    let mut owner = lab.home(&append());
    claim(&mut *owner, pipeline, 2, 3);
    assert!(!now(standby.absent(pipeline)).unwrap());
    // An owner does not stand in its own way, and is still seen by others after it looked.
    assert!(now(owner.absent(pipeline)).unwrap());
    assert!(!now(standby.absent(pipeline)).unwrap());
}

#[test]
fn the_last_lane_takes_the_lock_file_away() {
    let lab = Lab::new(TABLE);
    let owner = lab.owner(&append());
    let mut lane = lab.home(&append());
    claim(&mut *lane, owner.pipeline, 1, 2);
    assert_eq!(lock_files(&lab), 1);
    let pipeline = owner.pipeline;
    drop(owner);
    assert_eq!(lock_files(&lab), 1);
    assert!(!now(lab.home(&append()).absent(pipeline)).unwrap(), "a lane is still there");
    drop(lane);
    assert_eq!(lab.files(), ["home.db"]);
}

#[test]
fn a_look_leaves_no_file_behind() {
    let lab = Lab::new(TABLE);
    let pipeline = founded(&mut *lab.home(&append()), &append(), 1);
    let mut standby = lab.home(&append());
    assert!(now(standby.absent(pipeline)).unwrap());
    assert_eq!(lock_files(&lab), 0);
    // The file of a process that was killed goes with the next owner.
    std::fs::write(lab.folder.path().join(format!("home.db-onceflow.{pipeline}.lock")), "").unwrap();
    assert!(now(standby.absent(pipeline)).unwrap());
    claim(&mut *standby, pipeline, 1, 1);
    drop(standby);
    assert_eq!(lock_files(&lab), 0);
}

/// Owners come and go while another is there and somebody looks for it, though files are made and removed all the time.
#[test]
fn nobody_who_is_there_is_taken_for_gone() {
    let lab = Lab::new(TABLE);
    let pipeline = founded(&mut *lab.home(&append()), &append(), 1);
    let (path, over) = (lab.path(), AtomicBool::new(false));
    let (path, over) = (&path, &over);
    std::thread::scope(|scope| {
        for worker in 1..3_u128 {
            scope.spawn(move || {
                for round in 0_u128.. {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    claim(&mut *open(path, &append()), pipeline, 1, worker << 64 | round);
                }
            });
        }
        for round in 0..3 {
            let mut home = open(path, &append());
            claim(&mut *home, pipeline, 1, round);
            let seen = !now(open(path, &append()).absent(pipeline)).unwrap();
            over.store(!seen || round == 2, Ordering::SeqCst);
            assert!(seen, "an owner was there all the time");
        }
    });
    assert_eq!(lock_files(&lab), 0);
}
