//! README.md and docs/: commands print what is documented, links resolve, lines fit.
//!
//! Code blocks with commands have one of two languages:
//!
//! - `console` is a transcript. A line that begins with `$ ` is a command, the lines below it are its output. Every
//!   command is run, and its output compared. `...` stands for any text within a line, and for any lines where it is
//!   the whole line. A `docroot` that serves runs on a terminal of its own, and goes on until the next one starts or
//!   the document ends.
//! - `sh` is commands without output. Every line is run and must succeed.
//!
//! A second word after the language (`sh docker`) names a requirement that a test cannot meet: [`NEEDS`]. Such a
//! block is not run; the options of its `docroot` commands must exist.
//!
//! Each document has a directory of its own, [`Terminal::new`], which it calls `/srv`. Ports are chosen by the kernel,
//! and dates are today's; both are replaced by those of the document.
//!
//! `UPDATE_DOCUMENTATION=1 cargo test documentation::` writes the actual output into the documents.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Root, TIMEOUT, docroot, lines};

/// Requirements that keep a block from being run.
const NEEDS: &[&str] = &[
    "browser",  // opens a window
    "bench",    // an idle machine, and root
    "cargo",    // compiles docroot
    "docker",   // a Docker daemon
    "kubectl",  // a Kubernetes cluster
    "network",  // other machines
    "nightly",  // a nightly toolchain and cargo-fuzz
    "password", // a terminal to type at
    "proxy",    // another server
    "root",     // the superuser, and changes outside the directory
    "systemd",  // a running systemd
];

/// Documents whose commands are run. The links of all Markdown files are checked.
const DOCUMENTS: &[&str] = &["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs"];

/// Maximum length of README.md, in lines.
const MAX_README_LINES: usize = 200;

/// Maximum length of a line outside tables, in columns.
const MAX_COLUMNS: usize = 120;

/// Silence on a server's terminal after which its banner is complete.
const BANNER_SILENCE: Duration = Duration::from_millis(300);

/// Port of a command that names none.
const DEFAULT_PORT: u16 = 8080;

/// Directories of the documents, and their paths below the test's own directory.
const DIRECTORIES: [(&str, &str); 3] = [
    ("/srv", "srv"),
    ("/run/docroot", "run"),
    ("/etc/docroot", "etc"),
];

/// Fenced code block.
struct Block {
    /// Index of its first line within the document.
    start: usize,
    language: String,
    needs: Option<String>,
    lines: Vec<String>,
}

/// Command of a block, and the range of its output lines within the document.
struct Typed {
    command: String,
    output: std::ops::Range<usize>,
}

/// Directory in which a document's commands run, and the server that one of them has started.
struct Terminal {
    directory: Root,
    server: Option<Running>,
}

/// Server on a terminal of its own.
struct Running {
    child: Child,
    output: Receiver<String>,
    /// Port in the document.
    port: u16,
    /// Port chosen by the kernel.
    actual: u16,
}

/// Output of a command, and whether it succeeded.
struct Outcome {
    output: Vec<String>,
    succeeded: bool,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every Markdown file of the repository, by its path within it.
fn markdown_files() -> Vec<PathBuf> {
    let mut directories = vec![repository().to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || name == "target" || name == "node_modules" {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                let path = path.strip_prefix(repository()).expect("below it");
                files.push(path.to_owned());
            }
        }
    }
    files.sort();
    files
}

fn text_of(file: &Path) -> String {
    fs::read_to_string(repository().join(file)).expect("text")
}

