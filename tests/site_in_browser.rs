//! The project's own site in a browser: pages, reloads, scripts, video, downloads and history.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::browser::{ABORTED, Browser, ColorScheme, Page, Request};
use crate::support::{Root, Server, docroot};

/// Policy that allows only the site's own files: no inline script, no inline style, no other host.
const POLICY: &str = "Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the directory of the project's own site.
fn html() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("html")
}

/// Starts a server of the site and opens a page of the browser. Returns both, and the server's URL without a slash at
/// its end. Where there is no browser, prints so and returns `None`.
fn open_site() -> Option<(Server, Page, String)> {
    open_site_with(&[])
}

fn open_site_with(options: &[&str]) -> Option<(Server, Page, String)> {
    let page = Browser::shared()?.page();
    let server = Server::with(&html(), options);
    let url = format!("http://{}", server.address);
    Some((server, page, url))
}

/// Returns the paths of all pages below a directory of the site, as links have them: `/`, `/guide/`, `/404`.
fn pages(directory: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(html().join(&directory[1..])).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        if entry.path().is_dir() {
            paths.extend(pages(&format!("{directory}{name}/")));
        } else if name == "index.html" {
            paths.push(directory.to_owned());
        } else if let Some(name) = name.strip_suffix(".html") {
            paths.push(format!("{directory}{name}"));
        }
    }
    paths
}

/// Returns the completed requests of this step, without those for an icon, which the browser sends at any time.
fn completed(page: &mut Page) -> Vec<Request> {
    let mut requests = page.requests();
    requests.retain(|one| one.kind != "Other");
    for one in &requests {
        let failure = one.failure.as_deref();
        assert!(matches!(failure, None | Some(ABORTED)), "{one:#?}");
    }
    requests.retain(|one| one.is_done && one.failure.is_none());
    requests
}

#[test]
fn pages_render_in_both_color_schemes_on_phone_and_desktop() {
    let Some((_server, mut page, url)) = open_site_with(&["-H", POLICY]) else {
        return;
    };
    let mut paths = pages("/");
    paths.sort();
    for path in ["/", "/404", "/guide/"] {
        assert!(paths.contains(&path.to_owned()), "{path} in {paths:?}");
    }
    for path in &paths {
        for (device, width, height) in [
            ("small phone", 320, 568),
            ("phone", 390, 844),
            ("desk", 1280, 800),
        ] {
            let case = format!("{path} on a {device}");
            page.resize(width, height);
            page.open(&format!("{url}{path}"));
            let requests = completed(&mut page);
            assert!(requests.len() > 1, "{case}: {requests:?}");
            for one in requests {
                let is_success = matches!(one.status, Some(200 | 206 | 304));
                assert!(is_success, "{case}: {one:#?}");
            }
            let headings = page.evaluate("document.querySelectorAll('h1').length");
            assert_eq!(headings, 1, "{case}");
            // Nothing overflows horizontally.
            let wide = page.evaluate("document.documentElement.scrollWidth");
            assert!(wide.as_u64() <= Some(width.into()), "{case}: {wide}");
            // A line break after a hyphen would make two words of one option.
            let broken = "[...document.querySelectorAll(':not(pre) > code')].flatMap((it) =>
                it.getClientRects().length > 1 ? [it.textContent] : [])";
            assert_eq!(page.evaluate(broken), serde_json::json!([]), "{case}");
            // A note that a table scrolls is shown for each table wider than its container, and for no other.
            let tables = "[...document.querySelectorAll('.wide')].every((it) =>
                it.scrollWidth > it.clientWidth
                    === it.parentElement.querySelector('.scrolls').checkVisibility())";
            assert_eq!(page.evaluate(tables), true, "{case}");
            let mut backgrounds = HashSet::new();
            for scheme in [ColorScheme::Light, ColorScheme::Dark] {
                page.set_color_scheme(scheme);
                backgrounds.insert(
                    page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
                );
                let name = path.trim_matches('/').replace('/', "-");
                let device = device.replace(' ', "-");
                page.save_screenshot(&format!("{name}-{device}-{scheme:?}"));
            }
            assert_eq!(backgrounds.len(), 2, "{case}: {backgrounds:?}");
            page.wait_for_requests();
            assert_eq!(page.console_messages(), [], "{case}");
        }
    }
}

