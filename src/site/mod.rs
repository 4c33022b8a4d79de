//! A site: the directory that is served, and the rules by which a request target selects a file below it.

mod context;
mod encoding;
mod fallback;
mod freshness;
mod listing;
mod live;
mod names;
mod options;
mod place;
mod report;
mod represent;
mod resolve;
mod root_fault;
mod rules;
mod shared;
#[expect(clippy::module_inception, reason = "the type of this name is in it")]
mod site;
mod survey;

pub use encoding::{
    Compressor, Encoded, SIDECAR_CODINGS, ScannedDir, SidecarError, SidecarJob, SidecarOutcome,
    SidecarProofs, SidecarWriter,
};
pub use freshness::Releases;
pub use listing::Listing;
pub use live::{EventStream, Live, LiveReload, LiveStream};
pub use names::{
    CacheControl, CachePolicy, CacheReason, Fingerprint, MediaType, MediaTypeSource, MediaTypes,
    MediaTypesError, is_hidden,
};
pub use options::SiteOptions;
pub use report::{Absence, ChosenFile, LoggedOnce, ProbeResult, ResponseRole, Trace, TraceEvent};
pub use represent::Digests;
pub use root_fault::RootFault;
pub use rules::{
    ConfiguredField, FieldChange, HeaderRules, LoadedPolicy, MediaTypesInput, Policy,
    PolicySources, RedirectMatch, RedirectRules, RedirectTarget, RuleError, SharedPolicy,
    TracedFieldChange,
};
pub use shared::SiteShared;
pub use site::{Freshness, Site};
pub use survey::{SurveyCounts, SurveyFinding};
