//! Who is there: every owner holds a shared lock on a file beside the database, one file a pipeline.
//!
//! The operating system lets the lock go when the process ends, however it ends; a stopped process keeps it. Safety never
//! rests on it: it only tells a stand-by when to come in.

use super::location::Location;
use crate::codes;
use crate::error::{Error, Result};
use onceflow_core::PipelineId;
use std::fs::{File, OpenOptions, TryLockError};
use std::time::Duration;

/// How often and how long `absent` looks.
const LOOKS: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The presence of an owner. Dropping it says goodbye.
#[derive(Debug)]
pub(super) struct Presence {
    pipeline: PipelineId,
    file: File,
}

impl Presence {
    /// Says that an owner of this pipeline is here. Waits while a stand-by takes its look.
    pub(super) fn enter(place: &Location, pipeline: PipelineId) -> Result<Self> {
        let file = open(place, pipeline)?;
        file.lock_shared().map_err(|error| unusable(place, &error))?;
        Ok(Self { pipeline, file })
    }

    /// The pipeline.
    pub(super) fn pipeline(&self) -> PipelineId {
        self.pipeline
    }
}

/// Waits until no other owner of the pipeline is here, at most about a second.
pub(super) fn absent(place: &Location, own: Option<&Presence>, pipeline: PipelineId) -> Result<bool> {
    let own = own.filter(|own| own.pipeline == pipeline);
    let other = if own.is_none() { Some(open(place, pipeline)?) } else { None };
    let Some(file) = own.map(|own| &own.file).or(other.as_ref()) else { return Ok(true) };
    for look in 0..LOOKS {
        match file.try_lock() {
            Ok(()) => return leave(place, file, own.is_some()),
            Err(TryLockError::WouldBlock) if look + 1 < LOOKS => std::thread::park_timeout(LOOK_EVERY),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(unusable(place, &error)),
        }
    }
    if own.is_some() {
        // Trying for the exclusive lock may have cost the shared one.
        file.lock_shared().map_err(|error| unusable(place, &error))?;
    }
    Ok(false)
}

fn leave(place: &Location, file: &File, stay: bool) -> Result<bool> {
    let left = if stay { file.lock_shared() } else { file.unlock() };
    left.map(|()| true).map_err(|error| unusable(place, &error))
}

fn open(place: &Location, pipeline: PipelineId) -> Result<File> {
    let path = place.beside(&format!("-onceflow.{pipeline}.lock"));
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(|error| unusable(place, &error))
}

fn unusable(place: &Location, error: &std::io::Error) -> Error {
    let message = format!("cannot use a lock file beside the database {}: {error}", place.path().display());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Error::config(codes::OF0802, message).help("make the folder writable"),
        _ => Error::unavailable(codes::OF0806, message),
    }
}
