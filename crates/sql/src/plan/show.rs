//! Expressions, operators and failures as people read them.

use super::functions::{POSITION, arith};
use super::kinds::sql_type;
use super::lower::{Call, GroupColumn, GroupPart};
use super::rel::{Computed, Graph, NOW, NodeId, Op, column_name};
use super::trouble::sql_types;
use arrow_schema::ArrowError;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::Expr;
use datafusion_expr::expr::ScalarFunction;
use onceflow::codes::{self, Code};
use std::collections::BTreeSet;

/// An expression as SQL.
pub(crate) fn expr(expr: &Expr) -> String {
    written(expr, 0)
}

/// Writes an expression, in brackets where it binds more weakly than `outer`.
fn written(expr: &Expr, outer: u8) -> String {
    match expr {
        Expr::Column(column) => match column.name.as_str() {
            NOW => "CURRENT_TIMESTAMP".to_owned(),
            name => name.split('#').next().unwrap_or(name).to_owned(),
        },
        Expr::Literal(value, _) => literal(value),
        Expr::BinaryExpr(binary) => {
            let own = binary.op.precedence();
            let op = match binary.op {
                datafusion_expr::Operator::NotEq => "<>".to_owned(),
                op => op.to_string(),
            };
            brackets(format!("{} {op} {}", written(&binary.left, own), written(&binary.right, own + 1)), own < outer)
        }
        Expr::ScalarFunction(function) => called(function, outer),
        Expr::Cast(cast) => format!("CAST({} AS {})", written(&cast.expr, 0), sql_type(cast.field.data_type())),
        Expr::TryCast(cast) => format!("TRY_CAST({} AS {})", written(&cast.expr, 0), sql_type(cast.field.data_type())),
        Expr::IsNull(inner) => format!("{} IS NULL", written(inner, 50)),
        Expr::IsNotNull(inner) => format!("{} IS NOT NULL", written(inner, 50)),
        Expr::Not(inner) => format!("NOT {}", written(inner, 50)),
        Expr::Negative(inner) => format!("-{}", written(inner, 50)),
        Expr::Case(case) => {
            let mut text = String::from("CASE");
            if let Some(operand) = &case.expr {
                text += &format!(" {}", written(operand, 0));
            }
            for (when, then) in &case.when_then_expr {
                text += &format!(" WHEN {} THEN {}", written(when, 0), written(then, 0));
            }
            if let Some(other) = &case.else_expr {
                text += &format!(" ELSE {}", written(other, 0));
            }
            text + " END"
        }
        Expr::Like(like) => {
            let not = if like.negated { "NOT " } else { "" };
            format!("{} {not}LIKE {}", written(&like.expr, 50), written(&like.pattern, 50))
        }
        Expr::InList(list) => {
            let not = if list.negated { "NOT " } else { "" };
            let items: Vec<_> = list.list.iter().map(|item| written(item, 0)).collect();
            format!("{} {not}IN ({})", written(&list.expr, 50), items.join(", "))
        }
        Expr::Between(between) => {
            let not = if between.negated { "NOT " } else { "" };
            let (low, high) = (written(&between.low, 50), written(&between.high, 50));
            format!("{} {not}BETWEEN {low} AND {high}", written(&between.expr, 50))
        }
        other => other.human_display().to_string(),
    }
}

fn brackets(text: String, needed: bool) -> String {
    if needed { format!("({text})") } else { text }
}

fn called(function: &ScalarFunction, outer: u8) -> String {
    let name = function.name();
    if let (Some(symbol), [left, right]) = (arith::symbol(name), function.args.as_slice()) {
        let own = if matches!(symbol, "+" | "-") { 40 } else { 45 };
        return brackets(format!("{} {symbol} {}", written(left, own), written(right, own + 1)), own < outer);
    }
    let name = name.trim_start_matches('$').to_uppercase();
    let hidden = |arg: &&Expr| !matches!(arg, Expr::Column(column) if column.name == POSITION);
    let drawn = function.args.iter().filter(hidden).count() < function.args.len();
    let args: Vec<_> =
        function.args.iter().filter(hidden).skip(usize::from(drawn)).map(|arg| written(arg, 0)).collect();
    format!("{name}({})", args.join(", "))
}

fn literal(value: &ScalarValue) -> String {
    match value {
        value if value.is_null() => "NULL".to_owned(),
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        ScalarValue::Boolean(Some(flag)) => flag.to_string().to_uppercase(),
        ScalarValue::Decimal128(Some(value), _, scale) => arith::written(*value, u32::try_from(*scale).unwrap_or(0)),
        other => other.to_string(),
    }
}

