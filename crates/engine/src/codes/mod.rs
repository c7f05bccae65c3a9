//! Every error code with its title and its explanation: `onceflow explain OF0203` and docs/errors.md are made from here.
//!
//! Ranges: 00 engine and ownership · 01 command line · 02 text, statements, options · 03 queries · 04 Kafka · 05 files and
//! generated data · 06 records that cannot be decoded · 07 PostgreSQL · 08 SQLite · 09 ledger · 10 logic in Rust.

use std::fmt;

/// A code such as `OF0203`. Made only in this module's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

impl Code {
    /// The code as text.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What stands behind a code.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The code.
    pub code: Code,
    /// A few words.
    pub title: &'static str,
    /// What happened, why it is refused, what to do. Markdown.
    pub text: &'static str,
}

/// Declares codes: `OF0001: "title", "explanation";`.
macro_rules! codes {
    ($($name:ident: $title:literal, $text:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: $crate::codes::Code = $crate::codes::Code(stringify!($name));
        )*
        /// All codes of this table, in order.
        pub(super) const ENTRIES: &[$crate::codes::Entry] =
            &[$($crate::codes::Entry { code: $name, title: $title, text: $text }),*];
    };
}

mod audit;
mod command;
mod demo;
mod doctor;
mod engine;
mod files;
mod kafka;
mod ledger;
mod postgres;
mod query;
mod record;
mod sqlite;
mod text;
mod torture;
mod user_code;

#[allow(unused_imports)]
pub use audit::*;
#[allow(unused_imports)]
pub use command::*;
#[allow(unused_imports)]
pub use demo::*;
#[allow(unused_imports)]
pub use doctor::*;
#[allow(unused_imports)]
pub use engine::*;
#[allow(unused_imports)]
pub use files::*;
#[allow(unused_imports)]
pub use kafka::*;
#[allow(unused_imports)]
pub use ledger::*;
#[allow(unused_imports)]
pub use postgres::*;
#[allow(unused_imports)]
pub use query::*;
#[allow(unused_imports)]
pub use record::*;
#[allow(unused_imports)]
pub use sqlite::*;
#[allow(unused_imports)]
pub use text::*;
#[allow(unused_imports)]
pub use torture::*;
#[allow(unused_imports)]
pub use user_code::*;

/// All codes, in order.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [
        engine::ENTRIES,
        command::ENTRIES,
        audit::ENTRIES,
        doctor::ENTRIES,
        demo::ENTRIES,
        torture::ENTRIES,
        text::ENTRIES,
        query::ENTRIES,
        kafka::ENTRIES,
        files::ENTRIES,
        record::ENTRIES,
        postgres::ENTRIES,
        sqlite::ENTRIES,
        ledger::ENTRIES,
        user_code::ENTRIES,
    ]
    .into_iter()
    .flatten()
}

/// The entry of a code as the user typed it, in any case.
pub fn find(code: &str) -> Option<&'static Entry> {
    all().find(|entry| entry.code.as_str().eq_ignore_ascii_case(code))
}
