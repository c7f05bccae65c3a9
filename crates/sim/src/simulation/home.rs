//! The fake home: a session with the fake server, behind the engine's own traits. It does what the PostgreSQL home does: connects
//! anew where the session was lost, remembers claims that were never answered, and never sends COMMIT twice.

use super::bank::{BALANCE, ENTRY, Entry, numbers};
use super::server::{Answered, Session, Ticket};
use super::statement::{Ask, ClaimAsk, CloseAsk, MoveAsk, PIPELINE, Row, Said};
use super::world::{Process, Shared, Wait, lock};
use onceflow::changes::{Refusal, TableSpec, Unit, Work, Written};
use onceflow::home::attempts::Attempts;
use onceflow::home::desk::Desk;
use onceflow::home::{
    Answer, Claim, ClaimRequest, Closing, CommitError, Done, Guarantee, Home, HomeFactory, Registered, Registration,
    Right, Transaction,
};
use onceflow::{Error, Kind, Result, codes};
use onceflow_core::{Advance, Held, Ledger, Partition, PipelineId, PositionRow, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(super) struct SimHomes {
    pub(super) world: Shared,
    pub(super) process: Process,
}

impl fmt::Debug for SimHomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated home")
    }
}

impl HomeFactory for SimHomes {
    fn system(&self) -> &'static str {
        "simulated"
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }

    fn default_schema(&self) -> Option<String> {
        None
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Atomic
    }

    fn open(&self, _: Arc<Vec<TableSpec>>) -> Result<Box<dyn Home>> {
        let (world, process) = (self.world.clone(), self.process);
        let (attempts, owned) = (Attempts::default(), BTreeMap::new());
        Ok(Box::new(SimHome { world, process, line: None, attempts, owned, claim: 0 }))
    }
}

struct SimHome {
    world: Shared,
    process: Process,
    line: Option<Line>,
    attempts: Attempts,
    owned: BTreeMap<ShardId, Held>,
    /// The number of the last claim, for the oracle.
    claim: u64,
}

/// The process's end of a session. Dropping it closes the connection.
struct Line {
    world: Shared,
    session: Session,
    /// A statement was sent whose answer was not taken: what follows would take it for its own.
    busy: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        lock(&self.world).leave(self.session);
    }
}

/// A statement that was sent.
struct Call {
    world: Shared,
    ticket: Ticket,
}

impl Future for Call {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        match lock(&self.world).answer(self.ticket, context.waker()) {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        lock(&self.world).forget(self.ticket);
    }
}

impl Line {
    fn send(&self, ask: Ask) -> Call {
        let ticket = lock(&self.world).send(self.session, ask);
        Call { world: self.world.clone(), ticket }
    }

    /// `None` where the connection died.
    async fn ask(&mut self, ask: Ask) -> Answered {
        self.busy = true;
        let answer = self.send(ask).await;
        self.busy = answer.is_none();
        answer
    }

    fn roll_back(&mut self) {
        if !self.busy {
            lock(&self.world).send_rollback(self.session);
        }
    }
}

fn lost() -> Error {
    Error::unavailable(codes::OF0701, "the connection was lost")
}

fn failed(said: &Said) -> Error {
    let text = match said {
        Said::Failed(why) => format!("the database answered: {why}"),
        said => format!("the database answered {said:?}"),
    };
    Error::unavailable(codes::OF0702, text)
}

fn fenced(how: &str) -> Error {
    Error::new(Kind::Fenced, codes::OF0002, how.to_owned())
}

impl SimHome {
    /// The session; connects anew where there is none that works.
    async fn line(&mut self) -> Result<&mut Line> {
        let dead = |line: &mut Line| line.busy || lock(&line.world).is_lost(line.session);
        self.line.take_if(dead);
        if self.line.is_none() {
            let delay = lock(&self.world).latency();
            Wait::new(&self.world, delay).await;
            let mut world = lock(&self.world);
            let fails = world.faults.connect;
            if world.now < world.server.down_until || world.chance.one_in(fails) {
                return Err(Error::unavailable(codes::OF0701, "the database does not answer"));
            }
            let session = world.connect(self.process);
            drop(world);
            self.line = Some(Line { world: self.world.clone(), session, busy: false });
        }
        Ok(self.line.as_mut().expect("it was just made sure"))
    }

    async fn ask(&mut self, ask: Ask) -> Result<Said> {
        self.line().await?.ask(ask).await.ok_or_else(lost)
    }

    async fn claim_shards(&mut self, request: &ClaimRequest) -> Result<Claim> {
        let number = lock(&self.world).number();
        let mut shards = request.shards.clone();
        shards.sort();
        let claim = ClaimAsk {
            owner: (self.process, number),
            shards,
            nonce: request.nonce,
            held: request.held.clone(),
            attempts: self.attempts.clone(),
        };
        let (rows, positions) = match self.ask(Ask::Claim(Box::new(claim))).await? {
            Said::Claimed(rows, positions) => (rows, positions),
            said => {
                self.line().await?.roll_back();
                return refused_claim(said);
            }
        };
        self.attempts.sent(&rows);
        let ledger = Ledger::claimed(request.pipeline, rows, positions)?;
        if lock(&self.world).rules.claim {
            self.done(Ask::Commit(None)).await?;
            // Where this fails, the claim stands and the engine does not hear of it.
            self.done(Ask::Announce).await?;
            lock(&self.world).check_answered((self.process, number), &ledger.held());
        }
        self.claim = number;
        self.attempts.answered(&ledger);
        self.owned = ledger.held();
        Ok(Claim::Owned(ledger))
    }

