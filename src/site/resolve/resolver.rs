//! `Resolver`: from a place to its resolution, in the order of precedence.

use super::search::{FoundFile, LookupError, Search, SearchOutcome};
use crate::files::error::is_not_found;
use crate::http::Status;
use crate::site::context::LookupContext;
use crate::site::names::fingerprint::has_content_hash;
use crate::site::place::Place;
use crate::site::report::absence::{Absence, hidden_reason};
use crate::site::report::trace::{ProbeResult, TraceEvent};
use crate::site::rules::redirects::{RedirectMatch, RedirectTarget};

/// Resolution of a place: its file or directory, or the result of a rule.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// A file, and its sidecars.
    File(Box<FoundFile>),
    /// A directory, whose own target ends in a slash.
    Directory,
    /// A directory that is to be listed.
    Listing,
    /// A redirect by a rule: its status and its location.
    Redirect(Status, String),
    /// A rewrite by a rule to another target.
    Rewrite(Rewrite),
    /// Nothing, and the reason if it is known.
    Missing(Option<Absence>),
    /// Something that cannot be looked up.
    Failed(LookupError),
}

/// Rewrite by a rule.
#[derive(Debug)]
pub(crate) struct Rewrite {
    /// Other target, in origin-form and not yet parsed.
    pub(crate) target: String,
    /// Status: 200 or 404.
    pub(crate) status: Status,
    /// Whether the rule applies even where a file exists: then none was looked for.
    pub(crate) is_forced: bool,
    /// Reason for which the place itself has no resource, if it is known.
    pub(crate) absence: Option<Absence>,
}

/// Resolver of places below one root, by one policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver<'a>(pub(crate) LookupContext<'a>);

impl Resolver<'_> {
    /// Resolves a place. In order of precedence: forced rule, file, fingerprinted file of a previous release, other
    /// rule; what is then missing has a fallback.
    pub(crate) fn resolve(&self, place: &Place<'_>) -> Resolution {
        let rule = match self.0.policy.find_redirect(place) {
            Some(rule) if rule.is_forced => {
                let absence = place.path().and_then(|path| self.hidden_reason(path));
                return self.apply(rule, absence);
            }
            rule => rule,
        };
        let absence = match self.resolve_path(place) {
            Resolution::Missing(absence) => absence,
            Resolution::Failed(error) => return Resolution::Failed(error),
            found => {
                if let Some(rule) = rule {
                    self.0.record(|| TraceEvent::Redirect(rule, false));
                }
                return found;
            }
        };
        match (self.find_in_previous_releases(place), rule) {
            (Some(found), _) => Resolution::File(found),
            (None, Some(rule)) => self.apply(rule, absence),
            (None, None) => Resolution::Missing(absence),
        }
    }

    /// Resolves the path of a place to a file or a directory, without regard to rules and previous releases.
    pub(crate) fn resolve_path(&self, place: &Place<'_>) -> Resolution {
        let Some(path) = place.path() else {
            return self.missing(b"", Absence::OutsidePrefix);
        };
        if path.is_empty() && !place.is_directory() {
            return Resolution::Directory;
        }
        if let Some(reason) = self.hidden_reason(path) {
            return self.missing(path, reason);
        }
        let search = Search::new(self.0);
        let outcome = match place.is_directory() {
            true => search.find_index(path),
            false => search.find_name(path),
        };
        match outcome {
            Ok(SearchOutcome::File(found)) if self.0.policy.is_rules_file(&found.file.path) => {
                self.missing(&found.file.path, Absence::RulesFile)
            }
            Ok(SearchOutcome::File(found)) => Resolution::File(found),
            Ok(SearchOutcome::Directory) => Resolution::Directory,
            Ok(SearchOutcome::Missing) if self.0.options.lists_dirs && place.is_directory() => {
                self.resolve_listing(place, path)
            }
            Ok(SearchOutcome::Missing) => Resolution::Missing(None),
            Err(error) => Resolution::Failed(error),
        }
    }

    /// Resolves to nothing, for a reason that is known.
    fn missing(&self, path: &[u8], reason: Absence) -> Resolution {
        self.0.record(|| TraceEvent::Absent(path.to_vec(), reason));
        Resolution::Missing(Some(reason))
    }

    /// Resolves a directory without an index file, which is to be listed.
    fn resolve_listing(&self, place: &Place<'_>, path: &[u8]) -> Resolution {
        match self.0.root.read_dir(path) {
            // The links in a listing are relative to a URL that ends in a slash.
            Ok(_) if !place.raw_path().ends_with('/') => Resolution::Directory,
            Ok(_) => Resolution::Listing,
            Err(error) if is_not_found(&error) => Resolution::Missing(None),
            Err(error) => {
                let path = path.to_vec();
                self.0.record(|| {
                    TraceEvent::Probed(path.clone(), ProbeResult::Failed(error.to_string()))
                });
                Resolution::Failed(LookupError { path, error })
            }
        }
    }

    /// Applies a rule to a place without a resource, for this reason if it is known.
    fn apply(&self, rule: RedirectMatch, absence: Option<Absence>) -> Resolution {
        self.0.record(|| TraceEvent::Redirect(rule.clone(), true));
        match rule.target {
            RedirectTarget::Location(location) => Resolution::Redirect(rule.status, location),
            RedirectTarget::Rewrite(target) => Resolution::Rewrite(Rewrite {
                target,
                status: rule.status,
                is_forced: rule.is_forced,
                absence,
            }),
        }
    }

    /// Finds a fingerprinted file in the previous releases: pages that were loaded from there may still request it. No
    /// evidence is kept for it.
    fn find_in_previous_releases(&self, place: &Place<'_>) -> Option<Box<FoundFile>> {
        self.0.shared.releases.grace_period()?;
        // A target with a trailing slash names no file, as in the current release.
        let path = place.path().filter(|_| !place.is_directory())?;
        if !has_content_hash(path) || self.hidden_reason(path).is_some() {
            return None;
        }
        let previous = self.0.shared.releases.previous(self.0.root, self.0.now);
        let mut found = previous.iter().find_map(|root| {
            let context = LookupContext { root, ..self.0 };
            match Search::new(context).find_file(path) {
                Ok(SearchOutcome::File(found)) => Some(found),
                _ => None,
            }
        })?;
        found.evidence = None;
        Some(found)
    }

    /// Returns the reason for which a place has no resource, after all has failed: the given reason, unless it is only
    /// right for what exists, or a reason that the file system shows.
    pub(crate) fn absence(&self, place: &Place<'_>, reason: Option<Absence>) -> Option<Absence> {
        let Some(path) = place.path() else {
            return Some(Absence::OutsidePrefix);
        };
        match reason {
            Some(Absence::Dotfile) if self.0.root.is_missing(path) => None,
            None if place.is_directory()
                && !self.0.options.lists_dirs
                && self.0.root.read_dir(path).is_ok() =>
            {
                self.0
                    .record(|| TraceEvent::Absent(path.to_vec(), Absence::NoIndex));
                Some(Absence::NoIndex)
            }
            reason => reason,
        }
    }

    /// Returns the reason for which a path below the root is not served, whether or not it exists.
    fn hidden_reason(&self, path: &[u8]) -> Option<Absence> {
        hidden_reason(path, self.0.options, self.0.policy)
    }
}
