//! Flink's types, and the Arrow types of their values.

use crate::model::DeclaredType;
use crate::parse::Cursor;
use crate::text::{Source, tokenize};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use onceflow::codes::{OF0208, OF0210, OF0211};
use onceflow::{Error, Place, Result};
use sqlparser::tokenizer::Token;
use std::sync::Arc;

/// How deep types may nest.
const DEPTH_MAX: usize = 32;

/// The names of all types, for "did you mean".
pub const NAMES: &[&str] = &[
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "CHAR",
    "CHARACTER",
    "VARCHAR",
    "STRING",
    "BINARY",
    "VARBINARY",
    "BYTES",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "ARRAY",
    "MAP",
    "ROW",
];

/// The type that a text is.
pub(crate) fn read(text: &str) -> Option<DataType> {
    let source = Source::new("", text);
    let toks = tokenize(&source, &|_| None).ok()?;
    let end = source.end();
    let mut cursor = Cursor::new(&toks, &source, &end);
    declared(&mut cursor).ok().filter(|_| cursor.done()).map(|declared| declared.data_type)
}

/// Reads a type with its `NULL` or `NOT NULL`.
pub(crate) fn declared(cursor: &mut Cursor<'_>) -> Result<DeclaredType> {
    nested(cursor, 0)
}

fn nested(cursor: &mut Cursor<'_>, depth: usize) -> Result<DeclaredType> {
    if depth > DEPTH_MAX {
        return Err(Error::config(OF0210, format!("types nest deeper than {DEPTH_MAX} levels")).at(&cursor.place()));
    }
    let (mut data_type, mut text) = base(cursor, depth)?;
    let mut nullable = nullability(cursor)?;
    while cursor.take(&["ARRAY"]) {
        text = format!("ARRAY<{text}{}>", if nullable { "" } else { " NOT NULL" });
        data_type = list(data_type, nullable);
        nullable = nullability(cursor)?;
    }
    if let Some(tok) = cursor.peek().filter(|tok| tok.is("MULTISET")) {
        return Err(unsupported("MULTISET", &tok.place));
    }
    Ok(DeclaredType { data_type, nullable, text })
}

fn nullability(cursor: &mut Cursor<'_>) -> Result<bool> {
    if cursor.take(&["NOT"]) {
        cursor.expect(&["NULL"])?;
        return Ok(false);
    }
    cursor.take(&["NULL"]);
    Ok(true)
}

fn base(cursor: &mut Cursor<'_>, depth: usize) -> Result<(DataType, String)> {
    let Some((name, place)) = cursor.peek().and_then(|tok| Some((tok.bare()?.to_uppercase(), tok.place.clone())))
    else {
        return Err(cursor.expected("a type"));
    };
    if let Some((data_type, text)) = plain(&name) {
        cursor.skip(1);
        if name == "DOUBLE" {
            cursor.take(&["PRECISION"]);
        }
        return Ok((data_type, text.to_owned()));
    }
    match name.as_str() {
        "DECIMAL" | "DEC" | "NUMERIC" => decimal(cursor),
        "CHAR" | "CHARACTER" | "VARCHAR" | "BINARY" | "VARBINARY" => sized(cursor, &name),
        "TIME" => time(cursor),
        "TIMESTAMP" | "TIMESTAMP_LTZ" => timestamp(cursor, name == "TIMESTAMP_LTZ"),
        "ARRAY" => array(cursor, depth),
        "MAP" => map(cursor, depth),
        "ROW" => row(cursor, depth),
        _ => Err(unknown(&name, &place)),
    }
}

fn plain(name: &str) -> Option<(DataType, &'static str)> {
    Some(match name {
        "BOOLEAN" => (DataType::Boolean, "BOOLEAN"),
        "TINYINT" => (DataType::Int8, "TINYINT"),
        "SMALLINT" => (DataType::Int16, "SMALLINT"),
        "INT" | "INTEGER" => (DataType::Int32, "INT"),
        "BIGINT" => (DataType::Int64, "BIGINT"),
        "FLOAT" => (DataType::Float32, "FLOAT"),
        "DOUBLE" => (DataType::Float64, "DOUBLE"),
        "STRING" => (DataType::Utf8, "STRING"),
        "BYTES" => (DataType::Binary, "BYTES"),
        "DATE" => (DataType::Date32, "DATE"),
        _ => return None,
    })
}

