//! Responses in flight: each is logged as a line and counted once it has been sent.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::access_line::{AccessLine, CachedLogTime, LogFormat, LoggedRequest};
use super::counters::{MethodLabel, RequestCounters, TimeoutKind};
use crate::http::{CacheStatus, Coding, Request, RequestField, Status, Version, append_user};
use crate::log::LineWriter;
use crate::net::Address;

/// Number of empty [`InFlight`]s kept for reuse.
const MAX_SPARE: usize = 16;

/// Capacities above which an [`InFlight`] is freed rather than reused: bytes of text, and records.
const MAX_SPARE_TEXT_BYTES: usize = 4096;
const MAX_SPARE_RECORDS: usize = 64;

/// Responses finished in one turn, and bytes of their text, above which they are logged before the turn ends, with the
/// time of its start.
const MAX_RECORDS_PER_TURN: usize = 1024;
const MAX_TEXT_BYTES_PER_TURN: usize = 256 * 1024;

/// A worker's access log, shared by its sessions.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    output: Option<LogOutput>,
    counters: Option<Arc<RequestCounters>>,
    /// Responses finished in this turn. Their durations are known only at its end: what delays the loop delays them.
    finished: InFlight,
    #[expect(clippy::vec_box, reason = "the boxes are lent to sessions")]
    spare: Vec<Box<InFlight>>,
}

/// Destination and format of the lines.
#[derive(Debug)]
struct LogOutput {
    line_writer: LineWriter,
    format: LogFormat,
    time: CachedLogTime,
}

/// A session's responses that have not been sent completely, in order. It is lent to a session while there are any, so
/// that an idle session owns none, and a busy one allocates none.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    records: Vec<LogRecord>,
    /// Logged fields of their requests, concatenated.
    text: Vec<u8>,
}

/// A response in flight.
#[derive(Debug)]
pub(super) struct LogRecord {
    pub(super) status: Status,
    /// Bytes of content.
    pub(super) content: u64,
    /// Time of the request's first byte.
    pub(super) start: Instant,
    /// Offset in the connection's output at which the response ends.
    pub(super) end_offset: u64,
    /// Bytes of content already added to the counters.
    counted_content: u64,
    /// More content is to come, of unknown length.
    pub(super) is_streaming: bool,
    /// Address of the client.
    pub(super) client: Address,
    /// Coding of the content.
    pub(super) coding: Coding,
    /// Use of the cache by the lookup; `None` if nothing was looked up.
    pub(super) cache_status: Option<CacheStatus>,
    /// Reason of an error.
    pub(super) reason: Option<&'static str>,
    /// Whether the client's credentials were verified.
    pub(super) is_authorized: bool,
    /// Whether the access log has a line for it.
    pub(super) is_logged: bool,
    method: MethodLabel,
    /// Lengths of the request's logged fields, if it could be parsed and lines are written.
    request: Option<LoggedLengths>,
}

/// Lengths of a request's logged fields.
#[derive(Clone, Copy, Debug)]
struct LoggedLengths {
    method: usize,
    target: usize,
    version: Version,
    user: Option<usize>,
    referer: Option<usize>,
    user_agent: Option<usize>,
}

impl LogRecord {
    pub(super) fn new(
        status: Status,
        client: Address,
        content: u64,
        start: Instant,
        end_offset: u64,
    ) -> Self {
        Self {
            status,
            client,
            content,
            start,
            end_offset,
            counted_content: 0,
            is_streaming: false,
            coding: Coding::Identity,
            cache_status: None,
            reason: None,
            is_authorized: false,
            is_logged: true,
            method: MethodLabel::None,
            request: None,
        }
    }

    /// Bytes of content sent, when `sent` bytes of the connection's output have been sent. The head comes first, so
    /// what is missing is content.
    fn content_sent(&self, sent: u64) -> u64 {
        let missing = self.end_offset.saturating_sub(sent);
        // A streamed response may have had less missing before it grew.
        self.content
            .saturating_sub(missing)
            .max(self.counted_content)
    }
}

impl LoggedLengths {
    /// Appends the request's fields that a line in this format includes.
    fn append(
        request: &Request<'_>,
        is_authorized: bool,
        format: LogFormat,
        into: &mut Vec<u8>,
    ) -> Self {
        let method = request.method.name();
        into.extend_from_slice(method.as_bytes());
        into.extend_from_slice(request.target.as_bytes());
        let mut lengths = Self {
            method: method.len(),
            target: request.target.len(),
            version: request.version,
            user: None,
            referer: None,
            user_agent: None,
        };
        if is_authorized && format.has_user() {
            let value = request.fields.first(RequestField::Authorization);
            lengths.user = value.and_then(|value| append_user(value, into));
        }
        if format.has_referer_and_user_agent() {
            let mut append = |field| {
                let value = request.fields.first(field)?;
                into.extend_from_slice(value);
                Some(value.len())
            };
            lengths.referer = append(RequestField::Referer);
            lengths.user_agent = append(RequestField::UserAgent);
        }
        lengths
    }

