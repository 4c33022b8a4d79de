//! No target leads to a byte that is not in the root.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, makedev, mknodat, openat2};
use support::{Client, Root, Server};

/// What no answer may have in it.
const SECRET: &str = "the-secret-outside";

/// A folder `root` with a site in it, and the secret in several places around it.
fn outer() -> Root {
    let outer = Root::of(&[
        ("root/index.html", "home"),
        ("root/file", "inside"),
        ("root/folder/file", "inside"),
        ("root/folder/deep/file", "inside"),
        ("secret", SECRET),
        ("index.html", SECRET),
        ("folder/secret", SECRET),
        // A neighbour whose name begins as the root's does.
        ("root-other/secret", SECRET),
        ("root.bak", SECRET),
    ]);
    let secret = outer.join("secret");
    for (link, to) in [
        ("relative", Path::new("../secret")),
        ("absolute", &secret),
        ("upward", Path::new("..")),
        ("upward-by-name", outer.path()),
        ("itself-by-name", &outer.join("root")),
        ("around", Path::new("../root/file")),
        ("chained", Path::new("chained-1")),
        ("chained-1", Path::new("folder/chained-2")),
        ("folder/chained-2", Path::new("../../secret")),
        ("folder/two-up", Path::new("../..")),
        ("folder/long-way", Path::new("deep/../../../secret")),
        ("slash", Path::new("/")),
        ("passwd", Path::new("/etc/passwd")),
        ("proc", Path::new("/proc")),
        ("self", Path::new("/proc/self/root")),
        ("cwd", Path::new("/proc/self/cwd")),
        ("descriptors", Path::new("/proc/self/fd")),
        ("environment", Path::new("/proc/self/environ")),
        ("exe", Path::new("/proc/self/exe")),
    ] {
        symlink(to, outer.join("root").join(link)).expect("a folder of ours");
    }
    outer
}

/// Whether links inside the root are followed: where openat2(2) is missing, none is.
fn links_are_followed() -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(CWD, ".", flags, Mode::empty(), ResolveFlags::BENEATH).is_ok()
}

/// Everything that is answered to one GET of this target.
fn answer(client: &mut Client, target: &str) -> (String, String) {
    let response = client.get(target);
    let content = String::from_utf8_lossy(&response.content).into_owned();
    (response.status().to_owned(), content)
}

fn is_secret(content: &str) -> bool {
    content.contains(SECRET) || content.contains("root:")
}

/// That none of these targets is served, whatever is said instead.
fn check(server: &Server, targets: &[&str]) {
    for target in targets {
        // A connection each, so that none depends on how the one before it ended.
        let (status, content) = answer(&mut server.connect(), target);
        assert!(
            ["400 Bad Request", "403 Forbidden", "404 Not Found"].contains(&&*status),
            "{target}: {status}"
        );
        assert!(!is_secret(&content), "{target}");
    }
    assert_eq!(server.get("/file").text(), "inside");
}

