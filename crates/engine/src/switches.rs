//! What a bench-only build leaves out, to show what it costs.
//!
//! Only with the feature `bench-switches`; otherwise the question is answered at compile time, and always with no.
//! A program that leaves one of these out is not Onceflow, and says so when it starts.

/// What can be left out. [`VARIABLE`] holds one of [`NAMES`].
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
    chosen::part() == Some(part)
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

    /// What the environment asks to be left out; `Err` where nothing has that name.
    pub fn left_out() -> Result<Option<&'static str>, String> {
        let Some(name) = CHOSEN.as_deref() else { return Ok(None) };
        let known = NAMES.into_iter().find(|known| *known == name);
        known.map(Some).ok_or_else(|| format!("{VARIABLE} is '{name}' and should be one of {}", NAMES.join(", ")))
    }

    pub(super) fn part() -> Option<Part> {
        let name = CHOSEN.as_deref()?;
        NAMES.iter().position(|known| *known == name).map(|at| PARTS[at])
    }
}
