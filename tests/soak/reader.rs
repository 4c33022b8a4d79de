//! Readers: clients that send requests and check every byte of the responses.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::site::{
    ChangeKind, FileState, Moment, Random, StateInterval, TrackedFile, VersionId, fill_version, now,
};
use super::{Soak, increment};
use crate::support::{Client, Response, eventually};

/// Reason for which an exchange failed or was not completed.
pub(crate) enum ExchangeError {
    /// The connection ended in the middle.
    Aborted,
    /// The reader stopped, as planned.
    Stopped,
    /// A check failed.
    Wrong(String),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Self::Aborted
            }
            ErrorKind::Other => Self::Stopped,
            _ => Self::Wrong(format!("reading: {error}")),
        }
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, ExchangeError> {
    Err(ExchangeError::Wrong(what.into()))
}

/// A TCP or Unix socket that may be read slowly.
pub(crate) struct ThrottledSocket {
    socket: Socket,
    /// Bytes per read, the pause before each read, and the time at which to stop.
    read_throttle: Option<(usize, Duration, Instant)>,
}

impl Read for ThrottledSocket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut max = bytes.len();
        if let Some((max_bytes, pause, until)) = self.read_throttle {
            if Instant::now() > until {
                return Err(ErrorKind::Other.into());
            }
            max = max.min(max_bytes);
            thread::sleep(pause);
        }
        self.socket.read(&mut bytes[..max])
    }
}

impl Write for ThrottledSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl AsFd for ThrottledSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One connection.
pub(crate) type Connection = Client<ThrottledSocket>;

impl Connection {
    pub(super) fn tcp(soak: &Soak) -> io::Result<Self> {
        let stream = TcpStream::connect(soak.address)?;
        stream.set_nodelay(true)?;
        Self::from_socket(soak, stream.into())
    }

    fn unix(soak: &Soak) -> io::Result<Self> {
        Self::from_socket(soak, UnixStream::connect(&soak.socket)?.into())
    }

    fn from_socket(soak: &Soak, socket: Socket) -> io::Result<Self> {
        increment(&soak.counts.connections);
        Self::new(ThrottledSocket {
            socket,
            read_throttle: None,
        })
    }

    /// Closes with RST instead of FIN (socket(7), SO_LINGER).
    pub(crate) fn reset(mut self) {
        let socket = &self.reader().get_ref().socket;
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    /// Limits the size and rate of reads until a time.
    pub(crate) fn throttle(&mut self, bytes: usize, pause: Duration, until: Instant) {
        let socket = self.reader().get_mut();
        let _ = socket.socket.set_recv_buffer_size(16 * 1024);
        socket.read_throttle = Some((bytes, pause, until));
    }
}

/// Content of a response, up to its Content-Length.
struct LimitedContent<'a> {
    connection: &'a mut Connection,
    left: u64,
}

impl Read for LimitedContent<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let max = bytes
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if max == 0 {
            return Ok(0);
        }
        let count = self.connection.reader().read(&mut bytes[..max])?;
        self.left -= count as u64;
        match count {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(count),
        }
    }
}

/// Reads the head of a response; `None` if the connection ends before it.
fn read_head(connection: &mut Connection) -> Result<Option<Response>, ExchangeError> {
    let head = connection.read_head()?;
    if let Some(head) = &head {
        let mut lines = head.head.lines();
        if !lines
            .next()
            .is_some_and(|line| line.starts_with("HTTP/1.1 "))
        {
            return wrong(format!("no status line: {}", head.head));
        }
        if let Some(line) = lines.find(|line| !line.contains(": ")) {
            return wrong(format!("no field line: {line}"));
        }
    }
    Ok(head)
}

fn number(head: &Response, name: &str) -> Option<u64> {
    head.field(name)?.parse().ok()
}

