//! Releases: the root's path is switched to another directory, and each response is of one release.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use docroot::files::{Root as SiteRoot, Symlinks};
use docroot::http::{Lookup, Origin as _, Target};
use docroot::site::{self, Freshness, Site, SiteOptions, SiteShared, Trace, TraceEvent};

use crate::support::{Client, Root, Server, SetOnDrop, Signal, eventually, is_watched};

/// A fingerprinted name, and one that is not.
const FINGERPRINTED: &str = "assets/index-BsYhmk3H.js";
const NOT_FINGERPRINTED: &str = "about.txt";

/// Directories of releases, and a symbolic link to one of them.
struct Releases(Root);

impl Releases {
    /// Creates the releases `1` and `2`, whose files have that number, and `current`, a link to the first.
    fn new() -> Self {
        let releases = Self(Root::of(&[]));
        for number in ["1", "2"] {
            releases.write(number, "index.html", &format!("release {number}"));
            releases.write(number, "both.txt", &format!("release {number}"));
        }
        releases.write("1", FINGERPRINTED, "of the first");
        releases.write("1", NOT_FINGERPRINTED, "of the first");
        releases.0.backdate();
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

    /// Switches `current` to another target, as `ln -s` and `mv -T` do.
    fn switch(&self, to: &str) {
        let new = self.0.join("new");
        symlink(to, &new).expect("a directory");
        fs::rename(new, self.current()).expect("a directory");
    }
}

fn check(server: &Server, client: &mut Client, expected: &str, what: &str) {
    for client in [client, &mut server.connect()] {
        assert_eq!(client.get("/").text(), expected, "{what}");
        assert_eq!(client.get("/both.txt").text(), expected, "{what}");
    }
}

/// Checks that the second release is served after this switch.
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
        "{what}: a later change is seen"
    );
}

#[test]
fn switched_symlink_serves_new_release_at_once() {
    for options in [&[][..], &["--cache-memory", "0"]] {
        check_switch("renamed over", options, |releases| {
            releases.switch("releases/2");
        });
        check_switch("removed and made anew", options, |releases| {
            fs::remove_file(releases.current()).expect("a link");
            symlink(releases.0.join("releases/2"), releases.current()).expect("a directory");
        });
        check_switch("through another link", options, |releases| {
            symlink("releases/1", releases.0.join("stable")).expect("a directory");
            releases.switch("stable");
            fs::remove_file(releases.0.join("stable")).expect("a link");
            symlink("releases/2", releases.0.join("stable")).expect("a directory");
        });
    }
}

