//! Sandbox: a confined thread can do nothing that serving does not need.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use crate::support::{
    Root, Server, Signal, Trace, command_under, docroot, eventually, large, pseudorandom_bytes,
};
use docroot::server::sandbox::{Confinement, Requirements, SandboxMode, confine};
use rustix::process::{Pid, test_kill_process};

/// htpasswd -nbB -C 5 alice 'correct horse', and its credentials.
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";
const FOR_ALICE: &str = "YWxpY2U6Y29ycmVjdCBob3JzZQ==";
/// openssl passwd -6 -salt saltsalt pässword
const BOB: &str = "bob:$6$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.";
const FOR_BOB: &str = "Ym9iOnDDpHNzd29yZA==";

/// Confines a new thread and runs `attempt` on it with the version of Landlock. Returns `None`, after printing
/// `SKIPPED`, where the kernel cannot confine.
fn run_confined<T: Send>(
    requirements: &Requirements,
    attempt: impl FnOnce(u32) -> T + Send,
) -> Option<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| match confine(SandboxMode::Auto, requirements) {
            // A thread started by a confined one is confined, too.
            Ok(Confinement::Landlock { abi, .. }) => thread::scope(|scope| {
                let attempt = scope.spawn(move || attempt(abi));
                Some(attempt.join().expect("the attempt does not panic"))
            }),
            other => {
                eprintln!("SKIPPED: the kernel cannot confine here: {other:?}");
                None
            }
        });
        thread.join().expect("the thread does not panic")
    })
}

/// Returns the requirements of a server of these directories.
fn requirements(directories: &[&Path]) -> Requirements {
    Requirements {
        directories: directories.iter().map(|&path| path.into()).collect(),
        ..Requirements::default()
    }
}

/// Directory to confine a thread to, a file outside it, and two listening sockets.
struct Fixture {
    folder: Root,
    tcp: TcpListener,
    abstract_socket: UnixListener,
}

