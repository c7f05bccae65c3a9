//! What can happen. The search tries every action in every state; one that cannot happen there leads nowhere.

use super::promise::Broken;
use super::world::{SHARDS, Shards, WORKERS, World};
use super::{Bounds, Model};

/// One thing that happens. Workers by number; a session is a worker's own or an orphan's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A producer appends a record to a partition.
    Append(usize),
    /// A backup of the home is made.
    Backup,
    /// The home is restored from it: transactions are gone, idle workers do not notice.
    Restore,
    /// A worker finds no ledger and looks at the ends of the log.
    Resolve(usize),
    /// It stores epoch 0 of the shards that have none.
    Found(usize),
    /// It claims, and gets the answer.
    Claim(usize, Shards),
    /// It claims, and the answer is lost.
    ClaimUnanswered(usize, Shards),
    /// Only where the claim rule is off: it reads the ledger instead.
    Read(usize),
    /// It consumes what there is of these shards and sends BEGIN, the move and the rows.
    Begin(usize, Shards),
    /// It sends COMMIT, without or after an answer to the move.
    SendCommit(usize),
    /// The server executes the next statement of a worker's session.
    Serve(usize),
    /// The server executes the next statement of an orphan.
    ServeOrphan(usize),
    /// A worker gets the answer to its transaction.
    Answer(usize),
    /// A worker loses its connection.
    Disconnect(usize),
    /// A worker crashes and starts again; or, once fenced, is started again by somebody.
    Crash(usize),
    /// The server ends a worker's session: for a claimer that waits for its lock, or for any other reason.
    End(usize),
    /// The server notices that an orphan's client is gone.
    EndOrphan(usize),
}

/// Orphans at most; bounded by crashes and losses.
const ORPHANS_MAX: usize = 4;
const SUBSETS: [Shards; 3] = [Shards::FIRST, Shards::SECOND, Shards::BOTH];

impl Action {
    /// All actions that a model with these bounds knows.
    pub fn all(bounds: &Bounds) -> Vec<Action> {
        let mut all = vec![Action::Backup, Action::Restore];
        all.extend((0..SHARDS).map(Action::Append));
        for worker in 0..WORKERS {
            all.extend(Self::of_worker(worker));
            all.extend(bounds.claimed.iter().map(|shards| Action::Claim(worker, *shards)));
            all.extend(bounds.claimed.iter().map(|shards| Action::ClaimUnanswered(worker, *shards)));
            all.extend(SUBSETS.iter().map(|shards| Action::Begin(worker, *shards)));
        }
        all.extend((0..ORPHANS_MAX).flat_map(|orphan| [Action::ServeOrphan(orphan), Action::EndOrphan(orphan)]));
        all
    }

    fn of_worker(worker: usize) -> [Action; 9] {
        [
            Action::Resolve(worker),
            Action::Found(worker),
            Action::Read(worker),
            Action::SendCommit(worker),
            Action::Serve(worker),
            Action::Answer(worker),
            Action::Disconnect(worker),
            Action::Crash(worker),
            Action::End(worker),
        ]
    }
}

impl Model {
    /// The state after an action, `None` where it cannot happen, or the promise that it breaks.
    pub fn after(&mut self, world: &World, action: Action) -> Result<Option<World>, Broken> {
        let next = match action {
            Action::Append(shard) => self.append(world, shard),
            Action::Backup => self.back_up(world),
            Action::Restore => self.restore(world),
            Action::Resolve(worker) => self.resolve(world, worker),
            Action::Found(worker) => self.found(world, worker),
            Action::Claim(worker, shards) => self.claim(world, worker, shards, true)?,
            Action::ClaimUnanswered(worker, shards) => self.claim(world, worker, shards, false)?,
            Action::Read(worker) => self.read(world, worker)?,
            Action::Begin(worker, shards) => self.begin(world, worker, shards),
            Action::SendCommit(worker) => self.send_commit(world, worker),
            Action::Serve(worker) => self.serve_worker(world, worker)?,
            Action::ServeOrphan(orphan) => self.serve_orphan(world, orphan)?,
            Action::Answer(worker) => self.answer(world, worker),
            Action::Disconnect(worker) => self.disconnect(world, worker),
            Action::Crash(worker) => self.crash(world, worker),
            Action::End(worker) => self.end(world, worker),
            Action::EndOrphan(orphan) => self.end_orphan(world, orphan),
        };
        if let Some(next) = &next {
            super::promise::check(next)?;
        }
        Ok(next)
    }
}
