//! Watches the ledgers of scratch copies, to see a commit the moment it becomes visible.

use onceflow::Error;
use onceflow::home::HomeFactory;
use onceflow::home::desk::Cell;
use onceflow::run::on_this_thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_micros(500);
/// The pause before a home is opened again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);

/// Watches until it is dropped.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    commits: AtomicU64,
    over: AtomicBool,
}

impl Watch {
    /// Begins to watch a home.
    pub fn start(home: Arc<dyn HomeFactory>) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let look = move || {
            // Without a runtime nothing is seen, and the fault counts as not hit.
            let _ = on_this_thread(look(&*home, &own));
        };
        let thread = std::thread::Builder::new().name("onceflow-watch".to_owned()).spawn(look);
        let thread = thread.map_err(|error| Error::internal("no thread to watch the ledger").caused_by(error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The number of the last commit that is visible.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn look(factory: &dyn HomeFactory, shared: &Shared) {
    while !shared.over.load(Ordering::SeqCst) {
        // Before the first run there is no ledger; a look that fails is repeated.
        let _ = follow(factory, shared).await;
        tokio::time::sleep(PAUSE_AFTER_ERROR).await;
    }
}

async fn follow(factory: &dyn HomeFactory, shared: &Shared) -> Result<(), Error> {
    let mut home = factory.open(Arc::default())?;
    let mut desk = home.desk().await?;
    if !desk.exists().await? {
        return Ok(());
    }
    while !shared.over.load(Ordering::SeqCst) {
        let rows = desk.rows("SELECT CAST(coalesce(max(id), 0) AS BIGINT) FROM {commit}", &[]).await?;
        if let Some([Cell::Int(commits)]) = rows.first().map(Vec::as_slice) {
            shared.commits.store(u64::try_from(*commits).unwrap_or(0), Ordering::SeqCst);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
