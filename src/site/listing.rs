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

use self::row::{ListingRow, write_escaped};
use super::root::{EntryMetadata, OpenDir, Root};
use crate::blob::Blob;
use crate::http::{
    ListingFormat, ListingRepresentations, ListingView, Lookup, Representation, SortKey,
};

/// Entries, and bytes of their names, of a run.
const MAX_RUN: (usize, usize) = (10_000, 512 * 1024);

/// The same where many listings are under way at once, so that what all of them hold stays small, too.
const MAX_SHORT_RUN: (usize, usize) = (500, 32 * 1024);

/// How many listings may be under way before runs are short.
const MAX_LISTINGS_WITH_LONG_RUNS: usize = 16;

/// Entries shown in one step. Each may have to be looked at.
const MAX_ENTRIES_PER_STEP: usize = 256;

/// Rows that the page holds together, for the browser to leave aside while they are not to be seen. The style knows
/// how high they are, and the script makes its own.
const ROWS_PER_GROUP: u64 = 500;

/// Bytes shown in one step, but for the last row.
const MAX_BYTES_PER_STEP: usize = 32 * 1024;

/// The page, in which words in double braces stand for what is put there.
const PAGE: &str = include_str!("listing/page.html");
const STYLE: &str = include_str!("listing/style.css");
const SCRIPT: &str = include_str!("listing/script.js");

/// The row that leads to the folder above.
const PARENT_ROW: &[u8] = b"<tbody><tr><td><a href=\"../\">../</a><td><td>\n";

/// What there is to know of a folder that was more than one run; the script sorts it, and takes this away.
const LARGE_DIR_NOTE: &[u8] =
    b"<p id=\"note\">This folder is large: it is in order in parts, not as a whole.</p>\n";

/// What the page may do: look as it does, and run its own script. The hashes are those of the two files.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; img-src 'self'; \
    style-src 'sha256-PKYlYzCH0dXamfaj0jxk2sghGppDVe/1m2mYVZF9XRM='; \
    script-src 'sha256-fW5q3sbOjhx+YhNVUZ5zASNk8IrHb3tdQECgvzf/3VA='; \
    base-uri 'none'; form-action 'none'";

/// What all listings of a site share.
#[derive(Debug)]
pub(super) struct Listings {
    formats: Arc<ListingRepresentations>,
    /// Held by each that is under way.
    active: Arc<()>,
}

/// A folder's listing, on its way.
#[derive(Debug)]
pub struct Listing {
    /// What the folder is on, even if that is not what is served any more.
    root: Arc<Root>,
    dir: OpenDir,
    path: Vec<u8>,
    view: ListingView,
    stage: ListingStage,
    run: EntryRun,
    /// Folders and files that have been shown.
    count: (u64, u64),
    /// Whether there was more than one run.
    has_many_runs: bool,
    active: Arc<()>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ListingStage {
    Head,
    Read,
    /// Showing these of the run's entries; then, if that was not the last run, gathering the next.
    Rows {
        remaining: Range<usize>,
        is_last: bool,
    },
    Done,
}

/// Entries, and their names one after the other.
#[derive(Debug, Default)]
struct EntryRun {
    names: Vec<u8>,
    entries: Vec<ListedEntry>,
}

#[derive(Clone, Copy, Debug)]
struct ListedEntry {
    /// Where its name begins.
    start: u32,
    /// Bytes of its name, of which no file system has more than 255.
    len: u16,
    is_dir: bool,
    /// Size and time, where they were needed before it is shown.
    metadata: Option<(u64, SystemTime)>,
}

impl Default for Listings {
    fn default() -> Self {
        let build = |media_type: &str| {
            // It has nothing to be recognised by, and is made anew in no time.
            Representation::new(Blob::Static(b""), media_type)
                .with_metadata_field("Vary", "Accept")
                .with_metadata_field("Cache-Control", "no-store")
        };
        let html = build("text/html; charset=utf-8")
            .with_content_field("Content-Security-Policy", CONTENT_SECURITY_POLICY);
        Self {
            formats: Arc::new(ListingRepresentations {
                html: Arc::new(html),
                json: Arc::new(build("application/json")),
                text: Arc::new(build("text/plain; charset=utf-8")),
            }),
            active: Arc::default(),
        }
    }
}

impl Listings {
    /// What there is under a target that is to be listed.
    pub(super) fn lookup(&self) -> Lookup {
        Lookup::Listing(self.formats.clone())
    }

