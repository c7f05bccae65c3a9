//! Functions over dates and times. The session's time zone is UTC, always.

use super::text::{at, number};
use super::{Own, Takes, as_bigint, as_int, as_text};
use crate::plan::trouble::{Planned, refuse};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, Time64MicrosecondType, TimestampMicrosecondType, TimestampNanosecondType};
use arrow_array::{
    Array, ArrayRef, Date32Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion_common::DataFusionError;
use onceflow::codes;
use std::sync::Arc;

use Takes::{Any, Instant, Integer, Text};

/// All of them.
pub(super) const ALL: &[Own] = &[
    Own { name: "date_format", takes: &[Instant, Text], least: 2, variadic: false, returns: as_text, run: date_format },
    Own { name: "to_timestamp", takes: &[Text, Text], least: 1, variadic: false, returns: as_local, run: to_timestamp },
    Own {
        name: "to_timestamp_ltz",
        takes: &[Any, Any],
        least: 1,
        variadic: false,
        returns: as_zoned,
        run: to_timestamp_ltz,
    },
    Own { name: "to_date", takes: &[Text, Text], least: 1, variadic: false, returns: as_date, run: to_date },
    Own {
        name: "from_unixtime",
        takes: &[Integer, Text],
        least: 1,
        variadic: false,
        returns: as_text,
        run: from_unixtime,
    },
    Own {
        name: "unix_timestamp",
        takes: &[Text, Text],
        least: 0,
        variadic: false,
        returns: as_bigint,
        run: unix_timestamp,
    },
    Own {
        name: "timestampadd",
        takes: &[Text, Integer, Instant],
        least: 3,
        variadic: false,
        returns: as_third,
        run: add,
    },
    Own {
        name: "timestampdiff",
        takes: &[Text, Instant, Instant],
        least: 3,
        variadic: false,
        returns: as_int,
        run: diff,
    },
    Own { name: "$extract", takes: &[Text, Instant], least: 2, variadic: false, returns: as_bigint, run: extract },
    Own { name: "$floor_to", takes: &[Text, Instant], least: 2, variadic: false, returns: as_second, run: floor_to },
    Own { name: "$ceil_to", takes: &[Text, Instant], least: 2, variadic: false, returns: as_second, run: ceil_to },
    Own { name: "$text_of_timestamp", takes: &[Any], least: 1, variadic: false, returns: as_text, run: timestamp_text },
];

fn as_local(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Timestamp(TimeUnit::Millisecond, None))
}

fn as_zoned(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))
}

fn as_date(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Date32)
}

fn as_second(types: &[DataType]) -> Planned<DataType> {
    Ok(types[1].clone())
}

fn as_third(types: &[DataType]) -> Planned<DataType> {
    Ok(types[2].clone())
}

/// One part of a Java date pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Word(String),
    Year(usize),
    Month(usize),
    MonthName(bool),
    Day(usize),
    DayOfYear(usize),
    DayName(bool),
    Hour(usize),
    HalfDayHour(usize),
    Minute(usize),
    Second(usize),
    Fraction(usize),
    HalfDay,
}

/// Whether a constant date pattern is understood; the reason where it is not.
pub(crate) fn check_date_pattern(pattern: &str) -> Result<(), String> {
    parts(pattern).map(drop)
}

fn parts(pattern: &str) -> Result<Vec<Part>, String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut parts = Vec::new();
    let mut index = 0;
    while index < letters.len() {
        let letter = letters[index];
        if letter == '\'' {
            index = quoted(&letters, index, &mut parts);
            continue;
        }
        let run = letters[index..].iter().take_while(|next| **next == letter).count();
        parts.push(
            part(letter, run).ok_or_else(|| format!("'{letter}' in the date pattern '{pattern}' is not supported"))?,
        );
        index += run;
    }
    Ok(parts)
}

