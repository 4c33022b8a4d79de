//! Cache freshness: a cached response is never older than its file.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, INOTIFY_READ, Response, Root, Server, SetOnDrop, TIMEOUT, Trace, is_watched,
    pseudorandom_bytes, succeeds, unprivileged_wrapper, wait_for_file_clock,
};

/// Time for which a file must be unchanged before it is watched, and a little more.
const WATCH_DELAY: Duration = Duration::from_millis(10_050);

/// Returns the content of a 200, or else the status code.
fn body_or_status(response: &Response) -> String {
    match response.code() {
        "200" => response.text().trim_end().to_owned(),
        code => code.to_owned(),
    }
}

fn get_body_or_status(client: &mut Client, target: &str) -> String {
    body_or_status(&client.get(target))
}

/// Requests each target often enough that it is cached and, where possible, watched.
fn warm(client: &mut Client, targets: &[&str]) {
    for _ in 0..3 {
        for target in targets {
            client.get(target);
        }
    }
}

/// Checks the response on a connection that existed before the change, and then on a new one.
fn check_change(what: &str, server: &Server, old: &mut Client, target: &str, expected: &str) {
    assert_eq!(
        get_body_or_status(old, target),
        expected,
        "{what}: on the old connection"
    );
    check_change_new_first(what, server, old, target, expected);
}

/// Checks the response on a new connection first, and then on the old one.
fn check_change_new_first(
    what: &str,
    server: &Server,
    old: &mut Client,
    target: &str,
    expected: &str,
) {
    let new = &mut server.connect();
    assert_eq!(
        get_body_or_status(new, target),
        expected,
        "{what}: on a new connection"
    );
    for _ in 0..2 {
        assert_eq!(get_body_or_status(old, target), expected, "{what}: later");
    }
}

fn overwrite(path: &Path, content: &str) {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.expect("a file");
    let date = file.metadata().and_then(|file| file.modified());
    file.write_all_at(content.as_bytes(), 0).expect("a file");
    file.set_modified(date.expect("a time")).expect("a file");
}

fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("a directory");
    fs::rename(&new, path).expect("a directory");
}

/// Returns whether this command works here; prints that a test is skipped if not.
fn can_run(what: &str, program: &str, arguments: &[&str]) -> bool {
    let is_possible = succeeds(program, arguments);
    if !is_possible {
        eprintln!("SKIPPED: {what}, for which {program} {arguments:?} would have to work here");
    }
    is_possible
}

/// Runs a script in the mount namespace of a server.
fn run_in_mount_namespace(server: &Server, script: &str) {
    let pid = server.pid().to_string();
    let ran = Command::new("nsenter")
        .args(["-t", &pid, "-m", "sh", "-ec", script])
        .status();
    assert!(ran.is_ok_and(|status| status.success()), "{script}");
}

/// Process that maps a file into its memory, and stores to it on command.
struct MappingProcess {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl MappingProcess {
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
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut process = Self { child, stdout };
        assert_eq!(process.next_line(), "mapped\n");
        process
    }

    fn store(&mut self, word: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{word}").expect("the process reads");
        assert_eq!(self.next_line(), "stored\n");
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line
    }
}

impl Drop for MappingProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn changes_of_watched_files_are_seen_by_next_request() {
    let root = root_with_old_files();
    thread::sleep(WATCH_DELAY);
    // First and alone: a mount anywhere is reported to all servers.
    no_system_calls(&root);
    let cases = [
        changes_of_watched_files,
        mounts_over_files,
        writes_through_overlay,
        store_to_shared_mapping,
        queue_overflow,
        watch_limit_reached,
        permission_changes,
        changes_behind_link,
        change_between_accept_and_read,
    ];
    thread::scope(|scope| {
        for case in cases {
            let root = &root;
            scope.spawn(move || case(root));
        }
    });
}

