//! X-Forwarded-For and Forwarded (RFC 7239) -> for whom a proxy speaks.

use std::net::{IpAddr, SocketAddr};
use std::str;

use super::request::Request;
use super::syntax::{list_elements, parse_parameter, split_parameters, trim_ows};
use crate::trust::TrustedProxies;

/// Where a peer is, as a proxy has heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedAddress {
    /// Its address.
    pub ip: IpAddr,
    /// Its port, if that is said.
    pub port: Option<u16>,
}

/// For whom a trusted proxy has sent this request: walking back from the proxy, the first address that is not one of
/// a trusted proxy, or the last one that can be read. What is in front of that is anybody's word.
///
/// Where both fields are there, the first is the proxy's, as nearly all proxies write it, and the other may be the peer's
/// own, which was let through: it is not looked at. `None`: nothing is said, or nothing that can be believed.
#[must_use]
pub fn forwarded_client(
    request: &Request<'_>,
    trusted: &TrustedProxies,
) -> Option<ForwardedAddress> {
    match request.values("X-Forwarded-For").next() {
        Some(_) => first_untrusted(x_forwarded_for_nodes(request), trusted),
        None => first_untrusted(forwarded_nodes(request), trusted),
    }
}

/// One that a request has passed.
#[derive(Clone, Copy)]
enum Node {
    Ip(ForwardedAddress),
    /// Behind a Unix socket.
    Unix,
}

/// `nodes` come from the last one to the first; one that is `None` cannot be read.
fn first_untrusted(
    nodes: impl Iterator<Item = Option<Node>>,
    trusted: &TrustedProxies,
) -> Option<ForwardedAddress> {
    let mut last = None;
    for node in nodes {
        let Some(node) = node else {
            break;
        };
        match node {
            Node::Unix if trusted.contains(None) => {}
            Node::Unix => break,
            Node::Ip(node) => {
                last = Some(node);
                if !trusted.contains(Some(node.ip)) {
                    break;
                }
            }
        }
    }
    last
}

/// What is between commas. Quotes mean nothing here: a peer could hide with one what a proxy has added.
fn x_forwarded_for_nodes(request: &Request<'_>) -> impl Iterator<Item = Option<Node>> {
    let lines: Vec<&[u8]> = request.values("X-Forwarded-For").collect();
    let nodes = lines
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(|&byte| byte == b','));
    nodes.map(|text| parse_node(trim_ows(text)))
}