/// Reads text in single quotes; two of them are one.
fn quoted(letters: &[char], start: usize, parts: &mut Vec<Part>) -> usize {
    if letters.get(start + 1) == Some(&'\'') {
        parts.push(Part::Word("'".into()));
        return start + 2;
    }
    let word: String = letters[start + 1..].iter().take_while(|letter| **letter != '\'').collect();
    let end = start + 2 + word.chars().count();
    parts.push(Part::Word(word));
    end
}

fn part(letter: char, run: usize) -> Option<Part> {
    Some(match letter {
        'y' | 'u' => Part::Year(run),
        'M' | 'L' if run >= 3 => Part::MonthName(run >= 4),
        'M' | 'L' => Part::Month(run),
        'd' => Part::Day(run),
        'D' => Part::DayOfYear(run),
        'E' => Part::DayName(run >= 4),
        'H' => Part::Hour(run),
        'h' => Part::HalfDayHour(run),
        'm' => Part::Minute(run),
        's' => Part::Second(run),
        'S' if run <= 9 => Part::Fraction(run),
        'a' => Part::HalfDay,
        letter if letter.is_ascii_alphabetic() => return None,
        letter => Part::Word(letter.to_string().repeat(run)),
    })
}

fn written(time: NaiveDateTime, parts: &[Part]) -> String {
    parts.iter().map(|part| written_part(time, part)).collect()
}

fn written_part(time: NaiveDateTime, part: &Part) -> String {
    let padded = |value: u32, width: usize| format!("{value:0>width$}");
    match part {
        Part::Word(word) => word.clone(),
        Part::Year(2) => format!("{:02}", time.year().rem_euclid(100)),
        Part::Year(width) => format!("{:0>width$}", time.year(), width = *width),
        Part::Month(width) => padded(time.month(), *width),
        Part::MonthName(full) => time.format(if *full { "%B" } else { "%b" }).to_string(),
        Part::Day(width) => padded(time.day(), *width),
        Part::DayOfYear(width) => padded(time.ordinal(), *width),
        Part::DayName(full) => time.format(if *full { "%A" } else { "%a" }).to_string(),
        Part::Hour(width) => padded(time.hour(), *width),
        Part::HalfDayHour(width) => padded(time.hour12().1, *width),
        Part::Minute(width) => padded(time.minute(), *width),
        Part::Second(width) => padded(time.second(), *width),
        Part::Fraction(width) => format!("{:09}", time.nanosecond() % 1_000_000_000)[..*width].to_owned(),
        Part::HalfDay => if time.hour12().0 { "PM" } else { "AM" }.to_owned(),
    }
}

/// Reads a text by a pattern; `None` where it does not fit, or has more.
fn read(text: &str, parts: &[Part]) -> Option<NaiveDateTime> {
    let mut rest = text;
    let (mut year, mut month, mut day, mut hour, mut minute, mut second, mut nanos) = (1970, 1, 1, 0, 0, 0, 0);
    let mut afternoon = None;
    for (index, part) in parts.iter().enumerate() {
        let closed = parts.get(index + 1).is_some_and(|next| !matches!(next, Part::Word(_)));
        let mut take = |width: usize, most: usize| digits(&mut rest, if closed { width } else { most.max(width) });
        match part {
            Part::Word(word) => rest = rest.strip_prefix(word.as_str())?,
            Part::Year(2) => year = 2000 + i32::try_from(take(2, 2)?).ok()?,
            Part::Year(width) => year = i32::try_from(take(*width, 4)?).ok()?,
            Part::Month(width) => month = take(*width, 2)?,
            Part::Day(width) => day = take(*width, 2)?,
            Part::Hour(width) | Part::HalfDayHour(width) => hour = take(*width, 2)?,
            Part::Minute(width) => minute = take(*width, 2)?,
            Part::Second(width) => second = take(*width, 2)?,
            Part::Fraction(width) => nanos = fraction(&mut rest, *width)?,
            Part::HalfDay => afternoon = Some(half_day(&mut rest)?),
            Part::MonthName(_) | Part::DayName(_) | Part::DayOfYear(_) => return None,
        }
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    rest.is_empty().then(|| date.and_hms_nano_opt(hour, minute, second, nanos)).flatten()
}

fn digits(rest: &mut &str, most: usize) -> Option<u32> {
    let length = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(length);
    *rest = after;
    number.parse().ok()
}

fn fraction(rest: &mut &str, width: usize) -> Option<u32> {
    let length = rest.bytes().take(width).take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(length);
    *rest = after;
    format!("{number:0<9}").parse().ok()
}

fn half_day(rest: &mut &str) -> Option<bool> {
    let afternoon = match rest.get(..2)?.to_ascii_uppercase().as_str() {
        "AM" => false,
        "PM" => true,
        _ => return None,
    };
    *rest = &rest[2..];
    Some(afternoon)
}

/// Reads a timestamp in SQL's or ISO's form, with or without a time and a fraction.
fn read_plain(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim().trim_end_matches('Z');
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time);
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)
}