/// Creates a directory for each case, with files that are not changed before they are watched.
fn root_with_old_files() -> Root {
    let root = Root::new();
    for directory in [
        "calls", "kinds", "mounts", "upper", "maps", "overflow", "watches", "modes", "links",
        "accept",
    ] {
        for number in 0..6 {
            root.write(format!("{directory}/{number}"), "old");
        }
        root.write(format!("{directory}/404.html"), "absent");
        root.write(format!("{directory}/folder/file"), "old");
        root.write(format!("{directory}/folder/deep/file"), "old");
        root.write(format!("{directory}/other/file"), "new");
        root.write(format!("{directory}/large"), pseudorandom_bytes(200_000));
        for name in ["0", "1"] {
            let link = root.join(format!("{directory}/link-to-{name}"));
            symlink(name, link).expect("a directory");
        }
    }
    for directory in ["lower", "work", "merged"] {
        fs::create_dir(root.join(directory)).expect("a directory");
    }
    root
}

/// Checks that files are watched: a response needs neither stat nor read.
fn no_system_calls(root: &Root) {
    let root = root.join("calls");
    if !is_watched(&root) {
        return;
    }
    let trace = Trace::new("openat,openat2,newfstatat,statx,fstat,read,pread64,recvfrom,sendto");
    let Some(trace) = trace else { return };
    let server = Server::spawn(trace.command(&root, &["--no-precompressed"]));
    let mut client = server.connect();
    let targets = [
        "/0",
        "/1",
        "/folder/file",
        "/large",
        "/link-to-0",
        "/nothing",
    ];
    warm(&mut client, &targets);
    trace.mark();
    let check_calls = |what: &str, expected: usize, act: &mut dyn FnMut()| {
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
        check_calls(target, 0, &mut || {
            for _ in 0..5 {
                client.get(target);
            }
        });
    }
    // Of a symbolic link: what it is, its target, that this is in the root, and the file there.
    check_calls("by a link", 4 * 5, &mut || {
        for _ in 0..5 {
            client.get("/link-to-0");
        }
    });
}

/// A few of the changes in `cached_lookups`, on connections from before and after each.
fn changes_of_watched_files(root: &Root) {
    let root = root.join("kinds");
    let server = Server::start(&root);
    let old = &mut server.connect();
    let mut change = |what: &str, target: &str, expected: &str, act: &dyn Fn(&Path, &str)| {
        let file = root.join(&target[1..]);
        warm(old, &[target]);
        act(&file, "new");
        check_change(what, &server, old, target, expected);
        warm(old, &[target]);
        act(&file, "wow");
        let expected = if expected == "new" { "wow" } else { expected };
        check_change_new_first(what, &server, old, target, expected);
    };
    change("overwritten", "/0", "new", &overwrite);
    change("replaced", "/1", "new", &|file, word| replace(file, word));
    change("truncated", "/2", "", &|file, _| {
        File::create(file).expect("a file");
    });
    change("deleted", "/4", "404", &|file, _| {
        let _ = fs::remove_file(file);
    });
    change("made again", "/4", "new", &|file, word| {
        fs::write(file, word).expect("a directory");
    });
}

/// Mounts over a file and over a directory, and their removal.
fn mounts_over_files(root: &Root) {
    let unshare = ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    if !can_run("mounts", "unshare", &unshare) {
        return;
    }
    let directory = root.join("mounts");
    let server = Server::start_under(&["unshare", "-m"], &directory, &[]);
    let old = &mut server.connect();
    let path = directory.display();
    for (target, mount, mounted, expected) in [
        ("/0", format!("mount --bind {path}/other/file"), "0", "new"),
        (
            "/folder/file",
            "mount -t tmpfs tmpfs".into(),
            "folder",
            "404",
        ),
        (
            "/folder/file",
            format!("mount --bind {path}/other"),
            "folder",
            "new",
        ),
    ] {
        for anew in [false, true] {
            let check = if anew {
                check_change_new_first
            } else {
                check_change
            };
            warm(old, &[target]);
            assert_eq!(get_body_or_status(old, target), "old");
            run_in_mount_namespace(&server, &format!("{mount} {path}/{mounted}"));
            check(&mount, &server, old, target, expected);
            run_in_mount_namespace(&server, &format!("umount {path}/{mounted}"));
            check(&mount, &server, old, target, "old");
        }
    }
}

