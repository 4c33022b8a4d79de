//! Startup: arguments, environment, root, addresses and ports, exit codes, help, and the banner on a terminal.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Receiver;

use rustix::process::{Pid, kill_process};

use crate::support::{
    Client, Root, Server, Signal, TIMEOUT, Trace, docroot, eventually, lines, send_signal,
    unprivileged_wrapper,
};

/// Exit codes, as docs/reference/process.md numbers them.
const CLEAN: i32 = 0;
const BAD_ARGUMENTS: i32 = 2;
const CANNOT_BIND: i32 = 3;
const NO_ROOT: i32 = 4;

/// The headings of --help, and the flags below each, in its order.
const FLAGS: &[(&str, &[&str])] = &[
    (
        "Site",
        &[
            "root",
            "index",
            "404",
            "spa",
            "listing",
            "hidden",
            "symlinks",
            "symlink-root",
        ],
    ),
    (
        "Listening",
        &["port", "bind", "trusted-proxy", "proxy-protocol"],
    ),
    ("URLs", &["no-clean-urls", "path-prefix"]),
    (
        "Response fields",
        &["header", "headers-file", "cors", "isolate", "mime-types"],
    ),
    (
        "Caching and compression",
        &[
            "cache",
            "etag",
            "compress",
            "no-precompressed",
            "cache-memory",
        ],
    ),
    ("Access", &["auth", "auth-file"]),
    ("Development", &["live-reload", "open", "qr"]),
    (
        "Limits",
        &[
            "max-header",
            "header-timeout",
            "idle-timeout",
            "min-rate",
            "max-connections",
            "max-connections-per-ip",
        ],
    ),
    (
        "Production",
        &[
            "workers",
            "health",
            "drain-delay",
            "release-grace",
            "metrics",
            "sandbox",
            "check",
        ],
    ),
    (
        "Logging",
        &["log-health", "log-format", "log-file", "quiet", "verbose"],
    ),
    ("Help", &["completions", "man", "help", "version"]),
];

/// The flags of -h.
const COMMON_FLAGS: &[&str] = &[
    "spa",
    "listing",
    "port",
    "bind",
    "header",
    "cors",
    "cache",
    "compress",
    "auth",
    "live-reload",
    "open",
    "check",
    "verbose",
    "help",
    "version",
];

/// Exit code and output of a command that has ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Child process that is killed when the test ends.
struct Running(Child);

impl Running {
    /// Sends SIGTERM.
    fn stop(&self) {
        send_signal(Signal::TERM, &self.0);
    }

    /// Waits for the process to end and returns its exit code.
    fn wait_for_exit(&mut self) -> Option<i32> {
        let status = eventually("the process ends", || {
            self.0.try_wait().expect("a child process")
        });
        status.code()
    }

