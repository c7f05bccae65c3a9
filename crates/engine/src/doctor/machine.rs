//! The machine that doctor runs on: file descriptors, disk space, its clock.

use super::check::{Check, ask};
use crate::mounts;
use std::path::Path;
use std::process::Command;

/// Fewer open files than this are soon too few for sources, sessions and files together.
const FILES_MIN: u64 = 1_024;
/// Less free space than this is filled by a few epochs.
const FREE_KIB_MIN: u64 = 1 << 20;

/// The limit of open files; nothing where the system does not tell.
pub(super) fn files() -> Option<Check> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    let soft = line.split_whitespace().nth(3)?;
    Some(files_of(soft.parse().unwrap_or(u64::MAX)))
}

fn files_of(limit: u64) -> Check {
    let ask = ask(6, "file-descriptors", "this machine", "grep 'Max open files' /proc/self/limits");
    let shown = if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    if limit >= FILES_MIN {
        return ask.ok(format!("{shown} open files are allowed"), "enough for connections, sources and the database");
    }
    ask.warning(
        format!("only {shown} open files are allowed"),
        "no record is lost, but the pipeline may stop with 'too many open files'",
        format!("ulimit -n {FILES_MIN}"),
        "every broker, session and file needs a descriptor",
    )
}

/// Free space where a path is; nothing where `df` does not tell.
pub(super) fn disk(path: &Path) -> Option<Check> {
    let folder = path.parent()?;
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    let free = printed.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(disk_of(&folder.display().to_string(), free))
}

fn disk_of(folder: &str, free_kib: u64) -> Check {
    let ask = ask(3, "disk-space", folder, format!("df -Pk '{folder}'"));
    let seen = format!("{} MiB are free", free_kib >> 10);
    if free_kib >= FREE_KIB_MIN {
        return ask.ok(seen, "a full disk stops a commit, and never half of it");
    }
    ask.warning(
        seen,
        "no record is lost: a commit that finds the disk full is rolled back as a whole, and the pipeline waits",
        format!("df -h '{folder}'"),
        "with room for the write-ahead log the next commit goes through",
    )
}

/// File systems that keep nothing when the machine goes down.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];
/// On what kind of file system a database is, and whether it can be synced; nothing where the system does not tell.
pub(super) fn durable(path: &Path) -> Option<Check> {
    let folder = path.parent()?.canonicalize().ok()?;
    let kind = mounts::file_system(&folder)?;
    // Syncing what is there changes nothing.
    let began = std::time::Instant::now();
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    Some(durable_of(&path.display().to_string(), &kind, synced.map(|()| began.elapsed().as_millis())))
}

fn durable_of(path: &str, kind: &str, synced: std::io::Result<u128>) -> Check {
    let ask = ask(3, "disk-durable", path, "/proc/self/mounts; fsync of the file as it is");
    let millis = match synced {
        Ok(millis) => millis,
        Err(error) => {
            return ask.broken(
                format!("fsync fails on {kind}: {error}"),
                "yes: a commit is reported that the disk does not have",
                "move the file to a local disk that can be synced",
                "a commit is durable once the disk has confirmed it",
            );
        }
    };
    let seen = format!("{kind}, an fsync took {millis} ms");
    if VOLATILE.contains(&kind) {
        let (can, fix) = (
            "no record is repeated, but a restart of the machine loses rows and ledger together",
            "move the file to a disk",
        );
        return ask.warning(seen, can, fix, "what is on a disk is there after a restart");
    }
    ask.ok(seen, "a commit is on the disk before it is reported, as far as the disk tells the truth")
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn few_descriptors_are_a_warning() {
        assert_eq!(files_of(64).status, Status::Warning);
        assert_eq!(files_of(u64::MAX).status, Status::Ok);
    }

    #[test]
    fn memory_is_a_warning_and_no_sync_is_a_fault() {
        for (kind, status) in [("ext4", Status::Ok), ("tmpfs", Status::Warning)] {
            assert_eq!(durable_of("f", kind, Ok(1)).status, status, "{kind}");
        }
        assert_eq!(durable_of("f", "ext4", Err(std::io::Error::other("I/O error"))).status, Status::Broken);
    }

    #[test]
    fn a_nearly_full_disk_is_a_warning() {
        assert_eq!(disk_of("/", 10).status, Status::Warning);
        assert_eq!(disk_of("/", FREE_KIB_MIN).status, Status::Ok);
    }
}
