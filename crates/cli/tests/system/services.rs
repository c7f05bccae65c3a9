//! Where the real systems are.

use std::sync::atomic::{AtomicU32, Ordering};

/// The broker and the database of this run.
#[derive(Clone)]
pub struct Services {
    /// Bootstrap servers.
    pub kafka: String,
    /// URL of a superuser's database.
    pub postgres: String,
}

/// The services, or `None` with a line that says so.
pub fn services() -> Option<Services> {
    let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (get("ONCEFLOW_TEST_KAFKA"), get("ONCEFLOW_TEST_POSTGRES")) {
        (Some(kafka), Some(postgres)) => Some(Services { kafka, postgres }),
        _ if get("ONCEFLOW_TEST_REQUIRE").is_some() => panic!("the services are required, and not there"),
        _ => {
            println!("not run: needs ONCEFLOW_TEST_KAFKA and ONCEFLOW_TEST_POSTGRES (./scripts/test provides them)");
            None
        }
    }
}

/// A name that no other test of this or an earlier run has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    format!("{prefix}_{started}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst))
}