/// Request of a reader.
struct Request {
    file: Arc<TrackedFile>,
    is_head: bool,
    ranges: Vec<RangeSpec>,
    /// Version and tag for the condition of the request.
    known: Option<(VersionId, String)>,
    /// The condition is If-Range, not If-None-Match.
    is_if_range: bool,
    coding: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum RangeSpec {
    Between(u64, u64),
    From(u64),
    Last(u64),
}

impl RangeSpec {
    /// Returns the first and the last position of the range in a file of this length.
    fn resolve(self, len: u64) -> Option<(u64, u64)> {
        let (first, last) = match self {
            Self::Between(first, last) => (first, last.min(len.checked_sub(1)?)),
            Self::From(first) => (first, len.checked_sub(1)?),
            Self::Last(count) => (len.saturating_sub(count), len.checked_sub(1)?),
        };
        (first <= last).then_some((first, last))
    }
}

const CODINGS: [&str; 5] = [
    "",
    "gzip",
    "br, gzip;q=0.5",
    "zstd;q=0.9, br;q=0.8",
    "*;q=0.1, identity",
];

impl Request {
    fn plain(file: &Arc<TrackedFile>) -> Self {
        Self {
            file: Arc::clone(file),
            is_head: false,
            ranges: Vec::new(),
            known: None,
            is_if_range: false,
            coding: "",
        }
    }

    fn random(soak: &Soak, random: &mut Random, known: &KnownTags) -> Self {
        let fingerprinted = soak
            .history
            .fingerprinted
            .read()
            .expect("no thread panicked");
        let is_hot = |file: &&Arc<TrackedFile>| file.kind == ChangeKind::Overwritten;
        let file = match random.below(12) {
            0 | 1 if !fingerprinted.is_empty() => random.choose(&fingerprinted),
            // Files that are most likely to be overwritten while they are sent.
            2 => {
                let nth = random.below(8);
                let mut hot = soak.history.files.iter().filter(is_hot);
                hot.nth(nth).expect("there are eight")
            }
            _ => random.choose(&soak.history.files),
        };
        let mut request = Self::plain(file);
        drop(fingerprinted);
        request.is_head = random.one_in(8);
        match random.below(8) {
            0 => {
                let max = 70_000;
                let spec = |random: &mut Random| match random.below(4) {
                    0 => RangeSpec::From(random.below(max) as u64),
                    1 => RangeSpec::Last(1 + random.below(max) as u64),
                    _ => {
                        let first = random.below(max) as u64;
                        RangeSpec::Between(first, first + random.below(9000) as u64)
                    }
                };
                let count = [1, 1, 1, 3, 5][random.below(5)];
                request.ranges = (0..count).map(|_| spec(random)).collect();
                if random.one_in(6) {
                    request.ranges = vec![RangeSpec::From(99_999_999)];
                }
                request.is_if_range = random.one_in(3);
            }
            1..=3 => request.coding = CODINGS[random.below(CODINGS.len())],
            _ => {}
        }
        if request.is_if_range || (request.ranges.is_empty() && random.one_in(2)) {
            request.known = known.0.get(&request.file.name).cloned();
            request.is_if_range &= request.known.is_some();
        }
        request
    }

    fn text(&self) -> String {
        let method = if self.is_head { "HEAD" } else { "GET" };
        let target = self.file.name.trim_end_matches("index.html");
        let mut text = format!("{method} /{target} HTTP/1.1\r\nHost: soak\r\n");
        for (position, spec) in self.ranges.iter().enumerate() {
            text += if position == 0 { "Range: bytes=" } else { ", " };
            text += &match spec {
                RangeSpec::Between(first, last) => format!("{first}-{last}"),
                RangeSpec::From(first) => format!("{first}-"),
                RangeSpec::Last(count) => format!("-{count}"),
            };
        }
        if !self.ranges.is_empty() {
            text += "\r\n";
        }
        if let Some((_, tag)) = &self.known {
            let name = if self.is_if_range {
                "If-Range"
            } else {
                "If-None-Match"
            };
            text += &format!("{name}: {tag}\r\n");
        }
        if !self.coding.is_empty() {
            text += &format!("Accept-Encoding: {}\r\n", self.coding);
        }
        text + "\r\n"
    }
}

/// Versions and tags that a reader has received.
struct KnownTags(HashMap<String, (VersionId, String)>);

impl KnownTags {
    const MAX_TAGS: usize = 1000;