/// Times of an array of timestamps; times of day stand on the first day of 1970.
fn instants(array: &ArrayRef) -> Planned<Vec<Option<NaiveDateTime>>> {
    let zoned = |time: Option<DateTime<chrono::Utc>>| time.map(|time| time.naive_utc());
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let values = array.as_primitive::<TimestampNanosecondType>();
            values.iter().map(|value| value.map(|value| DateTime::from_timestamp_nanos(value).naive_utc())).collect()
        }
        DataType::Timestamp(..) => {
            let micros = arrow_cast::cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let values = micros.as_primitive::<TimestampMicrosecondType>();
            values.iter().map(|value| value.and_then(|value| zoned(DateTime::from_timestamp_micros(value)))).collect()
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let values = array.as_primitive::<Time64MicrosecondType>();
            values.iter().map(|value| value.and_then(|value| zoned(DateTime::from_timestamp_micros(value)))).collect()
        }
        other => return refuse(codes::OF0305, format!("{other} is no time")),
    })
}

fn instants_array(times: Vec<Option<NaiveDateTime>>, to: &DataType) -> Planned<ArrayRef> {
    let micros = |time: NaiveDateTime| time.and_utc().timestamp_micros();
    Ok(match to {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let nanos = times
                .into_iter()
                .map(|time| time.map(|time| time.and_utc().timestamp_nanos_opt().ok_or_else(overflow)));
            let values = nanos.map(Option::transpose).collect::<Planned<Vec<_>>>()?;
            Arc::new(TimestampNanosecondArray::from(values).with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let values = times.into_iter().map(|time| time.map(micros)).collect::<TimestampMicrosecondArray>();
            Arc::new(values.with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            let values = times.into_iter().map(|time| time.map(|time| time.and_utc().timestamp_millis()));
            Arc::new(values.collect::<TimestampMillisecondArray>().with_timezone_opt(zone.clone()))
        }
        DataType::Time64(_) => {
            let values = times.into_iter().map(|time| time.map(|time| micros(time).rem_euclid(86_400_000_000)));
            Arc::new(values.collect::<arrow_array::Time64MicrosecondArray>())
        }
        other => return refuse(codes::OF0305, format!("{other} is no timestamp")),
    })
}

fn overflow() -> DataFusionError {
    let text = "Overflow happened on: a timestamp is out of range".to_owned();
    DataFusionError::ArrowError(Box::new(ArrowError::ArithmeticOverflow(text)), None)
}

/// The last pattern, read.
#[derive(Default)]
struct Last(Option<(String, Vec<Part>)>);

impl Last {
    fn get(&mut self, pattern: &str) -> Planned<&[Part]> {
        if self.0.as_ref().is_none_or(|(known, _)| known != pattern) {
            match parts(pattern) {
                Ok(parts) => self.0 = Some((pattern.to_owned(), parts)),
                Err(reason) => return refuse(codes::OF0340, reason),
            }
        }
        Ok(&self.0.as_ref().expect("it was just put there").1)
    }
}

fn date_format(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let (times, patterns) = (instants(&args[0])?, args[1].as_string::<i32>());
    let mut last = Last::default();
    let mut texts = Vec::with_capacity(times.len());
    for (row, time) in times.into_iter().enumerate() {
        texts.push(match (time, at(patterns, row)) {
            (Some(time), Some(pattern)) => Some(written(time, last.get(pattern)?)),
            _ => None,
        });
    }
    Ok(Arc::new(StringArray::from(texts)))
}

/// Texts as times, by the pattern in the second argument where there is one.
fn texts_as_times(args: &[ArrayRef]) -> Planned<Vec<Option<NaiveDateTime>>> {
    let texts = args[0].as_string::<i32>();
    let mut last = Last::default();
    let mut times = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        times.push(match (at(texts, row), args.get(1)) {
            (None, _) => None,
            (Some(text), None) => read_plain(text),
            (Some(text), Some(patterns)) => match at(patterns.as_string::<i32>(), row) {
                Some(pattern) => read(text, last.get(pattern)?),
                None => None,
            },
        });
    }
    Ok(times)
}