/// What went wrong with a record, in words, and its code.
pub(crate) fn failure(error: &DataFusionError) -> (Code, String) {
    match error.find_root() {
        DataFusionError::External(own) => match own.downcast_ref::<onceflow::Error>() {
            Some(own) => (own.code(), own.message().to_owned()),
            None => (codes::OF0363, own.to_string()),
        },
        DataFusionError::ArrowError(arrow, _) => of_arrow(arrow),
        other => {
            let text = other.message().into_owned();
            let code = if text.contains("verflow") { codes::OF0361 } else { codes::OF0363 };
            (code, sql_types(&text))
        }
    }
}

fn of_arrow(error: &ArrowError) -> (Code, String) {
    match error {
        ArrowError::DivideByZero => (codes::OF0362, "division by zero".to_owned()),
        ArrowError::ArithmeticOverflow(text) => {
            let text = text.strip_prefix("Overflow happened on: ").unwrap_or(text);
            (codes::OF0361, format!("the number is too large: {text}"))
        }
        ArrowError::CastError(text) | ArrowError::ParseError(text) | ArrowError::InvalidArgumentError(text) => (
            codes::OF0360,
            sql_types(&text.replace("Cannot cast string", "cannot convert").replace("to value of", "to")),
        ),
        other => (codes::OF0363, sql_types(&other.to_string())),
    }
}

/// The operators from the sources to a node, one line each.
pub(crate) fn operators(
    graph: &Graph,
    needed: &[BTreeSet<usize>],
    root: NodeId,
    tables: &[String],
    widths: &[usize],
) -> Vec<String> {
    graph.reach(root).into_iter().filter_map(|node| line(graph, needed, node, tables, widths)).collect()
}

fn line(graph: &Graph, needed: &[BTreeSet<usize>], id: NodeId, tables: &[String], widths: &[usize]) -> Option<String> {
    let node = graph.node(id);
    let needed = &needed[id.0];
    let plain = |name: &str| name.split('#').next().unwrap_or(name).to_owned();
    match &node.op {
        Op::Scan { table } => {
            let names: Vec<_> =
                needed.iter().map(|index| node.fields[*index].name()).filter(|name| !name.starts_with('$')).collect();
            let all = widths[*table];
            let listed =
                if names.is_empty() { "no columns".to_owned() } else { join(names.iter().map(|name| name.as_str())) };
            Some(format!("scan {}: {listed} ({} of {all} columns)", tables[*table], names.len()))
        }
        Op::One => None,
        Op::Project { input, exprs } if only_renames(exprs) && matches!(graph.node(*input).op, Op::Project { .. }) => {
            None
        }
        Op::Project { exprs, .. } => {
            let item = |index: &usize| {
                let (text, name) = (expr(&exprs[*index].expr), plain(node.fields[*index].name()));
                if text == name || name.starts_with("EXPR$") { text } else { format!("{text} AS {name}") }
            };
            let visible = needed.iter().filter(|index| !node.fields[**index].name().starts_with('$'));
            let items: Vec<_> = visible.map(item).collect();
            Some(format!("project {}", items.join(", ")))
        }
        Op::Filter { conditions, .. } => {
            let all: Vec<_> = conditions.iter().map(|condition| written(&condition.expr, 10)).collect();
            Some(format!("filter {}", all.join(" AND ")))
        }
        Op::Unnest { array, outer, .. } => {
            Some(format!("unnest {}{}", expr(&array.expr), if *outer { ", rows without elements stay" } else { "" }))
        }
        Op::Cross { rows, .. } => Some(format!("repeat for {} constant rows", rows.num_rows())),
        Op::Union { inputs } => Some(format!("unite {} inputs", inputs.len())),
    }
}

fn only_renames(exprs: &[Computed]) -> bool {
    exprs.iter().all(|computed| column_name(&computed.expr).is_some())
}

/// Words with commas between.
pub(crate) fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

/// A grouping as one line.
pub(crate) fn grouping(keys: &[String], calls: &[Call], columns: &[GroupColumn]) -> String {
    let shown = columns.iter().filter_map(|column| match &column.part {
        GroupPart::Call { index, .. } => calls.get(*index).map(call),
        _ => None,
    });
    let shown: Vec<_> = shown.collect();
    let by = if keys.is_empty() { "all rows".to_owned() } else { keys.join(", ") };
    format!("group by {by} within an epoch: {}", shown.join(", "))
}

/// A call of an aggregate as SQL.
pub(crate) fn call(call: &Call) -> String {
    let arg = call.arg.as_ref().map_or_else(|| "*".to_owned(), |arg| expr(&arg.expr));
    match &call.filter {
        Some(filter) => format!("{}({arg}) FILTER (WHERE {})", call.kind.sql(), expr(&filter.expr)),
        None => format!("{}({arg})", call.kind.sql()),
    }
}
