//! Options of a site: plain data; and the size of the files that it caches.

use std::time::Duration;

/// Size in bytes up to which a file is cached, and copied into memory when it is requested again. The copy is made
/// between two responses, so it is no larger than the share of one client in a turn of the event loop. A larger
/// file is opened in each turn of the event loop, which costs little beside sending it, and is not held open longer.
pub(crate) const MAX_CACHED_FILE_BYTES: u64 = 2 * 1024 * 1024;

/// Options of a site. File names are relative to the root.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    /// Index files of a directory: the first that exists is served.
    pub index: Vec<String>,
    /// File that is served with status 404, if it exists.
    pub not_found: String,
    /// SPA fallback page: served for a navigation to a path without a file.
    pub spa_fallback: Option<String>,
    /// Whether a URL may leave out the `.html` of its file.
    pub has_clean_urls: bool,
    /// Prefix of all URL paths, without a slash at either end; empty for none.
    pub prefix: String,
    /// Whether sidecars are served as content codings of their files.
    pub has_sidecars: bool,
    /// Whether names that begin with a dot are served.
    pub shows_hidden: bool,
    /// Whether a directory without an index file is listed.
    pub lists_dirs: bool,
    /// Maximum bytes of memory for cached lookups. 0 caches nothing.
    pub cache_memory: usize,
    /// Maximum number of files that cached lookups may hold open.
    pub cache_files: usize,
    /// URL of the script that is injected into each HTML page, if any. [`Live`](super::Live) sets it.
    pub page_script: Option<String>,
    /// Time for which the files of a release are still served after the next one; zero for none.
    pub release_grace: Duration,
}

impl Default for SiteOptions {
    /// `index.html`, `404.html`, URLs without `.html`, sidecars, no hidden files, no listings, 64 MiB, 256 files.
    fn default() -> Self {
        Self {
            index: vec!["index.html".into()],
            not_found: "404.html".into(),
            spa_fallback: None,
            has_clean_urls: true,
            prefix: String::new(),
            has_sidecars: true,
            shows_hidden: false,
            lists_dirs: false,
            cache_memory: 64 * 1024 * 1024,
            cache_files: 256,
            page_script: None,
            release_grace: Duration::ZERO,
        }
    }
}
