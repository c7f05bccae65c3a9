//! Row n as JSON text.

use crate::codes;
use crate::error::{Error, Result};
use arrow_schema::{DataType, TimeUnit};
use std::io::Write;

/// A column to generate.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// How its values come about.
    pub kind: Kind,
}

/// `fields.X.kind`.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `sequence`: `start`, `start + 1`, … up to `end`.
    Sequence {
        /// `fields.X.start`.
        start: i64,
        /// `fields.X.end`, the last value.
        end: i64,
    },
    /// `random`, the default.
    Random(RandomOptions),
}

/// Options of a random column.
#[derive(Clone, Debug, Default)]
pub struct RandomOptions {
    /// `fields.X.min`, as written; the smallest value of the type without it.
    pub min: Option<String>,
    /// `fields.X.max`, as written; the largest value of the type without it.
    pub max: Option<String>,
    /// `fields.X.length` of text and bytes (100 without it) and of collections (3 without it).
    pub length: Option<usize>,
    /// `fields.X.var-len`: lengths from 1 to `length`.
    pub var_len: bool,
    /// `fields.X.null-rate`: which part of the values is NULL, from 0 to 1.
    pub null_rate: f64,
    /// `fields.X.max-past` of timestamps in milliseconds: how far they may lie before `TIMES_END_MILLIS`.
    pub max_past_millis: Option<u64>,
}

/// Random timestamps lie before 2025-01-01T00:00:00Z, not before the present, which would differ at each run.
pub const TIMES_END_MILLIS: i64 = 1_735_689_600_000;

/// Without `max-past` they lie within a year.
const PAST_MILLIS: u64 = 365 * 86_400_000;

/// Flink's default lengths.
const TEXT_LENGTH: usize = 100;
const ITEMS_LENGTH: usize = 3;

/// Longer values are a slip of the keyboard.
const LENGTH_MAX: usize = 16 << 20;

/// Makes rows.
#[derive(Debug)]
pub(super) struct Generator {
    seed: u64,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    /// `"name":` with its quotes and escapes.
    label: String,
    null_rate: f64,
    make: Make,
}

/// How a value comes about.
#[derive(Debug)]
enum Make {
    Sequence { start: i64, end: i64, quoted: bool },
    Boolean,
    Integer { min: i64, max: i64 },
    Float { min: f64, max: f64, single: bool },
    Decimal { min: i128, max: i128, scale: u32 },
    Text { length: usize, var_len: bool },
    Bytes { length: usize, var_len: bool },
    Date,
    Time,
    Timestamp { past: u64, zoned: bool },
    List { length: usize, item: Box<Make> },
    Map { length: usize, value: Box<Make> },
    Row(Vec<(String, Make)>),
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough for test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        crate::chance::next(&mut self.0)
    }

    /// A number in `0..=max`.
    fn up_to(&mut self, max: u128) -> u128 {
        let wide = (u128::from(self.next()) << 64) | u128::from(self.next());
        max.checked_add(1).map_or(wide, |count| wide % count)
    }

    /// A number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn length(&mut self, length: usize, var_len: bool) -> usize {
        if !var_len || length == 0 {
            return length;
        }
        1 + usize::try_from(self.next() % length as u64).expect("a remainder is smaller than its divisor")
    }
}

impl Generator {
    pub(super) fn new(seed: u64, fields: &[Field]) -> Result<Self> {
        Ok(Self { seed, columns: fields.iter().map(Column::new).collect::<Result<_>>()? })
    }

    /// How many rows the sequences have.
    pub(super) fn rows(&self) -> Option<u64> {
        let length = |column: &Column| match column.make {
            Make::Sequence { start, end, .. } => {
                Some(u64::try_from(i128::from(end) - i128::from(start) + 1).unwrap_or(u64::MAX))
            }
            _ => None,
        };
        self.columns.iter().filter_map(length).min()
    }

    /// Row n.
    pub(super) fn row(&self, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_row(number, &mut out);
        out
    }

    /// Appends row n.
    pub(super) fn append_row(&self, number: u64, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(column.label.as_bytes());
            let mut key = Random(self.seed ^ (index as u64).rotate_left(48));
            let mut random = Random(key.next() ^ number);
            random.next();
            if column.null_rate > 0.0 && random.unit() < column.null_rate {
                out.extend_from_slice(b"null");
            } else {
                column.make.append(number, &mut random, out);
            }
        }
        out.push(b'}');
    }
}

