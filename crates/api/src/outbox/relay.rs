//! The relay: delivers the messages of the outbox after the commit, on a thread and a session of its own.
//!
//! It owns no truth: what is pending stands in the outbox, and whoever owns the pipeline delivers it. Whatever it was doing when it was
//! killed is done again by the next one, with the same idempotency key.

use super::channel::{Channel, Message, Undelivered};
use super::store::{self, Outcome, Store};
use futures_util::StreamExt as _;
use futures_util::stream;
use onceflow_engine as engine;
use onceflow_engine::home::{Home, HomeFactory};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// So many keys are delivered at a time.
const KEYS_AT_ONCE: usize = 16;
/// So many messages are taken at first, and twice as many after each round that went through: a process that is killed again and again still
/// gets on.
const TAKEN_MIN: usize = 16;
const TAKEN_MAX: usize = 512;
/// A round starts no further message after so long, so that what it did is written down soon.
const ROUND_MAX: Duration = Duration::from_secs(2);
/// The outbox is looked at so often where nothing is heard of a commit.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause after a failure of the database; doubled up to the second.
const TROUBLE_MIN: Duration = Duration::from_millis(100);
const TROUBLE_MAX: Duration = Duration::from_secs(5);
/// Old messages are looked for after so many delivered ones.
const TRIM_EVERY: u64 = 1_000;

/// What the pipeline is doing, as far as the relay has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nothing is claimed yet: the pipeline may be another's.
    Waiting,
    /// Commits may come; the number grows with each.
    Running(u64),
    /// No commit will come: the relay ends when nothing is left.
    Draining,
    /// The relay ends as soon as what it has begun is written down.
    Stopping,
}

/// Counts of a relay since its start.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) delivered: AtomicU64,
    pub(crate) refused: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Delivered {
    /// What does not work just now.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A relay that runs.
pub(crate) struct Relay {
    phase: watch::Sender<Phase>,
    counts: Arc<Delivered>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    /// Starts a thread that waits for the pipeline to own its shards.
    pub(crate) fn start(
        pipeline: &str,
        home: Arc<dyn HomeFactory>,
        channels: Arc<BTreeMap<String, Channel>>,
    ) -> engine::Result<Self> {
        let (phase, watched) = watch::channel(Phase::Waiting);
        let counts = Arc::new(Delivered::default());
        let store = Store { pipeline: pipeline.into(), nonce: uuid::Uuid::new_v4().to_string(), channels };
        let counted = counts.clone();
        let thread = std::thread::Builder::new().name("onceflow-relay".to_owned()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let mut running = Running {
                        store,
                        factory: home,
                        home: None,
                        phase: watched,
                        counts: counted,
                        taken: TAKEN_MIN,
                        began: false,
                    };
                    runtime.block_on(running.run());
                }
                Err(error) => tracing::error!("the outbox is not delivered: no runtime: {error}"),
            }
        });
        let thread = thread.map_err(|error| engine::Error::internal("no thread for the outbox").caused_by(error))?;
        Ok(Self { phase, counts, thread: Mutex::new(Some(thread)) })
    }

    /// The pipeline owns its shards, or has committed.
    pub(crate) fn moved(&self) {
        self.phase.send_modify(|phase| {
            *phase = match *phase {
                Phase::Waiting => Phase::Running(0),
                Phase::Running(count) => Phase::Running(count + 1),
                ended => ended,
            }
        });
    }

    /// No commit will come any more.
    pub(crate) fn end(&self, phase: Phase) {
        self.phase.send_modify(|now| {
            // A relay that never began has nothing to drain.
            *now = if *now == Phase::Waiting { Phase::Stopping } else { phase };
        });
    }

    /// Waits for its end.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the outbox's relay panicked; what is pending is delivered after the next start");
        }
    }

    pub(crate) fn counts(&self) -> &Delivered {
        &self.counts
    }
}

struct Running {
    store: Store,
    factory: Arc<dyn HomeFactory>,
    home: Option<Box<dyn Home>>,
    phase: watch::Receiver<Phase>,
    counts: Arc<Delivered>,
    /// How many messages the next round takes.
    taken: usize,
    /// Whether what the relay before had taken was given back.
    began: bool,
}

