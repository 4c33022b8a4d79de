//! The banner on a terminal, or the JSON line for programs: the server's URLs, and what is turned on.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use docroot::auth::Users;
use docroot::http::{PATH_CHARACTERS, percent_encode};
use docroot::metrics::PATH as METRICS;
use docroot::net::{Endpoint, lan_address, lan_addresses};
use docroot::sandbox::Confinement;
use docroot::server::{self, Bind};
use docroot::site::{Freshness, Symlinks};

use crate::check::change_detection;
use crate::qr;
use crate::text::json;

/// A server that has been started.
pub(crate) struct Started<'a> {
    /// Options of the server.
    pub(crate) options: &'a server::ServerOptions,
    /// Source of news about changed files.
    pub(crate) freshness: Freshness,
    /// Rights that the process still has.
    pub(crate) confinement: &'a Confinement,
    /// Addresses of the listeners.
    pub(crate) addresses: &'a [Endpoint],
    /// The address of the metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// Sentence about a root whose / gets 404; `None` if it gets a page.
    pub(crate) root_fault: Option<&'a str>,
}

/// Addresses of this machine that the banner names at most.
const MAX_NAMED_ADDRESSES: usize = 4;

/// Returns the banner on a terminal, else the JSON line.
pub(crate) fn announcement(started: &Started<'_>) -> String {
    match io::stdout().is_terminal() {
        true => banner(started),
        false => line(started),
    }
}

fn banner(started: &Started<'_>) -> String {
    let Started {
        options,
        freshness,
        confinement,
        addresses,
        ..
    } = *started;
    let mut text = format!("docroot {}\n\n", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(text, "  {}", options.root.display());
    let prefix = prefix(options);
    for url in urls(addresses, &prefix) {
        let _ = writeln!(text, "  {url}");
    }
    for url in network_urls(addresses, &lan_addresses(), &prefix) {
        let _ = writeln!(text, "  {url}  (on the network)");
    }
    if let Some(url) = started.metrics_url() {
        let _ = writeln!(text, "  {url}  (metrics)");
    }
    let first = options.ports.first().copied().unwrap_or_default();
    let asked = options.binds.iter().any(Bind::takes_port);
    let has_first = |address: &Endpoint| address.tcp().is_some_and(|it| it.port() == first);
    if asked && first != 0 && !addresses.iter().any(has_first) {
        let _ = writeln!(text, "  (port {first} is in use by another program)");
    }
    if let Some(fault) = started.root_fault {
        let _ = writeln!(text, "\n  {fault}");
    }
    let hidden = if options.site.shows_hidden {
        "served"
    } else {
        "hidden"
    };
    let listing = if options.site.lists_dirs {
        "; directories listed"
    } else {
        ""
    };
    let symlinks = match &options.symlinks {
        Symlinks::Inside(others) if others.is_empty() => "inside the root".to_owned(),
        Symlinks::Inside(others) => {
            let others: Vec<_> = others
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            format!("inside the root and into {}", others.join(", "))
        }
        Symlinks::Deny => "not followed".to_owned(),
        Symlinks::Follow => "to any target".to_owned(),
    };
    let index = options.site.index.join(", ");
    let connections = options.limits.connections;
    let workers = match options.workers.get() {
        1 => "1 worker".to_owned(),
        several => format!("{several} workers"),
    };
    let users = match options.users.as_ref().map(Users::len) {
        None => String::new(),
        Some(1) => "; 1 user with a password".to_owned(),
        Some(several) => format!("; {several} users with passwords"),
    };
    let live = match &options.site.live_reload {
        Some(_) => "; pages reload when the site changes",
        None => "",
    };
    let changes = match freshness {
        Freshness::Inotify => "changes seen by inotify",
        Freshness::Stat => "changes seen by stat (inotify does not work for this root)",
        Freshness::Uncached => "cache off",
    };
    let _ = writeln!(
        text,
        "\n  index {index}{listing}; dotfiles {hidden}; symlinks {symlinks}; {workers}, up to {connections} connections; \
         {changes}; {confinement}{users}{live}"
    );
    text + "  Ctrl-C stops\n\n"
}

fn line(started: &Started<'_>) -> String {
    let Started {
        options,
        freshness,
        confinement,
        addresses,
        ..
    } = *started;
    let metrics = started.metrics_url();
    let metrics = metrics.map(|url| format!("\"metrics\":\"{url}\","));
    let urls: Vec<String> = urls(addresses, &prefix(options))
        .map(|url| format!("\"{}\"", json(&url)))
        .collect();
    format!(
        "{{\"event\":\"listening\",\"urls\":[{}],\"root\":\"{}\",\"workers\":{},\"changes\":\"{}\",\"auth\":{},\"live_reload\":{},\"sandbox\":\"{}\",\"landlock\":{},{}\"version\":\"{}\",\"pid\":{}}}\n",
        urls.join(","),
        json(&options.root.to_string_lossy()),
        options.workers,
        change_detection(freshness),
        options.users.is_some(),
        options.site.live_reload.is_some(),
        confinement.name(),
        confinement.abi(),
        metrics.unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
    )
}

impl Started<'_> {
    /// The URL of the metrics.
    fn metrics_url(&self) -> Option<String> {
        urls(&[self.metrics?.into()], METRICS.trim_start_matches('/')).next()
    }
}

/// Returns the first URL at which a browser on this machine finds the site.
pub(crate) fn url(options: &server::ServerOptions, addresses: &[Endpoint]) -> Option<String> {
    urls(addresses, &prefix(options)).next()
}

