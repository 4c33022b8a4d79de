//! Cached lookups of a `Site` at given times: none is older than its files, with and without inotify.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use docroot::blob::Blob;
use docroot::files::{Root as SiteRoot, Symlinks};
use docroot::http::{CacheStatus, Lookup, Origin as _, Resource, Target};
use docroot::site::{
    Freshness, Policy, PolicySources, RedirectRules, SharedPolicy, Site, SiteOptions, SiteShared,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::{Root, eventually, wait_for_file_clock};

/// Changes to the files, and the results of the lookup after each.
///
/// Each case begins with a line that says whether inotify reports all changes (`watched`), whether the lookup is
/// revalidated by stat(2) in each turn (`stat`) or is made anew (`missing`), then the target and what happens. `ln` makes
/// a symbolic link, `overwrite` keeps the file's date and its other bytes, `replace` renames another file of the same
/// date to its name. What begins with an `l` could be brotli, or with `P*M`, zstd; sidecars are not decoded here.
const CASES: &str = "
# watched /file: rewritten, with its length and date restored
overwrite file new => new
overwrite file old => old
# watched /file: truncated and written
write file =>
write file new => new
# watched /file: appended to
append file er => older
# watched /file: replaced
mv other/file file => new
mv folder/file file => old
# watched /file: replaced by a file of the same length and date
replace file new => new
replace file old => old
# watched /folder/file: its directory moved out of the root and replaced by a link
mv folder ../../folder; ln ../../folder folder => forbidden
rm folder; mv ../../folder folder => old
# watched /folder/file: its directory renamed and replaced by a link
mv folder renamed; ln renamed folder => old
write renamed/file new => new
# watched /file: exchanged
exchange file other/file => new
exchange file other/file => old
# watched /file: deleted and created again
rm file => not found: old
write file new => new
rm file => not found: old
# watched /folder/file: renamed and renamed back
mv folder/file file => not found: old
mv file folder/file => old
# watched /folder/deep/file: a directory renamed and renamed back
mv folder gone => not found: old
mv gone folder => old
overwrite folder/deep/file new => new
# watched /folder/deep/file: a directory moved out of the root and back
mv folder/deep ../deep => not found: old
write ../deep/file new => not found: old
mv ../deep folder/deep => new
write folder/deep/file newer => newer
# watched /folder/deep/file: a directory replaced
mv folder gone; mv other folder => new
write gone/deep/file older => new
write folder/deep/file newer => newer
# watched /folder/deep/file: directories exchanged
exchange folder other => new
exchange folder other => old
exchange folder/deep other/deep => new
replace folder/deep/file wow => wow
# watched /folder/file: a directory deleted and created again
rm folder => not found: old
mkdir folder; write folder/file new => new
rm folder/file => not found: old
# watched /file: a directory above the root renamed and its name given to another
mv ../../above ../../below => old
write ../../below/root/file new => new
mv ../../below/root ../../root; mkdir ../../above/root; write file another => another
write file and changed => and changed
# watched /indexed/: an index file of higher precedence appears and disappears
write indexed/first.html new => new
rm indexed/first.html => old
mv other/file indexed/first.html => new
mv indexed/first.html indexed/first => old
ln ../other/deep/file indexed/first.html => new
# watched /indexed/: an index file disappears and appears
rm indexed/index.html => not found: old
write indexed/index.html new => new
# missing /nothing: the not-found page changes, disappears and appears
overwrite 404.html new => not found: new
rm 404.html => notfound(none)
write 404.html again => not found: again
# missing /nothing: a missing file appears
write nothing new => new
rm nothing => not found: old
mkdir nothing => directory
# watched /file: a file becomes a directory, and a file again
rm file; mkdir file => directory
rm file; write file new => new
# watched /file: a file becomes a symbolic link
rm file; ln other/file file => new
write other/file newer => newer
# watched /folder/deep/file: a directory is moved and replaced by a symbolic link to it
mv folder bare/folder; ln bare/folder folder => old
mv bare/folder bare/gone; mv other bare/folder => new
# watched /file: written by its other hard link
link file ../alias => old
overwrite ../alias new => new
rm ../alias => new
# watched /large: large and rewritten, with its length and date restored
overwrite large new => new
overwrite large old => old
# watched /large: large and replaced, small for a while
mv other/file large => new
write large newer => newer
replace large newest => newest
rm large => not found: old
# watched /file: a sidecar appears, changes and disappears
write file.br lo => old or lo
overwrite file.br la => old or la
replace file.br lo => old or lo
rm file.br => old
# watched /coded: a sidecar changes, becomes older than its file, and is current again
overwrite coded.br lew => old or lew
touch coded.br 1970 => old
touch coded.br now => old or lew
touch coded now => old
touch coded 1970 => old or lew
write coded wow => wow
write coded.br low => wow or low
# watched /coded: a sidecar disappears, and others appear
rm coded.br => old
write coded.zst P*M\x18 => old or P*M\x18
write coded.br lo => old or lo or P*M\x18
rm coded.zst => old or lo
mv coded.br gone => old
ln gone coded.br => old or lo
overwrite gone la => old or la
# missing /nothing: the not-found page gets a sidecar
write 404.html.br lo => not found: old or lo
write 404.html new => not found: new
rm 404.html => notfound(none)
# missing /nothing: the SPA fallback page appears, changes, gets a sidecar, and disappears
write spa.html new => spa: new
overwrite spa.html old => spa: old
replace spa.html wow => spa: wow
write spa.html.br lo => spa: wow or lo
rm spa.html.br => spa: wow
rm spa.html => not found: old
# watched /page: a URL without .html becomes a file, and a directory
overwrite page.html new => new
write page itself => itself
rm page => new
mkdir page => new
write page/index.html in => directory
rm page/index.html => new
ln ../other/file page/first.html => directory
mv page gone => new
rm page.html => not found: old
# stat /bare: a page appears beside a directory
write bare.html new => new
overwrite bare.html wow => wow
write bare/index.html in => directory
rm bare/index.html => wow
rm bare.html => directory
# stat /link: a symbolic link to the file is switched
ln other/file place; mv place link => new
overwrite other/file wow => wow
# stat /linked/deep/file: a symbolic link on the path is switched
ln other place; mv place linked => new
mv folder/deep/file other/deep/file => old
# stat /aliased/: the target of a dangling link appears, which no directory on the path of the served file shows
write empty/first.html new => new
";

/// Changes after which a watched `/folder/file` is no cache hit (`noticed`), and others. Its hard link is `../alias`.
const NOTICES: &str = "
# written
overwrite folder/file n => noticed
# truncated
write folder/file => noticed
# modification date set
touch folder/file 1970 => noticed
# opened
open folder/file => noticed
# written by its other hard link
overwrite ../alias n => noticed
# another hard link created
link ../alias ../another => noticed
# another hard link removed
rm ../alias => noticed
# deleted
rm folder/file => noticed
# its mode changed
chmod folder/file 600 => noticed
# replaced
mv other/file folder/file => noticed
# renamed
mv folder/file folder/other => noticed
# moved out
mv folder/file ../file => noticed
# its directory renamed
mv folder gone => noticed
# its directory moved out
mv folder ../folder => noticed
# another name appears beside it
write folder/index => noticed
# a name above it disappears
rm coded => noticed
# a link appears beside it
ln file folder/link => noticed
# the mode of its directory changed
chmod folder 755 => noticed
# the root renamed
mv ../root ../moved => noticed
# a file appears beside the root
write ../beside => unnoticed
# another file written
append large more => unnoticed
# its directory is replaced: the other one is watched, and the first no longer
mv folder gone; mkdir folder; write folder/file another => noticed
write folder/beside => noticed
write gone/beside => unnoticed
write folder/file changed => noticed
";

/// Length of a file that is too large to be read into memory.
const LARGE_FILE_BYTES: usize = 100_000;

/// Site with files to look up and to change.
struct CachedSite {
    outer: Root,
    site: Site,
    /// Time of all lookups, at which no file has been unchanged long enough to be watched; `None` is always so late that
    /// every file has been.
    now: Option<SystemTime>,
}

/// Case of a table: the words of its first line, and changes with what they lead to.
struct Case<'a> {
    label: &'a str,
    steps: Vec<(&'a str, &'a str)>,
}

