//! The operators that a query is lowered into, as a graph: equal parts of several INSERTs are one node.
//!
//! Owns the shape and which columns are needed. Nothing here runs; `run` evaluates.

use super::functions::POSITION;
use super::unnest::element_fields;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::{Expr, ExprSchemable};
use onceflow::Place;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The hidden column that holds the epoch's clock.
pub(crate) const NOW: &str = "$now";

/// How many hidden columns a scan has, before its declared ones.
pub(crate) const HIDDEN: usize = 2;

/// A node's index in its graph. Inputs have smaller ones than what reads them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct NodeId(pub(crate) usize);

/// A computed column, with the place in the text to blame when it fails.
#[derive(Clone, Debug)]
pub(crate) struct Computed {
    pub(crate) expr: Expr,
    pub(crate) place: Option<Place>,
}

impl PartialEq for Computed {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr
    }
}

/// An operator. Expressions name columns of the input by its fields' names, which are unique.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Op {
    /// Decodes a table: hidden columns, then those that come from records.
    Scan {
        /// The table's index in the text.
        table: usize,
    },
    /// One row without columns: where constants are computed.
    One,
    /// Computes columns.
    Project { input: NodeId, exprs: Vec<Computed> },
    /// Keeps rows: all conditions hold, in this order.
    Filter { input: NodeId, conditions: Vec<Computed> },
    /// Repeats each row for each element of an array.
    Unnest {
        input: NodeId,
        array: Computed,
        /// Whether a row without elements stays, with NULL.
        outer: bool,
        ordinality: bool,
    },
    /// Repeats each row for each row of constants.
    Cross { input: NodeId, rows: RecordBatch },
    /// All rows of all inputs.
    Union { inputs: Vec<NodeId> },
}

/// An operator with its columns.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) fields: Vec<FieldRef>,
}

impl Node {
    /// The columns as the planner's expressions see them.
    pub(crate) fn schema(&self) -> DFSchema {
        schema_of(&self.fields)
    }

    /// The nodes that this one reads.
    pub(crate) fn inputs(&self) -> Vec<NodeId> {
        match &self.op {
            Op::Scan { .. } | Op::One => Vec::new(),
            Op::Project { input, .. }
            | Op::Filter { input, .. }
            | Op::Unnest { input, .. }
            | Op::Cross { input, .. } => {
                vec![*input]
            }
            Op::Union { inputs } => inputs.clone(),
        }
    }
}

/// Uniquely named fields as a schema.
pub(crate) fn schema_of(fields: &[FieldRef]) -> DFSchema {
    let fields = fields.iter().map(|field| (None, field.clone())).collect();
    DFSchema::new_with_metadata(fields, Default::default()).expect("the names of a node's fields are unique")
}

/// The graph.
#[derive(Default, Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
}

impl Graph {
    /// A node.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Adds an operator, or finds the equal one that is there.
    pub(crate) fn add(&mut self, op: Op, fields: Vec<FieldRef>) -> NodeId {
        if let Some(known) = self.nodes.iter().position(|node| node.op == op && same_names(&node.fields, &fields)) {
            return NodeId(known);
        }
        self.nodes.push(Node { op, fields });
        NodeId(self.nodes.len() - 1)
    }

    /// Adds a projection, leaving it out where it changes nothing.
    pub(crate) fn project(&mut self, input: NodeId, mut exprs: Vec<(Computed, String)>) -> NodeId {
        let input = self.renamed_from(input, &mut exprs).unwrap_or(input);
        let schema = self.node(input).schema();
        let mut names = BTreeSet::new();
        let fields: Vec<FieldRef> = exprs
            .iter()
            .map(|(computed, name)| {
                let data_type = computed.expr.get_type(&schema).unwrap_or(DataType::Null);
                let nullable = computed.expr.nullable(&schema).unwrap_or(true);
                Arc::new(Field::new(unique(&mut names, name), data_type, nullable))
            })
            .collect();
        let exprs: Vec<_> = exprs.into_iter().map(|(computed, _)| computed).collect();
        let node = self.node(input);
        let same = exprs.len() == node.fields.len()
            && same_names(&node.fields, &fields)
            && exprs.iter().zip(&fields).all(|(computed, field)| column_name(&computed.expr) == Some(field.name()));
        if same { input } else { self.add(Op::Project { input, exprs }, fields) }
    }

    /// The input of a projection below, where both only rename: then one of them is enough.
    fn renamed_from(&self, input: NodeId, exprs: &mut [(Computed, String)]) -> Option<NodeId> {
        let node = self.node(input);
        let Op::Project { input: below, exprs: lower } = &node.op else { return None };
        let origin = |computed: &Computed| {
            let name = column_name(&computed.expr)?;
            let index = node.fields.iter().position(|field| field.name() == name)?;
            column_name(&lower[index].expr)
        };
        let names = exprs.iter().map(|(computed, _)| origin(computed).cloned()).collect::<Option<Vec<_>>>()?;
        exprs.iter_mut().zip(names).for_each(|((computed, _), name)| computed.expr = column(&name));
        Some(*below)
    }