    fn record(
        &mut self,
        file: &TrackedFile,
        id: VersionId,
        tag: &str,
    ) -> Result<(), ExchangeError> {
        if self.0.len() > Self::MAX_TAGS {
            self.0.clear();
        }
        match self.0.insert(file.name.clone(), (id, tag.to_owned())) {
            Some((other, same)) if same == tag && other != id => {
                wrong(format!("one tag, {tag}, for the versions {other} and {id}"))
            }
            _ => Ok(()),
        }
    }
}

/// States that match the bytes received so far.
struct Candidates {
    states: Vec<(StateInterval, OverwriteBounds)>,
    expected: Vec<u8>,
    old_bytes: Vec<u8>,
}

/// Smallest and largest possible position, by the bytes received so far, at which the new content ends and the old
/// begins in a file that is being overwritten.
type OverwriteBounds = (u64, u64);

impl Candidates {
    fn new(states: Vec<StateInterval>) -> Self {
        let unseen = (0, u64::MAX);
        Self {
            states: states.into_iter().map(|state| (state, unseen)).collect(),
            expected: Vec::new(),
            old_bytes: Vec::new(),
        }
    }

    /// Keeps the states that have these bytes at this position, and returns whether there are any. Parts may come in
    /// any order.
    fn retain_matching(&mut self, start: u64, bytes: &[u8]) -> bool {
        let (expected, old_bytes) = (&mut self.expected, &mut self.old_bytes);
        expected.resize(bytes.len(), 0);
        let end = start + bytes.len() as u64;
        self.states.retain_mut(|(state, bounds)| match state.file {
            FileState::Absent => false,
            FileState::Whole { id, len } | FileState::Growing { id, len } => {
                fill_version(id, start, expected);
                end <= len && expected == bytes
            }
            FileState::Mixed { new, old, len } => {
                old_bytes.resize(bytes.len(), 0);
                fill_version(new, start, expected);
                fill_version(old, start, old_bytes);
                let known = expected.iter().zip(&*old_bytes).zip(bytes);
                let is_match = (start..).zip(known).all(|(at, ((new, old), byte))| {
                    if byte == new && byte != old {
                        bounds.0 = bounds.0.max(at + 1);
                    } else if byte == old && byte != new {
                        bounds.1 = bounds.1.min(at);
                    }
                    byte == new || byte == old
                });
                end <= len && is_match && bounds.0 <= bounds.1
            }
        });
        !self.states.is_empty()
    }

    /// Keeps these states, and returns whether there are any.
    fn retain_states(&mut self, keeps: impl Fn(FileState) -> bool) -> bool {
        self.states.retain(|(state, _)| keeps(state.file));
        !self.states.is_empty()
    }

