//! Which file a path means, of all that it may mean, and what stands beside it.

use std::io;
use std::time::SystemTime;

use rustix::io::Errno;

use super::cache::Evidence;
use super::disk::{Disk, Entry, Source, join};
use super::media::Types;
use super::note::{Note, Seen, Trail};
use super::variants::{self, UNREADABLE};
use crate::blob::Blob;
use crate::http::Coding;

/// The folder that may be asked for although its name begins with a dot (RFC 8615).
pub(super) const WELL_KNOWN: &[u8] = b".well-known";

/// What clean addresses leave out.
const CLEAN: &[u8] = b".html";

/// A search, and what it has seen.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) disk: &'a Disk,
    /// What a folder shows: the first of these that is there.
    pub(super) index: &'a [String],
    /// Whether an address may leave out the `.html` of its file.
    pub(super) is_clean: bool,
    /// The types of files, if what stands beside one may be that, with a coding.
    pub(super) types: Option<&'a Types>,
    pub(super) now: SystemTime,
    /// Where nothing was that could have been.
    pub(super) absent: Vec<Vec<u8>>,
    /// Who is told of all that is looked at, if somebody asks why.
    pub(super) trail: Option<&'a Trail>,
}

/// What a search ends with.
#[derive(Debug)]
pub(super) enum Outcome {
    File(Box<Finding>),
    /// A folder, under a name that does not say so.
    Folder,
    Nothing,
}

/// A file, and what stands beside it.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) file: File,
    pub(super) siblings: Vec<(Coding, File)>,
    /// What stands beside it, too, and is not taken for it, and why.
    pub(super) refused: Vec<(Vec<u8>, &'static str)>,
    /// What all that rests on.
    pub(super) evidence: Evidence,
}

/// A regular file, and where it is.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: Vec<u8>,
    pub(super) content: Blob,
    pub(super) source: Source,
}

/// What could not be looked up, and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) path: Vec<u8>,
    pub(super) error: io::Error,
}

impl<'a> Search<'a> {
    pub(super) fn new(disk: &'a Disk, index: &'a [String], now: SystemTime) -> Self {
        Self {
            disk,
            index,
            is_clean: false,
            types: None,
            now,
            absent: Vec::new(),
            trail: None,
        }
    }

    /// What is under a path that names a file, or a folder without saying so.
    pub(super) fn name(mut self, path: &[u8]) -> Result<Outcome, Failure> {
        let is_folder = match self.look(path)? {
            Some(Entry::File { content, source }) => {
                return self.found(path.to_vec(), content, source);
            }
            Some(Entry::Directory) => true,
            Some(Entry::Special) | None => false,
        };
        let nothing = match is_folder {
            true => Outcome::Folder,
            false => Outcome::Nothing,
        };
        if !self.is_clean || path.is_empty() {
            return Ok(nothing);
        }
        self.absent.push(path.to_vec());
        let clean = [path, CLEAN].concat();
        if self.disk.is_absent(&clean) {
            self.note(|| Note::Looked(clean, Seen::Nothing));
            return Ok(nothing);
        }
        let Some(Entry::File { content, source }) = self.look(&clean)? else {
            return Ok(nothing);
        };
        // A folder that has something to show is meant itself, as it is in its links.
        for index in self.index {
            let index = join(path, index.as_bytes());
            if let Some(Entry::File { .. }) = self.look(&index)? {
                return Ok(nothing);
            }
            self.absent.push(index);
        }
        self.found(clean, content, source)
    }

    /// What the folder under a path shows.
    pub(super) fn folder(mut self, path: &[u8]) -> Result<Outcome, Failure> {
        for index in self.index {
            let path = join(path, index.as_bytes());
            if let Some(Entry::File { content, source }) = self.look(&path)? {
                return self.found(path, content, source);
            }
            self.absent.push(path);
        }
        Ok(Outcome::Nothing)
    }

