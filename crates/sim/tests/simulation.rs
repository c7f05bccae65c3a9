//! The engine in a simulated world: no seed breaks a promise with all rules on, and with any one off some seed does.
//!
//! `ONCEFLOW_SIM_SEED=n` runs one seed and prints its trace; `ONCEFLOW_SIM_SEEDS=n` runs the first n.

use onceflow_sim::simulation::setup::Seen;
use onceflow_sim::simulation::{Report, Rules, simulate};
use std::time::{Duration, Instant};

/// Seeds of an ordinary run.
const SEEDS: u64 = 3_000;
/// An ordinary run ends after so long, however many seeds are left.
const TIME_MAX: Duration = Duration::from_secs(60);
/// So few seeds would prove nothing.
const SEEDS_MIN: u64 = 500;
/// So many seeds must be enough to find that a rule is missing.
const SEEDS_TO_BREAK: u64 = 5_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}' and should be a number")))
}

fn holds(report: &Report) {
    assert_eq!(report.broken, None, "{report}");
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("ONCEFLOW_SIM_SEED") {
        let report = simulate(seed, Rules::ALL);
        report.lines.iter().for_each(|line| println!("{line}"));
        return holds(&report);
    }
    let chosen = number("ONCEFLOW_SIM_SEEDS");
    let began = Instant::now();
    let (mut seen, mut seeds, mut lines, mut broken) = (Seen::default(), 0, 0, Vec::new());
    for seed in 0..chosen.unwrap_or(SEEDS) {
        if chosen.is_none() && began.elapsed() > TIME_MAX {
            break;
        }
        let report = simulate(seed, Rules::ALL);
        seen.add(&report.seen);
        lines += report.lines.len();
        seeds += 1;
        if report.broken.is_some() {
            println!("{report}");
            broken.push(seed);
        }
    }
    println!("{seeds} seeds, {lines} lines, {:.1?}: {:?}", began.elapsed(), seen.named());
    assert!(broken.is_empty(), "seeds that broke a promise: {broken:?}");
    if chosen.is_none() {
        assert!(seeds >= SEEDS_MIN, "only {seeds} seeds were run in time");
        let idle: Vec<_> = seen.named().into_iter().filter(|(_, number)| *number == 0).collect();
        assert!(idle.is_empty(), "no seed came to {idle:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = Vec::new();
    for seed in 0..20 {
        let (first, second) = (simulate(seed, Rules::ALL), simulate(seed, Rules::ALL));
        assert_eq!(first, second);
        assert!(first.lines.len() > 20, "{first}");
        hashes.push(first.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20, "different seeds gave the same trace");
}

/// Runs seeds until one breaks a promise, in one of the ways that are expected.
fn breaks(rule: &str, rules: Rules, expected: &[&str]) {
    for seed in 0..SEEDS_TO_BREAK {
        let report = simulate(seed, rules);
        if let Some(broken) = &report.broken {
            println!("without {rule}, after {} seeds: {broken}", seed + 1);
            assert!(expected.iter().any(|words| broken.contains(words)), "without {rule}: {report}");
            return;
        }
    }
    panic!("{SEEDS_TO_BREAK} seeds broke nothing without {rule}");
}

#[test]
fn without_the_generation_a_clone_moves_the_ledger_of_its_successor() {
    breaks("generation", Rules { generation: false, ..Rules::ALL }, &["which was claimed by"]);
}

#[test]
fn without_the_nonce_a_restored_home_has_two_owners() {
    breaks("nonce", Rules { nonce: false, ..Rules::ALL }, &["which was claimed by"]);
}

#[test]
fn without_epoch_and_chain_a_restored_home_loses_records() {
    let expected = ["stood at", "went from epoch", "does not cover"];
    breaks("epoch and chain", Rules { contents: false, ..Rules::ALL }, &expected);
}

#[test]
fn without_the_move_that_aborts_by_itself_a_zombie_repeats_records() {
    breaks("self-abort", Rules { abort: false, ..Rules::ALL }, &["the ledger did not move"]);
}

#[test]
fn with_a_read_instead_of_a_claim_two_processes_move_a_shard() {
    breaks("claim", Rules { claim: false, ..Rules::ALL }, &["which was claimed by"]);
}

#[test]
fn without_the_fence_two_processes_pull_at_a_shard() {
    breaks("fence", Rules { fence: false, ..Rules::ALL }, &["took", "went from generation"]);
}

#[test]
fn without_its_own_attempt_a_process_fences_itself() {
    breaks("own attempt", Rules { own_attempt: false, ..Rules::ALL }, &["by itself"]);
}

#[test]
fn an_idle_lane_that_takes_a_plain_read_for_an_answer_gives_up_in_a_restored_home() {
    breaks("the idle lane's claim", Rules { idle: false, ..Rules::ALL }, &["gave up what nobody claimed"]);
}

#[test]
fn a_founding_that_overwrites_moves_positions() {
    breaks("founding", Rules { founding: false, ..Rules::ALL }, &["founded again"]);
}

#[test]
fn rows_that_are_sent_again_after_a_lost_answer_are_there_twice() {
    breaks("one COMMIT", Rules { once: false, ..Rules::ALL }, &["the ledger did not move"]);
}

#[test]
fn a_lost_answer_that_counts_as_committed_is_told_and_is_not_true() {
    breaks("the unknown outcome", Rules { unknown: false, ..Rules::ALL }, &["never committed"]);
}

#[test]
fn a_record_of_which_only_one_row_is_left_out_loses_money() {
    breaks("whole records", Rules { whole: false, ..Rules::ALL }, &["balances"]);
}

#[test]
fn without_the_leader_epoch_before_the_position_a_truncated_log_is_read_on() {
    let expected = ["not what its records", "another one"];
    breaks("leader epochs", Rules { epochs: false, ..Rules::ALL }, &expected);
}

#[test]
fn without_verification_a_log_that_became_another_one_is_read_on() {
    breaks("verification", Rules { verify: false, ..Rules::ALL }, &["not what its records", "another one", "reach"]);
}
