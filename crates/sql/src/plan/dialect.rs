//! Flink's forms in DataFusion's: functions that are written differently, names for columns that have none, literals.
//!
//! Works on the parsed text, before planning, so that places in the text stay.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, CharacterLength, DataType, DateTimeField, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Query, Select, SelectItem, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use sqlparser::tokenizer::Span;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Rewrites a query.
pub(crate) fn rewrite(query: &Query) -> Query {
    let mut query = query.clone();
    let _ = query.visit(&mut Rewriter);
    query
}

/// Rewrites an expression.
pub(crate) fn rewrite_expr(expr: &Expr) -> Expr {
    let mut expr = expr.clone();
    let _ = expr.visit(&mut Rewriter);
    expr
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_columns(select);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(new) = rewritten(expr) {
            *expr = new;
        }
        ControlFlow::Continue(())
    }
}

/// Gives each column of a SELECT a name of its own, as Flink does: `EXPR$1`, and `a0` for a second `a`.
fn name_columns(select: &mut Select) {
    let mut taken = BTreeSet::new();
    let wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, name, span) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let (name, span) = match &*expr {
                    Expr::Identifier(ident) => (ident.value.clone(), ident.span),
                    Expr::CompoundIdentifier(idents) => match idents.last() {
                        Some(ident) => (ident.value.clone(), ident.span),
                        None => continue,
                    },
                    _ => (format!("EXPR${index}"), Span::empty()),
                };
                (expr.clone(), name, span)
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), alias.value.clone(), alias.span),
            _ => continue,
        };
        let plain = matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let mut unique = if wildcard && plain { format!("{name}0") } else { name.clone() };
        let mut next = 0;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}{next}");
            next += 1;
        }
        if plain && unique == name {
            continue;
        }
        *item = SelectItem::ExprWithAlias { expr, alias: quoted(&unique, span) };
    }
}

fn quoted(name: &str, span: Span) -> Ident {
    Ident { value: name.to_owned(), quote_style: Some('`'), span }
}

fn rewritten(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Function(function) => rewritten_function(function),
        Expr::Extract { field, expr, .. } => Some(call("$extract", vec![text(&field.to_string()), (**expr).clone()])),
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(unit) } if *unit != DateTimeField::NoDateTime => {
            Some(call("$floor_to", vec![text(&unit.to_string()), (**expr).clone()]))
        }
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(unit) } if *unit != DateTimeField::NoDateTime => {
            Some(call("$ceil_to", vec![text(&unit.to_string()), (**expr).clone()]))
        }
        Expr::Position { expr, r#in } => Some(call("locate", vec![(**expr).clone(), (**r#in).clone()])),
        Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
            let mut args = vec![(**expr).clone(), (**from).clone()];
            args.extend(substring_for.as_ref().map(|length| (**length).clone()));
            Some(call("substring", args))
        }
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr: inner,
            data_type,
            format: None,
            array: false,
        } => {
            let (name, length) = text_length(data_type)?;
            let cast = Expr::Cast {
                kind: CastKind::Cast,
                expr: inner.clone(),
                data_type: DataType::String(None),
                format: None,
                array: false,
            };
            Some(call(name, vec![cast, number(length)]))
        }
        Expr::CompoundFieldAccess { root, access_chain } => fields(root, access_chain),
        _ => None,
    }
}

/// `rows[1].name`, `CAST(x AS ROW<name STRING>).name`: behind a subscript, or behind what is no name, a name is a field.
fn fields(root: &Expr, chain: &[AccessExpr]) -> Option<Expr> {
    let subscript = match root {
        Expr::Identifier(_) => chain.iter().position(|access| matches!(access, AccessExpr::Subscript(_)))?,
        _ => 0,
    };
    let mut access_chain = chain.to_vec();
    let mut changed = false;
    for access in access_chain.iter_mut().skip(subscript) {
        if let AccessExpr::Dot(Expr::Identifier(name)) = access {
            *access = AccessExpr::Dot(text(&name.value));
            changed = true;
        }
    }
    changed.then(|| Expr::CompoundFieldAccess { root: Box::new(root.clone()), access_chain })
}

