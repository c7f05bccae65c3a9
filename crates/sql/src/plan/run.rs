//! Runs the operators over one call's records: compiled once, without memory of earlier calls.
//!
//! An expression that fails takes down no more than the record to blame: rows are bisected until it is found, and the others go
//! on without it.

use super::expr;
use super::functions::POSITION;
use super::rel::{Computed, Graph, NOW, NodeId, Op, schema_of};
use super::show;
use super::trouble::Planned;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, RecordBatch, RecordBatchOptions, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use arrow_select::filter::filter;
use arrow_select::take::take;
use datafusion_common::{DFSchema, DataFusionError, ScalarValue};
use datafusion_expr::Expr;
use datafusion_physical_expr::PhysicalExpr;
use onceflow::changes::{Failed, OnError};
use onceflow::{Error, Place, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows, and for each the record that it came from.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) batch: RecordBatch,
    pub(crate) ordinals: UInt32Array,
}

impl Chunk {
    fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    fn slice(&self, start: usize, length: usize) -> Self {
        Self { batch: self.batch.slice(start, length), ordinals: self.ordinals.slice(start, length) }
    }

    /// The rows that a mask keeps; all of them without a copy where it keeps all.
    pub(crate) fn kept(&self, mask: &BooleanArray) -> Planned<Self> {
        if mask.null_count() == 0 && mask.true_count() == self.rows() {
            return Ok(self.clone());
        }
        let columns =
            self.batch.columns().iter().map(|column| Ok(filter(column, mask)?)).collect::<Planned<Vec<_>>>()?;
        let ordinals = filter(&self.ordinals, mask)?.as_primitive().clone();
        Ok(Self { batch: batch(self.batch.schema(), columns, ordinals.len())?, ordinals })
    }

    /// Without the rows of failed records.
    pub(crate) fn without(&self, failures: &Failures) -> Planned<Self> {
        if failures.found.is_empty() {
            return Ok(self.clone());
        }
        let alive = self.ordinals.values().iter().map(|ordinal| Some(!failures.found.contains_key(ordinal)));
        self.kept(&alive.collect())
    }
}

/// A batch that knows its number of rows even without columns.
pub(crate) fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Planned<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// Records that cannot be used, by ordinal: the first reason stays.
#[derive(Default, Debug)]
pub(crate) struct Failures {
    pub(crate) found: BTreeMap<u32, Failed>,
}

impl Failures {
    /// Adds a failure; the strictest consequence of a record's failures counts.
    pub(crate) fn add(&mut self, failed: Failed) {
        let on_error = failed.on_error;
        let known = self.found.entry(failed.ordinal).or_insert(failed);
        known.on_error = strictest(known.on_error, on_error);
    }
}

/// The stricter of two consequences.
pub(crate) fn strictest(left: OnError, right: OnError) -> OnError {
    let rank = |on_error: OnError| match on_error {
        OnError::Skip => 0,
        OnError::DeadLetter => 1,
        OnError::Stop => 2,
    };
    if rank(left) >= rank(right) { left } else { right }
}

/// A compiled expression with what to say where it fails.
#[derive(Clone, Debug)]
pub(crate) struct Evaluated {
    expr: Arc<dyn PhysicalExpr>,
    text: String,
    place: Option<Place>,
}

/// A compiled operator.
#[derive(Debug)]
pub(crate) struct Step {
    runs: Runs,
    /// Its columns: only those that are needed.
    pub(crate) schema: SchemaRef,
    on_error: OnError,
    last_use: usize,
}

#[derive(Debug)]
enum Runs {
    /// Nobody needs it.
    Idle,
    /// Filled in from outside: a scan, or the one row of constants.
    Given,
    Project {
        input: usize,
        exprs: Vec<Evaluated>,
    },
    Filter {
        input: usize,
        stages: Vec<Evaluated>,
        keep: Vec<usize>,
    },
    Unnest {
        input: usize,
        array: Evaluated,
        keep: Vec<usize>,
        elements: Vec<Element>,
        outer: bool,
    },
    Cross {
        input: usize,
        keep: Vec<usize>,
        constants: Vec<ArrayRef>,
        rows: usize,
    },
    Union {
        inputs: Vec<usize>,
    },
}