fn to_timestamp(args: &[ArrayRef], to: &DataType) -> Planned<ArrayRef> {
    instants_array(texts_as_times(args)?, to)
}

/// Seconds (0), milliseconds (3), microseconds (6) or nanoseconds (9) since 1970; or text, read as UTC.
fn to_timestamp_ltz(args: &[ArrayRef], to: &DataType) -> Planned<ArrayRef> {
    if args[0].data_type() == &DataType::Utf8 {
        return instants_array(texts_as_times(args)?, to);
    }
    let numbers = arrow_cast::cast(&args[0], &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    let precisions = match args.get(1) {
        Some(array) => Some(arrow_cast::cast(array, &DataType::Int64)?),
        None => None,
    };
    let mut millis = Vec::with_capacity(numbers.len());
    for row in 0..numbers.len() {
        let precision = precisions.as_ref().map_or(3, |array| array.as_primitive::<Int64Type>().value(row));
        millis.push(if numbers.is_null(row) { None } else { Some(as_millis(numbers.value(row), precision)?) });
    }
    Ok(Arc::new(TimestampMillisecondArray::from(millis).with_timezone("UTC")))
}

fn as_millis(number: i64, precision: i64) -> Planned<i64> {
    match precision {
        0 => number.checked_mul(1000).ok_or_else(overflow),
        3 => Ok(number),
        6 => Ok(number.div_euclid(1000)),
        9 => Ok(number.div_euclid(1_000_000)),
        other => refuse(codes::OF0363, format!("TO_TIMESTAMP_LTZ has no precision {other}: it is 0, 3, 6 or 9")),
    }
}

fn to_date(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let days = |time: NaiveDateTime| i32::try_from(time.and_utc().timestamp().div_euclid(86_400)).ok();
    let dates = texts_as_times(args)?.into_iter().map(|time| time.and_then(days));
    Ok(Arc::new(dates.collect::<Date32Array>()))
}

fn from_unixtime(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let mut last = Last::default();
    let mut texts = Vec::with_capacity(args[0].len());
    for row in 0..args[0].len() {
        let pattern = match args.get(1) {
            Some(patterns) => at(patterns.as_string::<i32>(), row),
            None => Some("yyyy-MM-dd HH:mm:ss"),
        };
        let time = number(args, 0, row).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        texts.push(match (time, pattern) {
            (Some(time), Some(pattern)) => Some(written(time.naive_utc(), last.get(pattern)?)),
            _ => None,
        });
    }
    Ok(Arc::new(StringArray::from(texts)))
}

fn unix_timestamp(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let seconds = texts_as_times(args)?.into_iter().map(|time| time.map(|time| time.and_utc().timestamp()));
    Ok(Arc::new(seconds.collect::<Int64Array>()))
}

/// A unit of time as in `TIMESTAMPADD`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Months(u32),
    Span(TimeDelta),
}