/// The root is the upper layer of an overlay. Files are changed through the overlay.
fn writes_through_overlay(root: &Root) {
    if !can_run("overlays", "unshare", &["-m", "mount", "--version"]) {
        return;
    }
    let directory = root.join("upper");
    let server = Server::start(&directory);
    let old = &mut server.connect();
    warm(old, &["/0", "/1", "/2", "/4"]);
    let path = root.path().display();
    let mount = format!(
        "mount -t overlay overlay -o \
         lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work {path}/merged
         cd {path}/merged"
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
        ("replaced above", "echo new > new; mv new 2", "/2", "new"),
    ] {
        let script = format!("{mount}; {script}");
        if !can_run("overlays", "unshare", &["-m", "sh", "-ec", &script]) {
            return;
        }
        check_change(what, &server, old, target, expected);
        warm(old, &["/0", "/1", "/2", "/4"]);
    }
}

/// A store through a shared mapping that was made after the file was cached.
fn store_to_shared_mapping(root: &Root) {
    if !can_run("maps", "python3", &["-c", "import mmap"]) {
        return;
    }
    let directory = root.join("maps");
    let server = Server::start(&directory);
    let old = &mut server.connect();
    warm(old, &["/0"]);
    let mut process = MappingProcess::new(&directory.join("0"));
    warm(old, &["/0"]);
    process.store("new");
    check_change("stored to a map", &server, old, "/0", "new");
}

/// inotify's queue overflows while the server is stopped.
fn queue_overflow(root: &Root) {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 1 << 17 {
        eprintln!("SKIPPED: overflow, as the queue holds {limit} events");
        return;
    }
    let directory = root.join("overflow");
    let server = Server::start(&directory);
    let old = &mut server.connect();
    warm(old, &["/0", "/1", "/2"]);
    server.while_stopped(|| {
        for _ in 0..=limit / 2 {
            drop(File::open(directory.join("2")));
        }
        overwrite(&directory.join("0"), "new");
        replace(&directory.join("1"), "new");
    });
    check_change("overwritten, event lost", &server, old, "/0", "new");
    check_change("replaced, event lost", &server, old, "/1", "new");
    check_change("unchanged", &server, old, "/2", "old");
    overwrite(&directory.join("2"), "new");
    check_change("after the overflow", &server, old, "/2", "new");
}

/// Files beyond the limit of inotify watches are revalidated by stat, and that is logged once.
fn watch_limit_reached(root: &Root) {
    let limit = "echo 3 > /proc/sys/user/max_inotify_watches";
    if !can_run("few watches", "unshare", &["-Ur", "sh", "-c", limit]) {
        return;
    }
    let directory = root.join("watches");
    if !is_watched(&directory) {
        return;
    }
    let script = format!("{limit}; exec \"$@\"");
    let wrapper = ["unshare", "-Ur", "sh", "-c", &script, "sh"];
    // (Each worker logs it once.)
    let server = Server::start_under(&wrapper, &directory, &["--workers", "1"]);
    let old = &mut server.connect();
    let targets = ["/0", "/1", "/2", "/3", "/4", "/folder/file"];
    warm(old, &targets);
    let warning = server.stderr_line();
    assert!(warning.contains("max_user_watches"), "{warning}");
    for target in targets {
        overwrite(&directory.join(&target[1..]), "new");
        check_change(target, &server, old, target, "new");
        warm(old, &targets);
        replace(&directory.join(&target[1..]), "newer");
        check_change_new_first(target, &server, old, target, "newer");
    }
    assert_eq!(server.stderr_lines(), [""; 0]);
}

/// A file behind a symbolic link, which is not watched: with openat2(2) and without.
fn changes_behind_link(root: &Root) {
    let root = root.join("links");
    let without = Server::without_openat2("ENOSYS", &root, &[]);
    for (server, name) in [Server::start(&root)]
        .iter()
        .chain(&without)
        .zip(["0", "1"])
    {
        let old = &mut server.connect();
        let target = &format!("/link-to-{name}");
        warm(old, &[target]);
        overwrite(&root.join(name), "new");
        check_change("behind a link", server, old, target, "new");
    }
}

