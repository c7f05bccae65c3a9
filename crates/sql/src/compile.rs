//! From a text to a pipeline that can run.

use crate::model::{PlannedBranch, ResolvedTarget, Script};
use crate::options::Findings;
use crate::parse::parse;
use crate::plan::plan_branch;
use crate::relations::relations;
use crate::resolve::settings::{Chosen, check_name, settings};
use crate::resolve::{check_columns, source, target};
use crate::suggest;
use crate::text::Source;
use onceflow::changes::{TableSpec, WriteMode};
use onceflow::codes::{OF0209, OF0260, OF0261, OF0262};
use onceflow::core::Fingerprint;
use onceflow::home::HomeFactory;
use onceflow::pipeline::{Branch, Pipeline};
use onceflow::source::SourceFactory;
use onceflow::{Error, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What is different from an ordinary run.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Stands in for every target's home; the targets' declarations are still checked. For `preview`.
    pub replace_homes: Option<Arc<dyn HomeFactory>>,
}

/// A text, compiled.
pub struct Compiled {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What the text says, with its tables resolved.
    pub script: Script,
}

/// Compiles a text. All errors that are independent of each other come at once, in the order of the text.
pub fn compile(
    file: &str,
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    options: &CompileOptions,
) -> Result<Pipeline, Vec<Error>> {
    compile_fully(file, text, variables, options).map(|compiled| compiled.pipeline)
}

/// The same, with what the text says. Opens nothing.
pub fn compile_fully(
    file: &str,
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    options: &CompileOptions,
) -> Result<Compiled, Vec<Error>> {
    let script = parse(file, text, variables)?;
    crate::roomy(|| finish(script, options))
}

fn finish(mut script: Script, options: &CompileOptions) -> Result<Compiled, Vec<Error>> {
    let mut findings = Findings::default();
    let chosen = settings(&script, &mut findings);
    let name = name(&script, &chosen, &mut findings);
    let uses = uses(&script, &mut findings);
    resolve(&mut script, &uses, &chosen, options, &mut findings);
    check_inserts(&script, &uses, &mut findings);
    if !findings.errors.is_empty() {
        return Err(sorted(findings.errors));
    }
    let planned = plan(&script)?;
    let (mut branches, mut warnings) = (Vec::new(), findings.warnings);
    for (group, planned) in planned {
        warnings.extend(planned.warnings);
        let wiring = wiring(&script, &group, &uses);
        branches.push(Branch {
            home: group.home,
            sources: factories(&script, &planned.sources),
            tables: Arc::new(group.tables),
            logic: planned.logic,
            user_code: None,
            wiring,
            operators: planned.operators,
        });
    }
    let mut all = std::mem::take(&mut script.warnings);
    all.extend(warnings);
    let fingerprint = Fingerprint::of_record(0, None, None, Some(script.logic.as_bytes())).to_string();
    let pipeline = Pipeline { name, fingerprint, settings: chosen.settings, branches, warnings: sorted(all) };
    Ok(Compiled { pipeline, script })
}

/// In the order of the text; what has no place comes last.
fn sorted(mut errors: Vec<Error>) -> Vec<Error> {
    let key = |error: &Error| error.place().map_or((u32::MAX, 0), |place| (place.line, place.column));
    errors.sort_by_key(key);
    errors
}