/// What a round did.
#[derive(Clone, Copy, Debug)]
struct Round {
    tried: usize,
    delivered: u64,
}

impl Running {
    async fn run(&mut self) {
        if self.phase.wait_for(|phase| *phase != Phase::Waiting).await.is_err() {
            return;
        }
        let mut pause = TROUBLE_MIN;
        let mut since_trim = 0;
        loop {
            let phase = *self.phase.borrow_and_update();
            if phase == Phase::Stopping {
                return;
            }
            match self.round().await {
                Ok(round) => {
                    pause = TROUBLE_MIN;
                    self.trouble(None);
                    since_trim += round.delivered;
                    if round.tried > 0 {
                        continue;
                    }
                    if since_trim >= TRIM_EVERY {
                        since_trim = 0;
                        self.trim().await;
                    }
                    if self.rest(phase).await {
                        return;
                    }
                }
                Err(error) => {
                    self.trouble(Some(&error));
                    self.home = None;
                    self.taken = TAKEN_MIN;
                    self.sleep(pause).await;
                    pause = (pause * 2).min(TROUBLE_MAX);
                }
            }
        }
    }

    /// Nothing could be sent: waits for a commit or the next message that is due. Whether there is nothing left to wait for.
    async fn rest(&mut self, phase: Phase) -> bool {
        let (pending, due) = match self.pending().await {
            Ok(found) => found,
            Err(error) => {
                self.trouble(Some(&error));
                self.home = None;
                (1, None)
            }
        };
        if phase == Phase::Draining && pending == 0 {
            return true;
        }
        let until = due.map_or(LOOK_EVERY, |due| Duration::from_millis(u64::try_from(due - store::now()).unwrap_or(0)));
        self.sleep(until.clamp(Duration::from_millis(10), LOOK_EVERY)).await;
        false
    }

    /// Sleeps, or less where something is heard of the pipeline.
    async fn sleep(&mut self, time: Duration) {
        // An error: the handle is gone, and with it everything that could be heard.
        if let Ok(Err(_)) = tokio::time::timeout(time, self.phase.changed()).await {
            tokio::time::sleep(time).await;
        }
    }

    fn trouble(&self, error: Option<&engine::Error>) {
        let mut trouble = self.counts.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (error, &*trouble) {
            (Some(error), None) => tracing::warn!("the outbox is not delivered for now: {error}"),
            (None, Some(_)) => tracing::info!("the outbox is delivered again"),
            _ => {}
        }
        *trouble = error.map(|error| format!("{}: {error}", error.code()));
    }

    async fn pending(&mut self) -> engine::Result<(u64, Option<i64>)> {
        let home = self.home.as_mut().ok_or_else(|| engine::Error::internal("no session for the outbox"))?;
        self.store.pending(&mut *home.desk().await?).await
    }

    async fn trim(&mut self) {
        if let Some(home) = &mut self.home
            && let Ok(mut desk) = home.desk().await
            && let Err(error) = self.store.trim(&mut *desk).await
        {
            tracing::debug!("old messages of the outbox were not removed: {error}");
        }
    }

    /// Takes messages, sends them, and writes down what became of them.
    async fn round(&mut self) -> engine::Result<Round> {
        let new = self.home.is_none();
        let home = match &mut self.home {
            Some(home) => home,
            none => none.insert(self.factory.open(Arc::default())?),
        };
        let mut desk = home.desk().await?;
        if new {
            self.store.give_back(&mut *desk, self.began).await?;
            self.began = true;
        }
        let taken = self.store.take(&mut *desk, self.taken).await?;
        drop(desk);
        if taken.is_empty() {
            return Ok(Round { tried: 0, delivered: 0 });
        }
        let tried = taken.len();
        let (mut outcomes, mut compensated) = (Vec::with_capacity(tried), Vec::new());
        for (message, answer) in self.send(taken).await {
            match self.judge(&message, answer) {
                Outcome::Refused(reason) if message.0.compensation.is_some() => compensated.push((message, reason)),
                outcome => outcomes.push((message, outcome)),
            }
        }
        let mut delivered = self.settle(&outcomes).await?;
        for (message, reason) in compensated {
            delivered += self.compensate(message, reason).await?;
        }
        self.taken = (self.taken * 2).min(TAKEN_MAX);
        Ok(Round { tried, delivered })
    }

