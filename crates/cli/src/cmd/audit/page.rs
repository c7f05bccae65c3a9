//! The report of `--html`: what an audit found, on one page.

use super::show::sentence;
use crate::page::{Stripe, barcode, escape, frame};
use crate::talk::grouped;
use onceflow::audit::{Finding, Mark, Options, Report, Stretch};
use onceflow_core::Partition;
use std::collections::BTreeMap;

/// Stripes of one partition, at most.
const STRIPES: u64 = 200;
/// Partitions that are drawn; those in which something is wrong come first.
const PARTITIONS_MAX: usize = 100;
/// Findings of one home that are written out.
const FINDINGS_MAX: usize = 500;

/// The whole page.
pub fn page(command: &str, name: &str, reports: &[Report], options: &Options) -> String {
    let (_, sentence) = sentence(reports, options);
    let made = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"soft\">{} · level {} · made {made} by Onceflow {}</p>\n<pre>{} --level {}</pre>\n",
        escape(&sentence),
        escape(name),
        options.level.number(),
        env!("CARGO_PKG_VERSION"),
        escape(command),
        options.level.number()
    );
    for report in reports {
        body += &format!("<h2>{}</h2>\n", escape(&report.home));
        body += &numbers(report);
        body += &unchecked(report);
        body += &barcodes(report);
        body += &findings(report);
        body += &checks(report);
    }
    frame(&format!("Audit of {name}: {sentence}"), &body)
}

fn numbers(report: &Report) -> String {
    let number = |(name, count): (&str, u64)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", grouped(count), escape(&name.replace('_', " ")))
    };
    let mut all: String = report.summary.named().into_iter().map(number).collect();
    if report.adopted > 0 {
        all += &number(("rows that were there before (adopted)", report.adopted));
    }
    format!("<dl>\n{all}</dl>\n")
}

fn unchecked(report: &Report) -> String {
    let line = |said: &String| format!("<p><strong>Could not be checked:</strong> {}</p>\n", escape(said));
    report.unchecked.iter().map(line).collect()
}

/// What was read, and what could not be read any more, of one partition.
#[derive(Default)]
struct Log<'a> {
    read: Vec<&'a Stretch>,
    gone: Vec<&'a Stretch>,
}

impl Log<'_> {
    fn range(&self) -> Option<(u64, u64)> {
        let all = || self.read.iter().chain(&self.gone);
        Some((all().map(|it| it.from).min()?, all().map(|it| it.to).max()?)).filter(|(from, to)| from < to)
    }
}

fn barcodes(report: &Report) -> String {
    let mut logs: BTreeMap<&Partition, Log<'_>> = BTreeMap::new();
    report.read.iter().for_each(|it| logs.entry(&it.partition).or_default().read.push(it));
    report.gone.iter().for_each(|it| logs.entry(&it.partition).or_default().gone.push(it));
    let mut drawn: Vec<_> = logs.iter().filter_map(|(name, log)| Some((*name, log, log.range()?))).collect();
    if drawn.is_empty() {
        return "<h2>Where in the source</h2>\n<p class=\"soft\">The source was not read: the ledger alone was checked.</p>\n".to_owned();
    }
    drawn.sort_by_key(|(name, _, (from, to))| std::cmp::Reverse(report.marks.worst(name, *from, *to)));
    let left = drawn.len().saturating_sub(PARTITIONS_MAX);
    let mut out = "<h2>Where in the source</h2>\n".to_owned();
    for (name, log, range) in drawn.iter().take(PARTITIONS_MAX) {
        out += &one_barcode(report, name, log, *range);
    }
    if left > 0 {
        out += &format!("<p class=\"soft\">… and {} more partitions.</p>\n", grouped(left as u64));
    }
    out + "<p class=\"soft\">Each stripe is a part of the partition, from its first offset to its last. Full height, red: a row is missing or \
           has other values. Half height, yellow: a row is there too often, or a record stands as a dead letter. Low, green: everything is \
           as it should be. Grey: the source does not hold it any more.</p>\n"
}

fn one_barcode(report: &Report, name: &Partition, log: &Log<'_>, (from, to): (u64, u64)) -> String {
    let count = (to - from).min(STRIPES);
    // In 128 bits, since offsets may be near 2^63.
    let bound = |index: u64| {
        let part = u128::from(to - from) * u128::from(index) / u128::from(count);
        from + u64::try_from(part).unwrap_or(to - from)
    };
    let stripes: Vec<Stripe> =
        (0..count).map(|index| stripe(report, name, log, bound(index), bound(index + 1))).collect();
    let number = |kind| stripes.iter().filter(|stripe| **stripe == kind).count();
    let label = format!(
        "{count} stripes: {} with something missing or wrong, {} with something repeated or put aside, {} unknown",
        number(Stripe::Bad),
        number(Stripe::Much),
        number(Stripe::Unknown)
    );
    let offsets = format!("offsets {} to {}", grouped(from), grouped(to - 1));
    format!(
        "<p>{} <span class=\"soft\">{offsets}</span></p>\n{}",
        escape(&name.to_string()),
        barcode(stripes.into_iter(), &label)
    )
}