/// `CAST(x AS VARCHAR(3))` cuts, `CAST(x AS CHAR(3))` cuts and pads.
fn text_length(data_type: &DataType) -> Option<(&'static str, u64)> {
    let (name, length) = match data_type {
        DataType::Varchar(length) | DataType::CharVarying(length) | DataType::CharacterVarying(length) => {
            ("$varchar", length)
        }
        DataType::Char(length) | DataType::Character(length) => ("$char", length),
        _ => return None,
    };
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some((name, *length)),
        _ => None,
    }
}

fn rewritten_function(function: &Function) -> Option<Expr> {
    let name = function.name.to_string().to_lowercase();
    let args = plain_args(function)?;
    match (name.as_str(), args.as_slice()) {
        ("if", [condition, yes, no]) => Some(case(condition.clone(), yes.clone(), no.clone())),
        ("ifnull" | "nvl", [_, _]) => Some(call("coalesce", args)),
        ("mod", [left, right]) => Some(Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(left.clone()))),
            op: BinaryOperator::Modulo,
            right: Box::new(Expr::Nested(Box::new(right.clone()))),
        }))),
        ("greatest" | "least", [_, ..]) if args.len() > 1 => Some(null_if_any(function, &args)),
        ("timestampadd" | "timestampdiff", [Expr::Identifier(unit), rest @ ..]) => {
            Some(call(&name, [text(&unit.value)].into_iter().chain(rest.iter().cloned()).collect()))
        }
        (
            "year" | "quarter" | "month" | "week" | "dayofyear" | "dayofmonth" | "dayofweek" | "hour" | "minute"
            | "second",
            [time],
        ) => Some(call("$extract", vec![text(&name), time.clone()])),
        ("json_value", _) => json_value(function, args),
        ("rand" | "uuid", [] | [_]) => Some(call(&name, vec![site(function)])),
        ("rand_integer", [bound] | [_, bound]) => Some(call(&name, vec![site(function), bound.clone()])),
        ("every", [_]) => Some(renamed(function, "bool_and")),
        ("some", [_]) => Some(renamed(function, "bool_or")),
        _ => None,
    }
}

/// The arguments, where all are plain expressions.
fn plain_args(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// `JSON_VALUE(… RETURNING type)`: what cannot be converted is NULL, as Flink's default says.
fn json_value(function: &Function, args: Vec<Expr>) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let returning = list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::JsonReturningClause(returning) => Some(returning.data_type.clone()),
        _ => None,
    })?;
    Some(Expr::Cast {
        kind: CastKind::TryCast,
        expr: Box::new(call("json_value", args)),
        data_type: returning,
        format: None,
        array: false,
    })
}

/// GREATEST and LEAST are NULL where any argument is.
fn null_if_any(function: &Function, args: &[Expr]) -> Expr {
    let any = args
        .iter()
        .map(|arg| Expr::IsNull(Box::new(Expr::Nested(Box::new(arg.clone())))))
        .reduce(|left, right| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::Or, right: Box::new(right) })
        .expect("there are at least two arguments");
    let not = Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(any))) };
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: not, result: Expr::Function(function.clone()) }],
        else_result: None,
    }
}

/// A number for the place of a call, so that two calls draw apart and one call in a view draws the same for all that read it.
fn site(function: &Function) -> Expr {
    let start = sqlparser::ast::Spanned::span(&function.name).start;
    number(start.line * 10_000 + start.column)
}

fn case(condition: Expr, yes: Expr, no: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: yes }],
        else_result: Some(Box::new(no)),
    }
}

fn renamed(function: &Function, name: &str) -> Expr {
    let mut function = function.clone();
    function.name = ObjectName::from(vec![Ident::new(name)]);
    Expr::Function(function)
}

fn text(value: &str) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(value.to_owned()), span: Span::empty() })
}

fn number(value: u64) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Number(value.to_string(), false), span: Span::empty() })
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
