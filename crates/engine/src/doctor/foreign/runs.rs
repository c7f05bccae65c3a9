//! Where in a log findings lie: in one piece, or one by one; from its first record on, or up to its end.

use crate::audit::{Finding, Report, What};
use onceflow_core::Partition;
use std::collections::BTreeMap;

/// Findings of one kind about records that follow one another, each as often as the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// The partition.
    pub(super) partition: Partition,
    /// The first record's offset.
    pub(super) from: u64,
    /// The last record's offset.
    pub(super) last: u64,
    /// How many records.
    pub(super) records: u64,
    /// How many copies too many, or missing, there are of each.
    pub(super) times: u64,
    /// Whether it follows the run before it without a gap.
    pub(super) follows: bool,
    /// Whether it begins with the log's first record.
    pub(super) first: bool,
    /// Whether it ends with the log's last record.
    pub(super) end: bool,
}

/// The logs that were compared.
pub(super) struct Logs {
    ranges: BTreeMap<Partition, (u64, u64)>,
    near: u64,
}

impl Logs {
    /// `offsets_count` says that offsets count records; elsewhere they count bytes, and what lies no further apart than two
    /// records of usual length follows one another.
    pub(super) fn of(report: &Report, offsets_count: bool) -> Self {
        let ranges: BTreeMap<_, _> = report.read.iter().map(|it| (it.partition.clone(), (it.from, it.to))).collect();
        let all: u64 = ranges.values().map(|(from, to)| to - from).sum();
        // A transaction's marker takes an offset of its own.
        let near = if offsets_count { 2 } else { all.div_ceil(report.summary.inputs.max(1)).saturating_mul(2) };
        Self { ranges, near }
    }

    /// The partitions with their ranges.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Partition, (u64, u64))> {
        self.ranges.iter().map(|(partition, range)| (partition, *range))
    }

    /// The runs of findings of one kind, in order.
    pub(super) fn runs(&self, findings: &[Finding], what: What) -> Vec<Run> {
        let named = findings.iter().filter(|it| it.what == what);
        let mut records: Vec<_> = named.filter_map(|it| Some((it.record.as_ref()?, it.times))).collect();
        records.sort_unstable();
        records.dedup_by_key(|(record, _)| *record);
        let mut runs: Vec<Run> = Vec::new();
        for (record, times) in records {
            let follows = runs
                .last()
                .is_some_and(|run| run.partition == record.partition && record.offset - run.last <= self.near);
            match runs.last_mut() {
                Some(run) if follows && run.times == times => {
                    run.last = record.offset;
                    run.records += 1;
                }
                _ => runs.push(Run {
                    partition: record.partition.clone(),
                    from: record.offset,
                    last: record.offset,
                    records: 1,
                    times,
                    follows,
                    first: false,
                    end: false,
                }),
            }
        }
        for run in &mut runs {
            if let Some((from, to)) = self.ranges.get(&run.partition) {
                run.first = run.from < from + self.near;
                run.end = run.last + self.near >= *to;
            }
        }
        runs
    }
}

/// The runs from a log's first record on, one behind the other and each there less often than the one before: what a program
/// leaves that begins at the start again and again. The rest comes second.
pub(super) fn from_the_start(runs: &[Run]) -> (Vec<&Run>, Vec<&Run>) {
    let (mut chain, mut rest): (Vec<&Run>, Vec<&Run>) = (Vec::new(), Vec::new());
    let mut before: Option<&Run> = None;
    for run in runs {
        let goes_on = before.is_some_and(|before| run.follows && run.times < before.times);
        if goes_on || (run.first && !run.follows && run.records > 1) {
            chain.push(run);
            before = Some(run);
        } else {
            rest.push(run);
            before = None;
        }
    }
    (chain, rest)
}

