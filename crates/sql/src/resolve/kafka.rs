//! `'connector' = 'kafka'`: what is read of which topics.

use crate::options::Reader;
use onceflow::source::SourceFactory;
use std::sync::Arc;

#[cfg(not(feature = "kafka"))]
pub(super) fn factory(reader: &mut Reader<'_>) -> Option<Arc<dyn SourceFactory>> {
    reader.prefixed("");
    let place = reader.table.options.get("connector").map_or(&reader.table.place, |value| &value.place);
    reader.findings.errors.push(super::connect::lacking("kafka").at(place));
    None
}

#[cfg(feature = "kafka")]
pub(super) use present::factory;

#[cfg(feature = "kafka")]
mod present {
    use super::{Arc, Reader, SourceFactory};
    use crate::model::Value;
    use crate::options::{value, wrong_value};
    use onceflow::codes::{OF0224, OF0227, OF0228};
    use onceflow::core::Position;
    use onceflow::source::kafka::{
        Bounded, DISCOVERY_INTERVAL, KafkaFactory, KafkaSpec, Property, PropertyError, Reset, Startup, Topics,
        translate_properties,
    };
    use onceflow::{Error, Place};
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// The source, or errors.
    pub(in super::super) fn factory(reader: &mut Reader<'_>) -> Option<Arc<dyn SourceFactory>> {
        let errors = reader.findings.errors.len();
        let mut properties = reader.prefixed("properties.");
        let topics = topics(reader);
        let startup = startup(reader, &mut properties);
        let bounded = bounded(reader);
        let discovery_interval = discovery(reader);
        if !properties.contains_key("bootstrap.servers") {
            reader.missing("properties.bootstrap.servers", "localhost:9092");
        }
        if reader.findings.errors.len() > errors {
            return None;
        }
        let spec = KafkaSpec {
            name: Arc::clone(&reader.table.name),
            topics: topics?,
            properties: properties.iter().map(|(key, value)| (key.clone(), property(value))).collect(),
            startup: startup?,
            bounded: bounded?,
            discovery_interval,
        };
        build(reader, spec, &properties)
    }

    fn property(value: &Value) -> Property {
        if value.secret { Property::secret(value.text.clone()) } else { Property::plain(value.text.clone()) }
    }

    fn build(
        reader: &mut Reader<'_>,
        spec: KafkaSpec,
        properties: &BTreeMap<String, Value>,
    ) -> Option<Arc<dyn SourceFactory>> {
        if let Err(PropertyError { key, error }) = translate_properties(&spec.properties) {
            let place = properties.get(&key).map_or(&reader.table.place, |value| &value.place);
            reader.findings.errors.push(error.at(place));
            return None;
        }
        let place = blamed(reader, &spec);
        match KafkaFactory::new(spec) {
            Ok(factory) => {
                for warning in factory.warnings() {
                    let error =
                        Error::config(OF0227, format!("the option 'properties.{}' has no effect here", warning.key));
                    let place = properties.get(&warning.key).map_or(&reader.table.place, |value| &value.key_place);
                    reader.findings.warnings.push(error.at(place).note(warning.why.clone()));
                }
                Some(Arc::new(factory))
            }
            Err(error) => {
                reader.findings.errors.push(error.at(&place));
                None
            }
        }
    }

    /// What is to blame where the whole is refused: the pattern, or the table.
    fn blamed(reader: &Reader<'_>, spec: &KafkaSpec) -> Place {
        let key = if matches!(spec.topics, Topics::Pattern(_)) { "topic-pattern" } else { "scan.startup.mode" };
        reader.table.options.get(key).map_or_else(|| reader.table.place.clone(), |value| value.place.clone())
    }

    fn topics(reader: &mut Reader<'_>) -> Option<Topics> {
        match (reader.value("topic"), reader.value("topic-pattern")) {
            (Some(_), Some(pattern)) => {
                reader.contradiction(
                    "'topic' and 'topic-pattern' exclude each other",
                    &pattern.key_place,
                    "remove one of them",
                );
                None
            }
            (None, Some(pattern)) => Some(Topics::Pattern(pattern.text)),
            (Some(topics), None) => list(reader, &topics),
            (None, None) => {
                reader.missing("topic", "orders");
                None
            }
        }
    }

