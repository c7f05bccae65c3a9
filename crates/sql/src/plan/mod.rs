//! Queries: from what the text says to logic that turns records into rows.
//!
//! DataFusion plans and evaluates expressions; the operators are Onceflow's own. In the order of the way: `refuse` looks at
//! the text for what needs operator state, `catalog` and `dialect` let DataFusion plan it, `lower` makes operators of the plan,
//! `target` fits the result to its table, `run` and `group` compute, `logic` is what the engine sees.

mod catalog;
mod dialect;
mod expr;
mod functions;
mod group;
mod kinds;
mod logic;
mod lower;
mod refuse;
mod rel;
mod run;
mod show;
mod target;
#[cfg(test)]
mod tests;
mod trouble;
mod unnest;

use crate::model::{InsertDecl, PlannedBranch, Script};
use catalog::Catalog;
use lower::Lowering;
use onceflow::changes::{TableSpec, WriteMode};
use onceflow::{Error, Result, codes};
use rel::Op;
use std::collections::BTreeSet;
use std::sync::Arc;
use target::{Sink, Writing};
use trouble::explain_in;

/// Plans the INSERTs that go to one home. `inserts` are indices into the script's INSERTs, `targets` the names of the branch's
/// tables in the order of their indices. `Err` is of kind `Config`, with its place in the text.
pub fn plan_branch(script: &Script, inserts: &[usize], targets: &[Arc<str>]) -> Result<PlannedBranch> {
    let (program, operators, warnings) = with_room(|| program(script, inserts, targets))?;
    let sources = program.source_names();
    Ok(PlannedBranch { sources, logic: Arc::new(logic::Factory::new(program)), operators, warnings })
}

/// The planner descends into expressions: it gets a stack that the longest text we accept does not use up.
const STACK_BYTES: usize = 256 << 20;

