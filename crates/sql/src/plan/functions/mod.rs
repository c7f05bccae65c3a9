//! Scalar functions under Flink's names, with Flink's meaning.
//!
//! Owns what differs from DataFusion; whatever has the same name and meaning there is taken from it. `docs/functions.md`
//! lists all.

use super::kinds::{integer_width, is_text};
use super::trouble::{Planned, refuse};
use arrow_array::ArrayRef;
use arrow_schema::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use onceflow::codes;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(crate) mod arith;
mod json;
mod nested;
mod pattern;
mod text;
mod time;
mod volatile;

pub(crate) use json::check_path;
pub(crate) use nested::{converts, is_nested, nested_cast};
pub(crate) use pattern::{check_pattern, like_pattern, similar_pattern};
pub(crate) use time::check_date_pattern;
pub(crate) use volatile::{POSITION, VOLATILE};

/// What an argument must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Takes {
    /// STRING.
    Text,
    /// An integer, widened to BIGINT.
    Integer,
    /// A timestamp, date or time, or text that is one; dates and text become TIMESTAMP(6).
    Instant,
    /// STRING or BYTES.
    TextOrBytes,
    /// Whatever comes.
    Any,
}

/// A scalar function of ours.
pub(crate) struct Own {
    /// Its name, in lower case.
    pub(crate) name: &'static str,
    /// What its arguments must be; the last one repeats where `variadic`.
    pub(crate) takes: &'static [Takes],
    /// How many arguments are needed.
    pub(crate) least: usize,
    /// Whether there may be any number of them.
    pub(crate) variadic: bool,
    /// The type of the result.
    pub(crate) returns: fn(&[DataType]) -> Planned<DataType>,
    /// The computation over arrays of equal length.
    pub(crate) run: fn(&[ArrayRef], &DataType) -> Planned<ArrayRef>,
}

/// An [`Own`] function as the planner wants it.
struct Wrapped {
    own: &'static Own,
    signature: Signature,
}

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.own.name)
    }
}

impl PartialEq for Wrapped {
    fn eq(&self, other: &Self) -> bool {
        self.own.name == other.own.name
    }
}

impl Eq for Wrapped {}

impl Hash for Wrapped {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.own.name.hash(state);
    }
}

impl ScalarUDFImpl for Wrapped {
    fn name(&self) -> &str {
        self.own.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Planned<DataType> {
        (self.own.returns)(types)
    }

    fn coerce_types(&self, types: &[DataType]) -> Planned<Vec<DataType>> {
        let own = self.own;
        let most = own.takes.len();
        if types.len() < own.least || (!own.variadic && types.len() > most) {
            return refuse(codes::OF0305, wrong_count(own, types.len()));
        }
        let kind = |index: usize| own.takes[index.min(most.saturating_sub(1))];
        types.iter().enumerate().map(|(index, from)| coerced(own.name, index, kind(index), from)).collect()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Planned<Vec<_>>>()?;
        let result = (self.own.run)(&arrays, args.return_field.data_type())?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn wrong_count(own: &Own, found: usize) -> String {
    let most = own.takes.len();
    let wanted = match (own.variadic, own.least == most) {
        (true, _) => format!("at least {}", own.least),
        (false, true) => most.to_string(),
        (false, false) => format!("{} to {most}", own.least),
    };
    format!("{} takes {wanted} arguments, not {found}", own.name.to_uppercase())
}

fn coerced(name: &str, index: usize, takes: Takes, from: &DataType) -> Planned<DataType> {
    let micros = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let target = match takes {
        Takes::Any => Some(from.clone()),
        Takes::Text if is_text(from) || from.is_null() => Some(DataType::Utf8),
        Takes::Integer if integer_width(from).is_some() || from.is_null() => Some(DataType::Int64),
        Takes::TextOrBytes if is_text(from) || from.is_null() => Some(DataType::Utf8),
        Takes::TextOrBytes if matches!(from, DataType::Binary) => Some(DataType::Binary),
        Takes::Instant => match from {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(from.clone()),
            DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
            DataType::Date32 | DataType::Null => Some(micros()),
            DataType::Time32(_) | DataType::Time64(_) => Some(DataType::Time64(TimeUnit::Microsecond)),
            from if is_text(from) => Some(micros()),
            _ => None,
        },
        _ => None,
    };
    match target {
        Some(target) => Ok(target),
        None => refuse(
            codes::OF0305,
            format!(
                "argument {} of {} is {}, not {}",
                index + 1,
                name.to_uppercase(),
                super::kinds::sql_type(from),
                wanted(takes)
            ),
        ),
    }
}

fn wanted(takes: Takes) -> &'static str {
    match takes {
        Takes::Text => "STRING",
        Takes::Integer => "an integer",
        Takes::Instant => "a timestamp or a date",
        Takes::TextOrBytes => "STRING or BYTES",
        Takes::Any => "anything",
    }
}

/// One of ours as the planner's function.
pub(crate) fn udf(own: &'static Own) -> Arc<ScalarUDF> {
    let signature = match (own.least, own.takes.is_empty()) {
        (0, true) => Signature::nullary(Volatility::Immutable),
        (0, false) => {
            Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::UserDefined], Volatility::Immutable)
        }
        _ => Signature::user_defined(Volatility::Immutable),
    };
    Arc::new(ScalarUDF::new_from_impl(Wrapped { own, signature }))
}

