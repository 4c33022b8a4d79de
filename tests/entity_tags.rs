//! Entity tags of `--etag content`: replicas of a release, deployed at different times, send the same tags.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::encoding::encoded_to;
use crate::support::{
    Client, Response, Root, Server, eventually, pseudorandom_bytes, set_modified, since_epoch,
};
use twox_hash::XxHash3_128;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Length in bytes of a file that cannot be read to its end during a test.
const HUGE_LEN: u64 = 256 * 1024 * 1024 * 1024;

/// Options that turn on content tags.
const ETAG_CONTENT: &[&str] = &["--etag", "content"];

/// Names and lengths: in memory, copied to memory, sent from disk, and sparse.
const FILES: [(&str, usize); 6] = [
    ("small", 10 * KIB),
    ("in-memory", 64 * KIB),
    ("middle", 100 * KIB),
    ("copied", MIB),
    ("large", 5 * MIB),
    ("sparse", 40 * MIB),
];

fn content(name: &str, len: usize) -> Vec<u8> {
    match name {
        "sparse" => [
            pseudorandom_bytes(KIB),
            vec![0; len - 2 * KIB],
            pseudorandom_bytes(KIB),
        ]
        .concat(),
        _ => pseudorandom_bytes(len),
    }
}

/// Writes a file; the zeros of the sparse one take no disk space.
fn write(root: &Root, name: &str, content: &[u8]) {
    let file = File::create(root.join(name)).expect("the test owns this file");
    file.set_len(content.len() as u64).expect("disk space");
    let last = content.len() - KIB;
    let pieces = match name {
        "sparse" => &[(0, KIB), (last, KIB)][..],
        _ => &[(0, content.len())],
    };
    for &(offset, len) in pieces {
        let piece = &content[offset..][..len];
        file.write_all_at(piece, offset as u64).expect("disk space");
    }
}

/// Creates two copies of a site with different dates and inodes.
fn copies() -> [Root; 2] {
    let roots = [Root::new(), Root::new()];
    for (name, len) in FILES {
        let content = content(name, len);
        for root in &roots {
            write(root, name, &content);
        }
        set_modified(&roots[1].join(name), since_epoch(1_000_000_000));
    }
    roots
}

fn tag(response: &Response) -> Option<String> {
    response.field("ETag").map(str::to_owned)
}

/// Waits until the target has a tag and returns it, without requesting content.
fn wait_for_tag(client: &mut Client, target: &str, fields: &str) -> String {
    eventually("the target has a tag", || {
        tag(&client.request("HEAD", target, fields))
    })
}

/// Returns the tag of this content.
fn content_tag(content: &[u8]) -> String {
    format!("\"{:032x}\"", XxHash3_128::oneshot(content))
}

#[test]
fn replicas_accept_each_others_tags() {
    let roots = copies();
    let servers = roots
        .each_ref()
        .map(|root| Server::with(root.path(), ETAG_CONTENT));
    let mut clients = servers.each_ref().map(Server::connect);
    for (name, len) in FILES {
        let (target, content) = (format!("/{name}"), content(name, len));
        let tags = clients
            .each_mut()
            .map(|client| wait_for_tag(client, &target, ""));
        assert_eq!(
            tags,
            [content_tag(&content), content_tag(&content)],
            "{name}"
        );
        for (client, tag) in clients.iter_mut().rev().zip(&tags) {
            let fields = format!("If-None-Match: {tag}\r\n");
            let response = client.request("GET", &target, &fields);
            assert_eq!(response.status(), "304 Not Modified", "{name}");
            let fields = format!("If-Match: {tag}\r\n");
            let response = client.request("HEAD", &target, &fields);
            assert_eq!(response.status(), "200 OK", "{name}");
        }
        // A download that ends early and is resumed from the other replica. (Of the largest file, only the end.)
        let start = len.saturating_sub(5 * MIB);
        for (first, second, end) in [(0, 1, start + (len - start) / 3), (1, 0, len - KIB)] {
            let fields = format!("Range: bytes={start}-{}\r\n", end - 1);
            let start_part = clients[first].request("GET", &target, &fields);
            let tag = tag(&start_part).expect("a tag");
            let fields = format!("Range: bytes={end}-\r\nIf-Range: {tag}\r\n");
            let rest = clients[second].request("GET", &target, &fields);
            assert_eq!(rest.status(), "206 Partial Content", "{name} from {end}");
            let whole = [start_part.content, rest.content].concat();
            assert!(whole == content[start..], "{name} from {end}");
        }
    }
}

