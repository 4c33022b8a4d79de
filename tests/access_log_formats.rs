//! Formats of the access log as other programs parse them, and log files that are moved, truncated, full or pipes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    self, Client, Root, Server, Signal, announced_address, arguments, command_under, docroot,
    eventually, json_field, lines, succeeds,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, kill_process};

/// Line of a password file, at a low cost of bcrypt.
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";

fn site() -> Root {
    let root = Root::of(&[
        ("index.html", "<p>hello"),
        ("app.js", &"x = 1;\n".repeat(100)),
        ("app.js.gz", ""),
    ]);
    assert!(succeeds(
        "sh",
        &[
            "-c",
            &format!("cd {} && gzip -kf app.js", text(root.path()))
        ]
    ));
    root
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name in UTF-8")
}

/// Runs a program on this input and returns its standard output. Where there is no such program, prints so and returns
/// `None`.
fn run_on(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let output = support::run_on(program, arguments, input)?;
    assert!(output.status.success(), "{program}: {output:?}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// Bytes that could break out of a field: delimiters, line ends, control sequences of terminals, invalid UTF-8.
const HOSTILE: &[u8] =
    b"\"\\ \t\xc3\xa9\xc2\x9b1m\xe2\x80\xa8\xf0\x9f\x98\x80\xff\xc3, \"} \"200\" 1 - [";

/// Returns a request of each kind, and the line that jq must print for it.
fn request_kinds() -> Vec<(Vec<u8>, &'static str)> {
    let request = |line: &str, fields: &[u8]| {
        let head = format!("{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        [head.as_bytes(), fields, b"\r\n\r\n"].concat()
    };
    let hostile = [b"User-Agent: ", HOSTILE, b"\r\nReferer: ", HOSTILE].concat();
    let client_fields = b"User-Agent: curl/8.1\r\nReferer: http://a/b?c";
    vec![
        (
            request("GET /?a", client_fields),
            r#"["GET","/?a","HTTP/1.1",200,8,null,"miss",null,"http://a/b?c","curl/8.1"]"#,
        ),
        (
            request("GET /app.js", b"Accept-Encoding: gzip"),
            r#"["GET","/app.js","HTTP/1.1",200,LEN,"gzip","miss",null,null,null]"#,
        ),
        (
            request("HEAD /?a", b"X: y"),
            r#"["HEAD","/?a","HTTP/1.1",200,0,null,CACHE,null,null,null]"#,
        ),
        (
            request("GET /none\u{e9}\"\\", &hostile),
            r#"["GET","/noneé\"\\","HTTP/1.1",404,LEN,null,"miss","There is nothing under this address.",HOSTILE,HOSTILE]"#,
        ),
        (
            request("POST /", b"X: y"),
            r#"["POST","/","HTTP/1.1",405,LEN,null,null,"This server only sends files. It allows GET, HEAD and OPTIONS.",null,null]"#,
        ),
        (
            b"\x1b[2J\r\n\r\n".to_vec(),
            r#"[null,null,null,400,LEN,null,null,"This is not a well-formed HTTP request.",null,null]"#,
        ),
        (
            request("GET /%00", b"X: y"),
            r#"["GET","/%00","HTTP/1.1",400,LEN,null,null,"The request's target has a control character.",null,null]"#,
        ),
        (
            b"GET /?a HTTP/1.0\r\n\r\n".to_vec(),
            r#"["GET","/?a","HTTP/1.0",200,8,null,CACHE,null,null,null]"#,
        ),
    ]
}

/// Sends one request of each kind and returns their log lines.
fn log_of_all_kinds(server: &Server) -> Vec<String> {
    let mut lines = Vec::new();
    for (request, _) in request_kinds() {
        let mut client = server.connect();
        client.send(request);
        client.rest();
        lines.push(server.stdout_line());
    }
    lines
}

#[test]
fn jq_parses_every_json_line() {
    const FILTER: &str = "[.method, .target, .version, .status, .bytes, .coding, .cache, .reason, \
        .referer, .user_agent]";
    let root = site();
    let server = Server::start(root.path());
    let log = log_of_all_kinds(&server);
    let input = log.join("\n");
    assert!(
        input
            .bytes()
            .all(|byte| matches!(byte, b'\n' | b' '..=b'~'))
    );
    let Some(read) = run_on("jq", &["-c", FILTER], input.as_bytes()) else {
        return;
    };
    let lossy = String::from_utf8_lossy(HOSTILE);
    let hostile = run_on("jq", &["-Rsc", "."], lossy.as_bytes()).expect("jq ran before");
    let read: Vec<&str> = read.lines().collect();
    assert_eq!(read.len(), request_kinds().len());
    for ((line, read), (_, expected)) in log.iter().zip(&read).zip(request_kinds()) {
        let expected = expected
            .replace("LEN", &json_field(line, "bytes"))
            .replace("CACHE", &format!("\"{}\"", json_field(line, "cache")))
            .replace("HOSTILE", hostile.trim_end());
        assert_eq!(**read, expected, "{line}");
    }
    let rest = "[.time, .peer, .duration_ms | type] | unique | join(\" \")";
    let types = run_on("jq", &["-r", rest], input.as_bytes()).expect("jq ran before");
    assert!(types.lines().all(|line| line == "number string"), "{types}");
}

#[test]
fn goaccess_parses_every_combined_line() {
    let root = site();
    let server = Server::with(root.path(), &["--log-format", "combined"]);
    let log = log_of_all_kinds(&server);
    let shape = "127.0.0.1 - - [00/XXX/0000:00:00:00 +0000] \"GET /?a HTTP/1.1\" 200 8 \
        \"http://a/b?c\" \"curl/8.1\"";
    let (start, rest) = log[0].split_once(']').expect("a time");
    let (client_and_user, time) = start.split_once('[').expect("a time");
    let time = time.replace(|char: char| char.is_ascii_digit(), "0");
    let time = [&time[..3], "XXX", &time[6..]].concat();
    assert_eq!(format!("{client_and_user}[{time}]{rest}"), shape);
    let directory = Root::new();
    directory.write("log", log.join("\n") + "\n");
    let (file, report) = (directory.join("log"), directory.join("report.json"));
    let arguments = [
        text(&file),
        "--log-format=COMBINED",
        "--no-global-config",
        "-o",
        text(&report),
    ];
    if run_on("goaccess", &arguments, b"").is_none() {
        return;
    }
    let report = fs::read_to_string(report).expect("a report");
    let general = |name: &str| -> usize {
        json_field(&report.replace("\": ", "\":"), name)
            .trim()
            .parse()
            .expect("a number")
    };
    assert_eq!(general("valid_requests"), log.len(), "{report}");
    assert_eq!(general("failed_requests"), 0);
    assert!(report.contains("http:\\/\\/a\\/b?c") || report.contains("http://a/b?c"));
}

#[test]
fn pretty_format_has_columns() {
    let root = site();
    let server = Server::with(root.path(), &["--log-format", "pretty"]);
    let log = log_of_all_kinds(&server);
    for (line, expected) in log.iter().zip([
        " 200 GET      8 ",
        " 200 GET   ",
        " 200 HEAD     0 ",
        " 404 GET    260 ",
        " 405 POST   ",
        " 400 -      ",
    ]) {
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{line}"
        );
        let (time, rest) = line.split_at(9);
        let time = time.replace(|char: char| char.is_ascii_digit(), "0");
        assert_eq!(time, "00:00:00Z");
        assert!(rest.starts_with(expected), "{line}");
    }
    assert!(
        log[1].ends_with(" gzip miss      127.0.0.1       /app.js"),
        "{}",
        log[1]
    );
    let nothing = "/none\\xC3\\xA9\"\\x5C (There is nothing under this address)";
    assert!(log[3].ends_with(nothing), "{}", log[3]);
}

#[test]
fn line_has_cache_status() {
    let root = site();
    root.backdate();
    let server = Server::with(root.path(), &["--workers", "1"]);
    let mut client = server.connect();
    let mut cache_status = |requests: usize| {
        client.send(support::GET.repeat(requests));
        let statuses = (0..requests).map(|_| {
            client.response();
            json_field(&server.stdout_line(), "cache")
        });
        statuses.last().expect("one at least")
    };
    assert_eq!(cache_status(1), "miss");
    // A file is not cached until it has been unchanged for a while, and not watched until some time later.
    eventually("the file is cached", || {
        (cache_status(1) == "confirmed").then_some(())
    });
    // Of requests that arrive together, the first two revalidate the entry; the others are hits.
    eventually("the file is watched", || {
        (cache_status(10) == "hit").then_some(())
    });
    let server = Server::without_cache(root.path());
    for _ in 0..2 {
        server.get("/");
        assert_eq!(json_field(&server.stdout_line(), "cache"), "miss");
    }
}

#[test]
fn error_response_is_logged_with_reason() {
    let root = site();
    std::os::unix::fs::symlink("/etc/hostname", root.join("out")).expect("a link");
    let server = Server::start(root.path());
    for (target, fields, status, reason) in [
        ("/out", "", "403", "A symbolic link leads outside the root."),
        ("/.env", "", "404", "There is nothing under this address."),
        (
            "/app.js",
            "Range: bytes=9999-\r\n",
            "416",
            "The range is outside the file.",
        ),
        (
            "/app.js",
            "If-Match: \"x\"\r\n",
            "412",
            "A precondition of the request (If-Match, If-Unmodified-Since) is false.",
        ),
        ("/", "", "200", "-"),
    ] {
        server.ask("GET", target, fields);
        let line = server.stdout_line();
        let found = (json_field(&line, "status"), json_field(&line, "reason"));
        assert_eq!(found, (status.to_owned(), reason.to_owned()));
    }
}

#[test]
fn forced_404_rule_is_logged_with_the_reason_of_the_path() {
    let root = site();
    root.write("404.html", "<p>nothing");
    root.write("secret/.env", "");
    root.write("_redirects", "/secret/* /404.html 404!\n");
    let server = Server::start(root.path());
    for (target, reason) in [
        (
            "/secret/.env",
            "A name in the path begins with a dot; --hidden serves such files.",
        ),
        ("/secret/.other", "There is nothing under this address."),
        ("/secret/file", "There is nothing under this address."),
    ] {
        server.get(target);
        let line = server.stdout_line();
        let found = (json_field(&line, "status"), json_field(&line, "reason"));
        assert_eq!(found, ("404".to_owned(), reason.to_owned()), "{target}");
    }
}

#[test]
fn combined_format_has_verified_user() {
    let root = site();
    let options = ["--log-format", "combined", "--auth", ALICE];
    let server = Server::with(root.path(), &options);
    let mut client = server.connect();
    // The first is alice:correct horse, the second alice:wrong.
    for (credentials, expected) in [
        ("YWxpY2U6Y29ycmVjdCBob3JzZQ==", "127.0.0.1 - alice ["),
        ("YWxpY2U6d3Jvbmc=", "127.0.0.1 - - ["),
    ] {
        client.request(
            "GET",
            "/",
            &format!("Authorization: Basic {credentials}\r\n"),
        );
        let line = server.stdout_line();
        assert!(line.starts_with(expected), "{line}");
        assert!(!line.contains("horse") && !line.contains("wrong"), "{line}");
    }
}

#[test]
fn log_format_none_and_quiet_write_no_lines() {
    let root = site();
    for (options, is_announced) in [(&["--log-format", "none"][..], true), (&["-q"], false)] {
        let mut command = docroot();
        command
            .args(["--bind", "127.0.0.1", "--port", "18", "--check"])
            .args(options)
            .arg(root.path());
        assert!(command.output().expect("docroot runs").status.success());
        if is_announced {
            let mut server = Server::with(root.path(), options);
            assert_eq!(server.get("/").text(), "<p>hello");
            server.signal(Signal::TERM);
            assert_eq!(server.wait_for_exit().code(), Some(0));
            assert_eq!(server.remaining_stdout(), Vec::<String>::new());
        }
    }
}

#[test]
fn conflicting_or_unusable_log_options_are_rejected() {
    let (root, elsewhere) = (site(), Root::new());
    let check = |options: &[&str], words: &[&str]| {
        let mut command = docroot();
        let output = command.args(options).arg(root.path()).output();
        let output = output.expect("docroot runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{stderr}");
        }
    };
    let (inside, outside) = (root.join("new.log"), elsewhere.join("none/new.log"));
    let (inside, outside) = (text(&inside), text(&outside));
    let quiet = ["-q", "--log-file", outside];
    check(&quiet, &["--log-file", outside, "--quiet"]);
    let none = ["--log-format", "none", "--log-file", outside];
    check(&none, &[outside, "--log-format none"]);
    check(&["--log-file", inside], &[inside, "would be served"]);
    check(
        &["-p", "0", "--log-file", outside],
        &[outside, "No such file"],
    );
    check(&["--log-format", "xml"], &["xml", "combined"]);
}

/// Starts a server that logs to this file.
fn logging_to(root: &Root, file: &Path) -> Server {
    Server::with(root.path(), &["--log-file", text(file)])
}

/// Waits until the file has this many lines, checks that all are complete, and returns their targets.
fn targets(file: &Path, count: usize) -> Vec<String> {
    let log = eventually("all lines are written", || {
        let log = fs::read_to_string(file).ok()?;
        (log.lines().count() >= count && log.ends_with('\n')).then_some(log)
    });
    let starts_once = |line: &str| line.rfind("{\"time\":") == Some(0);
    let is_whole = |line: &str| starts_once(line) && line.ends_with("\"user_agent\":null}");
    assert!(log.lines().all(is_whole), "{log}");
    log.lines().map(|line| json_field(line, "target")).collect()
}

#[test]
fn log_file_is_appended_to_and_reopened_on_sigusr1() {
    use std::os::unix::fs::PermissionsExt as _;
    let (root, directory) = (site(), Root::new());
    let (file, moved) = (directory.join("access.log"), directory.join("access.log.1"));
    let server = logging_to(&root, &file);
    let mode = fs::metadata(&file)
        .expect("the file exists")
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o7137,
        0,
        "other users cannot read the log: {mode:o}"
    );
    server.get("/?1");
    assert_eq!(targets(&file, 1), ["/?1"]);
    // As logrotate does it, with "create" left to docroot.
    fs::rename(&file, &moved).expect("the file is renamed");
    server.get("/?2");
    assert_eq!(targets(&moved, 2), ["/?1", "/?2"]);
    server.signal(Signal::USR1);
    eventually("the file is created without a request", || {
        file.exists().then_some(())
    });
    server.get("/?3");
    assert_eq!(targets(&file, 1), ["/?3"]);
    eventually("the moved file is closed", || {
        (!server.has_open(&moved)).then_some(())
    });
    // As logrotate does it with "copytruncate".
    let truncated = fs::File::options().write(true).open(&file);
    truncated
        .expect("a writable file")
        .set_len(0)
        .expect("the file is truncated");
    server.get("/?4");
    assert_eq!(targets(&file, 1), ["/?4"]);
    // If the file cannot be reopened, the old one is still written to.
    let elsewhere = directory.join("elsewhere");
    fs::rename(&file, &elsewhere).expect("the file is renamed");
    fs::create_dir(&file).expect("a directory");
    server.signal(Signal::USR1);
    let message = server.stderr_line();
    assert!(message.contains(text(&file)) && message.contains("cannot reopen"));
    server.get("/?5");
    assert_eq!(targets(&elsewhere, 2), ["/?4", "/?5"]);
    drop(server);
    let server = logging_to(&root, &elsewhere);
    server.get("/?6");
    assert_eq!(
        targets(&elsewhere, 3),
        ["/?4", "/?5", "/?6"],
        "lines are appended"
    );
}