/// The name that is set, else the file's without its suffix.
fn name(script: &Script, chosen: &Chosen, findings: &mut Findings) -> String {
    if let Some(name) = &chosen.name {
        return name.clone();
    }
    let stem = Path::new(&*script.file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let unnamed = !script.settings.contains_key("pipeline.name");
    if let (true, Err(error)) = (unnamed, check_name(&stem)) {
        let end = Source { file: Arc::clone(&script.file), text: Arc::clone(&script.text) }.end();
        let error = error.note("without SET 'pipeline.name' it is the file's name without its suffix");
        findings.errors.push(error.at(&end));
    }
    stem
}

/// For each INSERT the tables that it reads, also through views, in the order in which they are named.
type Uses = Vec<Vec<Arc<str>>>;

fn uses(script: &Script, findings: &mut Findings) -> Uses {
    let mut unknown = BTreeSet::new();
    let mut uses = Vec::new();
    for insert in &script.inserts {
        let mut walk = Walk { script, seen: BTreeSet::new(), tables: Vec::new(), unknown: Vec::new() };
        walk.query(&insert.query);
        for (name, place) in walk.unknown {
            // A view that several INSERTs read is to blame once.
            if unknown.insert((place.line, place.column)) {
                findings.errors.push(unknown_relation(script, &name, &place));
            }
        }
        uses.push(walk.tables);
    }
    uses
}

struct Walk<'a> {
    script: &'a Script,
    seen: BTreeSet<String>,
    tables: Vec<Arc<str>>,
    unknown: Vec<(String, Place)>,
}

impl Walk<'_> {
    fn query(&mut self, query: &sqlparser::ast::Query) {
        for (name, place) in relations(query, &self.script.file) {
            if !self.seen.insert(name.clone()) {
                continue;
            }
            if let Some(table) = self.script.tables.iter().find(|table| *table.name == *name) {
                self.tables.push(Arc::clone(&table.name));
            } else if let Some(view) = self.script.views.iter().find(|view| view.name == name) {
                self.query(&view.query);
            } else {
                self.unknown.push((name, place));
            }
        }
    }
}

fn names(script: &Script) -> impl Iterator<Item = &str> {
    let tables = script.tables.iter().map(|table| &*table.name);
    tables.chain(script.views.iter().map(|view| view.name.as_str()))
}

fn unknown_relation(script: &Script, name: &str, place: &Place) -> Error {
    // `catalog.database.table`: the last part alone is a name of this text.
    if let Some((_, last)) = name.rsplit_once('.')
        && names(script).any(|known| known == last)
    {
        return Error::config(OF0209, format!("there is no table {name}: a name has no catalog or database here"))
            .at(place)
            .note("a text declares its own tables")
            .help(format!("write {}", crate::types::quoted(last)));
    }
    Error::config(OF0209, format!("there is no table or view {name}")).at(place).help(suggest::help(
        name,
        "tables and views",
        names(script),
    ))
}

/// Resolves the tables that are used, each once.
fn resolve(script: &mut Script, uses: &Uses, chosen: &Chosen, options: &CompileOptions, findings: &mut Findings) {
    let read: BTreeSet<&str> = uses.iter().flatten().map(|name| &**name).collect();
    let written: BTreeSet<&str> = script.inserts.iter().map(|insert| insert.target.as_str()).collect();
    let mut resolved = Vec::with_capacity(script.tables.len());
    for table in &script.tables {
        let reads = read.contains(&*table.name).then(|| source(table, chosen.on_error, findings)).flatten();
        let writes = written
            .contains(&*table.name)
            .then(|| target(table, chosen.on_error, options.replace_homes.as_ref(), findings))
            .flatten();
        resolved.push((reads, writes));
    }
    for (table, (reads, writes)) in script.tables.iter_mut().zip(resolved) {
        table.source = reads;
        table.target = writes;
    }
}

fn check_inserts(script: &Script, uses: &Uses, findings: &mut Findings) {
    if script.inserts.is_empty() {
        let error = Error::config(OF0260, "the text writes nothing: it has no INSERT");
        let end = Source { file: Arc::clone(&script.file), text: Arc::clone(&script.text) }.end();
        findings.errors.push(error.at(&end).help("add INSERT INTO target SELECT … FROM source;"));
    }
    for (insert, tables) in script.inserts.iter().zip(uses) {
        match script.tables.iter().find(|table| *table.name == *insert.target) {
            Some(table) => check_columns(table, &insert.columns, findings),
            None => findings.errors.push(unknown_target(script, &insert.target, &insert.place)),
        }
        if tables.is_empty() && relations(&insert.query, &script.file).is_empty() {
            findings.errors.push(
                Error::config(OF0262, format!("the INSERT INTO {} reads no source", insert.target))
                    .at(&insert.place)
                    .note("rows that stand in the text have no position in a source, so nothing could tell whether they were written"),
            );
        }
    }
}