#[test]
fn no_spelling_of_a_target_leads_out() {
    let outer = outer();
    for options in [&[][..], &["--hidden"]] {
        let server = Server::with(&outer.join("root"), options);
        check(
            &server,
            &[
                // Plain, which a client would not send but an attacker would.
                "/../secret",
                "/../../secret",
                "/../../../../../../../../../../etc/passwd",
                "/../root-other/secret",
                "/../root.bak",
                "/..",
                "/../",
                "/../index.html",
                "/./../secret",
                "/.//../secret",
                "/folder/../../secret",
                "/folder/deep/../../../secret",
                "/folder/./.././../secret",
                "/nothing/../../secret",
                "/folder/../../root-other/secret",
                "/file/../../secret",
                // Encoded, in part and in whole.
                "/%2e%2e/secret",
                "/%2E%2E/secret",
                "/.%2e/secret",
                "/%2e./secret",
                "/%2e%2e%2fsecret",
                "/..%2fsecret",
                "/..%2Fsecret",
                "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
                "/folder/..%2f..%2fsecret",
                "/folder%2f..%2f..%2fsecret",
                "/%2fetc/passwd",
                "/%2Fetc%2Fpasswd",
                "/%2e%2e/%2e%2e/etc/passwd",
                // Encoded twice, and three times: decoded once, these are names with percent signs.
                "/%252e%252e/secret",
                "/%252e%252e%252fsecret",
                "/..%252fsecret",
                "/%25252e%25252e/secret",
                "/%25%32%65%25%32%65/secret",
                // Backslashes, which separate nothing here.
                "/..\\secret",
                "/..\\..\\etc\\passwd",
                "/\\..\\secret",
                "/folder\\..\\..\\secret",
                "/..%5csecret",
                "/%2e%2e%5csecret",
                "/..%5c..%5csecret",
                "/..%255csecret",
                "/\\\\..\\secret",
                // Overlong UTF-8 for a dot and for a slash, and other encodings of them.
                "/%c0%ae%c0%ae/secret",
                "/%c0%ae%c0%ae%c0%afsecret",
                "/..%c0%afsecret",
                "/..%c1%9csecret",
                "/%e0%80%ae%e0%80%ae/secret",
                "/%f0%80%80%ae%f0%80%80%ae/secret",
                "/%ef%bc%8e%ef%bc%8e/secret",
                "/..%ef%bc%8fsecret",
                "/..%e2%88%95secret",
                "/%u002e%u002e/secret",
                "/%uff0e%uff0e/secret",
                // What ends a name somewhere else.
                "/..%00/secret",
                "/%00/../../secret",
                "/../secret%00",
                "/../secret%00.html",
                "/file%00/../../secret",
                "/..;/secret",
                "/..;a=b/secret",
                "/folder/..;/..;/secret",
                "/..%3b/secret",
                "/..%20/secret",
                "/..%09/secret",
                "/..%0d%0a/secret",
                "/..%23/secret",
                "/..%3f/secret",
                "/.../secret",
                "/..../secret",
                "/....//secret",
                "/..././secret",
                "/.+./secret",
                // Slashes, more than one.
                "//../secret",
                "///../secret",
                "/..//secret",
                "//etc/passwd",
                "///etc///passwd",
                "/folder//..//..//secret",
                "/folder/.//..///..//secret",
                "//secret/../..//secret",
                // Other forms.
                "http://test/../secret",
                "http://test/%2e%2e/secret",
                "http://test/folder/../../secret",
                "http://test//etc/passwd",
                "http://../secret",
                "http://test/..%2fsecret",
                "https://test/../secret",
                "file:///etc/passwd",
                "file://localhost/etc/passwd",
                "../secret",
                "..",
                "secret",
                "etc/passwd",
                "~/secret",
                "/~root/secret",
                "/~/../secret",
                "/C:/secret",
                "/$HOME/secret",
                "/*/../../secret",
                // Behind a question mark there is no path.
                "/../?/../secret",
                "/nothing?/../../secret",
            ],
        );
    }
}

#[test]
fn no_link_leads_out() {
    let outer = outer();
    let server = Server::start(&outer.join("root"));
    check(
        &server,
        &[
            "/relative",
            "/relative/",
            "/relative?query",
            "//relative",
            "/%72elative",
            "/folder/../relative",
            "/absolute",
            "/upward",
            "/upward/",
            "/upward/secret",
            "/upward/root/file",
            "/upward/index.html",
            "/upward-by-name/",
            "/upward-by-name/secret",
            // It would lead back in, but by way of what is outside.
            "/itself-by-name/file",
            "/around",
            "/chained",
            "/chained-1",
            "/folder/chained-2",
            "/folder/two-up/secret",
            "/folder/long-way",
            "/slash",
            "/slash/",
            "/slash/etc/passwd",
            "/passwd",
            "/proc",
            "/proc/",
            "/proc/self/environ",
            "/proc/self/root/etc/passwd",
            "/proc/version",
            "/self/etc/passwd",
            "/cwd/Cargo.toml",
            "/descriptors/0",
            "/descriptors/3",
            "/environment",
            "/exe",
            // Through a file, or a link that is no folder.
            "/file/../relative",
            "/relative/secret",
            "/passwd/..%2fshadow",
        ],
    );
}

#[test]
fn pages_that_are_shown_unasked_are_in_the_root_too() {
    let outer = outer();
    let root = outer.join("root");
    symlink("../secret", root.join("404.html")).expect("a folder of ours");
    fs::create_dir(root.join("linked")).expect("a folder of ours");
    symlink("../../secret", root.join("linked/index.html")).expect("a folder of ours");
    let server = Server::start(&root);
    check(
        &server,
        &[
            "/nothing",
            "/linked/",
            "/linked/index.html",
            "/404.html",
            "/.hidden",
        ],
    );
}

