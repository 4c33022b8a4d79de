//! A symbolic link leads where it may, and nowhere else.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Client, Done, Response, Root, Server, Trace, docroot, eventually, upon_no_openat2,
};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

/// What no answer may have in it, unless `--symlinks follow`.
const SECRET: &str = "the-secret-outside";

/// A site in `root`, a folder `store` that may be a `--symlink-root`, and secrets all around them, in
/// neighbours whose names begin as theirs do as well.
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

/// Makes a link, which is in the root unless its name begins with `../`; `{outer}` in its goal is replaced.
fn make(outer: &Root, link: &str, goal: &str) {
    let place = outer.join("root").join(link);
    let goal = goal.replace("{outer}", outer.path().to_str().expect("a name in ASCII"));
    fs::create_dir_all(place.parent().expect("a folder")).expect("a folder of ours");
    // A link may be in several rows.
    if fs::read_link(&place).is_err() {
        symlink(goal, place).expect("a folder of ours");
    }
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The content of a file in the root.
    Inside,
    /// The content of a file in the store.
    Stored,
    /// The content of a file that is in neither.
    Secret,
    /// A redirect to the same name with a slash.
    Moved,
    Forbidden,
    Absent,
    /// Something else.
    Other,
}

use Answer::{Absent, Forbidden, Inside, Moved, Other, Secret, Stored};

/// Links, where they lead, requests that meet them, and what those are answered under `--symlinks inside`,
/// under the same with `--symlink-root store`, under `deny`, and under `follow`: the content of the file that
/// is served, or the status; `refused` is 403 or 404, and `harmless` is anything but a secret.
const WAYS: &str = "
# link               goal                               target                           inside   store    deny   follow
# Inside, told relatively (symlink(7)): to a file, to a folder, in the middle of a path, to a link.
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
# Inside, told absolutely: through the folders above, and there is no secret on the way.
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
# Out of the root and back into it: what counts is where it leads.
around               ../root/file                       /around                          inside   inside   403    inside
around-by-name       {outer}/root/../root/file          /around-by-name                  inside   inside   403    inside
around-store         ../store/../root/file              /around-store                    inside   inside   403    inside
# By way of links, or of names, that are outside: it is not decided whether these are refused.
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
# A neighbour whose name begins as the root's or the store's does.
sibling              ../root-other/secret               /sibling                         403      403      403    secret
sibling-folder       ../root-other                      /sibling-folder/secret           403      403      403    secret
sibling-by-name      {outer}/root-other/secret          /sibling-by-name                 403      403      403    secret
sibling-by-folder    {outer}/root-other                 /sibling-by-folder/secret        403      403      403    secret
sibling-file         {outer}/root.bak                   /sibling-file                    403      403      403    secret
shorter              {outer}/roo                        /shorter                         403      403      403    secret
store-other          {outer}/store-other/secret         /store-other                     403      403      403    secret
store-neighbour      ../store-other                     /store-neighbour/secret          403      403      403    secret
store-shorter        ../sto                             /store-shorter                   403      403      403    secret
# Into the store, and on from there.
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
# Chains, whose last link but one is inside, and whose last is not.
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
# To what is no file: where the link may lead, that is absent; where it may not, the link is refused.
to-fifo              fifo                               /to-fifo                         404      404      403    404
to-fifo-out          ../fifo                            /to-fifo-out                     403      403      403    404
to-store-fifo        ../store/fifo                      /to-store-fifo                   403      404      403    404
# Links that are none: their text is not what they lead to (proc(5)). Not even `follow` does.
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

/// A row of it.
struct Way {
    link: &'static str,
    goal: &'static str,
    target: &'static str,
    expected: [&'static str; 4],
}

fn ways() -> impl Iterator<Item = Way> {
    let rows = WAYS
        .lines()
        .filter(|row| !row.is_empty() && !row.starts_with('#'));
    rows.map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [link, goal, target, expected @ ..] = &words[..] else {
            panic!("three columns, and what is expected: {row}");
        };
        Way {
            link,
            goal,
            target,
            expected: expected.try_into().expect("four columns"),
        }
    })
}

/// A server, and which column of the table it is.
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
        "in several places",
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

/// A folder in which all links of the table are.
fn linked() -> Root {
    let outer = outer();
    for way in ways() {
        make(&outer, way.link, way.goal);
    }
    for folder in ["root", "store", ""] {
        let fifo = outer.join(folder).join("fifo");
        mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).expect("a folder of ours");
    }
    outer
}

