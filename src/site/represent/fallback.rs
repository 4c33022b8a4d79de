//! `Fallback`: what answers for a place without a resource: the SPA fallback page, or the not-found page.

use std::sync::Arc;

use super::assembler::Assembler;
use crate::http::{CacheKey, Finding, Lookup, Resource};
use crate::path::last_segment;
use crate::site::freshness::lookup_cache::LookupCache;
use crate::site::names::hidden::{WELL_KNOWN, is_hidden};
use crate::site::place::Place;
use crate::site::report::trace::{ResponseRole, TraceEvent};
use crate::site::resolve::absence::Absence;
use crate::site::resolve::resolver::Resolver;
use crate::site::resolve::search::SearchOutcome;
use crate::site::rules::policy::PathPolicy;

/// Cache keys of the not-found page and of the SPA fallback page. The path of a target is empty or begins with a slash,
/// so it never equals one of them.
pub(crate) const NOT_FOUND_KEY: &str = "404";
pub(crate) const SPA_FALLBACK_KEY: &str = "spa fallback";

/// Fallback of one site.
#[derive(Debug)]
pub(crate) struct Fallback<'a> {
    resolver: Resolver<'a>,
    assembler: Assembler<'a>,
    cache: &'a mut LookupCache,
}

impl<'a> Fallback<'a> {
    /// Creates a fallback for places where this resolver finds nothing.
    pub(crate) fn new(resolver: Resolver<'a>, cache: &'a mut LookupCache) -> Self {
        Self {
            assembler: Assembler::new(&resolver, cache.max_file_bytes()),
            resolver,
            cache,
        }
    }

    /// Finds what is sent for a place without a resource, for this reason if it is known.
    pub(crate) fn find(
        &mut self,
        place: &Place<'_>,
        policy: &PathPolicy<'_>,
        absence: Option<Absence>,
    ) -> Finding {
        let page = self.error_page();
        let page = page.map(|page| match policy.has_path_rules() {
            true => self.assembler.error_page(&page, policy),
            false => page,
        });
        let found = match self.spa_fallback(place) {
            Some(fallback) => {
                let fallback = self.assembler.spa_fallback(&fallback, policy);
                Finding {
                    key: CacheKey::Page(SPA_FALLBACK_KEY),
                    ..Lookup::SpaFallback(fallback, page).into()
                }
            }
            None => Lookup::NotFound(page).into(),
        };
        Finding {
            reason: self.resolver.absence(place, absence).map(Absence::sentence),
            ..found
        }
    }

    /// Returns the not-found page, if there is one.
    fn error_page(&mut self) -> Option<Arc<Resource>> {
        let name = &self.resolver.options.not_found;
        self.page(NOT_FOUND_KEY, name, ResponseRole::NotFound, None)
    }

    /// Returns the SPA fallback page, if there is one and the place may be a route.
    fn spa_fallback(&mut self, place: &Place<'_>) -> Option<Arc<Resource>> {
        let name = self.resolver.options.spa_fallback.as_ref()?;
        let route = check_spa_route(place);
        let shared = self.resolver.shared;
        shared.record(|| TraceEvent::SpaRoute(route));
        route.ok()?;
        let rules_path = [b"/", name.as_bytes()].concat();
        self.page(
            SPA_FALLBACK_KEY,
            name,
            ResponseRole::SpaFallback,
            Some(&rules_path),
        )
    }

    /// Finds a page by its cache key, or by its name below the root. If that fails, there is none: the response stays
    /// as it would be without it.
    fn page(
        &mut self,
        key: &'static str,
        name: &str,
        role: ResponseRole,
        rules_path: Option<&[u8]>,
    ) -> Option<Arc<Resource>> {
        let Resolver {
            root, policy, now, ..
        } = self.resolver;
        let finding = match self.cache.get(root, key, now) {
            Some(finding) => finding,
            None => {
                let found = match self.resolver.search().find_file(name.as_bytes()) {
                    Ok(SearchOutcome::File(found)) => {
                        self.assembler
                            .assemble(*found, role, &policy.at(rules_path))
                    }
                    _ => (Lookup::NotFound(None).into(), None),
                };
                self.cache.insert(key, found, now)
            }
        };
        match finding.lookup {
            Lookup::Found(page) => Some(page),
            _ => None,
        }
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