fn unknown_target(script: &Script, name: &str, place: &Place) -> Error {
    if script.views.iter().any(|view| view.name == name) {
        return Error::config(OF0261, format!("{name} is a view and cannot be written"))
            .at(place)
            .help("declare a table with CREATE TABLE … WITH ('connector' = 'jdbc', …)");
    }
    Error::config(OF0209, format!("there is no table {name}")).at(place).help(suggest::help(
        name,
        "tables",
        script.tables.iter().map(|table| &*table.name),
    ))
}

/// The INSERTs that go to one home.
struct Group {
    home: Arc<dyn HomeFactory>,
    inserts: Vec<usize>,
    names: Vec<Arc<str>>,
    tables: Vec<TableSpec>,
}

/// Groups INSERTs by their targets' homes, in the order of the text.
fn groups(script: &Script) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, insert) in script.inserts.iter().enumerate() {
        let ResolvedTarget { home, spec } = target_of(script, &insert.target);
        let describe = home.describe();
        let at = groups.iter().position(|group| group.home.describe() == describe).unwrap_or_else(|| {
            groups.push(Group { home: Arc::clone(home), inserts: Vec::new(), names: Vec::new(), tables: Vec::new() });
            groups.len() - 1
        });
        groups[at].inserts.push(index);
        if !groups[at].names.contains(&spec.name) {
            groups[at].names.push(Arc::clone(&spec.name));
            groups[at].tables.push(spec.clone());
        }
    }
    groups
}

fn target_of<'a>(script: &'a Script, name: &str) -> &'a ResolvedTarget {
    let table = script.tables.iter().find(|table| *table.name == *name);
    table
        .and_then(|table| table.target.as_ref())
        .expect("every target of an INSERT was resolved, or an error was found")
}

fn plan(script: &Script) -> Result<Vec<(Group, PlannedBranch)>, Vec<Error>> {
    let (mut planned, mut errors) = (Vec::new(), Vec::new());
    for group in groups(script) {
        match plan_branch(script, &group.inserts, &group.names) {
            Ok(branch) => planned.push((group, branch)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(planned) } else { Err(sorted(errors)) }
}

fn factories(script: &Script, names: &[Arc<str>]) -> Vec<Arc<dyn SourceFactory>> {
    let sources: BTreeMap<&str, &Arc<dyn SourceFactory>> =
        script.tables.iter().filter_map(|table| Some((&*table.name, &table.source.as_ref()?.factory))).collect();
    names.iter().map(|name| Arc::clone(sources[&**name])).collect()
}

/// One line an edge: source, what is read, target, what a row does, key. The order of the text does not matter.
fn wiring(script: &Script, group: &Group, uses: &Uses) -> String {
    let mut lines = BTreeSet::new();
    for index in &group.inserts {
        let spec = &target_of(script, &script.inserts[*index].target).spec;
        for name in &uses[*index] {
            for factory in factories(script, std::slice::from_ref(name)) {
                lines.insert(format!("{name}: {} -> {} {}{}", factory.wiring(), spec.target(), mode(spec), key(spec)));
            }
        }
    }
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn mode(spec: &TableSpec) -> &'static str {
    match spec.mode {
        WriteMode::Append => "append",
        WriteMode::Upsert => "upsert",
        WriteMode::Merge(_) => "merge",
        WriteMode::InsertIgnore => "insert-ignore",
        WriteMode::Statement { .. } => "statement",
    }
}

fn key(spec: &TableSpec) -> String {
    let names: Vec<&str> = spec.key.iter().map(|index| spec.columns[*index].name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}