fn options(outer: &Root, options: &[&str]) -> Vec<String> {
    let path = outer.path().to_str().expect("a name in ASCII");
    let placed = options.iter().map(|option| option.replace("{outer}", path));
    placed.collect()
}

/// A server of this folder with these options, in which `{outer}` is replaced, with openat2(2) and, unless
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

/// What came. Only what is asked for by name may be anything else than an answer without a secret.
fn answered(response: &Response, target: &str) -> Answer {
    let content = String::from_utf8_lossy(&response.content);
    match (response.status(), &*content) {
        ("200 OK", "inside") => Inside,
        ("200 OK", "stored") => Stored,
        ("301 Moved Permanently", _) => {
            let expected = format!("{target}/");
            assert_eq!(response.field("Location"), Some(&*expected));
            Moved
        }
        ("403 Forbidden", page) if !is_secret(page) => Forbidden,
        ("404 Not Found", page) if !is_secret(page) => Absent,
        (_, content) if is_secret(content) => Secret,
        _ => Other,
    }
}

impl Answer {
    /// Whether this is what a column of the table expects.
    fn is(self, expected: &str) -> bool {
        match expected {
            "inside" => self == Inside,
            "stored" => self == Stored,
            "secret" => self == Secret,
            "301" => self == Moved,
            "403" => self == Forbidden,
            "404" => self == Absent,
            "refused" => [Forbidden, Absent].contains(&self),
            "harmless" => self != Secret,
            _ => panic!("no such word: {expected}"),
        }
    }
}

/// That every link of the table leads where it may under these options.
fn check((name, column, options): Policy) {
    let outer = linked();
    let mut others = Vec::new();
    for (by, server) in servers(&outer, options) {
        for way in ways() {
            let came = answered(&server.connect().get(way.target), way.target);
            let expected = way.expected[column];
            if !came.is(expected) {
                let Way {
                    link, goal, target, ..
                } = way;
                let told = format!("{target} ({link} -> {goal}): {came:?} instead of {expected}");
                others.push(format!("{told}, {by}"));
            }
        }
        // What no link is in.
        assert_eq!(server.get("/folder/deep/file").text(), "inside");
    }
    assert!(others.is_empty(), "{name}:\n{}", others.join("\n"));
}

#[test]
fn a_link_leads_inside_and_not_out() {
    check(POLICIES[0]);
    check(POLICIES[1]);
}

#[test]
fn a_link_leads_into_the_places_that_are_named() {
    check(POLICIES[2]);
    check(POLICIES[3]);
}

#[test]
fn no_link_is_followed_where_links_are_denied() {
    check(POLICIES[4]);
}

#[test]
fn a_link_leads_anywhere_where_that_is_asked_for() {
    check(POLICIES[5]);
}

// Through /proc a link leads to what has no name, and only the kernel can tell such a link from others.
#[test]
fn every_link_is_followed_only_where_the_kernel_sees_to_it() {
    let outer = outer();
    let root = outer.join("root");
    let Some(mut command) = upon_no_openat2("ENOSYS", &root, &["--symlinks", "follow"]) else {
        return;
    };
    let ended = command.output().expect("docroot starts");
    assert_eq!(ended.status.code(), Some(4));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        said.contains("openat2") && said.contains("--symlink-root"),
        "{said}"
    );
}

#[test]
fn the_environment_says_it_as_well() {
    let outer = linked();
    let store = options(&outer, &["{outer}/root-other,{outer}/store"]).remove(0);
    for (variable, value, target, expected) in [
        ("DOCROOT_SYMLINKS", "deny", "/beside", Forbidden),
        ("DOCROOT_SYMLINKS", "inside", "/beside", Inside),
        ("DOCROOT_SYMLINKS", "follow", "/relative", Secret),
        // Set to nothing, it is not set.
        ("DOCROOT_SYMLINKS", "", "/beside", Inside),
        ("DOCROOT_SYMLINK_ROOT", &store, "/stored", Stored),
        ("DOCROOT_SYMLINK_ROOT", &store, "/sibling", Secret),
        ("DOCROOT_SYMLINK_ROOT", &store, "/store-other", Forbidden),
    ] {
        let mut command = docroot();
        command
            .args(["--bind", "127.0.0.1", "--port", "0"])
            .arg(outer.join("root"));
        let server = Server::spawn({
            command.env(variable, value);
            command
        });
        let came = answered(&server.get(target), target);
        assert_eq!(came, expected, "{variable}={value} {target}");
    }
}

