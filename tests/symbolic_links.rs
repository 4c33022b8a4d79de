//! Symbolic links: which are followed under `--symlinks` and `--symlink-root`, and what is logged of the others.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Client, Response, Root, Server, SetOnDrop, Trace, arguments, command_without_openat2,
    docroot, eventually, is_watched,
};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

/// Content outside the root, which no response may have, except under `--symlinks follow`.
const SECRET: &str = "the-secret-outside";

/// Creates a site in `root`, a directory `store` that may be a `--symlink-root`, and secrets around them, also in
/// siblings whose names have theirs as a prefix.
fn outer() -> Root {
    Root::of(&[
        ("root/index.html", "inside"),
        ("root/file", "inside"),
        ("root/folder/index.html", "inside"),
        ("root/folder/file", "inside"),
        ("root/folder/deep/file", "inside"),
        ("store/stored", "stored"),
        ("store/folder/stored", "stored"),
        ("secret", SECRET),
        ("file", SECRET),
        ("index.html", SECRET),
        ("folder/file", SECRET),
        ("stored", SECRET),
        ("root-other/secret", SECRET),
        ("root.bak", SECRET),
        ("roo", SECRET),
        ("store-other/secret", SECRET),
        ("sto", SECRET),
    ])
}

/// Creates a link, in the root unless its name begins with `../`. `{outer}` in its target is replaced.
fn create_link(outer: &Root, link: &str, link_target: &str) {
    let path = outer.join("root").join(link);
    let link_target =
        link_target.replace("{outer}", outer.path().to_str().expect("a name in ASCII"));
    fs::create_dir_all(path.parent().expect("a directory")).expect("the test owns this directory");
    // A link may be in several rows.
    if fs::read_link(&path).is_err() {
        symlink(link_target, path).expect("the test owns this directory");
    }
}

/// Kind of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseKind {
    /// 200 with a file in the root.
    Inside,
    /// 200 with a file in the store.
    Stored,
    /// Content of a file in neither of them.
    Secret,
    /// Redirect to the same path with a slash.
    Redirect,
    Forbidden,
    NotFound,
    /// Any other response.
    Other,
}

use ResponseKind::{Forbidden, Inside, NotFound, Other, Redirect, Secret, Stored};