    /// Returns standard output and standard error of a process that has ended.
    fn output(&mut self) -> [String; 2] {
        let mut output = [String::new(), String::new()];
        let stdout = self.0.stdout.as_mut().expect("a pipe");
        stdout.read_to_string(&mut output[0]).expect("text");
        let stderr = self.0.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut output[1]).expect("text");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn site() -> Root {
    Root::of(&[
        ("index.html", "index"),
        ("a.html", "a"),
        ("404.html", "nothing"),
        ("lost.html", "lost"),
        (".secret", "hidden"),
    ])
}

fn start(command: &mut Command) -> Running {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(piped.spawn().expect("docroot starts"))
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Ended {
    let mut running = start(command);
    let code = running.wait_for_exit();
    let [stdout, stderr] = running.output();
    Ended {
        code,
        stdout,
        stderr,
    }
}

/// Checks that a command ends with this code, with nothing on standard output, and with a first line on standard error
/// that has all of these words.
fn check(command: &mut Command, code: i32, words: &[&str]) {
    let ended = run(command);
    assert_eq!(ended.code, Some(code), "{command:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{command:?}");
    let line = ended.stderr.lines().next().unwrap_or_default();
    for word in words {
        assert!(line.contains(word), "no {word} in: {line}");
    }
    // A message of docroot's own is one line; one of clap's has the usage below it.
    if !line.starts_with("error: ") {
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(line.starts_with("docroot: "), "{line}");
    }
}

/// Returns docroot with these arguments.
fn docroot_with(arguments: &[&str]) -> Command {
    let mut command = docroot();
    command.args(arguments);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Returns an unused loopback address, made of the process id and the number of the call. Linux has all of 127.0.0.0/8.
fn own_ip() -> String {
    static CALLS: AtomicU8 = AtomicU8::new(2);
    let [.., high, low] = std::process::id().to_be_bytes();
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, high, low, call).to_string()
}

/// Returns free ports of an address that nothing else uses, so that they stay free.
fn free_ports<const COUNT: usize>(ip: &str) -> [SocketAddr; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind((ip, 0)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket"))
}

/// Connects as soon as the server listens.
fn connect_when_ready(address: SocketAddr) -> Client {
    eventually("the server listens", || TcpStream::connect(address).ok());
    Client::connect(address)
}

/// Returns the addresses in an announcement.
fn urls(announcement: &str) -> Vec<SocketAddr> {
    let urls = announcement
        .split_once("\"urls\":[")
        .and_then(|(_, rest)| rest.split_once("],"))
        .map_or_else(|| panic!("no URLs in {announcement}"), |(urls, _)| urls);
    urls.split(',')
        .map(|url| {
            let address = url
                .strip_prefix("\"http://")
                .and_then(|url| url.strip_suffix("/\"")?.parse().ok());
            address.unwrap_or_else(|| panic!("no URL: {url}"))
        })
        .collect()
}

fn has_ipv6() -> bool {
    let is_available = TcpListener::bind("[::1]:0").is_ok();
    if !is_available {
        eprintln!("skipped in part: no IPv6 here");
    }
    is_available
}

#[test]
fn invalid_arguments_are_named() {
    let root = site();
    let root = text(root.path());
    let bad = |arguments: &[&str], words: &[&str]| {
        check(&mut docroot_with(arguments), BAD_ARGUMENTS, words);
    };
    bad(&["--no-such-flag", root], &["--no-such-flag"]);
    bad(&["-d", root, root], &["--root", "DIR"]);
    bad(&[root, "another"], &["another"]);
    bad(&["--port", "http"], &["http", "--port"]);
    bad(&["--port", "65536"], &["65536", "--port"]);
    bad(&["--bind", "127.0.0"], &["127.0.0", "--bind"]);
    bad(&["--index", "a/b"], &["a/b", "--index"]);
    bad(&["--404", "../x"], &["../x", "--404"]);
    // A missing page and too many connections are found after binding: port 0, so that tests do not compete for 8080.
    bad(
        &["-p", "0", "--404", "missing.html", root],
        &["missing.html", "--404", root],
    );
    bad(
        &["--idle-timeout", "10"],
        &["'10'", "--idle-timeout", "10s"],
    );
    bad(&["--header-timeout", "0s"], &["0s", "--header-timeout"]);
    bad(&["--min-rate", "fast"], &["fast", "--min-rate"]);
    bad(&["--max-header", "1"], &["'1'", "--max-header"]);
    for number in ["0", "-1", "2.5", "many", "1000000"] {
        let words = [&format!("'{number}'"), "--workers", "1 to 1024"];
        bad(&[&format!("--workers={number}")], &words);
    }
    bad(&["--max-connections", "0"], &["'0'", "--max-connections"]);
    // Each connection needs a descriptor, and nr_open (proc(5)) allows less than a billion.
    let billion = "1000000000";
    bad(
        &["-p", "0", "--max-connections", billion, root],
        &[billion, "ulimit -n"],
    );
}

#[test]
fn missing_root_or_file_as_root_is_named() {
    let root = site();
    let missing = root.join("missing");
    let missing = text(&missing);
    check(&mut docroot_with(&[missing]), NO_ROOT, &[missing]);
    check(&mut docroot_with(&["-d", missing]), NO_ROOT, &[missing]);
    let file = root.join("index.html");
    let words = [text(&file), "name the directory"];
    check(&mut docroot_with(&[text(&file)]), NO_ROOT, &words);
}

#[test]
fn unreadable_root_is_named() {
    let root = site();
    let unreadable = root.join("shut");
    fs::create_dir(&unreadable).expect("a directory");
    fs::set_permissions(&unreadable, Permissions::from_mode(0o000)).expect("a directory");
    // The superuser may read everything, so another user runs the program, and must be able to reach it.
    let is_root = rustix::process::geteuid().is_root();
    let uid = if is_root {
        65534
    } else {
        rustix::process::geteuid().as_raw()
    };
    let as_unprivileged = |argument: &str| {
        let mut command = docroot_with(&[argument]);
        if is_root {
            command.uid(uid).gid(65534);
        }
        command
    };
    if unprivileged_wrapper(root.path()).is_none() {
        return;
    }
    let (mode, this) = ("mode 0000", &*format!("this is uid {uid}"));
    let words = [text(&unreadable), "Permission denied", mode, this];
    check(&mut as_unprivileged(text(&unreadable)), NO_ROOT, &words);
    // Below it, the message names the directory that cannot be passed.
    let below = unreadable.join("site");
    let above = format!("{} is of uid", text(&unreadable));
    let words = [text(&below), "Permission denied", &above, mode, this];
    check(&mut as_unprivileged(text(&below)), NO_ROOT, &words);
}

#[test]
fn wildcard_address_without_ipv6_is_ipv4() {
    let root = site();
    let Some(trace) = Trace::new("socket") else {
        return;
    };
    // The error of socket(2) in a kernel without IPv6. The first socket is that of [::].
    let trace = trace.with_expression("inject=socket:error=EAFNOSUPPORT:when=1");
    let traced = trace.command(root.path(), &[]);
    let mut command = Command::new(traced.get_program());
    for argument in traced.get_args() {
        let argument = if argument == "127.0.0.1" {
            "[::]".as_ref()
        } else {
            argument
        };
        command.arg(argument);
    }
    for (name, value) in traced.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let server = Server::spawn(command);
    assert!(
        server.stderr_line().contains("no IPv6"),
        "a warning is logged"
    );
    assert_eq!(server.get("/").text(), "index");
}

#[test]
fn port_in_use_is_named() {
    let root = site();
    let server = Server::start(root.path());
    let port = server.address.port().to_string();
    let arguments = ["--bind", "127.0.0.1", "--port", &port, text(root.path())];
    let words = [&server.address.to_string(), "ss -ltnp", "--port"];
    check(&mut docroot_with(&arguments), CANNOT_BIND, &words);
    assert_eq!(server.get("/").text(), "index", "the port is not shared");
}

#[test]
fn address_of_another_machine_is_named() {
    let root = site();
    // TEST-NET-1 (RFC 5737) is assigned to no machine.
    let arguments = ["--bind", "192.0.2.1", text(root.path())];
    let words = ["192.0.2.1", "--bind"];
    check(&mut docroot_with(&arguments), CANNOT_BIND, &words);
}

#[test]
fn exit_code_does_not_depend_on_standard_error() {
    let missing = "/no/such/folder";
    for redirection in ["2>&-", "2>/dev/full", ">&- 2>&-"] {
        let ended = run(&mut through_shell(redirection, &docroot_with(&[missing])));
        assert_eq!(ended.code, Some(NO_ROOT), "{redirection}: {ended:?}");
    }
}

/// Returns a command with its output redirected.
fn through_shell(redirection: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec \"$@\" {redirection}"), "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn server_outlives_a_full_file_size_limit_and_unknown_signals() {
    let root = site();
    let log = root.join("access.log");
    let [address] = free_ports(&own_ip());
    root.write("site/index.html", "index");
    let (bind, site) = (address.to_string(), root.join("site"));
    let command = docroot_with(&["-b", &bind, "--log-file", text(&log), text(&site)]);
    let mut limited = Command::new("sh");
    // In units of 512 bytes: room for a few lines. The kernel sends SIGXFSZ at the first byte beyond.
    limited.args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    let mut running = start(&mut limited);
    let mut client = connect_when_ready(address);
    eventually("the log is full", || {
        assert_eq!(client.get("/").text(), "index");
        let len = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        (len >= 512).then_some(())
    });
    send_signal(Signal::USR2, &running.0);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "index");
    }
    running.stop();
    assert_eq!(running.wait_for_exit(), Some(CLEAN));
}

