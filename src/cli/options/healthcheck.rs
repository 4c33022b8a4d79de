//! The argument of `docroot healthcheck`, and the request that it describes.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use clap::Args;
use docroot::net::{self, Endpoint};
use docroot::server::Bind;
use docroot::trust::{TrustedProxies, TrustedSource};

use super::binds::DEFAULT_PORT;
use super::{binds, environment, metrics, values};

/// Path of the health check if `--health` has no value.
const DEFAULT_PATH: &str = "/healthz";

/// Arguments of `docroot healthcheck`.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArguments {
    /// Request this: http://ADDRESS:PORT/PATH or unix:/PATH [default: the address in DOCROOT_BIND and DOCROOT_PORT or
    /// PORT, and the path in DOCROOT_HEALTH, else /]
    #[arg(value_name = "URL")]
    url: Option<String>,
}

/// Request that checks a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthcheckRequest {
    /// Addresses to try, until one accepts a connection. Never empty.
    pub(crate) addresses: Vec<Endpoint>,
    /// Request target: a path, with a query if there is one.
    pub(crate) target: String,
    /// Whether the argument or the variables name the path, so that it must exist.
    pub(crate) has_explicit_path: bool,
    /// Proxies from which the server expects a PROXY header: an empty list means all peers, `None` means none.
    pub(crate) proxies: Option<TrustedProxies>,
}

impl HealthcheckRequest {
    /// Returns the URL of the request to this address, for messages.
    pub(crate) fn url_at(&self, address: &Endpoint) -> String {
        let target = &self.target;
        match address {
            Endpoint::Ip(address) => format!("http://{address}{target}"),
            Endpoint::Path(_) | Endpoint::Name(_) => format!("{address}{target}"),
        }
    }
}

impl HealthcheckArguments {
    /// Returns the request, and warnings about variables that are ignored. The environment is that of the server, as it
    /// runs in the same container.
    ///
    /// # Errors
    /// One sentence: the argument or the variable, and what to do.
    pub(crate) fn resolve(self) -> Result<(HealthcheckRequest, Vec<String>), String> {
        let text = |name: &str, value: OsString| {
            let error =
                |value: OsString| format!("{name}={}: expected text in UTF-8", value.display());
            value.into_string().map_err(error)
        };
        let variable = |name: &str| {
            let value = environment::value(name);
            value.map(|value| text(name, value)).transpose()
        };
        let mut warnings = Vec::new();
        let health = variable("DOCROOT_HEALTH")?;
        let proxies = proxies(
            variable("DOCROOT_PROXY_PROTOCOL")?.as_deref(),
            variable("DOCROOT_TRUSTED_PROXY")?.as_deref(),
        )?;
        if let Some(url) = &self.url {
            let request = parse_url(url, health.as_deref())?;
            // The metrics listener expects no PROXY header.
            let metrics = variable("DOCROOT_METRICS")?;
            let metrics = metrics.and_then(|text| metrics::address(&text).ok());
            let metrics = metrics.map(|address| address.port());
            let is_metrics_listener =
                |address: &Endpoint| address.tcp().is_some_and(|it| Some(it.port()) == metrics);
            let proxies = proxies.filter(|_| !request.addresses.iter().any(is_metrics_listener));
            return Ok((HealthcheckRequest { proxies, ..request }, warnings));
        }
        let port = environment::port(&mut warnings).map(|(name, value)| {
            let value = text(name, value)?;
            binds::port_number(&value).map_err(|why| format!("{name}={value}: {why}"))
        });
        let port = port.transpose()?;
        let binds = variable("DOCROOT_BIND")?;
        let request = HealthcheckRequest {
            addresses: server_addresses(
                binds.as_deref().unwrap_or("localhost"),
                port.unwrap_or(DEFAULT_PORT),
            )?,
            proxies,
            ..request_for_health_path(health.as_deref())
        };
        Ok((request, warnings))
    }
}

/// Returns the request for the path of `--health`, or for / if the health check is off. It has no addresses yet.
fn request_for_health_path(health: Option<&str>) -> HealthcheckRequest {
    let health = health.filter(|text| values::switch(text) != Some(false));
    let target = match health {
        Some(path) if path.starts_with('/') => path,
        Some(_) => DEFAULT_PATH,
        None => "/",
    };
    HealthcheckRequest {
        addresses: Vec::new(),
        target: target.to_owned(),
        has_explicit_path: health.is_some(),
        proxies: None,
    }
}

