//! `onceflow ledger reset`: an operator decides where partitions go on. Whoever runs the pipeline is fenced, and the choice
//! is recorded with its reason, all in one transaction.

use super::Answer;
use super::at::{At, pipeline_id};
use super::ledger::{event, fence, parse_partition};
use crate::args::Common;
use crate::load;
use crate::talk::{Talk, counted};
use onceflow::home::desk::{Cell, Statement};
use onceflow::pipeline::Branch;
use onceflow::run::on_this_thread;
use onceflow::source::{Found, Source};
use onceflow::{Error, codes};
use onceflow_core::{PipelineId, Position, PositionRow, SourceIdentity};
use onceflow_sql::CompileOptions;
use std::path::Path;

enum To {
    Beginning,
    End,
    Keep,
    Offset(Position),
}

/// Resets partitions of a pipeline.
pub fn run(file: &Path, partitions: &[String], to: &str, reason: &str, common: &Common, talk: &Talk) -> Answer {
    let loaded = load::pipeline(file, common, &CompileOptions::default())?;
    let to = parse_to(to)?;
    for branch in &loaded.pipeline.branches {
        let at = At { home: branch.home.clone(), pipeline: loaded.pipeline.name.clone() };
        let moved = on_this_thread(reset(&at, branch, partitions, &to, reason))??;
        talk.say(&format!("{}: {} decided in {}", at.pipeline, counted(moved, "partition"), at.home.describe()));
    }
    Ok(0)
}

fn parse_to(text: &str) -> Result<To, Error> {
    match text {
        "beginning" => Ok(To::Beginning),
        "end" => Ok(To::End),
        "keep" => Ok(To::Keep),
        number => number.parse().map(|offset| To::Offset(Position::new(offset))).map_err(|_| {
            Error::config(codes::OF0109, format!("--to '{number}' is no place to go on from"))
                .help("write beginning, end, keep, or the offset of the next record to read")
        }),
    }
}

async fn reset(at: &At, branch: &Branch, partitions: &[String], to: &To, reason: &str) -> Result<u64, Error> {
    let mut home = at.open()?;
    let mut desk = home.desk().await?;
    let pipeline = pipeline_id(&mut *desk, &at.pipeline, &at.home.describe()).await?;
    drop(desk);
    let rows = wanted(home.positions(pipeline).await?, partitions)?;
    let mut statements = Vec::new();
    for factory in &branch.sources {
        let mut source = factory.open()?;
        let own: Vec<_> = rows.iter().filter(|row| &*row.partition.source == factory.name()).collect();
        let found = source.discover()?;
        for row in own {
            let (identity, next) = resolve(&mut *source, &found, row, to)?;
            statements.extend(decide(pipeline, row, &identity, next, reason));
        }
    }
    let mut desk = home.desk().await?;
    desk.execute(&statements).await?;
    Ok(rows.len() as u64)
}

fn wanted(rows: Vec<PositionRow>, partitions: &[String]) -> Result<Vec<PositionRow>, Error> {
    if partitions.is_empty() {
        return Ok(rows);
    }
    let mut wanted = Vec::new();
    for text in partitions {
        let (topic, number) = parse_partition(text)?;
        let row = rows.iter().find(|row| *row.partition.topic == *topic && row.partition.number == number);
        let row = row.ok_or_else(|| {
            Error::config(codes::OF0108, format!("the ledger does not hold partition '{text}'"))
                .help("see `onceflow ledger show`")
        })?;
        wanted.push(row.clone());
    }
    Ok(wanted)
}

fn resolve(
    source: &mut dyn Source,
    found: &[Found],
    row: &PositionRow,
    to: &To,
) -> Result<(SourceIdentity, Position), Error> {
    let partition = &row.partition;
    let Some(found) = found.iter().find(|found| found.partition == *partition) else {
        return Err(Error::new(
            onceflow::Kind::Identity,
            codes::OF0012,
            format!("{partition} does not exist any more"),
        )
        .help(format!("onceflow ledger forget FILE --partition '{partition}' --reason '…'")));
    };
    let one = [partition.clone()];
    let next = match to {
        To::Beginning => source.beginnings(&one)?.get(partition).copied(),
        To::End => source.ends(&one)?.get(partition).copied(),
        To::Keep => Some(row.next),
        To::Offset(offset) => Some(*offset),
    };
    let next =
        next.ok_or_else(|| Error::unavailable(codes::OF0017, format!("the source does not answer for {partition}")))?;
    Ok((found.identity.clone(), next))
}

/// The statements for one partition: only where it still stands as it was read.
fn decide(
    pipeline: PipelineId,
    row: &PositionRow,
    identity: &SourceIdentity,
    next: Position,
    reason: &str,
) -> [Statement; 3] {
    let detail = format!(
        "{} from {} to {next}; cluster {} → {}; topic {} → {}",
        row.partition, row.next, row.identity.cluster_id, identity.cluster_id, row.identity.topic_id, identity.topic_id
    );
    let sql = "UPDATE {position} SET next_offset = $1, cluster_id = $2, topic_id = $3, leader_epoch = NULL, \
               tail_offset = NULL, tail_fingerprint = NULL \
               WHERE pipeline = $4 AND source = $5 AND topic = $6 AND partition = $7 AND next_offset = $8";
    let parameters = vec![
        Cell::Int(next.signed()),
        Cell::Text(identity.cluster_id.to_string()),
        Cell::Text(identity.topic_id.to_string()),
        Cell::Text(pipeline.to_string()),
        Cell::Text(row.partition.source.to_string()),
        Cell::Text(row.partition.topic.to_string()),
        Cell::Int(i64::from(row.partition.number)),
        Cell::Int(row.next.signed()),
    ];
    [
        fence(pipeline, row.shard.as_str()),
        Statement { sql: sql.to_owned(), parameters, expect_rows: Some(1) },
        event(pipeline, "reset", &detail, reason),
    ]
}
