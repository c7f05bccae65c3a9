//! Functions over text. Positions count from 1 and in characters, as in Flink; NULL in gives NULL out.

use super::{Own, Takes, as_boolean, as_int, as_text};
use crate::plan::trouble::{Planned, refuse};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BinaryArray, Int32Array, StringArray};
use arrow_schema::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs};
use onceflow::codes;
use std::sync::Arc;

use Takes::{Any, Integer, Text, TextOrBytes};

/// A function over text with text as its result.
const fn text(name: &'static str, takes: &'static [Takes], least: usize, run: Run) -> Own {
    Own { name, takes, least, variadic: false, returns: as_text, run }
}

type Run = fn(&[ArrayRef], &DataType) -> Planned<ArrayRef>;

/// All of them.
pub(super) const ALL: &[Own] = &[
    Own { name: "character_length", takes: &[Text], least: 1, variadic: false, returns: as_int, run: length },
    Own { name: "octet_length", takes: &[TextOrBytes], least: 1, variadic: false, returns: as_int, run: octets },
    Own { name: "concat", takes: &[Text], least: 1, variadic: true, returns: as_text, run: concat },
    Own { name: "concat_ws", takes: &[Text], least: 1, variadic: true, returns: as_text, run: concat_ws },
    text("substring", &[Text, Integer, Integer], 2, substring),
    text("left", &[Text, Integer], 2, left),
    text("right", &[Text, Integer], 2, right),
    text("lpad", &[Text, Integer, Text], 3, lpad),
    text("rpad", &[Text, Integer, Text], 3, rpad),
    text("repeat", &[Text, Integer], 2, repeat),
    text("split_index", &[Text, Text, Integer], 3, split_index),
    text("$varchar", &[Text, Integer], 2, left),
    text("$char", &[Text, Integer], 2, fixed),
    text("chr", &[Integer], 1, chr),
    Own { name: "locate", takes: &[Text, Text, Integer], least: 2, variadic: false, returns: as_int, run: locate },
    Own { name: "instr", takes: &[Text, Text], least: 2, variadic: false, returns: as_int, run: instr },
    Own { name: "ascii", takes: &[Text], least: 1, variadic: false, returns: as_int, run: ascii },
    Own { name: "startswith", takes: &[Text, Text], least: 2, variadic: false, returns: as_boolean, run: starts },
    Own { name: "endswith", takes: &[Text, Text], least: 2, variadic: false, returns: as_boolean, run: ends },
    text("md5", &[TextOrBytes], 1, md5),
    text("sha224", &[TextOrBytes], 1, sha224),
    text("sha256", &[TextOrBytes], 1, sha256),
    text("sha384", &[TextOrBytes], 1, sha384),
    text("sha512", &[TextOrBytes], 1, sha512),
    text("sha2", &[TextOrBytes, Integer], 2, sha2),
    text("hex", &[Any], 1, hex),
    text("$text_of_boolean", &[Any], 1, boolean_text),
];

/// The text of a row; `None` for NULL.
pub(super) fn at(array: &StringArray, row: usize) -> Option<&str> {
    (!array.is_null(row)).then(|| array.value(row))
}

/// The integer of a row; `None` for NULL or where the argument is left out.
pub(super) fn number(args: &[ArrayRef], index: usize, row: usize) -> Option<i64> {
    let array = args.get(index)?.as_primitive::<Int64Type>();
    (!array.is_null(row)).then(|| array.value(row))
}

fn rows(args: &[ArrayRef]) -> std::ops::Range<usize> {
    0..args[0].len()
}

/// Maps the first argument with the row's number at hand.
fn map<'a>(args: &'a [ArrayRef], change: impl Fn(&'a str, usize) -> Option<String>) -> Planned<ArrayRef> {
    let values = args[0].as_string::<i32>();
    Ok(Arc::new(rows(args).map(|row| change(at(values, row)?, row)).collect::<StringArray>()))
}

fn map_int(args: &[ArrayRef], change: impl Fn(&str, usize) -> Option<i64>) -> Planned<ArrayRef> {
    let values = args[0].as_string::<i32>();
    let narrow = |value: i64| i32::try_from(value).ok();
    Ok(Arc::new(rows(args).map(|row| change(at(values, row)?, row).and_then(narrow)).collect::<Int32Array>()))
}