#[test]
fn announcement_is_json() {
    let outer = Root::new();
    let name = "a \"b\" \\ ü";
    outer.write(format!("{name}/index.html"), "index");
    let server = Server::start(&outer.join(name));
    let line = &server.announcement;
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    let directory = text(outer.path());
    for field in [
        "\"event\":\"listening\"".to_owned(),
        format!("\"urls\":[\"http://{}/\"]", server.address),
        format!("\"root\":\"{directory}/a \\\"b\\\" \\\\ ü\""),
        format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")),
        format!("\"pid\":{}", server.pid()),
    ] {
        let found = [
            format!("{{{field},"),
            format!(",{field},"),
            format!(",{field}}}"),
        ];
        assert!(
            found.iter().any(|field| line.contains(field)),
            "{field} in {line}"
        );
    }
    let quotes = line.replace("\\\\", "").replace("\\\"", "");
    assert_eq!(quotes.matches('"').count() % 2, 0, "{line}");
}

/// Checks that this command serves at this address and writes nothing to standard output.
fn check_quiet(command: &mut Command, address: SocketAddr) {
    let mut running = start(command);
    assert_eq!(connect_when_ready(address).get("/").text(), "index");
    running.stop();
    assert_eq!(running.wait_for_exit(), Some(CLEAN));
    let [stdout, _] = running.output();
    assert_eq!(stdout, "");
}

#[test]
fn quiet_server_writes_no_standard_output() {
    let root = site();
    let [address] = free_ports(&own_ip());
    let bind = address.to_string();
    for option in ["-q", "--quiet"] {
        check_quiet(
            &mut docroot_with(&[option, "-b", &bind, text(root.path())]),
            address,
        );
    }
    let mut command = docroot_with(&["-b", &bind, text(root.path())]);
    check_quiet(command.env("DOCROOT_QUIET", "1"), address);
}

#[test]
fn server_runs_without_writable_standard_output() {
    let root = site();
    let [address] = free_ports(&own_ip());
    for redirection in [
        ">&-",
        ">/dev/full",
        ">&- 2>&-",
        ">/dev/full 2>/dev/full",
        "<&- >&- 2>&-",
    ] {
        let arguments = ["-b", &address.to_string(), text(root.path())];
        let mut running = start(&mut through_shell(redirection, &docroot_with(&arguments)));
        for _ in 0..3 {
            assert_eq!(
                connect_when_ready(address).get("/").text(),
                "index",
                "{redirection}"
            );
        }
        running.stop();
        assert_eq!(running.wait_for_exit(), Some(CLEAN), "{redirection}");
    }
}

#[test]
fn closed_standard_output_pipe_does_not_end_server() {
    let root = site();
    let arguments = ["-b", "127.0.0.1", "-p", "0", text(root.path())];
    let mut running = start(&mut docroot_with(&arguments));
    let mut stdout = BufReader::new(running.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("an announcement");
    // From now on, writing to the pipe fails with EPIPE and raises SIGPIPE (pipe(7)).
    drop(stdout);
    let mut client = Client::connect(urls(line.trim_end())[0]);
    for _ in 0..100 {
        assert_eq!(client.get("/").text(), "index");
    }
    running.stop();
    assert_eq!(running.wait_for_exit(), Some(CLEAN));
}

/// Starts a server with these variables in its environment.
fn in_environment(variables: &[(&str, &str)], options: &[&str], root: Option<&Root>) -> Server {
    let mut command = docroot();
    command.envs(variables.iter().copied()).args(options);
    if let Some(root) = root {
        command.arg(root.path());
    }
    Server::spawn(command)
}

#[test]
fn environment_sets_port() {
    let root = site();
    let ip = own_ip();
    let [one, other] = free_ports(&ip);
    let (first, second) = (one.port().to_string(), other.port().to_string());
    let check = |variables: &[(&str, &str)], options: &[&str], expected: SocketAddr| {
        let options = [&["-b", &ip], options].concat();
        let server = in_environment(variables, &options, Some(&root));
        assert_eq!(server.address, expected, "{variables:?} {options:?}");
    };
    check(&[("PORT", &first)], &[], one);
    check(&[("DOCROOT_PORT", &first)], &[], one);
    check(&[("DOCROOT_PORT", &first), ("PORT", &second)], &[], one);
    check(&[("DOCROOT_PORT", &first)], &["-p", &second], other);
    check(&[("PORT", &first)], &["-p", &second], other);
}

#[test]
fn environment_sets_addresses() {
    let root = site();
    let [one, two, three] = [own_ip(), own_ip(), own_ip()];
    let check = |value: &str, options: &[&str], expected: &[&str]| {
        let options = [&["-p", "0"], options].concat();
        let server = in_environment(&[("DOCROOT_BIND", value)], &options, Some(&root));
        let ips: Vec<String> = urls(&server.announcement)
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        assert_eq!(ips, expected, "{value} {options:?}");
    };
    let list = format!("{one},{two}");
    check(&one, &[], &[&one]);
    check(&list, &[], &[&one, &two]);
    check(&list, &["-b", &three], &[&three]);
}

#[test]
fn environment_sets_root() {
    let (one, other) = (Root::of(&[("index.html", "one")]), site());
    let variables = [
        ("DOCROOT_ROOT", text(one.path())),
        ("DOCROOT_PORT", "0"),
        ("DOCROOT_BIND", "127.0.0.1"),
    ];
    assert_eq!(in_environment(&variables, &[], None).get("/").text(), "one");
    let option = ["-d", text(other.path())];
    let server = in_environment(&variables, &option, None);
    assert_eq!(server.get("/").text(), "index", "the command line wins");
}

#[test]
fn root_argument_overrides_environment() {
    let (one, other) = (Root::of(&[("index.html", "one")]), site());
    let variables = [("DOCROOT_ROOT", text(one.path()))];
    let mut command = docroot_with(&["--check", text(other.path())]);
    let ended = run(command.envs(variables));
    assert_eq!(ended.code, Some(CLEAN), "{ended:?}");
    assert!(ended.stdout.contains(text(other.path())), "{ended:?}");
}

#[test]
fn environment_sets_index_404_and_hidden() {
    let root = site();
    let check = |variable: (&str, &str), options: &[&str], target: &str, expected: &str| {
        let options = [&["-p", "0", "-b", "127.0.0.1"], options].concat();
        let server = in_environment(&[variable], &options, Some(&root));
        assert_eq!(
            server.get(target).text(),
            expected,
            "{variable:?} {options:?}"
        );
    };
    check(("DOCROOT_INDEX", "none.html,a.html"), &[], "/", "a");
    check(
        ("DOCROOT_INDEX", "a.html"),
        &["--index", "index.html"],
        "/",
        "index",
    );
    check(("DOCROOT_404", "lost.html"), &[], "/none", "lost");
    check(
        ("DOCROOT_404", "lost.html"),
        &["--404", "404.html"],
        "/none",
        "nothing",
    );
    check(("DOCROOT_HIDDEN", "true"), &[], "/.secret", "hidden");
    check(("DOCROOT_HIDDEN", "1"), &[], "/.secret", "hidden");
    check(("DOCROOT_HIDDEN", "false"), &[], "/.secret", "nothing");
    check(
        ("DOCROOT_HIDDEN", "false"),
        &["--hidden"],
        "/.secret",
        "hidden",
    );
}

#[test]
fn environment_sets_limits() {
    let root = site();
    let serve = |variable: (&str, &str), options: &[&str]| {
        let options = [&["-p", "0", "-b", "127.0.0.1"], options].concat();
        in_environment(&[variable], &options, Some(&root))
    };

    // A 408 within the tests' own timeout shows that the default is not in effect.
    let check_timeout = |server: &Server| {
        // (On a busy machine the request may begin too late; then the connection is closed without a response.)
        let response = eventually("a response", || server.connect().try_request("G"));
        assert_eq!(response.status(), "408 Request Timeout");
    };
    check_timeout(&serve(("DOCROOT_HEADER_TIMEOUT", "200ms"), &[]));
    check_timeout(&serve(
        ("DOCROOT_HEADER_TIMEOUT", "60s"),
        &["--header-timeout", "200ms"],
    ));
    let server = serve(("DOCROOT_IDLE_TIMEOUT", "200ms"), &[]);
    let mut client = server.connect();
    assert_eq!(client.get("/").status(), "200 OK");
    assert_eq!(client.rest(), b"");

    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(500));
    let mut server = serve(("DOCROOT_MAX_HEADER", "500"), &[]);
    let refused = "431 Request Header Fields Too Large";
    assert_eq!(server.connect().ask(&long).status(), refused);
    server = serve(("DOCROOT_MAX_HEADER", "500"), &["--max-header", "1KiB"]);
    assert_eq!(server.connect().ask(&long).status(), "200 OK");

    server = serve(("DOCROOT_WORKERS", "3"), &[]);
    assert!(server.announcement.contains("\"workers\":3,"));
    server = serve(("DOCROOT_WORKERS", "3"), &["-w", "2"]);
    assert!(server.announcement.contains("\"workers\":2,"));

    server = serve(("DOCROOT_CACHE_MEMORY", "0"), &[]);
    assert!(server.announcement.contains("\"changes\":\"read\","));
    server = serve(("DOCROOT_CACHE_MEMORY", "0"), &["--cache-memory", "1MiB"]);
    assert!(!server.announcement.contains("\"changes\":\"read\","));

    server = serve(("DOCROOT_MAX_CONNECTIONS", "1"), &["--workers", "1"]);
    let clients = [server.connect(), server.connect()];
    assert!(server.stderr_line().contains("limited to 1"));
    drop(clients);

    server = serve(("DOCROOT_VERBOSE", "1"), &[]);
    server.signal(Signal::TERM);
    eventually("a debug line is logged", || {
        server.stderr_line().contains("DEBUG").then_some(())
    });
}

