//! A whole conversation: the same answers however the requests are cut, and never one too many.
#![no_main]

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::SystemTime;

use docroot::http::{Lookup, Origin, Target};
use docroot::http1::HttpOptions;
use docroot::net::Next;
use docroot_fuzz::{Answer, Conversation, Known, answers, filling, found, unbounded};
use libfuzzer_sys::fuzz_target;

/// Bytes at the end of the input that say how it is cut, and what happens in it.
const CONTROL: usize = 9;

/// What is said when everything has been said.
const SMUGGLED: &[u8] = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// What the peer says, and what happens while it does.
struct Script<'a> {
    stream: &'a [u8],
    /// Where it is cut.
    cuts: [usize; 3],
    event: Event,
    /// Where in the stream the event comes.
    at: usize,
}

#[derive(Clone, Copy)]
enum Event {
    Nothing,
    End,
    Expire,
    Retire,
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Outcome {
    said: Vec<u8>,
    next: Next,
    /// How often something was looked up.
    finds: usize,
}

fuzz_target!(|bytes: &[u8]| {
    let script = Script::read(bytes);
    let whole = script.play(&[]);
    script.check(&whole);
    assert_same(&whole, &script.play(&script.cuts));
    let each: Vec<usize> = (0..script.stream.len()).collect();
    assert_same(&whole, &script.play(&each));
});

impl<'a> Script<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let (stream, control) = bytes.split_at(bytes.len().saturating_sub(CONTROL));
        let mut control = control.iter().map(|&byte| usize::from(byte));
        let mut next = || control.next().unwrap_or_default();
        let event = match next() % 4 {
            0 => Event::Nothing,
            1 => Event::End,
            2 => Event::Expire,
            _ => Event::Retire,
        };
        let mut place = || (next() << 8 | next()) % (stream.len() + 1);
        let (at, mut cuts) = (place(), [place(), place(), place()]);
        cuts.sort_unstable();
        Self {
            stream,
            cuts,
            event,
            at,
        }
    }

    /// What comes of the stream if it is cut at these places, and where the event comes.
    fn play(&self, cuts: &[usize]) -> Outcome {
        let finds = Cell::new(0);
        let origin = |target: &Target<'_>, _: SystemTime| {
            finds.set(finds.get() + 1);
            find(target)
        };
        let options = HttpOptions {
            max_head_bytes: 512,
            max_content_bytes: 64,
            ..HttpOptions::default()
        };
        let mut conversation = Conversation::new(origin, options);
        let (before, after) = self.stream.split_at(self.at);
        hear(&mut conversation, before, cuts.iter().copied());
        match self.event {
            Event::Nothing => {}
            Event::End => conversation.end(),
            Event::Expire => conversation.expire(),
            Event::Retire => conversation.retire(),
        }
        if matches!(self.event, Event::End | Event::Expire) {
            assert_ne!(conversation.next, Next::Read, "nothing more is awaited");
        }
        match self.event {
            // A server that goes away waits for what is begun, and an empty line begins nothing: what
            // is behind one is read only if it came along.
            Event::Retire => conversation.hear(after),
            _ => {
                let behind = |cut: &usize| cut.saturating_sub(self.at);
                hear(&mut conversation, after, cuts.iter().map(behind));
            }
        }
        let said = unbounded(&conversation.said);
        if says_close(answers(&said).last()) {
            let deaf = conversation.is_deaf(SMUGGLED);
            assert!(deaf, "something is read after the last word");
        }
        Outcome {
            said,
            next: conversation.next,
            finds: finds.get(),
        }
    }

    /// That the answers are ones that these requests can have.
    fn check(&self, outcome: &Outcome) {
        let answers = answers(&outcome.said);
        let (interim, last): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.is_interim());
        let ends = self
            .stream
            .windows(4)
            .filter(|at| at == b"\r\n\r\n")
            .count();
        assert!(last.len() <= ends + 1, "more answers than requests");
        let expect = |at: &&[u8]| at.eq_ignore_ascii_case(b"expect");
        let expected = self.stream.windows(6).filter(expect).count();
        assert!(
            interim.len() <= expected,
            "content is asked for that was not offered"
        );

        let found = last.iter().filter(|answer| is_found(answer)).count();
        assert_eq!(found, outcome.finds, "what is looked up is answered");

        for pair in answers.windows(2) {
            assert!(!says_close(pair.first()), "close is the last word");
            let twice = pair.iter().all(Answer::is_interim);
            assert!(!twice, "content is asked for once");
        }
        let closes = says_close(answers.last());
        match outcome.next {
            Next::Read => assert!(!closes, "close was said, and more is read"),
            Next::LingeringClose => assert!(closes, "a refusal says that it is the last answer"),
            Next::Close | Next::Flush | Next::FlushThenRead => {}
            Next::AwaitWake => unreachable!("nobody is guarded"),
            Next::Yield => unreachable!("nothing here is listed"),
            Next::ReadOrWake => unreachable!("nothing here is live"),
        }
    }
}

/// Whether something was looked up for this answer. It allows what it has to.
fn is_found(answer: &Answer<'_>) -> bool {
    let allow = answer.field("Allow").is_some();
    match answer.status {
        200 | 206 | 301 | 304 | 403 | 404 | 412 | 416 | 503 => !allow,
        204 | 405 => {
            assert!(allow, "a method is refused, and none is named");
            false
        }
        // Of a method, or of a transfer coding.
        501 => false,
        400 | 408 | 413 | 414 | 417 | 421 | 431 | 505 => {
            assert!(!allow, "{} is about no method", answer.status);
            false
        }
        other => panic!("{other} is no answer of ours"),
    }
}

/// Says a part of the stream, cut at these places.
fn hear<O: Origin>(
    conversation: &mut Conversation<O>,
    part: &[u8],
    cuts: impl Iterator<Item = usize>,
) {
    let mut heard = 0;
    for end in cuts.chain([part.len()]) {
        let end = end.min(part.len());
        conversation.hear(&part[heard..end]);
        heard = end;
    }
}

fn says_close(last: Option<&Answer<'_>>) -> bool {
    last.is_some_and(|last| last.field("Connection") == Some("close"))
}

fn find(target: &Target<'_>) -> Lookup {
    static HELLO: LazyLock<Lookup> = LazyLock::new(|| found(b"hello", Known::Nothing));
    static EMPTY: LazyLock<Lookup> = LazyLock::new(|| found(b"", Known::StrongDate));
    static LARGE: LazyLock<Lookup> = LazyLock::new(|| found(&filling(70_000), Known::Tag));
    match &*target.path() {
        b"" => HELLO.clone(),
        b"empty" => EMPTY.clone(),
        b"large" => LARGE.clone(),
        b"folder" => Lookup::Directory,
        b"forbidden" => Lookup::Forbidden,
        b"busy" => Lookup::Unavailable,
        b"page" => match &*HELLO {
            Lookup::Found(page) => Lookup::NotFound(Some(page.clone())),
            other => other.clone(),
        },
        _ => Lookup::NotFound(None),
    }
}

fn assert_same(whole: &Outcome, cut: &Outcome) {
    assert!(
        whole == cut,
        "whole: {:?} {} {}\ncut: {:?} {} {}",
        whole.next,
        whole.finds,
        whole.said.escape_ascii(),
        cut.next,
        cut.finds,
        cut.said.escape_ascii()
    );
}