    /// Returns the version, if only one whole one is left.
    fn id(&self) -> Option<VersionId> {
        match self.states[..] {
            [
                (
                    StateInterval {
                        file: FileState::Whole { id, .. },
                        ..
                    },
                    _,
                ),
            ] => Some(id),
            _ => None,
        }
    }
}

/// Whether a file in this state may have had this length.
fn has_possible_len(state: FileState, found: u64) -> bool {
    match state {
        FileState::Absent => false,
        FileState::Whole { len, .. } | FileState::Mixed { len, .. } => len == found,
        FileState::Growing { len, .. } => found <= len,
    }
}

/// Describes bytes by the versions that they contain.
fn describe_bytes(start: u64, bytes: &[u8]) -> String {
    let mut runs: Vec<(u32, usize)> = Vec::new();
    let skipped = usize::try_from((8 - start % 8) % 8).expect("below 8");
    for word in bytes.get(skipped..).unwrap_or_default().chunks_exact(8) {
        let id = u32::from_be_bytes(word[..4].try_into().expect("four"));
        match runs.last_mut() {
            Some((last, words)) if *last == id => *words += 1,
            _ => runs.push((id, 1)),
        }
    }
    runs.truncate(12);
    format!(
        "from {start}, {} bytes, (version, words): {runs:?}",
        bytes.len()
    )
}

/// Receives and checks the response to a request that was sent then; `false` if the connection ended before it.
fn receive(
    soak: &Soak,
    connection: &mut Connection,
    request: &Request,
    sent: (Moment, u64),
    known: &mut KnownTags,
) -> Result<bool, ExchangeError> {
    let Some(head) = read_head(connection)? else {
        return Ok(false);
    };
    let received_at = now();
    let counts = &soak.counts;
    let mut candidates = Candidates::new(request.file.states(sent.0, received_at));
    let all = candidates.states.clone();
    let with_context = |what: &str| {
        let states: Vec<_> = all.iter().map(|(state, _)| state).collect();
        format!(
            "{what}\n{}{}\n{states:?}, between {} and {received_at}",
            request.text(),
            head.head,
            sent.0,
        )
    };
    if let Some(release) = number(&head, "X-Release") {
        let is_of = |state: &StateInterval| state.release.is_none_or(|it| u64::from(it) == release);
        candidates.states.retain(|(state, _)| is_of(state));
    } else {
        return wrong(with_context("no X-Release"));
    }
    let mark = number(&head, "X-Soak").unwrap_or(0);
    if !(sent.1..=soak.history.max_mark()).contains(&mark) {
        return wrong(with_context(&format!(
            "X-Soak should be {} or more",
            sent.1
        )));
    }
    let checked = check_response(
        soak,
        connection,
        request,
        &head,
        &mut candidates,
        (sent.0, received_at),
        known,
    );
    match checked {
        Ok(counter) => {
            increment(counter);
            increment(&counts.responses);
            Ok(true)
        }
        Err(ExchangeError::Wrong(what)) => Err(ExchangeError::Wrong(with_context(&what))),
        Err(ExchangeError::Aborted) if !may_be_aborted(&request.file) => Err(ExchangeError::Wrong(
            with_context("aborted without a reason"),
        )),
        Err(other) => Err(other),
    }
}

/// Whether the file gets changes that abort its responses, as documented.
fn may_be_aborted(file: &TrackedFile) -> bool {
    file.is_large() && matches!(file.kind, ChangeKind::Overwritten | ChangeKind::Touched)
}

fn check_response<'a>(
    soak: &'a Soak,
    connection: &mut Connection,
    request: &Request,
    head: &Response,
    candidates: &mut Candidates,
    window: (Moment, Moment),
    known: &mut KnownTags,
) -> Result<&'a std::sync::atomic::AtomicU64, ExchangeError> {
    let counts = &soak.counts;
    let length = match head.code() {
        "304" => 0,
        _ => number(head, "Content-Length").map_or_else(|| wrong("no length"), Ok)?,
    };
    let mut content = LimitedContent {
        left: if request.is_head { 0 } else { length },
        connection,
    };
    match head.code() {
        "200" => {
            let is_coded = head.field("Content-Encoding").is_some();
            if !candidates.retain_states(|state| {
                if is_coded {
                    state != FileState::Absent
                } else {
                    has_possible_len(state, length)
                }
            }) {
                return wrong("the file never had that length");
            }
            // The suffix of an empty file is empty, which Content-Range cannot express.
            let range_counts =
                !request.is_head && length > 0 && request.ranges.len() == 1 && !request.is_if_range;
            if range_counts
                && candidates
                    .states
                    .iter()
                    .all(|(it, _)| !matches!(it.file, FileState::Growing { .. }))
            {
                return wrong("the range was ignored");
            }
            if request.is_head {
                return Ok(&counts.full);
            }
            let end = match head.field("Content-Encoding") {
                None => compare(&mut content, candidates)?,
                Some("gzip") => {
                    compare(&mut flate2::read::GzDecoder::new(&mut content), candidates)?
                }
                Some("br") => compare(
                    &mut brotli::Decompressor::new(&mut content, 4096),
                    candidates,
                )?,
                Some("zstd") => compare(&mut zstd::Decoder::new(&mut content)?, candidates)?,
                Some(other) => return wrong(format!("{other} was not accepted")),
            };
            if io::copy(&mut content, &mut io::sink())? > 0 {
                return wrong("bytes after the end of the coding");
            }
            if !candidates.retain_states(|state| has_possible_len(state, end)) {
                return wrong(format!("{end} bytes, a length that the file never had"));
            }
            // The tag of an encoded response would make If-Range select that coding.
            if let (Some(id), Some(tag), false) = (candidates.id(), head.field("ETag"), is_coded) {
                known.record(&request.file, id, tag)?;
            }
            if candidates
                .states
                .iter()
                .all(|(it, _)| !matches!(it.file, FileState::Whole { .. }))
            {
                increment(&counts.mid_write);
            }
            Ok(if is_coded {
                &counts.encoded
            } else {
                &counts.full
            })
        }
        "206" => {
            if request.ranges.is_empty() || request.is_head {
                return wrong("no range was requested");
            }
            if request.is_if_range {
                let known = request.known.as_ref().map(|(id, _)| *id);
                if !candidates.retain_states(
                    |state| matches!(state, FileState::Whole { id, .. } if Some(id) == known),
                ) {
                    return wrong("a range of a changed file");
                }
            }
            check_parts(&mut content, request, head, length, candidates)?;
            Ok(&counts.partial)
        }
        "304" => match &request.known {
            Some((known, _))
                if candidates.retain_states(
                    |state| matches!(state, FileState::Whole { id, .. } if id == *known),
                ) =>
            {
                Ok(&counts.not_modified)
            }
            _ => wrong("the file has changed"),
        },
        "404" => {
            if !candidates.retain_states(|state| state == FileState::Absent) {
                return wrong("the file existed");
            }
            if !request.is_head {
                let page = soak.history.not_found_page.states(window.0, window.1);
                let mut page = Candidates::new(page);
                let coding = head.field("Content-Encoding");
                if coding.is_none() {
                    compare(&mut content, &mut page)?;
                }
                io::copy(&mut content, &mut io::sink())?;
            }
            Ok(&counts.not_found)
        }
        "416" => {
            io::copy(&mut content, &mut io::sink())?;
            let len = head
                .field("Content-Range")
                .and_then(|it| it.strip_prefix("bytes */")?.parse().ok());
            let Some(len) = len else {
                return wrong("no length");
            };
            let is_none = request
                .ranges
                .iter()
                .all(|spec| spec.resolve(len).is_none());
            match is_none && candidates.retain_states(|state| has_possible_len(state, len)) {
                true => Ok(&counts.unsatisfiable),
                false => wrong("the range is satisfiable"),
            }
        }
        "503" if request.file.kind == ChangeKind::Overwritten => {
            io::copy(&mut content, &mut io::sink())?;
            Ok(&counts.unavailable)
        }
        _ => wrong("unexpected status"),
    }
}

