//! From a field's name to its column: a guess from the previous object first, a search after it.

use super::reader::Reader;
use crate::decode::bad::Parsed;

/// So many names of an object are remembered in order.
const SHAPE_FIELDS_MAX: usize = 256;

/// Longer names are always searched for.
const SHAPE_NAME_BYTES_MAX: usize = 128;

/// The fields of one kind of object by name.
pub(crate) struct Lookup {
    /// Names with their columns, ordered by length and bytes.
    names: Vec<(Box<[u8]>, usize)>,
    /// The names of the previous objects in the order in which they stood: producers rarely change it.
    shape: Vec<Known>,
}

/// A name in quotes, and its column where it is used.
struct Known {
    quoted: Vec<u8>,
    column: Option<usize>,
}

impl Lookup {
    /// Of names given in the order of their columns.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<(Box<[u8]>, usize)> =
            names.enumerate().map(|(column, name)| (name.as_bytes().into(), column)).collect();
        names.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
        Self { names, shape: Vec::new() }
    }

    /// Passes over the name of the `step`-th field of an object and says which column it is; `None` for a field that is not used.
    #[inline]
    pub(super) fn next(
        &mut self,
        reader: &mut Reader<'_>,
        step: usize,
        scratch: &mut Vec<u8>,
    ) -> Parsed<Option<usize>> {
        if let Some(known) = self.shape.get(step)
            && reader.bytes[reader.at..].starts_with(&known.quoted)
        {
            reader.at += known.quoted.len();
            return Ok(known.column);
        }
        self.search(reader, step, scratch)
    }

    fn search(&mut self, reader: &mut Reader<'_>, step: usize, scratch: &mut Vec<u8>) -> Parsed<Option<usize>> {
        if reader.peek() != b'"' {
            return Err(reader.syntax("a field's name in double quotes"));
        }
        let start = reader.at;
        let raw = reader.string()?;
        let column = self.find(raw.text(scratch));
        if !raw.escaped && raw.bytes.len() <= SHAPE_NAME_BYTES_MAX {
            self.remember(step, &reader.bytes[start..reader.at], column);
        }
        Ok(column)
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let at = self.names.binary_search_by(|(known, _)| (known.len(), &known[..]).cmp(&(name.len(), name))).ok()?;
        Some(self.names[at].1)
    }

    fn remember(&mut self, step: usize, quoted: &[u8], column: Option<usize>) {
        if let Some(known) = self.shape.get_mut(step) {
            known.quoted.clear();
            known.quoted.extend_from_slice(quoted);
            known.column = column;
        } else if step == self.shape.len() && step < SHAPE_FIELDS_MAX {
            self.shape.push(Known { quoted: quoted.to_vec(), column });
        }
    }
}
