//! Replicas of a release that came to be at different times say the same of it: tags, and all that rests on them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Client, Response, Root, Server, eventually, filling};
use twox_hash::XxHash3_128;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Longer than can be read while a test lasts.
const ENDLESS: u64 = 256 * 1024 * 1024 * 1024;

const CONTENT: &[&str] = &["--etag", "content"];

/// In memory; copied there; sent from disk; and one that is mostly nothing.
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
        "sparse" => [filling(KIB), vec![0; len - 2 * KIB], filling(KIB)].concat(),
        _ => filling(len),
    }
}

/// Writes a file, in which what is nothing takes no room.
fn write(root: &Root, name: &str, content: &[u8]) {
    let file = File::create(root.join(name)).expect("a file of ours");
    file.set_len(content.len() as u64).expect("room");
    let last = content.len() - KIB;
    let pieces = match name {
        "sparse" => &[(0, KIB), (last, KIB)][..],
        _ => &[(0, content.len())],
    };
    for &(offset, len) in pieces {
        let piece = &content[offset..][..len];
        file.write_all_at(piece, offset as u64).expect("room");
    }
}

/// Two copies of a site, by other dates and other inodes.
fn copies() -> [Root; 2] {
    let roots = [Root::new(), Root::new()];
    for (name, len) in FILES {
        let content = content(name, len);
        for root in &roots {
            write(root, name, &content);
        }
        date(&roots[1].join(name), 1_000_000_000);
    }
    roots
}

fn date(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.and_then(|file| file.set_modified(time))
        .expect("a file of ours");
}

fn tag(response: &Response) -> Option<String> {
    response.field("ETag").map(str::to_owned)
}

/// The tag of something, as soon as there is one. Content is not waited for.
fn known(client: &mut Client, target: &str, fields: &str) -> String {
    eventually("it has a tag", || {
        tag(&client.request("HEAD", target, fields))
    })
}

/// The tag that content has.
fn of(content: &[u8]) -> String {
    format!("\"{:032x}\"", XxHash3_128::oneshot(content))
}

#[test]
fn what_one_replica_says_of_a_file_the_other_understands() {
    let roots = copies();
    let servers = roots
        .each_ref()
        .map(|root| Server::with(root.path(), CONTENT));
    let mut clients = servers.each_ref().map(Server::connect);
    for (name, len) in FILES {
        let (target, content) = (format!("/{name}"), content(name, len));
        let tags = clients.each_mut().map(|client| known(client, &target, ""));
        assert_eq!(tags, [of(&content), of(&content)], "{name}");
        for (client, tag) in clients.iter_mut().rev().zip(&tags) {
            let fields = format!("If-None-Match: {tag}\r\n");
            let response = client.request("GET", &target, &fields);
            assert_eq!(response.status(), "304 Not Modified", "{name}");
            let fields = format!("If-Match: {tag}\r\n");
            let response = client.request("HEAD", &target, &fields);
            assert_eq!(response.status(), "200 OK", "{name}");
        }
        // A download that is cut off, and resumed from the other one. (Of the largest, only the end.)
        let start = len.saturating_sub(5 * MIB);
        for (first, second, end) in [(0, 1, start + (len - start) / 3), (1, 0, len - KIB)] {
            let fields = format!("Range: bytes={start}-{}\r\n", end - 1);
            let begun = clients[first].request("GET", &target, &fields);
            let tag = tag(&begun).expect("it is known");
            let fields = format!("Range: bytes={end}-\r\nIf-Range: {tag}\r\n");
            let rest = clients[second].request("GET", &target, &fields);
            assert_eq!(rest.status(), "206 Partial Content", "{name} from {end}");
            let whole = [begun.content, rest.content].concat();
            assert!(whole == content[start..], "{name} from {end}");
        }
    }
}

/// So that the others are known to be about something.
#[test]
fn unless_it_is_asked_for_only_small_files_have_the_same_tag_everywhere() {
    let roots = copies();
    let servers = roots.each_ref().map(|root| Server::start(root.path()));
    let mut clients = servers.each_ref().map(Server::connect);
    for (name, len) in FILES {
        let tags = clients
            .each_mut()
            .map(|client| known(client, &format!("/{name}"), ""));
        assert_eq!(tags[0] == tags[1], len <= 64 * KIB, "{name}");
    }
    for server in &servers {
        assert_eq!(threads(server, "digests"), 0);
    }
}

/// How many threads of a server are called so.
fn threads(server: &Server, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|it| it.trim() == name).count()
}

