//! Errors of the file system: which mean that no file is there, and what denies permission.

use std::io;
use std::path::Path;

use rustix::fs::stat;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

/// Whether an error means that no file is there. That includes names that no file can have, and sockets and devices
/// that cannot be opened.
pub(crate) fn is_not_found(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NOENT
                | Errno::NOTDIR
                | Errno::NAMETOOLONG
                | Errno::LOOP
                | Errno::INVAL
                | Errno::NXIO
                | Errno::NODEV,
        )
    )
}

/// Adds to a permission error of open(2) the directory that denies access, and the user that is denied.
pub(super) fn with_permissions(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    // The deepest directory that can be inspected is the one that denies access: with permission to search it, its
    // entries could be inspected as well.
    let stat_dir = |dir| Some((dir, stat(dir).ok()?));
    let Some((dir, stat)) = path.ancestors().find_map(stat_dir) else {
        return error;
    };
    let why = format!(
        "{error}: {} is of uid {}, gid {}, mode {:04o}, and this is uid {}, gid {}",
        dir.display(),
        stat.st_uid,
        stat.st_gid,
        stat.st_mode & 0o7777,
        geteuid().as_raw(),
        getegid().as_raw(),
    );
    io::Error::new(error.kind(), why)
}
