//! JSON straight into columns: one pass over the bytes, directed by the schema, without a tree and without an allocation a
//! record.
//!
//! Values are converted as in Flink's `JsonToRowDataConverters`, with these differences, each on the side of losing nothing:
//! a value that cannot be converted is a failure where Flink stores NULL (an overflow of DECIMAL, BYTES from a number) or
//! cuts off (1.5 into INT, an object into an empty MAP); a number that goes into STRING keeps the text it is written with;
//! the whole document is checked, whatever is used of it.

mod lookup;
mod reader;

use super::append::Scalar;
use super::bad::{Bad, Parsed, shown};
use super::column::{Builder, Row, Values};
use super::{JsonOptions, TimestampFormat};
use crate::codes;
use crate::error::Result;
use arrow_array::ArrayRef;
use reader::{Reader, as_text, check_depth, compact, unescape};
use std::collections::HashMap;

pub(crate) use lookup::Lookup;
pub use reader::JSON_DEPTH_MAX;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Decodes JSON documents into columns.
pub(crate) struct Json {
    row: Row,
    rows: usize,
    context: Context,
}

/// What every level of a document needs.
struct Context {
    fail_on_missing_field: bool,
    timestamps: TimestampFormat,
    scratch: Vec<u8>,
}

impl Json {
    /// A decoder for these columns, which are found by their names.
    pub(crate) fn new(columns: Vec<Builder>, options: JsonOptions) -> Self {
        let context = Context {
            fail_on_missing_field: options.fail_on_missing_field,
            timestamps: options.timestamp_format,
            scratch: Vec::new(),
        };
        Self { row: Row::new(columns), rows: 0, context }
    }

    /// Decodes a document and returns how many rows it gave. After `Err` the caller truncates.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Parsed<usize> {
        std::str::from_utf8(bytes).map_err(|error| Bad::not_utf8(bytes, error))?;
        let mut reader = Reader::new(bytes);
        if bytes.starts_with(BYTE_ORDER_MARK) {
            reader.at = BYTE_ORDER_MARK.len();
        }
        reader.space();
        let rows = match reader.peek() {
            b'{' => self.next_row(&mut reader, 0).map(|()| 1)?,
            b'[' => self.array(&mut reader)?,
            b'n' => reader.literal("null").map(|()| 0)?,
            _ => return Err(not_an_object(&mut reader)),
        };
        end(&mut reader)?;
        Ok(rows)
    }

    fn next_row(&mut self, reader: &mut Reader<'_>, depth: usize) -> Parsed<()> {
        object(reader, &mut self.row, self.rows, &mut self.context, depth)?;
        self.rows += 1;
        Ok(())
    }

    /// An array of objects: a row each, all or none.
    fn array(&mut self, reader: &mut Reader<'_>) -> Parsed<usize> {
        reader.at += 1;
        reader.space();
        if reader.peek() == b']' {
            reader.at += 1;
            return Ok(0);
        }
        let mut rows = 0;
        loop {
            if reader.peek() != b'{' {
                return Err(not_an_object(reader));
            }
            self.next_row(reader, 1)?;
            rows += 1;
            if !another(reader, b']', "`,` or `]`")? {
                return Ok(rows);
            }
        }
    }

    /// Cuts the columns back to so many rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        self.row.children.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// The columns; the decoder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        self.row.children.iter_mut().map(Builder::finish).collect()
    }

    /// Appends a row of NULLs, for a record that has no key.
    pub(crate) fn append_nulls(&mut self) -> Parsed<()> {
        for (index, column) in self.row.children.iter_mut().enumerate() {
            column.append_null().map_err(|bad| bad.inside(&column.name).column(index))?;
        }
        self.rows += 1;
        Ok(())
    }
}

/// Nothing but white space may follow a document.
fn end(reader: &mut Reader<'_>) -> Parsed<()> {
    reader.space();
    if reader.at == reader.bytes.len() { Ok(()) } else { Err(reader.syntax("the end after the value")) }
}

/// Why a document (or an element of one) gives no row: it is empty, not valid, or something else than an object.
#[cold]
fn not_an_object(reader: &mut Reader<'_>) -> Box<Bad> {
    if reader.at == reader.bytes.len() {
        return Bad::new(codes::OF0601, "invalid JSON: the value is empty");
    }
    let start = reader.at;
    if let Err(bad) = reader.skip(1) {
        return bad;
    }
    let found = shown(as_text(&reader.bytes[start..reader.at]));
    Bad::new(codes::OF0611, format!("expected a JSON object at byte {start}, found {found}"))
}