impl CachedSite {
    fn new(is_watching: bool) -> Self {
        Self::with(is_watching, SiteOptions::default())
    }

    fn with(is_watching: bool, options: SiteOptions) -> Self {
        // None of the files will be older than 9 s, and they are watched after 10 s.
        let soon = SystemTime::now() + Duration::from_secs(9);
        let outer = Root::new();
        let root = outer.join("above/root");
        for dir in ["bare", "empty", "aliased"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        for name in [
            "file",
            "404.html",
            "page.html",
            "coded",
            "folder/file",
            "folder/deep/file",
            "indexed/index.html",
            "aliased/index.html",
        ] {
            outer.write(root.join(name), "old");
        }
        for name in ["other/file", "other/deep/file"] {
            outer.write(root.join(name), "new");
        }
        change(&root, "write large old; write coded.br lid");
        for link in [
            "file link",
            "folder linked",
            "../empty/first.html aliased/first.html",
        ] {
            change(&root, &format!("ln {link}"));
        }
        let options = SiteOptions {
            index: vec!["first.html".into(), "index.html".into()],
            spa_fallback: Some("spa.html".into()),
            ..options
        };
        // inotify does not report all changes of a path through procfs, so without it that path is checked by stat, too.
        let site_root = match is_watching {
            true => open(&root),
            false => {
                open(&Path::new("/proc/self/root").join(root.strip_prefix("/").expect("absolute")))
            }
        };
        let site = Site::new(site_root, options, SiteShared::default());
        Self {
            outer,
            site,
            now: (!is_watching).then_some(soon),
        }
    }

    /// Creates a site whose files are watched. Returns `None`, with a message, where inotify may miss changes in the
    /// temporary directory.
    fn watching() -> Option<Self> {
        let site = Self::new(true);
        let is_watching = site.site.freshness() == Freshness::Inotify;
        if !is_watching {
            eprintln!("SKIPPED: inotify may miss changes in the temporary directory");
        }
        is_watching.then_some(site)
    }

    fn root(&self) -> PathBuf {
        self.outer.join("above/root")
    }

    /// Looks a target up in a new turn. A site that watches no files does not read the events of its directories either.
    fn find_in_new_turn(&mut self, target: &str) -> String {
        self.site.mark_stale(self.now.is_none());
        self.find_in_same_turn(target)
    }

    /// Looks a target up in the current turn.
    fn find_in_same_turn(&mut self, target: &str) -> String {
        let now = self.lookup_time();
        find(&mut self.site, target, now)
    }

    fn lookup_time(&self) -> SystemTime {
        self.now
            .unwrap_or_else(|| SystemTime::now() + Duration::from_secs(11))
    }

    /// Looks a target up in a new turn, and returns whether it was cached and needed no revalidation.
    fn is_hit(&mut self, target: &str) -> bool {
        self.site.mark_stale(self.now.is_none());
        let now = self.lookup_time();
        let target = Target::parse(target, None).expect("a target");
        self.site.find(&target, now).cache_status == Some(CacheStatus::Hit)
    }

    /// Looks a target up until it is watched. A mount anywhere, and a process that another test forks, may delay that.
    fn warm_until_hit(&mut self, target: &str) {
        eventually(&format!("{target} is watched"), || {
            self.is_hit(target).then_some(())
        });
    }

    /// Returns whether the event descriptor is readable.
    fn has_events(&self) -> bool {
        let fd = self
            .site
            .event_fd()
            .expect("a descriptor")
            .expect("inotify");
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).expect("epoll") > 0
    }
}