/// Shows that the other tests depend on `--etag content`.
#[test]
fn default_tags_of_large_files_differ_between_replicas() {
    let roots = copies();
    let servers = roots.each_ref().map(|root| Server::start(root.path()));
    let mut clients = servers.each_ref().map(Server::connect);
    for (name, len) in FILES {
        let tags = clients
            .each_mut()
            .map(|client| wait_for_tag(client, &format!("/{name}"), ""));
        assert_eq!(tags[0] == tags[1], len <= 64 * KIB, "{name}");
    }
    for server in &servers {
        assert_eq!(threads(server, "digests"), 0);
    }
}

/// Returns the number of the server's threads with this name.
fn threads(server: &Server, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|it| it.trim() == name).count()
}

#[test]
fn changed_content_changes_tag_and_restored_content_restores_it() {
    for (name, len) in [("middle", 100 * KIB), ("large", 3 * MIB)] {
        let (target, first) = (format!("/{name}"), pseudorandom_bytes(len));
        let root = Root::new();
        root.write(name, &first);
        let server = Server::with(root.path(), &["--etag", "content", "-w", "2"]);
        let mut clients = [server.connect(), server.connect(), server.connect()];
        let mut other = first.clone();
        other[len / 2] ^= 1;
        let mut current = &first;
        for round in 0..4 {
            for client in &mut clients {
                assert_eq!(
                    wait_for_tag(client, &target, ""),
                    content_tag(current),
                    "{name}, {round}"
                );
            }
            let previous_tag = format!("If-None-Match: {}\r\n", content_tag(current));
            current = if *current == first { &other } else { &first };
            match round {
                0 | 1 => root.write(name, current),
                _ => {
                    root.write("new", current);
                    fs::rename(root.join("new"), root.join(name)).expect("the test owns this file");
                }
            }
            for client in &mut clients {
                let response = client.request("GET", &target, &previous_tag);
                assert_eq!(response.status(), "200 OK", "{name}, {round}");
                assert!(response.content == *current, "{name}, {round}");
                assert!(
                    tag(&response).is_none_or(|tag| tag == content_tag(current)),
                    "{response:?}"
                );
            }
        }
    }
}

#[test]
fn metadata_change_keeps_tag_of_large_file() {
    let root = Root::new();
    root.write("large", pseudorandom_bytes(5 * MIB));
    let server = Server::with(root.path(), ETAG_CONTENT);
    let mut client = server.connect();
    let first = wait_for_tag(&mut client, "/large", "");
    set_modified(&root.join("large"), since_epoch(1_000_000_000));
    assert_eq!(wait_for_tag(&mut client, "/large", ""), first);
    fs::rename(root.join("large"), root.join("other")).expect("the test owns this file");
    assert_eq!(wait_for_tag(&mut client, "/other", ""), first);
}

