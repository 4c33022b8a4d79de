//! `Assembler`: from a found file to a resource: its fields, validators, sidecars and codings.

use std::sync::Arc;
use std::time::SystemTime;

use super::resource::{represent, with_fields, with_validators};
use super::validators::validators;
use crate::files::root::Root;
use crate::http::{Coding, Fields, Lookup, Representation, Resource};
use crate::site::encoding::compressor::{self, Encoded};
use crate::site::encoding::header;
use crate::site::freshness::cache::Evidence;
use crate::site::freshness::lookup_cache::FindingWithEvidence;
use crate::site::names::media::is_compressible;
use crate::site::report::trace::{ChosenFile, ResponseRole, TraceEvent};
use crate::site::resolve::resolver::Resolver;
use crate::site::resolve::search::{FoundFile, SiteFile};
use crate::site::rules::policy::{PathPolicy, media_type, own_coding};
use crate::site::shared::SiteShared;

/// Assembler of the resources of one site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assembler<'a> {
    root: &'a Root,
    shared: &'a SiteShared,
    /// Size, in bytes, of the largest file that is cached, and so compressed on demand.
    max_file_bytes: u64,
    now: SystemTime,
}

impl<'a> Assembler<'a> {
    /// Creates an assembler of what this resolver finds. `max_file_bytes` is the size of the largest file that is
    /// cached.
    pub(crate) fn new(resolver: &Resolver<'a>, max_file_bytes: u64) -> Self {
        Self {
            root: resolver.root,
            shared: resolver.shared,
            max_file_bytes,
            now: resolver.now,
        }
    }

    /// Assembles the resource of a file, as a response of this role.
    pub(crate) fn assemble(
        &self,
        found: FoundFile,
        role: ResponseRole,
        policy: &PathPolicy<'_>,
    ) -> FindingWithEvidence {
        self.log_rejected_sidecars(&found);
        self.record_file(role, &found.file, policy);
        let FoundFile {
            file,
            sidecars,
            evidence,
            ..
        } = found;
        // The not-found page is no representation of the target, so it has no validators. Nor is it compressed on
        // demand.
        let is_error_page = role == ResponseRole::NotFound;
        let fields = match is_error_page {
            true => policy.error_fields(&policy.media_type(&file.path).value),
            false => policy.file_fields(&file.path),
        };
        // A rule says the coding of a file that has no other form; a file that is not in it is sent as it is.
        let own_coding = own_coding(&fields)
            .filter(|coding| header::begins_as(*coding, &file.content))
            .unwrap_or_default();
        let sidecars = match own_coding {
            Coding::Identity => sidecars,
            _ => Vec::new(),
        };
        let is_encodable = sidecars.is_empty()
            && !is_error_page
            && own_coding == Coding::Identity
            && self.is_encodable(&fields, &file);
        let varies = is_encodable || !sidecars.is_empty();
        let build = |coding, file: SiteFile| {
            let validators = (!is_error_page).then(|| {
                let digests = self.shared.digests.as_ref();
                validators(&file.content, &file.source.version, digests, self.now)
            });
            let representation = represent(file.content, coding, &fields);
            let representation = with_validators(representation, validators, varies);
            (Arc::new(representation), file.path)
        };
        let mut representations = Vec::with_capacity(1 + sidecars.len());
        let (first, name) = build(own_coding, file);
        representations.push(first);
        representations.extend(
            sidecars
                .into_iter()
                .map(|(coding, file)| build(coding, file).0),
        );
        let resource = Resource {
            name,
            representations,
            varies,
            is_encodable,
        };
        (Lookup::Found(Arc::new(resource)).into(), evidence)
    }

    /// Returns a page as the error page of another path, with the fields of that path.
    pub(crate) fn error_page(&self, page: &Resource, policy: &PathPolicy<'_>) -> Arc<Resource> {
        self.shared
            .record(|| TraceEvent::FieldChanges(ResponseRole::NotFound, policy.traced_changes()));
        let fields = |page: &Representation| policy.error_fields(page.media_type());
        Arc::new(with_fields(page, fields, false))
    }

    /// Returns the SPA fallback page of another path, with the fields of that path.
    pub(crate) fn spa_fallback(
        &self,
        page: &Arc<Resource>,
        policy: &PathPolicy<'_>,
    ) -> Arc<Resource> {
        if !policy.has_path_rules() {
            return page.clone();
        }
        let fields = policy.file_fields(&page.name);
        Arc::new(with_fields(page, |_| fields.clone(), true))
    }

    /// Returns a resource with a representation in a further coding; or marked as not encodable, if the coding saves
    /// too little; `None` while the coding is not ready.
    pub(crate) fn encode(
        &self,
        resource: &Resource,
        evidence: &Evidence,
        coding: Coding,
        policy: &PathPolicy<'_>,
    ) -> Option<Arc<Resource>> {
        let compressor = self.shared.compressor.as_ref()?;
        let mut codings = resource.representations.iter().map(|each| each.coding);
        if codings.any(|other| other == coding) {
            // It has become ready since the resource was found in this turn.
            return Some(Arc::new(resource.clone()));
        }
        let (path, source) = evidence.present.first()?;
        let identity = resource.representations.first()?;
        let mut resource = resource.clone();
        match compressor.encoded(path, &source.version, coding) {
            Encoded::Ready(content) => {
                let validators = validators(&content, &source.version, None, self.now);
                let coded = represent(content, coding, &policy.file_fields(path));
                let coded = with_validators(coded, Some(validators), true);
                resource.representations.push(Arc::new(coded));
            }
            Encoded::Unknown => {
                compressor.enqueue(path, &source.version, coding, identity.content.clone());
                return None;
            }
            Encoded::Pending => return None,
            // The compressor is not asked again.
            Encoded::NotWorthwhile => resource.is_encodable = false,
        }
        Some(Arc::new(resource))
    }

    /// Returns whether a file may be compressed on demand.
    fn is_encodable(&self, fields: &Fields, file: &SiteFile) -> bool {
        self.shared.compressor.is_some()
            && (compressor::MIN_COMPRESSED_FILE_BYTES..=self.max_file_bytes)
                .contains(&file.source.version.len)
            && is_compressible(media_type(fields))
    }

    /// Logs the rejected sidecars, each once.
    fn log_rejected_sidecars(&self, found: &FoundFile) {
        for (path, why) in &found.rejected {
            self.shared.logged_once.warn_of_sidecar(path, why);
        }
    }

    /// Records that a file is to be sent, and the rules that change its fields.
    fn record_file(&self, role: ResponseRole, file: &SiteFile, policy: &PathPolicy<'_>) {
        self.shared.record(|| {
            TraceEvent::Chosen(ChosenFile {
                role,
                path: file.path.clone(),
                len: file.content.len(),
                symlinks: match file.source.has_no_symlink {
                    true => Vec::new(),
                    false => self.root.symlinks_on(&file.path),
                },
                media_type: policy.media_type(&file.path),
                cache_control: (role != ResponseRole::NotFound)
                    .then(|| policy.cache_control(&file.path)),
            })
        });
        self.shared
            .record(|| TraceEvent::FieldChanges(role, policy.traced_changes()));
    }
}
