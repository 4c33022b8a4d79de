//! `docroot compress` writes siblings: the right ones, whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{PATIENCE, Root, Signal, docroot, eventually, filling, send, unprivileged};

const SUFFIXES: [&str; 3] = [".br", ".gz", ".zst"];

fn compress(root: &Root, options: &[&str]) -> Output {
    let mut command = docroot();
    command.arg("compress").args(options).arg(root.path());
    command.output().expect("docroot runs")
}

/// Does it, which must succeed, and gives what was said on standard output and on standard error.
fn compressed(root: &Root, options: &[&str]) -> (String, String) {
    let output = compress(root, options);
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    (out, err)
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// All that is there but folders, as paths below the root.
fn names(root: &Root) -> Vec<String> {
    let mut folders = vec![root.path().to_owned()];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            match entry.file_type().expect("a type").is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let path = entry.path();
                    let below = path.strip_prefix(root.path()).expect("below the root");
                    names.push(below.to_string_lossy().into_owned());
                }
            }
        }
    }
    names.sort();
    names
}

/// These files, and siblings of the first so many.
fn with_siblings(with: &[&str], without: &[&str]) -> Vec<String> {
    let siblings = |name: &&str| SUFFIXES.map(|suffix| format!("{name}{suffix}"));
    let mut names: Vec<String> = with.iter().flat_map(siblings).collect();
    names.extend([with, without].concat().into_iter().map(String::from));
    names.sort();
    names
}

/// So many bytes.
fn text(len: usize) -> String {
    let lines = (0..=len / 40).map(|line| format!("{line:>9}: a line of text that compresses\n"));
    let mut text: String = lines.collect();
    text.truncate(len);
    assert_eq!(text.len(), len);
    text
}

fn decoded(path: &Path) -> Vec<u8> {
    let file = File::open(path).expect("a sibling");
    let mut content = Vec::new();
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("br") => brotli::Decompressor::new(file, 4096).read_to_end(&mut content),
        Some("zst") => zstd::Decoder::new(file)
            .expect("zstd")
            .read_to_end(&mut content),
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_end(&mut content),
        _ => panic!("{path:?} is no sibling"),
    }
    .expect("it is whole");
    content
}

fn date(path: &Path, seconds: u64) {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = File::options().write(true).open(path).expect("a file");
    file.set_modified(date).expect("a date");
}

fn state(path: &Path) -> (u64, i64, i64, i64, i64) {
    let it = fs::symlink_metadata(path).expect("it is there");
    (
        it.ino(),
        it.mtime(),
        it.mtime_nsec(),
        it.ctime(),
        it.ctime_nsec(),
    )
}

#[test]
fn siblings_are_the_same_content_with_the_same_date_and_mode() {
    let root = Root::new();
    root.write("index.html", text(5000));
    root.write("assets/app.js", text(100_000));
    let private = root.join("assets/app.js");
    fs::set_permissions(&private, Permissions::from_mode(0o640)).expect("a mode");
    let (out, err) = compressed(&root, &[]);
    assert_eq!(
        names(&root),
        with_siblings(&["assets/app.js", "index.html"], &[])
    );
    assert_eq!(err, "");
    for name in ["index.html", "assets/app.js"] {
        let original = root.join(name);
        let content = fs::read(&original).expect("a file");
        let source = fs::metadata(&original).expect("it is there");
        for suffix in SUFFIXES {
            let sibling = root.join(format!("{name}{suffix}"));
            assert_eq!(decoded(&sibling), content, "{sibling:?}");
            let metadata = fs::metadata(&sibling).expect("it is there");
            let is =
                |it: &fs::Metadata| (it.mode(), it.mtime(), it.mtime_nsec(), it.uid(), it.gid());
            assert_eq!(is(&metadata), is(&source), "{sibling:?}");
        }
    }
    let lines: Vec<&str> = out.lines().collect();
    let root = root.path().canonicalize().expect("a path");
    let first = format!("{}: 2 files looked at in ", root.display());
    assert!(lines[0].starts_with(&first), "{out}");
    for (line, coding) in lines[3..].iter().zip(["br", "zstd", "gzip"]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..6], [coding, "2", "0", "0", "102.5", "KiB"], "{out}");
    }
}