#[test]
fn empty_variable_is_ignored() {
    let root = site();
    let empty = [
        "PORT", "ROOT", "BIND", "INDEX", "404", "HIDDEN", "VERBOSE", "MIN_RATE", "QUIET",
    ];
    let mut command = docroot_with(&["--check", text(root.path())]);
    command.envs(empty.map(|name| (format!("DOCROOT_{name}"), "")));
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(CLEAN), "{ended:?}");
}

#[test]
fn invalid_environment_value_is_named() {
    let root = site();
    let bad = |name: &str, value: &str, words: &[&str]| {
        let mut command = docroot_with(&[text(root.path())]);
        check(command.env(name, value), BAD_ARGUMENTS, words);
    };
    bad("PORT", "http", &["docroot: PORT=http: ", "0 to 65535"]);
    bad(
        "DOCROOT_PORT",
        "http",
        &["DOCROOT_PORT=http: ", "0 to 65535"],
    );
    bad(
        "DOCROOT_BIND",
        "127.0.0.1,here",
        &["DOCROOT_BIND=here: ", "[::]"],
    );
    bad(
        "DOCROOT_INDEX",
        "a/b",
        &["DOCROOT_INDEX=a/b: ", "a file name"],
    );
    bad(
        "DOCROOT_HIDDEN",
        "perhaps",
        &["DOCROOT_HIDDEN=perhaps: ", "true"],
    );
    bad("DOCROOT_HEADER_TIMEOUT", "10", &["_TIMEOUT=10: ", "10s"]);
    bad("DOCROOT_IDLE_TIMEOUT", "soon", &["_TIMEOUT=soon: ", "10s"]);
    bad(
        "DOCROOT_MIN_RATE",
        "fast",
        &["DOCROOT_MIN_RATE=fast: ", "1KiB"],
    );
    bad("DOCROOT_MAX_HEADER", "long", &["_HEADER=long: ", "1KiB"]);
    bad(
        "DOCROOT_WORKERS",
        "0",
        &["DOCROOT_WORKERS=0: ", "1 to 1024"],
    );
    bad(
        "DOCROOT_MAX_CONNECTIONS",
        "0",
        &["_CONNECTIONS=0: ", "at least 1"],
    );
    bad("DOCROOT_QUIET", "hush", &["DOCROOT_QUIET=hush: ", "true"]);
    bad(
        "DOCROOT_VERBOSE",
        "much",
        &["DOCROOT_VERBOSE=much: ", "0, 1 or 2"],
    );
    bad(
        "DOCROOT_CHECK",
        "perhaps",
        &["DOCROOT_CHECK=perhaps: ", "true"],
    );
    bad(
        "DOCROOT_TRUSTED_PROXY",
        " ,",
        &["DOCROOT_TRUSTED_PROXY=,: ", "empty"],
    );
    bad(
        "DOCROOT_LISTING",
        "\"true\"",
        &["DOCROOT_LISTING=\"true\": "],
    );
    // A missing page is found after binding: port 0, so that tests do not compete for 8080.
    let mut command = docroot_with(&["-p", "0", text(root.path())]);
    command.env("DOCROOT_404", "missing.html");
    check(
        &mut command,
        BAD_ARGUMENTS,
        &["docroot: DOCROOT_404=missing.html: "],
    );
    let mut command = docroot();
    command.env("DOCROOT_ROOT", "/no/such/folder");
    check(&mut command, NO_ROOT, &["/no/such/folder", "DOCROOT_ROOT"]);
}