    /// What is under exactly this path.
    pub(super) fn file(self, path: &[u8]) -> Result<Outcome, Failure> {
        match self.look(path)? {
            Some(Entry::File { content, source }) => self.found(path.to_vec(), content, source),
            Some(Entry::Directory | Entry::Special) | None => Ok(Outcome::Nothing),
        }
    }

    /// A file, with what stands beside it.
    fn found(mut self, path: Vec<u8>, content: Blob, source: Source) -> Result<Outcome, Failure> {
        let mut finding = Finding {
            file: File {
                path,
                content,
                source,
            },
            siblings: Vec::new(),
            refused: Vec::new(),
            evidence: Evidence::default(),
        };
        let codings = match self.types {
            Some(types) => variants::codings(types, &finding.file.path),
            None => &[],
        };
        let mut present = vec![(finding.file.path.clone(), source)];
        for &coding in codings {
            let path = [&finding.file.path, coding.suffix().as_bytes()].concat();
            // Most have none, which takes one call to see.
            let looked = match self.disk.is_absent(&path) {
                true => {
                    self.note(|| Note::Looked(path.clone(), Seen::Nothing));
                    Ok(None)
                }
                false => self.look(&path),
            };
            let Ok(Some(Entry::File { content, source })) = looked else {
                if looked.is_err() {
                    self.note(|| Note::Beside(path.clone(), coding, Err(UNREADABLE)));
                    finding.refused.push((path.clone(), UNREADABLE));
                }
                self.absent.push(path);
                continue;
            };
            present.push((path.clone(), source));
            let file = &finding.file.source;
            let objection = variants::objection(coding, file, &source, &content);
            self.note(|| {
                let taken = objection.map_or(Ok(content.len()), Err);
                Note::Beside(path.clone(), coding, taken)
            });
            match objection {
                Some(why) => finding.refused.push((path, why)),
                None => {
                    let file = File {
                        path,
                        content,
                        source,
                    };
                    finding.siblings.push((coding, file));
                }
            }
        }
        finding.evidence = Evidence {
            absent: self.absent,
            present,
        };
        Ok(Outcome::File(Box::new(finding)))
    }

    fn note(&self, note: impl FnOnce() -> Note) {
        if let Some(trail) = self.trail {
            trail.add(note());
        }
    }

    /// What is under a path; `None` if nothing is.
    fn look(&self, path: &[u8]) -> Result<Option<Entry>, Failure> {
        let looked = self.disk.look(path, self.now);
        self.note(|| Note::Looked(path.to_vec(), seen(self.disk, path, &looked)));
        match looked {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(Failure {
                path: path.to_vec(),
                error,
            }),
        }
    }
}

/// What a look has shown, in the words of a note.
pub(super) fn seen(disk: &Disk, path: &[u8], looked: &io::Result<Entry>) -> Seen {
    match looked {
        Ok(Entry::File { .. }) => Seen::File,
        Ok(Entry::Directory) => Seen::Folder,
        Ok(Entry::Special) => Seen::Special,
        Err(error) if is_absence(error) => Seen::Nothing,
        Err(error) if Errno::from_io_error(error) == Some(Errno::XDEV) => {
            Seen::Refused(disk.culprit(path))
        }
        Err(error) => Seen::Failed(error.to_string()),
    }
}

/// Whether a path below the root is not shown because a name in it begins with a dot, other than a leading
/// `.well-known`.
#[must_use]
pub fn is_hidden(path: &[u8]) -> bool {
    let mut names = path.split(|&byte| byte == b'/').enumerate();
    names.any(|(place, name)| name.starts_with(b".") && !(place == 0 && name == WELL_KNOWN))
}

/// Whether an error says that nothing is there. A name that nothing could have is a name that nothing has.
/// Sockets and some devices cannot be opened.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NOENT
                | Errno::NOTDIR
                | Errno::NAMETOOLONG
                | Errno::LOOP
                | Errno::INVAL
                | Errno::NXIO
                | Errno::NODEV,
        )
    )
}
