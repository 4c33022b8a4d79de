//! What the start says: where the server is to be found, and what is on.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use docroot::auth::Users;
use docroot::http::{PATH_CHARACTERS, percent_encode};
use docroot::metrics::PATH as METRICS;
use docroot::net::{Endpoint, lan_address};
use docroot::sandbox::Confinement;
use docroot::server::{self, Bind};
use docroot::site::{Freshness, Symlinks};

use crate::check::change_detection;
use crate::qr;
use crate::text::json;

/// A server that has been started.
pub(crate) struct Started<'a> {
    /// What it was asked to do.
    pub(crate) options: &'a server::ServerOptions,
    /// How it notices changes.
    pub(crate) freshness: Freshness,
    /// What it may still do.
    pub(crate) confinement: &'a Confinement,
    /// What it listens on.
    pub(crate) addresses: &'a [Endpoint],
    /// Where it tells how it is doing.
    pub(crate) metrics: Option<SocketAddr>,
}

/// Where the server is to be found: for a person, or for a program.
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
    for (address, url) in addresses.iter().zip(urls(addresses)) {
        let everywhere = match address.tcp().is_some_and(|it| it.ip().is_unspecified()) {
            true => "  and at every address here",
            false => "",
        };
        let _ = writeln!(text, "  {url}{everywhere}");
    }
    if let Some(url) = started.told() {
        let _ = writeln!(text, "  {url}  for Prometheus");
    }
    let first = options.ports.first().copied().unwrap_or_default();
    let asked = options.binds.iter().any(Bind::takes_port);
    let has_first = |address: &Endpoint| address.tcp().is_some_and(|it| it.port() == first);
    if asked && first != 0 && !addresses.iter().any(has_first) {
        let _ = writeln!(text, "  (port {first} is taken by another program)");
    }
    let hidden = if options.site.shows_hidden {
        "shown"
    } else {
        "hidden"
    };
    let listing = if options.site.lists_dirs {
        "; folders listed"
    } else {
        ""
    };
    let symlinks = match &options.symlinks {
        Symlinks::Inside(others) if others.is_empty() => "inside".to_owned(),
        Symlinks::Inside(others) => {
            let others: Vec<_> = others
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            format!("inside and into {}", others.join(", "))
        }
        Symlinks::Deny => "denied".to_owned(),
        Symlinks::Follow => "followed anywhere".to_owned(),
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
        Freshness::Stat => "changes seen by stat, file by file (inotify does not tell all here)",
        Freshness::Uncached => "nothing remembered",
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
    let metrics = started.told();
    let metrics = metrics.map(|url| format!("\"metrics\":\"{url}\","));
    let urls = urls(addresses).map(|url| format!("\"{}\"", json(&url)));
    let urls: Vec<String> = urls.collect();
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
    /// The URL under which it tells how it is doing.
    fn told(&self) -> Option<String> {
        let url = urls(&[self.metrics?.into()]).next()?;
        Some(url + METRICS.trim_start_matches('/'))
    }
}

/// The first address at which a browser on this machine finds the site.
pub(crate) fn url(options: &server::ServerOptions, addresses: &[Endpoint]) -> Option<String> {
    urls(addresses).next().map(|url| url + &prefix(options))
}

/// The address at which a phone finds the site, as a QR code; or why there is none.
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
                format!("no phone can reach the addresses listened on; --bind {own} would let it")
            }
            None => {
                "no phone can reach this machine: it has no address but those of its own".into()
            }
        });
    };
    let url = format!("http://{address}/{}", prefix(options));
    match qr::code(&url) {
        Some(code) => Ok(format!("{code}  {url}\n\n")),
        None => Err(format!("{url} is too long for a QR code")),
    }
}

/// What all addresses of the site have behind the first slash.
fn prefix(options: &server::ServerOptions) -> String {
    let mut text = String::new();
    if !options.site.prefix.is_empty() {
        percent_encode(options.site.prefix.as_bytes(), PATH_CHARACTERS, &mut text);
        text.push('/');
    }
    text
}

/// For each address a URL that a browser on this machine can open; for a Unix socket, its name as it is asked for.
fn urls(addresses: &[Endpoint]) -> impl Iterator<Item = String> {
    // "[::]" takes IPv4 as well, unless an address of that is listened on, too.
    let is_v4 = |address: &Endpoint| address.tcp().is_some_and(|it| it.is_ipv4());
    let has_v4 = addresses.iter().any(is_v4);
    addresses.iter().map(move |address| match address.tcp() {
        Some(address) => reached(address, has_v4),
        None => address.to_string(),
    })
}

fn reached(mut address: SocketAddr, has_v4: bool) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.is_ipv6() && has_v4 {
            true => Ipv6Addr::LOCALHOST.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        });
    }
    // The percent sign of a zone is encoded (RFC 6874 section 2).
    format!("http://{}/", address.to_string().replace('%', "%25"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
