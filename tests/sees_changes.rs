//! What was sent before is remembered, and is never older than its file.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, Done, NEWS, PATIENCE, Response, Root, Server, Trace, filling, succeeds, unprivileged,
};

/// How long a file has to be left alone before it is watched, and a little more.
const STEADY: Duration = Duration::from_millis(10_050);

/// So that a change is dated differently than the one before, and a file that was written before is believed to
/// have held still.
const TICK: Duration = Duration::from_millis(25);

/// What is shown, in short: the content, or the status.
fn shown(response: &Response) -> String {
    match response.status() {
        "200 OK" => response.text().trim_end().to_owned(),
        status => status[..3].to_owned(),
    }
}

fn ask(client: &mut Client, target: &str) -> String {
    shown(&client.get(target))
}

/// Asks as often as it takes for something to be remembered, and to be watched if it may be.
fn warm(client: &mut Client, targets: &[&str]) {
    for _ in 0..3 {
        for target in targets {
            client.get(target);
        }
    }
}

/// What is seen of a change by who has been here and by who comes after it.
fn check(what: &str, server: &Server, old: &mut Client, target: &str, expected: &str) {
    assert_eq!(
        ask(old, target),
        expected,
        "{what}: on a connection that there was"
    );
    check_anew(what, server, old, target, expected);
}

/// The same, the other way round.
fn check_anew(what: &str, server: &Server, old: &mut Client, target: &str, expected: &str) {
    let new = &mut server.connect();
    assert_eq!(ask(new, target), expected, "{what}: on a new connection");
    for _ in 0..2 {
        assert_eq!(ask(old, target), expected, "{what}: later");
    }
}

fn overwrite(path: &Path, content: &str) {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.expect("a file of ours");
    let date = file.metadata().and_then(|file| file.modified());
    file.write_all_at(content.as_bytes(), 0)
        .expect("a file of ours");
    file.set_modified(date.expect("a time"))
        .expect("a file of ours");
}

fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let place = path.with_extension("place");
    fs::write(&place, content).expect("a folder of ours");
    fs::rename(&place, path).expect("a folder of ours");
}

/// A part of a root.
struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn write(&self, path: &str, content: &str) {
        fs::write(self.join(path), content).expect("a folder of ours");
    }
}

fn rename(root: &Folder<'_>, from: &str, to: &str) {
    fs::rename(root.join(from), root.join(to)).expect("a folder of ours");
}

/// Whether we may do this here; said loudly if not.
fn may(what: &str, program: &str, arguments: &[&str]) -> bool {
    let may = succeeds(program, arguments);
    if !may {
        eprintln!("SKIPPED: {what}, for which {program} {arguments:?} would have to work here");
    }
    may
}

/// Runs a script in the mount namespace of a server.
fn within(server: &Server, script: &str) {
    let pid = server.pid().to_string();
    let ran = Command::new("nsenter")
        .args(["-t", &pid, "-m", "sh", "-ec", script])
        .status();
    assert!(ran.is_ok_and(|status| status.success()), "{script}");
}

/// Another program that has a file mapped into its memory, and stores to it when told.
struct Mapper {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Mapper {
    const SCRIPT: &str = "
import mmap, sys
with open(sys.argv[1], 'r+b') as file:
    map = mmap.mmap(file.fileno(), 0)
print('mapped', flush=True)
for line in sys.stdin:
    word = line.strip().encode()
    map[:len(word)] = word
    print('stored', flush=True)
";

    fn new(path: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", Self::SCRIPT])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut mapper = Self { child, said };
        assert_eq!(mapper.hear(), "mapped\n");
        mapper
    }

