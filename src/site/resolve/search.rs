//! The search for the file that a path names: itself, its index file or its `.html` file, with its sidecars.

use std::io;

use rustix::io::Errno;

use crate::blob::Blob;
use crate::files::entry::{FileSource, join_path};
use crate::files::error::is_not_found;
use crate::files::evidence::Evidence;
use crate::files::read::OpenedEntry;
use crate::files::root::Root;
use crate::files::symlinks::Symlink;
use crate::http::{Coding, Lookup};
use crate::site::context::LookupContext;
use crate::site::encoding::proofs::SidecarPair;
use crate::site::encoding::sidecars::{self, UNREADABLE};
use crate::site::report::absence::Absence;
use crate::site::report::trace::{ProbeResult, TraceEvent};

/// Suffix that clean URLs leave out.
const HTML_SUFFIX: &[u8] = b".html";

/// Search for a file, with the evidence that it gathers.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    context: LookupContext<'a>,
    /// Paths at which no file was found, though one there would have been served.
    missing: Vec<Vec<u8>>,
}

/// Outcome of a search.
#[derive(Debug)]
pub(crate) enum SearchOutcome {
    File(Box<FoundFile>),
    /// Directory, under a path without a trailing slash.
    Directory,
    Missing,
}

/// File that was found, and its sidecars.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) file: SiteFile,
    /// Symbolic links on its path, if there is a trace to name them.
    pub(crate) symlinks: Vec<Symlink>,
    pub(crate) sidecars: Vec<(Coding, SiteFile)>,
    /// Sidecars that are not served, each with the reason.
    pub(crate) rejected: Vec<(Vec<u8>, &'static str)>,
    /// Evidence on which this result rests; `None` if it is not kept beyond the turn, as while a sidecar is not proved.
    pub(crate) evidence: Option<Evidence>,
}

/// Regular file and its path below the root.
#[derive(Debug)]
pub(crate) struct SiteFile {
    pub(crate) path: Vec<u8>,
    pub(crate) content: Blob,
    pub(crate) source: FileSource,
}

/// Path that could not be looked up, and the error.
#[derive(Debug)]
pub(crate) struct LookupError {
    pub(crate) path: Vec<u8>,
    pub(crate) error: io::Error,
}

impl LookupError {
    /// Returns the lookup of the path.
    pub(crate) fn lookup(&self) -> Lookup {
        match Errno::from_io_error(&self.error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::XDEV) => Lookup::Forbidden,
            _ => Lookup::Unavailable,
        }
    }

    /// Returns the reason, if it is a known one.
    pub(crate) fn absence(&self) -> Option<Absence> {
        match Errno::from_io_error(&self.error)? {
            Errno::XDEV => Some(Absence::OutsideRoot),
            Errno::ACCESS | Errno::PERM => Some(Absence::Unreadable),
            Errno::MFILE | Errno::NFILE => Some(Absence::TooManyFiles),
            _ => None,
        }
    }
}

impl<'a> Search<'a> {
    /// Creates a search below the root of this context.
    pub(crate) fn new(context: LookupContext<'a>) -> Self {
        let missing = Vec::new();
        Self { context, missing }
    }

    /// Finds what a path without a trailing slash names: a file or a directory.
    pub(crate) fn find_name(mut self, path: &[u8]) -> Result<SearchOutcome, LookupError> {
        let is_directory = match self.open(path)? {
            Some(OpenedEntry::File { content, source }) => {
                return self.with_sidecars(path.to_vec(), content, source);
            }
            Some(OpenedEntry::Directory) => true,
            Some(OpenedEntry::Special) | None => false,
        };
        let outcome = match is_directory {
            true => SearchOutcome::Directory,
            false => SearchOutcome::Missing,
        };
        if !self.context.options.has_clean_urls || path.is_empty() {
            return Ok(outcome);
        }
        self.missing.push(path.to_vec());
        let clean = [path, HTML_SUFFIX].concat();
        if self.context.root.is_missing(&clean) {
            self.context
                .record(|| TraceEvent::Probed(clean, ProbeResult::Missing));
            return Ok(outcome);
        }
        let Some(OpenedEntry::File { content, source }) = self.open(&clean)? else {
            return Ok(outcome);
        };
        // A directory with an index file takes precedence, as its links are relative to it.
        for index in &self.context.options.index {
            let index = join_path(path, index.as_bytes());
            if let Some(OpenedEntry::File { .. }) = self.open(&index)? {
                return Ok(outcome);
            }
            self.missing.push(index);
        }
        self.context.record(|| TraceEvent::CleanUrl(clean.clone()));
        self.with_sidecars(clean, content, source)
    }