/// Links, their targets, request targets that contain them, and the expected responses under `--symlinks inside`, under
/// the same with `--symlink-root store`, under `deny`, and under `follow`: the content of the file that is served, or
/// the status; `refused` is 403 or 404, and `harmless` is anything but a secret.
const CASES: &str = "
# link               its target                         request target                     inside   store    deny   follow
# Inside, relative (symlink(7)): to a file, to a directory, in the middle of a path, to a link.
beside               file                               /beside                          inside   inside   403    inside
beside               file                               /beside?query                    inside   inside   403    inside
beside               file                               /b%65side                        inside   inside   403    inside
beside               file                               /beside/                         404      404      403    404
beside               file                               /beside/file                     404      404      403    404
into                 folder                             /into                            301      301      403    301
into                 folder                             /into/                           inside   inside   403    inside
into                 folder                             /into/file                       inside   inside   403    inside
into                 folder                             /into/deep/file                  inside   inside   403    inside
into                 folder                             /into/deep                       301      301      403    301
into                 folder                             /into/nothing                    404      404      403    404
trailing             folder/deep/                       /trailing/file                   inside   inside   403    inside
here                 .                                  /here/file                       inside   inside   403    inside
here                 .                                  /here/here/here/file             inside   inside   403    inside
folder/up            ../file                            /folder/up                       inside   inside   403    inside
folder/top           ..                                 /folder/top/file                 inside   inside   403    inside
folder/top           ..                                 /folder/top/folder/top/into/file inside   inside   403    inside
folder/deep/top      ../..                              /folder/deep/top/file            inside   inside   403    inside
twice                beside                             /twice                           inside   inside   403    inside
into-beside          into/../beside                     /into-beside                     inside   inside   403    inside
deep-and-up          folder/deep/../../file             /deep-and-up                     inside   inside   403    inside
dots                 ./././folder/./file                /dots                            inside   inside   403    inside
slashes              folder///deep//file                /slashes                         inside   inside   403    inside
indexed/index.html   ../file                            /indexed/                        inside   inside   403    inside
# Inside, absolute: resolved through the directories above the root, without passing a secret.
absolute             {outer}/root/file                  /absolute                        inside   inside   403    inside
absolute-folder      {outer}/root/folder                /absolute-folder                 301      301      403    301
absolute-folder      {outer}/root/folder                /absolute-folder/file            inside   inside   403    inside
absolute-folder      {outer}/root/folder                /absolute-folder/deep/file       inside   inside   403    inside
absolute-root        {outer}/root                       /absolute-root/file              inside   inside   403    inside
absolute-root        {outer}/root                       /absolute-root/                  inside   inside   403    inside
absolute-slash       {outer}/root/                      /absolute-slash/file             inside   inside   403    inside
absolute-dots        {outer}/root/folder/../file        /absolute-dots                   inside   inside   403    inside
absolute-dot         {outer}/./root/./file              /absolute-dot                    inside   inside   403    inside
absolute-slashes     //{outer}//root///file             /absolute-slashes                inside   inside   403    inside
absolute-twice       {outer}/root/absolute              /absolute-twice                  inside   inside   403    inside
absolute-beside      {outer}/root/into/file             /absolute-beside                 inside   inside   403    inside
relative-absolute    absolute-folder/file               /relative-absolute               inside   inside   403    inside
# Out of the root and back into it: the final target counts.
around               ../root/file                       /around                          inside   inside   403    inside
around-by-name       {outer}/root/../root/file          /around-by-name                  inside   inside   403    inside
around-store         ../store/../root/file              /around-store                    inside   inside   403    inside
# Through links or names outside the root: whether these are refused is not specified.
../current           root                               /file                            inside   inside   inside inside
by-current           ../current/file                    /by-current                      harmless harmless 403    inside
by-current-name      {outer}/current/file               /by-current-name                 harmless harmless 403    inside
by-current-folder    {outer}/current/folder             /by-current-folder/file          harmless harmless 403    inside
../signpost          root/file                          /file                            inside   inside   inside inside
by-signpost          ../signpost                        /by-signpost                     harmless harmless 403    inside
../to-store          store/stored                       /file                            inside   inside   inside inside
by-to-store          ../to-store                        /by-to-store                     refused  harmless 403    stored
../to-secret         secret                             /file                            inside   inside   inside inside
by-to-secret         ../to-secret                       /by-to-secret                    403      403      403    secret
upward               ..                                 /upward/root/file                harmless harmless 403    inside
# Out.
relative             ../secret                          /relative                        403      403      403    secret
relative             ../secret                          /folder/../relative              403      403      403    secret
relative             ../secret                          //relative                       403      403      403    secret
relative             ../secret                          /%72elative                      403      403      403    secret
relative             ../secret                          /relative/                       403      403      403    404
relative             ../secret                          /relative/deeper                 403      403      403    404
absolute-out         {outer}/secret                     /absolute-out                    403      403      403    secret
upward               ..                                 /upward                          403      403      403    301
upward               ..                                 /upward/                         403      403      403    secret
upward               ..                                 /upward/secret                   403      403      403    secret
upward               ..                                 /upward/root-other/secret        403      403      403    secret
upward               ..                                 /upward/nothing                  403      403      403    404
upward-by-name       {outer}                            /upward-by-name/secret           403      403      403    secret
folder/out           ../../secret                       /folder/out                      403      403      403    secret
folder/two-up        ../..                              /folder/two-up/secret            403      403      403    secret
folder/long-way      deep/../../../secret               /folder/long-way                 403      403      403    secret
into-out             into/two-up/secret                 /into-out                        403      403      403    secret
absolute-climb       {outer}/root/../secret             /absolute-climb                  403      403      403    secret
absolute-folder-climb {outer}/root/folder/../../secret   /absolute-folder-climb           403      403      403    secret
passwd               /etc/passwd                        /passwd                          403      403      403    secret
slash                /                                  /slash/etc/passwd                403      403      403    secret
slash                /                                  /slash                           403      403      403    301
out/index.html       ../../secret                       /out/                            403      403      403    secret
# Siblings whose names have that of the root or the store as a prefix.
sibling              ../root-other/secret               /sibling                         403      403      403    secret
sibling-folder       ../root-other                      /sibling-folder/secret           403      403      403    secret
sibling-by-name      {outer}/root-other/secret          /sibling-by-name                 403      403      403    secret
sibling-by-folder    {outer}/root-other                 /sibling-by-folder/secret        403      403      403    secret
sibling-file         {outer}/root.bak                   /sibling-file                    403      403      403    secret
shorter              {outer}/roo                        /shorter                         403      403      403    secret
store-other          {outer}/store-other/secret         /store-other                     403      403      403    secret
store-neighbour      ../store-other                     /store-neighbour/secret          403      403      403    secret
store-shorter        ../sto                             /store-shorter                   403      403      403    secret
# Into the store, and from there to other places.
stored               ../store/stored                    /stored                          403      stored   403    stored
stored-by-name       {outer}/store/stored               /stored-by-name                  403      stored   403    stored
store                ../store                           /store                           403      301      403    301
store                ../store                           /store/stored                    403      stored   403    stored
store                ../store                           /store/folder/stored             403      stored   403    stored
store                ../store                           /store/nothing                   403      404      403    404
store-by-name        {outer}/store                      /store-by-name/folder/stored     403      stored   403    stored
store-folder         {outer}/store/folder/              /store-folder/stored             403      stored   403    stored
store-dots           {outer}/store/folder/../stored     /store-dots                      403      stored   403    stored
folder/stored        ../../store/stored                 /folder/stored                   403      stored   403    stored
stored-twice         stored                             /stored-twice                    403      stored   403    stored
../store/within      stored                             /store/within                    403      stored   403    stored
../store/folder/up   ../stored                          /store/folder/up                 403      stored   403    stored
../store/by-name     {outer}/store/folder               /store/by-name/stored            403      stored   403    stored
../store/back        {outer}/root/file                  /store/back                      403      inside   403    inside
../store/home        ../root                            /store/home/folder/file          403      inside   403    inside
../store/home        ../root                            /store/home/beside               403      inside   403    inside
../store/home        ../root                            /store/home/store/home/file      403      inside   403    inside
../store/home        ../root                            /store/home/store/stored         403      stored   403    stored
../store/out         ../secret                          /store/out                       403      403      403    secret
../store/out-by-name {outer}/secret                     /store/out-by-name               403      403      403    secret
../store/folder/out  ../../secret                       /store/folder/out                403      403      403    secret
../store/up          ..                                 /store/up/secret                 403      403      403    secret
../store/up          ..                                 /store/up/store-other/secret     403      403      403    secret
../store/gone        nothing                            /store/gone                      403      404      403    404
../store/self        self                               /store/self                      403      404      403    404
via-store            ../store/back                      /via-store                       harmless inside   403    inside
via-store-out        ../store/out                       /via-store-out                   403      403      403    secret
store-climb          ../store/../secret                 /store-climb                     403      403      403    secret
store-climb-by-name  {outer}/store/../secret            /store-climb-by-name             403      403      403    secret
into-store-climb     store/../secret                    /into-store-climb                403      403      403    secret
# Chains whose last link but one is inside, and whose last is not.
chained              chained-1                          /chained                         403      403      403    secret
chained-1            folder/chained-2                   /chained-1                       403      403      403    secret
folder/chained-2     ../../secret                       /folder/chained-2                403      403      403    secret
chained-folder       folder/chained-up                  /chained-folder/secret           403      403      403    secret
folder/chained-up    ../..                              /folder/chained-up/secret        403      403      403    secret
# Loops (path_resolution(7): ELOOP), and links to nothing.
loop                 loop                               /loop                            404      404      403    404
loop                 loop                               /loop/                           404      404      403    404
loop                 loop                               /loop/file                       404      404      403    404
loop-a               loop-b                             /loop-a                          404      404      403    404
loop-b               loop-a                             /loop-b/file                     404      404      403    404
folder/loop          ../folder/loop                     /folder/loop                     404      404      403    404
loop-by-name         {outer}/root/loop-by-name          /loop-by-name                    404      404      403    404
deeper               deeper/deeper                      /deeper                          404      404      403    404
loop-around          ../root/loop-around                /loop-around                     404      404      403    404
dangling             nothing                            /dangling                        404      404      403    404
dangling             nothing                            /dangling/                       404      404      403    404
dangling-deep        nothing/at/all                     /dangling-deep                   404      404      403    404
dangling-by-name     {outer}/root/nothing               /dangling-by-name                404      404      403    404
through-a-file       file/deeper                        /through-a-file                  404      404      403    404
dangling-out         ../nothing                         /dangling-out                    refused  refused  403    404
dangling-far         /nothing/at/all                    /dangling-far                    refused  refused  403    404
# To special files: 404 where the link may lead there; where it may not, the link is refused.
to-fifo              fifo                               /to-fifo                         404      404      403    404
to-fifo-out          ../fifo                            /to-fifo-out                     403      403      403    404
to-store-fifo        ../store/fifo                      /to-store-fifo                   403      404      403    404
# Magic links: their text is not what they lead to (proc(5)). Not even `follow` follows them.
self                 /proc/self/root                    /self/etc/passwd                 403      403      403    refused
thread               /proc/thread-self/root             /thread/etc/passwd               403      403      403    refused
init                 /proc/1/root                       /init/etc/passwd                 403      403      403    refused
cwd                  /proc/self/cwd                     /cwd/Cargo.toml                  403      403      403    refused
exe                  /proc/self/exe                     /exe                             403      403      403    refused
descriptors          /proc/self/fd                      /descriptors/0                   403      403      403    refused
descriptors          /proc/self/fd                      /descriptors/3/file              403      403      403    refused
dev                  /dev/fd                            /dev/3/file                      403      403      403    refused
stdin                /dev/stdin                         /stdin                           403      403      403    refused
by-way-of            /proc/self/root/{outer}/root/file  /by-way-of                       harmless harmless 403    refused
proc                 /proc                              /proc/self/root/etc/passwd       403      403      403    refused
proc                 /proc                              /proc/self/cwd/Cargo.toml        403      403      403    refused
proc                 /proc                              /proc/self/environ               403      403      403    harmless
environment          /proc/self/environ                 /environment                     403      403      403    harmless
above                /proc/self/fd/..                   /above/environ                   403      403      403    harmless
";

