//! `--listing`: directories without an index are listed, whatever their names and their size.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::{self, Client, Response, Root, Server, eventually, summary};

/// Number of files that needs several sorted runs and a page larger than a socket's send buffer.
const FILE_COUNT: usize = 20_000;

fn serve(root: &Root) -> Server {
    Server::with(root.path(), &["--listing"])
}

/// Receives a response in chunks.
fn chunked(client: &mut Client) -> Response {
    let mut response = client.response_to_head();
    assert_eq!(
        response.field("Transfer-Encoding"),
        Some("chunked"),
        "{response:?}"
    );
    assert_eq!(response.field("Content-Length"), None);
    response.content = client.read_chunks().expect("a last chunk");
    response
}

/// Requests the listing of a directory in a media type.
fn list(server: &Server, target: &str, accept: &str) -> Response {
    let mut client = server.connect();
    send_get(&mut client, target, accept);
    chunked(&mut client)
}

/// Sends a GET with this Accept field.
fn send_get(client: &mut Client, target: &str, accept: &str) {
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n"
    ));
}

/// Requests the listing of a directory as text and returns the names in their order.
fn names(server: &Server, target: &str) -> Vec<String> {
    let listing = list(server, target, "text/plain");
    listing.text().lines().map(str::to_owned).collect()
}

/// Returns the references in the rows of a page, in their order.
fn references(page: &str) -> Vec<&str> {
    let (_, rows) = page.split_once("<tbody class=\"rows\">").expect("rows");
    let (rows, _) = rows.split_once("\n</table>").expect("the end of the rows");
    let links = rows.split("<a href=\"").skip(1);
    links
        .map(|link| link.split_once('"').expect("an end").0)
        .collect()
}

/// Creates a root with a directory `many` of `count` files, on tmpfs where possible: on a disk it takes longer.
fn root_with_files(count: usize) -> Root {
    let root = Root::in_memory().unwrap_or_else(Root::new);
    root.write("small.txt", "small");
    fs::create_dir(root.join("many")).expect("a directory");
    for number in 0..count {
        File::create(root.join(format!("many/file-{number}.txt"))).expect("a file");
    }
    root
}

/// Requests a listing with a small receive buffer and reads its head only.
fn slow_client(server: &Server) -> Client {
    let mut client = server.connect();
    socket2::SockRef::from(client.stream())
        .set_recv_buffer_size(128 * 1024)
        .expect("an option");
    send_get(&mut client, "/many/", "text/html");
    assert_eq!(client.response_to_head().status(), "200 OK");
    client
}

#[test]
fn listing_is_off_by_default() {
    let root = Root::of(&[("folder/file", "")]);
    let server = Server::start(root.path());
    for target in ["/", "/folder/"] {
        assert_eq!(server.get(target).status(), "404 Not Found");
    }
    assert!(!server.announcement.contains("listing\":true"));
}

#[test]
fn directory_without_index_is_listed() {
    let root = Root::of(&[("folder/file", ""), ("indexed/index.html", "the index")]);
    let server = serve(&root);
    assert_eq!(server.get("/indexed/").text(), "the index");
    let moved = server.get("/folder");
    assert_eq!(
        (moved.status(), moved.field("Location")),
        ("301 Moved Permanently", Some("/folder/"))
    );
    // Relative references need the slash, so the redirect goes to the normalized path.
    let moved = server.get("/indexed/../folder/.");
    assert_eq!(
        (moved.status(), moved.field("Location")),
        ("301 Moved Permanently", Some("/folder/"))
    );
    for target in ["/nothing/", "/folder/file/"] {
        assert_eq!(server.get(target).status(), "404 Not Found", "{target}");
    }
    assert_eq!(names(&server, "/"), ["folder/", "indexed/"]);
    assert_eq!(names(&server, "/folder/"), ["file"]);
    assert_eq!(names(&server, "//folder//"), ["file"]);
}