#[test]
fn service_address_in_port_variable_is_ignored_with_a_warning() {
    let root = site();
    let ip = own_ip();
    let [address] = free_ports(&ip);
    let port = address.port().to_string();
    // Kubernetes sets these in each container, for a service named docroot; Docker sets most of them for a link.
    let of_service = [
        ("DOCROOT_SERVICE_HOST", "10.43.161.118"),
        ("DOCROOT_SERVICE_PORT", "80"),
        ("DOCROOT_SERVICE_PORT_HTTP", "80"),
        ("DOCROOT_PORT", "tcp://10.43.161.118:80"),
        ("DOCROOT_PORT_80_TCP", "tcp://10.43.161.118:80"),
        ("DOCROOT_PORT_80_TCP_PROTO", "tcp"),
        ("DOCROOT_PORT_80_TCP_PORT", "80"),
        ("DOCROOT_PORT_80_TCP_ADDR", "10.43.161.118"),
        ("DOCROOT_METRICS_PORT", "udp://10.43.161.119:53"),
        ("DOCROOT_METRICS_SERVICE_HOST", "10.43.161.119"),
    ];
    let bind = format!("{ip}:{port}");
    for (variables, options, warnings) in [
        (&[("PORT", &*port)][..], &["-b", &ip][..], 1),
        (&[], &["-b", &bind], 1),
        (&[], &["-b", &ip, "--port", &port], 0),
    ] {
        let variables = [&of_service[..], variables].concat();
        let server = in_environment(&variables, options, Some(&root));
        assert_eq!(server.address, address, "{options:?}");
        server.signal(Signal::TERM);
        let lines = server.remaining_stderr();
        let of_variables: Vec<&String> =
            lines.iter().filter(|it| it.contains("DOCROOT_")).collect();
        assert_eq!(of_variables.len(), warnings, "{options:?}: {lines:?}");
        if let Some(line) = of_variables.first() {
            for word in [
                "WARN",
                "DOCROOT_PORT=tcp://10.43.161.118:80 is ignored",
                "Kubernetes",
            ] {
                assert!(line.contains(word), "{line}");
            }
        }
    }
}

#[test]
fn blanks_around_variables_and_list_items_are_ignored() {
    let root = site();
    let ip = own_ip();
    let [address] = free_ports(&ip);
    let port = address.port();
    for (name, value) in [
        ("PORT", format!("{port}\n")),
        ("PORT", format!(" {port}\r\n")),
        ("DOCROOT_PORT", format!("{port} ")),
        ("DOCROOT_PORT", format!("\t{port}")),
    ] {
        let server = in_environment(&[(name, &value)], &["-b", &ip], Some(&root));
        assert_eq!(server.address, address, "{name}={value:?}");
    }
    let two = own_ip();
    for list in [
        format!("{ip}, {two}"),
        format!("{ip},{two},\n"),
        format!(" {ip} , , {two}"),
    ] {
        let server = in_environment(&[("DOCROOT_BIND", &list)], &["-p", "0"], Some(&root));
        assert_eq!(urls(&server.announcement).len(), 2, "{list:?}");
    }
    let check = |variables: &[(&str, &str)], options: &[&str], target: &str, expected: &str| {
        let options = [&["-p", "0", "-b", "127.0.0.1"], options].concat();
        let server = in_environment(variables, &options, Some(&root));
        let response = server.get(target);
        assert_eq!(response.text(), expected, "{variables:?} {options:?}");
    };
    check(&[("DOCROOT_INDEX", "none.html, a.html,")], &[], "/", "a");
    check(&[], &["--index", "none.html, a.html"], "/", "a");
    check(&[("DOCROOT_404", " lost.html\n")], &[], "/none", "lost");
    check(&[("DOCROOT_HIDDEN", "true\r\n")], &[], "/.secret", "hidden");
    check(&[("DOCROOT_HIDDEN", " ")], &[], "/.secret", "nothing");
    let list = ".a=text/x-a, .b=text/x-b";
    let proxies = "10.0.0.0/8, 192.168.0.0/16";
    for (variables, options) in [
        (
            &[
                ("DOCROOT_MIME_TYPES", list),
                ("DOCROOT_TRUSTED_PROXY", proxies),
                ("DOCROOT_SYMLINK_ROOT", "/tmp, /usr,"),
                ("DOCROOT_HEADER", "X-A: 1\n\n  X-B: 2\n"),
                ("DOCROOT_CACHE", "OFF"),
                ("DOCROOT_LOG_FORMAT", "JSON"),
                ("DOCROOT_METRICS", "127.0.0.1:0\n"),
            ][..],
            &[][..],
        ),
        (&[], &["--mime-types", list, "--trusted-proxy", proxies]),
    ] {
        let mut command = docroot_with(&["--check", text(root.path())]);
        let ended = run(command.args(options).envs(variables.iter().copied()));
        assert_eq!(ended.code, Some(CLEAN), "{ended:?}");
    }
}

#[test]
fn variable_of_optional_value_may_be_a_switch() {
    let root = site();
    let serve = |name: &str, value: &str| {
        let options = ["-p", "0", "-b", "127.0.0.1"];
        in_environment(&[(name, value)], &options, Some(&root))
    };
    for (name, value, has_field) in [
        ("DOCROOT_CORS", "true", true),
        ("DOCROOT_CORS", "off", false),
        ("DOCROOT_CORS", "http://a.test", true),
    ] {
        let response = serve(name, value).get("/");
        let field = response.field("Access-Control-Allow-Origin");
        assert_eq!(field.is_some(), has_field, "{name}={value}");
    }
    assert_eq!(
        serve("DOCROOT_HEALTH", "1").get("/healthz").status(),
        "200 OK"
    );
    assert_eq!(
        serve("DOCROOT_HEALTH", "no").get("/healthz").status(),
        "404 Not Found"
    );
    let to_page = "GET /none HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n";
    for (value, expected) in [("yes", "index"), ("false", "nothing"), ("a.html", "a")] {
        let response = serve("DOCROOT_SPA", value).connect().ask(to_page);
        assert_eq!(response.text(), expected, "DOCROOT_SPA={value}");
    }
}

