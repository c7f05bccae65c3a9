//! Where a record ends in a stream of bytes: at a line break, for CSV at one that is outside quotes.

/// How bytes are cut into records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// A line is a record.
    #[default]
    Lines,
    /// A line is a record, and line breaks between quotes are part of it (RFC 4180, with an escape character as Jackson reads it).
    Csv {
        /// The field delimiter; a quote counts only at the beginning of a field.
        delimiter: u8,
        /// The quote character.
        quote: u8,
        /// The character that takes the next one's meaning away.
        escape: Option<u8>,
        /// Whether a line that begins with `#` is a comment, in which quotes mean nothing.
        comments: bool,
    },
}

/// Where in a CSV record the scan is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Inside {
    #[default]
    RecordStart,
    FieldStart,
    Field,
    Quotes,
    /// After the escape character between quotes.
    Escaped,
    /// After the escape character in a field without quotes.
    EscapedField,
    /// After a quote between quotes: the end of them, or the first half of a doubled one.
    AfterQuote,
    Comment,
}

/// A scan for the end of the current record, resumed as bytes arrive.
///
/// A quote that is opened and not closed would take all lines up to the next quote into one record. So where a closing quote is
/// followed by text, or none comes at all, the record's first line is the record: it cannot be decoded, and the lines behind it
/// are records of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    inside: Inside,
    /// How many bytes of the record were scanned.
    at: usize,
    /// The first line break between the quotes that are open, or were closed last.
    line_break: Option<usize>,
}

impl Scan {
    /// Scans on in what there is of the record; the index of the line break that ends it, where that is known. `at_file_start` says
    /// that the record begins at byte 0 of the file, where a byte order mark may stand before the first field.
    pub(super) fn end(&mut self, framing: Framing, record: &[u8], at_file_start: bool) -> Option<usize> {
        let from = std::mem::replace(&mut self.at, record.len());
        let Framing::Csv { delimiter, quote, escape, comments } = framing else {
            return memchr::memchr(b'\n', &record[from..]).map(|at| from + at);
        };
        let mark = if at_file_start && from == 0 && record.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let escape = escape.filter(|escape| *escape != quote);
        for (at, byte) in record.iter().copied().enumerate().skip(from + mark) {
            let escaped = matches!(self.inside, Inside::Escaped | Inside::EscapedField);
            if byte == b'\n' && matches!(self.inside, Inside::Quotes | Inside::Escaped) {
                self.line_break.get_or_insert(at);
            } else if byte == b'\n' && !escaped {
                return Some(at);
            }
            self.inside = match self.inside {
                Inside::RecordStart if comments && byte == b'#' => Inside::Comment,
                Inside::Comment => Inside::Comment,
                Inside::RecordStart | Inside::FieldStart if byte == quote => Inside::Quotes,
                Inside::RecordStart | Inside::FieldStart | Inside::Field if byte == delimiter => Inside::FieldStart,
                Inside::RecordStart | Inside::FieldStart | Inside::Field if escape == Some(byte) => {
                    Inside::EscapedField
                }
                Inside::RecordStart | Inside::FieldStart | Inside::Field | Inside::EscapedField => Inside::Field,
                Inside::Quotes if byte == quote => Inside::AfterQuote,
                Inside::Quotes if escape == Some(byte) => Inside::Escaped,
                Inside::Quotes | Inside::Escaped => Inside::Quotes,
                Inside::AfterQuote if byte == quote => Inside::Quotes,
                Inside::AfterQuote if byte == delimiter => {
                    self.line_break = None;
                    Inside::FieldStart
                }
                Inside::AfterQuote if byte <= b' ' => Inside::AfterQuote,
                Inside::AfterQuote if self.line_break.is_some() => return self.line_break,
                Inside::AfterQuote => Inside::Field,
            };
        }
        None
    }

    /// Where the record's first line ends, if a quote is still open behind it: the end of the record where no more is read.
    pub(super) fn end_of_first_line(&self) -> Option<usize> {
        self.line_break.filter(|_| matches!(self.inside, Inside::Quotes | Inside::Escaped))
    }

    /// What was scanned is dropped, and the record goes on behind it.
    pub(super) fn drop_scanned(&mut self) {
        self.at = 0;
        self.line_break = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Framing = Framing::Csv { delimiter: b',', quote: b'"', escape: Some(b'\\'), comments: true };

    #[test]
    fn records_end_at_line_breaks_outside_quotes_however_the_bytes_arrive() {
        let cases: &[(Framing, &str, usize)] = &[
            (Framing::Lines, "a\"b\nc", 3),
            (CSV, "a,b\nc", 3),
            (CSV, "a,\"b\nc\"\nd", 7),
            (CSV, "a,\"b\"\"\n\"\nd", 8),
            (CSV, "a,\"b\\\"\n\"\nd", 8),
            (CSV, "a,b\"c\nd", 5),
            (CSV, "# it's \"quoted\nd", 14),
            (CSV, "\u{feff}\"a\nb\"\nc", 8),
            (CSV, "ab,c\\\nd\ne", 7),
            (CSV, "ab,\\\"c\nd", 6),
            (CSV, "a,\"b\" \t\r\nc", 8),
            (CSV, "a,\"b\nc\" ,\"d\ne\"\nf", 14),
            (CSV, "ab\"\"c\nd", 5),
            // A quote that is opened and not closed takes its own line alone.
            (CSV, "1,\"ab\n2,\"c\"\nd", 5),
            (CSV, "1,\"ab\n2,\"c\n\"d\n", 5),
        ];
        for (framing, text, expected) in cases {
            let bytes = text.as_bytes();
            assert_eq!(Scan::default().end(*framing, bytes, true), Some(*expected), "{text:?}");
            for cut in 3..bytes.len() {
                let mut scan = Scan::default();
                let early = scan.end(*framing, &bytes[..cut], true);
                let found = early.or_else(|| scan.end(*framing, bytes, true));
                assert_eq!(found, Some(*expected), "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_open_quote_at_the_end_gives_up_its_first_line_alone() {
        let check = |text: &str, expected: Option<usize>| {
            let mut scan = Scan::default();
            assert_eq!(scan.end(CSV, text.as_bytes(), true), None, "{text:?}");
            assert_eq!(scan.end_of_first_line(), expected, "{text:?}");
        };
        check("1,\"ab\n2,x\n", Some(5));
        check("1,\"ab", None);
        check("1,\"a\nb\"", None);
        check("1,\"a\\\nb", Some(5));
        check("1,\"a\nb\",\"c", None);
    }
}
