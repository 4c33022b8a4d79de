//! Queue of bytes to send, from memory and from files.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;

use arrayvec::ArrayVec;

use super::close_reason::CloseReason;
use super::file_part::{FilePart, SendError, memory_index};
use super::file_sample::SampleBudget;
use super::transport::Transport;
use crate::blob::Blob;

/// Queued bytes from which on [`Outbox::has_room`] is `false`. Also about the size in which a pipelined burst of small
/// responses is sent.
const MAX_QUEUED_BYTES: u64 = 64 * 1024;

/// Length in bytes up to which copying a blob into the byte run is cheaper than a slice of its own.
const MAX_COPIED_BYTES: u64 = 4 * 1024;

/// Maximum bytes of one flush, so that one fast peer does not delay the others. Sends of less than 2 MiB cost a large
/// file measurably more per byte.
const MAX_BURST_BYTES: u64 = 2 * 1024 * 1024;

/// Queued bytes from which on the transport is corked until they are sent. Corking costs two system calls, which fewer
/// bytes do not repay.
const MIN_CORKED_BYTES: u64 = 512 * 1024;

/// Turns in which a flush looks again at a file that is being changed, before it counts as overwritten. A write(2) that
/// appends sets the time before the length, and on btrfs a removal sets the time some microseconds before it drops the
/// link; their threads may be preempted between. Other connections are served meanwhile.
const MAX_UNDECIDED_TURNS: u16 = 1000;

/// Maximum slices of one gathering write.
const MAX_SLICES: usize = 16;

/// Queue of byte runs and blob ranges, sent in order.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Memory for the next run or piece, with stale content.
    spare: Vec<u8>,
    sent: u64,
    /// Whether the transport is corked. `false` whenever the queue is empty.
    is_corked: bool,
    /// Turns for which the file at the front of the queue has been [`SendError::Undecided`].
    undecided: u16,
}

#[derive(Debug)]
enum Chunk {
    Bytes {
        bytes: Vec<u8>,
        sent: usize,
    },
    /// Bytes that cannot change: in memory or in a sealed file.
    Blob {
        blob: Blob,
        left: Range<u64>,
    },
    File(FilePart),
}

/// Outcome of a flush.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FlushOutcome {
    /// The queue is empty.
    Empty,
    /// The transport takes no more bytes for now.
    Blocked,
    /// One burst was sent, and more is queued.
    BurstSent,
}

