//! Databases that hold rows and ledger.

use onceflow_engine::Result;
use onceflow_engine::home::HomeFactory;
use std::sync::Arc;

/// A database in which rows and positions commit together.
pub trait Home {
    /// What makes sessions with it; an error where its address is none.
    fn open(self) -> Result<Arc<dyn HomeFactory>>;
}

impl Home for Arc<dyn HomeFactory> {
    fn open(self) -> Result<Arc<dyn HomeFactory>> {
        Ok(self)
    }
}

/// A database by its URL, for programs that are told where to write: `postgresql://…` or `sqlite:file.db`.
#[derive(Clone)]
pub struct Database(String);

impl Database {
    /// The database at this URL.
    pub fn url(url: impl Into<String>) -> Self {
        Self(url.into())
    }
}

impl Home for Database {
    fn open(self) -> Result<Arc<dyn HomeFactory>> {
        #[cfg(feature = "sqlite")]
        if let Some(path) = self.0.strip_prefix("sqlite:") {
            return Sqlite::file(path).open();
        }
        #[cfg(feature = "postgres")]
        if self.0.starts_with("postgresql://") || self.0.starts_with("postgres://") {
            return Postgres::url(self.0).open();
        }
        let scheme = self.0.split_once(':').map_or("", |(scheme, _)| scheme);
        let error = onceflow_engine::Error::config(
            onceflow_engine::codes::OF1015,
            format!("no database is known for '{scheme}:'"),
        );
        Err(error.help("postgresql://user@host/database, or sqlite:file.db"))
    }
}

/// A PostgreSQL database, 12 or newer.
#[cfg(feature = "postgres")]
#[derive(Clone)]
pub struct Postgres {
    url: String,
    user: Option<String>,
    password: Option<onceflow_engine::secret::Secret>,
}

#[cfg(feature = "postgres")]
impl Postgres {
    /// `postgresql://user:password@host:port/database?sslmode=…`, as `psql` takes it; TLS as `sslmode` says.
    pub fn url(url: impl Into<String>) -> Self {
        Self { url: url.into(), user: None, password: None }
    }

    /// The user, where the URL names none.
    pub fn user(self, user: impl Into<String>) -> Self {
        Self { user: Some(user.into()), ..self }
    }

    /// The password, where the URL has none; it is never shown.
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { password: Some(onceflow_engine::secret::Secret::new(password.into())), ..self }
    }
}

#[cfg(feature = "postgres")]
impl Home for Postgres {
    fn open(self) -> Result<Arc<dyn HomeFactory>> {
        use onceflow_engine::home::postgres::{PostgresConfig, PostgresFactory};
        let config = PostgresConfig::parse(&self.url, self.user.as_deref(), self.password.as_ref())?;
        Ok(Arc::new(PostgresFactory::new(config)))
    }
}

/// A SQLite file; nothing has to be installed.
#[cfg(feature = "sqlite")]
#[derive(Clone, Debug)]
pub struct Sqlite {
    path: std::path::PathBuf,
}

#[cfg(feature = "sqlite")]
impl Sqlite {
    /// The database in this file. It is made at the first run where there is none.
    pub fn file(path: impl Into<std::path::PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[cfg(feature = "sqlite")]
impl Home for Sqlite {
    fn open(self) -> Result<Arc<dyn HomeFactory>> {
        let url = format!("sqlite:{}", self.path.display());
        Ok(Arc::new(onceflow_engine::home::sqlite::SqliteFactory::new(&url)?))
    }
}
