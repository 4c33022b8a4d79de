//! Writing of sidecars (`app.js.br` beside `app.js`) for `docroot compress`.
//!
//! This is the only code that changes the served file system. It follows no symbolic link, so that it cannot leave the
//! root. A sidecar appears under its name complete or not at all: it is written under a temporary name, which begins
//! with a dot so that it is not served, and renamed. There is no fsync(2), as that would take longer than the encoding.
//! After a power failure some sidecars may be empty, at worst, as file systems write a file's length after its content;
//! the next run writes them again.

use std::fs::{File, FileTimes, Permissions};
use std::io::{self, BufWriter, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::encoder::{Effort, LimitedWriter, Recipient, encode, is_encoded};
use super::header::header_fault;
use super::sidecars::SIDECAR_CODINGS;
use crate::blob::{Blob, FileVersion, TIMESTAMP_TICK};
use crate::files::dir::file_type;
use crate::files::entry::{join_path, regular_file_version};
use crate::files::root::{Root, Symlinks};
use crate::http::Coding;
use crate::path::split_path;
use crate::site::names::hidden::is_hidden;
use crate::site::names::media::{MediaTypes, is_compressible};
use crate::sync::lock;

/// Number of bytes that a sidecar must save at least. It must also save a tenth of its file.
const MIN_SAVED_BYTES: u64 = 1024;

/// Prefix of the temporary name of a sidecar while it is written.
const TEMPORARY_PREFIX: &str = ".docroot-compress.";

/// Writer of sidecars for the files of a root directory.
#[derive(Debug)]
pub struct SidecarWriter {
    root: Root,
    hidden: bool,
    /// Whether a newer sidecar is overwritten or removed, whatever its content.
    force: bool,
    /// Temporary files that exist; `None` once the writer is stopped and none may be created.
    temporaries: Mutex<Option<TemporaryNames>>,
    stopped: AtomicBool,
    serial: AtomicU32,
}

/// Names, each with its directory.
type TemporaryNames = Vec<(Arc<OwnedFd>, String)>;

/// Result of scanning one directory.
#[derive(Debug, Default)]
pub struct ScannedDir {
    /// Subdirectories, as paths below the root.
    pub dirs: Vec<Vec<u8>>,
    /// Number of files that are served, without sidecars.
    pub files: usize,
    /// Symbolic links, which are not followed, as paths below the root.
    pub symlinks: Vec<Vec<u8>>,
    /// Sidecars to write or check.
    pub jobs: Vec<SidecarJob>,
    /// Sidecars that need no work, and why.
    pub done: Vec<(SidecarJob, SidecarOutcome)>,
    /// Paths that could not be examined.
    pub failed: Vec<(PathBuf, io::Error)>,
    /// Number of removed temporary files of earlier runs that were killed.
    pub leftovers_removed: usize,
}

/// Sidecar of one file in one coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarJob {
    /// Path of the file, below the root.
    pub path: Vec<u8>,
    /// Coding of the sidecar, never [`Coding::Identity`].
    pub coding: Coding,
    /// Length of the file in bytes, when it was scanned.
    pub len: u64,
}

/// Outcome for a sidecar. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidecarOutcome {
    /// Written, with this length.
    Written(u64),
    /// Existed and matches its file, with this length.
    UpToDate(u64),
    /// Not written: it would save less than 1 KiB or a tenth.
    NotWorthwhile,
    /// Removed: it was stale or could not be used, and a new one would save too little.
    Removed,
}

/// Reason why a sidecar was not written.
#[derive(Debug)]
pub enum SidecarError {
    /// Its file changed in both attempts, while it was read.
    Changing,
    /// Its name is that of a newer file with other content, which may be the only copy.
    Foreign,
    /// [`SidecarWriter::stop`] was called.
    Stopped,
    /// I/O error on the file, its directory, or the sidecar.
    Io(PathBuf, io::Error),
}

/// State of a sidecar's name.
enum SidecarState {
    Missing,
    /// Sidecar with the date of its file, of this length, which looks right.
    UpToDate(u64),
    /// Sidecar of an earlier content.
    Stale,
    /// Sidecar that is newer than its file, or looks wrong, of this length. Another tool may have written it for this
    /// content, its file was replaced by an older one, or it has nothing to do with its file.
    Unproved(u64),
    /// Entry that is not a regular file.
    NotAFile,
}

