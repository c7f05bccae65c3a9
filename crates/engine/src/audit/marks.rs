//! Where in a log something is wrong, for a picture: the worst of every stretch of offsets, in bounded memory.

use super::report::What;
use onceflow_core::Partition;
use std::collections::BTreeMap;

/// Stretches that are told apart in one partition, at most.
const STRETCHES_MAX: usize = 4_096;

/// What is the matter with a stretch; the last one is the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mark {
    /// A record stands as a dead letter.
    Dead,
    /// A row has other values, or the source or the ledger reads differently.
    Differs,
    /// A row is there too often.
    Repeated,
    /// A row is missing.
    Missing,
}

impl Mark {
    /// The mark of a finding about a record.
    pub fn of(what: What) -> Self {
        match what {
            What::Missing => Self::Missing,
            What::Repeated | What::SentTwice => Self::Repeated,
            What::Changed | What::Unexpected | What::Ledger | What::Source => Self::Differs,
        }
    }
}

/// The marks of all partitions.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Marks {
    partitions: BTreeMap<Partition, Stretches>,
}

/// Stretches of 2^shift offsets; they grow where there are too many.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Stretches {
    shift: u32,
    worst: BTreeMap<u64, Mark>,
}

impl Marks {
    /// Marks an offset.
    pub fn add(&mut self, partition: &Partition, offset: u64, mark: Mark) {
        if !self.partitions.contains_key(partition) {
            self.partitions.insert(partition.clone(), Stretches::default());
        }
        if let Some(stretches) = self.partitions.get_mut(partition) {
            stretches.add(offset, mark);
        }
    }

    /// The worst mark between two offsets, the second one not included. Stretches that reach in are counted.
    pub fn worst(&self, partition: &Partition, from: u64, to: u64) -> Option<Mark> {
        let stretches = self.partitions.get(partition).filter(|_| from < to)?;
        let shift = stretches.shift;
        stretches.worst.range(from >> shift..=(to - 1) >> shift).map(|(_, mark)| *mark).max()
    }
}

impl Stretches {
    fn add(&mut self, offset: u64, mark: Mark) {
        let worst = self.worst.entry(offset >> self.shift).or_insert(mark);
        *worst = mark.max(*worst);
        while self.worst.len() > STRETCHES_MAX {
            self.shift += 1;
            for (at, mark) in std::mem::take(&mut self.worst) {
                let worst = self.worst.entry(at >> 1).or_insert(mark);
                *worst = mark.max(*worst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_stretch_is_known_and_memory_is_bounded() {
        let (one, other) = (Partition::new("s", "t", 0), Partition::new("s", "t", 1));
        let mut marks = Marks::default();
        marks.add(&one, 10, Mark::Dead);
        marks.add(&one, 10, Mark::Missing);
        marks.add(&one, 12, Mark::Repeated);
        assert_eq!(marks.worst(&one, 0, 10), None);
        assert_eq!(marks.worst(&one, 10, 11), Some(Mark::Missing));
        assert_eq!(marks.worst(&one, 11, 100), Some(Mark::Repeated));
        assert_eq!(marks.worst(&one, 11, 11), None);
        assert_eq!(marks.worst(&other, 0, u64::MAX), None);
        for offset in 0..1_000_000 {
            marks.add(&other, offset, Mark::Differs);
        }
        marks.add(&other, 500_000, Mark::Missing);
        assert!(marks.partitions[&other].worst.len() <= STRETCHES_MAX);
        let missing =
            (0..1_000_000).step_by(1_000).filter(|at| marks.worst(&other, *at, at + 1_000) == Some(Mark::Missing));
        assert!((1..=2).contains(&missing.count()));
    }
}
