//! `docroot compress`: writes sidecars for the right files, complete or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime};

use docroot::http::Coding;
use docroot::site::{SidecarError, SidecarJob, SidecarOutcome, SidecarWriter};

use crate::support::encoding::encoded;
use crate::support::{
    Root, Signal, TIMEOUT, docroot, eventually, pseudorandom_bytes, send_signal, set_modified,
    since_epoch, unprivileged_wrapper, wait_for_file_clock,
};

const SUFFIXES: [&str; 3] = [".br", ".gz", ".zst"];

fn compress(root: &Root, options: &[&str]) -> Output {
    let mut command = docroot();
    command.arg("compress").args(options).arg(root.path());
    command.output().expect("docroot runs")
}

/// Runs `docroot compress`, which must succeed, and returns its standard output and standard error.
fn compressed(root: &Root, options: &[&str]) -> (String, String) {
    let output = compress(root, options);
    let (out, err) = outputs(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    (out, err)
}

/// Returns standard output and standard error as text.
fn outputs(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Lists everything but directories, as paths below the root.
fn names(root: &Root) -> Vec<String> {
    let mut folders = vec![root.path().to_owned()];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
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

/// Returns the names of all these files, and of the sidecars of those in `with`, sorted.
fn with_sidecars(with: &[&str], without: &[&str]) -> Vec<String> {
    let sidecars = |name: &&str| SUFFIXES.map(|suffix| format!("{name}{suffix}"));
    let mut names: Vec<String> = with.iter().flat_map(sidecars).collect();
    names.extend([with, without].concat().into_iter().map(String::from));
    names.sort();
    names
}

/// Returns `len` bytes of compressible text.
fn text(len: usize) -> String {
    let lines = (0..=len / 40).map(|line| format!("{line:>9}: a line of text that compresses\n"));
    let mut text: String = lines.collect();
    text.truncate(len);
    assert_eq!(text.len(), len);
    text
}

fn decoded(path: &Path) -> Vec<u8> {
    let file = File::open(path).expect("a sidecar");
    let mut content = Vec::new();
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("br") => brotli::Decompressor::new(file, 4096).read_to_end(&mut content),
        Some("zst") => zstd::Decoder::new(file)
            .expect("zstd")
            .read_to_end(&mut content),
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_end(&mut content),
        _ => panic!("{path:?} is no sidecar"),
    }
    .expect("a complete sidecar");
    content
}

fn state(path: &Path) -> (u64, i64, i64, i64, i64) {
    let it = fs::symlink_metadata(path).expect("it exists");
    (
        it.ino(),
        it.mtime(),
        it.mtime_nsec(),
        it.ctime(),
        it.ctime_nsec(),
    )
}

#[test]
fn sidecars_have_content_date_and_mode_of_original() {
    let root = Root::new();
    root.write("index.html", text(5000));
    root.write("assets/app.js", text(100_000));
    let private = root.join("assets/app.js");
    fs::set_permissions(&private, Permissions::from_mode(0o640)).expect("a mode");
    let (out, err) = compressed(&root, &[]);
    assert_eq!(
        names(&root),
        with_sidecars(&["assets/app.js", "index.html"], &[])
    );
    assert_eq!(err, "");
    for name in ["index.html", "assets/app.js"] {
        let original = root.join(name);
        let content = fs::read(&original).expect("a file");
        let source = fs::metadata(&original).expect("it exists");
        for suffix in SUFFIXES {
            let sidecar = root.join(format!("{name}{suffix}"));
            assert_eq!(decoded(&sidecar), content, "{sidecar:?}");
            let metadata = fs::metadata(&sidecar).expect("it exists");
            let copied =
                |it: &fs::Metadata| (it.mode(), it.mtime(), it.mtime_nsec(), it.uid(), it.gid());
            assert_eq!(copied(&metadata), copied(&source), "{sidecar:?}");
        }
    }
    let lines: Vec<&str> = out.lines().collect();
    let root = root.path().canonicalize().expect("a path");
    let first = format!("{}: 2 files checked in ", root.display());
    assert!(lines[0].starts_with(&first), "{out}");
    for (line, coding) in lines[3..].iter().zip(["br", "zstd", "gzip"]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..6], [coding, "2", "0", "0", "102.5", "KiB"], "{out}");
    }
}

