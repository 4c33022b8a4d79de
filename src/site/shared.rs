//! The handles that the sites of all workers share.

use super::encoding::compressor::Compressor;
use super::encoding::proofs::SidecarProofs;
use super::freshness::releases::Releases;
use super::report::logged_once::LoggedOnce;
use super::report::trace::{Trace, TraceEvent};
use super::represent::digests::Digests;
use super::rules::shared_policy::SharedPolicy;

/// Handles that the sites of all workers share: background threads, policy, releases, logged messages, trace.
#[derive(Clone, Debug, Default)]
pub struct SiteShared {
    /// Thread pool that compresses files on demand, if any.
    pub compressor: Option<Compressor>,
    /// Content digests, if files too large for memory are to be tagged by their content alone.
    pub digests: Option<Digests>,
    /// Proofs of sidecars; the default decodes none.
    pub sidecar_proofs: SidecarProofs,
    /// Directories that the root's path has led to. A fingerprinted file that only a previous release has is still
    /// served: pages that were loaded before may request it.
    pub releases: Releases,
    /// Field policy and path rules.
    pub policy: SharedPolicy,
    /// Messages that have been logged once.
    pub logged_once: LoggedOnce,
    /// Trace of each step of a lookup, for an explanation of its result.
    pub trace: Option<Trace>,
}

impl SiteShared {
    /// Records an event in the trace, if there is one.
    pub(crate) fn record(&self, event: impl FnOnce() -> TraceEvent) {
        if let Some(trace) = &self.trace {
            trace.record(event());
        }
    }
}
