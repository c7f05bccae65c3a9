//! The parts of the benchmark. Each runs by itself.

use crate::failure::Result;
use crate::figures::Figures;
use crate::place::Place;

pub mod audit;
pub mod consuming;
pub mod files;
pub mod growth;
pub mod guarantees;
pub mod latency;
pub mod ledger;
pub mod rust;
pub mod stops;
pub mod tables;

/// A part of the benchmark.
pub struct Section {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Whether a quick run has it.
    pub is_quick: bool,
    /// Measures it.
    pub measure: fn(&Place, &mut Figures) -> Result<()>,
}

const fn section(
    name: &'static str,
    about: &'static str,
    is_quick: bool,
    measure: fn(&Place, &mut Figures) -> Result<()>,
) -> Section {
    Section { name, about, is_quick, measure }
}

/// All parts, in order.
pub const SECTIONS: &[Section] = &[
    section("append", "Kafka into a table without a key, beside psql's COPY", true, tables::append),
    section("upsert-new", "Kafka into a table by key, all keys new", true, tables::upsert_new),
    section("upsert-existing", "Kafka into a table by key, all keys there", true, tables::upsert_existing),
    section("consume", "reading and decoding alone, beside bare librdkafka", true, consuming::consume),
    section("merge", "Kafka merged into 10,000 keys", true, consuming::merge),
    section("statement", "write.statement, once for each record", false, tables::statement),
    section(
        "rust",
        "rows from structures and statements in a closure, beside SQL and a loop by hand",
        false,
        rust::rust,
    ),
    section("two-tables", "append and merge in one transaction", false, tables::two),
    section("sqlite", "files into SQLite, append and upsert", true, files::sqlite),
    section("files-postgres", "files into PostgreSQL", false, files::postgres),
    section("latency", "from produce to visible, at 1,000 and 20,000 records a second", true, latency::latency),
    section("kill", "from SIGKILL under load to the next process's first commit", true, stops::kill),
    section("start", "from the start of the process to the first commit", true, stops::starting),
    section("memory", "at rest after a start, at full speed, at rest after a backlog", true, stops::memory),
    section("ledger", "WAL and size at one record a commit", true, ledger::ledger),
    section("guarantees", "what ledger, digests and dead letters cost", true, guarantees::guarantees),
    section("audit", "auditing all rows, and beside a pipeline at full speed", false, audit::audit),
    section("partitions", "cost of a record, 1 to 256 partitions", false, growth::partitions),
    section("record-size", "cost of a record, 100 B to 1 MB", false, growth::record_size),
    section("columns", "cost of a record, 1 to 100 columns", false, growth::columns),
    section("epochs", "cost of a record, epochs of 100 to 100,000 records", false, growth::epochs),
    section("dead-letters", "cost of a record among bad ones", false, growth::dead_letters),
];
