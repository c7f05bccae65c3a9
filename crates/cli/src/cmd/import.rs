//! `onceflow ledger import`: starts a pipeline's ledger where an existing consumer stands.

use super::Answer;
use super::at::At;
use super::ledger::event;
use crate::args::{Common, Import, OffsetIs};
use crate::load;
use crate::talk::{Talk, counted};
use onceflow::home::desk::Cell;
use onceflow::home::{Home, Registration};
use onceflow::pipeline::{Branch, Pipeline};
use onceflow::run::on_this_thread;
use onceflow::source::Found;
use onceflow::{Error, codes};
use onceflow_core::{Partition, PipelineId, Position, PositionRow};
use onceflow_sql::CompileOptions;
use std::collections::BTreeMap;

/// Imports positions from a consumer group or from a table in the home.
pub fn run(import: &Import, common: &Common, talk: &Talk) -> Answer {
    let loaded = load::pipeline(&import.file, common, &CompileOptions::default())?;
    for branch in &loaded.pipeline.branches {
        let at = At { home: branch.home.clone(), pipeline: loaded.pipeline.name.clone() };
        let imported = on_this_thread(import_into(&at, &loaded.pipeline, branch, import))??;
        let rows = counted(imported.0, "partition");
        talk.say(&format!(
            "{}: {rows} imported into {}, {} without an offset start at their beginning",
            at.pipeline,
            at.home.describe(),
            imported.1
        ));
    }
    Ok(0)
}

async fn import_into(at: &At, pipeline: &Pipeline, branch: &Branch, import: &Import) -> Result<(u64, usize), Error> {
    let mut found = Vec::new();
    let mut offsets = BTreeMap::new();
    let mut beginnings = BTreeMap::new();
    let mut home = branch.home.open(branch.tables.clone())?;
    for factory in &branch.sources {
        let mut source = factory.open()?;
        let own = source.discover()?;
        let partitions: Vec<Partition> = own.iter().map(|found| found.partition.clone()).collect();
        offsets.extend(match &import.from_group {
            Some(group) => source.group_positions(group, &partitions)?,
            None => from_table(&mut *home, import, &partitions).await?,
        });
        beginnings.extend(source.beginnings(&partitions)?);
        found.extend(own);
    }
    if offsets.is_empty() {
        let from = import.from_group.as_ref().or(import.from_table.as_ref()).map_or("?", String::as_str);
        return Err(Error::config(codes::OF0111, format!("'{from}' has no offset for any partition of the pipeline"))
            .help("see whether the topic's name there is the same as in the pipeline"));
    }
    let without = found.len() - offsets.len();
    let registered = home.register(&registration(pipeline, branch)).await?;
    refuse_present(&mut *home, registered.pipeline, at).await?;
    let rows = found.into_iter().map(|found| founding(found, &offsets, &beginnings)).collect::<Result<Vec<_>, _>>()?;
    home.found(registered.pipeline, &rows).await?;
    let mut desk = home.desk().await?;
    desk.execute(&[event(registered.pipeline, "import", &detail(import, &rows), &import.reason)]).await?;
    Ok((offsets.len() as u64, without))
}

/// Rows that the former consumer wrote are the very reason for an import, so they are adopted.
fn registration(pipeline: &Pipeline, branch: &Branch) -> Registration {
    Registration {
        name: pipeline.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: pipeline.fingerprint.clone(),
        wiring: branch.wiring.clone(),
        tables: branch.tables.to_vec(),
        adopt: true,
        auto_create: pipeline.settings.auto_create,
        accept_wiring: false,
    }
}

async fn refuse_present(home: &mut dyn Home, pipeline: PipelineId, at: &At) -> Result<(), Error> {
    if home.positions(pipeline).await?.is_empty() {
        return Ok(());
    }
    Err(Error::config(codes::OF0110, format!("pipeline '{}' has a ledger already", at.pipeline))
        .note("import is for the first start: it would overwrite what was committed since")
        .help(
            "decide about single partitions with `onceflow ledger reset`, or begin anew after `onceflow ledger forget`",
        ))
}

async fn from_table(
    home: &mut dyn Home,
    import: &Import,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, Position>, Error> {
    let table = import.from_table.as_deref().unwrap_or_default();
    let name = table.split('.').map(quoted).collect::<Vec<_>>().join(".");
    let columns = [&import.topic_column, &import.partition_column, &import.offset_column].map(|name| quoted(name));
    let sql = format!("SELECT {} FROM {name}", columns.join(", "));
    let mut desk = home.desk().await?;
    let mut offsets = BTreeMap::new();
    for row in desk.rows(&sql, &[]).await? {
        let [Cell::Text(topic), Cell::Int(number), Cell::Int(offset)] = row.as_slice() else {
            return Err(Error::config(
                codes::OF0111,
                format!("'{table}' has a row without topic, partition and offset: {row:?}"),
            )
            .help("name its columns with --topic-column, --partition-column and --offset-column"));
        };
        let matches = |own: &&Partition| *own.topic == **topic && i64::from(own.number) == *number;
        let next = if import.offset_is == OffsetIs::Last { offset + 1 } else { *offset };
        if let (Some(partition), Some(next)) = (partitions.iter().find(matches), Position::from_signed(next)) {
            offsets.insert(partition.clone(), next);
        }
    }
    Ok(offsets)
}

fn quoted(name: &str) -> String {
    onceflow::changes::quoted(name.trim_matches('"'))
}

fn founding(
    found: Found,
    offsets: &BTreeMap<Partition, Position>,
    beginnings: &BTreeMap<Partition, Position>,
) -> Result<PositionRow, Error> {
    let next = offsets.get(&found.partition).or_else(|| beginnings.get(&found.partition)).copied();
    let next = next.ok_or_else(|| {
        Error::unavailable(codes::OF0017, format!("the source does not say where {} begins", found.partition))
    })?;
    Ok(PositionRow {
        shard: found.partition.own_shard(),
        partition: found.partition,
        identity: found.identity,
        next,
        leader_epoch: None,
        tail: None,
        watermark: None,
    })
}

fn detail(import: &Import, rows: &[PositionRow]) -> String {
    let from = match (&import.from_group, &import.from_table) {
        (Some(group), _) => format!("group {group}"),
        (None, table) => format!("table {}", table.as_deref().unwrap_or("?")),
    };
    let positions = rows.iter().map(|row| format!("{} at {}", row.partition, row.next));
    format!("from {from}: {}", positions.collect::<Vec<_>>().join(", "))
}
