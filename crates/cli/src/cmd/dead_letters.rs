//! `onceflow dead-letters`: list, show, replay, purge.

use super::Answer;
use super::at::{At, pipeline_id};
use super::ledger::event;
use crate::args::{Common, DeadLetters, Format, Where};
use crate::load;
use crate::table::{Table, plain};
use crate::talk::{Talk, Tone, counted};
use onceflow::home::desk::{Cell, Statement};
use onceflow::run::on_this_thread;
use onceflow::run::replay::{self, Outcome};
use onceflow::{Error, codes};
use onceflow_sql::CompileOptions;
use std::path::Path;

const COLUMNS: [&str; 19] = [
    "id",
    "source",
    "topic",
    "partition",
    "offset",
    "timestamp",
    "key",
    "value",
    "headers",
    "code",
    "reason",
    "sqlstate",
    "place",
    "target_table",
    "row",
    "spans",
    "created_at",
    "replayed_at",
    "replay_reason",
];

/// Runs a command on dead letters.
pub fn run(command: &DeadLetters, common: &Common, talk: &Talk) -> Answer {
    match command {
        DeadLetters::List { at, limit, all } => list(at, *limit, *all, common, talk),
        DeadLetters::Show { id, at } => {
            let (at, id) = number_and_ledger(id, at)?;
            show(&at, id, common)
        }
        DeadLetters::Replay { file, id, reason } => replay(file, id, reason, common, talk),
        DeadLetters::Purge { at, id, reason } => purge(at, id, reason, common, talk),
    }
}

fn list(at: &Where, limit: u32, all: bool, common: &Common, talk: &Talk) -> Answer {
    let which = if all { "" } else { " AND replayed_at IS NULL" };
    for at in At::resolve(at, common)? {
        let (rows, total) = on_this_thread(async {
            let mut home = at.open()?;
            let mut desk = home.desk().await?;
            let pipeline = pipeline_id(&mut *desk, &at.pipeline, &at.home.describe()).await?;
            let parameters = [Cell::Text(pipeline.to_string())];
            let sql = format!(
                "SELECT id, topic, partition, \"offset\", code, target_table, reason, created_at, replayed_at \
                 FROM {{dead_letter}} WHERE pipeline = $1{which} ORDER BY id DESC LIMIT {limit}"
            );
            let rows = desk.rows(&sql, &parameters).await?;
            let sql = format!("SELECT count(*) FROM {{dead_letter}} WHERE pipeline = $1{which}");
            let total = desk.rows(&sql, &parameters).await?;
            Ok::<_, Error>((rows, total))
        })??;
        let columns = ["id", "topic", "partition", "offset", "code", "table", "reason", "created_at", "replayed_at"];
        let table = Table::of(&columns, rows);
        table.print(common.format);
        if let Some([Cell::Int(total)]) = total.first().map(Vec::as_slice) {
            let shown = table.len();
            talk.say(&format!("{shown} of {}", counted(u64::try_from(*total).unwrap_or(0), "dead letter")));
        }
    }
    Ok(0)
}

/// The number and the ledger, in whichever order the number and the file were typed.
fn number_and_ledger(id: &str, at: &Where) -> Result<(Where, i64), Error> {
    if let Ok(id) = id.parse() {
        return Ok((at.clone(), id));
    }
    match at.file.as_ref().and_then(|file| file.to_str()?.parse().ok()) {
        Some(number) => Ok((Where { file: Some(id.into()), ..at.clone() }, number)),
        None => Err(Error::config(codes::OF0112, format!("'{id}' is no number of a dead letter"))
            .help("write: onceflow dead-letters show 7 pipeline.sql")),
    }
}

