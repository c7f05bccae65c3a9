//! How an audit is told: to people line by line, to programs as one object or as CSV.

use crate::args::{Common, Format};
use crate::table::Table;
use crate::talk::{Talk, Tone, counted, grouped};
use onceflow::audit::{Finding, Level, Options, RecordName, Report, Summary, What};
use onceflow::home::desk::Cell;
use serde_json::{Value, json};
use std::io::Write as _;

/// Prints what was found.
pub fn print(name: &str, reports: &[Report], options: &Options, combined: bool, common: &Common, talk: &Talk) {
    let text = match (combined, common.format) {
        (true, _) => lines(reports),
        (false, Format::Json) => format!("{:#}\n", object(name, reports, options)),
        (false, Format::Csv) => {
            findings(reports).print(Format::Csv);
            String::new()
        }
        (false, Format::Table) => people(name, reports, options, talk),
    };
    // A closed stdout ends the printing without a word, as users of `head` expect.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn total(reports: &[Report]) -> Summary {
    let mut all = Summary::default();
    reports.iter().for_each(|report| all.merge(&report.summary));
    all
}

fn verdict(reports: &[Report]) -> &'static str {
    match super::exit_code(reports) {
        0 => "clean",
        1 => "findings",
        _ => "could not check",
    }
}

/// The one object for programs.
fn object(name: &str, reports: &[Report], options: &Options) -> Value {
    let summary: serde_json::Map<String, Value> =
        total(reports).named().iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    let checks = reports.iter().flat_map(|report| {
        report.checks.iter().map(|check| {
            json!({
                "home": report.home, "level": check.level, "table": check.table, "good": check.good, "what": check.said,
            })
        })
    });
    let found = reports.iter().flat_map(|report| &report.findings).map(finding);
    let counts: serde_json::Map<String, Value> =
        counts(reports).into_iter().map(|(what, count)| (what.as_str().to_owned(), json!(count))).collect();
    let stretch = |stretch: &onceflow::audit::Stretch| {
        json!({
            "source": &*stretch.partition.source, "topic": &*stretch.partition.topic,
            "partition": stretch.partition.number, "from": stretch.from, "to": stretch.to,
        })
    };
    json!({
        "pipeline": name,
        "level": options.level.number(),
        "verdict": verdict(reports),
        "summary": summary,
        "adopted": reports.iter().map(|report| report.adopted).sum::<u64>(),
        "checks": checks.collect::<Vec<_>>(),
        "found": counts,
        "findings": found.collect::<Vec<_>>(),
        "read": reports.iter().flat_map(|report| &report.read).map(stretch).collect::<Vec<_>>(),
        "gone": reports.iter().flat_map(|report| &report.gone).map(stretch).collect::<Vec<_>>(),
        "unchecked": reports.iter().flat_map(|report| &report.unchecked).collect::<Vec<_>>(),
    })
}

fn counts(reports: &[Report]) -> std::collections::BTreeMap<What, u64> {
    let mut all = std::collections::BTreeMap::new();
    for (what, count) in reports.iter().flat_map(|report| &report.found) {
        *all.entry(*what).or_default() += count;
    }
    all
}

fn finding(finding: &Finding) -> Value {
    let row =
        finding.row.as_ref().map(|row| serde_json::from_str::<Value>(row).unwrap_or_else(|_| row.as_str().into()));
    let record = finding.record.as_ref();
    json!({
        "kind": finding.what.as_str(),
        "table": finding.table,
        "topic": record.map(|record| record.partition.topic.to_string()),
        "partition": record.map(|record| record.partition.number),
        "offset": record.map(|record| record.offset),
        "times": finding.times,
        "row": row,
        "said": finding.said,
    })
}

fn findings(reports: &[Report]) -> Table {
    let rows = reports.iter().flat_map(|report| &report.findings).map(|finding| {
        let number = |number: u64| i64::try_from(number).map_or(Cell::Null, Cell::Int);
        let text = |text: Option<&String>| text.map_or(Cell::Null, |text| Cell::Text(text.clone()));
        let record = finding.record.as_ref();
        vec![
            Cell::Text(finding.what.as_str().to_owned()),
            text(finding.table.as_ref()),
            record.map_or(Cell::Null, |record| Cell::Text(record.partition.topic.to_string())),
            record.map_or(Cell::Null, |record| number(record.partition.number.into())),
            record.map_or(Cell::Null, |record| number(record.offset)),
            number(finding.times),
            text(finding.row.as_ref()),
            Cell::Text(finding.said.clone()),
        ]
    });
    Table::of(&["kind", "table", "topic", "partition", "offset", "times", "row", "said"], rows.collect())
}

