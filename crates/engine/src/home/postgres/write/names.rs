//! Names in SQL: always quoted, so that case, spaces and any letter are exact.

/// The longest name in bytes; the server cuts longer ones without an error.
const NAME_BYTES_MAX: usize = 63;

pub(super) use crate::changes::quoted;

/// A table with its schema.
pub(super) fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(table))
}

/// Names as a list of identifiers.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// Why no object can have this name; `None` where one can.
pub(super) fn impossible(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a name in PostgreSQL cannot be empty".to_owned());
    }
    if name.contains('\0') {
        return Some("a name in PostgreSQL cannot hold a NUL character".to_owned());
    }
    (name.len() > NAME_BYTES_MAX).then(|| {
        format!("a name in PostgreSQL has at most {NAME_BYTES_MAX} bytes, this one has {}; it would be cut", name.len())
    })
}
