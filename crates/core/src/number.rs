//! Numbers that cross functions, each with a type of its own. Owns no rule but its own order and arithmetic.

use std::fmt;

/// Exactly 32 hexadecimal digits: no sign, which the standard library would let pass.
pub(crate) fn hexadecimal(text: &str) -> Option<u128> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}

/// The offset of the **next** record to read in a partition. Never "last done", never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(u64);

impl Position {
    /// The beginning of a partition that never lost a record.
    pub const ZERO: Position = Position(0);

    /// A position from an unsigned offset.
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// A position from a signed offset as brokers and databases store it; `None` where it is negative.
    pub fn from_signed(offset: i64) -> Option<Self> {
        u64::try_from(offset).ok().map(Self)
    }

    /// The offset of the next record.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset as databases store it.
    ///
    /// # Panics
    /// Where the offset is beyond `i64::MAX`, which no broker, file or database can hold.
    pub fn signed(self) -> i64 {
        i64::try_from(self.0).expect("an offset beyond i64::MAX cannot come from any source")
    }

    /// The position after the record at this one.
    ///
    /// # Panics
    /// At `u64::MAX`.
    pub fn after(self) -> Self {
        Self(self.0.checked_add(1).expect("an offset cannot reach u64::MAX"))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Positions `from..to` of one partition, half open. `to − from` is not a count of records: compaction and transaction
/// markers leave gaps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Span {
    from: Position,
    to: Position,
}

impl Span {
    /// A span; `None` where `to` lies before `from`.
    pub fn new(from: Position, to: Position) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// The empty span at a position.
    pub fn empty(at: Position) -> Self {
        Self { from: at, to: at }
    }

    /// The first position inside.
    pub fn from(self) -> Position {
        self.from
    }

    /// The first position after.
    pub fn to(self) -> Position {
        self.to
    }

    /// Whether no position lies inside.
    pub fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// This span and the one that begins exactly where it ends; `None` where there is a gap or an overlap.
    pub fn join(self, next: Span) -> Option<Span> {
        (self.to == next.from).then_some(Span { from: self.from, to: next.to })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

/// The number of a step of a shard. Epoch 0 is the founding one, which holds the initial positions and no record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// The founding epoch.
    pub const FOUNDING: Epoch = Epoch(0);

    /// An epoch by number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch that follows.
    ///
    /// # Panics
    /// At `u64::MAX`.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("an epoch number cannot reach u64::MAX"))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a shard has been claimed. A higher generation in the home means that another owner claimed later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(u64);

impl Generation {
    /// A shard that nobody has claimed.
    pub const NONE: Generation = Generation(0);

    /// A generation by number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The generation that a claim installs over this one.
    ///
    /// # Panics
    /// At `u64::MAX`.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a generation cannot reach u64::MAX"))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fresh random number drawn at each claim, so that clones of a machine and restored homes cannot share a right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Nonce(u128);

impl Nonce {
    /// What an unclaimed shard carries. No claim may draw it.
    pub const NONE: Nonce = Nonce(0);

    /// A nonce from 128 random bits, drawn by the caller.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Reads the 32 hexadecimal digits that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        hexadecimal(text).map(Self)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
