//! Looks at values before they are sent: what a column's type cannot hold, or could hold only by changing it.
//!
//! Owns the limits that Onceflow itself enforces, so that nothing is rounded, cut or turned into NULL without a word. What
//! only the server can know (constraints, `jsonb`'s grammar, labels of an enum) is left to it.

use super::encode::{Cells, EPOCH_DAYS, EPOCH_MICROS, Encoder, Ints};
use super::types::Wire;

/// The first and, exclusive, the last day of PostgreSQL's calendar: 4714-11-24 BC and 5874898-01-01, counted from 2000-01-01.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;
/// The first and, exclusive, the last microsecond of timestamps: 4714-11-24 BC and 294277-01-01, counted from 2000-01-01.
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// A day in microseconds; a time may be 24:00:00.
const DAY_MICROS: i64 = 86_400_000_000;

/// A value that cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unfit {
    /// Its row.
    pub row: usize,
    /// What is wrong with it, to be put behind the column's name.
    pub why: String,
}

/// All values of the column's first `rows` rows that do not fit their form.
pub(super) fn unfit(encoder: &Encoder, wire: &Wire, rows: usize) -> Vec<Unfit> {
    let mut found = Vec::new();
    if needs_look(encoder, wire, rows) {
        for row in (0..rows).filter(|row| !encoder.is_null(*row)) {
            if let Some(why) = why_unfit(encoder, wire, row) {
                found.push(Unfit { row, why });
            }
        }
    }
    found
}

/// Whether any value has to be looked at by itself. Most columns need one pass at most that the compiler makes fast.
fn needs_look(encoder: &Encoder, wire: &Wire, rows: usize) -> bool {
    match (&encoder.cells, wire) {
        (Cells::Int2(ints), _) => ints.width() > 2,
        (Cells::Int4(ints), _) => ints.width() > 4,
        (Cells::IntNumeric(_), Wire::Numeric { scale: Some(scale) }) => *scale < 0,
        (Cells::Numeric { scale: own, .. }, Wire::Numeric { scale: Some(scale) }) => i16::from(*own) > *scale,
        (Cells::DecimalInt { .. } | Cells::Uuid(_) | Cells::List { .. }, _) => true,
        (Cells::Text(values), Wire::Text { chars_max: None }) | (Cells::Jsonb(values), _) => {
            let (from, to) = (values.value_offsets()[0], values.value_offsets()[rows]);
            let data = values.value_data();
            let place = |offset: i32| usize::try_from(offset).expect("offsets of an array are not negative");
            memchr::memchr(0, &data[place(from)..place(to)]).is_some()
        }
        (Cells::Text(_), _) => true,
        (Cells::Date(days), _) => days.iter().any(|day| !day.checked_sub(EPOCH_DAYS).is_some_and(in_days)),
        (Cells::Micros { .. }, _) => true,
        _ => false,
    }
}

fn in_days(days: i32) -> bool {
    DAYS.contains(&days)
}

fn why_unfit(encoder: &Encoder, wire: &Wire, row: usize) -> Option<String> {
    match &encoder.cells {
        Cells::Int2(ints) => range(ints.get(row), i16::MIN.into(), i16::MAX.into(), "smallint"),
        Cells::Int4(ints) => range(ints.get(row), i32::MIN.into(), i32::MAX.into(), "integer"),
        Cells::IntNumeric(ints) => decimal(i128::from(ints.get(row)), 0, wire),
        Cells::Numeric { values, scale } => decimal(values[row], *scale, wire),
        Cells::DecimalInt { values, scale, width } => whole(values[row], *scale, *width),
        Cells::Text(values) => text(values.value(row), wire),
        Cells::Jsonb(values) => text(values.value(row), wire),
        Cells::Uuid(values) => {
            let text = values.value(row);
            uuid::Uuid::try_parse(text).is_err().then(|| format!("'{}' is no UUID", shortened(text)))
        }
        Cells::Date(days) => {
            let fits = days[row].checked_sub(EPOCH_DAYS).is_some_and(in_days);
            (!fits).then(|| format!("the date {} days after 1970-01-01 is beyond PostgreSQL's calendar", days[row]))
        }
        Cells::Micros { ints, multiply, divide, epoch } => micros(ints, row, *multiply, *divide, *epoch, wire),
        Cells::List { offsets, element, .. } => list(element, wire, offsets[row], offsets[row + 1]),
        _ => None,
    }
}

