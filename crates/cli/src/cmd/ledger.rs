//! `onceflow ledger`: show, history, events, forget; import and reset have modules of their own.

use super::Answer;
use super::at::{At, pipeline_id};
use crate::args::{Common, Ledger, Where};
use crate::load;
use crate::table::Table;
use crate::talk::{Talk, counted};
use onceflow::home::desk::{Cell, Desk, Statement};
use onceflow::run::ambient::{Ambient as _, Machine};
use onceflow::run::on_this_thread;
use onceflow::{Error, codes};
use onceflow_core::{Partition, PipelineId, Position};
use onceflow_sql::CompileOptions;
use std::collections::BTreeMap;

/// Runs a command on the ledger.
pub fn run(command: &Ledger, common: &Common, talk: &Talk) -> Answer {
    match command {
        Ledger::Show { at, lag } => {
            let ends = if *lag { ends(at, common)? } else { BTreeMap::new() };
            each(at, common, async |desk, pipeline| show(desk, pipeline, *lag, &ends).await)
        }
        Ledger::History { at, limit } => each(at, common, async |desk, pipeline| history(desk, pipeline, *limit).await),
        Ledger::Events { at, limit } => each(at, common, async |desk, pipeline| events(desk, pipeline, *limit).await),
        Ledger::Import(import) => super::import::run(import, common, talk),
        Ledger::Reset { file, partition, to, reason } => super::reset::run(file, partition, to, reason, common, talk),
        Ledger::Forget { at, partition, reason } => forget(at, partition, reason, common, talk),
    }
}

/// Prints a table for each home.
fn each(at: &Where, common: &Common, query: impl AsyncFn(&mut dyn Desk, PipelineId) -> Result<Table, Error>) -> Answer {
    for at in At::resolve(at, common)? {
        let table = on_this_thread(async {
            let mut home = at.open()?;
            let mut desk = home.desk().await?;
            let pipeline = pipeline_id(&mut *desk, &at.pipeline, &at.home.describe()).await?;
            query(&mut *desk, pipeline).await
        })??;
        table.print(common.format);
    }
    Ok(0)
}

type Ends = BTreeMap<(String, String, i64), Position>;

/// Where the sources of a pipeline end now.
fn ends(at: &Where, common: &Common) -> Result<Ends, crate::render::Failures> {
    let Some(file) = &at.file else {
        return Err(Error::config(codes::OF0115, "--lag asks the source, which only the pipeline's file names")
            .help("give the FILE instead of --home")
            .into());
    };
    let loaded = load::pipeline(file, common, &CompileOptions::default())?;
    let mut ends = Ends::new();
    for source in loaded.pipeline.branches.iter().flat_map(|branch| &branch.sources) {
        let mut source = source.open()?;
        let partitions: Vec<Partition> = source.discover()?.into_iter().map(|found| found.partition).collect();
        for (partition, end) in source.ends(&partitions)? {
            ends.insert((partition.source.to_string(), partition.topic.to_string(), i64::from(partition.number)), end);
        }
    }
    Ok(ends)
}

async fn show(desk: &mut dyn Desk, pipeline: PipelineId, lag: bool, ends: &Ends) -> Result<Table, Error> {
    let sql = "SELECT p.source, p.topic, p.partition, p.next_offset, s.epoch, s.generation, p.updated_at \
               FROM {position} p JOIN {shard} s ON s.pipeline = p.pipeline AND s.shard = p.shard \
               WHERE p.pipeline = $1 ORDER BY p.source, p.topic, p.partition";
    let mut rows = desk.rows(sql, &[Cell::Text(pipeline.to_string())]).await?;
    let mut columns = vec!["source", "topic", "partition", "next_offset", "epoch", "generation", "updated_at"];
    if lag {
        columns.extend(["log_end", "behind"]);
        rows.iter_mut().for_each(|row| add_lag(row, ends));
    }
    Ok(Table::of(&columns, rows))
}

fn add_lag(row: &mut Vec<Cell>, ends: &Ends) {
    let end = match row.as_slice() {
        [Cell::Text(source), Cell::Text(topic), Cell::Int(partition), Cell::Int(next), ..] => {
            ends.get(&(source.clone(), topic.clone(), *partition)).map(|end| (end.signed(), *next))
        }
        _ => None,
    };
    match end {
        Some((end, next)) => row.extend([Cell::Int(end), Cell::Int((end - next).max(0))]),
        None => row.extend([Cell::Null, Cell::Null]),
    }
}

async fn history(desk: &mut dyn Desk, pipeline: PipelineId, limit: u32) -> Result<Table, Error> {
    let sql = format!(
        "SELECT id, committed_at, shards, records, used, filtered, late, dead, skipped FROM {{commit}} \
         WHERE pipeline = $1 ORDER BY id DESC LIMIT {limit}"
    );
    let mut rows = desk.rows(&sql, &[Cell::Text(pipeline.to_string())]).await?;
    rows.iter_mut().for_each(|row| row[2] = spans(&row[2]));
    let columns = ["commit", "committed_at", "spans", "records", "used", "filtered", "late", "dead", "skipped"];
    Ok(Table::of(&columns, rows))
}

/// The spans in a commit row's JSON as one line: `transactions/0 10..20, …`.
fn spans(cell: &Cell) -> Cell {
    let Cell::Text(text) = cell else { return cell.clone() };
    let Ok(serde_json::Value::Array(shards)) = serde_json::from_str(text) else { return cell.clone() };
    let parts = shards.iter().filter_map(|shard| shard["partitions"].as_array()).flatten();
    let spans = parts.map(|part| {
        let topic = part["topic"].as_str().unwrap_or("?");
        format!("{topic}/{} {}..{}", part["partition"], part["from"], part["to"])
    });
    Cell::Text(spans.collect::<Vec<_>>().join(", "))
}

