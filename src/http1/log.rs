//! Answers on their way, each told of once it has left: a line of the access log, and counted.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::access::{Access, Format, Said, TimeText};
use super::counters::{Awaited, Counters, Verb};
use crate::http::{Coding, Recall, Request, Status, Version, user};
use crate::journal::Journal;
use crate::net::Address;

/// How many empty [`Leaving`]s are kept for those who come next.
const SPARE: usize = 16;

/// Bytes and answers above which they are not.
const LARGE: usize = 4096;
const MANY: usize = 64;

/// Answers that have left in one turn, and bytes of their words, above which they are told of before it has ended, as if
/// it had only begun.
const TURN: usize = 1024;
const WORDS: usize = 256 * 1024;

/// One worker's log: what its conversations share.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: Option<Lines>,
    counters: Option<Arc<Counters>>,
    /// Answers that have left in this turn. Only at its end is it known how long they took: what has held up the loop
    /// has held them up.
    left: Leaving,
    #[expect(clippy::vec_box, reason = "it is the boxes that are lent")]
    spare: Vec<Box<Leaving>>,
}

/// Where lines go, and what they look like.
#[derive(Debug)]
struct Lines {
    journal: Journal,
    format: Format,
    time: TimeText,
}

/// The answers of one conversation that have not yet left, in their order. It is lent to the
/// conversation while there are any, so that an idle one owns none, and a busy one makes none.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    answers: Vec<Answer>,
    /// What their requests said, as far as the log says it, one after the other.
    words: Vec<u8>,
}

/// An answer that is on its way.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    /// Bytes of content.
    pub(super) content: u64,
    /// When the request began.
    pub(super) begun: Instant,
    /// How many bytes of the conversation will have been sent when it has left.
    pub(super) end: u64,
    /// Bytes of content that have left, as far as that has been counted.
    counted: u64,
    /// More is to come of it than is known.
    pub(super) is_open: bool,
    /// Who has asked.
    pub(super) peer: Address,
    /// Of the content.
    pub(super) coding: Coding,
    /// How what it is about came to be known, if anything was looked up.
    pub(super) recall: Option<Recall>,
    /// Why it is a refusal, if it is one.
    pub(super) reason: Option<&'static str>,
    /// Whether whose request it is has been verified.
    pub(super) is_verified: bool,
    verb: Verb,
    /// What the request said, if it could be read, and there are lines.
    words: Option<Words>,
}

/// How long each word is that a request said.
#[derive(Clone, Copy, Debug)]
struct Words {
    method: usize,
    target: usize,
    version: Version,
    user: Option<usize>,
    referer: Option<usize>,
    agent: Option<usize>,
}

impl Answer {
    pub(super) fn new(
        status: Status,
        peer: Address,
        content: u64,
        begun: Instant,
        end: u64,
    ) -> Self {
        Self {
            status,
            peer,
            content,
            begun,
            end,
            counted: 0,
            is_open: false,
            coding: Coding::Identity,
            recall: None,
            reason: None,
            is_verified: false,
            verb: Verb::None,
            words: None,
        }
    }

    /// Bytes of content that have left, now that so many of the conversation have been `sent`. Its head left before;
    /// what is missing is missing at the end.
    fn left(&self, sent: u64) -> u64 {
        let missing = self.end.saturating_sub(sent);
        // Before it grew less was missing.
        self.content.saturating_sub(missing).max(self.counted)
    }
}

impl Words {
    /// Appends the words of a request that a line in this format has.
    fn collect(
        request: &Request<'_>,
        is_verified: bool,
        format: Format,
        into: &mut Vec<u8>,
    ) -> Self {
        let method = request.method.name();
        into.extend_from_slice(method.as_bytes());
        into.extend_from_slice(request.target.as_bytes());
        let mut words = Self {
            method: method.len(),
            target: request.target.len(),
            version: request.version,
            user: None,
            referer: None,
            agent: None,
        };
        if is_verified && format.has_user() {
            let value = request.values("Authorization").next();
            words.user = value.and_then(|value| user(value, into));
        }
        if format.has_sender() {
            let (mut referer, mut agent) = (None, None);
            for line in request.lines {
                // Lengths are quicker to tell apart than names.
                let place = match line.name.len() {
                    7 if line.name.eq_ignore_ascii_case("Referer") => &mut referer,
                    10 if line.name.eq_ignore_ascii_case("User-Agent") => &mut agent,
                    _ => continue,
                };
                place.get_or_insert(line.value);
            }
            let mut keep = |value: Option<&[u8]>| {
                into.extend_from_slice(value?);
                value.map(<[u8]>::len)
            };
            words.referer = keep(referer);
            words.agent = keep(agent);
        }
        words
    }

    /// How long all of them are.
    fn len(self) -> usize {
        let said = [self.user, self.referer, self.agent];
        let said: usize = said.into_iter().flatten().sum();
        self.method + self.target + said
    }