fn range(value: i64, min: i64, max: i64, name: &str) -> Option<String> {
    (value < min || value > max).then(|| format!("{value} is out of range for {name}"))
}

fn shown_decimal(value: i128, scale: i8) -> String {
    use arrow_array::types::{Decimal128Type, DecimalType};
    Decimal128Type::format_decimal(value, 38, scale)
}

fn decimal(value: i128, scale: i8, wire: &Wire) -> Option<String> {
    let Wire::Numeric { scale: Some(kept) } = wire else { return None };
    let lost = u32::try_from(i16::from(scale) - kept).unwrap_or(0);
    let exact = 10_i128.checked_pow(lost).map_or(value == 0, |power| value % power == 0);
    (!exact).then(|| {
        format!("{} has more than the {kept} digits after the point that the column keeps", shown_decimal(value, scale))
    })
}

fn whole(value: i128, scale: i8, width: usize) -> Option<String> {
    let power = 10_i128.pow(scale.unsigned_abs().into());
    if scale > 0 && value % power != 0 {
        return Some(format!("{} is no whole number", shown_decimal(value, scale)));
    }
    let number = if scale >= 0 { Some(value / power) } else { value.checked_mul(power) };
    let bits = u32::try_from(width * 8 - 1).expect("at most 63");
    let limit = 1_i128 << bits;
    let fits = number.is_some_and(|number| (-limit..limit).contains(&number));
    let name = ["smallint", "integer", "bigint"][width / 4];
    (!fits).then(|| format!("{} is out of range for {name}", shown_decimal(value, scale)))
}

fn text(value: &str, wire: &Wire) -> Option<String> {
    if memchr::memchr(0, value.as_bytes()).is_some() {
        return Some("the text holds a NUL character, which PostgreSQL cannot store".to_owned());
    }
    let Wire::Text { chars_max: Some(max) } = wire else { return None };
    let max = usize::try_from(*max).expect("a length fits the address space");
    if value.len() <= max {
        return None;
    }
    let length = value.chars().count();
    (length > max).then(|| format!("a text of {length} characters is too long for the {max} that the column keeps"))
}

fn micros(ints: &Ints, row: usize, multiply: i64, divide: i64, epoch: i64, wire: &Wire) -> Option<String> {
    let (Wire::Time { digits } | Wire::Timestamp { digits }) = wire else { return None };
    let value = ints.get(row);
    let is_time = matches!(wire, Wire::Time { .. });
    let micros = value.checked_mul(multiply).map(|parts| parts / divide);
    let fits = micros.and_then(|micros| micros.checked_sub(epoch)).is_some_and(|micros| match is_time {
        true => (0..=DAY_MICROS).contains(&micros),
        false => MICROS.contains(&micros),
    });
    if !fits {
        let kind = if is_time { "time of day" } else { "timestamp" };
        return Some(format!(
            "the {kind} is out of PostgreSQL's range ({value} / {} s)",
            parts_a_second(multiply, divide)
        ));
    }
    let step = 10_i64.pow(6 - digits);
    let exact = value % divide == 0 && micros.is_some_and(|micros| micros % step == 0);
    (!exact).then(|| {
        format!(
            "the value has digits of a second beyond the {digits} that the column keeps ({value} / {} s)",
            parts_a_second(multiply, divide)
        )
    })
}

fn parts_a_second(multiply: i64, divide: i64) -> i64 {
    1_000_000 / multiply * divide
}

