//! Part of an open file on its way to a peer, and the checks that the file does not change meanwhile.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use twox_hash::xxhash3_128::Hasher;

use super::close_reason::CloseReason;
use super::transport::Transport;
use crate::blob::{FileVersion, VersionCheck};

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

/// Part of an open file that is not sent.
#[derive(Debug)]
pub(super) struct FilePart {
    file: Arc<File>,
    version: FileVersion,
    /// Whether the file was not changed recently.
    is_steady: bool,
    left: Range<u64>,
    /// Checksum of the bytes sent so far of a recently changed file.
    checksum: Option<Box<SentChecksum>>,
}

/// Hash of the bytes sent so far of a part, and the offset at which the part starts.
struct SentChecksum {
    start: u64,
    hasher: Hasher,
}

/// Reason for which nothing more could be sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// Only the change time of a file differs. That may be a removal of its name, half done: the next turn looks again.
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
            version,
            is_steady,
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

    /// Whether the next bytes are read into memory and sent from there, as they may still change.
    pub(super) fn is_copied(&self, max_in_flight: u64) -> bool {
        !self.is_steady || self.len() <= max_in_flight
    }

    /// Replaces the content of `piece` with the next bytes.
    pub(super) fn read_piece(&mut self, piece: &mut Vec<u8>) -> Result<(), SendError> {
        let part = self.left.start..self.left.end.min(self.left.start + PIECE_BYTES);
        read_verified(&self.file, &mut self.version, &part, piece)?;
        match &self.checksum {
            Some(checksum) if part.end == self.left.end => {
                checksum.verify(&self.file, &mut self.version, part.start)
            }
            _ => Ok(()),
        }
    }

    /// Adds sent bytes, which start at the current offset, to the checksum, if the file may be about to change.
    pub(super) fn update_checksum(&mut self, sent: &[u8]) {
        if !self.is_steady && self.len() <= MAX_REREAD_BYTES {
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
        verify(&self.file, &mut self.version)?;
        let start = self.left.start;
        let part = start..(self.left.end - max_in_flight).min(start + burst);
        Ok(transport.send_file(&self.file, part))
    }
}

/// Replaces the content of `bytes` with a part of a file, and verifies that the file has not changed.
fn read_verified(
    file: &File,
    version: &mut FileVersion,
    part: &Range<u64>,
    bytes: &mut Vec<u8>,
) -> Result<(), SendError> {
    bytes.resize(memory_index(part.end - part.start), 0);
    match file.read_exact_at(bytes, part.start) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(CloseReason::FileChanged.into());
        }
        result => result?,
    }
    verify(file, version)
}

/// Verifies that a file still has the bytes of the version that the response head has promised.
fn verify(file: &File, version: &mut FileVersion) -> Result<(), SendError> {
    match version.recheck(file)? {
        VersionCheck::Unchanged => Ok(()),
        VersionCheck::Undecided => Err(SendError::Undecided),
        VersionCheck::Changed => Err(CloseReason::FileChanged.into()),
    }
}

impl fmt::Debug for SentChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SentChecksum");
        debug.field("start", &self.start).finish_non_exhaustive()
    }
}

impl SentChecksum {
    /// Verifies that the bytes sent, up to the offset `end`, are those that the file has now.
    fn verify(&self, file: &File, version: &mut FileVersion, end: u64) -> Result<(), SendError> {
        let mut hasher = Hasher::new();
        let (mut at, mut piece) = (self.start, Vec::new());
        while at < end {
            let part = at..end.min(at + PIECE_BYTES);
            read_verified(file, version, &part, &mut piece)?;
            hasher.write(&piece);
            at = part.end;
        }
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
        self.version = FileVersion::of(&self.file).expect("an open file");
    }
}
