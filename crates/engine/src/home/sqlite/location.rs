//! Where the database file is: URLs, and what can be said of a path before SQLite opens it.

use super::fault;
use crate::codes;
use crate::error::{Error, Result};
use crate::mounts;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long SQLite waits for a lock before it says that the database is busy.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// File systems whose locks are another machine's promise, as Linux names them.
const NETWORK_FILE_SYSTEMS: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ncpfs",
    "9p",
    "ceph",
    "fuse.ceph",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.gcsfuse",
    "lustre",
    "davfs",
    "fuse.davfs",
];

/// A database file, named by an absolute path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Location {
    path: PathBuf,
}

/// Which file a path names just now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// Every commit reaches the disk, and foreign keys count. The log is copied into the database at 64 MiB instead of 4, and 16 MiB
/// of pages stay in memory instead of 2: a large epoch then writes its pages once (docs/notes/0012).
const SETTINGS: &str = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 16384;
    PRAGMA cache_size = -16384; SELECT count(*) FROM sqlite_schema;";

impl Location {
    /// Reads `sqlite:path` or `jdbc:sqlite:path`. Looks at no file but to resolve the folder.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("jdbc:").unwrap_or(url);
        let Some(path) = rest.strip_prefix("sqlite:") else {
            return Err(refused(url, "it does not begin with `sqlite:`"));
        };
        if let Some(why) = unusable(path) {
            return Err(refused(url, why));
        }
        let absolute = std::path::absolute(path)
            .map_err(|error| refused(url, "its path cannot be made absolute").caused_by(error))?;
        Ok(Self { path: resolved(&absolute) })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path for people.
    pub(super) fn describe(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// A file beside the database, named after it.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// Whether the file is there.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Which file the path names now.
    pub(super) fn file_id(&self) -> Option<FileId> {
        use std::os::unix::fs::MetadataExt as _;
        let data = std::fs::metadata(&self.path).ok()?;
        Some(FileId { device: data.dev(), inode: data.ino() })
    }

    /// Refuses a path that SQLite could not use, in better words than its own.
    pub(super) fn check(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let shown = folder.display();
        match std::fs::metadata(folder) {
            Ok(data) if data.is_dir() => {}
            Ok(_) => return Err(self.cannot_open(&format!("{shown} is not a folder"))),
            Err(error) => {
                let error = self.cannot_open(&format!("its folder {shown} is not there or not readable: {error}"));
                return Err(error.help(format!("mkdir -p '{shown}'")));
            }
        }
        if self.path.is_dir() {
            return Err(self.cannot_open("it is a folder, not a file"));
        }
        self.check_permission()?;
        self.check_file_system(folder)
    }

    fn check_permission(&self) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        let Err(error) = may_read_and_write(&self.path) else { return Ok(()) };
        let shown = self.path.display();
        Err(match error.kind() {
            std::io::ErrorKind::PermissionDenied => self
                .cannot_open(&error.to_string())
                .help(format!("chmod u+rw '{shown}', as the user that Onceflow runs as")),
            std::io::ErrorKind::ReadOnlyFilesystem => {
                Error::unavailable(codes::OF0804, format!("the database {shown} is on a read-only file system"))
            }
            _ => Error::unavailable(codes::OF0806, format!("cannot open the database {shown}: {error}")),
        })
    }

    fn check_file_system(&self, folder: &Path) -> Result<()> {
        match mounts::file_system(folder) {
            Some(kind) if NETWORK_FILE_SYSTEMS.contains(&kind.as_str()) => {
                let shown = self.path.display();
                let message = format!("the database {shown} is on a network file system ({kind})");
                Err(Error::config(codes::OF0809, message)
                    .note("file locks do not hold there, and everything rests on them")
                    .help("put the file on a local disk"))
            }
            _ => Ok(()),
        }
    }

    fn cannot_open(&self, why: &str) -> Error {
        Error::config(codes::OF0802, format!("cannot open the database {}: {why}", self.path.display()))
    }

