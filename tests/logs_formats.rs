//! The access log is what other programs take it for, and is kept whatever becomes of the place where it goes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    self, Client, Root, Server, Signal, announced_address, arguments, command_under, docroot,
    eventually, json_field, lines, succeeds,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, kill_process};

/// A user, at the lowest cost, and what she sends.
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

/// What a program says to this on its standard input. `None`, said loudly, where there is no such program.
fn asked(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: there is no {program}");
        return None;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program}: {output:?}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// What could break out of a field: what ends it, what ends a line, what a terminal obeys, what is no UTF-8.
const HOSTILE: &[u8] =
    b"\"\\ \t\xc3\xa9\xc2\x9b1m\xe2\x80\xa8\xf0\x9f\x98\x80\xff\xc3, \"} \"200\" 1 - [";

/// Requests of each kind, and for each the line that jq is to have of it.
fn kinds() -> Vec<(Vec<u8>, &'static str)> {
    let request = |line: &str, fields: &[u8]| {
        let head = format!("{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        [head.as_bytes(), fields, b"\r\n\r\n"].concat()
    };
    let hostile = [b"User-Agent: ", HOSTILE, b"\r\nReferer: ", HOSTILE].concat();
    let sender = b"User-Agent: curl/8.1\r\nReferer: http://a/b?c";
    vec![
        (
            request("GET /?a", sender),
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

/// Sends one request of each kind, and gives the lines of all.
fn all_kinds(server: &Server) -> Vec<String> {
    let mut lines = Vec::new();
    for (request, _) in kinds() {
        let mut client = server.connect();
        client.send(request);
        client.rest();
        lines.push(server.stdout_line());
    }
    lines
}

#[test]
fn jq_reads_each_line_of_json() {
    const EACH: &str = "[.method, .target, .version, .status, .bytes, .coding, .cache, .reason, \
        .referer, .user_agent]";
    let root = site();
    let server = Server::start(root.path());
    let log = all_kinds(&server);
    let input = log.join("\n");
    assert!(
        input
            .bytes()
            .all(|byte| matches!(byte, b'\n' | b' '..=b'~'))
    );
    let Some(read) = asked("jq", &["-c", EACH], input.as_bytes()) else {
        return;
    };
    let lossy = String::from_utf8_lossy(HOSTILE);
    let hostile = asked("jq", &["-Rsc", "."], lossy.as_bytes()).expect("it was there");
    let read: Vec<&str> = read.lines().collect();
    assert_eq!(read.len(), kinds().len());
    for ((line, read), (_, expected)) in log.iter().zip(&read).zip(kinds()) {
        let expected = expected
            .replace("LEN", &json_field(line, "bytes"))
            .replace("CACHE", &format!("\"{}\"", json_field(line, "cache")))
            .replace("HOSTILE", hostile.trim_end());
        assert_eq!(**read, expected, "{line}");
    }
    let rest = "[.time, .peer, .duration_ms | type] | unique | join(\" \")";
    let types = asked("jq", &["-r", rest], input.as_bytes()).expect("it was there");
    assert!(types.lines().all(|line| line == "number string"), "{types}");
}

#[test]
fn goaccess_reads_each_combined_line() {
    let root = site();
    let server = Server::with(root.path(), &["--log-format", "combined"]);
    let log = all_kinds(&server);
    let shape = "127.0.0.1 - - [00/XXX/0000:00:00:00 +0000] \"GET /?a HTTP/1.1\" 200 8 \
        \"http://a/b?c\" \"curl/8.1\"";
    let (start, rest) = log[0].split_once(']').expect("a time");
    let (who, time) = start.split_once('[').expect("a time");
    let time = time.replace(|char: char| char.is_ascii_digit(), "0");
    let time = [&time[..3], "XXX", &time[6..]].concat();
    assert_eq!(format!("{who}[{time}]{rest}"), shape);
    let folder = Root::new();
    folder.write("log", log.join("\n") + "\n");
    let (file, report) = (folder.join("log"), folder.join("report.json"));
    let arguments = [
        text(&file),
        "--log-format=COMBINED",
        "--no-global-config",
        "-o",
        text(&report),
    ];
    if asked("goaccess", &arguments, b"").is_none() {
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
fn a_person_reads_columns() {
    let root = site();
    let server = Server::with(root.path(), &["--log-format", "pretty"]);
    let log = all_kinds(&server);
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
fn a_line_says_how_the_answer_came_to_be_known() {
    let root = site();
    root.backdate();
    let server = Server::with(root.path(), &["--workers", "1"]);
    let mut client = server.connect();
    let mut ask = |requests: usize| {
        client.send(support::GET.repeat(requests));
        let known = (0..requests).map(|_| {
            client.response();
            json_field(&server.stdout_line(), "cache")
        });
        known.last().expect("one at least")
    };
    assert_eq!(ask(1), "miss");
    // It is not remembered before it has held still for a while, and not watched before it has rested for longer.
    eventually("it is remembered", || (ask(1) == "confirmed").then_some(()));
    // Of those that come together, the first is looked at, and the first behind it; the others are believed.
    eventually("it is believed", || (ask(10) == "hit").then_some(()));
    let server = Server::without_cache(root.path());
    for _ in 0..2 {
        server.get("/");
        assert_eq!(json_field(&server.stdout_line(), "cache"), "miss");
    }
}

#[test]
fn a_line_says_why_something_is_not_shown() {
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
fn who_was_verified_is_named_where_the_format_has_a_place_for_it() {
    let root = site();
    let options = ["--log-format", "combined", "--auth", ALICE];
    let server = Server::with(root.path(), &options);
    let mut client = server.connect();
    // The second: alice:wrong
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
fn no_line_where_none_is_asked_for() {
    let root = site();
    for (options, is_announced) in [(&["--log-format", "none"][..], true), (&["-q"], false)] {
        let mut command = docroot();
        command
            .args(["--bind", "127.0.0.1", "--port", "18", "--check"])
            .args(options)
            .arg(root.path());
        assert!(command.output().expect("it runs").status.success());
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
fn what_makes_no_sense_is_refused() {
    let (root, elsewhere) = (site(), Root::new());
    let check = |options: &[&str], words: &[&str]| {
        let mut command = docroot();
        let output = command.args(options).arg(root.path()).output();
        let output = output.expect("it runs");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        for word in words {
            assert!(complaint.contains(word), "{complaint}");
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

/// A server that logs to this file.
fn logging_to(root: &Root, file: &Path) -> Server {
    Server::with(root.path(), &["--log-file", text(file)])
}

/// Waits until the file has so many lines, which are all whole, and gives their targets.
fn targets(file: &Path, count: usize) -> Vec<String> {
    let log = eventually("all lines are written", || {
        let log = fs::read_to_string(file).ok()?;
        (log.lines().count() >= count && log.ends_with('\n')).then_some(log)
    });
    let is_begun_once = |line: &str| line.rfind("{\"time\":") == Some(0);
    let whole = |line: &str| is_begun_once(line) && line.ends_with("\"user_agent\":null}");
    assert!(log.lines().all(whole), "{log}");
    log.lines().map(|line| json_field(line, "target")).collect()
}

#[test]
fn a_file_is_added_to_and_opened_again_when_it_was_moved() {
    use std::os::unix::fs::PermissionsExt as _;
    let (root, folder) = (site(), Root::new());
    let (file, moved) = (folder.join("access.log"), folder.join("access.log.1"));
    let server = logging_to(&root, &file);
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7137, 0, "nobody else reads who came: {mode:o}");
    server.get("/?1");
    assert_eq!(targets(&file, 1), ["/?1"]);
    // As logrotate does it, with "create" left to us.
    fs::rename(&file, &moved).expect("it is moved");
    server.get("/?2");
    assert_eq!(targets(&moved, 2), ["/?1", "/?2"]);
    server.signal(Signal::USR1);
    eventually("it is there although nobody asks for anything", || {
        file.exists().then_some(())
    });
    server.get("/?3");
    assert_eq!(targets(&file, 1), ["/?3"]);
    eventually("the old one is let go", || {
        (!server.has_open(&moved)).then_some(())
    });
    // As logrotate does it with "copytruncate".
    let truncated = fs::File::options().write(true).open(&file);
    truncated
        .expect("it is ours")
        .set_len(0)
        .expect("it is cut");
    server.get("/?4");
    assert_eq!(targets(&file, 1), ["/?4"]);
    // What cannot be opened again is written to as it was.
    let elsewhere = folder.join("elsewhere");
    fs::rename(&file, &elsewhere).expect("it is moved");
    fs::create_dir(&file).expect("a folder");
    server.signal(Signal::USR1);
    let complaint = server.stderr_line();
    assert!(complaint.contains(text(&file)) && complaint.contains("cannot reopen"));
    server.get("/?5");
    assert_eq!(targets(&elsewhere, 2), ["/?4", "/?5"]);
    drop(server);
    let server = logging_to(&root, &elsewhere);
    server.get("/?6");
    assert_eq!(
        targets(&elsewhere, 3),
        ["/?4", "/?5", "/?6"],
        "it is added to"
    );
}

#[test]
fn a_file_may_be_named_as_from_where_it_was_started() {
    let (root, folder) = (site(), Root::new());
    let mut command = docroot();
    command.args(["-p", "0", "--log-file", "access.log"]);
    command.arg(root.path()).current_dir(folder.path());
    let server = Server::spawn(command);
    let file = folder.join("access.log");
    server.get("/?1");
    assert_eq!(targets(&file, 1), ["/?1"]);
    fs::remove_file(&file).expect("it is ours");
    server.signal(Signal::USR1);
    eventually("it is there again", || file.exists().then_some(()));
}

#[test]
fn a_named_pipe_may_be_read_by_whoever_comes() {
    let (root, folder) = (site(), Root::new());
    let pipe = folder.join("pipe");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &pipe, FileType::Fifo, mode, 0).expect("a folder of ours");
    let server = logging_to(&root, &pipe);
    let read = |expected: &[&str]| {
        let reader = fs::File::open(&pipe).expect("it is there");
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
    // Its reader has left, and comes again. (Lines of two workers have no order.)
    let mut client = server.connect();
    client.get("/?2");
    server.signal(Signal::USR1);
    client.get("/?3");
    read(&["/?2", "/?3"]);
    // It is made anew.
    fs::remove_file(&pipe).expect("it is ours");
    mknodat(CWD, &pipe, FileType::Fifo, mode, 0).expect("a folder of ours");
    server.signal(Signal::USR1);
    // It is opened when it has been opened there.
    let reader = fs::File::open(&pipe).expect("it is there");
    server.get("/?4");
    let line = BufReader::new(reader).lines().next();
    let line = line.expect("there is one").expect("text");
    assert_eq!(json_field(&line, "target"), "/?4");
}

#[test]
fn the_signal_ends_nobody_who_has_no_file() {
    let root = site();
    let server = Server::start(root.path());
    server.signal(Signal::USR1);
    for _ in 0..2 {
        assert_eq!(server.get("/").text(), "<p>hello");
        assert_eq!(json_field(&server.stdout_line(), "status"), "200");
    }
}

/// How many lines it says were lost, before "lines", or after the last colon.
fn lost(complaint: &str) -> usize {
    let number = match complaint
        .split_once(" lines ")
        .filter(|_| !complaint.contains("since the start"))
    {
        Some((before, _)) => before.rsplit(' ').next(),
        None => complaint.rsplit(' ').next(),
    };
    let number = number.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {complaint}"))
}

#[test]
fn a_full_disk_loses_lines_and_says_how_many() {
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
    let rest = eventually("it says all", || {
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
fn lines_are_whole_on_a_disk_that_was_full_and_has_room_again() {
    check_full_disk(|_, _| {});
}

#[test]
fn lines_are_whole_where_the_same_file_is_opened_again_on_a_full_disk() {
    check_full_disk(|server, _| server.signal(Signal::USR1));
}

#[test]
fn lines_are_whole_where_the_file_is_emptied_on_a_full_disk() {
    check_full_disk(|_, file| {
        let emptied = fs::File::options().write(true).truncate(true).open(file);
        emptied.expect("it is emptied");
    });
}

/// That each line is whole where the disk was full, and this happened before there was room again.
fn check_full_disk(happens: impl Fn(&Server, &Path)) {
    let (root, folder) = (site(), Root::new());
    let disk = folder.path();
    let mount = format!(
        "mount -t tmpfs -o size=16k none {} && exec \"$@\"",
        text(disk)
    );
    let stage = ["unshare", "-rm", "sh", "-c", &mount, "sh"];
    let probe: Vec<&str> = stage[1..].iter().copied().chain(["true"]).collect();
    if !succeeds(stage[0], &probe) {
        eprintln!("SKIPPED: unshare(1) makes no disk of our own here");
        return;
    }
    let file = disk.join("access.log");
    let options = ["--log-file", text(&file)];
    let server = Server::spawn(command_under(&stage, root.path(), &options));
    // It is on a disk that only the server sees.
    let file = Path::new("/proc")
        .join(server.pid().to_string())
        .join("root")
        .join(file.strip_prefix("/").expect("it is absolute"));
    let mut client = server.connect();
    let mut ask = |target: &str, count: usize| {
        for _ in 0..count {
            assert_eq!(client.get(target).text(), "<p>hello");
        }
    };
    ask("/?before", 200);
    let complaint = server.stderr_line();
    assert!(complaint.contains("No space left"), "{complaint}");
    let full = fs::read(&file).expect("it is there");
    assert_ne!(
        full.last(),
        Some(&b'\n'),
        "a line was begun that found no room"
    );
    happens(&server, &file);
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
        eprintln!("SKIPPED: nsenter(1) makes no room here");
        return;
    }
    ask("/?after", 10);
    eventually("they are all there, and whole", || {
        let all = targets(&file, 10);
        let after = all.iter().filter(|target| *target == "/?after");
        (after.count() == 10).then_some(())
    });
}

#[test]
fn a_pipe_that_nobody_reads_loses_lines_and_says_how_many() {
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
    let complaints = lines(child.stderr.take().expect("a pipe"));
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut announcement = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stdout.read_exact(&mut byte).expect("an announcement");
        announcement.extend(byte);
    }
    let address = announced_address(&String::from_utf8_lossy(&announcement));
    let asked = format!("GET /?{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(1000));
    let mut client = Client::connect(address);
    let first = client.ask(&asked);
    let size = first.head.len() + 2 + first.content.len();
    for _ in 0..REQUESTS / 100 {
        client.send(asked.repeat(100));
        client.bytes(100 * size);
    }
    // While it is stuck, and not only at the end.
    let complaint = complaints.recv_timeout(support::TIMEOUT).expect("a line");
    assert!(
        complaint.contains("standard output is read too slowly"),
        "{complaint}"
    );
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it is ours");
    let total = loop {
        let complaint = complaints.recv_timeout(support::TIMEOUT).expect("a line");
        if complaint.contains("lost since the start") {
            break lost(&complaint);
        }
    };
    assert!(child.wait().expect("it ends").success());
    let mut log = String::new();
    stdout.read_to_string(&mut log).expect("text");
    let whole = log.lines().filter(|line| line.ends_with('}')).count();
    // What the pipe took of what was being written when it was over counts as lost: nobody knows of it.
    assert!(total <= REQUESTS + 1, "{whole} written, {total} lost");
    assert!(whole + total > REQUESTS, "{whole} written, {total} lost");
}