fn open(root: &Path) -> SiteRoot {
    SiteRoot::open(root, &Symlinks::default()).expect("a directory")
}

fn open_site(root: &Path, shared: SiteShared) -> Site {
    Site::new(open(root), SiteOptions::default(), shared)
}

/// Looks a target up. Returns the contents of its representations, or what was found instead.
fn find(site: &mut Site, target: &str, now: SystemTime) -> String {
    let text = |content: &Blob| {
        let bytes = match content {
            Blob::File { file, .. } | Blob::Sealed { file, .. } => {
                let mut bytes = vec![0; usize::try_from(content.len()).expect("a length")];
                file.read_exact_at(&mut bytes, 0).expect("a file");
                bytes
            }
            content => content.in_memory().expect("bytes").to_vec(),
        };
        String::from_utf8(bytes)
            .expect("text")
            .trim_end()
            .to_owned()
    };
    let content = |resource: &Resource| {
        let all = resource.representations.iter();
        all.map(|it| text(&it.content))
            .collect::<Vec<_>>()
            .join(" or ")
    };
    let target = Target::parse(target, None).expect("a target");
    match site.find(&target, now).lookup {
        Lookup::Found(resource) => content(&resource),
        Lookup::NotFound(Some(page)) => format!("not found: {}", content(&page)),
        Lookup::SpaFallback(page, _) => format!("spa: {}", content(&page)),
        Lookup::Redirect(status, location) => format!("{} {location}", status.text()),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Parses a table of cases.
fn cases(table: &str) -> Vec<Case<'_>> {
    let step = |line| {
        let (changes, expected) = str::split_once(line, "=>").expect("a result");
        (changes.trim(), expected.trim())
    };
    table
        .split("\n# ")
        .skip(1)
        .map(|case| {
            let mut lines = case.trim_end().lines();
            Case {
                label: lines.next().expect("a label"),
                steps: lines.map(step).collect(),
            }
        })
        .collect()
}

/// Returns a path relative to the root, which need not exist.
fn path(root: &Path, name: &str) -> PathBuf {
    let mut path = root.to_owned();
    for part in name.split('/') {
        match part {
            ".." => _ = path.pop(),
            part => path.push(part),
        }
    }
    path
}

/// Makes changes to the files of a root, separated by semicolons.
fn change(root: &Path, commands: &str) {
    let write_to = |path: &Path| File::options().write(true).open(path).expect("a file");
    let modified = |path: &Path| {
        fs::metadata(path)
            .and_then(|it| it.modified())
            .expect("a date")
    };
    for command in commands.split("; ") {
        let mut words = command.splitn(3, ' ');
        let [verb, name, text] = [(); 3].map(|()| words.next().unwrap_or_default());
        let (file, other) = (path(root, name), || path(root, text));
        let content = match name {
            "large" => text.to_owned() + &" ".repeat(LARGE_FILE_BYTES - text.len()),
            _ => text.to_owned(),
        };
        let result = match verb {
            "write" => fs::write(file, content),
            "append" => write_to(&file)
                .write_all_at(text.as_bytes(), fs::metadata(&file).expect("a file").len()),
            "overwrite" => {
                let date = modified(&file);
                let file = write_to(&file);
                let written = file.write_all_at(text.as_bytes(), 0);
                written.and_then(|()| file.set_modified(date))
            }
            "replace" => {
                let place = root.join("place");
                fs::write(&place, content).expect("a directory");
                let dated = write_to(&place).set_modified(modified(&file));
                dated.and_then(|()| fs::rename(place, file))
            }
            "touch" => write_to(&file).set_modified(match text {
                "now" => SystemTime::now(),
                _ => UNIX_EPOCH,
            }),
            "open" => File::open(file).map(drop),
            "chmod" => {
                let mode = u32::from_str_radix(text, 8).expect("a mode");
                fs::set_permissions(file, Permissions::from_mode(mode))
            }
            "mkdir" => fs::create_dir_all(file),
            "rm" if file.is_dir() && !file.is_symlink() => fs::remove_dir_all(file),
            "rm" => fs::remove_file(file),
            "mv" => fs::rename(file, other()),
            "ln" => symlink(name, other()),
            "link" => fs::hard_link(file, other()),
            "exchange" => {
                renameat_with(CWD, file, CWD, other(), RenameFlags::EXCHANGE).map_err(Into::into)
            }
            _ => panic!("{command}"),
        };
        result.expect(command);
    }
}

/// Makes each change of each case, and looks the target up after it.
fn check_lookups(is_watching: bool) {
    // Each site has its own instances of inotify, of which a user may have 128.
    for cases in cases(CASES).chunks(8) {
        let mut sites: Vec<_> = cases
            .iter()
            .map(|case| {
                let (kind, rest) = case.label.split_once(' ').expect("a target");
                let (target, _) = rest.split_once(": ").expect("a label");
                (kind, target, CachedSite::new(is_watching))
            })
            .collect();
        wait_for_file_clock();
        for (kind, target, site) in &mut sites {
            for _ in 0..3 {
                site.find_in_new_turn(target);
            }
            let is_watching = is_watching && site.site.freshness() == Freshness::Inotify;
            match (is_watching, *kind) {
                (true, "watched") => site.warm_until_hit(target),
                _ => assert!(!site.is_hit(target), "{target} is {kind}"),
            }
        }
        let steps = cases.iter().map(|case| case.steps.len()).max().unwrap_or(0);
        for step in 0..steps {
            for (case, (_, target, site)) in cases.iter().zip(&mut sites) {
                let Some((changes, expected)) = case.steps.get(step) else {
                    continue;
                };
                let label = format!("{}: {changes}, watching {is_watching}", case.label);
                change(&site.root(), changes);
                assert_eq!(site.find_in_new_turn(target), *expected, "{label}");
                // It stays so: in the same turn, when revalidated, and when watched again.
                assert_eq!(site.find_in_same_turn(target), *expected, "{label}");
                for _ in 0..3 {
                    let later = site.find_in_new_turn(target);
                    assert_eq!(later, *expected, "{label}, later");
                }
            }
            wait_for_file_clock();
        }
    }
}

#[test]
fn watched_lookup_is_never_older_than_its_files() {
    if CachedSite::watching().is_some() {
        check_lookups(true);
    }
}

#[test]
fn revalidated_lookup_is_never_older_than_its_files() {
    check_lookups(false);
}

#[test]
fn each_change_of_watched_file_is_noticed() {
    const TARGET: &str = "/folder/file";
    for case in cases(NOTICES) {
        let Some(mut site) = CachedSite::watching() else {
            return;
        };
        let root = site.root();
        change(&root, "link folder/file ../alias");
        for (changes, expected) in case.steps {
            let label = format!("{}: {changes}", case.label);
            if expected == "noticed" {
                site.warm_until_hit(TARGET);
                change(&root, changes);
                assert!(site.has_events(), "{label}: readable");
                assert!(!site.is_hit(TARGET), "{label}");
            } else {
                // Repeated, as a mount anywhere is noticed, too.
                eventually(&format!("{label} is not noticed"), || {
                    site.warm_until_hit(TARGET);
                    change(&root, changes);
                    site.is_hit(TARGET).then_some(())
                });
            }
        }
    }
}

#[test]
fn open_file_is_revalidated_until_it_is_closed() {
    let Some(mut site) = CachedSite::watching() else {
        return;
    };
    let path = site.root().join("file");
    site.warm_until_hit("/file");
    let mut check = |label: &str| {
        for _ in 0..3 {
            assert!(!site.is_hit("/file"), "{label}");
        }
    };
    let opened = File::open(&path).expect("a file");
    check("opened");
    let again = File::open(&path).expect("a file");
    check("opened twice");
    drop(opened);
    check("closed once");
    // A duplicated descriptor is closed once.
    let twice = again.try_clone().expect("a descriptor");
    drop(again);
    check("open as a duplicate");
    drop(twice);
    assert!(!site.is_hit("/file"), "it is revalidated once more");
    site.warm_until_hit("/file");
}

/// inotify has one watch on the root directory, which is on the root path and has files whose lookups are cached.
#[test]
fn root_path_stays_watched_when_its_directory_has_no_watched_file() {
    let Some(mut site) = CachedSite::watching() else {
        return;
    };
    let root = site.root();
    site.warm_until_hit("/file");
    // All directories of files lose their watches.
    change(&root, "mkdir new");
    site.site.mark_stale(true);
    let moved = root.with_file_name("moved");
    fs::rename(&root, moved).expect("a directory");
    fs::create_dir(&root).expect("a directory");
    change(&root, "write file another");
    assert_eq!(site.find_in_new_turn("/file"), "another");
}

#[test]
fn file_of_a_removed_lookup_is_not_watched() {
    let mut site = CachedSite::new(true);
    let policy = site.site.shared().policy.clone();
    if site.site.freshness() != Freshness::Inotify {
        eprintln!("SKIPPED: inotify may miss changes in the temporary directory");
        return;
    }
    let inode = fs::metadata(site.root().join("file"))
        .expect("a file")
        .ino();
    // The watches of all inotify instances of this process (proc_pid_fdinfo(5)).
    let is_watched = || {
        let instances = fs::read_dir("/proc/self/fdinfo").expect("proc").flatten();
        let mut texts = instances.filter_map(|it| fs::read_to_string(it.path()).ok());
        texts.any(|text| text.contains(&format!(" ino:{inode:x} ")))
    };
    site.warm_until_hit("/file");
    assert!(is_watched());
    policy.replace(Policy::default());
    site.find_in_new_turn("/nothing");
    assert!(!is_watched());
}

#[test]
fn only_local_file_systems_are_watched() {
    let site = open_site(Path::new("/proc/self"), SiteShared::default());
    assert_eq!(site.freshness(), Freshness::Stat);
}

#[test]
fn new_policy_is_applied_in_a_turn_without_events() {
    let mut site = CachedSite::new(true);
    let policy = site.site.shared().policy.clone();
    assert_eq!(site.find_in_same_turn("/file"), "old");
    let (redirects, errors) = RedirectRules::parse_lenient(b"/file /moved 301!");
    assert!(errors.is_empty(), "{errors:?}");
    policy.replace(Policy {
        redirects,
        ..Policy::default()
    });
    site.site.mark_stale(false);
    let moved = "301 Moved Permanently /moved";
    assert_eq!(site.find_in_same_turn("/file"), moved);
}

#[test]
fn rules_read_from_a_replaced_root_are_not_applied_to_the_next() {
    let outer = Root::new();
    for name in ["one", "two"] {
        outer.write(format!("{name}/index.html"), name);
        outer.write(
            format!("{name}/_headers"),
            format!("/*\n  X-Folder: {name}\n"),
        );
    }
    let sources = PolicySources {
        root: outer.join("one"),
        ..PolicySources::default()
    };
    let policy = SharedPolicy::from_sources(sources.clone());
    let shared = SiteShared {
        policy: policy.clone(),
        ..SiteShared::default()
    };
    let mut site = open_site(&sources.root, shared);
    let mut check = |expected: &str| {
        for _ in 0..2 {
            site.mark_stale(true);
            let target = Target::parse("/", None).expect("a target");
            let Lookup::Found(found) = site.find(&target, SystemTime::now()).lookup else {
                panic!("no page was found");
            };
            let found = &found.representations[0];
            assert_eq!(found.content.in_memory(), Some(expected.as_bytes()));
            let fields = found.metadata_fields();
            assert!(
                fields.contains(&format!("X-Folder: {expected}\r\n")),
                "{fields}"
            );
        }
    };
    let read = || sources.load().expect("rules").policy;
    policy.replace(read());
    check("one");
    let late = read();
    change(outer.path(), "exchange one two");
    check("two");
    policy.replace(late);
    check("two");
    let early = read();
    change(outer.path(), "exchange one two");
    policy.replace(early);
    check("one");
}

#[test]
fn zero_budget_reads_each_time() {
    let options = SiteOptions {
        cache_memory: 0,
        ..SiteOptions::default()
    };
    let mut site = CachedSite::with(true, options);
    for content in ["one", "two"] {
        change(&site.root(), &format!("write file {content}"));
        assert_eq!(site.find_in_same_turn("/file"), content, "in the same turn");
    }
}

/// The root path is switched while it is being watched: the switch is seen, and so is the next one.
#[test]
fn root_switched_during_lookup_is_followed() {
    let outer = Root::of(&[("a/file", "a"), ("b/file", "b")]);
    let switch = |name: &str, to: &str| {
        change(outer.path(), &format!("ln {to} new; mv new {name}"));
    };
    for (link, to) in [("odd", "a"), ("even", "a"), ("current", "odd")] {
        switch(link, to);
    }
    let mut site = open_site(&outer.join("current"), SiteShared::default());
    let mut find_in_new_turn = || {
        site.mark_stale(true);
        find(&mut site, "/file", SystemTime::now())
    };
    let current = || fs::read_to_string(outer.join("current/file")).expect("a file");
    for round in 0..500 {
        let link = ["even", "odd"][round % 2];
        let barrier = &Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(move || {
                barrier.wait();
                switch("current", link);
            });
            barrier.wait();
            find_in_new_turn();
        });
        assert_eq!(find_in_new_turn(), current(), "round {round}");
        switch(link, ["b", "a"][round / 2 % 2]);
        assert_eq!(find_in_new_turn(), current(), "round {round}, again");
    }
}
