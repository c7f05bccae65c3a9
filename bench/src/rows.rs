//! The records: record n is a function of the seed and n, so what must stand in a table is known without reading the topic.
//!
//! Owns every form in which a row is needed: JSON for topics and files, PostgreSQL's binary COPY format for limits.

/// How many accounts there are, and so how many keys a merge has.
pub const ACCOUNTS: u64 = 10_000;
const MERCHANTS: [&str; 4] = ["travel", "grocer", "books", "fuel"];
/// The signature, flags and extension length of PostgreSQL's binary COPY format.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of that format.
const COPY_TRAILER: &[u8] = &[0xff, 0xff];
/// The amount of a record that a table refuses.
pub const REFUSED_AMOUNT: i64 = -1_000_000;

/// What a record looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A transaction of about so many bytes.
    Payment {
        /// Bytes of the JSON text; the note fills it up.
        bytes: usize,
    },
    /// An id and further numbers, `id`, `c1`, `c2`, …
    Wide {
        /// How many columns.
        columns: usize,
    },
}

/// What is wrong with some of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spoilt {
    /// Nothing.
    None,
    /// So many of a thousand end in the middle of the JSON text.
    Undecodable(u64),
    /// So many of a thousand have [`REFUSED_AMOUNT`].
    Refused(u64),
}

/// All records of a topic.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Another seed gives other records.
    pub seed: u64,
    /// How many there are.
    pub count: u64,
    /// What they look like.
    pub shape: Shape,
    /// What is wrong with some.
    pub spoilt: Spoilt,
}

/// The fields of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payment {
    /// Unique, from 0.
    pub id: u64,
    /// One of [`ACCOUNTS`].
    pub account: String,
    /// Between −5,000 and 4,999.
    pub amount: i64,
    /// Microseconds.
    pub ts: i64,
    /// One of four.
    pub merchant: &'static str,
    /// Letters that fill the record up.
    pub note: String,
}

/// What can be counted in a table without looking at each row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// How many rows.
    pub rows: i64,
    /// The sum of the ids.
    pub ids: i64,
    /// The sum of the amounts.
    pub amounts: i64,
}

impl Rows {
    /// Transactions without anything wrong.
    pub fn payments(seed: u64, count: u64, bytes: usize) -> Self {
        Self { seed, count, shape: Shape::Payment { bytes }, spoilt: Spoilt::None }
    }

    /// The same ids with other contents.
    pub fn before(self) -> Self {
        Self { seed: self.seed.wrapping_add(1_000_003), ..self }
    }

    /// Fewer of the same.
    pub fn first(self, count: u64) -> Self {
        Self { count: count.min(self.count), ..self }
    }

    fn bits(&self, n: u64) -> u64 {
        mixed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n))
    }

    fn is_spoilt(&self, n: u64, of_thousand: u64) -> bool {
        mixed(self.bits(n)) % 1000 < of_thousand
    }

    fn amount(&self, n: u64) -> i64 {
        match self.spoilt {
            Spoilt::Refused(share) if self.is_spoilt(n, share) => REFUSED_AMOUNT,
            _ => signed((self.bits(n) >> 20) % 10_000) - 5_000,
        }
    }

    /// The transaction with a number.
    pub fn payment(&self, n: u64) -> Payment {
        let bits = self.bits(n);
        let (id, account, amount, ts) =
            (n, format!("a{:07}", bits % ACCOUNTS), self.amount(n), 1_760_000_000_000_000 + signed(n));
        let merchant = MERCHANTS[usize::from((bits >> 40) as u8 & 3)];
        let mut payment = Payment { id, account, amount, ts, merchant, note: String::new() };
        if let Shape::Payment { bytes } = self.shape {
            let mut frame = Vec::new();
            write_payment(&payment, &mut frame);
            payment.note = letters(bits, bytes.saturating_sub(frame.len()).max(1));
        }
        payment
    }

    /// Appends the JSON text of a record.
    pub fn json(&self, n: u64, out: &mut Vec<u8>) {
        match self.shape {
            Shape::Payment { .. } => {
                write_payment(&self.payment(n), out);
                if matches!(self.spoilt, Spoilt::Undecodable(share) if self.is_spoilt(n, share)) {
                    out.truncate(out.len() - 2);
                }
            }
            Shape::Wide { columns } => {
                out.extend_from_slice(format!("{{\"id\":{n}").as_bytes());
                for column in 1..columns {
                    out.extend_from_slice(format!(",\"c{column}\":{}", self.bits(n) % 100_000).as_bytes());
                }
                out.push(b'}');
            }
        }
    }

    /// What a table must hold that has all usable records.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for n in 0..self.count {
            let bad = match self.spoilt {
                Spoilt::None => false,
                Spoilt::Undecodable(share) | Spoilt::Refused(share) => self.is_spoilt(n, share),
            };
            if !bad {
                totals.rows += 1;
                totals.ids += signed(n);
                totals.amounts += self.amount(n);
            }
        }
        totals
    }

    /// The rows as a whole file in PostgreSQL's binary COPY format, handed out in pieces.
    pub fn copy_file<E>(&self, mut piece: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut out = COPY_HEADER.to_vec();
        for n in 0..self.count {
            copy_row(&self.payment(n), &mut out);
            if out.len() >= 1 << 20 {
                piece(&out)?;
                out.clear();
            }
        }
        out.extend_from_slice(COPY_TRAILER);
        piece(&out)
    }

    /// The same, as one file for each batch of so many rows, in memory.
    pub fn copy_batches(&self, rows: u64) -> Vec<Vec<u8>> {
        let batch = |from: u64| {
            let mut out = COPY_HEADER.to_vec();
            (from..self.count.min(from + rows)).for_each(|n| copy_row(&self.payment(n), &mut out));
            out.extend_from_slice(COPY_TRAILER);
            out
        };
        (0..self.count.div_ceil(rows)).map(|number| batch(number * rows)).collect()
    }
}