/// Content of a sidecar beside that of its file.
enum Comparison {
    /// The same, for every client.
    Usable,
    /// The same, but not every client can decode it.
    SameContent,
    /// Another one.
    Foreign,
}

impl SidecarJob {
    /// Returns the sidecar's path below the root.
    #[must_use]
    pub fn sidecar_path(&self) -> Vec<u8> {
        [&*self.path, self.coding.suffix().as_bytes()].concat()
    }
}

impl SidecarWriter {
    /// Opens a root directory. With `hidden`, names that begin with a dot are included. With `force`, a newer sidecar is
    /// overwritten or removed even if it is not of its file's content.
    ///
    /// # Errors
    /// Fails like open(2): no such directory, not a directory, permission denied.
    pub fn open(root: &Path, hidden: bool, force: bool) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(root, &Symlinks::Deny).map_err(|(_, error)| error)?,
            hidden,
            force,
            temporaries: Mutex::new(Some(Vec::new())),
            stopped: AtomicBool::new(false),
            serial: AtomicU32::new(0),
        })
    }

    /// Stops the writer: removes all temporary files, prevents new ones, and makes running jobs fail with
    /// [`SidecarError::Stopped`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        for (dir, name) in self.lock_temporaries().take().unwrap_or_default() {
            // The next run removes what this one cannot.
            let _ = unlinkat(&dir, name, AtFlags::empty());
        }
    }

    /// Whether the writer was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Scans a directory, by its path below the root, for sidecars to write. Removes temporary files of runs that were
    /// killed.
    ///
    /// # Errors
    /// Fails like openat2(2) and getdents(2).
    pub fn scan_dir(&self, path: &[u8]) -> io::Result<ScannedDir> {
        let dir = self.root.open_dir(path)?;
        let mut found = ScannedDir::default();
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name.starts_with(TEMPORARY_PREFIX.as_bytes()) {
                found.leftovers_removed += usize::from(remove_leftover(&dir, &name));
            } else if self.is_served(path, &name) {
                names.push(name);
            }
        }
        // Results are reported in a fixed order.
        names.sort_unstable();
        for name in names {
            let full = join_path(path, &name);
            let stat = match statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    found.failed.push((display_path(full), error.into()));
                    continue;
                }
            };
            match (file_type(&stat), regular_file_version(&stat)) {
                (FileType::Directory, _) => found.dirs.push(full),
                (FileType::Symlink, _) => found.symlinks.push(full),
                (_, Some(version)) if !is_sidecar_name(&name) => {
                    found.files += 1;
                    if is_compressible_name(&name) {
                        found.add_file(&dir, &name, &full, &version);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Writes a sidecar if it saves enough. `now` is by the clock of the file system. `on_read` is called with the
    /// number of bytes of each read of the file, for a progress display.
    ///
    /// # Errors
    /// Returns the reason why it was not written; see [`SidecarError`]. An earlier one may remain.
    pub fn write_sidecar(
        &self,
        job: &SidecarJob,
        now: SystemTime,
        on_read: &dyn Fn(u64),
    ) -> Result<SidecarOutcome, SidecarError> {
        match self.try_write(job, now, on_read) {
            Err(SidecarError::Changing) => self.try_write(job, now, on_read),
            result => result,
        }
    }

    fn try_write(
        &self,
        job: &SidecarJob,
        now: SystemTime,
        on_read: &dyn Fn(u64),
    ) -> Result<SidecarOutcome, SidecarError> {
        let (parent, name) = split_path(&job.path);
        let at = |path: &[u8]| {
            let path = display_path(path.to_vec());
            move |error: io::Error| SidecarError::Io(path, error)
        };
        let at_sidecar = || at(&job.sidecar_path());
        let dir = Arc::new(self.root.open_dir(parent).map_err(at(parent))?);
        let (file, version) = open_regular_file(&dir, name).map_err(at(&job.path))?;
        // A write within the same tick as the last one does not change the timestamps.
        if !version.is_at_rest(now) {
            thread::sleep(2 * TIMESTAMP_TICK);
            if !is_current_version(&dir, name, &version) {
                return Err(SidecarError::Changing);
            }
        }

        let sidecar = [name, job.coding.suffix().as_bytes()].concat();
        // Encoding may take minutes. What another tool writes meanwhile under the name is not overwritten.
        let sidecar_before = current_version(&dir, &sidecar);
        let state = sidecar_state(&dir, &sidecar, job.coding, &version).map_err(at_sidecar())?;
        match state {
            SidecarState::UpToDate(len) => return Ok(SidecarOutcome::UpToDate(len)),
            SidecarState::NotAFile => {
                let why = "not a file, but has the name of a sidecar; move it away";
                return Err(at_sidecar()(io::Error::other(why)));
            }
            SidecarState::Unproved(len) => {
                match self.compare(job.coding, &dir, &sidecar, (&file, &version)) {
                    _ if self.is_stopped() => return Err(SidecarError::Stopped),
                    Ok(Comparison::Usable) => return Ok(SidecarOutcome::UpToDate(len)),
                    Ok(Comparison::SameContent) => {}
                    Ok(Comparison::Foreign) if self.force => {}
                    Ok(Comparison::Foreign) => return Err(SidecarError::Foreign),
                    Err(error) => return Err(at_sidecar()(error)),
                }
            }
            SidecarState::Missing | SidecarState::Stale => {}
        }
        let not_worthwhile = || {
            // Any existing sidecar is stale or of no use; one that matches has been kept above.
            match unlinkat(&dir, &*sidecar, AtFlags::empty()) {
                Ok(()) => Ok(SidecarOutcome::Removed),
                Err(Errno::NOENT) => Ok(SidecarOutcome::NotWorthwhile),
                Err(error) => Err(at_sidecar()(error.into())),
            }
        };
        let Some(room) = max_sidecar_bytes(version.len) else {
            return not_worthwhile();
        };

        let temporary = self
            .create_temporary(&dir)
            .map_err(|failure| match failure {
                Some(error) => at(parent)(error),
                None => SidecarError::Stopped,
            })?;
        let output = BufWriter::with_capacity(64 * 1024, &temporary.file);
        let mut output = LimitedWriter {
            output,
            remaining: room,
        };
        // (The verification has moved the file offset.)
        io::Seek::rewind(&mut &file).map_err(at(&job.path))?;
        let mut source = self.stoppable(&file, on_read);
        let encoded = encode(
            job.coding,
            Effort::Best,
            version.len,
            &mut source,
            &mut output,
        );
        let encoded = encoded.and_then(|()| output.flush());
        if self.is_stopped() {
            return Err(SidecarError::Stopped);
        }
        if !is_current_version(&dir, name, &version)
            || current_version(&dir, &sidecar) != sidecar_before
        {
            return Err(SidecarError::Changing);
        }
        match encoded {
            Err(error) if LimitedWriter::<()>::is_limit_error(&error) => return not_worthwhile(),
            encoded => encoded.map_err(at_sidecar())?,
        }
        copy_metadata(&temporary.file, &file, &version).map_err(at_sidecar())?;
        match temporary.rename(&sidecar) {
            Some(renamed) => renamed.map_err(at_sidecar())?,
            None => return Err(SidecarError::Stopped),
        }
        Ok(SidecarOutcome::Written(room - output.remaining))
    }

    /// Compares a sidecar with its file, by decoding it.
    fn compare(
        &self,
        coding: Coding,
        dir: &OwnedFd,
        sidecar: &[u8],
        (file, version): (&File, &FileVersion),
    ) -> io::Result<Comparison> {
        let (other, other_version) = open_regular_file(dir, sidecar)?;
        let other = Arc::new(other);
        let decodes = |recipient| {
            io::Seek::rewind(&mut &*file)?;
            io::Seek::rewind(&mut &*other)?;
            is_encoded(
                coding,
                recipient,
                &*other,
                &mut self.stoppable(file, &|_| ()),
            )
        };
        let looks_right =
            header_fault(coding, &file_content(&other, other_version), version.len).is_none();
        Ok(if looks_right && decodes(Recipient::Client)? {
            Comparison::Usable
        } else if decodes(Recipient::Tool)? {
            Comparison::SameContent
        } else {
            Comparison::Foreign
        })
    }

    fn is_served(&self, dir: &[u8], name: &[u8]) -> bool {
        match (dir, name) {
            (_, b"." | b"..") => false,
            _ if self.hidden => true,
            (b"", name) => !is_hidden(name),
            // The directory itself is not hidden, as it is scanned.
            (_, name) => !name.starts_with(b"."),
        }
    }

    fn stoppable<'a>(&'a self, file: &'a File, on_read: &'a dyn Fn(u64)) -> StoppableFile<'a> {
        let stopped = &self.stopped;
        StoppableFile {
            file,
            stopped,
            on_read,
        }
    }

    /// Creates a file under a temporary name, which is not served. The error is `None` if the writer is stopped.
    fn create_temporary(&self, dir: &Arc<OwnedFd>) -> Result<TemporaryFile<'_>, Option<io::Error>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut all = self.lock_temporaries();
        let all = all.as_mut().ok_or(None)?;
        loop {
            // A process in another container may have the same process ID.
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TEMPORARY_PREFIX}{}.{serial}", std::process::id());
            let file = match openat(dir, &*name, flags | OFlags::NOFOLLOW, mode) {
                Ok(file) => File::from(file),
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(Some(error.into())),
            };
            // Without a lock, another run in the same directory would remove it as a leftover.
            let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
            all.push((dir.clone(), name.clone()));
            return Ok(TemporaryFile {
                writer: self,
                dir: dir.clone(),
                name,
                file,
            });
        }
    }

    fn lock_temporaries(&self) -> MutexGuard<'_, Option<TemporaryNames>> {
        lock(&self.temporaries)
    }
}