    /// Adds an unnesting.
    pub(crate) fn unnest(&mut self, input: NodeId, array: Computed, outer: bool, ordinality: bool) -> NodeId {
        let node = self.node(input);
        let data_type = array.expr.get_type(&node.schema()).unwrap_or(DataType::Null);
        let mut fields = node.fields.clone();
        let mut names: BTreeSet<String> = fields.iter().map(|field| field.name().clone()).collect();
        for field in element_fields(&data_type).unwrap_or_default() {
            let name = unique(&mut names, field.name());
            fields.push(Arc::new(Field::new(name, field.data_type().clone(), true)));
        }
        if ordinality {
            fields.push(Arc::new(Field::new(unique(&mut names, "ORDINALITY"), DataType::Int32, true)));
        }
        self.add(Op::Unnest { input, array, outer, ordinality }, fields)
    }

    /// Adds constant rows beside each row.
    pub(crate) fn cross(&mut self, input: NodeId, rows: RecordBatch) -> NodeId {
        let mut fields = self.node(input).fields.clone();
        let mut names: BTreeSet<String> = fields.iter().map(|field| field.name().clone()).collect();
        for field in rows.schema().fields() {
            let name = unique(&mut names, field.name());
            fields.push(Arc::new(Field::new(name, field.data_type().clone(), true)));
        }
        self.add(Op::Cross { input, rows }, fields)
    }

    /// For each node the columns that are needed, given those that the roots need.
    pub(crate) fn needed(&self, roots: &[(NodeId, BTreeSet<usize>)]) -> Vec<BTreeSet<usize>> {
        let mut needed = vec![BTreeSet::new(); self.nodes.len()];
        for (root, columns) in roots {
            needed[root.0].extend(columns);
        }
        for index in (0..self.nodes.len()).rev() {
            let own = needed[index].clone();
            self.pass_on(index, &own, &mut needed);
        }
        needed
    }

    fn pass_on(&self, index: usize, own: &BTreeSet<usize>, needed: &mut [BTreeSet<usize>]) {
        match &self.nodes[index].op {
            Op::Scan { .. } | Op::One => {}
            Op::Project { input, exprs } => {
                for column in own {
                    needed[input.0].extend(self.columns_of(*input, &exprs[*column].expr));
                }
            }
            Op::Filter { input, conditions } => {
                needed[input.0].extend(own);
                for condition in conditions {
                    needed[input.0].extend(self.columns_of(*input, &condition.expr));
                }
            }
            Op::Unnest { input, array, .. } => {
                let width = self.node(*input).fields.len();
                needed[input.0].extend(own.iter().filter(|column| **column < width));
                needed[input.0].extend(self.columns_of(*input, &array.expr));
            }
            Op::Cross { input, .. } => {
                let width = self.node(*input).fields.len();
                needed[input.0].extend(own.iter().filter(|column| **column < width));
            }
            Op::Union { inputs } => inputs.iter().for_each(|input| needed[input.0].extend(own)),
        }
    }

    fn columns_of(&self, input: NodeId, expr: &Expr) -> BTreeSet<usize> {
        let fields = &self.node(input).fields;
        names_in(expr).iter().filter_map(|name| fields.iter().position(|field| field.name() == name)).collect()
    }

    /// The nodes that are reached from a root, the root included.
    pub(crate) fn reach(&self, root: NodeId) -> BTreeSet<NodeId> {
        let mut reached = BTreeSet::new();
        let mut open = vec![root];
        while let Some(node) = open.pop() {
            if reached.insert(node) {
                open.extend(self.node(node).inputs());
            }
        }
        reached
    }
}

fn same_names(left: &[FieldRef], right: &[FieldRef]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}

/// A name that is not taken yet.
pub(crate) fn unique(taken: &mut BTreeSet<String>, name: &str) -> String {
    let mut candidate = name.to_owned();
    let mut next = 1;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}#{next}");
        next += 1;
    }
    candidate
}

/// A column by its unique name.
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The name, where an expression is just a column.
pub(crate) fn column_name(expr: &Expr) -> Option<&String> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

/// The names of all columns in an expression.
pub(crate) fn names_in(expr: &Expr) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let walked = expr.apply(|expr| {
        names.extend(column_name(expr).cloned());
        Ok(TreeNodeRecursion::Continue)
    });
    walked.expect("nothing fails on the way");
    names
}

/// The hidden columns of a scan.
pub(crate) fn hidden_fields() -> [FieldRef; HIDDEN] {
    let now = DataType::Timestamp(TimeUnit::Microsecond, Some(super::kinds::UTC.into()));
    [Arc::new(Field::new(NOW, now, false)), Arc::new(Field::new(POSITION, DataType::UInt64, false))]
}
