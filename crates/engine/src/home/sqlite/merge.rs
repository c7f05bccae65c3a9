//! How a merged column combines what comes with what is there. Exact, in the column's type, or refused.

use super::value::{DecimalAs, Form, Unfit};
use crate::changes::MergeOp;
use crate::codes;
use arrow_schema::DataType;
use rusqlite::types::Value;
use std::cmp::Ordering;

/// How one column is merged.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    /// The operation; `None` for columns of the key.
    pub(super) op: Option<MergeOp>,
    /// The type of its values.
    pub(super) data_type: DataType,
    /// Its form in SQLite.
    pub(super) form: Form,
    /// How decimals are stored.
    pub(super) decimal: DecimalAs,
}

impl Merged {
    /// Whether the operation has a meaning for the type.
    pub(super) fn is_possible(op: MergeOp, form: Form) -> bool {
        match op {
            MergeOp::Last | MergeOp::First => true,
            MergeOp::Min | MergeOp::Max => !matches!(form, Form::Blob),
            MergeOp::Sum => matches!(form, Form::Integer(_) | Form::Real | Form::Decimal(..)),
            MergeOp::Or | MergeOp::And => matches!(form, Form::Boolean | Form::Integer(_)),
        }
    }

    /// Combines the value that is there with the one that comes. NULL does not take part, except in `last` and `first`.
    pub(super) fn combine(&self, there: Value, comes: Value) -> Result<Value, Unfit> {
        let Some(op) = self.op else { return Ok(there) };
        match (op, &there, &comes) {
            (MergeOp::Last, ..)
            | (MergeOp::Sum | MergeOp::Min | MergeOp::Max | MergeOp::Or | MergeOp::And, Value::Null, _) => Ok(comes),
            (MergeOp::First, ..) | (_, _, Value::Null) => Ok(there),
            (MergeOp::Min, ..) => Ok(if self.compare(&comes, &there)? == Ordering::Less { comes } else { there }),
            (MergeOp::Max, ..) => Ok(if self.compare(&comes, &there)? == Ordering::Greater { comes } else { there }),
            (MergeOp::Sum, ..) => self.sum(&there, &comes),
            (MergeOp::Or, ..) => Ok(Value::Integer(integer(&there)? | integer(&comes)?)),
            (MergeOp::And, ..) => Ok(Value::Integer(integer(&there)? & integer(&comes)?)),
        }
    }

    fn compare(&self, a: &Value, b: &Value) -> Result<Ordering, Unfit> {
        match self.form {
            Form::Boolean | Form::Integer(_) => Ok(integer(a)?.cmp(&integer(b)?)),
            Form::Real => Ok(real(a)?.total_cmp(&real(b)?)),
            Form::Decimal(_, scale) => Ok(decimal(a, scale)?.cmp(&decimal(b, scale)?)),
            Form::Text | Form::Shaped(_) | Form::Blob => match (a, b) {
                (Value::Text(a), Value::Text(b)) => Ok(a.as_bytes().cmp(b.as_bytes())),
                (other, Value::Text(_)) | (_, other) => Err(foreign(other)),
            },
        }
    }

    fn sum(&self, a: &Value, b: &Value) -> Result<Value, Unfit> {
        match self.form {
            Form::Real => self.sum_real(real(a)?, real(b)?),
            Form::Decimal(precision, scale) => {
                let total = decimal(a, scale)?.checked_add(decimal(b, scale)?);
                let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
                let total = total.filter(|total| total.unsigned_abs() < limit.unsigned_abs());
                let total = total.ok_or_else(|| overflow(&format!("DECIMAL({precision}, {scale})")))?;
                Ok(self.store_decimal(total, scale))
            }
            _ => {
                let total = i128::from(integer(a)?) + i128::from(integer(b)?);
                let fits = i64::try_from(total).ok().filter(|total| in_range(*total, &self.data_type));
                fits.map(Value::Integer).ok_or_else(|| overflow(&self.data_type.to_string()))
            }
        }
    }

    fn sum_real(&self, a: f64, b: f64) -> Result<Value, Unfit> {
        let total = a + b;
        let limit = if self.data_type == DataType::Float32 { f64::from(f32::MAX) } else { f64::MAX };
        if total.is_nan() || (a.is_finite() && b.is_finite() && total.abs() > limit) {
            return Err(overflow(&self.data_type.to_string()));
        }
        Ok(Value::Real(total))
    }

    fn store_decimal(&self, value: i128, scale: i8) -> Value {
        let text = decimal_text(value, scale);
        match self.decimal {
            // At most 15 digits: the nearest floating-point number gives them back.
            DecimalAs::Number(_) => text.parse().map_or(Value::Text(text), Value::Real),
            DecimalAs::Text => Value::Text(text),
        }
    }
}

fn in_range(value: i64, data_type: &DataType) -> bool {
    match data_type {
        DataType::Int8 => i8::try_from(value).is_ok(),
        DataType::Int16 => i16::try_from(value).is_ok(),
        DataType::Int32 => i32::try_from(value).is_ok(),
        DataType::UInt8 => u8::try_from(value).is_ok(),
        DataType::UInt16 => u16::try_from(value).is_ok(),
        DataType::UInt32 => u32::try_from(value).is_ok(),
        DataType::UInt64 => value >= 0,
        _ => true,
    }
}