/// Row of [`CASES`].
struct LinkCase {
    link: &'static str,
    link_target: &'static str,
    target: &'static str,
    expected: [&'static str; 4],
}

fn cases() -> impl Iterator<Item = LinkCase> {
    let rows = CASES
        .lines()
        .filter(|row| !row.is_empty() && !row.starts_with('#'));
    rows.map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [link, link_target, target, expected @ ..] = &words[..] else {
            panic!("expected three columns and the responses: {row}");
        };
        LinkCase {
            link,
            link_target,
            target,
            expected: expected.try_into().expect("four columns"),
        }
    })
}

/// Name, column of [`CASES`] and options of a server.
type Policy = (&'static str, usize, &'static [&'static str]);

const POLICIES: [Policy; 6] = [
    ("by default", 0, &[]),
    ("inside", 0, &["--symlinks", "inside"]),
    (
        "inside and in the store",
        1,
        &["--symlink-root", "{outer}/store"],
    ),
    (
        "inside and in several roots",
        1,
        &[
            "--symlink-root",
            "{outer}/root",
            "--symlink-root",
            "{outer}/store/",
        ],
    ),
    ("deny", 2, &["--symlinks", "deny"]),
    ("follow", 3, &["--symlinks", "follow"]),
];

/// Creates the directories of [`outer`] with all links of [`CASES`].
fn outer_with_links() -> Root {
    let outer = outer();
    for case in cases() {
        create_link(&outer, case.link, case.link_target);
    }
    for folder in ["root", "store", ""] {
        let fifo = outer.join(folder).join("fifo");
        mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).expect("the test owns this directory");
    }
    outer
}

/// Replaces `{outer}` in these options.
fn options(outer: &Root, options: &[&str]) -> Vec<String> {
    let path = outer.path().to_str().expect("a name in ASCII");
    let replaced = options.iter().map(|option| option.replace("{outer}", path));
    replaced.collect()
}

/// Starts servers of this directory with these options, in which `{outer}` is replaced: with openat2(2) and, unless
/// every link is to be followed, without it.
fn servers(outer: &Root, given: &[&str]) -> impl Iterator<Item = (&'static str, Server)> {
    let given = options(outer, given);
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let root = outer.join("root");
    let with = Server::with(&root, &given);
    let without = match given.contains(&"follow") {
        true => None,
        false => Server::without_openat2("ENOSYS", &root, &given),
    };
    let without = without.map(|server| ("without openat2", server));
    [("with openat2", with)].into_iter().chain(without)
}

fn is_secret(content: &str) -> bool {
    [SECRET, "root:", "[package]"]
        .iter()
        .any(|secret| content.contains(secret))
}

/// Returns the kind of a response.
fn classify(response: &Response, target: &str) -> ResponseKind {
    let content = String::from_utf8_lossy(&response.content);
    match (response.status(), &*content) {
        ("200 OK", "inside") => Inside,
        ("200 OK", "stored") => Stored,
        ("301 Moved Permanently", _) => {
            let expected = format!("{target}/");
            assert_eq!(response.field("Location"), Some(&*expected));
            Redirect
        }
        ("403 Forbidden", page) if !is_secret(page) => Forbidden,
        ("404 Not Found", page) if !is_secret(page) => NotFound,
        (_, content) if is_secret(content) => Secret,
        _ => Other,
    }
}

impl ResponseKind {
    /// Whether a column of [`CASES`] allows this kind.
    fn matches(self, expected: &str) -> bool {
        match expected {
            "inside" => self == Inside,
            "stored" => self == Stored,
            "secret" => self == Secret,
            "301" => self == Redirect,
            "403" => self == Forbidden,
            "404" => self == NotFound,
            "refused" => [Forbidden, NotFound].contains(&self),
            "harmless" => self != Secret,
            _ => panic!("no such word: {expected}"),
        }
    }
}

/// Checks the responses to all [`CASES`] under these options.
fn check((name, column, options): Policy) {
    let outer = outer_with_links();
    let mut failures = Vec::new();
    for (by, server) in servers(&outer, options) {
        for case in cases() {
            let found = classify(&server.connect().get(case.target), case.target);
            let expected = case.expected[column];
            if !found.matches(expected) {
                let LinkCase {
                    link,
                    link_target,
                    target,
                    ..
                } = case;
                let what =
                    format!("{target} ({link} -> {link_target}): {found:?} instead of {expected}");
                failures.push(format!("{what}, {by}"));
            }
        }
        // A path without a link.
        assert_eq!(server.get("/folder/deep/file").text(), "inside");
    }
    assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n"));
}

#[test]
fn link_inside_root_is_followed_and_outside_is_403() {
    check(POLICIES[0]);
    check(POLICIES[1]);
}

#[test]
fn link_into_symlink_root_is_followed() {
    check(POLICIES[2]);
    check(POLICIES[3]);
}

#[test]
fn symlinks_deny_makes_every_link_403() {
    check(POLICIES[4]);
}

#[test]
fn symlinks_follow_follows_every_link() {
    check(POLICIES[5]);
}

// Magic links in /proc lead to objects without a name, and only the kernel can tell them from other links.
#[test]
fn symlinks_follow_requires_openat2() {
    let outer = outer();
    let root = outer.join("root");
    let Some(mut command) = command_without_openat2("ENOSYS", &root, &["--symlinks", "follow"])
    else {
        return;
    };
    let ended = command.output().expect("docroot starts");
    assert_eq!(ended.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(
        stderr.contains("openat2") && stderr.contains("--symlink-root"),
        "{stderr}"
    );
}

#[test]
fn environment_variables_configure_links() {
    let outer = outer_with_links();
    let store = options(&outer, &["{outer}/root-other,{outer}/store"]).remove(0);
    for (variable, value, target, expected) in [
        ("DOCROOT_SYMLINKS", "deny", "/beside", Forbidden),
        ("DOCROOT_SYMLINKS", "inside", "/beside", Inside),
        ("DOCROOT_SYMLINKS", "follow", "/relative", Secret),
        // An empty variable counts as not set.
        ("DOCROOT_SYMLINKS", "", "/beside", Inside),
        ("DOCROOT_SYMLINK_ROOT", &store, "/stored", Stored),
        ("DOCROOT_SYMLINK_ROOT", &store, "/sibling", Secret),
        ("DOCROOT_SYMLINK_ROOT", &store, "/store-other", Forbidden),
    ] {
        let mut command = docroot();
        command.args(arguments(&[])).arg(outer.join("root"));
        let server = Server::spawn({
            command.env(variable, value);
            command
        });
        let found = classify(&server.get(target), target);
        assert_eq!(found, expected, "{variable}={value} {target}");
    }
}

/// Checks that a start with these options fails with this exit code and one line that has all of these words.
fn check_rejected(root: &Root, given: &[&str], code: i32, words: &[&str]) {
    for check in [&[][..], &["--check"]] {
        let mut command: Command = docroot();
        command.args(["--bind", "127.0.0.1", "--port", "0"]);
        command
            .args(options(root, given))
            .args(check)
            .arg(root.join("root"));
        let output = command.output().expect("docroot starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{given:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{given:?}: {stderr}");
        }
        assert!(
            code == 2 || stderr.trim_end().lines().count() == 1,
            "{given:?}: {stderr}"
        );
    }
}

#[test]
fn contradictory_options_are_rejected() {
    let outer = outer();
    for policy in ["deny", "follow"] {
        let given = ["--symlinks", policy, "--symlink-root", "{outer}/store"];
        check_rejected(&outer, &given, 2, &["--symlink-root", "--symlinks"]);
    }
    check_rejected(
        &outer,
        &["--symlinks", "perhaps"],
        2,
        &["--symlinks", "perhaps"],
    );
    check_rejected(&outer, &["--symlink-root", ""], 2, &["--symlink-root"]);
}

#[test]
fn missing_symlink_root_fails_start() {
    let outer = outer();
    for missing in ["{outer}/nowhere", "{outer}/secret", "{outer}/store/stored/"] {
        let name = missing.rsplit("{outer}").next().expect("a name");
        let given = ["--symlink-root", "{outer}/store", "--symlink-root", missing];
        check_rejected(&outer, &given, 4, &[name.trim_end_matches('/')]);
    }
}

#[test]
fn root_and_symlink_root_may_be_links() {
    let outer = outer_with_links();
    create_link(&outer, "../current", "root");
    create_link(&outer, "../current-store", "store");
    for (policy, rows) in [
        (
            &["--symlink-root", "{outer}/current-store"][..],
            &[
                ("/file", Inside),
                ("/beside", Inside),
                ("/absolute", Inside),
                ("/stored", Stored),
                ("/store/back", Inside),
                ("/relative", Forbidden),
                ("/store/out", Forbidden),
            ][..],
        ),
        (
            &["--symlinks", "deny"],
            &[
                ("/file", Inside),
                ("/folder/file", Inside),
                ("/beside", Forbidden),
            ],
        ),
    ] {
        let given = options(&outer, policy);
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let server = Server::with(&outer.join("current"), &given);
        for (target, expected) in rows {
            let found = classify(&server.get(target), target);
            assert_eq!(found, *expected, "{policy:?} {target}");
        }
    }
}

#[test]
fn link_chain_beyond_kernel_limit_is_404() {
    let outer = outer();
    // The kernel follows 40 links in a row at most (path_resolution(7)).
    for (length, expected) in [
        (1, Inside),
        (2, Inside),
        (30, Inside),
        (60, NotFound),
        (500, NotFound),
    ] {
        for number in 1..length {
            create_link(
                &outer,
                &format!("{length}-{number}"),
                &format!("{length}-{}", number + 1),
            );
        }
        create_link(&outer, &format!("{length}-{length}"), "file");
        let target = format!("/{length}-1");
        for options in [&[][..], &["--symlinks", "follow"]] {
            for (by, server) in servers(&outer, options) {
                let found = classify(&server.get(&target), &target);
                assert_eq!(found, expected, "{length} links {options:?} {by}");
            }
        }
    }
}

#[test]
fn error_page_outside_root_is_not_served() {
    let outer = outer_with_links();
    create_link(&outer, "404.html", "../secret");
    for options in [&[][..], &["--symlinks", "deny"]] {
        for (by, server) in servers(&outer, options) {
            for (target, expected) in [
                ("/nothing", NotFound),
                ("/folder/nothing/", NotFound),
                ("/out/", Forbidden),
                ("/404.html", Forbidden),
                ("/.hidden", NotFound),
            ] {
                let found = classify(&server.get(target), target);
                assert_eq!(found, expected, "{options:?} {by} {target}");
            }
        }
    }
}

#[test]
fn hidden_names_are_decided_by_requested_path() {
    let outer = outer();
    outer.write("root/.hidden/file", "inside");
    create_link(&outer, "shown", ".hidden");
    create_link(&outer, ".link", "file");
    for (by, server) in servers(&outer, &[]) {
        // The requested name decides: a visible link makes its hidden target visible.
        for (target, expected) in [
            ("/shown/file", Inside),
            ("/.hidden/file", NotFound),
            ("/.link", NotFound),
        ] {
            let found = classify(&server.get(target), target);
            assert_eq!(found, expected, "{by} {target}");
        }
    }
}

/// Waits for a warning about a refused request on standard error.
fn refusal_line(server: &Server) -> String {
    eventually("the refused request is logged", || {
        let line = server.stderr_line();
        line.contains("cannot serve").then_some(line)
    })
}

#[test]
fn refused_link_and_its_target_are_logged() {
    let outer = outer_with_links();
    let store: &[&str] = &["--symlink-root", "{outer}/store"];
    let deny: &[&str] = &["--symlinks", "deny"];
    for (options, target, link, link_target) in [
        (&[][..], "/relative", "/relative", "../secret"),
        (&[], "/absolute-out", "/absolute-out", "{outer}/secret"),
        (&[], "/upward/root-other/secret", "/upward", ".."),
        (
            &[],
            "/folder/chained-2",
            "/folder/chained-2",
            "../../secret",
        ),
        (&[], "/stored", "/stored", "../store/stored"),
        (&[], "/into/two-up/secret", "/folder/two-up", "../.."),
        (&[], "/out/", "/out/index.html", "../../secret"),
        (&[], "/self/etc/passwd", "/self", "/proc/self/root"),
        (
            store,
            "/store-other",
            "/store-other",
            "{outer}/store-other/secret",
        ),
        (deny, "/beside", "/beside", "file"),
        (deny, "/into/deep/file", "/into", "folder"),
        (deny, "/folder/top/into/file", "/folder/top", ".."),
        (deny, "/dangling", "/dangling", "nothing"),
    ] {
        let link_target =
            link_target.replace("{outer}", outer.path().to_str().expect("a name in ASCII"));
        for (by, server) in servers(&outer, options) {
            assert_eq!(
                server.get(target).status(),
                "403 Forbidden",
                "{target} {by}"
            );
            let line = refusal_line(&server);
            let whole = format!("cannot serve {}", target.trim_end_matches('/'));
            // In `/into/two-up` the second link is refused; the log has it with or without the first link.
            let messages = [link, "/into/two-up"]
                .map(|link| format!("the symbolic link {link} leads to {link_target}"));
            assert!(line.contains(&whole), "{by}: {line}");
            assert!(
                messages.iter().any(|message| line.contains(message)),
                "{by}: {line}"
            );
            assert!(line.contains("--symlinks"), "{by}: {line}");
        }
    }
}

#[test]
fn repeated_refusals_are_throttled_in_log() {
    let outer = outer_with_links();
    for (by, server) in servers(&outer, &[]) {
        let start = Instant::now();
        let mut client = server.connect();
        for _ in 0..200 {
            assert_eq!(client.get("/relative").status(), "403 Forbidden");
        }
        refusal_line(&server);
        let rest = server.stderr_lines();
        let max_lines = start.elapsed().as_secs() + 1;
        let count = rest
            .iter()
            .filter(|line| line.contains("cannot serve"))
            .count();
        assert!(count as u64 <= max_lines, "{by}: {rest:?}");
    }
}

#[test]
fn control_characters_of_link_target_are_escaped_in_log() {
    let outer = outer();
    let link_target = "se\ncret\u{1b}[31m\u{7f}";
    outer.write(link_target, SECRET);
    for name in ["way", "w\u{e4}y\u{9b}31m"] {
        create_link(&outer, name, &format!("../{link_target}"));
    }
    for target in ["/way", "/w%C3%A4y%C2%9B31m"] {
        for (by, server) in servers(&outer, &[]) {
            let response = server.get(target);
            assert_eq!(response.status(), "403 Forbidden", "{target} {by}");
            let line = refusal_line(&server);
            let control = |char: char| char.is_control();
            assert!(!line.contains(control), "{by}: {line:?}");
            let whole = line.contains("cret") && line.contains("31m");
            assert!(whole, "one line with the whole target: {by}: {line:?}");
        }
    }
}

/// Shortest time for which links are swapped.
const SWAP_TIME: Duration = Duration::from_millis(300);

/// Requests targets while their links are swapped. Returns the number of files served and the number of refusals.
fn request_while_swapped(mut client: Client, targets: &[&str]) -> (u32, u32) {
    let (mut served, mut refused) = (0_u32, 0_u32);
    let start = Instant::now();
    // Until both have happened, however slow the machine is.
    while start.elapsed() < SWAP_TIME || served == 0 || refused == 0 {
        assert!(start.elapsed() < support::TIMEOUT, "{served}, {refused}");
        for target in targets {
            let response = client.get(target);
            match classify(&response, target) {
                Inside | Stored => served += 1,
                Forbidden | NotFound => refused += 1,
                // The path changed at every attempt to open it.
                Other if response.status() == "503 Service Unavailable" => refused += 1,
                found => panic!("{target}: {found:?}: {response:?}"),
            }
        }
    }
    (served, refused)
}

// The kernel gives up on a path with `..` when something was renamed meanwhile, anywhere on the machine (openat2(2), EAGAIN).
#[test]
fn links_through_parent_are_served_beside_constant_renames() {
    let root = Root::of(&[("folder/file", "inside"), ("elsewhere/name", "")]);
    // XFS stores targets of up to 1023 bytes.
    for (name, to) in [
        ("up", &*"../folder/".repeat(100)),
        ("link", "up/up/up/up/file"),
    ] {
        symlink(to, root.join("folder").join(name)).expect("the test owns this directory");
    }
    let server = Server::with(root.path(), &["--cache-memory", "0"]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let [name, other] = ["name", "other"].map(|it| root.join("elsewhere").join(it));
            while !done.load(Ordering::Relaxed) {
                fs::rename(&name, &other).expect("the test owns this directory");
                fs::rename(&other, &name).expect("the test owns this directory");
            }
        });
        let _done = SetOnDrop(&done);
        let mut client = server.connect();
        for _ in 0..500 {
            assert_eq!(client.get("/folder/link").status(), "200 OK");
        }
    });
}

