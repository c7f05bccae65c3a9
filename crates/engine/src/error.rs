//! The one public error: a code, a kind, a message, and what to do.
//!
//! Expected outcomes are enums elsewhere; an [`Error`] is a failure that a person reads. A [`Kind`] exists only where an
//! operator would do something different.

use crate::codes::Code;
use std::fmt;
use std::sync::Arc;

/// The result of whatever can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the operator would do about an error. Decides the exit code and whether the engine tries again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The pipeline's text, an option or a declaration is wrong: mend it. Exit code 2.
    Config,
    /// A record or the data stopped the pipeline as configured: look at it. Exit code 1.
    Data,
    /// A source or a home is not the one it was: an operator decides. Exit code 1.
    Identity,
    /// A system does not answer or cannot work now: try again later. Exit code 3 once `--retry-for` is over.
    Unavailable,
    /// Another instance owns the shards. Exit code 4; do not restart blindly.
    Fenced,
    /// Our fault. Exit code 101.
    Internal,
}

impl Kind {
    /// The exit code of a process that ends with this kind of error.
    pub fn exit_code(self) -> i32 {
        match self {
            Kind::Data | Kind::Identity => 1,
            Kind::Config => 2,
            Kind::Unavailable => 3,
            Kind::Fenced => 4,
            Kind::Internal => 101,
        }
    }
}

/// A place in a pipeline's text. Lines and columns count from 1, columns and length in characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// How many characters to underline; at least 1.
    pub length: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A failure, as a person reads it: what, where, why, and the command or text that mends it.
pub struct Error(Box<Parts>);

struct Parts {
    code: Code,
    kind: Kind,
    message: String,
    place: Option<Place>,
    label: Option<String>,
    notes: Vec<String>,
    helps: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error. `message` is lower case, names the thing and the value, and has no full stop.
    pub fn new(kind: Kind, code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            kind,
            message: message.into(),
            place: None,
            label: None,
            notes: Vec::new(),
            helps: Vec::new(),
            source: None,
        }))
    }

    /// An error of kind [`Kind::Config`].
    pub fn config(code: Code, message: impl Into<String>) -> Self {
        Self::new(Kind::Config, code, message)
    }

    /// An error of kind [`Kind::Unavailable`], which the engine tries again.
    pub fn unavailable(code: Code, message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, code, message)
    }

    /// An error of kind [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, crate::codes::OF0001, message)
    }

    /// Adds the place in the text; the first one given stays.
    pub fn at(mut self, place: &Place) -> Self {
        self.0.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Adds the words under the underlined text.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.0.label = Some(label.into());
        self
    }

    /// Adds a note: why it is so.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(note.into());
        self
    }

    /// Adds help: the exact command, SQL or text that mends it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.helps.push(help.into());
        self
    }

    /// Adds the error that caused this one.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The code, for `onceflow explain`.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What an operator would do.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened, in one line.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in the pipeline's text.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The words under the underlined text.
    pub fn label_text(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// Why it is so.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// What mends it.
    pub fn helps(&self) -> &[String] {
        &self.0.helps
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !self.0.message.contains(&text) {
                write!(f, ": {text}")?;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{:?}] {self}", self.0.code, self.0.kind)?;
        if let Some(place) = &self.0.place {
            write!(f, " at {place}")?;
        }
        self.0.notes.iter().try_for_each(|note| write!(f, "\n  note: {note}"))?;
        self.0.helps.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|error| error as &(dyn std::error::Error + 'static))
    }
}

/// Any error with its causes in one line, each where it is not said already.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = next.source();
    }
    said
}

impl From<onceflow_core::Violation> for Error {
    fn from(violation: onceflow_core::Violation) -> Self {
        Self::internal(format!("an invariant of the protocol does not hold: {violation}"))
            .note("the transaction was not committed; the process stops rather than guess")
    }
}
