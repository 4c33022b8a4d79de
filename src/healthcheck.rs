//! `docroot healthcheck`: one request to a server, and whether the server is healthy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self, UnixStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use docroot::net::Endpoint;

use crate::config::Probe;

/// Time limit of the whole check: shorter than the caller's (5 seconds in the Dockerfile), so that the reason is
/// printed.
const PATIENCE: Duration = Duration::from_secs(3);

/// A PROXY header of a proxy that makes the request itself (proxy-protocol.txt, section 2.1).
const HEADER: &str = "PROXY UNKNOWN\r\n";

/// Bytes of a response that are read at most: more than a small page has, so that its server can finish; a longer
/// response is cut off.
const ENOUGH: u64 = 64 * 1024;

/// Sends the request. Healthy is a status of 2xx or 3xx; any status below 500 if the path was not named, as a healthy
/// server may require a password or have no page there.
///
/// # Errors
/// One sentence: the URL, and why the server is unhealthy.
pub(crate) fn run(probe: Probe) -> Result<(), String> {
    let asked = probe.places.first().map(|place| probe.at(place));
    let asked = asked.unwrap_or_default();
    let (said, outcome) = channel();
    // On a thread, as not every step has a time limit of its own.
    let thread = thread::Builder::new().spawn(move || {
        // The receiver is gone once the time limit has passed.
        let _ = said.send(examine(&probe));
    });
    thread.map_err(|error| format!("cannot check {asked}: {error}"))?;
    outcome.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        Err(format!(
            "{asked} is unhealthy: no response within {seconds} seconds"
        ))
    })
}

/// Sends the request to the first address that accepts a connection.
fn examine(probe: &Probe) -> Result<(), String> {
    let sick = |place: &Endpoint, why: &dyn std::fmt::Display| {
        format!("{} is unhealthy: {why}", probe.at(place))
    };
    let mut nobody = None;
    for place in &probe.places {
        let (mut stream, ip) = match connect(place) {
            Ok(connected) => connected,
            Err(error) => {
                nobody.get_or_insert_with(|| sick(place, &error));
                continue;
            }
        };
        let proxies = probe.proxies.as_ref();
        let is_proxy = proxies.is_some_and(|proxies| proxies.is_empty() || proxies.contains(ip));
        let header = if is_proxy { HEADER } else { "" };
        return match ask(&mut stream, place, header, &probe.target) {
            Ok(status) if is_well(status, probe.is_named) => Ok(()),
            Ok(status) => Err(sick(place, &format_args!("status {status}"))),
            Err(error) => Err(sick(place, &error)),
        };
    }
    Err(nobody.unwrap_or_else(|| "there is no address to connect to".into()))
}

fn is_well(status: u16, is_named: bool) -> bool {
    let end = if is_named { 400 } else { 500 };
    (200..end).contains(&status)
}

/// Bytes there and back.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Connects, and returns the stream with its local address, which the server sees as the peer.
fn connect(place: &Endpoint) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
    Ok(match place {
        Endpoint::Ip(address) => {
            let stream = TcpStream::connect(address)?;
            let ip = stream.local_addr()?.ip();
            (Box::new(stream), Some(ip))
        }
        Endpoint::Path(path) => (Box::new(UnixStream::connect(path)?), None),
        Endpoint::Name(name) => {
            let address = net::SocketAddr::from_abstract_name(name)?;
            (Box::new(UnixStream::connect_addr(&address)?), None)
        }
    })
}

/// Sends the request after this header, and reads the status of the response.
fn ask(stream: &mut dyn Stream, place: &Endpoint, header: &str, target: &str) -> io::Result<u16> {
    let host = match place.tcp() {
        // A zone has a meaning on this machine only (RFC 6874 section 4).
        Some(address) => SocketAddr::new(address.ip(), address.port()).to_string(),
        None => "localhost".to_owned(),
    };
    let version = env!("CARGO_PKG_VERSION");
    let request = format!(
        "{header}GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: docroot-healthcheck/{version}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let read = stream.take(ENOUGH).read_to_end(&mut answer);
    // After the status line, the response may be cut off.
    match (status(&answer), read) {
        (Some(status), _) => Ok(status),
        (None, Err(error)) => Err(error),
        (None, Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
        (None, Ok(_)) => Err(io::Error::other("the answer is not HTTP")),
    }
}

/// The status in a status line (RFC 9112 section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let [b'0' | b'1', b' ', code @ .., b' ' | b'\r'] = answer.strip_prefix(b"HTTP/1.")?.get(..6)?
    else {
        return None;
    };
    let code = code.iter().all(u8::is_ascii_digit).then_some(code)?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_line_is_parsed() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 404 \r\n", Some(404)),
            ("HTTP/1.1 503\r\n", Some(503)),
            ("HTTP/1.1 200", None),
            ("HTTP/1.1 +20 OK\r\n", None),
            ("HTTP/2.0 200 OK\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    #[test]
    fn named_path_must_exist() {
        for (status, is_named, well) in [
            (200, true, true),
            (304, true, true),
            (404, true, false),
            (401, false, true),
            (404, false, true),
            (503, false, false),
            (500, true, false),
            (100, false, false),
        ] {
            assert_eq!(is_well(status, is_named), well, "{status} {is_named}");
        }
    }
}