#[test]
fn a_second_run_writes_nothing() {
    let root = Root::of(&[("a.html", &text(5000)), ("b.css", &text(9000))]);
    compressed(&root, &[]);
    let states = || -> Vec<_> {
        names(&root)
            .iter()
            .map(|name| state(&root.join(name)))
            .collect()
    };
    let before = states();
    let (out, _) = compressed(&root, &[]);
    assert_eq!(states(), before);
    assert!(out.contains("br              0           2 "), "{out}");
}

#[test]
fn what_is_of_another_content_is_written_again() {
    let root = Root::of(&[("a.html", &text(5000)), ("b.html", &text(5000))]);
    compressed(&root, &[]);
    let other = state(&root.join("b.html.br"));
    root.write("a.html", text(7000));
    compressed(&root, &[]);
    for suffix in SUFFIXES {
        assert_eq!(decoded(&root.join(format!("a.html{suffix}"))).len(), 7000);
    }
    assert_eq!(state(&root.join("b.html.br")), other);

    // An older file has taken its place, as when a release is rolled back.
    root.write("a.html", text(8000));
    date(&root.join("a.html"), 1000);
    compressed(&root, &[]);
    for suffix in SUFFIXES {
        assert_eq!(decoded(&root.join(format!("a.html{suffix}"))).len(), 8000);
    }
    // What a power failure may leave.
    File::create(root.join("a.html.gz")).expect("a file");
    date(&root.join("a.html.gz"), 1000);
    compressed(&root, &[]);
    assert_eq!(decoded(&root.join("a.html.gz")).len(), 8000);
}

#[test]
fn what_another_tool_has_written_since_is_left() {
    let root = Root::of(&[("a.html", &text(5000))]);
    date(&root.join("a.html"), 1000);
    root.write(
        "a.html.zst",
        zstd::encode_all(text(5000).as_bytes(), 1).expect("zstd"),
    );
    let before = state(&root.join("a.html.zst"));
    compressed(&root, &[]);
    assert_eq!(state(&root.join("a.html.zst")), before);
    assert_eq!(names(&root), with_siblings(&["a.html"], &[]));
}

#[test]
fn only_what_pays_is_written() {
    let noise: String = filling(40_000)
        .iter()
        .map(|byte| char::from(b' ' + byte % 95))
        .collect();
    let root = Root::of(&[
        ("empty.html", ""),
        ("short.html", &text(1024)),
        // Nearly all of it can be saved, but that is not much.
        ("small.html", &text(1100)),
        ("enough.html", &text(4000)),
    ]);
    // (Less than a tenth can be saved of bytes, more of characters.)
    root.write("noise.css", filling(40_000));
    root.write("characters.css", noise);
    let (_, err) = compressed(&root, &["-v"]);
    let with = ["characters.css", "enough.html"];
    let mut without = vec!["empty.html", "noise.css", "short.html"];
    without.push("small.html");
    assert_eq!(names(&root), with_siblings(&with, &without), "{err}");
    assert!(
        err.contains("docroot: noise.css.br: not worth it\n"),
        "{err}"
    );

    root.write("enough.html", text(900));
    let (out, err) = compressed(&root, &[]);
    without.push("enough.html");
    assert_eq!(names(&root), with_siblings(&with[..1], &without));
    assert!(err.contains("docroot: enough.html.br: removed; "), "{err}");
    assert!(out.contains("3 siblings removed\n"), "{out}");
}

