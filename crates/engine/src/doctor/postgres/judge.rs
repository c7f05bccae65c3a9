//! Facts of PostgreSQL → checks.

use super::super::check::{Ask, Check, ask};
use super::{Pids, SETTINGS, int, text};
use crate::home::desk::Cell;

/// Sessions that are listed one by one.
const LISTED_MAX: usize = 5;
/// Clocks may differ by so much before a time in the ledger misleads a reader.
const SKEW_MS_MAX: i64 = 5_000;
/// An epoch may take so long, with room for a slow disk.
const TRANSACTION_MS_MIN: u64 = 60_000;
/// Dead row versions of a ledger's table from which vacuum does not keep up.
const DEAD_MIN: i64 = 50_000;

/// A setting that decides how durable a commit is; `None` for one that is only asked for another check.
pub(super) fn setting(about: &str, name: &str, value: &str) -> Option<Check> {
    let id = match name {
        "synchronous_commit" => "synchronous-commit",
        "fsync" => "fsync",
        "full_page_writes" => "full-page-writes",
        "default_transaction_read_only" => "read-only",
        "default_transaction_isolation" => "isolation",
        "statement_timeout" => "statement-timeout",
        "lock_timeout" => "lock-timeout",
        "idle_in_transaction_session_timeout" => "idle-in-transaction-timeout",
        "idle_session_timeout" => "idle-session-timeout",
        "transaction_timeout" => "transaction-timeout",
        _ => return None,
    };
    let ask = ask(3, id, about, SETTINGS);
    let seen = format!("{name} = {value}");
    Some(match (name, value) {
        ("synchronous_commit", "off") => ask.warning(
            seen,
            "no: rows and position are lost together in a crash of the server, and the source is read again from there. But \
             a commit that was reported may be gone for those who read it",
            "ALTER DATABASE … SET synchronous_commit = on; -- and ALTER ROLE … RESET synchronous_commit, where the role has it",
            "a commit is then durable before it is reported",
        ),
        ("fsync", "off") => ask.broken(
            seen,
            "yes: after a crash of the machine rows and ledger may be of different times, or damaged",
            "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();",
            "the log is on disk before a commit is reported, so recovery finds all of it or none",
        ),
        ("full_page_writes", "off") => ask.broken(
            seen,
            "yes: a page that was half written in a crash stays half written",
            "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();",
            "recovery restores the whole page from the log",
        ),
        ("default_transaction_read_only", "on") => ask.broken(
            seen,
            "no record is lost, but nothing can be committed",
            "ALTER DATABASE … SET default_transaction_read_only = off;",
            "new sessions may then write",
        ),
        ("default_transaction_isolation", _) => {
            ask.ok(seen, "every transaction of Onceflow says READ COMMITTED itself; the ledger's move guards what it has read")
        }
        ("transaction_timeout", limit) if limit.parse().is_ok_and(|ms: u64| ms > 0 && ms < TRANSACTION_MS_MIN) => ask.warning(
            format!("{seen} ms"),
            "no record is lost: an epoch that takes longer is rolled back and read again. But it may never get through",
            "ALTER DATABASE … SET transaction_timeout = 0; -- and ALTER ROLE … RESET transaction_timeout, where the role has it",
            "an epoch then has the time that it needs; Onceflow bounds its statements itself",
        ),
        ("transaction_timeout", _) => ask.ok(seen, "an epoch has the time that it needs"),
        (name, _) if name.ends_with("_timeout") => ask.ok(
            seen,
            "Onceflow's sessions set their own in its place, and a session that was ended is opened anew with a claim",
        ),
        _ => ask.ok(seen, "a commit that was reported is durable, whole, and together with its position"),
    })
}

pub(super) fn recovery(ask: Ask, rows: &[Vec<Cell>]) -> Check {
    if rows.first().map_or(0, |row| int(row, 0)) == 0 {
        return ask.ok("this is the primary", "the ledger is read and moved in the same place");
    }
    standby(ask, "this is a replica in recovery")
}

