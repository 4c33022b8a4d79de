//! A release is switched by giving the root's name to another folder, and each answer is of one release.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::{Client, Done, Root, Server, Signal, eventually};

/// A name that has a hash, and one that does not.
const HASHED: &str = "assets/index-DiwrgTda.js";
const PLAIN: &str = "about.txt";

/// Releases, and a link that leads to one of them.
struct Releases(Root);

impl Releases {
    /// Two of them, `1` and `2`, which say so in every file, and `current`, which is the first.
    fn new() -> Self {
        let releases = Self(Root::of(&[]));
        for number in ["1", "2"] {
            releases.write(number, "index.html", &format!("release {number}"));
            releases.write(number, "both.txt", &format!("release {number}"));
        }
        releases.write("1", HASHED, "of the first");
        releases.write("1", PLAIN, "of the first");
        releases.0.date_back();
        releases.switch("releases/1");
        releases
    }

    fn write(&self, number: &str, name: &str, content: &str) {
        self.0
            .write(Path::new("releases").join(number).join(name), content);
    }

    fn current(&self) -> std::path::PathBuf {
        self.0.join("current")
    }

    /// Gives the name to another, as `ln -s` and `mv -T` do.
    fn switch(&self, to: &str) {
        let new = self.0.join("new");
        symlink(to, &new).expect("a folder of ours");
        fs::rename(new, self.current()).expect("a folder of ours");
    }
}

fn check(server: &Server, client: &mut Client, expected: &str, what: &str) {
    for client in [client, &mut server.connect()] {
        assert_eq!(client.get("/").text(), expected, "{what}");
        assert_eq!(client.get("/both.txt").text(), expected, "{what}");
    }
}

