//! `onceflow preview`: the first rows that a pipeline would write. Nothing is written, no ledger is touched. With
//! `--written`, the rows that stand in the target tables now.

use super::Answer;
use crate::args::Common;
use crate::load;
use crate::table::Table;
use crate::talk::{Talk, Tone, counted};
use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use onceflow::Error;
use onceflow::changes::{TableSpec, WriteMode, quoted};
use onceflow::home::desk::Cell;
use onceflow::home::ephemeral::CollectFactory;
use onceflow::run::observe::{Event, Observer};
use onceflow::run::stop::Stop;
use onceflow::run::{RunOptions, on_this_thread};
use onceflow_sql::CompileOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Shows what would be written: reads until every table has its rows, the sources end, or the time is over.
pub fn run(file: &Path, rows: usize, wait: Duration, common: &Common, talk: &Arc<Talk>) -> Answer {
    let collect = Arc::new(CollectFactory::new(rows));
    let options = CompileOptions { replace_homes: Some(collect.clone()) };
    let loaded = load::pipeline(file, common, &options)?;
    let tables: usize = loaded.pipeline.branches.iter().map(|branch| branch.tables.len()).sum();
    let stop = Stop::new();
    let watch = Watch { talk: talk.clone(), stop: stop.clone(), collect: collect.clone(), tables };
    let clock = stop.clone();
    let timer = std::thread::spawn(move || {
        if !clock.wait(wait) {
            clock.wish();
        }
    });
    let run = RunOptions {
        until_caught_up: true,
        retry_for: Some(wait),
        stop: stop.clone(),
        watcher: Arc::new(watch),
        ..RunOptions::default()
    };
    let ended = onceflow::run::run(&loaded.pipeline, &run);
    stop.wish();
    timer.join().map_err(|_| Error::internal("the timer of the preview panicked"))?;
    ended.map_err(|error| loaded.failed(error))?;
    let collected = collect.rows();
    let specs = loaded.pipeline.branches.iter().flat_map(|branch| branch.tables.iter());
    for (index, spec) in specs.enumerate() {
        let batches = collected.get(index).cloned().unwrap_or_default();
        show(spec, &batches, common, talk)?;
    }
    Ok(0)
}

/// Stops the run once there is enough, and shows dead letters.
struct Watch {
    talk: Arc<Talk>,
    stop: Stop,
    collect: Arc<CollectFactory>,
    tables: usize,
}

impl Observer for Watch {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::DeadLetter { code, reason, record } => {
                let word = self.talk.tone(Tone::Warning, "would be a dead letter");
                self.talk.say(&format!("{word} [{code}] {record}: {reason}"));
            }
            Event::Committed { .. } if self.collect.is_full(self.tables) => self.stop.wish(),
            _ => {}
        }
    }
}

fn show(spec: &TableSpec, batches: &[RecordBatch], common: &Common, talk: &Talk) -> Result<(), Error> {
    let columns: Vec<String> = spec.columns.iter().map(|column| column.name.clone()).collect();
    let failed = |error| Error::internal("a row cannot be shown").caused_by(error);
    // As SQL writes them, and as they will stand in the table.
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.fZ"));
    let mut rows = Vec::new();
    for batch in batches {
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let formatters = formatters.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        for row in 0..batch.num_rows() {
            let cell = |index: usize| match batch.column(index).is_null(row) {
                true => Cell::Null,
                false => cell_of(batch.column(index).data_type(), formatters[index].value(row).to_string()),
            };
            rows.push((0..formatters.len()).map(cell).collect());
        }
    }
    let title = format!("{}: {}", spec.target(), counted(rows.len() as u64, "row"));
    talk.say(&talk.tone(Tone::Strong, &title));
    Table::named(columns, rows).print(common.format);
    Ok(())
}

/// A shown value: whole numbers are numbers for programs too.
fn cell_of(data_type: &DataType, text: String) -> Cell {
    match text.parse() {
        Ok(number) if data_type.is_signed_integer() => Cell::Int(number),
        _ => Cell::Text(text),
    }
}

/// Shows rows that stand in the target tables.
pub fn written(file: &Path, rows: usize, common: &Common, talk: &Talk) -> Answer {
    let loaded = load::pipeline(file, common, &CompileOptions::default())?;
    for branch in &loaded.pipeline.branches {
        for spec in branch.tables.iter().filter(|spec| !matches!(spec.mode, WriteMode::Statement { .. })) {
            let found = on_this_thread(async {
                let mut home = branch.home.open(Arc::default())?;
                let mut desk = home.desk().await?;
                desk.rows(&select(spec, rows), &[]).await
            })?
            .map_err(|error| loaded.failed(error))?;
            talk.say(&talk.tone(Tone::Strong, &format!("{}: {}", spec.target(), counted(found.len() as u64, "row"))));
            let columns = spec.columns.iter().map(|column| column.name.clone()).collect();
            Table::named(columns, found).print(common.format);
        }
    }
    Ok(0)
}

/// The declared columns as text, in the order of the key where there is one.
fn select(spec: &TableSpec, rows: usize) -> String {
    let columns: Vec<_> = spec.columns.iter().map(|column| format!("CAST({} AS TEXT)", quoted(&column.name))).collect();
    let key: Vec<_> = spec.key.iter().map(|index| quoted(&spec.columns[*index].name)).collect();
    let order = if key.is_empty() { String::new() } else { format!(" ORDER BY {}", key.join(", ")) };
    format!("SELECT {} FROM {}{order} LIMIT {rows}", columns.join(", "), spec.quoted())
}
