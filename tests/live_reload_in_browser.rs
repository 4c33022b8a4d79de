//! `--live-reload` in a browser.

use std::fs;
use std::path::Path;

use crate::support::browser::{Browser, Page, Request};
use crate::support::{Root, Server, docroot};
use serde_json::json;

const PAGE: &str = "<!doctype html><html lang=\"en\"><title>A page</title><link rel=\"icon\" href=\"data:,\">\
    <link rel=\"stylesheet\" href=\"/style.css\"><body><h1>One</h1></body></html>";

/// Strictest policy under which live reload works.
const CONTENT_SECURITY_POLICY: &str = "Content-Security-Policy: default-src 'self'; img-src data:";

/// Chromium's resource type of a request for an event stream.
const EVENT_SOURCE: &str = "EventSource";

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
    let options = [
        "--bind",
        "127.0.0.1",
        "--live-reload",
        "-H",
        CONTENT_SECURITY_POLICY,
    ];
    command.args(options).args(["--port", &port.to_string()]);
    command.arg(root);
    Server::spawn(command)
}

/// Serves the site and opens it in a page that is connected to the event stream. `None` where there is no browser;
/// prints that.
fn serve_and_open(root: &Root) -> Option<(Server, Page)> {
    let mut page = Browser::shared()?.page();
    let server = serve(root.path(), 0);
    page.open(&format!("http://{}/", server.address));
    wait_until_connected(&mut page);
    Some((server, page))
}

/// Waits until the current document is connected to the event stream. (The previous document, which is to reload, may
/// have got a `hello` in this step as well.)
fn wait_until_connected(page: &mut Page) {
    let document = page.document();
    let mut stream = None;
    page.wait("the page connects to the event stream", |event| {
        let it = &event.params;
        match &*event.name {
            "Network.requestWillBeSent"
                if it["type"] == EVENT_SOURCE && it["loaderId"] == document =>
            {
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
fn page_reloads_after_change() {
    let root = site();
    let Some((server, mut page)) = serve_and_open(&root) else {
        return;
    };
    page.evaluate("window.marker = 1");
    page.clear_events();
    // (While the server is stopped it cannot see a half-written file.)
    server.while_stopped(|| root.write("index.html", PAGE.replace("One", "Two")));
    page.wait_until(&format!("{HEADING} === 'Two'"));
    assert_eq!(page.evaluate("window.marker === undefined"), true);
    wait_until_connected(&mut page);

    // A deleted page is a 404, and is shown again when the file is renamed into place, as some editors save.
    page.clear_events();
    fs::remove_file(root.join("index.html")).expect("a file");
    page.wait_until("document.title === '404 Not Found'");
    wait_until_connected(&mut page);
    page.clear_events();
    root.write("index.html.new", PAGE.replace("One", "Three"));
    fs::rename(root.join("index.html.new"), root.join("index.html")).expect("a file");
    page.wait_until(&format!("{HEADING} === 'Three'"));
    wait_until_connected(&mut page);
    // The 404 above is reported, as expected.
    let mut messages = page.console_messages();
    messages.retain(|message| !message.text.contains("404"));
    assert_eq!(messages, []);
}

#[test]
fn stylesheet_change_is_applied_without_page_reload() {
    let root = site();
    let Some((server, mut page)) = serve_and_open(&root) else {
        return;
    };
    let colour = |name: &str, value: &str| {
        format!("getComputedStyle(document.querySelector('h1')).{name} === '{value}'")
    };
    assert_eq!(page.evaluate(&colour("color", RED)), true);
    // Records the colour in every frame from here on.
    page.evaluate(
        "window.colors = new Set(); (function record() {
            colors.add(getComputedStyle(document.querySelector('h1')).color);
            requestAnimationFrame(record);
        })()",
    );
    for (style, value) in [("green", GREEN), ("red", RED), ("green", GREEN)] {
        let sheet = format!("@import \"base.css\"; h1 {{ color: {style} }}");
        server.while_stopped(|| root.write("style.css", sheet));
        page.wait_until(&format!(
            "{} && colors.has('{value}')",
            colour("color", value)
        ));
    }
    // An imported style sheet.
    server.while_stopped(|| root.write("base.css", "h1 { background: green }"));
    page.wait_until(&colour("backgroundColor", GREEN));
    page.wait_until("document.querySelectorAll('link[rel=stylesheet]').length === 1");
    let colors = page.evaluate("[...colors].sort().join('; ')");
    assert_eq!(
        colors,
        format!("{GREEN}; {RED}"),
        "no frame was without the style sheet"
    );
    assert_eq!(page.console_messages(), []);
}

#[test]
fn missed_changes_are_applied_on_reconnect() {
    let root = site();
    let Some((server, mut page)) = serve_and_open(&root) else {
        return;
    };
    // The server stops and is started again.
    page.clear_events();
    let port = server.address.port();
    drop(server);
    root.write("index.html", PAGE.replace("One", "Two"));
    let server = serve(root.path(), port);
    page.wait_until(&format!("{HEADING} === 'Two'"));
    wait_until_connected(&mut page);

    // A hidden page is not connected while a file changes. Then it becomes visible.
    let hidden = "Object.defineProperty(document, 'hidden', { get: () => !window.isSeen })";
    let hidden = json!({"source": hidden});
    page.call("Page.addScriptToEvaluateOnNewDocument", &hidden);
    page.open(&format!("http://{}/?again", server.address));
    let mut other = server.connect();
    other.send("GET /.docroot/live HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut received = String::new();
    let mut receive_until = |word: &str| {
        while !received.ends_with(word) {
            received.push(other.byte().expect("a stream").into());
        }
    };
    receive_until("event: hello");
    server.while_stopped(|| root.write("index.html", PAGE.replace("One", "Three")));
    receive_until("event: change");
    assert_eq!(page.evaluate(HEADING), "Two");
    let document = page.document();
    let is_own_stream =
        |request: &Request| request.kind == EVENT_SOURCE && request.document == document;
    assert!(
        !page.requests().iter().any(is_own_stream),
        "a hidden page does not connect"
    );
    page.evaluate("window.isSeen = true; window.dispatchEvent(new Event('visibilitychange')); 0");
    page.wait_until(&format!("{HEADING} === 'Three'"));
}