/// Functions of DataFusion that depend on the clock, on chance or on the build, or whose meaning is not Flink's.
const LEFT_OUT: &[&str] = &[
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "today",
    "random",
    "rand",
    "uuid",
    "version",
    "arrow_cast",
    "arrow_try_cast",
    "arrow_typeof",
    "arrow_metadata",
    "to_timestamp_seconds",
    "to_timestamp_millis",
    "to_timestamp_micros",
    "to_timestamp_nanos",
    "to_unixtime",
    "to_local_time",
    "to_time",
    "make_time",
    "union_extract",
    "union_tag",
    "input_file_name",
    "generate_series",
    "range",
    "regexp_like",
    "regexp_match",
    "regexp_count",
    "regexp_instr",
    "to_char",
];

/// All scalar functions by name, in lower case.
pub(crate) fn all() -> BTreeMap<String, Arc<ScalarUDF>> {
    let mut all = BTreeMap::new();
    let theirs = datafusion_functions::all_default_functions()
        .into_iter()
        .chain(datafusion_functions_nested::all_default_nested_functions());
    for function in theirs {
        let names = function.aliases().iter().cloned().chain([function.name().to_owned()]);
        for name in names.filter(|name| !LEFT_OUT.contains(&name.as_str()) && !name.starts_with("arrow_")) {
            all.insert(name, function.clone());
        }
    }
    for own in text::ALL.iter().chain(time::ALL).chain(json::ALL).chain(pattern::ALL).chain(volatile::ALL) {
        all.insert(own.name.to_owned(), udf(own));
    }
    all.insert(crate::parse::MAP_OF.to_owned(), nested::map_of());
    for (alias, name) in ALIASES {
        if let Some(function) = all.get(*name).cloned() {
            all.insert((*alias).to_owned(), function);
        }
    }
    all
}

/// Other names of functions.
const ALIASES: &[(&str, &str)] = &[
    ("char_length", "character_length"),
    ("lcase", "lower"),
    ("ucase", "upper"),
    ("substr", "substring"),
    ("row", "struct"),
    ("map_from_arrays", "map"),
    ("ceiling", "ceil"),
    ("truncate", "trunc"),
    ("sign", "signum"),
];

/// STRING.
pub(crate) fn as_text(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Utf8)
}

/// INT.
pub(crate) fn as_int(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Int32)
}

/// BIGINT.
pub(crate) fn as_bigint(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Int64)
}

/// BOOLEAN.
pub(crate) fn as_boolean(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Boolean)
}

/// DOUBLE.
pub(crate) fn as_double(_: &[DataType]) -> Planned<DataType> {
    Ok(DataType::Float64)
}