#[test]
fn a_link_inside_the_root_is_followed() {
    if !links_are_followed() {
        println!("skipped: this kernel, or a filter, has no openat2, so no link is followed");
        return;
    }
    let outer = outer();
    let root = outer.join("root");
    for (link, to) in [
        ("beside", "file"),
        ("into", "folder/deep"),
        ("folder/up", "../file"),
        ("twice", "beside"),
        ("deep-and-up", "folder/deep/../../file"),
    ] {
        symlink(to, root.join(link)).expect("a folder of ours");
    }
    let server = Server::start(&root);
    for target in [
        "/beside",
        "/into/file",
        "/folder/up",
        "/twice",
        "/deep-and-up",
    ] {
        let response = server.get(target);
        assert_eq!(response.status(), "200 OK", "{target}");
        assert_eq!(response.text(), "inside", "{target}");
    }
    let response = server.get("/into");
    assert_eq!(response.status(), "301 Moved Permanently");
    assert_eq!(response.field("Location"), Some("/into/"));
}

#[test]
fn the_root_is_the_folder_that_was_opened() {
    let outer = outer();
    symlink("root", outer.join("current")).expect("a folder of ours");
    let server = Server::start(&outer.join("current"));
    let mut client = server.connect();
    assert_eq!(client.get("/file").text(), "inside");
    // Whatever its name comes to mean.
    fs::rename(outer.join("root"), outer.join("moved")).expect("a folder of ours");
    outer.write("root/file", SECRET);
    assert_eq!(client.get("/file").text(), "inside");
    assert_eq!(client.get("/folder/file").text(), "inside");
}

#[test]
fn a_name_that_leads_nowhere_is_absent() {
    let outer = outer();
    let root = outer.join("root");
    for (link, to) in [
        ("loop", "loop"),
        ("loop-a", "loop-b"),
        ("loop-b", "loop-a"),
        ("folder/loop", "../folder/loop"),
        ("dangling", "nothing"),
    ] {
        symlink(to, root.join(link)).expect("a folder of ours");
    }
    let server = Server::start(&root);
    let long = "x".repeat(256);
    let deep = "x/".repeat(5000);
    for target in [
        "/loop",
        "/loop/",
        "/loop/file",
        "/loop-a",
        "/folder/loop",
        "/dangling",
        "/file/",
        "/file/file",
        &format!("/{long}"),
        &format!("/{long}/"),
        &format!("/folder/{long}/file"),
        &format!("/{}", "x".repeat(10_000)),
        &format!("/{}", "%ff".repeat(300)),
        &format!("/{deep}"),
        &format!("/{deep}file"),
    ] {
        let (status, content) = answer(&mut server.connect(), target);
        let shown = &target[..target.len().min(50)];
        assert_eq!(status, "404 Not Found", "{shown}");
        assert!(content.contains("404 Not Found"), "{shown}: {content}");
    }
}

#[test]
fn what_is_no_file_neither_blocks_nor_shows() {
    let outer = outer();
    let root = outer.join("root");
    let mode = Mode::RUSR | Mode::WUSR;
    let make = |name: &str, kind, device| mknodat(CWD, root.join(name), kind, mode, device);
    let mut targets = vec!["/fifo", "/fifo/", "/socket", "/socket/", "/folder/"];
    // Opening a FIFO waits for a writer, if one lets it.
    make("fifo", FileType::Fifo, 0).expect("a folder of ours");
    make("folder/index.html", FileType::Fifo, 0).expect("a folder of ours");
    let _listener = UnixListener::bind(root.join("socket")).expect("a folder of ours");
    for (target, kind, (major, minor)) in [
        ("/null", FileType::CharacterDevice, (1, 3)),
        ("/zero", FileType::CharacterDevice, (1, 5)),
        ("/terminal", FileType::CharacterDevice, (5, 0)),
        ("/nowhere", FileType::CharacterDevice, (250, 250)),
        ("/loop0", FileType::BlockDevice, (7, 0)),
    ] {
        match make(&target[1..], kind, makedev(major, minor)) {
            Ok(()) => targets.push(target),
            Err(error) => println!("skipped {target}: {error}"),
        }
    }
    let server = Server::start(&root);
    check(&server, &targets);
    // An index that is no file, and a page for what is absent that is none.
    make("404.html", FileType::Fifo, 0).expect("a folder of ours");
    check(&server, &targets);
    check(&server, &["/nothing"]);
}

const HIDDEN: [&str; 7] = [
    ".env",
    ".git/config",
    "folder/.env",
    "folder/.git/config",
    "folder/.well-known/file",
    ".well-known/.env",
    ".well-known.bak",
];

