//! Files as a source, on real files: every position can be resumed from, and whatever changes behind our back is noticed.

use onceflow_engine::core::{Partition, Position, PositionRow, ShardId};
use onceflow_engine::record::Batch;
use onceflow_engine::source::files::{FilesFactory, FilesSpec, Framing, LINE_BYTES_MAX};
use onceflow_engine::source::{Difference, FetchLimits, Source, SourceFactory};
use onceflow_engine::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const CSV: Framing = Framing::Csv { delimiter: b',', quote: b'"', escape: None, comments: false };

/// A pipeline as far as files are concerned: a ledger of positions, and a source that is opened anew at each start.
struct Bench {
    folder: TempDir,
    spec: FilesSpec,
    factory: FilesFactory,
    source: Option<Box<dyn Source>>,
    ledger: BTreeMap<Partition, PositionRow>,
    read: Vec<(String, u64, String, u64)>,
}

impl Bench {
    fn new(pattern: &str, framing: Framing, follow: bool) -> Self {
        let folder = TempDir::new().expect("a folder");
        let spec = FilesSpec {
            name: "files".into(),
            path: folder.path().join(pattern).to_str().expect("text").into(),
            framing,
            monitor_interval: follow.then(|| Duration::from_millis(5)),
            line_bytes_max: LINE_BYTES_MAX,
            needs_lines: true,
        };
        let factory = FilesFactory::new(spec.clone());
        Self { folder, spec, factory, source: None, ledger: BTreeMap::new(), read: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::create_dir_all(self.path(name).parent().expect("a parent")).expect("folders");
        fs::write(self.path(name), content).expect("it is written");
        self
    }

    fn append(&self, name: &str, content: &str) -> &Self {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).expect("it opens");
        file.write_all(content.as_bytes()).expect("it is written");
        self
    }

    /// A new process: nothing is remembered but the ledger.
    fn restart(&mut self) -> &mut Self {
        self.factory = FilesFactory::new(self.spec.clone());
        self.source = None;
        self
    }

    /// What a pipeline does at its start: discover, found, verify, bound, seek. And again when something new is found.
    fn start(&mut self) -> Result<Vec<Difference>> {
        let mut source = match self.source.take() {
            Some(source) => source,
            None => self.factory.open()?,
        };
        for found in source.discover()? {
            let row = PositionRow {
                shard: ShardId::new("s"),
                partition: found.partition.clone(),
                identity: found.identity,
                next: Position::ZERO,
                leader_epoch: None,
                tail: None,
                watermark: None,
            };
            self.ledger.entry(found.partition).or_insert(row);
        }
        let rows: Vec<_> = self.ledger.values().cloned().collect();
        let mismatches = source.verify(&rows)?;
        if mismatches.is_empty() {
            let partitions: Vec<_> = self.ledger.keys().cloned().collect();
            let until = source.bound(&partitions)?.unwrap_or_default();
            source.seek(&rows, &until)?;
        }
        self.source = Some(source);
        Ok(mismatches.into_iter().map(|mismatch| mismatch.what).collect())
    }

    /// Reads on, `step` records a call, until nothing more comes; commits each batch. True at the end of the source.
    fn drain(&mut self, step: usize) -> Result<bool> {
        let wait = if self.spec.monitor_interval.is_some() { 20 } else { 2000 };
        let limits = FetchLimits { records_max: step, bytes_max: 1 << 20, wait_max: Duration::from_millis(wait) };
        loop {
            let fetch = self.source.as_mut().expect("it was started").next(&limits)?;
            let idle = fetch.batches.is_empty();
            fetch.batches.iter().for_each(|batch| self.commit(batch));
            if fetch.finished || idle {
                return Ok(fetch.finished);
            }
        }
    }

    fn commit(&mut self, batch: &Batch) {
        let row = self.ledger.get_mut(&batch.partition).expect("the ledger holds it");
        assert_eq!(row.next, batch.span.from(), "a batch begins where the ledger is");
        row.next = batch.span.to();
        row.leader_epoch = batch.leader_epoch;
        row.tail = batch.tail().or(row.tail);
        let facts = batch.file.as_ref().expect("a file has facts");
        for record in batch.records.iter() {
            let value = String::from_utf8_lossy(record.value.expect("a line")).into_owned();
            self.read.push((facts.name.clone(), record.offset.get(), value, record.line));
        }
    }