fn unknown(name: &str, place: &Place) -> Error {
    // Names of other systems, with the type that was meant.
    let meant = match name {
        "TEXT" | "JSON" | "JSONB" | "UUID" | "NVARCHAR" | "VARIANT" | "ENUM" => Some("STRING"),
        "BOOL" => Some("BOOLEAN"),
        "LONG" | "INT8" | "UINT32" | "SERIAL" | "BIGSERIAL" => Some("BIGINT"),
        "INT4" | "INT32" => Some("INT"),
        "INT2" | "INT16" => Some("SMALLINT"),
        "INT64" => Some("BIGINT"),
        "REAL" | "FLOAT4" => Some("FLOAT"),
        "FLOAT8" => Some("DOUBLE"),
        "DATETIME" => Some("TIMESTAMP(3)"),
        "TIMESTAMPTZ" => Some("TIMESTAMP_LTZ(6)"),
        "BYTEA" | "BLOB" => Some("BYTES"),
        "MONEY" => Some("DECIMAL(19, 2)"),
        "STRUCT" => Some("ROW<…>"),
        "LIST" => Some("ARRAY<…>"),
        _ => None,
    };
    match (name, meant) {
        ("MULTISET" | "RAW" | "INTERVAL", _) => unsupported(name, place),
        (_, Some(meant)) => {
            Error::config(OF0210, format!("the type {name} is not known")).at(place).help(format!("write {meant}"))
        }
        _ => Error::config(OF0210, format!("the type {name} is not known")).at(place).help(crate::suggest::help(
            name,
            "types",
            NAMES.iter().copied(),
        )),
    }
}

fn unsupported(name: &str, place: &Place) -> Error {
    Error::config(OF0210, format!("the type {name} is not supported")).at(place)
}

/// Reads `(a)` or `(a, b)`: up to `most` numbers, each with its place.
fn numbers(cursor: &mut Cursor<'_>, most: usize) -> Result<Vec<(u32, Place)>> {
    let mut found = Vec::new();
    if !cursor.take_token(&Token::LParen) {
        return Ok(found);
    }
    loop {
        let place = cursor.place();
        match cursor.peek().map(|tok| &tok.token.token) {
            Some(Token::Number(text, _)) => match text.parse() {
                Ok(number) => found.push((number, place)),
                Err(_) => return Err(range(&format!("{text} is out of range"), &place)),
            },
            _ => return Err(cursor.expected("a number")),
        }
        cursor.skip(1);
        if found.len() < most && cursor.take_token(&Token::Comma) {
            continue;
        }
        cursor.expect_token(&Token::RParen)?;
        return Ok(found);
    }
}

fn range(message: &str, place: &Place) -> Error {
    Error::config(OF0211, message).at(place)
}

fn decimal(cursor: &mut Cursor<'_>) -> Result<(DataType, String)> {
    cursor.skip(1);
    let numbers = numbers(cursor, 2)?;
    let precision = match numbers.first() {
        Some((precision @ 1..=38, _)) => u8::try_from(*precision).expect("at most 38"),
        Some((precision, place)) => {
            return Err(range(&format!("a DECIMAL has a precision of 1 to 38, not {precision}"), place));
        }
        None => 10,
    };
    let scale = match numbers.get(1) {
        Some((scale, _)) if *scale <= u32::from(precision) => i8::try_from(*scale).expect("at most 38"),
        Some((scale, place)) => {
            return Err(range(
                &format!("a DECIMAL({precision}, …) has a scale of 0 to {precision}, not {scale}"),
                place,
            ));
        }
        None => 0,
    };
    Ok((DataType::Decimal128(precision, scale), format!("DECIMAL({precision}, {scale})")))
}

fn sized(cursor: &mut Cursor<'_>, name: &str) -> Result<(DataType, String)> {
    cursor.skip(1);
    let name = match name {
        "CHAR" | "CHARACTER" if cursor.take(&["VARYING"]) => "VARCHAR",
        "BINARY" if cursor.take(&["VARYING"]) => "VARBINARY",
        "CHARACTER" => "CHAR",
        name => name,
    };
    let data_type = if name.ends_with("CHAR") { DataType::Utf8 } else { DataType::Binary };
    match numbers(cursor, 1)?.first() {
        Some((0, place)) => Err(range(&format!("a {name} has a length of at least 1"), place)),
        Some((length, _)) => Ok((data_type, format!("{name}({length})"))),
        None => Ok((data_type, format!("{name}(1)"))),
    }
}

/// Reads `(p)`, at most `most`.
fn precision(cursor: &mut Cursor<'_>, name: &str, most: u32, default: u32) -> Result<u32> {
    match numbers(cursor, 1)?.first() {
        Some((precision, _)) if *precision <= most => Ok(*precision),
        Some((precision, place)) => {
            Err(range(&format!("a {name} has a precision of 0 to {most}, not {precision}"), place))
        }
        None => Ok(default),
    }
}