/// Parses the URL of a request.
fn parse_url(url: &str, health: Option<&str>) -> Result<HealthcheckRequest, String> {
    if url.starts_with("unix:") {
        return Ok(HealthcheckRequest {
            addresses: reachable_addresses(url, 80).map_err(|why| format!("{url}: {why}"))?,
            ..request_for_health_path(health)
        });
    }
    // Names other than localhost are not resolved: that could take longer than the response, and needs files that an
    // image may lack.
    let expected = || {
        format!(
            "{url} is not a URL that can be checked; write http://127.0.0.1:8080/healthz, with an IP address or localhost, or unix:/run/docroot.sock"
        )
    };
    let rest = url.strip_prefix("http://").ok_or_else(expected)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    // A request line cannot contain other bytes.
    if !target
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(expected());
    }
    let target = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("/{target}"),
    };
    let addresses = reachable_addresses(&decode_zone(authority), 80).map_err(|_| expected())?;
    if addresses.is_empty() || addresses.iter().any(|address| address.tcp().is_none()) {
        return Err(expected());
    }
    Ok(HealthcheckRequest {
        addresses,
        target,
        has_explicit_path: true,
        proxies: None,
    })
}

/// Decodes the percent sign before a zone. RFC 6874 section 2 requires that a URL encodes it, but not all of them do.
fn decode_zone(authority: &str) -> String {
    match authority.split_once("%25") {
        Some((ip, zone)) if !zone.is_empty() && !zone.starts_with(']') => format!("{ip}%{zone}"),
        _ => authority.to_owned(),
    }
}

/// Returns the proxies that send a PROXY header, by `--proxy-protocol` and `--trusted-proxy`.
fn proxies(
    protocol: Option<&str>,
    trusted: Option<&str>,
) -> Result<Option<TrustedProxies>, String> {
    if protocol.and_then(values::switch) != Some(true) {
        return Ok(None);
    }
    let sources = trusted.into_iter().flat_map(environment::items);
    let sources = sources.map(|text| {
        let error = |why| format!("DOCROOT_TRUSTED_PROXY={text}: {why}");
        text.parse::<TrustedSource>().map_err(error)
    });
    sources.collect::<Result<_, _>>().map(Some)
}

/// Returns the addresses of a server with this list of `--bind` and this port.
fn server_addresses(binds: &str, port: u16) -> Result<Vec<Endpoint>, String> {
    let mut addresses = Vec::new();
    for bind in environment::items(binds) {
        addresses.extend(
            reachable_addresses(bind, port).map_err(|why| format!("DOCROOT_BIND={bind}: {why}"))?,
        );
    }
    let is_any_free_port =
        |address: &Endpoint| address.tcp().is_some_and(|address| address.port() == 0);
    addresses.retain(|address| !is_any_free_port(address));
    if addresses.is_empty() {
        return Err(format!(
            "DOCROOT_BIND={binds} with port {port} names no address to connect to; name one: \
             docroot healthcheck http://127.0.0.1:8080/"
        ));
    }
    Ok(addresses)
}

