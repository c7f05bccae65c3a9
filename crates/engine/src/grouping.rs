//! Rows with equal keys: found by hash, in one pass.
//!
//! Keys are compared as bytes: texts as they are, anything else in arrow's row format, whose bytes are equal where values are
//! and sort as values do.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, DataType};
use std::collections::HashMap;

/// A hasher begins with a capacity for at most so many groups; more are no error.
const GROUPS_EXPECTED_MAX: usize = 4_096;

/// The keys of rows as bytes.
#[derive(Debug)]
pub enum Keys {
    /// One text without NULL.
    Text(StringArray),
    /// Anything else.
    Rows(Rows),
}

impl Keys {
    /// The keys that columns of the same length make together.
    pub fn new(columns: &[ArrayRef]) -> Result<Self, ArrowError> {
        if let [only] = columns
            && *only.data_type() == DataType::Utf8
            && only.null_count() == 0
        {
            return Ok(Self::Text(only.as_string::<i32>().clone()));
        }
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        Ok(Self::Rows(RowConverter::new(fields)?.convert_columns(columns)?))
    }

    /// The key of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    #[inline]
    pub fn of(&self, row: usize) -> &[u8] {
        match self {
            Self::Text(texts) => texts.value(row).as_bytes(),
            Self::Rows(rows) => rows.row(row).data(),
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(texts) => texts.len(),
            Self::Rows(rows) => rows.num_rows(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Groups all rows.
    pub fn groups(&self) -> Groups {
        match self {
            Self::Text(texts) => group((0..texts.len()).map(|row| texts.value(row).as_bytes())),
            Self::Rows(rows) => group((0..rows.num_rows()).map(|row| rows.row(row).data())),
        }
    }
}

/// Groups of rows, numbered as they first appear.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Groups {
    /// For each row its group.
    pub of_row: Vec<u32>,
    /// For each group its first row.
    pub first: Vec<u32>,
}

/// Groups keys.
///
/// # Panics
/// Where there are 2^32 of them.
pub fn group<'a>(keys: impl ExactSizeIterator<Item = &'a [u8]>) -> Groups {
    let count = u32::try_from(keys.len()).expect("a call sees fewer than 2^32 rows");
    let capacity = keys.len().min(GROUPS_EXPECTED_MAX);
    let mut known: HashMap<&[u8], u32, foldhash::fast::RandomState> =
        HashMap::with_capacity_and_hasher(capacity, foldhash::fast::RandomState::default());
    let mut groups = Groups { of_row: Vec::with_capacity(keys.len()), first: Vec::with_capacity(capacity) };
    let mut next = 0;
    for (row, key) in (0..count).zip(keys) {
        let group = *known.entry(key).or_insert(next);
        if group == next {
            groups.first.push(row);
            next += 1;
        }
        groups.of_row.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};
    use std::sync::Arc;

    fn check(columns: Vec<ArrayRef>, of_row: &[u32], first: &[u32]) {
        let keys = Keys::new(&columns).unwrap();
        let groups = keys.groups();
        assert_eq!((groups.of_row.as_slice(), groups.first.as_slice()), (of_row, first), "{columns:?}");
        for (row, group) in groups.of_row.iter().enumerate() {
            assert_eq!(keys.of(row), keys.of(groups.first[*group as usize] as usize));
        }
    }

    #[test]
    fn rows_of_equal_keys_share_a_group_numbered_by_first_appearance() {
        let texts = |values: &[Option<&str>]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        check(vec![texts(&[Some("b"), Some(""), Some("b"), Some("ä"), Some("")])], &[0, 1, 0, 2, 1], &[0, 1, 3]);
        check(vec![texts(&[None, Some(""), None])], &[0, 1, 0], &[0, 1]);
        let numbers = Arc::new(Int64Array::from(vec![1, 1, 2])) as ArrayRef;
        check(vec![numbers.clone()], &[0, 0, 1], &[0, 2]);
        check(vec![numbers, texts(&[Some("x"), Some("y"), Some("x")])], &[0, 1, 2], &[0, 1, 2]);
        check(vec![texts(&[])], &[], &[]);
    }
}