#[test]
fn response_is_immediate_and_untagged_until_digest_is_ready() {
    let root = Root::of(&[("index.html", "<p>hello")]);
    root.write("large", pseudorandom_bytes(5 * MIB));
    for name in ["huge", "other"] {
        let file = File::create(root.join(name)).expect("the test owns this file");
        file.set_len(HUGE_LEN)
            .expect("a sparse file takes no space");
    }
    let server = Server::with(root.path(), &["--etag", "content", "-w", "1"]);
    let mut client = server.connect();
    // Hashing begins once the file has settled, and does not end during the test.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        for target in ["/huge", "/other"] {
            for fields in [
                "",
                "If-None-Match: \"00000000000000000000000000000000\"\r\n",
            ] {
                let response = client.request("HEAD", target, fields);
                assert_eq!(response.status(), "200 OK");
                assert_eq!(tag(&response), None);
                assert_eq!(response.field("Accept-Ranges"), Some("bytes"));
            }
            let fields = "Range: bytes=0-9\r\n";
            let part = client.request("GET", target, fields);
            assert_eq!(part.content, [0; 10]);
            assert_eq!(tag(&part), None);
            // No tag of the file exists yet, so If-Range never matches.
            let fields = format!("{fields}If-Range: \"{:032x}\"\r\n", 1);
            let mut whole = server.connect();
            whole.send(format!(
                "GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
            ));
            assert_eq!(whole.response_to_head().status(), "200 OK");
        }
        assert_eq!(client.get("/").content, b"<p>hello");
    }
    // Other files are hashed meanwhile.
    assert_eq!(
        wait_for_tag(&mut client, "/large", ""),
        content_tag(&pseudorandom_bytes(5 * MIB))
    );
    assert_eq!(tag(&client.request("HEAD", "/huge", "")), None);
}

