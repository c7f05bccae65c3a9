//! Which files there are: of a path, a folder (with its folders) or a pattern, in order of their paths.

use super::stream::io_error;
use crate::codes;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders deeper than this are an accident.
const FOLDER_DEPTH_MAX: usize = 64;

/// A file that exists.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its path as found.
    pub(super) path: PathBuf,
    /// The path as text.
    pub(super) text: String,
    /// Its inode.
    pub(super) inode: u64,
    /// When the inode was made, in nanoseconds since 1970; 0 where the file system does not say.
    pub(super) born: u128,
}

/// All regular files of a path, in order of their paths. An empty answer is no error here.
pub(super) fn list(path: &str) -> Result<Vec<Listed>> {
    let plain = path.strip_prefix("file://").unwrap_or(path);
    let mut found = BTreeMap::new();
    let root = Path::new(plain);
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {
            folder(root, &metadata, &mut BTreeSet::new(), &mut found, 0)?;
        }
        Ok(metadata) => add(root.to_owned(), &metadata, &mut found)?,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_error("read", plain, error)),
        Err(_) => pattern(plain, &mut found)?,
    }
    Ok(found.into_values().collect())
}

fn pattern(text: &str, found: &mut BTreeMap<String, Listed>) -> Result<()> {
    if !text.contains(['*', '?', '[']) {
        return Ok(());
    }
    let paths = glob::glob(text).map_err(|error| {
        Error::config(codes::OF0504, format!("path '{text}' is not a valid pattern")).caused_by(error)
    })?;
    for path in paths {
        let path = path.map_err(|error| {
            let text = error.path().display().to_string();
            io_error("read", &text, error.into())
        })?;
        if is_hidden(&path) {
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => add(path, &metadata, found)?,
            // A folder, a pipe, or gone since.
            _ => {}
        }
    }
    Ok(())
}

fn folder(
    path: &Path,
    metadata: &Metadata,
    seen: &mut BTreeSet<(u64, u64)>,
    found: &mut BTreeMap<String, Listed>,
    depth: usize,
) -> Result<()> {
    // Links may lead back to where we are.
    if depth > FOLDER_DEPTH_MAX || !seen.insert((metadata.dev(), metadata.ino())) {
        return Ok(());
    }
    let failed = |error| io_error("list", &path.display().to_string(), error);
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_hidden(&path) {
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => folder(&path, &metadata, seen, found, depth + 1)?,
            Ok(metadata) if metadata.is_file() => add(path, &metadata, found)?,
            // A pipe, a link to nowhere, or gone since.
            _ => {}
        }
    }
    Ok(())
}

/// As Flink and Hadoop: names that begin with `.` or `_` are not data.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with(['.', '_']))
}

fn add(path: PathBuf, metadata: &Metadata, found: &mut BTreeMap<String, Listed>) -> Result<()> {
    let Some(text) = path.to_str().map(str::to_owned) else {
        return Err(Error::config(codes::OF0507, format!("the path {} is not valid UTF-8", path.display())));
    };
    if !metadata.is_file() {
        return Err(Error::config(codes::OF0501, format!("{text} is no regular file")));
    }
    let born = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let born = born.map_or(0, |at| at.as_nanos());
    found.insert(text.clone(), Listed { path, text, inode: metadata.ino(), born });
    Ok(())
}