/// That these options end the start with this code, and one line that has all of these words.
fn check_refused(root: &Root, given: &[&str], code: i32, words: &[&str]) {
    for check in [&[][..], &["--check"]] {
        let mut command: Command = docroot();
        command.args(["--bind", "127.0.0.1", "--port", "0"]);
        command
            .args(options(root, given))
            .args(check)
            .arg(root.join("root"));
        let output = command.output().expect("docroot starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{given:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{given:?}: {said}");
        }
        assert!(
            code == 2 || said.trim_end().lines().count() == 1,
            "{given:?}: {said}"
        );
    }
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    let outer = outer();
    for policy in ["deny", "follow"] {
        let given = ["--symlinks", policy, "--symlink-root", "{outer}/store"];
        check_refused(&outer, &given, 2, &["--symlink-root", "--symlinks"]);
    }
    check_refused(
        &outer,
        &["--symlinks", "perhaps"],
        2,
        &["--symlinks", "perhaps"],
    );
    check_refused(&outer, &["--symlink-root", ""], 2, &["--symlink-root"]);
}

#[test]
fn a_symlink_root_must_be_there() {
    let outer = outer();
    for missing in ["{outer}/nowhere", "{outer}/secret", "{outer}/store/stored/"] {
        let name = missing.rsplit("{outer}").next().expect("a name");
        let given = ["--symlink-root", "{outer}/store", "--symlink-root", missing];
        check_refused(&outer, &given, 4, &[name.trim_end_matches('/')]);
    }
}

#[test]
fn a_root_and_a_symlink_root_may_themselves_be_links() {
    let outer = linked();
    make(&outer, "../current", "root");
    make(&outer, "../current-store", "store");
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
            let came = answered(&server.get(target), target);
            assert_eq!(came, *expected, "{policy:?} {target}");
        }
    }
}

#[test]
fn a_chain_is_followed_as_far_as_the_kernel_would() {
    let outer = outer();
    // 40 links in a row, and no more (path_resolution(7)).
    for (length, expected) in [
        (1, Inside),
        (2, Inside),
        (30, Inside),
        (60, Absent),
        (500, Absent),
    ] {
        for number in 1..length {
            make(
                &outer,
                &format!("{length}-{number}"),
                &format!("{length}-{}", number + 1),
            );
        }
        make(&outer, &format!("{length}-{length}"), "file");
        let target = format!("/{length}-1");
        for options in [&[][..], &["--symlinks", "follow"]] {
            for (by, server) in servers(&outer, options) {
                let came = answered(&server.get(&target), &target);
                assert_eq!(came, expected, "{length} links {options:?} {by}");
            }
        }
    }
}

#[test]
fn pages_that_are_shown_unasked_are_in_the_root_too() {
    let outer = linked();
    make(&outer, "404.html", "../secret");
    for options in [&[][..], &["--symlinks", "deny"]] {
        for (by, server) in servers(&outer, options) {
            for (target, expected) in [
                ("/nothing", Absent),
                ("/folder/nothing/", Absent),
                ("/out/", Forbidden),
                ("/404.html", Forbidden),
                ("/.hidden", Absent),
            ] {
                let came = answered(&server.get(target), target);
                assert_eq!(came, expected, "{options:?} {by} {target}");
            }
        }
    }
}

#[test]
fn what_a_link_hides_is_hidden() {
    let outer = outer();
    outer.write("root/.hidden/file", "inside");
    make(&outer, "shown", ".hidden");
    make(&outer, ".link", "file");
    for (by, server) in servers(&outer, &[]) {
        // The name that is asked for decides: who made that link has shown what is behind it.
        for (target, expected) in [
            ("/shown/file", Inside),
            ("/.hidden/file", Absent),
            ("/.link", Absent),
        ] {
            let came = answered(&server.get(target), target);
            assert_eq!(came, expected, "{by} {target}");
        }
    }
}

/// A line that a request has brought up on standard error, which has to come.
fn complaint(server: &Server) -> String {
    eventually("a complaint about what was asked for", || {
        let line = server.complaint();
        line.contains("cannot serve").then_some(line)
    })
}

#[test]
fn the_log_says_which_link_led_where() {
    let outer = linked();
    let store: &[&str] = &["--symlink-root", "{outer}/store"];
    let deny: &[&str] = &["--symlinks", "deny"];
    for (options, target, link, goal) in [
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
        let goal = goal.replace("{outer}", outer.path().to_str().expect("a name in ASCII"));
        for (by, server) in servers(&outer, options) {
            assert_eq!(
                server.get(target).status(),
                "403 Forbidden",
                "{target} {by}"
            );
            let line = complaint(&server);
            let whole = format!("cannot serve {}", target.trim_end_matches('/'));
            // In `/into/two-up` it is the second link that is refused, by one name or the other.
            let names =
                [link, "/into/two-up"].map(|link| format!("the link {link} leads to {goal}"));
            assert!(line.contains(&whole), "{by}: {line}");
            assert!(names.iter().any(|said| line.contains(said)), "{by}: {line}");
            assert!(line.contains("--symlinks"), "{by}: {line}");
        }
    }
}