#[test]
fn page_has_its_path_and_its_order() {
    let root = Root::new();
    fs::create_dir_all(root.join("a/<b>")).expect("a directory");
    let page = list(
        &serve(&root),
        "/a/%3Cb%3E/?sort=time&order=desc",
        "text/html",
    );
    let page = page.text();
    assert!(page.contains("<h1><a href=\"../../\">/</a><a href=\"../\">a/</a>&lt;b&gt;/</h1>"));
    assert!(page.contains("<title>Index of /a/&lt;b&gt;/</title>"));
    assert!(page.contains("aria-sort=\"descending\"><a href=\"?sort=time&amp;order=asc\""));
    assert!(page.contains(">0 folders, 0 files</p>") && page.ends_with("</script>\n</html>\n"));
}

#[test]
fn accept_selects_html_json_or_text() {
    let root = Root::of(&[("a/b/file.txt", "content"), ("a/b/deep/file", "")]);
    for path in ["a/b/file.txt", "a/b/deep"] {
        let file = File::open(root.join(path)).expect("it exists");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        file.set_modified(time).expect("a date");
    }
    let server = serve(&root);
    let page = list(&server, "/a/b/", "text/html");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("Vary"), Some("Accept"));
    assert_eq!(page.field("Cache-Control"), Some("no-store"));
    assert_eq!(page.field("X-Content-Type-Options"), Some("nosniff"));
    let policy = page.field("Content-Security-Policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let text = page.text();
    assert!(text.starts_with("<!doctype html>\n") && text.ends_with("</html>\n"));
    assert!(text.contains("<h1><a href=\"../../\">/</a><a href=\"../\">a/</a>b/</h1>"));
    assert!(text.contains("<tbody><tr><td><a href=\"../\">../</a>"));
    assert!(text.contains(
        "<tr><td><a href=\"file.txt\">file.txt</a><td data-n=\"7\">7 B\
         <td><time datetime=\"1994-11-06T08:49:37Z\">1994-11-06 08:49</time>"
    ));
    assert!(text.contains("1 folder, 1 file</p>"));
    assert_eq!(references(text), ["deep/", "file.txt"]);
    let root_page = list(&server, "/", "*/*");
    assert!(
        !root_page.text().contains("../"),
        "the root has no parent link"
    );

    let json = list(&server, "/a/b/", "application/json");
    assert_eq!(json.field("Content-Type"), Some("application/json"));
    assert_eq!(json.field("Content-Security-Policy"), None);
    let time = "\"modified\":\"1994-11-06T08:49:37Z\"";
    let expected = format!(
        "[\n{{\"name\":\"deep\",\"href\":\"deep/\",\"type\":\"directory\",\"size\":null,{time}}},\n\
         {{\"name\":\"file.txt\",\"href\":\"file.txt\",\"type\":\"file\",\"size\":7,{time}}}\n]\n"
    );
    assert_eq!(json.text(), expected);
    let text = list(&server, "/a/b/", "text/plain");
    assert_eq!(
        text.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(text.text(), "deep/\nfile.txt\n");
    fs::create_dir(root.join("empty")).expect("a directory");
    assert_eq!(
        list(&server, "/empty/", "application/json").text(),
        "[\n]\n"
    );
    assert_eq!(list(&server, "/empty/", "text/plain").text(), "");
}

#[test]
fn http_1_0_listing_ends_with_connection() {
    let root = Root::of(&[("file", "")]);
    let server = serve(&root);
    for rest in ["", "Connection: keep-alive\r\n"] {
        let mut client = server.connect();
        client.send(format!(
            "GET / HTTP/1.0\r\nAccept: text/plain\r\n{rest}\r\n"
        ));
        let response = client.response_to_head();
        assert_eq!(response.field("Connection"), Some("close"), "{response:?}");
        assert_eq!(response.field("Transfer-Encoding"), None);
        assert_eq!(response.field("Content-Length"), None);
        assert_eq!(client.rest(), b"file\n");
    }
}

#[test]
fn head_of_listing_has_no_content() {
    let root = Root::of(&[("file", "")]);
    let server = serve(&root);
    let mut client = server.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\nAccept: application/json\r\n\r\n");
    let response = client.response_to_head();
    assert_eq!(response.status(), "200 OK");
    assert_eq!(response.field("Content-Type"), Some("application/json"));
    assert_eq!(response.field("Vary"), Some("Accept"));
    assert_eq!(
        response.field("Content-Length"),
        None,
        "the length is unknown"
    );
    assert_eq!(
        client.get("/file").status(),
        "200 OK",
        "no content precedes the next response"
    );
    let response = client.ask("POST / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(response.status(), "405 Method Not Allowed");
}

/// Names with special characters of HTML, URLs, JSON or file systems.
const HOSTILE: &[&[u8]] = &[
    b"<script>alert(1)<",
    b"<img src=x onerror=alert(1)>",
    b"\"'&amp;`",
    b"100%",
    b"%2e%2e",
    b"%00",
    b"what?",
    b"a#b",
    b"javascript:alert(1)",
    b"C:",
    b"two  spaces ",
    b" ",
    b"back\\slash",
    b"a+b=c;d,e",
    b"\xff\xfe.bin",
    b"half\xe2\x82",
    b"~",
    b"{{rows}}",
    b"*",
    "größe".as_bytes(),
    "日本語.html".as_bytes(),
    "turned\u{202e}txt.exe".as_bytes(),
];

/// Names with control characters, which no request target can have.
const UNREQUESTABLE: &[&[u8]] = &[b"new\nline", b"tab\t", b"escape\x1b[1m", b"delete\x7f"];

#[test]
fn hostile_names_are_escaped_and_link_to_their_files() {
    let root = Root::new();
    let long = [b'n'; 255];
    let all = || HOSTILE.iter().chain(UNREQUESTABLE).copied();
    for name in all().chain([&long[..]]) {
        let folder = [b"dir ", &name[..name.len().min(251)]].concat();
        root.write(OsStr::from_bytes(name), name);
        root.write(Path::new(OsStr::from_bytes(&folder)).join("in it"), name);
    }
    let server = serve(&root);
    let page = list(&server, "/", "text/html");
    let text = page.text();
    // Only docroot's own markup is in the page.
    assert_eq!(text.matches("<script").count(), 1);
    assert_eq!(text.matches("<img").count(), 0);
    let rows = text.split_once("<tbody class=\"rows\">").expect("rows").1;
    let (rows, _) = rows.split_once("</table>").expect("the end of the rows");
    assert!(
        !rows
            .bytes()
            .any(|byte| byte.is_ascii_control() && byte != b'\n')
    );
    assert_eq!(
        rows.matches("\n<tr>").count(),
        2 * (HOSTILE.len() + UNREQUESTABLE.len() + 1)
    );
    assert!(rows.contains(">new\\nline</span>") && rows.contains(">turned\\u{202e}txt.exe</a>"));

    let mut client = server.connect();
    let mut found = BTreeSet::new();
    for reference in references(text) {
        let target = match reference.ends_with('/') {
            true => format!("/{reference}in%20it"),
            false => format!("/{reference}"),
        };
        let response = client.get(&target);
        assert_eq!(response.status(), "200 OK", "{target}");
        assert!(
            found.insert((reference.ends_with('/'), response.content)),
            "{target} appears twice"
        );
    }
    assert_eq!(found.len(), 2 * (HOSTILE.len() + 1));
    for name in HOSTILE {
        assert!(
            found.contains(&(false, name.to_vec())),
            "{}",
            name.escape_ascii()
        );
    }

    let json = list(&server, "/", "application/json");
    for line in [
        r#"{"name":"\"'&amp;`","href":"%22%27%26amp%3B%60","type":"file","#,
        "{\"name\":\"\u{fffd}\u{fffd}.bin\",\"href\":\"%FF%FE.bin\",",
        r#"{"name":"new\u000aline","href":null,"type":"file","size":8,"#,
    ] {
        assert!(json.text().contains(line), "{line} in {}", json.text());
    }
    let lines = names(&server, "/");
    for line in [
        "new\\nline",
        "back\\\\slash",
        "\\xff\\xfe.bin",
        "dir {{rows}}/",
        "two  spaces ",
    ] {
        assert!(
            lines.iter().any(|other| other == line),
            "{line} in {lines:?}"
        );
    }
}

#[test]
fn unservable_entries_are_not_listed() {
    let outside = Root::of(&[("secret", "secret"), ("folder/secret", "")]);
    let root = Root::of(&[
        (".env", "secret"),
        (".well-known/security.txt", ""),
        (".well-known/.secret", ""),
        ("folder/.well-known/a", ""),
        ("folder/file", ""),
        ("..data", ""),
        ("file", "content"),
        ("file.gz", ""),
    ]);
    let link = |target: &Path, name: &str| symlink(target, root.join(name)).expect("a link");
    link(Path::new("file"), "to a file");
    link(Path::new("folder"), "to a folder");
    link(&root.join("file"), "absolute");
    link(&outside.join("secret"), "out");
    link(&outside.join("folder"), "out to a folder");
    link(Path::new("nothing"), "to nothing");
    link(Path::new("round"), "round");
    link(Path::new(".env"), "to what is hidden");
    link(Path::new("/dev/null"), "null");
    assert!(support::succeeds(
        "mkfifo",
        &[root.join("fifo").to_str().expect("ASCII")]
    ));
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket");

    let check = |options: &[&str], target: &str, expected: &[&str]| {
        let all = [&["--listing"], options].concat();
        let server = Server::with(root.path(), &all);
        assert_eq!(names(&server, target), expected, "{options:?} {target}");
        let page = list(&server, target, "text/html");
        for reference in references(page.text()) {
            let response = match reference.ends_with('/') {
                true => continue,
                false => server.get(&format!("{target}{reference}")),
            };
            assert_eq!(
                response.status(),
                "200 OK",
                "{options:?} {target} {reference}"
            );
        }
    };
    let inside = [
        ".well-known/",
        "folder/",
        "to a folder/",
        "absolute",
        "file",
        "file.gz",
        "to a file",
        "to what is hidden",
    ];
    check(&[], "/", &inside);
    check(&[], "/folder/", &["file"]);
    check(&[], "/.well-known/", &["security.txt"]);
    check(
        &["--symlinks", "deny"],
        "/",
        &[".well-known/", "folder/", "file", "file.gz"],
    );
    let outside = outside.path().to_str().expect("ASCII");
    let mut all = inside.to_vec();
    all.splice(2..2, ["out to a folder/"]);
    all.splice(7..7, ["out"]);
    check(&["--symlink-root", outside], "/", &all);
    check(
        &["--hidden", "--symlinks", "deny"],
        "/",
        &[
            ".well-known/",
            "folder/",
            "..data",
            ".env",
            "file",
            "file.gz",
        ],
    );
    check(&["--hidden"], "/folder/", &[".well-known/", "file"]);
    let server = serve(&root);
    assert_eq!(server.get("/folder/.well-known/").status(), "404 Not Found");
    assert_eq!(
        server.get("/out%20to%20a%20folder/").status(),
        "403 Forbidden"
    );
    // The same without openat2.
    if let Some(command) = support::command_without_openat2("ENOSYS", root.path(), &["--listing"]) {
        let server = Server::spawn(command);
        assert_eq!(names(&server, "/"), inside);
        assert_eq!(names(&server, "/folder/"), ["file"]);
    }
}

#[test]
fn natural_order_is_default_and_query_selects_another() {
    let root = Root::new();
    let files = [
        ("b2", 30, 3),
        ("B10", 10, 1),
        ("a", 20, 2),
        ("b1", 20, 4),
        ("b02", 5, 5),
    ];
    for (name, len, second) in files {
        root.write(name, vec![b'x'; len]);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let file = File::options().write(true).open(root.join(name));
        file.and_then(|file| file.set_modified(time))
            .expect("a date");
    }
    for (name, second) in [("folder 10", 1), ("folder 9", 9)] {
        fs::create_dir(root.join(name)).expect("a directory");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let folder = File::open(root.join(name));
        folder
            .and_then(|folder| folder.set_modified(time))
            .expect("a date");
    }
    let server = serve(&root);
    let nine_first = ["folder 9/", "folder 10/"];
    let ten_first = ["folder 10/", "folder 9/"];
    for (query, folders, files) in [
        ("", nine_first, ["a", "b1", "b02", "b2", "B10"]),
        (
            "?sort=name&order=desc",
            ten_first,
            ["B10", "b2", "b02", "b1", "a"],
        ),
        ("?sort=size", nine_first, ["b02", "B10", "a", "b1", "b2"]),
        (
            "?sort=size&order=desc",
            nine_first,
            ["b2", "a", "b1", "B10", "b02"],
        ),
        ("?sort=time", ten_first, ["B10", "a", "b2", "b1", "b02"]),
        (
            "?order=desc&sort=time",
            nine_first,
            ["b02", "b1", "b2", "a", "B10"],
        ),
        ("?sort=nothing", nine_first, ["a", "b1", "b02", "b2", "B10"]),
    ] {
        let expected = [&folders[..], &files[..]].concat();
        assert_eq!(names(&server, &format!("/{query}")), expected, "{query}");
    }
    let page = list(&server, "/?sort=size&order=desc", "text/html");
    for head in [
        "<th scope=\"col\"><a href=\"?sort=name&amp;order=asc\"",
        "<th scope=\"col\" aria-sort=\"descending\"><a href=\"?sort=size&amp;order=asc\"",
        "<th scope=\"col\"><a href=\"?sort=time&amp;order=desc\"",
    ] {
        assert!(page.text().contains(head), "{head}");
    }
}

#[test]
fn large_listing_is_streamed_in_bounded_memory() {
    let root = root_with_files(FILE_COUNT);
    let server = serve(&root);
    assert_eq!(server.get("/small.txt").text(), "small");
    let before = server.resident_kib();
    let first_client = slow_client(&server);
    let mut other_clients: Vec<Client> = (0..3).map(|_| slow_client(&server)).collect();
    // The page begins before the directory has been read to its end, and waits for its reader.
    for client in &mut other_clients {
        let page = client.bytes(30);
        assert!(page.windows(15).any(|part| part == b"<!doctype html>"));
    }
    let growth = server.resident_kib().saturating_sub(before);
    assert!(growth < 16 * 1024, "{growth} KiB for four");
    drop(other_clients);
    let mut client = first_client;
    let page = String::from_utf8(client.read_chunks().expect("a complete listing")).expect("text");
    let references = references(&page);
    assert_eq!(references.len(), FILE_COUNT);
    let distinct: BTreeSet<&str> = references.iter().copied().collect();
    assert_eq!(distinct.len(), FILE_COUNT);
    assert!(page.contains(&format!(">0 folders, {FILE_COUNT} files</p>")));
    assert!(
        page.contains("in order in parts"),
        "there is more than one run"
    );
    // Within a run, the order is natural.
    let number = |reference: &str| -> usize {
        let digits = reference
            .trim_start_matches("file-")
            .trim_end_matches(".txt");
        digits.parse().expect("a number")
    };
    let descents = references
        .windows(2)
        .filter(|pair| number(pair[0]) > number(pair[1]))
        .count();
    assert!(descents < 3, "{descents} runs more than one");
    let line = server.stdout_line();
    let line = if line.contains("/small.txt") {
        server.stdout_line()
    } else {
        line
    };
    assert!(summary(&line).starts_with("GET /many/ 200 "), "{line}");
}

#[test]
fn access_log_has_content_bytes_of_listing() {
    let root = Root::of(&[("file", "")]);
    let server = serve(&root);
    let listing = list(&server, "/?sort=size", "text/html");
    let expected = format!("GET /?sort=size 200 {}", listing.content.len());
    assert_eq!(summary(&server.stdout_line()), expected);
}

#[test]
fn disconnect_ends_listing() {
    let root = root_with_files(FILE_COUNT);
    let server = serve(&root);
    let before = server.descriptors();
    let clients: Vec<Client> = (0..5).map(|_| slow_client(&server)).collect();
    server.wait_for_descriptors(before + 10);
    drop(clients);
    server.wait_for_descriptors_at_most(before);
    server.wait_until_idle();
}

#[test]
fn pipelined_requests_behind_listing_are_answered_in_order() {
    let root = root_with_files(3000);
    let server = serve(&root);
    let mut client = server.connect();
    let get =
        |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\nAccept: text/plain\r\n\r\n");
    client.send(
        get("/small.txt") + &get("/many/") + &get("/small.txt") + &get("/many/") + &get("/nothing"),
    );
    assert_eq!(client.response().text(), "small");
    let first = chunked(&mut client);
    assert_eq!(first.text().lines().count(), 3000);
    assert_eq!(client.response().text(), "small");
    assert_eq!(chunked(&mut client).content, first.content);
    assert_eq!(client.response().status(), "404 Not Found");
}

#[test]
fn listing_blocks_no_other_client() {
    let root = root_with_files(FILE_COUNT);
    let server = Server::with(root.path(), &["--listing", "--workers", "1"]);
    let mut slow = slow_client(&server);
    let address = server.address;
    let lists = thread::spawn(move || {
        let mut client = Client::connect(address);
        send_get(&mut client, "/many/?sort=size", "text/plain");
        client.response_to_head();
        let mut other = Client::connect(address);
        assert_eq!(other.get("/small.txt").text(), "small");
        client.read_chunks().expect("a complete listing").len()
    });
    let mut client = server.connect();
    for _ in 0..200 {
        assert_eq!(client.get("/small.txt").text(), "small");
    }
    assert!(lists.join().expect("the thread does not panic") > FILE_COUNT * 10);
    assert!(slow.read_chunks().is_ok());
}

#[test]
fn directory_changed_during_listing_is_listed_to_its_end() {
    let root = root_with_files(FILE_COUNT);
    let server = serve(&root);
    let mut client = slow_client(&server);
    for number in 0..FILE_COUNT {
        match number % 3 {
            0 => {
                fs::remove_file(root.join(format!("many/file-{number}.txt"))).expect("it exists");
            }
            1 => {
                let (from, to) = (
                    format!("many/file-{number}.txt"),
                    format!("many/moved-{number}"),
                );
                fs::rename(root.join(from), root.join(to)).expect("it exists");
            }
            _ => {}
        }
    }
    let page = String::from_utf8(client.read_chunks().expect("a last chunk")).expect("text");
    assert!(page.ends_with("</html>\n"));
    let listed: BTreeSet<&str> = page
        .split("<a href=\"")
        .skip(1)
        .filter_map(|link| Some(link.split_once('"')?.0))
        .collect();
    // Files that exist during the whole listing are in it; the part read before the changes is not checked.
    let kept = (0..FILE_COUNT).filter(|number| number % 3 == 2);
    let missing = kept
        .filter(|number| !listed.contains(&*format!("file-{number}.txt")))
        .count();
    assert!(missing < FILE_COUNT / 3, "{missing}");
}

#[test]
fn directory_removed_during_listing_ends_without_last_chunk() {
    let root = root_with_files(FILE_COUNT);
    let server = serve(&root);
    let mut client = slow_client(&server);
    // While the server is stopped: otherwise it may read the emptied directory to its end.
    server.while_stopped(|| fs::remove_dir_all(root.join("many")).expect("it exists"));
    let rest = client.rest();
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "there is a last chunk: {} bytes",
        rest.len()
    );
    let warning = server.stderr_line();
    assert!(
        warning.contains("cannot finish the listing of /many"),
        "{warning}"
    );
    eventually("the server goes on serving", || {
        (server.get("/small.txt").text() == "small").then_some(())
    });
}
