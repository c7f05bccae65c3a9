//! Where everything happens: servers, folder, programs, and the records that several sections share.

use crate::broker::Broker;
use crate::failure::{Doing, Failure, Result};
use crate::figures::{Figures, Sample};
use crate::postgres::Server;
use crate::rows::Rows;
use crate::settings::{Services, Settings};
use std::cell::{Cell, OnceCell};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Servers, folder, programs.
pub struct Place {
    /// What was asked for.
    pub settings: Settings,
    /// PostgreSQL.
    pub server: Server,
    /// Kafka.
    pub broker: Broker,
    /// The records that most sections read.
    pub records: Records,
    /// A tenth of them, for what goes slowly.
    pub tenth: Records,
    folder: tempfile::TempDir,
    counter: Cell<u32>,
}

impl Place {
    /// Everything that is needed, and no records yet.
    pub fn new(mut settings: Settings, services: Services) -> Result<Self> {
        std::fs::create_dir_all(&settings.scratch).doing(settings.scratch.display())?;
        let folder = tempfile::Builder::new().prefix("bench.").tempdir_in(&settings.scratch)?;
        let folder_path = folder.path().canonicalize()?;
        settings.binary = settings.binary.canonicalize().doing(settings.binary.display())?;
        let broker = Broker { servers: services.kafka };
        let rows = Rows::payments(settings.seed, settings.rows(), usize::try_from(settings.payload)?);
        let (partitions, quick) = (settings.partitions, settings.quick);
        let make = |name, rows| Records::new(name, rows, partitions, &broker, &folder_path);
        let (records, tenth) = (
            make("records", rows),
            make("tenth", rows.first((rows.count / 10).min(if quick { 20_000 } else { 200_000 }))),
        );
        let server = Server::new(services.postgres, services.postgres_bin);
        Ok(Self { server, records, tenth, broker, folder, counter: Cell::new(0), settings })
    }

    /// A path in the folder that nobody has used yet.
    pub fn path(&self, name: &str) -> PathBuf {
        self.counter.set(self.counter.get() + 1);
        self.folder().join(format!("{:03}-{name}", self.counter.get()))
    }

    /// The folder; it is gone at the end.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap_or_else(|_| self.folder.path().to_path_buf())
    }

    /// Records of another kind, for one section.
    pub fn records(&self, name: &str, rows: Rows, partitions: u32) -> Records {
        Records::new(name, rows, partitions, &self.broker, &self.folder())
    }

    /// A topic without records, gone with the value.
    pub fn empty_topic(&self, name: &str, partitions: u32) -> Result<Topic> {
        self.counter.set(self.counter.get() + 1);
        let name = format!("bench-{name}-{}-{}", self.counter.get(), std::process::id());
        self.broker.create(&name, partitions)?;
        Ok(Topic { name, broker: self.broker.clone() })
    }

    /// Measures several things by turns, as often as was asked for: A B A B, so that a ratio is of neighbours in time.
    pub fn by_turns(&self, section: &'static str, figures: &mut Figures, turns: &mut [Turn<'_>]) -> Result<()> {
        for run in 1..=self.settings.runs() {
            for turn in turns.iter_mut() {
                eprintln!("bench: {section}: {} ({run} of {})", turn.name, self.settings.runs());
                figures.add(section, (turn.measure)().doing(turn.name)?);
            }
        }
        Ok(())
    }
}

/// A topic that is deleted with the value.
pub struct Topic {
    /// Its name.
    pub name: String,
    broker: Broker,
}

impl Drop for Topic {
    fn drop(&mut self) {
        if let Err(failure) = self.broker.delete(&self.name) {
            eprintln!("bench: {failure}");
        }
    }
}

/// One thing that is measured.
pub struct Turn<'a> {
    /// Its name, for messages.
    pub name: &'static str,
    /// Measures it once.
    pub measure: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

/// Something to be measured, by name.
pub fn turn<'a>(name: &'static str, measure: impl FnMut() -> Result<Sample> + 'a) -> Turn<'a> {
    Turn { name, measure: Box::new(measure) }
}

/// The same records in every form, each made when it is first asked for.
pub struct Records {
    /// Which ones.
    pub rows: Rows,
    /// Over how many partitions, and files, they are spread.
    pub partitions: u32,
    name: String,
    broker: Broker,
    folder: PathBuf,
    topic: OnceCell<Topic>,
    copy: OnceCell<PathBuf>,
    copy_before: OnceCell<PathBuf>,
    json: OnceCell<PathBuf>,
}

impl Records {
    fn new(name: &str, rows: Rows, partitions: u32, broker: &Broker, folder: &Path) -> Self {
        let (topic, copy, copy_before, json) = (OnceCell::new(), OnceCell::new(), OnceCell::new(), OnceCell::new());
        let (name, broker, folder) = (name.to_owned(), broker.clone(), folder.to_path_buf());
        Self { rows, partitions, name, broker, folder, topic, copy, copy_before, json }
    }

    /// A topic with them.
    pub fn topic(&self) -> Result<&str> {
        let topic = made(&self.topic, || {
            let name = format!("bench-{}-{}", self.name, std::process::id());
            eprintln!("bench: {} records into the topic {name}, {} partitions", self.rows.count, self.partitions);
            self.broker.fill(&name, self.partitions, &self.rows)?;
            Ok(Topic { name, broker: self.broker.clone() })
        });
        topic.map(|topic| topic.name.as_str())
    }

    /// A file in PostgreSQL's binary COPY format with them.
    pub fn copy_file(&self) -> Result<&Path> {
        made(&self.copy, || self.write_copy(self.rows, "rows")).map(PathBuf::as_path)
    }

    /// The same ids with other contents.
    pub fn copy_file_before(&self) -> Result<&Path> {
        made(&self.copy_before, || self.write_copy(self.rows.before(), "before")).map(PathBuf::as_path)
    }

    fn write_copy(&self, rows: Rows, what: &str) -> Result<PathBuf> {
        let path = self.folder.join(format!("{}.{what}.copy", self.name));
        let mut file = std::fs::File::create(&path).doing(path.display())?;
        rows.copy_file(|piece| file.write_all(piece)).doing(path.display())?;
        Ok(path)
    }

    /// A folder with as many JSON files as there are partitions.
    pub fn json_files(&self) -> Result<&Path> {
        let made = made(&self.json, || {
            let folder = self.folder.join(format!("{}.json.d", self.name));
            std::fs::create_dir_all(&folder).doing(folder.display())?;
            for part in 0..u64::from(self.partitions) {
                self.write_json(&folder.join(format!("part-{part:03}.jsonl")), part)?;
            }
            Ok(folder)
        });
        made.map(PathBuf::as_path)
    }

    fn write_json(&self, path: &Path, part: u64) -> Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).doing(path.display())?);
        let mut line = Vec::new();
        for n in (part..self.rows.count).step_by(usize::try_from(self.partitions)?) {
            line.clear();
            self.rows.json(n, &mut line);
            line.push(b'\n');
            file.write_all(&line).doing(path.display())?;
        }
        file.flush().doing(path.display())
    }
}

fn made<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        let value = make()?;
        // It was empty a moment ago, and nobody else has it.
        let _ = cell.set(value);
    }
    cell.get().ok_or_else(|| Failure::new("what was made is gone"))
}
