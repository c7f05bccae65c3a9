//! Which database a URL names, and URLs without their passwords.

use regex::Regex;
use std::sync::LazyLock;

/// The kind of database that a URL names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Database {
    /// PostgreSQL; the URL as given.
    Postgres(String),
    /// SQLite; `sqlite:` and the path of its file.
    Sqlite(String),
    /// A database that Onceflow cannot write to, by its scheme.
    Other(String),
    /// No URL of a database.
    Unknown,
}

/// Reads a URL as far as its kind. For the connector `sqlite` a bare path is enough.
pub fn database(url: &str, connector: &str) -> Database {
    let url = url.trim();
    if connector == "sqlite" && !url.contains(':') && !url.is_empty() {
        return Database::Sqlite(format!("sqlite:{url}"));
    }
    let rest = url.strip_prefix("jdbc:").unwrap_or(url);
    let Some((scheme, path)) = rest.split_once(':') else { return Database::Unknown };
    match scheme.to_ascii_lowercase().as_str() {
        "postgresql" | "postgres" => Database::Postgres(url.to_owned()),
        "sqlite" | "sqlite3" => {
            // `sqlite:///path` is how other programs write an absolute path; a host has no meaning and is refused later.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            Database::Sqlite(format!("sqlite:{path}"))
        }
        "mysql" | "mariadb" | "oracle" | "sqlserver" | "db2" | "derby" | "h2" | "duckdb" | "clickhouse"
        | "snowflake" | "redshift" | "mongodb" | "trino" | "cratedb" | "oceanbase" | "dm" | "vertica" => {
            Database::Other(scheme.to_ascii_lowercase())
        }
        _ => Database::Unknown,
    }
}

static LOGIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"://([^:/?#@\s]*):[^\s]*@").expect("the pattern is tested"));
static PARAMETER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)([\w.-]*(?:password|passwd|pwd|secret|token|sslkey)[\w.-]*\s*=\s*)("[^"]*"|'[^']*'|[^&\s;,]*)"#)
        .expect("the pattern is tested")
});

/// A text without the passwords in its URLs and parameters.
pub fn masked(text: &str) -> String {
    let text = LOGIN.replace_all(text, "://$1:***@");
    PARAMETER.replace_all(&text, "$1***").into_owned()
}

/// A URL with one more parameter.
pub fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let encoded: String = value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{name}={encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_a_url_may_hold_them() {
        let check = |text: &str, expected: &str| assert_eq!(masked(text), expected, "{text}");
        check("postgresql://app:s3cret@db:5432/x", "postgresql://app:***@db:5432/x");
        check("postgresql://app:s3/cr@et@db/x", "postgresql://app:***@db/x");
        check(
            "jdbc:postgresql://db/x?user=a&password=s3cret&ssl=true",
            "jdbc:postgresql://db/x?user=a&password=***&ssl=true",
        );
        check("jdbc:postgresql://db/x?PASSWORD=s3cret", "jdbc:postgresql://db/x?PASSWORD=***");
        check("user=a password='s3 cret' host=b", "user=a password=*** host=b");
        check(
            r#"PlainLoginModule required username="a" password="s3 cret";"#,
            r#"PlainLoginModule required username="a" password=***;"#,
        );
        check("postgresql://app@db/x", "postgresql://app@db/x");
        check("sqlite:orders.db", "sqlite:orders.db");
        check("localhost:9092", "localhost:9092");
    }

    #[test]
    fn urls_name_their_database() {
        let check = |url: &str, expected: Database| assert_eq!(database(url, "jdbc"), expected, "{url}");
        let postgres = |url: &str| Database::Postgres(url.to_owned());
        check("jdbc:postgresql://h/d", postgres("jdbc:postgresql://h/d"));
        check("postgres://h/d", postgres("postgres://h/d"));
        check("jdbc:sqlite:a/b.db", Database::Sqlite("sqlite:a/b.db".into()));
        check("sqlite:///a/b.db", Database::Sqlite("sqlite:/a/b.db".into()));
        check("sqlite:a.db", Database::Sqlite("sqlite:a.db".into()));
        check("jdbc:mysql://h/d", Database::Other("mysql".into()));
        check("localhost", Database::Unknown);
        check("http://x", Database::Unknown);
        assert_eq!(with_parameter("a://b/c", "sslmode", "verify full"), "a://b/c?sslmode=verify%20full");
        assert_eq!(with_parameter("a://b/c?d=e", "f", "/g"), "a://b/c?d=e&f=/g");
    }
}
