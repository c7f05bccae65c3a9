//! `onceflow explain`: what would run and what it guarantees, computed from the very objects that would run; or a code.

use super::Answer;
use crate::args::{Common, Format, Graph};
use crate::load;
use crate::table::Table;
use onceflow::changes::{TableSpec, WriteMode};
use onceflow::home::Guarantee;
use onceflow::home::desk::Cell;
use onceflow::pipeline::{Branch, Pipeline};
use onceflow::{Error, codes};
use onceflow_sql::CompileOptions;
use std::path::Path;

/// Explains a pipeline or a code.
pub fn run(what: &str, graph: Graph, common: &Common) -> Answer {
    if let Some(entry) = codes::find(&what.to_ascii_uppercase()) {
        let cells = [entry.code.to_string(), entry.title.to_owned(), entry.text.to_owned()].map(Cell::Text);
        match common.format {
            Format::Table => println!("{}: {}\n\n{}", entry.code, entry.title, entry.text),
            format => Table::of(&["code", "title", "text"], vec![cells.to_vec()]).print(format),
        }
        return Ok(0);
    }
    if looks_like_code(what) && !Path::new(what).exists() {
        let message = format!("no error has the code {what}");
        return Err(Error::config(codes::OF0106, message).help("see docs/errors.md for all of them").into());
    }
    let loaded = load::pipeline(Path::new(what), common, &CompileOptions::default())?;
    let edges = edges(&loaded.pipeline);
    match (common.format, graph) {
        (Format::Json, _) => println!("{:#}", as_json(&loaded.pipeline, &edges)),
        (Format::Csv, _) => as_table(&edges).print(Format::Csv),
        (_, Graph::Mermaid) => print!("{}", mermaid(&loaded.pipeline)),
        _ => print!("{}", as_text(&loaded.pipeline, &edges)),
    }
    Ok(0)
}

fn looks_like_code(what: &str) -> bool {
    what.len() == 6 && what[..2].eq_ignore_ascii_case("of") && what[2..].bytes().all(|byte| byte.is_ascii_digit())
}

/// One edge of the graph with its guarantee.
struct Edge {
    from: String,
    to: String,
    exactly_once: bool,
    class: &'static str,
    why: String,
}

fn edges(pipeline: &Pipeline) -> Vec<Edge> {
    pipeline.branches.iter().flat_map(branch_edges).collect()
}

fn branch_edges(branch: &Branch) -> Vec<Edge> {
    let atomic = branch.home.guarantee() == Guarantee::Atomic;
    let mut edges: Vec<Edge> = branch.sources.iter().map(|source| source_edge(&**source, atomic)).collect();
    edges.extend(branch.tables.iter().map(|table| table_edge(branch, table, atomic)));
    edges
}

fn source_edge(source: &dyn onceflow::source::SourceFactory, atomic: bool) -> Edge {
    let (exactly_once, class, why) = match (source.caveat(), atomic) {
        (Some(caveat), _) => (false, "at least once", caveat),
        (None, true) => {
            (true, "exactly once", "read from the position in the ledger, which moves with the rows".to_owned())
        }
        (None, false) => {
            (false, "at least once", "no home keeps the position: a restart reads from the start-up mode".to_owned())
        }
    };
    Edge { from: source.name().to_owned(), to: "logic".to_owned(), exactly_once, class, why }
}

fn table_edge(branch: &Branch, table: &TableSpec, atomic: bool) -> Edge {
    let home = branch.home.describe();
    let (class, why) = if atomic {
        ("atomic", format!("{}: rows and ledger commit in one transaction of {home}", mode(&table.mode)))
    } else {
        ("at least once", format!("{} keeps no position; rows may come again after a restart", branch.home.system()))
    };
    Edge { from: "logic".to_owned(), to: table.name.to_string(), exactly_once: atomic, class, why }
}

fn mode(mode: &WriteMode) -> &'static str {
    match mode {
        WriteMode::Append => "append",
        WriteMode::Upsert => "upsert",
        WriteMode::Merge(_) => "merge",
        WriteMode::InsertIgnore => "insert-ignore",
        WriteMode::Statement { .. } => "statement",
    }
}

