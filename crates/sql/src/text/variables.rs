//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `${file:path}` in strings. `$${` stands for `${` itself.

use super::Source;
use onceflow::Error;
use onceflow::codes::{OF0205, OF0206, OF0207};
use std::ops::Range;

/// Where variables come from.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep defaults may hold variables of their own.
const DEPTH_MAX: usize = 16;

/// The value of the string literal whose inner bytes are `inner`: doubled quotes become one, variables become values.
pub fn fill(source: &Source, inner: Range<usize>, variables: Variables<'_>) -> Result<String, Vec<Error>> {
    let mut filling = Filling { source, variables, errors: Vec::new() };
    let text = filling.text(inner, 0);
    if filling.errors.is_empty() { Ok(text) } else { Err(filling.errors) }
}

struct Filling<'a> {
    source: &'a Source,
    variables: Variables<'a>,
    errors: Vec<Error>,
}

impl Filling<'_> {
    fn text(&mut self, range: Range<usize>, depth: usize) -> String {
        let (mut out, mut at) = (String::new(), range.start);
        while at < range.end {
            let rest = &self.source.text[at..range.end];
            if rest.starts_with("$${") {
                out.push_str("${");
                at += 3;
            } else if rest.starts_with("''") {
                out.push('\'');
                at += 2;
            } else if rest.starts_with("${") {
                let length = closing(rest);
                match length {
                    Some(length) => out.push_str(&self.reference(at..at + length, depth)),
                    None => self.errors.push(self.unclosed(at..range.end)),
                }
                at += length.unwrap_or(rest.len());
            } else {
                let ch = rest.chars().next().expect("the range is not at its end");
                out.push(ch);
                at += ch.len_utf8();
            }
        }
        out
    }

    fn unclosed(&self, range: Range<usize>) -> Error {
        Error::config(OF0206, "a variable is not closed")
            .at(&self.source.place(range))
            .help("write } where it ends; $${ stands for the characters ${ themselves")
    }

    /// The value of `${…}`; an error is kept and the value is empty.
    fn reference(&mut self, range: Range<usize>, depth: usize) -> String {
        let inner = range.start + 2..range.end - 1;
        let text = &self.source.text[inner.clone()];
        if depth >= DEPTH_MAX {
            self.errors.push(self.malformed(range, format!("defaults stand in each other more than {DEPTH_MAX} deep")));
            return String::new();
        }
        if let Some(path) = text.strip_prefix("file:") {
            return self.file(range, path);
        }
        let name_length = text.find(|ch: char| !(ch.is_ascii_alphanumeric() || ch == '_')).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_length);
        if name.is_empty() || name.starts_with(|ch: char| ch.is_ascii_digit()) {
            self.errors
                .push(self.malformed(range, "a variable needs a name of letters, digits and underscores".into()));
            return String::new();
        }
        let value = (self.variables)(name);
        match (rest.get(..2), value) {
            (None, Some(value)) if rest.is_empty() => value,
            (None, None) if rest.is_empty() => self.undefined(range, name, None),
            (Some(":-" | ":?"), Some(value)) if !value.is_empty() => value,
            (Some(":-"), _) => self.text(inner.start + name_length + 2..inner.end, depth + 1),
            (Some(":?"), _) => {
                let message = self.source.text[inner.start + name_length + 2..inner.end].trim().replace("''", "'");
                self.undefined(range, name, Some(message))
            }
            _ => {
                let message = format!("`{rest}` cannot follow the name of a variable");
                self.errors.push(self.malformed(range, message));
                String::new()
            }
        }
    }

    fn malformed(&self, range: Range<usize>, message: String) -> Error {
        Error::config(OF0206, message)
            .at(&self.source.place(range))
            .help("write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:path}")
    }

    fn undefined(&mut self, range: Range<usize>, name: &str, message: Option<String>) -> String {
        let text = match message.filter(|message| !message.is_empty()) {
            Some(message) => format!("the variable {name} is not set: {message}"),
            None => format!("the variable {name} is not set"),
        };
        self.errors.push(Error::config(OF0205, text).at(&self.source.place(range)).help(format!(
            "export {name}=…, name a file of variables with -e FILE, or give a default: ${{{name}:-…}}"
        )));
        String::new()
    }

    fn file(&mut self, range: Range<usize>, path: &str) -> String {
        let path = path.replace("''", "'");
        match std::fs::read_to_string(&path) {
            Ok(mut text) => {
                text.truncate(text.trim_end_matches(['\n', '\r']).len());
                text
            }
            Err(error) => {
                self.errors.push(
                    Error::config(OF0207, format!("the file {path} cannot be read"))
                        .at(&self.source.place(range))
                        .note("a path that does not begin with / starts at the folder in which onceflow was started")
                        .caused_by(error),
                );
                String::new()
            }
        }
    }
}

/// The length of `${…}` at the beginning of a text, with variables inside of its default.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if at > 0 && text.as_bytes()[at - 1] == b'$' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && at > 0 {
            return Some(at + 1);
        }
    }
    None
}