    /// The listing of an open folder, under this path below the root.
    pub(super) fn start(
        &self,
        root: Arc<Root>,
        dir: OpenDir,
        path: &[u8],
        view: ListingView,
    ) -> Listing {
        Listing {
            root,
            dir,
            path: path.to_vec(),
            view,
            stage: ListingStage::Head,
            run: EntryRun::default(),
            count: (0, 0),
            has_many_runs: false,
            active: self.active.clone(),
        }
    }
}

impl Listing {
    /// What the folder is on.
    pub(super) fn root(&self) -> Arc<Root> {
        self.root.clone()
    }

    /// The folder's path below the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// How long a run may get now.
    fn max_run(&self) -> (usize, usize) {
        // One is the site's own.
        match Arc::strong_count(&self.active) - 1 {
            ..=MAX_LISTINGS_WITH_LONG_RUNS => MAX_RUN,
            _ => MAX_SHORT_RUN,
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
    root: &Root,
    is_shown: impl Fn(&[u8]) -> bool,
    into: &mut Vec<u8>,
) -> io::Result<bool> {
    listing.stage = match listing.stage.clone() {
        ListingStage::Head => {
            write_head(listing, into);
            ListingStage::Read
        }
        ListingStage::Read => read_entries(listing, root, is_shown)?,
        ListingStage::Rows { remaining, is_last } => {
            let rest = write_rows(listing, root, remaining, into);
            match rest.is_empty() {
                false => ListingStage::Rows {
                    remaining: rest,
                    is_last,
                },
                true if is_last => ListingStage::Done,
                true => {
                    listing.has_many_runs = true;
                    listing.run.names.clear();
                    listing.run.entries.clear();
                    ListingStage::Read
                }
            }
        }
        ListingStage::Done => ListingStage::Done,
    };
    if listing.stage == ListingStage::Done {
        // It has nothing to hold any more.
        listing.run = EntryRun::default();
        write_foot(listing, into);
    }
    Ok(listing.stage != ListingStage::Done)
}

/// Reads some entries. If that was enough of them, or the last, the run is put in order.
fn read_entries(
    listing: &mut Listing,
    root: &Root,
    is_shown: impl Fn(&[u8]) -> bool,
) -> io::Result<ListingStage> {
    let (entries, bytes) = listing.max_run();
    let Listing { dir, view, run, .. } = listing;
    let mut names = Vec::new();
    let has_any =
        dir.read_entries(|name, is_folder| names.push((run.push_name(name), is_folder)))?;
    let start_len = run.entries.len();
    for ((start, len), is_folder) in names {
        let name = run.name(start, len);
        if !is_shown(&dir.child_path(name)) {
            continue;
        }
        // What it is in order of is looked at now; what is only shown, when it is shown.
        let metadata = match view.sort_key {
            SortKey::Name if is_folder.is_some() => None,
            _ => root.metadata(dir, name).ok().flatten(),
        };
        let is_folder = metadata.map(|metadata| metadata.is_dir).or(is_folder);
        if let Some(is_folder) = is_folder {
            run.entries.push(ListedEntry {
                start,
                len,
                is_dir: is_folder,
                metadata: metadata.map(|metadata| (metadata.len, metadata.modified)),
            });
        }
    }
    let is_full = run.entries.len() >= entries || run.names.len() >= bytes;
    // Each step puts its own in order, so that little is left to do at the end, when these are merged.
    let unsorted = if is_full || !has_any { 0 } else { start_len };
    run.sort(unsorted, *view);
    Ok(match is_full || !has_any {
        true => ListingStage::Rows {
            remaining: 0..run.entries.len(),
            is_last: !has_any,
        },
        false => ListingStage::Read,
    })
}

/// Shows some entries of the run. Which are left.
fn write_rows(
    listing: &mut Listing,
    root: &Root,
    remaining: Range<usize>,
    into: &mut Vec<u8>,
) -> Range<usize> {
    let Listing {
        dir,
        view,
        run,
        count,
        ..
    } = listing;
    let start_len = into.len();
    let mut next = remaining.start;
    while let Some(entry) = run.entries[next..remaining.end].first() {
        if next - remaining.start == MAX_ENTRIES_PER_STEP
            || into.len() - start_len >= MAX_BYTES_PER_STEP
        {
            break;
        }
        next += 1;
        let name = run.name(entry.start, entry.len);
        let metadata_of = |(len, modified)| EntryMetadata {
            is_dir: entry.is_dir,
            len,
            modified,
        };
        let metadata = match entry.metadata.map(metadata_of) {
            None => root.metadata(dir, name),
            metadata => Ok(metadata),
        };
        let metadata = match metadata {
            Ok(Some(metadata)) => Some(metadata),
            // It has gone, or something else has come, since the folder was read.
            Ok(None) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // A folder may be read without what is in it being ours to look at.
            Err(_) => None,
        };
        let is_folder = metadata.map_or(entry.is_dir, |metadata| metadata.is_dir);
        let row = ListingRow {
            name,
            is_dir: is_folder,
            len: metadata.filter(|_| !is_folder).map(|metadata| metadata.len),
            modified: metadata.map(|metadata| metadata.modified),
        };
        let before = count.0 + count.1;
        if view.format == ListingFormat::Html && before > 0 && before.is_multiple_of(ROWS_PER_GROUP)
        {
            into.extend_from_slice(b"\n<tbody class=\"rows\">");
        }
        row.write(view.format, before == 0, into);
        match is_folder {
            true => count.0 += 1,
            false => count.1 += 1,
        }
    }
    next..remaining.end
}

impl EntryRun {
    /// Keeps a name. Where it is.
    fn push_name(&mut self, name: &[u8]) -> (u32, u16) {
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
    fn sort(&mut self, from: usize, view: ListingView) {
        let Self { names, entries } = self;
        let name = |entry: &ListedEntry| {
            let start = entry.start as usize;
            &names[start..start + usize::from(entry.len)]
        };
        let len = |entry: &ListedEntry| entry.metadata.map(|(len, _)| len);
        let time = |entry: &ListedEntry| entry.metadata.map(|(_, time)| time);
        let compare = |a: &ListedEntry, b: &ListedEntry| {
            let by_name = natural::compare(name(a), name(b));
            let order = match view.sort_key {
                SortKey::Name => by_name,
                // Of folders the size says nothing.
                SortKey::Size if a.is_dir => Ordering::Equal,
                SortKey::Size => len(a).cmp(&len(b)),
                SortKey::Time => time(a).cmp(&time(b)),
            };
            let order = if view.is_descending {
                order.reverse()
            } else {
                order
            };
            order.then(by_name)
        };
        // Stable, because it makes use of what is in order already.
        entries[from..].sort_by(|a, b| {
            let folders_first = Reverse(a.is_dir).cmp(&Reverse(b.is_dir));
            folders_first.then_with(|| compare(a, b))
        });
    }
}

/// What comes before the entries.
fn write_head(listing: &Listing, into: &mut Vec<u8>) {
    match listing.view.format {
        ListingFormat::Html => write_part(listing, page_halves().0, into),
        ListingFormat::Json => into.push(b'['),
        ListingFormat::Text => {}
    }
}

/// What comes after them.
fn write_foot(listing: &Listing, into: &mut Vec<u8>) {
    match listing.view.format {
        ListingFormat::Html => write_part(listing, page_halves().1, into),
        ListingFormat::Json => into.extend_from_slice(b"\n]\n"),
        ListingFormat::Text => {}
    }
}

/// The page before its rows, and behind them.
fn page_halves() -> (&'static str, &'static str) {
    PAGE.split_once("{{rows}}")
        .expect("the page has a place for them")
}

/// Appends a part of the page, with everything put into its place.
fn write_part(listing: &Listing, part: &str, into: &mut Vec<u8>) {
    let mut words = part.split("{{");
    into.extend_from_slice(words.next().unwrap_or_default().as_bytes());
    for word in words {
        let (index, text) = word.split_once("}}").expect("the page closes its braces");
        match index {
            "style" => into.extend_from_slice(STYLE.as_bytes()),
            "script" => into.extend_from_slice(SCRIPT.as_bytes()),
            "title" => {
                write_escaped(&listing.path, into);
                into.extend_from_slice(if listing.path.is_empty() { b"" } else { b"/" });
            }
            "path" => write_breadcrumbs(&listing.path, into),
            "heads" => write_column_heads(listing.view, into),
            "parent" if listing.path.is_empty() => {}
            "parent" => into.extend_from_slice(PARENT_ROW),
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
            "note" if listing.has_many_runs => into.extend_from_slice(LARGE_DIR_NOTE),
            "note" => {}
            other => unreachable!("the page says {other}"),
        }
        into.extend_from_slice(text.as_bytes());
    }
}

/// Every folder on the way from the root to this one, each but the last with a link.
fn write_breadcrumbs(path: &[u8], into: &mut Vec<u8>) {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty());
    let names: Vec<&[u8]> = [&b""[..]].into_iter().chain(names).collect();
    for (index, name) in names.iter().enumerate() {
        let levels_up = names.len() - 1 - index;
        if levels_up > 0 {
            into.extend_from_slice(b"<a href=\"");
            into.extend_from_slice("../".repeat(levels_up).as_bytes());
            into.extend_from_slice(b"\">");
        }
        write_escaped(name, into);
        into.extend_from_slice(if levels_up > 0 { b"/</a>" } else { b"/" });
    }
}

/// The heads of the columns, each with a link to the listing in that order.
fn write_column_heads(view: ListingView, into: &mut Vec<u8>) {
    for (key, word) in SortKey::ALL {
        let title = match key {
            SortKey::Name => "Name",
            SortKey::Size => "Size",
            SortKey::Time => "Modified",
        };
        let sorted = match (view.sort_key == key, view.is_descending) {
            (true, false) => " aria-sort=\"ascending\"",
            (true, true) => " aria-sort=\"descending\"",
            (false, _) => "",
        };
        // First the largest, and the latest; then the other way around.
        let order = match (key, view.sort_key == key) {
            (_, true) if view.is_descending => "asc",
            (_, true) | (SortKey::Size | SortKey::Time, _) => "desc",
            (SortKey::Name, _) => "asc",
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
            for index in 0..4 {
                let digit = DIGITS[(word >> (18 - 6 * index)) as usize & 63];
                text.push(if index > three.len() {
                    '='
                } else {
                    digit.into()
                });
            }
        }
        text
    }

    #[test]
    fn content_security_policy_has_the_hashes_of_style_and_script() {
        for (directive, content) in [("style-src", STYLE), ("script-src", SCRIPT)] {
            let hash = base64(&Sha256::digest(content));
            let expected = format!("{directive} 'sha256-{hash}';");
            assert!(
                CONTENT_SECURITY_POLICY.contains(&expected),
                "expected {expected}"
            );
            let is_inline = ["</style", "</script", "<!--"].map(|end| content.contains(end));
            assert_eq!(
                is_inline, [false; 3],
                "{directive}: the page would end it early"
            );
        }
    }

    #[test]
    fn page_placeholders_are_all_filled() {
        let tempdir = tempfile::tempdir().unwrap();
        let root = Root::open(tempdir.path(), &crate::site::Symlinks::default());
        let root = Arc::new(root.unwrap());
        let view = ListingView {
            format: ListingFormat::Html,
            sort_key: SortKey::Time,
            is_descending: true,
        };
        let listings = Listings::default();
        let mut listing = listings.start(root.clone(), root.read_dir(b"").unwrap(), b"a/<b>", view);
        let mut page = Vec::new();
        while step(&mut listing, &root, |_| true, &mut page).unwrap() {}
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("<h1><a href=\"../../\">/</a><a href=\"../\">a/</a>&lt;b&gt;/</h1>"));
        assert!(page.contains("<title>Index of /a/&lt;b&gt;/</title>"));
        assert!(page.contains("aria-sort=\"descending\"><a href=\"?sort=time&amp;order=asc\""));
        assert!(page.contains(">0 folders, 0 files</p>") && page.ends_with("</script>\n</html>\n"));
    }

    #[test]
    fn many_concurrent_listings_use_short_runs() {
        let tempdir = tempfile::tempdir().unwrap();
        let root = Root::open(tempdir.path(), &crate::site::Symlinks::default());
        let root = Arc::new(root.unwrap());
        let view = ListingView {
            format: ListingFormat::Text,
            sort_key: SortKey::Name,
            is_descending: false,
        };
        let listings = Listings::default();
        let begin = || listings.start(root.clone(), root.read_dir(b"").unwrap(), b"", view);
        let mut all: Vec<Listing> = (0..MAX_LISTINGS_WITH_LONG_RUNS).map(|_| begin()).collect();
        assert_eq!(all[0].max_run(), MAX_RUN);
        all.push(begin());
        assert_eq!(all[0].max_run(), MAX_SHORT_RUN);
        all.pop();
        assert_eq!(all[0].max_run(), MAX_RUN);
    }
}
