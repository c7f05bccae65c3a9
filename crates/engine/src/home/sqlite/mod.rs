//! SQLite as a home: one file that holds rows and ledger.
//!
//! Owns the session with the file. Everything here blocks: SQLite works in the calling thread, so the futures of the traits are
//! complete when they are made, and a lane is a thread of its own. Writing, fencing and durability rest on `BEGIN IMMEDIATE`,
//! write-ahead logging and `synchronous = FULL`. Only one connection writes at a time; the others wait for at most
//! `location::BUSY_WAIT` and then say that the home is unavailable.

use crate::changes::TableSpec;
use crate::codes;
use crate::error::{Error, Result};
use crate::home::attempts::Attempts;
use crate::home::desk::Desk;
use crate::home::witness::Witness;
use crate::home::{
    Answer, Claim, ClaimRequest, CommitError, Guarantee, Home, HomeFactory, Registered, Registration, Right,
    Transaction,
};
use location::{FileId, Location};
use onceflow_core::{Held, PipelineId, PositionRow, ShardId};
use plan::TablePlan;
use presence::Presence;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod claim;
mod desk;
mod fault;
mod inside;
mod ledger;
mod location;
mod merge;
mod plan;
mod presence;
mod register;
mod rows;
mod scratch;
mod target;
#[cfg(test)]
mod tests;
mod transaction;
mod value;
mod witness;

pub use inside::explain;

/// Makes homes in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteFactory {
    place: Arc<Location>,
}

impl SqliteFactory {
    /// A factory for `sqlite:path` or `jdbc:sqlite:path`. Looks at no file; a URL that names none is refused (OF0801).
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self { place: Arc::new(Location::parse(url)?) })
    }
}

impl HomeFactory for SqliteFactory {
    fn system(&self) -> &'static str {
        "SQLite"
    }

    fn describe(&self) -> String {
        self.place.describe()
    }

    fn default_schema(&self) -> Option<String> {
        None
    }

    fn scratch(&self) -> Option<Box<dyn crate::home::scratch::Scratch>> {
        Some(Box::new(scratch::SqliteScratch::new(self.place.clone())))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Atomic
    }

    fn open(&self, tables: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>> {
        Ok(Box::new(SqliteHome::new(self.place.clone(), tables)))
    }

    fn witness(&self) -> Answer<'_, Result<Box<dyn Witness>>> {
        now(witness::SqliteWitness::new(self.place.clone()).map(|witness| Box::new(witness) as Box<dyn Witness>))
    }
}

/// What the last claim made this home the owner of.
struct Owned {
    pipeline: PipelineId,
    shards: BTreeMap<ShardId, Held>,
}

/// An open file.
struct Session {
    connection: Connection,
    file: Option<FileId>,
    /// Set while a COMMIT of an epoch runs, so that a planned crash hits this one and no other.
    committing: Arc<AtomicBool>,
    /// What is executed for each table, and the version of the schema that it was made for.
    plans: Option<(i64, Rc<Vec<TablePlan>>)>,
}

/// One session with a SQLite file.
struct SqliteHome {
    place: Arc<Location>,
    tables: Arc<Vec<TableSpec>>,
    session: Option<Session>,
    presence: Option<Presence>,
    owned: Option<Owned>,
    attempts: Attempts,
    lane: String,
}

impl SqliteHome {
    fn new(place: Arc<Location>, tables: Arc<Vec<TableSpec>>) -> Self {
        let lane = String::new();
        Self { place, tables, session: None, presence: None, owned: None, attempts: Attempts::default(), lane }
    }

    /// The open session; opens the file where there is none. Refuses a file that was replaced since, and forgets it.
    fn session(&mut self) -> Result<&mut Session> {
        let now = self.place.file_id();
        if self.session.as_ref().is_some_and(|session| session.file != now) {
            self.session = None;
            let path = self.place.path().display();
            return Err(Error::unavailable(
                codes::OF0810,
                format!("the database {path} was replaced or removed while it was open"),
            ));
        }
        if self.session.is_none() {
            self.session = Some(self.open(false)?);
        }
        self.session.as_mut().ok_or_else(|| Error::internal("a session that was just opened is gone"))
    }

    fn open(&self, create: bool) -> Result<Session> {
        let mut connection = self.place.connect(create)?;
        let committing = Arc::new(AtomicBool::new(false));
        if crate::crash::planned("commit_sent") {
            let flag = committing.clone();
            let hook = move || {
                if flag.load(Ordering::Relaxed) {
                    crate::crash::point("commit_sent");
                }
                false
            };
            let hooked = connection.commit_hook(Some(hook));
            hooked.map_err(|error| fault::error(&self.place, "watch commits of", error))?;
        }
        Ok(Session { connection, file: self.place.file_id(), committing, plans: None })
    }

    /// The file as it is now, for a claim: opened anew where it was replaced.
    fn fresh_session(&mut self) -> Result<&mut Session> {
        if self.session.as_ref().is_some_and(|session| session.file != self.place.file_id()) {
            self.session = None;
        }
        self.session()
    }

    /// Runs a step in a transaction that has the write lock from its beginning. `Err` rolls back.
    fn immediately<T>(&mut self, doing: &str, step: impl FnOnce(&Location, &Connection) -> Result<T>) -> Result<T> {
        let place = self.place.clone();
        let connection = &self.session()?.connection;
        begin_immediate(&place, connection, doing)?;
        let result = step(&place, connection).and_then(|value| {
            connection.execute_batch("COMMIT").map_err(|error| fault::error(&place, doing, error)).map(|()| value)
        });
        if result.is_err() && !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            self.session = None;
        }
        result
    }
}

/// Begins a transaction with the write lock. One that an earlier failure left open is rolled back first.
fn begin_immediate(place: &Location, connection: &Connection, doing: &str) -> Result<()> {
    let left_open = !connection.is_autocommit();
    let rolled_back = if left_open { connection.execute_batch("ROLLBACK") } else { Ok(()) };
    rolled_back
        .and_then(|()| connection.execute_batch("BEGIN IMMEDIATE"))
        .map_err(|error| fault::error(place, doing, error))
}

fn now<'a, T: 'a>(value: T) -> Answer<'a, T> {
    Box::pin(ready(value))
}

impl Home for SqliteHome {
    fn register<'a>(&'a mut self, registration: &'a Registration) -> Answer<'a, Result<Registered>> {
        now(self.register_now(registration))
    }

    fn positions(&mut self, pipeline: PipelineId) -> Answer<'_, Result<Vec<PositionRow>>> {
        let place = self.place.clone();
        now(self.session().and_then(|session| ledger::positions(&place, &session.connection, pipeline)))
    }

    fn found<'a>(&'a mut self, pipeline: PipelineId, rows: &'a [PositionRow]) -> Answer<'a, Result<()>> {
        now(self.found_now(pipeline, rows))
    }

    fn claim<'a>(&'a mut self, request: &'a ClaimRequest) -> Answer<'a, Result<Claim>> {
        now(self.claim_now(request))
    }

    fn begin(&mut self, right: Right) -> Answer<'_, Result<Box<dyn Transaction + '_>, CommitError>> {
        now(self.begin_now(right))
    }

    fn still_owned(&mut self) -> Answer<'_, Result<bool>> {
        now(self.still_owned_now())
    }

    fn absent(&mut self, pipeline: PipelineId) -> Answer<'_, Result<bool>> {
        now(presence::absent(&self.place, self.presence.as_mut(), pipeline))
    }

    fn desk(&mut self) -> Answer<'_, Result<Box<dyn Desk + '_>>> {
        now(Ok(Box::new(desk::SqliteDesk::new(self))))
    }
}
