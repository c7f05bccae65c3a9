//! What the planner may know: declared tables, views, functions, types.
//!
//! Owns name resolution. Views are planned where they are named, each time.

use super::dialect;
use super::functions;
use super::kinds::FlinkTypes;
use super::refuse::{self, AGGREGATES, Names};
use super::trouble::{Planned, carry, closest};
use super::unnest::UnnestPlanner;
use crate::model::{ColumnKind, Script, TableDecl, ViewDecl};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, TableReference};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF,
};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use onceflow::{Error, codes};
use sqlparser::ast::{Query, Statement};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The planner's view of a text.
pub(crate) struct Catalog<'a> {
    pub(crate) script: &'a Script,
    scalars: BTreeMap<String, Arc<ScalarUDF>>,
    aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    expressions: Vec<Arc<dyn ExprPlanner>>,
    relations: Vec<Arc<dyn RelationPlanner>>,
    options: ConfigOptions,
    /// Views that are being planned, to notice a view of itself.
    open: RefCell<Vec<String>>,
}

/// A declared table as the planner sees it.
pub(crate) struct Declared {
    /// Its index in the text.
    pub(crate) table: usize,
    schema: SchemaRef,
}

impl TableSource for Declared {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// A view as the planner sees it.
struct View {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl TableSource for View {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

impl<'a> Catalog<'a> {
    /// The catalog of a text.
    pub(crate) fn new(script: &'a Script) -> Self {
        let aggregates = datafusion_functions_aggregate::all_default_aggregate_functions()
            .into_iter()
            .filter(|function| AGGREGATES.contains(&function.name()))
            .map(|function| (function.name().to_owned(), function))
            .collect();
        Self {
            script,
            scalars: functions::all(),
            aggregates,
            expressions: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
            ],
            relations: vec![Arc::new(UnnestPlanner)],
            options: ConfigOptions::default(),
            open: RefCell::default(),
        }
    }

    /// The names that queries may use.
    pub(crate) fn names(&self) -> Names<'_> {
        let tables = self.script.tables.iter().map(|table| &*table.name);
        let views = self.script.views.iter().map(|view| view.name.as_str());
        Names { relations: tables.chain(views).collect(), scalars: self.scalars.keys().map(String::as_str).collect() }
    }

    fn planner(&self) -> SqlToRel<'_, Self> {
        let options = ParserOptions::new()
            .with_parse_float_as_decimal(true)
            .with_enable_ident_normalization(false)
            .with_map_string_types_to_utf8view(false)
            .with_collect_spans(true);
        SqlToRel::new_with_options(self, options)
    }

    /// The logical plan of a query.
    pub(crate) fn plan(&self, query: &Query) -> Planned<LogicalPlan> {
        self.planner().sql_statement_to_plan(Statement::Query(Box::new(dialect::rewrite(query))))
    }

    /// An expression over columns.
    pub(crate) fn expr(&self, expr: &sqlparser::ast::Expr, schema: &DFSchema) -> Planned<Expr> {
        refuse::check_expr(expr, &self.names(), &self.script.file).map_err(carry)?;
        self.planner().sql_to_expr(dialect::rewrite_expr(expr), schema, &mut PlannerContext::new())
    }

    /// The columns of a table that come from its records, in order: with their index in the declaration.
    pub(crate) fn recorded(table: &TableDecl) -> impl Iterator<Item = (usize, Field)> + '_ {
        table.columns.iter().enumerate().filter_map(|(index, column)| {
            let declared = column.declared.as_ref()?;
            let computed = matches!(column.kind, ColumnKind::Computed(_));
            // What is declared NOT NULL is checked while records are decoded; to the planner every column may be NULL, so that
            // no expression depends on what is declared.
            (!computed).then(|| (index, Field::new(&column.name, declared.data_type.clone(), true)))
        })
    }

    /// All columns of a table, with the types of computed ones.
    fn columns(&self, table: &TableDecl) -> Planned<Vec<Field>> {
        let recorded: Vec<_> = Self::recorded(table).map(|(_, field)| field).collect();
        let schema = DFSchema::try_from(Schema::new(recorded))?;
        let column = |column: &crate::model::ColumnDecl| match (&column.kind, &column.declared) {
            (ColumnKind::Computed(expr), _) => {
                let data_type = super::expr::type_of(self.expr(expr, &schema)?, &schema)?;
                Ok(Field::new(&column.name, data_type, true))
            }
            (_, Some(declared)) => Ok(Field::new(&column.name, declared.data_type.clone(), true)),
            (_, None) => Ok(Field::new(&column.name, DataType::Null, true)),
        };
        table.columns.iter().map(column).collect()
    }

    fn view(&self, view: &ViewDecl) -> Planned<Arc<dyn TableSource>> {
        if self.open.borrow().contains(&view.name) {
            let error = Error::config(codes::OF0306, format!("the view '{}' reads itself", view.name)).at(&view.place);
            return Err(carry(error));
        }
        refuse::check(&view.query, &self.names(), &self.script.file).map_err(carry)?;
        self.open.borrow_mut().push(view.name.clone());
        let planned = self.plan(&view.query);
        self.open.borrow_mut().pop();
        let plan = named(planned?, view)?;
        let schema = plan.schema().inner().clone();
        Ok(Arc::new(View { plan, schema }))
    }

    fn unknown(&self, name: &str) -> Error {
        let error = Error::config(codes::OF0301, format!("unknown table '{name}'"));
        let names: Vec<&str> = self
            .script
            .tables
            .iter()
            .map(|table| &*table.name)
            .chain(self.script.views.iter().map(|view| view.name.as_str()))
            .collect();
        match closest(name, names.iter().copied()) {
            Some(near) => error.help(format!("did you mean '{near}'?")),
            None => error.note(format!("declared are: {}", names.join(", "))),
        }
    }
}

/// Gives a view's columns the names of its declaration.
fn named(plan: LogicalPlan, view: &ViewDecl) -> Planned<LogicalPlan> {
    if view.columns.is_empty() {
        return Ok(plan);
    }
    let found = plan.schema().fields().len();
    if found != view.columns.len() {
        let error = Error::config(
            codes::OF0330,
            format!("the view '{}' names {} columns, its query has {found}", view.name, view.columns.len()),
        );
        return Err(carry(error.at(&view.place)));
    }
    let columns: Vec<_> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(&view.columns)
        .map(|(column, name)| Expr::Column(column).alias(name))
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

impl ContextProvider for Catalog<'_> {
    fn get_table_source(&self, name: TableReference) -> Planned<Arc<dyn TableSource>> {
        let name = name.to_string();
        if let Some(table) = self.script.tables.iter().position(|table| *table.name == *name) {
            let schema = Arc::new(Schema::new(self.columns(&self.script.tables[table])?));
            return Ok(Arc::new(Declared { table, schema }));
        }
        match self.script.views.iter().find(|view| view.name == name) {
            Some(view) => self.view(view),
            None => Err(carry(self.unknown(&name))),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expressions
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(FlinkTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(&name.to_lowercase()).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(&name.to_lowercase()).cloned()
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.scalars.keys().filter(|name| !name.starts_with('$')).cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
