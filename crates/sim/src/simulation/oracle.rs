//! The oracle: what must be true after every step and at the end. It knows the logs, every claim and every commit, and shares
//! no code with the engine but the hashes of records and of the chain, which it computes again.

use super::bank::{Entry, Meaning, REFUSED, meaning};
use super::broker::Log;
use super::server::Session;
use super::statement::{MoveAsk, Open, Owner};
use super::world::{Process, World};
use onceflow_core::{Consumed, Counts, Digest, Generation, Held, Partition, Position, PositionRow, Seal, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// What records are to do to the tables.
#[derive(Default, PartialEq, Eq, Debug)]
struct Effect {
    entries: Vec<Entry>,
    letters: Vec<u64>,
    counts: Counts,
    digest: Digest,
}

impl Effect {
    fn of(source: i64, partition: &Partition, log: &Log, from: u64, to: u64) -> Self {
        let mut effect = Self::default();
        for (offset, stored) in log.records(from, to) {
            effect.counts.records += 1;
            effect.digest.add(stored.fingerprint(offset).get());
            match meaning(stored.value.as_deref()) {
                Meaning::Transfer { amount: REFUSED, .. } | Meaning::Dead => {
                    effect.counts.dead += 1;
                    effect.letters.push(offset);
                }
                Meaning::Transfer { from, to, amount } => {
                    effect.counts.used += 1;
                    let (partition, offset) = (i64::from(partition.number), Position::new(offset).signed());
                    effect.entries.push(Entry { source, partition, offset, from, to, amount });
                }
                Meaning::Filtered => effect.counts.filtered += 1,
                Meaning::Skipped => effect.counts.skipped += 1,
            }
        }
        effect
    }
}

/// Sums by account; accounts at zero are left out.
fn sums(sides: impl Iterator<Item = (i64, i64)>) -> BTreeMap<i64, i64> {
    let mut sums = BTreeMap::new();
    for (account, delta) in sides {
        *sums.entry(account).or_default() += delta;
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

fn sides(entry: &Entry) -> [(i64, i64); 2] {
    [(entry.from, -entry.amount), (entry.to, entry.amount)]
}

/// Whether two histories have the same records in `from..to`.
fn same(one: &Log, other: &Log, from: u64, to: u64) -> bool {
    one.records(from, to).eq(other.records(from, to))
}

/// What the oracle knows of processes, whatever becomes of the home.
#[derive(Default)]
pub(super) struct Memory {
    /// Claims that were answered.
    answered: BTreeSet<u64>,
    /// The highest generation in which each process was told to own each shard.
    generations: BTreeMap<(Process, ShardId), Generation>,
    /// Shards in which a process met another's later claim.
    outdone: BTreeSet<(Process, ShardId)>,
    /// Shards that an idle process found restored, and did not move since.
    restored: BTreeSet<(Process, ShardId)>,
}

impl Memory {
    /// Whether a process has a reason to end as fenced.
    pub(super) fn is_outdone(&self, process: Process) -> bool {
        self.outdone.iter().any(|(own, _)| *own == process)
    }
}

impl World {
    fn source(&self, partition: &Partition) -> i64 {
        let index = self.broker.sources.iter().position(|name| *name == partition.source);
        i64::try_from(index.unwrap_or(usize::MAX)).unwrap_or(-1)
    }

    /// A founding stores first positions once, and never touches what is there.
    pub(super) fn check_founding(&mut self, row: &PositionRow, known: bool) {
        if known {
            return self.broke(format!("{} was founded again", row.shard));
        }
        self.server.database.founded.insert(row.partition.clone(), row.next);
        self.server.database.applied.insert(row.partition.clone(), self.broker.history(&row.partition));
    }

    /// A process is sent away only where another one claimed after it.
    pub(super) fn check_fenced(&mut self, session: Session, shard: &ShardId, owner: Owner) {
        if self.is_abandoned(session) {
            // It has claimed again meanwhile, and nobody hears this answer.
            return;
        }
        self.seen.fenced_claims += 1;
        self.note_outdone(owner.0, std::slice::from_ref(shard));
        self.note(&format!("p{} is fenced at {shard}", owner.0));
        let last = self.server.database.owners.get(shard).copied();
        if last.is_some_and(|last| last.0 == owner.0) && !self.faults.cloned {
            self.broke(format!("p{} was fenced at {shard} by itself", owner.0));
        }
    }

    pub(super) fn note_outdone(&mut self, process: Process, shards: &[ShardId]) {
        self.memory.outdone.extend(shards.iter().map(|shard| (process, shard.clone())));
    }

    /// An idle process read that its shards do not stand as it left them: another one claimed them, or the home was restored.
    pub(super) fn note_unowned(&mut self, session: Session, held: &BTreeMap<ShardId, Held>) {
        let process = self.server.connections[&session].process;
        let stored = &self.server.database.shards;
        let changed = held.iter().filter(|(shard, held)| {
            stored.get(*shard).is_none_or(|row| (row.generation, row.nonce) != (held.generation, held.nonce))
        });
        let is_lower =
            |shard: &ShardId, held: &Held| stored.get(shard).is_none_or(|row| row.generation < held.generation);
        let (lower, other): (Vec<_>, Vec<_>) = changed.partition(|(shard, held)| is_lower(shard, held));
        let outdone: Vec<_> = other.into_iter().map(|(shard, _)| shard.clone()).collect();
        self.note_outdone(process, &outdone);
        if !lower.is_empty() {
            self.note(&format!("idle p{process} finds a restored home"));
            self.seen.idle_restores += 1;
            self.memory.restored.extend(lower.into_iter().map(|(shard, _)| (process, shard.clone())));
        }
    }

    /// A process is told that its claim took effect: generations never decrease in its memory.
    pub(super) fn check_answered(&mut self, owner: Owner, held: &BTreeMap<ShardId, Held>) {
        self.memory.answered.insert(owner.1);
        for (shard, held) in held {
            let (own, generation) = ((owner.0, shard.clone()), held.generation);
            self.memory.outdone.remove(&own);
            let before = self.memory.generations.insert(own, generation);
            if let Some(before) = before.filter(|before| *before >= generation) {
                self.broke(format!("p{} went from generation {before} of {shard} to {generation}", owner.0));
            }
        }
    }

    /// Looks at a transaction before it is applied.
    pub(super) fn check_commit(&mut self, session: Session, open: &Open) {
        if let Some((owner, rows)) = &open.claimed {
            for row in rows {
                self.check_claim(*owner, row.shard.clone(), row.generation.get());
            }
            return;
        }
        self.seen.commits += 1;
        let process = self.server.connections[&session].process;
        let Some(moved) = &open.moved else {
            if !open.entries.is_empty() || !open.balances.is_empty() {
                self.broke(format!("rows of p{process} were committed and the ledger did not move"));
            }
            return;
        };
        self.note_commit(moved);
        self.check_owner(moved);
        self.check_step(moved);
        self.check_rows(open, moved);
    }

    fn note_commit(&mut self, moved: &MoveAsk) {
        let spans = moved.step.consumed.iter().map(|part| format!("{} {}", part.partition.own_shard(), part.span));
        let spans: Vec<_> = spans.collect();
        let chain = moved.moves.first().map(|step| step.chain.to_string()).unwrap_or_default();
        self.note(&format!("COMMIT of p{}: {} chain {:.8}", moved.owner.0, spans.join(", "), chain));
    }

    fn check_claim(&mut self, owner: Owner, shard: ShardId, generation: u64) {
        self.note(&format!("p{} owns {shard} in generation {generation}", owner.0));
        let database = &self.server.database;
        let stored = database.shards.get(&shard).map_or(0, |row| row.generation.get());
        let last = database.owners.get(&shard).copied();
        // A claim that was never answered is none for who made it: it is a start that goes on.
        let own = |claim: &&Owner| claim.0 == owner.0 && self.memory.answered.contains(&claim.1);
        let before = database.claimers.get(&shard).is_some_and(|claimers| claimers.iter().any(|claim| own(&claim)));
        if generation <= stored {
            self.broke(format!("a claim of {shard} led from generation {stored} to {generation}"));
        }
        if before && last.is_some_and(|last| last.0 != owner.0) && !self.faults.cloned {
            self.broke(format!("p{} took {shard} back from the process that claimed it after it", owner.0));
        }
    }

    /// Only the last claim of a shard moves it.
    fn check_owner(&mut self, moved: &MoveAsk) {
        for step in &moved.moves {
            let shard = &step.expected.shard;
            let owner = self.server.database.owners.get(shard).copied();
            if owner != Some(moved.owner) {
                let text = format!("{:?} moved {shard}, which was claimed by {owner:?} after it", moved.owner);
                self.broke(text);
            }
            let went_on = self.memory.restored.remove(&(moved.owner.0, shard.clone()));
            self.seen.went_on += u64::from(went_on);
        }
    }

    /// Epochs grow by one, spans begin at the position, chains cover what was before.
    fn check_step(&mut self, moved: &MoveAsk) {
        let seal = Seal::of(&moved.step.counts, &moved.step.tables);
        for step in &moved.moves {
            let shard = &step.expected.shard;
            let Some(stored) = self.server.database.shards.get(shard).cloned() else { continue };
            let consumed = moved.step.consumed.iter().filter(|part| part.partition.own_shard() == *shard);
            let consumed: Vec<&Consumed> = consumed.collect();
            if step.epoch.get() != stored.epoch.get() + 1 {
                self.broke(format!("{shard} went from epoch {} to {}", stored.epoch, step.epoch));
            }
            if step.chain != stored.chain.next(shard, step.epoch, &consumed, &seal) {
                self.broke(format!("the chain of {shard} does not cover epoch {}", stored.epoch));
            }
        }
        for row in &moved.positions {
            let stored = self.server.database.positions.get(&row.partition).map(|stored| stored.next);
            let part = moved.step.consumed.iter().find(|part| part.partition == row.partition);
            let span = part.map(|part| part.span);
            if span.map(|span| Some(span.from())) != Some(stored) || span.map(|span| span.to()) != Some(row.next) {
                self.broke(format!("{} stood at {stored:?}, and was moved over {span:?} to {}", row.shard, row.next));
            }
        }
    }

    /// The rows are what the records of the spans are to do, no more and no less.
    fn check_rows(&mut self, open: &Open, moved: &MoveAsk) {
        let mut counts = Counts::default();
        for part in &moved.step.consumed {
            match self.matching(open, part) {
                Some((history, effect)) => {
                    self.server.database.applied.insert(part.partition.clone(), history);
                    counts.merge(&effect.counts);
                    self.seen.transfers += effect.entries.len() as u64;
                }
                None => {
                    let shard = part.partition.own_shard();
                    self.broke(format!("the rows of {shard} {} are not what its records are to do", part.span));
                }
            }
        }
        let said = open.close.as_ref().map(|close| close.counts);
        if self.broken.is_none() && said != Some(counts) {
            self.broke(format!("the commit row says {said:?}, and the records were {counts:?}"));
        }
        let own = sums(open.balances.iter().copied());
        if own != sums(open.entries.iter().flat_map(sides)) {
            self.broke("the balances of a transaction are not what its entries say".to_owned());
        }
    }

    /// The history of the log whose records the transaction applied, as far as it goes on from what was applied before.
    fn matching(&self, open: &Open, part: &Consumed) -> Option<(usize, Effect)> {
        let (partition, source) = (&part.partition, self.source(&part.partition));
        let (from, to) = (part.span.from().get(), part.span.to().get());
        let number = i64::from(partition.number);
        let own = open.entries.iter().filter(|entry| entry.source == source && entry.partition == number);
        let mut entries: Vec<_> = own.copied().collect();
        entries.sort_unstable();
        let letters = open.close.iter().flat_map(|close| &close.letters).filter(|(of, _)| of == partition);
        let mut letters: Vec<u64> = letters.map(|(_, offset)| *offset).collect();
        letters.sort_unstable();
        let applied = self.server.database.applied.get(partition).copied()?;
        let founded = self.server.database.founded.get(partition)?.get();
        let logs = self.broker.histories(partition);
        let goes_on = |history: &usize| same(&logs[applied], &logs[*history], founded, from);
        let fits = |history: usize| {
            let effect = Effect::of(source, partition, &logs[history], from, to);
            let fits = effect.entries == entries && effect.letters == letters && effect.digest == part.digest;
            fits.then_some((history, effect))
        };
        (applied..logs.len()).filter(goes_on).find_map(fits)
    }

    /// What a process tells others must be durable.
    pub(super) fn told(&mut self, partition: &Partition, position: Position, how: &str) {
        if self.server.durable.get(partition).copied().unwrap_or_default() < position {
            self.broke(format!("{position} of {} was {how} and never committed", partition.own_shard()));
        }
    }

    /// Everything in the tables, computed anew from the logs and the positions.
    pub(super) fn audit(&mut self, when: &str) {
        let database = &self.server.database;
        let (mut entries, mut letters) = (Vec::new(), Vec::new());
        for (partition, row) in &database.positions {
            let log = &self.broker.histories(partition)[database.applied[partition]];
            let founded = database.founded[partition].get();
            let effect = Effect::of(self.source(partition), partition, log, founded, row.next.get());
            entries.extend(effect.entries);
            letters.extend(effect.letters.into_iter().map(|offset| (partition.clone(), offset)));
        }
        let count = |multiset: Vec<_>| multiset.into_iter().map(|entry| (entry, 1_u64)).collect::<BTreeMap<_, _>>();
        let balances = sums(entries.iter().flat_map(sides));
        let stored = sums(database.balances.iter().map(|(account, sum)| (*account, *sum)));
        let zero = database.balances.values().sum::<i64>() == 0;
        let letters: BTreeMap<_, _> = letters.into_iter().map(|letter| (letter, 1_u64)).collect();
        let wrong = [
            ("entries", count(entries) != database.entries),
            ("balances", balances != stored || !zero),
            ("dead letters", letters != database.letters),
        ];
        for (what, _) in wrong.into_iter().filter(|(_, wrong)| *wrong) {
            self.broke(format!("{when}: the {what} are not those of the records below the positions"));
        }
    }

    /// The logs that the home cannot go on with, for the reasons that an operator has to decide about.
    pub(super) fn unfit(&self) -> Vec<Partition> {
        let database = &self.server.database;
        let unfit = |(partition, row): &(&Partition, &PositionRow)| {
            let (log, next) = (self.broker.log(partition), row.next.get());
            let applied = &self.broker.histories(partition)[database.applied[*partition]];
            log.identity != row.identity
                || log.start > next
                || log.end() < next
                || row.leader_epoch.is_some_and(|epoch| log.epoch_end(epoch) < next)
                || !same(applied, log, database.founded[*partition].get(), next)
        };
        database.positions.iter().filter(unfit).map(|(partition, _)| partition.clone()).collect()
    }

    /// Every record of every log has been consumed, and what was consumed is what is there.
    pub(super) fn check_complete(&mut self) {
        let positions = &self.server.database.positions;
        let missing = self.broker.partitions().filter(|partition| {
            let end = self.broker.log(partition).end();
            positions.get(*partition).is_none_or(|row| row.next.get() != end)
        });
        let missing: Vec<_> = missing.map(|partition| partition.own_shard().to_string()).collect();
        if !missing.is_empty() {
            self.broke(format!("not everything was read at the end: {}", missing.join(", ")));
        }
        let unfit: Vec<_> = self.unfit().iter().map(|partition| partition.own_shard().to_string()).collect();
        if !unfit.is_empty() {
            self.broke(format!("it read on although the log had become another one: {}", unfit.join(", ")));
        }
    }
}