#[test]
fn switched_symlink_in_root_path_is_followed() {
    let releases = Releases::new();
    symlink("releases", releases.0.join("all")).expect("a directory");
    fs::create_dir(releases.0.join("others")).expect("a directory");
    fs::rename(releases.0.join("releases/2"), releases.0.join("others/1")).expect("directories");
    let server = Server::with(&releases.0.join("all/1"), &["--sandbox", "off"]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    symlink("others", releases.0.join("new")).expect("a directory");
    fs::rename(releases.0.join("new"), releases.0.join("all")).expect("a directory");
    check(&server, &mut client, "release 2", "after");
}

#[test]
fn directory_renamed_into_place_of_root_is_served() {
    let releases = Releases::new();
    let (root, other) = (releases.0.join("releases/1"), releases.0.join("releases/2"));
    let server = Server::with(&root, &["--sandbox", "off"]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    fs::rename(&root, releases.0.join("releases/0")).expect("directories");
    check(
        &server,
        &mut client,
        "release 1",
        "while the root is missing",
    );
    let line = server.stderr_line();
    assert!(line.contains("cannot reopen"), "{line}");
    fs::rename(other, root).expect("directories");
    check(&server, &mut client, "release 2", "after");
}

#[test]
fn recreated_root_is_served() {
    let releases = Releases::new();
    let root = releases.0.join("releases/1");
    let server = Server::with(&root, &["--sandbox", "off"]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    fs::remove_dir_all(&root).expect("a directory");
    assert_eq!(
        client.get("/").status(),
        "404 Not Found",
        "the root is removed"
    );
    for name in ["index.html", "both.txt"] {
        releases.write("1", name, "release 2");
    }
    check(&server, &mut client, "release 2", "after");
}

#[test]
fn release_outside_sandbox_is_logged_and_not_served() {
    let releases = Releases::new();
    let root = releases.0.join("releases/1");
    let server = Server::with(&root, &[]);
    let mut client = server.connect();
    check(&server, &mut client, "release 1", "before");
    // (The server must not see the root missing.)
    server.while_stopped(|| {
        fs::rename(&root, releases.0.join("releases/0")).expect("directories");
        fs::rename(releases.0.join("releases/2"), root).expect("directories");
    });
    if client.get("/").text() == "release 2" {
        eprintln!("SKIPPED: this kernel has no Landlock");
        return;
    }
    check(&server, &mut client, "release 1", "after");
    let line = server.stderr_line();
    assert!(
        line.contains("--sandbox") && line.contains("still serving"),
        "{line}"
    );
}

#[test]
fn release_switches_and_dangling_root_are_logged() {
    let releases = Releases::new();
    let server = Server::with(&releases.current(), &["--workers", "2"]);
    releases.switch("releases/2");
    server.get("/");
    let line = server.stderr_line();
    let expected = format!(
        "{} now leads to {}",
        releases.current().display(),
        releases.0.join("releases/2").display()
    );
    assert!(line.contains(&expected), "{line}");
    releases.switch("nowhere");
    assert_eq!(server.get("/").text(), "release 2");
    let line = server.stderr_line();
    assert!(line.contains("still serving"), "{line}");
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "release 2", "logged once");
    }
    releases.switch("releases/1");
    assert_eq!(server.get("/").text(), "release 1");
    let line = server.stderr_line();
    assert!(
        line.contains("now leads to") && line.ends_with("releases/1"),
        "{line}"
    );
}

#[test]
fn path_rules_are_those_of_current_release() {
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
    // SIGHUP reads the rules of the current release.
    releases.write("2", "_headers", "/*\n  X-Release: 3\n");
    releases.write("2", "_redirects", "/old /both.txt?3 302\n");
    server.signal(Signal::HUP);
    eventually("the rules are reloaded", || {
        (client.get("/").field("X-Release") == Some("3")).then_some(())
    });
    check(&mut client, "3");
    releases.switch("releases/1");
    check(&mut client, "1");
}

#[test]
fn fingerprinted_file_of_previous_release_is_served_in_grace_period() {
    let releases = Releases::new();
    releases.write("2", "_redirects", "/* /index.html 200\n");
    let options = ["--release-grace", "10m"];
    let server = Server::with(&releases.current(), &options);
    let mut client = server.connect();
    let hashed = format!("/{FINGERPRINTED}");
    let before = client.get(&hashed);
    releases.switch("releases/2");
    let response = client.get(&hashed);
    assert_eq!(response.undated(), before.undated(), "all fields");
    let tag = response.field("ETag").expect("a tag");
    let conditional = client.request("GET", &hashed, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(conditional.status(), "304 Not Modified");
    assert_eq!(
        client.get(&format!("/{NOT_FINGERPRINTED}")).text(),
        "release 2",
        "the result of a rule"
    );
    assert_eq!(client.get("/both.txt").text(), "release 2");
    let directory = format!("{hashed}/");
    assert_eq!(
        client.get(&directory).text(),
        "release 2",
        "not a directory"
    );
    // Once its directory is deleted, the file is gone.
    fs::remove_dir_all(releases.0.join("releases/1")).expect("a directory");
    assert_eq!(client.get(&hashed).text(), "release 2");
}

#[test]
fn without_grace_period_previous_release_is_404() {
    for options in [&[][..], &["--release-grace", "1ms"]] {
        let releases = Releases::new();
        let options = [&["--workers", "1"], options].concat();
        let server = Server::with(&releases.current(), &options);
        let mut client = server.connect();
        let hashed = format!("/{FINGERPRINTED}");
        assert_eq!(client.get(&hashed).status(), "200 OK");
        releases.switch("releases/2");
        eventually("the file is gone", || {
            (client.get(&hashed).status() == "404 Not Found").then_some(())
        });
        // Only the descriptor of the directory was open.
        assert_eq!(open_descriptors(&server, &releases.0.join("releases/1")), 0);
    }
}

/// Returns the number of the server's descriptors for a directory and for files below it.
fn open_descriptors(server: &Server, directory: &Path) -> usize {
    descriptors_of(server.pid(), directory)
}

fn descriptors_of(pid: u32, directory: &Path) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("of ours");
    let links = links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|path| path.starts_with(directory)).count()
}

