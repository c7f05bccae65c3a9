//! The bytes of a file, decompressed where its suffix says so, with the position in them.

use crate::codes;
use crate::error::{Error, Kind, Result};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    /// Not at all.
    None,
    /// `.gz`, of one or several members.
    Gzip,
    /// `.zst`, of one or several frames.
    Zstd,
}

impl Compression {
    /// As the suffix says.
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(|suffix| suffix.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("gz" | "gzip") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// An open file.
pub(super) struct Stream {
    inner: Inner,
    /// The file itself, for its size.
    file: File,
    path: String,
    /// The position in the decompressed bytes.
    at: u64,
    following: bool,
}

enum Inner {
    Plain(File),
    Gzip(Box<flate2::read::MultiGzDecoder<std::io::BufReader<File>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, std::io::BufReader<File>>>),
}

/// How many bytes one read asks for.
pub(super) const READ_BYTES: usize = 256 << 10;

impl Stream {
    /// Opens a file at its beginning.
    pub(super) fn open(path: &Path, following: bool) -> Result<Self> {
        let text = path.display().to_string();
        let failed = |error| io_error("open", &text, error);
        let file = File::open(path).map_err(failed)?;
        let other = file.try_clone().map_err(failed)?;
        // An empty file is no archive and holds nothing.
        let empty = file.metadata().map_err(failed)?.len() == 0;
        let inner = match Compression::of(path) {
            Compression::Gzip if !empty => Inner::Gzip(Box::new(flate2::read::MultiGzDecoder::new(
                std::io::BufReader::with_capacity(64 << 10, other),
            ))),
            Compression::Zstd if !empty => {
                let buffered = std::io::BufReader::with_capacity(64 << 10, other);
                Inner::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(buffered).map_err(failed)?))
            }
            _ => Inner::Plain(other),
        };
        Ok(Self { inner, file, path: text, at: 0, following })
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether positions are bytes of the file itself.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.inner, Inner::Plain(_))
    }

    /// Reads some bytes behind those in `buffer`; 0 at the end.
    pub(super) fn read_more(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
        let before = buffer.len();
        buffer.resize(before + READ_BYTES, 0);
        let read = loop {
            let read = match &mut self.inner {
                Inner::Plain(file) => file.read(&mut buffer[before..]),
                Inner::Gzip(gzip) => gzip.read(&mut buffer[before..]),
                Inner::Zstd(zstd) => zstd.read(&mut buffer[before..]),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        buffer.truncate(before + read.as_ref().map_or(0, |read| *read));
        let read = read.map_err(|error| self.explain(error))?;
        self.at += read as u64;
        Ok(read)
    }

    /// Goes to a position at or after the current one, counting line breaks on the way where asked to. Returns them, and the position that
    /// was reached: a smaller one where the stream ends before.
    pub(super) fn skip_to(&mut self, position: u64, count_lines: bool) -> Result<(u64, u64)> {
        if let (Inner::Plain(file), false) = (&mut self.inner, count_lines) {
            file.seek(SeekFrom::Start(position)).map_err(|error| io_error("seek in", &self.path, error))?;
            self.at = position;
            return Ok((0, position));
        }
        let mut lines = 0;
        let mut chunk = vec![0; READ_BYTES];
        while self.at < position {
            let wanted = usize::try_from(position - self.at).unwrap_or(usize::MAX).min(READ_BYTES);
            let read = match &mut self.inner {
                Inner::Plain(file) => file.read(&mut chunk[..wanted]),
                Inner::Gzip(gzip) => gzip.read(&mut chunk[..wanted]),
                Inner::Zstd(zstd) => zstd.read(&mut chunk[..wanted]),
            };
            match read {
                Ok(0) => break,
                Ok(read) => {
                    lines += memchr::memchr_iter(b'\n', &chunk[..read]).count() as u64;
                    self.at += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok((lines, self.at))
    }

    /// The position where the stream ends now.
    pub(super) fn length(mut self) -> Result<u64> {
        if self.is_plain() {
            return Ok(self.file.metadata().map_err(|error| io_error("read", &self.path, error))?.len());
        }
        self.skip_to(u64::MAX, true).map(|(_, end)| end)
    }

    fn explain(&self, error: std::io::Error) -> Error {
        if self.is_plain() {
            return io_error("read", &self.path, error);
        }
        let early = error.kind() == ErrorKind::UnexpectedEof;
        let what = if early { "ends before it is complete" } else { "is damaged" };
        let message =
            format!("the compressed file {} {what}, after byte {} of its decompressed content", self.path, self.at);
        // Somebody may still be writing it.
        let kind = if early && self.following { Kind::Unavailable } else { Kind::Data };
        Error::new(kind, codes::OF0503, message)
            .caused_by(error)
            .help("replace it by the whole file; what was read of it stays committed")
    }
}

/// An error of the operating system about a path.
pub(super) fn io_error(verb: &str, path: &str, error: std::io::Error) -> Error {
    let message = format!("cannot {verb} {path}");
    let kind = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotFound | ErrorKind::IsADirectory => Kind::Config,
        _ => Kind::Unavailable,
    };
    Error::new(kind, codes::OF0502, message).caused_by(error)
}
