//! SIGINT and SIGTERM: the first wishes to stop, the second ends at once.

use crate::talk::Talk;
use onceflow::run::on_this_thread;
use onceflow::run::stop::Stop;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a second signal: 128 + SIGTERM, as shells report it.
const ABORTED: i32 = 143;

/// Listens for signals on a thread of its own for the rest of the process.
pub fn listen(stop: &Stop, talk: &Arc<Talk>) {
    let (stop, talk) = (stop.clone(), talk.clone());
    let listening = std::thread::Builder::new().name("onceflow-signals".to_owned()).spawn(move || {
        // Without a runtime there are no signals to wait for; the default action of the signals stays.
        let _ = on_this_thread(wait(&stop, &talk));
    });
    drop(listening);
}

async fn wait(stop: &Stop, talk: &Talk) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.wished() {
            talk.line("stopping at once; what was not committed is rolled back by the database");
            std::process::exit(ABORTED);
        }
        talk.say("stopping: the transaction in flight finishes or rolls back (again to stop at once)");
        stop.wish();
    }
}
