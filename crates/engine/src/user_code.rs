//! The user's own code, inside the transaction of an epoch.
//!
//! Owns the shape of a handler as the lane sees it, and what an error of its means. How values get from records to a handler is the
//! affair of whoever makes it: a [`Part`](crate::changes::Part) carries them as cargo.

use crate::changes::{Aside, Work};
use crate::codes;
use crate::error::{Error, Kind, Result, with_causes};
use crate::home::Answer;
use crate::home::inside::Inside;

/// Writes an epoch's work by code. Lives on the thread of one lane.
pub trait UserCode {
    /// Called after the ledger has moved and before the commit; takes the cargo out of the work. `Err` rolls the transaction back:
    /// of kind `Unavailable` it is tried again, with the records read anew. Records that are put aside took no effect.
    fn handle<'a>(&'a mut self, inside: &'a mut dyn Inside, work: &'a mut Work) -> Answer<'a, Result<Vec<Aside>>>;
}

/// Makes handlers: one for each lane.
pub trait UserCodeFactory: Send + Sync {
    /// Makes one, on the lane's thread.
    fn build(&self) -> Box<dyn UserCode>;
}

/// What any error of a handler means: one of a driver is what the same failure of the engine's own statements would be, everything
/// else stops the pipeline. `doing` completes the sentence "cannot …".
pub fn explain(error: Box<dyn std::error::Error + Send + Sync>, doing: &str) -> Error {
    #[cfg(feature = "postgres")]
    let error = match error.downcast::<tokio_postgres::Error>() {
        Ok(driver) => return crate::home::postgres::explain(*driver, doing),
        Err(other) => other,
    };
    #[cfg(feature = "sqlite")]
    let error = match error.downcast::<rusqlite::Error>() {
        Ok(driver) => return crate::home::sqlite::explain(*driver, doing),
        Err(other) => other,
    };
    let said = with_causes(&*error);
    Error::new(Kind::Data, codes::OF1001, format!("cannot {doing}: your code says: {said}"))
        .note("nothing of it was committed; the next start reads the same records again")
        .help("Error::retry(..) for what may work later, record.dead_letter(..) for a record that never will")
}