#[test]
fn last_of_repeated_options_wins() {
    let root = site();
    let options = [
        "-p",
        "1",
        "-b",
        "127.0.0.1",
        "--port",
        "0",
        "--404",
        "404.html",
    ];
    let more = [
        "--404=lost.html",
        "--hidden",
        "--hidden",
        "-d",
        "/none",
        "-d",
    ];
    let mut command = docroot_with(&[&options[..], &more].concat());
    command.arg(root.path());
    let server = Server::spawn(command);
    assert_eq!(server.get("/none").text(), "lost");
    assert_eq!(server.get("/.secret").text(), "hidden");
    let mut command = docroot_with(&["explain", "/", "-X", "POST", "-X", "GET"]);
    let explained = run(command.arg(root.path()));
    assert!(explained.stdout.contains("200"), "{explained:?}");
}

#[test]
fn both_loopback_addresses_are_the_default() {
    let root = site();
    let mut command = docroot_with(&["--port", "0"]);
    command.arg(root.path());
    let server = Server::spawn(command);
    let port = server.address.port();
    let mut expected: Vec<SocketAddr> = vec![([127, 0, 0, 1], port).into()];
    if has_ipv6() {
        expected.push(SocketAddr::new("::1".parse().expect("an address"), port));
    }
    let urls = urls(&server.announcement);
    assert_eq!(urls, expected);
    for address in urls {
        assert_eq!(Client::connect(address).get("/").text(), "index");
    }
}

/// Checks that these options bind these addresses, and that the server responds at each.
fn check_binds(options: &[&str], expected: &[&str]) {
    let root = site();
    let mut command = docroot_with(options);
    command.arg(root.path());
    let server = Server::spawn(command);
    let urls = urls(&server.announcement);
    let port = urls[0].port().to_string();
    let expected: Vec<String> = expected
        .iter()
        .map(|address| address.replace("PORT", &port))
        .collect();
    let found: Vec<String> = urls.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{options:?}");
    for address in urls {
        assert_eq!(Client::connect(address).get("/").text(), "index");
    }
}

#[test]
fn every_address_of_bind_is_bound() {
    let (one, two) = (own_ip(), own_ip());
    let bound = |ip: &str| format!("{ip}:PORT");
    check_binds(&["-p", "0", "-b", &one], &[&bound(&one)]);
    let both = [bound(&one), bound(&two)];
    let both = both.each_ref().map(String::as_str);
    check_binds(&["-p", "0", "-b", &one, "-b", &two], &both);
    let list = format!("{one},{two}");
    check_binds(&["-p", "0", "-b", &list], &both);
    for alias in ["--bind", "--host", "--listen", "-l"] {
        check_binds(&["-p", "0", alias, &one], &both[..1]);
    }
    if has_ipv6() {
        let options = ["-p", "0", "-b", "127.0.0.1", "-b", "::1"];
        check_binds(&options, &["127.0.0.1:PORT", "[::1]:PORT"]);
        check_binds(&["-p", "0", "-b", "[::1]"], &["[::1]:PORT"]);
    }
}

#[test]
fn port_of_address_overrides_port_option() {
    let (ip, other_ip) = (own_ip(), own_ip());
    let [address, other] = free_ports(&ip).map(|address: SocketAddr| address.to_string());
    let (_, other_port) = other.split_once(':').expect("a port");
    check_binds(&["-b", &address], &[&address]);
    check_binds(&["-p", other_port, "-b", &address], &[&address]);
    check_binds(&["-b", &address, "-b", &other], &[&address, &other]);
    let mixed = ["-p", other_port, "-b", &other_ip, "-b", &address];
    check_binds(&mixed, &[&format!("{other_ip}:{other_port}"), &address]);
}

/// Binds port 8080 of an unused loopback address. Returns `None` where the port is in use on all addresses.
fn hold_8080() -> Option<(TcpListener, String)> {
    let ip = own_ip();
    match TcpListener::bind((ip.as_str(), 8080)) {
        Ok(listener) => Some((listener, ip)),
        Err(error) => {
            eprintln!("skipped: port 8080 is not free: {error}");
            None
        }
    }
}

#[test]
fn default_port_is_8080() {
    let Some((listener, ip)) = hold_8080() else {
        return;
    };
    let root = site();
    let address = format!("{ip}:8080");
    // Without a terminal no other port is bound: clients expect this one.
    let mut command = docroot_with(&["-b", &ip, text(root.path())]);
    check(&mut command, CANNOT_BIND, &[&address, "ss -ltnp"]);
    drop(listener);
    check_binds(&["-b", &ip], &[&address]);
    // Platforms that set no port may set an empty one.
    let server = in_environment(&[("PORT", "")], &["-b", &ip], Some(&root));
    assert_eq!(server.address.to_string(), address);
}

/// Checks the root that is served if none is given, or the words of the error.
fn check_default(current: &Path, home: Option<&Path>, expected: Result<&Path, &[&str]>) {
    let mut command = docroot_with(&["--check"]);
    command.current_dir(current);
    if let Some(home) = home {
        command.env("HOME", home);
    }
    match expected {
        Err(words) => check(&mut command, BAD_ARGUMENTS, words),
        Ok(root) => {
            let ended = run(&mut command);
            assert_eq!(ended.code, Some(CLEAN), "{ended:?}");
            let found = ended.stdout.lines().next().unwrap_or_default();
            assert_eq!(found, format!("root     {}", root.display()));
        }
    }
}

#[test]
fn default_root_is_html_or_current_directory() {
    let directory = Root::of(&[("html/index.html", "inside"), ("bare/html", "no folder")]);
    check_default(directory.path(), None, Ok(&directory.join("html")));
    check_default(&directory.join("bare"), None, Ok(&directory.join("bare")));
    check_default(&directory.join("html"), None, Ok(&directory.join("html")));
    let home = directory.path();
    check_default(home, Some(home), Ok(&directory.join("html")));
}

