//! A browser is served as it expects.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::browser::{ABORTED, Browser, ColorScheme, Page, Request};
use crate::support::{Root, Server, docroot};

/// A policy that allows nothing but what the site brings along: no inline script, no inline style, no other host.
const POLICY: &str = "Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The project's own site.
fn html() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("html")
}

/// The site, served, and a page to look at it; the URL of the first, without a slash at its end. `None`, said loudly,
/// where there is no browser.
fn visit() -> Option<(Server, Page, String)> {
    visit_with(&[])
}

fn visit_with(options: &[&str]) -> Option<(Server, Page, String)> {
    let page = Browser::shared()?.page();
    let server = Server::with(&html(), options);
    let url = format!("http://{}", server.address);
    Some((server, page, url))
}

/// The paths of all pages below a folder of the site, as links have them: `/`, `/guide/`, `/404`.
fn pages(folder: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(html().join(&folder[1..])).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        if entry.path().is_dir() {
            paths.extend(pages(&format!("{folder}{name}/")));
        } else if name == "index.html" {
            paths.push(folder.to_owned());
        } else if let Some(name) = name.strip_suffix(".html") {
            paths.push(format!("{folder}{name}"));
        }
    }
    paths
}

/// What was asked for and answered in this step. (The browser asks for an icon by itself, whenever it likes.)
fn answered(page: &mut Page) -> Vec<Request> {
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
fn every_page_is_rendered_light_and_dark_on_a_phone_and_a_desk() {
    let Some((_server, mut page, url)) = visit_with(&["-H", POLICY]) else {
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
            let requests = answered(&mut page);
            assert!(requests.len() > 1, "{case}: {requests:?}");
            for one in requests {
                let is_good = matches!(one.status, Some(200 | 206 | 304));
                assert!(is_good, "{case}: {one:#?}");
            }
            let headings = page.evaluate("document.querySelectorAll('h1').length");
            assert_eq!(headings, 1, "{case}");
            // Nothing sticks out at the side.
            let wide = page.evaluate("document.documentElement.scrollWidth");
            assert!(wide.as_u64() <= Some(width.into()), "{case}: {wide}");
            // A line break after a hyphen would make two words of one option.
            let broken = "[...document.querySelectorAll(':not(pre) > code')].flatMap((it) =>
                it.getClientRects().length > 1 ? [it.textContent] : [])";
            assert_eq!(page.evaluate(broken), serde_json::json!([]), "{case}");
            // A table that is wider than its place says that it scrolls, and no other does.
            let tables = "[...document.querySelectorAll('.wide')].every((it) =>
                it.scrollWidth > it.clientWidth
                    === it.parentElement.querySelector('.scrolls').checkVisibility())";
            assert_eq!(page.evaluate(tables), true, "{case}");
            let mut papers = HashSet::new();
            for scheme in [ColorScheme::Light, ColorScheme::Dark] {
                page.set_color_scheme(scheme);
                papers.insert(
                    page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
                );
                let name = path.trim_matches('/').replace('/', "-");
                let device = device.replace(' ', "-");
                page.save_screenshot(&format!("{name}-{device}-{scheme:?}"));
            }
            assert_eq!(papers.len(), 2, "{case}: {papers:?}");
            page.wait_for_requests();
            assert_eq!(page.console_messages(), [], "{case}");
        }
    }
}

#[test]
fn a_reload_asks_whether_anything_has_changed() {
    let Some((_server, mut page, url)) = visit() else {
        return;
    };
    page.open(&url);
    for first in answered(&mut page) {
        assert_eq!(first.status, Some(200), "{first:#?}");
    }
    page.reload();
    let again = answered(&mut page);
    assert!(again.len() > 3, "{again:#?}");
    for one in again {
        assert_eq!(one.status, Some(304), "{one:#?}");
        assert!(one.sent.contains_key("if-none-match"), "{one:#?}");
        assert!(one.bytes < 500, "{one:#?}");
    }
    assert_eq!(page.console_messages(), []);
}

#[test]
fn a_module_runs_if_it_comes_as_one() {
    let ran =
        "document.querySelector('[data-say=module]').textContent.startsWith('The module ran: 5')";
    let Some((_server, mut page, url)) = visit() else {
        return;
    };
    page.open(&url);
    assert_eq!(page.evaluate(ran), true);
    // Browsers are strict about that.
    let Some((_server, mut page, url)) = visit_with(&["--mime-types", ".mjs=text/plain"]) else {
        return;
    };
    page.open(&url);
    assert_eq!(page.evaluate(ran), false);
    let complaints = page.console_messages();
    assert!(
        complaints[0].text.contains("module script"),
        "{complaints:?}"
    );
}