/// Compares the whole content, and returns its length.
fn compare(content: &mut impl Read, candidates: &mut Candidates) -> Result<u64, ExchangeError> {
    let mut buffer = [0; 16 * 1024];
    let mut at = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => return Ok(at),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if !candidates.retain_matching(at, &buffer[..read]) {
            return wrong_if_whole(content, describe_bytes(at, &buffer[..read]));
        }
        at += read as u64;
    }
}

/// Fails if the content is complete. Wrong content may be aborted later, which tells the client not to use it.
fn wrong_if_whole<T>(content: &mut (impl Read + ?Sized), what: String) -> Result<T, ExchangeError> {
    io::copy(content, &mut io::sink())?;
    wrong(what)
}

/// Parses first and last position and length of `bytes 0-4/5`.
fn parse_content_range(range: &str) -> Option<(u64, u64, u64)> {
    let (range, len) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, len.parse().ok()?))
}

fn check_parts(
    content: &mut LimitedContent<'_>,
    request: &Request,
    head: &Response,
    length: u64,
    candidates: &mut Candidates,
) -> Result<(), ExchangeError> {
    let mut check_part = |range: &str, bytes: &mut dyn Read| -> Result<u64, ExchangeError> {
        let Some((first, last, len)) = parse_content_range(range) else {
            return wrong(format!("no range: {range}"));
        };
        if !request
            .ranges
            .iter()
            .any(|spec| spec.resolve(len) == Some((first, last)))
            && request.ranges.len() == 1
        {
            return wrong("another range than requested");
        }
        if first > last
            || last >= len
            || !candidates.retain_states(|state| has_possible_len(state, len))
        {
            return wrong("the file never had that range");
        }
        let mut left = last + 1 - first;
        let mut at = first;
        let mut buffer = [0; 16 * 1024];
        while left > 0 {
            let max = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = bytes.read(&mut buffer[..max])?;
            if read == 0 {
                return wrong("the part is too short");
            }
            if !candidates.retain_matching(at, &buffer[..read]) {
                return wrong_if_whole(bytes, describe_bytes(at, &buffer[..read]));
            }
            at += read as u64;
            left -= read as u64;
        }
        Ok(last + 1 - first)
    };
    if let Some(range) = head.field("Content-Range") {
        let range = range.to_owned();
        return match check_part(&range, content)? == length {
            true => Ok(()),
            false => wrong("the length is not that of the range"),
        };
    }
    let Some(boundary) = head
        .field("Content-Type")
        .and_then(|it| it.split_once("boundary="))
    else {
        return wrong("neither Content-Range nor boundary");
    };
    let opening = format!("--{}", boundary.1.trim_matches('"'));
    let mut text = Vec::new();
    content.read_to_end(&mut text)?;
    let mut rest = &text[..];
    let mut count = 0;
    loop {
        let mut range = None;
        let mut opened = false;
        // The lines before a part.
        loop {
            let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
                return wrong("a part without an end");
            };
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 2..];
            if line == format!("{opening}--") {
                return match count > 0 && rest.is_empty() {
                    true => Ok(()),
                    false => wrong("the parts end early"),
                };
            } else if line == opening {
                opened = true;
            } else if let Some(value) = line.strip_prefix("Content-Range: ") {
                range = Some(value.to_owned());
            } else if line.is_empty() && opened {
                break;
            }
        }
        let Some(range) = range else {
            return wrong("a part without Content-Range");
        };
        check_part(&range, &mut rest)?;
        count += 1;
    }
}