/// Checks that links which lead inside and outside by turns serve files inside or are refused.
fn check_swapped(options: &[&str]) {
    let outer = outer();
    let root = outer.join("root");
    let folder = outer.path().to_str().expect("a name in ASCII").to_owned();
    let swap = |name: &str, to: &str| {
        let new = root.join("new");
        symlink(to.replace("{outer}", &folder), &new).expect("the test owns this directory");
        fs::rename(&new, root.join(name)).expect("the test owns this directory");
    };
    // A directory and a link exchange their names.
    let exchange = || {
        let (real, fake) = (root.join("real"), root.join("fake"));
        renameat_with(CWD, real, CWD, fake, RenameFlags::EXCHANGE)
    };
    outer.write("root/real/file", "inside");
    symlink("../folder", root.join("fake")).expect("the test owns this directory");
    let inward = || {
        for (name, to) in [
            ("link", "folder/file"),
            ("way", "folder"),
            ("chain", "link"),
            ("by-name", "{outer}/root/folder"),
            ("store", "../store/stored"),
        ] {
            swap(name, to);
        }
    };
    let outward = || {
        for (name, to) in [
            ("link", "../secret"),
            ("way", "../folder"),
            ("chain", "../secret"),
            ("by-name", "{outer}/folder"),
            ("store", "{outer}/stored"),
        ] {
            swap(name, to);
        }
    };
    inward();
    for (by, server) in servers(&outer, options) {
        let done = AtomicBool::new(false);
        let (served, refused) = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    outward();
                    // Not every file system supports it.
                    let _ = exchange();
                    inward();
                    let _ = exchange();
                }
            });
            let _done = SetOnDrop(&done);
            let targets = ["/link", "/way/file", "/chain", "/by-name/file", "/store"];
            let exchanged = ["/real/file", "/fake/file"];
            request_while_swapped(server.connect(), &[&targets[..], &exchanged].concat())
        });
        assert!(served > 0 && refused > 0, "{by}: {served}, {refused}");
        assert_eq!(classify(&server.get("/link"), "/link"), Inside, "{by}");
    }
}

