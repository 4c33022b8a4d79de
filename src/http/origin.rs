//! Where representations come from.

use std::sync::Arc;
use std::time::SystemTime;

use super::representation::Resource;
use super::target::Target;

/// Something that has resources: a folder of files, or, in a test, a closure.
pub trait Origin {
    /// What there is under this target, now.
    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup;

    /// From here on, what was found before may be out of date, and nothing is to be kept that was only good until
    /// now. `told`: what the origin has the loop listen to may have something to say about it.
    fn doubt(&mut self, _told: bool) {}
}

/// What an origin has under a target.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A resource.
    Found(Arc<Resource>),
    /// A folder, whose own target ends in a slash.
    Directory,
    /// Nothing; and what to say instead, if the origin has a page for that.
    Absent(Option<Arc<Resource>>),
    /// Something that is not ours to show.
    Forbidden,
    /// Something that cannot be reached just now.
    Unavailable,
}

impl<F: FnMut(&Target<'_>, SystemTime) -> Lookup> Origin for F {
    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        self(target, now)
    }
}