    /// Asks for what is answered with nothing but that it is done.
    async fn done(&mut self, ask: Ask) -> Result<()> {
        match self.ask(ask).await? {
            Said::Done => Ok(()),
            said => Err(failed(&said)),
        }
    }

    async fn begin_transaction(&mut self, right: Right) -> Result<Box<dyn Transaction + '_>, CommitError> {
        let Right::Advance(advance) = right else {
            return Err(CommitError::Rejected(Error::internal("the simulation replays no dead letters")));
        };
        let owner = (self.process, self.claim);
        let line = self.line().await.map_err(CommitError::Rejected)?;
        let wanted = MoveAsk {
            owner,
            moves: advance.moves().to_vec(),
            positions: advance.positions().to_vec(),
            step: advance.step().clone(),
        };
        let mut moving = Some(line.send(Ask::Move(Box::new(wanted))));
        line.busy = true;
        let pipelined = lock(&line.world).faults.pipelined;
        if !pipelined {
            let answer = moving.take().expect("it was just sent").await;
            line.busy = answer.is_none();
            if let Err(error) = moved(answer) {
                line.roll_back();
                return Err(error);
            }
        }
        Ok(Box::new(SimTransaction { line, advance: Some(advance), moving, rows: Vec::new(), ended: false }))
    }
}

fn refused_claim(said: Said) -> Result<Claim> {
    match said {
        Said::Fenced(shard, found) => Ok(Claim::Fenced { shard, found }),
        Said::Missing(shard) => {
            Err(Error::new(Kind::Identity, codes::OF0906, format!("the ledger has no shard '{shard}'")))
        }
        said => Err(failed(&said)),
    }
}

/// What the answer to a move means.
fn moved(answer: Answered) -> Result<(), CommitError> {
    match answer {
        Some(Said::Done) => Ok(()),
        Some(Said::Mismatch(true) | Said::Unmoved) => {
            Err(CommitError::Fenced(fenced("another instance owns the shards")))
        }
        Some(Said::Mismatch(false)) => {
            Err(CommitError::Rejected(Error::unavailable(codes::OF0910, "the ledger is not where it was left")))
        }
        Some(said) => Err(CommitError::Rejected(failed(&said))),
        None => Err(CommitError::Rejected(lost())),
    }
}

impl Home for SimHome {
    fn register<'a>(&'a mut self, _: &'a Registration) -> Answer<'a, Result<Registered>> {
        Box::pin(async move {
            self.ask(Ask::Register).await?;
            Ok(Registered { pipeline: PIPELINE, new: false, notices: Vec::new() })
        })
    }

    fn positions(&mut self, _: PipelineId) -> Answer<'_, Result<Vec<PositionRow>>> {
        Box::pin(async move {
            match self.ask(Ask::Positions).await? {
                Said::Positions(rows) => Ok(rows),
                said => Err(failed(&said)),
            }
        })
    }

    fn found<'a>(&'a mut self, _: PipelineId, rows: &'a [PositionRow]) -> Answer<'a, Result<()>> {
        Box::pin(async move { self.ask(Ask::Found(rows.to_vec())).await.map(drop) })
    }

    fn claim<'a>(&'a mut self, request: &'a ClaimRequest) -> Answer<'a, Result<Claim>> {
        Box::pin(self.claim_shards(request))
    }

    fn begin(&mut self, right: Right) -> Answer<'_, Result<Box<dyn Transaction + '_>, CommitError>> {
        Box::pin(self.begin_transaction(right))
    }

    fn still_owned(&mut self) -> Answer<'_, Result<bool>> {
        Box::pin(async move {
            let owned = self.owned.clone();
            match self.ask(Ask::Owned(owned)).await? {
                Said::Owned(false) if !lock(&self.world).rules.idle => Err(fenced("the shards are another's")),
                Said::Owned(owned) => Ok(owned),
                said => Err(failed(&said)),
            }
        })
    }

    fn absent(&mut self, _: PipelineId) -> Answer<'_, Result<bool>> {
        Box::pin(async { Ok(true) })
    }

    fn desk(&mut self) -> Answer<'_, Result<Box<dyn Desk + '_>>> {
        Box::pin(async { Err(Error::internal("the simulation asks nothing of a desk")) })
    }
}

struct SimTransaction<'h> {
    line: &'h mut Line,
    /// Until it is committed.
    advance: Option<Advance>,
    /// The move, where its answer was not waited for.
    moving: Option<Call>,
    rows: Vec<(usize, Row)>,
    ended: bool,
}

impl Drop for SimTransaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.line.roll_back();
        }
    }
}