#[test]
fn reload_revalidates_every_file() {
    let Some((_server, mut page, url)) = open_site() else {
        return;
    };
    page.open(&url);
    for first in completed(&mut page) {
        assert_eq!(first.status, Some(200), "{first:#?}");
    }
    page.reload();
    let again = completed(&mut page);
    assert!(again.len() > 3, "{again:#?}");
    for one in again {
        assert_eq!(one.status, Some(304), "{one:#?}");
        assert!(one.sent.contains_key("if-none-match"), "{one:#?}");
        assert!(one.bytes < 500, "{one:#?}");
    }
    assert_eq!(page.console_messages(), []);
}

#[test]
fn module_script_runs_only_as_text_javascript() {
    let ran =
        "document.querySelector('[data-say=module]').textContent.startsWith('The module ran: 5')";
    let Some((_server, mut page, url)) = open_site() else {
        return;
    };
    page.open(&url);
    assert_eq!(page.evaluate(ran), true);
    // A browser runs no module of another media type.
    let Some((_server, mut page, url)) = open_site_with(&["--mime-types", ".mjs=text/plain"])
    else {
        return;
    };
    page.open(&url);
    assert_eq!(page.evaluate(ran), false);
    let messages = page.console_messages();
    assert!(messages[0].text.contains("module script"), "{messages:?}");
}

#[test]
fn video_plays_from_the_position_chosen() {
    let Some((_server, mut page, url)) = open_site() else {
        return;
    };
    page.open(&format!("{url}/live/"));
    page.wait_until("document.querySelector('video').readyState >= 1");
    let shown = page.evaluate(
        "new Promise((say, fail) => {
            const film = document.querySelector('video');
            film.addEventListener('error', () => fail(film.error));
            film.addEventListener('seeked', () => say([film.currentTime, film.videoWidth, film.seeking]));
            film.currentTime = film.duration - 0.5;
        })",
    );
    assert_eq!(shown, serde_json::json!([11.5, 640, false]));
    page.save_screenshot("film");
    page.click("[data-film] button");
    // From 11.5 to 1.7 seconds, and on.
    page.wait_until(r"/^At \d\./.test(document.querySelector('[data-film-say]').textContent)");
    page.wait_until("document.querySelector('video').currentTime > 1.8");
    // The browser requests the whole file, reads as far as needed, closes the connection, and requests another part.
    let mut media = page.requests();
    media.retain(|one| one.kind == "Media");
    let first = media.first().expect("the video is requested");
    assert_eq!(first.status, Some(206), "{first:#?}");
    let length = fs::metadata(html().join("live/loop.webm"))
        .expect("a file")
        .len();
    let whole = format!("bytes 0-{}/{length}", length - 1);
    assert_eq!(first.received.get("content-range"), Some(&whole));
    for one in media {
        assert!(one.sent.contains_key("range"), "{one:#?}");
        assert!(matches!(one.status, None | Some(206 | 304)), "{one:#?}");
    }
    assert_eq!(page.console_messages(), []);
}

#[test]
fn back_button_restores_page_and_scroll_position() {
    let Some((_server, mut page, url)) = open_site() else {
        return;
    };
    page.open(&url);
    page.evaluate("document.querySelector('#try').scrollIntoView({ behavior: 'instant' })");
    let state = "[document.title, Math.round(scrollY)]";
    let before = page.evaluate(state);
    page.clear_events();
    // A directory without its slash: the response is a redirect.
    page.click("a[href='guide']");
    page.wait_for_load();
    let first = completed(&mut page).swap_remove(0);
    assert_eq!((first.path(), first.status), ("/guide", Some(301)));
    assert_eq!(page.evaluate("location.pathname"), "/guide/");
    let is_from_back_forward_cache = page.go_back();
    assert!(
        is_from_back_forward_cache,
        "no response field keeps the page out of the back/forward cache"
    );
    assert_eq!(page.evaluate(state), before);
    assert_eq!(page.console_messages(), []);
}

