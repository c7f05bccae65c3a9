//! A SQLite file: triggers and keys of the targets, journal, integrity of the ledger, the files themselves.

use super::check::{Ask, Check, ask};
use super::targets::{Trigger, Unique, triggers, uniques};
use super::{int, machine, one, text};
use crate::changes::{TableSpec, quoted};
use crate::error::{Error, Result};
use crate::home::desk::Cell;
use crate::home::witness::Witness;
use crate::pipeline::Branch;
use std::path::{Path, PathBuf};

/// The markers by which Onceflow knows its tables are triggers too.
const TRIGGERS: &str =
    "SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = $1 COLLATE NOCASE";
const MARKERS: &str = "SELECT marker FROM {target}";
const UNIQUES: &str = "SELECT l.name, l.partial, (SELECT group_concat(coalesce(i.name, '?'), '|') FROM pragma_index_info(l.name) i) \
    FROM pragma_index_list($1) l WHERE l.\"unique\" = 1";
const PRIMARY: &str = "SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk";
const JOURNAL: &str = "SELECT journal_mode FROM pragma_journal_mode";
const LEDGER: [&str; 4] = ["pipeline", "shard", "position", "commit"];

/// Examines a file.
pub(super) async fn examine(witness: &mut dyn Witness, branch: &Branch, exists: bool, checks: &mut Vec<Check>) {
    let about = branch.home.describe();
    for table in branch.tables.iter() {
        if let Err(error) = target(witness, table, exists, checks).await {
            checks.push(ask(1, "target", table.target(), "sqlite_schema").unknown(&error));
        }
    }
    let asked = ask(3, "journal-mode", about.clone(), "PRAGMA journal_mode");
    checks.push(match one(witness, JOURNAL).await {
        Ok(row) => journal(asked, &text(&row, 0)),
        Err(error) => asked.unknown(&error),
    });
    if exists {
        let asked = ask(3, "ledger-integrity", about.clone(), "PRAGMA quick_check('onceflow_…')");
        checks.push(match damage(witness).await {
            Ok(found) => integrity(asked, &found),
            Err(error) => asked.unknown(&error),
        });
    }
    let path = PathBuf::from(about.strip_prefix("sqlite:").unwrap_or(&about));
    let named = |fix: &mut String| *fix = fix.replace("sqlite3 FILE", &format!("sqlite3 '{}'", path.display()));
    checks.iter_mut().filter_map(|check| check.fix.as_mut()).for_each(named);
    checks.push(writable(&path));
    checks.extend(machine::disk(&path));
    checks.extend(machine::durable(&path));
}

/// Whether somebody else holds the lock for writing, which one of them may at a time.
pub(super) fn locked(about: &str, error: Option<&Error>) -> Check {
    let path = about.strip_prefix("sqlite:").unwrap_or(about);
    let ask = ask(3, "write-lock", about, "BEGIN IMMEDIATE; COMMIT");
    let Some(error) = error else {
        return ask.ok("the lock for writing is free", "nobody keeps a commit waiting");
    };
    ask.warning(
        format!("{}; {}", error.message(), error.notes().join("; ")),
        "no record is lost, but nothing can be committed until the lock goes; a running pipeline holds it for moments only",
        format!("fuser -v '{path}' '{path}-shm'; then let that process end its transaction, or end it"),
        "SQLite has one writer at a time; the lock goes with the transaction or the process that holds it",
    )
}

async fn target(witness: &mut dyn Witness, table: &TableSpec, exists: bool, checks: &mut Vec<Check>) -> Result<()> {
    let name = [Cell::Text(table.table.clone())];
    let found = unique_keys(witness, table).await?;
    checks.extend(uniques(table, &found, &UNIQUES.replace("$1", &format!("'{}'", table.table))));
    let markers = if exists { witness.rows(MARKERS, &[]).await? } else { Vec::new() };
    let markers: Vec<String> = markers.iter().map(|row| text(row, 0)).collect();
    let rows = witness.rows(TRIGGERS, &name).await?;
    let found: Vec<Trigger> =
        rows.iter().map(|row| trigger(text(row, 0), &text(row, 1))).filter(|t| !markers.contains(&t.name)).collect();
    checks.push(triggers(table, &found, &TRIGGERS.replace("$1", &format!("'{}'", table.table))));
    Ok(())
}

/// What is unique in a table.
pub(super) async fn unique_keys(witness: &mut dyn Witness, table: &TableSpec) -> Result<Vec<Unique>> {
    let name = [Cell::Text(table.table.clone())];
    let columns: Vec<String> = witness.rows(PRIMARY, &name).await?.iter().map(|row| text(row, 0)).collect();
    let mut found: Vec<Unique> = Vec::new();
    for row in witness.rows(UNIQUES, &name).await? {
        let columns = text(&row, 2).split('|').map(str::to_owned).collect();
        found.push(Unique { name: text(&row, 0), columns, whole: int(&row, 1) == 0 });
    }
    let same =
        |unique: &Unique| unique.columns.len() == columns.len() && columns.iter().all(|c| unique.columns.contains(c));
    if !columns.is_empty() && !found.iter().any(same) {
        found.push(Unique { name: "the primary key".to_owned(), columns, whole: true });
    }
    Ok(found)
}

