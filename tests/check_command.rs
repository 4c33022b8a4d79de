//! `docroot --check`: problems of a site are reported without starting a server.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::encoding::encoded;
use crate::support::{Root, docroot, unprivileged_wrapper};

/// Runs `docroot --check` and checks its exit code, lines that it prints, and text that it does not print.
fn check(root: &Root, options: &[&str], code: i32, lines: &[&str], others: &[&str]) {
    let mut command = docroot();
    command.arg("--check").arg(root.path()).args(options);
    let output = command.output().expect("docroot runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{options:?}: {output:?}");
    for line in lines {
        assert!(
            stdout.lines().any(|it| it == *line),
            "no {line} in {stdout}"
        );
    }
    for other in others {
        assert!(!stdout.contains(other), "{other} in {stdout}");
    }
}

fn site() -> Root {
    Root::of(&[
        ("index.html", "home"),
        ("docs/index.html", "docs"),
        (".secret", "secret"),
    ])
}

#[test]
fn valid_site_has_no_problems() {
    let root = site();
    symlink("docs", root.join("alias")).expect("a link");
    symlink("..", root.join("docs/up")).expect("a link");
    let files = "files    2 files in 2 directories; 0 sidecars; 1 name not served";
    check(&root, &[], 0, &[files, "no problems"], &["problem:"]);
    let files = "files    3 files in 2 directories; 0 sidecars; 0 names not served";
    check(&root, &["--hidden"], 0, &[files], &["problem:"]);
}

#[test]
fn invalid_path_rules_are_reported_with_file_and_line() {
    let root = site();
    root.write("_headers", "/a\n  X-A: b\n  nonsense\n");
    root.write("_redirects", "/a /b 999\n/c\n");
    let check = |options: &[&str], code, lines: &[&str]| check(&root, options, code, lines, &[]);
    let line_start = |file: &str, rest: &str| format!("  {}{rest}", root.join(file).display());
    let output = docroot()
        .arg("--check")
        .arg(root.path())
        .output()
        .expect("docroot runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    for (file, line) in [
        ("_headers", ":3: "),
        ("_redirects", ":1: "),
        ("_redirects", ":2: "),
    ] {
        let start = line_start(file, line);
        assert!(
            stdout.lines().any(|it| it.starts_with(&start)),
            "no {start} in {stdout}"
        );
    }
    check(
        &[],
        1,
        &["problem: 3 lines of rules are ignored", "3 problems"],
    );

    // With a file given by --headers-file, the server would not start.
    let file = root.join("_headers");
    let mut command = docroot();
    command
        .arg("--check")
        .arg(root.path())
        .arg("--headers-file")
        .arg(&file);
    let output = command.output().expect("docroot runs");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for place in ["_headers:3: ", "_redirects:1: ", "_redirects:2: "] {
        assert!(stderr.contains(place), "no {place} in {stderr}");
    }
}

#[test]
fn unusable_sidecars_are_reported() {
    let root = Root::of(&[
        ("app.js", "script"),
        ("app.js.gz", "no gzip"),
        ("other.css", "script"),
        ("style.css", "style"),
        ("style.css.br", "old"),
    ]);
    root.write("app.js.br", encoded("br", b"script"));
    // Only decoding tells it from a sidecar of other.css.
    root.write("other.css.gz", encoded("gzip", b"SCRIPT"));
    root.backdate();
    let style = fs::File::options().write(true).open(root.join("style.css"));
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
    style
        .and_then(|style| style.set_modified(later))
        .expect("a writable file");
    let lines = [
        "files    7 files in 1 directory; 1 sidecar; 0 names not served",
        "problem: 3 sidecars are not used",
        "  /app.js.gz: its content is not in the coding of its extension",
        "  /other.css.gz: it does not decode to the content of its file",
        "  /style.css.br: it is older than its file",
    ];
    check(&root, &[], 1, &lines, &[]);
    check(&root, &["--no-precompressed"], 0, &[], &["problem:"]);
}

#[test]
fn symbolic_links_out_of_root_or_to_nothing_are_reported() {
    let root = site();
    symlink("/etc/passwd", root.join("out")).expect("a link");
    let lines = [
        "problem: 1 symbolic link leads outside the root (see --symlinks)",
        "  /out -> /etc/passwd",
    ];
    check(&root, &[], 1, &lines, &[]);
    check(&root, &["--symlink-root", "/etc"], 0, &[], &["problem:"]);
    fs::remove_file(root.join("out")).expect("a link");
    symlink("nowhere", root.join("dangling")).expect("a link");
    symlink("docs", root.join("alias")).expect("a link");
    let lines = [
        "remark: 1 symbolic link leads to nothing",
        "  /dangling -> nowhere",
    ];
    check(&root, &[], 0, &lines, &["problem:", "alias"]);
    let lines = [
        "problem: 2 symbolic links lead outside the root (see --symlinks)",
        "  /alias -> docs",
    ];
    check(&root, &["--symlinks", "deny"], 1, &lines, &[]);
}

#[test]
fn file_names_without_url_are_reported() {
    let root = site();
    root.write("con\ntrol\x1b[1m", "a");
    let line = "  /con\\ntrol\\u{1b}[1m: The request's target has a control character.";
    check(
        &root,
        &[],
        0,
        &["remark: 1 name cannot be requested by any URL", line],
        &["\x1b"],
    );
}

#[test]
fn unreadable_files_are_reported() {
    let root = site();
    let Some(wrapper) = unprivileged_wrapper(root.path()) else {
        return;
    };
    for name in ["index.html", "docs"] {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o0)).expect("a mode");
    }
    let plain = docroot();
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(plain.get_program());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    let output = command.arg("--check").arg(root.path()).output();
    let output = output.expect("docroot runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for name in ["index.html", "docs"] {
        let line = format!("  /{name}: Permission denied (os error 13)");
        assert!(stdout.lines().any(|it| it == line), "no {line} in {stdout}");
    }
}

#[test]
fn at_most_100_of_each_kind_are_listed() {
    let root = site();
    for number in 0..105 {
        symlink("/etc", root.join(format!("{number}"))).expect("a link");
    }
    let lines = [
        "problem: 105 symbolic links lead outside the root (see --symlinks)",
        "  and 5 more",
        "  /104 -> /etc",
    ];
    check(&root, &[], 1, &lines, &["/99 ->"]);
}