impl Column {
    fn new(field: &Field) -> Result<Self> {
        let label = format!("{}:", quoted(&field.name));
        let (make, null_rate) = match &field.kind {
            Kind::Sequence { start, end } => (sequence(field, *start, *end)?, 0.0),
            Kind::Random(options) => {
                if !(0.0..=1.0).contains(&options.null_rate) {
                    return Err(wrong(field, "null-rate", &options.null_rate.to_string(), "a number from 0 to 1"));
                }
                (random(field, &field.data_type, options)?, options.null_rate)
            }
        };
        Ok(Self { label, null_rate, make })
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always valid JSON")
}

fn wrong(field: &Field, option: &str, value: &str, expected: &str) -> Error {
    Error::config(codes::OF0521, format!("'fields.{}.{option}' = '{value}' is not {expected}", field.name))
}

fn unsupported(field: &Field, kind: &str) -> Error {
    let data_type = crate::decode::sql_name(&field.data_type);
    Error::config(codes::OF0522, format!("datagen cannot make a {kind} of {data_type} (field `{}`)", field.name))
}

fn sequence(field: &Field, start: i64, end: i64) -> Result<Make> {
    let (min, max, quoted) = match &field.data_type {
        DataType::Utf8 => (i64::MIN, i64::MAX, true),
        DataType::Float32 | DataType::Float64 => (i64::MIN, i64::MAX, false),
        DataType::Decimal128(precision, scale) => {
            let digits = u32::from(*precision).saturating_sub(scale.unsigned_abs().into());
            let max = 10_i64.checked_pow(digits).map_or(i64::MAX, |limit| limit - 1);
            (-max, max, false)
        }
        other => {
            let (min, max) = integer_range(other).ok_or_else(|| unsupported(field, "sequence"))?;
            (min, max, false)
        }
    };
    let within = format!("from {min} to {max}");
    if !(min..=max).contains(&start) {
        return Err(wrong(field, "start", &start.to_string(), &within));
    }
    if !(start.max(min)..=max).contains(&end) {
        return Err(wrong(field, "end", &end.to_string(), &format!("at least 'start' and {within}")));
    }
    Ok(Make::Sequence { start, end, quoted })
}

fn integer_range(data_type: &DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN, i64::MAX),
        _ => return None,
    })
}

/// A limit as written, or the type's own; within the type's range.
fn limit<T: Copy + PartialOrd + std::fmt::Display>(
    field: &Field,
    option: &str,
    text: Option<&String>,
    own: T,
    range: (T, T),
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T> {
    let Some(text) = text else { return Ok(own) };
    let value = parse(text.trim()).filter(|value| *value >= range.0 && *value <= range.1);
    value.ok_or_else(|| wrong(field, option, text, &format!("a number from {} to {}", range.0, range.1)))
}

fn limits<T: Copy + PartialOrd + std::fmt::Display>(
    field: &Field,
    options: &RandomOptions,
    range: (T, T),
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(T, T)> {
    let min = limit(field, "min", options.min.as_ref(), range.0, range, &parse)?;
    let max = limit(field, "max", options.max.as_ref(), range.1, range, &parse)?;
    if min > max {
        return Err(wrong(field, "min", &min.to_string(), &format!("below 'max' = '{max}'")));
    }
    Ok((min, max))
}

fn random(field: &Field, data_type: &DataType, options: &RandomOptions) -> Result<Make> {
    let length = |default: usize| match options.length {
        Some(length) if length > LENGTH_MAX => {
            Err(wrong(field, "length", &length.to_string(), &format!("at most {LENGTH_MAX}")))
        }
        length => Ok(length.unwrap_or(default)),
    };
    let inner = |data_type: &DataType| {
        let options = RandomOptions { length: None, ..options.clone() };
        random(field, data_type, &options).map(Box::new)
    };
    Ok(match data_type {
        DataType::Boolean => Make::Boolean,
        DataType::Float32 => {
            let (min, max) =
                limits(field, options, (f64::from(f32::MIN), f64::from(f32::MAX)), |text| text.parse().ok())?;
            Make::Float { min, max, single: true }
        }
        DataType::Float64 => {
            let (min, max) = limits(field, options, (f64::MIN, f64::MAX), |text| text.parse().ok())?;
            Make::Float { min, max, single: false }
        }
        DataType::Decimal128(precision, scale) => decimal(field, options, *precision, *scale)?,
        DataType::Utf8 => Make::Text { length: length(TEXT_LENGTH)?, var_len: options.var_len },
        DataType::Binary => Make::Bytes { length: length(TEXT_LENGTH)?, var_len: options.var_len },
        DataType::Date32 => Make::Date,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond) => Make::Time,
        DataType::Timestamp(_, zone) => {
            Make::Timestamp { past: options.max_past_millis.unwrap_or(PAST_MILLIS), zoned: zone.is_some() }
        }
        DataType::List(item) => Make::List { length: length(ITEMS_LENGTH)?, item: inner(item.data_type())? },
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 && *parts[0].data_type() == DataType::Utf8 => {
                Make::Map { length: length(ITEMS_LENGTH)?, value: inner(parts[1].data_type())? }
            }
            _ => return Err(unsupported(field, "random value")),
        },
        DataType::Struct(fields) => {
            let make =
                |part: &arrow_schema::FieldRef| Ok((format!("{}:", quoted(part.name())), *inner(part.data_type())?));
            Make::Row(fields.iter().map(make).collect::<Result<_>>()?)
        }
        other => {
            let range = integer_range(other).ok_or_else(|| unsupported(field, "random value"))?;
            let (min, max) = limits(field, options, range, |text| text.parse().ok())?;
            Make::Integer { min, max }
        }
    })
}