fn trigger(name: String, sql: &str) -> Trigger {
    let words: String = sql.to_uppercase().split_whitespace().collect();
    let outside = if words.contains("RAISE(IGNORE") {
        Some("can drop a row without an error: RAISE(IGNORE)")
    } else if words.contains("RAISE(ROLLBACK") {
        Some("can roll back the whole transaction: RAISE(ROLLBACK)")
    } else {
        None
    };
    let drop = format!("DROP TRIGGER {};", quoted(&name));
    Trigger { name, outside, drop }
}

async fn damage(witness: &mut dyn Witness) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for table in LEDGER {
        let sql = format!("SELECT quick_check FROM pragma_quick_check('onceflow_{table}')");
        let rows = witness.rows(&sql, &[]).await?;
        found.extend(rows.iter().map(|row| text(row, 0)).filter(|said| said != "ok"));
    }
    Ok(found)
}

fn integrity(ask: Ask, found: &[String]) -> Check {
    if found.is_empty() {
        return ask.ok("the ledger's tables are whole", "SQLite finds every page and index of them consistent");
    }
    ask.broken(
        found.iter().take(3).cloned().collect::<Vec<_>>().join("; "),
        "yes: what a damaged page says is not what was committed",
        "sqlite3 FILE '.recover' | sqlite3 NEW, or restore a backup",
        "rows and ledger are in one file, so a backup of it is consistent in itself",
    )
}

fn journal(ask: Ask, mode: &str) -> Check {
    if mode.eq_ignore_ascii_case("wal") {
        return ask.ok("journal_mode is wal", "readers do not stop commits, and a commit is one synced write");
    }
    let seen = format!("journal_mode is {mode}");
    let (fix, why) = ("sqlite3 FILE 'PRAGMA journal_mode = wal'", "a commit is then one synced write, all or nothing");
    match mode.to_lowercase().as_str() {
        "off" | "memory" => ask.broken(seen, "yes: a crash within a commit leaves half of it", fix, why),
        _ => ask.warning(seen, "no: this journal is safe too; Onceflow changes it to wal at its next start", fix, why),
    }
}

fn writable(path: &Path) -> Check {
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    let ask =
        ask(3, "files-writable", path.display().to_string(), "open the file and its -wal for writing, write nothing");
    let opened = |path: &Path| std::fs::OpenOptions::new().read(true).write(true).open(path);
    for file in [path, &wal] {
        match opened(file) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return refused(ask, file, &error.to_string()),
        }
    }
    ask.ok("the file and its -wal can be written", "a commit needs both")
}

fn refused(ask: Ask, file: &Path, error: &str) -> Check {
    let file = file.display();
    ask.broken(
        format!("{file} cannot be written: {error}"),
        "no record is lost, but nothing can be committed",
        format!("chown \"$USER\" '{file}' && chmod u+rw '{file}'"),
        "SQLite writes the file and the -wal beside it, as the user that Onceflow runs as",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn asked() -> Ask {
        ask(3, "test", "f", "look")
    }

    #[test]
    fn a_journal_that_a_crash_breaks_is_broken() {
        assert_eq!(journal(asked(), "off").status, Status::Broken);
        assert_eq!(journal(asked(), "delete").status, Status::Warning);
        assert_eq!(journal(asked(), "wal").status, Status::Ok);
    }

    #[test]
    fn damage_is_broken() {
        assert_eq!(integrity(asked(), &["row 1 missing".to_owned()]).status, Status::Broken);
        assert_eq!(integrity(asked(), &[]).status, Status::Ok);
    }

    #[test]
    fn a_trigger_that_ignores_rows_is_told_from_one_that_writes_beside() {
        let ignoring = "CREATE TRIGGER a BEFORE INSERT ON t BEGIN SELECT raise ( ignore ); END";
        assert!(trigger("a".to_owned(), ignoring).outside.is_some());
        let writing = "CREATE TRIGGER a AFTER INSERT ON t BEGIN INSERT INTO log VALUES (1); END";
        assert!(trigger("a".to_owned(), writing).outside.is_none());
    }

    #[test]
    fn a_file_that_may_not_be_written_is_broken() {
        assert_eq!(refused(asked(), Path::new("/f"), "permission denied").status, Status::Broken);
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(writable(&folder.path().join("f.db")).status, Status::Ok);
    }
}