    fn run(&mut self, step: usize) -> bool {
        assert_eq!(self.start().expect("it starts"), []);
        self.drain(step).expect("it reads")
    }

    fn values(&self) -> Vec<&str> {
        self.read.iter().map(|(_, _, value, _)| value.as_str()).collect()
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn zst(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory");
    // As the command `zstd` does; without a checksum damage can go unnoticed.
    encoder.include_checksum(true).expect("it is known");
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

/// The records of one file: (offset, value, line).
fn check_records(name: &str, content: &[u8], framing: Framing, expected: &[(u64, &str, u64)]) {
    for step in [1, 2, 1000] {
        let mut bench = Bench::new(name, framing, false);
        bench.write(name, content);
        assert!(bench.run(step), "{name} ends");
        let got: Vec<_> = bench.read.iter().map(|(_, offset, value, line)| (*offset, value.as_str(), *line)).collect();
        assert_eq!(got, expected, "{name}, {step} a call");
        assert!(bench.restart().run(step), "{name} is at its end");
        assert_eq!(bench.read.len(), expected.len(), "{name} gives nothing twice");
    }
}

#[test]
fn lines_begin_at_their_bytes_and_blank_ones_are_no_records() {
    let expected = [(0, "a", 1), (2, "bc", 2), (7, "d", 4)];
    check_records("x.jsonl", b"a\nbc\r\n\nd\n", Framing::Lines, &expected);
    check_records("x.jsonl", b"a\nbc\r\n\nd", Framing::Lines, &expected);
    check_records("x.gz", &gzip(b"a\nbc\r\n\nd"), Framing::Lines, &expected);
    check_records("x.gz", &[gzip(b"a\nb"), gzip(b"c\r\n\nd")].concat(), Framing::Lines, &expected);
    check_records("x.zst", &zst(b"a\nbc\r\n\nd"), Framing::Lines, &expected);
    check_records("x.zst", &[zst(b"a\nb"), zst(b"c\r\n\nd")].concat(), Framing::Lines, &expected);
    check_records("x", b"\xef\xbb\xbfa\nb\n", Framing::Lines, &[(3, "a", 1), (5, "b", 2)]);
    check_records("x", b"", Framing::Lines, &[]);
    check_records("x.gz", b"", Framing::Lines, &[]);
    check_records("x", b"\n\r\n\n", Framing::Lines, &[]);
    check_records("x", b"\xff\n", Framing::Lines, &[(0, "\u{fffd}", 1)]);
    let quoted = b"\xef\xbb\xbf\"h\n1\",i\n1,\"x\n\ny\"\n2,z\n";
    check_records("x.csv", quoted, CSV, &[(3, "\"h\n1\",i", 1), (11, "1,\"x\n\ny\"", 3), (20, "2,z", 6)]);
    // A quote that is opened and not closed harms no other line.
    check_records("x.csv", b"1,\"x\n2,y\n", CSV, &[(0, "1,\"x", 1), (5, "2,y", 2)]);
    check_records("x.csv", b"1,\"x\n2,\"y\"\n3,z\n", CSV, &[(0, "1,\"x", 1), (5, "2,\"y\"", 2), (11, "3,z", 3)]);
    check_records("x.gz", &gzip(b"1,\"x\n2,y\n"), CSV, &[(0, "1,\"x", 1), (5, "2,y", 2)]);
}

#[test]
fn every_position_can_be_resumed_from() {
    let lines: Vec<String> = (0..200).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", "é".repeat(n % 13))).collect();
    let content = lines.join("\n");
    for (name, bytes) in
        [("x", content.clone().into_bytes()), ("x.gz", gzip(content.as_bytes())), ("x.zst", zst(content.as_bytes()))]
    {
        let mut bench = Bench::new(name, Framing::Lines, false);
        bench.write(name, bytes);
        let limits = FetchLimits { records_max: 7, bytes_max: 1 << 20, wait_max: Duration::from_secs(1) };
        loop {
            // Each fetch is a process of its own.
            assert_eq!(bench.restart().start().expect("it starts"), []);
            let fetch = bench.source.as_mut().expect("started").next(&limits).expect("it reads");
            fetch.batches.iter().for_each(|batch| bench.commit(batch));
            if fetch.finished {
                break;
            }
        }
        assert_eq!(bench.values(), lines, "{name}");
        let numbers: Vec<_> = bench.read.iter().map(|(_, _, _, line)| *line).collect();
        assert_eq!(numbers, (1..=200).collect::<Vec<u64>>(), "{name}");
    }
}

#[test]
fn folders_and_patterns_give_files_in_order_without_hidden_ones() {
    let mut bench = Bench::new("", Framing::Lines, false);
    bench
        .write("b/2", "b2\n")
        .write("b/1", "b1\n")
        .write("a", "a\n")
        .write(".hidden", "no\n")
        .write("_SUCCESS", "no\n");
    bench.write("b/_temporary/x", "no\n").write("c.gz", gzip(b"c\n"));
    std::os::unix::fs::symlink(bench.folder.path(), bench.path("b/loop")).expect("a link");
    assert!(bench.run(1));
    assert_eq!(bench.values(), ["a", "b1", "b2", "c"]);

    let mut bench = Bench::new("**/*.log", Framing::Lines, false);
    bench.write("x/1.log", "1\n").write("2.log", "2\n").write("2.txt", "no\n").write(".3.log", "no\n");
    assert!(bench.run(10));
    assert_eq!(bench.values(), ["2", "1"]);
}

fn check_error(result: Result<impl std::fmt::Debug>, kind: Kind, code: &str, part: &str) {
    let error: Error = result.expect_err("it is refused");
    assert_eq!((error.kind(), error.code().as_str()), (kind, code), "{error:?}");
    assert!(error.to_string().contains(part), "{error:?}");
}

#[test]
fn nothing_to_read_is_an_error_by_name_unless_files_are_waited_for() {
    for pattern in ["nothing", "*.none"] {
        let mut bench = Bench::new(pattern, Framing::Lines, false);
        let path = bench.spec.path.clone();
        check_error(bench.start(), Kind::Config, "OF0501", &path);
        let mut bench = Bench::new(pattern, Framing::Lines, true);
        assert!(!bench.run(1), "it waits");
    }
    let mut bench = Bench::new("[", Framing::Lines, false);
    check_error(bench.start(), Kind::Config, "OF0504", "not a valid pattern");
}

#[test]
fn damaged_archives_name_the_file_and_the_byte_and_keep_what_was_good() {
    let content = (0..200_000).map(|n| format!("line {n}\n")).collect::<String>();
    for (name, bytes) in [("x.gz", gzip(content.as_bytes())), ("x.zst", zst(content.as_bytes()))] {
        let mut bench = Bench::new(name, Framing::Lines, false);
        bench.write(name, &bytes[..bytes.len() / 2]);
        check_error(bench.start(), Kind::Data, "OF0503", name);
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle..middle + 64].fill(0xff);
        let mut bench = Bench::new(name, Framing::Lines, false);
        bench.write(name, flipped);
        check_error(bench.start(), Kind::Data, "OF0503", "after byte");
        // Followed, an incomplete archive is read as far as it goes and tried again.
        let mut bench = Bench::new(name, Framing::Lines, true);
        bench.write(name, &bytes[..bytes.len() / 2]);
        assert_eq!(bench.start().expect("it starts"), []);
        check_error(bench.drain(1000), Kind::Unavailable, "OF0503", "ends before it is complete");
        let good = bench.read.len();
        assert!(good > 1000, "{good}");
        bench.write(name, &bytes);
        bench.run(10_000);
        assert_eq!(bench.read.len(), 200_000);
    }
}

#[test]
fn a_line_over_the_limit_is_one_marked_record_and_the_rest_goes_on() {
    let long = "x".repeat(3_000_000);
    let mut bench = Bench::new("x", Framing::Lines, false);
    bench.spec.line_bytes_max = 100_000;
    bench.restart();
    bench.write("x", format!("a\n{long}\nb\n{}\nc\n{long}", "y".repeat(100_000)));
    assert_eq!(bench.start().expect("it starts"), []);
    let limits = FetchLimits { records_max: 100, bytes_max: 1 << 30, wait_max: Duration::from_secs(1) };
    let fetch = bench.source.as_mut().expect("started").next(&limits).expect("it reads");
    let records = &fetch.batches[0].records;
    let shape: Vec<_> =
        records.iter().map(|record| (record.value.expect("a line").len(), record.headers.len(), record.line)).collect();
    assert_eq!(shape, [(1, 0, 1), (65_536, 1, 2), (1, 0, 3), (100_000, 0, 4), (1, 0, 5), (65_536, 1, 6)]);
    assert!(fetch.finished);
    fetch.batches.iter().for_each(|batch| bench.commit(batch));
    assert!(bench.restart().run(1), "the last record is recognised again");
}

#[test]
fn a_followed_file_gives_lines_once_they_are_complete() {
    let mut bench = Bench::new("*.log", Framing::Lines, true);
    bench.write("a.log", "1\n2\npart");
    assert!(!bench.run(10));
    assert_eq!(bench.values(), ["1", "2"]);
    bench.append("a.log", "ial\r");
    assert!(!bench.drain(10).expect("it reads"));
    bench.append("a.log", "\n4\n");
    assert!(!bench.drain(10).expect("it reads"));
    assert_eq!(bench.values(), ["1", "2", "partial", "4"]);
    bench.append("b.log", "b1\n").append("a.log", "5");
    assert!(!bench.restart().run(10));
    assert_eq!(bench.values()[4..], ["b1"]);
    assert_eq!(bench.read[4].3, 1);
    bench.append("a.log", "\n");
    assert!(!bench.drain(1).expect("it reads"));
    assert_eq!(bench.values()[4..], ["b1", "5"]);
}

#[test]
fn ends_of_followed_files_are_where_the_last_whole_record_ends() {
    for (framing, content, expected) in [
        (Framing::Lines, "a\nb\npart", 4),
        (CSV, "a,\"x\n\"\nb,\"y\n", 7),
        (Framing::Lines, "", 0),
        (Framing::Lines, "part", 0),
    ] {
        let mut bench = Bench::new("x", framing, true);
        bench.write("x", content);
        assert_eq!(bench.start().expect("it starts"), []);
        let partitions: Vec<_> = bench.ledger.keys().cloned().collect();
        let source = bench.source.as_mut().expect("started");
        let ends = source.ends(&partitions).expect("they are known");
        assert_eq!(ends.values().map(|end| end.get()).collect::<Vec<_>>(), [expected], "{content:?}");
        // Until caught up: read to there, and say so, though more is appended.
        let rows: Vec<_> = bench.ledger.values().cloned().collect();
        source.seek(&rows, &ends).expect("it seeks");
        bench.append("x", "more\nand more\n");
        assert!(bench.drain(10).expect("it reads"), "{content:?}");
        assert_eq!(bench.ledger.values().next().expect("a row").next.get(), expected);
    }
}

#[test]
fn rotation_by_renaming_loses_and_repeats_nothing() {
    for restart in [false, true] {
        let mut bench = Bench::new("app.log*", Framing::Lines, true);
        bench.write("app.log", "1\n2\n");
        bench.run(10);
        bench.append("app.log", "3\n");
        fs::rename(bench.path("app.log"), bench.path("app.log.1")).expect("renamed");
        bench.write("app.log", "4\n");
        if restart {
            bench.restart();
        }
        bench.run(10);
        bench.append("app.log.1", "late\n").append("app.log", "5\n");
        bench.drain(10).expect("it reads");
        let mut values = bench.values();
        values.sort_unstable();
        assert_eq!(values, ["1", "2", "3", "4", "5", "late"], "restart: {restart}");
        // The oldest one is deleted after it was read.
        fs::remove_file(bench.path("app.log.1")).expect("removed");
        bench.append("app.log", "6\n");
        bench.restart().run(10);
        assert_eq!(bench.values().last(), Some(&"6"));
    }
}

#[test]
fn truncation_and_rewriting_stop_a_followed_file() {
    for (content, part) in [("", "truncated"), ("other and longer than before\n", "rewritten")] {
        let mut bench = Bench::new("a.log", Framing::Lines, true);
        bench.write("a.log", "first\nsecond\n");
        bench.run(10);
        bench.write("a.log", content);
        check_error(bench.drain(10), Kind::Identity, "OF0505", part);
        let differences = bench.restart().start().expect("it can be checked");
        assert!(
            matches!(differences[..], [Difference::Identity { .. }] | [Difference::Truncated { .. }]),
            "{differences:?}"
        );
    }
}

#[test]
fn copy_and_truncate_is_refused_before_the_copy_is_read() {
    let lines: String = (0..1000).map(|n| format!("line number {n}\n")).collect();
    for truncate in [false, true] {
        let mut bench = Bench::new("app.log*", Framing::Lines, true);
        bench.write("app.log", &lines);
        bench.run(10_000);
        fs::copy(bench.path("app.log"), bench.path("app.log.1")).expect("copied");
        if truncate {
            bench.write("app.log", "");
        }
        check_error(bench.start(), Kind::Identity, "OF0506", "app.log.1");
    }
}

/// Reads a file to the end, changes it, and starts anew.
fn check_change(change: impl Fn(&Path), expected: impl Fn(&[Difference]) -> bool) {
    let mut bench = Bench::new("*.txt", Framing::Lines, false);
    let content: String = (0..300).map(|n| format!("line number {n}\n")).collect();
    bench.write("a.txt", content).write("b.txt", "b\n");
    assert!(bench.run(1000));
    change(&bench.path("a.txt"));
    let differences = bench.restart().start().expect("it can be checked");
    assert!(expected(&differences), "{differences:?}");
}

#[test]
fn changes_between_two_runs_are_noticed() {
    let content: String = (0..300).map(|n| format!("line number {n}\n")).collect();
    check_change(|_| {}, |found| found.is_empty());
    check_change(|path| fs::write(path, &content).expect("the same again"), |found| found.is_empty());
    check_change(|path| fs::write(path, format!("{content}more\n")).expect("appended"), |found| found.is_empty());
    check_change(
        |path| fs::write(path, "short\n").expect("rewritten"),
        |found| matches!(found, [Difference::Identity { .. }]),
    );
    check_change(
        |path| fs::write(path, &content[..content.len() - 10]).expect("cut"),
        |found| matches!(found, [Difference::Truncated { .. }]),
    );
    check_change(
        |path| fs::write(path, content.replace("number 299", "number xyz")).expect("the end rewritten"),
        |found| matches!(found, [Difference::Tail { .. } | Difference::Identity { .. }]),
    );
    check_change(
        |path| {
            fs::remove_file(path).expect("removed");
            fs::write(path, "another\n".repeat(1000)).expect("another file");
        },
        |found| matches!(found, [Difference::Identity { .. }]),
    );
    // Deleted after it was read to its end: fine.
    check_change(|path| fs::remove_file(path).expect("removed"), |found| found.is_empty());
}

#[test]
fn a_file_that_goes_before_it_was_read_is_missed() {
    let mut bench = Bench::new("*.txt", Framing::Lines, false);
    bench.write("a.txt", "1\n2\n3\n").write("b.txt", "b\n");
    assert_eq!(bench.start().expect("it starts"), []);
    let limits = FetchLimits { records_max: 1, bytes_max: 100, wait_max: Duration::ZERO };
    let fetch = bench.source.as_mut().expect("started").next(&limits).expect("it reads");
    fetch.batches.iter().for_each(|batch| bench.commit(batch));
    fs::remove_file(bench.path("a.txt")).expect("removed");
    assert_eq!(bench.restart().start().expect("it can be checked"), [Difference::Gone]);
}

#[test]
fn many_files_are_followed_with_few_open_and_none_is_left_behind() {
    let mut bench = Bench::new("*.log", Framing::Lines, true);
    for n in 0..300 {
        bench.write(&format!("{n:03}.log"), format!("first {n}\n"));
    }
    bench.run(50);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert!(open < 300, "{open} descriptors are open");
    for n in 0..300 {
        bench.append(&format!("{n:03}.log"), &format!("second {n}\n"));
    }
    bench.drain(50).expect("it reads");
    assert_eq!(bench.read.len(), 600);
}

#[test]
fn a_file_that_always_has_more_does_not_keep_others_waiting() {
    let mut bench = Bench::new("*.log", Framing::Lines, true);
    bench.write("a.log", "a\n".repeat(1000)).write("b.log", "b\n".repeat(1000));
    assert_eq!(bench.start().expect("it starts"), []);
    let limits = FetchLimits { records_max: 10, bytes_max: 1 << 20, wait_max: Duration::ZERO };
    for _ in 0..10 {
        let fetch = bench.source.as_mut().expect("started").next(&limits).expect("it reads");
        fetch.batches.iter().for_each(|batch| bench.commit(batch));
    }
    let of_b = bench.values().iter().filter(|value| **value == "b").count();
    assert_eq!(of_b, 50);
}

#[test]
fn what_a_source_says_of_itself_has_its_path() {
    let bench = Bench::new("x", Framing::Lines, true);
    assert!(bench.factory.describe().ends_with("x, followed"));
    assert_eq!(bench.factory.connector(), "filesystem");
    assert_ne!(bench.factory.wiring(), Bench::new("x", Framing::Lines, false).factory.wiring());
    let _: Arc<str> = bench.factory.name().into();
}