/// A column that unnesting adds.
#[derive(Clone, Copy, Debug)]
enum Element {
    /// The element itself, or a field of it.
    Part(usize),
    Ordinality,
}

/// Compiled operators, inputs first.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) steps: Vec<Step>,
}

/// Compiles the nodes that the roots reach. Each root has the columns that it needs, and what its failures lead to.
pub(crate) fn compile(graph: &Graph, roots: &[(NodeId, BTreeSet<usize>, OnError)]) -> Planned<Steps> {
    let wanted: Vec<_> = roots.iter().map(|(root, columns, _)| (*root, columns.clone())).collect();
    let needed = graph.needed(&wanted);
    let mut consequences: BTreeMap<usize, OnError> = BTreeMap::new();
    for (root, _, on_error) in roots {
        for node in graph.reach(*root) {
            let known = consequences.entry(node.0).or_insert(*on_error);
            *known = strictest(*known, *on_error);
        }
    }
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for index in 0..graph.nodes.len() {
        steps.push(compile_node(graph, index, &needed, consequences.get(&index).copied())?);
    }
    for index in 0..graph.nodes.len() {
        if consequences.contains_key(&index) {
            graph.nodes[index].inputs().iter().for_each(|input| steps[input.0].last_use = index);
        }
    }
    wanted.iter().for_each(|(root, _)| steps[root.0].last_use = usize::MAX);
    Ok(Steps { steps })
}

fn pruned(fields: &[FieldRef], needed: &BTreeSet<usize>) -> Vec<FieldRef> {
    needed.iter().map(|index| fields[*index].clone()).collect()
}

fn compile_node(graph: &Graph, index: usize, needed: &[BTreeSet<usize>], on_error: Option<OnError>) -> Planned<Step> {
    let node = &graph.nodes[index];
    let schema = Arc::new(Schema::new(pruned(&node.fields, &needed[index])));
    let Some(on_error) = on_error else {
        return Ok(Step { runs: Runs::Idle, schema, on_error: OnError::Skip, last_use: 0 });
    };
    let below = |input: NodeId| schema_of(&pruned(&graph.node(input).fields, &needed[input.0]));
    let position = |input: NodeId, column: usize| needed[input.0].iter().position(|known| *known == column);
    let keep = |input: NodeId| needed[index].iter().filter_map(|column| position(input, *column)).collect::<Vec<_>>();
    let width = |input: NodeId| graph.node(input).fields.len();
    let runs = match &node.op {
        Op::Scan { .. } | Op::One => Runs::Given,
        Op::Project { input, exprs } => {
            let schema = below(*input);
            let exprs =
                needed[index].iter().map(|column| evaluated(&exprs[*column], &schema)).collect::<Planned<_>>()?;
            Runs::Project { input: input.0, exprs }
        }
        Op::Filter { input, conditions } => {
            Runs::Filter { input: input.0, stages: stages(conditions, &below(*input))?, keep: keep(*input) }
        }
        Op::Unnest { input, array, outer, ordinality } => {
            let parts = node.fields.len() - width(*input);
            let element = |column: &usize| match column.checked_sub(width(*input)) {
                Some(part) if *ordinality && part + 1 == parts => Some(Element::Ordinality),
                Some(part) => Some(Element::Part(part)),
                None => None,
            };
            let elements = needed[index].iter().filter_map(element).collect();
            let array = evaluated(array, &below(*input))?;
            Runs::Unnest { input: input.0, array, keep: keep(*input), elements, outer: *outer }
        }
        Op::Cross { input, rows } => {
            let constants = needed[index].iter().filter_map(|column| column.checked_sub(width(*input)));
            let constants = constants.map(|column| rows.column(column).clone()).collect();
            Runs::Cross { input: input.0, keep: keep(*input), constants, rows: rows.num_rows() }
        }
        Op::Union { inputs } => Runs::Union { inputs: inputs.iter().map(|input| input.0).collect() },
    };
    Ok(Step { runs, schema, on_error, last_use: index })
}