    fn store(&mut self, word: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{word}").expect("it reads");
        assert_eq!(self.hear(), "stored\n");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it says something");
        line
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_watched_is_seen_when_it_changes() {
    let root = aged_root();
    thread::sleep(STEADY);
    // What is mounted anywhere is heard of by all.
    few_calls(&root);
    let cases = [
        every_kind_of_change,
        mounts,
        below_an_upper_layer,
        maps,
        overflow,
        no_watches_left,
        between_accept_and_read,
    ];
    thread::scope(|scope| {
        for case in cases {
            let root = &root;
            scope.spawn(move || case(root));
        }
    });
}

/// A folder for each of those, with files that nobody touches before they have been watched.
fn aged_root() -> Root {
    let root = Root::new();
    for folder in [
        "calls", "kinds", "mounts", "upper", "maps", "overflow", "watches", "accept",
    ] {
        for number in 0..6 {
            root.write(format!("{folder}/{number}"), "old");
        }
        root.write(format!("{folder}/404.html"), "absent");
        root.write(format!("{folder}/folder/file"), "old");
        root.write(format!("{folder}/folder/b.html"), "old");
        root.write(format!("{folder}/other/file"), "new");
        root.write(format!("{folder}/large"), filling(200_000));
        symlink("0", root.join(folder).join("link")).expect("a folder of ours");
        fs::hard_link(
            root.join(folder).join("3"),
            root.join(format!("{folder}-3")),
        )
        .expect("a folder of ours");
    }
    for folder in ["lower", "work", "merged"] {
        fs::create_dir(root.join(folder)).expect("a folder of ours");
    }
    root
}

/// That files are watched at all: nothing is looked at to answer, and nothing is read.
fn few_calls(root: &Root) {
    let root = root.join("calls");
    let trace = Trace::new("openat,openat2,newfstatat,statx,fstat,read,pread64,recvfrom,sendto");
    let Some(trace) = trace else { return };
    let server = Server::spawn(trace.command(&root, &["--no-precompressed"]));
    let mut client = server.connect();
    let targets = ["/0", "/1", "/folder/file", "/large", "/link", "/nothing"];
    warm(&mut client, &targets);
    trace.mark();
    let looks = |what: &str, expected: usize, act: &mut dyn FnMut()| {
        trace.mark();
        act();
        let calls = trace.calls();
        let count = |names: &[&str]| calls.iter().filter(|it| names.contains(&&***it)).count();
        assert_eq!(count(&["read", "pread64"]), 0, "{what}: {calls:?}");
        assert_eq!(
            count(&["openat", "openat2", "newfstatat", "statx", "fstat"]),
            expected,
            "{what}: {calls:?}"
        );
    };
    for target in ["/0", "/1", "/folder/file"] {
        looks(target, 0, &mut || {
            for _ in 0..5 {
                client.get(target);
            }
        });
    }
    // What a link is, where it leads, as far as it may, and what is there.
    looks("by a link", 4 * 5, &mut || {
        for _ in 0..5 {
            client.get("/link");
        }
    });
}

fn every_kind_of_change(root: &Root) {
    let folder = root.join("kinds");
    let root = &Folder(&folder);
    let server = Server::with(&folder, &["--index", "a.html,b.html"]);
    let old = &mut server.connect();
    let targets = [
        "/0",
        "/1",
        "/2",
        "/3",
        "/4",
        "/folder/",
        "/folder/file",
        "/large",
        "/nothing",
    ];
    let change =
        |old: &mut Client, what: &str, target: &str, expected: &str, act: &dyn Fn(&str)| {
            warm(old, &targets);
            act("new");
            check(what, &server, old, target, expected);
            warm(old, &targets);
            act("wow");
            let expected = if expected == "new" { "wow" } else { expected };
            check_anew(what, &server, old, target, expected);
        };
    change(old, "overwritten", "/0", "new", &|word| {
        overwrite(&root.join("0"), word);
    });
    change(old, "replaced", "/1", "new", &|word| {
        replace(&root.join("1"), word);
    });
    change(old, "truncated", "/2", "", &|_| {
        File::create(root.join("2")).expect("a file of ours");
    });
    change(old, "written by its other name", "/3", "new", &|word| {
        fs::write(root.join("../kinds-3"), word).expect("a file of ours");
    });
    change(old, "deleted", "/4", "404", &|_| {
        let _ = fs::remove_file(root.join("4"));
    });
    change(old, "made again", "/4", "new", &|word| {
        root.write("4", word);
    });
    change(old, "an earlier index", "/folder/", "new", &|word| {
        root.write("folder/a.html", word);
    });
    change(old, "the later one again", "/folder/", "old", &|_| {
        let _ = fs::remove_file(root.join("folder/a.html"));
    });
    change(old, "its folder gone", "/folder/file", "404", &|_| {
        if root.join("folder").exists() {
            rename(root, "folder", "gone");
        }
    });
    change(old, "folders exchanged", "/folder/file", "new", &|word| {
        root.write("other/file", word);
        if root.join("folder").exists() {
            rename(root, "folder", "back");
        }
        rename(root, "other", "folder");
        fs::create_dir_all(root.join("other")).expect("a folder of ours");
    });
    for word in ["nothing is here", "nothing is there"] {
        warm(old, &targets);
        root.write("404.html", word);
        assert_eq!(old.get("/nothing").text(), word);
        assert_eq!(server.get("/nothing").text(), word);
    }
    let large = filling(200_000).repeat(2);
    let is_large = |client: &mut Client, expected: &[u8]| {
        assert!(client.get("/large").content == expected, "large");
    };
    warm(old, &targets);
    replace(&root.join("large"), &large);
    is_large(old, &large);
    is_large(&mut server.connect(), &large);
    fs::write(root.join("large"), &large[7..]).expect("a file of ours");
    is_large(&mut server.connect(), &large[7..]);
    is_large(old, &large[7..]);
}

/// What is mounted over a file, or a folder, and taken away again.
fn mounts(root: &Root) {
    let unshare = ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    if !may("mounts", "unshare", &unshare) {
        return;
    }
    let folder = root.join("mounts");
    let server = Server::upon(&["unshare", "-m"], &folder, &[]);
    let old = &mut server.connect();
    let place = folder.display();
    for (target, mount, mounted, expected) in [
        ("/0", format!("mount --bind {place}/other/file"), "0", "new"),
        (
            "/folder/file",
            "mount -t tmpfs tmpfs".into(),
            "folder",
            "404",
        ),
        (
            "/folder/file",
            format!("mount --bind {place}/other"),
            "folder",
            "new",
        ),
    ] {
        for anew in [false, true] {
            let check = if anew { check_anew } else { check };
            warm(old, &[target]);
            assert_eq!(ask(old, target), "old");
            within(&server, &format!("{mount} {place}/{mounted}"));
            check(&mount, &server, old, target, expected);
            within(&server, &format!("umount {place}/{mounted}"));
            check(&mount, &server, old, target, "old");
        }
    }
}

/// What is served is the upper layer of an overlay, and it is that which is written to.
fn below_an_upper_layer(root: &Root) {
    if !may("overlays", "unshare", &["-m", "mount", "--version"]) {
        return;
    }
    let folder = root.join("upper");
    let server = Server::start(&folder);
    let old = &mut server.connect();
    warm(old, &["/0", "/1", "/2", "/4"]);
    let place = root.path().display();
    let mount = format!(
        "mount -t overlay overlay -o \
         lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work {place}/merged
         cd {place}/merged"
    );
    for (what, script, target, expected) in [
        (
            "overwritten above",
            "printf new | dd status=none conv=notrunc of=4",
            "/4",
            "new",
        ),
        ("written above", "echo new > 0", "/0", "new"),
        ("deleted above", "rm 1", "/1", "404"),
        (
            "replaced above",
            "echo new > place; mv place 2",
            "/2",
            "new",
        ),
    ] {
        let script = format!("{mount}; {script}");
        if !may("overlays", "unshare", &["-m", "sh", "-ec", &script]) {
            return;
        }
        check(what, &server, old, target, expected);
        warm(old, &["/0", "/1", "/2", "/4"]);
    }
}

/// A store through a shared map that was made after the file was remembered.
fn maps(root: &Root) {
    if !may("maps", "python3", &["-c", "import mmap"]) {
        return;
    }
    let folder = root.join("maps");
    let server = Server::start(&folder);
    let old = &mut server.connect();
    warm(old, &["/0"]);
    let mut mapper = Mapper::new(&folder.join("0"));
    warm(old, &["/0"]);
    mapper.store("new");
    check("stored to a map", &server, old, "/0", "new");
}

/// More happens than inotify keeps, while nobody listens.
fn overflow(root: &Root) {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 1 << 17 {
        eprintln!("SKIPPED: overflow, as the queue holds {limit} events");
        return;
    }
    let folder = root.join("overflow");
    let server = Server::start(&folder);
    let old = &mut server.connect();
    warm(old, &["/0", "/1", "/2"]);
    server.asleep(|| {
        for _ in 0..=limit / 2 {
            drop(File::open(folder.join("2")));
        }
        overwrite(&folder.join("0"), "new");
        replace(&folder.join("1"), "new");
    });
    check("overwritten untold", &server, old, "/0", "new");
    check("replaced untold", &server, old, "/1", "new");
    check("as it was", &server, old, "/2", "old");
    overwrite(&folder.join("2"), "new");
    check("afterwards", &server, old, "/2", "new");
}

/// Files that inotify has no room for are looked at, and that is said once.
fn no_watches_left(root: &Root) {
    let limit = "echo 3 > /proc/sys/user/max_inotify_watches";
    if !may("few watches", "unshare", &["-Ur", "sh", "-c", limit]) {
        return;
    }
    let folder = root.join("watches");
    let script = format!("{limit}; exec \"$@\"");
    let stage = ["unshare", "-Ur", "sh", "-c", &script, "sh"];
    // (Each worker says it once.)
    let server = Server::upon(&stage, &folder, &["--workers", "1"]);
    let old = &mut server.connect();
    let targets = ["/0", "/1", "/2", "/3", "/4", "/folder/file"];
    warm(old, &targets);
    let warning = server.complaint();
    assert!(warning.contains("max_user_watches"), "{warning}");
    for target in targets {
        overwrite(&folder.join(&target[1..]), "new");
        check(target, &server, old, target, "new");
        warm(old, &targets);
        replace(&folder.join(&target[1..]), "newer");
        check_anew(target, &server, old, target, "newer");
    }
    assert_eq!(server.complaints(), [""; 0]);
}

/// A change, and the question, after the connection has been accepted and before it is read from.
fn between_accept_and_read(root: &Root) {
    // Not of the first reads, which warm it up.
    let Some(trace) = Trace::new("recvfrom") else {
        return;
    };
    let trace = trace.and("inject=recvfrom:delay_enter=300000:when=4+");
    let folder = root.join("accept");
    let server = Server::spawn(trace.command(&folder, &[]));
    let old = &mut server.connect();
    warm(old, &["/0"]);
    let new = &mut server.connect();
    // By then it has been accepted, and is about to be read from.
    thread::sleep(Duration::from_millis(100));
    replace(&folder.join("0"), "new");
    assert_eq!(ask(new, "/0"), "new");
    assert_eq!(ask(old, "/0"), "new");
}

/// A change, and the question behind another, after the turn of the loop has begun that reads both, and in which
/// somebody else has asked the same.
#[test]
fn what_is_asked_behind_something_else_is_as_it_was_when_it_was_asked() {
    let Some(trace) = Trace::new("recvfrom") else {
        return;
    };
    let trace = trace.and("inject=recvfrom:delay_enter=300000:when=7+");
    let root = Root::of(&[("file", "old"), ("other", "other")]);
    let server = Server::spawn(trace.command(root.path(), &[]));
    let mut clients = [(); 3].map(|()| server.connect());
    for client in &mut clients {
        assert_eq!(ask(client, "/other"), "other");
    }
    let [first, second, third] = &mut clients;
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    // While this is about to be read, the others come.
    first.send(request("/other"));
    thread::sleep(Duration::from_millis(100));
    second.send(request("/file"));
    third.send(request("/other"));
    assert_eq!(first.response().text(), "other");
    assert_eq!(second.response().text(), "old");
    // Now the third is about to be read, in the turn that has answered the second.
    replace(&root.join("file"), "new");
    third.send(request("/file"));
    assert_eq!(third.response().text(), "other");
    assert_eq!(third.response().text(), "new");
}

/// Makes changes, one a step, and has each seen by both kinds of connections, while others ask all the time.
#[test]
fn a_change_is_seen_at_once_under_load() {
    const SPAN: Duration = Duration::from_millis(1200);
    let root = Root::of(&[("small", "0"), ("404.html", "absent")]);
    root.write("large", "0".repeat(100_000));
    let server = Server::start(root.path());
    let is_done = AtomicBool::new(false);
    let (asked, address) = (AtomicU32::new(0), server.address);
    let mut changes = 0;
    thread::scope(|scope| {
        for seed in 0..4 {
            let (is_done, asked) = (&is_done, &asked);
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut number = seed;
                while !is_done.load(Ordering::Relaxed) {
                    // Half of them come anew each time.
                    if seed % 2 == 0 {
                        client = Client::connect(address);
                    }
                    let target = ["/small", "/small", "/nothing", "/large"][number % 4];
                    let whole =
                        client.attempt(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
                    if whole.is_none() {
                        assert_eq!(target, "/large", "cut without a reason");
                        client = Client::connect(address);
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
            });
        }
        let _done = Done(&is_done);
        let old = &mut server.connect();
        let start = Instant::now();
        while start.elapsed() < SPAN || changes <= 8 {
            assert!(start.elapsed() < PATIENCE, "too little happens");
            changes += 1;
            let word = changes.to_string();
            let (name, content) = match changes / 4 % 3 {
                0 => ("large", word.repeat(100_000)),
                _ => ("small", word),
            };
            match changes % 2 {
                0 => replace(&root.join(name), &content),
                _ => root.write(name, &content),
            }
            let target = format!("/{name}");
            let see = |client: &mut Client, how| {
                let response = client.get(&target);
                assert_eq!(response.status(), "200 OK", "{name} {changes} {how}");
                assert!(
                    response.content == content.as_bytes(),
                    "{name} {changes} {how}: {response:?}"
                );
            };
            let new = || see(&mut server.connect(), "on a new connection");
            match changes / 2 % 2 {
                0 => {
                    new();
                    see(old, "on an old connection");
                }
                _ => {
                    see(old, "on an old connection");
                    new();
                }
            }
        }
    });
    println!("{changes} changes, {asked:?} requests meanwhile");
}

#[test]
fn what_is_asked_for_once_takes_no_memory_for_good() {
    const COUNT: usize = 20_000;
    /// Requests that are sent at once.
    const BATCH: usize = 100;
    let root = Root::of(&[("hot", "old"), ("404.html", "absent"), ("files/0", "0")]);
    for number in 1..COUNT {
        // Another name is had sooner than another file.
        let name = root.join(format!("files/{number}"));
        match number % 1000 {
            0 => fs::write(name, number.to_string()),
            some => fs::hard_link(root.join(format!("files/{}", number - some)), name),
        }
        .expect("a folder of ours");
    }
    let server = Server::with(root.path(), &["--cache-memory", "4MiB"]);
    let client = &mut server.connect();
    warm(client, &["/hot", "/files/0", "/nothing"]);
    let before = server.resident();
    for (folder, expected) in [("files", "200 OK"), ("missing", "404 Not Found")] {
        for start in (0..COUNT).step_by(BATCH) {
            let batch: String = (start..start + BATCH)
                .map(|number| format!("GET /{folder}/{number} HTTP/1.1\r\nHost: test\r\n\r\n"))
                .collect();
            client.send(batch);
            for number in start..start + BATCH {
                let response = client.response();
                assert_eq!(response.status(), expected, "/{folder}/{number}");
                if folder == "files" {
                    let file = number / 1000 * 1000;
                    assert_eq!(response.text(), file.to_string());
                }
            }
            if start % 5000 == 0 {
                let content = start.to_string();
                replace(&root.join("hot"), &content);
                assert_eq!(ask(client, "/hot"), content);
            }
        }
        let more = server.resident().saturating_sub(before);
        assert!(more < 12 * 1024, "after {folder}: {more} KiB more");
    }
    assert!(server.descriptors() < 40, "{}", server.descriptors());
}

#[test]
fn warm_requests_take_few_calls() {
    let all = "openat,openat2,newfstatat,statx,fstat,read,pread64,close,recvfrom,sendto,writev,sendmsg,sendfile,epoll_wait,epoll_ctl";
    let Some(trace) = Trace::new(all) else { return };
    let root = Root::of(&[("file", "old"), ("404.html", "absent")]);
    root.write("large", filling(100_000));
    thread::sleep(TICK);
    root.date_back();
    thread::sleep(TICK);
    let server = Server::spawn(trace.command(root.path(), &["--no-precompressed"]));
    let client = &mut server.connect();
    warm(client, &["/file", "/large", "/nothing"]);
    let tag = client.get("/file");
    let tag = tag.field("ETag").expect("it has one").to_owned();
    let known = format!("GET /file HTTP/1.1\r\nHost: test\r\nIf-None-Match: {tag}\r\n\r\n");
    for (what, request, status) in [
        ("warm", "GET /file HTTP/1.1\r\nHost: test\r\n\r\n", "200 OK"),
        ("known", &known, "304 Not Modified"),
        (
            "absent",
            "GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n",
            "404 Not Found",
        ),
    ] {
        const COUNT: usize = 20;
        trace.mark();
        for _ in 0..COUNT {
            assert_eq!(client.ask(request).status(), status);
        }
        let calls = trace.calls();
        let count = |name: &str| calls.iter().filter(|it| *it == name).count();
        for (name, more) in [("recvfrom", 0), ("sendto", 0), ("epoll_wait", count(NEWS))] {
            let found = count(name);
            let expected = COUNT - 1..=COUNT + 1 + more;
            assert!(expected.contains(&found), "{what}: {name}: {calls:?}");
        }
        // What was absent is looked for, with its .html as well, and so is the page for it.
        let looks = if status.starts_with("404") { 3 } else { 1 };
        let found = count("newfstatat") + count("statx");
        assert!(found <= looks * COUNT, "{what}: looked {found} times");
        let opens = if status.starts_with("404") { COUNT } else { 0 };
        let found = count("openat") + count("openat2");
        assert!(found <= opens, "{what}: opened {found} times: {calls:?}");
        for name in ["read", "pread64", "close", "fstat", "epoll_ctl", "sendmsg"] {
            assert_eq!(count(name), 0, "{what}: {name}: {calls:?}");
        }
    }
}

#[test]
fn without_inotify_files_are_looked_at() {
    let limit = "echo 0 > /proc/sys/user/max_inotify_instances";
    if !may("no inotify", "unshare", &["-Ur", "sh", "-c", limit]) {
        return;
    }
    let root = Root::of(&[("file", "old"), ("folder/b.html", "old")]);
    root.write("large", filling(100_000));
    let script = format!("{limit}; exec \"$@\"");
    let stage = ["unshare", "-Ur", "sh", "-c", &script, "sh"];
    let server = Server::upon(&stage, root.path(), &["--index", "a.html,b.html"]);
    let old = &mut server.connect();
    for round in 0..3 {
        thread::sleep(TICK);
        warm(old, &["/file", "/folder/"]);
        let word = |what: &str| format!("{what}-{round}");
        overwrite(&root.join("file"), &word("a"));
        check("overwritten", &server, old, "/file", &word("a"));
        replace(&root.join("file"), word("b"));
        check_anew("replaced", &server, old, "/file", &word("b"));
        fs::remove_file(root.join("file")).expect("a file of ours");
        check("deleted", &server, old, "/file", "404");
        root.write("file", word("c"));
        check_anew("made again", &server, old, "/file", &word("c"));
        root.write("folder/a.html", word("d"));
        check("an earlier index", &server, old, "/folder/", &word("d"));
        fs::remove_file(root.join("folder/a.html")).expect("a file of ours");
        check_anew("the later one", &server, old, "/folder/", "old");
    }
}

#[test]
fn what_is_forbidden_is_forbidden_at_once() {
    let root = Root::of(&[("file", "old"), ("folder/file", "old")]);
    let allow = |name: &str, mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(root.join(name), mode).expect("a file of ours");
    };
    let Some(stage) = unprivileged(root.path()) else {
        return;
    };
    let server = Server::upon(&stage, root.path(), &[]);
    let old = &mut server.connect();
    for (target, name) in [
        ("/file", "file"),
        ("/folder/file", "folder/file"),
        ("/folder/file", "folder"),
    ] {
        for _ in 0..2 {
            thread::sleep(TICK);
            warm(old, &[target]);
            allow(name, 0);
            check(name, &server, old, target, "403");
            allow(name, 0o755);
            check_anew(name, &server, old, target, "old");
        }
    }
}

#[test]
fn what_is_below_an_overlay_is_looked_at() {
    let unshare = ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    if !may("overlays", "unshare", &unshare) {
        return;
    }
    let root = Root::of(&[
        ("lower/file", "old"),
        ("lower/large", "old"),
        ("site/x", ""),
    ]);
    root.write("lower/large", "1".repeat(100_000));
    fs::create_dir(root.join("upper")).expect("a folder of ours");
    fs::create_dir(root.join("work")).expect("a folder of ours");
    let place = root.path().display();
    let mount = format!(
        "mount -t tmpfs tmpfs {place}/upper && mkdir {place}/upper/upper {place}/upper/work && \
         mount -t overlay overlay -o \
         lowerdir={place}/lower,upperdir={place}/upper/upper,workdir={place}/upper/work {place}/site"
    );
    if !may("overlays", "unshare", &["-m", "sh", "-ec", &mount]) {
        return;
    }
    let script = format!("{mount} && exec \"$@\"");
    let stage = ["unshare", "-m", "sh", "-ec", &script, "sh"];
    let server = Server::upon(&stage, &root.join("site"), &[]);
    let old = &mut server.connect();
    for round in 0..3 {
        thread::sleep(TICK);
        warm(old, &["/file", "/large"]);
        let word = format!("a{round}");
        overwrite(&root.join("lower/file"), &format!("{word} "));
        check("below", &server, old, "/file", &word);
        let large = round.to_string().repeat(100_000);
        fs::write(root.join("lower/large"), &large).expect("a file of ours");
        assert!(old.get("/large").content == large.as_bytes(), "{round}");
    }
    warm(old, &["/file"]);
    within(&server, &format!("echo above > {place}/site/file"));
    check("above", &server, old, "/file", "above");
}