impl ScannedDir {
    /// Adds the sidecars of one file.
    fn add_file(&mut self, dir: &OwnedFd, name: &[u8], path: &[u8], version: &FileVersion) {
        for coding in SIDECAR_CODINGS {
            let job = SidecarJob {
                path: path.to_vec(),
                coding,
                len: version.len,
            };
            let sidecar = [name, coding.suffix().as_bytes()].concat();
            match sidecar_state(dir, &sidecar, coding, version) {
                Err(error) => self.failed.push((display_path(job.sidecar_path()), error)),
                Ok(SidecarState::UpToDate(len)) => {
                    self.done.push((job, SidecarOutcome::UpToDate(len)));
                }
                Ok(SidecarState::Missing) if max_sidecar_bytes(version.len).is_none() => {
                    self.done.push((job, SidecarOutcome::NotWorthwhile));
                }
                Ok(_) => self.jobs.push(job),
            }
        }
    }
}

/// File under a temporary name, which is removed on drop.
struct TemporaryFile<'a> {
    writer: &'a SidecarWriter,
    dir: Arc<OwnedFd>,
    name: String,
    file: File,
}

impl TemporaryFile<'_> {
    /// Renames the file to its final name. Returns `None` if the writer is stopped.
    fn rename(&self, name: &[u8]) -> Option<io::Result<()>> {
        let mut all = self.writer.lock_temporaries();
        let all = all.as_mut()?;
        let renamed = renameat(&self.dir, &*self.name, &self.dir, name);
        if renamed.is_ok() {
            all.retain(|(_, other)| *other != self.name);
        }
        Some(renamed.map_err(io::Error::from))
    }
}