fn evaluated(computed: &Computed, schema: &DFSchema) -> Planned<Evaluated> {
    Ok(Evaluated {
        expr: expr::physical(&computed.expr, schema)?,
        text: show::expr(&computed.expr),
        place: computed.place.clone(),
    })
}

/// Conditions that cannot fail run together and first; each of the others sees only rows that are left.
fn stages(conditions: &[Computed], schema: &DFSchema) -> Planned<Vec<Evaluated>> {
    let (risky, safe): (Vec<_>, Vec<_>) =
        conditions.iter().partition(|condition| expr::may_fail(&condition.expr, schema));
    let together = safe.iter().map(|condition| condition.expr.clone()).reduce(datafusion_expr::and);
    let place = safe.first().and_then(|condition| condition.place.clone());
    let first = together.map(|expr| Computed { expr, place });
    first.iter().chain(risky).map(|condition| evaluated(condition, schema)).collect()
}

/// An error with the number of the expression that it came from.
type Blamed<T> = std::result::Result<T, (usize, DataFusionError)>;

impl Steps {
    /// Runs all steps. `given` holds the rows of scans by step; steps that read nothing given are left out.
    pub(crate) fn run(
        &self,
        mut given: BTreeMap<usize, Vec<Chunk>>,
        failures: &mut Failures,
    ) -> Result<Vec<Option<Vec<Chunk>>>> {
        let mut frames: Vec<Option<Vec<Chunk>>> = Vec::with_capacity(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            let frame = match &step.runs {
                Runs::Idle => None,
                Runs::Given => given.remove(&index),
                Runs::Union { inputs } => {
                    let parts: Vec<_> = inputs.iter().filter_map(|input| frames[*input].clone()).flatten().collect();
                    (!parts.is_empty()).then_some(parts)
                }
                Runs::Project { input, .. }
                | Runs::Filter { input, .. }
                | Runs::Unnest { input, .. }
                | Runs::Cross { input, .. } => match frames[*input].clone() {
                    Some(chunks) => Some(step.run_all(&chunks, failures)?),
                    None => None,
                },
            };
            frames.push(frame);
            for (earlier, step) in self.steps.iter().enumerate().take(index) {
                if step.last_use <= index {
                    frames[earlier] = None;
                }
            }
        }
        Ok(frames)
    }
}

