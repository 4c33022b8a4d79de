//! The client's address behind trusted proxies, from X-Forwarded-For and Forwarded (RFC 7239).

use std::net::{IpAddr, SocketAddr};
use std::str;

use super::request::Request;
use super::request_fields::RequestField;
use super::syntax::{list_elements, parse_parameter, split_parameters, trim_ows, unquoted};
use crate::trust::TrustedProxies;

/// A client's or proxy's address, as a proxy reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedAddress {
    /// IP address.
    pub ip: IpAddr,
    /// Port, if there is one.
    pub port: Option<u16>,
}

/// Address of the client for which trusted proxies forwarded this request: from the last node to the first, the first
/// address that is not a trusted proxy's, or the last one that is valid. All nodes before it may be forged.
///
/// If both fields are present, X-Forwarded-For is the proxy's, as nearly all proxies write it, and Forwarded may be the
/// client's, passed on unchanged: it is ignored. `None` if there is no address, or none that can be trusted.
#[must_use]
pub fn forwarded_client(
    request: &Request<'_>,
    trusted: &TrustedProxies,
) -> Option<ForwardedAddress> {
    match request.fields.has(RequestField::XForwardedFor) {
        true => first_untrusted(x_forwarded_for_nodes(request), trusted),
        false => first_untrusted(forwarded_nodes(request), trusted),
    }
}

/// A node that the request has passed through.
#[derive(Clone, Copy)]
enum Node {
    Ip(ForwardedAddress),
    /// A peer on a Unix socket.
    Unix,
}

/// Returns the first untrusted address. `nodes` run from last to first; an invalid one is `None` and ends the walk.
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

/// Iterates over the nodes of X-Forwarded-For, last first. Quotes have no meaning: with one, a client could hide the
/// nodes that a proxy adds.
fn x_forwarded_for_nodes(request: &Request<'_>) -> impl Iterator<Item = Option<Node>> {
    let lines: Vec<&[u8]> = request.fields.values(RequestField::XForwardedFor).collect();
    let nodes = lines
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(|&byte| byte == b','));
    nodes.map(|text| parse_node(trim_ows(text)))
}

/// Iterates over the `for` parameters of Forwarded, last first.
fn forwarded_nodes<'a>(request: &Request<'a>) -> impl Iterator<Item = Option<Node>> + use<'a> {
    let mut all: Vec<&[u8]> = request
        .fields
        .values(RequestField::Forwarded)
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
                // A second `for`.
                return None;
            }
            Some(())
        })?;
        let value = found?;
        // A value with a backslash in it is not an address.
        parse_node(unquoted(value))
    })
}

/// Parses `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, or `unix:`.
fn parse_node(text: &[u8]) -> Option<Node> {
    let text = str::from_utf8(text).ok()?;
    if text == "unix:" {
        return Some(Node::Unix);
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
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
    use super::super::request::{Method, Version};
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::*;

    /// Asserts the address found in these field lines.
    fn check_with(trusted: &[&str], lines: &[(&str, &str)], expected: &str) {
        let trusted: TrustedProxies = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let lines = FieldLine::from_pairs(lines);
        let request = Request {
            method: Method::Get,
            target: "/",
            version: Version::Http11,
            fields: RequestFields::new(&lines),
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
        // All are trusted: the farthest one.
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