async fn events(desk: &mut dyn Desk, pipeline: PipelineId, limit: u32) -> Result<Table, Error> {
    let sql = format!(
        "SELECT id, at, kind, detail, reason FROM {{event}} WHERE pipeline = $1 ORDER BY id DESC LIMIT {limit}"
    );
    let rows = desk.rows(&sql, &[Cell::Text(pipeline.to_string())]).await?;
    Ok(Table::of(&["event", "at", "kind", "detail", "reason"], rows))
}

/// A row for the table of events.
pub fn event(pipeline: PipelineId, kind: &str, detail: &str, reason: &str) -> Statement {
    Statement {
        sql: "INSERT INTO {event} (pipeline, kind, detail, reason) VALUES ($1, $2, $3, $4)".to_owned(),
        parameters: vec![
            Cell::Text(pipeline.to_string()),
            Cell::Text(kind.to_owned()),
            Cell::Text(detail.to_owned()),
            Cell::Text(reason.to_owned()),
        ],
        expect_rows: Some(1),
    }
}

/// Splits `topic/number`.
pub fn parse_partition(text: &str) -> Result<(String, u32), Error> {
    let parsed = text.rsplit_once('/').and_then(|(topic, number)| Some((topic.to_owned(), number.parse().ok()?)));
    parsed.ok_or_else(|| {
        Error::config(codes::OF0108, format!("'{text}' is no partition"))
            .help("write it as topic/number: transactions/0")
    })
}

/// Raises a shard's generation under a nonce that nobody holds, so that whoever runs the pipeline is fenced.
pub fn fence(pipeline: PipelineId, shard: &str) -> Statement {
    let nonce = onceflow_core::Nonce::new(Machine.random());
    Statement {
        sql: "UPDATE {shard} SET generation = generation + 1, nonce = $1 WHERE pipeline = $2 AND shard = $3".to_owned(),
        parameters: vec![Cell::Text(nonce.to_string()), Cell::Text(pipeline.to_string()), Cell::Text(shard.to_owned())],
        expect_rows: Some(1),
    }
}

fn forget(at: &Where, partitions: &[String], reason: &str, common: &Common, talk: &Talk) -> Answer {
    let at = At::single(At::resolve(at, common)?)?;
    let forgotten = on_this_thread(async {
        let mut home = at.open()?;
        let mut desk = home.desk().await?;
        let pipeline = pipeline_id(&mut *desk, &at.pipeline, &at.home.describe()).await?;
        if partitions.is_empty() {
            forget_pipeline(&mut *desk, pipeline, &at.pipeline, reason).await
        } else {
            forget_partitions(&mut *desk, pipeline, partitions, reason).await
        }
    })??;
    talk.say(&format!("{}: forgot {forgotten}; rows in the target tables are as they were", at.pipeline));
    Ok(0)
}

async fn forget_pipeline(desk: &mut dyn Desk, pipeline: PipelineId, name: &str, reason: &str) -> Result<String, Error> {
    let delete = |table: &str, column: &str| Statement {
        sql: format!("DELETE FROM {{{table}}} WHERE {column} = $1"),
        parameters: vec![Cell::Text(pipeline.to_string())],
        expect_rows: None,
    };
    let statements = [
        event(pipeline, "forget", &format!("pipeline {name}"), reason),
        delete("dead_letter", "pipeline"),
        delete("commit", "pipeline"),
        delete("position", "pipeline"),
        delete("shard", "pipeline"),
        delete("target", "pipeline"),
        delete("pipeline", "pipeline"),
    ];
    desk.execute(&statements).await?;
    Ok("the whole pipeline with its dead letters".to_owned())
}

async fn forget_partitions(
    desk: &mut dyn Desk,
    pipeline: PipelineId,
    partitions: &[String],
    reason: &str,
) -> Result<String, Error> {
    let mut statements = Vec::new();
    for text in partitions {
        let (topic, number) = parse_partition(text)?;
        let parameters = [Cell::Text(pipeline.to_string()), Cell::Text(topic), Cell::Int(i64::from(number))];
        let sql = "SELECT shard, next_offset FROM {position} WHERE pipeline = $1 AND topic = $2 AND partition = $3";
        let rows = desk.rows(sql, &parameters).await?;
        let Some([Cell::Text(shard), Cell::Int(next)]) = rows.first().map(Vec::as_slice) else {
            return Err(Error::config(codes::OF0108, format!("the ledger does not hold partition '{text}'"))
                .help("see `onceflow ledger show`"));
        };
        let sql = "DELETE FROM {position} WHERE pipeline = $1 AND topic = $2 AND partition = $3";
        statements.push(event(pipeline, "forget", &format!("{text} at {next}"), reason));
        statements.push(Statement { sql: sql.to_owned(), parameters: parameters.to_vec(), expect_rows: Some(1) });
        statements.push(Statement {
            sql: "DELETE FROM {shard} WHERE pipeline = $1 AND shard = $2".to_owned(),
            parameters: vec![Cell::Text(pipeline.to_string()), Cell::Text(shard.clone())],
            expect_rows: Some(1),
        });
    }
    desk.execute(&statements).await?;
    Ok(counted(partitions.len() as u64, "partition"))
}
