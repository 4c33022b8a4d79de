//! Peers who are slow, rude, or many, each of whom is treated as README says.

use std::io::ErrorKind;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use super::reader::{Connection, ask_and_finish};
use super::site::Random;
use super::{Soak, count, of};
use crate::support::PATIENCE;

/// How often a peer was told what.
#[derive(Default)]
pub(crate) struct Refused {
    timed_out: AtomicU64,
    too_large: AtomicU64,
    too_long: AtomicU64,
    malformed: AtomicU64,
    silent: AtomicU64,
    /// Hung up on without a word, as happens to who waits in a crowd.
    crowded_out: AtomicU64,
}

impl Refused {
    /// Counters of the refusals that every soak has to see, each with its status code.
    pub(crate) fn required(&self) -> [(&'static str, &AtomicU64); 4] {
        [
            ("408", &self.timed_out),
            ("431", &self.too_large),
            ("414", &self.too_long),
            ("400", &self.malformed),
        ]
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "408 {}, 431 {}, 414 {}, 400 {}, silent {}, crowded out {}",
            of(&self.timed_out),
            of(&self.too_large),
            of(&self.too_long),
            of(&self.malformed),
            of(&self.silent),
            of(&self.crowded_out)
        )
    }
}

const HEAD: &str = "GET /still.txt HTTP/1.1\r\nHost: soak\r\n";

/// Is rude in one way after the other. The client with seed 0 begins with a head that never ends, so that its 408 comes
/// before the first crowd.
pub(crate) fn be_rude(soak: &Soak, seed: u64) {
    /// Pause between two ways. In a crowd most ways end at once; without a pause the next ones would keep the server
    /// full, since a connection that is closed in the middle of a response is held for a retransmission time-out
    /// (200 ms): then every connection is evicted before its time-out.
    const PAUSE: Duration = Duration::from_millis(100);
    let mut random = Random::new(seed + 2000);
    let refused = &soak.counts.refused;
    // Each begins with another way, and so all are tried in a short time.
    for way in usize::try_from(seed).expect("few") * 3.. {
        soak.pause(PAUSE);
        if soak.is_done() {
            return;
        }
        match way % 11 {
            0 => expect(soak, HEAD.as_bytes(), 408, &refused.timed_out),
            1 => dribble(soak),
            2 => expect(soak, &garbage(&mut random), 400, &refused.malformed),
            3 => {
                let head = format!(
                    "{HEAD}Long: {}\r\n\r\n",
                    "x".repeat(40_000 + random.below(200_000))
                );
                expect(soak, head.as_bytes(), 431, &refused.too_large);
            }
            4 => {
                let head = format!(
                    "GET /{} HTTP/1.1\r\n",
                    "y".repeat(40_000 + random.below(200_000))
                );
                expect(soak, head.as_bytes(), 414, &refused.too_long);
            }
            5 => say_nothing(soak),
            6 => {
                for _ in 0..20 {
                    leave_in_the_middle(soak, &mut random);
                }
            }
            7 => {
                for _ in 0..10 {
                    ask_and_finish(soak, &mut random);
                }
            }
            8 => {
                let content = format!("{HEAD}Content-Length: 5\r\n\r\nab");
                // The time-out of content is the longer one, and this peer may end before.
                if random.one_in(2) {
                    expect(soak, content.as_bytes(), 408, &refused.timed_out);
                }
            }
            9 => stop_reading(soak),
            _ => expect(
                soak,
                b"GET /still.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                400,
                &refused.malformed,
            ),
        }
    }
}

fn garbage(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0xff];
    bytes.extend((0..random.below(3000)).map(|_| u8::try_from(random.below(256)).expect("a byte")));
    bytes.extend(b"\r\n\r\n");
    bytes
}

/// Says this, and is to be told that status, and hung up on.
fn expect(soak: &Soak, said: &[u8], status: u16, counter: &AtomicU64) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.finding("connecting".to_owned());
    };
    // It may be refused before all of it is said.
    let _ = connection.send(said);
    hear(soak, connection, status, counter);
}

