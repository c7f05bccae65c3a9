//! From DataFusion's logical plan to the graph of operators.
//!
//! Column references become the unique names of a node's fields. Hidden columns, and in lateral parts those of the row
//! outside, are carried along as the leading columns of each node; what nobody reads is never computed.

use super::catalog::{Catalog, Declared};
use super::expr::{self, may_fail};
use super::rel::{self, Computed, Graph, HIDDEN, NodeId, Op};
use super::run;
use super::trouble::{Planned, carry, column_place, explain, refuse};
use super::unnest::UnnestNode;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion_expr::expr::{AggregateFunction, InList};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Aggregate, Expr, ExprSchemable, Join, JoinType, LogicalPlan, Subquery, Union, Values, lit};
use onceflow::{Error, Place, codes};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A relation: a node, and its columns as the text names them.
#[derive(Clone, Debug)]
pub(crate) struct Rel {
    pub(crate) node: NodeId,
    pub(crate) columns: Vec<Named>,
    /// How many leading columns of the node are carried along and have no name in the text.
    carry: usize,
}

/// A column as the text names it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    qualifier: Option<TableReference>,
    pub(crate) name: String,
    /// Its index among the node's fields.
    pub(crate) index: usize,
}

/// An aggregate that merges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Merging {
    Count,
    Sum,
    Min,
    Max,
    Or,
    And,
    First,
    Last,
}

impl Merging {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "min" => Self::Min,
            "max" => Self::Max,
            "bool_or" => Self::Or,
            "bool_and" => Self::And,
            "first_value" => Self::First,
            "last_value" => Self::Last,
            _ => return None,
        })
    }

    /// Its name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Or => "BOOL_OR",
            Self::And => "BOOL_AND",
            Self::First => "FIRST_VALUE",
            Self::Last => "LAST_VALUE",
        }
    }
}

/// A call of an aggregate.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: Merging,
    /// `None` for `COUNT(*)`.
    pub(crate) arg: Option<Computed>,
    pub(crate) filter: Option<Computed>,
}

/// What a column of a grouped result is.
#[derive(Clone, Debug)]
pub(crate) enum GroupPart {
    Key(usize),
    Call {
        index: usize,
        /// `CAST(SUM(x) AS …)`: the type that the text asks for.
        cast: Option<DataType>,
    },
    Constant(ScalarValue),
}

/// A column of a grouped result.
#[derive(Clone, Debug)]
pub(crate) struct GroupColumn {
    qualifier: Option<TableReference>,
    pub(crate) name: String,
    pub(crate) part: GroupPart,
}

/// A grouped result, on its way to a table.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pub(crate) input: Rel,
    pub(crate) keys: Vec<Computed>,
    pub(crate) calls: Vec<Call>,
    pub(crate) columns: Vec<GroupColumn>,
}

/// What an INSERT writes: one of these for each part of its UNION ALL.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Rows(Rel),
    Groups(Groups),
}

/// Lowers the queries of a branch into one graph.
pub(crate) struct Lowering<'a> {
    pub(crate) catalog: &'a Catalog<'a>,
    pub(crate) graph: Graph,
    /// LEFT JOIN UNNEST: rows without elements stay.
    outer_unnest: bool,
}

impl<'a> Lowering<'a> {
    /// An empty graph.
    pub(crate) fn new(catalog: &'a Catalog<'a>) -> Self {
        Self { catalog, graph: Graph::default(), outer_unnest: false }
    }

    fn file(&self) -> &Arc<str> {
        &self.catalog.script.file
    }

