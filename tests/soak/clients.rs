//! Slow, misbehaving and many clients. Each gets the documented response.

use std::io::ErrorKind;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use super::reader::{Connection, request_and_half_close};
use super::site::Random;
use super::{Soak, increment, load};
use crate::support::TIMEOUT;

/// Counters of rejections.
#[derive(Default)]
pub(crate) struct Rejections {
    timed_out: AtomicU64,
    too_large: AtomicU64,
    too_long: AtomicU64,
    malformed: AtomicU64,
    silent: AtomicU64,
    /// Closed without a response, as waiting connections are in a crowd.
    evicted: AtomicU64,
}

impl Rejections {
    /// Returns the counters that every soak has to increment, each with its status code.
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
            "408 {}, 431 {}, 414 {}, 400 {}, silent {}, evicted {}",
            load(&self.timed_out),
            load(&self.too_large),
            load(&self.too_long),
            load(&self.malformed),
            load(&self.silent),
            load(&self.evicted)
        )
    }
}

const HEAD: &str = "GET /still.txt HTTP/1.1\r\nHost: soak\r\n";

/// Misbehaves in one case after the other. The client with seed 0 begins with a head that never ends, so that its 408
/// comes before the first crowd.
pub(crate) fn run_misbehaving_client(soak: &Soak, seed: u64) {
    /// Pause between two cases. In a crowd most cases end at once; without a pause the next ones would keep the server
    /// full, since a connection that is closed in the middle of a response is held for a retransmission time-out
    /// (200 ms): then every connection is evicted before its time-out.
    const PAUSE: Duration = Duration::from_millis(100);
    let mut random = Random::new(seed + 2000);
    let rejections = &soak.counts.rejections;
    // Each client begins with another case, so that all are covered in a short time.
    for case in usize::try_from(seed).expect("few") * 3.. {
        soak.pause(PAUSE);
        if soak.is_done() {
            return;
        }
        match case % 11 {
            0 => expect_status(soak, HEAD.as_bytes(), 408, &rejections.timed_out),
            1 => send_head_slowly(soak),
            2 => expect_status(soak, &garbage(&mut random), 400, &rejections.malformed),
            3 => {
                let head = format!(
                    "{HEAD}Long: {}\r\n\r\n",
                    "x".repeat(40_000 + random.below(200_000))
                );
                expect_status(soak, head.as_bytes(), 431, &rejections.too_large);
            }
            4 => {
                let head = format!(
                    "GET /{} HTTP/1.1\r\n",
                    "y".repeat(40_000 + random.below(200_000))
                );
                expect_status(soak, head.as_bytes(), 414, &rejections.too_long);
            }
            5 => send_nothing(soak),
            6 => {
                for _ in 0..20 {
                    disconnect_early(soak, &mut random);
                }
            }
            7 => {
                for _ in 0..10 {
                    request_and_half_close(soak, &mut random);
                }
            }
            8 => {
                let content = format!("{HEAD}Content-Length: 5\r\n\r\nab");
                // The time-out of content is the longer one, so half of the cases skip this.
                if random.one_in(2) {
                    expect_status(soak, content.as_bytes(), 408, &rejections.timed_out);
                }
            }
            9 => stop_reading(soak),
            _ => expect_status(
                soak,
                b"GET /still.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                400,
                &rejections.malformed,
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

/// Sends this, and expects a response with that status and the end of the connection.
fn expect_status(soak: &Soak, request: &[u8], status: u16, counter: &AtomicU64) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.record_failure("connecting".to_owned());
    };
    // The server may reject it before all of it is sent.
    let _ = connection.try_send(request);
    check_rejection(soak, connection, status, counter);
}

fn check_rejection(soak: &Soak, mut connection: Connection, status: u16, counter: &AtomicU64) {
    match connection.try_rest() {
        Ok(rest) if rest.is_empty() => increment(&soak.counts.rejections.evicted),
        Ok(rest) if rest.starts_with(format!("HTTP/1.1 {status} ").as_bytes()) => {
            increment(counter);
        }
        Ok(rest) => {
            let shown = rest[..rest.len().min(300)].escape_ascii();
            soak.record_failure(format!("not {status}: {shown}"));
        }
        Err(error) => soak.record_failure(format!("not {status}, and not closed: {error}")),
    }
}

/// Sends a head byte by byte until after its time-out.
fn send_head_slowly(soak: &Soak) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.record_failure("connecting".to_owned());
    };
    let start = Instant::now();
    for byte in HEAD
        .bytes()
        .chain("X: ".bytes())
        .chain(std::iter::repeat(b'x'))
    {
        thread::sleep(Duration::from_millis(40));
        if connection.try_send([byte]).is_err() {
            break;
        }
        if start.elapsed() > TIMEOUT {
            return soak.record_failure(format!("a head has no time-out after {TIMEOUT:?}"));
        }
    }
    // Bytes that arrive after the response may have made it lost (RFC 9112 section 9.6), so both outcomes are correct.
    check_rejection(soak, connection, 408, &soak.counts.rejections.timed_out);
}

