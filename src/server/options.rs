//! Options of a server, as plain data.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::auth::Users;
use crate::files::Symlinks;
use crate::http1;
use crate::net::{Endpoint, Limits};
use crate::proxy;
use crate::service::ServiceOptions;
use crate::site;

/// Divisor of the cache's memory that gives the share of compressed files.
const COMPRESSED_CACHE_DIVISOR: usize = 4;

/// Options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Document root.
    pub root: PathBuf,
    /// Addresses to listen on. Never empty.
    pub binds: Vec<Bind>,
    /// Ports for addresses without one, in the order in which they are tried. 0 is any free port, the same one for all
    /// addresses.
    pub ports: Vec<u16>,
    /// Policy for symbolic links below the root.
    pub symlinks: Symlinks,
    /// Options of the site.
    pub site: site::SiteOptions,
    /// Whether open pages reload when a file changes.
    pub live_reload: bool,
    /// Whether files are compressed for clients that accept it.
    pub compress: bool,
    /// Whether the entity tag of every file is computed from its content, however long it is.
    pub digest: bool,
    /// Timeouts and size limits of requests.
    pub http1: http1::HttpOptions,
    /// Policies for requests.
    pub service: ServiceOptions,
    /// Peers that send a PROXY header first; `None` is no peer.
    pub proxy: Option<proxy::ProxyHeaderOptions>,
    /// Users that may request the site; `None` means no authentication.
    pub users: Option<Users>,
    /// Number of workers, each of which is an event loop on its own thread.
    pub workers: NonZeroUsize,
    /// Limits of all workers together.
    pub limits: Limits,
    /// Limit of open connections per peer address, of all workers together. Trusted proxies are exempt.
    pub max_per_ip: Option<usize>,
    /// Address of the metrics listener, if there is one.
    pub metrics: Option<SocketAddr>,
}

impl ServerOptions {
    /// Returns the options of one worker's site, with its share of the memory.
    pub(super) fn site_options_per_worker(&self) -> site::SiteOptions {
        let workers = self.workers.get();
        site::SiteOptions {
            cache_memory: (self.site.cache_memory - self.compressed_cache_bytes()) / workers,
            cache_files: self.site.cache_files / workers,
            ..self.site.clone()
        }
    }

    /// Returns the share of the cache's memory that compressed files may take, in bytes.
    pub(super) fn compressed_cache_bytes(&self) -> usize {
        match self.compress {
            true => self.site.cache_memory / COMPRESSED_CACHE_DIVISOR,
            false => 0,
        }
    }
}

/// Returns how many of this number of descriptors the cache may hold for files that are not being sent.
#[must_use]
pub fn max_cached_files(descriptors: u64) -> usize {
    const MAX_FILES: u64 = 1024;
    usize::try_from((descriptors / 16).min(MAX_FILES)).unwrap_or_default()
}

/// Address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// IP address.
    Ip {
        /// Address.
        ip: IpAddr,
        /// Zone of an IPv6 address: the name of an interface, or its index.
        zone: Option<String>,
        /// Port, if this address has its own.
        port: Option<u16>,
        /// Whether the address is left out on a machine that does not have it.
        optional: bool,
    },
    /// Unix socket. The endpoint is never an IP address.
    Unix(Endpoint),
    /// Sockets passed by socket activation, with the names of those that have one.
    Activated(Vec<String>),
}

impl Bind {
    /// Whether a port must be chosen for this address.
    #[must_use]
    pub fn takes_port(&self) -> bool {
        matches!(self, Self::Ip { port: None, .. })
    }
}
