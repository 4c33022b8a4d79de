//! Parser of PROXY protocol headers, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

/// First bytes of a version 2 header.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// First bytes of a version 1 header.
const V1_PREFIX: &[u8] = b"PROXY ";

/// Length in bytes of the longest version 1 line, with its CRLF (section 2.1).
const MAX_V1_BYTES: usize = 107;

/// Bytes before the addresses of version 2: signature, version and command, address family, and length of the rest.
const V2_FIXED_BYTES: usize = 16;

/// Maximum bytes after those. The longest addresses take 216, other fields of proxies (a host name, a unique id, facts
/// about TLS and its certificate) some hundreds. The length field allows 65535, which no proxy sends, and which would
/// have to be buffered for each connection.
const MAX_V2_REST_BYTES: usize = 4096;

/// Result of parsing the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    /// The start of a header; more bytes are needed.
    Partial,
    /// A complete header. The bytes after it are sent by its source.
    Complete {
        /// Address of the client.
        source: SourceAddress,
        /// Length of the header in bytes.
        length: usize,
    },
}

/// Address of a client, from the header of its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceAddress {
    /// IP address and port.
    Ip(SocketAddr),
    /// A Unix socket of the proxy.
    Unix,
    /// The header names no address, or the proxy connects for itself: the address of the connection applies.
    Connection,
}

/// Error for bytes that are not a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedHeader;

/// Parses a header at the start of the received bytes.
///
/// # Errors
/// [`MalformedHeader`], as soon as no further bytes can complete a valid header.
pub(super) fn parse_header(bytes: &[u8]) -> Result<ProxyHeader, MalformedHeader> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins(V1_PREFIX) {
        parse_v1(bytes)
    } else {
        Err(MalformedHeader)
    }
}

/// Parses version 1 (section 2.1).
fn parse_v1(bytes: &[u8]) -> Result<ProxyHeader, MalformedHeader> {
    let within = bytes.get(..MAX_V1_BYTES).unwrap_or(bytes);
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return match within.len() {
            MAX_V1_BYTES => Err(MalformedHeader),
            _ => Ok(ProxyHeader::Partial),
        };
    };
    let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| str::from_utf8(line).ok());
    let source = line.and_then(v1_source).ok_or(MalformedHeader)?;
    Ok(ProxyHeader::Complete {
        source,
        length: end + 1,
    })
}

/// Parses a line such as `PROXY TCP4 192.0.2.1 192.0.2.2 1024 80`, and returns the source.
fn v1_source(line: &str) -> Option<SourceAddress> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // The rest of the line must be ignored (section 2.1).
        return Some(SourceAddress::Connection);
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
    words.next().is_none().then_some(SourceAddress::Ip(address))
}

/// Parses a port in decimal digits, without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