/// Checks that files of the new symlink root are served after `act` has replaced it.
fn check_replaced_root(what: &str, options: &[&str], named: &str, act: impl FnOnce(&Root)) {
    let outer = outer();
    for version in ["1", "2"] {
        outer.write(format!("stores/{version}/stored"), version);
        outer.write(format!("stores/{version}/{version}"), version);
    }
    create_link(&outer, "../named", "stores/1");
    create_link(&outer, "stored", &format!("../{named}/stored"));
    create_link(&outer, "store", &format!("../{named}"));
    let path = outer.join(named);
    let path = path.to_str().expect("a name in ASCII");
    let options = [&["--symlink-root", path], options].concat();
    let server = Server::with(&outer.join("root"), &options);
    let mut client = server.connect();
    let mut check = |expected: &str| {
        for client in [&mut client, &mut server.connect()] {
            assert_eq!(client.get("/stored").text(), expected, "{what}");
            let own = format!("/store/{expected}");
            assert_eq!(client.get(&own).text(), expected, "{what}");
            assert_eq!(client.get("/file").text(), "inside", "{what}");
        }
    };
    check("1");
    check("1");
    act(&outer);
    check("2");
    outer.write("stores/2/stored", "2");
    check("2");
}

/// Options with which changes are found by inotify, and by `stat`.
const INOTIFY_AND_STAT: [&[&str]; 2] = [&[], &["--cache-memory", "0"]];