#[test]
fn log_file_is_relative_to_working_directory() {
    let (root, directory) = (site(), Root::new());
    let mut command = docroot();
    command.args(["-p", "0", "--log-file", "access.log"]);
    command.arg(root.path()).current_dir(directory.path());
    let server = Server::spawn(command);
    let file = directory.join("access.log");
    server.get("/?1");
    assert_eq!(targets(&file, 1), ["/?1"]);
    fs::remove_file(&file).expect("the file is removed");
    server.signal(Signal::USR1);
    eventually("the file exists again", || file.exists().then_some(()));
}

#[test]
fn fifo_serves_one_reader_after_another() {
    let (root, directory) = (site(), Root::new());
    let pipe = directory.join("pipe");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &pipe, FileType::Fifo, mode, 0).expect("a writable directory");
    let server = logging_to(&root, &pipe);
    let read = |expected: &[&str]| {
        let reader = fs::File::open(&pipe).expect("the FIFO opens");
        let lines = BufReader::new(reader).lines().take(expected.len());
        let lines: Vec<_> = lines.map(|line| line.expect("text")).collect();
        let targets: Vec<_> = lines
            .iter()
            .map(|line| json_field(line, "target"))
            .collect();
        assert_eq!(targets, expected);
    };
    server.get("/?1");
    read(&["/?1"]);
    // The reader closes the FIFO and opens it again. (Lines of two workers have no order.)
    let mut client = server.connect();
    client.get("/?2");
    server.signal(Signal::USR1);
    client.get("/?3");
    read(&["/?2", "/?3"]);
    // The FIFO is replaced.
    fs::remove_file(&pipe).expect("the FIFO is removed");
    mknodat(CWD, &pipe, FileType::Fifo, mode, 0).expect("a writable directory");
    server.signal(Signal::USR1);
    // Opening it for reading waits until the server has opened it (fifo(7)).
    let reader = fs::File::open(&pipe).expect("the FIFO opens");
    server.get("/?4");
    let line = BufReader::new(reader).lines().next();
    let line = line.expect("a line").expect("text");
    assert_eq!(json_field(&line, "target"), "/?4");
}

