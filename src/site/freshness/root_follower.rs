//! `RootFollower`: the root directory to which its path leads now, and the policy for it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use super::lookup_cache::{LookupCache, RootState};
use crate::files::root::{Root, UnavailableDir};
use crate::http::Fields;
use crate::site::context::LookupContext;
use crate::site::options::SiteOptions;
use crate::site::rules::policy::Policy;
use crate::site::shared::SiteShared;

/// Interval between attempts to reopen a root whose path leads to no directory, if no request causes one earlier.
const MISSING_ROOT_RETRY: Duration = Duration::from_secs(1);

/// Root directory and policy in force. It follows the root path to other directories, and takes over new policies; the
/// cache is cleared then.
#[derive(Debug)]
pub(crate) struct RootFollower {
    root: Arc<Root>,
    policy: Arc<Policy>,
    /// Number of policy changes when the policy was taken over; `None` if it was read from another root.
    policy_changes: Option<u64>,
    /// Fields of responses that docroot generates itself, whatever their path.
    generated_fields: Fields,
    /// Last check of the root path.
    last_check: Option<RootCheck>,
    shared: SiteShared,
}

/// Check of the root path.
#[derive(Clone, Copy, Debug)]
struct RootCheck {
    time: SystemTime,
    /// Whether a directory was unavailable.
    is_unavailable: bool,
}

impl RootFollower {
    /// Creates a follower of the path that has led to this root.
    pub(crate) fn new(root: Arc<Root>, shared: SiteShared) -> Self {
        let (policy, policy_changes) = shared.policy.current();
        Self {
            root,
            generated_fields: policy.at(None).generated_fields(),
            policy,
            policy_changes: Some(policy_changes),
            last_check: None,
            shared,
        }
    }