/// File modes, first of files that are watched, and then of files that were changed a moment ago.
fn permission_changes(root: &Root) {
    let Some(wrapper) = unprivileged_wrapper(root.path()) else {
        return;
    };
    let root = root.join("modes");
    let set_mode = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(root.join(name), mode).expect("a file");
    };
    let server = Server::start_under(&wrapper, &root, &[]);
    let old = &mut server.connect();
    for (target, name) in [
        ("/0", "0"),
        ("/folder/deep/file", "folder"),
        ("/folder/deep/file", "folder/deep"),
        ("/folder/file", "folder/file"),
    ] {
        for _ in 0..2 {
            warm(old, &[target]);
            set_mode(name, 0);
            check_change(name, &server, old, target, "403");
            set_mode(name, 0o755);
            check_change_new_first(name, &server, old, target, "old");
            wait_for_file_clock();
        }
    }
}

/// A change after the connection has been accepted and before its request is read.
fn change_between_accept_and_read(root: &Root) {
    // The first reads, which fill the cache, are not delayed.
    let Some(trace) = Trace::new("recvfrom") else {
        return;
    };
    let trace = trace.with_expression("inject=recvfrom:delay_enter=300000:when=4+");
    let directory = root.join("accept");
    let server = Server::spawn(trace.command(&directory, &[]));
    let old = &mut server.connect();
    warm(old, &["/0"]);
    let new = &mut server.connect();
    // By now it has been accepted, and its recvfrom is delayed.
    thread::sleep(Duration::from_millis(100));
    replace(&directory.join("0"), "new");
    assert_eq!(get_body_or_status(new, "/0"), "new");
    assert_eq!(get_body_or_status(old, "/0"), "new");
}

/// A file changes during a turn of the event loop that has already served it. A pipelined request for it in that turn
/// gets the new content.
#[test]
fn pipelined_request_sees_change_made_within_its_turn() {
    let Some(trace) = Trace::new("recvfrom") else {
        return;
    };
    let trace = trace.with_expression("inject=recvfrom:delay_enter=300000:when=7+");
    let root = Root::of(&[("file", "old"), ("other", "other")]);
    let server = Server::spawn(trace.command(root.path(), &[]));
    let mut clients = [(); 3].map(|()| server.connect());
    for client in &mut clients {
        assert_eq!(get_body_or_status(client, "/other"), "other");
    }
    let [first, second, third] = &mut clients;
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    // While the read of this one is delayed, the others arrive.
    first.send(request("/other"));
    thread::sleep(Duration::from_millis(100));
    second.send(request("/file"));
    third.send(request("/other"));
    assert_eq!(first.response().text(), "other");
    assert_eq!(second.response().text(), "old");
    // Now the read of the third is delayed, in the turn that has answered the second.
    replace(&root.join("file"), "new");
    third.send(request("/file"));
    assert_eq!(third.response().text(), "other");
    assert_eq!(third.response().text(), "new");
}

