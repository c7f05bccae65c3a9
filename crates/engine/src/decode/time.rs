//! From text to dates, times and timestamps as Flink's JSON and CSV formats write them.

use super::TimestampFormat;
use super::convert::Wrong;
use arrow_schema::TimeUnit;

const SECONDS_PER_DAY: i64 = 86_400;

/// A moment: seconds since 1970-01-01T00:00:00 and nanoseconds in the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    seconds: i64,
    nanos: i64,
}

impl Moment {
    /// A moment from milliseconds since 1970.
    pub(crate) fn from_millis(millis: i64) -> Self {
        Self { seconds: millis.div_euclid(1000), nanos: millis.rem_euclid(1000) * 1_000_000 }
    }

    /// The moment in a unit; what is finer is cut off.
    pub(crate) fn in_unit(self, unit: TimeUnit) -> Result<i64, Wrong> {
        let (per_second, nanos_per) = match unit {
            TimeUnit::Second => (1, 1_000_000_000),
            TimeUnit::Millisecond => (1_000, 1_000_000),
            TimeUnit::Microsecond => (1_000_000, 1_000),
            TimeUnit::Nanosecond => (1_000_000_000, 1),
        };
        let whole = self.seconds.checked_mul(per_second).ok_or(Wrong::Range)?;
        whole.checked_add(self.nanos / nanos_per).ok_or(Wrong::Range)
    }
}

/// `2020-12-30`: days since 1970-01-01. Years beyond four digits carry a sign.
pub(crate) fn date(text: &str) -> Result<i32, Wrong> {
    let mut scan = Scan::new(text);
    let days = scan.date().filter(|_| scan.is_done()).ok_or(Wrong::Form)?;
    i32::try_from(days).map_err(|_| Wrong::Range)
}

/// `12:13:14.123456789`: the time of a day as a moment of 1970-01-01.
pub(crate) fn time(text: &str) -> Result<Moment, Wrong> {
    let mut scan = Scan::new(text);
    scan.time(false).filter(|_| scan.is_done()).ok_or(Wrong::Form)
}