#[test]
fn switched_symlink_root_link_is_followed() {
    for options in INOTIFY_AND_STAT {
        check_replaced_root("a link is switched", options, "named", |outer| {
            create_link(outer, "../new", "stores/2");
            fs::rename(outer.join("new"), outer.join("named"))
                .expect("the test owns this directory");
        });
    }
}

#[test]
fn replaced_symlink_root_is_served() {
    for options in INOTIFY_AND_STAT {
        let options = [&["--sandbox", "off"], options].concat();
        check_replaced_root("a directory is replaced", &options, "stores/1", |outer| {
            fs::rename(outer.join("stores/1"), outer.join("stores/0"))
                .expect("the test owns these directories");
            fs::rename(outer.join("stores/2"), outer.join("stores/1"))
                .expect("the test owns these directories");
            symlink("1", outer.join("stores/2")).expect("the test owns this directory");
        });
    }
}

#[test]
fn root_is_switched_while_symlink_root_is_missing() {
    let outer = outer();
    outer.write("next/file", "next");
    create_link(&outer, "../current", "root");
    create_link(&outer, "store", "../store");
    create_link(&outer, "../next/store", "../store");
    let store = outer.join("store");
    let given = store.to_str().expect("a name in ASCII");
    let server = Server::with(
        &outer.join("current"),
        &["--sandbox", "off", "--symlink-root", given],
    );
    let mut client = server.connect();
    assert_eq!(client.get("/store/stored").text(), "stored");
    fs::rename(&store, outer.join("kept")).expect("the test owns this directory");
    assert_eq!(client.get("/store/stored").status(), "404 Not Found");
    let line = server.stderr_line();
    assert!(
        line.contains(given) && line.contains("still serving"),
        "{line}"
    );
    create_link(&outer, "../new", "next");
    fs::rename(outer.join("new"), outer.join("current")).expect("the test owns this directory");
    assert_eq!(client.get("/file").text(), "next");
    let line = server.stderr_line();
    assert!(
        line.contains("now leads to") && line.contains("next"),
        "{line}"
    );
    fs::rename(outer.join("kept"), &store).expect("the test owns this directory");
    assert_eq!(client.get("/store/stored").text(), "stored");
    outer.write("another/stored", "another");
    fs::rename(&store, outer.join("kept")).expect("the test owns this directory");
    fs::rename(outer.join("another"), &store).expect("the test owns this directory");
    assert_eq!(client.get("/store/stored").text(), "another");
}

