//! The parts of the benchmark. Each runs by itself.

use crate::failure::Result;
use crate::figures::Figures;
use crate::place::Place;

pub mod consuming;
pub mod files;
pub mod latency;
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
    section("two-tables", "append and merge in one transaction", false, tables::two),
    section("sqlite", "files into SQLite, append and upsert", true, files::sqlite),
    section("files-postgres", "files into PostgreSQL", false, files::postgres),
    section("latency", "from produce to visible, at 1,000 and 20,000 records a second", true, latency::latency),
];
