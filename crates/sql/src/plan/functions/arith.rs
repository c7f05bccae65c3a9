//! Arithmetic over integers and decimals: exact, with Flink's result types, and an error instead of wrapping around.
//!
//! Decimals are computed in 128 bits and, where those do not suffice for an intermediate result, in 256.

use crate::plan::kinds::{integer_width, scale_of, sql_type};
use crate::plan::trouble::{Planned, refuse};
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, Datum, Decimal128Array};
use arrow_buffer::i256;
use arrow_schema::{ArrowError, DataType};
use datafusion_common::arrow::compute::kernels::numeric;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use onceflow::codes;
use std::sync::Arc;

/// The most digits of a decimal.
const DIGITS_MAX: u8 = 38;

/// One of `+ - * / %` over integers and decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arith {
    op: Operator,
    name: &'static str,
    signature: Signature,
}

/// Names start with `$`, which no name in a text does.
const NAMES: &[(Operator, &str)] = &[
    (Operator::Plus, "$+"),
    (Operator::Minus, "$-"),
    (Operator::Multiply, "$*"),
    (Operator::Divide, "$/"),
    (Operator::Modulo, "$%"),
];

/// The function of an operator; `None` for other operators.
pub(crate) fn of(op: Operator) -> Option<Arc<ScalarUDF>> {
    let (_, name) = NAMES.iter().find(|(known, _)| *known == op)?;
    let signature = Signature::user_defined(Volatility::Immutable);
    Some(Arc::new(ScalarUDF::new_from_impl(Arith { op, name, signature })))
}

/// The operator behind a function's name, as written.
pub(crate) fn symbol(name: &str) -> Option<&str> {
    NAMES.iter().find(|(_, known)| *known == name).map(|(_, known)| &known[1..])
}

/// Whether this pair of types is computed here.
pub(crate) fn handles(left: &DataType, right: &DataType) -> bool {
    let exact = |data_type: &DataType| integer_width(data_type).is_some() || is_decimal(data_type);
    exact(left) && exact(right)
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..))
}

impl ScalarUDFImpl for Arith {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Planned<DataType> {
        Ok(result(self.op, &types[0], &types[1]))
    }