/// Returns the documents whose commands are run.
fn documents() -> Vec<PathBuf> {
    let is_document = |file: &PathBuf| DOCUMENTS.iter().any(|it| file.starts_with(it));
    markdown_files().into_iter().filter(is_document).collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                let mut words = info.split_whitespace();
                open = Some(Block {
                    start: index + 1,
                    language: words.next().unwrap_or_default().to_owned(),
                    needs: words.next().map(str::to_owned),
                    lines: Vec::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a code block has no end");
    blocks
}

impl Block {
    /// Returns the block's commands in order. A command that ends in a backslash continues on the next line.
    fn typed(&self) -> Vec<Typed> {
        let is_transcript = self.language == "console";
        let mut typed: Vec<Typed> = Vec::new();
        let mut is_unfinished = false;
        for (offset, line) in self.lines.iter().enumerate() {
            let index = self.start + offset;
            let start = match is_transcript {
                true => line.strip_prefix("$ "),
                false => Some(line.trim()).filter(|it| !it.is_empty() && !it.starts_with('#')),
            };
            match (typed.last_mut(), start) {
                (Some(last), _) if is_unfinished => {
                    last.command =
                        format!("{} {}", last.command.trim_end_matches('\\'), line.trim());
                    last.output = index + 1..index + 1;
                }
                (_, Some(command)) => typed.push(Typed {
                    command: command.to_owned(),
                    output: index + 1..index + 1,
                }),
                (Some(last), None) => last.output.end = index + 1,
                (None, None) => {}
            }
            is_unfinished = typed.last().is_some_and(|it| it.command.ends_with('\\'));
        }
        typed
    }
}

impl Terminal {
    /// Makes a directory with these sites:
    ///
    /// - `html`, that of the repository;
    /// - `public`, with pages and a directory without an index;
    /// - `dist`, a single-page app as Vite builds it;
    /// - `shop`, with `_headers`, `_redirects` and a 404 page;
    /// - `broken`, with things that are wrong;
    /// - `current`, a symbolic link to `releases/42`.
    fn new() -> Self {
        let directory = Root::new();
        copy(&repository().join("html"), &directory.join("srv/html"));
        let page =
            |title: &str| format!("<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n");
        let script = "export const add = (a, b) => a + b;\n".repeat(200);
        let files = [
            ("public/index.html", page("Home")),
            ("public/about.html", page("About")),
            ("public/app.js", script.clone()),
            ("public/photos/cat.jpg", "a cat".repeat(400)),
            ("public/photos/dog.jpg", "a dog".repeat(300)),
            ("public/.env", "SECRET=1\n".to_owned()),
            ("dist/index.html", page("App")),
            ("dist/favicon.svg", "<svg/>\n".to_owned()),
            ("dist/assets/index-BsYhmk3H.js", script),
            ("shop/index.html", page("Shop")),
            ("shop/404.html", page("Not here")),
            (
                "shop/_headers",
                "/*\n  X-Frame-Options: DENY\n/img/*\n  Cache-Control: public, max-age=86400\n"
                    .to_owned(),
            ),
            (
                "shop/_redirects",
                "/home    /\n/blog/*  https://blog.example/:splat  302\n".to_owned(),
            ),
            ("shop/img/logo.svg", "<svg/>\n".to_owned()),
            ("broken/index.html", page("Broken")),
            ("broken/_redirects", "/old  /new  999\n".to_owned()),
            ("releases/42/index.html", page("Release 42")),
            ("releases/43/index.html", page("Release 43")),
        ];
        for (path, content) in files {
            directory.write(Path::new("srv").join(path), content);
        }
        fs::create_dir_all(directory.join("run")).expect("a directory");
        // The password is "correct horse".
        directory.write(
            "etc/users",
            "alice:$2y$10$4FhRyH83l7i0T7j6Uw.I8OKrXhH2cWIwK9slp0lKOkqn9svB4CLCS\n",
        );
        symlink("releases/42", directory.join("srv/current")).expect("a link");
        symlink("/etc/passwd", directory.join("srv/broken/passwd")).expect("a link");
        symlink("nowhere", directory.join("srv/broken/dangling")).expect("a link");
        date(&directory.join("srv"));
        fs::create_dir(directory.join("bin")).expect("a directory");
        let program = Path::new(env!("CARGO_BIN_EXE_docroot"));
        symlink(program, directory.join("bin/docroot")).expect("a link");
        Self {
            directory,
            server: None,
        }
    }

    /// Runs a command as it is written, except for ports and directories.
    fn run(&mut self, command: &str) -> Outcome {
        match starts_server(command) {
            true => self.start(command),
            false => self.finish(command),
        }
    }

    /// Returns a shell that runs this command in the directory.
    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(command).stdin(Stdio::null());
        self.set_environment(&mut shell);
        shell
    }

    fn set_environment(&self, command: &mut Command) {
        for (name, _) in docroot().get_envs() {
            command.env_remove(name);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.directory.join("bin");
        command
            .current_dir(self.directory.join("srv"))
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("SHELL", "/bin/bash")
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .env("TZ", "UTC")
            .env("DOCROOT_WORKERS", "2");
    }

    fn start(&mut self, command: &str) -> Outcome {
        self.server = None;
        let (port, command) = with_port_zero(&self.with_own_directories(command));
        let exec = if command.contains(';') { "" } else { "exec " };
        let mut script = Command::new("script");
        // Wide, so that no line is wrapped.
        let command = format!("stty cols 400 2>/dev/null; {exec}{command}");
        script.args(["-qefc", &command, "/dev/null"]);
        self.set_environment(&mut script);
        script.env("DOCROOT_PORT", "0");
        script.stdin(Stdio::null()).stdout(Stdio::piped());
        script.stderr(Stdio::null());
        let mut child = script.spawn().expect("script(1)");
        let output = lines(child.stdout.take().expect("a pipe"));
        let mut printed: Vec<String> = Vec::new();
        let start = Instant::now();
        let is_running = loop {
            match output.recv_timeout(BANNER_SILENCE) {
                Ok(line) => printed.push(plain(&line)),
                Err(RecvTimeoutError::Timeout) if !printed.is_empty() => break true,
                Err(RecvTimeoutError::Timeout) if start.elapsed() < TIMEOUT => {}
                Err(_) => break false,
            }
        };
        let actual = printed.iter().find_map(|line| port_in(line));
        let mut server = Running {
            child,
            output,
            port,
            actual: actual.unwrap_or(port),
        };
        let succeeded = is_running || server.child.wait().is_ok_and(|status| status.success());
        self.server = Some(server);
        Outcome {
            output: self.as_documented(printed),
            succeeded,
        }
    }

    fn finish(&self, command: &str) -> Outcome {
        let mut command = self.with_own_directories(command);
        if let Some(server) = &self.server {
            let (port, actual) = (server.port, server.actual);
            command = command.replace(&format!(":{port}"), &format!(":{actual}"));
            // Lines that the server has logged meanwhile are discarded.
            server.output.try_iter().for_each(drop);
        }
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut shell = self.shell(&command);
        shell.stdout(writer.try_clone().expect("a pipe"));
        shell.stderr(writer);
        let mut child = shell.spawn().expect("a shell");
        drop(shell);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("its output");
        let succeeded = child.wait().expect("a child process").success();
        let printed = String::from_utf8_lossy(&bytes).into_owned();
        Outcome {
            output: self.as_documented(printed.lines().map(plain).collect()),
            succeeded,
        }
    }

    fn with_own_directories(&self, command: &str) -> String {
        let mut command = command.to_owned();
        for (documented, own) in DIRECTORIES {
            let own = self.directory.join(own);
            command = command.replace(documented, &own.display().to_string());
        }
        command
    }

    /// Returns the output with the document's directories, port and dates.
    fn as_documented(&self, output: Vec<String>) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for mut line in output {
            for (documented, own) in DIRECTORIES {
                let own = self.directory.join(own).display().to_string();
                line = line.replace(&own, documented);
            }
            if let Some(server) = &self.server {
                let (port, actual) = (server.port, server.actual);
                line = line.replace(&format!(":{actual}"), &format!(":{port}"));
            }
            let line = with_fixed_values(&line);
            // Several addresses of this machine are shown as one.
            if line.contains(LAN) && lines.last() == Some(&line) {
                continue;
            }
            lines.push(line);
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The server ends when its terminal is closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Address that replaces those of this machine.
const LAN: &str = "192.168.1.20";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).expect("a copy")),
        }
    }
}

