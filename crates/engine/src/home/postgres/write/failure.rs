//! What an error of the server means while rows are written: a row is refused, or the transaction is lost.

use crate::codes::{self, Code};
use crate::error::Error;
use crate::home::CommitError;
use crate::home::postgres::{classify, said};
use tokio_postgres::error::DbError;

/// Why rows did not go in.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database, or Onceflow, refused a row.
    Refused(Reason),
    /// The transaction is lost.
    Lost(CommitError),
}

/// What was said of a refused row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reason {
    pub table: usize,
    pub code: Code,
    pub sqlstate: String,
    pub why: String,
    /// The row, where the server named one: among the table's rows, once [`Failure::in_copy`] has looked it up.
    pub row: Option<usize>,
    /// Whether the row is refused whatever else is written: by a condition of the table, and not by what a trigger does.
    pub alone: bool,
}

impl Failure {
    /// The failure of writing rows of a table.
    pub fn of(error: tokio_postgres::Error, table: usize) -> Self {
        match error.as_db_error() {
            Some(db) if refuses_row(db) => Self::Refused(Reason {
                table,
                code: codes::OF0750,
                sqlstate: db.code().code().to_owned(),
                why: words(db.message(), db.detail(), db.constraint()),
                row: None,
                alone: is_about_the_row(db),
            }),
            _ => Self::Lost(lost(error)),
        }
    }

    /// The failure of a COPY of rows of a table; `row` says which row was sent as which one, from 0.
    pub fn in_copy(error: tokio_postgres::Error, table: usize, row: impl FnOnce(usize) -> Option<usize>) -> Self {
        let line = error.as_db_error().and_then(|db| copy_line(db.where_()?));
        match Self::of(error, table) {
            Self::Refused(reason) => Self::Refused(Reason { row: line.and_then(row), ..reason }),
            lost => lost,
        }
    }

    /// A failure that is no row's fault.
    pub fn lost(error: tokio_postgres::Error) -> Self {
        Self::Lost(lost(error))
    }

    pub fn internal(error: Error) -> Self {
        Self::Lost(CommitError::Rejected(error))
    }
}

/// The transaction is certainly not committed, since COMMIT was not sent.
pub(super) fn lost(error: tokio_postgres::Error) -> CommitError {
    let damaged = error.as_db_error().filter(|db| matches!(db.code().code().get(..2), Some("58" | "XX")));
    if let Some(db) = damaged {
        let message = format!("cannot write rows: {}", said(db));
        return CommitError::Rejected(Error::unavailable(codes::OF0702, message).caused_by(error));
    }
    CommitError::Rejected(classify(error, "write rows"))
}

/// The row of a COPY that an error's context names, from 0: `COPY orders, line 3, column id`, in any language.
fn copy_line(context: &str) -> Option<usize> {
    let named = context.lines().find_map(|line| line.strip_prefix("COPY "))?;
    let behind = named.split_once(", ")?.1.trim_start_matches(|character: char| !character.is_ascii_digit());
    let digits = behind.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// The server's message with its detail, and the constraint where the message does not name it.
pub(super) fn words(message: &str, detail: Option<&str>, constraint: Option<&str>) -> String {
    let mut words = message.to_owned();
    if let Some(detail) = detail {
        words = format!("{words} ({detail})");
    }
    match constraint {
        Some(constraint) if !words.contains(constraint) => format!("{words} (constraint {constraint})"),
        _ => words,
    }
}

/// Whether another row might have gone in. What a trigger raises is about its row, whatever SQLSTATE it chooses, unless it
/// chooses one that asks to try again.
fn refuses_row(db: &DbError) -> bool {
    let code = db.code().code();
    let class = code.get(..2).unwrap_or_default();
    match class {
        "08" | "40" | "53" | "57" | "58" | "XX" => false,
        _ if db.routine() == Some("exec_stmt_raise") => true,
        // Cardinality, data, constraints, check options, triggers and functions, limits of a row or an index.
        "21" | "22" | "23" | "2F" | "38" | "39" | "44" | "54" | "P0" => true,
        // A policy's refusal has the code of a missing privilege.
        "42" => code == "42501" && db.routine() == Some("ExecWithCheckOptions"),
        _ => !is_standard(class),
    }
}

/// CHECK and NOT NULL of the row itself. What happens in a function has a context; a COPY's own is the line alone.
fn is_about_the_row(db: &DbError) -> bool {
    let context = db.where_().unwrap_or_default();
    matches!(db.code().code(), "23514" | "23502")
        && db.routine() != Some("exec_stmt_raise")
        && (context.is_empty() || context.starts_with("COPY ") && context.lines().count() == 1)
}

/// Classes that the server itself uses; others are somebody's own.
fn is_standard(class: &str) -> bool {
    const CLASSES: &[&str] = &[
        "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "20", "21", "22", "23", "24", "25",
        "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55",
        "57", "58", "72", "F0", "HV", "P0", "XX",
    ];
    CLASSES.contains(&class)
}

#[cfg(test)]
mod tests {
    use super::copy_line;

    #[test]
    fn the_row_of_a_copy_stands_in_its_context() {
        for (context, row) in [
            ("COPY payments, line 1", Some(0)),
            ("COPY payments, line 100000, column amount: \"x\"", Some(99_999)),
            ("PL/pgSQL function f() line 7 at RAISE\nCOPY payments, line 3", Some(2)),
            ("COPY payments, Zeile 12", Some(11)),
            ("SQL statement \"INSERT …\"", None),
            ("COPY payments", None),
            ("COPY payments, line 0", None),
            ("COPY payments, line 99999999999999999999999", None),
        ] {
            assert_eq!(copy_line(context), row, "{context}");
        }
    }
}
