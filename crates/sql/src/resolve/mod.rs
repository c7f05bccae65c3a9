//! From declarations to sources and targets that can be opened.
//!
//! Owns what connectors there are and what their options mean. Does not open anything: a text is resolved without a broker
//! or a database at hand.

mod connect;
mod datagen;
mod files;
mod kafka;
mod mode;
pub mod settings;
mod source;
mod target;
pub mod url;

use crate::model::{TableDecl, Value};
use crate::options::Findings;
use crate::options::known::OTHER_CONNECTORS;
use crate::suggest;
use onceflow::Error;
use onceflow::codes::{OF0220, OF0221, OF0222, OF0224};

pub use source::source;
pub use target::{check_columns, home_from_url, target};

/// Connectors that are read.
pub const SOURCES: &[&str] = &["kafka", "filesystem", "datagen"];
/// Connectors that are written.
pub const TARGETS: &[&str] = &["jdbc", "postgres", "sqlite", "print", "blackhole"];

/// Which way a table is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    Read,
    Written,
}

/// The connector's name as one of [`SOURCES`] or [`TARGETS`]; what cannot be used in this way is an error.
fn connector(table: &TableDecl, how: Use, findings: &mut Findings) -> Option<&'static str> {
    let Some(value) = table.options.get("connector") else {
        findings.errors.push(missing(table, how));
        return None;
    };
    let (right, wrong) = if how == Use::Read { (SOURCES, TARGETS) } else { (TARGETS, SOURCES) };
    let name = value.text.trim().to_ascii_lowercase();
    let name = alias(&name);
    if let Some(found) = right.iter().find(|known| **known == name) {
        return Some(found);
    }
    findings.errors.push(if wrong.contains(&name) {
        wrong_use(table, value, name, how)
    } else {
        unknown(value, name, right)
    });
    None
}

/// Names of other systems.
fn alias(name: &str) -> &str {
    match name {
        "postgresql" => "postgres",
        "file" | "files" | "filesystem-source" => "filesystem",
        "stdout" => "print",
        name => name,
    }
}

fn missing(table: &TableDecl, how: Use) -> Error {
    let example = if how == Use::Read { "kafka" } else { "jdbc" };
    Error::config(OF0224, format!("the table {} needs the option 'connector'", table.name))
        .at(&table.place)
        .help(format!("add WITH ('connector' = '{example}', …)"))
}

fn wrong_use(table: &TableDecl, value: &Value, name: &str, how: Use) -> Error {
    let (code, message, list) = match (how, name) {
        (Use::Read, _) => (OF0222, format!("a table of '{name}' cannot be read"), SOURCES),
        // Flink writes to these, so the text is right and the part is missing.
        (Use::Written, "kafka" | "filesystem") => {
            (OF0221, format!("writing to '{name}' is not available yet"), TARGETS)
        }
        (Use::Written, _) => (OF0222, format!("a table of '{name}' cannot be written"), TARGETS),
    };
    let what = if how == Use::Read { "read" } else { "written" };
    let listed = if how == Use::Read { "sources" } else { "targets" };
    Error::config(code, message)
        .at(&value.place)
        .label(format!("{} is {what} by an INSERT", table.name))
        .help(format!("{listed}: {}", list.join(", ")))
}

fn unknown(value: &Value, name: &str, right: &[&str]) -> Error {
    let list = format!("connectors here: {}", right.join(", "));
    if OTHER_CONNECTORS.contains(&name) {
        let error = Error::config(OF0221, format!("the connector '{name}' is not available yet")).at(&value.place);
        return if name == "upsert-kafka" {
            error
                .note("it reads a changelog by key, which needs operator state")
                .help("read the topic with 'connector' = 'kafka'")
        } else {
            error.help(list)
        };
    }
    let error = Error::config(OF0220, format!("there is no connector '{name}'")).at(&value.place);
    match suggest::nearest(name, right.iter().copied()) {
        Some(meant) => error.help(format!("did you mean '{meant}'?")),
        None => error.help(list),
    }
}