/// What is served after this has been done to the releases.
fn check_switch(what: &str, options: &[&str], switch: impl FnOnce(&Releases)) {
    let releases = Releases::new();
    let server = Server::with(&releases.current(), options);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", what);
    switch(&releases);
    check(&server, &mut client, "release 2", what);
    releases.write("2", "both.txt", "changed");
    assert_eq!(
        client.get("/both.txt").text(),
        "changed",
        "{what}: it is watched"
    );
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_at_once() {
    for options in [&[][..], &["--cache-memory", "0"]] {
        check_switch("renamed over", options, |releases| {
            releases.switch("releases/2");
        });
        check_switch("removed and made anew", options, |releases| {
            fs::remove_file(releases.current()).expect("a link");
            symlink(releases.0.join("releases/2"), releases.current()).expect("a folder of ours");
        });
        check_switch("by way of another link", options, |releases| {
            symlink("releases/1", releases.0.join("stable")).expect("a folder of ours");
            releases.switch("stable");
            fs::remove_file(releases.0.join("stable")).expect("a link");
            symlink("releases/2", releases.0.join("stable")).expect("a folder of ours");
        });
    }
}

#[test]
fn a_link_on_the_way_is_followed_too() {
    let releases = Releases::new();
    symlink("releases", releases.0.join("all")).expect("a folder of ours");
    fs::create_dir(releases.0.join("others")).expect("a folder of ours");
    fs::rename(releases.0.join("releases/2"), releases.0.join("others/1"))
        .expect("folders of ours");
    let server = Server::with(&releases.0.join("all/1"), &["--sandbox", "off"]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    symlink("others", releases.0.join("new")).expect("a folder of ours");
    fs::rename(releases.0.join("new"), releases.0.join("all")).expect("a folder of ours");
    check(&server, &mut client, "release 2", "after");
}

#[test]
fn a_folder_in_the_place_of_the_root_is_served() {
    let releases = Releases::new();
    let (root, other) = (releases.0.join("releases/1"), releases.0.join("releases/2"));
    let server = Server::with(&root, &["--sandbox", "off"]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    fs::rename(&root, releases.0.join("releases/0")).expect("folders of ours");
    check(&server, &mut client, "release 1", "while nothing is there");
    let line = server.complaint();
    assert!(line.contains("cannot be opened any more"), "{line}");
    fs::rename(other, root).expect("folders of ours");
    check(&server, &mut client, "release 2", "after");
}

#[test]
fn a_root_that_is_removed_and_made_anew_is_served() {
    let releases = Releases::new();
    let root = releases.0.join("releases/1");
    let server = Server::with(&root, &["--sandbox", "off"]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    fs::remove_dir_all(&root).expect("a folder of ours");
    assert_eq!(client.get("/").status(), "404 Not Found", "it is removed");
    for name in ["index.html", "both.txt"] {
        releases.write("1", name, "release 2");
    }
    check(&server, &mut client, "release 2", "after");
}

#[test]
fn what_the_sandbox_does_not_let_be_read_is_said() {
    let releases = Releases::new();
    let root = releases.0.join("releases/1");
    let server = Server::with(&root, &[]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    // (It is not to see it gone.)
    server.asleep(|| {
        fs::rename(&root, releases.0.join("releases/0")).expect("folders of ours");
        fs::rename(releases.0.join("releases/2"), root).expect("folders of ours");
    });
    if client.get("/").text() == "release 2" {
        eprintln!("SKIPPED: the kernel does not confine");
        return;
    }
    check(&server, &mut client, "release 1", "after");
    let line = server.complaint();
    assert!(
        line.contains("--sandbox") && line.contains("goes on being served"),
        "{line}"
    );
}

#[test]
fn the_log_says_where_the_name_leads_and_when_nowhere() {
    let releases = Releases::new();
    let server = Server::with(&releases.current(), &["--workers", "2"]);
    releases.switch("releases/2");
    server.get("/");
    let line = server.complaint();
    let said = format!(
        "{} is {} from now on",
        releases.current().display(),
        releases.0.join("releases/2").display()
    );
    assert!(line.contains(&said), "{line}");
    releases.switch("nowhere");
    assert_eq!(server.get("/").text(), "release 2");
    let line = server.complaint();
    assert!(line.contains("goes on being served"), "{line}");
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "release 2", "said once");
    }
    releases.switch("releases/1");
    assert_eq!(server.get("/").text(), "release 1");
    let line = server.complaint();
    assert!(line.contains("releases/1 from now on"), "{line}");
}

#[test]
fn rules_are_those_of_the_release() {
    let releases = Releases::new();
    for number in ["1", "2"] {
        let rules = format!("/*\n  X-Release: {number}\n");
        releases.write(number, "_headers", &rules);
        let rules = format!("/old /both.txt?{number} 302\n");
        releases.write(number, "_redirects", &rules);
    }
    let server = Server::start(&releases.current());
    let mut client = server.connect();
    let check = |client: &mut Client, number: &str| {
        assert_eq!(client.get("/").field("X-Release"), Some(number));
        let location = format!("/both.txt?{number}");
        assert_eq!(client.get("/old").field("Location"), Some(&*location));
    };
    check(&mut client, "1");
    releases.switch("releases/2");
    check(&mut client, "2");
    check(&mut server.connect(), "2");
    // What is read again is that of the release that is current.
    releases.write("2", "_headers", "/*\n  X-Release: 3\n");
    releases.write("2", "_redirects", "/old /both.txt?3 302\n");
    server.signal(Signal::HUP);
    eventually("they are read again", || {
        (client.get("/").field("X-Release") == Some("3")).then_some(())
    });
    check(&mut client, "3");
    releases.switch("releases/1");
    check(&mut client, "1");
}

#[test]
fn what_pages_of_the_release_before_need_is_still_there() {
    let releases = Releases::new();
    releases.write("2", "_redirects", "/* /index.html 200\n");
    let options = ["--release-grace", "10m"];
    let server = Server::with(&releases.current(), &options);
    let mut client = server.connect();
    let hashed = format!("/{HASHED}");
    let before = client.get(&hashed);
    releases.switch("releases/2");
    let response = client.get(&hashed);
    assert_eq!(
        response.undated(),
        before.undated(),
        "all that is said of it"
    );
    let tag = response.field("ETag").expect("a tag");
    let again = client.request("GET", &hashed, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(again.status(), "304 Not Modified");
    assert_eq!(
        client.get(&format!("/{PLAIN}")).text(),
        "release 2",
        "a rule's"
    );
    assert_eq!(client.get("/both.txt").text(), "release 2");
    let folder = format!("{hashed}/");
    assert_eq!(client.get(&folder).text(), "release 2", "no folder's");
    // It is not kept longer than its folder.
    fs::remove_dir_all(releases.0.join("releases/1")).expect("a folder of ours");
    assert_eq!(client.get(&hashed).text(), "release 2");
}

#[test]
fn without_grace_the_release_before_is_gone() {
    for options in [&[][..], &["--release-grace", "1ms"]] {
        let releases = Releases::new();
        let options = [&["--workers", "1"], options].concat();
        let server = Server::with(&releases.current(), &options);
        let mut client = server.connect();
        let hashed = format!("/{HASHED}");
        assert_eq!(client.get(&hashed).status(), "200 OK");
        releases.switch("releases/2");
        eventually("it is gone", || {
            (client.get(&hashed).status() == "404 Not Found").then_some(())
        });
        // One descriptor for a folder is all that was held.
        assert_eq!(held(&server, &releases.0.join("releases/1")), 0);
    }
}

/// How many descriptors the server has for a folder, and for what is in it.
fn held(server: &Server, folder: &Path) -> usize {
    let held = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("of ours");
    let held = held.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    held.filter(|path| path.starts_with(folder)).count()
}

#[test]
fn no_worker_holds_a_former_release_though_nobody_asks() {
    for options in [
        &[][..],
        &["--live-reload"],
        &["--release-grace", "300ms"],
        // Here nobody tells.
        &["--release-grace", "300ms", "--cache-memory", "0"],
    ] {
        let releases = Releases::new();
        let server = Server::with(
            &releases.current(),
            &[&["--workers", "4"], options].concat(),
        );
        let [first, second] = ["1", "2"].map(|it| releases.0.join("releases").join(it));
        assert!(held(&server, &first) > 0);
        releases.switch("releases/2");
        eventually("it is given up", || {
            (held(&server, &first) == 0 && held(&server, &second) > 3).then_some(())
        });
        assert_eq!(server.get("/both.txt").text(), "release 2", "{options:?}");
    }
}

#[test]
fn no_worker_holds_a_folder_that_was_replaced_though_nobody_asks() {
    let releases = Releases::new();
    let (root, other) = (releases.0.join("releases/1"), releases.0.join("releases/0"));
    let server = Server::with(&root, &["--sandbox", "off", "--workers", "2"]);
    fs::rename(&root, &other).expect("folders of ours");
    fs::rename(releases.0.join("releases/2"), &root).expect("folders of ours");
    eventually("it is given up", || {
        (held(&server, &other) == 0 && held(&server, &root) == 2).then_some(())
    });
    assert_eq!(server.get("/").text(), "release 2");
}

#[test]
fn a_listing_is_of_the_release_that_it_began_in() {
    let releases = Releases::new();
    for number in ["1", "2"] {
        for file in 0..1000 {
            releases.write(number, &format!("many/{number}-{file:04}"), "");
        }
    }
    let server = Server::with(&releases.current(), &["--listing"]);
    let mut client = server.connect();
    client.send("GET /many/ HTTP/1.0\r\nAccept: text/plain\r\n\r\n");
    client.byte();
    releases.switch("releases/2");
    server.get("/");
    let rest = String::from_utf8(client.rest()).expect("text");
    let of = |number: &str| {
        let names = rest.lines().filter(|line| line.starts_with(number));
        names.count()
    };
    assert_eq!((of("1-"), of("2-")), (1000, 0), "{rest}");
}

/// Both parts of what is sent must be of one release: the field that `_headers` adds, and the content.
#[test]
fn a_hundred_switches_under_load_mix_nothing() {
    const SWITCHES: usize = 100;
    const PEERS: usize = 4;
    let releases = Releases::new();
    for number in ["1", "2"] {
        releases.write(number, "_headers", &format!("/*\n  X-Release: {number}\n"));
        // One that is read, one that is copied, one that is left to the kernel.
        for (name, len) in [("small", 1000), ("middle", 100_000), ("large", 2_200_000)] {
            releases.write(number, name, &number.repeat(len));
        }
        releases.write(number, &format!("assets/{number}-DiwrgTda.js"), number);
    }
    releases.0.date_back();
    let options = ["--release-grace", "10m", "--workers", "2"];
    let server = Server::with(&releases.current(), &options);
    let (address, is_over) = (server.address, &AtomicBool::new(false));
    let (answers, switches) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let ask = |peer: usize| {
        let mut client = Client::connect(address);
        let mut round = peer;
        while !is_over.load(Ordering::Relaxed) {
            round += 1;
            let name = ["/small", "/middle", "/", "/both.txt", "/large"][round % 5];
            let response = client.get(name);
            assert_eq!(response.status(), "200 OK");
            let number = response.field("X-Release").expect("a rule").to_owned();
            let is_of_it = match response.text() {
                text if text.starts_with("release ") => text == format!("release {number}"),
                text => text == number.repeat(text.len()),
            };
            assert!(is_of_it, "{name}: {number}");
            // Once both have been current, each has what only the other one has.
            let were_both = switches.load(Ordering::Relaxed) > 1;
            let old = ["/assets/1-DiwrgTda.js", "/assets/2-DiwrgTda.js"][round % 2];
            let response = client.get(old);
            assert!(!were_both || response.status() == "200 OK", "{old}");
            answers.fetch_add(2, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for peer in 0..PEERS {
            scope.spawn(move || {
                let _done = Done(is_over);
                ask(peer);
            });
        }
        let _done = Done(is_over);
        let mut client = server.connect();
        for switch in 0..SWITCHES {
            let number = ["2", "1"][switch % 2];
            releases.switch(&format!("releases/{number}"));
            // Who asks after that gets that one.
            switches.fetch_add(1, Ordering::Relaxed);
            let response = client.get("/both.txt");
            assert_eq!(response.text(), format!("release {number}"));
            assert_eq!(response.field("X-Release"), Some(number));
            let so_far = answers.load(Ordering::Relaxed);
            eventually("others are answered", || {
                let is_failing = is_over.load(Ordering::Relaxed);
                (is_failing || answers.load(Ordering::Relaxed) > so_far + 4).then_some(())
            });
        }
    });
    eprintln!(
        "{SWITCHES} switches, {} answers",
        answers.load(Ordering::Relaxed)
    );
}
