//! Asks, and checks every byte of the answer.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::site::{Id, Kind, Moment, Random, Slot, State, What, make, now};
use super::{Soak, count};
use crate::support::{PATIENCE, eventually};

/// How an exchange went wrong, or did not come to its end.
pub(crate) enum Fault {
    /// The connection ended in the middle.
    Cut,
    /// We have seen enough of it.
    Enough,
    /// What should not have been.
    Wrong(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Self::Cut
            }
            ErrorKind::Other => Self::Enough,
            _ => Self::Wrong(format!("reading: {error}")),
        }
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Wrong(what.into()))
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: BufReader<Socket>,
    /// Bytes at once and the pause after them, and when we have seen enough.
    slow: Option<(usize, Duration, Instant)>,
}

impl Connection {
    pub(crate) fn tcp(soak: &Soak) -> io::Result<Self> {
        let stream = TcpStream::connect(soak.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        count(&soak.counts.connections);
        Ok(Self::of(Socket::Tcp(stream)))
    }

    fn unix(soak: &Soak) -> io::Result<Self> {
        let stream = UnixStream::connect(&soak.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        count(&soak.counts.connections);
        Ok(Self::of(Socket::Unix(stream)))
    }

    fn of(socket: Socket) -> Self {
        Self {
            stream: BufReader::with_capacity(32 * 1024, socket),
            slow: None,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.get_mut() {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self.stream.get_mut() {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Leaves with RST instead of FIN (socket(7), SO_LINGER).
    pub(crate) fn reset(self) {
        if let Socket::Tcp(stream) = self.stream.get_ref() {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Takes so little at once, so rarely, until then.
    pub(crate) fn slow_down(&mut self, bytes: usize, pause: Duration, until: Instant) {
        if let Socket::Tcp(stream) = self.stream.get_ref() {
            let _ = SockRef::from(stream).set_recv_buffer_size(16 * 1024);
        }
        self.slow = Some((bytes, pause, until));
    }

    /// Everything until the end, in order or not; an error if that is waited for in vain.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            _ => Ok(rest),
        }
    }

    fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                String::from_utf8(line.to_vec()).or_else(|_| wrong("a head that is no text"))
            }
            None => Err(Fault::Cut),
        }
    }
}

/// So many bytes of content that have been promised.
struct Content<'a> {
    connection: &'a mut Connection,
    left: u64,
}

impl Read for Content<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut most = bytes
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        if let Some((few, pause, until)) = self.connection.slow {
            if Instant::now() > until {
                return Err(ErrorKind::Other.into());
            }
            most = most.min(few);
            thread::sleep(pause);
        }
        let count = self.connection.stream.read(&mut bytes[..most])?;
        self.left -= count as u64;
        match count {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(count),
        }
    }
}

struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// `None` where the connection ends before it.
    fn read(connection: &mut Connection) -> Result<Option<Self>, Fault> {
        match connection.stream.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return wrong(format!("waiting for a head: {error}")),
        }
        let line = connection.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        let Some(status) = status else {
            return wrong(format!("no status line: {line}"));
        };
        let mut fields = Vec::new();
        loop {
            let line = connection.line()?;
            if line.is_empty() {
                return Ok(Some(Self { status, fields }));
            }
            match line.split_once(": ") {
                Some((name, value)) => fields.push((name.to_owned(), value.to_owned())),
                None => return wrong(format!("no field line: {line}")),
            }
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}

/// What a reader asks.
struct Ask {
    slot: Arc<Slot>,
    is_head: bool,
    ranges: Vec<Wish>,
    /// What is asked whether it has changed: the version, and its tag.
    known: Option<(Id, String)>,
    /// The ranges are wished for only if this is still what it is.
    unless_changed: bool,
    coding: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Between(u64, u64),
    From(u64),
    Last(u64),
}

