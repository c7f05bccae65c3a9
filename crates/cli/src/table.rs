//! Results on stdout: a table for people, JSON or CSV for programs.

use crate::args::Format;
use crate::render::width;
use onceflow::home::desk::Cell;
use std::io::Write as _;

/// Rows with named columns.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table of rows as a desk returns them.
    pub fn of(columns: &[&str], rows: Vec<Vec<Cell>>) -> Self {
        Self { columns: columns.iter().map(ToString::to_string).collect(), rows }
    }

    /// A table with columns of any names.
    pub fn named(columns: Vec<String>, rows: Vec<Vec<Cell>>) -> Self {
        Self { columns, rows }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Prints the table on stdout. A closed stdout ends the printing without a word, as users of `head` expect.
    pub fn print(&self, format: Format) {
        let text = match format {
            Format::Table => self.as_text(),
            Format::Json => format!("{:#}\n", self.as_json()),
            Format::Csv => self.as_csv(),
        };
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }

    fn as_text(&self) -> String {
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(shown).collect()).collect();
        let width = |column: usize| {
            let own = wide(&self.columns[column]);
            cells.iter().map(|row| wide(&row[column])).max().unwrap_or(0).max(own)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let numeric: Vec<bool> = (0..self.columns.len()).map(|column| self.is_numeric(column)).collect();
        let mut out = line(&self.columns, &widths, &numeric);
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        out.push_str(&line(&rules, &widths, &numeric));
        cells.iter().for_each(|row| out.push_str(&line(row, &widths, &numeric)));
        out
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut values = self.rows.iter().map(|row| &row[column]).filter(|cell| **cell != Cell::Null).peekable();
        values.peek().is_some() && values.all(|cell| matches!(cell, Cell::Int(_)))
    }

    /// The rows as JSON objects.
    pub fn as_json(&self) -> serde_json::Value {
        let object = |row: &Vec<Cell>| -> serde_json::Value {
            let fields = self.columns.iter().zip(row).map(|(name, cell)| (name.clone(), value(cell)));
            serde_json::Value::Object(fields.collect())
        };
        serde_json::Value::Array(self.rows.iter().map(object).collect())
    }

    fn as_csv(&self) -> String {
        let mut out = csv_line(self.columns.iter().cloned());
        for row in &self.rows {
            out.push_str(&csv_line(row.iter().map(|cell| match cell {
                Cell::Null => String::new(),
                other => plain(other),
            })));
        }
        out
    }
}

/// The columns that a text takes on a terminal.
fn wide(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn line(cells: &[String], widths: &[usize], right: &[bool]) -> String {
    let padded = cells.iter().zip(widths).zip(right).map(|((cell, width), right)| {
        let space = " ".repeat(width - wide(cell));
        if *right { format!("{space}{cell}") } else { format!("{cell}{space}") }
    });
    format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
}

fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quoted = cells.map(|cell| {
        let special = cell.contains([',', '"', '\n', '\r']);
        if special { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    });
    format!("{}\r\n", quoted.collect::<Vec<_>>().join(","))
}

/// A cell in a table for people: one line, not too long.
fn shown(cell: &Cell) -> String {
    const CHARACTERS_MAX: usize = 80;
    let text = plain(cell).replace(['\n', '\r', '\t'], " ");
    if text.chars().count() <= CHARACTERS_MAX {
        return text;
    }
    text.chars().take(CHARACTERS_MAX - 1).chain(['…']).collect()
}

/// A cell as text.
pub fn plain(cell: &Cell) -> String {
    match cell {
        Cell::Null => "∅".to_owned(),
        Cell::Int(number) => number.to_string(),
        Cell::Text(text) => text.clone(),
        Cell::Bytes(bytes) => bytes_text(bytes),
    }
}

/// Bytes as text where they are UTF-8, else as `\x` hexadecimal.
pub fn bytes_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("\\x".to_owned(), |out, byte| out + &format!("{byte:02x}")),
    }
}

fn value(cell: &Cell) -> serde_json::Value {
    match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Int(number) => (*number).into(),
        Cell::Text(text) => text.clone().into(),
        Cell::Bytes(bytes) => bytes_text(bytes).into(),
    }
}