#[test]
fn the_log_does_not_repeat_what_a_peer_repeats() {
    let outer = linked();
    for (by, server) in servers(&outer, &[]) {
        let start = Instant::now();
        let mut client = server.connect();
        for _ in 0..200 {
            assert_eq!(client.get("/relative").status(), "403 Forbidden");
        }
        complaint(&server);
        let more = server.complaints();
        let most = start.elapsed().as_secs() + 1;
        let said = more
            .iter()
            .filter(|line| line.contains("cannot serve"))
            .count();
        assert!(said as u64 <= most, "{by}: {more:?}");
    }
}

#[test]
fn what_a_link_says_does_not_write_the_log() {
    let outer = outer();
    let goal = "se\ncret\u{1b}[31m\u{7f}";
    outer.write(goal, SECRET);
    for name in ["way", "w\u{e4}y\u{9b}31m"] {
        make(&outer, name, &format!("../{goal}"));
    }
    for target in ["/way", "/w%C3%A4y%C2%9B31m"] {
        for (by, server) in servers(&outer, &[]) {
            let response = server.get(target);
            assert_eq!(response.status(), "403 Forbidden", "{target} {by}");
            let line = complaint(&server);
            let control = |char: char| char.is_control();
            assert!(!line.contains(control), "{by}: {line:?}");
            let whole = line.contains("cret") && line.contains("31m");
            assert!(whole, "one line, with all of it: {by}: {line:?}");
        }
    }
}

/// How long names are swapped.
const SWAPS: Duration = Duration::from_millis(300);

/// Asks for names while what they lead to is swapped. Returns how often something was shown, and how
/// often something was not.
fn ask_while_swapped(mut client: Client, targets: &[&str]) -> (u32, u32) {
    let (mut shown, mut refused) = (0_u32, 0_u32);
    let start = Instant::now();
    // Until enough has happened, whatever the machine's pace.
    while start.elapsed() < SWAPS || shown == 0 || refused == 0 {
        assert!(start.elapsed() < support::PATIENCE, "{shown}, {refused}");
        for target in targets {
            let response = client.get(target);
            match answered(&response, target) {
                Inside | Stored => shown += 1,
                Forbidden | Absent => refused += 1,
                // It never held still.
                Other if response.status() == "503 Service Unavailable" => refused += 1,
                came => panic!("{target}: {came:?}: {response:?}"),
            }
        }
    }
    (shown, refused)
}

/// That names which lead inside and outside by turns, while they are asked for, lead inside or nowhere.
fn check_swapped(options: &[&str]) {
    let outer = outer();
    let root = outer.join("root");
    let folder = outer.path().to_str().expect("a name in ASCII").to_owned();
    let swap = |name: &str, to: &str| {
        let new = root.join("new");
        symlink(to.replace("{outer}", &folder), &new).expect("a folder of ours");
        fs::rename(&new, root.join(name)).expect("a folder of ours");
    };
    // A folder and a link that exchange their names.
    let exchange = || {
        let (real, fake) = (root.join("real"), root.join("fake"));
        renameat_with(CWD, real, CWD, fake, RenameFlags::EXCHANGE)
    };
    outer.write("root/real/file", "inside");
    symlink("../folder", root.join("fake")).expect("a folder of ours");
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
        let (shown, refused) = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    outward();
                    // Not every file system can.
                    let _ = exchange();
                    inward();
                    let _ = exchange();
                }
            });
            let _done = Done(&done);
            let targets = ["/link", "/way/file", "/chain", "/by-name/file", "/store"];
            let exchanged = ["/real/file", "/fake/file"];
            ask_while_swapped(server.connect(), &[&targets[..], &exchanged].concat())
        });
        assert!(shown > 0 && refused > 0, "{by}: {shown}, {refused}");
        assert_eq!(answered(&server.get("/link"), "/link"), Inside, "{by}");
    }
}

