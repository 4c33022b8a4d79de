//! `--live-reload`, in a browser: what somebody sees who works on a site.

use std::fs;
use std::path::Path;

use crate::support::browser::{Browser, Page, Request};
use crate::support::{Root, Server, docroot};
use serde_json::json;

const PAGE: &str = "<!doctype html><html lang=\"en\"><title>A page</title><link rel=\"icon\" href=\"data:,\">\
    <link rel=\"stylesheet\" href=\"/style.css\"><body><h1>One</h1></body></html>";

/// The strictest that lets it be.
const POLICY: &str = "Content-Security-Policy: default-src 'self'; img-src data:";

/// What the browser calls a request for an event stream.
const STREAM: &str = "EventSource";

const HEADING: &str = "document.querySelector('h1')?.textContent";

const RED: &str = "rgb(255, 0, 0)";
const GREEN: &str = "rgb(0, 128, 0)";

fn site() -> Root {
    Root::of(&[
        ("index.html", PAGE),
        ("style.css", "@import \"base.css\"; h1 { color: red }"),
        ("base.css", "h1 { background: red }"),
    ])
}

fn serve(root: &Path, port: u16) -> Server {
    let mut command = docroot();
    let options = ["--bind", "127.0.0.1", "--live-reload", "-H", POLICY];
    command.args(options).args(["--port", &port.to_string()]);
    command.arg(root);
    Server::spawn(command)
}

/// A site, served, and a page that shows it and listens. `None`, said loudly, where there is no browser.
fn visit(root: &Root) -> Option<(Server, Page)> {
    let mut page = Browser::shared()?.page();
    let server = serve(root.path(), 0);
    page.open(&format!("http://{}/", server.address));
    listens(&mut page);
    Some((server, page))
}

/// Waits until the page that this step has led to hears of changes. (The one before it, which has been told to reload, may
/// have been greeted in this step as well.)
fn listens(page: &mut Page) {
    let document = page.document();
    let mut stream = None;
    page.wait("the page listens", |event| {
        let it = &event.params;
        match &*event.name {
            "Network.requestWillBeSent" if it["type"] == STREAM && it["loaderId"] == document => {
                stream = Some(it["requestId"].clone());
                None
            }
            "Network.eventSourceMessageReceived" if it["eventName"] == "hello" => {
                (stream.as_ref() == Some(&it["requestId"])).then_some(())
            }
            _ => None,
        }
    });
}

#[test]
fn a_page_is_shown_as_it_is_now() {
    let root = site();
    let Some((server, mut page)) = visit(&root) else {
        return;
    };
    page.evaluate("window.marker = 1");
    page.forget();
    // (Of what is written while it is stopped, it sees no half.)
    server.asleep(|| root.write("index.html", PAGE.replace("One", "Two")));
    page.until(&format!("{HEADING} === 'Two'"));
    assert_eq!(page.evaluate("window.marker === undefined"), true);
    listens(&mut page);

    // What is deleted is missed, and shown again when it comes back, as an editor that saves by renaming has it.
    page.forget();
    fs::remove_file(root.join("index.html")).expect("it is ours");
    page.until("document.title === '404 Not Found'");
    listens(&mut page);
    page.forget();
    root.write("index.html.new", PAGE.replace("One", "Three"));
    fs::rename(root.join("index.html.new"), root.join("index.html")).expect("it is ours");
    page.until(&format!("{HEADING} === 'Three'"));
    listens(&mut page);
    // One is of the failed load above, as it should be.
    let mut complaints = page.complaints();
    complaints.retain(|complaint| !complaint.text.contains("404"));
    assert_eq!(complaints, []);
}

#[test]
fn a_style_sheet_is_swapped_and_the_page_stays() {
    let root = site();
    let Some((server, mut page)) = visit(&root) else {
        return;
    };
    let colour = |name: &str, value: &str| {
        format!("getComputedStyle(document.querySelector('h1')).{name} === '{value}'")
    };
    assert_eq!(page.evaluate(&colour("color", RED)), true);
    // Every picture that is shown from here on is looked at.
    page.evaluate(
        "window.seen = new Set(); (function look() {
            seen.add(getComputedStyle(document.querySelector('h1')).color);
            requestAnimationFrame(look);
        })()",
    );
    for (style, value) in [("green", GREEN), ("red", RED), ("green", GREEN)] {
        let sheet = format!("@import \"base.css\"; h1 {{ color: {style} }}");
        server.asleep(|| root.write("style.css", sheet));
        page.until(&format!(
            "{} && seen.has('{value}')",
            colour("color", value)
        ));
    }
    // One that another one imports.
    server.asleep(|| root.write("base.css", "h1 { background: green }"));
    page.until(&colour("backgroundColor", GREEN));
    page.until("document.querySelectorAll('link[rel=stylesheet]').length === 1");
    let seen = page.evaluate("[...seen].sort().join('; ')");
    assert_eq!(seen, format!("{GREEN}; {RED}"), "it was never without");
    assert_eq!(page.complaints(), []);
}

#[test]
fn what_was_missed_is_made_up_for() {
    let root = site();
    let Some((server, mut page)) = visit(&root) else {
        return;
    };
    // The server is away, and comes back.
    page.forget();
    let port = server.address.port();
    drop(server);
    root.write("index.html", PAGE.replace("One", "Two"));
    let server = serve(root.path(), port);
    page.until(&format!("{HEADING} === 'Two'"));
    listens(&mut page);

    // Nobody sees the page, so it does not listen while something changes; then somebody does.
    let hidden = "Object.defineProperty(document, 'hidden', { get: () => !window.isSeen })";
    let hidden = json!({"source": hidden});
    page.call("Page.addScriptToEvaluateOnNewDocument", &hidden);
    page.open(&format!("http://{}/?again", server.address));
    let mut other = server.connect();
    other.send("GET /.docroot/live HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut heard = String::new();
    let mut hear = |word: &str| {
        while !heard.ends_with(word) {
            heard.push(other.byte().expect("a stream").into());
        }
    };
    hear("event: hello");
    server.asleep(|| root.write("index.html", PAGE.replace("One", "Three")));
    hear("event: change");
    assert_eq!(page.evaluate(HEADING), "Two");
    let document = page.document();
    let is_its_stream = |request: &Request| request.kind == STREAM && request.document == document;
    assert!(
        !page.requests().iter().any(is_its_stream),
        "it does not listen"
    );
    page.evaluate("window.isSeen = true; window.dispatchEvent(new Event('visibilitychange')); 0");
    page.until(&format!("{HEADING} === 'Three'"));
}