#[test]
fn second_run_writes_nothing() {
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
fn stale_sidecars_are_rewritten() {
    let root = Root::of(&[("a.html", &text(5000)), ("b.html", &text(5000))]);
    compressed(&root, &[]);
    let other = state(&root.join("b.html.br"));
    root.write("a.html", text(7000));
    compressed(&root, &[]);
    for suffix in SUFFIXES {
        assert_eq!(decoded(&root.join(format!("a.html{suffix}"))).len(), 7000);
    }
    assert_eq!(state(&root.join("b.html.br")), other);

    // An older file has replaced it, as when a release is rolled back.
    root.write("a.html", text(8000));
    set_modified(&root.join("a.html"), since_epoch(1000));
    let rejected = compress(&root, &[]);
    assert_eq!(rejected.status.code(), Some(1), "newer, and other content");
    compressed(&root, &["--force"]);
    for suffix in SUFFIXES {
        assert_eq!(decoded(&root.join(format!("a.html{suffix}"))).len(), 8000);
    }
    // A power failure may leave an empty sidecar.
    File::create(root.join("a.html.gz")).expect("a file");
    set_modified(&root.join("a.html.gz"), since_epoch(1000));
    compressed(&root, &[]);
    assert_eq!(decoded(&root.join("a.html.gz")).len(), 8000);
}

#[test]
fn newer_sidecar_of_other_tool_is_kept() {
    let root = Root::of(&[("a.html", &text(5000))]);
    set_modified(&root.join("a.html"), since_epoch(1000));
    root.write(
        "a.html.zst",
        zstd::encode_all(text(5000).as_bytes(), 1).expect("zstd"),
    );
    let before = state(&root.join("a.html.zst"));
    compressed(&root, &[]);
    assert_eq!(state(&root.join("a.html.zst")), before);
    assert_eq!(names(&root), with_sidecars(&["a.html"], &[]));
}

#[test]
fn newer_file_of_other_content_is_left_and_reported() {
    let (content, other) = (text(5000), text(6000));
    let gzip = |content: &str| encoded("gzip", content.as_bytes());
    let brotli_of_other = encoded("br", other.as_bytes());
    let files: [(&str, &str, Vec<u8>); 6] = [
        ("dump.txt", "gz", gzip(&other)),
        ("truncated.txt", "gz", gzip(&content)[..40].to_vec()),
        ("text.txt", "br", b"the notes of a user".to_vec()),
        ("br.txt", "br", brotli_of_other),
        (
            "zstd.txt",
            "zst",
            encoded("zstd", content.replace('l', "L").as_bytes()),
        ),
        // No sidecar is worthwhile, so the old one would be removed.
        ("short.txt", "gz", gzip(&other)),
    ];
    let root = Root::new();
    for (name, suffix, sidecar) in &files {
        let is_short = *name == "short.txt";
        root.write(name, if is_short { "short" } else { &content });
        set_modified(&root.join(name), since_epoch(1000));
        root.write(format!("{name}.{suffix}"), sidecar);
    }
    for _ in 0..2 {
        let output = compress(&root, &[]);
        let (out, err) = outputs(&output);
        assert_eq!(output.status.code(), Some(1), "{out}{err}");
        for (name, suffix, sidecar) in &files {
            let path = format!("{name}.{suffix}");
            assert_eq!(
                fs::read(root.join(&path)).expect("a file"),
                *sidecar,
                "{path}"
            );
            let line = format!(
                "docroot: {path}: not overwritten: it is no older than {name} but has other content, so it is not sent \
                 for that; move it away, or overwrite it with --force\n"
            );
            assert_eq!(err.matches(&line).count(), 1, "{line}{err}");
        }
        assert!(
            err.ends_with("6 failures, each named above; all other files are done\n"),
            "{err}"
        );
        // The other codings are done.
        assert_eq!(decoded(&root.join("dump.txt.br")), content.as_bytes());
    }
    let (out, _) = compressed(&root, &["--force"]);
    assert!(out.contains("1 sidecars removed"), "{out}");
    for (name, suffix, _) in &files[..5] {
        let sidecar = root.join(format!("{name}.{suffix}"));
        assert_eq!(decoded(&sidecar), content.as_bytes(), "{name}");
    }
    assert!(!root.join("short.txt.gz").exists());
    let (out, _) = compressed(&root, &[]);
    assert!(out.contains("br              0           5 "), "{out}");
}

#[test]
fn newer_sidecar_that_clients_cannot_decode_is_rewritten() {
    let content = text(300_000);
    let root = Root::of(&[("a.txt", &content)]);
    set_modified(&root.join("a.txt"), since_epoch(1000));
    let members = content.as_bytes().chunks(100_000);
    let members: Vec<u8> = members.flat_map(|part| encoded("gzip", part)).collect();
    root.write("a.txt.gz", members);
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("zstd");
    encoder.window_log(27).expect("a window");
    io::copy(&mut content.as_bytes(), &mut encoder).expect("memory");
    root.write("a.txt.zst", encoder.finish().expect("memory"));
    let (out, _) = compressed(&root, &[]);
    assert!(out.contains("zstd            1           0 "), "{out}");
    assert!(out.contains("gzip            1           0 "), "{out}");
    for suffix in SUFFIXES {
        let sidecar = root.join(format!("a.txt{suffix}"));
        assert_eq!(decoded(&sidecar), content.as_bytes(), "{suffix}");
    }
}

#[test]
fn sidecar_of_the_same_date_and_other_content_is_reported() {
    // As builds leave them that give all files one date.
    let root = Root::of(&[("a.txt", &text(5000)), ("b.txt", &text(5000))]);
    set_modified(&root.join("a.txt"), since_epoch(1000));
    set_modified(&root.join("b.txt"), since_epoch(1000));
    compressed(&root, &[]);
    wait_for_file_clock();
    // One of the same length, which the header of a sidecar does not tell apart.
    root.write("a.txt", text(5000).replace('l', "L"));
    root.write("b.txt", text(6000));
    set_modified(&root.join("a.txt"), since_epoch(1000));
    set_modified(&root.join("b.txt"), since_epoch(1000));
    let output = compress(&root, &[]);
    let (_, err) = outputs(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(
        err.matches("not overwritten: it is no older than").count(),
        6,
        "{err}"
    );
    compressed(&root, &["-f"]);
    for suffix in SUFFIXES {
        let sidecar = root.join(format!("a.txt{suffix}"));
        assert_eq!(
            decoded(&sidecar),
            fs::read(root.join("a.txt")).expect("a file")
        );
    }
}

#[test]
fn file_that_appears_while_it_is_encoded_is_not_overwritten() {
    let root = Root::of(&[("a.txt", &text(100_000))]);
    let result = write_sidecar(&writer(&root), &|_| {
        if !root.join("a.txt.gz").exists() {
            root.write("a.txt.gz", "of another program");
        }
    });
    assert!(matches!(result, Err(SidecarError::Foreign)), "{result:?}");
    let left = fs::read(root.join("a.txt.gz")).expect("a file");
    assert_eq!(left, b"of another program");
    assert_eq!(temporary_files(&root), 0);
}

#[test]
fn sidecars_are_written_only_if_worthwhile() {
    let noise: String = pseudorandom_bytes(40_000)
        .iter()
        .map(|byte| char::from(b' ' + byte % 95))
        .collect();
    let root = Root::of(&[
        ("empty.html", ""),
        ("short.html", &text(1024)),
        // Nearly all bytes can be saved, but that is not many.
        ("small.html", &text(1100)),
        ("enough.html", &text(4000)),
    ]);
    // Random bytes shrink by less than a tenth, random characters by more.
    root.write("noise.css", pseudorandom_bytes(40_000));
    root.write("characters.css", noise);
    let (_, err) = compressed(&root, &["-v"]);
    let with = ["characters.css", "enough.html"];
    let mut without = vec!["empty.html", "noise.css", "short.html"];
    without.push("small.html");
    assert_eq!(names(&root), with_sidecars(&with, &without), "{err}");
    assert!(
        err.contains("docroot: noise.css.br: not worthwhile\n"),
        "{err}"
    );

    root.write("enough.html", text(900));
    let (out, err) = compressed(&root, &[]);
    without.push("enough.html");
    assert_eq!(names(&root), with_sidecars(&with[..1], &without));
    assert!(err.contains("docroot: enough.html.br: removed: "), "{err}");
    assert!(out.contains("3 sidecars removed\n"), "{out}");
}

#[test]
fn only_servable_compressible_files_are_examined() {
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
        with_sidecars(&shown, &[&hidden[..], &others].concat())
    );
    assert!(out.contains(": 10 files checked"), "{out}");
    compressed(&root, &["--hidden"]);
    assert_eq!(
        names(&root),
        with_sidecars(&[&shown[..], &hidden].concat(), &others)
    );
}

#[test]
fn symbolic_links_are_not_followed() {
    let outside = Root::of(&[("secret.txt", &text(5000)), ("folder/a.txt", &text(5000))]);
    let root = Root::of(&[("a.txt", &text(5000))]);
    symlink(outside.join("secret.txt"), root.join("link.txt")).expect("a link");
    symlink(outside.join("folder"), root.join("folder")).expect("a link");
    symlink("a.txt", root.join("b.txt")).expect("a link");
    let (out, err) = compressed(&root, &["-v"]);
    assert_eq!(
        names(&root),
        with_sidecars(&["a.txt"], &["b.txt", "folder", "link.txt"])
    );
    assert_eq!(names(&outside), ["folder/a.txt", "secret.txt"]);
    assert!(out.contains("\n3 symbolic links not followed\n"), "{out}");
    assert!(
        err.contains("docroot: link.txt: a symbolic link, not followed\n"),
        "{err}"
    );
    // The directory itself may be given by a link.
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
fn failures_are_reported_and_other_files_are_compressed() {
    let root = Root::of(&[("a.txt", &text(5000)), ("b.txt", &text(5000))]);
    fs::create_dir(root.join("a.txt.br")).expect("a directory");
    symlink("b.txt", root.join("b.txt.gz")).expect("a link");
    let output = compress(&root, &["-q"]);
    let (out, err) = outputs(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(out, "");
    assert!(err.contains("docroot: a.txt.br: not a file, "), "{err}");
    assert!(err.contains("docroot: b.txt.gz: not a file, "), "{err}");
    assert!(
        err.ends_with("docroot: 2 failures, each named above; all other files are done\n"),
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
fn permission_errors_are_reported() {
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
    let Some(wrapper) = unprivileged_wrapper(root.path()) else {
        return;
    };
    if rustix::process::geteuid().is_root() {
        for name in ["", "a.txt", "kept", "kept/b.txt", "c.txt"] {
            std::os::unix::fs::lchown(root.join(name), Some(65534), Some(65534)).expect("an owner");
        }
    }
    let output = std::process::Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(docroot().get_program())
        .arg("compress")
        .arg(root.path())
        .output();
    let output = output.expect("docroot runs");
    let (_, err) = outputs(&output);
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
        with_sidecars(&["a.txt"], &["c.txt", "kept/b.txt"])
    );
}

/// Starts a long run and waits until it has begun to write.
fn start_long_run(root: &Root) -> Child {
    root.write("large.js", text(8_000_000));
    let mut command = docroot();
    command.arg("compress").arg(root.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("docroot starts");
    eventually("a temporary file is written", || {
        (temporary_files(root) > 0).then_some(())
    });
    child
}

/// Counts the temporary files of `docroot compress`.
fn temporary_files(root: &Root) -> usize {
    let is_temporary = |name: &&String| name.starts_with(".docroot-compress.");
    names(root).iter().filter(is_temporary).count()
}

#[test]
fn interrupted_run_leaves_no_partial_sidecars() {
    for signal in [Signal::INT, Signal::TERM] {
        let root = Root::of(&[("a.txt", &text(5000))]);
        let child = start_long_run(&root);
        let sent = Instant::now();
        send_signal(signal, &child);
        let output = child.wait_with_output().expect("it exits");
        let (out, err) = outputs(&output);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(
            sent.elapsed() < TIMEOUT,
            "the run stops without finishing its encoding"
        );
        assert_eq!(out, "");
        assert!(err.starts_with("docroot: stopped: "), "{err}");
        assert_eq!(temporary_files(&root), 0);
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
fn next_run_removes_temporary_files_of_killed_run() {
    let root = Root::of(&[("a.txt", &text(5000))]);
    let mut child = start_long_run(&root);
    child.kill().expect("a child process");
    child.wait().expect("it exits");
    assert!(temporary_files(&root) > 0);
    root.write("large.js", "");
    let (_, err) = compressed(&root, &[]);
    assert!(
        err.contains("removed partial files of an interrupted run: "),
        "{err}"
    );
    assert_eq!(temporary_files(&root), 0);
}

#[test]
fn arguments_are_validated_and_server_variables_are_ignored() {
    let root = Root::of(&[("a.txt", &text(5000))]);
    let run = |arguments: &[&str]| {
        let mut command = docroot();
        command.current_dir(root.path()).args(arguments);
        command
            .env("DOCROOT_PORT", "no port")
            .env("DOCROOT_ROOT", "/nowhere");
        let output = command.output().expect("docroot runs");
        (output.status.code(), outputs(&output).1)
    };
    assert_eq!(run(&["compress", "."]), (Some(0), String::new()));
    assert_eq!(run(&["compress"]).0, Some(2));
    assert_eq!(run(&["compress", ".", "--port", "80"]).0, Some(2));
    assert_eq!(run(&["compress", ".", "--jobs", "0"]).0, Some(2));
    assert_eq!(run(&["compress", ".", "-j1", "-q"]).0, Some(0));
    for (path, reason) in [("nowhere", "No such file"), ("a.txt", "Not a directory")] {
        let (code, err) = run(&["compress", path]);
        assert_eq!(code, Some(4), "{err}");
        assert!(
            err.starts_with(&format!("docroot: cannot read {path}: {reason}")),
            "{err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    let (code, err) = run(&["."]);
    assert_eq!(
        code,
        Some(2),
        "the server reads its environment variables: {err}"
    );
}

#[test]
fn directory_named_like_a_command_is_served_by_path() {
    let root = Root::of(&[
        ("compress/index.html", "here"),
        ("help/index.html", "there"),
    ]);
    for (path, expected) in [("./compress", "/compress\n"), ("help", "/help\n")] {
        let mut command = docroot();
        command.current_dir(root.path()).args(["--check", path]);
        let (out, err) = outputs(&command.output().expect("docroot runs"));
        assert!(out.contains(expected), "{out}{err}");
    }
}

/// Writes the sidecar of `a.txt`. `on_read` is called after each read of the file.
fn write_sidecar(
    writer: &SidecarWriter,
    on_read: &(dyn Fn(u64) + Sync),
) -> Result<SidecarOutcome, SidecarError> {
    let job = SidecarJob {
        path: "a.txt".into(),
        coding: Coding::Gzip,
        len: 0,
    };
    writer.write_sidecar(&job, SystemTime::UNIX_EPOCH, on_read)
}

fn writer(root: &Root) -> SidecarWriter {
    SidecarWriter::open(root.path(), true, false).expect("a directory")
}

#[test]
fn constantly_changing_file_gets_no_sidecar() {
    let root = Root::of(&[("a.txt", &text(100_000))]);
    let writer = writer(&root);
    let changes = AtomicU32::new(0);
    let change_until = |max_changes| {
        changes.store(0, Ordering::Relaxed);
        write_sidecar(&writer, &|_| {
            if changes.fetch_add(1, Ordering::Relaxed) < max_changes {
                root.write("a.txt", text(50_000));
            }
        })
    };
    let result = change_until(u32::MAX);
    assert!(matches!(result, Err(SidecarError::Changing)), "{result:?}");
    assert_eq!(names(&root), ["a.txt"]);
    let result = change_until(1);
    assert!(
        matches!(result, Ok(SidecarOutcome::Written(_))),
        "{result:?}"
    );
    assert_eq!(names(&root), ["a.txt", "a.txt.gz"]);
}

#[test]
fn stopped_writer_leaves_no_temporary_file() {
    let root = Root::of(&[("a.txt", &text(1_000_000))]);
    let writer = writer(&root);
    // Called once, before the stop.
    let result = write_sidecar(&writer, &|_| {
        assert_eq!(names(&root).len(), 2);
        writer.stop();
        assert_eq!(names(&root), ["a.txt"]);
    });
    assert!(matches!(result, Err(SidecarError::Stopped)), "{result:?}");
    let result = write_sidecar(&writer, &|_| ());
    assert!(matches!(result, Err(SidecarError::Stopped)), "{result:?}");
    assert_eq!(names(&root), ["a.txt"]);
}

#[test]
fn temporary_file_of_another_run_is_kept_while_locked() {
    let root = Root::of(&[("a.txt", &text(5000))]);
    let result = write_sidecar(&writer(&root), &|_| {
        let with_temporary = names(&root);
        assert_eq!(temporary_files(&root), 1);
        root.write(".docroot-compress.1.2", "x");
        let scanned = writer(&root).scan_dir(b"").expect("a directory");
        assert_eq!(scanned.leftovers_removed, 1);
        assert_eq!(names(&root), with_temporary);
    });
    assert!(
        matches!(result, Ok(SidecarOutcome::Written(_))),
        "{result:?}"
    );
    assert_eq!(names(&root), ["a.txt", "a.txt.gz"]);
}

#[test]
fn newer_sidecar_is_kept_if_it_matches() {
    let root = Root::of(&[("a.txt", &"x".repeat(5000))]);
    let (path, writer) = (root.join("a.txt"), writer(&root));
    let make = || write_sidecar(&writer, &|_| ()).expect("a file");
    let SidecarOutcome::Written(len) = make() else {
        panic!("a sidecar is worthwhile");
    };
    assert_eq!(make(), SidecarOutcome::UpToDate(len));
    set_modified(&path, since_epoch(1000));
    assert_eq!(make(), SidecarOutcome::UpToDate(len), "its content matches");
    root.write("a.txt", "y".repeat(5000));
    set_modified(&path, since_epoch(1000));
    let foreign = write_sidecar(&writer, &|_| ());
    assert!(
        matches!(foreign, Err(SidecarError::Foreign)),
        "its content did not match: {foreign:?}"
    );
    set_modified(&root.join("a.txt.gz"), since_epoch(999));
    assert_eq!(make(), SidecarOutcome::Written(len), "it was older");
    assert_eq!(make(), SidecarOutcome::UpToDate(len));
    root.write("a.txt", "y".repeat(500));
    set_modified(&path, since_epoch(1001));
    assert_eq!(make(), SidecarOutcome::Removed);
    assert_eq!(make(), SidecarOutcome::NotWorthwhile);
}
