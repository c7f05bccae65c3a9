//! `onceflow audit --topic …`: a table that something else writes against its topic.

use super::{Bar, Paper, exit_code, show};
use crate::args::Common;
use crate::cmd::Answer;
use crate::cmd::audit::args::Audit;
use crate::render::Failures;
use crate::talk::Talk;
use onceflow::audit::foreign::Foreign;
use onceflow::audit::{Options, Progress};
use onceflow::run::on_this_thread;
use onceflow::{Error, codes};
use onceflow_sql::CompileOptions;
use std::collections::BTreeMap;

/// Compares the table with the topic.
pub fn run(audit: &Audit, options: &Options, common: &Common, talk: &Talk) -> Answer {
    let text = text(audit)?;
    let paper = Paper::open(audit)?;
    let compiled = onceflow_sql::compile("the arguments", &text, &|_| None, &CompileOptions::default());
    let pipeline = compiled.map_err(|errors| Failures::from(errors).with_text("the arguments", &text))?;
    let branch = pipeline.branches.first().ok_or_else(|| Error::internal("a table without a branch"))?;
    let until = audit.until_offsets.as_deref().map(offsets).transpose()?.unwrap_or_default();
    let foreign = Foreign { upsert: audit.upsert, until };
    let bar = Bar::new(talk, &pipeline.name);
    let progress = |at: Progress| bar.show(at);
    let report = on_this_thread(onceflow::audit::foreign::audit(&pipeline, branch, &foreign, options, &progress))??;
    let reports = [report];
    show::print(&pipeline.name, &reports, options, audit.combined, common, talk);
    let command = format!("onceflow audit --topic {} --table {}", given(&audit.topic), given(&audit.table));
    paper.write(&command, &pipeline.name, &reports, options)?;
    Ok(exit_code(&reports))
}

fn given(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn unclear(message: String) -> Error {
    Error::config(codes::OF0124, message).help(
        "onceflow audit --topic transactions --brokers localhost:9092 --home postgresql://… --table payments \
         --map 'id=id, amount=amount'",
    )
}

/// The pipeline that would write this table, as text: every field a STRING, since the database's types decide the comparison.
fn text(audit: &Audit) -> Result<String, Error> {
    let given = |value: &Option<String>, flag: &str| {
        value.clone().ok_or_else(|| unclear(format!("--topic needs {flag} as well")))
    };
    let (topic, brokers) = (given(&audit.topic, "--topic")?, given(&audit.brokers, "--brokers")?);
    let (home, table) = (given(&audit.home, "--home")?, given(&audit.table, "--table")?);
    let map = map(&given(&audit.map, "--map")?)?;
    let mut fields: Vec<&str> = map.iter().map(|(_, field)| field.as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    let declare =
        |names: &[&str]| names.iter().map(|name| format!("{} STRING", quoted(name))).collect::<Vec<_>>().join(", ");
    let columns: Vec<&str> = map.iter().map(|(column, _)| column.as_str()).collect();
    let key = match audit.upsert {
        true => format!(", PRIMARY KEY ({}) NOT ENFORCED", quoted(columns[0])),
        false => String::new(),
    };
    let mut properties = String::new();
    for property in &audit.property {
        let (name, value) =
            property.split_once('=').ok_or_else(|| unclear(format!("--property '{property}' is not NAME=VALUE")))?;
        properties += &format!(", 'properties.{}' = '{}'", text_of(name), text_of(value));
    }
    let selected: Vec<String> = map.iter().map(|(_, field)| quoted(field)).collect();
    Ok(format!(
        "SET 'pipeline.name' = '{}';
CREATE TABLE records ({}) WITH ('connector' = 'kafka', 'topic' = '{}', 'properties.bootstrap.servers' = '{}',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json'{properties});
CREATE TABLE target ({}{key}) WITH ('connector' = 'jdbc', 'url' = '{}', 'table-name' = '{}');
INSERT INTO target SELECT {} FROM records;
",
        text_of(&table),
        declare(&fields),
        text_of(&topic),
        text_of(&brokers),
        declare(&columns),
        text_of(&home),
        text_of(&table),
        selected.join(", ")
    ))
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text_of(value: &str) -> String {
    value.replace('\'', "''")
}

/// `column=field, column=field`; a name alone is both.
fn map(text: &str) -> Result<Vec<(String, String)>, Error> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (column, field) = pair.split_once('=').unwrap_or((pair, pair));
            (column.trim().to_owned(), field.trim().to_owned())
        })
        .collect();
    if pairs.is_empty() || pairs.iter().any(|(column, field)| column.is_empty() || field.is_empty()) {
        return Err(unclear(format!("--map '{text}' does not name columns and fields")));
    }
    Ok(pairs)
}

fn offsets(text: &str) -> Result<BTreeMap<u32, u64>, Error> {
    let pair = |pair: &str| {
        let (number, offset) = pair.split_once('=')?;
        Some((number.trim().parse().ok()?, offset.trim().parse().ok()?))
    };
    let all: Option<BTreeMap<u32, u64>> = text.split(',').map(pair).collect();
    all.ok_or_else(|| unclear(format!("--until-offsets '{text}' is not '0=1200,1=990'")))
}