fn unit(name: &str) -> Planned<Unit> {
    let name = name.to_uppercase();
    Ok(match name.strip_prefix("SQL_TSI_").unwrap_or(&name).trim_end_matches('S') {
        "YEAR" => Unit::Months(12),
        "QUARTER" => Unit::Months(3),
        "MONTH" => Unit::Months(1),
        "WEEK" => Unit::Span(TimeDelta::days(7)),
        "DAY" => Unit::Span(TimeDelta::days(1)),
        "HOUR" => Unit::Span(TimeDelta::hours(1)),
        "MINUTE" => Unit::Span(TimeDelta::minutes(1)),
        "SECOND" => Unit::Span(TimeDelta::seconds(1)),
        "MILLISECOND" => Unit::Span(TimeDelta::milliseconds(1)),
        "MICROSECOND" => Unit::Span(TimeDelta::microseconds(1)),
        other => return refuse(codes::OF0363, format!("{other} is not a unit of time")),
    })
}

fn added(time: NaiveDateTime, unit: Unit, amount: i64) -> Option<NaiveDateTime> {
    match unit {
        Unit::Months(months) => {
            let months = i64::from(months).checked_mul(amount)?;
            let size = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
            if months < 0 { time.checked_sub_months(size) } else { time.checked_add_months(size) }
        }
        Unit::Span(span) => {
            let micros = span.num_microseconds()?.checked_mul(amount)?;
            time.checked_add_signed(TimeDelta::microseconds(micros))
        }
    }
}

fn add(args: &[ArrayRef], to: &DataType) -> Planned<ArrayRef> {
    let (units, times) = (args[0].as_string::<i32>(), instants(&args[2])?);
    let mut sums = Vec::with_capacity(times.len());
    for (row, time) in times.into_iter().enumerate() {
        sums.push(match (at(units, row), number(args, 1, row), time) {
            (Some(name), Some(amount), Some(time)) => Some(added(time, unit(name)?, amount).ok_or_else(overflow)?),
            _ => None,
        });
    }
    instants_array(sums, to)
}

/// Whole units from the first time to the second.
fn between(from: NaiveDateTime, to: NaiveDateTime, unit: Unit) -> i64 {
    match unit {
        Unit::Span(span) => {
            let size = span.num_microseconds().unwrap_or(1).max(1);
            (to - from).num_microseconds().unwrap_or(i64::MAX) / size
        }
        Unit::Months(size) => {
            let month = |time: NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
            let within = |time: NaiveDateTime| (time.day(), time.time());
            let mut months = month(to) - month(from);
            if months > 0 && within(to) < within(from) {
                months -= 1;
            } else if months < 0 && within(to) > within(from) {
                months += 1;
            }
            months / i64::from(size)
        }
    }
}

fn diff(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let (units, from, to) = (args[0].as_string::<i32>(), instants(&args[1])?, instants(&args[2])?);
    let mut counts = Vec::with_capacity(from.len());
    for (row, (from, to)) in from.into_iter().zip(to).enumerate() {
        counts.push(match (at(units, row), from, to) {
            (Some(name), Some(from), Some(to)) => {
                Some(i32::try_from(between(from, to, unit(name)?)).map_err(|_| overflow())?)
            }
            _ => None,
        });
    }
    Ok(Arc::new(Int32Array::from(counts)))
}

fn extract(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let (fields, times) = (args[0].as_string::<i32>(), instants(&args[1])?);
    let mut numbers = Vec::with_capacity(times.len());
    for (row, time) in times.into_iter().enumerate() {
        numbers.push(match (at(fields, row), time) {
            (Some(field), Some(time)) => Some(field_of(time, field)?),
            _ => None,
        });
    }
    Ok(Arc::new(Int64Array::from(numbers)))
}