fn decimal(field: &Field, options: &RandomOptions, precision: u8, scale: i8) -> Result<Make> {
    let scale_digits = u32::try_from(scale).map_err(|_| unsupported(field, "random value"))?;
    let most = 10_i128.checked_pow(precision.into()).map_or(i128::MAX, |limit| limit - 1);
    let parse = |text: &str| crate::decode::decimal_of(text, precision, scale);
    let (min, max) = limits(field, options, (-most, most), parse)?;
    Ok(Make::Decimal { min, max, scale: scale_digits })
}

impl Make {
    fn append(&self, number: u64, random: &mut Random, out: &mut Vec<u8>) {
        match self {
            Self::Sequence { start, quoted, .. } => {
                let value = i128::from(*start) + i128::from(number);
                if *quoted { put(out, format_args!("\"{value}\"")) } else { put(out, format_args!("{value}")) }
            }
            Self::Boolean => put(out, format_args!("{}", random.next() & 1 == 1)),
            Self::Integer { min, max } => {
                let value = within(random, i128::from(*min), i128::from(*max));
                put(out, format_args!("{value}"));
            }
            Self::Float { min, max, single } => append_float(random, *min, *max, *single, out),
            Self::Decimal { min, max, scale } => append_decimal(within(random, *min, *max), *scale, out),
            Self::Text { length, var_len } => {
                out.push(b'"');
                for _ in 0..random.length(*length, *var_len) {
                    out.push(b"0123456789abcdef"[(random.next() % 16) as usize]);
                }
                out.push(b'"');
            }
            Self::Bytes { length, var_len } => {
                let length = random.length(*length, *var_len);
                append_base64(random, length, out);
            }
            Self::Date => put(out, format_args!("\"{}\"", moment(random, PAST_MILLIS).format("%Y-%m-%d"))),
            Self::Time => put(out, format_args!("\"{}\"", moment(random, PAST_MILLIS).format("%H:%M:%S%.3f"))),
            Self::Timestamp { past, zoned } => {
                let zone = if *zoned { "Z" } else { "" };
                put(out, format_args!("\"{}{zone}\"", moment(random, *past).format("%Y-%m-%d %H:%M:%S%.3f")));
            }
            Self::List { length, item } => {
                out.push(b'[');
                append_all(*length, out, |_, out| item.append(number, random, out));
                out.push(b']');
            }
            Self::Map { length, value } => {
                out.push(b'{');
                append_all(*length, out, |at, out| {
                    put(out, format_args!("\"{at}-{:08x}\":", random.next() >> 32));
                    value.append(number, random, out);
                });
                out.push(b'}');
            }
            Self::Row(parts) => {
                out.push(b'{');
                append_all(parts.len(), out, |at, out| {
                    out.extend_from_slice(parts[at].0.as_bytes());
                    parts[at].1.append(number, random, out);
                });
                out.push(b'}');
            }
        }
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory cannot fail");
}

fn append_all(count: usize, out: &mut Vec<u8>, mut append: impl FnMut(usize, &mut Vec<u8>)) {
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        append(at, out);
    }
}

/// A number from `min` to `max`.
fn within(random: &mut Random, min: i128, max: i128) -> i128 {
    min.checked_add_unsigned(random.up_to(max.abs_diff(min))).expect("no more than the way to `max` is added")
}

fn append_float(random: &mut Random, min: f64, max: f64, single: bool, out: &mut Vec<u8>) {
    // In this form no step of the way overflows, however wide the range is.
    let unit = random.unit();
    let value = (min * (1.0 - unit) + max * unit).clamp(min, max);
    if single { put(out, format_args!("{:e}", value as f32)) } else { put(out, format_args!("{value:e}")) }
}

fn append_decimal(value: i128, scale: u32, out: &mut Vec<u8>) {
    let unit = 10_u128.pow(scale);
    let (whole, rest) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        put(out, format_args!("{sign}{whole}"));
    } else {
        put(out, format_args!("{sign}{whole}.{rest:0width$}", width = scale as usize));
    }
}

/// So many random bytes in base64.
fn append_base64(random: &mut Random, length: usize, out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    let mut left = length;
    while left > 0 {
        let taken = left.min(3);
        // Bits that belong to no byte are zero.
        let bits = (random.next() & 0xff_ffff) >> (8 * (3 - taken)) << (8 * (3 - taken));
        for at in 0..4 {
            let six = (bits >> (18 - 6 * at)) & 63;
            out.push(if at <= taken { ALPHABET[six as usize] } else { b'=' });
        }
        left -= taken;
    }
    out.push(b'"');
}

fn moment(random: &mut Random, past: u64) -> chrono::NaiveDateTime {
    let back = i64::try_from(random.up_to(u128::from(past))).unwrap_or(i64::MAX);
    let millis = TIMES_END_MILLIS.saturating_sub(back);
    chrono::DateTime::from_timestamp_millis(millis).map_or_else(Default::default, |at| at.naive_utc())
}