/// Returns the URL at which a phone finds the site, as a QR code.
///
/// # Errors
/// One line that says what to do.
pub(crate) fn qr(
    options: &server::ServerOptions,
    addresses: &[Endpoint],
) -> Result<String, String> {
    let own = lan_address();
    let addresses: Vec<SocketAddr> = addresses.iter().filter_map(Endpoint::tcp).collect();
    let Some(address) = qr::reachable(&addresses, own) else {
        return Err(match own {
            Some(own) => {
                format!(
                    "a phone cannot reach the loopback address; listen on the network with --bind {own}"
                )
            }
            None => "a phone cannot reach this machine: it has no network address".into(),
        });
    };
    let url = format!("http://{address}/{}", prefix(options));
    match qr::code(&url) {
        Some(code) => Ok(format!("{code}  {url}\n\n")),
        None => Err(format!("{url} is too long for a QR code")),
    }
}

/// The part of every URL of the site behind the first slash.
fn prefix(options: &server::ServerOptions) -> String {
    let mut text = String::new();
    if !options.site.prefix.is_empty() {
        percent_encode(options.site.prefix.as_bytes(), PATH_CHARACTERS, &mut text);
        text.push('/');
    }
    text
}

/// For each address a URL that a browser on this machine can open; for a Unix socket, its name as in `--bind`.
fn urls(addresses: &[Endpoint], path: &str) -> impl Iterator<Item = String> {
    // "[::]" takes IPv4 as well, unless an address of that is listened on, too.
    let is_v4 = |address: &Endpoint| address.tcp().is_some_and(|it| it.is_ipv4());
    let has_v4 = addresses.iter().any(is_v4);
    addresses.iter().map(move |address| match address.tcp() {
        Some(address) => reached(address, has_v4, path),
        None => address.to_string(),
    })
}

/// Returns the URLs by which other machines reach an unspecified address (0.0.0.0, `[::]`), of this machine's `own`
/// addresses: those of IPv4, or of IPv6 where there are none.
fn network_urls(addresses: &[Endpoint], own: &[IpAddr], path: &str) -> Vec<String> {
    let everywhere = addresses.iter().filter_map(Endpoint::tcp);
    let everywhere = everywhere.filter(|address| address.ip().is_unspecified());
    let mut urls = Vec::new();
    for address in everywhere {
        let has_v4 = own.iter().any(IpAddr::is_ipv4);
        let is_reached = |ip: &&IpAddr| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(_) => address.is_ipv6() && !has_v4,
        };
        for ip in own.iter().filter(is_reached) {
            let url = format!("http://{}/{path}", SocketAddr::new(*ip, address.port()));
            if urls.len() < MAX_NAMED_ADDRESSES && !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

fn reached(mut address: SocketAddr, has_v4: bool, path: &str) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.is_ipv6() && has_v4 {
            true => Ipv6Addr::LOCALHOST.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        });
    }
    // The percent sign of a zone is encoded (RFC 6874 section 2).
    format!("http://{}/{path}", address.to_string().replace('%', "%25"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_address_is_named_by_those_of_the_network() {
        let check = |bound: &[&str], own: &[&str], expected: &[&str]| {
            let bound: Vec<_> = bound
                .iter()
                .map(|it| Endpoint::Ip(it.parse().unwrap()))
                .collect();
            let own: Vec<_> = own.iter().map(|it| it.parse().unwrap()).collect();
            assert_eq!(
                network_urls(&bound, &own, "docs/"),
                expected,
                "{bound:?} {own:?}"
            );
        };
        let own = ["192.0.2.5", "2001:db8::5"];
        let v4 = "http://192.0.2.5:80/docs/";
        check(&["0.0.0.0:80"], &own, &[v4]);
        check(&["[::]:80"], &own, &[v4]);
        check(&["0.0.0.0:80", "[::]:80"], &own, &[v4]);
        check(&["[::]:80"], &own[1..], &["http://[2001:db8::5]:80/docs/"]);
        check(&["0.0.0.0:80"], &own[1..], &[]);
        check(&["127.0.0.1:80", "[::1]:80"], &own, &[]);
    }

    #[test]
    fn the_line_is_json() {
        let ip = |text: &str| Endpoint::Ip(text.parse().unwrap());
        let addresses = [
            ip("127.0.0.1:80"),
            ip("[::]:80"),
            ip("[fe80::1%3]:80"),
            Endpoint::Path("/run/\"it\"".into()),
        ];
        let options = server::ServerOptions {
            root: "/a \"b\"\n\\".into(),
            binds: Vec::new(),
            ports: Vec::new(),
            symlinks: Symlinks::Deny,
            site: docroot::site::SiteOptions::default(),
            compress: false,
            digest: false,
            http1: docroot::http1::HttpOptions::default(),
            proxy: None,
            users: None,
            workers: 2.try_into().unwrap(),
            limits: docroot::net::Limits::default(),
            metrics: None,
        };
        let line = line(&Started {
            options: &options,
            freshness: Freshness::Stat,
            confinement: &Confinement::Off,
            addresses: &addresses,
            metrics: Some("127.0.0.1:9".parse().unwrap()),
            root_fault: None,
        });
        let urls = r#"{"event":"listening","urls":["http://127.0.0.1:80/","http://[::1]:80/","http://[fe80::1%253]:80/","unix:/run/\"it\""]"#;
        assert!(
            line.starts_with(&format!(
                r#"{urls},"root":"/a \"b\"\u000a\\","workers":2,"changes":"stat","auth":false,"live_reload":false,"sandbox":"off","landlock":0,"metrics":"http://127.0.0.1:9/metrics","version":"#
            )),
            "{line}"
        );
        assert!(line.contains(r#","sandbox":"off","landlock":0,"#), "{line}");
        assert!(line.ends_with("}\n"));
    }
}
