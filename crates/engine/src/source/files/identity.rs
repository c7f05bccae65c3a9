//! What makes a file the same file as before: its inode and the first bytes that it had when it was first seen.
//!
//! A file that grows keeps its identity, because the fingerprint covers only as many bytes as there were at first (at most
//! [`HEAD_BYTES_MAX`]) and their number is part of it. A renamed file keeps it as well. A file that was rewritten has another beginning. A whole
//! copy in the place of the original (a restored backup) is taken for the original where enough bytes agree: the last record that was consumed is
//! compared on top of it.

use super::stream::io_error;
use crate::error::Result;
use onceflow_core::{Fingerprint, SourceIdentity};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

/// The most bytes that a fingerprint covers.
const HEAD_BYTES_MAX: usize = 4096;

/// So many equal bytes at the beginning make a file the same one even under another inode.
const HEAD_BYTES_ENOUGH: usize = 64;

/// The identity of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileId {
    inode: u64,
    head_bytes: usize,
    head: Fingerprint,
}

impl FileId {
    /// The identity of an open file, as it is at first sight.
    pub(super) fn of(file: &File, path: &str) -> Result<Self> {
        let inode = file.metadata().map_err(|error| io_error("read", path, error))?.ino();
        let (head_bytes, head) = head(file, path, HEAD_BYTES_MAX)?;
        Ok(Self { inode, head_bytes, head })
    }

    /// Whether an open file is this one.
    pub(super) fn matches(&self, file: &File, path: &str) -> Result<bool> {
        let inode = file.metadata().map_err(|error| io_error("read", path, error))?.ino();
        let same_inode = inode == self.inode;
        Ok((same_inode || self.head_bytes >= HEAD_BYTES_ENOUGH) && self.head_matches(file, path)?)
    }

    /// Whether an open file begins as this one did.
    pub(super) fn head_matches(&self, file: &File, path: &str) -> Result<bool> {
        Ok(head(file, path, self.head_bytes)? == (self.head_bytes, self.head))
    }

    /// Whether another file begins like this one and is not this one, with enough bytes to say so.
    pub(super) fn is_copied_in(&self, file: &File, path: &str) -> Result<bool> {
        let inode = file.metadata().map_err(|error| io_error("read", path, error))?.ino();
        Ok(self.head_bytes >= HEAD_BYTES_ENOUGH && inode != self.inode && self.head_matches(file, path)?)
    }

    /// Whether as many bytes as possible are known of the beginning.
    pub(super) fn is_full(&self) -> bool {
        self.head_bytes == HEAD_BYTES_MAX
    }

    /// The identity as the ledger keeps it.
    pub(super) fn to_source(self) -> SourceIdentity {
        SourceIdentity::new("file", format!("inode:{}:head:{}:{}", self.inode, self.head_bytes, self.head))
    }

    /// The identity that the ledger kept; `None` where it is none of a file.
    pub(super) fn from_source(identity: &SourceIdentity) -> Option<Self> {
        if &*identity.cluster_id != "file" {
            return None;
        }
        let rest = identity.topic_id.strip_prefix("inode:")?;
        let (inode, rest) = rest.split_once(":head:")?;
        let (bytes, head) = rest.split_once(':')?;
        Some(Self { inode: inode.parse().ok()?, head_bytes: bytes.parse().ok()?, head: Fingerprint::parse(head)? })
    }
}

/// The fingerprint of the first bytes of a file, and how many there are of at most `limit`.
fn head(file: &File, path: &str, limit: usize) -> Result<(usize, Fingerprint)> {
    let mut bytes = vec![0; limit.min(HEAD_BYTES_MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error("read", path, error)),
        }
    }
    Ok((filled, Fingerprint::of_record(0, None, None, Some(&bytes[..filled]))))
}