impl Wish {
    /// First and last byte of it, of so many.
    fn of(self, len: u64) -> Option<(u64, u64)> {
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

impl Ask {
    fn plain(slot: &Arc<Slot>) -> Self {
        Self {
            slot: Arc::clone(slot),
            is_head: false,
            ranges: Vec::new(),
            known: None,
            unless_changed: false,
            coding: "",
        }
    }

    fn random(soak: &Soak, random: &mut Random, known: &Known) -> Self {
        let hashed = soak.table.hashed.read().expect("nobody failed");
        let is_hot = |slot: &&Arc<Slot>| slot.kind == Kind::InPlace;
        let slot = match random.below(12) {
            0 | 1 if !hashed.is_empty() => random.of(&hashed),
            // What is most likely to be sent while it is written to.
            2 => {
                let nth = random.below(8);
                let mut hot = soak.table.slots.iter().filter(is_hot);
                hot.nth(nth).expect("there are eight")
            }
            _ => random.of(&soak.table.slots),
        };
        let mut ask = Self::plain(slot);
        drop(hashed);
        ask.is_head = random.one_in(8);
        match random.below(8) {
            0 => {
                let most = 70_000;
                let wish = |random: &mut Random| match random.below(4) {
                    0 => Wish::From(random.below(most) as u64),
                    1 => Wish::Last(1 + random.below(most) as u64),
                    _ => {
                        let first = random.below(most) as u64;
                        Wish::Between(first, first + random.below(9000) as u64)
                    }
                };
                let count = [1, 1, 1, 3, 5][random.below(5)];
                ask.ranges = (0..count).map(|_| wish(random)).collect();
                if random.one_in(6) {
                    ask.ranges = vec![Wish::From(99_999_999)];
                }
                ask.unless_changed = random.one_in(3);
            }
            1..=3 => ask.coding = CODINGS[random.below(CODINGS.len())],
            _ => {}
        }
        if ask.unless_changed || (ask.ranges.is_empty() && random.one_in(2)) {
            ask.known = known.0.get(&ask.slot.name).cloned();
            ask.unless_changed &= ask.known.is_some();
        }
        ask
    }

    fn text(&self) -> String {
        let method = if self.is_head { "HEAD" } else { "GET" };
        let target = self.slot.name.trim_end_matches("index.html");
        let mut text = format!("{method} /{target} HTTP/1.1\r\nHost: soak\r\n");
        for (position, wish) in self.ranges.iter().enumerate() {
            text += if position == 0 { "Range: bytes=" } else { ", " };
            text += &match wish {
                Wish::Between(first, last) => format!("{first}-{last}"),
                Wish::From(first) => format!("{first}-"),
                Wish::Last(count) => format!("-{count}"),
            };
        }
        if !self.ranges.is_empty() {
            text += "\r\n";
        }
        if let Some((_, tag)) = &self.known {
            let name = if self.unless_changed {
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

/// What versions, and what tags of them, a reader remembers.
struct Known(HashMap<String, (Id, String)>);

impl Known {
    const MOST: usize = 1000;

    fn remember(&mut self, slot: &Slot, id: Id, tag: &str) -> Result<(), Fault> {
        if self.0.len() > Self::MOST {
            self.0.clear();
        }
        match self.0.insert(slot.name.clone(), (id, tag.to_owned())) {
            Some((other, same)) if same == tag && other != id => {
                wrong(format!("one tag, {tag}, for the versions {other} and {id}"))
            }
            _ => Ok(()),
        }
    }
}

/// Those states that the bytes so far could be of.
struct Suspects {
    states: Vec<(State, Border)>,
    expected: Vec<u8>,
    former: Vec<u8>,
}

/// Between what bytes the new ends and the old begins in what is mixed, as far as has been seen: not before
/// the first number, and not after the second.
type Border = (u64, u64);

impl Suspects {
    fn of(states: Vec<State>) -> Self {
        let unseen = (0, u64::MAX);
        Self {
            states: states.into_iter().map(|state| (state, unseen)).collect(),
            expected: Vec::new(),
            former: Vec::new(),
        }
    }

    /// Whether there is one left that has these bytes there. Parts may come in any order.
    fn has(&mut self, start: u64, bytes: &[u8]) -> bool {
        let (expected, former) = (&mut self.expected, &mut self.former);
        expected.resize(bytes.len(), 0);
        let end = start + bytes.len() as u64;
        self.states.retain_mut(|(state, border)| match state.what {
            What::Absent => false,
            What::Whole { id, len } | What::Growing { id, len } => {
                make(id, start, expected);
                end <= len && expected == bytes
            }
            What::Mixed { new, old, len } => {
                former.resize(bytes.len(), 0);
                make(new, start, expected);
                make(old, start, former);
                let known = expected.iter().zip(&*former).zip(bytes);
                let fits = (start..).zip(known).all(|(at, ((new, old), byte))| {
                    if byte == new && byte != old {
                        border.0 = border.0.max(at + 1);
                    } else if byte == old && byte != new {
                        border.1 = border.1.min(at);
                    }
                    byte == new || byte == old
                });
                end <= len && fits && border.0 <= border.1
            }
        });
        !self.states.is_empty()
    }

    fn keep(&mut self, keeps: impl Fn(What) -> bool) -> bool {
        self.states.retain(|(state, _)| keeps(state.what));
        !self.states.is_empty()
    }

    /// The version, if it must be a whole one.
    fn id(&self) -> Option<Id> {
        match self.states[..] {
            [
                (
                    State {
                        what: What::Whole { id, .. },
                        ..
                    },
                    _,
                ),
            ] => Some(id),
            _ => None,
        }
    }
}

/// Whether a state may have been found so long.
fn may_be(what: What, found: u64) -> bool {
    match what {
        What::Absent => false,
        What::Whole { len, .. } | What::Mixed { len, .. } => len == found,
        What::Growing { len, .. } => found <= len,
    }
}

/// What bytes look like, by the versions in them.
fn shown(start: u64, bytes: &[u8]) -> String {
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

/// Receives and checks the answer to what was sent then; `false` if the connection ended before it.
fn receive(
    soak: &Soak,
    connection: &mut Connection,
    ask: &Ask,
    sent: (Moment, u64),
    known: &mut Known,
) -> Result<bool, Fault> {
    let Some(head) = Head::read(connection)? else {
        return Ok(false);
    };
    let heard = now();
    let counts = &soak.counts;
    let mut suspects = Suspects::of(ask.slot.states(sent.0, heard));
    let all = suspects.states.clone();
    let told = |what: &str| {
        let states: Vec<_> = all.iter().map(|(state, _)| state).collect();
        format!(
            "{what}\n{}{}\n{:?}\n{states:?}, between {} and {heard}",
            ask.text(),
            head.status,
            head.fields,
            sent.0,
        )
    };
    if let Some(release) = head.number("X-Release") {
        let is_of = |state: &State| state.release.is_none_or(|it| u64::from(it) == release);
        suspects.states.retain(|(state, _)| is_of(state));
    } else {
        return wrong(told("no X-Release"));
    }
    let mark = head.number("X-Soak").unwrap_or(0);
    if !(sent.1..=soak.table.most_mark()).contains(&mark) {
        return wrong(told(&format!("X-Soak should be {} or more", sent.1)));
    }
    let checked = check(
        soak,
        connection,
        ask,
        &head,
        &mut suspects,
        (sent.0, heard),
        known,
    );
    match checked {
        Ok(counter) => {
            count(counter);
            count(&counts.answers);
            Ok(true)
        }
        Err(Fault::Wrong(what)) => Err(Fault::Wrong(told(&what))),
        Err(Fault::Cut) if !may_be_cut(&ask.slot) => {
            Err(Fault::Wrong(told("cut without a reason")))
        }
        Err(other) => Err(other),
    }
}

/// Whether something is done to the file that README says cuts its answers.
fn may_be_cut(slot: &Slot) -> bool {
    slot.is_large() && matches!(slot.kind, Kind::InPlace | Kind::Touched)
}

fn check<'a>(
    soak: &'a Soak,
    connection: &mut Connection,
    ask: &Ask,
    head: &Head,
    suspects: &mut Suspects,
    window: (Moment, Moment),
    known: &mut Known,
) -> Result<&'a std::sync::atomic::AtomicU64, Fault> {
    let counts = &soak.counts;
    let length = match head.status {
        304 => 0,
        _ => head
            .number("Content-Length")
            .map_or_else(|| wrong("no length"), Ok)?,
    };
    let mut content = Content {
        left: if ask.is_head { 0 } else { length },
        connection,
    };
    match head.status {
        200 => {
            let is_coded = head.field("Content-Encoding").is_some();
            if !suspects.keep(|what| {
                if is_coded {
                    what != What::Absent
                } else {
                    may_be(what, length)
                }
            }) {
                return wrong("it was never that long");
            }
            // The last bytes of nothing are all of it, which no Content-Range can say.
            let range_counts =
                !ask.is_head && length > 0 && ask.ranges.len() == 1 && !ask.unless_changed;
            if range_counts
                && suspects
                    .states
                    .iter()
                    .all(|(it, _)| !matches!(it.what, What::Growing { .. }))
            {
                return wrong("the range was not looked at");
            }
            if ask.is_head {
                return Ok(&counts.whole);
            }
            let end = match head.field("Content-Encoding") {
                None => compare(&mut content, suspects)?,
                Some("gzip") => compare(&mut flate2::read::GzDecoder::new(&mut content), suspects)?,
                Some("br") => {
                    compare(&mut brotli::Decompressor::new(&mut content, 4096), suspects)?
                }
                Some("zstd") => compare(&mut zstd::Decoder::new(&mut content)?, suspects)?,
                Some(other) => return wrong(format!("nobody asked for {other}")),
            };
            if io::copy(&mut content, &mut io::sink())? > 0 {
                return wrong("there is more of it");
            }
            if !suspects.keep(|what| may_be(what, end)) {
                return wrong(format!("it is {end} bytes, and never was that long"));
            }
            // A tag of what has a coding would have If-Range choose that.
            if let (Some(id), Some(tag), false) = (suspects.id(), head.field("ETag"), is_coded) {
                known.remember(&ask.slot, id, tag)?;
            }
            if suspects
                .states
                .iter()
                .all(|(it, _)| !matches!(it.what, What::Whole { .. }))
            {
                count(&counts.between);
            }
            Ok(if is_coded {
                &counts.coded
            } else {
                &counts.whole
            })
        }
        206 => {
            if ask.ranges.is_empty() || ask.is_head {
                return wrong("nobody asked for a part");
            }
            if ask.unless_changed {
                let known = ask.known.as_ref().map(|(id, _)| *id);
                if !suspects
                    .keep(|what| matches!(what, What::Whole { id, .. } if Some(id) == known))
                {
                    return wrong("a part of what has changed");
                }
            }
            parts(&mut content, ask, head, length, suspects)?;
            Ok(&counts.part)
        }
        304 => match &ask.known {
            Some((known, _))
                if suspects.keep(|what| matches!(what, What::Whole { id, .. } if id == *known)) =>
            {
                Ok(&counts.unchanged)
            }
            _ => wrong("it has changed"),
        },
        404 => {
            if !suspects.keep(|what| what == What::Absent) {
                return wrong("it was there");
            }
            if !ask.is_head {
                let page = soak.table.page.states(window.0, window.1);
                let mut page = Suspects::of(page);
                let coding = head.field("Content-Encoding");
                if coding.is_none() {
                    compare(&mut content, &mut page)?;
                }
                io::copy(&mut content, &mut io::sink())?;
            }
            Ok(&counts.absent)
        }
        416 => {
            io::copy(&mut content, &mut io::sink())?;
            let len = head
                .field("Content-Range")
                .and_then(|it| it.strip_prefix("bytes */")?.parse().ok());
            let Some(len) = len else {
                return wrong("of what length?");
            };
            let is_none = ask.ranges.iter().all(|wish| wish.of(len).is_none());
            match is_none && suspects.keep(|what| may_be(what, len)) {
                true => Ok(&counts.unsatisfiable),
                false => wrong("there is such a range"),
            }
        }
        503 if ask.slot.kind == Kind::InPlace => {
            io::copy(&mut content, &mut io::sink())?;
            Ok(&counts.unavailable)
        }
        _ => wrong("an answer that nothing explains"),
    }
}

/// Compares all that comes, and tells how much that is.
fn compare(content: &mut impl Read, suspects: &mut Suspects) -> Result<u64, Fault> {
    let mut buffer = [0; 16 * 1024];
    let mut at = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => return Ok(at),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if !suspects.has(at, &buffer[..read]) {
            return wrong_if_whole(content, shown(at, &buffer[..read]));
        }
        at += read as u64;
    }
}

/// What is torn may be cut short later, which tells whoever gets it that it is not to be used.
fn wrong_if_whole<T>(content: &mut (impl Read + ?Sized), what: String) -> Result<T, Fault> {
    io::copy(content, &mut io::sink())?;
    wrong(what)
}

/// First, last and length of `bytes 0-4/5`.
fn numbers(range: &str) -> Option<(u64, u64, u64)> {
    let (range, len) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, len.parse().ok()?))
}

fn parts(
    content: &mut Content<'_>,
    ask: &Ask,
    head: &Head,
    length: u64,
    suspects: &mut Suspects,
) -> Result<(), Fault> {
    let mut check_part = |range: &str, bytes: &mut dyn Read| -> Result<u64, Fault> {
        let Some((first, last, len)) = numbers(range) else {
            return wrong(format!("no range: {range}"));
        };
        if !ask
            .ranges
            .iter()
            .any(|wish| wish.of(len) == Some((first, last)))
            && ask.ranges.len() == 1
        {
            return wrong("that is not the range");
        }
        if first > last || last >= len || !suspects.keep(|what| may_be(what, len)) {
            return wrong("it never had that range");
        }
        let mut left = last + 1 - first;
        let mut at = first;
        let mut buffer = [0; 16 * 1024];
        while left > 0 {
            let most = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = bytes.read(&mut buffer[..most])?;
            if read == 0 {
                return wrong("the part is too short");
            }
            if !suspects.has(at, &buffer[..read]) {
                return wrong_if_whole(bytes, shown(at, &buffer[..read]));
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
        return wrong("one range, or several?");
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
            return wrong("a part of what?");
        };
        check_part(&range, &mut rest)?;
        count += 1;
    }
}

/// Asks for everything once, so that what grows by being used has grown.
pub(crate) fn ask_for_everything(soak: &Soak) {
    let mut connection = Connection::tcp(soak).expect("the server accepts");
    let mut known = Known(HashMap::new());
    for coding in ["", "gzip"] {
        let is_asked = |slot: &&Arc<Slot>| coding.is_empty() || !slot.is_large();
        for slot in soak.table.slots.iter().filter(is_asked) {
            let mut ask = Ask::plain(slot);
            ask.coding = coding;
            // (Where the machine holds us up for longer than an idle connection is kept, it is asked for again.)
            eventually("it comes", || {
                let sent = (now(), 0);
                let said = connection.send(ask.text().as_bytes());
                match said.map(|()| receive(soak, &mut connection, &ask, sent, &mut known)) {
                    Ok(Ok(true)) => return Some(()),
                    Ok(Err(Fault::Wrong(what))) => panic!("{what}"),
                    _ => connection = Connection::tcp(soak).expect("the server accepts"),
                }
                None
            });
        }
    }
}

/// Asks for anything, in any way, again and again.
pub(crate) fn read(soak: &Soak, seed: u64) {
    let mut random = Random::new(seed);
    let mut known = Known(HashMap::new());
    while !soak.is_done() {
        let connected = match random.one_in(4) {
            true => Connection::unix(soak),
            false => Connection::tcp(soak),
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                soak.finding(format!("connecting: {error}"));
                continue;
            }
        };
        for _ in 0..1 + random.below(60) {
            if soak.is_done() || !exchange(soak, &mut connection, &mut random, &mut known) {
                break;
            }
            if random.one_in(16) {
                list(soak);
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

/// Sends one request, or several at once; `false` if the connection is of no more use.
fn exchange(
    soak: &Soak,
    connection: &mut Connection,
    random: &mut Random,
    known: &mut Known,
) -> bool {
    let many = if random.one_in(6) {
        2 + random.below(10)
    } else {
        1
    };
    let asks: Vec<_> = (0..many)
        .map(|_| Ask::random(soak, random, known))
        .collect();
    let text: String = asks.iter().map(Ask::text).collect();
    let sent = (now(), soak.table.least_mark());
    if connection.send(text.as_bytes()).is_err() {
        count(&soak.counts.hung_up);
        return false;
    }
    for ask in &asks {
        match receive(soak, connection, ask, sent, known) {
            Ok(true) => {}
            Ok(false) => {
                count(&soak.counts.hung_up);
                return false;
            }
            Err(Fault::Cut) => {
                count(&soak.counts.cut);
                return false;
            }
            Err(Fault::Enough) => return false,
            Err(Fault::Wrong(what)) => {
                soak.finding(what);
                return false;
            }
        }
    }
    true
}

/// Asks what is in a folder, on a connection of its own, and compares names.
fn list(soak: &Soak) {
    let sent = now();
    let answered = (|| {
        let mut connection = Connection::tcp(soak)?;
        connection.send(
            b"GET /list/ HTTP/1.1\r\nHost: soak\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        )?;
        connection.rest()
    })();
    let heard = now();
    let text = match answered {
        Ok(text) if !text.is_empty() => String::from_utf8_lossy(&text).into_owned(),
        Ok(_) => return count(&soak.counts.hung_up),
        Err(error) => return soak.finding(format!("listing: {error}")),
    };
    let fault = |what: &str| soak.finding(format!("{what}: {text}"));
    let Some((head, mut chunks)) = text.split_once("\r\n\r\n") else {
        return fault("a listing without a head");
    };
    if !head.starts_with("HTTP/1.1 200 ") {
        return fault("no listing");
    }
    let mut json = String::new();
    loop {
        let Some((size, rest)) = chunks.split_once("\r\n") else {
            return fault("a listing that breaks off");
        };
        let size = usize::from_str_radix(size, 16).unwrap_or(usize::MAX);
        if size == 0 {
            break;
        }
        let Some(chunk) = rest.get(..size) else {
            return fault("a listing that breaks off");
        };
        json += chunk;
        chunks = rest[size..].trim_start_matches("\r\n");
    }
    let Ok(serde_json::Value::Array(entries)) = serde_json::from_str(&json) else {
        return fault("a listing that is no list");
    };
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| (entry["name"].as_str(), entry["size"].as_u64()))
        .collect();
    for slot in soak
        .table
        .slots
        .iter()
        .filter(|slot| slot.name.starts_with("list/"))
    {
        let name = slot.name.trim_start_matches("list/");
        let listed = entries.iter().find(|(other, _)| *other == Some(name));
        let states = slot.states(sent, heard);
        let explains = |state: &State| match (listed, state.what) {
            (None, what) => what == What::Absent,
            (Some((_, size)), what) => size.is_some_and(|size| may_be(what, size)),
        };
        if !states.iter().any(explains) {
            return fault(&format!("{} was {states:?}", slot.name));
        }
    }
    if entries.len() > 20 {
        return fault("there is more in it");
    }
    count(&soak.counts.listed);
    count(&soak.counts.answers);
}

/// Takes one or two KiB in a second of a large file, for as long as a minute and a half.
pub(crate) fn read_slowly(soak: &Soak, seed: u64) {
    let mut random = Random::new(seed + 1000);
    let large: Vec<_> = soak
        .table
        .slots
        .iter()
        .filter(|slot| slot.is_large())
        .collect();
    let mut known = Known(HashMap::new());
    while !soak.is_done() {
        let Ok(mut connection) = Connection::tcp(soak) else {
            continue;
        };
        let span = Duration::from_secs(5 + random.below(85) as u64);
        connection.slow_down(400, Duration::from_millis(200), Instant::now() + span);
        let ask = Ask::plain(large[random.below(large.len())]);
        let sent = (now(), soak.table.least_mark());
        if connection.send(ask.text().as_bytes()).is_err() {
            continue;
        }
        // Who is done does not wait for the next piece.
        match receive_until(soak, &mut connection, &ask, sent, &mut known) {
            Ok(false) => count(&soak.counts.hung_up),
            Err(Fault::Cut) => count(&soak.counts.cut),
            Err(Fault::Wrong(what)) => soak.finding(format!("slowly: {what}")),
            Ok(true) | Err(Fault::Enough) => {}
        }
    }
}

/// The same, until the end of all at the latest.
fn receive_until(
    soak: &Soak,
    connection: &mut Connection,
    ask: &Ask,
    sent: (Moment, u64),
    known: &mut Known,
) -> Result<bool, Fault> {
    let all = soak.deadline.load(Ordering::Relaxed);
    if let Some((_, _, until)) = &mut connection.slow {
        let left = Duration::from_nanos(all.saturating_sub(now()));
        *until = (*until).min(Instant::now() + left);
    }
    receive(soak, connection, ask, sent, known)
}

/// Sends a request and checks its answer to the end of the connection, which is ours to end.
pub(crate) fn ask_and_finish(soak: &Soak, random: &mut Random) {
    let mut known = Known(HashMap::new());
    let ask = Ask::random(soak, random, &known);
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.finding("connecting".to_owned());
    };
    let sent = (now(), soak.table.least_mark());
    if connection
        .send(ask.text().as_bytes())
        .and_then(|()| connection.finish())
        .is_err()
    {
        return count(&soak.counts.hung_up);
    }
    match receive(soak, &mut connection, &ask, sent, &mut known) {
        Ok(true) => match connection.rest() {
            Ok(rest) if rest.is_empty() => {}
            other => soak.finding(format!("after the last answer: {other:?}")),
        },
        Ok(false) => count(&soak.counts.hung_up),
        Err(Fault::Cut) => count(&soak.counts.cut),
        Err(Fault::Enough) => {}
        Err(Fault::Wrong(what)) => soak.finding(format!("half closed: {what}")),
    }
}

/// Asks for a small file, and for the server's health, and notes how long that takes.
pub(crate) fn probe(soak: &Soak) {
    let mut known = Known(HashMap::new());
    let mut connection = None;
    while !soak.is_done() {
        thread::sleep(Duration::from_millis(5));
        let Some(open) = connection.as_mut() else {
            connection = Connection::tcp(soak).ok();
            continue;
        };
        let ask = Ask::plain(&soak.table.still);
        let began = Instant::now();
        let sent = (now(), soak.table.least_mark());
        let answered = open.send(ask.text().as_bytes()).map_err(|_| Fault::Cut);
        match answered.and_then(|()| receive(soak, open, &ask, sent, &mut known)) {
            Ok(true) => soak
                .latencies
                .lock()
                .expect("nobody failed")
                .add(began.elapsed()),
            Err(Fault::Wrong(what)) => soak.finding(what),
            _ => {
                count(&soak.counts.hung_up);
                connection = None;
                continue;
            }
        }
        let healthy = open
            .send(b"GET /healthz HTTP/1.1\r\nHost: soak\r\n\r\n")
            .is_ok();
        match (healthy, Head::read(open)) {
            (true, Ok(Some(head))) if head.status == 200 => {
                let left = head.number("Content-Length").unwrap_or(0);
                let mut content = Content {
                    connection: open,
                    left,
                };
                let _ = io::copy(&mut content, &mut io::sink());
                count(&soak.counts.answers);
            }
            (_, Ok(None)) | (false, _) => {
                count(&soak.counts.hung_up);
                connection = None;
            }
            (true, Ok(Some(head))) => soak.finding(format!("its health is {}", head.status)),
            (true, Err(_)) => soak.finding("its health is not to be read".to_owned()),
        }
    }
}

#[test]
fn what_is_mixed_is_new_up_to_somewhere_and_old_from_there() {
    let part = |id, start, len| {
        let mut part = vec![0; len];
        make(id, start, &mut part);
        part
    };
    let check = |parts: &[(u64, Vec<u8>)], expected| {
        let (new, old, len) = (8, 7, 4000);
        let state = State::always(What::Mixed { new, old, len });
        let mut suspects = Suspects::of(vec![state]);
        let fits = parts.iter().all(|(start, part)| suspects.has(*start, part));
        assert_eq!(fits, expected, "{parts:?}");
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
