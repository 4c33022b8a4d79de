//! `RootFault`: why a request for / would get 404.

use super::options::SiteOptions;
use super::place::Place;
use super::site::Site;
use crate::http::Target;

/// Reason for which / gets 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootFault {
    /// It is empty, as if a volume was not mounted.
    Empty,
    /// It has no index file, nor anything else that answers a request for /.
    NoIndex,
}

impl Site {
    /// Returns the reason for which a request for / would get 404, if it would. Any rule of `_redirects` that matches /
    /// counts as an answer.
    #[must_use]
    pub fn root_fault(&self) -> Option<RootFault> {
        let SiteOptions {
            lists_dirs,
            spa_fallback,
            index,
            ..
        } = self.options();
        let has = |name: &String| self.check_file(name).is_ok();
        let is_answered = *lists_dirs || spa_fallback.iter().chain(index).any(has);
        let target = Target::parse("/", None).ok()?;
        let place = Place::new(&target, "");
        if is_answered || self.policy().find_redirect(&place).is_some() {
            return None;
        }
        let mut is_empty = true;
        let dir = self.root().read_dir(b"").ok();
        if let Some(mut dir) = dir {
            let mut on_entry = |_: &[u8], _| is_empty = false;
            while dir.read_entries(&mut on_entry).unwrap_or(false) {}
        }
        Some(match is_empty {
            true => RootFault::Empty,
            false => RootFault::NoIndex,
        })
    }
}