    /// Writes down what became of messages; how many of them were delivered.
    async fn settle(&mut self, outcomes: &[(Message, Outcome)]) -> engine::Result<u64> {
        if outcomes.is_empty() {
            return Ok(0);
        }
        let home = self.home.as_mut().expect("a round has a session");
        self.store.settle(&mut *home.desk().await?, outcomes).await?;
        let count =
            |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, outcome)| wanted(outcome)).count() as u64;
        let delivered = count(|outcome| matches!(outcome, Outcome::Delivered));
        self.counts.delivered.fetch_add(delivered, Ordering::SeqCst);
        self.counts.refused.fetch_add(count(|outcome| matches!(outcome, Outcome::Refused(_))), Ordering::SeqCst);
        Ok(delivered)
    }

    /// Takes back what belongs to a message that was refused for good; where that fails for good, too, a person has to look.
    async fn compensate(&mut self, message: Message, reason: String) -> engine::Result<u64> {
        let home = self.home.as_mut().expect("a round has a session");
        let mut desk = home.desk().await?;
        let done = self.store.compensate(&mut *desk, &message, &reason).await;
        drop(desk);
        match done {
            Ok(()) => {
                self.counts.refused.fetch_add(1, Ordering::SeqCst);
                Ok(0)
            }
            Err(error) if error.kind() == engine::Kind::Unavailable || error.code() == engine::codes::OF0911 => {
                Err(error)
            }
            Err(error) => {
                let reason = format!("{reason}; and its compensation failed: {error}");
                self.settle(&[(message, Outcome::Refused(reason))]).await
            }
        }
    }

    /// Sends messages: those of a key one after the other up to the first failure, keys beside each other.
    async fn send(&self, messages: Vec<Message>) -> Vec<(Message, Option<Result<(), Undelivered>>)> {
        let mut keys: BTreeMap<(String, String), Vec<Message>> = BTreeMap::new();
        for message in messages {
            keys.entry((message.0.channel.clone(), message.key().to_owned())).or_default().push(message);
        }
        let began = Instant::now();
        let sent = stream::iter(keys).map(|((name, _), messages)| {
            let channel = self.store.channels.get(&name);
            async move {
                let (mut sent, mut blocked) = (Vec::with_capacity(messages.len()), false);
                for message in messages {
                    let answer = match channel {
                        Some(channel) if !blocked && began.elapsed() < ROUND_MAX => {
                            Some(channel.attempt(&message).await)
                        }
                        _ => None,
                    };
                    // Behind a message that was refused for good the next one may go.
                    blocked |= !matches!(answer, Some(Ok(()) | Err(Undelivered::Never(_))));
                    sent.push((message, answer));
                }
                sent
            }
        });
        sent.buffer_unordered(KEYS_AT_ONCE).collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    /// What an answer means.
    fn judge(&self, message: &Message, answer: Option<Result<(), Undelivered>>) -> Outcome {
        let Some(channel) = self.store.channels.get(&message.0.channel) else { return Outcome::Untried };
        let reason = match answer {
            None => return Outcome::Untried,
            Some(Ok(())) => return Outcome::Delivered,
            Some(Err(Undelivered::Later(reason, wait))) if message.attempt() < channel.attempts => {
                let pause = channel.pause(message.attempt()).max(wait.unwrap_or_default());
                let due_at = store::now().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)).max(1);
                tracing::debug!("{} is tried again in {pause:?}: {reason}", message.idempotency_key());
                return Outcome::Later { reason, due_at };
            }
            Some(Err(Undelivered::Later(reason, _))) => {
                format!("given up after {} attempts: {reason}", message.attempt())
            }
            Some(Err(Undelivered::Never(reason))) => reason,
        };
        tracing::warn!("{} is refused: {reason}", message.idempotency_key());
        Outcome::Refused(reason)
    }
}