    /// Returns the context of a lookup at this time.
    pub(crate) fn context<'a>(
        &'a self,
        options: &'a SiteOptions,
        max_file_bytes: u64,
        now: SystemTime,
    ) -> LookupContext<'a> {
        LookupContext {
            root: &self.root,
            policy: &self.policy,
            options,
            shared: &self.shared,
            max_file_bytes,
            now,
        }
    }

    /// Returns the handles that the sites of all workers share.
    pub(crate) fn shared(&self) -> &SiteShared {
        &self.shared
    }

    /// Returns the root that is served.
    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Returns the policy in force.
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Returns the fields of generated responses, whatever their path.
    pub(crate) fn generated_fields(&self) -> &Fields {
        &self.generated_fields
    }

    /// Checks the root path before a lookup, unless inotify or an earlier check in this turn says that it is unchanged.
    pub(crate) fn follow(&mut self, cache: &mut LookupCache, now: SystemTime) {
        if cache.is_root_stale() {
            let unavailable = self.check_path(cache, now);
            self.log_unavailable(&unavailable);
        }
    }

    /// Takes over the shared policy, if it has changed and was read from this root.
    pub(crate) fn update_policy(&mut self, cache: &mut LookupCache) {
        if Some(self.shared.policy.change_count()) == self.policy_changes {
            return;
        }
        let (policy, changes) = self.shared.policy.current();
        match policy.root {
            // The root path leads, or led, to another directory, so check it first.
            Some(root) if root != self.root.id() => cache.mark_root_changed(),
            _ => self.set_policy(policy, changes, cache),
        }
    }

    /// Returns the time of the next [`on_timer`](Self::on_timer), if there is one.
    pub(crate) fn next_timer(&self, cache: &LookupCache) -> Option<SystemTime> {
        let next_check = self.next_check(cache);
        next_check
            .into_iter()
            .chain(self.shared.releases.next_expiry())
            .min()
    }

    /// Closes expired releases, and checks the root path if that is due.
    pub(crate) fn on_timer(&mut self, cache: &mut LookupCache, now: SystemTime) {
        self.shared.releases.expire(now);
        if self.next_check(cache).is_none_or(|next| now < next) {
            return;
        }
        let was_unavailable = self.was_unavailable();
        let unavailable = self.check_path(cache, now);
        // A directory that is being replaced may be back in a moment, so log only the second failure.
        if was_unavailable {
            self.log_unavailable(&unavailable);
        }
    }

    /// Returns the time of the next check of the root path that waits for no request. Without it, a server without
    /// requests would hold a directory open for good that is no longer served.
    fn next_check(&self, cache: &LookupCache) -> Option<SystemTime> {
        match (cache.root_state(), self.last_check) {
            (RootState::Watched, _) => None,
            (RootState::Changed, _) | (_, None) => Some(UNIX_EPOCH),
            (RootState::Checked | RootState::Unwatched, Some(last)) => {
                let pause = match last.is_unavailable {
                    true => Some(MISSING_ROOT_RETRY),
                    false => self.shared.releases.grace_period(),
                };
                pause.map(|pause| last.time + pause)
            }
        }
    }

    /// Returns whether a directory was unavailable at the last check.
    fn was_unavailable(&self) -> bool {
        self.last_check.is_some_and(|last| last.is_unavailable)
    }

    /// Switches to the directories that the root path, and the paths of other directories that links may lead to, lead
    /// to by now. Returns those that are unavailable; the previous ones stay in use for them.
    fn check_path(&mut self, cache: &mut LookupCache, now: SystemTime) -> Vec<UnavailableDir> {
        let was_unavailable = self.was_unavailable();
        cache.watch_root(&self.root);
        let (reopened, unavailable) = self.root.reopen_if_changed();
        if was_unavailable {
            self.shared.logged_once.forget_recovered(&unavailable);
        }
        if (was_unavailable || reopened.is_some()) && cache.root_state() == RootState::Checked {
            // The new directory may be one that can be watched.
            cache.mark_root_changed();
        }
        if let Some(root) = reopened {
            for (name, path) in root.changed_dirs(&self.root) {
                if self
                    .shared
                    .logged_once
                    .insert_real_path(name, Ok(path.to_owned()))
                {
                    info!("{} now leads to {}", name.display(), path.display());
                }
            }
            self.switch_root(Arc::new(root), cache);
        }
        if !unavailable.is_empty() {
            cache.mark_root_unwatched();
        }
        if unavailable
            .iter()
            .any(|(name, _)| name == self.root.configured_path())
        {
            // Another worker may have opened a later directory, before the path led nowhere.
            let latest = self.shared.releases.current();
            if let Some(latest) = latest.filter(|latest| !latest.is_same_dir(&self.root)) {
                self.switch_root(latest, cache);
            }
        }
        self.last_check = Some(RootCheck {
            time: now,
            is_unavailable: !unavailable.is_empty(),
        });
        self.shared.releases.record(&self.root, now);
        let changes = self.shared.policy.change_count();
        if self.policy_changes != Some(changes) {
            let policy = self.load_policy();
            self.set_policy(policy, changes, cache);
        }
        unavailable
    }

    fn switch_root(&mut self, root: Arc<Root>, cache: &mut LookupCache) {
        let is_another = !root.is_same_dir(&self.root);
        self.root = root;
        cache.reset();
        if is_another {
            self.policy_changes = None;
        }
    }

    fn set_policy(&mut self, policy: Arc<Policy>, changes: u64, cache: &mut LookupCache) {
        self.generated_fields = policy.at(None).generated_fields();
        self.policy = policy;
        self.policy_changes = Some(changes);
        cache.clear();
    }

    /// Loads the policy for the current root. If that fails, the one in force stays.
    fn load_policy(&self) -> Arc<Policy> {
        let loaded = match self.shared.policy.load_for(&self.root) {
            None => return self.shared.policy.current().0,
            Some(Ok(loaded)) => loaded,
            Some(Err(errors)) => {
                for errors in errors {
                    if self.shared.logged_once.insert(errors.as_bytes()) {
                        warn!("{errors}; the previous rules stay in force");
                    }
                }
                return self.policy.clone();
            }
        };
        for left_out in &loaded.warnings {
            if self.shared.logged_once.insert(left_out.as_bytes()) {
                warn!("{left_out}");
            }
        }
        Arc::new(loaded.policy)
    }

    /// Logs once that directories cannot be opened.
    fn log_unavailable(&self, unavailable: &[UnavailableDir]) {
        for (name, error) in unavailable {
            if !self
                .shared
                .logged_once
                .insert_real_path(name, Err(error.to_string()))
            {
                continue;
            }
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    " (the sandbox allows a symbolic link to be switched to a directory beside the old one, but no \
                     directory to be replaced: restart docroot, or start it with --live-reload or --sandbox off)"
                }
                _ => "",
            };
            warn!(
                "cannot reopen {}: {error}{hint}; still serving {}",
                name.display(),
                self.root.real_path_of(name).display()
            );
        }
    }
}
