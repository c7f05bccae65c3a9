//! What happens to broker and database without anybody of ours doing it.

use super::world::{Act, World};
use onceflow_core::Partition;
use std::time::Duration;

/// Snapshots of the home that are kept.
const SNAPSHOTS_MAX: usize = 5;

impl World {
    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Records => self.add_records(),
            Act::Retention => self.forget_records(),
            Act::BrokerFails(millis) => {
                self.note(&format!("the broker does not answer for {millis} ms"));
                self.broker.fails_until = self.now + Duration::from_millis(millis);
            }
            Act::ServerRestarts => {
                self.note("the database restarts");
                let down = self.millis(50, 2_000);
                self.server.down_until = self.now + down;
                self.end_all_sessions("the database restarts");
            }
            Act::Snapshot => {
                self.note("a snapshot of the home is taken");
                let snapshot = self.server.database.clone();
                self.server.snapshots.push(snapshot);
                if self.server.snapshots.len() > SNAPSHOTS_MAX {
                    self.server.snapshots.remove(0);
                }
            }
            Act::Restore => self.restore(),
            Act::Truncate => {
                let partition = self.any_partition();
                self.note(&format!("the log of {} is truncated and goes on", partition.own_shard()));
                self.broker.truncate(&partition, &mut self.chance);
            }
            Act::Recreate => {
                let source = self.any_partition().source;
                self.note(&format!("the topic of {source} is deleted and created again"));
                self.broker.recreate(&source, &mut self.chance);
            }
            Act::NewPartition => {
                let source = self.any_partition().source;
                let partition = self.broker.add_partition(&source, &mut self.chance);
                self.seen.new_partitions += 1;
                self.note(&format!("{} appears", partition.own_shard()));
            }
            // What concerns processes is not the world's.
            Act::Start | Act::Kill | Act::Stop(_) | Act::Resume(_) | Act::Wish | Act::Quiet => {}
        }
    }

    fn any_partition(&mut self) -> Partition {
        let partitions: Vec<_> = self.broker.partitions().cloned().collect();
        let index = usize::try_from(self.chance.below(partitions.len() as u64)).expect("an index fits in usize");
        partitions[index].clone()
    }

    fn add_records(&mut self) {
        let partition = self.any_partition();
        let count = self.chance.between(1, 15);
        self.broker.append(&partition, count, &mut self.chance);
        let end = self.broker.log(&partition).end();
        self.note(&format!("{} has {count} more records, and ends at {end}", partition.own_shard()));
    }

    /// Retention: mostly of what was consumed, now and then of more.
    fn forget_records(&mut self) {
        let partition = self.any_partition();
        let (start, end) = (self.broker.log(&partition).start, self.broker.log(&partition).end());
        let next = self.server.database.positions.get(&partition).map_or(start, |row| row.next.get());
        let most = if self.chance.one_in(4) { end } else { next.min(end) };
        let start = self.chance.between(start, most.max(start));
        // Somebody may still be behind: a zombie, a start that is under way, a home that will be restored.
        self.broker.changes += 1;
        self.broker.log_mut(&partition).start = start;
        self.note(&format!("{} begins at {start} now", partition.own_shard()));
    }

    fn restore(&mut self) {
        // Clones draw the same nonces; a restored home needs them to be fresh.
        if self.server.snapshots.is_empty() || self.faults.cloned {
            return;
        }
        let count = self.server.snapshots.len() as u64;
        let index = usize::try_from(self.chance.below(count)).expect("an index fits in usize");
        self.seen.restores += 1;
        self.note("the home is restored to an earlier state");
        self.end_all_sessions("the home is restored");
        self.server.database = self.server.snapshots[index].clone();
        // Who claimed in the history that is gone has not claimed in this one.
        self.server.database.claimers.clear();
        self.audit("after the home was restored");
    }
}