/// Requests every file once, so that caches and buffers have their working size.
pub(crate) fn request_everything(soak: &Soak) {
    let mut connection = Connection::tcp(soak).expect("the server accepts");
    let mut known = KnownTags(HashMap::new());
    for coding in ["", "gzip"] {
        let is_requested = |file: &&Arc<TrackedFile>| coding.is_empty() || !file.is_large();
        for file in soak.history.files.iter().filter(is_requested) {
            let mut request = Request::plain(file);
            request.coding = coding;
            // (On a slow machine the connection may reach its idle time-out, and the request is repeated.)
            eventually("there is a response", || {
                let sent = (now(), 0);
                let sending = connection.try_send(request.text().as_bytes());
                match sending.map(|()| receive(soak, &mut connection, &request, sent, &mut known)) {
                    Ok(Ok(true)) => return Some(()),
                    Ok(Err(ExchangeError::Wrong(what))) => panic!("{what}"),
                    _ => connection = Connection::tcp(soak).expect("the server accepts"),
                }
                None
            });
        }
    }
}

/// Sends random requests until the end.
pub(crate) fn run_reader(soak: &Soak, seed: u64) {
    let mut random = Random::new(seed);
    let mut known = KnownTags(HashMap::new());
    while !soak.is_done() {
        let connected = match random.one_in(4) {
            true => Connection::unix(soak),
            false => Connection::tcp(soak),
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                soak.record_failure(format!("connecting: {error}"));
                continue;
            }
        };
        for _ in 0..1 + random.below(60) {
            if soak.is_done() || !exchange(soak, &mut connection, &mut random, &mut known) {
                break;
            }
            if random.one_in(16) {
                check_listing(soak);
            }
            if random.one_in(50) {
                soak.pause(Duration::from_millis(random.below(300) as u64));
            }
        }
        if random.one_in(3) {
            connection.reset();
        }
    }
}

/// Sends one request or several pipelined ones; `false` if the connection cannot be used any more.
fn exchange(
    soak: &Soak,
    connection: &mut Connection,
    random: &mut Random,
    known: &mut KnownTags,
) -> bool {
    let count = if random.one_in(6) {
        2 + random.below(10)
    } else {
        1
    };
    let requests: Vec<_> = (0..count)
        .map(|_| Request::random(soak, random, known))
        .collect();
    let text: String = requests.iter().map(Request::text).collect();
    let sent = (now(), soak.history.min_mark());
    if connection.try_send(text.as_bytes()).is_err() {
        increment(&soak.counts.closed_early);
        return false;
    }
    for request in &requests {
        match receive(soak, connection, request, sent, known) {
            Ok(true) => {}
            Ok(false) => {
                increment(&soak.counts.closed_early);
                return false;
            }
            Err(ExchangeError::Aborted) => {
                increment(&soak.counts.aborted);
                return false;
            }
            Err(ExchangeError::Stopped) => return false,
            Err(ExchangeError::Wrong(what)) => {
                soak.record_failure(what);
                return false;
            }
        }
    }
    true
}

