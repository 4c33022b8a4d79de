//! `SharedPolicy`: the policy in force, and the sources that it is loaded from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::policy::Policy;
use super::policy_sources::{LoadedPolicy, PolicySources};
use crate::files::root::Root;
use crate::sync::lock;

/// Policy that all workers' sites share and that can be replaced at any time.
#[derive(Clone, Debug, Default)]
pub struct SharedPolicy(Arc<PolicyShared>);

#[derive(Debug, Default)]
struct PolicyShared {
    /// Sources from which the policy is reloaded.
    sources: Option<PolicySources>,
    policy: Mutex<Arc<Policy>>,
    /// Number of replacements.
    change_count: AtomicU64,
}

impl SharedPolicy {
    /// Creates a default policy with sources. They are not read here: load them, and [`replace`](Self::replace) the
    /// policy.
    #[must_use]
    pub fn from_sources(sources: PolicySources) -> Self {
        Self(Arc::new(PolicyShared {
            sources: Some(sources),
            ..PolicyShared::default()
        }))
    }

    /// Reloads the policy for a root directory; `None` if there are no sources.
    pub(crate) fn load_for(&self, root: &Root) -> Option<Result<LoadedPolicy, Vec<String>>> {
        let sources = self.0.sources.as_ref()?;
        Some(sources.load_for(root))
    }

    /// Replaces the policy. Each site takes it up before its next request.
    pub fn replace(&self, policy: Policy) {
        *lock(&self.0.policy) = Arc::new(policy);
        self.0.change_count.fetch_add(1, Ordering::Release);
    }

    /// Returns the policy and the number of replacements.
    pub(crate) fn current(&self) -> (Arc<Policy>, u64) {
        let changes = self.change_count();
        let policy = lock(&self.0.policy);
        (policy.clone(), changes)
    }

    /// Returns the number of replacements.
    pub(crate) fn change_count(&self) -> u64 {
        self.0.change_count.load(Ordering::Acquire)
    }
}