/// The size of the batches that runs consist of: the largest number that divides all their lengths, where there are several
/// and it is not a small one.
pub(super) fn batch(runs: &[&Run]) -> Option<u64> {
    let gcd = runs.iter().map(|run| run.records).fold(0, gcd);
    let longest = runs.iter().map(|run| run.records).max()?;
    (runs.len() > 1 && gcd >= 2 && gcd * 16 >= longest).then_some(gcd)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A run in words: `t/0 offsets 500 to 999`.
pub(super) fn name(run: &Run) -> String {
    match run.records {
        1 => format!("{} offset {}", run.partition, run.from),
        _ => format!("{} offsets {} to {}", run.partition, run.from, run.last),
    }
}

/// The first runs in words, and how many more there are.
pub(super) fn names(runs: &[&Run]) -> String {
    let shown: Vec<String> = runs.iter().take(3).map(|run| name(run)).collect();
    let more = runs.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more places") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::{RecordName, Stretch};

    pub(in super::super) fn partition() -> Partition {
        Partition::new("records", "t", 0)
    }

    pub(in super::super) fn report(to: u64, found: &[(What, std::ops::Range<u64>)]) -> Report {
        let mut report = Report::new("sqlite:x".to_owned(), usize::MAX / 2);
        report.read.push(Stretch { partition: partition(), from: 0, to });
        report.summary.inputs = to;
        for (what, offsets) in found {
            for offset in offsets.clone() {
                let record = Some(RecordName { partition: partition(), offset });
                let (table, said) = (Some("t".to_owned()), String::new());
                report.find(Finding { what: *what, table, record, row: None, times: 1, said });
            }
        }
        report
    }

    #[test]
    fn findings_that_follow_one_another_are_one_run() {
        let report = report(1_000, &[(What::Repeated, 0..10), (What::Repeated, 11..20), (What::Repeated, 500..501)]);
        let logs = Logs::of(&report, true);
        let runs = logs.runs(&report.findings, What::Repeated);
        let short: Vec<_> = runs.iter().map(|run| (run.from, run.last, run.records, run.first, run.end)).collect();
        assert_eq!(short, [(0, 19, 19, true, false), (500, 500, 1, false, false)]);
        assert!(logs.runs(&report.findings, What::Missing).is_empty());
    }

    #[test]
    fn a_run_up_to_the_end_is_known_and_bytes_are_no_records() {
        let mut report = report(60_000, &[]);
        report.summary.inputs = 1_000;
        for offset in (58_800..60_000).step_by(60) {
            let record = Some(RecordName { partition: partition(), offset });
            let finding =
                Finding { what: What::Missing, table: None, record, row: None, times: 1, said: String::new() };
            report.find(finding);
        }
        let runs = Logs::of(&report, false).runs(&report.findings, What::Missing);
        assert_eq!(runs.len(), 1);
        assert!(runs[0].end && !runs[0].first && runs[0].records == 20);
    }

    fn run(from: u64, records: u64, times: u64, follows: bool) -> Run {
        let (last, first) = (from + records - 1, from == 0);
        Run { partition: partition(), from, last, records, times, follows, first, end: false }
    }

    #[test]
    fn a_program_that_begins_at_the_start_again_leaves_steps_that_go_down() {
        let steps = [run(0, 100, 3, false), run(100, 50, 2, true), run(150, 50, 1, true), run(300, 50, 1, false)];
        let (chain, rest) = from_the_start(&steps);
        assert_eq!((chain.len(), rest.len()), (3, 1));
        let up = [run(0, 100, 1, false), run(100, 50, 2, true), run(150, 50, 1, true)];
        let (chain, rest) = from_the_start(&up);
        assert_eq!((chain.len(), rest.len()), (1, 2));
    }

    #[test]
    fn copies_that_are_there_more_often_are_a_run_of_their_own() {
        let mut report = report(1_000, &[(What::Repeated, 10..20)]);
        report.findings.iter_mut().skip(4).for_each(|finding| finding.times = 2);
        let runs = Logs::of(&report, true).runs(&report.findings, What::Repeated);
        let short: Vec<_> = runs.iter().map(|run| (run.from, run.records, run.times, run.follows)).collect();
        assert_eq!(short, [(10, 4, 1, false), (14, 6, 2, true)]);
    }

    #[test]
    fn a_batch_is_what_divides_all_lengths_and_is_not_small() {
        let run = |records| run(0, records, 1, false);
        for (lengths, expected) in [
            (vec![500, 500], Some(500)),
            (vec![500, 1_500, 1_000], Some(500)),
            (vec![500], None),
            (vec![37, 411], None),
            (vec![2, 1_000], None),
        ] {
            let runs: Vec<Run> = lengths.iter().map(|records| run(*records)).collect();
            assert_eq!(batch(&runs.iter().collect::<Vec<_>>()), expected, "{lengths:?}");
        }
    }
}