#[test]
fn sigusr1_without_log_file_is_ignored() {
    let root = site();
    let server = Server::start(root.path());
    server.signal(Signal::USR1);
    for _ in 0..2 {
        assert_eq!(server.get("/").text(), "<p>hello");
        assert_eq!(json_field(&server.stdout_line(), "status"), "200");
    }
}

/// Parses the number of lost lines in a message: before "lines", or after the last colon.
fn lost(message: &str) -> usize {
    let number = match message
        .split_once(" lines ")
        .filter(|_| !message.contains("since the start"))
    {
        Some((before, _)) => before.rsplit(' ').next(),
        None => message.rsplit(' ').next(),
    };
    let number = number.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {message}"))
}

#[test]
fn full_disk_loses_lines_and_reports_their_number() {
    const REQUESTS: usize = 300;
    let root = site();
    let mut server = logging_to(&root, Path::new("/dev/full"));
    let mut client = server.connect();
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").text(), "<p>hello");
    }
    let first = server.stderr_line();
    assert!(
        first.contains("cannot write /dev/full") && lost(&first) > 0,
        "{first}"
    );
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let rest = eventually("the total is reported", || {
        let rest = server.stderr_lines();
        let rest: Vec<String> = rest
            .into_iter()
            .filter(|line| line.contains("lost since the start"))
            .collect();
        (!rest.is_empty()).then_some(rest)
    });
    assert_eq!(lost(&rest[0]), REQUESTS, "{rest:?}");
}

