//! Options of a site: plain data.

use std::time::Duration;

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
    /// URL of the script that is injected into each HTML page, if any.
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
