//! Scratch copies of a PostgreSQL database: another database on the same server, with the target tables' definitions.
//!
//! The real database is only read, and asked to create and drop databases whose names begin with [`PREFIX`].

use crate::changes::TableSpec;
use crate::codes;
use crate::error::{Error, Result};
use crate::home::postgres::config::PostgresConfig;
use crate::home::postgres::session::Session;
use crate::home::postgres::{PostgresFactory, quote};
use crate::home::scratch::{Address, Scratch, not_a_scratch};
use crate::home::{Answer, HomeFactory};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod definition;

/// What the names of all scratch databases begin with.
const PREFIX: &str = "onceflow_torture_";
/// How often a database that somebody is still leaving is tried again, and after which pause.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Makes scratch copies of one database. Names are databases on its server.
pub(super) struct PostgresScratch {
    real: Arc<PostgresConfig>,
}

impl PostgresScratch {
    pub(super) fn new(real: Arc<PostgresConfig>) -> Self {
        Self { real }
    }

    /// The configuration of a scratch; a name that could be a real database's is refused.
    fn config(&self, name: &str, via: &[SocketAddr]) -> Result<PostgresConfig> {
        if !name.starts_with(PREFIX) || name == self.real.database() {
            return Err(not_a_scratch(name, &format!("names of scratch databases begin with {PREFIX}")));
        }
        Ok(self.real.elsewhere(name, via))
    }

    async fn prepare_there(&self, name: &str, tables: &[TableSpec], token: &str) -> Result<Vec<String>> {
        let config = self.config(name, &[])?;
        let real = Session::open(&self.real).await?;
        self.may_create(&real).await?;
        let sql = "SELECT datcollate::text, datctype::text FROM pg_database WHERE datname = current_database()";
        let row = real.client.query_one(sql, &[]).await;
        let row = row.map_err(|error| real.explain(error, "look at the database"))?;
        let (collate, ctype): (String, String) = (row.get(0), row.get(1));
        let create = format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE {} LC_CTYPE {}",
            quote(name),
            literal(&collate),
            literal(&ctype)
        );
        ask(&real, &create, "create a scratch database").await?;
        let scratch = Session::open(&config).await?;
        let mark = format!(
            "CREATE SCHEMA torture_scratch; CREATE TABLE torture_scratch.mark (token text NOT NULL); \
             INSERT INTO torture_scratch.mark VALUES ({});",
            literal(token)
        );
        ask(&scratch, &mark, "mark the scratch database").await?;
        for schema in self.real.schemas() {
            let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quote(schema));
            ask(&scratch, &sql, "create a schema in the scratch database").await?;
        }
        definition::copy(&real, &scratch, tables).await
    }

    async fn may_create(&self, real: &Session) -> Result<()> {
        let sql = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user";
        let row = real.client.query_one(sql, &[]).await.map_err(|error| real.explain(error, "look at the role"))?;
        if row.get(0) {
            return Ok(());
        }
        let role = &real.role;
        let message = format!("the role {role} may not create a scratch database at {}", self.real.describe());
        Err(Error::config(codes::OF0153, message)
            .note("a second database is what keeps torture away from the real tables")
            .help(format!("ALTER ROLE {} CREATEDB;", quote(role))))
    }

    async fn copy_there(&self, from: &str, to: &str) -> Result<()> {
        self.config(from, &[])?;
        self.config(to, &[])?;
        let real = Session::open(&self.real).await?;
        let sql = format!("CREATE DATABASE {} TEMPLATE {}", quote(to), quote(from));
        patiently(&real, &sql, "copy a scratch database").await
    }

    async fn remove_there(&self, name: &str) -> Result<()> {
        self.config(name, &[])?;
        let real = Session::open(&self.real).await?;
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        let ended = real.client.query(sql, &[&name]).await;
        ended.map_err(|error| real.explain(error, "end the sessions of a scratch database"))?;
        patiently(&real, &format!("DROP DATABASE IF EXISTS {}", quote(name)), "drop a scratch database").await
    }

    async fn check_there(&self, name: &str, token: &str) -> Result<()> {
        let scratch = Session::open(&self.config(name, &[])?).await?;
        let sql = "SELECT token, current_database()::text FROM torture_scratch.mark";
        let row = match scratch.client.query_one(sql, &[]).await {
            Ok(row) => row,
            Err(error) if error.as_db_error().is_some() => {
                return Err(not_a_scratch(name, "it has no token").caused_by(error));
            }
            Err(error) => return Err(scratch.explain(error, "look for the token of the scratch database")),
        };
        let (found, database): (String, String) = (row.get(0), row.get(1));
        if found != token || database != name {
            return Err(not_a_scratch(name, "it carries another run's token"));
        }
        Ok(())
    }
}

async fn ask(session: &Session, sql: &str, doing: &str) -> Result<()> {
    session.client.batch_execute(sql).await.map_err(|error| session.explain(error, doing))
}

/// Tries again while somebody is still leaving the database.
async fn patiently(session: &Session, sql: &str, doing: &str) -> Result<()> {
    let mut left = TRIES;
    loop {
        match session.client.batch_execute(sql).await {
            Err(error) if left > 0 && error.code().is_some_and(|code| code.code() == "55006") => {
                left -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            other => return other.map_err(|error| session.explain(error, doing)),
        }
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Scratch for PostgresScratch {
    fn prepare<'a>(
        &'a self,
        name: &'a str,
        tables: &'a [TableSpec],
        token: &'a str,
    ) -> Answer<'a, Result<Vec<String>>> {
        Box::pin(self.prepare_there(name, tables, token))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Result<()>> {
        Box::pin(self.copy_there(from, to))
    }

    fn remove<'a>(&'a self, name: &'a str) -> Answer<'a, Result<()>> {
        Box::pin(self.remove_there(name))
    }

    fn check<'a>(&'a self, name: &'a str, token: &'a str) -> Answer<'a, Result<()>> {
        Box::pin(self.check_there(name, token))
    }

    fn home(&self, name: &str, via: &[SocketAddr]) -> Result<Arc<dyn HomeFactory>> {
        Ok(Arc::new(PostgresFactory { config: Arc::new(self.config(name, via)?) }))
    }

    fn addresses(&self) -> Vec<Address> {
        self.real.addresses()
    }
}