/// Whether another element follows a `,`, or the container ends here.
#[inline]
fn another(reader: &mut Reader<'_>, close: u8, expected: &'static str) -> Parsed<bool> {
    reader.space();
    let byte = reader.peek();
    if byte != b',' && byte != close {
        return Err(reader.syntax(expected));
    }
    reader.at += 1;
    if byte == close {
        return Ok(false);
    }
    reader.space();
    Ok(true)
}

/// Failures of single fields of one object: a later field of the same name may take their place.
type Failed = Vec<(usize, Box<Bad>)>;

/// An object into the columns of a row, each of which has `base` rows before; the cursor is at its brace.
fn object(reader: &mut Reader<'_>, row: &mut Row, base: usize, context: &mut Context, depth: usize) -> Parsed<()> {
    check_depth(depth)?;
    reader.at += 1;
    reader.space();
    let mut failed = Failed::new();
    if reader.peek() == b'}' {
        reader.at += 1;
        return complete(row, base, context, failed);
    }
    for step in 0.. {
        let column = row.lookup.next(reader, step, &mut context.scratch)?;
        reader.punctuation(b':', "`:` after a field's name")?;
        match column {
            Some(index) => field(reader, &mut row.children[index], index, base, context, depth + 1, &mut failed)?,
            None => reader.skip(depth + 1)?,
        }
        if !another(reader, b'}', "`,` or `}`")? {
            break;
        }
    }
    complete(row, base, context, failed)
}

/// One field that is used. Of a repeated field the last one counts, also where an earlier one cannot be converted.
#[inline]
fn field(
    reader: &mut Reader<'_>,
    column: &mut Builder,
    index: usize,
    base: usize,
    context: &mut Context,
    depth: usize,
    failed: &mut Failed,
) -> Parsed<()> {
    let start = reader.at;
    if column.len() > base {
        column.truncate(base);
    }
    if !failed.is_empty() {
        failed.retain(|(other, _)| *other != index);
    }
    match value(reader, column, context, depth) {
        Ok(()) => Ok(()),
        Err(bad) if bad.is_fatal() => Err(bad),
        Err(bad) => {
            column.truncate(base);
            failed.push((index, bad.inside(&column.name).column(index)));
            reader.at = start;
            reader.skip(depth)
        }
    }
}

/// Gives the fields that an object lacks their NULLs.
#[inline]
fn complete(row: &mut Row, base: usize, context: &Context, failed: Failed) -> Parsed<()> {
    if let Some((_, bad)) = failed.into_iter().next() {
        return Err(bad);
    }
    for (index, column) in row.children.iter_mut().enumerate() {
        if column.len() == base {
            missing(column, context).map_err(|bad| bad.inside(&column.name).column(index))?;
        }
    }
    Ok(())
}

#[cold]
fn missing(column: &mut Builder, context: &Context) -> Parsed<()> {
    if context.fail_on_missing_field {
        return Err(Bad::new(codes::OF0606, "the field is missing and 'json.fail-on-missing-field' is true"));
    }
    if !column.nullable {
        return Err(Bad::new(codes::OF0605, "the field is missing and the column is NOT NULL"));
    }
    column.append_null()
}

/// One value into one column; the cursor is at its first byte. After `Err` the column may hold a part of it.
#[inline]
fn value(reader: &mut Reader<'_>, column: &mut Builder, context: &mut Context, depth: usize) -> Parsed<()> {
    let first = reader.peek();
    match (&mut column.values, first) {
        (Values::Text(values), b'"') => {
            let raw = reader.string()?;
            if raw.escaped {
                unescape(raw.bytes, &mut values.data);
            } else {
                values.data.extend_from_slice(raw.bytes);
            }
            values.end();
        }
        (Values::Int64(values), b'-' | b'0'..=b'9') => match reader.small_integer() {
            Some(integer) => values.push(integer),
            None => return scalar(reader, column, context),
        },
        (Values::Int32(values), b'-' | b'0'..=b'9') => {
            let start = reader.at;
            match reader.small_integer().map(i32::try_from) {
                Some(Ok(integer)) => values.push(integer),
                _ => {
                    reader.at = start;
                    return scalar(reader, column, context);
                }
            }
        }
        (_, b'{' | b'[') => return container(reader, column, context, depth),
        _ => return scalar(reader, column, context),
    }
    column.pushed();
    Ok(())
}