    /// The words, from the front of all of them.
    fn cut<'a>(self, words: &mut &'a [u8]) -> Said<'a> {
        let mut word = |length| {
            let (word, rest) = words.split_at_checked(length).unwrap_or_default();
            *words = rest;
            word
        };
        Said {
            method: word(self.method),
            target: word(self.target),
            version: self.version,
            user: self.user.map(&mut word),
            referer: self.referer.map(&mut word),
            agent: self.agent.map(&mut word),
        }
    }
}

impl Log {
    pub(super) fn new(journal: Journal, format: Format) -> Self {
        Self {
            lines: Some(Lines {
                journal,
                format,
                time: TimeText::new(format),
            }),
            ..Self::default()
        }
    }

    /// The same, which counts what has left as well.
    pub(super) fn counted_by(mut self, counters: Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// A peer has been given up that was too slow.
    pub(super) fn gave_up(&self, awaited: Awaited) {
        if let Some(counters) = &self.counters {
            counters.gave_up(awaited);
        }
    }

    /// An answer has been queued, behind those that are leaving, to this request, if it could be read.
    pub(super) fn queued(
        &mut self,
        leaving: &mut Option<Box<Leaving>>,
        request: Option<&Request<'_>>,
        mut answer: Answer,
    ) {
        let leaving = leaving.get_or_insert_with(|| self.spare.pop().unwrap_or_default());
        answer.verb = Verb::of(request.map(|request| request.method));
        if let (Some(lines), Some(request)) = (&self.lines, request) {
            let (is_verified, format) = (answer.is_verified, lines.format);
            let words = Words::collect(request, is_verified, format, &mut leaving.words);
            answer.words = Some(words);
        }
        leaving.answers.push(answer);
    }

    /// So many more bytes of content have been queued for the last answer, up to this byte of the
    /// conversation. It has been open, and still is unless that is all.
    pub(super) fn grown(leaving: &mut Option<Box<Leaving>>, content: u64, end: u64, is_open: bool) {
        let last = leaving
            .as_mut()
            .and_then(|leaving| leaving.answers.last_mut());
        if let Some(answer) = last {
            answer.content += content;
            answer.end = end;
            answer.is_open = is_open;
        }
    }

    /// Counts what has left of answers that have not left whole, now that so many bytes have been `sent`.
    pub(super) fn going(&self, leaving: &mut Option<Box<Leaving>>, sent: u64) {
        let (Some(counters), Some(leaving)) = (&self.counters, leaving) else {
            return;
        };
        for answer in &mut leaving.answers {
            let left = answer.left(sent);
            counters.sent(left - answer.counted);
            answer.counted = left;
            if answer.end > sent {
                break;
            }
        }
    }

    /// Takes the answers that have left, now that so many bytes have been `sent`.
    pub(super) fn sent(
        &mut self,
        leaving: &mut Option<Box<Leaving>>,
        sent: u64,
        now: (Instant, SystemTime),
    ) {
        let Some(mut answers) = leaving.take() else {
            return;
        };
        let left = |answer: &&Answer| answer.end <= sent && !answer.is_open;
        let count = answers.answers.iter().take_while(left).count();
        self.take(&mut answers, count, sent, None, now);
        if !answers.answers.is_empty() {
            *leaving = Some(answers);
        } else if self.spare.len() < SPARE && answers.is_small() {
            self.spare.push(answers);
        }
    }

    /// Takes all answers: no more will be sent than has been, and why not.
    pub(super) fn closed(
        &mut self,
        leaving: Option<Box<Leaving>>,
        sent: u64,
        why: Option<&'static str>,
        now: (Instant, SystemTime),
    ) {
        if let Some(mut answers) = leaving {
            let count = answers.answers.len();
            self.take(&mut answers, count, sent, why, now);
        }
    }

    /// The turn is over: writes the lines of the answers that have left in it, and hands them over. The time is asked
    /// for if there are any.
    pub(super) fn rest(&mut self, clock: impl FnOnce() -> (Instant, SystemTime)) {
        if !self.left.answers.is_empty() {
            self.write(clock());
        }
        if let Some(lines) = &mut self.lines {
            lines.journal.flush();
        }
    }

    /// Takes the first so many, which have left as far as they will.
    fn take(
        &mut self,
        leaving: &mut Leaving,
        count: usize,
        sent: u64,
        why: Option<&'static str>,
        now: (Instant, SystemTime),
    ) {
        let mut words = 0;
        for answer in leaving.answers.iter_mut().take(count) {
            answer.content = answer.left(sent);
            if answer.end > sent || answer.is_open {
                answer.reason = answer.reason.or(why);
            }
            words += answer.words.map_or(0, Words::len);
        }
        if count == leaving.answers.len() {
            // As it mostly is. To take a part costs more.
            self.left.answers.append(&mut leaving.answers);
            self.left.words.append(&mut leaving.words);
        } else {
            self.left.answers.extend(leaving.answers.drain(..count));
            self.left.words.extend(leaving.words.drain(..words));
        }
        if self.left.answers.len() >= TURN || self.left.words.len() >= WORDS {
            self.write(now);
        }
    }

    /// Counts the answers that have left, writes their lines, and forgets them.
    fn write(&mut self, (instant, wall): (Instant, SystemTime)) {
        let mut words = self.left.words.as_slice();
        for answer in &self.left.answers {
            let duration = instant.saturating_duration_since(answer.begun);
            if let Some(counters) = &self.counters {
                let (verb, recall) = (answer.verb, answer.recall);
                counters.answered(verb, answer.status, duration, recall);
                counters.sent(answer.content - answer.counted);
            }
            let Some(lines) = &mut self.lines else {
                continue;
            };
            let access = Access {
                time: lines.time.at(wall),
                peer: answer.peer,
                request: answer.words.map(|lengths| lengths.cut(&mut words)),
                status: answer.status,
                content: answer.content,
                duration,
                coding: answer.coding,
                recall: answer.recall,
                reason: answer.reason,
            };
            access.write(lines.format, lines.journal.lines());
        }
        self.left.answers.clear();
        self.left.words.clear();
    }
}

impl Leaving {
    fn is_small(&self) -> bool {
        self.words.capacity() <= LARGE && self.answers.capacity() <= MANY
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::http::{Line, Method};
    use crate::journal::Out;

    struct Sent(Sender<Vec<u8>>);

    impl Out for Sent {}

    impl io::Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log() -> (Log, Receiver<Vec<u8>>) {
        let (sender, out) = channel();
        let (journal, _) = Journal::new("it", Duration::ZERO, Sent(sender)).unwrap();
        (Log::new(journal, Format::Combined), out)
    }

    fn get<'a>(method: &'a str, target: &'a str) -> Request<'a> {
        Request {
            method: Method::named(method),
            target,
            version: Version::Http11,
            lines: &[],
        }
    }

    /// An answer of 10 bytes, all content, that has left with this byte.
    fn answer(end: u64, now: Instant) -> Answer {
        Answer::new(Status::Ok, peer(), 10, now, end)
    }

    fn peer() -> Address {
        ([10, 0, 0, 1], 80).into()
    }

    #[test]
    fn lines_come_as_answers_leave_and_what_is_cut_is_counted() {
        let (mut log, out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut leaving = None;
        for (number, request) in [
            Some(get("GET", "/a")),
            None,
            Some(get("HEAD", "/é")),
            Some(get("GET", "/b")),
        ]
        .into_iter()
        .enumerate()
        {
            let end = 10 * (number as u64 + 1);
            log.queued(&mut leaving, request.as_ref(), answer(end, now.0));
        }
        log.sent(&mut leaving, 9, now);
        assert!(log.left.answers.is_empty(), "none has left");
        log.sent(&mut leaving, 20, now);
        assert_eq!(leaving.as_ref().unwrap().words, "HEAD/éGET/b".as_bytes());
        log.queued(&mut leaving, Some(&get("GET", "/c")), answer(50, now.0));
        log.closed(leaving, 33, Some("Gone."), now);
        log.rest(|| now);
        drop(log);
        let said = String::from_utf8(out.iter().flatten().collect()).unwrap();
        let lines: Vec<&str> = said
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
    fn an_answer_that_is_being_made_is_a_line_once_it_is_whole() {
        let (mut log, out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut whole = None;
        let mut open = Answer::new(Status::Ok, peer(), 0, now.0, 10);
        open.is_open = true;
        log.queued(&mut whole, Some(&get("GET", "/a")), open);
        log.sent(&mut whole, 10, now);
        Log::grown(&mut whole, 100, 120, true);
        log.sent(&mut whole, 120, now);
        assert!(log.left.answers.is_empty(), "more is to come");
        Log::grown(&mut whole, 0, 125, false);
        log.sent(&mut whole, 125, now);
        let mut open = Answer::new(Status::Ok, peer(), 0, now.0, 10);
        open.is_open = true;
        let mut cut = None;
        log.queued(&mut cut, Some(&get("GET", "/b")), open);
        Log::grown(&mut cut, 100, 110, true);
        log.closed(cut, 50, None, now);
        log.rest(|| now);
        drop(log);
        let said = String::from_utf8(out.iter().flatten().collect()).unwrap();
        assert!(
            said.contains("GET /a HTTP/1.1\" 200 100 ")
                && said.contains("GET /b HTTP/1.1\" 200 40 "),
            "{said}"
        );
    }

    #[test]
    fn what_has_held_up_the_turn_has_held_up_its_answers() {
        let (log, out) = log();
        let counters = Arc::new(Counters::default());
        let mut log = log.counted_by(counters.clone());
        let start = (Instant::now(), UNIX_EPOCH);
        let later = Duration::from_secs(3);
        let end = (start.0 + later, start.1 + later);
        log.rest(|| panic!("nobody has to know"));
        let ask = |log: &mut Log, number: usize| {
            let mut leaving = None;
            let target = format!("/{number}");
            let request = get("GET", &target);
            log.queued(&mut leaving, Some(&request), answer(10, start.0));
            log.sent(&mut leaving, 10, start);
        };
        for number in 0..3 {
            ask(&mut log, number);
        }
        assert_eq!(counters.duration(), Duration::ZERO);
        log.rest(|| end);
        assert_eq!(counters.duration(), 3 * later);
        // Where there are very many, it is not known yet of the first of them.
        for number in 3..=TURN + 3 {
            ask(&mut log, number);
        }
        log.rest(|| end);
        assert_eq!(counters.duration(), 4 * later);
        drop(log);
        let said = String::from_utf8(out.iter().flatten().collect()).unwrap();
        for (number, line) in said.lines().enumerate() {
            let second = if number < 3 || number == TURN + 3 {
                3
            } else {
                0
            };
            let expected = format!(":00:00:0{second} +0000] \"GET /{number} HTTP/1.1\" 200 10 ");
            assert!(line.contains(&expected), "{line}");
        }
        assert_eq!(said.lines().count(), TURN + 4);
    }

    #[test]
    fn content_is_counted_as_it_leaves() {
        let counters = Arc::new(Counters::default());
        let mut log = Log::default().counted_by(counters.clone());
        let now = (Instant::now(), UNIX_EPOCH);
        let mut leaving = None;
        for end in [15, 30] {
            log.queued(&mut leaving, None, answer(end, now.0));
        }
        for (sent, expected) in [(0, 0), (5, 0), (6, 1), (14, 9), (20, 10), (27, 17)] {
            log.going(&mut leaving, sent);
            assert_eq!(counters.content(), expected, "{sent}");
        }
        log.sent(&mut leaving, 29, now);
        log.rest(|| now);
        assert_eq!(counters.content(), 17, "none of it twice");
        log.sent(&mut leaving, 30, now);
        log.rest(|| now);
        assert_eq!(counters.content(), 20);

        // Chunks have more bytes than what is in them.
        let mut open = Answer::new(Status::Ok, peer(), 0, now.0, 40);
        open.is_open = true;
        log.queued(&mut leaving, None, open);
        Log::grown(&mut leaving, 100, 150, true);
        log.going(&mut leaving, 150);
        assert_eq!(counters.content(), 120);
        Log::grown(&mut leaving, 100, 260, true);
        for (sent, expected) in [(155, 120), (170, 130)] {
            log.going(&mut leaving, sent);
            assert_eq!(counters.content(), expected, "{sent}");
        }
        log.closed(leaving, 160, None, now);
        log.rest(|| now);
        assert_eq!(counters.content(), 130, "it has left");
    }

    #[test]
    fn the_words_of_each_request_are_its_own() {
        let line = |name, value| Line { name, value };
        let lines = [
            line("user-agent", &b"curl/8"[..]),
            line("Authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            line("Referer", b"http://a/\xff"),
            line("User-Agent", b"another"),
        ];
        let (mut log, out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut leaving = None;
        for is_verified in [true, false] {
            for lines in [&lines[..], &[]] {
                let request = Request {
                    lines,
                    ..get("GET", "/a")
                };
                let mut answer = answer(10, now.0);
                answer.is_verified = is_verified;
                log.queued(&mut leaving, Some(&request), answer);
            }
        }
        log.sent(&mut leaving, 10, now);
        log.rest(|| now);
        drop(log);
        let said = String::from_utf8(out.iter().flatten().collect()).unwrap();
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
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_lent_comes_back_unless_it_has_grown() {
        let (mut log, _out) = log();
        let now = (Instant::now(), UNIX_EPOCH);
        let mut lend = |target: &str, count: usize| {
            let mut all: Vec<_> = (0..count).map(|_| None).collect();
            for leaving in &mut all {
                log.queued(leaving, Some(&get("GET", target)), answer(10, now.0));
            }
            for leaving in &mut all {
                log.sent(leaving, 10, now);
                assert!(leaving.is_none(), "an idle conversation owns none");
            }
            log.spare.len()
        };
        assert_eq!(lend("/", 1), 1);
        assert_eq!(lend("/", 1), 1, "the same again");
        assert_eq!(lend("/", 3), 3);
        assert_eq!(lend("/", 2 * SPARE), SPARE);
        assert_eq!(lend(&"x".repeat(LARGE + 1), 1), SPARE - 1);
    }
}