/// Gives all files the same date. (One within the current second is not sent as Last-Modified.)
fn date(directory: &Path) {
    // 2025-06-01 12:00:00 UTC.
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_748_779_200);
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            self::date(&path);
            continue;
        }
        let file = fs::File::options().write(true).open(path);
        file.and_then(|file| file.set_modified(date))
            .expect("a writable file");
    }
}

/// Returns whether a command starts a server.
fn starts_server(command: &str) -> bool {
    let Some(arguments) = command.strip_prefix("docroot") else {
        return false;
    };
    let mut arguments = arguments.split_whitespace();
    let commands = ["compress", "explain", "hash", "healthcheck", "help"];
    let ends = [
        "--check",
        "--man",
        "--completions",
        "-h",
        "--help",
        "-V",
        "--version",
    ];
    arguments
        .clone()
        .next()
        .is_none_or(|it| !commands.contains(&it))
        && !arguments.any(|it| ends.contains(&it))
}

/// Returns the port that a command names, and the command with 0 in its place.
fn with_port_zero(command: &str) -> (u16, String) {
    for option in ["-p ", "--port ", "--port="] {
        let Some((before, after)) = command.split_once(&format!(" {option}")) else {
            continue;
        };
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (port, rest) = after.split_at(digits);
        if let Ok(port) = port.parse() {
            return (port, format!("{before} {option}0{rest}"));
        }
    }
    (DEFAULT_PORT, command.to_owned())
}

