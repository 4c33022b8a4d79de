//! A site: the directory that is served, and the rules by which a request target selects a file below it.

mod encoding;
mod freshness;
mod listing;
mod live;
mod names;
mod options;
mod place;
mod report;
mod represent;
mod resolve;
mod rules;
mod shared;
#[expect(clippy::module_inception, reason = "the type of this name is in it")]
mod site;

pub use encoding::{
    Compressor, Encoded, SIDECAR_CODINGS, ScannedDir, SidecarError, SidecarJob, SidecarOutcome,
    SidecarProofs, SidecarWriter,
};
pub use freshness::Releases;
pub use listing::Listing;
pub use live::{EventStream, Live, LiveReload, LiveStream};
pub use names::{
    CacheControl, CachePolicy, CacheReason, Fingerprint, MediaType, MediaTypeSource, MediaTypes,
    MediaTypesError, has_content_hash, is_compressible, is_hidden,
};
pub use options::SiteOptions;
pub use report::{
    ChosenFile, LoggedOnce, ProbeResult, ResponseRole, RootFault, SurveyCounts, SurveyFinding,
    Trace, TraceEvent,
};
pub use represent::Digests;
pub use resolve::Absence;
pub use rules::{
    ConfiguredField, FieldChange, HeaderRules, LoadedPolicy, MediaTypesInput, Policy,
    PolicySources, RedirectMatch, RedirectRules, RedirectTarget, RuleError, SharedPolicy,
    TracedFieldChange,
};
pub use shared::SiteShared;
pub use site::{Freshness, Site};