    /// Lowers a query that is written to a table.
    pub(crate) fn outputs(&mut self, plan: &LogicalPlan) -> Planned<Vec<Output>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) => Ok(vec![Output::Groups(self.groups(aggregate)?)]),
            LogicalPlan::Union(union) => self.united_outputs(union),
            LogicalPlan::SubqueryAlias(alias) => {
                let mut outputs = self.outputs(&alias.input)?;
                outputs.iter_mut().for_each(|output| output.qualify(&alias.alias));
                Ok(outputs)
            }
            LogicalPlan::Projection(projection) => {
                let outputs = self.outputs(&projection.input)?;
                outputs.into_iter().map(|output| self.project_output(output, &projection.expr)).collect()
            }
            LogicalPlan::Filter(filter) => {
                let outputs = self.outputs(&filter.input)?;
                outputs.into_iter().map(|output| self.filter_output(output, &filter.predicate)).collect()
            }
            other => Ok(vec![Output::Rows(self.lower(other, None)?)]),
        }
    }

    fn united_outputs(&mut self, union: &Union) -> Planned<Vec<Output>> {
        let mut all = Vec::new();
        for input in &union.inputs {
            for mut output in self.outputs(input)? {
                output.rename(union.schema.fields());
                all.push(output);
            }
        }
        Ok(all)
    }

    fn project_output(&mut self, output: Output, exprs: &[Expr]) -> Planned<Output> {
        match output {
            Output::Rows(rel) => Ok(Output::Rows(self.project(rel, exprs, None)?)),
            Output::Groups(groups) => Ok(Output::Groups(self.project_groups(groups, exprs)?)),
        }
    }

    fn filter_output(&mut self, output: Output, predicate: &Expr) -> Planned<Output> {
        match output {
            Output::Rows(rel) => Ok(Output::Rows(self.filter(rel, predicate, None)?)),
            Output::Groups(_) => {
                let error = Error::config(codes::OF0316, "a condition on a grouped result needs operator state")
                    .help("merge all groups into the table, and filter them in a view over it");
                Err(carry(located(error, self.place_of(predicate))))
            }
        }
    }

    /// Lowers a relation. `base` is the row outside, for lateral parts and for constants beside a stream.
    fn lower(&mut self, plan: &LogicalPlan, base: Option<&Rel>) -> Planned<Rel> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let Some(declared) = scan.source.downcast_ref::<Declared>() else {
                    return refuse(codes::OF0306, format!("'{}' cannot be read from", scan.table_name));
                };
                if base.is_some() {
                    return refuse(codes::OF0310, format!("a join with '{}' needs operator state", scan.table_name));
                }
                self.scan(declared.table, &scan.table_name)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let mut rel = self.lower(&alias.input, base)?;
                rel.qualify(&alias.alias);
                Ok(rel)
            }
            LogicalPlan::Subquery(subquery) => self.lower(&subquery.subquery, base),
            LogicalPlan::Projection(projection) => {
                let rel = self.lower(&projection.input, base)?;
                self.project(rel, &projection.expr, base)
            }
            LogicalPlan::Filter(filter) => {
                let rel = self.lower(&filter.input, base)?;
                self.filter(rel, &filter.predicate, base)
            }
            LogicalPlan::Union(union) => self.union(union, base),
            LogicalPlan::Join(join) => self.join(join, base),
            LogicalPlan::EmptyRelation(_) => Ok(self.beside(base)),
            LogicalPlan::Values(values) => self.values(values, base),
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<UnnestNode>() {
                Some(unnest) => self.unnest(unnest, base),
                None => refuse(codes::OF0306, "this form of a query is not supported"),
            },
            other => self.refuse_plan(other),
        }
    }

    fn refuse_plan(&self, plan: &LogicalPlan) -> Planned<Rel> {
        match plan {
            LogicalPlan::Aggregate(_) => {
                let error =
                    Error::config(codes::OF0325, "a grouped result cannot be used further without operator state")
                        .help("write the groups to a merging table as they are, and compute where the table is read");
                Err(carry(error))
            }
            LogicalPlan::Distinct(_) => refuse(codes::OF0313, "DISTINCT needs operator state"),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
                refuse(codes::OF0314, "ORDER BY and LIMIT have no end to wait for in a stream")
            }
            LogicalPlan::Window(_) => refuse(codes::OF0312, "OVER needs operator state"),
            LogicalPlan::Unnest(_) => {
                let error = Error::config(codes::OF0306, "UNNEST in the SELECT list is not supported");
                Err(carry(error.help("write it in FROM: `… FROM t CROSS JOIN UNNEST(t.items) AS i(item)`")))
            }
            _ => refuse(codes::OF0306, "this form of a query is not supported"),
        }
    }

    fn scan(&mut self, table: usize, name: &TableReference) -> Planned<Rel> {
        let declared = &self.catalog.script.tables[table];
        let mut fields: Vec<FieldRef> = rel::hidden_fields().to_vec();
        fields.extend(Catalog::recorded(declared).map(|(_, field)| Arc::new(field)));
        let node = self.graph.add(Op::Scan { table }, fields.clone());
        let named =
            |index: usize, name_of: &str| Named { qualifier: Some(name.clone()), name: name_of.to_owned(), index };
        let recorded: Vec<_> =
            fields.iter().enumerate().skip(HIDDEN).map(|(index, field)| named(index, field.name())).collect();
        let rel = Rel { node, columns: recorded, carry: HIDDEN };
        if Catalog::recorded(declared).count() == declared.columns.len() {
            return Ok(rel);
        }
        let schema = rel_schema(&self.graph, &rel)?;
        let mut exprs = Vec::with_capacity(declared.columns.len());
        for column in &declared.columns {
            let expr = match &column.kind {
                crate::model::ColumnKind::Computed(expr) => self
                    .catalog
                    .expr(expr, &schema)
                    .map_err(|error| carry(explain(error, self.file(), &column.place)))?,
                _ => Expr::Column(Column::new(Some(name.clone()), &column.name)),
            };
            exprs.push(expr.alias_qualified(Some(name.clone()), &column.name));
        }
        self.project(rel, &exprs, None)
    }

    /// The row outside with nothing visible in it; one row of constants where there is none.
    fn beside(&mut self, base: Option<&Rel>) -> Rel {
        match base {
            Some(base) => {
                let carry = self.graph.node(base.node).fields.len();
                Rel { node: base.node, columns: Vec::new(), carry }
            }
            None => Rel { node: self.graph.add(Op::One, Vec::new()), columns: Vec::new(), carry: 0 },
        }
    }

    fn project(&mut self, rel: Rel, exprs: &[Expr], base: Option<&Rel>) -> Planned<Rel> {
        let fields = self.graph.node(rel.node).fields.clone();
        let carried = fields[..rel.carry].iter();
        let mut computed: Vec<_> = carried
            .map(|field| (Computed { expr: rel::column(field.name()), place: None }, field.name().clone()))
            .collect();
        let mut columns = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let (qualifier, name) = expr.qualified_name();
            columns.push(Named { qualifier, name: name.clone(), index: computed.len() });
            computed.push((self.expr(expr, &rel, base)?, name));
        }
        let node = self.graph.project(rel.node, computed);
        Ok(Rel { node, columns, carry: rel.carry })
    }

    fn filter(&mut self, rel: Rel, predicate: &Expr, base: Option<&Rel>) -> Planned<Rel> {
        let mut conditions = Vec::new();
        for part in split_conjunction(predicate) {
            let computed = self.expr(part, &rel, base)?;
            conditions.extend(
                split_conjunction(&computed.expr)
                    .into_iter()
                    .map(|expr| Computed { expr: expr.clone(), place: computed.place.clone() }),
            );
        }
        conditions.retain(|condition| condition.expr != lit(true));
        let node = self.add_filter(rel.node, conditions);
        Ok(Rel { node, ..rel })
    }

    /// Adds conditions, below a projection where they only look at columns that it passes through.
    fn add_filter(&mut self, input: NodeId, mut conditions: Vec<Computed>) -> NodeId {
        if conditions.is_empty() {
            return input;
        }
        let schema = self.graph.node(input).schema();
        // What cannot fail comes first, so that it guards what can.
        conditions.sort_by_key(|condition| may_fail(&condition.expr, &schema));
        let fields = self.graph.node(input).fields.clone();
        let Op::Project { input: below, exprs } = self.graph.node(input).op.clone() else {
            return self.graph.add(Op::Filter { input, conditions }, fields);
        };
        let (pushed, kept): (Vec<_>, Vec<_>) =
            conditions.into_iter().map(|c| through(c, &fields, &exprs)).partition(Result::is_ok);
        let pushed: Vec<_> = pushed.into_iter().flatten().collect();
        let kept: Vec<_> = kept.into_iter().filter_map(Result::err).collect();
        let below = self.add_filter(below, pushed);
        let node = self.graph.add(Op::Project { input: below, exprs }, fields.clone());
        if kept.is_empty() { node } else { self.graph.add(Op::Filter { input: node, conditions: kept }, fields) }
    }

    fn union(&mut self, union: &Union, base: Option<&Rel>) -> Planned<Rel> {
        let rels = union.inputs.iter().map(|input| self.lower(input, base)).collect::<Planned<Vec<_>>>()?;
        let types = self.common_types(&rels)?;
        let first = rels.first().cloned().ok_or_else(|| carry(Error::internal("a union of nothing")))?;
        let names: Vec<_> =
            union.schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.name().clone())).collect();
        let mut inputs = Vec::with_capacity(rels.len());
        for rel in &rels {
            inputs.push(self.aligned(rel, &names, &types));
        }
        let fields = self.graph.node(inputs[0]).fields.clone();
        let node = self.graph.add(Op::Union { inputs }, fields);
        let named = |(offset, (qualifier, name)): (usize, (Option<TableReference>, String))| Named {
            qualifier,
            name,
            index: first.carry + offset,
        };
        Ok(Rel { node, columns: names.into_iter().enumerate().map(named).collect(), carry: first.carry })
    }

    /// One part of a union in the form that all parts share.
    fn aligned(&mut self, rel: &Rel, names: &[(Option<TableReference>, String)], types: &[DataType]) -> NodeId {
        let fields = self.graph.node(rel.node).fields.clone();
        let carried = fields[..rel.carry].iter();
        let mut exprs: Vec<_> = carried
            .map(|field| (Computed { expr: rel::column(field.name()), place: None }, field.name().clone()))
            .collect();
        for ((column, (_, name)), to) in rel.columns.iter().zip(names).zip(types) {
            let field = &fields[column.index];
            let plain = rel::column(field.name());
            let expr = if field.data_type() == to { plain } else { expr::cast(plain, to.clone()) };
            exprs.push((Computed { expr, place: None }, name.clone()));
        }
        self.graph.project(rel.node, exprs)
    }

    fn common_types(&self, rels: &[Rel]) -> Planned<Vec<DataType>> {
        let width = rels.first().map_or(0, |rel| rel.columns.len());
        let type_at = |rel: &Rel, column: usize| {
            let index = rel.columns[column].index;
            self.graph.node(rel.node).fields[index].data_type().clone()
        };
        let common = |column: usize| {
            let mut types = rels.iter().map(|rel| type_at(rel, column));
            let first = types.next().unwrap_or(DataType::Null);
            types.try_fold(first, |left, right| united(&left, &right, column))
        };
        (0..width).map(common).collect()
    }

    fn join(&mut self, join: &Join, base: Option<&Rel>) -> Planned<Rel> {
        let left = self.lower(&join.left, base)?;
        let trivial = join.on.is_empty() && join.filter.as_ref().is_none_or(|filter| *filter == lit(true));
        let outer = join.join_type == JoinType::Left;
        match join.join_type {
            JoinType::Inner => {}
            JoinType::Left if trivial && is_unnest(&join.right) => {}
            _ => return refuse(codes::OF0310, format!("this {} join needs operator state", join.join_type)),
        }
        self.outer_unnest = outer;
        let right = self.lower(&join.right, Some(&left));
        self.outer_unnest = false;
        let right = right?;
        let columns = left.columns.iter().chain(&right.columns).cloned().collect();
        let mut rel = Rel { node: right.node, columns, carry: left.carry };
        for (a, b) in &join.on {
            rel = self.filter(rel, &a.clone().eq(b.clone()), base)?;
        }
        match &join.filter {
            Some(filter) => self.filter(rel, filter, base),
            None => Ok(rel),
        }
    }

    fn unnest(&mut self, unnest: &UnnestNode, base: Option<&Rel>) -> Planned<Rel> {
        let beside = self.beside(base);
        let array = self.expr(&unnest.expr, &beside, base)?;
        let width = self.graph.node(beside.node).fields.len();
        let node = self.graph.unnest(beside.node, array, self.outer_unnest, unnest.ordinality);
        let names = datafusion_expr::UserDefinedLogicalNodeCore::schema(unnest).fields();
        let columns = names
            .iter()
            .enumerate()
            .map(|(offset, field)| Named { qualifier: None, name: field.name().clone(), index: width + offset })
            .collect();
        Ok(Rel { node, columns, carry: width })
    }

    fn values(&mut self, values: &Values, base: Option<&Rel>) -> Planned<Rel> {
        let beside = self.beside(base);
        let width = self.graph.node(beside.node).fields.len();
        let rows = self.constant_rows(values)?;
        let node = self.graph.cross(beside.node, rows);
        let named = |(offset, (qualifier, field)): (usize, (Option<&TableReference>, &FieldRef))| Named {
            qualifier: qualifier.cloned(),
            name: field.name().clone(),
            index: width + offset,
        };
        Ok(Rel { node, columns: values.schema.iter().enumerate().map(named).collect(), carry: width })
    }

    fn constant_rows(&self, values: &Values) -> Planned<RecordBatch> {
        let empty = DFSchema::empty();
        let names: Vec<_> = values.schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut columns: Vec<Vec<Expr>> = vec![Vec::new(); names.len()];
        for row in &values.values {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(expr::typed(value.clone(), &empty)?);
            }
        }
        let mut arrays = Vec::with_capacity(columns.len());
        for (index, column) in columns.into_iter().enumerate() {
            let mut types = column.iter().map(|value| value.get_type(&empty)).collect::<Planned<Vec<_>>>()?.into_iter();
            let first = types.next().unwrap_or(DataType::Null);
            let common = types.try_fold(first, |left, right| united(&left, &right, index))?;
            let scalar = |value: Expr| run::constant(&expr::cast(value, common.clone()));
            let scalars = column.into_iter().map(scalar).collect::<Planned<Vec<_>>>()?;
            arrays.push((names[index].clone(), ScalarValue::iter_to_array(scalars)?, true));
        }
        Ok(RecordBatch::try_from_iter_with_nullable(arrays)?)
    }

    /// An expression over a relation, ready to run.
    pub(crate) fn expr(&self, source: &Expr, rel: &Rel, base: Option<&Rel>) -> Planned<Computed> {
        let place = self.place_of(source);
        let schema = self.graph.node(rel.node).schema();
        let lowered = self
            .resolved(source.clone(), rel, base)
            .and_then(|expr| self.without_subqueries(expr, &schema))
            .and_then(|expr| expr::typed(expr, &schema))
            .and_then(|expr| expr::finished(expr, &schema));
        let lowered = lowered.and_then(|expr| match depth(&expr) {
            deep if deep > DEPTH_MAX => {
                refuse(codes::OF0306, format!("an expression nests {deep} levels deep, more than {DEPTH_MAX}"))
            }
            _ => Ok(expr),
        });
        match (lowered, place) {
            (Ok(expr), place) => Ok(Computed { expr, place }),
            (Err(error), Some(place)) => Err(carry(explain(error, self.file(), &place))),
            (Err(error), None) => Err(error),
        }
    }

    fn resolved(&self, expr: Expr, rel: &Rel, base: Option<&Rel>) -> Planned<Expr> {
        let name_of = |rel: &Rel, column: &Column| {
            let found = rel.find(column)?;
            Some(rel::column(self.graph.node(rel.node).fields[found].name()))
        };
        let resolve = |expr: Expr| match &expr {
            Expr::Column(column) => match name_of(rel, column) {
                Some(found) => Ok(Transformed::yes(found)),
                None => refuse(codes::OF0302, format!("unknown column '{}'", column.flat_name())),
            },
            Expr::OuterReferenceColumn(_, column) => match base.and_then(|base| name_of(base, column)) {
                Some(found) => Ok(Transformed::yes(found)),
                None => refuse(codes::OF0319, format!("a subquery over '{}' needs operator state", column.flat_name())),
            },
            _ => Ok(Transformed::no(expr)),
        };
        expr.transform_up(resolve).data()
    }

    /// Replaces subqueries over constants by their answers.
    fn without_subqueries(&self, expr: Expr, _: &DFSchema) -> Planned<Expr> {
        let answer = |expr: Expr| match expr {
            Expr::ScalarSubquery(subquery) => Ok(Transformed::yes(self.scalar_answer(&subquery)?)),
            Expr::Exists(exists) => {
                let any = self.rows_of(&exists.subquery)?.num_rows() > 0;
                Ok(Transformed::yes(lit(any != exists.negated)))
            }
            Expr::InSubquery(query) => {
                let rows = self.rows_of(&query.subquery)?;
                let values = (0..rows.num_rows()).map(|row| ScalarValue::try_from_array(rows.column(0), row));
                let list = values.map(|value| Ok(Expr::Literal(value?, None))).collect::<Planned<Vec<_>>>()?;
                Ok(Transformed::yes(match list.is_empty() {
                    true => lit(query.negated),
                    false => Expr::InList(InList { expr: query.expr, list, negated: query.negated }),
                }))
            }
            other => Ok(Transformed::no(other)),
        };
        expr.transform_up(answer).data()
    }

    fn scalar_answer(&self, subquery: &Subquery) -> Planned<Expr> {
        let rows = self.rows_of(subquery)?;
        let value = match rows.num_rows() {
            0 => ScalarValue::try_from(rows.schema().field(0).data_type())?,
            1 => ScalarValue::try_from_array(rows.column(0), 0)?,
            more => return refuse(codes::OF0305, format!("a subquery that stands for one value has {more} rows")),
        };
        Ok(Expr::Literal(value, None))
    }

    fn rows_of(&self, subquery: &Subquery) -> Planned<RecordBatch> {
        let mut inner = Lowering::new(self.catalog);
        let rel = inner.lower(&subquery.subquery, None)?;
        if inner.graph.nodes.iter().any(|node| matches!(node.op, Op::Scan { .. })) {
            return refuse(codes::OF0319, "a subquery over a stream needs operator state");
        }
        run::constants(&inner.graph, rel.node)
    }

    /// The place of an expression: from its first column to its last, where they stand in one line.
    pub(crate) fn place_of(&self, expr: &Expr) -> Option<Place> {
        let mut places: Vec<Place> = Vec::new();
        let walked = expr.apply(|expr| {
            if let Expr::Column(column) | Expr::OuterReferenceColumn(_, column) = expr {
                places.extend(column_place(column, self.file()));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.expect("nothing fails on the way");
        let first = places.iter().min_by_key(|place| (place.line, place.column))?.clone();
        let last = places.iter().filter(|place| place.line == first.line).max_by_key(|place| place.column)?;
        let length = last.column + last.length - first.column;
        Some(Place { length, ..first })
    }

    fn groups(&mut self, aggregate: &Aggregate) -> Planned<Groups> {
        let input = self.lower(&aggregate.input, None)?;
        let keys = aggregate.group_expr.iter().map(|key| self.expr(key, &input, None)).collect::<Planned<Vec<_>>>()?;
        let calls = aggregate.aggr_expr.iter().map(|call| self.call(call, &input)).collect::<Planned<Vec<_>>>()?;
        let parts = (0..keys.len())
            .map(GroupPart::Key)
            .chain((0..calls.len()).map(|index| GroupPart::Call { index, cast: None }));
        let columns = aggregate
            .schema
            .iter()
            .zip(parts)
            .map(|((qualifier, field), part)| GroupColumn {
                qualifier: qualifier.cloned(),
                name: field.name().clone(),
                part,
            })
            .collect();
        Ok(Groups { input, keys, calls, columns })
    }

    fn call(&self, expr: &Expr, input: &Rel) -> Planned<Call> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else {
            return refuse(codes::OF0306, "this aggregate is not supported");
        };
        let Some(kind) = Merging::of(func.name()) else {
            return refuse(codes::OF0317, format!("{} cannot be merged", func.name().to_uppercase()));
        };
        if params.distinct || !params.order_by.is_empty() {
            return refuse(codes::OF0313, format!("{} with DISTINCT or ORDER BY needs operator state", kind.sql()));
        }
        let arg = match params.args.first() {
            Some(Expr::Literal(value, _)) if kind == Merging::Count && !value.is_null() => None,
            Some(arg) => Some(self.expr(arg, input, None)?),
            None => None,
        };
        let filter = params.filter.as_ref().map(|filter| self.expr(filter, input, None)).transpose()?;
        Ok(Call { kind, arg, filter })
    }

    fn project_groups(&self, groups: Groups, exprs: &[Expr]) -> Planned<Groups> {
        let column = |expr: &Expr| {
            let (qualifier, name) = expr.qualified_name();
            let part = self.group_part(&groups, expr)?;
            Ok(GroupColumn { qualifier, name, part })
        };
        let columns = exprs.iter().map(column).collect::<Planned<Vec<_>>>()?;
        Ok(Groups { columns, ..groups })
    }

    fn group_part(&self, groups: &Groups, expr: &Expr) -> Planned<GroupPart> {
        match expr {
            Expr::Alias(alias) => self.group_part(groups, &alias.expr),
            Expr::Column(column) => match groups.find(column) {
                Some(part) => Ok(part.clone()),
                None => refuse(codes::OF0302, format!("unknown column '{}'", column.flat_name())),
            },
            Expr::Literal(value, _) => Ok(GroupPart::Constant(value.clone())),
            Expr::Cast(cast) => match self.group_part(groups, &cast.expr)? {
                GroupPart::Call { index, .. } => {
                    Ok(GroupPart::Call { index, cast: Some(cast.field.data_type().clone()) })
                }
                _ => self.refuse_computing(groups, expr),
            },
            _ => self.refuse_computing(groups, expr),
        }
    }

    fn refuse_computing(&self, groups: &Groups, expr: &Expr) -> Planned<GroupPart> {
        let error = Error::config(codes::OF0325, "a grouped result cannot be computed with: it is one epoch's part of the total")
            .help("write the groups as they are (expressions inside of aggregates are fine: `SUM(a * b)`), and compute where the table is read");
        let place = self.place_of(expr).or_else(|| groups.keys.iter().find_map(|key| key.place.clone()));
        Err(carry(located(error, place)))
    }
}

/// How deep expressions may nest: evaluation descends into them on a lane's thread.
const DEPTH_MAX: usize = 500;

fn depth(expr: &Expr) -> usize {
    let mut deepest = 0;
    let walked = expr.apply_children(|child| {
        deepest = deepest.max(depth(child));
        Ok(TreeNodeRecursion::Continue)
    });
    walked.expect("nothing fails on the way");
    deepest + 1
}

fn located(error: Error, place: Option<Place>) -> Error {
    match place {
        Some(place) => error.at(&place),
        None => error,
    }
}

fn is_unnest(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_unnest(&alias.input),
        LogicalPlan::Subquery(subquery) => is_unnest(&subquery.subquery),
        LogicalPlan::Projection(projection) => is_unnest(&projection.input),
        LogicalPlan::Extension(_) => true,
        _ => false,
    }
}