#[test]
fn tag_matches_content_while_file_is_replaced() {
    const LEN: usize = 5 * MIB / 2;
    // Offsets at which versions differ, in the order in which they are written.
    const OFFSETS: [usize; 3] = [0, LEN / 2, LEN - 8];
    let base = pseudorandom_bytes(LEN);
    let state = |numbers: [usize; 3]| {
        let mut content = base.clone();
        for (offset, number) in OFFSETS.into_iter().zip(numbers) {
            content[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        }
        content
    };
    let version = |number: usize| state([number; 3]);
    let root = Root::new();
    root.write("file", version(0));
    let server = Server::with(root.path(), &["--etag", "content", "-w", "2"]);
    let address = server.address;
    let is_done = AtomicBool::new(false);
    let (complete_count, part_count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait_for_increase = |count: &AtomicUsize| {
        let before = count.load(Ordering::Relaxed);
        eventually("the count grows", || {
            (count.load(Ordering::Relaxed) > before).then_some(())
        });
    };
    // A complete response is a state that the file has had: a version, or, for a moment, the next version up to an
    // offset and the previous one from there. A tag is that of the content that it is sent with.
    let check = |whole: &Response| {
        let numbers = OFFSETS.map(|offset| {
            let number = &whole.content[offset..offset + 8];
            usize::from_le_bytes(number.try_into().expect("eight"))
        });
        let [first, _, last] = numbers;
        let is_state = numbers.is_sorted_by(|a, b| a >= b) && first - last <= 1;
        let is_mixed = !is_state || whole.content != state(numbers);
        assert!(!is_mixed, "a mix of versions, {numbers:?}");
        let tag = tag(whole);
        let tag_matches = tag.is_none() || tag == Some(content_tag(&whole.content));
        assert!(tag_matches, "{numbers:?}: {tag:?}");
        tag
    };
    let request_repeatedly = || {
        let mut client = Client::connect(address);
        while !is_done.load(Ordering::Relaxed) {
            let Some(whole) = client.try_request("GET /file HTTP/1.1\r\nHost: test\r\n\r\n") else {
                client = Client::connect(address);
                continue;
            };
            let Some(tag) = check(&whole) else {
                continue;
            };
            complete_count.fetch_add(1, Ordering::Relaxed);
            let offset = LEN / 3;
            let ask = format!(
                "GET /file HTTP/1.1\r\nHost: test\r\nRange: bytes={offset}-\r\nIf-Range: {tag}\r\n\r\n"
            );
            match client.try_request(ask) {
                None => client = Client::connect(address),
                Some(rest) if rest.status().starts_with("206") => {
                    part_count.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(self::tag(&rest).as_deref(), Some(&*tag));
                    assert!(rest.content == whole.content[offset..]);
                }
                Some(rest) => assert_ne!(check(&rest).as_deref(), Some(&*tag)),
            }
        }
    };
    thread::scope(|scope| {
        let clients = [
            scope.spawn(request_repeatedly),
            scope.spawn(request_repeatedly),
        ];
        let mut client = server.connect();
        for number in 1..=13 {
            let content = version(number);
            let path = root.join("file");
            let before = fs::metadata(&path).and_then(|file| file.modified());
            match number % 3 {
                0 => {
                    root.write("new", &content);
                    fs::rename(root.join("new"), &path).expect("the test owns this file");
                }
                turn => {
                    let file = File::options().write(true).open(&path);
                    let file = file.expect("the test owns this file");
                    for offset in OFFSETS {
                        let word = &content[offset..offset + 8];
                        file.write_all_at(word, offset as u64).expect("disk space");
                    }
                    if turn == 1 {
                        let put = before.and_then(|before| file.set_modified(before));
                        put.expect("the test owns this file");
                    }
                }
            }
            // Some versions are replaced after their tag is known, some before they have settled, some while they are
            // hashed.
            match number % 4 {
                0..3 => assert_eq!(
                    wait_for_tag(&mut client, "/file", ""),
                    content_tag(&content)
                ),
                _ => thread::sleep(Duration::from_millis(number as u64 * 4 % 50)),
            }
        }
        wait_for_increase(&complete_count);
        wait_for_increase(&part_count);
        is_done.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no assertion failed");
        }
    });
}

#[test]
fn changes_within_one_clock_tick_never_share_a_tag() {
    let root = Root::new();
    let mut content = pseudorandom_bytes(100 * KIB);
    root.write("file", &content);
    let server = Server::with(root.path(), ETAG_CONTENT);
    let mut client = server.connect();
    let file = File::options().write(true).open(root.join("file"));
    let file = file.expect("the test owns this file");
    for number in 0..400_usize {
        content[KIB..KIB + 8].copy_from_slice(&number.to_le_bytes());
        file.write_all_at(&content, 0).expect("disk space");
        let response = client.get("/file");
        assert!(response.content == content, "{number}");
        let tag = tag(&response);
        assert!(
            tag.is_none_or(|tag| tag == content_tag(&content)),
            "{number}"
        );
    }
    assert_eq!(
        wait_for_tag(&mut client, "/file", ""),
        content_tag(&content)
    );
}

#[test]
fn encoded_representations_have_same_tags_on_replicas() {
    let line = "const line = \"text that repeats itself\";\n";
    let roots = [Root::new(), Root::new()];
    for root in &roots {
        root.write("encoded.js", line.repeat(5000));
        root.write("sidecar.js", line.repeat(5000));
        for (coding, suffix) in [("br", "br"), ("gzip", "gz"), ("zstd", "zst")] {
            let content = line.repeat(5000);
            let sidecar = encoded_to(coding, content.as_bytes(), 100 * KIB);
            root.write(format!("sidecar.js.{suffix}"), sidecar);
        }
        set_modified(&root.join("sidecar.js"), since_epoch(1_000_000_000));
    }
    let options = ["--etag", "content", "--compress"];
    let servers = roots
        .each_ref()
        .map(|root| Server::with(root.path(), &options));
    for target in ["/encoded.js", "/sidecar.js"] {
        let mut seen = vec![];
        for coding in ["gzip", "zstd", "br", "identity"] {
            let [one, other] = servers.each_ref().map(|server| {
                let fields = format!("Accept-Encoding: {coding}\r\n");
                let mut client = server.connect();
                eventually("the response has this coding and a tag", || {
                    let response = client.request("GET", target, &fields);
                    let found = response.field("Content-Encoding").unwrap_or("identity");
                    (found == coding && tag(&response).is_some()).then_some(response)
                })
            });
            assert!(one.content == other.content, "{target}, {coding}");
            let expected = Some(content_tag(&one.content));
            assert_eq!(
                [tag(&one), tag(&other)],
                [expected.clone(), expected.clone()]
            );
            assert!(!seen.contains(&expected), "{target}, {coding}");
            seen.push(expected);
        }
    }
}
