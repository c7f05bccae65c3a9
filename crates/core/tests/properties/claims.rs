//! Laws of the two decisions that a home leaves to the core: the claim and the move.

use onceflow_core::{ClaimDecision, Held, MoveMismatch, Nonce, ShardRow, check_move, decide_claim};
use proptest::prelude::*;

use super::values::{small_held, small_row};

fn taken(row: &ShardRow, held: Option<Held>, nonce: Nonce) -> Option<ShardRow> {
    match decide_claim(row, held, nonce) {
        ClaimDecision::Take(taken) => Some(taken),
        ClaimDecision::Fenced { .. } => None,
    }
}

fn held(row: &ShardRow) -> Held {
    Held { generation: row.generation, nonce: row.nonce }
}

proptest! {
    #[test]
    fn a_claim_changes_generation_and_nonce_and_nothing_else(row in small_row(), before in small_held(), nonce in 10_u128..) {
        let nonce = Nonce::new(nonce);
        if let Some(taken) = taken(&row, before, nonce) {
            prop_assert!(taken.generation > row.generation);
            prop_assert!(before.is_none_or(|before| taken.generation > before.generation));
            prop_assert_eq!(taken.nonce, nonce);
            prop_assert_eq!((taken.shard, taken.epoch, taken.chain), (row.shard, row.epoch, row.chain));
        }
    }

    #[test]
    fn a_claimer_that_held_nothing_is_never_fenced(row in small_row(), nonce in any::<u128>()) {
        prop_assert!(taken(&row, None, Nonce::new(nonce)).is_some());
    }

    #[test]
    fn a_claimer_is_fenced_exactly_where_another_claimed_since(row in small_row(), before in small_held(), nonce in 10_u128..) {
        let since = before.is_some_and(|before| {
            row.generation > before.generation || (row.generation == before.generation && row.nonce != before.nonce)
        });
        let decided = decide_claim(&row, before, Nonce::new(nonce));
        let fenced = ClaimDecision::Fenced { found: row.generation };
        prop_assert_eq!(decided == fenced, since);
    }

    #[test]
    fn an_owner_claims_again(row in small_row(), nonce in 10_u128..) {
        prop_assert!(taken(&row, Some(held(&row)), Nonce::new(nonce)).is_some());
    }

    #[test]
    fn whoever_was_claimed_from_is_fenced_for_good(row in small_row(), claims in proptest::collection::vec(10_u128.., 1..5)) {
        let mut distinct = claims.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assume!(distinct.len() == claims.len());
        let mut stored = row.clone();
        for nonce in claims {
            let next = taken(&stored, None, Nonce::new(nonce)).expect("held nothing");
            prop_assert_eq!(taken(&next, Some(held(&stored)), Nonce::new(5)), None);
            prop_assert_eq!(taken(&next, Some(held(&row)), Nonce::new(5)), None);
            prop_assert!(check_move(&next, &stored).is_err());
            prop_assert!(check_move(&next, &row).is_err());
            stored = next;
        }
    }

    #[test]
    fn a_restored_home_is_claimed_above_everything_remembered(row in small_row(), ahead in 1_u64..5, nonce in 10_u128..) {
        let mut remembered = held(&row);
        (0..ahead).for_each(|_| remembered.generation = remembered.generation.next());
        let taken = taken(&row, Some(remembered), Nonce::new(nonce)).expect("a lower generation is a restored home");
        prop_assert_eq!(taken.generation, remembered.generation.next());
    }

    #[test]
    fn a_move_matches_only_what_is_equal_and_says_what_differs_first(stored in small_row(), expected in small_row()) {
        let answer = check_move(&stored, &expected);
        let reference = if stored.generation != expected.generation {
            Err(MoveMismatch::Generation { found: stored.generation })
        } else if stored.nonce != expected.nonce {
            Err(MoveMismatch::Nonce)
        } else if stored.epoch != expected.epoch {
            Err(MoveMismatch::Epoch { found: stored.epoch })
        } else if stored.chain != expected.chain {
            Err(MoveMismatch::Chain)
        } else {
            Ok(())
        };
        prop_assert_eq!(answer, reference);
        prop_assert_eq!(answer.is_ok(), stored == expected);
    }
}