/// Returns the port of the URL in a line.
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("http://")?;
    let rest = rest.strip_prefix('[').map_or(rest, |rest| {
        rest.split_once(']').map_or(rest, |(_, after)| after)
    });
    let (_, rest) = rest.split_once(':')?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    rest[..digits].parse().ok()
}

/// Returns a line without escape sequences and trailing white space.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.trim_end_matches('\r');
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic());
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    text.push_str(rest);
    text.trim_end().to_owned()
}

/// Replaces values that differ between runs and machines by fixed ones.
fn with_fixed_values(line: &str) -> String {
    if line.starts_with("Date: ") || line.starts_with("date: ") {
        return format!("{}Sat, 21 Nov 2026 09:00:00 GMT", &line[..6]);
    }
    if line.starts_with("sandbox ") {
        return "sandbox  confined by Landlock 7".to_owned();
    }
    let mut line = shaped(
        line,
        "0000-00-00T00:00:00.000000Z",
        "2026-11-21T09:00:00.000000Z",
    );
    line = shaped(
        &line,
        "0000-00-00T00:00:00.000Z",
        "2026-11-21T09:00:00.000Z",
    );
    line = shaped(&line, "[00/aaa/0000:00:00:00", "[21/Nov/2026:09:00:00");
    for (before, value) in [
        ("up to ", "9468"),
        ("Landlock ", "7"),
        ("\"duration_ms\":", "0.412"),
        ("\"peer\":\"127.0.0.1:", "53412"),
        ("files looked at in ", "3"),
        ("files checked in ", "3"),
        ("\"user_agent\":\"curl/", "8.5.0"),
        ("\"curl/", "8.5.0"),
    ] {
        line = with_number(&line, before, value);
    }
    with_lan_address(&line)
}

/// Replaces text of this shape: `0` is any digit, `a` any letter.
fn shaped(line: &str, shape: &str, value: &str) -> String {
    let fits = |start: usize| {
        let text = line.as_bytes().get(start..start + shape.len())?;
        let is_like = |(&byte, shape): (&u8, u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'a' => byte.is_ascii_alphabetic(),
            other => byte == other,
        };
        text.iter().zip(shape.bytes()).all(is_like).then_some(start)
    };
    match (0..line.len()).find_map(fits) {
        Some(start) => format!("{}{value}{}", &line[..start], &line[start + shape.len()..]),
        None => line.to_owned(),
    }
}

/// Replaces the number behind some text.
fn with_number(line: &str, before: &str, value: &str) -> String {
    let Some(end) = line.find(before).map(|start| start + before.len()) else {
        return line.to_owned();
    };
    let rest = line[end..].trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if rest.len() == line.len() - end {
        return line.to_owned();
    }
    format!("{}{value}{rest}", &line[..end])
}

/// Replaces an address other than that of the loopback interface.
fn with_lan_address(line: &str) -> String {
    let Some((before, rest)) = line.split_once("http://") else {
        return line.to_owned();
    };
    let Some((host, after)) = rest.split_once(':') else {
        return line.to_owned();
    };
    match host.parse::<std::net::Ipv4Addr>() {
        Ok(ip) if !ip.is_loopback() && !ip.is_unspecified() => {
            format!("{before}http://{LAN}:{after}")
        }
        _ => line.to_owned(),
    }
}

