//! The header of the PROXY protocol, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

/// What stands in front of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What stands in front of version 1.
const PROXY: &[u8] = b"PROXY ";

/// Bytes of the longest line of version 1, with its end (section 2.1).
const LONGEST_LINE: usize = 107;

/// Bytes in front of the addresses of version 2: the signature, what is done, the family, and how many bytes follow.
const FIXED: usize = 16;

/// The most bytes that may follow. The longest addresses take 216; what proxies say besides (a name, a unique id, what
/// is known of TLS and its certificate) some hundreds. The length could say 65535, which nobody sends, and
/// which would have to be kept for each peer that does.
const LONGEST_REST: usize = 4096;

/// What has been received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It may become a header; more must come.
    Partial,
    /// A header of so many bytes; what is behind it is said by its source.
    Whole {
        /// Where the peer is.
        source: Source,
        /// Bytes.
        length: usize,
    },
}

/// Where a peer is, as its proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There.
    Ip(SocketAddr),
    /// At a Unix socket of the proxy's.
    Unix,
    /// The proxy does not say, or speaks for itself: where the connection comes from.
    Connection,
}

/// It is no header, or says what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a header from the beginning of what has been received.
///
/// # Errors
/// [`Malformed`], as soon as nothing that may follow can make it a header.
pub fn header(bytes: &[u8]) -> Result<Header, Malformed> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(PROXY) {
        line(bytes)
    } else {
        Err(Malformed)
    }
}

/// Version 1 (section 2.1).
fn line(bytes: &[u8]) -> Result<Header, Malformed> {
    let within = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return match within.len() {
            LONGEST_LINE => Err(Malformed),
            _ => Ok(Header::Partial),
        };
    };
    let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| str::from_utf8(line).ok());
    let source = line.and_then(source).ok_or(Malformed)?;
    Ok(Header::Whole {
        source,
        length: end + 1,
    })
}

/// What a line says: `PROXY TCP4 192.0.2.1 192.0.2.2 1024 80`.
fn source(line: &str) -> Option<Source> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(Source::Connection);
    }
    let is_of_family = |ip: &IpAddr| match family {
        "TCP4" => ip.is_ipv4(),
        "TCP6" => ip.is_ipv6(),
        _ => false,
    };
    let mut ip = || words.next()?.parse().ok().filter(is_of_family);
    let (source, _destination) = (ip()?, ip()?);
    let (port, _destination) = (port(words.next()?)?, port(words.next()?)?);
    let address = SocketAddr::new(source, port);
    words.next().is_none().then_some(Source::Ip(address))
}

/// Digits only, and no more than are needed.
fn port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