/// A 63-bit number as a signed one.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// SplitMix64's last step: each bit of the answer depends on each bit of the question.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn letters(bits: u64, count: usize) -> String {
    let letter = |at: usize| char::from(b'a' + (bits.rotate_right(u32::from(at as u8) * 5) & 31).min(25) as u8);
    (0..count).map(letter).collect()
}

fn write_payment(payment: &Payment, out: &mut Vec<u8>) {
    let Payment { id, account, amount, ts, merchant, note } = payment;
    let text = format!(
        "{{\"id\":{id},\"account\":\"{account}\",\"amount\":{amount},\"ts\":{ts},\"merchant\":\"{merchant}\",\"note\":\"{note}\"}}"
    );
    out.extend_from_slice(text.as_bytes());
}

fn copy_row(payment: &Payment, out: &mut Vec<u8>) {
    out.extend_from_slice(&6_i16.to_be_bytes());
    let mut field = |bytes: &[u8]| {
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    field(&payment.id.to_be_bytes());
    field(payment.account.as_bytes());
    field(&payment.amount.to_be_bytes());
    field(&payment.ts.to_be_bytes());
    field(payment.merchant.as_bytes());
    field(payment.note.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_size_that_was_asked_for() {
        for bytes in [130, 1_000, 10_000] {
            let rows = Rows::payments(1, 10, bytes);
            for n in 0..rows.count {
                let mut out = Vec::new();
                rows.json(n, &mut out);
                assert_eq!(out.len(), bytes, "{}", String::from_utf8_lossy(&out));
            }
        }
    }

    #[test]
    fn spoilt_records_are_left_out_of_the_totals() {
        let rows = Rows { spoilt: Spoilt::Undecodable(500), ..Rows::payments(1, 1_000, 130) };
        let mut usable = 0;
        for n in 0..rows.count {
            let mut out = Vec::new();
            rows.json(n, &mut out);
            usable += i64::from(out.ends_with(b"}"));
        }
        assert_eq!(rows.totals().rows, usable);
        assert!((400..600).contains(&usable), "{usable}");
    }

    #[test]
    fn a_copy_file_is_its_batches() {
        let rows = Rows::payments(1, 25, 130);
        let mut whole = Vec::new();
        let done: Result<(), ()> = rows.copy_file(|piece| {
            whole.extend_from_slice(piece);
            Ok(())
        });
        assert_eq!(done, Ok(()));
        let batches = rows.copy_batches(10);
        assert_eq!(batches.len(), 3);
        let bodies = batches.iter().map(|batch| batch.len() - COPY_HEADER.len() - COPY_TRAILER.len());
        assert_eq!(whole.len(), bodies.sum::<usize>() + COPY_HEADER.len() + COPY_TRAILER.len());
    }
}