impl Fixture {
    fn new() -> Self {
        let files = [
            ("root/a.txt", "a"),
            ("root/run", "#!/bin/sh\n"),
            ("outside.txt", "o"),
        ];
        let folder = Root::of(&files);
        symlink("../outside.txt", folder.join("root/link.txt")).expect("a link");
        let executable = Permissions::from_mode(0o755);
        fs::set_permissions(folder.join("root/run"), executable).expect("the test owns it");
        let name = folder.path().as_os_str().as_encoded_bytes();
        let name = SocketAddr::from_abstract_name(name).expect("a name");
        Self {
            folder,
            tcp: TcpListener::bind("127.0.0.1:0").expect("a port"),
            abstract_socket: UnixListener::bind_addr(&name).expect("a socket"),
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Tries everything that this version of Landlock must forbid to a thread confined to the root, and returns the
    /// operations that were not refused.
    fn allowed_operations(&self, abi: u32) -> Vec<&'static str> {
        let at = |name: &str| self.root().join(name);
        let outside = self.folder.join("outside.txt");
        let write = |path: &Path| File::options().write(true).open(path).map(drop);
        let read = |path: &Path| File::open(path).map(drop);
        let run = |path: &Path| Command::new(path).status().map(drop);
        let listening = self.tcp.local_addr().expect("an address");
        let unix = self.abstract_socket.local_addr().expect("an address");
        let results = [
            ("read outside", 1, read(&outside)),
            ("read by a detour", 1, read(&at("../outside.txt"))),
            ("read by a link", 1, read(&at("link.txt"))),
            ("read by /proc", 1, read(Path::new("/proc/self/environ"))),
            ("read /etc/passwd", 1, read(Path::new("/etc/passwd"))),
            (
                "list outside",
                1,
                fs::read_dir(self.folder.path()).map(drop),
            ),
            ("write outside", 1, write(&outside)),
            ("write", 1, write(&at("a.txt"))),
            ("create", 1, File::create(at("new.txt")).map(drop)),
            ("make a folder", 1, fs::create_dir(at("new"))),
            ("make a link", 1, symlink("a.txt", at("new-link"))),
            ("rename", 1, fs::rename(at("link.txt"), at("moved.txt"))),
            ("remove", 1, fs::remove_file(at("a.txt"))),
            ("execute a served file", 1, run(&at("run"))),
            ("execute", 1, run(Path::new("/bin/true"))),
            ("connect", 4, TcpStream::connect(listening).map(drop)),
            ("bind", 4, TcpListener::bind("127.0.0.1:0").map(drop)),
            (
                "send a signal",
                6,
                test_kill_process(Pid::INIT).map_err(Into::into),
            ),
            (
                "connect on this machine",
                6,
                UnixStream::connect_addr(&unix).map(drop),
            ),
        ];
        let allowed = results.into_iter().filter(|(_, since, result)| {
            let is_refused = |kind| kind == ErrorKind::PermissionDenied;
            *since <= abi && !result.as_ref().is_err_and(|error| is_refused(error.kind()))
        });
        allowed.map(|(name, ..)| name).collect()
    }
}

#[test]
fn confined_thread_can_only_read_served_directories() {
    let fixture = Fixture::new();
    let root = fixture.root();
    let allowed = run_confined(&requirements(&[&root]), |abi| {
        assert_eq!(fs::read(root.join("a.txt")).expect("readable"), b"a");
        assert_eq!(fs::read_dir(&root).expect("readable").count(), 3);
        assert!(File::open("/proc/self/mountinfo").is_ok());
        fixture.allowed_operations(abi)
    });
    assert_eq!(allowed.unwrap_or_default(), [""; 0]);
    // Other threads of this process are not confined and can do all of it.
    let allowed = fixture.allowed_operations(u32::MAX);
    for each in [
        "read by a link",
        "list outside",
        "rename",
        "remove",
        "execute",
        "connect",
        "bind",
    ] {
        assert!(allowed.contains(&each), "{each}: {allowed:?}");
    }
}

#[test]
fn read_everywhere_allows_reading_and_no_writing() {
    let fixture = Fixture::new();
    let requirements = Requirements {
        read_everywhere: true,
        ..requirements(&[&fixture.root()])
    };
    let Some(allowed) = run_confined(&requirements, |abi| fixture.allowed_operations(abi)) else {
        return;
    };
    let reads = |name: &&str| name.starts_with("read") || name.starts_with("list");
    assert!(allowed.iter().all(reads), "{allowed:?}");
    assert_eq!(allowed.len(), 6);
}

#[test]
fn log_files_can_be_created_and_appended_only() {
    let folder = Root::of(&[("log/access.log", "1\n"), ("root/a.txt", "a")]);
    let log = folder.join("log/access.log");
    let requirements = Requirements {
        logs: vec![log.clone()],
        ..requirements(&[&folder.join("root")])
    };
    run_confined(&requirements, |abi| {
        let append = |path: &Path| File::options().append(true).create(true).open(path);
        assert!(append(&log).is_ok());
        assert!(append(&folder.join("log/access.log.1")).is_ok());
        assert!(append(&folder.join("root/a.txt")).is_err());
        assert!(File::open(&log).is_err());
        assert!(fs::remove_file(&log).is_err());
        assert!(abi < 3 || File::create(&log).is_err());
    });
    assert_eq!(fs::read(log).expect("it exists"), b"1\n");
}

#[test]
fn next_release_can_be_read() {
    let folder = Root::of(&[("releases/42/a", "42"), ("releases/43/a", "43"), ("b", "b")]);
    let current = folder.join("current");
    symlink("releases/42", &current).expect("a link");
    run_confined(&requirements(&[&current]), |_| {
        assert!(fs::read(current.join("a")).is_ok());
        assert!(fs::read(folder.join("releases/43/a")).is_ok());
        assert!(fs::read(folder.join("b")).is_err());
    });
    // A release given by its own path is readable alone.
    run_confined(&requirements(&[&folder.join("releases/42")]), |_| {
        assert!(fs::read(current.join("a")).is_ok());
        assert!(fs::read(folder.join("releases/43/a")).is_err());
    });
}

/// Makes the link `link` in a directory lead to `to`, atomically.
fn switch(folder: &Root, link: &str, to: &str) {
    let new = folder.join("new");
    symlink(to, &new).expect("the test owns this directory");
    fs::rename(new, folder.join(link)).expect("the test owns this directory");
}

#[test]
fn next_release_is_served_whichever_link_is_switched() {
    let check = |links: &[(&str, &str)], releases: [&str; 2], switched: (&str, &str)| {
        let folder = Root::of(&[]);
        for (number, release) in ["1", "2"].into_iter().zip(releases) {
            folder.write(Path::new(release).join("index.html"), number);
        }
        for (link, to) in links {
            switch(&folder, link, to);
        }
        let server = Server::start(&folder.join(links[0].0));
        assert_eq!(server.get("/").text(), "1", "{links:?}");
        switch(&folder, switched.0, switched.1);
        assert_eq!(server.get("/").text(), "2", "{links:?}");
    };
    check(
        &[("www", "app/current/public"), ("app/current", "releases/1")],
        ["app/releases/1/public", "app/releases/2/public"],
        ("app/current", "releases/2"),
    );
    check(
        &[("current", "stage/public"), ("stage", "releases/1")],
        ["releases/1/public", "releases/2/public"],
        ("stage", "releases/2"),
    );
    // The layout of the kubelet.
    check(
        &[("html", "..data/html"), ("..data", "..1")],
        ["..1/html", "..2/html"],
        ("..data", "..2"),
    );
}

#[test]
fn rule_files_are_read_through_links() {
    let folder = Root::of(&[
        ("shared/_headers", "/*\n  X-Rules: shared\n"),
        ("etc/_headers", ""),
        ("shared/_redirects", "/old /new\n"),
        ("root/index.html", "hello"),
        ("other/index.html", "hello"),
    ]);
    symlink("../shared/_headers", folder.join("root/_headers"))
        .expect("the test owns this directory");
    let server = Server::start(&folder.join("root"));
    assert_eq!(server.get("/").field("X-Rules"), Some("shared"));

    symlink("../shared/_redirects", folder.join("etc/_redirects"))
        .expect("the test owns this directory");
    let headers = folder.join("etc/_headers");
    let options = ["--headers-file", headers.to_str().expect("text")];
    let server = Server::with(&folder.join("other"), &options);
    assert_eq!(server.get("/old").field("Location"), Some("/new"));
}

#[test]
fn log_file_is_created_through_link() {
    let folder = Root::of(&[("log/old.log", ""), ("root/index.html", "hello")]);
    symlink("log/access.log", folder.join("access.log")).expect("the test owns this directory");
    let log = folder.join("access.log");
    let options = ["--log-file", log.to_str().expect("text")];
    let server = Server::with(&folder.join("root"), &options);
    server.get("/");
    eventually("a line is written", || {
        let log = fs::read_to_string(folder.join("log/access.log")).ok()?;
        log.ends_with('\n').then_some(())
    });
}

/// Whether the kernel can confine; prints `SKIPPED` if not.
fn can_confine() -> bool {
    run_confined(&Requirements::default(), |_| ()).is_some()
}

#[test]
fn every_server_thread_is_confined() {
    let root = Root::of(&[("index.html", "hello")]);
    let options = ["--workers", "3", "--compress", "--auth", ALICE];
    let server = Server::with(root.path(), &options);
    assert_eq!(server.get("/").status(), "401 Unauthorized");
    // 3 workers, 2 encoders, 1 prover of sidecars, 1 password verifier, 2 line writers, 1 for signals.
    let threads = 3 + 2 + 1 + 1 + 2 + 1;
    let statuses = eventually("all threads have started", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
        let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status"));
        let statuses: Vec<_> = tasks.map(|task| status(task?)).collect();
        (statuses.len() == threads).then_some(statuses)
    });
    for status in statuses {
        let status = status.expect("proc");
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    }
}

