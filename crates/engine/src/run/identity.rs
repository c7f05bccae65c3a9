//! What a stop for a changed source says: what was found, and the three commands an operator can choose from.

use crate::codes;
use crate::error::{Error, Kind};
use crate::source::{Difference, Mismatch};
use onceflow_core::SourceIdentity;

/// The error for sources that are not as the ledger remembers them.
pub fn mismatch(mismatches: &[Mismatch]) -> Error {
    let first = &mismatches[0];
    let (code, message) = describe(first);
    let mut error = Error::new(Kind::Identity, code, message).note(
        "Onceflow never resets a position by itself and never skips: an operator decides, and the choice is recorded",
    );
    for other in mismatches.iter().skip(1).take(9) {
        error = error.note(describe(other).1);
    }
    if mismatches.len() > 10 {
        error = error.note(format!("and {} more partitions", mismatches.len() - 10));
    }
    let partition = &first.partition;
    let reset = |to: &str| format!("onceflow ledger reset FILE --partition '{partition}' --to {to} --reason '…'");
    error
        .help(format!(
            "read what is there from its beginning (rows of records that were read before come again):\n{}",
            reset("beginning")
        ))
        .help(format!("go on with what comes from now on (what was not read before is left out):\n{}", reset("end")))
        .help(format!("it is the same log after all, keep the position:\n{}", reset("keep")))
}

fn describe(mismatch: &Mismatch) -> (codes::Code, String) {
    let partition = &mismatch.partition;
    match &mismatch.what {
        Difference::Identity { ledger, found } if ledger.cluster_id != found.cluster_id => (
            codes::OF0010,
            format!(
                "{partition} is in another cluster: the ledger knows {}, found {}",
                ledger.cluster_id, found.cluster_id
            ),
        ),
        Difference::Identity { ledger, found } => (
            codes::OF0011,
            format!("{partition} was deleted and created again: the ledger knows {}, found {}", id(ledger), id(found)),
        ),
        Difference::Gone => (codes::OF0012, format!("{partition} does not exist any more")),
        Difference::Expired { ledger, start } => (
            codes::OF0013,
            format!(
                "records of {partition} expired before they were read: the ledger is at {ledger}, the log begins at {start}"
            ),
        ),
        Difference::Truncated { ledger, end } => {
            (codes::OF0014, format!("{partition} was truncated: the ledger is at {ledger}, the log ends at {end}"))
        }
        Difference::Tail { offset } => (
            codes::OF0015,
            format!(
                "the record of {partition} at offset {offset} is not the one that was read: the log has another history"
            ),
        ),
    }
}

fn id(identity: &SourceIdentity) -> &str {
    &identity.topic_id
}
