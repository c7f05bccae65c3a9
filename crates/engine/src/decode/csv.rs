//! CSV into columns: types and options as in Flink's `CsvToRowDataConverters`.
//!
//! - A record has exactly as many fields as the declaration has physical columns.
//! - A field that equals `csv.null-literal` is NULL. Without that option nothing is NULL: an empty field is an empty text, and
//!   for every other type a failure, as in Flink. `'csv.null-literal' = ''` makes empty fields NULL.
//! - ARRAY and ROW stand in one field, their parts separated by `csv.array-element-delimiter`; an empty field is an empty ARRAY.
//! - BYTES is base64; timestamps are in SQL style.
//! - Comments (where allowed), blank lines and the header are left out. A header that names other columns is nobody's record: it
//!   stops the pipeline, since all lines behind it would be read into the wrong columns.

use super::append::Scalar;
use super::bad::{Bad, Parsed, shown};
use super::column::{Builder, Values};
use super::fields::Fields;
use super::{CsvHeader, CsvOptions, TimestampFormat};
use crate::codes;
use crate::error::{Error, Result};
use arrow_array::ArrayRef;

/// Decodes CSV records into columns.
pub(crate) struct Csv {
    options: CsvOptions,
    columns: Vec<Builder>,
    /// For each column the index of its field.
    fields: Vec<usize>,
    rows: usize,
    split: Fields,
}

impl Csv {
    /// A decoder for these columns, each of which is one of the declared fields.
    pub(crate) fn new(columns: Vec<Builder>, mut options: CsvOptions) -> Result<Self> {
        // A quote that escapes is a quote: it is written twice.
        options.escape = options.escape.filter(|escape| options.quote != Some(*escape));
        let mut fields = Vec::with_capacity(columns.len());
        for column in &columns {
            let field = options.fields.iter().position(|field| *field == column.name);
            fields.push(field.ok_or_else(|| {
                Error::internal(format!("the CSV column {} is none of the declared fields", column.name))
            })?);
            check_type(column)?;
        }
        Ok(Self { options, columns, fields, rows: 0, split: Fields::default() })
    }

    /// Decodes one record. `line` is its line in the file, 0 where there is none.
    pub(crate) fn decode(&mut self, bytes: &[u8], line: u64) -> Parsed<usize> {
        match self.options.header {
            CsvHeader::Ignored if line == 1 => return Ok(0),
            CsvHeader::Names if line == 1 => return self.check_header(bytes).map(|()| 0),
            _ if self.is_left_out(bytes) => return Ok(0),
            _ => {}
        }
        std::str::from_utf8(bytes).map_err(|error| Bad::not_utf8(bytes, error))?;
        self.split.split(bytes, &self.options)?;
        let found = self.split.len();
        let expected = self.options.fields.len();
        if found != expected {
            let reason = format!("expected {expected} fields as declared, found {found}");
            return Err(Bad::new(codes::OF0608, reason));
        }
        for index in 0..self.columns.len() {
            self.field(index)?;
        }
        self.rows += 1;
        Ok(1)
    }

    fn is_left_out(&self, bytes: &[u8]) -> bool {
        let blank = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        blank || (self.options.allow_comments && bytes.starts_with(b"#"))
    }

    /// The first line of a file has to name the columns of the declaration in their order.
    fn check_header(&mut self, bytes: &[u8]) -> Parsed<()> {
        self.split.split(bytes, &self.options).map_err(|bad| bad.of_the_source(codes::OF0613))?;
        let found: Vec<_> =
            (0..self.split.len()).map(|at| String::from_utf8_lossy(self.split.get(at)).trim().to_owned()).collect();
        if found == self.options.fields {
            return Ok(());
        }
        let declared = &self.options.fields;
        let other = found.iter().zip(declared).position(|(found, declared)| found != declared);
        let difference = match other {
            Some(at) => {
                format!("column {} of the header is `{}`, declared is `{}`", at + 1, shown(&found[at]), declared[at])
            }
            None => format!("the header has {} columns, declared are {}", found.len(), declared.len()),
        };
        let reason = format!("{difference}; the header is `{}`", shown(&found.join(", ")));
        Err(Bad::new(codes::OF0613, reason).of_the_source(codes::OF0613))
    }

    fn field(&mut self, index: usize) -> Parsed<()> {
        let field = self.fields[index];
        let bytes = self.split.get(field);
        let text = std::str::from_utf8(bytes).map_err(|error| Bad::not_utf8(bytes, error))?;
        let column = &mut self.columns[index];
        cell(column, text, &self.options, 0).map_err(|bad| bad.inside(&column.name).column(index))
    }

    /// Cuts the columns back to so many rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// The columns; the decoder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        self.columns.iter_mut().map(Builder::finish).collect()
    }

    /// Appends a row of NULLs, for a record that has no key.
    pub(crate) fn append_nulls(&mut self) -> Parsed<()> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.append_null().map_err(|bad| bad.inside(&column.name).column(index))?;
        }
        self.rows += 1;
        Ok(())
    }
}

/// CSV has no maps, and a field holds only flat arrays and rows.
fn check_type(column: &Builder) -> Result<()> {
    let flat = |part: &Builder| !matches!(part.values, Values::List(..) | Values::Map(..) | Values::Row(_));
    let fits = match &column.values {
        Values::Map(..) => false,
        Values::List(_, item) => flat(item),
        Values::Row(row) => row.children.iter().all(flat),
        _ => true,
    };
    if fits { Ok(()) } else { Err(super::unsupported("csv", column)) }
}

fn cell(column: &mut Builder, text: &str, options: &CsvOptions, depth: usize) -> Parsed<()> {
    if options.null_literal.as_deref() == Some(text) {
        return column.append_null();
    }
    let parts = || text.split(options.array_element_delimiter.as_str());
    match &mut column.values {
        Values::List(offsets, item) if depth == 0 => {
            for (at, part) in parts().enumerate().filter(|_| !text.is_empty()) {
                cell(item, part, options, 1).map_err(|bad| bad.inside(format!("[{at}]")))?;
            }
            offsets.push(item.len());
        }
        Values::Row(row) if depth == 0 => {
            let (expected, found) = (row.children.len(), parts().count());
            if expected != found {
                return Err(Bad::new(codes::OF0608, format!("expected {expected} parts of a ROW, found {found}")));
            }
            for (child, part) in row.children.iter_mut().zip(parts()) {
                cell(child, part, options, 1).map_err(|bad| bad.inside(&child.name))?;
            }
        }
        _ => return column.append(Scalar::Text(text), TimestampFormat::Sql),
    }
    column.pushed();
    Ok(())
}
