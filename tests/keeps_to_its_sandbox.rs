//! Nothing that serving does not need can be done by whoever is confined, whatever its code tries.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use crate::support::{Root, Server, Signal, Trace, docroot, eventually, filling, large, upon};
use docroot::sandbox::{Confinement, Requirements, SandboxMode, confine};
use rustix::process::{Pid, test_kill_process};

/// htpasswd -nbB -C 5 alice 'correct horse', and its credentials.
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";
const FOR_ALICE: &str = "YWxpY2U6Y29ycmVjdCBob3JzZQ==";
/// openssl passwd -6 -salt saltsalt pässword
const BOB: &str = "bob:$6$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.";
const FOR_BOB: &str = "Ym9iOnDDpHNzd29yZA==";

/// What confines a thread of its own, and has it try something. `None`, said loudly, where the kernel cannot confine.
fn confined<T: Send>(needs: &Requirements, attempt: impl FnOnce(u32) -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let confined = scope.spawn(|| match confine(SandboxMode::Auto, needs) {
            // A thread that it starts is confined as well.
            Ok(Confinement::Landlock { abi, .. }) => thread::scope(|scope| {
                let attempt = scope.spawn(move || attempt(abi));
                Some(attempt.join().expect("what is tried does not panic"))
            }),
            other => {
                eprintln!("SKIPPED: the kernel does not confine here: {other:?}");
                None
            }
        });
        confined.join().expect("it does not panic")
    })
}

fn needs(folders: &[&Path]) -> Requirements {
    Requirements {
        folders: folders.iter().map(|&path| path.into()).collect(),
        ..Requirements::default()
    }
}

/// A folder to be confined to, beside a file that is not in it, and who can be connected to.
struct Stage {
    folder: Root,
    tcp: TcpListener,
    abstract_socket: UnixListener,
}