/// The `for` of each element.
fn forwarded_nodes<'a>(request: &Request<'a>) -> impl Iterator<Item = Option<Node>> + use<'a> {
    let mut all: Vec<&[u8]> = request
        .values("Forwarded")
        .flat_map(list_elements)
        .collect();
    all.reverse();
    all.into_iter().map(|element| {
        let mut pairs = split_parameters(element).map(parse_parameter);
        let mut found = None;
        pairs.try_for_each(|pair| {
            let (name, value) = pair?;
            let is_for = name.eq_ignore_ascii_case(b"for");
            if is_for && found.replace(value).is_some() {
                // Twice.
                return None;
            }
            Some(())
        })?;
        let value = found?;
        // What has a backslash in it is no address.
        let bare = value
            .strip_prefix(b"\"")
            .and_then(|it| it.strip_suffix(b"\""));
        parse_node(bare.unwrap_or(value))
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, or `unix:`.
fn parse_node(text: &[u8]) -> Option<Node> {
    let text = str::from_utf8(text).ok()?;
    if text == "unix:" {
        return Some(Node::Unix);
    }
    let bracketed = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let found = match (bracketed, text.parse::<SocketAddr>()) {
        (Some(inner), _) => (IpAddr::V6(inner.parse().ok()?), None),
        (None, Ok(address)) => (address.ip(), Some(address.port())),
        (None, Err(_)) => (text.parse().ok()?, None),
    };
    let (ip, port) = found;
    Some(Node::Ip(ForwardedAddress {
        ip: ip.to_canonical(),
        port,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::request::{FieldLine, Method, Version};
    use super::*;

    /// What comes of these field lines where 10.0.0.0/8, 2001:db8::/32 and perhaps Unix sockets are trusted.
    fn check_with(trusted: &[&str], lines: &[(&str, &str)], expected: &str) {
        let trusted: TrustedProxies = trusted.iter().map(|it| it.parse().unwrap()).collect();
        let lines = FieldLine::from_pairs(lines);
        let request = Request {
            method: Method::Get,
            target: "/",
            version: Version::Http11,
            lines: &lines,
        };
        let found = match forwarded_client(&request, &trusted) {
            None => "-".to_owned(),
            Some(ForwardedAddress { ip, port: None }) => ip.to_string(),
            Some(ForwardedAddress {
                ip,
                port: Some(port),
            }) => SocketAddr::new(ip, port).to_string(),
        };
        assert_eq!(found, expected, "{lines:?}");
    }

    fn check(lines: &[(&str, &str)], expected: &str) {
        check_with(&["10.0.0.0/8", "2001:db8::/32"], lines, expected);
    }

    #[test]
    fn rightmost_untrusted_address_is_the_client() {
        let check = |list: &str, expected: &str| check(&[("X-Forwarded-For", list)], expected);
        check("192.0.2.1", "192.0.2.1");
        check("192.0.2.1, 10.0.0.2", "192.0.2.1");
        check("6.6.6.6, 192.0.2.1", "192.0.2.1");
        check("6.6.6.6, 192.0.2.1, 10.0.0.3 ,10.0.0.2", "192.0.2.1");
        check("10.0.0.9, 192.0.2.1", "192.0.2.1");
        // All are trusted: the one that is farthest away.
        check("10.0.0.3, 10.0.0.2", "10.0.0.3");
        check("192.0.2.1:8080, 10.0.0.2:1", "192.0.2.1:8080");
        check("2001:db9::1, 2001:db8::2", "2001:db9::1");
        check("[2001:db9::1], [2001:db8::2]:80", "2001:db9::1");
        check("[2001:db9::1]:80", "[2001:db9::1]:80");
        check("::ffff:192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1");
    }

    #[test]
    fn malformed_node_ends_the_walk() {
        let check = |list: &str, expected: &str| check(&[("X-Forwarded-For", list)], expected);
        for bad in [
            "",
            " ",
            "unknown",
            "host.example",
            "192.0.2.1 192.0.2.2",
            "192.0.2.256",
            "192.0.2.1:",
            "192.0.2.1:80:80",
            "192.0.2.1:65536",
            "[192.0.2.1]",
            "[2001:db9::1",
            "2001:db9::1]",
            "fe80::1%eth0",
            "\"192.0.2.1\"",
            "unix:",
            "\u{661}92.0.2.1",
            "6.6.6.6,",
        ] {
            check(bad, "-");
            let proxied = format!("{bad}, 10.0.0.2");
            check(&format!("6.6.6.6, {proxied}"), "10.0.0.2");
        }
    }

    #[test]
    fn several_field_lines_are_one_list() {
        let name = "x-forwarded-for";
        check(
            &[(name, "6.6.6.6"), (name, "192.0.2.1"), (name, "10.0.0.2")],
            "192.0.2.1",
        );
        check(&[], "-");
    }

    #[test]
    fn quotes_have_no_meaning_in_x_forwarded_for() {
        check(&[("X-Forwarded-For", "\"6.6.6.6, 192.0.2.1")], "192.0.2.1");
        check(
            &[("X-Forwarded-For", "\\, 192.0.2.1, 10.0.0.2")],
            "192.0.2.1",
        );
    }

    #[test]
    fn forwarded_field_is_parsed_by_rfc_7239() {
        let check = |list: &str, expected: &str| check(&[("Forwarded", list)], expected);
        check("for=192.0.2.1", "192.0.2.1");
        check(
            "For=\"192.0.2.1:80\"; proto=https;by=10.0.0.1",
            "192.0.2.1:80",
        );
        check("for=\"[2001:db9::1]:80\"", "[2001:db9::1]:80");
        check("for=\"[2001:db9::1]\"", "2001:db9::1");
        check(
            "for=6.6.6.6, for=192.0.2.1, for=10.0.0.2;host=\"a,b\"",
            "192.0.2.1",
        );
        check("for=6.6.6.6, proto=http;for=192.0.2.1", "192.0.2.1");
        for bad in [
            "",
            "192.0.2.1",
            "for=",
            "for=unknown",
            "for=_hidden",
            "for=192.0.2.1:80",
            "for=[2001:db9::1]",
            "for=\"192.0.2.1",
            "for=\"192\\.0.2.1\"",
            "for=192.0.2.1;for=192.0.2.1",
            "for=192.0.2.1;;",
            "proto=http",
        ] {
            check(bad, "-");
        }
        check("for=192.0.2.1;host=\"a, for=10.0.0.2", "-");
    }

    #[test]
    fn x_forwarded_for_takes_precedence_over_forwarded() {
        let check = |plain, named, expected| {
            check(
                &[("X-Forwarded-For", plain), ("Forwarded", named)],
                expected,
            );
        };
        check("192.0.2.1", "for=192.0.2.1", "192.0.2.1");
        check("192.0.2.1", "for=\"192.0.2.1:80\"", "192.0.2.1");
        check("192.0.2.1", "for=6.6.6.6", "192.0.2.1");
        check("192.0.2.1", "nonsense", "192.0.2.1");
        check("nonsense", "for=6.6.6.6", "-");
        check("nonsense", "for=192.0.2.1", "-");
    }

    #[test]
    fn unix_node_is_skipped_if_trusted() {
        let lines = [("X-Forwarded-For", "192.0.2.1, unix:, 10.0.0.2")];
        check_with(&["10.0.0.0/8", "unix"], &lines, "192.0.2.1");
        check_with(&["10.0.0.0/8"], &lines, "10.0.0.2");
    }
}
