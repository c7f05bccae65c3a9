//! The first records of a source: fixed positions, found once, and nothing behind them. Tells nobody what was read.

use onceflow::Error;
use onceflow::source::{Fetch, FetchLimits, Found, Mismatch, Source, SourceFactory};
use onceflow_core::{Partition, Position, PositionRow};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The part of a partition that is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The source's name in the pipeline's text.
    pub source: String,
    /// Topic or file.
    pub topic: String,
    /// The partition's number.
    pub number: u32,
    /// The first position.
    pub from: u64,
    /// The position behind the last record.
    pub until: u64,
}

impl Part {
    /// The part as JSON.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "source": self.source, "topic": self.topic, "number": self.number, "from": self.from, "until": self.until
        })
    }

    /// Reads a part.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            source: value["source"].as_str()?.to_owned(),
            topic: value["topic"].as_str()?.to_owned(),
            number: u32::try_from(value["number"].as_u64()?).ok()?,
            from: value["from"].as_u64()?,
            until: value["until"].as_u64()?,
        })
    }

    fn partition(&self) -> Partition {
        Partition::new(self.source.as_str(), self.topic.as_str(), self.number)
    }
}

/// The part of a source that the plan names. A source without any is refused.
pub(super) fn bounded(
    real: Arc<dyn SourceFactory>,
    parts: &[Part],
    wrong: &dyn Fn(&str) -> Error,
) -> Result<Arc<dyn SourceFactory>, Error> {
    let own: BTreeMap<Partition, (Position, Position)> = parts
        .iter()
        .filter(|part| part.source == real.name())
        .map(|part| (part.partition(), (Position::new(part.from), Position::new(part.until))))
        .collect();
    if own.is_empty() {
        return Err(wrong(&format!("it does not say what is read of {}", real.name())));
    }
    Ok(Arc::new(PartFactory { real, parts: Arc::new(own) }))
}

type Ranges = BTreeMap<Partition, (Position, Position)>;

#[derive(Debug)]
struct PartFactory {
    real: Arc<dyn SourceFactory>,
    parts: Arc<Ranges>,
}

impl SourceFactory for PartFactory {
    fn name(&self) -> &str {
        self.real.name()
    }

    fn connector(&self) -> &'static str {
        self.real.connector()
    }

    fn describe(&self) -> String {
        format!("{}, its first records", self.real.describe())
    }

    fn wiring(&self) -> String {
        self.real.wiring()
    }

    fn caveat(&self) -> Option<String> {
        self.real.caveat()
    }

    fn open(&self) -> Result<Box<dyn Source>, Error> {
        Ok(Box::new(PartSource { real: self.real.open()?, parts: self.parts.clone() }))
    }

    fn discovery_interval(&self) -> Option<Duration> {
        None
    }
}

struct PartSource {
    real: Box<dyn Source>,
    parts: Arc<Ranges>,
}

impl PartSource {
    fn each(&self, partitions: &[Partition], pick: impl Fn(&(Position, Position)) -> Position) -> Positions {
        let known = partitions.iter().filter_map(|partition| Some((partition.clone(), self.parts.get(partition)?)));
        known.map(|(partition, range)| (partition, pick(range))).collect()
    }
}

type Positions = BTreeMap<Partition, Position>;

impl Source for PartSource {
    fn discover(&mut self) -> Result<Vec<Found>, Error> {
        let parts = self.parts.clone();
        let found = self.real.discover()?;
        Ok(found.into_iter().filter(|found| parts.contains_key(&found.partition)).collect())
    }

    fn initial(&mut self, partitions: &[Partition]) -> Result<Positions, Error> {
        Ok(self.each(partitions, |range| range.0))
    }

    fn beginnings(&mut self, partitions: &[Partition]) -> Result<Positions, Error> {
        Ok(self.each(partitions, |range| range.0))
    }

    fn ends(&mut self, partitions: &[Partition]) -> Result<Positions, Error> {
        Ok(self.each(partitions, |range| range.1))
    }

    fn bound(&mut self, partitions: &[Partition]) -> Result<Option<Positions>, Error> {
        Ok(Some(self.each(partitions, |range| range.1)))
    }

    fn verify(&mut self, rows: &[PositionRow]) -> Result<Vec<Mismatch>, Error> {
        self.real.verify(rows)
    }

    fn seek(&mut self, from: &[PositionRow], until: &Positions) -> Result<(), Error> {
        let mut until = until.clone();
        for row in from {
            if let Some((_, end)) = self.parts.get(&row.partition) {
                until.entry(row.partition.clone()).and_modify(|until| *until = (*until).min(*end)).or_insert(*end);
            }
        }
        self.real.seek(from, &until)
    }

    fn next(&mut self, limits: &FetchLimits) -> Result<Fetch, Error> {
        self.real.next(limits)
    }

    fn group_positions(&mut self, group: &str, partitions: &[Partition]) -> Result<Positions, Error> {
        self.real.group_positions(group, partitions)
    }

    fn report(&mut self, _: &[(Partition, Position)]) {}
}