fn list(element: &Encoder, wire: &Wire, from: i32, to: i32) -> Option<String> {
    let Wire::Array { element: inner, .. } = wire else { return None };
    let place = |offset: i32| usize::try_from(offset).expect("offsets of an array are not negative");
    let (from, to) = (place(from), place(to));

    (from..to)
        .filter(|row| !element.is_null(*row))
        .find_map(|row| why_unfit(element, inner, row).map(|why| format!("element {}: {why}", row - from + 1)))
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> String {
    let head: String = text.chars().take(60).collect();
    if head.len() < text.len() { format!("{head}…") } else { head }
}

// Both calendars' distance is used in one direction only; this says which.
const _: () = assert!(EPOCH_MICROS == EPOCH_DAYS as i64 * DAY_MICROS);

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::*;
    use std::sync::Arc;

    fn check(array: ArrayRef, wire: &Wire, expected: &[(usize, &str)]) {
        let encoder = Encoder::new(&array, wire);
        let found = unfit(&encoder, wire, array.len());
        let found: Vec<(usize, &str)> = found.iter().map(|unfit| (unfit.row, unfit.why.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_would_be_changed_is_unfit() {
        let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        check(ints(&[1, 32768, -32768]), &Wire::Int2, &[(1, "32768 is out of range for smallint")]);
        check(ints(&[i64::MAX]), &Wire::Int8, &[]);
        check(ints(&[1, 1 << 40]), &Wire::Int4, &[(1, "1099511627776 is out of range for integer")]);
        check(
            ints(&[100, 150]),
            &Wire::Numeric { scale: Some(-2) },
            &[(1, "150 has more than the -2 digits after the point that the column keeps")],
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["äöü", "äöüx", "a\0b"]));
        check(
            texts.clone(),
            &Wire::Text { chars_max: Some(3) },
            &[
                (1, "a text of 4 characters is too long for the 3 that the column keeps"),
                (2, "the text holds a NUL character, which PostgreSQL cannot store"),
            ],
        );
        check(texts.slice(0, 2), &Wire::Text { chars_max: None }, &[]);
        check(texts.slice(1, 1), &Wire::Uuid, &[(0, "'äöüx' is no UUID")]);
    }

    #[test]
    fn decimals_keep_every_digit() {
        let values = vec![1_200, 1_234, 99_999_999_999];
        let decimals: ArrayRef = Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 3).unwrap());
        check(
            decimals.clone(),
            &Wire::Numeric { scale: Some(1) },
            &[
                (1, "1.234 has more than the 1 digits after the point that the column keeps"),
                (2, "99999999.999 has more than the 1 digits after the point that the column keeps"),
            ],
        );
        check(decimals.clone(), &Wire::Numeric { scale: None }, &[]);
        check(decimals.slice(0, 1), &Wire::Int4, &[(0, "1.200 is no whole number")]);
        let large: ArrayRef = Arc::new(Decimal128Array::from(vec![40_000]).with_precision_and_scale(38, 0).unwrap());
        check(large, &Wire::Int2, &[(0, "40000 is out of range for smallint")]);
    }

    #[test]
    fn times_keep_every_digit_and_stay_in_the_calendar() {
        let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_500_000, 1_234_567, i64::MIN]));
        check(
            micros,
            &Wire::Timestamp { digits: 3 },
            &[
                (1, "the value has digits of a second beyond the 3 that the column keeps (1234567 / 1000000 s)"),
                (2, "the timestamp is out of PostgreSQL's range (-9223372036854775808 / 1000000 s)"),
            ],
        );
        let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![0, 9_224_318_016_000_000, i64::MAX]));
        check(
            millis,
            &Wire::Timestamp { digits: 6 },
            &[
                (1, "the timestamp is out of PostgreSQL's range (9224318016000000 / 1000 s)"),
                (2, "the timestamp is out of PostgreSQL's range (9223372036854775807 / 1000 s)"),
            ],
        );
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001]));
        let why = "the value has digits of a second beyond the 6 that the column keeps (1001 / 1000000000 s)";
        check(nanos, &Wire::Timestamp { digits: 6 }, &[(1, why)]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![0, i32::MAX, i32::MIN]));
        check(
            days,
            &Wire::Date,
            &[
                (1, "the date 2147483647 days after 1970-01-01 is beyond PostgreSQL's calendar"),
                (2, "the date -2147483648 days after 1970-01-01 is beyond PostgreSQL's calendar"),
            ],
        );
        let time: ArrayRef = Arc::new(Time32MillisecondArray::from(vec![0, 86_400_001]));
        check(
            time,
            &Wire::Time { digits: 6 },
            &[(1, "the time of day is out of PostgreSQL's range (86400001 / 1000 s)")],
        );
    }
}