/// Requests a listing on a new connection, and compares names and sizes.
fn check_listing(soak: &Soak) {
    let sent = now();
    let result = (|| {
        let mut connection = Connection::tcp(soak)?;
        connection.try_send(
            b"GET /list/ HTTP/1.1\r\nHost: soak\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        )?;
        let Some(mut listing) = read_head(&mut connection)? else {
            return Ok(None);
        };
        if listing.code() == "200" {
            listing.content = connection.read_chunks()?;
        }
        Ok(Some(listing))
    })();
    let received_at = now();
    let listing = match result {
        Ok(Some(listing)) => listing,
        Ok(None) => return increment(&soak.counts.closed_early),
        Err(ExchangeError::Wrong(what)) => return soak.record_failure(format!("listing: {what}")),
        Err(_) => return soak.record_failure("an incomplete listing".to_owned()),
    };
    let fail = |what: &str| soak.record_failure(format!("{what}: {listing:?}"));
    if listing.code() != "200" {
        return fail("not a listing");
    }
    let Ok(serde_json::Value::Array(entries)) = serde_json::from_slice(&listing.content) else {
        return fail("a listing that is not an array");
    };
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| (entry["name"].as_str(), entry["size"].as_u64()))
        .collect();
    for file in soak
        .history
        .files
        .iter()
        .filter(|file| file.name.starts_with("list/"))
    {
        let name = file.name.trim_start_matches("list/");
        let listed = entries.iter().find(|(other, _)| *other == Some(name));
        let states = file.states(sent, received_at);
        let explains = |state: &StateInterval| match (listed, state.file) {
            (None, state) => state == FileState::Absent,
            (Some((_, size)), state) => size.is_some_and(|size| has_possible_len(state, size)),
        };
        if !states.iter().any(explains) {
            return fail(&format!("{} was {states:?}", file.name));
        }
    }
    if entries.len() > 20 {
        return fail("too many entries");
    }
    increment(&soak.counts.listings);
    increment(&soak.counts.responses);
}

/// Downloads large files at one or two KiB per second, each for up to 90 seconds.
pub(crate) fn run_slow_reader(soak: &Soak, seed: u64) {
    let mut random = Random::new(seed + 1000);
    let large: Vec<_> = soak
        .history
        .files
        .iter()
        .filter(|file| file.is_large())
        .collect();
    let mut known = KnownTags(HashMap::new());
    while !soak.is_done() {
        let Ok(mut connection) = Connection::tcp(soak) else {
            continue;
        };
        let span = Duration::from_secs(5 + random.below(85) as u64);
        connection.throttle(400, Duration::from_millis(200), Instant::now() + span);
        let request = Request::plain(large[random.below(large.len())]);
        let sent = (now(), soak.history.min_mark());
        if connection.try_send(request.text().as_bytes()).is_err() {
            continue;
        }
        // At the end of the soak the read stops.
        match receive_before_deadline(soak, &mut connection, &request, sent, &mut known) {
            Ok(false) => increment(&soak.counts.closed_early),
            Err(ExchangeError::Aborted) => increment(&soak.counts.aborted),
            Err(ExchangeError::Wrong(what)) => soak.record_failure(format!("slowly: {what}")),
            Ok(true) | Err(ExchangeError::Stopped) => {}
        }
    }
}

/// Receives and checks a response, at most until the end of the soak.
fn receive_before_deadline(
    soak: &Soak,
    connection: &mut Connection,
    request: &Request,
    sent: (Moment, u64),
    known: &mut KnownTags,
) -> Result<bool, ExchangeError> {
    let all = soak.deadline.load(Ordering::Relaxed);
    if let Some((_, _, until)) = &mut connection.reader().get_mut().read_throttle {
        let left = Duration::from_nanos(all.saturating_sub(now()));
        *until = (*until).min(Instant::now() + left);
    }
    receive(soak, connection, request, sent, known)
}

