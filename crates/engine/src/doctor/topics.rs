//! Causes 2 and 4: what the brokers keep, how safely, and what an open transaction of a producer holds back.

use super::check::{Check, ask};
use crate::source::TopicFacts;
use onceflow_core::{Partition, Position};
use std::collections::BTreeMap;

/// Retention below this leaves no night to notice that a pipeline stands still.
const RETENTION_HOURS_MIN: u64 = 24;

/// Judges a topic. `ends` are the positions up to which a committed reader sees.
pub(super) fn judge(facts: &TopicFacts, ends: &BTreeMap<Partition, Position>) -> Vec<Check> {
    vec![compaction(facts), retention(facts), elections(facts), replicas(facts), open_transactions(facts, ends)]
}

fn setting<'a>(facts: &'a TopicFacts, name: &str) -> &'a str {
    facts.settings.get(name).map_or("", String::as_str)
}

fn describe(facts: &TopicFacts) -> String {
    let TopicFacts { topic, servers, .. } = facts;
    format!("kafka-configs.sh --bootstrap-server {servers} --describe --all --entity-type topics --entity-name {topic}")
}

fn alter(facts: &TopicFacts, setting: &str) -> String {
    let TopicFacts { topic, servers, .. } = facts;
    format!(
        "kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} --add-config {setting}"
    )
}

fn compaction(facts: &TopicFacts) -> Check {
    let (topic, policy) = (&facts.topic, setting(facts, "cleanup.policy"));
    let ask = ask(2, "compaction", topic, describe(facts));
    let seen = format!("cleanup.policy = {policy}");
    if !policy.contains("compact") {
        return ask.ok(seen, "no record is taken out of the middle of the log");
    }
    ask.warning(
        seen,
        "for appends and sums: a record that a newer one with its key replaces before it is read is never seen. An upsert by \
         that key is not harmed",
        "declare the target with PRIMARY KEY on the record's key, so that it is upserted",
        "the newest record of each key is never taken out, and it is all that an upsert needs",
    )
}

fn retention(facts: &TopicFacts) -> Check {
    let topic = &facts.topic;
    let ask = ask(2, "retention", topic, describe(facts));
    let (time, bytes) = (setting(facts, "retention.ms"), setting(facts, "retention.bytes"));
    let hours = time.parse::<u64>().ok().map(|ms| ms / 3_600_000);
    let seen = match hours {
        Some(hours) => format!("retention.ms = {time} ({hours} h), retention.bytes = {bytes}"),
        None => format!("retention.ms = {time}, retention.bytes = {bytes}"),
    };
    if hours.is_none_or(|hours| hours >= RETENTION_HOURS_MIN) {
        return ask.ok(seen, "a pipeline that stands still for a day loses nothing by time");
    }
    ask.warning(
        seen,
        "when the pipeline stands still for longer: what expired before it was read is lost, and the next start says so",
        alter(facts, "retention.ms=604800000"),
        "a week leaves time to mend whatever stopped the pipeline",
    )
}

fn elections(facts: &TopicFacts) -> Check {
    let topic = &facts.topic;
    let ask = ask(2, "unclean-elections", topic, describe(facts));
    let seen = format!("unclean.leader.election.enable = {}", setting(facts, "unclean.leader.election.enable"));
    if setting(facts, "unclean.leader.election.enable") != "true" {
        return ask.ok(seen, "only a replica with all acknowledged records may lead");
    }
    ask.warning(
        seen,
        "yes: a replica that lags may become leader, and offsets that were read then hold other records; Onceflow stops there",
        alter(facts, "unclean.leader.election.enable=false"),
        "a partition then waits for a replica that has everything",
    )
}

