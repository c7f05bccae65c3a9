//! Expressions: from the planner's to those that run, with Flink's types and an error instead of a wrong number.
//!
//! Literals get Flink's types, arithmetic becomes exact, conversions mean what they mean in Flink, functions of the epoch
//! become functions of hidden columns. Then DataFusion coerces and simplifies.

use super::functions::{self, POSITION, arith};
use super::kinds::{UTC, integer_width, is_number, is_text, sql_type};
use super::rel::{self, NOW};
use super::trouble::{Planned, refuse};
use arrow_schema::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{BinaryExpr, Cast, Like, ScalarFunction};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, ExprSchemable, Operator, TryCast};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use onceflow::codes;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The functions that stand for something in the text, by name.
static FUNCTIONS: LazyLock<BTreeMap<String, Arc<datafusion_expr::ScalarUDF>>> = LazyLock::new(functions::all);

/// The type of an expression over named columns, as it will run.
pub(crate) fn type_of(expr: Expr, schema: &DFSchema) -> Planned<DataType> {
    finished(typed(expr, schema)?, schema)?.get_type(schema)
}

/// An expression with Flink's types and meaning.
pub(crate) fn typed(expr: Expr, schema: &DFSchema) -> Planned<Expr> {
    expr.transform_up(|expr| rewritten(expr, schema).map(Transformed::yes)).data()
}

/// Coerces and simplifies. What is constant is computed, unless it fails: then each record fails.
pub(crate) fn finished(expr: Expr, schema: &DFSchema) -> Planned<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(expr, schema)?;
    Ok(simplifier.simplify(coerced.clone()).unwrap_or(coerced))
}

/// An expression that can be evaluated.
pub(crate) fn physical(expr: &Expr, schema: &DFSchema) -> Planned<Arc<dyn PhysicalExpr>> {
    create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
}

fn rewritten(expr: Expr, schema: &DFSchema) -> Planned<Expr> {
    match expr {
        Expr::Alias(alias) => Ok(*alias.expr),
        Expr::Literal(value, metadata) => Ok(Expr::Literal(literal(value), metadata)),
        Expr::Negative(inner) => negative(*inner, schema),
        Expr::BinaryExpr(binary) => binary_expr(binary, schema),
        Expr::Cast(cast) => conversion(cast, schema),
        Expr::TryCast(cast) => try_conversion(cast, schema),
        Expr::Like(like) => like_expr(like),
        Expr::SimilarTo(like) => similar_expr(like),
        Expr::ScalarFunction(function) => scalar_function(function, schema),
        other => Ok(other),
    }
}

/// Whole numbers are INT where they fit, as in Flink.
fn literal(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Int64(Some(number)) => match i32::try_from(number) {
            Ok(number) => ScalarValue::Int32(Some(number)),
            Err(_) => ScalarValue::Int64(Some(number)),
        },
        ScalarValue::UInt64(Some(number)) => ScalarValue::Decimal128(Some(i128::from(number)), 20, 0),
        other => other,
    }
}

fn negative(inner: Expr, schema: &DFSchema) -> Planned<Expr> {
    let data_type = inner.get_type(schema)?;
    if !arith::handles(&data_type, &data_type) {
        return Ok(Expr::Negative(Box::new(inner)));
    }
    let zero = match data_type {
        DataType::Decimal128(..) => ScalarValue::Int8(Some(0)),
        other => ScalarValue::new_zero(&other)?,
    };
    Ok(exact(Operator::Minus, Expr::Literal(zero, None), inner))
}

fn exact(op: Operator, left: Expr, right: Expr) -> Expr {
    let function = arith::of(op).expect("the caller asks for one of + - * / %");
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left, right]))
}

fn binary_expr(binary: BinaryExpr, schema: &DFSchema) -> Planned<Expr> {
    let arithmetic = arith::of(binary.op).is_some();
    if !arithmetic {
        return Ok(Expr::BinaryExpr(binary));
    }
    let (left, right) = (binary.left.get_type(schema)?, binary.right.get_type(schema)?);
    if arith::handles(&left, &right) {
        return Ok(exact(binary.op, *binary.left, *binary.right));
    }
    if (is_text(&left) && is_number(&right)) || (is_number(&left) && is_text(&right)) {
        return refuse(
            codes::OF0305,
            format!("{} {} {} is not defined: cast the text to a number", sql_type(&left), binary.op, sql_type(&right)),
        );
    }
    // NULL takes the type of the other side.
    Ok(match (left.is_null(), right.is_null()) {
        (true, false) if arith::handles(&right, &right) => exact(binary.op, cast(*binary.left, right), *binary.right),
        (false, true) if arith::handles(&left, &left) => exact(binary.op, *binary.left, cast(*binary.right, left)),
        _ => Expr::BinaryExpr(binary),
    })
}