const SHOWN: [&str; 5] = [
    ".well-known/security.txt",
    ".well-known/acme-challenge/token",
    "a.b",
    "a.",
    "folder/a..b",
];

fn with_hidden() -> Root {
    let root = Root::of(&[("file", "inside")]);
    for path in HIDDEN.iter().chain(&SHOWN) {
        root.write(path, path);
    }
    root.write(".git/index.html", "index");
    root.write("...", "three dots");
    root
}

#[test]
fn what_begins_with_a_dot_is_absent() {
    let root = with_hidden();
    let server = Server::start(root.path());
    let hidden = HIDDEN.map(|path| format!("/{path}"));
    let spelled = [
        "/%2eenv",
        "/%2Egit/config",
        "//.env",
        "/./.env",
        "/folder/../.env",
        "/folder/%2eenv",
        "http://test/.env",
        "/.env?query",
        // Not even that there is a folder of that name.
        "/.git",
        "/.git/",
        "/folder/.git",
        "/.git/nothing",
        "/.nothing",
        "/...",
        "/.Well-Known/security.txt",
    ];
    let expected = server.get("/nothing").content;
    for target in hidden.iter().map(String::as_str).chain(spelled) {
        let response = server.get(target);
        assert_eq!(response.status(), "404 Not Found", "{target}");
        assert!(response.content == expected, "{target}");
    }
    // RFC 8615.
    for path in SHOWN {
        assert_eq!(server.get(&format!("/{path}")).text(), path);
    }
}

#[test]
fn what_begins_with_a_dot_is_shown_if_asked_for() {
    let root = with_hidden();
    let server = Server::with(root.path(), &["--hidden"]);
    for path in HIDDEN.iter().chain(&SHOWN) {
        assert_eq!(server.get(&format!("/{path}")).text(), *path);
    }
    assert_eq!(server.get("/.git/").text(), "index");
    assert_eq!(server.get("/.git").field("Location"), Some("/.git/"));
    assert_eq!(server.get("/...").text(), "three dots");
    // Dots that are no names stay none.
    for target in ["/..", "/.git/../..", "/%2e%2e/"] {
        assert_eq!(server.get(target).status(), "400 Bad Request", "{target}");
    }
}

/// Says that it is over, even when a test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long names are swapped.
const SWAPS: Duration = Duration::from_millis(300);

#[test]
fn a_link_that_is_swapped_while_it_is_followed_leads_nowhere_else() {
    let outer = outer();
    outer.write("folder/file", SECRET);
    let root = outer.join("root");
    // Names that lead inside and outside by turns: a file, a folder, and a folder that is none.
    let swap = |name: &str, to: &str| {
        let new = root.join("new");
        symlink(to, &new).expect("a folder of ours");
        fs::rename(&new, root.join(name)).expect("a folder of ours");
    };
    let exchange = || {
        use rustix::fs::{RenameFlags, renameat_with};
        let (real, fake) = (root.join("real"), root.join("fake"));
        renameat_with(CWD, real, CWD, fake, RenameFlags::EXCHANGE)
    };
    outer.write("root/real/file", "inside");
    symlink("../folder", root.join("fake")).expect("a folder of ours");
    swap("link", "folder/file");
    swap("way", "folder");
    let server = Server::start(&root);
    let done = AtomicBool::new(false);
    let (mut shown, mut refused) = (0_u32, 0_u32);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap("link", "../secret");
                swap("way", "../folder");
                // Not every file system can.
                let _ = exchange();
                swap("link", "folder/file");
                swap("way", "folder");
                let _ = exchange();
            }
        });
        let _done = Done(&done);
        let start = Instant::now();
        let mut client = server.connect();
        // Until enough has happened, whatever the machine's pace.
        while start.elapsed() < SWAPS || shown == 0 || refused == 0 {
            assert!(start.elapsed() < support::PATIENCE, "{shown}, {refused}");
            for target in ["/link", "/way/file", "/real/file", "/fake/file"] {
                let (status, content) = answer(&mut client, target);
                assert!(!is_secret(&content), "{target}");
                match &*status {
                    "200 OK" => {
                        assert_eq!(content, "inside", "{target}");
                        shown += 1;
                    }
                    // 503 if it never held still.
                    "403 Forbidden" | "404 Not Found" | "503 Service Unavailable" => refused += 1,
                    _ => panic!("{target}: {status}"),
                }
            }
        }
    });
}
