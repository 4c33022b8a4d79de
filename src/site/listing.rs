//! A folder's listing, made while it is sent.
//!
//! It is read, put in order and sent in runs of bounded length, each in steps of bounded work:
//!
//! ```text
//!    Begin ----> Gather ----> Show ----> Done
//!    page's top    |  ^        |  |      page's foot
//!    (nothing      |  |        |  '--------^
//!     is read)     |  '--------'  no more is there
//!                  '-> names, until there are many, or no more
//! ```
//!
//! A folder with fewer entries than a run is in order as a whole; of a larger one, each run is. What is held
//! is one run, however large the folder is.

mod natural;
mod row;

use std::cmp::{Ordering, Reverse};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use self::row::{Row, shown};
use super::disk::{Disk, Facts, Folder};
use crate::blob::Blob;
use crate::http::{Form, Forms, Key, Lookup, Representation, View};

/// Entries, and bytes of their names, of a run.
const RUN: (usize, usize) = (10_000, 512 * 1024);

/// The same where many listings are under way at once, so that what all of them hold stays small, too.
const SHORT_RUN: (usize, usize) = (500, 32 * 1024);

/// How many listings may be under way before runs are short.
const FEW: usize = 16;

/// Entries shown in one step. Each may have to be looked at.
const SHOWN: usize = 256;

/// Rows that the page holds together, for the browser to leave aside while they are not to be seen. The style knows
/// how high they are, and the script makes its own.
const GROUP: u64 = 500;

/// Bytes shown in one step, but for the last row.
const MUCH: usize = 32 * 1024;

/// The page, in which words in double braces stand for what is put there.
const PAGE: &str = include_str!("listing/page.html");
const STYLE: &str = include_str!("listing/style.css");
const SCRIPT: &str = include_str!("listing/script.js");

/// The row that leads to the folder above.
const PARENT: &[u8] = b"<tbody><tr><td><a href=\"../\">../</a><td><td>\n";

/// What there is to know of a folder that was more than one run; the script sorts it, and takes this away.
const NOTE: &[u8] =
    b"<p id=\"note\">This folder is large: it is in order in parts, not as a whole.</p>\n";

/// What the page may do: look as it does, and run its own script. The hashes are those of the two files.
const POLICY: &str = "default-src 'none'; img-src 'self'; \
    style-src 'sha256-PKYlYzCH0dXamfaj0jxk2sghGppDVe/1m2mYVZF9XRM='; \
    script-src 'sha256-fW5q3sbOjhx+YhNVUZ5zASNk8IrHb3tdQECgvzf/3VA='; \
    base-uri 'none'; form-action 'none'";

/// What all listings of a site share.
#[derive(Debug)]
pub(super) struct Listings {
    forms: Arc<Forms>,
    /// Held by each that is under way.
    under_way: Arc<()>,
}

/// A folder's listing, on its way.
#[derive(Debug)]
pub struct Listing {
    /// What the folder is on, even if that is not what is served any more.
    disk: Arc<Disk>,
    folder: Folder,
    path: Vec<u8>,
    view: View,
    stage: Stage,
    run: Run,
    /// Folders and files that have been shown.
    count: (u64, u64),
    /// Whether there was more than one run.
    is_long: bool,
    under_way: Arc<()>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Gather,
    /// Showing these of the run's entries; then, if that was not the last run, gathering the next.
    Show {
        left: Range<usize>,
        is_last: bool,
    },
    Done,
}

/// Entries, and their names one after the other.
#[derive(Debug, Default)]
struct Run {
    names: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its name begins.
    start: u32,
    /// Bytes of its name, of which no file system has more than 255.
    len: u16,
    is_folder: bool,
    /// Size and time, where they were needed before it is shown.
    facts: Option<(u64, SystemTime)>,
}

impl Default for Listings {
    fn default() -> Self {
        let form = |media_type: &str| {
            // It has nothing to be recognised by, and is made anew in no time.
            Representation::new(Blob::Static(b""), media_type)
                .telling("Vary", "Accept")
                .telling("Cache-Control", "no-store")
        };
        let html = form("text/html; charset=utf-8").describing("Content-Security-Policy", POLICY);
        Self {
            forms: Arc::new(Forms {
                html: Arc::new(html),
                json: Arc::new(form("application/json")),
                text: Arc::new(form("text/plain; charset=utf-8")),
            }),
            under_way: Arc::default(),
        }
    }
}