fn overflow(data_type: &str) -> Unfit {
    Unfit { code: codes::OF0822, reason: format!("the sum is beyond the range of {data_type}") }
}

fn foreign(value: &Value) -> Unfit {
    let shown = match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(value) => format!("the integer {value}"),
        Value::Real(value) => format!("the number {value:?}"),
        Value::Text(text) => format!("the text '{text}'"),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
    };
    Unfit { code: codes::OF0822, reason: format!("the table has {shown} where the declared type has no such value") }
}

fn integer(value: &Value) -> Result<i64, Unfit> {
    match value {
        Value::Integer(value) => Ok(*value),
        other => Err(foreign(other)),
    }
}

fn real(value: &Value) -> Result<f64, Unfit> {
    match value {
        Value::Real(value) => Ok(*value),
        // SQLite stores a whole floating-point number as an integer where the column is numeric.
        #[allow(clippy::cast_precision_loss)]
        Value::Integer(value) if value.unsigned_abs() <= 1 << 53 => Ok(*value as f64),
        other => Err(foreign(other)),
    }
}

/// A stored decimal as a whole number of its smallest parts.
fn decimal(value: &Value, scale: i8) -> Result<i128, Unfit> {
    let text = match value {
        Value::Integer(value) => value.to_string(),
        Value::Real(value) if value.is_finite() => format!("{value:.*}", usize::try_from(scale).unwrap_or(0)),
        Value::Text(text) => text.trim().to_owned(),
        other => return Err(foreign(other)),
    };
    parse_decimal(&text, scale).ok_or_else(|| foreign(value))
}

/// Reads `-12.50` at scale 2 as −1250; `None` for other text, or where digits would be lost.
fn parse_decimal(text: &str, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty()
        || fraction.len() > scale
        || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let all = format!("{whole}{fraction:0<scale$}");
    let value: i128 = all.parse().ok()?;
    Some(if negative { -value } else { value })
}

fn decimal_text(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    if scale == 0 {
        return value.to_string();
    }
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(op: MergeOp, data_type: DataType) -> Merged {
        let form = Form::of(&data_type, "").expect("a form");
        Merged { op: Some(op), data_type, form, decimal: DecimalAs::Text }
    }

    #[test]
    fn values_combine_exactly_or_are_refused() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (op, data_type, there, comes, expected) in [
            (MergeOp::Sum, DataType::Int64, Value::Integer(2), Value::Integer(3), Some(Value::Integer(5))),
            (MergeOp::Sum, DataType::Int64, Value::Integer(i64::MAX), Value::Integer(1), None),
            (MergeOp::Sum, DataType::Int32, Value::Integer(i64::from(i32::MAX)), Value::Integer(1), None),
            (MergeOp::Sum, DataType::Int32, Value::Null, Value::Integer(1), Some(Value::Integer(1))),
            (MergeOp::Sum, DataType::Int32, Value::Integer(1), Value::Null, Some(Value::Integer(1))),
            (MergeOp::Sum, DataType::Int32, Value::Real(0.5), Value::Integer(1), None),
            (MergeOp::Sum, DataType::Float64, Value::Real(f64::MAX), Value::Real(f64::MAX), None),
            (MergeOp::Sum, DataType::Float32, Value::Real(f64::from(f32::MAX)), Value::Real(f64::from(f32::MAX)), None),
            (MergeOp::Sum, DataType::Float64, Value::Integer(2), Value::Real(0.5), Some(Value::Real(2.5))),
            (
                MergeOp::Sum,
                DataType::Decimal128(38, 2),
                text("12345678901234567890.10"),
                text("-0.20"),
                Some(text("12345678901234567889.90")),
            ),
            (MergeOp::Sum, DataType::Decimal128(4, 2), text("99.99"), text("0.01"), None),
            (MergeOp::Sum, DataType::Decimal128(6, 2), text("0.10"), text("-0.15"), Some(text("-0.05"))),
            (MergeOp::Sum, DataType::Decimal128(6, 2), text("x"), text("1"), None),
            (MergeOp::Max, DataType::Decimal128(6, 2), text("9.00"), text("10.00"), Some(text("10.00"))),
            (MergeOp::Min, DataType::Utf8, text("b"), text("a"), Some(text("a"))),
            (MergeOp::Min, DataType::Int64, Value::Integer(1), Value::Null, Some(Value::Integer(1))),
            (MergeOp::Last, DataType::Int64, Value::Integer(1), Value::Null, Some(Value::Null)),
            (MergeOp::First, DataType::Int64, Value::Integer(1), Value::Integer(2), Some(Value::Integer(1))),
            (MergeOp::First, DataType::Int64, Value::Null, Value::Integer(2), Some(Value::Null)),
            (MergeOp::Or, DataType::Boolean, Value::Integer(0), Value::Integer(1), Some(Value::Integer(1))),
            (MergeOp::And, DataType::Int64, Value::Integer(6), Value::Integer(3), Some(Value::Integer(2))),
        ] {
            let case = format!("{op:?} {data_type} {there:?} {comes:?}");
            assert_eq!(merged(op, data_type).combine(there, comes).ok(), expected, "{case}");
        }
    }
}