/// Text, a number, a truth value or null.
fn scalar(reader: &mut Reader<'_>, column: &mut Builder, context: &mut Context) -> Parsed<()> {
    match reader.peek() {
        b'"' => {
            let text = reader.string()?.text(&mut context.scratch);
            column.append(Scalar::Text(as_text(text)), context.timestamps)
        }
        b'-' | b'0'..=b'9' => {
            let number = reader.number()?;
            column.append(Scalar::Number(as_text(number)), context.timestamps)
        }
        b't' => {
            reader.literal("true")?;
            column.append(Scalar::Boolean(true), context.timestamps)
        }
        b'f' => {
            reader.literal("false")?;
            column.append(Scalar::Boolean(false), context.timestamps)
        }
        b'n' => {
            reader.literal("null")?;
            column.append_null()
        }
        _ => Err(reader.syntax("a value")),
    }
}

/// An array or an object.
fn container(reader: &mut Reader<'_>, column: &mut Builder, context: &mut Context, depth: usize) -> Parsed<()> {
    let start = reader.at;
    let base = column.len();
    match (&mut column.values, reader.peek()) {
        (Values::Row(row), b'{') => object(reader, row, base, context, depth)?,
        (Values::List(offsets, item), b'[') => {
            list(reader, item, context, depth)?;
            offsets.push(item.len());
        }
        (Values::Map(offsets, keys, items), b'{') => {
            map(reader, keys, items, context, depth)?;
            offsets.push(keys.len());
        }
        (Values::Text(values), _) => {
            reader.skip(depth)?;
            compact(&reader.bytes[start..reader.at], &mut values.data);
            values.end();
        }
        _ => {
            reader.skip(depth)?;
            return Err(Bad::form(&column.data_type, as_text(&reader.bytes[start..reader.at])));
        }
    }
    column.pushed();
    Ok(())
}

fn list(reader: &mut Reader<'_>, item: &mut Builder, context: &mut Context, depth: usize) -> Parsed<()> {
    check_depth(depth)?;
    reader.at += 1;
    reader.space();
    if reader.peek() == b']' {
        reader.at += 1;
        return Ok(());
    }
    let first = item.len();
    loop {
        if let Err(bad) = value(reader, item, context, depth + 1) {
            return Err(bad.inside(format!("[{}]", item.len() - first)));
        }
        if !another(reader, b']', "`,` or `]`")? {
            return Ok(());
        }
    }
}

/// An object into a map; of a repeated key the last value counts.
fn map(
    reader: &mut Reader<'_>,
    keys: &mut Builder,
    items: &mut Builder,
    context: &mut Context,
    depth: usize,
) -> Parsed<()> {
    check_depth(depth)?;
    let entries = entries(reader, depth)?;
    let after = reader.at;
    for (key, at) in entries {
        reader.at = at;
        keys.append(Scalar::Text(&key), context.timestamps)?;
        value(reader, items, context, depth + 1).map_err(|bad| bad.inside(format!("[\"{}\"]", shown(&key))))?;
    }
    reader.at = after;
    Ok(())
}

/// The keys of an object in the order of their first appearance, each with the place of its last value.
fn entries(reader: &mut Reader<'_>, depth: usize) -> Parsed<Vec<(String, usize)>> {
    let mut entries: Vec<(String, usize)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut scratch = Vec::new();
    reader.at += 1;
    reader.space();
    if reader.peek() == b'}' {
        reader.at += 1;
        return Ok(entries);
    }
    loop {
        if reader.peek() != b'"' {
            return Err(reader.syntax("a field's name in double quotes"));
        }
        let key = as_text(reader.string()?.text(&mut scratch)).to_owned();
        reader.punctuation(b':', "`:` after a field's name")?;
        let at = reader.at;
        match known.get(&key) {
            Some(entry) => entries[*entry].1 = at,
            None => {
                known.insert(key.clone(), entries.len());
                entries.push((key, at));
            }
        }
        reader.skip(depth + 1)?;
        if !another(reader, b'}', "`,` or `}`")? {
            return Ok(entries);
        }
    }
}