impl Listings {
    /// What there is under a target that is to be listed.
    pub(super) fn lookup(&self) -> Lookup {
        Lookup::Listing(self.forms.clone())
    }

    /// The listing of an open folder, under this path below the root.
    pub(super) fn begin(
        &self,
        disk: Arc<Disk>,
        folder: Folder,
        path: &[u8],
        view: View,
    ) -> Listing {
        Listing {
            disk,
            folder,
            path: path.to_vec(),
            view,
            stage: Stage::Begin,
            run: Run::default(),
            count: (0, 0),
            is_long: false,
            under_way: self.under_way.clone(),
        }
    }
}

impl Listing {
    /// What the folder is on.
    pub(super) fn disk(&self) -> Arc<Disk> {
        self.disk.clone()
    }

    /// The folder's path below the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// How long a run may get now.
    fn most(&self) -> (usize, usize) {
        // One is the site's own.
        match Arc::strong_count(&self.under_way) - 1 {
            ..=FEW => RUN,
            _ => SHORT_RUN,
        }
    }
}

/// Takes one step, and appends what comes of it. Whether there is more to come. `is_shown`: whether a path below
/// the root is to be seen.
///
/// # Errors
/// When the folder cannot be read on.
pub(super) fn step(
    listing: &mut Listing,
    disk: &Disk,
    is_shown: impl Fn(&[u8]) -> bool,
    into: &mut Vec<u8>,
) -> io::Result<bool> {
    listing.stage = match listing.stage.clone() {
        Stage::Begin => {
            top(listing, into);
            Stage::Gather
        }
        Stage::Gather => gather(listing, disk, is_shown)?,
        Stage::Show { left, is_last } => {
            let rest = show(listing, disk, left, into);
            match rest.is_empty() {
                false => Stage::Show {
                    left: rest,
                    is_last,
                },
                true if is_last => Stage::Done,
                true => {
                    listing.is_long = true;
                    listing.run.names.clear();
                    listing.run.entries.clear();
                    Stage::Gather
                }
            }
        }
        Stage::Done => Stage::Done,
    };
    if listing.stage == Stage::Done {
        // It has nothing to hold any more.
        listing.run = Run::default();
        foot(listing, into);
    }
    Ok(listing.stage != Stage::Done)
}

/// Reads some entries. If that was enough of them, or the last, the run is put in order.
fn gather(
    listing: &mut Listing,
    disk: &Disk,
    is_shown: impl Fn(&[u8]) -> bool,
) -> io::Result<Stage> {
    let (entries, bytes) = listing.most();
    let Listing {
        folder, view, run, ..
    } = listing;
    let mut fresh = Vec::new();
    let is_any = folder.read(|name, is_folder| fresh.push((run.hold(name), is_folder)))?;
    let begun = run.entries.len();
    for ((start, len), is_folder) in fresh {
        let name = run.name(start, len);
        if !is_shown(&folder.join(name)) {
            continue;
        }
        // What it is in order of is looked at now; what is only shown, when it is shown.
        let facts = match view.by {
            Key::Name if is_folder.is_some() => None,
            _ => disk.facts(folder, name).ok().flatten(),
        };
        let is_folder = facts.map(|facts| facts.is_folder).or(is_folder);
        if let Some(is_folder) = is_folder {
            run.entries.push(Entry {
                start,
                len,
                is_folder,
                facts: facts.map(|facts| (facts.len, facts.modified)),
            });
        }
    }
    let is_full = run.entries.len() >= entries || run.names.len() >= bytes;
    // Each step puts its own in order, so that little is left to do at the end, when these are merged.
    let unsorted = if is_full || !is_any { 0 } else { begun };
    run.sort(unsorted, *view);
    Ok(match is_full || !is_any {
        true => Stage::Show {
            left: 0..run.entries.len(),
            is_last: !is_any,
        },
        false => Stage::Gather,
    })
}