fn as_text(pipeline: &Pipeline, edges: &[Edge]) -> String {
    let mut out = format!("pipeline {}\n", pipeline.name);
    for branch in &pipeline.branches {
        out += &format!("\nhome: {}\n", branch.home.describe());
        for source in &branch.sources {
            out += &format!("  source {}: {}\n", source.name(), source.describe());
        }
        for operators in &branch.operators {
            for (depth, operator) in operators.iter().enumerate() {
                let arrow = if depth == 0 { "  ".to_owned() } else { format!("  {}└─ ", "   ".repeat(depth - 1)) };
                out += &format!("{arrow}{operator}\n");
            }
        }
    }
    out += "\nguarantees\n";
    let wide = |text: fn(&Edge) -> &str| edges.iter().map(|edge| text(edge).chars().count()).max().unwrap_or(0);
    let (from, to) = (wide(|edge| &edge.from), wide(|edge| &edge.to));
    for edge in edges {
        out += &format!("  {:<from$} → {:<to$}  {:<13}  {}\n", edge.from, edge.to, edge.class, edge.why);
    }
    out + "\n" + &verdict(edges) + "\n"
}

/// The edges as rows.
fn as_table(edges: &[Edge]) -> Table {
    let text = |text: &str| Cell::Text(text.to_owned());
    let row = |edge: &Edge| {
        let once = if edge.exactly_once { "true" } else { "false" };
        vec![text(&edge.from), text(&edge.to), text(edge.class), text(once), text(&edge.why)]
    };
    Table::of(&["from", "to", "guarantee", "exactly_once", "why"], edges.iter().map(row).collect())
}

/// One sentence, and the first link that is not exactly once.
fn verdict(edges: &[Edge]) -> String {
    match edges.iter().find(|edge| !edge.exactly_once) {
        None => "each record takes effect exactly once in every table".to_owned(),
        Some(edge) => format!("NOT exactly once; the first broken link is {} → {}: {}", edge.from, edge.to, edge.why),
    }
}

fn mermaid(pipeline: &Pipeline) -> String {
    let mut out = String::from("flowchart LR\n");
    for (at, branch) in pipeline.branches.iter().enumerate() {
        let atomic = branch.home.guarantee() == Guarantee::Atomic;
        out += &format!("  logic{at}{{{{\"{}\"}}}}\n", label(&pipeline.name));
        for (index, source) in branch.sources.iter().enumerate() {
            let edge = source_edge(&**source, atomic);
            let name = format!("{}<br/>{}", source.name(), source.connector());
            out += &format!("  source{at}_{index}[/\"{}\"/] -->|{}| logic{at}\n", label(&name), edge.class);
        }
        out += &format!("  subgraph home{at}[\"{}\"]\n", label(&branch.home.describe()));
        for (index, table) in branch.tables.iter().enumerate() {
            out += &format!("    table{at}_{index}[(\"{}\")]\n", label(&table.target()));
        }
        if atomic {
            out += &format!("    ledger{at}[(\"ledger\")]\n");
        }
        out += "  end\n";
        for (index, table) in branch.tables.iter().enumerate() {
            let edge = table_edge(branch, table, atomic);
            out += &format!("  logic{at} -->|{} · {}| table{at}_{index}\n", mode(&table.mode), edge.class);
        }
        if atomic {
            out += &format!("  logic{at} -->|same transaction| ledger{at}\n");
        }
    }
    out
}

fn label(text: &str) -> String {
    text.replace('"', "#quot;")
}

fn as_json(pipeline: &Pipeline, edges: &[Edge]) -> serde_json::Value {
    let edges_json = edges.iter().map(|edge| {
        serde_json::json!({"from": edge.from, "to": edge.to, "guarantee": edge.class,
            "exactly_once": edge.exactly_once, "why": edge.why})
    });
    let branches = pipeline.branches.iter().map(|branch| {
        let sources = branch.sources.iter().map(|source| {
            serde_json::json!({"name": source.name(), "connector": source.connector(), "reads": source.describe()})
        });
        let tables = branch.tables.iter().map(
            |table| serde_json::json!({"name": &*table.name, "target": table.target(), "mode": mode(&table.mode)}),
        );
        serde_json::json!({"home": branch.home.describe(), "sources": sources.collect::<Vec<_>>(),
            "tables": tables.collect::<Vec<_>>(), "operators": branch.operators})
    });
    serde_json::json!({
        "pipeline": pipeline.name,
        "fingerprint": pipeline.fingerprint,
        "branches": branches.collect::<Vec<_>>(),
        "edges": edges_json.collect::<Vec<_>>(),
        "exactly_once": edges.iter().all(|edge| edge.exactly_once),
        "verdict": verdict(edges),
    })
}