    fn coerce_types(&self, types: &[DataType]) -> Planned<Vec<DataType>> {
        if types.len() == 2 && handles(&types[0], &types[1]) {
            return Ok(types.to_vec());
        }
        refuse(codes::OF0305, format!("{} does not take these types", &self.name[1..]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        let to = args.return_field.data_type().clone();
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let result = match &to {
            DataType::Decimal128(precision, scale) => decimals(self.op, &args, (*precision, *scale))?,
            integer => integers(self.op, &args.args, integer)?,
        };
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// The type of a result, by Flink's rules.
fn result(op: Operator, left: &DataType, right: &DataType) -> DataType {
    if let (Some(a), Some(b)) = (integer_width(left), integer_width(right)) {
        return if a >= b { left.clone() } else { right.clone() };
    }
    let (Some((p1, s1)), Some((p2, s2))) = (digits(left), digits(right)) else { return left.clone() };
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let (precision, scale) = match op {
        Operator::Plus | Operator::Minus => {
            let scale = s1.max(s2);
            ((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }
        Operator::Multiply => (p1 + p2, s1 + s2),
        Operator::Divide => {
            let scale = 6.max(s1 + p2 + 1);
            (p1 - s1 + s2 + scale, scale)
        }
        _ => {
            let scale = s1.max(s2);
            ((p1 - s1).min(p2 - s2) + scale, scale)
        }
    };
    bounded(precision, scale)
}

/// Fits a type into 38 digits: digits after the point give way first, down to six.
fn bounded(precision: i32, scale: i32) -> DataType {
    let most = i32::from(DIGITS_MAX);
    let (precision, scale) = if precision <= most {
        (precision.max(1), scale)
    } else {
        (most, (most - (precision - scale)).max(scale.min(6)))
    };
    let narrow = |number: i32| u8::try_from(number).unwrap_or(DIGITS_MAX);
    DataType::Decimal128(narrow(precision), scale_of(narrow(scale)))
}

/// Digits and scale of a number's type as a decimal.
pub(crate) fn digits(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

fn integers(op: Operator, args: &[ColumnarValue], to: &DataType) -> Planned<ArrayRef> {
    let left = args[0].cast_to(to, None)?;
    let right = args[1].cast_to(to, None)?;
    let kernel = match op {
        Operator::Plus => numeric::add,
        Operator::Minus => numeric::sub,
        Operator::Multiply => numeric::mul,
        Operator::Divide => numeric::div,
        _ => numeric::rem,
    };
    let computed = match (&left, &right) {
        (ColumnarValue::Array(left), ColumnarValue::Array(right)) => kernel(left, right),
        (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => kernel(&left.to_scalar()?, right),
        (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => kernel(left, &right.to_scalar()?),
        (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
            let (left, right) = (left.to_array_of_size(1)?, right.to_array_of_size(1)?);
            kernel(&left as &dyn Datum, &right as &dyn Datum)
        }
    };
    Ok(computed?)
}

/// One side of a decimal operation: values, digits after the point, whether one value stands for all rows.
struct Side {
    values: Decimal128Array,
    scale: u32,
    single: bool,
}

impl Side {
    fn of(arg: &ColumnarValue) -> Planned<Self> {
        let (precision, scale) = digits(&arg.data_type()).unwrap_or((DIGITS_MAX, 0));
        let decimal = arg.cast_to(&DataType::Decimal128(precision, scale), None)?;
        let single = matches!(decimal, ColumnarValue::Scalar(_));
        let values = decimal.to_array(1)?.as_primitive::<Decimal128Type>().clone();
        Ok(Self { values, scale: u32::try_from(scale).unwrap_or(0), single })
    }

    fn get(&self, row: usize) -> Option<i128> {
        let row = if self.single { 0 } else { row };
        (!self.values.is_null(row)).then(|| self.values.value(row))
    }
}

fn decimals(op: Operator, args: &ScalarFunctionArgs, to: (u8, i8)) -> Planned<ArrayRef> {
    let (left, right) = (Side::of(&args.args[0])?, Side::of(&args.args[1])?);
    let rows = if left.single && right.single { 1 } else { args.number_rows };
    let limit = 10_i128.pow(u32::from(to.0));
    let scale = u32::try_from(to.1).unwrap_or(0);
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        let (Some(a), Some(b)) = (left.get(row), right.get(row)) else {
            values.push(None);
            continue;
        };
        let value = compute(op, (a, left.scale), (b, right.scale), scale)?;
        match value.filter(|value| *value < limit && *value > -limit) {
            Some(value) => values.push(Some(value)),
            None => return Err(too_large(op, (a, left.scale), (b, right.scale), to)),
        }
    }
    Ok(Arc::new(Decimal128Array::from(values).with_precision_and_scale(to.0, to.1)?))
}

fn too_large(op: Operator, a: (i128, u32), b: (i128, u32), to: (u8, i8)) -> DataFusionError {
    let (left, right) = (written(a.0, a.1), written(b.0, b.1));
    let to = sql_type(&DataType::Decimal128(to.0, to.1));
    let text = format!("Overflow happened on: {left} {op} {right} does not fit {to}");
    DataFusionError::ArrowError(Box::new(ArrowError::ArithmeticOverflow(text)), None)
}

/// A decimal as people write it.
pub(crate) fn written(value: i128, scale: u32) -> String {
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale as usize + 1);
    let (whole, part) = digits.split_at(digits.len() - scale as usize);
    format!("{}{whole}.{part}", if value < 0 { "-" } else { "" })
}

/// The result at a scale; `None` where it has more than 128 bits.
fn compute(op: Operator, a: (i128, u32), b: (i128, u32), scale: u32) -> Planned<Option<i128>> {
    if matches!(op, Operator::Divide | Operator::Modulo) && b.0 == 0 {
        return Err(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None));
    }
    Ok(narrow(op, a, b, scale).or_else(|| wide(op, a, b, scale).and_then(i256::to_i128)))
}

fn narrow(op: Operator, a: (i128, u32), b: (i128, u32), scale: u32) -> Option<i128> {
    match op {
        Operator::Multiply => {
            let from = a.1 + b.1;
            let product = a.0.checked_mul(b.0)?;
            if from <= scale { raised(product, scale - from) } else { None }
        }
        Operator::Plus | Operator::Minus | Operator::Modulo => {
            let most = a.1.max(b.1);
            let (x, y) = (raised(a.0, most - a.1)?, raised(b.0, most - b.1)?);
            let value = match op {
                Operator::Plus => x.checked_add(y)?,
                Operator::Minus => x.checked_sub(y)?,
                _ => x.checked_rem(y)?,
            };
            (most == scale).then_some(value)
        }
        _ => None,
    }
}

fn raised(value: i128, by: u32) -> Option<i128> {
    value.checked_mul(10_i128.checked_pow(by)?)
}

fn wide(op: Operator, a: (i128, u32), b: (i128, u32), scale: u32) -> Option<i256> {
    let (x, y) = (i256::from_i128(a.0), i256::from_i128(b.0));
    match op {
        Operator::Multiply => rescaled(x.checked_mul(y)?, a.1 + b.1, scale),
        Operator::Divide => {
            // x/10^sa ÷ y/10^sb at the result's scale: x · 10^(scale + sb − sa) ÷ y.
            let (up, down) = (scale + b.1, a.1);
            let (x, y) =
                if up >= down { (x.checked_mul(ten(up - down)?)?, y) } else { (x, y.checked_mul(ten(down - up)?)?) };
            divided(x, y)
        }
        _ => {
            let most = a.1.max(b.1);
            let (x, y) = (x.checked_mul(ten(most - a.1)?)?, y.checked_mul(ten(most - b.1)?)?);
            let value = match op {
                Operator::Plus => x.checked_add(y)?,
                Operator::Minus => x.checked_sub(y)?,
                _ => x.checked_rem(y)?,
            };
            rescaled(value, most, scale)
        }
    }
}

fn ten(power: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(power)
}

fn rescaled(value: i256, from: u32, to: u32) -> Option<i256> {
    if from <= to { value.checked_mul(ten(to - from)?) } else { divided(value, ten(from - to)?) }
}

/// Division rounded half away from zero.
fn divided(value: i256, by: i256) -> Option<i256> {
    let quotient = value.checked_div(by)?;
    let rest = value.checked_rem(by)?.checked_abs()?;
    let up = rest >= by.checked_abs()?.checked_sub(rest)?;
    let away = if value.is_negative() == by.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    if up { quotient.checked_add(away) } else { Some(quotient) }
}