/// A plain conversion.
pub(crate) fn cast(expr: Expr, to: DataType) -> Expr {
    if functions::is_nested(&to) {
        return Expr::ScalarFunction(ScalarFunction::new_udf(functions::nested_cast(to), vec![expr]));
    }
    Expr::Cast(Cast::new(Box::new(expr), to))
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let function = FUNCTIONS.get(name).expect("the name is one of ours").clone();
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
}

fn conversion(cast_expr: Cast, schema: &DFSchema) -> Planned<Expr> {
    let from = cast_expr.expr.get_type(schema)?;
    let to = cast_expr.field.data_type().clone();
    allowed(&from, &to)?;
    if is_text(&to) && matches!(from, DataType::Timestamp(..)) {
        return Ok(call("$text_of_timestamp", vec![*cast_expr.expr]));
    }
    if is_text(&to) && from == DataType::Boolean {
        return Ok(call("$text_of_boolean", vec![*cast_expr.expr]));
    }
    if from == to {
        return Ok(*cast_expr.expr);
    }
    Ok(cast(trimmed(*cast_expr.expr, &from, &to), to))
}

fn try_conversion(cast_expr: TryCast, schema: &DFSchema) -> Planned<Expr> {
    let from = cast_expr.expr.get_type(schema)?;
    let to = cast_expr.field.data_type().clone();
    allowed(&from, &to)?;
    if is_text(&to) && matches!(from, DataType::Timestamp(..) | DataType::Boolean) {
        let plain = Cast { expr: cast_expr.expr, field: cast_expr.field };
        return conversion(plain, schema);
    }
    let inner = trimmed(*cast_expr.expr, &from, &to);
    Ok(Expr::TryCast(TryCast::new(Box::new(inner), to)))
}

/// Blanks around a number in a text mean nothing.
fn trimmed(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    let blank = is_text(from)
        && (is_number(to) || matches!(to, DataType::Boolean | DataType::Date32 | DataType::Timestamp(..)));
    if blank { call("btrim", vec![expr]) } else { expr }
}

fn allowed(from: &DataType, to: &DataType) -> Planned<()> {
    if functions::is_nested(to) && !functions::converts(from, to) {
        return refuse(codes::OF0305, format!("{} cannot be cast to {}", sql_type(from), sql_type(to)));
    }
    let time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..) | DataType::Date32);
    if (is_number(from) && time(to)) || (time(from) && is_number(to)) {
        let error =
            onceflow::Error::config(codes::OF0343, format!("{} cannot be cast to {}", sql_type(from), sql_type(to)));
        let help = if time(to) {
            "write TO_TIMESTAMP_LTZ(x, 3) for milliseconds, TO_TIMESTAMP_LTZ(x, 0) for seconds since 1970"
        } else {
            "write EXTRACT(EPOCH FROM x), or UNIX_TIMESTAMP over text"
        };
        return Err(super::trouble::carry(error.help(help)));
    }
    Ok(())
}

fn constant_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

fn like_expr(like: Like) -> Planned<Expr> {
    let Some(pattern) = constant_text(&like.pattern) else {
        if like.escape_char.is_some() {
            return refuse(codes::OF0342, "the pattern of LIKE with ESCAPE must be a literal");
        }
        return Ok(Expr::Like(like));
    };
    let pattern = functions::like_pattern(pattern, like.escape_char);
    let pattern = Box::new(Expr::Literal(ScalarValue::Utf8(Some(pattern)), None));
    Ok(Expr::Like(Like { pattern, escape_char: None, ..like }))
}