#[test]
fn lines_are_complete_after_full_disk_has_space_again() {
    check_full_disk(|_, _| {});
}

#[test]
fn lines_are_complete_after_file_is_reopened_on_full_disk() {
    check_full_disk(|server, _| server.signal(Signal::USR1));
}

#[test]
fn lines_are_complete_after_file_is_truncated_on_full_disk() {
    check_full_disk(|_, file| {
        let truncated = fs::File::options().write(true).truncate(true).open(file);
        truncated.expect("the file is truncated");
    });
}

/// Checks that each line is complete after the disk was full and this happened before the disk had space again.
fn check_full_disk(event: impl Fn(&Server, &Path)) {
    let (root, directory) = (site(), Root::new());
    let disk = directory.path();
    let mount = format!(
        "mount -t tmpfs -o size=16k none {} && exec \"$@\"",
        text(disk)
    );
    let wrapper = ["unshare", "-rm", "sh", "-c", &mount, "sh"];
    let probe: Vec<&str> = wrapper[1..].iter().copied().chain(["true"]).collect();
    if !succeeds(wrapper[0], &probe) {
        eprintln!("SKIPPED: unshare(1) cannot mount a file system here");
        return;
    }
    let file = disk.join("access.log");
    let options = ["--log-file", text(&file)];
    let server = Server::spawn(command_under(&wrapper, root.path(), &options));
    // The disk is mounted in the server's mount namespace only.
    let file = Path::new("/proc")
        .join(server.pid().to_string())
        .join("root")
        .join(file.strip_prefix("/").expect("an absolute path"));
    let mut client = server.connect();
    let mut ask = |target: &str, count: usize| {
        for _ in 0..count {
            assert_eq!(client.get(target).text(), "<p>hello");
        }
    };
    ask("/?before", 200);
    let message = server.stderr_line();
    assert!(message.contains("No space left"), "{message}");
    let full = fs::read(&file).expect("the file exists");
    assert_ne!(full.last(), Some(&b'\n'), "the last line is incomplete");
    event(&server, &file);
    let resize = Command::new("nsenter")
        .args([
            "-t",
            &server.pid().to_string(),
            "-U",
            "-m",
            "--preserve-credentials",
        ])
        .args(["mount", "-o", "remount,size=1m", text(disk)])
        .output();
    if !resize.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: nsenter(1) cannot enlarge the file system here");
        return;
    }
    ask("/?after", 10);
    eventually("all lines are complete", || {
        let all = targets(&file, 10);
        let after = all.iter().filter(|target| *target == "/?after");
        (after.count() == 10).then_some(())
    });
}

