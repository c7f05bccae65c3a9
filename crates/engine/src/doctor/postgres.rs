//! A PostgreSQL database: what the targets do to rows, how durable a commit is, what is in the way.

use super::check::{Ask, Check, ask};
use super::targets::{Trigger, Unique, triggers, uniques};
use super::{Options, int, one, text};
use crate::changes::{TableSpec, quoted};
use crate::codes;
use crate::error::{Error, Result};
use crate::home::desk::Cell;
use crate::home::witness::Witness;
use crate::home::{Home, HomeFactory};
use crate::pipeline::Branch;
use std::time::SystemTime;

mod judge;

/// Reset values are what a new session of this role in this database begins with.
const SETTINGS: &str = "SELECT name::text, reset_val::text FROM pg_catalog.pg_settings WHERE name IN ('synchronous_commit', \
    'fsync', 'full_page_writes', 'default_transaction_read_only', 'default_transaction_isolation', 'statement_timeout', \
    'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')";
const TRIGGERS: &str = "SELECT t.tgname::text, p.prosrc::text, l.lanname::text, l.lanpltrusted \
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    WHERE t.tgrelid = to_regclass($1) AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY t.tgname";
const UNIQUES: &str = "SELECT c.relname::text, \
    i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL, \
    (SELECT string_agg(a.attname::text, '|') FROM generate_series(0, i.indnkeyatts - 1) n \
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n]) \
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
    WHERE i.indrelid = to_regclass($1) AND i.indisunique ORDER BY c.relname";
const KIND: &str =
    "SELECT c.relkind::text, c.relpersistence::text FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)";
const LEDGER_KIND: &str = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = 'onceflow' AND c.relkind = 'r' AND c.relpersistence <> 'p' ORDER BY c.relname";
const RECOVERY: &str = "SELECT pg_catalog.pg_is_in_recovery()";
const PREPARED: &str = "SELECT p.gid::text, extract(epoch FROM clock_timestamp() - p.prepared)::bigint, p.owner::text, \
    current_setting('max_prepared_transactions') FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_prepared_xacts p \
    ON p.database = current_database() ORDER BY p.prepared";
const LONG: &str = "SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::bigint, coalesce(application_name, '')::text, \
    coalesce(state, '')::text FROM pg_catalog.pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() \
    AND datname = current_database() AND backend_type = 'client backend' ORDER BY xact_start";
const BLOCKED: &str = "SELECT pid, pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(pid), ', '), \
    coalesce(application_name, '')::text FROM pg_catalog.pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' ORDER BY pid";
