//! One CSV record into its fields: RFC 4180, with Flink's escape character.
//!
//! Reads as Jackson does, which Flink uses. What Jackson refuses is refused: text behind a closing quote, an open quote, more than
//! one line. Where a record ends in a file is decided by the same rules in the source's framing.

use super::CsvOptions;
use super::bad::{Bad, Parsed};
use crate::codes;

/// The fields of the record that was split last.
#[derive(Default)]
pub(super) struct Fields {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a field.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    /// Splits a record, with or without its line end.
    pub(super) fn split(&mut self, bytes: &[u8], options: &CsvOptions) -> Parsed<()> {
        self.text.clear();
        self.ends.clear();
        let end = bytes.iter().rposition(|byte| !is_line_end(*byte)).map_or(0, |last| last + 1);
        let bytes = &bytes[..end];
        let mut at = 0;
        loop {
            let quoted = options.quote.is_some() && bytes.get(at).copied() == options.quote;
            at = if quoted { self.quoted(bytes, at + 1, options)? } else { self.plain(bytes, at, options)? };
            self.ends.push(self.text.len());
            if at == bytes.len() {
                return Ok(());
            }
            at += 1;
        }
    }

    /// Reads a field without quotes, and returns where its delimiter or the end is.
    fn plain(&mut self, bytes: &[u8], mut at: usize, options: &CsvOptions) -> Parsed<usize> {
        let stops = |byte: &u8| *byte == options.field_delimiter || is_line_end(*byte) || options.escape == Some(*byte);
        loop {
            let length = bytes[at..].iter().position(stops).unwrap_or(bytes.len() - at);
            self.text.extend_from_slice(&bytes[at..at + length]);
            at += length;
            match bytes.get(at).copied() {
                None => return Ok(at),
                Some(byte) if byte == options.field_delimiter => return Ok(at),
                Some(byte) if options.escape == Some(byte) => at = self.escaped(bytes, at + 1)?,
                Some(_) => return Err(Bad::new(codes::OF0609, "the value holds more than one line")),
            }
        }
    }

    /// Reads a field behind its opening quote, and returns where its delimiter or the end is.
    fn quoted(&mut self, bytes: &[u8], mut at: usize, options: &CsvOptions) -> Parsed<usize> {
        let quote = options.quote;
        loop {
            let stops = |byte: &u8| quote == Some(*byte) || options.escape == Some(*byte);
            let Some(length) = bytes[at..].iter().position(stops) else {
                return Err(Bad::new(codes::OF0609, "a quote is opened and not closed"));
            };
            self.text.extend_from_slice(&bytes[at..at + length]);
            at += length;
            if quote != Some(bytes[at]) {
                at = self.escaped(bytes, at + 1)?;
            } else if bytes.get(at + 1).copied() == quote {
                self.text.push(bytes[at]);
                at += 2;
            } else {
                return closed(bytes, at + 1, options.field_delimiter);
            }
        }
    }

    /// Reads the character behind an escape character.
    fn escaped(&mut self, bytes: &[u8], at: usize) -> Parsed<usize> {
        self.text.push(match bytes.get(at) {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'0') => b'\0',
            Some(other) => *other,
            None => return Err(Bad::new(codes::OF0609, "the record ends behind an escape character")),
        });
        Ok(at + 1)
    }
}

/// Behind a closing quote only blanks may stand before the delimiter.
fn closed(bytes: &[u8], at: usize, delimiter: u8) -> Parsed<usize> {
    let blank = |byte: &u8| *byte <= b' ' && *byte != delimiter && !is_line_end(*byte);
    let at = at + bytes[at..].iter().take_while(|byte| blank(byte)).count();
    match bytes.get(at) {
        None => Ok(at),
        Some(byte) if *byte == delimiter => Ok(at),
        Some(byte) if is_line_end(*byte) => Err(Bad::new(codes::OF0609, "the value holds more than one line")),
        Some(_) => Err(Bad::new(codes::OF0609, "text stands behind the closing quote of a field")),
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
