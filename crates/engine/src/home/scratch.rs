//! Scratch copies of a home's target tables: another database on the same server, or another file. `torture` runs pipelines
//! against them; nothing here writes to the real tables.
//!
//! A scratch is known by a name and carries a token, which is drawn anew for each. Whoever is about to write asks for the
//! token first: a place without it is not a scratch, whatever its name is.

use crate::changes::TableSpec;
use crate::codes;
use crate::error::{Error, Result};
use crate::home::{Answer, HomeFactory};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a home listens, so that a proxy can stand in between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A host and its port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Makes, checks and removes scratch copies of a home.
pub trait Scratch: Send + Sync {
    /// Makes a scratch with the definitions of these tables and the token. Tables that do not exist are left out, for
    /// `auto-create`. Only tables that a `write.statement` works on get their rows too. Returns what was left out, for people.
    fn prepare<'a>(&'a self, name: &'a str, tables: &'a [TableSpec], token: &'a str)
    -> Answer<'a, Result<Vec<String>>>;

    /// Makes another scratch like an existing one that nobody uses.
    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Result<()>>;

    /// Removes a scratch, with whoever uses it. One that is not there is removed already.
    fn remove<'a>(&'a self, name: &'a str) -> Answer<'a, Result<()>>;

    /// Refuses a place that does not carry the token, and the real home under whatever name (OF0151).
    fn check<'a>(&'a self, name: &'a str, token: &'a str) -> Answer<'a, Result<()>>;

    /// The scratch as a home. With `via`, each of [`Self::addresses`] is reached through the socket at its index.
    fn home(&self, name: &str, via: &[SocketAddr]) -> Result<Arc<dyn HomeFactory>>;

    /// Where the home listens; empty where nothing listens.
    fn addresses(&self) -> Vec<Address>;
}

/// Every word of a statement that could name a table, as SQL writes names: `accounts`, `"Accounts"`, `sales.accounts`.
pub fn words(sql: &str) -> BTreeSet<String> {
    let in_name = |ch: char| ch.is_alphanumeric() || matches!(ch, '_' | '.' | '"' | '$');
    sql.split(|ch| !in_name(ch)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A place that is no scratch, or cannot be told from the real one.
pub(crate) fn not_a_scratch(place: &str, why: &str) -> Error {
    Error::config(codes::OF0151, format!("{place} is not a scratch copy of this run: {why}"))
        .note("nothing was written")
        .help("run `onceflow torture` again; it makes scratch copies of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_statement_are_what_could_be_tables() {
        let found = words("UPDATE sales.\"A\" SET b=b+:c WHERE d = 'e f'");
        for word in ["sales.\"A\"", "b", "c", "d", "e", "f"] {
            assert!(found.contains(word), "{word}: {found:?}");
        }
    }
}