fn show(at: &Where, id: i64, common: &Common) -> Answer {
    let at = At::single(At::resolve(at, common)?)?;
    let columns = &COLUMNS;
    let row = on_this_thread(async {
        let mut home = at.open()?;
        let mut desk = home.desk().await?;
        let pipeline = pipeline_id(&mut *desk, &at.pipeline, &at.home.describe()).await?;
        let names: Vec<_> = columns.iter().map(|name| format!("\"{name}\"")).collect();
        let sql = format!("SELECT {} FROM {{dead_letter}} WHERE pipeline = $1 AND id = $2", names.join(", "));
        let rows = desk.rows(&sql, &[Cell::Text(pipeline.to_string()), Cell::Int(id)]).await?;
        rows.into_iter().next().ok_or_else(|| unknown(id))
    })??;
    if common.format != Format::Table {
        Table::of(columns, vec![row]).print(common.format);
        return Ok(0);
    }
    for (name, cell) in columns.iter().zip(&row).filter(|(_, cell)| **cell != Cell::Null) {
        println!("{name:<14} {}", plain(cell).replace('\n', "\n               "));
    }
    Ok(0)
}

fn unknown(id: i64) -> Error {
    Error::config(codes::OF0112, format!("there is no dead letter {id}")).help("onceflow dead-letters list shows them")
}

fn replay(file: &Path, ids: &[i64], reason: &str, common: &Common, talk: &Talk) -> Answer {
    let loaded = load::pipeline(file, common, &CompileOptions::default())?;
    let mut left = 0;
    for branch in &loaded.pipeline.branches {
        let outcome = on_this_thread(async {
            let mut home = branch.home.open(branch.tables.clone())?;
            let mut desk = home.desk().await?;
            let pipeline = pipeline_id(&mut *desk, &loaded.pipeline.name, &branch.home.describe()).await?;
            drop(desk);
            replay::replay(&mut *home, branch, pipeline, ids, reason).await
        })?
        .map_err(|error| loaded.failed(error))?;
        left += tell(&outcome, talk);
    }
    Ok(i32::from(left > 0))
}

fn tell(outcome: &Outcome, talk: &Talk) -> usize {
    for (id, reason) in &outcome.left {
        talk.line(&format!("{} {id}: {reason}", talk.tone(Tone::Warning, "not replayed")));
    }
    let replayed = counted(outcome.replayed, "dead letter");
    talk.say(&format!("{replayed} replayed, {} rows written, {} left as they were", outcome.rows, outcome.left.len()));
    outcome.left.len()
}

fn purge(at: &Where, ids: &[i64], reason: &str, common: &Common, talk: &Talk) -> Answer {
    let at = At::single(At::resolve(at, common)?)?;
    let purged = on_this_thread(async {
        let mut home = at.open()?;
        let mut desk = home.desk().await?;
        let pipeline = pipeline_id(&mut *desk, &at.pipeline, &at.home.describe()).await?;
        let own = Cell::Text(pipeline.to_string());
        let mut statements = Vec::new();
        if ids.is_empty() {
            let sql = "DELETE FROM {dead_letter} WHERE pipeline = $1 AND replayed_at IS NOT NULL".to_owned();
            statements.push(Statement { sql, parameters: vec![own], expect_rows: None });
        }
        for id in ids {
            let sql = "SELECT id FROM {dead_letter} WHERE pipeline = $1 AND id = $2";
            if desk.rows(sql, &[Cell::Text(pipeline.to_string()), Cell::Int(*id)]).await?.is_empty() {
                return Err(unknown(*id));
            }
            let sql = "DELETE FROM {dead_letter} WHERE pipeline = $1 AND id = $2".to_owned();
            let parameters = vec![Cell::Text(pipeline.to_string()), Cell::Int(*id)];
            statements.push(Statement { sql, parameters, expect_rows: Some(1) });
        }
        let which = if ids.is_empty() { "all that were replayed".to_owned() } else { format!("{ids:?}") };
        statements.push(event(pipeline, "purge", &which, reason));
        let counts = desk.execute(&statements).await?;
        Ok::<u64, Error>(counts[..counts.len() - 1].iter().sum())
    })??;
    talk.say(&format!("{} deleted", counted(purged, "dead letter")));
    Ok(0)
}
