//! SQLite's errors in words, and what is known after each.
//!
//! Owns the line between a row that SQLite refuses ([`refusal`]) and a transaction that is lost ([`error`]).

use super::location::Location;
use crate::codes;
use crate::error::{Error, Kind};
use rusqlite::ffi::{self, ErrorCode};

/// What SQLite said of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    /// The name of the result code, such as `SQLITE_CONSTRAINT_UNIQUE`.
    pub(super) code: String,
    /// The message.
    pub(super) message: String,
}

/// What SQLite said where it refused a row; `None` where the failure is not the row's.
pub(super) fn refusal(error: &rusqlite::Error) -> Option<Said> {
    let rusqlite::Error::SqliteFailure(failure, message) = error else { return None };
    let message = message.clone().unwrap_or_else(|| ffi::code_to_str(failure.extended_code).to_owned());
    let by_row = match failure.code {
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => true,
        // An expression that failed on the row's values, in a statement, a trigger or a generated column.
        ErrorCode::Unknown => !is_about_schema(&message),
        _ => false,
    };
    by_row.then(|| Said { code: code_name(failure.extended_code), message })
}

/// Whether SQLite complains about tables and columns rather than about values.
fn is_about_schema(message: &str) -> bool {
    [
        "no such ",
        "has no column named",
        "ON CONFLICT clause does not match",
        "already exists",
        "ambiguous column",
        "syntax error",
    ]
    .iter()
    .any(|part| message.contains(part))
}

/// An error of the database as a whole. `doing` completes `cannot … the database`.
pub(super) fn error(place: &Location, doing: &str, error: rusqlite::Error) -> Error {
    let path = place.path().display();
    let said = said(&error);
    let message = |what: &str| format!("cannot {doing} the database {path}: {what}");
    let unavailable = |code, what: &str| Error::unavailable(code, message(&format!("{what} ({said})")));
    let explained = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            let locked = unavailable(codes::OF0803, "another connection holds its write lock");
            match lock_holder(place) {
                Some(holder) => locked.note(holder),
                None => locked,
            }
        }
        Some(ErrorCode::ReadOnly) => unavailable(codes::OF0804, "it is read-only"),
        Some(ErrorCode::DiskFull) => unavailable(codes::OF0805, "the disk is full"),
        Some(ErrorCode::SystemIoFailure) => unavailable(codes::OF0806, "reading or writing failed"),
        Some(ErrorCode::OutOfMemory) => unavailable(codes::OF0806, "memory is short"),
        Some(ErrorCode::SchemaChanged) => unavailable(codes::OF0806, "its schema changed meanwhile"),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Error::config(codes::OF0802, message(&said))
            .note("SQLite writes files beside the database: its folder has to be writable"),
        Some(ErrorCode::NotADatabase) => {
            Error::config(codes::OF0807, message("it is not a SQLite database, or it is encrypted"))
        }
        Some(ErrorCode::DatabaseCorrupt) => Error::new(Kind::Identity, codes::OF0808, message(&said))
            .help(format!("sqlite3 '{path}' 'PRAGMA integrity_check'; then restore a backup of the whole file")),
        Some(ErrorCode::Unknown) if said.contains("onceflow_") => {
            Error::new(Kind::Identity, codes::OF0908, message(&said))
                .note("the ledger's tables are not as Onceflow makes them")
        }
        Some(ErrorCode::Unknown) => Error::config(codes::OF0806, message(&said)),
        _ => Error::internal(message(&said)),
    };
    explained.caused_by(error)
}

fn said(error: &rusqlite::Error) -> String {
    match error.sqlite_extended_error_code() {
        Some(code) => format!("{error} [{}]", code_name(code)),
        None => error.to_string(),
    }
}

/// Which process holds the write lock, where Linux tells: WAL's write lock is byte 120 of the `-shm` file.
fn lock_holder(place: &Location) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = std::fs::metadata(place.beside("-shm")).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| holder_in(line, inode))?;
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stopped = state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
    let how =
        if stopped { " and is stopped: it keeps the lock until it goes on (kill -CONT) or ends (kill)" } else { "" };
    Some(format!("process {pid} holds the write lock{how}"))
}

fn holder_in(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "POSIX", _, "WRITE", pid, file, from, to] = words[..] else { return None };
    let same = file.rsplit(':').next()?.parse() == Ok(inode);
    let covers = from.parse::<u64>().ok()? <= 120 && to.parse::<u64>().map_or(to == "EOF", |to| to >= 120);
    (same && covers).then(|| pid.parse().ok()).flatten()
}

/// The name of a result code, as SQLite's documentation has it.
pub(super) fn code_name(extended: i32) -> String {
    let name = match extended {
        ffi::SQLITE_CONSTRAINT_CHECK => "SQLITE_CONSTRAINT_CHECK",
        ffi::SQLITE_CONSTRAINT_COMMITHOOK => "SQLITE_CONSTRAINT_COMMITHOOK",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "SQLITE_CONSTRAINT_DATATYPE",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "SQLITE_CONSTRAINT_FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_FUNCTION => "SQLITE_CONSTRAINT_FUNCTION",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "SQLITE_CONSTRAINT_NOTNULL",
        ffi::SQLITE_CONSTRAINT_PINNED => "SQLITE_CONSTRAINT_PINNED",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "SQLITE_CONSTRAINT_PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_ROWID => "SQLITE_CONSTRAINT_ROWID",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "SQLITE_CONSTRAINT_TRIGGER",
        ffi::SQLITE_CONSTRAINT_UNIQUE => "SQLITE_CONSTRAINT_UNIQUE",
        ffi::SQLITE_CONSTRAINT_VTAB => "SQLITE_CONSTRAINT_VTAB",
        ffi::SQLITE_BUSY_SNAPSHOT => "SQLITE_BUSY_SNAPSHOT",
        ffi::SQLITE_BUSY_RECOVERY => "SQLITE_BUSY_RECOVERY",
        _ => return primary_name(extended & 0xff, extended),
    };
    name.to_owned()
}

fn primary_name(primary: i32, extended: i32) -> String {
    let name = match primary {
        ffi::SQLITE_ERROR => "SQLITE_ERROR",
        ffi::SQLITE_PERM => "SQLITE_PERM",
        ffi::SQLITE_ABORT => "SQLITE_ABORT",
        ffi::SQLITE_BUSY => "SQLITE_BUSY",
        ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
        ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
        ffi::SQLITE_READONLY => "SQLITE_READONLY",
        ffi::SQLITE_IOERR => "SQLITE_IOERR",
        ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        ffi::SQLITE_FULL => "SQLITE_FULL",
        ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        ffi::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
        ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
        ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        ffi::SQLITE_AUTH => "SQLITE_AUTH",
        ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
        _ => return format!("SQLITE_{extended}"),
    };
    if primary == extended { name.to_owned() } else { format!("{name} ({extended})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_the_write_lock_is_read_from_the_kernels_table() {
        for (line, expected) in [
            ("1: POSIX  ADVISORY  WRITE 77 08:01:5 120 120", Some(77)),
            ("1: POSIX  ADVISORY  WRITE 77 08:01:5 0 EOF", Some(77)),
            ("1: POSIX  ADVISORY  READ 77 08:01:5 120 120", None),
            ("1: POSIX  ADVISORY  WRITE 77 08:01:6 120 120", None),
            ("1: POSIX  ADVISORY  WRITE 77 08:01:5 128 128", None),
            ("1: FLOCK  ADVISORY  WRITE 77 08:01:5 0 EOF", None),
        ] {
            assert_eq!(holder_in(line, 5), expected, "{line}");
        }
    }
}
