//! Golden pipelines over files and SQLite: each runs straight, and then again with a fault at every step of every trait call.
//! Whatever fails, the tables must end the same.

use onceflow::run::{RunOptions, run};
use onceflow_sim::faults::{Plan, surround};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A golden file: a pipeline, its input files, and what queries must answer after it.
#[derive(Default)]
struct Golden {
    pipeline: String,
    inputs: Vec<(String, String)>,
    answers: Vec<(String, String)>,
}

impl Golden {
    /// Reads sections `--- pipeline`, `--- input NAME`, `--- query SQL`.
    fn parse(text: &str) -> Self {
        let mut golden = Self::default();
        for section in text.split("--- ").skip(1) {
            let (head, body) = section.split_once('\n').expect("a section has a line of its own");
            let (kind, rest) = head.split_once(' ').unwrap_or((head, ""));
            match kind.trim() {
                "pipeline" => golden.pipeline = body.to_owned(),
                "input" => golden.inputs.push((rest.trim().to_owned(), body.to_owned())),
                "query" => golden.answers.push((rest.trim().to_owned(), body.trim_end().to_owned())),
                other => panic!("unknown section '{other}'"),
            }
        }
        golden
    }

    /// Runs the pipeline in a fresh folder with a plan of faults, and returns what the queries answer.
    fn run(&self, plan: &Arc<Plan>) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        for (name, content) in &self.inputs {
            std::fs::write(folder.path().join(name), content).map_err(|error| error.to_string())?;
        }
        let dir = folder.path().display().to_string();
        let lookup = |name: &str| (name == "DIR").then(|| dir.clone());
        let compiled =
            onceflow_sql::compile("golden.sql", &self.pipeline, &lookup, &onceflow_sql::CompileOptions::default());
        let mut pipeline = compiled.map_err(|errors| format!("{errors:#?}"))?;
        surround(&mut pipeline, plan);
        let options = RunOptions { retry_for: Some(Duration::from_secs(60)), ..RunOptions::default() };
        run(&pipeline, &options).map_err(|error| format!("{error:?}"))?;
        let database = Connection::open(folder.path().join("out.db")).map_err(|error| error.to_string())?;
        Ok(self.answers.iter().map(|(query, _)| answer(&database, query)).collect())
    }
}

fn answer(database: &Connection, query: &str) -> String {
    let mut statement = database.prepare(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let columns = statement.column_count();
    let lines = statement.query_map([], |row| {
        let cells = (0..columns).map(|column| Ok(cell(row.get_ref(column)?)));
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    let lines: rusqlite::Result<Vec<String>> = lines.and_then(Iterator::collect);
    lines.unwrap_or_else(|error| panic!("{query}: {error}")).join("\n")
}

fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn goldens() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder).expect("the folder is in the repository");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "golden"));
    files.sort();
    assert!(files.len() >= 8, "the golden files are gone");
    files
}

fn compare(file: &Path, golden: &Golden, found: &[String], how: &str) {
    for ((query, expected), found) in golden.answers.iter().zip(found) {
        assert_eq!(found, expected, "{} {how}: {query}", file.display());
    }
}

#[test]
fn golden_pipelines_end_the_same_whatever_step_fails() {
    for file in goldens() {
        let golden = Golden::parse(&std::fs::read_to_string(&file).expect("it can be read"));
        let counting = Plan::counting();
        let found = golden.run(&counting).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        compare(&file, &golden, &found, "straight");
        let mut hit = 0;
        for step in 1..=counting.passed() {
            let plan = Plan::failing(step);
            let how = format!("with step {step} failing");
            let found = golden.run(&plan).unwrap_or_else(|error| panic!("{} {how}: {error}", file.display()));
            compare(&file, &golden, &found, &how);
            hit += u64::from(plan.failed().is_some());
        }
        // Fetches depend on timing by a few calls, so a late step may not be reached in every run.
        assert!(hit * 10 >= counting.passed() * 8, "{}: {hit} of {} steps were hit", file.display(), counting.passed());
        println!("{}: {hit} of {} steps failed, same result", file.display(), counting.passed());
    }
}
