//! The argument of `docroot healthcheck`, and the request that it stands for.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use clap::Args;
use docroot::net::{self, Endpoint};
use docroot::server::Bind;
use docroot::trust::{TrustedProxies, TrustedSource};

use super::{PORT, binds, metrics};

/// The path of `--health` without a value.
const HEALTH: &str = "/healthz";

#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// Request this: http://ADDRESS:PORT/PATH or unix:/PATH [default: the address in DOCROOT_BIND and DOCROOT_PORT or
    /// PORT, and the path in DOCROOT_HEALTH, else /]
    #[arg(value_name = "URL")]
    url: Option<String>,
}

/// One request to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Addresses to try: the first one that accepts a connection counts. Never empty.
    pub(crate) places: Vec<Endpoint>,
    /// Request target: a path, with a query if there is one.
    pub(crate) target: String,
    /// Whether the path was named, so that it must exist.
    pub(crate) is_named: bool,
    /// Proxies that the server expects a PROXY header from: an empty list is all peers, `None` is none.
    pub(crate) proxies: Option<TrustedProxies>,
}

impl Probe {
    /// Returns the URL of the request at this address, for a message.
    pub(crate) fn at(&self, place: &Endpoint) -> String {
        let target = &self.target;
        match place {
            Endpoint::Ip(address) => format!("http://{address}{target}"),
            Endpoint::Path(_) | Endpoint::Name(_) => format!("{place}{target}"),
        }
    }
}

impl Healthcheck {
    /// Adds the environment, which is that of the server in the same container.
    ///
    /// # Errors
    /// A sentence that names the argument or the variable and says what to do.
    pub(crate) fn resolve(self) -> Result<Probe, String> {
        let variable = |name| {
            let value = env::var_os(name).filter(|value| !value.is_empty());
            let value = value.map(|value| value.into_string());
            value
                .transpose()
                .map_err(|value| format!("{name}={}: expected text in UTF-8", value.display()))
        };
        let health = variable("DOCROOT_HEALTH")?;
        let proxies = proxies(
            variable("DOCROOT_PROXY_PROTOCOL")?.as_deref(),
            variable("DOCROOT_TRUSTED_PROXY")?.as_deref(),
        )?;
        if let Some(url) = &self.url {
            let probe = asked(url, health.as_deref())?;
            // The metrics listener expects no PROXY header.
            let said = variable("DOCROOT_METRICS")?;
            let metrics = said.and_then(|text| metrics::address(&text).ok());
            let metrics = metrics.map(|address| address.port());
            let is_of_metrics =
                |place: &Endpoint| place.tcp().is_some_and(|it| Some(it.port()) == metrics);
            let proxies = proxies.filter(|_| !probe.places.iter().any(is_of_metrics));
            return Ok(Probe { proxies, ..probe });
        }
        let port = |name| binds::port(name, env::var_os(name));
        let port = match port("DOCROOT_PORT")? {
            Some(port) => Some(port),
            None => port("PORT")?,
        };
        let binds = variable("DOCROOT_BIND")?;
        Ok(Probe {
            places: places(
                binds.as_deref().unwrap_or("localhost"),
                port.unwrap_or(PORT),
            )?,
            proxies,
            ..path(health.as_deref())
        })
    }
}

/// The request for the path of `--health`; for / if that is off.
fn path(health: Option<&str>) -> Probe {
    let target = match health {
        Some(path) if path.starts_with('/') => path,
        Some(_) => HEALTH,
        None => "/",
    };
    Probe {
        places: Vec::new(),
        target: target.to_owned(),
        is_named: health.is_some(),
        proxies: None,
    }
}

/// Parses a URL.
fn asked(url: &str, health: Option<&str>) -> Result<Probe, String> {
    if url.starts_with("unix:") {
        return Ok(Probe {
            places: reached(url, 80).map_err(|why| format!("{url}: {why}"))?,
            ..path(health)
        });
    }
    // No other name is resolved: that could take longer than the response, and needs files that an image may not
    // have.
    let expected = || {
        format!(
            "{url} is not a URL that can be checked; write http://127.0.0.1:8080/healthz, with an IP address or localhost, or unix:/run/docroot.sock"
        )
    };
    let rest = url.strip_prefix("http://").ok_or_else(expected)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    // Bytes that a request line cannot hold.
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
    let places = reached(&plain_zone(authority), 80).map_err(|_| expected())?;
    if places.is_empty() || places.iter().any(|place| place.tcp().is_none()) {
        return Err(expected());
    }
    Ok(Probe {
        places,
        target,
        is_named: true,
        proxies: None,
    })
}

