//! A pipeline's text as tokens with places: quotes, comments and `${VARIABLES}`.
//!
//! Owns everything below the level of a statement. Variables are put into string literals after the text was cut into
//! tokens, so their values are never read as SQL, and every place is a place in the text as the user wrote it.

use onceflow::Place;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use std::ops::Range;
use std::sync::Arc;

pub mod dialect;
mod scan;
mod tokens;
pub mod variables;

pub use tokens::tokenize;

/// A text with its file's name.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The text, without a byte order mark.
    pub text: Arc<str>,
}

impl Source {
    /// A text of a file.
    pub fn new(file: &str, text: &str) -> Self {
        Self { file: file.into(), text: text.strip_prefix('\u{feff}').unwrap_or(text).into() }
    }

    /// The place of a byte range. What runs over a line's end is underlined up to it.
    pub fn place(&self, range: Range<usize>) -> Place {
        let before = &self.text[..range.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let shown = self.text[range.clone()].lines().next().unwrap_or_default();
        Place {
            file: Arc::clone(&self.file),
            line: saturating(before.matches('\n').count() + 1),
            column: saturating(before[line_start..].chars().count() + 1),
            length: saturating(shown.chars().count().max(1)),
        }
    }

    /// The place behind the last character that is no white space.
    pub fn end(&self) -> Place {
        let end = self.text.trim_end().len();
        self.place(end..end)
    }
}

fn saturating(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A token with its place; white space and comments are left out.
#[derive(Clone, Debug)]
pub struct Tok {
    /// The token as the SQL parser takes it; variables are put in.
    pub token: TokenWithSpan,
    /// Where it stands.
    pub place: Place,
    /// Which bytes of the text it is.
    pub range: Range<usize>,
    /// Whether a value from outside of the text is in it.
    pub variable: bool,
}

impl Tok {
    /// The word, where the token is one without quotes.
    pub fn bare(&self) -> Option<&str> {
        match &self.token.token {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    /// Whether it is this keyword, in any case.
    pub fn is(&self, keyword: &str) -> bool {
        self.bare().is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    /// The token as people see it, without any value from outside of the text.
    pub fn shown(&self, source: &Source) -> String {
        let text = source.text[self.range.clone()].lines().next().unwrap_or_default();
        match text.char_indices().nth(40) {
            Some((cut, _)) => format!("`{}…`", &text[..cut]),
            None => format!("`{text}`"),
        }
    }
}
