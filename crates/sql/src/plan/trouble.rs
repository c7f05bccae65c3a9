//! Errors of the SQL engine in the words of people: places from spans, codes, what to write instead.
//!
//! Owns the translation; which queries are refused at all is decided in `refuse` and `lower`.

use arrow_schema::DataType;
use datafusion_common::{Column, DataFusionError, SchemaError, Span as PlanSpan};
use onceflow::codes::{self, Code};
use onceflow::{Error, Place};
use sqlparser::ast::{AccessExpr, Expr, Query, SetExpr, Spanned, Visit, Visitor};
use sqlparser::tokenizer::Span;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a planning step gives.
pub(crate) type Planned<T> = std::result::Result<T, DataFusionError>;

/// The place of a span of the parser; `None` where the parser knows none.
pub(crate) fn place_of(file: &Arc<str>, span: Span) -> Option<Place> {
    place_between(file, (span.start.line, span.start.column), (span.end.line, span.end.column))
}

/// The place of a span of the planner.
pub(crate) fn place_of_plan(file: &Arc<str>, span: PlanSpan) -> Option<Place> {
    place_between(file, (span.start.line, span.start.column), (span.end.line, span.end.column))
}

fn place_between(file: &Arc<str>, start: (u64, u64), end: (u64, u64)) -> Option<Place> {
    if start.0 == 0 {
        return None;
    }
    let length = if start.0 == end.0 { end.1.saturating_sub(start.1).max(1) } else { 1 };
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Place { file: file.clone(), line: narrow(start.0), column: narrow(start.1), length: narrow(length) })
}