#[test]
fn server_binds_then_confines_itself_then_starts_threads() {
    let Some(trace) = Trace::new("bind,landlock_restrict_self,clone,clone3") else {
        return;
    };
    if !can_confine() {
        return;
    }
    let root = Root::of(&[("index.html", "hello")]);
    let _server = Server::spawn(trace.command(root.path(), &["--workers", "2"]));
    let calls = trace.calls();
    let expected = ["bind", "bind", "landlock_restrict_self"];
    assert_eq!(calls[..3], expected, "{calls:?}");
    let rest = &calls[3..];
    assert!(
        !rest.is_empty() && rest.iter().all(|call| call.starts_with("clone")),
        "{calls:?}"
    );
}

#[test]
fn reload_cannot_read_outside_sandbox() {
    if !can_confine() {
        return;
    }
    let folder = Root::of(&[
        ("root/a.x", "a"),
        ("etc/types", "text/plain x\n"),
        ("secret/types", "text/html x\n"),
    ]);
    let types = folder.join("etc/types");
    let option = types.to_str().expect("text");
    for (how, kind) in [("on", "text/plain"), ("off", "text/html")] {
        fs::write(&types, "text/plain x\n").expect("a file");
        let options = ["--sandbox", how, "--mime-types", option];
        let server = Server::with(&folder.join("root"), &options);
        let is = |kind: &str| {
            let response = server.get("/a.x");
            response.field("Content-Type") == Some(&format!("{kind}; charset=utf-8"))
        };
        assert!(is("text/plain"));
        fs::remove_file(&types).expect("a file");
        symlink("../secret/types", &types).expect("a link");
        server.signal(Signal::HUP);
        let stderr = server.stderr_line();
        assert_eq!(
            stderr.contains("Permission denied"),
            how == "on",
            "{stderr}"
        );
        assert!(is(kind));
        fs::remove_file(&types).expect("a link");
    }
}

