//! Values of `--bind` and `--port`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use docroot::net::Endpoint;
use docroot::server::Bind;

/// Default port, and the ports that are tried after it if docroot runs on a terminal.
pub(super) const DEFAULT_PORT: u16 = 8080;
pub(super) const FALLBACK_PORTS: std::ops::RangeInclusive<u16> = 8081..=8090;

/// Variables of `--port`, the first one wins. Many platforms set PORT.
pub(super) const PORT_VARIABLES: [&str; 2] = ["DOCROOT_PORT", "PORT"];

/// Addresses of one value of `--bind`. `localhost` has two.
pub(super) type Binds = Vec<Bind>;

/// Parses one value of `--bind`.
///
/// # Errors
/// The form that is expected.
pub(super) fn parse(text: &str) -> Result<Binds, String> {
    let text = text.trim_ascii();
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(vec![Bind::Unix(endpoint(path)?)]);
    }
    if text == "systemd" {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        return Ok(vec![Bind::Activated(
            names.split(':').map(Into::into).collect(),
        )]);
    }
    let (text, zone) = without_zone(text)?;
    let (text, is_zoned) = (text.as_str(), zone.is_some());
    let ip_bind = |ip: IpAddr, port| match (zone, ip) {
        (Some(_), IpAddr::V4(_)) => Err("expected an IPv6 address before the % of a zone".into()),
        (zone, ip) => Ok(vec![Bind::Ip {
            ip,
            zone,
            port,
            optional: false,
        }]),
    };
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bracketed.unwrap_or(text).parse::<IpAddr>() {
        return ip_bind(ip, None);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return ip_bind(address.ip(), Some(address.port()));
    }
    match text.split_once(':') {
        _ if text == "localhost" && !is_zoned => Ok(localhost(None)),
        None if is_number(text) => Err(format!(
            "this is a port, not an address; write --port {text}, or '[::]:{text}' for all addresses"
        )),
        Some(("", port)) if is_number(port) => Err(format!(
            "the address before the port is missing; write '[::]:{port}' for all addresses, or --port {port}"
        )),
        Some(("localhost", port)) if !is_zoned && port.parse::<u16>().is_ok() => {
            Ok(localhost(port.parse().ok()))
        }
        _ => Err(
            "expected an IP or IP:PORT, such as 0.0.0.0, [::], 127.0.0.1:8080, [fe80::1%eth0]; \
             or unix:/path; or systemd, for sockets that it passes"
                .into(),
        ),
    }
}

/// Whether both are the same address, optional or not.
pub(super) fn is_same(one: &Bind, other: &Bind) -> bool {
    let socket = |bind: &Bind| match bind {
        Bind::Ip { ip, zone, port, .. } => Some((*ip, zone.clone(), *port)),
        Bind::Unix(_) | Bind::Activated(_) => None,
    };
    one == other || socket(one).is_some_and(|one| Some(one) == socket(other))
}

/// Returns the loopback addresses. That of IPv6 is optional.
pub(super) fn localhost(port: Option<u16>) -> Binds {
    let bind = |ip, optional| Bind::Ip {
        ip,
        zone: None,
        port,
        optional,
    };
    vec![
        bind(Ipv4Addr::LOCALHOST.into(), false),
        bind(Ipv6Addr::LOCALHOST.into(), true),
    ]
}

/// Splits the zone (RFC 4007 section 11) from an IPv6 address: `[fe80::1%eth0]:8080`.
fn without_zone(text: &str) -> Result<(String, Option<String>), String> {
    let Some((ip, rest)) = text.split_once('%') else {
        return Ok((text.to_owned(), None));
    };
    let (zone, after) = rest.split_at(rest.find(']').unwrap_or(rest.len()));
    match zone {
        "" => Err("expected the name of an interface, or its number, after the %".into()),
        zone => Ok((format!("{ip}{after}"), Some(zone.to_owned()))),
    }
}

/// Parses the address of a Unix socket: a path, or `@` and an abstract name.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    match text.strip_prefix('@') {
        Some("") => Err("expected a name after unix:@".into()),
        Some(name) => Ok(Endpoint::Name(name.into())),
        // Relative to the current directory at start.
        None => std::path::absolute(text)
            .map(Endpoint::Path)
            .map_err(|_| "expected a path, such as unix:/run/docroot.sock".into()),
    }
}

/// Whether a text is a number in decimal digits, such as a port.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses the value of `--port`.
pub(super) fn port_number(text: &str) -> Result<u16, String> {
    let expected = |_| "expected a port, a number from 0 to 65535".to_owned();
    text.parse().map_err(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_parsed() {
        let check = |text: &str, expected: Option<(&str, Option<&str>, Option<u16>)>| {
            let first = parse(text).ok().map(|binds| binds[0].clone());
            let expected = expected.map(|(ip, zone, port)| Bind::Ip {
                ip: ip.parse().unwrap(),
                zone: zone.map(Into::into),
                port,
                optional: false,
            });
            assert_eq!(first, expected, "{text}");
        };
        check("0.0.0.0", Some(("0.0.0.0", None, None)));
        check("127.0.0.1:81", Some(("127.0.0.1", None, Some(81))));
        check("::", Some(("::", None, None)));
        check("[::]", Some(("::", None, None)));
        check("[::1]:81", Some(("::1", None, Some(81))));
        check("localhost", Some(("127.0.0.1", None, None)));
        check("localhost:81", Some(("127.0.0.1", None, Some(81))));
        check("fe80::1%eth0", Some(("fe80::1", Some("eth0"), None)));
        check("[fe80::1%2]", Some(("fe80::1", Some("2"), None)));
        check(
            "[fe80::1%eth0]:81",
            Some(("fe80::1", Some("eth0"), Some(81))),
        );
        for bad in [
            "",
            "a",
            "localhost:a",
            "127.0.0.1:",
            "1.2.3",
            "127.0.0.1:70000",
            "fe80::1%",
            "[fe80::1%]:80",
            "127.0.0.1%lo",
            "localhost%lo",
            "%lo",
            "unix:",
            "unix:@",
            "unix",
            "systemd:",
        ] {
            check(bad, None);
        }
        let unix = |text| parse(text).unwrap().remove(0);
        let path = Endpoint::Path("/run/a:b".into());
        assert_eq!(unix("unix:/run/a:b"), Bind::Unix(path));
        assert_eq!(unix("unix:@a"), Bind::Unix(Endpoint::Name(b"a".into())));
        assert!(matches!(unix("systemd"), Bind::Activated(_)));
    }
}
