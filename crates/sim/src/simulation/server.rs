//! The fake database server: sessions, row locks, transactions. Statements arrive, wait for locks, and are answered.
//!
//! Owns what a session may do and when; what a statement means is in [`super::statement`]. A connection has two ends: a process
//! may see it die long before the server does, and what is in the pipe may still arrive.

use super::statement::{Ask, Database, Open, Said};
use super::world::{Event, Process, World};
use onceflow_core::{Partition, Position, ShardId};
use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

/// A claim that waits so long ends the sessions that stand in its way, and again after so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a statement waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a transaction may lie open.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(45);

pub(super) type Session = u64;
pub(super) type Ticket = u64;
/// What a statement is answered; `None` where the connection died first.
pub(super) type Answered = Option<Said>;

/// Something on the wire, or a server's alarm.
pub(super) enum Wire {
    Arrive(Session, Ticket, Ask),
    Answer(Ticket, Answered),
    /// The process's end dies; whether what is in the pipe still arrives.
    Cut(Session, bool),
    /// The server sees that the process's end is gone.
    Close(Session),
    LockTimeout(Session, Ticket),
    Patience(Session, Ticket),
    TransactionTimeout(Session, u64),
}

/// The server's end of a connection.
pub(super) struct Connection {
    pub(super) process: Process,
    pub(super) open: Option<Open>,
    waiting: Option<(Ticket, Ask)>,
    queue: VecDeque<(Ticket, Ask)>,
    /// Nothing that is in the pipe arrives any more.
    deaf: bool,
}

/// The process's end of a connection.
pub(super) struct Client {
    lost: bool,
    last_arrival: Duration,
}

struct Call {
    session: Session,
    commits: bool,
    answer: Option<Answered>,
    waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) database: Database,
    pub(super) snapshots: Vec<Database>,
    pub(super) connections: BTreeMap<Session, Connection>,
    pub(super) down_until: Duration,
    /// How far each partition was ever committed, in any history of the home.
    pub(super) durable: BTreeMap<Partition, Position>,
    clients: BTreeMap<Session, Client>,
    calls: BTreeMap<Ticket, Call>,
    locks: BTreeMap<ShardId, Session>,
}

impl World {
    pub(super) fn connect(&mut self, process: Process) -> Session {
        let session = self.number();
        let connection = Connection { process, open: None, waiting: None, queue: VecDeque::new(), deaf: false };
        self.server.connections.insert(session, connection);
        self.server.clients.insert(session, Client { lost: false, last_arrival: self.now });
        session
    }

    /// Whether the process knows that the connection is dead.
    pub(super) fn is_lost(&self, session: Session) -> bool {
        self.server.clients.get(&session).is_none_or(|client| client.lost)
    }

    /// Sends a statement. The answer, or the loss of the connection, comes to the ticket.
    pub(super) fn send(&mut self, session: Session, ask: Ask) -> Ticket {
        let ticket = self.number();
        let commits = matches!(ask, Ask::Commit(Some(_)));
        let answer = self.is_lost(session).then_some(None);
        let lost = answer.is_some();
        self.server.calls.insert(ticket, Call { session, commits, answer, waker: None });
        if lost {
            return ticket;
        }
        let arrival = self.arrival(session);
        self.at(arrival, Event::Wire(Wire::Arrive(session, ticket, ask)));
        let times = if commits { self.faults.cut_commit } else { self.faults.cut };
        if self.chance.one_in(times) {
            let reach = u64::try_from((arrival - self.now).as_micros()).expect("a delay is short");
            let delay = Duration::from_micros(self.chance.between(0, 2 * reach + 4_000));
            let survives = self.chance.one_in(2);
            self.after(delay, Event::Wire(Wire::Cut(session, survives)));
        }
        ticket
    }

    /// Sends what nobody waits for.
    pub(super) fn send_rollback(&mut self, session: Session) {
        let ticket = self.send(session, Ask::Rollback);
        self.forget(ticket);
    }

    /// Messages of one session arrive in the order in which they were sent.
    fn arrival(&mut self, session: Session) -> Duration {
        let arrival = self.now + self.latency();
        let client = self.server.clients.get_mut(&session).expect("it is not lost");
        client.last_arrival = client.last_arrival.max(arrival);
        client.last_arrival
    }

