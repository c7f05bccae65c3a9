//! Who is there: every owner holds a shared lock on a file beside the database, one file a pipeline.
//!
//! The operating system lets the lock go when the process ends, however it ends; a stopped process keeps it. Safety never
//! rests on it: it only tells a stand-by when to come in.
//!
//! The file goes with the last owner. Only who holds the lock alone may remove it, and a lock counts only while its file is
//! still the one at the path: so nobody's presence is on a file that others do not see.

use super::location::Location;
use crate::codes;
use crate::error::{Error, Result};
use onceflow_core::PipelineId;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often and how long `absent` looks.
const LOOKS: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The presence of an owner. Dropping it says goodbye.
#[derive(Debug)]
pub(super) struct Presence {
    pipeline: PipelineId,
    path: PathBuf,
    file: File,
}

impl Presence {
    /// Says that an owner of this pipeline is here. Waits while a stand-by takes its look.
    pub(super) fn enter(place: &Location, pipeline: PipelineId) -> Result<Self> {
        let path = path(place, pipeline);
        loop {
            let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = opened.map_err(|error| unusable(place, &error))?;
            file.lock_shared().map_err(|error| unusable(place, &error))?;
            // The last owner may have taken the file away between the two.
            if is_at(&file, &path) {
                return Ok(Self { pipeline, path, file });
            }
        }
    }

    /// The pipeline.
    pub(super) fn pipeline(&self) -> PipelineId {
        self.pipeline
    }

    /// Whether no other owner is here. Trying for the lock alone may cost the shared one, so that is taken anew.
    fn is_alone(&mut self, place: &Location) -> Result<bool> {
        let alone = tried(place, &self.file)?;
        self.file.lock_shared().map_err(|error| unusable(place, &error))?;
        if !is_at(&self.file, &self.path) {
            *self = Self::enter(place, self.pipeline)?;
        }
        Ok(alone)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.file.try_lock().is_ok() {
            remove(&self.file, &self.path);
        }
    }
}

/// Waits until no other owner of the pipeline is here, at most about a second.
pub(super) fn absent(place: &Location, own: Option<&mut Presence>, pipeline: PipelineId) -> Result<bool> {
    let mut own = own.filter(|own| own.pipeline == pipeline);
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::park_timeout(LOOK_EVERY);
        }
        let alone = match &mut own {
            Some(own) => own.is_alone(place)?,
            None => nobody(place, &path(place, pipeline))?,
        };
        if alone {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether no owner is here. A file without an owner is what a killed process left: it is removed.
fn nobody(place: &Location, path: &Path) -> Result<bool> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(unusable(place, &error)),
    };
    // A file that is no longer at the path says nothing of who is here; the next look takes the one that is.
    Ok(tried(place, &file)? && remove(&file, path))
}

/// Tries for the lock alone.
fn tried(place: &Location, file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(unusable(place, &error)),
    }
}

/// Removes a file that is locked alone, where it still is at the path; answers whether it is. A file that cannot be removed
/// is litter and nothing worse.
fn remove(file: &File, path: &Path) -> bool {
    let here = is_at(file, path);
    if here && let Err(error) = std::fs::remove_file(path) {
        tracing::debug!("the lock file {} stays: {error}", path.display());
    }
    here
}

/// Whether a path still names an open file.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |data: std::fs::Metadata| (data.dev(), data.ino());
    file.metadata().is_ok_and(|open| std::fs::metadata(path).is_ok_and(|there| id(there) == id(open)))
}

fn path(place: &Location, pipeline: PipelineId) -> PathBuf {
    place.beside(&format!("-onceflow.{pipeline}.lock"))
}

fn unusable(place: &Location, error: &std::io::Error) -> Error {
    let message = format!("cannot use a lock file beside the database {}: {error}", place.path().display());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Error::config(codes::OF0802, message).help("make the folder writable"),
        _ => Error::unavailable(codes::OF0806, message),
    }
}