fn hear(soak: &Soak, mut connection: Connection, status: u16, counter: &AtomicU64) {
    match connection.rest() {
        Ok(rest) if rest.is_empty() => count(&soak.counts.refused.crowded_out),
        Ok(rest) if rest.starts_with(format!("HTTP/1.1 {status} ").as_bytes()) => count(counter),
        Ok(rest) => {
            let shown = rest[..rest.len().min(300)].escape_ascii();
            soak.finding(format!("not {status}: {shown}"));
        }
        Err(error) => soak.finding(format!("not {status}, and not hung up on: {error}")),
    }
}

/// A head, byte by byte, beyond its time.
fn dribble(soak: &Soak) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.finding("connecting".to_owned());
    };
    let start = Instant::now();
    for byte in HEAD
        .bytes()
        .chain("X: ".bytes())
        .chain(std::iter::repeat(b'x'))
    {
        thread::sleep(Duration::from_millis(40));
        if connection.send(&[byte]).is_err() {
            break;
        }
        if start.elapsed() > PATIENCE {
            return soak.finding(format!("{PATIENCE:?} for a head"));
        }
    }
    // What was said after the answer may have had it lost (RFC 9112 section 9.6), so that both are right.
    hear(soak, connection, 408, &soak.counts.refused.timed_out);
}

fn say_nothing(soak: &Soak) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.finding("connecting".to_owned());
    };
    match connection.rest() {
        Ok(rest) if rest.is_empty() => count(&soak.counts.refused.silent),
        other => soak.finding(format!("to who says nothing: {other:?}")),
    }
}

fn leave_in_the_middle(soak: &Soak, random: &mut Random) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.finding("connecting".to_owned());
    };
    let slot = random.of(&soak.table.slots);
    let request = format!("GET /{} HTTP/1.1\r\nHost: soak\r\n\r\n", slot.name);
    let _ = connection.send(request.as_bytes());
    if random.one_in(2) {
        thread::sleep(Duration::from_millis(random.below(10) as u64));
    }
    if random.one_in(2) {
        connection.reset();
    }
}

/// Asks for much, and reads nothing of it, for a while.
fn stop_reading(soak: &Soak) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.finding("connecting".to_owned());
    };
    let large = "GET /large/9.bin HTTP/1.1\r\nHost: soak\r\n\r\n".repeat(3);
    let _ = connection.send(large.as_bytes());
    soak.pause(Duration::from_secs(3));
}

/// Fills the server with peers who wait, again and again.
pub(crate) fn crowd(soak: &Soak, pause: Duration) {
    const PEERS: usize = 420;
    let mut random = Random::new(3000);
    while !soak.is_done() {
        soak.pause(pause);
        let mut peers = Vec::new();
        while peers.len() < PEERS && !soak.is_done() {
            let Ok(mut connection) = Connection::tcp(soak) else {
                soak.finding("connecting in a crowd".to_owned());
                break;
            };
            let _ = match random.below(3) {
                0 => Ok(()),
                1 => connection.send(b"GET /still.txt HT"),
                _ => connection.send(format!("{HEAD}\r\n").as_bytes()),
            };
            peers.push(connection);
        }
        soak.pause(pause / 10);
        for peer in peers {
            if random.one_in(2) {
                peer.reset();
            }
        }
        count(&soak.counts.crowds);
    }
}

/// Connects and leaves, by the hundred.
pub(crate) fn come_and_go(soak: &Soak) {
    let mut random = Random::new(4000);
    while !soak.is_done() {
        for _ in 0..100 {
            match Connection::tcp(soak) {
                Ok(mut connection) => {
                    if random.one_in(2) {
                        let _ = connection.send(format!("{HEAD}\r\n").as_bytes());
                    }
                }
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => break,
                Err(error) => soak.finding(format!("coming and going: {error}")),
            }
        }
        soak.pause(Duration::from_millis(400));
    }
}
