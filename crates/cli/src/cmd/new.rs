//! `onceflow new`: pipelines to start from. They are the repository's own examples, which the tests run.

use super::Answer;
use onceflow::{Error, codes};

const TEMPLATES: &[(&str, &str, &str)] = &[
    ("files", "JSON files → SQLite, nothing to install", include_str!("../../../../examples/files.sql")),
    ("append", "Kafka → PostgreSQL, a row a record", include_str!("../../../../examples/append.sql")),
    ("balance", "Kafka → PostgreSQL, a sum per key", include_str!("../../../../examples/balance.sql")),
    (
        "article",
        "Kafka → PostgreSQL, two tables and an UPDATE a record",
        include_str!("../../../../examples/article.sql"),
    ),
];

/// Prints a template, or their list.
pub fn run(template: Option<&str>) -> Answer {
    let Some(wanted) = template else {
        for (name, what, _) in TEMPLATES {
            println!("{name:<10} {what}");
        }
        return Ok(0);
    };
    let found = TEMPLATES.iter().find(|(name, ..)| *name == wanted);
    let Some((_, _, text)) = found else {
        let names: Vec<_> = TEMPLATES.iter().map(|(name, ..)| *name).collect();
        let closest = names.iter().max_by_key(|name| similarity(name, wanted)).expect("there are templates");
        return Err(Error::config(codes::OF0105, format!("there is no template '{wanted}'"))
            .help(format!("did you mean '{closest}'? there are: {}", names.join(", ")))
            .into());
    };
    print!("{text}");
    Ok(0)
}

/// Similarity in thousandths, so that it has an order.
fn similarity(a: &str, b: &str) -> u32 {
    let share = strsim::jaro_winkler(a, b) * 1000.0;
    (0..=1000).rev().find(|thousandths| f64::from(*thousandths) <= share).unwrap_or(0)
}
