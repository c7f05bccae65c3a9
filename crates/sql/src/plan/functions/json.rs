//! `JSON_VALUE`, `JSON_EXISTS`, `JSON_QUERY` and `IS_JSON` over text.
//!
//! A malformed document gives NULL (or false), as Flink's default `NULL ON ERROR` does.

use super::text::at;
use super::{Own, Takes, as_boolean, as_text};
use crate::plan::trouble::{Planned, refuse};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_schema::DataType;
use onceflow::codes;
use serde_json::Value;
use std::sync::Arc;

use Takes::Text;

/// All of them.
pub(super) const ALL: &[Own] = &[
    Own { name: "json_value", takes: &[Text, Text], least: 2, variadic: false, returns: as_text, run: json_value },
    Own { name: "json_query", takes: &[Text, Text], least: 2, variadic: false, returns: as_text, run: json_query },
    Own { name: "json_exists", takes: &[Text, Text], least: 2, variadic: false, returns: as_boolean, run: json_exists },
    Own { name: "is_json", takes: &[Text], least: 1, variadic: false, returns: as_boolean, run: is_json },
];

/// One step of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Name(String),
    Index(usize),
}

/// Whether a constant path is understood; the reason where it is not.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    steps(path).map(drop)
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let path = path.trim();
    let path = path.strip_prefix("lax ").or_else(|| path.strip_prefix("strict ")).unwrap_or(path).trim_start();
    let mut rest = path.strip_prefix('$').ok_or_else(|| format!("path '{path}' does not begin with $"))?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = step(rest).ok_or_else(|| format!("path '{path}' is not understood at '{rest}'"))?;
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

fn step(rest: &str) -> Option<(Step, &str)> {
    if let Some(name) = rest.strip_prefix('.') {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let plain = !name[..end].is_empty() && !name[..end].contains(['*', '?', '(']);
        return plain.then(|| (Step::Name(name[..end].to_owned()), &name[end..]));
    }
    let inner = rest.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(name) = inner.strip_prefix(quote) {
            let end = name.find(quote)?;
            return Some((Step::Name(name[..end].to_owned()), name[end + 1..].strip_prefix(']')?));
        }
    }
    let end = inner.find(']')?;
    Some((Step::Index(inner[..end].trim().parse().ok()?), &inner[end + 1..]))
}

fn follow<'a>(document: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(document, |value, step| match step {
        Step::Name(name) => value.get(name),
        // In lax mode a single value is an array of one.
        Step::Index(0) if !value.is_array() => Some(value),
        Step::Index(index) => value.get(index),
    })
}

fn each<T>(args: &[ArrayRef], work: impl Fn(Option<&Value>) -> Option<T>) -> Planned<Vec<Option<T>>> {
    let (documents, paths) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut last: Option<(&str, Vec<Step>)> = None;
    let mut answers = Vec::with_capacity(documents.len());
    for row in 0..documents.len() {
        let (Some(document), Some(path)) = (at(documents, row), at(paths, row)) else {
            answers.push(None);
            continue;
        };
        if last.as_ref().is_none_or(|(known, _)| *known != path) {
            match steps(path) {
                Ok(steps) => last = Some((path, steps)),
                Err(reason) => return refuse(codes::OF0341, reason),
            }
        }
        let steps = last.as_ref().map_or(&[][..], |(_, steps)| steps);
        let parsed = serde_json::from_str::<Value>(document).ok();
        answers.push(work(parsed.as_ref().and_then(|parsed| follow(parsed, steps))));
    }
    Ok(answers)
}

/// A scalar as text; NULL for null, objects and arrays.
fn json_value(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let scalar = |value: Option<&Value>| match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    Ok(Arc::new(StringArray::from(each(args, scalar)?)))
}

/// An object or an array as JSON text.
fn json_query(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let part =
        |value: Option<&Value>| value.filter(|value| value.is_object() || value.is_array()).map(Value::to_string);
    Ok(Arc::new(StringArray::from(each(args, part)?)))
}

fn json_exists(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    Ok(Arc::new(BooleanArray::from(each(args, |value| Some(value.is_some()))?)))
}

fn is_json(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let texts = args[0].as_string::<i32>();
    let answer = |row| Some(at(texts, row).is_some_and(|text| serde_json::from_str::<Value>(text).is_ok()));
    Ok(Arc::new((0..texts.len()).map(answer).collect::<BooleanArray>()))
}