const BLOAT: &str = "SELECT relname::text, n_dead_tup, n_live_tup FROM pg_catalog.pg_stat_all_tables \
    WHERE schemaname = 'onceflow' ORDER BY n_dead_tup DESC";
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const PID: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Examines a database.
pub(super) async fn examine(witness: &mut dyn Witness, branch: &Branch, options: &Options, checks: &mut Vec<Check>) {
    let about = branch.home.describe();
    for table in branch.tables.iter() {
        if let Err(error) = target(witness, table, checks).await {
            checks.push(ask(1, "target", table.target(), "pg_catalog").unknown(&error));
        }
    }
    let asked = |cause, id, how| ask(cause, id, about.clone(), how);
    match witness.rows(SETTINGS, &[]).await {
        Ok(rows) => checks.extend(rows.iter().filter_map(|row| judge::setting(&about, &text(row, 0), &text(row, 1)))),
        Err(error) => checks.push(asked(3, "settings", SETTINGS).unknown(&error)),
    }
    let longest = i64::try_from(options.transaction_max.as_secs()).unwrap_or(i64::MAX);
    type Judge<'a> = Box<dyn Fn(Ask, &[Vec<Cell>]) -> Check + 'a>;
    let questions: [(u8, &'static str, &'static str, Judge<'_>); 6] = [
        (3, "primary", RECOVERY, Box::new(judge::recovery)),
        (3, "ledger-logged", LEDGER_KIND, Box::new(judge::ledger_kind)),
        (3, "prepared-transactions", PREPARED, Box::new(judge::prepared)),
        (3, "long-transactions", LONG, Box::new(move |ask, rows: &[Vec<Cell>]| judge::long(ask, rows, longest))),
        (3, "blocked-sessions", BLOCKED, Box::new(judge::blocked)),
        (6, "ledger-bloat", BLOAT, Box::new(judge::bloat)),
    ];
    for (cause, id, sql, judge) in questions {
        let ask = asked(cause, id, sql);
        checks.push(match witness.rows(sql, &[]).await {
            Ok(rows) => judge(ask, &rows),
            Err(error) => ask.unknown(&error),
        });
    }
    checks.push(match clock(witness).await {
        Ok((here, there)) => judge::clock(asked(6, "clock", CLOCK), here, there),
        Err(error) => asked(6, "clock", CLOCK).unknown(&error),
    });
}

async fn clock(witness: &mut dyn Witness) -> Result<(i64, i64), Error> {
    let here = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    let before = here();
    let there = int(&one(witness, CLOCK).await?, 0);
    Ok((i64::midpoint(before, here()), there))
}

async fn target(witness: &mut dyn Witness, table: &TableSpec, checks: &mut Vec<Check>) -> Result<()> {
    let name = table.quoted();
    let shown = |sql: &str| sql.replace("$1", &format!("'{name}'"));
    let parameters = [Cell::Text(name.clone())];
    let kinds = witness.rows(KIND, &parameters).await?;
    checks.push(judge::table_kind(ask(1, "target-logged", table.target(), shown(KIND)), &name, kinds.first()));
    checks.extend(uniques(table, &unique_keys(witness, table).await?, &shown(UNIQUES)));
    let rows = witness.rows(TRIGGERS, &parameters).await?;
    let trigger = |row: &Vec<Cell>| Trigger {
        outside: judge::outside(&text(row, 1), int(row, 3) == 1, &text(row, 2)),
        drop: format!("DROP TRIGGER {} ON {name};", quoted(&text(row, 0))),
        name: text(row, 0),
    };
    checks.push(triggers(table, &rows.iter().map(trigger).collect::<Vec<_>>(), &shown(TRIGGERS)));
    Ok(())
}

/// What is unique in a table.
pub(super) async fn unique_keys(witness: &mut dyn Witness, table: &TableSpec) -> Result<Vec<Unique>> {
    let found = witness.rows(UNIQUES, &[Cell::Text(table.quoted())]).await?;
    let unique = |row: &Vec<Cell>| Unique {
        name: text(row, 0),
        columns: text(row, 2).split('|').map(str::to_owned).collect(),
        whole: int(row, 1) == 1,
    };
    Ok(found.iter().map(unique).collect())
}

/// A pooler in between: one connection that is several server sessions, or several connections that are one.
pub(super) async fn pooler(home: &dyn HomeFactory, checks: &mut Vec<Check>) {
    let ask = ask(3, "pooler", home.describe(), format!("{PID}, on two connections in turn and on one after them"));
    checks.push(match pids(home).await {
        Ok(pids) => judge::pooler(ask, &pids),
        Err(error) => refused(&home.describe(), &error).unwrap_or_else(|| ask.unknown(&error)),
    });
}

/// A database that cannot be a home: it is known why, so it is no question that was left open.
pub(super) fn refused(about: &str, error: &Error) -> Option<Check> {
    match error.code() {
        codes::OF0708 => Some(judge::standby(ask(3, "primary", about.to_owned(), RECOVERY), error.message())),
        codes::OF0710 => Some(judge::shared(ask(3, "pooler", about.to_owned(), PID), error.message())),
        _ => None,
    }
}

/// Server processes, as connections saw them.
#[derive(Default)]
pub(super) struct Pids {
    /// Of two connections at the same time, each asked three times.
    pub(super) at_once: [[i64; 3]; 2],
    /// Of one after them.
    pub(super) next: i64,
}

/// In an order in which no regular choice of a pooler gives each connection the same session every time.
async fn pids(home: &dyn HomeFactory) -> Result<Pids, Error> {
    let mut pids = Pids::default();
    {
        let mut homes = [home.open(std::sync::Arc::default())?, home.open(std::sync::Arc::default())?];
        for (which, time) in [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (1, 2)] {
            pids.at_once[which][time] = pid(&mut *homes[which]).await?;
        }
    }
    pids.next = pid(&mut *home.open(std::sync::Arc::default())?).await?;
    Ok(pids)
}

async fn pid(home: &mut dyn Home) -> Result<i64, Error> {
    Ok(home.desk().await?.rows(PID, &[]).await?.first().map_or(0, |row| int(row, 0)))
}