impl Outbox {
    /// Returns the byte run at the end of the queue; bytes appended to it are queued. Heads and small bodies of
    /// pipelined responses share one run.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if !matches!(self.chunks.back(), Some(Chunk::Bytes { .. })) {
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.clear();
            self.chunks.push_back(Chunk::Bytes { bytes, sent: 0 });
        }
        match self.chunks.back_mut() {
            Some(Chunk::Bytes { bytes, .. }) => bytes,
            _ => unreachable!("a run was just pushed"),
        }
    }

    /// Queues the bytes `part` of `blob`.
    ///
    /// # Panics
    /// When the half-open range does not lie within the blob.
    pub fn push(&mut self, blob: &Blob, part: Range<u64>) {
        assert!(part.end <= blob.len(), "{part:?} of {} bytes", blob.len());
        if part.is_empty() {
            return;
        }
        if part.end - part.start <= MAX_COPIED_BYTES
            && let Some(bytes) = blob.in_memory()
        {
            self.tail().extend_from_slice(slice(bytes, &part));
            return;
        }
        self.chunks.push_back(match blob {
            Blob::File {
                file,
                version,
                is_steady,
            } => Chunk::File(FilePart::new(file.clone(), *version, *is_steady, part)),
            _ => Chunk::Blob {
                blob: blob.clone(),
                left: part,
            },
        });
    }

    /// Returns the number of bytes that are queued and not sent.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self.single_chunk() {
            Some(chunk) => chunk.len(),
            None => self.chunks.iter().map(Chunk::len).sum(),
        }
    }

    /// Whether everything is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.single_chunk() {
            Some(chunk) => chunk.len() == 0,
            None => self.chunks.is_empty() || self.chunks.iter().all(|chunk| chunk.len() == 0),
        }
    }

    /// Returns the number of bytes sent since the connection started.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether more may be queued now. If not, the session returns [`Next::Flush`](super::Next::Flush). One file at a
    /// time: a queue of small parts of files would hold a descriptor for each.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let mut queued = 0;
        let mut leaves_room = |chunk: &Chunk| {
            queued += chunk.len();
            queued < MAX_QUEUED_BYTES && !matches!(chunk, Chunk::File(_))
        };
        match self.single_chunk() {
            Some(chunk) => leaves_room(chunk),
            None => self.chunks.is_empty() || self.chunks.iter().all(leaves_room),
        }
    }

    /// Returns the chunk of a queue of one, which is the usual case: iterating over a ring buffer costs more than this
    /// check.
    fn single_chunk(&self) -> Option<&Chunk> {
        match self.chunks.len() {
            1 => self.chunks.front(),
            _ => None,
        }
    }

    /// Removes and returns all queued bytes that are in memory, and counts everything as sent; parts of files are
    /// dropped. For tests and benchmarks that drive a session without a socket.
    pub fn take(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        for chunk in std::mem::take(&mut self.chunks) {
            self.sent += chunk.len();
            taken.extend_from_slice(chunk.in_memory().unwrap_or_default());
        }
        taken
    }

    /// Sets the number of bytes sent since the connection started.
    pub(super) fn set_sent(&mut self, sent: u64) {
        self.sent = sent;
    }

    /// Takes the memory of an empty outbox: its queue and its spare run.
    pub(super) fn borrow_from(&mut self, spare: &mut Self) {
        if self.chunks.is_empty() {
            std::mem::swap(&mut self.chunks, &mut spare.chunks);
        }
        self.spare = std::mem::take(&mut spare.spare);
    }

    /// Gives the borrowed memory back, and keeps only memory for unsent bytes.
    pub(super) fn return_to(&mut self, spare: &mut Self) {
        for chunk in &mut self.chunks {
            if let Chunk::Bytes { bytes, sent } = chunk
                && bytes.capacity() > 2 * (bytes.len() - *sent) + 64
            {
                let unsent = bytes[*sent..].to_vec();
                *sent = 0;
                let run = std::mem::replace(bytes, unsent);
                recycle(run, &mut self.spare);
            }
        }
        if self.is_empty() {
            self.chunks.clear();
            let chunks = std::mem::take(&mut self.chunks);
            if chunks.capacity() > spare.chunks.capacity() {
                spare.chunks = chunks;
            }
        }
        spare.spare = std::mem::take(&mut self.spare);
    }

    /// Sends until the queue is empty, the transport takes no more, or one burst is sent.
    ///
    /// sendfile(2) sends the file's own pages, which may still change until the peer has received them. So the last
    /// `max_in_flight` bytes of a part, the most that can be on their way to a peer at once, are copied into memory,
    /// and then the version of the file is compared with that at its opening: by then the peer has received all earlier
    /// bytes, unchanged. So no client receives a complete response of a file that was written to before its end was
    /// sent. A file that has grown since, or whose mode, owner or name was changed, is sent as far as it was promised,
    /// if a sample of its blocks is still the same.
    ///
    /// # Errors
    /// [`CloseReason::FileChanged`] for a file that does not have the promised bytes any more;
    /// [`CloseReason::FileUnreadable`] when a file cannot be read; [`CloseReason::Io`] when the transport fails.
    pub(super) fn flush(
        &mut self,
        transport: &mut impl Transport,
        max_in_flight: u64,
    ) -> Result<FlushOutcome, CloseReason> {
        if !self.is_corked && self.len() >= MIN_CORKED_BYTES {
            transport.cork(true)?;
            self.is_corked = true;
        }
        let flushed = match self.send_and_sample(transport, max_in_flight) {
            Err(SendError::Undecided) if self.undecided < MAX_UNDECIDED_TURNS => {
                self.undecided += 1;
                return Ok(FlushOutcome::BurstSent);
            }
            Err(SendError::Undecided) => return Err(CloseReason::FileChanged),
            Err(SendError::Failed(reason)) => return Err(reason),
            Ok(flushed) => flushed,
        };
        self.undecided = 0;
        if self.is_corked && flushed == FlushOutcome::Empty {
            transport.cork(false)?;
            self.is_corked = false;
        }
        Ok(flushed)
    }

    /// Sends, and takes samples of the file parts that are not sent in this turn: their files may change before the
    /// next one.
    fn send_and_sample(
        &mut self,
        transport: &mut impl Transport,
        max_in_flight: u64,
    ) -> Result<FlushOutcome, SendError> {
        match self.send(transport, max_in_flight)? {
            FlushOutcome::Empty => Ok(FlushOutcome::Empty),
            // A slow peer may take minutes until the next turn.
            _ if !self.extend_samples()? => Ok(FlushOutcome::BurstSent),
            flushed => Ok(flushed),
        }
    }

    /// Takes samples of the files in the queue, as far as one turn allows. Returns whether they are complete.
    fn extend_samples(&mut self) -> Result<bool, SendError> {
        let mut budget = SampleBudget::default();
        let mut are_complete = true;
        for chunk in &mut self.chunks {
            if let Chunk::File(part) = chunk {
                are_complete &= part.extend_sample(&mut budget)?;
            }
        }
        Ok(are_complete)
    }

    fn send(
        &mut self,
        transport: &mut impl Transport,
        max_in_flight: u64,
    ) -> Result<FlushOutcome, SendError> {
        let mut burst = MAX_BURST_BYTES;
        loop {
            while self.chunks.front().is_some_and(|chunk| chunk.len() == 0) {
                self.pop();
            }
            let Some(front) = self.chunks.front_mut() else {
                return Ok(FlushOutcome::Empty);
            };
            if burst == 0 {
                return Ok(FlushOutcome::BurstSent);
            }
            if matches!(front, Chunk::File(part) if part.awaits_sample()) {
                if !self.extend_samples()? {
                    return Ok(FlushOutcome::BurstSent);
                }
                continue;
            }
            let (offered, result) = match front {
                Chunk::File(part) if part.is_copied(max_in_flight) => {
                    let mut piece = std::mem::take(&mut self.spare);
                    part.read_piece(&mut piece)?;
                    let written = self.write(Some(&piece), transport);
                    if let (Some(Chunk::File(part)), (_, Ok(sent))) =
                        (self.chunks.front_mut(), &written)
                    {
                        part.update_checksum(&piece[..piece.len().min(*sent)]);
                    }
                    recycle(piece, &mut self.spare);
                    written
                }
                Chunk::File(part) => (0, part.send(transport, max_in_flight, burst)?),
                Chunk::Blob {
                    blob: Blob::Sealed { file, .. },
                    left,
                } => {
                    let part = left.start..left.end.min(left.start + burst);
                    (0, transport.send_file(file, part))
                }
                _ => self.write(None, transport),
            };
            match result {
                // A part of a file is never empty, so the file has become shorter.
                Ok(0) if offered == 0 => return Err(CloseReason::FileChanged.into()),
                Ok(sent) => {
                    self.advance(sent as u64);
                    burst = burst.saturating_sub(sent as u64);
                    if sent < offered {
                        // A short write ends the edge, as a short read does (epoll(7)). A short sendfile(2), for which
                        // `offered` is 0, does not: the file may have become shorter, or a signal interrupted it.
                        return Ok(FlushOutcome::Blocked);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(FlushOutcome::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes the bytes in memory at the front of the queue, which start with `piece` if it was read from the first
    /// chunk. Returns the number of bytes offered and the result of the write.
    fn write(
        &self,
        piece: Option<&[u8]>,
        transport: &mut impl Transport,
    ) -> (usize, io::Result<usize>) {
        if let (None, Some(only)) = (piece, self.single_chunk()) {
            let bytes = only.in_memory().unwrap_or_default();
            return (bytes.len(), transport.write(&[IoSlice::new(bytes)], false));
        }
        let mut slices: ArrayVec<IoSlice<'_>, MAX_SLICES> = ArrayVec::new();
        let mut chunks = self.chunks.iter();
        let mut more = false;
        if let Some(piece) = piece {
            slices.push(IoSlice::new(piece));
            more = chunks
                .next()
                .is_some_and(|chunk| chunk.len() > piece.len() as u64);
        }
        if !more {
            let room = slices.remaining_capacity();
            slices.extend(
                chunks
                    .map_while(Chunk::in_memory)
                    .map(IoSlice::new)
                    .take(room),
            );
            more = slices.len() < self.chunks.len();
        }
        let offered = slices.iter().map(|slice| slice.len()).sum();
        (offered, transport.write(&slices, more))
    }

    fn advance(&mut self, mut count: u64) {
        self.sent += count;
        while let Some(chunk) = self.chunks.front_mut() {
            let step = count.min(chunk.len());
            chunk.advance(step);
            count -= step;
            if count == 0 {
                break;
            }
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(Chunk::Bytes { bytes, .. }) = self.chunks.pop_front() {
            recycle(bytes, &mut self.spare);
        }
    }
}

/// Keeps a run for later use, unless the spare one is larger.
fn recycle(run: Vec<u8>, spare: &mut Vec<u8>) {
    if run.capacity() > spare.capacity() {
        *spare = run;
    }
}

impl Chunk {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes { bytes, sent } => (bytes.len() - sent) as u64,
            Self::Blob { left, .. } => left.end - left.start,
            Self::File(part) => part.len(),
        }
    }

    fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes { bytes, sent } => Some(&bytes[*sent..]),
            Self::Blob { blob, left } => blob.in_memory().map(|bytes| slice(bytes, left)),
            Self::File(_) => None,
        }
    }

    fn advance(&mut self, count: u64) {
        match self {
            Self::Bytes { sent, .. } => *sent += memory_index(count),
            Self::Blob { left, .. } => left.start += count,
            Self::File(part) => part.advance(count),
        }
    }
}

fn slice<'a>(bytes: &'a [u8], part: &Range<u64>) -> &'a [u8] {
    &bytes[memory_index(part.start)..memory_index(part.end)]
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;

    use super::super::file_part::PIECE_BYTES;
    use super::super::transport::ScriptedTransport;
    use super::*;
    use crate::blob::FileVersion;

    /// Maximum bytes in flight.
    const MAX_IN_FLIGHT: u64 = 1024;

    /// Creates a sealed blob with this content.
    fn sealed(content: &[u8]) -> Blob {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Blob::Sealed {
            file: Arc::new(file),
            len: content.len() as u64,
        }
    }

    /// Creates a file with this content whose length was `len` when it was opened.
    fn file(content: &[u8], len: u64) -> Blob {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let version = FileVersion {
            len,
            ..FileVersion::of(&file).unwrap()
        };
        Blob::File {
            file: Arc::new(file),
            version,
            is_steady: true,
        }
    }

    /// Marks a file as recently changed.
    fn unsteady(blob: Blob) -> Blob {
        let Blob::File { file, version, .. } = blob else {
            unreachable!("it is a file");
        };
        Blob::File {
            file,
            version,
            is_steady: false,
        }
    }

    /// Creates 3,000 bytes in which neighbouring parts differ.
    fn content() -> Vec<u8> {
        let mixed = |place: u16| {
            place
                .to_le_bytes()
                .into_iter()
                .fold(0, |byte, more| byte ^ more)
        };
        (0..3000).map(mixed).collect()
    }

    fn queue() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.tail().extend_from_slice(b"head|");
        outbox.push(&Blob::Static(b"small|"), 0..6);
        outbox.push(&vec![b'x'; 5000].into(), 0..5000);
        outbox.tail().extend_from_slice(b"|head|");
        outbox.push(&file(&content(), 3000), 2..2998);
        outbox.tail().extend_from_slice(b"|end");
        outbox.push(&Blob::Static(b""), 0..0);
        outbox
    }

    fn text() -> Vec<u8> {
        let large = [b'x'; 5000];
        let part = &content()[2..2998];
        [b"head|small|", &large[..], b"|head|", part, b"|end"].concat()
    }

    #[test]
    fn queued_bytes_are_sent_in_order() {
        let mut transport = ScriptedTransport::default();
        let mut outbox = queue();
        assert_eq!(outbox.len(), text().len() as u64);
        assert_eq!(
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
            FlushOutcome::Empty
        );
        assert_eq!(transport.sent, text());
        assert_eq!(outbox.sent(), text().len() as u64);
        assert!(outbox.is_empty());
        assert_eq!(
            transport.calls,
            ["write more", "file", "write"],
            "the head waits for its file, whose last bytes are copied"
        );
    }

    #[test]
    fn partial_write_is_resumed_at_the_exact_byte() {
        for takes in [1, 2, 3, 7, 4999] {
            let mut transport = ScriptedTransport {
                send_window: takes,
                ..ScriptedTransport::default()
            };
            let mut outbox = queue();
            while outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap() != FlushOutcome::Empty {
                transport.open_window();
            }
            assert!(transport.sent == text(), "{takes} bytes at a time");
        }
    }

    /// Checks that sending a file that has changed fails, and returns the number of bytes sent before. The file has
    /// this content, and its length was `len` when it was opened.
    fn bytes_sent_before_failure(content: &[u8], len: u64) -> usize {
        let mut transport = ScriptedTransport::default();
        let mut outbox = Outbox::default();
        outbox.push(&file(content, len), 0..len);
        let error = outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap_err();
        assert!(matches!(error, CloseReason::FileChanged), "{error:?}");
        transport.sent.len()
    }

    #[test]
    fn file_changed_before_sending_is_not_sent() {
        assert_eq!(bytes_sent_before_failure(b"short", 10), 0);
        assert_eq!(bytes_sent_before_failure(b"promised, and more", 8), 0);
        assert_eq!(bytes_sent_before_failure(&[7; 5000], 9000), 0);
        assert_eq!(bytes_sent_before_failure(&[7; 9000], 5000), 0);
    }

    /// Sends a part of a file of 200,000 bytes in three turns, changes the file after the first one, and returns
    /// whether the part was completed.
    fn is_completed_after(is_steady: bool, part: &Range<u64>, change: &dyn Fn(&File)) -> bool {
        let mut named = tempfile::NamedTempFile::new().unwrap();
        named.write_all(&[7; 200_000]).unwrap();
        let file = Arc::new(named.reopen().unwrap());
        let blob = Blob::File {
            file: file.clone(),
            version: FileVersion::of(&file).unwrap(),
            is_steady,
        };
        let mut transport = ScriptedTransport {
            send_window: 70_000,
            ..ScriptedTransport::default()
        };
        let mut outbox = Outbox::default();
        outbox.push(&blob, part.clone());
        let mut flush = || {
            transport.open_window();
            outbox.flush(&mut transport, MAX_IN_FLIGHT)
        };
        assert_eq!(flush().unwrap(), FlushOutcome::Blocked);
        let before = FileVersion::of(&file).unwrap().changed;
        // File times advance in ticks.
        while FileVersion::of(&file).unwrap().changed == before {
            change(&file);
        }
        let result = loop {
            match flush() {
                Ok(FlushOutcome::Empty) => break Ok(()),
                Ok(_) => {}
                Err(reason) => break Err(reason),
            }
        };
        assert!(transport.sent.iter().all(|&byte| byte == 7));
        let is_completed = transport.sent.len() as u64 == part.end - part.start;
        assert_eq!(result.is_ok(), is_completed);
        if let Err(reason) = result {
            assert!(matches!(reason, CloseReason::FileChanged), "{reason:?}");
        }
        is_completed
    }

    #[test]
    fn file_changed_while_sending_is_completed_if_it_keeps_what_was_promised() {
        let append = |file: &File| {
            let end = file.metadata().unwrap().len();
            file.write_all_at(&[8; 3], end).unwrap();
        };
        let write_dated_back = |file: &File, place| {
            let modified = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&[8], place).unwrap();
            file.set_modified(modified).unwrap();
        };
        let touch = |file: &File| {
            let permissions = file.metadata().unwrap().permissions();
            file.set_permissions(permissions).unwrap();
        };
        let whole = 0..200_000;
        for is_steady in [true, false] {
            let check = |what: &str, part: &Range<u64>, change: &dyn Fn(&File), expected| {
                let is_completed = is_completed_after(is_steady, part, change);
                assert_eq!(is_completed, expected, "{what}; steady: {is_steady}");
            };
            for part in [&whole, &(1..199_999), &(100_000..200_000)] {
                check("appended to", part, &append, true);
                check("mode set", part, &touch, true);
                let write = |file: &File| file.write_all_at(&[7], 150_000).unwrap();
                check("written to", part, &write, false);
                let shorten = |file: &File| file.set_len(199_998).unwrap();
                check("one byte less", part, &shorten, false);
            }
            for place in [0, 199_999] {
                let write = |file: &File| write_dated_back(file, place);
                check("written to and dated back", &whole, &write, false);
                let write_and_append = |file: &File| {
                    file.write_all_at(&[8], place).unwrap();
                    append(file);
                };
                check("written to and longer", &whole, &write_and_append, false);
            }
            let anew = |file: &File| {
                file.set_len(0).unwrap();
                file.write_all_at(&[8; 200_003], 0).unwrap();
            };
            check("written anew and longer", &whole, &anew, false);
        }
    }

    /// A write(2) that appends sets the modification time before the length.
    #[test]
    fn file_that_is_about_to_grow_is_looked_at_again() {
        for is_steady in [true, false] {
            let Blob::File { file, version, .. } = file(&[7; 200_000], 200_000) else {
                unreachable!("it is a file");
            };
            let blob = Blob::File {
                file: file.clone(),
                version,
                is_steady,
            };
            let mut transport = ScriptedTransport {
                send_window: 70_000,
                ..ScriptedTransport::default()
            };
            let mut outbox = Outbox::default();
            outbox.push(&blob, 0..200_000);
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
            for _ in 0..5 {
                transport.open_window();
                assert_eq!(
                    outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
                    FlushOutcome::BurstSent
                );
                assert_eq!(transport.sent.len(), 70_000, "nothing is sent meanwhile");
            }
            file.write_all_at(&[8], 200_000).unwrap();
            while outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap() != FlushOutcome::Empty {
                transport.open_window();
            }
            assert!(transport.sent == [7; 200_000]);
        }
    }

    /// Parts that wait behind others have samples as well.
    #[test]
    fn parts_of_a_file_that_grows_are_completed() {
        for is_steady in [true, false] {
            let Blob::File { file, version, .. } = file(&[7; 200_000], 200_000) else {
                unreachable!("it is a file");
            };
            let blob = Blob::File {
                file: file.clone(),
                version,
                is_steady,
            };
            let mut transport = ScriptedTransport {
                send_window: 1000,
                ..ScriptedTransport::default()
            };
            let mut outbox = Outbox::default();
            for part in [0..60_000, 70_000..80_000, 90_000..200_000] {
                outbox.tail().extend_from_slice(&[7; 10]);
                outbox.push(&blob, part);
            }
            for _ in 0..4 {
                outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap();
                transport.open_window();
            }
            while outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap() != FlushOutcome::Empty {
                let end = file.metadata().unwrap().len();
                file.write_all_at(&[8; 3], end).unwrap();
                transport.open_window();
            }
            assert!(transport.sent == [7; 180_030]);
        }
    }

    /// Bytes sent of a file that was just changed are all read again, not only a sample of them.
    #[test]
    fn unsteady_file_overwritten_between_blocks_of_its_sample_is_not_completed() {
        const LEN: usize = 8 << 20;
        for is_overwritten in [true, false] {
            let mut written = tempfile::tempfile().unwrap();
            written.write_all(&vec![7; LEN]).unwrap();
            let file = Arc::new(written);
            let blob = Blob::File {
                file: file.clone(),
                version: FileVersion::of(&file).unwrap(),
                is_steady: false,
            };
            let mut transport = ScriptedTransport {
                send_window: 100_000,
                ..ScriptedTransport::default()
            };
            let mut outbox = Outbox::default();
            outbox.push(&blob, 0..LEN as u64);
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap();
            if is_overwritten {
                file.write_all_at(&[8], 10_000).unwrap();
            }
            file.write_all_at(&[8], LEN as u64).unwrap();
            transport.send_window = usize::MAX;
            transport.open_window();
            let result = loop {
                match outbox.flush(&mut transport, MAX_IN_FLIGHT) {
                    Ok(FlushOutcome::Empty) => break Ok(()),
                    Ok(_) => {}
                    Err(reason) => break Err(reason),
                }
            };
            assert_eq!(result.is_err(), is_overwritten);
        }
    }

    #[test]
    fn file_that_cannot_be_read_is_not_a_broken_connection() {
        for is_steady in [true, false] {
            let named = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&named, [7; 9000]).unwrap();
            let file = File::options().write(true).open(&named).unwrap();
            let blob = Blob::File {
                version: FileVersion::of(&file).unwrap(),
                file: Arc::new(file),
                is_steady,
            };
            let mut outbox = Outbox::default();
            outbox.push(&blob, 0..9000);
            let error = outbox.flush(&mut ScriptedTransport::default(), MAX_IN_FLIGHT);
            let error = error.unwrap_err();
            assert!(
                matches!(error, CloseReason::FileUnreadable(_)),
                "{error:?}, steady: {is_steady}"
            );
        }
    }

    #[test]
    fn link_count_change_excuses_one_ctime_change() {
        use std::fs::{hard_link, remove_file};

        let dir = tempfile::tempdir().unwrap();
        let (path, also) = (dir.path().join("file"), dir.path().join("also"));
        for (is_steady, is_overwritten) in
            [(true, false), (true, true), (false, false), (false, true)]
        {
            std::fs::write(&path, [7; 200_000]).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let version = FileVersion::of(&file).unwrap();
            let file = Arc::new(file);
            let blob = Blob::File {
                file: file.clone(),
                version,
                is_steady,
            };
            let mut transport = ScriptedTransport {
                send_window: 60_000,
                ..ScriptedTransport::default()
            };
            let mut outbox = Outbox::default();
            outbox.push(&blob, 0..200_000);
            let change_until_dated = |act: &dyn Fn()| {
                let before = FileVersion::of(&file).unwrap().changed;
                // File times advance in ticks.
                while FileVersion::of(&file).unwrap().changed == before {
                    act();
                }
            };
            let mut flush = || {
                transport.open_window();
                outbox.flush(&mut transport, MAX_IN_FLIGHT)
            };
            flush().unwrap();
            hard_link(&path, &also).unwrap();
            flush().unwrap();
            match is_overwritten {
                true => change_until_dated(&|| {
                    file.write_all_at(&[8], 199_999).unwrap();
                    file.set_modified(version.modified).unwrap();
                }),
                false => remove_file(&also).unwrap(),
            }
            let rest = (0..MAX_UNDECIDED_TURNS + 2).try_for_each(|_| flush().map(drop));
            assert_eq!(rest.is_err(), is_overwritten, "steady: {is_steady}");
            let _ = remove_file(&also);
        }
    }

    /// A writer that started before the file was opened changes it without changing its date.
    #[test]
    fn unsteady_file_overwritten_with_same_date_is_not_completed() {
        for is_overwritten in [true, false] {
            let blob = unsteady(file(&[7; 200_000], 200_000));
            let Blob::File { file, .. } = blob.clone() else {
                unreachable!("it is a file");
            };
            let mut transport = ScriptedTransport {
                send_window: 100_000,
                ..ScriptedTransport::default()
            };
            let mut outbox = Outbox::default();
            outbox.push(&blob, 1..200_000);
            assert_eq!(
                outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
                FlushOutcome::Blocked
            );
            if is_overwritten {
                file.write_all_at(&[8; 50_000], 0).unwrap();
            }
            let Some(Chunk::File(part)) = outbox.chunks.front_mut() else {
                unreachable!("it is queued");
            };
            part.accept_current_version();
            transport.send_window = usize::MAX;
            transport.open_window();
            let flushed = outbox.flush(&mut transport, MAX_IN_FLIGHT);
            assert_eq!(flushed.is_err(), is_overwritten);
            assert_eq!(transport.sent.len() < 199_999, is_overwritten);
        }
    }

    #[test]
    fn unsteady_file_is_copied() {
        let blob = unsteady(file(&[7; 200_000], 200_000));
        let mut transport = ScriptedTransport::default();
        let mut outbox = Outbox::default();
        outbox.push(&blob, 1..200_000);
        assert_eq!(
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
            FlushOutcome::Empty
        );
        assert_eq!(transport.sent, [7; 199_999]);
        assert_eq!(transport.calls, ["write more", "write"]);
    }

    #[test]
    fn sealed_file_is_sent_by_sendfile() {
        let mut transport = ScriptedTransport::default();
        let mut outbox = Outbox::default();
        outbox.tail().extend_from_slice(b"head|");
        outbox.push(&sealed(&content()), 1..3000);
        assert!(outbox.has_room(), "a sealed file cannot change");
        outbox.tail().extend_from_slice(b"|end");
        assert_eq!(
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
            FlushOutcome::Empty
        );
        assert_eq!(
            transport.sent,
            [b"head|", &content()[1..], b"|end"].concat()
        );
        assert_eq!(transport.calls, ["write more", "file", "write"]);
        for takes in [1, 7, 2999] {
            let mut cut = ScriptedTransport {
                send_window: takes,
                ..ScriptedTransport::default()
            };
            let mut outbox = Outbox::default();
            outbox.push(&sealed(&content()), 0..3000);
            while outbox.flush(&mut cut, MAX_IN_FLIGHT).unwrap() != FlushOutcome::Empty {
                cut.open_window();
            }
            assert!(cut.sent == content(), "{takes} bytes at a time");
        }
    }

    #[test]
    fn cork_is_always_removed() {
        let large = || Blob::Memory(vec![7; 600_000].into());
        let mut transport = ScriptedTransport {
            send_window: 250_000,
            ..ScriptedTransport::default()
        };
        let mut outbox = Outbox::default();
        for _ in 0..2 {
            outbox.tail().extend_from_slice(b"head");
            outbox.push(&large(), 0..600_000);
            while outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap() != FlushOutcome::Empty {
                transport.open_window();
                outbox.tail().extend_from_slice(b"more");
            }
            assert_eq!(transport.calls, ["cork", "write", "uncork"]);
            transport.calls.clear();
        }
        outbox.push(&large(), 0..500_000);
        outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap();
        assert_eq!(transport.calls, ["write"], "too short to be corked");
    }

    #[test]
    fn unsent_piece_of_a_file_is_read_again() {
        let blob = unsteady(file(&[7; 200_000], 200_000));
        let mut spare = Outbox::default();
        let mut outbox = Outbox::default();
        outbox.borrow_from(&mut spare);
        outbox.push(&blob, 0..200_000);
        let mut transport = ScriptedTransport {
            send_window: 70_000,
            ..ScriptedTransport::default()
        };
        assert_eq!(
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
            FlushOutcome::Blocked
        );
        outbox.return_to(&mut spare);
        assert_eq!(outbox.len(), 130_000);
        assert!(
            spare.spare.capacity() >= memory_index(PIECE_BYTES),
            "only the offset is kept"
        );
    }

    #[test]
    fn short_sendfile_does_not_end_the_edge() {
        let content = vec![7; 100_000];
        for blob in [file(&content, 100_000), sealed(&content)] {
            let mut transport = ScriptedTransport {
                max_send_file: 30_000,
                ..ScriptedTransport::default()
            };
            let mut outbox = Outbox::default();
            outbox.push(&blob, 0..100_000);
            assert_eq!(
                outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
                FlushOutcome::Empty
            );
            assert_eq!(transport.sent, content);
        }
    }

    #[test]
    fn flush_sends_at_most_one_burst() {
        let mut transport = ScriptedTransport::default();
        let mut outbox = Outbox::default();
        let large = file(&vec![7; 5 << 20], 5 << 20);
        outbox.push(&large, 0..5 << 20);
        assert_eq!(
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
            FlushOutcome::BurstSent
        );
        assert_eq!(outbox.sent(), MAX_BURST_BYTES);
    }

    #[test]
    fn has_room_depends_on_queued_bytes() {
        let mut outbox = Outbox::default();
        assert!(outbox.has_room());
        outbox.push(&Blob::Static(&[7; 100_000]), 0..60_000);
        assert!(outbox.has_room());
        outbox.push(&Blob::Static(&[7; 100_000]), 0..60_000);
        assert!(!outbox.has_room());
        let mut outbox = Outbox::default();
        outbox.push(&file(b"content", 7), 0..1);
        assert!(!outbox.has_room(), "one file at a time");
    }

    #[test]
    fn idle_outbox_keeps_only_unsent_bytes() {
        let mut spare = Outbox::default();
        let mut outbox = Outbox::default();
        outbox.borrow_from(&mut spare);
        outbox.tail().extend_from_slice(&[b'x'; 10_000]);
        let mut transport = ScriptedTransport {
            send_window: 9_990,
            ..ScriptedTransport::default()
        };
        assert_eq!(
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
            FlushOutcome::Blocked
        );
        outbox.return_to(&mut spare);
        assert!(spare.spare.capacity() >= 10_000);
        let mut other = Outbox::default();
        other.borrow_from(&mut spare);
        other.tail().push(b'x');
        other
            .flush(&mut ScriptedTransport::default(), MAX_IN_FLIGHT)
            .unwrap();
        other.return_to(&mut spare);
        assert!(
            spare.chunks.capacity() > 0,
            "the memory of the queue was given back"
        );
        assert_eq!(outbox.tail().capacity(), 10);
        outbox.borrow_from(&mut spare);
        transport.open_window();
        assert_eq!(
            outbox.flush(&mut transport, MAX_IN_FLIGHT).unwrap(),
            FlushOutcome::Empty
        );
        outbox.return_to(&mut spare);
        assert_eq!(outbox.chunks.capacity() + outbox.spare.capacity(), 0);
    }
}