fn field_of(time: NaiveDateTime, field: &str) -> Planned<i64> {
    let nanos = i64::from(time.nanosecond() % 1_000_000_000);
    Ok(match field.to_uppercase().as_str() {
        "YEAR" => i64::from(time.year()),
        "QUARTER" => i64::from(time.month0() / 3 + 1),
        "MONTH" => i64::from(time.month()),
        "WEEK" => i64::from(time.iso_week().week()),
        "DAY" | "DAYOFMONTH" => i64::from(time.day()),
        "DOY" | "DAYOFYEAR" => i64::from(time.ordinal()),
        "DOW" | "DAYOFWEEK" => i64::from(time.weekday().num_days_from_sunday() + 1),
        "ISODOW" => i64::from(time.weekday().number_from_monday()),
        "HOUR" => i64::from(time.hour()),
        "MINUTE" => i64::from(time.minute()),
        "SECOND" => i64::from(time.second()),
        "MILLISECOND" => nanos / 1_000_000,
        "MICROSECOND" => nanos / 1_000,
        "NANOSECOND" => nanos,
        "EPOCH" => time.and_utc().timestamp(),
        other => return refuse(codes::OF0363, format!("{other} is not a part of a time")),
    })
}

fn floored(time: NaiveDateTime, name: &str) -> Planned<NaiveDateTime> {
    let midnight = |date: Option<NaiveDate>| date.map(|date| date.and_time(NaiveTime::MIN)).ok_or_else(overflow);
    let date = time.date();
    Ok(match name.to_uppercase().as_str() {
        "YEAR" => midnight(NaiveDate::from_ymd_opt(date.year(), 1, 1))?,
        "QUARTER" => midnight(NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1))?,
        "MONTH" => midnight(NaiveDate::from_ymd_opt(date.year(), date.month(), 1))?,
        "WEEK" => {
            let back = Days::new(u64::from(date.weekday().num_days_from_sunday()));
            midnight(date.checked_sub_days(back))?
        }
        other => match unit(other)? {
            Unit::Span(span) => {
                let size = span.num_microseconds().unwrap_or(1).max(1);
                let micros = time.and_utc().timestamp_micros();
                let start = micros.div_euclid(size) * size;
                DateTime::from_timestamp_micros(start).map(|time| time.naive_utc()).ok_or_else(overflow)?
            }
            Unit::Months(_) => return refuse(codes::OF0363, format!("a time is not rounded to {other}")),
        },
    })
}

fn rounded(
    args: &[ArrayRef],
    to: &DataType,
    round: impl Fn(NaiveDateTime, &str) -> Planned<NaiveDateTime>,
) -> Planned<ArrayRef> {
    let (units, times) = (args[0].as_string::<i32>(), instants(&args[1])?);
    let mut results = Vec::with_capacity(times.len());
    for (row, time) in times.into_iter().enumerate() {
        results.push(match (at(units, row), time) {
            (Some(name), Some(time)) => Some(round(time, name)?),
            _ => None,
        });
    }
    instants_array(results, to)
}

fn floor_to(args: &[ArrayRef], to: &DataType) -> Planned<ArrayRef> {
    rounded(args, to, floored)
}

fn ceil_to(args: &[ArrayRef], to: &DataType) -> Planned<ArrayRef> {
    rounded(args, to, |time, name| {
        let floor = floored(time, name)?;
        if floor == time { Ok(time) } else { added(floor, unit(name)?, 1).ok_or_else(overflow) }
    })
}

/// `CAST(ts AS STRING)`: a blank between date and time, and all digits of the type's precision.
fn timestamp_text(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let digits = match args[0].data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 0,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 3,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 6,
        _ => 9,
    };
    let pattern =
        if digits == 0 { "yyyy-MM-dd HH:mm:ss".into() } else { format!("yyyy-MM-dd HH:mm:ss.{}", "S".repeat(digits)) };
    let parts = parts(&pattern).expect("the pattern is one of ours");
    let texts = instants(&args[0])?.into_iter().map(|time| time.map(|time| written(time, &parts)));
    Ok(Arc::new(texts.collect::<StringArray>()))
}
