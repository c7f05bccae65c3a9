//! What a query may not ask for, because it needs operator state or event time: refused by name and place, with what to
//! write instead.
//!
//! Looks at the text only. What shows itself only after planning (a grouped result used further, keys that are not the
//! table's) is refused in `lower` and `target`.

use super::functions::VOLATILE;
use super::trouble::{closest, place_of};
use onceflow::codes::{self, Code};
use onceflow::{Error, Place};
use sqlparser::ast::{
    Distinct, DuplicateTreatment, Expr, Function, FunctionArguments, GroupByExpr, Join, JoinOperator, ObjectName,
    Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor, Visit, Visitor,
};
use sqlparser::tokenizer::Span;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The names that a query may use.
pub(crate) struct Names<'a> {
    /// Declared tables and views.
    pub(crate) relations: BTreeSet<&'a str>,
    /// Scalar functions, in lower case.
    pub(crate) scalars: BTreeSet<&'a str>,
}

/// Aggregates that merge: name in lower case.
pub(crate) const AGGREGATES: &[&str] =
    &["count", "sum", "min", "max", "bool_or", "bool_and", "every", "some", "first_value", "last_value"];

/// Aggregates that Flink or DataFusion have and that do not merge.
const OTHER_AGGREGATES: &[&str] = &[
    "avg",
    "mean",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var_pop",
    "var_samp",
    "variance",
    "median",
    "listagg",
    "string_agg",
    "array_agg",
    "collect",
    "json_objectagg",
    "json_arrayagg",
    "approx_count_distinct",
    "approx_distinct",
    "percentile",
    "corr",
    "covar_pop",
    "covar_samp",
    "nth_value",
    "bit_and",
    "bit_or",
    "bit_xor",
];

const WINDOWS: &[&str] = &["tumble", "hop", "cumulate", "session"];

const WINDOW_PARTS: &[&str] = &[
    "tumble_start",
    "tumble_end",
    "tumble_rowtime",
    "tumble_proctime",
    "hop_start",
    "hop_end",
    "hop_rowtime",
    "hop_proctime",
    "session_start",
    "session_end",
    "session_rowtime",
    "session_proctime",
];

const RANKS: &[&str] = &["row_number", "rank", "dense_rank", "lag", "lead", "ntile", "percent_rank", "cume_dist"];

const EVENT_TIME: &[&str] = &["proctime", "current_watermark", "rowtime", "match_rowtime", "match_proctime"];

/// Word forms that the planner turns into something else; they are no registered functions.
const FORMS: &[&str] = &[
    "if",
    "ifnull",
    "nvl",
    "mod",
    "greatest",
    "least",
    "year",
    "quarter",
    "month",
    "week",
    "dayofyear",
    "dayofmonth",
    "dayofweek",
    "hour",
    "minute",
    "second",
    "power",
    "ceil",
    "floor",
    "unnest",
    "cast",
    "try_cast",
    "map",
    "make_map",
    "array",
    "row",
    "is_decimal",
    "position",
    "extract",
    "trim",
    "overlay",
];