/// In a URL the percent sign before a zone is encoded (RFC 6874 section 2), but not by everybody.
fn plain_zone(authority: &str) -> String {
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
    // The values that clap takes for true.
    let yes = ["y", "yes", "t", "true", "on", "1"];
    if !protocol.is_some_and(|said| yes.contains(&said.to_lowercase().as_str())) {
        return Ok(None);
    }
    let sources = trusted.into_iter().flat_map(|list| list.split(','));
    let sources = sources.map(|text| {
        let wrong = |why| format!("DOCROOT_TRUSTED_PROXY={text}: {why}");
        text.parse::<TrustedSource>().map_err(wrong)
    });
    sources.collect::<Result<_, _>>().map(Some)
}

/// Returns the addresses of a server with this list of `--bind` and this port.
fn places(binds: &str, port: u16) -> Result<Vec<Endpoint>, String> {
    let mut places = Vec::new();
    for bind in binds.split(',') {
        places.extend(reached(bind, port).map_err(|why| format!("DOCROOT_BIND={bind}: {why}"))?);
    }
    let is_chosen = |place: &Endpoint| place.tcp().is_some_and(|address| address.port() == 0);
    places.retain(|place| !is_chosen(place));
    if places.is_empty() {
        return Err(format!(
            "DOCROOT_BIND={binds} with port {port} names no address to connect to; name one: \
             docroot healthcheck http://127.0.0.1:8080/"
        ));
    }
    Ok(places)
}

/// Returns the addresses by which this machine reaches one value of that list: the loopback for all addresses. Sockets
/// that systemd passes have no known address.
fn reached(bind: &str, port: u16) -> Result<Vec<Endpoint>, String> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let mut places = Vec::new();
    for bind in binds::parse(bind)? {
        let (ip, zone, port) = match bind {
            Bind::Ip {
                ip,
                zone,
                port: own,
                ..
            } => (ip, zone, own.unwrap_or(port)),
            Bind::Unix(endpoint) => {
                places.push(endpoint);
                continue;
            }
            Bind::Activated(_) => continue,
        };
        let at = |ip: IpAddr| Endpoint::Ip(SocketAddr::new(ip, port));
        match (ip, zone) {
            // Where there is no IPv6, `[::]` is 0.0.0.0; beside another IPv4 address it takes IPv6 only.
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), _) => places.extend([at(v4), at(v6)]),
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), _) => places.push(at(v4)),
            (IpAddr::V6(ip), Some(zone)) => {
                let zone = net::zone_index(&zone).map_err(|error| format!("{zone}: {error}"))?;
                places.push(Endpoint::Ip(SocketAddrV6::new(ip, port, 0, zone).into()));
            }
            (ip, _) => places.push(at(ip)),
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(probe: Result<Probe, String>) -> String {
        match probe {
            Ok(probe) => {
                let places = probe.places.iter().map(|place| probe.at(place));
                places.collect::<Vec<_>>().join(" ")
            }
            Err(why) => why,
        }
    }

    #[test]
    fn a_url_names_an_address_and_a_path() {
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
            assert_eq!(said(asked(url, None)), expected, "{url}");
        }
        assert_eq!(said(asked("unix:/s", Some("/up"))), "unix:/s/up");
        assert!(said(asked("unix:", None)).contains("expected a path"));
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
                said(asked(url, None)).contains("is not a URL that can be checked"),
                "{url}"
            );
        }
    }

    #[test]
    fn addresses_are_those_of_the_variables() {
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
            let places = places(binds, 1).map(|places| Probe {
                places,
                ..path(None)
            });
            assert_eq!(said(places), expected, "{binds}");
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
            let why = places(binds, port).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn path_is_that_of_health() {
        for (health, target, is_named) in [
            (None, "/", false),
            (Some("/ready"), "/ready", true),
            (Some("true"), "/healthz", true),
        ] {
            let probe = path(health);
            assert_eq!((&*probe.target, probe.is_named), (target, is_named));
        }
    }
}