fn stripe(report: &Report, name: &Partition, log: &Log<'_>, from: u64, to: u64) -> Stripe {
    let touches = |stretches: &[&Stretch]| stretches.iter().any(|it| it.from < to && from < it.to);
    match report.marks.worst(name, from, to) {
        Some(Mark::Missing | Mark::Differs) => Stripe::Bad,
        Some(Mark::Repeated | Mark::Dead) => Stripe::Much,
        None if touches(&log.read) && !touches(&log.gone) => Stripe::Good,
        None => Stripe::Unknown,
    }
}

fn findings(report: &Report) -> String {
    if !report.has_findings() {
        return String::new();
    }
    let mut out = "<h2>What is wrong</h2>\n".to_owned();
    out += &report.findings.iter().take(FINDINGS_MAX).map(one_finding).collect::<String>();
    let all: u64 = report.found.values().sum();
    let left = all.saturating_sub(report.findings.len().min(FINDINGS_MAX) as u64);
    if left > 0 {
        out += &format!(
            "<p>… and {} more; all of them: <code>--format json</code> or <code>csv</code></p>\n",
            grouped(left)
        );
    }
    out
}

fn one_finding(finding: &Finding) -> String {
    let table = finding.table.as_ref().map(|table| format!(" in {table}")).unwrap_or_default();
    let times = if finding.times > 1 { format!(", {} times", grouped(finding.times)) } else { String::new() };
    let record = finding.record.as_ref().map(|record| format!("{} offset {}: ", record.partition, record.offset));
    let row = finding.row.as_ref().map(|row| format!("<p><code>{}</code></p>\n", escape(row)));
    format!(
        "<article><p><strong>{}{}{times}</strong></p>\n<p>{}{}</p>\n{}</article>\n",
        finding.what.as_str(),
        escape(&table),
        escape(&record.unwrap_or_default()),
        escape(&finding.said),
        row.unwrap_or_default()
    )
}

fn checks(report: &Report) -> String {
    let row = |check: &onceflow::audit::Checked| {
        let mark = match check.good {
            Some(true) => "ok",
            Some(false) => "wrong",
            None => "not checked",
        };
        format!(
            "<tr><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td><td class=\"text\">{mark}</td></tr>\n",
            check.level,
            escape(check.table.as_deref().unwrap_or_default()),
            escape(&check.said)
        )
    };
    format!(
        "<h2>What was checked</h2>\n<table><tr><th scope=\"col\">level</th><th scope=\"col\" class=\"text\">table</th>\
         <th scope=\"col\" class=\"text\">what</th><th scope=\"col\" class=\"text\">result</th></tr>\n{}</table>\n",
        report.checks.iter().map(row).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use onceflow::audit::{Level, RecordName, What};

    fn report() -> Report {
        let mut report = Report::new("sqlite:x.db".to_owned(), 5);
        let partition = Partition::new("s", "<b>t", 3);
        report.read.push(Stretch { partition: partition.clone(), from: 0, to: 1_000 });
        report.gone.push(Stretch { partition: partition.clone(), from: 0, to: 500 });
        report.find(Finding {
            what: What::Missing,
            table: Some("<i>log".to_owned()),
            record: Some(RecordName { partition, offset: 700 }),
            row: Some("{\"a\": \"<script>alert(1)</script>\"}".to_owned()),
            times: 1,
            said: "it is not there".to_owned(),
        });
        report
    }

    fn options() -> Options {
        Options { level: Level::Rows, limit: 5, since: None, until: None, key: None, each: None }
    }

    #[test]
    fn hostile_values_are_text_and_every_stripe_is_drawn_for_what_it_is() {
        let page = page("onceflow audit p.sql", "p", &[report()], &options());
        for markup in ["<b>", "<i>", "<script"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        let stripes = |class: &str| page.matches(&format!("<rect class=\"{class}\"")).count();
        assert_eq!((stripes("none"), stripes("bad"), stripes("good"), stripes("much")), (100, 1, 99, 0));
        assert!(page.contains("offset 700: it is not there"));
        assert!(page.contains("1 finding: what is in the database is not what the source says"));
    }

    #[test]
    fn offsets_at_the_end_of_their_range_do_not_overflow() {
        let mut report = report();
        report.gone.clear();
        report.read[0].to = u64::MAX;
        assert_eq!(page("c", "p", &[report], &options()).matches("<rect").count(), STRIPES as usize);
    }
}
