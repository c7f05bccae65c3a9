//! The data of all system tests: row n is a function of n, so what must stand in a table is known without reading the topic.

/// One record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Trade {
    /// Unique.
    pub id: i64,
    /// One of a hundred.
    pub account: String,
    /// Between −500 and 499.
    pub amount: i64,
    /// Milliseconds.
    pub ts: i64,
    /// One of four.
    pub merchant: String,
    /// Sometimes NULL.
    pub note: Option<String>,
}

/// The record with a number.
pub fn trade(id: i64) -> Trade {
    let mixed =
        (id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 20).rem_euclid(1 << 30);
    Trade {
        id,
        account: format!("a{:02}", mixed % 100),
        amount: (mixed / 100) % 1000 - 500,
        ts: 1_760_000_000_000 + id,
        merchant: ["food", "travel", "größe", "o'hara"][usize::try_from(mixed % 4).expect("below 4")].to_owned(),
        note: (mixed % 3 != 0).then(|| format!("n{mixed}")),
    }
}

/// The record as JSON.
pub fn json(trade: &Trade) -> String {
    let note = trade.note.as_ref().map_or("null".to_owned(), |note| format!("\"{note}\""));
    format!(
        "{{\"id\":{},\"account\":\"{}\",\"amount\":{},\"ts\":{},\"merchant\":\"{}\",\"note\":{note},\"extra\":[1,{{}}]}}",
        trade.id, trade.account, trade.amount, trade.ts, trade.merchant
    )
}
