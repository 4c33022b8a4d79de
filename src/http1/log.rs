//! Answers on their way, each a line of the access log once it has left.

use std::time::{Instant, SystemTime};

use super::access::{Access, TimeText};
use crate::http::Status;
use crate::journal::Journal;
use crate::net::Address;

/// How many empty [`Leaving`]s are kept for those who come next.
const SPARE: usize = 16;

/// Bytes and answers above which they are not.
const LARGE: usize = 4096;
const MANY: usize = 64;

/// One worker's log: what its conversations share.
#[derive(Debug)]
pub(super) struct Log {
    journal: Journal,
    time: TimeText,
    #[expect(clippy::vec_box, reason = "it is the boxes that are lent")]
    spare: Vec<Box<Leaving>>,
}

/// The answers of one conversation that have not yet left, in their order. It is lent to the
/// conversation while there are any, so that an idle one owns none, and a busy one makes none.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    answers: Vec<Answer>,
    /// The methods and targets, one after the other.
    words: String,
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
    /// More is to come of it than is known.
    pub(super) is_open: bool,
    /// For whom the peer has sent the request, if it is trusted to say so.
    pub(super) client: Option<Address>,
    /// The lengths of method and target, if they could be read.
    words: Option<(usize, usize)>,
}

impl Answer {
    pub(super) fn new(status: Status, content: u64, begun: Instant, end: u64) -> Self {
        Self {
            status,
            content,
            begun,
            end,
            is_open: false,
            client: None,
            words: None,
        }
    }
}

