//! What a bench-only build leaves out, to show what it costs.
//!
//! Only with the feature `bench-switches`; otherwise the question is answered at compile time, and always with no.
//! A program that leaves one of these out is not Onceflow, and says so when it starts.

/// What can be left out. [`VARIABLE`] holds some of [`NAMES`], with commas between.
// Each is asked for where its feature is; a build with fewer features asks for fewer.
#[allow(dead_code)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The ledger's move and the commit row.
    Ledger,
    /// Fingerprints of records and digests of rows.
    Digests,
    /// Savepoints and the index from rows to records.
    DeadLetters,
}

/// Whether a part is left out.
#[cfg(not(feature = "bench-switches"))]
#[inline(always)]
pub(crate) const fn without(_: Part) -> bool {
    false
}

#[cfg(feature = "bench-switches")]
pub use chosen::{NAMES, VARIABLE, left_out};

#[cfg(feature = "bench-switches")]
pub(crate) fn without(part: Part) -> bool {
    chosen::is_left_out(part)
}

#[cfg(feature = "bench-switches")]
mod chosen {
    use super::Part;
    use std::sync::LazyLock;

    /// The environment variable that names what is left out.
    pub const VARIABLE: &str = "ONCEFLOW_BENCH_WITHOUT";
    /// Its values.
    pub const NAMES: [&str; 3] = ["ledger", "digests", "dead-letters"];
    const PARTS: [Part; 3] = [Part::Ledger, Part::Digests, Part::DeadLetters];

    static CHOSEN: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var(VARIABLE).ok().filter(|name| !name.is_empty()));
    static PARTS_LEFT_OUT: LazyLock<[bool; 3]> = LazyLock::new(|| NAMES.map(|name| names().any(|known| known == name)));

    fn names() -> impl Iterator<Item = &'static str> {
        CHOSEN.as_deref().into_iter().flat_map(|names| names.split(','))
    }

    /// What the environment asks to be left out; `Err` where nothing has such a name.
    pub fn left_out() -> Result<Option<&'static str>, String> {
        match names().find(|name| !NAMES.contains(name)) {
            Some(name) => Err(format!("{VARIABLE} names '{name}' and should name some of {}", NAMES.join(", "))),
            None => Ok(CHOSEN.as_deref()),
        }
    }

    pub(super) fn is_left_out(part: Part) -> bool {
        PARTS.iter().position(|known| *known == part).is_some_and(|at| PARTS_LEFT_OUT[at])
    }
}