/// Looks at a query; the first thing that cannot be comes back.
pub(crate) fn check(query: &Query, names: &Names<'_>, file: &Arc<str>) -> Result<(), Error> {
    let mut guard = Guard { names, file, locals: Vec::new() };
    match query.visit(&mut guard) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Looks at a single expression, such as a computed column.
pub(crate) fn check_expr(expr: &Expr, names: &Names<'_>, file: &Arc<str>) -> Result<(), Error> {
    let mut guard = Guard { names, file, locals: Vec::new() };
    match expr.visit(&mut guard) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Guard<'a> {
    names: &'a Names<'a>,
    file: &'a Arc<str>,
    /// Names of WITH clauses so far; they hide declared ones.
    locals: Vec<String>,
}

type Flow = ControlFlow<Error>;

impl Guard<'_> {
    fn place(&self, span: Span) -> Option<Place> {
        place_of(self.file, span)
    }

    fn error(&self, code: Code, message: impl Into<String>, span: Span) -> Error {
        let error = Error::config(code, message);
        match self.place(span) {
            Some(place) => error.at(&place),
            None => error,
        }
    }

    fn is_stream(&self, name: &ObjectName) -> bool {
        let name = name.to_string().replace(['`', '"'], "");
        self.names.relations.contains(name.as_str()) && !self.locals.contains(&name)
    }

    /// Whether a table factor reads a declared table.
    fn reads_stream(&self, factor: &impl Visit) -> bool {
        struct Search<'a, 'b>(&'a Guard<'b>);
        impl Visitor for Search<'_, '_> {
            type Break = ();
            fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
                if self.0.is_stream(name) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        }
        factor.visit(&mut Search(self)).is_break()
    }

    fn set_operations(&self, body: &SetExpr) -> Flow {
        let SetExpr::SetOperation { left, op, set_quantifier, right } = body else { return ControlFlow::Continue(()) };
        if !matches!((op, set_quantifier), (SetOperator::Union, SetQuantifier::All)) {
            let quantifier = match set_quantifier {
                SetQuantifier::None | SetQuantifier::Distinct => String::new(),
                other => format!(" {other}"),
            };
            let error = self.error(codes::OF0318, format!("{op}{quantifier} needs operator state"), right.span());
            let error = error.label("compared with all rows before").help(match op {
                SetOperator::Union => "write UNION ALL",
                _ => "write all rows to tables of one database, and compare them there with a view",
            });
            return ControlFlow::Break(error);
        }
        self.set_operations(left)?;
        self.set_operations(right)
    }

    fn grouping(&self, select: &Select) -> Flow {
        let GroupByExpr::Expressions(exprs, modifiers) = &select.group_by else {
            let error = self.error(codes::OF0306, "GROUP BY ALL is not supported", select.span());
            return ControlFlow::Break(error.help("name the expressions to group by"));
        };
        let sets = exprs.iter().find(|expr| matches!(expr, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_)));
        if let Some(span) = sets.map(Spanned::span).or_else(|| (!modifiers.is_empty()).then(|| select.span())) {
            let error = self.error(codes::OF0306, "GROUPING SETS, ROLLUP and CUBE are not supported", span);
            return ControlFlow::Break(error.help("write one INSERT for each grouping, into a table of its own"));
        }
        ControlFlow::Continue(())
    }

    fn joins(&self, select: &Select) -> Flow {
        for (index, table) in select.from.iter().enumerate() {
            if index > 0 && self.reads_stream(&table.relation) {
                return self.join(&table.relation, None);
            }
            for join in &table.joins {
                if self.reads_stream(&join.relation) {
                    return self.join(&join.relation, Some(join));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn join(&self, relation: &TableFactor, join: Option<&Join>) -> Flow {
        let name = match relation {
            TableFactor::Table { name, .. } => format!(" with '{name}'"),
            _ => String::new(),
        };
        let lookup = matches!(relation, TableFactor::Table { version: Some(_), .. });
        let what = match (lookup, join.map(|join| &join.join_operator)) {
            (true, _) => "a lookup join",
            (_, Some(JoinOperator::CrossJoin(_)) | None) => "a cross join",
            _ => "a join",
        };
        let error = self.error(codes::OF0310, format!("{what}{name} needs operator state"), relation.span());
        ControlFlow::Break(
            error
                .label("rows of both sides would have to be remembered")
                .help("write both streams to tables of one database, and join them there with a view"),
        )
    }

    fn function(&self, function: &Function) -> Flow {
        let name = function.name.to_string();
        let lower = name.to_lowercase();
        let span = function.name.span();
        if function.over.is_some() || RANKS.contains(&lower.as_str()) {
            let error = self.error(codes::OF0312, format!("{} OVER needs operator state", name.to_uppercase()), span);
            return ControlFlow::Break(
                error.help("compute it in the database, over the table that the rows are written to"),
            );
        }
        if WINDOWS.contains(&lower.as_str()) || WINDOW_PARTS.contains(&lower.as_str()) {
            return ControlFlow::Break(self.window(&name, span));
        }
        if EVENT_TIME.contains(&lower.as_str()) {
            let error = self.error(codes::OF0322, format!("{} is not supported", name.to_uppercase()), span);
            return ControlFlow::Break(error.help("write CURRENT_TIMESTAMP for the time of the epoch"));
        }
        if OTHER_AGGREGATES.contains(&lower.as_str()) {
            return ControlFlow::Break(self.aggregate(&lower, span));
        }
        if AGGREGATES.contains(&lower.as_str()) {
            return self.merging_aggregate(function, &lower);
        }
        self.known(&lower, &name, span)
    }

    fn window(&self, name: &str, span: Span) -> Error {
        self.error(codes::OF0311, format!("the window {} needs operator state", name.to_uppercase()), span)
            .help("group by the window's start and merge: `GROUP BY FLOOR(ts TO HOUR)` into a table with 'merge.<column>' = 'sum'")
    }

    fn aggregate(&self, name: &str, span: Span) -> Error {
        let error = self.error(codes::OF0317, format!("{} cannot be merged", name.to_uppercase()), span);
        match name {
            "avg" | "mean" => error
                .label("the average of averages is not the average")
                .help("write SUM(x) and COUNT(x) into two columns merged by 'sum', and divide where the table is read"),
            _ => error.help("write the rows to a table, and aggregate where it is read"),
        }
    }

    fn merging_aggregate(&self, function: &Function, lower: &str) -> Flow {
        if let FunctionArguments::List(list) = &function.args
            && list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
        {
            let error = self.error(
                codes::OF0313,
                format!("{}(DISTINCT …) needs operator state", lower.to_uppercase()),
                function.name.span(),
            );
            return ControlFlow::Break(
                error.help("write the distinct values as rows with 'write.mode' = 'insert-ignore', and count them where they are read"),
            );
        }
        if !function.within_group.is_empty() {
            let error = self.error(codes::OF0306, "WITHIN GROUP is not supported", function.name.span());
            return ControlFlow::Break(error);
        }
        ControlFlow::Continue(())
    }

    fn known(&self, lower: &str, name: &str, span: Span) -> Flow {
        let all = || self.names.scalars.iter().copied().chain(FORMS.iter().copied()).chain(VOLATILE.iter().copied());
        if all().any(|known| known == lower) && (!lower.starts_with('$') || lower == crate::parse::MAP_OF) {
            return ControlFlow::Continue(());
        }
        let error = self.error(codes::OF0304, format!("unknown function '{name}'"), span);
        let public = all().chain(AGGREGATES.iter().copied()).filter(|known| !known.starts_with('$'));
        ControlFlow::Break(match closest(lower, public) {
            Some(near) => error.help(format!("did you mean {}?", near.to_uppercase())),
            None => error.help("docs/functions.md lists all functions"),
        })
    }

    fn subquery(&self, query: &Query, span: Span) -> Flow {
        if !self.reads_stream(query) {
            return ControlFlow::Continue(());
        }
        let error = self.error(codes::OF0319, "a subquery over a stream needs operator state", span);
        ControlFlow::Break(
            error
                .label("its answer would change with every record")
                .help("write both streams to tables of one database, and compare them there with a view"),
        )
    }
}

impl Visitor for Guard<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        if let Some(with) = &query.with {
            if with.recursive {
                let error = self.error(codes::OF0320, "WITH RECURSIVE is not supported", with.span());
                return ControlFlow::Break(error);
            }
            self.locals.extend(with.cte_tables.iter().map(|cte| cte.alias.name.value.clone()));
        }
        let tail = |what: &str, span: Span| {
            let error = self.error(codes::OF0314, format!("{what} has no end to wait for in a stream"), span);
            ControlFlow::Break(error.help(format!("leave {what} out, and write it where the table is read")))
        };
        if let Some(order) = &query.order_by {
            return tail("ORDER BY", order.span());
        }
        if let Some(limit) = &query.limit_clause {
            return tail("LIMIT", limit.span());
        }
        if query.fetch.is_some() {
            return tail("FETCH", query.span());
        }
        self.set_operations(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        if let Some(distinct) = &select.distinct
            && !matches!(distinct, Distinct::All)
        {
            let span = select.projection.first().map_or_else(Span::empty, Spanned::span);
            let error = self.error(codes::OF0313, "SELECT DISTINCT needs operator state", span);
            return ControlFlow::Break(error.help(
                "declare a PRIMARY KEY over the columns and 'write.mode' = 'insert-ignore': the table then keeps each row once",
            ));
        }
        if let Some(having) = &select.having {
            let error = self.error(codes::OF0316, "HAVING needs operator state", having.span());
            return ControlFlow::Break(
                error.help("merge all groups into the table, and filter them in a view over it"),
            );
        }
        if let Some(qualify) = &select.qualify {
            let error = self.error(codes::OF0312, "QUALIFY needs operator state", qualify.span());
            return ControlFlow::Break(error);
        }
        self.grouping(select)?;
        self.joins(select)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        match factor {
            TableFactor::MatchRecognize { .. } => {
                ControlFlow::Break(self.error(codes::OF0321, "MATCH_RECOGNIZE needs operator state", factor.span()))
            }
            TableFactor::TableFunction { expr: Expr::Function(function), .. } => self.function(function),
            TableFactor::Function { name, .. } if WINDOWS.contains(&name.to_string().to_lowercase().as_str()) => {
                ControlFlow::Break(self.window(&name.to_string(), name.span()))
            }
            TableFactor::Table { name, args: Some(_), .. } => {
                if WINDOWS.contains(&name.to_string().to_lowercase().as_str()) {
                    return ControlFlow::Break(self.window(&name.to_string(), name.span()));
                }
                let error = self.error(codes::OF0306, format!("the table function '{name}' is not known"), name.span());
                ControlFlow::Break(error)
            }
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => {
                ControlFlow::Break(self.error(codes::OF0306, "PIVOT and UNPIVOT are not supported", factor.span()))
            }
            TableFactor::Table { version: Some(_), name, .. } => {
                let error =
                    self.error(codes::OF0310, format!("a lookup join with '{name}' needs operator state"), name.span());
                ControlFlow::Break(error)
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::Subquery(query) | Expr::Exists { subquery: query, .. } => self.subquery(query, expr.span()),
            Expr::InSubquery { subquery, .. } => self.subquery(subquery, expr.span()),
            _ => ControlFlow::Continue(()),
        }
    }
}
