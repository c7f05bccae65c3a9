//! Where a demo's log and tables are: in its folder, or in the reader's own Kafka and PostgreSQL, under names of its own.

use super::log::{self, FILES, cannot};
use onceflow::home::desk::{Cell, Statement};
use onceflow::home::{Home, HomeFactory};
use onceflow::{Error, codes};
use onceflow_sql::CompileOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The environment in which the demo tells its children of the topic and the database.
const BROKERS: &str = "ONCEFLOW_DEMO_BROKERS";
const TOPIC: &str = "ONCEFLOW_DEMO_TOPIC";
/// The pipeline's text names it too, so that no password stands on disk.
pub const DATABASE: &str = "ONCEFLOW_DEMO_DATABASE";

/// A topic of the demo's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Bootstrap servers.
    pub brokers: String,
    /// Its name.
    pub name: String,
}

/// Where everything is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    /// The log, where it is no files.
    pub topic: Option<Topic>,
    /// The URL of the database with the tables, where they are no files.
    pub database: Option<String>,
}

impl Place {
    /// Where a child of the demo is to read and to write.
    pub fn of_child(folder: &Path) -> Self {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let topic = given(BROKERS).zip(given(TOPIC)).map(|(brokers, name)| Topic { brokers, name });
        Self { folder: folder.to_owned(), topic, database: given(DATABASE) }
    }

    /// The environment of a child.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let topic = self.topic.iter().flat_map(|it| [(BROKERS, it.brokers.clone()), (TOPIC, it.name.clone())]);
        topic.chain(self.database.iter().map(|url| (DATABASE, url.clone()))).collect()
    }

    /// Whether everything is in the folder.
    pub fn is_embedded(&self) -> bool {
        self.topic.is_none() && self.database.is_none()
    }

    /// The pipeline that Onceflow runs here, as anybody would write it.
    pub fn pipeline(&self) -> String {
        let source = match &self.topic {
            None => "'connector' = 'filesystem', 'path' = 'log/*.jsonl', 'format' = 'json'".to_owned(),
            Some(Topic { brokers, name }) => format!(
                "'connector' = 'kafka', 'topic' = '{name}', 'properties.bootstrap.servers' = '{}',\n      \
                 'properties.group.id' = '{name}-onceflow', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'",
                brokers.replace('\'', "''")
            ),
        };
        let target = match &self.database {
            None => "'connector' = 'sqlite', 'url' = 'sqlite:onceflow.db', 'table-name' = 'transfers'".to_owned(),
            Some(_) => format!("'connector' = 'jdbc', 'url' = '${{{DATABASE}}}', 'table-name' = 'onceflow'"),
        };
        format!(
            "-- The demo's pipeline: transfers into a table.
SET 'pipeline.name' = 'demo';
SET 'auto-create' = 'true';
SET 'epoch.rows_max' = '500';   -- as small as the batches of the other two programs, so that the kills find as many commits
CREATE TABLE source (id BIGINT NOT NULL, account BIGINT NOT NULL, amount BIGINT NOT NULL)
WITH ({source});
CREATE TABLE transfers (id BIGINT NOT NULL, account BIGINT NOT NULL, amount BIGINT NOT NULL)
WITH ({target});
INSERT INTO transfers SELECT id, account, amount FROM source;
"
        )
    }
}

/// A failure of the reader's own systems.
pub fn cannot_use(what: &str, error: impl std::fmt::Display) -> Error {
    Error::config(codes::OF0141, format!("the demo cannot use {what}: {error}"))
        .help("`onceflow demo` without --kafka and --postgres needs nothing; for these it needs to create a topic and a database")
}

/// One session with a PostgreSQL database.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    home: Box<dyn Home>,
}

impl Server {
    /// A session; connects at its first query.
    pub fn open(url: &str) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::internal("no runtime could be started").caused_by(error))?;
        Ok(Self { runtime, home: factory(url)?.open(Arc::default())? })
    }

    /// The rows of a query.
    pub fn rows(&mut self, sql: &str, parameters: &[Cell]) -> Result<Vec<Vec<Cell>>, Error> {
        let Self { runtime, home } = self;
        runtime.block_on(async { home.desk().await?.rows(sql, parameters).await })
    }

    /// Statements in one transaction.
    pub fn execute(&mut self, statements: &[Statement]) -> Result<(), Error> {
        let Self { runtime, home } = self;
        runtime.block_on(async { home.desk().await?.execute(statements).await }).map(|_| ())
    }

    /// The rows of a query for numbers; `None` where there is no such table yet.
    pub fn numbers(&mut self, sql: &str) -> Option<Vec<Vec<i64>>> {
        let rows = self.rows(sql, &[]).ok()?;
        let number = |cell: &Cell| match cell {
            Cell::Int(number) => *number,
            Cell::Text(text) => text.parse().unwrap_or(0),
            _ => 0,
        };
        Some(rows.iter().map(|row| row.iter().map(number).collect()).collect())
    }
}

