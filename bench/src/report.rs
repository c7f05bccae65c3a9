//! The table for people and the file for machines.

use crate::failure::{Doing, Result};
use crate::figures::{Figure, Figures, median};
use crate::goals::{Compared, compare};
use crate::machine;
use crate::place::Place;
use serde_json::{Value, json};
use std::fmt::Write as _;

const HEADS: [&str; 8] = ["figure", "unit", "median", "min … max", "compared with", "ratio", "goal", ""];

/// The table, as text.
pub fn table(figures: &Figures) -> String {
    let mut lines = vec![HEADS.map(str::to_owned)];
    let mut section = "";
    for figure in figures.all() {
        if figure.section != section {
            section = figure.section;
            lines.push([
                format!("— {section}"),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
        for (number, compared) in compare(figure, figures).iter().enumerate() {
            lines.push(line(figure, compared, number == 0));
        }
    }
    let mut widths = [0; HEADS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(widths).enumerate().map(|(at, (cell, width))| pad(at, cell, width)).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// Numbers to the right, words to the left.
fn pad(at: usize, cell: &str, width: usize) -> String {
    let room = " ".repeat(width.saturating_sub(cell.chars().count()));
    if matches!(at, 2 | 5) { format!("{room}{cell}") } else { format!("{cell}{room}") }
}

fn line(figure: &Figure, compared: &Compared, is_first: bool) -> [String; 8] {
    let (low, high) = figure.range();
    let spread = if figure.runs.len() > 1 { format!("{} … {}", short(low), short(high)) } else { String::new() };
    let ratio = if compared.ratios.is_empty() { String::new() } else { format!("{:.2}", median(&compared.ratios)) };
    let verdict = match compared.met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "",
    };
    let own = |text: String| if is_first { text } else { String::new() };
    [
        own(figure.name.clone()),
        own(figure.unit.to_owned()),
        own(short(figure.median())),
        own(spread),
        compared.limit.unwrap_or_default().to_owned(),
        ratio,
        compared.goal.map(|goal| goal.to_string()).unwrap_or_default(),
        verdict.to_owned(),
    ]
}

/// Three significant digits, thousands in groups.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => grouped(value.round()),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut out = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Everything, for machines.
pub fn document(place: &Place, figures: &Figures) -> Result<Value> {
    let settings = &place.settings;
    Ok(json!({
        "date": machine::now(place)?,
        "machine": machine::machine(),
        "versions": machine::versions(place)?,
        "settings": {
            "rows": settings.rows(), "partitions": settings.partitions, "payload": settings.payload,
            "runs": settings.runs(), "quick": settings.quick, "only": settings.only, "seed": settings.seed,
        },
        "figures": figures.all().iter().map(|figure| entry(figure, figures)).collect::<Vec<_>>(),
        "absent": figures.absent,
        "failures": figures.failures,
    }))
}

fn entry(figure: &Figure, figures: &Figures) -> Value {
    let (low, high) = figure.range();
    let compared = compare(figure, figures);
    let compared = compared.iter().filter(|compared| compared.limit.is_some() || compared.goal.is_some());
    let comparisons: Vec<Value> = compared
        .map(|compared| {
            json!({
                "with": compared.limit, "ratios": compared.ratios,
                "ratio": (!compared.ratios.is_empty()).then(|| median(&compared.ratios)),
                "goal": compared.goal.map(|goal| goal.to_string()), "met": compared.met,
            })
        })
        .collect();
    json!({
        "section": figure.section, "name": figure.name, "unit": figure.unit, "runs": figure.runs,
        "median": figure.median(), "min": low, "max": high, "comparisons": comparisons,
    })
}

/// Writes the file and prints the table.
pub fn publish(place: &Place, figures: &Figures) -> Result<()> {
    let path = &place.settings.json;
    let text = format!("{:#}\n", document(place, figures)?);
    std::fs::write(path, text).doing(path.display())?;
    println!("\n{}", table(figures));
    for absent in &figures.absent {
        println!("NOT MEASURED: {absent}");
    }
    for failure in &figures.failures {
        println!("FAILED: {failure}");
    }
    println!("written to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Sample;

    #[test]
    fn numbers_are_short() {
        let shown = [1_234_567.8, 123.4, 12.34, 1.234, 0.0123, -4_321.0].map(short);
        assert_eq!(shown, ["1,234,568", "123", "12.3", "1.23", "0.0123", "-4,321"]);
    }

    #[test]
    fn a_table_says_what_is_met() {
        let mut figures = Figures::default();
        figures.add("append", Sample::of("limit: psql COPY, no key", "rows/s", 800_000.0));
        figures.add("append", Sample::of("append", "rows/s", 400_000.0).and("append, peak memory", "MiB", 300.0));
        let table = table(&figures);
        assert!(table.contains("0.50  ≥ 0.45 ×  met"), "{table}");
        assert!(table.contains("≤ 200     NOT MET"), "{table}");
    }
}
