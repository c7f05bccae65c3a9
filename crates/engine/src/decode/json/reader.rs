//! A cursor over the bytes of one JSON document (RFC 8259): it validates every token that it passes, whether it is used or not.
//!
//! The document is known to be UTF-8 before a reader is made, so only ASCII decides here.

use crate::codes;
use crate::decode::bad::{Bad, Parsed};

/// How deep arrays and objects may nest, as in Jackson's stream constraints.
pub const JSON_DEPTH_MAX: usize = 1000;

/// A cursor over a document.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

/// A string as it stands in the document, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    /// The bytes between the quotes.
    pub(super) bytes: &'a [u8],
    /// Whether there is an escape in it.
    pub(super) escaped: bool,
}

impl<'a> Raw<'a> {
    /// The string's text; `scratch` is used where there is an escape.
    pub(super) fn text<'t>(self, scratch: &'t mut Vec<u8>) -> &'t [u8]
    where
        'a: 't,
    {
        if !self.escaped {
            return self.bytes;
        }
        scratch.clear();
        unescape(self.bytes, scratch);
        scratch
    }
}

/// Text of which the document's UTF-8 and the string's escapes were checked.
pub(super) fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the document was checked to be UTF-8 and tokens end at ASCII")
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next byte; 0 at the end, which begins no token.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Passes over white space.
    #[inline]
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Passes over one byte and the white space before and after it.
    #[inline]
    pub(super) fn punctuation(&mut self, byte: u8, expected: &'static str) -> Parsed<()> {
        if self.peek() != byte {
            self.space();
            if self.peek() != byte {
                return Err(self.syntax(expected));
            }
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// The document is not valid here.
    #[cold]
    pub(super) fn syntax(&self, expected: &str) -> Box<Bad> {
        let found = match self.bytes.get(self.at) {
            None => "the end".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("`{}`", char::from(*byte)),
            Some(byte) if byte.is_ascii() => format!("byte 0x{byte:02x}"),
            Some(_) => String::from_utf8_lossy(&self.bytes[self.at..])
                .chars()
                .next()
                .map_or_else(String::new, |c| format!("`{c}`")),
        };
        Bad::new(codes::OF0601, format!("invalid JSON at byte {}: expected {expected}, found {found}", self.at))
    }

    /// Passes over a literal.
    pub(super) fn literal(&mut self, word: &'static str) -> Parsed<()> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.syntax("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// A string; the cursor is at its opening quote.
    #[inline]
    pub(super) fn string(&mut self) -> Parsed<Raw<'a>> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.peek() {
                b'"' => {
                    let bytes = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(Raw { bytes, escaped });
                }
                b'\\' => {
                    self.escape()?;
                    escaped = true;
                }
                _ if self.at == self.bytes.len() => return Err(self.syntax("the closing quote of a string")),
                _ => return Err(self.syntax("an escape such as \\n (control characters may not stand in a string)")),
            }
        }
    }

    /// Checks an escape and passes over it; both halves of a surrogate pair at once.
    fn escape(&mut self) -> Parsed<()> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => match self.hex_escape(start)? {
                0xd800..=0xdbff => {
                    let low = self.at;
                    let paired =
                        self.bytes[low..].starts_with(b"\\u") && matches!(self.hex_escape(low)?, 0xdc00..=0xdfff);
                    if !paired {
                        self.at = start;
                        return Err(self.syntax("both halves of a surrogate pair"));
                    }
                }
                0xdc00..=0xdfff => {
                    self.at = start;
                    return Err(self.syntax("both halves of a surrogate pair"));
                }
                _ => {}
            },
            _ => return Err(self.syntax("one of \" \\ / b f n r t u after a backslash")),
        }
        Ok(())
    }

    /// The number in `\uXXXX` that begins at `start`; the cursor stands after it.
    fn hex_escape(&mut self, start: usize) -> Parsed<u32> {
        self.at = start + 2;
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.peek()).to_digit(16) else {
                return Err(self.syntax("four hexadecimal digits after \\u"));
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// A whole number of at most 18 digits, without fraction and exponent. `None`, and the cursor unmoved, for all others,
    /// valid or not.
    #[inline]
    pub(super) fn small_integer(&mut self) -> Option<i64> {
        let negative = self.peek() == b'-';
        let start = self.at + usize::from(negative);
        let mut end = start;
        let mut value = 0_i64;
        while let Some(digit) = self.bytes.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            end += 1;
        }
        let digits = end - start;
        let leading_zero = digits > 1 && self.bytes[start] == b'0';
        if digits == 0 || digits > 18 || leading_zero || matches!(self.bytes.get(end), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at = end;
        Some(if negative { -value } else { value })
    }

    /// A number as it is written.
    pub(super) fn number(&mut self) -> Parsed<&'a [u8]> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => {
                self.at += 1;
                if self.peek().is_ascii_digit() {
                    return Err(self.syntax("no digit after a leading zero"));
                }
            }
            _ => self.digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.bytes[start..self.at])
    }

    fn digits(&mut self) -> Parsed<()> {
        if !self.peek().is_ascii_digit() {
            return Err(self.syntax("a digit"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// Checks a value and passes over it. `depth` containers are open around it.
    #[inline]
    pub(super) fn skip(&mut self, depth: usize) -> Parsed<()> {
        match self.peek() {
            b'{' | b'[' => self.skip_container(depth),
            _ => self.skip_scalar(),
        }
    }

    #[inline]
    fn skip_scalar(&mut self) -> Parsed<()> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => {
                if self.small_integer().is_none() {
                    self.number()?;
                }
                Ok(())
            }
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(self.syntax("a value")),
        }
    }

    /// Iterative, so that no document can exhaust the stack.
    fn skip_container(&mut self, depth: usize) -> Parsed<()> {
        let mut open = Open::new(depth);
        loop {
            match self.peek() {
                b'{' => {
                    open.push(true)?;
                    self.at += 1;
                    self.space();
                    if self.peek() != b'}' {
                        self.skip_key()?;
                        continue;
                    }
                }
                b'[' => {
                    open.push(false)?;
                    self.at += 1;
                    self.space();
                    if self.peek() != b']' {
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            if self.after_value(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Closes what ends after a value. True where the outermost container has ended, false where another value follows.
    fn after_value(&mut self, open: &mut Open) -> Parsed<bool> {
        while let Some(object) = open.innermost() {
            self.space();
            match self.peek() {
                b',' => {
                    self.at += 1;
                    self.space();
                    if object {
                        self.skip_key()?;
                    }
                    return Ok(false);
                }
                b'}' if object => self.at += 1,
                b']' if !object => self.at += 1,
                _ if object => return Err(self.syntax("`,` or `}`")),
                _ => return Err(self.syntax("`,` or `]`")),
            }
            open.pop();
        }
        Ok(true)
    }

    fn skip_key(&mut self) -> Parsed<()> {
        if self.peek() != b'"' {
            return Err(self.syntax("a field's name in double quotes"));
        }
        self.string()?;
        self.punctuation(b':', "`:` after a field's name")
    }
}

/// Which containers are open: one bit each, set for objects.
struct Open {
    bits: [u64; JSON_DEPTH_MAX.div_ceil(64)],
    depth: usize,
    base: usize,
}

impl Open {
    fn new(base: usize) -> Self {
        Self { bits: [0; JSON_DEPTH_MAX.div_ceil(64)], depth: 0, base }
    }

    fn push(&mut self, object: bool) -> Parsed<()> {
        check_depth(self.base + self.depth)?;
        let (word, bit) = (self.depth / 64, self.depth % 64);
        self.bits[word] = (self.bits[word] & !(1 << bit)) | (u64::from(object) << bit);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    fn innermost(&self) -> Option<bool> {
        let top = self.depth.checked_sub(1)?;
        Some(self.bits[top / 64] >> (top % 64) & 1 == 1)
    }
}

/// Refuses one more container where `depth` are open.
#[inline]
pub(super) fn check_depth(depth: usize) -> Parsed<()> {
    if depth < JSON_DEPTH_MAX {
        return Ok(());
    }
    Err(Bad::new(codes::OF0607, format!("the document nests more than {JSON_DEPTH_MAX} levels deep")))
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bits of bytes that are zero. Bits above the lowest set one may be wrong, the lowest never is.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The index of the first quote, backslash or control character at or after `at`; the length where there is none.
/// Eight bytes at a time (Mycroft's "determine if a word has a byte less than n").
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("the slice has eight bytes"));
        let quote = zeros(word ^ (ONES * 0x22));
        let backslash = zeros(word ^ (ONES * 0x5c));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = quote | backslash | control;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && !matches!(bytes[at], b'"' | b'\\' | 0..=0x1f) {
        at += 1;
    }
    at
}

/// Appends the text of a string whose escapes were checked.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..backslash]);
        let (c, length) = escaped(&rest[backslash..]);
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[backslash + length..];
    }
    out.extend_from_slice(rest);
}

/// The character of a checked escape and the escape's length.
fn escaped(escape: &[u8]) -> (char, usize) {
    match escape[1] {
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'u' => {
            let unit = |at: usize| escape[at..at + 4].iter().fold(0, |value, byte| value * 16 + hex(*byte));
            let first = unit(2);
            let (code, length) = if (0xd800..0xdc00).contains(&first) {
                (0x10000 + ((first - 0xd800) << 10) + (unit(8) - 0xdc00), 12)
            } else {
                (first, 6)
            };
            (char::from_u32(code).expect("surrogates were checked"), length)
        }
        other => (char::from(other), 2),
    }
}

fn hex(byte: u8) -> u32 {
    char::from(byte).to_digit(16).expect("hexadecimal digits were checked")
}

/// Appends a checked document without the white space between its tokens, as Jackson's `toString` writes it.
pub(super) fn compact(document: &[u8], out: &mut Vec<u8>) {
    let mut in_string = false;
    let mut after_backslash = false;
    for byte in document {
        let space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        if in_string || !space {
            out.push(*byte);
        }
        if in_string && after_backslash {
            after_backslash = false;
        } else if in_string && *byte == b'\\' {
            after_backslash = true;
        } else if *byte == b'"' {
            in_string = !in_string;
        }
    }
}
