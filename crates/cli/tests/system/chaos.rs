//! Kills at random, kills right behind a commit, several instances, zombies, signals.

use crate::kafka::produce;
use crate::load::{Load, PARTITIONS};
use crate::process::{Process, eventually};
use crate::services::services;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(90);

/// Numbers from a seed (SplitMix64, Steele et al. 2014), printed with the test, so that a schedule can be run again.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[test]
fn fifty_random_kills_under_load_leave_every_record_once() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    let seed = std::env::var("ONCEFLOW_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
    println!("seed {seed}");
    let mut random = Seeded(seed);
    let mut produced = 0;
    for _ in 0..50 {
        let more = i64::try_from(random.below(4_000)).expect("small");
        produce(&services, &load.topic, PARTITIONS, produced..produced + more);
        produced += more;
        let mut process = load.start(&[]);
        std::thread::park_timeout(Duration::from_millis(random.below(700)));
        process.kill();
    }
    println!("{} rows of {produced} were there before the last run", load.rows());
    load.finish(produced);
}

#[test]
fn fifty_kills_right_behind_a_commit_leave_every_record_once() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    let mut produced = 0;
    for _ in 0..50 {
        produce(&services, &load.topic, PARTITIONS, produced..produced + 6_000);
        produced += 6_000;
        let before = load.commits();
        let mut process = load.start(&[]);
        eventually("a commit", WAIT, || load.commits() > before);
        process.kill();
    }
    load.finish(produced);
}

#[test]
fn the_newest_instance_wins_and_the_older_one_ends_with_4() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    produce(&services, &load.topic, PARTITIONS, 0..10_000);
    let mut first = load.start(&[]);
    eventually("the first one commits", WAIT, || load.rows() > 0);
    let mut second = load.start(&[]);
    let status = first.wait(WAIT).unwrap_or_else(|| panic!("the first one goes on:\n{}", first.log()));
    assert_eq!(status.code(), Some(4), "{}", first.log());
    assert!(first.log().contains("OF0002"), "{}", first.log());
    produce(&services, &load.topic, PARTITIONS, 10_000..20_000);
    eventually("the second one goes on", WAIT, || load.rows() == 20_000);
    second.signal("TERM");
    second.finish(WAIT);
    load.check(20_000);
}

#[test]
fn a_standby_waits_and_takes_over_from_a_killed_owner() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    produce(&services, &load.topic, PARTITIONS, 0..5_000);
    let mut owner = load.start(&[]);
    eventually("the owner commits", WAIT, || load.rows() == 5_000);
    let mut standby = load.start(&["--standby"]);
    eventually("the standby says so", WAIT, || standby.log().contains("standing by"));
    produce(&services, &load.topic, PARTITIONS, 5_000..6_000);
    eventually("the owner goes on", WAIT, || load.rows() == 6_000);
    owner.kill();
    produce(&services, &load.topic, PARTITIONS, 6_000..9_000);
    eventually("the standby takes over", WAIT, || load.rows() == 9_000);
    standby.signal("INT");
    standby.finish(WAIT);
    load.check(9_000);
}

#[test]
fn zombies_that_come_back_under_load_change_nothing() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    let mut produced = 0;
    let mut zombies: Vec<Process> = Vec::new();
    let mut random = Seeded(7);
    for _ in 0..6 {
        produce(&services, &load.topic, PARTITIONS, produced..produced + 20_000);
        produced += 20_000;
        let mut process = load.start(&[]);
        std::thread::park_timeout(Duration::from_millis(300 + random.below(600)));
        if process.wait(Duration::ZERO).is_none() {
            process.signal("STOP");
        }
        zombies.push(process);
    }
    load.start(&["--until-caught-up"]).finish(WAIT * 2);
    for zombie in &mut zombies {
        zombie.signal_if_alive("CONT");
    }
    // One that was stopped before its first claim claims now, so the last of those is the owner: the newest claim wins.
    eventually("all but one are fenced", WAIT, || {
        zombies.iter_mut().filter_map(|zombie| zombie.wait(Duration::ZERO)).count() + 1 >= 6
    });
    for zombie in &mut zombies {
        if zombie.wait(Duration::from_secs(5)).is_none() {
            zombie.signal("TERM");
            zombie.finish(WAIT);
        } else {
            let status = zombie.wait(WAIT).expect("it has ended");
            assert_eq!(status.code(), Some(4), "{}", zombie.log());
        }
    }
    load.finish(produced);
}

#[test]
fn a_signal_ends_a_run_with_0_and_what_is_committed_stays() {
    let Some(services) = services() else { return };
    let load = Load::new(&services);
    let mut produced = 0;
    for signal in ["TERM", "INT"] {
        produce(&services, &load.topic, PARTITIONS, produced..produced + 50_000);
        produced += 50_000;
        let before = load.commits();
        let mut process = load.start(&[]);
        eventually("it commits", WAIT, || load.commits() > before);
        process.signal(signal);
        process.finish(WAIT);
    }
    load.finish(produced);
}