/// Shows some entries of the run. Which are left.
fn show(
    listing: &mut Listing,
    disk: &Disk,
    left: Range<usize>,
    into: &mut Vec<u8>,
) -> Range<usize> {
    let Listing {
        folder,
        view,
        run,
        count,
        ..
    } = listing;
    let begun = into.len();
    let mut next = left.start;
    while let Some(entry) = run.entries[next..left.end].first() {
        if next - left.start == SHOWN || into.len() - begun >= MUCH {
            break;
        }
        next += 1;
        let name = run.name(entry.start, entry.len);
        let known = |(len, modified)| Facts {
            is_folder: entry.is_folder,
            len,
            modified,
        };
        let facts = match entry.facts.map(known) {
            None => disk.facts(folder, name),
            facts => Ok(facts),
        };
        let facts = match facts {
            Ok(Some(facts)) => Some(facts),
            // It has gone, or something else has come, since the folder was read.
            Ok(None) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // A folder may be read without what is in it being ours to look at.
            Err(_) => None,
        };
        let is_folder = facts.map_or(entry.is_folder, |facts| facts.is_folder);
        let row = Row {
            name,
            is_folder,
            len: facts.filter(|_| !is_folder).map(|facts| facts.len),
            modified: facts.map(|facts| facts.modified),
        };
        let before = count.0 + count.1;
        if view.form == Form::Html && before > 0 && before.is_multiple_of(GROUP) {
            into.extend_from_slice(b"\n<tbody class=\"rows\">");
        }
        row.write(view.form, before == 0, into);
        match is_folder {
            true => count.0 += 1,
            false => count.1 += 1,
        }
    }
    next..left.end
}

impl Run {
    /// Keeps a name. Where it is.
    fn hold(&mut self, name: &[u8]) -> (u32, u16) {
        let start = u32::try_from(self.names.len()).expect("a run is much shorter");
        let len = u16::try_from(name.len()).expect("a name has 255 bytes at the most");
        self.names.extend_from_slice(name);
        (start, len)
    }

    fn name(&self, start: u32, len: u16) -> &[u8] {
        let start = start as usize;
        &self.names[start..start + usize::from(len)]
    }

    /// Puts the entries from this one on in order: folders first.
    fn sort(&mut self, from: usize, view: View) {
        let Self { names, entries } = self;
        let name = |entry: &Entry| {
            let start = entry.start as usize;
            &names[start..start + usize::from(entry.len)]
        };
        let len = |entry: &Entry| entry.facts.map(|(len, _)| len);
        let time = |entry: &Entry| entry.facts.map(|(_, time)| time);
        let compare = |a: &Entry, b: &Entry| {
            let by_name = natural::compare(name(a), name(b));
            let order = match view.by {
                Key::Name => by_name,
                // Of folders the size says nothing.
                Key::Size if a.is_folder => Ordering::Equal,
                Key::Size => len(a).cmp(&len(b)),
                Key::Time => time(a).cmp(&time(b)),
            };
            let order = if view.descending {
                order.reverse()
            } else {
                order
            };
            order.then(by_name)
        };
        // Stable, because it makes use of what is in order already.
        entries[from..].sort_by(|a, b| {
            let folders_first = Reverse(a.is_folder).cmp(&Reverse(b.is_folder));
            folders_first.then_with(|| compare(a, b))
        });
    }
}

/// What comes before the entries.
fn top(listing: &Listing, into: &mut Vec<u8>) {
    match listing.view.form {
        Form::Html => fill(listing, parts().0, into),
        Form::Json => into.push(b'['),
        Form::Text => {}
    }
}

/// What comes after them.
fn foot(listing: &Listing, into: &mut Vec<u8>) {
    match listing.view.form {
        Form::Html => fill(listing, parts().1, into),
        Form::Json => into.extend_from_slice(b"\n]\n"),
        Form::Text => {}
    }
}

/// The page before its rows, and behind them.
fn parts() -> (&'static str, &'static str) {
    PAGE.split_once("{{rows}}")
        .expect("the page has a place for them")
}

/// Appends a part of the page, with everything put into its place.
fn fill(listing: &Listing, part: &str, into: &mut Vec<u8>) {
    let mut words = part.split("{{");
    into.extend_from_slice(words.next().unwrap_or_default().as_bytes());
    for word in words {
        let (place, text) = word.split_once("}}").expect("the page closes its braces");
        match place {
            "style" => into.extend_from_slice(STYLE.as_bytes()),
            "script" => into.extend_from_slice(SCRIPT.as_bytes()),
            "title" => {
                shown(&listing.path, into);
                into.extend_from_slice(if listing.path.is_empty() { b"" } else { b"/" });
            }
            "path" => way(&listing.path, into),
            "heads" => heads(listing.view, into),
            "parent" if listing.path.is_empty() => {}
            "parent" => into.extend_from_slice(PARENT),
            "count" => {
                let (folders, files) = listing.count;
                let plural = |count| if count == 1 { "" } else { "s" };
                let text = format!(
                    "{folders} folder{}, {files} file{}",
                    plural(folders),
                    plural(files)
                );
                into.extend_from_slice(text.as_bytes());
            }
            "note" if listing.is_long => into.extend_from_slice(NOTE),
            "note" => {}
            other => unreachable!("the page says {other}"),
        }
        into.extend_from_slice(text.as_bytes());
    }
}