impl Step {
    fn run_all(&self, chunks: &[Chunk], failures: &mut Failures) -> Result<Vec<Chunk>> {
        let mut results = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            results.extend(self.run_isolated(chunk, failures)?);
        }
        Ok(results)
    }

    /// Runs the step over a chunk; records to blame are found and left out.
    ///
    /// A chunk may fail whose rows do not: `n = 0 OR 100 / n > 1` looks at its right side only where the left one does not
    /// settle it, which is decided for all rows together. Then the parts that work are the result.
    fn run_isolated(&self, chunk: &Chunk, failures: &mut Failures) -> Result<Vec<Chunk>> {
        if chunk.rows() == 0 {
            return Ok(vec![self.nothing().map_err(|error| internal(&error))?]);
        }
        let first = match self.run(chunk) {
            Ok(result) => return Ok(vec![result]),
            Err(error) => error,
        };
        let (mut parts, mut blamed) = (Vec::new(), Vec::new());
        self.search(chunk, first, &mut parts, &mut blamed);
        if blamed.is_empty() {
            return Ok(parts);
        }
        for (ordinal, (which, error)) in blamed {
            failures.add(self.failed(ordinal, which, &error));
        }
        // One large batch is cheaper for what follows than many small ones, where it works.
        let rest = chunk.without(failures).map_err(|error| internal(&error))?;
        if rest.rows() == 0 {
            return Ok(vec![self.nothing().map_err(|error| internal(&error))?]);
        }
        Ok(self.run(&rest).map_or(parts, |whole| vec![whole]))
    }

    fn nothing(&self) -> Planned<Chunk> {
        let columns =
            self.schema.fields().iter().map(|field| arrow_array::new_empty_array(field.data_type())).collect();
        let ordinals = UInt32Array::from(Vec::<u32>::new());
        Ok(Chunk { batch: batch(self.schema.clone(), columns, 0)?, ordinals })
    }

    /// Halves a chunk that fails until each part works or is one row that fails on its own; parts stay in order.
    fn search(
        &self,
        chunk: &Chunk,
        error: (usize, DataFusionError),
        parts: &mut Vec<Chunk>,
        blamed: &mut Vec<(u32, (usize, DataFusionError))>,
    ) {
        if chunk.rows() == 1 {
            blamed.push((chunk.ordinals.value(0), error));
            return;
        }
        let half = chunk.rows() / 2;
        for part in [chunk.slice(0, half), chunk.slice(half, chunk.rows() - half)] {
            match self.run(&part) {
                Ok(result) => parts.push(result),
                Err(error) => self.search(&part, error, parts, blamed),
            }
        }
    }

    fn failed(&self, ordinal: u32, which: usize, error: &DataFusionError) -> Failed {
        let evaluated = match &self.runs {
            Runs::Project { exprs, .. } => exprs.get(which),
            Runs::Filter { stages, .. } => stages.get(which),
            Runs::Unnest { array, .. } => Some(array),
            _ => None,
        };
        let (code, reason) = show::failure(error);
        let reason = match evaluated {
            Some(evaluated) => format!("{}: {reason}", evaluated.text),
            None => reason,
        };
        let place = evaluated.and_then(|evaluated| evaluated.place.clone());
        Failed { ordinal, code, reason, place, on_error: self.on_error }
    }

    fn run(&self, chunk: &Chunk) -> Blamed<Chunk> {
        let plain = |error| (0, error);
        match &self.runs {
            Runs::Project { exprs, .. } => self.project(chunk, exprs),
            Runs::Filter { stages, keep, .. } => self.filter(chunk, stages, keep),
            Runs::Unnest { array, keep, elements, outer, .. } => {
                self.unnest(chunk, array, keep, elements, *outer).map_err(plain)
            }
            Runs::Cross { keep, constants, rows, .. } => self.cross(chunk, keep, constants, *rows).map_err(plain),
            Runs::Idle | Runs::Given | Runs::Union { .. } => Ok(chunk.clone()),
        }
    }

    fn project(&self, chunk: &Chunk, exprs: &[Evaluated]) -> Blamed<Chunk> {
        let mut columns = Vec::with_capacity(exprs.len());
        for (which, evaluated) in exprs.iter().enumerate() {
            let value = evaluated.expr.evaluate(&chunk.batch).and_then(|value| value.into_array(chunk.rows()));
            columns.push(value.map_err(|error| (which, error))?);
        }
        let batch = batch(self.actual(&columns), columns, chunk.rows()).map_err(|error| (0, error))?;
        Ok(Chunk { batch, ordinals: chunk.ordinals.clone() })
    }

    /// The schema with the types that evaluation gave: nested fields may differ in their names.
    fn actual(&self, columns: &[ArrayRef]) -> SchemaRef {
        let same =
            self.schema.fields().iter().zip(columns).all(|(field, column)| field.data_type() == column.data_type());
        if same && self.schema.fields().iter().all(|field| field.is_nullable()) {
            return self.schema.clone();
        }
        let fields = self.schema.fields().iter().zip(columns).map(|(field, column)| {
            field.as_ref().clone().with_data_type(column.data_type().clone()).with_nullable(true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn filter(&self, chunk: &Chunk, stages: &[Evaluated], keep: &[usize]) -> Blamed<Chunk> {
        let mut left = chunk.clone();
        let last = stages.len().saturating_sub(1);
        for (which, stage) in stages.iter().enumerate() {
            if left.rows() == 0 {
                break;
            }
            let mask = mask(stage, &left.batch).map_err(|error| (which, error))?;
            // After the last condition only the columns that go on are copied.
            if which == last {
                left = narrowed(&left, keep).map_err(|error| (which, error))?;
            }
            left = left.kept(&mask).map_err(|error| (which, error))?;
        }
        if left.batch.num_columns() == self.schema.fields().len() {
            return Ok(left);
        }
        narrowed(&left, keep).map_err(|error| (0, error))
    }

    fn unnest(
        &self,
        chunk: &Chunk,
        array: &Evaluated,
        keep: &[usize],
        elements: &[Element],
        outer: bool,
    ) -> Planned<Chunk> {
        let lists = array.expr.evaluate(&chunk.batch)?.into_array(chunk.rows())?;
        let (offsets, values): (Vec<usize>, ArrayRef) = match lists.data_type() {
            DataType::Map(..) => {
                let map = lists.as_map();
                (positions(map.offsets()), Arc::new(map.entries().clone()))
            }
            _ => {
                let list = lists.as_list::<i32>();
                (positions(list.offsets()), list.values().clone())
            }
        };
        let spread = Spread::of(&lists, &offsets, outer);
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for column in keep {
            let taken = take(chunk.batch.column(*column), &spread.rows, None)?;
            let is_position = chunk.batch.schema_ref().field(*column).name() == POSITION;
            columns.push(if is_position { spread.positions(&taken) } else { taken });
        }
        for element in elements {
            columns.push(match element {
                Element::Ordinality => Arc::new(spread.numbers.clone()) as ArrayRef,
                Element::Part(part) => spread.part(&values, *part)?,
            });
        }
        let ordinals = take(&chunk.ordinals, &spread.rows, None)?.as_primitive().clone();
        Ok(Chunk { batch: batch(self.actual(&columns), columns, spread.rows.len())?, ordinals })
    }

    fn cross(&self, chunk: &Chunk, keep: &[usize], constants: &[ArrayRef], rows: usize) -> Planned<Chunk> {
        let total = chunk.rows() * rows;
        let left: UInt64Array = (0..total).map(|index| (index / rows.max(1)) as u64).collect();
        let right: UInt64Array = (0..total).map(|index| (index % rows.max(1)) as u64).collect();
        let kept = keep.iter().map(|column| Ok(take(chunk.batch.column(*column), &left, None)?));
        let beside = constants.iter().map(|column| Ok(take(column, &right, None)?));
        let columns = kept.chain(beside).collect::<Planned<Vec<_>>>()?;
        let ordinals = take(&chunk.ordinals, &left, None)?.as_primitive().clone();
        Ok(Chunk { batch: batch(self.actual(&columns), columns, total)?, ordinals })
    }
}

fn internal(error: &DataFusionError) -> Error {
    Error::internal(format!("evaluation failed: {}", error.strip_backtrace()))
}

fn narrowed(chunk: &Chunk, keep: &[usize]) -> Planned<Chunk> {
    Ok(Chunk { batch: chunk.batch.project(keep)?, ordinals: chunk.ordinals.clone() })
}

fn mask(stage: &Evaluated, batch: &RecordBatch) -> Planned<BooleanArray> {
    let value = stage.expr.evaluate(batch)?.into_array(batch.num_rows())?;
    let value = if value.data_type().is_null() { arrow_cast::cast(&value, &DataType::Boolean)? } else { value };
    Ok(value.as_boolean().clone())
}

fn positions(offsets: &[i32]) -> Vec<usize> {
    offsets.iter().map(|offset| usize::try_from(*offset).unwrap_or(0)).collect()
}

/// Which row and which element each unnested row is made of.
struct Spread {
    rows: UInt64Array,
    elements: Vec<Option<u64>>,
    numbers: Int32Array,
}

impl Spread {
    fn of(lists: &ArrayRef, offsets: &[usize], outer: bool) -> Self {
        let (mut rows, mut elements, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..lists.len() {
            let length = if lists.is_null(row) { 0 } else { offsets[row + 1] - offsets[row] };
            for within in 0..length {
                rows.push(row as u64);
                elements.push(Some((offsets[row] + within) as u64));
                numbers.push(i32::try_from(within + 1).ok());
            }
            if length == 0 && outer {
                rows.push(row as u64);
                elements.push(None);
                numbers.push(None);
            }
        }
        Self { rows: rows.into(), elements, numbers: numbers.into() }
    }

    /// Elements draw apart: each gets a position of its own.
    fn positions(&self, taken: &ArrayRef) -> ArrayRef {
        let taken = taken.as_primitive::<UInt64Type>();
        let own = |(position, number): (&u64, Option<i32>)| {
            let number = u64::from(number.unwrap_or(0).unsigned_abs());
            position.rotate_left(17) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        Arc::new(taken.values().iter().zip(self.numbers.iter()).map(own).collect::<UInt64Array>())
    }

    /// The elements, or a field of them where they are rows or entries.
    fn part(&self, values: &ArrayRef, part: usize) -> Planned<ArrayRef> {
        let Some(fields) = values.as_struct_opt() else {
            return Ok(take(values, &UInt64Array::from(self.elements.clone()), None)?);
        };
        let row = |element: &Option<u64>| {
            element.filter(|index| usize::try_from(*index).is_ok_and(|index| !values.is_null(index)))
        };
        let indices: UInt64Array = self.elements.iter().map(row).collect();
        Ok(take(fields.column(part), &indices, None)?)
    }
}

/// The value of an expression without columns.
pub(crate) fn constant(source: &Expr) -> Planned<ScalarValue> {
    let empty = DFSchema::empty();
    let finished = expr::finished(source.clone(), &empty)?;
    let one = batch(Arc::new(Schema::empty()), Vec::new(), 1)?;
    let value = expr::physical(&finished, &empty)?.evaluate(&one)?.into_array(1)?;
    ScalarValue::try_from_array(&value, 0)
}

/// All rows of a node that reads no table.
pub(crate) fn constants(graph: &Graph, node: NodeId) -> Planned<RecordBatch> {
    let all = (0..graph.node(node).fields.len()).collect();
    let steps = compile(graph, &[(node, all, OnError::Stop)])?;
    let one = Chunk { batch: batch(Arc::new(Schema::empty()), Vec::new(), 1)?, ordinals: UInt32Array::from(vec![0]) };
    let given = graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.op == Op::One)
        .map(|(index, _)| (index, vec![one.clone()]))
        .collect();
    let mut failures = Failures::default();
    let frames = steps.run(given, &mut failures).map_err(super::trouble::carry)?;
    if let Some(failed) = failures.found.values().next() {
        return super::trouble::refuse(failed.code, failed.reason.clone());
    }
    let chunks = frames.into_iter().nth(node.0).flatten().unwrap_or_default();
    let schema = chunks.first().map_or_else(|| steps.steps[node.0].schema.clone(), |chunk| chunk.batch.schema());
    let batches: Vec<_> = chunks.into_iter().map(|chunk| chunk.batch).collect();
    Ok(arrow_select::concat::concat_batches(&schema, &batches)?)
}

/// Where a scan's columns come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    Now,
    Position,
    /// The column of the decoded rows.
    Decoded(usize),
}

/// The columns of a scan by their names.
pub(crate) fn scan_columns(schema: &Schema, decoded: &Schema) -> Vec<Given> {
    let of = |name: &str| match name {
        NOW => Some(Given::Now),
        POSITION => Some(Given::Position),
        other => decoded.index_of(other).ok().map(Given::Decoded),
    };
    schema.fields().iter().filter_map(|field| of(field.name())).collect()
}