/// Makes one change after the other, each checked on an old and a new connection, while other clients send requests.
#[test]
fn changes_are_seen_at_once_under_load() {
    const MIN_DURATION: Duration = Duration::from_millis(1200);
    let root = Root::of(&[("small", "0"), ("404.html", "absent")]);
    root.write("large", "0".repeat(100_000));
    let server = Server::start(root.path());
    let is_done = AtomicBool::new(false);
    let (requests, address) = (AtomicU32::new(0), server.address);
    let mut changes = 0;
    thread::scope(|scope| {
        for seed in 0..4 {
            let (is_done, requests) = (&is_done, &requests);
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut number = seed;
                while !is_done.load(Ordering::Relaxed) {
                    // Half of the clients use a new connection for each request.
                    if seed % 2 == 0 {
                        client = Client::connect(address);
                    }
                    let target = ["/small", "/small", "/nothing", "/large"][number % 4];
                    let response =
                        client.try_request(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
                    if response.is_none() {
                        assert_eq!(target, "/large", "closed without a reason");
                        client = Client::connect(address);
                    }
                    requests.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
            });
        }
        let _done = SetOnDrop(&is_done);
        let old = &mut server.connect();
        let start = Instant::now();
        while start.elapsed() < MIN_DURATION || changes <= 8 {
            assert!(start.elapsed() < TIMEOUT, "too few changes");
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
            let check_content = |client: &mut Client, how| {
                let response = client.get(&target);
                assert_eq!(response.status(), "200 OK", "{name} {changes} {how}");
                assert!(
                    response.content == content.as_bytes(),
                    "{name} {changes} {how}: {response:?}"
                );
            };
            let check_new = || check_content(&mut server.connect(), "on a new connection");
            match changes / 2 % 2 {
                0 => {
                    check_new();
                    check_content(old, "on an old connection");
                }
                _ => {
                    check_content(old, "on an old connection");
                    check_new();
                }
            }
        }
    });
    println!("{changes} changes, {requests:?} requests meanwhile");
}

#[test]
fn one_time_requests_use_bounded_memory() {
    const COUNT: usize = 20_000;
    /// Requests that are sent together.
    const BATCH: usize = 100;
    let root = Root::of(&[("hot", "old"), ("404.html", "absent"), ("files/0", "0")]);
    for number in 1..COUNT {
        // A hard link is made faster than a file.
        let name = root.join(format!("files/{number}"));
        match number % 1000 {
            0 => fs::write(name, number.to_string()),
            offset => fs::hard_link(root.join(format!("files/{}", number - offset)), name),
        }
        .expect("a directory");
    }
    let server = Server::with(root.path(), &["--cache-memory", "4MiB"]);
    let client = &mut server.connect();
    warm(client, &["/hot", "/files/0", "/nothing"]);
    let before = server.resident_kib();
    for (directory, expected) in [("files", "200 OK"), ("missing", "404 Not Found")] {
        for start in (0..COUNT).step_by(BATCH) {
            let batch: String = (start..start + BATCH)
                .map(|number| format!("GET /{directory}/{number} HTTP/1.1\r\nHost: test\r\n\r\n"))
                .collect();
            client.send(batch);
            for number in start..start + BATCH {
                let response = client.response();
                assert_eq!(response.status(), expected, "/{directory}/{number}");
                if directory == "files" {
                    let file = number / 1000 * 1000;
                    assert_eq!(response.text(), file.to_string());
                }
            }
            if start % 5000 == 0 {
                let content = start.to_string();
                replace(&root.join("hot"), &content);
                assert_eq!(get_body_or_status(client, "/hot"), content);
            }
        }
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < 12 * 1024, "after {directory}: {grown} KiB more");
    }
    assert!(server.descriptors() < 40, "{}", server.descriptors());
}

#[test]
fn cached_requests_take_few_system_calls() {
    let all = "openat,openat2,newfstatat,statx,fstat,read,pread64,close,recvfrom,sendto,writev,sendmsg,sendfile,epoll_wait,epoll_ctl";
    let Some(trace) = Trace::new(all) else { return };
    let root = Root::of(&[("file", "old"), ("404.html", "absent")]);
    if !is_watched(root.path()) {
        return;
    }
    root.write("large", pseudorandom_bytes(100_000));
    wait_for_file_clock();
    root.backdate();
    wait_for_file_clock();
    let server = Server::spawn(trace.command(root.path(), &["--no-precompressed"]));
    let client = &mut server.connect();
    warm(client, &["/file", "/large", "/nothing"]);
    let tag = client.get("/file");
    let tag = tag.field("ETag").expect("a tag").to_owned();
    let conditional = format!("GET /file HTTP/1.1\r\nHost: test\r\nIf-None-Match: {tag}\r\n\r\n");
    for (what, request, status) in [
        (
            "cached",
            "GET /file HTTP/1.1\r\nHost: test\r\n\r\n",
            "200 OK",
        ),
        ("conditional", &conditional, "304 Not Modified"),
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
        for (name, more) in [
            ("recvfrom", 0),
            ("sendto", 0),
            ("epoll_wait", count(INOTIFY_READ)),
        ] {
            let found = count(name);
            let expected = COUNT - 1..=COUNT + 1 + more;
            assert!(expected.contains(&found), "{what}: {name}: {calls:?}");
        }
        // A missing file is looked up again, also with .html, and so is the 404 page.
        let lookups = if status.starts_with("404") { 3 } else { 1 };
        let found = count("newfstatat") + count("statx");
        assert!(found <= lookups * COUNT, "{what}: {found} stats");
        let opens = if status.starts_with("404") { COUNT } else { 0 };
        let found = count("openat") + count("openat2");
        assert!(found <= opens, "{what}: {found} opens: {calls:?}");
        for name in ["read", "pread64", "close", "fstat", "epoll_ctl", "sendmsg"] {
            assert_eq!(count(name), 0, "{what}: {name}: {calls:?}");
        }
    }
}

