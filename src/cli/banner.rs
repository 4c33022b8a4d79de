//! The start message: the banner on a terminal, or the JSON line for programs, with the URLs and the features in use.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use docroot::auth::Users;
use docroot::files::Symlinks;
use docroot::http::{PATH_CHARACTERS, percent_encode};
use docroot::net::{Endpoint, lan_address, lan_addresses};
use docroot::server::sandbox::Confinement;
use docroot::server::{self, Bind, METRICS_PATH};
use docroot::site::Freshness;
use rustix::termios::tcgetwinsize;

use super::check::change_detection;
use super::confinement::describe_confinement;
use super::output::json_string;
use super::qr;

/// A server that has been started.
pub(crate) struct StartedServer<'a> {
    /// Options of the server.
    pub(crate) options: &'a server::ServerOptions,
    /// Mechanism that detects changed files.
    pub(crate) freshness: Freshness,
    /// Degree to which the sandbox confines the process.
    pub(crate) confinement: &'a Confinement,
    /// Addresses of the listeners.
    pub(crate) addresses: &'a [Endpoint],
    /// Address of the metrics listener; `None` if there is none.
    pub(crate) metrics: Option<SocketAddr>,
    /// Sentence about a root whose / gets 404; `None` if it gets a page.
    pub(crate) root_fault: Option<&'a str>,
}

/// Maximum number of URLs for other machines in the banner.
const MAX_NETWORK_URLS: usize = 4;

/// Columns of a terminal that does not report its size.
const DEFAULT_WIDTH: usize = 100;

/// Indentation of the lines of the banner.
const INDENT: &str = "  ";

/// Returns the banner on a terminal, else the JSON line.
pub(crate) fn start_message(server: &StartedServer<'_>) -> String {
    match io::stdout().is_terminal() {
        true => banner(server),
        false => json_line(server),
    }
}

fn banner(server: &StartedServer<'_>) -> String {
    let StartedServer {
        options,
        freshness,
        confinement,
        addresses,
        ..
    } = *server;
    let width = terminal_width();
    let mut text = format!("docroot {}\n\n", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(text, "  {}", options.root.display());
    let prefix = prefix(options);
    for url in urls(addresses, &prefix) {
        let _ = writeln!(text, "  {url}");
    }
    for url in network_urls(addresses, &lan_addresses(), &prefix) {
        let _ = writeln!(text, "  {url}  (on the network)");
    }
    if let Some(url) = server.metrics_url() {
        let _ = writeln!(text, "  {url}  (metrics)");
    }
    let first_port = options.ports.first().copied().unwrap_or_default();
    let takes_port = options.binds.iter().any(Bind::takes_port);
    let has_first_port =
        |address: &Endpoint| address.tcp().is_some_and(|it| it.port() == first_port);
    if takes_port && first_port != 0 && !addresses.iter().any(has_first_port) {
        let _ = writeln!(text, "  (port {first_port} is in use by another program)");
    }
    if let Some(fault) = server.root_fault {
        let _ = writeln!(text, "\n{}", wrap(fault, ": ", width));
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
        Symlinks::Inside(targets) if targets.is_empty() => "inside the root".to_owned(),
        Symlinks::Inside(targets) => {
            let targets: Vec<_> = targets
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            format!("inside the root and into {}", targets.join(", "))
        }
        Symlinks::Deny => "not followed".to_owned(),
        Symlinks::Follow => "to any target".to_owned(),
    };
    let index = options.site.index.join(", ");
    let connections = options.limits.connections;
    let workers = match options.workers.get() {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    };
    let users = match options.users.as_ref().map(Users::len) {
        None => String::new(),
        Some(1) => "; 1 user with a password".to_owned(),
        Some(count) => format!("; {count} users with passwords"),
    };
    let live = match options.live_reload {
        true => "; pages reload when the site changes",
        false => "",
    };
    let changes = match freshness {
        Freshness::Inotify => "changes seen by inotify",
        Freshness::Stat => "changes seen by stat (inotify does not work for this root)",
        Freshness::Uncached => "cache off",
    };
    let confinement = describe_confinement(confinement);
    let facts = format!(
        "index {index}{listing}; dotfiles {hidden}; symlinks {symlinks}; {workers}, up to {connections} connections; \
         {changes}; {confinement}{users}{live}"
    );
    let _ = writeln!(text, "\n{}", wrap(&facts, "; ", width));
    text + "  Ctrl-C stops\n\n"
}

/// Returns the columns of the terminal on standard output; `DEFAULT_WIDTH` if it does not report them.
fn terminal_width() -> usize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => DEFAULT_WIDTH,
    }
}

/// Returns a text in indented lines of at most `width` columns where possible. Lines are broken at the separator only.
fn wrap(text: &str, separator: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split_inclusive(separator) {
        let part_width = part.trim_end().chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + part_width <= width => line.push_str(part),
            _ => lines.push(format!("{INDENT}{part}")),
        }
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n")
}

fn json_line(server: &StartedServer<'_>) -> String {
    let StartedServer {
        options,
        freshness,
        confinement,
        addresses,
        ..
    } = *server;
    let metrics = server.metrics_url();
    let metrics = metrics.map(|url| format!("\"metrics\":\"{url}\","));
    let urls: Vec<String> = urls(addresses, &prefix(options))
        .map(|url| json_string(&url))
        .collect();
    format!(
        "{{\"event\":\"listening\",\"urls\":[{}],\"root\":{},\"workers\":{},\"changes\":\"{}\",\"auth\":{},\"live_reload\":{},\"sandbox\":\"{}\",\"landlock\":{},{}\"version\":\"{}\",\"pid\":{}}}\n",
        urls.join(","),
        json_string(&options.root.to_string_lossy()),
        options.workers,
        change_detection(freshness),
        options.users.is_some(),
        options.live_reload,
        confinement.name(),
        confinement.abi(),
        metrics.unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
    )
}