impl Log {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            time: TimeText::default(),
            spare: Vec::new(),
        }
    }

    /// An answer has been queued, behind those that are leaving, to a request with this method and
    /// target.
    pub(super) fn queued(
        &mut self,
        leaving: &mut Option<Box<Leaving>>,
        request: Option<(&str, &str)>,
        mut answer: Answer,
    ) {
        let leaving = leaving.get_or_insert_with(|| self.spare.pop().unwrap_or_default());
        if let Some((method, target)) = request {
            leaving.words.extend([method, target]);
            answer.words = Some((method.len(), target.len()));
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

    /// Writes the lines of the answers that have left, now that so many bytes have been `sent`.
    pub(super) fn sent(
        &mut self,
        leaving: &mut Option<Box<Leaving>>,
        peer: Address,
        sent: u64,
        now: (Instant, SystemTime),
    ) {
        let Some(mut answers) = leaving.take() else {
            return;
        };
        let left = |answer: &&Answer| answer.end <= sent && !answer.is_open;
        let count = answers.answers.iter().take_while(left).count();
        self.write(&mut answers, count, peer, sent, now);
        if !answers.answers.is_empty() {
            *leaving = Some(answers);
        } else if self.spare.len() < SPARE && answers.is_small() {
            self.spare.push(answers);
        }
    }

    /// Writes the lines of all answers: no more will be sent than has been.
    pub(super) fn closed(
        &mut self,
        leaving: Option<Box<Leaving>>,
        peer: Address,
        sent: u64,
        now: (Instant, SystemTime),
    ) {
        if let Some(mut answers) = leaving {
            let count = answers.answers.len();
            self.write(&mut answers, count, peer, sent, now);
        }
    }

    /// Hands the lines over.
    pub(super) fn flush(&mut self) {
        self.journal.flush();
    }

    /// Writes the lines of the first so many, and forgets them.
    fn write(
        &mut self,
        leaving: &mut Leaving,
        count: usize,
        peer: Address,
        sent: u64,
        (instant, wall): (Instant, SystemTime),
    ) {
        let time = self.time.at(wall);
        let mut words = leaving.words.as_str();
        for answer in leaving.answers.drain(..count) {
            let mut word = |length| {
                let (word, rest) = words.split_at_checked(length).unwrap_or_default();
                words = rest;
                word
            };
            // Its head left before its content; what is missing is missing at the end.
            let missing = answer.end.saturating_sub(sent);
            let access = Access {
                time,
                peer: answer.client.unwrap_or(peer),
                request: answer
                    .words
                    .map(|(method, target)| (word(method), word(target))),
                status: answer.status,
                content: answer.content.saturating_sub(missing),
                duration: instant.saturating_duration_since(answer.begun),
            };
            access.write(self.journal.lines());
        }
        let done = leaving.words.len() - words.len();
        leaving.words.drain(..done);
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

    struct Out(Sender<Vec<u8>>);

    impl io::Write for Out {
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
        let (journal, _) = Journal::new("it", Duration::ZERO, Out(sender)).unwrap();
        (Log::new(journal), out)
    }

    /// An answer of 10 bytes, all content, that has left with this byte.
    fn answer(end: u64, now: Instant) -> Answer {
        Answer::new(Status::Ok, 10, now, end)
    }

    #[test]
    fn lines_come_as_answers_leave_and_what_is_cut_is_counted() {
        let (mut log, out) = log();
        let (peer, now) = (([10, 0, 0, 1], 80).into(), (Instant::now(), UNIX_EPOCH));
        let mut leaving = None;
        for (number, request) in [
            Some(("GET", "/a")),
            None,
            Some(("HEAD", "/é")),
            Some(("GET", "/b")),
        ]
        .into_iter()
        .enumerate()
        {
            let end = 10 * (number as u64 + 1);
            log.queued(&mut leaving, request, answer(end, now.0));
        }
        log.sent(&mut leaving, peer, 9, now);
        assert!(log.journal.lines().is_empty(), "none has left");
        log.sent(&mut leaving, peer, 20, now);
        assert_eq!(leaving.as_ref().unwrap().words, "HEAD/éGET/b");
        log.queued(&mut leaving, Some(("GET", "/c")), answer(50, now.0));
        log.closed(leaving, peer, 33, now);
        drop(log);
        let said = String::from_utf8(out.iter().flatten().collect()).unwrap();
        let lines: Vec<&str> = said
            .lines()
            .map(|line| line.strip_prefix("1970-01-01T00:00:00Z 10.0.0.1:80 "))
            .map(|line| line.and_then(|line| line.strip_suffix(" 0.0ms")))
            .map(|line| line.expect("a line"))
            .collect();
        let expected = [
            "GET /a 200 10",
            "- - 200 10",
            "HEAD /\\xc3\\xa9 200 10",
            "GET /b 200 3",
            "GET /c 200 0",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_answer_that_is_being_made_is_a_line_once_it_is_whole() {
        let (mut log, out) = log();
        let (peer, now) = (([10, 0, 0, 1], 80).into(), (Instant::now(), UNIX_EPOCH));
        let mut whole = None;
        let mut open = Answer::new(Status::Ok, 0, now.0, 10);
        open.is_open = true;
        log.queued(&mut whole, Some(("GET", "/a")), open);
        log.sent(&mut whole, peer, 10, now);
        Log::grown(&mut whole, 100, 120, true);
        log.sent(&mut whole, peer, 120, now);
        assert!(log.journal.lines().is_empty(), "more is to come");
        Log::grown(&mut whole, 0, 125, false);
        log.sent(&mut whole, peer, 125, now);
        let mut open = Answer::new(Status::Ok, 0, now.0, 10);
        open.is_open = true;
        let mut cut = None;
        log.queued(&mut cut, Some(("GET", "/b")), open);
        Log::grown(&mut cut, 100, 110, true);
        log.closed(cut, peer, 50, now);
        drop(log);
        let said = String::from_utf8(out.iter().flatten().collect()).unwrap();
        assert!(
            said.contains("GET /a 200 100 ") && said.contains("GET /b 200 40 "),
            "{said}"
        );
    }

    #[test]
    fn what_is_lent_comes_back_unless_it_has_grown() {
        let (mut log, _out) = log();
        let (peer, now) = (([10, 0, 0, 1], 80).into(), (Instant::now(), UNIX_EPOCH));
        let mut lend = |target: &str, count: usize| {
            let mut all: Vec<_> = (0..count).map(|_| None).collect();
            for leaving in &mut all {
                log.queued(leaving, Some(("GET", target)), answer(10, now.0));
            }
            for leaving in &mut all {
                log.sent(leaving, peer, 10, now);
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