    /// The answer to a ticket, if it has come.
    pub(super) fn answer(&mut self, ticket: Ticket, waker: &Waker) -> Option<Answered> {
        let call = self.server.calls.get_mut(&ticket)?;
        if call.answer.is_none() {
            call.waker = Some(waker.clone());
        }
        call.answer.take()
    }

    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.server.calls.remove(&ticket);
    }

    /// The process's end of a connection goes away: closed in good order, or with its machine.
    pub(super) fn leave(&mut self, session: Session) {
        let Some(client) = self.server.clients.remove(&session) else { return };
        let silent = if self.chance.one_in(3) { self.millis(500, 15_000) } else { Duration::ZERO };
        let time = client.last_arrival.max(self.now) + silent;
        self.at(time, Event::Wire(Wire::Close(session)));
    }

    pub(super) fn wire(&mut self, wire: Wire) {
        match wire {
            Wire::Arrive(session, ticket, ask) => self.arrive(session, ticket, ask),
            Wire::Answer(ticket, answer) => self.deliver(ticket, answer),
            Wire::Cut(session, survives) => self.cut(session, survives),
            Wire::Close(session) => self.end_session(session, "its process is gone"),
            Wire::LockTimeout(session, ticket) => self.give_up(session, ticket),
            Wire::Patience(session, ticket) => self.end_blockers(session, ticket),
            Wire::TransactionTimeout(session, number) => {
                let open = self.server.connections.get(&session).and_then(|connection| connection.open.as_ref());
                if open.is_some_and(|open| open.number == number) {
                    self.end_session(session, "its transaction lay open");
                }
            }
        }
    }

    fn arrive(&mut self, session: Session, ticket: Ticket, ask: Ask) {
        let Some(connection) = self.server.connections.get_mut(&session) else {
            return self.reply(ticket, None);
        };
        if connection.deaf {
            if matches!(ask, Ask::Commit(Some(_))) {
                self.seen.lost_not_applied += 1;
            }
        } else if connection.waiting.is_some() {
            connection.queue.push_back((ticket, ask));
        } else {
            self.serve(session, ticket, ask);
        }
    }

    fn serve(&mut self, session: Session, ticket: Ticket, ask: Ask) {
        match self.execute(session, ask) {
            Ok(said) => {
                self.reply(ticket, Some(said));
                self.after_statement(session);
            }
            Err(ask) => {
                if matches!(ask, Ask::Claim(_)) {
                    self.seen.waiting_claims += 1;
                    self.after(PATIENCE, Event::Wire(Wire::Patience(session, ticket)));
                }
                self.after(LOCK_TIMEOUT, Event::Wire(Wire::LockTimeout(session, ticket)));
                if let Some(connection) = self.server.connections.get_mut(&session) {
                    connection.waiting = Some((ticket, ask));
                }
            }
        }
    }

    /// What follows a statement: whoever waited for a lock tries again, and the session goes on with what came meanwhile.
    fn after_statement(&mut self, session: Session) {
        self.retry();
        let next = self.server.connections.get_mut(&session).filter(|connection| connection.waiting.is_none());
        if let Some((ticket, ask)) = next.and_then(|connection| connection.queue.pop_front()) {
            self.serve(session, ticket, ask);
        }
    }

    fn retry(&mut self) {
        let waiting = |(session, connection): (&Session, &Connection)| {
            connection.waiting.as_ref().map(|(ticket, _)| (*ticket, *session))
        };
        let mut waiters: Vec<_> = self.server.connections.iter().filter_map(waiting).collect();
        waiters.sort_unstable();
        for (ticket, session) in waiters {
            let connection = self.server.connections.get_mut(&session);
            let same =
                connection.filter(|connection| connection.waiting.as_ref().is_some_and(|(own, _)| *own == ticket));
            let Some((_, ask)) = same.and_then(|connection| connection.waiting.take()) else { continue };
            match self.execute(session, ask) {
                Ok(said) => {
                    self.reply(ticket, Some(said));
                    return self.after_statement(session);
                }
                Err(ask) => {
                    if let Some(connection) = self.server.connections.get_mut(&session) {
                        connection.waiting = Some((ticket, ask));
                    }
                }
            }
        }
    }

    fn reply(&mut self, ticket: Ticket, answer: Answered) {
        let delay = self.latency();
        self.after(delay, Event::Wire(Wire::Answer(ticket, answer)));
    }

    fn deliver(&mut self, ticket: Ticket, answer: Answered) {
        let Some(call) = self.server.calls.get_mut(&ticket) else { return };
        if answer.is_none()
            && let Some(client) = self.server.clients.get_mut(&call.session)
        {
            client.lost = true;
        }
        call.answer.get_or_insert(answer);
        if let Some(waker) = call.waker.take() {
            waker.wake();
        }
    }

    /// The process sees the connection die; the server sees it later.
    fn cut(&mut self, session: Session, survives: bool) {
        let Some(client) = self.server.clients.get_mut(&session).filter(|client| !client.lost) else { return };
        client.lost = true;
        self.note_cut(session, survives);
        if let Some(connection) = self.server.connections.get_mut(&session) {
            connection.deaf = !survives;
        }
        let calls = self.server.calls.iter().filter(|(_, call)| call.session == session && call.answer.is_none());
        let tickets: Vec<_> = calls.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.deliver(ticket, None);
        }
        let delay = self.millis(10, 9_000);
        self.after(delay, Event::Wire(Wire::Close(session)));
    }

    fn note_cut(&mut self, session: Session, survives: bool) {
        let Some(connection) = self.server.connections.get(&session) else { return };
        let process = connection.process;
        let open = if connection.open.is_some() { ", a transaction lies open" } else { "" };
        let pipe = if survives { "what is in the pipe arrives" } else { "what is in the pipe is lost" };
        self.note(&format!("p{process} loses session {session}{open}; {pipe}"));
        let committing = self.server.calls.values().any(|call| call.session == session && call.commits);
        if committing && self.server.connections[&session].open.is_none() {
            self.seen.lost_applied += 1;
        }
    }

    /// Ends a session in the server: rolls back, gives locks free, answers what was asked with the loss.
    pub(super) fn end_session(&mut self, session: Session, why: &str) {
        let Some(connection) = self.server.connections.remove(&session) else { return };
        if connection.open.is_some() {
            self.note(&format!("the server rolls back and ends session {session} of p{}: {why}", connection.process));
        }
        self.unlock(session);
        let asked = connection.waiting.into_iter().chain(connection.queue);
        for (ticket, _) in asked {
            self.reply(ticket, None);
        }
        // A process that waits for nothing may notice, or not.
        let notices = self.chance.one_in(2);
        if let Some(client) = self.server.clients.get_mut(&session) {
            client.lost |= notices;
        }
        self.retry();
    }

    fn give_up(&mut self, session: Session, ticket: Ticket) {
        let Some(connection) = self.server.connections.get_mut(&session) else { return };
        if connection.waiting.as_ref().is_none_or(|(waiting, _)| *waiting != ticket) {
            return;
        }
        connection.waiting = None;
        self.abort(session);
        self.reply(ticket, Some(Said::Failed("lock timeout")));
        self.after_statement(session);
    }

    /// Rolls a transaction back and keeps the session, whose further statements fail until it says so itself.
    pub(super) fn abort(&mut self, session: Session) {
        if let Some(open) = self.server.connections.get_mut(&session).and_then(|connection| connection.open.as_mut()) {
            *open = Open { failed: true, ..Open::new(open.number) };
        }
        self.unlock(session);
    }

    /// A claim that has waited ends the sessions in its way, unless they wait themselves.
    fn end_blockers(&mut self, session: Session, ticket: Ticket) {
        let connection = self.server.connections.get(&session).and_then(|connection| connection.waiting.as_ref());
        let Some((_, Ask::Claim(claim))) = connection.filter(|(waiting, _)| *waiting == ticket) else { return };
        let holder = |shard| self.server.locks.get(shard).copied().filter(|holder| *holder != session);
        let mut blockers: Vec<Session> = claim.shards.iter().filter_map(holder).collect();
        blockers.dedup();
        blockers.retain(|blocker| {
            self.server.connections.get(blocker).is_some_and(|connection| connection.waiting.is_none())
        });
        self.after(PATIENCE, Event::Wire(Wire::Patience(session, ticket)));
        for blocker in blockers {
            self.seen.ended_sessions += 1;
            self.end_session(blocker, "a successor's claim waits for it");
        }
    }

    /// Takes locks in order; `false` where one of them is another session's. Those before it are kept.
    pub(super) fn locks(&mut self, session: Session, shards: &[ShardId]) -> bool {
        shards.iter().all(|shard| *self.server.locks.entry(shard.clone()).or_insert(session) == session)
    }

    pub(super) fn unlock(&mut self, session: Session) {
        self.server.locks.retain(|_, holder| *holder != session);
    }

    /// Begins a transaction where none is open.
    pub(super) fn begin(&mut self, session: Session) {
        let number = self.number();
        let connection = self.server.connections.get_mut(&session).expect("a session that executes exists");
        if connection.open.is_none() {
            connection.open = Some(Open::new(number));
            self.after(TRANSACTION_TIMEOUT, Event::Wire(Wire::TransactionTimeout(session, number)));
        }
    }

    /// Ends all sessions, as a restart, a failover or a restore does.
    pub(super) fn end_all_sessions(&mut self, why: &str) {
        let sessions: Vec<_> = self.server.connections.keys().copied().collect();
        for session in sessions {
            self.end_session(session, why);
        }
    }

    /// Whether the process's end of a session is gone.
    pub(super) fn is_abandoned(&self, session: Session) -> bool {
        self.is_lost(session)
    }
}
