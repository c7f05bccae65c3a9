//! Which file system a folder is on, as Linux tells.

use std::path::Path;

/// The type of a folder's file system, such as `ext4`; `None` where the system does not tell.
pub(crate) fn file_system(folder: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    among(&mounts, folder).map(str::to_owned)
}

/// That of the longest mount point that holds it.
fn among<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?.replace("\\040", " ");
        let kind = words.next()?;
        folder.starts_with(&point).then_some((point.len(), kind))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_says_which_file_system_it_is() {
        let mounts =
            "/dev/sda / ext4 rw 0 0\nserver:/x /my\\040data nfs4 rw 0 0\ntmpfs /my\\040data/fast tmpfs rw 0 0\n";
        for (folder, kind) in
            [("/home", "ext4"), ("/my data/a", "nfs4"), ("/my data/fast/x", "tmpfs"), ("/my database", "ext4")]
        {
            assert_eq!(among(mounts, Path::new(folder)), Some(kind), "{folder}");
        }
    }
}