    /// Sum of the lengths.
    fn len(self) -> usize {
        let optional = [self.user, self.referer, self.user_agent];
        let optional: usize = optional.into_iter().flatten().sum();
        self.method + self.target + optional
    }

    /// Splits the fields off the front of `text`.
    fn split<'a>(self, text: &mut &'a [u8]) -> LoggedRequest<'a> {
        let mut field = |length| {
            let (field, rest) = text.split_at_checked(length).unwrap_or_default();
            *text = rest;
            field
        };
        LoggedRequest {
            method: field(self.method),
            target: field(self.target),
            version: self.version,
            user: self.user.map(&mut field),
            referer: self.referer.map(&mut field),
            user_agent: self.user_agent.map(&mut field),
        }
    }
}

impl AccessLog {
    pub(super) fn new(line_writer: LineWriter, format: LogFormat) -> Self {
        Self {
            output: Some(LogOutput {
                line_writer,
                format,
                time: CachedLogTime::new(format),
            }),
            ..Self::default()
        }
    }

    /// Writes lines in local time; `utc_offset` returns its offset from UTC in seconds.
    pub(super) fn in_local_time(mut self, utc_offset: Option<fn(SystemTime) -> i64>) -> Self {
        if let (Some(lines), Some(utc_offset)) = (&mut self.output, utc_offset) {
            lines.time = CachedLogTime::local(lines.format, utc_offset);
        }
        self
    }

