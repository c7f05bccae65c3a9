//! Walks over the tokens of one statement.

use crate::text::{Source, Tok};
use onceflow::codes::OF0201;
use onceflow::{Error, Place, Result};
use sqlparser::tokenizer::Token;

/// The tokens of one statement, and how far they are read.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    toks: &'a [Tok],
    at: usize,
    /// Whether the first half of a `>>` is read.
    half: bool,
    source: &'a Source,
    /// Where the statement ends, for "found the end".
    end: &'a Place,
}

impl<'a> Cursor<'a> {
    /// A cursor at the first token of a statement that ends at `end`.
    pub fn new(toks: &'a [Tok], source: &'a Source, end: &'a Place) -> Self {
        Self { toks, at: 0, half: false, source, end }
    }

    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// The next token.
    pub fn peek(&self) -> Option<&'a Tok> {
        self.toks.get(self.at)
    }

    /// The token after so many.
    pub fn ahead(&self, count: usize) -> Option<&'a Tok> {
        self.toks.get(self.at + count)
    }

    /// The token before the next one.
    pub fn last(&self) -> Option<&'a Tok> {
        self.at.checked_sub(1).and_then(|at| self.toks.get(at))
    }

    /// What is left.
    pub fn rest(&self) -> &'a [Tok] {
        &self.toks[self.at.min(self.toks.len())..]
    }

    /// Goes over so many tokens.
    pub fn skip(&mut self, count: usize) {
        self.at = (self.at + count).min(self.toks.len());
    }

    pub fn done(&self) -> bool {
        self.at >= self.toks.len()
    }

    /// The place of the next token, or of the statement's end.
    pub fn place(&self) -> Place {
        self.peek().map_or_else(|| self.end.clone(), |tok| tok.place.clone())
    }

    /// Whether the next tokens are these keywords.
    pub fn sees(&self, keywords: &[&str]) -> bool {
        keywords.iter().enumerate().all(|(at, keyword)| self.ahead(at).is_some_and(|tok| tok.is(keyword)))
    }

    /// Reads these keywords where they are next.
    pub fn take(&mut self, keywords: &[&str]) -> bool {
        let sees = self.sees(keywords);
        if sees {
            self.skip(keywords.len());
        }
        sees
    }

    /// Reads these keywords, which have to be next.
    pub fn expect(&mut self, keywords: &[&str]) -> Result<()> {
        for keyword in keywords {
            if !self.take(&[keyword]) {
                return Err(self.expected(keyword));
            }
        }
        Ok(())
    }

    /// Whether the next token is this one.
    pub fn sees_token(&self, token: &Token) -> bool {
        self.peek().is_some_and(|tok| tok.token.token == *token)
    }

    /// Reads this token where it is next. `>` is also the half of a `>>`.
    pub fn take_token(&mut self, token: &Token) -> bool {
        if *token == Token::Gt && self.sees_token(&Token::ShiftRight) {
            self.half = !self.half;
            self.at += usize::from(!self.half);
            return true;
        }
        let sees = self.sees_token(token);
        self.at += usize::from(sees);
        sees
    }

    /// Reads this token, which has to be next.
    pub fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.take_token(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// Reads a string.
    pub fn string(&mut self, what: &str) -> Result<(String, &'a Tok)> {
        match self.peek() {
            Some(tok) => match &tok.token.token {
                Token::SingleQuotedString(text) => {
                    self.skip(1);
                    Ok((text.clone(), tok))
                }
                _ => Err(self.expected(what)),
            },
            None => Err(self.expected(what)),
        }
    }

    /// Reads a name. A keyword that begins what comes next is a slip, so reserved words need backticks.
    pub fn name(&mut self, what: &str) -> Result<(String, Place)> {
        let Some(tok) = self.peek() else { return Err(self.expected(what)) };
        match &tok.token.token {
            Token::Word(word) if word.quote_style.is_some() || !reserved(&word.value) => {
                if word.value.is_empty() {
                    return Err(Error::config(OF0201, format!("{what} is empty")).at(&tok.place));
                }
                self.skip(1);
                Ok((word.value.clone(), tok.place.clone()))
            }
            Token::Word(word) => Err(self
                .expected(what)
                .note(format!("{} is a reserved word", word.value.to_uppercase()))
                .help(format!("quote it where it is meant as a name: `{}`", word.value))),
            _ => Err(self.expected(what)),
        }
    }

    /// An error that says what was expected here.
    pub fn expected(&self, what: &str) -> Error {
        let error = match self.peek() {
            Some(tok) => {
                Error::config(OF0201, format!("expected {what}, found {}", tok.shown(self.source))).at(&tok.place)
            }
            None => Error::config(OF0201, format!("expected {what}, found the end of the statement")).at(self.end),
        };
        let error = error.label(format!("expected {what}"));
        let comma = self.last().is_some_and(|tok| tok.token.token == Token::Comma);
        let closes = self.peek().is_none_or(|tok| matches!(tok.token.token, Token::RParen | Token::Gt));
        if comma && closes { error.help("remove the comma in front of it") } else { error }
    }

    /// Everything up to a `,` or a closing bracket that belongs to what is around, or to one of these keywords.
    pub fn until_item_end(&mut self, keywords: &[&str]) -> &'a [Tok] {
        let (start, mut depth) = (self.at, 0_i32);
        while let Some(tok) = self.peek() {
            match tok.token.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace if depth > 0 => depth -= 1,
                Token::RParen | Token::RBracket | Token::RBrace => break,
                Token::Comma if depth == 0 => break,
                _ if depth == 0 && self.at > start && keywords.iter().any(|keyword| tok.is(keyword)) => break,
                _ => {}
            }
            self.skip(1);
        }
        &self.toks[start..self.at]
    }
}

/// Words that cannot be names without quotes, of those that begin or continue statements. Flink reserves more; a word is
/// here where taking it for a name would hide a slip.
fn reserved(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "AND",
        "AS",
        "BY",
        "CASE",
        "CAST",
        "CONSTRAINT",
        "CREATE",
        "CROSS",
        "DELETE",
        "DISTINCT",
        "DROP",
        "ELSE",
        "EXCEPT",
        "EXISTS",
        "FALSE",
        "FOR",
        "FROM",
        "FULL",
        "GROUP",
        "HAVING",
        "IN",
        "INNER",
        "INSERT",
        "INTERSECT",
        "INTO",
        "IS",
        "JOIN",
        "LEFT",
        "LIKE",
        "LIMIT",
        "NOT",
        "NULL",
        "ON",
        "OR",
        "ORDER",
        "PRIMARY",
        "RIGHT",
        "SELECT",
        "SET",
        "TABLE",
        "THEN",
        "TRUE",
        "UNION",
        "UNIQUE",
        "UPDATE",
        "USING",
        "VALUES",
        "WHEN",
        "WHERE",
        "WITH",
    ];
    WORDS.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}