/// Parses version 2 (section 2.2). The type-length-value fields after the addresses are skipped.
fn parse_v2(bytes: &[u8]) -> Result<ProxyHeader, MalformedHeader> {
    let rest = bytes.get(V2_SIGNATURE.len()..).unwrap_or_default();
    let is_local = match rest.first() {
        None => return Ok(ProxyHeader::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(MalformedHeader),
    };
    let [_, family, high, low, rest @ ..] = rest else {
        return Ok(ProxyHeader::Partial);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (addresses, is_stream) = match (family >> 4, family & 0xf) {
        // The addresses of a LOCAL header must be ignored.
        _ if is_local => (AddressFamily::None, false),
        (0, 0..=2) => (AddressFamily::None, false),
        (1, kind @ 0..=2) => (AddressFamily::V4, kind == 1),
        (2, kind @ 0..=2) => (AddressFamily::V6, kind == 1),
        (3, kind @ 0..=2) => (AddressFamily::Unix, kind == 1),
        _ => return Err(MalformedHeader),
    };
    if length > MAX_V2_REST_BYTES || length < addresses.length() {
        return Err(MalformedHeader);
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(ProxyHeader::Partial);
    };
    Ok(ProxyHeader::Complete {
        // A datagram's addresses are not those of this connection.
        source: match is_stream {
            true => addresses.source(rest).ok_or(MalformedHeader)?,
            false => SourceAddress::Connection,
        },
        length: V2_FIXED_BYTES + length,
    })
}

/// Address family of a version 2 header.
#[derive(Clone, Copy)]
enum AddressFamily {
    None,
    V4,
    V6,
    Unix,
}

impl AddressFamily {
    /// Returns the length in bytes of both addresses with their ports.
    fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    /// Parses the source address, which comes first, and its port, which comes after the destination address.
    fn source(self, bytes: &[u8]) -> Option<SourceAddress> {
        let (ip, port): (IpAddr, _) = match self {
            Self::None => return Some(SourceAddress::Connection),
            Self::Unix => return Some(SourceAddress::Unix),
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
        Some(SourceAddress::Ip(SocketAddr::new(ip, port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<SourceAddress> {
        Some(SourceAddress::Ip(text.parse().unwrap()))
    }

    /// Checks that these bytes are a header with this source, or malformed (`None`), in whichever parts they arrive,
    /// and that bytes after them do not change the result.
    fn check(bytes: &[u8], expected: Option<SourceAddress>) {
        let shown = bytes.escape_ascii();
        let expected = expected
            .ok_or(MalformedHeader)
            .map(|source| ProxyHeader::Complete {
                source,
                length: bytes.len(),
            });
        for length in 0..bytes.len() {
            let found = parse_header(&bytes[..length]);
            let is_too_early = expected.is_err() && found == expected;
            assert!(
                found == Ok(ProxyHeader::Partial) || is_too_early,
                "{length} of {shown}"
            );
        }
        assert_eq!(parse_header(bytes), expected, "{shown}");
        let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse_header(&followed), expected, "{shown}");
    }

    #[test]
    fn v1_header_is_parsed() {
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
        check("PROXY UNKNOWN\r\n", Some(SourceAddress::Connection));
        let longest = format!("PROXY UNKNOWN {longest} 65535 65535\r\n");
        assert_eq!(longest.len(), MAX_V1_BYTES);
        check(&longest, Some(SourceAddress::Connection));
        check(
            &format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)),
            Some(SourceAddress::Connection),
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

    /// Builds a version 2 header.
    fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 4, 0, 0, 80];

    #[test]
    fn v2_header_is_parsed() {
        let v6 = |port: u16| {
            let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
            let ports = [port.to_be_bytes(), 80_u16.to_be_bytes()].concat();
            [&ip("2001:db8::1")[..], &ip("::1"), &ports].concat()
        };
        check(&v2_header(0x21, 0x11, V4), ip("192.0.2.1:1024"));
        check(
            &v2_header(0x21, 0x21, &v6(65535)),
            ip("[2001:db8::1]:65535"),
        );
        check(
            &v2_header(0x21, 0x31, &[b'x'; 216]),
            Some(SourceAddress::Unix),
        );
        // Type-length-value fields are skipped, valid or not.
        check(
            &v2_header(0x21, 0x11, &[V4, b"\x03\0\x04abcd"].concat()),
            ip("192.0.2.1:1024"),
        );
        check(
            &v2_header(0x21, 0x11, &[V4, &[0xff; 4084]].concat()),
            ip("192.0.2.1:1024"),
        );
        // No addresses, not those of a stream, or a LOCAL header.
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
            check(
                &v2_header(command, family, rest),
                Some(SourceAddress::Connection),
            );
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
            check(&v2_header(command, family, rest), None);
        }
    }

    #[test]
    fn v2_length_above_limit_is_malformed() {
        let header = |length: usize| parse_header(&v2_header(0x21, 0x11, &[0; 65535])[..length]);
        assert_eq!(header(V2_FIXED_BYTES - 1), Ok(ProxyHeader::Partial));
        assert_eq!(header(V2_FIXED_BYTES), Err(MalformedHeader));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, version: bool) {
            let begin = if version { V2_SIGNATURE } else { V1_PREFIX };
            let _ = parse_header(&bytes);
            let bytes = [begin, &bytes].concat();
            if let Ok(ProxyHeader::Complete { length, .. }) = parse_header(&bytes) {
                assert!(length <= bytes.len());
            }
        }
    }
}