pub(super) fn ledger_kind(ask: Ask, rows: &[Vec<Cell>]) -> Check {
    if rows.is_empty() {
        return ask.ok("all tables of the ledger are logged", "a crash keeps them as they were committed");
    }
    let names: Vec<String> = rows.iter().map(|row| text(row, 0)).collect();
    let fix: Vec<String> = names.iter().map(|name| format!("ALTER TABLE onceflow.{name} SET LOGGED;")).collect();
    ask.broken(
        format!("unlogged: {}", names.join(", ")),
        "yes: a crash of the server empties them, and the rows stay",
        fix.join(" "),
        "a logged table is recovered together with the rows",
    )
}

pub(super) fn table_kind(ask: Ask, name: &str, row: Option<&Vec<Cell>>) -> Check {
    let Some(row) = row else {
        let error = crate::Error::config(crate::codes::OF0131, format!("the table {name} is not there"))
            .help("onceflow run FILE creates it with SET 'auto-create' = 'true'");
        return ask.unknown(&error);
    };
    match (text(row, 0).as_str(), text(row, 1).as_str()) {
        ("f", _) => ask.broken(
            "a foreign table",
            "yes: its rows commit on another server, not with the ledger",
            "name that server as the home instead",
            "rows and ledger have to be in one database to commit together",
        ),
        (_, "u") => ask.broken(
            "an unlogged table",
            "yes: a crash of the server empties it, and the ledger still says that all was written",
            format!("ALTER TABLE {name} SET LOGGED;"),
            "a logged table is recovered together with the ledger",
        ),
        ("v", _) => ask.warning(
            "a view",
            "what is written goes where the view's rules or triggers send it",
            "name the table under the view",
            "then what the pipeline writes is what stands there",
        ),
        _ => ask.ok("a logged table", "a crash keeps its rows and the ledger together"),
    }
}

pub(super) fn prepared(ask: Ask, rows: &[Vec<Cell>]) -> Check {
    let allowed = rows.first().map(|row| text(row, 3)).unwrap_or_default();
    let rows: Vec<&Vec<Cell>> = rows.iter().filter(|row| !text(row, 0).is_empty()).collect();
    if rows.is_empty() {
        let seen = format!("no prepared transaction (max_prepared_transactions = {allowed})");
        return ask.ok(seen, "Onceflow prepares none: one database, one commit");
    }
    let said = rows.iter().take(LISTED_MAX);
    let said = said.map(|row| format!("'{}' of {}, {} s old", text(row, 0), text(row, 2), int(row, 1)));
    ask.warning(
        format!("{} prepared transactions: {}", rows.len(), said.collect::<Vec<_>>().join("; ")),
        "no record is lost, but they hold their locks for ever and keep vacuum from its work",
        format!("ROLLBACK PREPARED '{}';", text(rows[0], 0).replace('\'', "''")),
        "its locks go; ask its owner first, for whoever prepared it may still commit it",
    )
}

pub(super) fn long(ask: Ask, rows: &[Vec<Cell>], longest: i64) -> Check {
    let long: Vec<&Vec<Cell>> = rows.iter().filter(|row| int(row, 1) >= longest).collect();
    if long.is_empty() {
        return ask.ok(format!("no transaction is open for {longest} s"), "vacuum clears what commits leave behind");
    }
    let said = long.iter().take(LISTED_MAX);
    let said = said.map(|row| format!("pid {} '{}' {} for {} s", int(row, 0), text(row, 2), text(row, 3), int(row, 1)));
    ask.warning(
        said.collect::<Vec<_>>().join("; "),
        "no record is lost, but dead versions of the ledger's rows stay, commits get slower, and its locks may block them",
        format!("SELECT pg_terminate_backend({});", int(long[0], 0)),
        "it ends the session and rolls back its transaction; look first whose it is",
    )
}

pub(super) fn blocked(ask: Ask, rows: &[Vec<Cell>]) -> Check {
    if rows.is_empty() {
        return ask.ok("no session waits for a lock", "nothing stands in a commit's way");
    }
    let said = rows.iter().take(LISTED_MAX);
    let said = said.map(|row| format!("pid {} '{}' waits for {}", int(row, 0), text(row, 2), text(row, 1)));
    ask.warning(
        said.collect::<Vec<_>>().join("; "),
        "no record is lost: a commit that waits too long is rolled back and tried again",
        format!("SELECT pid, state, query FROM pg_stat_activity WHERE pid IN ({});", text(&rows[0], 1)),
        "it shows who holds the lock; when it commits or ends, the others go on",
    )
}