    /// Adds counters of sent responses.
    pub(super) fn with_counters(mut self, counters: Arc<RequestCounters>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// Counts a connection that timed out.
    pub(super) fn record_timeout(&self, timeout: TimeoutKind) {
        if let Some(counters) = &self.counters {
            counters.record_timeout(timeout);
        }
    }

    /// Records a response that has been queued behind those in flight. `request` is `None` if it could not be parsed.
    pub(super) fn push(
        &mut self,
        in_flight: &mut Option<Box<InFlight>>,
        request: Option<&Request<'_>>,
        mut record: LogRecord,
    ) {
        let in_flight = in_flight.get_or_insert_with(|| self.spare.pop().unwrap_or_default());
        record.method = MethodLabel::of(request.map(|request| request.method));
        if let (Some(output), Some(request), true) = (&self.output, request, record.is_logged) {
            let (is_authorized, format) = (record.is_authorized, output.format);
            let lengths =
                LoggedLengths::append(request, is_authorized, format, &mut in_flight.text);
            record.request = Some(lengths);
        }
        in_flight.records.push(record);
    }

    /// Adds `content` bytes, queued up to the offset `end_offset`, to the last response, which is streamed. `is_open`:
    /// more is to come.
    pub(super) fn extend_last(
        in_flight: &mut Option<Box<InFlight>>,
        content: u64,
        end_offset: u64,
        is_open: bool,
    ) {
        let last = in_flight
            .as_mut()
            .and_then(|in_flight| in_flight.records.last_mut());
        if let Some(record) = last {
            record.content += content;
            record.end_offset = end_offset;
            record.is_streaming = is_open;
        }
    }

    /// Counts the content sent so far of responses in flight, when `sent` bytes of the output have been sent.
    pub(super) fn count_sent(&self, in_flight: &mut Option<Box<InFlight>>, sent: u64) {
        let (Some(counters), Some(in_flight)) = (&self.counters, in_flight) else {
            return;
        };
        for record in &mut in_flight.records {
            let content_sent = record.content_sent(sent);
            counters.add_content(content_sent - record.counted_content);
            record.counted_content = content_sent;
            if record.end_offset > sent {
                break;
            }
        }
    }

    /// Moves completely sent responses to `finished`, when `sent` bytes of the output have been sent.
    pub(super) fn finish_sent(
        &mut self,
        in_flight: &mut Option<Box<InFlight>>,
        sent: u64,
        now: (Instant, SystemTime),
    ) {
        let Some(mut records) = in_flight.take() else {
            return;
        };
        let is_sent = |record: &&LogRecord| record.end_offset <= sent && !record.is_streaming;
        let count = records.records.iter().take_while(is_sent).count();
        self.move_finished(&mut records, count, sent, None, now);
        if !records.records.is_empty() {
            *in_flight = Some(records);
        } else if self.spare.len() < MAX_SPARE && records.is_small() {
            self.spare.push(records);
        }
    }

    /// Moves all responses to `finished`: no more than `sent` bytes will be sent, for this reason.
    pub(super) fn finish_all(
        &mut self,
        in_flight: Option<Box<InFlight>>,
        sent: u64,
        reason: Option<&'static str>,
        now: (Instant, SystemTime),
    ) {
        if let Some(mut records) = in_flight {
            let count = records.records.len();
            self.move_finished(&mut records, count, sent, reason, now);
        }
    }

    /// Logs the responses finished in this turn, and flushes their lines. The clock is read only if there are any.
    pub(super) fn on_turn_end(&mut self, clock: impl FnOnce() -> (Instant, SystemTime)) {
        if !self.finished.records.is_empty() {
            self.write_finished(clock());
        }
        if let Some(output) = &mut self.output {
            output.line_writer.flush();
        }
    }

    /// Moves the first `count` responses, of which no more will be sent, to `finished`.
    fn move_finished(
        &mut self,
        in_flight: &mut InFlight,
        count: usize,
        sent: u64,
        reason: Option<&'static str>,
        now: (Instant, SystemTime),
    ) {
        let mut text_len = 0;
        for record in in_flight.records.iter_mut().take(count) {
            record.content = record.content_sent(sent);
            if record.end_offset > sent || record.is_streaming {
                record.reason = record.reason.or(reason);
            }
            text_len += record.request.map_or(0, LoggedLengths::len);
        }
        if count == in_flight.records.len() {
            // The usual case; moving a part costs more.
            self.finished.records.append(&mut in_flight.records);
            self.finished.text.append(&mut in_flight.text);
        } else {
            self.finished
                .records
                .extend(in_flight.records.drain(..count));
            self.finished.text.extend(in_flight.text.drain(..text_len));
        }
        if self.finished.records.len() >= MAX_RECORDS_PER_TURN
            || self.finished.text.len() >= MAX_TEXT_BYTES_PER_TURN
        {
            self.write_finished(now);
        }
    }

    /// Counts the finished responses, writes their lines, and clears them.
    fn write_finished(&mut self, (instant, wall): (Instant, SystemTime)) {
        let mut text = self.finished.text.as_slice();
        for record in &self.finished.records {
            let duration = instant.saturating_duration_since(record.start);
            if let Some(counters) = &self.counters {
                let (method, cache_status) = (record.method, record.cache_status);
                counters.record_response(method, record.status, duration, cache_status);
                counters.add_content(record.content - record.counted_content);
            }
            let Some(output) = self.output.as_mut().filter(|_| record.is_logged) else {
                continue;
            };
            let access = AccessLine {
                time: output.time.render(wall),
                client: record.client,
                request: record.request.map(|lengths| lengths.split(&mut text)),
                status: record.status,
                content: record.content,
                duration,
                coding: record.coding,
                cache_status: record.cache_status,
                reason: record.reason,
            };
            access.write(output.format, output.line_writer.batch());
        }
        self.finished.records.clear();
        self.finished.text.clear();
    }
}

impl InFlight {
    fn is_small(&self) -> bool {
        self.text.capacity() <= MAX_SPARE_TEXT_BYTES && self.records.capacity() <= MAX_SPARE_RECORDS
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::http::{FieldLine, Method, RequestFields};
    use crate::log::LineSink;

    struct ByteChannel(Sender<Vec<u8>>);

    impl LineSink for ByteChannel {}

    impl io::Write for ByteChannel {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log() -> (AccessLog, Receiver<Vec<u8>>) {
        let (sender, out) = channel();
        let (line_writer, _) = LineWriter::new("it", Duration::ZERO, ByteChannel(sender)).unwrap();
        (AccessLog::new(line_writer, LogFormat::Combined), out)
    }

    fn get<'a>(method: &'a str, target: &'a str) -> Request<'a> {
        Request {
            method: Method::from_name(method),
            target,
            version: Version::Http11,
            fields: RequestFields::new(&[]),
        }
    }

    /// A response of 10 bytes, all of them content, that ends at this offset.
    fn log_record(end_offset: u64, now: Instant) -> LogRecord {
        LogRecord::new(Status::Ok, client_address(), 10, now, end_offset)
    }

    fn client_address() -> Address {
        ([10, 0, 0, 1], 80).into()
    }

    #[test]
    fn line_is_written_when_its_response_was_sent_or_aborted() {
        let (mut log, out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut in_flight = None;
        for (number, request) in [
            Some(get("GET", "/a")),
            None,
            Some(get("HEAD", "/é")),
            Some(get("GET", "/b")),
        ]
        .into_iter()
        .enumerate()
        {
            let end_offset = 10 * (number as u64 + 1);
            log.push(
                &mut in_flight,
                request.as_ref(),
                log_record(end_offset, now.0),
            );
        }
        log.finish_sent(&mut in_flight, 9, now);
        assert!(log.finished.records.is_empty(), "none is sent");
        log.finish_sent(&mut in_flight, 20, now);
        assert_eq!(in_flight.as_ref().unwrap().text, "HEAD/éGET/b".as_bytes());
        log.push(
            &mut in_flight,
            Some(&get("GET", "/c")),
            log_record(50, now.0),
        );
        log.finish_all(in_flight, 33, Some("Gone."), now);
        log.on_turn_end(|| now);
        drop(log);
        let written = String::from_utf8(out.iter().flatten().collect()).unwrap();
        let lines: Vec<&str> = written
            .lines()
            .map(|line| line.strip_prefix("10.0.0.1 - - [01/Jan/1970:00:00:00 +0000] "))
            .map(|line| line.and_then(|line| line.strip_suffix(" \"-\" \"-\"")))
            .map(|line| line.expect("a line"))
            .collect();
        let expected = [
            "\"GET /a HTTP/1.1\" 200 10",
            "\"-\" 200 10",
            "\"HEAD /\\xC3\\xA9 HTTP/1.1\" 200 10",
            "\"GET /b HTTP/1.1\" 200 3",
            "\"GET /c HTTP/1.1\" 200 -",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn streamed_response_is_logged_once_complete() {
        let (mut log, out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut whole = None;
        let mut open = LogRecord::new(Status::Ok, client_address(), 0, now.0, 10);
        open.is_streaming = true;
        log.push(&mut whole, Some(&get("GET", "/a")), open);
        log.finish_sent(&mut whole, 10, now);
        AccessLog::extend_last(&mut whole, 100, 120, true);
        log.finish_sent(&mut whole, 120, now);
        assert!(log.finished.records.is_empty(), "more is to come");
        AccessLog::extend_last(&mut whole, 0, 125, false);
        log.finish_sent(&mut whole, 125, now);
        let mut open = LogRecord::new(Status::Ok, client_address(), 0, now.0, 10);
        open.is_streaming = true;
        let mut aborted = None;
        log.push(&mut aborted, Some(&get("GET", "/b")), open);
        AccessLog::extend_last(&mut aborted, 100, 110, true);
        log.finish_all(aborted, 50, None, now);
        log.on_turn_end(|| now);
        drop(log);
        let written = String::from_utf8(out.iter().flatten().collect()).unwrap();
        assert!(
            written.contains("GET /a HTTP/1.1\" 200 100 ")
                && written.contains("GET /b HTTP/1.1\" 200 40 "),
            "{written}"
        );
    }

    #[test]
    fn duration_lasts_until_the_end_of_the_turn() {
        let (log, out) = log();
        let counters = Arc::new(RequestCounters::default());
        let mut log = log.with_counters(counters.clone());
        let start = (Instant::now(), UNIX_EPOCH);
        let later = Duration::from_secs(3);
        let end_offset = (start.0 + later, start.1 + later);
        log.on_turn_end(|| panic!("the clock is not needed"));
        let ask = |log: &mut AccessLog, number: usize| {
            let mut in_flight = None;
            let target = format!("/{number}");
            let request = get("GET", &target);
            log.push(&mut in_flight, Some(&request), log_record(10, start.0));
            log.finish_sent(&mut in_flight, 10, start);
        };
        for number in 0..3 {
            ask(&mut log, number);
        }
        assert_eq!(counters.total_duration(), Duration::ZERO);
        log.on_turn_end(|| end_offset);
        assert_eq!(counters.total_duration(), 3 * later);
        // With very many responses, the first ones are logged with the time of the turn's start.
        for number in 3..=MAX_RECORDS_PER_TURN + 3 {
            ask(&mut log, number);
        }
        log.on_turn_end(|| end_offset);
        assert_eq!(counters.total_duration(), 4 * later);
        drop(log);
        let written = String::from_utf8(out.iter().flatten().collect()).unwrap();
        for (number, line) in written.lines().enumerate() {
            let second = if number < 3 || number == MAX_RECORDS_PER_TURN + 3 {
                3
            } else {
                0
            };
            let expected = format!(":00:00:0{second} +0000] \"GET /{number} HTTP/1.1\" 200 10 ");
            assert!(line.contains(&expected), "{line}");
        }
        assert_eq!(written.lines().count(), MAX_RECORDS_PER_TURN + 4);
    }

    #[test]
    fn sent_content_is_counted_as_it_is_sent() {
        let counters = Arc::new(RequestCounters::default());
        let mut log = AccessLog::default().with_counters(counters.clone());
        let now = (Instant::now(), UNIX_EPOCH);
        let mut in_flight = None;
        for end_offset in [15, 30] {
            log.push(&mut in_flight, None, log_record(end_offset, now.0));
        }
        for (sent, expected) in [(0, 0), (5, 0), (6, 1), (14, 9), (20, 10), (27, 17)] {
            log.count_sent(&mut in_flight, sent);
            assert_eq!(counters.content_bytes(), expected, "{sent}");
        }
        log.finish_sent(&mut in_flight, 29, now);
        log.on_turn_end(|| now);
        assert_eq!(counters.content_bytes(), 17, "nothing is counted twice");
        log.finish_sent(&mut in_flight, 30, now);
        log.on_turn_end(|| now);
        assert_eq!(counters.content_bytes(), 20);

        // Chunked framing adds bytes that are not content.
        let mut open = LogRecord::new(Status::Ok, client_address(), 0, now.0, 40);
        open.is_streaming = true;
        log.push(&mut in_flight, None, open);
        AccessLog::extend_last(&mut in_flight, 100, 150, true);
        log.count_sent(&mut in_flight, 150);
        assert_eq!(counters.content_bytes(), 120);
        AccessLog::extend_last(&mut in_flight, 100, 260, true);
        for (sent, expected) in [(155, 120), (170, 130)] {
            log.count_sent(&mut in_flight, sent);
            assert_eq!(counters.content_bytes(), expected, "{sent}");
        }
        log.finish_all(in_flight, 160, None, now);
        log.on_turn_end(|| now);
        assert_eq!(counters.content_bytes(), 130, "what was sent stays counted");
    }

    #[test]
    fn each_line_has_its_own_request_fields() {
        let line = |name: &'static str, value| FieldLine {
            name: name.as_bytes(),
            value,
        };
        let lines = [
            line("user-agent", &b"curl/8"[..]),
            line("Authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            line("Referer", b"http://a/\xff"),
            line("User-Agent", b"another"),
        ];
        let (mut log, out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut in_flight = None;
        for is_authorized in [true, false] {
            for lines in [&lines[..], &[]] {
                let request = Request {
                    fields: RequestFields::new(lines),
                    ..get("GET", "/a")
                };
                let mut record = log_record(10, now.0);
                record.is_authorized = is_authorized;
                log.push(&mut in_flight, Some(&request), record);
            }
        }
        log.finish_sent(&mut in_flight, 10, now);
        log.on_turn_end(|| now);
        drop(log);
        let written = String::from_utf8(out.iter().flatten().collect()).unwrap();
        let time = "[01/Jan/1970:00:00:00 +0000]";
        let expected: String = [("Aladdin", true), ("-", false), ("-", true), ("-", false)]
            .iter()
            .map(|(user, has_sender)| {
                let sender = match has_sender {
                    true => "\"http://a/\\xFF\" \"curl/8\"",
                    false => "\"-\" \"-\"",
                };
                format!("10.0.0.1 - {user} {time} \"GET /a HTTP/1.1\" 200 10 {sender}\n")
            })
            .collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn small_records_are_reused_and_large_ones_freed() {
        let (mut log, _out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut lend = |target: &str, count: usize| {
            let mut all: Vec<_> = (0..count).map(|_| None).collect();
            for in_flight in &mut all {
                log.push(in_flight, Some(&get("GET", target)), log_record(10, now.0));
            }
            for in_flight in &mut all {
                log.finish_sent(in_flight, 10, now);
                assert!(in_flight.is_none(), "an idle session owns none");
            }
            log.spare.len()
        };
        assert_eq!(lend("/", 1), 1);
        assert_eq!(lend("/", 1), 1, "the same one is reused");
        assert_eq!(lend("/", 3), 3);
        assert_eq!(lend("/", 2 * MAX_SPARE), MAX_SPARE);
        assert_eq!(
            lend(&"x".repeat(MAX_SPARE_TEXT_BYTES + 1), 1),
            MAX_SPARE - 1
        );
    }
}