#[test]
fn each_loss_of_symlink_root_is_logged() {
    let outer = outer();
    let (store, kept) = (outer.join("store"), outer.join("kept"));
    let given = store.to_str().expect("a name in ASCII");
    let server = Server::with(&outer.join("root"), &["--symlink-root", given]);
    let mut client = server.connect();
    assert_eq!(client.get("/file").text(), "inside");
    for _ in 0..3 {
        fs::rename(&store, &kept).expect("the test owns this directory");
        assert_eq!(client.get("/file").text(), "inside");
        let line = server.stderr_line();
        assert!(line.contains("still serving"), "{line}");
        fs::rename(&kept, &store).expect("the test owns this directory");
        assert_eq!(client.get("/file").text(), "inside");
    }
}

#[test]
fn unwatchable_directory_is_not_watched_on_every_request() {
    let Some(trace) = Trace::new("inotify_add_watch") else {
        return;
    };
    let outer = outer();
    if !is_watched(outer.path()) {
        return;
    }
    let options = ["--workers", "1", "--symlink-root", "/sys/kernel"];
    let server = Server::spawn(trace.command(&outer.join("root"), &options));
    let mut client = server.connect();
    assert_ne!(trace.calls(), [""; 0], "the trace has calls");
    // The first requests add watches.
    for round in 0..2 {
        trace.mark();
        for _ in 0..5 {
            assert_eq!(client.get("/file").text(), "inside");
        }
        let calls = trace.calls();
        assert!(round == 0 || calls.is_empty(), "{calls:?}");
    }
}

#[test]
fn swapped_link_never_leads_outside_root() {
    check_swapped(&[]);
}

#[test]
fn swapped_link_never_leads_outside_symlink_root() {
    check_swapped(&["--symlink-root", "{outer}/store"]);
}