pub(super) fn bloat(ask: Ask, rows: &[Vec<Cell>]) -> Check {
    let bloated = |row: &&Vec<Cell>| int(row, 1) >= DEAD_MIN && int(row, 1) > int(row, 2).saturating_mul(2);
    match rows.iter().find(bloated) {
        None => {
            let most = rows.iter().map(|row| int(row, 1)).max().unwrap_or(0);
            ask.ok(
                format!("at most {most} dead row versions in a table of the ledger"),
                "a commit finds its rows at once",
            )
        }
        Some(row) => ask.warning(
            format!("onceflow.{} has {} dead row versions and {} live ones", text(row, 0), int(row, 1), int(row, 2)),
            "no record is lost, but every commit passes over them",
            format!("VACUUM (VERBOSE, ANALYZE) onceflow.{};", text(row, 0)),
            "it frees them, unless a long transaction still needs them: the output says so",
        ),
    }
}

pub(super) fn clock(ask: Ask, here: i64, there: i64) -> Check {
    let skew = there.saturating_sub(here);
    let seen = format!("the server's clock differs from this machine's by {skew} ms");
    if skew.saturating_abs() <= SKEW_MS_MAX {
        return ask.ok(seen, "and nothing is decided on clocks: owners are told apart by generation and nonce");
    }
    ask.warning(
        seen,
        "no record is lost: nothing is decided on clocks. But times in logs and ledger do not fit together",
        "timedatectl set-ntp true",
        "then both clocks follow the same time",
    )
}

/// Why a trigger's function can do what a rollback does not undo.
pub(super) fn outside(body: &str, trusted: bool, language: &str) -> Option<&'static str> {
    let body = body.to_lowercase();
    let calls = |name: &str| body.contains(name);
    if calls("dblink") {
        return Some("calls dblink, which commits by itself");
    }
    if calls("http_post") || calls("http_get") || calls("net.http") {
        return Some("calls another system over HTTP");
    }
    if calls("to program") || calls("from program") {
        return Some("runs a program");
    }
    // Functions in C and in `internal` come with the server or with extensions: tsvector updates, replication tools.
    if !trusted && !["c", "internal", "sql"].contains(&language) {
        return Some("is written in an untrusted language, which can reach outside the database");
    }
    None
}

pub(super) fn pooler(ask: Ask, pids: &Pids) -> Check {
    let [one, other] = &pids.at_once;
    if let Some(asked) = pids.at_once.iter().find(|asked| asked.iter().any(|pid| *pid != asked[0])) {
        return shared(ask, &format!("one connection was several server sessions: {asked:?}"));
    }
    if one == other {
        return shared(ask, &format!("two connections at the same time were one server session ({})", one[0]));
    }
    if pids.next == one[0] || pids.next == other[0] {
        return ask.warning(
            format!(
                "two connections, one after the other, were one server session ({}): a pooler stands between",
                pids.next
            ),
            "not in session mode; in transaction or statement mode Onceflow refuses to run (OF0710)",
            "psql -p 6432 pgbouncer -c 'SHOW DATABASES' -- pool_mode has to be session",
            "in session mode a connection keeps its server session",
        );
    }
    ask.ok("every connection is a server session of its own", "no pooler gives settings and prepared statements away")
}

/// A standby, or a server that is read-only.
pub(super) fn standby(ask: Ask, seen: &str) -> Check {
    ask.broken(
        seen.to_owned(),
        "no record is lost, but nothing can be committed here",
        "name all hosts in the url, and the primary is found: postgresql://user@host1,host2/database",
        "a claim is a write on the primary; a replica would give a stale answer",
    )
}