    /// Finds the index file of a directory.
    pub(crate) fn find_index(mut self, path: &[u8]) -> Result<SearchOutcome, LookupError> {
        for index in &self.context.options.index {
            let path = join_path(path, index.as_bytes());
            if let Some(OpenedEntry::File { content, source }) = self.open(&path)? {
                self.context.record(|| TraceEvent::IndexFile(path.clone()));
                return self.with_sidecars(path, content, source);
            }
            self.missing.push(path);
        }
        Ok(SearchOutcome::Missing)
    }

    /// Finds the file at exactly this path.
    pub(crate) fn find_file(self, path: &[u8]) -> Result<SearchOutcome, LookupError> {
        match self.open(path)? {
            Some(OpenedEntry::File { content, source }) => {
                self.with_sidecars(path.to_vec(), content, source)
            }
            Some(OpenedEntry::Directory | OpenedEntry::Special) | None => {
                Ok(SearchOutcome::Missing)
            }
        }
    }

    /// Finds the sidecars of a file.
    fn with_sidecars(
        mut self,
        path: Vec<u8>,
        content: Blob,
        source: FileSource,
    ) -> Result<SearchOutcome, LookupError> {
        let symlinks = match &self.context.shared.trace {
            Some(_) if !source.has_no_symlink => self.context.root.symlinks_on(&path),
            _ => Vec::new(),
        };
        let mut found = FoundFile {
            symlinks,
            file: SiteFile {
                path,
                content,
                source,
            },
            sidecars: Vec::new(),
            rejected: Vec::new(),
            evidence: None,
        };
        let LookupContext {
            policy,
            options,
            shared,
            now,
            ..
        } = self.context;
        let codings = match options.has_sidecars {
            true => sidecars::sidecar_codings(&policy.media_types, &found.file.path),
            false => &[],
        };
        let mut present = vec![(found.file.path.clone(), source)];
        let mut is_proved = true;
        for &coding in codings {
            let path = [&found.file.path, coding.suffix().as_bytes()].concat();
            // Most files have none, which one system call shows.
            let opened = match self.context.root.is_missing(&path) {
                true => {
                    self.context
                        .record(|| TraceEvent::Probed(path.clone(), ProbeResult::Missing));
                    Ok(None)
                }
                false => self.open(&path),
            };
            let Ok(Some(OpenedEntry::File { content, source })) = opened else {
                if opened.is_err() {
                    self.context
                        .record(|| TraceEvent::Sidecar(path.clone(), coding, Err(UNREADABLE)));
                    found.rejected.push((path.clone(), UNREADABLE));
                }
                self.missing.push(path);
                continue;
            };
            present.push((path.clone(), source));
            let file = &found.file.source;
            let mut rejection = sidecars::reject_reason(coding, file, &source, &content);
            if rejection.is_none() {
                let pair = SidecarPair {
                    coding,
                    path: &path,
                    file: (&found.file.content, &file.version),
                    sidecar: (&content, &source.version),
                };
                match shared.sidecar_proofs.result(&pair, now) {
                    Some(result) => rejection = result.err(),
                    None => is_proved = false,
                }
            }
            self.context.record(|| {
                let taken = rejection.map_or(Ok(content.len()), Err);
                TraceEvent::Sidecar(path.clone(), coding, taken)
            });
            match rejection {
                Some(why) => found.rejected.push((path, why)),
                None => {
                    let file = SiteFile {
                        path,
                        content,
                        source,
                    };
                    found.sidecars.push((coding, file));
                }
            }
        }
        found.evidence = is_proved.then_some(Evidence {
            absent: self.missing,
            present,
        });
        Ok(SearchOutcome::File(Box::new(found)))
    }

    /// Opens a path and records the result; `None` if there is no such entry.
    fn open(&self, path: &[u8]) -> Result<Option<OpenedEntry>, LookupError> {
        let opened = self.context.root.open_entry(path, self.context.now);
        self.context.record(|| {
            TraceEvent::Probed(path.to_vec(), probe_of(self.context.root, path, &opened))
        });
        match opened {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(LookupError {
                path: path.to_vec(),
                error,
            }),
        }
    }
}

/// Returns the result of opening a path, for a trace.
pub(crate) fn probe_of(root: &Root, path: &[u8], opened: &io::Result<OpenedEntry>) -> ProbeResult {
    match opened {
        Ok(OpenedEntry::File { .. }) => ProbeResult::File,
        Ok(OpenedEntry::Directory) => ProbeResult::Directory,
        Ok(OpenedEntry::Special) => ProbeResult::Special,
        Err(error) if is_not_found(error) => ProbeResult::Missing,
        Err(error) if Errno::from_io_error(error) == Some(Errno::XDEV) => {
            ProbeResult::OutsideRoot(root.offending_link(path))
        }
        Err(error) => ProbeResult::Failed(error.to_string()),
    }
}