impl Drop for TemporaryFile<'_> {
    fn drop(&mut self) {
        let mut all = self.writer.lock_temporaries();
        let Some(all) = all.as_mut() else {
            return;
        };
        if let Some(index) = all.iter().position(|(_, other)| *other == self.name) {
            all.swap_remove(index);
            // The next run removes what this one cannot.
            let _ = unlinkat(&self.dir, &*self.name, AtFlags::empty());
        }
    }
}

/// Reader of a file that fails once the writer is stopped.
struct StoppableFile<'a> {
    file: &'a File,
    stopped: &'a AtomicBool,
    on_read: &'a dyn Fn(u64),
}

impl Read for StoppableFile<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let count = self.file.read(bytes)?;
        (self.on_read)(count as u64);
        Ok(count)
    }
}

/// Converts a path below the root to a `PathBuf`; the root itself is `.`.
fn display_path(path: Vec<u8>) -> PathBuf {
    match path.is_empty() {
        true => PathBuf::from("."),
        false => std::ffi::OsString::from_vec(path).into(),
    }
}

/// Returns the maximum size of a worthwhile sidecar for a file of `len` bytes; `None` if the file is too small.
fn max_sidecar_bytes(len: u64) -> Option<u64> {
    let least_saved = MIN_SAVED_BYTES.max(len.div_ceil(10));
    len.checked_sub(least_saved)
        .filter(|&max_bytes| max_bytes > 0)
}

