//! Whom `docroot healthcheck` asks, and for what.

use std::env;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use docroot::trust::{Source, Trusted};

use super::PORT;

/// The path if `--health` is on and says none.
const HEALTH: &str = "/healthz";

#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// Whom to ask: http://ADDRESS:PORT/PATH or unix:/PATH [default: where DOCROOT_BIND, DOCROOT_PORT and PORT have
    /// a server listen, for the path in DOCROOT_HEALTH, else for /]
    #[arg(value_name = "URL")]
    url: Option<String>,
}

/// A question to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Where it may be; the first place where anybody listens counts. Never empty.
    pub(crate) places: Vec<Place>,
    /// What is asked for: a path, and a query if there is one.
    pub(crate) target: String,
    /// Whether somebody has named what is asked for, so that it must be there.
    pub(crate) is_named: bool,
    /// From whom the server expects a PROXY header; nobody named is everybody, and `None` nobody.
    pub(crate) proxies: Option<Trusted>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Healthcheck {
    /// Adds what the environment says, which is what it says to a server beside this.
    ///
    /// # Errors
    /// A sentence that names the argument or the variable and says what to do.
    pub(crate) fn resolve(self) -> Result<Probe, String> {
        let variable = |name| {
            let value = env::var_os(name).filter(|value| !value.is_empty());
            let value = value.map(|value| value.into_string());
            value
                .transpose()
                .map_err(|value| format!("{name}={} is no text; set it right", value.display()))
        };
        let health = variable("DOCROOT_HEALTH")?;
        if let Some(url) = &self.url {
            return asked(url, health.as_deref());
        }
        let port = |name| {
            let port = variable(name)?.map(|port| {
                let wrong = |_| format!("{name}={port} is not a port: a number up to 65535");
                port.parse::<u16>().map_err(wrong)
            });
            port.transpose()
        };
        let port = match port("DOCROOT_PORT")? {
            Some(port) => Some(port),
            None => port("PORT")?,
        };
        let binds = variable("DOCROOT_BIND")?;
        let proxies = proxies(
            variable("DOCROOT_PROXY_PROTOCOL")?.as_deref(),
            variable("DOCROOT_TRUSTED_PROXY")?.as_deref(),
        )?;
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

/// For a path as `--health` has it; for the root, if that is off.
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

/// What a URL means.
fn asked(url: &str, health: Option<&str>) -> Result<Probe, String> {
    if let Some(socket) = unix(url) {
        return Ok(Probe {
            places: vec![socket],
            ..path(health)
        });
    }
    // No name but this is looked up, which could take longer than the answer, and needs files that an image may
    // not have.
    let expected = || {
        format!(
            "{url} is nothing to ask; write http://127.0.0.1:8080/healthz, with an IP address or localhost, or unix:/run/docroot.sock"
        )
    };
    let rest = url.strip_prefix("http://").ok_or_else(expected)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    // What could be no part of a request's first line.
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
    let places = one(authority, 80).ok_or_else(expected)?;
    Ok(Probe {
        places,
        target,
        is_named: true,
        proxies: None,
    })
}

/// Who begins with a PROXY header, as `--proxy-protocol` and `--trusted-proxy` have it.
fn proxies(protocol: Option<&str>, trusted: Option<&str>) -> Result<Option<Trusted>, String> {
    // What clap takes for a yes.
    let yes = ["y", "yes", "t", "true", "on", "1"];
    if !protocol.is_some_and(|said| yes.contains(&said.to_lowercase().as_str())) {
        return Ok(None);
    }
    let sources = trusted.into_iter().flat_map(|list| list.split(','));
    let sources = sources.map(|text| {
        let wrong = |why| format!("DOCROOT_TRUSTED_PROXY={text}: {why}");
        text.parse::<Source>().map_err(wrong)
    });
    sources.collect::<Result<_, _>>().map(Some)
}

/// Where a server listens that is told to by this list, and on this port.
fn places(binds: &str, port: u16) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    for bind in binds.split(',') {
        // What is handed to a server (`systemd`) does not say where it is.
        if let Some(found) = unix(bind)
            .map(|place| vec![place])
            .or_else(|| one(bind, port))
        {
            places.extend(found);
        }
    }
    let is_chosen = |place: &Place| matches!(place, Place::Tcp(address) if address.port() == 0);
    places.retain(|place| !is_chosen(place));
    if places.is_empty() {
        return Err(format!(
            "DOCROOT_BIND={binds} with port {port} does not say where the server is; name it: \
             docroot healthcheck http://127.0.0.1:8080/"
        ));
    }
    Ok(places)
}

fn unix(text: &str) -> Option<Place> {
    let path = text.strip_prefix("unix:")?;
    (!path.is_empty()).then(|| Place::Unix(path.into()))
}

/// Where one address can be reached from this machine; all of them are, at the loopback.
fn one(address: &str, port: u16) -> Option<Vec<Place>> {
    let at = |ips: &[IpAddr], port| {
        let places = ips.iter().map(|&ip| Place::Tcp(SocketAddr::new(ip, port)));
        Some(places.collect())
    };
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let reached = |ip: IpAddr, port| match ip {
        // Where there is no IPv6, `[::]` is 0.0.0.0; beside another IPv4 address it takes IPv6 only.
        _ if ip == IpAddr::from(Ipv6Addr::UNSPECIFIED) => at(&[v4, v6], port),
        _ if ip.is_unspecified() => at(&[v4], port),
        _ => at(&[ip], port),
    };
    if let Ok(address) = address.parse::<SocketAddr>() {
        return reached(address.ip(), address.port());
    }
    let bracketed = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bracketed.unwrap_or(address).parse() {
        return reached(ip, port);
    }
    match address.split_once(':') {
        None if address == "localhost" => at(&[v4, v6], port),
        Some(("localhost", port)) => at(&[v4, v6], port.parse().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(probe: Result<Probe, String>) -> String {
        match probe {
            Ok(probe) => {
                let places: Vec<_> = probe.places.iter().map(ToString::to_string).collect();
                format!("{} {}", places.join(" "), probe.target)
            }
            Err(why) => why,
        }
    }

    #[test]
    fn a_url_names_an_address_and_a_path() {
        for (url, expected) in [
            (
                "http://127.0.0.1:8080/healthz",
                "http://127.0.0.1:8080 /healthz",
            ),
            ("http://127.0.0.1", "http://127.0.0.1:80 /"),
            ("http://[::1]:1/a?b=c", "http://[::1]:1 /a?b=c"),
            ("http://[::1]?b", "http://[::1]:80 /?b"),
            ("http://localhost:1/", "http://127.0.0.1:1 http://[::1]:1 /"),
            ("http://0.0.0.0:1/", "http://127.0.0.1:1 /"),
            ("unix:/run/d.sock", "unix:/run/d.sock /"),
        ] {
            assert_eq!(said(asked(url, None)), expected, "{url}");
        }
        assert_eq!(said(asked("unix:/s", Some("/up"))), "unix:/s /up");
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
            "unix:",
        ] {
            assert!(
                said(asked(url, None)).contains("is nothing to ask"),
                "{url}"
            );
        }
    }

    #[test]
    fn it_is_asked_where_the_variables_have_it_listen() {
        for (binds, expected) in [
            ("localhost", "http://127.0.0.1:1 http://[::1]:1 /"),
            ("[::]", "http://127.0.0.1:1 http://[::1]:1 /"),
            ("::", "http://127.0.0.1:1 http://[::1]:1 /"),
            ("0.0.0.0", "http://127.0.0.1:1 /"),
            ("[::]:2", "http://127.0.0.1:2 http://[::1]:2 /"),
            (
                "192.0.2.1,[2001:db8::1]:2",
                "http://192.0.2.1:1 http://[2001:db8::1]:2 /",
            ),
            ("unix:/run/d.sock,systemd", "unix:/run/d.sock /"),
            ("127.0.0.1:0,127.0.0.2", "http://127.0.0.2:1 /"),
        ] {
            let places = places(binds, 1).map(|places| Probe {
                places,
                ..path(None)
            });
            assert_eq!(said(places), expected, "{binds}");
        }
        for (binds, port) in [("systemd", 1), ("127.0.0.1", 0)] {
            let why = places(binds, port).unwrap_err();
            assert!(why.contains("does not say where"), "{why}");
        }
    }

    #[test]
    fn what_is_asked_for_is_what_health_says() {
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
