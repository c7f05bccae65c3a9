//! Positions that are not in the ledger: where logs begin and end, and where a pipeline begins and ends by its own text.

use super::catalog::is_missing;
use super::client::{ANSWER_WAIT_MAX, Client, explain};
use super::ffi::{At, EARLIEST, Failure, LATEST, Offsets, ask_group, ask_offsets};
use super::{Bounded, KafkaSource, Reset, Startup};
use crate::codes;
use crate::error::{Error, Result};
use onceflow_core::{Partition, Position};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const COORDINATOR_PAUSE: Duration = Duration::from_millis(200);

pub(super) type Positions = BTreeMap<Partition, Position>;

impl KafkaSource {
    /// Where a new pipeline begins.
    pub(super) fn first_positions(&mut self, partitions: &[Partition]) -> Result<Positions> {
        let shared = self.shared.clone();
        match &shared.spec.startup {
            Startup::Earliest => self.positions_at(partitions, EARLIEST),
            Startup::Latest => self.positions_at(partitions, LATEST),
            Startup::Timestamp(time) => self.positions_at_time(partitions, *time),
            Startup::GroupOffsets { reset } => {
                let committed = self.committed(partitions)?;
                self.start_at(partitions, committed, *reset)
            }
            Startup::Specific(offsets) => {
                let named = |partition: &Partition| offsets.get(&partition.number).map(|at| (partition.clone(), *at));
                let mut given: Positions = partitions.iter().filter_map(named).collect();
                let rest: Vec<_> = partitions.iter().filter(|one| !given.contains_key(*one)).cloned().collect();
                if shared.group.is_some() {
                    given.extend(self.committed(&rest)?);
                }
                self.start_at(partitions, given, Some(Reset::Earliest))
            }
        }
    }

    /// Begins at the given positions, which have to lie in the logs, and elsewhere as `reset` says.
    fn start_at(&mut self, all: &[Partition], mut given: Positions, reset: Option<Reset>) -> Result<Positions> {
        let (starts, ends) = (self.positions_at(all, EARLIEST)?, self.high_watermarks(all)?);
        for partition in all {
            let (start, end) = (starts[partition], ends[partition]);
            match (given.get(partition), reset) {
                (Some(at), _) if (start..=end).contains(at) => {}
                (Some(at), _) => return Err(outside(partition, *at, start, end)),
                (None, Some(Reset::Earliest)) => drop(given.insert(partition.clone(), start)),
                (None, Some(Reset::Latest)) => {
                    let ends = self.positions_at(std::slice::from_ref(partition), LATEST)?;
                    given.extend(ends);
                }
                (None, None) => return Err(self.not_committed(partition, codes::OF0409)),
            }
        }
        Ok(given)
    }

    /// Where reading ends by the text.
    pub(super) fn last_positions(&mut self, partitions: &[Partition]) -> Result<Option<Positions>> {
        let shared = self.shared.clone();
        let ends = match &shared.spec.bounded {
            Bounded::Unbounded => return Ok(None),
            Bounded::Latest => self.positions_at(partitions, LATEST)?,
            Bounded::Timestamp(time) => self.positions_at_time(partitions, *time)?,
            Bounded::GroupOffsets => {
                let ends = self.committed(partitions)?;
                if let Some(missing) = partitions.iter().find(|one| !ends.contains_key(*one)) {
                    return Err(self.not_committed(missing, codes::OF0417));
                }
                ends
            }
            Bounded::Specific(offsets) => specific_ends(partitions, offsets)?,
        };
        Ok(Some(ends))
    }

    /// Where the first record at or after a time stands; where the log ends, if there is none.
    fn positions_at_time(&mut self, partitions: &[Partition], time: i64) -> Result<Positions> {
        let mut found = self.ask_positions(partitions, time.max(0), !self.shared.read_uncommitted)?;
        let rest: Vec<_> = partitions.iter().filter(|one| !found.contains_key(*one)).cloned().collect();
        found.extend(self.positions_at(&rest, LATEST)?);
        Ok(found)
    }

    /// Where logs begin or end for this reader: open transactions are beyond the end unless they are read.
    pub(super) fn positions_at(&mut self, partitions: &[Partition], which: i64) -> Result<Positions> {
        let found = self.ask_positions(partitions, which, !self.shared.read_uncommitted)?;
        match partitions.iter().find(|one| !found.contains_key(*one)) {
            None => Ok(found),
            Some(missing) => Err(Error::unavailable(
                codes::OF0401,
                format!("the broker does not say where {missing} begins or ends"),
            )),
        }
    }

