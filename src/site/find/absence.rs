//! Why a target has no resource: one sentence for the access log, for `-v` and for `docroot explain`.

use super::super::trace::HiddenReason;
use super::{Site, SiteOptions};
use crate::http::{Lookup, Target};

/// The reasons. A client is not sent them.
const OUTSIDE: &str = "The path does not begin with --path-prefix.";
const RULES: &str = "The file holds path rules (_headers, _redirects), and is not served.";
const HIDDEN: &str = "A name in the path begins with a dot; --hidden serves such files.";
const NO_INDEX: &str =
    "The directory has no index file; --listing lists it, --index names another index file.";

/// The fault of a root whose / gets 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootFault {
    /// Nothing is in it, as in a volume that was not mounted.
    Empty,
    /// None of the index files is in it, nor anything else that answers a request for /.
    NoIndex,
}

impl Site {
    /// Returns why a lookup found nothing, where that is more than that nothing is there.
    pub(super) fn absence(&self, target: &Target<'_>, lookup: &Lookup) -> Option<&'static str> {
        if !matches!(lookup, Lookup::NotFound(_) | Lookup::SpaFallback(..)) {
            return None;
        }
        let path = target.path();
        let Some(path) = self.strip_prefix(&path) else {
            return Some(OUTSIDE);
        };
        match self.hidden_reason(path) {
            Some(HiddenReason::RulesFile) => Some(RULES),
            Some(HiddenReason::Dotfile) => (!self.root.is_missing(path)).then_some(HIDDEN),
            None if target.is_directory() && !self.options.lists_dirs => {
                self.root.read_dir(path).is_ok().then_some(NO_INDEX)
            }
            None => None,
        }
    }

    /// Returns why a request for / would get 404, if it would. No rule of `_redirects` is taken into account that
    /// applies to other paths, too.
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
        let folder = self.root.read_dir(b"").ok();
        if let Some(mut folder) = folder {
            let mut see = |_: &[u8], _| is_empty = false;
            while folder.read_entries(&mut see).unwrap_or(false) {}
        }
        Some(match is_empty {
            true => RootFault::Empty,
            false => RootFault::NoIndex,
        })
    }
}
