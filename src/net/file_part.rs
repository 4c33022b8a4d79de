//! Part of an open file on its way to a peer, and the checks that the file does not change meanwhile.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use twox_hash::xxhash3_128::Hasher;

use super::close_reason::CloseReason;
use super::file_sample::{FileSample, SampleBudget};
use super::transport::Transport;
use crate::blob::{FileVersion, TIMESTAMP_TICK, VersionCheck};

/// Length in bytes up to which a part of a recently changed file (`is_steady` is `false`) is read a second time before
/// its last piece is sent. The kernel dates a file at the start of a write, so a file opened during a write changes
/// without a new date: pieces read before and after the writer passed them are not of one state. Longer parts are not
/// read again, as that takes time.
const MAX_REREAD_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of a recently changed file that are read at once and sent from memory. sendfile(2) sends the file's own pages:
/// if the file is overwritten or truncated in place while they are queued in the kernel, the peer receives the new
/// content, and the sender cannot tell. A file that was just changed may well be changed again. (Copying costs three
/// times as much per byte.) The unsent rest of a piece is not kept, but read again when the socket is writable.
pub(super) const PIECE_BYTES: u64 = 64 * 1024;

/// Time after a version's change time within which no response to a request had a strong validator of it (a version
/// is settled after a [`TIMESTAMP_TICK`]), as far as a later change time tells, which may lie one tick of the kernel
/// behind the clock.
const UNSETTLED_FOR: Duration = TIMESTAMP_TICK.checked_div(2).expect("2 is not 0");

/// Part of an open file that is not sent.
#[derive(Debug)]
pub(super) struct FilePart {
    file: Arc<File>,
    promise: Promise,
    left: Range<u64>,
    /// Checksum of the bytes sent so far of a recently changed file.
    checksum: Option<Box<SentChecksum>>,
}

/// Version of the bytes that a response head has promised, and what tells whether a changed file still has them.
#[derive(Debug)]
struct Promise {
    version: FileVersion,
    /// Whether the file was not changed recently.
    is_steady: bool,
    /// Whether the file was changed after it was opened, and the sample was not.
    is_excused: bool,
    /// Blocks of the promised part, of this version. Of a file that is not steady, the sample is taken before the first
    /// byte is sent; of a steady one, when the part is not sent within one turn.
    sample: FileSample,
}

/// Hash of the bytes sent so far of a part, and the offset at which the part starts.
struct SentChecksum {
    start: u64,
    hasher: Hasher,
}

/// Reason for which nothing more could be sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// A file is being changed in a way that cannot be told from another yet: the next turn looks again. Its name may
    /// be removed, of which only the change time is seen, or bytes may be appended, of which only the modification time
    /// is.
    Undecided,
    Failed(CloseReason),
}