/// Sends a request, shuts down the sending direction, and checks the response and the end of the connection.
pub(crate) fn request_and_half_close(soak: &Soak, random: &mut Random) {
    let mut known = KnownTags(HashMap::new());
    let request = Request::random(soak, random, &known);
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.record_failure("connecting".to_owned());
    };
    let sent = (now(), soak.history.min_mark());
    if connection
        .try_send(request.text().as_bytes())
        .and_then(|()| connection.try_shutdown_write())
        .is_err()
    {
        return increment(&soak.counts.closed_early);
    }
    match receive(soak, &mut connection, &request, sent, &mut known) {
        Ok(true) => match connection.try_rest() {
            Ok(rest) if rest.is_empty() => {}
            other => soak.record_failure(format!("after the last response: {other:?}")),
        },
        Ok(false) => increment(&soak.counts.closed_early),
        Err(ExchangeError::Aborted) => increment(&soak.counts.aborted),
        Err(ExchangeError::Stopped) => {}
        Err(ExchangeError::Wrong(what)) => soak.record_failure(format!("half closed: {what}")),
    }
}

/// Requests a small file and the health check repeatedly, and records the latency of the file.
pub(crate) fn measure_latency(soak: &Soak) {
    let mut known = KnownTags(HashMap::new());
    let mut connection = None;
    while !soak.is_done() {
        thread::sleep(Duration::from_millis(5));
        let Some(open) = connection.as_mut() else {
            connection = Connection::tcp(soak).ok();
            continue;
        };
        let request = Request::plain(&soak.history.stable);
        let start = Instant::now();
        let sent = (now(), soak.history.min_mark());
        let result = open
            .try_send(request.text().as_bytes())
            .map_err(|_| ExchangeError::Aborted);
        match result.and_then(|()| receive(soak, open, &request, sent, &mut known)) {
            Ok(true) => soak
                .latencies
                .lock()
                .expect("no thread panicked")
                .add(start.elapsed()),
            Err(ExchangeError::Wrong(what)) => soak.record_failure(what),
            _ => {
                increment(&soak.counts.closed_early);
                connection = None;
                continue;
            }
        }
        let is_sent = open
            .try_send(b"GET /healthz HTTP/1.1\r\nHost: soak\r\n\r\n")
            .is_ok();
        match (is_sent, read_head(open)) {
            (true, Ok(Some(head))) if head.code() == "200" => {
                let left = number(&head, "Content-Length").unwrap_or(0);
                let mut content = LimitedContent {
                    connection: open,
                    left,
                };
                let _ = io::copy(&mut content, &mut io::sink());
                increment(&soak.counts.responses);
            }
            (_, Ok(None)) | (false, _) => {
                increment(&soak.counts.closed_early);
                connection = None;
            }
            (true, Ok(Some(head))) => {
                soak.record_failure(format!("health check: {}", head.status()));
            }
            (true, Err(_)) => {
                soak.record_failure("the health check's response is invalid".to_owned());
            }
        }
    }
}

#[test]
fn mixed_content_is_prefix_of_new_and_rest_of_old() {
    let part = |id, start, len| {
        let mut part = vec![0; len];
        fill_version(id, start, &mut part);
        part
    };
    let check = |parts: &[(u64, Vec<u8>)], expected| {
        let (new, old, len) = (8, 7, 4000);
        let state = StateInterval::always(FileState::Mixed { new, old, len });
        let mut candidates = Candidates::new(vec![state]);
        let is_match = parts
            .iter()
            .all(|(start, part)| candidates.retain_matching(*start, part));
        assert_eq!(is_match, expected, "{parts:?}");
    };
    let (new, old) = (
        |start| (start, part(8, start, 1000)),
        |start| (start, part(7, start, 1000)),
    );
    check(&[new(0), new(1000), new(2000), new(3000)], true);
    check(&[new(0), old(1000), old(2000), old(3000)], true);
    check(&[old(2000), new(1000)], true);
    check(
        &[(500, [part(8, 500, 500), part(7, 1000, 500)].concat())],
        true,
    );
    check(
        &[(500, [part(7, 500, 500), part(8, 1000, 500)].concat())],
        false,
    );
    check(&[old(0), new(1000)], false);
    check(&[new(2000), old(1000)], false);
    check(&[new(0), old(1000), new(2000)], false);
    check(&[(0, part(9, 0, 1000))], false);
    check(&[new(3500)], false);
}
