//! Values of options and settings: numbers, booleans, durations, sizes, words. As Flink reads them.

use std::time::Duration;

/// `true` or `false`, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A whole number that is not negative; `_` may separate digits.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if digits { text.replace('_', "").parse().ok() } else { None }
}

/// A whole number.
pub fn signed(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// A duration such as `500 ms`, `5s`, `2 min`, `1 h`, or `PT5S`; without a unit milliseconds, as in Flink.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.starts_with(['P', 'p']) {
        return iso_duration(&text.to_ascii_uppercase());
    }
    let (number, unit) = split_unit(text)?;
    let nanos: u128 = match unit.as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "µs" | "us" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
        _ => return None,
    };
    let nanos = u128::from(number).checked_mul(nanos)?;
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// `P1DT2H3M4S`, whole numbers only.
fn iso_duration(text: &str) -> Option<Duration> {
    let (mut seconds, mut in_time, mut digits, mut any) = (0_u64, false, String::new(), false);
    for ch in text.chars().skip(1) {
        if ch.is_ascii_digit() {
            digits.push(ch);
            continue;
        }
        if ch == 'T' && digits.is_empty() && !in_time {
            in_time = true;
            continue;
        }
        let unit: u64 = match (ch, in_time) {
            ('D', false) => 86_400,
            ('H', true) => 3_600,
            ('M', true) => 60,
            ('S', true) => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(std::mem::take(&mut digits).parse::<u64>().ok()?.checked_mul(unit)?)?;
        any = true;
    }
    (any && digits.is_empty()).then(|| Duration::from_secs(seconds))
}

/// A number of bytes such as `64 mb`, `32kb` or `1024`.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text.trim())?;
    let factor: u64 = match unit.as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" | "kibibytes" => 1 << 10,
        "m" | "mb" | "mib" | "mebibytes" => 1 << 20,
        "g" | "gb" | "gib" | "gibibytes" => 1 << 30,
        "t" | "tb" | "tib" | "tebibytes" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split_unit(text: &str) -> Option<(u64, String)> {
    let end = text.find(|ch: char| !(ch.is_ascii_digit() || ch == '_')).unwrap_or(text.len());
    Some((number(&text[..end])?, text[end..].trim().to_lowercase()))
}

/// One character; `\t` and the like are understood as in Flink, and `;` as itself.
pub fn character(text: &str) -> Option<u8> {
    let text = match text {
        "\\t" => "\t",
        "\\\\" => "\\",
        text => text,
    };
    match text.as_bytes() {
        [byte] if byte.is_ascii() && *byte != b'\n' && *byte != b'\r' => Some(*byte),
        [b'\\', b'u', ..] => {
            let code = u32::from_str_radix(text.get(2..)?, 16).ok()?;
            u8::try_from(code).ok().filter(u8::is_ascii)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_flink_does() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        };
        check("500 ms", Some(500));
        check("5s", Some(5_000));
        check("5 sec", Some(5_000));
        check("2 min", Some(120_000));
        check("1 h", Some(3_600_000));
        check("1 d", Some(86_400_000));
        check("250", Some(250));
        check("PT1M30S", Some(90_000));
        check("P1D", Some(86_400_000));
        check("1 DAYS", Some(86_400_000));
        for wrong in
            ["", "s", "-5 s", "5 parsecs", "1.5 s", "P", "PT", "PT5", "99999999999999999999 d", "9999999999999 d"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(size(text), bytes, "{text}");
        check("64 mb", Some(64 << 20));
        check("32kb", Some(32 << 10));
        check("1024", Some(1024));
        check("1g", Some(1 << 30));
        check("1 GiB", Some(1 << 30));
        for wrong in ["", "mb", "1.5 mb", "-1", "20000000000 tb", "1 lightyear"] {
            check(wrong, None);
        }
    }

    #[test]
    fn booleans_numbers_and_characters_are_strict() {
        assert_eq!(boolean("TRUE"), Some(true));
        assert_eq!(boolean("yes"), None);
        assert_eq!(number("100_000"), Some(100_000));
        assert_eq!(number("-1"), None);
        assert_eq!(number(""), None);
        assert_eq!(character("\\t"), Some(b'\t'));
        assert_eq!(character("\t"), Some(b'\t'));
        assert_eq!(character("\\u0001"), Some(1));
        assert_eq!(character("ab"), None);
        assert_eq!(character("é"), None);
    }
}
