//! `LookupContext`: root, policy, options and time of one lookup.

use std::time::SystemTime;

use super::options::SiteOptions;
use super::report::trace::TraceEvent;
use super::rules::policy::Policy;
use super::shared::SiteShared;
use crate::files::root::Root;

/// Root, policy, options and time of one lookup, for each of its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookupContext<'a> {
    pub(crate) root: &'a Root,
    pub(crate) policy: &'a Policy,
    pub(crate) options: &'a SiteOptions,
    pub(crate) shared: &'a SiteShared,
    /// Size, in bytes, of the largest file that is cached, and so compressed on demand.
    pub(crate) max_file_bytes: u64,
    pub(crate) now: SystemTime,
}

impl LookupContext<'_> {
    /// Records an event in the trace, if there is one.
    pub(crate) fn record(&self, event: impl FnOnce() -> TraceEvent) {
        self.shared.record(event);
    }
}