/// Every folder on the way from the root to this one, each but the last with a link.
fn way(path: &[u8], into: &mut Vec<u8>) {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty());
    let names: Vec<&[u8]> = [&b""[..]].into_iter().chain(names).collect();
    for (place, name) in names.iter().enumerate() {
        let above = names.len() - 1 - place;
        if above > 0 {
            into.extend_from_slice(b"<a href=\"");
            into.extend_from_slice("../".repeat(above).as_bytes());
            into.extend_from_slice(b"\">");
        }
        shown(name, into);
        into.extend_from_slice(if above > 0 { b"/</a>" } else { b"/" });
    }
}

/// The heads of the columns, each with a link to the listing in that order.
fn heads(view: View, into: &mut Vec<u8>) {
    for (key, word) in Key::ALL {
        let title = match key {
            Key::Name => "Name",
            Key::Size => "Size",
            Key::Time => "Modified",
        };
        let sorted = match (view.by == key, view.descending) {
            (true, false) => " aria-sort=\"ascending\"",
            (true, true) => " aria-sort=\"descending\"",
            (false, _) => "",
        };
        // First the largest, and the latest; then the other way around.
        let order = match (key, view.by == key) {
            (_, true) if view.descending => "asc",
            (_, true) | (Key::Size | Key::Time, _) => "desc",
            (Key::Name, _) => "asc",
        };
        let head = format!(
            "<th scope=\"col\"{sorted}><a href=\"?sort={word}&amp;order={order}\" data-key=\"{word}\">{title}</a>"
        );
        into.extend_from_slice(head.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Base64 (RFC 4648 section 4).
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let mut word = [0; 4];
            word[1..=three.len()].copy_from_slice(three);
            let word = u32::from_be_bytes(word);
            for place in 0..4 {
                let digit = DIGITS[(word >> (18 - 6 * place)) as usize & 63];
                text.push(if place > three.len() {
                    '='
                } else {
                    digit.into()
                });
            }
        }
        text
    }

    #[test]
    fn the_policy_is_of_this_style_and_this_script() {
        for (what, content) in [("style-src", STYLE), ("script-src", SCRIPT)] {
            let hash = base64(&Sha256::digest(content));
            let expected = format!("{what} 'sha256-{hash}';");
            assert!(POLICY.contains(&expected), "expected {expected}");
            let is_inline = ["</style", "</script", "<!--"].map(|end| content.contains(end));
            assert_eq!(is_inline, [false; 3], "{what}: the page would end it early");
        }
    }

    #[test]
    fn every_place_in_the_page_is_known() {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::open(root.path(), &crate::site::Symlinks::default());
        let disk = Arc::new(disk.unwrap());
        let view = View {
            form: Form::Html,
            by: Key::Time,
            descending: true,
        };
        let listings = Listings::default();
        let mut listing = listings.begin(disk.clone(), disk.folder(b"").unwrap(), b"a/<b>", view);
        let mut page = Vec::new();
        while step(&mut listing, &disk, |_| true, &mut page).unwrap() {}
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("<h1><a href=\"../../\">/</a><a href=\"../\">a/</a>&lt;b&gt;/</h1>"));
        assert!(page.contains("<title>Index of /a/&lt;b&gt;/</title>"));
        assert!(page.contains("aria-sort=\"descending\"><a href=\"?sort=time&amp;order=asc\""));
        assert!(page.contains(">0 folders, 0 files</p>") && page.ends_with("</script>\n</html>\n"));
    }

    #[test]
    fn many_at_once_have_short_runs() {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::open(root.path(), &crate::site::Symlinks::default());
        let disk = Arc::new(disk.unwrap());
        let view = View {
            form: Form::Text,
            by: Key::Name,
            descending: false,
        };
        let listings = Listings::default();
        let begin = || listings.begin(disk.clone(), disk.folder(b"").unwrap(), b"", view);
        let mut all: Vec<Listing> = (0..FEW).map(|_| begin()).collect();
        assert_eq!(all[0].most(), RUN);
        all.push(begin());
        assert_eq!(all[0].most(), SHORT_RUN);
        all.pop();
        assert_eq!(all[0].most(), RUN);
    }
}