fn with_room<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("onceflow-plan".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Error::internal("the planner gets no thread").caused_by(error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What runs, the operators in words, and warnings.
fn program(
    script: &Script,
    inserts: &[usize],
    targets: &[Arc<str>],
) -> Result<(logic::Program, Vec<Vec<String>>, Vec<Error>)> {
    let catalog = Catalog::new(script);
    let mut branch = Branch {
        script,
        targets,
        lowering: Lowering::new(&catalog),
        sinks: Vec::new(),
        operators: vec![Vec::new(); inserts.len()],
        warnings: Vec::new(),
    };
    for (index, insert) in inserts.iter().enumerate() {
        branch.insert(index, &script.inserts[*insert])?;
    }
    branch.explain();
    let program = branch.compile()?;
    Ok((program, branch.operators, branch.warnings))
}

/// A branch on its way.
struct Branch<'a> {
    script: &'a Script,
    targets: &'a [Arc<str>],
    lowering: Lowering<'a>,
    sinks: Vec<Sink>,
    operators: Vec<Vec<String>>,
    warnings: Vec<Error>,
}

impl<'a> Branch<'a> {
    fn insert(&mut self, index: usize, insert: &'a InsertDecl) -> Result<()> {
        let file = &self.script.file;
        let views = self.script.views.iter().map(|view| &*view.query);
        let queries: Vec<_> = [&*insert.query].into_iter().chain(views).collect();
        let declared =
            self.script.tables.iter().flat_map(|table| &table.columns).filter_map(|column| column.declared.as_ref());
        let fields = trouble::fields_in(declared.map(|declared| &declared.data_type));
        let fail = |error| explain_in(error, file, &queries, &fields, &insert.place);
        let (table, spec) = self.target(insert)?;
        let writing = Writing::new(insert, index, (table, spec), file)?;
        let catalog = self.lowering.catalog;
        refuse::check(&insert.query, &catalog.names(), file)?;
        let plan = catalog.plan(&insert.query).map_err(fail)?;
        let outputs = self.lowering.outputs(&plan).map_err(fail)?;
        for output in outputs {
            let sink = writing.sink(&mut self.lowering, output, &mut self.warnings).map_err(fail)?;
            self.check_source(&sink, insert)?;
            self.warn_of_volatile(&sink, insert);
            self.sinks.push(sink);
        }
        Ok(())
    }

    fn target(&self, insert: &InsertDecl) -> Result<(usize, &'a TableSpec)> {
        let refused = |message: String| Error::config(codes::OF0334, message).at(&insert.place);
        let Some(declared) = self.script.tables.iter().find(|table| *table.name == *insert.target) else {
            let error = refused(format!("unknown table '{}'", insert.target));
            let names = self.script.tables.iter().map(|table| &*table.name);
            return Err(match trouble::closest(&insert.target, names) {
                Some(near) => error.help(format!("did you mean '{near}'?")),
                None => error,
            });
        };
        let index = self.targets.iter().position(|target| **target == *insert.target);
        match (index, &declared.target) {
            (Some(index), Some(target)) => Ok((index, &target.spec)),
            _ => Err(refused(format!("'{}' cannot be written to", insert.target))),
        }
    }

    /// Rows that come from no record have no position.
    fn check_source(&self, sink: &Sink, insert: &InsertDecl) -> Result<()> {
        let graph = &self.lowering.graph;
        let scans = |node: &rel::NodeId| matches!(graph.node(*node).op, Op::Scan { .. });
        let alone = |node: &rel::NodeId| matches!(graph.node(*node).op, Op::One);
        let reached = graph.reach(sink.node);
        if reached.iter().any(scans) && !reached.iter().any(alone) {
            return Ok(());
        }
        Err(Error::config(codes::OF0324, format!("rows for '{}' come from no source", insert.target))
            .at(&insert.place)
            .note("the ledger remembers what was done by the positions of records; constants have none")
            .help("insert constants with the database's own tools"))
    }

    fn warn_of_volatile(&mut self, sink: &Sink, insert: &InsertDecl) {
        let graph = &self.lowering.graph;
        let needed = graph.needed(&[(sink.node, (0..graph.node(sink.node).fields.len()).collect())]);
        let uses = |hidden: usize| {
            let of_scan = |(index, node): (usize, &rel::Node)| {
                matches!(node.op, Op::Scan { .. }) && needed[index].contains(&hidden)
            };
            graph.nodes.iter().enumerate().any(of_scan)
        };
        let what = match (uses(0), uses(1)) {
            (false, false) => return,
            (true, false) => "the clock",
            (false, true) => "chance",
            (true, true) => "the clock and on chance",
        };
        let message = format!("rows for '{}' depend on {what}", insert.target);
        let note = "it is taken once per epoch and recorded in it; a replay from other positions would give other rows";
        self.warnings.push(Error::config(codes::OF0336, message).at(&insert.place).note(note));
    }

    /// The columns that each sink needs of its node: all of them.
    fn roots(&self) -> Vec<(rel::NodeId, BTreeSet<usize>, onceflow::changes::OnError)> {
        let graph = &self.lowering.graph;
        let root = |sink: &Sink| {
            let all = (0..graph.node(sink.node).fields.len()).collect();
            (sink.node, all, self.spec(sink).on_error)
        };
        self.sinks.iter().map(root).collect()
    }

    fn spec(&self, sink: &Sink) -> &'a TableSpec {
        let name = &self.targets[sink.table];
        let declared = self.script.tables.iter().find(|table| table.name == *name);
        &declared.and_then(|table| table.target.as_ref()).expect("the sink was made for this table").spec
    }

    fn explain(&mut self) {
        let graph = &self.lowering.graph;
        let roots: Vec<_> = self.roots().into_iter().map(|(node, columns, _)| (node, columns)).collect();
        let needed = graph.needed(&roots);
        let tables: Vec<_> = self.script.tables.iter().map(|table| table.name.to_string()).collect();
        let widths: Vec<_> = self.script.tables.iter().map(|table| Catalog::recorded(table).count()).collect();
        let mut lines = vec![Vec::new(); self.operators.len()];
        for sink in &self.sinks {
            let own: &mut Vec<String> = &mut lines[sink.insert];
            own.extend(show::operators(graph, &needed, sink.node, &tables, &widths));
            own.extend(sink.grouped.clone());
            own.push(write_line(self.spec(sink)));
        }
        self.operators = lines;
    }

    fn compile(&self) -> Result<logic::Program> {
        let roots = self.roots();
        let graph = &self.lowering.graph;
        let steps = run::compile(graph, &roots).map_err(|error| self.internal(&error))?;
        let mut sources = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let reached = roots.iter().any(|(root, ..)| graph.reach(*root).contains(&rel::NodeId(index)));
            if let (Op::Scan { table }, true) = (&node.op, reached) {
                sources.push(logic::Source::new(&self.script.tables[*table], index, &steps.steps[index].schema)?);
            }
        }
        let sinks = self.sinks.iter().map(|sink| (sink.clone(), self.spec(sink).on_error)).collect();
        Ok(logic::Program { sources, steps, sinks })
    }

    fn internal(&self, error: &datafusion_common::DataFusionError) -> Error {
        Error::internal(format!("the plan cannot be compiled: {}", error.strip_backtrace()))
    }
}

fn write_line(spec: &TableSpec) -> String {
    let mode = match &spec.mode {
        WriteMode::Append => "append".to_owned(),
        WriteMode::Upsert => "upsert".to_owned(),
        WriteMode::InsertIgnore => "insert, ignore what is there".to_owned(),
        WriteMode::Statement { .. } => "the statement, once per row".to_owned(),
        WriteMode::Merge(ops) => {
            let merged = spec.columns.iter().zip(ops);
            let merged = merged.filter_map(|(column, op)| Some(format!("{}={}", column.name, target::op_name((*op)?))));
            format!("merge {}", merged.collect::<Vec<_>>().join(", "))
        }
    };
    format!("write {}: {mode}", spec.name)
}