    /// Where logs end, open transactions included.
    pub(super) fn high_watermarks(&mut self, partitions: &[Partition]) -> Result<Positions> {
        self.ask_positions(partitions, LATEST, false)
    }

    fn ask_positions(&mut self, partitions: &[Partition], which: i64, committed_only: bool) -> Result<Positions> {
        if partitions.is_empty() {
            return Ok(Positions::new());
        }
        let entries: Vec<_> = partitions.iter().map(|partition| at(partition, which)).collect();
        let client = self.client()?;
        let asked = ask_offsets(client.native(), &entries, committed_only, ANSWER_WAIT_MAX);
        let answer = client.wait("asking for offsets", asked)?;
        self.read_positions(partitions, answer)
    }

    /// What the group has committed; partitions without an offset are left out.
    fn committed(&mut self, partitions: &[Partition]) -> Result<Positions> {
        let group = self.shared.group.clone().unwrap_or_default();
        self.committed_by(&group, partitions)
    }

    /// What a group has committed, whoever it belongs to; partitions without an offset are left out.
    pub(super) fn committed_by(&mut self, group: &str, partitions: &[Partition]) -> Result<Positions> {
        if partitions.is_empty() {
            return Ok(Positions::new());
        }
        // A client of its own: see `ask_group`.
        let mut client = Client::open(self.shared.config.clone().set("group.id", group))?;
        let entries: Vec<_> = partitions.iter().map(|partition| at(partition, LATEST)).collect();
        let doing = format!("asking for the offsets of group '{group}'");
        let deadline = Instant::now() + ANSWER_WAIT_MAX;
        loop {
            let asked = ask_group(client.native(), group, &entries, ANSWER_WAIT_MAX);
            match client.answer(&doing, asked)?.and_then(|answer| answer) {
                Ok(answer) => return self.read_positions(partitions, answer),
                Err(failure) if is_coordinator_away(&failure) && Instant::now() < deadline => {
                    std::thread::park_timeout(COORDINATOR_PAUSE);
                }
                Err(failure) => return Err(client.failed(&doing, Some(failure))),
            }
        }
    }

    fn read_positions(&self, partitions: &[Partition], answer: Offsets) -> Result<Positions> {
        let mut positions = Positions::new();
        for (at, result) in answer {
            let of = |one: &&Partition| *one.topic == *at.topic && one.number == at.partition;
            let Some(partition) = partitions.iter().find(of) else { continue };
            result.map_err(|failure| self.no_offset(partition, &failure))?;
            positions.extend(Position::from_signed(at.offset).map(|position| (partition.clone(), position)));
        }
        Ok(positions)
    }

    fn no_offset(&self, partition: &Partition, failure: &Failure) -> Error {
        if is_missing(failure) {
            return Error::unavailable(codes::OF0404, format!("partition {partition} does not exist"));
        }
        explain(&format!("asking for an offset of {partition}"), self.shared.servers(), failure, self.discovered)
    }

    fn not_committed(&self, partition: &Partition, code: codes::Code) -> Error {
        let group = self.shared.group.as_deref().unwrap_or_default();
        let error = Error::config(code, format!("group '{group}' has committed no offset for {partition}"));
        if code == codes::OF0409 {
            return error.help("'properties.auto.offset.reset' = 'earliest', or another 'scan.startup.mode'");
        }
        error.help("another 'scan.bounded.mode'")
    }
}

/// A cluster finds or makes a group's coordinator when it is first asked, and says so meanwhile.
fn is_coordinator_away(failure: &Failure) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, WaitingForCoordinator};
    matches!(failure.code, CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator | WaitingForCoordinator)
}

fn at(partition: &Partition, offset: i64) -> At {
    At { topic: partition.topic.to_string(), partition: partition.number, offset }
}

fn specific_ends(partitions: &[Partition], offsets: &BTreeMap<u32, Position>) -> Result<Positions> {
    let named = |partition: &Partition| match offsets.get(&partition.number) {
        Some(end) => Ok((partition.clone(), *end)),
        None => Err(Error::config(
            codes::OF0417,
            format!("'scan.bounded.specific-offsets' names no offset for {partition}"),
        )
        .help(format!("'scan.bounded.specific-offsets' = '…;partition:{},offset:42'", partition.number))),
    };
    partitions.iter().map(named).collect()
}

fn outside(partition: &Partition, at: Position, start: Position, end: Position) -> Error {
    Error::config(codes::OF0409, format!("{partition} cannot be read from offset {at}: its log is {start}..{end}"))
        .note("records between would be lost, or would be read before they are there")
        .help(format!("choose an offset from {start} to {end}, or another 'scan.startup.mode'"))
}
