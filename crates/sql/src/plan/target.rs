//! A query's result against the table that it is written to: columns by position, Flink's implicit conversions, groups against
//! the key and the merge operators.

use super::expr;
use super::group::{Grouping, Source, Total, summed_as};
use super::kinds::{Fit, fit, integer_width, sql_type};
use super::lower::{Call, GroupPart, Groups, Lowering, Merging, Output, Rel};
use super::rel::{self, Computed, NodeId};
use super::show;
use super::trouble::{Planned, carry, closest};
use crate::model::InsertDecl;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::{Expr, ExprSchemable};
use onceflow::changes::{ColumnSpec, MergeOp, TableSpec, WriteMode};
use onceflow::{Error, Place, codes};
use sqlparser::ast::{SelectItem, SetExpr, Spanned};
use std::sync::Arc;

/// What is written to a table, and from which node.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    /// The index of the INSERT among those of the branch.
    pub(crate) insert: usize,
    /// The index of the table in the branch.
    pub(crate) table: usize,
    pub(crate) node: NodeId,
    pub(crate) kind: SinkKind,
    /// Columns of the node that must not be NULL, with the name and the place of the table's column.
    pub(crate) required: Vec<(usize, String, Place)>,
    /// What is grouped, as one line, where something is.
    pub(crate) grouped: Option<String>,
}

/// Rows as they are, or groups of them.
#[derive(Clone, Debug)]
pub(crate) enum SinkKind {
    Rows(SchemaRef),
    Groups(Grouping),
}

/// One INSERT with its table.
pub(crate) struct Writing<'a> {
    pub(crate) insert: &'a InsertDecl,
    pub(crate) index: usize,
    pub(crate) table: usize,
    pub(crate) spec: &'a TableSpec,
    pub(crate) file: &'a Arc<str>,
    /// For each column of the table the position in the query's result.
    pub(crate) positions: Vec<Option<usize>>,
}

