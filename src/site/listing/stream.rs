//! Directory listings, generated while they are sent.
//!
//! The directory is read, sorted and sent in runs of bounded length, each in steps of bounded work:
//!
//! ```text
//!    Head ------> Read <------> Rows ----> Done
//!    top of       names, until  rows of    foot of
//!    the page     a run is full the run    the page
//!                 or at the end
//! ```
//!
//! A directory with fewer entries than a run is sorted as a whole; of a larger one, each run is sorted. Only one run is
//! held in memory, however large the directory is.

use std::cmp::{Ordering, Reverse};
use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use super::natural;
use super::row::ListingRow;
use crate::blob::Blob;
use crate::escape::HtmlText;
use crate::files::entry::{EntryMetadata, OpenDir};
use crate::files::root::Root;
use crate::http::{
    ListingFormat, ListingRepresentations, ListingView, Lookup, Representation, SortKey,
};

/// Maximum length of a run.
const MAX_RUN: RunLength = RunLength {
    entries: 10_000,
    name_bytes: 512 * 1024,
};

/// Maximum length of a run while many listings are in progress, so that the memory for all of them stays small, too.
const MAX_SHORT_RUN: RunLength = RunLength {
    entries: 500,
    name_bytes: 32 * 1024,
};

/// Number of listings in progress above which runs are short.
const MAX_LISTINGS_WITH_LONG_RUNS: usize = 16;

/// Maximum number of rows written in one step. Each may need a system call.
const MAX_ENTRIES_PER_STEP: usize = 256;

/// Rows in a `tbody`, which the browser does not render while it is out of view. The style sheet sets its height, and
/// the script makes its own groups.
const ROWS_PER_GROUP: u64 = 500;

/// Maximum number of bytes written in one step, except for the last row.
const MAX_BYTES_PER_STEP: usize = 32 * 1024;

/// Page template, with placeholders in double braces.
const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Row with the link to the parent directory.
const PARENT_ROW: &[u8] = b"<tbody><tr><td><a href=\"../\">../</a><td><td>\n";

/// Note on a directory of more than one run. The script sorts all rows and removes the note.
const LARGE_DIR_NOTE: &[u8] =
    b"<p id=\"note\">This folder is large: it is in order in parts, not as a whole.</p>\n";

/// Content-Security-Policy that allows the page its own style sheet and script, by their hashes.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; img-src 'self'; \
    style-src 'sha256-PKYlYzCH0dXamfaj0jxk2sghGppDVe/1m2mYVZF9XRM='; \
    script-src 'sha256-fW5q3sbOjhx+YhNVUZ5zASNk8IrHb3tdQECgvzf/3VA='; \
    base-uri 'none'; form-action 'none'";

/// State that all listings of a site share.
#[derive(Debug)]
pub(crate) struct Listings {
    formats: Arc<ListingRepresentations>,
    /// Reference count of the listings in progress.
    active: Arc<()>,
}

/// Directory listing in progress.
#[derive(Debug)]
pub struct Listing {
    /// Root that contains the directory, even if another root is served by now.
    root: Arc<Root>,
    dir: OpenDir,
    path: Vec<u8>,
    view: ListingView,
    stage: ListingStage,
    run: EntryRun,
    /// Numbers of directories and of files that have been written.
    dir_count: u64,
    file_count: u64,
    /// Whether there was more than one run.
    has_many_runs: bool,
    active: Arc<()>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ListingStage {
    Head,
    Read,
    /// Writes these entries of the run, then reads the next run unless this is the last.
    Rows {
        remaining: Range<usize>,
        is_last: bool,
    },
    Done,
}

/// Length of a run: its entries, and the bytes of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RunLength {
    entries: usize,
    name_bytes: usize,
}

/// Entries that are sorted together, and their concatenated names.
#[derive(Debug, Default)]
struct EntryRun {
    names: Vec<u8>,
    entries: Vec<ListedEntry>,
}

#[derive(Clone, Copy, Debug)]
struct ListedEntry {
    /// Offset of its name.
    start: u32,
    /// Length of its name in bytes. No file system allows more than 255.
    len: u16,
    is_dir: bool,
    /// Metadata, if it was needed before the row is written.
    metadata: Option<EntryMetadata>,
}

