//! Fuzz target: a connection gets the same responses however its input is cut, and never more responses than requests.
#![no_main]

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::SystemTime;

use docroot::http::{Lookup, Origin, Target};
use docroot::http1::HttpOptions;
use docroot::net::Next;
use docroot_fuzz::{
    Connection, ParsedResponse, ValidatorKind, filler, found, mask_boundaries, parse_responses,
};
use libfuzzer_sys::fuzz_target;

/// Number of bytes at the end of the input that select where it is cut, and an event.
const CONTROL: usize = 9;

/// Request that is sent after the last response and must be ignored.
const SMUGGLED: &[u8] = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Input of a connection, and an event during it.
struct Script<'a> {
    stream: &'a [u8],
    /// Offsets at which the stream is cut.
    cuts: [usize; 3],
    event: Event,
    /// Offset in the stream at which the event happens.
    at: usize,
}

#[derive(Clone, Copy)]
enum Event {
    Nothing,
    End,
    TimeOut,
    ShutDown,
}

/// Result of a script.
#[derive(Debug, PartialEq)]
struct Outcome {
    output: Vec<u8>,
    next: Next,
    /// Number of lookups.
    lookups: usize,
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
            2 => Event::TimeOut,
            _ => Event::ShutDown,
        };
        let mut offset = || (next() << 8 | next()) % (stream.len() + 1);
        let (at, mut cuts) = (offset(), [offset(), offset(), offset()]);
        cuts.sort_unstable();
        Self {
            stream,
            cuts,
            event,
            at,
        }
    }

    /// Runs the script with the stream cut at these offsets and at the event.
    fn play(&self, cuts: &[usize]) -> Outcome {
        let lookups = Cell::new(0);
        let origin = |target: &Target<'_>, _: SystemTime| {
            lookups.set(lookups.get() + 1);
            find(target)
        };
        let options = HttpOptions {
            max_head_bytes: 512,
            max_content_bytes: 64,
            ..HttpOptions::default()
        };
        let mut connection = Connection::new(origin, options);
        let (before, after) = self.stream.split_at(self.at);
        receive(&mut connection, before, cuts.iter().copied());
        match self.event {
            Event::Nothing => {}
            Event::End => connection.end(),
            Event::TimeOut => connection.time_out(),
            Event::ShutDown => connection.shut_down(),
        }
        if matches!(self.event, Event::End | Event::TimeOut) {
            assert_ne!(connection.next, Next::Read, "more input is awaited");
        }
        match self.event {
            // A shutdown waits for a request that has begun. An empty line does not begin one: a request after it is
            // read only if it arrives with it.
            Event::ShutDown => connection.receive(after),
            _ => {
                let behind = |cut: &usize| cut.saturating_sub(self.at);
                receive(&mut connection, after, cuts.iter().map(behind));
            }
        }
        let output = mask_boundaries(&connection.output);
        if says_close(parse_responses(&output).last()) {
            let is_ignored = connection.ignores(SMUGGLED);
            assert!(is_ignored, "input is read after `Connection: close`");
        }
        Outcome {
            output,
            next: connection.next,
            lookups: lookups.get(),
        }
    }

    /// Checks that the responses are possible ones for these requests.
    fn check(&self, outcome: &Outcome) {
        let responses = parse_responses(&outcome.output);
        let (interim, last): (Vec<_>, Vec<_>) =
            responses.iter().partition(|response| response.is_interim());
        let ends = self
            .stream
            .windows(4)
            .filter(|at| at == b"\r\n\r\n")
            .count();
        assert!(last.len() <= ends + 1, "more responses than requests");
        let expect = |at: &&[u8]| at.eq_ignore_ascii_case(b"expect");
        let expected = self.stream.windows(6).filter(expect).count();
        assert!(
            interim.len() <= expected,
            "100 (Continue) without an Expect field"
        );

        let found = last.iter().filter(|response| is_found(response)).count();
        assert_eq!(found, outcome.lookups, "a lookup has no response");

        for pair in responses.windows(2) {
            assert!(
                !says_close(pair.first()),
                "a response follows `Connection: close`"
            );
            let twice = pair.iter().all(ParsedResponse::is_interim);
            assert!(!twice, "two interim responses to a request");
        }
        let closes = says_close(responses.last());
        match outcome.next {
            Next::Read => assert!(!closes, "input is read after `Connection: close`"),
            Next::LingeringClose => assert!(closes, "the last response lacks `Connection: close`"),
            Next::Close | Next::Flush | Next::FlushThenRead => {}
            Next::AwaitWake => unreachable!("no password is verified"),
            Next::Yield => unreachable!("no directory is listed"),
            Next::ReadOrWake => unreachable!("no event stream is served"),
        }
    }
}

/// Whether this response is the result of a lookup. Also checks which statuses have Allow.
fn is_found(response: &ParsedResponse<'_>) -> bool {
    let allow = response.field("Allow").is_some();
    match response.status {
        200 | 206 | 301 | 304 | 403 | 404 | 412 | 416 | 503 => !allow,
        204 | 405 => {
            assert!(allow, "Allow is missing");
            false
        }
        // Unknown method or transfer coding.
        501 => false,
        400 | 408 | 413 | 414 | 417 | 421 | 431 | 505 => {
            assert!(!allow, "{} has an Allow field", response.status);
            false
        }
        other => panic!("unexpected status {other}"),
    }
}

/// Sends a part of the stream, cut at these offsets.
fn receive<O: Origin>(
    connection: &mut Connection<O>,
    part: &[u8],
    cuts: impl Iterator<Item = usize>,
) {
    let mut heard = 0;
    for end in cuts.chain([part.len()]) {
        let end = end.min(part.len());
        connection.receive(&part[heard..end]);
        heard = end;
    }
}

fn says_close(last: Option<&ParsedResponse<'_>>) -> bool {
    last.is_some_and(|last| last.field("Connection") == Some("close"))
}

fn find(target: &Target<'_>) -> Lookup {
    static HELLO: LazyLock<Lookup> = LazyLock::new(|| found(b"hello", ValidatorKind::Nothing));
    static EMPTY: LazyLock<Lookup> = LazyLock::new(|| found(b"", ValidatorKind::StrongDate));
    static LARGE: LazyLock<Lookup> = LazyLock::new(|| found(&filler(70_000), ValidatorKind::Tag));
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
        whole.lookups,
        whole.output.escape_ascii(),
        cut.next,
        cut.lookups,
        cut.output.escape_ascii()
    );
}