fn time(cursor: &mut Cursor<'_>) -> Result<(DataType, String)> {
    cursor.skip(1);
    let precision = precision(cursor, "TIME", 6, 0)?;
    if let Some(tok) = cursor.peek().filter(|tok| tok.is("WITH")) {
        return Err(unsupported("TIME WITH TIME ZONE", &tok.place));
    }
    if cursor.take(&["WITHOUT"]) {
        cursor.expect(&["TIME", "ZONE"])?;
    }
    let data_type = match precision {
        0..=3 => DataType::Time32(TimeUnit::Millisecond),
        _ => DataType::Time64(TimeUnit::Microsecond),
    };
    Ok((data_type, format!("TIME({precision})")))
}

fn timestamp(cursor: &mut Cursor<'_>, ltz: bool) -> Result<(DataType, String)> {
    cursor.skip(1);
    let precision = precision(cursor, "TIMESTAMP", 9, 6)?;
    let mut local = ltz;
    if cursor.take(&["WITHOUT"]) {
        cursor.expect(&["TIME", "ZONE"])?;
    } else if cursor.sees(&["WITH", "TIME"]) {
        return Err(unsupported("TIMESTAMP WITH TIME ZONE", &cursor.place())
            .help(format!("write TIMESTAMP_LTZ({precision}): an instant, shown in UTC")));
    } else if cursor.sees(&["WITH", "LOCAL"]) {
        cursor.skip(2);
        cursor.expect(&["TIME", "ZONE"])?;
        local = true;
    }
    let unit = match precision {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    };
    let name = if local { "TIMESTAMP_LTZ" } else { "TIMESTAMP" };
    Ok((DataType::Timestamp(unit, local.then(|| "UTC".into())), format!("{name}({precision})")))
}

fn list(item: DataType, nullable: bool) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, nullable)))
}

/// The type as it stands inside of another one.
fn inside(declared: &DeclaredType) -> String {
    format!("{}{}", declared.text, if declared.nullable { "" } else { " NOT NULL" })
}

fn array(cursor: &mut Cursor<'_>, depth: usize) -> Result<(DataType, String)> {
    cursor.skip(1);
    cursor.expect_token(&Token::Lt)?;
    let item = nested(cursor, depth + 1)?;
    cursor.expect_token(&Token::Gt)?;
    let text = format!("ARRAY<{}>", inside(&item));
    Ok((list(item.data_type, item.nullable), text))
}

fn map(cursor: &mut Cursor<'_>, depth: usize) -> Result<(DataType, String)> {
    cursor.skip(1);
    cursor.expect_token(&Token::Lt)?;
    let key = nested(cursor, depth + 1)?;
    cursor.expect_token(&Token::Comma)?;
    let value = nested(cursor, depth + 1)?;
    cursor.expect_token(&Token::Gt)?;
    let text = format!("MAP<{}, {}>", inside(&key), inside(&value));
    let fields = vec![Field::new("key", key.data_type, false), Field::new("value", value.data_type, value.nullable)];
    let entries = Field::new("entries", DataType::Struct(Fields::from(fields)), false);
    Ok((DataType::Map(Arc::new(entries), false), text))
}

fn row(cursor: &mut Cursor<'_>, depth: usize) -> Result<(DataType, String)> {
    cursor.skip(1);
    let close = if cursor.take_token(&Token::LParen) { Token::RParen } else { Token::Gt };
    if close == Token::Gt {
        cursor.expect_token(&Token::Lt)?;
    }
    let (mut fields, mut texts): (Vec<Field>, Vec<String>) = (Vec::new(), Vec::new());
    loop {
        let (name, place) = cursor.name("a field name")?;
        if fields.iter().any(|field| *field.name() == name) {
            return Err(Error::config(OF0208, format!("the field {name} stands twice in a ROW")).at(&place));
        }
        let field = nested(cursor, depth + 1)?;
        if cursor.take(&["COMMENT"]) {
            cursor.string("a comment in single quotes")?;
        }
        texts.push(format!("{} {}", quoted(&name), inside(&field)));
        fields.push(Field::new(name, field.data_type, field.nullable));
        if !cursor.take_token(&Token::Comma) {
            cursor.expect_token(&close)?;
            let text = format!("ROW<{}>", texts.join(", "));
            return Ok((DataType::Struct(Fields::from(fields)), text));
        }
    }
}

/// A name as it is written in a text: in backticks where it has to be.
pub fn quoted(name: &str) -> String {
    let plain = name.chars().all(|ch| ch.is_alphanumeric() || ch == '_')
        && !name.starts_with(|ch: char| ch.is_numeric())
        && !name.is_empty();
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}