fn replicas(facts: &TopicFacts) -> Check {
    let topic = &facts.topic;
    let ask = ask(
        2,
        "replication",
        topic,
        format!("kafka-topics.sh --bootstrap-server {} --describe --topic {topic}", facts.servers),
    );
    let least = facts.partitions.iter().map(|(replicas, _)| *replicas).min().unwrap_or(0);
    let behind = facts.partitions.iter().filter(|(replicas, in_sync)| in_sync < replicas).count();
    let needed = setting(facts, "min.insync.replicas");
    let seen = format!(
        "{} partitions, at least {least} replicas each, {behind} partitions with replicas that are not in sync, \
         min.insync.replicas = {needed}",
        facts.partitions.len()
    );
    if least >= 2 && behind == 0 && needed.parse::<u32>().is_ok_and(|needed| needed >= 2) {
        return ask.ok(seen, "a record that a producer with acks=all was promised is on two brokers");
    }
    ask.warning(
        seen,
        "only when a broker's disk is lost: records that were acknowledged may be gone, and Onceflow stops there",
        match (least, behind) {
            (0..=2, _) => format!("kafka-reassign-partitions.sh --bootstrap-server {} --execute …", facts.servers),
            (_, 0) => alter(facts, "min.insync.replicas=2"),
            _ => format!("kafka-topics.sh --bootstrap-server {} --describe --under-replicated-partitions", facts.servers),
        },
        "with three replicas in sync, min.insync.replicas=2 and acks=all, one broker may be lost with all that it had. Fewer \
         than three replicas first need more; a higher min.insync.replicas alone would stop their producers",
    )
}

fn open_transactions(facts: &TopicFacts, ends: &BTreeMap<Partition, Position>) -> Check {
    let topic = &facts.topic;
    let how = "the last stable offset against the high watermark of each partition";
    let ask = ask(4, "open-transactions", topic, how);
    let end =
        |number: u32| ends.iter().find(|(p, _)| *p.topic == **topic && p.number == number).map(|(_, end)| end.get());
    let held = facts.high.iter().filter_map(|(number, high)| {
        let held = high.saturating_sub(end(*number)?);
        (held > 0).then(|| (*number, format!("{topic}/{number}: {held} offsets")))
    });
    let held: Vec<(u32, String)> = held.collect();
    let Some(first) = held.first().map(|(number, _)| *number) else {
        return ask.ok("no transaction of a producer holds records back", "all that was produced can be read");
    };
    ask.warning(
        held.into_iter().map(|(_, said)| said).collect::<Vec<_>>().join("; "),
        "no record is lost or repeated: they are read once the transaction ends, and nothing after them before. One that stays \
         open stops the partition",
        format!("kafka-transactions.sh --bootstrap-server {} describe-producers --topic {topic} --partition {first}", facts.servers),
        "it shows who holds it; `kafka-transactions.sh abort` ends one whose producer is gone",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn facts(settings: &[(&str, &str)], partitions: &[(usize, usize)]) -> TopicFacts {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let high = BTreeMap::from([(0, 10)]);
        TopicFacts {
            topic: "t".to_owned(),
            servers: "b:9092".to_owned(),
            settings,
            partitions: partitions.to_vec(),
            high,
        }
    }

    #[test]
    fn settings_that_lose_records_are_warned_of() {
        let faulty = [
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "60000"),
            ("unclean.leader.election.enable", "true"),
        ];
        let sound = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("unclean.leader.election.enable", "false")];
        for (settings, status) in [(faulty, Status::Warning), (sound, Status::Ok)] {
            let facts = facts(&settings, &[]);
            for check in [compaction(&facts), retention(&facts), elections(&facts)] {
                assert_eq!(check.status, status, "{check:?}");
            }
        }
    }

    #[test]
    fn one_copy_or_a_lagging_copy_is_a_warning() {
        let two = [("min.insync.replicas", "2")];
        assert_eq!(replicas(&facts(&two, &[(3, 3)])).status, Status::Ok);
        assert_eq!(replicas(&facts(&two, &[(3, 3), (3, 2)])).status, Status::Warning);
        assert_eq!(replicas(&facts(&[("min.insync.replicas", "1")], &[(1, 1)])).status, Status::Warning);
    }

    #[test]
    fn an_open_transaction_holds_records_back() {
        let at = |end| BTreeMap::from([(Partition::new("s", "t", 0), Position::new(end))]);
        assert_eq!(open_transactions(&facts(&[], &[]), &at(7)).status, Status::Warning);
        assert_eq!(open_transactions(&facts(&[], &[]), &at(10)).status, Status::Ok);
    }
}
