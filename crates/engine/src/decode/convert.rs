//! From text to numbers and bytes, exactly: what fits the type and nothing else.
//!
//! Owns no column and no format. Rounding is HALF_UP as in Flink's `DecimalData.fromBigDecimal`.

/// Why a text is no value of a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// It is not written like one.
    Form,
    /// It is written like one and the type cannot hold it.
    Range,
}

/// Removes what Java's `String.trim` removes: characters up to the space.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// An integer as `Long.parseLong` reads it: a sign or none, and digits.
pub(crate) fn integer(text: &str) -> Result<i64, Wrong> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Form);
    }
    text.parse().map_err(|_| Wrong::Range)
}

/// A number that may have a fraction or an exponent, where its value is an integer: `1.0` and `1e3` are, `1.5` is not.
pub(crate) fn integral(text: &str) -> Result<i64, Wrong> {
    let scaled = scaled(text, 0)?;
    if !scaled.exact {
        return Err(Wrong::Form);
    }
    i64::try_from(scaled.value).map_err(|_| Wrong::Range)
}

/// A decimal, rounded HALF_UP to `scale`; out of range where it has more than `precision` digits then.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Wrong> {
    let value = scaled(text, i64::from(scale))?.value;
    let limit = 10_u128.checked_pow(u32::from(precision)).unwrap_or(u128::MAX);
    if value.unsigned_abs() < limit { Ok(value) } else { Err(Wrong::Range) }
}

/// A double as JSON writes it, or `NaN`, `Infinity` and `-Infinity` as text. Out of range where it would become infinite.
pub(crate) fn double(text: &str) -> Result<f64, Wrong> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" | "+Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    // Rust reads `inf` and `nan` in many spellings; Java does not.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return Err(Wrong::Form);
    }
    let value: f64 = text.parse().map_err(|_| Wrong::Form)?;
    if value.is_finite() { Ok(value) } else { Err(Wrong::Range) }
}

/// A float; see [`double`]. Parsed on its own, because rounding twice can differ in the last bit.
pub(crate) fn float(text: &str) -> Result<f32, Wrong> {
    let wide = double(text)?;
    if wide.is_nan() {
        return Ok(f32::NAN);
    }
    if wide.is_infinite() {
        return Ok(if wide > 0.0 { f32::INFINITY } else { f32::NEG_INFINITY });
    }
    let value: f32 = text.parse().map_err(|_| Wrong::Form)?;
    if value.is_finite() { Ok(value) } else { Err(Wrong::Range) }
}

/// A number times a power of ten, rounded to an integer.
struct Scaled {
    value: i128,
    /// Whether nothing was rounded away.
    exact: bool,
}

/// More digits than an i128 can have; whatever has more before its end is out of range.
const DIGITS_MAX: i64 = 39;

/// Reads `[+-]digits[.digits][e[+-]digits]` times 10^`scale`, rounded HALF_UP.
fn scaled(text: &str, scale: i64) -> Result<Scaled, Wrong> {
    let parts = Parts::read(text.as_bytes()).ok_or(Wrong::Form)?;
    let digits = || parts.whole.iter().chain(parts.fraction).copied().skip_while(|digit| *digit == b'0');
    let count = i64::try_from(digits().count()).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(Scaled { value: 0, exact: true });
    }
    let fraction = i64::try_from(parts.fraction.len()).unwrap_or(i64::MAX);
    // So many of the digits stand before the point, once it is moved by the exponent and the scale.
    let kept = count.saturating_sub(fraction).saturating_add(parts.exponent).saturating_add(scale);
    if kept > DIGITS_MAX {
        return Err(Wrong::Range);
    }
    let mut value: i128 = 0;
    let mut exact = true;
    let mut round_up = false;
    let mut at = 0;
    if kept < 0 {
        return Ok(Scaled { value: 0, exact: false });
    }
    for digit in digits() {
        let digit = i128::from(digit - b'0');
        if at < kept {
            value = value.checked_mul(10).and_then(|value| value.checked_add(digit)).ok_or(Wrong::Range)?;
        } else {
            round_up |= at == kept && digit >= 5;
            exact &= digit == 0;
        }
        at += 1;
    }
    while at < kept {
        value = value.checked_mul(10).ok_or(Wrong::Range)?;
        at += 1;
    }
    if round_up {
        value = value.checked_add(1).ok_or(Wrong::Range)?;
    }
    Ok(Scaled { value: if parts.negative { -value } else { value }, exact })
}

/// A number taken apart.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let negative = text.first() == Some(&b'-');
        let text = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
        let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &mantissa[..0]),
        };
        let digits = whole.iter().chain(fraction);
        let fine = digits.clone().count() > 0 && digits.clone().all(u8::is_ascii_digit);
        fine.then_some(Self { negative, whole, fraction, exponent })
    }
}

