//! A pipeline from its name to its run.

use crate::calling::{Fuse, Terms};
use crate::error::Result;
use crate::flow::Reading;
use crate::handle::{Handle, Report};
use crate::into::Target;
use crate::outbox::Channel;
use crate::sources::Source;
use onceflow_engine as engine;
use onceflow_engine::changes::TableSpec;
use onceflow_engine::core::Fingerprint;
use onceflow_engine::home::HomeFactory;
use onceflow_engine::logic::LogicFactory;
use onceflow_engine::pipeline::{Branch, Settings};
use onceflow_engine::user_code::UserCodeFactory;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Records of an epoch where nothing else is said: a handler sends statements for each of them, and what it holds locked is held until
/// the commit.
const ROWS_MAX: usize = 2_000;

/// How often in a row a handler may ask for another try, where nothing else is said.
const RETRIES: u32 = 10;

/// The beginning of a pipeline: its name, and what is chosen for it.
#[derive(Clone, Debug)]
pub struct Pipeline(Choices);

#[derive(Clone, Debug)]
pub(crate) struct Choices {
    name: String,
    version: String,
    settings: Settings,
    retries: u32,
    adopt: bool,
}

impl Pipeline {
    /// A pipeline with this name. The ledger keeps positions under it: two programs with one name and home are two instances of one
    /// pipeline, of which the newer one owns it.
    pub fn new(name: impl Into<String>) -> Self {
        let settings = Settings::default();
        Self(Choices { name: name.into(), version: String::new(), settings, retries: RETRIES, adopt: false })
    }

    /// A version of your logic, such as your crate's: a change of it is recorded in the ledger as an event.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.0.version = version.into();
        self
    }

    /// A transaction holds at most so many records. Where nothing is said, 2,000 with a closure, and as many as have come with tables.
    pub fn epoch_rows_max(mut self, rows: usize) -> Self {
        self.0.settings.epoch_rows_max = Some(rows.max(1));
        self
    }

    /// A transaction is held open so long for more records; where nothing is said it takes what has come.
    pub fn epoch_interval(mut self, interval: Duration) -> Self {
        self.0.settings.epoch_interval_max = Some(interval);
        self
    }

    /// So many threads, each with a session and partitions of its own; 1 where nothing is said.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.0.settings.lanes = lanes.max(1);
        self
    }

    /// Stops where the pipeline has more dead letters than this.
    pub fn dead_letters_max(mut self, most: u64) -> Self {
        self.0.settings.dead_letters_max = Some(most);
        self
    }

    /// How often in a row a handler may ask for another try ([`Error::retry`](crate::Error::retry)); 10 where nothing is said.
    pub fn retries(mut self, retries: u32) -> Self {
        self.0.retries = retries;
        self
    }

    /// Accepts rows that are in a target table before the ledger's first commit: [`Writing::append_into`](crate::Writing::append_into) and the
    /// like refuse such a table, since nothing says whose rows they are.
    pub fn adopt(mut self) -> Self {
        self.0.adopt = true;
        self
    }

    /// A whole pipeline in SQL, as a `.sql` file has it, with its sources, tables and settings; `${NAME}` is looked up in the environment.
    /// It is named by `SET 'pipeline.name' = '…'`. Warnings go to `tracing`.
    ///
    /// ```no_run
    /// # use onceflow::prelude::*;
    /// # async fn f() -> onceflow::Result<()> {
    /// Pipeline::sql(include_str!("../../../examples/balance.sql"))?.run().await
    /// # }
    /// ```
    #[cfg(feature = "sql")]
    pub fn sql(text: &str) -> Result<Ready> {
        let lookup = |name: &str| std::env::var(name).ok();
        let compiled = onceflow_sql::compile("<sql>", text, &lookup, &onceflow_sql::CompileOptions::default());
        let pipeline = compiled.map_err(|errors| {
            // All of them: each says where in the text.
            let mut errors = errors.into_iter();
            let first = errors.next().unwrap_or_else(|| engine::Error::internal("a text was refused without a reason"));
            errors.fold(first, |first, more| first.note(format!("and {}: {more}", more.code())))
        })?;
        pipeline.warnings.iter().for_each(|warning| tracing::warn!("{}: {warning}", warning.code()));
        let nothing = || engine::Error::config(engine::codes::OF0209, "the text writes nothing");
        let branch = pipeline.branches.first().ok_or_else(nothing)?;
        let (source, home) = (branch.sources.first().cloned().ok_or_else(nothing)?, branch.home.clone());
        let choices = Self::new(&pipeline.name).0;
        Ok(Ready::new(choices, source.into(), Ok(home), Writes::Whole(Box::new(pipeline))))
    }

    /// Where records come from.
    pub fn read(self, source: impl Into<Source>) -> Reading {
        Reading { choices: self.0, source: source.into() }
    }
}

