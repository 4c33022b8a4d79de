//! Messages that are each logged once.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tracing::warn;

use crate::files::root::UnavailableDir;
use crate::sync::lock;

/// Maximum number of messages that are each logged once; further ones are not logged at all.
const MAX_LOGGED_ONCE: usize = 1000;

/// Messages that are logged once, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct LoggedOnce(Arc<Mutex<LoggedMessages>>);

#[derive(Debug, Default)]
struct LoggedMessages {
    /// Rejected sidecars, and rules that are left out.
    messages: HashSet<Vec<u8>>,
    /// Real paths last logged for the root and for the other directories that links may lead to, or the error.
    real_paths: HashMap<PathBuf, Result<PathBuf, String>>,
}

impl LoggedOnce {
    fn lock(&self) -> MutexGuard<'_, LoggedMessages> {
        lock(&self.0)
    }

    /// Returns whether to log this message now: it was not logged before, and there is room for it.
    pub(crate) fn insert(&self, key: &[u8]) -> bool {
        let messages = &mut self.lock().messages;
        messages.len() < MAX_LOGGED_ONCE && messages.insert(key.to_vec())
    }

    /// Logs that a sidecar is not used, by its path below the root, and the reason.
    pub(crate) fn warn_of_sidecar(&self, path: &[u8], why: &str) {
        if self.insert(path) {
            warn!("sidecar /{} is not used: {why}", path.escape_ascii());
        }
    }

    /// Forgets the logged errors, except of the `unavailable` directories, so that they are logged when they recur.
    pub(crate) fn forget_recovered(&self, unavailable: &[UnavailableDir]) {
        let is_unavailable = |name: &Path| unavailable.iter().any(|(other, _)| other == name);
        self.lock()
            .real_paths
            .retain(|name, real_path| real_path.is_ok() || is_unavailable(name));
    }

    /// Returns whether to log now that a directory's path leads there: the real path, or the error, is a new one.
    pub(crate) fn insert_real_path(&self, name: &Path, real_path: Result<PathBuf, String>) -> bool {
        let real_paths = &mut self.lock().real_paths;
        let is_new = real_paths.get(name) != Some(&real_path);
        real_paths.insert(name.to_owned(), real_path);
        is_new
    }
}
