//! The protocol, exhaustively: no promise is broken with all rules on, and with any one off a promise is broken.

use onceflow_sim::model::{Bounds, Broken, Explored, Rules, Shards, explore};

/// Crashes, lost connections and zombies, one history.
const ONE_HISTORY: Bounds = Bounds {
    log_start: 1,
    log_max: [3, 2],
    claims_max: 3,
    crashes_max: 1,
    losses_max: 1,
    restore: false,
    cloned: false,
    claimed: &[Shards::BOTH],
};

/// The home is restored once, at any moment to any earlier state.
const RESTORED: Bounds = Bounds {
    log_start: 0,
    log_max: [2, 1],
    claims_max: 3,
    crashes_max: 0,
    losses_max: 0,
    restore: true,
    cloned: false,
    claimed: &[Shards::BOTH],
};

/// Shards are claimed one by one, as when they are handed out anew among workers.
const ONE_BY_ONE: Bounds = Bounds {
    log_start: 0,
    log_max: [1, 1],
    claims_max: 3,
    crashes_max: 0,
    losses_max: 1,
    restore: false,
    cloned: false,
    claimed: &[Shards::FIRST, Shards::SECOND, Shards::BOTH],
};

/// All processes draw the same nonces, as clones of one machine may.
const CLONED: Bounds = Bounds { cloned: true, log_start: 0, log_max: [2, 1], crashes_max: 0, ..ONE_HISTORY };

fn holds(name: &str, bounds: Bounds, states_min: usize) {
    let found = explore(Rules::ALL, bounds);
    println!("{name}: {found}");
    assert_eq!(found.broken, None, "{found}");
    assert!(found.states >= states_min, "the search of {name} covers only {} states", found.states);
    assert!(found.complete > 0, "no state of {name} has every record applied");
}

fn breaks(rule: &str, rules: Rules, bounds: Bounds, expected: fn(&Broken) -> bool) -> Explored {
    let found = explore(rules, bounds);
    println!("without {rule}: {found}");
    let (broken, _) = found.broken.as_ref().unwrap_or_else(|| panic!("nothing breaks without {rule}: {found}"));
    assert!(expected(broken), "without {rule} another promise is broken: {found}");
    found
}

#[test]
fn no_promise_is_broken_by_crashes_zombies_and_lost_answers() {
    holds("one history", ONE_HISTORY, 5_000_000);
}

#[test]
fn no_promise_is_broken_by_a_restored_home() {
    holds("restored", RESTORED, 2_500_000);
}

#[test]
fn no_promise_is_broken_where_shards_are_handed_out_one_by_one() {
    holds("one by one", ONE_BY_ONE, 700_000);
}

#[test]
fn no_promise_is_broken_by_clones_that_draw_the_same_nonces() {
    holds("cloned", CLONED, 900_000);
}

#[test]
fn without_the_generation_a_clone_moves_the_ledger_of_its_successor() {
    let rules = Rules { generation: false, ..Rules::ALL };
    breaks("generation", rules, CLONED, |broken| matches!(broken, Broken::NotTheOwner { .. }));
}

#[test]
fn without_the_nonce_a_restored_home_has_two_owners() {
    let rules = Rules { nonce: false, ..Rules::ALL };
    breaks("nonce", rules, RESTORED, |broken| matches!(broken, Broken::NotTheOwner { .. }));
}

#[test]
fn without_epoch_and_chain_a_restored_home_loses_records() {
    let rules = Rules { contents: false, ..Rules::ALL };
    breaks("epoch and chain", rules, RESTORED, |broken| matches!(broken, Broken::Lost { .. }));
}

#[test]
fn without_the_move_that_aborts_by_itself_a_zombie_repeats_records() {
    let rules = Rules { abort: false, ..Rules::ALL };
    breaks("self-abort", rules, ONE_HISTORY, |broken| {
        matches!(broken, Broken::Repeated { .. } | Broken::Beyond { .. })
    });
}

#[test]
fn with_a_read_instead_of_a_claim_an_answer_is_overtaken() {
    let rules = Rules { claim: false, ..Rules::ALL };
    breaks("claim", rules, ONE_HISTORY, |broken| matches!(broken, Broken::AnswerOvertaken { .. }));
}

#[test]
fn without_the_fence_two_instances_pull_at_a_shard() {
    let rules = Rules { fence: false, ..Rules::ALL };
    breaks("fence", rules, ONE_HISTORY, |broken| matches!(broken, Broken::TugOfWar { .. }));
}

#[test]
fn without_its_own_attempt_a_process_fences_itself() {
    let rules = Rules { own_attempt: false, ..Rules::ALL };
    breaks("own attempt", rules, ONE_HISTORY, |broken| matches!(broken, Broken::FencedByItself { .. }));
}

#[test]
fn without_epoch_0_records_before_the_second_start_are_lost() {
    let rules = Rules { founding: false, ..Rules::ALL };
    breaks("epoch 0", rules, ONE_HISTORY, |broken| matches!(broken, Broken::Lost { .. }));
}
