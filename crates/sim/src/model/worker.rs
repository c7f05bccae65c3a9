//! What workers do, and what the world does to them.

use super::Model;
use super::promise::Broken;
use super::translate::Decided;
use super::world::{Life, Phase, Row, SHARDS, Session, Shards, Worker, World};

/// A state that an action leads to, or none where it cannot happen.
type Next = Option<World>;

impl Model {
    pub(super) fn append(&self, world: &World, shard: usize) -> Next {
        (world.log[shard] < self.bounds.log_max[shard]).then(|| {
            let mut next = world.clone();
            next.log[shard] += 1;
            next
        })
    }

    pub(super) fn back_up(&self, world: &World) -> Next {
        let useful = self.bounds.restore && !world.restored && world.backup.is_none();
        useful.then(|| World { backup: Some(world.home.clone()), ..world.clone() })
    }

    /// The home goes back. Transactions are gone; a worker between two transactions notices nothing, as behind a proxy.
    pub(super) fn restore(&self, world: &World) -> Next {
        let backup = world.backup.clone()?;
        (backup != world.home).then(|| {
            let mut next = World { home: backup, backup: None, restored: true, ..world.clone() };
            next.orphans.clear();
            next.sessions_mut().filter(|session| session.is_open()).for_each(|session| session.phase = Phase::Ended);
            // A new history: who lost what to whom belongs to the old one.
            next.workers.iter_mut().for_each(|worker| worker.lost = Shards::NONE);
            next
        })
    }

    pub(super) fn resolve(&self, world: &World, number: usize) -> Next {
        let worker = &world.workers[number];
        let unfounded = world.home.iter().any(|shard| shard.row.is_none());
        (!worker.fenced && unfounded && worker.resolved.is_none() && idle(worker)).then(|| {
            let mut next = world.clone();
            next.workers[number].resolved = Some(world.log);
            next
        })
    }

    pub(super) fn found(&mut self, world: &World, number: usize) -> Next {
        let resolved = world.workers[number].resolved?;
        let mut next = world.clone();
        next.workers[number].resolved = None;
        for (shard, at) in resolved.into_iter().enumerate() {
            if next.home[shard].row.is_none() {
                let at = self.rules.founding.then_some(at);
                next.home[shard].row = Some(self.founding_row(shard, at));
                next.home[shard].origin = at;
            }
        }
        Some(next)
    }

    /// The claim of all shards or none, in one transaction that waits for every lock on their rows.
    pub(super) fn claim(
        &mut self,
        world: &World,
        number: usize,
        shards: Shards,
        answered: bool,
    ) -> Result<Next, Broken> {
        let worker = &world.workers[number];
        let again = worker.held.iter().any(Option::is_some) && !self.rules.claim;
        let possible = !worker.fenced && idle(worker) && !again && world.claims < self.bounds.claims_max;
        if !possible || world.locked().meets(shards) || shards.each().any(|shard| world.home[shard].row.is_none()) {
            return Ok(None);
        }
        let mut next = world.clone();
        next.claims += 1;
        let drawn = self.nonce(&mut next, number);
        let mut rows = [None; SHARDS];
        for shard in shards.each() {
            let stored = world.home[shard].row.expect("looked at above");
            let held = self.held(worker, shard, &stored).filter(|_| self.rules.fence);
            match self.decide(shard, &stored, held, drawn) {
                Decided::Take(row) => rows[shard] = Some(row),
                Decided::Fenced => return self.fenced(next, number, shard).map(Some),
            }
        }
        self.take(&mut next, number, rows)?;
        self.answer_claim(&mut next, number, rows, answered);
        Ok(Some(next))
    }

    /// What a worker says that it held: an unanswered claim that the home shows after all, or its last claim.
    fn held(&self, worker: &Worker, shard: usize, stored: &Row) -> Option<(u8, u8)> {
        let own = Some((stored.generation, stored.nonce));
        if self.rules.own_attempt && worker.attempt[shard] == own { own } else { worker.held[shard] }
    }

    fn nonce(&self, next: &mut World, number: usize) -> u8 {
        if !self.bounds.cloned {
            return next.claims;
        }
        next.workers[number].drawn += 1;
        next.workers[number].drawn
    }

    fn fenced(&self, mut next: World, number: usize, shard: usize) -> Result<World, Broken> {
        let worker = &mut next.workers[number];
        if next.home[shard].owner == Some(worker.life) {
            return Err(Broken::FencedByItself { shard });
        }
        worker.attempt = [None; SHARDS];
        worker.fenced = true;
        worker.drop_ledger();
        Ok(next)
    }

    fn take(&self, next: &mut World, number: usize, rows: [Option<Row>; SHARDS]) -> Result<(), Broken> {
        let life = next.workers[number].life;
        for (shard, row) in rows.iter().enumerate().filter_map(|(shard, row)| row.map(|row| (shard, row))) {
            if next.workers[number].lost.has(shard) {
                return Err(Broken::TugOfWar { shard });
            }
            let stored = &mut next.home[shard];
            if stored.row.is_some_and(|before| before.generation >= row.generation) {
                return Err(Broken::WentBack { shard });
            }
            stored.row = Some(row);
            if let Some(before) = stored.owner.replace(life).filter(|before| *before != life) {
                // Only who knew that it had the shard can have lost it; a claim without an answer is as if it had not started.
                let loser = |worker: &&mut Worker| worker.life == before && worker.held[shard].is_some();
                next.workers
                    .iter_mut()
                    .find(loser)
                    .into_iter()
                    .for_each(|worker| worker.lost = worker.lost.with(shard));
            }
        }
        Ok(())
    }