#[test]
fn downloaded_file_is_identical() {
    let Some((_server, mut page, url)) = open_site() else {
        return;
    };
    let directory = Root::new();
    page.download_to(directory.path());
    page.open(&format!("{url}/live/"));
    page.clear_events();
    page.click("a[download]");
    let name = page.wait_for_download();
    assert_eq!(name, "one-turn-of-the-loop.webm");
    let file = fs::read(html().join("live/loop.webm")).expect("a file");
    assert!(fs::read(directory.join(name)).expect("a download") == file);
}

#[test]
fn missing_page_is_styled_404_page_at_any_depth() {
    let Some((_server, mut page, url)) = open_site_with(&["-H", POLICY]) else {
        return;
    };
    for path in ["/nothing", "/no/such/page", "/guide/nope/"] {
        page.open(&format!("{url}{path}"));
        let requests = completed(&mut page);
        assert_eq!((requests[0].path(), requests[0].status), (path, Some(404)));
        let styled = requests.iter().find(|one| one.kind == "Stylesheet");
        assert!(matches!(styled.expect("a style").status, Some(200 | 304)));
        let shown = "[document.querySelector('h1').textContent, getComputedStyle(document.querySelector('.head')).display, document.querySelector('[data-say=path]').textContent]";
        let expected = ["Page not found", "flex", &format!("The path is {path}")];
        assert_eq!(page.evaluate(shown), serde_json::json!(expected));
        // The only console message is that of the 404.
        let messages = page.console_messages();
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0].url, format!("{url}{path}"));
    }
    page.save_screenshot("no-such-page");
}

#[test]
fn live_page_shows_response_of_each_button() {
    let Some((_server, mut page, url)) = open_site_with(&["-H", POLICY]) else {
        return;
    };
    page.open(&format!("{url}/live/"));
    // Each button, and parts of the text that is shown after a click.
    let cases = [
        (
            "Get the figure",
            &["200 OK", "content-type: image/svg+xml", "3407 bytes"][..],
        ),
        (
            "Get it with If-None-Match",
            &["If-None-Match: \"", "304 Not Modified", "0 bytes"],
        ),
        (
            "First 15 bytes",
            &[
                "206 Partial Content",
                "content-range: bytes 0-14/",
                "<!DOCTYPE html>",
            ],
        ),
        (
            "First 15 and last 8 bytes",
            &["206 Partial Content", "multipart/byteranges", "</html>"],
        ),
        (
            "Past the end",
            &["416 Range Not Satisfiable", "content-range: bytes */"],
        ),
        (
            "Module",
            &[
                "HEAD /live/live.mjs",
                "200 OK",
                "content-type: text/javascript; charset=utf-8",
                "0 bytes",
            ],
        ),
        ("Captions", &["content-type: text/vtt; charset=utf-8"]),
        (
            "Video",
            &["content-type: video/webm", "accept-ranges: bytes"],
        ),
        (
            "No such page",
            &["404 Not Found", "cache-control: no-store"],
        ),
        (
            "DELETE this page",
            &[
                "DELETE /live/",
                "405 Method Not Allowed",
                "allow: GET, HEAD, OPTIONS",
            ],
        ),
        (
            "A path with a NUL byte",
            &["GET /live/%00", "400 Bad Request"],
        ),
        ("Send 100 requests", &["100 responses in", "new connection"]),
    ];
    let buttons = page.evaluate("document.querySelectorAll('.demo button').length");
    assert_eq!(buttons, cases.len());
    for (name, expected) in cases {
        let name = serde_json::Value::from(name);
        page.evaluate(&format!(
            "globalThis.button = [...document.querySelectorAll('button')].find((it) => it.textContent === {name});
             globalThis.demo = button.closest('.demo');
             button.click()"
        ));
        page.wait_until("demo.ariaBusy !== 'true'");
        let shown = page.evaluate("demo.querySelector('.wire').textContent");
        for line in expected {
            assert!(
                shown.as_str().is_some_and(|shown| shown.contains(line)),
                "{name}: no {line} in {shown}"
            );
        }
    }
    page.wait_for_requests();
    page.save_screenshot("live-asked-desk-Light");
    page.resize(390, 844);
    page.set_color_scheme(ColorScheme::Dark);
    let wide = page.evaluate("document.documentElement.scrollWidth");
    assert_eq!(wide, 390);
    page.save_screenshot("live-asked-phone-Dark");
    // Connections are reused.
    let mut requests = page.requests();
    requests.retain(|one| one.path() == "/favicon.svg" && one.kind == "Fetch");
    let connections: HashSet<u64> = requests.iter().filter_map(|one| one.connection).collect();
    assert_eq!(requests.len(), 100);
    assert!((1..=2).contains(&connections.len()), "{connections:?}");
    // Policy violations and errors of scripts have other texts.
    for message in page.console_messages() {
        assert!(
            message
                .text
                .starts_with("Failed to load resource: the server responded with a status of 4"),
            "{message:?}"
        );
    }
}