#[test]
fn idle_workers_close_previous_release() {
    for options in [
        &[][..],
        &["--live-reload"],
        &["--release-grace", "300ms"],
        // Without a cache there is no inotify.
        &["--release-grace", "300ms", "--cache-memory", "0"],
    ] {
        let releases = Releases::new();
        if !is_watched(releases.0.path()) {
            return;
        }
        let server = Server::with(
            &releases.current(),
            &[&["--workers", "4"], options].concat(),
        );
        let [first, second] = ["1", "2"].map(|it| releases.0.join("releases").join(it));
        assert!(open_descriptors(&server, &first) > 0);
        releases.switch("releases/2");
        eventually("the previous directory is closed", || {
            (open_descriptors(&server, &first) == 0 && open_descriptors(&server, &second) > 3)
                .then_some(())
        });
        assert_eq!(server.get("/both.txt").text(), "release 2", "{options:?}");
    }
}

#[test]
fn idle_workers_close_replaced_root() {
    let releases = Releases::new();
    if !is_watched(releases.0.path()) {
        return;
    }
    let (root, other) = (releases.0.join("releases/1"), releases.0.join("releases/0"));
    let server = Server::with(&root, &["--sandbox", "off", "--workers", "2"]);
    fs::rename(&root, &other).expect("directories");
    fs::rename(releases.0.join("releases/2"), &root).expect("directories");
    eventually("the previous directory is closed", || {
        (open_descriptors(&server, &other) == 0 && open_descriptors(&server, &root) == 2)
            .then_some(())
    });
    assert_eq!(server.get("/").text(), "release 2");
}