/// An exponent; beyond any type's range it is cut off, which changes no answer.
fn exponent(text: &[u8]) -> Option<i64> {
    const CUT: i64 = 1 << 40;
    let negative = text.first() == Some(&b'-');
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(CUT));
    Some(if negative { -value } else { value })
}

/// Base64 with the standard alphabet and its padding, as Jackson reads it: white space is passed over. Appends to `out`, which
/// the caller cuts back where this fails.
pub(crate) fn base64(text: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    let mut quad = [0_u8; 4];
    let mut filled = 0;
    let mut padding = 0;
    for byte in text.iter().copied().filter(|byte| *byte > b' ') {
        // Nothing may follow a padded group.
        if padding > 0 && (byte != b'=' || filled == 0) {
            return Err(Wrong::Form);
        }
        padding += usize::from(byte == b'=');
        quad[filled] = if byte == b'=' { 0 } else { sextet(byte)? };
        filled += 1;
        if filled == 4 {
            let bits = quad.iter().fold(0_u32, |bits, six| (bits << 6) | u32::from(*six));
            let [_, first, second, third] = bits.to_be_bytes();
            let group = [first, second, third];
            let length = 3_usize.checked_sub(padding).filter(|length| *length > 0).ok_or(Wrong::Form)?;
            out.extend_from_slice(&group[..length]);
            filled = 0;
        }
    }
    if filled == 0 { Ok(()) } else { Err(Wrong::Form) }
}

fn sextet(byte: u8) -> Result<u8, Wrong> {
    match byte {
        b'A'..=b'Z' => Ok(byte - b'A'),
        b'a'..=b'z' => Ok(byte - b'a' + 26),
        b'0'..=b'9' => Ok(byte - b'0' + 52),
        b'+' => Ok(62),
        b'/' => Ok(63),
        _ => Err(Wrong::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_up_and_never_overflow() {
        let cases: &[(&str, u8, i8, Result<i128, Wrong>)] = &[
            ("1.005", 12, 2, Ok(101)),
            ("-1.005", 12, 2, Ok(-101)),
            ("1.0049999", 12, 2, Ok(100)),
            ("0.5", 5, 0, Ok(1)),
            ("0.05", 5, 0, Ok(0)),
            ("999.99", 5, 2, Ok(99_999)),
            ("999.995", 5, 2, Err(Wrong::Range)),
            ("1e2", 5, 2, Ok(10_000)),
            ("1e400", 38, 0, Err(Wrong::Range)),
            ("1e-400", 38, 0, Ok(0)),
            ("0e999999999999999999999", 38, 0, Ok(0)),
            ("1e999999999999999999999", 38, 0, Err(Wrong::Range)),
            ("99999999999999999999999999999999999999", 38, 0, Ok(10_i128.pow(38) - 1)),
            ("100000000000000000000000000000000000000", 38, 0, Err(Wrong::Range)),
            (".5", 5, 1, Ok(5)),
            ("5.", 5, 1, Ok(50)),
            ("", 5, 1, Err(Wrong::Form)),
            (".", 5, 1, Err(Wrong::Form)),
            ("1.2.3", 5, 1, Err(Wrong::Form)),
            ("1e", 5, 1, Err(Wrong::Form)),
            ("--1", 5, 1, Err(Wrong::Form)),
            ("000123", 5, 0, Ok(123)),
        ];
        for (text, precision, scale, expected) in cases {
            assert_eq!(decimal(text, *precision, *scale), *expected, "{text} as DECIMAL({precision}, {scale})");
        }
    }

    #[test]
    fn only_integral_numbers_are_integers() {
        let cases: &[(&str, Result<i64, Wrong>)] = &[
            ("1.0", Ok(1)),
            ("1e3", Ok(1000)),
            ("1.5", Err(Wrong::Form)),
            ("1e-1", Err(Wrong::Form)),
            ("9223372036854775807.0", Ok(i64::MAX)),
            ("9223372036854775808.0", Err(Wrong::Range)),
            ("-9223372036854775808", Ok(i64::MIN)),
        ];
        for (text, expected) in cases {
            assert_eq!(integral(text), *expected, "{text}");
        }
    }

    #[test]
    fn base64_takes_the_standard_alphabet_with_padding() {
        let cases: &[(&str, Option<&[u8]>)] = &[
            ("", Some(b"")),
            ("TQ==", Some(b"M")),
            ("TWE=", Some(b"Ma")),
            ("TWFu", Some(b"Man")),
            ("TW Fu\n", Some(b"Man")),
            ("TQ", None),
            ("TQ=", None),
            ("T===", None),
            ("====", None),
            ("TQ==TQ==", None),
            ("T-_=", None),
        ];
        for (text, expected) in cases {
            let mut out = Vec::new();
            let got = base64(text.as_bytes(), &mut out).ok().map(|()| out);
            assert_eq!(got.as_deref(), *expected, "{text}");
        }
    }
}