/// An own error on its way through the planner.
pub(crate) fn carry(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// An own error of a code, on its way through the planner.
pub(crate) fn refuse<T>(code: Code, message: impl Into<String>) -> Planned<T> {
    Err(carry(Error::config(code, message)))
}

/// Translates an error of the planner of some queries. `fallback` is the place where nothing better is known.
/// `fields` are the names of fields of ROWs, for "did you mean".
pub(crate) fn explain_in(
    error: DataFusionError,
    file: &Arc<str>,
    queries: &[&Query],
    fields: &[&str],
    fallback: &Place,
) -> Error {
    let error = translated(error, file);
    let find = |search: fn(&str, &Query, &Arc<str>) -> Option<Place>| {
        queries.iter().find_map(|query| search(error.message(), query, file))
    };
    let place = find(call_named_in).or_else(|| find(field_named_in)).or_else(|| find(condition_in));
    let quoted = queries.iter().any(|query| is_in_double_quotes(error.place(), query));
    let error = error.at(&place.unwrap_or_else(|| fallback.clone()));
    if error.code() == codes::OF0302 && quoted {
        return error.help("text stands in single quotes, and names in double quotes or backticks");
    }
    match error.message().strip_prefix(NO_FIELD).map(|name| name.trim_matches('\'').to_owned()) {
        Some(name) => error.help(crate::suggest::help(&name, "fields", fields.iter().copied())),
        None => error,
    }
}

/// The names of all fields of ROWs in some types, each once.
pub(crate) fn fields_in<'a>(types: impl Iterator<Item = &'a DataType>) -> Vec<&'a str> {
    fn walk<'a>(data_type: &'a DataType, found: &mut Vec<&'a str>) {
        match data_type {
            DataType::Struct(fields) => fields.iter().for_each(|field| {
                found.push(field.name());
                walk(field.data_type(), found);
            }),
            DataType::List(inner) => walk(inner.data_type(), found),
            // The entries of a MAP are a ROW of our own making.
            DataType::Map(entries, _) => {
                let mut inner = Vec::new();
                walk(entries.data_type(), &mut inner);
                found.extend(inner.into_iter().filter(|name| !["key", "value"].contains(name)));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    types.for_each(|data_type| walk(data_type, &mut found));
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a name in double quotes stands at a place.
fn is_in_double_quotes(place: Option<&Place>, query: &Query) -> bool {
    let Some(place) = place else { return false };
    let at = (u64::from(place.line), u64::from(place.column));
    let found = sqlparser::ast::visit_expressions(query, |expr| match expr {
        Expr::Identifier(name)
            if name.quote_style == Some('"') && (name.span.start.line, name.span.start.column) == at =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The place of a field of a ROW that a message names.
fn field_named_in(message: &str, query: &Query, file: &Arc<str>) -> Option<Place> {
    let name = message.strip_prefix(NO_FIELD)?.trim_matches('\'');
    let found = sqlparser::ast::visit_expressions(query, |expr| {
        let last = match expr {
            Expr::CompoundIdentifier(names) => names.last(),
            Expr::CompoundFieldAccess { access_chain, .. } => access_chain.iter().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(field)) if field.value == name => Some(field),
                _ => None,
            }),
            _ => None,
        };
        match last.filter(|last| last.value == name) {
            Some(last) => ControlFlow::Break(last.span),
            None => ControlFlow::Continue(()),
        }
    });
    found.break_value().and_then(|span| place_of(file, span))
}

/// The place of the condition that a message is about.
fn condition_in(message: &str, query: &Query, file: &Arc<str>) -> Option<Place> {
    message.strip_prefix(NO_CONDITION)?;
    match &*query.body {
        SetExpr::Select(select) => select.selection.as_ref().and_then(|condition| place_of(file, condition.span())),
        _ => None,
    }
}

const NO_FIELD: &str = "there is no field ";
const NO_CONDITION: &str = "the condition is ";

/// The first call of a function that a message names.
fn call_named_in(message: &str, query: &Query, file: &Arc<str>) -> Option<Place> {
    struct Search<'a>(Vec<&'a str>);
    impl Visitor for Search<'_> {
        type Break = Span;
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Span> {
            match expr {
                Expr::Function(function)
                    if self
                        .0
                        .iter()
                        .any(|word| function.name.to_string().trim_start_matches('$').eq_ignore_ascii_case(word)) =>
                {
                    ControlFlow::Break(function.name.span())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let words = message.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let upper = words.filter(|word| word.chars().count() > 1 && !word.chars().any(char::is_lowercase)).collect();
    match query.visit(&mut Search(upper)) {
        ControlFlow::Break(span) => place_of(file, span),
        ControlFlow::Continue(()) => None,
    }
}

/// Translates an error of the planner. `fallback` is the place where nothing better is known.
pub(crate) fn explain(error: DataFusionError, file: &Arc<str>, fallback: &Place) -> Error {
    translated(error, file).at(fallback)
}

/// The error in our words, at its place where that is known.
fn translated(error: DataFusionError, file: &Arc<str>) -> Error {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).and_then(|span| place_of_plan(file, span));
    let (innermost, column) = unwrap(error);
    let place = span.or_else(|| column.as_ref().and_then(|column| column_place(column, file)));
    let own = match innermost {
        DataFusionError::External(own) => match own.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::config(codes::OF0306, first_line(&other.to_string())),
        },
        DataFusionError::SchemaError(schema, _) => of_schema(&schema),
        other => of_text(&other),
    };
    match place {
        Some(place) => own.at(&place),
        None => own,
    }
}

/// Where a column's name stands in the text.
pub(crate) fn column_place(column: &Column, file: &Arc<str>) -> Option<Place> {
    column.spans.first().and_then(|span| place_of_plan(file, span))
}

fn unwrap(error: DataFusionError) -> (DataFusionError, Option<Column>) {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => unwrap(*inner),
        DataFusionError::Collection(mut all) if !all.is_empty() => unwrap(all.swap_remove(0)),
        DataFusionError::SchemaError(schema, trace) => {
            let column = match &*schema {
                SchemaError::FieldNotFound { field, .. } | SchemaError::AmbiguousReference { field } => {
                    Some((**field).clone())
                }
                _ => None,
            };
            (DataFusionError::SchemaError(schema, trace), column)
        }
        other => (other, None),
    }
}

fn of_schema(schema: &SchemaError) -> Error {
    match schema {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            Error::config(codes::OF0303, format!("column '{}' is ambiguous", field.name))
                .label("more than one table has it")
                .help(format!("write the table's name before it: `table.{}`", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::config(codes::OF0303, format!("two columns of the query are called '{name}'"))
                .help(format!("give one of them another name: `… AS {name}_2`"))
        }
    }
}

fn unknown_column(field: &Column, valid: &[Column]) -> Error {
    let error = Error::config(codes::OF0302, format!("unknown column '{}'", field.flat_name()));
    let mut names: Vec<_> = valid.iter().map(|column| column.name.as_str()).filter(|name| visible(name)).collect();
    names.dedup();
    match closest(&field.name, names.iter().copied()) {
        Some(name) => error.help(format!("did you mean '{name}'?")),
        None if names.is_empty() => error,
        None => error.note(format!("there are: {}", names.join(", "))),
    }
}

fn visible(name: &str) -> bool {
    !name.starts_with('$')
}

/// The candidate that a person most likely meant.
pub(crate) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `UPPER does not take (BIGINT)`, out of the planner's words about signatures.
fn wrong_arguments(text: &str) -> Option<Error> {
    let (_, call) = text.split_once("No function matches the given name and argument types '")?;
    let (name, types) = call.split_once('\'')?.0.split_once('(')?;
    let (name, types) = (name.trim_start_matches('$').to_uppercase(), sql_types(types.trim_end_matches(')')));
    if name == "MAP" {
        let help = "MAP['key', value, …] has a value for each key; all keys are of one type, and all values are";
        return Some(Error::config(codes::OF0305, format!("MAP cannot be made of ({types})")).help(help));
    }
    let error = Error::config(codes::OF0305, format!("{name} does not take ({types})"));
    Some(error.help("cast the argument: `CAST(x AS STRING)`, `CAST(x AS BIGINT)`"))
}

/// What the planner says most often to people, in our words.
fn in_our_words(text: &str) -> Option<Error> {
    let between = |before: &str, after: &str| {
        let (_, rest) = text.split_once(before)?;
        Some(rest.split_once(after)?.0.to_owned())
    };
    if let Some(name) = between("field ", " not found in struct") {
        return Some(Error::config(codes::OF0302, format!("{NO_FIELD}'{name}'")));
    }
    if text.contains("must appear in the GROUP BY clause") {
        let column = between("column \"", "\"").unwrap_or_default();
        let column = column.rsplit('.').next().unwrap_or_default();
        let message = format!("the column '{column}' is neither grouped by nor inside of an aggregate");
        return Some(Error::config(codes::OF0306, message).help(format!("add it to GROUP BY, or write MAX({column})")));
    }
    if let Some(data_type) = text
        .strip_prefix("cannot create filter with non-boolean predicate")
        .and_then(|rest| rest.rsplit_once("returning "))
    {
        let message = format!("{NO_CONDITION}{}, not BOOLEAN", data_type.1);
        return Some(
            Error::config(codes::OF0305, message).help("compare it with something: `x <> 0`, `x IS NOT NULL`"),
        );
    }
    if let Some(what) = between("cannot coerce arithmetic expression ", " to valid types") {
        let error = Error::config(codes::OF0305, format!("{what} is not defined"));
        return Some(error.help("cast one side: `CAST(x AS BIGINT)`, `CAST(x AS STRING)`"));
    }
    None
}

fn of_text(error: &DataFusionError) -> Error {
    let text = error.strip_backtrace();
    if let Some(error) = wrong_arguments(&text) {
        return error;
    }
    let text = plain(&text);
    if let Some(error) = in_our_words(&text) {
        return error;
    }
    let code = if text.contains("oerc") || text.contains("type") { codes::OF0305 } else { codes::OF0306 };
    Error::config(code, text)
}

/// The planner's words without its prefixes, in lower case, one line.
fn plain(text: &str) -> String {
    let mut text = first_line(text);
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Internal error: ",
        "Arrow error: ",
        "Optimizer rule ",
        "type_coercion\ncaused by\n",
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            text = rest.to_owned();
        }
    }
    let text = text.trim_end_matches('.').to_owned();
    sql_types(&lower_first(&text))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let second_is_upper = text.chars().nth(1).is_some_and(char::is_uppercase);
    match letters.next() {
        Some(first) if !second_is_upper => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// Arrow's names of types as SQL writes them.
pub(crate) fn sql_types(text: &str) -> String {
    [
        ("LargeUtf8", "STRING"),
        ("Utf8View", "STRING"),
        ("Utf8", "STRING"),
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Int16", "SMALLINT"),
        ("Int8", "TINYINT"),
        ("Float64", "DOUBLE"),
        ("Float32", "FLOAT"),
        ("Decimal128", "DECIMAL"),
        ("Boolean", "BOOLEAN"),
        ("Date32", "DATE"),
        ("Binary", "BYTES"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (arrow, sql)| text.replace(arrow, sql))
}