    fn list(reader: &mut Reader<'_>, value: &Value) -> Option<Topics> {
        let topics: Vec<String> =
            value.text.split(';').map(|topic| topic.trim().to_owned()).filter(|topic| !topic.is_empty()).collect();
        let legal = |topic: &String| {
            topic.len() <= 249 && topic.chars().all(|ch| ch.is_ascii_alphanumeric() || matches!(ch, '.' | '_' | '-'))
        };
        if topics.is_empty() || !topics.iter().all(legal) {
            let error = wrong_value("topic", value, "names of topics: a;b");
            let comma = value.text.contains(',');
            reader.findings.errors.push(if comma {
                error.help("separate topics with semicolons: 'a;b'")
            } else {
                error
            });
            return None;
        }
        Some(Topics::List(topics))
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Mode {
        Earliest,
        Latest,
        Group,
        Timestamp,
        Specific,
        Unbounded,
    }

    const STARTUP: &[(&str, Mode)] = &[
        ("earliest-offset", Mode::Earliest),
        ("latest-offset", Mode::Latest),
        ("group-offsets", Mode::Group),
        ("timestamp", Mode::Timestamp),
        ("specific-offsets", Mode::Specific),
    ];
    const BOUNDED: &[(&str, Mode)] = &[
        ("unbounded", Mode::Unbounded),
        ("latest-offset", Mode::Latest),
        ("group-offsets", Mode::Group),
        ("timestamp", Mode::Timestamp),
        ("specific-offsets", Mode::Specific),
    ];

    fn startup(reader: &mut Reader<'_>, properties: &mut BTreeMap<String, Value>) -> Option<Startup> {
        let mode = startup_mode(reader, properties)?;
        match mode {
            Mode::Group => Some(Startup::GroupOffsets { reset: reset(reader, properties)? }),
            Mode::Timestamp => timestamp(reader, "scan.startup").map(Startup::Timestamp),
            Mode::Specific => specific(reader, "scan.startup").map(Startup::Specific),
            Mode::Latest => Some(Startup::Latest),
            Mode::Earliest | Mode::Unbounded => Some(Startup::Earliest),
        }
    }

    /// Flink's default is `group-offsets`, which says nothing without a group.
    fn startup_mode(reader: &mut Reader<'_>, properties: &BTreeMap<String, Value>) -> Option<Mode> {
        const KEY: &str = "scan.startup.mode";
        let Some(value) = reader.value(KEY) else {
            if properties.contains_key("group.id") {
                return Some(Mode::Group);
            }
            let error = Error::config(OF0224, format!("the table {} does not say where to begin", reader.table.name));
            let error =
                error.at(&reader.table.place).note("Flink's default, 'group-offsets', needs 'properties.group.id'");
            reader.findings.errors.push(error.help("add 'scan.startup.mode' = 'earliest-offset' to WITH (…)"));
            return None;
        };
        let short = [("earliest", Mode::Earliest), ("latest", Mode::Latest), ("group", Mode::Group)];
        if let Some((word, mode)) = short.iter().find(|(word, _)| *word == value.text.trim()) {
            let full = STARTUP.iter().find(|(_, full)| full == mode).map_or("", |(full, _)| *full);
            let warning = Error::config(OF0228, format!("'{word}' is understood as '{full}'")).at(&value.place);
            reader.findings.warnings.push(warning.help(format!("write '{KEY}' = '{full}'")));
            return Some(*mode);
        }
        reader.word(KEY, STARTUP)
    }

    /// `auto.offset.reset` is what `group-offsets` does without a committed offset; the outer `None` is an error.
    #[allow(clippy::option_option)] // Absent, present and wrong are three things.
    fn reset(reader: &mut Reader<'_>, properties: &mut BTreeMap<String, Value>) -> Option<Option<Reset>> {
        let Some(value) = properties.remove("auto.offset.reset") else { return Some(None) };
        match value.text.trim() {
            "earliest" => Some(Some(Reset::Earliest)),
            "latest" => Some(Some(Reset::Latest)),
            "none" => Some(None),
            _ => {
                let error = wrong_value("properties.auto.offset.reset", &value, "one of earliest, latest, none");
                reader.findings.errors.push(error);
                None
            }
        }
    }

    fn bounded(reader: &mut Reader<'_>) -> Option<Bounded> {
        if !reader.has("scan.bounded.mode") {
            return Some(Bounded::Unbounded);
        }
        match reader.word("scan.bounded.mode", BOUNDED)? {
            Mode::Latest => Some(Bounded::Latest),
            Mode::Group => Some(Bounded::GroupOffsets),
            Mode::Timestamp => timestamp(reader, "scan.bounded").map(Bounded::Timestamp),
            Mode::Specific => specific(reader, "scan.bounded").map(Bounded::Specific),
            Mode::Unbounded | Mode::Earliest => Some(Bounded::Unbounded),
        }
    }

    fn timestamp(reader: &mut Reader<'_>, prefix: &str) -> Option<i64> {
        let key = format!("{prefix}.timestamp-millis");
        if !reader.has(&key) {
            reader.missing(&key, "1700000000000");
            return None;
        }
        let millis = |text: &str| value::signed(text).filter(|millis| *millis >= 0);
        reader.parsed(&key, "milliseconds since 1970", millis)
    }

    fn specific(reader: &mut Reader<'_>, prefix: &str) -> Option<BTreeMap<u32, Position>> {
        let key = format!("{prefix}.specific-offsets");
        let example = "partition:0,offset:42;partition:1,offset:300";
        if !reader.has(&key) {
            reader.missing(&key, example);
            return None;
        }
        reader.parsed(&key, example, offsets)
    }

    fn offsets(text: &str) -> Option<BTreeMap<u32, Position>> {
        let mut found = BTreeMap::new();
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (partition, offset) = pair.split_once(',')?;
            let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
            let offset: i64 = offset.trim().strip_prefix("offset:")?.trim().parse().ok()?;
            if found.insert(partition, Position::from_signed(offset)?).is_some() {
                return None;
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// The interval; `None` for never.
    fn discovery(reader: &mut Reader<'_>) -> Option<Duration> {
        let key = "scan.topic-partition-discovery.interval";
        if !reader.has(key) {
            return Some(DISCOVERY_INTERVAL);
        }
        reader.duration(key).filter(|interval| !interval.is_zero())
    }
}