fn other(args: &[ArrayRef], index: usize, row: usize) -> Option<&str> {
    at(args[index].as_string::<i32>(), row)
}

fn count(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn length(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map_int(args, |text, _| Some(count(text)))
}

fn octets(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let bytes = bytes_of(&args[0])?;
    let lengths = bytes.iter().map(|value| value.and_then(|value| i32::try_from(value.len()).ok()));
    Ok(Arc::new(lengths.collect::<Int32Array>()))
}

/// NULL where any part is NULL, as in Flink.
fn concat(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let parts: Vec<_> = args.iter().map(|array| array.as_string::<i32>()).collect();
    let joined = rows(args).map(|row| parts.iter().map(|part| at(part, row)).collect::<Option<String>>());
    Ok(Arc::new(joined.collect::<StringArray>()))
}

/// NULL parts are left out, as in Flink; a NULL separator gives NULL.
fn concat_ws(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map(args, |separator, row| {
        let parts: Vec<_> = (1..args.len()).filter_map(|index| other(args, index, row)).collect();
        Some(parts.join(separator))
    })
}

/// A start below zero counts from the end.
fn substring(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map(args, |text, row| {
        let start = number(args, 1, row)?;
        let wanted = if args.len() > 2 { number(args, 2, row)? } else { i64::MAX };
        Some(part(text, start, wanted))
    })
}

fn part(text: &str, start: i64, wanted: i64) -> String {
    if wanted <= 0 {
        return String::new();
    }
    let first = match start {
        1.. => start - 1,
        0 => 0,
        _ => count(text).saturating_add(start),
    };
    let (skip, take) = if first < 0 { (0, wanted.saturating_add(first)) } else { (first, wanted) };
    text.chars().skip(size(skip)).take(size(take)).collect()
}

fn left(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map(args, |text, row| Some(text.chars().take(size(number(args, 1, row)?)).collect()))
}

fn right(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map(args, |text, row| {
        let wanted = size(number(args, 1, row)?);
        let skip = text.chars().count().saturating_sub(wanted);
        Some(text.chars().skip(skip).collect())
    })
}

/// `CAST(x AS CHAR(n))`: cut or padded with blanks.
fn fixed(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map(args, |text, row| {
        let wanted = size(number(args, 1, row)?);
        Some(text.chars().chain(std::iter::repeat(' ')).take(wanted).collect())
    })
}

fn lpad(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    pad(args, |text, padding| padding.chain(text.chars()).collect())
}

fn rpad(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    pad(args, |text, padding| text.chars().chain(padding).collect())
}

type Padding<'a> = std::iter::Take<std::iter::Cycle<std::str::Chars<'a>>>;

fn pad(args: &[ArrayRef], join: impl Fn(&str, Padding<'_>) -> String) -> Planned<ArrayRef> {
    map(args, |text, row| {
        let wanted = number(args, 1, row)?;
        let filler = other(args, 2, row)?;
        let missing = wanted - count(text);
        match (wanted, missing, filler.is_empty()) {
            (..0, _, _) | (_, 1.., true) => None,
            (_, ..=0, _) => Some(text.chars().take(size(wanted)).collect()),
            _ => Some(join(text, filler.chars().cycle().take(size(missing)))),
        }
    })
}

fn repeat(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map(args, |text, row| Some(text.repeat(size(number(args, 1, row)?))))
}

/// The part at an index from 0; NULL where there are not so many.
fn split_index(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map(args, |text, row| {
        let separator = other(args, 1, row)?;
        let index = usize::try_from(number(args, 2, row)?).ok()?;
        if separator.is_empty() {
            return (index == 0).then(|| text.to_owned());
        }
        text.split(separator).nth(index).map(str::to_owned)
    })
}

fn chr(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let letter = |row| {
        let code = number(args, 0, row)?;
        let code = if code < 0 { return Some(String::new()) } else { u32::try_from(code & 0xFF).ok()? };
        char::from_u32(code).map(String::from)
    };
    Ok(Arc::new(rows(args).map(letter).collect::<StringArray>()))
}

fn position(text: &str, sought: &str, from: i64) -> i64 {
    let skip = size(from - 1);
    let start = text.char_indices().nth(skip).map_or(text.len(), |(index, _)| index);
    match text[start..].find(sought) {
        Some(found) if from >= 1 => count(&text[..start + found]) + 1,
        _ => 0,
    }
}

fn locate(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map_int(args, |sought, row| {
        let from = if args.len() > 2 { number(args, 2, row)? } else { 1 };
        Some(position(other(args, 1, row)?, sought, from))
    })
}

fn instr(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map_int(args, |text, row| Some(position(text, other(args, 1, row)?, 1)))
}

fn ascii(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    map_int(args, |text, _| Some(text.bytes().next().map_or(0, i64::from)))
}

fn starts(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    test(args, |text, part| text.starts_with(part))
}

fn ends(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    test(args, |text, part| text.ends_with(part))
}

fn test(args: &[ArrayRef], test: impl Fn(&str, &str) -> bool) -> Planned<ArrayRef> {
    let values = args[0].as_string::<i32>();
    let answers = rows(args).map(|row| Some(test(at(values, row)?, other(args, 1, row)?)));
    Ok(Arc::new(answers.collect::<arrow_array::BooleanArray>()))
}

fn bytes_of(array: &ArrayRef) -> Planned<BinaryArray> {
    Ok(arrow_cast::cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
}

/// Lower-case hexadecimal digits.
pub(super) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(args: &[ArrayRef], function: &Arc<datafusion_expr::ScalarUDF>) -> Planned<ArrayRef> {
    let input = ColumnarValue::Array(args[0].clone());
    let field = Arc::new(arrow_schema::Field::new("", args[0].data_type().clone(), true));
    let returns = function.return_type(&[args[0].data_type().clone()])?;
    let result = function
        .invoke_with_args(ScalarFunctionArgs {
            args: vec![input],
            arg_fields: vec![field],
            number_rows: args[0].len(),
            return_field: Arc::new(arrow_schema::Field::new("", returns, true)),
            config_options: Arc::new(ConfigOptions::default()),
        })?
        .to_array(args[0].len())?;
    if matches!(result.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Ok(arrow_cast::cast(&result, &DataType::Utf8)?);
    }
    let bytes = bytes_of(&result)?;
    Ok(Arc::new(bytes.iter().map(|value| value.map(digits)).collect::<StringArray>()))
}

fn md5(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    digest(args, &datafusion_functions::crypto::md5())
}

fn sha224(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    digest(args, &datafusion_functions::crypto::sha224())
}

fn sha256(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    digest(args, &datafusion_functions::crypto::sha256())
}

fn sha384(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    digest(args, &datafusion_functions::crypto::sha384())
}

fn sha512(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    digest(args, &datafusion_functions::crypto::sha512())
}

/// The length must be the same for all rows: each length is a function of its own.
fn sha2(args: &[ArrayRef], to: &DataType) -> Planned<ArrayRef> {
    let lengths = args[1].as_primitive::<Int64Type>();
    let first = (0..lengths.len()).find(|row| !lengths.is_null(*row)).map(|row| lengths.value(row));
    if lengths.iter().any(|length| length != first) {
        return refuse(codes::OF0363, "SHA2 needs the same length for all rows");
    }
    match first {
        Some(224) => sha224(args, to),
        Some(0 | 256) => sha256(args, to),
        Some(384) => sha384(args, to),
        Some(512) => sha512(args, to),
        Some(length) => refuse(codes::OF0363, format!("SHA2 has no length {length}: it is 224, 256, 384 or 512")),
        None => Ok(arrow_array::new_null_array(to, args[0].len())),
    }
}

/// Upper-case digits of an integer, or of a text's bytes.
fn hex(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    if crate::plan::kinds::integer_width(args[0].data_type()).is_some() {
        let numbers = arrow_cast::cast(&args[0], &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        return Ok(Arc::new(
            numbers.iter().map(|value| value.map(|value| format!("{value:X}"))).collect::<StringArray>(),
        ));
    }
    let bytes = bytes_of(&args[0])?;
    Ok(Arc::new(bytes.iter().map(|value| value.map(|bytes| digits(bytes).to_uppercase())).collect::<StringArray>()))
}

/// `CAST(flag AS STRING)`: TRUE and FALSE, as in Flink.
fn boolean_text(args: &[ArrayRef], _: &DataType) -> Planned<ArrayRef> {
    let flags = args[0].as_boolean();
    let words = flags.iter().map(|flag| flag.map(|flag| if flag { "TRUE" } else { "FALSE" }));
    Ok(Arc::new(words.collect::<StringArray>()))
}