#[test]
fn files_and_options_named_on_the_site_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let help = docroot()
        .arg("--help")
        .output()
        .expect("docroot runs")
        .stdout;
    let help = String::from_utf8(help).expect("text");
    let (mut files, mut options) = (0, 0);
    for page in ["index.html", "guide/index.html", "live/index.html"] {
        let text = fs::read_to_string(html().join(page)).expect("text");
        let parts = text.split("<code>").skip(1);
        for code in parts.filter_map(|rest| Some(rest.split_once("</code>")?.0)) {
            let is_file = [
                "docs/",
                "src/",
                "examples/",
                "README",
                "CHANGELOG",
                "LICENSE",
            ];
            if is_file.iter().any(|start| code.starts_with(start)) {
                assert!(root.join(code).exists(), "{page}: no {code}");
                files += 1;
            }
            if code.starts_with("docroot ") || code.starts_with("--") {
                for option in code.split(' ').filter(|word| word.starts_with("--")) {
                    assert!(help.contains(option), "{page}: no {option} in {code}");
                    options += 1;
                }
            }
        }
    }
    assert!(
        files > 20 && options > 10,
        "{files} files, {options} options"
    );
}

#[test]
fn figures_on_the_front_page_are_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = root.join("docs/internals/benchmarks.md");
    let document = fs::read_to_string(document).expect("text");
    let page = fs::read_to_string(html().join("index.html")).expect("text");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.split([' ', '|']).collect())
        .collect();
    let figures_of = |html: &'_ str| -> Vec<String> {
        let cells = html
            .split("<td>")
            .skip(1)
            .filter_map(|rest| rest.split_once("</td>"));
        cells
            .map(|(cell, _)| cell.to_owned())
            .filter(|cell| cell.starts_with(|c: char| c.is_ascii_digit()))
            .collect()
    };
    let (_, tables) = page.split_once("<table class=\"bars\">").expect("bars");
    let (bars, tables) = tables.split_once("</table>").expect("their end");
    let (tables, _) = tables.split_once("</table>").expect("a table");
    let of_rows = tables
        .split("<tr>")
        .map(figures_of)
        .filter(|row| !row.is_empty());
    let mut count = 0;
    for row in of_rows.chain([figures_of(bars)]) {
        let is_there = rows
            .iter()
            .any(|documented| row.iter().all(|figure| documented.contains(&&**figure)));
        assert!(is_there, "no row of the documentation has {row:?}");
        count += 1;
    }
    assert_eq!(count, 7);
}