impl StartedServer<'_> {
    /// The URL of the metrics.
    fn metrics_url(&self) -> Option<String> {
        urls(
            &[self.metrics?.into()],
            METRICS_PATH.trim_start_matches('/'),
        )
        .next()
    }
}

/// Returns the first URL by which a browser on this machine reaches the site.
pub(crate) fn site_url(options: &server::ServerOptions, addresses: &[Endpoint]) -> Option<String> {
    urls(addresses, &prefix(options)).next()
}

/// Returns the QR code of the URL by which a phone reaches the site.
///
/// # Errors
/// One line with the cause, and what to do.
pub(crate) fn qr_code(
    options: &server::ServerOptions,
    addresses: &[Endpoint],
) -> Result<String, String> {
    let own = lan_address();
    let addresses: Vec<SocketAddr> = addresses.iter().filter_map(Endpoint::tcp).collect();
    let Some(address) = qr::reachable_address(&addresses, own) else {
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
    match qr::render(&url) {
        Some(code) => Ok(format!("{code}  {url}\n\n")),
        None => Err(format!("{url} is too long for a QR code")),
    }
}

/// Returns the part of every URL of the site after the first slash: nothing, or the path prefix and a slash.
fn prefix(options: &server::ServerOptions) -> String {
    let mut text = String::new();
    if !options.site.prefix.is_empty() {
        percent_encode(options.site.prefix.as_bytes(), PATH_CHARACTERS, &mut text);
        text.push('/');
    }
    text
}

/// Returns for each address a URL that a browser on this machine can open; for a Unix socket, its name as in `--bind`.
fn urls(addresses: &[Endpoint], path: &str) -> impl Iterator<Item = String> {
    // A listener on [::] accepts IPv4 as well, unless another one listens on an IPv4 address.
    let is_v4 = |address: &Endpoint| address.tcp().is_some_and(|it| it.is_ipv4());
    let has_v4 = addresses.iter().any(is_v4);
    addresses.iter().map(move |address| match address.tcp() {
        Some(address) => local_url(address, has_v4, path),
        None => address.to_string(),
    })
}

/// Returns the URLs by which other machines reach an unspecified address (0.0.0.0, `[::]`), from this machine's own
/// addresses: those of IPv4, or those of IPv6 if it has no IPv4 address.
fn network_urls(addresses: &[Endpoint], own: &[IpAddr], path: &str) -> Vec<String> {
    let unspecified = addresses.iter().filter_map(Endpoint::tcp);
    let unspecified = unspecified.filter(|address| address.ip().is_unspecified());
    let mut urls = Vec::new();
    for address in unspecified {
        let has_v4 = own.iter().any(IpAddr::is_ipv4);
        let is_reachable = |ip: &&IpAddr| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(_) => address.is_ipv6() && !has_v4,
        };
        for ip in own.iter().filter(is_reachable) {
            let url = format!("http://{}/{path}", SocketAddr::new(*ip, address.port()));
            if urls.len() < MAX_NETWORK_URLS && !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// Returns the URL of an address; for an unspecified address, that of a loopback address.
fn local_url(mut address: SocketAddr, has_v4: bool, path: &str) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.is_ipv6() && has_v4 {
            true => Ipv6Addr::LOCALHOST.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        });
    }
    // The percent sign before a zone is encoded (RFC 6874 section 2).
    format!("http://{}/{path}", address.to_string().replace('%', "%25"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_address_is_shown_as_network_addresses() {
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
    fn text_is_wrapped_at_separators() {
        let check = |width: usize, expected: &str| {
            assert_eq!(
                wrap("one two; three; four", "; ", width),
                expected,
                "{width}"
            );
        };
        check(22, "  one two; three; four");
        check(21, "  one two; three;\n  four");
        check(17, "  one two; three;\n  four");
        check(16, "  one two;\n  three; four");
        check(1, "  one two;\n  three;\n  four");
    }

    #[test]
    fn json_line_is_valid_json() {
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
            live_reload: false,
            compress: false,
            digest: false,
            http1: docroot::http1::HttpOptions::default(),
            service: docroot::service::ServiceOptions::default(),
            proxy: None,
            users: None,
            workers: 2.try_into().unwrap(),
            limits: docroot::net::Limits::default(),
            max_per_ip: None,
            metrics: None,
        };
        let json_line = json_line(&StartedServer {
            options: &options,
            freshness: Freshness::Stat,
            confinement: &Confinement::Off,
            addresses: &addresses,
            metrics: Some("127.0.0.1:9".parse().unwrap()),
            root_fault: None,
        });
        let urls = r#"{"event":"listening","urls":["http://127.0.0.1:80/","http://[::1]:80/","http://[fe80::1%253]:80/","unix:/run/\"it\""]"#;
        assert!(
            json_line.starts_with(&format!(
                r#"{urls},"root":"/a \"b\"\u000a\\","workers":2,"changes":"stat","auth":false,"live_reload":false,"sandbox":"off","landlock":0,"metrics":"http://127.0.0.1:9/metrics","version":"#
            )),
            "{json_line}"
        );
        assert!(
            json_line.contains(r#","sandbox":"off","landlock":0,"#),
            "{json_line}"
        );
        assert!(json_line.ends_with("}\n"));
    }
}