/// Returns whether lines match the expected ones, in which `...` is any text, or any lines.
fn is_like(actual: &[String], expected: &[&str]) -> bool {
    match (actual, expected) {
        ([], []) => true,
        (_, ["...", rest @ ..]) => (0..=actual.len()).any(|skip| is_like(&actual[skip..], rest)),
        ([line, lines @ ..], [first, rest @ ..]) => {
            is_line_like(line, first) && is_like(lines, rest)
        }
        _ => false,
    }
}

fn is_line_like(actual: &str, expected: &str) -> bool {
    let mut parts = expected.trim_end().split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = actual.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// Returns the actual output without the lines that the document leaves out, and no wider than a document.
fn abridged(actual: &[String], expected: &[&str]) -> Vec<String> {
    let fitting = |line: &String| match line.chars().count() > MAX_COLUMNS {
        true => {
            let cut: String = line.chars().take(MAX_COLUMNS - 4).collect();
            format!("{} ...", cut.rsplit_once(' ').map_or(&*cut, |(cut, _)| cut))
        }
        false => line.clone(),
    };
    if !expected.contains(&"...") {
        return actual.iter().map(fitting).collect();
    }
    let first_word = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut rest = actual;
    let mut abridged = Vec::new();
    for line in expected {
        if *line == "..." {
            abridged.push("...".to_owned());
            continue;
        }
        // The next line; after an ellipsis, one that matches, or begins with the same word.
        let is_next = abridged.last().is_some_and(|before| before != "...");
        let same = match is_next {
            true => rest
                .first()
                .and_then(|it| is_line_like(it, line).then_some(0)),
            false => rest.iter().position(|it| is_line_like(it, line)),
        };
        let similar = || {
            let is_similar = |it: &String| is_next || first_word(it) == first_word(line);
            rest.iter().position(is_similar)
        };
        if let Some(place) = same.or_else(similar) {
            abridged.push(match same {
                Some(_) => (*line).to_owned(),
                None => fitting(&rest[place]),
            });
            rest = &rest[place + 1..];
        }
    }
    abridged
}

/// Runs a document's commands. Returns the differences, and the document with the actual output.
fn checked(file: &Path) -> (Vec<String>, String) {
    let text = text_of(file);
    let all: Vec<&str> = text.lines().collect();
    let mut replaced: Vec<(std::ops::Range<usize>, Vec<String>)> = Vec::new();
    let mut errors = Vec::new();
    let mut terminal: Option<Terminal> = None;
    for block in blocks(&text) {
        if block.needs.is_some() || !["sh", "console"].contains(&&*block.language) {
            continue;
        }
        for typed in block.typed() {
            let terminal = terminal.get_or_insert_with(Terminal::new);
            let expected = &all[typed.output.clone()];
            let end = expected.iter().rposition(|line| !line.is_empty());
            let expected = &expected[..end.map_or(0, |end| end + 1)];
            let mut outcome = terminal.run(&typed.command);
            let at = format!(
                "{}:{}: {}",
                file.display(),
                typed.output.start,
                typed.command
            );
            if block.language == "sh" {
                if !outcome.succeeded {
                    errors.push(format!("{at}\nfails:\n{}\n", outcome.output.join("\n")));
                }
                continue;
            }
            // A log is written 50 ms after its first line.
            let start = Instant::now();
            while !is_like(&outcome.output, expected)
                && ["tail ", "cat "]
                    .iter()
                    .any(|it| typed.command.starts_with(it))
                && start.elapsed() < Duration::from_secs(2)
            {
                thread::sleep(Duration::from_millis(50));
                outcome = terminal.run(&typed.command);
            }
            if !is_like(&outcome.output, expected) {
                errors.push(format!(
                    "{at}\nthe document says:\n{}\nbut the output is:\n{}\n",
                    expected.join("\n"),
                    outcome.output.join("\n"),
                ));
                let range = typed.output.start..typed.output.start + expected.len();
                replaced.push((range, abridged(&outcome.output, expected)));
            }
        }
    }
    let mut lines: Vec<String> = all.into_iter().map(str::to_owned).collect();
    for (range, output) in replaced.into_iter().rev() {
        lines.splice(range, output);
    }
    (errors, lines.join("\n") + "\n")
}

#[test]
fn documented_commands_print_what_is_documented() {
    for tool in ["bash", "script", "curl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("SKIPPED: there is no {tool} here");
            return;
        }
    }
    let documents = documents();
    assert!(documents.len() > 10, "{documents:?}");
    let update = std::env::var_os("UPDATE_DOCUMENTATION").is_some();
    let errors: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = documents
            .iter()
            .map(|file| scope.spawn(move || (file, checked(file))))
            .collect();
        let mut all = Vec::new();
        for document in running {
            let (file, (errors, text)) = document.join().expect("no panic");
            if update && !errors.is_empty() {
                fs::write(repository().join(file), text).expect("a writable file");
            }
            all.extend(errors);
        }
        all
    });
    assert!(
        errors.is_empty(),
        "{} commands do not do what the documentation says \
         (UPDATE_DOCUMENTATION=1 writes the actual output):\n\n{}",
        errors.len(),
        errors.join("\n")
    );
}

