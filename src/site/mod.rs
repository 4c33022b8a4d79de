//! A site: the directory that is served, and the rules by which a request target selects a file below it.

mod cache;
mod compressor;
mod digests;
mod encoding;
mod field;
mod find;
mod headers;
mod listing;
mod live;
mod lookup_cache;
mod media;
mod names;
mod pattern;
mod policy;
mod policy_sources;
mod redirects;
mod releases;
mod resource;
mod root;
mod root_watch;
mod rules;
mod search;
mod sidecar_writer;
mod sidecars;
mod survey;
mod trace;
mod validators;
mod watch;

pub use compressor::{Compressor, Encoded};
pub use digests::Digests;
pub use field::ConfiguredField;
pub use find::{Freshness, LoggedOnce, RootFault, Site, SiteOptions, SiteStream};
pub use headers::{FieldChange, HeaderRules};
pub use listing::Listing;
pub use live::{EventStream, LiveReload};
pub use media::{MediaType, MediaTypeSource, MediaTypes, MediaTypesError, is_compressible};
pub use names::{CacheControl, CachePolicy, CacheReason, Fingerprint, has_content_hash};
pub use policy::{Policy, SharedPolicy};
pub use policy_sources::{LoadedPolicy, MediaTypesInput, PolicySources};
pub use redirects::{RedirectMatch, RedirectRules, RedirectTarget};
pub use releases::Releases;
pub use root::{PathResolver, Root, Symlink, Symlinks};
pub use rules::RuleError;
pub use search::is_hidden;
pub use sidecar_writer::{ScannedDir, SidecarError, SidecarJob, SidecarOutcome, SidecarWriter};
pub use sidecars::SIDECAR_CODINGS;
pub use survey::{SurveyCounts, SurveyFinding};
pub use trace::{
    ChosenFile, HiddenReason, ProbeResult, ResponseRole, Trace, TraceEvent, TracedFieldChange,
};