/// A timestamp in one of Flink's two formats. `zoned` ones end with `Z`; an offset such as `+02:00` is understood as well.
pub(crate) fn timestamp(text: &str, format: TimestampFormat, zoned: bool) -> Result<Moment, Wrong> {
    let mut scan = Scan::new(text);
    let moment = scan.timestamp(format, zoned).filter(|_| scan.is_done());
    moment.ok_or(Wrong::Form)
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes() }
    }

    fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// Exactly so many digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.rest.get(..count)?;
        let value = digits
            .iter()
            .try_fold(0_i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))?;
        self.rest = &self.rest[count..];
        Some(value)
    }

    fn two(&mut self, max: i64) -> Option<i64> {
        self.digits(2).filter(|value| *value <= max)
    }

    fn year(&mut self) -> Option<i64> {
        let sign = match self.rest.first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return self.digits(4),
        };
        self.rest = &self.rest[1..];
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(4..=7).contains(&count) {
            return None;
        }
        self.digits(count).map(|year| sign * year)
    }

    fn date(&mut self) -> Option<i64> {
        let year = self.year()?;
        self.take(b'-')?;
        let month = self.two(12).filter(|month| *month > 0)?;
        self.take(b'-')?;
        let day = self.two(days_in_month(year, month)).filter(|day| *day > 0)?;
        Some(days_from_civil(year, month, day))
    }

    /// Hours and minutes, then seconds (which ISO lets out) with up to nine digits of fraction.
    fn time(&mut self, seconds_optional: bool) -> Option<Moment> {
        let hours = self.two(23)?;
        self.take(b':')?;
        let minutes = self.two(59)?;
        if seconds_optional && self.rest.first() != Some(&b':') {
            return Some(Moment { seconds: hours * 3600 + minutes * 60, nanos: 0 });
        }
        self.take(b':')?;
        let seconds = self.two(59)?;
        let nanos = if self.take(b'.').is_some() { self.fraction()? } else { 0 };
        Some(Moment { seconds: hours * 3600 + minutes * 60 + seconds, nanos })
    }

    fn fraction(&mut self) -> Option<i64> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count > 9 {
            return None;
        }
        let value = self.digits(count)?;
        (count..9).try_fold(value, |value, _| value.checked_mul(10))
    }

    fn timestamp(&mut self, format: TimestampFormat, zoned: bool) -> Option<Moment> {
        let days = self.date()?;
        self.take(match format {
            TimestampFormat::Sql => b' ',
            TimestampFormat::Iso8601 => b'T',
        })?;
        let time = self.time(format == TimestampFormat::Iso8601)?;
        let offset = if zoned { self.offset()? } else { 0 };
        let seconds = days.checked_mul(SECONDS_PER_DAY)?.checked_add(time.seconds)?.checked_sub(offset)?;
        Some(Moment { seconds, nanos: time.nanos })
    }

    /// `Z`, or `+hh:mm`: seconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.take(b'Z').is_some() {
            return Some(0);
        }
        let sign = if self.take(b'+').is_some() { 1 } else { self.take(b'-').map(|()| -1)? };
        let hours = self.two(18)?;
        self.take(b':')?;
        let minutes = self.two(59)?;
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};

    #[test]
    fn dates_agree_with_chrono_over_eight_hundred_years() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
        let mut day = NaiveDate::from_ymd_opt(1600, 1, 1).expect("a date");
        while day.year() < 2400 {
            let expected = i32::try_from((day - epoch).num_days()).expect("in range");
            assert_eq!(date(&day.format("%Y-%m-%d").to_string()), Ok(expected), "{day}");
            day += chrono::TimeDelta::days(1);
        }
    }

    #[test]
    fn malformed_dates_and_times_are_refused() {
        for text in ["", "2020-2-3", "2020-02-30", "2021-02-29", "2020-13-01", "2020-00-01", "20200101", "2020-01-01x"]
        {
            assert_eq!(date(text), Err(Wrong::Form), "{text}");
        }
        for text in ["24:00:00", "12:60:00", "12:00:60", "12:00", "12:00:00.1234567890", "1:00:00"] {
            assert_eq!(time(text), Err(Wrong::Form), "{text}");
        }
    }

    #[test]
    fn timestamps_follow_their_format() {
        use TimestampFormat::{Iso8601, Sql};
        type Case = (&'static str, TimestampFormat, bool, Option<(i64, i64)>);
        let cases: &[Case] = &[
            ("1970-01-02 00:00:01", Sql, false, Some((86_401, 0))),
            ("1970-01-02T00:00:01", Sql, false, None),
            ("1970-01-02T00:00:01.5", Iso8601, false, Some((86_401, 500_000_000))),
            ("1970-01-02T00:01", Iso8601, false, Some((86_460, 0))),
            ("1970-01-02 00:01", Sql, false, None),
            ("1970-01-01 00:00:00Z", Sql, true, Some((0, 0))),
            ("1970-01-01 00:00:00", Sql, true, None),
            ("1970-01-01 00:00:00Z", Sql, false, None),
            ("1970-01-01T02:00:00+02:00", Iso8601, true, Some((0, 0))),
            ("1969-12-31T23:59:59.999999999Z", Iso8601, true, Some((-1, 999_999_999))),
        ];
        for (text, format, zoned, expected) in cases {
            let got = timestamp(text, *format, *zoned).ok().map(|moment| (moment.seconds, moment.nanos));
            assert_eq!(got, *expected, "{text}");
        }
    }

    #[test]
    fn a_nanosecond_timestamp_beyond_its_range_is_refused() {
        let moment = timestamp("2300-01-01 00:00:00", TimestampFormat::Sql, false).expect("well formed");
        assert_eq!(moment.in_unit(TimeUnit::Nanosecond), Err(Wrong::Range));
        assert!(moment.in_unit(TimeUnit::Microsecond).is_ok());
    }
}