/// Who writes, and of what.
pub(crate) enum Writes {
    /// The user's handler.
    Code {
        /// Carries values to it.
        logic: Arc<dyn LogicFactory>,
        /// Makes it.
        handler: Box<dyn FnOnce(Terms) -> Arc<dyn UserCodeFactory> + Send>,
    },
    /// The engine, rows of a table.
    Rows {
        /// The table, as far as the code says.
        target: Target,
        /// Makes rows of values, once the table's columns are known.
        logic: Box<dyn FnOnce(Arc<TableSpec>) -> Arc<dyn LogicFactory> + Send>,
    },
    /// A text says everything.
    #[cfg(feature = "sql")]
    Whole(Box<engine::pipeline::Pipeline>),
}

/// A pipeline that is complete.
pub struct Ready {
    choices: Choices,
    source: Source,
    home: engine::Result<Arc<dyn HomeFactory>>,
    writes: Writes,
    pub(crate) until_caught_up: bool,
    pub(crate) standby: bool,
    pub(crate) retry_for: Option<Duration>,
    pub(crate) fuse: Option<Arc<Fuse>>,
    pub(crate) channels: BTreeMap<String, Channel>,
}

impl Ready {
    pub(crate) fn new(
        choices: Choices,
        source: Source,
        home: engine::Result<Arc<dyn HomeFactory>>,
        writes: Writes,
    ) -> Self {
        Self {
            choices,
            source,
            home,
            writes,
            until_caught_up: false,
            standby: false,
            retry_for: None,
            fuse: None,
            channels: BTreeMap::new(),
        }
    }

    /// Where messages of [`Tx::outbox`](crate::Tx::outbox) for this name go: `.channel("mail", Http::post("https://…"))`, a
    /// [`Kafka`](crate::Kafka) topic, or your own code by [`Channel::of`].
    pub fn channel(mut self, name: impl Into<String>, channel: impl Into<Channel>) -> Self {
        self.channels.insert(name.into(), channel.into());
        self
    }

    /// Ends when everything is committed that was there at the start. Files that are not followed end by themselves.
    pub fn until_caught_up(mut self) -> Self {
        self.until_caught_up = true;
        self
    }

    /// Waits until no other instance of the pipeline is there, instead of taking it over.
    pub fn standby(mut self) -> Self {
        self.standby = true;
        self
    }

    /// Gives up where a system does not work again within this time; it is tried for ever where nothing is said.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = Some(time);
        self
    }

    /// Runs the pipeline until its source ends, SIGINT or SIGTERM comes, or something fails that trying again does not mend. A second
    /// signal ends the process at once; nothing is lost by that.
    ///
    /// Works inside any tokio runtime: the pipeline has threads of its own.
    pub async fn run(self) -> Result<()> {
        let mut handle = self.start()?;
        let mut signals = crate::handle::Signals::listen();
        let mut heard = 0;
        loop {
            tokio::select! {
                ended = handle.ended() => return ended.map(|_: Report| ()),
                number = signals.next() => {
                    heard += 1;
                    handle.wish();
                    if heard > 1 {
                        // As a shell reports it; what was not committed is read again.
                        std::process::exit(128 + number);
                    }
                }
            }
        }
    }

    /// Starts the pipeline on threads of its own, and returns at once. An error where source, home or a choice are wrong in themselves.
    pub fn start(self) -> Result<Handle> {
        Handle::start(self)
    }

    /// Makes several transactions of few records, for tests.
    #[cfg(feature = "sqlite")]
    pub(crate) fn split(&mut self, rows: usize) {
        let most = self.choices.settings.epoch_rows_max.unwrap_or(rows);
        self.choices.settings.epoch_rows_max = Some(rows.min(most));
    }

    /// What it is run with. An error where something is wrong in itself; no system is asked yet.
    pub(crate) fn choose(self) -> Result<Chosen> {
        let (source, home) = (self.source.0?, self.home?);
        check_name(&self.choices.name)?;
        if let Some((name, mistake)) = self.channels.iter().find_map(|(name, channel)| Some((name, channel.mistake()?)))
        {
            let error =
                engine::Error::config(engine::codes::OF1012, format!("the channel {name} cannot be used: {mistake}"));
            return Err(error.into());
        }
        #[cfg(feature = "sql")]
        if let (Writes::Whole(_), Some(name)) = (&self.writes, self.channels.keys().next()) {
            let error = engine::Error::config(
                engine::codes::OF1012,
                format!("the channel {name} has nobody who writes for it"),
            );
            return Err(error
                .note("a pipeline in SQL writes no messages; they come from tx.outbox(..) in a closure")
                .into());
        }
        Ok(Chosen {
            until_caught_up: self.until_caught_up,
            standby: self.standby,
            retry_for: self.retry_for,
            fuse: self.fuse,
            channels: Arc::new(self.channels),
            choices: self.choices,
            writes: self.writes,
            source,
            home,
        })
    }
}

