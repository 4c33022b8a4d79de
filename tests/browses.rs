//! A browser is served as it expects.

#[path = "support/browser.rs"]
mod browser;
mod support;

use std::path::{Path, PathBuf};

use browser::{Browser, Page};
use support::Server;

/// The project's own site.
fn html() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("html")
}

/// The site, served, and a page to look at it; the URL of the first, without a slash at its end. `None`, said loudly,
/// where there is no browser.
fn visit() -> Option<(Server, Page, String)> {
    let page = Browser::shared()?.page();
    let server = Server::start(&html());
    let url = format!("http://{}", server.address);
    Some((server, page, url))
}

#[test]
fn a_reload_asks_whether_anything_has_changed() {
    let Some((_server, mut page, url)) = visit() else {
        return;
    };
    page.open(&url);
    for first in page.requests().iter().filter(|one| one.is_done) {
        assert_eq!(first.status, Some(200), "{first:?}");
    }
    assert_eq!(page.complaints(), []);
    page.reload();
    let mut requests = page.requests();
    // (The browser asks for an icon by itself, whenever it likes.)
    requests.retain(|request| request.kind != "Other");
    assert!(requests.len() > 3, "{requests:?}");
    for again in requests {
        assert_eq!(again.status, Some(304), "{again:?}");
        assert!(again.sent.contains_key("if-none-match"), "{again:?}");
        assert!(again.bytes < 500, "{again:?}");
    }
    assert_eq!(page.complaints(), []);
}
