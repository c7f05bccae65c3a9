//! A home that breaks at a chosen moment: the process ends there, or the database is lost for a moment.

use super::Scenario;
use crate::calling::{Fuse, disturbed};
use onceflow_engine::changes::{TableSpec, Work, Written};
use onceflow_engine::core::{PipelineId, PositionRow};
use onceflow_engine::home::desk::Desk;
use onceflow_engine::home::inside::Inside;
use onceflow_engine::home::scratch::Scratch;
use onceflow_engine::home::witness::Witness;
use onceflow_engine::home::{
    Answer, Claim, ClaimRequest, Closing, CommitError, Done, Guarantee, Home, HomeFactory, Registered, Registration,
    Right, Transaction,
};
use onceflow_engine::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A moment in a run at which it can be disturbed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// The pipeline's partitions were stored in the ledger.
    AfterFound,
    /// The shards were claimed.
    AfterClaim,
    /// An epoch is ready, and its transaction not begun.
    BeforeBegin,
    /// The ledger has moved in the transaction, and the handler was not called.
    AfterMove,
    /// A statement of the handler is about to be executed.
    BeforeStatement,
    /// The handler has returned, and nothing is committed.
    BeforeCommit,
    /// The commit is durable, and nobody has heard of it.
    AfterCommit,
}

impl Point {
    /// All of them, in the order of a run.
    pub const ALL: [Self; 7] = [
        Self::AfterFound,
        Self::AfterClaim,
        Self::BeforeBegin,
        Self::AfterMove,
        Self::BeforeStatement,
        Self::BeforeCommit,
        Self::AfterCommit,
    ];
}

/// How a run is disturbed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// The pipeline ends with what it had in memory, and is started again.
    ProcessEnds,
    /// The session with the database is lost, and the pipeline goes on by itself.
    DatabaseLost,
}

/// One disturbance of one run.
pub(super) struct Plan {
    scenario: Scenario,
    passed: AtomicU64,
    happened: AtomicBool,
    fuse: Option<Arc<Fuse>>,
}

impl Plan {
    pub(super) fn new(scenario: Scenario) -> Self {
        let statement = scenario.point == Point::BeforeStatement;
        let fuse = statement.then(|| Arc::new(Fuse::before(scenario.pass, scenario.how == How::DatabaseLost)));
        Self { scenario, passed: AtomicU64::new(0), happened: AtomicBool::new(false), fuse }
    }

    /// For the statements of the handler.
    pub(super) fn fuse(&self) -> Option<Arc<Fuse>> {
        self.fuse.clone()
    }

    pub(super) fn happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst) || self.fuse.as_ref().is_some_and(|fuse| fuse.happened())
    }

    /// Passes a point: the error with which the run is disturbed there, or nothing. After the process has ended nothing works any more.
    fn pass(&self, point: Point) -> Result<()> {
        if self.scenario.how == How::ProcessEnds && self.happened() {
            return Err(self.error());
        }
        if self.scenario.point != point || self.passed.fetch_add(1, Ordering::SeqCst) + 1 != self.scenario.pass {
            return Ok(());
        }
        self.happened.store(true, Ordering::SeqCst);
        Err(self.error())
    }

    fn error(&self) -> Error {
        disturbed(self.scenario.how == How::DatabaseLost)
    }
}

pub(super) fn factory(inner: Arc<dyn HomeFactory>, plan: Arc<Plan>) -> Arc<dyn HomeFactory> {
    Arc::new(Factory { inner, plan })
}

struct Factory {
    inner: Arc<dyn HomeFactory>,
    plan: Arc<Plan>,
}

impl std::fmt::Debug for Factory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crashing({})", self.plan.scenario)
    }
}

impl HomeFactory for Factory {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn default_schema(&self) -> Option<String> {
        self.inner.default_schema()
    }

    fn scratch(&self) -> Option<Box<dyn Scratch>> {
        self.inner.scratch()
    }

    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }

    fn open(&self, tables: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>> {
        Ok(Box::new(Crashing { inner: self.inner.open(tables)?, plan: self.plan.clone() }))
    }

    fn witness(&self) -> Answer<'_, Result<Box<dyn Witness>>> {
        self.inner.witness()
    }
}

struct Crashing {
    inner: Box<dyn Home>,
    plan: Arc<Plan>,
}

impl Home for Crashing {
    fn register<'a>(&'a mut self, registration: &'a Registration) -> Answer<'a, Result<Registered>> {
        self.inner.register(registration)
    }

    fn positions(&mut self, pipeline: PipelineId) -> Answer<'_, Result<Vec<PositionRow>>> {
        self.inner.positions(pipeline)
    }

    fn found<'a>(&'a mut self, pipeline: PipelineId, rows: &'a [PositionRow]) -> Answer<'a, Result<()>> {
        Box::pin(async move {
            self.inner.found(pipeline, rows).await?;
            self.plan.pass(Point::AfterFound)
        })
    }

    fn claim<'a>(&'a mut self, request: &'a ClaimRequest) -> Answer<'a, Result<Claim>> {
        Box::pin(async move {
            let claim = self.inner.claim(request).await?;
            self.plan.pass(Point::AfterClaim)?;
            Ok(claim)
        })
    }

    fn begin(&mut self, right: Right) -> Answer<'_, Result<Box<dyn Transaction + '_>, CommitError>> {
        Box::pin(async move {
            self.plan.pass(Point::BeforeBegin).map_err(CommitError::Rejected)?;
            let inner = self.inner.begin(right).await?;
            self.plan.pass(Point::AfterMove).map_err(CommitError::Rejected)?;
            Ok(Box::new(Breaking { inner, plan: self.plan.clone() }) as Box<dyn Transaction + '_>)
        })
    }

    fn still_owned(&mut self) -> Answer<'_, Result<bool>> {
        self.inner.still_owned()
    }

    fn absent(&mut self, pipeline: PipelineId) -> Answer<'_, Result<bool>> {
        self.inner.absent(pipeline)
    }

    fn desk(&mut self) -> Answer<'_, Result<Box<dyn Desk + '_>>> {
        self.inner.desk()
    }
}

struct Breaking<'t> {
    inner: Box<dyn Transaction + 't>,
    plan: Arc<Plan>,
}

impl Transaction for Breaking<'_> {
    fn write<'a>(&'a mut self, work: &'a Work) -> Answer<'a, Result<Written, CommitError>> {
        self.inner.write(work)
    }

    fn inside(&mut self) -> Option<&mut dyn Inside> {
        self.inner.inside()
    }

    fn commit<'a>(self: Box<Self>, closing: &'a Closing) -> Answer<'a, Result<Done, CommitError>>
    where
        Self: 'a,
    {
        Box::pin(async move {
            let Self { inner, plan } = *self;
            plan.pass(Point::BeforeCommit).map_err(CommitError::Rejected)?;
            let done = inner.commit(closing).await?;
            match plan.pass(Point::AfterCommit) {
                Ok(()) => Ok(done),
                Err(error) => Err(CommitError::Unknown(error)),
            }
        })
    }
}
