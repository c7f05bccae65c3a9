//! How Flink's text is cut into tokens, and how its queries are read.
//!
//! Two dialects, because the SQL parser ties word forms such as `b'…'` to the dialect's identity: [`Lexis`] has an identity of
//! its own and so none of them; [`Grammar`] reads queries as the parser's generic dialect does, without the parts that
//! would accept a slip of the pen (trailing commas, `FROM` first, empty projections).

use sqlparser::dialect::{Dialect, GenericDialect};
use std::any::TypeId;

/// Cuts text into tokens: strings in single quotes, names in backticks or double quotes, no backslash escapes.
#[derive(Debug)]
pub struct Lexis;

impl Dialect for Lexis {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }
}

/// Reads queries and expressions.
#[derive(Debug)]
pub struct Grammar;

impl Dialect for Grammar {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        Lexis.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        Lexis.is_identifier_part(ch)
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }
}