#[test]
fn a_film_is_played_from_where_one_points() {
    let Some((_server, mut page, url)) = visit() else {
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
    // It asks for all, reads as far as it needs, hangs up, and asks again from somewhere else.
    let mut media = page.requests();
    media.retain(|one| one.kind == "Media");
    let first = media.first().expect("a film is asked for");
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
fn the_back_button_leads_back() {
    let Some((_server, mut page, url)) = visit() else {
        return;
    };
    page.open(&url);
    page.evaluate("document.querySelector('#try').scrollIntoView({ behavior: 'instant' })");
    let there = "[document.title, Math.round(scrollY)]";
    let left = page.evaluate(there);
    page.clear_events();
    // A folder without its slash: there is a redirect on the way.
    page.click("a[href='guide']");
    page.wait_for_load();
    let first = answered(&mut page).swap_remove(0);
    assert_eq!((first.path(), first.status), ("/guide", Some(301)));
    assert_eq!(page.evaluate("location.pathname"), "/guide/");
    let is_as_it_was_left = page.go_back();
    assert!(
        is_as_it_was_left,
        "nothing that is said of a page forbids to keep it alive"
    );
    assert_eq!(page.evaluate(there), left);
    assert_eq!(page.console_messages(), []);
}

#[test]
fn a_download_is_the_file() {
    let Some((_server, mut page, url)) = visit() else {
        return;
    };
    let folder = Root::new();
    page.download_to(folder.path());
    page.open(&format!("{url}/live/"));
    page.clear_events();
    page.click("a[download]");
    let name = page.wait_for_download();
    assert_eq!(name, "one-turn-of-the-loop.webm");
    let file = fs::read(html().join("live/loop.webm")).expect("a file");
    assert!(fs::read(folder.join(name)).expect("a download") == file);
}

#[test]
fn what_is_not_there_is_a_page_of_the_site_at_any_depth() {
    let Some((_server, mut page, url)) = visit_with(&["-H", POLICY]) else {
        return;
    };
    for path in ["/nothing", "/no/such/page", "/guide/nope/"] {
        page.open(&format!("{url}{path}"));
        let requests = answered(&mut page);
        assert_eq!((requests[0].path(), requests[0].status), (path, Some(404)));
        let styled = requests.iter().find(|one| one.kind == "Stylesheet");
        assert!(matches!(styled.expect("a style").status, Some(200 | 304)));
        let shown = "[document.querySelector('h1').textContent, getComputedStyle(document.querySelector('.head')).display, document.querySelector('[data-say=path]').textContent]";
        let due = ["Page not found", "flex", &format!("The path is {path}")];
        assert_eq!(page.evaluate(shown), serde_json::json!(due));
        // The one thing to complain of is that it is not there.
        let complaints = page.console_messages();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert_eq!(complaints[0].url, format!("{url}{path}"));
    }
    page.save_screenshot("no-such-page");
}

#[test]
fn the_live_page_shows_what_it_says() {
    let Some((_server, mut page, url)) = visit_with(&["-H", POLICY]) else {
        return;
    };
    page.open(&format!("{url}/live/"));
    // Each button, and lines that are shown when it has been pressed.
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
    for (name, due) in cases {
        let name = serde_json::Value::from(name);
        page.evaluate(&format!(
            "globalThis.button = [...document.querySelectorAll('button')].find((it) => it.textContent === {name});
             globalThis.demo = button.closest('.demo');
             button.click()"
        ));
        page.wait_until("demo.ariaBusy !== 'true'");
        let shown = page.evaluate("demo.querySelector('.wire').textContent");
        for line in due {
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
    // A connection is kept for what comes next.
    let mut requests = page.requests();
    requests.retain(|one| one.path() == "/favicon.svg" && one.kind == "Fetch");
    let connections: HashSet<u64> = requests.iter().filter_map(|one| one.connection).collect();
    assert_eq!(requests.len(), 100);
    assert!((1..=2).contains(&connections.len()), "{connections:?}");
    // What a policy forbids is told as such, and errors of scripts are no loads that failed.
    for complaint in page.console_messages() {
        assert!(
            complaint
                .text
                .starts_with("Failed to load resource: the server responded with a status of 4"),
            "{complaint:?}"
        );
    }
}

#[test]
fn files_and_options_named_on_the_site_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let help = docroot().arg("--help").output().expect("it runs").stdout;
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
fn figures_on_the_front_page_are_those_of_the_documentation() {
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
