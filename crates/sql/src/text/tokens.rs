//! Cuts a text into tokens and puts variables into its strings.

use super::{Source, Tok, dialect::Lexis, scan, variables};
use onceflow::Error;
use onceflow::codes::{OF0201, OF0204, OF0206};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace};

/// The tokens of a text without white space and comments, with variables put into strings.
pub fn tokenize(source: &Source, variables: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Tok>, Vec<Error>> {
    scan::check(source)?;
    let all = Tokenizer::new(&Lexis, &source.text)
        .tokenize_with_location()
        .map_err(|error| vec![untokenizable(source, &error)])?;
    let mut walk = Walk::new(&source.text);
    let (mut toks, mut errors) = (Vec::with_capacity(all.len() / 2), Vec::new());
    for token in all {
        let range = walk.to(token.span.start)..walk.to(token.span.end);
        let tok = Tok { place: source.place_of(&token, &range), token, range, variable: false };
        match complete(source, tok, variables) {
            Ok(Some(tok)) => toks.push(tok),
            Ok(None) => {}
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok(toks) } else { Err(errors) }
}

impl Source {
    fn place_of(&self, token: &TokenWithSpan, range: &std::ops::Range<usize>) -> onceflow::Place {
        let shown = self.text[range.clone()].lines().next().unwrap_or_default();
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        onceflow::Place {
            file: std::sync::Arc::clone(&self.file),
            line: number(token.span.start.line),
            column: number(token.span.start.column),
            length: u32::try_from(shown.chars().count().max(1)).unwrap_or(u32::MAX),
        }
    }
}

/// Puts variables into a token; `None` for white space.
fn complete(
    source: &Source,
    mut tok: Tok,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Tok>, Vec<Error>> {
    match &mut tok.token.token {
        Token::Whitespace(Whitespace::MultiLineComment(comment)) if comment.starts_with('+') => {
            Err(vec![hint(&tok.place, comment)])
        }
        Token::Whitespace(_) => Ok(None),
        Token::SingleQuotedString(text) if text.contains("${") => {
            let inner = tok.range.start + 1..tok.range.end - 1;
            *text = variables::fill(source, inner, variables)?;
            tok.variable = true;
            Ok(Some(tok))
        }
        Token::Word(_) | Token::SingleQuotedString(_) => Ok(Some(tok)),
        _ if source.text[tok.range.clone()].contains("${") => Err(vec![
            Error::config(OF0206, "a variable stands in a string with a prefix")
                .at(&tok.place)
                .help("write the string without its prefix"),
        ]),
        _ => Ok(Some(tok)),
    }
}

fn hint(place: &onceflow::Place, comment: &str) -> Error {
    let name = comment[1..].trim_start().split(['(', ' ', '*']).next().unwrap_or_default().to_owned();
    let error = Error::config(OF0204, format!("the hint /*+ {name} */ is not supported")).at(place);
    match name.eq_ignore_ascii_case("OPTIONS") {
        true => error.help("write the options into the table's WITH (…), or declare a second table with LIKE"),
        false => error.help("remove the hint, or write it as an ordinary comment: /* … */"),
    }
}

fn untokenizable(source: &Source, error: &TokenizerError) -> Error {
    let mut walk = Walk::new(&source.text);
    let at = walk.to(error.location).min(source.text.len());
    Error::config(OF0201, format!("the text cannot be read here: {}", error.message.to_lowercase()))
        .at(&source.place(at..at))
}

/// Finds byte offsets of places that only go forward.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    column: u64,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, column: 1 }
    }

    fn to(&mut self, place: Location) -> usize {
        for ch in self.text[self.at..].chars() {
            if (self.line, self.column) >= (place.line, place.column) {
                break;
            }
            self.at += ch.len_utf8();
            (self.line, self.column) = if ch == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.at
    }
}