/// A condition in terms of what is below a projection; itself, where the projection computes what it looks at.
fn through(condition: Computed, fields: &[FieldRef], exprs: &[Computed]) -> Result<Computed, Computed> {
    let below = |name: &String| {
        let index = fields.iter().position(|field| field.name() == name)?;
        rel::column_name(&exprs[index].expr)
    };
    let names: BTreeSet<String> = rel::names_in(&condition.expr);
    if names.is_empty() || names.iter().any(|name| below(name).is_none()) {
        return Err(condition);
    }
    let renamed = condition.expr.clone().transform_up(|expr| match rel::column_name(&expr).and_then(below) {
        Some(name) => Ok(Transformed::yes(rel::column(name))),
        None => Ok(Transformed::no(expr)),
    });
    match renamed.data() {
        Ok(expr) => Ok(Computed { expr, place: condition.place }),
        Err(_) => Err(condition),
    }
}

/// The type of a column that is of these types in two parts.
fn united(left: &DataType, right: &DataType, column: usize) -> Planned<DataType> {
    use super::kinds::sql_type;
    match super::kinds::united(left, right) {
        Some(common) => Ok(common),
        None => refuse(
            codes::OF0305,
            format!("column {} is {} in one part and {} in another", column + 1, sql_type(left), sql_type(right)),
        ),
    }
}