fn similar_expr(like: Like) -> Planned<Expr> {
    let Some(pattern) = constant_text(&like.pattern) else {
        return refuse(codes::OF0342, "the pattern of SIMILAR TO must be a literal");
    };
    let regex = functions::similar_pattern(pattern, like.escape_char);
    if let Err(reason) = functions::check_pattern(&regex) {
        return refuse(codes::OF0340, format!("the pattern '{pattern}' of SIMILAR TO: {reason}"));
    }
    let pattern = Expr::Literal(ScalarValue::Utf8(Some(regex)), None);
    let matched = call("$similar", vec![*like.expr, pattern]);
    Ok(if like.negated { Expr::Not(Box::new(matched)) } else { matched })
}

fn scalar_function(function: ScalarFunction, schema: &DFSchema) -> Planned<Expr> {
    check_constants(&function)?;
    let counts = COUNTING.contains(&function.name());
    let expr = of_the_epoch(function, schema)?;
    if counts {
        return Ok(cast(expr, DataType::Int32));
    }
    // Types that only DataFusion has end here.
    let plain = match expr.get_type(schema)? {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::UInt64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt16 | DataType::UInt8 => DataType::Int32,
        _ => return Ok(expr),
    };
    Ok(cast(expr, plain))
}

/// Functions of DataFusion that count, and that are INT in Flink.
const COUNTING: &[&str] = &["cardinality", "array_length", "array_position", "octet_length", "levenshtein"];

/// Patterns and paths that are constants are checked when the pipeline starts.
fn check_constants(function: &ScalarFunction) -> Planned<()> {
    let constant = |index: usize| function.args.get(index).and_then(constant_text);
    let (code, checked) = match (function.name(), constant(1)) {
        ("date_format" | "to_timestamp" | "to_date" | "from_unixtime" | "unix_timestamp", Some(pattern)) => {
            (codes::OF0340, functions::check_date_pattern(pattern))
        }
        ("json_value" | "json_query" | "json_exists", Some(path)) => (codes::OF0341, functions::check_path(path)),
        ("regexp" | "regexp_extract" | "regexp_replace", Some(pattern)) => (
            codes::OF0340,
            functions::check_pattern(pattern).map_err(|reason| format!("pattern '{pattern}': {reason}")),
        ),
        _ => return Ok(()),
    };
    match checked {
        Ok(()) => Ok(()),
        Err(reason) => refuse(code, reason),
    }
}

/// Replaces functions of the epoch by hidden columns, where there are some.
fn of_the_epoch(function: ScalarFunction, schema: &DFSchema) -> Planned<Expr> {
    let name = function.name().to_owned();
    let name = if name == "unix_timestamp" && function.args.is_empty() { "$unix_now" } else { name.as_str() };
    let known = functions::VOLATILE.contains(&name) || name == "$unix_now";
    if !known || !schema.has_column_with_unqualified_name(NOW) {
        return Ok(Expr::ScalarFunction(function));
    }
    let now = |unit: TimeUnit, zone: bool| cast(rel::column(NOW), DataType::Timestamp(unit, zone.then(|| UTC.into())));
    Ok(match name {
        "current_timestamp" | "now" | "current_row_timestamp" => now(TimeUnit::Millisecond, true),
        "localtimestamp" => now(TimeUnit::Millisecond, false),
        "current_date" => cast(now(TimeUnit::Microsecond, false), DataType::Date32),
        "current_time" | "localtime" => {
            cast(now(TimeUnit::Millisecond, false), DataType::Time32(TimeUnit::Millisecond))
        }
        "$unix_now" => cast(now(TimeUnit::Second, false), DataType::Int64),
        drawn => {
            let args = [rel::column(POSITION)].into_iter().chain(function.args).collect();
            call(&format!("${drawn}"), args)
        }
    })
}

/// Whether evaluating an expression can fail for a record.
pub(crate) fn may_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let own = match expr {
        Expr::Cast(cast) => {
            let (from, to) = (cast.expr.get_type(schema), cast.field.data_type());
            let widens = from.ok().and_then(|from| Some(integer_width(&from)? <= integer_width(to)?));
            widens != Some(true)
        }
        Expr::ScalarFunction(_) | Expr::Negative(_) => true,
        Expr::BinaryExpr(binary) => arith::of(binary.op).is_some(),
        _ => false,
    };
    let mut any = own;
    let walked = expr.apply_children(|child| {
        any = any || may_fail(child, schema);
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    });
    walked.expect("nothing fails on the way");
    any
}