/// Whether a name is that of a sidecar.
fn is_sidecar_name(name: &[u8]) -> bool {
    let mut suffixes = SIDECAR_CODINGS
        .iter()
        .map(|coding| coding.suffix().as_bytes());
    suffixes.any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// Whether a name has a type that is compressible.
fn is_compressible_name(name: &[u8]) -> bool {
    is_compressible(&MediaTypes::default().media_type(name).value)
}

/// Opens a regular file, and returns it with its version.
fn open_regular_file(dir: &OwnedFd, name: &[u8]) -> io::Result<(File, FileVersion)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat(dir, name, flags | OFlags::CLOEXEC, Mode::empty())?);
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, FileVersion::from(&metadata))),
        false => Err(io::Error::other("not a file any more")),
    }
}

/// Whether the file of this name still has this version.
fn is_current_version(dir: &OwnedFd, name: &[u8], version: &FileVersion) -> bool {
    current_version(dir, name) == Some(*version)
}

/// Returns the version of the file of this name, if there is one.
fn current_version(dir: &OwnedFd, name: &[u8]) -> Option<FileVersion> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    regular_file_version(&stat)
}

/// Returns the state of a sidecar's name, beside a file of this version.
///
/// A sidecar of the same date is taken for right if it was written after its file and its first and last bytes do not
/// belie it. Where a build gives all files one date, it may be of an earlier content.
fn sidecar_state(
    dir: &OwnedFd,
    sidecar: &[u8],
    coding: Coding,
    file: &FileVersion,
) -> io::Result<SidecarState> {
    let stat = match statat(dir, sidecar, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(SidecarState::Missing),
        Err(error) => return Err(error.into()),
    };
    let Some(version) = regular_file_version(&stat) else {
        return Ok(SidecarState::NotAFile);
    };
    // No coding encodes anything in zero bytes: a power failure has left an empty file.
    if version.len == 0 || version.modified < file.modified {
        return Ok(SidecarState::Stale);
    }
    let looks_right = || {
        let (other, other_version) = open_regular_file(dir, sidecar)?;
        let content = file_content(&Arc::new(other), other_version);
        io::Result::Ok(header_fault(coding, &content, file.len).is_none())
    };
    let has_its_date = version.modified == file.modified && version.changed >= file.changed;
    Ok(match has_its_date && looks_right()? {
        true => SidecarState::UpToDate(version.len),
        false => SidecarState::Unproved(version.len),
    })
}

/// Returns the content of an open file.
fn file_content(file: &Arc<File>, version: FileVersion) -> Blob {
    Blob::File {
        file: file.clone(),
        version,
        is_steady: false,
    }
}

/// Copies owner, permissions and modification time of another file.
fn copy_metadata(file: &File, original: &File, version: &FileVersion) -> io::Result<()> {
    let (own_metadata, original_metadata) = (file.metadata()?, original.metadata()?);
    let (owner, group) = (original_metadata.uid(), original_metadata.gid());
    let mut mode = original_metadata.mode() & 0o777;
    if (own_metadata.uid(), own_metadata.gid()) != (owner, group)
        && fchown(file, Some(owner), Some(group)).is_err()
        && fchown(file, None, Some(group)).is_err()
    {
        // The group stays another one, which must not get the permissions of the original group.
        mode &= 0o707;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_times(FileTimes::new().set_modified(version.modified))
}

/// Removes a temporary file of another run, unless that still holds its lock.
fn remove_leftover(dir: &OwnedFd, name: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(dir, name, flags, Mode::empty()) else {
        return false;
    };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && unlinkat(dir, name, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecar_must_save_a_tenth_and_1_kib() {
        for (len, expected) in [
            (0, None),
            (1024, None),
            (1025, Some(1)),
            (10_240, Some(9216)),
            (20_001, Some(18_000)),
        ] {
            assert_eq!(max_sidecar_bytes(len), expected, "{len}");
        }
    }

    #[test]
    fn compressible_types_get_sidecars() {
        for (name, expected) in [
            ("a.html", true),
            ("a.js", true),
            ("a.json", true),
            ("a.svg", true),
            ("a.webmanifest", true),
            ("a.wasm", true),
            ("a.ttf", true),
            ("a.xml", true),
            ("a.rss", true),
            ("a.png", false),
            ("a.woff2", false),
            ("a.zip", false),
            ("a.mp4", false),
            ("README", false),
        ] {
            assert_eq!(is_compressible_name(name.as_bytes()), expected, "{name}");
        }
        assert!(
            is_sidecar_name(b"a.js.br") && is_sidecar_name(b"a.gz") && !is_sidecar_name(b".gz")
        );
    }
}