impl Stage {
    fn new() -> Self {
        let files = [
            ("root/a.txt", "a"),
            ("root/run", "#!/bin/sh\n"),
            ("outside.txt", "o"),
        ];
        let folder = Root::of(&files);
        symlink("../outside.txt", folder.join("root/link.txt")).expect("a link");
        let executable = Permissions::from_mode(0o755);
        fs::set_permissions(folder.join("root/run"), executable).expect("it is ours");
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

    /// Tries everything that this version of Landlock is to forbid to whoever is confined to the root, and gives
    /// what was not refused.
    fn possible(&self, abi: u32) -> Vec<&'static str> {
        let at = |name: &str| self.root().join(name);
        let outside = self.folder.join("outside.txt");
        let write = |path: &Path| File::options().write(true).open(path).map(drop);
        let read = |path: &Path| File::open(path).map(drop);
        let run = |path: &Path| Command::new(path).status().map(drop);
        let listening = self.tcp.local_addr().expect("an address");
        let unix = self.abstract_socket.local_addr().expect("an address");
        let done = [
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
            ("execute what is served", 1, run(&at("run"))),
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
        let possible = done.into_iter().filter(|(_, since, done)| {
            let is_refused = |kind| kind == ErrorKind::PermissionDenied;
            *since <= abi && !done.as_ref().is_err_and(|error| is_refused(error.kind()))
        });
        possible.map(|(name, ..)| name).collect()
    }
}

#[test]
fn who_is_confined_reads_what_is_served_and_can_do_nothing_else() {
    let stage = Stage::new();
    let root = stage.root();
    let tried = confined(&needs(&[&root]), |abi| {
        assert_eq!(fs::read(root.join("a.txt")).expect("it is served"), b"a");
        assert_eq!(fs::read_dir(&root).expect("it is served").count(), 3);
        assert!(File::open("/proc/self/mountinfo").is_ok());
        stage.possible(abi)
    });
    assert_eq!(tried.unwrap_or_default(), [""; 0]);
    // Elsewhere in this process nobody is, and all of it can be done.
    let possible = stage.possible(u32::MAX);
    for each in [
        "read by a link",
        "list outside",
        "rename",
        "remove",
        "execute",
        "connect",
        "bind",
    ] {
        assert!(possible.contains(&each), "{each}: {possible:?}");
    }
}

#[test]
fn with_links_that_lead_anywhere_everything_is_read_and_nothing_changed() {
    let stage = Stage::new();
    let needs = Requirements {
        read_everywhere: true,
        ..needs(&[&stage.root()])
    };
    let Some(possible) = confined(&needs, |abi| stage.possible(abi)) else {
        return;
    };
    let reads = |name: &&str| name.starts_with("read") || name.starts_with("list");
    assert!(possible.iter().all(reads), "{possible:?}");
    assert_eq!(possible.len(), 6);
}

#[test]
fn logs_are_made_and_appended_to_and_neither_cut_off_nor_read() {
    let folder = Root::of(&[("log/access.log", "1\n"), ("root/a.txt", "a")]);
    let log = folder.join("log/access.log");
    let needs = Requirements {
        logs: vec![log.clone()],
        ..needs(&[&folder.join("root")])
    };
    confined(&needs, |abi| {
        let append = |path: &Path| File::options().append(true).create(true).open(path);
        assert!(append(&log).is_ok());
        assert!(append(&folder.join("log/access.log.1")).is_ok());
        assert!(append(&folder.join("root/a.txt")).is_err());
        assert!(File::open(&log).is_err());
        assert!(fs::remove_file(&log).is_err());
        assert!(abi < 3 || File::create(&log).is_err());
    });
    assert_eq!(fs::read(log).expect("it is there"), b"1\n");
}

#[test]
fn the_next_release_can_be_read() {
    let folder = Root::of(&[("releases/42/a", "42"), ("releases/43/a", "43"), ("b", "b")]);
    let current = folder.join("current");
    symlink("releases/42", &current).expect("a link");
    confined(&needs(&[&current]), |_| {
        assert!(fs::read(current.join("a")).is_ok());
        assert!(fs::read(folder.join("releases/43/a")).is_ok());
        assert!(fs::read(folder.join("b")).is_err());
    });
    // One that is named by its own name stays alone.
    confined(&needs(&[&folder.join("releases/42")]), |_| {
        assert!(fs::read(current.join("a")).is_ok());
        assert!(fs::read(folder.join("releases/43/a")).is_err());
    });
}

/// Gives the name `link` below a folder to what `to` leads to.
fn switch(folder: &Root, link: &str, to: &str) {
    let new = folder.join("new");
    symlink(to, &new).expect("a folder of ours");
    fs::rename(new, folder.join(link)).expect("a folder of ours");
}

#[test]
fn whichever_link_is_switched_the_next_release_is_served() {
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
    // As the kubelet has it.
    check(
        &[("html", "..data/html"), ("..data", "..1")],
        ["..1/html", "..2/html"],
        ("..data", "..2"),
    );
}

#[test]
fn rules_are_read_where_their_links_lead() {
    let folder = Root::of(&[
        ("shared/_headers", "/*\n  X-Rules: shared\n"),
        ("etc/_headers", ""),
        ("shared/_redirects", "/old /new\n"),
        ("root/index.html", "hello"),
        ("other/index.html", "hello"),
    ]);
    symlink("../shared/_headers", folder.join("root/_headers")).expect("a folder of ours");
    let server = Server::start(&folder.join("root"));
    assert_eq!(server.get("/").field("X-Rules"), Some("shared"));

    symlink("../shared/_redirects", folder.join("etc/_redirects")).expect("a folder of ours");
    let headers = folder.join("etc/_headers");
    let options = ["--headers-file", headers.to_str().expect("text")];
    let server = Server::with(&folder.join("other"), &options);
    assert_eq!(server.get("/old").field("Location"), Some("/new"));
}

#[test]
fn a_log_is_made_where_its_link_leads() {
    let folder = Root::of(&[("log/old.log", ""), ("root/index.html", "hello")]);
    symlink("log/access.log", folder.join("access.log")).expect("a folder of ours");
    let log = folder.join("access.log");
    let options = ["--log-file", log.to_str().expect("text")];
    let server = Server::with(&folder.join("root"), &options);
    server.get("/");
    eventually("a line is written", || {
        let log = fs::read_to_string(folder.join("log/access.log")).ok()?;
        log.ends_with('\n').then_some(())
    });
}

/// Whether this kernel confines, and if not, that nothing is shown here.
fn can_confine() -> bool {
    confined(&Requirements::default(), |_| ()).is_some()
}

#[test]
fn every_thread_of_a_server_is_confined() {
    let root = Root::of(&[("index.html", "hello")]);
    let options = ["--workers", "3", "--compress", "--auth", ALICE];
    let server = Server::with(root.path(), &options);
    assert_eq!(server.get("/").status(), "401 Unauthorized");
    // Loops, two that compress, one that verifies, two that write lines, and one for signals.
    let threads = 3 + 2 + 1 + 2 + 1;
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
fn all_is_bound_and_then_forbidden_before_the_first_thread_starts() {
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
fn a_server_that_is_led_out_of_its_sandbox_stays_in_it() {
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
        let said = server.complaint();
        assert_eq!(said.contains("Permission denied"), how == "on", "{said}");
        assert!(is(kind));
        fs::remove_file(&types).expect("a link");
    }
}

#[test]
fn all_that_is_served_without_a_sandbox_is_served_in_it() {
    let folder = Root::of(&[
        ("root/index.html", "hello"),
        ("root/list/a.txt", "a"),
        ("etc/users", ALICE),
    ]);
    let large = large();
    let medium = filling(200_000);
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
    // Of this one a copy in memory is sent from the second time on.
    for _ in 0..3 {
        assert!(get(FOR_ALICE, "/medium.bin").content == medium);
    }
    eventually("it is compressed", || {
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

    // Another file takes the place of the one with the users, as an editor leaves it.
    assert_eq!(get(FOR_BOB, "/").status(), "401 Unauthorized");
    folder.write("etc/users.new", BOB);
    fs::rename(folder.join("etc/users.new"), &users).expect("it is ours");
    server.signal(Signal::HUP);
    let said = server.complaint();
    assert!(said.contains("is in force"), "{said}");
    assert_eq!(get(FOR_BOB, "/").content, b"changed");
    assert_eq!(get(FOR_ALICE, "/").status(), "401 Unauthorized");
}

/// Runs docroot where the kernel answers this to who asks for Landlock. `None`, said loudly, where strace(1) cannot
/// arrange that.
fn upon_no_landlock(error: &str, root: &Path, options: &[&str]) -> Option<Command> {
    let inject = format!("inject=landlock_create_ruleset:error={error}");
    let trace = "trace=landlock_create_ruleset";
    let stage = [
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
    let tried = Command::new(stage[0])
        .args(&stage[1..])
        .arg("true")
        .status();
    if !tried.is_ok_and(|tried| tried.success()) {
        eprintln!("SKIPPED: strace(1) cannot take Landlock away here");
        return None;
    }
    Some(upon(&stage, root, options))
}

#[test]
fn without_landlock_it_serves_and_says_so_or_does_not_start() {
    let root = Root::of(&[("index.html", "hello")]);
    // A kernel before 5.13, one that does not use it, and a filter of system calls.
    for error in ["ENOSYS", "EOPNOTSUPP", "EPERM"] {
        let Some(command) = upon_no_landlock(error, root.path(), &[]) else {
            return;
        };
        let server = Server::spawn(command);
        let said = &server.announcement;
        assert!(said.contains(r#""sandbox":"none","landlock":0"#), "{said}");
        let complaint = server.complaint();
        assert!(
            complaint.contains("WARN not confined: this kernel"),
            "{complaint}"
        );
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("proc");
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
        assert_eq!(server.get("/").content, b"hello");

        for options in [&["--sandbox", "on"][..], &["--sandbox", "on", "--check"]] {
            let command = upon_no_landlock(error, root.path(), options);
            let output = command
                .expect("it could be arranged")
                .output()
                .expect("it runs");
            check_refusal(&output);
        }
    }
}

fn check_refusal(output: &Output) {
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("docroot: --sandbox on: not confined: "),
        "{said}"
    );
    assert!(
        said.ends_with("--sandbox auto takes what there is\n"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn the_start_says_what_is_enforced() {
    let root = Root::of(&[("index.html", "hello")]);
    let said = |options: &[&str]| {
        let server = Server::with(root.path(), options);
        let (_, sandbox) = server
            .announcement
            .split_once(r#""sandbox":""#)
            .expect("it is said");
        sandbox.split('"').next().unwrap_or_default().to_owned()
    };
    assert_eq!(said(&["--sandbox", "off"]), "off");
    if can_confine() {
        assert_eq!(said(&["--symlinks", "follow"]), "partial");
        assert_eq!(said(&["--sandbox", "on"]), said(&[]));
    }
    let check = docroot()
        .arg("--check")
        .arg(root.path())
        .output()
        .expect("it runs");
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.contains("\nsandbox  "), "{check}");
}