/// Version 2 (section 2.2). What follows the addresses is skipped.
fn binary(bytes: &[u8]) -> Result<Header, Malformed> {
    let rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let is_local = match rest.first() {
        None => return Ok(Header::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed),
    };
    let [_, family, high, low, rest @ ..] = rest else {
        return Ok(Header::Partial);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (addresses, is_stream) = match (family >> 4, family & 0xf) {
        // Of what a proxy says of itself, nothing counts.
        _ if is_local => (Addresses::None, false),
        (0, 0..=2) => (Addresses::None, false),
        (1, kind @ 0..=2) => (Addresses::V4, kind == 1),
        (2, kind @ 0..=2) => (Addresses::V6, kind == 1),
        (3, kind @ 0..=2) => (Addresses::Unix, kind == 1),
        _ => return Err(Malformed),
    };
    if length > LONGEST_REST || length < addresses.length() {
        return Err(Malformed);
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(Header::Partial);
    };
    Ok(Header::Whole {
        // Datagrams do not come here; whoever speaks of them speaks of something else.
        source: match is_stream {
            true => addresses.source(rest).ok_or(Malformed)?,
            false => Source::Connection,
        },
        length: FIXED + length,
    })
}

/// What addresses a header of version 2 has.
#[derive(Clone, Copy)]
enum Addresses {
    None,
    V4,
    V6,
    Unix,
}

impl Addresses {
    /// Bytes of both, with their ports.
    fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    /// The source, which comes first; its port comes behind the destination.
    fn source(self, bytes: &[u8]) -> Option<Source> {
        let (ip, port): (IpAddr, _) = match self {
            Self::None => return Some(Source::Connection),
            Self::Unix => return Some(Source::Unix),
            Self::V4 => {
                let (ip, rest) = bytes.split_first_chunk::<4>()?;
                (Ipv4Addr::from(*ip).into(), rest.get(4..)?)
            }
            Self::V6 => {
                let (ip, rest) = bytes.split_first_chunk::<16>()?;
                (Ipv6Addr::from(*ip).into(), rest.get(16..)?)
            }
        };
        let port = u16::from_be_bytes(*port.first_chunk()?);
        Some(Source::Ip(SocketAddr::new(ip, port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<Source> {
        Some(Source::Ip(text.parse().unwrap()))
    }

    /// That these bytes are a header with this source, or none, however many of them have come; and that what comes
    /// behind changes nothing.
    fn check(bytes: &[u8], expected: Option<Source>) {
        let shown = bytes.escape_ascii();
        let expected = expected.ok_or(Malformed).map(|source| Header::Whole {
            source,
            length: bytes.len(),
        });
        for length in 0..bytes.len() {
            let found = header(&bytes[..length]);
            let is_too_early = expected.is_err() && found == expected;
            assert!(
                found == Ok(Header::Partial) || is_too_early,
                "{length} of {shown}"
            );
        }
        assert_eq!(header(bytes), expected, "{shown}");
        let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(header(&followed), expected, "{shown}");
    }

    #[test]
    fn a_line() {
        let check = |line: &str, expected| check(line.as_bytes(), expected);
        let v4 = "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n";
        check(v4, ip("192.0.2.1:1024"));
        check(
            "PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
            ip("[2001:db8::1]:65535"),
        );
        let longest = ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"; 2].join(" ");
        check(
            &format!("PROXY TCP6 {longest} 65535 65535\r\n"),
            ip("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        );
        check("PROXY UNKNOWN\r\n", Some(Source::Connection));
        let longest = format!("PROXY UNKNOWN {longest} 65535 65535\r\n");
        assert_eq!(longest.len(), LONGEST_LINE);
        check(&longest, Some(Source::Connection));
        check(
            &format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)),
            Some(Source::Connection),
        );
        for bad in [
            &*format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)),
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.2 1024 80\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1024 80\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1024\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01024 80\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 80\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1024 80\r\n",
            "PROXY TCP4 ::1 ::1 1024 80\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1024 80\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1024 80\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.\u{662} 1024 80\r\n",
        ] {
            check(bad, None);
        }
    }

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 4, 0, 0, 80];

    #[test]
    fn a_binary_header() {
        let v6 = |port: u16| {
            let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
            let ports = [port.to_be_bytes(), 80_u16.to_be_bytes()].concat();
            [&ip("2001:db8::1")[..], &ip("::1"), &ports].concat()
        };
        check(&binary(0x21, 0x11, V4), ip("192.0.2.1:1024"));
        check(&binary(0x21, 0x21, &v6(65535)), ip("[2001:db8::1]:65535"));
        check(&binary(0x21, 0x31, &[b'x'; 216]), Some(Source::Unix));
        // Types, lengths and values are skipped, whatever they are.
        check(
            &binary(0x21, 0x11, &[V4, b"\x03\0\x04abcd"].concat()),
            ip("192.0.2.1:1024"),
        );
        check(
            &binary(0x21, 0x11, &[V4, &[0xff; 4084]].concat()),
            ip("192.0.2.1:1024"),
        );
        // Nothing is said, or not of a connection.
        for (command, family, rest) in [
            (0x21, 0x00, &b""[..]),
            (0x21, 0x00, b"abc"),
            (0x21, 0x01, b""),
            (0x21, 0x12, V4),
            (0x21, 0x10, V4),
            (0x20, 0x00, b""),
            (0x20, 0x11, V4),
            (0x20, 0x11, b"short"),
            (0x20, 0xff, b"abc"),
        ] {
            check(&binary(command, family, rest), Some(Source::Connection));
        }
        for (command, family, rest) in [
            (0x11, 0x11, V4),
            (0x31, 0x11, V4),
            (0x22, 0x11, V4),
            (0x21, 0x13, V4),
            (0x21, 0x41, V4),
            (0x21, 0x11, &V4[..11]),
            (0x21, 0x21, &v6(1)[..35]),
            (0x21, 0x31, &[0; 215]),
            (0x21, 0x11, &[V4, &[0; 4085]].concat()),
            (0x20, 0x00, &[0; 4097]),
        ] {
            check(&binary(command, family, rest), None);
        }
    }

    #[test]
    fn what_is_too_long_is_known_by_its_length() {
        let header = |length: usize| header(&binary(0x21, 0x11, &[0; 65535])[..length]);
        assert_eq!(header(FIXED - 1), Ok(Header::Partial));
        assert_eq!(header(FIXED), Err(Malformed));
    }

    proptest::proptest! {
        #[test]
        fn anything_may_come(bytes: Vec<u8>, version: bool) {
            let begin = if version { SIGNATURE } else { PROXY };
            let _ = header(&bytes);
            let bytes = [begin, &bytes].concat();
            if let Ok(Header::Whole { length, .. }) = header(&bytes) {
                assert!(length <= bytes.len());
            }
        }
    }
}
