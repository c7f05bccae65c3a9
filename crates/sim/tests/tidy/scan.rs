//! Just enough of Rust's grammar to measure it: comments, strings and braces.

/// A function: its name and how many lines it has, from `fn` to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub lines: usize,
}

/// The text with comments and the contents of string and character literals replaced by spaces. Lines stay lines.
pub fn plain(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal ends that begins at this place; the place itself where none begins.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match (chars[at], next) {
        ('/', Some('/')) => find(chars, at, |c| c == '\n'),
        ('/', Some('*')) => block_comment_end(chars, at),
        ('"', _) => string_end(chars, at + 1),
        ('r', Some('"' | '#')) if !follows_name(chars, at) => raw_string_end(chars, at),
        ('\'', Some('\\')) => find(chars, at + 3, |c| c == '\'') + 1,
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn follows_name(chars: &[char], at: usize) -> bool {
    // `br"…"` is a raw string as well.
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b'
}

fn find(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|at| stop(chars[*at])).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let open = find(chars, at + 1, |c| c != '#');
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let hashes = open - at - 1;
    let closes = |quote: &usize| chars[*quote] == '"' && (1..=hashes).all(|n| chars.get(quote + n) == Some(&'#'));
    (open + 1..chars.len()).find(closes).map_or(chars.len(), |quote| quote + hashes + 1)
}

/// The functions with a body in plain text.
pub fn functions(plain: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(start) = plain[rest..].find("fn ").map(|at| at + rest) {
        rest = start + 3;
        let begins = plain[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let name: String = plain[rest..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if begins && !name.is_empty() {
            found.extend(body(plain, rest).map(|end| Function { name, lines: plain[start..=end].lines().count() }));
        }
    }
    found
}

/// The closing brace of the body that follows, none where a semicolon comes first.
fn body(plain: &str, from: usize) -> Option<usize> {
    let (mut depth, mut round) = (0_i32, 0_i32);
    for (at, c) in plain[from..].char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            ';' if depth == 0 && round == 0 => return None,
            '{' => depth += 1,
            '}' if depth == 1 => return Some(from + at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Plain text with what follows `#[cfg(test)]` blanked.
pub fn without_tests(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    let mut rest = plain;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        let end = body(after, 0).unwrap_or_else(|| after.find(';').unwrap_or(after.len() - 1));
        out.push_str(before);
        out.extend(after[..=end].chars().filter(|c| *c == '\n'));
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod checks {
    use super::{functions, plain, without_tests};

    #[test]
    fn literals_and_comments_are_blanked() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("f(\"x { \\\" }\")", "f(          )"),
            ("r#\"a\" { \"#;", "          ;"),
            ("'{' 'a '\\n' '\\''", "    'a          "),
            ("var\"x\"", "var   "),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn functions_are_measured() {
        let text = "fn a() {}\ntrait T { fn b(x: [u8; 2]); fn c() -> u8 {\n  1\n} }\nlet f: fn (u8);";
        let found: Vec<(String, usize)> = functions(text).into_iter().map(|found| (found.name, found.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 1), ("c".to_owned(), 3)]);
    }

    #[test]
    fn test_modules_are_left_out() {
        let text = "a\n#[cfg(test)]\nmod tests {\n x { }\n}\nb\n#[cfg(test)]\nmod more;\nc";
        assert_eq!(without_tests(text), "a\n\n\n\n\nb\n\n\nc");
    }
}
