//! `Assembler`: from a found file to a resource: its fields, validators, sidecars and codings.

use std::sync::Arc;

use super::inject::PageScript;
use super::resource::{represent, with_fields};
use super::validators::{validators, validators_of_generated};
use crate::files::evidence::Evidence;
use crate::http::{Coding, Fields, Finding, Lookup, Representation, Resource};
use crate::site::context::LookupContext;
use crate::site::encoding::compressor::{self, Encoded};
use crate::site::encoding::header;
use crate::site::names::media::is_compressible;
use crate::site::report::trace::{ChosenFile, ResponseRole, TraceEvent};
use crate::site::resolve::search::{FoundFile, SiteFile};
use crate::site::rules::policy::{PathPolicy, media_type, own_coding};

/// Result of a lookup, and the evidence for it, if it rests on files.
pub(crate) type FindingWithEvidence = (Finding, Option<Evidence>);

/// Assembler of the resources of one site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assembler<'a>(pub(crate) LookupContext<'a>);

impl Assembler<'_> {
    /// Assembles the resource of a file, as a response of this role.
    pub(crate) fn assemble(
        &self,
        found: FoundFile,
        role: ResponseRole,
        policy: &PathPolicy<'_>,
    ) -> FindingWithEvidence {
        self.log_rejected_sidecars(&found);
        self.record_file(role, &found, policy);
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
        let script = PageScript::new(self.0.options, self.0.shared)
            .filter(|_| own_coding == Coding::Identity);
        if let Some(html) = script.and_then(|script| script.inject_into_file(&file, &fields)) {
            let validators = (!is_error_page).then(|| validators_of_generated(&html));
            let page = represent(html.into(), Coding::Identity, &fields, validators, false);
            let resource = Resource {
                name: file.path,
                ..page.into()
            };
            return (Lookup::Found(Arc::new(resource)).into(), evidence);
        }
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
                let digests = self.0.shared.digests.as_ref();
                validators(&file.content, &file.source.version, digests, self.0.now)
            });
            let representation = represent(file.content, coding, &fields, validators, varies);
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
        self.0
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
        let compressor = self.0.shared.compressor.as_ref()?;
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
                let validators = validators(&content, &source.version, None, self.0.now);
                let fields = policy.file_fields(path);
                let coded = represent(content, coding, &fields, Some(validators), true);
                resource.representations.push(Arc::new(coded));
            }
            Encoded::Unknown => {
                compressor.enqueue(path, &source.version, coding, identity.content.clone());
                return None;
            }
            Encoded::Pending => return None,
            // The file is not enqueued again.
            Encoded::NotWorthwhile => resource.is_encodable = false,
        }
        Some(Arc::new(resource))
    }

    /// Returns whether a file may be compressed on demand.
    fn is_encodable(&self, fields: &Fields, file: &SiteFile) -> bool {
        self.0.shared.compressor.is_some()
            && (compressor::MIN_COMPRESSED_FILE_BYTES..=self.0.max_file_bytes)
                .contains(&file.source.version.len)
            && is_compressible(media_type(fields))
    }

    /// Logs the rejected sidecars, each once.
    fn log_rejected_sidecars(&self, found: &FoundFile) {
        for (path, why) in &found.rejected {
            self.0.shared.logged_once.warn_of_sidecar(path, why);
        }
    }

    /// Records that a file is to be sent, and the rules that change its fields.
    fn record_file(&self, role: ResponseRole, found: &FoundFile, policy: &PathPolicy<'_>) {
        let FoundFile { file, symlinks, .. } = found;
        self.0.record(|| {
            TraceEvent::Chosen(ChosenFile {
                role,
                path: file.path.clone(),
                len: file.content.len(),
                symlinks: symlinks.clone(),
                media_type: policy.media_type(&file.path),
                cache_control: (role != ResponseRole::NotFound)
                    .then(|| policy.cache_control(&file.path)),
            })
        });
        self.0
            .record(|| TraceEvent::FieldChanges(role, policy.traced_changes()));
    }
}