impl<'a> Writing<'a> {
    /// Reads the column list of an INSERT.
    pub(crate) fn new(
        insert: &'a InsertDecl,
        index: usize,
        (table, spec): (usize, &'a TableSpec),
        file: &'a Arc<str>,
    ) -> Result<Self, Error> {
        let all = spec.columns.len();
        let mut positions = vec![None; all];
        if insert.columns.is_empty() {
            positions = (0..all).map(Some).collect();
        }
        for (position, (name, place)) in insert.columns.iter().enumerate() {
            let found = spec.columns.iter().position(|column| column.name == *name);
            let Some(found) = found else { return Err(unknown_column(spec, name, place)) };
            if positions[found].replace(position).is_some() {
                let error = Error::config(codes::OF0332, format!("column '{name}' stands in the list twice"));
                return Err(error.at(place));
            }
        }
        let writing = Self { insert, index, table, spec, file, positions };
        writing.check_left_out()?;
        Ok(writing)
    }

    fn check_left_out(&self) -> Result<(), Error> {
        for (index, column) in self.spec.columns.iter().enumerate() {
            let required = !column.nullable || self.spec.key.contains(&index);
            if self.positions[index].is_none() && required {
                let why = if column.nullable { "part of the primary key" } else { "NOT NULL" };
                let message = format!("column '{}' of '{}' is left out, but is {why}", column.name, self.spec.name);
                return Err(Error::config(codes::OF0333, message).at(&self.insert.place).help(format!(
                    "add it to the list: `INSERT INTO {} (…, {}) SELECT …`",
                    self.spec.name, column.name
                )));
            }
        }
        Ok(())
    }

    fn width(&self) -> usize {
        if self.insert.columns.is_empty() { self.spec.columns.len() } else { self.insert.columns.len() }
    }

    /// The place of the query's column at a position.
    fn place(&self, position: usize) -> Place {
        fn first(body: &SetExpr) -> Option<&sqlparser::ast::Select> {
            match body {
                SetExpr::Select(select) => Some(select),
                SetExpr::Query(query) => first(&query.body),
                SetExpr::SetOperation { left, .. } => first(left),
                _ => None,
            }
        }
        let item = first(&self.insert.query.body).and_then(|select| {
            let wild = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
            if select.projection.iter().any(wild) { None } else { select.projection.get(position) }
        });
        let place = item.and_then(|item| super::trouble::place_of(self.file, item.span()));
        place.unwrap_or_else(|| self.insert.place.clone())
    }

    fn check_width(&self, found: usize, names: &[String]) -> Planned<()> {
        let wanted = self.width();
        if found == wanted {
            return Ok(());
        }
        let columns: Vec<_> = match self.insert.columns.is_empty() {
            true => self.spec.columns.iter().map(|column| column.name.as_str()).collect(),
            false => self.insert.columns.iter().map(|(name, _)| name.as_str()).collect(),
        };
        let error =
            Error::config(codes::OF0330, format!("the query has {found} columns, '{}' takes {wanted}", self.spec.name));
        let error = error
            .at(&self.insert.place)
            .note(format!("the query gives: {}", names.join(", ")))
            .note(format!("the table takes: {}", columns.join(", ")));
        Err(carry(match found < wanted && self.insert.columns.is_empty() {
            true => error.help(format!(
                "name the columns to write: `INSERT INTO {} ({}) SELECT …`",
                self.spec.name,
                names.join(", ")
            )),
            false => error.help(format!("select exactly the columns that '{}' takes, in this order", self.spec.name)),
        }))
    }

    fn mismatch(&self, from: &DataType, column: &ColumnSpec, position: usize) -> Error {
        Error::config(
            codes::OF0331,
            format!(
                "column '{}' of '{}' is {}, the query gives {}",
                column.name,
                self.spec.name,
                column.declared,
                sql_type(from)
            ),
        )
        .at(&self.place(position))
        .label(format!("is {}", sql_type(from)))
        .help(format!("write `CAST(… AS {})`", column.declared))
    }

    /// Checks a conversion that nobody wrote; a warning where digits get lost.
    fn check_fit(
        &self,
        from: &DataType,
        column: &ColumnSpec,
        position: usize,
        warnings: &mut Vec<Error>,
    ) -> Planned<Fit> {
        let fit = fit(from, &column.data_type);
        match fit {
            Fit::No => return Err(carry(self.mismatch(from, column, position))),
            Fit::Round => {
                let message = format!(
                    "column '{}' of '{}' is {}: values of type {} are rounded",
                    column.name,
                    self.spec.name,
                    column.declared,
                    sql_type(from)
                );
                let help = format!("write `CAST(… AS {})` to say so, or declare more digits", column.declared);
                warnings.push(Error::config(codes::OF0335, message).at(&self.place(position)).help(help));
            }
            Fit::Same | Fit::Convert => {}
        }
        Ok(fit)
    }

    fn schema(&self) -> SchemaRef {
        let required = |index: usize, column: &ColumnSpec| !column.nullable || self.spec.key.contains(&index);
        let field = |(index, column): (usize, &ColumnSpec)| {
            Field::new(&column.name, column.data_type.clone(), !required(index, column))
        };
        Arc::new(Schema::new(self.spec.columns.iter().enumerate().map(field).collect::<Vec<_>>()))
    }

    /// What an output writes.
    pub(crate) fn sink(&self, lowering: &mut Lowering<'_>, output: Output, warnings: &mut Vec<Error>) -> Planned<Sink> {
        match output {
            Output::Rows(rel) => self.rows(lowering, &rel, warnings),
            Output::Groups(groups) => self.groups(lowering, groups, warnings),
        }
    }

    fn rows(&self, lowering: &mut Lowering<'_>, rel: &Rel, warnings: &mut Vec<Error>) -> Planned<Sink> {
        let names: Vec<_> = rel.columns.iter().map(|column| column.name.clone()).collect();
        self.check_width(rel.columns.len(), &names)?;
        let fields = lowering.graph.node(rel.node).fields.clone();
        let mut exprs = Vec::with_capacity(self.spec.columns.len());
        for (column, position) in self.spec.columns.iter().zip(&self.positions) {
            let computed = match position {
                None => Computed { expr: Expr::Literal(ScalarValue::try_from(&column.data_type)?, None), place: None },
                Some(position) => {
                    let field = &fields[rel.columns[*position].index];
                    let fit = self.check_fit(field.data_type(), column, *position, warnings)?;
                    self.converted(rel::column(field.name()), fit, column, *position)
                }
            };
            exprs.push((computed, column.name.clone()));
        }
        let node = lowering.graph.project(rel.node, exprs);
        let required = self.required((0..self.spec.columns.len()).map(Some));
        let (insert, table) = (self.index, self.table);
        Ok(Sink { insert, table, node, kind: SinkKind::Rows(self.schema()), required, grouped: None })
    }

    fn converted(&self, expr: Expr, fit: Fit, column: &ColumnSpec, position: usize) -> Computed {
        let expr = if fit == Fit::Same { expr } else { expr::cast(expr, column.data_type.clone()) };
        Computed { expr, place: Some(self.place(position)) }
    }

    /// The columns of a node that must not be NULL; `at` gives for each column of the table where it stands in the node.
    fn required(&self, at: impl Iterator<Item = Option<usize>>) -> Vec<(usize, String, Place)> {
        let columns = self.spec.columns.iter().enumerate().zip(at);
        let required = columns.filter(|((index, column), _)| !column.nullable || self.spec.key.contains(index));
        required.filter_map(|((_, column), at)| Some((at?, column.name.clone(), column.place.clone()))).collect()
    }

    fn groups(&self, lowering: &mut Lowering<'_>, groups: Groups, warnings: &mut Vec<Error>) -> Planned<Sink> {
        let WriteMode::Merge(ops) = &self.spec.mode else { return Err(carry(self.not_merging(&groups))) };
        let names: Vec<_> = groups.columns.iter().map(|column| column.name.clone()).collect();
        self.check_width(groups.columns.len(), &names)?;
        let mut parts = Vec::with_capacity(self.spec.columns.len());
        for position in &self.positions {
            parts.push(position.map(|position| (position, groups.columns[position].part.clone())));
        }
        self.check_key(&groups, &parts)?;
        let mut plan = Building { exprs: Vec::new(), keys: Vec::new(), totals: Vec::new(), columns: Vec::new() };
        let schema = lowering.graph.node(groups.input.node).schema();
        for (index, (column, part)) in self.spec.columns.iter().zip(&parts).enumerate() {
            let source = match part {
                None => Source::Constant(ScalarValue::try_from(&column.data_type)?),
                Some((_, GroupPart::Constant(value))) => {
                    let value = Expr::Literal(value.clone(), None);
                    Source::Constant(super::run::constant(&expr::cast(value, column.data_type.clone()))?)
                }
                Some((position, GroupPart::Key(key))) => {
                    let key = &groups.keys[*key];
                    let fit = self.check_fit(&key.expr.get_type(&schema)?, column, *position, warnings)?;
                    let at = plan.add(self.converted(key.expr.clone(), fit, column, *position), &column.name);
                    plan.keys.push(at);
                    Source::Key(at)
                }
                Some((position, GroupPart::Call { index: call, cast })) => {
                    let call = &groups.calls[*call];
                    self.check_merge(call, ops[index], column, *position)?;
                    let total = self.total(&mut plan, call, cast.as_ref(), column, *position, &schema)?;
                    plan.totals.push(total);
                    Source::Total(plan.totals.len() - 1)
                }
            };
            plan.columns.push(source);
        }
        let shown: Vec<_> = groups.keys.iter().map(|key| show::expr(&key.expr)).collect();
        let grouped = Some(show::grouping(&shown, &groups.calls, &groups.columns));
        let at = plan.columns.iter().map(|source| match source {
            Source::Key(at) => Some(*at),
            _ => None,
        });
        let required = self.required(at);
        let node = lowering.graph.project(groups.input.node, plan.exprs);
        let grouping = Grouping {
            keys: plan.keys,
            totals: plan.totals,
            columns: plan.columns,
            schema: self.nullable_totals(),
            on_error: self.spec.on_error,
        };
        let (insert, table) = (self.index, self.table);
        Ok(Sink { insert, table, node, kind: SinkKind::Groups(grouping), required, grouped })
    }

    /// The table's columns; totals may be NULL here, and the database has its say.
    fn nullable_totals(&self) -> SchemaRef {
        let field = |column: &ColumnSpec| Field::new(&column.name, column.data_type.clone(), true);
        Arc::new(Schema::new(self.spec.columns.iter().map(field).collect::<Vec<_>>()))
    }

    fn not_merging(&self, groups: &Groups) -> Error {
        let error = Error::config(
            codes::OF0315,
            format!("GROUP BY into '{}' needs operator state: the table does not merge", self.spec.name),
        )
        .at(&self.insert.place)
        .label("an epoch only knows its own records")
        .note("with merge operators the table itself keeps the totals, and no state is needed");
        let merges: Vec<_> = groups
            .columns
            .iter()
            .enumerate()
            .filter_map(|(position, column)| match &column.part {
                GroupPart::Call { index, .. } => {
                    let at = self.positions.iter().position(|known| *known == Some(position))?;
                    let name = &self.spec.columns.get(at)?.name;
                    Some(format!("'merge.{name}' = '{}'", op_name(merge_of(groups.calls[*index].kind))))
                }
                _ => None,
            })
            .collect();
        let key = if self.spec.key.is_empty() {
            "declare the GROUP BY columns as PRIMARY KEY … NOT ENFORCED, and add"
        } else {
            "add"
        };
        error.help(format!("{key} to the options of '{}': {}", self.spec.name, merges.join(", ")))
    }

    fn check_key(&self, groups: &Groups, parts: &[Option<(usize, GroupPart)>]) -> Planned<()> {
        let is_key = |index: usize| self.spec.key.contains(&index);
        for (index, part) in parts.iter().enumerate() {
            let name = &self.spec.columns[index].name;
            match part {
                Some((position, GroupPart::Call { .. })) if is_key(index) => {
                    let message = format!("column '{name}' of the primary key is given an aggregate");
                    return Err(carry(self.wrong_key(message, *position)));
                }
                Some((position, GroupPart::Key(_))) if !is_key(index) => {
                    let message =
                        format!("'{name}' is grouped by, but is not part of the primary key of '{}'", self.spec.name);
                    return Err(carry(self.wrong_key(message, *position)));
                }
                _ => {}
            }
        }
        for (key, computed) in groups.keys.iter().enumerate() {
            let written =
                parts.iter().flatten().any(|(_, part)| matches!(part, GroupPart::Key(known) if *known == key));
            if !written {
                let text = show::expr(&computed.expr);
                let error = Error::config(
                    codes::OF0323,
                    format!("'{text}' is grouped by, but not written to '{}'", self.spec.name),
                )
                .note("several groups would be written to one key")
                .help(format!(
                    "leave it out of GROUP BY, or add a column for it to the primary key of '{}'",
                    self.spec.name
                ));
                return Err(carry(match &computed.place {
                    Some(place) => error.at(place),
                    None => error.at(&self.insert.place),
                }));
            }
        }
        Ok(())
    }

    fn wrong_key(&self, message: String, position: usize) -> Error {
        let key: Vec<_> = self.spec.key.iter().map(|index| self.spec.columns[*index].name.as_str()).collect();
        Error::config(codes::OF0323, message)
            .at(&self.place(position))
            .note(format!("the primary key is ({})", key.join(", ")))
            .help("group by exactly the columns of the primary key")
    }

    fn check_merge(&self, call: &Call, op: Option<MergeOp>, column: &ColumnSpec, position: usize) -> Planned<()> {
        let wanted = merge_of(call.kind);
        if op == Some(wanted) {
            return Ok(());
        }
        let found = op.map_or_else(|| "is not merged".to_owned(), |op| format!("is merged by '{}'", op_name(op)));
        let error = Error::config(
            codes::OF0317,
            format!("{} does not fit column '{}', which {found}", show::call(call), column.name),
        );
        let help = format!("declare 'merge.{}' = '{}'", column.name, op_name(wanted));
        Err(carry(error.at(&self.place(position)).help(help)))
    }

    fn total(
        &self,
        plan: &mut Building,
        call: &Call,
        cast: Option<&DataType>,
        column: &ColumnSpec,
        position: usize,
        schema: &datafusion_common::DFSchema,
    ) -> Planned<Total> {
        let place = self.place(position);
        let from = call.arg.as_ref().map(|arg| arg.expr.get_type(schema)).transpose()?;
        let read_as = self.check_total(call.kind, from.as_ref(), cast, column, position)?;
        let arg = match (&call.arg, read_as) {
            (Some(arg), Some(to)) => {
                let expr = if from.as_ref() == Some(&to) { arg.expr.clone() } else { expr::cast(arg.expr.clone(), to) };
                Some(plan.add(Computed { expr, place: Some(place.clone()) }, &column.name))
            }
            (Some(arg), None) => Some(plan.add(arg.clone(), &column.name)),
            (None, _) => None,
        };
        let filter = call.filter.as_ref().map(|filter| plan.add(filter.clone(), "filter"));
        let text = show::call(call);
        Ok(Total { kind: call.kind, arg, filter, to: column.data_type.clone(), text, place: Some(place) })
    }

    /// The type in which the argument is read; `None` for as it is.
    fn check_total(
        &self,
        kind: Merging,
        from: Option<&DataType>,
        cast: Option<&DataType>,
        column: &ColumnSpec,
        position: usize,
    ) -> Planned<Option<DataType>> {
        let to = &column.data_type;
        let natural = from.cloned().unwrap_or(DataType::Int64);
        let given = cast.cloned().unwrap_or_else(|| natural.clone());
        let mismatch = || Err(carry(self.mismatch(&given, column, position)));
        let whole = integer_width(to).is_some();
        let decimal = matches!(to, DataType::Decimal128(..));
        let float = matches!(to, DataType::Float32 | DataType::Float64);
        match kind {
            // A count may go into any number; whether it fits is seen when it is known.
            Merging::Count if whole || decimal || float => Ok(None),
            Merging::Count => mismatch(),
            Merging::Sum => {
                let Some(read) = summed_as(&natural) else { return mismatch() };
                let fits = match (&read, to) {
                    (DataType::Int64, _) => whole && fit_or_same(&given, to) || decimal || float,
                    (DataType::Decimal128(_, s1), DataType::Decimal128(_, s2)) => {
                        if s1 > s2 {
                            return Err(carry(self.rounded_sum(&natural, column, position)));
                        }
                        true
                    }
                    (DataType::Decimal128(..) | DataType::Float64, _) => float,
                    _ => false,
                };
                if fits { Ok(Some(read)) } else { mismatch() }
            }
            _ => match fit(&given, to) {
                Fit::No => mismatch(),
                Fit::Same | Fit::Convert | Fit::Round => Ok(Some(to.clone())),
            },
        }
    }

    fn rounded_sum(&self, from: &DataType, column: &ColumnSpec, position: usize) -> Error {
        Error::config(
            codes::OF0331,
            format!(
                "the sum is {}, column '{}' is {}: it would be rounded once per epoch",
                sql_type(from),
                column.name,
                column.declared
            ),
        )
        .at(&self.place(position))
        .help(format!("round each value: `SUM(CAST(… AS {}))`, or declare more digits", column.declared))
    }
}

fn fit_or_same(from: &DataType, to: &DataType) -> bool {
    fit(from, to) != Fit::No
}

/// A projection below a grouping, as it grows.
struct Building {
    exprs: Vec<(Computed, String)>,
    keys: Vec<usize>,
    totals: Vec<Total>,
    columns: Vec<Source>,
}

impl Building {
    fn add(&mut self, computed: Computed, name: &str) -> usize {
        self.exprs.push((computed, name.to_owned()));
        self.exprs.len() - 1
    }
}

fn unknown_column(spec: &TableSpec, name: &str, place: &Place) -> Error {
    let error = Error::config(codes::OF0332, format!("'{}' has no column '{name}'", spec.name)).at(place);
    match closest(name, spec.columns.iter().map(|column| column.name.as_str())) {
        Some(near) => error.help(format!("did you mean '{near}'?")),
        None => error,
    }
}

fn merge_of(kind: Merging) -> MergeOp {
    match kind {
        Merging::Count | Merging::Sum => MergeOp::Sum,
        Merging::Min => MergeOp::Min,
        Merging::Max => MergeOp::Max,
        Merging::Or => MergeOp::Or,
        Merging::And => MergeOp::And,
        Merging::First => MergeOp::First,
        Merging::Last => MergeOp::Last,
    }
}

/// A merge operator as the options name it.
pub(crate) fn op_name(op: MergeOp) -> &'static str {
    match op {
        MergeOp::Sum => "sum",
        MergeOp::Min => "min",
        MergeOp::Max => "max",
        MergeOp::Last => "last",
        MergeOp::First => "first",
        MergeOp::Or => "or",
        MergeOp::And => "and",
    }
}
