//! What a home remembers of its own claims.
//!
//! A claim may have taken effect although its answer was lost, or although the answer came and a later step of the same claim failed.
//! The engine then knows nothing of it, and its next claim would take the row for somebody else's and end as fenced by itself.

use crate::home::ClaimRequest;
use onceflow_core::{Held, Ledger, ShardId, ShardRow};
use std::collections::BTreeMap;

/// Claims that were sent and may stand in the ledger.
#[derive(Clone, Default, Debug)]
pub struct Attempts(BTreeMap<ShardId, Vec<Held>>);

impl Attempts {
    /// What this process holds of a shard: one of its own attempts, where the ledger shows it, else what the engine says.
    pub fn held(&self, request: &ClaimRequest, found: &ShardRow) -> Option<Held> {
        self.own(found).or_else(|| request.held.get(&found.shard).copied())
    }

    /// The attempt that the ledger shows, where it shows one.
    pub fn own(&self, found: &ShardRow) -> Option<Held> {
        let attempts = self.0.get(&found.shard)?;
        Some(of(found)).filter(|own| attempts.contains(own))
    }

    /// Remembers rows, before the claim's COMMIT is sent.
    pub fn sent<'a>(&mut self, rows: impl IntoIterator<Item = &'a ShardRow>) {
        for row in rows {
            self.0.entry(row.shard.clone()).or_default().push(of(row));
        }
    }

    /// Forgets all attempts but the one that was answered.
    pub fn answered(&mut self, ledger: &Ledger) {
        self.0.clear();
        self.sent(ledger.shards());
    }
}

fn of(row: &ShardRow) -> Held {
    Held { generation: row.generation, nonce: row.nonce }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onceflow_core::{ClaimDecision, Generation, Nonce, Partition, PipelineId, decide_claim};

    fn request(held: Option<Held>, nonce: u128) -> ClaimRequest {
        let shard = Partition::new("s", "t", 0).own_shard();
        let held = held.into_iter().map(|held| (shard.clone(), held)).collect();
        let (lane, pipeline) = ("0".to_owned(), PipelineId::new(1));
        ClaimRequest { pipeline, shards: vec![shard], held, nonce: Nonce::new(nonce), lane }
    }

    /// Sends a claim over a row; what the ledger shows where it takes effect.
    fn claim(attempts: &mut Attempts, row: &ShardRow, request: &ClaimRequest) -> Option<ShardRow> {
        match decide_claim(row, attempts.held(request, row), request.nonce) {
            ClaimDecision::Take(taken) => {
                attempts.sent([&taken]);
                Some(taken)
            }
            ClaimDecision::Fenced { .. } => None,
        }
    }

    #[test]
    fn no_order_of_lost_answers_makes_a_process_a_stranger_to_itself() {
        let founding = ShardRow::founding(PipelineId::new(1), Partition::new("s", "t", 0).own_shard());
        // Each bit says whether a claim took effect; the engine never hears of any.
        for effects in 0..32_u32 {
            let mut attempts = Attempts::default();
            let mut row = claim(&mut attempts, &founding, &request(None, 1)).expect("nobody else is there");
            let held = Some(of(&row));
            attempts.answered(&Ledger::claimed(PipelineId::new(1), [row.clone()], []).expect("a ledger"));
            for number in 0..5_u32 {
                let asked = request(held, u128::from(number) + 2);
                let taken = claim(&mut attempts, &row, &asked);
                let taken = taken.unwrap_or_else(|| panic!("fenced by itself: {effects:05b}, claim {number}"));
                if effects >> number & 1 == 1 {
                    row = taken;
                }
            }
        }
    }

    #[test]
    fn an_answer_that_the_engine_never_got_is_its_own_and_a_strangers_claim_is_not() {
        let founding = ShardRow::founding(PipelineId::new(1), Partition::new("s", "t", 0).own_shard());
        let mut attempts = Attempts::default();
        let row = claim(&mut attempts, &founding, &request(None, 1)).expect("nobody else is there");
        attempts.answered(&Ledger::claimed(PipelineId::new(1), [row.clone()], []).expect("a ledger"));
        let old = Held { generation: Generation::NONE, nonce: Nonce::new(9) };
        assert!(claim(&mut attempts, &row, &request(Some(old), 2)).is_some());
        let strange = ShardRow { generation: row.generation.next(), nonce: Nonce::new(77), ..row };
        assert!(claim(&mut attempts, &strange, &request(Some(old), 3)).is_none());
    }
}