#[test]
fn blocks_that_are_not_run_name_a_requirement_and_existing_flags() {
    let help = docroot()
        .arg("--help")
        .output()
        .expect("docroot runs")
        .stdout;
    let mut flags = String::from_utf8(help).expect("text");
    for command in ["compress", "explain", "hash", "healthcheck"] {
        let help = docroot().args([command, "--help"]).output();
        flags += &String::from_utf8(help.expect("docroot runs").stdout).expect("text");
    }
    let mut errors = String::new();
    for file in documents() {
        for block in blocks(&text_of(&file)) {
            let at = format!("{}:{}", file.display(), block.start);
            let is_run = ["sh", "console"].contains(&&*block.language);
            let is_typed = |line: &String| line.starts_with("$ ") || line.starts_with("docroot ");
            if !is_run && block.lines.iter().any(is_typed) {
                let language = &block.language;
                let _ = writeln!(
                    errors,
                    "{at}: a command in a block of language {language:?}"
                );
            }
            let Some(needs) = &block.needs else { continue };
            if !NEEDS.contains(&&**needs) {
                let _ = writeln!(errors, "{at}: {needs:?} is not in the list of NEEDS");
            }
            for typed in block.typed() {
                let Some(arguments) = typed.command.strip_prefix("docroot ") else {
                    continue;
                };
                let arguments = arguments.split([' ', '=']).take_while(|it| *it != "|");
                for flag in arguments.filter(|it| it.starts_with("--") && it.len() > 2) {
                    if !flags.contains(flag) {
                        let _ = writeln!(errors, "{at}: docroot has no {flag}");
                    }
                }
            }
        }
    }
    assert!(errors.is_empty(), "{errors}");
}

/// Returns the lines of a document outside code blocks, with their numbers, counted from one.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut prose = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.push((index + 1, line.to_owned()));
        }
    }
    prose
}

/// Returns the anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = prose(text).into_iter().filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        ((1..=6).contains(&level) && title.starts_with(' ')).then(|| title.trim().to_owned())
    });
    let mut anchors = Vec::new();
    for title in headings {
        // A link's text is part of the anchor, its target is not.
        let mut text = String::new();
        let mut rest = &*title;
        while let Some((before, after)) = rest.split_once("](") {
            text.push_str(before);
            rest = after.split_once(')').map_or("", |(_, rest)| rest);
        }
        text.push_str(rest);
        let slug: String = text
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => Some(c),
                _ => None,
            })
            .collect();
        let count = seen.entry(slug.clone()).or_insert(0);
        anchors.push(match *count {
            0 => slug,
            count => format!("{slug}-{count}"),
        });
        *count += 1;
    }
    anchors
}

/// Returns the targets of the links in a line, without those in code spans.
fn links(line: &str) -> Vec<String> {
    let mut text = String::new();
    for (index, part) in line.split('`').enumerate() {
        text.push_str(if index % 2 == 0 { part } else { "code" });
    }
    let mut links = Vec::new();
    let mut rest = &*text;
    while let Some((_, after)) = rest.split_once("](") {
        let (target, after) = after.split_once(')').unwrap_or((after, ""));
        links.push(target.split(' ').next().unwrap_or_default().to_owned());
        rest = after;
    }
    if let Some((name, target)) = text.split_once("]: ")
        && name.starts_with('[')
        && !name.contains(']')
    {
        links.push(target.trim().to_owned());
    }
    links
}