/// Returns the addresses by which this machine reaches one value of `--bind`: loopback addresses for an unspecified
/// one, none for sockets that systemd passes, whose addresses are not known.
fn reachable_addresses(bind: &str, port: u16) -> Result<Vec<Endpoint>, String> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let mut addresses = Vec::new();
    for bind in binds::parse(bind)? {
        let (ip, zone, port) = match bind {
            Bind::Ip {
                ip,
                zone,
                port: own_port,
                ..
            } => (ip, zone, own_port.unwrap_or(port)),
            Bind::Unix(endpoint) => {
                addresses.push(endpoint);
                continue;
            }
            Bind::Activated(_) => continue,
        };
        let at = |ip: IpAddr| Endpoint::Ip(SocketAddr::new(ip, port));
        match (ip, zone) {
            // On a machine without IPv6, `[::]` is 0.0.0.0. Beside an IPv4 address it accepts IPv6 only.
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), _) => addresses.extend([at(v4), at(v6)]),
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), _) => addresses.push(at(v4)),
            (IpAddr::V6(ip), Some(zone)) => {
                let zone = net::zone_index(&zone).map_err(|error| format!("{zone}: {error}"))?;
                addresses.push(Endpoint::Ip(SocketAddrV6::new(ip, port, 0, zone).into()));
            }
            (ip, _) => addresses.push(at(ip)),
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls_or_error(request: Result<HealthcheckRequest, String>) -> String {
        match request {
            Ok(request) => {
                let addresses = request
                    .addresses
                    .iter()
                    .map(|address| request.url_at(address));
                addresses.collect::<Vec<_>>().join(" ")
            }
            Err(why) => why,
        }
    }

    #[test]
    fn url_has_address_and_path() {
        for (url, expected) in [
            (
                "http://127.0.0.1:8080/healthz",
                "http://127.0.0.1:8080/healthz",
            ),
            ("http://127.0.0.1", "http://127.0.0.1:80/"),
            ("http://[::1]:1/a?b=c", "http://[::1]:1/a?b=c"),
            ("http://[::1]?b", "http://[::1]:80/?b"),
            ("http://localhost:1/", "http://127.0.0.1:1/ http://[::1]:1/"),
            ("http://0.0.0.0:1/", "http://127.0.0.1:1/"),
            ("unix:/run/d.sock", "unix:/run/d.sock/"),
            ("unix:@d", "unix:@d/"),
            ("http://[fe80::1%7]:1/", "http://[fe80::1%7]:1/"),
            ("http://[fe80::1%257]:1/", "http://[fe80::1%7]:1/"),
            ("http://[fe80::1%25]:1/", "http://[fe80::1%25]:1/"),
            ("http://[fe80::1%25lo]:1/", "http://[fe80::1%1]:1/"),
        ] {
            assert_eq!(urls_or_error(parse_url(url, None)), expected, "{url}");
        }
        assert_eq!(
            urls_or_error(parse_url("unix:/s", Some("/up"))),
            "unix:/s/up"
        );
        assert!(urls_or_error(parse_url("unix:", None)).contains("expected a path"));
        for url in [
            "",
            "/healthz",
            "https://127.0.0.1/",
            "http://example.com/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/a\r\nb",
            "http://127.0.0.1/#a",
            "http:///",
            "http://systemd/",
            "http://unix:@d/",
        ] {
            assert!(
                urls_or_error(parse_url(url, None)).contains("is not a URL that can be checked"),
                "{url}"
            );
        }
    }

    #[test]
    fn addresses_come_from_the_variables() {
        for (binds, expected) in [
            ("localhost", "http://127.0.0.1:1/ http://[::1]:1/"),
            ("[::]", "http://127.0.0.1:1/ http://[::1]:1/"),
            ("::", "http://127.0.0.1:1/ http://[::1]:1/"),
            ("0.0.0.0", "http://127.0.0.1:1/"),
            ("[::]:2", "http://127.0.0.1:2/ http://[::1]:2/"),
            (
                "192.0.2.1,[2001:db8::1]:2",
                "http://192.0.2.1:1/ http://[2001:db8::1]:2/",
            ),
            ("unix:/run/d.sock,systemd", "unix:/run/d.sock/"),
            ("127.0.0.1:0,127.0.0.2", "http://127.0.0.2:1/"),
        ] {
            let addresses = server_addresses(binds, 1).map(|addresses| HealthcheckRequest {
                addresses,
                ..request_for_health_path(None)
            });
            assert_eq!(urls_or_error(addresses), expected, "{binds}");
        }
        for (binds, port, expected) in [
            ("systemd", 1, "names no address"),
            ("127.0.0.1", 0, "names no address"),
            (
                "127.0.0.1,example.com",
                1,
                "DOCROOT_BIND=example.com: expected an IP",
            ),
        ] {
            let why = server_addresses(binds, port).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn path_comes_from_health_option() {
        for (health, target, has_explicit_path) in [
            (None, "/", false),
            (Some("/ready"), "/ready", true),
            (Some("true"), "/healthz", true),
            (Some("off"), "/", false),
        ] {
            let request = request_for_health_path(health);
            assert_eq!(
                (&*request.target, request.has_explicit_path),
                (target, has_explicit_path)
            );
        }
    }
}