impl From<CloseReason> for SendError {
    fn from(reason: CloseReason) -> Self {
        Self::Failed(reason)
    }
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl FilePart {
    pub(super) fn new(
        file: Arc<File>,
        version: FileVersion,
        is_steady: bool,
        left: Range<u64>,
    ) -> Self {
        Self {
            file,
            promise: Promise {
                version,
                is_steady,
                is_excused: false,
                sample: FileSample::new(left.clone()),
            },
            left,
            checksum: None,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.left.end - self.left.start
    }

    pub(super) fn advance(&mut self, count: u64) {
        self.left.start += count;
    }

    /// Whether nothing may be sent before the sample is complete.
    pub(super) fn awaits_sample(&self) -> bool {
        self.promise.is_unsent()
    }

    /// Takes more blocks of the sample, unless it is complete, or all is sent. Returns whether no more are needed.
    pub(super) fn extend_sample(&mut self, budget: &mut SampleBudget) -> Result<bool, SendError> {
        let is_needed = |part: &Self| !part.left.is_empty() && !part.promise.sample.is_complete();
        if is_needed(self) {
            self.promise.extend_sample(&self.file, budget)?;
        }
        Ok(!is_needed(self))
    }

    /// Whether the next bytes are read into memory and sent from there, as they may still change.
    pub(super) fn is_copied(&self, max_in_flight: u64) -> bool {
        !self.promise.is_steady || self.len() <= max_in_flight
    }

    /// Replaces the content of `piece` with the next bytes.
    pub(super) fn read_piece(&mut self, piece: &mut Vec<u8>) -> Result<(), SendError> {
        let part = self.left.start..self.left.end.min(self.left.start + PIECE_BYTES);
        read(&self.file, &part, piece)?;
        self.promise.verify(&self.file)?;
        if part.end < self.left.end {
            return Ok(());
        }
        // A change within one tick of the clock may have had the date of the change that was excused.
        if self.promise.is_excused {
            self.promise.verify_sample(&self.file)?;
        }
        match &self.checksum {
            Some(checksum) => checksum.verify(&self.file, &mut self.promise, part.start),
            None => Ok(()),
        }
    }

    /// Adds sent bytes, which start at the current offset, to the checksum, if the file may be about to change.
    pub(super) fn update_checksum(&mut self, sent: &[u8]) {
        if !self.promise.is_steady && self.len() <= MAX_REREAD_BYTES {
            let new_checksum = || {
                Box::new(SentChecksum {
                    start: self.left.start,
                    hasher: Hasher::new(),
                })
            };
            let checksum = self.checksum.get_or_insert_with(new_checksum);
            checksum.hasher.write(sent);
        }
    }

    /// Sends up to `burst` bytes by sendfile(2), but not the last `max_in_flight`.
    pub(super) fn send(
        &mut self,
        transport: &mut impl Transport,
        max_in_flight: u64,
        burst: u64,
    ) -> Result<io::Result<usize>, SendError> {
        self.promise.verify(&self.file)?;
        let start = self.left.start;
        let part = start..(self.left.end - max_in_flight).min(start + burst);
        let result = transport.send_file(&self.file, part);
        if let Err(error) = &result
            && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        {
            // sendfile(2) does not say which of the two failed. If it was the socket, the file can be read.
            self.file.read_at(&mut [0], start).map_err(unreadable)?;
        }
        Ok(result)
    }
}

impl Promise {
    /// Verifies that a file still has the promised bytes, as far as its version and the sample tell. A version that the
    /// sample excuses is the one to compare with from then on, and the rest is sent from memory, as the file may well be
    /// changed again.
    fn verify(&mut self, file: &File) -> Result<(), SendError> {
        let (now, without_sample) = match self.version.recheck(file).map_err(unreadable)? {
            VersionCheck::Unchanged => return Ok(()),
            VersionCheck::Touched(now) => (now, SendError::Undecided),
            VersionCheck::Grown(now) => (now, CloseReason::FileChanged.into()),
            VersionCheck::Written => {
                self.verify_sample(file)?;
                return Err(SendError::Undecided);
            }
            VersionCheck::Changed => return Err(CloseReason::FileChanged.into()),
        };
        if !self.is_decided_by_sample(&now) {
            return Err(without_sample);
        }
        self.verify_sample(file)?;
        self.version = now;
        self.is_steady = false;
        self.is_excused = true;
        Ok(())
    }

    /// Whether the sample tells if a later version of the file has the promised bytes. While the sample is taken before
    /// the first byte is sent, its blocks so far are enough; and none is needed if no strong validator was sent.
    fn is_decided_by_sample(&self, later: &FileVersion) -> bool {
        let since = later.changed.duration_since(self.version.changed);
        let has_no_validator = || since.is_ok_and(|since| since <= UNSETTLED_FOR);
        self.sample.is_complete()
            || (self.is_unsent() && (!self.sample.is_empty() || has_no_validator()))
    }

    /// Whether the sample is taken before the first byte is sent, and is not complete.
    fn is_unsent(&self) -> bool {
        !self.is_steady && !self.sample.is_complete()
    }

    fn verify_sample(&self, file: &File) -> Result<(), SendError> {
        match self.sample.is_unchanged(file).map_err(unreadable)? {
            true => Ok(()),
            false => Err(CloseReason::FileChanged.into()),
        }
    }

    /// Takes more blocks of the sample. They count if they are of the promised version: the file did not change
    /// meanwhile, or it has grown, nothing is sent yet, and the same blocks are read again.
    fn extend_sample(&mut self, file: &File, budget: &mut SampleBudget) -> Result<(), SendError> {
        self.verify(file)?;
        let mut sample = self.sample.clone();
        sample.extend(file, budget).map_err(unreadable)?;
        match self.version.recheck(file).map_err(unreadable)? {
            VersionCheck::Unchanged => self.sample = sample,
            VersionCheck::Grown(now) if self.is_unsent() => {
                self.sample = sample;
                self.verify_sample(file)?;
                (self.version, self.is_excused) = (now, true);
            }
            // The next turn looks again, and decides.
            _ => return Err(SendError::Undecided),
        }
        Ok(())
    }
}

/// Replaces the content of `bytes` with a part of a file.
fn read(file: &File, part: &Range<u64>, bytes: &mut Vec<u8>) -> Result<(), SendError> {
    bytes.resize(memory_index(part.end - part.start), 0);
    file.read_exact_at(bytes, part.start).map_err(unreadable)
}

/// Returns the error of a file that ends too early, or cannot be read.
fn unreadable(error: io::Error) -> SendError {
    SendError::Failed(match error.kind() {
        ErrorKind::UnexpectedEof => CloseReason::FileChanged,
        _ => CloseReason::FileUnreadable(error),
    })
}

impl fmt::Debug for SentChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SentChecksum");
        debug.field("start", &self.start).finish_non_exhaustive()
    }
}

impl SentChecksum {
    /// Verifies that the bytes sent, up to the offset `end`, are those that the file has now.
    fn verify(&self, file: &File, promise: &mut Promise, end: u64) -> Result<(), SendError> {
        let mut hasher = Hasher::new();
        let (mut at, mut piece) = (self.start, Vec::new());
        while at < end {
            let part = at..end.min(at + PIECE_BYTES);
            read(file, &part, &mut piece)?;
            hasher.write(&piece);
            at = part.end;
        }
        promise.verify(file)?;
        match hasher.finish_128() == self.hasher.finish_128() {
            true => Ok(()),
            false => Err(CloseReason::FileChanged.into()),
        }
    }
}

/// Converts an offset into bytes in memory to an index.
pub(super) fn memory_index(offset: u64) -> usize {
    usize::try_from(offset).expect("what is in memory is indexed by a usize")
}

#[cfg(test)]
impl FilePart {
    /// Takes the file's current version for that at its opening, as if the file had been written to without a new date.
    pub(super) fn accept_current_version(&mut self) {
        self.promise.version = FileVersion::of(&self.file).expect("an open file");
    }
}
