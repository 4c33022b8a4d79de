//! `Fallback`: the page for a place without a resource: that of a rule, the SPA fallback page, or the not-found page.

use std::sync::Arc;

use super::context::LookupContext;
use super::freshness::lookup_cache::LookupCache;
use super::names::hidden::{WELL_KNOWN, is_hidden};
use super::place::Place;
use super::report::absence::Absence;
use super::report::trace::{ResponseRole, TraceEvent};
use super::represent::assembler::Assembler;
use super::resolve::resolver::{Resolution, Resolver, Rewrite};
use super::resolve::search::{LookupError, Search, SearchOutcome};
use super::rules::policy::PathPolicy;
use crate::http::{Finding, Lookup, Resource, Status, Target};
use crate::path::last_segment;

/// Cache keys of the not-found page and of the SPA fallback page, and the beginning of the key of a rewrite by a rule.
/// The path of a target is empty or begins with a slash, so it never equals one of them.
const NOT_FOUND_KEY: &str = "404";
const SPA_FALLBACK_KEY: &str = "spa fallback";
const REWRITE_KEY_PREFIX: &str = "rule ";

/// Fallback for one place, whose pages are cached under keys of their own.
#[derive(Debug)]
pub(crate) struct Fallback<'a> {
    pub(crate) context: LookupContext<'a>,
    pub(crate) cache: &'a mut LookupCache,
    pub(crate) place: &'a Place<'a>,
    pub(crate) policy: &'a PathPolicy<'a>,
}

impl Fallback<'_> {
    /// Finds the page for a place without a resource, for this reason if it is known.
    pub(crate) fn find(&mut self, absence: Option<Absence>) -> Finding {
        let page = self.error_page();
        let assembler = Assembler(self.context);
        let page = page.map(|page| match self.policy.has_path_rules() {
            true => assembler.error_page(&page, self.policy),
            false => page,
        });
        let found = match self.spa_fallback() {
            Some(Finding {
                lookup: Lookup::Found(fallback),
                entry,
                ..
            }) => {
                let fallback = assembler.spa_fallback(&fallback, self.policy);
                Finding {
                    entry,
                    ..Lookup::SpaFallback(fallback, page).into()
                }
            }
            _ => Lookup::NotFound(page).into(),
        };
        Finding {
            reason: self.reason(absence),
            ..found
        }
    }

    /// Finds the resource of the target that a rule rewrites the place to.
    ///
    /// # Errors
    /// That resource cannot be looked up.
    pub(crate) fn rewrite(&mut self, rewrite: Rewrite) -> Result<Finding, LookupError> {
        let LookupContext { root, now, .. } = self.context;
        let absence = rewrite.absence;
        // A placeholder stands for text of the client, which may not fit into a path.
        let Ok(other) = Target::parse(&rewrite.target, None) else {
            return Ok(self.find(absence));
        };
        let key = self.rewrite_key(&other);
        let assembler = Assembler(self.context);
        let found = match self.cache.get(root, &key, now) {
            Some(found) => found,
            None => {
                let other = Place::new(&other, &self.context.options.prefix);
                let found = match Resolver(self.context).resolve_path(&other) {
                    Resolution::File(found) => {
                        assembler.assemble(*found, ResponseRole::File, self.policy)
                    }
                    Resolution::Failed(failure) => return Err(failure),
                    _ => (Lookup::NotFound(None).into(), None),
                };
                self.cache.insert(&key, found, now)
            }
        };
        let finding = match found.lookup {
            Lookup::Found(page) if rewrite.status == Status::NotFound => Finding {
                reason: self.reason(absence),
                ..Lookup::NotFound(Some(assembler.error_page(&page, self.policy))).into()
            },
            Lookup::Found(resource) => Finding {
                entry: found.entry,
                ..Lookup::Found(resource).into()
            },
            _ => self.find(absence),
        };
        Ok(Finding {
            // With a forced rule no other lookup preceded this one, so its status counts.
            cache_status: found.cache_status.filter(|_| rewrite.is_forced),
            ..finding
        })
    }

    /// Returns the cache key of a rewritten target. It differs from that of the `other` target itself, which another
    /// rule may rewrite.
    fn rewrite_key(&self, other: &Target<'_>) -> String {
        let other = other.raw_path();
        match self.policy.has_path_rules() {
            true => format!("{REWRITE_KEY_PREFIX}{} {other}", self.place.raw_path()),
            false => format!("{REWRITE_KEY_PREFIX}{other}"),
        }
    }

    /// Returns the reason for which the place has no resource, in one sentence.
    fn reason(&self, absence: Option<Absence>) -> Option<&'static str> {
        let absence = Resolver(self.context).absence(self.place, absence);
        absence.map(Absence::sentence)
    }

    /// Returns the not-found page, if there is one.
    fn error_page(&mut self) -> Option<Arc<Resource>> {
        let name = &self.context.options.not_found;
        let finding = self.page(NOT_FOUND_KEY, name, ResponseRole::NotFound, None);
        match finding.lookup {
            Lookup::Found(page) => Some(page),
            _ => None,
        }
    }

    /// Finds the SPA fallback page, if there is one and the place may be a route.
    fn spa_fallback(&mut self) -> Option<Finding> {
        let name = self.context.options.spa_fallback.as_ref()?;
        let route = check_spa_route(self.place);
        self.context.record(|| TraceEvent::SpaRoute(route));
        route.ok()?;
        let rules_path = [b"/", name.as_bytes()].concat();
        let role = ResponseRole::SpaFallback;
        Some(self.page(SPA_FALLBACK_KEY, name, role, Some(&rules_path)))
    }

    /// Finds a page by its cache key, or by its name below the root. If that fails, there is none: the response stays
    /// as it would be without it.
    fn page(
        &mut self,
        key: &'static str,
        name: &str,
        role: ResponseRole,
        rules_path: Option<&[u8]>,
    ) -> Finding {
        let LookupContext {
            root, policy, now, ..
        } = self.context;
        if let Some(finding) = self.cache.get(root, key, now) {
            return finding;
        }
        let found = match Search::new(self.context).find_file(name.as_bytes()) {
            Ok(SearchOutcome::File(found)) => {
                Assembler(self.context).assemble(*found, role, &policy.at(rules_path))
            }
            _ => (Lookup::NotFound(None).into(), None),
        };
        self.cache.insert(key, found, now)
    }
}

/// Checks that a place may be a route that only a page's script knows, or returns the reason why not. A name with an
/// extension is a file, and paths below `/.well-known/` are for other programs.
fn check_spa_route(place: &Place<'_>) -> Result<(), &'static str> {
    let Some(path) = place.path() else {
        return Err("its address does not begin with the path prefix");
    };
    let mut names = path.split(|&byte| byte == b'/');
    let is_well_known = names.next() == Some(WELL_KNOWN);
    let is_file = last_segment(path).contains(&b'.');
    if is_well_known {
        Err("it is below /.well-known/")
    } else if is_hidden(path) {
        Err("a name in it begins with a dot")
    } else if is_file {
        Err("its name has an extension, so it is a file")
    } else {
        Ok(())
    }
}