/// What is served after this has been done to the folder where links may lead as well.
fn check_moved(what: &str, options: &[&str], named: &str, act: impl FnOnce(&Root)) {
    let outer = outer();
    for version in ["1", "2"] {
        outer.write(format!("stores/{version}/stored"), version);
        outer.write(format!("stores/{version}/{version}"), version);
    }
    make(&outer, "../named", "stores/1");
    make(&outer, "stored", &format!("../{named}/stored"));
    make(&outer, "store", &format!("../{named}"));
    let place = outer.join(named);
    let place = place.to_str().expect("a name in ASCII");
    let options = [&["--symlink-root", place], options].concat();
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

/// Both as inotify tells of it and as `stat` sees it.
const BOTH: [&[&str]; 2] = [&[], &["--cache-memory", "0"]];

#[test]
fn a_symlink_root_that_is_a_link_may_lead_elsewhere() {
    for options in BOTH {
        check_moved("a link is switched", options, "named", |outer| {
            make(outer, "../new", "stores/2");
            fs::rename(outer.join("new"), outer.join("named")).expect("a folder of ours");
        });
    }
}

#[test]
fn a_folder_in_the_place_of_a_symlink_root_is_one() {
    for options in BOTH {
        let options = [&["--sandbox", "off"], options].concat();
        check_moved("a folder is replaced", &options, "stores/1", |outer| {
            fs::rename(outer.join("stores/1"), outer.join("stores/0")).expect("folders of ours");
            fs::rename(outer.join("stores/2"), outer.join("stores/1")).expect("folders of ours");
            symlink("1", outer.join("stores/2")).expect("a folder of ours");
        });
    }
}

#[test]
fn a_root_is_switched_while_a_symlink_root_is_gone() {
    let outer = outer();
    outer.write("next/file", "next");
    make(&outer, "../current", "root");
    make(&outer, "store", "../store");
    make(&outer, "../next/store", "../store");
    let store = outer.join("store");
    let given = store.to_str().expect("a name in ASCII");
    let server = Server::with(
        &outer.join("current"),
        &["--sandbox", "off", "--symlink-root", given],
    );
    let mut client = server.connect();
    assert_eq!(client.get("/store/stored").text(), "stored");
    fs::rename(&store, outer.join("kept")).expect("a folder of ours");
    assert_eq!(client.get("/store/stored").status(), "404 Not Found");
    let line = server.complaint();
    assert!(
        line.contains(given) && line.contains("goes on being served"),
        "{line}"
    );
    make(&outer, "../new", "next");
    fs::rename(outer.join("new"), outer.join("current")).expect("a folder of ours");
    assert_eq!(client.get("/file").text(), "next");
    let line = server.complaint();
    assert!(line.contains("next from now on"), "{line}");
    fs::rename(outer.join("kept"), &store).expect("a folder of ours");
    assert_eq!(client.get("/store/stored").text(), "stored");
    outer.write("another/stored", "another");
    fs::rename(&store, outer.join("kept")).expect("a folder of ours");
    fs::rename(outer.join("another"), &store).expect("a folder of ours");
    assert_eq!(client.get("/store/stored").text(), "another");
}

#[test]
fn each_loss_of_a_symlink_root_is_said() {
    let outer = outer();
    let (store, kept) = (outer.join("store"), outer.join("kept"));
    let given = store.to_str().expect("a name in ASCII");
    let server = Server::with(&outer.join("root"), &["--symlink-root", given]);
    let mut client = server.connect();
    assert_eq!(client.get("/file").text(), "inside");
    for _ in 0..3 {
        fs::rename(&store, &kept).expect("a folder of ours");
        assert_eq!(client.get("/file").text(), "inside");
        let line = server.complaint();
        assert!(line.contains("goes on being served"), "{line}");
        fs::rename(&kept, &store).expect("a folder of ours");
        assert_eq!(client.get("/file").text(), "inside");
    }
}

#[test]
fn what_nobody_tells_of_is_not_watched_over_again_and_again() {
    let Some(trace) = Trace::new("inotify_add_watch") else {
        return;
    };
    let outer = outer();
    let options = ["--workers", "1", "--symlink-root", "/sys/kernel"];
    let server = Server::spawn(trace.command(&outer.join("root"), &options));
    let mut client = server.connect();
    assert_ne!(trace.calls(), [""; 0], "what it watches over is seen");
    // The first few watch over what they find.
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
fn a_link_that_is_swapped_while_it_is_followed_leads_nowhere_else() {
    check_swapped(&[]);
}

#[test]
fn a_link_that_is_swapped_leads_into_a_symlink_root_or_nowhere() {
    check_swapped(&["--symlink-root", "{outer}/store"]);
}
