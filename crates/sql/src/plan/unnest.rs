//! `UNNEST(array)` in a FROM clause, with Flink's columns: one for elements, one for each field of ROW elements, key and
//! value for maps, and a number with `WITH ORDINALITY`.

use super::trouble::{Planned, refuse};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{DFSchema, DFSchemaRef};
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use onceflow::codes;
use sqlparser::ast::TableFactor;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The planner's node for UNNEST: its columns stand beside those of the row that the array is in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct UnnestNode {
    /// The array or the map.
    pub(crate) expr: Expr,
    /// Whether each element's number, from 1, is a column too.
    pub(crate) ordinality: bool,
    schema: DFSchemaRef,
}

impl PartialOrd for UnnestNode {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for UnnestNode {
    fn name(&self) -> &str {
        "Unnest"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.expr.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unnest {}", self.expr)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, _: Vec<LogicalPlan>) -> Planned<Self> {
        let expr = exprs.pop().unwrap_or_else(|| self.expr.clone());
        Ok(Self { expr, ordinality: self.ordinality, schema: self.schema.clone() })
    }
}

/// The columns of an array's or a map's elements; `None` for other types.
pub(crate) fn element_fields(data_type: &DataType) -> Option<Vec<FieldRef>> {
    match data_type {
        DataType::List(element) => Some(match element.data_type() {
            DataType::Struct(fields) => fields.iter().cloned().collect(),
            other => vec![Arc::new(Field::new("f0", other.clone(), true))],
        }),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => Some(fields.iter().cloned().collect()),
            _ => None,
        },
        _ => None,
    }
}

/// Plans UNNEST in FROM.
#[derive(Debug)]
pub(crate) struct UnnestPlanner;

impl RelationPlanner for UnnestPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Planned<RelationPlanning> {
        let TableFactor::UNNEST {
            alias,
            mut array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality,
        } = relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let (Some(array), true) = (array_exprs.pop(), array_exprs.is_empty()) else {
            return refuse(codes::OF0306, "UNNEST takes one array");
        };
        let empty = DFSchema::empty();
        let expr = context.sql_to_expr(array, &empty)?;
        let data_type = expr.get_type(&empty)?;
        let Some(mut fields) = element_fields(&data_type) else {
            let found = super::kinds::sql_type(&data_type);
            return refuse(codes::OF0305, format!("UNNEST takes an ARRAY or a MAP, not {found}"));
        };
        if with_ordinality {
            fields.push(Arc::new(Field::new("ORDINALITY", DataType::Int32, false)));
        }
        let fields = fields.into_iter().map(|field| (None, field)).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        let node = Arc::new(UnnestNode { expr, ordinality: with_ordinality, schema });
        let plan = LogicalPlan::Extension(Extension { node });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}