#[test]
fn unread_pipe_loses_lines_and_reports_their_number() {
    const REQUESTS: usize = 6000;
    let root = site();
    root.backdate();
    let mut command = docroot();
    command
        .args(arguments(&[]))
        .arg(root.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("docroot starts");
    let stderr = lines(child.stderr.take().expect("a pipe"));
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut announcement = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stdout.read_exact(&mut byte).expect("an announcement");
        announcement.extend(byte);
    }
    let address = announced_address(&String::from_utf8_lossy(&announcement));
    let request = format!("GET /?{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(1000));
    let mut client = Client::connect(address);
    let first = client.ask(&request);
    let size = first.head.len() + 2 + first.content.len();
    for _ in 0..REQUESTS / 100 {
        client.send(request.repeat(100));
        client.bytes(100 * size);
    }
    // The message comes while the pipe is full, and not only at the end.
    let message = stderr.recv_timeout(support::TIMEOUT).expect("a line");
    assert!(
        message.contains("standard output is read too slowly"),
        "{message}"
    );
    kill_process(Pid::from_child(&child), Signal::TERM).expect("the signal is sent");
    let total = loop {
        let message = stderr.recv_timeout(support::TIMEOUT).expect("a line");
        if message.contains("lost since the start") {
            break lost(&message);
        }
    };
    assert!(child.wait().expect("a child process").success());
    let mut log = String::new();
    stdout.read_to_string(&mut log).expect("text");
    let whole = log.lines().filter(|line| line.ends_with('}')).count();
    // A write in progress at the end counts as lost, although the pipe may have taken some of its bytes.
    assert!(total <= REQUESTS + 1, "{whole} written, {total} lost");
    assert!(whole + total > REQUESTS, "{whole} written, {total} lost");
}