#[test]
fn sandbox_restricts_no_feature() {
    let folder = Root::of(&[
        ("root/index.html", "hello"),
        ("root/list/a.txt", "a"),
        ("etc/users", ALICE),
    ]);
    let large = large();
    let medium = pseudorandom_bytes(200_000);
    let text = "const a = 1;\n".repeat(1000);
    folder.write("root/large.bin", large);
    folder.write("root/medium.bin", &medium);
    folder.write("root/app.js", &text);
    let users = folder.join("etc/users");
    let how = if can_confine() { "on" } else { "auto" };
    let options = ["--sandbox", how, "--listing", "--compress", "--auth-file"];
    let options = [&options[..], &[users.to_str().expect("text")]].concat();
    let server = Server::with(&folder.join("root"), &options);
    let get = |credentials: &str, target: &str| {
        let fields = format!("Authorization: Basic {credentials}\r\nAccept-Encoding: gzip\r\n");
        server.ask("GET", target, &fields)
    };
    assert_eq!(get(FOR_ALICE, "/").content, b"hello");
    assert!(get(FOR_ALICE, "/large.bin").content == large);
    // From the second request on, the server sends a copy in memory.
    for _ in 0..3 {
        assert!(get(FOR_ALICE, "/medium.bin").content == medium);
    }
    eventually("the response is encoded", || {
        let response = get(FOR_ALICE, "/app.js");
        (response.decoded() == text.as_bytes() && response.field("Content-Encoding").is_some())
            .then_some(())
    });
    let mut client = server.connect();
    client.send(format!(
        "GET /list/ HTTP/1.0\r\nAuthorization: Basic {FOR_ALICE}\r\n\r\n"
    ));
    assert!(String::from_utf8_lossy(&client.rest()).contains("a.txt"));
    folder.write("root/index.html", "changed");
    assert_eq!(get(FOR_ALICE, "/").content, b"changed");
    folder.write("root/new/index.html", "new");
    assert_eq!(get(FOR_ALICE, "/new/").content, b"new");

    // A new file replaces the one with the users, as editors do.
    assert_eq!(get(FOR_BOB, "/").status(), "401 Unauthorized");
    folder.write("etc/users.new", BOB);
    fs::rename(folder.join("etc/users.new"), &users).expect("the test owns it");
    server.signal(Signal::HUP);
    let stderr = server.stderr_line();
    assert!(stderr.contains("configuration reloaded"), "{stderr}");
    assert_eq!(get(FOR_BOB, "/").content, b"changed");
    assert_eq!(get(FOR_ALICE, "/").status(), "401 Unauthorized");
}