#[test]
fn listing_is_of_release_in_which_it_began() {
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

/// The field that `_headers` adds and the content must be of the same release.
#[test]
fn release_switches_under_load_never_mix_releases() {
    const SWITCHES: usize = 100;
    const CLIENTS: usize = 4;
    let releases = Releases::new();
    for number in ["1", "2"] {
        releases.write(number, "_headers", &format!("/*\n  X-Release: {number}\n"));
        // Read into memory, copied into a memfd, and sent with sendfile(2).
        for (name, len) in [("small", 1000), ("middle", 100_000), ("large", 2_200_000)] {
            releases.write(number, name, &number.repeat(len));
        }
        releases.write(number, &format!("assets/{number}-BsYhmk3H.js"), number);
    }
    releases.0.backdate();
    let options = ["--release-grace", "10m", "--workers", "2"];
    let server = Server::with(&releases.current(), &options);
    let (address, is_over) = (server.address, &AtomicBool::new(false));
    let (responses, switches) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let send_requests = |client_number: usize| {
        let mut client = Client::connect(address);
        let mut round = client_number;
        while !is_over.load(Ordering::Relaxed) {
            round += 1;
            let name = ["/small", "/middle", "/", "/both.txt", "/large"][round % 5];
            let response = client.get(name);
            assert_eq!(response.status(), "200 OK");
            let number = response.field("X-Release").expect("a rule").to_owned();
            let is_consistent = match response.text() {
                text if text.starts_with("release ") => text == format!("release {number}"),
                text => text == number.repeat(text.len()),
            };
            assert!(is_consistent, "{name}: {number}");
            // Once both have been current, fingerprinted files of both are served.
            let were_both = switches.load(Ordering::Relaxed) > 1;
            let old = ["/assets/1-BsYhmk3H.js", "/assets/2-BsYhmk3H.js"][round % 2];
            let response = client.get(old);
            assert!(!were_both || response.status() == "200 OK", "{old}");
            responses.fetch_add(2, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for client_number in 0..CLIENTS {
            scope.spawn(move || {
                let _done = SetOnDrop(is_over);
                send_requests(client_number);
            });
        }
        let _done = SetOnDrop(is_over);
        let mut client = server.connect();
        for switch in 0..SWITCHES {
            let number = ["2", "1"][switch % 2];
            releases.switch(&format!("releases/{number}"));
            // Every later request gets the new release.
            switches.fetch_add(1, Ordering::Relaxed);
            let response = client.get("/both.txt");
            assert_eq!(response.text(), format!("release {number}"));
            assert_eq!(response.field("X-Release"), Some(number));
            let responses_before = responses.load(Ordering::Relaxed);
            eventually("other clients get responses", || {
                let is_failing = is_over.load(Ordering::Relaxed);
                (is_failing || responses.load(Ordering::Relaxed) > responses_before + 4)
                    .then_some(())
            });
        }
    });
    eprintln!(
        "{SWITCHES} switches, {} responses",
        responses.load(Ordering::Relaxed)
    );
}

const MINUTE: Duration = Duration::from_secs(60);

fn at(minutes: u32) -> SystemTime {
    UNIX_EPOCH + MINUTE * minutes
}

/// Releases, each with a fingerprinted file of its number, that are looked up at given minutes.
struct TimedReleases {
    releases: Releases,
    count: usize,
    shared: SiteShared,
}

impl TimedReleases {
    fn fingerprinted(number: usize) -> String {
        format!("assets/{number}-BsYhmk3H.js")
    }

    /// Creates `count` releases, and a site of the first, in minute 0.
    fn new(count: usize, grace_period: Duration) -> (Self, Site) {
        let releases = Releases(Root::new());
        for number in 0..count {
            releases.write(&number.to_string(), &Self::fingerprinted(number), "");
        }
        releases.switch("releases/0");
        let shared = SiteShared {
            releases: site::Releases::with_grace_period(grace_period),
            ..SiteShared::default()
        };
        let releases = Self {
            releases,
            count,
            shared,
        };
        let site = releases.open(0);
        (releases, site)
    }

    /// Creates the site of a worker that looks the root path up in this minute.
    fn open(&self, minute: u32) -> Site {
        let root = SiteRoot::open(&self.releases.current(), &Symlinks::default());
        let root = root.expect("a directory");
        let mut site = Site::new(root, SiteOptions::default(), self.shared.clone());
        self.served(&mut site, minute);
        site
    }

    /// Switches the root path to a release, and looks it up.
    fn switch(&self, site: &mut Site, number: usize, minute: u32) {
        self.releases.switch(&format!("releases/{number}"));
        site.mark_stale(true);
        self.served(site, minute);
    }

    /// Returns the numbers of the releases whose files are found in a turn without events.
    fn served(&self, site: &mut Site, minute: u32) -> Vec<usize> {
        site.mark_stale(false);
        let is_served = |number: &usize| {
            let target = format!("/{}", Self::fingerprinted(*number));
            let target = Target::parse(&target, None).expect("a target");
            matches!(site.find(&target, at(minute)).lookup, Lookup::Found(_))
        };
        (0..self.count).filter(is_served).collect()
    }

    /// Returns which releases are open in this process.
    fn open_ones(&self) -> Vec<usize> {
        let directory = |number: &usize| self.releases.0.join("releases").join(number.to_string());
        let is_open = |number: &usize| descriptors_of(std::process::id(), &directory(number)) > 0;
        (0..self.count).filter(is_open).collect()
    }
}

#[test]
fn previous_release_is_served_during_its_grace_period() {
    let (releases, mut site) = TimedReleases::new(3, 10 * MINUTE);
    for number in ["0", "1"] {
        releases.releases.write(number, FINGERPRINTED, number);
    }
    releases.switch(&mut site, 0, 5);
    releases.switch(&mut site, 1, 6);
    // This worker has not seen the next release.
    let mut late = releases.open(7);
    releases.switch(&mut site, 2, 10);
    assert_eq!(releases.served(&mut site, 10), [0, 1, 2]);
    assert_eq!(releases.served(&mut late, 10), [0, 1, 2]);
    let target = format!("/{FINGERPRINTED}");
    let target = Target::parse(&target, None).expect("a target");
    let Lookup::Found(found) = site.find(&target, at(10)).lookup else {
        panic!("{FINGERPRINTED} is in two previous releases");
    };
    let content = &found.representations[0].content;
    assert_eq!(content.in_memory(), Some(&b"1"[..]), "the latest");
    for (minute, expected) in [(16, &[1, 2][..]), (20, &[2])] {
        assert_eq!(releases.served(&mut site, minute), expected, "{minute}");
    }
}

#[test]
fn trace_names_the_symlinks_of_a_previous_release() {
    const FILE: &str = "assets/index-BsYhmk3H.js";
    let (mut releases, _) = TimedReleases::new(2, 10 * MINUTE);
    let trace = Trace::default();
    releases.shared.trace = Some(trace.clone());
    let mut site = releases.open(0);
    for (number, dir) in ["old", "new"].iter().enumerate() {
        let release = Path::new("releases").join(number.to_string());
        releases.releases.0.write(release.join(dir).join(FILE), "");
        let link = releases.releases.0.join(release.join("app"));
        symlink(dir, link).expect("a link");
    }
    let current = releases.releases.0.join("releases/1/new").join(FILE);
    fs::remove_file(current).expect("a file");
    releases.switch(&mut site, 1, 1);
    let target = format!("/app/{FILE}");
    let target = Target::parse(&target, None).expect("a target");
    let found = site.find(&target, at(1)).lookup;
    assert!(matches!(found, Lookup::Found(_)), "{found:?}");
    let symlinks = trace
        .events()
        .into_iter()
        .rev()
        .find_map(|event| match event {
            TraceEvent::Chosen(file) => Some(file.symlinks),
            _ => None,
        });
    let targets: Vec<_> = symlinks
        .iter()
        .flatten()
        .map(|link| &*link.target)
        .collect();
    assert_eq!(targets, [Path::new("old")]);
}

#[test]
fn expired_release_is_closed_without_a_request() {
    let (releases, mut site) = TimedReleases::new(3, 10 * MINUTE);
    let check = |site: &Site, open: &[usize], expiry: Option<u32>| {
        assert_eq!(releases.open_ones(), open);
        if site.freshness() == Freshness::Inotify {
            assert_eq!(site.next_timer(), expiry.map(at));
        }
    };
    check(&site, &[0], None);
    releases.switch(&mut site, 1, 1);
    check(&site, &[0, 1], Some(11));
    site.on_timer(at(10));
    check(&site, &[0, 1], Some(11));
    releases.switch(&mut site, 2, 11);
    check(&site, &[1, 2], Some(21));
    site.on_timer(at(21));
    check(&site, &[2], None);
}

#[test]
fn release_that_returns_is_current_again() {
    let (releases, mut site) = TimedReleases::new(2, 10 * MINUTE);
    releases.switch(&mut site, 1, 1);
    releases.switch(&mut site, 0, 2);
    assert_eq!(releases.served(&mut site, 3), [0, 1]);
    assert_eq!(releases.served(&mut site, 12), [0]);
    releases.switch(&mut site, 1, 20);
    assert_eq!(releases.served(&mut site, 29), [0, 1]);
}

#[test]
fn releases_are_bounded() {
    // docroot keeps 16, with the current one.
    let (releases, mut site) = TimedReleases::new(18, 10 * MINUTE);
    for number in 1..18 {
        releases.switch(&mut site, number, 0);
    }
    assert_eq!(releases.served(&mut site, 1).len(), 16);
    let (releases, mut site) = TimedReleases::new(2, Duration::ZERO);
    releases.switch(&mut site, 1, 0);
    assert_eq!(releases.served(&mut site, 0), [1]);
}