#[test]
fn files_are_revalidated_by_stat_without_inotify() {
    let limit = "echo 0 > /proc/sys/user/max_inotify_instances";
    if !can_run("no inotify", "unshare", &["-Ur", "sh", "-c", limit]) {
        return;
    }
    let root = Root::of(&[("file", "old")]);
    let script = format!("{limit}; exec \"$@\"");
    let wrapper = ["unshare", "-Ur", "sh", "-c", &script, "sh"];
    let server = Server::start_under(&wrapper, root.path(), &[]);
    let old = &mut server.connect();
    for round in 0..3 {
        wait_for_file_clock();
        warm(old, &["/file"]);
        let word = |what: &str| format!("{what}-{round}");
        overwrite(&root.join("file"), &word("a"));
        check_change("overwritten", &server, old, "/file", &word("a"));
        replace(&root.join("file"), word("b"));
        check_change_new_first("replaced", &server, old, "/file", &word("b"));
        fs::remove_file(root.join("file")).expect("a file");
        check_change("deleted", &server, old, "/file", "404");
        root.write("file", word("c"));
        check_change_new_first("made again", &server, old, "/file", &word("c"));
    }
}

#[test]
fn lower_layer_of_overlay_is_revalidated_by_stat() {
    let unshare = ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    if !can_run("overlays", "unshare", &unshare) {
        return;
    }
    let root = Root::of(&[
        ("lower/file", "old"),
        ("lower/large", "old"),
        ("site/x", ""),
    ]);
    root.write("lower/large", "1".repeat(100_000));
    fs::create_dir(root.join("upper")).expect("a directory");
    fs::create_dir(root.join("work")).expect("a directory");
    let path = root.path().display();
    let mount = format!(
        "mount -t tmpfs tmpfs {path}/upper && mkdir {path}/upper/upper {path}/upper/work && \
         mount -t overlay overlay -o \
         lowerdir={path}/lower,upperdir={path}/upper/upper,workdir={path}/upper/work {path}/site"
    );
    if !can_run("overlays", "unshare", &["-m", "sh", "-ec", &mount]) {
        return;
    }
    let script = format!("{mount} && exec \"$@\"");
    let wrapper = ["unshare", "-m", "sh", "-ec", &script, "sh"];
    let server = Server::start_under(&wrapper, &root.join("site"), &[]);
    let old = &mut server.connect();
    for round in 0..3 {
        wait_for_file_clock();
        warm(old, &["/file", "/large"]);
        let word = format!("a{round}");
        overwrite(&root.join("lower/file"), &format!("{word} "));
        check_change("below", &server, old, "/file", &word);
        let large = round.to_string().repeat(100_000);
        fs::write(root.join("lower/large"), &large).expect("a file");
        assert!(old.get("/large").content == large.as_bytes(), "{round}");
    }
    warm(old, &["/file"]);
    run_in_mount_namespace(&server, &format!("echo above > {path}/site/file"));
    check_change("above", &server, old, "/file", "above");
}