fn rel_schema(graph: &Graph, rel: &Rel) -> Planned<DFSchema> {
    let fields = &graph.node(rel.node).fields;
    let named = rel.columns.iter().map(|column| (column.qualifier.clone(), fields[column.index].clone()));
    DFSchema::new_with_metadata(named.collect(), Default::default())
}

impl Rel {
    fn qualify(&mut self, alias: &TableReference) {
        self.columns.iter_mut().for_each(|column| column.qualifier = Some(alias.clone()));
    }

    fn find(&self, column: &Column) -> Option<usize> {
        let fits = |named: &&Named| {
            named.name == column.name && (column.relation.is_none() || named.qualifier == column.relation)
        };
        let exact = |named: &&Named| named.name == column.name && named.qualifier == column.relation;
        let found = self.columns.iter().find(exact).or_else(|| self.columns.iter().find(fits));
        found.map(|named| named.index)
    }
}

impl Groups {
    fn find(&self, column: &Column) -> Option<&GroupPart> {
        let exact = |named: &&GroupColumn| named.name == column.name && named.qualifier == column.relation;
        let fits = |named: &&GroupColumn| {
            named.name == column.name && (column.relation.is_none() || named.qualifier == column.relation)
        };
        let found = self.columns.iter().find(exact).or_else(|| self.columns.iter().find(fits));
        found.map(|named| &named.part)
    }
}

impl Output {
    fn qualify(&mut self, alias: &TableReference) {
        match self {
            Self::Rows(rel) => rel.qualify(alias),
            Self::Groups(groups) => groups.columns.iter_mut().for_each(|column| column.qualifier = Some(alias.clone())),
        }
    }

    fn rename(&mut self, fields: &arrow_schema::Fields) {
        match self {
            Self::Rows(rel) => rel.columns.iter_mut().zip(fields).for_each(|(column, field)| {
                column.qualifier = None;
                column.name.clone_from(field.name());
            }),
            Self::Groups(groups) => groups.columns.iter_mut().zip(fields).for_each(|(column, field)| {
                column.qualifier = None;
                column.name.clone_from(field.name());
            }),
        }
    }
}
