//! What differs between seeds: how large the world is, which faults there are and how often, and what was seen of them.

use super::broker::Broker;
use super::chance::Chance;
use super::world::Act;
use std::time::Duration;

/// Faults keep coming for so long.
pub(super) const TROUBLED: Duration = Duration::from_secs(25);

/// How often things go wrong: once in so many times, never where it is 0. Half of the faults are switched off in a seed, so
/// that one fault does not hide another.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// A message is slow.
    pub(super) slow: u64,
    /// A call to the broker fails.
    pub(super) source: u64,
    /// The database cannot be connected to.
    pub(super) connect: u64,
    /// The connection is lost about the time of a statement.
    pub(super) cut: u64,
    /// The connection is lost about the time of COMMIT.
    pub(super) cut_commit: u64,
    /// A statement fails in the server and aborts its transaction.
    pub(super) statement: u64,
    /// All processes draw the same numbers, as clones of one machine may.
    pub(super) cloned: bool,
    /// The pipeline begins at the ends of the logs.
    pub(super) from_the_end: bool,
    /// BEGIN, move and rows are sent without waiting for the answers between them.
    pub(super) pipelined: bool,
    /// Records of a fetch.
    pub(super) fetch_records: usize,
    /// Lanes of a process.
    pub(super) lanes: usize,
    /// Records of an epoch.
    pub(super) epoch_rows: usize,
    /// An epoch is held open for so long.
    pub(super) interval: Option<Duration>,
}

impl Faults {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let mut often = |times: &[u64]| if chance.one_in(2) { 0 } else { chance.pick(times) };
        let (slow, source, connect) = (often(&[10, 30, 100]), often(&[15, 50, 200]), often(&[3, 10]));
        let (cut, cut_commit, statement) = (often(&[20, 60, 200]), often(&[2, 4, 10]), often(&[10, 40, 100]));
        Self {
            slow,
            source,
            connect,
            cut,
            cut_commit,
            statement,
            cloned: chance.one_in(6),
            from_the_end: chance.one_in(3),
            pipelined: chance.one_in(2),
            fetch_records: chance.pick(&[1, 3, 10, 1_000]),
            lanes: chance.pick(&[1, 1, 2, 3]),
            epoch_rows: chance.pick(&[2, 5, 20, 100_000]),
            interval: chance.pick(&[None, None, Some(Duration::from_millis(300))]),
        }
    }

    /// What is left once the world is quiet.
    pub(super) fn quiet(&mut self) {
        let Self { cloned, from_the_end, pipelined, fetch_records, lanes, epoch_rows, interval, .. } = *self;
        *self = Self { cloned, from_the_end, pipelined, fetch_records, lanes, epoch_rows, interval, ..Self::default() };
    }
}

macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a simulation has gone through, so that a test can show that nothing of it is idle.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Seen { $($(#[$doc])* pub $name: u64,)* }

        impl Seen {
            /// Adds what another simulation has seen.
            pub fn add(&mut self, other: &Seen) {
                $(self.$name += other.$name;)*
            }

            /// Every number with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

seen! {
    /// Transactions that committed.
    commits,
    /// Records whose rows they held.
    transfers,
    /// Answers to COMMIT that were lost although it was applied.
    lost_applied,
    /// Answers to COMMIT that were lost because it never arrived.
    lost_not_applied,
    /// COMMITs that arrived after the process had seen its connection die.
    late_commits,
    /// Moves that the ledger refused.
    refused_moves,
    /// Claims that were fenced.
    fenced_claims,
    /// Claims that waited for a transaction.
    waiting_claims,
    /// Sessions that a successor ended.
    ended_sessions,
    /// Claims whose answer was lost, and which were recognised later.
    own_claims,
    /// Rows that the database refused.
    refused_rows,
    /// Statements that failed in the server.
    failed_statements,
    /// Processes that were killed.
    kills,
    /// Processes that were stopped with a transaction open.
    zombies,
    /// Processes that were asked to stop.
    wishes,
    /// Homes that were restored.
    restores,
    /// Idle lanes that found a ledger of lower generations than their own: a restored home.
    idle_restores,
    /// Shards of such lanes that the same process went on with.
    went_on,
    /// Claims under a lower generation than was held.
    restored_claims,
    /// Processes that stopped because a log was another one.
    identity_stops,
    /// Partitions that appeared while the pipeline ran.
    new_partitions,
}

/// What happens to the world beside single faults, and when.
pub(super) fn plan(chance: &mut Chance) -> Vec<(Duration, Act)> {
    let mut acts = vec![(Duration::ZERO, Act::Start), (TROUBLED, Act::Quiet)];
    let often = |acts: &mut Vec<_>, chance: &mut Chance, most: u64, act: &dyn Fn(&mut Chance) -> Act| {
        let most = if chance.one_in(3) { 0 } else { most };
        for _ in 0..chance.below(most + 1) {
            let time = Duration::from_millis(chance.below(24_000));
            let act = act(chance);
            acts.push((time, act));
        }
    };
    for _ in 0..chance.between(5, 25) {
        acts.push((Duration::from_millis(chance.below(24_000)), Act::Records));
    }
    often(&mut acts, chance, 6, &|_| Act::Start);
    often(&mut acts, chance, 6, &|_| Act::Kill);
    often(&mut acts, chance, 6, &|chance| Act::Stop(chance.pick(&[100, 1_500, 6_000, 40_000])));
    often(&mut acts, chance, 2, &|_| Act::Wish);
    often(&mut acts, chance, 3, &|_| Act::Retention);
    often(&mut acts, chance, 3, &|chance| Act::BrokerFails(chance.between(100, 4_000)));
    often(&mut acts, chance, 2, &|_| Act::ServerRestarts);
    often(&mut acts, chance, 2, &|_| Act::NewPartition);
    if chance.one_in(3) {
        for _ in 0..chance.between(1, 2) {
            let (snapshot, later) = (chance.below(16_000), chance.between(500, 8_000));
            acts.push((Duration::from_millis(snapshot), Act::Snapshot));
            acts.push((Duration::from_millis(snapshot + later), Act::Restore));
        }
    }
    if chance.one_in(6) {
        let act = chance.pick(&[Act::Truncate, Act::Truncate, Act::Recreate]);
        acts.push((Duration::from_millis(chance.between(5_000, 24_000)), act));
    }
    acts
}

/// A broker of a size that is drawn.
pub(super) fn broker(chance: &mut Chance) -> Broker {
    let sources = if chance.one_in(3) { 2 } else { 1 };
    let partitions = chance.pick(&[1, 2, 3]);
    Broker::new(sources, partitions, chance)
}
