//! Where a record ends in a stream of bytes: at a line break, for CSV at one that is outside quotes.

/// How bytes are cut into records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// A line is a record.
    #[default]
    Lines,
    /// A line is a record, and line breaks between quotes are part of it (RFC 4180).
    Csv {
        /// The field delimiter; a quote counts only at the beginning of a field.
        delimiter: u8,
        /// The quote character.
        quote: u8,
        /// The character that takes the next one's meaning away between quotes.
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
    /// After a quote between quotes: the end of them, or the first half of a doubled one.
    AfterQuote,
    Comment,
}

/// A scan for the end of the current record, resumed as bytes arrive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    inside: Inside,
}

impl Scan {
    /// Scans on; the index of the line break that ends the record, where it is in `bytes`. `at_file_start` says that `bytes` begins
    /// at byte 0 of the file, where a byte order mark may stand before the first field.
    pub(super) fn end(&mut self, framing: Framing, bytes: &[u8], at_file_start: bool) -> Option<usize> {
        let Framing::Csv { delimiter, quote, escape, comments } = framing else { return memchr::memchr(b'\n', bytes) };
        let mark = if at_file_start && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        for (at, byte) in bytes.iter().copied().enumerate().skip(mark) {
            let outside = !matches!(self.inside, Inside::Quotes | Inside::Escaped);
            if outside && byte == b'\n' {
                *self = Self::default();
                return Some(at);
            }
            self.inside = match self.inside {
                Inside::RecordStart if comments && byte == b'#' => Inside::Comment,
                Inside::RecordStart | Inside::FieldStart if byte == quote => Inside::Quotes,
                Inside::RecordStart | Inside::FieldStart | Inside::Field if byte == delimiter => Inside::FieldStart,
                Inside::RecordStart | Inside::FieldStart | Inside::Field => Inside::Field,
                Inside::Quotes if byte == quote => Inside::AfterQuote,
                Inside::Quotes if escape == Some(byte) => Inside::Escaped,
                Inside::Quotes | Inside::Escaped => Inside::Quotes,
                Inside::AfterQuote if byte == quote => Inside::Quotes,
                Inside::AfterQuote if byte == delimiter => Inside::FieldStart,
                Inside::AfterQuote => Inside::Field,
                Inside::Comment => Inside::Comment,
            };
        }
        None
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
        ];
        for (framing, text, expected) in cases {
            let bytes = text.as_bytes();
            assert_eq!(Scan::default().end(*framing, bytes, true), Some(*expected), "{text:?}");
            for cut in 4..*expected {
                let mut scan = Scan::default();
                assert_eq!(scan.end(*framing, &bytes[..cut], true), None, "{text:?} to {cut}");
                assert_eq!(scan.end(*framing, &bytes[cut..], false), Some(expected - cut), "{text:?} from {cut}");
            }
        }
    }
}
