//! Root confinement: no target reads a byte outside the root.

use std::collections::HashSet;
use std::fs;
use std::fs::Permissions;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::support::{Response, Root, Server, eventually, unprivileged_wrapper};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, openat};

/// Content outside the root, which no response may contain.
const SECRET: &str = "the-secret-outside";

/// Creates a directory with a site in `root`, and the secret in several places around that.
fn outer() -> Root {
    let outer = Root::of(&[
        ("root/index.html", "inside"),
        ("root/file", "inside"),
        ("root/folder/file", "inside"),
        ("root/folder/deep/file", "inside"),
        // Directories whose names a redirect must not turn into hosts.
        ("root/evil.example/file", "inside"),
        ("root/\\evil.example/file", "inside"),
        ("secret", SECRET),
        ("index.html", SECRET),
        ("file", SECRET),
        ("folder/secret", SECRET),
        // A sibling directory whose name begins with that of the root.
        ("root-other/secret", SECRET),
        ("root.bak", SECRET),
    ]);
    assert!(
        outer.join("root/../secret").exists(),
        "the secret is reachable from the root"
    );
    outer
}

/// Sends one GET of this target, as it is, and returns the response.
fn get_raw(server: &Server, target: impl AsRef<[u8]>) -> Response {
    // A new connection each time, so that no response depends on an earlier one.
    let request = [b"GET ", target.as_ref(), b" HTTP/1.1\r\nHost: test\r\n\r\n"];
    server.connect().ask(request.concat())
}

/// Asserts what holds for every response: it contains no secret, its content is that of a file in the root, and it
/// redirects only within this site.
fn assert_inside(response: &Response, target: &str) {
    let content = String::from_utf8_lossy(&response.content);
    for secret in [SECRET, "root:", "[package]"] {
        assert!(!content.contains(secret), "{target}: {response:?}");
        assert!(!response.head.contains(secret), "{target}: {response:?}");
    }
    match response.status() {
        "200 OK" => assert_eq!(content, "inside", "{target}"),
        "301 Moved Permanently" => {
            // Two slashes would name another host (RFC 3986 section 4.2), and a browser reads a backslash as a slash
            // (the URL standard, "special authority slashes state").
            let location = response.field("Location").expect("a location");
            let path = location.strip_prefix('/').expect("a path");
            assert!(!path.starts_with(['/', '\\']), "{target}: {location}");
            assert!(!location.contains('\\'), "{target}: {location}");
        }
        "400 Bad Request" | "403 Forbidden" | "404 Not Found" => {}
        "421 Misdirected Request" => {}
        other => panic!("{target}: {other}"),
    }
}