/// A pooler gives one connection several server sessions.
pub(super) fn shared(ask: Ask, seen: &str) -> Check {
    ask.broken(
        seen.to_owned(),
        "no record is lost: Onceflow refuses to run like this (OF0710)",
        "give the server's own address in the url, or set pool_mode = session for this database in the pooler",
        "Onceflow's session has settings, prepared statements and temporary tables of its own",
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::Status;
    use super::*;

    fn asked() -> Ask {
        ask(3, "test", "db", "SELECT")
    }

    fn words(words: &[&str]) -> Vec<Cell> {
        words.iter().map(|word| word.parse().map_or_else(|_| Cell::Text((*word).to_owned()), Cell::Int)).collect()
    }

    fn status_of(name: &str, value: &str) -> Status {
        setting("db", name, value).expect("it is judged").status
    }

    #[test]
    fn settings_that_lose_commits_are_told_from_those_that_do_not() {
        assert_eq!(status_of("synchronous_commit", "off"), Status::Warning);
        assert_eq!(status_of("synchronous_commit", "on"), Status::Ok);
        for name in ["fsync", "full_page_writes"] {
            assert_eq!(status_of(name, "off"), Status::Broken);
            assert_eq!(status_of(name, "on"), Status::Ok);
        }
        assert_eq!(status_of("default_transaction_read_only", "on"), Status::Broken);
        assert!(setting("db", "max_prepared_transactions", "0").is_none());
    }

    #[test]
    fn a_replica_cannot_commit() {
        assert_eq!(recovery(asked(), &[vec![Cell::Int(1)]]).status, Status::Broken);
        assert_eq!(recovery(asked(), &[vec![Cell::Int(0)]]).status, Status::Ok);
    }

    #[test]
    fn unlogged_and_foreign_tables_do_not_keep_rows_and_ledger_together() {
        let kind = |kind: &str, persistence: &str| table_kind(asked(), "t", Some(&words(&[kind, persistence]))).status;
        assert_eq!(kind("r", "u"), Status::Broken);
        assert_eq!(kind("f", "p"), Status::Broken);
        assert_eq!(kind("v", "p"), Status::Warning);
        assert_eq!(kind("r", "p"), Status::Ok);
        assert_eq!(table_kind(asked(), "t", None).status, Status::Unknown);
        assert_eq!(ledger_kind(asked(), &[words(&["shard"])]).status, Status::Broken);
        assert_eq!(ledger_kind(asked(), &[]).status, Status::Ok);
    }

    #[test]
    fn what_is_in_the_way_is_a_warning() {
        assert_eq!(prepared(asked(), &[words(&["gid", "90", "me"])]).status, Status::Warning);
        assert_eq!(prepared(asked(), &[]).status, Status::Ok);
        let session = words(&["7", "90", "psql", "idle in transaction"]);
        assert_eq!(long(asked(), std::slice::from_ref(&session), 60).status, Status::Warning);
        assert_eq!(long(asked(), &[session], 100).status, Status::Ok);
        assert_eq!(blocked(asked(), &[words(&["7", "8", "psql"])]).status, Status::Warning);
        assert_eq!(blocked(asked(), &[]).status, Status::Ok);
        assert_eq!(bloat(asked(), &[words(&["shard", "60000", "4"])]).status, Status::Warning);
        assert_eq!(bloat(asked(), &[words(&["shard", "600", "4"])]).status, Status::Ok);
    }

    #[test]
    fn clocks_may_differ_a_little() {
        assert_eq!(clock(asked(), 100_000, 200_000).status, Status::Warning);
        assert_eq!(clock(asked(), 100_000, 100_020).status, Status::Ok);
    }

    #[test]
    fn functions_that_reach_outside_are_known_by_what_they_call() {
        assert!(outside("PERFORM dblink_exec('…')", true, "plpgsql").is_some());
        assert!(outside("import os", false, "plpython3u").is_some());
        assert!(outside("NEW.at := now(); RETURN NEW;", true, "plpgsql").is_none());
        assert!(outside("tsvector_update_trigger_byid", false, "internal").is_none());
    }

    #[test]
    fn a_pooler_is_known_by_the_sessions_that_it_shares() {
        for (one, other, next, status) in [
            ([1, 2, 1], [2, 1, 2], 3, Status::Broken),
            ([1, 1, 1], [2, 2, 3], 4, Status::Broken),
            ([1, 1, 1], [1, 1, 1], 2, Status::Broken),
            ([1, 1, 1], [2, 2, 2], 1, Status::Warning),
            ([1, 1, 1], [2, 2, 2], 2, Status::Warning),
            ([1, 1, 1], [2, 2, 2], 3, Status::Ok),
        ] {
            let pids = Pids { at_once: [one, other], next };
            assert_eq!(pooler(asked(), &pids).status, status, "{one:?} {other:?} {next}");
        }
    }
}