fn send_nothing(soak: &Soak) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.record_failure("connecting".to_owned());
    };
    match connection.try_rest() {
        Ok(rest) if rest.is_empty() => increment(&soak.counts.rejections.silent),
        other => soak.record_failure(format!("response without a request: {other:?}")),
    }
}

fn disconnect_early(soak: &Soak, random: &mut Random) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.record_failure("connecting".to_owned());
    };
    let file = random.choose(&soak.history.files);
    let request = format!("GET /{} HTTP/1.1\r\nHost: soak\r\n\r\n", file.name);
    let _ = connection.try_send(request.as_bytes());
    if random.one_in(2) {
        thread::sleep(Duration::from_millis(random.below(10) as u64));
    }
    if random.one_in(2) {
        connection.reset();
    }
}

/// Requests large files, and reads nothing for a while.
fn stop_reading(soak: &Soak) {
    let Ok(mut connection) = Connection::tcp(soak) else {
        return soak.record_failure("connecting".to_owned());
    };
    let large = "GET /large/9.bin HTTP/1.1\r\nHost: soak\r\n\r\n".repeat(3);
    let _ = connection.try_send(large.as_bytes());
    soak.pause(Duration::from_secs(3));
}

/// Fills the server with waiting clients, repeatedly.
pub(crate) fn run_crowds(soak: &Soak, pause: Duration) {
    const CLIENTS: usize = 420;
    let mut random = Random::new(3000);
    while !soak.is_done() {
        soak.pause(pause);
        let mut clients = Vec::new();
        while clients.len() < CLIENTS && !soak.is_done() {
            let Ok(mut connection) = Connection::tcp(soak) else {
                soak.record_failure("connecting in a crowd".to_owned());
                break;
            };
            let _ = match random.below(3) {
                0 => Ok(()),
                1 => connection.try_send(b"GET /still.txt HT"),
                _ => connection.try_send(format!("{HEAD}\r\n").as_bytes()),
            };
            clients.push(connection);
        }
        soak.pause(pause / 10);
        for client in clients {
            if random.one_in(2) {
                client.reset();
            }
        }
        increment(&soak.counts.crowds);
    }
}

/// Connects and disconnects, a hundred times in a row.
pub(crate) fn connect_and_disconnect(soak: &Soak) {
    let mut random = Random::new(4000);
    while !soak.is_done() {
        for _ in 0..100 {
            match Connection::tcp(soak) {
                Ok(mut connection) => {
                    if random.one_in(2) {
                        let _ = connection.try_send(format!("{HEAD}\r\n").as_bytes());
                    }
                }
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => break,
                Err(error) => soak.record_failure(format!("connecting and disconnecting: {error}")),
            }
        }
        soak.pause(Duration::from_millis(400));
    }
}