#[test]
fn relative_links_resolve() {
    let mut errors = String::new();
    let mut count = 0;
    for file in markdown_files() {
        let text = text_of(&file);
        for (number, line) in prose(&text) {
            for link in links(&line) {
                if link.contains("://") || link.starts_with("mailto:") {
                    continue;
                }
                count += 1;
                let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
                let directory = file.parent().unwrap_or(Path::new(""));
                let target = match path {
                    "" => repository().join(&file),
                    path => repository().join(directory).join(path),
                };
                let at = format!("{}:{number}: {link}", file.display());
                // The published package, which is tested too, lacks some files.
                let is_unpublished = [".ci", "benches/load"].iter().any(|directory| {
                    path.contains(directory) && !repository().join(directory).exists()
                });
                if is_unpublished {
                    continue;
                }
                if !target.exists() {
                    let _ = writeln!(errors, "{at}: there is no such file");
                } else if !anchor.is_empty() {
                    let text = fs::read_to_string(&target).unwrap_or_default();
                    if !anchors(&text).iter().any(|it| it == anchor) {
                        let _ = writeln!(errors, "{at}: there is no such heading");
                    }
                }
            }
        }
    }
    assert!(errors.is_empty(), "broken links:\n{errors}");
    assert!(count > 100, "links are found: {count}");
}

#[test]
fn readme_has_at_most_200_lines() {
    let lines = text_of(Path::new("README.md")).lines().count();
    assert!(lines <= MAX_README_LINES, "README.md has {lines} lines");
}

#[test]
fn index_links_every_document() {
    let index = text_of(Path::new("docs/README.md"));
    let linked: Vec<String> = prose(&index)
        .iter()
        .flat_map(|(_, line)| links(line))
        .collect();
    for file in documents() {
        let Ok(name) = file.strip_prefix("docs") else {
            continue;
        };
        let name = name.to_string_lossy();
        let is_linked = linked
            .iter()
            .any(|link| link.split('#').next() == Some(&name));
        assert!(
            name == "README.md" || is_linked,
            "docs/README.md does not link {name}"
        );
    }
}

#[test]
fn markdown_lines_are_at_most_120_columns() {
    let mut errors = String::new();
    for file in markdown_files() {
        for (index, line) in text_of(&file).lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS && !line.starts_with('|') {
                let at = format!("{}:{}", file.display(), index + 1);
                let _ = writeln!(errors, "{at}: {columns} columns");
            }
        }
    }
    assert!(errors.is_empty(), "{errors}");
}

#[test]
fn heading_anchors_are_those_of_github() {
    let rows = [
        ("## Why is this 404?", "why-is-this-404"),
        ("### `--port`", "--port"),
        ("### `compress --jobs`", "compress---jobs"),
        ("## `_headers` and `_redirects`", "_headers-and-_redirects"),
        ("## If-Range, 2.1", "if-range-21"),
        ("## [A link](a.md) here", "a-link-here"),
    ];
    for (heading, anchor) in rows {
        assert_eq!(anchors(heading), [anchor], "{heading}");
    }
    assert_eq!(anchors("# A\n# A\n"), ["a", "a-1"]);
}

#[test]
fn ellipsis_matches_any_text_or_any_lines() {
    let rows: [(&[&str], &[&str], bool); 8] = [
        (&["a", "b"], &["a", "b"], true),
        (&["a", "b"], &["a"], false),
        (&["a", "b", "c"], &["a", "..."], true),
        (&["a", "b", "c"], &["...", "c"], true),
        (&["a", "b", "c"], &["...", "b"], false),
        (&["port 8080, up to 7"], &["port 8080, ..."], true),
        (&["port 8080, up to 7"], &["port ... to 7"], true),
        (&["port 8080, up to 7"], &["port ... to 8"], false),
    ];
    for (actual, expected, is_same) in rows {
        let actual: Vec<String> = actual.iter().map(|&line| line.to_owned()).collect();
        assert_eq!(is_like(&actual, expected), is_same, "{expected:?}");
    }
}
