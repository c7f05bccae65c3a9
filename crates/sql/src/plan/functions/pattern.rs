//! Functions with regular expressions, and SQL's own patterns in the engine's form.

use super::text::{at, number};
use super::{Own, Takes, as_boolean, as_text};
use crate::plan::trouble::{Planned, refuse};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_schema::DataType;
use onceflow::codes;
use regex::{Regex, RegexBuilder};
use std::sync::Arc;

use Takes::{Integer, Text};

/// A compiled pattern takes at most so many bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// All of them.
pub(super) const ALL: &[Own] = &[
    Own { name: "regexp", takes: &[Text, Text], least: 2, variadic: false, returns: as_boolean, run: regexp },
    Own {
        name: "regexp_extract",
        takes: &[Text, Text, Integer],
        least: 2,
        variadic: false,
        returns: as_text,
        run: regexp_extract,
    },
    Own {
        name: "regexp_replace",
        takes: &[Text, Text, Text],
        least: 3,
        variadic: false,
        returns: as_text,
        run: regexp_replace,
    },
    Own { name: "$similar", takes: &[Text, Text], least: 2, variadic: false, returns: as_boolean, run: regexp },
];

/// Whether a constant pattern can be compiled; the reason where it cannot.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    compiled(pattern).map(drop)
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// The last pattern with its compiled form: patterns are constants nearly always.
#[derive(Default)]
struct Last(Option<(String, Regex)>);

impl Last {
    fn get(&mut self, pattern: &str) -> Planned<&Regex> {
        if self.0.as_ref().is_none_or(|(known, _)| known != pattern) {
            match compiled(pattern) {
                Ok(regex) => self.0 = Some((pattern.to_owned(), regex)),
                Err(reason) => return refuse(codes::OF0340, format!("pattern '{pattern}': {reason}")),
            }
        }
        Ok(&self.0.as_ref().expect("it was just put there").1)
    }
}

fn each<T>(args: &[ArrayRef], mut work: impl FnMut(&Regex, &str, usize) -> Option<T>) -> Planned<Vec<Option<T>>> {
    let (texts, patterns) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut last = Last::default();
    let mut answers = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        answers.push(match (at(texts, row), at(patterns, row)) {
            (Some(text), Some(pattern)) => work(last.get(pattern)?, text, row),
            _ => None,
        });
    }
    Ok(answers)
}

/// Whether any part of the text matches.
fn regexp(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    Ok(Arc::new(BooleanArray::from(each(args, |regex, text, _| Some(regex.is_match(text)))?)))
}

/// The group of the first match, the whole match without a number; NULL without a match.
fn regexp_extract(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let found = each(args, |regex, text, row| {
        let group = if args.len() > 2 { usize::try_from(number(args, 2, row)?).ok()? } else { 0 };
        regex.captures(text)?.get(group).map(|part| part.as_str().to_owned())
    })?;
    Ok(Arc::new(StringArray::from(found)))
}

/// All matches are replaced; `$1` in the replacement is a group, as in Java.
fn regexp_replace(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let replacements = args[2].as_string::<i32>();
    let replaced = each(args, |regex, text, row| {
        let replacement = java_groups(at(replacements, row)?);
        Some(regex.replace_all(text, replacement.as_str()).into_owned())
    })?;
    Ok(Arc::new(StringArray::from(replaced)))
}

/// `$1x` means group 1 and `x` in Java, but group `1x` to the regex crate.
fn java_groups(replacement: &str) -> String {
    let mut out = String::with_capacity(replacement.len() + 2);
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '$' => {
                let mut digits = String::new();
                while let Some(digit) = letters.peek().filter(|digit| digit.is_ascii_digit()) {
                    digits.push(*digit);
                    letters.next();
                }
                if digits.is_empty() { out.push('$') } else { out.push_str(&format!("${{{digits}}}")) }
            }
            '\\' => match letters.next() {
                Some('$') => out.push_str("$$"),
                Some(next) => out.push(next),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

/// A LIKE pattern with a backslash as its escape, as the engine wants it.
pub(crate) fn like_pattern(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            match letters.next() {
                Some(next @ ('%' | '_')) => out.extend(['\\', next]),
                Some('\\') => out.push_str("\\\\"),
                Some(next) => out.push(next),
                None => out.push(letter),
            }
        } else if letter == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(letter);
        }
    }
    out
}

/// A SIMILAR TO pattern as an anchored regular expression.
pub(crate) fn similar_pattern(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::from("^(?s:");
    let mut letters = pattern.chars();
    let mut bracket = false;
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            out.extend(letters.next().map(|next| regex::escape(&next.to_string())));
            continue;
        }
        match letter {
            '[' => bracket = true,
            ']' => bracket = false,
            _ => {}
        }
        match letter {
            '%' if !bracket => out.push_str(".*"),
            '_' if !bracket => out.push('.'),
            '.' | '^' | '$' | '\\' if !bracket => out.extend(['\\', letter]),
            other => out.push(other),
        }
    }
    out.push_str(")$");
    out
}