#[test]
fn a_change_is_another_tag_at_once_and_what_is_put_back_has_its_own_again() {
    for (name, len) in [("middle", 100 * KIB), ("large", 3 * MIB)] {
        let (target, first) = (format!("/{name}"), filling(len));
        let root = Root::new();
        root.write(name, &first);
        let server = Server::with(root.path(), &["--etag", "content", "-w", "2"]);
        let mut clients = [server.connect(), server.connect(), server.connect()];
        let mut other = first.clone();
        other[len / 2] ^= 1;
        let mut now = &first;
        for round in 0..4 {
            for client in &mut clients {
                assert_eq!(known(client, &target, ""), of(now), "{name}, {round}");
            }
            let had = format!("If-None-Match: {}\r\n", of(now));
            now = if *now == first { &other } else { &first };
            match round {
                0 | 1 => root.write(name, now),
                _ => {
                    root.write("place", now);
                    fs::rename(root.join("place"), root.join(name)).expect("a file of ours");
                }
            }
            for client in &mut clients {
                let response = client.request("GET", &target, &had);
                assert_eq!(response.status(), "200 OK", "{name}, {round}");
                assert!(response.content == *now, "{name}, {round}");
                assert!(
                    tag(&response).is_none_or(|tag| tag == of(now)),
                    "{response:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_done_to_a_large_file_but_not_to_its_bytes_leaves_its_tag() {
    let root = Root::new();
    root.write("large", filling(5 * MIB));
    let server = Server::with(root.path(), CONTENT);
    let mut client = server.connect();
    let first = known(&mut client, "/large", "");
    date(&root.join("large"), 1_000_000_000);
    assert_eq!(known(&mut client, "/large", ""), first);
    fs::rename(root.join("large"), root.join("other")).expect("a file of ours");
    assert_eq!(known(&mut client, "/other", ""), first);
}

#[test]
fn before_the_content_is_known_there_is_no_tag_and_nobody_waits() {
    let root = Root::of(&[("index.html", "<p>hello")]);
    root.write("large", filling(5 * MIB));
    for name in ["endless", "other"] {
        let file = File::create(root.join(name)).expect("a file of ours");
        file.set_len(ENDLESS).expect("nothing takes no room");
    }
    let server = Server::with(root.path(), &["--etag", "content", "-w", "1"]);
    let mut client = server.connect();
    // Until it has settled nothing is begun; afterwards nothing comes to an end.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        for target in ["/endless", "/other"] {
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
            // Nobody can have a tag of it.
            let fields = format!("{fields}If-Range: \"{:032x}\"\r\n", 1);
            let mut cut = server.connect();
            cut.send(format!(
                "GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
            ));
            assert_eq!(cut.response_to_head().status(), "200 OK");
        }
        assert_eq!(client.get("/").content, b"<p>hello");
    }
    // Others do not wait for their ends.
    assert_eq!(known(&mut client, "/large", ""), of(&filling(5 * MIB)));
    assert_eq!(tag(&client.request("HEAD", "/endless", "")), None);
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_never_has_another_ones_tag() {
    const LEN: usize = 5 * MIB / 2;
    // Where versions differ, in the order in which they are written.
    const PLACES: [usize; 3] = [0, LEN / 2, LEN - 8];
    let filling = filling(LEN);
    let state = |numbers: [usize; 3]| {
        let mut content = filling.clone();
        for (place, number) in PLACES.into_iter().zip(numbers) {
            content[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        content
    };
    let version = |number: usize| state([number; 3]);
    let root = Root::new();
    root.write("file", version(0));
    let server = Server::with(root.path(), &["--etag", "content", "-w", "2"]);
    let address = server.address;
    let is_over = AtomicBool::new(false);
    let (wholes, parts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let grows = |count: &AtomicUsize| {
        let before = count.load(Ordering::Relaxed);
        eventually("there is another", || {
            (count.load(Ordering::Relaxed) > before).then_some(())
        });
    };
    // A whole answer is a state that the file has had: a version, or, for a moment, the next one up to a place, and the one
    // before it from there. A tag is that of what came with it.
    let check = |whole: &Response| {
        let numbers = PLACES.map(|place| {
            let number = &whole.content[place..place + 8];
            usize::from_le_bytes(number.try_into().expect("eight"))
        });
        let [first, _, last] = numbers;
        let is_state = numbers.is_sorted_by(|a, b| a >= b) && first - last <= 1;
        let is_mix = !is_state || whole.content != state(numbers);
        assert!(!is_mix, "a mix, {numbers:?}");
        let tag = tag(whole);
        let is_its = tag.is_none() || tag == Some(of(&whole.content));
        assert!(is_its, "{numbers:?}: {tag:?}");
        tag
    };
    let hammer = || {
        let mut client = Client::connect(address);
        while !is_over.load(Ordering::Relaxed) {
            let Some(whole) = client.attempt("GET /file HTTP/1.1\r\nHost: test\r\n\r\n") else {
                client = Client::connect(address);
                continue;
            };
            let Some(tag) = check(&whole) else {
                continue;
            };
            wholes.fetch_add(1, Ordering::Relaxed);
            let offset = LEN / 3;
            let ask = format!(
                "GET /file HTTP/1.1\r\nHost: test\r\nRange: bytes={offset}-\r\nIf-Range: {tag}\r\n\r\n"
            );
            match client.attempt(ask) {
                None => client = Client::connect(address),
                Some(rest) if rest.status().starts_with("206") => {
                    parts.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(self::tag(&rest).as_deref(), Some(&*tag));
                    assert!(rest.content == whole.content[offset..]);
                }
                Some(rest) => assert_ne!(check(&rest).as_deref(), Some(&*tag)),
            }
        }
    };
    thread::scope(|scope| {
        let clients = [scope.spawn(hammer), scope.spawn(hammer)];
        let mut client = server.connect();
        for number in 1..=13 {
            let content = version(number);
            let path = root.join("file");
            let before = fs::metadata(&path).and_then(|file| file.modified());
            match number % 3 {
                0 => {
                    root.write("place", &content);
                    fs::rename(root.join("place"), &path).expect("a file of ours");
                }
                turn => {
                    let file = File::options().write(true).open(&path);
                    let file = file.expect("a file of ours");
                    for place in PLACES {
                        let word = &content[place..place + 8];
                        file.write_all_at(word, place as u64).expect("room");
                    }
                    if turn == 1 {
                        let put = before.and_then(|before| file.set_modified(before));
                        put.expect("a file of ours");
                    }
                }
            }
            // Some are replaced when they are known, some before they have settled, some while they are read.
            match number % 4 {
                0..3 => assert_eq!(known(&mut client, "/file", ""), of(&content)),
                _ => thread::sleep(Duration::from_millis(number as u64 * 4 % 50)),
            }
        }
        grows(&wholes);
        grows(&parts);
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("nothing was wrong");
        }
    });
}

#[test]
fn of_two_changes_in_one_tick_of_the_clock_neither_has_the_others_tag() {
    let root = Root::new();
    let mut content = filling(100 * KIB);
    root.write("file", &content);
    let server = Server::with(root.path(), CONTENT);
    let mut client = server.connect();
    let file = File::options().write(true).open(root.join("file"));
    let file = file.expect("a file of ours");
    for number in 0..400_usize {
        content[KIB..KIB + 8].copy_from_slice(&number.to_le_bytes());
        file.write_all_at(&content, 0).expect("room");
        let response = client.get("/file");
        assert!(response.content == content, "{number}");
        let tag = tag(&response);
        assert!(tag.is_none_or(|tag| tag == of(&content)), "{number}");
    }
    assert_eq!(known(&mut client, "/file", ""), of(&content));
}

#[test]
fn forms_with_a_coding_have_the_same_tags_as_well() {
    let line = "const line = \"text that repeats itself\";\n";
    let roots = [Root::new(), Root::new()];
    for root in &roots {
        root.write("made.js", line.repeat(5000));
        root.write("beside.js", line.repeat(5000));
        // What stands beside it is believed by its beginning.
        for coding in ["br", "gz", "zst"] {
            let mark: &[u8] = match coding {
                "gz" => &[0x1f, 0x8b],
                "br" => b"any",
                _ => &[0x28, 0xb5, 0x2f, 0xfd],
            };
            root.write(
                format!("beside.js.{coding}"),
                [mark, &filling(100 * KIB)].concat(),
            );
        }
        date(&root.join("beside.js"), 1_000_000_000);
    }
    let options = ["--etag", "content", "--compress"];
    let servers = roots
        .each_ref()
        .map(|root| Server::with(root.path(), &options));
    for target in ["/made.js", "/beside.js"] {
        let mut seen = vec![];
        for coding in ["gzip", "zstd", "br", "identity"] {
            let [one, other] = servers.each_ref().map(|server| {
                let fields = format!("Accept-Encoding: {coding}\r\n");
                let mut client = server.connect();
                eventually("it has this coding, and a tag", || {
                    let response = client.request("GET", target, &fields);
                    let found = response.field("Content-Encoding").unwrap_or("identity");
                    (found == coding && tag(&response).is_some()).then_some(response)
                })
            });
            assert!(one.content == other.content, "{target}, {coding}");
            let expected = Some(of(&one.content));
            assert_eq!(
                [tag(&one), tag(&other)],
                [expected.clone(), expected.clone()]
            );
            assert!(!seen.contains(&expected), "{target}, {coding}");
            seen.push(expected);
        }
    }
}
