//! What inotify reports: the file systems of which it reports every change, and the list of mounts, which it does not.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// File systems on which every change goes through this kernel, by their magic numbers (statfs(2)): ext2 to ext4, XFS,
/// btrfs, tmpfs. The tests of changes run on each of them (`.ci/file-systems`); F2FS and bcachefs may belong here, but
/// could not be tested.
const LOCAL_FILE_SYSTEMS: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// Returns whether inotify reports every change on a file system of this type (statfs(2)).
pub(crate) fn reports_all_changes(file_system: i64) -> bool {
    LOCAL_FILE_SYSTEMS.contains(&file_system)
}

/// Opens the list of mounts, which inotify does not report; poll(2) reports their changes (proc_pid_mountinfo(5)).
pub(crate) fn open_mountinfo() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?)
}