/// What a pipeline is run with.
pub(crate) struct Chosen {
    pub(crate) until_caught_up: bool,
    pub(crate) standby: bool,
    pub(crate) retry_for: Option<Duration>,
    pub(crate) source: Arc<dyn engine::source::SourceFactory>,
    pub(crate) home: Arc<dyn HomeFactory>,
    pub(crate) channels: Arc<BTreeMap<String, Channel>>,
    choices: Choices,
    writes: Writes,
    fuse: Option<Arc<Fuse>>,
}

impl Chosen {
    pub(crate) fn name(&self) -> &str {
        &self.choices.name
    }

    pub(crate) fn adopt(&self) -> bool {
        self.choices.adopt
    }

    /// Everything that is read.
    pub(crate) fn sources(&self) -> Vec<Arc<dyn engine::source::SourceFactory>> {
        match &self.writes {
            #[cfg(feature = "sql")]
            Writes::Whole(pipeline) => pipeline.branches.iter().flat_map(|branch| branch.sources.clone()).collect(),
            _ => vec![self.source.clone()],
        }
    }

    /// The table whose columns have to be looked up before it can run.
    pub(crate) fn target(&self) -> Option<&Target> {
        if let Writes::Rows { target, .. } = &self.writes { Some(target) } else { None }
    }

    /// The engine's pipeline, with the table that was looked up.
    pub(crate) fn build(self, table: Option<TableSpec>) -> engine::pipeline::Pipeline {
        let Self { source, home, channels, mut choices, writes, fuse, .. } = self;
        let read = format!("{}: {}", source.name(), source.wiring());
        let (tables, logic, user_code, wiring) = match writes {
            #[cfg(feature = "sql")]
            Writes::Whole(pipeline) => return *pipeline,
            Writes::Code { logic, handler } => {
                choices.settings.epoch_rows_max.get_or_insert(ROWS_MAX);
                let terms = Terms {
                    retries: choices.retries,
                    fuse,
                    pipeline: choices.name.as_str().into(),
                    channels: Arc::new(channels.keys().cloned().collect()),
                };
                (Vec::new(), logic, Some(handler(terms)), format!("{read} -> your code"))
            }
            Writes::Rows { logic, .. } => {
                let table = table.expect("a table is looked up before it is written");
                let wiring = format!("{read} -> {}", table.target());
                (vec![table.clone()], logic(Arc::new(table)), None, wiring)
            }
        };
        let branch = Branch {
            home,
            sources: vec![source],
            tables: Arc::new(tables),
            logic,
            user_code,
            wiring,
            operators: Vec::new(),
        };
        let fingerprint = Fingerprint::of_record(0, None, None, Some(choices.version.as_bytes())).to_string();
        engine::pipeline::Pipeline {
            name: choices.name,
            fingerprint,
            settings: choices.settings,
            branches: vec![branch],
            warnings: Vec::new(),
        }
    }
}

/// Stricter than `SET 'pipeline.name'`, which any text of 200 characters passes: a name in code is seldom meant to be a sentence.
fn check_name(name: &str) -> Result<()> {
    let legal = !name.is_empty()
        && name.len() <= 100
        && name.chars().all(|ch| ch.is_ascii_alphanumeric() || matches!(ch, '.' | '_' | '-'));
    if legal {
        return Ok(());
    }
    let error = engine::Error::config(engine::codes::OF1008, format!("the pipeline's name is '{name}'"));
    Err(error.help("a name has 1 to 100 letters, digits, dots, hyphens and underscores").into())
}