#[test]
fn only_what_may_be_served_and_compresses_is_looked_at() {
    let root = Root::new();
    let shown = [
        ".well-known/security.txt",
        "a.js",
        "a.json",
        "a.svg",
        "a.wasm",
        "folder/b.txt",
    ];
    let hidden = [
        ".env.txt",
        ".git/config.txt",
        ".well-known/.a.txt",
        "folder/.well-known/a.txt",
    ];
    let others = [
        "README",
        "a.br",
        "a.gz",
        "a.jpeg",
        "a.tar.zst",
        "a.woff2",
        "b.zip",
    ];
    for name in [&shown[..], &hidden, &others].concat() {
        root.write(name, text(5000));
    }
    let (out, _) = compressed(&root, &[]);
    assert_eq!(
        names(&root),
        with_siblings(&shown, &[&hidden[..], &others].concat())
    );
    assert!(out.contains(": 10 files looked at"), "{out}");
    compressed(&root, &["--hidden"]);
    assert_eq!(
        names(&root),
        with_siblings(&[&shown[..], &hidden].concat(), &others)
    );
}

#[test]
fn links_are_not_followed() {
    let outside = Root::of(&[("secret.txt", &text(5000)), ("folder/a.txt", &text(5000))]);
    let root = Root::of(&[("a.txt", &text(5000))]);
    symlink(outside.join("secret.txt"), root.join("link.txt")).expect("a link");
    symlink(outside.join("folder"), root.join("folder")).expect("a link");
    symlink("a.txt", root.join("b.txt")).expect("a link");
    let (out, err) = compressed(&root, &["-v"]);
    assert_eq!(
        names(&root),
        with_siblings(&["a.txt"], &["b.txt", "folder", "link.txt"])
    );
    assert_eq!(names(&outside), ["folder/a.txt", "secret.txt"]);
    assert!(out.contains("\n3 symbolic links not followed\n"), "{out}");
    assert!(
        err.contains("docroot: link.txt: a symbolic link, not followed\n"),
        "{err}"
    );
    // The folder itself may be reached by one.
    let link = outside.join("root");
    symlink(root.path(), &link).expect("a link");
    let status = docroot()
        .arg("compress")
        .arg(&link)
        .output()
        .expect("docroot runs")
        .status;
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_goes_wrong_is_named_and_the_rest_is_done() {
    let root = Root::of(&[("a.txt", &text(5000)), ("b.txt", &text(5000))]);
    fs::create_dir(root.join("a.txt.br")).expect("a folder");
    symlink("b.txt", root.join("b.txt.gz")).expect("a link");
    let output = compress(&root, &["-q"]);
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(out, "");
    assert!(err.contains("docroot: a.txt.br: is no file, "), "{err}");
    assert!(err.contains("docroot: b.txt.gz: is no file, "), "{err}");
    assert!(
        err.ends_with("docroot: 2 failures, each named above; all else is done\n"),
        "{err}"
    );
    let expected = [
        "a.txt",
        "a.txt.gz",
        "a.txt.zst",
        "b.txt",
        "b.txt.br",
        "b.txt.gz",
        "b.txt.zst",
    ];
    assert_eq!(names(&root), expected);
    assert_eq!(
        fs::read_link(root.join("b.txt.gz")).expect("a link"),
        Path::new("b.txt")
    );
}

#[test]
fn where_nothing_may_be_written_or_read_that_is_said() {
    let root = Root::of(&[
        ("a.txt", &text(5000)),
        ("kept/b.txt", &text(5000)),
        ("c.txt", &text(5000)),
    ]);
    let mode = |name, mode| {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).expect("a mode");
    };
    mode("kept", 0o555);
    mode("c.txt", 0);
    let Some(stage) = unprivileged(root.path()) else {
        return;
    };
    if rustix::process::geteuid().is_root() {
        for name in ["", "a.txt", "kept", "kept/b.txt", "c.txt"] {
            std::os::unix::fs::lchown(root.join(name), Some(65534), Some(65534)).expect("an owner");
        }
    }
    let output = std::process::Command::new(stage[0])
        .args(&stage[1..])
        .arg(docroot().get_program())
        .arg("compress")
        .arg(root.path())
        .output();
    let output = output.expect("docroot runs");
    let (_, err) = said(&output);
    mode("kept", 0o755);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(
        err.matches("docroot: kept: Permission denied").count(),
        1,
        "{err}"
    );
    assert_eq!(
        err.matches("docroot: c.txt: Permission denied").count(),
        1,
        "{err}"
    );
    assert_eq!(
        names(&root),
        with_siblings(&["a.txt"], &["c.txt", "kept/b.txt"])
    );
}