/// Returns the command that serves `root` while Landlock fails with this error. Returns `None`, after printing
/// `SKIPPED`, where strace(1) cannot inject the error.
fn command_without_landlock(error: &str, root: &Path, options: &[&str]) -> Option<Command> {
    let inject = format!("inject=landlock_create_ruleset:error={error}");
    let trace = "trace=landlock_create_ruleset";
    let wrapper = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        trace,
        "-e",
        &inject,
    ];
    let probe = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .status();
    if !probe.is_ok_and(|probe| probe.success()) {
        eprintln!("SKIPPED: strace(1) cannot inject an error into Landlock here");
        return None;
    }
    Some(command_under(&wrapper, root, options))
}

#[test]
fn missing_landlock_warns_or_fails_start() {
    let root = Root::of(&[("index.html", "hello")]);
    // A kernel before 5.13, one with Landlock disabled, and a seccomp filter.
    for error in ["ENOSYS", "EOPNOTSUPP", "EPERM"] {
        let Some(command) = command_without_landlock(error, root.path(), &[]) else {
            return;
        };
        let server = Server::spawn(command);
        let startup_line = &server.announcement;
        assert!(
            startup_line.contains(r#""sandbox":"none","landlock":0"#),
            "{startup_line}"
        );
        let warning = server.stderr_line();
        assert!(
            warning.contains("WARN not confined: this kernel"),
            "{warning}"
        );
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("proc");
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
        assert_eq!(server.get("/").content, b"hello");

        for options in [&["--sandbox", "on"][..], &["--sandbox", "on", "--check"]] {
            let command = command_without_landlock(error, root.path(), options);
            let output = command
                .expect("strace works")
                .output()
                .expect("docroot runs");
            check_refusal(&output);
        }
    }
}

/// Checks the error of a start with `--sandbox on` that cannot confine.
fn check_refusal(output: &Output) {
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with("docroot: --sandbox on: not confined: "),
        "{stderr}"
    );
    assert!(
        stderr.ends_with("--sandbox auto uses what the kernel has\n"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn startup_line_reports_sandbox() {
    let root = Root::of(&[("index.html", "hello")]);
    let reported = |options: &[&str]| {
        let server = Server::with(root.path(), options);
        let (_, sandbox) = server
            .announcement
            .split_once(r#""sandbox":""#)
            .expect("a sandbox");
        sandbox.split('"').next().unwrap_or_default().to_owned()
    };
    assert_eq!(reported(&["--sandbox", "off"]), "off");
    if can_confine() {
        assert_eq!(reported(&["--symlinks", "follow"]), "partial");
        assert_eq!(reported(&["--sandbox", "on"]), reported(&[]));
    }
    let check = docroot()
        .arg("--check")
        .arg(root.path())
        .output()
        .expect("docroot runs");
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.contains("\nsandbox  "), "{check}");
}