impl Default for Listings {
    fn default() -> Self {
        let build = |media_type: &str| {
            // A listing has no validators, and is cheap to generate again.
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
    /// Returns the lookup of a target that is listed.
    pub(crate) fn lookup(&self) -> Lookup {
        Lookup::Listing(self.formats.clone())
    }

    /// Starts the listing of an open directory, at this path below the root.
    pub(crate) fn start(
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
            dir_count: 0,
            file_count: 0,
            has_many_runs: false,
            active: self.active.clone(),
        }
    }
}

impl Listing {
    /// Returns the directory's path below the root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Returns the current maximum length of a run.
    fn max_run(&self) -> RunLength {
        // One reference is the site's own.
        match Arc::strong_count(&self.active) - 1 {
            ..=MAX_LISTINGS_WITH_LONG_RUNS => MAX_RUN,
            _ => MAX_SHORT_RUN,
        }
    }
}

/// Takes one step, and appends its output. Returns whether more follows. `is_shown`: whether a path below the root
/// is listed.
///
/// # Errors
/// Fails if the directory can no longer be read.
pub(crate) fn step(
    listing: &mut Listing,
    is_shown: impl Fn(&[u8]) -> bool,
    into: &mut Vec<u8>,
) -> io::Result<bool> {
    listing.stage = match listing.stage.clone() {
        ListingStage::Head => {
            write_head(listing, into);
            ListingStage::Read
        }
        ListingStage::Read => read_entries(listing, is_shown)?,
        ListingStage::Rows { remaining, is_last } => {
            let rest = write_rows(listing, remaining, into);
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
        // Free the memory of the last run.
        listing.run = EntryRun::default();
        write_foot(listing, into);
    }
    Ok(listing.stage != ListingStage::Done)
}

/// Reads some entries, and sorts them into the run. Rows are next if the run is full or these were the last entries.
fn read_entries(
    listing: &mut Listing,
    is_shown: impl Fn(&[u8]) -> bool,
) -> io::Result<ListingStage> {
    let max = listing.max_run();
    let Listing {
        root,
        dir,
        view,
        run,
        ..
    } = listing;
    let mut names = Vec::new();
    let has_any =
        dir.read_entries(|name, is_directory| names.push((run.push_name(name), is_directory)))?;
    let start_len = run.entries.len();
    for ((start, len), is_directory) in names {
        let name = run.name(start, len);
        if !is_shown(&dir.child_path(name)) {
            continue;
        }
        // Metadata by which entries are sorted is read now; other metadata when the row is written.
        let metadata = match view.sort_key {
            SortKey::Name if is_directory.is_some() => None,
            _ => root.metadata(dir, name).ok().flatten(),
        };
        let is_directory = metadata.map(|metadata| metadata.is_dir).or(is_directory);
        if let Some(is_directory) = is_directory {
            run.entries.push(ListedEntry {
                start,
                len,
                is_dir: is_directory,
                metadata,
            });
        }
    }
    let is_full = run.entries.len() >= max.entries || run.names.len() >= max.name_bytes;
    // Each step sorts its own entries, so that the last one only has to merge them.
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

/// Writes some rows of the run, and returns the remaining entries.
fn write_rows(listing: &mut Listing, remaining: Range<usize>, into: &mut Vec<u8>) -> Range<usize> {
    let Listing {
        root,
        dir,
        view,
        run,
        dir_count,
        file_count,
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
        let metadata = match entry.metadata {
            None => root.metadata(dir, name),
            metadata => Ok(metadata),
        };
        let metadata = match metadata {
            Ok(Some(metadata)) => Some(metadata),
            // The entry was removed or replaced since the directory was read.
            Ok(None) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // A directory can be readable without search permission for its entries.
            Err(_) => None,
        };
        let is_directory = metadata.map_or(entry.is_dir, |metadata| metadata.is_dir);
        let row = ListingRow {
            name,
            is_dir: is_directory,
            len: metadata
                .filter(|_| !is_directory)
                .map(|metadata| metadata.len),
            modified: metadata.map(|metadata| metadata.modified),
        };
        let before = *dir_count + *file_count;
        if view.format == ListingFormat::Html && before > 0 && before.is_multiple_of(ROWS_PER_GROUP)
        {
            into.extend_from_slice(b"\n<tbody class=\"rows\">");
        }
        row.write(view.format, before == 0, into);
        match is_directory {
            true => *dir_count += 1,
            false => *file_count += 1,
        }
    }
    next..remaining.end
}

impl EntryRun {
    /// Appends a name, and returns its offset and length.
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

    /// Sorts the entries from index `from` on, directories first.
    fn sort(&mut self, from: usize, view: ListingView) {
        let Self { names, entries } = self;
        let name = |entry: &ListedEntry| {
            let start = entry.start as usize;
            &names[start..start + usize::from(entry.len)]
        };
        let len = |entry: &ListedEntry| entry.metadata.map(|metadata| metadata.len);
        let time = |entry: &ListedEntry| entry.metadata.map(|metadata| metadata.modified);
        let compare = |a: &ListedEntry, b: &ListedEntry| {
            let by_name = natural::compare(name(a), name(b));
            let order = match view.sort_key {
                SortKey::Name => by_name,
                // The size of a directory means nothing.
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
        // The stable sort is fast on runs that are sorted already.
        entries[from..].sort_by(|a, b| {
            let dirs_first = Reverse(a.is_dir).cmp(&Reverse(b.is_dir));
            dirs_first.then_with(|| compare(a, b))
        });
    }
}

/// Writes the text before the rows.
fn write_head(listing: &Listing, into: &mut Vec<u8>) {
    match listing.view.format {
        ListingFormat::Html => write_part(listing, page_halves().0, into),
        ListingFormat::Json => into.push(b'['),
        ListingFormat::Text => {}
    }
}

/// Writes the text after the rows.
fn write_foot(listing: &Listing, into: &mut Vec<u8>) {
    match listing.view.format {
        ListingFormat::Html => write_part(listing, page_halves().1, into),
        ListingFormat::Json => into.extend_from_slice(b"\n]\n"),
        ListingFormat::Text => {}
    }
}

/// Returns the page template before and after the rows.
fn page_halves() -> (&'static str, &'static str) {
    PAGE.split_once("{{rows}}")
        .expect("the page has a place for them")
}

/// Appends a part of the page template, with its placeholders filled.
fn write_part(listing: &Listing, part: &str, into: &mut Vec<u8>) {
    let mut words = part.split("{{");
    into.extend_from_slice(words.next().unwrap_or_default().as_bytes());
    for word in words {
        let (index, text) = word.split_once("}}").expect("the page closes its braces");
        match index {
            "style" => into.extend_from_slice(STYLE.as_bytes()),
            "script" => into.extend_from_slice(SCRIPT.as_bytes()),
            "title" => {
                let _ = write!(into, "{}", HtmlText(&listing.path));
                into.extend_from_slice(if listing.path.is_empty() { b"" } else { b"/" });
            }
            "path" => write_breadcrumbs(&listing.path, into),
            "heads" => write_column_heads(listing.view, into),
            "parent" if listing.path.is_empty() => {}
            "parent" => into.extend_from_slice(PARENT_ROW),
            "count" => {
                let (dirs, files) = (listing.dir_count, listing.file_count);
                let plural = |count| if count == 1 { "" } else { "s" };
                let text = format!(
                    "{dirs} folder{}, {files} file{}",
                    plural(dirs),
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

/// Writes the directories from the root to this one, all but the last as links.
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
        let _ = write!(into, "{}", HtmlText(name));
        into.extend_from_slice(if levels_up > 0 { b"/</a>" } else { b"/" });
    }
}

/// Writes the column heads, each with a link to the listing in that order.
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
        // The first click shows the largest or the latest first; the next one reverses.
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

    /// Encodes bytes in Base64 (RFC 4648 section 4).
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
    fn many_concurrent_listings_use_short_runs() {
        let root = Root::open("/".as_ref(), &crate::files::Symlinks::default());
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