    fn answer_claim(&self, next: &mut World, number: usize, rows: [Option<Row>; SHARDS], answered: bool) {
        let worker = &mut next.workers[number];
        worker.resolved = None;
        if !answered {
            let sent = rows.map(|row| row.map(|row| (row.generation, row.nonce)));
            worker.attempt = std::array::from_fn(|shard| sent[shard].or(worker.attempt[shard]));
            return;
        }
        worker.attempt = [None; SHARDS];
        self.learn(next, number, rows);
    }

    /// A worker is told the ledger. From here on no transaction that it was not told of may take effect.
    fn learn(&self, next: &mut World, number: usize, rows: [Option<Row>; SHARDS]) {
        let log = next.log;
        let known = |shard: usize| rows[shard].map(|row| Row { next: row.next.or(Some(log[shard])), ..row });
        let worker = &mut next.workers[number];
        worker.ledger = std::array::from_fn(known);
        worker.held = rows.map(|row| row.map(|row| (row.generation, row.nonce)));
        let told = (0..SHARDS).filter(|shard| rows[*shard].is_some()).fold(Shards::NONE, Shards::with);
        let open = next.sessions_mut().filter(|session| session.is_open() && session.shards.meets(told));
        open.for_each(|session| session.overtaken = true);
    }

    /// The mistake that the claim rule forbids: after a lost connection, a plain read of the row, which waits for nothing.
    pub(super) fn read(&self, world: &World, number: usize) -> Result<Next, Broken> {
        let worker = &world.workers[number];
        let possible = !self.rules.claim && !worker.fenced && idle(worker) && worker.held.iter().any(Option::is_some);
        if !possible {
            return Ok(None);
        }
        let mut next = world.clone();
        let mut rows = [None; SHARDS];
        for (shard, known) in rows.iter_mut().enumerate() {
            let Some(held) = worker.held[shard] else { continue };
            *known = world.home[shard].row.filter(|row| (row.generation, row.nonce) == held);
            if known.is_none() {
                return self.fenced(next, number, shard).map(Some);
            }
        }
        self.learn(&mut next, number, rows);
        Ok(Some(next))
    }

    pub(super) fn begin(&mut self, world: &World, number: usize, shards: Shards) -> Next {
        let worker = &world.workers[number];
        if worker.fenced || worker.session.is_some() {
            return None;
        }
        let expected = worker.ledger;
        let readable =
            |shard: usize| expected[shard].and_then(|row| row.next).is_some_and(|next| next < world.log[shard]);
        if !shards.each().all(readable) {
            return None;
        }
        let moved =
            self.moved(&expected, shards, world.log).expect("the core proposes what follows from its own ledger");
        let mut next = world.clone();
        for shard in shards.each() {
            // Reading is the promise: what is read takes effect, whoever goes on.
            let from = expected[shard].and_then(|row| row.next);
            next.home[shard].origin = next.home[shard].origin.or(from);
        }
        next.workers[number].session = Some(Session {
            life: worker.life,
            shards,
            expected,
            moved,
            commit_sent: false,
            phase: Phase::Sent,
            overtaken: false,
        });
        Some(next)
    }

    /// COMMIT may be sent before the move is answered, and is not sent after an answer that says that the move failed.
    pub(super) fn send_commit(&self, world: &World, number: usize) -> Next {
        let mut session = world.workers[number].session?;
        let told_otherwise = match session.phase {
            Phase::Sent => false,
            Phase::Moved(shards) => shards != session.shards,
            _ => true,
        };
        if session.commit_sent || told_otherwise {
            return None;
        }
        session.commit_sent = true;
        let mut next = world.clone();
        next.workers[number].session = Some(session);
        Some(next)
    }

    pub(super) fn answer(&self, world: &World, number: usize) -> Next {
        let session = world.workers[number].session?;
        let mut next = world.clone();
        let worker = &mut next.workers[number];
        match session.phase {
            Phase::Finished { committed: true } => {
                worker.ledger = session.moved;
                worker.session = None;
            }
            Phase::Finished { committed: false } | Phase::Aborted | Phase::Ended => worker.drop_ledger(),
            // The client's own check of a move that matched too few rows, where nothing is in the pipe.
            Phase::Moved(shards) if shards != session.shards && !session.commit_sent => worker.drop_ledger(),
            Phase::Moved(_) | Phase::Sent => return None,
        }
        Some(next)
    }

    pub(super) fn disconnect(&self, world: &World, number: usize) -> Next {
        let session = world.workers[number].session?;
        (world.losses < self.bounds.losses_max).then(|| {
            let mut next = world.clone();
            next.losses += 1;
            next.workers[number].drop_ledger();
            abandon(&mut next, session);
            next
        })
    }

    pub(super) fn crash(&self, world: &World, number: usize) -> Next {
        (world.crashes < self.bounds.crashes_max).then(|| {
            let mut next = world.clone();
            next.crashes += 1;
            let session = next.workers[number].session;
            next.workers[number] = Worker::started(Life(1 + next.crashes));
            session.into_iter().for_each(|session| abandon(&mut next, session));
            next
        })
    }
}

/// What is in the pipe stays in the pipe. Without COMMIT the server can only roll back, at once as far as anybody can see.
fn abandon(next: &mut World, session: Session) {
    if session.commit_sent && session.is_open() {
        next.orphans.push(session);
        next.orphans.sort();
    }
}

fn idle(worker: &Worker) -> bool {
    worker.session.is_none() && worker.ledger.iter().all(Option::is_none)
}