/// A run that has begun to write, and will not be done for long.
fn at_work(root: &Root) -> Child {
    root.write("large.js", text(8_000_000));
    let mut command = docroot();
    command.arg("compress").arg(root.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("docroot starts");
    eventually("something is written", || {
        (left_over(root) > 0).then_some(())
    });
    child
}

fn left_over(root: &Root) -> usize {
    let is_temporary = |name: &&String| name.starts_with(".docroot-compress.");
    names(root).iter().filter(is_temporary).count()
}

#[test]
fn an_interrupted_run_leaves_nothing_half() {
    for signal in [Signal::INT, Signal::TERM] {
        let root = Root::of(&[("a.txt", &text(5000))]);
        let child = at_work(&root);
        let sent = Instant::now();
        send(signal, &child);
        let output = child.wait_with_output().expect("it ends");
        let (out, err) = said(&output);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(
            sent.elapsed() < PATIENCE,
            "what is encoded is not waited for"
        );
        assert_eq!(out, "");
        assert!(err.starts_with("docroot: stopped; "), "{err}");
        assert_eq!(left_over(&root), 0);
        for name in names(&root) {
            if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
                let content = fs::read(root.join(name.rsplit_once('.').expect("a suffix").0));
                assert_eq!(
                    decoded(&root.join(&name)),
                    content.expect("a file"),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn what_a_killed_run_has_left_is_removed_by_the_next() {
    let root = Root::of(&[("a.txt", &text(5000))]);
    let mut child = at_work(&root);
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    assert!(left_over(&root) > 0);
    root.write("large.js", "");
    let (_, err) = compressed(&root, &[]);
    assert!(
        err.contains("removed what an interrupted run has left: "),
        "{err}"
    );
    assert_eq!(left_over(&root), 0);
}

#[test]
fn arguments_are_checked_and_those_of_the_server_do_not_count() {
    let root = Root::of(&[("a.txt", &text(5000))]);
    let run = |arguments: &[&str]| {
        let mut command = docroot();
        command.current_dir(root.path()).args(arguments);
        command
            .env("DOCROOT_PORT", "no port")
            .env("DOCROOT_ROOT", "/nowhere");
        let output = command.output().expect("docroot runs");
        (output.status.code(), said(&output).1)
    };
    assert_eq!(run(&["compress", "."]), (Some(0), String::new()));
    assert_eq!(run(&["compress"]).0, Some(2));
    assert_eq!(run(&["compress", ".", "--port", "80"]).0, Some(2));
    assert_eq!(run(&["compress", ".", "--jobs", "0"]).0, Some(2));
    assert_eq!(run(&["compress", ".", "-j1", "-q"]).0, Some(0));
    for (path, why) in [("nowhere", "No such file"), ("a.txt", "Not a directory")] {
        let (code, err) = run(&["compress", path]);
        assert_eq!(code, Some(4), "{err}");
        assert!(err.starts_with(&format!("docroot: {path}: {why}")), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    let (code, err) = run(&["."]);
    assert_eq!(code, Some(2), "who serves reads its variables: {err}");
}

#[test]
fn a_folder_with_the_name_of_a_command_is_served_by_its_path() {
    let root = Root::of(&[
        ("compress/index.html", "here"),
        ("help/index.html", "there"),
    ]);
    for (path, expected) in [("./compress", "/compress\n"), ("help", "/help\n")] {
        let mut command = docroot();
        command.current_dir(root.path()).args(["--check", path]);
        let (out, err) = said(&command.output().expect("docroot runs"));
        assert!(out.contains(expected), "{out}{err}");
    }
}
