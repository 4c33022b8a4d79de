//! Why a target has no resource: one sentence for the access log and for `-v`. `docroot explain` has it, too, but names
//! the path where the trace has an event for it: dotfiles, rules files, and paths outside `--path-prefix`.

use crate::http::{Lookup, Target};
use crate::site::report::trace::HiddenReason;
use crate::site::site::{Site, SiteOptions};

/// Reasons. They are not sent to clients.
const OUTSIDE_PREFIX: &str = "The path does not begin with --path-prefix.";
const RULES_FILE: &str = "The file holds path rules (_headers, _redirects), and is not served.";
const DOTFILE: &str = "A name in the path begins with a dot; --hidden serves such files.";
const NO_INDEX: &str =
    "The directory has no index file; --listing lists it, --index names another index file.";

/// Reason for which / gets 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootFault {
    /// It is empty, as if a volume was not mounted.
    Empty,
    /// It has no index file, nor anything else that answers a request for /.
    NoIndex,
}

/// Returns whether a lookup found nothing.
pub(crate) fn is_absence(lookup: &Lookup) -> bool {
    matches!(lookup, Lookup::NotFound(_) | Lookup::SpaFallback(..))
}

impl Site {
    /// Returns the reason for which a lookup of this target found nothing; `None` if there simply is no such file.
    /// Out of the way of cache hits, which are counted in instructions.
    #[cold]
    #[inline(never)]
    pub(crate) fn absence_reason(&self, target: &Target<'_>) -> Option<&'static str> {
        let path = target.path();
        let Some(path) = self.strip_prefix(&path) else {
            return Some(OUTSIDE_PREFIX);
        };
        match self.hidden_reason(path) {
            Some(HiddenReason::RulesFile) => Some(RULES_FILE),
            Some(HiddenReason::Dotfile) => (!self.root.is_missing(path)).then_some(DOTFILE),
            None if target.is_directory() && !self.options.lists_dirs => {
                self.root.read_dir(path).is_ok().then_some(NO_INDEX)
            }
            None => None,
        }
    }

    /// Returns the reason for which a request for / would get 404, if it would. Any rule of `_redirects` that matches /
    /// counts as an answer.
    #[must_use]
    pub fn root_fault(&self) -> Option<RootFault> {
        let SiteOptions {
            lists_dirs,
            spa_fallback,
            index,
            ..
        } = &self.options;
        let has = |name: &String| self.check_file(name).is_ok();
        let is_answered = *lists_dirs || spa_fallback.iter().chain(index).any(has);
        let target = Target::parse("/", None).ok()?;
        if is_answered || self.policy.0.find_redirect(&target).is_some() {
            return None;
        }
        let mut is_empty = true;
        let dir = self.root.read_dir(b"").ok();
        if let Some(mut dir) = dir {
            let mut on_entry = |_: &[u8], _| is_empty = false;
            while dir.read_entries(&mut on_entry).unwrap_or(false) {}
        }
        Some(match is_empty {
            true => RootFault::Empty,
            false => RootFault::NoIndex,
        })
    }
}