#[test]
fn file_system_root_and_home_are_served_only_if_named() {
    let root = Path::new("/");
    check_default(root, None, Err(&["/ is not served", "docroot /"]));
    let directory = site();
    let home = directory.path();
    let words = ["docroot ", text(home), "is not served"];
    check_default(home, Some(home), Err(&words));
    for (named, current) in [(".", home), (text(home), root)] {
        let mut command = docroot_with(&["--check", named]);
        let ended = run(command.current_dir(current).env("HOME", home));
        assert_eq!(ended.code, Some(CLEAN), "{named}: {ended:?}");
    }
    // --check of a whole machine takes too long.
    let mut command = docroot_with(&["-p", "0", "-b", "127.0.0.1", "/"]);
    command.current_dir(home).env("HOME", home);
    Server::spawn(command);
}

#[test]
fn home_directory_is_recognized_by_every_path() {
    let outer = Root::of(&[("real/index.html", "private")]);
    let (real, link) = (outer.join("real"), outer.join("link"));
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    check_default(&real, Some(&link), Err(&["is not served"]));
    let slash = outer.join("real/");
    check_default(&real, Some(&slash), Err(&["is not served"]));
}

#[test]
fn index_404_and_hidden_options_apply() {
    let root = site();
    let check = |options: &[&str], target: &str, status: &str, expected: &str| {
        let response = Server::with(root.path(), options).get(target);
        let found = (response.status(), response.text());
        assert_eq!(found, (status, expected), "{options:?}");
    };
    let (ok, absent) = ("200 OK", "404 Not Found");
    check(&[], "/", ok, "index");
    check(&["--index", "a.html"], "/", ok, "a");
    check(&["--index", "none.html,a.html,index.html"], "/", ok, "a");
    check(&["--index", "none.html"], "/", absent, "nothing");
    check(&[], "/none", absent, "nothing");
    check(&["--404", "lost.html"], "/none", absent, "lost");
    check(&[], "/.secret", absent, "nothing");
    check(&["--hidden"], "/.secret", ok, "hidden");
}

#[test]
fn check_prints_effective_configuration() {
    let root = site();
    let options = [
        "--check",
        "--index",
        "none.html,a.html",
        "--404",
        "lost.html",
        "--workers",
        "3",
    ];
    let mut command = docroot_with(&options);
    let ended = run(command.arg(root.path()));
    assert_eq!(ended.code, Some(CLEAN), "{ended:?}");
    assert_eq!(ended.stderr, "");
    for word in [
        text(root.path()),
        "none.html",
        "a.html (found)",
        "lost.html (found)",
        "workers  3",
        "changes  ",
        "sandbox  ",
    ] {
        assert!(ended.stdout.contains(word), "no {word} in {}", ended.stdout);
    }
    let directory = text(root.path());
    let bad = |arguments: &[&str], code: i32, words: &[&str]| {
        let arguments = [&["--check"], arguments].concat();
        check(&mut docroot_with(&arguments), code, words);
    };
    bad(&["/no/such/folder"], NO_ROOT, &["/no/such/folder"]);
    bad(&["--port", "http", directory], BAD_ARGUMENTS, &["http"]);
    bad(
        &["--404", "none.html", directory],
        BAD_ARGUMENTS,
        &["none.html"],
    );
    let environment = run(docroot_with(&[directory]).env("DOCROOT_CHECK", "1"));
    assert_eq!(environment.code, Some(CLEAN), "{environment:?}");
}

/// Returns the output of --help or -h without a terminal, and checks that it has at most 100 columns.
fn help(option: &str) -> String {
    let ended = run(&mut docroot_with(&[option]));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(CLEAN), ""));
    for line in ended.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    ended.stdout
}

/// Returns the long name of the flag in a row of --help.
fn flag(line: &str) -> Option<&str> {
    let names = line
        .strip_prefix("  ")
        .filter(|row| row.trim_start().starts_with('-'))?;
    let (_, flag) = names.split_once("--")?;
    flag.split([' ', '.', '[']).next()
}

#[test]
fn help_has_every_flag_below_its_heading() {
    let text = help("--help");
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_suffix(':'), flag(line)) {
            (Some(title), _) if !line.starts_with(' ') => found.push((title, Vec::new())),
            (_, Some(flag)) => found.last_mut().expect("a heading").1.push(flag),
            _ => {}
        }
    }
    found.retain(|(_, flags)| !flags.is_empty());
    let expected = FLAGS.iter().map(|(title, flags)| (*title, flags.to_vec()));
    assert_eq!(found, expected.collect::<Vec<_>>());
    for alias in ["--host", "--listen", "-l"] {
        assert!(text.contains(alias), "{alias}");
    }
    // Variables are named by their rule, not in each row.
    assert_eq!(text.matches("DOCROOT_").count(), 1, "{text}");
    let (_, examples) = text.split_once("\nExamples:\n").expect("examples");
    let examples = examples
        .lines()
        .take_while(|line| line.starts_with("  docroot "));
    assert_eq!(examples.count(), 4);
    let version = run(&mut docroot_with(&["--version"]));
    let expected = format!("docroot {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected);
}

#[test]
fn short_help_has_the_common_flags() {
    let text = help("-h");
    let flags: Vec<&str> = text.lines().filter_map(flag).collect();
    assert_eq!(flags, COMMON_FLAGS);
    assert!(text.ends_with("\n--help shows all options.\n"), "{text}");
}

#[test]
fn help_is_wrapped_to_the_terminal() {
    let narrow = run(docroot_with(&["--help"]).env("COLUMNS", "72"));
    let longest = narrow.stdout.lines().map(|line| line.chars().count()).max();
    // (The examples and what follows them are written for 100 columns.)
    let (options, _) = narrow.stdout.split_once("\nExamples:").expect("examples");
    let widest = options.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(72), "{longest:?} {options}");
}

const CTRL_C: &[u8] = b"\x03";

/// Command on a terminal made by script(1).
struct Terminal {
    process: Running,
    output: Receiver<String>,
}

impl Terminal {
    /// Runs docroot. Returns `None` where script(1) of util-linux is missing or cannot make a terminal.
    fn start(arguments: &[&str]) -> Option<Self> {
        Self::run(env!("CARGO_BIN_EXE_docroot"), arguments)
    }