/// rclone's line for a record whose row is as it should be. Written at once: there may be many of them.
pub fn right(table: &str, record: &RecordName) {
    // A closed stdout ends the printing without a word, as users of `head` expect.
    let _ = writeln!(std::io::stdout().lock(), "= {table} {} {}", record.partition, record.offset);
}

/// rclone's lines for what was found. Those of the records that are as they should be stand before them.
fn lines(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        for finding in &report.findings {
            let record = finding.record.as_ref().map(|record| format!(" {} {}", record.partition, record.offset));
            let table = finding.table.as_deref().unwrap_or("ledger");
            let what = finding.row.as_deref().unwrap_or(&finding.said);
            let sign = if finding.times > 1 {
                format!("{} {}", finding.times, finding.what.sign())
            } else {
                finding.what.sign().to_owned()
            };
            out += &format!("{sign} {table}{} {what}\n", record.unwrap_or_default());
        }
        for said in &report.unchecked {
            out += &format!("! {said}\n");
        }
    }
    out
}

fn people(name: &str, reports: &[Report], options: &Options, talk: &Talk) -> String {
    let mut out = String::new();
    for report in reports {
        out += &format!("{name} in {}\n", report.home);
        for check in &report.checks {
            let mark = match check.good {
                Some(true) => "ok",
                Some(false) => "WRONG",
                None => "-",
            };
            let table = check.table.as_ref().map(|table| format!("{table}: ")).unwrap_or_default();
            out += &format!("  {mark:<5} level {}  {table}{}\n", check.level, check.said);
        }
        out.push('\n');
        for (label, count) in report.summary.named() {
            if count > 0 || matches!(label, "inputs" | "once" | "missing" | "repeated" | "changed" | "unexpected") {
                out += &format!("  {:>15}  {}\n", grouped(count), label.replace('_', " "));
            }
        }
        if report.adopted > 0 {
            out += &format!("  {:>15}  rows that were there before (adopted)\n", grouped(report.adopted));
        }
        out += &shown(report);
    }
    let (tone, sentence) = sentence(reports, options);
    out += &format!("\n{}\n", talk.tone(tone, &sentence));
    out
}

/// The findings, and how many more there are.
fn shown(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let place = finding.record.as_ref().map(|record| format!(" {} offset {}", record.partition, record.offset));
        let table = finding.table.as_ref().map(|table| format!(" {table}")).unwrap_or_default();
        let times = if finding.times > 1 { format!(" ({} times)", grouped(finding.times)) } else { String::new() };
        out += &format!("\n{}{table}{}{times}: {}\n", finding.what.as_str(), place.unwrap_or_default(), finding.said);
        if let Some(row) = &finding.row {
            out += &format!("    {row}\n");
        }
    }
    for (what, count) in &report.found {
        let kept = report.findings.iter().filter(|finding| finding.what == *what).count() as u64;
        if *count > kept {
            out += &format!("\n… and {} more {}; all of them: --format json\n", grouped(count - kept), what.as_str());
        }
    }
    out
}

/// The one sentence that counts, and its tone.
pub fn sentence(reports: &[Report], options: &Options) -> (Tone, String) {
    let all = total(reports);
    let unverifiable = match all.unverifiable {
        0 => String::new(),
        count => format!("; {} cannot be verified any more", grouped(count)),
    };
    match super::exit_code(reports) {
        0 => {
            let records = grouped(all.inputs);
            let said = match options.level {
                Level::Ledger => {
                    format!("the ledger agrees with itself about {records} records; --level 3 compares rows")
                }
                Level::Source => {
                    format!("ledger and source agree about {records} records{unverifiable}; --level 3 compares rows")
                }
                Level::Rows => format!("clean: {records} records, each took effect once{unverifiable}"),
            };
            (Tone::Strong, said)
        }
        1 => {
            let count: u64 = reports.iter().flat_map(|report| report.found.values()).sum();
            let found = counted(count, "finding");
            (Tone::Error, format!("{found}: what is in the database is not what the source says{unverifiable}"))
        }
        _ => {
            let why: Vec<&str> = reports.iter().flat_map(|report| &report.unchecked).map(String::as_str).collect();
            let why = match why.is_empty() {
                true => "the source holds none of the records any more".to_owned(),
                false => why.join("; "),
            };
            (Tone::Warning, format!("could not check: {why}{unverifiable}"))
        }
    }
}