/// The database of a URL, checked as a pipeline's would be.
fn factory(url: &str) -> Result<Arc<dyn HomeFactory>, Error> {
    let text = format!(
        "CREATE TABLE s (id BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1');
         CREATE TABLE t (id BIGINT) WITH ('connector' = 'jdbc', 'url' = '{}', 'table-name' = 't');
         INSERT INTO t SELECT id FROM s;",
        url.replace('\'', "''")
    );
    let compiled = onceflow_sql::compile("--postgres", &text, &|_| None, &CompileOptions::default());
    let pipeline = compiled.map_err(|mut errors| match errors.is_empty() {
        true => Error::internal("a pipeline that failed without an error"),
        false => errors.remove(0),
    })?;
    let home = pipeline.branches.first().map(|branch| branch.home.clone());
    match home {
        Some(home) if home.system() == "PostgreSQL" => Ok(home),
        _ => Err(cannot_use("--postgres", "its URL has to begin with postgresql://")),
    }
}

/// The same server's database of another name.
fn renamed(url: &str, name: &str) -> Result<String, Error> {
    let unclear = || cannot_use("--postgres", "its URL names no database: postgresql://user@host/database");
    let (scheme, rest) = url.split_once("://").ok_or_else(unclear)?;
    let (rest, options) = rest.split_once('?').map_or((rest, String::new()), |(rest, it)| (rest, format!("?{it}")));
    let (authority, _) = rest.split_once('/').ok_or_else(unclear)?;
    Ok(format!("{scheme}://{authority}/{name}{options}"))
}

/// What the demo made in the reader's own systems. Removed with the value, unless it is to be kept.
pub struct Made {
    database: Option<(String, String)>,
    topic: Option<Topic>,
    keep: bool,
}

impl Made {
    /// Makes a topic with the log and a database, each under a new name, and adds them to the place.
    pub fn make(
        place: &mut Place,
        kafka: Option<&str>,
        postgres: Option<&str>,
        keep: bool,
        rows: (u64, u64),
    ) -> Result<Self, Error> {
        let (seed, rows) = rows;
        let name = format!("onceflow_demo_{seed}_{}", std::process::id());
        let mut made = Self { database: None, topic: None, keep };
        if let Some(url) = postgres {
            let other = renamed(url, &name)?;
            // CREATE refuses a name that is taken, so nothing that is there is ever written to.
            Server::open(url)?
                .rows(&format!("CREATE DATABASE {name}"), &[])
                .map_err(|error| cannot_use("--postgres", error))?;
            made.database = Some((url.to_owned(), name.clone()));
            place.database = Some(other);
        }
        if let Some(brokers) = kafka {
            let topic = Topic { brokers: brokers.to_owned(), name };
            super::broker::create(&topic, FILES)?;
            made.topic = Some(topic.clone());
            super::broker::fill(&topic, |partition, each| {
                log::ids(partition, rows)
                    .try_for_each(|id| each(log::line(&log::transfer(seed, id)).trim_end().as_bytes()))
            })?;
            place.topic = Some(topic);
        }
        Ok(made)
    }

    /// What was made, for people.
    pub fn names(&self) -> Vec<String> {
        let topic = self.topic.iter().map(|topic| format!("the topic {} at {}", topic.name, topic.brokers));
        topic.chain(self.database.iter().map(|(_, name)| format!("the database {name}"))).collect()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Some((url, name)) = &self.database {
            let dropped = Server::open(url)
                .and_then(|mut server| server.rows(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), &[]));
            if let Err(error) = dropped {
                tracing::warn!("the database {name} could not be removed: {error}");
            }
        }
        if let Some(topic) = &self.topic
            && let Err(error) = super::broker::delete(topic)
        {
            tracing::warn!("the topic {} could not be removed: {error}", topic.name);
        }
    }
}

/// A folder's file that cannot be used, or a system.
pub fn cannot_place(place: &Place, error: impl std::fmt::Display) -> Error {
    match place.is_embedded() {
        true => cannot(&place.folder, error),
        false => cannot_use("the systems that were named", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_renamed_and_everything_else_stays() {
        for (url, expected) in [
            (
                "postgresql://me:a%2Fb@h:5432/app?sslmode=require",
                Some("postgresql://me:a%2Fb@h:5432/x?sslmode=require"),
            ),
            ("postgresql://h1:1,h2:2/app", Some("postgresql://h1:1,h2:2/x")),
            ("postgresql://h", None),
            ("h/app", None),
        ] {
            assert_eq!(renamed(url, "x").ok().as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_pipeline_names_its_systems_and_no_password() {
        let topic = Some(Topic { brokers: "b:9092".to_owned(), name: "t".to_owned() });
        let place = Place { folder: "f".into(), topic, database: Some("postgresql://me:secret@h/x".to_owned()) };
        let text = place.pipeline();
        assert!(
            text.contains("'topic' = 't'") && text.contains("'${ONCEFLOW_DEMO_DATABASE}'") && !text.contains("secret")
        );
        let embedded = Place { topic: None, database: None, ..place };
        assert!(embedded.is_embedded() && embedded.pipeline().contains("log/*.jsonl"));
    }
}
