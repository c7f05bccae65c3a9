//! docs/sql.md names everything that a text may say.

use crate::options::known;
use crate::resolve::settings::NAMES;
use crate::resolve::{SOURCES, TARGETS};

const DOCUMENT: &str = include_str!("../../../../docs/sql.md");

#[test]
fn every_option_setting_connector_and_type_is_in_the_document() {
    let tables =
        [known::KAFKA, known::FILES, known::DATAGEN, known::DATABASE, known::PRINT, known::BLACKHOLE, known::FORMATS];
    let options = tables.into_iter().flatten().map(|option| option.name);
    for name in options.chain(NAMES.iter().copied()).chain(SOURCES.iter().chain(TARGETS).copied()) {
        assert!(DOCUMENT.contains(&format!("`{name}`")), "docs/sql.md does not name `{name}`");
    }
    for name in crate::types::NAMES.iter().filter(|name| !["INTEGER", "DEC", "NUMERIC", "CHARACTER"].contains(name)) {
        assert!(DOCUMENT.contains(name), "docs/sql.md does not name {name}");
    }
}
