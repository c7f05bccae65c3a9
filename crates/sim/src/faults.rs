//! Faults through our own traits: counts the steps of a run, then fails step n, for every n.
//!
//! A step is one side of a trait call: before it, where nothing has happened yet, or after it, where everything has happened
//! and only the answer is lost. A lost answer to COMMIT is `Unknown`, as on a real connection.

use onceflow::changes::{TableSpec, Work, Written};
use onceflow::home::desk::Desk;
use onceflow::home::{
    Answer, Claim, ClaimRequest, Closing, CommitError, Done, Guarantee, Home, HomeFactory, Registered, Registration,
    Right, Transaction,
};
use onceflow::pipeline::Pipeline;
use onceflow::source::{Fetch, FetchLimits, Found, Mismatch, Source, SourceFactory};
use onceflow::{Error, Result, codes};
use onceflow_core::{Partition, PipelineId, Position, PositionRow};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Which step fails, and how many there were.
#[derive(Debug, Default)]
pub struct Plan {
    fail_at: Option<u64>,
    passed: AtomicU64,
    failed: Mutex<Option<&'static str>>,
}

impl Plan {
    /// A plan in which nothing fails: it only counts.
    pub fn counting() -> Arc<Self> {
        Arc::default()
    }

    /// A plan in which one step fails; steps count from 1.
    pub fn failing(step: u64) -> Arc<Self> {
        Arc::new(Self { fail_at: Some(step), ..Self::default() })
    }

    /// How many steps were passed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// The step that failed, if the run came so far.
    pub fn failed(&self) -> Option<&'static str> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, name: &'static str) -> Result<()> {
        let step = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fail_at != Some(step) {
            return Ok(());
        }
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
        Err(Error::unavailable(codes::OF0017, format!("injected at step {step}: {name}")))
    }
}

/// Puts faults around every home and every source of a pipeline.
pub fn surround(pipeline: &mut Pipeline, plan: &Arc<Plan>) {
    for branch in &mut pipeline.branches {
        branch.home = Arc::new(FaultyHomes { inner: branch.home.clone(), plan: plan.clone() });
        for source in &mut branch.sources {
            *source = Arc::new(FaultySources { inner: source.clone(), plan: plan.clone() });
        }
    }
}

#[derive(Debug)]
struct FaultyHomes {
    inner: Arc<dyn HomeFactory>,
    plan: Arc<Plan>,
}

impl HomeFactory for FaultyHomes {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn default_schema(&self) -> Option<String> {
        self.inner.default_schema()
    }

    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }

    fn open(&self, tables: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>> {
        Ok(Box::new(FaultyHome { inner: self.inner.open(tables)?, plan: self.plan.clone() }))
    }
}

struct FaultyHome {
    inner: Box<dyn Home>,
    plan: Arc<Plan>,
}

impl Home for FaultyHome {
    fn register<'a>(&'a mut self, registration: &'a Registration) -> Answer<'a, Result<Registered>> {
        Box::pin(async move {
            self.plan.step("before register")?;
            let answer = self.inner.register(registration).await?;
            self.plan.step("after register")?;
            Ok(answer)
        })
    }

    fn positions(&mut self, pipeline: PipelineId) -> Answer<'_, Result<Vec<PositionRow>>> {
        Box::pin(async move {
            self.plan.step("before positions")?;
            self.inner.positions(pipeline).await
        })
    }

    fn found<'a>(&'a mut self, pipeline: PipelineId, rows: &'a [PositionRow]) -> Answer<'a, Result<()>> {
        Box::pin(async move {
            self.plan.step("before found")?;
            self.inner.found(pipeline, rows).await?;
            self.plan.step("after found")
        })
    }

    fn claim<'a>(&'a mut self, request: &'a ClaimRequest) -> Answer<'a, Result<Claim>> {
        Box::pin(async move {
            self.plan.step("before claim")?;
            self.inner.claim(request).await
        })
    }

    fn begin(&mut self, right: Right) -> Answer<'_, Result<Box<dyn Transaction + '_>, CommitError>> {
        Box::pin(async move {
            self.plan.step("before begin").map_err(CommitError::Rejected)?;
            let inner = self.inner.begin(right).await?;
            self.plan.step("after begin").map_err(CommitError::Rejected)?;
            Ok(Box::new(FaultyTransaction { inner, plan: self.plan.clone() }) as Box<dyn Transaction + '_>)
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

struct FaultyTransaction<'t> {
    inner: Box<dyn Transaction + 't>,
    plan: Arc<Plan>,
}

impl Transaction for FaultyTransaction<'_> {
    fn write<'a>(&'a mut self, work: &'a Work) -> Answer<'a, Result<Written, CommitError>> {
        Box::pin(async move {
            self.plan.step("before write").map_err(CommitError::Rejected)?;
            let written = self.inner.write(work).await?;
            self.plan.step("after write").map_err(CommitError::Rejected)?;
            Ok(written)
        })
    }

    fn commit<'a>(self: Box<Self>, closing: &'a Closing) -> Answer<'a, Result<Done, CommitError>>
    where
        Self: 'a,
    {
        Box::pin(async move {
            self.plan.step("before commit").map_err(CommitError::Unknown)?;
            let done = self.inner.commit(closing).await?;
            self.plan.step("after commit").map_err(CommitError::Unknown)?;
            Ok(done)
        })
    }
}

#[derive(Debug)]
struct FaultySources {
    inner: Arc<dyn SourceFactory>,
    plan: Arc<Plan>,
}

impl SourceFactory for FaultySources {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn connector(&self) -> &'static str {
        self.inner.connector()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn wiring(&self) -> String {
        self.inner.wiring()
    }

    fn caveat(&self) -> Option<String> {
        self.inner.caveat()
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(FaultySource { inner: self.inner.open()?, plan: self.plan.clone() }))
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.inner.discovery_interval()
    }
}

struct FaultySource {
    inner: Box<dyn Source>,
    plan: Arc<Plan>,
}

type Positions = BTreeMap<Partition, Position>;

impl Source for FaultySource {
    fn discover(&mut self) -> Result<Vec<Found>> {
        self.plan.step("before discover")?;
        self.inner.discover()
    }

    fn initial(&mut self, partitions: &[Partition]) -> Result<Positions> {
        self.plan.step("before initial")?;
        self.inner.initial(partitions)
    }

    fn beginnings(&mut self, partitions: &[Partition]) -> Result<Positions> {
        self.plan.step("before beginnings")?;
        self.inner.beginnings(partitions)
    }

    fn ends(&mut self, partitions: &[Partition]) -> Result<Positions> {
        self.plan.step("before ends")?;
        self.inner.ends(partitions)
    }

    fn bound(&mut self, partitions: &[Partition]) -> Result<Option<Positions>> {
        self.plan.step("before bound")?;
        self.inner.bound(partitions)
    }

    fn verify(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>> {
        self.plan.step("before verify")?;
        self.inner.verify(rows)
    }

    fn seek(&mut self, from: &[PositionRow], until: &Positions) -> Result<()> {
        self.plan.step("before seek")?;
        self.inner.seek(from, until)
    }

    fn next(&mut self, limits: &FetchLimits) -> Result<Fetch> {
        self.plan.step("before next")?;
        let fetch = self.inner.next(limits)?;
        self.plan.step("after next")?;
        Ok(fetch)
    }

    fn group_positions(&mut self, group: &str, partitions: &[Partition]) -> Result<Positions> {
        self.inner.group_positions(group, partitions)
    }

    fn report(&mut self, durable: &[(Partition, Position)]) {
        self.inner.report(durable);
    }
}