    /// Opens the file and sets what holds for this connection only. A missing file is made only with `create`: a ledger that
    /// was there a moment ago must not become an empty one.
    pub(super) fn connect(&self, create: bool) -> Result<Connection> {
        self.check()?;
        if !create && !self.exists() {
            let message = format!("the database {} is not there", self.path.display());
            return Err(Error::unavailable(codes::OF0810, message).help("restore the file, or start the pipeline anew"));
        }
        let mut flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        let doing = "open";
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|error| fault::error(self, doing, error))?;
        connection.busy_timeout(BUSY_WAIT).map_err(|error| fault::error(self, doing, error))?;
        connection.execute_batch(SETTINGS).map_err(|error| fault::error(self, doing, error))?;
        Ok(connection)
    }

    /// Puts the database into write-ahead mode, which stays with the file.
    pub(super) fn use_wal(&self, connection: &Connection) -> Result<()> {
        let mode: String = connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(|error| fault::error(self, "use write-ahead logging in", error))?;
        if mode.eq_ignore_ascii_case("wal") {
            return Ok(());
        }
        Err(self.cannot_open(&format!("it stays in journal mode '{mode}' where write-ahead logging is needed")))
    }
}

/// Asks the operating system, and opens nothing: POSIX takes all of a process's locks on a file away when any of its handles
/// is closed, and SQLite's own go with them. The next one to look at the database would then delete the write-ahead log that
/// other lanes of this process go on committing to.
#[allow(unsafe_code)]
fn may_read_and_write(path: &Path) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that lives through the call, which keeps nothing of it.
    let answer = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::R_OK | libc::W_OK, libc::AT_EACCESS) };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn refused(url: &str, why: &str) -> Error {
    Error::config(codes::OF0801, format!("'{url}' cannot be a home: {why}"))
        .help("'url' = 'sqlite:orders.db' or 'jdbc:sqlite:/var/lib/orders.db'")
}

fn unusable(path: &str) -> Option<&'static str> {
    match path {
        "" => Some("it names no file; SQLite would use a temporary one that is gone with the process"),
        _ if path.contains(":memory:") => {
            Some("a database in memory is gone with the process, its ledger too, so nothing could be exactly once")
        }
        _ if path.starts_with("file:") => Some("`file:` URIs are not taken; give the path alone"),
        _ if path.starts_with("//") => {
            Some("SQLite has no hosts; give the path alone, with one slash where it is absolute")
        }
        _ if path.contains('?') => {
            Some("parameters after `?` are not taken; Onceflow sets what the database needs by itself")
        }
        _ if path.contains('\0') => Some("it has a NUL character"),
        _ => None,
    }
}

/// The path with its folder's links resolved, so that two spellings are one home; as it is where the folder is missing.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    folder.canonicalize().map_or_else(|_| path.to_owned(), |folder| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files_and_nothing_else() {
        for (url, expected) in [
            ("sqlite:orders.db", Ok("orders.db")),
            ("jdbc:sqlite:orders.db", Ok("orders.db")),
            ("sqlite:/tmp/orders.db", Ok("/tmp/orders.db")),
            ("sqlite::memory:", Err("in memory")),
            ("jdbc:sqlite::memory:", Err("in memory")),
            ("sqlite:", Err("names no file")),
            ("sqlite:file:x?mode=memory", Err("URIs")),
            ("sqlite:///x", Err("no hosts")),
            ("sqlite:x.db?cache=shared", Err("parameters")),
            ("postgresql://x", Err("does not begin")),
        ] {
            match (Location::parse(url), expected) {
                (Ok(location), Ok(path)) => assert!(location.path().ends_with(path), "{url}: {location:?}"),
                (Err(error), Err(why)) => assert!(error.message().contains(why), "{url}: {error}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_database_is_refused_in_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        std::fs::write(folder.path().join("text.db"), "x".repeat(5000)).expect("a file");
        std::fs::create_dir(folder.path().join("dir.db")).expect("a folder");
        for (name, code) in [
            ("text.db", codes::OF0807),
            ("dir.db", codes::OF0802),
            ("none/x.db", codes::OF0802),
            ("text.db/x.db", codes::OF0802),
        ] {
            let error = Location::parse(&url(name)).and_then(|location| location.connect(true)).expect_err(name);
            assert_eq!(error.code(), code, "{name}: {error}");
        }
    }
}
