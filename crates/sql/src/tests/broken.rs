//! Texts that are cut off or lack a token: errors with places, never a panic.

use super::{check, check_place, compiled, source, target, variables};
use crate::text::{Source, tokenize};

const EXAMPLES: &[(&str, &str)] = &[
    ("append.sql", include_str!("../../../../examples/append.sql")),
    ("article.sql", include_str!("../../../../examples/article.sql")),
    ("balance.sql", include_str!("../../../../examples/balance.sql")),
    ("files.sql", include_str!("../../../../examples/files.sql")),
];

fn survives(text: &str) {
    if let Err(errors) = compiled(text) {
        assert!(!errors.is_empty());
        for error in errors {
            let place = error.place().expect("every error of a text has a place");
            assert!(place.line >= 1 && place.column >= 1 && place.length >= 1);
        }
    }
}

#[test]
fn every_prefix_of_the_examples_gives_an_answer() {
    for (_, text) in EXAMPLES {
        for (end, _) in text.char_indices() {
            survives(&text[..end]);
        }
    }
}

#[test]
fn the_examples_without_one_token_give_an_answer() {
    for (file, text) in EXAMPLES {
        let toks = tokenize(&Source::new(file, text), &variables).expect("the examples are well formed");
        for tok in &toks {
            survives(&format!("{}{}", &text[..tok.range.start], &text[tok.range.end..]));
        }
    }
}

#[test]
fn the_examples_with_one_token_twice_give_an_answer() {
    for (file, text) in EXAMPLES {
        let toks = tokenize(&Source::new(file, text), &variables).expect("the examples are well formed");
        for tok in &toks {
            let again = &text[tok.range.clone()];
            survives(&format!("{} {again} {}", &text[..tok.range.end], &text[tok.range.end..]));
        }
    }
}

#[test]
fn odd_characters_anywhere_give_an_answer() {
    let text = EXAMPLES[3].1;
    for odd in [
        "\0", "é", "𝄞", "\u{feff}", "'", "\"", "`", "/*", "--", "${", "}", "\\", "\r\n", "(", ")", ";", "<", ">>", "$",
        "@",
    ] {
        for (at, _) in text.char_indices().step_by(7) {
            survives(&format!("{}{odd}{}", &text[..at], &text[at..]));
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow() {
    let deep = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    for count in [40, 200, 5_000] {
        survives(&format!("{}{}INSERT INTO t SELECT {}, b FROM s;", source(), target(), deep("(", ")", count)));
        survives(&format!("CREATE TABLE x (a {}INT{});", "ARRAY<".repeat(count), ">".repeat(count)));
        survives(&format!("CREATE TABLE x (a AS {});", deep("CASE WHEN a THEN ", " END", count)));
        survives(&format!("INSERT INTO t {};", deep("(SELECT * FROM ", ")", count)));
        survives(&format!("INSERT INTO t SELECT {} FROM s;", "NOT ".repeat(count)));
        survives(&format!("{}{}INSERT INTO t SELECT {}a, b FROM s;", source(), target(), "a + ".repeat(count)));
        survives(&format!(
            "{}{}INSERT INTO t {}SELECT a, b FROM s;",
            source(),
            target(),
            "SELECT a, b FROM s UNION ALL ".repeat(count)
        ));
        survives(&format!("{}{}INSERT INTO t SELECT a{} b FROM s;", source(), target(), "[1]".repeat(count)));
    }
}

#[test]
fn quotes_and_comments_have_to_be_closed() {
    check("SET 'a' = 'b';\nSET 'c' = 'd", "OF0202", "a string is not closed");
    check_place("SET 'lanes' = '2", 1, "'");
    check("CREATE TABLE `t (a INT);", "OF0202", "a quoted name is not closed");
    check("CREATE TABLE \"t (a INT);", "OF0202", "write \" where");
    check("SET 'lanes' = '2'; /* what", "OF0202", "a comment is not closed");
    check_place("SET 'lanes' = '2';\n  /* what", 2, "/*");
    check(
        "CREATE TABLE t (a INT) WITH ('x = 'y',\n 'z' = 'u');\nSET 'lanes' = '1'",
        "OF0202",
        "the missing quote may be there",
    );
}

#[test]
fn a_missing_semicolon_is_named_where_it_is_missing() {
    let text = format!("{}{}INSERT INTO t SELECT a, b FROM s\nINSERT INTO t SELECT a, b FROM s;", source(), target());
    check(&text, "OF0203", "a semicolon is missing before INSERT in line 4");
    check("SET 'lanes' = '1'\nSET 'lanes' = '2';", "OF0203", "before SET");
    check("SET 'lanes' = '1'\nCREATE TABLE x (a INT);", "OF0203", "before CREATE");
    let errors = compiled(&text).map(|_| ()).expect_err("refused");
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].place().map(|place| (place.line, place.column)), Some((3, 33)));
}

#[test]
fn several_errors_come_at_once_in_the_order_of_the_text() {
    let text = "CREATE TABLE a (x TEXT);\nCREATE TABLE b (x INT,);\nDROP TABLE c;\nINSERT INTO d SELECT FROM;";
    let errors = compiled(text).map(|_| ()).expect_err("refused");
    let lines: Vec<u32> = errors.iter().filter_map(|error| error.place()).map(|place| place.line).collect();
    assert_eq!(lines, [1, 2, 3, 4]);
}

#[test]
fn places_count_characters_and_skip_a_byte_order_mark() {
    check_place("\u{feff}DROP TABLE x;".trim_start_matches('\u{feff}'), 1, "DROP");
    let errors = compiled("\u{feff}/* 𝄞é */ DROP TABLE x;").map(|_| ()).expect_err("refused");
    assert_eq!(errors[0].place().map(|place| (place.line, place.column, place.length)), Some((1, 10, 4)));
    let errors = compiled("SET 'lanes' = '1';\r\n\tDROP TABLE x;").map(|_| ()).expect_err("refused");
    assert_eq!(errors[0].place().map(|place| (place.line, place.column)), Some((2, 2)));
}
