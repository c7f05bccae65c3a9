//! Every record whose row is as it should be, one by one: for `--combined`.

use super::judge::{Cells, Court, Judge, Origin};
use super::report::RecordName;
use crate::error::Result;
use std::fmt;
use std::sync::Arc;

/// A function of a table's name and a record.
type Each = dyn Fn(&str, &RecordName);

/// Is told of each record whose row in a table is as it should be.
#[derive(Clone)]
pub struct Listing(pub Arc<Each>);

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listing")
    }
}

/// Judges nothing: it lists what the judges before it found nothing about.
pub(super) struct Lister(pub(super) Listing);

impl Judge for Lister {
    fn expected(&mut self, _: &Cells<'_>, origin: Origin, court: &mut Court<'_>) -> Result<()> {
        let letter = court.evidence.letters.get(&(origin.partition as usize, origin.offset));
        if letter.is_some_and(|letter| !letter.replayed) {
            return Ok(());
        }
        let name = (court.table.target(), origin.name(court.evidence));
        if !court.report.apart.as_ref().is_some_and(|apart| apart.contains(&name)) {
            (self.0.0)(&name.0, &name.1);
        }
        Ok(())
    }

    fn found(&mut self, _: &Cells<'_>, _: &mut Court<'_>) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut Court<'_>) -> Result<bool> {
        Ok(false)
    }

    fn wants_table(&self) -> bool {
        false
    }
}
