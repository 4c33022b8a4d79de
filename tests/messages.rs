//! Every message names what was typed and what to type instead, in plain words.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    Root, Server, Signal, TIMEOUT, docroot, eventually, is_about_index, send_signal,
};

/// Turns of phrase that name no thing or no agent: they have to be decoded before a reader can act.
const UNCLEAR_PHRASES: &[&str] = &[
    "whoever",
    "whomever",
    "somebody",
    "nobody",
    "who is",
    "who are",
    "who has",
    "who asks",
    "who may",
    "who can",
    "who wants",
    "who reads",
    "is told",
    "are told",
    "told of",
    "was told",
    "what is there",
    "what is not",
    "what is said",
    "what is asked",
    "what is sent",
    "what is known",
    "what is made",
    "what is found",
    "what is left",
    "what is kept",
    "what is begun",
    "be had",
    "hung up on",
    "goes on being",
    "by what",
    "of which nothing",
    "beside the loop",
    "as it is asked for",
    "where none may",
    "be shown",
    "in force from",
];

/// No line of a message is longer, but for the names that were typed.
const MAX_LINE: usize = 320;

fn check_plain(text: &str) {
    let lowercase = text.to_lowercase();
    for phrase in UNCLEAR_PHRASES {
        assert!(!lowercase.contains(phrase), "{phrase:?} in {text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= MAX_LINE, "{line}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs a command to its end. If it serves instead, kills it and fails.
fn output(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("docroot starts");
    let deadline = Instant::now() + TIMEOUT;
    while child.try_wait().expect("a child process").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{command:?} serves");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("a child process")
}

/// Checks that a command fails with this exit code and prints one line that has all of these words.
fn check(command: &mut Command, code: i32, words: &[&str]) {
    let output = output(command);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    assert_eq!(text(&output.stdout), "", "{command:?}");
    let line = stderr.lines().next().unwrap_or_default();
    for word in words {
        assert!(line.contains(word), "{command:?}: no {word} in: {line}");
    }
    check_plain(&stderr);
    if !line.starts_with("error: ") {
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(line.starts_with("docroot: "), "{line}");
    }
}

fn site() -> Root {
    Root::of(&[
        ("index.html", "index"),
        ("html/index.html", "inner"),
        (".secret", "hidden"),
    ])
}

/// Returns docroot with these arguments, run in that directory.
fn inside(root: &Root, arguments: &[&str]) -> Command {
    let mut command = docroot();
    command.args(arguments).current_dir(root.path());
    command
}

#[test]
fn wrong_argument_is_named_with_what_to_type() {
    let root = site();
    let bad = |arguments: &[&str], code: i32, words: &[&str]| {
        check(&mut inside(&root, arguments), code, words);
    };
    bad(&["html", "other"], 2, &["'other'", "one directory"]);
    bad(&["html", "3000"], 2, &["'3000'", "--port 3000"]);
    bad(&["8000"], 4, &["8000", "--port 8000"]);
    bad(
        &["--spa", "index.html", "html"],
        2,
        &["'html'", "--spa=index.html"],
    );
    bad(
        &["--spa", "index.html"],
        4,
        &["index.html", "--spa=index.html"],
    );
    bad(
        &["-s", "index.html", "html"],
        2,
        &["'html'", "-s=index.html"],
    );
    bad(
        &["-l", "3000"],
        2,
        &["'3000'", "--port 3000", "'[::]:3000'"],
    );
    bad(
        &["-b", ":3000"],
        2,
        &["':3000'", "--port 3000", "'[::]:3000'"],
    );
    bad(&["help"], 4, &["help", "docroot --help"]);
    bad(&["help", "html"], 2, &["'html'", "docroot --help"]);
    bad(&["serve", "html"], 2, &["'html'", "docroot html"]);
    bad(&["--gzip"], 2, &["--gzip", "--compress"]);
    bad(&["--tls"], 2, &["--tls", "plain HTTP", "proxy"]);
    bad(&["--watch"], 2, &["--watch", "--live-reload"]);
    bad(&["--prot", "80"], 2, &["--prot"]);
    bad(
        &["--mime-types", "wasm=application/wasm"],
        2,
        &["--mime-types", ".wasm=application/wasm"],
    );
    bad(&["--port", "http"], 2, &["'http'", "--port", "0 to 65535"]);
    bad(&["--symlinks", "all"], 2, &["'all'", "--symlinks"]);
    bad(&["--cache", "often"], 2, &["'often'", "--cache"]);
    bad(&["--cache", "1h"], 2, &["'1h'", "--cache", "write 3600"]);
    bad(&["--header", "X"], 2, &["'X'", "--header"]);
    bad(&["--header-timeout", "10"], 2, &["'10'", "10s"]);
    bad(
        &["--compress", "--cache-memory", "0"],
        2,
        &["--compress", "--cache-memory 0"],
    );
    bad(
        &["--symlinks", "deny", "--symlink-root", "/tmp"],
        2,
        &["--symlink-root", "--symlinks inside"],
    );
    bad(
        &["--log-file", "a.log", "--quiet"],
        2,
        &["--log-file a.log", "--quiet"],
    );
    bad(
        &["--log-file", "a.log", "."],
        2,
        &["--log-file a.log", "root"],
    );
    bad(
        &["--auth-file", "none"],
        2,
        &["--auth-file none", "No such file"],
    );
    bad(&["--auth", "alice"], 2, &["--auth"]);
    // A missing page and too many connections are found after binding: port 0, so that tests do not compete for 8080.
    bad(&["-p", "0", "--404", "lost.html"], 2, &["--404 lost.html"]);
    bad(&["-p", "0", "--spa=lost.html"], 2, &["--spa lost.html"]);
    bad(
        &["-p", "0", "--max-connections", "1000000000"],
        2,
        &["--max-connections 1000000000", "ulimit -n"],
    );
    bad(
        &["--proxy-protocol", "--max-connections-per-ip", "9"],
        2,
        &["--proxy-protocol", "--trusted-proxy"],
    );
    bad(&["none"], 4, &["none", "No such file"]);
    bad(&["index.html"], 4, &["index.html", "directory"]);
    bad(&["-b", "192.0.2.1"], 3, &["192.0.2.1", "--bind"]);
    bad(&["-b", "systemd"], 3, &["LISTEN_FDS", ".socket"]);
    bad(&["--metrics", "9090"], 2, &["'9090'", "127.0.0.1:9090"]);
    bad(&["--health=up"], 2, &["'up'", "/healthz"]);
    bad(&["compress", "none"], 4, &["none", "No such file"]);
    bad(
        &["healthcheck", "example.com"],
        1,
        &["example.com", "http://127.0.0.1:8080"],
    );
    bad(
        &["healthcheck", "http://127.0.0.1:1/"],
        1,
        &["http://127.0.0.1:1/", "refused"],
    );
    bad(
        &["explain", "/", "-H", "Host"],
        2,
        &["'Host'", "Name: value"],
    );
    bad(&["hash", "a:b"], 2, &["'a:b'", "colon"]);
}

#[test]
fn wrong_variable_is_named_with_what_to_set() {
    let root = site();
    let bad = |name: &str, value: &str, words: &[&str]| {
        check(inside(&root, &["html"]).env(name, value), 2, words);
    };
    bad(
        "DOCROOT_PORT",
        "abc",
        &["docroot: DOCROOT_PORT=abc: ", "0 to 65535"],
    );
    bad("PORT", "abc", &["PORT=abc", "0 to 65535"]);
    bad(
        "DOCROOT_SYMLINKS",
        "all",
        &["DOCROOT_SYMLINKS=all", "inside, deny, follow"],
    );
    bad(
        "DOCROOT_HIDDEN",
        "perhaps",
        &["DOCROOT_HIDDEN=perhaps: expected true, yes"],
    );
    bad("DOCROOT_LISTING", "maybe", &["false, no, off, 0"]);
    let bad_page = |arguments: &[&str], name: &str, words: &[&str]| {
        check(inside(&root, arguments).env(name, "maybe"), 2, words);
    };
    for (name, typed) in [
        ("DOCROOT_SPA", "docroot: DOCROOT_SPA=maybe: "),
        ("DOCROOT_404", "docroot: DOCROOT_404=maybe: "),
    ] {
        bad_page(&["-p", "0", "html"], name, &[typed, "No such file"]);
        bad_page(&["explain", "/", "html"], name, &[typed]);
    }
    // The command line wins.
    bad_page(
        &["-p", "0", "--spa=none", "html"],
        "DOCROOT_SPA",
        &["--spa none"],
    );
    bad(
        "DOCROOT_BIND",
        "127.0.0.1,3000",
        &["DOCROOT_BIND=3000", "--port 3000"],
    );
    // The same value on the command line is an argument's.
    let mut command = inside(&root, &["html", "--symlinks", "all"]);
    check(
        command.env("DOCROOT_SYMLINKS", "deny"),
        2,
        &["'all'", "--symlinks"],
    );
}

#[test]
fn message_about_several_options_names_those_that_are_variables() {
    let root = site();
    let bad = |variables: &[(&str, &str)], arguments: &[&str], words: &[&str]| {
        let mut command = inside(&root, &[arguments, &["html"]].concat());
        check(command.envs(variables.iter().copied()), 2, words);
    };
    let compress = ("DOCROOT_COMPRESS", "1");
    let no_memory = ("DOCROOT_CACHE_MEMORY", "0");
    bad(
        &[compress, no_memory],
        &[],
        &["DOCROOT_COMPRESS needs", "DOCROOT_CACHE_MEMORY=0"],
    );
    bad(
        &[no_memory],
        &["--compress"],
        &["--compress needs", "DOCROOT_CACHE_MEMORY=0"],
    );
    bad(
        &[
            ("DOCROOT_SYMLINK_ROOT", "/tmp"),
            ("DOCROOT_SYMLINKS", "deny"),
        ],
        &[],
        &["DOCROOT_SYMLINK_ROOT works", "DOCROOT_SYMLINKS=inside"],
    );
    bad(
        &[("DOCROOT_LOG_FILE", "a.log"), ("DOCROOT_QUIET", "1")],
        &[],
        &["DOCROOT_LOG_FILE=a.log has", "DOCROOT_QUIET"],
    );
    bad(
        &[("DOCROOT_LOG_FILE", "html/a.log")],
        &[],
        &["DOCROOT_LOG_FILE=html/a.log is below"],
    );
    bad(
        &[("DOCROOT_LOG_FILE", "none/a.log")],
        &["-p", "0"],
        &["cannot open DOCROOT_LOG_FILE=none/a.log"],
    );
    bad(
        &[("DOCROOT_AUTH_FILE", "none")],
        &[],
        &["cannot read DOCROOT_AUTH_FILE=none"],
    );
    bad(
        &[("DOCROOT_AUTH_FILE", "html/index.html")],
        &[],
        &["DOCROOT_AUTH_FILE=html/index.html is below"],
    );
    bad(
        &[("DOCROOT_AUTH", "ann")],
        &[],
        &["docroot: DOCROOT_AUTH: "],
    );
    bad(
        &[("DOCROOT_MIME_TYPES", ".a=text")],
        &[],
        &["docroot: DOCROOT_MIME_TYPES=.a=text: "],
    );
    bad(
        &[("DOCROOT_MAX_CONNECTIONS", "1000000000")],
        &["-p", "0"],
        &["docroot: DOCROOT_MAX_CONNECTIONS=1000000000 needs"],
    );
    bad(
        &[
            ("DOCROOT_PROXY_PROTOCOL", "1"),
            ("DOCROOT_MAX_CONNECTIONS_PER_IP", "9"),
        ],
        &[],
        &[
            "DOCROOT_MAX_CONNECTIONS_PER_IP would",
            "DOCROOT_PROXY_PROTOCOL",
        ],
    );
    let mut command = docroot();
    command.env("DOCROOT_ROOT", "/none");
    check(&mut command, 4, &["/none", "DOCROOT_ROOT"]);
}

#[test]
fn unknown_variable_is_ignored_with_a_warning() {
    let root = site();
    for (name, nearest) in [
        ("DOCROOT_COMPRES", "DOCROOT_COMPRESS"),
        ("DOCROOT_PRT", "DOCROOT_PORT"),
    ] {
        let output = output(inside(&root, &["--check", "html"]).env(name, "1"));
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(
            stderr.contains(&format!("{name} is ignored")) && stderr.contains(nearest),
            "{stderr}"
        );
        check_plain(&stderr);
    }
    // Kubernetes sets these for a service named docroot.
    let mut command = inside(&root, &["--check", "html"]);
    command
        .env("DOCROOT_SERVICE_HOST", "10.0.0.1")
        .env("DOCROOT_PORT_80_TCP", "tcp://10.0.0.1:80");
    assert_eq!(text(&output(&mut command).stderr), "");
}

#[test]
fn help_and_manual_have_no_unclear_phrases() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["--man"],
        &["--print-options-reference"],
        &["compress", "--help"],
        &["explain", "--help"],
        &["healthcheck", "--help"],
        &["hash", "--help"],
    ] {
        let output = output(docroot().args(arguments));
        assert!(output.status.success(), "{output:?}");
        let stdout = text(&output.stdout).to_lowercase();
        for phrase in UNCLEAR_PHRASES {
            assert!(!stdout.contains(phrase), "{phrase:?} in {arguments:?}");
        }
    }
}

#[test]
fn root_without_index_file_is_reported_everywhere() {
    let root = Root::of(&[("page.html", "page"), ("sub/page.html", "page")]);
    let name = root.path().to_str().expect("a path in UTF-8");
    let words = [name, "has no index file", "--listing", "--index"];
    let has_words = |text: &str| words.iter().all(|word| text.contains(word));

    let checked = output(docroot().args(["--check", name]));
    assert!(checked.status.success());
    let stdout = text(&checked.stdout);
    assert!(
        has_words(&stdout) && stdout.contains("remark: 1 request gets 404: /"),
        "{stdout}"
    );

    let mut server = Server::start(root.path());
    for target in ["/", "/sub/"] {
        assert_eq!(server.get(target).status(), "404 Not Found");
        let line = server.stdout_line();
        assert!(
            line.contains("has no index file; --listing lists it, --index"),
            "{line}"
        );
    }
    server.signal(Signal::TERM);
    server.wait_for_exit();
    let warned = server.remaining_stderr();
    assert!(
        has_words(&warned[0]) && is_about_index(&warned[0]),
        "{warned:?}"
    );

    let explained = output(docroot().args(["explain", "/sub/", name]));
    let stdout = text(&explained.stdout);
    assert!(
        stdout.contains("has no index file; --listing lists it, --index"),
        "{stdout}"
    );

    for options in [
        &["--listing"][..],
        &["--index", "page.html"],
        &["--spa=page.html"],
    ] {
        let checked = output(docroot().args(["--check", name]).args(options));
        assert!(!text(&checked.stdout).contains("gets 404"), "{options:?}");
    }
    root.write("_redirects", "/ /page.html\n");
    let checked = output(docroot().args(["--check", name]));
    assert!(!text(&checked.stdout).contains("gets 404"));
}

#[test]
fn empty_root_is_reported() {
    let root = Root::new();
    let checked = output(docroot().arg("--check").arg(root.path()));
    let stdout = text(&checked.stdout);
    assert!(
        stdout.contains("is empty: every request gets 404") && stdout.contains("mount"),
        "{stdout}"
    );
    assert!(stdout.contains("404.html (not present)\n"), "{stdout}");
}

#[test]
fn existing_dotfile_has_its_own_reason() {
    let root = site();
    let server = Server::start(root.path());
    for (target, reason) in [
        (
            "/.secret",
            "\"reason\":\"A name in the path begins with a dot; --hidden serves such files.\"",
        ),
        (
            "/.env",
            "\"reason\":\"There is nothing under this address.\"",
        ),
    ] {
        let response = server.get(target);
        assert_eq!(response.status(), "404 Not Found");
        // The response does not reveal that the file exists.
        assert!(!response.text().contains("dot"), "{}", response.text());
        let line = server.stdout_line();
        assert!(line.contains(reason), "{target}: {line}");
    }
    let explained = output(docroot().args(["explain", "/.secret"]).arg(root.path()));
    assert!(text(&explained.stdout).contains("--hidden serves such files"));
}

#[test]
fn verbose_log_has_reason_of_each_error_response() {
    let root = site();
    root.write("bare/a.txt", "a");
    std::os::unix::fs::symlink("/etc/passwd", root.join("out")).expect("a link");
    let server = Server::with(root.path(), &["-v"]);
    for (target, status, reason) in [
        ("/none", "404 Not Found", "nothing"),
        ("/.secret", "404 Not Found", "--hidden"),
        ("/bare/", "404 Not Found", "--listing"),
        ("/out", "403 Forbidden", "symbolic link"),
        ("/%", "400 Bad Request", "percent sign"),
    ] {
        assert_eq!(server.get(target).status(), status);
        let expected = format!("{status}: GET {target}: ");
        loop {
            let line = server.stderr_line();
            if line.contains(&expected) {
                assert!(line.contains("DEBUG") && line.contains(reason), "{line}");
                check_plain(&line);
                break;
            }
        }
    }
    assert_eq!(
        server.ask("POST", "/", "").status(),
        "405 Method Not Allowed"
    );
    while !server
        .stderr_line()
        .contains("405 Method Not Allowed: POST /: ")
    {}
}

#[test]
fn path_prefix_is_part_of_every_url() {
    let root = site();
    let server = Server::with(root.path(), &["--path-prefix", "/a b"]);
    let url = format!("\"urls\":[\"http://{}/a%20b/\"]", server.address);
    assert!(
        server.announcement.contains(&url),
        "{}",
        server.announcement
    );
}

#[test]
fn quiet_server_prints_nothing_until_it_ends() {
    let root = site();
    let mut command = docroot();
    command
        .args([
            "-q",
            "-b",
            "127.0.0.1",
            "-p",
            "0",
            "--metrics",
            "127.0.0.1:0",
        ])
        .arg(root.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("docroot starts");
    let status = format!("/proc/{}/status", child.id());
    // Signals are caught once it serves (proc_pid_status(5)).
    eventually("the process catches signals", || {
        let status = std::fs::read_to_string(&status).expect("proc");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("a number");
        (caught & (1 << 14) != 0).then_some(())
    });
    send_signal(Signal::TERM, &child);
    let output = child.wait_with_output().expect("a child process");
    assert!(output.status.success());
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        (String::new(), String::new())
    );
}