    /// Runs any program in the same way.
    fn run(program: &str, arguments: &[&str]) -> Option<Self> {
        let mut probe = Command::new("script");
        probe.args(["-q", "-e", "-c", "true", "/dev/null"]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: script(1) cannot make a terminal here");
            return None;
        }
        let command = docroot_with(arguments);
        let words: Vec<String> = std::iter::once(program.as_ref())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().expect("a word in UTF-8")))
            .collect();
        let line = format!("exec {}", words.join(" "));
        let mut script = Command::new("script");
        script
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, _) in command.get_envs() {
            script.env_remove(name);
        }
        let mut child = script.spawn().expect("script(1) starts");
        Some(Self {
            output: lines(child.stdout.take().expect("a pipe")),
            process: Running(child),
        })
    }

    /// Returns the output up to the line that has these words.
    fn until(&self, words: &str) -> String {
        let mut shown = String::new();
        while !shown.contains(words) {
            let line = self.output.recv_timeout(TIMEOUT);
            shown += &line.unwrap_or_else(|_| panic!("no {words} in {shown}"));
        }
        shown
    }

    /// Returns the id of the process that script(1) started.
    fn docroot_pid(&self) -> Pid {
        let script = self.process.0.id();
        let children = fs::read_to_string(format!("/proc/{script}/task/{script}/children"));
        let child = children.expect("proc").trim().parse();
        Pid::from_raw(child.expect("a child process")).expect("a process id")
    }

    fn press(&mut self, key: &[u8]) {
        let keyboard = self.process.0.stdin.as_mut().expect("a pipe");
        keyboard.write_all(key).expect("the terminal reads");
    }
}

#[test]
fn terminal_shows_banner() {
    let root = site();
    let [address] = free_ports(&own_ip());
    let bind = address.to_string();
    let arguments = ["--listing", "-w", "2", "-b", &bind, text(root.path())];
    let Some(mut terminal) = Terminal::start(&arguments) else {
        return;
    };
    let banner = terminal.until("Ctrl-C stops");
    // Lines are broken at "; ".
    let banner = banner.split_whitespace().collect::<Vec<_>>().join(" ");
    let version = format!("docroot {}", env!("CARGO_PKG_VERSION"));
    for word in [
        &version,
        text(root.path()),
        &format!("http://{address}/"),
        "; directories listed; ",
        "; 2 workers, up to ",
    ] {
        assert!(banner.contains(word), "no {word} in {banner}");
    }
    assert!(!banner.contains('{'), "no JSON announcement: {banner}");
    assert_eq!(connect_when_ready(address).get("/").text(), "index");
    terminal.until(" GET      5 ");
    terminal.press(CTRL_C);
    assert_eq!(terminal.process.wait_for_exit(), Some(CLEAN));
}

#[test]
fn terminal_has_local_time_and_supported_colours() {
    let root = site();
    // Nine hours ahead of UTC, and no daylight saving time.
    let check = |variables: &[&str], is_coloured: bool| {
        let [address] = free_ports(&own_ip());
        let bind = address.to_string();
        let mut arguments = variables.to_vec();
        arguments.extend([
            "TZ=JST-9",
            env!("CARGO_BIN_EXE_docroot"),
            "-v",
            "-b",
            &bind,
            text(root.path()),
        ]);
        let Some(mut terminal) = Terminal::run("env", &arguments) else {
            return;
        };
        terminal.until("Ctrl-C stops");
        let before = hour_in_japan();
        assert_eq!(
            connect_when_ready(address).get("/.secret").status(),
            "404 Not Found"
        );
        // Standard error and the access log are written by different threads.
        let mut both = [terminal.until(" GET "), terminal.until(" GET ")];
        both.sort_by_key(|it| !it.contains("404 Not Found: GET /.secret: "));
        let [line, access] = both;
        assert!(line.contains("404 Not Found: GET /.secret: "), "{line:?}");
        assert_eq!(line.contains("\x1b["), is_coloured, "{line:?}");
        let hours = [before, hour_in_japan()];
        for lines in [&line, &access] {
            let is_local = lines.lines().any(|line| {
                let plain = line.trim_start().trim_start_matches("\x1b[2m");
                hours
                    .iter()
                    .any(|hour| plain.starts_with(&format!("{hour:02}:")))
            });
            assert!(is_local, "{hours:?}: {lines:?}");
        }
        assert!(
            !access.contains("Z \x1b") && !line.contains('Z'),
            "{access:?} {line:?}"
        );
        terminal.press(CTRL_C);
        assert_eq!(terminal.process.wait_for_exit(), Some(CLEAN));
    };
    check(&["TERM=xterm"], true);
    check(&["TERM=xterm", "NO_COLOR=1"], false);
    check(&["TERM=dumb"], false);
}

fn hour_in_japan() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (now.expect("a clock").as_secs() / 3600 + 9) % 24
}

#[test]
fn next_free_port_is_bound_and_reported_on_terminal() {
    let Some((_busy, ip)) = hold_8080() else {
        return;
    };
    if let Err(error) = TcpListener::bind((ip.as_str(), 8081)) {
        eprintln!("skipped: port 8081 is not free: {error}");
        return;
    }
    let root = site();
    let Some(terminal) = Terminal::start(&["-b", &ip, text(root.path())]) else {
        return;
    };
    let banner = terminal.until("Ctrl-C stops");
    for word in [&format!("http://{ip}:8081/"), "port 8080 is in use"] {
        assert!(banner.contains(word), "no {word} in {banner}");
    }
    // With --port, no other port is bound.
    let arguments = ["-b", &ip, "-p", "8080", text(root.path())];
    let Some(mut refused) = Terminal::start(&arguments) else {
        return;
    };
    let line = refused.until("ss -ltnp");
    assert!(line.contains(&format!("{ip}:8080")), "{line}");
    assert_eq!(refused.process.wait_for_exit(), Some(CANNOT_BIND));
}

#[test]
fn closing_the_terminal_ends_server() {
    let root = site();
    let [address] = free_ports(&own_ip());
    let Some(mut terminal) = Terminal::start(&["-b", &address.to_string(), text(root.path())])
    else {
        return;
    };
    terminal.until("Ctrl-C stops");
    // SIGHUP sent by a process reloads the configuration.
    kill_process(terminal.docroot_pid(), Signal::HUP).expect("docroot runs");
    terminal.until("configuration reloaded");
    assert_eq!(connect_when_ready(address).get("/").text(), "index");
    let script = &mut terminal.process.0;
    script.kill().expect("a child process");
    eventually("the port is free", || TcpListener::bind(address).ok());
}
