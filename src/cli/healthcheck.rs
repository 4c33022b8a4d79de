//! `docroot healthcheck`: one request to a server, whose response says whether the server is healthy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self, UnixStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use docroot::net::Endpoint;

use super::options::HealthcheckRequest;

/// Time limit of the whole check. It is shorter than that of the caller (5 seconds in the Dockerfile), so that the
/// reason is printed.
const TIMEOUT: Duration = Duration::from_secs(3);

/// PROXY header of a proxy that makes the request itself (proxy-protocol.txt, section 2.1).
const PROXY_HEADER: &str = "PROXY UNKNOWN\r\n";

/// Maximum bytes of a response that are read: more than a small page has, so that the server can finish sending it. A
/// longer response is cut off.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

/// Sends the request. The server is healthy if the status is 2xx or 3xx; if the path was not named, if it is below 500,
/// as a healthy server may require a password or have no page there.
///
/// # Errors
/// One sentence: the URL, and why the server is unhealthy.
pub(crate) fn run(request: HealthcheckRequest) -> Result<(), String> {
    let url = request
        .addresses
        .first()
        .map(|address| request.url_at(address));
    let url = url.unwrap_or_default();
    let (sender, receiver) = channel();
    // On a thread, as some steps have no time limit of their own.
    let thread = thread::Builder::new().spawn(move || {
        // The receiver is gone once the time limit has passed.
        let _ = sender.send(send(&request));
    });
    thread.map_err(|error| format!("cannot check {url}: {error}"))?;
    receiver.recv_timeout(TIMEOUT).unwrap_or_else(|_| {
        let seconds = TIMEOUT.as_secs();
        Err(format!(
            "{url} is unhealthy: no response within {seconds} seconds"
        ))
    })
}

/// Sends the request to the first address that accepts a connection.
fn send(request: &HealthcheckRequest) -> Result<(), String> {
    let unhealthy = |address: &Endpoint, why: &dyn std::fmt::Display| {
        format!("{} is unhealthy: {why}", request.url_at(address))
    };
    let mut first_failure = None;
    for address in &request.addresses {
        let (mut stream, ip) = match connect(address) {
            Ok(connected) => connected,
            Err(error) => {
                first_failure.get_or_insert_with(|| unhealthy(address, &error));
                continue;
            }
        };
        let proxies = request.proxies.as_ref();
        let is_proxy = proxies.is_some_and(|proxies| proxies.is_empty() || proxies.contains(ip));
        let header = if is_proxy { PROXY_HEADER } else { "" };
        return match request_status(&mut stream, address, header, &request.target) {
            Ok(status) if is_healthy(status, request.has_explicit_path) => Ok(()),
            Ok(status) => Err(unhealthy(address, &format_args!("status {status}"))),
            Err(error) => Err(unhealthy(address, &error)),
        };
    }
    Err(first_failure.unwrap_or_else(|| "there is no address to connect to".into()))
}

/// Whether a server that responds with this status is healthy.
fn is_healthy(status: u16, has_explicit_path: bool) -> bool {
    let end = if has_explicit_path { 400 } else { 500 };
    (200..end).contains(&status)
}

/// Connected stream socket of any address family.
trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Connects, and returns the stream with its local address, which the server sees as the peer.
fn connect(address: &Endpoint) -> io::Result<(Box<dyn ReadWrite>, Option<IpAddr>)> {
    Ok(match address {
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

/// Sends the PROXY header and the request, and returns the status of the response.
fn request_status(
    stream: &mut dyn ReadWrite,
    address: &Endpoint,
    header: &str,
    target: &str,
) -> io::Result<u16> {
    let host = match address.tcp() {
        // Without the zone, which has a meaning on this machine only (RFC 6874 section 4).
        Some(address) => SocketAddr::new(address.ip(), address.port()).to_string(),
        None => "localhost".to_owned(),
    };
    let version = env!("CARGO_PKG_VERSION");
    let request = format!(
        "{header}GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: docroot-healthcheck/{version}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    let read = stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response);
    // The rest after the status line may be cut off.
    match (status(&response), read) {
        (Some(status), _) => Ok(status),
        (None, Err(error)) => Err(error),
        (None, Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
        (None, Ok(_)) => Err(io::Error::other("the response is not HTTP")),
    }
}

/// Parses the status in a status line (RFC 9112 section 4).
fn status(response: &[u8]) -> Option<u16> {
    let [b'0' | b'1', b' ', code @ .., b' ' | b'\r'] =
        response.strip_prefix(b"HTTP/1.")?.get(..6)?
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
        for (response, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 404 \r\n", Some(404)),
            ("HTTP/1.1 503\r\n", Some(503)),
            ("HTTP/1.1 200", None),
            ("HTTP/1.1 +20 OK\r\n", None),
            ("HTTP/2.0 200 OK\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(response.as_bytes()), expected, "{response:?}");
        }
    }

    #[test]
    fn explicit_path_must_exist() {
        for (status, has_explicit_path, expected) in [
            (200, true, true),
            (304, true, true),
            (404, true, false),
            (401, false, true),
            (404, false, true),
            (503, false, false),
            (500, true, false),
            (100, false, false),
        ] {
            assert_eq!(
                is_healthy(status, has_explicit_path),
                expected,
                "{status} {has_explicit_path}"
            );
        }
    }
}
