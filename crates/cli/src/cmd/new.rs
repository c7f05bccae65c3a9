//! `onceflow new`: pipelines to start from. They are the repository's own examples, which the tests run.

use super::Answer;
use crate::args::Common;
use crate::table::Table;
use onceflow::home::desk::Cell;
use onceflow::{Error, codes};
use onceflow_sql::suggest;

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
pub fn run(template: Option<&str>, common: &Common) -> Answer {
    let Some(wanted) = template else {
        let text = |text: &str| Cell::Text(text.to_owned());
        let rows = TEMPLATES.iter().map(|(name, what, _)| vec![text(name), text(what)]).collect();
        Table::of(&["template", "what it does"], rows).print(common.format);
        return Ok(0);
    };
    let found = TEMPLATES.iter().find(|(name, ..)| *name == wanted);
    let Some((_, _, text)) = found else {
        let names = TEMPLATES.iter().map(|(name, ..)| *name);
        return Err(Error::config(codes::OF0105, format!("there is no template '{wanted}'"))
            .help(suggest::help(wanted, "templates", names))
            .into());
    };
    print!("{text}");
    Ok(0)
}
