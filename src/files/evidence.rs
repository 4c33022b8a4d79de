//! `Evidence`: the state of files that a lookup rests on.

use super::entry::FileSource;
use super::error::is_not_found;
use super::root::Root;

/// State of files that a lookup rests on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Paths at which there is no file.
    pub(crate) absent: Vec<Vec<u8>>,
    /// Paths of files, with their versions.
    pub(crate) present: Vec<(Vec<u8>, FileSource)>,
}

impl Evidence {
    /// Returns whether all files below this root are still in this state.
    pub(crate) fn is_unchanged(&self, root: &Root) -> bool {
        let is_absent = |path: &Vec<u8>| match root.file_version(path) {
            Ok(version) => version.is_none(),
            Err(error) => is_not_found(&error),
        };
        // One system call for the common case.
        let is_absent = |path: &Vec<u8>| root.is_missing(path) || is_absent(path);
        let is_present = |(path, source): &(Vec<u8>, FileSource)| {
            let version = root.file_version(path);
            matches!(version, Ok(Some(version)) if version == source.version)
        };
        self.absent.iter().all(is_absent) && self.present.iter().all(is_present)
    }
}