/// Checks that each of these targets gets this status, and a response that passes [`assert_inside`].
fn check_statuses(server: &Server, rows: &[(u16, &[u8])]) {
    let mut failures = Vec::new();
    for (status, target) in rows {
        let response = get_raw(server, target);
        let shown = target.escape_ascii().to_string();
        assert_inside(&response, &shown);
        let actual = response.status();
        if !actual.starts_with(&status.to_string()) {
            failures.push(format!("{shown}: {actual} instead of {status}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(server.get("/file").text(), "inside");
}

/// Checks that each of these targets is a 404.
fn check_not_found(server: &Server, targets: &[&str]) {
    let rows: Vec<(u16, &[u8])> = targets.iter().map(|it| (404, it.as_bytes())).collect();
    check_statuses(server, &rows);
}

/// Path traversal attacks and targets that look like one, each with the expected status. Each attack has worked on some
/// server.
const TARGETS: &[(u16, &[u8])] = &[
    // Plain dot segments, which clients remove before they send. They leave the root, and so are invalid (the algorithm
    // of RFC 3986 section 5.2.4 would stop at the root).
    (400, b"/../secret"),
    (400, b"/../../secret"),
    (400, b"/../../../secret"),
    (400, b"/../../../../../../../../../../etc/passwd"),
    (400, b"/../root-other/secret"),
    (400, b"/../root.bak"),
    (400, b"/.."),
    (400, b"/../"),
    (400, b"/../.."),
    (400, b"/../index.html"),
    (400, b"/../file"),
    (400, b"/../root/file"),
    (400, b"/./../secret"),
    (400, b"/././../secret"),
    (400, b"/.//../secret"),
    (400, b"/folder/../../secret"),
    (400, b"/folder/../.."),
    (400, b"/folder/deep/../../../secret"),
    (400, b"/folder/./.././../secret"),
    (400, b"/nothing/../../secret"),
    (400, b"/folder/../../root-other/secret"),
    (400, b"/file/../../secret"),
    (400, b"/folder/../../folder/secret"),
    (400, b"/folder/../../root/file"),
    (400, b"/a/b/c/d/../../../../../secret"),
    (400, b"/.well-known/../../secret"),
    // Dot segments that stay inside the root are resolved.
    (200, b"/folder/../file"),
    (200, b"/./file"),
    (200, b"/nothing/../file"),
    (200, b"/folder/deep/../../file"),
    (200, b"/file/../file"),
    (200, b"/folder/.."),
    (200, b"/folder/deep/../.."),
    (301, b"/folder/../folder"),
    (301, b"/folder/deep/../../folder"),
    (200, b"/folder/%2e%2e/file"),
    (200, b"/%2e/file"),
    // Encoded, in part and in whole, in either case.
    (400, b"/%2e%2e/secret"),
    (400, b"/%2E%2E/secret"),
    (400, b"/%2e%2E/secret"),
    (400, b"/%2E%2e/secret"),
    (400, b"/.%2e/secret"),
    (400, b"/.%2E/secret"),
    (400, b"/%2e./secret"),
    (400, b"/%2E./secret"),
    (400, b"/%2e%2e"),
    (400, b"/%2e%2e/"),
    (400, b"/%2e%2e/%2e%2e/secret"),
    (400, b"/folder/%2e%2e/%2e%2e/secret"),
    (400, b"/folder/.%2e/%2e./secret"),
    (400, b"/%2e/%2e%2e/secret"),
    (400, b"/%2e%2e/%73%65%63%72%65%74"),
    (400, b"/%2e%2e/%2e%2e/etc/passwd"),
    (400, b"/%66older/%2e%2e/%2e%2e/%73ecret"),
    // An encoded slash could be part of a name or a separator.
    (400, b"/%2e%2e%2fsecret"),
    (400, b"/%2E%2E%2Fsecret"),
    (400, b"/%2e%2e%2Fsecret"),
    (400, b"/..%2fsecret"),
    (400, b"/..%2Fsecret"),
    (400, b"/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
    (400, b"/folder/..%2f..%2fsecret"),
    (400, b"/folder%2f..%2f..%2fsecret"),
    (400, b"/folder%2ffile"),
    (400, b"/%2fetc/passwd"),
    (400, b"/%2Fetc%2Fpasswd"),
    (400, b"/%2f"),
    (400, b"/%2f%2f"),
    (400, b"/%2f..%2fsecret"),
    (400, b"/.%2f..%2fsecret"),
    (400, b"/..%2f"),
    (400, b"/%2f%2fevil.example"),
    // Encoded twice, and three times: decoded once, these are names with percent signs (RFC 3986
    // section 2.4).
    (404, b"/%252e%252e/secret"),
    (404, b"/%252E%252E/secret"),
    (404, b"/%252e%252e%252fsecret"),
    (404, b"/%252e%252e%252Fsecret"),
    (404, b"/..%252fsecret"),
    (404, b"/..%252Fsecret"),
    (404, b"/.%252e/secret"),
    (404, b"/%252e./secret"),
    (404, b"/folder/%252e%252e/%252e%252e/secret"),
    (404, b"/%25252e%25252e/secret"),
    (404, b"/%25252e%25252e%25252fsecret"),
    (404, b"/%25%32%65%25%32%65/secret"),
    (404, b"/%25%32%65%25%32%65%25%32%66secret"),
    (400, b"/%%32%65%%32%65/secret"),
    (400, b"/%%32e%%32e/secret"),
    (404, b"/..%255csecret"),
    (404, b"/..%25%35%63secret"),
    (404, b"/..%252500/secret"),
    // Invalid percent-encodings.
    (400, b"/%"),
    (400, b"/%2"),
    (400, b"/..%2"),
    (400, b"/%2e%2"),
    (400, b"/..%/secret"),
    (400, b"/..%2/secret"),
    (400, b"/..%2g/secret"),
    (400, b"/..%g2/secret"),
    (400, b"/..% 2f/secret"),
    (400, b"/..%-2f/secret"),
    (400, b"/..%c1%9/secret"),
    (400, b"/%u002e%u002e/secret"),
    (400, b"/%uff0e%uff0e/secret"),
    (400, b"/%u002e%u002e%u2215secret"),
    (400, b"/..%u2215secret"),
    (400, b"/..%u2216secret"),
    (400, b"/%x2e%x2e/secret"),
    (404, b"/\\x2e\\x2e/secret"),
    // Backslashes, which are not separators here.
    (404, b"/..\\secret"),
    (404, b"/..\\..\\etc\\passwd"),
    (404, b"/\\..\\secret"),
    (404, b"/folder\\..\\..\\secret"),
    (404, b"/folder\\file"),
    (404, b"/.\\..\\secret"),
    (404, b"/..\\/secret"),
    (404, b"/\\\\..\\secret"),
    (404, b"/..%5csecret"),
    (404, b"/..%5Csecret"),
    (404, b"/%2e%2e%5csecret"),
    (404, b"/%2E%2E%5Csecret"),
    (404, b"/..%5c..%5csecret"),
    (404, b"/%5c..%5c..%5csecret"),
    (404, b"/folder%5c..%5c..%5csecret"),
    (404, b"/..\\\\secret"),
    (404, b"/..%5c%5csecret"),
    (404, b"/\\\\localhost\\c$\\secret"),
    (404, b"/%5c%5clocalhost%5cc$%5csecret"),
    (400, b"\\..\\secret"),
    (400, b"..\\secret"),
    (400, b"\\secret"),
    (400, b"/folder\\../../../secret"),
    (301, b"/%5cevil.example"),
    (301, b"/\\evil.example"),
    (301, b"/.//%5Cevil.example"),
    // Overlong UTF-8 for a dot and for slashes (RFC 3629 section 3), and other encodings of them.
    (404, b"/%c0%ae%c0%ae/secret"),
    (404, b"/%C0%AE%C0%AE/secret"),
    (404, b"/%c0%ae%c0%ae%c0%afsecret"),
    (404, b"/..%c0%afsecret"),
    (404, b"/..%C0%AFsecret"),
    (404, b"/..%c1%9csecret"),
    (404, b"/..%c1%afsecret"),
    (404, b"/%c0%2e%c0%2e/secret"),
    (400, b"/..%c0%2fsecret"),
    (404, b"/%e0%80%ae%e0%80%ae/secret"),
    (404, b"/%e0%80%ae%e0%80%ae%e0%80%afsecret"),
    (404, b"/..%e0%80%afsecret"),
    (404, b"/..%e0%81%9csecret"),
    (404, b"/%f0%80%80%ae%f0%80%80%ae/secret"),
    (404, b"/..%f0%80%80%afsecret"),
    (404, b"/%f8%80%80%80%ae%f8%80%80%80%ae/secret"),
    (404, b"/..%fc%80%80%80%80%afsecret"),
    (404, b"/%c0%ae%c0%ae%5csecret"),
    (404, b"/.%c0%ae/secret"),
    (400, b"/..%00/secret"),
    (404, b"/..%c0%80/secret"),
    // Characters that look like dots and slashes, or become them by normalization (NFKC).
    (404, b"/%ef%bc%8e%ef%bc%8e/secret"),
    (404, b"/..%ef%bc%8fsecret"),
    (404, b"/..%ef%bc%bcsecret"),
    (404, b"/%e2%80%a5/secret"),
    (404, b"/%e2%80%a4%e2%80%a4/secret"),
    (404, b"/..%e2%88%95secret"),
    (404, b"/..%e2%81%84secret"),
    (404, b"/%e3%80%82%e3%80%82/secret"),
    (404, b"/..%e2%80%8b/secret"),
    (404, b"/.%e2%80%8b./secret"),
    (404, b"/%ef%bb%bf../secret"),
    (404, b"/%2e%cc%81%2e/secret"),
    (404, b"/..%c2%a0/secret"),
    (404, b"/..%cc%b8secret"),
    (404, b"/%fe%ff.."),
    (404, b"/\xef\xbc\x8e\xef\xbc\x8e/secret"),
    (404, b"/..\xef\xbc\x8fsecret"),
    (404, b"/\xc2\xb7\xc2\xb7/secret"),
    (404, b"/..\xe2\x88\x95secret"),
    // Unencoded bytes that are not UTF-8.
    (400, b"/\xc0\xae\xc0\xae/secret"),
    (400, b"/..\xc0\xafsecret"),
    (400, b"/\xe0\x80\xae\xe0\x80\xae/secret"),
    (400, b"/\xff\xfe/../secret"),
    (400, b"/..\x80/secret"),
    // NUL and other control characters, which end a name in some programs (RFC 3986 section 7.3).
    (400, b"/%00"),
    (400, b"/%00/../../secret"),
    (400, b"/%00../secret"),
    (400, b"/.%00./secret"),
    (400, b"/.%00."),
    (400, b"/../secret%00"),
    (400, b"/../secret%00.html"),
    (400, b"/file%00"),
    (400, b"/file%00.html"),
    (400, b"/file%00/../../secret"),
    (400, b"/folder%00/file"),
    (400, b"/..%09/secret"),
    (400, b"/..%0a/secret"),
    (400, b"/..%0d/secret"),
    (400, b"/..%0d%0a/secret"),
    (400, b"/file%0d%0aX-Injected:%201"),
    (400, b"/folder%0d%0aLocation:%20http:%2f%2fevil.example"),
    (400, b"/..%1b/secret"),
    (400, b"/..%7f/secret"),
    (400, b"/..\x00/secret"),
    (400, b"/..\x7f/secret"),
    (400, b"/..\t/secret"),
    // Parameters of a segment, which have no meaning here (RFC 3986 section 3.3).
    (404, b"/..;/secret"),
    (404, b"/..;/..;/secret"),
    (404, b"/..;a=b/secret"),
    (404, b"/folder/..;/..;/secret"),
    (404, b"/;/../..;/secret"),
    (404, b"/..%3b/secret"),
    (404, b"/..%3B/secret"),
    (404, b"/%2e%2e;/secret"),
    (404, b"/%2e%2e%3b/secret"),
    (404, b"/.;./secret"),
    (404, b"/.;/..;/secret"),
    (400, b"/;/../../secret"),
    (404, b"/..;%2e%2e/secret"),
    (404, b"/..,/secret"),
    (404, b"/..=/secret"),
    (404, b"/..:/secret"),
    (404, b"/..&/secret"),
    (404, b"/file;/secret"),
    // Dots and spaces at the end of a name, which some file systems drop, and more dots than two.
    (404, b"/.../secret"),
    (404, b"/..../secret"),
    (404, b"/....//secret"),
    (404, b"/....//....//secret"),
    (404, b"/....\\/....\\/secret"),
    (404, b"/..././secret"),
    (404, b"/.../...//secret"),
    (404, b"/.+./secret"),
    (404, b"/..+/secret"),
    (404, b"/..%20/secret"),
    (404, b"/%20../secret"),
    (404, b"/.%20./secret"),
    (404, b"/..%2e/secret"),
    (404, b"/%2e%2e%2e/secret"),
    (404, b"/..%20%20/secret"),
    (404, b"/..%20./secret"),
    (404, b"/file."),
    (404, b"/file.."),
    (404, b"/file%20"),
    (404, b"/file.%20."),
    (404, b"/file%2e"),
    (404, b"/folder./file"),
    (404, b"/folder%20/file"),
    (404, b"/.../.../file"),
    (404, b"/file/."),
    (404, b"/file/"),
    // Repeated slashes: empty segments are ignored.
    (400, b"//../secret"),
    (400, b"///../secret"),
    (400, b"////.."),
    (400, b"///.."),
    (400, b"//..//secret"),
    (400, b"/..//secret"),
    (400, b"/..///..///secret"),
    (404, b"//etc/passwd"),
    (404, b"///etc///passwd"),
    (404, b"////etc/passwd"),
    (400, b"/folder//..//..//secret"),
    (400, b"/folder/.//..///..//secret"),
    (400, b"//secret/../..//secret"),
    (200, b"//file"),
    (200, b"/folder//file"),
    (200, b"//folder/..//file"),
    (301, b"//folder"),
    (301, b"///folder"),
    (301, b"//evil.example"),
    (301, b"///evil.example"),
    (301, b"/.//evil.example"),
    (301, b"/folder/..//evil.example"),
    (200, b"//evil.example/.."),
    (200, b"//evil.example/%2e%2e"),
    (400, b"//evil.example/../.."),
    (301, b"//evil.example?//evil.example"),
    (404, b"//evil.example//"),
    (404, b"//127.0.0.1/"),
    // Absolute-form (RFC 9112 section 3.2.2): the same paths, after an authority.
    (400, b"http://test/../secret"),
    (400, b"http://test/.."),
    (400, b"http://test/../../secret"),
    (400, b"http://test/%2e%2e/secret"),
    (400, b"http://test/.%2e/secret"),
    (400, b"HTTP://TEST/%2E%2E/secret"),
    (400, b"http://test/folder/../../secret"),
    (400, b"http://test/..%2fsecret"),
    (404, b"http://test/..%5csecret"),
    (404, b"http://test/..\\secret"),
    (404, b"http://test/..;/secret"),
    (404, b"http://test//etc/passwd"),
    (400, b"http://test//../secret"),
    (404, b"http://test/%252e%252e/secret"),
    (400, b"http://test/file%00/../../secret"),
    (400, b"http://test/%2fetc/passwd"),
    (421, b"https://test/../secret"),
    (200, b"http://test/folder/../file"),
    (301, b"http://test//evil.example"),
    (301, b"http://evil.example/folder"),
    (200, b"http://test?/../secret"),
    (200, b"http://test"),
    // Invalid authorities (RFC 3986 section 3.2), and authorities that contain a path.
    (404, b"http://../secret"),
    (404, b"http://..:80/secret"),
    (404, b"http://%2e%2e/secret"),
    (400, b"http:///secret"),
    (400, b"http:///../secret"),
    (400, b"http://:80/secret"),
    (400, b"http://user@test/../secret"),
    (400, b"http://test@evil.example/file"),
    (400, b"http://test\\@evil.example/file"),
    (400, b"http://test\\..\\secret"),
    (400, b"http://test\\/../secret"),
    (400, b"http://test#@evil.example/../secret"),
    (400, b"http://test:80:80/file"),
    (400, b"http://test:../secret"),
    (400, b"http://[::1/../secret"),
    (400, b"http://[..]/secret"),
    (400, b"http://[::1]../secret"),
    (400, b"http:/../secret"),
    (400, b"http:../secret"),
    (400, b"http:\\\\test\\..\\secret"),
    (400, b"http:secret"),
    // By the grammar a host name, not a path.
    (200, b"http://test%2f..%2fsecret"),
    (400, b"http://te st/../secret"),
    // Other schemes, and targets with neither scheme nor slash.
    (400, b"file:///etc/passwd"),
    (400, b"file://localhost/etc/passwd"),
    (400, b"file:/etc/passwd"),
    (400, b"ftp://test/../secret"),
    (400, b"data:text/plain,secret"),
    (400, b"php://filter/resource=../secret"),
    (400, b"view-source:http://test/../secret"),
    (400, b"../secret"),
    (400, b".."),
    (400, b"."),
    (400, b"./file"),
    (400, b"secret"),
    (400, b"file"),
    (400, b"etc/passwd"),
    (400, b"~/secret"),
    (400, b"%2e%2e/secret"),
    (400, b"%2fetc%2fpasswd"),
    (400, b"?/../secret"),
    (400, b"*/../secret"),
    (400, b"#"),
    // Fragments, which are never sent (RFC 9112 section 3.2), and spaces.
    (400, b"/#"),
    (400, b"/#/../secret"),
    (400, b"/file#"),
    (400, b"/file#/../../secret"),
    (400, b"/..#/secret"),
    (404, b"/..%23/secret"),
    (404, b"/file%23"),
    (400, b"/.. /secret"),
    (400, b"/ ../secret"),
    (400, b"/file /../../secret"),
    (400, b"/../secret HTTP/1.1"),
    // The query is not part of the path (RFC 3986 section 3.4).
    (200, b"/?/../secret"),
    (200, b"/?../../secret"),
    (200, b"/?file=../secret"),
    (200, b"/file?/../../secret"),
    (200, b"/file?../../../etc/passwd"),
    (200, b"/folder/..?/../secret"),
    (404, b"/nothing?/../../secret"),
    (301, b"/folder?/../../secret"),
    (301, b"/folder?//evil.example"),
    (301, b"/folder?%2e%2e%2fsecret"),
    (400, b"/../?/../secret"),
    (400, b"/..?/secret"),
    (404, b"/..%3f/secret"),
    (404, b"/..%3F/../secret"),
    (400, b"/folder/../..?"),
    // Names with a meaning to Windows, to a shell or to a template.
    (404, b"/C:"),
    (404, b"/C:/"),
    (404, b"/C:/secret"),
    (404, b"/C:\\secret"),
    (404, b"/c:%5csecret"),
    (404, b"/C:../secret"),
    (400, b"/C:/../../secret"),
    (404, b"/\\\\%3f\\C:\\secret"),
    (404, b"/%5c%5c%3f%5cC:%5csecret"),
    (404, b"/%5c%5c.%5cC:%5csecret"),
    (404, b"/file::$DATA"),
    (404, b"/file:"),
    (404, b"/index.html::$INDEX_ALLOCATION"),
    (404, b"/folder:$i30:$INDEX_ALLOCATION/file"),
    (404, b"/folder::$INDEX_ALLOCATION/..%5csecret"),
    (404, b"/INDEX~1.HTM"),
    (404, b"/FOLDER~1/file"),
    (404, b"/ROOT-O~1/secret"),
    (404, b"/CON"),
    (404, b"/NUL"),
    (404, b"/nul.html"),
    (404, b"/aux/file"),
    (404, b"/FILE"),
    (404, b"/Folder/file"),
    (404, b"/~root/secret"),
    (404, b"/~/secret"),
    (404, b"/~"),
    (200, b"/~/../file"),
    (400, b"/~/../../secret"),
    (404, b"/$HOME/secret"),
    (404, b"/${HOME}/secret"),
    (404, b"/%24%7BPWD%7D/secret"),
    (404, b"/`pwd`/secret"),
    (404, b"/$(pwd)/secret"),
    (404, b"/*"),
    (404, b"/f*"),
    (404, b"/fil[e]"),
    (404, b"/{file,secret}"),
    (400, b"/*/../../secret"),
    (404, b"/|cat%20file"),
    (404, b"/-"),
    (404, b"/--root"),
    // Paths of the process and its descriptors, as if targets were absolute paths.
    (404, b"/proc/self/root"),
    (404, b"/proc/self/root/etc/passwd"),
    (404, b"/proc/self/cwd/Cargo.toml"),
    (404, b"/proc/self/environ"),
    (404, b"/proc/self/fd/3"),
    (404, b"/proc/self/fd/../environ"),
    (400, b"/proc/self/fd/3/../../../../../secret"),
    (404, b"/proc/1/root/etc/passwd"),
    (404, b"/proc/thread-self/root/etc/passwd"),
    (404, b"/dev/fd/0"),
    (404, b"/dev/fd/3"),
    (404, b"/dev/stdin"),
    (404, b"/dev/tty"),
    (404, b"/dev/null"),
    (404, b"/etc/passwd"),
    (404, b"/etc/passwd/"),
    (404, b"/sys/kernel/notes"),
    (404, b"/run/secrets"),
];

#[test]
fn path_traversal_targets_stay_inside_root() {
    let spellings: HashSet<&[u8]> = TARGETS.iter().map(|(_, target)| *target).collect();
    assert_eq!(spellings.len(), TARGETS.len(), "each occurs once");
    assert!(spellings.len() >= 200, "{} spellings", spellings.len());
    let outer = outer();
    for options in [&[][..], &["--hidden"], &["--symlinks", "follow"]] {
        check_statuses(&Server::with(&outer.join("root"), options), TARGETS);
    }
}

#[test]
fn path_traversal_targets_stay_inside_root_without_openat2() {
    let outer = outer();
    for error in ["ENOSYS", "EPERM"] {
        let Some(server) = Server::without_openat2(error, &outer.join("root"), &[]) else {
            return;
        };
        check_statuses(&server, TARGETS);
    }
}

#[test]
fn combined_path_traversal_spellings_stay_inside_root() {
    let outer = outer();
    let server = Server::start(&outer.join("root"));
    let ups = [
        "..",
        "%2e%2e",
        ".%2E",
        "%2e.",
        "..;",
        "%252e%252e",
        "..%00",
        "%c0%ae.",
    ];
    let slashes = [
        "/", "//", "/./", "%2f", "%252f", "\\", "%5C", "%c0%af", "/\\",
    ];
    for beginning in ["/", "//", "/folder/", "/file/", "http://test/", ""] {
        for (up, slash) in ups.iter().flat_map(|up| slashes.map(|slash| (up, slash))) {
            for depth in 1..4 {
                let climb = format!("{up}{slash}").repeat(depth);
                for destination in ["secret", "etc/passwd"] {
                    let target = format!("{beginning}{climb}{destination}");
                    let response = get_raw(&server, &target);
                    assert_inside(&response, &target);
                    assert_ne!(response.status(), "200 OK", "{target}");
                }
            }
        }
    }
}

#[test]
fn moved_root_is_served_while_its_path_is_dangling() {
    let outer = outer();
    symlink("root", outer.join("current")).expect("a directory");
    symlink(outer.join("root/file"), outer.join("root/absolute")).expect("a directory");
    let server = Server::start(&outer.join("current"));
    let mut client = server.connect();
    assert_eq!(client.get("/file").text(), "inside");
    fs::rename(outer.join("root"), outer.join("moved")).expect("a directory");
    assert_eq!(client.get("/file").text(), "inside");
    assert_eq!(client.get("/folder/file").text(), "inside");
    // Another directory now has the old path of the root.
    outer.write("root.new/file", SECRET);
    symlink("root.new", outer.join("root")).expect("a directory");
    fs::remove_file(outer.join("current")).expect("a link");
    assert_inside(&client.get("/absolute"), "a link to the old path");
}

#[test]
fn missing_and_overlong_names_are_404() {
    let outer = outer();
    let long = "x".repeat(256);
    let deep = "x/".repeat(5000);
    let targets = [
        "/nothing",
        "/file/",
        "/file/file",
        &format!("/{long}"),
        &format!("/{long}/"),
        &format!("/folder/{long}/file"),
        &format!("/{}", "x".repeat(10_000)),
        &format!("/{}", "%ff".repeat(300)),
        &format!("/{deep}"),
        &format!("/{deep}file"),
    ];
    let root = outer.join("root");
    let without = Server::without_openat2("ENOSYS", &root, &[]);
    for server in [Server::start(&root)].into_iter().chain(without) {
        check_not_found(&server, &targets);
        assert_eq!(server.get("/folder").status(), "301 Moved Permanently");
    }
}

/// Creates a special file.
fn make_special_file(path: &Path, kind: FileType, device: (u32, u32)) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, path, kind, mode, makedev(device.0, device.1))
}

/// Device numbers of Linux: null, zero, the terminal, one without driver, and a disk.
const DEVICES: [(&str, FileType, (u32, u32)); 5] = [
    ("/null", FileType::CharacterDevice, (1, 3)),
    ("/zero", FileType::CharacterDevice, (1, 5)),
    ("/terminal", FileType::CharacterDevice, (5, 0)),
    ("/nowhere", FileType::CharacterDevice, (250, 250)),
    ("/loop0", FileType::BlockDevice, (7, 0)),
];

#[test]
fn special_files_are_404() {
    let outer = outer();
    let root = outer.join("root");
    let mut targets = vec![
        "/fifo",
        "/fifo/",
        "/fifo/file",
        "/socket",
        "/socket/",
        "/folder/",
    ];
    make_special_file(&root.join("fifo"), FileType::Fifo, (0, 0)).expect("a directory");
    make_special_file(&root.join("folder/index.html"), FileType::Fifo, (0, 0))
        .expect("a directory");
    let _listener = UnixListener::bind(root.join("socket")).expect("a directory");
    for (target, kind, device) in DEVICES {
        match make_special_file(&root.join(&target[1..]), kind, device) {
            Ok(()) => targets.push(target),
            Err(error) => eprintln!("SKIPPED: {target} cannot be made here: {error}"),
        }
    }
    // The same through symbolic links.
    for to in ["fifo", "socket", "null"] {
        symlink(to, root.join(format!("link-to-{to}"))).expect("a directory");
    }
    targets.extend(["/link-to-fifo", "/link-to-socket", "/link-to-null"]);
    let server = Server::start(&root);
    check_not_found(&server, &targets);
    // The index and the 404 page are FIFOs.
    make_special_file(&root.join("404.html"), FileType::Fifo, (0, 0)).expect("a directory");
    check_not_found(&server, &targets);
    check_not_found(&server, &["/nothing"]);
    for error in ["ENOSYS", "EPERM"] {
        if let Some(server) = Server::without_openat2(error, &root, &[]) {
            check_not_found(&server, &targets);
        }
    }
}

#[test]
fn fifo_is_not_opened_for_reading() {
    let outer = outer();
    let root = outer.join("root");
    let fifo = root.join("fifo");
    make_special_file(&fifo, FileType::Fifo, (0, 0)).expect("a directory");
    symlink("fifo", root.join("link")).expect("a directory");
    let server = Server::start(&root);
    let (sender, receiver) = channel();
    let writer = fifo.clone();
    let writer = thread::spawn(move || {
        let task = fs::read_link("/proc/thread-self").expect("proc");
        sender.send(task).expect("the receiver exists");
        // This open(2) blocks until there is a reader, however briefly (fifo(7)).
        let opened = fs::File::options().write(true).open(writer);
        sender.send("opened".into()).expect("the receiver exists");
        opened
    });
    let task = receiver.recv().expect("the thread started");
    let stat = Path::new("/proc").join(task).join("stat");
    eventually("the thread is blocked", || {
        let stat = fs::read_to_string(&stat).expect("proc");
        stat.contains(") S ").then_some(())
    });
    for target in ["/fifo", "/fifo/", "/link", "/fifo?query", "/./fifo"] {
        check_not_found(&server, &[target]);
        let head = format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut client = server.connect();
        client.send(head);
        assert_eq!(client.response_to_head().status(), "404 Not Found");
    }
    // Time in which the FIFO must not be opened.
    let received = receiver.recv_timeout(Duration::from_millis(100));
    assert_eq!(
        received,
        Err(RecvTimeoutError::Timeout),
        "the server opened it"
    );
    let _reader = fs::File::open(&fifo).expect("a writer waits");
    writer
        .join()
        .expect("no panic")
        .expect("there was a reader");
}

/// Returns whether there was an open event since the last call.
fn was_opened(watch: &OwnedFd) -> bool {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(watch.as_fd(), &mut buffer);
    let mut opened = false;
    while let Ok(event) = reader.next() {
        opened |= event.events().contains(ReadFlags::OPEN);
    }
    opened
}

#[test]
fn special_files_are_not_opened() {
    let outer = outer();
    let root = outer.join("root");
    make_special_file(&root.join("fifo"), FileType::Fifo, (0, 0)).expect("a directory");
    let mut names = vec!["fifo"];
    for (target, kind, device) in DEVICES {
        match make_special_file(&root.join(&target[1..]), kind, device) {
            Ok(()) => names.push(&target[1..]),
            Err(error) => eprintln!("SKIPPED: {target} cannot be made here: {error}"),
        }
    }
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify(7)");
    for name in &names {
        inotify::add_watch(&watch, root.join(name), WatchFlags::OPEN).expect("inotify(7)");
    }
    // O_PATH does not open the file (open(2)), but kernels before 6.10 report an open event.
    let path = OFlags::PATH | OFlags::CLOEXEC;
    openat(CWD, root.join("fifo"), path, Mode::empty()).expect("a directory");
    if was_opened(&watch) {
        eprintln!("SKIPPED: this kernel reports O_PATH as an open");
        return;
    }
    let mut servers = vec![Server::start(&root)];
    servers.extend(Server::without_openat2("ENOSYS", &root, &[]));
    for server in servers {
        for name in &names {
            let target = format!("/{name}");
            assert_eq!(server.get(&target).status(), "404 Not Found", "{target}");
            assert_eq!(server.get(&format!("/{name}/")).status(), "404 Not Found");
        }
        assert!(!was_opened(&watch), "one of {names:?} was opened");
        // The same watch on a file shows that an open is detected.
        inotify::add_watch(&watch, root.join("file"), WatchFlags::OPEN).expect("inotify(7)");
        assert_eq!(server.get("/file").text(), "inside");
        assert!(was_opened(&watch), "the open of a file is detected");
    }
}

#[test]
fn unreadable_file_or_directory_is_403() {
    let outer = outer();
    let Some(wrapper) = unprivileged_wrapper(outer.path()) else {
        return;
    };
    let root = outer.join("root");
    for path in [
        "unreadable",
        "through/file",
        "closed/file",
        "shut/index.html",
        "page/index.html",
    ] {
        outer.write(Path::new("root").join(path), "inside");
    }
    for (link, to) in [
        ("to-unreadable", "unreadable"),
        ("to-closed", "closed/file"),
    ] {
        symlink(to, root.join(link)).expect("a directory");
    }
    let set = |path: &str, mode| {
        let permissions = Permissions::from_mode(mode);
        fs::set_permissions(outer.join(path), permissions).expect("a directory");
    };
    for (path, mode) in [
        ("root/unreadable", 0o000),
        ("root/page/index.html", 0o200),
        // A directory that can be searched and not read, one that can be read and not searched, and one with neither.
        ("root/through", 0o311),
        ("root/closed", 0o644),
        ("root/shut", 0o000),
    ] {
        set(path, mode);
    }
    let server = Server::start_under(&wrapper, &root, &[]);
    check_statuses(
        &server,
        &[
            (403, b"/unreadable"),
            (403, b"/to-unreadable"),
            (403, b"/page/"),
            (404, b"/unreadable/"),
            (200, b"/through/file"),
            (301, b"/through"),
            (404, b"/through/"),
            (403, b"/closed/file"),
            (403, b"/to-closed"),
            (403, b"/closed/nothing"),
            (403, b"/closed/"),
            (301, b"/closed"),
            (403, b"/shut/"),
            (301, b"/shut"),
        ],
    );
}

#[test]
fn mounts_inside_root_are_served_and_confined() {
    let outer = outer();
    let root = outer.join("root");
    outer.write("elsewhere/file", "inside");
    outer.write("elsewhere/secret", SECRET);
    outer.write("elsewhere/shown/file", "inside");
    for directory in ["memory", "bound"] {
        fs::create_dir(root.join(directory)).expect("a directory");
    }
    outer.write("root/single", "covered by the mount");
    let shown = outer.join("elsewhere/shown");
    for (link, to) in [
        ("up", Path::new("..")),
        ("up-twice", Path::new("../..")),
        ("secret", Path::new("../secret")),
        ("absolute", &outer.join("elsewhere/secret")),
    ] {
        symlink(to, shown.join(link)).expect("a directory");
    }
    // In a mount namespace (mount_namespaces(7)), which ends with the server.
    let script = "set -e; cd \"$1\"; shift
        mount -t tmpfs none root/memory
        printf inside >root/memory/file; ln -s ../../secret root/memory/out; ln -s .. root/memory/up
        mount --bind elsewhere/shown root/bound
        mount --bind elsewhere/file root/single
        exec \"$@\"";
    let directory = outer.path().to_str().expect("a name in ASCII");
    let mut wrapper = vec!["unshare", "--mount"];
    if !rustix::process::geteuid().is_root() {
        wrapper.push("--map-root-user");
    }
    wrapper.extend(["sh", "-c", script, "sh", directory]);
    let tried = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: cannot mount here: {tried:?}");
        return;
    }
    check_statuses(
        &Server::start_under(&wrapper, &root, &[]),
        &[
            // Mounts are made by the administrator, so their files are served.
            (200, b"/memory/file"),
            (301, b"/memory"),
            (200, b"/bound/file"),
            (301, b"/bound"),
            (200, b"/single"),
            (200, b"/bound/../file"),
            // `..` of a mount is the directory of its mount point, not of its source.
            (200, b"/bound/up/file"),
            (200, b"/memory/up/file"),
            (404, b"/bound/up/secret"),
            (404, b"/bound/secret"),
            (403, b"/bound/up-twice/secret"),
            (403, b"/bound/absolute"),
            (403, b"/memory/out"),
            (400, b"/bound/../../secret"),
            (400, b"/memory/../../secret"),
        ],
    );
}

const HIDDEN: [&str; 9] = [
    ".env",
    "..data",
    ".git/config",
    "folder/.env",
    "folder/.git/config",
    "folder/.well-known/file",
    ".well-known/.env",
    ".well-known/.secret/file",
    ".well-known.bak",
];

const NOT_HIDDEN: [&str; 5] = [
    ".well-known/security.txt",
    ".well-known/acme-challenge/token",
    "a.b",
    "a.",
    "folder/a..b",
];

fn root_with_hidden_files() -> Root {
    let root = Root::of(&[("file", "inside")]);
    for path in HIDDEN.iter().chain(&NOT_HIDDEN) {
        root.write(path, path);
    }
    root.write(".git/index.html", "index");
    root.write("...", "three dots");
    root
}

#[test]
fn hidden_files_are_404() {
    let root = root_with_hidden_files();
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
        // The existence of a directory is not revealed either.
        "/.git",
        "/.git/",
        "/folder/.git",
        "/.git/nothing",
        "/.nothing",
        "/...",
        "/.Well-Known/security.txt",
    ];
    let (page, part) = (
        server.get("/nothing").content,
        server.get("/nothing.x").content,
    );
    for target in hidden.iter().map(String::as_str).chain(spelled) {
        let response = server.get(target);
        assert_eq!(response.status(), "404 Not Found", "{target}");
        // A missing name with an extension may be a subresource of a page, and gets the plain text response.
        let name = target.rsplit('/').next().unwrap_or_default();
        let has_extension = Path::new(name).extension().is_some_and(|it| !it.is_empty());
        let expected = if has_extension { &part } else { &page };
        assert!(response.content == *expected, "{target}");
    }
    // RFC 8615.
    for path in NOT_HIDDEN {
        assert_eq!(server.get(&format!("/{path}")).text(), path);
    }
}

#[test]
fn hidden_option_serves_hidden_files() {
    let root = root_with_hidden_files();
    let server = Server::with(root.path(), &["--hidden"]);
    for path in HIDDEN.iter().chain(&NOT_HIDDEN) {
        assert_eq!(server.get(&format!("/{path}")).text(), *path);
    }
    assert_eq!(server.get("/.git/").text(), "index");
    assert_eq!(server.get("/.git").field("Location"), Some("/.git/"));
    assert_eq!(server.get("/...").text(), "three dots");
    // Dot segments are still not names.
    for target in ["/..", "/.git/../..", "/%2e%2e/"] {
        assert_eq!(server.get(target).status(), "400 Bad Request", "{target}");
    }
}
