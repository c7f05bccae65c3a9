//! The log that all three programs read: transfers in four files, drawn from a seed, each line of the same length.

use onceflow::chance::{STEP, mixed};
use onceflow::{Error, codes};
use std::io::Write as _;
use std::path::Path;

/// Files of the log.
pub const FILES: u64 = 4;
/// Bytes of a line, with its end.
pub const LINE: u64 = 60;

/// A transfer.
pub struct Transfer {
    /// Its number.
    pub id: u64,
    /// The account.
    pub account: u64,
    /// Cents.
    pub amount: i64,
}

/// The numbers of the transfers in a file.
pub fn ids(file: u64, rows: u64) -> std::ops::Range<u64> {
    (rows * file / FILES)..(rows * (file + 1) / FILES)
}

/// A transfer by its number.
pub fn transfer(seed: u64, id: u64) -> Transfer {
    let bits = mixed(seed ^ id.wrapping_mul(STEP));
    Transfer { id, account: bits % 1_000, amount: i64::try_from((bits >> 32) % 1_999_999).unwrap_or(0) - 999_999 }
}

/// A transfer as a line of the log, with its end.
pub fn line(transfer: &Transfer) -> String {
    format!(
        "{{\"id\":{:>8},\"account\":{:>4},\"amount\":{:>8},\"x\":\"....\"}}\n",
        transfer.id, transfer.account, transfer.amount
    )
}

/// Where a file of the log is.
pub fn file(folder: &Path, file: u64) -> std::path::PathBuf {
    folder.join("log").join(format!("part-{file}.jsonl"))
}

/// Writes the log; the answer is the sum of all amounts.
pub fn write(folder: &Path, seed: u64, rows: u64) -> Result<i64, Error> {
    let mut total = 0;
    for number in 0..FILES {
        let path = file(folder, number);
        let mut out = std::io::BufWriter::new(std::fs::File::create(&path).map_err(|error| cannot(&path, error))?);
        for id in ids(number, rows) {
            let transfer = transfer(seed, id);
            total += transfer.amount;
            out.write_all(line(&transfer).as_bytes()).map_err(|error| cannot(&path, error))?;
        }
        out.flush().map_err(|error| cannot(&path, error))?;
    }
    Ok(total)
}

/// A failure with a file of the demo.
pub fn cannot(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::config(codes::OF0140, format!("the demo cannot use {}: {error}", path.display()))
        .help("give a folder that can be written: --out DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_same_length_and_every_transfer_one_file() {
        for id in [0, 7, 99_999, 8_999_999] {
            let text = line(&transfer(1, id));
            assert_eq!(text.len() as u64, LINE, "{text}");
            let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(value["id"], id);
        }
        let all: u64 = (0..FILES).map(|number| ids(number, 4_003).count() as u64).sum();
        assert_eq!(all, 4_003);
    }
}
