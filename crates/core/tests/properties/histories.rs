//! Random histories: owners that claim, propose, commit, lose answers and accept, against a reference that only adds up.

use onceflow_core::{
    Advance, ClaimDecision, Epoch, Ledger, Nonce, PositionRow, ShardId, ShardRow, Span, Violation, check_move,
    decide_claim,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::values::{PARTITIONS, PIPELINE, Part, offsets, partition, parts, positions, shard_of, step};

/// What an owner does next. Two owners take part; each knows only what it was told.
#[derive(Clone, Debug)]
enum Deed {
    Claim(usize),
    /// Propose, commit, and learn the answer.
    Commit(usize, Vec<Part>),
    /// Propose, commit, and never learn it: the owner has to claim.
    CommitUnanswered(usize, Vec<Part>),
    /// Propose, and the transaction never reaches the home.
    Lose(usize, Vec<Part>),
    /// Propose something that a ledger must refuse.
    Wrong(usize, Vec<Part>, Mistake),
}

#[derive(Clone, Copy, Debug)]
enum Mistake {
    Gap,
    Overlap,
    Unbalanced,
    Uncounted,
    Repeated,
    Foreign,
    Nothing,
}

fn mistake() -> impl Strategy<Value = Mistake> {
    use Mistake::{Foreign, Gap, Nothing, Overlap, Repeated, Unbalanced, Uncounted};
    prop::sample::select(vec![Gap, Overlap, Unbalanced, Uncounted, Repeated, Foreign, Nothing])
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = 0_usize..2;
    prop_oneof![
        2 => who.clone().prop_map(Deed::Claim),
        6 => (who.clone(), parts()).prop_map(|(who, parts)| Deed::Commit(who, parts)),
        1 => (who.clone(), parts()).prop_map(|(who, parts)| Deed::CommitUnanswered(who, parts)),
        1 => (who.clone(), parts()).prop_map(|(who, parts)| Deed::Lose(who, parts)),
        2 => (who, parts(), mistake()).prop_map(|(who, parts, mistake)| Deed::Wrong(who, parts, mistake)),
    ]
}

/// The home: rows as values, and the reference, which adds up what was committed.
struct Home {
    shards: BTreeMap<ShardId, ShardRow>,
    positions: Vec<PositionRow>,
    committed: [Vec<u64>; PARTITIONS],
    spans: [Vec<Span>; PARTITIONS],
    epochs: BTreeMap<ShardId, u64>,
    tails: [Option<u64>; PARTITIONS],
    leader_epochs: [Option<i32>; PARTITIONS],
    claims: u128,
}

impl Home {
    fn founded(at: [u64; PARTITIONS]) -> Self {
        let positions = positions(at);
        let found = |row: &PositionRow| (row.shard.clone(), ShardRow::founding(PIPELINE, row.shard.clone()));
        Self {
            shards: positions.iter().map(found).collect(),
            positions,
            committed: Default::default(),
            spans: Default::default(),
            epochs: BTreeMap::new(),
            tails: [None; PARTITIONS],
            leader_epochs: [None; PARTITIONS],
            claims: 0,
        }
    }

    fn next(&self) -> [u64; PARTITIONS] {
        std::array::from_fn(|number| self.positions[number].next.get())
    }

    /// All shards or none.
    fn claim(&mut self, before: Option<&Ledger>) -> Option<Ledger> {
        self.claims += 1;
        let held = before.map(Ledger::held).unwrap_or_default();
        let mut taken = BTreeMap::new();
        for (shard, row) in &self.shards {
            match decide_claim(row, held.get(shard).copied(), Nonce::new(self.claims)) {
                ClaimDecision::Take(row) => taken.insert(shard.clone(), row),
                ClaimDecision::Fenced { .. } => return None,
            };
        }
        self.shards = taken;
        let rows = self.shards.values().cloned();
        Some(Ledger::claimed(PIPELINE, rows, self.positions.clone()).expect("every position has its shard"))
    }

    /// The transaction: the move first, and with it everything or nothing.
    fn commit(&mut self, advance: &Advance, parts: &[Part]) -> bool {
        let moves = advance.moves();
        if moves.iter().any(|step| check_move(&self.shards[&step.expected.shard], &step.expected).is_err()) {
            return false;
        }
        let from = self.next();
        for part in parts {
            let offsets = offsets(part, from[part.partition]).0;
            self.tails[part.partition] = offsets.last().copied().or(self.tails[part.partition]);
            self.leader_epochs[part.partition] = part.leader_epoch.or(self.leader_epochs[part.partition]);
            self.committed[part.partition].extend(offsets);
        }
        for consumed in &advance.step().consumed {
            let number = usize::try_from(consumed.partition.number).expect("a small number");
            self.spans[number].push(consumed.span);
        }
        for step in moves {
            let row = ShardRow { epoch: step.epoch, chain: step.chain, ..step.expected.clone() };
            *self.epochs.entry(row.shard.clone()).or_default() += 1;
            self.shards.insert(row.shard.clone(), row);
        }
        for row in advance.positions() {
            let number = usize::try_from(row.partition.number).expect("a small number");
            assert!(row.next >= self.positions[number].next, "a position went back");
            self.positions[number] = row.clone();
        }
        true
    }

    /// Records are applied once and in order; spans follow one another without a gap; epochs are counted.
    fn check(&self, start: [u64; PARTITIONS]) {
        for (number, start) in start.into_iter().enumerate() {
            assert!(
                self.committed[number].is_sorted_by(|a, b| a < b),
                "partition {number}: {:?}",
                self.committed[number]
            );
            let whole = self.spans[number]
                .iter()
                .try_fold(Span::empty(onceflow_core::Position::new(start)), |whole, span| whole.join(*span));
            let whole = whole.expect("the spans follow one another");
            let row = &self.positions[number];
            assert_eq!(whole.to(), row.next);
            assert_eq!(row.tail.map(|tail| tail.offset.get()), self.tails[number], "the last record consumed");
            assert_eq!(row.leader_epoch, self.leader_epochs[number], "the last leader epoch known");
        }
        for (shard, row) in &self.shards {
            assert_eq!(row.epoch, Epoch::new(self.epochs.get(shard).copied().unwrap_or(0)));
        }
    }
}

/// An owner: what it was told last, and whether it may go on with it.
#[derive(Default)]
struct Owner {
    ledger: Option<Ledger>,
    stale: bool,
    fenced: bool,
}

impl Owner {
    fn claim(&mut self, home: &mut Home) {
        if self.fenced {
            return;
        }
        let claimed = home.claim(self.ledger.as_ref());
        self.fenced = claimed.is_none();
        self.stale = false;
        self.ledger = claimed;
    }

    fn live(&mut self) -> Option<&mut Ledger> {
        if self.stale || self.fenced { None } else { self.ledger.as_mut() }
    }
}

/// Where an owner believes its partitions to be.
fn believed(ledger: &Ledger) -> [u64; PARTITIONS] {
    let mut next = ledger.positions().map(|row| row.next.get());
    std::array::from_fn(|_| next.next().expect("a ledger holds all partitions"))
}

fn commit(home: &mut Home, owner: &mut Owner, parts: &[Part], answered: bool) {
    let Some(ledger) = owner.live() else { return };
    let advance = ledger.propose(step(parts, &believed(ledger))).expect("a right step at the ledger's own position");
    check_advance(ledger, &advance);
    assert_eq!(ledger.propose(step(parts, &believed(ledger))), Err(Violation::AdvanceOutstanding));
    let newest = ledger.shards().all(|row| home.shards[&row.shard].generation == row.generation);
    let done = home.commit(&advance, parts);
    assert_eq!(done, newest, "exactly the newest owner commits");
    if !(done && answered) {
        owner.stale = true;
        return;
    }
    ledger.accept(advance.committed()).expect("its own advance");
    let stored: Vec<&ShardRow> = home.shards.values().collect();
    assert_eq!(ledger.shards().collect::<Vec<_>>(), stored, "memory and home agree");
    assert_eq!(believed(ledger), home.next());
}

/// Epochs grow by one, every chain is new, moves come in order and only for shards that were touched.
fn check_advance(ledger: &Ledger, advance: &Advance) {
    let touched: std::collections::BTreeSet<ShardId> = advance
        .step()
        .consumed
        .iter()
        .map(|part| shard_of(usize::try_from(part.partition.number).expect("a small number")))
        .collect();
    let moved: Vec<ShardId> = advance.moves().iter().map(|step| step.expected.shard.clone()).collect();
    assert_eq!(moved, touched.into_iter().collect::<Vec<_>>());
    for step in advance.moves() {
        let current = ledger.shards().find(|row| row.shard == step.expected.shard);
        assert_eq!(current, Some(&step.expected));
        assert_eq!(step.epoch, step.expected.epoch.next());
        assert_ne!(step.chain, step.expected.chain);
    }
    assert!(advance.positions().is_sorted_by(|a, b| a.partition < b.partition));
}

fn refuse(owner: &mut Owner, parts: &[Part], mistake: Mistake) {
    let Some(ledger) = owner.live() else { return };
    let next = believed(ledger);
    let first = parts[0].partition;
    let mut at = next;
    let mut wrong = step(parts, &next);
    match mistake {
        Mistake::Gap => {
            at[first] += 1;
            wrong = step(parts, &at);
        }
        Mistake::Overlap => {
            at[first] = at[first].saturating_sub(1);
            if at == next {
                return;
            }
            wrong = step(parts, &at);
        }
        Mistake::Unbalanced => wrong.counts.late += 1,
        Mistake::Uncounted => {
            wrong.counts.records += 1;
            wrong.counts.used += 1;
        }
        Mistake::Repeated => {
            let mut again = wrong.consumed[0].clone();
            again.digest = onceflow_core::Digest::EMPTY;
            wrong.consumed.push(again);
        }
        Mistake::Foreign => wrong.consumed[0].partition = partition(PARTITIONS + 1),
        Mistake::Nothing => wrong.consumed.retain(|part| part.span.is_empty()),
    }
    let refused = ledger.propose(wrong).expect_err("a wrong step must be refused");
    let fits = match mistake {
        Mistake::Gap | Mistake::Overlap => matches!(refused, Violation::SpanNotAtPosition { .. }),
        Mistake::Unbalanced => matches!(refused, Violation::CountsNotBalanced { .. }),
        Mistake::Uncounted => matches!(refused, Violation::RecordsDiffer { .. }),
        Mistake::Repeated => matches!(refused, Violation::RepeatedPartition(_)),
        Mistake::Foreign => matches!(refused, Violation::UnknownPartition(_)),
        Mistake::Nothing => matches!(refused, Violation::NothingToMove),
    };
    assert!(fits, "{mistake:?} was refused as {refused}");
    assert_eq!(believed(ledger), next, "after a refusal the ledger is as before");
}

fn live_through(start: [u64; PARTITIONS], deeds: &[Deed]) {
    let mut home = Home::founded(start);
    let mut owners = [Owner::default(), Owner::default()];
    owners[0].claim(&mut home);
    for deed in deeds {
        match deed {
            Deed::Claim(who) => owners[*who].claim(&mut home),
            Deed::Commit(who, parts) => commit(&mut home, &mut owners[*who], parts, true),
            Deed::CommitUnanswered(who, parts) => commit(&mut home, &mut owners[*who], parts, false),
            Deed::Lose(who, parts) => {
                if let Some(ledger) = owners[*who].live() {
                    let next = believed(ledger);
                    drop(ledger.propose(step(parts, &next)));
                    owners[*who].stale = true;
                }
            }
            Deed::Wrong(who, parts, mistake) => refuse(&mut owners[*who], parts, *mistake),
        }
        // A process that was fenced has ended; somebody starts it again.
        owners.iter_mut().filter(|owner| owner.fenced).for_each(|owner| *owner = Owner::default());
        home.check(start);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_history_applies_every_record_once(
        start in proptest::array::uniform4(0_u64..5),
        deeds in proptest::collection::vec(deed(), 1..40),
    ) {
        live_through(start, &deeds);
    }
}

#[test]
fn an_advance_of_another_ledger_is_not_accepted() {
    let mut home = Home::founded([0; PARTITIONS]);
    let mut first = home.claim(None).expect("nobody else is there");
    let mut second = home.claim(None).expect("it held nothing");
    let parts = [Part { partition: 0, gaps: vec![0, 0], trailing: 0, leader_epoch: None }];
    let advance = second.propose(step(&parts, &[0; PARTITIONS])).expect("a right step");
    assert_eq!(first.accept(advance.committed()), Err(Violation::ForeignAdvance));
    let own = first.propose(step(&parts, &[0; PARTITIONS])).expect("nothing is outstanding");
    assert_eq!(second.accept(own.committed()), Err(Violation::ForeignAdvance));
}

#[test]
fn the_order_of_partitions_in_a_step_does_not_matter() {
    let parts: Vec<Part> = (0..PARTITIONS)
        .map(|partition| Part { partition, gaps: vec![1; partition + 1], trailing: 1, leader_epoch: None })
        .collect();
    let turned: Vec<Part> = parts.iter().rev().cloned().collect();
    let proposed = |parts: &[Part]| {
        let mut ledger = Home::founded([3; PARTITIONS]).claim(None).expect("nobody else is there");
        ledger.propose(step(parts, &[3; PARTITIONS])).expect("a right step")
    };
    let (straight, reversed) = (proposed(&parts), proposed(&turned));
    assert_eq!(straight.moves(), reversed.moves());
    assert_eq!(straight.positions(), reversed.positions());
}

#[test]
fn a_ledger_without_the_shard_of_a_position_is_refused() {
    let rows = positions([0; PARTITIONS]);
    let only = ShardRow::founding(PIPELINE, shard_of(0));
    let refused = Ledger::claimed(PIPELINE, [only], rows).expect_err("three shards are missing");
    assert_eq!(refused, Violation::ClaimIncomplete(shard_of(1)));
}
