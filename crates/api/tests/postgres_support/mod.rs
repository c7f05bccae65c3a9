//! What the tests over PostgreSQL share: a database of one test.

use tokio_postgres::NoTls;

/// A database of one test; it goes with this value.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// A new one; `None`, and said so, where there is no server and none is required.
    pub fn new(name: &str) -> Option<Self> {
        let server = given("ONCEFLOW_TEST_POSTGRES")?;
        let database = Self { server, name: format!("{name}_{}", std::process::id()) };
        execute(&database.server, &format!("CREATE DATABASE {}", database.name)).expect("a superuser may");
        Some(database)
    }

    pub fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').expect("the URL ends with a database");
        format!("{server}/{}", self.name)
    }

    pub fn execute(&self, sql: &str) {
        execute(&self.url(), sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub fn number(&self, sql: &str) -> i64 {
        let url = self.url();
        block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("it answers");
            tokio::spawn(connection);
            client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test that failed has said so already.
        let _ = execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// What a variable of the environment names; `None`, and said so, where it is not set and nothing requires it.
pub fn given(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok();
    if found.is_none() {
        assert!(std::env::var_os("ONCEFLOW_TEST_REQUIRE").is_none(), "{variable} is not set");
        println!("not run: {variable} is not set");
    }
    found
}

fn execute(url: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(sql).await
    })
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
