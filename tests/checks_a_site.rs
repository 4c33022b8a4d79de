//! What a visitor would meet is found beforehand, and named.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{Root, docroot, unprivileged_wrapper};

/// Checks a folder: the exit code, and lines that are, or are not, among what it says.
fn check(root: &Root, options: &[&str], code: i32, lines: &[&str], others: &[&str]) {
    let mut command = docroot();
    command.arg("--check").arg(root.path()).args(options);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{options:?}: {output:?}");
    for line in lines {
        assert!(
            said.lines().any(|said| said == *line),
            "no {line} in {said}"
        );
    }
    for other in others {
        assert!(!said.contains(other), "{other} in {said}");
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
fn nothing_is_wrong_with_most_sites() {
    let root = site();
    symlink("docs", root.join("alias")).expect("a link");
    symlink("..", root.join("docs/up")).expect("a link");
    let files = "files    2 files in 2 directories; 0 sidecars; 1 name not served";
    check(&root, &[], 0, &[files, "no problems"], &["problem:"]);
    let files = "files    3 files in 2 directories; 0 sidecars; 0 names not served";
    check(&root, &["--hidden"], 0, &[files], &["problem:"]);
}

#[test]
fn rules_that_are_left_out_are_named_with_file_and_line() {
    let root = site();
    root.write("_headers", "/a\n  X-A: b\n  nonsense\n");
    root.write("_redirects", "/a /b 999\n/c\n");
    let check = |options: &[&str], code, lines: &[&str]| check(&root, options, code, lines, &[]);
    let named = |file: &str, rest: &str| format!("  {}{rest}", root.join(file).display());
    let output = docroot()
        .arg("--check")
        .arg(root.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    for (file, line) in [
        ("_headers", ":3: "),
        ("_redirects", ":1: "),
        ("_redirects", ":2: "),
    ] {
        let start = named(file, line);
        assert!(
            said.lines().any(|said| said.starts_with(&start)),
            "no {start} in {said}"
        );
    }
    check(
        &[],
        1,
        &["problem: 3 lines of rules are ignored", "3 problems"],
    );

    // Where the file was named, the server would not start.
    let file = root.join("_headers");
    let mut command = docroot();
    command
        .arg("--check")
        .arg(root.path())
        .arg("--headers-file")
        .arg(&file);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for place in ["_headers:3: ", "_redirects:1: ", "_redirects:2: "] {
        assert!(said.contains(place), "no {place} in {said}");
    }
}

#[test]
fn siblings_that_are_none_are_named() {
    let root = Root::of(&[
        ("app.js", "script"),
        ("app.js.br", "br"),
        ("app.js.gz", "no gzip"),
        ("style.css", "style"),
        ("style.css.br", "old"),
    ]);
    root.backdate();
    let style = fs::File::options().write(true).open(root.join("style.css"));
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
    style
        .and_then(|style| style.set_modified(later))
        .expect("a file of ours");
    let lines = [
        "files    5 files in 1 directory; 1 sidecar; 0 names not served",
        "problem: 2 sidecars are not used",
        "  /app.js.gz: its content is not in the coding of its extension",
        "  /style.css.br: it is older than its file",
    ];
    check(&root, &[], 1, &lines, &[]);
    check(&root, &["--no-precompressed"], 0, &[], &["problem:"]);
}

#[test]
fn links_that_lead_out_or_to_nothing_are_named() {
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
fn names_that_no_address_has_are_named() {
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
fn what_cannot_be_read_is_named() {
    let root = site();
    let Some(stage) = unprivileged_wrapper(root.path()) else {
        return;
    };
    for name in ["index.html", "docs"] {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o0)).expect("a mode");
    }
    let plain = docroot();
    let mut command = Command::new(stage[0]);
    command.args(&stage[1..]).arg(plain.get_program());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    let output = command.arg("--check").arg(root.path()).output();
    let output = output.expect("docroot runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for name in ["index.html", "docs"] {
        let line = format!("  /{name}: Permission denied (os error 13)");
        assert!(said.lines().any(|said| said == line), "no {line} in {said}");
    }
}

#[test]
fn of_each_kind_a_hundred_are_named() {
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