impl SimTransaction<'_> {
    async fn write_rows(&mut self, work: &Work) -> Result<Written, CommitError> {
        let (units, rows) = rows(work);
        self.rows.clone_from(&rows);
        let answer = self.line.ask(Ask::Write(rows.clone())).await;
        let refused = match answer {
            Some(Said::Written(refused)) => refused,
            Some(Said::Aborted) if self.moving.is_some() => {
                moved(self.moving.take().expect("it was just seen").await)?;
                return Err(CommitError::Rejected(failed(&Said::Aborted)));
            }
            Some(said) => return Err(CommitError::Rejected(failed(&said))),
            None => return Err(CommitError::Rejected(lost())),
        };
        Ok(written(&units, &rows, &refused))
    }

    async fn finish(mut self: Box<Self>, closing: &Closing) -> Result<Done, CommitError> {
        let letters = closing.dead_letters.iter().filter_map(|letter| {
            let partition = Partition::new(letter.source.as_str(), letter.topic.as_str(), letter.partition?);
            Some((partition, letter.offset?))
        });
        let close = CloseAsk { counts: closing.counts, letters: letters.collect() };
        self.ended = true;
        let committed = self.line.ask(Ask::Commit(Some(Box::new(close.clone())))).await;
        let moved = match self.moving.take() {
            Some(moving) if committed.is_some() => moved(moving.await),
            _ => Ok(()),
        };
        let rules = lock(&self.line.world).rules;
        match committed {
            Some(Said::Done) => moved.map(|()| Done::Advanced(self.spent())),
            Some(said) => moved.and(Err(CommitError::Rejected(failed(&said)))),
            None if !rules.unknown => Ok(Done::Advanced(self.spent())),
            None => {
                if !rules.once {
                    self.send_again(close).await;
                }
                Err(CommitError::Unknown(Error::unavailable(codes::OF0713, "COMMIT was not answered")))
            }
        }
    }

    fn spent(&mut self) -> onceflow_core::Committed {
        self.advance.take().expect("a transaction is committed once").committed()
    }

    /// What a driver does that repeats a transaction by itself: rows and COMMIT, on another connection.
    async fn send_again(&mut self, close: CloseAsk) {
        let session = {
            let mut world = lock(&self.line.world);
            let process = world.server.connections.get(&self.line.session).map_or(0, |connection| connection.process);
            world.connect(process)
        };
        let mut line = Line { world: self.line.world.clone(), session, busy: false };
        // Whatever is answered, the first COMMIT is what is reported.
        let _ = line.ask(Ask::Write(std::mem::take(&mut self.rows))).await;
        let _ = line.ask(Ask::Commit(Some(Box::new(close)))).await;
    }
}

impl Transaction for SimTransaction<'_> {
    fn write<'a>(&'a mut self, work: &'a Work) -> Answer<'a, Result<Written, CommitError>> {
        Box::pin(self.write_rows(work))
    }

    fn commit<'a>(self: Box<Self>, closing: &'a Closing) -> Answer<'a, Result<Done, CommitError>>
    where
        Self: 'a,
    {
        Box::pin(self.finish(closing))
    }
}

/// The rows of a work, each with the number of its record, and the records' units.
fn rows(work: &Work) -> (Vec<Unit>, Vec<(usize, Row)>) {
    let lineage = work.lineage();
    let mut grouped = 0;
    let mut found = Vec::new();
    for (part, set) in work.parts.iter().enumerate().flat_map(|(at, part)| part.sets.iter().map(move |set| (at, set))) {
        let units = lineage.units(part, set, &mut grouped);
        let columns: Vec<_> = (0..set.rows.num_columns()).map(|column| numbers(&set.rows, column)).collect();
        for (at, unit) in units.into_iter().enumerate() {
            let row = match (set.table, columns.iter().map(|column| column[at]).collect::<Vec<_>>().as_slice()) {
                (ENTRY, &[source, partition, offset, from, to, amount]) => {
                    Row::Entry(Entry { source, partition, offset, from, to, amount })
                }
                (_, values) => Row::Balance(values[0], values[1]),
            };
            found.push((unit, row));
        }
    }
    let units: BTreeSet<Unit> = found.iter().map(|(unit, _)| *unit).collect();
    let units: Vec<Unit> = units.into_iter().collect();
    let number = |unit: &Unit| units.binary_search(unit).expect("every unit is in the list");
    let rows = found.iter().map(|(unit, row)| (number(unit), *row)).collect();
    (units, rows)
}

fn written(units: &[Unit], rows: &[(usize, Row)], refused: &BTreeSet<usize>) -> Written {
    let mut written = Written::nothing(2);
    for (unit, row) in rows.iter().filter(|(unit, _)| !refused.contains(unit)) {
        debug_assert!(*unit < units.len());
        written.rows[if matches!(row, Row::Entry(_)) { ENTRY } else { BALANCE }] += 1;
    }
    let refusal = |unit: &usize| Refusal {
        unit: units[*unit],
        table: ENTRY,
        code: codes::OF0750,
        sqlstate: "23514".to_owned(),
        reason: "the amount is refused".to_owned(),
        row: "{}".to_owned(),
    };
    written.refused = refused.iter().map(refusal).collect();
    written
}
